//! `rows.arrow`: the training stream of a mix, written out.
//!
//! In → the tokens of the stream in order; out → an Arrow IPC file of one column `tokens` (uint16
//! or uint32) in batches of [`BLOCK_TOKENS`], the last one shorter, compressed with zstd and
//! checked one by one as shards are. A mix with this file is read without its shards, from
//! beginning to end without a seek; where documents begin still stands in `order.arrow`. Cost: the
//! stream on disk, a batch in memory; a look-up at a random place reads and decodes one batch of
//! 2¹⁸ tokens.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, UInt16Array, UInt32Array},
    buffer::ScalarBuffer,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt16Type, UInt32Type},
};
use serde::{Deserialize, Serialize};

use super::{
    block::{BLOCK_TOKENS, TokenWidth},
    file::{CheckedFile, CheckedWriter, Compression, Layout},
};
use crate::base::error::{Error, Result};

/// The file's name in a mix.
pub const ROWS_FILE: &str = "rows.arrow";

/// The layout of `rows.arrow`.
pub struct RowsLayout;

/// What the footer says of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowsAbout {
    /// Width of a token.
    pub tokens: TokenWidth,
}

/// What the footer says of a batch: nothing beside its place and length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowsFacts {}

impl Layout for RowsLayout {
    const KIND: &'static str = "rows";
    type About = RowsAbout;
    type Batch = RowsFacts;

    fn schema(about: &RowsAbout) -> SchemaRef {
        let kind = match about.tokens {
            TokenWidth::U16 => DataType::UInt16,
            TokenWidth::U32 => DataType::UInt32,
        };
        Arc::new(Schema::new(vec![Field::new("tokens", kind, false)]))
    }
}

/// Writes `rows.arrow`.
pub struct RowsWriter {
    file: CheckedWriter<RowsLayout>,
    width: TokenWidth,
    schema: SchemaRef,
}

impl RowsWriter {
    /// Creates `path`.
    pub fn create(path: &Path, width: TokenWidth) -> Result<RowsWriter> {
        let schema = RowsLayout::schema(&RowsAbout { tokens: width });
        let file = CheckedWriter::create(path, &schema, Compression::Zstd)?;
        Ok(RowsWriter { file, width, schema })
    }

    /// Appends a batch of [`BLOCK_TOKENS`] tokens, or the last one. Panics on a token wider than
    /// the file's width.
    pub fn push(&mut self, tokens: &[u32]) -> Result<()> {
        assert!(tokens.len() as u64 <= BLOCK_TOKENS, "a batch of {} tokens", tokens.len());
        let narrow = |&id: &u32| u16::try_from(id).expect("a token of a file of uint16");
        let column: ArrayRef = match self.width {
            TokenWidth::U16 => Arc::new(UInt16Array::from_iter_values(tokens.iter().map(narrow))),
            TokenWidth::U32 => Arc::new(UInt32Array::from(tokens.to_vec())),
        };
        let batch = RecordBatch::try_new(self.schema.clone(), vec![column]);
        self.file.write(&batch.expect("one column, of the layout's type"), RowsFacts {})
    }

    /// Writes the footer.
    pub fn finish(self) -> Result<()> {
        self.file.finish(RowsAbout { tokens: self.width })
    }
}

/// Reads `rows.arrow` at any token.
pub struct RowsReader {
    file: CheckedFile<RowsLayout>,
    /// The batch read last.
    current: Option<(usize, Tokens)>,
    decoded: u64,
}

enum Tokens {
    U16(ScalarBuffer<u16>),
    U32(ScalarBuffer<u32>),
}

impl RowsReader {
    /// Reads and checks the footer; `tokens`: how many the mix has.
    pub fn open(path: &Path, tokens: u64) -> Result<RowsReader> {
        let file = CheckedFile::<RowsLayout>::open(path)?;
        let lengths = || file.batches().iter().map(|batch| batch.documents);
        let (found, full) = (lengths().sum::<u64>(), tokens / BLOCK_TOKENS);
        if found != tokens || lengths().take(full as usize).any(|length| length != BLOCK_TOKENS) {
            let message = format!("expected {tokens} tokens, found {found}");
            return Err(Error::damaged_artifact(path, None, message));
        }
        Ok(RowsReader { file, current: None, decoded: 0 })
    }

    /// Batches decoded so far.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    /// Appends tokens `start..end` of the stream.
    pub fn append(&mut self, start: u64, end: u64, out: &mut Vec<u32>) -> Result<()> {
        let mut at = start;
        while at < end {
            let (index, from) = ((at / BLOCK_TOKENS) as usize, (at % BLOCK_TOKENS) as usize);
            let to = (from as u64 + (end - at)).min(BLOCK_TOKENS) as usize;
            match self.batch(index)? {
                Tokens::U16(tokens) => out.extend(tokens[from..to].iter().map(|&id| u32::from(id))),
                Tokens::U32(tokens) => out.extend_from_slice(&tokens[from..to]),
            }
            at += (to - from) as u64;
        }
        Ok(())
    }

    /// Batch `index`, decoded unless it was the last one asked for.
    fn batch(&mut self, index: usize) -> Result<&Tokens> {
        if self.current.as_ref().is_none_or(|(current, _)| *current != index) {
            self.current = None;
            let batch = self.file.read(index)?.decode(None)?;
            let column = batch.column(0);
            let tokens = match self.file.about().tokens {
                TokenWidth::U16 => {
                    Tokens::U16(column.as_primitive::<UInt16Type>().values().clone())
                }
                TokenWidth::U32 => {
                    Tokens::U32(column.as_primitive::<UInt32Type>().values().clone())
                }
            };
            self.decoded += 1;
            self.current = Some((index, tokens));
        }
        Ok(&self.current.as_ref().expect("decoded just above").1)
    }
}
