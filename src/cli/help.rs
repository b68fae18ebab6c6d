//! What explains the command line: help, completions and the manual, from one table.
//!
//! In → the arguments that [`super::command`] declares and the keys that the registry knows; out →
//! text on stdout. Nothing here is written by hand, so none of the three can lag behind.

use clap::{Command as ClapCommand, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::Commands;
use super::args;
use super::command::Cli;
use crate::artifact::record::Kind;
use crate::base::error::{Error, Result};
use crate::pipeline::registry;

/// The command line with the config keys of each stage in its help, from the registry.
pub fn command() -> ClapCommand {
    registry::STAGES.iter().fold(Cli::command(), |command, entry| {
        let keys = entry.key_lines().join("\n  ");
        let keys = format!("Config keys, in TOML or as `--set key=value`:\n  {keys}");
        let help = match entry.takes {
            Kind::Corpus => format!("{}\n\n{keys}", args::INPUTS),
            Kind::Download => format!("{}\n\n{keys}", args::ADDRESSES),
            _ => keys,
        };
        match entry.name {
            name @ ("classifier" | "tokenizer") => command.mut_subcommand(name, |parent| {
                parent.mut_subcommand("train", |train| train.after_help(help))
            }),
            name => command.mut_subcommand(name, |stage| stage.after_help(help)),
        }
    })
}

impl Commands<'_> {
    /// `completions SHELL`
    pub(super) fn completions(&self, shell: Shell) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command(), "dataprep", &mut script);
        self.say(&script);
        Ok(())
    }

    /// `manual`: the page of the program, then one a command.
    pub(super) fn manual(&self) -> Result<()> {
        let mut command = command();
        command.build();
        let mut pages = Vec::new();
        render(&command, &mut pages)?;
        self.say(&pages);
        Ok(())
    }

    /// A text as it is, or as the summary record.
    fn say(&self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        self.printer.raw(&text);
        self.printer.record(&json!({"type": "summary", "text": text}));
    }
}

fn render(command: &ClapCommand, pages: &mut Vec<u8>) -> Result<()> {
    let page = clap_mangen::Man::new(command.clone());
    page.render(pages).map_err(|error| Error::failed(format!("cannot write a page: {error}")))?;
    let mut inner = command.get_subcommands().filter(|command| !command.is_hide_set());
    inner.try_for_each(|command| render(command, pages))
}
