//! The run's directory: who may work in it, and what an earlier start left there.
//!
//! In → OUT and what is asked for; out → [`RunDirectory`], locked, with the configuration that
//! holds and the checkpoint to continue from. A run is the one artifact that is written in place:
//! its manifest stands from step 0, each checkpoint is published by one rename, and `state.json`
//! says running, stopped or done. **Rules.** An equal fingerprint continues, or is up to date.
//! `--resume` also takes another `train.steps`. Anything else makes the standing run step aside as
//! `NAME@<first 8 of its fingerprint>`; a run is never replaced. What is no run is refused.
//! **Invariants.** One process an OUT, by a kernel lock on a file in it. The manifest is the first
//! file, so a directory with files but without one is never taken for a run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::config::{Extension, Steps, TrainConfig};
use crate::artifact::{
    manifest::{self, FileEntry, Manifest, ManifestCounts, Tool},
    record::{InputRecord, Kind},
};
use crate::base::{
    error::{Error, Result},
    io,
    lock::Lock,
};
use crate::runtime::checkpoint::{self, Checkpoint};
use crate::tokenizer::Tokenizer;

/// The stage's name and version; the version rises when equal inputs and config give other bytes.
pub const STAGE: &str = "train";
const STAGE_VERSION: u32 = 1;

/// Names inside a run.
pub const CHECKPOINTS: &str = "checkpoints";
pub const CONFIG: &str = "config.toml";
pub const DOCUMENT_EVALS: &str = "evals";
pub const EVALS: &str = "evals.jsonl";
pub const METRICS: &str = "metrics.jsonl";
pub const REPORT: &str = "report.html";
pub const RUN: &str = "run.json";
pub const SAMPLES: &str = "samples.jsonl";
pub const TIMING: &str = "timing.jsonl";
pub const TOKENIZER: &str = "tokenizer.json";
/// The manifest's key that names the token every text starts from.
const END_OF_TEXT: &str = "end_of_text";
const LOCK: &str = ".lock";
const STATE: &str = "state.json";

/// What holds clocks or places, and so is no part of what equal runs share.
const UNSHARED: [&str; 5] = [LOCK, REPORT, RUN, STATE, TIMING];

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

/// What is asked for.
pub struct Asked<'a> {
    /// Resolved: `steps` and `vocab_size` are numbers.
    pub config: &'a TrainConfig,
    /// The token that opens every document.
    pub end_of_text: &'a str,
    /// The mix.
    pub input: InputRecord,
    /// Whether another `train.steps` may extend a standing run.
    pub resume: bool,
    /// Whether a standing run of equal fingerprint steps aside too.
    pub fresh: bool,
}

/// A run's directory, locked.
pub struct RunDirectory {
    /// OUT.
    pub path: PathBuf,
    /// What the run is: as asked for, with the horizons it was extended at.
    pub config: TrainConfig,
    /// Where to continue; `None`: at the beginning.
    pub checkpoint: Option<Checkpoint>,
    /// What `state.json` said; `None` for a new run.
    pub before: Option<Standing>,
    /// Where an earlier run of this name went.
    pub stepped_aside: Option<PathBuf>,
    manifest: Manifest,
    lock: Lock,
}

impl RunDirectory {
    /// Locks OUT and decides what to do there.
    pub fn open(out: &Path, asked: Asked<'_>) -> Result<RunDirectory> {
        io::create_directory(out)?;
        let mut lock = Lock::take(&out.join(LOCK), out)?;
        let mut stepped_aside = None;
        if let Some(standing) = standing_run(out)? {
            let decision = if asked.fresh { None } else { continuation(out, &standing, &asked)? };
            match decision {
                Some(config) => {
                    let manifest = new_manifest(&config, asked.end_of_text, vec![asked.input]);
                    return RunDirectory::resume(out, config, manifest, lock);
                }
                None => {
                    stepped_aside = Some(step_aside(out, &standing)?);
                    io::create_directory(out)?;
                    lock = Lock::take(&out.join(LOCK), out)?;
                }
            }
        }
        let config = asked.config.clone();
        let manifest = new_manifest(&config, asked.end_of_text, vec![asked.input]);
        manifest.write(out)?;
        let path = out.to_owned();
        let (checkpoint, before) = (None, None);
        Ok(RunDirectory { path, config, checkpoint, before, stepped_aside, manifest, lock })
    }

    fn resume(
        out: &Path,
        config: TrainConfig,
        manifest: Manifest,
        lock: Lock,
    ) -> Result<RunDirectory> {
        let checkpoints = out.join(CHECKPOINTS);
        checkpoint::remove_temporary(&checkpoints)?;
        Ok(RunDirectory {
            path: out.to_owned(),
            checkpoint: checkpoint::latest(&checkpoints)?,
            before: read_state(out)?,
            stepped_aside: None,
            manifest,
            config,
            lock,
        })
    }

    /// A path inside.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether the run is over and everything of it stands.
    pub fn is_done(&self) -> bool {
        let Steps::Number(steps) = self.config.train.steps else { return false };
        let reached = self.checkpoint.as_ref().is_some_and(|latest| latest.step == steps);
        let done = self.before.is_some_and(|before| before.state == State::Done);
        done && reached && self.join(REPORT).is_file()
    }

    /// Says that a process works on the run: manifest without files, `config.toml`.
    pub fn begin(&self, tokenizer_json: &Path) -> Result<()> {
        io::replace(&self.join(manifest::FILE_NAME), self.manifest.to_json().as_bytes())?;
        let config = toml::to_string_pretty(&self.config).expect("tables of plain values");
        let head = "# The resolved configuration of this run; `train --config` takes it back.\n\n";
        io::replace(&self.join(CONFIG), format!("{head}{config}").as_bytes())?;
        io::replace(&self.join(TOKENIZER), &io::read(tokenizer_json)?)?;
        let settings = tokenizer_json.with_file_name("tokenizer_config.json");
        if settings.is_file() {
            io::replace(&self.join("tokenizer_config.json"), &io::read(&settings)?)?;
        }
        io::create_directory(&self.join(CHECKPOINTS))?;
        io::create_directory(&self.join(DOCUMENT_EVALS))?;
        let step = self.checkpoint.as_ref().map_or(0, |latest| latest.step);
        self.write_state(Standing { state: State::Running, step })
    }

    /// Replaces `state.json`.
    pub fn write_state(&self, standing: Standing) -> Result<()> {
        let json = serde_json::to_string(&standing).expect("two plain values");
        io::replace(&self.join(STATE), format!("{json}\n").as_bytes())
    }

    /// Lists and hashes the files that equal runs share, into the manifest; then the state.
    pub fn finish(&mut self, standing: Standing) -> Result<()> {
        self.manifest.files = files(&self.path)?;
        io::replace(&self.join(manifest::FILE_NAME), self.manifest.to_json().as_bytes())?;
        self.write_state(standing)
    }

    /// The run's fingerprint and its input.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Lets another process in.
    pub fn close(self) {
        drop(self.lock);
    }
}

/// `RUN/checkpoints/step-000500` → (RUN, `step-000500`); `None` for any other path.
pub fn of_checkpoint(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let name = path.file_name()?;
    let parent = path.parent().filter(|parent| parent.ends_with(CHECKPOINTS))?;
    Some((parent.parent()?.to_owned(), name.into()))
}

/// `evals/step-000500.jsonl`: an evaluation's documents.
pub fn document_evals(run: &Path, step: u64) -> PathBuf {
    run.join(DOCUMENT_EVALS).join(format!("step-{step:06}.jsonl"))
}

/// The id of the token that every text of the run starts from.
pub fn end_of_text(run: &Path, tokenizer: &Tokenizer) -> Result<u32> {
    let manifest = Manifest::read(run)?;
    manifest.expect_kind(run, Kind::Run)?;
    let name = manifest.extra.get(END_OF_TEXT).and_then(|name| name.as_str());
    let missing = || Error::damaged(&run.join(manifest::FILE_NAME), None, "no `end_of_text`");
    let (_, id) = tokenizer.end_of_text(name)?.ok_or_else(missing)?;
    Ok(id)
}

fn read_state(out: &Path) -> Result<Option<Standing>> {
    let path = out.join(STATE);
    if !path.is_file() {
        return Ok(None);
    }
    let text = io::read_text(&path)?;
    serde_json::from_str(&text).map(Some).map_err(|error| Error::damaged(&path, None, error))
}

/// The manifest of the run that stands in `out`; `None` when the directory is empty.
fn standing_run(out: &Path) -> Result<Option<Manifest>> {
    if Manifest::stands_in(out) {
        let standing = Manifest::read(out)?;
        standing
            .expect_kind(out, Kind::Run)
            .map_err(|error| error.with_hint("choose a new directory for `--out`"))?;
        return Ok(Some(standing));
    }
    let foreign = io::list(out)?.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name != LOCK && name.strip_suffix(".tmp") != Some(manifest::FILE_NAME)
    });
    match foreign {
        None => Ok(None),
        Some(file) => Err(Error::config(format!(
            "`{}` holds other files and is no run: `{}`",
            out.display(),
            file.display()
        ))
        .with_hint("choose a new directory for `--out`")),
    }
}

/// The configuration under which the standing run goes on; `None` when it must step aside.
fn continuation(out: &Path, standing: &Manifest, asked: &Asked<'_>) -> Result<Option<TrainConfig>> {
    let input = asked.input.key();
    let same_input = standing.inputs.iter().map(InputRecord::key).eq([input]);
    let same_version = standing.stage_version == STAGE_VERSION;
    let run: Option<TrainConfig> = serde_json::from_value(standing.config.clone()).ok();
    let run = run.filter(|_| same_input && same_version);
    if let Some(run) = &run {
        let mut config = run.clone();
        config.train.log_every = asked.config.train.log_every;
        if asked.config.asks_for(run) {
            return Ok(Some(config));
        }
        config.train.steps = asked.config.train.steps;
        if asked.resume && asked.config.asks_for(&config) {
            return extended(out, run, config).map(Some);
        }
    }
    if !asked.resume {
        return Ok(None);
    }
    let what = match &run {
        Some(run) => format!("differs in: {}", differing_keys(run, asked.config).join(", ")),
        None => "was made from another mix, or by another version".to_owned(),
    };
    Err(Error::config(format!("cannot resume `{}`: it {what}", out.display())).with_hint(
        "only `train.steps` may change; without `--resume` the run steps aside for a new one",
    ))
}

/// Another horizon from the latest checkpoint on.
fn extended(out: &Path, run: &TrainConfig, mut config: TrainConfig) -> Result<TrainConfig> {
    let latest = checkpoint::latest(&out.join(CHECKPOINTS))?.map_or(0, |latest| latest.step);
    let (Steps::Number(old), Steps::Number(new)) = (run.train.steps, config.train.steps) else {
        panic!("steps of a run are numbers: {:?}, {:?}", run.train.steps, config.train.steps)
    };
    if new < latest {
        let message = format!("`train.steps` is {new}, but the run has done {latest} steps");
        return Err(Error::config(message).with_hint("a run can only grow"));
    }
    if latest > 0 {
        config.train.extended.push(Extension { at: latest, steps: old });
    }
    Ok(config)
}

/// Keys, as `train.steps`, whose values differ.
fn differing_keys(run: &TrainConfig, asked: &TrainConfig) -> Vec<String> {
    let (run, asked) = (run.fingerprinted(), asked.fingerprinted());
    let tables = run.as_object().into_iter().flatten();
    let keys = tables.flat_map(|(table, values)| {
        let keys = values.as_object().into_iter().flatten();
        keys.map(move |(key, value)| (table, key, value))
    });
    keys.filter(|(table, key, value)| asked[table.as_str()].get(key.as_str()) != Some(*value))
        .map(|(table, key, _)| format!("`{table}.{key}`"))
        .collect()
}

/// Renames `NAME` to `NAME@1a2b3c4d`, or `NAME@1a2b3c4d-2` where that stands already.
fn step_aside(out: &Path, standing: &Manifest) -> Result<PathBuf> {
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let base = format!("{name}@{}", standing.fingerprint.short());
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

fn new_manifest(config: &TrainConfig, end_of_text: &str, inputs: Vec<InputRecord>) -> Manifest {
    let value = config.fingerprinted();
    let seed = config.train.seed;
    Manifest {
        format: manifest::FORMAT,
        kind: Kind::Run,
        stage: STAGE.to_owned(),
        stage_version: STAGE_VERSION,
        tool: Tool::current(),
        fingerprint: manifest::fingerprint(STAGE, STAGE_VERSION, seed, &value, &inputs),
        config: value,
        seed,
        inputs,
        files: Vec::new(),
        counts: ManifestCounts::default(),
        holdout: None,
        skipped_files: Vec::new(),
        read: Vec::new(),
        extra: BTreeMap::from([(END_OF_TEXT.to_owned(), end_of_text.into())]),
    }
}

/// What equal runs share, by name.
fn files(out: &Path) -> Result<Vec<FileEntry>> {
    let mut entries = Vec::new();
    for path in io::files_below(out)? {
        let name = path.strip_prefix(out).expect("listed below").to_string_lossy().into_owned();
        let unshared = UNSHARED.contains(&name.as_str())
            || name == manifest::FILE_NAME
            || name.starts_with("events.out.tfevents.");
        if !unshared {
            let (xxh3, bytes) = io::hash_file(&path)?;
            entries.push(FileEntry {
                name,
                bytes,
                rows: None,
                documents: None,
                tokens: None,
                xxh3,
            });
        }
    }
    Ok(entries)
}
