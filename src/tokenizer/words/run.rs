//! Sorted runs of pieces with counts: their file format, and their sum.
//!
//! Format: `dpwords2`, then each piece in the order of bytes: how many it shares with the one
//! before, how many follow, these, its count; numbers as LEB128. A zero for both lengths ends the
//! pieces; then number of pieces, their bytes and the sum of counts, 8 bytes each, little-endian.
//! So equal counts are equal bytes, and the totals can be read first. Reading checks order, ends
//! and totals. Cost: about 8 bytes on disk for each piece, 30 ns to read one; merging runs takes
//! their readers' memory only.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::base::io;

/// The first bytes of a run.
const MAGIC: &[u8; 8] = b"dpwords2";
/// Bytes of the totals.
const FOOTER: u64 = 24;
/// Bytes gathered before they are handed to the file.
const BUFFER: usize = 1 << 16;

/// What a run holds in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Distinct pieces.
    pub pieces: u64,
    /// Their bytes, each piece once.
    pub piece_bytes: u64,
    /// Occurrences of all.
    pub occurrences: u64,
}

impl Totals {
    /// The totals of a run in a file, without reading the rest.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a file too short for a run, [`Error::Io`].
    pub fn of_file(path: &Path) -> Result<Totals> {
        let size = io::size(path)?;
        let Some(start) = size.checked_sub(FOOTER) else {
            return Err(Error::damaged(path, None, "no run of word counts"));
        };
        let bytes = io::read_range(path, start, FOOTER as usize)?;
        Ok(Totals::from_bytes(&bytes))
    }

    fn from_bytes(bytes: &[u8]) -> Totals {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Totals { pieces: number(0), piece_bytes: number(8), occurrences: number(16) }
    }

    /// Adds a piece; none when its count does not fit.
    fn add(&mut self, length: usize, count: u64) -> Option<()> {
        self.pieces += 1;
        self.piece_bytes += length as u64;
        self.occurrences = self.occurrences.checked_add(count)?;
        Some(())
    }
}

/// Writes a run.
pub struct RunWriter<W> {
    out: W,
    path: PathBuf,
    buffer: Vec<u8>,
    before: Vec<u8>,
    totals: Totals,
}

impl<W: Write> RunWriter<W> {
    /// A run with no pieces yet; `path` is for errors.
    ///
    /// # Errors
    /// None so far: writing begins with the first full buffer.
    pub fn new(out: W, path: &Path) -> Result<RunWriter<W>> {
        let mut buffer = Vec::with_capacity(BUFFER + 64);
        buffer.extend_from_slice(MAGIC);
        let (path, before) = (path.to_owned(), Vec::new());
        Ok(RunWriter { out, path, buffer, before, totals: Totals::default() })
    }

    /// Appends a piece, which stands behind all before it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Failed`] when the counts' sum does not fit 64 bits.
    ///
    /// # Panics
    /// When the piece is not behind the one before, or empty, or its count is 0.
    pub fn push(&mut self, piece: &[u8], count: u64) -> Result<()> {
        assert!(self.before[..] < *piece && count > 0, "a run ascends, and counts what occurs");
        let shared = self.before.iter().zip(piece).take_while(|(a, b)| a == b).count();
        push_number(shared as u64, &mut self.buffer);
        push_number((piece.len() - shared) as u64, &mut self.buffer);
        self.buffer.extend_from_slice(&piece[shared..]);
        push_number(count, &mut self.buffer);
        self.before.truncate(shared);
        self.before.extend_from_slice(&piece[shared..]);
        self.totals.add(piece.len(), count).ok_or_else(too_many)?;
        if self.buffer.len() >= BUFFER {
            self.write()?;
        }
        Ok(())
    }

    /// Ends the run.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<Totals> {
        let Totals { pieces, piece_bytes, occurrences } = self.totals;
        self.buffer.extend([0, 0]);
        for number in [pieces, piece_bytes, occurrences] {
            self.buffer.extend(number.to_le_bytes());
        }
        self.write()?;
        self.out.flush().map_err(Error::io("write", &self.path))?;
        Ok(self.totals)
    }

    fn write(&mut self) -> Result<()> {
        self.out.write_all(&self.buffer).map_err(Error::io("write", &self.path))?;
        self.buffer.clear();
        Ok(())
    }
}

fn too_many() -> Error {
    Error::failed("the counts of all words together do not fit 64 bits")
}

/// LEB128: seven bits a byte, low ones first, the top bit set while more follow.
fn push_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a run, a piece at a time.
pub struct RunReader<R> {
    file: R,
    path: PathBuf,
    piece: Vec<u8>,
    totals: Totals,
    ended: bool,
}

impl<R: BufRead> RunReader<R> {
    /// Checks the beginning; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what is no run, [`Error::Io`].
    pub fn new(mut file: R, path: &Path) -> Result<RunReader<R>> {
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) => return Err(Error::damaged(path, None, "no run of word counts")),
            Err(error) => return Err(read_error(error, path)),
        }
        let path = path.to_owned();
        Ok(RunReader { file, path, piece: Vec::new(), totals: Totals::default(), ended: false })
    }

    /// Puts the next piece into [`RunReader::piece`]; its count, or none at the end.
    ///
    /// # Errors
    /// [`Error::Damaged`] for pieces out of order, an early end, totals that differ or bytes behind
    /// them; [`Error::Io`].
    pub fn advance(&mut self) -> Result<Option<u64>> {
        if self.ended {
            return Ok(None);
        }
        let (shared, rest) = (self.number()?, self.number()?);
        if shared == 0 && rest == 0 {
            self.end()?;
            return Ok(None);
        }
        let before = usize::try_from(shared).ok().and_then(|at| self.piece.get(at..));
        let Some(before) = before.map(|before| before.first().copied()) else {
            return Err(self.damaged("a piece shares more than there is"));
        };
        self.piece.truncate(shared as usize);
        let read = self.file.by_ref().take(rest).read_to_end(&mut self.piece);
        let read = read.map_err(Error::io("read", &self.path))?;
        if read as u64 != rest {
            return Err(self.damaged("the word counts end early"));
        }
        if self.piece.get(shared as usize) <= before.as_ref() {
            return Err(self.damaged("the pieces are not in order"));
        }
        let count = self.number()?;
        if count == 0 || self.totals.add(self.piece.len(), count).is_none() {
            return Err(self.damaged("a count is out of range"));
        }
        Ok(Some(count))
    }

    /// The piece read last.
    pub fn piece(&self) -> &[u8] {
        &self.piece
    }

    fn end(&mut self) -> Result<()> {
        let mut footer = [0; FOOTER as usize];
        self.file.read_exact(&mut footer).map_err(|error| read_error(error, &self.path))?;
        if Totals::from_bytes(&footer) != self.totals {
            return Err(self.damaged("the totals of the word counts differ"));
        }
        match self.file.fill_buf() {
            Ok([]) => self.ended = true,
            Ok(_) => return Err(self.damaged("bytes behind the word counts")),
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        }
        Ok(())
    }

    fn damaged(&self, message: &str) -> Error {
        Error::damaged(&self.path, None, message)
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = match self.file.fill_buf() {
                Ok([]) => return Err(self.damaged("the word counts end early")),
                Ok(bytes) => bytes[0],
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            };
            self.file.consume(1);
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number is longer than 64 bits"))
    }
}

fn read_error(error: std::io::Error, path: &Path) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::damaged(path, None, "the word counts end early")
        }
        _ => Error::io("read", path)(error),
    }
}

/// The sum of several runs, in order: one pass over all of them at once.
pub struct Merged<R> {
    runs: Vec<RunReader<R>>,
    /// The next piece of every run that has one, the first of all on top.
    heads: BinaryHeap<Reverse<Head>>,
    piece: Vec<u8>,
}

/// A run's next piece: `first` is its first 8 bytes, highest first, 0 behind its end.
struct Head {
    first: u64,
    piece: Vec<u8>,
    count: u64,
    run: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.first.cmp(&other.first).then_with(|| self.piece.cmp(&other.piece))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Head {
    /// Takes the next piece of its run; whether there is one.
    fn advance<R: BufRead>(&mut self, runs: &mut [RunReader<R>]) -> Result<bool> {
        let run = &mut runs[self.run];
        let Some(count) = run.advance()? else { return Ok(false) };
        self.count = count;
        self.piece.clear();
        self.piece.extend_from_slice(run.piece());
        let mut first = [0; 8];
        let length = self.piece.len().min(8);
        first[..length].copy_from_slice(&self.piece[..length]);
        self.first = u64::from_be_bytes(first);
        Ok(true)
    }
}

/// Adds up runs.
///
/// # Errors
/// As [`RunReader::advance`].
pub fn merge_runs<R: BufRead>(mut runs: Vec<RunReader<R>>) -> Result<Merged<R>> {
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for run in 0..runs.len() {
        let mut head = Head { first: 0, piece: Vec::new(), count: 0, run };
        if head.advance(&mut runs)? {
            heads.push(Reverse(head));
        }
    }
    Ok(Merged { runs, heads, piece: Vec::new() })
}

impl<R: BufRead> Merged<R> {
    /// The next piece and its count over all runs; none at the end.
    ///
    /// # Errors
    /// As [`RunReader::advance`]; [`Error::Failed`] when a sum does not fit 64 bits.
    pub fn advance(&mut self) -> Result<Option<(&[u8], u64)>> {
        let Some(mut top) = self.heads.peek_mut() else { return Ok(None) };
        std::mem::swap(&mut self.piece, &mut top.0.piece);
        let mut sum = top.0.count;
        loop {
            if !top.0.advance(&mut self.runs)? {
                PeekMut::pop(top);
            } else {
                drop(top);
            }
            match self.heads.peek_mut() {
                Some(next) if next.0.piece == self.piece => top = next,
                _ => break,
            }
            sum = sum.checked_add(top.0.count).ok_or_else(too_many)?;
        }
        Ok(Some((&self.piece, sum)))
    }
}
