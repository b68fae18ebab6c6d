//! The evaluations that a run asks for, `[train.evals]`: laid over training, which knows no tasks.
//!
//! In → the keys of `eval` below `train.evals`; out → what evaluates a checkpoint. It is what
//! `dataprep eval` would write for that checkpoint, in the same place, so either finds it up to
//! date.

use std::path::Path;

use super::execute;
use super::options::{Listener, Options};
use crate::artifact::in_place::Resources;
use crate::base::config::{self, Table};
use crate::base::error::{Error, Result};
use crate::base::progress::{Progress, Style};
use crate::base::size::Bytes;
use crate::eval::{EvalConfig, Evaluation, Scores, Subject, task};
use crate::source::InputConfig;
use crate::train::milestones::{Evaluate, Evaluated, TaskResult};

/// The table of the training configuration.
pub const TABLE: &str = "train.evals";

/// Every key of a training configuration, `train.evals` among them.
pub fn keys() -> Table {
    let mut all = crate::train::TrainConfig::keys();
    if let Some(train) = all.get_mut("train").and_then(|train| train.as_table_mut()) {
        train.insert("evals".to_owned(), Table::new().into());
    }
    all
}

/// Takes `train.evals` out of a training configuration: what is asked at milestones.
///
/// # Errors
/// Config: an unknown key, a task or file that is not there.
pub fn take(config: &mut Table) -> Result<Option<EvalConfig>> {
    let Some(asked) = remove(config) else { return Ok(None) };
    let toml::Value::Table(table) = asked else {
        return Err(Error::config(format!("`{TABLE}` is no table"))
            .with_hint("as in `[train.evals]` with `tasks = [\"piqa\"]`, `evals = \"DIR\"`"));
    };
    let asked: EvalConfig = config::parse(table, &format!("`{TABLE}`"))?;
    let within = |error: Error| error.within(&format!("`{TABLE}`"));
    if !asked.on.is_empty() {
        return Err(Error::config(format!("`{TABLE}.on` is not for milestones"))
            .with_hint("training measures held-out text already (`train.eval_every`)"));
    }
    asked.check().map_err(within)?;
    task::open(&asked.tasks, asked.evals.as_deref().map(Path::new)).map_err(within)?;
    Ok(Some(asked))
}

/// Takes out `train.evals` without reading it: training knows none of its keys.
pub fn remove(config: &mut Table) -> Option<toml::Value> {
    let train = config.get_mut("train").and_then(toml::Value::as_table_mut);
    train.and_then(|train| train.remove("evals"))
}

/// What evaluates a checkpoint.
pub fn evaluator(asked: EvalConfig) -> Box<Evaluate> {
    Box::new(move |checkpoint, resources| evaluate(&asked, checkpoint, resources))
}

fn evaluate(asked: &EvalConfig, checkpoint: &Path, cx: &Resources<'_>) -> Result<Evaluated> {
    let mut out = Subject::open(checkpoint)?.place();
    let stage = Evaluation::open(checkpoint, &InputConfig::default(), asked.clone())?;
    out.as_mut_os_string().push(format!("@{}", execute::fingerprint(&stage).short()));
    let options = Options {
        threads: cx.threads,
        memory: Bytes(cx.memory),
        temp_dir: None,
        fresh: false,
        replace: true,
        keeps: false,
    };
    // The run's own progress stays on the screen.
    let progress = Progress::new(Style::None);
    let listener = Listener { progress: &progress, say: cx.say, warn: cx.warn };
    execute::execute(&stage, &out, &options, listener)?;
    let results = Scores::read(&out)?.tasks.into_iter().map(|task| {
        let (metric, figure) = task.result();
        let (value, stderr) = (figure.value, figure.stderr);
        TaskResult { task: task.task, metric: metric.to_owned(), value, stderr }
    });
    Ok(Evaluated { tasks: results.collect(), out })
}
