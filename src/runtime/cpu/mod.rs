//! What the fused CPU forms share: slices of tensors, matrix products, and a vectorised `exp`.
//!
//! In → f32 tensors on the CPU; out → slices, sums and products of them ([`mod@product`]), also of
//! factors rounded to bf16 ([`Matrix::rounded`]). Element loops are plain Rust compiled three times
//! (baseline, AVX2, AVX-512) by `kernel!` and dispatched at run time.
//!
//! **Invariants.** No fused multiply-add, no reassociation, sums in [`LANES`] fixed lanes and fixed
//! blocks of rows: an element loop gives the same bits on every instruction set and thread count.

#![allow(unsafe_code, reason = "kernels for the vector units")]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod matrix;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod product;
mod rounded;
mod strips;
#[cfg(target_arch = "x86_64")]
mod tasks;
#[cfg(target_arch = "x86_64")]
mod tile;

pub use matrix::Matrix;
pub use product::{Factor, Threads, matmul, product};
pub use strips::{Strip, in_strips};

use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

use candle_core::{
    CpuStorage, DType, Device, InplaceOp1, Layout, Shape, Storage, StorageRef, Tensor,
};
use rayon::prelude::*;

use crate::base::error::{Error, Result};

/// Partial sums a reduction keeps: one AVX-512 register of f32.
pub const LANES: usize = 16;

/// Rows that one task works on; the partial sums of such blocks are added in order.
pub const ROWS: usize = 64;

/// Elements that an elementwise loop makes at once: together with their inputs they take half of
/// the L1 cache.
pub const PIECE: usize = 4 * 1024;

/// Inner indices of a product that are summed before their sum is added to the rest. The bits of a
/// product depend on it.
pub const DEPTH: usize = 512;

/// A contiguous f32 tensor's elements, borrowed.
pub struct Elements<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Elements<'a> {
    /// Borrows the elements of a contiguous f32 tensor on the CPU.
    pub fn of(tensor: &'a Tensor) -> Result<Elements<'a>> {
        let (storage, layout) = tensor.storage_and_layout();
        let (start, end) = layout
            .contiguous_offsets()
            .ok_or_else(|| Error::failed("a fused operation was given a strided tensor"))?;
        assert!(matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))), "f32 on the CPU");
        Ok(Elements { storage, range: start..end })
    }
}

impl Deref for Elements<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(elements)) => &elements[self.range.clone()],
            _ => &[],
        }
    }
}

/// `len` elements that `body` makes in parallel, `piece` at a time: (which piece, zeros to fill).
/// Each piece is zeroed just before it is filled, while it is in the cache: the L1 cache holds
/// pieces of [`PIECE`].
pub fn made(len: usize, piece: usize, body: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut elements = Vec::with_capacity(len);
    let places = elements.spare_capacity_mut()[..len].par_chunks_mut(piece);
    let places = places.with_min_len(pieces_a_task(piece));
    places.enumerate().for_each(|(at, place)| body(at, zeroed(place)));
    // SAFETY: each of the `len` elements belongs to a piece, all of which are filled.
    unsafe { elements.set_len(len) };
    elements
}

/// As [`made`], with two outputs.
pub fn made_two(
    len: usize,
    piece: usize,
    body: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (mut one, mut other) = (Vec::with_capacity(len), Vec::with_capacity(len));
    let places = one.spare_capacity_mut()[..len].par_chunks_mut(piece);
    let places = places.zip(other.spare_capacity_mut()[..len].par_chunks_mut(piece));
    let places = places.with_min_len(pieces_a_task(piece));
    places.enumerate().for_each(|(at, (one, other))| body(at, zeroed(one), zeroed(other)));
    // SAFETY: each of the `len` elements belongs to a piece, all of which are filled.
    unsafe { one.set_len(len) };
    // SAFETY: as above.
    unsafe { other.set_len(len) };
    (one, other)
}

/// Pieces of a task, so that it takes some microseconds.
fn pieces_a_task(piece: usize) -> usize {
    (4 * PIECE / piece).max(1)
}

/// Fills a place with zeros.
fn zeroed(place: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    place.fill(MaybeUninit::new(0.0));
    // SAFETY: every element was just written.
    unsafe { place.assume_init_mut() }
}

/// Changes the elements of a contiguous f32 tensor on the CPU in place. Tensors that share its
/// memory change too.
pub fn change(tensor: &Tensor, body: impl Fn(&mut [f32])) -> Result<()> {
    Ok(tensor.inplace_op1(&Change(body))?)
}

struct Change<F>(F);

impl<F: Fn(&mut [f32])> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(elements), Some((start, end))) => (self.0)(&mut elements[start..end]),
            _ => candle_core::bail!("contiguous f32 is changed in place"),
        }
        Ok(())
    }
}

/// `len` zeros, written in parallel.
pub fn zeros(len: usize) -> Vec<f32> {
    made(len, 64 * 1024, |_, _| {})
}

/// A tensor that owns `elements`, without a copy.
pub fn tensor(elements: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Ok(Tensor::from_vec(elements, shape, &Device::Cpu)?)
}

/// a + b; in parallel where both are contiguous f32 on the CPU.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !is_plain(a) || !is_plain(b) || a.dims() != b.dims() {
        return Ok((a + b)?);
    }
    let (left, right) = (Elements::of(a)?, Elements::of(b)?);
    let output = made(left.len(), PIECE, |at, place| {
        add_slices(place, &left[at * PIECE..], &right[at * PIECE..]);
    });
    tensor(output, a.shape())
}

/// a + b, written over a where both are contiguous f32 on the CPU; no other tensor may share the
/// memory of a.
pub fn add_to(a: Tensor, b: &Tensor) -> Result<Tensor> {
    if !is_plain(&a) || !is_plain(b) || a.dims() != b.dims() {
        return add(&a, b);
    }
    let right = Elements::of(b)?;
    change(&a, |sum| by_pieces(sum, &right, add_slice))?;
    Ok(a)
}

/// Whether a tensor is contiguous f32 on the CPU.
fn is_plain(tensor: &Tensor) -> bool {
    tensor.dtype() == DType::F32 && tensor.device().is_cpu() && tensor.is_contiguous()
}

/// Instruction sets the element loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What every CPU of the target has.
    Baseline,
    /// 256-bit vectors, and fused multiply-add for products.
    Avx2,
    /// 512-bit vectors.
    Avx512,
}

impl Level {
    /// What this machine has; std caches the detection.
    #[inline]
    pub fn detected() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
            if wide && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512bw")
            {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Level::Avx2;
            }
        }
        Level::Baseline
    }
}

/// The name of what multiplies bf16 on this machine; the bits of such products depend on it.
pub fn bf16_unit() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match bf16::Unit::detected() {
        Some(bf16::Unit::Tiles) => return "tiles of AMX",
        Some(bf16::Unit::Pairs) => return "pairs of AVX-512",
        None => {}
    }
    "rounded factors in f32"
}

/// Compiles a function's body for each [`Level`] and calls the best one the machine has. The body
/// holds no fused multiply-add, so all of them give the same bits.
macro_rules! kernel {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?)
     $(-> $output:ty)? $body:block) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn body($($argument: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
            fn avx512($($argument: $type),*) $(-> $output)? { body($($argument),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $type),*) $(-> $output)? { body($($argument),*) }

            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "the level is checked")]
            match $crate::runtime::cpu::Level::detected() {
                $crate::runtime::cpu::Level::Avx512 => {
                    // SAFETY: the level was detected, so the CPU has these features.
                    return unsafe { avx512($($argument),*) };
                }
                $crate::runtime::cpu::Level::Avx2 => {
                    // SAFETY: the level was detected, so the CPU has these features.
                    return unsafe { avx2($($argument),*) };
                }
                $crate::runtime::cpu::Level::Baseline => {}
            }
            body($($argument),*)
        }
    };
}
pub(crate) use kernel;

kernel! {
    fn add_slices(output: &mut [f32], a: &[f32], b: &[f32]) {
        for (output, (a, b)) in output.iter_mut().zip(a.iter().zip(b)) {
            *output = a + b;
        }
    }
}

kernel! {
    fn add_slice(sum: &mut [f32], found: &[f32]) {
        for (sum, found) in sum.iter_mut().zip(found) {
            *sum += found;
        }
    }
}

/// e^x within 2 units in the last place for x in [-87, 88]; below, a tiny positive number.
///
/// Cephes' `expf` (Moshier): x = n·ln 2 + r, a polynomial of degree 6 in r, scaled by 2^n through
/// the exponent bits. std's `exp` calls the platform's libm for each element, and its bits vary.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND; // n in its lowest bits
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4; // ln 2 in two pieces: the first product is exact
    let r = r + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// Sum over fixed lanes.
#[inline(always)]
pub fn sum(lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    let mut lanes = lanes;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Σ aᵢ·bᵢ over fixed lanes.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = a.len() / LANES * LANES;
    for (a, b) in a[..whole].chunks_exact(LANES).zip(b[..whole].chunks_exact(LANES)) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in a[whole..].iter().zip(&b[whole..]).enumerate() {
        lanes[lane] += a * b;
    }
    sum(lanes)
}

/// The largest element; -inf where there is none.
#[inline(always)]
pub fn maximum(elements: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let whole = elements.len() / LANES * LANES;
    for chunk in elements[..whole].chunks_exact(LANES) {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    for (lane, &element) in elements[whole..].iter().enumerate() {
        lanes[lane] = if element > lanes[lane] { element } else { lanes[lane] };
    }
    lanes
        .iter()
        .fold(f32::NEG_INFINITY, |largest, &lane| if lane > largest { lane } else { largest })
}

/// Replaces each element by e^(element - shift) and returns their sum, over fixed lanes.
#[inline(always)]
pub fn exp_sum(elements: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = elements.len() / LANES * LANES;
    let (body, tail) = elements.split_at_mut(whole);
    for chunk in body.chunks_exact_mut(LANES) {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - shift);
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, element) in tail.iter_mut().enumerate() {
        *element = exp(*element - shift);
        lanes[lane] += *element;
    }
    sum(lanes)
}

/// tanh x within 2e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// Natural logarithm through f64, in software: the platform's own may change with its version.
#[inline]
pub fn ln(x: f32) -> f32 {
    libm::log(f64::from(x)) as f32
}

/// Runs `body` on the rows of `output` in parallel, [`ROWS`] at a time: (first row, those rows).
pub fn by_rows(output: &mut [f32], width: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    output
        .par_chunks_mut(ROWS * width)
        .enumerate()
        .for_each(|(block, rows)| body(block * ROWS, rows));
}

/// Runs `body` on pieces of `output` and the matching pieces of `input`, in parallel.
pub fn by_pieces(output: &mut [f32], input: &[f32], body: impl Fn(&mut [f32], &[f32]) + Sync) {
    const PIECE: usize = 8 * 1024;
    assert_eq!(output.len(), input.len(), "one input an output");
    output
        .par_chunks_mut(PIECE)
        .zip(input.par_chunks(PIECE))
        .for_each(|(output, input)| body(output, input));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_within_two_units_of_one_and_ends_at_one() {
        for step in -20_000..20_000 {
            let x = step as f32 / 1000.0;
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2.4e-7, "{x}");
        }
        assert_eq!((tanh(1e30), tanh(-1e30)), (1.0, -1.0));
    }

    #[test]
    fn exp_is_within_two_units_of_the_last_place() {
        let mut worst: f64 = 0.0;
        for step in -87_000..88_000 {
            let x = step as f32 / 1000.0;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - expected).abs() / expected);
        }
        assert!(worst < 2.4e-7, "relative error {worst:e}");
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn reductions_see_every_element() {
        let elements: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(dot(&elements, &[1.0; 37]), 666.0);
        assert_eq!(maximum(&elements), 36.0);
        assert_eq!(maximum(&[-3.0, -2.0]), -2.0);
    }

    kernel! {
        fn softmax_sum(elements: &mut [f32]) -> f32 {
            exp_sum(elements, 0.5)
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let mut wide: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin() * 5.0).collect();
        let mut plain = wide.clone();
        assert_eq!(softmax_sum(&mut wide).to_bits(), exp_sum(&mut plain, 0.5).to_bits());
        assert_eq!(wide, plain);
    }
}
