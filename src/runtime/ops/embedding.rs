//! Token embedding: one row of the table for each token.
//!
//! In → weight [V, d], ids [B, T]; out → [B, T, d]. Backward: each gradient row is added to its
//! token's row, in the order of the tokens, so equal ids sum in one order. Where the table already
//! has a gradient, from its use as the head or from an earlier part of the batch, rows are added to
//! that. Bound by memory: B·T·d read and written, and V·d zeros where there is no gradient yet.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{self, Elements, PIECE, kernel, tensor};
use crate::runtime::cuda::calls;
use crate::runtime::value::{Addend, Pull, Value, addends};

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
    let output = {
        let (table, tokens) = (Elements::of(weight.tensor())?, (PIECE / d).max(1));
        cpu::made(ids.len() * d, tokens * d, |at, place| {
            for (place, &id) in place.chunks_exact_mut(d).zip(&ids[at * tokens..]) {
                place.copy_from_slice(&table[id as usize * d..][..d]);
            }
        })
    };
    let ids = ids.to_vec();
    Ok(Value::adding(tensor(output, shape)?, &[weight], move |gradient, before| {
        let [before] = addends(before);
        let gradient = gradient.contiguous()?;
        let gradient = Elements::of(&gradient)?;
        let sum = match before {
            Some(Addend { tensor, is_own: true }) => tensor,
            before => {
                let zeros = tensor(cpu::zeros(vocabulary * d), (vocabulary, d))?;
                Addend::plus(before, zeros)?.tensor
            }
        };
        cpu::change(&sum, |sum| add_rows(sum, &gradient, &ids, d))?;
        Ok(vec![Some(Addend::own(sum))])
    }))
}

/// Adds each row of `gradient` to its token's row of `table`, in the order of the tokens.
fn add_rows(table: &mut [f32], gradient: &[f32], ids: &[u32], d: usize) {
    /// Rows of the table that one task adds to.
    const SOME: usize = 1024;
    table.par_chunks_mut(SOME * d).enumerate().for_each(|(at, table)| {
        let first = at * SOME;
        for (row, &id) in gradient.chunks_exact(d).zip(ids) {
            let place = (id as usize).checked_sub(first).filter(|row| *row < table.len() / d);
            if let Some(place) = place {
                add_row(&mut table[place * d..][..d], row);
            }
        }
    });
}

kernel! {
    fn add_row(sum: &mut [f32], row: &[f32]) {
        for (sum, number) in sum.iter_mut().zip(row) {
            *sum += number;
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "embedding", cases, tolerance: 1e-6 };

fn cases() -> Vec<Case> {
    let ids = [3, 0, 3, 6, 3, 1];
    let run = move |inputs: &[Value]| embedding(&inputs[0], &ids, 2, 3);
    vec![Case::new("repeated ids", vec![normal("weight", &[7, 4])], run)]
}
