//! JSON lines, plain or compressed.
//!
//! One object a line; the text and the id are taken out, the other fields become one JSON string,
//! `metadata`. A byte order mark is stripped, CRLF is a line end, blank lines are passed over, the
//! last line needs no newline, and a field named twice counts as its last value. The producer
//! reads, decompresses and cuts blocks of lines; workers parse them. A plain file can be cut at any
//! byte. A file whose beginning is something else than JSON Lines is refused.

use std::io::Read;
use std::ops::Range as Span;
use std::path::PathBuf;
use std::sync::Arc;

use super::documents::{Documents, Shape};
use super::lines::{BLOCK_BYTES, Block, Blocks, Range, is_blank, lines};
use super::objects::{self, BYTE_ORDER_MARK, Beginnings, Objects};
use super::pieces::{BEGINNING_BYTES, BEGINNING_STEP};
use super::record::Record;
use super::stream::{self, Compression, Stream, head};
use super::{Ask, Beginning, Decoded, Format, Layout, Limit, Probe, Request, Task, Tasks};
use crate::artifact::record::Extent;
use crate::base::error::Result;
use crate::base::hash::Fingerprint;
use crate::source::look;
use crate::store::Stored;

/// The format's entry in the registry.
pub struct JsonLines;

impl Format for JsonLines {
    fn name(&self) -> &'static str {
        "JSON lines"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".jsonl", ".ndjson"]
    }

    fn probe(&self, file: &Stored, ask: &Ask) -> Result<Probe> {
        let layout = match Compression::of(&head(file)?) {
            Compression::Plain => Layout::Bytes(file.size()?),
            _ => stream::layout(file)?,
        };
        Ok(Probe {
            columns: objects::columns(ask),
            layout,
            beginning: beginning(file, ask)?,
            ..Probe::default()
        })
    }

    fn count(&self, file: &Stored, _: &Probe, _: &Ask, documents_max: u64) -> Result<Limit> {
        let range = Range {
            start: 0,
            end: u64::MAX,
            // Only newlines are counted here, so no line needs to be held.
            line_bytes_max: BLOCK_BYTES,
            lines_max: Some(documents_max),
        };
        let mut blocks = Blocks::new(Stream::open(file, 0..file.size()?)?, range, BLOCK_BYTES);
        let mut limit = Limit { records: 0, end: 0 };
        loop {
            let block = blocks.next_block();
            match block.map_err(|error| blocks.input().refused(file.path(), error))? {
                None => return Ok(limit),
                Some(Block::TooLong { .. }) => limit.records += 1,
                Some(Block::Lines { bytes, .. }) => {
                    limit.records +=
                        lines(&bytes).filter(|(_, line)| !is_blank(line)).count() as u64;
                }
            }
            limit.end = blocks.offset();
        }
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
        let stream = Stream::open(request.file, start.saturating_sub(1)..end.min(request.bytes))?;
        let (objects, shape) = (Objects::new(request, "line"), objects::shape(request));
        Ok(Box::new(LineTasks {
            path: request.file.path().to_owned(),
            bytes: request.bytes,
            blocks: Blocks::new(stream, range, BLOCK_BYTES),
            parser: Arc::new(Parser { objects, shape }),
        }))
    }
}

/// The blocks of one slice of a file.
struct LineTasks {
    path: PathBuf,
    /// Size of the file when it was planned.
    bytes: u64,
    blocks: Blocks<Stream>,
    parser: Arc<Parser>,
}

impl Iterator for LineTasks {
    type Item = Result<Task>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.blocks.next_block();
        let stream = self.blocks.input();
        if let Err(error) = stream.check_end(&self.path, self.bytes) {
            return Some(Err(error));
        }
        let block = match block {
            Ok(block) => block?,
            Err(error) => return Some(Err(stream.refused(&self.path, error))),
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
    objects: Objects,
    shape: Shape,
}

impl Parser {
    fn parse(&self, block: Block) -> Vec<Decoded> {
        let mut documents = Documents::new(&self.shape);
        let (offset, bytes) = match block {
            Block::Lines { offset, bytes } => (offset, bytes),
            Block::TooLong { offset } => {
                documents.reject(self.objects.too_large(offset));
                return documents.finish();
            }
        };
        let mut record = Record::default();
        // One check of the whole block is cheaper than one a line, and seldom fails.
        let text = std::str::from_utf8(&bytes).ok();
        for (at, line) in lines(&bytes) {
            documents.pass(line.len() as u64 + 1);
            // A byte order mark may open a file, or a line where files were put together.
            let bom = usize::from(line.starts_with(BYTE_ORDER_MARK)) * BYTE_ORDER_MARK.len();
            let line = &line[bom..];
            if is_blank(line) {
                continue;
            }
            let text = text.map(|text| &text[at + bom..at + bom + line.len()]);
            self.objects.parse(offset + at as u64, line, text, (&mut record, &mut documents));
        }
        documents.finish()
    }
}

/// Whether bytes begin as a JSON object or list does, in any encoding of Unicode.
pub fn begins_as_json(head: &[u8]) -> bool {
    let ascii = |byte: &&u8| !matches!(**byte, 0 | 0xef | 0xbb | 0xbf | 0xfe | 0xff | b' '..=b' ');
    let first = head.iter().filter(ascii).find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'{' | b'['))
}

/// Reads on until the first document, [`BEGINNING_BYTES`] at most. A stream that cannot be
/// decompressed is left to the file's reader.
pub(super) fn beginning(file: &Stored, ask: &Ask) -> Result<Beginning> {
    let (mut stream, mut seen) = (Stream::open(file, 0..BEGINNING_BYTES)?, Beginnings::new(ask));
    let (mut block, mut done, step) = (Vec::new(), 0, BEGINNING_STEP as u64);
    loop {
        let before = block.len();
        if stream.by_ref().take(step).read_to_end(&mut block).is_err() {
            return Ok(Beginning::Unclear);
        }
        let at_end = ((block.len() - before) as u64) < step;
        let whole = match at_end {
            true => block.len(),
            false => memchr::memrchr(b'\n', &block).map_or(done, |newline| newline + 1),
        };
        let mut new = lines(&block[done.min(whole)..whole]);
        if new.any(|(at, line)| seen.is_document((done + at) as u64, line)) {
            return Ok(Beginning::Document);
        }
        done = whole.max(done);
        if at_end || block.len() as u64 >= BEGINNING_BYTES {
            return Ok(seen.without_text().unwrap_or_else(|| without_objects(&block, at_end)));
        }
    }
}

/// What a beginning without objects is.
fn without_objects(block: &[u8], is_all: bool) -> Beginning {
    if is_all && is_blank(block.strip_prefix(BYTE_ORDER_MARK).unwrap_or(block)) {
        return Beginning::Blank;
    }
    let look = look::of_file(block, is_all);
    look.map_or(Beginning::Unclear, |look| Beginning::Other(0, look))
}
