//! The rows of an evaluation's original file.
//!
//! In → a file; out → its rows as JSON values, in order. The name's ending tells the format:
//! `.jsonl` (an object a line; blank lines are skipped), `.json` (a list), `.csv` and `.tsv`
//! without a header (RFC 4180: fields in quotes may hold separators, line ends and doubled quotes),
//! each also `.gz` or `.zst`; any other file is text, a line a row. Every object gets `file_stem`,
//! the name without its endings. **Invariants.** The number of a row depends on the file alone;
//! what cannot be read is damage, reported with its place and never left out, since results on
//! fewer items are no results. **Cost.** The file and its rows in memory: the largest of the usual
//! sets has 12 MB.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::base::error::{Error, Result};
use crate::base::io;

/// Reads every row of the file at `path`.
///
/// # Errors
/// Damaged: what is no row, with its place. Io.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (name, bytes) = unpacked(name, path)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() as u64;
        Error::damaged(path, Some(at), "it is no UTF-8")
    })?;
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let mut rows = match ending {
        "jsonl" => lines_of_json(path, &text)?,
        "json" => match serde_json::from_str(&text) {
            Ok(Value::Array(rows)) => rows,
            Ok(_) => return Err(Error::damaged(path, None, "it is JSON, but no list")),
            Err(error) => return Err(Error::damaged(path, None, error)),
        },
        "csv" => separated(path, &text, ',')?,
        "tsv" => separated(path, &text, '\t')?,
        _ => text.lines().map(|line| Value::String(line.to_owned())).collect(),
    };
    for row in rows.iter_mut().filter_map(Value::as_object_mut) {
        row.insert("file_stem".to_owned(), stem.into());
    }
    Ok(rows)
}

/// The name without a compression's ending, and the decompressed bytes.
fn unpacked<'a>(name: &'a str, path: &Path) -> Result<(&'a str, Vec<u8>)> {
    let bytes = io::read(path)?;
    let damaged = |error: std::io::Error| Error::damaged(path, None, error);
    if let Some(name) = name.strip_suffix(".gz") {
        let mut output = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(bytes.as_slice());
        decoder.read_to_end(&mut output).map_err(damaged)?;
        return Ok((name, output));
    }
    if let Some(name) = name.strip_suffix(".zst") {
        return Ok((name, zstd::decode_all(bytes.as_slice()).map_err(damaged)?));
    }
    Ok((name, bytes))
}

fn lines_of_json(path: &Path, text: &str) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if !line.trim_ascii().is_empty() {
            let row: Value = serde_json::from_str(line)
                .map_err(|error| Error::damaged(path, Some(start), error))?;
            if !row.is_object() {
                return Err(Error::damaged(path, Some(start), "a line that is no JSON object"));
            }
            rows.push(row);
        }
        start += line.len() as u64;
    }
    Ok(rows)
}

/// Records of separated fields, which are called 0, 1, ….
fn separated(path: &Path, text: &str, separator: char) -> Result<Vec<Value>> {
    let (mut rows, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, char)) = characters.next() {
        match char {
            '"' if quoted.is_some() => match characters.next_if(|(_, next)| *next == '"') {
                Some(_) => field.push('"'),
                None => quoted = None,
            },
            _ if quoted.is_some() => field.push(char),
            '"' if field.is_empty() => quoted = Some(at),
            '\r' if characters.peek().is_some_and(|(_, next)| *next == '\n') => {}
            '\n' => {
                fields.push(std::mem::take(&mut field));
                rows.extend(record(std::mem::take(&mut fields)));
            }
            _ if char == separator => fields.push(std::mem::take(&mut field)),
            _ => field.push(char),
        }
    }
    if let Some(at) = quoted {
        return Err(Error::damaged(path, Some(at as u64), "a quote that does not end"));
    }
    fields.push(field);
    rows.extend(record(fields));
    Ok(rows)
}

/// A row of fields; `None` for a blank line.
fn record(fields: Vec<String>) -> Option<Value> {
    if fields.iter().all(String::is_empty) {
        return None;
    }
    let named = fields.into_iter().enumerate();
    let row: Map<String, Value> =
        named.map(|(place, field)| (place.to_string(), Value::String(field))).collect();
    Some(Value::Object(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;

    fn rows(name: &str, bytes: &[u8]) -> Result<Vec<Value>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        io::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn every_form_gives_the_same_rows() {
        let lines = b"{\"0\":\"a,\\\"b\",\"1\":\"c\"}\n\n{\"0\":\"d\\ne\",\"1\":\"\"}\n";
        let row = |one: &str, two: &str| json!({"0": one, "1": two, "file_stem": "x_test"});
        let expected = [row("a,\"b", "c"), row("d\ne", "")];
        assert_eq!(rows("x_test.jsonl", lines).unwrap(), expected);
        assert_eq!(rows("x_test.jsonl.zst", &zstd::encode_all(&lines[..], 1).unwrap()).unwrap(), {
            expected.clone()
        });
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(lines).unwrap();
        assert_eq!(rows("x_test.jsonl.gz", &gzip.finish().unwrap()).unwrap(), expected);
        let list = br#"[{"0":"a,\"b","1":"c"},{"0":"d\ne","1":""}]"#;
        assert_eq!(rows("x_test.json", list).unwrap(), expected);
        let csv = b"\"a,\"\"b\",c\r\n\"d\ne\",\n";
        assert_eq!(rows("x_test.csv", csv).unwrap(), expected);
        assert_eq!(rows("x_test.tsv", b"\"a,\"\"b\"\tc\n\"d\ne\"\t").unwrap(), expected);
        assert_eq!(rows("labels.lst", b"0\n1\n").unwrap(), [json!("0"), json!("1")]);
    }

    #[test]
    fn damage_is_named_with_its_place() {
        for (name, bytes, expected) in [
            ("a.jsonl", &b"{}\n{\"a\""[..], "at byte 3"),
            ("a.jsonl", b"{}\n7\n", "no JSON object"),
            ("a.json", b"{}", "no list"),
            ("a.csv", b"a,\"b\nc", "at byte 2: a quote that does not end"),
            ("a.jsonl.gz", b"\x1f\x8b\x08", "damaged"),
            ("a.jsonl.zst", b"\x28\xb5", "damaged"),
            ("a.jsonl", b"{}\n\xff", "at byte 3: it is no UTF-8"),
        ] {
            let error = rows(name, bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
