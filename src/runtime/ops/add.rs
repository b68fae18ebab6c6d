//! Sum of two values of one shape: the residual connection.
//!
//! In → a, b of equal shapes; out → a + b. Backward: the gradient goes to both as it is.
//! Bound by memory: 12 bytes an element.

use candle_core::Tensor;
use rayon::prelude::*;

use super::cpu::{Elements, kernel, tensor};
use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::value::Value;

/// Elements one task adds.
const CHUNK: usize = 16 * 1024;

/// a + b.
pub fn add(a: &Value, b: &Value) -> Result<Value> {
    if !Value::fused_on_cpu(&[a, b]) {
        return Value::composed(&[a, b], |inputs| &inputs[0] + &inputs[1]);
    }
    let output = sum(a.tensor(), b.tensor())?;
    Ok(Value::result(output, &[a, b], |gradient| {
        Ok(vec![Some(gradient.clone()), Some(gradient.clone())])
    }))
}

/// a + b on tensors; in parallel where they are contiguous f32 on the CPU.
pub fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let plain = |t: &Tensor| {
        t.dtype() == candle_core::DType::F32 && t.device().is_cpu() && t.is_contiguous()
    };
    if !plain(a) || !plain(b) || a.dims() != b.dims() {
        return Ok((a + b)?);
    }
    let (left, right) = (Elements::of(a)?, Elements::of(b)?);
    let mut output = vec![0.0; left.len()];
    let inputs = left.par_chunks(CHUNK).zip(right.par_chunks(CHUNK));
    output.par_chunks_mut(CHUNK).zip(inputs).for_each(|(o, (a, b))| add_slices(o, a, b));
    tensor(output, a.shape())
}

kernel! {
    fn add_slices(output: &mut [f32], a: &[f32], b: &[f32]) {
        for (output, (a, b)) in output.iter_mut().zip(a.iter().zip(b)) {
            *output = a + b;
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "add", cases, tolerance: 1e-6 };

fn cases() -> Vec<Case> {
    let inputs = vec![normal("a", &[3, 7, 10]), normal("b", &[3, 7, 10])];
    vec![Case::new("residual", inputs, |inputs| add(&inputs[0], &inputs[1]))]
}
