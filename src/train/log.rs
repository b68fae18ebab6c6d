//! The run's records, open for appending, and their copy for TensorBoard.
//!
//! In → metrics, timings, evaluations, samples; out → `metrics.jsonl`, `timing.jsonl`,
//! `evals.jsonl`, `evals/step-….jsonl`, `samples.jsonl`, `events.out.tfevents.*`. What a checkpoint
//! covers is on the disk ([`RunLog::sync`]) before that checkpoint is published.

use std::path::{Path, PathBuf};

use super::{
    clock, directory, events::EventWriter, page::Metric, records::Records, sample::Sample,
    summary::Timing, validate::Evaluation,
};
use crate::base::{error::Result, io};

/// All records of a run.
pub struct RunLog {
    run: PathBuf,
    metrics: Records,
    timing: Records,
    evals: Records,
    samples: Records,
    events: EventWriter,
}

impl RunLog {
    /// Cuts the records of `run` back to `step`; `session` tells processes' event files apart.
    pub fn open(run: &Path, step: u64, session: usize) -> Result<RunLog> {
        let cut = |name: &str| Records::cut(&run.join(name), step);
        let wall_time = clock::wall_time();
        let events = format!("events.out.tfevents.{}.dataprep.{session}", wall_time as u64);
        Ok(RunLog {
            run: run.to_owned(),
            metrics: cut(directory::METRICS)?,
            timing: cut(directory::TIMING)?,
            evals: cut(directory::EVALS)?,
            samples: cut(directory::SAMPLES)?,
            events: EventWriter::create(&run.join(events), wall_time, step)?,
        })
    }

    /// Records a training step.
    pub fn step(&mut self, metric: &Metric, timing: &Timing) -> Result<()> {
        self.metrics.append(metric)?;
        self.timing.append(timing)?;
        let scalars = [
            ("loss", metric.loss),
            ("learning_rate", metric.learning_rate),
            ("gradient_norm", metric.gradient_norm),
            ("tokens_per_second", timing.tokens_per_second),
        ];
        self.events.scalars(clock::wall_time(), metric.step, &scalars)
    }

    /// Records an evaluation: its sources, and its documents in a file of their own.
    pub fn evaluation(&mut self, step: u64, evaluation: &Evaluation) -> Result<()> {
        for eval in &evaluation.sources {
            self.evals.append(eval)?;
            let tag = format!("bits_per_byte/{}", eval.source);
            self.events.scalars(clock::wall_time(), step, &[(&tag, eval.bits_per_byte)])?;
        }
        let mut lines = Vec::new();
        for document in &evaluation.documents {
            serde_json::to_writer(&mut lines, document).expect("plain values into memory");
            lines.push(b'\n');
        }
        io::replace(&directory::document_evals(&self.run, step), &lines)
    }

    /// Records a sample.
    pub fn sample(&mut self, sample: &Sample) -> Result<()> {
        self.samples.append(sample)
    }

    /// Waits until everything recorded is on the disk.
    pub fn sync(&self) -> Result<()> {
        let records = [&self.metrics, &self.timing, &self.evals, &self.samples];
        records.into_iter().try_for_each(Records::sync)
    }
}
