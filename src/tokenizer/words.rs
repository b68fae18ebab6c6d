//! How often each piece occurs: the table that a tokenizer is trained on.
//!
//! Texts in → (piece, count) in sorted runs, summed over threads, units and processes by a merge
//! ([`spill`](crate::artifact::spill)); the sums depend on nothing but the texts. Method: pieces
//! and keys from the block scanner, a table of 32 bytes a slot. What a table holds is written as a
//! sorted run when it is full, and it starts empty again: so memory is bounded, and the sums stay
//! exact wherever that happens. Cost: 2 ns a byte of text, 0.1 µs a distinct piece for a run;
//! memory as asked for.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::bpe::piece::{Piece, Pieces, piece_of};
use super::bpe::scan::{Scanner, Scratch, Sink};
use super::bpe::table::{Found, Table};
use crate::artifact::spill::{RunWriter, Totals};
use crate::base::error::Result;

/// Bytes of distinct pieces to expect in so much text. They grow with its size to the power of 0.65
/// (Heaps' law): 3.3 MB were measured in 100 MB of mixed text, 0.7 MB in 10 MB.
pub fn bytes_expected(text_bytes: u64) -> u64 {
    (21.0 * libm::pow(text_bytes as f64, 0.65)) as u64
}

/// The table's slots take one in this many parts of the budget; another is kept for sorting them,
/// and another for the bytes of pieces over 15.
const SLOTS_SHARE: usize = 4;
/// A piece that exceeds the budget divided by this is kept apart.
const LARGE_SHARE: usize = 64;
/// Bytes that a piece kept apart takes beside its own: a map's entry and an allocation.
const APART_BYTES: usize = 64;

/// Counts pieces within a budget of memory.
pub struct WordCounts {
    table: Table<u64>,
    /// Pieces that the table cannot take; a piece may come to stand in both.
    apart: BTreeMap<Vec<u8>, u64>,
    apart_bytes: usize,
    budget: usize,
    /// Full runs, in memory until the caller takes them.
    runs: Vec<Vec<u8>>,
}

impl WordCounts {
    /// An empty table that keeps to `budget` bytes (16 MiB at least), but for runs not yet taken
    /// and a piece that is larger by itself.
    pub fn new(budget: usize) -> WordCounts {
        let budget = budget.max(16 << 20);
        WordCounts {
            table: Table::new(budget / SLOTS_SHARE, budget / SLOTS_SHARE),
            apart: BTreeMap::new(),
            apart_bytes: 0,
            budget,
            runs: Vec::new(),
        }
    }

    /// Counts the pieces of a text. A run may become full: see [`WordCounts::take_run`].
    pub fn count_text(&mut self, scanner: &Scanner, scratch: &mut Scratch, text: &str) {
        scanner.scan(text, scratch, self);
    }

    /// Counts a piece that was cut elsewhere `count` times more.
    pub fn add(&mut self, piece: &[u8], count: u64) {
        self.add_piece(piece, &piece_of(piece), count);
    }

    fn add_piece(&mut self, text: &[u8], piece: &Piece, count: u64) {
        match self.table.find(piece, text) {
            Found::At(slot) => *self.table.answer_mut(slot) += count,
            Found::Free(slot) if self.table.insert(slot, piece, text, count) => {}
            _ => self.make_room(text, piece, count),
        }
    }

    /// Counts a piece that the table cannot take as it is: it is very long, all slots of its search
    /// are taken, or the table is full.
    #[cold]
    fn make_room(&mut self, text: &[u8], piece: &Piece, count: u64) {
        let bytes = piece.bytes(text);
        if bytes.len() <= self.budget / LARGE_SHARE && !self.table.has_room(bytes.len()) {
            self.close_run();
            return self.add_piece(text, piece, count);
        }
        if let Some(present) = self.apart.get_mut(bytes) {
            *present += count;
            return;
        }
        self.apart_bytes += bytes.len() + APART_BYTES;
        self.apart.insert(bytes.to_vec(), count);
        if self.apart_bytes > self.budget / SLOTS_SHARE {
            self.close_run();
        }
    }

    /// Calls `see` with every piece and its count since the last run, in no meaningful order; a few
    /// pieces may come in two parts.
    pub fn for_each(&self, mut see: impl FnMut(&[u8], u64)) {
        self.table.for_each(|piece, count| see(piece, *count));
        self.apart.iter().for_each(|(piece, count)| see(piece, *count));
    }

    /// Whether nothing was counted since the last run.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty() && self.apart.is_empty()
    }

    /// Writes everything counted since the last run as a sorted run, and forgets it. Full runs
    /// stay.
    ///
    /// # Errors
    /// [`Error::Io`](crate::base::error::Error::Io), with `path` as the place.
    pub fn drain_sorted(&mut self, out: impl Write, path: &Path) -> Result<Totals> {
        let mut sorted = Sorted::of(&self.table);
        self.table.clear();
        let apart = std::mem::take(&mut self.apart);
        self.apart_bytes = 0;
        for (piece, count) in &apart {
            sorted.push(piece, *count);
        }
        drop(apart);
        sorted.write(out, path)
    }

    /// Takes a full run, if there is one, which is to be stored now and merged with the others in
    /// the end.
    pub fn take_run(&mut self) -> Option<Vec<u8>> {
        self.runs.pop()
    }

    fn close_run(&mut self) {
        let mut run = Vec::new();
        self.drain_sorted(&mut run, Path::new("memory")).expect("memory takes every write");
        self.runs.push(run);
    }
}

impl Sink for WordCounts {
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    fn take(&mut self, text: &[u8], pieces: &Pieces) {
        let mut at = self.table.count_near(pieces, 0);
        while at < pieces.len() {
            self.add_piece(text, &pieces.get(at), 1);
            at = self.table.count_near(pieces, at + 1);
        }
    }
}

/// In a key: the piece is longer than 15 bytes.
const LONG: u128 = 0xFF;

/// Pieces to be sorted. One of up to 15 bytes is a number, and numbers sort as the pieces do.
#[derive(Default)]
struct Sorted {
    /// A piece's first 15 bytes, the first byte highest, then its length or [`LONG`]; beside this
    /// key its count, or its place in `long`.
    keys: Vec<(u128, u64)>,
    long: Vec<Long>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Long {
    start: usize,
    end: usize,
    count: u64,
}

impl Sorted {
    fn of(table: &Table<u64>) -> Sorted {
        let mut sorted = Sorted { keys: Vec::with_capacity(table.len()), ..Sorted::default() };
        table.for_each(|piece, count| sorted.push(piece, *count));
        sorted
    }

    fn push(&mut self, piece: &[u8], count: u64) {
        let mut first = [0; 16];
        let length = piece.len().min(15);
        first[..length].copy_from_slice(&piece[..length]);
        let key = u128::from_be_bytes(first);
        if piece.len() < 16 {
            self.keys.push((key | piece.len() as u128, count));
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        self.keys.push((key | LONG, self.long.len() as u64));
        self.long.push(Long { start, end: self.bytes.len(), count });
    }

    fn write(mut self, out: impl Write, path: &Path) -> Result<Totals> {
        let Sorted { keys, long, bytes } = &mut self;
        let bytes_of = |at: u64| &bytes[long[at as usize].start..long[at as usize].end];
        keys.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| match a.0 & LONG {
                LONG => bytes_of(a.1).cmp(bytes_of(b.1)),
                _ => std::cmp::Ordering::Equal,
            })
        });
        let mut run = RunWriter::new(out, path)?;
        let mut at = 0;
        while let Some(&(key, value)) = keys.get(at) {
            at += 1;
            let short = key.to_be_bytes();
            let (piece, mut count) = match key & LONG {
                LONG => (bytes_of(value), long[value as usize].count),
                length => (&short[..length as usize], value),
            };
            // A piece that stood in the table and apart.
            while let Some(&(_, value)) = keys
                .get(at)
                .filter(|next| next.0 == key && (key & LONG != LONG || bytes_of(next.1) == piece))
            {
                count += if key & LONG == LONG { long[value as usize].count } else { value };
                at += 1;
            }
            run.push(piece, count)?;
        }
        run.finish()
    }
}
