//! Linear map without bias: the matrix product with a weight of shape [outputs, inputs].
//!
//! In → x [.., I], weight [O, I]; out → x · weightᵀ [.., O]. Backward: dx = g · weight,
//! dweight = gᵀ · x. One product each way an input; nothing is transposed in memory, since the
//! kernel packs its operands anyway; a single row, as in generation, goes past that kernel
//! ([`mod@crate::runtime::matvec`]). The fused form is candle's own kernel without candle's tape,
//! which would copy the transposed gradient of the weight.

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{Elements, Matrix, Threads, matmul, tensor};
use crate::runtime::matvec::{matvec, matvecs};
use crate::runtime::value::Value;

/// x · weightᵀ over the last dimension.
pub fn linear(x: &Value, weight: &Value) -> Result<Value> {
    let inputs = weight.dims()[1];
    let outputs = weight.dims()[0];
    let rows = x.dims().iter().product::<usize>() / inputs;
    let mut shape = x.dims().to_vec();
    let last = shape.len() - 1;
    assert_eq!(shape[last], inputs, "the last dimension of x is the weight's inputs");
    shape[last] = outputs;
    if !Value::fused_on_cpu(&[x, weight]) {
        return Value::composed(&[x, weight], |tensors| {
            tensors[0].reshape((rows, inputs))?.matmul(&tensors[1].t()?)?.reshape(shape)
        });
    }
    let mut output = vec![0.0; rows * outputs];
    {
        let (x, weight) = (Elements::of(x.tensor())?, Elements::of(weight.tensor())?);
        if rows == 1 {
            matvec(&mut output, &weight, &x);
        } else {
            let (left, right) = (
                Matrix::new(&x, rows, inputs, inputs),
                Matrix::new(&weight, outputs, inputs, inputs).t(),
            );
            matmul(&mut output, outputs, false, left, right, Threads::All);
        }
    }
    let saved = (x.tensor().clone(), weight.tensor().clone());
    let x_tracked = x.is_tracked();
    Ok(Value::result(tensor(output, shape)?, &[x, weight], move |gradient| {
        let gradient = gradient.contiguous()?;
        let (x, weight) = (Elements::of(&saved.0)?, Elements::of(&saved.1)?);
        let gradient = Elements::of(&gradient)?;
        let gradient = Matrix::new(&gradient, rows, outputs, outputs);
        let mut to_weight = vec![0.0; outputs * inputs];
        let x = Matrix::new(&x, rows, inputs, inputs);
        matmul(&mut to_weight, inputs, false, gradient.t(), x, Threads::All);
        let to_weight = Some(tensor(to_weight, (outputs, inputs))?);
        if !x_tracked {
            return Ok(vec![None, to_weight]);
        }
        let mut to_x = vec![0.0; rows * inputs];
        let weight = Matrix::new(&weight, outputs, inputs, inputs);
        matmul(&mut to_x, inputs, false, gradient, weight, Threads::All);
        Ok(vec![Some(tensor(to_x, saved.0.shape())?), to_weight])
    }))
}

/// The same for a few rows of texts that know nothing of each other, each with the bits that it has
/// alone; no gradient flows back through it.
pub fn linear_apart(x: &Value, weight: &Value) -> Result<Value> {
    let (inputs, outputs) = (weight.dims()[1], weight.dims()[0]);
    let rows = x.dims().iter().product::<usize>() / inputs;
    if rows == 1 || !Value::fused_on_cpu(&[x, weight]) {
        return linear(x, weight);
    }
    assert!(!x.is_tracked() && !weight.is_tracked(), "texts are written, not trained on");
    let mut shape = x.dims().to_vec();
    let last = shape.len() - 1;
    assert_eq!(shape[last], inputs, "the last dimension of x is the weight's inputs");
    shape[last] = outputs;
    let mut output = vec![0.0; rows * outputs];
    {
        let (x, weight) = (Elements::of(x.tensor())?, Elements::of(weight.tensor())?);
        matvecs(&mut output, &weight, &x, rows);
    }
    Ok(Value::result(tensor(output, shape)?, &[x, weight], |_| Ok(vec![None, None])))
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "linear", cases, tolerance: 2e-5 };

fn cases() -> Vec<Case> {
    let run = |inputs: &[Value]| linear(&inputs[0], &inputs[1]);
    vec![
        Case::new("tokens", vec![normal("x", &[2, 5, 12]), normal("weight", &[9, 12])], run),
        Case::new("one row", vec![normal("x", &[1, 33]), normal("weight", &[18, 33])], run),
    ]
}
