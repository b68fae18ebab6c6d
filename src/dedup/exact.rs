//! Exact duplicates: documents that differ in case, white space and Unicode composition at most.
//!
//! In → normalized text (see `normalize`); out → the xxh3-128 of it with each run of white space as
//! one space and none at either end; nothing for a text of white space alone: empty documents say
//! nothing about each other, so none is the duplicate of another. White space is Python's
//! `str.isspace`. 128 bits of a specified hash stand for the text: among 10^10 documents a false
//! match has a chance of 10^-19.
//!
//! Cost: one pass and one hash over the text.

use crate::base::hash::{Fingerprint, xxh3_128};
use crate::text;

/// Buffers and tables for one thread.
pub struct ExactHasher {
    spaced: Vec<u8>,
    /// Whether an ASCII byte is white space.
    white_space: [bool; 128],
}

impl Default for ExactHasher {
    fn default() -> ExactHasher {
        let white_space = std::array::from_fn(|byte| text::is_white_space(char::from(byte as u8)));
        ExactHasher { spaced: Vec::new(), white_space }
    }
}

impl ExactHasher {
    /// The identity of a normalized text; `None` when it holds nothing but white space.
    pub fn hash(&mut self, normalized: &str) -> Option<Fingerprint> {
        self.spaced.clear();
        self.spaced.resize(normalized.len() + 1, b' ');
        let bytes = normalized.as_bytes();
        // Every byte is written, but the place advances only if it is to stay: no branch a byte.
        let (mut at, mut end, mut after_text) = (0, 0, false);
        while at < bytes.len() {
            let byte = bytes[at];
            if byte < 128 {
                let space = self.white_space[usize::from(byte)];
                self.spaced[end] = if space { b' ' } else { byte };
                end += usize::from(!space | after_text);
                after_text = !space;
                at += 1;
                continue;
            }
            let letter = normalized[at..].chars().next().expect("`at` is inside, at a char start");
            let len = letter.len_utf8();
            if text::is_white_space(letter) {
                self.spaced[end] = b' ';
                end += usize::from(after_text);
                after_text = false;
            } else {
                self.spaced[end..end + len].copy_from_slice(&bytes[at..at + len]);
                end += len;
                after_text = true;
            }
            at += len;
        }
        let end = end - usize::from(end > 0 && !after_text);
        (end > 0).then(|| xxh3_128(&self.spaced[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_of_white_space_are_one_space_and_none_at_the_ends() {
        let mut hasher = ExactHasher::default();
        let plain = hasher.hash("one two three");
        assert!(plain.is_some());
        for same in
            ["one\t two\n\n\nthree", " one two three\r\n", "\u{a0}one\u{2003}two \u{85}three"]
        {
            assert_eq!(hasher.hash(same), plain, "{same:?}");
        }
        for other in ["one twothree", "one two thre", "onetwo three", "one two three."] {
            assert_ne!(hasher.hash(other), plain, "{other:?}");
        }
    }

    #[test]
    fn a_text_of_white_space_alone_has_no_identity() {
        let mut hasher = ExactHasher::default();
        for empty in ["", " ", "\n\t \u{3000}\u{a0}"] {
            assert_eq!(hasher.hash(empty), None, "{empty:?}");
        }
    }

    proptest! {
        #[test]
        fn the_hash_is_that_of_the_words_joined_by_spaces(
            text in "[a-zé語 \t\n\u{a0}\u{3000}]{0,40}",
        ) {
            let words: Vec<&str> =
                text.split(text::is_white_space).filter(|word| !word.is_empty()).collect();
            let expected = (!words.is_empty()).then(|| xxh3_128(words.join(" ").as_bytes()));
            prop_assert_eq!(ExactHasher::default().hash(&text), expected);
        }
    }
}
