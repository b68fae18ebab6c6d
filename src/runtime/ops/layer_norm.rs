//! Layer normalisation.
//!
//! In → x [.., d], weight `[d]`; out → (x − mean) / √(variance + ε) · weight; a bias is an op of
//! its own. Ba et al., *Layer Normalization*, 2016. Backward, with r = 1/√(variance + ε), n = (x −
//! mean)·r and q = g·w: dx = r·(q − mean(q) − n·mean(q·n)), dw = Σ over rows of g·n, in blocks of
//! rows added in order. Bound by memory: 8 bytes an element forward, 16 backward; mean and r are
//! recomputed in the backward.

use candle_core::D;
use rayon::prelude::*;

use super::{Case, OpSpec, normal, normed_on_device};
use crate::base::error::Result;
use crate::runtime::cpu::{self, Elements, LANES, ROWS, by_rows, kernel, tensor};
use crate::runtime::cuda::calls;
use crate::runtime::value::Value;

/// (x − mean) / √(variance + ε) · weight over the last dimension.
pub fn layer_norm(x: &Value, weight: &Value, epsilon: f64) -> Result<Value> {
    let d = weight.dims()[0];
    assert_eq!(x.dims().last(), Some(&d), "one weight an element");
    if let Some(normed) = normed_on_device(calls::Norm::Layer, x, weight, None, epsilon)? {
        return Ok(normed);
    }
    if !Value::fused_on_cpu(&[x, weight]) {
        return Value::composed(&[x, weight], |inputs| {
            let centred = inputs[0].broadcast_sub(&inputs[0].mean_keepdim(D::Minus1)?)?;
            let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
            let scaled = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
            scaled.broadcast_mul(&inputs[1])
        });
    }
    let mut output = vec![0.0; x.tensor().elem_count()];
    {
        let (x, weight) = (Elements::of(x.tensor())?, Elements::of(weight.tensor())?);
        by_rows(&mut output, d, |first, rows| {
            forward(rows, &x[first * d..], &weight, epsilon as f32);
        });
    }
    let saved = (x.tensor().clone(), weight.tensor().clone());
    Ok(Value::result(tensor(output, x.tensor().shape())?, &[x, weight], move |gradient| {
        let (x, weight) = (Elements::of(&saved.0)?, Elements::of(&saved.1)?);
        let mut to_x = Elements::of(&gradient.contiguous()?)?.to_vec();
        let blocks: Vec<Vec<f32>> = to_x
            .par_chunks_mut(ROWS * d)
            .enumerate()
            .map(|(block, rows)| {
                let mut to_weight = vec![0.0; d];
                backward(rows, &mut to_weight, &x[block * ROWS * d..], &weight, epsilon as f32);
                to_weight
            })
            .collect();
        let mut to_weight = vec![0.0; d];
        for block in blocks {
            for (sum, part) in to_weight.iter_mut().zip(block) {
                *sum += part;
            }
        }
        Ok(vec![Some(tensor(to_x, saved.0.shape())?), Some(tensor(to_weight, d)?)])
    }))
}

/// [`layer_norm`] plus `bias`, in one launch on a device.
pub fn layer_norm_biased(x: &Value, weight: &Value, bias: &Value, epsilon: f64) -> Result<Value> {
    match normed_on_device(calls::Norm::Layer, x, weight, Some(bias), epsilon)? {
        Some(normed) => Ok(normed),
        None => super::bias(&layer_norm(x, weight, epsilon)?, bias),
    }
}

/// Σ of a row over fixed lanes, divided by its length.
#[inline(always)]
fn mean(row: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = row.len() / LANES * LANES;
    for chunk in row[..whole].chunks_exact(LANES) {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, number) in row[whole..].iter().enumerate() {
        lanes[lane] += number;
    }
    cpu::sum(lanes) / row.len() as f32
}

kernel! {
    fn forward(output: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
        let d = weight.len();
        for (output, x) in output.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            let centre = mean(x);
            for (output, x) in output.iter_mut().zip(x) {
                *output = x - centre;
            }
            let r = 1.0 / (cpu::dot(output, output) / d as f32 + epsilon).sqrt();
            for (output, w) in output.iter_mut().zip(weight) {
                *output = *output * r * w;
            }
        }
    }
}

kernel! {
    /// `to_x` holds the gradients of the result, and becomes those of x.
    fn backward(
        to_x: &mut [f32],
        to_weight: &mut [f32],
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
    ) {
        let d = weight.len();
        let mut normed = vec![0.0f32; d];
        for (to_x, x) in to_x.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            let centre = mean(x);
            for (normed, x) in normed.iter_mut().zip(x) {
                *normed = x - centre;
            }
            let r = 1.0 / (cpu::dot(&normed, &normed) / d as f32 + epsilon).sqrt();
            for i in 0..d {
                normed[i] *= r;
                to_weight[i] += to_x[i] * normed[i];
                to_x[i] *= weight[i];
            }
            let (level, pull) = (mean(to_x), cpu::dot(to_x, &normed) / d as f32);
            for i in 0..d {
                to_x[i] = r * (to_x[i] - level - normed[i] * pull);
            }
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "layer_norm", cases, tolerance: 2e-5 };

fn cases() -> Vec<Case> {
    let run = |inputs: &[Value]| layer_norm(&inputs[0], &inputs[1], 1e-5);
    vec![
        Case::new("tokens", vec![normal("x", &[2, 3, 20]), normal("weight", &[20])], run),
        Case::new("many rows", vec![normal("x", &[2 * ROWS + 1, 8]), normal("weight", &[8])], run),
    ]
}
