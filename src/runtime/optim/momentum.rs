//! Parameters with one momentum tensor each: the state of Lion, SGD and Muon.
//!
//! In → named parameters with a [`Rule`] each; out → [`Slots`], whose state is
//! `momentum.PARAMETER`.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{Optimizer, Rule};
use crate::base::error::{Error, Result};
use crate::runtime::value::NamedGradients;

/// One parameter.
pub struct Slot {
    pub parameter: Tensor,
    pub momentum: Tensor,
    pub rule: Rule,
}

/// The parameters of one optimizer, by name.
pub struct Slots(BTreeMap<String, Slot>);

impl Slots {
    /// Zero momentum for each parameter.
    pub fn new(parameters: impl IntoIterator<Item = (String, Tensor, Rule)>) -> Result<Slots> {
        let mut slots = BTreeMap::new();
        for (name, parameter, rule) in parameters {
            let momentum = parameter.zeros_like()?;
            slots.insert(name, Slot { parameter, momentum, rule });
        }
        Ok(Slots(slots))
    }

    /// Calls `update` with each parameter and its gradient, by rising name.
    pub fn each(
        &self,
        gradients: &NamedGradients,
        mut update: impl FnMut(&Slot, &Tensor) -> Result<()>,
    ) -> Result<()> {
        if let Some((name, _)) = gradients.iter().find(|(name, _)| !self.0.contains_key(*name)) {
            return Err(Error::failed(format!("a gradient for the unknown parameter `{name}`")));
        }
        for (name, slot) in &self.0 {
            let gradient = gradients.get(name).ok_or_else(|| {
                Error::failed(format!("the parameter `{name}` has no gradient in this step"))
            })?;
            update(slot, &gradient.contiguous()?)?;
        }
        Ok(())
    }

    /// As [`Optimizer::state`].
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let slots = self.0.iter();
        slots.map(|(name, slot)| (format!("momentum.{name}"), slot.momentum.clone())).collect()
    }

    /// As [`Optimizer::load_state`].
    pub fn load_state(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let mut loaded = Vec::with_capacity(self.0.len());
        for (name, slot) in &self.0 {
            let found = state.remove(&format!("momentum.{name}"));
            let missing =
                || Error::failed(format!("the optimizer's state lacks `momentum.{name}`"));
            let momentum = found.ok_or_else(missing)?;
            if momentum.dims() != slot.parameter.dims() {
                return Err(Error::failed(format!(
                    "the momentum of `{name}` must be {:?}, found {:?}",
                    slot.parameter.dims(),
                    momentum.dims()
                )));
            }
            loaded.push(momentum);
        }
        if let Some(name) = state.keys().next() {
            return Err(Error::failed(format!("the optimizer's state has no `{name}`")));
        }
        for (slot, momentum) in self.0.values_mut().zip(loaded) {
            slot.momentum = momentum;
        }
        Ok(())
    }
}

/// An optimizer that is an update of [`Slots`] and nothing else.
pub struct Momentum<U> {
    slots: Slots,
    update: U,
}

impl<U: Fn(&Slot, &Tensor, f64) -> Result<()>> Momentum<U> {
    /// `update` changes a slot by its gradient and a learning rate that includes the rule's factor.
    pub fn new(slots: Slots, update: U) -> Momentum<U> {
        Momentum { slots, update }
    }
}

impl<U: Fn(&Slot, &Tensor, f64) -> Result<()> + Send> Optimizer for Momentum<U> {
    fn step(&mut self, gradients: &NamedGradients, learning_rate: f64) -> Result<()> {
        self.slots.each(gradients, |slot, gradient| {
            (self.update)(slot, gradient, learning_rate * slot.rule.rate)
        })
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.slots.state()
    }

    fn load_state(&mut self, state: BTreeMap<String, Tensor>) -> Result<()> {
        self.slots.load_state(state)
    }
}
