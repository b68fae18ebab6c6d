//! Arrow IPC files whose every record batch can be read, and checked, alone.
//!
//! In → record batches of one schema; out → an Arrow IPC *file* (Apache Arrow columnar format,
//! metadata version 5) that pyarrow and polars read as any other. Its footer's custom metadata
//! holds one key, [`METADATA_KEY`]: JSON with the format version, what the file is, facts about
//! the whole, and for each batch its byte range, the XXH3-128 of those bytes, its documents and
//! what else the layout keeps; the XXH3-128 of that list stands beside it, so a damaged footer does
//! not pass either. One key, because a second would have no stated order.
//!
//! Invariants: a batch's bytes are checked against the footer before anything decodes them; the
//! schema is rebuilt from the layout, never trusted from the file; a reader keeps no file open, so
//! ten thousand shards need no descriptors. Cost: a read is one open, one seek, one read of the
//! batch, one pass of XXH3.

use std::{
    fs::File,
    io::{BufWriter, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::SchemaRef,
    ipc::{
        Block, CompressionType, MetadataVersion,
        reader::{FileDecoder, read_footer_length},
        root_as_footer, root_as_message,
        writer::IpcWriteOptions,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use super::ipc::{self, BatchEncoder, EncodedBatch};
use crate::artifact::manifest::other_file_format;
use crate::base::{
    error::{Error, Result},
    hash::{Fingerprint, xxh3_128},
    io,
};

/// The footer's only custom metadata key.
const METADATA_KEY: &str = "dataprep";

/// Version of the footer's JSON; another one is refused.
pub const FORMAT: u32 = 1;

/// Measured on every sixth block of shards of 74M GPT-2 tokens (articles, manuals, textbooks,
/// books, code), MB of raw tokens per CPU-second, median of five: level 1 leaves 47.3% of the bytes
/// at 305, 2 leaves 46.1% at 216, 3 leaves 44.7% at 166, 5 leaves 44.3% at 75, 6 leaves 43.9% at
/// 59; reading is as fast for all. Level 3 is the last that costs less than encoding the text does,
/// and level 1 would save an eighth of `tokenize` for 6% more on disk.
const ZSTD_LEVEL: i32 = 3;

/// Bytes of the trailer of an Arrow file: the footer's length and the magic word.
const TRAILER_BYTES: u64 = 10;

/// zstd's highest ratio: a block has at most 128 KiB and takes 4 bytes (RFC 8878, section 3.1.1.2).
const ZSTD_RATIO_MAX: usize = (128 << 10) / 4;

/// Bytes of marker and length before an encapsulated Arrow message, and its alignment.
const MESSAGE_PREFIX_BYTES: usize = 8;

/// How the buffers of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are: to be mapped or read in place.
    None,
    /// Each buffer is one zstd frame.
    Zstd,
}

/// One kind of file: its name, its schema, and what its footer keeps.
pub trait Layout {
    /// Said in the footer and in errors: `shard`, `order`.
    const KIND: &'static str;
    /// Facts about the whole file.
    type About: Serialize + DeserializeOwned;
    /// Facts about a batch, beside its range, checksum and documents.
    type Batch: Serialize + DeserializeOwned;
    /// The columns of a file with these facts.
    fn schema(about: &Self::About) -> SchemaRef;
}

/// A record batch in its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchEntry<B> {
    /// First byte in the file.
    pub offset: u64,
    /// Length in bytes, the message's head and padding included.
    pub bytes: u64,
    /// XXH3-128 of those bytes.
    pub xxh3: Fingerprint,
    /// Rows; in all layouts a row is a document.
    pub documents: u64,
    /// What the layout keeps.
    #[serde(flatten)]
    pub facts: B,
}

/// The footer's JSON, with the list of batches as the text that was hashed.
#[derive(Serialize, Deserialize)]
struct Footer {
    format: u32,
    kind: String,
    about: Box<RawValue>,
    batches: Box<RawValue>,
    batches_xxh3: Fingerprint,
}

/// Writes one file, batch by batch.
pub struct CheckedWriter<L: Layout> {
    path: PathBuf,
    output: BufWriter<File>,
    position: u64,
    schema: SchemaRef,
    encoder: Arc<BatchEncoder>,
    blocks: Vec<Block>,
    batches: Vec<BatchEntry<L::Batch>>,
}

impl<L: Layout> CheckedWriter<L> {
    /// Creates `path`; `compression` applies to every buffer.
    pub fn create(path: &Path, schema: &SchemaRef, compression: Compression) -> Result<Self> {
        let options = match compression {
            Compression::None => Ok(IpcWriteOptions::default()),
            Compression::Zstd => IpcWriteOptions::default()
                .try_with_compression(Some(CompressionType::ZSTD))
                .and_then(|options| options.try_with_compression_level(Some(ZSTD_LEVEL))),
        };
        let options = options.expect("zstd is compiled in, and has this level");
        let encoder = Arc::new(BatchEncoder::new(path, schema, options)?);
        let mut writer = CheckedWriter {
            path: path.to_owned(),
            output: io::create(path)?,
            position: 0,
            schema: schema.clone(),
            encoder,
            blocks: Vec::new(),
            batches: Vec::new(),
        };
        let head = writer.encoder.head().to_vec();
        writer.append_bytes(&head)?;
        Ok(writer)
    }

    /// The encoder of this file's batches; [`CheckedWriter::append`] puts what it makes into the
    /// file, in the file's order.
    pub fn encoder(&self) -> Arc<BatchEncoder> {
        self.encoder.clone()
    }

    /// Appends an encoded batch.
    pub fn append(&mut self, batch: EncodedBatch, facts: L::Batch) -> Result<()> {
        let (offset, bytes) = (self.position, batch.bytes.len() as u64);
        let body = batch.bytes.len() - batch.head;
        self.append_bytes(&batch.bytes)?;
        self.blocks.push(Block::new(offset as i64, batch.head as i32, body as i64));
        let EncodedBatch { xxh3, documents, .. } = batch;
        self.batches.push(BatchEntry { offset, bytes, xxh3, documents, facts });
        Ok(())
    }

    /// Encodes and appends a batch.
    pub fn write(&mut self, batch: &RecordBatch, facts: L::Batch) -> Result<()> {
        let encoded = self.encoder.encode(batch)?;
        self.append(encoded, facts)
    }

    /// Writes the footer; the file is complete only now.
    pub fn finish(mut self, about: L::About) -> Result<()> {
        let json = "batch facts and strings always serialize";
        let batches = to_raw_value(&self.batches).expect(json);
        let footer = Footer {
            format: FORMAT,
            kind: L::KIND.to_owned(),
            about: to_raw_value(&about).expect(json),
            batches_xxh3: xxh3_128(batches.get().as_bytes()),
            batches,
        };
        let footer = serde_json::to_string(&footer).expect(json);
        let end = ipc::end_of_file(&self.schema, &self.blocks, (METADATA_KEY, footer));
        self.append_bytes(&end)?;
        self.output.flush().map_err(Error::io("write", &self.path))
    }

    fn append_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// A file opened for reading: its footer, checked.
pub struct CheckedFile<L: Layout> {
    path: PathBuf,
    about: L::About,
    batches: Vec<BatchEntry<L::Batch>>,
    identity: Fingerprint,
    schema: SchemaRef,
    layout: PhantomData<fn() -> L>,
}

impl<L: Layout> CheckedFile<L> {
    /// Reads and checks the footer. Another version's format is a configuration error; another
    /// kind, a checksum that differs or a batch outside the file is damage.
    pub fn open(path: &Path) -> Result<Self> {
        let size = io::size(path)?;
        let bytes = footer_bytes(path, size)?;
        let damaged = |message: String| Error::damaged_artifact(path, None, message);
        let unreadable =
            |error: serde_json::Error| damaged(format!("the footer's `{METADATA_KEY}`: {error}"));
        let arrow = root_as_footer(&bytes)
            .map_err(|error| damaged(format!("the Arrow footer is unreadable: {error}")))?;
        let mut pairs = arrow.custom_metadata().into_iter().flatten();
        let text =
            pairs.find(|pair| pair.key() == Some(METADATA_KEY)).and_then(|pair| pair.value());
        let text = text.ok_or_else(|| {
            damaged(format!("the footer has no key `{METADATA_KEY}`: not written by this tool"))
        })?;
        let footer: Footer = serde_json::from_str(text).map_err(unreadable)?;
        if footer.kind != L::KIND {
            let message = format!("expected a file of kind `{}`, found `{}`", L::KIND, footer.kind);
            return Err(damaged(message));
        }
        if footer.format != FORMAT {
            return Err(other_file_format(path, footer.format, FORMAT));
        }
        let identity = xxh3_128(footer.batches.get().as_bytes());
        if identity != footer.batches_xxh3 {
            let expected = footer.batches_xxh3;
            let message = format!("footer: expected checksum {expected}, found {identity}");
            return Err(damaged(message));
        }
        let about = serde_json::from_str(footer.about.get()).map_err(unreadable)?;
        let batches: Vec<BatchEntry<L::Batch>> =
            serde_json::from_str(footer.batches.get()).map_err(unreadable)?;
        let listed = arrow.recordBatches().into_iter().flatten();
        let listed = listed
            .map(|block| (block.offset(), i64::from(block.metaDataLength()) + block.bodyLength()));
        let ranges = batches.iter().map(|batch| (batch.offset as i64, batch.bytes as i64));
        if !ranges.eq(listed) {
            return Err(damaged("the footer's two lists of batches differ".to_owned()));
        }
        let end = |batch: &BatchEntry<L::Batch>| batch.offset.checked_add(batch.bytes);
        let documents =
            batches.iter().try_fold(0u64, |sum, batch| sum.checked_add(batch.documents));
        if documents.is_none()
            || batches.iter().any(|batch| end(batch).is_none_or(|end| end > size))
        {
            return Err(damaged("the footer lists more than the file holds".to_owned()));
        }
        let (schema, path) = (L::schema(&about), path.to_owned());
        Ok(CheckedFile { path, about, batches, identity, schema, layout: PhantomData })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// XXH3-128 of the list of batches with their checksums: which contents this file has.
    pub fn identity(&self) -> Fingerprint {
        self.identity
    }

    /// Facts about the whole.
    pub fn about(&self) -> &L::About {
        &self.about
    }

    /// The batches, in file order.
    pub fn batches(&self) -> &[BatchEntry<L::Batch>] {
        &self.batches
    }

    /// Reads batch `index` and checks its checksum; decodes nothing.
    pub fn read(&self, index: usize) -> Result<RawBatch<'_>> {
        let entry = &self.batches[index];
        let bytes = io::read_range(&self.path, entry.offset, entry.bytes as usize)?;
        let found = xxh3_128(&bytes);
        let raw = RawBatch {
            path: &self.path,
            offset: entry.offset,
            schema: &self.schema,
            documents: entry.documents,
            bytes: Buffer::from_vec(bytes),
        };
        if found != entry.xxh3 {
            let expected = entry.xxh3;
            let message = format!("batch {index}: expected checksum {expected}, found {found}");
            return Err(raw.damaged(message));
        }
        Ok(raw)
    }
}

/// The checked bytes of a batch.
pub struct RawBatch<'a> {
    path: &'a Path,
    offset: u64,
    schema: &'a SchemaRef,
    documents: u64,
    bytes: Buffer,
}

impl RawBatch<'_> {
    /// How many columns it has.
    pub fn columns(&self) -> usize {
        self.schema.fields().len()
    }

    /// The index of the column `name`, where there is one.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.schema.index_of(name).ok()
    }

    /// All columns, or those of `projection`.
    pub fn decode(&self, projection: Option<&[usize]>) -> Result<RecordBatch> {
        let mut decoder = FileDecoder::new(self.schema.clone(), MetadataVersion::V5);
        if let Some(projection) = projection {
            decoder = decoder.with_projection(projection.to_vec());
        }
        self.buffers()?;
        // The decoder takes nothing from the block but where the body begins.
        let block = Block::new(0, self.head_bytes()? as i32, 0);
        let batch = decoder.read_record_batch(&block, &self.bytes);
        let batch = batch.map_err(|error| self.damaged(error))?;
        let batch = batch.ok_or_else(|| self.damaged("a message without a record batch"))?;
        if batch.num_rows() as u64 != self.documents {
            let (expected, found) = (self.documents, batch.num_rows());
            return Err(self.damaged(format!("expected {expected} documents, found {found}")));
        }
        Ok(batch)
    }

    /// Buffer `index` of the message, decompressed: reads a part of a column alone (the offsets of
    /// a list without its values).
    pub fn buffer(&self, index: usize) -> Result<Vec<u8>> {
        let buffers = self.buffers()?;
        let stored =
            buffers.get(index).ok_or_else(|| self.damaged(format!("no buffer {index}")))?;
        match *stored {
            Stored::Plain(bytes) => Ok(bytes.to_vec()),
            Stored::Zstd { frame, length } => zstd::bulk::decompress(frame, length)
                .map_err(|error| self.damaged(format!("buffer {index}: {error}"))),
        }
    }

    /// Where each buffer lies. A length that the bytes cannot have is damage, found before that
    /// much memory is allocated.
    fn buffers(&self) -> Result<Vec<Stored<'_>>> {
        let message = self.bytes.get(MESSAGE_PREFIX_BYTES..).unwrap_or_default();
        let message = root_as_message(message).map_err(|error| self.damaged(error))?;
        let batch = message.header_as_record_batch();
        let batch = batch.ok_or_else(|| self.damaged("a message without a record batch"))?;
        let is_compressed = batch.compression().is_some();
        let body = &self.bytes[self.head_bytes()?..];
        let ranges = batch.buffers().into_iter().flatten();
        let stored = ranges.enumerate().map(|(index, range)| {
            let start = usize::try_from(range.offset()).ok();
            let end = start.zip(usize::try_from(range.length()).ok());
            let end = end.and_then(|(start, length)| start.checked_add(length));
            let bytes = start.zip(end).and_then(|(start, end)| body.get(start..end));
            let bytes =
                bytes.ok_or_else(|| self.damaged(format!("buffer {index} ends outside")))?;
            let stored = Stored::new(bytes, is_compressed);
            stored.ok_or_else(|| self.damaged(format!("buffer {index}: its length is not true")))
        });
        stored.collect()
    }

    /// The damage, with the place of this batch.
    pub fn damaged(&self, message: impl ToString) -> Error {
        Error::damaged_artifact(self.path, Some(self.offset), message)
    }

    /// Bytes before the batch's body: prefix, flatbuffer, padding.
    fn head_bytes(&self) -> Result<usize> {
        let length =
            self.bytes.get(4..MESSAGE_PREFIX_BYTES).and_then(|bytes| bytes.try_into().ok());
        let length = length.map(u32::from_le_bytes).map(|length| length as usize);
        let end = length.map(|length| length + MESSAGE_PREFIX_BYTES);
        end.filter(|&end| end <= self.bytes.len())
            .ok_or_else(|| self.damaged("a message shorter than its head"))
    }
}

/// A buffer of a batch.
enum Stored<'a> {
    Plain(&'a [u8]),
    Zstd { frame: &'a [u8], length: usize },
}

impl Stored<'_> {
    /// Parses Arrow's BodyCompression: the length before compression (-1: stored as it is), then
    /// the frame, which must state the same length.
    fn new(bytes: &[u8], is_compressed: bool) -> Option<Stored<'_>> {
        if !is_compressed || bytes.is_empty() {
            return Some(Stored::Plain(bytes));
        }
        let (length, frame) = bytes.split_first_chunk::<8>()?;
        let length = i64::from_le_bytes(*length);
        if length == -1 {
            return Some(Stored::Plain(frame));
        }
        let length = usize::try_from(length).ok()?;
        let said = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
        let is_possible = length.div_ceil(ZSTD_RATIO_MAX) <= frame.len();
        (said == length as u64 && is_possible).then_some(Stored::Zstd { frame, length })
    }
}

/// The footer's flatbuffer.
fn footer_bytes(path: &Path, size: u64) -> Result<Vec<u8>> {
    let damaged = |message: &str| Error::damaged_artifact(path, None, message);
    let trailer_start = size.checked_sub(TRAILER_BYTES);
    let trailer_start = trailer_start.ok_or_else(|| damaged("too short for an Arrow file"))?;
    let trailer = io::read_range(path, trailer_start, TRAILER_BYTES as usize)?;
    let trailer = trailer.try_into().expect("a range read has the length asked for");
    let length = read_footer_length(trailer)
        .map_err(|_| damaged("no Arrow footer at the end: truncated, or another format"))?;
    let start = trailer_start.checked_sub(length as u64);
    let start = start.ok_or_else(|| damaged("the Arrow footer is longer than the file"))?;
    io::read_range(path, start, length)
}
