//! Writes token shards, cell by cell.
//!
//! In → documents in corpus order; out → one shard file (format: `block`, `file`). Up to
//! [`STRETCH_TOKENS`] are held, then sorted by source and [cell], corpus order within
//! one, cut into blocks and compressed on all threads. A block is closed where the source changes,
//! where the next document would pass [`BLOCK_TOKENS`], and where the cell changes once the block
//! is worth its head ([`BLOCK_TOKENS_MIN`]). Invariant: the bytes are a function of the documents
//! alone. Cost: a stretch in memory ([`held_bytes`]) and the compression of two blocks a thread.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray, UInt64Array,
    },
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{ArrowPrimitiveType, DataType, Field, UInt16Type, UInt32Type},
};

use super::{
    block::{
        BLOCK_TOKENS, BlockFacts, HeldOut, ShardAbout, ShardLayout, TokenWidth, held_out_columns,
        trained_field,
    },
    cell,
    file::{CheckedWriter, Compression, Layout},
};
use crate::base::{error::Result, parallel};

/// Documents, or bytes of ids, that close a block whatever its tokens: a million empty documents
/// must not make a block that does not fit into memory.
const BLOCK_DOCUMENTS: usize = BLOCK_TOKENS as usize;
const BLOCK_ID_BYTES: usize = 32 << 20;

/// Tokens from which on the end of a cell closes the block. In a smaller one, below 64 KiB, the
/// head and the columns beside the tokens come to more than 3% of what it stores.
const BLOCK_TOKENS_MIN: u64 = 1 << 15;

/// Tokens sorted at once: 2¹⁸ a cell. A reader holds a block of each stretch, and so a 256th of
/// what it reads.
const STRETCH_TOKENS: usize = 1 << 26;
/// What else ends a stretch: documents without tokens take memory too.
const STRETCH_DOCUMENTS: usize = 1 << 22;
const STRETCH_ID_BYTES: usize = 256 << 20;

/// Bytes that the writer of a file of `text_bytes` holds: tokens, which are no more than bytes, in
/// a buffer that may have grown to twice its need, and what is known of each document.
pub fn held_bytes(width: TokenWidth, text_bytes: u64) -> u64 {
    let tokens = text_bytes.min(STRETCH_TOKENS as u64);
    2 * tokens * width.bytes() + text_bytes.min(STRETCH_ID_BYTES as u64 / 2)
}

/// A document as the tokenizer leaves it.
#[derive(Clone, Copy, Debug)]
pub struct ShardDocument<'a> {
    /// The document's id.
    pub id: &'a str,
    /// Its source.
    pub source: &'a str,
    /// What is known of it where training never sees it.
    pub held_out: Option<&'a HeldOut>,
    /// UTF-8 bytes of its text.
    pub bytes: u64,
    /// Its tokens, without an end-of-text; each at most what the shard's width holds.
    pub tokens: &'a [u32],
    /// Where stretches that are trained on begin and end in turn ([`super::is_trained`]); `None`:
    /// it is trained on whole. Only shards of [`ShardWriter::masked`] keep it.
    pub trained: Option<&'a [u32]>,
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
        if document.held_out.is_some() {
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
    threads: usize,
    stretch: Stretch,
    /// Most tokens that are still to come, where the caller has said so.
    tokens_expected: u64,
    counts: ShardCounts,
}

impl ShardWriter {
    /// Creates `path` for tokens of `width`; `threads` compress.
    pub fn create(path: &Path, width: TokenWidth, threads: usize) -> Result<ShardWriter> {
        ShardWriter::of(path, about(width, false), threads)
    }

    /// Creates `path` for documents of which some tokens are not trained on.
    pub fn masked(path: &Path, width: TokenWidth, threads: usize) -> Result<ShardWriter> {
        ShardWriter::of(path, about(width, true), threads)
    }

    fn of(path: &Path, about: ShardAbout, threads: usize) -> Result<ShardWriter> {
        let schema = ShardLayout::schema(&about);
        Ok(ShardWriter {
            file: CheckedWriter::create(path, &schema, Compression::Zstd)?,
            threads,
            stretch: Stretch::new(about),
            tokens_expected: 0,
            counts: ShardCounts::default(),
        })
    }

    /// Says that at most `tokens` will come. Room for them is reserved at once, which takes address
    /// space but no memory until they are written; a buffer that grows is copied each time it
    /// doubles, into memory that is cleared first.
    pub fn expect(mut self, tokens: u64) -> ShardWriter {
        self.tokens_expected = tokens;
        self.stretch.reserve(tokens);
        self
    }

    /// Takes a document. Panics on a token wider than the shard's width: the caller chose it.
    pub fn push(&mut self, document: &ShardDocument<'_>) -> Result<()> {
        if self.stretch.must_close_before(document) {
            self.write_stretch()?;
        }
        self.stretch.push(document);
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

    /// Writes what is held and the footer. A shard without documents is a valid file.
    pub fn finish(mut self) -> Result<ShardCounts> {
        self.tokens_expected = 0;
        self.write_stretch()?;
        self.file.finish(self.stretch.about)?;
        Ok(self.counts)
    }

    fn write_stretch(&mut self) -> Result<()> {
        let next = Stretch::new(self.stretch.about.clone());
        let stretch = std::mem::replace(&mut self.stretch, next);
        self.tokens_expected = self.tokens_expected.saturating_sub(stretch.token_count() as u64);
        let rows = stretch.by_cell();
        let blocks = stretch.cut(&rows);
        let threads = self.threads.min(blocks.len()).max(1);
        let encoder = self.file.encoder();
        let file = &mut self.file;
        parallel::ordered(
            threads,
            2 * threads,
            blocks.into_iter().map(Ok),
            |block| {
                let (batch, facts) = stretch.block(&rows[block]);
                Ok((encoder.encode(&batch)?, facts))
            },
            |(batch, facts)| file.append(batch, facts),
        )?;
        // The written stretch is freed first: two of them are one more than is asked for.
        drop(stretch);
        self.stretch.reserve(self.tokens_expected);
        Ok(())
    }
}

/// What the footer says of the file.
fn about(tokens: TokenWidth, masked: bool) -> ShardAbout {
    ShardAbout { tokens, judged: true, masked }
}

/// Documents that are held until they are sorted.
struct Stretch {
    about: ShardAbout,
    tokens: TokenColumn,
    /// Bounds of the trained stretches of all documents, where they are kept.
    trained: Vec<u32>,
    ids: String,
    documents: Vec<Held>,
    /// What is known of held-out documents.
    facts: Vec<HeldOut>,
    /// Names, by first appearance.
    sources: Vec<String>,
}

/// Tokens in the width they are stored in.
enum TokenColumn {
    U16(Vec<u16>),
    U32(Vec<u32>),
}

/// A document of a stretch.
struct Held {
    first_token: usize,
    first_id_byte: usize,
    bytes: u64,
    tokens: u32,
    first_bound: usize,
    bounds: u32,
    id_bytes: u32,
    source: u32,
    cell: u8,
    /// Its place among [`Stretch::facts`], if it is held out.
    held_out: Option<u32>,
}

impl Held {
    fn tokens(&self) -> Range<usize> {
        self.first_token..self.first_token + self.tokens as usize
    }

    fn bounds(&self) -> Range<usize> {
        self.first_bound..self.first_bound + self.bounds as usize
    }

    fn id(&self) -> Range<usize> {
        self.first_id_byte..self.first_id_byte + self.id_bytes as usize
    }
}

impl Stretch {
    fn new(about: ShardAbout) -> Stretch {
        let tokens = match about.tokens {
            TokenWidth::U16 => TokenColumn::U16(Vec::new()),
            TokenWidth::U32 => TokenColumn::U32(Vec::new()),
        };
        let (documents, facts, sources) = (Vec::new(), Vec::new(), Vec::new());
        let (trained, ids) = (Vec::new(), String::new());
        Stretch { about, tokens, trained, ids, documents, facts, sources }
    }

    fn reserve(&mut self, tokens: u64) {
        let tokens = tokens.min(STRETCH_TOKENS as u64) as usize;
        match &mut self.tokens {
            TokenColumn::U16(column) => column.reserve(tokens),
            TokenColumn::U32(column) => column.reserve(tokens),
        }
    }

    fn token_count(&self) -> usize {
        self.documents.last().map_or(0, |document| document.tokens().end)
    }

    fn must_close_before(&self, document: &ShardDocument<'_>) -> bool {
        !self.documents.is_empty()
            && (self.token_count() + document.tokens.len() > STRETCH_TOKENS
                || self.documents.len() >= STRETCH_DOCUMENTS
                || self.ids.len() + document.id.len() > STRETCH_ID_BYTES)
    }

    fn push(&mut self, document: &ShardDocument<'_>) {
        let first_token = self.token_count();
        match &mut self.tokens {
            TokenColumn::U16(column) => column.extend(document.tokens.iter().map(|&token| {
                assert!(token <= u32::from(u16::MAX), "token {token} in a shard of uint16");
                token as u16
            })),
            TokenColumn::U32(column) => column.extend_from_slice(document.tokens),
        }
        // Documents of one source mostly follow each other, so the last source is looked at first.
        let known = self.sources.iter().rposition(|source| source == document.source);
        let source = known.unwrap_or_else(|| {
            self.sources.push(document.source.to_owned());
            self.sources.len() - 1
        });
        let first_bound = self.trained.len();
        if self.about.masked {
            self.trained.extend_from_slice(document.trained.unwrap_or(&[0]));
        }
        let length = i32::try_from(document.tokens.len());
        let id_bytes = i32::try_from(document.id.len());
        self.documents.push(Held {
            first_token,
            first_id_byte: self.ids.len(),
            bytes: document.bytes,
            tokens: length.expect("a document has less than 2^31 tokens") as u32,
            first_bound,
            bounds: (self.trained.len() - first_bound) as u32,
            id_bytes: id_bytes.expect("an id has less than 2^31 bytes") as u32,
            source: source as u32,
            cell: cell::cell(cell::draw(document.id)),
            held_out: document.held_out.map(|facts| {
                self.facts.push(facts.clone());
                self.facts.len() as u32 - 1
            }),
        });
        self.ids.push_str(document.id);
    }

    /// The documents by source and cell, in corpus order within a cell.
    fn by_cell(&self) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..self.documents.len() as u32).collect();
        rows.sort_by_key(|&row| {
            let document = &self.documents[row as usize];
            (document.source, document.cell)
        });
        rows
    }

    /// Where blocks begin and end among the sorted documents.
    fn cut(&self, rows: &[u32]) -> Vec<Range<usize>> {
        let (mut blocks, mut start) = (Vec::new(), 0);
        let (mut tokens, mut id_bytes) = (0, 0);
        for at in 0..rows.len() {
            let next = &self.documents[rows[at] as usize];
            if at > start {
                let last = &self.documents[rows[at - 1] as usize];
                let closes = last.source != next.source
                    || tokens + u64::from(next.tokens) > BLOCK_TOKENS
                    || at - start >= BLOCK_DOCUMENTS
                    || id_bytes + next.id_bytes as usize > BLOCK_ID_BYTES
                    || (last.cell != next.cell && tokens >= BLOCK_TOKENS_MIN);
                if closes {
                    blocks.push(start..at);
                    (start, tokens, id_bytes) = (at, 0, 0);
                }
            }
            tokens += u64::from(next.tokens);
            id_bytes += next.id_bytes as usize;
        }
        if start < rows.len() {
            blocks.push(start..rows.len());
        }
        blocks
    }

    /// The columns of a block of these documents.
    fn block(&self, rows: &[u32]) -> (RecordBatch, BlockFacts) {
        let documents = || rows.iter().map(|&row| &self.documents[row as usize]);
        let source = &self.sources[documents().next().map_or(0, |first| first.source as usize)];
        let width = self.about.tokens;
        let offsets = OffsetBuffer::from_lengths(documents().map(|one| one.tokens as usize));
        let tokens = match &self.tokens {
            TokenColumn::U16(tokens) => {
                list::<UInt16Type>(width.field(), offsets, gather(tokens, documents()))
            }
            TokenColumn::U32(tokens) => {
                list::<UInt32Type>(width.field(), offsets, gather(tokens, documents()))
            }
        };
        let sum = |of: fn(&Held) -> u64| documents().map(of).sum();
        let held_out = |of: fn(&Held) -> u64| {
            documents().filter(|one| one.held_out.is_some()).map(of).sum::<u64>()
        };
        let facts = BlockFacts {
            source: source.clone(),
            tokens: sum(|one| u64::from(one.tokens)),
            text_bytes: sum(|one| one.bytes),
            held_out_documents: held_out(|_| 1),
            held_out_tokens: held_out(|one| u64::from(one.tokens)),
            held_out_bytes: Some(held_out(|one| one.bytes)),
        };
        let ids = documents().map(|one| &self.ids[one.id()]);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(tokens),
            Arc::new(StringArray::from_iter_values(ids)),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source, rows.len()))),
            Arc::new(documents().map(|one| Some(one.held_out.is_some())).collect::<BooleanArray>()),
            Arc::new(UInt64Array::from_iter_values(documents().map(|one| one.bytes))),
        ];
        let known = documents().map(|one| one.held_out.map(|at| &self.facts[at as usize]));
        columns.extend(held_out_columns(known));
        if self.about.masked {
            let offsets = OffsetBuffer::from_lengths(documents().map(|one| one.bounds as usize));
            let mut bounds = Vec::new();
            documents().for_each(|one| bounds.extend_from_slice(&self.trained[one.bounds()]));
            columns.push(Arc::new(list::<UInt32Type>(trained_field(), offsets, bounds)));
        }
        let schema = ShardLayout::schema(&self.about);
        let batch = RecordBatch::try_new(schema, columns);
        (batch.expect("the columns are the layout's, equally long"), facts)
    }
}

/// The tokens of these documents, one after another.
fn gather<'a, T: Copy + 'a>(
    tokens: &[T],
    documents: impl Iterator<Item = &'a Held> + Clone,
) -> Vec<T> {
    let count = documents.clone().map(|document| document.tokens as usize).sum();
    let mut gathered = Vec::with_capacity(count);
    documents.for_each(|document| gathered.extend_from_slice(&tokens[document.tokens()]));
    gathered
}

/// A column of lists from its parts.
pub(super) fn list<T: ArrowPrimitiveType>(
    field: Field,
    offsets: OffsetBuffer<i32>,
    tokens: Vec<T::Native>,
) -> ListArray {
    let DataType::List(item) = field.data_type() else {
        unreachable!("a column of lists, found {}", field.data_type())
    };
    let values = PrimitiveArray::<T>::new(ScalarBuffer::from(tokens), None);
    ListArray::new(item.clone(), offsets, Arc::new(values), None)
}
