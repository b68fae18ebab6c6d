//! SwiGLU: the gated activation of the feed-forward layer.
//!
//! In → gate, up of equal shapes; out → silu(gate) · up, with silu(z) = z·σ(z). Shazeer, *GLU
//! Variants Improve Transformer*, 2020. Backward: dgate = g·up·σ·(1 + gate·(1 − σ)),
//! dup = g·gate·σ; σ is recomputed, which is cheaper than reading it back. Bound by memory:
//! 12 bytes an element forward, 20 backward.

use candle_core::Tensor;

use super::{Case, OpSpec, gated_on_device, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{self, Elements, PIECE, kernel, tensor};
use crate::runtime::cuda::calls::Activation;
use crate::runtime::value::Value;

/// silu(gate) · up.
pub fn swiglu(gate: &Value, up: &Value) -> Result<Value> {
    if let Some(gated) = gated_on_device(Activation::SwiGlu, gate, up)? {
        return Ok(gated);
    }
    if !Value::fused_on_cpu(&[gate, up]) {
        return Value::composed(&[gate, up], |inputs| inputs[0].silu()? * &inputs[1]);
    }
    let output = {
        let (gate, up) = (Elements::of(gate.tensor())?, Elements::of(up.tensor())?);
        cpu::made(gate.len(), PIECE, |at, place| {
            forward(place, &gate[at * PIECE..], &up[at * PIECE..]);
        })
    };
    let saved = (gate.tensor().clone(), up.tensor().clone());
    Ok(Value::result(tensor(output, gate.tensor().shape())?, &[gate, up], move |gradient| {
        let (to_gate, to_up) = gradients(&saved.0, &saved.1, gradient)?;
        Ok(vec![Some(to_gate), Some(to_up)])
    }))
}

fn gradients(gate: &Tensor, up: &Tensor, gradient: &Tensor) -> Result<(Tensor, Tensor)> {
    let shape = gate.shape();
    let gradient = gradient.contiguous()?;
    let (gate, up) = (Elements::of(gate)?, Elements::of(up)?);
    let gradient = Elements::of(&gradient)?;
    let (to_gate, to_up) = cpu::made_two(gate.len(), PIECE, |at, to_gate, to_up| {
        let start = at * PIECE;
        backward(to_gate, to_up, &gate[start..], &up[start..], &gradient[start..]);
    });
    Ok((tensor(to_gate, shape)?, tensor(to_up, shape)?))
}

kernel! {
    fn forward(output: &mut [f32], gate: &[f32], up: &[f32]) {
        for (output, (gate, up)) in output.iter_mut().zip(gate.iter().zip(up)) {
            *output = gate / (1.0 + cpu::exp(-gate)) * up;
        }
    }
}

kernel! {
    fn backward(
        to_gate: &mut [f32],
        to_up: &mut [f32],
        gate: &[f32],
        up: &[f32],
        gradient: &[f32],
    ) {
        let outputs = to_gate.iter_mut().zip(to_up.iter_mut());
        let inputs = gate.iter().zip(up).zip(gradient);
        for ((to_gate, to_up), ((gate, up), gradient)) in outputs.zip(inputs) {
            let sigmoid = 1.0 / (1.0 + cpu::exp(-gate));
            *to_gate = gradient * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
            *to_up = gradient * gate * sigmoid;
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "swiglu", cases, tolerance: 1e-5 };

fn cases() -> Vec<Case> {
    let inputs = vec![normal("gate", &[3, 5, 11]), normal("up", &[3, 5, 11])];
    vec![Case::new("tokens", inputs, |inputs| swiglu(&inputs[0], &inputs[1]))]
}
