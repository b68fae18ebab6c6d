//! The tables `[train]` and `[model]`: what is trained, for how long, and what is recorded.
//!
//! In → a TOML table; out → [`TrainConfig`], checked, with every number that follows from it named
//! ([`TrainConfig::derived`]). Keys are strict. Everything here is *what*, so it belongs to the
//! run's fingerprint, except [`UNCOUNTED`]; device, threads and paths are *how* and live in
//! [`TrainOptions`](super::TrainOptions). `micro_batch` is *what*: it changes the order in which
//! gradients are added, and so their bits. Keys of what is off are left out where a configuration
//! is written, so that a run of before they existed keeps its fingerprint.

use serde::{Deserialize, Serialize};

pub use super::amounts::Steps;
use super::{
    amounts,
    goals::{self, Goal, Goals},
    recompute::Recompute,
    spikes::Rule,
};
use crate::base::{
    config::{self, Table},
    error::{Error, Result},
    size::{Bytes, Count},
};
use crate::runtime::{
    device::Device,
    model::{Grow, LoraConfig, Model, ModelConfig, check_rank, knobs::Dtype, trained_shapes},
    optim::{
        Optimizer,
        adamw::AdamWConfig,
        config::{OptimizerConfig, Shared},
        schedule::{Curve, Schedule, Shape},
    },
};

/// Configuration of a run, as `--config` reads it and `config.toml` keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// How to train.
    pub train: Settings,
    /// What to train; `vocab_size` comes from the tokenizer unless given.
    pub model: ModelConfig,
    /// On which kernels.
    pub runtime: Runtime,
    /// The optimizer; AdamW's own keys stand in `[train]`. It is not written where it is plain
    /// AdamW, so that configurations from before this table keep their bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub optimizer: OptimizerConfig,
    /// Adapters that alone are trained; without the table all parameters are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// The table `[runtime]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// Which form of each operation runs; it changes the last bits, so it is part of the run.
    pub ops: Ops,
}

/// Forms of the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ops {
    /// Our own kernels.
    #[default]
    Fused,
    /// Plain tensor operations, the references: slow, the first thing to try when in doubt.
    Composed,
}

/// The table `[train]`. A period (`…_every`) of 0 means: at the end alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Optimizer steps; `"all"` is one pass over the mix.
    pub steps: Steps,
    /// Tokens, FLOPs (as PaLM counts them) or bytes of text to train on, in place of `steps`, which
    /// they are resolved to (`budget`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Count>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "amounts::flops")]
    pub flops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
    /// Tokens an optimizer step: the global batch.
    pub batch_tokens: Count,
    /// Tokens of the first step's batch, which grows to `batch_tokens` over `batch_warmup_steps`
    /// (`warmup`); 0: it is the same from the first step on.
    #[serde(skip_serializing_if = "is_default")]
    pub batch_start: Count,
    #[serde(skip_serializing_if = "is_default")]
    pub batch_warmup_steps: u64,
    /// Tokens that rows are cut to at first, doubled until they are whole over
    /// `sequence_warmup_steps`; 0: they are never cut.
    #[serde(skip_serializing_if = "is_default")]
    pub sequence_start: usize,
    #[serde(skip_serializing_if = "is_default")]
    pub sequence_warmup_steps: u64,
    /// Rows that go through the model at once; their gradients are added up. 0, which is written
    /// `"auto"`, until the plan has chosen.
    #[serde(deserialize_with = "amounts::rows_or_auto")]
    pub micro_batch: usize,
    /// Which blocks keep only their input and run again in the backward pass: `true`, `false`, a
    /// number of blocks from the first on, or `"auto"` for as few as let the run fit. The bits are
    /// the same, so it is no part of the run.
    #[serde(skip_serializing)]
    pub recompute: Recompute,
    /// Tokens a row.
    pub sequence: usize,
    /// How the model of `--init-from` becomes one of `model.n_layer` blocks, a multiple of its own:
    /// `stack`, `expand`; without the key it stays as deep as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grow: Option<Grow>,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// The rate at the end of the decay, as a share of the highest.
    pub learning_rate_min: f64,
    /// What follows the warm-up: `cosine`, `wsd` (stable, then a decay), `linear`, `constant`.
    pub schedule: Curve,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// `wsd`: the share of the steps, at the end, over which it falls.
    pub decay_fraction: f64,
    /// `wsd`: where the rate begins to fall instead, a phase of the mix by its name, or a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_from: Option<DecayFrom>,
    /// `wsd`: how it falls, along a line or as 1 − √x.
    #[serde(skip_serializing_if = "is_default")]
    pub decay_shape: Shape,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// AdamW's and Lion's first decay of the mean of gradients.
    pub beta1: f64,
    /// AdamW's decay of the mean of squares; Lion's second one of the mean.
    pub beta2: f64,
    /// AdamW's addend in the denominator.
    pub epsilon: f64,
    /// Highest norm of the whole gradient; 0: measured, never clipped.
    pub clip_norm: f64,
    /// A step is left out when its loss or gradient lies more than so many standard deviations
    /// above the last steps' (`spikes`); 0: no step is.
    #[serde(skip_serializing_if = "is_default")]
    pub spike_skip: f64,
    /// How many last steps.
    #[serde(skip_serializing_if = "is_spike_window")]
    pub spike_window: usize,
    /// Decay of a running average of the parameters, which is evaluated and kept beside them; 0:
    /// there is none.
    #[serde(skip_serializing_if = "is_default")]
    pub ema: f64,
    /// Steps between links of the chain of the parameters' hashes in the metrics; 0: there is none.
    #[serde(skip_serializing_if = "is_default")]
    pub hash_every: u64,
    /// Draws the initial parameters and the samples.
    pub seed: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// How many of the latest checkpoints are kept, beside milestones and the best.
    pub keep: usize,
    /// Steps whose checkpoint is never removed.
    pub milestones: Vec<u64>,
    /// Steps between evaluations on the held-out documents.
    pub eval_every: u64,
    /// Tokens of each source that an evaluation reads at most, whole documents; 0: all there are.
    pub eval_tokens: Count,
    /// Steps between samples.
    pub sample_every: u64,
    /// Tokens a sample at most.
    pub sample_tokens: usize,
    /// What the samples continue; the empty text starts from nothing.
    pub sample_prompts: Vec<String>,
    /// Divides the logits before a token is drawn; 0 takes the likeliest.
    pub sample_temperature: f64,
    /// Steps between progress messages. Changes no file, so it is no part of the fingerprint.
    pub log_every: u64,
    /// What happens when training has left its way (`health`): `warn` says so and goes on, `stop`
    /// ends the run. Changes no file, so it is no part of the fingerprint.
    pub on_divergence: OnDivergence,
    /// What an hour of the machine costs; goes to `run.json` alone.
    #[serde(skip_serializing)]
    pub price_per_hour: Option<f64>,
    /// What it should have come to on its way (`goals`). Changes no file, so it is no part of the
    /// fingerprint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub goal: Vec<Goal>,
    /// The changes of `steps` that `--resume` made. They give an extended run, whose learning rate
    /// followed an earlier horizon at first, a fingerprint of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<Extension>,
}

/// What to do about training that leads nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDivergence {
    /// Say it, at once and at the end, and go on.
    #[default]
    Warn,
    /// End with an error; the checkpoints stay.
    Stop,
}

/// Up to `at`, the learning rate followed the horizon `steps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// The step from which the next horizon holds.
    pub at: u64,
    /// `train.steps` until then.
    pub steps: u64,
}

/// Where a decay begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DecayFrom {
    /// After so many steps; what a phase is resolved to.
    Step(u64),
    /// With the first step that reads of this phase.
    Phase(String),
}

impl Default for Settings {
    /// A CPU with two cores: 8 rows of 256 tokens a step, at a rate for small models; the rest is
    /// llm.c's 124M run (`train_gpt2.cu`: beta2 0.95, clip 1.0, weight decay 0.1, cosine).
    fn default() -> Settings {
        Settings {
            steps: Steps::All,
            tokens: None,
            flops: None,
            bytes: None,
            batch_tokens: Count(2048),
            batch_start: Count(0),
            batch_warmup_steps: 0,
            sequence_start: 0,
            sequence_warmup_steps: 0,
            micro_batch: 8,
            recompute: Recompute::Auto,
            sequence: 256,
            grow: None,
            learning_rate: 1e-3,
            learning_rate_min: 0.1,
            schedule: Curve::Cosine,
            warmup_steps: 50,
            decay_fraction: 0.2,
            decay_from: None,
            decay_shape: Shape::Linear,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            clip_norm: 1.0,
            spike_skip: 0.0,
            spike_window: SPIKE_WINDOW,
            ema: 0.0,
            hash_every: 0,
            seed: 0,
            checkpoint_every: 500,
            keep: 3,
            milestones: Vec::new(),
            eval_every: 500,
            eval_tokens: Count(0),
            sample_every: 500,
            sample_tokens: 64,
            sample_prompts: vec![String::new()],
            sample_temperature: 0.8,
            log_every: 10,
            on_divergence: OnDivergence::Warn,
            price_per_hour: None,
            goal: Vec::new(),
            extended: Vec::new(),
        }
    }
}

impl TrainConfig {
    /// Every key by its table, with its value where nobody sets it; what is off then has an empty
    /// table for a value.
    pub fn keys() -> Table {
        let mut all = Table::try_from(TrainConfig::default()).expect("tables of plain values");
        let tables = [
            ("train", config::fields::<Settings>()),
            ("model", config::fields::<ModelConfig>()),
            ("optimizer", config::fields::<OptimizerConfig>()),
            ("lora", config::fields::<LoraConfig>()),
        ];
        for (name, keys) in tables {
            let table = all.entry(name).or_insert_with(|| Table::new().into()).as_table_mut();
            let table = table.expect("a configuration is tables of keys");
            // `extended` is the tool's own entry.
            for key in keys.iter().filter(|key| **key != "extended") {
                table.entry(*key).or_insert_with(|| Table::new().into());
            }
        }
        all
    }

    /// Reads and checks a table.
    pub fn parse(table: Table) -> Result<TrainConfig> {
        amounts::refuse_rivals(&table)?;
        let mut config: TrainConfig = config::parse(table, "the training configuration")?;
        config.train.check()?;
        config.train.check_heeded()?;
        goals::check(&config.train.goal)?;
        config.optimizer.validate()?;
        config.optimizer = config.optimizer.resolved();
        config.check_shape()?;
        Ok(config)
    }

    /// The shape, and what must fit it: the optimizer's groups and the length of a row.
    pub fn check_shape(&self) -> Result<()> {
        // The tokenizer decides the vocabulary; everything else of the shape is known before.
        let vocab_size = self.model.vocab_size.max(1);
        let model = ModelConfig { vocab_size, ..self.model.clone() };
        model.validate()?;
        self.optimizer.check_groups(&trained_shapes(&model, self.lora.as_ref()))?;
        if model.longest().is_some_and(|longest| longest < self.train.sequence) {
            let (sequence, context) = (self.train.sequence, model.context);
            return Err(Error::config(format!(
                "`train.sequence` is {sequence}, and the model learns {context} positions"
            ))
            .with_hint("raise `model.context`, or lower `train.sequence`"));
        }
        Ok(())
    }

    /// Checks adapters, which can be held only against the shape of a given model.
    pub fn check_adapters(&self) -> Result<()> {
        let Some(lora) = &self.lora else { return Ok(()) };
        if self.train.ema > 0.0 {
            let message = "`train.ema` averages a whole model, and `[lora]` trains adapters alone";
            return Err(Error::config(message).with_hint("leave one of them out"));
        }
        lora.validate(&self.model)
    }

    /// Refuses what has no implementation on `device`.
    ///
    /// # Errors
    /// Config: the key.
    pub fn check_device(&self, device: &Device) -> Result<()> {
        let is_composed = self.runtime.ops == Ops::Composed;
        if is_composed && device.context().is_some() {
            let message = "`runtime.ops = \"composed\"` runs on the CPU alone";
            return Err(
                Error::config(message).with_hint("leave the key out, or use `--device cpu`")
            );
        }
        if is_composed && self.model.dtype == Dtype::Bf16 {
            let message = "`runtime.ops = \"composed\"` multiplies in f32";
            return Err(
                Error::config(message).with_hint("leave it out, or `model.dtype = \"bf16\"`")
            );
        }
        self.lora.as_ref().map_or(Ok(()), |lora| check_rank(lora.rank, device))
    }

    /// The part of the configuration that the fingerprint covers.
    pub fn fingerprinted(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).expect("numbers, text and lists serialize");
        let train = value.get_mut("train").and_then(|train| train.as_object_mut());
        let train = train.expect("a table was just written");
        train.retain(|key, _| !UNCOUNTED.contains(&key.as_str()));
        value
    }

    /// Whether two configurations ask for the same run: `extended` is the tool's own entry, so a
    /// request without it agrees with a run that has it.
    pub fn asks_for(&self, run: &TrainConfig) -> bool {
        let mut request = self.clone();
        if request.train.extended.is_empty() {
            request.train.extended.clone_from(&run.train.extended);
        }
        request.fingerprinted() == run.fingerprinted()
    }

    /// The optimizer of a model's parameters.
    pub fn build_optimizer(&self, model: &Model) -> Result<Box<dyn Optimizer>> {
        self.optimizer.build(&self.train.shared(), &self.model, model.parameters())
    }

    /// Numbers that training changes.
    pub(super) fn trained_count(&self) -> u64 {
        let shapes = trained_shapes(&self.model, self.lora.as_ref());
        shapes.values().map(|dims| dims.iter().map(|&size| size as u64).product::<u64>()).sum()
    }

    /// The numbers that follow from the configuration, by name: printed before step 1.
    pub fn derived(&self, steps: u64) -> Vec<(&'static str, u64)> {
        let train = &self.train;
        let trained = self.lora.as_ref().map(|_| ("trained parameters", self.trained_count()));
        let mut derived = vec![
            ("parameters", self.model.parameter_count()),
            ("vocabulary", self.model.vocab_size as u64),
            ("vocabulary with padding", self.model.padded_vocab() as u64),
            ("rows a step", train.rows_per_step() as u64),
            ("micro-batches a step", (train.rows_per_step() / train.micro_batch) as u64),
            ("tokens a micro-batch", (train.micro_batch * train.sequence) as u64),
            ("tokens a step", train.batch_tokens.0),
            ("steps", steps),
            ("tokens to train on", train.tokens_before(steps)),
            ("FLOPs a token", self.flops_per_token()),
        ];
        if let Some(trained) = trained {
            derived.insert(1, trained);
        }
        derived
    }
}

/// Keys that change no file that equal runs share, and so are no part of the fingerprint; beside
/// those that are not written at all (`recompute`, `price_per_hour`).
pub const UNCOUNTED: [&str; 3] = ["log_every", "on_divergence", "goal"];

/// The window of llm.c and OLMo-core, in steps.
pub(super) const SPIKE_WINDOW: usize = 128;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_spike_window(steps: &usize) -> bool {
    *steps == SPIKE_WINDOW
}

impl Settings {
    /// Takes over the keys that are no part of a run's fingerprint.
    pub fn take_uncounted(&mut self, asked: &Settings) {
        self.log_every = asked.log_every;
        self.on_divergence = asked.on_divergence;
        self.price_per_hour = asked.price_per_hour;
        self.recompute = asked.recompute;
        self.goal.clone_from(&asked.goal);
    }

    /// When a step is left out.
    pub fn spikes(&self) -> Rule {
        Rule { deviations: self.spike_skip, window: self.spike_window }
    }

    /// Rows of an optimizer step.
    pub fn rows_per_step(&self) -> usize {
        self.batch_tokens.0 as usize / self.sequence
    }

    /// What every optimizer takes.
    pub fn shared(&self) -> Shared {
        let adamw = AdamWConfig {
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.epsilon,
            weight_decay: self.weight_decay,
        };
        Shared { learning_rate: self.learning_rate, adamw }
    }

    /// The learning rate's part.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            kind: self.schedule,
            learning_rate: self.learning_rate,
            warmup_steps: self.warmup_steps,
            decay: self.decay_fraction,
            shape: self.decay_shape,
            decay_from: match self.decay_from {
                Some(DecayFrom::Step(step)) => Some(step),
                Some(DecayFrom::Phase(_)) | None => None,
            },
            final_ratio: self.learning_rate_min,
        }
    }

    /// Steps at which a horizon was reached, or will be: the last of a run over `steps`, and those
    /// after which a finished run was extended.
    pub fn ends(&self, steps: u64) -> Vec<u64> {
        let extended = self.extended.iter().filter(|extension| extension.at == extension.steps);
        extended.map(|extension| extension.at).chain([steps]).collect()
    }

    /// The goals of a run over `steps`.
    pub(super) fn goals(&self, steps: u64) -> Goals {
        Goals::of(&self.goal, steps, self.step_rows(), self.sequence as u64)
    }

    /// The first step after which a run over `steps` evaluates.
    pub fn first_evaluation(&self, steps: u64) -> u64 {
        if self.eval_every == 0 { steps } else { steps.min(self.eval_every) }
    }

    /// The horizon that holds at `step` (0-based), of a run over `steps`.
    pub fn horizon(&self, step: u64, steps: u64) -> u64 {
        let earlier = self.extended.iter().find(|extension| step < extension.at);
        earlier.map_or(steps, |extension| extension.steps)
    }

    /// Every key inside its range, by the name that was typed.
    fn check(&self) -> Result<()> {
        let steps = match self.steps {
            Steps::All => 1,
            Steps::Number(steps) => steps,
        };
        let counts = [
            ("steps", steps, 1, COUNT_MAX),
            ("batch_tokens", self.batch_tokens.0, 1, COUNT_MAX),
            ("sequence", self.sequence as u64, 1, 1 << 24),
            ("warmup_steps", self.warmup_steps, 0, COUNT_MAX),
            ("batch_warmup_steps", self.batch_warmup_steps, 0, 1 << 24),
            ("sequence_warmup_steps", self.sequence_warmup_steps, 0, COUNT_MAX),
            ("seed", self.seed, 0, i64::MAX as u64),
            ("checkpoint_every", self.checkpoint_every, 0, COUNT_MAX),
            ("keep", self.keep as u64, 1, COUNT_MAX),
            ("eval_every", self.eval_every, 0, COUNT_MAX),
            ("eval_tokens", self.eval_tokens.0, 0, COUNT_MAX),
            ("sample_every", self.sample_every, 0, COUNT_MAX),
            ("sample_tokens", self.sample_tokens as u64, 0, 1 << 24),
            ("log_every", self.log_every, 1, COUNT_MAX),
            ("hash_every", self.hash_every, 0, COUNT_MAX),
            ("spike_window", self.spike_window as u64, 2, 1 << 16),
        ];
        self.check_budgets(COUNT_MAX)?;
        let milestones = self.milestones.iter().map(|step| ("milestones", *step, 0, COUNT_MAX));
        for (key, number, least, most) in counts.into_iter().chain(milestones) {
            if !(least..=most).contains(&number) {
                let message = format!("`train.{key}` is {number}: expected {least} to {most}");
                return Err(Error::config(message));
            }
        }
        // (key, value, what fits it, whether it does); NaN fits nothing.
        let (rate, share) = (self.learning_rate, self.learning_rate_min);
        let (decay, weights) = (self.decay_fraction, self.weight_decay);
        let price = self.price_per_hour.unwrap_or(0.0);
        let below_one = |number: f64| (0.0..1.0).contains(&number);
        let numbers = [
            ("learning_rate", rate, "above 0, at most 1000", rate > 0.0 && rate <= 1e3),
            ("learning_rate_min", share, "0 to 1", (0.0..=1.0).contains(&share)),
            ("decay_fraction", decay, "above 0, at most 1", decay > 0.0 && decay <= 1.0),
            ("weight_decay", weights, "0 or more, below 1000", (0.0..1e3).contains(&weights)),
            ("beta1", self.beta1, "0 or more, below 1", below_one(self.beta1)),
            ("beta2", self.beta2, "0 or more, below 1", below_one(self.beta2)),
            (
                "epsilon",
                self.epsilon,
                "above 0, at most 1",
                self.epsilon > 0.0 && self.epsilon <= 1.0,
            ),
            ("ema", self.ema, "0 or more, below 1", below_one(self.ema)),
            ("spike_skip", self.spike_skip, "0 to 1000", (0.0..=1e3).contains(&self.spike_skip)),
            ("price_per_hour", price, "0 to 1e6", (0.0..=1e6).contains(&price)),
            ("clip_norm", self.clip_norm, "0 to 1e9", (0.0..=1e9).contains(&self.clip_norm)),
            (
                "sample_temperature",
                self.sample_temperature,
                "0 to 1e6",
                (0.0..=1e6).contains(&self.sample_temperature),
            ),
        ];
        match numbers.iter().find(|(_, _, _, fits)| !fits) {
            Some((key, value, range, _)) => {
                Err(Error::config(format!("`train.{key}` is {value}: expected {range}")))
            }
            None => self.check_batch().and_then(|()| self.check_warmups()),
        }
    }

    fn check_batch(&self) -> Result<()> {
        let rows = self.micro_batch.max(1);
        let (batch, micro) = (self.batch_tokens.0, (rows * self.sequence) as u64);
        if batch.is_multiple_of(micro) {
            return Ok(());
        }
        let arithmetic = format!(
            "`train.batch_tokens` {batch} is no multiple of `train.micro_batch` {rows} × \
             `train.sequence` {} = {micro}",
            self.sequence
        );
        let (below, above) = (batch / micro * micro, batch.div_ceil(micro) * micro);
        let near = if below == 0 { above.to_string() } else { format!("{below} or {above}") };
        Err(Error::config(arithmetic).with_hint(format!("set `train.batch_tokens` to {near}")))
    }
}

/// The largest count of steps or tokens: beyond any run, and below it sums of counts and the
/// integers of TOML hold.
const COUNT_MAX: u64 = 1 << 40;

#[cfg(test)]
mod tests;
