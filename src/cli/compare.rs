//! `compare`: what differs between artifacts or runs, and what it did.
//!
//! In → two artifacts or more, the first of them the baseline; out → a screen or a record for each
//! of the others. What is computed lives in [`crate::compare`].

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Commands;
use crate::base::error::Result;
use crate::compare::{self, Bounds};

/// Arguments of `compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The baseline: a run, or any other artifact
    #[arg(value_name = "A")]
    pub from: PathBuf,
    /// What is held against it, one after the other
    #[arg(value_name = "B", required = true)]
    pub to: Vec<PathBuf>,
    /// List so many of the documents that entered, left or changed
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub list: usize,
}

/// The share of the memory that records of documents may take: the rest holds texts being read, a
/// part of the other side, and what is being sorted.
const RECORDS_SHARE: u64 = 4;

impl Commands<'_> {
    /// `compare A B…`
    pub(super) fn compare(&self, args: &CompareArgs) -> Result<()> {
        let folder = self.shared.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        let bounds = Bounds {
            memory: self.memory().0 / RECORDS_SHARE,
            spill: folder.join(format!("dataprep-compare-{}", std::process::id())),
            listed: args.list,
        };
        for to in &args.to {
            let found = compare::compare(&args.from, to, &bounds)?;
            self.printer.raw(&format!("{found}"));
            let mut record = serde_json::to_value(&found).expect("plain data");
            record["type"] = json!("comparison");
            self.printer.record(&record);
        }
        self.printer.record(&json!({"type": "summary", "comparisons": args.to.len()}));
        Ok(())
    }
}
