//! A run: how far it is, whether somebody works on it, what it has kept.
//!
//! In → a run's directory and manifest; out → [`RunReport`]. A run's manifest stands from step 0
//! and lists its files when it ends; until then what lies in the directory is counted.

use std::{fmt, path::Path};

use serde::Serialize;
use serde_json::Value;

use super::Facts;
use crate::artifact::{
    manifest::Manifest,
    run::{CHECKPOINTS, STATE, Standing},
};
use crate::base::{
    error::{Error, Result},
    io,
    size::Count,
};
use crate::report::Bill;

/// A model in training, or trained.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    #[serde(flatten)]
    pub facts: Facts,
    pub standing: Standing,
    /// The step of the latest checkpoint, or the last step.
    pub step: u64,
    /// Steps in all, where the configuration says.
    pub steps: Option<u64>,
    /// The steps whose checkpoints are there.
    pub checkpoints: Vec<u64>,
    /// Where its loss is going and what it costs, for whoever asks the training runtime.
    pub bill: Option<Bill>,
}

impl RunReport {
    /// Reads what the run says of itself.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a `state.json` that cannot be read.
    pub fn read(path: &Path, manifest: &Manifest) -> Result<RunReport> {
        let file = path.join(STATE);
        let state: Value = match file.is_file() {
            true => serde_json::from_slice(&io::read(&file)?)
                .map_err(|error| Error::damaged(&file, None, error))?,
            false => Value::Null,
        };
        let standing = Standing::read(path, &state)?;
        let mut facts = Facts::new(path, manifest);
        if manifest.files.is_empty() {
            let files = io::files_below(path)?;
            facts.files = files.len();
            facts.bytes = files.iter().map(|file| io::size(file)).sum::<Result<u64>>()?;
        }
        let steps = manifest.config.pointer("/train/steps").and_then(Value::as_u64);
        let step = state["step"].as_u64().unwrap_or(0);
        let checkpoints = checkpoints(path)?;
        Ok(RunReport { facts, standing, step, steps, checkpoints, bill: None })
    }
}

/// The steps of the published checkpoints, rising.
pub(super) fn checkpoints(run: &Path) -> Result<Vec<u64>> {
    let folder = run.join(CHECKPOINTS);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let step = |path: &std::path::PathBuf| {
        path.file_name()?.to_str()?.strip_prefix("step-")?.parse::<u64>().ok()
    };
    let mut steps: Vec<u64> = io::list(&folder)?.iter().filter_map(step).collect();
    steps.sort_unstable();
    Ok(steps)
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.head(f)?;
        let of = self.steps.map(|steps| format!(" of {}", Count(steps))).unwrap_or_default();
        let step = format!("step {}{of}", Count(self.step));
        let again = "the same `dataprep train` command continues";
        match (self.standing, self.checkpoints.last()) {
            (Standing::Done, _) => writeln!(f, "done: {step}")?,
            (Standing::Running, _) => writeln!(f, "running: last written at {step}")?,
            (Standing::Stopped, _) => writeln!(f, "stopped at {step}: {again}")?,
            (Standing::Killed, Some(step)) => {
                writeln!(f, "killed: {again} from step {}{of}", Count(*step))?;
            }
            (Standing::Killed, None) => {
                writeln!(f, "killed before its first checkpoint: the same command begins anew")?;
            }
        }
        let steps = self.checkpoints.iter().map(|step| Count(*step).to_string());
        match self.checkpoints.is_empty() {
            true => writeln!(f, "no checkpoints")?,
            false => writeln!(f, "checkpoints of steps {}", steps.collect::<Vec<_>>().join(", "))?,
        }
        for line in self.bill.iter().flat_map(Bill::lines) {
            writeln!(f, "{line}")?;
        }
        self.facts.fmt_origin(f)
    }
}
