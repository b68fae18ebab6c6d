//! Bits per byte on the documents that all runs hold out.
//!
//! In → the documents of each run's last evaluation (`evals/step-*.jsonl` of the largest step in
//! `evals.jsonl`, since files of an abandoned path remain beside it), identified by the hash of
//! their text, with a mark on those that have a near-twin in the text that a run may have read; out
//! → [`HeldOut`]: by source and in all, the number of documents, both figures, and the standard
//! error of their difference over documents (they are paired, so what makes a document hard
//! cancels). A run that has read near-twins of held-out documents scores lower than it should, so
//! the figures without them are given too. **Invariant.** A figure never mixes in documents that
//! one side lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::noise::{self, Verdict};
use crate::artifact::run::document_evals;
use crate::base::error::Result;
use crate::base::hash::Fingerprint;
use crate::base::json;
use crate::shards::validation::bits_per_byte;

/// A document that a run has scored.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Scored {
    pub source: String,
    pub text: Fingerprint,
    pub bytes: u64,
    pub nats: f64,
    /// Whether deduplication found a near-twin of it among the training documents and left that in;
    /// absent where deduplication did not look.
    #[serde(default)]
    pub near_twin: Option<bool>,
}

/// The documents of a run's last evaluation, by the hash of their text.
pub type Scores = BTreeMap<Fingerprint, Scored>;

/// A line of `evals.jsonl`.
#[derive(Deserialize)]
struct Evaluated {
    step: u64,
}

/// The documents of the last evaluation; empty where the run was never evaluated.
///
/// # Errors
/// Damaged: a record that cannot be read.
pub fn read(run: &Path) -> Result<Scores> {
    let evaluated: Vec<Evaluated> = json::lines(&run.join("evals.jsonl"))?;
    let documents: Vec<Scored> = match evaluated.iter().map(|it| it.step).max() {
        Some(step) => json::lines(&document_evals(run, step))?,
        None => Vec::new(),
    };
    Ok(documents.into_iter().map(|document| (document.text, document)).collect())
}

/// The comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// Documents that each side holds out; `common` counts those that all runs hold out.
    pub documents: (u64, u64),
    pub common: u64,
    /// All sources together.
    pub total: Figure,
    pub sources: Vec<Figure>,
    /// The total without documents of which a run has read a near-twin; `None` where there are
    /// none.
    pub without_twins: Option<Figure>,
    /// The total of each seed on the common documents, which the verdict rests on.
    #[serde(skip)]
    pub seeds: (Vec<f64>, Vec<f64>),
    /// The same for each seed, without those documents.
    #[serde(skip)]
    seeds_without_twins: Option<(Vec<f64>, Vec<f64>)>,
}

impl HeldOut {
    /// The verdict on all common documents.
    pub fn verdict(&self) -> Verdict {
        noise::verdict(&self.seeds.0, &self.seeds.1)
    }

    /// The verdict without documents of which a run has read a near-twin, where there are any: a
    /// gain from having read them is no gain.
    pub fn verdict_without_twins(&self) -> Option<Verdict> {
        let (from, to) = self.seeds_without_twins.as_ref()?;
        Some(noise::verdict(from, to))
    }
}

/// Bits per byte of both on the same documents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    pub source: String,
    pub documents: u64,
    pub bytes: u64,
    pub from: f64,
    pub to: f64,
    pub difference: f64,
    /// The standard error of the difference, over documents.
    pub standard_error: f64,
}

/// Compares two groups of runs that differ by seed alone, the run to be compared first in each;
/// `None` if they have no document in common.
pub fn compare(from: &[Scores], to: &[Scores]) -> Option<HeldOut> {
    let (a, b) = (from.first()?, to.first()?);
    let others = || from.iter().chain(to);
    let is_common = |text: &Fingerprint| others().all(|scores| scores.contains_key(text));
    let common: Vec<&Scored> = a.values().filter(|document| is_common(&document.text)).collect();
    if common.is_empty() {
        return None;
    }
    let names: BTreeSet<&str> = common.iter().map(|document| document.source.as_str()).collect();
    let of_source = |name: &&str| {
        let documents = common.iter().filter(|it| it.source == **name).copied();
        figure(name, documents.collect::<Vec<_>>().as_slice(), b)
    };
    let is_twin = |text: &Fingerprint| others().any(|it| it[text].near_twin == Some(true));
    let alone: Vec<&Scored> = common.iter().filter(|it| !is_twin(&it.text)).copied().collect();
    let has_twins = !alone.is_empty() && alone.len() < common.len();
    let of_seeds = |documents: &[&Scored]| {
        let of_seed = |scores: &Scores| {
            let nats: f64 = documents.iter().map(|it| scores[&it.text].nats).sum();
            let bytes: u64 = documents.iter().map(|it| it.bytes).sum();
            bits_per_byte(nats, bytes)
        };
        (from.iter().map(of_seed).collect(), to.iter().map(of_seed).collect())
    };
    Some(HeldOut {
        documents: (a.len() as u64, b.len() as u64),
        common: common.len() as u64,
        total: figure("all", &common, b),
        sources: names.iter().map(of_source).collect(),
        without_twins: has_twins.then(|| figure("all", &alone, b)),
        seeds: of_seeds(&common),
        seeds_without_twins: has_twins.then(|| of_seeds(&alone)),
    })
}

fn figure(source: &str, documents: &[&Scored], other: &Scores) -> Figure {
    let bytes: u64 = documents.iter().map(|it| it.bytes).sum();
    let bits = |nats: f64| bits_per_byte(nats, bytes);
    let after = |document: &&Scored| other[&document.text].nats;
    let from: f64 = documents.iter().map(|it| it.nats).sum();
    let to: f64 = documents.iter().map(after).sum();
    // The standard error of a ratio of sums: how far each document's difference is from its share
    // by bytes.
    let (n, share) = (documents.len() as f64, (to - from) / bytes.max(1) as f64);
    let away = documents.iter().map(|it| after(it) - it.nats - share * it.bytes as f64);
    let squares: f64 = away.map(|it| it * it).sum();
    let error = (squares * n / (n - 1.0).max(1.0)).sqrt();
    Figure {
        source: source.to_owned(),
        documents: documents.len() as u64,
        bytes,
        from: bits(from),
        to: bits(to),
        difference: bits(to - from),
        standard_error: bits(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::xxh3_128;
    use crate::compare::noise::Call;

    fn scores(documents: &[(&str, u64, f64)]) -> Scores {
        let scored = |&(name, bytes, nats): &(&str, u64, f64)| {
            let text = xxh3_128(name.as_bytes());
            let source = name.chars().take(1).collect();
            (text, Scored { source, text, bytes, nats, near_twin: Some(name == "b1") })
        };
        documents.iter().map(scored).collect()
    }

    #[test]
    fn only_documents_that_all_hold_out_count() {
        let a = scores(&[("a1", 100, 70.0), ("a2", 100, 80.0), ("b1", 50, 40.0)]);
        let b = scores(&[("a1", 100, 60.0), ("b1", 50, 45.0), ("b2", 10, 999.0)]);
        let found = compare(std::slice::from_ref(&a), &[b]).unwrap();
        assert_eq!((found.common, found.documents), (2, (3, 3)));
        assert!((found.total.difference - (-5.0 / std::f64::consts::LN_2 / 150.0)).abs() < 1e-12);
        let sources: Vec<(&str, u64)> =
            found.sources.iter().map(|it| (it.source.as_str(), it.documents)).collect();
        assert_eq!(sources, [("a", 1), ("b", 1)]);
        assert_eq!(found.without_twins.as_ref().unwrap().documents, 1);
        // A gain on documents that were read before is no gain.
        let read = [scores(&[("a1", 100, 70.0), ("b1", 50, 10.0)])];
        let gain = compare(std::slice::from_ref(&a), &read).unwrap();
        assert_eq!(gain.verdict().call, Call::Better);
        let alone = gain.verdict_without_twins().unwrap();
        assert_eq!((alone.call, alone.difference), (Call::WithinNoise, 0.0));
        let none = [scores(&[("a1", 100, 60.0)])];
        assert!(
            compare(std::slice::from_ref(&a), &none).unwrap().verdict_without_twins().is_none()
        );
        assert!(compare(&[a], &[scores(&[("c", 1, 1.0)])]).is_none());
    }
}
