//! `runs` and `note`: the log of all runs of a folder, and remarks beside them.
//!
//! In → arguments; out → a table as text, CSV or JSON; a line of `notes.jsonl`. What is computed
//! lives in [`crate::runs`].

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Commands;
use crate::base::error::{Error, Result};
use crate::base::size::Count;
use crate::runs::{self, Table, notes};

/// Arguments of `runs`.
#[derive(Args, Debug)]
pub struct RunsArgs {
    /// Where to look, at any depth [default: this folder]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Order by a column: name, tokens, loss, bits_per_byte, tokens_per_second, seconds, cost, a
    /// task … [default: by start]
    #[arg(long, value_name = "COLUMN")]
    pub sort: Option<String>,
    /// Largest first
    #[arg(long, requires = "sort")]
    pub reverse: bool,
    /// Only runs that a SQL condition on the columns takes: `loss < 3 AND tags LIKE '%keep%'`
    #[arg(long = "where", value_name = "SQL")]
    pub condition: Option<String>,
    /// Only the best run by a measure: bits_per_byte, loss, tokens_per_second, cost, a task …
    #[arg(long, value_name = "MEASURE")]
    pub best: Option<String>,
    /// All columns as CSV
    #[arg(long)]
    pub csv: bool,
}

/// Arguments of `note`.
#[derive(Args, Debug)]
pub struct NoteArgs {
    /// A run, or any other artifact
    pub run: PathBuf,
    /// The remark; without one, and without tags, those that stand are shown
    #[arg(value_name = "TEXT")]
    pub text: Option<String>,
    /// Give it tags
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub tag: Vec<String>,
    /// Take tags away
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub untag: Vec<String>,
}

impl Commands<'_> {
    /// `runs DIR`
    pub(super) fn runs(&self, args: &RunsArgs) -> Result<()> {
        let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from("."));
        let mut table = Table::new(runs::list(&folder)?);
        if table.rows().is_empty() {
            let message = format!("there is no run below `{}`", folder.display());
            return Err(Error::config(message).with_hint("`dataprep train` makes one"));
        }
        if let Some(condition) = &args.condition {
            let all = Count(table.rows().len() as u64);
            table.keep(condition)?;
            if table.rows().is_empty() {
                self.printer.warning(&format!("no run of {all} meets the condition"));
            }
        }
        if let Some(column) = &args.sort {
            table.sort(column, args.reverse)?;
        }
        if let Some(measure) = &args.best {
            table = Table::new(vec![table.best(measure)?.clone()]);
        }
        table.warning().iter().for_each(|warning| self.printer.warning(warning));
        match args.csv {
            true => self.printer.raw(&table.csv()),
            false => self.printer.raw(&table.text()),
        }
        table.json().iter().for_each(|record| self.printer.record(record));
        self.printer.record(&json!({"type": "summary", "runs": table.rows().len()}));
        Ok(())
    }

    /// `note RUN TEXT`
    pub(super) fn note(&self, args: &NoteArgs) -> Result<()> {
        let is_plain = |tag: &&String| tag.is_empty() || tag.contains(char::is_control);
        if let Some(tag) = args.tag.iter().chain(&args.untag).find(is_plain) {
            return Err(Error::config(format!("`{}` is no tag", tag.escape_debug())));
        }
        if args.text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(Error::config("an empty remark")
                .with_hint("without a text and without tags, those that stand are shown"));
        }
        if args.text.is_some() || !args.tag.is_empty() || !args.untag.is_empty() {
            notes::append(&args.run, args.text.as_deref(), &args.tag, &args.untag)?;
        }
        let remarks = notes::of(&args.run)?;
        let tags: Vec<&str> = remarks.tags.iter().map(String::as_str).collect();
        if !tags.is_empty() {
            self.printer.raw(&format!("tags: {}\n", tags.join(", ")));
        }
        remarks.notes.iter().for_each(|note| self.printer.raw(&format!("{note}\n")));
        self.printer.record(&json!({"type": "summary", "notes": remarks.notes, "tags": tags}));
        Ok(())
    }
}
