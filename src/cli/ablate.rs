//! `ablate`: a baseline and its variants, trained one after the other and judged.
//!
//! In → a plan; out → the runs, and at the end the tree of results: a table on the screen,
//! `ablation.svg` and `ablation.json` in the plan's OUT. What is shared is made once; a killed
//! ablation goes on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Commands;
use super::foreseen::Foreseen;
use super::screen::{self, Would};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::size::Count;
use crate::pipeline::ablation::tree::Outcome;
use crate::pipeline::ablation::{Plan, Trial, picture};
use crate::pipeline::registry;
use crate::pipeline::request::Request;

/// Arguments of `ablate`.
#[derive(Args, Debug)]
pub struct AblateArgs {
    /// The plan [default: ablation.toml]
    pub plan: Option<PathBuf>,
    /// Run only this trial, as `no-dedup.s1`
    #[arg(long, value_name = "TRIAL", conflicts_with_all = ["data", "list"])]
    pub only: Option<String>,
    /// Make what the runs read, and train nothing: then they may run side by side
    #[arg(long, conflicts_with = "list")]
    pub data: bool,
    /// Print the commands of all trials, for a scheduler of your own, and run none
    #[arg(long)]
    pub list: bool,
}

/// Names in OUT.
const PICTURE: &str = "ablation.svg";
const RESULTS: &str = "ablation.json";

impl Commands<'_> {
    /// `ablate PLAN`
    pub(super) fn ablate(&self, args: &AblateArgs) -> Result<()> {
        let path = args.plan.clone().unwrap_or_else(|| PathBuf::from("ablation.toml"));
        let plan = Plan::read(&path)?;
        let trials = trials(&plan, args.only.as_deref())?;
        if args.list {
            self.list_trials(&path, &plan);
            return Ok(());
        }
        if self.shared.dry_run {
            return self.forecast_trials(&plan, &trials);
        }
        self.run_trials(&trials, args.data)?;
        if args.data {
            self.printer.record(&json!({"type": "summary", "trials": trials.len()}));
            return Ok(());
        }
        self.close(&plan)
    }

    fn list_trials(&self, path: &Path, plan: &Plan) {
        let command = format!("dataprep ablate {}", path.display());
        self.printer.raw(&format!("{command} --data   # first, alone\n"));
        for trial in &plan.trials {
            let (run, line) = (trial.run(), format!("{command} --only {}", trial.name));
            self.printer.raw(&format!("{line}\n"));
            self.printer.record(&json!({"type": "trial", "trial": trial.name,
                "run": run.to_string_lossy(), "command": line}));
        }
        self.printer.record(&json!({"type": "summary", "trials": plan.trials.len()}));
    }

    fn run_trials(&self, trials: &[&Trial], data_only: bool) -> Result<()> {
        let options = self.options(true);
        let mut done: BTreeSet<&Path> = BTreeSet::new();
        for trial in trials {
            let steps = trial.requests.len() - usize::from(data_only);
            for request in &trial.requests[..steps] {
                if !done.insert(&request.out) {
                    continue;
                }
                let within = |error: Error| {
                    error.within(&format!("trial `{}`, step `{}`", trial.name, request.name))
                };
                let job = (registry::find(&request.stage)?.open)(request).map_err(within)?;
                let outcome = self
                    .listening(|listener| self.step(request, &job, &options, listener))
                    .map_err(within)?;
                let line = screen::line(request, &outcome);
                self.printer.result(&format!("{:<20} {line}", trial.name));
                self.printer.record(&screen::record("step", request, &outcome));
            }
        }
        Ok(())
    }

    /// What would be made, and about how long the training takes by the runs that stand.
    fn forecast_trials(&self, plan: &Plan, trials: &[&Trial]) -> Result<()> {
        let (options, mut foreseen) = (self.options(true), Foreseen::default());
        let (mut seen, mut timed) = (BTreeSet::new(), (0.0, 0.0));
        for trial in trials {
            for request in trial.requests.iter().filter(|step| seen.insert(&step.out)) {
                let forecast = || {
                    let job = (registry::find(&request.stage)?.open)(request)?;
                    self.listening(|listener| job.forecast(&request.out, &options, listener))
                };
                let would = foreseen.would(request, &read_by(trial, request), forecast)?;
                if let Would::Do(forecast) = &would
                    && let Some(rate) = forecast.plan["probe"]["tokens_per_second"].as_f64()
                {
                    timed = (timed.0 + 1.0, timed.1 + 1.0 / rate);
                }
                self.show_forecast(&named(trial, request), &would);
            }
        }
        self.say_time(plan, trials, &foreseen, timed)
    }

    /// Says how long the rest takes: by the seconds a token took in the runs that are done, else by
    /// `timed`, one token of each run whose steps were timed and the seconds that these take.
    fn say_time(
        &self,
        plan: &Plan,
        trials: &[&Trial],
        foreseen: &Foreseen,
        timed: (f64, f64),
    ) -> Result<()> {
        let among = |outs: &BTreeSet<PathBuf>| -> Vec<&&Trial> {
            trials.iter().filter(|trial| outs.contains(trial.run())).collect()
        };
        let left = among(&foreseen.will_run);
        let tokens: Option<u64> = left.iter().map(|trial| trial.tokens()).sum();
        let done = Some(tokens_and_seconds(plan)?).filter(|(tokens, _)| *tokens > 0.0);
        let by = if done.is_some() { "by those that are done" } else { "by a few timed steps" };
        let known = done.or(Some(timed)).filter(|(tokens, _)| *tokens > 0.0);
        let seconds = known.zip(tokens).map(|((of, seconds), left)| left as f64 * seconds / of);
        let cost = plan.price_per_hour.zip(seconds).map(|(price, it)| price * it / 3600.0);
        let time = match seconds {
            Some(seconds) => format!("about {} s of training, {by}", Count(seconds as u64)),
            None => "in a time that is not known yet: with what they read made (`--data`), a dry \
                     run times a few steps"
                .to_owned(),
        };
        let money = cost.map_or(String::new(), |cost| format!(", {cost:.2}"));
        let (runs, not_known) = (left.len() as u64, among(&foreseen.not_known).len());
        self.printer.result(&format!("{} to train, {time}{money}", Count(runs).of("run")));
        if not_known > 0 {
            self.printer.result(&format!(
                "{not_known} more read what comes back first: whether they are up to date is known \
                 then"
            ));
        }
        self.printer.record(&json!({"type": "summary", "dry_run": true, "runs": runs,
            "not_known": not_known, "tokens": tokens, "seconds": seconds, "cost": cost}));
        Ok(())
    }

    /// The tree of what stands.
    fn close(&self, plan: &Plan) -> Result<()> {
        let outcome = Outcome::read(plan)?;
        let (svg, results) = (plan.out.join(PICTURE), plan.out.join(RESULTS));
        io::replace(&svg, picture::draw(&outcome).as_bytes())?;
        let json = serde_json::to_string_pretty(&outcome).expect("plain data") + "\n";
        io::replace(&results, json.as_bytes())?;
        self.printer.result(&format!("\n{}", self.printer.bold("What came of it")));
        self.printer.result(&outcome.table());
        self.printer.result(&format!("  {}", svg.display()));
        self.show(&outcome, "");
        Ok(())
    }
}

/// The trials to run: all, or the one that is named.
fn trials<'a>(plan: &'a Plan, only: Option<&str>) -> Result<Vec<&'a Trial>> {
    let Some(only) = only else { return Ok(plan.trials.iter().collect()) };
    let found: Vec<&Trial> = plan.trials.iter().filter(|trial| trial.name == only).collect();
    if found.is_empty() {
        let names: Vec<&str> = plan.trials.iter().map(|trial| trial.name.as_str()).collect();
        return Err(Error::config(format!("the plan has no trial `{only}`"))
            .with_hint(format!("trials: {}", names.join(", "))));
    }
    Ok(found)
}

/// A step of a trial, with the trial in its name.
fn named(trial: &Trial, request: &Request) -> Request {
    Request { name: format!("{} {}", trial.name, request.name), ..request.clone() }
}

/// The steps of a trial whose outputs `request` reads.
fn read_by<'a>(trial: &'a Trial, request: &Request) -> Vec<&'a Request> {
    let reads = registry::reads(request);
    let is_read = |step: &&Request| reads.iter().any(|path| path.starts_with(&step.out));
    trial.requests.iter().filter(is_read).collect()
}

/// Of all finished runs of the plan.
fn tokens_and_seconds(plan: &Plan) -> Result<(f64, f64)> {
    let outcome = Outcome::read(plan)?;
    let tokens = outcome.variants.iter().filter_map(|it| Some(it.tokens? * it.runs.len() as u64));
    let seconds = outcome.variants.iter().filter_map(|it| it.seconds);
    Ok((tokens.sum::<u64>() as f64, seconds.sum()))
}
