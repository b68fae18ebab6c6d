//! The output head and its loss in one op, so that logits never exist whole.
//!
//! In → hidden [.., d], weight [Vₚ, d] (padded rows last), one target a row, the true vocabulary V;
//! out → scale · Σ −ln softmax(hidden · weightᵀ)\[target\], a single number. [`Head`] may soft-cap
//! ("bend") the logits, c·tanh(logit/c) (Gemma 2), and add z·ln²Σe^logit a row, which keeps them
//! near 0 (z-loss: Chowdhery et al., *PaLM*, 2022, section 5). **Padded rows take no part**: they
//! are outside the softmax, so probabilities are over the real vocabulary and their gradient is
//! zero. Backward: (p − onehot)·scale, through the head.
//!
//! **Fused form.** The forward makes [`CHUNK`] rows of logits at a time, turns them into their
//! gradient in place and multiplies that into the gradients of hidden and weight, which it keeps
//! (as in Hsu et al., *Liger Kernel*, 2024); the backward only scales them. Chunks are added in
//! order. The composed form holds all logits, since candle's tape keeps what its gradient needs.
//! **Cost.** 6·N·V·d operations with a gradient, 4·N·V·d where the head is frozen, 2·N·V·d without;
//! CHUNK·V·4 bytes, and two packed copies of the head for its products.

use candle_core::{D, Tensor};
use rayon::prelude::*;

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{
    self, Elements, Factor, Matrix, Threads, kernel, matmul, product, tensor,
};
use crate::runtime::cuda::{calls, driver::Element, memory::Array};
use crate::runtime::value::{Addend, Pull, Value, addends};

/// Rows of logits that exist at once; part of the result's bits through the order of sums.
pub const CHUNK: usize = 256;

/// How logits become a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// Rows of the weight that stand for tokens; those behind them are padding.
    pub vocabulary: usize,
    /// c of c·tanh(logit/c); 0: logits as they are.
    pub softcap: f64,
    /// z of z·ln²Σe^logit; 0: none.
    pub z_loss: f64,
}

impl Head {
    /// Logits as they are, and their cross-entropy alone.
    pub fn plain(vocabulary: usize) -> Head {
        Head { vocabulary, softcap: 0.0, z_loss: 0.0 }
    }

    /// Bends `logits` in place where there is a soft cap.
    pub fn bend(&self, logits: &mut [f32]) {
        if self.softcap > 0.0 {
            bend(logits, self.softcap as f32);
        }
    }
}

/// scale · Σ of the losses of `targets` under the head `weight`.
pub fn cross_entropy(
    hidden: &Value,
    weight: &Value,
    targets: &[u32],
    head: Head,
    scale: f64,
) -> Result<Value> {
    check(hidden, weight, targets, head.vocabulary);
    if let Some([states, table]) = Value::arrays([hidden, weight])? {
        let tracked = [hidden.is_tracked(), weight.is_tracked()];
        let pass = DevicePass { states, table, targets, head, scale, tracked };
        return pass.loss(hidden, weight);
    }
    if !Value::fused_on_cpu(&[hidden, weight]) {
        return Value::composed(&[hidden, weight], |inputs| {
            composed_nats(&inputs[0], &inputs[1], targets, head)?.sum_all()? * scale
        });
    }
    let pass = Pass::new(hidden, weight, targets, head)?;
    if !hidden.is_tracked() && !weight.is_tracked() {
        let nats = pass.nats(None);
        return Ok(Value::result(loss(&nats, scale)?, &[hidden, weight], |_| Ok(vec![None, None])));
    }
    let mut to_hidden = cpu::zeros(pass.hidden.len());
    let mut to_weight = weight.is_tracked().then(Vec::new);
    let nats = pass.nats(Some(Gradients {
        hidden: &mut to_hidden,
        weight: to_weight.as_mut(),
        scale: scale as f32,
    }));
    let to_hidden = tensor(to_hidden, hidden.tensor().shape())?;
    let to_weight = to_weight.map(|it| tensor(it, weight.tensor().shape())).transpose()?;
    Ok(Value::adding(loss(&nats, scale)?, &[hidden, weight], move |gradient, before| {
        let [hidden_before, weight_before] = addends(before);
        let factor = f64::from(gradient.flatten_all()?.get(0)?.to_scalar::<f32>()?);
        let scaled = |it: Tensor| if factor == 1.0 { Ok(it) } else { it * factor };
        let to_hidden = Addend::plus(hidden_before, scaled(to_hidden)?)?;
        let to_weight = to_weight.map(|it| Addend::plus(weight_before, scaled(it)?));
        Ok(vec![Some(to_hidden), to_weight.transpose()?])
    }))
}

/// The nats of each target, without a gradient and without z-loss.
pub fn nats(hidden: &Value, weight: &Value, targets: &[u32], head: Head) -> Result<Vec<f32>> {
    check(hidden, weight, targets, head.vocabulary);
    let head = Head { z_loss: 0.0, ..head };
    if let Some([states, table]) = Value::arrays([hidden, weight])? {
        let pass = DevicePass { states, table, targets, head, scale: 0.0, tracked: [false; 2] };
        return pass.run()?.nats.numbers();
    }
    if Value::fused_on_cpu(&[hidden, weight]) {
        return Ok(Pass::new(hidden, weight, targets, head)?.nats(None));
    }
    let nats = composed_nats(hidden.tensor(), weight.tensor(), targets, head)?;
    Ok(nats.to_dtype(candle_core::DType::F32)?.to_vec1()?)
}

fn check(hidden: &Value, weight: &Value, targets: &[u32], vocabulary: usize) {
    let d = weight.dims()[1];
    let rows = hidden.dims().iter().product::<usize>() / d;
    assert_eq!(hidden.dims().last(), Some(&d), "width of the hidden state and of the head");
    assert_eq!(targets.len(), rows, "one target a row");
    assert!(vocabulary <= weight.dims()[0], "the head has a row for every token");
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocabulary) {
        panic!("target {target} in a vocabulary of {vocabulary}");
    }
}

fn composed_nats(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    head: Head,
) -> candle_core::Result<Tensor> {
    let d = weight.dim(1)?;
    let weight = weight.narrow(0, 0, head.vocabulary)?;
    let mut logits = hidden.reshape(((), d))?.matmul(&weight.t()?)?; // [N, V]
    if head.softcap > 0.0 {
        logits = ((logits / head.softcap)?.tanh()? * head.softcap)?; // [N, V]
    }
    let largest = logits.max_keepdim(D::Minus1)?.detach(); // [N, 1]
    let sums = logits.broadcast_sub(&largest)?.exp()?.sum_keepdim(D::Minus1)?; // [N, 1]
    let log_sums = (sums.log()? + largest)?; // [N, 1]
    let targets = Tensor::new(targets, logits.device())?.unsqueeze(1)?; // [N, 1]
    let nats = (&log_sums - logits.gather(&targets, 1)?)?.squeeze(1)?; // [N]
    if head.z_loss == 0.0 {
        return Ok(nats);
    }
    nats + (log_sums.sqr()?.squeeze(1)? * head.z_loss)? // [N]
}

/// scale · Σ nats, summed in f64.
fn loss(nats: &[f32], scale: f64) -> Result<Tensor> {
    let sum: f64 = nats.iter().map(|&nats| f64::from(nats)).sum();
    let shape: &[usize] = &[];
    tensor(vec![(sum * scale) as f32], shape)
}

/// Rows of logits that exist at once on a device.
pub const DEVICE_CHUNK: usize = 4096;

/// One pass over hidden states on a device.
struct DevicePass<'a> {
    states: Array,
    table: Array,
    targets: &'a [u32],
    head: Head,
    scale: f64,
    /// Whether the states need a gradient, and whether the table does.
    tracked: [bool; 2],
}

/// What a pass on a device leaves there.
struct Found {
    nats: Array,
    log_sums: Array,
    /// The gradient of the states, where they need one; that of the table is added to its sum.
    to_states: Option<Array>,
}

impl DevicePass<'_> {
    /// Chunk by chunk: logits, their loss and gradient in place, two products with it.
    fn run(&self) -> Result<Found> {
        let DevicePass { states, table, targets, head, scale, tracked } = self;
        let (rows, d) = (targets.len(), table.dims()[1]);
        let Head { vocabulary, softcap, z_loss } = *head;
        let loss = calls::Loss { vocabulary, softcap, z_loss, scale: *scale };
        let context = states.context();
        let targets = context.integers(targets)?;
        let nats = context.array(&[rows], Element::F32)?;
        let log_sums = nats.like(&[rows])?;
        let [of_states, of_table] = *tracked;
        let to_states = of_states.then(|| states.like(states.dims())).transpose()?;
        for first in (0..rows).step_by(DEVICE_CHUNK) {
            let count = DEVICE_CHUNK.min(rows - first);
            let chunk = states.part(first * d, &[count, d]);
            let logits = calls::linear(&chunk, table, None)?;
            let [nats, log_sums] = [&nats, &log_sums].map(|array| array.part(first, &[count]));
            let targets = targets.part(first, &[count]);
            let writes = of_states || of_table;
            calls::cross_entropy(&logits, &targets, [&nats, &log_sums], loss, writes)?;
            if of_table {
                calls::linear_to_weight(&chunk, table, &logits)?;
            }
            if let Some(to_states) = &to_states {
                let to_chunk = to_states.part(first * d, &[count, d]);
                calls::linear_into_x(&to_chunk, table, &logits)?;
            }
        }
        Ok(Found { nats, log_sums, to_states })
    }

    /// The value of the loss, which is read from the device only when somebody asks for it.
    fn loss(&self, hidden: &Value, weight: &Value) -> Result<Value> {
        let Found { nats, log_sums, to_states } = self.run()?;
        let (scale, z_loss, read) = (self.scale, self.head.z_loss, nats.clone());
        let sum = move || {
            let (nats, log_sums) = (read.numbers()?, log_sums.numbers()?);
            let losses = nats.iter().zip(&log_sums).map(|(nats, log_sum)| {
                let log_sum = f64::from(*log_sum);
                f64::from(*nats) + z_loss * log_sum * log_sum
            });
            Ok(losses.sum::<f64>() * scale)
        };
        let of_table = self.tracked[1];
        Ok(Value::sum_on_device(nats, sum, &[hidden, weight], move |_, with| {
            let with = with.into_iter().next().flatten();
            let to_states = match to_states {
                Some(to_states) => Pull::Array(calls::joined(to_states, with)?),
                None => Pull::None,
            };
            Ok(vec![to_states, if of_table { Pull::Summed } else { Pull::None }])
        }))
    }
}

/// The gradients to fill.
struct Gradients<'a> {
    hidden: &'a mut [f32],
    /// `None` where the head is frozen; else empty until the first chunk fills it.
    weight: Option<&'a mut Vec<f32>>,
    /// The factor of the loss.
    scale: f32,
}

struct Pass<'a> {
    hidden: Elements<'a>,
    weight: Elements<'a>,
    targets: &'a [u32],
    head: Head,
    d: usize,
    /// Whether its products round to bf16.
    in_bf16: bool,
}

impl<'a> Pass<'a> {
    fn new(
        hidden: &'a Value,
        weight: &'a Value,
        targets: &'a [u32],
        head: Head,
    ) -> Result<Pass<'a>> {
        let d = weight.dims()[1];
        let in_bf16 = weight.in_bf16();
        let (hidden, weight) = (Elements::of(hidden.tensor())?, Elements::of(weight.tensor())?);
        Ok(Pass { hidden, weight, targets, head, d, in_bf16 })
    }

    /// Loss of each target; fills `gradients` if given.
    fn nats(&self, mut gradients: Option<Gradients<'_>>) -> Vec<f32> {
        let (d, vocabulary) = (self.d, self.head.vocabulary);
        let (softcap, z) = (self.head.softcap as f32, self.head.z_loss as f32);
        let weight = Matrix::new(&self.weight, vocabulary, d, d).rounded(self.in_bf16);
        let to_logits = factor(weight.t(), self.targets.len());
        let to_states = gradients.is_some().then(|| factor(weight, self.targets.len()));
        let mut nats = vec![0.0; self.targets.len()];
        let mut logits = Vec::new();
        for (chunk, nats) in nats.chunks_mut(CHUNK).enumerate() {
            let (first, rows) = (chunk * CHUNK, nats.len());
            let hidden = Matrix::new(&self.hidden[first * d..], rows, d, d).rounded(self.in_bf16);
            if chunk == 0 {
                logits = product(hidden, &to_logits, Threads::All);
            } else {
                matmul(&mut logits, vocabulary, false, hidden, &to_logits, Threads::All);
            }
            let logits = &mut logits[..rows * vocabulary];
            let scale = gradients.as_ref().map(|gradients| gradients.scale);
            let targets = self.targets[first..][..rows].par_iter();
            let rows_in_parallel = logits.par_chunks_mut(vocabulary).zip(nats).zip(targets);
            rows_in_parallel.with_min_len(8).for_each(|((logits, nats), &target)| {
                *nats = match softcap > 0.0 {
                    true => bent_row(logits, target as usize, scale, z, softcap),
                    false => row(logits, target as usize, scale, z),
                };
            });
            if let (Some(gradients), Some(to_states)) = (&mut gradients, &to_states) {
                let slopes = Matrix::new(logits, rows, vocabulary, vocabulary);
                let slopes = slopes.rounded(self.in_bf16);
                let to_hidden = &mut gradients.hidden[first * d..];
                matmul(to_hidden, d, false, slopes, to_states, Threads::All);
                match &mut gradients.weight {
                    Some(to_weight) if chunk == 0 => {
                        **to_weight = product(slopes.t(), hidden, Threads::All);
                        to_weight.resize(self.weight.len(), 0.0);
                    }
                    Some(to_weight) => matmul(to_weight, d, true, slopes.t(), hidden, Threads::All),
                    None => {}
                }
            }
        }
        nats
    }
}

/// The head as a factor of products with `rows` rows: packed once where these are several chunks.
fn factor(weight: Matrix<'_>, rows: usize) -> Factor<'_> {
    if rows > CHUNK { Factor::packed(weight) } else { Factor::from(weight) }
}

kernel! {
    /// Loss of one row; with a scale, turns its logits into their gradient.
    fn row(logits: &mut [f32], target: usize, scale: Option<f32>, z: f32) -> f32 {
        let at_target = logits[target];
        let largest = cpu::maximum(logits);
        let sum = cpu::exp_sum(logits, largest);
        let log_sum = largest + cpu::ln(sum);
        if let Some(scale) = scale {
            let factor = scale * (1.0 + 2.0 * z * log_sum) / sum;
            for logit in logits.iter_mut() {
                *logit *= factor;
            }
            logits[target] -= scale;
        }
        log_sum - at_target + z * log_sum * log_sum
    }
}

kernel! {
    /// c·tanh(logit/c) in place.
    fn bend(logits: &mut [f32], c: f32) {
        for logit in logits.iter_mut() {
            *logit = c * cpu::tanh(*logit / c);
        }
    }
}

/// Loss of one row of logits that are bent; the slope of the bend is 1 − (bent/c)².
fn bent_row(logits: &mut [f32], target: usize, scale: Option<f32>, z: f32, c: f32) -> f32 {
    bend(logits, c);
    let bent = scale.map(|_| logits.to_vec());
    let loss = row(logits, target, scale, z);
    if let Some(bent) = bent {
        straighten(logits, &bent, c);
    }
    loss
}

kernel! {
    /// Gradients of bent logits to those of the logits.
    fn straighten(gradients: &mut [f32], bent: &[f32], c: f32) {
        for (gradient, bent) in gradients.iter_mut().zip(bent) {
            *gradient *= 1.0 - (bent / c) * (bent / c);
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "cross_entropy", cases, tolerance: 2e-5 };

fn cases() -> Vec<Case> {
    let run = |inputs: &[Value]| {
        let head = Head::plain(11);
        cross_entropy(&inputs[0], &inputs[1], &[4, 0, 10, 4, 7, 2], head, 1.0 / 6.0)
    };
    let bent = |inputs: &[Value]| {
        let head = Head { vocabulary: 11, softcap: 3.0, z_loss: 0.02 };
        cross_entropy(&inputs[0], &inputs[1], &[4, 0, 10, 4, 7, 2], head, 1.0 / 6.0)
    };
    let inputs = vec![normal("hidden", &[2, 3, 8]), normal("weight", &[16, 8])];
    let many = |inputs: &[Value]| {
        let targets: Vec<u32> = (0..CHUNK as u32 + 3).map(|i| i * 7 % 19).collect();
        cross_entropy(&inputs[0], &inputs[1], &targets, Head::plain(19), 0.01)
    };
    let long = vec![normal("hidden", &[CHUNK + 3, 4]), normal("weight", &[19, 4])];
    let same = vec![normal("hidden", &[2, 3, 8]), normal("weight", &[16, 8])];
    vec![
        Case::new("padded vocabulary", inputs, run),
        Case::new("bent logits, kept small", same, bent),
        Case::new("two chunks", long, many),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::value::Form;
    use candle_core::Device;

    #[test]
    fn padded_rows_neither_win_nor_learn() {
        let hidden = Tensor::new(&[[1.0f32, 1.0]], &Device::Cpu).unwrap();
        // The padded third row would win by far.
        let table = [[0.0f32, 0.0], [0.0, 0.0], [50.0, 50.0]];
        let weight = Tensor::new(&table, &Device::Cpu).unwrap();
        for form in [Form::Fused, Form::Composed] {
            let (hidden, weight) = (Value::constant(&hidden, form), Value::constant(&weight, form));
            let nats = nats(&hidden, &weight, &[1], Head::plain(2)).unwrap();
            assert!((nats[0] - 2.0f32.ln()).abs() < 1e-6, "{form:?}: {nats:?}");
        }
    }
}
