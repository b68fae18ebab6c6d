//! `manifest.json`: what an artifact is, what made it, from what.
//!
//! In → a finished stage; out → one JSON file, the last that is written. A directory without one
//! is no output. It holds no clock, host or path outside the input's root (those go to
//! `run.json`), so equal work gives equal bytes on any machine.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    counts::{Counts, SourceCounts},
    record::{InputKind, InputRecord, Kind, ReadRange},
};
use crate::base::{
    error::{Error, Result},
    hash::{Fingerprint, xxh3_128},
    io, place,
};

/// The file's name in every artifact.
pub const FILE_NAME: &str = "manifest.json";
/// The version of the manifest's form. 2 says what kind of artifact it is, and of each input.
pub const FORMAT: u32 = 2;

/// An artifact's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub kind: Kind,
    pub stage: String,
    pub stage_version: u32,
    pub tool: Tool,
    /// Resolved: *what*, never *how*.
    pub config: Value,
    pub seed: u64,
    pub inputs: Vec<InputRecord>,
    pub files: Vec<FileEntry>,
    pub counts: ManifestCounts,
    /// The share of documents held out for validation, inherited by later stages.
    pub holdout: Option<f64>,
    /// Damaged files that were left out whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_files: Vec<String>,
    /// Ranges of raw input files with their hashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<ReadRange>,
    /// XXH3-128 over (stage, stage version, seed, config, inputs).
    pub fingerprint: Fingerprint,
    /// Every artifact above it, nearest first, as it stood when this one was made: level by level
    /// in the order of inputs, each fingerprint once. No part of the fingerprint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestry: Vec<Ancestor>,
    /// Keys only some stages have, such as a mix's `shards`.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Which build made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub version: String,
    pub commit: String,
}

impl Tool {
    /// The running build.
    pub fn current() -> Tool {
        Tool {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("DATAPREP_COMMIT").to_owned(),
        }
    }
}

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub name: String,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub documents: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokens: Option<u64>,
    pub xxh3: Fingerprint,
}

/// Counts as a manifest shows them: totals first, then each source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestCounts {
    #[serde(rename = "in")]
    pub documents_in: u64,
    #[serde(rename = "out")]
    pub documents_out: u64,
    pub rejected: u64,
    pub dropped: BTreeMap<String, u64>,
    pub sources: BTreeMap<String, SourceCounts>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, u64>,
}

/// What a manifest tells of an artifact above: all but its list of files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ancestor {
    pub fingerprint: Fingerprint,
    pub kind: Kind,
    pub stage: String,
    pub stage_version: u32,
    pub tool: Tool,
    pub config: Value,
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub counts: ManifestCounts,
    pub holdout: Option<f64>,
    pub inputs: Vec<InputRecord>,
    #[serde(default)]
    pub files: FileTotals,
}

/// The files of an artifact together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileTotals {
    pub files: u64,
    pub bytes: u64,
    /// Sums over the files that say so.
    pub documents: u64,
    pub tokens: u64,
}

impl FileTotals {
    /// Of a list of files.
    pub fn of(files: &[FileEntry]) -> FileTotals {
        FileTotals {
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
            documents: files.iter().filter_map(|file| file.documents).sum(),
            tokens: files.iter().filter_map(|file| file.tokens).sum(),
        }
    }
}

impl Ancestor {
    fn of(manifest: &Manifest) -> Ancestor {
        let Manifest { fingerprint, kind, stage_version, seed, holdout, .. } = *manifest;
        Ancestor {
            fingerprint,
            kind,
            stage: manifest.stage.clone(),
            stage_version,
            tool: manifest.tool.clone(),
            config: manifest.config.clone(),
            seed,
            counts: manifest.counts.clone(),
            holdout,
            inputs: manifest.inputs.clone(),
            files: FileTotals::of(&manifest.files),
        }
    }
}

/// Every artifact that went into these inputs, nearest first: each input that is an artifact (or a
/// file of one), then the ancestry in its manifest. Where the manifest of an earlier build has no
/// ancestry, its branch ends.
pub fn ancestry(inputs: &[InputRecord]) -> Result<Vec<Ancestor>> {
    let mut known: BTreeMap<Fingerprint, Ancestor> = BTreeMap::new();
    for input in inputs {
        let Some(fingerprint) = input.fingerprint else { continue };
        if let Some(manifest) = standing(&input.path, fingerprint)? {
            known.insert(fingerprint, Ancestor::of(&manifest));
            for above in manifest.ancestry {
                known.entry(above.fingerprint).or_insert(above);
            }
        }
    }
    let above = |inputs: &[InputRecord]| -> Vec<Fingerprint> {
        inputs.iter().filter_map(|input| input.fingerprint).collect()
    };
    let mut next = VecDeque::from(above(inputs));
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(fingerprint) = next.pop_front() {
        if seen.insert(fingerprint)
            && let Some(ancestor) = known.remove(&fingerprint)
        {
            next.extend(above(&ancestor.inputs));
            found.push(ancestor);
        }
    }
    Ok(found)
}

/// The manifest with this fingerprint in `path` or in one of the three folders above it: the
/// weights of a checkpoint lie three levels below their run.
fn standing(path: &Path, fingerprint: Fingerprint) -> Result<Option<Manifest>> {
    for folder in path.ancestors().take(4) {
        match Manifest::read_if_known(folder)? {
            Some(manifest) if manifest.fingerprint == fingerprint => return Ok(Some(manifest)),
            _ => {}
        }
    }
    Ok(None)
}

impl From<Counts> for ManifestCounts {
    fn from(counts: Counts) -> ManifestCounts {
        let total = counts.total();
        ManifestCounts {
            documents_in: total.documents_in,
            documents_out: total.documents_out,
            rejected: total.rejected_total(),
            dropped: total.dropped,
            sources: counts.sources,
            extra: counts.extra,
        }
    }
}

impl Manifest {
    /// The manifest of an artifact directory.
    pub fn read(directory: &Path) -> Result<Manifest> {
        let path = directory.join(FILE_NAME);
        if !path.is_file() {
            let message =
                format!("`{}` is no artifact: it has no {FILE_NAME}", directory.display());
            return Err(Error::config(message).with_hint(
                "an interrupted stage leaves `NAME.partial`; run its command again to finish it",
            ));
        }
        Manifest::parse(&io::read_text(&path)?, directory)
    }

    /// A manifest's text; `directory` is where it stands, for messages.
    pub fn parse(text: &str, directory: &Path) -> Result<Manifest> {
        let damaged = |error| Error::damaged_artifact(&directory.join(FILE_NAME), None, error);
        let format: Format = serde_json::from_str(text).map_err(damaged)?;
        if format.format != FORMAT {
            return Err(other_format(directory, &format));
        }
        serde_json::from_str(text).map_err(damaged)
    }

    /// The manifest of an artifact that this build can read; `None` for any other.
    pub fn read_if_known(directory: &Path) -> Result<Option<Manifest>> {
        let path = directory.join(FILE_NAME);
        if !path.is_file() {
            return Ok(None);
        }
        let format: Option<Format> = serde_json::from_str(&io::read_text(&path)?).ok();
        match format {
            Some(Format { format: FORMAT, .. }) => Manifest::read(directory).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether `directory` holds a manifest.
    pub fn stands_in(directory: &Path) -> bool {
        directory.join(FILE_NAME).is_file()
    }

    /// Writes it into `directory` and syncs it.
    pub fn write(&self, directory: &Path) -> Result<()> {
        io::write(&directory.join(FILE_NAME), self.to_json().as_bytes())
    }

    /// Pretty JSON with a final newline; object keys of free-form values are sorted.
    pub fn to_json(&self) -> String {
        let mut sorted = self.clone();
        sorted.config = canonical(&self.config);
        sorted.ancestry.iter_mut().for_each(|above| above.config = canonical(&above.config));
        sorted.extra.values_mut().for_each(|value| *value = canonical(value));
        let mut json = serde_json::to_string_pretty(&sorted).expect("a manifest is plain data");
        json.push('\n');
        json
    }

    /// XXH3-128 of the list of (name, xxh3): the identity of the artifact as an input. A manifest
    /// that lies inside (a tokenizer's in its shards) is left out: it names the build that wrote
    /// it, and equal data of two builds is equal data.
    pub fn files_identity(&self) -> Fingerprint {
        let data = self.files.iter().filter(|file| !file.name.ends_with(FILE_NAME));
        let list: String = data.map(|file| format!("{}\0{}\n", file.name, file.xxh3)).collect();
        xxh3_128(list.as_bytes())
    }

    /// Fails unless the artifact is of this kind.
    pub fn expect_kind(&self, directory: &Path, wanted: Kind) -> Result<()> {
        if self.kind == wanted {
            return Ok(());
        }
        let (found, stage) = (self.kind, &self.stage);
        let message = format!("`{}` is {found}, made by `{stage}`", directory.display());
        Err(Error::config(format!("expected {wanted}: {message}")))
    }
}

/// What every format of the manifest has.
#[derive(Deserialize)]
struct Format {
    format: u32,
    tool: Option<Tool>,
}

fn other_format(directory: &Path, found: &Format) -> Error {
    written_by(&directory.join(FILE_NAME), found.tool.as_ref(), found.format, FORMAT)
}

/// The error for a file in a format that this build does not read. It names the version that wrote
/// the file, which stands in the manifest beside it.
pub fn other_file_format(file: &Path, found: impl fmt::Display, reads: u32) -> Error {
    let beside = file.with_file_name(FILE_NAME);
    let format = io::read_text(&beside).ok().and_then(|text| serde_json::from_str(&text).ok());
    let tool = format.and_then(|format: Format| format.tool);
    written_by(file, tool.as_ref(), found, reads)
}

fn written_by(place: &Path, tool: Option<&Tool>, found: impl fmt::Display, reads: u32) -> Error {
    let tool = tool.map_or("another version".to_owned(), |tool| {
        format!("dataprep {} ({})", tool.version, tool.commit)
    });
    let place = place.display();
    let message = format!(
        "`{place}` was written by {tool} in format {found}; this build reads format {reads}"
    );
    Error::config(message).with_hint("make it again, or read it with the version that wrote it")
}

impl InputRecord {
    /// The record of a file that a configuration key names: all of its bytes are its identity.
    pub fn named_file(path: &Path) -> Result<InputRecord> {
        let (identity, bytes) = io::hash_file(path)?;
        let name = place::name(path);
        Ok(InputRecord::file(name, None, bytes, identity, path.to_owned()))
    }

    /// The record of an artifact directory: its identity is the hash of its file list, so an
    /// edited file never looks up to date.
    pub fn artifact(directory: &Path) -> Result<InputRecord> {
        Ok(InputRecord::of(&Manifest::read(directory)?, directory))
    }

    /// The same, where its manifest was read: `directory` may be an address.
    pub fn of(manifest: &Manifest, directory: &Path) -> InputRecord {
        let name = place::name(directory);
        InputRecord {
            kind: InputKind::Artifact(manifest.kind),
            name,
            source: None,
            stage: Some(manifest.stage.clone()),
            fingerprint: Some(manifest.fingerprint),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            identity: manifest.files_identity(),
            remote: None,
            path: directory.to_owned(),
        }
    }
}

/// The fingerprint of a stage's work.
pub fn fingerprint(
    stage: &str,
    stage_version: u32,
    seed: u64,
    config: &Value,
    inputs: &[InputRecord],
) -> Fingerprint {
    let inputs: Vec<Value> = inputs.iter().map(InputRecord::key).collect();
    let all = serde_json::json!([stage, stage_version, seed, config, inputs]);
    xxh3_128(canonical(&all).to_string().as_bytes())
}

/// The same value with the keys of every object in order, whatever map type serde_json was built
/// with.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, &Value> = object.iter().collect();
            sorted.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect()
        }
        Value::Array(values) => values.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_fingerprint_does_not_see_key_order_or_an_artifacts_place() {
        let input = |name: &str| InputRecord {
            kind: InputKind::Artifact(Kind::Corpus),
            name: name.into(),
            source: None,
            stage: None,
            fingerprint: None,
            bytes: 3,
            identity: xxh3_128(b"files"),
            remote: None,
            path: name.into(),
        };
        let (a, b) = (json!({"x": 1, "y": 2}), json!({"y": 2, "x": 1}));
        let first = fingerprint("filter", 1, 0, &a, &[input("old")]);
        assert_eq!(first, fingerprint("filter", 1, 0, &b, &[input("new")]));
        assert_ne!(first, fingerprint("filter", 2, 0, &a, &[input("old")]));
        assert_ne!(first, fingerprint("filter", 1, 1, &a, &[input("old")]));
        assert_ne!(first, fingerprint("filter", 1, 0, &json!({"x": 1}), &[input("old")]));
    }

    /// A manifest of stage `stage` in `folder`, over the artifacts `above`.
    fn artifact(folder: &Path, stage: &str, above: &[&Path]) -> Fingerprint {
        let inputs: Vec<InputRecord> =
            above.iter().map(|path| InputRecord::artifact(path).unwrap()).collect();
        let config = json!({"of": stage});
        let fingerprint = fingerprint(stage, 1, 0, &config, &inputs);
        io::create_directory(folder).unwrap();
        let manifest = Manifest {
            format: FORMAT,
            kind: Kind::Corpus,
            stage: stage.to_owned(),
            stage_version: 1,
            tool: Tool::current(),
            config,
            seed: 0,
            files: Vec::new(),
            counts: ManifestCounts::default(),
            holdout: Some(0.1),
            skipped_files: Vec::new(),
            read: Vec::new(),
            fingerprint,
            ancestry: ancestry(&inputs).unwrap(),
            extra: BTreeMap::new(),
            inputs,
        };
        manifest.write(folder).unwrap();
        fingerprint
    }

    /// a → b → d, a → c → d: `a` comes once, behind both that stand on it, with its folder gone.
    #[test]
    fn what_stands_above_is_told_nearest_first_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let a = artifact(&at("a"), "ingest", &[]);
        let b = artifact(&at("b"), "filter", &[&at("a")]);
        let c = artifact(&at("c"), "dedup", &[&at("a")]);
        io::remove_directory(&at("a")).unwrap();
        let d = artifact(&at("d"), "tokenize", &[&at("b"), &at("c")]);
        let told = |name: &str| -> Vec<Fingerprint> {
            let manifest = Manifest::read(&at(name)).unwrap();
            manifest.ancestry.iter().map(|above| above.fingerprint).collect()
        };
        assert_eq!(told("d"), [b, c, a]);
        assert_eq!(told("b"), [a]);
        // A file deep inside an artifact stands for it.
        let mut file = InputRecord::file("x".into(), None, 1, a, at("d").join("e/f/x"));
        file.fingerprint = Some(d);
        assert_eq!(ancestry(&[file]).unwrap().len(), 4);
    }

    #[test]
    fn a_directory_without_a_manifest_is_no_artifact() {
        let directory = tempfile::tempdir().unwrap();
        let error = Manifest::read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("is no artifact"), "{error}");
    }

    #[test]
    fn a_manifest_of_another_format_says_who_wrote_it() {
        let directory = tempfile::tempdir().unwrap();
        let json = r#"{"format": 1, "tool": {"version": "0.0.9", "commit": "abc"}}"#;
        io::write(&directory.path().join(FILE_NAME), json.as_bytes()).unwrap();
        let error = Manifest::read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("dataprep 0.0.9 (abc) in format 1"), "{error}");
        assert_eq!(Manifest::read_if_known(directory.path()).unwrap(), None);
    }

    #[test]
    fn an_inputs_kind_is_one_word() {
        let words = [InputKind::File, InputKind::Artifact(Kind::Corpus)];
        assert_eq!(serde_json::to_value(words).unwrap(), json!(["file", "corpus"]));
        assert_eq!(
            serde_json::from_value::<[InputKind; 2]>(json!(["file", "corpus"])).unwrap(),
            words
        );
    }
}
