//! Lion: the sign of a momentum.
//!
//! In → gradients, learning rate η; out → parameters changed in place. Chen et al., *Symbolic
//! Discovery of Optimization Algorithms*, 2023, with the arithmetic of its reference
//! (`google/automl`, `lion_pytorch.py`): p ← p·(1 − η·λ); p ← p − η·sign(β₁m + (1−β₁)g);
//! m ← β₂m + (1−β₂)g. sign(0) = 0. **Cost.** Bound by memory, 28 bytes a parameter; keeps m.

use candle_core::Tensor;

use super::{
    Optimizer,
    each::{each, each_of_three},
    momentum::{Momentum, Slot, Slots},
};
use crate::base::error::Result;
use crate::runtime::cpu::kernel;

/// Lion over `slots`, whose rules hold rates, decays and both β.
pub fn lion(slots: Slots) -> Box<dyn Optimizer> {
    Box::new(Momentum::new(slots, step))
}

fn step(slot: &Slot, gradient: &Tensor, rate: f64) -> Result<()> {
    let decay = (1.0 - rate * slot.rule.decay) as f32;
    let (rate, beta1, beta2) = (rate as f32, slot.rule.beta1 as f32, slot.rule.beta2 as f32);
    each_of_three(&slot.parameter, &slot.momentum, gradient, |parameter, mean, gradient| {
        update(parameter, mean, gradient, decay, rate, beta1);
    })?;
    each(&slot.momentum, gradient, |mean, gradient| average(mean, gradient, beta2))
}

kernel! {
    fn update(
        parameter: &mut [f32],
        mean: &[f32],
        gradient: &[f32],
        decay: f32,
        rate: f32,
        beta: f32,
    ) {
        for (parameter, (mean, gradient)) in parameter.iter_mut().zip(mean.iter().zip(gradient)) {
            let direction = mean * beta + gradient * (1.0 - beta);
            let up = if direction > 0.0 { rate } else { 0.0 };
            let down = if direction < 0.0 { rate } else { 0.0 };
            *parameter = *parameter * decay - up + down;
        }
    }
}

kernel! {
    fn average(mean: &mut [f32], gradient: &[f32], beta: f32) {
        for (mean, gradient) in mean.iter_mut().zip(gradient) {
            *mean = *mean * beta + gradient * (1.0 - beta);
        }
    }
}
