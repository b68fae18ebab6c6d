//! What training changes, and one step of it.
//!
//! In → a configuration and where to begin; out → a [`Learner`], fresh, from given weights, or
//! exactly as a checkpoint left it; and [`Learner::take_step`], which reads one global batch and
//! changes it. Everything that decides the next step is in here or in the configuration, so whoever
//! steps a learner over the same rows gets the same bits: the run, its replay, a probe. Writes
//! nothing and says nothing.

use super::{
    clock::Stopwatch,
    config::{Ops, Settings, TrainConfig},
    metric::Metric,
    spikes::Spike,
    summary::Timing,
};
use crate::base::{
    error::{Error, Result},
    hash::{Fingerprint, Hasher},
};
use crate::runtime::{
    checkpoint::{Checkpoint, TrainState},
    data::Feed,
    device::{Device, Numerics},
    first_step,
    model::{Model, ModelConfig},
    optim::{Optimizer, average, clip::clip},
    pages::KeptPages,
    step::{self, StepGradients},
    value::Form,
};

/// A model in training.
pub struct Learner {
    /// The decoder; the optimizer changes its parameters in place.
    pub model: Model,
    /// The running average of its parameters, where `train.ema` keeps one.
    pub average: Option<Model>,
    /// Its moments.
    pub optimizer: Box<dyn Optimizer>,
    /// How far it has come.
    pub state: TrainState,
    /// What the bits depend on that differs from the machine of the checkpoint.
    pub numerics_differences: Vec<String>,
    /// Whether the first loss must be that of a model that knows nothing.
    is_new: bool,
    /// What a step frees, the next one takes again.
    _pages: KeptPages,
}

/// Where a learner begins.
#[derive(Clone, Copy)]
pub enum Beginning<'a> {
    /// Freshly initialised.
    Fresh,
    /// With the parameters of this model; its steps are counted from 0.
    Weights(&'a Model),
    /// As the checkpoint left it.
    Checkpoint(&'a Checkpoint),
}

/// What one step came to.
pub struct Taken {
    /// For `metrics.jsonl`.
    pub metric: Metric,
    /// For `timing.jsonl`.
    pub timing: Timing,
    /// Why it changed nothing, where it did not.
    pub spike: Option<Spike>,
    /// What is unusual about the first step of a fresh model.
    pub unusual: Vec<String>,
}

impl Learner {
    /// A learner of `config`, whose `vocab_size` is known.
    pub fn open(config: &TrainConfig, from: Beginning<'_>, device: &Device) -> Result<Learner> {
        let TrainConfig { train, model, runtime, .. } = config;
        let decoder = match from {
            Beginning::Fresh => Model::new(model, train.seed, device)?,
            Beginning::Weights(weights) => average::copy(weights, device)?,
            Beginning::Checkpoint(checkpoint) => checkpoint.model(device)?,
        };
        let form = match runtime.ops {
            Ops::Fused => Form::Fused,
            Ops::Composed => Form::Composed,
        };
        let decoder = decoder.with_form(form).with_noise_seed(train.seed);
        let mut optimizer = config.build_optimizer(&decoder)?;
        let numerics = Numerics::of(device);
        let (mut state, mut numerics_differences) = (beginning(model, &numerics), Vec::new());
        let mut average = None;
        if let Beginning::Checkpoint(checkpoint) = from {
            state = checkpoint.restore(optimizer.as_mut())?;
            numerics_differences = state.numerics.differences(&numerics);
            state.numerics = numerics;
            average = checkpoint.average(device)?;
        }
        let average = match (train.ema > 0.0, average) {
            (false, _) => None,
            (true, Some(average)) => Some(average.with_form(form)),
            (true, None) => Some(average::copy(&decoder, device)?.with_form(form)),
        };
        let is_new = !matches!(from, Beginning::Weights(_));
        let (model, _pages) = (decoder, KeptPages::new());
        Ok(Learner { model, average, optimizer, state, numerics_differences, is_new, _pages })
    }

    /// One optimizer step over the next rows of `feed`, of a run over `steps`.
    ///
    /// # Errors
    /// Failed: a loss or a gradient that is no number, a parameter out of the loss's reach.
    pub fn take_step(
        &mut self,
        feed: &mut dyn Feed,
        settings: &Settings,
        steps: u64,
    ) -> Result<Taken> {
        let (before, first_row) = (self.state.step, self.state.next_row);
        let rows = settings.rows_per_step();
        let horizon = settings.horizon(before, steps);
        let learning_rate = settings.schedule().learning_rate(before, horizon);
        let mut watch = Stopwatch::start();
        let batch = feed.rows(first_row, rows)?;
        let feed_seconds = watch.lap();

        let mut found = step::gradients(&self.model, &batch, settings.micro_batch)?;
        let unusual = match before == 0 && self.is_new {
            true => first_step::check(&self.model, &batch, settings.micro_batch, &found)?,
            false => Vec::new(),
        };
        if !found.loss.is_finite() {
            return Err(self.diverged(settings, format!("the loss is {}", found.loss)));
        }
        let gradient_seconds = watch.lap();

        let norm = clip(&mut found.gradients, settings.clip_norm);
        let gradient_norm = norm.map_err(|error| self.diverged(settings, error.to_string()))?;
        let (step, place) = (before + 1, (first_row, rows as u64));
        let seen = [found.loss, gradient_norm];
        let spike = settings.spikes().judge(&mut self.state.window, seen, step, place);
        if spike.is_none() {
            self.change(&found, learning_rate, settings.ema)?;
        }
        let optimizer_seconds = watch.lap();

        let size = batch.tokens();
        self.state.step = step;
        self.state.next_row += rows as u64;
        self.state.tokens_seen += size as u64;
        let parameters = self.link(settings.hash_every)?;
        let (tokens, skipped, loss) = (self.state.tokens_seen, spike.is_some(), found.loss);
        let metric =
            Metric { step, tokens, loss, learning_rate, gradient_norm, skipped, parameters };
        let timing = Timing::new(step, size, feed_seconds, gradient_seconds, optimizer_seconds);
        Ok(Taken { metric, timing, spike, unusual })
    }

    /// Parameters, moments, average and smoothed loss after a step that counts.
    fn change(&mut self, found: &StepGradients, learning_rate: f64, decay: f64) -> Result<()> {
        self.optimizer.step(&found.gradients, learning_rate)?;
        if let Some(average) = &self.average {
            let (average, parameters) = (average.parameters(), self.model.parameters());
            average::update(average, parameters, decay, self.state.step + 1)?;
        }
        let smoothed = self.state.smoothed_loss.unwrap_or(found.loss);
        self.state.smoothed_loss = Some(smoothed + SMOOTHING * (found.loss - smoothed));
        Ok(())
    }

    /// The next link of the chain of the parameters' hashes, where one is due.
    fn link(&mut self, every: u64) -> Result<Option<Fingerprint>> {
        if every == 0 || !self.state.step.is_multiple_of(every) {
            return Ok(None);
        }
        let mut hasher = Hasher::new();
        hasher.update(&self.state.parameters.unwrap_or_default().0);
        hasher.update(&self.model.parameters().xxh3()?.0);
        self.state.parameters = Some(hasher.finish());
        Ok(self.state.parameters)
    }

    /// The error of a run that has left the numbers.
    fn diverged(&self, settings: &Settings, what: String) -> Error {
        let (step, rate) = (self.state.step + 1, settings.learning_rate);
        Error::failed(format!("training diverged at step {step}: {what}")).with_hint(format!(
            "lower `train.learning_rate` ({rate}) or raise `train.warmup_steps`; a try with \
             `--set runtime.ops=composed` tells a faulty kernel from a rate too high"
        ))
    }
}

fn beginning(model: &ModelConfig, numerics: &Numerics) -> TrainState {
    TrainState {
        step: 0,
        tokens_seen: 0,
        next_row: 0,
        smoothed_loss: None,
        best: None,
        window: Vec::new(),
        parameters: None,
        model: model.clone(),
        numerics: numerics.clone(),
    }
}

/// Weight of the newest loss in the one that progress shows.
const SMOOTHING: f64 = 0.05;
