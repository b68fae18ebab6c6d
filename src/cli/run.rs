//! `run`: the steps of a recipe, one after the other, those that are up to date left as they are.
//!
//! In → a recipe; out → a line a step, and one closing screen. The recipe is checked whole, and
//! what needs no earlier step is opened, before the first step runs. A dry run resolves the chain
//! as the run would: a step that reads what will be made anew will run as well.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Commands;
use super::foreseen::{Foreseen, among};
use super::screen::{self, Would};
use crate::base::error::{Error, Result};
use crate::pipeline::job::Job;
use crate::pipeline::recipe::{self, Recipe};
use crate::pipeline::registry;
use crate::pipeline::request::Request;

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The recipe [default: dataprep.toml]
    pub recipe: Option<PathBuf>,
    /// Begin with this step; earlier ones are taken as they are
    #[arg(long, value_name = "STEP")]
    pub from: Option<String>,
    /// Write to this directory instead of the recipe's `out`
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Set a key of a step: `--set model.train.steps=100`
    #[arg(long = "set", value_name = "STEP.KEY=VALUE")]
    pub set: Vec<String>,
    /// Then put the runs that the recipe trains on one page, `report.html` in its `out`
    #[arg(long)]
    pub html: bool,
}

impl Commands<'_> {
    /// `run`
    pub(super) fn run(&self, args: &RunArgs) -> Result<()> {
        let path = args.recipe.clone().unwrap_or_else(|| PathBuf::from(recipe::FILE_NAME));
        let recipe = Recipe::read(&path, &args.set, args.out.as_deref())?;
        let first = first_step(&recipe, args.from.as_deref())?;
        recipe.check(first)?;
        let asked = recipe.requests[first..].iter().cloned();
        let requests = asked.map(|step| Request { newest: self.shared.fresh, ..step });
        let requests = &requests.collect::<Vec<_>>();
        let mut jobs = requests.iter().map(|step| opened_early(step, requests));
        let jobs: Vec<Option<Job>> = jobs.by_ref().collect::<Result<_>>()?;
        match self.shared.dry_run {
            true => self.forecast_steps(requests, jobs),
            false => self.run_steps(&recipe, requests, jobs, args.html),
        }
    }

    fn run_steps(
        &self,
        recipe: &Recipe,
        requests: &[Request],
        jobs: Vec<Option<Job>>,
        html: bool,
    ) -> Result<()> {
        let options = self.options(true);
        let mut results = Vec::new();
        for (request, job) in requests.iter().zip(jobs) {
            let job = job.map_or_else(|| open(request), Ok)?;
            let outcome =
                self.listening(|listener| self.step(request, &job, &options, listener))?;
            self.printer.result(&screen::line(request, &outcome));
            self.printer.record(&screen::record("step", request, &outcome));
            results.push((request, outcome));
        }
        self.printer.result(&screen::closing(&results, self.printer));
        if html {
            self.write_report(std::slice::from_ref(&recipe.out), None)?;
        }
        let up_to_date = results.iter().filter(|(_, outcome)| outcome.up_to_date).count();
        self.printer.record(&json!({"type": "summary", "out": recipe.out.to_string_lossy(),
            "steps": results.len(), "up_to_date": up_to_date}));
        Ok(())
    }

    fn forecast_steps(&self, requests: &[Request], jobs: Vec<Option<Job>>) -> Result<()> {
        let (options, mut foreseen) = (self.options(true), Foreseen::default());
        for (request, job) in requests.iter().zip(jobs) {
            let named = |name: &String| requests.iter().find(|step| step.name == *name);
            let reads: Vec<&Request> = request.after.iter().filter_map(named).collect();
            let forecast = || {
                let (job, out) = (job.map_or_else(|| open(request), Ok)?, &request.out);
                self.listening(|listener| job.forecast(out, &options, listener))
            };
            let would = foreseen.would(request, &reads, forecast)?;
            self.show_forecast(request, &would);
        }
        let steps: Vec<&Request> = requests.iter().collect();
        self.printer.record(&json!({"type": "summary", "dry_run": true, "steps": requests.len(),
            "will_run": among(&steps, &foreseen.will_run),
            "comes_back": among(&steps, &foreseen.back),
            "not_known": among(&steps, &foreseen.not_known)}));
        Ok(())
    }

    /// What one step would do.
    pub(super) fn show_forecast(&self, request: &Request, would: &Would) {
        let forecast = match would {
            Would::Do(forecast) => Some(&**forecast),
            Would::Run | Would::Tell(_) => None,
        };
        let notices = forecast.iter().flat_map(|forecast| forecast.plan["notices"].as_array());
        for notice in notices.flatten().filter_map(|notice| notice.as_str()) {
            self.printer.warning(&format!("{}: {notice}", request.name));
        }
        self.printer.result(&screen::dry_run(request, would));
        self.printer.record(&json!({"type": "plan", "step": request.name, "stage": request.stage,
            "out": request.out.to_string_lossy(), "after": request.after, "plan": forecast}));
    }
}

/// The place of the step to begin with.
fn first_step(recipe: &Recipe, from: Option<&str>) -> Result<usize> {
    let Some(from) = from else { return Ok(0) };
    let names = || recipe.requests.iter().map(|request| request.name.as_str());
    names().position(|name| name == from).ok_or_else(|| {
        let names = names().collect::<Vec<_>>().join(", ");
        Error::config(format!("the recipe has no step `{from}`"))
            .with_hint(format!("steps: {names}"))
    })
}

/// Opens a step that reads nothing which an earlier one of `steps` makes: what is wrong with its
/// inputs is known before any step runs.
fn opened_early(step: &Request, steps: &[Request]) -> Result<Option<Job>> {
    let waits = steps.iter().any(|earlier| step.after.contains(&earlier.name));
    if waits { Ok(None) } else { open(step).map(Some) }
}

fn open(request: &Request) -> Result<Job> {
    (registry::find(&request.stage)?.open)(request).map_err(|error| error.of_step(&request.name))
}
