//! Rotary position embedding, in the half-split layout of Hugging Face's Llama.
//!
//! In → x [B, T, heads·h], a [`Rotation`] of the tokens' positions; out → the same shape, where in
//! each head the pair (i, i + h/2) is turned by position·θ^(−2i/h). Su et al., *RoFormer*, 2021.
//! Backward: the same turn by the negative angle. Bound by memory: 8 bytes an element.
//!
//! Cosines and sines are computed in f64 in software (`libm`), since those of the platform change
//! with its version, and the bits of a run with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{self, Elements, PIECE, kernel, tensor};
use crate::runtime::cuda::heads::Turns;
use crate::runtime::cuda::memory::{Array, Context};
use crate::runtime::value::Value;

/// How rotations are slowed down for texts longer than the model was made for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "lowercase",
    deny_unknown_fields,
    expecting = "a table such as { kind = \"linear\", factor = 2.0 }"
)]
pub enum RopeScaling {
    /// All rotations slowed by 1 / factor: positions interpolated (Chen et al., 2023,
    /// arXiv:2306.15595).
    Linear { factor: f64 },
    /// Llama 3.1: rotations with a wavelength above `original_context` / `low_frequency` tokens are
    /// slowed by 1 / factor, those below `original_context` / `high_frequency` stay, and those
    /// between are blended (`transformers`, `modeling_rope_utils.py`,
    /// `_compute_llama3_parameters`).
    Llama3 { factor: f64, low_frequency: f64, high_frequency: f64, original_context: usize },
}

impl RopeScaling {
    /// The key of `model.rope_scaling` that is out of range, if one is.
    pub fn fault(&self) -> Option<&'static str> {
        let RopeScaling::Llama3 { low_frequency: low, high_frequency: high, .. } = *self else {
            return (!(self.factor() >= 1.0 && self.factor() <= 1e6)).then_some("factor");
        };
        let RopeScaling::Llama3 { original_context, .. } = *self else { return None };
        let faults = [
            ("factor", !(self.factor() >= 1.0 && self.factor() <= 1e6)),
            ("low_frequency", !(low > 0.0 && low < high)),
            ("high_frequency", !(high > low && high <= 1e6)),
            ("original_context", original_context == 0 || original_context > 1 << 32),
        ];
        faults.iter().find(|(_, fault)| *fault).map(|(key, _)| *key)
    }

    fn factor(&self) -> f64 {
        match *self {
            RopeScaling::Linear { factor } | RopeScaling::Llama3 { factor, .. } => factor,
        }
    }

    fn scaled(&self, speed: f64) -> f64 {
        let RopeScaling::Llama3 { factor, low_frequency, high_frequency, original_context } = *self
        else {
            return speed / self.factor();
        };
        let wave = std::f64::consts::TAU / speed;
        let context = original_context as f64;
        if wave > context / low_frequency {
            return speed / factor;
        }
        if wave < context / high_frequency {
            return speed;
        }
        let smooth = (context / wave - low_frequency) / (high_frequency - low_frequency);
        (1.0 - smooth) * speed / factor + smooth * speed
    }
}

/// Cosines and sines of a batch's positions: a row of head_dim / 2 numbers for each token.
#[derive(Clone)]
pub struct Rotation {
    cosine: Tensor,
    sine: Tensor,
    half: usize,
    /// On a device instead: tables with a row for each position, and the tokens' positions.
    pub(super) turns: Option<Turns>,
}

impl Rotation {
    /// Rotations of `positions` at base `theta`, for heads of `head_dim` elements (even).
    pub fn new(
        positions: &[u32],
        head_dim: usize,
        theta: f64,
        scaling: Option<RopeScaling>,
        device: &Device,
    ) -> Result<Rotation> {
        assert!(
            head_dim.is_multiple_of(2),
            "rotary embedding turns pairs: head_dim {head_dim} is odd"
        );
        let half = head_dim / 2;
        let step = -2.0 * libm::log(theta) / head_dim as f64;
        let speeds = (0..half).map(|i| libm::exp(i as f64 * step));
        let speeds: Vec<f64> =
            speeds.map(|speed| scaling.map_or(speed, |it| it.scaled(speed))).collect();
        let mut cosine: Vec<f32> = Vec::with_capacity(positions.len() * half);
        let mut sine: Vec<f32> = Vec::with_capacity(positions.len() * half);
        let mut known: BTreeMap<u32, usize> = BTreeMap::new(); // where a position's turns stand
        for &position in positions {
            if let Some(&start) = known.get(&position) {
                cosine.extend_from_within(start..start + half);
                sine.extend_from_within(start..start + half);
                continue;
            }
            known.insert(position, cosine.len());
            for speed in &speeds {
                let (s, c) = libm::sincos(f64::from(position) * speed);
                cosine.push(c as f32);
                sine.push(s as f32);
            }
        }
        let shape = (positions.len(), half);
        Ok(Rotation {
            cosine: Tensor::from_vec(cosine, shape, device)?,
            sine: Tensor::from_vec(sine, shape, device)?,
            half,
            turns: None,
        })
    }

    /// The same for tokens on a device, which keeps its tables by position from pass to pass.
    pub fn on_device(
        positions: &[u32],
        head_dim: usize,
        theta: f64,
        scaling: Option<RopeScaling>,
        tables: &Tables,
    ) -> Result<Rotation> {
        let longest = positions.iter().max().map_or(1, |last| *last as usize + 1);
        let mut known = tables.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let [cosine, sine] = match &*known {
            Some(known) if known[0].dims()[0] >= longest => known.clone(),
            _ => {
                let all: Vec<u32> = (0..longest.next_power_of_two() as u32).collect();
                let table = Rotation::new(&all, head_dim, theta, scaling, &Device::Cpu)?;
                let sent = |tensor: &Tensor| {
                    let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
                    tables.context.floats(tensor.dims(), &numbers)
                };
                [sent(&table.cosine)?, sent(&table.sine)?]
            }
        };
        *known = Some([cosine.clone(), sine.clone()]);
        let positions = tables.context.integers(positions)?;
        let empty = Tensor::zeros((0, head_dim / 2), DType::F32, &Device::Cpu)?;
        Ok(Rotation {
            cosine: empty.clone(),
            sine: empty,
            half: head_dim / 2,
            turns: Some(Turns { cosine, sine, positions }),
        })
    }
}

/// A model's tables of cosines and sines on a device.
#[derive(Debug)]
pub struct Tables {
    context: Arc<Context>,
    /// Cosines and sines, [positions, h/2].
    known: Mutex<Option<[Array; 2]>>,
}

impl Tables {
    /// Without tables; the first rotation makes them.
    pub fn new(context: &Arc<Context>) -> Tables {
        Tables { context: context.clone(), known: Mutex::new(None) }
    }
}

/// Rotates each head of x [B, T, heads·h] by its token's rotation. On a device [`super::place()`]
/// does this instead.
pub fn rope(x: &Value, rotation: &Rotation) -> Result<Value> {
    let half = rotation.half;
    let width = *x.dims().last().expect("x has three dimensions");
    assert!(width.is_multiple_of(2 * half), "{width} elements are no whole number of heads");
    let shape = x.tensor().shape().clone();
    if !Value::fused_on_cpu(&[x]) {
        return Value::composed(&[x], |inputs| {
            let heads = width / (2 * half);
            let x = inputs[0].reshape(((), heads, 2 * half))?;
            let cosine = rotation.cosine.unsqueeze(1)?.to_dtype(x.dtype())?;
            let sine = rotation.sine.unsqueeze(1)?.to_dtype(x.dtype())?;
            let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
            let left = (a.broadcast_mul(&cosine)? - b.broadcast_mul(&sine)?)?;
            let right = (b.broadcast_mul(&cosine)? + a.broadcast_mul(&sine)?)?;
            Tensor::cat(&[left, right], D::Minus1)?.reshape(&shape)
        });
    }
    let output = turned(x.tensor(), rotation, 1.0)?;
    let rotation = rotation.clone();
    Ok(Value::result(output, &[x], move |gradient| {
        Ok(vec![Some(turned(&gradient.contiguous()?, &rotation, -1.0)?)])
    }))
}

fn turned(x: &Tensor, rotation: &Rotation, sign: f32) -> Result<Tensor> {
    let width = *x.dims().last().expect("x has three dimensions");
    let half = rotation.half;
    let elements = Elements::of(x)?;
    let (cosine, sine) = (Elements::of(&rotation.cosine)?, Elements::of(&rotation.sine)?);
    let rows = (PIECE / width).max(1);
    let output = cpu::made(elements.len(), rows * width, |at, place| {
        let (cosine, sine) = (&cosine[at * rows * half..], &sine[at * rows * half..]);
        turn(place, &elements[at * rows * width..], cosine, sine, half, width, sign);
    });
    tensor(output, x.shape())
}

kernel! {
    fn turn(
        output: &mut [f32],
        x: &[f32],
        cosine: &[f32],
        sine: &[f32],
        half: usize,
        width: usize,
        sign: f32,
    ) {
        let tables = cosine.chunks_exact(half).zip(sine.chunks_exact(half));
        let rows = output.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(tables);
        for ((output, x), (cosine, sine)) in rows {
            let heads = output.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half));
            for (output, x) in heads {
                let (left, right) = output.split_at_mut(half);
                let (a, b) = x.split_at(half);
                for i in 0..half {
                    left[i] = a[i] * cosine[i] - b[i] * (sign * sine[i]);
                    right[i] = b[i] * cosine[i] + a[i] * (sign * sine[i]);
                }
            }
        }
    }
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "rope", cases, tolerance: 1e-6 };

fn cases() -> Vec<Case> {
    let run = |inputs: &[Value]| {
        let positions = [0, 1, 2, 0, 1, 900];
        rope(&inputs[0], &Rotation::new(&positions, 8, 10_000.0, None, &Device::Cpu)?)
    };
    vec![Case::new("two heads", vec![normal("x", &[2, 3, 16])], run)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::value::Form;

    #[test]
    fn slow_turns_are_slowed_and_fast_ones_are_not() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency: 1.0,
            high_frequency: 4.0,
            original_context: 8192,
        };
        assert_eq!((scaling.scaled(1.0), scaling.scaled(1e-5)), (1.0, 1.25e-6));
        // transformers 5.24: (1 - s) / 8 + s, with s = (8192 * 1e-3 * 2 / 2pi - 1) / 3 at half way.
        let between = std::f64::consts::TAU / (8192.0 / 2.5);
        assert!((scaling.scaled(between) / between - 0.5625).abs() < 1e-12);
        assert_eq!(RopeScaling::Linear { factor: 4.0 }.scaled(0.5), 0.125);
        assert_eq!(RopeScaling::Linear { factor: 0.5 }.fault(), Some("factor"));
    }

    #[test]
    fn products_depend_on_the_distance_of_positions_alone() {
        let at = |position: u32| {
            let x: Vec<f32> = (0..8).map(|i| (i as f32 - 3.0) * 0.3).collect();
            let x = Tensor::from_vec(x, (1, 1, 8), &Device::Cpu).unwrap();
            let x = Value::constant(&x, Form::Fused);
            let rotation = Rotation::new(&[position], 8, 10_000.0, None, &Device::Cpu).unwrap();
            rope(&x, &rotation).unwrap().detached()
        };
        let product = |a, b| {
            let sum = (at(a) * at(b)).unwrap().sum_all().unwrap();
            sum.to_scalar::<f32>().unwrap()
        };
        assert!((product(3, 10) - product(103, 110)).abs() < 1e-4);
        assert!((product(3, 10) - product(3, 11)).abs() > 1e-3);
    }
}
