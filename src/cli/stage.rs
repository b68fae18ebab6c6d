//! A bare stage command: one request, run and shown.
//!
//! In → a stage's arguments, or without any the step of that stage in `dataprep.toml`; out → the
//! stage's output and its summary on a screen.

use std::path::Path;

use serde_json::json;

use super::Commands;
use super::args::{ConfigArgs, Flags, StageArgs};
use super::screen::{self, Would};
use crate::base::config::Table;
use crate::base::error::{Error, Result};
use crate::base::progress::Progress;
use crate::pipeline::job::Job;
use crate::pipeline::options::{Listener, Options, Outcome};
use crate::pipeline::recipe::{self, Recipe};
use crate::pipeline::registry;
use crate::pipeline::request::{Request, Training};

impl Commands<'_> {
    /// A stage that reads text or shards.
    pub(super) fn stage<F: Flags>(&self, stage: &str, args: &StageArgs<F>) -> Result<()> {
        let keys = flags(&args.flags, &args.config);
        let out = args.out.as_deref();
        let request = self.request(stage, args.inputs.clone(), out, &args.config, keys)?;
        self.one(&request)
    }

    /// Flag > `--set` > `--config`; defaults fill in the rest when the stage opens.
    pub(super) fn request(
        &self,
        stage: &str,
        inputs: Vec<String>,
        out: Option<&Path>,
        config: &ConfigArgs,
        flags: Table,
    ) -> Result<Request> {
        let table = Commands::keys(config, flags)?;
        if inputs.is_empty() && !registry::find(stage)?.lists_inputs(&table) {
            return step_of(stage, table, out);
        }
        let Some(out) = out else {
            return Err(Error::config("where should the result go? `--out DIR` is missing"));
        };
        Ok(Request {
            name: stage.to_owned(),
            stage: stage.to_owned(),
            inputs,
            out: out.to_owned(),
            config: table,
            after: Vec::new(),
            newest: false,
            training: Training::default(),
        })
    }

    /// Runs one request and prints what came of it.
    pub(super) fn one(&self, request: &Request) -> Result<()> {
        let entry = registry::find(&request.stage)?;
        (entry.check)(request)?;
        let request = &Request { newest: self.shared.fresh, ..request.clone() };
        let (job, options) = ((entry.open)(request)?, self.options(false));
        if self.shared.dry_run {
            self.listening(|listener| {
                let forecast = job.forecast(&request.out, &options, listener)?;
                self.show_forecast(request, &Would::Do(Box::new(forecast)));
                Ok(())
            })?;
            self.printer.record(&json!({"type": "summary", "dry_run": true, "steps": 1}));
            return Ok(());
        }
        let outcome = self.listening(|listener| self.step(request, &job, &options, listener))?;
        self.printer.result(&screen::step(request, &outcome));
        self.printer.record(&screen::record("summary", request, &outcome));
        Ok(())
    }

    /// One step, with its notices and its alarms.
    pub(super) fn step(
        &self,
        request: &Request,
        job: &Job,
        options: &Options,
        listener: Listener<'_>,
    ) -> Result<Outcome> {
        self.printer.detail(&screen::request(request));
        let outcome = job.run(&request.out, options, listener)?;
        // Notices of an output that is up to date were shown when it was made.
        if !outcome.up_to_date {
            let alarms = outcome.summary.alarms();
            let said = outcome.notices.iter().chain(&alarms);
            said.for_each(|text| self.printer.warning(&format!("{}: {text}", request.name)));
        }
        Ok(outcome)
    }

    /// Calls `work` with where to say how far it is.
    pub(super) fn listening<T>(&self, work: impl FnOnce(Listener<'_>) -> Result<T>) -> Result<T> {
        let progress = Progress::new(self.printer.progress_style());
        let say = |text: &str| self.printer.detail(text);
        let warn = |text: &str| self.printer.warning(text);
        work(Listener { progress: &progress, say: &say, warn: &warn })
    }
}

/// The keys that flags fill in, `--seed` among them.
pub(super) fn flags(flags: &impl Flags, config: &ConfigArgs) -> Table {
    let mut keys = Table::new();
    flags.fill(&mut keys);
    if let Some(seed) = config.seed {
        keys.insert("seed".into(), toml::Value::Integer(seed as i64));
    }
    keys
}

/// The step of a stage in this folder's recipe, with the keys and the place of the command laid
/// over it.
fn step_of(stage: &str, keys: Table, out: Option<&Path>) -> Result<Request> {
    let path = Path::new(recipe::FILE_NAME);
    if !path.is_file() {
        let message = format!("`{stage}` has no inputs, and there is no {}", recipe::FILE_NAME);
        let command = match stage {
            "classifier" => "classifier train --positive IN… --negative IN…".to_owned(),
            "tokenizer" => "tokenizer train IN…".to_owned(),
            stage => format!("{stage} IN…"),
        };
        return Err(Error::config(message)
            .with_hint(format!("name them, as in `dataprep {command} --out DIR`")));
    }
    let recipe = Recipe::read(path, &[], None)?;
    let mut request = recipe.only_step_of(stage)?.clone();
    registry::lay(&mut request.config, keys);
    request.out = out.map_or(request.out, Path::to_owned);
    recipe.check_step(&request, &[])?;
    Ok(request)
}
