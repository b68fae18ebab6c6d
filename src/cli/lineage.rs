//! `lineage`: where an artifact comes from.
//!
//! In → an artifact; out → its tree, its graph in DOT or as JSON, and the picture that was asked
//! for. What is computed lives in [`crate::lineage`].

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Commands;
use crate::base::{error::Result, io};
use crate::lineage::{self, picture, tree};

/// Arguments of `lineage`.
#[derive(Args, Debug)]
pub struct LineageArgs {
    /// A run, or any other artifact
    pub path: PathBuf,
    /// Show it as a graph in DOT: `dataprep lineage RUN --dot | dot -Tsvg`
    #[arg(long)]
    pub dot: bool,
    /// Draw it as SVG
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
}

/// A text that only pictures of ours hold, so that they may be overwritten.
const MARK: &str = "aria-label=\"lineage\"";

impl Commands<'_> {
    /// `lineage ARTIFACT`
    pub(super) fn lineage(&self, args: &LineageArgs) -> Result<()> {
        let found = lineage::read(&args.path)?;
        if let Some(picture) = &args.picture {
            let place = self.output_file(picture, std::slice::from_ref(&args.path), Some(MARK))?;
            io::write(&place, picture::draw(&found).as_bytes())?;
        }
        match args.dot {
            true => self.printer.raw(&tree::dot(&found)),
            false => self.printer.raw(&tree::draw(&found, self.printer.is_verbose())),
        }
        self.printer.record(&json!({"type": "summary", "nodes": found.nodes}));
        Ok(())
    }
}
