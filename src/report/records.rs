//! What a run's directory says, read as any program would: JSON, a line a record.
//!
//! In → a run's directory; out → [`Run`]. Keys that are not known here are passed over, and what
//! may be missing (spikes, memory, prices) is: a page of an older or a younger run is as good as
//! its records. Half a line at the end of a file is a record that is being written.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::chain::{self, Link};
use crate::artifact::manifest::Manifest;
use crate::base::{error::Result, hash::Fingerprint, io, json, lock::Lock};
use crate::shards::validation::fingerprint_of_sources;

/// A line of `metrics.jsonl`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Metric {
    pub step: u64,
    pub tokens: u64,
    pub loss: f64,
    pub learning_rate: f64,
    pub gradient_norm: f64,
}

/// A line of `timing.jsonl`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Timing {
    pub step: u64,
    pub seconds: f64,
    pub tokens_per_second: f64,
    pub feed_seconds: f64,
    /// Bytes that the process holds, where they were measured.
    #[serde(default)]
    pub memory: Option<u64>,
}

/// A line of `evals.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub struct Eval {
    pub step: u64,
    pub source: String,
    pub documents: u64,
    pub nats: f64,
    pub bytes: u64,
    pub bits_per_byte: f64,
    pub unigram_bits_per_byte: f64,
    /// Those documents that the recipe would keep: how many, and their bits per byte where there
    /// are any.
    #[serde(default)]
    pub kept_documents: u64,
    #[serde(default)]
    pub kept_bits_per_byte: Option<f64>,
    /// Which texts of the source were scored.
    #[serde(default)]
    pub validation: Option<Fingerprint>,
}

/// A line of `evals/step-….jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub struct Scored {
    pub source: String,
    pub document: String,
    pub tokens: u64,
    pub bytes: u64,
    pub nats: f64,
}

impl Scored {
    /// Bits per byte of its text.
    pub fn bits_per_byte(&self) -> f64 {
        self.nats / (std::f64::consts::LN_2 * self.bytes.max(1) as f64)
    }
}

/// A line of `samples.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub struct Sample {
    pub step: u64,
    pub prompt: String,
    pub text: String,
}

/// A line of `spikes.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub struct Spike {
    pub step: u64,
    pub loss: f64,
    pub mean: f64,
    pub deviation: f64,
    pub gradient_norm: f64,
    pub first_row: u64,
    pub rows: u64,
}

/// A line of `norms.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub struct LayerNorms {
    pub step: u64,
    pub layer: String,
    pub gradient: f64,
    pub weight: f64,
}

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
    /// What its machine can do, where that is known.
    #[serde(default)]
    pub peak: Option<Peak>,
    #[serde(default)]
    pub numerics: Value,
}

/// A rate that model FLOPs are held against, and whose it is.
#[derive(Clone, Debug, Deserialize)]
pub struct Peak {
    pub flops_per_second: f64,
    pub of: String,
}

/// What a goal came to.
#[derive(Clone, Debug, Deserialize)]
pub struct Goal {
    pub name: String,
    pub step: u64,
    pub by: String,
    pub wanted: f64,
    pub found: f64,
    pub met: bool,
    pub ended: bool,
}

/// Everything of a run that a page shows.
pub struct Run {
    pub path: PathBuf,
    /// The folder's name.
    pub name: String,
    pub manifest: Manifest,
    /// `running`, `stopped`, `killed` or `done`.
    pub state: &'static str,
    /// Steps it is to take, where its configuration says.
    pub steps: Option<u64>,
    /// `config.toml` as it is written, and its values.
    pub config_text: String,
    pub config: Value,
    pub metrics: Vec<Metric>,
    pub timing: Vec<Timing>,
    pub evals: Vec<Eval>,
    /// The latest evaluation's documents, and those of the one before.
    pub scored: Vec<Scored>,
    pub scored_before: Vec<Scored>,
    pub samples: Vec<Sample>,
    pub spikes: Vec<Spike>,
    pub norms: Vec<LayerNorms>,
    pub sessions: Vec<Session>,
    /// Those that were due so far.
    pub goals: Vec<Goal>,
    /// Of an hour, where the run says.
    pub price_per_hour: Option<f64>,
    /// Everything it was made from that is still there, sources first.
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
        let evals: Vec<Eval> = json::lines(&path.join("evals.jsonl"))?;
        let mut evaluated: Vec<u64> = evals.iter().map(|eval| eval.step).collect();
        evaluated.sort_unstable();
        evaluated.dedup();
        let documents = |step: Option<&u64>| match step {
            Some(step) => json::lines(&path.join(format!("evals/step-{step:06}.jsonl"))),
            None => Ok(Vec::new()),
        };
        let full = io::canonical(path)?;
        let name = full.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Run {
            name,
            state: state(path)?,
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

    /// Tokens trained on after `step`.
    pub fn tokens_at(&self, step: u64) -> u64 {
        let at = self.metrics.partition_point(|metric| metric.step < step);
        self.metrics.get(at).or(self.metrics.last()).map_or(0, |metric| metric.tokens)
    }

    /// Seconds of the machine, over all sessions.
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
            let bits = nats / (std::f64::consts::LN_2 * bytes.max(1) as f64);
            all.push((evaluation[0].step, bits));
        }
        all
    }

    /// What the machine could do that took a step: that of the last session from before it.
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

fn state(path: &Path) -> Result<&'static str> {
    let state = json::value(&path.join("state.json"));
    Ok(match state["state"].as_str() {
        Some("done") => "done",
        _ if Lock::is_held(&path.join(".lock"))? => "running",
        Some("stopped") => "stopped",
        _ => "killed",
    })
}
