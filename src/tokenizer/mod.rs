//! Trains a byte-level BPE vocabulary, and applies it.
//!
//! In: a corpus or raw files. Out: an artifact with `tokenizer.json` and `tokenizer_config.json` in
//! Hugging Face format. Method: byte-pair encoding (Sennrich et al. 2016) on bytes (Radford et al.
//! 2019) inside pieces cut by a split pattern; merges and ids are those of the Python package
//! `tokenizers` on the same documents, made by code of our own ([`bpe`]); the crate of that name
//! reads files, encodes what is no byte-level BPE, and is the reference in tests. Two phases:
//! `count` (parallel over units) sums how often each piece occurs; `merge` (one unit) learns from
//! the sums. Held-out documents train nothing.
//! Invariants: neither the order of documents nor the number of threads or the memory changes a
//! byte. The type [`Tokenizer`] hides the `tokenizers` crate: nobody else names it.
//!
//! Read [`config`](TokenizerConfig), then `run` (the flow), `count` and `learn`; for encoding
//! [`Tokenizer`], then `byte_pair`, `file` and `added`; [`bpe`] is what both stand on.

mod added;
mod alphabet;
pub mod bpe;
mod byte_pair;
mod config;
mod count;
mod encode;
pub mod export;
mod file;
mod format;
#[cfg(test)]
mod golden;
#[cfg(test)]
pub mod harness;
mod learn;
pub mod opener;
mod run;
mod sizes;
mod split;
#[cfg(test)]
mod tests;
mod words;

pub use bpe::classes::UNICODE_VERSION;
pub use config::{SpecialText, TokenizerConfig, VocabSizes};
pub use encode::Tokenizer;
pub use format::{TOKENIZER_CONFIG_JSON, TOKENIZER_JSON};
pub use learn::learn_from;
pub use run::TokenizerTrain;
pub use sizes::{VocabularySize, VocabularySummary};
