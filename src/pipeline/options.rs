//! *How* work is done, and what came of it.
//!
//! In → what the command line says of threads, memory and what may be replaced; out → an
//! [`Outcome`] with its summary. Nothing of [`Options`] reaches a published byte.

use std::path::PathBuf;

use crate::artifact::{manifest::Manifest, summary::Summary};
use crate::base::{progress::Progress, size::Bytes};

/// *How* a stage runs; nothing here reaches its bytes.
#[derive(Clone, Debug)]
pub struct Options {
    pub threads: usize,
    pub memory: Bytes,
    /// Where what does not fit the memory goes; beside OUT without one.
    pub temp_dir: Option<PathBuf>,
    /// Do it again, even if it is up to date.
    pub fresh: bool,
    /// Replace an OUT, or discard a half-done OUT.partial, of another fingerprint.
    pub replace: bool,
    /// Keep what is replaced in the store beside OUT, and take from there what is asked for again.
    pub keeps: bool,
}

/// What the work talks to while it goes on.
#[derive(Clone, Copy)]
pub struct Listener<'a> {
    /// How far it is.
    pub progress: &'a Progress,
    /// Facts worth a line on stderr.
    pub say: &'a (dyn Fn(&str) + Sync),
    /// What must not be missed while the work goes on.
    pub warn: &'a (dyn Fn(&str) + Sync),
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub manifest: Manifest,
    pub up_to_date: bool,
    /// Units of the plan, and those that an earlier start had finished.
    pub units: usize,
    pub units_reused: usize,
    pub seconds: f64,
    /// What a person should know: what was discarded, which files were skipped.
    pub notices: Vec<String>,
    /// What it has become, for people and for programs.
    pub summary: Box<dyn Summary>,
}
