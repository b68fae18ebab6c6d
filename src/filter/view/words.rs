//! The words of one text, laid end to end, with the totals that rules ask for.
//!
//! In: a text and the byte ranges of its words. Out: the words glued together (so that n words in a
//! row are one slice), where each begins, in bytes and in code points, and a 64-bit key that stands
//! for it; totals over all words ([`Totals`]). Invariants: nothing but the words decides; a word of
//! up to seven bytes is its own key, longer ones are equal when key and bytes are. Cost: a copy of
//! eight or sixteen bytes a word and a few operations on its key; buffers grow with the largest
//! text and are kept.

use super::giants::Giant;
use super::table::{hash, mix, read};
use crate::text::count_chars;
use crate::text::is_letter;
use crate::text::punctuation::is_punctuation;
use crate::text::words::Span;
use std::ops::{ControlFlow, Range};

/// Zeros behind the last word, so that sixteen bytes can be read at any word.
const PADDING: usize = 32;
/// Marks the key of a word of eight bytes or more, which is a hash.
const LONG: u64 = 1 << 63;
/// Buffers for more words than this are freed after a document: 16 MiB of keys.
const KEPT: usize = 1 << 21;

/// The words of a text. Word `w` is `glued[starts[w]..starts[w + 1]]`; in a giant a word goes by
/// its place, not its number.
#[derive(Default)]
pub struct CutWords {
    /// Byte ranges of the words in the text, which [`CutWords::lay`] reads. It frees them if they
    /// are more than `KEPT`.
    pub spans: Vec<Span>,
    glued: Vec<u8>,
    starts: Vec<u32>,
    /// Code points before each word; empty for ASCII, where it would repeat `starts`.
    chars: Vec<u32>,
    keys: Vec<u64>,
    /// The words of a giant, which replace all other fields.
    giant: Option<Giant>,
}

/// The totals over all words that Gopher's quality rules ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Words that are more than punctuation.
    pub substantial: usize,
    /// Code points in those.
    pub substantial_chars: usize,
    /// Words with a character for which `str.isalpha` holds.
    pub with_letter: usize,
}

impl CutWords {
    /// Takes the words of a giant, and drops all else.
    pub fn hold(&mut self, giant: Giant) {
        *self = CutWords { spans: std::mem::take(&mut self.spans), ..CutWords::default() };
        self.giant = Some(giant);
    }

    /// The giant that holds the words, if the text is one.
    pub fn giant(&mut self) -> Option<&mut Giant> {
        self.giant.as_mut()
    }

    /// Lays the words at `self.spans` of `text` end to end.
    pub fn lay(&mut self, text: &str) {
        self.forget_giants();
        let bytes = text.as_bytes();
        if self.glued.len() < bytes.len() + PADDING {
            self.glued.resize(bytes.len() + PADDING, 0);
        }
        let (count, glued) = (self.spans.len(), self.glued.as_mut_slice());
        self.starts.resize(count + 1, 0);
        self.keys.resize(count, 0);
        let mut end = 0;
        let places = self.starts.iter_mut().zip(&mut self.keys);
        for (span, (start, key)) in self.spans.iter().zip(places) {
            let (from, length) = (span.start as usize, (span.end - span.start) as usize);
            *start = end as u32;
            if length <= 16 && from + 16 <= bytes.len() {
                let block = &bytes[from..from + 16];
                glued[end..end + 16].copy_from_slice(block);
                *key = key_of_block(read(block, 0), read(block, 8), length);
            } else {
                glued[end..end + length].copy_from_slice(&bytes[from..from + length]);
                *key = key_of_glued(glued, end, length);
            }
            end += length;
        }
        self.starts[count] = end as u32;
        self.glued[end..end + PADDING].fill(0);
        if count > KEPT {
            self.spans = Vec::new();
        }
        self.chars.clear();
        if !text.is_ascii() {
            self.count_chars();
        }
    }

    fn count_chars(&mut self) {
        let mut chars = 0;
        self.chars.push(0);
        for word in 0..self.len() {
            chars += count_chars(self.laid_bytes(word, 1)) as u32;
            self.chars.push(chars);
        }
    }

    /// Gives back what only a giant needs.
    fn forget_giants(&mut self) {
        if self.keys.capacity() > KEPT || self.giant.is_some() {
            *self = CutWords { spans: std::mem::take(&mut self.spans), ..CutWords::default() };
        }
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.giant.as_ref().map_or(self.keys.len(), Giant::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of `count` words from `word` on, glued.
    #[inline]
    pub fn bytes(&self, word: usize, count: usize) -> &[u8] {
        match &self.giant {
            None => self.laid_bytes(word, count),
            Some(giant) => giant.bytes(word, count),
        }
    }

    /// As [`CutWords::bytes`], for words that are no giant's, in loops over all of them.
    #[inline(always)]
    pub fn laid_bytes(&self, word: usize, count: usize) -> &[u8] {
        &self.glued[self.starts[word] as usize..self.starts[word + count] as usize]
    }

    /// Code points in `count` words from `word` on.
    pub fn chars(&self, word: usize, count: usize) -> usize {
        match &self.giant {
            None => self.laid_chars(word, count),
            Some(giant) => count_chars(giant.bytes(word, count)),
        }
    }

    /// As [`CutWords::chars`], for words that are no giant's.
    #[inline(always)]
    pub fn laid_chars(&self, word: usize, count: usize) -> usize {
        let at = if self.chars.is_empty() { &self.starts } else { &self.chars };
        (at[word + count] - at[word]) as usize
    }

    /// All words glued, with at least sixteen bytes behind the last.
    pub fn glued(&self) -> &[u8] {
        &self.glued
    }

    /// Where each word begins in [`CutWords::glued`], and where the last ends.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// The key of each word.
    pub fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// Calls `each` with each word and its key until that breaks.
    #[inline(always)]
    pub fn try_each(&self, mut each: impl FnMut(usize, u64) -> ControlFlow<()>) {
        let _ = match &self.giant {
            None => self.keys.iter().enumerate().try_for_each(|(word, &key)| each(word, key)),
            Some(giant) => giant.each().try_for_each(|(start, end)| {
                each(start, key_of_glued(giant.glued(), start, end - start))
            }),
        };
    }

    /// Whether two words are equal.
    #[inline(always)]
    pub fn equal(&self, one: usize, other: usize) -> bool {
        self.keys[one] == self.keys[other]
            && (self.keys[one] & LONG == 0 || self.laid_bytes(one, 1) == self.laid_bytes(other, 1))
    }

    /// Counts over all words.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.try_each(|word, key| {
            let kind = self.kind(word, key);
            totals.substantial += usize::from(kind.has_substance);
            totals.substantial_chars += if kind.has_substance { kind.chars } else { 0 };
            totals.with_letter += usize::from(kind.has_letter);
            ControlFlow::Continue(())
        });
        totals
    }

    /// Whether a word has a character for which `str.isalpha` holds.
    pub fn has_letter(&self, word: usize) -> bool {
        self.kind(word, self.keys[word]).has_letter
    }

    /// The byte range in the text of `count` words from `word` on, with what lies between them; the
    /// words must have their spans.
    pub fn place(&self, word: usize, count: usize) -> Range<usize> {
        self.spans[word].start as usize..self.spans[word + count - 1].end as usize
    }

    /// The properties of a word.
    #[inline(always)]
    fn kind(&self, word: usize, key: u64) -> WordKind {
        if is_short_ascii(key) {
            short_kind(key)
        } else if self.bytes(word, 1)[0].is_ascii_alphabetic() {
            WordKind { chars: self.chars(word, 1), has_letter: true, has_substance: true }
        } else {
            self.kind_of_any(word)
        }
    }

    /// The properties of a word of any characters.
    fn kind_of_any(&self, word: usize) -> WordKind {
        let text = std::str::from_utf8(self.bytes(word, 1)).unwrap_or_default();
        let mut kind = WordKind { chars: 0, has_letter: false, has_substance: false };
        for char in text.chars() {
            kind.chars += 1;
            let (letter, substance) = match char {
                'a'..='z' | 'A'..='Z' => (true, true),
                '0'..='9' => (false, true),
                _ if char.is_ascii() => (false, !is_punctuation(char)),
                _ => (
                    !kind.has_letter && is_letter(char),
                    !kind.has_substance && !is_punctuation(char),
                ),
            };
            kind.has_letter |= letter;
            kind.has_substance |= substance;
        }
        kind
    }
}

/// The properties of one word.
struct WordKind {
    chars: usize,
    has_letter: bool,
    has_substance: bool,
}

/// The key of a word of at most 16 bytes, given with the bytes after it.
#[inline(always)]
fn key_of_block(low: u64, high: u64, length: usize) -> u64 {
    if length < 8 {
        low & !(u64::MAX << (8 * length)) | (length as u64) << 56
    } else {
        let high = if length == 8 { 0 } else { high & (u64::MAX >> (128 - 8 * length)) };
        mix(low, high ^ length as u64) | LONG
    }
}

/// The key of a word in `glued`, which has at least 16 bytes after it.
fn key_of_glued(glued: &[u8], start: usize, length: usize) -> u64 {
    if length <= 16 {
        key_of_block(read(glued, start), read(glued, start + 8), length)
    } else {
        hash(glued, start, start + length) | LONG
    }
}

/// The key of a word that is not among the words of a text.
pub fn key_of(word: &str) -> u64 {
    let mut glued = word.as_bytes().to_vec();
    glued.resize(word.len() + PADDING, 0);
    key_of_glued(&glued, 0, word.len())
}

/// Whether a key spells a word of ASCII characters.
#[inline(always)]
fn is_short_ascii(key: u64) -> bool {
    key & 0x8080_8080_8080_8080 == 0
}

/// Classes all bytes of a word at once: letters and digits are substance, other ASCII punctuation.
#[inline(always)]
fn short_kind(key: u64) -> WordKind {
    const EACH: u64 = 0x0001_0101_0101_0101;
    const HIGH: u64 = 0x0080_8080_8080_8080;
    let bytes = key & (u64::MAX >> 8);
    let small = bytes | (0x20 * EACH);
    let from = |bytes: u64, least: u8| bytes + u64::from(0x80 - least) * EACH;
    let letters = from(small, b'a') & !from(small, b'z' + 1) & HIGH;
    let digits = from(bytes, b'0') & !from(bytes, b'9' + 1) & HIGH;
    WordKind {
        chars: (key >> 56) as usize,
        has_letter: letters != 0,
        has_substance: letters | digits != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::is_white_space;
    use proptest::prelude::*;

    fn lay(text: &str) -> CutWords {
        let mut words = CutWords::default();
        let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
        let split = text.split(is_white_space).filter(|word| !word.is_empty());
        words.spans.extend(split.map(|word| Span {
            start: start(word) as u32,
            end: (start(word) + word.len()) as u32,
        }));
        words.lay(text);
        words
    }

    #[test]
    fn a_short_words_key_tells_what_its_characters_tell() {
        for char in '\0'..='\x7f' {
            for word in [format!("{char}"), format!("-{char}"), format!("{char}#####.")] {
                let (key, chars) = (key_of(&word), word.chars().count());
                let kind = short_kind(key);
                assert!(is_short_ascii(key) && kind.chars == chars, "{word:?}");
                assert_eq!(kind.has_letter, is_letter(char), "{word:?}");
                if !is_white_space(char) {
                    assert_eq!(kind.has_substance, !is_punctuation(char), "{word:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn words_lie_end_to_end_with_their_lengths_and_totals(
            text in "([a-z0-9.…é№😀\u{301}-]{1,20}[ \n\u{3000}]{1,2}){0,30}"
        ) {
            let words = lay(&text);
            let split: Vec<&str> = text.split_whitespace().collect();
            prop_assert_eq!(words.len(), split.len());
            let mut totals = Totals::default();
            for (number, word) in split.iter().enumerate() {
                prop_assert_eq!(words.bytes(number, 1), word.as_bytes());
                prop_assert_eq!(words.chars(number, 1), word.chars().count());
                prop_assert_eq!(words.keys()[number], key_of(word));
                let substantial = !word.chars().all(is_punctuation);
                totals.substantial += usize::from(substantial);
                totals.substantial_chars += if substantial { word.chars().count() } else { 0 };
                totals.with_letter += usize::from(word.chars().any(is_letter));
                for (other, equal) in split.iter().enumerate() {
                    prop_assert_eq!(words.equal(number, other), word == equal);
                }
            }
            prop_assert_eq!(words.totals(), totals);
        }
    }
}
