//! Sum of two values of one shape: the residual connection.
//!
//! In → a, b of equal shapes; out → a + b. Backward: the gradient goes to both as it is.
//! Bound by memory: 12 bytes an element; on a device the norm that reads the sum also computes it,
//! for 2 bytes more.

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu;
use crate::runtime::value::{Value, pulls};

/// a + b.
pub fn add(a: &Value, b: &Value) -> Result<Value> {
    if let Some(parts) = Value::arrays([a, b])? {
        return Ok(Value::added(parts, &[a, b], |gradient, with| {
            pulls([gradient.clone(), gradient.clone()], with)
        }));
    }
    if !Value::fused_on_cpu(&[a, b]) {
        return Value::composed(&[a, b], |inputs| &inputs[0] + &inputs[1]);
    }
    let output = cpu::add(a.tensor(), b.tensor())?;
    Ok(Value::result(output, &[a, b], |gradient| {
        Ok(vec![Some(gradient.clone()), Some(gradient.clone())])
    }))
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "add", cases, tolerance: 1e-6 };

fn cases() -> Vec<Case> {
    let inputs = vec![normal("a", &[3, 7, 10]), normal("b", &[3, 7, 10])];
    vec![Case::new("residual", inputs, |inputs| add(&inputs[0], &inputs[1]))]
}
