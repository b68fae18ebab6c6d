//! Matrices of several blocks of rows, written in strips of columns: each attention head by a task.
//!
//! In → sizes, what a task makes of its strips; out → the matrices. A strip is `width` columns of a
//! block: a task adds products to it in place, so nothing has to be moved afterwards.
//! **Invariants.** Strips share no element; each belongs to one task and starts as zeros.
//! **Cost.** One write of zeros, which brings the strip into the cache.

#![allow(unsafe_code, reason = "tasks write into one output")]

use std::marker::PhantomData;

use rayon::prelude::*;

use super::matrix::{Matrix, Output};
use super::product::into_output;

/// Some columns of a block of rows.
pub struct Strip<'a> {
    start: *mut f32,
    rows: usize,
    width: usize,
    /// Elements between two rows.
    stride: usize,
    of: PhantomData<&'a mut [f32]>,
}

impl Strip<'_> {
    /// Puts `left` · `right` at a row and column of the strip, or adds it with `add`.
    ///
    /// # Panics
    /// Where the product does not fit inside the strip.
    pub fn product(
        &mut self,
        (row, column): (usize, usize),
        add: bool,
        left: Matrix<'_>,
        right: Matrix<'_>,
    ) {
        assert!(
            row + left.rows <= self.rows && column + right.columns <= self.width,
            "a product inside its strip"
        );
        let stride = self.stride;
        // SAFETY: inside the strip, by the assertion; nobody else has a part of it, and it holds
        // numbers since `in_strips` made it.
        unsafe {
            let start = self.start.add(row * stride + column);
            into_output(&Output { start, stride, add }, left, right);
        }
    }
}

/// The start of a matrix.
struct Place(*mut f32);

// SAFETY: tasks write disjoint strips through it.
unsafe impl Sync for Place {}

/// `N` matrices of `blocks` blocks of rows, each block cut into `strips` strips; for matrix i,
/// `shapes[i]` = (rows of a block, columns of a strip). `body` gets the index block · strips +
/// strip, its strips, and a buffer that tasks reuse; its results are collected in that order.
pub fn in_strips<const N: usize, R: Send>(
    (blocks, strips): (usize, usize),
    shapes: [(usize, usize); N],
    body: impl Fn(usize, [Strip<'_>; N], &mut Vec<f32>) -> R + Sync,
) -> ([Vec<f32>; N], Vec<R>) {
    let sizes = shapes.map(|(rows, width)| blocks * rows * strips * width);
    let mut matrices = sizes.map(Vec::<f32>::with_capacity);
    let places = matrices.each_mut().map(|matrix| Place(matrix.as_mut_ptr()));
    let found = (0..blocks * strips).into_par_iter().map_init(Vec::new, |buffer, at| {
        let (block, strip) = (at / strips, at % strips);
        let of = |matrix: usize| {
            let ((rows, width), stride) = (shapes[matrix], strips * shapes[matrix].1);
            let start = block * rows * stride + strip * width;
            // SAFETY: an element of the matrix, which has room for all blocks.
            let start = unsafe { places[matrix].0.add(start) };
            for row in 0..rows {
                // SAFETY: a row of this strip, which no other task has.
                unsafe { start.add(row * stride).write_bytes(0, width) };
            }
            Strip { start, rows, width, stride, of: PhantomData }
        };
        body(at, std::array::from_fn(of), buffer)
    });
    let found = found.collect();
    for (matrix, size) in matrices.iter_mut().zip(sizes) {
        // SAFETY: every element belongs to a strip, and all strips were filled with zeros.
        unsafe { matrix.set_len(size) };
    }
    (matrices, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_hold_their_own_products_and_zeros_elsewhere() {
        let (one, numbers) = ([1.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let ([wide, narrow], found) = in_strips((2, 2), [(3, 2), (1, 1)], |at, strips, _| {
            let [mut wide, mut narrow] = strips;
            let left = Matrix::new(&numbers[at..], 2, 1, 1);
            wide.product((1, 1), false, left, Matrix::new(&one, 1, 1, 1));
            wide.product((1, 1), true, left, Matrix::new(&one, 1, 1, 1));
            narrow.product(
                (0, 0),
                true,
                Matrix::new(&one, 1, 1, 1),
                Matrix::new(&numbers[at..], 1, 1, 1),
            );
            at
        });
        let expected = [
            [0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 4.0, 0.0, 4.0, 0.0, 6.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0, 8.0, 0.0, 8.0, 0.0, 10.0],
        ];
        assert_eq!(wide, expected.concat());
        assert_eq!((narrow, found), (vec![1.0, 2.0, 3.0, 4.0], vec![0, 1, 2, 3]));
    }

    #[test]
    #[should_panic(expected = "inside its strip")]
    fn a_product_outside_its_strip_is_a_bug() {
        let one = [1.0; 2];
        in_strips((1, 1), [(1, 1)], |_, [mut strip], _| {
            strip.product((0, 0), false, Matrix::new(&one, 2, 1, 1), Matrix::new(&one, 1, 1, 1));
        });
    }
}
