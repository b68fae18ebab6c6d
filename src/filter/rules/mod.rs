//! Rule sets: named heuristics with the thresholds of the work they come from.
//!
//! In: a document as a [`View`], thresholds from the configuration. Out: the measured values, each
//! with its limit, in the reference's order; the first that breaks its limit is the [`Verdict`].
//! Method: a rule set reports its [`Measure`]s to a callback, and stops when told to: judging stops
//! at the first failure, so later rules cost nothing for documents that are dropped anyway.
//! Invariants: a measure depends on text, columns and thresholds alone; NaN breaks any limit. A new
//! rule set is a file here and a line in [`RULE_SETS`]. Cost: that of the rule sets; choosing and
//! reporting is a dynamic call a measure.

pub mod c4_paragraphs;
pub mod c4_quality;
pub mod classifier;
pub mod dclm;
pub mod fineweb_edu;
pub mod fineweb_quality;
pub mod gopher_quality;
pub mod gopher_repetition;
pub mod language;
mod lists;
mod model;
mod phrases;
pub mod pii;
pub mod spans;
pub mod url_lists;

use crate::base::config::Table;
use crate::base::error::{Error, Result};
use crate::filter::view::View;
use std::ops::{ControlFlow, Range};

/// Every rule set that can be chosen, in the order in which they are listed.
pub const RULE_SETS: &[Entry] = &[
    gopher_repetition::ENTRY,
    gopher_quality::ENTRY,
    c4_quality::ENTRY,
    c4_paragraphs::ENTRY,
    fineweb_quality::ENTRY,
    fineweb_edu::ENTRY,
    language::ENTRY,
    classifier::ENTRY,
    dclm::ENTRY,
    url_lists::ENTRY,
    pii::ENTRY,
];

/// Reads limits from a rule set's table.
pub type LimitsOf = fn(Table) -> Result<Vec<Measure>>;

/// A rule set's entry in the registry.
pub struct Entry {
    /// Its name in `rules`, its table of thresholds and the first half of its reasons.
    pub name: &'static str,
    /// What it drops, for `--help`; says where it departs from its reference.
    pub summary: &'static str,
    /// Where rules, order and thresholds come from.
    pub reference: &'static str,
    /// Its rules, in the order in which they are reported.
    pub rules: &'static [RuleInfo],
    /// Reads the limits of its rules from its table, for a rule set that [`Entry::build`] cannot
    /// build without a file; `None`: the limits are what a built rule set reports of any text.
    pub limits: Option<LimitsOf>,
    /// Makes it from its table; unknown keys and impossible values are configuration errors.
    pub build: fn(Table) -> Result<Box<dyn RuleSet>>,
}

/// One rule in a rule set's list; its limit is the value of `key`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleInfo {
    /// `filter/rule`, both as the reference calls them.
    pub rule: &'static str,
    /// The key that holds the limit; `None` where the reference has no number for it.
    pub key: Option<&'static str>,
    /// What is measured: a count, or a share of all.
    pub measures: &'static str,
    /// Whether `key` is a switch: when true the rule allows none, when false it is off.
    pub is_switch: bool,
}

impl RuleInfo {
    /// A rule with a threshold.
    const fn new(rule: &'static str, key: &'static str, measures: &'static str) -> RuleInfo {
        RuleInfo { rule, key: Some(key), measures, is_switch: false }
    }

    /// A rule that is on or off; it allows none.
    const fn switch(rule: &'static str, key: &'static str, measures: &'static str) -> RuleInfo {
        RuleInfo { rule, key: Some(key), measures, is_switch: true }
    }

    /// A rule without a threshold.
    const fn fixed(rule: &'static str, measures: &'static str) -> RuleInfo {
        RuleInfo { rule, key: None, measures, is_switch: false }
    }
}

/// A rule set with its thresholds, ready to measure documents.
pub trait RuleSet: Send + Sync {
    /// Every key with its value, defaults filled in: what a fingerprint covers.
    fn config(&self) -> serde_json::Value;

    /// The columns whose values it needs beside the text.
    fn columns(&self) -> Vec<Column> {
        Vec::new()
    }

    /// Reports each measure of the document, in the order of the reference, until `report` breaks.
    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()>;

    /// Whether [`RuleSet::measure`] may change the text.
    fn edits(&self) -> bool {
        false
    }

    /// The parts of the text, as byte ranges, that `rule` counts against it: see [`spans`]. The
    /// view shows what it showed when the rule was reported, measured or not; empty where the whole
    /// text is at fault rather than parts of it.
    fn spans(&self, _rule: &str, _view: &mut View<'_>) -> Vec<Range<usize>> {
        Vec::new()
    }
}

/// A column that a rule set reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
}

/// What a column must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Integers or floats.
    Number,
    /// Strings.
    Text,
}

/// Takes a measure, and returns whether to continue.
pub type Report<'r> = dyn FnMut(Measure) -> ControlFlow<()> + 'r;

/// The value that a rule measured, and the limit it was compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// `set/rule`, the rule as its reference calls it.
    pub rule: &'static str,
    /// What was measured: a count, a mean or a share; NaN where there was nothing to divide by.
    pub value: f64,
    /// The limit that the value must keep.
    pub limit: Limit,
}

/// Bounds are inclusive: a value equal to its limit passes, in every reference here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// The name of this bound where values are stored.
pub const AT_LEAST: &str = "at least";
pub const AT_MOST: &str = "at most";

impl Limit {
    /// The bound in words, and its number.
    pub fn parts(self) -> (&'static str, f64) {
        match self {
            Limit::AtLeast(limit) => (AT_LEAST, limit),
            Limit::AtMost(limit) => (AT_MOST, limit),
        }
    }
}

/// Why a document is dropped: the first measure that broke its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// For example `gopher_quality/gopher_short_doc`.
    pub rule: &'static str,
    pub value: f64,
    pub limit: f64,
}

impl Verdict {
    /// The verdict if the measure breaks its limit.
    pub fn of(measure: Measure) -> Option<Verdict> {
        let (_, limit) = measure.limit.parts();
        let Measure { rule, value, .. } = measure;
        (!measure.passes()).then_some(Verdict { rule, value, limit })
    }
}

impl Measure {
    /// `value` must reach `limit`.
    pub fn at_least(rule: &'static str, value: f64, limit: f64) -> Measure {
        Measure { rule, value, limit: Limit::AtLeast(limit) }
    }

    /// `value` must not exceed `limit`.
    pub fn at_most(rule: &'static str, value: f64, limit: f64) -> Measure {
        Measure { rule, value, limit: Limit::AtMost(limit) }
    }

    /// Whether the value keeps its limit; NaN never does.
    pub fn passes(&self) -> bool {
        match self.limit {
            Limit::AtLeast(limit) => self.value >= limit,
            Limit::AtMost(limit) => self.value <= limit,
        }
    }
}

/// The verdict of `rules`, in their order; `None` keeps the document.
pub fn judge(rules: &[Box<dyn RuleSet>], view: &mut View<'_>) -> Option<Verdict> {
    let mut verdict = None;
    let mut report = |measure: Measure| {
        verdict = Verdict::of(measure);
        if verdict.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    for rule_set in rules {
        if rule_set.measure(view, &mut report).is_break() {
            break;
        }
    }
    verdict
}

/// Every measure of a document, in the order in which they are reported; the view must be complete.
pub fn measure_all(rules: &[Box<dyn RuleSet>], view: &mut View<'_>, measures: &mut Vec<Measure>) {
    measures.clear();
    for rule_set in rules {
        let flow = rule_set.measure(view, &mut |measure| {
            measures.push(measure);
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue(), "a rule set stopped without being told");
    }
}

/// Refuses thresholds that are no number, or below 0: every measure is a count, a mean or a share.
fn check_limits(set: &str, limits: &[(&str, f64)]) -> Result<()> {
    match limits.iter().find(|(_, limit)| limit.is_nan() || *limit < 0.0) {
        None => Ok(()),
        Some((key, limit)) => Err(Error::config(format!("`{set}.{key}` is {limit}"))
            .with_hint("thresholds are numbers, 0 or more")),
    }
}

/// An upper limit, or none at all where it is 0.
fn optional(limit: f64) -> f64 {
    if limit == 0.0 { f64::INFINITY } else { limit }
}

/// A part as a share of a count; NaN where the count is 0, as 0/0.
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod parity;
#[cfg(test)]
mod parity_of_addresses;
#[cfg(test)]
mod parity_of_corpora;
#[cfg(test)]
mod tests;
