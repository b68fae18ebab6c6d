//! Lines and paragraphs as the references split them, and how many repeat an earlier one.
//!
//! In: a text. Out: pieces in order; [`Duplicates`]. Three notions of line live here because the
//! references differ: Python's `str.splitlines()` ([`python_lines`]), pieces between runs of `\n`
//! ([`pieces`]: `re.split("\n+")`, `re.split("\n{2,}")`) and pieces between single `\n`s that are
//! not blank ([`filled_lines`]).
//! Invariants: pieces are equal when their bytes are; hashes only find candidates. Cost: one
//! search for `\n` and one hash of the text; no memory a line once the buffers have grown.

use super::giants::{GIANT, Pieces};
use super::places::Places;
use super::table::Table;
use crate::text::bits::Bits;
use crate::text::{count_chars, is_white_space};
use memchr::{memchr, memchr_iter, memmem};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// The copies among some pieces: how many, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// All pieces, empty ones included.
    pub pieces: usize,
    /// Second and later copies.
    pub copies: usize,
    /// Code points in those copies.
    pub copied_chars: usize,
    /// First copies of pieces that occur again.
    pub copied: usize,
    /// Code points in those first copies.
    pub first_chars: usize,
}

/// Buffers for finding duplicates, reused from document to document.
#[derive(Default)]
pub struct Finder {
    table: Table,
    pieces: Vec<(u32, u32)>,
    /// For each piece, whether it has a copy further on.
    is_copied: Vec<bool>,
}

impl Finder {
    /// Counts duplicates among pieces of `text`, given as byte ranges.
    pub fn count(
        &mut self,
        text: &str,
        pieces: impl Iterator<Item = (usize, usize)>,
    ) -> Duplicates {
        if text.len() >= GIANT {
            return count_in_giant(text, pieces);
        }
        let mut found = Duplicates::default();
        self.walk(text, pieces, |copy, is_new| {
            let chars = count_chars(&text.as_bytes()[copy]);
            found.copies += 1;
            found.copied_chars += chars;
            if is_new {
                found.copied += 1;
                found.first_chars += chars;
            }
        });
        Duplicates { pieces: self.pieces.len(), ..found }
    }

    /// The second and later copies among pieces of `text`, in order.
    pub fn copies(
        &mut self,
        text: &str,
        pieces: impl Iterator<Item = (usize, usize)>,
    ) -> Vec<Range<usize>> {
        let mut copies = Vec::new();
        self.walk(text, pieces, |copy, _| copies.push(copy));
        copies
    }

    /// All pieces of `text` that have an equal, in order.
    pub fn repeated(
        &mut self,
        text: &str,
        pieces: impl Iterator<Item = (usize, usize)>,
    ) -> Vec<Range<usize>> {
        let mut repeated = self.copies(text, pieces);
        let firsts = self.pieces.iter().zip(&self.is_copied).filter(|(_, is_copied)| **is_copied);
        repeated.extend(firsts.map(|(&(start, end), _)| start as usize..end as usize));
        repeated.sort_unstable_by_key(|piece| (piece.start, piece.end));
        repeated
    }

    /// Calls `each` with every second and later copy, and whether it is the second.
    fn walk(
        &mut self,
        text: &str,
        pieces: impl Iterator<Item = (usize, usize)>,
        mut each: impl FnMut(Range<usize>, bool),
    ) {
        let bytes = text.as_bytes();
        self.pieces.clear();
        self.pieces.extend(pieces.map(|(start, end)| (start as u32, end as u32)));
        let all = &self.pieces;
        self.is_copied.clear();
        self.is_copied.resize(all.len(), false);
        if all.len() < 2 {
            return;
        }
        self.table.clear(all.len());
        let range = |number: u32| {
            let (start, end) = all[number as usize];
            start as usize..end as usize
        };
        for number in 0..all.len() as u32 {
            let own = &bytes[range(number)];
            let equal = |other: u32| &bytes[range(other)] == own;
            let first = self.table.first(xxh3_64(own), number, equal);
            if first != number {
                let is_new = !std::mem::replace(&mut self.is_copied[first as usize], true);
                each(range(number), is_new);
            }
        }
    }
}

/// As [`Finder::count`], for giants, with no more memory a piece than some bits.
fn count_in_giant(text: &str, pieces: impl Iterator<Item = (usize, usize)>) -> Duplicates {
    let (things, starts, count) = Pieces::new(text, pieces);
    let mut found = Duplicates { pieces: count, ..Duplicates::default() };
    let (mut table, mut is_copied) = (Places::new(false), Bits::new(text.len() + 1));
    for place in starts.from(0) {
        let (first, _) = table.first(&things, place);
        if first != place {
            let chars = count_chars(things.piece(place));
            found.copies += 1;
            found.copied_chars += chars;
            if !is_copied.has(first) {
                is_copied.insert(first);
                found.copied += 1;
                found.first_chars += chars;
            }
        }
    }
    found
}

/// Byte ranges of the pieces between runs of at least `least` `\n`, empty first and last pieces
/// included: Python's `re.split("\n{least,}", text)`.
pub fn pieces(text: &str, least: usize) -> impl Iterator<Item = (usize, usize)> {
    let bytes = text.as_bytes();
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let mut at = start;
        loop {
            let Some(found) = memchr(b'\n', &bytes[at..]) else {
                next = None;
                return Some((start, bytes.len()));
            };
            let run = at + found;
            at = run + bytes[run..].iter().take_while(|&&byte| byte == b'\n').count();
            if at - run >= least {
                next = Some(at);
                return Some((start, run));
            }
        }
    })
}

/// Byte ranges of the lines between `\n`s that are not only white space, unstripped.
pub fn filled_lines(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    memchr_iter(b'\n', text.as_bytes())
        .chain([text.len()])
        .map(move |end| (std::mem::replace(&mut start, end + 1), end))
        .filter(move |&(start, end)| !text[start..end].chars().all(is_white_space))
}

/// Python's `text.splitlines()`.
pub fn python_lines(text: &str) -> impl Iterator<Item = &str> {
    let only_line_feeds = !has_rare_breaks(text);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (end, next) = if only_line_feeds {
            let end = memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
            (end, end + 1)
        } else {
            first_break(rest)
        };
        let line = &rest[..end];
        rest = rest.get(next..).unwrap_or_default();
        Some(line)
    })
}

/// The end of the first line, and the beginning of the next.
fn first_break(text: &str) -> (usize, usize) {
    match text.char_indices().find(|&(_, char)| is_line_break(char)) {
        None => (text.len(), text.len()),
        Some((end, '\r')) if text.as_bytes().get(end + 1) == Some(&b'\n') => (end, end + 2),
        Some((end, char)) => (end, end + char.len_utf8()),
    }
}

/// Whether the text may have line ends other than `\n`.
fn has_rare_breaks(text: &str) -> bool {
    let is_rare = |byte: u8| byte.wrapping_sub(0x0b) < 3 || byte.wrapping_sub(0x1c) < 3;
    let rare = |found: u8, &byte: &u8| found | u8::from(is_rare(byte));
    text.as_bytes().chunks(1024).any(|block| block.iter().fold(0, rare) != 0)
        || (!text.is_ascii()
            && ['\u{85}', '\u{2028}', '\u{2029}'].iter().any(|char| {
                memmem::find(text.as_bytes(), char.encode_utf8(&mut [0; 4]).as_bytes()).is_some()
            }))
}

/// Whether Python's `str.splitlines()` splits at this character.
fn is_line_break(char: char) -> bool {
    let code = char as u32;
    matches!(code, 0x0a..=0x0d | 0x1c..=0x1e | 0x85 | 0x2028 | 0x2029)
}

/// Python's `text.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_white_space)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(text: &str, ranges: impl Iterator<Item = (usize, usize)>) -> Vec<&str> {
        ranges.map(|(start, end)| &text[start..end]).collect()
    }

    #[test]
    fn pieces_are_those_of_pythons_split() {
        for (text, least, expected) in [
            ("", 1, vec![""]),
            ("\n", 1, vec!["", ""]),
            ("a\n\n\nb\nc\n", 1, vec!["a", "b", "c", ""]),
            ("a\n\n\nb\nc\n", 2, vec!["a", "b\nc\n"]),
            ("\n\n\n", 2, vec!["", ""]),
            ("\na\n\n", 2, vec!["\na", ""]),
        ] {
            assert_eq!(texts(text, pieces(text, least)), expected, "{text:?}");
        }
    }

    #[test]
    fn copies_count_from_the_second_on_in_code_points() {
        let text = "ab\n ab\nab\n\n \n\nüü\nab\nüü";
        let found = Finder::default().count(text, filled_lines(text));
        assert_eq!((found.pieces, found.copies, found.copied_chars), (6, 3, 6));
        assert_eq!((found.copied, found.first_chars), (2, 4));
        let found = Finder::default().count("\na\n", pieces("\na\n", 1));
        assert_eq!((found.pieces, found.copies, found.copied_chars), (3, 1, 0));
    }

    #[test]
    fn lines_are_those_of_splitlines() {
        let lines = |text| python_lines(text).collect::<Vec<_>>();
        assert_eq!(lines(""), Vec::<&str>::new());
        assert_eq!(lines("a\n\nb\n"), ["a", "", "b"]);
        assert_eq!(
            lines("a\r\nb\rc\u{b}d\u{1e}\u{85}e\u{2029}f\u{1f}g"),
            ["a", "b", "c", "d", "", "e", "f\u{1f}g"]
        );
    }

    proptest! {
        #[test]
        fn duplicates_are_those_of_a_set(text in "[abü \n]{0,80}") {
            let mut seen = std::collections::BTreeSet::new();
            let lines = text.split('\n').filter(|line| !line.trim().is_empty());
            let repeated: Vec<&str> = lines.clone().filter(|line| !seen.insert(*line)).collect();
            let found = Finder::default().count(&text, filled_lines(&text));
            prop_assert_eq!(found.pieces, lines.count());
            prop_assert_eq!(found.copies, repeated.len());
            let chars = repeated.iter().map(|line| line.chars().count()).sum::<usize>();
            prop_assert_eq!(found.copied_chars, chars);
        }

        #[test]
        fn counting_chars_counts_chars(text in "[aü€😀]{0,900}") {
            prop_assert_eq!(count_chars(text.as_bytes()), text.chars().count());
        }
    }
}
