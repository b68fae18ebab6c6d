//! The separable trainer library: a decoder, its gradients, its optimizer, checkpoints.
//!
//! In → [`data::Batch`]es of token ids; out → parameters, losses, checkpoints. Imports `base` only,
//! so it can leave this crate as it stands. From the bottom up:
//!
//! | module | holds |
//! |---|---|
//! | [`cpu`] | matrix products, vectorised `exp` and sums of fixed order, on slices of tensors |
//! | [`mod@matvec`] | a matrix times one row: most of the work of generation |
//! | [`cuda`] | arrays on an NVIDIA GPU, and the kernels of `kernels/` on them |
//! | [`device`] | where tensors live, and what the bits of a run depend on |
//! | [`value`] | [`value::Value`]: a tensor and the tape behind it; gradients by parameter name |
//! | [`ops`] | the table [`ops::OPS`], one file an operation: reference, fast form, backward |
//! | [`model`] | the decoder, written once on `ops`; its shape, initialisation and generation |
//! | [`step`] | the gradients of one optimizer step, in micro-batches |
//! | [`first_step`] | what the first loss must be, and what can only be wrong code |
//! | [`optim`] | AdamW, Muon, Lion, SGD, clipping, learning-rate schedules |
//! | [`ceiling`] | the best possible time of a step on a GPU, from formulas |
//! | [`pages`] | memory kept between steps |
//! | [`named`] | parameters and gradients by name |
//! | [`data`] | what a trainer reads: batches, and the feed that makes them |
//! | `exact` | numbers of JSON files, to the bit |
//! | [`hashed`] | files that are compared with a hash |
//! | [`tensors`] | tensors in a file |
//! | [`pretrained`] | models in Hugging Face's form: read, and described |
//! | [`checkpoint`] | parameters, optimizer and position on disk, published by one rename |
//!
//! **Invariants.** Equal parameters, batch, threads and build give equal bits, both ways: every sum
//! has a fixed order, and no random state lives outside `base::rng`. A parameter that the loss
//! does not reach is an error that names it.

pub mod ceiling;
pub mod checkpoint;
pub mod cpu;
pub mod cuda;
pub mod data;
pub mod device;
mod exact;
pub mod first_step;
pub mod hashed;
pub mod matvec;
pub mod model;
pub mod named;
pub mod ops;
pub mod optim;
pub mod pages;
pub mod pretrained;
pub mod step;
pub mod tensors;
#[cfg(test)]
mod twin;
pub mod value;

use crate::base::error::Error;

/// An error of the tensor library, such as shapes that do not fit.
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Error {
        Error::failed(format!("tensor operation failed: {error}"))
    }
}
