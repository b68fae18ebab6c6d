//! A bias: one number for each output of a linear map.
//!
//! In → x [.., O], bias `[O]`; out → x + bias. Backward: dx = g, dbias = Σ over rows of g, in
//! blocks of rows added in order. Bound by memory: 8 bytes an element forward, 4 backward.

use rayon::prelude::*;

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{Elements, ROWS, by_rows, kernel, tensor};
use crate::runtime::cuda::calls;
use crate::runtime::value::{Pull, Value};

/// x + bias over the last dimension.
pub fn bias(x: &Value, bias: &Value) -> Result<Value> {
    let width = bias.dims()[0];
    assert_eq!(x.dims().last(), Some(&width), "one number an output");
    if let Some([array, numbers]) = Value::arrays([x, bias])? {
        let output = calls::bias(&array, &numbers)?;
        let is_trained = bias.is_tracked();
        return Ok(Value::on_device(output, &[x, bias], move |gradient, with| {
            let to_bias = match is_trained {
                true => {
                    calls::bias_backward(&numbers, gradient)?;
                    Pull::Summed
                }
                false => Pull::None,
            };
            let with = with.into_iter().next().flatten();
            Ok(vec![Pull::Array(calls::joined(gradient.clone(), with)?), to_bias])
        }));
    }
    if !Value::fused_on_cpu(&[x, bias]) {
        return Value::composed(&[x, bias], |inputs| inputs[0].broadcast_add(&inputs[1]));
    }
    let mut output = vec![0.0; x.tensor().elem_count()];
    {
        let (x, bias) = (Elements::of(x.tensor())?, Elements::of(bias.tensor())?);
        by_rows(&mut output, width, |first, rows| forward(rows, &x[first * width..], &bias));
    }
    Ok(Value::result(tensor(output, x.tensor().shape())?, &[x, bias], move |gradient| {
        let gradient = gradient.contiguous()?;
        let elements = Elements::of(&gradient)?;
        let blocks: Vec<Vec<f32>> = elements
            .par_chunks(ROWS * width)
            .map(|rows| {
                let mut sums = vec![0.0; width];
                rows.chunks_exact(width).for_each(|row| add(&mut sums, row));
                sums
            })
            .collect();
        let mut to_bias = vec![0.0; width];
        blocks.iter().for_each(|block| add(&mut to_bias, block));
        drop(elements);
        Ok(vec![Some(gradient), Some(tensor(to_bias, width)?)])
    }))
}

kernel! {
    fn forward(output: &mut [f32], x: &[f32], bias: &[f32]) {
        let rows = output.chunks_exact_mut(bias.len()).zip(x.chunks_exact(bias.len()));
        for (output, x) in rows {
            for (output, (x, bias)) in output.iter_mut().zip(x.iter().zip(bias)) {
                *output = x + bias;
            }
        }
    }
}

kernel! {
    fn add(sums: &mut [f32], row: &[f32]) {
        for (sum, number) in sums.iter_mut().zip(row) {
            *sum += number;
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "bias", cases, tolerance: 1e-5 };

fn cases() -> Vec<Case> {
    let run = |inputs: &[Value]| bias(&inputs[0], &inputs[1]);
    let tokens = vec![normal("x", &[2, 3, 20]), normal("bias", &[20])];
    let many = vec![normal("x", &[2 * ROWS + 1, 8]), normal("bias", &[8])];
    vec![Case::new("tokens", tokens, run), Case::new("many rows", many, run)]
}
