//! Files of every format as other programs write them: the same 40 documents in each, whole or
//! not at all, whatever the threads.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::ipc::{reader::FileReader, writer::FileWriter};

use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::size::{Bytes, Count};
use crate::source::tests::{Found, config, read, read_units};
use crate::source::{Columns, InputConfig, InputSpec, Inputs};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/source/formats").join(name)
}

/// The texts that `fixtures/make_source.py` wrote.
fn text(row: usize) -> String {
    let number = row * 7;
    format!("Document {row}, \"quoted\"; with a line\nand é, 文 and \u{1F600} number {number}.")
}

fn url(row: usize) -> Option<String> {
    (!row.is_multiple_of(5)).then(|| format!("https://example.org/{row}"))
}

/// Name, text column, id column of every file that holds the 40 documents.
const FILES: [(&str, &str, &str); 29] = [
    ("codec-none.parquet", "text", "id"),
    ("codec-snappy.parquet", "text", "id"),
    ("codec-gzip.parquet", "text", "id"),
    ("codec-brotli.parquet", "text", "id"),
    ("codec-lz4.parquet", "text", "id"),
    ("codec-zstd.parquet", "text", "id"),
    ("nested.parquet", "content.text", "content.WARC-Record-ID"),
    ("nested-own.parquet", "content.text", "content.WARC-Record-ID"),
    ("types.parquet", "text", "id"),
    ("int96.parquet", "text", "id"),
    ("row-groups.parquet", "text", "id"),
    ("page-index.parquet", "text", "id"),
    ("large.parquet", "text", "id"),
    ("view.parquet", "text", "id"),
    ("dictionary.parquet", "text", "id"),
    ("stream.arrow", "text", "id"),
    ("file.arrow", "text", "id"),
    ("lz4.feather", "text", "id"),
    ("zstd.feather", "text", "id"),
    ("large.arrow", "text", "id"),
    ("view.arrow", "text", "id"),
    ("dictionary.arrow", "text", "id"),
    ("nested.arrow", "content.text", "content.id"),
    ("streams.jsonl.bz2", "text", "id"),
    ("streams.jsonl.xz", "text", "id"),
    ("array.json", "text", "id"),
    ("apart.json.gz", "text", "id"),
    ("rows.csv", "text", "id"),
    ("rows.tsv", "text", "id"),
];

fn named(text: &str, id: &str) -> InputConfig {
    config(|config| {
        config.text_column = text.to_owned();
        config.id_column = Some(id.to_owned());
    })
}

fn check(name: &str, found: &Found, documents: usize) {
    assert_eq!(found.rejects, "", "{name}");
    let expect: Vec<String> = (0..documents).map(text).collect();
    assert_eq!(found.texts(), expect, "{name}");
    let ids: Vec<String> = (0..documents).map(|row| format!("d{row}")).collect();
    assert_eq!(found.ids(), ids, "{name}");
}

#[test]
fn every_file_gives_its_documents_at_any_threads_and_says_what_it_read() {
    for (name, text, id) in FILES {
        let path = fixture(name);
        let all = named(text, id);
        let inputs = Inputs::open(&[InputSpec::named("s", &path)], &all).unwrap();
        let [one, three] = [1, 3]
            .map(|threads| read_units(&inputs, Columns::All, threads, &BTreeSet::new()).unwrap());
        check(name, &one, 40);
        assert_eq!(one, three, "{name}");
        for range in &one.ranges {
            let (hash, bytes) = io::hash_range(&path, range.start, range.end).unwrap();
            assert_eq!((hash, bytes), (range.xxh3, range.end - range.start), "{name}: {range:?}");
        }
        let few = InputConfig { limit_documents: Some(Count(13)), ..all };
        check(name, &read(&path, &few).unwrap(), 13);
    }
}

/// The crate `arrow` pads the mark of a file to 64 bytes, where others have 8.
#[test]
fn an_arrow_file_is_read_whatever_its_mark_is_padded_to() {
    let reader =
        FileReader::try_new(io::read(&fixture("file.arrow")).map(Cursor::new).unwrap(), None);
    let reader = reader.unwrap();
    let mut padded = Vec::new();
    let mut writer = FileWriter::try_new(&mut padded, &reader.schema()).unwrap();
    for batch in reader {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(padded[8..64], [0; 56]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("padded.arrow");
    io::write(&path, &padded).unwrap();
    check("padded.arrow", &read(&path, &named("text", "id")).unwrap(), 40);
}

#[test]
fn what_else_a_file_holds_comes_along() {
    for (name, _, _) in FILES.iter().filter(|(_, text, _)| *text == "text") {
        let found = read(&fixture(name), &config(|_| ())).unwrap();
        let urls: Vec<Option<String>> = found
            .batches
            .iter()
            .flat_map(|batch| match batch.column_by_name("url") {
                Some(urls) => {
                    let urls = urls.as_string::<i32>().iter();
                    urls.map(|url| url.map(str::to_owned)).collect::<Vec<_>>()
                }
                None => {
                    let metadata = batch.column_by_name("metadata").unwrap().as_string::<i32>();
                    let url = |json: Option<&str>| {
                        let json: serde_json::Value = serde_json::from_str(json?).unwrap();
                        json["url"].as_str().map(str::to_owned)
                    };
                    metadata.iter().map(url).collect()
                }
            })
            .collect();
        assert_eq!(urls, (0..40).map(url).collect::<Vec<_>>(), "{name}");
    }
    let types = read(&fixture("types.parquet"), &config(|_| ())).unwrap();
    let schema = types.batches[0].schema();
    let kinds: Vec<&str> = schema.fields()[5..].iter().map(|field| field.name().as_str()).collect();
    assert_eq!(kinds, ["nothing", "nulls", "lists", "maps", "date"]);
    let times = read(&fixture("int96.parquet"), &config(|_| ())).unwrap();
    let at = times.batches[0].column_by_name("at").unwrap();
    let nanoseconds = at.as_primitive::<arrow::datatypes::TimestampNanosecondType>().value(0);
    assert_eq!(nanoseconds, 1_704_110_400_000_000_000);
}

#[test]
fn what_stands_beside_a_text_inside_stays_and_a_name_with_a_dot_wins() {
    let nested = named("content.text", "content.WARC-Record-ID");
    for name in ["nested.parquet", "nested-own.parquet"] {
        let found = read(&fixture(name), &nested).unwrap();
        let content = found.batches[0].column_by_name("content").unwrap().as_struct();
        assert_eq!(content.column_by_name("language").unwrap().as_string::<i32>().value(3), "en");
        // Where the text is a column of its own, the field of that path is like any.
        assert_eq!(content.column_by_name("text").is_some(), name == "nested-own.parquet");
        assert!(content.column_by_name("WARC-Record-ID").is_none());
    }
    let lines = named("content.text", "metadata.WARC-Record-ID");
    let found = read(&fixture("nested.jsonl"), &lines).unwrap();
    check("nested.jsonl", &found, 40);
    let metadata = found.batches[0].column_by_name("metadata").unwrap().as_string::<i32>();
    assert_eq!(metadata.value(0), r#"{"content":{"n":1}}"#);
    let error = read(&fixture("nested.jsonl"), &named("content.txt", "id")).unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("did you mean `--text-column content.text`?"));
}

#[test]
fn messages_are_one_text_by_the_template_of_their_source() {
    let mut asked = named("messages", "id");
    let found = read(&fixture("messages.parquet"), &asked).unwrap();
    assert_eq!(found.texts()[2], format!("user: d2\n\nassistant: {}", text(2)));
    asked.source.insert(
        "s".into(),
        crate::source::SourceConfig {
            message_template: Some("<{role}>{content}</{role}>\n".into()),
            ..Default::default()
        },
    );
    let found = read(&fixture("messages.parquet"), &asked).unwrap();
    let expect = format!("<user>d2</user>\n<assistant>{}</assistant>", text(2));
    assert_eq!(found.texts()[2], expect);
}

#[test]
fn wet_records_are_documents_and_pages_are_refused() {
    let found = read(&fixture("records.warc.wet.gz"), &config(|_| ())).unwrap();
    check("records.warc.wet.gz", &found, 40);
    let metadata = found.batches[0].column_by_name("metadata").unwrap().as_string::<i32>();
    let json: serde_json::Value = serde_json::from_str(metadata.value(7)).unwrap();
    assert_eq!(json["WARC-Target-URI"], "https://example.org/7");
    assert!(json.get("WARC-Record-ID").is_none());
    let error = read(&fixture("pages.warc.gz"), &config(|_| ())).unwrap_err();
    assert!(error.to_string().contains("pages as they were fetched"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("WET")));
}

#[test]
fn a_delimiter_is_told_by_the_header() {
    let found = read(&fixture("semicolons.csv"), &config(|_| ())).unwrap();
    check("semicolons.csv", &found, 40);
    let error = read(&fixture("rows.csv"), &named("txt", "id")).unwrap_err().to_string();
    assert!(error.contains("its columns are `url`, `id`, `text`"), "{error}");
}

#[test]
fn text_is_a_document_a_file_or_split_at_a_separator() {
    let whole = read(&fixture("separated.txt"), &config(|_| ())).unwrap();
    assert_eq!(whole.texts()[0].as_bytes(), io::read(&fixture("separated.txt")).unwrap());
    let names = whole.batches[0].column_by_name("file_path").unwrap().as_string::<i32>();
    assert_eq!(names.value(0), "separated.txt");
    let split = config(|config| config.separator = Some("<|endoftext|>".into()));
    let found = read(&fixture("separated.txt"), &split).unwrap();
    assert_eq!(found.texts(), (0..40).map(text).collect::<Vec<_>>());
    let hash = crate::base::hash::xxh3_128(text(0).as_bytes()).to_string();
    assert_eq!(found.ids()[0], hash);
    let small = InputConfig { max_document_bytes: Bytes(60), ..split };
    let error = read(&fixture("separated.txt"), &small).unwrap();
    assert!(error.reasons().starts_with("document_too_large:"), "{}", error.reasons());
}

/// Reads `bytes` under `name`, with the columns of the file they were made of.
fn read_as(directory: &Path, (name, text, id): (&str, &str, &str), bytes: &[u8]) -> Result<Found> {
    let path = directory.join(name);
    io::write(&path, bytes).unwrap();
    read(&path, &named(text, id))
}

#[test]
fn a_file_that_was_cut_or_continued_is_damaged_wherever_that_was() {
    let directory = tempfile::tempdir().unwrap();
    let wet = ("records.warc.wet.gz", "text", "WARC-Record-ID");
    // A table of text ends with any row.
    let all = FILES.into_iter().chain([wet]).filter(|(name, ..)| !name.starts_with("rows."));
    for file in all {
        let whole = io::read(&fixture(file.0)).unwrap();
        for length in [whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let error = read_as(directory.path(), file, &whole[..length]);
            let error = error.expect_err(&format!("{} cut to {length} bytes", file.0));
            let is_named = error.to_string().contains(file.0);
            assert!(matches!(error, Error::Damaged { .. }) && is_named, "{}: {error}", file.0);
        }
        if file.0.ends_with(".parquet") {
            continue;
        }
        let more = [whole.as_slice(), b"\x07junk"].concat();
        let error = read_as(directory.path(), file, &more);
        let error = error.expect_err(&format!("{} with more behind it", file.0));
        assert!(matches!(error, Error::Damaged { .. }), "{}: {error}", file.0);
    }
    let quoted = io::read(&fixture("rows.csv")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    std::io::Write::write_all(&mut encoder, &quoted).unwrap();
    let packed = encoder.finish().unwrap();
    let file = ("rows.csv.gz", "text", "id");
    let error = read_as(directory.path(), file, &packed[..packed.len() / 2]).unwrap_err();
    assert!(error.to_string().contains("the compressed data end too early"), "{error}");
    let inside = quoted.iter().rposition(|byte| *byte == b'"').unwrap();
    let error = read_as(directory.path(), ("rows.csv", "text", "id"), &quoted[..inside]);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the data end inside quotes"), "{error}");
}

#[test]
fn bad_utf_8_costs_one_document_and_its_column_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for (name, broken) in [
        ("stream.arrow", "https://example.org/7"),
        ("file.arrow", "https://example.org/7"),
        ("codec-none.parquet", "https://example.org/7"),
        ("large.arrow", "https://example.org/7"),
        ("view.arrow", "https://example.org/7"),
        ("rows.csv", "https://example.org/7,d7,"),
    ] {
        let mut bytes = io::read(&fixture(name)).unwrap();
        // Each of them: slices of arrays are written with more than their values.
        let places = memchr::memmem::find_iter(&bytes, broken.as_bytes()).collect::<Vec<_>>();
        assert!(!places.is_empty(), "{name}");
        places.into_iter().for_each(|at| bytes[at + 10] = 0xff);
        let found = read_as(directory.path(), (name, "text", "id"), &bytes).unwrap();
        assert_eq!(found.reasons(), "invalid_utf8:1", "{name}");
        let listed: serde_json::Value = serde_json::from_str(&found.rejects).unwrap();
        let said = listed["found"].as_str().unwrap();
        assert!(said.contains("column `url` is no UTF-8: `68 74"), "{name}: {said}");
    }
}

#[test]
fn bad_elements_of_an_array_cost_themselves_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    let text = "[{\"text\":\"a\"}, 7, {\"text\":\"b\u{0}\"}, {\"x\":{}}, {\"text\":\"\\ud800\"},\n\
                {\"text\":\"0123456789012345678901234567890123456789\"}, {\"text\":\"z\"}]";
    io::write(&path, text.as_bytes()).unwrap();
    let small = config(|config| config.max_document_bytes = Bytes(40));
    let found = read(&path, &small).unwrap();
    assert_eq!(found.texts(), ["a", "z"]);
    let reasons = "document_too_large:1 invalid_json:1 lone_surrogate:1 missing_text:1 \
                   not_an_object:1";
    assert_eq!(found.reasons(), reasons);
    assert_eq!(found.documents[1].3, text.rfind('{').unwrap() as u64);
}

#[test]
fn rows_of_another_length_and_what_is_no_utf_8_are_rejects() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let rows = b"text,n,,text\na,1,,x\nb\nc,1,2,3,4,5\n\"\xff\",1,,\n\n\"d\0\",,\"x\ny\",\n";
    io::write(&path, rows).unwrap();
    let found = read(&path, &config(|_| ())).unwrap();
    assert_eq!(found.texts(), ["a", "d\0"]);
    assert_eq!(found.reasons(), "invalid_utf8:1 wrong_fields:2");
    let schema = found.batches[0].schema();
    let names: Vec<&str> = schema.fields()[4..].iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["n", "column_3"]);
    let batch = &found.batches[0];
    assert!(batch.column(4).is_null(1));
    assert_eq!(batch.column(5).as_string::<i32>().value(1), "x\ny");
}
