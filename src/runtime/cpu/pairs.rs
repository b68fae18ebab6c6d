//! Factors of a product in bf16, in the order in which its kernels read them.
//!
//! In → a [`Matrix`] of f32, a range of its rows or columns and of the inner dimension; out → its
//! numbers, rounded to the nearest bf16 (ties to even; numbers below 2⁻¹²⁶ become 0), two inner
//! indices a word. A left factor becomes rows of words, a right one *panels* of 32 columns, ordered
//! by pair of inner indices. Inner indices are padded with zeros to whole steps of 32. **Cost.**
//! The factor is read once and half as many bytes are written; transposed ones go through
//! registers in squares.

#![allow(unsafe_code, reason = "kernels for the vector units")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, __mmask16, _mm512_castsi512_ps, _mm512_cvtne2ps_pbh,
    _mm512_loadu_epi16, _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_setzero_ps,
    _mm512_storeu_ps,
};
use std::mem::transmute;
use std::ops::Range;

use super::matrix::Matrix;
use super::pack::transpose;

/// Rows and columns of a square of sums.
pub const SIDE: usize = 32;

/// Inner indices that a kernel takes at once.
pub const STEP: usize = 32;

/// Words of a step.
const WORDS: usize = STEP / 2;

/// The order that interleaves the halves of a register of 16-bit numbers.
static INTERLEAVED: [i16; 32] = {
    let mut order = [0; 32];
    let mut at = 0;
    while at < 16 {
        order[2 * at] = at as i16;
        order[2 * at + 1] = at as i16 + 16;
        at += 1;
    }
    order
};

/// Packs `rows` of `left` into rows of words `stride` apart. Where the columns of the factor are
/// contiguous, many rows should be packed at once, so that whole cache lines are read in order.
///
/// # Panics
/// Where they do not fit.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn pack_left(
    into: &mut [u32],
    stride: usize,
    left: Matrix<'_>,
    rows: Range<usize>,
    inner: Range<usize>,
) {
    let words = inner.len().div_ceil(STEP) * WORDS;
    let places = rows.len().div_ceil(16) * 16;
    assert!(words <= stride && into.len() >= places * stride, "room for all rows");
    assert!(rows.end <= left.rows && inner.end <= left.columns, "a part of the factor");
    assert!(left.column_stride == 1 || left.row_stride == 1, "contiguous one way");
    let into = into.as_mut_ptr();
    if left.column_stride == 1 {
        for (at, row) in rows.enumerate() {
            let from = left.elements[row * left.row_stride + inner.start..].as_ptr();
            // SAFETY: `inner` lies inside the row, and the words inside the tile, by the
            // assertions.
            unsafe { row_of_words(from, inner.len(), into.add(at * stride)) };
        }
        return;
    }
    for first in (0..inner.len()).step_by(STEP) {
        let some = (inner.len() - first).min(STEP);
        for start in (0..rows.len()).step_by(16) {
            let count = (rows.len() - start).min(16);
            let from = (inner.start + first) * left.column_stride + rows.start + start;
            let from = left.elements[from..].as_ptr();
            // SAFETY: as above; a square that reaches beyond `rows` stays inside the tile.
            unsafe {
                let square = interleaved(from, left.column_stride, some, count);
                store(transpose(square), into.add(start * stride + first / 2), stride);
            }
        }
    }
}

/// Packs `columns` of `right`, panel after panel; the first column begins a panel.
///
/// # Panics
/// Where they do not fit.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn pack_right(into: &mut [u32], right: Matrix<'_>, columns: Range<usize>, inner: Range<usize>) {
    let panel = inner.len().div_ceil(STEP) * WORDS * SIDE;
    assert!(columns.len().div_ceil(SIDE) * panel <= into.len(), "all panels");
    assert!(columns.end <= right.columns && inner.end <= right.rows, "a part of the factor");
    assert!(right.column_stride == 1 || right.row_stride == 1, "contiguous one way");
    for first in (0..inner.len()).step_by(STEP) {
        let some = (inner.len() - first).min(STEP);
        for (at, start) in columns.clone().step_by(SIDE / 2).enumerate() {
            let count = (columns.end - start).min(16);
            let from = (inner.start + first) * right.row_stride + start * right.column_stride;
            let from = right.elements[from..].as_ptr();
            let place = at / 2 * panel + first / 2 * SIDE + at % 2 * 16;
            let place = into[place..].as_mut_ptr();
            // SAFETY: what is read lies inside the factor, and the square inside its panel, by the
            // assertions.
            unsafe {
                let square = match right.column_stride {
                    1 => interleaved(from, right.row_stride, some, count),
                    stride => transpose(converted(from, stride, some, count)),
                };
                store(square, place, SIDE);
            }
        }
        if (1..=16).contains(&(columns.len() % SIDE)) {
            let place = columns.len() / SIDE * panel + first / 2 * SIDE + 16;
            let words = into[place..].chunks_mut(SIDE).take(WORDS);
            words.for_each(|words| words[..16].fill(0));
        }
    }
}

/// The mask of the first `count` lanes, at most 16.
fn lanes(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

/// 16 pairs of inner indices of 16 contiguous rows or columns; the lower half of a word is the
/// first index of its pair.
///
/// # Safety
/// `from` holds `inner` runs of `count` numbers, `stride` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn interleaved(
    from: *const f32,
    stride: usize,
    inner: usize,
    count: usize,
) -> [__m512; WORDS] {
    let mask = lanes(count);
    let mut square = [_mm512_setzero_ps(); WORDS];
    let run = |at: usize| match at < inner {
        // SAFETY: the caller's promise: no run is read beyond `inner`, no number beyond `count`.
        true => unsafe { _mm512_maskz_loadu_ps(mask, from.add(at * stride)) },
        false => _mm512_setzero_ps(),
    };
    // SAFETY: 32 numbers of 16 bits.
    let order = unsafe { _mm512_loadu_epi16(INTERLEAVED.as_ptr()) };
    for (at, words) in square.iter_mut().enumerate() {
        let halves = _mm512_cvtne2ps_pbh(run(2 * at + 1), run(2 * at));
        *words = _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, bits(halves)));
    }
    square
}

/// 32 contiguous inner indices of 16 rows or columns.
///
/// # Safety
/// As of [`interleaved`], with `count` runs of `inner`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn converted(
    from: *const f32,
    stride: usize,
    inner: usize,
    count: usize,
) -> [__m512; WORDS] {
    let mut square = [_mm512_setzero_ps(); WORDS];
    for (at, words) in square[..count].iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *words = unsafe { words_of(from.add(at * stride), inner) };
    }
    square
}

/// The first `count` of 32 contiguous numbers as words, zeros for the others.
///
/// # Safety
/// As of [`interleaved`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn words_of(from: *const f32, count: usize) -> __m512 {
    let (low, high) = (lanes(count), lanes(count.saturating_sub(16)));
    // SAFETY: masked lanes are not read.
    unsafe {
        let low = _mm512_maskz_loadu_ps(low, from);
        let high = _mm512_maskz_loadu_ps(high, from.wrapping_add(16));
        _mm512_castsi512_ps(bits(_mm512_cvtne2ps_pbh(high, low)))
    }
}

/// A row of `count` numbers as words, in whole steps.
///
/// # Safety
/// As of [`interleaved`]; `into` takes the words of the steps.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn row_of_words(from: *const f32, count: usize, into: *mut u32) {
    for first in (0..count).step_by(STEP) {
        // SAFETY: the caller's promise.
        unsafe {
            let words = words_of(from.add(first), (count - first).min(STEP));
            _mm512_storeu_ps(into.add(first / 2).cast(), words);
        }
    }
}

/// Stores the rows of a square, `stride` words apart.
///
/// # Safety
/// `into` takes 16 runs of 16.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store(square: [__m512; WORDS], into: *mut u32, stride: usize) {
    for (row, words) in square.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(into.add(row * stride).cast(), words) };
    }
}

/// The same bits as integers.
#[target_feature(enable = "avx512f")]
#[inline]
fn bits(halves: __m512bh) -> __m512i {
    // SAFETY: 512 bits of plain numbers, both.
    unsafe { transmute(halves) }
}
