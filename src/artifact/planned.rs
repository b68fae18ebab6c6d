//! An input file as the plan saw it, and whether it still is that file.
//!
//! In → what was known of a file when the plan was made: its size, its stamp, the hash of its
//! samples (raw files) or of all of it (parts of an artifact, from the manifest); out → `Ok`, or
//! [`Error::Damaged`] with what was expected and found. A raw file is read whole only by its units,
//! which record a hash of every range; so its samples and those ranges are what can be asked later.
//! Cost: a look at the file's entry; reading only where a stamp has changed.

use std::{
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::manifest::{FILE_NAME, FileEntry};
use crate::base::{
    error::{Error, Result},
    hash::{Fingerprint, Hasher},
    io::{self, Stamp},
};

/// How much of each end, and of the middle, of a raw file enters its identity.
const IDENTITY_BYTES: u64 = 64 << 10;

/// A file that units will read.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    pub path: PathBuf,
    /// Its place in `Stage::inputs`, and its name there: a
    /// [`ReadRange`](super::record::ReadRange) names it by these.
    pub input: usize,
    pub name: String,
    /// Size in bytes: as found, or as the manifest says.
    pub bytes: u64,
    pub stamp: Stamp,
    pub content: Content,
}

/// What is known of a file's bytes before any unit reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// [`identity`] of a raw file.
    Sampled(Fingerprint),
    /// XXH3-128 of all of it, from the manifest of its artifact. `is_older`: it was last written
    /// before the manifest was, so it is taken for what the manifest describes.
    Whole { xxh3: Fingerprint, is_older: bool },
}

impl PlannedFile {
    /// A part of the artifact in `directory`, which is input `input`.
    pub fn part(directory: &Path, input: usize, entry: &FileEntry) -> Result<PlannedFile> {
        let path = directory.join(&entry.name);
        let stamp = io::stamp(&path)?.ok_or_else(|| size_differs(&path, entry.bytes, None))?;
        let manifest = io::metadata(&directory.join(FILE_NAME))?;
        let is_older = stamp.modified_ns <= io::modified_nanoseconds(&manifest);
        let content = Content::Whole { xxh3: entry.xxh3, is_older };
        Ok(PlannedFile {
            path,
            input,
            name: entry.name.clone(),
            bytes: entry.bytes,
            stamp,
            content,
        })
    }

    /// Whether its stamp at the time of the plan vouches for its content.
    pub fn is_trusted(&self) -> bool {
        match self.content {
            Content::Sampled(_) => true,
            Content::Whole { is_older, .. } => is_older && self.stamp.bytes == self.bytes,
        }
    }

    /// Its stamp now. A file that is gone or has another size is damaged.
    pub fn stamp_now(&self) -> Result<Stamp> {
        let found = io::stamp(&self.path)?;
        let stamp = found.filter(|stamp| stamp.bytes == self.bytes);
        stamp.ok_or_else(|| size_differs(&self.path, self.bytes, found.map(|stamp| stamp.bytes)))
    }

    /// Reads what the plan knows of it again: the samples of a raw file, all of a part.
    pub fn check_content(&self) -> Result<()> {
        let (expected, found, message) = match self.content {
            Content::Sampled(expected) => {
                let message = "it changed while it was read: its first, middle or last bytes";
                (expected, identity(&self.path, self.bytes)?, message)
            }
            Content::Whole { xxh3, .. } => {
                let message = "its content is not what the manifest beside it says";
                (xxh3, io::hash_file(&self.path)?.0, message)
            }
        };
        if expected == found { Ok(()) } else { Err(Error::damaged(&self.path, None, message)) }
    }
}

/// A file of another size than planned, by where its bytes end or go on; `None`: it is gone.
pub fn size_differs(path: &Path, expected: u64, found: Option<u64>) -> Error {
    let Some(found) = found else {
        return Error::damaged(path, None, format!("expected {expected} bytes, found no file"));
    };
    let message = format!("expected {expected} bytes, found {found}");
    Error::damaged(path, Some(expected.min(found)), message)
}

/// XXH3-128 of a file's first, middle and last 64 KiB; of all of it where that is not more.
pub fn identity(path: &Path, bytes: u64) -> Result<Fingerprint> {
    let starts = match bytes <= 3 * IDENTITY_BYTES {
        true => vec![(0, bytes)],
        false => [0, (bytes - IDENTITY_BYTES) / 2, bytes - IDENTITY_BYTES]
            .map(|start| (start, IDENTITY_BYTES))
            .to_vec(),
    };
    let mut file = io::open(path)?;
    let mut hasher = Hasher::new();
    for (start, length) in starts {
        let mut buffer = Vec::with_capacity(length as usize);
        file.seek(SeekFrom::Start(start)).map_err(Error::io("read", path))?;
        let part = (&mut file).take(length).read_to_end(&mut buffer);
        part.map_err(Error::io("read", path))?;
        hasher.update(&buffer);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(path: &Path) -> PlannedFile {
        let stamp = io::stamp(path).unwrap().unwrap();
        let content = Content::Sampled(identity(path, stamp.bytes).unwrap());
        let (path, name) = (path.to_owned(), "x".to_owned());
        PlannedFile { path, input: 0, name, bytes: stamp.bytes, stamp, content }
    }

    #[test]
    fn a_file_of_another_size_says_where_it_ends_or_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        io::write(&path, b"0123456789").unwrap();
        let file = planned(&path);
        assert_eq!(file.stamp_now().unwrap(), file.stamp);
        for (text, message) in [
            ("0123", "at byte 4: expected 10 bytes, found 4"),
            ("0123456789abc", "at byte 10: expected 10 bytes, found 13"),
        ] {
            io::write(&path, text.as_bytes()).unwrap();
            let error = file.stamp_now().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        io::remove_file(&path).unwrap();
        let error = file.stamp_now().unwrap_err().to_string();
        assert!(error.contains("expected 10 bytes, found no file"), "{error}");
    }

    #[test]
    fn samples_tell_a_file_that_was_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        io::write(&path, &[7; 300 << 10]).unwrap();
        let file = planned(&path);
        file.check_content().unwrap();
        io::write(&path, &[8; 300 << 10]).unwrap();
        assert_ne!(file.stamp_now().unwrap(), file.stamp);
        let error = file.check_content().unwrap_err().to_string();
        assert!(error.contains("changed while it was read"), "{error}");
    }
}
