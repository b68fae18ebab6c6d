//! Word shingles: the set of runs of n successive words that stands for a document.
//!
//! In → normalized text (see `normalize`); out → one xxh3-64 for each run of n words, hashed as the
//! words joined by single spaces. A document of fewer than n words is one shingle; one without
//! words has none and is left to exact deduplication. 5 words: Lee and others, "Deduplicating
//! Training Data Makes Language Models Better" (2022), and FineWeb's `n_grams = 5`.
//!
//! A word is a run of `\w` as Python means it: letters, numbers and `_`, but no combining marks. In
//! scripts that put no space between words (see [`text::is_unspaced`]) such a run is a clause, and
//! one changed character would change all of it; so there each letter is a word, with the marks
//! that follow it: vowels and tones are marks in most of these scripts. Where Unicode's word
//! boundaries (UAX #29) have no dictionary they cut these scripts in the same way, but for runs of
//! Katakana, which are cut here too. Spaces between words, which some write and some do not, change
//! nothing.
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
    /// They stay valid until the next call; the caller may change them.
    pub fn hashes(&mut self, normalized: &str) -> &mut Vec<u64> {
        self.hashes.clear();
        self.repeats_after = REPEATS_AFTER;
        // A word that stands alone has three bytes at least, and brings a space before and behind
        // it: at worst four bytes of text become six.
        let room = normalized.len() + normalized.len() / 2 + 2;
        self.joined.resize(room.max(self.joined.len()), 0);
        self.count = 0;
        let end = self.join(normalized);
        if (1..self.words).contains(&self.count) {
            self.hashes.push(xxh3_64(&self.joined[..end]));
        }
        &mut self.hashes
    }

    /// The hashes as a set: sorted, each once.
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
        let start = at;
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
            let mut len = letter.len_utf8();
            let alone = text::is_unspaced(letter);
            if alone && at > start {
                break;
            }
            if alone {
                len += marks_bytes(&normalized[at + len..]);
            }
            self.joined[end..end + len].copy_from_slice(&bytes[at..at + len]);
            (at, end) = (at + len, end + len);
            if alone {
                break;
            }
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

/// Bytes of the marks that `text` starts with; they belong to a letter alone before it.
fn marks_bytes(text: &str) -> usize {
    let is_mark = |letter: &char| text::is_unspaced(*letter) && !text::is_word(*letter);
    text.chars().take_while(is_mark).map(char::len_utf8).sum()
}

/// The character that starts at `at`.
fn char_at(text: &str, at: usize) -> char {
    text[at..].chars().next().expect("`at` is a char boundary inside the text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The words of a text, one by one.
    fn words_of(text: &str) -> Vec<String> {
        let (mut all, mut open): (Vec<String>, Option<bool>) = (Vec::new(), None);
        for char in text.chars() {
            // Whether the open word, if there is one, stands alone.
            open = match (text::is_word(char), text::is_unspaced(char), open) {
                (true, false, Some(false)) | (false, true, Some(true)) => {
                    all.last_mut().unwrap().push(char);
                    open
                }
                (true, alone, _) => {
                    all.push(char.to_string());
                    Some(alone)
                }
                (false, ..) => None,
            };
        }
        all
    }

    /// The definition, word by word.
    fn reference(text: &str, words: usize) -> Vec<u64> {
        let all = words_of(text);
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
    fn letters_of_scripts_without_spaces_are_words_with_their_marks() {
        for (text, expected) in [
            ("我用python3写了5行代码。", "我 用 python3 写 了 5 行 代 码"),
            ("データは々ﾃﾞｰﾀ", "デ ー タ は 々 ﾃ ﾞ ｰ ﾀ"),
            ("ที่นี่ปี๒๕๖๗", "ที่ นี่ ปี ๒๕๖๗"),
            ("ខ្មែរ\u{200b}ភាសា", "ខ្ មែ រ ភា សា"),
            ("မြန်မာ ၁၂", "မြ န် မာ ၁၂"),
            ("བོད་སྐད།", "བོ ད སྐ ད"),
            ("葛\u{e0100}城", "葛 城"),
            ("한국어 텍스트 हिन्दी", "한국어 텍스트 ह न द"),
        ] {
            let expected = xxh3_64(expected.as_bytes());
            assert_eq!(Shingler::new(100).set(text), [expected], "{text}");
        }
        let mut shingler = Shingler::new(5);
        let plain = shingler.set("機械学習の基礎").to_vec();
        assert_eq!((plain.len(), shingler.set("機械 学習、の　基礎")), (3, &plain[..]));
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
            text in "[a-cé語ー่กី_0๓ .,\u{301}\u{2019}\n]{0,60}",
            words in 1usize..7,
        ) {
            let mut shingler = Shingler::new(words);
            prop_assert_eq!(shingler.set(&text), reference(&text, words));
        }
    }
}
