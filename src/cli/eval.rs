//! `eval`: a model is scored on tasks and texts, and held against another.
//!
//! In → arguments; out → an evaluation beside the model, its table, and a comparison where one is
//! asked for. What is computed lives in [`crate::eval`].

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Commands;
use super::args::{ConfigArgs, Flags, TextFlags, put};
use super::screen;
use super::stage::flags;
use crate::base::config::Table;
use crate::base::error::{Error, Result};
use crate::eval::{Comparison, Subject, compare};
use crate::pipeline::job::Work;
use crate::pipeline::request::Request;
use crate::pipeline::{execute, registry};

/// Arguments of `eval`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// A run (its latest checkpoint), a checkpoint, or a folder with config.json,
    /// model.safetensors and tokenizer.json; with `--against` also an evaluation. Without it, the
    /// step of this stage in `dataprep.toml` runs
    #[arg(value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Directory to write; appears when it is complete; by default MODEL.evals/STEP@FINGERPRINT
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Hold it against another model, evaluated alike, or against an evaluation: which items
    /// changed sides, and whether chance does as much
    #[arg(long, value_name = "MODEL")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub flags: EvalFlags,
}

/// Flags of `eval`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Evaluation")]
pub struct EvalFlags {
    /// Tasks by name (hellaswag, arc_easy, arc_challenge, winogrande, piqa, openbookqa, sciq,
    /// boolq, copa, commonsense_qa, mmlu, mmlu_cloze, lambada_openai), a TOML file with tasks of
    /// your own, JSON Lines of `context`, `choices` and `gold`, or a request file of
    /// lm-evaluation-harness
    #[arg(long, value_name = "A,B", value_delimiter = ',', num_args = 1..)]
    tasks: Vec<String>,
    /// Where the tasks' original files lie
    #[arg(long, value_name = "DIR")]
    evals: Option<PathBuf>,
    /// Take the first so many items of each task
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Examples before each question [default: 0]
    #[arg(long, value_name = "N")]
    shots: Option<u32>,
    /// Texts whose bits per byte are measured: `[NAME=]PATH`, as stages take them
    #[arg(long, value_name = "IN", num_args = 1..)]
    on: Vec<String>,
    #[command(flatten)]
    text: TextFlags,
}

impl Flags for EvalFlags {
    fn fill(&self, keys: &mut Table) {
        let several = |values: &[String]| (!values.is_empty()).then(|| values.to_vec());
        put(keys, "tasks", several(&self.tasks));
        put(keys, "evals", self.evals.as_ref().map(|path| path.display().to_string()));
        put(keys, "limit", self.limit.map(i64::from));
        put(keys, "shots", self.shots.map(i64::from));
        put(keys, "on", several(&self.on));
        self.text.fill(keys);
    }
}

impl Commands<'_> {
    /// `eval`
    pub(super) fn eval(&self, args: &EvalArgs) -> Result<()> {
        let seed = args.config.seed.unwrap_or(0);
        match (&args.model, &args.against) {
            (Some(this), Some(other)) if compare::is_evaluation(this) => {
                let other = match compare::is_evaluation(other) {
                    true => other.clone(),
                    false => {
                        let message = format!("`{}` is no evaluation", other.display());
                        let hint = "name two evaluations, or a model first";
                        return Err(Error::config(message).with_hint(hint));
                    }
                };
                self.show_comparison(this, &other, seed)
            }
            (Some(this), None) if compare::is_evaluation(this) => {
                let message = format!("`{}` is an evaluation already", this.display());
                Err(Error::config(message)
                    .with_hint("`dataprep inspect` shows it, `--against` holds it against another"))
            }
            (model, None) => {
                self.one(&self.evaluation(model.as_deref(), args, args.out.as_deref())?)
            }
            (model, Some(other)) => {
                let request = self.evaluation(model.as_deref(), args, args.out.as_deref())?;
                if self.shared.dry_run {
                    return self.one(&request);
                }
                self.evaluate(&request)?;
                let other = match compare::is_evaluation(other) {
                    true => other.clone(),
                    false => {
                        let request = self.evaluation(Some(other), args, None)?;
                        self.evaluate(&request)?;
                        request.out
                    }
                };
                self.show_comparison(&request.out, &other, seed)
            }
        }
    }

    /// The request to evaluate one model into `out`; without one, beside the model. Without a model
    /// it is the step of `dataprep.toml`.
    fn evaluation(
        &self,
        model: Option<&Path>,
        args: &EvalArgs,
        out: Option<&Path>,
    ) -> Result<Request> {
        let keys = flags(&args.flags, &args.config);
        let Some(model) = model else {
            return self.request("eval", Vec::new(), out, &args.config, keys);
        };
        let place = match out {
            Some(out) => out.to_owned(),
            None => Subject::open(model)?.place(),
        };
        let inputs = vec![model.to_string_lossy().into_owned()];
        let mut request = self.request("eval", inputs, Some(&place), &args.config, keys)?;
        if out.is_none() {
            let entry = registry::find(&request.stage)?;
            (entry.check)(&request)?;
            if let Work::Units(stage) = (entry.open)(&request)?.work {
                let fingerprint = execute::fingerprint(&*stage).short();
                request.out.as_mut_os_string().push(format!("@{fingerprint}"));
            }
        }
        Ok(request)
    }

    /// Runs one evaluation before a comparison.
    fn evaluate(&self, request: &Request) -> Result<()> {
        let entry = registry::find(&request.stage)?;
        (entry.check)(request)?;
        let (job, options) = ((entry.open)(request)?, self.options(false));
        let outcome = self.listening(|listener| self.step(request, &job, &options, listener))?;
        self.printer.result(&screen::step(request, &outcome));
        self.printer.record(&screen::record("evaluation", request, &outcome));
        Ok(())
    }

    fn show_comparison(&self, this: &Path, other: &Path, seed: u64) -> Result<()> {
        let comparison = Comparison::read(this, other, seed)?;
        self.printer.result(&comparison.to_string());
        let mut record = serde_json::to_value(&comparison).expect("a comparison is plain data");
        record["type"] = json!("summary");
        self.printer.record(&record);
        Ok(())
    }
}
