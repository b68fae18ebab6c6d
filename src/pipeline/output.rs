//! An output while it is made: OUT, what stands beside it, and how the one becomes the other.
//!
//! In → OUT; out → [`Output`], opened once under a lock, with all that happens there as its
//! methods. Beside OUT stands `OUT.partial/`: `plan.json`, published units, killed attempts. It
//! becomes OUT by one rename of a complete directory (an atomic exchange with an old OUT where the
//! system can). A kill at any point leaves either the old OUT or the new one; the next start
//! finishes or undoes what is between.

#![expect(clippy::disallowed_types, reason = "`run.json` says when")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use super::{kept::Kept, options::Options, unchanged::Watch};
use crate::artifact::{
    manifest::{FileEntry, Manifest},
    record::{FileCounts, InputRecord, ReadRange},
    stage::{Phase, Publish},
    unit::{self, Done},
};
use crate::base::{
    error::{Error, Result},
    hash::Fingerprint,
    io,
    lock::Lock,
    machine, place,
    size::Bytes,
};

/// OUT, locked, with `OUT.partial` beside it.
pub struct Output {
    out: PathBuf,
    partial: PathBuf,
    /// Where what is replaced goes, if it is kept.
    kept: Option<Kept>,
    _lock: Lock,
}

/// `OUT.partial`
pub fn partial(out: &Path) -> PathBuf {
    beside(out, ".partial")
}

fn beside(out: &Path, suffix: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    out.with_file_name(name)
}

/// An OUT of another fingerprint is replaced only on request, and one that is no artifact never.
pub fn refuse_foreign(out: &Path, fingerprint: Fingerprint, replace: bool) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    if !Manifest::stands_in(out) {
        if io::list(out).is_ok_and(|entries| entries.is_empty()) {
            return Ok(());
        }
        let message = format!("`{}` exists and is no artifact of dataprep", out.display());
        return Err(Error::config(message).with_hint("choose another `--out`, or remove it"));
    }
    if replace {
        return Ok(());
    }
    let manifest = Manifest::read(out)?;
    if manifest.fingerprint == fingerprint {
        return Ok(());
    }
    let message = format!(
        "`{}` holds the result of `{}` with other inputs or config",
        out.display(),
        manifest.stage
    );
    Err(Error::config(message)
        .with_hint("choose another `--out`, or replace it with `--fresh` once you are sure"))
}

impl Output {
    /// Takes the lock, and finishes or undoes what a kill between two renames left. `keeps`: what
    /// is replaced goes into the store beside OUT.
    pub fn open(out: &Path, keeps: bool) -> Result<Output> {
        let partial = partial(out);
        io::create_directory(&partial)?;
        let lock = Lock::take(&partial.join("lock"), out)?;
        let kept = keeps.then(|| Kept::beside(out));
        let output = Output { out: out.to_owned(), partial, kept, _lock: lock };
        output.recover()?;
        Ok(output)
    }

    /// OUT.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// `OUT.partial`
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Where a store stands, a killed run may have been about to keep what it replaced: any command
    /// does so for it.
    fn recover(&self) -> Result<()> {
        let standing = Kept::standing(&self.out);
        let kept = self.kept.as_ref().or(standing.as_ref());
        // A complete output: the new one before the exchange, the old one after it.
        let ready = self.partial.join("publish");
        if kept.is_some() && Manifest::stands_in(&ready) {
            self.replaced(&ready, kept)?;
        }
        let old = beside(&self.out, ".old");
        if !old.exists() {
            return Ok(());
        }
        match self.out.exists() {
            true => self.replaced(&old, kept),
            false => io::rename(&old, &self.out),
        }
    }

    /// What becomes of an output that another one has taken the place of.
    fn replaced(&self, old: &Path, kept: Option<&Kept>) -> Result<()> {
        match kept {
            Some(kept) if !self.is_current(old)? => kept.keep(old),
            _ => io::remove_directory(old),
        }
    }

    /// Whether OUT has the same fingerprint, or this is no output that this build can read.
    fn is_current(&self, other: &Path) -> Result<bool> {
        let Some(other) = Manifest::read_if_known(other)? else { return Ok(true) };
        let out = Manifest::read_if_known(&self.out)?;
        Ok(out.is_some_and(|out| out.fingerprint == other.fingerprint))
    }

    /// Removes OUT.partial with its lock.
    pub fn discard(&self) -> Result<()> {
        io::remove_directory(&self.partial)
    }

    /// Refuses an OUT that must not be replaced, and leaves nothing beside it that was not there.
    pub fn refuse_foreign(&self, fingerprint: Fingerprint, replace: bool) -> Result<()> {
        let refused = refuse_foreign(&self.out, fingerprint, replace);
        if refused.is_err() && !self.plan().exists() {
            self.discard()?;
        }
        refused
    }

    fn plan(&self) -> PathBuf {
        self.partial.join("plan.json")
    }

    fn units(&self) -> PathBuf {
        self.partial.join("units")
    }

    /// Continues an equal plan. What another build or a run that failed has left is discarded;
    /// half of a run that was stopped only where `discard` says so. Returns what to tell the
    /// person.
    pub fn adopt_plan(&self, json: &str, discard: bool) -> Result<Option<String>> {
        let path = self.plan();
        let mut notice = None;
        if path.exists() {
            let old = io::read_text(&path)?;
            if old == json {
                return Ok(None);
            }
            let units = self.published_units()?;
            let same_work =
                fingerprint_of(&old).is_some_and(|old| fingerprint_of(json) == Some(old));
            let failed = self.failure().exists();
            if !same_work && !discard && !failed && units > 0 {
                return Err(self.half_done(units));
            }
            let why = match (same_work, failed) {
                (true, _) => "another build",
                (false, true) => "a run that failed",
                (false, false) => "another plan",
            };
            notice = (units > 0).then(|| format!("discarded {units} finished units of {why}"));
        }
        io::remove_file(&self.failure())?;
        self.remove_units()?;
        io::remove_file(&self.skipped_path())?;
        io::replace(&path, json.as_bytes())?;
        Ok(notice)
    }

    fn half_done(&self, units: usize) -> Error {
        let partial = self.partial.display();
        Error::config(format!(
            "`{partial}` holds {units} finished units of a run with other inputs or config"
        ))
        .with_hint("`--fresh` discards them; the command that began it continues it")
    }

    fn remove_units(&self) -> Result<()> {
        io::remove_directory(&self.units())?;
        io::create_directory(&self.units())
    }

    /// Removes the folders of killed attempts.
    pub fn remove_attempts(&self) -> Result<()> {
        unit::remove_attempts(&self.partial)
    }

    fn published_units(&self) -> Result<usize> {
        if !self.units().is_dir() {
            return Ok(0);
        }
        Ok(io::list(&self.units())?.iter().filter(|path| path.extension().is_none()).count())
    }

    /// The file that says that a run failed because of what was asked, so that nobody will continue
    /// it.
    fn failure(&self) -> PathBuf {
        self.partial.join("failed")
    }

    /// Notes that the run failed for what was asked or for its inputs: a mended command begins
    /// anew.
    pub fn note_failure(&self, error: &Error) -> Result<()> {
        io::replace(&self.failure(), error.to_string().as_bytes())
    }

    fn skipped_path(&self) -> PathBuf {
        self.partial.join("skipped.json")
    }

    /// The damaged files that this run leaves out.
    pub fn read_skipped(&self) -> Result<BTreeSet<usize>> {
        let path = self.skipped_path();
        match path.exists() {
            true => serde_json::from_slice(&io::read(&path)?)
                .map_err(|error| Error::damaged_artifact(&path, None, error)),
            false => Ok(BTreeSet::new()),
        }
    }

    /// Records the damaged files that this run leaves out.
    pub fn write_skipped(&self, skipped: &BTreeSet<usize>) -> Result<()> {
        let json = serde_json::to_vec(skipped).expect("numbers are plain data");
        io::replace(&self.skipped_path(), &json)
    }

    /// A run that skips nothing cannot stand on units of one that did.
    pub fn forget_skipped(&self) -> Result<()> {
        match self.skipped_path().exists() {
            true => self.remove_units().and_then(|()| io::remove_file(&self.skipped_path())),
            false => Ok(()),
        }
    }

    /// Links the files of publishing phases into `OUT.partial/publish` and lists them.
    pub fn link_files(&self, phases: &[Phase]) -> Result<(Vec<FileEntry>, Vec<ReadRange>)> {
        let target = self.partial.join("publish");
        io::remove_directory(&target)?;
        io::create_directory(&target)?;
        let (mut entries, mut read) = (Vec::new(), Vec::new());
        let mut number = 0;
        for phase in phases {
            for index in 0..phase.units.len() {
                let directory = unit::directory(&self.partial, number);
                number += 1;
                let done = Done::read(&directory)?;
                read.extend(done.read);
                for file in done.files.iter().filter(|_| phase.publish != Publish::No) {
                    let name = match phase.publish {
                        Publish::Parts => part_name(&file.name, index),
                        Publish::AsIs | Publish::No => file.name.clone(),
                    };
                    let (from, to) = (directory.join(&file.name), target.join(&name));
                    check_size(&from, file.bytes)?;
                    io::create_directory(to.parent().unwrap_or(&target))?;
                    io::link_or_copy(&from, &to)?;
                    entries.push(entry(name, file));
                }
            }
        }
        entries.sort_by(|a: &FileEntry, b| a.name.cmp(&b.name));
        let key = |range: &ReadRange| (range.input, range.file.clone(), range.start, range.end);
        read.sort_by_key(key);
        read.dedup();
        Ok((entries, read))
    }

    /// Writes `run.json` and, last, the manifest; syncs; puts the whole in OUT's place.
    pub fn publish(self, manifest: &Manifest, run: &Value) -> Result<()> {
        let (out, ready) = (&self.out, self.partial.join("publish"));
        let run = serde_json::to_vec_pretty(run).expect("plain data");
        io::write(&ready.join("run.json"), &run)?;
        manifest.write(&ready)?;
        sync_directories(&ready)?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        let kept = self.kept.as_ref().filter(|_| out.exists());
        kept.map_or(Ok(()), Kept::create)?;
        if !out.exists() {
            io::rename(&ready, out)?;
        } else if renameat_with(CWD, &ready, CWD, out, RenameFlags::EXCHANGE).is_ok() {
            self.replaced(&ready, kept)?;
        } else {
            let old = beside(out, ".old");
            io::remove_directory(&old)?;
            io::rename(out, &old)?;
            io::rename(&ready, out)?;
            self.replaced(&old, kept)?;
        }
        io::sync(parent.unwrap_or(Path::new(".")))?;
        self.discard()
    }
}

fn fingerprint_of(plan: &str) -> Option<String> {
    let plan: Value = serde_json::from_str(plan).ok()?;
    Some(plan.get("fingerprint")?.as_str()?.to_owned())
}

fn entry(name: String, file: &unit::DoneFile) -> FileEntry {
    let FileCounts { rows, documents, tokens } = file.counts;
    FileEntry { name, bytes: file.bytes, rows, documents, tokens, xxh3: file.xxh3 }
}

fn check_size(path: &Path, expected: u64) -> Result<()> {
    let found = io::size(path)?;
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (Bytes(expected), Bytes(found));
    Err(Error::damaged_artifact(path, None, format!("recorded with {expected}, found {found}")))
}

/// `part.parquet` of unit 17 → `part-00017.parquet`.
fn part_name(name: &str, index: usize) -> String {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    format!("{stem}-{index:05}.{extension}")
}

/// Clock, host and places: everything that may differ between equal runs.
pub fn run_json(
    inputs: &[InputRecord],
    watch: &Watch,
    out: &Path,
    options: &Options,
    seconds: f64,
    phases: &[Value],
) -> Result<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = io::canonical(parent.unwrap_or(Path::new(".")))?;
    let base = parent.join(out.file_name().unwrap_or_default());
    let mut places = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        if let Some(remote) = &input.remote {
            places.push(json!({
                "name": input.name, "address": remote.address, "bytes": input.bytes,
            }));
            continue;
        }
        // A damaged file that was left out may be gone by now.
        let absolute = match input.path.exists() {
            true => io::canonical(&input.path)?,
            false => std::path::absolute(&input.path).map_err(Error::io("find", &input.path))?,
        };
        let modified = match watch.modified_ns(index) {
            Some(modified) => modified,
            None => io::modified_nanoseconds(&io::metadata(&absolute)?),
        };
        places.push(json!({
            "name": input.name, "absolute": absolute.to_string_lossy(),
            "relative": place::relative(&base, &absolute).to_string_lossy(),
            "bytes": input.bytes, "modified_ns": modified,
        }));
    }
    Ok(json!({
        "finished_unix": now, "seconds": seconds, "host": machine::host(),
        "threads": options.threads, "memory": options.memory, "phases": phases, "inputs": places,
    }))
}

fn sync_directories(directory: &Path) -> Result<()> {
    for path in io::list(directory)?.iter().filter(|path| path.is_dir()) {
        sync_directories(path)?;
    }
    io::sync(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_before_the_extension() {
        assert_eq!(part_name("part.parquet", 17), "part-00017.parquet");
        assert_eq!(part_name("rejects.jsonl", 0), "rejects-00000.jsonl");
    }

    #[test]
    fn a_kill_between_two_renames_is_undone() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        io::create_directory(&directory.path().join("out.old")).unwrap();
        let output = Output::open(&out, false).unwrap();
        assert!(output.out().exists() && !directory.path().join("out.old").exists());
    }
}
