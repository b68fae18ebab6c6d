//! AdamW on a device: all parameters in one launch a rule.
//!
//! In → the sums of gradients that lie on the device, the learning rate; out → parameters changed
//! there, and their bf16 copies. The arithmetic is that of `runtime::optim::adamw`; the clip factor
//! is read on the device. **Cost.** Bound by memory, 30 bytes a parameter; keeps m and v.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use super::calls::arguments;
use super::driver::Element;
use super::memory::Array;
use super::resident::{Place, Resident};
use super::table::CHUNK;
use crate::base::error::Result;

/// What holds for some parameters, beside the step's learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub rate: f64,
    pub decay: f64,
    pub beta1: f64,
    pub beta2: f64,
}

/// Parameters of one rule, as pieces of the flat buffers.
struct Group {
    rates: Rates,
    chunks: Array,
    count: usize,
}

/// Moments on the device.
pub struct DeviceAdamW {
    resident: Arc<Resident>,
    groups: Vec<Group>,
    means: Array,
    squares: Array,
    eps: f64,
}

impl DeviceAdamW {
    /// Zero moments; `rules` by the parameters' names.
    pub fn new(
        resident: Arc<Resident>,
        rules: &BTreeMap<String, Rates>,
        eps: f64,
    ) -> Result<DeviceAdamW> {
        let context = resident.context().clone();
        let mut found: Vec<(Rates, Vec<u8>, usize)> = Vec::new();
        for (name, Place { start, dims }) in resident.places() {
            let rates = rules[name];
            let at = found.iter().position(|(known, ..)| *known == rates).unwrap_or(found.len());
            if at == found.len() {
                found.push((rates, Vec::new(), 0));
            }
            let (_, bytes, count) = &mut found[at];
            let length: usize = dims.iter().product();
            for offset in (0..length).step_by(CHUNK) {
                bytes.extend(((start + offset) as u64).to_le_bytes());
                bytes.extend(((length - offset).min(CHUNK) as u32).to_le_bytes());
                bytes.extend(1u32.to_le_bytes());
                *count += 1;
            }
        }
        let groups = found.into_iter().map(|(rates, bytes, count)| {
            let chunks = context.given(&[2 * count], Element::Word64, &bytes)?;
            Ok(Group { rates, chunks, count })
        });
        let groups = groups.collect::<Result<_>>()?;
        let dims = [resident.master.count()];
        let means = context.zeros(&dims, Element::F32)?;
        let squares = context.zeros(&dims, Element::F32)?;
        Ok(DeviceAdamW { resident, groups, means, squares, eps })
    }

    /// The parameters that it changes.
    pub fn resident(&self) -> &Resident {
        &self.resident
    }

    /// Step number `steps`, counted from 1.
    pub fn step(&self, learning_rate: f64, steps: u64) -> Result<()> {
        let Resident { master, shadow, gradients, norm, .. } = &*self.resident;
        self.resident.ensure_measured()?;
        for Group { rates, chunks, count } in &self.groups {
            let Rates { rate, decay, beta1, beta2 } = *rates;
            let rate = learning_rate * rate;
            let correction1 = 1.0 - libm::pow(beta1, steps as f64);
            let correction2 = 1.0 - libm::pow(beta2, steps as f64);
            let numbers = [
                1.0 - rate * decay,
                rate / correction1,
                correction2.sqrt(),
                self.eps,
                beta1,
                beta2,
            ];
            let step = master.context().floats(&[6], &numbers.map(|number| number as f32))?;
            let (means, squares) = (&self.means, &self.squares);
            let given = arguments![master, means, squares, gradients, shadow, chunks, &step, norm];
            master.context().launch("adamw", [*count, 1, 1], 0, given)?;
        }
        self.resident.changed();
        Ok(())
    }

    /// Means and squares by the parameters' names, on the host.
    pub fn moments(&self) -> Result<[BTreeMap<String, Tensor>; 2]> {
        let [means, squares] =
            [&self.means, &self.squares].map(|moments| self.resident.tensors(&moments.numbers()?));
        Ok([means?, squares?])
    }

    /// Takes means and squares back.
    pub fn set_moments(&self, moments: [&BTreeMap<String, Tensor>; 2]) -> Result<()> {
        for (array, tensors) in [&self.means, &self.squares].into_iter().zip(moments) {
            let numbers = self.resident.flat(tensors)?;
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            array.write(&bytes)?;
        }
        Ok(())
    }
}
