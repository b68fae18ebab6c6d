//! A training run as a piece of work that writes in place: what `pipeline` opens and runs.
//!
//! In → `[train]` and `[model]`, a mix, how to train; out → [`TrainJob`]. What happens in a run is
//! in [`mod@super::run`], what it would take in [`mod@super::plan`].

use std::path::{Path, PathBuf};

use super::directory::Start;
use super::milestones::{Evaluate, evaluate_all};
use super::origin::Begin;
use super::{Context, TrainConfig, TrainOptions, TrainPlan, plan, run};
use crate::artifact::{
    forecast::Forecast,
    in_place::{Done, InPlace, Resources},
};
use crate::base::{config::Table, error::Result, interrupt, size::Bytes};

/// *How* to train, as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct HowToTrain {
    /// `auto`, `cpu` or `cuda`; `auto` by default.
    pub device: Option<String>,
    /// Continue, also with another `train.steps`.
    pub resume: bool,
    /// Stop after this step, counted from the run's beginning.
    pub stop_after: Option<u64>,
    /// Where to look for shards that moved.
    pub data: Vec<PathBuf>,
    /// Where it begins, or goes on, other than by itself.
    pub begin: Begin,
}

/// A run that is ready to begin or to go on.
pub struct TrainJob {
    table: Table,
    mix: PathBuf,
    how: HowToTrain,
    evaluate: Option<Box<Evaluate>>,
}

impl TrainJob {
    /// Of a mix; the configuration is checked here.
    pub fn open(table: Table, mix: &Path, how: HowToTrain) -> Result<TrainJob> {
        TrainConfig::parse(table.clone())?;
        Ok(TrainJob { table, mix: mix.to_owned(), how, evaluate: None })
    }

    /// Evaluates milestones and the last checkpoint, as soon as they stand.
    pub fn with_evaluations(self, evaluate: Option<Box<Evaluate>>) -> TrainJob {
        TrainJob { evaluate, ..self }
    }

    fn options(&self, resources: &Resources<'_>) -> TrainOptions {
        TrainOptions {
            device: self.how.device.clone().unwrap_or_else(|| "auto".to_owned()),
            threads: Some(resources.threads),
            memory: Bytes(resources.memory),
            resume: self.how.resume,
            stop_after: self.how.stop_after,
            fresh: resources.fresh,
            data: self.how.data.clone(),
            begin: self.how.begin.clone(),
        }
    }
}

impl InPlace for TrainJob {
    fn forecast(&self, out: &Path, resources: &Resources<'_>) -> Result<Forecast> {
        let plan: TrainPlan = plan(self.table.clone(), &self.mix, out, &self.options(resources))?;
        Ok(Forecast {
            up_to_date: plan.start == Start::UpToDate,
            text: plan.to_string(),
            plan: serde_json::to_value(&plan).expect("plain data"),
        })
    }

    fn run(&self, out: &Path, resources: &Resources<'_>) -> Result<Done> {
        let cx = Context {
            progress: resources.progress,
            say: resources.say,
            warn: resources.warn,
            interrupted: &interrupt::requested,
            at_milestone: &|checkpoint| match &self.evaluate {
                Some(evaluate) => evaluate(checkpoint, resources).map(drop),
                None => Ok(()),
            },
        };
        let options = self.options(resources);
        let mut summary = run(self.table.clone(), &self.mix, out, &options, &cx)?;
        if let Some(evaluate) = &self.evaluate {
            // This also makes the evaluations that a kill, or an earlier start without them, left
            // out.
            let train = TrainConfig::parse(self.table.clone())?.train;
            summary.milestones =
                evaluate_all(&**evaluate, out, (&train, summary.steps), resources)?;
        }
        Ok(Done { up_to_date: summary.up_to_date, summary: Box::new(summary) })
    }
}
