//! Factors rounded to bf16 but kept as f32, for products in bf16 on CPUs without a unit for it.
//!
//! In → a [`Matrix`]; out → its elements, each the nearest bf16 (ties to even), as f32, and the
//! matrix they make. A product of two such factors equals that of bf16 factors, except for the
//! order of sums. **Cost.** One read, one write and twice the memory of a factor.

use rayon::prelude::*;

use super::kernel;
use super::matrix::Matrix;

/// The elements of a matrix, rounded.
pub struct Rounded {
    elements: Vec<f32>,
    rows: usize,
    columns: usize,
    /// Whether columns are contiguous.
    is_transposed: bool,
}

impl Rounded {
    /// Rounds all elements.
    pub fn of(matrix: Matrix<'_>) -> Rounded {
        let is_transposed = matrix.column_stride != 1;
        let lies = if is_transposed { matrix.t() } else { matrix };
        let mut elements = vec![0.0; lies.rows * lies.columns];
        elements.par_chunks_mut(lies.columns).enumerate().for_each(|(row, place)| {
            round(place, &lies.elements[row * lies.row_stride..][..lies.columns]);
        });
        Rounded { elements, rows: lies.rows, columns: lies.columns, is_transposed }
    }

    /// As a factor of a product in f32.
    pub fn matrix(&self) -> Matrix<'_> {
        let matrix = Matrix::new(&self.elements, self.rows, self.columns, self.columns);
        if self.is_transposed { matrix.t() } else { matrix }
    }
}

kernel! {
    fn round(output: &mut [f32], input: &[f32]) {
        for (output, input) in output.iter_mut().zip(input) {
            *output = nearest(*input);
        }
    }
}

/// The nearest bf16.
#[inline(always)]
pub fn nearest(x: f32) -> f32 {
    let bits = x.to_bits();
    let up = 0x7fff + ((bits >> 16) & 1);
    let rounded = f32::from_bits(bits.wrapping_add(up) & 0xffff_0000);
    if x.is_nan() { x } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn numbers_become_the_nearest_bf16() {
        let numbers = (0..200_000u32).map(|at| f32::from_bits(at.wrapping_mul(2_654_435_761)));
        for number in numbers.chain([0.0, -0.0, 1.0, f32::MAX, f32::INFINITY, 1.003_906_3]) {
            let expected = bf16::from_f32(number).to_f32();
            let found = nearest(number);
            assert!(found.to_bits() == expected.to_bits() || number.is_nan(), "{number}");
            assert_eq!(found.is_nan(), number.is_nan());
        }
    }

    #[test]
    fn a_rounded_matrix_lies_as_it_lay() {
        let numbers: Vec<f32> = (0..12).map(|at| at as f32 + 0.001).collect();
        let matrix = Matrix::new(&numbers, 3, 3, 4);
        for (matrix, second) in [(matrix, 1.0), (matrix.t(), 4.0)] {
            let rounded = Rounded::of(matrix);
            let found = rounded.matrix();
            assert_eq!((found.rows, found.columns), (3, 3));
            assert_eq!(found.elements[found.column_stride], second);
        }
    }
}
