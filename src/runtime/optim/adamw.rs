//! AdamW: Adam with decoupled weight decay.
//!
//! In → gradients, learning rate η; out → parameters changed in place. Loshchilov and Hutter,
//! *Decoupled Weight Decay Regularization*, 2019, with the arithmetic of `torch.optim.AdamW`:
//! p ← p·(1 − η·λ); m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²;
//! p ← p − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε). λ applies to tensors of two or more dimensions only:
//! decaying a norm's weight pulls it from 1 to 0. **Invariants.** Element by element: the same
//! bits at any thread count. **Cost.** Bound by memory, 40 bytes a parameter; keeps m and v.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Optimizer, Rule,
    each::{CHUNK, slice, slice_mut},
};
use crate::base::error::{Error, Result};
use crate::runtime::cpu::kernel;
use crate::runtime::value::{NamedGradients, NamedParameters};

/// The constants of AdamW. Defaults are those of Llama 2 (table 1 and section 2.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment (1e-8 in Adam).
    pub eps: f64,
    /// λ: share of a matrix lost a step, times the learning rate.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> AdamWConfig {
        AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }
}

impl AdamWConfig {
    /// Refuses constants out of range.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("beta1", self.beta1, (0.0..1.0).contains(&self.beta1)),
            ("beta2", self.beta2, (0.0..1.0).contains(&self.beta2)),
            ("eps", self.eps, self.eps > 0.0 && self.eps.is_finite()),
            ("weight_decay", self.weight_decay, (0.0..1e3).contains(&self.weight_decay)),
        ];
        match ranges.iter().find(|(_, _, fits)| !fits) {
            Some((name, number, _)) => {
                Err(Error::config(format!("`{name}` of AdamW is out of range: {number}")))
            }
            None => Ok(()),
        }
    }
}

impl AdamWConfig {
    /// The rule of a parameter of `rank` dimensions.
    pub fn rule(&self, rank: usize) -> Rule {
        let decay = if rank >= 2 { self.weight_decay } else { 0.0 };
        Rule { rate: 1.0, decay, beta1: self.beta1, beta2: self.beta2 }
    }
}

/// One parameter with its moments.
struct Slot {
    parameter: Tensor,
    mean: Tensor,
    square: Tensor,
    rule: Rule,
}

/// The optimizer of one model; shares the parameters' memory with it.
pub struct AdamW {
    eps: f64,
    slots: BTreeMap<String, Slot>,
    steps: u64,
}

impl AdamW {
    /// Zero moments for each of `parameters`; only matrices decay.
    pub fn new(parameters: &NamedParameters, config: &AdamWConfig) -> Result<AdamW> {
        config.validate()?;
        let named = parameters.iter().map(|(name, parameter)| {
            (name.to_owned(), parameter.clone(), config.rule(parameter.rank()))
        });
        AdamW::with_rules(named, config.eps)
    }

    /// The same with a rule for each parameter.
    pub fn with_rules(
        parameters: impl IntoIterator<Item = (String, Tensor, Rule)>,
        eps: f64,
    ) -> Result<AdamW> {
        let mut slots = BTreeMap::new();
        for (name, parameter, rule) in parameters {
            let (mean, square) = (parameter.zeros_like()?, parameter.zeros_like()?);
            slots.insert(name, Slot { parameter, mean, square, rule });
        }
        Ok(AdamW { eps, slots, steps: 0 })
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, gradients: &NamedGradients, learning_rate: f64) -> Result<()> {
        if let Some((name, _)) = gradients.iter().find(|(name, _)| !self.slots.contains_key(*name))
        {
            return Err(Error::failed(format!("a gradient for the unknown parameter `{name}`")));
        }
        self.steps += 1;
        for (name, slot) in &self.slots {
            let gradient = gradients.get(name).ok_or_else(|| {
                Error::failed(format!("the parameter `{name}` has no gradient in this step"))
            })?;
            let gradient = gradient.contiguous()?;
            let Rule { rate, decay, beta1, beta2 } = slot.rule;
            let rate = learning_rate * rate;
            let correction1 = 1.0 - libm::pow(beta1, self.steps as f64);
            let correction2 = 1.0 - libm::pow(beta2, self.steps as f64);
            slot.mean.inplace_op2(&gradient, &Mean { beta: beta1 as f32 })?;
            slot.square.inplace_op2(&gradient, &Square { beta: beta2 as f32 })?;
            let update = Update {
                decay: (1.0 - rate * decay) as f32,
                rate: (rate / correction1) as f32,
                root: correction2.sqrt() as f32,
                eps: self.eps as f32,
            };
            slot.parameter.inplace_op3(&slot.mean, &slot.square, &update)?;
        }
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let slots = || self.slots.iter();
        let means = slots().map(|(name, slot)| (name.clone(), slot.mean.clone())).collect();
        let squares = slots().map(|(name, slot)| (name.clone(), slot.square.clone())).collect();
        Moments { means, squares, steps: self.steps }.named()
    }

    fn load_state(&mut self, state: BTreeMap<String, Tensor>) -> Result<()> {
        let shapes = self.slots.iter().map(|(name, slot)| (name.as_str(), slot.parameter.dims()));
        let Moments { means, squares, steps } = Moments::of(state, shapes)?;
        self.steps = steps;
        let moments = means.into_values().zip(squares.into_values());
        for (slot, (mean, square)) in self.slots.values_mut().zip(moments) {
            (slot.mean, slot.square) = (mean, square);
        }
        Ok(())
    }
}

/// The state of AdamW, wherever it runs.
pub(super) struct Moments {
    /// By the parameters' names, as are the squares.
    pub means: BTreeMap<String, Tensor>,
    pub squares: BTreeMap<String, Tensor>,
    /// Steps taken so far.
    pub steps: u64,
}

impl Moments {
    /// Names and tensors for a checkpoint.
    pub fn named(self) -> Vec<(String, Tensor)> {
        let means = self.means.into_iter().map(|(name, it)| (format!("mean.{name}"), it));
        let squares = self.squares.into_iter().map(|(name, it)| (format!("square.{name}"), it));
        let steps = Tensor::full(self.steps as i64, 1, &candle_core::Device::Cpu);
        let steps = ("steps".to_owned(), steps.expect("one integer on the CPU"));
        means.chain(squares).chain([steps]).collect()
    }

    /// Back from what [`Moments::named`] gave, which must fit the parameters' `shapes`.
    pub fn of<'a>(
        mut state: BTreeMap<String, Tensor>,
        shapes: impl ExactSizeIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Moments> {
        let expected = 2 * shapes.len() + 1;
        if state.len() != expected {
            let found = state.len();
            return Err(Error::failed(format!(
                "the state of AdamW has {expected} tensors here, found {found}"
            )));
        }
        let mut take = |name: String| {
            let missing = || Error::failed(format!("the state of AdamW lacks `{name}`"));
            state.remove(&name).ok_or_else(missing)
        };
        let (mut means, mut squares) = (BTreeMap::new(), BTreeMap::new());
        for (name, dims) in shapes {
            let (mean, square) = (take(format!("mean.{name}"))?, take(format!("square.{name}"))?);
            for moment in [&mean, &square] {
                if moment.dims() != dims {
                    return Err(Error::failed(format!(
                        "the moments of `{name}` must be {dims:?}, found {:?}",
                        moment.dims()
                    )));
                }
            }
            means.insert(name.to_owned(), mean);
            squares.insert(name.to_owned(), square);
        }
        let steps = take("steps".to_owned())?.get(0)?.to_scalar::<i64>()?;
        let steps = u64::try_from(steps)
            .map_err(|_| Error::failed(format!("AdamW cannot have taken {steps} steps")))?;
        Ok(Moments { means, squares, steps })
    }
}

/// m ← β·m + (1 − β)·g.
struct Mean {
    beta: f32,
}

/// v ← β·v + (1 − β)·g².
struct Square {
    beta: f32,
}

/// p ← p·decay − rate·m / (√v / root + ε).
struct Update {
    decay: f32,
    rate: f32,
    root: f32,
    eps: f32,
}

impl InplaceOp2 for Mean {
    fn name(&self) -> &'static str {
        "adamw_mean"
    }

    fn cpu_fwd(
        &self,
        mean: &mut CpuStorage,
        mean_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = slice(gradient, gradient_layout)?;
        let chunks = slice_mut(mean, mean_layout)?.par_chunks_mut(CHUNK);
        chunks
            .zip(gradient.par_chunks(CHUNK))
            .for_each(|(mean, gradient)| update_mean(mean, gradient, self.beta));
        Ok(())
    }
}

impl InplaceOp2 for Square {
    fn name(&self) -> &'static str {
        "adamw_square"
    }

    fn cpu_fwd(
        &self,
        square: &mut CpuStorage,
        square_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = slice(gradient, gradient_layout)?;
        let chunks = slice_mut(square, square_layout)?.par_chunks_mut(CHUNK);
        chunks
            .zip(gradient.par_chunks(CHUNK))
            .for_each(|(square, gradient)| update_square(square, gradient, self.beta));
        Ok(())
    }
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adamw_update"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        mean: &CpuStorage,
        mean_layout: &Layout,
        square: &CpuStorage,
        square_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (mean, square) = (slice(mean, mean_layout)?, slice(square, square_layout)?);
        let chunks = slice_mut(parameter, parameter_layout)?.par_chunks_mut(CHUNK);
        let moments = mean.par_chunks(CHUNK).zip(square.par_chunks(CHUNK));
        chunks.zip(moments).for_each(|(parameter, (mean, square))| {
            update(parameter, mean, square, self.decay, self.rate, self.root, self.eps);
        });
        Ok(())
    }
}

kernel! {
    fn update_mean(mean: &mut [f32], gradient: &[f32], beta: f32) {
        for (mean, gradient) in mean.iter_mut().zip(gradient) {
            *mean += (gradient - *mean) * (1.0 - beta);
        }
    }
}

kernel! {
    fn update_square(square: &mut [f32], gradient: &[f32], beta: f32) {
        for (square, gradient) in square.iter_mut().zip(gradient) {
            *square = *square * beta + gradient * gradient * (1.0 - beta);
        }
    }
}

kernel! {
    fn update(
        parameter: &mut [f32],
        mean: &[f32],
        square: &[f32],
        decay: f32,
        rate: f32,
        root: f32,
        eps: f32,
    ) {
        for (parameter, (mean, square)) in parameter.iter_mut().zip(mean.iter().zip(square)) {
            *parameter = *parameter * decay - rate * (mean / (square.sqrt() / root + eps));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tensor(numbers: &[f32], dims: &[usize]) -> Tensor {
        Tensor::from_slice(numbers, dims, &Device::Cpu).unwrap()
    }

    fn parameters() -> NamedParameters {
        let matrix = tensor(&[0.5, -1.25, 2.0, 0.03], &[2, 2]);
        let norm = tensor(&[1.0, 0.8], &[2]);
        NamedParameters::new([("m".to_owned(), matrix), ("n".to_owned(), norm)].into())
    }

    fn gradients(step: usize) -> NamedGradients {
        let at = step as f32;
        let mut gradients = NamedGradients::default();
        gradients.insert("m", tensor(&[0.1 * at, -0.2, 0.3, 1e-4 * at], &[2, 2]));
        gradients.insert("n", tensor(&[-0.05, 0.4 / at], &[2]));
        gradients
    }

    fn numbers(parameters: &NamedParameters, name: &str) -> Vec<f32> {
        parameters.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn three_steps_match_torch() {
        let parameters = parameters();
        let mut optimizer = AdamW::new(&parameters, &AdamWConfig::default()).unwrap();
        for step in 1..=3 {
            optimizer.step(&gradients(step), 1e-2 / step as f64).unwrap();
        }
        // torch.optim.AdamW's arithmetic in f64 on the same numbers; "n" in a group without decay.
        let golden_m = [0.481155467, -1.229386249, 1.978011999, 0.012018106];
        let golden_n = [1.018333330, 0.782344290];
        for (found, expected) in numbers(&parameters, "m").iter().zip(golden_m) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
        for (found, expected) in numbers(&parameters, "n").iter().zip(golden_n) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn a_restored_state_continues_bit_for_bit() {
        let (whole, halves) = (parameters(), parameters());
        let mut optimizer = AdamW::new(&whole, &AdamWConfig::default()).unwrap();
        (1..=4).for_each(|step| optimizer.step(&gradients(step), 1e-2).unwrap());
        let mut first = AdamW::new(&halves, &AdamWConfig::default()).unwrap();
        (1..=2).for_each(|step| first.step(&gradients(step), 1e-2).unwrap());
        let state = first.state().into_iter().collect();
        let mut second = AdamW::new(&halves, &AdamWConfig::default()).unwrap();
        second.load_state(state).unwrap();
        (3..=4).for_each(|step| second.step(&gradients(step), 1e-2).unwrap());
        assert_eq!(numbers(&whole, "m"), numbers(&halves, "m"));
        assert_eq!(numbers(&whole, "n"), numbers(&halves, "n"));
    }

    #[test]
    fn a_missing_gradient_and_a_foreign_state_are_errors() {
        let parameters = parameters();
        let mut optimizer = AdamW::new(&parameters, &AdamWConfig::default()).unwrap();
        let mut partial = NamedGradients::default();
        partial.insert("m", tensor(&[0.0; 4], &[2, 2]));
        let message = optimizer.step(&partial, 1e-2).unwrap_err().to_string();
        assert!(message.contains("`n` has no gradient"), "{message}");
        let mut state: BTreeMap<String, Tensor> = optimizer.state().into_iter().collect();
        state.insert("mean.m".to_owned(), tensor(&[0.0; 2], &[2]));
        assert!(optimizer.load_state(state).unwrap_err().to_string().contains("moments of `m`"));
    }
}
