//! GeGLU: the gated activation of Gemma's feed-forward layer.
//!
//! In → gate, up of equal shapes; out → gelu(gate) · up, with GELU's tanh approximation
//! (`gelu_pytorch_tanh` in `transformers`). Shazeer, *GLU Variants Improve Transformer*, 2020.
//! Backward: dgate = g·up·gelu′(gate), dup = g·gelu(gate), with gelu and gelu′ recomputed. Bound by
//! memory: 12 bytes an element forward, 20 backward.

use rayon::prelude::*;

use super::{Case, OpSpec, gated_on_device, gelu, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{Elements, kernel, tensor};
use crate::runtime::cuda::calls::Activation;
use crate::runtime::value::Value;

/// Elements one task works on.
const CHUNK: usize = 8 * 1024;

/// gelu(gate) · up.
pub fn geglu(gate: &Value, up: &Value) -> Result<Value> {
    if let Some(gated) = gated_on_device(Activation::GeGlu, gate, up)? {
        return Ok(gated);
    }
    if !Value::fused_on_cpu(&[gate, up]) {
        return Value::composed(&[gate, up], |inputs| gelu::composed(&inputs[0])? * &inputs[1]);
    }
    let mut output = vec![0.0; gate.tensor().elem_count()];
    {
        let (gate, up) = (Elements::of(gate.tensor())?, Elements::of(up.tensor())?);
        let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK));
        output.par_chunks_mut(CHUNK).zip(inputs).for_each(|(o, (gate, up))| forward(o, gate, up));
    }
    let saved = (gate.tensor().clone(), up.tensor().clone());
    Ok(Value::result(tensor(output, gate.tensor().shape())?, &[gate, up], move |gradient| {
        let mut to_gate = Elements::of(&gradient.contiguous()?)?.to_vec();
        let mut to_up = vec![0.0; to_gate.len()];
        {
            let (gate, up) = (Elements::of(&saved.0)?, Elements::of(&saved.1)?);
            let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK));
            let outputs = to_gate.par_chunks_mut(CHUNK).zip(to_up.par_chunks_mut(CHUNK));
            outputs.zip(inputs).for_each(|((to_gate, to_up), (gate, up))| {
                backward(to_gate, to_up, gate, up);
            });
        }
        let shape = saved.0.shape();
        Ok(vec![Some(tensor(to_gate, shape)?), Some(tensor(to_up, shape)?)])
    }))
}

kernel! {
    fn forward(output: &mut [f32], gate: &[f32], up: &[f32]) {
        for (output, (&x, up)) in output.iter_mut().zip(gate.iter().zip(up)) {
            *output = gelu::value_and_slope(x).0 * up;
        }
    }
}

kernel! {
    /// `to_gate` holds the gradient of the result, and becomes that of the gate.
    fn backward(to_gate: &mut [f32], to_up: &mut [f32], gate: &[f32], up: &[f32]) {
        let outputs = to_gate.iter_mut().zip(to_up.iter_mut());
        for ((to_gate, to_up), (&x, up)) in outputs.zip(gate.iter().zip(up)) {
            let (value, slope) = gelu::value_and_slope(x);
            let gradient = *to_gate;
            *to_up = gradient * value;
            *to_gate = gradient * up * slope;
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "geglu", cases, tolerance: 1e-5 };

fn cases() -> Vec<Case> {
    let inputs = vec![normal("gate", &[3, 5, 11]), normal("up", &[3, 5, 11])];
    vec![Case::new("tokens", inputs, |inputs| geglu(&inputs[0], &inputs[1]))]
}
