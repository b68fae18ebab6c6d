//! What lies in a run's directory: names, `state.json`, the manifest.
//!
//! In → a run's directory; out → paths in it, its [`Standing`], its [`Manifest`]. Nothing here
//! writes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::artifact::run::{CHECKPOINTS, DOCUMENT_EVALS, LOCK, STATE, document_evals};
use crate::artifact::{
    manifest::{self, Manifest},
    record::Kind,
};
use crate::base::{
    error::{Error, Result},
    io,
};
use crate::tokenizer::Tokenizer;

/// The stage's name and version; the version rises when equal inputs and config give other bytes.
pub const STAGE: &str = "train";
pub const STAGE_VERSION: u32 = 7;
/// Versions whose runs go on, each under its own number: version 1 had no hashes in its
/// checkpoints, version 2 held the rows that pad the vocabulary, version 3 did not say which
/// validation texts the recipe would keep, version 4 summed products in an order that the CPU's
/// caches and instructions gave, versions 5 and 6 added the parts of a gradient in other orders;
/// such a run goes on in this version's order.
pub const CONTINUED: [u32; 7] = [1, 2, 3, 4, 5, 6, STAGE_VERSION];

/// Names inside a run.
pub const CONFIG: &str = "config.toml";
pub const EVALS: &str = "evals.jsonl";
pub const METRICS: &str = "metrics.jsonl";
/// Norms by layer.
pub const NORMS: &str = "norms.jsonl";
pub const REPORT: &str = "report.html";
pub const RUN: &str = "run.json";
/// The name that a `run.json` gets when it cannot be read.
pub const RUN_DAMAGED: &str = "run.json.damaged";
pub const SAMPLES: &str = "samples.jsonl";
/// Steps that were left out.
pub const SPIKES: &str = "spikes.jsonl";
pub const TIMING: &str = "timing.jsonl";
pub const TOKENIZER: &str = "tokenizer.json";
pub const TOKENIZER_SETTINGS: &str = "tokenizer_config.json";
/// The manifest's key that names the token every text starts from.
pub const END_OF_TEXT: &str = "end_of_text";

/// Files with clocks or places, which equal runs do not share.
pub const UNSHARED: [&str; 6] = [LOCK, REPORT, RUN, RUN_DAMAGED, STATE, TIMING];

/// Files that every start writes anew, from the mix and the configuration.
const REWRITTEN: [&str; 3] = [CONFIG, TOKENIZER, TOKENIZER_SETTINGS];

/// Whether a start writes the file anew, so that damage to it stops nothing.
pub fn is_rewritten(name: &str) -> bool {
    REWRITTEN.contains(&name)
}

/// Whether a file of the run is its tokenizer's.
pub fn is_tokenizer(name: &str) -> bool {
    [TOKENIZER, TOKENIZER_SETTINGS].contains(&name)
}

/// Whether somebody works on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A process does, or was killed: without its lock, a running run is a stopped one.
    Running,
    /// It ended before its last step; the same command continues.
    Stopped,
    /// It reached its last step.
    Done,
}

/// `state.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether somebody works on it.
    pub state: State,
    /// The step of its latest checkpoint, or its last.
    pub step: u64,
}

/// `RUN/checkpoints/step-000500` → (RUN, `step-000500`); `None` for any other path.
pub fn of_checkpoint(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let name = path.file_name()?;
    let parent = path.parent().filter(|parent| parent.ends_with(CHECKPOINTS))?;
    Some((parent.parent()?.to_owned(), name.into()))
}

/// The manifest of a run, held against its own fingerprint. Also one of the first format, which did
/// not say what kind of artifact it is: runs last longer than builds.
pub fn read_manifest(run: &Path) -> Result<Manifest> {
    let path = run.join(manifest::FILE_NAME);
    let manifest = match first_format(&path)? {
        Some(manifest) => manifest,
        None => Manifest::read(run)?,
    };
    manifest.expect_kind(run, Kind::Run)?;
    let Manifest { stage, stage_version, seed, config, inputs, .. } = &manifest;
    let found = manifest::fingerprint(stage, *stage_version, *seed, config, inputs);
    if found != manifest.fingerprint {
        let message = format!("it says `{}` and is `{found}`", manifest.fingerprint);
        return Err(Error::damaged_artifact(&path, None, message));
    }
    Ok(manifest)
}

/// A run's manifest of format 1 in today's form; `None` for any other.
fn first_format(path: &Path) -> Result<Option<Manifest>> {
    if !path.is_file() {
        return Ok(None);
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(&io::read(path)?) else { return Ok(None) };
    if value["format"] != 1 || value["stage"] != STAGE {
        return Ok(None);
    }
    value["format"] = manifest::FORMAT.into();
    value["kind"] = serde_json::json!(Kind::Run);
    for input in value["inputs"].as_array_mut().into_iter().flatten() {
        input["kind"] = serde_json::json!(Kind::Mix);
    }
    let read = serde_json::from_value(value);
    read.map(Some).map_err(|error| Error::damaged_artifact(path, None, error))
}

/// The id of the token that every text of the run starts from.
pub fn end_of_text(run: &Path, manifest: &Manifest, tokenizer: &Tokenizer) -> Result<u32> {
    let name = manifest.extra.get(END_OF_TEXT).and_then(|name| name.as_str());
    let missing =
        || Error::damaged_artifact(&run.join(manifest::FILE_NAME), None, "no `end_of_text`");
    let (_, id) = tokenizer.end_of_text(name)?.ok_or_else(missing)?;
    Ok(id)
}

/// The longest text that the run trains on, in tokens.
pub fn context(run: &Path, manifest: &Manifest) -> Result<usize> {
    let sequence = manifest.config.pointer("/train/sequence").and_then(Value::as_u64);
    let path = || run.join(manifest::FILE_NAME);
    let sequence =
        sequence.ok_or_else(|| Error::damaged_artifact(&path(), None, "no `train.sequence`"));
    Ok(sequence? as usize)
}

/// What `state.json` says; `None` where there is none.
pub fn read_state(out: &Path) -> Result<Option<Standing>> {
    let path = out.join(STATE);
    if !path.is_file() {
        return Ok(None);
    }
    let text = io::read_text(&path)?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Error::damaged_artifact(&path, None, error))
}
