//! Rows of a mix, as batches.
//!
//! In → the training stream of a mix; out → [`Batch`]es. Row *i* is tokens [i·T, i·T + T], the
//! inputs all but the last, the targets all but the first. Each document's opener (end-of-text)
//! begins a segment of attention, and positions count from 0 in each segment and each row; a
//! document that a row's border cuts goes on as a segment of its own, since RoPE turns by
//! differences alone. The stream ends as each of its documents does: the target of the last token
//! is end-of-text, so a mix of N tokens has ⌊N / T⌋ rows. Targets that shards say are only read, as
//! the prompts of completions, count in no loss.
//! **Invariants.** Row *i* is a pure function of (mix, T, *i*), at any micro-batch size; every id
//! is checked against the vocabulary. **Cost.** Half a nanosecond a token beside what reading
//! ahead takes ([`super::ahead`]), which is mostly zstd; each block is decoded once an epoch when
//! rows are read in order.

use std::path::{Path, PathBuf};

use super::ahead::{Row, RowsAhead};
use crate::base::error::{Error, Result};
use crate::runtime::data::{Batch, Feed};
use crate::shards::{MixReader, MixRecord};

/// The feed of a run.
pub struct MixFeed {
    record: MixRecord,
    window_bytes: u64,
    rows: RowsAhead,
    sequence: usize,
}

impl MixFeed {
    /// Opens the mix for rows of `sequence` tokens; `data`: where else its shards may lie. No block
    /// is held beside the one that is read until [`MixFeed::limit`] allows more.
    pub fn open(mix: &Path, data: &[PathBuf], sequence: usize) -> Result<MixFeed> {
        let reader = MixReader::open(mix, data, 0)?;
        check_packing(reader.record(), sequence)?;
        let (record, window_bytes) = (reader.record().clone(), reader.window_bytes());
        let rows = RowsAhead::new(reader, sequence);
        Ok(MixFeed { record, window_bytes, rows, sequence })
    }

    /// What the mix was resolved to.
    pub fn record(&self) -> &MixRecord {
        &self.record
    }

    /// Holds up to `bytes` of decoded blocks.
    pub fn limit(&mut self, bytes: u64) -> Result<()> {
        self.rows.reader()?.limit(bytes);
        Ok(())
    }

    /// Bytes of decoded blocks with which none is decoded twice.
    pub fn window_bytes(&self) -> u64 {
        self.window_bytes
    }

    /// Tokens of the stream up to the end of the last whole document with which the texts of all so
    /// far stay within `bytes`, and what they come to.
    pub fn tokens_of_text(&mut self, bytes: u64) -> Result<(u64, u64)> {
        self.rows.reader()?.tokens_of_text(bytes)
    }

    /// Whole rows of the mix.
    pub fn row_count(&self) -> u64 {
        self.rows.row_count()
    }
}

impl Feed for MixFeed {
    fn rows(&mut self, first: u64, count: usize) -> Result<Batch> {
        let rows = self.row_count();
        assert!(first + count as u64 <= rows, "rows {first} + {count} of a mix of {rows}");
        let mut columns = Columns::new(count, self.sequence);
        let behind = self.rows.rows(first, count, |row| columns.push(&row))?;
        let behind = behind.unwrap_or(self.record.end_of_text_id);
        let start = first * self.sequence as u64;
        check_ids(&columns.inputs, start, self.record.vocab_size)?;
        check_ids(&[behind], start + columns.inputs.len() as u64, self.record.vocab_size)?;
        Ok(columns.batch(first, behind))
    }
}

/// Refuses rows of another length than the mix was packed for, which would cut as many documents as
/// any order.
fn check_packing(record: &MixRecord, sequence: usize) -> Result<()> {
    match record.packing {
        Some(packing) if packing.sequence != sequence as u64 => {
            let packed = packing.sequence;
            let message = format!("the mix is packed for rows of {packed} tokens, not {sequence}");
            Err(Error::config(message).with_hint(format!(
                "train with `--set train.sequence={packed}`, or mix with `--sequence {sequence}`"
            )))
        }
        _ => Ok(()),
    }
}

/// Names the place of an id that the vocabulary does not have.
fn check_ids(tokens: &[u32], start: u64, vocab_size: u64) -> Result<()> {
    // The largest id is found many at a time; only if it is too large are they looked at one by
    // one.
    let largest = tokens.iter().fold(0, |largest, &id| largest.max(id));
    if u64::from(largest) < vocab_size {
        return Ok(());
    }
    match tokens.iter().position(|&id| u64::from(id) >= vocab_size) {
        None => Ok(()),
        Some(at) => Err(Error::failed(format!(
            "token {} of the mix is outside its vocabulary of {vocab_size} (0 to {}): {}",
            start + at as u64,
            vocab_size - 1,
            tokens[at]
        ))
        .with_hint("the shards were not written with the tokenizer beside the mix")),
    }
}

/// The columns of a batch while its rows come in. `targets` still lacks the token behind the last
/// input.
struct Columns {
    sequence: usize,
    inputs: Vec<u32>,
    targets: Vec<u32>,
    segments: Vec<u32>,
    positions: Vec<u32>,
    trained: Vec<bool>,
}

impl Columns {
    fn new(rows: usize, sequence: usize) -> Columns {
        let column = || Vec::with_capacity(rows * sequence);
        let (inputs, targets) = (column(), column());
        let trained = Vec::new();
        Columns { sequence, inputs, targets, segments: column(), positions: column(), trained }
    }

    fn push(&mut self, row: &Row<'_>) {
        let before = usize::from(self.inputs.is_empty());
        if !(row.trained.is_empty() && self.trained.is_empty()) {
            self.trained.resize(self.inputs.len(), true);
            self.trained.extend_from_slice(row.trained);
        }
        self.inputs.extend_from_slice(row.tokens);
        self.targets.extend_from_slice(&row.tokens[before..]);
        let (mut from, mut segment) = (0, 0);
        // A document that begins with the row is its first segment, as one is that goes on in it.
        for start in row.starts().filter(|&start| start > 0) {
            self.segment(segment, start - from);
            (from, segment) = (start, segment + 1);
        }
        self.segment(segment, row.tokens.len() - from);
    }

    fn segment(&mut self, number: u32, length: usize) {
        self.segments.resize(self.segments.len() + length, number);
        self.positions.extend(0..length as u32);
    }

    /// `behind`: the token that follows the last row.
    fn batch(self, first_row: u64, behind: u32) -> Batch {
        let Columns { sequence, inputs, mut targets, segments, positions, mut trained } = self;
        if !trained.is_empty() {
            trained.resize(inputs.len(), true);
        }
        targets.extend((!inputs.is_empty()).then_some(behind));
        let rows = inputs.len() / sequence;
        Batch { inputs, targets, segments, positions, trained, rows, sequence, first_row, parts: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::ahead::Piece;

    #[test]
    fn openers_begin_segments_and_rows_begin_anew() {
        let mut columns = Columns::new(2, 4);
        let mut piece = Piece::new(vec![0, 5, 6, 0, 7, 8, 9, 0], vec![0, 3, 7], Vec::new());
        while let Some(row) = piece.next_row(4) {
            columns.push(&row);
        }
        let batch = columns.batch(0, 4);
        assert_eq!(batch.inputs, [0, 5, 6, 0, 7, 8, 9, 0]);
        assert_eq!(batch.targets, [5, 6, 0, 7, 8, 9, 0, 4]);
        assert_eq!(batch.segments, [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 0, 1, 2, 0]);
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_named_with_its_place() {
        let message = check_ids(&[1, 2, 9], 100, 9).unwrap_err().to_string();
        assert!(message.contains("token 102") && message.ends_with(": 9"), "{message}");
    }
}
