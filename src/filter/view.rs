//! A document as the rules see it: its words and lines, cut without allocating for them.
//!
//! In: one text. Out: words in order (each with what the rules ask of it) and lines, plus totals
//! that are counted once, whichever rule asks first. Method: words are maximal runs of characters
//! that are not white space (Python's `str.split()`); one pass over the bytes classes ASCII by a
//! table of 256 and decodes the rest. Two notions of line live here because the references differ:
//! [`Word::opens_line`] and [`Totals::lines`] follow Python's `str.splitlines()`, [`View::lines`]
//! cuts at `\n` alone.
//! Invariants: nothing but the text decides; words and the white space between them make the text.
//! Cost: linear in bytes, 300 to 400 MB/s of English on one core; no memory a word.

use crate::base::text::{is_letter, is_white_space};
use crate::filter::punctuation::is_punctuation;
use std::cell::{Cell, OnceCell};
use xxhash_rust::xxh3::xxh3_64;

/// One word and what one pass can tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// The word, without white space.
    pub text: &'a str,
    /// Its length in code points.
    pub chars: usize,
    /// Has a character for which `str.isalpha` holds.
    pub has_letter: bool,
    /// Has a character outside the reference's punctuation set.
    pub has_substance: bool,
    /// Is the first word of its line (`str.splitlines()`).
    pub opens_line: bool,
}

/// What counting a whole text gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// `len(text.split())`
    pub words: usize,
    /// `len(text.splitlines())`, blank lines included.
    pub lines: usize,
}

/// A line of [`View::lines`] by its place, with a hash for finding equal ones.
#[derive(Clone, Copy, Debug)]
struct HashedLine {
    hash: u64,
    start: usize,
    end: usize,
}

/// One document's text with what has been counted of it so far.
#[derive(Default)]
pub struct View<'a> {
    text: &'a str,
    totals: Cell<Option<Totals>>,
    chars: OnceCell<usize>,
    newlines: OnceCell<usize>,
    /// Room for [`View::duplicate_chars`], kept from document to document.
    hashed: Cell<Vec<HashedLine>>,
}

impl<'a> View<'a> {
    /// A view of `text`, nothing counted yet.
    pub fn new(text: &'a str) -> View<'a> {
        View { text, ..View::default() }
    }

    /// A view of another text in the room of this one.
    pub fn turn(self, text: &'a str) -> View<'a> {
        View { hashed: self.hashed, ..View::new(text) }
    }

    /// The text itself.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Code points of the text, white space included.
    pub fn chars(&self) -> usize {
        *self.chars.get_or_init(|| self.text.chars().count())
    }

    /// How many `\n` the text has.
    pub fn newlines(&self) -> usize {
        *self.newlines.get_or_init(|| memchr::memchr_iter(b'\n', self.text.as_bytes()).count())
    }

    /// Words and lines of the text; a pass over it unless [`View::words`] made one before.
    pub fn totals(&self) -> Totals {
        self.totals.get().unwrap_or_else(|| self.words(|_| ()))
    }

    /// Hands every word to `each`, in order, and returns the totals.
    pub fn words(&self, mut each: impl FnMut(Word<'a>)) -> Totals {
        let open_end = self.text.chars().next_back().is_some_and(|char| !is_line_break(char));
        let mut totals = Totals { words: 0, lines: usize::from(open_end) };
        let mut at = 0;
        loop {
            let gap = read_gap(self.text, at);
            totals.lines += gap.breaks;
            if gap.end == self.text.len() {
                break;
            }
            let word = read_word(self.text, gap.end, gap.breaks > 0 || totals.words == 0);
            at = gap.end + word.text.len();
            totals.words += 1;
            each(word);
        }
        self.totals.set(Some(totals));
        totals
    }

    /// The lines between `\n`s that hold anything but white space, as they stand.
    pub fn lines(&self) -> impl Iterator<Item = &'a str> {
        self.spans().map(|(start, end)| &self.text[start..end])
    }

    /// Byte ranges of [`View::lines`].
    fn spans(&self) -> impl Iterator<Item = (usize, usize)> {
        let text = self.text;
        let mut start = 0;
        memchr::memchr_iter(b'\n', text.as_bytes())
            .chain([text.len()])
            .map(move |end| (std::mem::replace(&mut start, end + 1), end))
            .filter(move |&(start, end)| !text[start..end].chars().all(is_white_space))
    }

    /// Code points in the second and later copies of [`View::lines`].
    pub fn duplicate_chars(&self) -> usize {
        let of = |line: &HashedLine| &self.text.as_bytes()[line.start..line.end];
        let mut lines = self.hashed.take();
        lines.clear();
        lines.extend(self.spans().map(|(start, end)| HashedLine {
            hash: xxh3_64(&self.text.as_bytes()[start..end]),
            start,
            end,
        }));
        // By hash, then by content: equal lines stand together even where hashes collide.
        lines.sort_unstable_by(|a, b| a.hash.cmp(&b.hash).then_with(|| of(a).cmp(of(b))));
        let repeats = lines.windows(2).filter(|pair| of(&pair[0]) == of(&pair[1]));
        let chars = repeats.map(|pair| count_chars(of(&pair[0]))).sum();
        self.hashed.set(lines);
        chars
    }
}

/// Code points of UTF-8 text: the bytes that continue none.
fn count_chars(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| (byte as i8) >= -0x40).count()
}

/// White space from one word to the next.
struct Gap {
    /// Where the next word begins, or the text's length.
    end: usize,
    /// Ends of line in it, as `str.splitlines()` counts them: `\r\n` is one.
    breaks: usize,
}

fn read_gap(text: &str, mut at: usize) -> Gap {
    let bytes = text.as_bytes();
    let mut breaks = 0;
    while let Some(&byte) = bytes.get(at) {
        match KIND[byte as usize] {
            BLANK => at += 1,
            BREAK => {
                breaks += usize::from(byte != b'\r' || bytes.get(at + 1) != Some(&b'\n'));
                at += 1;
            }
            OTHER => {
                let char = decode(text, at);
                if !is_white_space(char) {
                    break;
                }
                breaks += usize::from(is_line_break(char));
                at += char.len_utf8();
            }
            _ => break,
        }
    }
    Gap { end: at, breaks }
}

fn read_word(text: &str, start: usize, opens_line: bool) -> Word<'_> {
    let bytes = text.as_bytes();
    let (mut at, mut seen, mut continuation) = (start, 0, 0);
    while let Some(&byte) = bytes.get(at) {
        let kind = KIND[byte as usize];
        if kind & (BLANK | BREAK) != 0 {
            break;
        }
        at += 1;
        seen |= kind;
        if kind == OTHER {
            let char = decode(text, at - 1);
            if is_white_space(char) {
                at -= 1;
                break;
            }
            seen |= if is_letter(char) { LETTER } else { 0 };
            seen |= if is_punctuation(char) { 0 } else { SUBSTANCE };
            continuation += char.len_utf8() - 1;
            at += char.len_utf8() - 1;
        }
    }
    Word {
        text: &text[start..at],
        chars: at - start - continuation,
        has_letter: seen & LETTER != 0,
        has_substance: seen & SUBSTANCE != 0,
        opens_line,
    }
}

/// The character at byte `at`, which begins one.
fn decode(text: &str, at: usize) -> char {
    text[at..].chars().next().expect("a byte at this place")
}

/// Where Python's `str.splitlines()` cuts.
fn is_line_break(char: char) -> bool {
    let code = char as u32;
    matches!(code, 0x0a..=0x0d | 0x1c..=0x1e | 0x85 | 0x2028 | 0x2029)
}

/// What a byte is: ASCII white space within a line, or ending one; a letter; no punctuation; the
/// first of several bytes, to be decoded. Zero is punctuation.
const BLANK: u8 = 1;
const BREAK: u8 = 2;
const LETTER: u8 = 4;
const SUBSTANCE: u8 = 8;
const OTHER: u8 = 16;

static KIND: [u8; 256] = kinds();

const fn kinds() -> [u8; 256] {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < 128 {
        kinds[byte] = match byte as u8 {
            b' ' | b'\t' | 0x1f => BLANK,
            0x0a..=0x0d | 0x1c..=0x1e => BREAK,
            b'0'..=b'9' => SUBSTANCE,
            b'A'..=b'Z' | b'a'..=b'z' => LETTER | SUBSTANCE,
            _ => 0,
        };
        byte += 1;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<Word<'_>> {
        let mut words = Vec::new();
        View::new(text).words(|word| words.push(word));
        words
    }

    fn split(text: &str) -> Vec<&str> {
        text.split(is_white_space).filter(|word| !word.is_empty()).collect()
    }

    /// `str.splitlines()`, written the slow way.
    fn python_lines(text: &str) -> Vec<String> {
        let (mut lines, mut line) = (Vec::new(), None::<String>);
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            let so_far = line.get_or_insert_default();
            if is_line_break(char) {
                chars.next_if(|&next| char == '\r' && next == '\n');
                lines.extend(line.take());
            } else {
                so_far.push(char);
            }
        }
        lines.extend(line);
        lines
    }

    #[test]
    fn the_byte_table_agrees_with_the_character_classes() {
        for char in '\0'..='\x7f' {
            let kind = KIND[char as usize];
            assert_eq!(kind & (BLANK | BREAK) != 0, is_white_space(char), "{char:?}");
            assert_eq!(kind & BREAK != 0, is_line_break(char), "{char:?}");
            assert_eq!(kind & LETTER != 0, is_letter(char), "{char:?}");
            if !is_white_space(char) {
                assert_eq!(kind & SUBSTANCE != 0, !is_punctuation(char), "{char:?}");
            }
        }
    }

    #[test]
    fn a_word_carries_what_the_rules_ask() {
        let found = words("  • naïve 3²\r\n\u{2028}…ß—\u{a0}!?");
        let texts: Vec<_> = found.iter().map(|word| word.text).collect();
        assert_eq!(texts, ["•", "naïve", "3²", "…ß—", "!?"]);
        let opens: Vec<_> = found.iter().map(|word| word.opens_line).collect();
        assert_eq!(opens, [true, false, false, true, false]);
        assert_eq!(found[1].chars, 5);
        assert!(found[3].has_letter && found[3].has_substance && found[3].chars == 3);
        assert!(found[2].has_substance && !found[2].has_letter && !found[4].has_substance);
    }

    #[test]
    fn copies_of_a_line_count_from_the_second_on() {
        let view = View::new("ab\n ab\nab\n\n \n\nüü\nab\nüü");
        assert_eq!(view.duplicate_chars(), 2 + 2 + 2);
        assert_eq!((view.newlines(), view.lines().count()), (8, 6));
        assert_eq!(view.turn("a\na").duplicate_chars(), 1);
    }

    #[test]
    fn ten_megabytes_of_anything_take_linear_time() {
        for piece in ["a", "\n", " ", "a\n", "\u{2003}", "\u{301}", "a ", "\r\n", "é\u{85}"] {
            let text = piece.repeat(10_000_000 / piece.len());
            let view = View::new(&text);
            let totals = view.totals();
            assert!(totals.words <= text.len() && totals.lines <= text.len() + 1);
            assert!(view.duplicate_chars() <= view.chars());
        }
    }

    proptest! {
        #[test]
        fn words_and_lines_are_pythons(
            text in "[a-z.\u{e9}\u{2026} \t\n\r\u{1c}\u{1f}\u{85}\u{a0}\u{2028}\u{3000}-]{0,60}"
        ) {
            let found = words(&text);
            prop_assert_eq!(found.iter().map(|word| word.text).collect::<Vec<_>>(), split(&text));
            for word in &found {
                prop_assert_eq!(word.chars, word.text.chars().count());
                prop_assert_eq!(word.has_letter, word.text.chars().any(is_letter));
                prop_assert_eq!(word.has_substance, !word.text.chars().all(is_punctuation));
            }
            let lines = python_lines(&text);
            prop_assert_eq!(View::new(&text).totals().lines, lines.len());
            let opened = found.iter().filter(|word| word.opens_line).map(|word| word.text);
            let expected = lines.iter().filter_map(|line| split(line).first().copied());
            prop_assert_eq!(opened.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }

        #[test]
        fn duplicates_are_those_of_a_set(text in "[ab \n]{0,80}") {
            let mut seen = std::collections::BTreeSet::new();
            let view = View::new(&text);
            let repeated = view.lines().filter(|line| !seen.insert(*line));
            prop_assert_eq!(view.duplicate_chars(), repeated.map(str::len).sum::<usize>());
            let filled = text.split('\n').filter(|line| !line.trim().is_empty());
            prop_assert_eq!(view.lines().count(), filled.count());
        }
    }
}
