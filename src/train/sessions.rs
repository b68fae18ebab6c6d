//! `run.json`: when, where and on what a run was worked on.
//!
//! In → one session a process; out → JSON with the places of the inputs (relative to the run, then
//! absolute) and the sessions in order. It holds what the run's shared files must not: clocks,
//! host, paths, the numerics key. Invariant: sessions are only ever appended; the last one is
//! rewritten as it goes on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::clock;
use crate::artifact::record::InputRecord;
use crate::base::{error::Result, io, machine, place};
use crate::report::lines::{Peak, Verdict};
use crate::runtime::device::Numerics;

/// `run.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// Where the inputs lay at the last start.
    pub inputs: Vec<Place>,
    /// What an hour of the machine costs, where it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<f64>,
    /// What the goals that were due have come to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goals: Vec<Verdict>,
    /// One a process.
    pub sessions: Vec<Session>,
}

/// Where an input lies.
#[derive(Debug, Serialize, Deserialize)]
pub struct Place {
    pub name: String,
    pub relative: PathBuf,
    pub absolute: PathBuf,
}

/// One process that worked on the run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    /// Seconds since 1970.
    pub started: f64,
    /// The same, at its last checkpoint or its end.
    pub seen: f64,
    /// The step it continued from, and the one it came to.
    pub from_step: u64,
    pub to_step: u64,
    pub host: String,
    /// The most memory that the process has held, in bytes; sessions of earlier builds do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The rate that its model FLOPs are held against, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// What the bits depend on beside config and mix, and its hash.
    pub numerics: Numerics,
    pub numerics_key: String,
    /// What differed from the session before: from here on, bits may too.
    pub numerics_differences: Vec<String>,
}

impl Sessions {
    /// Opens `run.json` of `run` and appends a session.
    pub fn begin(
        run: &Path,
        input: &InputRecord,
        mix: &Path,
        step: u64,
        price_per_hour: Option<f64>,
        numerics: &Numerics,
        numerics_differences: &[String],
    ) -> Result<Sessions> {
        let path = run.join(super::layout::RUN);
        let mut sessions = Sessions::default();
        if path.is_file() {
            match serde_json::from_slice(&io::read(&path)?) {
                Ok(standing) => sessions = standing,
                // Times and places decide nothing, so a damaged file is kept beside and a new one
                // begun.
                Err(_) => io::rename(&path, &run.join(super::layout::RUN_DAMAGED))?,
            }
        }
        let base = io::canonical(run)?;
        let absolute = io::canonical(mix)?;
        let relative = place::relative(&base, &absolute);
        sessions.inputs = vec![Place { name: input.name.clone(), relative, absolute }];
        sessions.price_per_hour = price_per_hour.or(sessions.price_per_hour);
        let now = clock::wall_time();
        sessions.sessions.push(Session {
            started: now,
            seen: now,
            from_step: step,
            to_step: step,
            host: machine::host(),
            peak_memory: None,
            peak: None,
            numerics: numerics.clone(),
            numerics_key: numerics.key(),
            numerics_differences: numerics_differences.to_vec(),
        });
        sessions.write(run)?;
        Ok(sessions)
    }

    /// Records how far this process has come.
    pub fn reached(&mut self, run: &Path, step: u64) -> Result<()> {
        let session = self.sessions.last_mut().expect("begin appends one");
        (session.seen, session.to_step) = (clock::wall_time(), step);
        session.peak_memory = Some(machine::peak_memory_bytes()).filter(|bytes| *bytes > 0);
        self.write(run)
    }

    /// Records what the machine of this process can do.
    pub fn can(&mut self, peak: Option<Peak>) {
        self.sessions.last_mut().expect("begin appends one").peak = peak;
    }

    fn write(&self, run: &Path) -> Result<()> {
        let mut json = serde_json::to_string_pretty(self).expect("a record is plain data");
        json.push('\n');
        io::replace(&run.join(super::layout::RUN), json.as_bytes())
    }
}
