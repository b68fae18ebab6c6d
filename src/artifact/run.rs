//! What others than the trainer look for in a run's folder, and whether the run goes on.
//!
//! In → a run's folder; out → names of files, the run's [`Standing`]. **Invariant.** A run that
//! says `running` and that no process has locked was killed.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::base::{error::Result, lock::Lock};

/// The folder of its checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The folder of its evaluations' documents.
pub const DOCUMENT_EVALS: &str = "evals";
/// The file that the process which trains it has locked.
pub const LOCK: &str = ".lock";
/// The file that says how far it is, and whether it goes on.
pub const STATE: &str = "state.json";

/// The folder of the checkpoint of a step.
pub fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(CHECKPOINTS).join(step_name(step))
}

/// The file of what the evaluation at a step found, a document a line.
pub fn document_evals(run: &Path, step: u64) -> PathBuf {
    run.join(DOCUMENT_EVALS).join(format!("{}.jsonl", step_name(step)))
}

fn step_name(step: u64) -> String {
    format!("step-{step:06}")
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// A process works on it.
    Running,
    /// It was ended before its last step, and says so.
    Stopped,
    /// No process works on it, and it does not say why: its process died.
    Killed,
    /// It has reached its last step.
    Done,
}

impl Standing {
    /// Of the run in `path`, whose `state.json` says `state`.
    ///
    /// # Errors
    /// Io: a lock that cannot be looked at.
    pub fn read(path: &Path, state: &Value) -> Result<Standing> {
        let is_held = Lock::is_held(&path.join(LOCK))?;
        Ok(match state["state"].as_str() {
            Some("done") => Standing::Done,
            _ if is_held => Standing::Running,
            Some("stopped") => Standing::Stopped,
            _ => Standing::Killed,
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::Running => "running",
            Standing::Stopped => "stopped",
            Standing::Killed => "killed",
            Standing::Done => "done",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_that_says_running_and_is_not_locked_was_killed() {
        let directory = tempfile::tempdir().unwrap();
        let read =
            |state: &str| Standing::read(directory.path(), &json!({"state": state})).unwrap();
        assert_eq!(
            ["running", "stopped", "done"].map(read).map(|it| it.to_string()),
            ["killed", "stopped", "done"]
        );
        let lock = Lock::take(&directory.path().join(LOCK), directory.path()).unwrap();
        assert_eq!([read("running"), read("stopped")], [Standing::Running; 2]);
        drop(lock);
        assert_eq!(read("running"), Standing::Killed);
    }
}
