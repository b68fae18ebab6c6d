//! Every rule set against its reference, on the fixture that `tests/golden/make_filters.py` writes.

use super::*;
use crate::filter::presets;
use crate::filter::view::{Room, Splitter};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

const CASES: &str = include_str!("../../../fixtures/filter/rules.jsonl");
const DCLM: &str = include_str!("../../../fixtures/filter/dclm.jsonl");

type Rules = Vec<Box<dyn RuleSet>>;

fn rules(names: &[&str]) -> Rules {
    let entry = |name: &&str| RULE_SETS.iter().find(|entry| entry.name == *name).unwrap();
    names.iter().map(|name| (entry(name).build)(Table::new()).unwrap()).collect()
}

fn preset(name: &str) -> Rules {
    presets::named(name).unwrap().build().unwrap()
}

/// The rule that drops a text, and the text that the rules leave, as the fixture writes it.
fn outcome(room: &mut Room, rules: &Rules, text: &str) -> (Option<&'static str>, Value) {
    let mut view = room.view(text);
    let verdict = judge(rules, &mut view);
    let written = |text: &str| match text.chars().count() {
        0..300 => Value::from(text),
        _ => Value::from(format!("{:016x}", xxh3_64(text.as_bytes()))),
    };
    (verdict.map(|verdict| verdict.rule), view.edited().map_or(Value::Null, written))
}

/// Every value of a text.
fn values(room: &mut Room, rules: &Rules, text: &str) -> BTreeMap<&'static str, f64> {
    let (mut found, mut view) = (BTreeMap::new(), room.view(text).complete());
    for rule_set in rules {
        let flow = rule_set.measure(&mut view, &mut |measure| {
            found.insert(measure.rule, measure.value);
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
    }
    found
}

/// The fixture's documents, and its record of each.
fn cases() -> impl Iterator<Item = (String, Value)> {
    CASES.lines().skip(1).map(|line| {
        let case: Value = serde_json::from_str(line).unwrap();
        let times = case["times"].as_u64().unwrap() as usize;
        (case["text"].as_str().unwrap().repeat(times), case)
    })
}

#[test]
fn verdicts_and_edited_texts_are_datatroves() {
    let (fineweb, c4) = (preset("fineweb"), preset("c4"));
    let (paragraphs, pii) = (rules(&["c4_paragraphs"]), rules(&["pii"]));
    let (mut room, mut count) = (Room::new(Splitter::reference()), 0);
    let mut seen = std::collections::BTreeSet::new();
    for (text, case) in cases() {
        let origin = &case["origin"];
        let (rule, edited) = outcome(&mut room, &fineweb, &text);
        assert_eq!(Value::from(rule), case["fineweb"][0], "{origin}");
        if rule.is_none_or(|rule| rule.starts_with("fineweb")) {
            assert_eq!(edited, case["fineweb"][1], "{origin}");
        }
        let (rule_of_c4, edited) = outcome(&mut room, &c4, &text);
        let name = rule_of_c4.map(|rule| rule.trim_start_matches("c4/"));
        assert_eq!(
            (Value::from(name), &edited),
            (case["c4"][0].clone(), &case["c4"][1]),
            "{origin}"
        );
        let kept = outcome(&mut room, &paragraphs, &text).0.is_none();
        assert_eq!(Value::from(kept), case["paragraphs"], "{origin}");
        assert_eq!(outcome(&mut room, &pii, &text).1, case["pii"], "{origin}");
        seen.extend(rule);
        count += 1;
    }
    assert!(count >= 80 && seen.len() >= 20, "{count} documents, {seen:?}");
}

#[test]
fn every_value_is_datatroves() {
    let names: Vec<String> = serde_json::from_str(CASES.lines().next().unwrap()).unwrap();
    let (fineweb, mut room) = (preset("fineweb"), Room::new(Splitter::reference()));
    let (c4, mut dropped) = (&fineweb[2..3], 0);
    for (text, case) in cases() {
        let found = values(&mut room, &fineweb, &text);
        // The reference's C4 leaves the text of a document that it drops; values here are those
        // that the document would have if C4 kept it.
        let is_edited = judge(c4, &mut room.view(&text)).is_none();
        dropped += usize::from(!is_edited);
        let comparable = |name: &&String| is_edited || !name.starts_with("fineweb/");
        let names = names.iter().filter(comparable);
        for (name, expected) in names.zip(case["values"].as_array().unwrap()) {
            let value = found[name.as_str()];
            match expected.as_f64() {
                // serde_json may read a number with an error in the last bit.
                Some(expected) => assert!(
                    (value - expected).abs() <= 4e-16 * expected.abs(),
                    "{} {name}: {value}, not {expected}",
                    case["origin"]
                ),
                None => assert!(!value.is_finite(), "{} {name}: {value}", case["origin"]),
            }
        }
    }
    assert!(dropped < cases().count() / 2, "{dropped} documents without FineWeb's values");
}

#[test]
fn verdicts_and_texts_are_dclms() {
    let (dclm, mut room, mut kept) = (preset("dclm"), Room::new(Splitter::WhiteSpace), 0);
    for ((text, case), expected) in cases().zip(DCLM.lines()) {
        let expected: Value = serde_json::from_str(expected).unwrap();
        let (rule, edited) = outcome(&mut room, &dclm, &text);
        let name = rule.map_or("keep", |rule| rule.trim_start_matches("dclm/"));
        assert_eq!(expected[0], name, "{}", case["origin"]);
        if rule.is_none() {
            assert_eq!(edited, expected[1], "{}", case["origin"]);
            kept += 1;
        }
    }
    assert!(kept >= 10 && DCLM.lines().count() == cases().count());
}

#[test]
fn a_verdict_is_the_first_of_all_values_that_breaks_its_limit() {
    let (fineweb, mut room) = (preset("fineweb"), Room::new(Splitter::reference()));
    for (text, case) in cases() {
        let quick = judge(&fineweb, &mut room.view(&text));
        let full = judge(&fineweb, &mut room.view(&text).complete());
        assert_eq!(quick, full, "{}", case["origin"]);
    }
}

#[test]
fn nan_breaks_any_limit_and_a_value_equal_to_its_limit_keeps_it() {
    assert!(!Measure::at_least("a/b", f64::NAN, f64::NEG_INFINITY).passes());
    assert!(!Measure::at_most("a/b", f64::NAN, f64::INFINITY).passes());
    assert!(Measure::at_least("a/b", 0.5, 0.5).passes());
    assert!(Measure::at_most("a/b", 0.5, 0.5).passes());
}

#[test]
fn megabytes_of_anything_take_linear_time() {
    let all = [preset("fineweb"), preset("dclm"), rules(&["pii", "c4_paragraphs"])];
    let pieces = [
        "a",
        "\n",
        " ",
        "a\n",
        "\u{301}",
        "a ",
        "a b c d e\n",
        ". ",
        "[",
        "a@",
        "1.",
        "👩",
        "x@y.",
    ];
    for piece in pieces {
        let text = piece.repeat(1_000_000 / piece.len());
        let mut room = Room::new(Splitter::reference());
        for rules in &all {
            values(&mut room, rules, &text);
        }
    }
}

proptest! {
    #[test]
    fn a_verdict_depends_on_the_text_alone(
        text in "([a-z#.\u{2026}-]{1,6}[ \n]{1,2}){0,90}", other in "[a-z \n.]{0,90}"
    ) {
        let rules = preset("fineweb");
        let fresh = judge(&rules, &mut Room::new(Splitter::reference()).view(&text));
        let mut room = Room::new(Splitter::reference());
        judge(&rules, &mut room.view(&other));
        prop_assert_eq!(judge(&rules, &mut room.view(&text)), fresh);
        prop_assert_eq!(judge(&rules, &mut room.view(&text)), fresh);
    }
}
