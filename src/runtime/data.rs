//! What a trainer reads: batches of rows, and the feed that makes them.
//!
//! In → token ids with their documents' boundaries; out → [`Batch`]. A feed's row `i` is a pure
//! function of (mix, `i`), so a run's position is one integer and any micro-batch size, worker
//! count or rank count reads the same rows (docs/design.md, section 3.9).

use std::borrow::Cow;

use crate::base::error::{Error, Result};

/// `rows` × `sequence` tokens, row-major in all columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Token ids the model reads.
    pub inputs: Vec<u32>,
    /// The token that follows each input.
    pub targets: Vec<u32>,
    /// Which document of its row a token belongs to: a document is a run of equal numbers, and
    /// attention stays inside a run.
    pub segments: Vec<u32>,
    /// Distance from the document's first token: the position that RoPE uses.
    pub positions: Vec<u32>,
    /// Whether each target counts in the loss; empty where all do.
    pub trained: Vec<bool>,
    /// Number of rows.
    pub rows: usize,
    /// Tokens a row.
    pub sequence: usize,
    /// Index of the first row in the training data, counted in cut rows. Draws of dropout depend on
    /// it and on `parts`.
    pub first_row: u64,
    /// Into how many parts a row of the training data is cut.
    pub parts: u64,
}

impl Batch {
    /// One row that is one document, positions from 0.
    pub fn single_document(inputs: Vec<u32>, targets: Vec<u32>) -> Batch {
        let sequence = inputs.len();
        let positions = (0..sequence as u32).collect();
        Batch {
            inputs,
            targets,
            segments: vec![0; sequence],
            positions,
            trained: Vec::new(),
            rows: 1,
            sequence,
            first_row: 0,
            parts: 1,
        }
    }

    /// The same tokens in rows of `sequence`, which must divide the present row length. Each part
    /// begins anew: it does not see the tokens before it, and its positions count from 0.
    pub fn cut(self, sequence: usize) -> Batch {
        if sequence == self.sequence {
            return self;
        }
        let parts = self.sequence / sequence;
        assert_eq!(parts * sequence, self.sequence, "a row is cut into equal parts");
        let (mut segments, mut positions) = (self.segments, self.positions);
        for (segments, positions) in
            segments.chunks_mut(sequence).zip(positions.chunks_mut(sequence))
        {
            let (segment, position) = (segments[0], positions[0]);
            for (own, place) in segments.iter_mut().zip(positions) {
                if *own == segment {
                    *place -= position;
                }
                *own -= segment;
            }
        }
        let (rows, first_row) = (self.rows * parts, self.first_row * parts as u64);
        let parts = self.parts * parts as u64;
        Batch { segments, positions, rows, sequence, first_row, parts, ..self }
    }

    /// Number of tokens, which is the number of targets.
    pub fn tokens(&self) -> usize {
        self.rows * self.sequence
    }

    /// Number of targets that count in the loss.
    pub fn trained_tokens(&self) -> usize {
        match self.trained.is_empty() {
            true => self.tokens(),
            false => self.trained.iter().filter(|trained| **trained).count(),
        }
    }

    /// The targets that count in the loss and their indices; `None` for these where all count.
    pub fn trained_targets(&self) -> (Option<Vec<u32>>, Cow<'_, [u32]>) {
        if self.trained.iter().all(|trained| *trained) {
            return (None, Cow::Borrowed(&self.targets));
        }
        let places = (0..).zip(&self.trained).filter(|(_, trained)| **trained);
        let places: Vec<u32> = places.map(|(place, _)| place).collect();
        let targets = places.iter().map(|&place| self.targets[place as usize]).collect();
        (Some(places), targets)
    }

    /// The `rows` rows from `first` on.
    pub fn slice(&self, first: usize, rows: usize) -> Batch {
        let range = first * self.sequence..(first + rows) * self.sequence;
        Batch {
            inputs: self.inputs[range.clone()].to_vec(),
            targets: self.targets[range.clone()].to_vec(),
            segments: self.segments[range.clone()].to_vec(),
            positions: self.positions[range.clone()].to_vec(),
            trained: self.trained.get(range).unwrap_or_default().to_vec(),
            rows,
            sequence: self.sequence,
            first_row: self.first_row + first as u64,
            parts: self.parts,
        }
    }

    /// Checks that lengths are rows × sequence and every id is below `vocab_size`.
    pub fn check(&self, vocab_size: usize) -> Result<()> {
        let columns = [&self.inputs, &self.targets, &self.segments, &self.positions];
        let expected = self.tokens();
        if let Some(column) = columns.iter().find(|column| column.len() != expected) {
            let (rows, sequence, found) = (self.rows, self.sequence, column.len());
            return Err(Error::failed(format!(
                "a batch of {rows} rows of {sequence} tokens needs {expected} each, found {found}"
            )));
        }
        if ![0, expected].contains(&self.trained.len()) {
            let found = self.trained.len();
            return Err(Error::failed(format!(
                "a batch of {expected} targets says of {found} whether they count"
            )));
        }
        for (name, ids) in [("input", &self.inputs), ("target", &self.targets)] {
            if let Some(at) = ids.iter().position(|&id| id as usize >= vocab_size) {
                let (row, column) = (at / self.sequence, at % self.sequence);
                return Err(Error::failed(format!(
                    "{name} token of row {row}, column {column} is outside the vocabulary of \
                     {vocab_size}: {}",
                    ids[at]
                ))
                .with_hint("the shards and the model's tokenizer do not belong together"));
            }
        }
        Ok(())
    }
}

/// A source of training rows.
pub trait Feed: Send {
    /// Rows `first .. first + count`; each is a pure function of the mix and its own number.
    fn rows(&mut self, first: u64, count: usize) -> Result<Batch>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_outside_the_vocabulary_is_named_by_row_and_column() {
        let mut batch = Batch::single_document(vec![1, 2, 3, 4], vec![2, 3, 4, 9]);
        (batch.rows, batch.sequence) = (2, 2);
        assert!(batch.check(10).is_ok());
        let message = batch.check(9).unwrap_err().to_string();
        assert!(message.contains("target token of row 1, column 1"), "{message}");
        batch.positions.pop();
        assert!(batch.check(10).unwrap_err().to_string().contains("found 3"));
    }

    #[test]
    fn rows_that_are_cut_hold_the_same_tokens_and_begin_anew() {
        let mut batch = Batch::single_document((0..16).collect(), (1..17).collect());
        (batch.rows, batch.sequence, batch.first_row) = (2, 8, 6);
        batch.segments = [[0, 0, 0, 1, 1, 1, 1, 2], [0; 8]].concat();
        batch.positions = [[0, 1, 2, 0, 1, 2, 3, 0], [0, 1, 2, 3, 4, 5, 6, 7]].concat();
        let cut = batch.clone().cut(4);
        assert_eq!((cut.rows, cut.sequence, cut.first_row), (4, 4, 12));
        assert_eq!((&cut.inputs, &cut.targets), (&batch.inputs, &batch.targets));
        assert_eq!(cut.segments[..8], [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(cut.positions[..8], [0, 1, 2, 0, 0, 1, 2, 0]);
        assert_eq!(cut.positions[8..], [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(batch.clone().cut(8), batch);
    }

    #[test]
    fn slices_put_together_are_the_batch() {
        let mut batch = Batch::single_document((0..12).collect(), (1..13).collect());
        (batch.rows, batch.sequence) = (3, 4);
        batch.trained = (0..12).map(|at| at % 3 == 0).collect();
        let parts = [batch.slice(0, 2), batch.slice(2, 1)];
        let joined: Vec<u32> = parts.iter().flat_map(|part| part.targets.clone()).collect();
        assert_eq!(joined, batch.targets);
        assert_eq!(parts[1].tokens(), 4);
        let trained: Vec<u32> =
            parts.iter().flat_map(|part| part.trained_targets().1.into_owned()).collect();
        assert_eq!(trained, [1, 4, 7, 10]);
        assert_eq!(parts[1].trained_targets().0, Some(vec![1]));
        assert_eq!(parts.map(|part| part.trained_tokens()), [3, 1]);
    }
}
