//! The innermost part of a matrix product: one tile of it, summed in registers.
//!
//! In → rows and packed columns of one block of the inner dimension; out → a tile of at most
//! [`Shape::rows`] × [`Shape::columns`] elements, stored or added. **Method.** Outer products in
//! registers (Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication*, 2008):
//! for each inner index a row of the right factor is loaded once and multiplied by each element of
//! a column of the left one. Tiles fill the registers: 14 × 32 sums in 32 registers of 512 bits,
//! 6 × 16 in 16 registers of 256 bits.
//!
//! **Invariants.** Every element is one chain of fused multiply-adds over the inner indices of its
//! block, from zero and in order, on both instruction sets and in tiles of any size: the same bits.

#![allow(unsafe_code, reason = "kernels for the vector units")]

use std::arch::x86_64::{
    __m256, __m512, _MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch, _mm256_add_ps, _mm256_broadcast_ss,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};

/// Inner indices of a panel to prefetch ahead: a panel of a whole block is larger than the L1
/// cache.
const AHEAD: usize = 16;

/// The largest tile of an instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 14 × 32, with 512 bits.
    Wide,
    /// 6 × 16, with 256 bits and fused multiply-add.
    Narrow,
}

impl Shape {
    /// Its rows.
    pub fn rows(self) -> usize {
        match self {
            Shape::Wide => 14,
            Shape::Narrow => 6,
        }
    }

    /// Its columns.
    pub fn columns(self) -> usize {
        match self {
            Shape::Wide => 32,
            Shape::Narrow => 16,
        }
    }
}

/// How a tile of the left factor lies.
#[derive(Clone, Copy)]
pub struct Left {
    /// Where it begins.
    pub start: *const f32,
    /// Elements between two rows.
    pub by_row: usize,
    /// Elements between two inner indices.
    pub by_inner: usize,
}

/// One tile of a product.
pub struct Tile {
    /// The left factor.
    pub left: Left,
    /// The packed right factor: `Shape::columns` numbers for each inner index.
    pub right: *const f32,
    /// Inner indices.
    pub depth: usize,
    /// Where the tile begins.
    pub output: *mut f32,
    /// Elements between two of its rows.
    pub stride: usize,
    /// Whether it is added to what is there.
    pub add: bool,
    /// Rows and columns of the tile, at most the shape's.
    pub rows: usize,
    pub columns: usize,
}

impl Tile {
    /// Computes it.
    ///
    /// # Safety
    /// The CPU has the instructions of `shape`; `left` has `rows` × `depth` elements, `right`
    /// `depth` whole rows of the shape's columns, and `output` `rows` × `columns` elements that
    /// nobody else reads or writes meanwhile.
    pub unsafe fn compute(&self, shape: Shape) {
        // SAFETY: the caller's promise, handed on.
        unsafe {
            match shape {
                Shape::Wide => wide_of(self),
                Shape::Narrow => narrow_of(self),
            }
        }
    }
}

/// Calls `$kernel` with the number of rows as a constant.
macro_rules! by_rows {
    ($kernel:ident, $tile:ident, $($rows:literal)*) => {
        match $tile.rows {
            $($rows => $kernel::<$rows>($tile),)*
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}

#[target_feature(enable = "avx512f")]
fn wide_of(tile: &Tile) {
    // SAFETY: `Tile::compute` was promised what the kernel needs.
    unsafe { by_rows!(wide, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14) }
}

#[target_feature(enable = "avx2,fma")]
fn narrow_of(tile: &Tile) {
    // SAFETY: `Tile::compute` was promised what the kernel needs.
    unsafe { by_rows!(narrow, tile, 1 2 3 4 5 6) }
}

/// Adds the products of one element of each row and the `$columns` to the sums of that row. Rows
/// are written out, three to a start: an address is then a start plus zero, one or two strides,
/// which the addressing mode of the instruction covers, and the starts stay in registers.
macro_rules! add_products {
    ($sums:ident, $factor:expr, $columns:ident, $product:ident, $by_row:ident,
     $($start:ident: $($row:literal + $times:literal),*;)*) => { $($(
        if $row < ROWS {
            let factor = $factor($start.wrapping_add($times * $by_row));
            $sums[$row][0] = $product(factor, $columns[0], $sums[$row][0]);
            $sums[$row][1] = $product(factor, $columns[1], $sums[$row][1]);
        }
    )*)* };
}

/// # Safety
/// As of [`Tile::compute`].
#[target_feature(enable = "avx512f")]
unsafe fn wide<const ROWS: usize>(tile: &Tile) {
    // SAFETY: `left` and `right` are read inside their rows and `depth`; the masks keep loads and
    // stores of `output` inside its columns.
    unsafe {
        let mut sums: [[__m512; 2]; ROWS] = [[_mm512_setzero_ps(); 2]; ROWS];
        let Left { start, by_row, by_inner } = tile.left;
        let starts = [0, 3, 6, 9, 12].map(|row| start.wrapping_add(row * by_row));
        let [mut a, mut b, mut c, mut d, mut e] = starts;
        let mut right = tile.right;
        for row in 0..ROWS {
            // Prefetch the output, so that the stores at the end do not wait.
            let output = tile.output.wrapping_add(row * tile.stride);
            _mm_prefetch::<_MM_HINT_ET0>(output.cast());
            _mm_prefetch::<_MM_HINT_ET0>(output.wrapping_add(16).cast());
        }
        for _ in 0..tile.depth {
            _mm_prefetch::<_MM_HINT_T0>(right.wrapping_add(32 * AHEAD).cast());
            _mm_prefetch::<_MM_HINT_T0>(right.wrapping_add(32 * AHEAD + 16).cast());
            let columns = [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(16))];
            let factor = |at: *const f32| _mm512_set1_ps(*at);
            add_products!(sums, factor, columns, _mm512_fmadd_ps, by_row,
                a: 0 + 0, 1 + 1, 2 + 2; b: 3 + 0, 4 + 1, 5 + 2; c: 6 + 0, 7 + 1, 8 + 2;
                d: 9 + 0, 10 + 1, 11 + 2; e: 12 + 0, 13 + 1;);
            [a, b, c, d, e] = [a, b, c, d, e].map(|start| start.wrapping_add(by_inner));
            right = right.add(32);
        }
        let whole = (1u64 << tile.columns) - 1;
        let masks = [whole as u16, (whole >> 16) as u16];
        for (row, sums) in sums.iter().enumerate() {
            for half in 0..2 {
                let output = tile.output.wrapping_add(row * tile.stride + 16 * half);
                let before = match tile.add {
                    true => _mm512_maskz_loadu_ps(masks[half], output),
                    false => _mm512_setzero_ps(),
                };
                _mm512_mask_storeu_ps(output, masks[half], _mm512_add_ps(before, sums[half]));
            }
        }
    }
}

/// # Safety
/// As of [`Tile::compute`].
#[target_feature(enable = "avx2,fma")]
unsafe fn narrow<const ROWS: usize>(tile: &Tile) {
    // SAFETY: `left` and `right` are read inside their rows and `depth`; whole rows of `output` are
    // loaded and stored where the tile has all columns, else only its own elements.
    unsafe {
        let mut sums: [[__m256; 2]; ROWS] = [[_mm256_setzero_ps(); 2]; ROWS];
        let Left { start, by_row, by_inner } = tile.left;
        let [mut a, mut b] = [0, 3].map(|row| start.wrapping_add(row * by_row));
        let mut right = tile.right;
        for _ in 0..tile.depth {
            let columns = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8))];
            let factor = |at: *const f32| _mm256_broadcast_ss(&*at);
            add_products!(sums, factor, columns, _mm256_fmadd_ps, by_row,
                a: 0 + 0, 1 + 1, 2 + 2; b: 3 + 0, 4 + 1, 5 + 2;);
            [a, b] = [a, b].map(|start| start.wrapping_add(by_inner));
            right = right.add(16);
        }
        for (row, sums) in sums.iter().enumerate() {
            let output = tile.output.add(row * tile.stride);
            let mut edge = [0.0f32; 16];
            let whole = tile.columns == 16;
            let place = if whole { output } else { edge.as_mut_ptr() };
            if tile.add && !whole {
                output.copy_to_nonoverlapping(place, tile.columns);
            }
            for (half, sum) in sums.iter().enumerate() {
                let place = place.add(8 * half);
                let before = if tile.add { _mm256_loadu_ps(place) } else { _mm256_setzero_ps() };
                _mm256_storeu_ps(place, _mm256_add_ps(before, *sum));
            }
            if !whole {
                edge.as_ptr().copy_to_nonoverlapping(output, tile.columns);
            }
        }
    }
}
