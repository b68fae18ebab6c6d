//! Rule sets: named heuristics with the thresholds of the work they come from.
//!
//! In: a document as a [`View`], thresholds from the configuration. Out: the measured values, each
//! with its limit, in the reference's order; the first that breaks its limit is the [`Verdict`].
//! Method: a rule set reports [`Measure`]s to whoever asks, and stops when told to: judging stops
//! at the first failure, so later rules cost nothing for documents that are dropped anyway.
//! Invariants: a measure depends on text and thresholds alone; NaN breaks any limit. A new rule set
//! is a file here and a line in [`RULE_SETS`].
//! Cost: what the rule sets cost; choosing and reporting is a dynamic call a measure.

pub mod fineweb_quality;
pub mod gopher_quality;

use crate::base::config::Table;
use crate::base::error::{Error, Result};
use crate::filter::view::View;
use std::ops::ControlFlow;

/// Every rule set that can be chosen, in the order in which they are listed.
pub const RULE_SETS: &[Entry] = &[gopher_quality::ENTRY, fineweb_quality::ENTRY];

/// What the registry knows of a rule set.
pub struct Entry {
    /// Its name in `rules`, its table of thresholds and the first half of its reasons.
    pub name: &'static str,
    /// What it drops, for `--help`; says where it departs from its reference.
    pub summary: &'static str,
    /// Where rules, order and thresholds come from.
    pub reference: &'static str,
    /// Makes it from its table; unknown keys and impossible values are configuration errors.
    pub build: fn(Table) -> Result<Box<dyn RuleSet>>,
}

/// Thresholds in place, ready to measure documents.
pub trait RuleSet: Send + Sync {
    /// Every key with its value, defaults filled in: what a fingerprint covers.
    fn config(&self) -> serde_json::Value;

    /// Reports each measure of the document, in the order of the reference, until `report` breaks.
    fn measure(&self, view: &View<'_>, report: &mut Report<'_>) -> ControlFlow<()>;
}

/// Takes a measure and says whether to go on.
pub type Report<'r> = dyn FnMut(Measure) -> ControlFlow<()> + 'r;

/// A value that a rule compared, and with what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// `set/rule`, the rule as its reference calls it.
    pub rule: &'static str,
    /// What was measured: a count, a mean or a share; NaN where there was nothing to divide by.
    pub value: f64,
    /// What it must not break.
    pub limit: Limit,
}

/// Bounds are inclusive: a value equal to its limit passes, in every reference here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// Why a document is dropped: the first measure that broke its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// For example `gopher_quality/gopher_short_doc`.
    pub rule: &'static str,
    pub value: f64,
    pub limit: f64,
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
pub fn judge(rules: &[Box<dyn RuleSet>], view: &View<'_>) -> Option<Verdict> {
    let mut verdict = None;
    let mut report = |measure: Measure| {
        if measure.passes() {
            return ControlFlow::Continue(());
        }
        let (Limit::AtLeast(limit) | Limit::AtMost(limit)) = measure.limit;
        verdict = Some(Verdict { rule: measure.rule, value: measure.value, limit });
        ControlFlow::Break(())
    };
    for rule_set in rules {
        if rule_set.measure(view, &mut report).is_break() {
            break;
        }
    }
    verdict
}

/// Thresholds are numbers from 0 up: what a comparison with anything else means is nobody's wish.
fn check_limits(set: &str, limits: &[(&str, f64)]) -> Result<()> {
    match limits.iter().find(|(_, limit)| limit.is_nan() || *limit < 0.0) {
        None => Ok(()),
        Some((key, limit)) => Err(Error::config(format!("`{set}.{key}` is {limit}"))
            .with_hint("thresholds are numbers, 0 or more")),
    }
}

/// A share of a count; NaN of nothing, as 0/0.
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn build(names: &[&str]) -> Vec<Box<dyn RuleSet>> {
        let entry = |name: &&str| RULE_SETS.iter().find(|entry| entry.name == *name).unwrap();
        names.iter().map(|name| (entry(name).build)(Table::new()).unwrap()).collect()
    }

    /// Whether `verdict` is what the reference said: null, or [rule, value].
    fn agrees(verdict: Option<Verdict>, name: &str, expected: &Value) -> bool {
        match (verdict, expected.as_array()) {
            (None, None) => true,
            (Some(verdict), Some(expected)) => {
                let rule = format!("{name}/{}", expected[0].as_str().unwrap());
                let value = expected[1].as_f64().unwrap();
                verdict.rule == rule
                    && (verdict.value - value).abs() <= 1e-12 * value.abs().max(1.0)
            }
            _ => false,
        }
    }

    /// The cases on which a rule set, alone or after another, differs from the reference.
    fn differences<'a>(cases: impl Iterator<Item = &'a str>) -> (usize, Vec<String>) {
        let [gopher, fineweb] = ["gopher_quality", "fineweb_quality"].map(|name| build(&[name]));
        let (both, turned) = (
            build(&["gopher_quality", "fineweb_quality"]),
            build(&["fineweb_quality", "gopher_quality"]),
        );
        let (mut count, mut differing) = (0, Vec::new());
        for line in cases {
            let case: Value = serde_json::from_str(line).unwrap();
            let times = case["times"].as_u64().unwrap() as usize;
            let text = case["text"].as_str().unwrap().repeat(times);
            let view = View::new(&text);
            let by_gopher = judge(&gopher, &view);
            let by_fineweb = judge(&fineweb, &view);
            assert_eq!(judge(&both, &View::new(&text)), by_gopher.or(by_fineweb));
            assert_eq!(judge(&turned, &View::new(&text)), by_fineweb.or(by_gopher));
            if !agrees(by_gopher, "gopher_quality", &case["gopher_quality"])
                || !agrees(by_fineweb, "fineweb_quality", &case["fineweb_quality"])
            {
                differing.push(format!("{}: {by_gopher:?} {by_fineweb:?}", case["origin"]));
            }
            count += 1;
        }
        (count, differing)
    }

    #[test]
    fn verdict_rule_and_value_are_datatroves_on_real_and_hand_made_documents() {
        let cases = include_str!("../../../fixtures/filter/cases.jsonl");
        let (count, differing) = differences(cases.lines());
        assert_eq!(differing, Vec::<String>::new());
        assert!(count >= 100, "{count} cases");
        for rule in names_of_all_rules() {
            let name = rule.split('/').nth(1).unwrap();
            assert!(cases.contains(&format!("[\"{name}\"")), "no case that {rule} drops");
        }
    }

    fn names_of_all_rules() -> Vec<&'static str> {
        let mut names = Vec::new();
        for rule_set in build(&["gopher_quality", "fineweb_quality"]) {
            let stopped = rule_set.measure(&View::new("A text."), &mut |measure| {
                names.push(measure.rule);
                ControlFlow::Continue(())
            });
            assert!(stopped.is_continue());
        }
        names
    }

    #[test]
    fn nan_breaks_any_limit_and_a_value_equal_to_its_limit_keeps_it() {
        assert!(!Measure::at_least("a/b", f64::NAN, f64::NEG_INFINITY).passes());
        assert!(!Measure::at_most("a/b", f64::NAN, f64::INFINITY).passes());
        assert!(Measure::at_least("a/b", 0.5, 0.5).passes());
        assert!(Measure::at_most("a/b", 0.5, 0.5).passes());
    }

    proptest! {
        #[test]
        fn a_verdict_depends_on_the_text_alone(
            text in "([a-z#.\u{2026}-]{1,6}[ \n]{1,2}){0,90}", other in "[a-z \n.]{0,90}"
        ) {
            let rules = build(&["gopher_quality", "fineweb_quality"]);
            let fresh = judge(&rules, &View::new(&text));
            let view = View::new(&other);
            judge(&rules, &view);
            prop_assert_eq!(judge(&rules, &view.turn(&text)), fresh);
            prop_assert_eq!(judge(&rules, &View::new(&text)), fresh);
        }
    }
}
