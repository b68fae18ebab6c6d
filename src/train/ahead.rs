//! Rows of a mix, read ahead of the trainer on a thread of its own.
//!
//! In → a reader of the stream and the row to begin with; out → rows in order, as fast as they are
//! taken, up to [`AHEAD_TOKENS`] before. A thread owns the reader; when another row is asked for
//! than the next one it is stopped, gives the reader back and begins anew there. Invariants: a row
//! is what the reader gives for its place, whoever reads it and when; no token is read twice in
//! order, so each block is decoded once an epoch as without it. Cost: four bytes a token ahead.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::{self, JoinHandle},
};

use crate::base::error::{Error, Result};
use crate::shards::MixReader;

/// Tokens that lie ready: some steps of a small model, 4 MiB.
const AHEAD_TOKENS: usize = 1 << 20;
/// Rows that lie ready at least.
const AHEAD_ROWS_MIN: usize = 2;

/// A row, without the token that follows it.
#[derive(Debug, Default)]
pub struct Row {
    /// As many as the sequence is long.
    pub tokens: Vec<u32>,
    /// Places in `tokens` where a document begins, rising.
    pub starts: Vec<u32>,
    /// Whether the token behind each counts in the loss; empty where all do.
    pub trained: Vec<bool>,
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
    /// Its thread is gone: a bug of the reader, which says so itself.
    Lost,
}

struct Reading {
    rows: Receiver<Result<Row>>,
    reader: JoinHandle<Box<MixReader>>,
    /// The row that comes next: number, and itself where it was looked at already.
    next: u64,
    seen: Option<Row>,
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
        mut take: impl FnMut(Row),
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

    fn take(&mut self, count: usize, take: &mut dyn FnMut(Row)) -> Result<Option<u32>> {
        let State::Reading(reading) = &mut self.state else { return Err(lost()) };
        for _ in 0..count {
            let row = match reading.seen.take() {
                Some(row) => row,
                None => reading.rows.recv().map_err(|_| lost())??,
            };
            reading.next += 1;
            take(row);
        }
        // Behind the last whole row the thread sends what is left of the stream, and ends.
        let behind = match reading.rows.recv() {
            Ok(row) => row?,
            Err(_) if reading.next * self.sequence as u64 >= self.tokens => return Ok(None),
            Err(_) => return Err(lost()),
        };
        let token = behind.tokens.first().copied();
        reading.seen = Some(behind);
        Ok(token)
    }

    fn start(&mut self, first: u64) -> Result<()> {
        let State::Idle(mut reader) = std::mem::replace(&mut self.state, State::Lost) else {
            return Err(lost());
        };
        let (sequence, all) = (self.sequence as u64, reader.tokens());
        let ready = (AHEAD_TOKENS / self.sequence).max(AHEAD_ROWS_MIN);
        let (send, rows) = sync_channel(ready);
        let work = move || {
            let mut start = first * sequence;
            while start < all {
                let length = sequence.min(all - start);
                let mut row = Row::default();
                let Row { tokens, starts, trained } = &mut row;
                let read = reader.read_row(start, length as usize, tokens, starts, trained);
                let is_wrong = read.is_err();
                if send.send(read.map(|()| row)).is_err() || is_wrong {
                    break;
                }
                start += length;
            }
            reader
        };
        let reader = thread::Builder::new().name("rows ahead".to_owned()).spawn(work);
        let reader =
            reader.map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
        self.state = State::Reading(Reading { rows, reader, next: first, seen: None });
        Ok(())
    }

    /// Stops reading ahead, and has the reader back.
    fn stop(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Reading(Reading { rows, reader, .. }) => {
                drop(rows);
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
