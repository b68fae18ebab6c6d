//! Runs of one name: one stands, the others lie beside it as `NAME@1a2b3c4d`.
//!
//! In → OUT and what is asked for; out → the run that stands there aside, or one that stepped aside
//! back in its place. A run is never replaced, and one that is asked for again is not trained
//! again. Moves are renames; a kill between two of them leaves both runs beside OUT, where the next
//! start finds the one it wants.

use std::path::{Path, PathBuf};

use super::{
    extend::{self, Asked, Continuation},
    layout::{CHECKPOINTS, LOCK, read_manifest},
};
use crate::artifact::manifest::Manifest;
use crate::base::{error::Result, io, lock::Lock, place};
use crate::runtime::checkpoint;

/// Renames `NAME` to `NAME@1a2b3c4d`, or `NAME@1a2b3c4d-2` where that stands already.
pub fn step_aside(out: &Path, standing: &Manifest) -> Result<PathBuf> {
    let base = format!("{}{}", prefix(out), standing.fingerprint.short());
    let mut target = out.with_file_name(&base);
    let mut number = 2;
    while target.exists() {
        target = out.with_file_name(format!("{base}-{number}"));
        number += 1;
    }
    io::rename(out, &target)?;
    io::remove_file(&target.join(LOCK))?;
    Ok(target)
}

/// The run beside `out` that is the one asked for; of several, the one that has come furthest, then
/// the first by name. Neither a new run (`--fresh`) nor one over more steps is looked for here.
pub fn find(out: &Path, asked: &Asked<'_>) -> Result<Option<(PathBuf, Manifest)>> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if asked.fresh || asked.resume || !parent.is_dir() {
        return Ok(None);
    }
    let mut best: Option<(u64, PathBuf, Manifest)> = None;
    for path in io::list(parent)? {
        let name = place::name(&path);
        if !name.starts_with(&prefix(out)) || !Manifest::stands_in(&path) {
            continue;
        }
        // A run that cannot be read is not the one asked for.
        let Ok(manifest) = read_manifest(&path) else { continue };
        // A run that began with a model or a branch comes back only where the command names that
        // again.
        if manifest.inputs.len() != 1 + asked.origin.inputs.len() {
            continue;
        }
        let Continuation::Here { .. } = extend::continuation(&path, &manifest, asked)? else {
            continue;
        };
        let step = checkpoint::latest(&path.join(CHECKPOINTS))?.map_or(0, |latest| latest.step);
        if best.as_ref().is_none_or(|(most, ..)| step > *most) {
            best = Some((step, path, manifest));
        }
    }
    Ok(best.map(|(_, path, manifest)| (path, manifest)))
}

/// Moves the run that is asked for, if it lies beside `out`, into the place of the one that stands
/// there. Returns where that one went, and why.
pub fn bring_back(
    out: &Path,
    standing: Option<&Manifest>,
    asked: &Asked<'_>,
) -> Result<Option<(PathBuf, String)>> {
    let Some((found, _)) = find(out, asked)? else { return Ok(None) };
    let lock = out.is_dir().then(|| Lock::take(&out.join(LOCK), out)).transpose()?;
    let other = Lock::take(&found.join(LOCK), &found)?;
    let aside = match standing {
        Some(standing) => Some(step_aside(out, standing)?),
        None => {
            io::remove_directory(out)?;
            None
        }
    };
    io::rename(&found, out)?;
    drop((lock, other));
    let why = format!("`{}` is what is asked for, and stands here again", found.display());
    Ok(aside.map(|aside| (aside, why)))
}

/// `NAME@`
fn prefix(out: &Path) -> String {
    format!("{}@", place::name(out))
}
