//! Units on disk: one attempt, one record, one rename.
//!
//! In → the files of an attempt in `units/000017.<random>.tmp/`; out → `units/000017/` with
//! `done.json`. The rename refuses a filled target, so whoever comes second compares records:
//! equal, and it drops its own; different, and the unit is not pure, which is a bug. State is what
//! is published: no clocks, no leases (docs/design.md, section 8.2).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    counts::Counts,
    record::{FileCounts, Notes, ReadRange},
};
use crate::base::{
    error::{Error, Result},
    hash::Fingerprint,
    io,
};

/// The name of a unit's record.
const DONE: &str = "done.json";

/// The record of a published unit. No clock, host or path: equal work, equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub files: Vec<DoneFile>,
    pub read: Vec<ReadRange>,
    pub counts: Counts,
}

/// One file of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneFile {
    pub name: String,
    pub bytes: u64,
    pub xxh3: Fingerprint,
    #[serde(flatten)]
    pub counts: FileCounts,
}

impl Done {
    /// The record in a published unit's directory.
    pub fn read(directory: &Path) -> Result<Done> {
        let path = directory.join(DONE);
        let text = io::read_text(&path)?;
        serde_json::from_str(&text).map_err(|error| Error::damaged_artifact(&path, None, error))
    }
}

/// `OUT.partial/units/000017`, published or not.
pub fn directory(partial: &Path, unit: usize) -> PathBuf {
    partial.join("units").join(format!("{unit:06}"))
}

/// Whether a unit is published.
pub fn is_published(partial: &Path, unit: usize) -> bool {
    directory(partial, unit).join(DONE).is_file()
}

/// Makes the directory of one attempt; its name is random and never reaches any content.
pub fn begin(partial: &Path, unit: usize) -> Result<PathBuf> {
    let units = partial.join("units");
    let random =
        getrandom::u64().map_err(|error| Error::io("name a file in", &units)(error.into()))?;
    let attempt = units.join(format!("{unit:06}.{random:016x}.tmp"));
    io::create_directory(&attempt)?;
    Ok(attempt)
}

/// Records and publishes an attempt by one rename.
pub fn publish(
    partial: &Path,
    unit: usize,
    attempt: &Path,
    notes: Notes,
    counts: Counts,
) -> Result<()> {
    let done = record(attempt, notes, counts)?;
    let json = serde_json::to_vec(&done).expect("a record is plain data");
    io::write(&attempt.join(DONE), &json)?;
    io::sync(attempt)?;
    let target = directory(partial, unit);
    match io::rename(attempt, &target) {
        Ok(()) => io::sync(&partial.join("units")),
        Err(_) if is_published(partial, unit) => {
            let first = Done::read(&target)?;
            assert_eq!(first, done, "unit {unit} is not pure: two attempts differ");
            io::remove_directory(attempt)
        }
        Err(error) => Err(error),
    }
}

/// Hashes and syncs the files of an attempt.
fn record(attempt: &Path, notes: Notes, counts: Counts) -> Result<Done> {
    let Notes { files: mut described, mut read, mut hashed } = notes;
    let mut files = Vec::new();
    for path in io::files_below(attempt)? {
        let name = path.strip_prefix(attempt).expect("listed below the attempt");
        let name = name.to_string_lossy().into_owned();
        let (xxh3, bytes) = match hashed.remove(&name) {
            Some((xxh3, bytes)) if io::size(&path)? == bytes => (xxh3, bytes),
            _ => io::hash_file(&path)?,
        };
        io::sync(&path)?;
        let counts = described.remove(&name).unwrap_or_default();
        files.push(DoneFile { name, bytes, xxh3, counts });
    }
    let unknown: BTreeMap<_, _> = described;
    assert!(unknown.is_empty(), "described but not written: {:?}", unknown.keys());
    read.sort_by(|a, b| (a.input, &a.file, a.start).cmp(&(b.input, &b.file, b.start)));
    Ok(Done { files, read, counts })
}

/// Removes what killed attempts left. Only under the lock.
pub fn remove_attempts(partial: &Path) -> Result<()> {
    let units = partial.join("units");
    if !units.is_dir() {
        return Ok(());
    }
    for path in io::list(&units)? {
        if path.extension().is_some_and(|extension| extension == "tmp") {
            io::remove_directory(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt_with(partial: &Path, text: &str) -> PathBuf {
        let attempt = begin(partial, 3).unwrap();
        io::write(&attempt.join("part.txt"), text.as_bytes()).unwrap();
        attempt
    }

    #[test]
    fn the_second_of_two_equal_attempts_is_dropped() {
        let partial = tempfile::tempdir().unwrap();
        let partial = partial.path();
        let (first, second) = (attempt_with(partial, "a"), attempt_with(partial, "a"));
        for attempt in [&first, &second] {
            publish(partial, 3, attempt, Notes::default(), Counts::default()).unwrap();
        }
        assert!(is_published(partial, 3) && !second.exists());
        assert_eq!(Done::read(&directory(partial, 3)).unwrap().files[0].bytes, 1);
    }

    #[test]
    fn two_attempts_that_differ_are_a_bug() {
        let partial = tempfile::tempdir().unwrap();
        let partial = partial.path();
        let (first, second) = (attempt_with(partial, "a"), attempt_with(partial, "b"));
        publish(partial, 3, &first, Notes::default(), Counts::default()).unwrap();
        let result = std::panic::catch_unwind(|| {
            publish(partial, 3, &second, Notes::default(), Counts::default())
        });
        assert!(result.is_err());
    }
}
