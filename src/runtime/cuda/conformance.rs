//! Every operation on a device against the same operation on the CPU: value, gradients, equal bits.
//!
//! One set of cases, two devices. On the host's machine (`host`) they run in every build and prove
//! what Rust computes for a launch together with the kernel's own source. On a GPU they run with
//! the feature `cuda`, and say "skipped" where there is none.
//!
//! **Tolerances**, ‖found − expected‖ / ‖expected‖ against composed forms in f64 on inputs that
//! bf16 has exactly: [`ROUNDED`] for an op and a loss behind it, [`STEP`] for a whole model.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device as CandleDevice, Tensor};
use half::bf16;

use super::calls::arguments;
use super::host::HostMachine;
use super::memory::Context;
use crate::base::hash::xxh3_128;
use crate::base::rng::Stream;
use crate::runtime::data::Batch;
use crate::runtime::device::Device;
use crate::runtime::model::{Model, ModelConfig, knobs::Activation};
use crate::runtime::ops::{self, Gain, Head, Noise, Rotation, Tables, Visible};
use crate::runtime::optim::{adamw::AdamWConfig, clip::clip, on_device::plain_adamw};
use crate::runtime::step;
use crate::runtime::value::{Form, NamedParameters, Value, backward};

/// bf16 keeps 8 bits: rounding moves a number by 0.0017 by the norm of many. Between an op and its
/// gradient the logits, their gradient and that of the hidden state are rounded, in turn.
const ROUNDED: f64 = 8e-3;
/// Gradients of a model of two blocks, whose every activation is rounded.
const STEP: f64 = 4e-2;

/// What an op of a case needs that is not the same on both sides.
struct Side {
    tables: Option<Tables>,
}

type Run = Box<dyn Fn(&[Value], &Side) -> Value>;

/// An op, and the inputs whose gradients are held.
struct Case {
    name: &'static str,
    inputs: Vec<(&'static str, Vec<usize>)>,
    run: Run,
    tolerance: f64,
}

fn case(
    name: &'static str,
    tolerance: f64,
    inputs: &[(&'static str, &[usize])],
    run: impl Fn(&[Value], &Side) -> Value + 'static,
) -> Case {
    let inputs = inputs.iter().map(|(name, dims)| (*name, dims.to_vec())).collect();
    Case { name, inputs, run: Box::new(run), tolerance }
}

const POSITIONS: [u32; 10] = [0, 1, 2, 3, 4, 0, 1, 2, 0, 1];

/// The result of each goes into the loss, which is the op that makes a number, and whose weight is
/// the last input: so all of them prove it, too.
fn cases() -> Vec<Case> {
    let (x, head) = (("x", &[2, 5, 128][..]), ("head", &[128, 128][..]));
    let attended = |h: usize, window: usize| {
        move |v: &[Value], _: &Side| {
            let segments = [0, 0, 0, 1, 1, 0, 0, 0, 0, 0];
            let visible = Visible::in_segments(&segments, 2, 5).within(window);
            ops::attention(&v[0], &v[1], &v[2], &visible, 128 / h, 1, 0.0).unwrap()
        }
    };
    let turned = |h: usize| {
        move |v: &[Value], side: &Side| {
            let rotation = match &side.tables {
                Some(tables) => Rotation::on_device(&POSITIONS, h, 1e4, None, tables),
                None => Rotation::new(&POSITIONS, h, 1e4, None, &CandleDevice::Cpu),
            };
            ops::rope(&v[0], &rotation.unwrap()).unwrap()
        }
    };
    vec![
        case("linear", ROUNDED, &[x, ("weight", &[128, 128]), head], |v, _| {
            ops::linear(&v[0], &v[1]).unwrap()
        }),
        case("linear, an input twice", ROUNDED, &[x, ("weight", &[128, 128]), head], |v, _| {
            let one = ops::linear(&v[0], &v[1]).unwrap();
            ops::add(&one, &v[0]).unwrap()
        }),
        case("embedding", ROUNDED, &[("table", &[16, 128]), head], |v, _| {
            ops::embedding(&v[0], &[3, 0, 3, 6, 3, 1, 15, 3, 0, 9], 2, 5).unwrap()
        }),
        case("add and scale", ROUNDED, &[x, ("other", &[2, 5, 128]), head], |v, _| {
            ops::add(&ops::scale(&v[0], -0.75).unwrap(), &v[1]).unwrap()
        }),
        case("rms_norm", ROUNDED, &[x, ("weight", &[128]), head], |v, _| {
            ops::rms_norm(&v[0], &v[1], Gain::Weight, 1e-5).unwrap()
        }),
        case("rms_norm of heads", ROUNDED, &[x, ("weight", &[64]), head], |v, _| {
            ops::rms_norm(&v[0], &v[1], Gain::Weight, 1e-5).unwrap()
        }),
        case("swiglu", ROUNDED, &[x, ("up", &[2, 5, 128]), head], |v, _| {
            ops::swiglu(&v[0], &v[1]).unwrap()
        }),
        case("geglu", ROUNDED, &[x, ("up", &[2, 5, 128]), head], |v, _| {
            ops::geglu(&v[0], &v[1]).unwrap()
        }),
        case("relu2", ROUNDED, &[x, head], |v, _| ops::relu2(&v[0]).unwrap()),
        case("rope, heads of 64", ROUNDED, &[x, head], turned(64)),
        case("rope, a head of 128", ROUNDED, &[x, head], turned(128)),
        case("dropout", ROUNDED, &[x, head], |v, _| {
            ops::dropout(&v[0], 0.25, Noise { seed: 5, first_row: 9, parts: 1, site: 2 }).unwrap()
        }),
        case(
            "attention, heads of 64",
            ROUNDED,
            &[x, ("k", &[2, 5, 64]), ("v", &[2, 5, 64]), head],
            attended(64, 0),
        ),
        case(
            "attention, a head of 128 and a window",
            ROUNDED,
            &[x, ("k", &[2, 5, 128]), ("v", &[2, 5, 128]), head],
            attended(128, 2),
        ),
    ]
}

const TARGETS: [u32; 10] = [4, 0, 99, 4, 7, 2, 30, 55, 1, 0];

/// Numbers that bf16 has exactly.
fn drawn(name: &str, dims: &[usize]) -> Tensor {
    let mut stream = Stream::new(3, name);
    let wide = if name == "head" { 0.05 } else { 1.0 };
    let count = dims.iter().product::<usize>();
    let numbers: Vec<f64> =
        (0..count).map(|_| bf16::from_f64(stream.normal() * wide).to_f64()).collect();
    Tensor::from_vec(numbers, dims, &CandleDevice::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let distance = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let error = distance / norm(&mut expected.iter().copied()).max(1e-30);
    assert!(error <= tolerance, "{what}: {error:.2e} > {tolerance:.0e}");
}

/// The value of the op, the loss behind it, and the gradients by name.
struct Outcome {
    value: Vec<f64>,
    loss: f64,
    gradients: BTreeMap<String, Vec<f64>>,
}

/// Runs a case on `context`, or as composed forms in f64 on the CPU. Inputs of three dimensions are
/// activations, the others parameters.
fn outcome(case: &Case, context: Option<&Arc<Context>>) -> Outcome {
    let tensor = |(name, dims): &(&str, Vec<usize>)| ((*name).to_owned(), drawn(name, dims));
    let is_parameter = |(_, dims): &&(&str, Vec<usize>)| dims.len() < 3;
    let tensors = case.inputs.iter().filter(is_parameter).map(tensor);
    let parameters = match context {
        Some(context) => {
            let narrow = tensors.map(|(name, it)| (name, it.to_dtype(DType::F32).unwrap()));
            NamedParameters::new(narrow.collect()).placed_on(context).unwrap()
        }
        None => NamedParameters::new(tensors.collect()),
    };
    let leaf = |(name, dims): &(&str, Vec<usize>)| match (dims.len(), context) {
        (3, Some(context)) => {
            let numbers: Vec<f32> = numbers(&drawn(name, dims)).iter().map(|&x| x as f32).collect();
            Value::parameter_on_device(name, context.rounded(dims, &numbers).unwrap())
        }
        (3, None) => Value::parameter(name, &drawn(name, dims), Form::Composed),
        _ => parameters.leaf(name, Form::Composed, true),
    };
    let leaves: Vec<Value> = case.inputs.iter().map(leaf).collect();
    let side = Side { tables: context.map(Tables::new) };
    let output = (case.run)(&leaves, &side);
    let head = Head { vocabulary: 100, softcap: 15.0, z_loss: 1e-3 };
    let weight = &leaves[leaves.len() - 1];
    let loss = ops::cross_entropy(&output, weight, &TARGETS, head, 0.1).unwrap();
    let gradients = backward(&loss, &parameters).unwrap().on_host().unwrap();
    let gradients = gradients.iter().map(|(name, it)| (name.to_owned(), numbers(it))).collect();
    let value = numbers(&output.read().unwrap());
    Outcome { value, loss: loss.scalar().unwrap(), gradients }
}

fn hold(case: &Case, context: &Arc<Context>) {
    let expected = outcome(case, None);
    let found = outcome(case, Some(context));
    assert_close(case.name, &found.value, &expected.value, case.tolerance);
    let distance = (found.loss - expected.loss).abs();
    assert!(distance <= 5e-3 * expected.loss, "{}: {} {}", case.name, found.loss, expected.loss);
    for (name, gradient) in &expected.gradients {
        let what = format!("{}: d{name}", case.name);
        assert_close(&what, &found.gradients[name], gradient, case.tolerance);
    }
    let again = outcome(case, Some(context));
    assert!(found.value == again.value && found.loss.to_bits() == again.loss.to_bits());
    assert!(found.gradients == again.gradients, "{}: the same bits twice", case.name);
}

/// The shape with most of the kernels, and one with the others.
fn shapes() -> [ModelConfig; 2] {
    let plain = ModelConfig {
        vocab_size: 100,
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
    [plain, other]
}

/// Two rows of two documents each.
fn batch() -> Batch {
    let (rows, sequence, cut) = (2, 40, 13);
    let token = |at: usize| (at * at * 7 % 100) as u32;
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
    // Weights that bf16 has exactly, so that both sides begin with the same.
    let fresh = Model::new(config, 5, &Device::cpu()).unwrap();
    let rounded = fresh.parameters().iter().map(|(name, tensor)| {
        let exact = tensor.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        (name.to_owned(), exact)
    });
    Model::from_tensors(config, rounded.collect(), device).unwrap().with_noise_seed(7)
}

fn adamw(model: &Model) -> Box<dyn crate::runtime::optim::Optimizer> {
    plain_adamw(model.parameters(), &AdamWConfig::default()).unwrap()
}

/// Loss and gradients as on the CPU, steps as the CPU's AdamW makes them of the same gradients.
fn hold_step(config: &ModelConfig, context: &Arc<Context>) {
    let (host, device) =
        (model(config, &Device::cpu()), model(config, &Device::over(context.clone())));
    let expected = step::gradients(&host, &batch(), 2).unwrap();
    let mut found = step::gradients(&device, &batch(), 1).unwrap();
    let distance = (found.loss - expected.loss).abs();
    assert!(distance < 5e-3 * expected.loss, "{} {}", found.loss, expected.loss);
    let gradients = found.gradients.on_host().unwrap();
    for (name, gradient) in expected.gradients.iter() {
        let found = numbers(gradients.get(name).unwrap());
        assert_close(name, &found, &numbers(gradient), STEP);
    }
    // The host's own clipping and AdamW, on what the device has found.
    let mut same = gradients;
    let norm = clip(&mut same, 0.5).unwrap();
    let on_device = clip(&mut found.gradients, 0.5).unwrap();
    assert!((norm - on_device).abs() < 1e-6 * norm, "{norm} {on_device}");
    let (mut one, mut other) = (adamw(&host), adamw(&device));
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

/// What a model says of a text as it goes on, and of whole rows.
fn hold_reading(config: &ModelConfig, context: &Arc<Context>) {
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
        assert_eq!((logits.len(), cache.len()), (200, 4));
        logits.iter().map(|logit| f64::from(*logit)).collect::<Vec<f64>>()
    };
    assert_close("logits", &logits(&device), &logits(&host), 2e-2);
}

/// Two steps, one of them after its state went through a checkpoint, have the bits of two in one.
fn hold_bits(config: &ModelConfig, context: &Arc<Context>) {
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

/// Blocks that run again in the backward pass give the same gradients, bit for bit.
fn hold_recomputed(config: &ModelConfig, context: &Arc<Context>) {
    let bits = |again: bool| -> Vec<Vec<f64>> {
        let device = model(config, &Device::over(context.clone())).with_recompute(again);
        let found = step::gradients(&device, &batch(), 1).unwrap();
        found.gradients.on_host().unwrap().iter().map(|(_, it)| numbers(it)).collect()
    };
    assert_eq!(bits(false), bits(true));
}

/// xxh3-128 of what [`probed`] finds, on the host as on a GPU.
const PROBED: &str = "58a8fbb88a206bb936c08f7c9d64d453";

/// What single instructions make of whole numbers, which every device computes exactly: products of
/// fragments, matrices loaded from shared memory, sums over lanes. `tests/kernels/` holds the
/// host's against the tables of the PTX ISA.
fn probed(context: &Arc<Context>) -> String {
    let small = |count: usize, step: usize| -> Vec<f32> {
        (0..count).map(|at| (at * step % 17) as f32 - 8.0).collect()
    };
    let [a, b] = [(256, 3), (128, 5)]
        .map(|(count, step)| context.rounded(&[count], &small(count, step)).unwrap());
    let c = context.floats(&[128], &small(128, 7)).unwrap();
    let d = c.like(&[128]).unwrap();
    context.launch("probe_multiply", [1, 1, 1], 0, arguments![&a, &b, &c, &d]).unwrap();
    let (plain, transposed) = (c.like(&[128]).unwrap(), c.like(&[128]).unwrap());
    let given = arguments![&a, &plain, &transposed];
    context.launch("probe_load", [1, 1, 1], 512, given).unwrap();
    let lanes = c.part(0, &[32]);
    let (sums, groups) = (c.like(&[32]).unwrap(), c.like(&[32]).unwrap());
    context.launch("probe_sums", [1, 1, 1], 0, arguments![&lanes, &sums, &groups]).unwrap();
    let found = [d, plain, transposed, sums, groups].map(|array| array.read().unwrap());
    xxh3_128(&found.concat()).to_string()
}

#[test]
fn ops_on_the_hosts_machine_give_the_cpus_values_and_gradients() {
    let (machine, context) = HostMachine::context(1);
    for case in cases() {
        hold(&case, &context);
    }
    assert_eq!(probed(&context), PROBED);
    let launched = machine.launched.lock().unwrap();
    for name in ["attention_keys_128", "embedding_backward", "rope_backward_64", "dropout_apply"] {
        assert!(launched.contains(&name), "{name} was not launched");
    }
}

#[test]
fn a_step_on_the_hosts_machine_is_the_cpus() {
    for (seed, config) in shapes().iter().enumerate() {
        let (_, context) = HostMachine::context(seed as u64);
        hold_step(config, &context);
    }
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

#[cfg(feature = "cuda")]
mod on_a_gpu {
    use super::*;
    use crate::runtime::cuda::gpu;

    /// The first GPU, or a line that says why there is none.
    fn context() -> Option<Arc<Context>> {
        match gpu::open(0) {
            Ok(context) => Some(context),
            Err(error) => {
                println!("skipped: {error}");
                None
            }
        }
    }

    #[test]
    fn instructions() {
        let Some(context) = context() else { return };
        assert_eq!(probed(&context), PROBED, "mma, ldmatrix, copies or shuffles");
    }

    #[test]
    fn ops() {
        let Some(context) = context() else { return };
        for case in cases() {
            hold(&case, &context);
            println!("{}: value, gradients, the same bits twice", case.name);
        }
    }

    #[test]
    fn steps() {
        let Some(context) = context() else { return };
        for config in shapes() {
            hold_step(&config, &context);
            hold_reading(&config, &context);
            hold_bits(&config, &context);
            hold_recomputed(&config, &context);
        }
    }

    #[test]
    fn without_a_gpu_the_error_says_what_is_missing() {
        let Err(error) = gpu::open(0) else { return };
        assert_eq!(error.exit_status(), 2, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}
