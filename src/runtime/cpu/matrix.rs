//! A matrix inside a slice: where its elements lie, and where those of a product go.
//!
//! In → a slice, sizes, the stride between rows; out → the matrix or its transpose, without a copy.
//! **Invariants.** All elements lie inside the slice, and rows or columns are contiguous: kernels
//! rely on both.

#![allow(unsafe_code, reason = "tasks write into one output")]

/// A read-only matrix inside a slice.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub(super) elements: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
    /// Whether products round its elements to bf16.
    pub(super) in_bf16: bool,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns`, rows `row_stride` elements apart.
    pub fn new(elements: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let matrix =
            Matrix { elements, rows, columns, row_stride, column_stride: 1, in_bf16: false };
        assert!(rows > 0 && columns > 0, "a matrix of {rows} x {columns}");
        let span = (rows - 1) * row_stride + columns;
        assert!(span <= elements.len(), "a matrix inside its slice");
        matrix
    }

    /// The transpose of the same elements.
    pub fn t(self) -> Self {
        let Matrix { rows, columns, row_stride, column_stride, .. } = self;
        Matrix {
            rows: columns,
            columns: rows,
            row_stride: column_stride,
            column_stride: row_stride,
            ..self
        }
    }

    /// The same elements, which a product rounds to bf16 if `in_bf16`. Both factors of a product
    /// must agree on it.
    pub fn rounded(self, in_bf16: bool) -> Self {
        Matrix { in_bf16, ..self }
    }
}

/// Where a product goes.
pub struct Output {
    pub start: *mut f32,
    /// Elements between two rows.
    pub stride: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

// SAFETY: tasks write disjoint elements through it.
unsafe impl Sync for Output {}
