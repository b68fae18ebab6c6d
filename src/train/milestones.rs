//! What is made of a milestone beside its checkpoint: an evaluation, by whoever starts the run.
//!
//! In → the checkpoint of a milestone, or the last; out → a [`MilestoneEval`], which lies beside
//! the run and is shown at its end. What is asked there, and how, is not training's business: it
//! changes nothing of the run, and is no part of it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::config::Settings;
use crate::artifact::in_place::Resources;
use crate::base::error::Result;
use crate::base::size::Count;
use crate::runtime::checkpoint;

/// Evaluates a checkpoint; an evaluation that is up to date is only read.
pub type Evaluate = dyn Fn(&Path, &Resources<'_>) -> Result<Evaluated> + Send + Sync;

/// What came of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluated {
    /// The artifact.
    pub out: PathBuf,
    pub tasks: Vec<TaskResult>,
}

/// The figure that names a task's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskResult {
    pub task: String,
    /// `acc`, `acc_norm` or `perplexity`.
    pub metric: String,
    pub value: f64,
    pub stderr: Option<f64>,
}

/// An evaluation after so many steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MilestoneEval {
    pub step: u64,
    #[serde(flatten)]
    pub evaluated: Evaluated,
}

/// Whether a step of a run over `steps` is evaluated.
pub fn is_due(train: &Settings, step: u64, steps: u64) -> bool {
    train.milestones.contains(&step) || step == steps
}

/// Evaluates every milestone that stands, the last step too.
pub fn evaluate_all(
    evaluate: &Evaluate,
    run: &Path,
    (train, steps): (&Settings, u64),
    resources: &Resources<'_>,
) -> Result<Vec<MilestoneEval>> {
    let checkpoints = checkpoint::list(&run.join(super::layout::CHECKPOINTS))?;
    let due = checkpoints.iter().filter(|checkpoint| is_due(train, checkpoint.step, steps));
    let one = |checkpoint: &checkpoint::Checkpoint| {
        let evaluated = evaluate(&checkpoint.path, resources)?;
        Ok(MilestoneEval { step: checkpoint.step, evaluated })
    };
    due.map(one).collect()
}

/// The results as a table: a row a task, a column a milestone.
pub struct Table<'a>(pub &'a [MilestoneEval]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = self.0.last() else { return Ok(()) };
        write!(f, "  {:<27}", "task")?;
        for eval in self.0 {
            write!(f, " {:>13}", format!("step {}", Count(eval.step)))?;
        }
        for (row, task) in last.evaluated.tasks.iter().enumerate() {
            write!(f, "\n  {:<16} {:<10}", task.task, task.metric)?;
            for eval in self.0 {
                let shown = eval.evaluated.tasks.get(row).map_or(String::new(), shown);
                write!(f, " {shown:>13}")?;
            }
        }
        writeln!(f)
    }
}

/// Shares in per cent, with their standard error.
fn shown(result: &TaskResult) -> String {
    let (factor, decimals, sign) = match result.metric.as_str() {
        "perplexity" => (1.0, 2, ""),
        _ => (100.0, 1, "%"),
    };
    let error = result.stderr.map_or(String::new(), |it| format!(" ±{:.decimals$}", factor * it));
    format!("{:.decimals$}{sign}{error}", factor * result.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_column_a_milestone() {
        let eval = |step, value| MilestoneEval {
            step,
            evaluated: Evaluated {
                out: PathBuf::new(),
                tasks: vec![
                    TaskResult {
                        task: "piqa".to_owned(),
                        metric: "acc_norm".to_owned(),
                        value,
                        stderr: Some(0.0123),
                    },
                    TaskResult {
                        task: "lambada_openai".to_owned(),
                        metric: "perplexity".to_owned(),
                        value: 100.0 * value,
                        stderr: None,
                    },
                ],
            },
        };
        let text = Table(&[eval(500, 0.5), eval(1000, 0.625)]).to_string();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(words).collect();
        let expected = [
            "task step 500 step 1,000",
            "piqa acc_norm 50.0% ±1.2 62.5% ±1.2",
            "lambada_openai perplexity 50.00 62.50",
        ];
        assert_eq!(lines, expected);
        assert_eq!(Table(&[]).to_string(), "");
    }
}
