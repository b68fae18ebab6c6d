//! Every hostile file of the shared data that concerns readers, against what must become of it.
//!
//! The data lie beside the repository (`../shared/data/hostile`, or `DATAPREP_SHARED`); without
//! them the tests are skipped and say so: `tests.rs` makes small files of the same kinds itself.

use std::path::PathBuf;

use super::InputConfig;
use super::tests::{Found, read};
use crate::base::{beside::beside, error::Error};

/// The folder of hostile files, if it is there.
fn folder() -> Option<PathBuf> {
    beside("data/hostile")
}

/// Reads `name` and says what came: documents and reasons, or the kind of error.
fn outcome(name: &str) -> Option<String> {
    let path = folder()?.join(name);
    Some(match read(&path, &InputConfig::default()) {
        Ok(found) => format!("{} {}", found.documents.len(), found.reasons()).trim().to_owned(),
        Err(Error::Damaged { path: named, .. }) => {
            assert_eq!(named, path);
            "damaged".to_owned()
        }
        Err(error) => {
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.hint().is_some(), "{error}");
            format!("exit {}", error.exit_status())
        }
    })
}

fn check(cases: &[(&str, &str)]) {
    for (name, expect) in cases {
        let Some(found) = outcome(name) else { return };
        assert_eq!(found, *expect, "{name}");
    }
}

#[test]
fn json_lines_with_bad_lines_keep_the_good_ones() {
    check(&[
        ("jsonl/invalid-utf8.jsonl", "37 invalid_utf8:3"),
        ("jsonl/broken-line.jsonl", "37 invalid_json:3"),
        ("jsonl/lone-surrogates.jsonl", "1 lone_surrogate:4"),
        ("jsonl/crlf.jsonl", "40"),
        ("jsonl/nul.jsonl", "5 invalid_json:1"),
        ("jsonl/empty.jsonl", "0"),
        ("jsonl/only-newlines.jsonl", "0"),
        ("jsonl/no-final-newline.jsonl", "40"),
        ("jsonl/bom.jsonl", "40"),
        ("jsonl/duplicate-ids.jsonl", "40"),
        (
            "jsonl/odd-types.jsonl",
            "4 missing_text:2 not_an_object:2 null_text:1 text_not_a_string:3",
        ),
        ("jsonl/nested-metadata.jsonl", "40"),
        ("jsonl/naughty-strings.jsonl", "514"),
    ]);
}

#[test]
fn compressed_lines_are_read_whole_or_not_at_all() {
    check(&[
        ("compressed/a.jsonl.gz", "40"),
        ("compressed/multi-member.jsonl.gz", "40"),
        ("compressed/truncated.jsonl.gz", "damaged"),
        ("compressed/a.jsonl.zst", "40"),
        ("compressed/multi-frame.jsonl.zst", "40"),
        ("compressed/truncated.jsonl.zst", "damaged"),
        ("compressed/a.jsonl.bz2", "40"),
        ("compressed/a.jsonl.xz", "40"),
        ("compressed/gzip-named-zst.jsonl.zst", "40"),
        ("compressed/plain-named-gz.jsonl.gz", "40"),
        ("compressed/empty.jsonl.zst", "0"),
        ("huge/one-document.jsonl.zst", "5"),
        ("huge/one-line.jsonl.gz", "1"),
        ("huge/repeats.jsonl.zst", "4"),
    ]);
}

#[test]
fn parquet_of_every_kind_is_read_or_refused_by_name() {
    check(&[
        ("parquet/good.parquet", "40"),
        ("parquet/zero-bytes.parquet", "damaged"),
        ("parquet/truncated-tail.parquet", "damaged"),
        ("parquet/truncated-half.parquet", "damaged"),
        ("parquet/not-parquet.parquet", "damaged"),
        ("parquet/wrong-footer-length.parquet", "damaged"),
        ("parquet/flipped-page.parquet", "damaged"),
        ("parquet/zero-rows.parquet", "0"),
        ("parquet/null-texts.parquet", "26 null_text:14"),
        ("parquet/all-null-text.parquet", "0 null_text:10"),
        ("parquet/null-type-text.parquet", "0 null_text:10"),
        ("parquet/duplicate-ids.parquet", "40"),
        ("parquet/dictionary.parquet", "100"),
        ("parquet/large-string.parquet", "40"),
        ("parquet/string-view.parquet", "40"),
        ("parquet/binary-text.parquet", "39 invalid_utf8:1"),
        ("parquet/nested-metadata.parquet", "40"),
        ("parquet/text-in-struct.parquet", "exit 2"),
        ("parquet/no-text-column.parquet", "exit 2"),
        ("parquet/row-groups-of-one.parquet", "40"),
        ("parquet/codec-none.parquet", "40"),
        ("parquet/codec-snappy.parquet", "40"),
        ("parquet/codec-gzip.parquet", "40"),
        ("parquet/codec-brotli.parquet", "40"),
        ("parquet/codec-lz4.parquet", "40"),
        ("parquet/page-v2-delta.parquet", "40"),
        ("parquet/page-index-bloom.parquet", "40"),
    ]);
}

#[test]
fn directories_of_mixed_files_are_read_in_the_order_of_their_names() {
    check(&[("mixed-schemas", "40"), ("names", "6")]);
    let Some(folder) = folder() else { return };
    let found: Found = read(&folder.join("mixed-schemas"), &InputConfig::default()).unwrap();
    let schema = found.batches[0].schema();
    let kinds: Vec<String> =
        schema.fields()[4..].iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect();
    assert_eq!(
        kinds.join(" "),
        "dump:Utf8 url:Utf8 file_path:Utf8 language:Utf8 language_score:Float64 token_count:Int64 \
         score:Float64 int_score:Int64 extra:List(Int64) metadata:Utf8"
    );
}

#[test]
fn foreign_parquet_never_panics() {
    let Some(folder) = folder() else { return };
    for path in crate::base::io::list(&folder.join("parquet-testing")).unwrap() {
        let error = read(&path, &InputConfig::default()).expect_err("it has no text column");
        let told = matches!(error, Error::Damaged { .. } | Error::Config { .. });
        assert!(told, "`{}`: {error}", path.display());
    }
}

#[test]
fn texts_survive_byte_for_byte() {
    let Some(folder) = folder() else { return };
    let path = folder.join("jsonl/naughty-strings.jsonl");
    let found = read(&path, &InputConfig::default()).unwrap();
    let lines = crate::base::io::read_text(&path).unwrap();
    for (line, text) in lines.lines().zip(found.texts()) {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["text"], text);
    }
    let path = folder.join("jsonl/bom.jsonl");
    let found = read(&path, &InputConfig::default()).unwrap();
    assert!(!found.texts()[0].starts_with('\u{feff}'));
}
