//! The run's directory: who may work in it, and what an earlier start left there.
//!
//! In → OUT and what is asked for; out → [`RunDirectory`], locked, with the configuration that
//! holds and the checkpoint to continue from. A run is the one artifact that is written in place:
//! its manifest stands from step 0, each checkpoint is published by one rename, and `state.json`
//! says running, stopped or done. **Rules.** An equal fingerprint continues, or is up to date.
//! `--resume` also takes another `train.steps` (see `extend`). Anything else makes the standing run
//! step aside as `NAME@<first 8 of its fingerprint>`; a run is never replaced. What is no run is
//! refused, and left as it is.
//! **Invariants.** One process an OUT, by a kernel lock on a file in it. The manifest is the first
//! file, so a directory with files but without one is never taken for a run. Until
//! [`RunDirectory::begin`] nothing of a standing run is changed.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    aside::{bring_back, find, step_aside},
    config::{Steps, TrainConfig},
    extend::{self, Asked, Continuation},
    layout::{
        CHECKPOINTS, CONFIG, DOCUMENT_EVALS, END_OF_TEXT, LOCK, REPORT, STAGE, STAGE_VERSION,
        STATE, Standing, State, TOKENIZER, TOKENIZER_SETTINGS, UNSHARED, read_manifest, read_state,
    },
    recovery::{self, Recovery},
};
use crate::artifact::{
    manifest::{self, Ancestor, FileEntry, Manifest, ManifestCounts, Tool},
    record::{InputRecord, Kind},
};
use crate::base::{
    error::{Error, Result},
    io,
    lock::Lock,
    place,
    size::Count,
};
use crate::runtime::{
    checkpoint::{self, Checkpoint},
    hashed::FileHash,
};

/// What becomes of OUT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Start {
    /// Nothing stands there.
    New,
    /// The run there goes on after this step.
    Continues { step: u64 },
    /// The run there is finished, and is what is asked for.
    UpToDate,
    /// The run there steps aside for one that begins anew, or goes on from one of its steps.
    StepsAside { why: String, from: u64 },
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::New => write!(f, "begins"),
            Start::Continues { step } => write!(f, "continues after step {}", Count(*step)),
            Start::UpToDate => write!(f, "up to date"),
            Start::StepsAside { why, .. } => write!(f, "the run that stands steps aside: {why}"),
        }
    }
}

/// What [`RunDirectory::open`] would do with OUT, without touching it.
pub fn look(out: &Path, asked: &Asked<'_>) -> Result<Start> {
    let standing = if out.exists() { standing_run(out)? } else { None };
    if !goes_on(out, standing.as_ref(), asked)? {
        if let Some((found, _)) = find(out, asked)? {
            return look(&found, asked);
        }
        check_past(out, asked)?;
    }
    let Some(standing) = standing else { return Ok(Start::New) };
    Ok(match decision(out, &standing, asked)? {
        Continuation::Aside(why) => Start::StepsAside { why, from: 0 },
        Continuation::Branch { why, recovery, .. } => {
            let from = recovery.checkpoint.map_or(0, |checkpoint| checkpoint.step);
            Start::StepsAside { why, from }
        }
        Continuation::Here { config, warnings } => {
            let found = Found::read(out, *config, warnings, &standing, asked)?;
            match found.is_done(out) {
                true => Start::UpToDate,
                false => Start::Continues { step: found.step() },
            }
        }
    })
}

/// Whether there is a run in OUT that is, or becomes, what is asked for.
fn goes_on(out: &Path, standing: Option<&Manifest>, asked: &Asked<'_>) -> Result<bool> {
    let Some(standing) = standing else { return Ok(false) };
    Ok(!matches!(decision(out, standing, asked)?, Continuation::Aside(_)))
}

/// Whether a new run in OUT has the model that it needs, and can share the past that is asked for.
///
/// # Errors
/// Config: no model is given; the past is that of the run that stands in OUT, or of another mix,
/// shape or batch.
fn check_past(out: &Path, asked: &Asked<'_>) -> Result<()> {
    asked.origin.check_model(asked.config)?;
    let Some(parent) = &asked.origin.parent else { return Ok(()) };
    if out.exists() && io::canonical(out)? == io::canonical(&parent.run)? {
        let stands = format!("the run that stands in `{}`", out.display());
        return Err(Error::config(format!("`--branch` names a checkpoint of {stands}"))
            .with_hint("give the branch an `--out` of its own"));
    }
    extend::shared_past(parent, asked).map(drop)
}

/// What is done about the standing run.
fn decision(out: &Path, standing: &Manifest, asked: &Asked<'_>) -> Result<Continuation> {
    match asked.fresh {
        true => Ok(Continuation::Aside("a new one was asked for".to_owned())),
        false => extend::continuation(out, standing, asked),
    }
}

/// A standing run, read.
struct Found {
    config: TrainConfig,
    recovery: Recovery,
    before: Option<Standing>,
    warnings: Vec<String>,
}

impl Found {
    fn read(
        out: &Path,
        config: TrainConfig,
        mut warnings: Vec<String>,
        standing: &Manifest,
        asked: &Asked<'_>,
    ) -> Result<Found> {
        let before = read_state(out).unwrap_or_else(|error| {
            warnings.push(format!("{error}; the checkpoints say where the run stands"));
            None
        });
        if let Some(step) = asked.from_step {
            checkpoint::find(&out.join(CHECKPOINTS), step)?;
        }
        let last = asked.from_step.unwrap_or(u64::MAX);
        let mut recovery = recovery::recover(out, standing, &config, before, last)?;
        if let Some(step) = asked.from_step {
            go_back(out, step, &mut recovery)?;
        }
        if before.is_some() {
            recovery.damage.extend(damaged_copies(out, standing, &asked.tokenizer)?);
        }
        warnings.extend(recovery.damage.iter().cloned());
        Ok(Found { config, recovery, before, warnings })
    }

    fn step(&self) -> u64 {
        self.recovery.checkpoint.as_ref().map_or(0, |latest| latest.step)
    }

    /// Whether the run is over and everything of it stands.
    fn is_done(&self, out: &Path) -> bool {
        let Steps::Number(steps) = self.config.train.steps else { return false };
        let done = self.before.is_some_and(|before| before.state == State::Done);
        let whole = self.warnings.is_empty() && out.join(REPORT).is_file();
        done && whole && self.step() == steps
    }
}

/// Puts aside the checkpoints after `step`, which must itself have a sound one.
fn go_back(out: &Path, step: u64, recovery: &mut Recovery) -> Result<()> {
    let directory = out.join(CHECKPOINTS);
    let chosen = checkpoint::find(&directory, step)?;
    if recovery.checkpoint.as_ref() != Some(&chosen) {
        let damage = recovery.damage.join("; ");
        return Err(Error::failed(format!("cannot go back to step {step}: {damage}")));
    }
    recovery.damage.clear();
    let later = checkpoint::list(&directory)?.into_iter().filter(|found| found.step > step);
    recovery.aside = later.collect();
    Ok(())
}

/// A run's directory, locked.
pub struct RunDirectory {
    /// OUT.
    pub path: PathBuf,
    /// What the run is: as asked for, with the horizons it was extended at.
    pub config: TrainConfig,
    /// Where to continue, and what was found damaged.
    pub recovery: Recovery,
    /// What `state.json` said; `None` for a new run, or where it cannot be read.
    pub before: Option<Standing>,
    done: bool,
    /// Where an earlier run of this name went, and why.
    pub stepped_aside: Option<(PathBuf, String)>,
    /// Facts about how it goes on that a person must know.
    pub warnings: Vec<String>,
    manifest: Manifest,
    tokenizer: PathBuf,
    lock: Lock,
}

impl RunDirectory {
    /// Locks OUT and decides what to do there.
    pub fn open(out: &Path, asked: Asked<'_>) -> Result<RunDirectory> {
        // Refuses before a lock file is left there.
        let standing = if out.exists() { standing_run(out)? } else { None };
        let came_back = match goes_on(out, standing.as_ref(), &asked)? {
            true => None,
            false => {
                if find(out, &asked)?.is_none() {
                    check_past(out, &asked)?;
                }
                bring_back(out, standing.as_ref(), &asked)?
            }
        };
        io::create_directory(out)?;
        let lock = Lock::take(&out.join(LOCK), out)?;
        let Some(standing) = standing_run(out)? else {
            return RunDirectory::create(out, asked, lock, None);
        };
        match decision(out, &standing, &asked)? {
            Continuation::Aside(why) => {
                let aside = step_aside(out, &standing)?;
                drop(lock);
                io::create_directory(out)?;
                let lock = Lock::take(&out.join(LOCK), out)?;
                RunDirectory::create(out, asked, lock, Some((aside, why)))
            }
            Continuation::Here { config, warnings } => {
                let found = Found::read(out, *config, warnings, &standing, &asked)?;
                let directory = RunDirectory::resume(out, found, &standing, asked, lock);
                Ok(RunDirectory { stepped_aside: came_back, ..directory })
            }
            Continuation::Branch { config, recovery, why } => {
                let (made, recovery) = extend::branch(out, out, *recovery)?;
                let version = standing.stage_version;
                let manifest = extended(&standing, &config, version);
                manifest.write(&made)?;
                let aside = step_aside(out, &standing)?;
                drop(lock);
                io::rename(&made, out)?;
                let lock = Lock::take(&out.join(LOCK), out)?;
                Ok(RunDirectory {
                    path: out.to_owned(),
                    config: *config,
                    recovery,
                    before: None,
                    done: false,
                    stepped_aside: Some((aside, why)),
                    warnings: Vec::new(),
                    manifest,
                    tokenizer: asked.tokenizer,
                    lock,
                })
            }
        }
    }

    /// A new run.
    fn create(
        out: &Path,
        asked: Asked<'_>,
        lock: Lock,
        stepped_aside: Option<(PathBuf, String)>,
    ) -> Result<RunDirectory> {
        let config = asked.config.clone();
        if asked.from_step.is_some() {
            let message = format!("`--from-step` needs a run to go back in: `{}`", out.display());
            return Err(Error::config(message).with_hint("`--branch` begins a new run"));
        }
        let manifest = new_manifest(&asked)?;
        let (mut recovery, mut lock) = (Recovery::default(), lock);
        if let Some(parent) = &asked.origin.parent {
            let past = extend::shared_past(parent, &asked)?;
            let (made, past) = extend::branch(&parent.run, out, past)?;
            manifest.write(&made)?;
            drop(lock);
            io::remove_directory(out)?;
            io::rename(&made, out)?;
            lock = Lock::take(&out.join(LOCK), out)?;
            recovery = past;
        }
        manifest.write(out)?;
        Ok(RunDirectory {
            path: out.to_owned(),
            config,
            recovery,
            before: None,
            done: false,
            stepped_aside,
            warnings: Vec::new(),
            manifest,
            tokenizer: asked.tokenizer,
            lock,
        })
    }

    /// A standing run, read whole.
    fn resume(
        out: &Path,
        found: Found,
        standing: &Manifest,
        asked: Asked<'_>,
        lock: Lock,
    ) -> RunDirectory {
        let done = found.is_done(out);
        let Found { config, recovery, before, warnings } = found;
        let version = standing.stage_version;
        RunDirectory {
            path: out.to_owned(),
            manifest: extended(standing, &config, version),
            tokenizer: asked.tokenizer,
            recovery,
            before,
            done,
            stepped_aside: None,
            warnings,
            config,
            lock,
        }
    }

    /// Where to continue; `None`: at the beginning.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.recovery.checkpoint.as_ref()
    }

    /// A path inside.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether the run is over and everything of it stands.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Marks the run as being worked on: writes the manifest (without files) and `config.toml`, and
    /// puts aside what cannot be continued from. From here on the standing run is changed.
    pub fn begin(&self) -> Result<()> {
        io::replace(&self.join(manifest::FILE_NAME), self.manifest.to_json().as_bytes())?;
        checkpoint::remove_temporary(&self.join(CHECKPOINTS))?;
        for checkpoint in &self.recovery.aside {
            checkpoint.set_aside()?;
        }
        io::replace(&self.join(CONFIG), config_text(&self.config).as_bytes())?;
        for (name, source) in tokenizer_files(&self.tokenizer) {
            io::replace(&self.join(name), &io::read(&source)?)?;
        }
        io::create_directory(&self.join(CHECKPOINTS))?;
        io::create_directory(&self.join(DOCUMENT_EVALS))?;
        let step = self.checkpoint().map_or(0, |latest| latest.step);
        self.write_state(Standing { state: State::Running, step })
    }

    /// Hashes of the tokenizer's files, which every checkpoint vouches for.
    pub fn tokenizer_hashes(&self) -> Result<Vec<FileHash>> {
        let hash = |(name, source): (&str, PathBuf)| {
            let (xxh3, bytes) = io::hash_file(&source)?;
            Ok(FileHash { name: name.to_owned(), bytes, xxh3 })
        };
        tokenizer_files(&self.tokenizer).into_iter().map(hash).collect()
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

/// The manifest of the run that stands in `out`; `None` when the directory is empty.
fn standing_run(out: &Path) -> Result<Option<Manifest>> {
    if Manifest::stands_in(out) {
        return read_manifest(out)
            .map(Some)
            .map_err(|error| error.with_hint("choose a new directory for `--out`"));
    }
    let foreign = io::list(out)?.into_iter().find(|path| {
        let name = place::name(path);
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

/// The files that every start writes anew and that are damaged, a sentence each.
fn damaged_copies(out: &Path, standing: &Manifest, tokenizer: &Path) -> Result<Vec<String>> {
    let mut damaged = Vec::new();
    let mut rewritten = |name: &str, what: &str| {
        let path = out.join(name);
        damaged.push(format!("damaged file `{}`: {what}; it was written anew", path.display()));
    };
    for (name, source) in tokenizer_files(tokenizer) {
        let path = out.join(name);
        if !path.is_file() {
            rewritten(name, "it is missing");
        } else if io::read(&path)? != io::read(&source)? {
            rewritten(name, "it differs from the mix's");
        }
    }
    let path = out.join(CONFIG);
    let table = io::read(&path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let config = table.and_then(|text| text.parse().ok()).map(TrainConfig::parse);
    let listed = standing.files.iter().find(|file| file.name == CONFIG);
    let unlike = match listed {
        Some(file) => !path.is_file() || io::hash_file(&path)?.0 != file.xxh3,
        None => false,
    };
    match config {
        Some(Ok(config)) if config.fingerprinted() == standing.config && !unlike => {}
        _ => rewritten(CONFIG, "it is not this run's configuration"),
    }
    Ok(damaged)
}

/// The resolved configuration as text.
fn config_text(config: &TrainConfig) -> String {
    let config = toml::to_string_pretty(config).expect("tables of plain values");
    format!("# The resolved configuration of this run; `train --config` takes it back.\n\n{config}")
}

/// (name in the run, file of the mix) of `tokenizer.json` and what lies beside it.
fn tokenizer_files(tokenizer_json: &Path) -> Vec<(&'static str, PathBuf)> {
    let settings = tokenizer_json.with_file_name(TOKENIZER_SETTINGS);
    let files = [(TOKENIZER, tokenizer_json.to_owned()), (TOKENIZER_SETTINGS, settings)];
    files.into_iter().filter(|(name, path)| *name == TOKENIZER || path.is_file()).collect()
}

/// The manifest of a standing run that goes on under `config`. It keeps the inputs, the ancestry
/// and the names of origins that the run began with.
fn extended(standing: &Manifest, config: &TrainConfig, version: u32) -> Manifest {
    let (inputs, extra) = (standing.inputs.clone(), standing.extra.clone());
    manifest_of(config, inputs, standing.ancestry.clone(), extra, version)
}

fn new_manifest(asked: &Asked<'_>) -> Result<Manifest> {
    let inputs: Vec<InputRecord> =
        [&asked.input].into_iter().chain(&asked.origin.inputs).cloned().collect();
    let mut extra = asked.origin.extra.clone();
    extra.insert(END_OF_TEXT.to_owned(), asked.end_of_text.into());
    let ancestry = manifest::ancestry(&inputs)?;
    Ok(manifest_of(asked.config, inputs, ancestry, extra, STAGE_VERSION))
}

fn manifest_of(
    config: &TrainConfig,
    inputs: Vec<InputRecord>,
    ancestry: Vec<Ancestor>,
    extra: BTreeMap<String, serde_json::Value>,
    version: u32,
) -> Manifest {
    let value = config.fingerprinted();
    let seed = config.train.seed;
    Manifest {
        format: manifest::FORMAT,
        kind: Kind::Run,
        stage: STAGE.to_owned(),
        stage_version: version,
        tool: Tool::current(),
        fingerprint: manifest::fingerprint(STAGE, version, seed, &value, &inputs),
        config: value,
        seed,
        ancestry,
        inputs,
        files: Vec::new(),
        counts: ManifestCounts::default(),
        holdout: None,
        skipped_files: Vec::new(),
        read: Vec::new(),
        extra,
    }
}

/// What equal runs share, by name.
fn files(out: &Path) -> Result<Vec<FileEntry>> {
    let mut entries = Vec::new();
    for path in io::files_below(out)? {
        let name = path.strip_prefix(out).expect("listed below").to_string_lossy().into_owned();
        let unshared = UNSHARED.contains(&name.as_str())
            || name == manifest::FILE_NAME
            || checkpoint::is_aside(&name)
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
