//! FineWeb's own quality rules: lists, menus and pages of fragments.
//!
//! In: lines and words of a document. Out: five measures. Reference: Penedo et al. 2024, "The
//! FineWeb Datasets", section 3.6 (arXiv 2406.17557), with the order, thresholds and terminal marks
//! of datatrove 0.10 (`src/datatrove/pipeline/filters/fineweb_quality_filter.py`).
//! Invariant: verdict, rule and value equal datatrove's with the same words, which matter to the
//! last rule only: they are cut only where a count of white space does not settle it.
//! Cost: one pass over the lines and one hash of them.

use super::{Entry, Measure, Report, RuleInfo, RuleSet, check_limits, share, spans};
use crate::base::config;
use crate::base::error::Result;
use crate::filter::view::View;
use crate::filter::view::lines::filled_lines;
use crate::text::punctuation::is_terminal;
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};

/// The line of the registry.
pub const ENTRY: Entry = Entry {
    name: "fineweb_quality",
    summary: "drops lists and fragments: few lines that end a sentence, mostly short lines, \
              repeated lines, a line break every few words",
    reference: "FineWeb (arXiv 2406.17557, 3.6) as in datatrove 0.10",
    rules: RULES,
    limits: None,
    build: |table| Ok(Box::new(FinewebQuality::new(config::parse(table, "`fineweb_quality`")?)?)),
};

/// The thresholds. Blank lines do not count as lines in any of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinewebQualityConfig {
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

impl Default for FinewebQualityConfig {
    fn default() -> FinewebQualityConfig {
        FinewebQualityConfig {
            min_line_punctuation: 0.12,
            line_punctuation_exclude_zero: false,
            max_short_lines: 0.67,
            short_line_length: 30,
            max_duplicate_line_chars: 0.01,
            max_newlines_per_word: 0.3,
        }
    }
}

/// The rules, as the reference calls them.
const EMPTY: &str = "fineweb/empty";
const PUNCTUATION: &str = "fineweb/line_punct_ratio";
const SHORT_LINES: &str = "fineweb/short_line_ratio";
const REPEATED: &str = "fineweb/char_dup_ratio";
const BREAKS: &str = "fineweb/list_ratio";

const RULES: &[RuleInfo] = &[
    RuleInfo::fixed(EMPTY, "lines that are not blank"),
    RuleInfo::new(PUNCTUATION, "min_line_punctuation", "lines that end in terminal punctuation"),
    RuleInfo::new(SHORT_LINES, "max_short_lines", "short lines"),
    RuleInfo::new(REPEATED, "max_duplicate_line_chars", "characters in lines that repeat"),
    RuleInfo::new(BREAKS, "max_newlines_per_word", "line breaks for each word"),
];

/// FineWeb's rules with their thresholds.
pub struct FinewebQuality {
    config: FinewebQualityConfig,
}

impl FinewebQuality {
    /// Checks the limits.
    pub fn new(config: FinewebQualityConfig) -> Result<FinewebQuality> {
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

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let config = &self.config;
        let (mut lines, mut ended, mut short) = (0, 0, 0);
        let text = view.text();
        for (start, end) in filled_lines(text) {
            let line = &text[start..end];
            lines += 1;
            ended += usize::from(is_ended(line));
            short += usize::from(has_at_most(line, config.short_line_length));
        }
        report(Measure::at_least(EMPTY, lines as f64, 1.0))?;
        let ended = share(ended, lines);
        // A limit that depends on the document: `from_annotations` knows it too.
        let exempt = ended == 0.0 && config.line_punctuation_exclude_zero;
        let min_ended = if exempt { 0.0 } else { config.min_line_punctuation };
        report(Measure::at_least(PUNCTUATION, ended, min_ended))?;
        report(Measure::at_most(SHORT_LINES, share(short, lines), config.max_short_lines))?;

        let copied = view.duplicate_filled_lines().copied_chars;
        let copied = share(copied, view.chars() - view.newlines());
        report(Measure::at_most(REPEATED, copied, config.max_duplicate_line_chars))?;
        let breaks = self.breaks_per_word(view);
        report(Measure::at_most(BREAKS, breaks, config.max_newlines_per_word))
    }

    /// Lines as they stand, with the white space that ends them; line breaks.
    fn spans(&self, rule: &str, view: &mut View<'_>) -> Vec<Range<usize>> {
        let lines = |text: &str, holds: &dyn Fn(&str) -> bool| {
            let lines = filled_lines(text).filter(|&(start, end)| holds(&text[start..end]));
            spans::gather(lines.map(|(start, end)| start..end))
        };
        let short = self.config.short_line_length;
        match rule {
            PUNCTUATION => lines(view.text(), &|line| !is_ended(line)),
            SHORT_LINES => lines(view.text(), &|line| has_at_most(line, short)),
            REPEATED => spans::gather(view.filled_line_copies()),
            BREAKS => spans::of_signs(view.text(), &["\n"]),
            _ => Vec::new(),
        }
    }
}

/// Whether a line's last character is one that ends a sentence.
fn is_ended(line: &str) -> bool {
    line.chars().next_back().is_some_and(is_terminal)
}

impl FinewebQuality {
    /// `\n` for each word, or a greater number that keeps the limit where only that is asked: no
    /// splitter joins what white space separates.
    fn breaks_per_word(&self, view: &mut View<'_>) -> f64 {
        let newlines = view.newlines();
        if view.known_words().is_none() && !view.is_complete() {
            let bound = share(newlines, words_at_least(view.text()));
            if bound <= self.config.max_newlines_per_word {
                return bound;
            }
        }
        share(newlines, view.words().len())
    }
}

/// A number of words that `str.split()` reaches: runs between white space of ASCII.
fn words_at_least(text: &str) -> usize {
    let is_white =
        |byte: u8| u8::from(byte == b' ' || byte.wrapping_sub(9) < 5 || byte.wrapping_sub(28) < 4);
    let bytes = text.as_bytes();
    // In blocks so short that a byte holds the count: the compiler makes vectors of that.
    let ends = |block: &[u8], next: &[u8]| {
        let pairs = block.iter().zip(next);
        usize::from(pairs.map(|(&own, &next)| is_white(next) & !is_white(own)).sum::<u8>())
    };
    let after = bytes.get(1..).unwrap_or_default();
    let closed: usize = bytes.chunks(240).zip(after.chunks(240)).map(|(a, b)| ends(a, b)).sum();
    closed + usize::from(bytes.last().is_some_and(|&byte| is_white(byte) == 0))
}

/// Whether a line has at most `limit` code points, told without reading a long one: a code point
/// has one to four bytes.
fn has_at_most(line: &str, limit: usize) -> bool {
    line.len() <= limit || line.len() / 4 <= limit && line.chars().count() <= limit
}
