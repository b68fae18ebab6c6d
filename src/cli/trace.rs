//! `trace`: which documents a step read, and which steps read a document.
//!
//! In → arguments; out → words on a screen or JSON. What is looked up lives in [`crate::trace`].

use std::path::PathBuf;

use clap::Args;

use super::Commands;
use crate::base::{
    error::{Error, Result},
    progress::Progress,
};
use crate::trace::{self, Rows, origin::Looking};

/// Arguments of `trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// A run; with `--rows` or `--document` also a mix
    #[arg(value_name = "RUN|MIX")]
    pub path: PathBuf,
    /// The documents that this step of the run read, from 1
    #[arg(long, value_name = "N", group = "what")]
    pub step: Option<u64>,
    /// The documents in these rows of the mix: `FIRST..END`, from 0, END not among them
    #[arg(long, value_name = "A..B", group = "what")]
    pub rows: Option<String>,
    /// With `--rows`, tokens a row [default: the run's]
    #[arg(long, value_name = "T", requires = "rows")]
    pub sequence: Option<u64>,
    /// The other way: where this document is read
    #[arg(long, value_name = "ID", group = "what")]
    pub document: Option<String>,
    /// What the model of this step makes of each document [default: the latest checkpoint]
    #[cfg(feature = "train")]
    #[arg(long, value_name = "STEP", num_args = 0..=1, default_missing_value = "latest",
        requires = "step")]
    pub checkpoint: Option<String>,
    /// Read the sources again, where they are at hand, and name each document's file and row
    #[arg(long, conflicts_with = "document")]
    pub origins: bool,
    /// Where shards that moved lie now
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub data: Vec<PathBuf>,
}

impl Commands<'_> {
    /// `trace`
    pub(super) fn trace(&self, args: &TraceArgs) -> Result<()> {
        if let Some(id) = &args.document {
            let places = trace::places(&args.path, &args.data, id)?;
            self.show(&places, &places.to_string());
            return Ok(());
        }
        let rows = self.rows(args)?;
        let mut batch = trace::batch(&args.path, &args.data, rows)?;
        if args.origins {
            let progress = Progress::new(self.printer.progress_style());
            let resources = (self.threads(), self.memory().0);
            batch.find_origins(&args.path, &Looking { resources, progress: &progress })?;
        }
        self.judge(args, &mut batch)?;
        self.show(&batch, &batch.to_string());
        Ok(())
    }

    fn rows(&self, args: &TraceArgs) -> Result<Rows> {
        if let Some(step) = args.step {
            return Rows::of_step(&args.path, step);
        }
        let Some(rows) = &args.rows else {
            return Err(Error::config("nothing is asked for")
                .with_hint("`--step N`, `--rows A..B` or `--document ID`"));
        };
        let sequence = match args.sequence {
            Some(0) => return Err(Error::config("`--sequence` is 0: rows of no token")),
            Some(sequence) => sequence,
            None => Rows::sequence_of(&args.path)?,
        };
        let range = rows.split_once("..");
        let range = range.and_then(|(first, end)| {
            let (first, end) = (first.trim().parse::<u64>().ok()?, end.trim().parse::<u64>().ok()?);
            (first < end && end <= u64::MAX / sequence).then_some((first, end))
        });
        let (first_row, end) = range.ok_or_else(|| {
            Error::config(format!("no range of rows: `{rows}`")).with_hint("`0..8` are eight rows")
        })?;
        Ok(Rows { first_row, rows: end - first_row, sequence })
    }

    /// Gives the documents their losses, where a checkpoint was named.
    #[cfg(feature = "train")]
    fn judge(&self, args: &TraceArgs, batch: &mut trace::Batch) -> Result<()> {
        use crate::runtime::device::Device;
        use crate::train::{Trained, losses};

        let Some(checkpoint) = &args.checkpoint else { return Ok(()) };
        let step = match checkpoint.as_str() {
            "latest" => None,
            step => Some(step.parse().map_err(|_| {
                Error::config(format!("no step: `{step}`")).with_hint("as `--checkpoint 500`")
            })?),
        };
        let warn = |text: &str| self.printer.warning(text);
        let trained = Trained::open(&args.path, step, &Device::cpu(), &warn)?;
        let Rows { first_row, rows, sequence } = batch.rows;
        let mix = (batch.mix.as_path(), args.data.as_slice());
        let nats = losses::nats_of_rows(&trained, mix, sequence as usize, (first_row, rows))?;
        batch.judge(&nats);
        Ok(())
    }

    #[cfg(not(feature = "train"))]
    fn judge(&self, _: &TraceArgs, _: &mut trace::Batch) -> Result<()> {
        Ok(())
    }
}
