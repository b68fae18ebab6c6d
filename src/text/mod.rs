//! Unicode text as Python's `str` sees it, at one stated version: classes and lower case; and which
//! characters belong to scripts that put no space between words.
//!
//! In: characters and strings. Out: membership in a class, lower-cased text. Rust's own
//! `char::is_alphabetic` and `str::to_lowercase` are no substitute: their Unicode version moves
//! with the compiler, and every published filter was written against Python (`str.split`,
//! `str.isalpha`, `re`'s `\w`, `str.lower`), whose classes differ from Rust's (U+001C to U+001F are
//! white space; a combining vowel sign is no letter).
//! Method: range tables written by `make_classes.py`, spread at compile time into bitmaps of 26 KiB
//! a class; lower case by binary search in 186 runs for characters that have a small letter.
//! Invariants: results depend on [`UNICODE_VERSION`] alone; surrogates do not occur in a `char`.
//! Cost: one load and one shift a character; lower-casing runs of ASCII at memory speed, no
//! allocation but the growth of the caller's string.

pub mod bits;
pub mod digits;
mod lower;
pub mod normalize;
pub mod punctuation;
#[rustfmt::skip]
mod tables;
pub mod words;

pub use lower::lower;
pub use tables::UNICODE_VERSION;

/// First code point that no table reaches: beyond the last ideograph (U+323AF) stand only variation
/// selectors, tags and private use, which are in none of the classes.
const LIMIT: usize = 0x34000;

/// Number of code points of UTF-8 text: of the bytes that continue none.
pub fn count_chars(bytes: &[u8]) -> usize {
    let starts = |block: &[u8]| -> u8 {
        block.iter().map(|&byte| u8::from(byte as i8 >= -0x40)).sum::<u8>()
    };
    // Blocks so short that a byte holds their count: so sixteen or more bytes are added at a time.
    bytes.chunks(240).map(|block| usize::from(starts(block))).sum()
}

/// A class of characters, one bit for each code point below U+34000. For a `static`.
pub struct Class([u64; LIMIT / 64]);

impl Class {
    /// The characters in `ranges`: (first, last) code points, inclusive.
    pub const fn new(ranges: &[(u32, u32)]) -> Class {
        let mut bits = [0u64; LIMIT / 64];
        let mut index = 0;
        while index < ranges.len() {
            let (mut code, last) = (ranges[index].0 as usize, ranges[index].1 as usize);
            assert!(code <= last && last < LIMIT, "a range is out of order or beyond LIMIT");
            while code <= last {
                if code % 64 == 0 && last - code >= 63 {
                    bits[code / 64] = u64::MAX;
                    code += 64;
                } else {
                    bits[code / 64] |= 1 << (code % 64);
                    code += 1;
                }
            }
            index += 1;
        }
        Class(bits)
    }

    /// Whether `char` is in the class.
    pub fn contains(&self, char: char) -> bool {
        let code = char as usize;
        self.0.get(code / 64).is_some_and(|bits| bits >> (code % 64) & 1 == 1)
    }
}

static WHITE_SPACE: Class = Class::new(tables::WHITE_SPACE);
static WORD: Class = Class::new(tables::WORD);
static LETTER: Class = Class::new(tables::LETTER);
static UNSPACED: Class = Class::new(tables::UNSPACED);

/// Python's `str.isspace`, which is also `\s` and what `str.split()` and `str.strip()` cut at: the
/// 25 code points of Unicode's White_Space and U+001C to U+001F.
pub fn is_white_space(char: char) -> bool {
    WHITE_SPACE.contains(char)
}

/// Python's `\w`: letters, everything with a numeric value (`²`, `½`, `Ⅳ`), and `_`. Combining
/// marks are outside, so `\w+` cuts decomposed and most Indic words apart, as it does in Python.
pub fn is_word(char: char) -> bool {
    WORD.contains(char)
}

/// Python's `str.isalpha`: categories Lu, Ll, Lt, Lm and Lo.
pub fn is_letter(char: char) -> bool {
    LETTER.contains(char)
}

/// Whether a character is a letter, a mark or a number (no decimal digit) of a script that puts no
/// space between words, so that a run of [`is_word`] is a clause there and no word: Han, Hiragana,
/// Katakana, Bopomofo, Yi, Tangut, Nushu; Thai, Lao, Khmer, Myanmar, Tai Le, New Tai Lue, Tai Tham,
/// Tai Viet, Ahom; Balinese, Javanese, Batak, Cham, Kawi, Brahmi, Grantha, Tulu-Tigalari, Dives
/// Akuru, Makasar, Gurung Khema (those whose letters let a line break inside a word, UAX #14); and
/// Tibetan. A character that scripts with spaces use too is not among them.
pub fn is_unspaced(char: char) -> bool {
    UNSPACED.contains(char)
}

/// Whether a character has an effect instead of a shape: C0, DEL and C1, which a terminal obeys,
/// and line separators and what turns the direction of text.
pub fn acts(char: char) -> bool {
    matches!(
        char,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn count(holds: fn(char) -> bool) -> usize {
        ('\0'..=char::MAX).filter(|&char| holds(char)).count()
    }

    fn strings(value: &Value) -> Vec<&str> {
        value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
    }

    #[test]
    fn classes_have_as_many_code_points_as_unicode_16_gives_them() {
        assert_eq!(UNICODE_VERSION, "16.0.0");
        // White_Space has 25 and Python adds four; 141,028 is the sum of L* in 16.0.
        assert_eq!(count(is_white_space), 29);
        assert_eq!(count(is_letter), 141_028);
        assert_eq!(count(is_word), 142_940);
        assert_eq!(count(is_unspaced), 109_482);
    }

    #[test]
    fn every_letter_is_a_word_character_and_no_white_space_is() {
        for char in '\0'..=char::MAX {
            assert!(!is_letter(char) || is_word(char), "{char:?}");
            assert!(!is_white_space(char) || !is_word(char), "{char:?}");
        }
    }

    #[test]
    fn scripts_without_spaces_have_their_letters_and_marks_alone() {
        for char in "漢々〇〆ひらーカﾅㄅꀀไทยัດขែมွ་ཀྵᬅꦄ".chars().filter(|&char| char != '་')
        {
            assert!(is_unspaced(char), "{char:?}");
        }
        // Digits, punctuation, and what writes words apart or is shared with it.
        for char in "a_é7ø٣हिक한글ㄱ๓၃，。་ʼˇ\u{301}\u{951}௰Ａ０½\u{200b}".chars()
        {
            assert!(!is_unspaced(char), "{char:?}");
        }
        let two_bytes = ('\0'..'\u{800}').filter(|&char| is_unspaced(char)).count();
        assert_eq!(two_bytes, 0, "a shingle's room counts on three bytes");
    }

    #[test]
    fn samples_read_as_in_python() {
        let mut samples = 0;
        for line in include_str!("golden.jsonl").lines() {
            let sample: Value = serde_json::from_str(line).unwrap();
            let text = sample["text"].as_str().unwrap();
            let split = text.split(is_white_space).filter(|word| !word.is_empty());
            assert_eq!(split.collect::<Vec<_>>(), strings(&sample["split"]), "{text:?}");
            let words = text.split(|char| !is_word(char)).filter(|word| !word.is_empty());
            assert_eq!(words.collect::<Vec<_>>(), strings(&sample["words"]), "{text:?}");
            let letters: String = text.chars().filter(|&char| is_letter(char)).collect();
            assert_eq!(letters, sample["letters"].as_str().unwrap(), "{text:?}");
            let mut small = String::new();
            lower(text, &mut small);
            assert_eq!(small, sample["lower"].as_str().unwrap(), "{text:?}");
            samples += 1;
        }
        assert_eq!(samples, 21);
    }
}
