//! What a stage is: a plan of units, each a pure function of (inputs, config, unit) → files.
//!
//! In → a configured stage; out → units that anybody may run, twice, late or at once, with the
//! same bytes. A stage knows nothing of resume, publishing or manifests: `pipeline::execute` does
//! all of that (docs/design.md, section 8). Phases run one after another; the units of a phase in
//! any order. A unit reads its inputs and units published by earlier phases, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Mutex,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    counts::Counts,
    manifest::Manifest,
    planned::PlannedFile,
    record::{FileCounts, InputRecord, Kind, Notes, ReadRange, Slice},
    summary::{DocumentsSummary, Summary},
    unit::{self, Done},
};
use crate::base::{
    error::{Error, Result},
    hash::Fingerprint,
    progress::Progress,
    size::{Bytes, Count},
};

/// A stage with its configuration and its opened inputs.
pub trait Stage: Sync {
    /// The stage's name in manifests and messages: `filter`.
    fn name(&self) -> &'static str;

    /// What it makes.
    fn kind(&self) -> Kind;

    /// Raised whenever the same inputs and config give other bytes.
    fn version(&self) -> u32;

    /// The resolved configuration: *what*, never *how* (no threads, memory, paths).
    fn config(&self) -> Value;

    /// The seed of every random choice.
    fn seed(&self) -> u64 {
        0
    }

    /// Where its text comes from, for a stage that reads text. The methods below, down to
    /// [`Stage::needs`], then take their answers from there.
    fn text(&self) -> Option<&dyn TextInputs> {
        None
    }

    /// What the fingerprint covers.
    fn inputs(&self) -> Vec<InputRecord> {
        self.text().map(TextInputs::records).unwrap_or_default()
    }

    /// The input files that [`Slice::file`] and [`Work::skipped`] index, as they were planned.
    fn files(&self) -> Vec<PlannedFile> {
        self.text().map(TextInputs::planned_files).unwrap_or_default()
    }

    /// What a person should know before the work: files that are none of its inputs.
    fn notices(&self) -> Vec<String> {
        self.text().map(TextInputs::notices).unwrap_or_default()
    }

    /// What a person must not miss and is known before the work.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// How bad input is treated; outside the fingerprint.
    fn tolerance(&self) -> Tolerance {
        self.text().map(TextInputs::tolerance).unwrap_or_default()
    }

    /// An estimate of what the work takes on so many threads, from metadata only.
    fn needs(&self, threads: usize) -> Needs {
        self.text().map(|text| text.needs(threads)).unwrap_or_default()
    }

    /// How many units are worked on at once, for a stage that waits for something other than this
    /// machine, such as a network; `None`: as many as keep its threads busy.
    fn at_once(&self) -> Option<usize> {
        None
    }

    /// What a dry run says of it, where that is not documents and bytes of text.
    fn told(&self) -> Option<Told> {
        None
    }

    /// Phases and units, from metadata only.
    fn plan(&self) -> Result<Plan>;

    /// Does one unit: writes its files into `work.dir`.
    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts>;

    /// The counts of the whole stage; by default those of the phases that count documents.
    fn finish(&self, published: &Published<'_>) -> Result<Counts> {
        published.sum_of_counting_phases()
    }

    /// Keys of the manifest that only this stage writes.
    fn manifest_keys(&self, _published: &Published<'_>) -> Result<BTreeMap<String, Value>> {
        Ok(BTreeMap::new())
    }

    /// What to tell a person of the artifact in `out`, whose manifest this is.
    fn summary(&self, manifest: &Manifest, _out: &Path) -> Result<Box<dyn Summary>> {
        Ok(Box::new(DocumentsSummary::new(manifest)))
    }
}

/// The text that a stage reads: what every such stage says of its inputs.
pub trait TextInputs: Sync {
    /// What the fingerprint covers.
    fn records(&self) -> Vec<InputRecord>;

    /// Every file, in input order, as the plan saw it.
    fn planned_files(&self) -> Vec<PlannedFile>;

    /// Files that are none of its inputs.
    fn notices(&self) -> Vec<String>;

    /// How bad input is treated.
    fn tolerance(&self) -> Tolerance;

    /// What reading takes, and a corpus of all that is read.
    fn needs(&self, threads: usize) -> Needs;
}

/// *How* bad input is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    /// The share of a source's documents that may be unreadable.
    pub max_bad: Option<f64>,
    /// Whether damaged files are left out whole.
    pub skip_bad_files: bool,
}

/// What is fetched over a network, at most: of Parquet only the columns that are read are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fetches {
    /// Remote files.
    pub files: u64,
    pub bytes: u64,
    pub requests: u64,
}

impl Fetches {
    /// The sum of both.
    pub fn and(self, other: Fetches) -> Fetches {
        Fetches {
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
            requests: self.requests + other.requests,
        }
    }
}

impl std::fmt::Display for Fetches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (files, requests) = (Count(self.files).of("remote file"), Count(self.requests));
        let bytes = Bytes(self.bytes);
        write!(f, "fetches up to {bytes} of {files} by up to {}", requests.of("request"))
    }
}

/// What the work takes, about: what `--dry-run` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Documents to read; `None` where only reading tells (JSON Lines).
    pub documents: Option<u64>,
    /// Bytes of memory at most, spilling apart.
    pub memory: u64,
    /// Bytes of disk: the output, and what lies beside it while the work goes on.
    pub disk: u64,
    /// What is fetched, where inputs lie elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetches: Option<Fetches>,
}

/// What a dry run says of work that is not measured in documents and text.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// For people.
    pub text: String,
    /// Further keys for programs.
    pub keys: serde_json::Map<String, Value>,
}

/// What a stage will do.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub phases: Vec<Phase>,
    /// The share of documents held out, which later stages inherit; `None` where no text is read.
    pub holdout: Option<f64>,
}

/// Units with a barrier behind them.
#[derive(Clone, Debug)]
pub struct Phase {
    pub name: &'static str,
    pub units: Vec<UnitPlan>,
    pub publish: Publish,
    /// Whether its counts are the stage's counts.
    pub counts: bool,
}

/// How a unit's files become files of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Not at all: they serve later phases.
    No,
    /// `part.parquet` of unit 17 becomes `part-00017.parquet`.
    Parts,
    /// Under their own names, folders included; for single units.
    AsIs,
}

/// What is known of a unit before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitPlan {
    /// What it reads of which input files, in input order; empty for units over units.
    pub slices: Vec<Slice>,
    /// Bytes of text (or of whatever it reads), for progress.
    pub bytes: u64,
}

impl UnitPlan {
    /// A unit that reads no input files itself.
    pub fn single(bytes: u64) -> UnitPlan {
        UnitPlan { slices: Vec::new(), bytes }
    }

    /// The input files it reads: indexes into [`Stage::files`].
    pub fn files(&self) -> impl Iterator<Item = usize> + '_ {
        self.slices.iter().map(|slice| slice.file)
    }
}

/// Which unit: the phase's place in the plan and the unit's place in the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    pub phase: usize,
    pub index: usize,
}

/// What a unit is given to work with.
pub struct Work<'a> {
    /// Where its files go.
    pub dir: PathBuf,
    /// Where what does not fit the memory goes, while the unit runs.
    pub spill: PathBuf,
    /// Units of earlier phases.
    pub published: Published<'a>,
    /// Worker threads it may use; never visible in its files.
    pub threads: usize,
    /// Bytes of memory it may use; likewise.
    pub memory: u64,
    /// Damaged input files that are left out whole (`--skip-bad-files`).
    pub skipped: &'a BTreeSet<usize>,
    /// Where to say how far it is.
    pub progress: &'a Progress,
    /// What it noted about its files and its reading.
    pub notes: Mutex<Notes>,
}

impl Work<'_> {
    /// The path of a file of this unit.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A folder for what does not fit the memory; not made yet, and removed when the unit ends.
    pub fn spill_folder(&self) -> PathBuf {
        self.spill.clone()
    }

    /// Notes how much is in a file of this unit, for the manifest.
    pub fn describe(&self, name: &str, counts: FileCounts) {
        self.lock_notes().files.insert(name.to_owned(), counts);
    }

    /// Notes the hash of a file of this unit that was hashed as it was written.
    pub fn hashed(&self, name: &str, xxh3: Fingerprint, bytes: u64) {
        self.lock_notes().hashed.insert(name.to_owned(), (xxh3, bytes));
    }

    /// Notes which bytes of an input file were read.
    pub fn record_read(&self, range: ReadRange) {
        self.lock_notes().read.push(range);
    }

    /// The same for a whole file whose identity is the hash of all its bytes.
    pub fn record_whole(&self, input: usize, record: &InputRecord) {
        let (file, end) = (record.name.clone(), record.bytes);
        self.record_read(ReadRange { input, file, start: 0, end, xxh3: record.identity });
    }

    /// Says that `bytes` more of the unit's input are done.
    pub fn advance(&self, bytes: u64) {
        self.progress.advance(bytes);
    }

    /// Refuses with both numbers when `needed` bytes of memory are more than allowed.
    pub fn require_memory(&self, needed: u64, what: &str) -> Result<()> {
        if needed <= self.memory {
            return Ok(());
        }
        let (needed, allowed) = (Bytes(needed), Bytes(self.memory));
        Err(Error::failed(format!("{what} needs {needed} of memory, allowed are {allowed}"))
            .with_hint("raise `--memory`, or work on fewer documents at once"))
    }

    fn lock_notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The units that are published already.
#[derive(Clone, Copy)]
pub struct Published<'a> {
    pub partial: &'a Path,
    pub phases: &'a [Phase],
}

impl Published<'_> {
    /// The directory of a published unit.
    pub fn dir(&self, phase: &str, index: usize) -> PathBuf {
        unit::directory(self.partial, self.global_index(phase, index))
    }

    /// How many units a phase has.
    pub fn units(&self, phase: &str) -> usize {
        self.phases[self.phase_index(phase)].units.len()
    }

    /// The counts a published unit returned.
    pub fn counts(&self, phase: &str, index: usize) -> Result<Counts> {
        Ok(Done::read(&self.dir(phase, index))?.counts)
    }

    /// The sum over all phases marked as counting.
    pub fn sum_of_counting_phases(&self) -> Result<Counts> {
        let mut sum = Counts::default();
        for phase in self.phases.iter().filter(|phase| phase.counts) {
            for index in 0..phase.units.len() {
                sum.add(&self.counts(phase.name, index)?);
            }
        }
        Ok(sum)
    }

    fn phase_index(&self, name: &str) -> usize {
        let found = self.phases.iter().position(|phase| phase.name == name);
        found.unwrap_or_else(|| panic!("the plan has no phase `{name}`"))
    }

    fn global_index(&self, phase: &str, index: usize) -> usize {
        let phase = self.phase_index(phase);
        let units = self.phases[phase].units.len();
        assert!(index < units, "unit {index} of a phase of {units} units");
        self.phases[..phase].iter().map(|phase| phase.units.len()).sum::<usize>() + index
    }
}
