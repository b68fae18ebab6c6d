//! The run's records, open for appending, and their copy for TensorBoard.
//!
//! In → metrics, timings, norms, evaluations, samples; out → `metrics.jsonl`, `timing.jsonl`,
//! `norms.jsonl`, `evals.jsonl`, `evals/step-….jsonl`, `samples.jsonl`, `events.out.tfevents.*`,
//! and `spikes.jsonl` where spikes are looked for. What a checkpoint covers is on the disk
//! ([`RunLog::sync`]) before that checkpoint is published, and its hash is in the checkpoint
//! ([`RunLog::hashes`]).

use std::path::{Path, PathBuf};

use super::{clock, events::EventWriter, layout, records::Records, validate::Evaluation};
use crate::base::{error::Result, hash::xxh3_128, io};
use crate::report::lines::{LayerNorms, Metric, Sample, Spike, Timing};
use crate::runtime::hashed::FileHash;

/// All records of a run.
pub struct RunLog {
    run: PathBuf,
    metrics: Records,
    timing: Records,
    norms: Records,
    evals: Records,
    samples: Records,
    spikes: Option<Records>,
    /// Hashes of the files of evaluated documents.
    documents: Vec<FileHash>,
    events: EventWriter,
}

impl RunLog {
    /// Cuts the records of `run` back to `step`: to what `covered` says of them where it does.
    /// `session` tells processes' event files apart; `spikes`: whether they are looked for.
    pub fn open(
        run: &Path,
        step: u64,
        covered: &[FileHash],
        session: usize,
        spikes: bool,
    ) -> Result<RunLog> {
        let cut = |name: &str| match covered.iter().find(|record| record.name == name) {
            Some(record) => Records::cut_at(&run.join(name), record.bytes),
            None => Records::cut(&run.join(name), step),
        };
        let is_document = |record: &&FileHash| record.name.starts_with(layout::DOCUMENT_EVALS);
        let mut documents: Vec<FileHash> = covered.iter().filter(is_document).cloned().collect();
        documents.retain(|file| file.name != layout::EVALS);
        let wall_time = clock::wall_time();
        let events = format!("events.out.tfevents.{}.dataprep.{session}", wall_time as u64);
        Ok(RunLog {
            run: run.to_owned(),
            metrics: cut(layout::METRICS)?,
            timing: cut(layout::TIMING)?,
            norms: cut(layout::NORMS)?,
            evals: cut(layout::EVALS)?,
            samples: cut(layout::SAMPLES)?,
            spikes: spikes.then(|| cut(layout::SPIKES)).transpose()?,
            documents,
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

    /// Records the norms of a layer.
    pub fn norms(&mut self, norms: &LayerNorms) -> Result<()> {
        self.norms.append(norms)?;
        let tag = |what: &str| format!("{what}_norm/{}", norms.layer);
        let (gradient, weight) = (tag("gradient"), tag("weight"));
        let scalars = [(gradient.as_str(), norms.gradient), (weight.as_str(), norms.weight)];
        self.events.scalars(clock::wall_time(), norms.step, &scalars)
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
        let path = layout::document_evals(&self.run, step);
        let name = path.strip_prefix(&self.run).expect("a file of the run");
        let name = name.to_string_lossy().into_owned();
        self.documents.retain(|file| file.name != name);
        let (bytes, xxh3) = (lines.len() as u64, xxh3_128(&lines));
        self.documents.push(FileHash { name, bytes, xxh3 });
        io::replace(&path, &lines)
    }

    /// The hashes of the records that equal runs share, as far as they are written.
    pub fn hashes(&self) -> Vec<FileHash> {
        let records = [&self.metrics, &self.norms, &self.evals, &self.samples];
        let records = records.into_iter().chain(&self.spikes);
        records.map(Records::hash).chain(self.documents.iter().cloned()).collect()
    }

    /// Records a sample.
    pub fn sample(&mut self, sample: &Sample) -> Result<()> {
        self.samples.append(sample)
    }

    /// Records a step that was left out.
    pub fn spike(&mut self, spike: &Spike) -> Result<()> {
        self.spikes.as_mut().map_or(Ok(()), |spikes| spikes.append(spike))
    }

    /// Waits until everything recorded is on the disk.
    pub fn sync(&self) -> Result<()> {
        let records = [&self.metrics, &self.timing, &self.norms, &self.evals, &self.samples];
        records.into_iter().chain(&self.spikes).try_for_each(Records::sync)
    }
}
