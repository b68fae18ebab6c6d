//! JSON files as they are: whole ones, and a record a line.
//!
//! In → a path; out → values. A missing file has none. Half a line at the end of a file is a record
//! that is being written.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::base::{
    error::{Error, Result},
    io,
};

/// A JSON file; null where there is none, or none that can be read: what it says decides nothing.
pub fn json(path: &Path) -> Value {
    let text = if path.is_file() { io::read(path).unwrap_or_default() } else { Vec::new() };
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The whole records of a file; a missing file has none.
pub fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let bytes = io::read(path)?;
    let mut offset = 0;
    let mut records = Vec::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        let record = serde_json::from_slice(line);
        records.push(
            record.map_err(|error| Error::damaged_artifact(path, Some(offset as u64), error))?,
        );
        offset += line.len();
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::records::Metric;

    #[test]
    fn half_a_line_is_no_record_and_a_broken_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let line =
            r#"{"step":1,"tokens":8,"loss":2.0,"learning_rate":0.1,"gradient_norm":1,"new":0}"#;
        io::write(&path, format!("{line}\n{line}\n{{\"st").as_bytes()).unwrap();
        assert_eq!(lines::<Metric>(&path).unwrap().len(), 2);
        io::write(&path, format!("{line}\n{{\"step\":2}}\n").as_bytes()).unwrap();
        let error = lines::<Metric>(&path).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl` at byte 79"), "{error}");
        assert!(lines::<Metric>(&directory.path().join("none")).unwrap().is_empty());
    }
}
