//! Matrix products of f32, and of factors rounded to bf16 (`bf16`).
//!
//! In → two [`Matrix`] factors, the right one packed beforehand where several products use it
//! ([`Factor`]); out → their product, new, stored or added. **Method.** Blocks of [`DEPTH`] inner
//! indices. A piece of the right factor that fits the L2 cache is packed; then each tile of the
//! left one is read in place, or packed where its rows are not contiguous, and every tile of the
//! product is summed in registers (`tile`). With several threads the product is cut into a grid of
//! tasks, across the side whose factor costs less to pack twice.
//!
//! **Invariants.** An element is the sum, block after block, of one chain of fused multiply-adds a
//! block: its bits depend on the two factors alone, not on the other rows and columns, the threads,
//! the caches or which instruction set with fused multiply-add runs. CPUs without it, and those
//! that are not x86, use the `gemm` crate, whose sums differ.
//!
//! **Cost.** 2·m·n·k operations, 85 to 95% of the unit's peak in products of hundreds; packing is
//! one pass over a factor.

#![allow(unsafe_code, reason = "kernels for the vector units")]

#[cfg(target_arch = "x86_64")]
use std::{cell::RefCell, ops::Range};

#[cfg(target_arch = "x86_64")]
use rayon::prelude::*;

use super::Matrix;
use super::matrix::Output;
use super::rounded::Rounded;
#[cfg(target_arch = "x86_64")]
use super::{
    DEPTH, Level, bf16,
    pack::{TILES, left_room, left_tiles, pack_right},
    tasks::{self, Side},
    tile::{Left, Shape, Tile},
};

/// Multiplications from which several threads are worth it: some tens of microseconds of work.
#[cfg(target_arch = "x86_64")]
const WORTH_A_THREAD: usize = 1 << 20;

/// How many times faster products of bf16 are than those of f32, packing included.
#[cfg(target_arch = "x86_64")]
const FASTER: usize = 4;

/// Numbers of the right factor that are packed at once: 512 KiB, which the L2 cache holds.
#[cfg(target_arch = "x86_64")]
const PIECE: usize = 128 * 1024;

/// A right factor.
pub struct Factor<'a> {
    matrix: Matrix<'a>,
    /// The whole matrix, in the order in which its kernel reads it.
    #[cfg(target_arch = "x86_64")]
    packed: Option<Packed>,
}

#[cfg(target_arch = "x86_64")]
enum Packed {
    /// Panels for the tile shape of this machine.
    F32(Vec<f32>),
    Bf16(bf16::Panels),
}

impl<'a> From<Matrix<'a>> for Factor<'a> {
    fn from(matrix: Matrix<'a>) -> Factor<'a> {
        #[cfg(target_arch = "x86_64")]
        return Factor { matrix, packed: None };
        #[cfg(not(target_arch = "x86_64"))]
        Factor { matrix }
    }
}

impl<'a> Factor<'a> {
    /// Packs the whole of `matrix` for several products: a second copy in memory.
    #[cfg(target_arch = "x86_64")]
    pub fn packed(matrix: Matrix<'a>) -> Factor<'a> {
        if matrix.in_bf16 {
            let packed = bf16::Panels::of(matrix).map(Packed::Bf16);
            return Factor { matrix, packed };
        }
        match shape() {
            Some(shape) => Factor::packed_for(matrix, shape),
            None => Factor::from(matrix),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn packed_for(matrix: Matrix<'a>, shape: Shape) -> Factor<'a> {
        let width = shape.columns();
        let panels = matrix.columns.div_ceil(width);
        let mut packed = super::zeros(panels * width * matrix.rows);
        let blocks = packed.chunks_mut(DEPTH * panels * width).enumerate();
        for (block, place) in blocks {
            let first = block * DEPTH;
            let inner = first..matrix.rows.min(first + DEPTH);
            // Panels a task packs: as many as fill `PIECE`.
            let some = (PIECE / (inner.len() * width)).max(1);
            place.par_chunks_mut(some * inner.len() * width).enumerate().for_each(|(at, place)| {
                let first = at * some * width;
                let columns = first..matrix.columns.min(first + some * width);
                pack_right(place, matrix, columns, inner.clone(), shape);
            });
        }
        Factor { matrix, packed: Some(Packed::F32(packed)) }
    }

    /// As [`Factor::from`]: on this CPU each product packs its own factors.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn packed(matrix: Matrix<'a>) -> Factor<'a> {
        Factor::from(matrix)
    }
}

/// A right factor of one product, or one kept for several.
pub trait AsFactor<'a> {
    /// Calls `use_it` with the factor.
    fn with<R>(self, use_it: impl FnOnce(&Factor<'a>) -> R) -> R;
}

impl<'a> AsFactor<'a> for Matrix<'a> {
    fn with<R>(self, use_it: impl FnOnce(&Factor<'a>) -> R) -> R {
        use_it(&Factor::from(self))
    }
}

impl<'a> AsFactor<'a> for &Factor<'a> {
    fn with<R>(self, use_it: impl FnOnce(&Factor<'a>) -> R) -> R {
        use_it(self)
    }
}

/// Which threads compute a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread: inside a parallel loop.
    One,
    /// The current thread pool.
    All,
}

#[cfg(target_arch = "x86_64")]
impl Threads {
    /// The number of threads for a product of that many f32 multiplications.
    fn for_a_product(self, multiplications: usize) -> usize {
        match self {
            Threads::All if multiplications >= WORTH_A_THREAD => rayon::current_num_threads(),
            _ => 1,
        }
    }
}

/// left · right, its rows contiguous.
pub fn product<'a>(left: Matrix<'_>, right: impl AsFactor<'a>, threads: Threads) -> Vec<f32> {
    right.with(|right| {
        let (rows, columns) = (left.rows, right.matrix.columns);
        let mut output = Vec::with_capacity(rows * columns);
        let place = Output { start: output.as_mut_ptr(), stride: columns, add: false };
        // SAFETY: the vector has room for all elements, nobody else can reach them, and a product
        // that is not added writes every one of them.
        unsafe {
            multiply(&place, left, right, threads);
            output.set_len(rows * columns);
        }
        output
    })
}

/// `output` = `left` · `right`, or `output` += with `add`; `output` is rows × columns, its rows
/// `row_stride` elements apart.
pub fn matmul<'a>(
    output: &mut [f32],
    row_stride: usize,
    add: bool,
    left: Matrix<'_>,
    right: impl AsFactor<'a>,
    threads: Threads,
) {
    right.with(|right| {
        let (m, n) = (left.rows, right.matrix.columns);
        assert!(
            row_stride >= n && (m - 1) * row_stride + n <= output.len(),
            "product inside its slice"
        );
        let place = Output { start: output.as_mut_ptr(), stride: row_stride, add };
        // SAFETY: the assertion keeps all elements inside the slice, which is borrowed mutably.
        unsafe { multiply(&place, left, right, threads) };
    });
}

/// The product on this thread, into memory whose other elements other threads may use.
///
/// # Safety
/// As of [`multiply`].
pub(super) unsafe fn into_output(output: &Output, left: Matrix<'_>, right: Matrix<'_>) {
    // SAFETY: the caller's promise, handed on.
    unsafe { multiply(output, left, &Factor::from(right), Threads::One) };
}

/// # Safety
/// `output` has room for all elements, its rows do not overlap, and nobody else uses them
/// meanwhile; they are initialised where the product is added.
unsafe fn multiply(output: &Output, left: Matrix<'_>, right: &Factor<'_>, threads: Threads) {
    assert_eq!(left.columns, right.matrix.rows, "inner dimensions of a product");
    assert_eq!(left.in_bf16, right.matrix.in_bf16, "factors of one kind");
    // SAFETY: the caller's promise, handed on.
    unsafe {
        match left.in_bf16 {
            true => multiply_bf16(output, left, right, threads),
            false => multiply_f32(output, left, right, threads),
        }
    }
}

/// # Safety
/// As of [`multiply`].
unsafe fn multiply_bf16(output: &Output, left: Matrix<'_>, right: &Factor<'_>, threads: Threads) {
    #[cfg(target_arch = "x86_64")]
    if let Some(unit) = bf16::Unit::detected() {
        let packed = match &right.packed {
            Some(Packed::Bf16(panels)) => Some(panels),
            _ => None,
        };
        let size = left.rows * right.matrix.columns * left.columns;
        let threads = threads.for_a_product(size / FASTER);
        // SAFETY: this machine has the unit; the rest is the caller's promise.
        return unsafe { bf16::multiply(unit, output, left, (right.matrix, packed), threads) };
    }
    let (left, right) = (Rounded::of(left), Rounded::of(right.matrix));
    // SAFETY: the caller's promise, handed on.
    unsafe { multiply_f32(output, left.matrix(), &Factor::from(right.matrix()), threads) };
}

/// # Safety
/// As of [`multiply`].
#[cfg(target_arch = "x86_64")]
unsafe fn multiply_f32(output: &Output, left: Matrix<'_>, right: &Factor<'_>, threads: Threads) {
    let Some(shape) = shape() else {
        // SAFETY: the caller's promise, handed on.
        return unsafe { elsewhere(output, left, right.matrix, threads) };
    };
    let threads = threads.for_a_product(left.rows * right.matrix.columns * left.columns);
    // What each further cut costs: contiguous rows are read again for each cut of the columns,
    // others are packed again; a factor that is packed already costs nothing.
    let cost = left.rows * if left.column_stride == 1 { 1 } else { 3 };
    let rows = Side { size: left.rows, tile: shape.rows(), cost };
    let cost = match (right.packed.is_some(), right.matrix.column_stride) {
        (true, _) => 0,
        (false, 1) => right.matrix.columns,
        (false, _) => 2 * right.matrix.columns,
    };
    let columns = Side { size: right.matrix.columns, tile: shape.columns(), cost };
    tasks::run(rows, columns, threads, |rows, columns| {
        // SAFETY: the caller's promise for these elements, which no other task has.
        unsafe { part(output, left, right, rows, columns, shape) };
    });
}

/// # Safety
/// As of [`multiply`].
#[cfg(not(target_arch = "x86_64"))]
unsafe fn multiply_f32(output: &Output, left: Matrix<'_>, right: &Factor<'_>, threads: Threads) {
    // SAFETY: the caller's promise, handed on.
    unsafe { elsewhere(output, left, right.matrix, threads) };
}

/// The tiles of this machine.
#[cfg(target_arch = "x86_64")]
fn shape() -> Option<Shape> {
    match Level::detected() {
        Level::Avx512 => Some(Shape::Wide),
        Level::Avx2 => Some(Shape::Narrow),
        Level::Baseline => None,
    }
}

#[cfg(target_arch = "x86_64")]
thread_local! {
    /// What a thread packs into: one buffer for the left factor, one for the right.
    static BUFFERS: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((vec![], vec![])) };
}

/// The elements of `rows` and `columns`, on this thread.
///
/// # Safety
/// As of [`multiply`], for these elements.
#[cfg(target_arch = "x86_64")]
unsafe fn part(
    output: &Output,
    left: Matrix<'_>,
    right: &Factor<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    shape: Shape,
) {
    let (k, width) = (left.columns, shape.columns());
    BUFFERS.with_borrow_mut(|(lefts, rights)| {
        lefts.resize(left_room(shape), 0.0);
        rights.resize(PIECE, 0.0);
        for first in (0..k).step_by(DEPTH) {
            let inner = first..k.min(first + DEPTH);
            let piece = PIECE / (inner.len() * width) * width;
            for start in columns.clone().step_by(piece) {
                let columns = start..columns.end.min(start + piece);
                let panels = match &right.packed {
                    Some(Packed::F32(packed)) => {
                        let all = right.matrix.columns.div_ceil(width) * width;
                        &packed[first * all + start * inner.len()..]
                    }
                    _ => {
                        pack_right(rights, right.matrix, columns.clone(), inner.clone(), shape);
                        &rights[..]
                    }
                };
                let block = Block { output, shape, panels, columns, inner: inner.clone() };
                // SAFETY: the caller's promise.
                unsafe { block.multiply(lefts, left, rows.clone()) };
            }
        }
    });
}

/// A piece of the right factor, packed, and what it is multiplied into.
#[cfg(target_arch = "x86_64")]
struct Block<'a> {
    output: &'a Output,
    shape: Shape,
    panels: &'a [f32],
    columns: Range<usize>,
    inner: Range<usize>,
}

#[cfg(target_arch = "x86_64")]
impl Block<'_> {
    /// The elements of `rows`.
    ///
    /// # Safety
    /// As of [`multiply`], for these elements.
    unsafe fn multiply(&self, buffer: &mut [f32], left: Matrix<'_>, rows: Range<usize>) {
        let height = self.shape.rows();
        // Contiguous rows go one tile at a time, so that a tile is still in the L1 cache when it is
        // multiplied.
        let some = if left.column_stride == 1 { 1 } else { TILES };
        for first in rows.clone().step_by(some * height) {
            let rows = first..rows.end.min(first + some * height);
            let tiles = left_tiles(buffer, left, rows.clone(), self.inner.clone(), self.shape);
            for (at, first) in rows.clone().step_by(height).enumerate() {
                let rows = first..rows.end.min(first + height);
                // SAFETY: the caller's promise.
                unsafe { self.row_of_tiles(tiles.tile(at), rows) };
            }
        }
    }

    /// One tile of the left factor by each panel.
    ///
    /// # Safety
    /// As of [`multiply`], for these elements.
    unsafe fn row_of_tiles(&self, left: Left, rows: Range<usize>) {
        let (width, depth) = (self.shape.columns(), self.inner.len());
        let panels = self.panels.chunks_exact(depth * width);
        for (panel, first) in panels.zip(self.columns.clone().step_by(width)) {
            let start = rows.start * self.output.stride + first;
            let tile = Tile {
                left,
                right: panel.as_ptr(),
                depth,
                // SAFETY: an element of the output.
                output: unsafe { self.output.start.add(start) },
                stride: self.output.stride,
                add: self.output.add || self.inner.start > 0,
                rows: rows.len(),
                columns: width.min(self.columns.end - first),
            };
            // SAFETY: this CPU has the shape's instructions; the tile of the left factor and the
            // panel are whole chunks; the output is the caller's promise.
            unsafe { tile.compute(self.shape) };
        }
    }
}

/// The product by the `gemm` crate.
///
/// # Safety
/// As of [`multiply`].
unsafe fn elsewhere(output: &Output, left: Matrix<'_>, right: Matrix<'_>, threads: Threads) {
    let parallelism = match (threads, rayon::current_num_threads()) {
        (Threads::One, _) | (Threads::All, 1) => gemm::Parallelism::None,
        (Threads::All, threads) => gemm::Parallelism::Rayon(threads),
    };
    // SAFETY: gemm reads and writes at row · row_stride + column · column_stride of each matrix for
    // row and column below their dimensions, which lie inside the slices of the factors by
    // construction and inside the output by the caller's promise.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            output.start,
            1,
            output.stride as isize,
            output.add,
            left.elements.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.elements.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn a_product_of_transposes_into_strided_rows() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, 1.0, 0.0, 3.0]);
        let mut output = [9.0; 7];
        let (left, right) = (Matrix::new(&a, 2, 3, 3), Matrix::new(&b, 2, 3, 3).t());
        matmul(&mut output, 5, false, left, right, Threads::One);
        assert_eq!(output, [7.0, 10.0, 9.0, 9.0, 9.0, 16.0, 22.0]);
    }

    #[test]
    #[should_panic(expected = "inside its slice")]
    fn a_product_outside_its_slice_is_a_bug() {
        let a = [1.0; 6];
        let (left, right) = (Matrix::new(&a, 2, 3, 3), Matrix::new(&a, 3, 2, 2));
        matmul(&mut [0.0; 3], 2, false, left, right, Threads::One);
    }

    #[test]
    #[should_panic(expected = "inside its slice")]
    fn a_factor_outside_its_slice_is_a_bug() {
        let _ = Matrix::new(&[1.0; 6], 3, 2, 3);
    }

    /// Numbers without a pattern that a mistake could share.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// The definition: block after block, one chain of fused multiply-adds each.
    fn defined(left: Matrix<'_>, right: Matrix<'_>, before: f32, (i, j): (usize, usize)) -> f32 {
        let at = |matrix: Matrix<'_>, row: usize, column: usize| {
            matrix.elements[row * matrix.row_stride + column * matrix.column_stride]
        };
        (0..left.columns).step_by(DEPTH).fold(before, |sum, first| {
            let block = first..left.columns.min(first + DEPTH);
            sum + block.fold(0.0f32, |sum, k| at(left, i, k).mul_add(at(right, k, j), sum))
        })
    }

    /// Every element of a product against the definition, on both shapes of tiles.
    fn check((m, n, k): (usize, usize, usize), transposed: (bool, bool), packed: bool, add: bool) {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let left = match transposed.0 {
            true => Matrix::new(&a, k, m, m).t(),
            false => Matrix::new(&a, m, k, k),
        };
        let right = match transposed.1 {
            true => Matrix::new(&b, n, k, k).t(),
            false => Matrix::new(&b, k, n, n),
        };
        let stride = n + 3;
        for shape in [Shape::Wide, Shape::Narrow] {
            if shape == Shape::Wide && super::shape() != Some(shape) {
                continue;
            }
            let mut output = numbers(m * stride, 3);
            let before = output.clone();
            let place = Output { start: output.as_mut_ptr(), stride, add };
            let factor = match packed {
                true => Factor::packed_for(right, shape),
                false => Factor::from(right),
            };
            // SAFETY: the output has m rows of `stride`.
            unsafe { part(&place, left, &factor, 0..m, 0..n, shape) };
            for (at, (found, before)) in output.iter().zip(&before).enumerate() {
                let (i, j) = (at / stride, at % stride);
                let start = if add { *before } else { 0.0 };
                let expected = if j < n { defined(left, right, start, (i, j)) } else { *before };
                let what = format!("{shape:?} {m}x{n}x{k} {transposed:?} {packed} [{i}, {j}]");
                assert_eq!(found.to_bits(), expected.to_bits(), "{what}: {found} {expected}");
            }
        }
    }

    #[test]
    fn every_element_is_its_definition_to_the_bit() {
        if shape().is_none() {
            return; // another library's sums
        }
        let sizes = [
            (1, 1, 1),
            (5, 33, 7),
            (14, 32, 16),
            (29, 70, 64),
            (31, 47, 515),
            (130, 9, 40),
            (19, 40, 1024),
        ];
        for (at, size) in sizes.into_iter().enumerate() {
            for transposed in [(false, false), (false, true), (true, false), (true, true)] {
                check(size, transposed, at % 2 == 0, at % 3 == 0);
                check(size, transposed, at % 2 == 1, false);
            }
        }
    }

    #[test]
    fn a_product_has_the_same_bits_on_any_number_of_threads_and_packed_or_not() {
        let (m, n, k) = (150, 130, 600);
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (left, right) = (Matrix::new(&a, k, m, m).t(), Matrix::new(&b, n, k, k).t());
        let alone = product(left, right, Threads::One);
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                assert_eq!(product(left, right, Threads::All), alone, "{threads}");
                assert_eq!(product(left, &Factor::packed(right), Threads::All), alone, "{threads}");
            });
        }
    }
}
