//! JSON Lines that runs write, whole or their end.
//!
//! In → a path; out → a value a line. A last line without its end is half of one and left out; a
//! missing file has none. Cost: the end takes one read of as many bytes as are asked for.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::base::error::{Error, Result};
use crate::base::io;

/// Every line.
///
/// # Errors
/// Damaged: a line that is no such record.
pub fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    parse(path, &io::read(path)?, 0)
}

/// The whole lines among the last so many bytes.
///
/// # Errors
/// Damaged: a line that is no such record.
pub fn tail<T: DeserializeOwned>(path: &Path, most: u64) -> Result<Vec<T>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let size = io::size(path)?;
    let start = size.saturating_sub(most);
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
    use serde_json::{Value, json};

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
}
