//! Matrix products of factors that are rounded to bf16, summed in f32.
//!
//! In → two [`Matrix`] factors of f32, the right one packed beforehand where several products use
//! it ([`Panels`]); out → their product, stored or added. **Method.** As for products of f32:
//! blocks of [`DEPTH`] inner indices, factors packed in the order of the kernel, squares of sums in
//! registers. Rounding is a part of packing, so activations and weights stay f32 in memory. Two
//! units multiply: the tiles of AMX, or pairs of AVX-512 (`vdpbf16ps`).
//!
//! **Invariants.** An element is the sum, block after block, of one chain of the unit's own sums:
//! its bits depend on the two factors and the unit alone, not on the other rows and columns or the
//! threads. Units differ in their last bits, so a run records which one it has.
//!
//! **Cost.** Bound by memory: packing, and reading and writing the sums. The 2·m·n·k operations
//! themselves run at some 10 times the rate of f32 on AMX.

#![allow(unsafe_code, reason = "kernels for the vector units")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_storeu_ps,
};
use std::cell::RefCell;
use std::mem::transmute;
use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::DEPTH;
use super::amx::{self, Configured};
use super::matrix::{Matrix, Output};
use super::pairs::{SIDE, STEP, pack_left, pack_right};
use super::tasks::{self, Side};

/// Words between two packed rows of a left factor: a block and one more cache line, so that rows do
/// not map to the same cache sets.
const ROW: usize = DEPTH / 2 + 16;

/// Words of the right factor that are packed at once: 1 MiB, half of the L2 cache.
const PIECE: usize = 256 * 1024;

/// Tiles of the left factor that are packed at once where its columns, not its rows, are
/// contiguous.
const TILES: usize = 8;

/// The unit of the CPU that multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tiles of AMX.
    Tiles,
    /// Pairs of AVX-512.
    Pairs,
}

impl Unit {
    /// The best one of this machine that the system lets this process use.
    pub fn detected() -> Option<Unit> {
        static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
        *UNIT.get_or_init(|| {
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512bf16");
            let best = if amx::is_there() { Unit::Tiles } else { Unit::Pairs };
            wide.then_some(best)
        })
    }
}

/// A cache line. Kernels want factors to begin on its boundary.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Pairs of inner indices, in whole lines.
#[derive(Default)]
struct Words(Vec<Line>);

impl Words {
    fn new(count: usize) -> Words {
        Words(vec![Line([0; 16]); count.div_ceil(16)])
    }

    /// Room for `count` words, whose contents are left over from earlier use.
    fn at_least(&mut self, count: usize) -> &mut [u32] {
        if self.0.len() < count.div_ceil(16) {
            *self = Words::new(count);
        }
        self.slice_mut()
    }

    fn slice(&self) -> &[u32] {
        // SAFETY: a line is 16 words without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), 16 * self.0.len()) }
    }

    fn slice_mut(&mut self) -> &mut [u32] {
        // SAFETY: a line is 16 words without padding.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), 16 * self.0.len()) }
    }
}

/// A right factor as the kernels read it.
pub struct Panels(Words);

impl Panels {
    /// Packs the whole of `matrix` for several products; `None` on a CPU without a [`Unit`].
    pub fn of(matrix: Matrix<'_>) -> Option<Panels> {
        Unit::detected()?;
        let mut words = Words::new(offset(matrix, matrix.rows, 0));
        for block in blocks(matrix.rows) {
            let start = offset(matrix, block.start, 0);
            let panel = words_of(block.len()) * SIDE;
            // Panels a task packs: as many as fill `PIECE`.
            let some = (PIECE / panel).max(1);
            let place = &mut words.slice_mut()[start..][..matrix.columns.div_ceil(SIDE) * panel];
            place.par_chunks_mut(some * panel).enumerate().for_each(|(at, place)| {
                let first = at * some * SIDE;
                let columns = first..matrix.columns.min(first + some * SIDE);
                // SAFETY: a unit means that the CPU has the conversions.
                unsafe { pack_right(place, matrix, columns, block.clone()) };
            });
        }
        Some(Panels(words))
    }
}

/// Where the panel of column `first` begins in the block that begins at inner index `inner`, in a
/// factor packed whole.
fn offset(matrix: Matrix<'_>, inner: usize, first: usize) -> usize {
    let panels = matrix.columns.div_ceil(SIDE);
    let before = words_of(inner) * SIDE * panels;
    before + first / SIDE * SIDE * words_of((matrix.rows - inner).min(DEPTH))
}

/// Words of a row of `inner` indices, in whole steps.
fn words_of(inner: usize) -> usize {
    inner.div_ceil(STEP) * (STEP / 2)
}

fn blocks(inner: usize) -> impl Iterator<Item = Range<usize>> {
    (0..inner).step_by(DEPTH).map(move |first| first..inner.min(first + DEPTH))
}

thread_local! {
    /// What a thread packs into: one buffer for the left factor, one for the right.
    static BUFFERS: RefCell<[Words; 2]> = const { RefCell::new([Words(vec![]), Words(vec![])]) };
}

/// left · right by `unit`, into `output`.
///
/// # Safety
/// This machine has `unit`; `output` has room for all elements, its rows do not overlap, and nobody
/// else uses them meanwhile; they are initialised where the product is added.
pub unsafe fn multiply(
    unit: Unit,
    output: &Output,
    left: Matrix<'_>,
    right: (Matrix<'_>, Option<&Panels>),
    threads: usize,
) {
    let (matrix, packed) = right;
    let cost = |size: usize, is_copied: bool| if is_copied { size } else { 2 * size };
    let rows = Side { size: left.rows, tile: SIDE, cost: cost(left.rows, left.column_stride == 1) };
    let packing = match packed {
        Some(_) => 0,
        None => cost(matrix.columns, matrix.column_stride == 1),
    };
    let columns = Side { size: matrix.columns, tile: SIDE, cost: packing };
    tasks::run(rows, columns, threads, |rows, columns| {
        let part = Part { output, left, right: matrix, packed };
        // SAFETY: the caller's promise for these elements, which no other task has.
        let run = |configured: Option<&Configured>| unsafe {
            part.multiply(rows, columns, configured);
        };
        match unit {
            Unit::Tiles => Configured::run(|configured| run(Some(configured))),
            Unit::Pairs => run(None),
        }
    });
}

/// What a task of a product needs.
struct Part<'a> {
    output: &'a Output,
    left: Matrix<'a>,
    right: Matrix<'a>,
    packed: Option<&'a Panels>,
}

impl Part<'_> {
    /// The elements of `rows` and `columns`, on this thread.
    ///
    /// # Safety
    /// As of [`multiply`], for these elements.
    unsafe fn multiply(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        configured: Option<&Configured>,
    ) {
        BUFFERS.with_borrow_mut(|[lefts, rights]| {
            // Contiguous rows are packed one tile at a time, so that the tile is still in the L1
            // cache when it is multiplied.
            let some = SIDE * if self.left.column_stride == 1 { 1 } else { TILES };
            let lefts = lefts.at_least(TILES * SIDE * ROW);
            for inner in blocks(self.left.columns) {
                let words = words_of(inner.len());
                // A right factor that is packed already is not cut into pieces, so each tile of the
                // left one is packed once.
                let piece = match self.packed {
                    Some(_) => columns.len(),
                    None => PIECE / (words * SIDE) * SIDE,
                };
                for start in columns.clone().step_by(piece) {
                    let columns = start..columns.end.min(start + piece);
                    let panels = match self.packed {
                        Some(panels) => &panels.0.slice()[offset(self.right, inner.start, start)..],
                        None => {
                            let rights = rights.at_least(PIECE);
                            // SAFETY: a unit means that the CPU has the conversions.
                            unsafe {
                                pack_right(rights, self.right, columns.clone(), inner.clone())
                            };
                            &*rights
                        }
                    };
                    let add = self.output.add || inner.start > 0;
                    for first in rows.clone().step_by(some) {
                        let rows = first..rows.end.min(first + some);
                        // SAFETY: a unit means that the CPU has the conversions.
                        unsafe { pack_left(lefts, ROW, self.left, rows.clone(), inner.clone()) };
                        let tiles = lefts.chunks_exact(SIDE * ROW);
                        for (lefts, first) in tiles.zip(rows.clone().step_by(SIDE)) {
                            let rows = first..rows.end.min(first + SIDE);
                            let row = Row { lefts, panels, words, add };
                            // SAFETY: the caller's promise.
                            unsafe { row.squares(self.output, rows, columns.clone(), configured) };
                        }
                    }
                }
            }
        });
    }
}

/// A packed tile of the left factor and the panels it is multiplied by.
struct Row<'a> {
    lefts: &'a [u32],
    panels: &'a [u32],
    words: usize,
    add: bool,
}

/// Sums of 32 rows and columns, aligned to a cache line.
#[repr(C, align(64))]
struct Square([f32; SIDE * SIDE]);

impl Row<'_> {
    /// The elements of `rows` and `columns`.
    ///
    /// # Safety
    /// As of [`multiply`], for these elements; the panels are those of `columns`.
    unsafe fn squares(
        &self,
        output: &Output,
        rows: Range<usize>,
        columns: Range<usize>,
        configured: Option<&Configured>,
    ) {
        let mut sums = Square([0.0; SIDE * SIDE]);
        let panels = self.panels.chunks_exact(self.words * SIDE);
        for (panel, first) in panels.zip(columns.clone().step_by(SIDE)) {
            let (left, right, place) = (self.lefts.as_ptr(), panel.as_ptr(), sums.0.as_mut_ptr());
            let size = (rows.len(), SIDE.min(columns.end - first));
            // SAFETY: the tile holds 32 rows of `words`, a panel `words` rows of 32 columns, and
            // the square 32 rows, as does a whole square of the output; this machine has the unit.
            // The output is the caller's promise.
            unsafe {
                let start = output.start.add(rows.start * output.stride + first);
                let is_whole = !self.add && size == (SIDE, SIDE);
                let place = if is_whole { (start, output.stride) } else { (place, SIDE) };
                match configured {
                    Some(tiles) => {
                        let place = (place.0, 4 * place.1);
                        tiles.multiply(left, 4 * ROW, right, self.words / 16, place);
                    }
                    None => by_pairs(left, right, self.words, rows.len(), place),
                }
                if !is_whole {
                    add_or_store(start, output.stride, &sums, size, self.add);
                }
            }
        }
    }
}

/// The first `rows` of 32 × 32 sums over `words` pairs of inner indices.
///
/// # Safety
/// `left` holds 32 rows of `words`, [`ROW`] apart; `right` holds `words` rows of 32; `sums` has
/// room for `rows` rounded up to a multiple of 8, each `stride` numbers after the last.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn by_pairs(
    left: *const u32,
    right: *const u32,
    words: usize,
    rows: usize,
    (sums, stride): (*mut f32, usize),
) {
    const ROWS: usize = 8;
    // SAFETY: all reads and writes lie inside what the caller promises; words are plain bits.
    unsafe {
        for first in (0..rows).step_by(ROWS) {
            let mut square = [[_mm512_setzero_ps(); 2]; ROWS];
            for word in 0..words {
                let panel = right.add(word * SIDE).cast::<f32>();
                let (one, other) = (_mm512_loadu_ps(panel), _mm512_loadu_ps(panel.add(16)));
                let columns =
                    [transmute::<__m512, __m512bh>(one), transmute::<__m512, __m512bh>(other)];
                for (row, sums) in square.iter_mut().enumerate() {
                    let pair = *left.add((first + row) * ROW + word);
                    let pair = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair as i32));
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_dpbf16_ps(*sum, pair, columns);
                    }
                }
            }
            for (row, halves) in square.into_iter().enumerate() {
                let place = sums.add((first + row) * stride);
                _mm512_storeu_ps(place, halves[0]);
                _mm512_storeu_ps(place.add(16), halves[1]);
            }
        }
    }
}

/// Puts the first rows and columns of `sums` into an output, or adds them to it.
///
/// # Safety
/// `output` has `rows` rows, `stride` apart, which are initialised where sums are added.
#[target_feature(enable = "avx512f")]
unsafe fn add_or_store(
    output: *mut f32,
    stride: usize,
    sums: &Square,
    (rows, columns): (usize, usize),
    add: bool,
) {
    let whole = (1u64 << columns) - 1;
    let masks = [whole as u16, (whole >> 16) as u16];
    for row in 0..rows {
        for (half, mask) in masks.into_iter().enumerate() {
            let place = output.wrapping_add(row * stride + 16 * half);
            // SAFETY: the masks keep loads and stores inside the output's columns.
            unsafe {
                let mut sum = _mm512_loadu_ps(sums.0[row * SIDE + 16 * half..].as_ptr());
                if add {
                    sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, place), sum);
                }
                _mm512_mask_storeu_ps(place, mask, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rounded::{Rounded, nearest};
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// All units of this machine, not only the best.
    fn units() -> Vec<Unit> {
        match Unit::detected() {
            Some(Unit::Tiles) => vec![Unit::Tiles, Unit::Pairs],
            Some(Unit::Pairs) => vec![Unit::Pairs],
            None => vec![],
        }
    }

    /// Every element of a product against a sum in f64 of rounded factors.
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
        let at = |matrix: Matrix<'_>, row: usize, column: usize| {
            let at = row * matrix.row_stride + column * matrix.column_stride;
            f64::from(nearest(matrix.elements[at]))
        };
        let stride = n + 3;
        for unit in units() {
            let mut output = numbers(m * stride, 3);
            let before = output.clone();
            let place = Output { start: output.as_mut_ptr(), stride, add };
            let panels = packed.then(|| Panels::of(right).unwrap());
            // SAFETY: the unit is of this machine, and the output has m rows of `stride`.
            unsafe { multiply(unit, &place, left, (right, panels.as_ref()), 1) };
            for (index, (found, before)) in output.iter().zip(&before).enumerate() {
                let (i, j) = (index / stride, index % stride);
                let what = format!("{unit:?} {m}x{n}x{k} {transposed:?} {packed} [{i}, {j}]");
                if j >= n {
                    assert_eq!(found, before, "{what}");
                    continue;
                }
                let start = if add { f64::from(*before) } else { 0.0 };
                let terms = (0..k).map(|at_k| at(left, i, at_k) * at(right, at_k, j));
                let (expected, size) = terms.fold((start, start.abs()), |(sum, size), term| {
                    (sum + term, size + term.abs())
                });
                // Half a unit in the last place of f32 for each sum (Higham, *Accuracy and
                // Stability of Numerical Algorithms*, 2002, section 3.1).
                let tolerance = f64::from(f32::EPSILON) / 2.0 * (k as f64 + 2.0) * size;
                assert!((f64::from(*found) - expected).abs() <= tolerance, "{what}: {expected}");
            }
        }
    }

    #[test]
    fn every_element_is_the_sum_of_its_rounded_products() {
        let sizes =
            [(1, 1, 1), (5, 33, 7), (32, 32, 32), (29, 70, 64), (31, 47, 515), (130, 9, 1100)];
        for (at, size) in sizes.into_iter().enumerate() {
            for transposed in [(false, false), (false, true), (true, false), (true, true)] {
                check(size, transposed, at % 2 == 0, at % 3 == 0);
                check(size, transposed, at % 2 == 1, false);
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_threads_packing_or_other_rows() {
        let (m, n, k) = (150, 130, 600);
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (left, right) = (Matrix::new(&a, k, m, m).t(), Matrix::new(&b, n, k, k).t());
        for unit in units() {
            let product = |left: Matrix<'_>, packed: bool, threads: usize| {
                let mut output = vec![0.0; left.rows * n];
                let place = Output { start: output.as_mut_ptr(), stride: n, add: false };
                let panels = packed.then(|| Panels::of(right).unwrap());
                // SAFETY: the unit is of this machine, and the output has rows of n.
                unsafe { multiply(unit, &place, left, (right, panels.as_ref()), threads) };
                output
            };
            let alone = product(left, false, 1);
            for threads in [1, 2, 3, 8] {
                assert_eq!(product(left, false, threads), alone, "{unit:?} {threads}");
                assert_eq!(product(left, true, threads), alone, "{unit:?} {threads}");
            }
            let some = Matrix::new(&a, k, 7, m).t();
            assert_eq!(product(some, false, 1), alone[..7 * n], "{unit:?}");
        }
    }

    #[test]
    fn units_and_rounded_factors_in_f32_agree() {
        let (a, b) = (numbers(40 * 700, 1), numbers(700 * 50, 2));
        let (left, right) = (Matrix::new(&a, 40, 700, 700), Matrix::new(&b, 700, 50, 50));
        let (rounded, other) = (Rounded::of(left), Rounded::of(right));
        let expected = crate::runtime::cpu::product(
            rounded.matrix(),
            other.matrix(),
            crate::runtime::cpu::Threads::One,
        );
        for unit in units() {
            let mut output = vec![0.0; 40 * 50];
            let place = Output { start: output.as_mut_ptr(), stride: 50, add: false };
            // SAFETY: the unit is of this machine, and the output has 40 rows of 50.
            unsafe { multiply(unit, &place, left, (right, None), 2) };
            for (found, expected) in output.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4, "{unit:?}: {found} {expected}");
            }
        }
    }
}
