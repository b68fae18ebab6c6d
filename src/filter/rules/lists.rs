//! A list that the configuration spells out, or that it names a file for.
//!
//! In: an array of texts, or a path. Out: the entries. A file has an entry a line; blank lines and
//! lines that begin with `#` are skipped. Invariant: once a list was read from a file, its
//! configuration holds the hash of what was read, so that a fingerprint covers it; reading
//! different content under such a configuration is an error. Cost: one read.

use crate::base::error::{Error, Result};
use crate::base::hash::{Fingerprint, xxh3_128};
use crate::base::io;
use crate::text::is_white_space;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a list's entries are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum List {
    /// In the configuration itself.
    Entries(Vec<String>),
    /// In a file.
    File(PathBuf),
    /// In a file that was read before, with the hash of what was read.
    Read { path: PathBuf, xxh3: Fingerprint },
}

impl Default for List {
    fn default() -> List {
        List::Entries(Vec::new())
    }
}

impl List {
    /// Returns the entries; a list in a file then records the hash of what it read.
    pub fn load(&mut self) -> Result<Vec<String>> {
        let (path, expected) = match self {
            List::Entries(entries) => return Ok(entries.clone()),
            List::File(path) => (path.clone(), None),
            List::Read { path, xxh3 } => (path.clone(), Some(*xxh3)),
        };
        let bytes = io::read(&path)?;
        let xxh3 = xxh3_128(&bytes);
        if expected.is_some_and(|expected| expected != xxh3) {
            let message = format!("the list `{}` is not the one read before", path.display());
            return Err(Error::config(message).with_hint("name it anew to take it as it is"));
        }
        let entries = entries(&path, &bytes)?;
        *self = List::Read { path, xxh3 };
        Ok(entries)
    }
}

fn entries(path: &Path, bytes: &[u8]) -> Result<Vec<String>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Error::damaged(path, Some(error.valid_up_to() as u64), "a list is UTF-8 text")
    })?;
    let lines = text.lines().map(|line| line.trim_matches(is_white_space));
    Ok(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_named_by_its_hash_and_refused_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("domains.txt");
        io::write(&path, b"# bad ones\na.com\n\n  b.com \r\n").unwrap();
        let mut list = List::File(path.clone());
        assert_eq!(list.load().unwrap(), ["a.com", "b.com"]);
        let mut again: List = serde_json::from_value(serde_json::json!(list)).unwrap();
        assert_eq!(again, list);
        assert_eq!(again.load().unwrap(), ["a.com", "b.com"]);
        io::write(&path, b"c.com").unwrap();
        assert!(again.load().is_err());
        let mut here: List = serde_json::from_str("[\"x\"]").unwrap();
        assert_eq!(here.load().unwrap(), ["x"]);
    }
}
