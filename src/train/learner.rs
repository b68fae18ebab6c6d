//! What training changes: the model, its optimizer, the place in the mix.
//!
//! In → a run's directory; out → a [`Learner`] at the beginning, or exactly as the checkpoint left
//! it. Everything that decides the next step is in here or in the configuration.

use super::{
    config::{Ops, TrainConfig},
    directory::RunDirectory,
};
use crate::base::error::Result;
use crate::runtime::{
    checkpoint::TrainState,
    device::{Device, Numerics},
    model::{Model, ModelConfig},
    optim::Optimizer,
    value::Form,
};

/// A model in training.
pub struct Learner {
    /// The decoder; the optimizer changes its parameters in place.
    pub model: Model,
    /// Its moments.
    pub optimizer: Box<dyn Optimizer>,
    /// How far it has come.
    pub state: TrainState,
    /// What the bits depend on that differs from the machine of the checkpoint.
    pub numerics_differences: Vec<String>,
}

impl Learner {
    /// As the run's checkpoint left it, or freshly initialised.
    pub fn open(directory: &RunDirectory, device: &Device) -> Result<Learner> {
        let TrainConfig { train, model, runtime, .. } = &directory.config;
        let decoder = match directory.checkpoint() {
            Some(latest) => latest.model(device)?,
            None => Model::new(model, train.seed, device)?,
        };
        let decoder = decoder.with_form(match runtime.ops {
            Ops::Fused => Form::Fused,
            Ops::Composed => Form::Composed,
        });
        let decoder = decoder.with_noise_seed(train.seed);
        let mut optimizer = directory.config.build_optimizer(&decoder)?;
        let numerics = Numerics::of(device);
        let (mut state, mut numerics_differences) = (beginning(model, &numerics), Vec::new());
        if let Some(latest) = directory.checkpoint() {
            state = latest.restore(optimizer.as_mut())?;
            numerics_differences = state.numerics.differences(&numerics);
            state.numerics = numerics;
        }
        Ok(Learner { model: decoder, optimizer, state, numerics_differences })
    }
}

fn beginning(model: &ModelConfig, numerics: &Numerics) -> TrainState {
    TrainState {
        step: 0,
        tokens_seen: 0,
        next_row: 0,
        smoothed_loss: None,
        best: None,
        model: model.clone(),
        numerics: numerics.clone(),
    }
}
