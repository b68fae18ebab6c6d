//! The records in a run's directory, read as any program would: JSON, one record a line.
//!
//! In → a run's directory; out → [`Run`]. Unknown keys are ignored, and records that older runs
//! lack (spikes, memory, prices) are left out: a page of an older or a newer run is as good as its
//! records. Half a line at the end of a file is a record that is still being written.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::chain::{self, Link};
use super::lines::{
    DocumentEval, LayerNorms, Metric, Peak, Sample, SourceEval, Spike, Timing, Verdict,
};
use crate::artifact::{
    manifest::Manifest,
    run::{self, STATE, Standing},
};
use crate::base::{error::Result, hash::Fingerprint, io, json, place};
use crate::shards::validation::{bits_per_byte, fingerprint_of_sources};

/// One process that worked on the run.
#[derive(Clone, Debug, Deserialize)]
pub struct Session {
    pub started: f64,
    pub seen: f64,
    pub from_step: u64,
    pub to_step: u64,
    pub host: String,
    /// The most memory it has held, in bytes, where it was measured.
    #[serde(default)]
    pub peak_memory: Option<u64>,
    /// The peak of its machine, where that is known.
    #[serde(default)]
    pub peak: Option<Peak>,
    #[serde(default)]
    pub numerics: Value,
}

/// Everything that a page shows of a run.
pub struct Run {
    pub path: PathBuf,
    /// The folder's name.
    pub name: String,
    pub manifest: Manifest,
    pub standing: Standing,
    /// Steps it is to take, where its configuration says.
    pub steps: Option<u64>,
    /// The text of `config.toml`, and its values.
    pub config_text: String,
    pub config: Value,
    pub metrics: Vec<Metric>,
    pub timing: Vec<Timing>,
    pub evals: Vec<SourceEval>,
    /// The latest evaluation's documents, and those of the one before.
    pub scored: Vec<DocumentEval>,
    pub scored_before: Vec<DocumentEval>,
    pub samples: Vec<Sample>,
    pub spikes: Vec<Spike>,
    pub norms: Vec<LayerNorms>,
    pub sessions: Vec<Session>,
    /// The goals that have been judged so far.
    pub goals: Vec<Verdict>,
    /// The price of an hour, if the run records one.
    pub price_per_hour: Option<f64>,
    /// Its ancestors that still exist, sources first.
    pub chain: Vec<Link>,
}

impl Run {
    /// Reads the run in `path`.
    ///
    /// # Errors
    /// Config: no run there. Damaged: a record that is no JSON, or lacks a key.
    pub fn read(path: &Path) -> Result<Run> {
        let manifest = Manifest::read(path)?;
        manifest.expect_kind(path, crate::artifact::record::Kind::Run)?;
        let config_text = match path.join("config.toml") {
            file if file.is_file() => io::read_text(&file)?,
            _ => String::new(),
        };
        let table: toml::Table = config_text.parse().unwrap_or_default();
        let config: Value = serde_json::to_value(table).unwrap_or_default();
        let about = json::value(&path.join("run.json"));
        let sessions = serde_json::from_value(about["sessions"].clone()).unwrap_or_default();
        let goals = serde_json::from_value(about["goals"].clone()).unwrap_or_default();
        let price = about["price_per_hour"].as_f64();
        let price = price.or_else(|| config["train"]["price_per_hour"].as_f64());
        let evals: Vec<SourceEval> = json::lines(&path.join("evals.jsonl"))?;
        let mut evaluated: Vec<u64> = evals.iter().map(|eval| eval.step).collect();
        evaluated.sort_unstable();
        evaluated.dedup();
        let documents = |step: Option<&u64>| match step {
            Some(step) => json::lines(&run::document_evals(path, *step)),
            None => Ok(Vec::new()),
        };
        let full = io::canonical(path)?;
        let name = place::name(&full);
        Ok(Run {
            name,
            standing: Standing::read(path, &json::value(&path.join(STATE)))?,
            steps: config["train"]["steps"].as_u64(),
            metrics: json::lines(&path.join("metrics.jsonl"))?,
            timing: json::lines(&path.join("timing.jsonl"))?,
            scored: documents(evaluated.last())?,
            scored_before: documents(evaluated.iter().rev().nth(1))?,
            samples: json::lines(&path.join("samples.jsonl"))?,
            spikes: json::lines(&path.join("spikes.jsonl"))?,
            norms: json::lines(&path.join("norms.jsonl"))?,
            price_per_hour: price,
            chain: chain::upstream(path, &manifest),
            path: path.to_owned(),
            manifest,
            config_text,
            config,
            evals,
            sessions,
            goals,
        })
    }

    /// Whether a run stands in `path`.
    pub fn stands_in(path: &Path) -> bool {
        let manifest = Manifest::read_if_known(path).ok().flatten();
        manifest.is_some_and(|manifest| manifest.kind == crate::artifact::record::Kind::Run)
    }

    /// Tokens trained on.
    pub fn tokens(&self) -> u64 {
        self.metrics.last().map_or(0, |last| last.tokens)
    }

    /// Tokens trained on by the end of `step`.
    pub fn tokens_at(&self, step: u64) -> u64 {
        let at = self.metrics.partition_point(|metric| metric.step < step);
        self.metrics.get(at).or(self.metrics.last()).map_or(0, |metric| metric.tokens)
    }

    /// How many seconds processes worked on the run, over all sessions.
    pub fn seconds(&self) -> f64 {
        self.sessions.iter().map(|session| (session.seen - session.started).max(0.0)).sum()
    }

    /// Seconds of training steps.
    pub fn step_seconds(&self) -> f64 {
        self.timing.iter().map(|timing| timing.seconds).sum()
    }

    /// (step, bits per byte over all sources), an evaluation each.
    pub fn bits_per_byte(&self) -> Vec<(u64, f64)> {
        let mut all = Vec::new();
        for evaluation in self.evals.chunk_by(|a, b| a.step == b.step) {
            let nats: f64 = evaluation.iter().map(|eval| eval.nats).sum();
            let bytes: u64 = evaluation.iter().map(|eval| eval.bytes).sum();
            all.push((evaluation[0].step, bits_per_byte(nats, bytes)));
        }
        all
    }

    /// The peak of the machine that took a step: that of the last session that began before it.
    pub fn peak_at(&self, step: u64) -> Option<&Peak> {
        self.sessions.iter().rev().find(|session| session.from_step < step)?.peak.as_ref()
    }

    /// The most memory that a process of the run has held, where one says.
    pub fn peak_memory(&self) -> Option<u64> {
        self.sessions.iter().filter_map(|session| session.peak_memory).max()
    }

    /// Which texts the latest evaluation has scored, where its lines say.
    pub fn validation(&self) -> Option<Fingerprint> {
        let last = self.evals.last()?.step;
        let latest = self.evals.iter().filter(|eval| eval.step == last);
        fingerprint_of_sources(latest.map(|eval| (eval.source.as_str(), eval.validation)))
    }

    /// The mix it reads, where that is still there.
    pub fn mix(&self) -> Option<&Link> {
        let is_mix = |link: &&Link| link.manifest.kind == crate::artifact::record::Kind::Mix;
        self.chain.iter().rev().find(is_mix)
    }
}
