//! `filter`: keeps the documents that read like text worth learning from, and says why others went.
//!
//! In: documents, from a corpus or raw files. Out: `part-*.parquet` with the kept ones, every
//! column as it came (the text as rules that edit have left it), and beside it
//! `removed-*.parquet`: each dropped document's id, source, file and row, with the rule that
//! dropped it, the value it measured and the limit. Method: rule sets with published thresholds
//! ([`rules`]; each names its reference, [`presets`] put them together) judge a document in the
//! order of the configuration; the first limit that is broken drops it. Words and sentences are
//! those of the reference ([`crate::text::words`]), counted once for all rules ([`view`]).
//! Invariants: a verdict depends on text, columns and configuration alone; documents in = out +
//! rejected + dropped; order and columns of the input stand. Cost: `fineweb` judges about 80 MB/s a
//! core; nothing is held beyond the batches in flight.
//!
//! Read [`config`], then [`run`] (the flow), then [`rules`] and what they look through, [`view`].

mod annotate;
mod columns;
pub mod config;
pub mod evidence;
pub mod excerpt;
pub mod explain;
mod from_annotations;
pub mod presets;
pub mod rules;
pub mod run;
pub mod view;

pub use config::FilterConfig;
pub use run::Filter;

#[cfg(test)]
mod tests;
