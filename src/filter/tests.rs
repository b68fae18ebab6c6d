//! The stage as a whole: units run as the executor runs them, files read back.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, UInt64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::config::WordRules;
use super::view::{Room, Splitter};
use super::{Filter, FilterConfig, rules};
use crate::artifact::counts::Counts;
use crate::artifact::{
    record::Notes,
    stage::{Published, Stage, Unit, Work},
};
use crate::base::io;
use crate::base::progress::{Progress, Style};
use crate::source::verdict::{VERDICT, with_verdict};
use crate::source::{InputConfig, InputSpec};

const BOTH: [&str; 2] = ["gopher_quality", "fineweb_quality"];

fn corpora() -> Vec<InputSpec> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpora");
    let folders = io::list(&root).unwrap();
    folders.iter().map(|path| path.to_str().unwrap().parse().unwrap()).collect()
}

fn open(specs: &[InputSpec], names: &[&str]) -> Filter {
    let config = FilterConfig::new(names.iter().copied());
    Filter::open(specs, &InputConfig::default(), config).unwrap()
}

/// Runs every unit in a folder of its own under `directory`.
fn run(filter: &Filter, threads: usize, directory: &Path) -> Counts {
    let progress = Progress::new(Style::None);
    let mut counts = Counts::default();
    for index in 0..filter.plan().unwrap().phases[0].units.len() {
        let dir = directory.join(index.to_string());
        io::create_directory(&dir).unwrap();
        let work = Work {
            spill: dir.join("spill"),
            dir,
            published: Published { partial: directory, phases: &[] },
            threads,
            memory: 1 << 30,
            skipped: &BTreeSet::new(),
            progress: &progress,
            notes: Mutex::new(Notes::default()),
        };
        counts.add(&filter.run_unit(Unit { phase: 0, index }, &work).unwrap());
        let notes = work.notes.into_inner().unwrap();
        let kept = notes.files["part.parquet"].documents.unwrap();
        assert_eq!(kept, table(&work.dir.join("part.parquet")).num_rows() as u64);
    }
    counts
}

fn table(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(io::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches = reader.build().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

fn strings<'a>(table: &'a RecordBatch, name: &str) -> Vec<&'a str> {
    table.column_by_name(name).unwrap().as_string::<i32>().iter().map(Option::unwrap).collect()
}

#[test]
fn the_fixtures_files_are_the_same_at_any_thread_count_and_counts_add_up() {
    let filter = open(&corpora(), &BOTH);
    let (one, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let counts = run(&filter, 1, one.path());
    assert_eq!(counts, run(&filter, 3, three.path()));
    for index in 0..filter.plan().unwrap().phases[0].units.len() {
        for name in ["part.parquet", "removed.parquet"] {
            let file = Path::new(&index.to_string()).join(name);
            let bytes = io::read(&one.path().join(&file)).unwrap();
            assert_eq!(bytes, io::read(&three.path().join(&file)).unwrap(), "{file:?}");
        }
    }
    for (name, source) in &counts.sources {
        let accounted = source.documents_out + source.rejected_total() + source.dropped_total();
        assert_eq!(source.documents_in, accounted, "{name}");
        assert!(source.documents_out > 0 && source.dropped_total() > 0, "{name}: {source:?}");
        assert!(source.bytes_out < source.bytes_in, "{name}");
    }
    assert_eq!(counts.sources.len(), 4);
}

#[test]
fn kept_documents_pass_the_rules_and_keep_every_column() {
    let filter = open(&corpora(), &BOTH);
    let directory = tempfile::tempdir().unwrap();
    let counts = run(&filter, 2, directory.path());
    let rule_sets = FilterConfig::new(BOTH).build().unwrap();
    let (mut kept, mut held_out, mut removed) = (0, 0, 0);
    for index in 0..filter.plan().unwrap().phases[0].units.len() {
        let dir = directory.path().join(index.to_string());
        let part = table(&dir.join("part.parquet"));
        let schema = with_verdict(&filter.source().schema());
        assert_eq!(part.schema().fields(), schema.fields());
        let (held, verdicts) = (part.column(3).as_boolean(), part.column_by_name(VERDICT).unwrap());
        for (row, text) in strings(&part, "text").into_iter().enumerate() {
            let mut room = Room::new(Splitter::reference());
            let verdict =
                rules::judge(&rule_sets, &mut room.view(text)).map(|verdict| verdict.rule);
            // A held-out document stays, and its verdict is stored beside it.
            let said = verdicts.is_valid(row).then(|| verdicts.as_string::<i32>().value(row));
            assert_eq!(said, verdict.filter(|_| held.value(row)));
            assert!(verdict.is_none() || held.value(row), "{verdict:?} of a document that trains");
        }
        kept += part.num_rows() as u64;
        held_out += held.true_count() as u64;
        removed += table(&dir.join("removed.parquet")).num_rows() as u64;
    }
    let total = counts.total();
    assert_eq!((kept, held_out), (total.documents_out, total.held_out));
    assert_eq!(removed, total.dropped_total());
}

#[test]
fn a_removed_document_names_its_place_rule_value_and_limit() {
    let directory = tempfile::tempdir().unwrap();
    let prose = "It is the habit of many to have a walk with the dog that they keep. ".repeat(5);
    let prose = prose.trim_end();
    let lines = [
        format!(r#"{{"id": "good", "text": "{prose}", "lang": "en"}}"#),
        r#"{"id": "short", "text": "Too few words."}"#.to_owned(),
        "no JSON at all".to_owned(),
        format!(r#"{{"id": "list", "text": "{}"}}"#, "- of the\\n".repeat(40)),
    ];
    let path = directory.path().join("mixed.jsonl");
    io::write(&path, lines.join("\n").as_bytes()).unwrap();
    let filter = open(&[path.to_str().unwrap().parse().unwrap()], &BOTH);
    let counts = run(&filter, 2, &directory.path().join("out"));
    let source = &counts.sources["mixed"];
    assert_eq!((source.documents_in, source.documents_out), (4, 1));
    assert_eq!((source.rejected_total(), source.dropped_total()), (1, 2));
    assert_eq!(source.bytes_out, prose.len() as u64);

    let removed = table(&directory.path().join("out/0/removed.parquet"));
    assert_eq!(strings(&removed, "id"), ["short", "list"]);
    assert_eq!(strings(&removed, "file"), ["mixed.jsonl"; 2]);
    assert_eq!(strings(&removed, "source"), ["mixed"; 2]);
    let reasons = ["quality/gopher_short_doc", "quality/gopher_below_avg_threshold"];
    assert_eq!(strings(&removed, "reason"), reasons);
    let second = lines[0].len() as u64 + 1;
    let fourth = second + (lines[1].len() + lines[2].len()) as u64 + 2;
    assert_eq!(removed.column(3).as_primitive::<UInt64Type>().values(), &[second, fourth]);
    assert_eq!(removed.column(5).as_primitive::<Float64Type>().values(), &[3.0, 2.5]);
    assert_eq!(removed.column(6).as_primitive::<Float64Type>().values(), &[50.0, 3.0]);
}

#[test]
fn a_unit_that_removes_nothing_or_everything_writes_both_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("short.jsonl");
    io::write(&path, br#"{"text": "Hello there."}"#).unwrap();
    let specs = [path.to_str().unwrap().parse().unwrap()];
    run(&open(&specs, &BOTH), 1, &directory.path().join("all"));
    let part = table(&directory.path().join("all/0/part.parquet"));
    assert_eq!((part.num_rows(), part.schema().field(1).name().as_str()), (0, "text"));
    let words = Some(WordRules::WhiteSpace);
    let mut lenient = FilterConfig { words, ..FilterConfig::new(["gopher_quality"]) };
    let limits = "min_words = 0\nmin_stop_words = 0";
    lenient.thresholds.insert("gopher_quality".into(), toml::Value::Table(limits.parse().unwrap()));
    let filter = Filter::open(&specs, &InputConfig::default(), lenient).unwrap();
    assert_eq!(filter.config()["gopher_quality"]["min_words"], 0);
    run(&filter, 1, &directory.path().join("none"));
    let removed = table(&directory.path().join("none/0/removed.parquet"));
    assert_eq!((removed.num_rows(), removed.num_columns()), (0, 7));
}

/// The one part of a filter over `lines` of JSON.
fn part(directory: &Path, lines: &[String], config: FilterConfig) -> (RecordBatch, Counts) {
    let path = directory.join("lines.jsonl");
    io::write(&path, lines.join("\n").as_bytes()).unwrap();
    let specs = [path.to_str().unwrap().parse().unwrap()];
    let filter = Filter::open(&specs, &InputConfig::default(), config).unwrap();
    let out = directory.join("out");
    let counts = run(&filter, 2, &out);
    (table(&out.join("0/part.parquet")), counts)
}

const SENTENCE: &str = "It is the habit of many to have a walk with the dog that they keep.";

#[test]
fn a_rule_that_edits_leaves_its_text_and_the_counts_follow() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{}\\nToo short\\n", [SENTENCE; 6].join("\\n"));
    let lines = [format!(r#"{{"id": "a", "text": "{text}"}}"#)];
    let (part, counts) = part(directory.path(), &lines, FilterConfig::new(["c4_quality"]));
    let edited = [SENTENCE; 6].join("\n");
    assert_eq!(strings(&part, "text"), [edited.as_str()]);
    assert_eq!(counts.sources["lines"].bytes_out, edited.len() as u64);
}

#[test]
fn annotations_hold_every_value_and_drop_nothing() {
    let filter = open(&corpora(), &BOTH);
    let dropped = tempfile::tempdir().unwrap();
    let counts = run(&filter, 2, dropped.path());
    let config = FilterConfig { annotate: true, ..FilterConfig::new(BOTH) };
    let annotating = Filter::open(&corpora(), &InputConfig::default(), config).unwrap();
    let annotated = tempfile::tempdir().unwrap();
    let all = run(&annotating, 2, annotated.path());
    assert_eq!(all.total().documents_out, counts.total().documents_in);
    let would_drop: u64 =
        all.extra.iter().filter(|(key, _)| key.starts_with("would_drop")).map(|(_, n)| n).sum();
    // Held-out documents are judged and stay, with or without annotations.
    let stay: u64 = counts.total().held_out_verdicts.values().sum();
    assert!(stay > 0);
    assert_eq!(would_drop, counts.total().dropped_total() + stay);
    let mut kept = 0;
    for index in 0..annotating.plan().unwrap().phases[0].units.len() {
        let part = table(&annotated.path().join(index.to_string()).join("part.parquet"));
        let rule = part.column_by_name("filter_rule").unwrap().as_string::<i32>();
        let value = part.column_by_name("filter_value").unwrap().as_primitive::<Float64Type>();
        kept += rule.null_count() as u64;
        let words = part.column_by_name("quality_gopher_short_doc").unwrap();
        let words = words.as_primitive::<Float64Type>();
        assert_eq!(words.null_count(), 0, "every rule is measured");
        for row in 0..part.num_rows() {
            assert_eq!(rule.is_null(row), value.is_null(row));
            if rule.is_valid(row) && rule.value(row) == "quality/gopher_short_doc" {
                assert!(words.value(row) < 50.0 && words.value(row) == value.value(row));
            }
        }
        let edited = part.column_by_name("text_edited").unwrap();
        assert_eq!(edited.null_count(), part.num_rows(), "neither rule set edits");
    }
    assert_eq!(kept + stay, counts.total().documents_out);
}

#[test]
fn a_column_decides_and_a_missing_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let score = |id: &str, score: &str| format!(r#"{{"id": "{id}", "text": "x", "n": {score}}}"#);
    let path = directory.path().join("scores.parquet");
    write_scores(&path, &[("low", Some(2)), ("high", Some(3)), ("none", None)]);
    let specs = [path.to_str().unwrap().parse().unwrap()];
    let config = FilterConfig { preset: Some("fineweb-edu".into()), ..FilterConfig::default() };
    let filter = Filter::open(&specs, &InputConfig::default(), config.clone()).unwrap();
    run(&filter, 1, &directory.path().join("out"));
    let part = table(&directory.path().join("out/0/part.parquet"));
    assert_eq!(strings(&part, "id"), ["high"]);
    let path = directory.path().join("lines.jsonl");
    io::write(&path, score("a", "3").as_bytes()).unwrap();
    let specs = [path.to_str().unwrap().parse().unwrap()];
    let error = Filter::open(&specs, &InputConfig::default(), config).err().unwrap();
    assert!(error.to_string().contains("`int_score`"), "{error}");
    assert!(error.hint().unwrap().contains("metadata"), "{error}");
}

fn write_scores(path: &Path, rows: &[(&str, Option<i64>)]) {
    let ids = StringArray::from_iter_values(rows.iter().map(|(id, _)| *id));
    let texts = StringArray::from(vec!["x"; rows.len()]);
    let scores: Int64Array = rows.iter().map(|(_, score)| *score).collect();
    let columns: [(&str, ArrayRef); 3] =
        [("id", Arc::new(ids)), ("text", Arc::new(texts)), ("int_score", Arc::new(scores))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = io::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
