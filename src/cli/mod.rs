//! The command line: arguments → requests → stages → words on a screen.
//!
//! In → `argv`; out → an exit status. [`main`] is the table of contents: one arm a command. What
//! can be typed is in [`command`] and [`args`], how results look in [`screen`], where they go in
//! [`printer`].

#[cfg(feature = "train")]
mod ablate;
pub mod args;
mod classifier;
pub mod command;
mod compare;
mod dedup;
mod doctor;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "train")]
mod eval;
mod export;
mod filter;
mod foreseen;
mod gc;
#[cfg(feature = "train")]
mod generate;
mod help;
mod import;
mod init;
mod inspect;
mod lineage;
mod mix;
pub mod printer;
#[cfg(feature = "query")]
mod query;
mod report;
mod run;
mod runs;
pub mod screen;
#[cfg(feature = "serve")]
mod serve;
mod stage;
mod tokenize;
mod tokenizer;
mod trace;
#[cfg(feature = "train")]
mod train;

use std::path::{Path, PathBuf};

use clap::{FromArgMatches, error::ErrorKind};
use serde::Serialize;
use serde_json::json;

use crate::{
    base::{
        config::{self, Table},
        error::{Error, Result},
        interrupt, machine, place,
        size::Bytes,
    },
    pipeline::{options::Options, registry},
};
use args::{ConfigArgs, Shared};
use classifier::ClassifierCommand;
use command::{Cli, Command};
use printer::Printer;
use tokenizer::TokenizerCommand;

/// Runs the command line of this process.
pub fn main() -> std::process::ExitCode {
    let matches = help::command().try_get_matches();
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = cli.unwrap_or_else(|error| name_argument(error).exit());
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

/// clap's error, with the argument where that is no UTF-8, which clap does not name.
fn name_argument(error: clap::Error) -> clap::Error {
    let argument = std::env::args_os().find(|argument| argument.to_str().is_none());
    let Some(argument) = argument.filter(|_| error.kind() == ErrorKind::InvalidUtf8) else {
        return error;
    };
    let argument = argument.as_encoded_bytes().escape_ascii();
    let message = format!(
        "the argument `{argument}` is not UTF-8\n\n  hint: artifacts name their inputs in UTF-8: \
         rename it, as with `convmv -f latin1 -t utf8 --notest`"
    );
    clap::Error::raw(ErrorKind::InvalidUtf8, message + "\n")
}

fn run(cli: Cli, printer: &Printer) -> Result<()> {
    let cx = Commands { shared: &cli.shared, printer };
    // Opening and verifying files side by side takes no more cores than the work itself.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(cx.threads()).build_global();
    threads.map_err(|error| Error::failed(format!("cannot start threads: {error}")))?;
    match &cli.command {
        #[cfg(feature = "hub")]
        Command::Download(args) => cx.stage("download", args),
        Command::Ingest(args) => cx.stage("ingest", args),
        Command::Filter(args) if args.flags.list => cx.list_rules(),
        Command::Filter(args) if args.flags.trial.is_some() => cx.try_rules(args),
        Command::Filter(args) => cx.stage("filter", args),
        Command::Classifier { command: ClassifierCommand::Train(args) } => cx.classifier(args),
        Command::Dedup(args) => cx.stage("dedup", args),
        Command::Tokenizer { command: TokenizerCommand::Train(args) } => {
            cx.stage("tokenizer", args)
        }
        Command::Tokenizer { command: TokenizerCommand::Export(args) } => cx.export_tokenizer(args),
        Command::Tokenize(args) if args.inputs == ["-"] => cx.show_tokens(args),
        Command::Tokenize(args) => cx.stage("tokenize", args),
        Command::Import(args) => cx.stage("import", args),
        Command::Mix(args) => cx.mix(args),
        #[cfg(feature = "train")]
        Command::Train(args) => cx.train(args),
        #[cfg(feature = "train")]
        Command::Generate(args) => cx.generate(args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => cx.serve(args),
        #[cfg(feature = "train")]
        Command::Eval(args) => cx.eval(args),
        Command::Export(args) => cx.export(args),
        Command::Run(args) => cx.run(args),
        Command::Gc(args) => cx.gc(args),
        Command::Init { directory } => cx.init(directory),
        Command::Completions { shell } => cx.completions(*shell),
        Command::Manual => cx.manual(),
        Command::Inspect(args) => cx.inspect(args),
        Command::Report(args) => cx.report(args),
        Command::Trace(args) => cx.trace(args),
        Command::Verify { path } => cx.verify(path),
        #[cfg(feature = "train")]
        Command::Ablate(args) => cx.ablate(args),
        Command::Lineage(args) => cx.lineage(args),
        Command::Compare(args) => cx.compare(args),
        Command::Runs(args) => cx.runs(args),
        Command::Note(args) => cx.note(args),
        #[cfg(feature = "query")]
        Command::Query(args) => cx.query(args),
        Command::Doctor(args) => cx.doctor(args),
    }
}

/// The commands, with what they share.
struct Commands<'a> {
    shared: &'a Shared,
    printer: &'a Printer,
}

impl Commands<'_> {
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

    /// *How* to run; `replace`: an OUT of another fingerprint, as a recipe does.
    fn options(&self, replace: bool) -> Options {
        Options {
            threads: self.threads(),
            memory: self.memory(),
            temp_dir: self.shared.temp_dir.clone(),
            fresh: self.shared.fresh,
            replace,
            keeps: replace,
        }
    }

    /// The place of a file to write, beside what is read; `mark` tells one that is ours.
    fn output_file(&self, path: &Path, read: &[PathBuf], mark: Option<&str>) -> Result<PathBuf> {
        place::output_file(path, read, mark, self.shared.fresh)
    }

    fn memory(&self) -> Bytes {
        self.shared.memory.unwrap_or(Bytes(machine::memory_bytes() / 2))
    }

    fn threads(&self) -> usize {
        self.shared.threads.unwrap_or_else(machine::cores).max(1)
    }

    /// A report for people, or as the summary record.
    fn show(&self, report: &impl Serialize, text: &str) {
        self.printer.raw(text);
        let mut record = serde_json::to_value(report).expect("plain data");
        record["type"] = "summary".into();
        self.printer.record(&record);
    }
}
