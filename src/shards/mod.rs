//! The token shard format, and the order in which a mix reads it.
//!
//! In → documents as tokens; out → shards, and from a mix the training stream. Reading order:
//! [`mod@file`] is an Arrow IPC file whose record batches are checked one by one; [`mod@block`] the
//! columns of a shard; [`writer`] and [`reader`] one shard, [`set`] an artifact of them; [`order`],
//! [`validation`] and [`mix_record`] the three files of a mix, [`rows`] a fourth if asked for;
//! [`stream`] puts them together for training, [`steps`] says which rows a step takes, with
//! [`mod@cache`] between it and the disk; [`documents`] says which ones stand where, and
//! [`beginnings`] how much of two mixes is the same ([`overlap`]).
//!
//! Shards store no end-of-text: a mix opens each document with one, so that the same shards serve
//! any use. Everything is readable with pyarrow and polars.

pub mod beginnings;
pub mod block;
mod cache;
pub mod cell;
pub mod documents;
pub mod file;
#[cfg(test)]
pub mod fixture;
mod ipc;
pub mod mix_record;
pub mod order;
pub mod overlap;
pub mod reader;
pub mod rows;
pub mod set;
pub mod steps;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod validation;
pub mod writer;

pub use beginnings::{Beginning, OverlapReport};
pub use block::{Block, BlockEntry, HeldOut, TokenLists, TokenSlice, TokenWidth, is_trained};
pub use documents::MixDocuments;
pub use mix_record::{MixRecord, MixSource, ShardFile};
pub use reader::ShardReader;
pub use set::ShardSet;
pub use steps::StepRows;
pub use stream::MixReader;
pub use validation::{ValidationDocument, ValidationSource, read_validation};
pub use writer::{ShardCounts, ShardDocument, ShardWriter, SourceTotals};
