//! Whether OUT already is what a stage would make: in about a second, whatever its size.
//!
//! In → a stage and OUT; out → OUT's manifest, or `None`. The fingerprint must be equal, every file
//! must stand with its size, and an input whose modification time changed is read again: a raw file
//! in the ranges that were used, a part of an artifact whole; for a remote one its place has
//! spoken. A difference means that the stage must run (and will name the part that is not what its
//! manifest says).

use std::path::Path;

use serde_json::Value;

use crate::artifact::{manifest::Manifest, planned::Content, record::InputKind, stage::Stage};
use crate::base::{error::Result, hash::Fingerprint, io};

/// The manifest of an OUT that needs no work.
pub fn check(stage: &dyn Stage, out: &Path, fingerprint: Fingerprint) -> Result<Option<Manifest>> {
    check_inside(stage, out, out, fingerprint)
}

/// The same for an artifact that lies inside another one, whose `run.json` speaks for both.
pub fn check_inside(
    stage: &dyn Stage,
    out: &Path,
    outer: &Path,
    fingerprint: Fingerprint,
) -> Result<Option<Manifest>> {
    let Some(manifest) = Manifest::read_if_known(out)? else { return Ok(None) };
    if manifest.fingerprint != fingerprint || manifest.stage != stage.name() {
        return Ok(None);
    }
    for file in &manifest.files {
        let path = out.join(&file.name);
        if !path.is_file() || io::size(&path)? != file.bytes {
            return Ok(None);
        }
    }
    Ok(inputs_unchanged(stage, outer, &manifest)?.then_some(manifest))
}

fn inputs_unchanged(stage: &dyn Stage, out: &Path, manifest: &Manifest) -> Result<bool> {
    let seen = modification_times(out)?;
    let seen = |input: usize| seen.get(input).copied().flatten();
    let parts = stage.files();
    let parts = parts.iter().filter(|file| matches!(file.content, Content::Whole { .. }));
    for part in parts.filter(|part| !part.is_trusted()) {
        let is_seen = seen(part.input).is_some_and(|newest| part.stamp.modified_ns <= newest);
        let is_whole = || part.stamp_now().and_then(|_| part.check_content()).is_ok();
        if part.stamp.bytes != part.bytes || !(is_seen || is_whole()) {
            return Ok(false);
        }
    }
    for (index, input) in stage.inputs().iter().enumerate() {
        // An equal fingerprint means an equal hash, which the place of a remote file promises.
        if input.kind != InputKind::File || input.remote.is_some() {
            continue;
        }
        let modified = io::modified_nanoseconds(&io::metadata(&input.path)?);
        if seen(index) == Some(modified) {
            continue;
        }
        for range in manifest.read.iter().filter(|range| range.input == index) {
            let (found, _) = io::hash_range(&input.path, range.start, range.end)?;
            if found != range.xxh3 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// In the order of the inputs, from `run.json`; where it is missing or odd, the input is read
/// again.
fn modification_times(out: &Path) -> Result<Vec<Option<u64>>> {
    let path = out.join("run.json");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let run: Value = serde_json::from_slice(&io::read(&path)?).unwrap_or_default();
    let inputs = run["inputs"].as_array().cloned().unwrap_or_default();
    Ok(inputs.iter().map(|input| input["modified_ns"].as_u64()).collect())
}
