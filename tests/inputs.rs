//! How inputs are found, recognised, named, counted and refused, through the command line.

use crate::support::{Run, TestDir, documents};

/// Both streams of a run that failed with `status`.
#[track_caller]
fn refused(run: &Run, status: i32) -> String {
    assert_eq!(run.status, status, "stdout:\n{}\nstderr:\n{}", run.stdout, run.stderr);
    run.stderr.clone()
}

fn lines(texts: &[String], field: &str) -> String {
    texts.iter().map(|text| serde_json::json!({ field: text }).to_string() + "\n").collect()
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
    text.encode_utf16().flat_map(bytes).collect()
}

fn utf32(text: &str) -> Vec<u8> {
    text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

/// File, bytes, what is said of them, and what the remedy holds.
type Case = (&'static str, Vec<u8>, &'static str, &'static str);

/// Each file's refusal: exit status, message, hint.
#[track_caller]
fn check(cases: Vec<Case>, status: i32, place: &str) {
    for (name, bytes, what, remedy) in cases {
        let directory = TestDir::new();
        directory.write(name, bytes);
        let run = directory.dataprep(&format!("ingest {name} --out o --holdout 0"));
        let said = refused(&run, status);
        let (message, hint) = said.split_once("hint:").expect("a hint");
        assert!(message.contains(&format!("`{name}{place}")), "{name}: {said}");
        assert!(message.contains(what), "{name}: {said}");
        assert!(hint.contains(remedy), "{name}: {said}");
    }
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn text_in_another_encoding_is_refused_before_any_work() {
    let text = lines(&documents(12, 1), "text");
    let cyrillic = lines(&["Привет, мир".to_owned(), "日本語".to_owned()], "text");
    let (little, big) = (utf16(&text, false), utf16(&text, true));
    let iconv = ("UTF-16 text", "iconv -f UTF-16 ");
    let utf32_remedy = "iconv -f UTF-32";
    check(
        vec![
            ("a.jsonl", joined(&[b"\xff\xfe", &little]), iconv.0, iconv.1),
            ("b.jsonl", joined(&[b"\xfe\xff", &big]), iconv.0, iconv.1),
            ("c.jsonl", little.clone(), iconv.0, iconv.1),
            ("d.jsonl", big, iconv.0, iconv.1),
            ("e.jsonl", utf16(&cyrillic, true), iconv.0, iconv.1),
            ("f.jsonl.gz", gzip(&utf16(&cyrillic, false)), iconv.0, iconv.1),
            ("g.jsonl", utf32(&text), "UTF-32 text", utf32_remedy),
            ("h.jsonl", joined(&[b"\xff\xfe\0\0", &utf32(&text)]), "UTF-32 text", utf32_remedy),
            ("i.jsonl", vec![0; 400], "zero bytes", "fetch it again"),
        ],
        2,
        ":0`",
    );
}

#[test]
fn lines_that_end_in_cr_alone_are_refused_before_any_work() {
    let text = lines(&documents(12, 1), "text").replace('\n', "\r");
    let what = "lines that end in CR alone";
    check(vec![("h.jsonl", text.into(), what, "tr '\\r' '\\n'")], 2, ":0`");
}

#[test]
fn json_is_read_in_every_form_whatever_its_name_promises() {
    let text = lines(&documents(12, 1), "text");
    let array = format!("[{}]", text.trim_end().replace('\n', ","));
    let pretty = |json: &str| {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let apart: String = text.lines().map(|line| pretty(line) + "\n").collect();
    let mut first: Option<Vec<u8>> = None;
    for (name, bytes) in [
        ("a.jsonl", text.clone().into_bytes()),
        ("b.json", array.clone().into()),
        ("c.jsonl", pretty(&array).into()),
        ("d.jsonl.gz", gzip(pretty(&array).as_bytes())),
        ("e", format!("\u{feff}{array}").into()),
        ("f.jsonl", apart.clone().into()),
        ("g.json.zst", zstd(apart.as_bytes())),
    ] {
        let directory = TestDir::new();
        directory.write(name, bytes);
        let command = format!("ingest s={name} --out o --holdout 0 --max-bad 0");
        let run = directory.dataprep(&command).ok();
        assert!(run.stdout.contains("12 documents"), "{name}: {}", run.stdout);
        let part = std::fs::read(directory.path("o/part-00000.parquet")).unwrap();
        assert_eq!(first.get_or_insert_with(|| part.clone()), &part, "{name}");
    }
}

#[test]
fn files_of_another_kind_are_refused_before_any_work() {
    let text = lines(&documents(12, 1), "text");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n".to_vec();
    check(
        vec![
            ("a.jsonl.gz", gzip(&gzip(text.as_bytes())), "gzip data", "compressed twice"),
            ("b.jsonl.zst", zstd(&gzip(text.as_bytes())), "gzip data", "compressed twice"),
            ("c.jsonl.gz", joined(&[b"PK\x03\x04", &[7; 90]]), "a zip archive", "unpack it"),
            ("d.jsonl.bz2", gzip(&gzip(text.as_bytes())), "gzip data", "compressed twice"),
            ("e.jsonl.lzma", b"\x5d\0\0\x80\0\0".to_vec(), "lzma data", "xz -dc"),
            ("f.jsonl", pointer, "a Git LFS pointer", "git lfs pull"),
            ("g.jsonl", b"<!doctype html><title>404</title>\n".to_vec(), "a web page", "fetch"),
            ("h.txt", joined(&[b"PK\x03\x04", &[7; 90]]), "a zip archive", "unpack it"),
            ("i.csv", joined(&[b"\xff\xfe", &utf16("text\na\n", false)]), "UTF-16", "iconv"),
            ("j.dat", b"id,text\n1,a b c\n".to_vec(), "`id,text", "known are"),
        ],
        2,
        "",
    );
}

#[test]
fn text_with_a_fault_in_each_line_is_read_to_the_end_and_one_line_is_shown() {
    let text = lines(&documents(12, 1), "text");
    let cyrillic = lines(&["Привет, мир".to_owned()], "text");
    let koi: Vec<u8> = cyrillic.bytes().map(|b| if b > 127 { b ^ 0x55 } else { b }).collect();
    let japanese = b"{\"text\":\"\x82\xb1\x82\xf1\x82\xc9\"}\n".repeat(5);
    let ebcdic: Vec<u8> = text.bytes().map(|b| b.wrapping_mul(37) | 0x80).collect();
    check(
        vec![
            ("a.jsonl", b"{\"text\":\"caf\xe9\"}\n".repeat(5), "invalid_utf8", "iconv -f latin1"),
            ("b.jsonl", japanese, "invalid_utf8", "shift-jis"),
            ("c.jsonl", koi, "invalid_utf8", "iconv"),
            ("d.jsonl", ebcdic, "invalid_utf8", "iconv"),
            ("e.jsonl", text.replace("}\n{", "}{").into(), "several_objects", "jq -c ."),
            ("f.jsonl", b"plain words\nand more\n".to_vec(), "invalid_json", "one JSON object"),
            ("g.jsonl", b"[\"a\"]\n17\nnull\n".to_vec(), "not_an_object", "one JSON object"),
            ("h.jsonl", b"{\"text\":null}\n".to_vec(), "null_text", "--text-column"),
            ("i.jsonl", b"{\"text\":[1]}\n".to_vec(), "text_not_a_string", "--text-column"),
            (
                "j.jsonl",
                b"{\"text\":\"\\ud83d\"}\n".to_vec(),
                "lone_surrogate",
                "without `\\ud83d`",
            ),
            ("k.jsonl", b"{\"text\":NaN}\n".to_vec(), "null_text", "rejects.jsonl` lists them"),
        ],
        1,
        ":0` is ",
    );
}

#[test]
fn what_a_name_promises_does_not_matter_where_the_bytes_can_be_read() {
    let text = lines(&documents(12, 1), "text");
    let marked = text.lines().map(|line| format!("\u{feff}{line}\n")).collect::<String>();
    let padded = [gzip(text.as_bytes()), vec![0; 512]].concat();
    let numbers = text.replace("{\"text\"", "{\"a\":NaN,\"b\":[-Infinity,Infinity],\"text\"");
    for (name, bytes) in [
        ("zstd.jsonl.gz", zstd(text.as_bytes())),
        ("plain.jsonl.gz", text.clone().into_bytes()),
        ("gzip.jsonl", gzip(text.as_bytes())),
        ("lines.json", text.clone().into_bytes()),
        ("no_ending", text.clone().into_bytes()),
        ("crlf.jsonl", text.replace('\n', "\r\n").into_bytes()),
        ("marks.jsonl", marked.into_bytes()),
        ("padded.jsonl.gz", padded),
        ("numbers.jsonl", numbers.into_bytes()),
        ("bzip2.jsonl.zst", bzip2(text.as_bytes())),
        ("text.json.bz2", [bzip2(text.as_bytes()), bzip2(b"\n")].concat()),
    ] {
        let directory = TestDir::new();
        directory.write(name, bytes);
        let run =
            directory.dataprep(&format!("ingest {name} --out o --holdout 0 --max-bad 0")).ok();
        assert!(run.stdout.contains("12 documents"), "{name}: {}", run.stdout);
    }
}

#[test]
fn parquet_by_another_name_is_read_and_what_only_is_called_parquet_is_named() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(12, 1));
    directory.dataprep("ingest text --out c --holdout 0").ok();
    let part = std::fs::read(directory.path("c/part-00000.parquet")).unwrap();
    directory.write("x.jsonl", part);
    directory.dataprep("tokenizer train x.jsonl --vocab 300 --holdout 0 --out t").ok();
    for (name, bytes, what) in [
        ("a.parquet", lines(&documents(2, 1), "text").into_bytes(), "JSON: `{"),
        ("b.parquet", gzip(b"x"), "gzip data"),
        ("c.parquet", b"<!DOCTYPE html>404".to_vec(), "a web page"),
    ] {
        directory.write(name, bytes);
        let said = refused(&directory.dataprep(&format!("ingest {name} --out o")), 1);
        assert!(said.contains(name) && said.contains(what), "{said}");
    }
}

#[test]
fn a_wrong_text_field_is_known_at_the_beginning_with_the_fields_there_are() {
    let directory = TestDir::new();
    directory.write("a/x.jsonl", lines(&documents(9, 1), "content"));
    directory.write("a/y.jsonl", lines(&documents(9, 2), "content"));
    let said = refused(&directory.dataprep("ingest a --out o"), 2);
    assert!(said.contains("a/x.jsonl") && said.contains("`content`"), "{said}");
    let near = refused(&directory.dataprep("ingest a --out o --text-column contents"), 2);
    assert!(near.contains("did you mean `--text-column content`?"), "{near}");
    // One file that has the field makes the others' lines data.
    directory.write("a/z.jsonl", lines(&documents(2000, 3), "text"));
    let run = directory.dataprep("ingest a --out o --holdout 0").ok();
    assert!(run.stdout.contains("missing_text 18"), "{}", run.stdout);
    let rejects = std::fs::read_to_string(directory.path("o/rejects-00000.jsonl")).unwrap();
    assert!(rejects.contains("an object without `text`, with `content`"), "{rejects}");
    // So do a few first lines without it.
    let mixed = lines(&documents(3, 1), "note") + &lines(&documents(400, 4), "text");
    directory.write("b.jsonl", mixed);
    directory.dataprep("ingest b.jsonl --out p --holdout 0").ok();
}

#[test]
fn max_bad_is_kept_exactly_and_the_hundred_are_the_defaults() {
    let directory = TestDir::new();
    let good = lines(&documents(398, 1), "text");
    directory.write("two.jsonl", format!("{good}no\n{{}}\n"));
    let said = refused(&directory.dataprep("ingest two.jsonl --out a --holdout 0 --max-bad 0"), 1);
    assert!(said.contains("2 of 400 documents could not be read"), "{said}");
    assert!(said.contains("two.jsonl:"), "{said}");
    directory.dataprep("ingest two.jsonl --out b --holdout 0 --max-bad 0.005").ok();
    refused(&directory.dataprep("ingest two.jsonl --out c --holdout 0 --max-bad 0.0049"), 1);
    let run = directory.dataprep("ingest two.jsonl --out d --holdout 0 -q").ok();
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    // Many of few pass by default, with a warning that `-q` does not hide and `-qq` does.
    directory.write("many.jsonl", "no\n".repeat(99) + &lines(&documents(1, 1), "text"));
    let run = directory.dataprep("tokenizer train many.jsonl --vocab 300 --holdout 0 -q --out e");
    let said = run.ok().stderr;
    assert!(said.contains("99 of 100 documents of source `many` could not be read"), "{said}");
    let run = directory.dataprep("ingest many.jsonl --holdout 0 -qq --out f").ok();
    assert!(run.stderr.is_empty(), "{}", run.stderr);
}

#[test]
fn what_is_passed_over_is_named_by_every_stage_and_in_a_dry_run() {
    let directory = TestDir::new();
    for name in ["text/a.jsonl", "text/_batch1.jsonl", "text/_old/b.jsonl", "text/.c.jsonl"] {
        directory.write_documents(name, &documents(20, 1));
    }
    directory.write("text/x.csv", "a,b");
    for command in [
        "ingest text --holdout 0 --out a",
        "ingest text --holdout 0 --out a2 --dry-run",
        "filter text --rules gopher_quality --holdout 0 --out b -q",
        "dedup text --holdout 0 --out c",
        "tokenizer train text --vocab 300 --holdout 0 --out d",
        "tokenize text --vocab 300 --holdout 0 --out e",
        "inspect text --where true",
    ] {
        let said = directory.dataprep(command).ok().stderr;
        for name in ["_batch1.jsonl", "_old/", ".c.jsonl", "x.csv", "3 that begin with"] {
            assert!(said.contains(name), "{command}: {name}: {said}");
        }
    }
    directory.dataprep("ingest text/_batch1.jsonl --holdout 0 --out f").ok();
}

#[test]
fn patterns_names_and_pipes() {
    let directory = TestDir::new();
    for name in ["d/en/part-0.jsonl", "d/en/part-1.jsonl", "d/de/part-0.jsonl", "lang=en/x.jsonl"] {
        directory.write_documents(name, &documents(5, name.len() as u64));
    }
    let sources = |inputs: &str, out: &str| {
        let run =
            directory.dataprep(&format!("ingest {inputs} --holdout 0 --json --out {out}")).ok();
        let counts = run.summary()["counts"]["sources"].as_object().cloned();
        counts
            .map(|counts| counts.keys().cloned().collect::<Vec<_>>().join(" "))
            .unwrap_or_default()
    };
    assert_eq!(sources("d/*/*.jsonl", "a"), "de en");
    assert_eq!(sources("w=d/*/*.jsonl", "b"), "w");
    assert_eq!(sources("w=d/en w=d/de", "c"), "w");
    assert_eq!(sources("lang=en", "g"), "lang_en");
    let first = std::fs::read(directory.path("b/part-00000.parquet")).unwrap();
    assert_eq!(first, std::fs::read(directory.path("c/part-00000.parquet")).unwrap());
    #[cfg(unix)]
    {
        let made = std::process::Command::new("mkfifo").arg(directory.path("p")).status().unwrap();
        assert!(made.success());
        let said = refused(&directory.dataprep("ingest p --out e"), 2);
        assert!(said.contains("`p` is a pipe") && said.contains("write it to a file"), "{said}");
    }
}
