//! What a person is told when an evaluation is done.
//!
//! In → the artifact's manifest and its [`Scores`]; out → a line, the table, a record.

use std::fmt;

use serde_json::{Value, json};

use super::scores::Scores;
use crate::artifact::manifest::Manifest;
use crate::artifact::summary::Summary;
use crate::base::size::Count;

/// Counts of a task: items, and those of which a beginning was cut off.
pub(super) const COUNT_ITEMS: &str = "items";
pub(super) const COUNT_CUT: &str = "items_cut";

/// The summary of an evaluation.
#[derive(Debug)]
pub struct EvalSummary {
    manifest: Manifest,
    scores: Scores,
}

impl EvalSummary {
    /// Of a finished evaluation.
    pub fn new(manifest: &Manifest, scores: Scores) -> EvalSummary {
        EvalSummary { manifest: manifest.clone(), scores }
    }

    fn count(&self, name: &str) -> u64 {
        self.manifest.counts.extra.get(name).copied().unwrap_or(0)
    }
}

impl Summary for EvalSummary {
    fn head(&self) -> String {
        "How good the model is".to_owned()
    }

    fn line(&self) -> String {
        let mut parts = Vec::new();
        if !self.scores.tasks.is_empty() {
            parts.push(Count(self.count(COUNT_ITEMS)).of("item"));
        }
        if !self.scores.texts.is_empty() {
            parts.push(Count(self.manifest.counts.documents_out).of("document"));
        }
        parts.join(", ")
    }

    fn record(&self) -> Value {
        let mut record = serde_json::to_value(&self.scores).expect("scores are plain data");
        record["fingerprint"] = json!(self.manifest.fingerprint);
        record["counts"] = json!(self.manifest.counts);
        record
    }

    fn alarms(&self) -> Vec<String> {
        let cut = self.count(COUNT_CUT);
        let length = self.manifest.config["length"].as_u64().unwrap_or(0);
        let alarm = || {
            format!(
                "{} of {} items are longer than the {length} tokens that the model reads at once: \
                 their beginnings were cut off",
                Count(cut),
                Count(self.count(COUNT_ITEMS)),
            )
        };
        (cut > 0).then(alarm).into_iter().collect()
    }
}

impl fmt::Display for EvalSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scores.fmt(f)
    }
}
