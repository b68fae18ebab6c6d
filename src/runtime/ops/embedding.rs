//! Token embedding: one row of the table a token.
//!
//! In → weight [V, d], ids [B, T]; out → [B, T, d]. Backward: each gradient row is added to its
//! token's row, in the order of the tokens, so equal ids sum in one order. Bound by memory:
//! B·T·d read and written, and V·d zeros for the gradient.

use candle_core::Tensor;

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{self, Elements, tensor};
use crate::runtime::cuda::calls;
use crate::runtime::value::{Pull, Value};

/// Rows `ids` of `weight`, as [rows, sequence, d].
pub fn embedding(weight: &Value, ids: &[u32], rows: usize, sequence: usize) -> Result<Value> {
    let (vocabulary, d) = (weight.dims()[0], weight.dims()[1]);
    assert_eq!(ids.len(), rows * sequence, "one id a token");
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
        panic!("token id {id} in an embedding of {vocabulary} rows");
    }
    if let Some([table]) = Value::arrays([weight])? {
        let sent = table.context().integers(ids)?;
        let output = calls::embedding(&table, &sent, &[rows, sequence, d])?;
        let ids = ids.to_vec();
        return Ok(Value::on_device(output, &[weight], move |gradient, _| {
            calls::embedding_backward(&table, &ids, gradient)?;
            Ok(vec![Pull::Summed])
        }));
    }
    let shape = (rows, sequence, d);
    if !Value::fused_on_cpu(&[weight]) {
        let ids = Tensor::new(ids, weight.tensor().device())?;
        return Value::composed(&[weight], |inputs| {
            inputs[0].index_select(&ids, 0)?.reshape(shape)
        });
    }
    let mut output = Vec::with_capacity(ids.len() * d);
    {
        let table = Elements::of(weight.tensor())?;
        for &id in ids {
            output.extend_from_slice(&table[id as usize * d..][..d]);
        }
    }
    let ids = ids.to_vec();
    Ok(Value::result(tensor(output, shape)?, &[weight], move |gradient| {
        let gradient = gradient.contiguous()?;
        let gradient = Elements::of(&gradient)?;
        let mut to_weight = cpu::zeros(vocabulary * d);
        for (row, &id) in gradient.chunks_exact(d).zip(&ids) {
            let sum = &mut to_weight[id as usize * d..][..d];
            for (sum, gradient) in sum.iter_mut().zip(row) {
                *sum += gradient;
            }
        }
        Ok(vec![Some(tensor(to_weight, (vocabulary, d))?)])
    }))
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "embedding", cases, tolerance: 1e-6 };

fn cases() -> Vec<Case> {
    let ids = [3, 0, 3, 6, 3, 1];
    let run = move |inputs: &[Value]| embedding(&inputs[0], &ids, 2, 3);
    vec![Case::new("repeated ids", vec![normal("weight", &[7, 4])], run)]
}
