//! `filter`: keeps the documents that read like text worth learning from, and says why others went.
//!
//! In: documents, from a corpus or raw files. Out: `part-*.parquet` with the kept ones, every
//! column as it came, and beside it `removed-*.parquet`: each dropped document's id, source, file
//! and row, with the rule that dropped it, the value it measured and the limit. Method: rule sets
//! with published thresholds ([`rules`]; each names its reference) judge a document in the order of
//! the configuration; the first limit that is broken drops it.
//! Invariants: a verdict depends on text and configuration alone; documents in = out + rejected +
//! dropped; order and columns of the input stand. Cost: one to three passes over each text, nothing
//! held beyond the batches in flight.
//!
//! Read [`config`], then [`run`] (the flow), then [`rules`] and what they look through, [`view`].

pub mod config;
pub mod punctuation;
pub mod rules;
pub mod run;
pub mod view;

pub use config::FilterConfig;
pub use run::Filter;

#[cfg(test)]
mod tests;
