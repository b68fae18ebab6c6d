//! Every operation on a device against the same operation on the CPU: value, gradients, equal bits.
//!
//! One set of cases, two devices. On the host's machine (`host`) they run in every build and test
//! what Rust computes for a launch together with the kernel's own source. On a GPU they run with
//! the feature `cuda`, and say "skipped" where there is none.
//!
//! **Tolerances**, ‖found − expected‖ / ‖expected‖ against composed forms in f64 on inputs that
//! bf16 represents exactly: [`ROUNDED`] for an op and a loss behind it, [`STEP`] for a whole model.

#[cfg(test)]
mod models;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device as CandleDevice, Tensor};
use half::bf16;

use super::calls::arguments;
use super::host::HostMachine;
use super::memory::Context;
use crate::base::hash::xxh3_128;
use crate::base::rng::Stream;
use crate::runtime::ops::{self, Gain, Head, HeadNorms, Noise, Rotation, Tables, Visible};
use crate::runtime::value::{Form, NamedParameters, Value, backward};

/// bf16 keeps 8 bits: rounding moves numbers by 0.0017 in relative norm. Between an op and its
/// gradient the logits, their gradient and that of the hidden state are rounded in turn.
const ROUNDED: f64 = 8e-3;
/// Gradients of a model of two blocks, whose every activation is rounded.
const STEP: f64 = 4e-2;

/// What a case needs that differs between device and host.
struct Side {
    tables: Option<Tables>,
}

type Run = Box<dyn Fn(&[Value], &Side) -> Value>;

/// An op, and the inputs whose gradients are compared.
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

const X: (&str, &[usize]) = ("x", &[2, 5, 128]);
const K: (&str, &[usize]) = ("k", &[2, 5, 128]);
const W: (&str, &[usize]) = ("weight", &[128, 128]);
const BIAS: (&str, &[usize]) = ("bias", &[128]);
const HEAD: (&str, &[usize]) = ("head", &[128, 128]);

/// The result of each case goes into the loss, whose weight is the case's last input: so every case
/// tests the loss too.
fn cases() -> Vec<Case> {
    [between_rows(), places(), in_rows(), attentions()].into_iter().flatten().collect()
}

/// Queries and keys, normed and rotated in one launch; their sum, or attention, reads both.
fn places() -> Vec<Case> {
    let placed = |v: &[Value], side: &Side, h: usize| {
        let rotation = match &side.tables {
            Some(tables) => Rotation::on_device(&POSITIONS, h, 1e4, None, tables),
            None => Rotation::new(&POSITIONS, h, 1e4, None, &CandleDevice::Cpu),
        };
        let norms = (v.len() > 3).then(|| HeadNorms { weights: [&v[2], &v[3]], epsilon: 1e-5 });
        ops::place(&v[0], &v[1], norms, Some(&rotation.unwrap())).unwrap()
    };
    let summed = move |h: usize| {
        move |v: &[Value], side: &Side| {
            let [q, k] = placed(v, side, h);
            ops::add(&q, &k).unwrap()
        }
    };
    let attended = move |v: &[Value], side: &Side| {
        let [q, k] = placed(v, side, 64);
        let visible = Visible::in_segments(&[0; 10], 2, 5);
        ops::attention(&q, &k, &k, &visible, 2, 1, 0.0).unwrap()
    };
    vec![
        case("places, heads of 64", ROUNDED, &[X, K, HEAD], summed(64)),
        case("places, a head of 128", ROUNDED, &[X, K, HEAD], summed(128)),
        case(
            "places, a head of 128 and its norms",
            ROUNDED,
            &[X, K, ("q_norm", &[128]), ("k_norm", &[128]), HEAD],
            summed(128),
        ),
        case(
            "places, more queries than keys, and norms",
            ROUNDED,
            &[X, ("k", &[2, 5, 64]), ("q_norm", &[64]), ("k_norm", &[64]), HEAD],
            attended,
        ),
    ]
}

/// Products, selections of rows, sums.
fn between_rows() -> Vec<Case> {
    vec![
        case("linear", ROUNDED, &[X, W, HEAD], |v, _| ops::linear(&v[0], &v[1]).unwrap()),
        case("linear, an input twice", ROUNDED, &[X, W, HEAD], |v, _| {
            let one = ops::linear(&v[0], &v[1]).unwrap();
            ops::add(&one, &v[0]).unwrap()
        }),
        case("embedding", ROUNDED, &[("table", &[16, 128]), HEAD], |v, _| {
            ops::embedding(&v[0], &[3, 0, 3, 6, 3, 1, 15, 3, 0, 9], 2, 5).unwrap()
        }),
        case("add and scale", ROUNDED, &[X, ("other", &[2, 5, 128]), HEAD], |v, _| {
            ops::add(&ops::scale(&v[0], -0.75).unwrap(), &v[1]).unwrap()
        }),
        case("bias", ROUNDED, &[X, BIAS, HEAD], |v, _| ops::bias(&v[0], &v[1]).unwrap()),
        case("linear and its bias", ROUNDED, &[X, W, BIAS, HEAD], |v, _| {
            ops::linear_biased(&v[0], &v[1], &v[2]).unwrap()
        }),
        case("some rows, an input twice", ROUNDED, &[X, HEAD], |v, _| {
            let all = ops::scale(&v[0], 0.5).unwrap();
            ops::pick(&ops::add(&all, &v[0]).unwrap(), &[1, 2, 7]).unwrap()
        }),
        case("a wide vocabulary", ROUNDED, &[X, ("head", &[384, 128])], |v, _| {
            ops::scale(&v[0], 0.5).unwrap()
        }),
        case(
            "a wide embedding",
            ROUNDED,
            &[("table", &[16, 264]), ("head", &[128, 264])],
            |v, _| ops::embedding(&v[0], &[3, 0, 3, 6, 3, 1, 15, 3, 0, 9], 2, 5).unwrap(),
        ),
        case("dropout", ROUNDED, &[X, HEAD], |v, _| {
            ops::dropout(&v[0], 0.25, Noise { seed: 5, first_row: 9, parts: 1, site: 2 }).unwrap()
        }),
    ]
}

/// Norms and activations.
fn in_rows() -> Vec<Case> {
    let wide: [(&str, &[usize]); 3] =
        [("x", &[2, 5, 1032]), ("weight", &[1032]), ("head", &[128, 1032])];
    let sum: [(&str, &[usize]); 4] = [X, ("other", &[2, 5, 128]), ("weight", &[128]), HEAD];
    vec![
        case("rms_norm", ROUNDED, &[X, ("weight", &[128]), HEAD], |v, _| {
            ops::rms_norm(&v[0], &v[1], Gain::Weight, 1e-5).unwrap()
        }),
        case("rms_norm of heads", ROUNDED, &[X, ("weight", &[64]), HEAD], |v, _| {
            ops::rms_norm(&v[0], &v[1], Gain::Weight, 1e-5).unwrap()
        }),
        case("rms_norm of a wide row", ROUNDED, &wide, |v, _| {
            ops::rms_norm(&v[0], &v[1], Gain::Weight, 1e-5).unwrap()
        }),
        case("rms_norm by 1 and a weight", ROUNDED, &[X, ("weight", &[128]), HEAD], |v, _| {
            ops::rms_norm(&v[0], &v[1], Gain::OnePlus, 1e-5).unwrap()
        }),
        case("layer_norm", ROUNDED, &[X, ("weight", &[128]), HEAD], |v, _| {
            ops::layer_norm(&v[0], &v[1], 1e-5).unwrap()
        }),
        case("layer_norm of a wide row, an input twice", ROUNDED, &wide, |v, _| {
            let one = ops::layer_norm(&v[0], &v[1], 1e-5).unwrap();
            ops::add(&one, &v[0]).unwrap()
        }),
        case("rms_norm of a sum, which is read again", ROUNDED, &sum, |v, _| {
            let stream = ops::add(&v[0], &v[1]).unwrap();
            let normed = ops::rms_norm(&stream, &v[2], Gain::Weight, 1e-5).unwrap();
            ops::add(&normed, &stream).unwrap()
        }),
        case("layer_norm and its bias", ROUNDED, &[X, ("weight", &[128]), BIAS, HEAD], |v, _| {
            ops::layer_norm_biased(&v[0], &v[1], &v[2], 1e-5).unwrap()
        }),
        case("layer_norm of a sum, which is read again", ROUNDED, &sum, |v, _| {
            let stream = ops::add(&v[0], &v[1]).unwrap();
            let normed = ops::layer_norm(&stream, &v[2], 1e-5).unwrap();
            ops::add(&normed, &stream).unwrap()
        }),
        case("gelu", ROUNDED, &[X, HEAD], |v, _| ops::gelu(&v[0]).unwrap()),
        case("swiglu", ROUNDED, &[X, ("up", &[2, 5, 128]), HEAD], |v, _| {
            ops::swiglu(&v[0], &v[1]).unwrap()
        }),
        case("geglu", ROUNDED, &[X, ("up", &[2, 5, 128]), HEAD], |v, _| {
            ops::geglu(&v[0], &v[1]).unwrap()
        }),
        case("relu2", ROUNDED, &[X, HEAD], |v, _| ops::relu2(&v[0]).unwrap()),
    ]
}

fn attentions() -> Vec<Case> {
    let attended = |h: usize, window: usize, softcap: f64| {
        move |v: &[Value], _: &Side| {
            let tokens = v[0].dims()[1];
            let segments: Vec<u32> =
                (0..2 * tokens).map(|at| u32::from((3..tokens).contains(&at))).collect();
            let visible = Visible::in_segments(&segments, 2, tokens).within(window);
            ops::attention(&v[0], &v[1], &v[2], &visible, 128 / h, 1, softcap).unwrap()
        }
    };
    vec![
        case(
            "attention, heads of 64",
            ROUNDED,
            &[X, ("k", &[2, 5, 64]), ("v", &[2, 5, 64]), HEAD],
            attended(64, 0, 0.0),
        ),
        case(
            "attention, a head of 128 and a window",
            ROUNDED,
            &[X, ("k", &[2, 5, 128]), ("v", &[2, 5, 128]), HEAD],
            attended(128, 2, 0.0),
        ),
        case(
            "attention with a softcap, heads of 64",
            ROUNDED,
            &[X, ("k", &[2, 5, 64]), ("v", &[2, 5, 64]), HEAD],
            attended(64, 0, 1.5),
        ),
        case(
            "attention with a softcap, a head of 128",
            ROUNDED,
            &[X, ("k", &[2, 5, 128]), ("v", &[2, 5, 128]), HEAD],
            attended(128, 0, 1.5),
        ),
        case(
            "attention over an edge of its tiles",
            ROUNDED,
            &[("x", &[2, 70, 128]), ("k", &[2, 70, 64]), ("v", &[2, 70, 64]), HEAD],
            attended(64, 0, 0.0),
        ),
    ]
}

/// A target for each row of logits.
fn targets(rows: usize, vocabulary: usize) -> Vec<u32> {
    (0..rows).map(|at| (at * at * 37 % vocabulary) as u32).collect()
}

/// Random numbers that bf16 represents exactly.
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
    parameters.clear_gradients().unwrap();
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
    let weight = &leaves[leaves.len() - 1];
    // The last 28 rows of the head are padding, which takes no part.
    let head = Head { vocabulary: weight.dims()[0] - 28, softcap: 15.0, z_loss: 1e-3 };
    let rows = output.dims().iter().product::<usize>() / weight.dims()[1];
    let targets = targets(rows, head.vocabulary);
    let loss = ops::cross_entropy(&output, weight, &targets, head, 0.1).unwrap();
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

/// xxh3-128 of what [`probed`] finds, on the host as on a GPU.
const PROBED: &str = "58a8fbb88a206bb936c08f7c9d64d453";

/// The results of single instructions on whole numbers, which every device computes exactly:
/// products of fragments, matrices loaded from shared memory, sums over lanes. `tests/kernels/`
/// checks the host's against the tables of the PTX ISA.
fn probed(context: &Arc<Context>) -> String {
    let small = |count: usize, step: usize| -> Vec<f32> {
        (0..count).map(|at| (at * step % 17) as f32 - 8.0).collect()
    };
    let [a, b] = [(256, 3), (128, 5)]
        .map(|(count, step)| context.rounded(&[count], &small(count, step)).unwrap());
    let c = context.floats(&[128], &small(128, 7)).unwrap();
    let d = c.like(&[128]).unwrap();
    context.launch("probe_multiply", [1, 1, 1], arguments![&a, &b, &c, &d]).unwrap();
    let (plain, transposed) = (c.like(&[128]).unwrap(), c.like(&[128]).unwrap());
    let given = arguments![&a, &plain, &transposed];
    context.launch("probe_load", [1, 1, 1], given).unwrap();
    let lanes = c.part(0, &[32]);
    let (sums, groups) = (c.like(&[32]).unwrap(), c.like(&[32]).unwrap());
    context.launch("probe_sums", [1, 1, 1], arguments![&lanes, &sums, &groups]).unwrap();
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

#[cfg(feature = "cuda")]
mod on_a_gpu {
    use super::models::*;
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
            hold_step(&pair(&config, &context), &batch());
            hold_reading(&config, &context);
            hold_bits(&config, &context);
            hold_recomputed(&config, &context);
        }
        hold_step(&pair(&shapes()[1], &context), &masked());
        hold_step(&adapted(&shapes()[0], &context), &masked());
        hold_average(&shapes()[0], &context);
        for kind in ["lion", "sgd", "muon"] {
            hold_updates(&format!("kind = '{kind}'"), &shapes()[0], &context);
        }
    }

    #[test]
    fn without_a_gpu_the_error_says_what_is_missing() {
        let Err(error) = gpu::open(0) else { return };
        assert_eq!(error.exit_status(), 2, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}
