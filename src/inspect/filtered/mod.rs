//! What a filter did: drops by rule and source, values around each threshold, documents beside it.
//!
//! In → a stage's counts and the rows that `filter` wrote beside its output ([`read`]: histograms
//! of what each rule measured, documents nearest to each limit); out → [`Filtered`], which is the
//! JSON, prints itself for a terminal ([`screen`]) and as one HTML page ([`page()`]).
//! Method: units are merged (bins are the same in all files, so they add up; of documents the
//! nearest stay), then [`axis`] chooses how values are laid out, for both pictures alike, and
//! [`excerpt`] cuts texts around what fired.
//! Invariants: the same rows in any cut into units, in their order, give the same report; no text
//! reaches a terminal or a page with its control characters or its markup.
//! Cost: one pass over the rows; what is held grows with rules × sources × bins.

pub mod axis;
mod chart;
pub mod excerpt;
pub mod page;
pub mod read;
pub mod report;
#[cfg(test)]
mod sample;
pub mod screen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

pub use page::page;
pub use read::{Malformed, Reader};
pub use report::FilterReport;

use super::ratio;
use crate::artifact::counts::SourceCounts;
use crate::filter::rules::{AT_LEAST, AT_MOST};

/// Documents that are kept for each rule and side of its limit.
pub const NEAREST: usize = 3;

/// What a filter did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filtered {
    /// Nothing was dropped: `dropped` of a rule says what would have been.
    pub annotated: bool,
    pub total: Flow,
    pub sources: BTreeMap<String, Flow>,
    /// In the order in which they judge.
    pub rules: Vec<Rule>,
}

impl Filtered {
    /// Documents that were measured by every rule, also behind one that fails: a sample.
    pub fn measured(&self) -> u64 {
        self.rules.iter().map(|rule| rule.measured.documents()).max().unwrap_or(0)
    }
}

/// Documents on their way through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flow {
    #[serde(rename = "in")]
    pub documents_in: u64,
    pub rejected: u64,
    pub dropped: u64,
    #[serde(rename = "out")]
    pub documents_out: u64,
}

impl From<&SourceCounts> for Flow {
    fn from(counts: &SourceCounts) -> Flow {
        Flow {
            documents_in: counts.documents_in,
            rejected: counts.rejected_total(),
            dropped: counts.dropped_total(),
            documents_out: counts.documents_out,
        }
    }
}

/// Which side of its limit a rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Bound {
    #[serde(rename = "at least")]
    AtLeast,
    #[serde(rename = "at most")]
    AtMost,
}

impl Bound {
    /// As a sentence says it.
    pub fn words(self) -> &'static str {
        match self {
            Bound::AtLeast => AT_LEAST,
            Bound::AtMost => AT_MOST,
        }
    }

    /// As a formula says it.
    pub fn sign(self) -> char {
        match self {
            Bound::AtLeast => '≥',
            Bound::AtMost => '≤',
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// `filter/rule`.
    pub rule: String,
    /// What is measured, as `words that are more than punctuation`; empty where no row says it.
    pub measures: String,
    /// The configuration's key of the limit, as `gopher_quality.min_words`.
    pub key: Option<String>,
    pub bound: Bound,
    /// `None`: the rule is off.
    pub limit: Option<f64>,
    /// Documents for which it was the first to fail.
    pub dropped: u64,
    /// The same by source; empty when annotated, where only the sum is counted.
    pub dropped_by_source: BTreeMap<String, u64>,
    /// All sources together, of the documents that were measured.
    pub measured: Tally,
    /// What other limits would have changed, of the documents that were measured.
    pub moved: Vec<Moved>,
    /// Values by source.
    pub histograms: BTreeMap<String, Histogram>,
    pub nearest: Nearest,
}

impl Rule {
    /// All sources together.
    pub fn histogram(&self) -> Histogram {
        let mut all = Histogram::default();
        self.histograms.values().for_each(|histogram| all.add(histogram));
        all
    }
}

/// Documents by what a rule says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    /// Of those that pass: they pass every other rule too.
    pub kept: u64,
    /// Of those that fail: they pass every other rule, so this one decides.
    pub alone: u64,
}

impl Tally {
    /// Both.
    pub fn documents(self) -> u64 {
        self.passed.saturating_add(self.failed)
    }

    /// The share that fails; `None` of nothing.
    pub fn share(self) -> Option<f64> {
        let documents = self.documents();
        (documents > 0).then(|| self.failed as f64 / documents as f64)
    }

    fn add(&mut self, other: Tally) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
        self.kept = self.kept.saturating_add(other.kept);
        self.alone = self.alone.saturating_add(other.alone);
    }
}

/// Documents that another limit would drop or keep, all other rules as they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moved {
    pub limit: f64,
    /// Whether they would be dropped, by a stricter limit, or kept, by a laxer one.
    pub drops: bool,
    pub documents: u64,
    /// Of those that were measured.
    pub share: f64,
}

/// Documents whose value is at least `low` and below `high`; `low` = `high` = 0 holds zeros.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    pub low: f64,
    pub high: f64,
    #[serde(flatten)]
    pub tally: Tally,
}

/// Values of one rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Histogram {
    /// Ascending, without empty ones.
    pub bins: Vec<Bin>,
    /// Documents with nothing to measure.
    pub no_value: Tally,
}

impl Histogram {
    /// Adds bin to bin.
    pub fn add(&mut self, other: &Histogram) {
        self.no_value.add(other.no_value);
        other.bins.iter().for_each(|bin| self.put(*bin));
    }

    /// Adds to the bin of the same edges, which is made when missing.
    pub fn put(&mut self, bin: Bin) {
        if bin.tally.documents() == 0 {
            return;
        }
        let edges = |a: &Bin, b: &Bin| a.low.total_cmp(&b.low).then(a.high.total_cmp(&b.high));
        match self.bins.binary_search_by(|own| edges(own, &bin)) {
            Ok(at) => self.bins[at].tally.add(bin.tally),
            Err(at) => self.bins.insert(at, bin),
        }
    }

    /// All documents, those without a value too.
    pub fn total(&self) -> Tally {
        let mut total = self.no_value;
        self.bins.iter().for_each(|bin| total.add(bin.tally));
        total
    }

    /// Least and greatest value, as far as bins tell: the outer edges.
    pub fn range(&self) -> Option<(f64, f64)> {
        Some((self.bins.first()?.low, self.bins.last()?.high))
    }
}

/// Documents just beside the limit, the nearest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Nearest {
    pub fails: Vec<Example>,
    pub passes: Vec<Example>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    pub id: String,
    pub source: String,
    pub file: String,
    pub row: u64,
    /// `None` where there was nothing to measure.
    pub value: Option<f64>,
    pub limit: Option<f64>,
    /// Whether all rules before passed: this limit decides.
    pub reached: bool,
    /// Its first part, as it was stored.
    pub text: String,
    /// Length of the whole text, in bytes.
    pub text_bytes: u64,
    /// What fired: byte offsets in `text`, start and end.
    pub spans: Vec<(u64, u64)>,
}

/// A value as people read it: whole numbers grouped, others with three significant digits.
pub fn number(value: f64) -> String {
    digits(value, 3)
}

/// A value with as many digits as tell it from its limit.
fn beside(value: f64, limit: Option<f64>) -> String {
    let Some(limit) = limit.filter(|limit| *limit != value) else { return number(value) };
    let texts = (3..=17).map(|count| (digits(value, count), digits(limit, count)));
    let differs = texts.into_iter().find(|(value, limit)| value != limit);
    differs.map_or_else(|| value.to_string(), |(value, _)| value)
}

fn digits(value: f64, count: usize) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", crate::base::size::Count(value.abs() as u64));
    }
    let size = value.abs();
    if !(1e-4..1e15).contains(&size) {
        return format!("{value:.*e}", count - 1);
    }
    let whole = (1..=15).take_while(|digits| size >= 10f64.powi(*digits - 1)).count();
    let zeros = (1..5).take_while(|zeros| size < 10f64.powi(-zeros)).count();
    let decimals = if whole > 0 { count.saturating_sub(whole) } else { count + zeros };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A share as per cent; small ones keep a digit that is not zero.
pub fn percent(share: Option<f64>) -> String {
    match share.map(|share| share * 100.0) {
        None => "-".to_owned(),
        Some(0.0) => "0%".to_owned(),
        Some(share) if share < 0.01 => "<0.01%".to_owned(),
        Some(share) if share < 1.0 => format!("{share:.2}%"),
        Some(share) if (99.95..100.0).contains(&share) => ">99.9%".to_owned(),
        Some(share) if share < 100.0 => format!("{share:.1}%"),
        Some(share) => format!("{share:.0}%"),
    }
}
