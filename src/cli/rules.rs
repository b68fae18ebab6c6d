//! Commands that explain filter rules: the list of them, and what they say of one text.
//!
//! In → arguments; out → words on a screen. What is computed lives in [`crate::filter`].

use std::io::Read;
use std::path::Path;

use serde_json::json;

use super::Commands;
use super::args::{FilterFlags, Flags, StageArgs};
use crate::base::config::{self, Table};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::filter::{FilterConfig, config as rules, explain, recipes};
use crate::source::InputConfig;

impl Commands<'_> {
    /// `filter --list`
    pub(super) fn list_rules(&self) -> Result<()> {
        self.printer.raw(&format!("recipes\n{}\n\nrule sets\n", recipes::list()));
        self.printer.raw(&rules::list_rules());
        self.printer.record(&json!({"type": "summary", "recipes": recipes::list(),
            "rules": rules::list_rules()}));
        Ok(())
    }

    /// `filter --try FILE|-`
    pub(super) fn try_rules(&self, args: &StageArgs<FilterFlags>) -> Result<()> {
        let mut flags = Table::new();
        args.flags.fill(&mut flags);
        let mut table = Commands::keys(&args.config, flags)?;
        let what = "the config of `filter`";
        // A step's configuration is taken whole; where text is read from plays no part here.
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
