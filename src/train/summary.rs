//! What a run has come to: the closing screen's figures, as one struct.
//!
//! In → the run's records and this process's clocks; out → [`TrainSummary`], which says of itself
//! what the model learned.

use std::{fmt, path::PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::{
    config::Steps,
    directory::RunDirectory,
    health::Health,
    layout::{self, Standing, State},
    milestones::{self, MilestoneEval},
};
use crate::artifact::summary::Summary;
use crate::base::{
    error::Result,
    json, machine,
    size::{Bytes, Count},
};
use crate::report::lines::{Metric, Sample, SourceEval, Timing, Verdict};
use crate::runtime::checkpoint;
use crate::shards::validation::fingerprint_of_sources;

/// Figures of a run, at its end or where it stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainSummary {
    /// The run's directory.
    pub run: PathBuf,
    /// `done`, or `stopped` by `--stop-after`.
    pub state: State,
    /// Whether there was nothing to do.
    pub up_to_date: bool,
    /// Optimizer steps done, of how many.
    pub step: u64,
    pub steps: u64,
    /// The step this process continued from; 0: the beginning.
    pub resumed_from: u64,
    /// Tokens that this run has trained on so far, over all its sessions.
    pub tokens: u64,
    /// Tokens of the mix, all of which it would read with `train.steps = "all"`.
    pub mix_tokens: u64,
    /// Trainable numbers.
    pub parameters: u64,
    /// Mean loss of the last step, nats a token.
    pub loss: Option<f64>,
    /// The latest evaluation, a source each, with its unigram baseline.
    pub evals: Vec<SourceEval>,
    /// The step of the first evaluation, where none has been and something is held out.
    pub first_evaluation: Option<u64>,
    /// What the goals that were due have come to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub goals: Vec<Verdict>,
    /// What was asked at milestones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<MilestoneEval>,
    /// The latest samples, two at most.
    pub samples: Vec<Sample>,
    /// Of this process's training steps, evaluation and checkpoints left out.
    pub tokens_per_second: Option<f64>,
    /// Seconds of this process: steps, evaluation, samples, checkpoints.
    pub seconds: Seconds,
    /// What this process's steps, evaluations, samples and checkpoints cost, where an hour has a
    /// price.
    pub cost: Option<f64>,
    /// The most memory the process held, bytes.
    pub peak_memory: u64,
    /// Answers to what a person would ask: whether a replay came out again, what of the mix is left
    /// over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What is shown as a warning: damage, other numerics at a resume, training that leads nowhere.
    pub warnings: Vec<String>,
    /// The page to open in a browser.
    pub report: PathBuf,
    /// The latest checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// Where an earlier run of this name went.
    pub stepped_aside: Option<PathBuf>,
}

/// Where the time of a process went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// Reading the mix.
    pub feed: f64,
    /// Forward and backward.
    pub gradients: f64,
    /// Clipping and the optimizer.
    pub optimizer: f64,
    /// Validation.
    pub evaluation: f64,
    /// Samples.
    pub samples: f64,
    /// Checkpoints and the report.
    pub checkpoints: f64,
    /// Tokens of the steps.
    #[serde(skip)]
    tokens: u64,
}

impl Timing {
    /// From the parts, in seconds.
    pub fn new(step: u64, tokens: usize, feed: f64, gradients: f64, optimizer: f64) -> Timing {
        let seconds = feed + gradients + optimizer;
        Timing {
            step,
            seconds,
            tokens_per_second: tokens as f64 / seconds,
            feed_seconds: feed,
            gradient_seconds: gradients,
            optimizer_seconds: optimizer,
            memory: machine::held_memory_bytes(),
            tokens: tokens as u64,
        }
    }
}

impl Seconds {
    /// Adds a training step.
    pub fn add_step(&mut self, timing: &Timing) {
        self.feed += timing.feed_seconds;
        self.gradients += timing.gradient_seconds;
        self.optimizer += timing.optimizer_seconds;
        self.tokens += timing.tokens;
    }

    /// All of them together.
    pub fn total(&self) -> f64 {
        let steps = self.feed + self.gradients + self.optimizer;
        steps + self.evaluation + self.samples + self.checkpoints
    }

    /// Tokens trained on / seconds of training steps; `None` before the first.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.feed + self.gradients + self.optimizer;
        (self.tokens > 0).then(|| self.tokens as f64 / seconds)
    }
}

impl TrainSummary {
    /// What the records and the directory say; the process adds its own.
    pub fn of_records(run: &RunDirectory, standing: Standing) -> Result<TrainSummary> {
        let metrics: Vec<Metric> = json::lines(&run.join(layout::METRICS))?;
        let evals: Vec<SourceEval> = json::lines(&run.join(layout::EVALS))?;
        let samples: Vec<Sample> = json::lines(&run.join(layout::SAMPLES))?;
        let (last_eval, last) = (evals.last().map(|eval| eval.step), metrics.last());
        let Steps::Number(steps) = run.config.train.steps else {
            panic!("steps of a run are resolved: {:?}", run.config.train.steps)
        };
        let (model, train) = (&run.config.model, &run.config.train);
        let troubles = Health::new(model.vocab_size, train.warmup_steps).troubles(&metrics);
        let checkpoints = run.join(layout::CHECKPOINTS);
        Ok(TrainSummary {
            run: run.path.clone(),
            state: standing.state,
            up_to_date: false,
            step: standing.step,
            steps,
            resumed_from: 0,
            tokens: last.map_or(0, |last| last.tokens),
            mix_tokens: 0,
            first_evaluation: None,
            parameters: run.config.model.parameter_count(),
            loss: last.map(|last| last.loss),
            evals: evals.iter().filter(|eval| Some(eval.step) == last_eval).cloned().collect(),
            goals: Vec::new(),
            milestones: Vec::new(),
            samples: samples[samples.len().saturating_sub(SAMPLES_SHOWN)..].to_vec(),
            tokens_per_second: None,
            seconds: Seconds::default(),
            cost: None,
            peak_memory: 0,
            notes: Vec::new(),
            warnings: troubles.into_iter().map(|trouble| trouble.what).collect(),
            report: run.join(layout::REPORT),
            checkpoint: checkpoint::latest(&checkpoints)?.map(|latest| latest.path),
            stepped_aside: run.stepped_aside.as_ref().map(|(path, _)| path.clone()),
        })
    }
}

/// Samples on the closing screen.
const SAMPLES_SHOWN: usize = 2;

impl Summary for TrainSummary {
    fn head(&self) -> String {
        "What the model learned".to_owned()
    }

    fn line(&self) -> String {
        format!("step {} of {}", Count(self.step), Count(self.steps))
    }

    fn record(&self) -> Value {
        serde_json::to_value(self).expect("plain data")
    }
}

impl fmt::Display for TrainSummary {
    /// Warnings, validation, speed and samples of a run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for verdict in &self.goals {
            writeln!(f, "  {verdict}")?;
        }
        self.write_evals(f)?;
        write!(f, "{}", milestones::Table(&self.milestones))?;
        write!(
            f,
            "  {} parameters, {} of {} steps, {} of the mix's {} tokens read by this run so far",
            Count(self.parameters),
            Count(self.step),
            Count(self.steps),
            Count(self.tokens),
            Count(self.mix_tokens)
        )?;
        if let Some(loss) = self.loss {
            write!(f, ", training loss {loss:.3}")?;
        }
        if let Some(rate) = self.tokens_per_second {
            let memory = Bytes(self.peak_memory);
            write!(f, ", {} tokens/s, peak memory {memory}", Count(rate as u64))?;
        }
        if let Some(cost) = self.cost {
            write!(f, ", cost {cost:.2}")?;
        }
        for sample in &self.samples {
            let sampled = format!("{}{}", sample.prompt, sample.text);
            write!(f, "\n\n  step {}: {}", sample.step, one_line(&sampled))?;
        }
        writeln!(f, "\n\n  {}", self.report.display())
    }
}

impl TrainSummary {
    /// The latest evaluation as a table, or why there is none.
    fn write_evals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.evals.is_empty() {
            return match self.first_evaluation {
                Some(step) => writeln!(
                    f,
                    "  stopped before its first evaluation, which is due after step {}",
                    Count(step)
                ),
                None => writeln!(f, "  nothing is held out, so nothing was evaluated"),
            };
        }
        let last = self.evals.iter().map(|eval| eval.step).max();
        let latest = || self.evals.iter().filter(|eval| Some(eval.step) == last);
        let set =
            fingerprint_of_sources(latest().map(|eval| (eval.source.as_str(), eval.validation)));
        let texts = set.map_or(String::new(), |set| format!("  texts {}", set.short()));
        writeln!(
            f,
            "  {:<12} {:>9} {:>9} {:>14} {:>17}{texts}",
            "validation", "documents", "loss", "bits per byte", "unigram baseline"
        )?;
        for eval in latest() {
            writeln!(
                f,
                "  {:<12} {:>9} {:>9.3} {:>14.3} {:>17.3}",
                eval.source,
                Count(eval.documents).to_string(),
                eval.nats / eval.tokens.max(1) as f64,
                eval.bits_per_byte,
                eval.unigram_bits_per_byte
            )?;
            if let (true, Some(kept)) =
                (eval.kept_documents < eval.documents, eval.kept_bits_per_byte)
            {
                let documents = Count(eval.kept_documents).to_string();
                writeln!(f, "  {:<12} {documents:>9} {:>24.3}", "  kept alone", kept)?;
            }
        }
        Ok(())
    }
}

/// Text with line breaks shown as spaces, so that a sample stays one paragraph.
fn one_line(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
