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
//! is checked against the vocabulary. **Cost.** Some microseconds a row; blocks are decoded ahead
//! of the trainer ([`super::ahead`]), once an epoch when rows are read in order.

use std::path::{Path, PathBuf};

use super::ahead::RowsAhead;
use crate::base::error::{Error, Result};
use crate::runtime::data::{Batch, Feed};
use crate::shards::{MixReader, MixRecord};

/// The feed of a run.
pub struct MixFeed {
    record: MixRecord,
    window_bytes: u64,
    rows: RowsAhead,
    sequence: usize,
    tokens: Vec<u32>,
    starts: Vec<u32>,
    trained: Vec<bool>,
}

impl MixFeed {
    /// Opens the mix for rows of `sequence` tokens; `data`: where else its shards may lie. No block
    /// is held beside the one that is read until [`MixFeed::limit`] allows more.
    pub fn open(mix: &Path, data: &[PathBuf], sequence: usize) -> Result<MixFeed> {
        let reader = MixReader::open(mix, data, 0)?;
        check_packing(reader.record(), sequence)?;
        let (record, window_bytes) = (reader.record().clone(), reader.window_bytes());
        let rows = RowsAhead::new(reader, sequence);
        let (tokens, starts, trained) = (Vec::new(), Vec::new(), Vec::new());
        Ok(MixFeed { record, window_bytes, rows, sequence, tokens, starts, trained })
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
    /// far stay within `bytes`.
    pub fn tokens_of_text(&mut self, bytes: u64) -> Result<u64> {
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
        let (tokens, starts) = (&mut self.tokens, &mut self.starts);
        let trained = &mut self.trained;
        tokens.clear();
        starts.clear();
        trained.clear();
        let behind = self.rows.rows(first, count, |row| {
            let before = tokens.len() as u32;
            starts.extend(row.starts.iter().map(|start| before + start));
            if !(row.trained.is_empty() && trained.is_empty()) {
                trained.resize(tokens.len(), true);
                trained.extend_from_slice(&row.trained);
            }
            tokens.extend_from_slice(&row.tokens);
        })?;
        if !trained.is_empty() {
            trained.resize(tokens.len(), true);
        }
        self.tokens.push(behind.unwrap_or(self.record.end_of_text_id));
        check_ids(&self.tokens, first * self.sequence as u64, self.record.vocab_size)?;
        let batch = batch(&self.tokens, &self.starts, count, self.sequence);
        Ok(Batch { first_row: first, trained: self.trained.clone(), ..batch })
    }
}

/// A mix that was packed for rows of another length would cut as many documents as any.
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

/// `tokens`: rows · sequence + 1; `starts`: where documents begin among them, rising.
fn batch(tokens: &[u32], starts: &[u32], rows: usize, sequence: usize) -> Batch {
    let size = rows * sequence;
    let mut starts = starts.iter().map(|&start| start as usize).peekable();
    let (mut segments, mut positions) = (Vec::with_capacity(size), Vec::with_capacity(size));
    let (mut segment, mut position) = (0, 0);
    for at in 0..size {
        let begins = starts.next_if_eq(&at).is_some();
        if at.is_multiple_of(sequence) {
            (segment, position) = (0, 0);
        } else if begins {
            (segment, position) = (segment + 1, 0);
        }
        segments.push(segment);
        positions.push(position);
        position += 1;
    }
    let (inputs, targets) = (tokens[..size].to_vec(), tokens[1..].to_vec());
    let trained = Vec::new();
    Batch { inputs, targets, segments, positions, trained, rows, sequence, first_row: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openers_begin_segments_and_rows_begin_anew() {
        let tokens = [0, 5, 6, 0, 7, 8, 9, 0, 4];
        let batch = batch(&tokens, &[0, 3, 7], 2, 4);
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
