//! Sixty-four bytes at a time: byte classes as bit masks, for the block scanner.
//!
//! In: 64 bytes of text. Out: one bit a byte for each class of [`Ascii`] and [`Wide`], lists of set
//! bits, and bits moved between the byte and the character view (parallel extract and deposit).
//! Method: AVX-512 looks bytes up in two registers (VBMI) and lists bits by a compressing move
//! (VBMI2); AVX2 compares. Which one runs is found out once, see [`level`].
//! Invariants: all instruction sets give equal masks, see the tests; a function here may be called
//! only where its set was detected, which is what [`Isa`]'s implementors stand for.
//! Cost: 20 to 60 instructions a block.

/// Bits of a byte below 0x80. Bytes above it may show any bit.
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

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512, Isa, keys_512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Ascii, Wide};
    use crate::tokenizer::bpe::table::FACTORS;

    use std::arch::x86_64::*;

    /// An instruction set. Calling any function of an implementor means: it was detected.
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
        /// The bits at the places of `mask`, moved together.
        fn extract(bits: u64, mask: u64) -> u64;
        /// The opposite of `extract`.
        fn deposit(bits: u64, mask: u64) -> u64;
    }

    const LETTER: u8 = 1;
    const NUMBER: u8 = 2;
    const WHITE: u8 = 4;
    const BREAK: u8 = 8;
    const BLANK: u8 = 16;
    const APOSTROPHE: u8 = 32;
    const LOWER: u8 = 64;
    const SLASH: u8 = 128;

    const CASELESS: u8 = 2;
    /// On a third byte: in U+2000 to U+203F it makes punctuation.
    const PUNCTUATION: u8 = 4;
    /// On a second byte: in U+00C0 to U+00FF it makes × or ÷.
    const SIGN: u8 = 8;

    /// Class bits of the bytes below 0x80.
    static LOW: [u8; 128] = low();
    /// Class bits of the bytes from 0x80 on.
    static HIGH: [u8; 128] = high();

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

    /// AVX-512 with VBMI2.
    pub struct Avx512;

    impl Isa for Avx512 {
        type Block = __m512i;

        #[inline(always)]
        fn load(bytes: &[u8; 64]) -> __m512i {
            // SAFETY: the instructions are there (see `Isa`); the array has 64 bytes.
            unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
        }

        #[inline(always)]
        fn high(block: __m512i) -> u64 {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { _mm512_movepi8_mask(block) }
        }

        #[inline(always)]
        fn ascii(block: __m512i) -> Ascii {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { ascii_512(block) }
        }

        #[inline(always)]
        fn wide(block: __m512i) -> Wide {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { wide_512(block) }
        }

        #[inline(always)]
        fn contractions(block: __m512i, fold: bool) -> (u64, u64) {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { contractions_512(block, fold) }
        }

        #[inline(always)]
        fn list(bits: u64, base: u32, positions: &mut [u32; 64]) {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { list_512(bits, base, positions) }
        }

        #[inline(always)]
        fn extract(bits: u64, mask: u64) -> u64 {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { _pext_u64(bits, mask) }
        }

        #[inline(always)]
        fn deposit(bits: u64, mask: u64) -> u64 {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { _pdep_u64(bits, mask) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn look_up(block: __m512i, table: &[u8; 128]) -> __m512i {
        // SAFETY: both halves of the table have 64 bytes.
        let (low, high) = unsafe {
            (
                _mm512_loadu_si512(table.as_ptr().cast()),
                _mm512_loadu_si512(table.as_ptr().add(64).cast()),
            )
        };
        _mm512_permutex2var_epi8(low, block, high)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn with_bit(classes: __m512i, bit: u8) -> u64 {
        _mm512_test_epi8_mask(classes, _mm512_set1_epi8(bit as i8))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn equal(block: __m512i, byte: u8) -> u64 {
        _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(byte as i8))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn ascii_512(block: __m512i) -> Ascii {
        let classes = look_up(block, &LOW);
        Ascii {
            letter: with_bit(classes, LETTER),
            lower: with_bit(classes, LOWER),
            number: with_bit(classes, NUMBER),
            white: with_bit(classes, WHITE),
            line_break: with_bit(classes, BREAK),
            blank: with_bit(classes, BLANK),
            apostrophe: with_bit(classes, APOSTROPHE),
            slash: with_bit(classes, SLASH),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn wide_512(block: __m512i) -> Wide {
        let high = _mm512_movepi8_mask(block);
        let classes = _mm512_maskz_mov_epi8(high, look_up(block, &HIGH));
        let sign = equal(block, 0xC3) & with_bit(classes, SIGN) >> 1;
        let general = equal(block, 0xE2) & equal(block, 0x80) >> 1;
        Wide {
            continuation: _mm512_cmplt_epi8_mask(block, _mm512_set1_epi8(-64)),
            letter: with_bit(classes, LETTER) & !sign,
            caseless: high & with_bit(classes, CASELESS),
            other: sign | general & with_bit(classes, PUNCTUATION) >> 2,
            long_s: equal(block, 0xC5) & equal(block, 0xBF) >> 1,
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn contractions_512(block: __m512i, fold: bool) -> (u64, u64) {
        let block = if fold { _mm512_or_si512(block, _mm512_set1_epi8(0x20)) } else { block };
        let one = equal(block, b's') | equal(block, b't') | equal(block, b'm') | equal(block, b'd');
        let r_or_v = equal(block, b'r') | equal(block, b'v');
        let l = equal(block, b'l');
        let two = r_or_v & equal(block, b'e') >> 1 | l & l >> 1;
        (one >> 1, two >> 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt")]
    fn list_512(bits: u64, base: u32, positions: &mut [u32; 64]) {
        static IDENTITY: [u8; 64] = {
            let mut table = [0; 64];
            let mut index = 0;
            while index < 64 {
                table[index] = index as u8;
                index += 1;
            }
            table
        };
        let base = _mm512_set1_epi32(base as i32);
        // SAFETY: 64 bytes are read from an array of 64.
        let identity = unsafe { _mm512_loadu_si512(IDENTITY.as_ptr().cast()) };
        let listed = _mm512_maskz_compress_epi8(bits, identity);
        let count = bits.count_ones();
        let quarter = |bytes: __m128i, index: usize, positions: &mut [u32; 64]| {
            let wide = _mm512_add_epi32(_mm512_cvtepu8_epi32(bytes), base);
            // SAFETY: 16 numbers are written at 16 × 0..=3 of 64.
            unsafe { _mm512_storeu_si512(positions.as_mut_ptr().add(16 * index).cast(), wide) };
        };
        quarter(_mm512_castsi512_si128(listed), 0, positions);
        quarter(_mm512_extracti32x4_epi32::<1>(listed), 1, positions);
        if count > 32 {
            quarter(_mm512_extracti32x4_epi32::<2>(listed), 2, positions);
            quarter(_mm512_extracti32x4_epi32::<3>(listed), 3, positions);
        }
    }

    /// Keys and hashes (see `scan` and `table`) of eight pieces that start at the first eight of
    /// `starts` and end at the next. Returns a bit for each that is longer than 15 bytes, whose key
    /// is arbitrary.
    ///
    /// # Panics
    /// If 16 bytes from a start on are not all in `text`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    pub fn keys_512(
        text: &[u8],
        starts: &[u32; 9],
        keys: &mut [[u64; 2]; 8],
        hashes: &mut [u64; 8],
    ) -> u8 {
        // SAFETY: 8 of 9 numbers each.
        let (first, next) = unsafe {
            (
                _mm256_loadu_si256(starts.as_ptr().cast()),
                _mm256_loadu_si256(starts.as_ptr().add(1).cast()),
            )
        };
        let lengths = _mm256_sub_epi32(next, first);
        let most = _mm256_set1_epi32(text.len().saturating_sub(16).min(u32::MAX as usize) as i32);
        assert!(_mm256_cmpgt_epu32_mask(first, most) == 0 && text.len() >= 16);
        let lengths = _mm512_castsi256_si512(lengths);
        // SAFETY: 16 bytes from each start on are in the text, as was just seen.
        let four = |starts: &[u32; 4]| unsafe {
            let load = |at: u32| _mm_loadu_si128(text.as_ptr().add(at as usize).cast());
            let four = _mm512_castsi128_si512(load(starts[0]));
            let four = _mm512_inserti32x4::<1>(four, load(starts[1]));
            let four = _mm512_inserti32x4::<2>(four, load(starts[2]));
            _mm512_inserti32x4::<3>(four, load(starts[3]))
        };
        let factors = _mm512_set4_epi64(
            FACTORS[1] as i64,
            FACTORS[0] as i64,
            FACTORS[1] as i64,
            FACTORS[0] as i64,
        );
        let last = _mm512_set4_epi32(0xFF << 24, 0, 0, 0);
        let place = _mm512_set4_epi32(0x0F0E_0D0C, 0x0B0A_0908, 0x0706_0504, 0x0302_0100);
        let mut sums = [_mm512_setzero_si512(); 2];
        for half in 0..2 {
            let starts = starts[4 * half..4 * half + 4].as_array().expect("4 numbers");
            // Byte 4 i of the lengths is the low byte of the i-th.
            let lane = _mm512_set_epi32(12, 12, 12, 12, 8, 8, 8, 8, 4, 4, 4, 4, 0, 0, 0, 0);
            let lane = _mm512_mullo_epi32(lane, _mm512_set1_epi32(0x0101_0101));
            let lane = _mm512_add_epi8(lane, _mm512_set1_epi8(16 * half as i8));
            let length = _mm512_permutexvar_epi8(lane, lengths);
            let inside = _mm512_cmplt_epu8_mask(place, length);
            let bytes = _mm512_maskz_mov_epi8(inside, four(starts));
            let key = _mm512_or_si512(bytes, _mm512_and_si512(length, last));
            // SAFETY: 64 bytes of 128.
            unsafe { _mm512_storeu_si512(keys.as_mut_ptr().add(4 * half).cast(), key) };
            let products = _mm512_mullo_epi64(key, factors);
            let sum = _mm512_add_epi64(products, _mm512_shuffle_epi32::<0x4E>(products));
            sums[half] = _mm512_rol_epi64::<32>(sum);
        }
        let even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
        let sums = _mm512_permutex2var_epi64(sums[0], even, sums[1]);
        // SAFETY: 64 bytes of 64.
        unsafe { _mm512_storeu_si512(hashes.as_mut_ptr().cast(), sums) };
        _mm256_cmpgt_epu32_mask(_mm512_castsi512_si256(lengths), _mm256_set1_epi32(15))
    }

    /// AVX2 with BMI2.
    pub struct Avx2;

    impl Isa for Avx2 {
        type Block = [__m256i; 2];

        #[inline(always)]
        fn load(bytes: &[u8; 64]) -> [__m256i; 2] {
            // SAFETY: the instructions are there (see `Isa`); the array has 64 bytes.
            unsafe {
                [
                    _mm256_loadu_si256(bytes.as_ptr().cast()),
                    _mm256_loadu_si256(bytes.as_ptr().add(32).cast()),
                ]
            }
        }

        #[inline(always)]
        fn high(block: [__m256i; 2]) -> u64 {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { bits_256(block) }
        }

        #[inline(always)]
        fn ascii(block: [__m256i; 2]) -> Ascii {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { ascii_256(block) }
        }

        #[inline(always)]
        fn wide(block: [__m256i; 2]) -> Wide {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { wide_256(block) }
        }

        #[inline(always)]
        fn contractions(block: [__m256i; 2], fold: bool) -> (u64, u64) {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { contractions_256(block, fold) }
        }

        #[inline(always)]
        fn list(mut bits: u64, base: u32, positions: &mut [u32; 64]) {
            for group in positions.chunks_exact_mut(8) {
                for position in group {
                    *position = base.wrapping_add(bits.trailing_zeros());
                    bits &= bits.wrapping_sub(1);
                }
                if bits == 0 {
                    break;
                }
            }
        }

        #[inline(always)]
        fn extract(bits: u64, mask: u64) -> u64 {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { _pext_u64(bits, mask) }
        }

        #[inline(always)]
        fn deposit(bits: u64, mask: u64) -> u64 {
            // SAFETY: the instructions are there (see `Isa`).
            unsafe { _pdep_u64(bits, mask) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn bits_256(block: [__m256i; 2]) -> u64 {
        let [low, high] = block.map(|half| _mm256_movemask_epi8(half) as u32 as u64);
        low | high << 32
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn equal_256(block: [__m256i; 2], byte: u8) -> u64 {
        bits_256(block.map(|half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8))))
    }

    /// `first` ≤ byte ≤ `last`, unsigned.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn between_256(block: [__m256i; 2], first: u8, last: u8) -> u64 {
        bits_256(block.map(|half| {
            let above = _mm256_sub_epi8(half, _mm256_set1_epi8(first as i8));
            let most = _mm256_set1_epi8((last - first) as i8);
            _mm256_cmpeq_epi8(_mm256_min_epu8(above, most), above)
        }))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn ascii_256(block: [__m256i; 2]) -> Ascii {
        let folded = block.map(|half| _mm256_or_si256(half, _mm256_set1_epi8(0x20)));
        let blank = equal_256(block, b' ');
        Ascii {
            letter: between_256(folded, b'a', b'z'),
            lower: between_256(block, b'a', b'z'),
            number: between_256(block, b'0', b'9'),
            white: blank | between_256(block, b'\t', b'\r'),
            line_break: equal_256(block, b'\n') | equal_256(block, b'\r'),
            blank,
            apostrophe: equal_256(block, b'\''),
            slash: equal_256(block, b'/'),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn wide_256(block: [__m256i; 2]) -> Wide {
        let sign = equal_256(block, 0xC3) & (equal_256(block, 0x97) | equal_256(block, 0xB7)) >> 1;
        let general = equal_256(block, 0xE2) & equal_256(block, 0x80) >> 1;
        let third = between_256(block, 0x8B, 0xA7)
            | between_256(block, 0xAA, 0xAE)
            | between_256(block, 0xB0, 0xBF);
        let caseless = between_256(block, 0xE5, 0xE9) | between_256(block, 0xEB, 0xEC);
        let cased = between_256(block, 0xC3, 0xCA)
            | between_256(block, 0xD0, 0xD1)
            | equal_256(block, 0xD3);
        Wide {
            continuation: between_256(block, 0x80, 0xBF),
            letter: (cased | caseless) & !sign,
            caseless,
            other: sign | general & third >> 2,
            long_s: equal_256(block, 0xC5) & equal_256(block, 0xBF) >> 1,
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn contractions_256(block: [__m256i; 2], fold: bool) -> (u64, u64) {
        let bit = _mm256_set1_epi8(0x20);
        let block = if fold { block.map(|half| _mm256_or_si256(half, bit)) } else { block };
        let equal = |byte| equal_256(block, byte);
        let one = equal(b's') | equal(b't') | equal(b'm') | equal(b'd');
        let l = equal(b'l');
        let two = (equal(b'r') | equal(b'v')) & equal(b'e') >> 1 | l & l >> 1;
        (one >> 1, two >> 1)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::tokenizer::bpe::classes;
        use crate::tokenizer::bpe::simd::{Level, level};

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
}
