//! The plain data that stages, units and manifests share: inputs, ranges read, counts of files.
//!
//! In → facts that a stage or a unit states; out → the same facts as they stand in `plan.json`,
//! `done.json` and `manifest.json`. No clock, host or path is among them: equal work, equal bytes.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::hash::Fingerprint;

/// One input as the fingerprint sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// `file` for a raw file, `artifact` for a directory with a manifest.
    pub kind: InputKind,
    /// A file's name relative to its root, an artifact's folder name.
    pub name: String,
    /// The source's name, for raw files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Size of the file, or of the artifact's files together.
    pub bytes: u64,
    /// Raw files: XXH3 of their first, middle and last 64 KiB. Artifacts: of their file list.
    pub identity: Fingerprint,
    /// Where it lies; for `run.json`, never in the manifest.
    #[serde(skip)]
    pub path: PathBuf,
}

/// What kind of input a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    File,
    Artifact,
}

impl InputRecord {
    /// The part that enters the fingerprint: an artifact may move and be renamed.
    pub fn key(&self) -> Value {
        let name = (self.kind == InputKind::File).then_some(&self.name);
        serde_json::json!({
            "kind": self.kind, "name": name, "source": self.source,
            "bytes": self.bytes, "identity": self.identity,
        })
    }
}

/// A range of an input file that a unit read; `verify` reads it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRange {
    /// Index into `Stage::inputs`.
    pub input: usize,
    /// The file's name, relative to its root.
    pub file: String,
    /// First byte, and one past the last.
    pub start: u64,
    pub end: u64,
    pub xxh3: Fingerprint,
}

/// Facts a unit notes for its record.
#[derive(Default)]
pub struct Notes {
    pub files: BTreeMap<String, FileCounts>,
    pub read: Vec<ReadRange>,
}

/// How much is in a file, where its stage says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

impl FileCounts {
    /// A file of one row a document.
    pub fn documents(documents: u64) -> FileCounts {
        FileCounts { rows: Some(documents), documents: Some(documents), tokens: None }
    }
}
