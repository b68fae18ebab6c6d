//! fastText supervised models in pure Rust: read, predict, train, write.
//!
//! A supervised fastText model (Joulin, Grave, Bojanowski, Mikolov, "Bag of tricks for efficient
//! text classification", 2016) averages a vector for each word and n-gram of a text and puts a
//! linear classifier on top. Published filters use it twice: to identify languages (`lid.176`,
//! GlotLID) and as a quality classifier (DCLM).
//!
//! Flow: [`model`] reads a file → `predict` turns a text into rows ([`features`], [`dictionary`],
//! over [`words`]), their mean ([`matrix`]), scores ([`loss`]) and the best labels ([`best`]).
//! [`train`] makes a model of labelled texts, [`evaluate`] measures one on held-out texts, `write`
//! stores one. Facts about the formats and the arithmetic are from fastText's public source
//! (github.com/facebookresearch/fastText at 1142dc4, MIT), named in each file; no code is
//! from there.
//!
//! Invariants: nothing depends on threads, the machine's libm or hash-map order; predictions equal
//! those of the PyPI package to 1e-6 (on the golden models, to the last bit or the one before).

pub mod best;
pub mod dictionary;
pub mod evaluate;
pub mod features;
pub mod language;
pub mod loss;
pub mod matrix;
pub mod model;
pub mod predict;
pub mod train;
pub mod words;
mod write;

#[cfg(test)]
mod tests;

pub use model::{Model, ReadError};
pub use predict::{Lines, Prediction, Scratch};
