//! Some rows of a value, in rising order: what a loss over some of the tokens reads.
//!
//! In → x [.., d], indices of rows, each at most once; out → [N, d]. Backward: each gradient row
//! goes to its index, zeros elsewhere. Bound by memory: N·d read and written, and the zeros.

use candle_core::Tensor;

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{Elements, tensor};
use crate::runtime::cuda::calls;
use crate::runtime::value::{Pull, Value};

/// Rows `places` of `x`, strictly rising indices, as [places, d].
pub fn pick(x: &Value, places: &[u32]) -> Result<Value> {
    let dims = x.dims().to_vec();
    let d = *dims.last().expect("a value of rows");
    let rows = dims.iter().product::<usize>() / d;
    assert!(places.is_sorted_by(|one, next| one < next), "each row at most once, rising");
    assert!(places.last().is_none_or(|last| (*last as usize) < rows), "a row of {rows}");
    if let Some([array]) = Value::arrays([x])? {
        let (output, places) = (calls::picked(&array, places)?, places.to_vec());
        return Ok(Value::on_device(output, &[x], move |gradient, with| {
            let to_x = calls::spread(gradient, &places, &dims)?;
            let with = with.into_iter().next().flatten();
            Ok(vec![Pull::Array(calls::joined(to_x, with)?)])
        }));
    }
    if !Value::fused_on_cpu(&[x]) {
        let places = Tensor::new(places, x.tensor().device())?;
        return Value::composed(&[x], |inputs| {
            inputs[0].reshape((rows, d))?.index_select(&places, 0)
        });
    }
    let mut output = Vec::with_capacity(places.len() * d);
    {
        let x = Elements::of(x.tensor())?;
        for &place in places {
            output.extend_from_slice(&x[place as usize * d..][..d]);
        }
    }
    let places = places.to_vec();
    Ok(Value::result(tensor(output, (places.len(), d))?, &[x], move |gradient| {
        let gradient = gradient.contiguous()?;
        let gradient = Elements::of(&gradient)?;
        let mut to_x = vec![0.0f32; rows * d];
        for (row, &place) in gradient.chunks_exact(d).zip(&places) {
            to_x[place as usize * d..][..d].copy_from_slice(row);
        }
        Ok(vec![Some(tensor(to_x, dims)?)])
    }))
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "pick", cases, tolerance: 1e-6 };

fn cases() -> Vec<Case> {
    let run = |inputs: &[Value]| pick(&inputs[0], &[1, 2, 5]);
    vec![Case::new("some rows", vec![normal("x", &[2, 3, 4])], run)]
}
