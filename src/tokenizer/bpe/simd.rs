//! Sixty-four bytes at a time: byte classes as bit masks, for the block scanner.
//!
//! In: 64 bytes of text. Out: one bit a byte for each class of [`Ascii`] and [`Wide`], lists of set
//! bits, and bits moved between the byte and the character view (parallel extract and deposit).
//! Method: AVX-512 looks bytes up in two registers (VBMI) and lists bits by a compressing move
//! (VBMI2); AVX2 compares. Which one runs is found out once, see [`level`].
//! Invariants: all instruction sets give equal masks, see the tests; a function of an implementor
//! of [`Isa`] may be called only where [`level`] has found its instructions.
//! Cost: 20 to 60 instructions a block.

#![allow(unsafe_code, reason = "kernels for the vector units")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, keys_512};

/// Bits of a byte below 0x80. Bytes above it may show any bit.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Ascii {
    /// Letters.
    pub letter: u64,
    /// Small letters.
    pub lower: u64,
    /// Digits.
    pub number: u64,
    /// White space with line breaks.
    pub white: u64,
    /// `\r` and `\n`.
    pub line_break: u64,
    /// U+0020.
    pub blank: u64,
    /// `'`.
    pub apostrophe: u64,
    /// `/`.
    pub slash: u64,
}

/// Bits of bytes from 0x80 on, right on the first byte of a character only.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Wide {
    /// Not a character's first byte.
    pub continuation: u64,
    /// Surely a letter.
    pub letter: u64,
    /// Surely a letter of categories Lm or Lo.
    pub caseless: u64,
    /// Surely none of letter, mark, number, white space.
    pub other: u64,
    /// U+017F.
    pub long_s: u64,
}

/// The instruction set that the scanner works with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// One character after the other.
    Portable,
    /// AVX2, BMI1, BMI2, LZCNT, POPCNT.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Those, and AVX-512 F, BW, DQ, VL, VBMI, VBMI2.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The best level of this machine.
pub fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let all = |found: &[bool]| found.iter().all(|&found| found);
        let avx2 = all(&[
            is_x86_feature_detected!("avx2"),
            is_x86_feature_detected!("bmi1"),
            is_x86_feature_detected!("bmi2"),
            is_x86_feature_detected!("lzcnt"),
            is_x86_feature_detected!("popcnt"),
        ]);
        let avx512 = all(&[
            is_x86_feature_detected!("avx512f"),
            is_x86_feature_detected!("avx512bw"),
            is_x86_feature_detected!("avx512dq"),
            is_x86_feature_detected!("avx512vl"),
            is_x86_feature_detected!("avx512vbmi"),
            is_x86_feature_detected!("avx512vbmi2"),
        ]);
        if avx2 && avx512 {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// An instruction set. A function of an implementor may be called only where it was detected.
#[cfg(target_arch = "x86_64")]
pub trait Isa {
    /// Sixty-four bytes in registers.
    type Block: Copy;
    /// Reads a block.
    fn load(bytes: &[u8; 64]) -> Self::Block;
    /// Bytes from 0x80 on.
    fn high(block: Self::Block) -> u64;
    /// Classes of bytes below 0x80.
    fn ascii(block: Self::Block) -> Ascii;
    /// Classes of bytes from 0x80 on.
    fn wide(block: Self::Block) -> Wide;
    /// Bytes before `s`, `t`, `m`, `d`, and bytes before `re`, `ve`, `ll`; either case, if
    /// `fold`.
    fn contractions(block: Self::Block, fold: bool) -> (u64, u64);
    /// Writes `base` + position of each set bit, ascending; what stands after them is
    /// arbitrary.
    fn list(bits: u64, base: u32, positions: &mut [u32; 64]);
    /// Gathers the bits at the places of `mask` at the low end, in order.
    fn extract(bits: u64, mask: u64) -> u64;
    /// The opposite of `extract`.
    fn deposit(bits: u64, mask: u64) -> u64;
}

/// Class bits of a byte, in [`LOW`] and [`HIGH`].
#[cfg(target_arch = "x86_64")]
const LETTER: u8 = 1;
#[cfg(target_arch = "x86_64")]
const NUMBER: u8 = 2;
#[cfg(target_arch = "x86_64")]
const WHITE: u8 = 4;
#[cfg(target_arch = "x86_64")]
const BREAK: u8 = 8;
#[cfg(target_arch = "x86_64")]
const BLANK: u8 = 16;
#[cfg(target_arch = "x86_64")]
const APOSTROPHE: u8 = 32;
#[cfg(target_arch = "x86_64")]
const LOWER: u8 = 64;
#[cfg(target_arch = "x86_64")]
const SLASH: u8 = 128;

/// In [`HIGH`].
#[cfg(target_arch = "x86_64")]
const CASELESS: u8 = 2;
/// On a third byte: in U+2000 to U+203F it makes punctuation.
#[cfg(target_arch = "x86_64")]
const PUNCTUATION: u8 = 4;
/// On a second byte: in U+00C0 to U+00FF it makes × or ÷.
#[cfg(target_arch = "x86_64")]
const SIGN: u8 = 8;

/// Class bits of the bytes below 0x80.
#[cfg(target_arch = "x86_64")]
static LOW: [u8; 128] = low();
/// Class bits of the bytes from 0x80 on.
#[cfg(target_arch = "x86_64")]
static HIGH: [u8; 128] = high();

#[cfg(target_arch = "x86_64")]
const fn low() -> [u8; 128] {
    let mut table = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        let mut bits = 0;
        match byte as u8 {
            b'a'..=b'z' => bits |= LETTER | LOWER,
            b'A'..=b'Z' => bits |= LETTER,
            b'0'..=b'9' => bits |= NUMBER,
            b'\n' | b'\r' => bits |= WHITE | BREAK,
            b'\t' | 0x0B | 0x0C => bits |= WHITE,
            b' ' => bits |= WHITE | BLANK,
            b'\'' => bits |= APOSTROPHE,
            b'/' => bits |= SLASH,
            _ => {}
        }
        table[byte] = bits;
        byte += 1;
    }
    table
}

/// A first byte is marked where all its characters are letters (but for × and ÷ after 0xC3),
/// see `a_marked_first_byte_has_letters_only`.
#[cfg(target_arch = "x86_64")]
const fn high() -> [u8; 128] {
    let mut table = [0; 128];
    let mut byte = 0x80;
    while byte < 0x100 {
        table[byte - 0x80] = match byte as u8 {
            0x97 => SIGN | PUNCTUATION,
            0xB7 => SIGN | PUNCTUATION,
            0x8B..=0xA7 | 0xAA..=0xAE | 0xB0..=0xBF => PUNCTUATION,
            0xC3..=0xCA | 0xD0 | 0xD1 | 0xD3 => LETTER,
            0xE5..=0xE9 | 0xEB | 0xEC => LETTER | CASELESS,
            _ => 0,
        };
        byte += 1;
    }
    table
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::tokenizer::bpe::classes;

    #[test]
    fn a_marked_first_byte_has_letters_only() {
        for code in 0x80..0x110000usize {
            let Some(char) = char::from_u32(code as u32) else { continue };
            let mut bytes = [0; 4];
            let first = char.encode_utf8(&mut bytes).as_bytes()[0];
            let bits = HIGH[first as usize - 0x80];
            let class = classes::of_code(code);
            if bits & LETTER != 0 && code != 0xD7 && code != 0xF7 {
                assert!(class & classes::LETTER != 0, "{code:x}");
            }
            assert!(bits & CASELESS == 0 || class == classes::CASELESS, "{code:x}");
            if (0x2000..0x2040).contains(&code) && HIGH[code & 0x3F] & PUNCTUATION != 0 {
                assert_eq!(class, classes::OTHER, "{code:x}");
            }
        }
    }

    fn same_masks<A: Isa, B: Isa>(bytes: &[u8; 64]) {
        let (a, b) = (A::load(bytes), B::load(bytes));
        let high = A::high(a);
        assert_eq!(high, B::high(b));
        let low = |mut ascii: Ascii| {
            for bits in [
                &mut ascii.letter,
                &mut ascii.lower,
                &mut ascii.number,
                &mut ascii.white,
                &mut ascii.line_break,
                &mut ascii.blank,
                &mut ascii.apostrophe,
                &mut ascii.slash,
            ] {
                *bits &= !high;
            }
            ascii
        };
        assert_eq!(low(A::ascii(a)), low(B::ascii(b)));
        assert_eq!(A::wide(a), B::wide(b));
        for fold in [false, true] {
            assert_eq!(A::contractions(a, fold), B::contractions(b, fold));
        }
        let (mut first, mut second) = ([0; 64], [0; 64]);
        A::list(high, 7, &mut first);
        B::list(high, 7, &mut second);
        let count = high.count_ones() as usize;
        assert_eq!(first[..count], second[..count]);
        assert!(first[..count].iter().all(|&at| bytes[at as usize - 7] >= 0x80));
    }

    #[test]
    fn instruction_sets_agree_on_every_byte() {
        if level() != Level::Avx512 {
            return;
        }
        let mut state = 1u64;
        for round in 0..20_000usize {
            let bytes = std::array::from_fn(|index| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                let random = (state >> 56) as u8;
                if round < 4 { (round * 64 + index) as u8 } else { random }
            });
            same_masks::<Avx512, Avx2>(&bytes);
        }
    }
}
