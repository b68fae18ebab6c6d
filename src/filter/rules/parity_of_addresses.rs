//! URL lists and personal data against datatrove's own classes.
//!
//! In: `fixtures/filter/addresses.jsonl`, which `tests/golden/make_addresses.py` writes: real and
//! synthetic URLs and texts. Out: a list of differences: none in texts; in URLs only those that the
//! head of `url_lists` states, each counted. Cost: milliseconds.

use super::*;
use crate::filter::view::ColumnValue;
use crate::filter::view::{Room, Splitter};
use serde_json::Value;
use std::collections::BTreeMap;

const FIXTURE: &str = include_str!("../../../fixtures/filter/addresses.jsonl");

type Rules = [Box<dyn RuleSet>];

/// The lists, and the cases.
fn cases() -> (Value, Vec<Value>) {
    let mut lines = FIXTURE.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.next().unwrap(), lines.collect())
}

fn url_rule(rules: &Rules, room: &mut Room, url: &str) -> Option<&'static str> {
    let columns = [("url", ColumnValue::Text(Some(url)))];
    judge(rules, &mut room.view("").with_columns(&columns)).map(|verdict| verdict.rule)
}

/// Why our rule differs from the reference's, if that is for one of the stated reasons.
fn reason(expected: Option<&str>, found: Option<&str>) -> Option<&'static str> {
    match (expected, found) {
        (Some("url/domain" | "url/subdomain"), _) => None,
        (None, Some("url/domain" | "url/subdomain")) => Some("dropped by a wider reading"),
        (_, Some("url/domain" | "url/subdomain")) => Some("dropped earlier by a wider reading"),
        _ => None,
    }
}

#[test]
fn urls_are_dropped_as_by_datatrove_and_by_the_wider_reading_of_hosts() {
    let (lists, cases) = cases();
    let table = toml::Table::try_from(&lists).unwrap();
    let rules = [(url_lists::ENTRY.build)(table).unwrap()];
    let mut room = Room::new(Splitter::WhiteSpace);
    let (mut counts, mut differences) = (BTreeMap::<&str, usize>::new(), Vec::new());
    for case in cases.iter().filter(|case| case.get("url").is_some()) {
        let url = case["url"].as_str().unwrap();
        let (expected, found) = (case["rule"].as_str(), url_rule(&rules, &mut room, url));
        let name = if expected == found {
            found.unwrap_or("kept")
        } else {
            let Some(reason) = reason(expected, found) else {
                differences.push(format!("{url}: {expected:?}, not {found:?}"));
                continue;
            };
            reason
        };
        *counts.entry(name).or_default() += 1;
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(Vec::from_iter(counts), EXPECTED);
}

/// How many URLs each rule drops as datatrove does, and how many differ for each reason.
const EXPECTED: &[(&str, usize)] = &[
    ("dropped by a wider reading", 39),
    ("dropped earlier by a wider reading", 36),
    ("kept", 112),
    ("url/blacklisted_subword", 28),
    ("url/domain", 219),
    ("url/hard_blacklisted", 47),
    ("url/soft_blacklisted", 15),
    ("url/subdomain", 22),
    ("url/url", 1),
];

#[test]
fn texts_are_edited_as_by_datatrove() {
    let rules = [(pii::ENTRY.build)(Table::new()).unwrap()];
    let mut room = Room::new(Splitter::WhiteSpace);
    let (mut differences, mut edited) = (Vec::new(), 0);
    for case in cases().1.iter().filter(|case| case.get("text").is_some()) {
        let text = case["text"].as_str().unwrap();
        let mut view = room.view(text);
        assert_eq!(judge(&rules, &mut view), None);
        let found = view.edited().filter(|edited| *edited != text);
        if found != case["pii"].as_str() {
            differences.push(format!("{text:?}: {}, not {found:?}", case["pii"]));
        }
        edited += usize::from(found.is_some());
    }
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));
    assert!(edited >= 100, "{edited}");
}
