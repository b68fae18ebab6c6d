//! Writes token shards.
//!
//! In → documents in corpus order; out → one shard file (format: `block`, `file`). A block is
//! closed when the source changes or when the next document would pass [`BLOCK_TOKENS`]; so the
//! bytes are a function of the documents alone. Cost: one block in memory and its
//! compression.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, ListArray, PrimitiveArray, RecordBatch, StringArray,
        StringBuilder, UInt64Array,
    },
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{ArrowPrimitiveType, DataType, UInt16Type, UInt32Type},
};

use super::{
    block::{BLOCK_TOKENS, BlockFacts, ShardAbout, ShardLayout, TokenWidth},
    file::{CheckedWriter, Compression, Layout},
};
use crate::base::error::Result;

/// Documents and bytes of ids that close a block although its tokens do not: a million empty
/// documents are no reason for a block that does not fit into memory.
const BLOCK_DOCUMENTS: u64 = BLOCK_TOKENS;
const BLOCK_ID_BYTES: usize = 32 << 20;

/// A document as the tokenizer leaves it.
#[derive(Clone, Copy, Debug)]
pub struct ShardDocument<'a> {
    /// The document's id.
    pub id: &'a str,
    /// Its source.
    pub source: &'a str,
    /// Whether training never sees it.
    pub held_out: bool,
    /// UTF-8 bytes of its text.
    pub bytes: u64,
    /// Its tokens, without an end-of-text; each at most what the shard's width holds.
    pub tokens: &'a [u32],
}

/// What a shard, or one source of it, holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceTotals {
    /// Documents, held-out ones included.
    pub documents: u64,
    /// Tokens of all of them.
    pub tokens: u64,
    /// UTF-8 bytes of their texts.
    pub bytes: u64,
    /// Held-out documents among them.
    pub held_out: u64,
    /// Their tokens.
    pub held_out_tokens: u64,
}

impl SourceTotals {
    fn add(&mut self, document: &ShardDocument<'_>) {
        let tokens = document.tokens.len() as u64;
        self.documents += 1;
        self.tokens += tokens;
        self.bytes += document.bytes;
        if document.held_out {
            self.held_out += 1;
            self.held_out_tokens += tokens;
        }
    }
}

/// What was written into a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Of all sources.
    pub total: SourceTotals,
    /// Of each source, by name.
    pub sources: BTreeMap<String, SourceTotals>,
}

/// Writes one shard file.
pub struct ShardWriter {
    file: CheckedWriter<ShardLayout>,
    width: TokenWidth,
    source: String,
    open: OpenBlock,
    counts: ShardCounts,
}

impl ShardWriter {
    /// Creates `path` for tokens of `width`.
    pub fn create(path: &Path, width: TokenWidth) -> Result<ShardWriter> {
        let schema = ShardLayout::schema(&ShardAbout { tokens: width });
        Ok(ShardWriter {
            file: CheckedWriter::create(path, &schema, Compression::Zstd)?,
            width,
            source: String::new(),
            open: OpenBlock::new(width),
            counts: ShardCounts::default(),
        })
    }

    /// Appends a document. Panics on a token wider than the shard's width: the caller chose it.
    pub fn push(&mut self, document: &ShardDocument<'_>) -> Result<()> {
        if self.open.must_close_before(document) || self.source != document.source {
            self.close_block()?;
            document.source.clone_into(&mut self.source);
        }
        self.open.push(document);
        self.counts.total.add(document);
        match self.counts.sources.get_mut(document.source) {
            Some(source) => source.add(document),
            None => {
                let source = self.counts.sources.entry(document.source.to_owned());
                source.or_default().add(document);
            }
        }
        Ok(())
    }

    /// Closes the last block and writes the footer. A shard without documents is a valid file.
    pub fn finish(mut self) -> Result<ShardCounts> {
        self.close_block()?;
        self.file.finish(ShardAbout { tokens: self.width })?;
        Ok(self.counts)
    }

    fn close_block(&mut self) -> Result<()> {
        let block = std::mem::replace(&mut self.open, OpenBlock::new(self.width));
        let totals = block.totals;
        if totals.documents == 0 {
            return Ok(());
        }
        let facts = BlockFacts {
            source: self.source.clone(),
            tokens: totals.tokens,
            text_bytes: totals.bytes,
            held_out_documents: totals.held_out,
            held_out_tokens: totals.held_out_tokens,
        };
        self.file.write(&block.finish(&self.source, self.width), facts)
    }
}

/// The block being filled.
struct OpenBlock {
    tokens: TokenColumn,
    offsets: Vec<i32>,
    ids: StringBuilder,
    held_out: BooleanBuilder,
    bytes: Vec<u64>,
    totals: SourceTotals,
}

/// Tokens in the width they are stored in.
enum TokenColumn {
    U16(Vec<u16>),
    U32(Vec<u32>),
}

impl OpenBlock {
    fn new(width: TokenWidth) -> OpenBlock {
        let tokens = match width {
            TokenWidth::U16 => TokenColumn::U16(Vec::new()),
            TokenWidth::U32 => TokenColumn::U32(Vec::new()),
        };
        OpenBlock {
            tokens,
            offsets: vec![0],
            ids: StringBuilder::new(),
            held_out: BooleanBuilder::new(),
            bytes: Vec::new(),
            totals: SourceTotals::default(),
        }
    }

    fn must_close_before(&self, document: &ShardDocument<'_>) -> bool {
        self.totals.documents > 0
            && (self.totals.tokens + document.tokens.len() as u64 > BLOCK_TOKENS
                || self.totals.documents >= BLOCK_DOCUMENTS
                || self.ids.values_slice().len() + document.id.len() > BLOCK_ID_BYTES)
    }

    fn push(&mut self, document: &ShardDocument<'_>) {
        match &mut self.tokens {
            TokenColumn::U16(column) => column.extend(document.tokens.iter().map(|&token| {
                assert!(token <= u32::from(u16::MAX), "token {token} in a shard of uint16");
                token as u16
            })),
            TokenColumn::U32(column) => column.extend_from_slice(document.tokens),
        }
        self.totals.add(document);
        let end = i32::try_from(self.totals.tokens);
        self.offsets.push(end.expect("a block is one document or at most 2^18 tokens"));
        self.ids.append_value(document.id);
        self.held_out.append_value(document.held_out);
        self.bytes.push(document.bytes);
    }

    fn finish(mut self, source: &str, width: TokenWidth) -> RecordBatch {
        let documents = self.bytes.len();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let tokens = match self.tokens {
            TokenColumn::U16(tokens) => list::<UInt16Type>(width, offsets, tokens),
            TokenColumn::U32(tokens) => list::<UInt32Type>(width, offsets, tokens),
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(tokens),
            Arc::new(self.ids.finish()),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source, documents))),
            Arc::new(self.held_out.finish()),
            Arc::new(UInt64Array::from(self.bytes)),
        ];
        let schema = ShardLayout::schema(&ShardAbout { tokens: width });
        RecordBatch::try_new(schema, columns).expect("the columns are the layout's, equally long")
    }
}

/// A column `tokens` from its parts.
pub(super) fn list<T: ArrowPrimitiveType>(
    width: TokenWidth,
    offsets: OffsetBuffer<i32>,
    tokens: Vec<T::Native>,
) -> ListArray {
    let field = width.field();
    let DataType::List(item) = field.data_type() else {
        unreachable!("tokens are lists, found {}", field.data_type())
    };
    let values = PrimitiveArray::<T>::new(ScalarBuffer::from(tokens), None);
    ListArray::new(item.clone(), offsets, Arc::new(values), None)
}
