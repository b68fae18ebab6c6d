//! Files that are compared with a hash.
//!
//! In → a directory, a [`FileHash`]; out → nothing, or what differs. **Cost.** One read of the file
//! at memory speed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::base::io;

/// A file, or the beginning of one that grows, as it was when the hash was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHash {
    /// Path relative to the directory of the list that names it.
    pub name: String,
    /// How many bytes from the start the hash covers.
    pub bytes: u64,
    /// XXH3-128 of those bytes.
    pub xxh3: Fingerprint,
}

impl FileHash {
    /// Fails with what differs unless the file in `directory` begins with the hashed bytes and,
    /// with `whole`, has no others.
    pub fn hold(&self, directory: &Path, whole: bool) -> Result<()> {
        let path = directory.join(&self.name);
        let damaged = |message: String| Err(Error::damaged_artifact(&path, None, message));
        if !path.is_file() {
            return damaged("it is missing".to_owned());
        }
        let found = io::size(&path)?;
        if found < self.bytes || (whole && found > self.bytes) {
            return damaged(format!("expected {} bytes, found {found}", self.bytes));
        }
        let (found, _) = io::hash_range(&path, 0, self.bytes)?;
        if found != self.xxh3 {
            let bytes = self.bytes;
            return damaged(format!(
                "the XXH3 of its {bytes} bytes is {found}: expected {}",
                self.xxh3
            ));
        }
        Ok(())
    }
}
