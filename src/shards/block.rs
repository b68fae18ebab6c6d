//! A block of documents as tokens: what a shard's record batch holds, and how to look at it.
//!
//! In → the checked bytes of a batch; out → token slices, lengths, ids. The columns are exactly
//! `tokens` list of uint16 or uint32, `document` utf8, `source` utf8, `held_out` bool, `bytes`
//! uint64 (UTF-8 length of the text; 64 bits, because nothing else bounds a document to 4 GiB and
//! zstd takes the zeros away), then of held-out documents, null for others, `text_hash` utf8,
//! `held_out_verdict` utf8, `held_out_twin` bool, and, where some tokens are read but not trained
//! on, `trained` list of uint32 ([`is_trained`]). Invariants: no other nulls; one row a document,
//! cell by cell, never split; all rows of one source; documents, tokens and held-out shares equal
//! the footer's, else the block is damaged. Cost: zstd's decompression, about 1 GB/s; `lengths` and
//! `held_out` touch no token.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, StringArray, UInt64Array,
    },
    buffer::{BooleanBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt16Type, UInt32Type, UInt64Type},
};
use serde::{Deserialize, Serialize};

use super::file::{BatchEntry, Layout, RawBatch};
use crate::base::{error::Result, hash::Fingerprint};

/// Tokens a block aims at: 512 KiB of uint16, small beside a disk's readahead, large enough that
/// zstd and a seek are paid once for some hundred documents.
pub const BLOCK_TOKENS: u64 = 1 << 18;

const TOKENS: usize = 0;
const DOCUMENT: usize = 1;
const HELD_OUT: usize = 3;
const BYTES: usize = 4;
/// Which buffer of a batch's message has the list's offsets: the one after the list's validity.
const OFFSETS_BUFFER: usize = 1;

/// How wide a stored token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenWidth {
    /// Two bytes: every id is at most 65,535.
    #[serde(rename = "uint16")]
    U16,
    /// Four bytes.
    #[serde(rename = "uint32")]
    U32,
}

impl TokenWidth {
    /// The narrowest width for ids up to `largest`, added tokens included.
    pub fn for_largest_id(largest: u32) -> TokenWidth {
        if u16::try_from(largest).is_ok() { TokenWidth::U16 } else { TokenWidth::U32 }
    }

    /// Bytes a token takes.
    pub fn bytes(self) -> u64 {
        match self {
            TokenWidth::U16 => 2,
            TokenWidth::U32 => 4,
        }
    }

    /// The column `tokens`.
    pub(super) fn field(self) -> Field {
        let item = match self {
            TokenWidth::U16 => DataType::UInt16,
            TokenWidth::U32 => DataType::UInt32,
        };
        let item = Arc::new(Field::new(Field::LIST_FIELD_DEFAULT_NAME, item, false));
        Field::new("tokens", DataType::List(item), false)
    }
}

/// The layout of a shard file.
pub struct ShardLayout;

/// What a shard's footer says of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardAbout {
    /// Width of a token.
    pub tokens: TokenWidth,
    /// Whether the columns of held-out documents are there; files of earlier builds lack them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub judged: bool,
    /// Whether the column that says which tokens are trained on is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

/// The column of [`ShardAbout::masked`].
const TRAINED: &str = "trained";

/// The field of that column.
pub(super) fn trained_field() -> Field {
    let item = Arc::new(Field::new(Field::LIST_FIELD_DEFAULT_NAME, DataType::UInt32, false));
    Field::new(TRAINED, DataType::List(item), false)
}

/// Whether token `at` of a document is trained on: `bounds` rise, and are in turn the first token
/// of a stretch that is trained on and of one that is not.
pub fn is_trained(bounds: &[u32], at: usize) -> bool {
    bounds.partition_point(|&bound| bound as usize <= at) % 2 == 1
}

/// What is known of a held-out document beside its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldOut {
    /// XXH3-128 of its raw text; files of earlier builds do not say.
    pub text: Option<Fingerprint>,
    /// Why a step would have dropped it; absent: it would be kept.
    pub verdict: Option<String>,
    /// Whether it has a twin on the training side; absent: nobody looked.
    pub twin: Option<bool>,
}

/// The fields of [`HeldOut`], at the end of a schema that has them.
pub(super) fn held_out_fields() -> [Field; 3] {
    [
        Field::new("text_hash", DataType::Utf8, true),
        Field::new("held_out_verdict", DataType::Utf8, true),
        Field::new("held_out_twin", DataType::Boolean, true),
    ]
}

/// The columns of [`held_out_fields`] for documents of which some are held out.
pub(super) fn held_out_columns<'a>(
    rows: impl Iterator<Item = Option<&'a HeldOut>> + Clone,
) -> [ArrayRef; 3] {
    let texts = rows.clone().map(|row| row.and_then(|one| one.text).map(|hash| hash.to_string()));
    let verdicts = rows.clone().map(|row| row.and_then(|one| one.verdict.as_deref()));
    let twins = rows.map(|row| row.and_then(|one| one.twin));
    [
        Arc::new(StringArray::from_iter(texts)),
        Arc::new(StringArray::from_iter(verdicts)),
        Arc::new(BooleanArray::from_iter(twins)),
    ]
}

/// The columns of [`held_out_fields`] in a batch; `None` where the batch lacks them.
#[derive(Clone, Debug)]
pub(super) struct HeldOutColumns(Option<(StringArray, StringArray, BooleanArray)>);

impl HeldOutColumns {
    pub(super) fn of(batch: &RecordBatch) -> HeldOutColumns {
        let string = |name: &str| Some(batch.column_by_name(name)?.as_string::<i32>().clone());
        let [texts, verdicts, twins] = held_out_fields();
        let twins = batch.column_by_name(twins.name()).map(|column| column.as_boolean().clone());
        let texts = string(texts.name()).zip(string(verdicts.name()));
        HeldOutColumns(texts.zip(twins).map(|((texts, verdicts), twins)| (texts, verdicts, twins)))
    }

    pub(super) fn row(&self, row: usize) -> HeldOut {
        let Some((texts, verdicts, twins)) = &self.0 else { return HeldOut::default() };
        let value =
            |column: &StringArray| column.is_valid(row).then(|| column.value(row).to_owned());
        HeldOut {
            text: value(texts).and_then(|hash| hash.parse().ok()),
            verdict: value(verdicts),
            twin: twins.is_valid(row).then(|| twins.value(row)),
        }
    }
}

/// What a shard's footer says of a block, beside its place and documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockFacts {
    /// The one source of its documents.
    pub source: String,
    /// Tokens of all documents.
    pub tokens: u64,
    /// UTF-8 bytes of their texts.
    pub text_bytes: u64,
    /// Documents held out, among `documents`.
    pub held_out_documents: u64,
    /// Tokens of these, among `tokens`.
    pub held_out_tokens: u64,
    /// UTF-8 bytes of their texts, among `text_bytes`; shards of earlier builds do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_bytes: Option<u64>,
}

/// A block in a shard's footer.
pub type BlockEntry = BatchEntry<BlockFacts>;

impl BlockEntry {
    /// Documents that may be trained on.
    pub fn training_documents(&self) -> u64 {
        self.documents - self.facts.held_out_documents
    }

    /// Their tokens, without an opener.
    pub fn training_tokens(&self) -> u64 {
        self.facts.tokens - self.facts.held_out_tokens
    }

    /// UTF-8 bytes of their texts, where the shard says how many are held out.
    pub fn training_bytes(&self) -> Option<u64> {
        let held_out = match self.facts.held_out_documents {
            0 => Some(0),
            _ => self.facts.held_out_bytes,
        };
        held_out.map(|held_out| self.facts.text_bytes - held_out)
    }
}

impl Layout for ShardLayout {
    const KIND: &'static str = "shard";
    type About = ShardAbout;
    type Batch = BlockFacts;

    fn schema(about: &ShardAbout) -> SchemaRef {
        let mut fields = vec![
            about.tokens.field(),
            Field::new("document", DataType::Utf8, false),
            Field::new("source", DataType::Utf8, false),
            Field::new("held_out", DataType::Boolean, false),
            Field::new("bytes", DataType::UInt64, false),
        ];
        fields.extend(about.judged.then(held_out_fields).into_iter().flatten());
        fields.extend(about.masked.then(trained_field));
        Arc::new(Schema::new(fields))
    }
}

/// The tokens of one document, as stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TokenSlice<'a> {
    /// Two bytes a token.
    U16(&'a [u16]),
    /// Four bytes a token.
    U32(&'a [u32]),
}

impl TokenSlice<'_> {
    /// Number of tokens.
    pub fn len(self) -> usize {
        match self {
            TokenSlice::U16(tokens) => tokens.len(),
            TokenSlice::U32(tokens) => tokens.len(),
        }
    }

    /// Whether the document has no token.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Appends the tokens of `range`.
    pub fn append(self, range: Range<usize>, out: &mut Vec<u32>) {
        match self {
            TokenSlice::U16(tokens) => out.extend(tokens[range].iter().map(|&id| u32::from(id))),
            TokenSlice::U32(tokens) => out.extend_from_slice(&tokens[range]),
        }
    }

    /// All tokens.
    pub fn to_vec(self) -> Vec<u32> {
        let mut tokens = Vec::with_capacity(self.len());
        self.append(0..self.len(), &mut tokens);
        tokens
    }
}

/// The token lists of a block: what training reads.
#[derive(Clone, Debug)]
pub struct TokenLists {
    offsets: OffsetBuffer<i32>,
    values: TokenValues,
    /// The bounds of each document's trained stretches; `None`: all tokens are trained on.
    trained: Option<(OffsetBuffer<i32>, ScalarBuffer<u32>)>,
}

#[derive(Clone, Debug)]
enum TokenValues {
    U16(ScalarBuffer<u16>),
    U32(ScalarBuffer<u32>),
}

impl TokenLists {
    /// The view of an Arrow column of either width.
    pub(super) fn new(lists: &ListArray) -> TokenLists {
        let values = match lists.values().as_primitive_opt::<UInt16Type>() {
            Some(values) => TokenValues::U16(values.values().clone()),
            None => TokenValues::U32(lists.values().as_primitive::<UInt32Type>().values().clone()),
        };
        // A copy, since a short buffer that compression could not shorten is a slice of the whole
        // message, and would keep it in memory.
        let offsets = OffsetBuffer::new(lists.offsets().to_vec().into());
        TokenLists { offsets, values, trained: None }
    }

    /// These lists with the bounds of the column `trained`.
    fn with_trained(self, bounds: &ListArray) -> TokenLists {
        let values = bounds.values().as_primitive::<UInt32Type>().values().to_vec();
        let offsets = OffsetBuffer::new(bounds.offsets().to_vec().into());
        TokenLists { trained: Some((offsets, values.into())), ..self }
    }

    /// The bounds of the trained stretches of document `row`, for [`is_trained`]; `None`: the whole
    /// document is trained on.
    pub fn trained(&self, row: usize) -> Option<&[u32]> {
        let (offsets, values) = self.trained.as_ref()?;
        Some(&values[offsets[row] as usize..offsets[row + 1] as usize])
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of document `row`.
    pub fn tokens(&self, row: usize) -> TokenSlice<'_> {
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        match &self.values {
            TokenValues::U16(values) => TokenSlice::U16(&values[range]),
            TokenValues::U32(values) => TokenSlice::U32(&values[range]),
        }
    }

    /// Bytes that the lists take in memory.
    pub fn memory_bytes(&self) -> u64 {
        let values = match &self.values {
            TokenValues::U16(values) => values.inner().capacity(),
            TokenValues::U32(values) => values.inner().capacity(),
        };
        let trained = self.trained.as_ref().map_or(0, |(offsets, bounds)| {
            offsets.inner().inner().capacity() + bounds.inner().capacity()
        });
        (values + self.offsets.inner().inner().capacity() + trained) as u64
    }
}

/// A block, decoded whole.
#[derive(Clone, Debug)]
pub struct Block {
    lists: TokenLists,
    documents: StringArray,
    source: String,
    held_out: BooleanArray,
    bytes: UInt64Array,
    facts: HeldOutColumns,
}

impl Block {
    /// Number of documents.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of document `row`, without an end-of-text.
    pub fn tokens(&self, row: usize) -> TokenSlice<'_> {
        self.lists.tokens(row)
    }

    /// The id of document `row`.
    pub fn document(&self, row: usize) -> &str {
        self.documents.value(row)
    }

    /// The source of all documents.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether document `row` is held out from training.
    pub fn held_out(&self, row: usize) -> bool {
        self.held_out.value(row)
    }

    /// What is known of document `row` if it is held out.
    pub fn held_out_facts(&self, row: usize) -> HeldOut {
        self.facts.row(row)
    }

    /// UTF-8 bytes of the text of document `row`.
    pub fn bytes(&self, row: usize) -> u64 {
        self.bytes.value(row)
    }
}

/// A block read and checked, not yet decoded: take only the columns that are needed.
pub struct RawBlock<'a> {
    pub(super) raw: RawBatch<'a>,
    pub(super) entry: &'a BlockEntry,
}

impl RawBlock<'_> {
    /// Number of tokens of each document, without decompressing any of them.
    pub fn lengths(&self) -> Result<Vec<u32>> {
        let bytes = self.raw.buffer(OFFSETS_BUFFER)?;
        let offsets = bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes));
        let pairs = offsets.clone().zip(offsets.skip(1));
        let lengths: Vec<u32> = pairs.map(|(start, end)| end.abs_diff(start)).collect();
        let tokens: u64 = lengths.iter().map(|&length| u64::from(length)).sum();
        let found = (lengths.len() as u64, tokens);
        self.expect(
            "documents and tokens",
            (self.entry.documents, self.entry.facts.tokens),
            found,
        )?;
        Ok(lengths)
    }

    /// Which documents are held out.
    pub fn held_out(&self) -> Result<BooleanBuffer> {
        let batch = self.raw.decode(Some(&[HELD_OUT]))?;
        let held_out = batch.column(0).as_boolean().values().clone();
        let found = held_out.count_set_bits() as u64;
        self.expect("held-out documents", self.entry.facts.held_out_documents, found)?;
        Ok(held_out)
    }

    /// What is known of the held-out documents at `rows`.
    pub fn held_out_facts(&self, rows: impl Iterator<Item = usize>) -> Result<Vec<HeldOut>> {
        let columns: Vec<usize> = ((BYTES + 1)..self.raw.columns()).collect();
        let facts = match columns.is_empty() {
            true => HeldOutColumns(None),
            false => HeldOutColumns::of(&self.raw.decode(Some(&columns))?),
        };
        Ok(rows.map(|row| facts.row(row)).collect())
    }

    /// The documents' ids.
    pub fn documents(&self) -> Result<StringArray> {
        Ok(self.raw.decode(Some(&[DOCUMENT]))?.column(0).as_string::<i32>().clone())
    }

    /// UTF-8 bytes of the documents' texts.
    pub fn text_bytes(&self) -> Result<Vec<u64>> {
        let batch = self.raw.decode(Some(&[BYTES]))?;
        let bytes = batch.column(0).as_primitive::<UInt64Type>().values().to_vec();
        let sum = bytes.iter().fold(0u64, |sum, &bytes| sum.saturating_add(bytes));
        self.expect("bytes of text", self.entry.facts.text_bytes, sum)?;
        Ok(bytes)
    }

    /// The token lists alone.
    pub fn token_lists(&self) -> Result<TokenLists> {
        let masked = self.raw.place(TRAINED);
        let columns: Vec<usize> = std::iter::once(TOKENS).chain(masked).collect();
        let batch = self.raw.decode(Some(&columns))?;
        let lists = TokenLists::new(batch.column(0).as_list());
        let lists = match batch.column_by_name(TRAINED) {
            Some(bounds) => lists.with_trained(bounds.as_list()),
            None => lists,
        };
        self.expect("tokens", self.entry.facts.tokens, lists.offsets[lists.len()] as u64)?;
        Ok(lists)
    }

    /// Decodes all columns.
    pub fn block(&self) -> Result<Block> {
        let batch = self.raw.decode(None)?;
        let block = Block {
            lists: TokenLists::new(batch.column(TOKENS).as_list()),
            documents: batch.column(DOCUMENT).as_string::<i32>().clone(),
            source: self.entry.facts.source.clone(),
            held_out: batch.column(HELD_OUT).as_boolean().clone(),
            bytes: batch.column(BYTES).as_primitive::<UInt64Type>().clone(),
            facts: HeldOutColumns::of(&batch),
        };
        let held_out = || (0..block.len()).filter(|&row| block.held_out(row));
        let found = BlockFacts {
            source: batch
                .column(2)
                .as_string::<i32>()
                .iter()
                .flatten()
                .next()
                .unwrap_or_default()
                .into(),
            tokens: block.lists.offsets[block.len()] as u64,
            text_bytes: block.bytes.values().iter().sum(),
            held_out_documents: block.held_out.true_count() as u64,
            held_out_tokens: held_out().map(|row| block.tokens(row).len() as u64).sum(),
            held_out_bytes: self
                .entry
                .facts
                .held_out_bytes
                .map(|_| held_out().map(|row| block.bytes(row)).sum()),
        };
        self.expect("facts", &self.entry.facts, &found)?;
        Ok(block)
    }

    /// Fails where the footer and the block disagree: the file is damaged.
    fn expect<T: PartialEq + std::fmt::Debug>(
        &self,
        what: &str,
        footer: T,
        block: T,
    ) -> Result<()> {
        if footer == block {
            return Ok(());
        }
        Err(self.raw.damaged(format!("{what}: the footer says {footer:?}, the block {block:?}")))
    }
}
