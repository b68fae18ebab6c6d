//! Special cases by their text: `can't` is `ca` and `n't`, `Mr.` is one word, `10am` is two.
//!
//! In: a piece of text. Out: where the special case of that text is cut, if there is one. Method:
//! open addressing over [`super::exceptions::SPECIAL_CASES`]; beside it a filter of bits for pieces
//! that are ASCII letters, or such with one byte after them, so that plain words rarely reach the
//! table. Invariants: results do not depend on the hash. Cost: one multiplication and one load for
//! a plain word; a few loads and a comparison else.

use super::exceptions::SPECIAL_CASES;

/// Slots of the table, a power of two; a third of them are filled.
const SLOTS: usize = 4096;
/// Bits of each filter, a power of two.
const FILTER_BITS: usize = 1 << 15;
/// Bytes of the longest special case.
const LONGEST: usize = 29;

/// Where a special case is cut: bytes from its start, 0 for no cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// End of the first word, or 0 if it is the only one.
    pub first: u8,
    /// End of the second word, or 0 if no third follows.
    pub second: u8,
}

/// The table of special cases.
pub struct Specials {
    /// Index into `SPECIAL_CASES` plus one, 0 where free.
    slots: Vec<u16>,
    /// Special cases of ASCII letters alone.
    letters: Vec<u64>,
    /// Special cases of ASCII letters with one other byte after them, by the letters.
    tailed: Vec<u64>,
    /// By first byte: the lengths of the special cases that begin with it, a bit for each.
    by_first: [u32; 256],
    /// By last byte: the same for the special cases that end with it.
    by_last: [u32; 256],
}

impl Specials {
    /// Fills the table.
    pub fn new() -> Specials {
        let mut specials = Specials {
            slots: vec![0; SLOTS],
            letters: vec![0; FILTER_BITS / 64],
            tailed: vec![0; FILTER_BITS / 64],
            by_first: [0; 256],
            by_last: [0; 256],
        };
        for (index, (text, _, _)) in SPECIAL_CASES.iter().enumerate() {
            let mut slot = slot(text.as_bytes());
            while specials.slots[slot] != 0 {
                slot = (slot + 1) % SLOTS;
            }
            specials.slots[slot] = index as u16 + 1;
            let ends = (text.as_bytes()[0] as usize, text.as_bytes()[text.len() - 1] as usize);
            specials.by_first[ends.0] |= 1 << text.len();
            specials.by_last[ends.1] |= 1 << text.len();
            let run = text.bytes().take_while(u8::is_ascii_alphabetic).count();
            let bit = filter_bit(head(text.as_bytes(), run));
            if run == text.len() {
                specials.letters[bit / 64] |= 1 << (bit % 64);
            } else if run + 1 == text.len() {
                specials.tailed[bit / 64] |= 1 << (bit % 64);
            }
        }
        specials
    }

    /// The special case of exactly this text.
    pub fn find(&self, text: &[u8]) -> Option<Cuts> {
        let (first, last) = (*text.first()? as usize, *text.last()? as usize);
        let lengths = self.by_first[first] & self.by_last[last];
        if text.len() > LONGEST || lengths >> text.len() & 1 == 0 {
            return None;
        }
        let mut slot = slot(text);
        loop {
            let index = (self.slots[slot] as usize).checked_sub(1)?;
            let (special, first, second) = SPECIAL_CASES[index];
            if special.as_bytes() == text {
                return Some(Cuts { first, second });
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Whether a word of ASCII letters, of which `head` has the first eight, may be special.
    #[inline]
    pub fn may_be_letters(&self, head: u64) -> bool {
        let bit = filter_bit(head);
        self.letters[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// Whether such a word with one more byte after it may be special.
    #[inline]
    pub fn may_be_tailed(&self, head: u64) -> bool {
        let bit = filter_bit(head);
        self.tailed[bit / 64] >> (bit % 64) & 1 == 1
    }
}

/// The first eight bytes of `text[..length]`, zeros where it has fewer.
pub fn head(text: &[u8], length: usize) -> u64 {
    match text.first_chunk::<8>() {
        Some(eight) => u64::from_le_bytes(*eight) & low_bytes(length),
        None => text[..length].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// A mask of the `length` lowest bytes of eight.
#[inline]
pub fn low_bytes(length: usize) -> u64 {
    if length < 8 { !(u64::MAX << (8 * length)) } else { u64::MAX }
}

/// Odd, from the golden ratio, as in Fibonacci hashing (Knuth, TAOCP 6.4).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn filter_bit(head: u64) -> usize {
    (head.wrapping_mul(MULTIPLIER) >> (64 - FILTER_BITS.trailing_zeros())) as usize
}

fn slot(text: &[u8]) -> usize {
    let tail = head(&text[text.len().saturating_sub(8)..], 8.min(text.len()));
    let both = head(text, text.len()) ^ tail.rotate_left(29) ^ text.len() as u64;
    (both.wrapping_mul(MULTIPLIER) >> (64 - SLOTS.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_case_is_found_and_its_filter_bit_is_set() {
        let specials = Specials::new();
        for &(text, first, second) in SPECIAL_CASES {
            assert!(text.len() <= LONGEST && first as usize <= text.len());
            assert!(second == 0 || first < second);
            assert!(text.is_char_boundary(first.into()) && text.is_char_boundary(second.into()));
            assert_eq!(specials.find(text.as_bytes()), Some(Cuts { first, second }));
            let run = text.bytes().take_while(u8::is_ascii_alphabetic).count();
            let head = head(text.as_bytes(), run);
            assert!(run < text.len() || specials.may_be_letters(head));
            assert!(run + 1 != text.len() || specials.may_be_tailed(head));
        }
        assert_eq!(specials.find(b"cannot"), Some(Cuts { first: 3, second: 0 }));
        assert_eq!(specials.find(b"Shouldn't've"), Some(Cuts { first: 6, second: 9 }));
    }

    #[test]
    fn other_words_are_not() {
        let specials = Specials::new();
        for text in ["", "were", "Well", "its", "canno", "cannott", "mr.", "the", "\u{1f600}"] {
            assert_eq!(specials.find(text.as_bytes()), None, "{text}");
        }
        let words = ["the", "of", "and", "a", "in", "to", "is", "was", "I", "that", "it", "for"];
        let passed = words.iter().filter(|w| specials.may_be_letters(head(w.as_bytes(), w.len())));
        assert_eq!(passed.count(), 0, "the most frequent words take the quick way");
    }
}
