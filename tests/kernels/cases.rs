//! A case: launches, and what must hold of their results.

use super::host::{Job, Outcome};

/// Judges what a job left behind.
pub type Check = Box<dyn Fn(&Outcome) -> Result<(), String>>;

/// One job and its verdict.
pub struct Case {
    pub name: String,
    pub job: Job,
    pub check: Check,
}

impl Case {
    pub fn new(
        name: impl Into<String>,
        job: Job,
        check: impl Fn(&Outcome) -> Result<(), String> + 'static,
    ) -> Case {
        Case { name: name.into(), job, check: Box::new(check) }
    }

    /// Ok where the job ran without a fault and gave the reference.
    pub fn verdict(&self, seed: u64, skip: &str) -> Result<(), String> {
        (self.check)(&self.job.run(seed, skip)?)
    }
}
