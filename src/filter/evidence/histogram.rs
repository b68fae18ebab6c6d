//! How often a rule measured which value, to an eighth of an octave.
//!
//! Measures in → counts of documents that pass and that fail, by bin; rows of
//! [`schema::histogram`].
//!
//! Method: a bin is what a double's sign, exponent and first three bits of fraction say, so that it
//! is the same for every unit and machine: eight bins an octave, each from `low` up to but without
//! `high`. Values below zero mirror those above; zero, the two infinities and NaN have a bin each
//! (`low` = `high`; of NaN both are null). Pass and fail are counted apart, so that a limit within
//! a bin costs nothing. Of limits that differ from document to document (one that rounding moves,
//! or one that is waived) a row shows the strictest. Invariant: counts are sums: any order, any
//! grouping. Cost: a binary search a value; 24 bytes a bin, at most 33,000 bins and some two
//! hundred in practice.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, RecordBatch, StringBuilder, UInt64Builder};

use super::{Rule, schema};
use crate::base::error::{Result, bug};
use crate::filter::rules::{Limit, Measure};

/// Bits of a double below its bin: all but eleven of exponent and three of fraction.
const SHIFT: u32 = 49;
/// The bin of infinity, the first that has no number in it.
const INFINITE: i32 = (f64::INFINITY.to_bits() >> SHIFT) as i32 + 1;
/// The bin of NaN, behind all others.
const NONE: i32 = i32::MAX;

/// Documents of one bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bin {
    number: i32,
    passed: u64,
    failed: u64,
    kept: u64,
    alone: u64,
}

/// One rule's values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// In order.
    bins: Vec<Bin>,
    limit: Option<Limit>,
}

impl Histogram {
    /// Counts one document; `others_pass`: no other rule drops it, so that this one decides.
    pub fn add(&mut self, measure: &Measure, others_pass: bool) {
        let (passes, fails) = (measure.passes(), !measure.passes());
        self.count(Bin {
            number: number_of(measure.value),
            passed: u64::from(passes),
            failed: u64::from(fails),
            kept: u64::from(passes && others_pass),
            alone: u64::from(fails && others_pass),
        });
        self.limit = Some(strictest(self.limit, measure.limit));
    }

    /// Counts the documents of another.
    pub fn merge(&mut self, other: &Histogram) {
        other.bins.iter().for_each(|&bin| self.count(bin));
        if let Some(limit) = other.limit {
            self.limit = Some(strictest(self.limit, limit));
        }
    }

    fn count(&mut self, bin: Bin) {
        match self.bins.binary_search_by_key(&bin.number, |own| own.number) {
            Ok(at) => {
                self.bins[at].passed += bin.passed;
                self.bins[at].failed += bin.failed;
                self.bins[at].kept += bin.kept;
                self.bins[at].alone += bin.alone;
            }
            Err(at) => self.bins.insert(at, bin),
        }
    }
}

/// The stricter of two limits: the one that fewer values pass. A limit that is NaN does not count.
fn strictest(one: Option<Limit>, other: Limit) -> Limit {
    match (one, other) {
        (Some(Limit::AtLeast(one)), Limit::AtLeast(other)) => Limit::AtLeast(one.max(other)),
        (Some(Limit::AtMost(one)), Limit::AtMost(other)) => Limit::AtMost(one.min(other)),
        (_, other) => other,
    }
}

/// A value's bin: 0 for zero, rising with the value.
fn number_of(value: f64) -> i32 {
    if value.is_nan() {
        return NONE;
    }
    let bits = value.abs().to_bits();
    let size = if bits == 0 { 0 } else { (bits >> SHIFT) as i32 + 1 };
    if value < 0.0 { -size } else { size }
}

/// The edges of a bin, the lower first; `None` for the bin of NaN.
fn edges(number: i32) -> Option<(f64, f64)> {
    let edge = |size: i32| match size {
        // Zero has a bin of its own: the first begins at the least number above it.
        1 => f64::from_bits(1),
        _ => f64::from_bits((size as u64 - 1) << SHIFT),
    };
    match number {
        NONE => None,
        0 => Some((0.0, 0.0)),
        INFINITE => Some((f64::INFINITY, f64::INFINITY)),
        1.. => Some((edge(number), edge(number + 1))),
        _ => edges(-number).map(|(low, high)| (-high, -low)),
    }
}

/// The table on its way.
#[derive(Default)]
pub struct HistogramRows {
    source: StringBuilder,
    rule: StringBuilder,
    measures: StringBuilder,
    key: StringBuilder,
    bound: StringBuilder,
    limit: Float64Builder,
    low: Float64Builder,
    high: Float64Builder,
    passed: UInt64Builder,
    failed: UInt64Builder,
    kept: UInt64Builder,
    alone: UInt64Builder,
}

impl HistogramRows {
    /// Adds the bins of one rule and source.
    pub fn push(&mut self, rule: &Rule, source: &str, histogram: &Histogram) {
        let Some(limit) = histogram.limit else { return };
        let (bound, limit) = limit.parts();
        let key = rule.info.key.map(|key| format!("{}.{key}", rule.set));
        for bin in &histogram.bins {
            let edges = edges(bin.number);
            self.source.append_value(source);
            self.rule.append_value(rule.info.rule);
            self.measures.append_value(rule.info.measures);
            self.key.append_option(key.as_deref());
            self.bound.append_value(bound);
            self.limit.append_option(limit.is_finite().then_some(limit));
            self.low.append_option(edges.map(|(low, _)| low));
            self.high.append_option(edges.map(|(_, high)| high));
            self.passed.append_value(bin.passed);
            self.failed.append_value(bin.failed);
            self.kept.append_value(bin.kept);
            self.alone.append_value(bin.alone);
        }
    }

    /// The table.
    ///
    /// # Errors
    /// None but a bug's.
    pub fn finish(mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.source.finish()),
            Arc::new(self.rule.finish()),
            Arc::new(self.measures.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.bound.finish()),
            Arc::new(self.limit.finish()),
            Arc::new(self.low.finish()),
            Arc::new(self.high.finish()),
            Arc::new(self.passed.finish()),
            Arc::new(self.failed.finish()),
            Arc::new(self.kept.finish()),
            Arc::new(self.alone.finish()),
        ];
        RecordBatch::try_new(schema::histogram(), columns).map_err(bug)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zero_the_infinities_and_nan_have_a_bin_each() {
        for value in [0.0, -0.0] {
            assert_eq!(edges(number_of(value)), Some((0.0, 0.0)));
        }
        for value in [f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(edges(number_of(value)), Some((value, value)));
        }
        assert_eq!(edges(number_of(f64::NAN)), None);
        assert_eq!(edges(number_of(1.0)), Some((1.0, 1.125)));
        assert_eq!(edges(number_of(-1.0)), Some((-1.125, -1.0)));
        assert_eq!(edges(number_of(f64::MAX)).map(|(_, high)| high), Some(f64::INFINITY));
        let least = f64::from_bits(1);
        assert_eq!(edges(number_of(least)).map(|(low, _)| low), Some(least));
    }

    #[test]
    fn the_strictest_limit_is_shown() {
        let mut histogram = Histogram::default();
        for limit in [0.0, 0.12, f64::NAN] {
            histogram.add(&Measure::at_least("a/b", 1.0, limit), true);
        }
        assert_eq!(histogram.limit, Some(Limit::AtLeast(0.12)));
        let mut histogram = Histogram::default();
        for limit in [f64::INFINITY, 0.9, f64::NAN, 0.95] {
            histogram.add(&Measure::at_most("a/b", 1.0, limit), true);
        }
        assert_eq!(histogram.limit, Some(Limit::AtMost(0.9)));
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bin_and_bins_rise_with_values(
            one in any::<f64>(), other in any::<f64>()
        ) {
            for value in [one, other].into_iter().filter(|value| !value.is_nan()) {
                let (low, high) = edges(number_of(value)).unwrap();
                if value.is_infinite() || value == 0.0 {
                    prop_assert_eq!((low, high), (value, value));
                } else if value > 0.0 {
                    prop_assert!(low <= value && value < high, "{} {} {}", low, value, high);
                    let is_edge = low < f64::MIN_POSITIVE || high.is_infinite();
                    prop_assert!(high <= low * 1.125 || is_edge);
                } else {
                    prop_assert!(low < value && value <= high, "{} {} {}", low, value, high);
                }
            }
            if one <= other {
                prop_assert!(number_of(one) <= number_of(other));
            }
        }
    }
}
