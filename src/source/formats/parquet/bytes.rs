//! Where the bytes of a Parquet file come from: its footer, parts of it in memory, and a hash over
//! what was read.
//!
//! In → a file here or elsewhere; out → readers that the crate `parquet` takes. The footer of a
//! remote file is read by one request for its last [`TAIL_BYTES`], and a second one where it is
//! longer.

use std::fs::File;
use std::io::Read;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use parquet::errors::ParquetError;
use parquet::file::FOOTER_SIZE;
use parquet::file::reader::{ChunkReader, Length};

use crate::base::error::Result;
use crate::base::hash::{Fingerprint, Hasher};
use crate::base::io;
use crate::store::Stored;

/// Bytes of the first request: the footers of most files fit, and so few cost only a round trip.
const TAIL_BYTES: u64 = 64 << 10;

/// A file, to read its footer from.
pub(super) enum Ends {
    Here(File),
    There(Window),
}

impl Ends {
    pub(super) fn of(file: &Stored) -> Result<Ends> {
        match file.here() {
            Some(path) => Ok(Ends::Here(io::open(path)?)),
            None => Ok(Ends::There(tail(file)?)),
        }
    }
}

/// The end of a remote file that holds its whole footer, if it has one.
fn tail(file: &Stored) -> Result<Window> {
    let size = file.size()?;
    let start = size.saturating_sub(TAIL_BYTES);
    let tail = file.read(start..size)?;
    let footer = match tail.len().checked_sub(FOOTER_SIZE) {
        Some(at) if &tail[at + 4..] == b"PAR1" => {
            let length = tail[at..at + 4].try_into().expect("four bytes");
            u64::from(u32::from_le_bytes(length)) + FOOTER_SIZE as u64
        }
        _ => 0,
    };
    let wanted = size.saturating_sub(footer);
    if wanted >= start {
        return Ok(Window::new(size, vec![(start, tail)]));
    }
    let mut whole = BytesMut::from(file.read(wanted..start)?);
    whole.extend_from_slice(&tail);
    Ok(Window::new(size, vec![(wanted, whole.freeze())]))
}

impl Length for Ends {
    fn len(&self) -> u64 {
        match self {
            Ends::Here(file) => Length::len(file),
            Ends::There(window) => window.len(),
        }
    }
}

impl ChunkReader for Ends {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(match self {
            Ends::Here(file) => Box::new(file.get_read(start)?),
            Ends::There(window) => Box::new(window.get_read(start)?),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self {
            Ends::Here(file) => file.get_bytes(start, length),
            Ends::There(window) => window.get_bytes(start, length),
        }
    }
}

/// Parts of a file in memory, under the file's own offsets.
#[derive(Clone)]
pub(super) struct Window {
    file_bytes: u64,
    /// The offset and the bytes of each part, in order.
    parts: Vec<(u64, Bytes)>,
}

impl Window {
    pub(super) fn new(file_bytes: u64, parts: Vec<(u64, Bytes)>) -> Window {
        Window { file_bytes, parts }
    }

    fn at(&self, start: u64) -> Result<Bytes, ParquetError> {
        let holds = |(first, bytes): &&(u64, Bytes)| {
            start.checked_sub(*first).is_some_and(|at| at <= bytes.len() as u64)
        };
        // The last one that fits: where two touch, the later has the bytes.
        match self.parts.iter().rev().find(holds) {
            Some((first, bytes)) => Ok(bytes.slice((start - first) as usize..)),
            None => Err(ParquetError::EOF(format!("offset {start} lies outside the row group"))),
        }
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.at(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = self.at(start)?;
        if length > bytes.len() {
            let message = format!("expected {length} bytes at {start}, found {}", bytes.len());
            return Err(ParquetError::EOF(message));
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A hash over each stretch of a file that was read without gaps.
#[derive(Default)]
pub(super) struct Stretches {
    current: Option<(Range<u64>, Hasher)>,
    done: Vec<(Range<u64>, Fingerprint)>,
}

impl Stretches {
    /// Says that the bytes added next lie at `start`. Returns whether that leaves a gap.
    pub(super) fn seek(&mut self, start: u64) -> bool {
        let is_gap = self.current.as_ref().is_none_or(|(range, _)| range.end != start);
        if is_gap {
            self.finish();
            self.current = Some((start..start, Hasher::new()));
        }
        is_gap
    }

    /// Adds the bytes that follow those added before.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let (range, hasher) = self.current.as_mut().expect("`seek` was called before");
        hasher.update(bytes);
        range.end += bytes.len() as u64;
    }

    /// Where the current stretch ends so far.
    pub(super) fn end(&self) -> u64 {
        self.current.as_ref().map_or(0, |(range, _)| range.end)
    }

    /// All stretches so far; bytes added later begin new ones.
    pub(super) fn take(&mut self) -> Vec<(Range<u64>, Fingerprint)> {
        self.finish();
        std::mem::take(&mut self.done)
    }

    fn finish(&mut self) {
        if let Some((range, hasher)) = self.current.take()
            && !range.is_empty()
        {
            self.done.push((range, hasher.finish()));
        }
    }
}
