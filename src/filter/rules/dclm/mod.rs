//! DCLM-baseline's heuristics, a reading of RefinedWeb's, with its line modifiers.
//!
//! In: a document. Out: the text without addresses in it, blank lines in a row, and lines that a
//! page shows around its text; measures. Reference: Li et al. 2024, "DataComp-LM" (arXiv
//! 2406.11794), in its own code: `baselines/mappers` and the order and values of
//! `baselines/baselines_configs/dclm_baseline_refinedweb.yaml` at commit 361714b, without its URL
//! lists and its language step, which are rules of their own (`url_lists`) or a stage's.
//! Three notions of word are its own: runs between ASCII white space that begin with a letter or
//! digit (fastText's, for lengths), runs without white space (for means and symbols), and Unicode's
//! (UAX 29, for repetition). Every copy of a line counts, the first too.
//! Invariants: verdict and edited text equal the reference's; it names no rule, so that the names
//! here are its functions'. Cost: about a dozen passes over the text.

mod lines;
#[rustfmt::skip]
mod tlds;
mod urls;

use super::{Entry, Limit, Measure, Report, RuleInfo, RuleSet, share, spans};
use crate::base::config;
use crate::filter::view::lines::strip;
use crate::filter::view::words::CutWords;
use crate::filter::view::{Edit, Spare, View};
use crate::text::count_chars;
use crate::text::words::Span;
use crate::text::{is_letter, is_white_space, is_word, lower};
use memchr::memmem;
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};
use unicode_segmentation::UnicodeSegmentation;

/// The line of the registry.
pub const ENTRY: Entry = Entry {
    name: "dclm",
    summary: "edits and drops as DCLM-baseline does before its deduplication: addresses in the \
              text, lengths, symbols, repetition, lines around the text",
    reference: "DataComp-LM (arXiv 2406.11794), its code at 361714b",
    rules: RULES,
    limits: None,
    build: |table| Ok(Box::new(Dclm::new(config::parse(table, "`dclm`")?)?)),
};

/// The rules, as the reference calls them.
const SHORT: &str = "dclm/page_length_filter.min_length";
const LONG: &str = "dclm/page_length_filter.max_length";
const BELOW_MEAN: &str = "dclm/word_length_filter.min_length";
const ABOVE_MEAN: &str = "dclm/word_length_filter.max_length";
const SIGNS: &str = "dclm/symbol_ratio_filter";
const BULLETS: &str = "dclm/bullet_count_filter";
const ELLIPSES: &str = "dclm/ellipsis_count_filter";
const LETTERS: &str = "dclm/alphabetic_word_ratio_filter";
const STOP_WORDS: &str = "dclm/stop_word_filter";
const LINES: &str = "dclm/repetition_filter.line";
const PARAGRAPHS: &str = "dclm/repetition_filter.paragraph";
const LINE_CHARS: &str = "dclm/repetition_filter.line_chars";
const PARAGRAPH_CHARS: &str = "dclm/repetition_filter.paragraph_chars";
const MODIFIED: &str = "dclm/line_modifiers";
const REMOVED: &str = "dclm/word_removal_ratio_filter";
/// Runs of n = 2 to 10 words.
const RUNS: [&str; 9] = [
    "dclm/repetition_filter.2",
    "dclm/repetition_filter.3",
    "dclm/repetition_filter.4",
    "dclm/repetition_filter.5",
    "dclm/repetition_filter.6",
    "dclm/repetition_filter.7",
    "dclm/repetition_filter.8",
    "dclm/repetition_filter.9",
    "dclm/repetition_filter.10",
];

const RULES: &[RuleInfo] = &[
    RuleInfo::new(SHORT, "min_words", "words"),
    RuleInfo::new(LONG, "max_words", "words"),
    RuleInfo::new(BELOW_MEAN, "min_mean_word_length", MEAN),
    RuleInfo::new(ABOVE_MEAN, "max_mean_word_length", MEAN),
    RuleInfo::new(SIGNS, "max_symbols_per_word", "`#`, ellipses for each word"),
    RuleInfo::new(BULLETS, "max_bullet_lines", "lines with a bullet"),
    RuleInfo::new(ELLIPSES, "max_ellipsis_lines", "lines with an ellipsis"),
    RuleInfo::new(LETTERS, "max_words_without_letter", "such words"),
    RuleInfo::new(STOP_WORDS, "min_stop_words", "stop words, each time they occur"),
    RuleInfo::new(LINES, "max_repeated_lines", "lines"),
    RuleInfo::new(PARAGRAPHS, "max_repeated_paragraphs", "paragraphs"),
    RuleInfo::new(LINE_CHARS, "max_repeated_line_chars", "characters"),
    RuleInfo::new(PARAGRAPH_CHARS, "max_repeated_paragraph_chars", "characters"),
    RuleInfo::new(RUNS[0], "max_common_2_gram", COMMON),
    RuleInfo::new(RUNS[1], "max_common_3_gram", COMMON),
    RuleInfo::new(RUNS[2], "max_common_4_gram", COMMON),
    RuleInfo::new(RUNS[3], "max_repeated_5_grams", REPEATED),
    RuleInfo::new(RUNS[4], "max_repeated_6_grams", REPEATED),
    RuleInfo::new(RUNS[5], "max_repeated_7_grams", REPEATED),
    RuleInfo::new(RUNS[6], "max_repeated_8_grams", REPEATED),
    RuleInfo::new(RUNS[7], "max_repeated_9_grams", REPEATED),
    RuleInfo::new(RUNS[8], "max_repeated_10_grams", REPEATED),
    RuleInfo::fixed(MODIFIED, "characters that the line modifiers leave"),
    RuleInfo::new(REMOVED, "max_removed_words", "words that went"),
];
const MEAN: &str = "mean length of words";
const COMMON: &str = "characters in the most common run of so many words";
const REPEATED: &str = "characters in repeated runs of so many words";

/// The thresholds of `dclm_baseline_refinedweb.yaml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DclmConfig {
    /// Cuts addresses out of the text.
    pub remove_urls: bool,
    /// Most `\n` in a row; a longer run is cut to this length.
    pub max_consecutive_newlines: usize,
    pub min_words: usize,
    pub max_words: usize,
    pub min_mean_word_length: f64,
    pub max_mean_word_length: f64,
    pub max_symbols_per_word: f64,
    pub max_bullet_lines: f64,
    pub max_ellipsis_lines: f64,
    pub max_words_without_letter: f64,
    pub min_stop_words: usize,
    pub max_repeated_lines: f64,
    pub max_repeated_paragraphs: f64,
    pub max_repeated_line_chars: f64,
    pub max_repeated_paragraph_chars: f64,
    pub max_common_2_gram: f64,
    pub max_common_3_gram: f64,
    pub max_common_4_gram: f64,
    pub max_repeated_5_grams: f64,
    pub max_repeated_6_grams: f64,
    pub max_repeated_7_grams: f64,
    pub max_repeated_8_grams: f64,
    pub max_repeated_9_grams: f64,
    pub max_repeated_10_grams: f64,
    /// Greatest share of capitals in a line that stays.
    pub max_uppercase_line: f64,
    /// Greatest share of digits in a line that stays.
    pub max_numeric_line: f64,
    /// Takes lines such as `3 likes` out.
    pub remove_counters: bool,
    /// Fewest words of a line that stays, blank lines apart.
    pub min_words_per_line: usize,
    /// Most words of a line that is searched for phrases of web pages.
    pub max_phrase_line_words: usize,
    /// Greatest share of words that the line modifiers may take.
    pub max_removed_words: f64,
}

impl Default for DclmConfig {
    fn default() -> DclmConfig {
        DclmConfig {
            remove_urls: true,
            max_consecutive_newlines: 2,
            min_words: 50,
            max_words: 100_000,
            min_mean_word_length: 3.0,
            max_mean_word_length: 10.0,
            max_symbols_per_word: 0.1,
            max_bullet_lines: 0.9,
            max_ellipsis_lines: 0.3,
            max_words_without_letter: 0.2,
            min_stop_words: 2,
            max_repeated_lines: 0.3,
            max_repeated_paragraphs: 0.3,
            max_repeated_line_chars: 0.2,
            max_repeated_paragraph_chars: 0.2,
            max_common_2_gram: 0.2,
            max_common_3_gram: 0.18,
            max_common_4_gram: 0.16,
            max_repeated_5_grams: 0.15,
            max_repeated_6_grams: 0.14,
            max_repeated_7_grams: 0.13,
            max_repeated_8_grams: 0.12,
            max_repeated_9_grams: 0.11,
            max_repeated_10_grams: 0.10,
            max_uppercase_line: 0.5,
            max_numeric_line: 0.999_999,
            remove_counters: true,
            min_words_per_line: 2,
            max_phrase_line_words: 10,
            max_removed_words: 0.05,
        }
    }
}

impl DclmConfig {
    /// Limits of the repetition measures for n = 2 to 10.
    fn runs(&self) -> [f64; 9] {
        [
            self.max_common_2_gram,
            self.max_common_3_gram,
            self.max_common_4_gram,
            self.max_repeated_5_grams,
            self.max_repeated_6_grams,
            self.max_repeated_7_grams,
            self.max_repeated_8_grams,
            self.max_repeated_9_grams,
            self.max_repeated_10_grams,
        ]
    }
}

/// DCLM-baseline's heuristics with their thresholds.
pub struct Dclm {
    config: DclmConfig,
}

/// What white-space words say.
#[derive(Default)]
struct Counts {
    words: usize,
    chars: usize,
    without_letter: usize,
    stop_words: usize,
}

impl Dclm {
    /// Checks the limits.
    pub fn new(config: DclmConfig) -> crate::base::error::Result<Dclm> {
        let mut limits = vec![
            ("min_mean_word_length", config.min_mean_word_length),
            ("max_mean_word_length", config.max_mean_word_length),
            ("max_symbols_per_word", config.max_symbols_per_word),
            ("max_bullet_lines", config.max_bullet_lines),
            ("max_ellipsis_lines", config.max_ellipsis_lines),
            ("max_words_without_letter", config.max_words_without_letter),
            ("max_repeated_lines", config.max_repeated_lines),
            ("max_repeated_paragraphs", config.max_repeated_paragraphs),
            ("max_repeated_line_chars", config.max_repeated_line_chars),
            ("max_repeated_paragraph_chars", config.max_repeated_paragraph_chars),
            ("max_uppercase_line", config.max_uppercase_line),
            ("max_numeric_line", config.max_numeric_line),
            ("max_removed_words", config.max_removed_words),
        ];
        let key_of = |run: &str| RULES.iter().find(|info| info.rule == run)?.key;
        limits.extend(RUNS.into_iter().filter_map(key_of).zip(config.runs()));
        super::check_limits("dclm", &limits)?;
        Ok(Dclm { config })
    }

    fn clean(&self, view: &mut View<'_>) {
        let config = &self.config;
        view.edit(|text, draft| {
            let mut named = String::new();
            if config.remove_urls {
                urls::remove(text, &mut named);
            } else {
                named.push_str(text);
            }
            push_with_few_newlines(&named, config.max_consecutive_newlines, draft.text);
            Edit::Take(())
        });
    }

    fn measure_words(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let config = &self.config;
        let text = view.text();
        let mut at = |rule, value: f64, limit: Limit| report(Measure { rule, value, limit });
        let words = length_words(text) as f64;
        at(SHORT, words, Limit::AtLeast(config.min_words as f64))?;
        at(LONG, words, Limit::AtMost(config.max_words as f64))?;
        let counts = count(text);
        let mean = share(counts.chars, counts.words);
        at(BELOW_MEAN, mean, Limit::AtLeast(config.min_mean_word_length))?;
        at(ABOVE_MEAN, mean, Limit::AtMost(config.max_mean_word_length))?;
        let occur = |sign: &&str| memmem::find_iter(text.as_bytes(), sign.as_bytes()).count();
        let symbols = SYMBOLS.iter().map(occur).sum::<usize>();
        at(SIGNS, share(symbols, counts.words), Limit::AtMost(config.max_symbols_per_word))?;
        let (mut lines, mut bullets, mut trailing) = (0, 0, 0);
        for line in stripped_pieces(text, "\n") {
            lines += 1;
            bullets += usize::from(has_bullet(line));
            trailing += usize::from(trails_off(line));
        }
        // The reference compares counts: limit times lines, which may round to another answer.
        let most = |part: usize, limit: f64| {
            let value = share(part, lines);
            let product = limit * lines as f64;
            let breaks = part as f64 > product;
            let limit = match breaks == (value > limit) {
                true => limit,
                false => {
                    if breaks {
                        value.next_down()
                    } else {
                        value
                    }
                }
            };
            (value, Limit::AtMost(limit))
        };
        let (value, limit) = most(bullets, config.max_bullet_lines);
        at(BULLETS, value, limit)?;
        let (value, limit) = most(trailing, config.max_ellipsis_lines);
        at(ELLIPSES, value, limit)?;
        let without = share(counts.without_letter, counts.words);
        at(LETTERS, without, Limit::AtMost(config.max_words_without_letter))?;
        at(STOP_WORDS, counts.stop_words as f64, Limit::AtLeast(config.min_stop_words as f64))
    }

    fn measure_repetition(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let config = &self.config;
        let (text, spare) = view.spare();
        let mut most = |rule, value: f64, limit: f64| report(Measure::at_most(rule, value, limit));
        let (lines, line_chars) = repeated_pieces(text, "\n", spare);
        let (paragraphs, paragraph_chars) = repeated_pieces(text, "\n\n", spare);
        most(LINES, lines, config.max_repeated_lines)?;
        most(PARAGRAPHS, paragraphs, config.max_repeated_paragraphs)?;
        most(LINE_CHARS, line_chars, config.max_repeated_line_chars)?;
        most(PARAGRAPH_CHARS, paragraph_chars, config.max_repeated_paragraph_chars)?;
        let Spare { words, runs, .. } = spare;
        lay_unicode_words(text, words);
        let chars = words.chars(0, words.len());
        for ((n, rule), limit) in (2..).zip(RUNS).zip(config.runs()) {
            if n == 2 {
                runs.begin(words);
            } else {
                runs.lengthen();
            }
            let found = if n < 5 { runs.most_common(words) } else { runs.repeated(words) };
            let found = if found == 0 { 0.0 } else { share(found, chars) };
            most(rule, found, limit)?;
        }
        ControlFlow::Continue(())
    }

    fn measure_lines(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let config = &self.config;
        let before = length_words(view.text());
        view.edit(|text, draft| {
            draft.text.push_str(&lines::modify(config, text));
            Edit::Take(())
        });
        let left = view.chars() as f64;
        report(Measure::at_least(MODIFIED, left, 1.0))?;
        let after = length_words(view.text());
        let removed = (before as f64 - after as f64) / before as f64;
        report(Measure::at_most(REMOVED, removed, config.max_removed_words))
    }
}

impl RuleSet for Dclm {
    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        self.clean(view);
        self.measure_words(view, report)?;
        self.measure_repetition(view, report)?;
        self.measure_lines(view, report)
    }

    fn edits(&self) -> bool {
        true
    }

    /// Signs, stripped lines, words, all copies, and runs of words from the first to the last.
    fn spans(&self, rule: &str, view: &mut View<'_>) -> Vec<Range<usize>> {
        let (text, spare) = view.spare();
        let lines = |holds: fn(&str) -> bool| {
            let lines = stripped_pieces(text, "\n").filter(|line| holds(line));
            spans::gather(lines.map(|line| spans::place(text, line)))
        };
        let mut repeated = |separator: &str| {
            let pieces = stripped_pieces(text, separator).map(|piece| spans::place(text, piece));
            let pieces = pieces.map(|place| (place.start, place.end));
            spans::gather(spare.finder.repeated(text, pieces))
        };
        match rule {
            SIGNS => spans::of_signs(text, &SYMBOLS),
            BULLETS => lines(has_bullet),
            ELLIPSES => lines(trails_off),
            LETTERS => {
                let without = white_space_words(text).filter(|word| !has_letter(word));
                spans::gather(without.map(|word| spans::place(text, word)))
            }
            LINES | LINE_CHARS => repeated("\n"),
            PARAGRAPHS | PARAGRAPH_CHARS => repeated("\n\n"),
            _ => match RUNS.iter().position(|run| *run == rule) {
                Some(at) => runs_of(text, at + 2, spare),
                None => Vec::new(),
            },
        }
    }
}

/// The runs of `n` words that [`Dclm::measure_repetition`] counts.
fn runs_of(text: &str, n: usize, spare: &mut Spare) -> Vec<Range<usize>> {
    let Spare { words, runs, .. } = spare;
    lay_unicode_words(text, words);
    // A giant's places are given back.
    unicode_words(text, &mut words.spans);
    runs.begin(words);
    (2..n).for_each(|_| runs.lengthen());
    let place = |word: usize| words.place(word, n);
    match n {
        2..=4 => spans::gather(runs.most_common_runs(words).map(place)),
        _ => spans::gather(runs.repeated_runs().map(place)),
    }
}

const SYMBOLS: [&str; 4] = ["#", "...", ". . .", "\u{2026}"];

/// Pieces between `separator`s, stripped, those that are not empty.
fn stripped_pieces<'t>(text: &'t str, separator: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(separator).map(strip).filter(|piece| !piece.is_empty())
}

fn has_bullet(line: &str) -> bool {
    line.starts_with(['●', '•', '*', '-'])
}

fn trails_off(line: &str) -> bool {
    ["...", ". . .", "\u{2026}"].iter().any(|end| line.ends_with(end))
}

fn white_space_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_white_space).filter(|word| !word.is_empty())
}

fn has_letter(word: &str) -> bool {
    word.chars().any(is_letter)
}

/// Appends `text` with at most `most` `\n` in a row.
fn push_with_few_newlines(text: &str, most: usize, out: &mut String) {
    let mut run = 0;
    let mut copied = 0;
    for at in memchr::memchr_iter(b'\n', text.as_bytes()) {
        run = if at > 0 && text.as_bytes()[at - 1] == b'\n' { run + 1 } else { 1 };
        if run > most {
            out.push_str(&text[copied..at]);
            copied = at + 1;
        }
    }
    out.push_str(&text[copied..]);
}

/// Words between ASCII white space and NUL, fastText's, that begin with a letter or digit.
fn length_words(text: &str) -> usize {
    let is_gap = |char: char| matches!(char, ' ' | '\n' | '\r' | '\t' | '\u{b}' | '\u{c}' | '\0');
    let opens = |word: &&str| word.starts_with(|char| is_word(char) && char != '_');
    text.split(is_gap).filter(opens).count()
}

/// Counts over white-space words.
fn count(text: &str) -> Counts {
    const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];
    let (mut counts, mut small) = (Counts::default(), String::new());
    for word in white_space_words(text) {
        counts.words += 1;
        counts.chars += count_chars(word.as_bytes());
        counts.without_letter += usize::from(!has_letter(word));
        if (2..=5).contains(&word.len()) {
            small.clear();
            lower(word, &mut small);
            counts.stop_words += usize::from(STOP_WORDS.contains(&small.as_str()));
        }
    }
    counts
}

/// Shares of pieces between `separator`s, stripped and not empty, that occur twice: by count and by
/// characters. One piece has nothing to repeat; none is all repetition, which the reference drops.
fn repeated_pieces(text: &str, separator: &str, spare: &mut Spare) -> (f64, f64) {
    let mut chars = 0;
    let pieces = stripped_pieces(text, separator).map(|piece| {
        chars += count_chars(piece.as_bytes());
        let place = spans::place(text, piece);
        (place.start, place.end)
    });
    let found = spare.finder.count(text, pieces);
    match found.pieces {
        0 => (f64::NAN, f64::NAN),
        1 => (0.0, 0.0),
        pieces => (
            share(found.copies + found.copied, pieces),
            share(found.copied_chars + found.first_chars, chars),
        ),
    }
}

/// Lays [`unicode_words`] end to end.
fn lay_unicode_words(text: &str, words: &mut CutWords) {
    unicode_words(text, &mut words.spans);
    words.lay(text);
}

/// Words of UAX 29 that begin with a letter or digit.
fn unicode_words(text: &str, spans: &mut Vec<Span>) {
    spans.clear();
    let words = text.split_word_bound_indices();
    let opens = |word: &str| word.starts_with(|char| is_word(char) && char != '_');
    spans.extend(
        words
            .filter(|(_, word)| opens(word))
            .map(|(start, word)| Span { start: start as u32, end: (start + word.len()) as u32 }),
    );
}
