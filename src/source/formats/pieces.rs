//! Bytes → records that any scanner finds, in blocks, in bounded memory; and their parsing as
//! tasks.
//!
//! In → a stream and a [`Scan`], which is shown the bytes once, in order, and says where records
//! begin and end; out → [`Block`]s of whole records. A record longer than the limit is read past
//! without being held. The producer reads, decompresses and scans; workers parse what was found
//! ([`Parse`]). It is what JSON arrays, CSV, text and WARC share: formats that cannot be cut at any
//! byte, because only their beginning tells what a byte means. Memory: two blocks and one record.

use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::documents::{Documents, Shape};
use super::lines::{BLOCK_BYTES, make_room};
use super::stream::Stream;
use super::{Limit, Request, Task, Tasks};
use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::store::Stored;

/// How much of a file's beginning is looked at, and in which steps: one record of nearly every file
/// suffices.
pub(super) const BEGINNING_BYTES: u64 = 1 << 20;
pub(super) const BEGINNING_STEP: usize = 64 << 10;

/// Finds records in bytes that it sees once, in order.
pub(super) trait Scan: Send {
    /// Reads on through `bytes`, which lie at `offset` of the stream; `found` gets each record that
    /// ends in them.
    fn scan(
        &mut self,
        bytes: &[u8],
        offset: u64,
        found: &mut Vec<Range<u64>>,
    ) -> Result<(), Broken>;

    /// The record that ends where the stream does, at `offset`.
    fn end(&mut self, offset: u64) -> Result<Option<Range<u64>>, Broken>;

    /// Where the record begins that is being read; bytes before it are needed no more.
    fn open(&self) -> Option<u64>;
}

/// Makes a record a document, or says why it is none.
pub(super) trait Parse: Send + Sync {
    /// `bytes`: the record at `offset`; `None` where it is longer than the limit.
    fn parse(&mut self, offset: u64, bytes: Option<&[u8]>, documents: &mut Documents<'_>);
}

/// The stream breaks its format here: records after this place cannot be told apart.
#[derive(Debug)]
pub(super) struct Broken {
    pub offset: u64,
    pub message: String,
}

/// Whole records that follow each other.
pub(super) struct Block {
    /// Where `bytes` begin in the stream.
    offset: u64,
    bytes: Vec<u8>,
    /// Ranges of the stream; records outside `bytes` were read past.
    records: Vec<Range<u64>>,
    /// Bytes of the stream that this block accounts for.
    input_bytes: u64,
}

impl Block {
    /// Each record's place, and its bytes unless they were read past.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, Option<&[u8]>)> {
        self.records.iter().map(|record| {
            let at = |place: u64| place.checked_sub(self.offset).map(|at| at as usize);
            let bytes = at(record.start).and_then(|start| self.bytes.get(start..at(record.end)?));
            (record.start, bytes)
        })
    }
}

/// What is read, and the limits.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub block_bytes: usize,
    /// A longer record is read past.
    pub record_bytes_max: u64,
    pub records_max: Option<u64>,
    /// Reading stops after so many bytes.
    pub bytes_max: u64,
}

/// An iterator over blocks of records.
pub(super) struct Pieces<S> {
    stream: Stream,
    path: PathBuf,
    /// Size of the file when it was planned; `None` where there was no plan.
    planned: Option<u64>,
    scan: S,
    limits: Limits,
    /// Bytes read and not handed out; `offset` is the first one's place.
    buffer: Vec<u8>,
    offset: u64,
    /// Offsets up to which records were handed out, and up to which bytes were read.
    done: u64,
    position: u64,
    at_end: bool,
}

impl<S: Scan> Pieces<S> {
    pub(super) fn open(file: &Stored, scan: S, limits: Limits) -> Result<Pieces<S>> {
        let end = file.size()?.min(limits.bytes_max);
        Ok(Pieces {
            stream: Stream::open(file, 0..end)?,
            path: file.path().to_owned(),
            planned: None,
            scan,
            limits,
            buffer: Vec::new(),
            offset: 0,
            done: 0,
            position: 0,
            at_end: false,
        })
    }

    /// Where the last record handed out ended.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// The next block, or `None` at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>> {
        let mut records = Vec::new();
        while records.is_empty() {
            let is_over = self.position >= self.limits.bytes_max;
            if self.at_end || is_over || self.limits.records_max == Some(0) {
                return Ok(None);
            }
            self.drop_unneeded();
            let read = self.fill()?;
            let bytes = &self.buffer[self.buffer.len() - read..];
            let scanned = self.scan.scan(bytes, self.position, &mut records);
            self.position += read as u64;
            let ended = match (scanned, self.at_end) {
                (Ok(()), true) => self.scan.end(self.position),
                (scanned, _) => scanned.map(|()| None),
            };
            let last = ended.map_err(|broken| {
                Error::damaged(&self.path, Some(broken.offset), broken.message)
            })?;
            records.extend(last);
        }
        if let Some(left) = self.limits.records_max {
            records.truncate(left.min(usize::MAX as u64) as usize);
            self.limits.records_max = Some(left - records.len() as u64);
        }
        Ok(Some(self.cut(records)))
    }

    /// Drops what no record needs: bytes between records, and those of one that grew too long.
    fn drop_unneeded(&mut self) {
        let open = self.scan.open().unwrap_or(self.position);
        let is_long = self.position - open > self.limits.record_bytes_max;
        let keep_from = if is_long { self.position } else { open };
        let drop = (keep_from - self.offset).min(self.buffer.len() as u64);
        self.buffer.drain(..drop as usize);
        self.offset += drop;
    }

    /// Reads one more block's worth.
    fn fill(&mut self) -> Result<usize> {
        let block_bytes = self.limits.block_bytes;
        let wanted = block_bytes as u64;
        let most = (self.limits.record_bytes_max as usize).saturating_add(2 * block_bytes);
        make_room(&mut self.buffer, block_bytes, most);
        let read = self.stream.by_ref().take(wanted).read_to_end(&mut self.buffer);
        if let Some(planned) = self.planned {
            self.stream.check_end(&self.path, planned)?;
        }
        let read = read.map_err(|error| self.stream.refused(&self.path, error))?;
        self.at_end = (read as u64) < wanted;
        Ok(read)
    }

    /// The buffer up to the end of `records`, of which there is one at least.
    fn cut(&mut self, records: Vec<Range<u64>>) -> Block {
        let end = records[records.len() - 1].end;
        let tail = self.buffer.split_off((end - self.offset) as usize);
        let bytes = std::mem::replace(&mut self.buffer, tail);
        let block = Block { offset: self.offset, bytes, records, input_bytes: end - self.done };
        (self.offset, self.done) = (end, end);
        block
    }
}

/// How many records to read so that they are `documents_max` at most.
pub(super) fn count<S: Scan>(file: &Stored, scan: S, documents_max: u64) -> Result<Limit> {
    let limits = Limits {
        block_bytes: BLOCK_BYTES,
        // Nothing is parsed, so no record needs to be held.
        record_bytes_max: BLOCK_BYTES as u64,
        records_max: Some(documents_max),
        bytes_max: u64::MAX,
    };
    let mut pieces = Pieces::open(file, scan, limits)?;
    let mut limit = Limit { records: 0, end: 0 };
    while let Some(block) = pieces.next_block()? {
        limit.records += block.records.len() as u64;
        limit.end = pieces.done();
    }
    Ok(limit)
}

/// The records of a file as tasks: `parse` makes them documents of this shape.
pub(super) fn tasks<S: Scan + 'static, P: Parse + Clone + 'static>(
    request: &Request<'_>,
    scan: S,
    parse: P,
    shape: Shape,
) -> Result<Box<dyn Tasks>> {
    let limits = Limits {
        block_bytes: BLOCK_BYTES,
        record_bytes_max: request.document_bytes_max,
        records_max: request.slice.records_max,
        bytes_max: u64::MAX,
    };
    let mut pieces = Pieces::open(request.file, scan, limits)?;
    pieces.planned = Some(request.bytes);
    Ok(Box::new(PieceTasks { pieces, parse, shape: Arc::new(shape) }))
}

struct PieceTasks<S, P> {
    pieces: Pieces<S>,
    parse: P,
    shape: Arc<Shape>,
}

impl<S: Scan, P: Parse + Clone + 'static> Iterator for PieceTasks<S, P> {
    type Item = Result<Task>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = match self.pieces.next_block() {
            Ok(block) => block?,
            Err(error) => return Some(Err(error)),
        };
        let (mut parse, shape) = (self.parse.clone(), self.shape.clone());
        Some(Ok(Box::new(move || {
            let mut documents = Documents::new(&shape);
            documents.pass(block.input_bytes);
            for (offset, bytes) in block.records() {
                parse.parse(offset, bytes, &mut documents);
            }
            Ok(documents.finish())
        })))
    }
}

impl<S: Scan, P: Parse + Clone + 'static> Tasks for PieceTasks<S, P> {
    fn ranges(&mut self) -> Vec<(Range<u64>, Fingerprint)> {
        vec![self.pieces.stream.range()]
    }
}

/// Looks at the records in the first mebibyte until `see` knows what the file is.
pub(super) fn beginning<S: Scan, T>(
    file: &Stored,
    scan: S,
    mut see: impl FnMut(u64, Option<&[u8]>) -> Option<T>,
) -> Result<Option<T>> {
    let limits = Limits {
        block_bytes: BEGINNING_STEP,
        record_bytes_max: BEGINNING_BYTES,
        records_max: None,
        bytes_max: BEGINNING_BYTES,
    };
    let mut pieces = Pieces::open(file, scan, limits)?;
    loop {
        let Some(block) = pieces.next_block()? else { return Ok(None) };
        if let Some(found) = block.records().find_map(|(offset, bytes)| see(offset, bytes)) {
            return Ok(Some(found));
        }
    }
}

/// What was seen of a beginning; one that is broken is left to the file's reader.
pub(super) fn unless_broken<T>(seen: Result<Option<T>>) -> Result<Option<T>> {
    match seen {
        Err(Error::Damaged { .. }) => Ok(None),
        seen => seen,
    }
}
