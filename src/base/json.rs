//! JSON files of ours: a whole one, a record a line, or the records at a file's end.
//!
//! In → a path; out → values. A missing file has none, and a last line without its line end is a
//! record that is still being written, so it is left out. **Cost.** [`lines`] reads the file once;
//! [`tail`] reads as many bytes as are asked for.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{Error, Result};
use super::io;

/// A whole file; null where it is missing or cannot be read. For what decides nothing: clocks,
/// places, the state that a run says it is in.
pub fn value(path: &Path) -> Value {
    let bytes = if path.is_file() { io::read(path).unwrap_or_default() } else { Vec::new() };
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The record of every whole line.
///
/// # Errors
/// Damaged: a line that is no such record.
pub fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    parse(path, &io::read(path)?, 0)
}

/// The records of the whole lines among the last `bytes_max` bytes.
///
/// # Errors
/// Damaged: a line that is no such record.
pub fn tail<T: DeserializeOwned>(path: &Path, bytes_max: u64) -> Result<Vec<T>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let size = io::size(path)?;
    let start = size.saturating_sub(bytes_max);
    let bytes = io::read_range(path, start, (size - start) as usize)?;
    let first = match start {
        0 => 0,
        _ => bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1),
    };
    parse(path, &bytes[first..], start + first as u64)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8], start: u64) -> Result<Vec<T>> {
    let mut offset = start;
    let mut values = Vec::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if line.ends_with(b"\n") {
            let value = serde_json::from_slice(line);
            let value = value.map_err(|it| Error::damaged_artifact(path, Some(offset), it))?;
            values.push(value);
        }
        offset += line.len() as u64;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_end_of_a_long_file_is_its_last_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let line = |step: u64| json!({"step": step, "pad": "x".repeat(100)}).to_string() + "\n";
        let text: String = (0..2000).map(line).collect();
        io::write(&path, format!("{text}{{\"step\":").as_bytes()).unwrap();
        let (all, end) = (lines::<Value>(&path).unwrap(), tail::<Value>(&path, 64 << 10).unwrap());
        assert_eq!(all.len(), 2000);
        assert!(end.len() > 300 && end.len() < 700, "{}", end.len());
        assert_eq!(all[2000 - end.len()..], end[..]);
        io::write(&path, b"{\"step\":1}\nnonsense\n").unwrap();
        let error = tail::<Value>(&path, 64 << 10).unwrap_err().to_string();
        assert!(error.contains("byte 11"), "{error}");
    }
    #[test]
    fn half_a_line_is_no_record_and_a_broken_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        io::write(&path, b"{\"step\":1}\n{\"step\":2}\n{\"st").unwrap();
        assert_eq!(lines::<Value>(&path).unwrap(), [json!({"step": 1}), json!({"step": 2})]);
        io::write(&path, b"{\"step\":1}\nnonsense\n").unwrap();
        let error = lines::<Value>(&path).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl` at byte 11"), "{error}");
        assert!(lines::<Value>(&directory.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.json");
        assert_eq!(value(&path), Value::Null);
        io::write(&path, b"{\"seconds\":").unwrap();
        assert_eq!(value(&path), Value::Null);
        io::write(&path, b"{\"seconds\":2}").unwrap();
        assert_eq!(value(&path)["seconds"], 2);
    }
}
