//! What each threshold did: histograms of every rule's value, and the documents nearest its limit.
//!
//! In: sampled documents with all their measures ([`View::complete`]: values that keep their limit
//! are exact too). Out: two tables. `histogram` has a row for each bin of each (rule, source) that
//! holds a document ([`histogram`]); `examples` has, for each rule, up to three documents on either
//! side of its limit, with the parts of the text that the rule counts against it ([`examples`]).
//! Method: a sample is [`add`]ed document by document; evidence of any two sets of documents can be
//! [`merge`]d. Invariants: the result depends on which documents were added, never on their order
//! or grouping; every document is in one bin of each rule that was measured of it. Cost: a binary
//! search and two comparisons a measure, a copy of at most 64 KiB a document that is among the
//! nearest so far; memory of six such documents a rule, and bins that are not empty.
//!
//! [`View::complete`]: super::view::View::complete
//! [`add`]: Evidence::add
//! [`merge`]: Evidence::merge

pub mod examples;
pub mod histogram;
pub mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::config::find;
use super::rules::{Measure, RuleInfo, RuleSet};
use super::view::Room;
use crate::base::error::Result;
use examples::{ExampleRows, Kept, Nearest};
use histogram::{Histogram, HistogramRows};

/// A rule of a recipe.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub info: &'static RuleInfo,
    /// The rule set that has it: its name, and its place in the recipe.
    pub set: &'static str,
    pub owner: usize,
}

/// The rules of the named rule sets, in their order.
///
/// # Errors
/// [`crate::base::error::Error::Config`] for a rule set that nobody knows.
pub fn rules(rule_sets: &[String]) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (owner, name) in rule_sets.iter().enumerate() {
        let entry = find(name)?;
        rules.extend(entry.rules.iter().map(|info| Rule { info, set: entry.name, owner }));
    }
    Ok(rules)
}

/// A sampled document, as the inputs have it.
#[derive(Clone, Copy, Debug)]
pub struct Document<'d> {
    /// Place of its source among the sources.
    pub source: usize,
    /// Place of its file among the files.
    pub file: usize,
    /// Its row in a Parquet file, its byte offset in JSON lines.
    pub row: u64,
    pub id: &'d str,
    /// Before any rule edits it.
    pub text: &'d str,
}

/// What sources and files are called, by their places.
#[derive(Clone, Debug)]
pub struct Names<'n> {
    pub sources: Vec<&'n str>,
    pub files: Vec<&'n str>,
}

/// What was seen of some documents.
#[derive(Clone, Debug)]
pub struct Evidence {
    rules: Vec<Rule>,
    /// By source, then rule.
    histograms: BTreeMap<usize, Vec<Histogram>>,
    /// By rule.
    examples: Vec<Nearest>,
}

impl Evidence {
    /// Of no document, for the rules of a recipe.
    pub fn new(rules: &[Rule]) -> Evidence {
        Evidence {
            rules: rules.to_vec(),
            histograms: BTreeMap::new(),
            examples: vec![Nearest::default(); rules.len()],
        }
    }

    /// Adds a document with its measures, all of them and in the order in which they were reported.
    pub fn add(&mut self, document: Document<'_>, measures: &[Measure]) {
        let Evidence { rules, histograms, examples } = self;
        let empty = || vec![Histogram::default(); rules.len()];
        let histograms = histograms.entry(document.source).or_insert_with(empty);
        // Copied when the first rule wants it, and shared.
        let mut kept: Option<Arc<Kept>> = None;
        let (mut next, mut is_reached) = (0, true);
        let failing = measures.iter().filter(|measure| !measure.passes()).count();
        for measure in measures {
            let place = place_of(rules, measure.rule, next);
            next = place + 1;
            histograms[place].add(measure, failing == usize::from(!measure.passes()));
            examples[place].offer(measure, is_reached, document, &mut kept);
            is_reached &= measure.passes();
        }
    }

    /// Takes what was seen of other documents, by the same rules.
    pub fn merge(&mut self, other: Evidence) {
        assert_eq!(self.rules.len(), other.rules.len(), "evidence of one recipe");
        for (source, theirs) in other.histograms {
            match self.histograms.get_mut(&source) {
                None => {
                    self.histograms.insert(source, theirs);
                }
                Some(own) => own.iter_mut().zip(&theirs).for_each(|(own, other)| own.merge(other)),
            }
        }
        self.examples.iter_mut().zip(other.examples).for_each(|(own, other)| own.merge(other));
    }

    /// The table of [`schema::histogram`]: by rule, source and bin.
    ///
    /// # Errors
    /// None but a bug's.
    pub fn histogram_rows(&self, names: &Names<'_>) -> Result<RecordBatch> {
        let mut rows = HistogramRows::default();
        for (place, rule) in self.rules.iter().enumerate() {
            for (&source, histograms) in &self.histograms {
                rows.push(rule, names.sources[source], &histograms[place]);
            }
        }
        rows.finish()
    }

    /// The table of [`schema::examples`]: by rule, those that pass before those that fail, the
    /// nearest first. Spans are found here, in what is kept of the texts.
    ///
    /// # Errors
    /// None but a bug's.
    pub fn example_rows(
        &self,
        names: &Names<'_>,
        rule_sets: &[Box<dyn RuleSet>],
        room: &mut Room,
    ) -> Result<RecordBatch> {
        let mut rows = ExampleRows::new(names, rule_sets, room);
        for (rule, nearest) in self.rules.iter().zip(&self.examples) {
            rows.push(rule, nearest);
        }
        rows.finish()
    }
}

/// The place of a rule that is most likely at `guess`: rules are reported in order, but for c4's
/// first two.
pub fn place_of(rules: &[Rule], rule: &str, guess: usize) -> usize {
    let is_own = |own: &Rule| std::ptr::eq(own.info.rule, rule) || own.info.rule == rule;
    if rules.get(guess).is_some_and(is_own) {
        return guess;
    }
    rules.iter().position(is_own).expect("a rule set reports the rules of its entry")
}
