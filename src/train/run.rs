//! A training run, top to bottom: open → resume → loop {step · log · evaluate · sample ·
//! checkpoint} → summary.
//!
//! In → `[train]` and `[model]`, a mix, OUT; out → a run (see [`directory`]) and
//! its [`TrainSummary`]. **Resume.** Everything that decides the next step is in the checkpoint:
//! parameters, moments, one row number. What a checkpoint covers of the records is on the disk
//! before it is published, and what lies beyond it is cut at the next start, so a run that was
//! stopped, killed or interrupted ends with the bytes of one that never was. What is due at a step
//! comes before a stop is looked at. **Cost.** Beside the model's: one write a record a step, one
//! sync of the records a checkpoint.

use std::path::{Path, PathBuf};

use super::{
    clock::Stopwatch,
    config::{Steps, TrainConfig},
    directory::{self, Asked, RunDirectory, Standing, State},
    feed::MixFeed,
    learner::Learner,
    log::RunLog,
    page::{Metric, Page},
    records,
    rotation::Rotation,
    sample::{Request, Sample, Writer},
    sessions::Sessions,
    summary::{Seconds, Timing, TrainSummary},
    validate::{SourceEval, Validation},
};
use crate::artifact::record::InputRecord;
use crate::base::{
    config::Table,
    error::{Error, Result},
    hash::xxh3_128,
    io, machine,
    progress::Progress,
    size::Count,
};
use crate::runtime::{
    checkpoint::{self, Best},
    data::Feed,
    device::Device,
    model::Sampling,
    optim::{Optimizer, clip::clip},
    step,
};
use crate::shards::{
    read_validation,
    set::{TOKENIZER_DIRECTORY, TOKENIZER_FILE},
    validation::VALIDATION_FILE,
};
use crate::tokenizer::Tokenizer;

/// *How* to train: nothing here is part of the fingerprint.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// `auto`, `cpu`, `cuda`, `cuda:1`.
    pub device: String,
    /// Threads of the CPU; `None`: those there are.
    pub threads: Option<usize>,
    /// Continue, also when `train.steps` differs, and refuse to begin another run in OUT's place.
    pub resume: bool,
    /// Stop after this step, counted from the run's beginning.
    pub stop_after: Option<u64>,
    /// Begin anew, though an equal run stands.
    pub fresh: bool,
    /// Where to look for shards that moved.
    pub data: Vec<PathBuf>,
}

/// What a run talks to.
pub struct Context<'a> {
    /// Steps done, and the loss.
    pub progress: &'a Progress,
    /// Facts worth a line: derived numbers, where it resumes, warnings.
    pub say: &'a (dyn Fn(&str) + Sync),
    /// Whether Ctrl-C asked for the end: the step is finished, a checkpoint written.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// Trains `table`'s model on the mix in directory `mix`, in the run directory `out`.
///
/// # Errors
/// Config: the configuration, a mix too small, an OUT that is no run. Failed: a check of the first
/// step, a loss that is no number. Interrupted: Ctrl-C, with a checkpoint written.
pub fn run(
    table: Table,
    mix: &Path,
    out: &Path,
    options: &TrainOptions,
    cx: &Context<'_>,
) -> Result<TrainSummary> {
    let config = TrainConfig::parse(table)?;
    let Some(threads) = options.threads else { return train(config, mix, out, options, cx) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| Error::failed(format!("cannot start threads: {error}")))?;
    pool.install(|| train(config, mix, out, options, cx))
}

fn train(
    config: TrainConfig,
    mix: &Path,
    out: &Path,
    options: &TrainOptions,
    cx: &Context<'_>,
) -> Result<TrainSummary> {
    let device = Device::from_name(&options.device)?;
    let feed = MixFeed::open(mix, &options.data, config.train.sequence)?;
    let tokenizer = Tokenizer::open(&mix.join(TOKENIZER_DIRECTORY))?;
    let config = resolve(config, &feed)?;
    let input = InputRecord::artifact(mix)?;
    let asked = Asked {
        config: &config,
        end_of_text: &feed.record().end_of_text,
        input,
        resume: options.resume,
        fresh: options.fresh,
    };
    let directory = RunDirectory::open(out, asked)?;
    if directory.is_done() {
        return up_to_date(directory);
    }
    let mut run = Run::open(mix, directory, &device, feed, &tokenizer, cx)?;
    let state = run.advance(options.stop_after)?;
    run.finish(state)
}

/// Makes numbers of what the mix decides: the vocabulary, `steps = "all"`.
fn resolve(mut config: TrainConfig, feed: &MixFeed) -> Result<TrainConfig> {
    let vocabulary = feed.record().vocab_size as usize;
    if ![0, vocabulary].contains(&config.model.vocab_size) {
        return Err(Error::config(format!(
            "`model.vocab_size` is {}, the mix's tokenizer has {vocabulary} tokens",
            config.model.vocab_size
        ))
        .with_hint("leave the key out: the tokenizer decides"));
    }
    config.model.vocab_size = vocabulary;
    config.model.validate()?;
    let rows_per_step = config.train.rows_per_step() as u64;
    let possible = feed.row_count() / rows_per_step;
    let steps = match config.train.steps {
        Steps::All => possible,
        Steps::Number(steps) => steps,
    };
    let has = Count(feed.record().tokens);
    if steps > possible || steps == 0 {
        let wanted = Count(steps.max(1) * config.train.batch_tokens.0);
        let batch = config.train.batch_tokens;
        return Err(Error::config(format!(
            "{} steps of {batch} tokens need {wanted} tokens, the mix has {has}",
            Count(steps.max(1))
        ))
        .with_hint(format!(
            "it is enough for {} steps; `train.steps = \"all\"` takes them, or make a larger mix",
            Count(possible)
        )));
    }
    config.train.steps = Steps::Number(steps);
    Ok(config)
}

/// The summary of a run that stands complete.
fn up_to_date(directory: RunDirectory) -> Result<TrainSummary> {
    let standing = directory.before.expect("a run that is done has a state");
    let mut summary = TrainSummary::of_records(&directory, standing)?;
    summary.up_to_date = true;
    summary.resumed_from = standing.step;
    directory.close();
    Ok(summary)
}

/// A run in progress.
struct Run<'a> {
    cx: &'a Context<'a>,
    config: TrainConfig,
    steps: u64,
    directory: RunDirectory,
    tokenizer: &'a Tokenizer,
    learner: Learner,
    feed: MixFeed,
    validation: Validation,
    log: RunLog,
    sessions: Sessions,
    resumed_from: u64,
    seconds: Seconds,
    warnings: Vec<String>,
}

impl<'a> Run<'a> {
    /// Learner, feed and records, at the beginning or as the checkpoint left them.
    fn open(
        mix: &Path,
        directory: RunDirectory,
        device: &Device,
        feed: MixFeed,
        tokenizer: &'a Tokenizer,
        cx: &'a Context<'a>,
    ) -> Result<Run<'a>> {
        let config = directory.config.clone();
        let Steps::Number(steps) = config.train.steps else { panic!("steps are resolved before") };
        for (name, number) in config.derived(steps) {
            (cx.say)(&format!("{name}: {}", Count(number)));
        }
        directory.begin(&mix.join(TOKENIZER_DIRECTORY).join(TOKENIZER_FILE))?;
        let learner = Learner::open(&directory, device)?;
        let (step, differences) = (learner.state.step, &learner.numerics_differences);
        if step > 0 {
            (cx.say)(&format!("continues after step {}", Count(step)));
        }
        let mut warnings = Vec::new();
        if !differences.is_empty() {
            let list = differences.join("; ");
            warnings.push(format!("the machine differs, so bits may from here on: {list}"));
            warnings.iter().for_each(|warning| (cx.say)(warning));
        }
        let input = &directory.manifest().inputs[0];
        let numerics = &learner.state.numerics;
        let sessions = Sessions::begin(&directory.path, input, mix, step, numerics, differences)?;
        let validation = Validation::new(
            read_validation(&mix.join(VALIDATION_FILE))?,
            &|tokens| xxh3_128(&tokenizer.decode(tokens)),
            config.train.sequence,
            feed.record().end_of_text_id,
            config.train.eval_tokens.0,
        );
        Ok(Run {
            log: RunLog::open(&directory.path, step, sessions.sessions.len())?,
            resumed_from: step,
            seconds: Seconds::default(),
            cx,
            config,
            steps,
            directory,
            tokenizer,
            learner,
            feed,
            validation,
            sessions,
            warnings,
        })
    }

    /// The training loop. Returns how it ended.
    fn advance(&mut self, stop_after: Option<u64>) -> Result<State> {
        self.cx.progress.begin_steps("train", self.steps);
        self.cx.progress.advance(self.learner.state.step);
        let stop = stop_after.unwrap_or(u64::MAX);
        let mut watch = Stopwatch::start();
        while self.learner.state.step < self.steps
            && self.learner.state.step < stop
            && !self.is_interrupted()
        {
            self.train_step()?;
            watch.lap();
            if self.is_due(self.config.train.eval_every) {
                self.evaluate()?;
                self.seconds.evaluation += watch.lap();
            }
            if self.is_due(self.config.train.sample_every) {
                self.sample()?;
                self.seconds.samples += watch.lap();
            }
            if self.rotation().is_regular(self.learner.state.step) {
                self.checkpoint(State::Running)?;
                self.seconds.checkpoints += watch.lap();
            }
        }
        self.cx.progress.end();
        if self.learner.state.step == self.steps {
            return Ok(State::Done);
        }
        if self.learner.state.step > self.resumed_from {
            self.checkpoint(State::Stopped)?;
        }
        Ok(State::Stopped)
    }

    /// One optimizer step over one global batch, its checks and its records.
    fn train_step(&mut self) -> Result<()> {
        let settings = &self.config.train;
        let rows = settings.rows_per_step();
        let mut watch = Stopwatch::start();
        let batch = self.feed.rows(self.learner.state.next_row, rows)?;
        let feed = watch.lap();

        let mut found = step::gradients(&self.learner.model, &batch, settings.micro_batch)?;
        if self.learner.state.step == 0 {
            step::check_first_step(&self.learner.model, &found)?;
        }
        if !found.loss.is_finite() {
            return Err(self.diverged(format!("the loss is {}", found.loss)));
        }
        let gradients = watch.lap();

        let horizon = settings.horizon(self.learner.state.step, self.steps);
        let learning_rate = settings.schedule().learning_rate(self.learner.state.step, horizon);
        let norm = clip(&mut found.gradients, settings.clip_norm);
        let gradient_norm = norm.map_err(|error| self.diverged(error.to_string()))?;
        self.learner.optimizer.step(&found.gradients, learning_rate)?;
        let optimizer = watch.lap();

        self.learner.state.step += 1;
        self.learner.state.next_row += rows as u64;
        self.learner.state.tokens_seen += batch.tokens() as u64;
        let smoothed = self.learner.state.smoothed_loss.unwrap_or(found.loss);
        self.learner.state.smoothed_loss = Some(smoothed + SMOOTHING * (found.loss - smoothed));
        let (step, tokens) = (self.learner.state.step, self.learner.state.tokens_seen);
        let metric = Metric { step, tokens, loss: found.loss, learning_rate, gradient_norm };
        let timing = Timing::new(step, batch.tokens(), feed, gradients, optimizer);
        self.seconds.add_step(&timing);
        self.log.step(&metric, &timing)?;
        self.cx.progress.advance(1);
        if step.is_multiple_of(self.config.train.log_every) {
            let rate = self.seconds.tokens_per_second().unwrap_or(0.0);
            let smoothed = self.learner.state.smoothed_loss.unwrap_or(found.loss);
            self.cx.progress.note(format!("loss {smoothed:.3}, {rate:.0} tokens/s"));
        }
        Ok(())
    }

    /// Bits per byte of each source; the best checkpoint is the one that did best here.
    fn evaluate(&mut self) -> Result<()> {
        if self.validation.tokens() == 0 {
            return Ok(());
        }
        let (step, rows) = (self.learner.state.step, self.config.train.micro_batch);
        let evaluation = self.validation.evaluate(&self.learner.model, step, rows)?;
        self.log.evaluation(step, &evaluation)?;
        let Some(bits_per_byte) = evaluation.bits_per_byte() else { return Ok(()) };
        let best = self.learner.state.best.as_ref();
        let improves = best.is_none_or(|best| bits_per_byte < best.bits_per_byte);
        if improves && self.rotation().is_regular(step) {
            self.learner.state.best = Some(Best { step, bits_per_byte });
        }
        Ok(())
    }

    /// One text a prompt, with the same draws at every milestone.
    fn sample(&mut self) -> Result<()> {
        let writer = Writer::new(self.tokenizer, self.feed.record().end_of_text_id);
        for prompt in &self.config.train.sample_prompts {
            let sampling = Sampling {
                temperature: self.config.train.sample_temperature,
                seed: self.config.train.seed,
            };
            let max_tokens = self.config.train.sample_tokens;
            let request = Request { prompt, max_tokens, sampling };
            let sample = writer.write(
                &self.learner.model,
                self.learner.state.step,
                &request,
                &mut |_| Ok(()),
            )?;
            self.log.sample(&sample)?;
        }
        Ok(())
    }

    /// Everything up to this step on the disk, then the checkpoint, then what it makes surplus.
    fn checkpoint(&mut self, state: State) -> Result<()> {
        self.log.sync()?;
        let directory = self.directory.join(directory::CHECKPOINTS);
        checkpoint::save(
            &directory,
            &self.learner.model,
            &self.learner.optimizer,
            &self.learner.state,
        )?;
        let standing = checkpoint::list(&directory)?;
        let steps: Vec<u64> = standing.iter().map(|checkpoint| checkpoint.step).collect();
        let surplus = self.rotation().surplus(&steps);
        for checkpoint in standing.iter().filter(|standing| surplus.contains(&standing.step)) {
            checkpoint.remove()?;
        }
        self.directory.write_state(Standing { state, step: self.learner.state.step })?;
        self.sessions.reached(&self.directory.path, self.learner.state.step)?;
        self.report()
    }

    /// Writes `report.html` from the records.
    fn report(&self) -> Result<()> {
        let rate = self.seconds.tokens_per_second().unwrap_or(0.0);
        let clocks = format!("{rate:.0} tokens/s on {}", self.learner.state.numerics.device);
        let name = self.directory.path.file_name().unwrap_or_default().to_string_lossy();
        let page = Page {
            title: &name,
            clocks: &clocks,
            derived: &self.config.derived(self.steps),
            metrics: &records::read::<Metric>(&self.directory.join(directory::METRICS))?,
            evals: &records::read::<SourceEval>(&self.directory.join(directory::EVALS))?,
            samples: &records::read::<Sample>(&self.directory.join(directory::SAMPLES))?,
            config: &io::read_text(&self.directory.join(directory::CONFIG))?,
        };
        io::replace(&self.directory.join(directory::REPORT), page.render().as_bytes())
    }

    /// Manifest and state of the end; Ctrl-C becomes its error here.
    fn finish(mut self, state: State) -> Result<TrainSummary> {
        let standing = Standing { state, step: self.learner.state.step };
        self.report()?;
        self.directory.finish(standing)?;
        self.sessions.reached(&self.directory.path, self.learner.state.step)?;
        if state == State::Stopped && self.is_interrupted() {
            return Err(Error::Interrupted);
        }
        let mut summary = TrainSummary::of_records(&self.directory, standing)?;
        summary.resumed_from = self.resumed_from;
        summary.tokens_per_second = self.seconds.tokens_per_second();
        summary.seconds = self.seconds;
        summary.peak_memory = machine::peak_memory_bytes();
        summary.warnings = self.warnings;
        self.directory.close();
        Ok(summary)
    }

    /// Whether what happens `every` so many steps (0: at the end alone) is due now.
    fn is_due(&self, every: u64) -> bool {
        let step = self.learner.state.step;
        let periodic = every > 0 && step.is_multiple_of(every);
        periodic || self.config.train.ends(self.steps).contains(&step)
    }

    fn rotation(&self) -> Rotation<'_> {
        let train = &self.config.train;
        Rotation {
            every: train.checkpoint_every,
            keep: train.keep,
            milestones: &train.milestones,
            last: self.steps,
            extended: &train.extended,
            best: self.learner.state.best.as_ref().map(|best| best.step),
        }
    }

    fn is_interrupted(&self) -> bool {
        (self.cx.interrupted)()
    }

    /// The error of a run that has left the numbers.
    fn diverged(&self, what: String) -> Error {
        let (step, rate) = (self.learner.state.step + 1, self.config.train.learning_rate);
        Error::failed(format!("training diverged at step {step}: {what}")).with_hint(format!(
            "lower `train.learning_rate` ({rate}) or raise `train.warmup_steps`; a try with \
             `--set runtime.ops=composed` tells a faulty kernel from a rate too high"
        ))
    }
}

/// Weight of the newest loss in the one that progress shows.
const SMOOTHING: f64 = 0.05;
