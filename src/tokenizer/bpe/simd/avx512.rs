//! The masks and keys of `simd` in AVX-512.
//!
//! In: 64 bytes, or eight starts of pieces. Out: masks, lists, keys with their hashes.
//! Method: a byte's class bits are looked up in two registers (VBMI); set bits are listed by
//! compressing the numbers 0 to 63 (VBMI2); keys are made four to a register.
//! Invariants: see `simd`.
//! Cost: about 20 instructions a block, 7 a key.

use super::{
    APOSTROPHE, Ascii, BLANK, BREAK, CASELESS, HIGH, Isa, LETTER, LOW, LOWER, NUMBER, PUNCTUATION,
    SIGN, SLASH, WHITE, Wide,
};
use crate::tokenizer::bpe::piece::FACTORS;
use std::arch::x86_64::*;

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
///
/// # Safety
/// The machine has these instructions.
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
