//! Whether the input files are still what was planned and what was read.
//!
//! In → the planned files, what published units have read, what each new unit reads; out → `Ok`, or
//! the damaged file: gone, cut, continued, or with other bytes than an earlier reading found. One
//! mechanism for every stage: the executor asks [`Watch`] before and after each unit and behind
//! each phase, so a stage needs no check of its own, and no output mixes two states of a file.
//!
//! Method: a file whose [`Stamp`] (size, times, inode) is the one under which its content was last
//! confirmed is taken for unchanged. Otherwise its samples, or for a part of an artifact all of it,
//! and every range that units have read of it are hashed again. Two units that read one range must
//! find one hash, whatever the stamp says. Stamps hold clocks: they stand in
//! `OUT.partial/seen.json` and `run.json`, never in what is hashed or published.
//!
//! Cost: a look at the files' entries; bytes are read again only where a stamp has changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::artifact::{
    planned::PlannedFile,
    record::ReadRange,
    stage::Phase,
    unit::{self, Done},
};
use crate::base::{
    error::{Error, Result},
    hash::Fingerprint,
    io::{self, Stamp},
};

/// The file beside `plan.json` that holds the stamps of the run which made the units.
const SEEN: &str = "seen.json";

/// The input files of one run.
pub struct Watch {
    files: Vec<PlannedFile>,
    known: Vec<Mutex<Known>>,
    /// Places in `files` by (input, name).
    places: HashMap<(usize, String), usize>,
}

/// What is known of one file.
#[derive(Default)]
struct Known {
    /// The stamp under which its content was confirmed.
    stamp: Option<Stamp>,
    /// Ranges that units have read.
    ranges: BTreeMap<(u64, u64), Fingerprint>,
}

impl Watch {
    /// Watches files that no unit has read yet.
    pub fn new(files: Vec<PlannedFile>) -> Watch {
        let known = files.iter().map(|file| {
            let stamp = file.is_trusted().then_some(file.stamp);
            Mutex::new(Known { stamp, ranges: BTreeMap::new() })
        });
        let known = known.collect();
        let place = |(place, file): (usize, &PlannedFile)| ((file.input, file.name.clone()), place);
        let places = files.iter().enumerate().map(place).collect();
        Watch { files, known, places }
    }

    /// The same, after a run that was stopped: published units whose ranges have other bytes now,
    /// and all units of the phases after theirs, are discarded. Also says how many and why.
    pub fn resume(
        files: Vec<PlannedFile>,
        partial: &Path,
        phases: &[Phase],
    ) -> Result<(Watch, Option<String>)> {
        let watch = Watch::new(files);
        let units = published(partial, phases)?;
        let seen = read_seen(partial)?;
        let mut changed: BTreeMap<usize, BTreeSet<(u64, u64)>> = BTreeMap::new();
        let reads = || units.iter().flat_map(|unit| &unit.read);
        for range in reads() {
            let Some(file) = watch.place(range) else { continue };
            let same = seen.get(file).is_some_and(|seen| *seen == Some(watch.files[file].stamp));
            let key = (range.start, range.end);
            if same || locked(&watch.known[file]).ranges.contains_key(&key) {
                continue;
            }
            let stored = &watch.files[file].file;
            if stored.hash_range(range.start, range.end)?.0 != range.xxh3 {
                changed.entry(file).or_default().insert(key);
            } else {
                locked(&watch.known[file]).ranges.insert(key, range.xxh3);
            }
        }
        let is_changed = |range: &ReadRange| {
            let changed = watch.place(range).and_then(|file| changed.get(&file));
            changed.is_some_and(|ranges| ranges.contains(&(range.start, range.end)))
        };
        let stale = |unit: &PublishedUnit| unit.read.iter().any(is_changed);
        let first = units.iter().filter(|unit| stale(unit)).map(|unit| unit.phase).min();
        let (discarded, kept): (Vec<_>, Vec<_>) = units
            .iter()
            .partition(|unit| stale(unit) || first.is_some_and(|first| unit.phase > first));
        for unit in &discarded {
            io::remove_directory(&unit.directory)?;
        }
        for range in kept.iter().flat_map(|unit| &unit.read) {
            watch.note(range)?;
        }
        watch.write_seen(partial)?;
        let name = |file: &usize| watch.files[*file].name.as_str();
        let notice = notice(discarded.len(), &changed.keys().map(name).collect::<Vec<_>>());
        Ok((watch, notice))
    }

    /// Fails unless the files are what was planned, and what was read of them so far.
    pub fn confirm(&self, files: impl IntoIterator<Item = usize>) -> Result<()> {
        files.into_iter().try_for_each(|file| self.confirm_one(file))
    }

    /// All files that are not what was planned and read.
    pub fn damaged(&self, skipped: &BTreeSet<usize>) -> Result<Vec<Error>> {
        let mut damaged = Vec::new();
        for file in (0..self.files.len()).filter(|file| !skipped.contains(file)) {
            match self.confirm_one(file) {
                Err(error @ Error::Damaged { .. }) => damaged.push(error),
                result => result?,
            }
        }
        Ok(damaged)
    }

    /// Takes in what a unit has read; fails where another unit has read other bytes there.
    pub fn note_all(&self, read: &[ReadRange]) -> Result<()> {
        read.iter().try_for_each(|range| self.note(range))
    }

    /// When the content of an input was last confirmed to have been written; of an artifact the
    /// newest of its files. `None` for inputs that are not watched.
    pub fn modified_ns(&self, input: usize) -> Option<u64> {
        let files = self.files.iter().zip(&self.known).filter(|(file, _)| file.input == input);
        files.filter_map(|(_, known)| Some(locked(known).stamp?.modified_ns)).max()
    }

    fn confirm_one(&self, file: usize) -> Result<()> {
        let planned = &self.files[file];
        let mut known = locked(&self.known[file]);
        let stamp = planned.stamp_now()?;
        if known.stamp == Some(stamp) {
            return Ok(());
        }
        planned.check_content()?;
        for (&(start, end), &xxh3) in &known.ranges {
            if planned.file.hash_range(start, end)?.0 != xxh3 {
                return Err(changed(planned.path(), start, end));
            }
        }
        // The stamp was taken before the bytes were read, so a change meanwhile is seen the next
        // time.
        known.stamp = Some(stamp);
        Ok(())
    }

    fn note(&self, range: &ReadRange) -> Result<()> {
        let Some(file) = self.place(range) else { return Ok(()) };
        let mut known = locked(&self.known[file]);
        let first = *known.ranges.entry((range.start, range.end)).or_insert(range.xxh3);
        if first == range.xxh3 {
            return Ok(());
        }
        Err(changed(self.files[file].path(), range.start, range.end))
    }

    /// Which file a range is of; `None` for one that was read when the stage was opened.
    fn place(&self, range: &ReadRange) -> Option<usize> {
        self.places.get(&(range.input, range.file.clone())).copied()
    }

    fn write_seen(&self, partial: &Path) -> Result<()> {
        let stamps: Vec<_> = self.known.iter().map(|known| locked(known).stamp).collect();
        let json = serde_json::to_vec(&stamps).expect("stamps are plain data");
        io::replace(&partial.join(SEEN), &json)
    }
}

/// Bytes of a file that are not what was read there before.
fn changed(path: &Path, start: u64, end: u64) -> Error {
    let message = format!("it changed while it was read: bytes {start} to {end} are others now");
    Error::damaged(path, Some(start), message)
}

fn notice(units: usize, files: &[&str]) -> Option<String> {
    let (first, others) = (files.first()?, files.len() - 1);
    let others = if others > 0 { format!(" and {others} other files") } else { String::new() };
    let units =
        if units == 1 { "1 finished unit".to_owned() } else { format!("{units} finished units") };
    Some(format!("discarded {units}: `{first}`{others} changed after they were made"))
}

/// A unit of an earlier run.
struct PublishedUnit {
    phase: usize,
    directory: PathBuf,
    read: Vec<ReadRange>,
}

fn published(partial: &Path, phases: &[Phase]) -> Result<Vec<PublishedUnit>> {
    let places = phases.iter().enumerate();
    let places = places.flat_map(|(phase, plan)| plan.units.iter().map(move |_| phase));
    let mut units = Vec::new();
    for (number, phase) in places.enumerate() {
        if unit::is_published(partial, number) {
            let directory = unit::directory(partial, number);
            let read = Done::read(&directory)?.read;
            units.push(PublishedUnit { phase, directory, read });
        }
    }
    Ok(units)
}

/// The stamps of the run before; none where they are missing or odd, so that all is read again.
fn read_seen(partial: &Path) -> Result<Vec<Option<Stamp>>> {
    let path = partial.join(SEEN);
    match path.is_file() {
        true => Ok(serde_json::from_slice(&io::read(&path)?).unwrap_or_default()),
        false => Ok(Vec::new()),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
