//! The results of a run, from its folder.
//!
//! In → a run's folder; out → [`Facts`]: its progress, its latest loss and evaluation, and the
//! time, memory and money it took. What a run of an earlier build did not record is missing, never
//! guessed. Bits per byte are of all held-out documents together: Σ nats / (ln 2 · Σ bytes).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::find;
use crate::artifact::manifest::Manifest;
use crate::artifact::run::{CHECKPOINTS, STATE, Standing};
use crate::base::error::Result;
use crate::base::hash::Fingerprint;
use crate::base::io;
use crate::base::json;
use crate::base::place;
use crate::shards::validation::{bits_per_byte, fingerprint_of_sources};

/// Bytes to read from the end of each record: enough for the last line of metrics, for an
/// evaluation's sources, and for the clocks of some hundred steps.
const METRICS_END: u64 = 4 << 10;
const EVALS_END: u64 = 64 << 10;
const TIMING_END: u64 = 16 << 10;

/// A run's facts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Facts {
    /// The name of its folder; in a list where others share the name, its path.
    pub name: String,
    pub path: PathBuf,
    pub fingerprint: Option<Fingerprint>,
    /// As a [`Standing`], or `ended early` where a goal was missed.
    pub state: Option<String>,
    /// The results of its goals, such as `proof met, grind missed`.
    pub goals: Option<String>,
    pub step: u64,
    pub steps: Option<u64>,
    pub tokens: u64,
    /// The loss of the last step's batch, in nats per token.
    pub loss: Option<f64>,
    pub bits_per_byte: Option<f64>,
    /// Bits per byte over the held-out documents that its own recipe would keep.
    pub kept_bits_per_byte: Option<f64>,
    /// Bits per byte by source.
    pub sources: BTreeMap<String, f64>,
    /// Which texts of which sources the latest evaluation scored; `None` in earlier builds.
    pub validation: Option<String>,
    /// The share of right answers by task, from the latest evaluation beside the run.
    pub evals: BTreeMap<String, f64>,
    /// The median over the last steps.
    pub tokens_per_second: Option<f64>,
    /// Seconds that processes worked on it, each from its start to its last sign of life.
    pub seconds: Option<f64>,
    /// In the currency of `price_per_hour`.
    pub cost: Option<f64>,
    /// The most memory that a process held, bytes.
    pub peak_memory: Option<u64>,
    /// Seconds since 1970 when its first process started.
    pub started: Option<f64>,
    pub seed: Option<u64>,
    pub host: Option<String>,
}

#[derive(Deserialize)]
struct Step {
    step: u64,
    tokens: u64,
    loss: f64,
}

#[derive(Deserialize)]
struct Timed {
    tokens_per_second: f64,
}

#[derive(Deserialize)]
struct Evaluated {
    step: u64,
    source: String,
    nats: f64,
    bytes: u64,
    bits_per_byte: f64,
    #[serde(default)]
    kept_nats: Option<f64>,
    #[serde(default)]
    kept_bytes: Option<u64>,
    /// The fingerprint of the source's texts.
    #[serde(default)]
    validation: Option<Fingerprint>,
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// Damaged: a record that cannot be read.
    pub fn read(path: &Path, manifest: &Manifest) -> Result<Facts> {
        let config = |key: &str| manifest.config.pointer(key).and_then(Value::as_u64);
        let mut facts = Facts {
            name: place::name(path),
            path: path.to_owned(),
            fingerprint: Some(manifest.fingerprint),
            steps: config("/train/steps"),
            seed: config("/train/seed").or(Some(manifest.seed)),
            ..Facts::default()
        };
        if let Some(last) = json::tail::<Step>(&path.join("metrics.jsonl"), METRICS_END)?.last() {
            (facts.step, facts.tokens, facts.loss) = (last.step, last.tokens, Some(last.loss));
        }
        facts.evaluation(evaluated(&path.join("evals.jsonl"))?);
        let timed = json::tail::<Timed>(&path.join("timing.jsonl"), TIMING_END)?;
        facts.tokens_per_second = median(timed.iter().map(|it| it.tokens_per_second).collect());
        let state = json::value(&path.join(STATE));
        facts.state = match state.is_null() {
            true => None,
            false => Some(Standing::read(path, &state)?.to_string()),
        };
        let run = json::value(&path.join("run.json"));
        facts.sessions(&run);
        facts.goals(&run);
        facts.evals = tasks(path);
        Ok(facts)
    }

    fn evaluation(&mut self, evaluated: Vec<Evaluated>) {
        let last = evaluated.iter().map(|it| it.step).max();
        let latest: Vec<Evaluated> =
            evaluated.into_iter().filter(|it| Some(it.step) == last).collect();
        let bits = |nats: f64, bytes: u64| (bytes > 0).then(|| bits_per_byte(nats, bytes));
        let sum = |nats: fn(&Evaluated) -> f64| latest.iter().map(nats).sum::<f64>();
        let bytes = |bytes: fn(&Evaluated) -> u64| latest.iter().map(bytes).sum::<u64>();
        self.bits_per_byte = bits(sum(|it| it.nats), bytes(|it| it.bytes));
        self.kept_bits_per_byte =
            bits(sum(|it| it.kept_nats.unwrap_or(0.0)), bytes(|it| it.kept_bytes.unwrap_or(0)));
        let sets = latest.iter().map(|it| (it.source.as_str(), it.validation));
        self.validation = fingerprint_of_sources(sets).map(|set| set.short());
        self.sources = latest.into_iter().map(|it| (it.source, it.bits_per_byte)).collect();
    }

    fn goals(&mut self, run: &Value) {
        let goals = || run["goals"].as_array().into_iter().flatten();
        let verdict = |goal: &Value| {
            let verdict = if goal["met"] == true { "met" } else { "missed" };
            Some(format!("{} {verdict}", goal["name"].as_str()?))
        };
        let verdicts: Vec<String> = goals().filter_map(verdict).collect();
        self.goals = (!verdicts.is_empty()).then(|| verdicts.join(", "));
        if self.state.as_deref() == Some("stopped") && goals().any(|goal| goal["ended"] == true) {
            self.state = Some("ended early".to_owned());
        }
    }

    fn sessions(&mut self, run: &Value) {
        let sessions = run["sessions"].as_array();
        let time = |session: &Value, key: &str| session[key].as_f64();
        let spans = sessions.into_iter().flatten();
        let spans: Vec<(f64, f64)> =
            spans.filter_map(|it| Some((time(it, "started")?, time(it, "seen")?))).collect();
        self.started = spans.first().map(|span| span.0);
        if !spans.is_empty() {
            self.seconds = Some(spans.iter().map(|span| (span.1 - span.0).max(0.0)).sum());
        }
        let last = sessions.and_then(|sessions| sessions.last());
        self.host = last.and_then(|it| Some(it["host"].as_str()?.to_owned()));
        let memory = sessions.into_iter().flatten().filter_map(|it| it["peak_memory"].as_u64());
        self.peak_memory = memory.max();
        let price = run["price_per_hour"].as_f64();
        let price = price.or_else(|| last.and_then(|it| it["price_per_hour"].as_f64()));
        self.cost = price.zip(self.seconds).map(|(price, seconds)| price * seconds / 3600.0);
    }
}

/// The lines of the latest evaluations, from the end of the file; the whole file if that end is all
/// of one evaluation, which may begin before it.
fn evaluated(path: &Path) -> Result<Vec<Evaluated>> {
    let end: Vec<Evaluated> = json::tail(path, EVALS_END)?;
    let is_one = end.first().map(|it| it.step) == end.last().map(|it| it.step);
    match is_one && path.is_file() && io::size(path)? > EVALS_END {
        true => json::lines(path),
        false => Ok(end),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The tasks of a run's evaluations; of a task in several evaluations, the latest result.
fn tasks(run: &Path) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for evaluation in find::evaluations(run) {
        let scores = json::value(&evaluation.join("scores.json"));
        for task in scores["tasks"].as_array().into_iter().flatten() {
            // LAMBADA's result is a perplexity; what is listed are shares, which compare alike.
            let metric = task["metric"].as_str().filter(|metric| *metric != "perplexity");
            let metric = metric.unwrap_or("acc");
            let value = task[metric]["value"].as_f64().or_else(|| task[metric].as_f64());
            if let (Some(name), Some(value)) = (task["task"].as_str(), value) {
                found.insert(name.to_owned(), value);
            }
        }
    }
    found
}

/// The number of trainable parameters of a run, from the shapes in the header of its latest
/// checkpoint's `model.safetensors` (8 bytes of length, then JSON).
///
/// # Errors
/// Io, and damaged: a file shorter than its head.
pub fn parameters(run: &Path) -> Result<Option<u64>> {
    let checkpoints = io::list(&run.join(CHECKPOINTS)).unwrap_or_default();
    let files = checkpoints.iter().rev().map(|it| it.join("model.safetensors"));
    let Some(file) = files.into_iter().find(|it| it.is_file()) else { return Ok(None) };
    let length: [u8; 8] = io::read_range(&file, 0, 8)?.try_into().expect("eight bytes");
    let length = u64::from_le_bytes(length).min(io::size(&file)?);
    let head: Value =
        serde_json::from_slice(&io::read_range(&file, 8, length as usize)?).unwrap_or_default();
    let size = |shape: &Value| -> Option<u64> {
        Some(shape.as_array()?.iter().filter_map(Value::as_u64).product())
    };
    let tensors = head.as_object().into_iter().flatten();
    Ok(Some(tensors.filter_map(|(_, tensor)| size(&tensor["shape"])).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_evaluation_has_all_its_sources_however_many() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("evals.jsonl");
        let line = |step: u64, source: u64| {
            let source = format!("{source:0100}");
            let line = serde_json::json!({"step": step, "source": source, "nats": 9.0,
                "bytes": 4, "bits_per_byte": 1.0, "pad": "x".repeat(300)});
            line.to_string() + "\n"
        };
        let lines = |sources: u64| -> String {
            let of = |step: u64| (0..sources).map(move |source| line(step, source));
            [1, 2].into_iter().flat_map(of).collect()
        };
        for sources in [3, 100, 400] {
            io::write(&path, lines(sources).as_bytes()).unwrap();
            let mut facts = Facts::default();
            facts.evaluation(evaluated(&path).unwrap());
            assert_eq!(facts.sources.len() as u64, sources);
        }
        assert!(evaluated(&directory.path().join("none.jsonl")).unwrap().is_empty());
    }

    #[test]
    fn of_a_task_without_choices_the_share_of_right_answers_is_listed() {
        let directory = tempfile::tempdir().unwrap();
        let evaluation = directory.path().join("run.evals/step-000010@1a2b3c4d");
        io::create_directory(&evaluation).unwrap();
        io::write(&evaluation.join("manifest.json"), b"{}").unwrap();
        let scores = br#"{"tasks": [
            {"task": "lambada_openai", "metric": "perplexity",
             "acc": {"value": 0.25}, "perplexity": {"value": 31.5}},
            {"task": "piqa", "metric": "acc_norm",
             "acc": {"value": 0.5}, "acc_norm": {"value": 0.75}}]}"#;
        io::write(&evaluation.join("scores.json"), scores).unwrap();
        let found = tasks(&directory.path().join("run"));
        let expected = [("lambada_openai", 0.25), ("piqa", 0.75)];
        assert_eq!(found, expected.map(|(name, share)| (name.to_owned(), share)).into());
    }
}
