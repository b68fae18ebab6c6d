//! GELU: the activation of GPT-2's feed-forward layer.
//!
//! In → x; out → x/2 · (1 + tanh u), u = √(2/π)·(x + 0.044715·x³). Hendrycks and Gimpel, *Gaussian
//! Error Linear Units*, 2016, in the tanh approximation, which is GPT-2's (`gelu_new` in
//! `transformers`). Backward: dx = g·((1 + t)/2 + x/2·(1 − t²)·u′), t = tanh u, u′ = √(2/π)·(1 +
//! 3·0.044715·x²). Bound by memory: 8 bytes an element forward, 12 backward.

use candle_core::Tensor;

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{self, Elements, by_pieces, kernel, tensor};
use crate::runtime::cuda::calls::{self, Activation};
use crate::runtime::value::{Pull, Value};

/// x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))).
pub fn gelu(x: &Value) -> Result<Value> {
    if let Some([z]) = Value::arrays([x])? {
        let output = calls::activation(Activation::Gelu, &z, None)?;
        return Ok(Value::on_device(output, &[x], move |gradient, with| {
            let (to_z, _) = calls::activation_backward(Activation::Gelu, &z, None, gradient)?;
            let with = with.into_iter().next().flatten();
            Ok(vec![Pull::Array(calls::joined(to_z, with)?)])
        }));
    }
    if !Value::fused_on_cpu(&[x]) {
        return Value::composed(&[x], |inputs| composed(&inputs[0]));
    }
    let mut output = vec![0.0; x.tensor().elem_count()];
    by_pieces(&mut output, &Elements::of(x.tensor())?, forward);
    let saved = x.tensor().clone();
    Ok(Value::result(tensor(output, x.tensor().shape())?, &[x], move |gradient| {
        let mut to_x = Elements::of(&gradient.contiguous()?)?.to_vec();
        by_pieces(&mut to_x, &Elements::of(&saved)?, backward);
        Ok(vec![Some(tensor(to_x, saved.shape())?)])
    }))
}

/// GELU out of plain candle calls.
pub(super) fn composed(x: &Tensor) -> candle_core::Result<Tensor> {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let inner = ((x + ((x * x)? * x)?.affine(0.044715, 0.0)?)? * root)?;
    (x * 0.5)? * (inner.tanh()? + 1.0)?
}

/// √(2/π).
const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// GELU of a number, and its derivative there.
#[inline(always)]
pub(super) fn value_and_slope(x: f32) -> (f32, f32) {
    let t = cpu::tanh(ROOT * (x + CUBE * x * x * x));
    let inner = ROOT * (1.0 + 3.0 * CUBE * x * x);
    (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
}

kernel! {
    fn forward(output: &mut [f32], x: &[f32]) {
        for (output, &x) in output.iter_mut().zip(x) {
            *output = value_and_slope(x).0;
        }
    }
}

kernel! {
    /// Multiplies gradients by the slope at x.
    fn backward(gradient: &mut [f32], x: &[f32]) {
        for (gradient, &x) in gradient.iter_mut().zip(x) {
            *gradient *= value_and_slope(x).1;
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "gelu", cases, tolerance: 1e-5 };

fn cases() -> Vec<Case> {
    vec![Case::new("tokens", vec![normal("x", &[3, 7, 10])], |inputs| gelu(&inputs[0]))]
}
