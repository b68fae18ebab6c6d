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
    goals, norms,
};
use crate::base::{
    error::{Error, Result},
    hash::{Fingerprint, Hasher},
};
use crate::report::lines::{LayerNorms, Metric, Spike, Timing};
use crate::runtime::{
    checkpoint::{Checkpoint, TrainState},
    data::Feed,
    device::{Device, Numerics},
    first_step,
    model::{Model, knobs::Dtype},
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
    /// Memory that a step frees and the next one takes again.
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
    /// The lines for `norms.jsonl`, at a step that is measured.
    pub norms: Vec<LayerNorms>,
    /// The spike for which the step changed nothing.
    pub spike: Option<Spike>,
    /// What is unusual about the first step of a fresh model.
    pub unusual: Vec<String>,
}

impl Learner {
    /// A learner of `config`, whose `vocab_size` is known.
    pub fn open(config: &TrainConfig, from: Beginning<'_>, device: &Device) -> Result<Learner> {
        let TrainConfig { train, model, runtime, lora, .. } = config;
        config.check_device(device)?;
        let decoder = match from {
            Beginning::Fresh => Model::new(model, train.seed, device)?,
            Beginning::Weights(weights) => average::copy(weights, device)?,
            Beginning::Checkpoint(checkpoint) => checkpoint.model_in_training(device)?,
        };
        let decoder = match (lora, from) {
            (None, _) | (_, Beginning::Checkpoint(_)) => decoder,
            (Some(lora), _) => decoder.with_lora(lora, train.seed)?,
        };
        let form = match runtime.ops {
            Ops::Fused => Form::Fused,
            Ops::Composed => Form::Composed,
        };
        let decoder = decoder.with_form(form).with_noise_seed(train.seed);
        let decoder = decoder.with_recompute(train.recompute.blocks());
        let mut optimizer = config.build_optimizer(&decoder)?;
        let numerics = match model.dtype {
            Dtype::Bf16 => Numerics::of(device).with_bf16(),
            Dtype::Auto | Dtype::F32 => Numerics::of(device),
        };
        let (mut state, mut numerics_differences) = (beginning(config, &numerics), Vec::new());
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
        // A model with adapters has been trained, so its first loss may be anything.
        let is_new = lora.is_none() && !matches!(from, Beginning::Weights(_));
        let (model, _pages) = (decoder, KeptPages::hold());
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
        let rows = settings.step_rows().at(before) as usize;
        let horizon = settings.horizon(before, steps);
        let learning_rate = settings.schedule().learning_rate(before, horizon);
        let mut watch = Stopwatch::start();
        let batch = feed.rows(first_row, rows)?.cut(settings.sequence_at(before));
        // Rows that are cut shorter go through the model in greater number: as many tokens at once.
        let micro_batch = settings.micro_batch * (settings.sequence / batch.sequence);
        let feed_seconds = watch.lap();

        let mut found = step::gradients(&self.model, &batch, micro_batch)?;
        let unusual = match before == 0 && self.is_new {
            true => first_step::check(&self.model, &batch, micro_batch, &found)?,
            false => Vec::new(),
        };
        if !found.loss.is_finite() {
            return Err(self.diverged(settings, format!("the loss is {}", found.loss)));
        }
        let gradient_seconds = watch.lap();

        let norms = match norms::is_due(before + 1) {
            true => norms::of(before + 1, self.model.parameters(), &found.gradients)?,
            false => Vec::new(),
        };
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
        Ok(Taken { metric, timing, norms, spike, unusual })
    }

    /// Applies a step that counts to parameters, moments, average and smoothed loss.
    fn change(&mut self, found: &StepGradients, learning_rate: f64, decay: f64) -> Result<()> {
        self.optimizer.step(&found.gradients, learning_rate)?;
        if let Some(average) = &self.average {
            let (average, parameters) = (average.parameters(), self.model.parameters());
            average::update(average, parameters, decay, self.state.step + 1)?;
        }
        self.state.smoothed_loss = Some(goals::smooth(self.state.smoothed_loss, found.loss));
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

fn beginning(config: &TrainConfig, numerics: &Numerics) -> TrainState {
    TrainState {
        step: 0,
        tokens_seen: 0,
        next_row: 0,
        smoothed_loss: None,
        best: None,
        window: Vec::new(),
        parameters: None,
        model: config.model.clone(),
        lora: config.lora.clone(),
        numerics: numerics.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::size::Count;
    use crate::runtime::cuda::host::HostMachine;
    use crate::runtime::data::Batch;
    use crate::runtime::model::{LoraConfig, ModelConfig};

    /// Rows of one document each.
    struct Rows;

    impl Feed for Rows {
        fn rows(&mut self, first: u64, count: usize) -> Result<Batch> {
            let tokens = (0..16 * count + 1).map(|at| (at * at * 7 % 100) as u32);
            let tokens: Vec<u32> = tokens.collect();
            let (inputs, targets) = (tokens[..16 * count].to_vec(), tokens[1..].to_vec());
            let mut batch = Batch::single_document(inputs, targets);
            (batch.rows, batch.sequence, batch.first_row) = (count, 16, first);
            batch.positions.iter_mut().for_each(|position| *position %= 16);
            Ok(batch)
        }
    }

    fn config() -> TrainConfig {
        let model = ModelConfig {
            vocab_size: 100,
            d_model: 64,
            n_layer: 1,
            n_head: 1,
            n_kv_head: 1,
            d_ff: 64,
            ..ModelConfig::default()
        };
        let train = Settings {
            sequence: 16,
            batch_tokens: Count(32),
            micro_batch: 2,
            hash_every: 1,
            ..Settings::default()
        };
        TrainConfig { model, train, ..TrainConfig::default() }
    }

    #[test]
    fn steps_on_a_device_are_steps_on_the_cpu_in_bf16() {
        let losses = |device: &Device| {
            let config = config();
            let mut learner = Learner::open(&config, Beginning::Fresh, device).unwrap();
            let take = |_| {
                let taken = learner.take_step(&mut Rows, &config.train, 10).unwrap();
                assert!(taken.unusual.is_empty(), "{:?}", taken.unusual);
                [taken.metric.loss, taken.metric.gradient_norm]
            };
            let found: Vec<[f64; 2]> = (0..2).map(take).collect();
            (found, learner.state.parameters.unwrap())
        };
        let device = Device::over(HostMachine::context(1).1);
        let ((cpu, _), (found, hash)) = (losses(&Device::cpu()), losses(&device));
        for ([loss, norm], [found_loss, found_norm]) in cpu.iter().zip(&found) {
            assert!((loss - found_loss).abs() < 5e-3 * loss, "{cpu:?} {found:?}");
            assert!((norm - found_norm).abs() < 2e-2 * norm, "{cpu:?} {found:?}");
        }
        assert_eq!((found, hash), losses(&device));
    }

    #[test]
    fn what_a_device_cannot_do_is_refused_by_its_key() {
        let device = Device::over(HostMachine::context(1).1);
        let mut changed = [config(), config(), config()];
        changed[0].lora = Some(LoraConfig { rank: 4, ..LoraConfig::default() });
        changed[1].runtime.ops = Ops::Composed;
        changed[2].model.dtype = Dtype::F32;
        let keys = ["`lora.rank`", "`runtime.ops", "`model.dtype`"];
        for (config, key) in changed.iter().zip(keys) {
            let error = Learner::open(config, Beginning::Fresh, &device).map(|_| ()).unwrap_err();
            assert!(error.to_string().starts_with(key), "{error}");
            assert_eq!((error.exit_status(), error.hint().is_some()), (2, true));
        }
    }
}
