//! `gc`: the outputs that no step of a recipe writes now, and their removal.
//!
//! In → a recipe, or the folder of its outputs; out → what lies in the store there and which runs
//! have stepped aside, with sizes; with `--yes` they are removed. What a run that is not finished
//! was made from stays, and so do runs unless `--runs` names them.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Commands;
use crate::base::{error::Result, size::Bytes};
use crate::pipeline::{
    kept::{self, Unused},
    recipe::{self, Recipe},
};

/// Arguments of `gc`.
#[derive(Args, Debug)]
pub struct GcArgs {
    /// The recipe, or the folder that its steps write to [default: dataprep.toml]
    pub recipe: Option<PathBuf>,
    /// Remove what is listed as unused
    #[arg(long)]
    pub yes: bool,
    /// Also runs that have stepped aside: trained models
    #[arg(long)]
    pub runs: bool,
}

impl Commands<'_> {
    /// `gc`
    pub(super) fn gc(&self, args: &GcArgs) -> Result<()> {
        let path = args.recipe.clone().unwrap_or_else(|| PathBuf::from(recipe::FILE_NAME));
        let folder = if path.is_dir() { path } else { Recipe::read(&path, &[], None)?.out };
        let removes = args.yes && !self.shared.dry_run;
        let outputs = kept::unused(&folder, args.runs)?;
        let mut freed = 0;
        for output in &outputs {
            if output.needed.is_none() {
                freed += output.bytes;
                if removes {
                    kept::remove(output)?;
                }
            }
            self.printer.result(&line(output, removes));
            self.printer.record(&json!({"type": "output", "path": output.path.to_string_lossy(),
                "stage": output.manifest.stage, "fingerprint": output.manifest.fingerprint,
                "bytes": output.bytes, "needed": output.needed,
                "removed": removes && output.needed.is_none()}));
        }
        let what = match (outputs.is_empty(), removes) {
            (true, _) => "nothing in `{}` is unused".replace("{}", &folder.to_string_lossy()),
            (false, true) => format!("freed {}", Bytes(freed)),
            (false, false) => format!("`--yes` removes what is unused: {}", Bytes(freed)),
        };
        self.printer.result(&what);
        self.printer.record(&json!({"type": "summary", "outputs": outputs.len(), "bytes": freed,
            "removed": removes}));
        Ok(())
    }
}

fn line(output: &Unused, removed: bool) -> String {
    let why = match &output.needed {
        Some(why) => format!("stays ({why})"),
        None if removed => "removed".to_owned(),
        None => "unused".to_owned(),
    };
    let (stage, size) = (&output.manifest.stage, Bytes(output.bytes).to_string());
    format!("{stage:<10} {size:>10}  {why:<8} {}", output.path.display())
}
