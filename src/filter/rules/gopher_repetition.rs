//! Gopher's repetition rules: menus, boilerplate and text that goes round in circles.
//!
//! In: paragraphs, lines and words of a document. Out: thirteen measures and whether there is any
//! text. Reference: Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from
//! Training Gopher", table A1 (arXiv 2112.11446), with the order, the thresholds and the reading of
//! datatrove 0.10 (`src/datatrove/pipeline/filters/gopher_repetition_filter.py`): only second and
//! later copies count, lengths are code points, every share is one of the whole text, white space
//! included, and the most common n-gram counts even where it occurs once.
//! Invariant: verdict, rule and value equal datatrove's with the same words. Cost: two hashes of
//! the text, then about two look-ups a word: see `view::ngrams` and `view::repeats`.

use super::{Entry, Measure, Report, RuleInfo, RuleSet, check_limits, optional, share, spans};
use crate::base::config;
use crate::base::error::Result;
use crate::filter::view::View;
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};

/// The line of the registry.
pub const ENTRY: Entry = Entry {
    name: "gopher_repetition",
    summary: "drops what repeats itself: lines, paragraphs, the most common runs of two to four \
              words, repeated runs of five to ten",
    reference: "Gopher (arXiv 2112.11446, table A1) as in datatrove 0.10",
    rules: RULES,
    limits: None,
    build: |table| {
        Ok(Box::new(GopherRepetition::new(config::parse(table, "`gopher_repetition`")?)?))
    },
};

/// The rules, as the reference calls them.
const EMPTY: &str = "repetition/empty";
const PARAGRAPHS: &str = "repetition/dup_para_frac";
const PARAGRAPH_CHARS: &str = "repetition/dup_para_char_frac";
const LINES: &str = "repetition/dup_line_frac";
const LINE_CHARS: &str = "repetition/dup_line_char_frac";
/// For n = 2, 3 and 4.
const TOP_GRAMS: [&str; 3] =
    ["repetition/top_2_gram", "repetition/top_3_gram", "repetition/top_4_gram"];
/// For n = 5 to 10.
const DUPLICATED_GRAMS: [&str; 6] = [
    "repetition/duplicated_5_n_grams",
    "repetition/duplicated_6_n_grams",
    "repetition/duplicated_7_n_grams",
    "repetition/duplicated_8_n_grams",
    "repetition/duplicated_9_n_grams",
    "repetition/duplicated_10_n_grams",
];

const RULES: &[RuleInfo] = &[
    RuleInfo::fixed(EMPTY, "characters"),
    RuleInfo::new(PARAGRAPHS, "max_duplicate_paragraphs", "paragraphs that repeat"),
    RuleInfo::new(
        PARAGRAPH_CHARS,
        "max_duplicate_paragraph_chars",
        "characters in paragraphs that repeat",
    ),
    RuleInfo::new(LINES, "max_duplicate_lines", "lines that repeat"),
    RuleInfo::new(LINE_CHARS, "max_duplicate_line_chars", "characters in lines that repeat"),
    RuleInfo::new(TOP_GRAMS[0], "max_top_2_gram", TOP),
    RuleInfo::new(TOP_GRAMS[1], "max_top_3_gram", TOP),
    RuleInfo::new(TOP_GRAMS[2], "max_top_4_gram", TOP),
    RuleInfo::new(DUPLICATED_GRAMS[0], "max_duplicated_5_grams", DUPLICATED),
    RuleInfo::new(DUPLICATED_GRAMS[1], "max_duplicated_6_grams", DUPLICATED),
    RuleInfo::new(DUPLICATED_GRAMS[2], "max_duplicated_7_grams", DUPLICATED),
    RuleInfo::new(DUPLICATED_GRAMS[3], "max_duplicated_8_grams", DUPLICATED),
    RuleInfo::new(DUPLICATED_GRAMS[4], "max_duplicated_9_grams", DUPLICATED),
    RuleInfo::new(DUPLICATED_GRAMS[5], "max_duplicated_10_grams", DUPLICATED),
];
const TOP: &str = "characters in the most common run of so many words";
const DUPLICATED: &str = "characters in repeated runs of so many words";

/// The thresholds, each the greatest share allowed; 0 turns its rule off.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GopherRepetitionConfig {
    /// Paragraphs that repeat an earlier one. Gopher: 0.3.
    pub max_duplicate_paragraphs: f64,
    /// Characters in those. Gopher: 0.2.
    pub max_duplicate_paragraph_chars: f64,
    /// Lines that repeat an earlier one. Gopher: 0.3.
    pub max_duplicate_lines: f64,
    /// Characters in those. Gopher: 0.2.
    pub max_duplicate_line_chars: f64,
    /// Characters in the most common run of two words. Gopher: 0.2.
    pub max_top_2_gram: f64,
    /// Of three words. Gopher: 0.18.
    pub max_top_3_gram: f64,
    /// Of four words. Gopher: 0.16.
    pub max_top_4_gram: f64,
    /// Characters in runs of five words that repeat an earlier one. Gopher: 0.15.
    pub max_duplicated_5_grams: f64,
    /// Of six words. Gopher: 0.14.
    pub max_duplicated_6_grams: f64,
    /// Of seven words. Gopher: 0.13.
    pub max_duplicated_7_grams: f64,
    /// Of eight words. Gopher: 0.12.
    pub max_duplicated_8_grams: f64,
    /// Of nine words. Gopher: 0.11.
    pub max_duplicated_9_grams: f64,
    /// Of ten words. Gopher: 0.1.
    pub max_duplicated_10_grams: f64,
}

impl Default for GopherRepetitionConfig {
    fn default() -> GopherRepetitionConfig {
        GopherRepetitionConfig {
            max_duplicate_paragraphs: 0.3,
            max_duplicate_paragraph_chars: 0.2,
            max_duplicate_lines: 0.3,
            max_duplicate_line_chars: 0.2,
            max_top_2_gram: 0.2,
            max_top_3_gram: 0.18,
            max_top_4_gram: 0.16,
            max_duplicated_5_grams: 0.15,
            max_duplicated_6_grams: 0.14,
            max_duplicated_7_grams: 0.13,
            max_duplicated_8_grams: 0.12,
            max_duplicated_9_grams: 0.11,
            max_duplicated_10_grams: 0.1,
        }
    }
}

impl GopherRepetitionConfig {
    /// The limits for n = 2, 3 and 4.
    fn top(&self) -> [(&'static str, f64); 3] {
        [
            ("max_top_2_gram", self.max_top_2_gram),
            ("max_top_3_gram", self.max_top_3_gram),
            ("max_top_4_gram", self.max_top_4_gram),
        ]
    }

    /// The limits for n = 5 to 10.
    fn duplicated(&self) -> [(&'static str, f64); 6] {
        [
            ("max_duplicated_5_grams", self.max_duplicated_5_grams),
            ("max_duplicated_6_grams", self.max_duplicated_6_grams),
            ("max_duplicated_7_grams", self.max_duplicated_7_grams),
            ("max_duplicated_8_grams", self.max_duplicated_8_grams),
            ("max_duplicated_9_grams", self.max_duplicated_9_grams),
            ("max_duplicated_10_grams", self.max_duplicated_10_grams),
        ]
    }
}

/// Gopher's repetition rules with their thresholds.
pub struct GopherRepetition {
    config: GopherRepetitionConfig,
}

impl GopherRepetition {
    /// Checks the limits.
    pub fn new(config: GopherRepetitionConfig) -> Result<GopherRepetition> {
        let mut limits = vec![
            ("max_duplicate_paragraphs", config.max_duplicate_paragraphs),
            ("max_duplicate_paragraph_chars", config.max_duplicate_paragraph_chars),
            ("max_duplicate_lines", config.max_duplicate_lines),
            ("max_duplicate_line_chars", config.max_duplicate_line_chars),
        ];
        limits.extend(config.top());
        limits.extend(config.duplicated());
        check_limits("gopher_repetition", &limits)?;
        Ok(GopherRepetition { config })
    }

    fn measure_pieces(
        &self,
        view: &mut View<'_>,
        chars: usize,
        report: &mut Report<'_>,
    ) -> ControlFlow<()> {
        let config = &self.config;
        let mut at_most =
            |rule, value, limit| report(Measure::at_most(rule, value, optional(limit)));
        let found = view.duplicate_paragraphs();
        let copies = share(found.copies, found.pieces);
        at_most(PARAGRAPHS, copies, config.max_duplicate_paragraphs)?;
        let copied = share(found.copied_chars, chars);
        at_most(PARAGRAPH_CHARS, copied, config.max_duplicate_paragraph_chars)?;
        let found = view.duplicate_lines();
        at_most(LINES, share(found.copies, found.pieces), config.max_duplicate_lines)?;
        at_most(LINE_CHARS, share(found.copied_chars, chars), config.max_duplicate_line_chars)
    }
}

impl RuleSet for GopherRepetition {
    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let chars = view.chars();
        report(Measure::at_least(EMPTY, chars as f64, 1.0))?;
        self.measure_pieces(view, chars, report)?;
        for ((n, rule), (_, limit)) in (2..).zip(TOP_GRAMS).zip(self.config.top()) {
            let common = common_share(view, n, chars, optional(limit));
            report(Measure::at_most(rule, common, optional(limit)))?;
        }
        for ((n, rule), (_, limit)) in (5..).zip(DUPLICATED_GRAMS).zip(self.config.duplicated()) {
            let repeated = share(view.repeated_chars(n), chars);
            report(Measure::at_most(rule, repeated, optional(limit)))?;
        }
        ControlFlow::Continue(())
    }

    /// Copies, and runs of words from the first to the last.
    fn spans(&self, rule: &str, view: &mut View<'_>) -> Vec<Range<usize>> {
        let n_of = |rules: &[&str], first| Some(rules.iter().position(|one| *one == rule)? + first);
        match rule {
            PARAGRAPHS | PARAGRAPH_CHARS => return spans::gather(view.paragraph_copies()),
            LINES | LINE_CHARS => return spans::gather(view.line_copies()),
            _ => (),
        }
        if let Some(n) = n_of(&TOP_GRAMS, 2) {
            return common_runs(view, n);
        }
        let Some(n) = n_of(&DUPLICATED_GRAMS, 5) else { return Vec::new() };
        let runs = view.repeated_runs(n);
        let words = view.placed_words();
        spans::gather(runs.into_iter().map(|word| words.place(word, n)))
    }
}

/// Wherever the most common n-gram occurs.
fn common_runs(view: &mut View<'_>, n: usize) -> Vec<Range<usize>> {
    let common = view.most_common(n);
    let words = view.placed_words();
    let starts = 0..(words.len() + 1).saturating_sub(n);
    let is_common = |&word: &usize| (0..n).all(|at| words.equal(common.word + at, word + at));
    spans::gather(starts.filter(is_common).map(|word| words.place(word, n)))
}

/// The share of the most common n-gram, as long as its words with a space between them, as often as
/// it occurs; or a greater one that keeps `limit`, where only a verdict is asked.
fn common_share(view: &mut View<'_>, n: usize, chars: usize, limit: f64) -> f64 {
    if !view.is_complete() {
        let bound = share(view.common_chars_bound(n), chars);
        if bound <= limit {
            return bound;
        }
    }
    let common = view.most_common(n);
    let words = view.words();
    let length = if common.count > 0 { words.chars(common.word, n) + n - 1 } else { 0 };
    share(length * common.count, chars)
}
