//! Reports of artifacts that were written, and of copies that were damaged.

use std::path::Path;

use serde_json::json;

use super::{Report, inspect, verify};
use crate::artifact::{
    counts::Counts,
    manifest::{self, Manifest},
    record::{InputKind, InputRecord, Kind, ReadRange},
};
use crate::base::{hash::xxh3_128, io};
use crate::shards::{
    ShardReader,
    fixture::{TestDocument, write_artifact},
};

/// Two files: a hundred documents of `a` with 1 to 100 tokens, then four of `b`.
fn shards(directory: &Path) {
    let mut first = Vec::new();
    for length in 1..=100 {
        let document = TestDocument::new(&format!("a{length}"), "a", length, 5000);
        first.push(if length % 20 == 0 { document.held_out() } else { document });
    }
    let lengths = [0, 7, 7, 30];
    let second = lengths.iter().enumerate();
    let second = second.map(|(i, &n)| TestDocument::new(&format!("b{i}"), "b", n, 5000)).collect();
    write_artifact(directory, "{}", &[first, second]);
    refresh(directory, |_| {});
}

/// Edits a manifest as a stage would have written it: with the fingerprint of what it says.
fn refresh(directory: &Path, edit: impl Fn(&mut Manifest)) {
    let mut manifest = Manifest::read(directory).unwrap();
    edit(&mut manifest);
    let Manifest { stage, stage_version, seed, config, inputs, .. } = &manifest;
    manifest.fingerprint = manifest::fingerprint(stage, *stage_version, *seed, config, inputs);
    manifest.write(directory).unwrap();
}

/// Turns over one bit.
fn flip(path: &Path, at: usize) {
    let mut bytes = io::read(path).unwrap();
    bytes[at] ^= 1;
    io::write(path, &bytes).unwrap();
}

#[test]
fn shards_are_counted_by_source_and_by_file_with_exact_percentiles() {
    let directory = tempfile::tempdir().unwrap();
    shards(directory.path());
    let report = inspect(directory.path()).unwrap();
    let Report::Shards(shards) = &report else { panic!("{report}") };
    let [a, b] = &shards.sources[..] else { panic!("{report}") };
    assert_eq!((a.documents, a.held_out_documents), (100, 5));
    assert_eq!((a.tokens, a.held_out_tokens), (5050, 20 + 40 + 60 + 80 + 100));
    assert_eq!(a.lengths.percentiles, [1, 5, 25, 50, 75, 95, 99].map(|p| (p, p as u32)));
    assert_eq!(b.lengths.percentiles[..3], [(1, 0), (5, 0), (25, 0)]);
    assert_eq!((b.lengths.percentiles[3], b.lengths.max), ((50, 7), 30));
    // The fixture gives each token four bytes of text.
    assert_eq!(a.bytes_per_token, Some(4.0));
    assert_eq!(shards.total.tokens, shards.shards.iter().map(|shard| shard.tokens).sum::<u64>());
    let stored = io::size(&directory.path().join("shard-00000.arrow")).unwrap();
    assert_eq!(shards.shards[0].stored_bytes, stored);
    assert_eq!(shards.shards[0].zstd_ratio, Some(stored as f64 / (2.0 * 5050.0)));
    let text = report.to_string();
    for expected in ["p99  max", "shard-00001.arrow", "5,094"] {
        assert!(text.contains(expected), "{expected} in:\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["kind"], "shards");
    assert_eq!(json["sources"][1]["lengths"]["max"], 30);
}

#[test]
fn what_became_of_documents_is_shown_by_reason_and_source() {
    let directory = tempfile::tempdir().unwrap();
    shards(directory.path());
    let mut counts = Counts::default();
    let wiki = counts.source("wiki");
    (wiki.documents_in, wiki.documents_out, wiki.held_out) = (1000, 900, 50);
    wiki.dropped.insert("too_short".into(), 70);
    wiki.dropped.insert("char_dup_ratio".into(), 29);
    wiki.reject("null_text");
    counts.source("web").documents_in = 1;
    counts.source("web").drop_document("too_short");
    refresh(directory.path(), |manifest| {
        (manifest.kind, manifest.stage) = (Kind::Corpus, "filter".into());
        manifest.counts = counts.clone().into();
    });
    let text = inspect(directory.path()).unwrap().to_string();
    let tables = text.split_once("\n\n").unwrap().1;
    let expected = "
  source     in  rejected  dropped  out   kept  held out  text in  text out
  web         1         0        1    0   0.0%         0      0 B       0 B
  wiki    1,000         1       99  900  90.0%        50      0 B       0 B
  all     1,001         1      100  900  89.9%        50      0 B       0 B

  reason          web  wiki  all
  too_short         1    70   71
  char_dup_ratio    0    29   29
  null_text         0     1    1
";
    assert_eq!(tables, expected.trim_matches('\n'));
}

#[test]
fn an_artifact_as_written_verifies_and_says_how_much_was_checked() {
    let directory = tempfile::tempdir().unwrap();
    shards(directory.path());
    let report = verify(directory.path()).unwrap();
    assert!(report.is_clean(), "{report}");
    let manifest = Manifest::read(directory.path()).unwrap();
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    assert_eq!((report.files, report.blocks, report.bytes), (3, 2, bytes));
    assert!(report.to_string().contains("all as written; checked 3 files, 2 blocks"), "{report}");
}

#[test]
fn each_kind_of_damage_is_named_with_file_expected_and_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(directory.path());
    let whole = io::read(&at("shard-00000.arrow")).unwrap();

    // A bit inside the first block: the file differs, and the block is named.
    let first = ShardReader::open(&at("shard-00000.arrow")).unwrap().blocks()[0].offset;
    flip(&at("shard-00000.arrow"), first as usize + 300);
    let report = verify(directory.path()).unwrap();
    let files: Vec<&str> = report.differences.iter().map(|d| d.file.as_str()).collect();
    assert_eq!(files, ["shard-00000.arrow"; 2], "{report}");
    assert!(report.differences[1].range.is_some_and(|(start, end)| start == first && end > first));

    // Cut short: the size differs, and the footer cannot be read.
    io::write(&at("shard-00000.arrow"), &whole[..whole.len() - 5]).unwrap();
    let report = verify(directory.path()).unwrap();
    assert!(report.differences[0].expected.ends_with(" bytes"), "{report}");
    assert_eq!(report.differences.len(), 2, "{report}");
    io::write(&at("shard-00000.arrow"), &whole).unwrap();

    // A file that is gone, and one that nobody wrote.
    io::rename(&at("tokenizer/tokenizer.json"), &at("tokenizer/other.json")).unwrap();
    let report = verify(directory.path()).unwrap();
    assert_eq!(report.differences[0].found, "nothing");
    assert_eq!(report.unlisted, ["tokenizer/other.json"]);
    io::rename(&at("tokenizer/other.json"), &at("tokenizer/tokenizer.json")).unwrap();

    // A config edited by hand.
    let edited = io::read_text(&at("manifest.json")).unwrap();
    io::write(&at("manifest.json"), edited.replace("5000", "6000").as_bytes()).unwrap();
    let report = verify(directory.path()).unwrap();
    assert_eq!(report.differences.len(), 1, "{report}");
    assert_eq!(report.differences[0].file, "manifest.json");
}

#[test]
fn what_was_read_is_read_again_and_an_input_that_is_gone_is_no_difference() {
    let directory = tempfile::tempdir().unwrap();
    let (out, raw) = (directory.path().join("out"), directory.path().join("raw.jsonl"));
    shards(&out);
    io::write(&raw, b"0123456789").unwrap();
    let input = |kind, path: &Path| InputRecord {
        kind,
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        source: None,
        stage: None,
        fingerprint: None,
        bytes: 10,
        identity: xxh3_128(b"ends"),
        remote: None,
        path: path.to_owned(),
    };
    refresh(&out, |manifest| {
        manifest.inputs = vec![input(InputKind::File, &raw)];
        let range = |start: u64, bytes: &[u8]| ReadRange {
            input: 0,
            file: "raw.jsonl".into(),
            start,
            end: start + bytes.len() as u64,
            xxh3: xxh3_128(bytes),
        };
        manifest.read = vec![range(0, b"0123"), range(6, b"67")];
    });
    let gone = verify(&out).unwrap();
    assert!(gone.is_clean() && gone.gone == ["raw.jsonl"], "no run.json says where: {gone}");

    let places = json!({"inputs": [{"relative": "../raw.jsonl", "absolute": "/nowhere"}]});
    io::write(&out.join("run.json"), places.to_string().as_bytes()).unwrap();
    let report = verify(&out).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.ranges, report.bytes - gone.bytes), (2, 6));

    // Between the ranges nothing was read, so nothing differs there.
    flip(&raw, 5);
    assert!(verify(&out).unwrap().is_clean());
    flip(&raw, 7);
    let report = verify(&out).unwrap();
    assert_eq!(report.differences.len(), 1, "{report}");
    assert_eq!(report.differences[0].range, Some((6, 8)));
}

#[test]
fn an_input_artifact_with_another_file_list_is_a_difference() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    shards(&first);
    shards(&second);
    let record = InputRecord::artifact(&first).unwrap();
    refresh(&second, |manifest| manifest.inputs = vec![record.clone()]);
    let places = json!({"inputs": [{"relative": "../first"}]});
    io::write(&second.join("run.json"), places.to_string().as_bytes()).unwrap();
    assert!(verify(&second).unwrap().is_clean());
    refresh(&first, |manifest| manifest.files[0].xxh3 = xxh3_128(b"another"));
    let report = verify(&second).unwrap();
    assert_eq!(report.differences[0].expected, record.identity.to_string(), "{report}");
}

#[test]
fn a_file_of_an_artifact_and_a_plain_folder_are_refused_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    shards(directory.path());
    let error = inspect(&directory.path().join("shard-00000.arrow")).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("name the directory")), "{error}");
    let error = inspect(&directory.path().join("tokenizer")).unwrap_err();
    assert!(error.to_string().contains("is a part of an artifact"), "{error}");
    let error = verify(&directory.path().join("nothing")).unwrap_err();
    assert!(error.to_string().contains("there is nothing at"), "{error}");
}
