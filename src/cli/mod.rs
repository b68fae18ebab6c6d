//! The command line: arguments → requests → stages → words on a screen.
//!
//! In → `argv`; out → an exit status. [`main`] is the table of contents: one arm a command. What
//! can be typed is in [`args`], how results look in [`screen`], where they go in [`printer`].

pub mod args;
mod init;
mod inspect;
pub mod printer;
mod rules;
pub mod screen;
mod vocabulary;

use std::path::{Path, PathBuf};

use clap::{Command as ClapCommand, CommandFactory, FromArgMatches};
use serde::Serialize;
use serde_json::json;

use crate::{
    base::{
        config::{self, Table},
        error::{Error, Result},
        interrupt, machine,
        progress::Progress,
        size::Bytes,
    },
    pipeline::{
        execute::Options,
        recipe::{self, Recipe, Request},
        registry,
        step::{self, Runner, StepResult, Training},
    },
};
use args::{
    ClassifierCommand, Cli, Command, ConfigArgs, Flags, RunArgs, Shared, StageArgs,
    TokenizerCommand,
};
use printer::Printer;

/// Runs the command line of this process.
pub fn main() -> std::process::ExitCode {
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|e| e.exit());
    let printer = Printer::new(&cli.shared);
    let result = interrupt::install().and_then(|()| run(cli, &printer));
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            printer.error(&error);
            let status = error.exit_status();
            printer.record(&json!({"type": "error", "message": error.to_string(),
                "hint": error.hint(), "exit_status": status}));
            std::process::ExitCode::from(status)
        }
    }
}

/// The command line with the config keys of each stage in its help, from the registry.
fn command() -> ClapCommand {
    registry::STAGES.iter().fold(Cli::command(), |command, entry| {
        let keys = (entry.keys)().join(", ");
        let help = format!("Config keys, in TOML or as `--set key=value`: {keys}");
        match entry.name {
            name @ ("classifier" | "tokenizer") => command.mut_subcommand(name, |parent| {
                parent.mut_subcommand("train", |train| train.after_help(help))
            }),

            name => command.mut_subcommand(name, |stage| stage.after_help(help)),
        }
    })
}

fn run(cli: Cli, printer: &Printer) -> Result<()> {
    let cx = Commands { shared: &cli.shared, printer };
    match &cli.command {
        Command::Ingest(args) => cx.stage("ingest", args),
        Command::Filter(args) if args.flags.list => cx.list_rules(),
        Command::Filter(args) if args.flags.trial.is_some() => cx.try_rules(args),
        Command::Filter(args) => cx.stage("filter", args),
        Command::Classifier { command: ClassifierCommand::Train(args) } => cx.classifier(args),
        Command::Dedup(args) => cx.stage("dedup", args),
        Command::Tokenizer { command: TokenizerCommand::Train(args) } => {
            cx.stage("tokenizer", args)
        }
        Command::Tokenizer { command: TokenizerCommand::Export(args) } => cx.export(args),
        Command::Tokenize(args) if args.inputs == ["-"] => cx.show_tokens(args),
        Command::Tokenize(args) => cx.stage("tokenize", args),
        Command::Mix(args) => cx.stage("mix", args),
        #[cfg(feature = "train")]
        Command::Train(args) => cx.train(args),
        #[cfg(feature = "train")]
        Command::Generate(args) => cx.generate(args),
        Command::Run(args) => cx.recipe(args),
        Command::Init { directory } => cx.init(directory),
        Command::Inspect(args) => cx.inspect(args),
        Command::Verify { path } => cx.verify(path),
    }
}

/// The commands, with what they share.
struct Commands<'a> {
    shared: &'a Shared,
    printer: &'a Printer,
}

impl Commands<'_> {
    /// A bare stage command, or the step of that stage in `dataprep.toml`.
    fn stage<F: Flags>(&self, stage: &str, args: &StageArgs<F>) -> Result<()> {
        let keys = Commands::flags(&args.flags, &args.config);
        let request =
            self.request(stage, args.inputs.clone(), args.out.as_deref(), &args.config, keys)?;
        self.one(&request, Training::default())
    }

    /// `classifier train`, or that step in `dataprep.toml`.
    fn classifier(&self, args: &args::ClassifierArgs) -> Result<()> {
        let keys = Commands::flags(&args.flags, &args.config);
        let out = args.out.as_deref();
        let request = self.request("classifier", Vec::new(), out, &args.config, keys)?;
        self.one(&request, Training::default())
    }

    /// The keys that flags fill in, `--seed` among them.
    fn flags(flags: &impl Flags, config: &ConfigArgs) -> Table {
        let mut keys = Table::new();
        flags.fill(&mut keys);
        if let Some(seed) = config.seed {
            keys.insert("seed".into(), toml::Value::Integer(seed as i64));
        }
        keys
    }

    /// The keys of a command: flags > `--set` > `--config`.
    fn keys(config: &ConfigArgs, flags: Table) -> Result<Table> {
        let mut table = match &config.config {
            Some(path) => config::read(path)?,
            None => Table::new(),
        };
        let mut set = Table::new();
        for assignment in &config.set {
            config::set(&mut set, assignment)?;
        }
        registry::lay(&mut table, set);
        registry::lay(&mut table, flags);
        Ok(table)
    }

    #[cfg(feature = "train")]
    fn train(&self, args: &args::TrainArgs) -> Result<()> {
        let mut keys = Table::new();
        if let Some(seed) = args.config.seed {
            keys.insert("train".into(), step::single("seed", seed as i64).into());
        }
        let mix = args.data.first().map(|path| path.to_string_lossy().into_owned());
        let inputs = mix.into_iter().collect();
        let request = self.request("train", inputs, args.out.as_deref(), &args.config, keys)?;
        let training = Training {
            device: args.device.clone(),
            resume: args.resume,
            stop_after: args.stop_after,
            data: args.data.iter().skip(1).cloned().collect(),
        };
        self.one(&request, training)
    }

    /// Flag > `--set` > `--config`; defaults fill in the rest when the stage opens.
    fn request(
        &self,
        stage: &str,
        inputs: Vec<String>,
        out: Option<&Path>,
        config: &ConfigArgs,
        flags: Table,
    ) -> Result<Request> {
        let table = Commands::keys(config, flags)?;
        let name = stage.to_owned();
        if inputs.is_empty() && !registry::find(stage)?.lists_inputs(&table) {
            let mut request = self.step_of(stage)?;
            registry::lay(&mut request.config, table);
            request.out = out.map_or(request.out, Path::to_owned);
            return Ok(request);
        }
        let Some(out) = out else {
            return Err(Error::config("where should the result go? `--out DIR` is missing"));
        };
        Ok(Request { name: name.clone(), stage: name, inputs, out: out.to_owned(), config: table })
    }

    fn step_of(&self, stage: &str) -> Result<Request> {
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
        Recipe::read(path, &[], None)?.only_step_of(stage).cloned()
    }

    /// Runs one request and prints what came of it.
    fn one(&self, request: &Request, training: Training) -> Result<()> {
        if self.shared.dry_run {
            return self.dry_run(std::slice::from_ref(request));
        }
        let progress = Progress::new(self.printer.progress_style());
        let say = |text: &str| self.printer.detail(text);
        let warn = |text: &str| self.printer.warning(text);
        let runner = self.runner(&progress, &say, &warn, training, false);
        let result = self.step(&runner, request)?;
        self.printer.result(&screen::step(request, &result, self.printer));
        self.printer.record(&screen::record("summary", request, &result));
        Ok(())
    }

    fn recipe(&self, args: &RunArgs) -> Result<()> {
        let path = args.recipe.clone().unwrap_or_else(|| PathBuf::from(recipe::FILE_NAME));
        let recipe = Recipe::read(&path, &args.set, args.out.as_deref())?;
        let first = match &args.from {
            Some(name) => recipe.requests.iter().position(|request| request.name == *name),
            None => Some(0),
        };
        let Some(first) = first else {
            let names: Vec<_> = recipe.requests.iter().map(|r| r.name.as_str()).collect();
            let message =
                format!("the recipe has no step `{}`", args.from.as_deref().unwrap_or(""));
            return Err(Error::config(message).with_hint(format!("steps: {}", names.join(", "))));
        };
        let requests = &recipe.requests[first..];
        if self.shared.dry_run {
            return self.dry_run(requests);
        }
        let progress = Progress::new(self.printer.progress_style());
        let say = |text: &str| self.printer.detail(text);
        let warn = |text: &str| self.printer.warning(text);
        let runner = self.runner(&progress, &say, &warn, Training::default(), true);
        let mut results = Vec::new();
        for request in requests {
            let result = self.step(&runner, request)?;
            self.printer.result(&screen::line(request, &result));
            self.printer.record(&screen::record("step", request, &result));
            results.push((request, result));
        }
        self.printer.result(&screen::closing(&recipe.out, &results, self.printer));
        let up_to_date = results.iter().filter(|(_, result)| result.is_up_to_date()).count();
        self.printer.record(&json!({"type": "summary", "out": recipe.out,
            "steps": results.len(), "up_to_date": up_to_date}));
        Ok(())
    }

    /// One step, with its notices and its alarms.
    fn step(&self, runner: &Runner<'_>, request: &Request) -> Result<StepResult> {
        self.printer.detail(&screen::request(request));
        let result = runner.run(request)?;
        if let Some(outcome) = result.outcome() {
            outcome.notices.iter().for_each(|notice| self.printer.warning(notice));
            let alarms = screen::alarms(&outcome.manifest);
            alarms.iter().for_each(|alarm| self.printer.warning(alarm));
        }
        Ok(result)
    }

    fn runner<'a>(
        &self,
        progress: &'a Progress,
        say: &'a (dyn Fn(&str) + Sync),
        warn: &'a (dyn Fn(&str) + Sync),
        training: Training,
        replace: bool,
    ) -> Runner<'a> {
        let options = Options {
            threads: self.threads(),
            memory: self.memory(),
            temp_dir: self.shared.temp_dir.clone(),
            fresh: self.shared.fresh,
            replace,
            max_bad: 0.0,
            skip_bad_files: false,
        };
        Runner { options, progress, say, warn, training }
    }

    fn memory(&self) -> Bytes {
        self.shared.memory.unwrap_or(Bytes(machine::memory_bytes() / 2))
    }

    fn threads(&self) -> usize {
        self.shared.threads.unwrap_or_else(machine::cores).max(1)
    }

    fn dry_run(&self, requests: &[Request]) -> Result<()> {
        for request in requests {
            let plan = step::dry_run(request, self.threads())?;
            self.printer.result(&screen::dry_run(request, plan.as_ref()));
            self.printer.record(&json!({"type": "plan", "step": request.name,
                "stage": request.stage, "out": request.out, "plan": plan}));
        }
        self.printer.record(&json!({"type": "summary", "dry_run": true, "steps": requests.len()}));
        Ok(())
    }

    #[cfg(feature = "train")]
    fn generate(&self, args: &args::GenerateArgs) -> Result<()> {
        let options = crate::train::GenerateOptions {
            step: args.step,
            prompt: args.prompt.clone(),
            max_tokens: args.max_tokens,
            temperature: args.temperature,
            seed: args.seed,
            device: args.device.clone(),
        };
        let warn = |text: &str| self.printer.warning(text);
        let generator = crate::train::Generator::open(&args.run, &options, &warn)?;
        if !self.printer.is_json() {
            self.printer.raw(&args.prompt);
        }
        let sample = generator.write(|text| {
            if !self.printer.is_json() {
                self.printer.raw(text);
            }
            interrupt::check()
        })?;
        if !self.printer.is_json() {
            self.printer.raw("\n");
        }
        let mut record = serde_json::to_value(&sample).expect("plain data");
        record["type"] = "summary".into();
        self.printer.record(&record);
        Ok(())
    }

    /// A report for people, or as the summary record.
    fn show(&self, report: &impl Serialize, text: &str) {
        if !self.printer.is_json() {
            self.printer.raw(text);
        }
        let mut record = serde_json::to_value(report).expect("plain data");
        record["type"] = "summary".into();
        self.printer.record(&record);
    }

    fn init(&self, directory: &Path) -> Result<()> {
        let files = init::init(directory)?;
        let names: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
        self.printer.result(&format!("wrote {}", names.join(" and ")));
        self.printer.record(&json!({"type": "summary", "files": names}));
        Ok(())
    }
}
