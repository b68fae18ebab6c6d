//! Evidence of made-up values against counts by hand, and of the fixture's documents.

use std::ops::ControlFlow;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, UInt64Type};
use proptest::prelude::*;

use super::*;
use crate::filter::rules::Limit;
use crate::filter::view::Splitter;
use crate::filter::{FilterConfig, presets};

const CASES: &str = include_str!("../../../fixtures/filter/rules.jsonl");

fn named(names: &[&str]) -> Vec<Rule> {
    rules(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
}

fn names() -> Names<'static> {
    Names { sources: vec!["books", "web", "code"], files: vec!["a", "b"] }
}

fn nobody() -> Room {
    Room::new(Splitter::WhiteSpace)
}

fn strings<'a>(table: &'a RecordBatch, name: &str) -> Vec<&'a str> {
    table.column_by_name(name).unwrap().as_string::<i32>().iter().map(Option::unwrap).collect()
}

fn counts(table: &RecordBatch, name: &str) -> Vec<u64> {
    table.column_by_name(name).unwrap().as_primitive::<UInt64Type>().values().to_vec()
}

fn doubles(table: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    table.column_by_name(name).unwrap().as_primitive::<Float64Type>().iter().collect()
}

/// Three rules with limits of either kind and none, in `url_lists`, whose texts nobody edits.
const LIMITS: [Limit; 3] = [Limit::AtLeast(2.0), Limit::AtMost(0.5), Limit::AtMost(f64::INFINITY)];

/// A made-up document: where it is, and a value for each rule.
#[derive(Clone, Debug)]
struct Made {
    source: usize,
    file: usize,
    values: [f64; 3],
}

fn made() -> impl Strategy<Value = Made> {
    let value = prop_oneof![
        4 => (-8i32..8).prop_map(|value| f64::from(value) / 4.0),
        2 => 0.0..3.0,
        1 => any::<f64>(),
        1 => Just(f64::NAN),
    ];
    (0..3usize, 0..2usize, [value.clone(), value.clone(), value])
        .prop_map(|(source, file, values)| Made { source, file, values })
}

/// What the documents at these places come to.
fn seen(documents: &[Made], places: &[usize]) -> Evidence {
    let rules = named(&["url_lists"]);
    let mut evidence = Evidence::new(&rules);
    for &at in places {
        let Made { source, file, values } = documents[at];
        let (id, row) = (format!("{at}"), at as u64);
        let document = Document { source, file, row, id: &id, text: &id };
        let measure = |(at, value): (usize, f64)| Measure {
            rule: rules[at].info.rule,
            value,
            limit: LIMITS[at],
        };
        let measures: Vec<Measure> = values.into_iter().enumerate().map(measure).collect();
        evidence.add(document, &measures);
    }
    evidence
}

fn tables(evidence: &Evidence) -> [RecordBatch; 2] {
    let rule_sets = FilterConfig::new(["url_lists"]).build().unwrap();
    [
        evidence.histogram_rows(&names()).unwrap(),
        evidence.example_rows(&names(), &rule_sets, &mut nobody()).unwrap(),
    ]
}

/// The nearest by hand: ids, in order.
fn nearest(documents: &[Made], rule: usize, passes: bool) -> Vec<String> {
    let measure = |at: usize, rule: usize| Measure {
        rule: "",
        value: documents[at].values[rule],
        limit: LIMITS[rule],
    };
    let mut own: Vec<usize> =
        (0..documents.len()).filter(|&at| measure(at, rule).passes() == passes).collect();
    let (_, limit) = LIMITS[rule].parts();
    let key = |at: usize| {
        let unreached = !(0..rule).all(|rule| measure(at, rule).passes());
        let distance = (documents[at].values[rule] - limit).abs();
        (unreached, distance.is_nan(), if distance.is_nan() { 0.0 } else { distance })
    };
    own.sort_by(|&one, &other| {
        let place = |at: usize| (documents[at].source, documents[at].file, at);
        let keys = key(one).partial_cmp(&key(other)).unwrap();
        keys.then(place(one).cmp(&place(other)))
    });
    own.into_iter().take(3).map(|at| at.to_string()).collect()
}

proptest! {
    #[test]
    fn order_and_grouping_do_not_matter(
        documents in prop::collection::vec(made(), 0..60),
        (seed, groups) in (any::<u64>(), 1..6usize),
    ) {
        let mut places: Vec<usize> = (0..documents.len()).collect();
        let whole = tables(&seen(&documents, &places));
        places.sort_by_key(|&at| (at as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        let size = places.len().div_ceil(groups).max(1);
        let mut parts: Vec<Evidence> =
            places.chunks(size).map(|part| seen(&documents, part)).collect();
        let mut merged = Evidence::new(&named(&["url_lists"]));
        if seed % 2 == 0 {
            parts.reverse();
        }
        if parts.len() > 2 {
            let last = parts.pop().unwrap();
            parts[1].merge(last);
        }
        parts.into_iter().for_each(|part| merged.merge(part));
        // Compared as text: NaN is not equal to itself.
        prop_assert_eq!(format!("{:?}", tables(&merged)), format!("{whole:?}"));
    }

    #[test]
    fn counts_add_up_to_the_documents_and_examples_are_the_nearest(
        documents in prop::collection::vec(made(), 0..60)
    ) {
        let places: Vec<usize> = (0..documents.len()).collect();
        let [histogram, examples] = tables(&seen(&documents, &places));
        let (passed, failed) = (counts(&histogram, "passed"), counts(&histogram, "failed"));
        let (of, source) = (strings(&histogram, "rule"), strings(&histogram, "source"));
        prop_assert!(passed.iter().zip(&failed).all(|(passed, failed)| passed + failed > 0));
        for (rule, info) in named(&["url_lists"]).iter().take(3).enumerate() {
            for (place, name) in names().sources.iter().enumerate() {
                let own = documents.iter().filter(|document| document.source == place);
                let passing = own.clone().filter(|document| {
                    let value = document.values[rule];
                    Measure { rule: "", value, limit: LIMITS[rule] }.passes()
                });
                let rows = (0..of.len())
                    .filter(|&row| of[row] == info.info.rule && source[row] == *name);
                let add = |sum: (u64, u64), row: usize| (sum.0 + passed[row], sum.1 + failed[row]);
                let total = rows.fold((0, 0), add);
                let expected = (passing.count() as u64, own.count() as u64);
                prop_assert_eq!((total.0, total.0 + total.1), expected);
            }
            for passes in [true, false] {
                let side = examples.column_by_name("passes").unwrap().as_boolean();
                let (of, ids) = (strings(&examples, "rule"), strings(&examples, "id"));
                let shown: Vec<&str> = (0..ids.len())
                    .filter(|&row| of[row] == info.info.rule && side.value(row) == passes)
                    .map(|row| ids[row])
                    .collect();
                let expected = if rule == 2 { vec![] } else { nearest(&documents, rule, passes) };
                prop_assert_eq!(shown, expected);
            }
        }
    }
}

/// Evidence of texts, each a document of its own, by a preset.
fn of_texts(preset: &str, texts: &[String]) -> (Evidence, Vec<Box<dyn RuleSet>>) {
    let config = presets::named(preset).unwrap();
    let (rule_sets, rules) = (config.build().unwrap(), rules(&config.rules).unwrap());
    let mut evidence = Evidence::new(&rules);
    let (mut room, mut measures) = (Room::new(config.splitter()), Vec::new());
    for (row, text) in texts.iter().enumerate() {
        let (mut view, row) = (room.view(text).complete(), row as u64);
        measures.clear();
        for rule_set in &rule_sets {
            let _ = rule_set.measure(&mut view, &mut |measure| {
                measures.push(measure);
                ControlFlow::Continue(())
            });
        }
        evidence.add(Document { source: 0, file: 0, row, id: &row.to_string(), text }, &measures);
    }
    (evidence, rule_sets)
}

#[test]
fn the_fixtures_documents_are_counted_under_every_rule_with_its_limit_and_key() {
    let texts = || {
        CASES.lines().skip(1).map(|line| {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            case["text"].as_str().unwrap().repeat(case["times"].as_u64().unwrap() as usize)
        })
    };
    let texts: Vec<String> = texts().collect();
    let (evidence, rule_sets) = of_texts("fineweb", &texts);
    let histogram = evidence.histogram_rows(&names()).unwrap();
    let (of, keys) = (strings(&histogram, "rule"), histogram.column_by_name("key").unwrap());
    let limits = doubles(&histogram, "limit");
    let (passed, failed) = (counts(&histogram, "passed"), counts(&histogram, "failed"));
    let mut shown = of.clone();
    shown.dedup();
    let expected: Vec<&str> = evidence.rules.iter().map(|rule| rule.info.rule).collect();
    assert_eq!(shown, expected, "rules in the order of the preset");
    for rule in expected {
        let rows = (0..of.len()).filter(|&row| of[row] == rule);
        let total: u64 = rows.map(|row| passed[row] + failed[row]).sum();
        assert_eq!(total, texts.len() as u64, "{rule}");
    }
    let short = of.iter().position(|rule| *rule == "quality/gopher_short_doc").unwrap();
    assert_eq!(keys.as_string::<i32>().value(short), "gopher_quality.min_words");
    assert_eq!((strings(&histogram, "bound")[short], limits[short]), ("at least", Some(50.0)));
    let (low, high) = (doubles(&histogram, "low"), doubles(&histogram, "high"));
    for row in 1..of.len() {
        if of[row] == of[row - 1] {
            assert!(low[row].is_none() || high[row - 1] <= low[row], "bins rise, NaN is last");
        }
    }
    let mut room = Room::new(Splitter::reference());
    let examples = evidence.example_rows(&names(), &rule_sets, &mut room).unwrap();
    assert!(examples.num_rows() > 100);
    assert_eq!(examples.schema(), schema::examples());
    let spans = examples.column_by_name("spans").unwrap().as_list::<i32>();
    let (of, passes) = (strings(&examples, "rule"), examples.column(1).as_boolean());
    let marked = (0..of.len()).filter(|&row| spans.value_length(row) > 0);
    assert!(marked.clone().count() > 50);
    let values = doubles(&examples, "value");
    let has_value = |row: usize| values[row].is_some_and(|value| !value.is_nan());
    for row in (0..of.len()).filter(|&row| !passes.value(row) && has_value(row)) {
        let is_of_parts = ["dup_line", "n_gram", "hashes", "lorem", "curly", "char_dup"];
        if is_of_parts.iter().any(|part| of[row].contains(part)) {
            assert!(spans.value_length(row) > 0, "{} fails for parts of the text", of[row]);
        }
    }
}

#[test]
fn a_rule_behind_an_edit_shows_the_edited_text_and_a_long_text_its_beginning() {
    let line = "Here is the one line that they have to be with.";
    let edited = format!("{line}\nWe use cookies of all kinds here.\n{line}\n{line}[12]\n{line}\n");
    let long = "ü is the word. ".repeat(10_000);
    let (evidence, rule_sets) = of_texts("c4", &[edited.clone(), long.clone()]);
    let mut room = nobody();
    let examples = evidence.example_rows(&names(), &rule_sets, &mut room).unwrap();
    let (texts, bytes) = (strings(&examples, "text"), counts(&examples, "text_bytes"));
    let ids = strings(&examples, "id");
    let rows = |id: &'static str| {
        let ids = ids.clone();
        (0..ids.len()).filter(move |&row| ids[row] == id)
    };
    assert_eq!((rows("0").count(), rows("1").count()), (3, 3));
    for row in rows("0") {
        // Too few sentences are left: the page goes as it came.
        assert_eq!((texts[row], bytes[row]), (edited.as_str(), edited.len() as u64));
    }
    for row in rows("1") {
        assert_eq!(bytes[row], long.len() as u64);
        assert!(texts[row].len() <= examples::TEXT_BYTES && long.starts_with(texts[row]));
        assert!(texts[row].len() > examples::TEXT_BYTES - 20);
    }
    let five = format!("{edited}{line}");
    let (evidence, rule_sets) = of_texts("c4", std::slice::from_ref(&five));
    let examples = evidence.example_rows(&names(), &rule_sets, &mut room).unwrap();
    let left = [line; 5].join("\n");
    assert_eq!(strings(&examples, "text"), [left.as_str(); 3], "as later rules see it");
    assert_eq!(counts(&examples, "text_bytes"), [left.len() as u64; 3]);
}
