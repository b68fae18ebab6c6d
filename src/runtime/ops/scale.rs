//! A value times a fixed number.
//!
//! In → x, factor; out → x · factor. Backward: dx = g · factor. Bound by memory: 8 bytes an
//! element.

use candle_core::Tensor;

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{Elements, by_pieces, kernel, tensor};
use crate::runtime::cuda::calls;
use crate::runtime::value::{Pull, Value};

/// x · factor.
pub fn scale(x: &Value, factor: f64) -> Result<Value> {
    if let Some([array]) = Value::arrays([x])? {
        let factor = factor as f32;
        let output = calls::combined(&array, None, factor)?;
        return Ok(Value::on_device(output, &[x], move |gradient, with| {
            let with = with.into_iter().next().flatten();
            Ok(vec![Pull::Array(calls::combined(gradient, with.as_ref(), factor)?)])
        }));
    }
    if !Value::fused_on_cpu(&[x]) {
        return Value::composed(&[x], |inputs| &inputs[0] * factor);
    }
    let output = times(x.tensor(), factor as f32)?;
    Ok(Value::result(output, &[x], move |gradient| {
        Ok(vec![Some(times(&gradient.contiguous()?, factor as f32)?)])
    }))
}

fn times(x: &Tensor, factor: f32) -> Result<Tensor> {
    let mut output = vec![0.0; x.elem_count()];
    by_pieces(&mut output, &Elements::of(x)?, |output, x| forward(output, x, factor));
    tensor(output, x.shape())
}

kernel! {
    fn forward(output: &mut [f32], x: &[f32], factor: f32) {
        for (output, x) in output.iter_mut().zip(x) {
            *output = x * factor;
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "scale", cases, tolerance: 1e-6 };

fn cases() -> Vec<Case> {
    let run = |inputs: &[Value]| scale(&inputs[0], 0.3);
    vec![Case::new("tokens", vec![normal("x", &[3, 7, 10])], run)]
}
