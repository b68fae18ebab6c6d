//! The run's append-only records: `metrics.jsonl`, `evals.jsonl`, `samples.jsonl`, `timing.jsonl`.
//!
//! In → serializable records that hold a `step`; out → one JSON object a line. **Resume.** What
//! lies after the checkpoint is removed: [`Records::cut_at`] cuts at the length that the checkpoint
//! names; [`Records::cut`], where none is named, from the first line whose step is beyond it, or
//! that is no record (a kill leaves half of one). What a checkpoint covers was appended and synced
//! before that checkpoint was published, and `recovery` has held it against its hash.
//! **Invariants.** Steps never fall from line to line. **Cost.** A cut reads the file once, at the
//! start of a process; the hash of all that stands follows each append.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::base::{
    error::{Error, Result},
    hash::Hasher,
    io, place,
};
use crate::runtime::hashed::FileHash;

/// One JSON Lines file, open for appending.
pub struct Records {
    path: PathBuf,
    file: File,
    bytes: u64,
    hasher: Hasher,
}

/// What every record has.
#[derive(Deserialize)]
struct Line {
    step: u64,
}

impl Records {
    /// Opens `path` (made when missing) and keeps the records of the steps up to `step`, which are
    /// whole: [`read_until`] says where they are not.
    pub fn cut(path: &Path, step: u64) -> Result<Records> {
        let bytes = if path.exists() { io::read(path)? } else { Vec::new() };
        let mut kept = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let record = parse::<Line>(path, kept, line);
            if !line.ends_with(b"\n") || record.map_or(true, |record| record.step > step) {
                break;
            }
            kept += line.len();
        }
        Records::cut_at(path, kept as u64)
    }

    /// Opens `path` (made when missing) and keeps its first `length` bytes.
    pub fn cut_at(path: &Path, length: u64) -> Result<Records> {
        let file = io::append(path)?;
        let kept = io::read_range(path, 0, length as usize)?;
        if io::size(path)? > length {
            io::truncate(path, length)?;
        }
        let mut hasher = Hasher::new();
        hasher.update(&kept);
        Ok(Records { path: path.to_owned(), file, bytes: length, hasher })
    }

    /// Appends one record in one write.
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(record).expect("records hold numbers and text alone");
        line.push(b'\n');
        self.hasher.update(&line);
        self.bytes += line.len() as u64;
        self.file.write_all(&line).map_err(Error::io("write", &self.path))
    }

    /// Everything that stands, as a checkpoint vouches for it.
    pub fn hash(&self) -> FileHash {
        let name = place::name(&self.path);
        FileHash { name, bytes: self.bytes, xxh3: self.hasher.finish() }
    }

    /// Waits until everything appended is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }
}

/// The records of the steps up to `step`; a missing file has none. What lies behind is not looked
/// at.
///
/// # Errors
/// Damaged: a line before that is no record.
pub fn read_until<T: DeserializeOwned>(path: &Path, step: u64) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = io::read(path)?;
    let mut offset = 0;
    let mut records = Vec::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if !line.ends_with(b"\n") || parse::<Line>(path, offset, line)?.step > step {
            break;
        }
        records.push(parse(path, offset, line)?);
        offset += line.len();
    }
    Ok(records)
}

fn parse<T: DeserializeOwned>(path: &Path, offset: usize, line: &[u8]) -> Result<T> {
    serde_json::from_slice(line)
        .map_err(|error| Error::damaged_artifact(path, Some(offset as u64), error))
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
    fn a_broken_line_before_the_step_is_named_and_one_behind_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("evals.jsonl");
        io::write(&path, b"{\"step\":1}\n{\"step\":5}\nnonsense\n").unwrap();
        let read = |step| read_until::<serde_json::Value>(&path, step);
        assert_eq!(read(4).unwrap().len(), 1);
        let error = read(5).unwrap_err();
        assert!(error.to_string().contains("evals.jsonl` at byte 22"), "{error}");
    }

    #[test]
    fn the_hash_of_records_is_that_of_their_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        io::write(&path, b"{\"step\":1}\n{\"step\":2}\nhalf").unwrap();
        let mut records = Records::cut_at(&path, 11).unwrap();
        records.append(&serde_json::json!({"step": 2})).unwrap();
        assert_eq!(records.hash().bytes, 22);
        records.hash().hold(directory.path(), true).unwrap();
        assert!(Records::cut_at(&path, 99).is_err());
    }
}
