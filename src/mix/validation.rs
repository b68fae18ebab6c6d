//! Which held-out documents validate.
//!
//! In → the held-out documents of a source; out → those to score. They are taken by rising hash of
//! the text, one copy of each, under no seed and no mix's names, and counted by their bytes: two
//! mixes of one corpus validate on the same texts, whatever rules, seeds, weights and tokenizer
//! they have, and a larger `eval_tokens` only adds documents. Pure.

use super::plan::BlockPlace;
use crate::{
    base::{hash::Fingerprint, rng::hash},
    shards::validation::weight,
};

/// A held-out document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Hash of its text (of a shard of an earlier build: of its id): the order.
    pub hash: u64,
    /// Whether a step would have dropped it: of equal texts one that would be kept comes first,
    /// then corpus order.
    pub judged: bool,
    /// The block it lies in.
    pub place: BlockPlace,
    /// Its row in the block.
    pub row: usize,
    /// UTF-8 bytes of its text.
    pub bytes: u64,
    /// XXH3-128 of its text, where the shard says it.
    pub text: Option<Fingerprint>,
}

/// The first documents by hash that count for at most `tokens_max` tokens ([`weight`]), one at
/// least; empty documents have nothing to score.
pub fn choose(mut candidates: Vec<Candidate>, tokens_max: u64) -> Vec<Candidate> {
    candidates.retain(|candidate| candidate.bytes > 0);
    candidates.sort_unstable();
    candidates.dedup_by(|later, first| first.text.is_some() && later.text == first.text);
    let chosen = fitting(candidates.iter().map(|candidate| candidate.bytes), tokens_max);
    candidates.truncate(chosen);
    candidates
}

/// How many documents, of so many bytes each, count for at most `tokens_max` tokens; one at least.
pub fn fitting(bytes: impl Iterator<Item = u64>, tokens_max: u64) -> usize {
    let mut tokens = 0;
    let within = bytes.take_while(|&bytes| {
        tokens += weight(bytes);
        tokens <= tokens_max
    });
    within.count().max(usize::from(tokens_max > 0))
}

/// Where a text stands among those that may validate.
pub fn place_of(text: Fingerprint) -> u64 {
    hash(0, "validation", &[&text.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(tokens: &[u64]) -> Vec<Candidate> {
        let place = BlockPlace { file: 0, block: 0 };
        let rows = tokens.iter().enumerate();
        let candidate = |(row, &tokens): (usize, &u64)| Candidate {
            hash: 100 - row as u64,
            judged: false,
            place,
            row,
            bytes: 4 * tokens,
            text: None,
        };
        rows.map(candidate).collect()
    }

    fn rows(tokens: &[u64], tokens_max: u64) -> Vec<usize> {
        choose(candidates(tokens), tokens_max).iter().map(|chosen| chosen.row).collect()
    }

    #[test]
    fn more_tokens_only_add_documents() {
        let tokens = [5, 0, 7, 3, 9, 1];
        for tokens_max in 0..30 {
            let (fewer, more) = (rows(&tokens, tokens_max), rows(&tokens, tokens_max + 1));
            assert!(more.starts_with(&fewer), "{tokens_max}: {fewer:?} {more:?}");
        }
        assert_eq!(rows(&tokens, 13), [5, 4, 3]);
        assert_eq!(rows(&tokens, 1000), [5, 4, 3, 2, 0]);
    }

    #[test]
    fn of_equal_texts_one_is_taken_and_rather_one_that_would_be_kept() {
        let mut copies = candidates(&[5, 5, 7]);
        for (at, judged) in [(0, true), (1, false)] {
            let text = Some(Fingerprint([7; 16]));
            copies[at] = Candidate { hash: 3, judged, text, ..copies[at] };
        }
        let taken: Vec<usize> = choose(copies, 100).iter().map(|chosen| chosen.row).collect();
        assert_eq!(taken, [1, 2]);
    }

    #[test]
    fn a_source_with_one_huge_document_still_validates_and_zero_means_none() {
        assert_eq!(rows(&[500], 10), [0]);
        assert!(rows(&[500], 0).is_empty());
    }
}
