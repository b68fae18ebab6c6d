//! An input file as the plan saw it, and whether it still is that file.
//!
//! In → what was known of a file when the plan was made: its size, its stamp, the hash of its
//! samples (raw files) or of all of it (parts of an artifact, from the manifest), or what the place
//! of a remote one promises; out → `Ok`, or [`Error::Damaged`] with what was expected and found. A
//! raw file is read whole only by its units, which record a hash of every range; so its samples and
//! those ranges are what can be asked later.
//! Cost: a look at the file's entry; reading only where a stamp has changed.

use std::{io::Read, path::Path};

use super::manifest::{FILE_NAME, FileEntry};
use crate::base::{
    error::{Error, Result},
    hash::{Fingerprint, Hasher, xxh3_128},
    io::{self, Stamp},
};
use crate::store::{Identity, Stored, final_error};

/// How much of each end, and of the middle, of a raw file enters its identity.
const IDENTITY_BYTES: u64 = 64 << 10;

/// A file that units will read.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    pub file: Stored,
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
    /// The hash of what a remote place names the bytes by: a hash or tag that changes when they do.
    Promised(Fingerprint),
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
            file: Stored::local(path),
            input,
            name: entry.name.clone(),
            bytes: entry.bytes,
            stamp,
            content,
        })
    }

    /// A raw file, as it is found now; `None` where it is gone.
    pub fn raw(file: Stored, input: usize, name: String) -> Result<Option<PlannedFile>> {
        let Some(stamp) = file.stamp()? else { return Ok(None) };
        let bytes = stamp.bytes;
        let content = match file.identity().map(Identity::to_string) {
            Some(promised) => Content::Promised(xxh3_128(promised.as_bytes())),
            None => Content::Sampled(identity(&file, bytes)?),
        };
        Ok(Some(PlannedFile { file, input, name, bytes, stamp, content }))
    }

    /// Where it lies, as messages name it.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether its stamp at the time of the plan vouches for its content.
    pub fn is_trusted(&self) -> bool {
        match self.content {
            Content::Sampled(_) | Content::Promised(_) => true,
            Content::Whole { is_older, .. } => is_older && self.stamp.bytes == self.bytes,
        }
    }

    /// Its stamp now. A file that is gone or has another size is damaged.
    pub fn stamp_now(&self) -> Result<Stamp> {
        let found = self.file.stamp()?;
        let stamp = found.filter(|stamp| stamp.bytes == self.bytes);
        stamp.ok_or_else(|| size_differs(self.path(), self.bytes, found.map(|stamp| stamp.bytes)))
    }

    /// Reads what the plan knows of it again: the samples of a raw file, all of a part.
    pub fn check_content(&self) -> Result<()> {
        let (expected, found, message) = match self.content {
            // A remote place hands out no other bytes than those it listed.
            Content::Promised(_) => return Ok(()),
            Content::Sampled(expected) => {
                let message = "it changed while it was read: its first, middle or last bytes";
                (expected, identity(&self.file, self.bytes)?, message)
            }
            Content::Whole { xxh3, .. } => {
                let message = "its content is not what the manifest beside it says";
                (xxh3, io::hash_file(self.path())?.0, message)
            }
        };
        if expected == found { Ok(()) } else { Err(Error::damaged(self.path(), None, message)) }
    }
}

/// The error for a file whose size is not the planned one, with the byte where it ends or goes on;
/// `None` for a file that is gone.
pub fn size_differs(path: &Path, expected: u64, found: Option<u64>) -> Error {
    let Some(found) = found else {
        return Error::damaged(path, None, format!("expected {expected} bytes, found no file"));
    };
    let message = format!("expected {expected} bytes, found {found}");
    Error::damaged(path, Some(expected.min(found)), message)
}

/// XXH3-128 of a file's first, middle and last 64 KiB; of all of it where that is not more.
pub fn identity(file: &Stored, bytes: u64) -> Result<Fingerprint> {
    let starts = match bytes <= 3 * IDENTITY_BYTES {
        true => vec![(0, bytes)],
        false => [0, (bytes - IDENTITY_BYTES) / 2, bytes - IDENTITY_BYTES]
            .map(|start| (start, IDENTITY_BYTES))
            .to_vec(),
    };
    let mut hasher = Hasher::new();
    for (start, length) in starts {
        let mut buffer = Vec::with_capacity(length as usize);
        let mut part = file.open(start..start + length)?.take(length);
        part.read_to_end(&mut buffer).map_err(|error| final_error(error, file.path()))?;
        hasher.update(&buffer);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(path: &Path) -> PlannedFile {
        let file = Stored::local(path.to_owned());
        PlannedFile::raw(file, 0, "x".to_owned()).unwrap().unwrap()
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
