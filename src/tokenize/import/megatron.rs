//! Megatron's index: where the documents of a `.bin` lie.
//!
//! In → `.idx`; out → the token file it describes, and each document's length, read a stretch at a
//! time. The layout is the one that `export --to megatron` writes, with any number of sequences a
//! document; they must lie one behind the other, as Megatron's tools lay them. Cost: 1 MiB.

use std::path::{Path, PathBuf};

use super::stream::{TokenFile, wrong};
use crate::base::{error::Result, io};

/// The first bytes of an index, and its version.
pub const MAGIC: &[u8; 9] = b"MMIDIDX\x00\x00";
const VERSION: u64 = 1;
/// Codes of the types that hold ids, with their bytes.
const TYPES: [(u8, u64); 2] = [(8, 2), (4, 4)];
/// Magic, version, type, two counts.
const HEAD_BYTES: u64 = 9 + 8 + 1 + 8 + 8;
/// Numbers that are read at once.
const CHUNK: u64 = 1 << 16;

/// An opened index.
#[derive(Clone, Debug)]
pub struct Index {
    pub path: PathBuf,
    pub tokens: TokenFile,
    sequences: u64,
    /// Borders of documents, one more than there are documents.
    borders: u64,
}

impl Index {
    /// Reads the head of the index beside `bin`, and checks it against the sizes of both files.
    pub fn open(bin: &Path) -> Result<Index> {
        let path = bin.with_extension("idx");
        let size = io::size(&path)?;
        if size < HEAD_BYTES {
            let message = format!("expected an index of {HEAD_BYTES} bytes or more, found {size}");
            return Err(wrong(&path, size, &message));
        }
        let head = io::read_range(&path, 0, HEAD_BYTES as usize)?;
        if &head[..9] != MAGIC {
            return Err(wrong(&path, 0, "it does not begin with Megatron's `MMIDIDX`"));
        }
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
        let (version, code) = (number(9), head[17]);
        if version != VERSION {
            let message = format!("expected version {VERSION}, found {version}");
            return Err(wrong(&path, 9, &message));
        }
        let known = TYPES.iter().find(|(known, _)| *known == code);
        let Some(&(_, width)) = known else {
            let message = format!("expected uint16 (8) or int32 (4), found the type {code}");
            return Err(wrong(&path, 17, &message));
        };
        let (sequences, borders) = (number(18), number(26));
        let expected = sequences
            .checked_mul(4 + 8)
            .and_then(|bytes| borders.checked_mul(8)?.checked_add(bytes)?.checked_add(HEAD_BYTES));
        if expected.is_none_or(|expected| expected > size) || borders == 0 {
            let message = format!("{sequences} sequences and {borders} borders, in {size} bytes");
            return Err(wrong(&path, 18, &message));
        }
        let bytes = io::size(bin)?;
        let tokens = TokenFile { offset: 0, width, tokens: bytes / width };
        let index = Index { path, tokens, sequences, borders };
        let end = index.end_of_tokens()?;
        if end != bytes {
            let message = format!("its index says {end} bytes, found {bytes}");
            return Err(wrong(bin, end.min(bytes), &message));
        }
        Ok(index)
    }

    /// Where the last sequence ends, in bytes of the `.bin`.
    fn end_of_tokens(&self) -> Result<u64> {
        let Some(last) = self.sequences.checked_sub(1) else { return Ok(0) };
        let mut length = self.lengths();
        length.seek(last);
        let mut pointer = self.pointers();
        pointer.seek(last);
        let (length, pointer) = (length.next(&self.path)?, pointer.next(&self.path)?);
        Ok(pointer.saturating_add(length.saturating_mul(self.tokens.width)))
    }

    fn lengths(&self) -> Column {
        Column::new(HEAD_BYTES, 4)
    }

    fn pointers(&self) -> Column {
        Column::new(HEAD_BYTES + 4 * self.sequences, 8)
    }

    /// Calls `document` with the number of tokens of each document, in order.
    pub fn each(&self, mut document: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let (mut lengths, mut pointers) = (self.lengths(), self.pointers());
        let mut borders = Column::new(HEAD_BYTES + 12 * self.sequences, 8);
        let (mut sequence, mut at) = (borders.next(&self.path)?, 0u64);
        if sequence != 0 {
            return Err(wrong(&self.path, borders.place(), "the first document begins behind 0"));
        }
        for _ in 1..self.borders {
            let end = borders.next(&self.path)?;
            if end < sequence || end > self.sequences {
                let message = format!("a document of sequences {sequence} to {end}");
                return Err(wrong(&self.path, borders.place(), &message));
            }
            let mut tokens = 0;
            for _ in sequence..end {
                let (length, pointer) = (lengths.next(&self.path)?, pointers.next(&self.path)?);
                if pointer != at || length > i32::MAX as u64 {
                    let message = format!("expected a sequence at byte {at}, found {pointer}");
                    return Err(wrong(&self.path, pointers.place(), &message));
                }
                tokens += length;
                at += length * self.tokens.width;
                let bytes = self.tokens.tokens * self.tokens.width;
                if at > bytes {
                    let message = format!("a sequence that ends at byte {at} of {bytes}");
                    return Err(wrong(&self.path, lengths.place(), &message));
                }
            }
            sequence = end;
            document(tokens)?;
        }
        if sequence < self.sequences {
            let message = format!("{} sequences belong to no document", self.sequences - sequence);
            return Err(wrong(&self.path, borders.place(), &message));
        }
        Ok(())
    }
}

/// Numbers of one width, read in order.
struct Column {
    from: u64,
    width: u64,
    next: u64,
    buffer: Vec<u8>,
    /// The index of the number that the buffer begins with.
    first: u64,
}

impl Column {
    fn new(from: u64, width: u64) -> Column {
        Column { from, width, next: 0, buffer: Vec::new(), first: 0 }
    }

    fn seek(&mut self, number: u64) {
        (self.next, self.first) = (number, number);
    }

    /// Where the number that was read last stands in the file.
    fn place(&self) -> u64 {
        self.from + (self.next.saturating_sub(1)) * self.width
    }

    fn next(&mut self, path: &Path) -> Result<u64> {
        let width = self.width as usize;
        let mut at = (self.next - self.first) as usize * width;
        if at >= self.buffer.len() {
            let start = self.from + self.next * self.width;
            let left = io::size(path)?.saturating_sub(start);
            let length = left.min(CHUNK * self.width) / self.width * self.width;
            if length == 0 {
                return Err(wrong(path, start, "the index ends too early"));
            }
            self.buffer = io::read_range(path, start, length as usize)?;
            (self.first, at) = (self.next, 0);
        }
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&self.buffer[at..at + width]);
        self.next += 1;
        Ok(u64::from_le_bytes(bytes))
    }
}
