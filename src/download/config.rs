//! What `download` can be told.
//!
//! In → a table of keys; out → [`DownloadConfig`]. Only `revision` decides what is fetched, and
//! becomes a part of the address; the others are *how* and stay out of the fingerprint.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};

/// Files that `huggingface_hub` fetches at once (`max_workers` of `snapshot_download`).
const CONNECTIONS: usize = 8;
/// The Hub's advice for ranges is restraint: 64 readers used up a quota (lsdb, issue 1594).
const CONNECTIONS_MAX: usize = 64;

/// The keys of `download`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DownloadConfig {
    /// A branch, tag or commit, for every address of the Hub that names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Put files into the Hub's cache too, where they take no further space.
    pub cache: bool,
    /// Requests at once.
    pub connections: usize,
}

impl Default for DownloadConfig {
    fn default() -> Self {
        DownloadConfig { revision: None, cache: true, connections: CONNECTIONS }
    }
}

impl DownloadConfig {
    /// Refuses values that are out of range.
    pub fn check(&self) -> Result<()> {
        if (1..=CONNECTIONS_MAX).contains(&self.connections) {
            return Ok(());
        }
        let message =
            format!("`connections` is 1 to {CONNECTIONS_MAX}, found {}", self.connections);
        Err(Error::config(message))
    }
}
