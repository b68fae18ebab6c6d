//! Reading as a whole: inputs made on the spot, read unit by unit as a stage would.

use crate::artifact::record::Kind;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int32Array, StringArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;
use crate::artifact::counts::Counts;
use crate::artifact::manifest::{FORMAT, FileEntry, Manifest, Tool};
use crate::artifact::{
    record::{Notes, ReadRange},
    stage::{Published, Work},
};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::progress::{Progress, Style};
use crate::base::size::{Bytes, Count};
use crate::source::held_out::is_held_out;

/// Everything a reading gave.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Source, id, text, row.
    pub documents: Vec<(String, String, String, u64)>,
    pub batches: Vec<RecordBatch>,
    pub rejects: String,
    pub counts: Counts,
    pub ranges: Vec<ReadRange>,
    pub units: usize,
}

impl Found {
    pub fn texts(&self) -> Vec<&str> {
        self.documents.iter().map(|(_, _, text, _)| text.as_str()).collect()
    }

    pub fn ids(&self) -> Vec<&str> {
        self.documents.iter().map(|(_, id, _, _)| id.as_str()).collect()
    }

    /// `reason:count` of all sources.
    pub fn reasons(&self) -> String {
        let rejected = self.counts.total().rejected;
        rejected.iter().map(|(name, n)| format!("{name}:{n}")).collect::<Vec<_>>().join(" ")
    }
}

/// Runs `body` with the work of a unit that may use `threads`.
pub(super) fn with_work<T>(
    threads: usize,
    skipped: &BTreeSet<usize>,
    body: impl FnOnce(&Work<'_>) -> T,
) -> T {
    let directory = tempfile::tempdir().unwrap();
    let progress = Progress::new(Style::None);
    body(&Work {
        dir: directory.path().to_owned(),
        spill: directory.path().join("spill"),
        published: Published { partial: directory.path(), phases: &[] },
        threads,
        memory: 1 << 30,
        skipped,
        progress: &progress,
        notes: Mutex::new(Notes::default()),
    })
}

/// Reads all units of opened inputs.
pub(super) fn read_units(
    inputs: &Inputs,
    columns: Columns<'_>,
    threads: usize,
    skipped: &BTreeSet<usize>,
) -> Result<Found> {
    let mut found = Found { units: inputs.units().len(), ..Found::default() };
    for unit in 0..found.units {
        with_work(threads, skipped, |work| -> Result<()> {
            let collect = |batch: Batch| {
                assert!(!batch.is_empty());
                assert_eq!(batch.rows.len(), batch.len());
                for row in 0..batch.len() {
                    found.documents.push((
                        inputs.sources()[batch.source].clone(),
                        batch.ids().value(row).to_owned(),
                        batch.texts().value(row).to_owned(),
                        batch.rows[row],
                    ));
                }
                found.batches.push(batch.records);
                Ok(())
            };
            let counts = inputs.read(unit, columns, work, Ok, collect)?;
            found.counts.add(&counts);
            if let Ok(rejects) = io::read_text(&work.path("rejects.jsonl")) {
                found.rejects += &rejects;
            }
            found.ranges.append(&mut work.notes.lock().unwrap().read);
            Ok(())
        })?;
    }
    let total = found.counts.total();
    assert_eq!(total.documents_in, found.documents.len() as u64 + total.rejected_total());
    Ok(found)
}

/// Opens and reads one path.
pub(super) fn read(path: &Path, config: &InputConfig) -> Result<Found> {
    let inputs = Inputs::open(&[InputSpec::named("s", path)], config)?;
    read_units(&inputs, Columns::All, 2, &BTreeSet::new())
}

fn file(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    io::write(&path, bytes).unwrap();
    path
}

pub(super) fn config(edit: impl FnOnce(&mut InputConfig)) -> InputConfig {
    let mut config = InputConfig::default();
    edit(&mut config);
    config
}

/// Parquet with row groups of `group_rows`.
pub(super) fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>, group_rows: usize) {
    let records = RecordBatch::try_from_iter(columns).unwrap();
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let output = io::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(output, records.schema(), Some(properties)).unwrap();
    writer.write(&records).unwrap();
    writer.close().unwrap();
}

pub(super) fn strings(values: impl IntoIterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn json_lines_give_the_same_documents_however_they_are_cut(
        texts in prop::collection::vec("\\PC{0,12}", 1..40),
        unit_bytes in 1u64..400,
        crlf: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let end = if crlf { "\r\n" } else { "\n" };
        let line = |text: &String| serde_json::json!({ "n": 1, "text": text }).to_string() + end;
        let lines: String = texts.iter().map(line).collect();
        let path = file(directory.path(), "a.jsonl", lines.as_bytes());
        let inputs = |unit_bytes| {
            let config = config(|config| config.unit_bytes = unit_bytes);
            Inputs::open(&[InputSpec::of(&path)], &config).unwrap()
        };
        let whole = read_units(&inputs(None), Columns::All, 1, &BTreeSet::new()).unwrap();
        let cut = inputs(Some(Bytes(unit_bytes)));
        for threads in [1, 3] {
            let found = read_units(&cut, Columns::All, threads, &BTreeSet::new()).unwrap();
            prop_assert_eq!(found.texts(), texts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(&found.documents, &whole.documents);
            prop_assert_eq!(&found.counts, &whole.counts);
        }
    }

    #[test]
    fn parquet_gives_the_same_documents_however_it_is_cut(
        texts in prop::collection::vec("\\PC{0,12}", 1..60),
        group_rows in 1usize..20,
        unit_bytes in 1u64..400,
        limit in 1u64..70,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        parquet(&path, vec![("text", strings(texts.clone()))], group_rows);
        let config = config(|config| {
            config.unit_bytes = Some(Bytes(unit_bytes));
            config.limit_documents = Some(Count(limit));
        });
        let inputs = Inputs::open(&[InputSpec::of(&path)], &config).unwrap();
        let one = read_units(&inputs, Columns::All, 1, &BTreeSet::new()).unwrap();
        let three = read_units(&inputs, Columns::All, 3, &BTreeSet::new()).unwrap();
        prop_assert_eq!(&one, &three);
        let expect: Vec<&str> = texts.iter().map(String::as_str).take(limit as usize).collect();
        prop_assert_eq!(inputs.documents(), Some(expect.len() as u64));
        prop_assert_eq!(one.texts(), expect);
        let rows: Vec<u64> = one.documents.iter().map(|document| document.3).collect();
        prop_assert_eq!(rows, (0..one.documents.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn what_was_read_can_be_read_again_and_hashes_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..500).map(|i| format!("{{\"text\":\"document {i}\"}}\n")).collect();
    file(directory.path(), "a.jsonl", lines.as_bytes());
    let zst = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    file(directory.path(), "b.jsonl.zst", &zst);
    let texts = (0..500).map(|i| format!("row {i}"));
    parquet(&directory.path().join("c.parquet"), vec![("text", strings(texts))], 7);
    let config = config(|config| config.unit_bytes = Some(Bytes(5000)));
    let found = read(directory.path(), &config).unwrap();
    assert_eq!(found.documents.len(), 1500);
    assert!(found.units > 4, "{} units", found.units);
    for range in &found.ranges {
        let path = directory.path().join(&range.file);
        let (hash, bytes) = io::hash_range(&path, range.start, range.end).unwrap();
        assert_eq!((hash, bytes), (range.xxh3, range.end - range.start), "{range:?}");
    }
    let whole = found.ranges.iter().find(|range| range.file == "b.jsonl.zst").unwrap();
    assert_eq!((whole.start, whole.end), (0, zst.len() as u64));
}

#[test]
fn rejects_are_counted_and_listed_in_order_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = b"\xef\xbb\xbf{\"text\":\"a\"}\n\n{\"text\":null}\r\n\xff\n\
        {\"text\":\"b\",\"id\":7}\n[]\n{\"text\":\"c\"";
    let path = file(directory.path(), "a.jsonl", bytes);
    let found = read(&path, &InputConfig::default()).unwrap();
    assert_eq!(found.texts(), ["a", "b"]);
    assert_eq!(found.ids()[1], "7");
    let listed: Vec<serde_json::Value> =
        found.rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = |listed: &serde_json::Value| {
        assert_eq!((&listed["file"], &listed["source"]), (&"a.jsonl".into(), &"s".into()));
        let text = |key: &str| listed[key].as_str().unwrap().to_owned();
        format!("{} {} | {}", listed["offset"], text("reason"), text("found"))
    };
    assert_eq!(
        listed.iter().map(shown).collect::<Vec<_>>(),
        [
            r#"17 null_text | a text that is null: `{"text":null}\r`"#,
            "32 invalid_utf8 | no UTF-8: `ff`",
            "54 not_an_object | JSON, but no object: `[]`",
            r#"57 invalid_json | no JSON: `{"text":"c"`"#,
        ]
    );
    assert_eq!(found.counts.total().documents_in, 6);
}

#[test]
fn an_id_is_the_columns_value_or_the_texts_hash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(-1)]));
    let texts = strings(["a", "b", "c"].map(String::from));
    parquet(&path, vec![("id", ids), ("text", texts)], 10);
    let found = read(&path, &InputConfig::default()).unwrap();
    let hash = crate::base::hash::xxh3_128(b"b").to_string();
    assert_eq!(found.ids(), ["7", &hash, "-1"]);
}

#[test]
fn one_bad_byte_in_parquet_costs_one_document() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let bytes: ArrayRef =
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"a"), Some(b"\xff"), None, Some(b"d")]));
    parquet(&path, vec![("text", bytes), ("n", strings((0..4).map(|i| i.to_string())))], 10);
    let found = read(&path, &InputConfig::default()).unwrap();
    assert_eq!(found.texts(), ["a", "d"]);
    assert_eq!(found.reasons(), "invalid_utf8:1 null_text:1");
    let n: Vec<&str> = found.batches[0].column(4).as_string::<i32>().iter().flatten().collect();
    assert_eq!(n, ["0", "3"]);
    assert_eq!(found.documents[1].3, 3);
}

#[test]
fn a_document_over_the_limit_is_rejected_and_its_neighbours_stay() {
    let directory = tempfile::tempdir().unwrap();
    let texts = ["a".repeat(10), "b".repeat(10_000), "c".repeat(10)];
    let lines: String = texts.iter().map(|text| format!("{{\"text\":\"{text}\"}}\n")).collect();
    file(directory.path(), "a.jsonl", lines.as_bytes());
    parquet(&directory.path().join("b.parquet"), vec![("text", strings(texts))], 2);
    let config = config(|config| config.max_document_bytes = Bytes(1000));
    let found = read(directory.path(), &config).unwrap();
    assert_eq!(found.documents.len(), 4);
    assert_eq!(found.reasons(), "document_too_large:2");
}

#[test]
fn a_row_group_too_large_to_hold_is_read_batch_by_batch() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let texts: Vec<String> = (0..72).map(|i| format!("{i} {}", "x".repeat(1 << 20))).collect();
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    let records = RecordBatch::try_from_iter([("text", strings(texts.clone()))]).unwrap();
    let output = io::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(output, records.schema(), Some(properties)).unwrap();
    writer.write(&records).unwrap();
    writer.close().unwrap();
    let found = read(&path, &InputConfig::default()).unwrap();
    assert_eq!(found.texts(), texts);
    assert_eq!(found.documents[71].3, 71);
    assert!(found.batches.len() > 2);
    let range = &found.ranges[0];
    assert_eq!(io::hash_range(&path, range.start, range.end).unwrap().0, range.xxh3);
}

#[test]
fn schemas_are_united_over_files_and_formats() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = || strings(["t".to_owned()]);
    let score: ArrayRef = Arc::new(arrow::array::Float32Array::from(vec![0.5]));
    parquet(
        &at("1.parquet"),
        vec![("text", text()), ("n", Arc::new(Int32Array::from(vec![1]))), ("source", text())],
        9,
    );
    parquet(&at("2.parquet"), vec![("n", score), ("text", text())], 9);
    file(directory.path(), "3.jsonl", b"{\"text\":\"t\",\"url\":\"u\"}\n");
    let found = read(directory.path(), &InputConfig::default()).unwrap();
    let schema = found.batches[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "text", "source", "held_out", "n", "source_original", "metadata"]);
    assert!(found.batches.iter().all(|batch| batch.schema() == schema));
    let n: Vec<Option<f64>> = found
        .batches
        .iter()
        .map(|batch| {
            batch.column(4).as_primitive::<arrow::datatypes::Float64Type>().iter().next().unwrap()
        })
        .collect();
    assert_eq!(n, [Some(1.0), Some(0.5), None]);
    assert_eq!(found.batches[2].column(6).as_string::<i32>().value(0), "{\"url\":\"u\"}");
}

#[test]
fn only_the_columns_asked_for_are_read_and_a_typo_names_the_nearest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let n: ArrayRef = Arc::new(Int32Array::from(vec![3]));
    parquet(
        &path,
        vec![("n", n), ("url", strings(["u".into()])), ("text", strings(["t".into()]))],
        9,
    );
    let inputs = Inputs::open(&[InputSpec::of(&path)], &InputConfig::default()).unwrap();
    let none = BTreeSet::new();
    let found = read_units(&inputs, Columns::And(&["n"]), 1, &none).unwrap();
    assert_eq!(found.batches[0].num_columns(), 5);
    assert_eq!(found.batches[0].column(4).as_primitive::<Int64Type>().value(0), 3);
    assert_eq!(read_units(&inputs, Columns::Text, 1, &none).unwrap().batches[0].num_columns(), 4);
    let error = read_units(&inputs, Columns::And(&["ur"]), 1, &none).unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("did you mean `url`?"));
    let kept = config(|config| config.columns = Some(vec!["url".into()]));
    assert_eq!(read(&path, &kept).unwrap().batches[0].num_columns(), 5);
}

#[test]
fn a_limit_counts_documents_over_files_in_input_order() {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..10).map(|i| format!("{{\"text\":\"{i}\"}}\n\n")).collect();
    file(directory.path(), "a.jsonl", lines.as_bytes());
    file(directory.path(), "b.jsonl.zst", &zstd::encode_all(lines.as_bytes(), 1).unwrap());
    let texts = strings((0..10).map(|i| i.to_string()));
    parquet(&directory.path().join("c.parquet"), vec![("text", texts)], 4);
    for limit in [1, 10, 13, 20, 25, 40] {
        let config = config(|config| {
            config.limit_documents = Some(Count(limit));
            config.unit_bytes = Some(Bytes(40));
        });
        let found = read(directory.path(), &config).unwrap();
        assert_eq!(found.documents.len() as u64, limit.min(30), "limit {limit}");
    }
}

#[test]
fn a_damaged_file_fails_its_unit_and_can_be_left_out_whole() {
    let directory = tempfile::tempdir().unwrap();
    file(directory.path(), "a.jsonl", b"{\"text\":\"a\"}\n");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all("{\"text\":\"b\"}\n".repeat(10_000).as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    let cut = file(directory.path(), "b.jsonl.gz", &gz[..gz.len() / 2]);
    let broken = file(directory.path(), "c.parquet", b"PAR1 and nothing more");
    let inputs =
        Inputs::open(&[InputSpec::named("s", directory.path())], &InputConfig::default()).unwrap();
    let fails_at = |skipped: &[usize]| {
        let skipped = skipped.iter().copied().collect();
        match read_units(&inputs, Columns::Text, 2, &skipped) {
            Err(Error::Damaged { path, .. }) => Some(path),
            Err(other) => panic!("{other}"),
            Ok(found) => {
                assert_eq!(found.texts(), ["a"]);
                None
            }
        }
    };
    assert_eq!(fails_at(&[]), Some(cut));
    assert_eq!(fails_at(&[1]), Some(broken));
    assert_eq!(fails_at(&[1, 2]), None);
}

/// Makes a corpus of `batches` by hand, as the executor would.
fn corpus(directory: &Path, parts: &[Vec<RecordBatch>], holdout: f64) {
    let mut files = Vec::new();
    let mut counts = Counts::default();
    for (index, batches) in parts.iter().enumerate() {
        let name = format!("part-{index:05}.parquet");
        let path = directory.join(&name);
        let mut writer = CorpusWriter::create(&path, batches[0].schema()).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
            for source in batch.column(2).as_string::<i32>().iter().flatten() {
                counts.source(source).documents_out += 1;
            }
        }
        let (rows, (xxh3, bytes)) = (Some(writer.finish().unwrap()), io::hash_file(&path).unwrap());
        files.push(FileEntry { name, bytes, rows, documents: rows, tokens: None, xxh3 });
    }
    let manifest = Manifest {
        format: FORMAT,
        kind: Kind::Corpus,
        stage: "ingest".into(),
        stage_version: 1,
        tool: Tool::current(),
        config: serde_json::Value::Null,
        seed: 0,
        inputs: vec![],
        files,
        counts: counts.into(),
        holdout: Some(holdout),
        skipped_files: vec![],
        read: vec![],
        fingerprint: Default::default(),
        ancestry: vec![],
        extra: Default::default(),
    };
    manifest.write(directory).unwrap();
}

#[test]
fn a_corpus_keeps_id_source_and_held_out_and_its_share() {
    let raw = tempfile::tempdir().unwrap();
    let lines: String = (0..200).map(|i| format!("{{\"text\":\"document {i}\"}}\n")).collect();
    let one = file(raw.path(), "one.jsonl", lines.as_bytes());
    let two = file(raw.path(), "two.jsonl", lines.as_bytes());
    let share = config(|config| config.holdout = Some(0.1));
    let inputs = [InputSpec::named("one", one), InputSpec::named("two", two)];
    let inputs = Inputs::open(&inputs, &share).unwrap();
    let from_raw = read_units(&inputs, Columns::All, 1, &BTreeSet::new()).unwrap();
    let schema = from_raw.batches[0].schema();
    let all = arrow::compute::concat_batches(&schema, &from_raw.batches).unwrap();

    let made = tempfile::tempdir().unwrap();
    corpus(made.path(), &[vec![all.slice(0, 150)], vec![all.slice(150, 250)]], 0.1);
    let specs = [InputSpec::of(made.path())];
    let inputs = Inputs::open(&specs, &InputConfig::default()).unwrap();
    assert_eq!(inputs.holdout(), 0.1);
    assert_eq!(inputs.sources(), ["one", "two"]);
    let again = read_units(&inputs, Columns::All, 2, &BTreeSet::new()).unwrap();
    let key = |found: &Found| -> Vec<(String, String, String)> {
        let documents = found.documents.iter().cloned();
        documents.map(|(source, id, text, _)| (source, id, text)).collect()
    };
    assert_eq!(key(&again), key(&from_raw));
    assert_eq!(again.counts.sources, from_raw.counts.sources);
    assert_eq!(arrow::compute::concat_batches(&schema, &again.batches).unwrap(), all);
    let held = all.column(3).as_boolean();
    for (row, text) in from_raw.texts().into_iter().enumerate() {
        assert_eq!(held.value(row), is_held_out(text, 0.1));
    }
    assert!(again.ranges.is_empty(), "a corpus is known by its manifest");

    let other = config(|config| config.holdout = Some(0.2));
    assert!(Inputs::open(&specs, &other).is_err_and(|error| error.exit_status() == 2));
    let named = [InputSpec::named("x", made.path())];
    assert!(Inputs::open(&named, &InputConfig::default()).is_err());
    let twin = [InputSpec::of(made.path()), InputSpec::named("one", raw.path())];
    assert!(Inputs::open(&twin, &InputConfig::default()).is_err());
}

#[test]
fn a_file_has_the_same_bytes_however_its_rows_are_split_into_batches() {
    let directory = tempfile::tempdir().unwrap();
    let texts = strings((0..20_000).map(|i| format!("document {i}")));
    let records = RecordBatch::try_from_iter([("text", texts)]).unwrap();
    let groups = |name: &str, step: usize| {
        let path = directory.path().join(name);
        let mut sink = ParquetSink::create(&path, records.schema()).unwrap();
        for start in (0..records.num_rows()).step_by(step) {
            sink.write(&records.slice(start, step.min(records.num_rows() - start))).unwrap();
        }
        assert_eq!(sink.finish().unwrap(), 20_000);
        let input = bytes::Bytes::from(io::read(&path).unwrap());
        let footer =
            parquet::arrow::arrow_reader::ArrowReaderMetadata::load(&input, Default::default())
                .unwrap();
        let rows = footer.metadata().row_groups().iter().map(|group| group.num_rows());
        (rows.collect::<Vec<_>>(), input)
    };
    let (rows, bytes) = groups("a", 20_000);
    assert_eq!(rows, [8192, 8192, 3616]);
    for step in [1, 777, 1024, 8192] {
        assert!(groups("b", step) == (rows.clone(), bytes.clone()), "{step} rows at a time");
    }
}

#[test]
fn the_ways_to_ask_for_what_is_not_there_are_refused_before_any_work() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    parquet(
        &path,
        vec![("content", strings(["t".into()])), ("n", Arc::new(Int32Array::from(vec![1])))],
        9,
    );
    let refused = |edit: fn(&mut InputConfig)| {
        let error = read(&path, &config(edit)).unwrap_err();
        assert_eq!(error.exit_status(), 2, "{error}");
        format!("{error}; {}", error.hint().unwrap_or_default())
    };
    let missing = refused(|_| ());
    assert!(missing.contains("its columns are `content`, `n`"), "{missing}");
    assert!(refused(|config| config.text_column = "n".into()).contains("holds Int32, not text"));
    let typo = refused(|config| {
        config.text_column = "content".into();
        config.source.insert("t".into(), SourceConfig::default());
    });
    assert!(typo.contains("`source.t` is set"), "{typo}");
    let own = config(|config| {
        let text_column = Some("content".into());
        config.source.insert("s".into(), SourceConfig { text_column, ..SourceConfig::default() });
    });
    assert_eq!(read(&path, &own).unwrap().texts(), ["t"]);
    let (lzma, lz4): (&[u8], &[u8]) = (b"\x5d\0\0\x80\0", b"\x04\x22\x4d\x18");
    for (name, bytes, what) in [("a.jsonl.lzma", lzma, "lzma data"), ("a.jsonl.lz4", lz4, "lz4")] {
        let error = read(&file(directory.path(), name, bytes), &config(|_| ())).unwrap_err();
        assert!(error.exit_status() == 2 && error.to_string().contains(what), "{error}");
    }
}

/// Documents of random letters, which no codec makes small.
fn noise(documents: u64) -> Vec<String> {
    let mut stream = crate::base::rng::Stream::new(1, "noise");
    let word = |stream: &mut crate::base::rng::Stream| format!("{:016x}", stream.next_u64());
    (0..documents).map(|_| (0..4096).map(|_| word(&mut stream)).collect()).collect()
}

/// The error of reading on in a file that gets another size after its only unit's first task.
fn read_after(path: &Path, size: impl Fn(u64) -> u64) -> Error {
    let inputs = Inputs::open(&[InputSpec::of(path)], &InputConfig::default()).unwrap();
    let (file, slice) = (&inputs.files[0], &inputs.units[0].slices[0]);
    let tasks = file.format.read(&super::formats::Request {
        name: &file.name,
        file: &file.stored,
        bytes: file.bytes,
        probe: &file.probe,
        ask: &file.ask,
        slice,
        columns: &[],
        document_bytes_max: 1 << 20,
    });
    let mut tasks = tasks.unwrap();
    drop(tasks.next().unwrap().unwrap());
    std::fs::File::options().write(true).open(path).unwrap().set_len(size(file.bytes)).unwrap();
    tasks.find_map(Result::err).expect("a file that was cut passed for a shorter one")
}

#[test]
fn a_file_cut_behind_what_was_read_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let texts = noise(200);
    let line = |text: &String| format!("{{\"text\":\"{text}\"}}\n");
    let lines: String = texts.iter().map(line).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines.as_bytes()).unwrap();
    file(directory.path(), "a.jsonl", lines.as_bytes());
    file(directory.path(), "b.jsonl.gz", &gzip.finish().unwrap());
    file(directory.path(), "c.jsonl.zst", &zstd::encode_all(lines.as_bytes(), 1).unwrap());
    parquet(&directory.path().join("d.parquet"), vec![("text", strings(texts))], 20);
    for name in ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.parquet"] {
        let path = directory.path().join(name);
        let bytes = io::size(&path).unwrap();
        let error = read_after(&path, |bytes| bytes - bytes / 5).to_string();
        let found = bytes - bytes / 5;
        let expected = format!("at byte {found}: expected {bytes} bytes, found {found}");
        assert!(error.contains(name) && error.contains(&expected), "{error}");
    }
}

/// The crate `parquet` panics on this file: one of its pages has fewer levels than rows.
#[test]
fn a_page_that_the_decoder_gives_up_on_is_damage_of_that_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/source/levels.parquet");
    let error = read(&path, &InputConfig::default()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { path: named, .. } if *named == path), "{error:?}");
}
