//! Gopher's quality rules: is this a text of natural language at all?
//!
//! In: words and lines of a document. Out: ten measures. Reference: Rae et al. 2021, "Scaling
//! Language Models: Methods, Analysis & Insights from Training Gopher", section A1.1
//! (arXiv 2112.11446), with the order, the thresholds and the reading of datatrove 0.10
//! (`src/datatrove/pipeline/filters/gopher_quality_filter.py`), which made FineWeb. Its words count
//! each punctuation mark as one, so the share of words with a letter is far below what a reader
//! would say.
//! Invariant: verdict, rule and value equal datatrove's with the same words; only a mean over no
//! words, possible with `min_words = 0`, is NaN and drops where datatrove stops.
//! Cost: one pass over the words' keys, one over the lines and three searches for single symbols.

use super::{Entry, Measure, Report, RuleInfo, RuleSet, check_limits, optional, share, spans};
use crate::base::config;
use crate::base::error::{Error, Result};
use crate::filter::view::View;
use crate::filter::view::lines::python_lines;
use crate::filter::view::words::{CutWords, key_of};
use crate::text::is_white_space;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};

/// The line of the registry.
pub const ENTRY: Entry = Entry {
    name: "gopher_quality",
    summary: "drops what does not read like prose: too few or too many words, odd word lengths, \
              symbols, bullets, ellipses, words without letters, no stop words",
    reference: "Gopher (arXiv 2112.11446, A1.1) as in datatrove 0.10",
    rules: RULES,
    limits: None,
    build: |table| Ok(Box::new(GopherQuality::new(config::parse(table, "`gopher_quality`")?)?)),
};

/// The thresholds; a limit of 0 turns its rule off, as in the reference.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GopherQualityConfig {
    /// Fewest words that are more than punctuation. Gopher: 50.
    pub min_words: usize,
    /// Most words that are more than punctuation. Gopher: 100,000.
    pub max_words: usize,
    /// Least mean length of those words, in code points. Gopher: 3.
    pub min_mean_word_length: f64,
    /// Greatest mean length of those words, in code points. Gopher: 10.
    pub max_mean_word_length: f64,
    /// Most `#`, and most ellipses, for each word. Gopher: 0.1.
    pub max_symbols_per_word: f64,
    /// Greatest share of lines that begin with a bullet (`•` or `-`). Gopher: 0.9.
    pub max_bullet_lines: f64,
    /// Greatest share of lines that end with an ellipsis (`...` or `…`). Gopher: 0.3.
    pub max_ellipsis_lines: f64,
    /// Least share of words with a letter. Gopher: 0.8.
    pub min_words_with_letter: f64,
    /// How many different stop words must occur. Gopher: 2.
    pub min_stop_words: usize,
    /// The stop words, compared as they stand. Gopher: the eight below.
    pub stop_words: Vec<String>,
}

impl Default for GopherQualityConfig {
    fn default() -> GopherQualityConfig {
        let stop_words = ["the", "be", "to", "of", "and", "that", "have", "with"];
        GopherQualityConfig {
            min_words: 50,
            max_words: 100_000,
            min_mean_word_length: 3.0,
            max_mean_word_length: 10.0,
            max_symbols_per_word: 0.1,
            max_bullet_lines: 0.9,
            max_ellipsis_lines: 0.3,
            min_words_with_letter: 0.8,
            min_stop_words: 2,
            stop_words: stop_words.map(String::from).into(),
        }
    }
}

/// Gopher's rules with their thresholds.
pub struct GopherQuality {
    config: GopherQualityConfig,
    /// The keys of the stop words.
    stop_keys: Vec<u64>,
    /// Bit `b % 64` of entry `n`: a stop word of `n` bytes (7: or more) begins with byte `b`.
    stop_starts: [u64; 8],
}

/// The rules, as the reference calls them.
const SHORT_DOC: &str = "quality/gopher_short_doc";
const LONG_DOC: &str = "quality/gopher_long_doc";
const BELOW_MEAN: &str = "quality/gopher_below_avg_threshold";
const ABOVE_MEAN: &str = "quality/gopher_above_avg_threshold";
const HASHES: &str = "quality/gopher_too_many_hashes";
const ELLIPSIS: &str = "quality/gopher_too_many_ellipsis";
const BULLETS: &str = "quality/gopher_too_many_bullets";
const END_ELLIPSIS: &str = "quality/gopher_too_many_end_ellipsis";
const LETTERS: &str = "quality/gopher_below_alpha_threshold";
const STOP_WORDS: &str = "quality/gopher_enough_stop_words";

const RULES: &[RuleInfo] = &[
    RuleInfo::new(SHORT_DOC, "min_words", "words that are more than punctuation"),
    RuleInfo::new(LONG_DOC, "max_words", "words that are more than punctuation"),
    RuleInfo::new(BELOW_MEAN, "min_mean_word_length", MEAN),
    RuleInfo::new(ABOVE_MEAN, "max_mean_word_length", MEAN),
    RuleInfo::new(HASHES, "max_symbols_per_word", "`#` for each word"),
    RuleInfo::new(ELLIPSIS, "max_symbols_per_word", "ellipses for each word"),
    RuleInfo::new(BULLETS, "max_bullet_lines", "lines that begin with a bullet"),
    RuleInfo::new(END_ELLIPSIS, "max_ellipsis_lines", "lines that end in an ellipsis"),
    RuleInfo::new(LETTERS, "min_words_with_letter", "words with a letter"),
    RuleInfo::new(STOP_WORDS, "min_stop_words", "different stop words in the text"),
];
const MEAN: &str = "mean length of words that are more than punctuation";

impl GopherQuality {
    /// Checks limits and stop words.
    pub fn new(mut config: GopherQualityConfig) -> Result<GopherQuality> {
        check_limits(
            "gopher_quality",
            &[
                ("min_mean_word_length", config.min_mean_word_length),
                ("max_mean_word_length", config.max_mean_word_length),
                ("max_symbols_per_word", config.max_symbols_per_word),
                ("max_bullet_lines", config.max_bullet_lines),
                ("max_ellipsis_lines", config.max_ellipsis_lines),
                ("min_words_with_letter", config.min_words_with_letter),
            ],
        )?;
        config.stop_words.sort();
        config.stop_words.dedup();
        let mut stop_starts = [0; 8];
        for word in &config.stop_words {
            let first = *word.as_bytes().first().ok_or_else(|| {
                Error::config("`gopher_quality.stop_words` has an empty word")
                    .with_hint("no word of a text is empty; leave it out")
            })?;
            stop_starts[word.len().min(7)] |= 1 << (first % 64);
        }
        let stop_keys = config.stop_words.iter().map(|word| key_of(word)).collect();
        Ok(GopherQuality { config, stop_keys, stop_starts })
    }

    /// How many different stop words occur; the count stops at `enough`.
    fn count_stop_words(&self, words: &CutWords, enough: usize) -> usize {
        let mut found = vec![false; self.stop_keys.len()];
        let mut count = 0;
        words.try_each(|word, key| {
            // A key below 2^63 tells length and first byte of its word.
            let length = if key >> 63 == 0 { (key >> 56) as usize } else { 7 };
            let first = if length < 7 { key & 63 } else { u64::from(words.bytes(word, 1)[0] % 64) };
            if self.stop_starts[length] >> first & 1 == 0 {
                return ControlFlow::Continue(());
            }
            let is_stop = |&index: &usize| {
                self.stop_keys[index] == key
                    && words.bytes(word, 1) == self.config.stop_words[index].as_bytes()
            };
            if let Some(index) = (0..found.len()).find(is_stop).filter(|&index| !found[index]) {
                found[index] = true;
                count += 1;
            }
            if count < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        count
    }

    fn measure_symbols(
        &self,
        view: &View<'_>,
        words: usize,
        report: &mut Report<'_>,
    ) -> ControlFlow<()> {
        let text = view.text().as_bytes();
        let limit = optional(self.config.max_symbols_per_word);
        let hashes = memchr::memchr_iter(b'#', text).count();
        report(Measure::at_most(HASHES, share(hashes, words), limit))?;
        let ellipses = ELLIPSES.iter().map(|sign| memmem::find_iter(text, sign).count()).sum();
        report(Measure::at_most(ELLIPSIS, share(ellipses, words), limit))
    }

    fn measure_lines(&self, view: &View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let (mut lines, mut bullets, mut trailing) = (0, 0, 0);
        for line in python_lines(view.text()) {
            lines += 1;
            bullets += usize::from(has_bullet(line));
            trailing += usize::from(trails_off(line));
        }
        let limit = optional(self.config.max_bullet_lines);
        report(Measure::at_most(BULLETS, share(bullets, lines), limit))?;
        let limit = optional(self.config.max_ellipsis_lines);
        report(Measure::at_most(END_ELLIPSIS, share(trailing, lines), limit))
    }
}

impl RuleSet for GopherQuality {
    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let config = &self.config;
        let words = view.words().len();
        let totals = view.totals();
        let substantial = totals.substantial as f64;
        let most_words = optional(config.max_words as f64);
        report(Measure::at_least(SHORT_DOC, substantial, config.min_words as f64))?;
        report(Measure::at_most(LONG_DOC, substantial, most_words))?;
        let mean = share(totals.substantial_chars, totals.substantial);
        let most_chars = optional(config.max_mean_word_length);
        report(Measure::at_least(BELOW_MEAN, mean, config.min_mean_word_length))?;
        report(Measure::at_most(ABOVE_MEAN, mean, most_chars))?;
        self.measure_symbols(view, words, report)?;
        self.measure_lines(view, report)?;
        let letters = share(totals.with_letter, words);
        report(Measure::at_least(LETTERS, letters, config.min_words_with_letter))?;
        let enough = if view.is_complete() { usize::MAX } else { config.min_stop_words.max(1) };
        let found = self.count_stop_words(view.words(), enough);
        report(Measure::at_least(STOP_WORDS, found as f64, config.min_stop_words as f64))
    }

    /// Signs, whole lines, words.
    fn spans(&self, rule: &str, view: &mut View<'_>) -> Vec<Range<usize>> {
        let lines = |text: &str, holds: fn(&str) -> bool| {
            let lines = python_lines(text).filter(|line| holds(line));
            spans::gather(lines.map(|line| spans::place(text, line)))
        };
        match rule {
            HASHES => spans::of_signs(view.text(), &["#"]),
            ELLIPSIS => spans::of_signs(view.text(), &ELLIPSES),
            BULLETS => lines(view.text(), has_bullet),
            END_ELLIPSIS => lines(view.text(), trails_off),
            LETTERS => {
                let words = view.placed_words();
                let without = (0..words.len()).filter(|&word| !words.has_letter(word));
                spans::gather(without.map(|word| words.place(word, 1)))
            }
            _ => Vec::new(),
        }
    }
}

const ELLIPSES: [&str; 2] = ["...", "…"];

fn has_bullet(line: &str) -> bool {
    line.trim_start_matches(is_white_space).starts_with(['•', '-'])
}

fn trails_off(line: &str) -> bool {
    let end = line.trim_end_matches(is_white_space);
    ELLIPSES.iter().any(|sign| end.ends_with(sign))
}
