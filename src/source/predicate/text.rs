//! What conditions do with text: LIKE, ILIKE, regular expressions, lengths, lower case.
//!
//! In → SQL patterns and string arrays; out → conditions and arrays.
//! Method: a LIKE with a literal in one place is an equality or a search of arrow's; what is left
//! becomes a regular expression of the crate `regex`, whose time is linear in the text. `%` is any
//! run of characters, `_` any one code point, newlines included; there is no escape character
//! unless ESCAPE names one (as in the SQL standard, and in DuckDB). ILIKE ignores case by Unicode's
//! simple case folding (`ß` and `ẞ`, `σ`, `ς` and `Σ`, `k` and the Kelvin sign are equal; `İ` and
//! `i` are not).
//! Invariant: nothing depends on the compiler's Unicode tables: folding and classes (`\w`) are
//! those of regex-syntax, which `Cargo.lock` pins, lower case those of `text`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray, StringBuilder};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{contains, ends_with, starts_with};
use arrow::error::ArrowError;
use regex::Regex;

use crate::text;

/// A LIKE or a regular expression, compiled.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Equals(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
}

/// A piece of a LIKE pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// `_`
    One,
    /// `%`
    Run,
}

impl Pattern {
    /// A LIKE, or with `ignore_case` an ILIKE.
    ///
    /// # Errors
    /// What is wrong with the pattern, for a person.
    pub(super) fn like(
        pattern: &str,
        escape: Option<char>,
        ignore_case: bool,
    ) -> Result<Pattern, String> {
        let pieces = pieces(pattern, escape)?;
        if !ignore_case {
            match pieces.as_slice() {
                [] => return Ok(Pattern::Equals(String::new())),
                [Piece::Literal(text)] => return Ok(Pattern::Equals(text.clone())),
                [Piece::Literal(text), Piece::Run] => return Ok(Pattern::Prefix(text.clone())),
                [Piece::Run, Piece::Literal(text)] => return Ok(Pattern::Suffix(text.clone())),
                [Piece::Run, Piece::Literal(text), Piece::Run] => {
                    return Ok(Pattern::Contains(text.clone()));
                }
                _ => {}
            }
        }
        let mut regex = String::from(if ignore_case { "(?si)" } else { "(?s)" });
        let mut pieces = pieces.as_slice();
        // An open end needs no anchor, so that the search may begin at the literal.
        match pieces {
            [Piece::Run, rest @ ..] => pieces = rest,
            _ => regex += r"\A",
        }
        let (pieces, end) = match pieces {
            [rest @ .., Piece::Run] => (rest, ""),
            _ => (pieces, r"\z"),
        };
        for piece in pieces {
            match piece {
                Piece::Literal(text) => regex += &regex::escape(text),
                Piece::One => regex.push('.'),
                Piece::Run => regex += ".*",
            }
        }
        regex += end;
        Pattern::regex(&regex)
    }

    /// A regular expression that must match somewhere.
    ///
    /// # Errors
    /// What is wrong with the pattern, for a person.
    pub(super) fn regex(pattern: &str) -> Result<Pattern, String> {
        Regex::new(pattern).map(Pattern::Regex).map_err(|error| error.to_string())
    }

    /// For each text whether it matches; null is unknown. A regular expression is tried only where
    /// `wanted` is true.
    pub(super) fn matches(
        &self,
        texts: &StringArray,
        wanted: Option<&BooleanArray>,
    ) -> Result<BooleanArray, ArrowError> {
        let one = |text: &String| StringArray::new_scalar(text.as_str());
        match self {
            Pattern::Equals(text) => eq(texts, &one(text)),
            Pattern::Prefix(text) => starts_with(texts, &one(text)),
            Pattern::Suffix(text) => ends_with(texts, &one(text)),
            Pattern::Contains(text) => contains(texts, &one(text)),
            Pattern::Regex(regex) => {
                let matches = |row: usize| {
                    let is_wanted = wanted.is_none_or(|wanted| wanted.value(row));
                    is_wanted && texts.is_valid(row) && regex.is_match(texts.value(row))
                };
                let values = (0..texts.len()).map(matches).collect::<Vec<bool>>().into();
                Ok(BooleanArray::new(values, texts.nulls().cloned()))
            }
        }
    }
}

/// Cuts a pattern at its wildcards; neighbouring `%` are one.
fn pieces(pattern: &str, escape: Option<char>) -> Result<Vec<Piece>, String> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        let literal = match char {
            _ if Some(char) == escape => chars
                .next()
                .ok_or_else(|| format!("the pattern ends with its escape character `{char}`"))?,
            '%' => {
                if pieces.last() != Some(&Piece::Run) {
                    pieces.push(Piece::Run);
                }
                continue;
            }
            '_' => {
                pieces.push(Piece::One);
                continue;
            }
            _ => char,
        };
        match pieces.last_mut() {
            Some(Piece::Literal(text)) => text.push(literal),
            _ => pieces.push(Piece::Literal(literal.to_string())),
        }
    }
    Ok(pieces)
}

/// Code points of each text.
pub(super) fn length(texts: &StringArray) -> ArrayRef {
    // Every byte of UTF-8 but 10xxxxxx begins a code point.
    let points = |text: &str| text.bytes().filter(|byte| (*byte as i8) >= -0x40).count() as i64;
    let lengths = (0..texts.len()).map(|row| points(texts.value(row))).collect();
    Arc::new(Int64Array::new(lengths, texts.nulls().cloned()))
}

/// Bytes of each text.
pub(super) fn octet_length(texts: &StringArray) -> ArrayRef {
    let lengths = texts.value_offsets().windows(2).map(|pair| i64::from(pair[1] - pair[0]));
    Arc::new(Int64Array::new(lengths.collect(), texts.nulls().cloned()))
}

/// Each text in lower case, empty where `wanted` is not true.
pub(super) fn lower(texts: &StringArray, wanted: Option<&BooleanArray>) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(texts.len(), 0);
    let mut lowered = String::new();
    for row in 0..texts.len() {
        if texts.is_null(row) {
            builder.append_null();
            continue;
        }
        lowered.clear();
        if wanted.is_none_or(|wanted| wanted.value(row)) {
            text::lower(texts.value(row), &mut lowered);
        }
        builder.append_value(&lowered);
    }
    Arc::new(builder.finish())
}

/// The number a text spells, with ASCII white space around it; `None` for anything else.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim_ascii().parse().ok()
}
