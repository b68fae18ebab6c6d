//! Loops over the elements of a parameter and the tensors that belong to it, in place.
//!
//! In → f32 tensors of one shape on the CPU, a kernel over slices; out → the first tensor changed.
//! Element by element: the same bits at any thread count.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor};
use rayon::prelude::*;

use crate::base::error::Result;

/// Elements one task works on.
pub const CHUNK: usize = 16 * 1024;

/// Runs `kernel` over pieces of `target` and the matching pieces of `other`.
pub fn each(
    target: &Tensor,
    other: &Tensor,
    kernel: impl Fn(&mut [f32], &[f32]) + Sync,
) -> Result<()> {
    Ok(target.inplace_op2(other, &Two(kernel))?)
}

/// The same with two others.
pub fn each_of_three(
    target: &Tensor,
    one: &Tensor,
    other: &Tensor,
    kernel: impl Fn(&mut [f32], &[f32], &[f32]) + Sync,
) -> Result<()> {
    Ok(target.inplace_op3(one, other, &Three(kernel))?)
}

struct Two<F>(F);

struct Three<F>(F);

impl<F: Fn(&mut [f32], &[f32]) + Sync> InplaceOp2 for Two<F> {
    fn name(&self) -> &'static str {
        "optimizer_two"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        other: &CpuStorage,
        other_layout: &Layout,
    ) -> candle_core::Result<()> {
        let other = slice(other, other_layout)?;
        let chunks = slice_mut(target, target_layout)?.par_chunks_mut(CHUNK);
        chunks.zip(other.par_chunks(CHUNK)).for_each(|(target, other)| (self.0)(target, other));
        Ok(())
    }
}

impl<F: Fn(&mut [f32], &[f32], &[f32]) + Sync> InplaceOp3 for Three<F> {
    fn name(&self) -> &'static str {
        "optimizer_three"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        one: &CpuStorage,
        one_layout: &Layout,
        other: &CpuStorage,
        other_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (one, other) = (slice(one, one_layout)?, slice(other, other_layout)?);
        let chunks = slice_mut(target, target_layout)?.par_chunks_mut(CHUNK);
        let others = one.par_chunks(CHUNK).zip(other.par_chunks(CHUNK));
        chunks.zip(others).for_each(|(target, (one, other))| (self.0)(target, one, other));
        Ok(())
    }
}

/// The elements of a contiguous f32 tensor.
pub fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let (start, end) = contiguous(layout)?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The same, to be changed.
pub fn slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    let (start, end) = contiguous(layout)?;
    match storage {
        CpuStorage::F32(elements) => Ok(&mut elements[start..end]),
        _ => candle_core::bail!("an optimizer keeps its parameters in f32"),
    }
}

fn contiguous(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    layout.contiguous_offsets().ok_or_else(|| {
        candle_core::Error::Msg("an optimizer was given a strided tensor".to_owned())
    })
}
