//! Factors of a product in the order in which its kernel reads them.
//!
//! In → a [`Matrix`], a range of its rows or columns and of the inner dimension; out → the same
//! numbers in a buffer. A left factor becomes tiles of rows ([`Tiles`]); a right one becomes
//! *panels* of as many columns as a tile has, ordered by inner index; columns beyond the last are
//! zeros. A left factor whose rows are contiguous is mostly not copied: the kernel reads it in
//! place. **Cost.** One read and one write of the factor, in whole cache lines; transposed ones go
//! through registers in squares of 16 or 8.

#![allow(unsafe_code, reason = "kernels for the vector units")]

use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_setzero_ps,
    _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps,
    _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::ops::Range;
use std::ptr::copy_nonoverlapping;

use super::tile::{Left, Shape};
use super::{DEPTH, Matrix};

/// Tiles of the left factor that are packed at once where its columns, not its rows, are
/// contiguous: enough to read whole cache lines of each column.
pub const TILES: usize = 8;

/// Inner indices to prefetch ahead: no CPU foresees reads that are so far apart.
const AHEAD: usize = 12;

/// Numbers in a cache line.
const LINE: usize = 16;

/// Elements between two copied rows of a left factor: a block and some more, so that rows do not
/// map to the same cache sets.
const ROW: usize = DEPTH + 16;

/// Rows that lie a multiple of this many elements apart map to the same sets of the L1 cache, and
/// evict each other once there are more of them than a set has lines.
const SAME_PLACE: usize = 512;

/// The most elements that packed tiles of a left factor take.
pub fn left_room(shape: Shape) -> usize {
    TILES * shape.rows() * ROW
}

/// Tiles of a left factor, one after another.
#[derive(Clone, Copy)]
pub struct Tiles {
    /// The first of them.
    first: Left,
    /// Elements between two tiles.
    apart: usize,
}

impl Tiles {
    /// Tile `at` of them.
    pub fn tile(&self, at: usize) -> Left {
        let start = self.first.start.wrapping_add(at * self.apart);
        Left { start, ..self.first }
    }
}

/// The tiles of `rows` of `left`, as the kernel reads them: inside the factor itself if its rows
/// are contiguous and do not evict each other from the cache, else packed in `buffer`.
pub fn left_tiles(
    buffer: &mut [f32],
    left: Matrix<'_>,
    rows: Range<usize>,
    inner: Range<usize>,
    shape: Shape,
) -> Tiles {
    let (height, depth) = (shape.rows(), inner.len());
    let in_place = shape == Shape::Narrow || !left.row_stride.is_multiple_of(SAME_PLACE);
    if left.column_stride == 1 && in_place {
        let numbers = &left.elements[rows.start * left.row_stride + inner.start..];
        assert!((rows.len() - 1) * left.row_stride + depth <= numbers.len(), "inside the factor");
        let first = Left { start: numbers.as_ptr(), by_row: left.row_stride, by_inner: 1 };
        return Tiles { first, apart: height * left.row_stride };
    }
    if left.column_stride == 1 {
        for (row, place) in rows.zip(buffer.chunks_exact_mut(ROW)) {
            let start = row * left.row_stride + inner.start;
            place[..depth].copy_from_slice(&left.elements[start..start + depth]);
        }
        let first = Left { start: buffer.as_ptr(), by_row: ROW, by_inner: 1 };
        return Tiles { first, apart: height * ROW };
    }
    // SAFETY: a shape is used where the CPU has its instructions.
    unsafe {
        match shape {
            Shape::Wide => wide_by_inner(buffer, left, rows, inner),
            Shape::Narrow => narrow_by_inner(buffer, left, rows, inner),
        }
    }
    let first = Left { start: buffer.as_ptr(), by_row: 1, by_inner: height };
    Tiles { first, apart: height * depth }
}

#[target_feature(enable = "avx512f,avx512vl")]
fn wide_by_inner(into: &mut [f32], left: Matrix<'_>, rows: Range<usize>, inner: Range<usize>) {
    by_inner::<14>(into, left, rows, inner);
}

#[target_feature(enable = "avx2")]
fn narrow_by_inner(into: &mut [f32], left: Matrix<'_>, rows: Range<usize>, inner: Range<usize>) {
    by_inner::<6>(into, left, rows, inner);
}

/// Packs rows of a factor whose columns are contiguous, ordered by inner index.
#[inline(always)]
fn by_inner<const ROWS: usize>(
    into: &mut [f32],
    left: Matrix<'_>,
    rows: Range<usize>,
    inner: Range<usize>,
) {
    assert_eq!(left.row_stride, 1, "contiguous columns of a factor whose rows are not");
    let depth = inner.len();
    let (first_place, room) = (into.as_mut_ptr(), into.len());
    assert!(rows.len().div_ceil(ROWS) * depth * ROWS <= room, "room for all tiles");
    for (at, index) in inner.enumerate() {
        let start = index * left.column_stride;
        let ahead = left.elements.as_ptr().wrapping_add(start + AHEAD * left.column_stride);
        for line in rows.clone().step_by(LINE) {
            // SAFETY: a prefetch never faults, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line).cast()) };
        }
        let numbers = &left.elements[start + rows.start..start + rows.end];
        let tiles = numbers.chunks_exact(ROWS);
        let last = tiles.remainder();
        let places = (0..).map(|tile| (tile * depth + at) * ROWS);
        for (tile, place) in tiles.zip(places.clone()) {
            // SAFETY: a tile has room for `depth` times its rows, as asserted.
            unsafe { copy_nonoverlapping(tile.as_ptr(), first_place.add(place), ROWS) };
        }
        if let Some(place) = places.take(numbers.len().div_ceil(ROWS)).last()
            && !last.is_empty()
        {
            // SAFETY: as above.
            unsafe { copy_nonoverlapping(last.as_ptr(), first_place.add(place), last.len()) };
        }
    }
}

/// Packs `columns` of `right`, panel after panel; the first column begins a panel.
pub fn pack_right(
    into: &mut [f32],
    right: Matrix<'_>,
    columns: Range<usize>,
    inner: Range<usize>,
    shape: Shape,
) {
    let (depth, width) = (inner.len(), shape.columns());
    // Few enough inner indices at a time to stay in the L1 cache over all panels.
    for first in (0..depth).step_by(width) {
        let some = inner.start + first..inner.start + depth.min(first + width);
        let panels = into.chunks_exact_mut(depth * width);
        for (panel, start) in panels.zip(columns.clone().step_by(width)) {
            let place = &mut panel[first * width..][..some.len() * width];
            let count = width.min(columns.end - start);
            if right.row_stride == 1 && count == width && some.len() == width {
                transposed(place, right, start, some.start, shape);
                continue;
            }
            if right.column_stride == 1 && count == width {
                copied(place, right, start, some.clone(), shape);
                continue;
            }
            for (place, index) in place.chunks_exact_mut(width).zip(some.clone()) {
                let at = index * right.row_stride + start * right.column_stride;
                match right.column_stride {
                    1 => place[..count].copy_from_slice(&right.elements[at..at + count]),
                    stride => {
                        for (column, place) in place[..count].iter_mut().enumerate() {
                            *place = right.elements[at + column * stride];
                        }
                    }
                }
                place[count..].fill(0.0);
            }
        }
    }
}

/// Copies whole rows of a panel from a factor whose rows are contiguous. The size of a copy is a
/// constant, so that it compiles to moves instead of a call.
fn copied(place: &mut [f32], right: Matrix<'_>, start: usize, inner: Range<usize>, shape: Shape) {
    let (width, stride) = (shape.columns(), right.row_stride);
    let from = &right.elements[inner.start * stride + start..];
    assert!((inner.len() - 1) * stride + width <= from.len(), "rows inside their factor");
    assert_eq!(place.len(), inner.len() * width, "whole rows of a panel");
    let (from, to) = (from.as_ptr(), place.as_mut_ptr());
    for at in 0..inner.len() {
        // SAFETY: by the assertions, each run of the shape's columns lies inside both.
        unsafe {
            let (from, to) = (from.add(at * stride), to.add(at * width));
            match shape {
                Shape::Wide => copy_nonoverlapping(from.cast::<[f32; 32]>(), to.cast(), 1),
                Shape::Narrow => copy_nonoverlapping(from.cast::<[f32; 16]>(), to.cast(), 1),
            }
        }
    }
}

/// Fills a square of a panel from a factor whose columns are contiguous.
fn transposed(place: &mut [f32], right: Matrix<'_>, start: usize, index: usize, shape: Shape) {
    let (width, stride) = (shape.columns(), right.column_stride);
    let side = width / 2;
    assert_eq!(place.len(), width * width, "a square of the panel");
    let end = (start + width - 1) * stride + index + width;
    assert!(end <= right.elements.len(), "the square inside its factor");
    for column in [0, side] {
        for row in [0, side] {
            let from = right.elements[(start + column) * stride + index + row..].as_ptr();
            let to = place[row * width + column..].as_mut_ptr();
            // SAFETY: a shape is used where the CPU has its instructions; `side` numbers from each
            // of `side` columns lie inside the factor, and of `side` rows inside the square, by the
            // assertions above.
            unsafe {
                match shape {
                    Shape::Wide => sixteen(from, stride, to),
                    Shape::Narrow => eight(from, stride, to),
                }
            }
        }
    }
}

/// Transposes 16 × 16 numbers into rows 32 apart.
///
/// # Safety
/// `from` holds 16 runs of 16, `stride` apart; `to` takes 16 runs of 16, 32 apart.
#[target_feature(enable = "avx512f")]
unsafe fn sixteen(from: *const f32, stride: usize, to: *mut f32) {
    let mut square = [_mm512_setzero_ps(); 16];
    for (row, numbers) in square.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *numbers = unsafe { _mm512_loadu_ps(from.add(row * stride)) };
    }
    for (row, numbers) in transpose(square).into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to.add(row * 32), numbers) };
    }
}

/// The columns of 16 × 16 numbers of 32 bits as rows.
#[target_feature(enable = "avx512f")]
#[inline]
pub fn transpose(mut a: [__m512; 16]) -> [__m512; 16] {
    let mut b = a;
    for i in 0..8 {
        b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    }
    for i in 0..4 {
        for j in 0..2 {
            let low = _mm512_castps_pd(b[4 * i + j]);
            let high = _mm512_castps_pd(b[4 * i + j + 2]);
            a[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            a[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    for i in 0..4 {
        b[i] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88);
        b[i + 4] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd);
        b[i + 8] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88);
        b[i + 12] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xdd);
    }
    for i in 0..8 {
        a[i] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0x88);
        a[i + 8] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0xdd);
    }
    a
}

/// Transposes 8 × 8 numbers into rows 16 apart.
///
/// # Safety
/// `from` holds 8 runs of 8, `stride` apart; `to` takes 8 runs of 8, 16 apart.
#[target_feature(enable = "avx2")]
unsafe fn eight(from: *const f32, stride: usize, to: *mut f32) {
    let mut a = [_mm256_setzero_ps(); 8];
    for (row, numbers) in a.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *numbers = unsafe { _mm256_loadu_ps(from.add(row * stride)) };
    }
    let mut b = a;
    for i in 0..4 {
        b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    }
    for i in [0, 4] {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for i in 0..4 {
        b[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
        b[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
    }
    for (row, numbers) in b.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to.add(row * 16), numbers) };
    }
}
