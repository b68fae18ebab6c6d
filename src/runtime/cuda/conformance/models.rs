//! Whole models on a device against the same on the CPU: steps, masks, adapters, optimizers,
//! averages, reading, checkpoints, and the plan of a step.
//!
//! In → a shape, a device; out → nothing, or a failure that names what differs. The tests here run
//! some of them on the host's machine; the parent runs some on a GPU.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::super::host::HostMachine;
use super::super::memory::Context;
use super::super::table::ENTRIES;
use super::{STEP, assert_close, drawn, numbers};
use crate::runtime::ceiling;
use crate::runtime::data::Batch;
use crate::runtime::device::Device;
use crate::runtime::model::knobs::{Activation, Bias, Norm, Positions};
use crate::runtime::model::{LoraConfig, Model, ModelConfig};
use crate::runtime::optim::config::{OptimizerConfig, Shared};
use crate::runtime::optim::{
    Optimizer, adamw::AdamWConfig, average, clip::clip, on_device::plain_adamw,
};
use crate::runtime::step;
use crate::runtime::value::NamedGradients;

/// A shape that uses most of the kernels, and three that use the others.
pub fn shapes() -> [ModelConfig; 4] {
    let plain = ModelConfig {
        vocab_size: 300,
        d_model: 128,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 1,
        d_ff: 96,
        dropout: 0.1,
        ..ModelConfig::default()
    };
    let other = ModelConfig {
        n_layer: 1,
        n_kv_head: 2,
        activation: Activation::Relu2,
        qk_norm: true,
        parallel: true,
        tied: false,
        scale_embedding: true,
        logit_softcap: 20.0,
        z_loss: 1e-3,
        window: 9,
        dropout: 0.0,
        ..plain.clone()
    };
    let gpt2 = ModelConfig {
        n_layer: 1,
        n_kv_head: 2,
        activation: Activation::Gelu,
        norm: Norm::LayerNorm,
        bias: Bias::All,
        positions: Positions::Learned,
        context: 72,
        dropout: 0.0,
        ..plain.clone()
    };
    let gemma = ModelConfig {
        n_layer: 1,
        activation: Activation::GeGlu,
        norm: Norm::Gemma,
        attention_softcap: 2.0,
        logit_softcap: 10.0,
        scale_embedding: true,
        qk_norm: true,
        dropout: 0.0,
        ..plain.clone()
    };
    [plain, other, gpt2, gemma]
}

/// Two rows of two documents each.
pub fn batch() -> Batch {
    // A tile of attention has 64 tokens.
    let (rows, sequence, cut) = (2, 70, 13);
    let token = |at: usize| (at * at * 7 % 300) as u32;
    let column = |at: usize| at % sequence;
    let tokens = 0..rows * sequence;
    Batch {
        inputs: tokens.clone().map(token).collect(),
        targets: tokens.clone().map(|at| token(at + 1)).collect(),
        segments: tokens.clone().map(|at| u32::from(column(at) >= cut)).collect(),
        positions: tokens
            .map(|at| if column(at) >= cut { column(at) - cut } else { column(at) } as u32)
            .collect(),
        rows,
        sequence,
        first_row: 3,
        parts: 1,
        trained: Vec::new(),
    }
}

fn model(config: &ModelConfig, device: &Device) -> Model {
    // Weights that bf16 represents exactly, so that both sides begin with the same.
    let fresh = Model::new(config, 5, &Device::cpu()).unwrap();
    let rounded = fresh.parameters().iter().map(|(name, tensor)| {
        // Biases begin at zero, which would prove nothing.
        let drawn = match name.ends_with(".bias") {
            true => (drawn(name, tensor.dims()) * 0.05).unwrap(),
            false => tensor.clone(),
        };
        let exact = drawn.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        (name.to_owned(), exact)
    });
    Model::from_tensors(config, rounded.collect(), device).unwrap().with_noise_seed(7)
}

fn adamw(model: &Model) -> Box<dyn Optimizer> {
    plain_adamw(model.parameters(), &AdamWConfig::default()).unwrap()
}

/// The same model on the CPU and on a device.
pub fn pair(config: &ModelConfig, context: &Arc<Context>) -> [Model; 2] {
    [Device::cpu(), Device::over(context.clone())].map(|device| model(config, &device))
}

/// The same with adapters that are not zero.
pub fn adapted(config: &ModelConfig, context: &Arc<Context>) -> [Model; 2] {
    let targets = ["q_proj", "v_proj", "o_proj", "down_proj"].map(str::to_owned).to_vec();
    let lora = LoraConfig { rank: 8, alpha: 16.0, targets };
    let shapes = lora.shapes(config).into_iter();
    let tensors = shapes.map(|(name, dims)| {
        let numbers = (drawn(&name, &dims) * 0.0625).unwrap();
        (name, numbers.to_dtype(DType::F32).unwrap())
    });
    let tensors: BTreeMap<String, Tensor> = tensors.collect();
    let own = |tensor: &Tensor| tensor.copy().unwrap();
    pair(config, context).map(|model| {
        let copies = tensors.iter().map(|(name, it)| (name.clone(), own(it))).collect();
        model.with_adapters(&lora, copies).unwrap()
    })
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |largest, number| largest.max(number.abs()))
}

/// Loss and gradients are as on the CPU; the step is that of the CPU's AdamW on the same gradients.
pub fn hold_step([host, device]: &[Model; 2], batch: &Batch) {
    let expected = step::gradients(host, batch, 2).unwrap();
    let mut found = step::gradients(device, batch, 1).unwrap();
    let distance = (found.loss - expected.loss).abs();
    assert!(distance < 5e-3 * expected.loss, "{} {}", found.loss, expected.loss);
    let gradients = found.gradients.on_host().unwrap();
    let turned = host.config().positions == Positions::Rope;
    for (name, gradient) in expected.gradients.iter() {
        let found = numbers(gradients.get(name).unwrap());
        if !turned && name.ends_with("k_proj.bias") {
            // Adding one vector to every key does not change a softmax: only rounding is left.
            let other = expected.gradients.get(&name.replace("k_proj", "v_proj")).unwrap();
            let (own, scale) = (largest(&found), largest(&numbers(other)));
            assert!(own < STEP * scale, "{name}: {own} beside {scale}");
            continue;
        }
        assert_close(name, &found, &numbers(gradient), STEP);
    }
    // The host's own clipping and AdamW, on the device's gradients.
    let mut same = gradients;
    let norm = clip(&mut same, 0.5).unwrap();
    let on_device = clip(&mut found.gradients, 0.5).unwrap();
    assert!((norm - on_device).abs() < 1e-6 * norm, "{norm} {on_device}");
    let (mut one, mut other) = (adamw(host), adamw(device));
    one.step(&same, 1e-2).unwrap();
    other.step(&found.gradients, 1e-2).unwrap();
    for (name, tensor) in host.parameters().iter() {
        let found = numbers(device.parameters().get(name).unwrap());
        assert_close(name, &found, &numbers(tensor), 1e-6);
    }
    let (one, other) = (one.state(), other.state());
    for ((name, expected), (found_name, found)) in one.iter().zip(&other) {
        assert_eq!(name, found_name);
        assert_close(name, &numbers(found), &numbers(expected), 1e-6);
    }
}

/// One optimizer on both sides, on the same random gradients: parameters, state, and the host's
/// state loaded on the device. Muon's directions come from products in bf16.
pub fn hold_updates(text: &str, config: &ModelConfig, context: &Arc<Context>) {
    let table: OptimizerConfig = toml::from_str(text).unwrap();
    let table = table.resolved();
    let shared = Shared { learning_rate: 1e-2, adamw: AdamWConfig::default() };
    let build = |model: &Model| table.build(&shared, config, model.parameters()).unwrap();
    let [host, device] = pair(config, context);
    let (mut one, mut other) = (build(&host), build(&device));
    let before = model(config, &Device::cpu());
    for turn in 0..2 {
        let drawn = host.parameters().iter().map(|(name, it)| {
            let numbers = drawn(&format!("{turn} {name}"), it.dims());
            (name.to_owned(), numbers.to_dtype(DType::F32).unwrap())
        });
        let resident = device.parameters().resident().unwrap();
        let tensors: BTreeMap<String, Tensor> = drawn.collect();
        resident.clear_gradients().unwrap();
        let flat = resident.flat(&tensors).unwrap().into_iter();
        resident.gradients().write(&flat.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        let there = NamedGradients { tensors: BTreeMap::new(), resident: Some(resident.clone()) };
        let mut here = NamedGradients { tensors, resident: None };
        let mut there = there;
        let norms = [clip(&mut here, 10.0).unwrap(), clip(&mut there, 10.0).unwrap()];
        assert!((norms[0] - norms[1]).abs() < 1e-6 * norms[0], "{norms:?}");
        one.step(&here, 1e-2).unwrap();
        other.step(&there, 1e-2).unwrap();
    }
    let by_products = text.contains("muon");
    for (name, tensor) in host.parameters().iter() {
        let found = device.parameters().get(name).unwrap();
        let start = before.parameters().get(name).unwrap();
        let moved = |to: &Tensor| numbers(&(to - start).unwrap());
        let is_turned = by_products && tensor.rank() == 2 && name.contains("layers");
        let tolerance = if is_turned { 4e-2 } else { 1e-4 };
        assert_close(&format!("{text}: {name}"), &moved(found), &moved(tensor), tolerance);
    }
    let states = [one.state(), other.state()];
    for ((name, expected), (found_name, found)) in states[0].iter().zip(&states[1]) {
        assert_eq!(name, found_name, "{text}");
        assert_close(&format!("{text}: {name}"), &numbers(found), &numbers(expected), 1e-6);
    }
    assert_eq!(states[0].len(), states[1].len(), "{text}");
    let [host_state, _] = states;
    other.load_state(host_state.iter().cloned().collect()).unwrap();
    let back = other.state();
    for ((name, expected), (_, found)) in host_state.iter().zip(&back) {
        assert_eq!(numbers(found), numbers(expected), "{text}: {name}");
    }
    let mut less: BTreeMap<String, Tensor> = host_state.into_iter().collect();
    less.pop_first();
    assert!(other.load_state(less).is_err(), "{text}");
}

/// A running average is that of the CPU.
pub fn hold_average(config: &ModelConfig, context: &Arc<Context>) {
    let [host, device] = pair(config, context);
    let start = Model::new(config, 9, &Device::cpu()).unwrap();
    let found = [Device::cpu(), Device::over(context.clone())].map(|at| {
        let average = average::copy(&start, &at).unwrap();
        let to = if at.context().is_some() { &device } else { &host };
        (0..3).for_each(|steps| {
            average::update(average.parameters(), to.parameters(), 0.9, steps).unwrap();
        });
        average
    });
    for (name, tensor) in found[0].parameters().iter() {
        let other = numbers(found[1].parameters().get(name).unwrap());
        assert_close(name, &other, &numbers(tensor), 1e-6);
    }
    let nats = found.map(|average| {
        let nats = average.nats(&batch()).unwrap();
        nats.iter().map(|nats| f64::from(*nats)).collect::<Vec<f64>>()
    });
    assert_close("nats of the average", &nats[1], &nats[0], 5e-3);
}

/// A step makes the launches that `doctor --model` counts.
pub fn hold_plan(config: &ModelConfig, optimizer: &str) {
    let (machine, context) = HostMachine::context(6);
    let model = model(config, &Device::over(context));
    let table: OptimizerConfig = toml::from_str(&format!("kind = '{optimizer}'")).unwrap();
    let table = table.resolved();
    let shared = Shared { learning_rate: 1e-2, adamw: AdamWConfig::default() };
    let mut updates = table.build(&shared, config, model.parameters()).unwrap();
    machine.launched.lock().unwrap().clear();
    let mut found = step::gradients(&model, &batch(), 1).unwrap();
    clip(&mut found.gradients, 1.0).unwrap();
    updates.step(&found.gradients, 1e-2).unwrap();
    let mut launched: BTreeMap<&str, u64> = BTreeMap::new();
    machine
        .launched
        .lock()
        .unwrap()
        .iter()
        .for_each(|name| *launched.entry(name).or_default() += 1);
    let kind = match optimizer {
        "muon" => ceiling::Optimizer::Muon,
        _ => ceiling::Optimizer::AdamW,
    };
    let rows = ceiling::Batch { rows: 1, sequence: batch().sequence, parts: 2 };
    let mut planned: BTreeMap<&str, u64> = BTreeMap::new();
    let ops = ceiling::ops(config, rows, kind).unwrap();
    for op in &ops {
        let kernel = ENTRIES.iter().find(|entry| entry.name == op.name);
        let name = match (kernel, op.operations()) {
            (Some(entry), _) => entry.name,
            (None, 0) => continue, // memory that is cleared
            (None, _) => "product",
        };
        *planned.entry(name).or_default() += op.launches();
    }
    assert_eq!(launched, planned, "{config:?}");
}

/// Logits of a text read with a cache, and nats of whole rows.
pub fn hold_reading(config: &ModelConfig, context: &Arc<Context>) {
    use crate::runtime::model::KvCache;
    let (host, device) =
        (model(config, &Device::cpu()), model(config, &Device::over(context.clone())));
    let nats = |model: &Model| -> Vec<f64> {
        model.nats(&batch()).unwrap().iter().map(|nats| f64::from(*nats)).collect()
    };
    assert_close("nats", &nats(&device), &nats(&host), 5e-3);
    let logits = |model: &Model| {
        let mut cache = KvCache::new(model);
        let mut logits = model.generate_step(&[1, 7, 9], &mut cache).unwrap();
        logits.extend(model.generate_step(&[30], &mut cache).unwrap());
        assert_eq!((logits.len(), cache.len()), (600, 4));
        // Beyond the room of a new cache, where positions allow it.
        let more = config.longest().unwrap_or(140) - 10;
        let text: Vec<u32> = (0..more).map(|at| (at * 7 % 300) as u32).collect();
        logits.extend(model.generate_step(&text, &mut cache).unwrap());
        logits.extend(model.generate_step(&[5, 6], &mut cache).unwrap());
        logits.iter().map(|logit| f64::from(*logit)).collect::<Vec<f64>>()
    };
    assert_close("logits", &logits(&device), &logits(&host), 2e-2);
}

/// Two steps with a checkpoint between them have the same bits as two steps without.
pub fn hold_bits(config: &ModelConfig, context: &Arc<Context>) {
    let hash = |goes_through_state: bool| {
        let device = Device::over(context.clone());
        let mut model = model(config, &device);
        let mut optimizer = adamw(&model);
        for turn in 0..2 {
            let mut found = step::gradients(&model, &batch(), 2).unwrap();
            clip(&mut found.gradients, 1.0).unwrap();
            optimizer.step(&found.gradients, 1e-2).unwrap();
            if turn == 0 && goes_through_state {
                let state = optimizer.state().into_iter().collect();
                let tensors = model.parameters().iter();
                let tensors = tensors.map(|(name, it)| (name.to_owned(), it.copy().unwrap()));
                model = Model::from_tensors(config, tensors.collect(), &device)
                    .unwrap()
                    .with_noise_seed(7);
                optimizer = adamw(&model);
                optimizer.load_state(state).unwrap();
            }
        }
        model.parameters().xxh3().unwrap()
    };
    assert_eq!(hash(false), hash(true));
}

/// Blocks recomputed in the backward pass give the same gradients, bit for bit.
pub fn hold_recomputed(config: &ModelConfig, context: &Arc<Context>) {
    let bits = |blocks: usize| -> Vec<Vec<f64>> {
        let device = model(config, &Device::over(context.clone())).with_recompute(blocks);
        let found = step::gradients(&device, &batch(), 1).unwrap();
        found.gradients.on_host().unwrap().iter().map(|(_, it)| numbers(it)).collect()
    };
    assert_eq!(bits(0), bits(config.n_layer));
}

#[test]
fn a_step_on_the_hosts_machine_is_the_cpus() {
    for (seed, config) in shapes().iter().enumerate() {
        let (_, context) = HostMachine::context(seed as u64);
        hold_step(&pair(config, &context), &batch());
    }
}

/// A batch where every third target of the second row counts, and none of the first.
pub fn masked() -> Batch {
    let trained = (0..140).map(|at| at % 3 == 1 && at > 70).collect();
    Batch { trained, ..batch() }
}

#[test]
fn a_loss_on_answers_alone_on_the_hosts_machine_is_the_cpus() {
    let (_, context) = HostMachine::context(5);
    hold_step(&pair(&shapes()[1], &context), &masked());
}

#[test]
fn adapters_on_the_hosts_machine_learn_as_on_the_cpu() {
    let (_, context) = HostMachine::context(6);
    for (config, batch) in [(&shapes()[0], masked()), (&shapes()[2], batch())] {
        let models = adapted(config, &context);
        let frozen = models.each_ref().map(|model| model.adapter().unwrap().frozen.xxh3().unwrap());
        hold_step(&models, &batch);
        let after = models.each_ref().map(|model| model.adapter().unwrap().frozen.xxh3().unwrap());
        assert_eq!(frozen, after, "what is not trained stands still");
        let nats = models.each_ref().map(|model| {
            let merged = model.merged().unwrap().nats(&batch).unwrap();
            merged.iter().map(|nats| f64::from(*nats)).collect::<Vec<f64>>()
        });
        assert_close("merged", &nats[1], &nats[0], 5e-3);
    }
}

#[test]
fn optimizers_on_the_hosts_machine_are_the_cpus() {
    for text in [
        "kind = 'lion'\n[[groups]]\nparameters = '*q_proj*'\nweight_decay = 0.5",
        "kind = 'sgd'\nnesterov = true",
        "kind = 'sgd'",
        "kind = 'muon'\n[[groups]]\nparameters = '*up_proj*'\nlearning_rate = 0.05",
        "kind = 'muon'\ncoefficients = 'polar-express'\niterations = 4\nnesterov = false",
        "kind = 'adamw'\n[[groups]]\nparameters = '*norm*'\nbeta2 = 0.5",
    ] {
        hold_updates(text, &shapes()[1], &HostMachine::context(7).1);
    }
}

#[test]
fn a_running_average_on_the_hosts_machine_is_the_cpus() {
    hold_average(&shapes()[0], &HostMachine::context(8).1);
}

#[test]
fn a_step_launches_what_its_plan_counts() {
    let [plain, other, gpt2, gemma] = shapes();
    hold_plan(&plain, "adamw");
    hold_plan(&other, "muon");
    hold_plan(&gpt2, "adamw");
    hold_plan(&gemma, "adamw");
}

#[test]
fn blocks_run_again_on_the_hosts_machine_with_the_same_bits() {
    hold_recomputed(&shapes()[0], &HostMachine::context(2).1);
}

#[test]
fn reading_on_the_hosts_machine_is_the_cpus() {
    for config in shapes() {
        hold_reading(&config, &HostMachine::context(3).1);
    }
}

#[test]
fn steps_on_the_hosts_machine_have_the_same_bits_through_a_checkpoint() {
    hold_bits(&shapes()[1], &HostMachine::context(4).1);
}

#[test]
fn a_shape_without_a_kernel_is_refused_by_its_key() {
    let (_, context) = HostMachine::context(1);
    let narrow = ModelConfig { d_model: 96, n_head: 3, n_kv_head: 3, ..shapes()[0].clone() };
    let error = Model::new(&narrow, 1, &Device::over(context)).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("`model.d_head`"), "{error}");
    assert_eq!(error.exit_status(), 2);
}
