//! What a run will take, before it takes anything.
//!
//! In → the arguments of a run; out → [`TrainPlan`]: steps, tokens, memory by part, disk, time and
//! money, and what becomes of a run that stands in OUT; or the error with which the run would end
//! before its first step. Nothing on the disk is touched. **Memory.** The step's, counted from the
//! shape ([`StepMemory`]), the loader's decoded blocks and rows, the validation documents and the
//! process itself. The loader gets what is left of `--memory`; what does not fit otherwise is
//! refused, with the keys that lower it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    ahead::AHEAD_TOKENS,
    budget::{self, Budget},
    cautions::Cautions,
    config::{DecayFrom, Ops, Settings, Steps, TrainConfig},
    directory::{self, Start},
    extend::Asked,
    feed::MixFeed,
    layout,
    origin::{Begin, Given, INITIALISED_FROM, Origin},
    probe::{self, Probe},
    recompute::{Recompute, Recomputed},
};
use crate::artifact::{manifest::Manifest, record::InputRecord};
use crate::base::{
    config::Table,
    error::{Error, Result},
    machine,
    size::{Bytes, Count},
};
use crate::runtime::{
    device::Device,
    model::{ModelConfig, StepMemory, StepShape, check_kernels, trained_shapes},
};
use crate::shards::set::{TOKENIZER_DIRECTORY, TOKENIZER_FILE};
use crate::tokenizer::Tokenizer;

/// Tokens at once beyond which a CPU's products gain nothing and only memory is taken.
const AUTO_TOKENS: usize = 8192;
/// Bytes that the process takes beside all that is counted: its code and the readers of shards.
/// This and the constants below were fitted to the peaks of 60 runs: 1 and 2 threads, shapes of 0.1
/// to 25 million parameters, vocabularies of 512 to 32,768, mixes of 0.1 to 10 million tokens. 54
/// of the plans are within 10% of the peak and all within 18%; the same run twice differs by up to
/// 10%.
const PROCESS_BYTES: u64 = 60 << 20;
/// Bytes a thread takes: its stack, its packed panels, its share of the allocator.
const THREAD_BYTES: u64 = 3 << 20;
/// Bytes an entry of the vocabulary takes: the tokenizer's tables, and what reading them leaves.
const VOCABULARY_ENTRY_BYTES: u64 = 2 << 10;
/// What the allocator holds beyond what is asked of it: a share of that, its open segments (a
/// larger share, up to their size), and the places of what comes and goes
/// ([`ModelConfig::passing_memory`]).
const ALLOCATOR_SHARE: f64 = 0.06;
const OPEN_SEGMENT_SHARE: f64 = 0.4;
const OPEN_SEGMENT_BYTES: u64 = 24 << 20;
/// Tokens that are read ahead, each with what its block was decoded in.
const AHEAD_TOKEN_BYTES: u64 = 12;
/// Decoded blocks held at most. A window of 2^24 tokens of one source takes 40 MB at two bytes a
/// token, so some fifty sources fit before a block is decoded twice.
const LOADER_BYTES_MAX: u64 = 2 << 30;
/// The least for the loader: blocks are then decoded more than once, at a few milliseconds each.
const LOADER_BYTES_MIN: u64 = 16 << 20;

/// *How* to train: nothing here is part of the fingerprint.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// `auto`, `cpu` or `cuda`.
    pub device: String,
    /// Threads of the CPU; `None`: those there are.
    pub threads: Option<usize>,
    /// Memory that must be enough: a run that needs more is refused before its first step.
    pub memory: Bytes,
    /// Continue, also when `train.steps` differs, and refuse to begin another run in OUT's place.
    pub resume: bool,
    /// Stop after this step, counted from the run's beginning.
    pub stop_after: Option<u64>,
    /// Begin anew, though an equal run stands.
    pub fresh: bool,
    /// Where it begins, or goes on, other than by itself.
    pub begin: Begin,
    /// Where to look for shards that moved.
    pub data: Vec<PathBuf>,
}

/// A run as it will be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainPlan {
    /// What becomes of OUT.
    pub start: Start,
    /// Numbers of the model.
    pub parameters: u64,
    /// Those of adapters, where these alone are trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<u64>,
    /// The budget that the steps come from, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens a step.
    pub batch_tokens: u64,
    /// Rows that go through the model at once.
    pub micro_batch: usize,
    /// Tokens that the run reads, and those that the mix has.
    pub tokens: u64,
    pub mix_tokens: u64,
    /// Bytes at the fullest moment.
    pub memory: PlanMemory,
    /// Where blocks run again, what that is worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recomputed: Option<Recomputed>,
    /// Bytes that `--memory` allows.
    pub memory_allowed: u64,
    /// Bytes of one checkpoint.
    pub checkpoint: u64,
    /// Bytes of all checkpoints that stand at once, at most.
    pub disk: u64,
    /// What time and money it takes, from a few steps; none where nothing is left to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What is likely a mistake.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What else is said before step 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Bytes by part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlanMemory {
    /// Everything together.
    pub total: u64,
    /// The training step.
    #[serde(flatten)]
    pub step: StepMemory,
    /// The running average of the parameters.
    pub average: u64,
    /// Decoded blocks of the mix.
    pub loader: u64,
    /// Rows that are read ahead.
    pub ahead: u64,
    /// Documents held out for validation.
    pub validation: u64,
    /// The process, its threads, its tokenizer.
    pub process: u64,
    /// What the allocator holds beyond what is asked of it.
    pub allocator: u64,
}

/// What a run is made of once its plan is accepted.
pub struct Prepared {
    pub config: TrainConfig,
    pub device: Device,
    pub feed: MixFeed,
    pub tokenizer: Tokenizer,
    pub input: InputRecord,
    pub memory: PlanMemory,
    /// Where blocks run again, what that is worth.
    pub recomputed: Option<Recomputed>,
    /// The budget that the steps come from.
    pub budget: Option<Budget>,
    /// What it begins from, beside the mix.
    pub origin: Origin,
}

/// Says what `run` would do with the same arguments, or fails as it would before its first step.
/// Touches nothing on the disk; [`TrainPlan`] prints as a few lines and serializes.
///
/// # Errors
/// Those of [`run`](super::run()) up to its first step: a wrong key, a mix too small, memory that
/// is not there, an OUT that is no run.
pub fn plan(table: Table, mix: &Path, out: &Path, options: &TrainOptions) -> Result<TrainPlan> {
    let mut prepared = prepare(table, mix, Some(out), options)?;
    let start = directory::look(out, &prepared.asked(mix, options))?;
    let probe = match start {
        Start::UpToDate => None,
        _ => {
            let Prepared { config, device, feed, .. } = &mut prepared;
            Some(in_pool(options, || probe::measure(config, device, feed, &start))?)
        }
    };
    let Prepared { config, feed, tokenizer, memory, recomputed, budget, .. } = &prepared;
    let Cautions { notes, warnings } = Cautions::of(config, feed.record(), tokenizer)?;
    let train = &config.train;
    let Steps::Number(steps) = train.steps else { panic!("steps are resolved by `prepare`") };
    // With adapters, a checkpoint also holds the merged model; the adapters are among the weights.
    let merged = config.lora.as_ref().map_or(0, |_| 4 * config.model.parameter_count());
    let checkpoint = memory.step.weights + merged + memory.step.moments + memory.average;
    let milestones = train.milestones.iter().filter(|step| **step < steps).count() as u64;
    // Beside those kept stand the best, the one before a decay, and the one that is being written.
    let standing = (train.keep as u64 + milestones + 3).min(steps + 1);
    Ok(TrainPlan {
        start,
        parameters: config.model.parameter_count(),
        adapters: config.lora.as_ref().map(|_| config.trained_count()),
        budget: budget.as_ref().map(|budget| budget.given.clone()),
        steps,
        batch_tokens: train.batch_tokens.0,
        micro_batch: train.micro_batch,
        tokens: train.tokens_before(steps),
        mix_tokens: feed.record().tokens,
        memory: *memory,
        recomputed: *recomputed,
        memory_allowed: options.memory.0,
        checkpoint,
        disk: checkpoint.saturating_mul(standing),
        probe,
        warnings,
        notes,
    })
}

/// Checks everything that can be checked before a run touches OUT; without one nothing that stands
/// anywhere is asked for.
pub fn prepare(
    table: Table,
    mix: &Path,
    out: Option<&Path>,
    options: &TrainOptions,
) -> Result<Prepared> {
    prepare_on(Device::from_name(&options.device)?, table, mix, out, options)
}

/// The same on a device that is open.
pub(super) fn prepare_on(
    device: Device,
    table: Table,
    mix: &Path,
    out: Option<&Path>,
    options: &TrainOptions,
) -> Result<Prepared> {
    let model = table.get("model").and_then(|model| model.as_table()).cloned();
    let mut config = TrainConfig::parse(table)?;
    config.check_device(&device)?;
    let given = Given::of(model.as_ref(), config.train.grow.is_some());
    let mut feed = MixFeed::open(mix, &options.data, config.train.sequence)?;
    let tokenizer = Tokenizer::open(&mix.join(TOKENIZER_DIRECTORY))?;
    let mut origin = Origin::open(&options.begin, &tokenizer, &device)?;
    origin.shape(&mut config, &given)?;
    if !options.fresh
        && origin.inputs.is_empty()
        && let Some(shape) = out.and_then(shape_begun_with)
        && given.differences(&config.model, &shape).is_empty()
    {
        config.model = given.taken(&config.model, &shape);
    }
    // A standing run that began with a given model goes on without its name.
    if out.and_then(shape_begun_with).is_none() {
        origin.check_model(&config)?;
    }
    config.check_shape()?;
    let (mut config, budget) = resolve(config, &mut feed)?;
    config.check_adapters()?;
    if device.context().is_some() {
        check_kernels(&config.model)?;
    }
    if config.train.micro_batch == 0 {
        config.train.micro_batch = match out.and_then(|out| standing_rows(out, &config)) {
            Some(rows) => rows,
            None => rows_that_fit(&config, &feed, options),
        };
    }
    let recomputed = decide_recompute(&mut config, &feed, options, &device)?;
    let memory = plan_memory(&config, &feed, options, &device)?;
    feed.limit(memory.loader)?;
    let input = InputRecord::artifact(mix)?;
    Ok(Prepared { config, device, feed, tokenizer, input, memory, recomputed, budget, origin })
}

/// Calls `work` on as many threads as are asked for.
pub fn in_pool<T: Send>(
    options: &TrainOptions,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let Some(threads) = options.threads else { return work() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| Error::failed(format!("cannot start threads: {error}")))?;
    pool.install(work)
}

/// The `micro_batch` of the run that stands in `out`. `"auto"` keeps it where everything else that
/// is asked for is that run: another number would be another run.
fn standing_rows(out: &Path, config: &TrainConfig) -> Option<usize> {
    let run = standing_config(&layout::read_manifest(out).ok()?)?;
    let mut asked = config.clone();
    (asked.train.micro_batch, asked.train.steps) = (run.train.micro_batch, run.train.steps);
    asked.asks_for(&run).then_some(run.train.micro_batch)
}

/// The shape of the run that stands in `out` where it began with the parameters of another model,
/// which gave it: a start that does not name that model again goes on with it all the same.
fn shape_begun_with(out: &Path) -> Option<ModelConfig> {
    let manifest = layout::read_manifest(out).ok()?;
    let run = standing_config(&manifest)?;
    let began = manifest.extra.contains_key(INITIALISED_FROM);
    began.then_some(ModelConfig { vocab_size: 0, ..run.model })
}

/// The configuration of a run; `None` where this version reads it no more.
fn standing_config(manifest: &Manifest) -> Option<TrainConfig> {
    serde_json::from_value(manifest.config.clone()).ok()
}

/// `"auto"`: the most rows at once that stay within `--memory`, up to [`AUTO_TOKENS`].
fn rows_that_fit(config: &TrainConfig, feed: &MixFeed, options: &TrainOptions) -> usize {
    let train = &config.train;
    let batch = train.rows_per_step();
    let most = (AUTO_TOKENS / train.sequence).clamp(1, batch);
    let fits = |rows: &usize| {
        batch.is_multiple_of(*rows)
            && memory_of(config, feed, options, *rows).total <= options.memory.0
    };
    (1..=most).rev().find(fits).unwrap_or(1)
}

impl Prepared {
    /// The request as the run's directory sees it.
    pub fn asked(&self, mix: &Path, options: &TrainOptions) -> Asked<'_> {
        Asked {
            config: &self.config,
            end_of_text: &self.feed.record().end_of_text,
            input: self.input.clone(),
            tokenizer: mix.join(TOKENIZER_DIRECTORY).join(TOKENIZER_FILE),
            origin: &self.origin,
            from_step: options.begin.from_step,
            resume: options.resume,
            fresh: options.fresh,
        }
    }
}

/// Resolves what only the mix decides into numbers: the vocabulary, a budget, `steps = "all"`.
fn resolve(mut config: TrainConfig, feed: &mut MixFeed) -> Result<(TrainConfig, Option<Budget>)> {
    let vocabulary = feed.record().vocab_size as usize;
    if ![0, vocabulary].contains(&config.model.vocab_size) {
        return Err(Error::config(format!(
            "`model.vocab_size` is {}, the mix's tokenizer has {vocabulary} tokens",
            config.model.vocab_size
        ))
        .with_hint("leave the key out: the tokenizer decides"));
    }
    config.model.vocab_size = vocabulary;
    config.model = config.model.fitted()?;
    config.model.validate()?;
    let budget = budget::resolve(&config, feed)?;
    if let Some(budget) = &budget {
        config.train.take(budget);
    }
    let possible = config.train.step_rows().within(feed.row_count());
    let (steps, all) = match config.train.steps {
        Steps::All => (possible, true),
        Steps::Number(steps) => (steps, false),
    };
    if steps > possible || steps == 0 {
        return Err(budget::too_few_tokens(&config, feed, steps.max(1), possible, all));
    }
    config.train.steps = Steps::Number(steps);
    let validates = feed.record().validated().iter().any(|source| source.documents > 0);
    let first = config.train.first_evaluation(steps);
    config.train.goals(steps).check(steps, first, validates)?;
    config.train.decay_from = decay_from(&config, feed)?;
    Ok((config, budget))
}

/// The step at which a phase begins: the first that reads of it.
fn decay_from(config: &TrainConfig, feed: &MixFeed) -> Result<Option<DecayFrom>> {
    let Some(DecayFrom::Phase(name)) = &config.train.decay_from else {
        return Ok(config.train.decay_from.clone());
    };
    let phases = &feed.record().phases;
    if let Some(phase) = phases.iter().find(|phase| phase.name == *name) {
        let step = config.train.steps_within(phase.first_token);
        return Ok(Some(DecayFrom::Step(step)));
    }
    let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
    Err(Error::config(format!("`train.decay_from`: the mix has no phase `{name}`"))
        .with_hint(format!("its phases: {}", names.join(", "))))
}

/// Decides how many blocks run again, and says what that is worth.
fn decide_recompute(
    config: &mut TrainConfig,
    feed: &MixFeed,
    options: &TrainOptions,
    device: &Device,
) -> Result<Option<Recomputed>> {
    let (all, rows) = (config.model.n_layer, config.train.micro_batch);
    let takes = |blocks| memory_of(&with_recompute(config, blocks), feed, options, rows).total;
    // `--memory` is that of the machine, not of a GPU.
    let allowed = if device.name() == "cpu" { options.memory.0 } else { u64::MAX };
    let blocks = config.train.recompute.decided(all, allowed, takes)?;
    let saves = takes(0).saturating_sub(takes(blocks));
    let recomputed = Recomputed::of(&config.model, blocks, config.train.sequence, saves);
    config.train.recompute = Recompute::Blocks(blocks);
    Ok((blocks > 0).then_some(recomputed))
}

/// The same run, of which so many blocks run again.
fn with_recompute(config: &TrainConfig, blocks: usize) -> TrainConfig {
    let train = Settings { recompute: Recompute::Blocks(blocks), ..config.train.clone() };
    TrainConfig { train, ..config.clone() }
}

/// The memory of a run, or why it cannot be kept.
fn plan_memory(
    config: &TrainConfig,
    feed: &MixFeed,
    options: &TrainOptions,
    device: &Device,
) -> Result<PlanMemory> {
    let train = &config.train;
    let of_rows = |rows: usize| memory_of(config, feed, options, rows);
    let memory = of_rows(train.micro_batch);
    if memory.total <= options.memory.0 || device.name() != "cpu" {
        return Ok(memory);
    }
    let message = format!(
        "training needs {} of memory, {} are allowed: {}",
        Bytes(memory.total),
        options.memory,
        memory.parts()
    );
    let parts = (1..=train.micro_batch).rev();
    let parts = parts.filter(|rows| train.rows_per_step().is_multiple_of(*rows));
    // The largest part of a batch that would fit.
    let smaller = parts.clone().find(|rows| of_rows(*rows).total <= options.memory.0);
    let least = parts.map(|rows| of_rows(rows).total).min().unwrap_or(memory.total);
    let again = with_recompute(config, config.model.n_layer);
    let again = memory_of(&again, feed, options, train.micro_batch).total;
    if again <= options.memory.0 {
        return Err(Error::config(message).with_hint(format!(
            "`train.recompute = \"auto\"` lets the blocks run again and needs {}",
            Bytes(again)
        )));
    }
    Err(Error::config(message).with_hint(match smaller {
        Some(rows) => format!(
            "`train.micro_batch = {rows}` needs {}; a shorter `train.sequence`, a smaller model or \
             a larger `--memory` help too",
            Bytes(of_rows(rows).total)
        ),
        None => format!(
            "at any `train.micro_batch` it needs {} or more: give a larger `--memory`, or lower \
             `model.d_model`, `model.n_layer`, `model.d_ff` or `train.sequence`",
            Bytes(least)
        ),
    }))
}

/// The memory of a run that takes `rows` rows at once.
fn memory_of(
    config: &TrainConfig,
    feed: &MixFeed,
    options: &TrainOptions,
    rows: usize,
) -> PlanMemory {
    let threads = options.threads.unwrap_or_else(machine::cores);
    let (step, passing) = step_memory(config, rows, threads);
    let vocabulary = config.model.vocab_size as u64 * VOCABULARY_ENTRY_BYTES;
    let process = PROCESS_BYTES + threads as u64 * THREAD_BYTES + vocabulary;
    total(config, feed, (step, passing, process), options.memory)
}

/// What a step of `config`, whose `vocab_size` is known, takes with `rows` rows at once, and what
/// comes and goes in it.
pub fn step_memory(config: &TrainConfig, rows: usize, threads: usize) -> (StepMemory, u64) {
    let (parts, sequence) = (config.train.rows_per_step() / rows, config.train.sequence);
    let (recompute, lora) = (config.train.recompute.blocks(), config.lora.as_ref());
    let composed = config.runtime.ops == Ops::Composed;
    let shape = StepShape { rows, sequence, parts, threads, recompute, composed, lora };
    let moments = 4 * config.optimizer.state_numbers(&trained_shapes(&config.model, lora));
    let step = StepMemory { moments, ..config.model.step_memory(shape) };
    (step, config.model.passing_memory(shape))
}

/// A plan of what the step takes, the process, and what `config` asks for beside them.
fn total(
    config: &TrainConfig,
    feed: &MixFeed,
    (step, passing, process): (StepMemory, u64, u64),
    allowed: Bytes,
) -> PlanMemory {
    let limit = config.train.eval_tokens.0;
    let validated = feed.record().validated();
    let held_out = validated.iter().map(|source| match limit {
        0 => source.tokens,
        limit => source.tokens.min(limit),
    });
    // Four bytes a token of a document, and one for its share of the packing.
    let validation = held_out.sum::<u64>() * 5;
    let average = if config.train.ema > 0.0 { step.weights } else { 0 };
    let asked = step.total().saturating_add(average);
    let share = (asked as f64 * ALLOCATOR_SHARE) as u64;
    let open = OPEN_SEGMENT_BYTES.min((asked as f64 * OPEN_SEGMENT_SHARE) as u64);
    let allocator = share.saturating_add(open).saturating_add(passing);
    let ahead = feed.record().tokens.min(AHEAD_TOKENS as u64) * AHEAD_TOKEN_BYTES;
    let parts = [asked, allocator, process, validation, ahead];
    let fixed = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(*part));
    let left = allowed.0.saturating_sub(fixed).clamp(LOADER_BYTES_MIN, LOADER_BYTES_MAX);
    let loader = feed.window_bytes().min(left);
    let total = fixed.saturating_add(loader);
    PlanMemory { total, step, average, loader, ahead, validation, process, allocator }
}

impl PlanMemory {
    /// The parts by name, the largest first.
    fn parts(&self) -> String {
        let StepMemory { weights, moments, gradients, activations, scratch } = self.step;
        let mut parts = [
            ("weights", weights),
            ("optimizer", moments),
            ("gradients", gradients),
            ("activations", activations),
            ("logits and scores", scratch),
            ("average", self.average),
            ("loader", self.loader),
            ("rows ahead", self.ahead),
            ("validation", self.validation),
            ("process", self.process),
            ("allocator", self.allocator),
        ];
        parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let parts = parts.iter().filter(|(_, bytes)| *bytes >= 1 << 20);
        parts
            .map(|(name, bytes)| format!("{name} {}", Bytes(*bytes)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl fmt::Display for TrainPlan {
    /// What becomes of OUT, then what the run takes, a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.start)?;
        if let Some(budget) = &self.budget {
            writeln!(f, "{budget}: {} steps", Count(self.steps))?;
        }
        let of_adapters =
            |number| format!(" and {} of adapters, which alone are trained", Count(number));
        let adapters = self.adapters.map(of_adapters).unwrap_or_default();
        writeln!(
            f,
            "{} parameters{adapters}; {} steps of {} tokens, {} of the mix's {}",
            Count(self.parameters),
            Count(self.steps),
            Count(self.batch_tokens),
            Count(self.tokens),
            Count(self.mix_tokens)
        )?;
        let (needed, allowed) = (Bytes(self.memory.total), Bytes(self.memory_allowed));
        writeln!(f, "memory {needed} of {allowed}: {}", self.memory.parts())?;
        if let Some(recomputed) = &self.recomputed {
            writeln!(f, "{recomputed}")?;
        }
        write!(f, "disk {}, {} a checkpoint", Bytes(self.disk), Bytes(self.checkpoint))?;
        if let Some(probe) = &self.probe {
            write!(f, "\n{probe}")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}
