//! Text in: any input → Arrow batches in the corpus schema.
//!
//! In → specs (`[NAME=]PATH`: corpora, Parquet, JSON lines, directories of them); out → [`Batch`]es
//! in input order, in the united schema: `id`, `text`, `source`, `held_out`, then every other
//! column. Every text stage reads through here, so raw files and a corpus made of them give the
//! same documents.
//!
//! **A reject** is one document that cannot be read while its neighbours can: a line that is no
//! JSON, bytes that are no UTF-8, a null or missing text, a document over `max_document_bytes`. It
//! is counted by [`reject::Reason`], listed in `rejects.jsonl`, and the rest goes on. **A damaged
//! file** is one that breaks its format's promises: a footer that points outside the file, a page
//! whose checksum differs, a stream that ends inside a frame, a corpus that its manifest does not
//! describe. Nothing of it is passed off as whole: the unit that reads it fails with
//! `Error::Damaged`, and only `--skip-bad-files` goes on without it.
//!
//! Order of the parts: [`spec`] → [`roots`] (files) → [`formats`] (metadata) → [`schema`] →
//! [`units`] (the plan) → [`inputs`], then [`read`] for a unit's documents; [`corpus`] writes
//! them, and [`sieve`] those that stay beside those that go.

mod beginning;
pub mod config;
pub mod corpus;
pub mod formats;
pub mod held_out;
pub mod inputs;
pub mod look;
pub mod messages;
pub mod places;
pub mod predicate;
mod read;
pub mod reject;
mod remote;
pub mod roots;
pub mod schema;
mod shard_names;
pub mod sieve;
pub mod spec;
pub mod units;
pub mod verdict;
mod walk;

#[cfg(test)]
mod columns;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use arrow::array::{Array, AsArray, BooleanArray, StringArray};
use arrow::record_batch::RecordBatch;

pub use crate::artifact::counts::LEFT_OUT;
pub use config::{InputConfig, SourceConfig};
pub use corpus::{CorpusWriter, ParquetSink};
pub use inputs::{InputFile, Inputs};
pub use reject::Reason;
pub use sieve::{Sieve, Sieved};
pub use spec::InputSpec;

/// Which columns a stage needs; fewer are read faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns<'a> {
    /// All of [`Inputs::schema`].
    All,
    /// `id`, `text`, `source` and `held_out`.
    Text,
    /// Those of `Text`, and these.
    And(&'a [&'a str]),
}

/// Neighbouring documents of one file and one source, in input order. It is empty when the inputs'
/// condition leaves all of them out.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `id`, `text`, `source`, `held_out`, then the other columns asked for. At most 8,192
    /// documents and about 1 MiB of text; one longer document stands alone.
    pub records: RecordBatch,
    /// Index into [`Inputs::files`].
    pub file: usize,
    /// Index into [`Inputs::sources`].
    pub source: usize,
    /// For each document its row in a Parquet file, or the byte offset of its line in the
    /// (decompressed) JSON lines.
    pub rows: Vec<u64>,
    /// Documents between these that the inputs' condition leaves out.
    pub left_out: LeftOut,
}

/// Documents that a condition leaves out, in input order.
#[derive(Clone, Debug)]
pub struct LeftOut {
    pub ids: StringArray,
    /// As [`Batch::rows`].
    pub rows: Vec<u64>,
}

impl LeftOut {
    fn none() -> LeftOut {
        LeftOut { ids: StringArray::new_null(0), rows: Vec::new() }
    }
}

impl Batch {
    /// Documents in the batch.
    pub fn len(&self) -> usize {
        self.records.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The documents' ids.
    pub fn ids(&self) -> &StringArray {
        self.records.column(0).as_string()
    }

    /// The documents' texts.
    pub fn texts(&self) -> &StringArray {
        self.records.column(1).as_string()
    }

    /// Which documents are held out for validation.
    pub fn held_out(&self) -> &BooleanArray {
        self.records.column(3).as_boolean()
    }

    /// Bytes of text in the batch.
    pub fn text_bytes(&self) -> u64 {
        let offsets = self.texts().value_offsets();
        (offsets[self.texts().len()] - offsets[0]) as u64
    }
}
