//! A matrix inside a slice: where its elements lie.
//!
//! In → a slice, sizes, the way from row to row; out → the matrix or its transpose, without a copy.
//! **Invariant.** All elements lie inside the slice, which kernels rely on.

/// A read-only matrix inside a slice.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub(super) elements: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns`, rows `row_stride` elements apart.
    pub fn new(elements: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let matrix = Matrix { elements, rows, columns, row_stride, column_stride: 1 };
        assert!(rows > 0 && columns > 0, "a matrix of {rows} x {columns}");
        let span = (rows - 1) * row_stride + columns;
        assert!(span <= elements.len(), "a matrix inside its slice");
        matrix
    }

    /// The transpose of the same elements.
    pub fn t(self) -> Self {
        let Matrix { elements, rows, columns, row_stride, column_stride } = self;
        Matrix {
            elements,
            rows: columns,
            columns: rows,
            row_stride: column_stride,
            column_stride: row_stride,
        }
    }
}
