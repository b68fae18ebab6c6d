//! Linear map without bias: the matrix product with a weight of shape [outputs, inputs].
//!
//! In → x [.., I], weight [O, I]; out → x · weightᵀ [.., O]. Backward: dx = g · weight,
//! dweight = gᵀ · x. One product each way an input; nothing is transposed in memory, since the
//! kernel packs its operands anyway; a single row, as in generation, goes past that kernel
//! ([`mod@crate::runtime::matvec`]).

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{Elements, Matrix, Threads, product, tensor};
use crate::runtime::matvec::matvec;
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
    let output = {
        let (x, weight) = (Elements::of(x.tensor())?, Elements::of(weight.tensor())?);
        if rows == 1 {
            let mut output = vec![0.0; outputs];
            matvec(&mut output, &weight, &x);
            output
        } else {
            let weight = Matrix::new(&weight, outputs, inputs, inputs).t();
            product(Matrix::new(&x, rows, inputs, inputs), weight, Threads::All)
        }
    };
    let saved = (x.tensor().clone(), weight.tensor().clone());
    let x_tracked = x.is_tracked();
    Ok(Value::result(tensor(output, shape)?, &[x, weight], move |gradient| {
        let gradient = gradient.contiguous()?;
        let (x, weight) = (Elements::of(&saved.0)?, Elements::of(&saved.1)?);
        let gradient = Elements::of(&gradient)?;
        let gradient = Matrix::new(&gradient, rows, outputs, outputs);
        let x = Matrix::new(&x, rows, inputs, inputs);
        let to_weight = product(gradient.t(), x, Threads::All);
        let to_weight = Some(tensor(to_weight, (outputs, inputs))?);
        if !x_tracked {
            return Ok(vec![None, to_weight]);
        }
        let weight = Matrix::new(&weight, outputs, inputs, inputs);
        let to_x = product(gradient, weight, Threads::All);
        Ok(vec![Some(tensor(to_x, saved.0.shape())?), to_weight])
    }))
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
