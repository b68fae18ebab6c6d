//! NVIDIA GPUs: arrays in their memory, and the kernels of `kernels/` on them.
//!
//! In → arrays, launches; out → arrays. docs/kernels.md says what is tested, and how. From the
//! bottom up:
//!
//! | module | holds |
//! |---|---|
//! | [`table`] | every kernel: its file, threads, shared memory, widths of arguments |
//! | [`driver`] | what a device does for us: a trait |
//! | [`memory`] | [`memory::Array`]: numbers on a device |
//! | [`calls`] | the operations of the model on arrays: grids and arguments |
//! | [`heads`] | the operations of attention heads |
//! | [`resident`] | a model's parameters on a device |
//! | [`updates`] | the optimizers there |
//! | `gpu`, `gemm`, `libraries` | with the feature `cuda`: the driver of a real GPU |
//!
//! Everything but the last row is in every build and knows of no GPU, so that tests run it on the
//! host's machine of `kernels/host.hpp`.

pub mod calls;
#[cfg(test)]
mod conformance;
pub mod driver;
#[cfg(feature = "cuda")]
mod gemm;
#[cfg(feature = "cuda")]
pub mod gpu;
pub mod heads;
#[cfg(test)]
pub(crate) mod host;
#[cfg(feature = "cuda")]
mod libraries;
pub mod memory;
pub mod resident;
pub mod table;
pub mod updates;
