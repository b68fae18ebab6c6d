//! The run's append-only records: `metrics.jsonl`, `evals.jsonl`, `samples.jsonl`, `timing.jsonl`.
//!
//! In → serializable records that hold a `step`; out → one JSON object a line. **Resume.**
//! [`Records::cut`] removes what lies after the checkpoint: every line from the first one whose
//! step is beyond it, and a last line without its newline (what a kill leaves of an append). What a
//! checkpoint covers was appended and synced before that checkpoint was published, so nothing that
//! it needs can be missing. **Invariants.** Steps never fall from line to line. **Cost.** A cut
//! reads the file once, at the start of a process.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::base::{
    error::{Error, Result},
    io,
};

/// One JSON Lines file, open for appending.
pub struct Records {
    path: PathBuf,
    file: File,
}

/// What every record has.
#[derive(Deserialize)]
struct Line {
    step: u64,
}

impl Records {
    /// Opens `path` (made when missing) and removes the records of steps after `step`. Damaged: a
    /// complete line that is no record.
    pub fn cut(path: &Path, step: u64) -> Result<Records> {
        let file = io::append(path)?;
        let bytes = io::read(path)?;
        let mut kept = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let complete = line.ends_with(b"\n");
            if !complete || parse::<Line>(path, kept, line)?.step > step {
                break;
            }
            kept += line.len();
        }
        if kept < bytes.len() {
            io::truncate(path, kept as u64)?;
        }
        Ok(Records { path: path.to_owned(), file })
    }

    /// Appends one record in one write.
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(record).expect("records hold numbers and text alone");
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io("write", &self.path))
    }

    /// Waits until everything appended is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }
}

/// All complete records of a file; a missing file has none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = io::read(path)?;
    let mut offset = 0;
    let mut records = Vec::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if line.ends_with(b"\n") {
            records.push(parse(path, offset, line)?);
        }
        offset += line.len();
    }
    Ok(records)
}

fn parse<T: DeserializeOwned>(path: &Path, offset: usize, line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| Error::damaged(path, Some(offset as u64), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, step: u64) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        io::write(&path, text.as_bytes()).unwrap();
        let mut records = Records::cut(&path, step).unwrap();
        records.append(&serde_json::json!({"step": 9})).unwrap();
        io::read_text(&path).unwrap()
    }

    #[test]
    fn a_cut_removes_later_steps_and_half_a_line() {
        let text = "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st";
        assert_eq!(lines(text, 2), "{\"step\":1}\n{\"step\":2}\n{\"step\":9}\n");
        assert_eq!(lines(text, 3), "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":9}\n");
        assert_eq!(lines(text, 0), "{\"step\":9}\n");
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("evals.jsonl");
        io::write(&path, b"{\"step\":1}\nnonsense\n{\"step\":2}\n").unwrap();
        let error = Records::cut(&path, 5).err().unwrap();
        assert!(error.to_string().contains("evals.jsonl` at byte 11"), "{error}");
    }
}
