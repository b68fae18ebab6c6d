//! Stochastic gradient descent with momentum.
//!
//! In → gradients, learning rate η; out → parameters changed in place. The arithmetic of
//! `torch.optim.SGD`: g ← g + λp (coupled, so λ acts through the momentum); m ← μm + g;
//! p ← p − ηm, or p ← p − η(g + μm) in Nesterov's form (Sutskever et al., *On the importance of
//! initialization and momentum*, 2013). **Cost.** Bound by memory, 28 bytes a parameter; keeps m.

use candle_core::Tensor;

use super::{
    Optimizer,
    each::each_of_three,
    momentum::{Momentum, Slot, Slots},
};
use crate::runtime::cpu::kernel;

/// SGD over `slots`, whose rules hold rates and decays.
pub fn sgd(slots: Slots, momentum: f64, nesterov: bool) -> Box<dyn Optimizer> {
    let (momentum, nesterov) = (momentum as f32, nesterov);
    let step = move |slot: &Slot, gradient: &Tensor, rate: f64| {
        let (decay, rate) = (slot.rule.decay as f32, rate as f32);
        each_of_three(&slot.momentum, &slot.parameter, gradient, |mean, parameter, gradient| {
            gather(mean, parameter, gradient, momentum, decay);
        })?;
        // Nesterov's step also has the new gradient by itself.
        let own = if nesterov { 1.0 } else { 0.0 };
        let past = if nesterov { momentum } else { 1.0 };
        each_of_three(&slot.parameter, &slot.momentum, gradient, |parameter, mean, gradient| {
            update(parameter, mean, gradient, rate, decay, past, own);
        })
    };
    Box::new(Momentum::new(slots, step))
}

kernel! {
    fn gather(mean: &mut [f32], parameter: &[f32], gradient: &[f32], momentum: f32, decay: f32) {
        for (mean, (parameter, gradient)) in mean.iter_mut().zip(parameter.iter().zip(gradient)) {
            *mean = *mean * momentum + (gradient + decay * parameter);
        }
    }
}

kernel! {
    fn update(
        parameter: &mut [f32],
        mean: &[f32],
        gradient: &[f32],
        rate: f32,
        decay: f32,
        past: f32,
        own: f32,
    ) {
        for (parameter, (mean, gradient)) in parameter.iter_mut().zip(mean.iter().zip(gradient)) {
            let direction = past * mean + own * (gradient + decay * *parameter);
            *parameter -= rate * direction;
        }
    }
}
