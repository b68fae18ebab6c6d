//! What is known of a trained model, for its card: data, tokens, loss, validation, lineage.
//!
//! In → a run and the step of its checkpoint; out → [`Facts`]. The run's records give the losses
//! and evaluations up to that step; the manifests say what it was made from. They are followed from
//! artifact to artifact through `run.json`, by fingerprint, as far as they still exist.
//! **Invariants.** No clock, host or path. Facts are part of the export's configuration, so an
//! export of which fewer facts are known is a different one. **Cost.** Manifests and records, a few
//! kilobytes each.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::artifact::{
    manifest::Manifest,
    record::{InputKind, InputRecord, Kind},
    store,
};
use crate::base::{error::Result, hash::Fingerprint};
use crate::train::{Metric, SourceEval, layout, records};

/// What the card tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facts {
    /// The fingerprint of the run.
    pub fingerprint: Fingerprint,
    pub step: u64,
    pub parameters: u64,
    /// Tokens trained on up to the step.
    pub tokens: u64,
    /// Training loss of the step, nats a token.
    pub loss: Option<f64>,
    /// The latest evaluation up to the step.
    pub evals: Vec<SourceEval>,
    /// The table `[train]` of the run.
    pub train: Value,
    /// Sources of the mix: name, tokens of its budget, passes over the source.
    pub sources: Vec<Source>,
    /// Artifacts from the run down to raw files, and those files by source.
    pub lineage: Vec<Ancestor>,
    /// The same for a person's own validation texts, which nothing was trained on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validated_on: Vec<Ancestor>,
    /// The keys of `TELLING` and `[lora]` that were set, with their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Names of the shards of which only the answers are trained on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers_alone: Vec<String>,
}

/// Keys of `[train]` that change the kind of training where they are present; a configuration omits
/// them when they are off.
const TELLING: [&str; 5] =
    ["grow", "batch_start", "batch_warmup_steps", "sequence_start", "sequence_warmup_steps"];

/// A source of the mix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    pub name: String,
    pub tokens: u64,
    pub epochs: String,
}

/// Something that the model was made from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ancestor {
    /// The kind of an artifact, or `files`.
    pub kind: String,
    /// The name of its folder; for files, of their source.
    pub name: String,
    /// The stage that made it.
    pub stage: Option<String>,
    pub fingerprint: Option<Fingerprint>,
    /// Documents written and documents read; `None` for artifacts that read no documents.
    pub documents: Option<(u64, u64)>,
    /// The number of raw files.
    pub files: Option<u64>,
}

/// Collects what is known of `run`, whose manifest is `manifest`, at `step`.
pub fn facts(run: &Path, manifest: &Manifest, step: u64, parameters: u64) -> Result<Facts> {
    let metrics: Vec<Metric> = records::read_until(&run.join(layout::METRICS), step)?;
    let evals: Vec<SourceEval> = records::read_until(&run.join(layout::EVALS), step)?;
    let last = evals.last().map(|eval| eval.step);
    let metric = metrics.last();
    let mut lineage = Lineage::default();
    lineage.follow(run, manifest);
    lineage.validates = true; // what is trained on too stands there
    for (mix, manifest) in std::mem::take(&mut lineage.validated) {
        lineage.follow(&mix, &manifest);
    }
    Ok(Facts {
        fingerprint: manifest.fingerprint,
        step,
        parameters,
        tokens: metric.map_or(0, |metric| metric.tokens),
        loss: metric.map(|metric| metric.loss),
        evals: evals.into_iter().filter(|eval| Some(eval.step) == last).collect(),
        train: manifest.config["train"].clone(),
        sources: lineage.sources,
        lineage: lineage.ancestors,
        validated_on: lineage.validated_on,
        set: set(&manifest.config),
        answers_alone: lineage.answers_alone,
    })
}

/// The keys of [`TELLING`] and of `[lora]` that a run's configuration sets.
fn set(config: &Value) -> BTreeMap<String, String> {
    let of = |table: &'static str, is_told: fn(&str) -> bool| {
        let keys = config[table].as_object().into_iter().flatten();
        keys.filter(move |(key, value)| is_told(key) && !value.is_null()).map(
            move |(key, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (format!("{table}.{key}"), value)
            },
        )
    };
    of("train", |key| TELLING.contains(&key)).chain(of("lora", |_| true)).collect()
}

#[derive(Default)]
struct Lineage {
    ancestors: Vec<Ancestor>,
    validated_on: Vec<Ancestor>,
    sources: Vec<Source>,
    answers_alone: Vec<String>,
    seen: BTreeSet<Fingerprint>,
    /// Whether the walk follows validation texts instead of training texts.
    validates: bool,
    /// Mixes with texts of their own that validate.
    validated: Vec<(PathBuf, Manifest)>,
}

impl Lineage {
    /// Adds the inputs of an artifact, then their inputs: each once, the nearest first.
    fn follow(&mut self, directory: &Path, manifest: &Manifest) {
        let recorded = store::recorded(directory);
        let mut files: BTreeMap<&str, u64> = BTreeMap::new();
        let mut next = Vec::new();
        let only_validates = |input: &InputRecord| input.only_validates(manifest.kind);
        if !self.validates && manifest.inputs.iter().any(only_validates) {
            self.validated.push((directory.to_owned(), manifest.clone()));
        }
        let is_passed = |input: &InputRecord| match self.validates {
            true => manifest.kind == Kind::Mix && !only_validates(input),
            false => only_validates(input),
        };
        let passed: Vec<bool> = manifest.inputs.iter().map(is_passed).collect();
        for (at, input) in manifest.inputs.iter().enumerate().filter(|(at, _)| !passed[*at]) {
            let InputKind::Artifact(kind) = input.kind else {
                *files.entry(input.source.as_deref().unwrap_or(&input.name)).or_default() += 1;
                continue;
            };
            if input.fingerprint.is_some_and(|fingerprint| !self.seen.insert(fingerprint)) {
                continue;
            }
            let places = recorded.get(at).map(|it| it.places.clone()).unwrap_or_default();
            let standing = store::find(places, input.fingerprint);
            let counts = standing.as_ref().map(|(_, manifest)| &manifest.counts);
            let documents = counts.filter(|counts| counts.documents_in > 0);
            self.list().push(Ancestor {
                kind: format!("{kind}").split_once(' ').map_or("", |(_, kind)| kind).to_owned(),
                name: input.name.clone(),
                stage: input.stage.clone(),
                fingerprint: input.fingerprint,
                documents: documents.map(|counts| (counts.documents_out, counts.documents_in)),
                files: None,
            });
            if standing.as_ref().is_some_and(|(_, it)| it.config["loss_on"] == "answers") {
                self.answers_alone.push(input.name.clone());
            }
            next.extend(standing);
        }
        for (source, count) in files {
            let (kind, name) = ("files".to_owned(), source.to_owned());
            let files = Some(count);
            let none = (None, None, None);
            let (stage, fingerprint, documents) = none;
            let ancestor = Ancestor { kind, name, stage, fingerprint, documents, files };
            let list = self.list();
            if !list.contains(&ancestor) {
                list.push(ancestor);
            }
        }
        for (directory, manifest) in next {
            self.sources.extend(sources(&manifest));
            self.follow(&directory, &manifest);
        }
    }

    fn list(&mut self) -> &mut Vec<Ancestor> {
        if self.validates { &mut self.validated_on } else { &mut self.ancestors }
    }
}

/// The sources of a mix.
fn sources(manifest: &Manifest) -> Vec<Source> {
    let listed = manifest.extra.get("sources").and_then(Value::as_array).into_iter().flatten();
    let source = |source: &Value| {
        Some(Source {
            name: source["name"].as_str()?.to_owned(),
            tokens: source["achieved_tokens"].as_u64()?,
            epochs: source["epochs_decimal"].as_str()?.to_owned(),
        })
    };
    listed.filter_map(source).collect()
}
