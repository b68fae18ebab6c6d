//! What lies at a path that is no artifact: unfinished work, a part of an artifact, nothing.
//!
//! In → a path; out → a [`PartialReport`] for `OUT.partial`, or an error that says what is there
//! and what to do about it. Whether somebody works on OUT is what the kernel says of its lock,
//! which is held for no longer than a look.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::artifact::{
    manifest::{FILE_NAME, Manifest},
    run::CHECKPOINTS,
    unit,
};
use crate::base::{
    error::{Error, Result},
    io,
    lock::Lock,
};

/// What a stage writes beside OUT while it works, and the files in there.
const PARTIAL: &str = ".partial";
const PLAN: &str = "plan.json";
const LOCK: &str = "lock";

/// How the names of checkpoints begin.
const STEP: &str = "step-";

/// A stage's output on its way.
#[derive(Clone, Debug, Serialize)]
pub struct PartialReport {
    /// The directory, as it was given.
    pub path: String,
    /// What it becomes.
    pub out: String,
    pub stage: String,
    /// Whether somebody works on it.
    pub is_worked_on: bool,
    pub phases: Vec<PhaseReport>,
}

/// One phase of it.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseReport {
    pub name: String,
    pub units: usize,
    pub finished: usize,
}

impl PartialReport {
    /// Whether `path` is a stage's output on its way.
    pub fn is_there(path: &Path) -> bool {
        becomes(path).is_some() && path.is_dir() && path.join(LOCK).exists()
            || path.join(PLAN).is_file() && path.join("units").is_dir()
    }

    /// Reads the plan and looks which units are there.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a plan that cannot be read.
    pub fn read(path: &Path) -> Result<PartialReport> {
        let file = path.join(PLAN);
        let plan: Value = match file.is_file() {
            true => serde_json::from_slice(&io::read(&file)?)
                .map_err(|error| Error::damaged(&file, None, error))?,
            false => Value::Null,
        };
        let mut first = 0;
        let mut phases = Vec::new();
        for phase in plan["phases"].as_array().into_iter().flatten() {
            let units = phase["units"].as_array().map_or(0, Vec::len);
            let is_finished = |index: &usize| unit::is_published(path, first + index);
            let finished = (0..units).filter(is_finished).count();
            let name = phase["name"].as_str().unwrap_or_default().to_owned();
            phases.push(PhaseReport { name, units, finished });
            first += units;
        }
        Ok(PartialReport {
            path: path.display().to_string(),
            out: becomes(path).unwrap_or_default().display().to_string(),
            stage: plan["stage"].as_str().unwrap_or_default().to_owned(),
            is_worked_on: Lock::is_held(&path.join(LOCK))?,
            phases,
        })
    }
}

impl fmt::Display for PartialReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PartialReport { path, out, stage, is_worked_on, phases } = self;
        match stage.as_str() {
            "" => writeln!(f, "{path}: work on `{out}` that had not begun")?,
            stage => writeln!(f, "{path}: `{out}` on its way, made by `{stage}`")?,
        }
        for PhaseReport { name, units, finished } in phases {
            writeln!(f, "  {name}: {finished} of {units} units are finished")?;
        }
        match is_worked_on {
            true => write!(f, "somebody works on it: `{out}` appears when it is complete"),
            false => write!(
                f,
                "nobody works on it: the same command continues it, and with `--fresh` begins anew"
            ),
        }
    }
}

/// `OUT` of `OUT.partial`.
fn becomes(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(PARTIAL)?;
    (!name.is_empty()).then(|| path.with_file_name(name))
}

/// `OUT.partial` of `OUT`, where it stands.
fn partial_of(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(PARTIAL);
    Some(path.with_file_name(name)).filter(|partial| PartialReport::is_there(partial))
}

/// The error for a path that is no artifact, with what it is instead.
pub fn explain(path: &Path) -> Error {
    let shown = path.display();
    if let Some(partial) = partial_of(path) {
        let message = format!("`{shown}` is not finished");
        let hint = format!(
            "run its command again to finish it; `dataprep inspect {}` says how far it is",
            partial.display()
        );
        return Error::config(message).with_hint(hint);
    }
    if !path.exists() {
        return Error::config(format!("there is nothing at `{shown}`"))
            .with_hint("name the directory that a command wrote with `--out`");
    }
    if PartialReport::is_there(path) {
        return Error::config(format!("`{shown}` is not finished"))
            .with_hint("run its command again: it continues");
    }
    if let Some((run, step)) = checkpoint(path) {
        let run = run.display();
        return Error::config(format!("`{shown}` is the checkpoint of step {step} of a run"))
            .with_hint(format!(
                "`dataprep inspect {run}` and `verify {run}` show and check the run with all of \
                 its checkpoints; `dataprep generate {run} --step {step}` continues a text by it"
            ));
    }
    if let Some(artifact) = artifact_above(path) {
        let message = format!("`{shown}` is a part of an artifact");
        let artifact = match artifact.as_os_str().is_empty() {
            true => Path::new("."),
            false => artifact,
        };
        return Error::config(message)
            .with_hint(format!("name the directory: `{}`", artifact.display()));
    }
    let message = format!("`{shown}` is no artifact: it has no {FILE_NAME}");
    Error::config(message).with_hint("name the directory that a command wrote with `--out`")
}

/// The artifact that a path leads into: the folder above, or one of the few that artifacts nest.
pub fn artifact_above(path: &Path) -> Option<&Path> {
    const NESTED_MAX: usize = 3;
    path.ancestors().skip(1).take(NESTED_MAX).find(|above| Manifest::read(above).is_ok())
}

/// The run and the step of a checkpoint.
fn checkpoint(path: &Path) -> Option<(PathBuf, u64)> {
    let folder = path.parent()?;
    let step = path.file_name()?.to_str()?.strip_prefix(STEP)?.parse().ok()?;
    let run = (folder.file_name()? == CHECKPOINTS).then(|| folder.parent())??;
    let run = if run.as_os_str().is_empty() { Path::new(".") } else { run };
    Some((run.to_owned(), step))
}
