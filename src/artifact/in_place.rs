//! Work that writes its artifact in place and keeps its own resume, as a training run does.
//!
//! In → OUT and what it may take; out → the artifact in OUT, or as far as it came. The contract of
//! such work with whoever runs it; [`super::stage::Stage`] is that of all other work.

use std::path::Path;

use super::{forecast::Forecast, summary::Summary};
use crate::base::{error::Result, progress::Progress};

/// Work that is ready to run.
pub trait InPlace {
    /// What it would do to `out`.
    fn forecast(&self, out: &Path, resources: &Resources<'_>) -> Result<Forecast>;

    /// Does the work, or continues it.
    fn run(&self, out: &Path, resources: &Resources<'_>) -> Result<Done>;
}

/// What the work may take, and what it talks to.
#[derive(Clone, Copy)]
pub struct Resources<'a> {
    pub threads: usize,
    /// Bytes.
    pub memory: u64,
    /// Do it again, even if it is up to date.
    pub fresh: bool,
    /// How far it is.
    pub progress: &'a Progress,
    /// Facts worth a line on stderr.
    pub say: &'a (dyn Fn(&str) + Sync),
    /// What must not be missed while the work goes on.
    pub warn: &'a (dyn Fn(&str) + Sync),
}

/// What came of it.
pub struct Done {
    pub up_to_date: bool,
    pub summary: Box<dyn Summary>,
}
