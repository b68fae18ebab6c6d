//! Held-out documents: the same texts whatever the recipe, with what it would do beside them.

use std::{collections::BTreeMap, fs::File};

use arrow::array::{Array, AsArray, RecordBatch};
use dataprep::artifact::manifest::Manifest;
use dataprep::base::hash::xxh3_128;
use dataprep::shards::{MixRecord, ValidationSource, read_validation};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{
    determinism::{RECIPE, with_recipe},
    support::{TestDir, documents},
};

/// A document of a corpus.
#[derive(Clone, Debug, PartialEq)]
struct Document {
    id: String,
    text: String,
    held_out: bool,
    verdict: Option<String>,
    twin: Option<bool>,
}

fn batches(directory: &TestDir, corpus: &str, prefix: &str) -> Vec<RecordBatch> {
    let manifest = Manifest::read(&directory.path(corpus)).unwrap();
    let parts = manifest.files.iter().filter(|file| file.name.starts_with(prefix));
    let read = |name: &str| {
        let file = File::open(directory.path(corpus).join(name)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        reader.map(Result::unwrap).collect::<Vec<_>>()
    };
    parts.flat_map(|file| read(&file.name)).collect()
}

fn corpus(directory: &TestDir, corpus: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    for batch in batches(directory, corpus, "part-") {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (ids, texts, verdicts) = (text("id"), text("text"), text("held_out_verdict"));
        let held_out = batch.column_by_name("held_out").unwrap().as_boolean();
        let twins = batch.column_by_name("held_out_twin").map(|column| column.as_boolean());
        documents.extend((0..batch.num_rows()).map(|row| Document {
            id: ids.value(row).to_owned(),
            text: texts.value(row).to_owned(),
            held_out: held_out.value(row),
            verdict: verdicts.is_valid(row).then(|| verdicts.value(row).to_owned()),
            twin: twins.filter(|twins| twins.is_valid(row)).map(|twins| twins.value(row)),
        }));
    }
    documents
}

fn validation(directory: &TestDir, mix: &str) -> Vec<ValidationSource> {
    read_validation(&directory.path(mix).join("validation.arrow")).unwrap()
}

/// By source the hashes of the texts, and how many of them would be kept.
fn texts(sources: &[ValidationSource]) -> BTreeMap<String, (Vec<String>, usize)> {
    let of = |source: &ValidationSource| {
        let documents = source.documents.iter();
        let kept = documents.clone().filter(|one| one.known.verdict.is_none()).count();
        let texts = documents.map(|one| one.known.text.unwrap().to_string()).collect();
        (source.name.clone(), (texts, kept))
    };
    sources.iter().map(of).collect()
}

#[test]
fn every_recipe_is_validated_on_the_same_texts() {
    let directory = with_recipe(RECIPE);
    directory.dataprep("run recipe.toml").ok();
    let plain = texts(&validation(&directory, "runs/mix"));
    let record = |mix: &str| MixRecord::read(&directory.path(mix)).unwrap();
    let fingerprint = record("runs/mix").validation.unwrap();
    assert!(plain["a"].0.len() > 5 && plain["b"].0.len() > 1, "{plain:?}");
    for (name, set) in [
        ("strict", "--set clean.gopher_quality.min_words=150"),
        ("loose", "--set unique.verify=0.3"),
        ("alone", "--set unique.method=exact"),
        ("fewer", "--set tokens.where=length(text)>600"),
        ("coarse", "--set tokens.vocab=300"),
        ("seeded", "--set mix.seed=7"),
    ] {
        directory.dataprep(&format!("run recipe.toml --out {name} {set}")).ok();
        let found = texts(&validation(&directory, &format!("{name}/mix")));
        for (source, (expected, _)) in &plain {
            assert_eq!(&found[source].0, expected, "{name}: {source}");
        }
        assert_eq!(record(&format!("{name}/mix")).validation, Some(fingerprint), "{name}");
        let kept = |texts: &BTreeMap<String, (Vec<String>, usize)>| -> usize {
            texts.values().map(|(_, kept)| kept).sum()
        };
        let fewer = kept(&found) < kept(&plain);
        assert!(fewer || !["strict", "fewer"].contains(&name), "{name}: {found:?} {plain:?}");
    }
    // The raw texts, as they lie in the corpus before any rule.
    let raw = corpus_texts(&directory);
    for (source, (texts, _)) in &plain {
        assert!(texts.iter().all(|text| raw.contains(text)), "{source}");
        let mut once = texts.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), texts.len(), "{source}: one copy of each");
    }
    assert_eq!(raw.len(), plain.values().map(|(texts, _)| texts.len()).sum::<usize>());
}

/// Hashes of the held-out texts of the corpus, one a source and text.
fn corpus_texts(directory: &TestDir) -> Vec<String> {
    let mut found = Vec::new();
    for batch in batches(directory, "runs/corpus", "part-") {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let held_out = batch.column_by_name("held_out").unwrap().as_boolean();
        let (texts, sources) = (text("text"), text("source"));
        let rows = (0..batch.num_rows()).filter(|&row| held_out.value(row));
        found.extend(rows.map(|row| (sources.value(row).to_owned(), texts.value(row).to_owned())));
    }
    found.sort();
    found.dedup();
    found.into_iter().map(|(_, text)| xxh3_128(text.as_bytes()).to_string()).collect()
}

#[test]
fn a_filter_judges_held_out_documents_and_neither_drops_nor_edits_them() {
    let directory = TestDir::new();
    let lines = documents(30, 3);
    directory.write_documents("text.jsonl", &lines);
    let rules = "--rules gopher_quality --set gopher_quality.min_words=150";
    directory.dataprep(&format!("filter text.jsonl {rules} --set holdout=0 --out train")).ok();
    directory.dataprep(&format!("filter text.jsonl {rules} --set holdout=1.0 --out held")).ok();
    let (train, held) = (corpus(&directory, "train"), corpus(&directory, "held"));
    assert_eq!(held.iter().map(|one| one.text.clone()).collect::<Vec<_>>(), lines);
    // What is kept in training has no verdict, and the reasons are those of what was removed.
    let kept: Vec<&String> = train.iter().map(|one| &one.id).collect();
    let removed = batches(&directory, "train", "removed-");
    let reasons: BTreeMap<String, String> = removed
        .iter()
        .flat_map(|batch| {
            let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
            let (ids, reasons) = (text("id"), text("reason"));
            (0..batch.num_rows())
                .map(move |row| (ids.value(row).to_owned(), reasons.value(row).to_owned()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(kept.len() > 3 && reasons.len() > 3, "{} {}", kept.len(), reasons.len());
    for document in &held {
        assert_eq!(document.verdict.as_ref(), reasons.get(&document.id), "{}", document.id);
        assert_eq!(document.verdict.is_none(), kept.contains(&&document.id));
    }
    let counts = Manifest::read(&directory.path("held")).unwrap().counts;
    assert_eq!((counts.documents_in, counts.documents_out), (30, 30));
    let judged: u64 = counts.sources["text"].held_out_verdicts.values().sum();
    // Copies share an id.
    let rows: usize = removed.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(judged, rows as u64);
    // A second filter keeps the first reason.
    directory.dataprep("filter held --rules fineweb_quality --out again").ok();
    for (first, second) in held.iter().zip(corpus(&directory, "again")) {
        assert!(first.verdict.is_none() || first.verdict == second.verdict, "{first:?}");
    }
}

#[test]
fn the_text_of_a_held_out_document_is_never_edited() {
    let directory = TestDir::new();
    let line = "A line of words that ends well, with a stop.\nno stop here\n".repeat(8);
    directory.write_documents("text.jsonl", std::slice::from_ref(&line));
    for (share, edited) in [("0", true), ("1.0", false)] {
        let command = format!("filter text.jsonl --rules c4_quality --set holdout={share}");
        directory.dataprep(&format!("{command} --out out --fresh")).ok();
        let found = corpus(&directory, "out");
        assert_eq!((found.len(), &found[0].verdict), (1, &None), "{share}");
        assert_eq!(found[0].text != line, edited, "{share}: {}", found[0].text);
    }
}

#[test]
fn a_condition_is_a_rule_like_others() {
    let directory = TestDir::new();
    directory.write_documents("text.jsonl", &documents(40, 5));
    let command = "ingest text.jsonl --set holdout=0.5 --set where=length(text)>900 --out chosen";
    directory.dataprep(command).ok();
    let chosen = corpus(&directory, "chosen");
    let (held, train): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|one| one.held_out);
    assert!(!train.is_empty() && train.iter().all(|one| one.text.chars().count() > 900));
    let verdict = |one: &Document| one.verdict.as_deref() == Some("where");
    assert!(held.iter().all(|one| verdict(one) == (one.text.chars().count() <= 900)), "{held:?}");
    assert!(held.iter().any(verdict) && !held.iter().all(verdict));
    // A corpus without the column, as Parquet, gets it from the condition too.
    directory.dataprep("ingest text.jsonl --set holdout=0.5 --out plain").ok();
    directory.dataprep("ingest plain --where length(text)>900 --out again").ok();
    assert_eq!(corpus(&directory, "again"), corpus(&directory, "chosen"));
    // Who only looks sees what the condition takes.
    let shown = directory.dataprep("inspect text.jsonl --where length(text)>900 --json").ok();
    let taken: usize = train.len() + held.iter().filter(|one| !verdict(one)).count();
    assert!(shown.stdout.contains(&format!("\"taken\":{taken}")), "{}", shown.stdout);
}

#[test]
fn deduplication_keeps_held_out_documents_and_names_those_with_twins() {
    let directory = TestDir::new();
    directory.write_documents("text.jsonl", &documents(300, 8));
    directory.dataprep("ingest text.jsonl --set holdout=0.3 --out corpus").ok();
    for (name, flags) in [("verified", ""), ("unverified", "--verify off")] {
        directory.dataprep(&format!("dedup corpus --out {name} {flags}")).ok();
        let found = corpus(&directory, name);
        let held: Vec<&Document> = found.iter().filter(|one| one.held_out).collect();
        let counts = Manifest::read(&directory.path(name)).unwrap().counts;
        let before = Manifest::read(&directory.path("corpus")).unwrap().counts;
        assert_eq!(held.len() as u64, before.sources["text"].held_out, "{name}");
        assert!(held.iter().any(|one| one.verdict.is_some()), "{name}: no copies among them");
        assert!(found.iter().all(|one| one.held_out == one.twin.is_some()), "{name}");
        let mut named: Vec<String> = Vec::new();
        for batch in batches(&directory, name, "removed-") {
            let kept = batch.column_by_name("kept_id").unwrap().as_string::<i32>();
            named.extend(kept.iter().flatten().map(str::to_owned));
        }
        let twins = held.iter().filter(|one| one.twin == Some(true)).count();
        assert!(twins > 3 && twins < held.len(), "{name}: {twins} of {}", held.len());
        for one in &held {
            assert!(!named.contains(&one.id) || one.twin == Some(true), "{name}: {}", one.id);
        }
        assert!(counts.extra["held_out_twins"] > 3, "{name}: {counts:?}");
    }
}
