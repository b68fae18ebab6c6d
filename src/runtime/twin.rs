//! Training compared with PyTorch's, from the same weights on the same rows.
//!
//! `fixtures/twin` holds loss curves of the classes of `transformers` with `torch.optim`
//! (`tests/golden/make_twin.py`) and of adapters by `peft` (`make_peft.py`); `fixtures/optim` holds
//! twenty steps of each optimizer (`tests/golden/make_optim.py`). `DATAPREP_TWIN` may name another
//! file of curves, with more steps.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::runtime::{
    data::Batch,
    device::Device,
    model::{LoraConfig, Model, ModelConfig, shapes, trained_shapes},
    optim::{
        adamw::AdamWConfig,
        clip::clip,
        config::{OptimizerConfig, Shared},
    },
    step,
    value::{NamedGradients, NamedParameters},
};
use candle_core::{Device as Place, Tensor};
use serde::Deserialize;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

const VOCABULARY: usize = 96;
const ROWS: usize = 4;
const SEQUENCE: usize = 24;
/// Where the second document of a row begins.
const CUT: usize = 9;

#[derive(Deserialize)]
struct Curve {
    model: String,
    optimizer: String,
    packing: String,
    learning_rate: f64,
    losses: Vec<f64>,
}

fn mixed(seed: u32, index: u32) -> u32 {
    let x = seed.wrapping_add(index.wrapping_mul(2_654_435_761));
    let x = (x ^ (x >> 16)).wrapping_mul(0x045d_9f3b);
    x ^ (x >> 16)
}

/// The script's `weight`.
fn weight(name: &str, dims: &[usize], gemma: bool) -> Tensor {
    let seed =
        name.bytes().fold(0u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let of_heads = name.contains("q_norm") || name.contains("k_norm");
    let one = if gemma && !of_heads { 0.0 } else { 1.0 };
    let number = |index: u32| {
        let unit = (f64::from(mixed(seed, index) >> 8) - 8_388_608.0) / 8_388_608.0;
        match dims.len() {
            _ if name.ends_with(".bias") => unit / 16.0,
            1 => one + unit / 8.0,
            _ => unit / 4.0,
        }
    };
    let count = dims.iter().product::<usize>() as u32;
    let numbers: Vec<f32> = (0..count).map(|index| number(index) as f32).collect();
    Tensor::from_vec(numbers, dims, &Place::Cpu).unwrap()
}

/// The script's `rows`, two documents each.
fn rows(step: u32) -> Batch {
    packed_rows("", step)
}

/// The script's `rows` under its `Layout`.
fn packed_rows(packing: &str, step: u32) -> Batch {
    let count = ROWS * SEQUENCE;
    let mut flat: Vec<u32> =
        (0..=count as u32).map(|at| mixed(step * 7919 + 5, at) % VOCABULARY as u32).collect();
    for at in (1..flat.len()).step_by(2) {
        flat[at] = (3 * flat[at - 1] + 1) % VOCABULARY as u32;
    }
    let begins = |at: usize| match packing {
        "concat" => vec![0, 1 + mixed(step, (at / SEQUENCE) as u32) as usize % (SEQUENCE - 1)],
        "best_fit" => vec![0, 5, 13],
        _ => vec![0, CUT],
    };
    let before = |at: usize| begins(at).into_iter().filter(|&begin| begin <= at % SEQUENCE).count();
    let position = |at: usize| at % SEQUENCE - begins(at)[before(at) - 1];
    Batch {
        inputs: flat[..count].to_vec(),
        targets: flat[1..].to_vec(),
        segments: (0..count).map(|at| before(at) as u32 - 1).collect(),
        positions: (0..count).map(|at| position(at) as u32).collect(),
        trained: Vec::new(),
        rows: ROWS,
        sequence: SEQUENCE,
        first_row: 0,
        parts: 1,
    }
}

fn shape(keys: &str) -> ModelConfig {
    let sizes = format!(
        "vocab_size = {VOCABULARY}\nd_model = 32\nn_layer = 2\nn_head = 4\nd_ff = 64\n{}{keys}",
        if keys.contains("n_kv_head") { "" } else { "n_kv_head = 2\n" }
    );
    toml::from_str(&sizes).unwrap()
}

#[test]
fn losses_follow_those_of_torch_for_every_family_optimizer_packing_and_knob() {
    let path = std::env::var_os("DATAPREP_TWIN").map(PathBuf::from);
    let path = path.unwrap_or_else(|| project().join("fixtures/twin/curves.json"));
    let curves: Vec<Curve> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();

    for Curve { model: keys, optimizer: kind, packing, learning_rate, losses } in curves {
        let config = shape(&keys);
        let model = model(&config, keys.contains("gemma"));
        let optimizer: OptimizerConfig = toml::from_str(&format!("kind = '{kind}'")).unwrap();
        let shared = Shared { learning_rate, adamw: AdamWConfig::default() };
        let mut optimizer =
            optimizer.resolved().build(&shared, &config, model.parameters()).unwrap();
        let mut worst = 0f64;
        for (at, expected) in losses.iter().enumerate() {
            let mut found = step::gradients(&model, &packed_rows(&packing, at as u32), 2).unwrap();
            worst = worst.max((found.loss - expected).abs());
            // Lion moves by signs: where a gradient is near 0 rounding decides, and of 100 steps
            // PyTorch's own in float64 end 2.7e-4 from those in float32 (GPT-2's form).
            let most = if kind == "lion" && at > 50 { 5e-4 } else { 1e-4 };
            assert!(worst < most, "{keys:?}, {kind}, step {at}: {} is not {expected}", found.loss);
            clip(&mut found.gradients, 1.0).unwrap();
            optimizer.step(&found.gradients, learning_rate).unwrap();
        }
        println!("{kind:6} {} steps, off by {worst:.1e} at most: {keys:?}", losses.len());
    }
}

/// Losses of twelve steps of AdamW in the shape of `keys`.
fn losses(keys: &str) -> Vec<f64> {
    let config = shape(keys);
    let model = model(&config, false);
    let shared = Shared { learning_rate: 3e-3, adamw: AdamWConfig::default() };
    let kind = OptimizerConfig::default().resolved();
    let mut optimizer = kind.build(&shared, &config, model.parameters()).unwrap();
    let step = |at| {
        let mut found = step::gradients(&model, &rows(at), 2).unwrap();
        clip(&mut found.gradients, 1.0).unwrap();
        optimizer.step(&found.gradients, shared.learning_rate).unwrap();
        found.loss
    };
    (0..12).map(step).collect()
}

#[test]
fn losses_in_bf16_follow_those_in_f32() {
    for keys in ["", "qk_norm = true\nactivation = 'geglu'\n", "logit_softcap = 5.0\n"] {
        let (own, found) = (losses(keys), losses(&format!("{keys}dtype = 'bf16'\n")));
        let off = own.iter().zip(&found).map(|(own, found)| (own - found).abs());
        let worst = off.fold(0.0, f64::max);
        println!("in bf16 off by {worst:.1e} at most: {keys:?}");
        assert!(worst < 0.01 && worst > 0.0, "{keys:?}: {own:?} {found:?}");
        assert!(found[11] < found[0] - 0.1, "{found:?}");
    }
}

/// The model of the script's weights.
fn model(config: &ModelConfig, gemma: bool) -> Model {
    let tensors: BTreeMap<String, Tensor> = shapes(config)
        .into_iter()
        .map(|(name, mut dims)| {
            if dims[0] == config.padded_vocab() {
                dims[0] = VOCABULARY;
            }
            let tensor = weight(&name, &dims, gemma);
            (name, tensor)
        })
        .collect();
    Model::from_tensors(config, tensors, &Device::cpu()).unwrap()
}

#[derive(Deserialize)]
struct Adapters {
    lora: String,
    learning_rate: f64,
    losses: Vec<f64>,
    beside: Vec<f64>,
    merged: Vec<f64>,
    names: Vec<String>,
}

#[test]
fn adapters_are_trained_and_merged_as_peft_does_it_on_some_targets_alone() {
    let text = fs::read(project().join("fixtures/twin/peft.json")).unwrap();
    let golden: Adapters = serde_json::from_slice(&text).unwrap();
    let (config, lora) = (shape(""), toml::from_str::<LoraConfig>(&golden.lora).unwrap());
    let adapters = trained_shapes(&config, Some(&lora));
    let names = adapters.keys().map(|name| format!("base_model.model.{name}"));
    assert_eq!(names.collect::<Vec<_>>(), golden.names);
    let drawn = adapters.iter().map(|(name, dims)| (name.clone(), weight(name, dims, false)));
    let model = model(&config, false).with_adapters(&lora, drawn.collect()).unwrap();
    let shared = Shared { learning_rate: golden.learning_rate, adamw: AdamWConfig::default() };
    let kind = OptimizerConfig::default().resolved();
    let mut optimizer = kind.build(&shared, &config, model.parameters()).unwrap();
    let masked = |step: usize| {
        let prompt = SEQUENCE..2 * SEQUENCE;
        let trained = (0..ROWS * SEQUENCE).map(|at| at % 3 != 0 && !prompt.contains(&at));
        Batch { trained: trained.collect(), ..rows(step as u32) }
    };
    for (at, expected) in golden.losses.iter().enumerate() {
        let mut found = step::gradients(&model, &masked(at), 1).unwrap();
        assert!((found.loss - expected).abs() < 1e-4, "step {at}: {} {expected}", found.loss);
        clip(&mut found.gradients, 1.0).unwrap();
        optimizer.step(&found.gradients, golden.learning_rate).unwrap();
    }
    let last = rows(golden.losses.len() as u32);
    for (model, expected) in [(&model, &golden.beside), (&model.merged().unwrap(), &golden.merged)]
    {
        let logits = model.logits(&last).unwrap();
        for (found, expected) in logits.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-3, "{found} {expected}");
        }
    }
}

#[derive(Deserialize)]
struct Case {
    optimizer: String,
    steps: BTreeMap<u32, BTreeMap<String, Vec<f64>>>,
}

#[test]
fn twenty_steps_of_every_optimizer_are_those_of_torch() {
    let path = project().join("fixtures/optim/steps.json");
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let dims: BTreeMap<&str, &[usize]> = [
        ("model.embed_tokens.weight", &[5, 4][..]),
        ("model.layers.0.mlp.down_proj.weight", &[4, 6]),
        ("model.layers.0.mlp.up_proj.weight", &[6, 4]),
        ("model.norm.weight", &[4]),
    ]
    .into();
    let numbers = |step: i64| -> BTreeMap<String, Tensor> {
        let of = |(seed, (name, dims)): (usize, (&&str, &&[usize]))| {
            let exact =
                |i: i64| ((i * i * 37 + i * 11 + step * 61 + seed as i64 * 17) % 101 - 50) as f32;
            let count = dims.iter().product::<usize>() as i64;
            let numbers: Vec<f32> = (0..count).map(|i| exact(i) / 64.0).collect();
            ((*name).to_owned(), Tensor::from_vec(numbers, *dims, &Place::Cpu).unwrap())
        };
        dims.iter().enumerate().map(of).collect()
    };
    for case in cases {
        let parameters = NamedParameters::new(numbers(0));
        let config: OptimizerConfig = toml::from_str(&case.optimizer).unwrap();
        config.validate().unwrap();
        let shared = Shared { learning_rate: 0.02, adamw: AdamWConfig::default() };
        let shape = ModelConfig::default();
        let mut optimizer = config.resolved().build(&shared, &shape, &parameters).unwrap();
        for step in 1..=20 {
            let mut gradients = NamedGradients::default();
            numbers(step).into_iter().for_each(|(name, it)| gradients.insert(&name, it));
            optimizer.step(&gradients, 0.02 * (4 - step % 4) as f64 / 4.0).unwrap();
            let Some(expected) = case.steps.get(&(step as u32)) else { continue };
            for (name, expected) in expected {
                let found = parameters.get(name).unwrap().flatten_all().unwrap();
                for (found, expected) in found.to_vec1::<f32>().unwrap().iter().zip(expected) {
                    let off = (f64::from(*found) - expected).abs();
                    assert!(
                        off < 3e-6,
                        "{}: step {step}, {name}: {found} {expected}",
                        case.optimizer
                    );
                }
            }
        }
    }
}
