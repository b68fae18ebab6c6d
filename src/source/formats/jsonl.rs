//! JSON lines: plain, gzip (all members) and zstd (all frames), recognised by their first bytes.
//!
//! One object a line; the text and the id are taken out, the other fields become one JSON string,
//! `metadata`. A byte order mark is stripped, CRLF is a line end, blank lines are passed over, the
//! last line needs no newline, and a field named twice counts as its last value. The producer
//! reads, decompresses and cuts blocks of lines; workers parse them. A stream that ends inside a
//! gzip member or zstd frame is a damaged file: what came before it is never passed off as whole.
//! bzip2, xz and the like are refused by name, and so is a file whose beginning is something else
//! than JSON Lines.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range as Span;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, StringBuilder, new_null_array};
use arrow::datatypes::DataType;

use super::gzip::Members;
use super::lines::{BLOCK_BYTES, Block, Blocks, Range, is_blank, lines};
use super::record::{self, Fields, Record};
use super::{
    Ask, BATCH_DOCUMENTS, BATCH_TEXT_BYTES, Beginning, Decoded, Format, Layout, Limit, Probe,
    Request, Task, Tasks, head,
};
use crate::artifact::{planned::size_differs, record::Extent};
use crate::base::error::{Error, Result};
use crate::base::hash::{Fingerprint, Hasher};
use crate::base::io::{open, size};
use crate::base::size::Bytes;
use crate::source::look;
use crate::source::reject::{Reason, Reject};
use std::fs::File;

/// The column that holds the fields beside id and text, as one JSON object.
pub const METADATA: &str = "metadata";

/// Text in a compressed file, as a multiple of its size: what web text gives with gzip and zstd.
const TEXT_PER_COMPRESSED: u64 = 4;

/// The largest zstd window that is accepted: 2^31 bytes, what `zstd --long=31` writes.
const WINDOW_LOG_MAX: u32 = 31;

/// How much of a file's beginning is searched for a first document, and in which steps: one line
/// of nearly every file suffices.
const FIRST_BYTES: usize = 1 << 20;
const FIRST_STEP: u64 = 64 << 10;

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The format's entry in the registry.
pub struct JsonLines;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Format for JsonLines {
    fn name(&self) -> &'static str {
        "JSON lines"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[
            ".jsonl",
            ".ndjson",
            ".jsonl.gz",
            ".ndjson.gz",
            ".json.gz",
            ".jsonl.zst",
            ".ndjson.zst",
            ".json.zst",
            ".jsonl.zstd",
            ".ndjson.zstd",
            ".json.zstd",
        ]
    }

    fn recognizes(&self, head: &[u8]) -> bool {
        compression(head) != Compression::Plain
    }

    fn probe(&self, path: &Path, ask: &Ask) -> Result<Probe> {
        let bytes = size(path)?;
        let layout = match compression_of(path)? {
            Compression::Plain => Layout::Bytes(bytes),
            Compression::Gzip | Compression::Zstd => {
                Layout::Whole(bytes.saturating_mul(TEXT_PER_COMPRESSED))
            }
        };
        let columns = vec![(METADATA.to_owned(), DataType::Utf8)];
        Ok(Probe {
            columns,
            layout,
            records: None,
            beginning: beginning(path, ask)?,
            notices: Vec::new(),
        })
    }

    fn count(&self, path: &Path, _: &Probe, documents_max: u64) -> Result<Limit> {
        let range = Range {
            start: 0,
            end: u64::MAX,
            // Only newlines are counted here, so no line needs to be held.
            line_bytes_max: BLOCK_BYTES,
            lines_max: Some(documents_max),
        };
        let mut blocks = Blocks::new(input(path, 0)?, range, BLOCK_BYTES);
        let mut limit = Limit { records: 0, end: 0 };
        while let Some(block) = blocks.next_block().map_err(|error| refused(path, error))? {
            match block {
                Block::TooLong { .. } => limit.records += 1,
                Block::Lines { bytes, .. } => {
                    limit.records +=
                        lines(&bytes).filter(|(_, line)| !is_blank(line)).count() as u64;
                }
            }
            limit.end = blocks.offset();
        }
        Ok(limit)
    }

    fn read(&self, request: &Request<'_>) -> Result<Box<dyn Tasks>> {
        let (start, end) = match &request.slice.extent {
            Extent::Bytes(bytes) => (bytes.start, bytes.end),
            Extent::Whole => (0, u64::MAX),
            Extent::RowGroups(_) => unreachable!("JSON lines have no row groups"),
        };
        let range = Range {
            start,
            end,
            line_bytes_max: request.document_bytes_max as usize,
            lines_max: request.slice.records_max,
        };
        let input = input(request.path, start.saturating_sub(1))?;
        Ok(Box::new(LineTasks {
            path: request.path.to_owned(),
            bytes: request.bytes,
            blocks: Blocks::new(input, range, BLOCK_BYTES),
            parser: Arc::new(Parser::new(request)),
        }))
    }
}

/// The blocks of one slice of a file.
struct LineTasks {
    path: PathBuf,
    /// Size of the file when it was planned.
    bytes: u64,
    blocks: Blocks<Input>,
    parser: Arc<Parser>,
}

impl Iterator for LineTasks {
    type Item = Result<Task>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.blocks.next_block();
        // What ends somewhere else than planned was cut or continued while it was read: its last
        // line is none, and what is missing must not pass for a shorter file.
        let raw = self.blocks.input().raw();
        if raw.is_at_end && raw.end != self.bytes {
            return Some(Err(size_differs(&self.path, self.bytes, Some(raw.end))));
        }
        let block = match block {
            Ok(block) => block?,
            Err(error) => return Some(Err(refused(&self.path, error))),
        };
        let parser = self.parser.clone();
        Some(Ok(Box::new(move || Ok(parser.parse(block)))))
    }
}

impl Tasks for LineTasks {
    fn ranges(&mut self) -> Vec<(Span<u64>, Fingerprint)> {
        vec![self.blocks.input().range()]
    }
}

/// What a worker does with a block of lines.
struct Parser {
    fields: Fields,
    columns: Vec<(String, DataType)>,
    document_bytes_max: u64,
}

impl Parser {
    fn new(request: &Request<'_>) -> Parser {
        let metadata = request.columns.iter().any(|(name, _)| name == METADATA);
        let (text, id) = (request.ask.text_column.clone(), request.ask.id_name().to_owned());
        Parser {
            fields: Fields { text, id, metadata },
            columns: request.columns.to_vec(),
            document_bytes_max: request.document_bytes_max,
        }
    }

    fn parse(&self, block: Block) -> Vec<Decoded> {
        let (offset, bytes) = match block {
            Block::Lines { offset, bytes } => (offset, bytes),
            Block::TooLong { offset } => {
                let mut documents = Documents::default();
                documents.rejects.push(self.too_large(offset));
                return vec![documents.finish(&self.columns)];
            }
        };
        let mut decoded = Vec::new();
        let mut documents = Documents::default();
        let mut record = Record::default();
        // One check of the whole block is cheaper than one a line, and seldom fails.
        let text = std::str::from_utf8(&bytes).ok();
        for (at, line) in lines(&bytes) {
            let row = offset + at as u64;
            documents.input_bytes += line.len() as u64 + 1;
            // A byte order mark may open a file, or a line where files were put together.
            let bom = usize::from(line.starts_with(BYTE_ORDER_MARK)) * BYTE_ORDER_MARK.len();
            let line = &line[bom..];
            if is_blank(line) {
                continue;
            }
            let text = text.map(|text| &text[at + bom..at + bom + line.len()]);
            match self.parse_line(line, text, &mut record) {
                Ok(()) => documents.push(row, &record),
                Err(reason) => documents.rejects.push(self.reject(row, line, reason)),
            }
            if documents.is_full() {
                decoded.push(std::mem::take(&mut documents).finish(&self.columns));
            }
        }
        if !documents.is_empty() {
            decoded.push(documents.finish(&self.columns));
        }
        decoded
    }

    /// `text` is the line where its block is known to be UTF-8.
    fn parse_line(
        &self,
        line: &[u8],
        text: Option<&str>,
        record: &mut Record,
    ) -> Result<(), Reason> {
        if line.len() as u64 > self.document_bytes_max {
            return Err(Reason::DocumentTooLarge);
        }
        let text = match text {
            Some(text) => text,
            None => std::str::from_utf8(line).map_err(|_| look::of_line(line))?,
        };
        record.parse(text, &self.fields)
    }

    fn reject(&self, offset: u64, line: &[u8], reason: Reason) -> Reject {
        match reason {
            Reason::DocumentTooLarge => self.too_large(offset),
            Reason::MissingText => {
                let fields = quoted(&record::fields(line));
                let text = &self.fields.text;
                Reject::new(offset, reason, format!("an object without `{text}`, with {fields}"))
            }
            _ => Reject::new(offset, reason, format!("{}: {}", reason.what(), look::excerpt(line))),
        }
    }

    fn too_large(&self, offset: u64) -> Reject {
        let found = format!("a line longer than {}", Bytes(self.document_bytes_max));
        Reject::new(offset, Reason::DocumentTooLarge, found)
    }
}

/// Names for a message: the first twenty.
pub fn quoted(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(20) {
        0 if shown.is_empty() => "no field".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Documents on their way into arrays.
#[derive(Default)]
struct Documents {
    texts: StringBuilder,
    ids: StringBuilder,
    metadata: StringBuilder,
    rows: Vec<u64>,
    rejects: Vec<Reject>,
    input_bytes: u64,
}

impl Documents {
    fn push(&mut self, row: u64, record: &Record) {
        self.texts.append_value(record.text());
        self.ids.append_option(record.id());
        self.metadata.append_option(record.metadata());
        self.rows.push(row);
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.rejects.is_empty()
    }

    fn is_full(&self) -> bool {
        self.rows.len() == BATCH_DOCUMENTS || self.texts.values_slice().len() >= BATCH_TEXT_BYTES
    }

    fn finish(mut self, columns: &[(String, DataType)]) -> Decoded {
        let metadata: StringArray = self.metadata.finish();
        let column = |(name, data_type): &(String, DataType)| -> ArrayRef {
            match name == METADATA {
                true => Arc::new(metadata.clone()),
                false => new_null_array(data_type, self.rows.len()),
            }
        };
        Decoded {
            texts: self.texts.finish(),
            ids: Some(self.ids.finish()),
            columns: columns.iter().map(column).collect(),
            rows: self.rows,
            rejects: self.rejects,
            input_bytes: self.input_bytes,
        }
    }
}

/// A file that is decompressed as it is read, and hashed as it lies on the disk.
enum Input {
    Plain(HashingReader),
    Gzip(Box<Members<BufReader<HashingReader>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<HashingReader>>>),
}

impl Input {
    fn raw(&self) -> &HashingReader {
        match self {
            Input::Plain(raw) => raw,
            Input::Gzip(decoder) => decoder.get_ref().get_ref(),
            Input::Zstd(decoder) => decoder.get_ref().get_ref(),
        }
    }

    /// Which bytes of the file were read, and their hash.
    fn range(&self) -> (Span<u64>, Fingerprint) {
        let raw = self.raw();
        (raw.start..raw.end, raw.hasher.finish())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Plain(raw) => raw.read(buffer),
            Input::Gzip(decoder) => decoder.read(buffer),
            Input::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Opens `path` at byte `start`, which is 0 for compressed files.
fn input(path: &Path, start: u64) -> Result<Input> {
    let compression = compression_of(path)?;
    let mut file = open(path)?;
    file.seek(SeekFrom::Start(start)).map_err(Error::io("read", path))?;
    let raw = HashingReader { file, start, end: start, hasher: Hasher::new(), is_at_end: false };
    let buffered = |raw| BufReader::with_capacity(1 << 20, raw);
    Ok(match compression {
        Compression::Plain => Input::Plain(raw),
        Compression::Gzip => Input::Gzip(Box::new(Members::new(buffered(raw)))),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(buffered(raw));
            let mut decoder = decoder.map_err(Error::io("read", path))?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(Error::io("read", path))?;
            Input::Zstd(Box::new(decoder))
        }
    })
}

struct HashingReader {
    file: File,
    start: u64,
    end: u64,
    hasher: Hasher,
    /// Whether the file had no more bytes.
    is_at_end: bool,
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.is_at_end |= read == 0 && !buffer.is_empty();
        self.hasher.update(&buffer[..read]);
        self.end += read as u64;
        Ok(read)
    }
}

fn compression_of(path: &Path) -> Result<Compression> {
    Ok(compression(&head(path)?))
}

/// By the first bytes, as the formats' specifications give them.
fn compression(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame: `pzstd` puts them first.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::Plain,
    }
}

/// Whether a name promises JSON that may be JSON Lines, or one value over many lines.
pub fn is_plain_json(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".json")
}

/// Whether bytes begin as a JSON object or list does, in any encoding of Unicode.
pub fn begins_as_json(head: &[u8]) -> bool {
    let ascii = |byte: &&u8| !matches!(**byte, 0 | 0xef | 0xbb | 0xbf | 0xfe | 0xff | b' '..=b' ');
    let first = head.iter().filter(ascii).find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'{' | b'['))
}

/// Why a `.json` in a folder holds no documents; `None` when it does.
pub fn why_no_text(path: &Path, text_column: &str) -> Result<Option<String>> {
    let ask = Ask { text_column: text_column.to_owned(), id_column: None };
    Ok(match beginning(path, &ask)? {
        Beginning::Document => None,
        Beginning::Blank => Some("empty".to_owned()),
        Beginning::Other(_, look) => Some(look.found),
        Beginning::NoText(_, fields) => {
            Some(format!("its objects have no `{text_column}`, but {}", quoted(&fields)))
        }
        Beginning::Unclear => Some("no JSON Lines".to_owned()),
    })
}

/// Reads on until a document comes, [`FIRST_BYTES`] at most. A stream that cannot be decompressed
/// is left to whoever reads it.
fn beginning(path: &Path, ask: &Ask) -> Result<Beginning> {
    let mut input = input(path, 0)?;
    let fields = Fields { text: ask.text_column.clone(), id: String::new(), metadata: false };
    let (mut block, mut record) = (Vec::new(), Record::default());
    let (mut done, mut no_text) = (0, None);
    loop {
        let before = block.len();
        if input.by_ref().take(FIRST_STEP).read_to_end(&mut block).is_err() {
            return Ok(Beginning::Unclear);
        }
        let at_end = ((block.len() - before) as u64) < FIRST_STEP;
        let whole = match at_end {
            true => block.len(),
            false => memchr::memrchr(b'\n', &block).map_or(done, |newline| newline + 1),
        };
        for (at, line) in lines(&block[done.min(whole)..whole]) {
            let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            match std::str::from_utf8(line).map(|text| record.parse(text, &fields)) {
                // Also null and other types: there is the field.
                Ok(Ok(()) | Err(Reason::NullText | Reason::TextNotAString)) => {
                    return Ok(Beginning::Document);
                }
                Ok(Err(Reason::MissingText)) if no_text.is_none() => {
                    no_text = Some(Beginning::NoText((done + at) as u64, record::fields(line)));
                }
                _ => {}
            }
        }
        done = whole.max(done);
        if at_end || block.len() >= FIRST_BYTES {
            return Ok(no_text.unwrap_or_else(|| without_objects(&block, at_end)));
        }
    }
}

/// What a beginning is that holds no object.
fn without_objects(block: &[u8], is_all: bool) -> Beginning {
    if is_all && is_blank(block.strip_prefix(BYTE_ORDER_MARK).unwrap_or(block)) {
        return Beginning::Blank;
    }
    let look = look::of_file(block, is_all);
    look.map_or(Beginning::Unclear, |look| Beginning::Other(0, look))
}

/// A decoder's complaint means a damaged file; the system's own means that it could not be read.
fn refused(path: &Path, error: io::Error) -> Error {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    match error.kind() {
        UnexpectedEof => Error::damaged(path, None, "the compressed data end too early"),
        InvalidData | InvalidInput | Other => Error::damaged(path, None, error),
        _ => Error::io("read", path)(error),
    }
}
