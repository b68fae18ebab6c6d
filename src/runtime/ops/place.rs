//! Queries and keys made ready for attention: each head normed (if the model does so), then rotated
//! by its position.
//!
//! In → q [B, T, H·h], k [B, T, K·h], optionally the weights `[h]` of their norms and a
//! [`Rotation`]; out → both, of the same shapes. This is [`rms_norm()`], then [`rope()`]. On a
//! device one launch does both to both, and one launch all gradients: a head is read once and
//! written once each way, 4 bytes an element forward and 6 backward, 4 without norms.

use candle_core::Device;

use super::attention::Visible;
use super::{Case, Gain, OpSpec, Rotation, add, attention, normal, rms_norm, rope};
use crate::base::error::Result;
use crate::runtime::cuda::heads::{self, Placed};
use crate::runtime::value::{Pull, Value, pulls};

/// The RMSNorms of queries and keys.
#[derive(Clone, Copy)]
pub struct HeadNorms<'a> {
    /// The weights for queries and for keys, `[h]` each.
    pub weights: [&'a Value; 2],
    pub epsilon: f64,
}

/// q and k, normed where there are norms, turned where there is a rotation.
pub fn place(
    q: &Value,
    k: &Value,
    norms: Option<HeadNorms<'_>>,
    rotation: Option<&Rotation>,
) -> Result<[Value; 2]> {
    let turns = rotation.and_then(|rotation| rotation.turns.clone());
    if let (Some(found), Some(turns)) = (Value::arrays([q, k])?, turns) {
        let Some(HeadNorms { weights, epsilon }) = norms else {
            let placed = Placed { turns, norms: None };
            let turned = placed.forward(&found)?;
            return Ok(Value::two_on_device(turned, &[q, k], move |gradients, with| {
                pulls(placed.backward(None, &gradients)?, with)
            }));
        };
        let gains = Value::arrays(weights)?.expect("weights are where their heads are");
        let trained = weights.map(Value::is_tracked);
        let placed = Placed { turns, norms: Some(heads::HeadNorms { gains, trained, epsilon }) };
        let turned = placed.forward(&found)?;
        let inputs = [q, k, weights[0], weights[1]];
        return Ok(Value::two_on_device(turned, &inputs, move |gradients, with| {
            let mut found = pulls(placed.backward(Some(&found), &gradients)?, with)?;
            found.extend(trained.map(|it| if it { Pull::Summed } else { Pull::None }));
            Ok(found)
        }));
    }
    let one = |x: &Value, at: usize| -> Result<Value> {
        let normed = norms.map(|it| rms_norm(x, it.weights[at], Gain::Weight, it.epsilon));
        let x = normed.transpose()?.unwrap_or_else(|| x.clone());
        rotation.map_or(Ok(x.clone()), |rotation| rope(&x, rotation))
    };
    Ok([one(q, 0)?, one(k, 1)?])
}

/// This op's row in the table. Each case feeds both results into another op, so that both get
/// gradients.
pub const SPEC: OpSpec = OpSpec { name: "place", cases, tolerance: 2e-5 };

fn cases() -> Vec<Case> {
    let rotation = || Rotation::new(&[0, 1, 2, 0, 1, 900], 8, 10_000.0, None, &Device::Cpu);
    let attend = |[q, k]: [Value; 2]| {
        let visible = Visible::in_segments(&[0; 6], 2, 3);
        attention(&q, &k, &k, &visible, 2, 1, 0.0)
    };
    vec![
        Case::new(
            "with norms",
            vec![
                normal("q", &[2, 3, 16]),
                normal("k", &[2, 3, 8]),
                normal("q_norm", &[8]),
                normal("k_norm", &[8]),
            ],
            move |inputs| {
                let norms = HeadNorms { weights: [&inputs[2], &inputs[3]], epsilon: 1e-5 };
                attend(place(&inputs[0], &inputs[1], Some(norms), Some(&rotation()?))?)
            },
        ),
        Case::new(
            "turned alone",
            vec![normal("q", &[2, 3, 16]), normal("k", &[2, 3, 16])],
            move |inputs| {
                let [q, k] = place(&inputs[0], &inputs[1], None, Some(&rotation()?))?;
                add(&q, &k)
            },
        ),
    ]
}
