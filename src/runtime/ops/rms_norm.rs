//! Root-mean-square normalisation.
//!
//! In → x `[.., n·d]`, weight `[d]`; out → x / √(mean(x²) + ε) · weight over each run of d
//! elements: one run a token, or one a head (Qwen3's norms of queries and keys). With
//! [`Gain::OnePlus`] the factor is 1 + weight, as in Gemma. Zhang and Sennrich, *Root Mean Square
//! Layer Normalization*, 2019. Backward, with r = 1/√(mean(x²) + ε): dx = r·(g·w) −
//! x·r³/d·Σ(g·w·x), dw = Σ over rows of g·x·r, in blocks of rows added in order. Bound by memory: 8
//! bytes an element forward, 16 backward, 20 where x has a gradient from another op, such as the
//! residual connection around a branch; x is not copied.

use candle_core::D;
use rayon::prelude::*;

use super::{Case, OpSpec, normal, normed_on_device};
use crate::base::error::Result;
use crate::runtime::cpu::{self, Elements, PIECE, ROWS, kernel, tensor};
use crate::runtime::cuda::calls;
use crate::runtime::value::{Addend, Value, addends};

/// What a normed element is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The weight.
    Weight,
    /// 1 + the weight.
    OnePlus,
}

impl Gain {
    fn factors(self, weight: &[f32]) -> Vec<f32> {
        match self {
            Gain::Weight => weight.to_vec(),
            Gain::OnePlus => weight.iter().map(|weight| 1.0 + weight).collect(),
        }
    }
}

/// x / √(mean(x²) + ε) · gain over each run of as many elements as the weight has.
pub fn rms_norm(x: &Value, weight: &Value, gain: Gain, epsilon: f64) -> Result<Value> {
    let d = weight.dims()[0];
    assert!(x.dims().last().is_some_and(|last| last.is_multiple_of(d)), "whole runs of {d}");
    let kind = match gain {
        Gain::Weight => calls::Norm::Rms,
        Gain::OnePlus => calls::Norm::OnePlus,
    };
    if let Some(normed) = normed_on_device(kind, x, weight, None, epsilon)? {
        return Ok(normed);
    }
    let shape = x.tensor().shape().clone();
    if !Value::fused_on_cpu(&[x, weight]) {
        return Value::composed(&[x, weight], |inputs| {
            let x = inputs[0].reshape(((), d))?; // [N, d]
            let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
            let scaled = x.broadcast_div(&(mean + epsilon)?.sqrt()?)?;
            let factors = match gain {
                Gain::Weight => inputs[1].clone(),
                Gain::OnePlus => (&inputs[1] + 1.0)?,
            };
            scaled.broadcast_mul(&factors)?.reshape(shape)
        });
    }
    let output = {
        let (x, weight) = (Elements::of(x.tensor())?, Elements::of(weight.tensor())?);
        let weight = gain.factors(&weight);
        let rows = (PIECE / d).max(1);
        cpu::made(x.len(), rows * d, |at, place| {
            forward(place, &x[at * rows * d..], &weight, epsilon as f32);
        })
    };
    let saved = (x.tensor().clone(), weight.tensor().clone());
    let (shape, is_trained) = (x.tensor().shape(), weight.is_tracked());
    Ok(Value::adding(tensor(output, shape)?, &[x, weight], move |gradient, before| {
        let [before, weight_before] = addends(before);
        let (x, weight) = (Elements::of(&saved.0)?, Elements::of(&saved.1)?);
        let (gradient, factors) = (gradient.contiguous()?, gain.factors(&weight));
        let gradient = Elements::of(&gradient)?;
        let before = before.map(|before| before.tensor.contiguous()).transpose()?;
        let before = before.as_ref().map(Elements::of).transpose()?;
        let before = before.as_deref().unwrap_or_default();
        let (to_x, to_weight) = gradients(&x, &gradient, before, &factors, epsilon as f32);
        let to_weight = match is_trained {
            true => Some(Addend::plus(weight_before, tensor(to_weight, d)?)?),
            false => None,
        };
        Ok(vec![Some(Addend::own(tensor(to_x, saved.0.shape())?)), to_weight])
    }))
}

/// Gradients of x, with `before` added unless it is empty, and of the weight.
fn gradients(
    x: &[f32],
    gradient: &[f32],
    before: &[f32],
    factors: &[f32],
    epsilon: f32,
) -> (Vec<f32>, Vec<f32>) {
    let d = factors.len();
    let mut to_x = cpu::zeros(x.len());
    let blocks = to_x.par_chunks_mut(ROWS * d).enumerate().map(|(block, rows)| {
        let start = block * ROWS * d;
        let mut to_weight = vec![0.0; d];
        let before = before.get(start..).unwrap_or_default();
        let inputs = [&x[start..], &gradient[start..], before];
        backward(rows, &mut to_weight, inputs, factors, epsilon);
        to_weight
    });
    let blocks: Vec<Vec<f32>> = blocks.collect();
    let mut to_weight = vec![0.0; d];
    for block in blocks {
        for (sum, part) in to_weight.iter_mut().zip(block) {
            *sum += part;
        }
    }
    (to_x, to_weight)
}

/// 1 / √(mean(x²) + ε) of one row.
#[inline(always)]
fn inverse_root(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (cpu::dot(x, x) / x.len() as f32 + epsilon).sqrt()
}

kernel! {
    fn forward(output: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
        let d = weight.len();
        for (output, x) in output.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            let r = inverse_root(x, epsilon);
            for (output, (x, w)) in output.iter_mut().zip(x.iter().zip(weight)) {
                *output = x * r * w;
            }
        }
    }
}

kernel! {
    /// `inputs` are x, the gradient of the result, and what to add to the gradient of x (empty:
    /// nothing).
    fn backward(
        to_x: &mut [f32],
        to_weight: &mut [f32],
        inputs: [&[f32]; 3],
        weight: &[f32],
        epsilon: f32,
    ) {
        let [x, gradient, before] = inputs;
        let d = weight.len();
        let rows = x.chunks_exact(d).zip(gradient.chunks_exact(d));
        for (row, (to_x, (x, gradient))) in to_x.chunks_exact_mut(d).zip(rows).enumerate() {
            let r = inverse_root(x, epsilon);
            for i in 0..d {
                to_x[i] = gradient[i] * weight[i];
                to_weight[i] += gradient[i] * x[i] * r;
            }
            let pull = cpu::dot(to_x, x) * r * r * r / d as f32;
            for i in 0..d {
                to_x[i] = to_x[i] * r - x[i] * pull;
            }
            if !before.is_empty() {
                for (to_x, before) in to_x.iter_mut().zip(&before[row * d..]) {
                    *to_x += before;
                }
            }
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "rms_norm", cases, tolerance: 2e-5 };

fn cases() -> Vec<Case> {
    let run = |inputs: &[Value]| rms_norm(&inputs[0], &inputs[1], Gain::Weight, 1e-5);
    let one_plus = |inputs: &[Value]| rms_norm(&inputs[0], &inputs[1], Gain::OnePlus, 1e-6);
    vec![
        Case::new("heads", vec![normal("x", &[2, 3, 24]), normal("weight", &[8])], run),
        Case::new("one and", vec![normal("x", &[2, 3, 12]), normal("weight", &[12])], one_plus),
        Case::new("tokens", vec![normal("x", &[2, 3, 20]), normal("weight", &[20])], run),
        Case::new("many rows", vec![normal("x", &[2 * ROWS + 1, 8]), normal("weight", &[8])], run),
    ]
}
