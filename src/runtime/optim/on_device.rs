//! Optimizers where the parameters live on a device.
//!
//! In → the sums of gradients on the device, a learning rate; out → parameters changed there. Their
//! state has the same names and meaning as on the host, so a checkpoint resumes on either.
//! **Cost.** The state is copied back when a checkpoint asks for it, 4 or 8 bytes a parameter.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use super::adamw::{AdamW, AdamWConfig, Moments};
use super::{Optimizer, Rule};
use crate::base::error::{Error, Result};
use crate::runtime::cuda::memory::Array;
use crate::runtime::cuda::resident::Resident;
use crate::runtime::cuda::updates::{self, MuonUpdate, Plain, PlainUpdate, Rates, Rounds, Update};
use crate::runtime::value::{NamedGradients, NamedParameters};

/// Parameters with a rule each.
type Ruled = Vec<(String, Tensor, Rule)>;

/// AdamW over `parameters`, wherever they live, with a rule for each.
pub fn adamw(parameters: &NamedParameters, rules: Ruled, eps: f64) -> Result<Box<dyn Optimizer>> {
    match parameters.resident() {
        Some(resident) => plain(resident, rules, Plain::AdamW { eps }),
        None => Ok(Box::new(AdamW::with_rules(rules, eps)?)),
    }
}

/// The same with one rule for all parameters; only matrices decay.
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

/// One update for all parameters of `resident`.
pub fn plain(resident: &Arc<Resident>, rules: Ruled, kind: Plain) -> Result<Box<dyn Optimizer>> {
    let rates = rates(rules);
    let names: Vec<String> = rates.keys().cloned().collect();
    let update = Update::Plain(PlainUpdate::new(resident, &rates, kind)?);
    let (of_adamw, of_momentum) = match kind {
        Plain::AdamW { .. } => (names, Vec::new()),
        Plain::Lion | Plain::Sgd { .. } => (Vec::new(), names),
    };
    OnDevice::boxed(resident, vec![update], of_adamw, of_momentum)
}

/// Muon for `matrices`, each with the factor of its learning rate, and AdamW for the rest.
pub fn muon(
    resident: &Arc<Resident>,
    (matrices, rounds): (Vec<(String, Tensor, Rule, f64)>, Rounds),
    (rest, eps): (Ruled, f64),
) -> Result<Box<dyn Optimizer>> {
    let scaled = matrices.into_iter().map(|(name, _, rule, scale)| (name, (of(rule), scale)));
    let (scaled, rest) = (scaled.collect::<BTreeMap<_, _>>(), rates(rest));
    let (of_adamw, of_momentum) =
        (rest.keys().cloned().collect(), scaled.keys().cloned().collect());
    let updates = vec![
        Update::Muon(Box::new(MuonUpdate::new(resident, &scaled, rounds)?)),
        Update::Plain(PlainUpdate::new(resident, &rest, Plain::AdamW { eps })?),
    ];
    OnDevice::boxed(resident, updates, of_adamw, of_momentum)
}

fn of(rule: Rule) -> Rates {
    let Rule { rate, decay, beta1, beta2 } = rule;
    Rates { rate, decay, beta1, beta2 }
}

fn rates(rules: Ruled) -> BTreeMap<String, Rates> {
    rules.into_iter().map(|(name, _, rule)| (name, of(rule))).collect()
}

struct OnDevice {
    resident: Arc<Resident>,
    updates: Vec<Update>,
    moments: updates::Moments,
    /// Names of the parameters that AdamW changes, and of those with one momentum.
    of_adamw: Vec<String>,
    of_momentum: Vec<String>,
    steps: u64,
}

impl OnDevice {
    fn boxed(
        resident: &Arc<Resident>,
        updates: Vec<Update>,
        of_adamw: Vec<String>,
        of_momentum: Vec<String>,
    ) -> Result<Box<dyn Optimizer>> {
        let moments = updates::Moments::new(resident, !of_adamw.is_empty())?;
        let resident = resident.clone();
        Ok(Box::new(OnDevice { resident, updates, moments, of_adamw, of_momentum, steps: 0 }))
    }

    fn read(&self) -> Result<Vec<(String, Tensor)>> {
        let mut means = self.resident.tensors(&self.moments.means.numbers()?)?;
        let momenta = self.of_momentum.iter().filter_map(|name| means.remove_entry(name));
        let mut state: Vec<(String, Tensor)> =
            momenta.map(|(name, it)| (format!("momentum.{name}"), it)).collect();
        if let Some(squares) = &self.moments.squares {
            let mut squares = self.resident.tensors(&squares.numbers()?)?;
            squares.retain(|name, _| means.contains_key(name));
            state.extend(Moments { means, squares, steps: self.steps }.named());
        }
        state.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(state)
    }

    fn write(&self, to: &Array, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let numbers = self.resident.flat(tensors)?;
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        to.write(&bytes)
    }
}

impl Optimizer for OnDevice {
    fn step(&mut self, gradients: &NamedGradients, learning_rate: f64) -> Result<()> {
        let at = gradients.resident().map(Arc::as_ptr);
        if at != Some(Arc::as_ptr(&self.resident)) {
            return Err(Error::failed("the gradients are not those of this optimizer's device"));
        }
        self.steps += 1;
        updates::step(&self.resident, &self.updates, &self.moments, learning_rate, self.steps)
    }

    /// # Panics
    /// Where the device fails, after which nothing on it can be used.
    fn state(&self) -> Vec<(String, Tensor)> {
        match self.read() {
            Ok(state) => state,
            Err(error) => panic!("the moments cannot be read from the device: {error}"),
        }
    }

    fn load_state(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let mut means = BTreeMap::new();
        let dims = |name: &String| &*self.resident.places()[name].dims;
        for name in &self.of_momentum {
            let found = state.remove(&format!("momentum.{name}"));
            let shape = found.as_ref().map(|tensor| tensor.dims());
            if shape != Some(dims(name)) {
                return Err(Error::failed(format!(
                    "the momentum of `{name}` must be {:?}, found {shape:?}",
                    dims(name)
                )));
            }
            means.extend(found.map(|tensor| (name.clone(), tensor)));
        }
        if let Some(array) = &self.moments.squares {
            let shapes = self.of_adamw.iter().map(|name| (name.as_str(), dims(name)));
            let moments = Moments::of(std::mem::take(&mut state), shapes)?;
            means.extend(moments.means);
            self.steps = moments.steps;
            self.write(array, &moments.squares)?;
        }
        if let Some(name) = state.keys().next() {
            return Err(Error::failed(format!("the optimizer's state has no `{name}`")));
        }
        self.write(&self.moments.means, &means)
    }
}
