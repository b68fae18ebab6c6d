//! `filter`: what can be typed of it, and the commands that explain its rules: the list of them,
//! and what they say of one text.
//!
//! In → arguments; out → words on a screen. What is computed lives in [`crate::filter`].

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Commands;
use super::args::{Flags, StageArgs, TextFlags, list, put};
use crate::base::config::{self, Table};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::filter::{FilterConfig, config as rules, explain, presets};
use crate::source::InputConfig;

/// Flags of `filter`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Rules")]
pub struct FilterFlags {
    /// Published rules in their order: fineweb, fineweb-edu, gopher, c4 or dclm; or a TOML file
    /// with your own
    #[arg(long, value_name = "NAME|FILE", alias = "recipe")]
    preset: Option<String>,
    /// Rule sets in their order, as `gopher_quality,fineweb_quality`. Thresholds are keys:
    /// `--set gopher_quality.min_words=20`
    #[arg(long, value_name = "A,B")]
    rules: Option<String>,
    /// Drop nothing; add what every rule measured, and the first that fails, as columns
    #[arg(long)]
    annotate: bool,
    /// Judge an annotated corpus by what was measured then, under other limits:
    /// `--set gopher_quality.min_words=30`
    #[arg(long, conflicts_with_all = ["preset", "rules", "annotate"])]
    from_annotations: bool,
    /// List every rule with its limit and its source, and the presets
    #[arg(long, conflicts_with_all = ["inputs", "out", "preset", "rules", "annotate"])]
    pub list: bool,
    /// Judge one text, a file or `-`, and show every rule with its value and limit
    #[arg(long = "try", value_name = "FILE|-", conflicts_with_all = ["inputs", "out", "annotate"])]
    pub trial: Option<PathBuf>,
    #[command(flatten)]
    text: TextFlags,
}

impl Flags for FilterFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "preset", self.preset.clone());
        put(keys, "rules", self.rules.as_deref().map(list));
        put(keys, "annotate", self.annotate.then_some(true));
        put(keys, "from_annotations", self.from_annotations.then_some(true));
        self.text.fill(keys);
    }
}

impl Commands<'_> {
    /// `filter --list`
    pub(super) fn list_rules(&self) -> Result<()> {
        self.printer.raw(&format!("presets\n{}\n\nrule sets\n", presets::list()));
        self.printer.raw(&rules::list_rules());
        self.printer.record(&json!({"type": "summary", "presets": presets::list(),
            "rules": rules::list_rules()}));
        Ok(())
    }

    /// `filter --try FILE|-`
    pub(super) fn try_rules(&self, args: &StageArgs<FilterFlags>) -> Result<()> {
        let mut flags = Table::new();
        args.flags.fill(&mut flags);
        let mut table = Commands::keys(&args.config, flags)?;
        let what = "the config of `filter`";
        // A step's configuration may say where text is read from, which plays no part here.
        let _: InputConfig = config::take(&mut table, what)?;
        let config: FilterConfig = config::parse(table, what)?;
        let path = args.flags.trial.as_deref().unwrap_or(Path::new("-"));
        let judged = explain::judge(config, &read_text(path)?)?;
        self.show(&judged, &format!("{judged}\n"));
        Ok(())
    }
}

/// A file's text, or that of stdin for `-`.
pub(super) fn read_text(path: &Path) -> Result<String> {
    if path != Path::new("-") {
        return io::read_text(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() as u64;
        Error::damaged(path, Some(at), error)
    })
}
