//! Arrow IPC: streams, as `datasets` keeps its `data-*.arrow`, and files (Feather 2).
//!
//! Both are read alike, from the beginning on: a file is a stream between two marks, with a footer
//! that nothing here needs (Arrow columnar format, IPC). The schema comes first; record batches are
//! decoded by the producer, which copies nothing but compressed buffers, and cut into pieces that
//! workers check and cast (`table`). Strings are read as bytes, so that one that is no UTF-8 costs
//! one document. A stream without its end mark, a file without its footer's, sizes that do not fit
//! and whatever arrow refuses are damage. Memory: one record batch, [`BATCH_BYTES_MAX`] at most.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::FileDecoder;
use arrow::ipc::{Block, Endianness, Message, MessageHeader, MetadataVersion, root_as_message};
use arrow::record_batch::RecordBatch;
use std::io::Read;

use super::stream::{self, Stream};
use super::table::{Decoder, Leading, Place};
use super::{
    Ask, BATCH_DOCUMENTS, Beginning, Format, Head, Layout, Limit, Probe, Request, Task, Tasks,
};
use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::base::size::Bytes;
use crate::source::look;
use crate::store::Stored;

/// What a file begins with; a stream begins with its first message.
const FILE_MARK: &[u8] = b"ARROW1\0\0";
/// Most 4-byte words of zeros after the mark: arrow-rs pads it to 64 bytes, others to 8.
const PADDING_WORDS_MAX: usize = 14;
/// What precedes a message's length, except in streams older than Arrow 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// A larger record batch is refused: Arrow's own writers make them of 64k rows or fewer.
const BATCH_BYTES_MAX: u64 = 1 << 30;
/// Most bytes of a message's metadata, keys of pandas and `datasets` included.
const METADATA_BYTES_MAX: u64 = 256 << 20;
/// Most bytes that a compressed byte can give: zstd's, with blocks of 128 KiB of one letter.
const COMPRESSION_MAX: u64 = 40_000;

/// The format's entry in the registry.
pub struct Arrow;

impl Format for Arrow {
    fn name(&self) -> &'static str {
        "Arrow"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".arrow", ".arrows", ".feather", ".ipc"]
    }

    fn recognizes(&self, head: &Head) -> bool {
        // After the mark comes the first message: its length, then the offset of its root table.
        let is_stream = |head: &[u8]| {
            head.starts_with(&CONTINUATION)
                && head.get(4..8).is_some_and(|length| length[3] == 0 && length != [0; 4])
                && head.get(8..12).is_some_and(|place| place[1..] == [0; 3])
        };
        head.text.starts_with(FILE_MARK) || is_stream(&head.text)
    }

    fn probe(&self, file: &Stored, ask: &Ask) -> Result<Probe> {
        let mut messages = Messages::open(file, None)?;
        let schema = messages.schema()?;
        let leading = Leading::of(&schema.fields, file.path(), ask)?;
        let (columns, notices) = leading.others(&schema.fields, ask);
        // The first record batch tells how large they are.
        let mut held_bytes = 0;
        while let Some(head) = messages.next_head()? {
            held_bytes = head.body_bytes;
            if head.kind == MessageHeader::RecordBatch {
                break;
            }
            messages.pass(&head)?;
        }
        Ok(Probe {
            columns,
            layout: stream::layout(file)?,
            records: None,
            beginning: Beginning::Document,
            notices,
            held_bytes,
        })
    }

    fn count(&self, file: &Stored, _: &Probe, _: &Ask, documents_max: u64) -> Result<Limit> {
        let mut messages = Messages::open(file, None)?;
        messages.schema()?;
        let mut records: u64 = 0;
        while records < documents_max
            && let Some(head) = messages.next_head()?
        {
            records = records.saturating_add(head.rows);
            messages.pass(&head)?;
        }
        Ok(Limit { records: records.min(documents_max), end: messages.position })
    }

    fn read(&self, request: &Request<'_>) -> Result<Box<dyn Tasks>> {
        let mut messages = Messages::open(request.file, Some(request.bytes))?;
        let Declared { fields, version } = messages.schema()?;
        let leading = Leading::of(&fields, request.file.path(), request.ask)?;
        let decoder = Decoder::new(request, &fields, &leading);
        let as_bytes = fields.iter().enumerate().map(|(root, field)| {
            let inside = leading.places().filter(|place| place.root == root);
            inside.fold(strings_as_bytes(field), |field, place| inner_as_bytes(&field, place))
        });
        let schema = Schema::new(as_bytes.collect::<Vec<Arc<Field>>>());
        let projection = decoder.projection().map(|(root, _)| root).collect();
        let batches = FileDecoder::new(Arc::new(schema), version).with_projection(projection);
        debug_assert!(matches!(request.probe.layout, Layout::Whole(_)));
        Ok(Box::new(BatchTasks {
            messages,
            batches,
            decoder: Arc::new(decoder),
            pieces: VecDeque::new(),
            row: 0,
            rows_left: request.slice.records_max.unwrap_or(u64::MAX),
        }))
    }
}

/// A string column as bytes of the same layout.
fn strings_as_bytes(field: &Arc<Field>) -> Arc<Field> {
    fn bytes(kind: &DataType) -> DataType {
        match kind {
            DataType::Utf8 => DataType::Binary,
            DataType::LargeUtf8 => DataType::LargeBinary,
            DataType::Utf8View => DataType::BinaryView,
            DataType::Dictionary(key, values) => {
                DataType::Dictionary(key.clone(), Box::new(bytes(values)))
            }
            other => other.clone(),
        }
    }
    Arc::new(field.as_ref().clone().with_data_type(bytes(field.data_type())))
}

/// The string field at `place`, inside structs, as bytes of the same layout.
fn inner_as_bytes(field: &Arc<Field>, place: &Place) -> Arc<Field> {
    fn inside(field: &Arc<Field>, inner: &[String]) -> Arc<Field> {
        let (Some((name, rest)), DataType::Struct(fields)) =
            (inner.split_first(), field.data_type())
        else {
            return strings_as_bytes(field);
        };
        let below = |below: &Arc<Field>| match below.name() == name {
            true => inside(below, rest),
            false => below.clone(),
        };
        let fields: Fields = fields.iter().map(below).collect();
        Arc::new(field.as_ref().clone().with_data_type(DataType::Struct(fields)))
    }
    inside(field, &place.inner)
}

/// The record batches of a file.
struct BatchTasks {
    messages: Messages,
    batches: FileDecoder,
    decoder: Arc<Decoder>,
    /// Pieces that are decoded and not yet handed out.
    pieces: VecDeque<RecordBatch>,
    /// The file's row that the next piece begins with.
    row: u64,
    rows_left: u64,
}

impl BatchTasks {
    fn next_task(&mut self) -> Result<Option<Task>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                let (first, decoder) = (self.row, self.decoder.clone());
                self.row += piece.num_rows() as u64;
                return Ok(Some(Box::new(move || decoder.decode(&piece, first))));
            }
            if self.rows_left == 0 {
                return Ok(None);
            }
            let Some(head) = self.messages.next_head()? else { return Ok(None) };
            let (at, bytes) = (head.offset, self.messages.whole(&head)?);
            let batch = self.decode(&head, &bytes);
            let batch =
                batch.map_err(|error| Error::damaged(&self.messages.path, Some(at), error))?;
            let Some(batch) = batch else { continue };
            let rows = (batch.num_rows() as u64).min(self.rows_left) as usize;
            self.rows_left -= rows as u64;
            for start in (0..rows).step_by(BATCH_DOCUMENTS) {
                self.pieces.push_back(batch.slice(start, BATCH_DOCUMENTS.min(rows - start)));
            }
        }
    }

    /// Takes a dictionary, or gives a batch. Where arrow panics on what the file holds, as on a
    /// mistake of its own, that is damage like any other.
    fn decode(
        &mut self,
        head: &MessageHead,
        bytes: &Buffer,
    ) -> Result<Option<RecordBatch>, ArrowError> {
        check_buffers(head, bytes).map_err(ArrowError::IpcError)?;
        let block = Block::new(0, head.metadata_bytes as i32, head.body_bytes as i64);
        let batches = &mut self.batches;
        let decoded = catch_unwind(AssertUnwindSafe(|| match head.kind {
            MessageHeader::DictionaryBatch => batches.read_dictionary(&block, bytes).map(|()| None),
            _ => batches.read_record_batch(&block, bytes),
        }));
        decoded.unwrap_or_else(|_| {
            Err(ArrowError::IpcError("the decoder of Arrow gave up on this message".to_owned()))
        })
    }
}

impl Iterator for BatchTasks {
    type Item = Result<Task>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_task().transpose()
    }
}

impl Tasks for BatchTasks {
    fn ranges(&mut self) -> Vec<(Range<u64>, Fingerprint)> {
        vec![self.messages.stream.range()]
    }
}

/// The head of a message.
struct MessageHead {
    kind: MessageHeader,
    /// Offset of the message's first byte.
    offset: u64,
    /// Its mark, length and metadata.
    bytes: Vec<u8>,
    metadata_bytes: usize,
    body_bytes: u64,
    /// Rows of a record batch.
    rows: u64,
}

/// Compressed buffers begin with their decompressed size: checked before anything allocates it.
fn check_buffers(head: &MessageHead, bytes: &Buffer) -> Result<(), String> {
    let message = message_of(&head.bytes).map_err(|error| error.to_string())?;
    let batch = match head.kind {
        MessageHeader::DictionaryBatch => {
            message.header_as_dictionary_batch().and_then(|d| d.data())
        }
        _ => message.header_as_record_batch(),
    };
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else { return Ok(()) };
    let body = &bytes.as_slice()[head.metadata_bytes..];
    let mut whole: u64 = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let (at, length) = (buffer.offset(), buffer.length());
        let (Ok(at), Ok(length)) = (usize::try_from(at), u64::try_from(length)) else {
            return Err("a buffer at a negative place".to_owned());
        };
        let size = body.get(at..).and_then(|rest| rest.first_chunk::<8>());
        let Some(size) = size.filter(|_| length >= 8) else { continue };
        // -1: the buffer is not compressed.
        let size = u64::try_from(i64::from_le_bytes(*size)).unwrap_or(0);
        whole = whole.saturating_add(size);
        if size > length.saturating_mul(COMPRESSION_MAX) || whole > 4 * BATCH_BYTES_MAX {
            return Err(format!("a buffer of {length} bytes that promises {size}"));
        }
    }
    Ok(())
}

fn message_of(bytes: &[u8]) -> Result<Message<'_>, ArrowError> {
    let skip = if bytes.starts_with(&CONTINUATION) { 8 } else { 4 };
    let message = root_as_message(bytes.get(skip..).unwrap_or_default());
    message.map_err(|error| ArrowError::ParseError(error.to_string()))
}

/// The columns, and which version of the format they are in.
struct Declared {
    fields: Fields,
    version: MetadataVersion,
}

/// The messages of a stream, or of a file.
struct Messages {
    stream: Stream,
    path: PathBuf,
    /// Size of the file when it was planned.
    planned: Option<u64>,
    /// Bytes read.
    position: u64,
    is_file: bool,
}

impl Messages {
    fn open(file: &Stored, planned: Option<u64>) -> Result<Messages> {
        let (stream, path) = (Stream::open(file, 0..file.size()?)?, file.path().to_owned());
        Ok(Messages { stream, path, planned, position: 0, is_file: false })
    }

    /// Reads the first message.
    fn schema(&mut self) -> Result<Declared> {
        let mut first = self.take(4)?;
        if FILE_MARK.starts_with(&first) && first.len() == 4 {
            self.is_file = true;
            self.take(4)?;
            first = self.take(4)?;
            for _ in 0..PADDING_WORDS_MAX {
                if first != [0; 4] {
                    break;
                }
                first = self.take(4)?;
            }
        }
        let Some(head) = self.head(first)? else {
            return Err(self.damaged(0, "it has no schema".to_owned()));
        };
        let read = catch_unwind(AssertUnwindSafe(|| {
            let message = message_of(&head.bytes)?;
            let schema = message
                .header_as_schema()
                .ok_or_else(|| ArrowError::IpcError("its first message is no schema".to_owned()))?;
            if schema.endianness() != Endianness::Little {
                let message = "it was written on a big-endian machine".to_owned();
                return Err(ArrowError::IpcError(message));
            }
            Ok((try_fb_to_schema(schema)?, message.version()))
        }));
        match read {
            Ok(Ok((schema, version))) => {
                self.pass(&head)?;
                Ok(Declared { fields: schema.fields().clone(), version })
            }
            Ok(Err(error)) => Err(self.damaged(head.offset, error.to_string())),
            Err(_) => {
                let message = "the decoder of Arrow gave up on its schema".to_owned();
                Err(self.damaged(head.offset, message))
            }
        }
    }

    /// The next message's head; `None` at the end, which is checked.
    fn next_head(&mut self) -> Result<Option<MessageHead>> {
        let first = self.take(4)?;
        self.head(first)
    }

    /// Reads the rest of a head whose first four bytes are known.
    fn head(&mut self, first: Vec<u8>) -> Result<Option<MessageHead>> {
        let offset = self.position - first.len() as u64;
        let mut bytes = first;
        if bytes.len() < 4 {
            let message = "it ends before its end mark".to_owned();
            return Err(self.damaged(self.position, message));
        }
        if bytes == CONTINUATION {
            let length = self.take(4)?;
            bytes.extend(length);
        }
        let length = bytes.last_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length));
        if length == 0 {
            return self.check_end().map(|()| None);
        }
        if u64::from(length) > METADATA_BYTES_MAX {
            let found = look::excerpt(&bytes);
            return Err(self.damaged(offset, format!("expected a message, found {found}")));
        }
        let metadata = self.take(u64::from(length))?;
        bytes.extend(metadata);
        let message = message_of(&bytes);
        let message = message.map_err(|error| self.damaged(offset, error.to_string()))?;
        let rows = message.header_as_record_batch().map_or(0, |batch| batch.length());
        let (kind, body) = (message.header_type(), message.bodyLength());
        let (Ok(rows), Ok(body_bytes)) = (u64::try_from(rows), u64::try_from(body)) else {
            return Err(self.damaged(offset, "a message of a negative size".to_owned()));
        };
        let metadata_bytes = bytes.len();
        Ok(Some(MessageHead { kind, offset, bytes, metadata_bytes, body_bytes, rows }))
    }

    /// A message with its body.
    fn whole(&mut self, head: &MessageHead) -> Result<Buffer> {
        if head.body_bytes > BATCH_BYTES_MAX {
            let (path, size) = (self.path.display(), Bytes(head.body_bytes));
            let message = format!("`{path}` has a record batch of {size} at byte {}", head.offset);
            return Err(Error::failed(message).with_hint(
                "batches over 1 GiB are not held: write it again with fewer rows in each, or as \
                 Parquet",
            ));
        }
        let mut bytes = head.bytes.clone();
        bytes.extend(self.take(head.body_bytes)?);
        match bytes.len() as u64 == head.metadata_bytes as u64 + head.body_bytes {
            true => Ok(Buffer::from_vec(bytes)),
            false => Err(self.damaged(self.position, "it ends inside a message".to_owned())),
        }
    }

    /// Reads past a message's body.
    fn pass(&mut self, head: &MessageHead) -> Result<()> {
        let mut left = head.body_bytes;
        while left > 0 {
            let read = self.take(left.min(1 << 20))?.len() as u64;
            if read == 0 {
                return Err(self.damaged(self.position, "it ends inside a message".to_owned()));
            }
            left -= read;
        }
        Ok(())
    }

    /// Up to `wanted` bytes: fewer only where there are no more. Memory follows what comes, not
    /// what a length promises.
    fn take(&mut self, wanted: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.stream.by_ref().take(wanted).read_to_end(&mut bytes);
        if let Some(planned) = self.planned {
            self.stream.check_end(&self.path, planned)?;
        }
        read.map_err(|error| self.stream.refused(&self.path, error))?;
        self.position += bytes.len() as u64;
        Ok(bytes)
    }

    /// Checks what follows the end mark: nothing in a stream, a footer and the mark in a file.
    fn check_end(&mut self) -> Result<()> {
        let (at, mut tail) = (self.position, Vec::new());
        loop {
            let more = self.take(1 << 16)?;
            if more.is_empty() {
                break;
            }
            tail.extend(more);
            tail.drain(..tail.len().saturating_sub(FILE_MARK.len()));
        }
        match (self.is_file, tail.is_empty(), tail.ends_with(&FILE_MARK[..6])) {
            (true, _, true) | (false, true, _) => Ok(()),
            (true, ..) => Err(self.damaged(self.position, "it ends before its footer".to_owned())),
            (false, ..) => {
                let message = format!("something follows its end mark: {}", look::excerpt(&tail));
                Err(self.damaged(at, message))
            }
        }
    }

    fn damaged(&self, offset: u64, message: String) -> Error {
        Error::damaged(&self.path, Some(offset), message)
    }
}
