//! Products of matrices by cuBLASLt, with plans that are kept.
//!
//! In → [`Product`]s of row-major matrices; out → work in the stream. A plan (descriptors and the
//! algorithm) is made at the first product of its shape and used from then on, so a run has one
//! algorithm for each shape: the first that the library proposes among those that keep partial sums
//! in fp32 and add them in a fixed order (reduction schemes NONE and COMPUTE_TYPE; INPLACE sums in
//! the output, OUTPUT_TYPE rounds between). Its choice depends on the library's version, which is
//! part of a run's numerics. One workspace serves all, since one stream runs them in turn.
//!
//! cuBLASLt is column-major: a row-major C [m, n] = A·B is its Cᵀ [n, m] = Bᵀ·Aᵀ, so our right
//! factor is its first, and a factor that is transposed in memory is one that it transposes. A bias
//! is the library's epilogue: a number for each of its output's rows, added in fp32.

#![allow(unsafe_code, reason = "calls into cuBLASLt")]

use std::collections::BTreeMap;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::sys::{self as driver, CUresult, CUstream};

use super::driver::{Element, Product};
use crate::base::cuda::PRODUCTS_VERSION;
use crate::base::error::{Error, Result};

/// Bytes of workspace: what cuBLAS uses on an H100. Constant, since the choice of an algorithm
/// depends on it.
const WORKSPACE: usize = 32 << 20;

/// Bytes that every matrix is aligned to: rows are multiples of 8 elements.
const ALIGNMENT: u32 = 16;

/// Allows only the reduction schemes NONE and COMPUTE_TYPE.
const REDUCTIONS: u32 =
    sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;

/// The key of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
    is_left_transposed: bool,
    is_right_transposed: bool,
    element: Element,
    has_bias: bool,
}

/// A matrix as the library sees it: column-major, columns `height` elements apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    height: usize,
    width: usize,
}

impl Shape {
    /// Layouts of the right factor, the left factor and the output, in the library's order. It
    /// calls a row-major [r, c] c by r.
    fn layouts(&self) -> [Layout; 3] {
        let stored = |is_transposed: bool, rows: usize, columns: usize| match is_transposed {
            true => Layout { height: rows, width: columns },
            false => Layout { height: columns, width: rows },
        };
        [
            stored(self.is_right_transposed, self.k, self.n),
            stored(self.is_left_transposed, self.m, self.k),
            stored(false, self.m, self.n),
        ]
    }
}

#[derive(Debug)]
struct Plan {
    product: sys::cublasLtMatmulDesc_t,
    right: sys::cublasLtMatrixLayout_t,
    left: sys::cublasLtMatrixLayout_t,
    output: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The library on one stream.
#[derive(Debug)]
pub struct Products {
    handle: sys::cublasLtHandle_t,
    stream: CUstream,
    workspace: u64,
    plans: BTreeMap<Shape, Plan>,
}

/// Sets the address of the bias, which is added to each of the library's columns, our rows. Its
/// type is the output's, the library's default.
fn set_bias(
    product: sys::cublasLtMatmulDesc_t,
    bias: u64,
) -> std::result::Result<(), result::CublasError> {
    let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
    // SAFETY: the attribute is an address, which is read before this returns.
    unsafe { result::set_matmul_desc_attribute(product, attribute, (&raw const bias).cast(), 8) }
}

fn failed(what: impl std::fmt::Display) -> impl FnOnce(result::CublasError) -> Error {
    move |error| Error::failed(format!("cuBLASLt refused {what}: {:?}", error.0))
}

impl Products {
    /// Opens the library on the current context.
    pub fn open(stream: CUstream) -> Result<Products> {
        // SAFETY: reads a constant of the library.
        let version = unsafe { sys::cublasLtGetVersion() };
        if version < PRODUCTS_VERSION {
            let message = format!("the loader gives cuBLASLt {version} for `libcublasLt.so`");
            return Err(Error::config(message).with_hint(
                "it must be 12.0 or later: `dataprep doctor` says where it lies; take its folder \
                 out of LD_LIBRARY_PATH, or its link away",
            ));
        }
        let handle = result::create_handle().map_err(failed("a handle"))?;
        let mut workspace = 0;
        // SAFETY: writes one address; the workspace lives as long as the process.
        let got = unsafe { driver::cuMemAllocAsync(&mut workspace, WORKSPACE, stream) };
        if got != CUresult::CUDA_SUCCESS {
            return Err(Error::failed(format!("no {WORKSPACE} bytes for products: {got:?}")));
        }
        Ok(Products { handle, stream, workspace, plans: BTreeMap::new() })
    }

    /// Library and version.
    pub fn version(&self) -> String {
        // SAFETY: reads a constant of the library.
        format!("cuBLASLt {}", unsafe { sys::cublasLtGetVersion() })
    }

    /// Queues a product.
    pub fn queue(&mut self, product: &Product) -> Result<()> {
        let Product { m, n, k, left, right, scale, addend, bias, output, element } = *product;
        let shape = Shape {
            m,
            n,
            k,
            is_left_transposed: left.is_transposed,
            is_right_transposed: right.is_transposed,
            element,
            has_bias: bias.is_some(),
        };
        if !self.plans.contains_key(&shape) {
            let plan = self.plan(shape, bias)?;
            self.plans.insert(shape, plan);
        }
        let plan = &self.plans[&shape];
        if let Some(bias) = bias {
            set_bias(plan.product, bias).map_err(failed(format_args!("the bias of {shape:?}")))?;
        }
        let (address, beta) = addend.unwrap_or((output, 0.0));
        let pointer = |address: u64| address as *mut c_void;
        // SAFETY: the plan's layouts are those of the product's matrices, which the caller keeps
        // alive in the order of the stream; the scalars are read before the call returns.
        unsafe {
            result::matmul(
                self.handle,
                plan.product,
                std::ptr::from_ref(&scale).cast(),
                std::ptr::from_ref(&beta).cast(),
                pointer(right.address),
                plan.right,
                pointer(left.address),
                plan.left,
                pointer(address),
                plan.output,
                pointer(output),
                plan.output,
                &plan.algorithm,
                pointer(self.workspace),
                WORKSPACE,
                self.stream.cast(),
            )
        }
        .map_err(failed(format_args!("a product of {shape:?}")))
    }

    /// Makes the plan of a shape; `bias` is the address of its first product's bias.
    fn plan(&self, shape: Shape, bias: Option<u64>) -> Result<Plan> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let refused = || failed(format!("a plan for {shape:?}"));
        let bf16 = sys::cudaDataType::CUDA_R_16BF;
        let is_wide = shape.element == Element::F32;
        let kind = if is_wide { sys::cudaDataType::CUDA_R_32F } else { bf16 };
        let layout = |kind, Layout { height, width }: Layout| {
            let (rows, columns) = (height as u64, width as u64);
            result::create_matrix_layout(kind, rows, columns, height as i64).map_err(refused())
        };
        let [right, left, output] = shape.layouts();
        let (right, left, output) =
            (layout(bf16, right)?, layout(bf16, left)?, layout(kind, output)?);
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let product =
            result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F).map_err(refused())?;
        for (attribute, is_transposed) in [
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSA, shape.is_right_transposed),
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, shape.is_left_transposed),
        ] {
            // CUBLAS_OP_N and CUBLAS_OP_T of cublas_api.h.
            let operation = i32::from(is_transposed);
            let value = std::ptr::from_ref(&operation).cast();
            // SAFETY: the attribute is an integer of 32 bits.
            unsafe { result::set_matmul_desc_attribute(product, attribute, value, 4) }
                .map_err(refused())?;
        }
        if let Some(bias) = bias {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS as u32;
            let (attribute, value) =
                (Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &raw const epilogue);
            // SAFETY: the attribute is an integer of 32 bits.
            unsafe { result::set_matmul_desc_attribute(product, attribute, value.cast(), 4) }
                .map_err(refused())?;
            set_bias(product, bias).map_err(refused())?;
        }
        let algorithm = self.algorithm(product, [right, left, output]).map_err(refused())?;
        Ok(Plan { product, right, left, output, algorithm })
    }

    /// The first algorithm that the library proposes.
    fn algorithm(
        &self,
        product: sys::cublasLtMatmulDesc_t,
        [right, left, output]: [sys::cublasLtMatrixLayout_t; 3],
    ) -> std::result::Result<sys::cublasLtMatmulAlgo_t, result::CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = result::create_matmul_pref()?;
        let workspace = std::ptr::from_ref(&WORKSPACE).cast::<c_void>();
        let reductions = std::ptr::from_ref(&REDUCTIONS).cast::<c_void>();
        let alignment = std::ptr::from_ref(&ALIGNMENT).cast::<c_void>();
        let wanted = [
            (Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace, 8),
            (Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions, 4),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment, 4),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment, 4),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment, 4),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment, 4),
        ];
        // SAFETY: widths of the attributes by cublasLt.h: size_t for the workspace, uint32_t for
        // the others; all handles are alive.
        unsafe {
            for (attribute, value, width) in wanted {
                result::set_matmul_pref_attribute(preference, attribute, value, width)?;
            }
            let found = result::get_matmul_algo_heuristic(
                self.handle,
                product,
                right,
                left,
                output,
                output,
                preference,
            );
            result::destroy_matmul_pref(preference)?;
            Ok(found?.algo)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// op(A)·op(B) by columns, as the library's documentation defines it.
    fn by_columns(
        (a, a_layout, transposes_a): (&[i64], Layout, bool),
        (b, b_layout, transposes_b): (&[i64], Layout, bool),
        output: Layout,
    ) -> Vec<i64> {
        let at = |numbers: &[i64], layout: Layout, transposes: bool, row: usize, column: usize| {
            let (row, column) = if transposes { (column, row) } else { (row, column) };
            assert!(row < layout.height && column < layout.width, "{layout:?}");
            numbers[column * layout.height + row]
        };
        let inner = if transposes_a { a_layout.height } else { a_layout.width };
        let mut product = vec![0; output.height * output.width];
        for row in 0..output.height {
            for column in 0..output.width {
                product[column * output.height + row] = (0..inner)
                    .map(|k| {
                        let left = at(a, a_layout, transposes_a, row, k);
                        left * at(b, b_layout, transposes_b, k, column)
                    })
                    .sum();
            }
        }
        product
    }

    #[test]
    fn the_librarys_columns_are_our_rows_however_factors_lie() {
        let (m, n, k) = (3, 5, 4);
        let left = |row: usize, column: usize| (row * 7 + column * 3) as i64 % 11 - 5;
        let right = |row: usize, column: usize| (row * 5 + column * 2) as i64 % 13 - 6;
        let stored = |rows: usize, columns: usize, number: &dyn Fn(usize, usize) -> i64| {
            (0..rows * columns).map(|at| number(at / columns, at % columns)).collect::<Vec<i64>>()
        };
        let expected =
            stored(m, n, &|row, column| (0..k).map(|i| left(row, i) * right(i, column)).sum());
        for (is_left_transposed, is_right_transposed) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let a = match is_left_transposed {
                true => stored(k, m, &|row, column| left(column, row)),
                false => stored(m, k, &left),
            };
            let b = match is_right_transposed {
                true => stored(n, k, &|row, column| right(column, row)),
                false => stored(k, n, &right),
            };
            let element = Element::Bf16;
            let shape = Shape {
                m,
                n,
                k,
                is_left_transposed,
                is_right_transposed,
                element,
                has_bias: false,
            };
            let [first, second, output] = shape.layouts();
            let found = by_columns(
                (&b, first, is_right_transposed),
                (&a, second, is_left_transposed),
                output,
            );
            assert_eq!(found, expected, "{shape:?}");
        }
    }
}
