//! A training run, top to bottom: open → resume → loop {step · log · evaluate · sample ·
//! checkpoint} → summary.
//!
//! In → `[train]` and `[model]`, a mix, OUT; out → a run (see [`super::directory`]) and
//! its [`TrainSummary`]. **Resume.** Everything that decides the next step is in the checkpoint:
//! parameters, moments, one row number. What a checkpoint covers of the records is on the disk
//! before it is published, and what lies beyond it is cut at the next start, so a run that was
//! stopped, killed or interrupted ends with the bytes of one that never was. What is due at a step
//! comes before a stop is looked at. **Cost.** Beside the model's: one write a record a step, one
//! sync of the records a checkpoint.

use std::path::Path;

use super::{
    budget::Budget,
    cautions::Cautions,
    clock::Stopwatch,
    companions::{Companion, class_of_checkpoints, companions},
    config::{OnDivergence, Steps, TrainConfig},
    directory::RunDirectory,
    feed::MixFeed,
    goals::Goals,
    health::{Health, Trouble},
    known,
    layout::{self, Standing, State},
    learner::{Beginning, Learner, Taken},
    log::RunLog,
    milestones,
    origin::Origin,
    plan::{self, Prepared, TrainOptions},
    probe::{self, Probe, Rate},
    replay,
    rotation::Rotation,
    sample::{Ended, Request, Writer},
    sessions::Sessions,
    summary::{Seconds, TrainSummary},
    validate::{Validation, evaluations},
};
use crate::base::{
    config::Table,
    error::{Error, Result},
    json, machine,
    progress::Progress,
    size::Count,
};
use crate::report;
use crate::report::lines::{Metric, Peak, Sample, SourceEval};
use crate::runtime::{
    checkpoint::{self, Beside, Best},
    device::Device,
    model::{Sampling, knobs::Dtype},
};
use crate::tokenizer::Tokenizer;

/// What a run talks to.
pub struct Context<'a> {
    /// Steps done, and the loss.
    pub progress: &'a Progress,
    /// Facts worth a line: derived numbers, where it resumes.
    pub say: &'a (dyn Fn(&str) + Sync),
    /// What must not be missed: damage, a machine that differs, training that leads nowhere. It is
    /// in the summary too.
    pub warn: &'a (dyn Fn(&str) + Sync),
    /// Whether Ctrl-C asked for the end: the step is finished, a checkpoint written.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Called with the checkpoint of a milestone, or the last, when it stands.
    pub at_milestone: &'a (dyn Fn(&Path) -> Result<()> + Sync),
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
    let prepared = plan::prepare(table, mix, Some(out), options)?;
    plan::in_pool(options, || train(prepared, mix, out, options, cx))
}

fn train(
    prepared: Prepared,
    mix: &Path,
    out: &Path,
    options: &TrainOptions,
    cx: &Context<'_>,
) -> Result<TrainSummary> {
    let directory = RunDirectory::open(out, prepared.asked(mix, options))?;
    if let Some((aside, why)) = &directory.stepped_aside {
        (cx.warn)(&format!(
            "the run that stood here is `{}` now: {why}; nothing of it is lost, and its \
             checkpoints go on taking room until you remove it",
            aside.display()
        ));
    }
    let Prepared { device, mut feed, tokenizer, budget, recomputed, origin, .. } = prepared;
    if let Some(recomputed) = &recomputed {
        (cx.say)(&recomputed.to_string());
    }
    if let Some(Budget { given, steps }) = &budget {
        (cx.say)(&format!("{given}: {} steps", Count(*steps)));
    }
    let mut notes = Vec::new();
    if options.begin.verify {
        let initial = origin.initial.as_ref();
        notes.push(replay::verify(&directory, initial, &device, &mut feed, cx.progress)?);
        notes.iter().for_each(|note| (cx.say)(note));
    }
    if directory.is_done() {
        let summary = up_to_date(directory, feed.record().tokens)?;
        return Ok(TrainSummary { notes, ..summary });
    }
    let mut run = Run::open(mix, directory, &device, feed, &tokenizer, &origin, cx)?;
    drop(origin); // the learner has a copy of the parameters
    run.notes.splice(0..0, notes);
    let state = run.advance(options.stop_after)?;
    run.finish(state)
}

/// Where the learner of a run begins.
fn beginning<'a>(directory: &'a RunDirectory, origin: &'a Origin) -> Result<Beginning<'a>> {
    let began_with = directory.manifest().inputs.len() > 1;
    match (directory.checkpoint(), &origin.initial) {
        (Some(checkpoint), _) => Ok(Beginning::Checkpoint(checkpoint)),
        (None, Some(initial)) => Ok(Beginning::Weights(initial)),
        (None, None) if began_with => {
            let message = "the run has no checkpoint yet, and began from other parameters";
            Err(Error::config(message).with_hint("give `--init-from` or `--branch` again"))
        }
        (None, None) => origin.check_model(&directory.config).map(|()| Beginning::Fresh),
    }
}

/// The summary of a run that stands complete.
fn up_to_date(directory: RunDirectory, mix_tokens: u64) -> Result<TrainSummary> {
    let standing = directory.before.expect("a run that is done has a state");
    let mut summary = TrainSummary::of_records(&directory, standing)?;
    summary.mix_tokens = mix_tokens;
    summary.up_to_date = true;
    summary.resumed_from = standing.step;
    directory.close();
    Ok(summary)
}

/// A run in progress.
struct Run<'a> {
    cx: &'a Context<'a>,
    config: TrainConfig,
    device: Device,
    steps: u64,
    directory: RunDirectory,
    tokenizer: &'a Tokenizer,
    learner: Learner,
    companions: Vec<Companion>,
    feed: MixFeed,
    validation: Validation,
    log: RunLog,
    sessions: Sessions,
    health: Health,
    goals: Goals,
    resumed_from: u64,
    seconds: Seconds,
    /// Of the first steps of which batches and rows are whole.
    whole: Seconds,
    /// For the summary.
    notes: Vec<String>,
    warnings: Vec<String>,
}

/// Says in what arithmetic a run computes and after which step it goes on, and what it warns of.
fn introduce(learner: &Learner, directory: &RunDirectory, cx: &Context<'_>) -> Vec<String> {
    let (state, differences) = (&learner.state, &learner.numerics_differences);
    if state.model.dtype == Dtype::Bf16 {
        (cx.say)(&format!("arithmetic: {}; {}", state.numerics.dtype, state.numerics.matmul));
    }
    let mut warnings = directory.warnings.clone();
    if !differences.is_empty() {
        let list = differences.join("; ");
        warnings.push(format!("the machine differs, so bits may from here on: {list}"));
    }
    warnings.iter().for_each(|warning| (cx.warn)(warning));
    if state.step > 0 {
        (cx.say)(&format!("continues after step {}", Count(state.step)));
    }
    warnings
}

impl<'a> Run<'a> {
    /// Learner, feed and records, at the beginning or as the checkpoint left them.
    fn open(
        mix: &Path,
        directory: RunDirectory,
        device: &Device,
        feed: MixFeed,
        tokenizer: &'a Tokenizer,
        origin: &Origin,
        cx: &'a Context<'a>,
    ) -> Result<Run<'a>> {
        let config = directory.config.clone();
        let Steps::Number(steps) = config.train.steps else { panic!("steps are resolved before") };
        for (name, number) in config.derived(steps) {
            (cx.say)(&format!("{name}: {}", Count(number)));
        }
        let learner = Learner::open(&config, beginning(&directory, origin)?, device)?;
        let warnings = introduce(&learner, &directory, cx);
        let (step, differences) = (learner.state.step, &learner.numerics_differences);
        let record = feed.record();
        let validation = Validation::open(mix, record.end_of_text_id, tokenizer, &config.train)?;
        let end_of_text = (record.end_of_text.as_str(), record.end_of_text_id);
        let context = config.train.sequence;
        let (class, _) = class_of_checkpoints(&config.model);
        let companions =
            companions(class, &config.model, context, tokenizer, end_of_text, "float32")?;
        directory.begin()?; // everything was read
        let input = &directory.manifest().inputs[0];
        let numerics = &learner.state.numerics;
        let price = config.train.price_per_hour;
        let sessions =
            Sessions::begin(&directory.path, input, mix, step, price, numerics, differences)?;
        let (model, train) = (&config.model, &config.train);
        let mut run = Run {
            health: Health::new(model.vocab_size, train.warmup_steps),
            goals: train.goals(steps),
            log: RunLog::open(
                &directory.path,
                step,
                &directory.recovery.records,
                sessions.sessions.len(),
                config.train.spike_skip > 0.0,
            )?,
            resumed_from: step,
            seconds: Seconds::default(),
            whole: Seconds::default(),
            cx,
            config,
            device: device.clone(),
            steps,
            directory,
            tokenizer,
            learner,
            companions,
            feed,
            validation,
            sessions,
            notes: Vec::new(),
            warnings,
        };
        run.look_back()?;
        Ok(run)
    }

    /// What must be said before the first step: of the run as it was asked for, of training that
    /// went wrong before, of goals that it has missed.
    fn look_back(&mut self) -> Result<()> {
        let Cautions { notes, warnings } =
            Cautions::of(&self.config, self.feed.record(), self.tokenizer)?;
        for note in notes {
            (self.cx.say)(&note);
            self.notes.push(note);
        }
        warnings.into_iter().for_each(|warning| self.warn(warning));
        let metrics = json::lines::<Metric>(&self.directory.join(layout::METRICS))?;
        for trouble in self.health.troubles(&metrics) {
            self.trouble(trouble)?;
        }
        // Also those that the run was given after their step.
        self.judge_goals()
    }

    /// Judges the goals up to this step anew from the records, and says those that are new.
    fn judge_goals(&mut self) -> Result<()> {
        let step = self.learner.state.step;
        let metrics = json::lines::<Metric>(&self.directory.join(layout::METRICS))?;
        let evals = json::lines::<SourceEval>(&self.directory.join(layout::EVALS))?;
        let verdicts = self.goals.judged(step, &metrics, &evaluations(&evals));
        for verdict in verdicts.iter().filter(|it| !self.sessions.goals.contains(it)) {
            match verdict.met {
                true => (self.cx.say)(&verdict.to_string()),
                false => (self.cx.warn)(&verdict.to_string()),
            }
        }
        self.sessions.goals = verdicts;
        self.sessions.reached(&self.directory.path, step)
    }

    /// Whether a goal has ended the run.
    fn has_left(&self) -> bool {
        self.sessions.goals.iter().any(|verdict| verdict.ended)
    }

    /// The training loop. Returns how it ended.
    fn advance(&mut self, stop_after: Option<u64>) -> Result<State> {
        self.cx.progress.begin_steps_at("train", self.steps, self.learner.state.step);
        let stop = stop_after.unwrap_or(u64::MAX);
        let mut watch = Stopwatch::start();
        // The checkpoint that stands may come from another machine, so it is never saved over
        // itself.
        let is_new = self.learner.state.step == 0 && self.directory.checkpoint().is_none();
        if is_new && self.config.train.milestones.contains(&0) {
            self.checkpoint(State::Running)?;
        }
        while self.learner.state.step < self.steps
            && self.learner.state.step < stop
            && !self.has_left()
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
            if self.goals.is_due(self.learner.state.step) {
                self.judge_goals()?;
                watch.lap();
            }
        }
        self.cx.progress.end();
        if self.learner.state.step == self.steps {
            return Ok(State::Done);
        }
        // Also before the first step: `--stop-after 0` leaves the initial weights.
        if self.directory.checkpoint().is_none_or(|from| from.step < self.learner.state.step) {
            self.checkpoint(State::Stopped)?;
        }
        Ok(State::Stopped)
    }

    /// One optimizer step over one global batch, its checks and its records.
    fn train_step(&mut self) -> Result<()> {
        let (settings, steps) = (&self.config.train, self.steps);
        let Taken { metric, timing, norms, spike, unusual } =
            self.learner.take_step(&mut self.feed, settings, steps)?;
        self.seconds.add_step(&timing);
        self.log.step(&metric, &timing)?;
        norms.iter().try_for_each(|layer| self.log.norms(layer))?;
        self.cx.progress.advance(1);
        unusual.into_iter().for_each(|warning| self.warn(warning));
        if let Some(spike) = spike {
            self.log.spike(&spike)?;
            (self.cx.warn)(&format!(
                "step {} is left out as a spike: its loss is {:.3}, its gradient norm {:.3}; \
                 `{}` says where its batch lies",
                Count(spike.step),
                spike.loss,
                spike.gradient_norm,
                layout::SPIKES
            ));
        }
        if let Some(trouble) = self.health.see(&metric) {
            self.trouble(trouble)?;
        }
        let whole_from = self.resumed_from.max(self.config.train.whole_from());
        let timed_to = whole_from + probe::STEPS;
        if (whole_from + 1..=timed_to).contains(&metric.step) {
            self.whole.add_step(&timing);
        }
        if metric.step == timed_to && metric.step < steps {
            self.forecast();
        }
        if metric.step.is_multiple_of(self.config.train.log_every) {
            let rate = self.seconds.tokens_per_second().unwrap_or(0.0);
            let smoothed = self.learner.state.smoothed_loss.unwrap_or(metric.loss);
            self.cx.progress.note(format!("loss {smoothed:.3}, {rate:.0} tokens/s"));
        }
        Ok(())
    }

    /// Says what is left in time and money, from the first steps of this process that are of full
    /// size.
    fn forecast(&mut self) {
        let Some(tokens_per_second) = self.whole.tokens_per_second() else { return };
        let peak = Peak::of(&self.device);
        self.sessions.can(peak.clone());
        let train = &self.config.train;
        let probe = Probe::of(Rate {
            tokens_per_second,
            tokens_left: train.tokens_before(self.steps) - self.learner.state.tokens_seen,
            flops_per_token: self.config.flops_per_token(),
            peak,
            price: train.price_per_hour,
            joules_per_token: None,
        });
        probe.to_string().lines().for_each(|line| (self.cx.say)(line));
    }

    /// Bits per byte of each source; the best checkpoint is the one that did best here.
    fn evaluate(&mut self) -> Result<()> {
        if self.validation.tokens() == 0 {
            return Ok(());
        }
        let (step, rows) = (self.learner.state.step, self.config.train.micro_batch);
        let mut evaluation = self.validation.evaluate(&self.learner.model, step, rows)?;
        if let Some(average) = &self.learner.average {
            evaluation.beside(&self.validation.evaluate(average, step, rows)?);
        }
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
        let end_of_text = self.feed.record().end_of_text_id;
        let ends = [end_of_text];
        let writer = Writer::new(self.tokenizer, Some(end_of_text), &ends);
        let train = &self.config.train;
        let sampling = Sampling::at(train.sample_temperature, train.seed);
        for prompt in &train.sample_prompts {
            let max_tokens = train.sample_tokens;
            let request = Request { max_tokens, sampling: &sampling, stops: &[] };
            let came = writer.write(&self.learner.model, prompt, &request, &mut |_| Ok(()))?;
            let sample = Sample {
                step: self.learner.state.step,
                prompt: prompt.clone(),
                text: came.text,
                tokens: came.tokens,
                ended: came.ended == Ended::EndOfText,
            };
            self.log.sample(&sample)?;
        }
        Ok(())
    }

    /// Everything up to this step on the disk, then the checkpoint, then what it makes surplus.
    fn checkpoint(&mut self, state: State) -> Result<()> {
        self.log.sync()?;
        let directory = self.directory.join(layout::CHECKPOINTS);
        let mut records = self.log.hashes();
        records.extend(self.directory.tokenizer_hashes()?);
        checkpoint::save(
            &directory,
            &self.learner.model,
            self.learner.optimizer.as_ref(),
            &self.learner.state,
            Beside {
                records: &records,
                companions: &self.companions,
                average: self.learner.average.as_ref(),
            },
        )?;
        let standing = checkpoint::list(&directory)?;
        let steps: Vec<u64> = standing.iter().map(|checkpoint| checkpoint.step).collect();
        let surplus = self.rotation().surplus(&steps);
        for checkpoint in standing.iter().filter(|standing| surplus.contains(&standing.step)) {
            checkpoint.remove()?;
        }
        self.directory.write_state(Standing { state, step: self.learner.state.step })?;
        self.sessions.reached(&self.directory.path, self.learner.state.step)?;
        self.report()?;
        self.milestone(&directory)
    }

    /// Runs what was asked for at milestones on this step's checkpoint; Ctrl-C in it ends the run
    /// as anywhere else.
    fn milestone(&self, checkpoints: &Path) -> Result<()> {
        let step = self.learner.state.step;
        if !milestones::is_due(&self.config.train, step, self.steps) {
            return Ok(());
        }
        match (self.cx.at_milestone)(&checkpoints.join(checkpoint::name(step))) {
            Err(Error::Interrupted) => Ok(()),
            result => result,
        }
    }

    /// Writes `report.html` from the records.
    fn report(&self) -> Result<()> {
        let known = known::of(&self.config, self.steps, self.warnings.clone());
        report::write(&self.directory.path, known)
    }

    /// Manifest and state of the end; Ctrl-C becomes its error here.
    fn finish(mut self, state: State) -> Result<TrainSummary> {
        let standing = Standing { state, step: self.learner.state.step };
        self.directory.finish(standing)?;
        self.sessions.reached(&self.directory.path, self.learner.state.step)?;
        self.report()?;
        if state == State::Stopped && self.is_interrupted() {
            return Err(Error::Interrupted);
        }
        let mut summary = TrainSummary::of_records(&self.directory, standing)?;
        summary.resumed_from = self.resumed_from;
        summary.tokens_per_second = self.seconds.tokens_per_second();
        let price = self.config.train.price_per_hour;
        summary.cost = price.map(|price| price * self.seconds.total() / 3600.0);
        summary.seconds = self.seconds;
        summary.peak_memory = machine::peak_memory_bytes();
        summary.notes = self.notes;
        summary.warnings = self.warnings;
        summary.mix_tokens = self.feed.record().tokens;
        summary.goals = self.sessions.goals;
        let has_documents = self.validation.tokens() > 0;
        summary.first_evaluation = (summary.evals.is_empty() && has_documents)
            .then(|| self.config.train.first_evaluation(self.steps));
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
            decay_start: train.schedule().decay_start(self.steps),
            best: self.learner.state.best.as_ref().map(|best| best.step),
        }
    }

    /// Reports that training leads nowhere, or ends the run for it; the records stay as they are.
    fn trouble(&mut self, trouble: Trouble) -> Result<()> {
        if self.config.train.on_divergence == OnDivergence::Warn {
            self.warn(trouble.what);
            return Ok(());
        }
        self.warnings.push(trouble.what.clone());
        self.log.sync()?;
        let latest = checkpoint::latest(&self.directory.join(layout::CHECKPOINTS))?;
        let step = latest.map_or(0, |latest| latest.step);
        self.directory.finish(Standing { state: State::Stopped, step })?;
        self.report()?;
        Err(Error::failed(format!("stopped at step {}: {}", trouble.step, trouble.what)).with_hint(
            format!(
                "a lower `train.learning_rate` ({}), a longer `train.warmup_steps` or \
                 `train.clip_norm` = 1; `train.on_divergence = \"warn\"` goes on",
                self.config.train.learning_rate
            ),
        ))
    }

    /// Says it now, and again in the summary.
    fn warn(&mut self, warning: String) {
        (self.cx.warn)(&warning);
        self.warnings.push(warning);
    }

    fn is_interrupted(&self) -> bool {
        (self.cx.interrupted)()
    }
}
