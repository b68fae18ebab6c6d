//! Finished outputs of a recipe that are not current, under their fingerprints: nothing finished
//! is lost or made twice.
//!
//! In → the OUT of a step, and an output that takes its place; out → what stood there, whole, as
//! `.store/NAME@1a2b3c4d` beside OUT, and back in OUT when its fingerprint is asked for again.
//! Moves are renames within one folder's file system: no byte is copied, a name in the store
//! means nothing (the manifest inside does), and a kill between two renames leaves each output
//! whole, in OUT or in the store, where the next start finds it. Nothing leaves the store but by
//! `dataprep gc`. Runs lie beside OUT themselves, as `NAME@1a2b3c4d`: [`crate::train`] brings those
//! back. **Cost.** The disk of every state that was finished, until it is removed; looking reads
//! the manifests of the outputs of that name.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::path::{Path, PathBuf};

use super::up_to_date;
use crate::artifact::{
    manifest::Manifest,
    record::{InputRecord, Kind},
    run::STATE,
    stage::Stage,
    store::{self, FOLDER},
};
use crate::base::{error::Result, hash::Fingerprint, io, json, place};

/// The outputs of one step that are not current.
pub struct Kept {
    folder: PathBuf,
    name: String,
}

impl Kept {
    /// Of the step that writes `out`.
    pub fn beside(out: &Path) -> Kept {
        let name = place::name(out);
        Kept { folder: out.with_file_name(FOLDER), name }
    }

    /// The same, where outputs are kept already.
    pub fn standing(out: &Path) -> Option<Kept> {
        Some(Kept::beside(out)).filter(|kept| kept.folder.is_dir())
    }

    /// Makes the folder. Where it exists, every command finishes the move of an output that a kill
    /// left replaced but not yet kept.
    pub fn create(&self) -> Result<()> {
        io::create_directory(&self.folder)
    }

    /// The outputs, by name.
    pub fn outputs(&self) -> Result<Vec<PathBuf>> {
        let prefix = format!("{}@", self.name);
        let outputs = outputs_in(&self.folder)?;
        Ok(outputs.into_iter().filter(|path| place::name(path).starts_with(&prefix)).collect())
    }

    /// The output that a stage would make, if it is there.
    pub fn find(&self, stage: &dyn Stage, fingerprint: Fingerprint) -> Result<Option<PathBuf>> {
        for output in self.outputs()? {
            if up_to_date::check(stage, &output, fingerprint)?.is_some() {
                return Ok(Some(output));
            }
        }
        Ok(None)
    }

    /// Moves a finished output here; another one of its fingerprint gives way to it, unless only
    /// that one has all its files.
    pub fn keep(&self, output: &Path) -> Result<()> {
        let manifest = Manifest::read(output)?;
        let base = store::name(&self.name, manifest.fingerprint);
        let mut place = self.folder.join(&base);
        let is_another = |place: &Path| -> Result<bool> {
            let other = Manifest::read_if_known(place)?;
            Ok(other.is_some_and(|other| other.fingerprint != manifest.fingerprint))
        };
        let mut number = 2;
        while is_another(&place)? {
            place = self.folder.join(format!("{base}-{number}"));
            number += 1;
        }
        if Manifest::stands_in(&place) && !is_whole(output, &manifest)? {
            return io::remove_directory(output);
        }
        self.create()?;
        io::remove_directory(&place)?;
        io::rename(output, &place)?;
        io::sync(&self.folder)
    }

    /// Moves the complete output `found` to `out`, and what stands at `out` into the store. An
    /// output of the same fingerprint at `out` is incomplete, or the store would not have been
    /// asked; it is removed.
    pub fn take(&self, found: &Path, out: &Path) -> Result<()> {
        let fingerprint = Manifest::read(found)?.fingerprint;
        match Manifest::read_if_known(out)? {
            Some(standing) if standing.fingerprint != fingerprint => self.keep(out)?,
            _ => io::remove_directory(out)?,
        }
        io::rename(found, out)?;
        io::sync(out.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")))
    }
}

/// An output that no step writes now.
#[derive(Clone, Debug)]
pub struct Unused {
    pub path: PathBuf,
    pub manifest: Manifest,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Why it stays all the same.
    pub needed: Option<String>,
}

/// What lies in the store beside the outputs in `folder`, and the runs that stepped aside there.
/// What a run that is not finished was made from is needed to continue it; a run is removed only
/// where `runs` says so.
pub fn unused(folder: &Path, runs: bool) -> Result<Vec<Unused>> {
    let read = |paths: Vec<PathBuf>| -> Result<Vec<(PathBuf, Manifest)>> {
        let known = |path: PathBuf| {
            let manifest = Manifest::read_if_known(&path);
            manifest.map(|manifest| manifest.map(|manifest| (path, manifest))).transpose()
        };
        paths.into_iter().filter_map(known).collect()
    };
    let beside = read(outputs_in(folder)?)?;
    let stored = read(outputs_in(&folder.join(FOLDER))?)?;
    let needed = needed(&beside, &stored);
    let aside = beside.into_iter().filter(|(path, manifest)| is_aside(path, manifest));
    let mut found = Vec::new();
    for (path, manifest) in stored.into_iter().chain(aside) {
        let needed = match needed.get(&manifest.fingerprint) {
            _ if manifest.kind == Kind::Run => (!runs).then(|| "a run: `--runs`".to_owned()),
            Some(run) => Some(format!("`{run}` goes on from it")),
            None => None,
        };
        let sizes = io::files_below(&path)?.into_iter().map(|file| io::size(&file));
        let bytes = sizes.sum::<Result<u64>>()?;
        found.push(Unused { path, manifest, bytes, needed });
    }
    Ok(found)
}

/// Everything that the unfinished runs in `beside` were made from, at any distance, each with the
/// first run that needs it. It is found through the inputs and the ancestry in all manifests.
fn needed(
    beside: &[(PathBuf, Manifest)],
    stored: &[(PathBuf, Manifest)],
) -> BTreeMap<Fingerprint, String> {
    let made_from = |inputs: &[InputRecord]| -> Vec<Fingerprint> {
        inputs.iter().filter_map(|input| input.fingerprint).collect()
    };
    let mut above: BTreeMap<Fingerprint, BTreeSet<Fingerprint>> = BTreeMap::new();
    for (_, manifest) in beside.iter().chain(stored) {
        above.entry(manifest.fingerprint).or_default().extend(made_from(&manifest.inputs));
        for ancestor in &manifest.ancestry {
            above.entry(ancestor.fingerprint).or_default().extend(made_from(&ancestor.inputs));
        }
    }
    let mut needed = BTreeMap::new();
    for (run, manifest) in beside {
        if manifest.kind != Kind::Run || is_done(run) {
            continue;
        }
        let mut next = vec![manifest.fingerprint];
        while let Some(fingerprint) = next.pop() {
            for &input in above.get(&fingerprint).into_iter().flatten() {
                if let Entry::Vacant(place) = needed.entry(input) {
                    place.insert(place::name(run));
                    next.push(input);
                }
            }
        }
    }
    needed
}

/// Whether an output beside the others is a run that has stepped aside: `NAME@1a2b3c4d`. Any other
/// name with an `@` is one that a person chose.
fn is_aside(path: &Path, manifest: &Manifest) -> bool {
    let mark = store::name("", manifest.fingerprint);
    manifest.kind == Kind::Run && place::name(path).contains(&mark)
}

/// Whether all files that a manifest lists stand with their sizes.
fn is_whole(output: &Path, manifest: &Manifest) -> Result<bool> {
    for file in &manifest.files {
        let path = output.join(&file.name);
        if !path.is_file() || io::size(&path)? != file.bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes an output that [`unused`] lists. The manifest goes first, so that what a kill leaves is
/// no output.
pub fn remove(output: &Unused) -> Result<()> {
    io::remove_file(&output.path.join(crate::artifact::manifest::FILE_NAME))?;
    io::remove_directory(&output.path)
}

/// Whether `state.json` says that a run is over.
fn is_done(run: &Path) -> bool {
    json::value(&run.join(STATE))["state"] == "done"
}

/// The finished outputs in a folder, by name; none where there is no folder.
fn outputs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut outputs = io::list(folder)?;
    outputs.retain(|path| Manifest::stands_in(path));
    Ok(outputs)
}
