//! Rows of a mix, read ahead of the trainer on a thread of its own.
//!
//! In → a reader of the stream and the row to begin with; out → rows in order, as fast as they are
//! taken, up to [`AHEAD_TOKENS`] before. A thread owns the reader; when another row is asked for
//! than the next one it is stopped, gives the reader back and begins anew there. It reads some rows
//! at once, since each hand-over wakes a thread: one at first, whom nobody should wait for, then
//! twice as many each time, up to [`READ_TOKENS`]. Invariants: a row is what the reader gives for
//! its place, whoever reads it and when; no token is read twice in order, so each block is decoded
//! once an epoch as without it. Cost: four bytes a token ahead, five where not all are trained on.

use std::{
    sync::mpsc::{Receiver, Sender, channel, sync_channel},
    thread::{self, JoinHandle},
};

use crate::base::error::{Error, Result};
use crate::shards::MixReader;

/// Tokens that are read ahead: 4 MiB, some steps of a small model.
pub(super) const AHEAD_TOKENS: usize = 1 << 20;
/// Tokens that are read at once: small beside a core's cache, large beside the cost of waking a
/// thread.
const READ_TOKENS: usize = 1 << 15;
/// Pieces of the stream that lie ready at least.
const AHEAD_MIN: usize = 2;

/// A row, without the token that follows it.
#[derive(Debug)]
pub struct Row<'a> {
    /// As many as the sequence is long.
    pub tokens: &'a [u32],
    /// Whether the token behind each counts in the loss; empty where all do.
    pub trained: &'a [bool],
    /// Where documents begin, as places in the piece that the row is a part of.
    starts: &'a [u32],
    /// The row's own place there.
    place: u32,
}

impl Row<'_> {
    /// Places in `tokens` where a document begins, rising.
    pub fn starts(&self) -> impl Iterator<Item = usize> {
        self.starts.iter().map(|start| (start - self.place) as usize)
    }
}

/// A piece of the stream: some whole rows, or what is left behind the last one.
#[derive(Debug, Default)]
pub(super) struct Piece {
    tokens: Vec<u32>,
    /// Places in `tokens` where a document begins, rising.
    starts: Vec<u32>,
    /// As that of [`Row`].
    trained: Vec<bool>,
    /// How many tokens and starts were taken.
    tokens_taken: usize,
    starts_taken: usize,
}

impl Piece {
    pub(super) fn new(tokens: Vec<u32>, starts: Vec<u32>, trained: Vec<bool>) -> Piece {
        Piece { tokens, starts, trained, tokens_taken: 0, starts_taken: 0 }
    }

    /// The next row, while there is a whole one.
    pub(super) fn next_row(&mut self, sequence: usize) -> Option<Row<'_>> {
        let (from, first) = (self.tokens_taken, self.starts_taken);
        let tokens = self.tokens.get(from..from + sequence)?;
        let end = (from + sequence) as u32;
        let starts = &self.starts[first..];
        let starts = &starts[..starts.partition_point(|&start| start < end)];
        let trained = self.trained.get(from..from + sequence).unwrap_or_default();
        (self.tokens_taken, self.starts_taken) = (from + sequence, first + starts.len());
        Some(Row { tokens, trained, starts, place: from as u32 })
    }

    /// The token that comes next.
    fn next_token(&self) -> Option<u32> {
        self.tokens.get(self.tokens_taken).copied()
    }
}

/// Reads rows ahead.
pub struct RowsAhead {
    sequence: usize,
    /// Of the stream.
    tokens: u64,
    state: State,
}

enum State {
    Idle(Box<MixReader>),
    Reading(Reading),
    /// The reading thread has panicked: a bug of the reader, which the panic reports.
    Lost,
}

struct Reading {
    pieces: Receiver<Result<Piece>>,
    /// Takes back used pieces: fresh memory would have to be cleared first.
    used: Sender<Piece>,
    reader: JoinHandle<Box<MixReader>>,
    /// The number of the row that comes next, and the piece that it may be in.
    next: u64,
    piece: Piece,
}

impl Reading {
    /// Takes the next piece once this one is used up; whether there is a token.
    fn fill(&mut self, is_end: bool) -> Result<bool> {
        if self.piece.next_token().is_none() {
            match self.pieces.recv() {
                Ok(piece) => {
                    let used = std::mem::replace(&mut self.piece, piece?);
                    // A thread that has ended takes no piece back, which is no error.
                    self.used.send(used).unwrap_or_default();
                }
                Err(_) if is_end => return Ok(false),
                Err(_) => return Err(lost()),
            }
        }
        Ok(true)
    }
}

impl RowsAhead {
    /// Reads nothing yet.
    pub fn new(reader: MixReader, sequence: usize) -> RowsAhead {
        let tokens = reader.tokens();
        RowsAhead { sequence, tokens, state: State::Idle(Box::new(reader)) }
    }

    /// Whole rows of the mix.
    pub fn row_count(&self) -> u64 {
        self.tokens / self.sequence as u64
    }

    /// The reader, at rest.
    pub fn reader(&mut self) -> Result<&mut MixReader> {
        self.stop()?;
        match &mut self.state {
            State::Idle(reader) => Ok(reader),
            _ => Err(lost()),
        }
    }

    /// Calls `take` with rows `first .. first + count`, and gives the token behind the last one;
    /// `None` at the end of the stream.
    pub fn rows(
        &mut self,
        first: u64,
        count: usize,
        mut take: impl FnMut(Row<'_>),
    ) -> Result<Option<u32>> {
        if !matches!(&self.state, State::Reading(reading) if reading.next == first) {
            self.stop()?;
            self.start(first)?;
        }
        let result = self.take(count, &mut take);
        if result.is_err() {
            self.stop()?;
        }
        result
    }

    fn take(&mut self, count: usize, take: &mut dyn FnMut(Row<'_>)) -> Result<Option<u32>> {
        let State::Reading(reading) = &mut self.state else { return Err(lost()) };
        for _ in 0..count {
            reading.fill(false)?;
            take(reading.piece.next_row(self.sequence).ok_or_else(lost)?);
            reading.next += 1;
        }
        // Behind the last whole row the thread sends what is left of the stream, and ends.
        let is_end = reading.next * self.sequence as u64 >= self.tokens;
        Ok(if reading.fill(is_end)? { reading.piece.next_token() } else { None })
    }

    fn start(&mut self, first: u64) -> Result<()> {
        let State::Idle(mut reader) = std::mem::replace(&mut self.state, State::Lost) else {
            return Err(lost());
        };
        let (sequence, all) = (self.sequence as u64, reader.tokens());
        let mut rows_max = (READ_TOKENS as u64 / sequence).max(1);
        let (send, pieces) =
            sync_channel((AHEAD_TOKENS / READ_TOKENS.max(self.sequence)).max(AHEAD_MIN));
        let (used, again) = channel::<Piece>();
        let work = move || {
            let (mut start, mut rows) = (first * sequence, 1);
            while start < all {
                // Rows, and what is left of the stream by itself.
                let whole = (all - start) / sequence;
                let length = if whole > 0 { whole.min(rows) * sequence } else { all - start };
                let Piece { tokens, starts, trained, .. } = again.try_recv().unwrap_or_default();
                let mut piece = Piece::new(tokens, starts, trained);
                let Piece { tokens, starts, trained, .. } = &mut piece;
                let read = reader.read_row(start, length as usize, tokens, starts, trained);
                let is_wrong = read.is_err();
                if is_wrong && length > sequence {
                    // From here on rows are read one by one, so that only the step that needs the
                    // damaged row fails.
                    (rows, rows_max) = (1, 1);
                    continue;
                }
                if send.send(read.map(|()| piece)).is_err() || is_wrong {
                    break;
                }
                start += length;
                rows = (2 * rows).min(rows_max);
            }
            reader
        };
        let reader = thread::Builder::new().name("rows ahead".to_owned()).spawn(work);
        let reader =
            reader.map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
        let piece = Piece::default();
        self.state = State::Reading(Reading { pieces, used, reader, next: first, piece });
        Ok(())
    }

    /// Stops reading ahead, and has the reader back.
    fn stop(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Reading(Reading { pieces, reader, .. }) => {
                drop(pieces);
                self.state = State::Idle(reader.join().map_err(|_| lost())?);
            }
            other => self.state = other,
        }
        Ok(())
    }
}

fn lost() -> Error {
    Error::failed("the thread that reads rows ahead has stopped; its own message is above")
}
