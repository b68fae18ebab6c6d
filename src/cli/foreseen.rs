//! A chain of steps in a dry run: what each would do, from what the ones before it would.
//!
//! In → steps in order, each with those that it reads; out → [`Would`]. A step that reads what will
//! be made anew runs as well; of one that reads what is only moved back from the store, nothing is
//! known before that is there. Only of the others a forecast is asked for. Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::screen::Would;
use crate::artifact::forecast::Forecast;
use crate::base::error::Result;
use crate::pipeline::request::Request;

/// What was found so far, by the places of outputs.
#[derive(Default)]
pub struct Foreseen {
    /// What will be made.
    pub will_run: BTreeSet<PathBuf>,
    /// What is moved back.
    pub back: BTreeSet<PathBuf>,
    /// What reads one of those that are moved back, at any distance.
    pub not_known: BTreeSet<PathBuf>,
}

impl Foreseen {
    /// What `step` would do, which reads the outputs of the steps `reads`.
    pub fn would(
        &mut self,
        step: &Request,
        reads: &[&Request],
        forecast: impl FnOnce() -> Result<Forecast>,
    ) -> Result<Would> {
        let out = step.out.clone();
        if !among(reads, &self.will_run).is_empty() {
            self.will_run.insert(out);
            return Ok(Would::Run);
        }
        let returning = [among(reads, &self.back), among(reads, &self.not_known)].concat();
        if !returning.is_empty() {
            self.not_known.insert(out);
            return Ok(Would::Tell(returning));
        }
        let forecast = forecast()?;
        if forecast.comes_back() && !forecast.up_to_date {
            self.back.insert(out);
        } else if !forecast.up_to_date {
            self.will_run.insert(out);
        }
        Ok(Would::Do(Box::new(forecast)))
    }
}

/// The names of the steps whose outputs lie among `outs`.
pub fn among(steps: &[&Request], outs: &BTreeSet<PathBuf>) -> Vec<String> {
    let found = steps.iter().filter(|step| outs.contains(&step.out));
    found.map(|step| step.name.clone()).collect()
}
