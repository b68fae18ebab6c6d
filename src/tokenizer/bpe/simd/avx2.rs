//! The masks of `simd` in AVX2.
//!
//! In: 64 bytes. Out: masks and lists.
//! Method: comparisons with constants and ranges, half a block at a time.
//! Invariants: see `simd`.
//! Cost: about 60 instructions a block.

use super::{Ascii, Isa, Wide};
use std::arch::x86_64::*;

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
    let cased =
        between_256(block, 0xC3, 0xCA) | between_256(block, 0xD0, 0xD1) | equal_256(block, 0xD3);
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
