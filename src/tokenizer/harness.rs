//! Runs a stage for a test, unit by unit, as the executor would: no resume, no manifest.
//!
//! In: a stage and a folder for its units; out: where the units lie and their counts. Tests only.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use crate::artifact::counts::Counts;
use crate::artifact::unit;
use crate::artifact::{
    record::Notes,
    stage::{Published, Stage, Unit, Work},
};
use crate::base::error::Result;
use crate::base::progress::{Progress, Style};
use crate::source::InputSpec;

/// Runs every unit of `stage` below `partial` with `threads` threads and `memory` bytes.
pub fn run(stage: &dyn Stage, partial: &Path, threads: usize, memory: u64) -> Result<Counts> {
    let plan = stage.plan()?;
    let progress = Progress::new(Style::None);
    let skipped = BTreeSet::new();
    let published = Published { partial, phases: &plan.phases };
    let mut number = 0;
    for (phase, units) in plan.phases.iter().enumerate() {
        for index in 0..units.units.len() {
            let work = Work {
                dir: unit::begin(partial, number)?,
                spill: partial.join("spill"),
                published,
                threads,
                memory,
                skipped: &skipped,
                progress: &progress,
                notes: Mutex::new(Notes::default()),
            };
            let counts = stage.run_unit(Unit { phase, index }, &work)?;
            let notes = work.notes.into_inner().unwrap();
            unit::publish(partial, number, &work.dir, notes, counts)?;
            number += 1;
        }
    }
    let counts = stage.finish(&published)?;
    counts.assert_balanced(stage.name());
    Ok(counts)
}

/// `[NAME=]PATH` as an input.
pub fn spec(name: &str, path: &Path) -> InputSpec {
    format!("{name}={}", path.display()).parse().unwrap()
}
