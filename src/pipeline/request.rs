//! What is asked of one stage, with every path and key resolved.
//!
//! In → a bare command's arguments, or a step of a recipe; out → a [`Request`], which
//! [`super::registry`] opens as a [`super::job::Job`].

use std::path::PathBuf;

use crate::base::config::Table;

/// A stage to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// The step's name, or the stage's for a bare command.
    pub name: String,
    pub stage: String,
    /// As on the command line: `[NAME=]PATH`, `name=SHARDS[#source]:WEIGHT`.
    pub inputs: Vec<String>,
    pub out: PathBuf,
    pub config: Table,
    /// Earlier steps whose outputs it reads, by name.
    pub after: Vec<String>,
    /// Read what the revisions of remote inputs mean today, whatever an earlier run has read.
    pub newest: bool,
    /// *How* to train, for the stage that does.
    pub training: Training,
}

impl Request {
    /// The request without the keys that are in the first list only.
    pub fn without(&self, keys: &[&str], kept: &[&str]) -> Request {
        let mut own = self.clone();
        for key in keys.iter().filter(|key| !kept.contains(key)) {
            own.config.remove(*key);
        }
        own
    }
}

/// *How* to train: nothing here is part of a fingerprint.
#[derive(Clone, Debug, Default)]
pub struct Training {
    /// `auto`, `cpu` or `cuda`; `auto` by default.
    pub device: Option<String>,
    /// Continue, also with another `train.steps`.
    pub resume: bool,
    /// Stop after this step, counted from the run's beginning.
    pub stop_after: Option<u64>,
    /// Where to look for shards that moved.
    pub data: Vec<PathBuf>,
    /// What a new run begins with: the parameters of a model, or the past of a checkpoint.
    pub init_from: Option<PathBuf>,
    pub branch: Option<PathBuf>,
    /// The checkpoint that a standing run goes back to.
    pub from_step: Option<u64>,
    /// Train the last stretch again first, and compare.
    pub verify: bool,
}
