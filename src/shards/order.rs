//! `order.arrow`: which documents training sees, in which order.
//!
//! In → rows, one a document of the budget; out → an uncompressed Arrow IPC file with `shard`
//! (uint32, into the mix's list of shard files), `row` (uint32, in that file), `source` (uint16,
//! into the mix's list of sources) and `first_token` (uint64, the place of the document's opener
//! in the stream). A document ends where the next begins, the last one at the footer's `tokens`;
//! so a document cut by its budget needs no column of its own.
//!
//! Invariants: `first_token` rises strictly from 0 (each document has at least its opener);
//! batches of [`BATCH_DOCUMENTS`] rows, the last one shorter. Cost: 18 bytes a document on disk; a
//! token is found by binary search over batches (their first tokens stand in the footer), then in
//! one batch of 1.2 MB, which is read, checked and kept until another is asked for.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, UInt16Array, UInt32Array, UInt64Array},
    buffer::ScalarBuffer,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt16Type, UInt32Type, UInt64Type},
};
use serde::{Deserialize, Serialize};

use super::file::{CheckedFile, CheckedWriter, Compression, Layout};
use crate::base::error::{Error, Result};

/// The file's name in a mix.
pub const ORDER_FILE: &str = "order.arrow";

/// Rows of a batch: 1.2 MB, which is what a look-up at a random place reads.
pub const BATCH_DOCUMENTS: usize = 1 << 16;

/// A document in the training stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderRow {
    /// Index into the mix's shard files.
    pub shard: u32,
    /// Row in that file.
    pub row: u32,
    /// Index into the mix's sources.
    pub source: u16,
    /// Position of its opener in the stream.
    pub first_token: u64,
}

/// The layout of `order.arrow`.
pub struct OrderLayout;

/// What the footer says of the whole order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderAbout {
    /// Documents: rows of the file.
    pub documents: u64,
    /// Tokens of the stream, openers included.
    pub tokens: u64,
}

/// What the footer says of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderFacts {
    /// `first_token` of its first row.
    pub first_token: u64,
}

impl Layout for OrderLayout {
    const KIND: &'static str = "order";
    type About = OrderAbout;
    type Batch = OrderFacts;

    fn schema(_: &OrderAbout) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("shard", DataType::UInt32, false),
            Field::new("row", DataType::UInt32, false),
            Field::new("source", DataType::UInt16, false),
            Field::new("first_token", DataType::UInt64, false),
        ]))
    }
}

/// Writes `order.arrow`.
pub struct OrderWriter {
    file: CheckedWriter<OrderLayout>,
    schema: SchemaRef,
    rows: Vec<OrderRow>,
    documents: u64,
    tokens: u64,
}

impl OrderWriter {
    /// Creates `path`.
    pub fn create(path: &Path) -> Result<OrderWriter> {
        let about = OrderAbout { documents: 0, tokens: 0 };
        let schema = OrderLayout::schema(&about);
        let file = CheckedWriter::create(path, &schema, Compression::None)?;
        Ok(OrderWriter { file, schema, rows: Vec::new(), documents: 0, tokens: 0 })
    }

    /// Appends a document that takes `tokens` tokens, its opener included.
    pub fn push(&mut self, shard: u32, row: u32, source: u16, tokens: u64) -> Result<()> {
        assert!(tokens > 0, "document {} takes no token", self.documents);
        self.rows.push(OrderRow { shard, row, source, first_token: self.tokens });
        self.documents += 1;
        self.tokens += tokens;
        if self.rows.len() == BATCH_DOCUMENTS {
            self.write_batch()?;
        }
        Ok(())
    }

    /// Writes what is left and the footer.
    pub fn finish(mut self) -> Result<OrderAbout> {
        self.write_batch()?;
        let about = OrderAbout { documents: self.documents, tokens: self.tokens };
        self.file.finish(about.clone())?;
        Ok(about)
    }

    fn write_batch(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let Some(first) = rows.first() else { return Ok(()) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.shard))),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.row))),
            Arc::new(UInt16Array::from_iter_values(rows.iter().map(|row| row.source))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.first_token))),
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .expect("the columns are the layout's, equally long");
        self.file.write(&batch, OrderFacts { first_token: first.first_token })
    }
}

/// Reads `order.arrow` at any row or token.
pub struct OrderReader {
    file: CheckedFile<OrderLayout>,
    /// The batch read last.
    current: Option<OrderBatch>,
}

struct OrderBatch {
    index: usize,
    shard: ScalarBuffer<u32>,
    row: ScalarBuffer<u32>,
    source: ScalarBuffer<u16>,
    first_token: ScalarBuffer<u64>,
}

impl OrderReader {
    /// Reads and checks the footer.
    pub fn open(path: &Path) -> Result<OrderReader> {
        let file = CheckedFile::<OrderLayout>::open(path)?;
        let reader = OrderReader { file, current: None };
        let batches = reader.file.batches();
        let starts = batches.iter().map(|batch| batch.facts.first_token);
        let rising = starts.clone().chain([reader.tokens()]).is_sorted_by(|a, b| a < b);
        let (last, full) =
            batches.split_last().map_or((0, batches), |(last, full)| (last.documents, full));
        let documents: u64 = full.iter().map(|batch| batch.documents).sum::<u64>() + last;
        let even = full.iter().all(|batch| batch.documents == BATCH_DOCUMENTS as u64);
        let begins = starts.clone().next().unwrap_or(0) == 0;
        if !(rising && even && begins && documents == reader.documents()) {
            return Err(Error::damaged_artifact(
                path,
                None,
                "the batches do not follow one another",
            ));
        }
        Ok(reader)
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Documents of the stream.
    pub fn documents(&self) -> u64 {
        self.file.about().documents
    }

    /// Tokens of the stream.
    pub fn tokens(&self) -> u64 {
        self.file.about().tokens
    }

    /// The error for a document `index` that names a source, a shard or a row that is not there.
    pub fn names_nothing(&self, index: u64) -> Error {
        let message = format!("document {index} names a source or a document that is not there");
        Error::damaged_artifact(self.path(), None, message)
    }

    /// Document `index` of the stream and the position after its last token. Panics past the last
    /// document.
    pub fn row(&mut self, index: u64) -> Result<(OrderRow, u64)> {
        let documents = self.documents();
        assert!(index < documents, "document {index} of {documents}");
        let batch = (index / BATCH_DOCUMENTS as u64) as usize;
        let within = (index % BATCH_DOCUMENTS as u64) as usize;
        let next_batch = self.file.batches().get(batch + 1).map(|next| next.facts.first_token);
        let end_of_batch = next_batch.unwrap_or(self.tokens());
        let columns = self.batch(batch)?;
        let row = OrderRow {
            shard: columns.shard[within],
            row: columns.row[within],
            source: columns.source[within],
            first_token: columns.first_token[within],
        };
        let end = columns.first_token.get(within + 1).copied().unwrap_or(end_of_batch);
        Ok((row, end))
    }

    /// Index of the document that holds position `token`. Panics past the last token.
    pub fn find(&mut self, token: u64) -> Result<u64> {
        let tokens = self.tokens();
        assert!(token < tokens, "token {token} of {tokens}");
        let batches = self.file.batches();
        let batch = batches.partition_point(|batch| batch.facts.first_token <= token) - 1;
        let within = self.batch(batch)?.first_token.partition_point(|&first| first <= token) - 1;
        Ok((batch * BATCH_DOCUMENTS + within) as u64)
    }

    /// Batch `index`, read unless it was the last one asked for.
    fn batch(&mut self, index: usize) -> Result<&OrderBatch> {
        if self.current.as_ref().is_none_or(|batch| batch.index != index) {
            self.current = None;
            let raw = self.file.read(index)?;
            let columns = raw.decode(None)?;
            let batch = OrderBatch {
                index,
                shard: columns.column(0).as_primitive::<UInt32Type>().values().clone(),
                row: columns.column(1).as_primitive::<UInt32Type>().values().clone(),
                source: columns.column(2).as_primitive::<UInt16Type>().values().clone(),
                first_token: columns.column(3).as_primitive::<UInt64Type>().values().clone(),
            };
            let batches = self.file.batches();
            let first = batches[index].facts.first_token;
            let end = batches.get(index + 1).map_or(self.tokens(), |next| next.facts.first_token);
            let rows = batch.first_token.iter().chain([&end]);
            if batch.first_token.first() != Some(&first) || !rows.is_sorted_by(|a, b| a < b) {
                return Err(raw.damaged("`first_token` does not rise from the footer's"));
            }
            self.current = Some(batch);
        }
        Ok(self.current.as_ref().expect("read just above"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_found_in_the_document_that_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(ORDER_FILE);
        let mut writer = OrderWriter::create(&path).unwrap();
        let documents = BATCH_DOCUMENTS as u64 * 2 + 17;
        for index in 0..documents {
            writer.push(index as u32 / 100, index as u32 % 100, 3, 1 + index % 3).unwrap();
        }
        let about = writer.finish().unwrap();
        let mut reader = OrderReader::open(&path).unwrap();
        assert_eq!((reader.documents(), reader.tokens()), (documents, about.tokens));
        let mut end = 0;
        for index in 0..documents {
            let (row, row_end) = reader.row(index).unwrap();
            assert_eq!((row.first_token, row_end), (end, end + 1 + index % 3));
            assert_eq!((row.shard, row.row), (index as u32 / 100, index as u32 % 100));
            end = row_end;
        }
        for token in [0, 1, 2, 3, end / 2, end / 2 + 1, end - 1] {
            let found = reader.find(token).unwrap();
            let (row, row_end) = reader.row(found).unwrap();
            assert!((row.first_token..row_end).contains(&token), "{token}: {row:?}..{row_end}");
        }
    }

    #[test]
    fn an_order_without_documents_is_readable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(ORDER_FILE);
        OrderWriter::create(&path).unwrap().finish().unwrap();
        assert_eq!(OrderReader::open(&path).unwrap().tokens(), 0);
    }
}
