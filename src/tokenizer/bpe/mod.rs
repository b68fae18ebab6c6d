//! Byte-level BPE: text → pieces → ids, and words → merges.
//!
//! Reading order: [`classes`] what a character is, [`pattern`] where a piece ends, [`piece`] what
//! one is, `rules` and [`scan`] the same for 64 bytes at a time (`simd` has the instructions),
//! [`table`] what pieces were met before, [`merge`] a piece's merges, [`encode`] all of that
//! together; [`learn`] the merges of a new vocabulary. Ids and merges are those of Hugging Face's
//! `tokenizers`; nothing here knows of files, threads or configuration.

pub mod classes;
pub mod encode;
pub mod learn;
pub mod merge;
pub mod pattern;
pub mod piece;
mod rules;
pub mod scan;
mod simd;
pub mod table;
#[rustfmt::skip]
mod tables;
#[cfg(test)]
mod tests;
