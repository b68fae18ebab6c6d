//! Bad data is counted, a damaged file fails at the end, bad config stops before any work.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, StringArray},
    record_batch::RecordBatch,
};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};

use crate::support::{TestDir, beside::beside, documents};

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 3).unwrap()
}

fn jsonl(count: usize, seed: u64) -> String {
    let line = |text: String| serde_json::json!({ "text": text }).to_string() + "\n";
    documents(count, seed).into_iter().map(line).collect()
}

#[test]
fn broken_lines_are_counted_listed_and_left_out() {
    let directory = TestDir::new();
    directory.write("text/a.jsonl", jsonl(30, 1) + "{\"text\": \n{\"text\": null}\nnot json\n");
    let counts = &directory.dataprep("ingest text/a.jsonl --out corpus --json").ok().summary();
    let counts = &counts["counts"];
    assert_eq!((&counts["in"], &counts["out"]), (&33.into(), &30.into()), "{counts:#}");
    assert_eq!(counts["rejected"], 3);
    let rejects = directory.read("corpus/rejects-00000.jsonl");
    assert_eq!(rejects.lines().count(), 3);
    assert!(rejects.contains("null_text") && rejects.contains("invalid_json"), "{rejects}");
}

#[test]
fn a_source_that_is_mostly_unreadable_fails_with_its_reasons() {
    let directory = TestDir::new();
    directory.write("text/a.jsonl", jsonl(30, 1) + &"{\"body\": 1}\n".repeat(200));
    let failed = directory.dataprep("ingest text/a.jsonl --out corpus");
    assert_eq!(failed.status, 1);
    assert!(failed.stderr.contains("missing_text 200"), "{}", failed.stderr);
    assert!(!directory.path("corpus").exists());
    directory.dataprep("ingest text/a.jsonl --out corpus --max-bad 0.9").ok();
}

#[test]
fn a_damaged_file_fails_after_all_else_is_done_and_can_be_left_out() {
    let directory = TestDir::new();
    let whole = zstd(&jsonl(40, 2));
    directory.write("text/a.jsonl", jsonl(40, 1));
    directory.write("text/b.jsonl.zst", &whole[..whole.len() / 2]);
    directory.write("text/c.jsonl", jsonl(40, 3));
    let command = "ingest text --out corpus --set unit_bytes=1KiB";
    let failed = directory.dataprep(command);
    assert_eq!(failed.status, 1);
    assert!(failed.stderr.contains("b.jsonl.zst"), "{}", failed.stderr);
    assert!(failed.stderr.contains("--skip-bad-files"), "{}", failed.stderr);
    assert!(!directory.path("corpus").exists());
    let skipped = directory.dataprep(&format!("{command} --skip-bad-files --json")).ok();
    let summary = skipped.summary();
    assert_eq!(summary["counts"]["in"], 80, "{summary:#}");
    assert!(summary["units_reused"].as_u64() > Some(0), "{summary:#}");
    assert!(directory.read("corpus/manifest.json").contains("b.jsonl.zst"));
}

/// Parquet of so many documents, of which the last `missing` have no text, in row groups of 50.
fn parquet(path: &std::path::Path, count: usize, missing: usize) {
    let texts = documents(count, 1).into_iter().enumerate();
    let texts = texts.map(|(at, text)| (at < count - missing).then_some(text));
    let texts: ArrayRef = Arc::new(StringArray::from_iter(texts));
    let records = RecordBatch::try_from_iter_with_nullable([("text", texts, true)]).unwrap();
    let groups = WriterProperties::builder().set_max_row_group_row_count(Some(50)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, records.schema(), Some(groups)).unwrap();
    writer.write(&records).unwrap();
    writer.close().unwrap();
}

#[test]
fn the_work_ends_where_too_many_rejects_are_certain() {
    let directory = TestDir::new();
    let units = |out: &str| {
        let folder = directory.path(&format!("{out}.partial/units"));
        std::fs::read_dir(folder).unwrap().count()
    };
    // JSON Lines are counted by reading: with the phase that reads them first.
    directory.write("text.jsonl", jsonl(30, 1) + &"{\"body\": 1}\n".repeat(200));
    let failed = directory.dataprep("dedup text.jsonl --out unique --holdout 0");
    assert!(failed.stderr.contains("missing_text 200"), "{}", failed.stderr);
    assert_eq!(units("unique"), 1, "only `sign` has run");
    // A footer says how many there are: 101 of 1,000 are more than 1% and a hundred.
    parquet(&directory.path("text.parquet"), 1000, 100);
    let ingest = "ingest text.parquet --set unit_bytes=1KiB -j1 --out";
    directory.dataprep(&format!("{ingest} few")).ok();
    parquet(&directory.path("text.parquet"), 1000, 950);
    let failed = directory.dataprep(&format!("{ingest} many"));
    assert!(failed.stderr.contains("null_text"), "{}", failed.stderr);
    assert!(units("many") < 6, "{} units of 20 were made", units("many"));
}

#[test]
fn the_plan_says_which_part_of_which_file_each_unit_reads() {
    let directory = TestDir::new();
    let whole = zstd(&jsonl(40, 2));
    directory.write("text/a.jsonl", jsonl(40, 1));
    directory.write("text/b.jsonl.zst", &whole[..whole.len() / 2]);
    let bytes = directory.path("text/a.jsonl").metadata().unwrap().len();
    let failed = directory.dataprep("ingest text --out corpus --set unit_bytes=1KiB");
    assert_eq!(failed.status, 1);
    let plan: serde_json::Value =
        serde_json::from_str(&directory.read("corpus.partial/plan.json")).unwrap();
    assert_eq!(plan["files"][1]["name"], "b.jsonl.zst", "{plan:#}");
    let units = plan["phases"][0]["units"].as_array().unwrap();
    let slices: Vec<_> = units.iter().flat_map(|u| u["slices"].as_array().unwrap()).collect();
    let (last, of_a) = slices.split_last().unwrap();
    assert_eq!((&last["file"], &last["extent"]), (&1.into(), &"whole".into()));
    assert!(of_a.len() > 1, "{plan:#}");
    let mut end = 0;
    for slice in of_a {
        assert_eq!((&slice["file"], &slice["extent"]["bytes"]["start"]), (&0.into(), &end.into()));
        end = slice["extent"]["bytes"]["end"].as_u64().unwrap();
    }
    assert_eq!(end, bytes);
}

#[test]
fn every_damaged_file_of_one_unit_is_named() {
    let directory = TestDir::new();
    for (name, seed) in [("a", 1), ("c", 3), ("e", 5)] {
        directory.write(&format!("text/{name}.jsonl"), jsonl(20, seed));
    }
    for (name, seed) in [("b", 2), ("d", 4)] {
        let whole = zstd(&jsonl(20, seed));
        directory.write(&format!("text/{name}.jsonl.zst"), &whole[..whole.len() / 2]);
    }
    let failed = directory.dataprep("ingest text --out corpus");
    assert_eq!(failed.status, 1);
    for name in ["b.jsonl.zst", "d.jsonl.zst"] {
        assert!(failed.stderr.contains(name), "{}", failed.stderr);
    }
    let left = directory.dataprep("ingest text --out corpus --skip-bad-files --json").ok();
    assert_eq!(left.summary()["counts"]["in"], 60);
}

#[test]
fn wrong_requests_stop_before_any_work() {
    let directory = TestDir::new();
    directory.write("text/a.jsonl", jsonl(3, 1));
    std::fs::create_dir(directory.path("empty")).unwrap();
    let cases = [
        ("ingest nowhere --out x", "nowhere"),
        ("ingest empty --out x", "empty"),
        ("filter text --out x", "rules"),
        ("filter text --out x --rules gopher_qualty", "did you mean `gopher_quality`?"),
        ("dedup text --out x --set bandss=3", "did you mean `bands`?"),
        ("dedup text --out x --set keep=max:score", "score"),
        ("tokenize text --out x", "--vocab"),
        ("tokenizer train text --out x", "--vocab"),
        ("ingest text", "--out"),
        ("ingest a=text a=text --out x", "a"),
        ("ingest text --out x --set holdout=2", "holdout"),
        ("mix a=text:1 --out x --tokens 1k", "text"),
    ];
    for (command, expected) in cases {
        let run = directory.dataprep(command);
        assert_eq!(run.status, 2, "{command}\n{}", run.stderr);
        assert!(run.stderr.contains("error:"), "{command}\n{}", run.stderr);
        assert!(run.stderr.contains(expected), "{command}\n{}", run.stderr);
        assert!(
            !directory.path("x").exists() && !directory.path("x.partial").exists(),
            "{command}"
        );
    }
}

#[test]
fn a_flipped_byte_is_named_by_verify() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(80, 1));
    directory.dataprep("tokenize text/a.jsonl --out tokens --vocab 400").ok();
    directory.dataprep("verify tokens").ok();
    let path = directory.path("tokens/shard-00000.arrow");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let failed = directory.dataprep("verify tokens");
    assert_eq!(failed.status, 1);
    let printed = format!("{}{}", failed.stdout, failed.stderr);
    assert!(printed.contains("shard-00000.arrow"), "{printed}");
}

#[test]
fn every_hostile_file_ends_in_documents_or_a_message() {
    let Some(data) = beside("data/hostile") else { return };
    let expected = std::fs::read_to_string(data.join("EXPECTED.tsv")).unwrap();
    let directory = TestDir::new();
    let mut checked = 0;
    for line in expected.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let path = data.join(fields[0]);
        if fields[0].starts_with("names/") || path.metadata().unwrap().len() > 2 << 20 {
            continue;
        }
        let out = format!("out-{checked}");
        let run = directory
            .dataprep(&format!("ingest {} --out {out} --max-bad 1 --json", path.display()));
        assert!([0, 1, 2].contains(&run.status), "{}: {run:?}", fields[0]);
        assert!(!run.stderr.contains("panicked"), "{}: {}", fields[0], run.stderr);
        if let (0, Ok(documents)) = (run.status, fields[2].parse::<u64>()) {
            assert_eq!(run.summary()["counts"]["out"], documents, "{}", fields[0]);
        }
        if run.status != 0 {
            // A damaged file is named, a source without one good document by its source's name.
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            assert!(run.stderr.contains(&name), "{}: {}", fields[0], run.stderr);
        }
        checked += 1;
    }
    assert!(checked > 50, "{checked}");
    let names = data.join("names");
    let run = directory.dataprep(&format!("ingest {} --out names --json", names.display())).ok();
    assert_eq!(run.summary()["counts"]["out"], 6, "hidden and temporary files are none");
}
