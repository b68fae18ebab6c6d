//! The plain data that stages, units and manifests share: inputs, ranges read, counts of files.
//!
//! In → facts that a stage or a unit states; out → the same facts as they stand in `plan.json`,
//! `done.json` and `manifest.json`. No clock, host or path is among them: equal work, equal bytes.

use std::{collections::BTreeMap, fmt, ops::Range, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::hash::Fingerprint;

/// What an artifact is, whichever stage made it; readers ask for this and never for a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Documents in Parquet. Whatever reads one reads raw files too.
    Corpus,
    /// A fastText model that tells wanted texts from others.
    Classifier,
    /// A vocabulary, as `tokenizer.json`.
    Tokenizer,
    /// Documents as token ids, in Arrow files.
    Shards,
    /// The order in which a model reads shards.
    Mix,
    /// A model in training, or trained.
    Run,
    /// Files of another place, as they are: raw files to whatever reads text.
    Download,
    /// Scores of a model on questions and texts.
    Evals,
    /// A trained model for other tools.
    Model,
    /// Tokens in the form of another trainer.
    Tokens,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Corpus => "a corpus",
            Kind::Classifier => "a classifier",
            Kind::Tokenizer => "a tokenizer",
            Kind::Shards => "token shards",
            Kind::Mix => "a mix",
            Kind::Run => "a run",
            Kind::Download => "a download",
            Kind::Evals => "an evaluation",
            Kind::Model => "an exported model",
            Kind::Tokens => "exported tokens",
        })
    }
}

/// One input as the fingerprint sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// `file` for a raw file, else the kind of the artifact.
    pub kind: InputKind,
    /// A file's name relative to its root, an artifact's folder name.
    pub name: String,
    /// The source's name, for raw files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The stage that made an artifact, and its fingerprint: lineage needs no second look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Size of the file, or of the artifact's files together.
    pub bytes: u64,
    /// Raw files: XXH3 of their first, middle and last 64 KiB, or of the hash that their place
    /// promises. Artifacts: of their file list.
    pub identity: Fingerprint,
    /// Where a remote file was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteRecord>,
    /// Where it lies; for `run.json`, never in the manifest.
    #[serde(skip)]
    pub path: PathBuf,
}

/// Where a remote file was read; for an artifact, where its manifest was. All readers record it in
/// the same words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRecord {
    /// Its own address, at the commit that was read where its place has revisions.
    pub address: String,
    /// The revision that was asked for, and the commit that it meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What its place promised of its bytes: `sha256:…`, `git-sha1:…`, `etag:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// What kind of input a record is: `file`, or the name of an artifact's [`Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredKind", into = "StoredKind")]
pub enum InputKind {
    File,
    Artifact(Kind),
}

/// [`InputKind`] as it is stored: one word.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum StoredKind {
    File(FileWord),
    Artifact(Kind),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileWord {
    File,
}

impl From<StoredKind> for InputKind {
    fn from(stored: StoredKind) -> InputKind {
        match stored {
            StoredKind::File(FileWord::File) => InputKind::File,
            StoredKind::Artifact(kind) => InputKind::Artifact(kind),
        }
    }
}

impl From<InputKind> for StoredKind {
    fn from(kind: InputKind) -> StoredKind {
        match kind {
            InputKind::File => StoredKind::File(FileWord::File),
            InputKind::Artifact(kind) => StoredKind::Artifact(kind),
        }
    }
}

impl InputRecord {
    /// The record of a raw file.
    pub fn file(
        name: String,
        source: Option<String>,
        bytes: u64,
        identity: Fingerprint,
        path: PathBuf,
    ) -> InputRecord {
        let (kind, stage, fingerprint, remote) = (InputKind::File, None, None, None);
        InputRecord { kind, name, source, stage, fingerprint, bytes, identity, remote, path }
    }

    /// Whether an artifact of kind `reader` only validates on this input and trains on nothing of
    /// it. That is so for the texts that `mix --validation` names.
    pub fn only_validates(&self, reader: Kind) -> bool {
        reader == Kind::Mix && self.kind != InputKind::Artifact(Kind::Shards)
    }

    /// The part that enters the fingerprint: an artifact may move, be renamed and be made by
    /// another stage, as long as its files are the same.
    pub fn key(&self) -> Value {
        let (kind, name) = match self.kind {
            InputKind::File => ("file", Some(&self.name)),
            InputKind::Artifact(_) => ("artifact", None),
        };
        let mut key = serde_json::json!({
            "kind": kind, "name": name, "source": self.source,
            "bytes": self.bytes, "identity": self.identity,
        });
        let remote = self.remote.as_ref().filter(|_| self.kind == InputKind::File);
        if let Some(commit) = remote.and_then(|remote| remote.commit.as_ref()) {
            key["commit"] = commit.as_str().into();
        }
        key
    }
}

/// A part of one input file: what a unit reads of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Index into `Stage::files`.
    pub file: usize,
    pub extent: Extent,
    /// Read only the first so many records of the extent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_max: Option<u64>,
}

impl Slice {
    /// All of a file.
    pub fn whole(file: usize) -> Slice {
        Slice { file, extent: Extent::Whole, records_max: None }
    }
}

/// Which blocks (row groups), or bytes, of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    RowGroups(Range<usize>),
    Bytes(Range<u64>),
    Whole,
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
    /// Files that were hashed as they were written: XXH3-128 and size.
    pub hashed: BTreeMap<String, (Fingerprint, u64)>,
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
