//! Word shingles: the set of runs of n successive words that stands for a document.
//!
//! In → normalized text (see `normalize`); out → one xxh3-64 for each run of n words, hashed as the
//! words joined by single spaces. A word is a run of `\w` as Python means it (letters, digits,
//! marks that are not, and `_`). A document of fewer than n words is one shingle; one without words
//! has none and is left to exact deduplication. 5 words: Lee and others, "Deduplicating Training
//! Data Makes Language Models Better" (2022), and FineWeb's `n_grams = 5`.
//!
//! Two shingles of a pair of documents collide with a chance below 10^-7 for a million shingles.
//!
//! Cost: one pass over the text and one hash of about 30 bytes a word; no allocation a word. Hashes
//! of a long document are sorted and freed of repeats as they grow, so memory follows the distinct
//! ones, and the work stays n log n.

use crate::base::hash::xxh3_64;
use crate::text;

/// Hashes held before repeats are looked for: 8 MiB, a text of about 6 MB.
const REPEATS_AFTER: usize = 1 << 20;

/// Buffers and tables for one thread.
pub struct Shingler {
    /// Words a shingle.
    words: usize,
    /// The words of the document, joined by single spaces.
    joined: Vec<u8>,
    /// Where the last `words` words start in `joined`, by word number modulo `words`.
    starts: Vec<usize>,
    /// Words so far.
    count: usize,
    /// Whether an ASCII byte is part of a word.
    is_word: [bool; 128],
    hashes: Vec<u64>,
    repeats_after: usize,
}

impl Shingler {
    /// For shingles of `words` ≥ 1 words.
    pub fn new(words: usize) -> Shingler {
        assert!(words > 0, "a shingle of {words} words");
        Shingler {
            words,
            joined: Vec::new(),
            starts: vec![0; words],
            count: 0,
            is_word: std::array::from_fn(|byte| text::is_word(char::from(byte as u8))),
            hashes: Vec::new(),
            repeats_after: REPEATS_AFTER,
        }
    }

    /// The hashes of the shingles of a normalized text, each at least once, in no stated order.
    /// They live until the next call, which may also be made with them changed.
    pub fn hashes(&mut self, normalized: &str) -> &mut Vec<u64> {
        self.hashes.clear();
        self.repeats_after = REPEATS_AFTER;
        self.joined.clear();
        self.joined.resize(normalized.len() + 1, 0);
        self.count = 0;
        let end = self.join(normalized);
        if (1..self.words).contains(&self.count) {
            self.hashes.push(xxh3_64(&self.joined[..end]));
        }
        &mut self.hashes
    }

    /// The same as a set: sorted, each once.
    pub fn set(&mut self, normalized: &str) -> &[u64] {
        let hashes = self.hashes(normalized);
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// Writes the words to `joined` and hashes each shingle as its last word ends. Returns the
    /// length of what was joined.
    fn join(&mut self, normalized: &str) -> usize {
        let (mut at, mut end) = (self.skip_to_word(normalized, 0), 0);
        while at < normalized.len() {
            let start = end + usize::from(self.count > 0);
            let number = self.count % self.words;
            self.starts[number] = start;
            (at, end) = self.copy_word(normalized, at, start);
            self.end_word(end);
            at = self.skip_to_word(normalized, at);
        }
        end
    }

    /// Copies the word that starts at `at` to `end` of `joined`. Returns where it ends in either.
    fn copy_word(&mut self, normalized: &str, mut at: usize, mut end: usize) -> (usize, usize) {
        let bytes = normalized.as_bytes();
        while let Some(&byte) = bytes.get(at) {
            if byte < 128 {
                if !self.is_word[usize::from(byte)] {
                    break;
                }
                self.joined[end] = byte;
                (at, end) = (at + 1, end + 1);
                continue;
            }
            let letter = char_at(normalized, at);
            if !text::is_word(letter) {
                break;
            }
            let len = letter.len_utf8();
            self.joined[end..end + len].copy_from_slice(&bytes[at..at + len]);
            (at, end) = (at + len, end + len);
        }
        (at, end)
    }

    /// The start of the next word at or behind `at`, or the end of the text.
    fn skip_to_word(&self, normalized: &str, mut at: usize) -> usize {
        let bytes = normalized.as_bytes();
        while let Some(&byte) = bytes.get(at) {
            if byte < 128 {
                if self.is_word[usize::from(byte)] {
                    break;
                }
                at += 1;
                continue;
            }
            let letter = char_at(normalized, at);
            if text::is_word(letter) {
                break;
            }
            at += letter.len_utf8();
        }
        at
    }

    fn end_word(&mut self, end: usize) {
        self.joined[end] = b' ';
        self.count += 1;
        if self.count >= self.words {
            // The oldest of the last `words` words stands where the next one will.
            let start = self.starts[self.count % self.words];
            self.hashes.push(xxh3_64(&self.joined[start..end]));
            if self.hashes.len() >= self.repeats_after {
                self.hashes.sort_unstable();
                self.hashes.dedup();
                self.repeats_after = REPEATS_AFTER.max(2 * self.hashes.len());
            }
        }
    }
}

/// The character that starts at `at`.
fn char_at(text: &str, at: usize) -> char {
    text[at..].chars().next().expect("`at` is a char boundary inside the text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn reference(text: &str, words: usize) -> Vec<u64> {
        let all: Vec<&str> =
            text.split(|c| !text::is_word(c)).filter(|word| !word.is_empty()).collect();
        let mut hashes: Vec<u64> = match all.len() {
            0 => Vec::new(),
            len if len < words => vec![xxh3_64(all.join(" ").as_bytes())],
            _ => all.windows(words).map(|run| xxh3_64(run.join(" ").as_bytes())).collect(),
        };
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    #[test]
    fn punctuation_parts_words_and_is_not_in_them() {
        let mut shingler = Shingler::new(2);
        let plain = shingler.set("one two three").to_vec();
        assert_eq!(plain.len(), 2);
        assert_eq!(shingler.set("\"one, two... three!\""), plain);
        assert_eq!(shingler.set("one_two three").len(), 1);
    }

    #[test]
    fn a_short_document_is_one_shingle_and_one_without_words_none() {
        let mut shingler = Shingler::new(5);
        assert_eq!(shingler.set("three little words"), [xxh3_64(b"three little words")]);
        assert_eq!(shingler.set("a b c d e"), [xxh3_64(b"a b c d e")]);
        assert!(shingler.set("").is_empty());
        assert!(shingler.set(" --- … !").is_empty());
    }

    #[test]
    fn a_long_document_of_one_word_holds_few_hashes() {
        let mut shingler = Shingler::new(5);
        let text = "spam ".repeat(3 * REPEATS_AFTER);
        assert_eq!(shingler.set(&text), [xxh3_64(b"spam spam spam spam spam")]);
        assert!(shingler.hashes.capacity() <= 2 * REPEATS_AFTER, "{}", shingler.hashes.capacity());
    }

    proptest! {
        #[test]
        fn shingles_are_those_of_the_definition(
            text in "[a-cé語_0 .,\u{301}\u{2019}\n]{0,60}",
            words in 1usize..7,
        ) {
            let mut shingler = Shingler::new(words);
            prop_assert_eq!(shingler.set(&text), reference(&text, words));
        }
    }
}
