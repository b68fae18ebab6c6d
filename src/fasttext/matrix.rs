//! A model's matrices: rows that are added up, and the dots of all output rows with a sum.
//!
//! In → row numbers or a hidden vector; out → sums and dots in 32-bit floats. A matrix is dense, or
//! product-quantised as in a `.ftz` file (Jégou, Douze, Schmid, "Product quantization for nearest
//! neighbor search", 2011; layout from fastText's `productquantizer.cc` and `quantmatrix.cc`): each
//! row is a list of codes of one byte, each of which names one of 256 centroids of a few columns;
//! rows may have their norm quantised apart.
//! Invariants: every sum runs over rows in their given order and over columns from the first, one
//! accumulator each, so results have the same bits on every machine and are those of fastText's own
//! loops. Cost: memory traffic; the sum of 8, 16 or 32 columns stays in registers, of more it is
//! touched once for eight rows.

/// Centroids of each part of a row: 8 bits' worth.
pub const CENTROIDS: usize = 256;

/// Output rows whose dots are taken at once.
const LANES: usize = 16;

/// A matrix as a model file holds it.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// Row after row.
    Dense {
        columns: usize,
        values: Vec<f32>,
    },
    Quantized(Quantized),
}

/// A product-quantised matrix.
#[derive(Clone, Debug)]
pub struct Quantized {
    pub columns: usize,
    /// Columns of one part; the last part has `columns - width * (parts - 1)`.
    pub width: usize,
    /// `parts` codes a row.
    pub codes: Vec<u8>,
    /// 256 centroids of `width` columns for each part, one part after the other.
    pub centroids: Vec<f32>,
    pub norms: Option<Norms>,
}

/// The quantised norm of each row.
#[derive(Clone, Debug)]
pub struct Norms {
    /// One code a row.
    pub codes: Vec<u8>,
    /// 256 norms.
    pub centroids: Vec<f32>,
}

impl Quantized {
    /// Codes of one row.
    pub fn parts(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// The factor of row `row`: its norm, or 1.
    #[inline]
    fn norm(&self, row: usize) -> f32 {
        self.norms.as_ref().map_or(1.0, |norms| norms.centroids[norms.codes[row] as usize])
    }

    /// The centroid that stands for part `part` of a row.
    #[inline]
    fn centroid(&self, part: usize, code: u8) -> &[f32] {
        let width = self.width.min(self.columns - part * self.width);
        let start = part * CENTROIDS * self.width + usize::from(code) * width;
        &self.centroids[start..start + width]
    }

    fn add_row(&self, row: usize, sum: &mut [f32]) {
        let (norm, parts) = (self.norm(row), self.parts());
        let codes = &self.codes[row * parts..(row + 1) * parts];
        for (part, (&code, sum)) in codes.iter().zip(sum.chunks_mut(self.width)).enumerate() {
            for (sum, &value) in sum.iter_mut().zip(self.centroid(part, code)) {
                *sum += norm * value;
            }
        }
    }

    /// The matrix with its rows written out, if they have at most `most` bytes. Adding its rows
    /// gives the same bits, as a norm times a centroid is rounded before it is added either way.
    pub fn written_out(&self, most: usize) -> Option<Matrix> {
        let rows = self.codes.len() / self.parts();
        let count = rows.checked_mul(self.columns)?;
        if count.checked_mul(size_of::<f32>())? > most {
            return None;
        }
        let mut values = vec![0.0; count];
        for (row, values) in values.chunks_mut(self.columns).enumerate() {
            self.add_row(row, values);
        }
        Some(Matrix::Dense { columns: self.columns, values })
    }

    fn dot_row(&self, row: usize, vector: &[f32]) -> f32 {
        let parts = self.parts();
        let codes = &self.codes[row * parts..(row + 1) * parts];
        let mut dot = 0.0f32;
        for (part, (&code, vector)) in codes.iter().zip(vector.chunks(self.width)).enumerate() {
            for (&left, &right) in vector.iter().zip(self.centroid(part, code)) {
                dot += left * right;
            }
        }
        dot * self.norm(row)
    }
}

impl Matrix {
    /// Values in a row.
    pub fn columns(&self) -> usize {
        match self {
            Matrix::Dense { columns, .. } => *columns,
            Matrix::Quantized(matrix) => matrix.columns,
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        match self {
            Matrix::Dense { columns, values } => values.len() / columns,
            Matrix::Quantized(matrix) => matrix.codes.len() / matrix.parts(),
        }
    }

    /// Adds each of `rows`, in order, to `sum`.
    pub fn add_rows(&self, rows: &[u32], sum: &mut [f32]) {
        match self {
            Matrix::Dense { values, columns } => add_dense(values, *columns, rows, sum),
            Matrix::Quantized(matrix) => {
                for &row in rows {
                    matrix.add_row(row as usize, sum);
                }
            }
        }
    }
}

/// [`Matrix::add_rows`] of a dense matrix.
pub fn add_dense(values: &[f32], columns: usize, rows: &[u32], sum: &mut [f32]) {
    match columns {
        8 => add_few_columns::<8>(values, rows, sum),
        16 => add_few_columns::<16>(values, rows, sum),
        32 => add_few_columns::<32>(values, rows, sum),
        _ => add_many_columns(values, columns, rows, sum),
    }
}

/// [`add_dense`] for few columns: the sum stays in registers.
fn add_few_columns<const COLUMNS: usize>(values: &[f32], rows: &[u32], sum: &mut [f32]) {
    let (values, _) = values.as_chunks::<COLUMNS>();
    let (sums, _) = sum.as_chunks_mut::<COLUMNS>();
    let mut sum = sums[0];
    for &row in rows {
        for (sum, &value) in sum.iter_mut().zip(&values[row as usize]) {
            *sum += value;
        }
    }
    sums[0] = sum;
}

/// [`add_dense`] for many columns: eight rows at a time, still added in order. The sum is loaded
/// and stored once for them, and the memory fetches all of them at once.
fn add_many_columns(values: &[f32], columns: usize, rows: &[u32], sum: &mut [f32]) {
    let row = |row: u32| &values[row as usize * columns..][..columns];
    let (eights, rest) = rows.as_chunks::<8>();
    for &eight in eights {
        let [a, b, c, d, e, f, g, h] = eight.map(row);
        let sum = &mut sum[..columns];
        for column in 0..columns {
            let first = sum[column] + a[column] + b[column] + c[column] + d[column];
            sum[column] = first + e[column] + f[column] + g[column] + h[column];
        }
    }
    for &rest in rest {
        for (sum, &value) in sum.iter_mut().zip(row(rest)) {
            *sum += value;
        }
    }
}

/// The output matrix arranged for taking all its dots.
#[derive(Clone, Debug)]
pub struct Output {
    rows: usize,
    /// For each block of [`LANES`] rows, column after column; empty for a quantised matrix.
    blocks: Vec<[f32; LANES]>,
}

impl Output {
    /// Arranges `matrix`.
    pub fn new(matrix: &Matrix) -> Output {
        let mut blocks = Vec::new();
        if let Matrix::Dense { columns, values } = matrix {
            for block in values.chunks(LANES * columns) {
                for column in 0..*columns {
                    let mut lanes = [0.0; LANES];
                    for (lane, row) in lanes.iter_mut().zip(block.chunks_exact(*columns)) {
                        *lane = row[column];
                    }
                    blocks.push(lanes);
                }
            }
        }
        Output { rows: matrix.rows(), blocks }
    }

    /// Replaces `dots` by the dots of all rows of `matrix`, which this was made of, with `vector`.
    pub fn dots(&self, matrix: &Matrix, vector: &[f32], dots: &mut Vec<f32>) {
        dots.clear();
        match matrix {
            Matrix::Quantized(matrix) => {
                dots.extend((0..self.rows).map(|row| matrix.dot_row(row, vector)));
            }
            Matrix::Dense { columns, .. } => {
                for block in self.blocks.chunks_exact(*columns) {
                    let mut sums = [0.0f32; LANES];
                    for (lanes, &value) in block.iter().zip(vector) {
                        for (sum, &lane) in sums.iter_mut().zip(lanes) {
                            *sum += lane * value;
                        }
                    }
                    dots.extend(sums);
                }
                dots.truncate(self.rows);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(columns: usize, rows: usize) -> Matrix {
        let values = (0..columns * rows).map(|index| (index as f32 * 0.37).fract() - 0.5);
        Matrix::Dense { columns, values: values.collect() }
    }

    #[test]
    fn sums_and_dots_are_those_of_the_plain_loops_bit_for_bit() {
        for columns in [3, 8, 16, 20, 64, 100] {
            let matrix = dense(columns, 37);
            let Matrix::Dense { values, .. } = &matrix else { unreachable!() };
            let rows = [5, 0, 36, 5, 17, 1, 2, 3, 4, 30, 31];
            let mut sum = vec![0.25f32; columns];
            let mut expected = sum.clone();
            matrix.add_rows(&rows, &mut sum);
            for row in rows {
                for (column, value) in expected.iter_mut().enumerate() {
                    *value += values[row as usize * columns + column];
                }
            }
            assert_eq!(sum, expected);
            let mut dots = Vec::new();
            Output::new(&matrix).dots(&matrix, &sum, &mut dots);
            let plain: Vec<f32> = values
                .chunks(columns)
                .map(|row| row.iter().zip(&sum).fold(0.0, |dot, (left, right)| dot + left * right))
                .collect();
            assert_eq!(dots, plain);
        }
    }

    #[test]
    fn a_quantised_row_is_its_centroids_times_its_norm() {
        // Three columns in parts of two and one.
        let mut centroids = vec![0.0; 3 * CENTROIDS];
        centroids[2 * 7..2 * 7 + 2].copy_from_slice(&[1.0, 2.0]);
        centroids[2 * CENTROIDS + 9] = 4.0;
        let mut norms = vec![0.0; CENTROIDS];
        norms[3] = 0.5;
        let norms = Some(Norms { codes: vec![3], centroids: norms });
        let matrix = Quantized { columns: 3, width: 2, codes: vec![7, 9], centroids, norms };
        let mut sum = vec![10.0; 3];
        matrix.add_row(0, &mut sum);
        assert_eq!(sum, [10.5, 11.0, 12.0]);
        assert_eq!(matrix.dot_row(0, &[1.0, 1.0, 1.0]), 3.5);
        assert!(matrix.written_out(11).is_none());
        let mut sum = vec![10.0; 3];
        matrix.written_out(12).expect("small enough").add_rows(&[0], &mut sum);
        assert_eq!(sum, [10.5, 11.0, 12.0]);
        assert_eq!(Matrix::Quantized(matrix).rows(), 1);
    }
}
