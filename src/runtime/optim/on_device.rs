//! AdamW where the parameters live on a device.
//!
//! In → the sums of gradients on the device, a learning rate; out → parameters changed there. Its
//! state has the names and the meaning of the host's AdamW, so a checkpoint goes on in either
//! place. **Cost.** The state is copied back when a checkpoint asks for it, 8 bytes a parameter.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::adamw::{AdamW, AdamWConfig, Moments};
use super::{Optimizer, Rule};
use crate::base::error::{Error, Result};
use crate::runtime::cuda::adamw::{DeviceAdamW, Rates};
use crate::runtime::cuda::resident::Resident;
use crate::runtime::value::{NamedGradients, NamedParameters};

/// AdamW over `parameters`, wherever they live, with a rule for each.
pub fn adamw(
    parameters: &NamedParameters,
    rules: Vec<(String, Tensor, Rule)>,
    eps: f64,
) -> Result<Box<dyn Optimizer>> {
    let Some(resident) = parameters.resident() else {
        return Ok(Box::new(AdamW::with_rules(rules, eps)?));
    };
    let rates = rules.into_iter().map(|(name, _, rule)| {
        let Rule { rate, decay, beta1, beta2 } = rule;
        (name, Rates { rate, decay, beta1, beta2 })
    });
    let device = DeviceAdamW::new(resident.clone(), &rates.collect(), eps)?;
    Ok(Box::new(OnDevice { device, steps: 0 }))
}

/// The same with one rule for all: decay of matrices alone.
pub fn plain_adamw(
    parameters: &NamedParameters,
    config: &AdamWConfig,
) -> Result<Box<dyn Optimizer>> {
    config.validate()?;
    let rules = parameters
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone(), config.rule(tensor.rank())));
    adamw(parameters, rules.collect(), config.eps)
}

struct OnDevice {
    device: DeviceAdamW,
    steps: u64,
}

impl OnDevice {
    fn resident(&self) -> &Resident {
        self.device.resident()
    }
}

impl Optimizer for OnDevice {
    fn step(&mut self, gradients: &NamedGradients, learning_rate: f64) -> Result<()> {
        let at = gradients.resident().map(|resident| std::ptr::from_ref(&**resident));
        if at != Some(std::ptr::from_ref(self.resident())) {
            return Err(Error::failed("the gradients are not those of this optimizer's device"));
        }
        self.steps += 1;
        self.device.step(learning_rate, self.steps)
    }

    /// # Panics
    /// Where the device fails, after which nothing on it can be used.
    fn state(&self) -> Vec<(String, Tensor)> {
        match self.device.moments() {
            Ok([means, squares]) => Moments { means, squares, steps: self.steps }.named(),
            Err(error) => panic!("the moments cannot be read from the device: {error}"),
        }
    }

    fn load_state(&mut self, state: BTreeMap<String, Tensor>) -> Result<()> {
        let places = self.resident().places().iter();
        let shapes = places.map(|(name, place)| (name.as_str(), &*place.dims));
        let Moments { means, squares, steps } = Moments::of(state, shapes)?;
        self.device.set_moments([&means, &squares])?;
        self.steps = steps;
        Ok(())
    }
}
