//! From a text to rows of the input matrix: words, their character n-grams, then word n-grams.
//!
//! In → bytes of a text; out → row numbers in fastText's order: for each word of the text its own
//! row and those of its character n-grams, then for each word the n-grams that begin with it. Facts
//! from fastText's `dictionary.cc`: words end at space, tab, line feed, vertical tab, form feed,
//! carriage return and NUL (`readWord`); a word `</s>` ends the text, and one is added where there
//! is none, as the line end does that fastText's `predict` appends; words that begin with
//! `__label__` are none; character n-grams are those of `<word>` by UTF-8 character, hashed modulo
//! the number of buckets (`computeSubwords`); a word n-gram is hashed in 64 bits from the *signed*
//! 32-bit hashes of its words, known or not (`addWordNgrams`).
//! Invariants: rows depend on the text and the dictionary alone. Cost: one pass, the word's hash
//! made while its end is looked for; rows are handed over in blocks, so memory is 4 bytes a word at
//! most (only with word n-grams), whatever the text.

use super::words::{HASH_START, hash_byte};

/// The word that ends a text.
pub const END: &[u8] = b"</s>";

/// How a word begins that names a label. Not stored in models: this is fastText's default.
pub const LABEL_PREFIX: &[u8] = b"__label__";

/// Rows handed over at once; some 16 KiB of them stay in the first cache.
const BLOCK: usize = 4096;

/// Multiplier of word n-gram hashes in fastText's `addWordNgrams`.
const NGRAM_FACTOR: u64 = 116_049_371;

/// What decides which n-grams a text has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ngrams {
    /// Shortest and longest character n-gram, in characters; none when `longest` is 0.
    pub shortest: usize,
    pub longest: usize,
    /// Longest word n-gram, in words; 1 for none but the words.
    pub words: usize,
    /// Hash buckets shared by both kinds; at least 1 where there is any.
    pub buckets: u32,
}

/// One word of a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Token<'t> {
    pub bytes: &'t [u8],
    pub hash: u32,
}

/// The words of a text, up to a word `</s>`.
pub fn tokens(text: &[u8]) -> impl Iterator<Item = Token<'_>> {
    let mut position = 0;
    std::iter::from_fn(move || {
        while position < text.len() && SEPARATOR[text[position] as usize] {
            position += 1;
        }
        let start = position;
        let mut hash = HASH_START;
        while position < text.len() && !SEPARATOR[text[position] as usize] {
            hash = hash_byte(hash, text[position]);
            position += 1;
        }
        let bytes = &text[start..position];
        (!bytes.is_empty() && bytes != END).then_some(Token { bytes, hash })
    })
}

/// Whether a byte ends a word.
static SEPARATOR: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = b" \n\r\t\x0b\x0c\0";
    let mut index = 0;
    while index < bytes.len() {
        table[bytes[index] as usize] = true;
        index += 1;
    }
    table
};

/// Division by a number that is known beforehand: `x % divisor` for 32 bits by two multiplications
/// (Lemire, Kaser, Kurz, "Faster remainder by direct computation", 2019).
#[derive(Clone, Copy, Debug)]
pub struct Remainder {
    divisor: u32,
    factor: u64,
}

impl Remainder {
    /// `divisor` must not be 0.
    pub fn new(divisor: u32) -> Remainder {
        Remainder { divisor, factor: (u64::MAX / u64::from(divisor)).wrapping_add(1) }
    }

    /// `number % divisor`.
    #[inline(always)]
    pub fn of(&self, number: u32) -> u32 {
        let low = self.factor.wrapping_mul(u64::from(number));
        ((u128::from(low) * u128::from(self.divisor)) >> 64) as u32
    }
}

/// Calls `found` with the hash modulo `buckets` of each character n-gram of `<word>`.
///
/// `bracketed` is room for the word between its brackets.
#[inline]
pub fn character_ngrams(
    word: &[u8],
    ngrams: Ngrams,
    buckets: Remainder,
    bracketed: &mut Vec<u8>,
    mut found: impl FnMut(u32),
) {
    bracketed.clear();
    bracketed.push(b'<');
    bracketed.extend_from_slice(word);
    bracketed.push(b'>');
    if word.is_ascii() {
        byte_ngrams(bracketed, ngrams, buckets, found);
        return;
    }
    let bytes = &bracketed[..];
    for start in 0..bytes.len() {
        if is_continuation(bytes[start]) {
            continue;
        }
        let (mut hash, mut end, mut characters) = (HASH_START, start, 0);
        while end < bytes.len() && characters < ngrams.longest {
            hash = hash_byte(hash, bytes[end]);
            end += 1;
            while end < bytes.len() && is_continuation(bytes[end]) {
                hash = hash_byte(hash, bytes[end]);
                end += 1;
            }
            characters += 1;
            let bracket = characters == 1 && (start == 0 || end == bytes.len());
            if characters >= ngrams.shortest && !bracket {
                found(buckets.of(hash));
            }
        }
    }
}

/// [`character_ngrams`] where each byte is a character.
#[inline]
fn byte_ngrams(bytes: &[u8], ngrams: Ngrams, buckets: Remainder, mut found: impl FnMut(u32)) {
    let shortest = ngrams.shortest.max(1);
    for start in 0..bytes.len() {
        let window = &bytes[start..bytes.len().min(start + ngrams.longest)];
        let bracket = start == 0 || start + 1 == bytes.len();
        let first = if bracket { shortest.max(2) } else { shortest };
        let mut hash = HASH_START;
        let (before, counted) = window.split_at(window.len().min(first - 1));
        for &byte in before {
            hash = hash_byte(hash, byte);
        }
        for &byte in counted {
            hash = hash_byte(hash, byte);
            found(buckets.of(hash));
        }
    }
}

#[inline(always)]
fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Calls `found` with the hash modulo `buckets` of each word n-gram of two words and more.
#[inline]
pub fn word_ngrams(hashes: &[u32], ngrams: Ngrams, mut found: impl FnMut(u32)) {
    let buckets = u64::from(ngrams.buckets);
    for (start, &first) in hashes.iter().enumerate() {
        let mut hash = signed(first);
        for &next in hashes[start + 1..].iter().take(ngrams.words - 1) {
            hash = hash.wrapping_mul(NGRAM_FACTOR).wrapping_add(signed(next));
            found((hash % buckets) as u32);
        }
    }
}

#[inline(always)]
fn signed(hash: u32) -> u64 {
    i64::from(hash as i32) as u64
}

/// Rows on their way to a sum: handed over when a block is full.
pub struct Rows<'r, F: FnMut(&[u32])> {
    pub(super) buffer: &'r mut Vec<u32>,
    pub(super) count: u64,
    pub(super) take: F,
}

impl<F: FnMut(&[u32])> Rows<'_, F> {
    /// Adds one row.
    #[inline(always)]
    pub fn push(&mut self, row: u32) {
        self.buffer.push(row);
        if self.buffer.len() >= BLOCK {
            self.flush();
        }
    }

    /// Adds several rows.
    #[inline]
    pub fn extend(&mut self, rows: &[u32]) {
        self.buffer.extend_from_slice(rows);
        if self.buffer.len() >= BLOCK {
            self.flush();
        }
    }

    /// Hands over what is left. Returns the count of all rows so far.
    pub fn flush(&mut self) -> u64 {
        self.count += self.buffer.len() as u64;
        (self.take)(self.buffer);
        self.buffer.clear();
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words_of(text: &str) -> Vec<&[u8]> {
        tokens(text.as_bytes()).map(|token| token.bytes).collect()
    }

    #[test]
    fn words_end_at_fasttexts_separators_and_the_text_at_its_end_word() {
        let expected: Vec<&[u8]> = vec![b"a", b"b", b"c", "\u{a0}d\u{2028}".as_bytes()];
        assert_eq!(words_of(" a\tb\x0b\x0c\0c\r\n\u{a0}d\u{2028} </s> e"), expected);
        assert_eq!(words_of("</s>a </s >"), [&b"</s>a"[..], b"</s", b">"]);
    }

    #[test]
    fn ngrams_are_counted_in_characters_and_leave_out_the_lone_brackets() {
        let ngrams = Ngrams { shortest: 1, longest: 2, words: 1, buckets: u32::MAX };
        let mut found = Vec::new();
        let buckets = Remainder::new(u32::MAX);
        character_ngrams("é1".as_bytes(), ngrams, buckets, &mut Vec::new(), |id| found.push(id));
        let expected = ["<é", "é", "é1", "1", "1>"]
            .map(|text| text.bytes().fold(HASH_START, hash_byte) % u32::MAX);
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn the_remainder_is_the_remainder(number: u32, divisor in 1..=u32::MAX) {
            prop_assert_eq!(Remainder::new(divisor).of(number), number % divisor);
            prop_assert_eq!(Remainder::new(divisor).of(u32::MAX), u32::MAX % divisor);
        }

        #[test]
        fn bytes_and_characters_give_the_same_ngrams(
            word in "[a-z<>!]{1,9}",
            shortest in 0usize..5,
            longest in 1usize..6,
        ) {
            let ngrams = Ngrams { shortest, longest, words: 1, buckets: 1000 };
            let list = |word: &str| {
                let (mut found, mut room) = (0, Vec::new());
                let count = |_| found += 1;
                character_ngrams(word.as_bytes(), ngrams, Remainder::new(1000), &mut room, count);
                found
            };
            // The same word in letters of two bytes takes the other path.
            let wide: String = word.chars().map(|_| 'é').collect();
            prop_assert_eq!(list(&word), list(&wide));
        }

        #[test]
        fn a_token_carries_the_hash_of_its_bytes(text: String) {
            for token in tokens(text.as_bytes()) {
                prop_assert_eq!(token.hash, super::super::words::hash_word(token.bytes));
            }
        }
    }
}
