//! FineWeb's own quality rules: lists, menus and pages of fragments.
//!
//! In: lines and words of a document. Out: five measures. Reference: Penedo et al. 2024, "The
//! FineWeb Datasets", section 3.4 (arXiv 2406.17557), with the order, thresholds and terminal marks
//! of datatrove 0.10 (`src/datatrove/pipeline/filters/fineweb_quality_filter.py`). One departure,
//! said in the summary: words are cut at white space, where datatrove asks spaCy; they matter to
//! the last rule only.
//! Invariant: verdict, rule and value equal datatrove's with `str.split()` as its word splitter.
//! Cost: one pass over the lines; hashing and sorting them, and the words, for documents that pass
//! the rules before.

use super::{Entry, Measure, Report, RuleSet, check_limits, share};
use crate::base::config;
use crate::base::error::Result;
use crate::filter::punctuation::is_terminal;
use crate::filter::view::View;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// The line of the registry.
pub const ENTRY: Entry = Entry {
    name: "fineweb_quality",
    summary: "drops lists and fragments: few lines that end a sentence, mostly short lines, \
              repeated lines, a line break every few words; words are cut at white space",
    reference: "FineWeb (arXiv 2406.17557, 3.4) as in datatrove 0.10",
    build: |table| Ok(Box::new(FinewebQuality::new(config::parse(table, "`fineweb_quality`")?)?)),
};

/// The thresholds. Blank lines do not count as lines in any of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Least share of lines whose last character is terminal punctuation. FineWeb: 0.12.
    pub min_line_punctuation: f64,
    /// Lets documents without any such line pass that rule. FineWeb: false.
    pub line_punctuation_exclude_zero: bool,
    /// Greatest share of short lines. FineWeb: 0.67.
    pub max_short_lines: f64,
    /// Most code points of a short line. FineWeb: 30.
    pub short_line_length: usize,
    /// Greatest share of characters (without `\n`) in copies of earlier lines. FineWeb: 0.01.
    pub max_duplicate_line_chars: f64,
    /// Most line breaks for each word. FineWeb: 0.3.
    pub max_newlines_per_word: f64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            min_line_punctuation: 0.12,
            line_punctuation_exclude_zero: false,
            max_short_lines: 0.67,
            short_line_length: 30,
            max_duplicate_line_chars: 0.01,
            max_newlines_per_word: 0.3,
        }
    }
}

/// FineWeb's rules with their thresholds.
pub struct FinewebQuality {
    config: Config,
}

impl FinewebQuality {
    /// Checks the limits.
    pub fn new(config: Config) -> Result<FinewebQuality> {
        check_limits(
            "fineweb_quality",
            &[
                ("min_line_punctuation", config.min_line_punctuation),
                ("max_short_lines", config.max_short_lines),
                ("max_duplicate_line_chars", config.max_duplicate_line_chars),
                ("max_newlines_per_word", config.max_newlines_per_word),
            ],
        )?;
        Ok(FinewebQuality { config })
    }
}

impl RuleSet for FinewebQuality {
    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn measure(&self, view: &View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let config = &self.config;
        let (mut lines, mut ended, mut short) = (0, 0, 0);
        for line in view.lines() {
            lines += 1;
            ended += usize::from(line.chars().next_back().is_some_and(is_terminal));
            short += usize::from(has_at_most(line, config.short_line_length));
        }
        report(Measure::at_least("fineweb_quality/empty", lines as f64, 1.0))?;
        let ended = share(ended, lines);
        let exempt = ended == 0.0 && config.line_punctuation_exclude_zero;
        let min_ended = if exempt { 0.0 } else { config.min_line_punctuation };
        report(Measure::at_least("fineweb_quality/line_punct_ratio", ended, min_ended))?;
        let short = share(short, lines);
        report(Measure::at_most(
            "fineweb_quality/short_line_ratio",
            short,
            config.max_short_lines,
        ))?;

        let copied = share(view.duplicate_chars(), view.chars() - view.newlines());
        let max_copied = config.max_duplicate_line_chars;
        report(Measure::at_most("fineweb_quality/char_dup_ratio", copied, max_copied))?;
        let breaks = share(view.newlines(), view.totals().words);
        report(Measure::at_most("fineweb_quality/list_ratio", breaks, config.max_newlines_per_word))
    }
}

/// Whether a line has at most `limit` code points, told without reading a long one: a code point
/// has one to four bytes.
fn has_at_most(line: &str, limit: usize) -> bool {
    line.len() <= limit || line.len() / 4 <= limit && line.chars().count() <= limit
}
