//! The bytes of row groups of a remote file: only the column chunks that are asked for.
//!
//! In → the chunks of each task, in order; out → their bytes in memory, fetched ahead. Chunks that
//! follow each other, with little between, make one request of up to [`REQUEST_BYTES`]; that may
//! serve several tasks. A row group that is too large to hold is read through [`Blocks`]: each of
//! its chunks in pieces, as far as decoding has come. Every byte is hashed as it arrives, and is
//! asked for once.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::bytes::{Stretches, Window};
use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::store::Stored;
use crate::store::ahead::Ahead;

/// Most bytes that one request fetches: enough that its latency does not count.
const REQUEST_BYTES: u64 = 8 << 20;

/// Most bytes between two chunks that are fetched along with them, rather than left out by a second
/// request (`OBJECT_STORE_COALESCE_DEFAULT` of `object_store`), …
const GAP_BYTES: u64 = 1 << 20;

/// … and how many wanted bytes a request has before them for each such byte: at most a fifth of
/// what is fetched is unwanted.
const GAP_PER_WANTED: u64 = 4;

/// How much of a chunk of a large row group is read at a time.
const BLOCK_BYTES: u64 = 8 << 20;

/// The chunks of a slice's tasks.
pub(super) struct ChunkFetcher {
    file: Stored,
    file_bytes: u64,
    ahead: Ahead,
    /// The chunks of each task, and which of the requests fetch them.
    tasks: VecDeque<(Vec<Range<u64>>, Range<usize>)>,
    /// What was fetched and may be needed again, with the number of its request.
    held: VecDeque<(usize, Range<u64>, Bytes)>,
    read: Stretches,
    large: Vec<Arc<Blocks>>,
}

impl ChunkFetcher {
    /// `tasks` are the chunks of each task that is read whole.
    pub(super) fn new(file: &Stored, file_bytes: u64, tasks: Vec<Vec<Range<u64>>>) -> ChunkFetcher {
        let (requests, needs) = requests(&tasks);
        ChunkFetcher {
            file: file.clone(),
            file_bytes,
            ahead: Ahead::new(file.clone(), requests),
            tasks: tasks.into_iter().zip(needs).collect(),
            held: VecDeque::new(),
            read: Stretches::default(),
            large: Vec::new(),
        }
    }

    /// The bytes of the next task.
    pub(super) fn take(&mut self) -> Result<Window> {
        let (chunks, needed) = self.tasks.pop_front().expect("one call a task");
        while self.ahead.taken() < needed.end {
            let (number, (range, bytes)) = (self.ahead.taken(), self.ahead.take()?);
            self.read.seek(range.start);
            self.read.add(&bytes);
            self.held.push_back((number, range, bytes));
        }
        self.held.retain(|(number, ..)| *number >= needed.start);
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        let mut parts: Vec<(u64, Bytes)> =
            chunks.map(|chunk| (chunk.start, self.chunk(&chunk))).collect();
        parts.sort_by_key(|(start, _)| *start);
        Ok(Window::new(self.file_bytes, parts))
    }

    /// One chunk out of what is held: nearly always a part of one request's bytes.
    fn chunk(&self, chunk: &Range<u64>) -> Bytes {
        let mut whole = BytesMut::new();
        for (_, range, bytes) in &self.held {
            let (start, end) = (chunk.start.max(range.start), chunk.end.min(range.end));
            if start >= end {
                continue;
            }
            let part = bytes.slice((start - range.start) as usize..(end - range.start) as usize);
            if (start..end) == *chunk {
                return part;
            }
            whole.extend_from_slice(&part);
        }
        whole.freeze()
    }

    /// A reader over the chunks of a large row group.
    pub(super) fn large(&mut self, chunks: Vec<Range<u64>>) -> SharedBlocks {
        let chunk = |range: Range<u64>| Mutex::new(Chunk::new(range));
        let chunks = chunks.into_iter().map(chunk).collect();
        let blocks = Arc::new(Blocks { file: self.file.clone(), chunks });
        self.large.push(blocks.clone());
        SharedBlocks { blocks, file_bytes: self.file_bytes }
    }

    /// What was read so far, with its hashes.
    pub(super) fn ranges(&mut self) -> Vec<(Range<u64>, Fingerprint)> {
        let mut ranges = self.read.take();
        for blocks in self.large.drain(..) {
            for chunk in &blocks.chunks {
                ranges.append(&mut locked(chunk).read.take());
            }
        }
        ranges.sort_by_key(|(range, _)| range.start);
        ranges
    }
}

/// Requests that fetch all tasks' chunks, and which of them each task needs.
fn requests(tasks: &[Vec<Range<u64>>]) -> (Vec<Range<u64>>, Vec<Range<usize>>) {
    let mut requests: Vec<Range<u64>> = Vec::new();
    let mut needs = Vec::with_capacity(tasks.len());
    // Bytes of the last request that a task asks for.
    let mut wanted = 0;
    for task in tasks {
        let mut needed: Option<Range<usize>> = None;
        for chunk in task.iter().filter(|chunk| !chunk.is_empty()) {
            let first = match requests.last_mut().filter(|last| joins(last, wanted, chunk)) {
                Some(last) => {
                    last.end = chunk.end;
                    wanted += chunk.end - chunk.start;
                    requests.len() - 1
                }
                None => {
                    let first = requests.len();
                    let starts = (chunk.start..chunk.end).step_by(REQUEST_BYTES as usize);
                    requests.extend(starts.map(|at| at..chunk.end.min(at + REQUEST_BYTES)));
                    wanted = requests.last().map_or(0, |last| last.end - last.start);
                    first
                }
            };
            let start = needed.map_or(first, |needed| needed.start.min(first));
            needed = Some(start..requests.len());
        }
        needs.push(needed.unwrap_or(requests.len()..requests.len()));
    }
    (requests, needs)
}

/// Whether a chunk is fetched by the request before it.
fn joins(last: &Range<u64>, wanted: u64, chunk: &Range<u64>) -> bool {
    let Some(gap) = chunk.start.checked_sub(last.end) else { return false };
    let unwanted = last.end - last.start - wanted + gap;
    let is_near = gap <= GAP_BYTES && unwanted <= wanted / GAP_PER_WANTED;
    is_near && chunk.end <= last.start + REQUEST_BYTES
}

/// The chunks of a large row group.
struct Blocks {
    file: Stored,
    chunks: Vec<Mutex<Chunk>>,
}

/// One chunk, as far as it was read.
struct Chunk {
    range: Range<u64>,
    read: Stretches,
    /// The last bytes before `end` that may still be asked for.
    held: Bytes,
    end: u64,
}

impl Chunk {
    fn new(range: Range<u64>) -> Chunk {
        let end = range.start;
        Chunk { range, read: Stretches::default(), held: Bytes::new(), end }
    }

    /// The bytes from `start` on: at least `length` of them where the chunk has so many.
    fn at(&mut self, file: &Stored, start: u64, length: u64) -> Result<Bytes> {
        let wanted = (start + length).min(self.range.end);
        while self.end < wanted {
            let next = self.end..self.range.end.min(self.end + BLOCK_BYTES);
            let bytes = file.read(next.clone())?;
            self.read.seek(next.start);
            self.read.add(&bytes);
            // A page's header may be read again; what lies before `start` seldom is.
            let before = start.saturating_sub(self.first()).min(self.held.len() as u64);
            let mut held = BytesMut::from(self.held.slice(before as usize..));
            held.extend_from_slice(&bytes);
            (self.held, self.end) = (held.freeze(), next.end);
        }
        match start.checked_sub(self.first()) {
            Some(at) => Ok(self.held.slice(at as usize..)),
            None => file.read(start..wanted),
        }
    }

    /// Where the bytes that are held begin.
    fn first(&self) -> u64 {
        self.end - self.held.len() as u64
    }
}

/// A reader over [`Blocks`], for the crate `parquet`.
pub(super) struct SharedBlocks {
    blocks: Arc<Blocks>,
    file_bytes: u64,
}

impl Blocks {
    fn at(&self, start: u64, length: u64) -> Result<Bytes> {
        let holds = |chunk: &&Mutex<Chunk>| locked(chunk).range.contains(&start);
        match self.chunks.iter().find(holds) {
            Some(chunk) => locked(chunk).at(&self.file, start, length),
            None => {
                let message = "a page lies outside the columns that are read";
                Err(Error::damaged(self.file.path(), Some(start), message))
            }
        }
    }
}

impl Length for SharedBlocks {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for SharedBlocks {
    type T = BlockReader;

    fn get_read(&self, start: u64) -> Result<BlockReader, ParquetError> {
        let (blocks, held) = (self.blocks.clone(), Bytes::new());
        Ok(BlockReader { blocks, position: start, held })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.blocks.at(start, length as u64);
        let mut bytes = bytes.map_err(|error| ParquetError::External(Box::new(error)))?;
        if bytes.len() < length {
            let message = format!("expected {length} bytes at {start}, found {}", bytes.len());
            return Err(ParquetError::EOF(message));
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A chunk from an offset on.
pub(super) struct BlockReader {
    blocks: Arc<Blocks>,
    position: u64,
    held: Bytes,
}

impl Read for BlockReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() && !buffer.is_empty() {
            self.held = self.blocks.at(self.position, 1).map_err(io::Error::other)?;
        }
        let length = self.held.len().min(buffer.len());
        self.held.copy_to_slice(&mut buffer[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

fn locked(chunk: &Mutex<Chunk>) -> MutexGuard<'_, Chunk> {
    chunk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_share_a_request_and_a_wide_gap_does_not() {
        let mib = 1 << 20;
        let (found, needs) = requests(&[
            vec![0..mib, mib + 1000..mib + 2000],
            vec![2 * mib..3 * mib, 6 * mib..6 * mib + 10],
            vec![],
            std::iter::once(20 * mib..40 * mib).collect(),
        ]);
        let long = [20 * mib..28 * mib, 28 * mib..36 * mib, 36 * mib..40 * mib];
        assert_eq!(found[..2], [0..mib + 2000, 2 * mib..3 * mib]);
        assert_eq!(found[2], 6 * mib..6 * mib + 10);
        assert_eq!(found[3..], long);
        assert_eq!(needs, [0..1, 1..3, 3..3, 3..6]);
    }

    /// Chunks of (gap before it, length, whether it begins a task).
    fn check(sizes: &[(u64, u64, bool)]) {
        let mut tasks: Vec<Vec<Range<u64>>> = vec![Vec::new()];
        let (mut at, mut wanted) = (4, 0);
        for &(gap, length, is_new) in sizes {
            if is_new {
                tasks.push(Vec::new());
            }
            at += gap;
            tasks.last_mut().unwrap().push(at..at + length);
            at += length;
            wanted += length;
        }
        let (requests, needs) = requests(&tasks);
        let fetched: u64 = requests.iter().map(|range| range.end - range.start).sum();
        assert!(fetched >= wanted && fetched <= wanted + wanted / GAP_PER_WANTED);
        assert!(requests.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for (task, needs) in tasks.iter().zip(&needs) {
            for chunk in task.iter().filter(|chunk| !chunk.is_empty()) {
                let covered = requests[needs.clone()].iter().map(|request| {
                    let end = request.end.min(chunk.end);
                    end.saturating_sub(request.start.max(chunk.start))
                });
                assert_eq!(covered.sum::<u64>(), chunk.end - chunk.start);
            }
        }
    }

    #[test]
    fn gaps_that_are_small_one_by_one_are_not_fetched_when_they_add_up() {
        let near = [(0, 1478364, false), (0, 719444, false), (388280, 1025372, false)];
        check(&[near.as_slice(), &[(439242, 1, false)]].concat());
    }

    proptest! {
        #[test]
        fn every_chunk_is_fetched_once_and_little_else(
            sizes in prop::collection::vec((0u64..3 << 20, 0u64..3 << 20, any::<bool>()), 1..30),
        ) {
            check(&sizes);
        }
    }
}
