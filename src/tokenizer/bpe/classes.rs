//! The class of a character, as the pre-tokenizer patterns distinguish them, at one Unicode
//! version.
//!
//! In: text and a position. Out: one of eight classes (one bit each, so that a union of classes is
//! a mask) and the character's length in bytes. `\p{L}` is [`LETTER`], `\p{N}` is [`NUMBER`],
//! `\p{M}` is [`MARK`], `\s` is [`WHITE`]; everything else is [`OTHER`].
//! Method: the runs of `tables.rs`, spread at compile time into one byte a code point (208 KiB, of
//! which a text touches the blocks of its script).
//! Invariants: results depend on [`UNICODE_VERSION`] alone, the version that Hugging Face
//! `tokenizers` 0.21.2 and later has in its regex engine.
//! Cost: a decode and one load a character.

use super::tables;
pub use super::tables::UNICODE_VERSION;

/// Lu, Lt.
pub const UPPER: u8 = 1;
/// Ll.
pub const LOWER: u8 = 2;
/// Lm, Lo.
pub const CASELESS: u8 = 4;
/// Mn, Mc, Me.
pub const MARK: u8 = 8;
/// Nd, Nl, No.
pub const NUMBER: u8 = 16;
/// White_Space but carriage return and line feed.
pub const SPACE: u8 = 32;
/// Carriage return and line feed.
pub const BREAK: u8 = 64;
/// None of the others: punctuation, symbols, controls, unassigned code points.
pub const OTHER: u8 = 128;

/// `\p{L}`.
pub const LETTER: u8 = UPPER | LOWER | CASELESS;
/// `\s`.
pub const WHITE: u8 = SPACE | BREAK;
/// `[^\s\p{L}\p{N}]`.
pub const REST: u8 = OTHER | MARK;

/// Beyond the last ideograph (U+323AF) only the selectors below are in a class.
const LIMIT: usize = 0x34000;
/// Variation selectors 17 to 256, which are marks.
const SELECTORS: std::ops::RangeInclusive<usize> = 0xE0100..=0xE01EF;

static CLASS: [u8; LIMIT] = spread();

const fn spread() -> [u8; LIMIT] {
    let mut class = [OTHER; LIMIT];
    let kinds = [
        (tables::UPPER, UPPER),
        (tables::LOWER, LOWER),
        (tables::CASELESS, CASELESS),
        (tables::MARK, MARK),
        (tables::NUMBER, NUMBER),
        (tables::SPACE, SPACE),
        (tables::BREAK, BREAK),
    ];
    let mut kind = 0;
    while kind < kinds.len() {
        let (runs, value) = kinds[kind];
        let mut run = 0;
        while run < runs.len() {
            let (mut code, last, step) = runs[run];
            while code <= last && code < LIMIT as u32 {
                class[code as usize] = value;
                code += step;
            }
            run += 1;
        }
        kind += 1;
    }
    class
}

/// The class of a code point.
#[inline(always)]
pub fn of_code(code: usize) -> u8 {
    match CLASS.get(code) {
        Some(&class) => class,
        None if SELECTORS.contains(&code) => MARK,
        None => OTHER,
    }
}

/// Whether a character is of `\p{N}`.
pub fn is_number(character: char) -> bool {
    of_code(character as usize) & NUMBER != 0
}

/// Whether a character is of `\s`: the property White_Space.
pub fn is_white(character: char) -> bool {
    of_code(character as usize) & WHITE != 0
}

/// The class and the length in bytes of the character that starts at `at`, a place inside `text`,
/// which is UTF-8. If no character starts there, the answer is arbitrary.
#[inline(always)]
pub fn at(text: &[u8], at: usize) -> (u8, usize) {
    let first = text[at] as usize;
    if first < 0x80 {
        return (CLASS[first], 1);
    }
    let follow = |index: usize| text.get(at + index).map_or(0, |&byte| (byte & 0x3F) as usize);
    let (code, length) = match first {
        0..=0xDF => ((first & 0x1F) << 6 | follow(1), 2),
        0xE0..=0xEF => ((first & 0x0F) << 12 | follow(1) << 6 | follow(2), 3),
        _ => ((first & 0x07) << 18 | follow(1) << 12 | follow(2) << 6 | follow(3), 4),
    };
    (of_code(code), length)
}

/// Where the run of characters of `classes` that starts at `at` ends.
#[inline(always)]
pub fn run_end(text: &[u8], mut at: usize, classes: u8) -> usize {
    while at < text.len() {
        let (class, length) = self::at(text, at);
        if class & classes == 0 {
            break;
        }
        at += length;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_sizes_of_unicode_16() {
        let count = |classes: u8| {
            let codes = (0..0x110000).filter(|code| !(0xD800..0xE000).contains(code));
            codes.filter(|&code| of_code(code) & classes != 0).count()
        };
        assert_eq!(UNICODE_VERSION, "16.0.0");
        assert_eq!(count(LETTER), 141_028);
        assert_eq!(count(NUMBER), 1_911);
        assert_eq!(count(MARK), 2_501);
        assert_eq!(count(LOWER), 2_258);
        assert_eq!(count(UPPER), 1_858 + 31);
        assert_eq!(count(WHITE), 25);
        assert_eq!(count(BREAK), 2);
    }

    #[test]
    fn a_character_is_decoded_where_it_stands() {
        for (char, class) in [
            ('a', LOWER),
            ('É', UPPER),
            ('ǅ', UPPER),
            ('ʰ', CASELESS),
            ('中', CASELESS),
            ('𝒜', UPPER),
            ('\u{301}', MARK),
            ('\u{E0100}', MARK),
            ('½', NUMBER),
            ('\u{85}', SPACE),
            ('\u{2028}', SPACE),
            ('\r', BREAK),
            ('\u{200B}', OTHER),
            ('🫨', OTHER),
        ] {
            let text = format!("-{char}-");
            assert_eq!(at(text.as_bytes(), 1), (class, char.len_utf8()), "{char:?}");
        }
    }

    #[test]
    fn a_run_ends_at_the_first_stranger_or_with_the_text() {
        assert_eq!(run_end("ab中é1".as_bytes(), 1, LETTER), 7);
        assert_eq!(run_end("ab".as_bytes(), 0, LETTER), 2);
        assert_eq!(run_end("ab".as_bytes(), 2, LETTER), 2);
    }
}
