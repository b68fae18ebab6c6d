//! Which held-out documents validate.
//!
//! In → the held-out documents of a source; out → those to score. They are taken by rising hash of
//! the id, under no seed and no mix's names: two mixes of one corpus validate on the same text,
//! whatever their seeds and weights, and a larger `eval_tokens` only adds documents. Pure.

use super::plan::BlockPlace;

/// A held-out document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Hash of its id: the order; equal ids come in corpus order.
    pub hash: u64,
    /// The block it lies in.
    pub place: BlockPlace,
    /// Its row in the block.
    pub row: usize,
    /// Its tokens.
    pub tokens: u64,
}

/// The first documents by hash whose tokens stay within `tokens_max`, one at least; empty
/// documents have nothing to score.
pub fn choose(mut candidates: Vec<Candidate>, tokens_max: u64) -> Vec<Candidate> {
    candidates.retain(|candidate| candidate.tokens > 0);
    candidates.sort_unstable();
    let mut tokens = 0;
    let within = candidates.iter().take_while(|candidate| {
        tokens += candidate.tokens;
        tokens <= tokens_max
    });
    let chosen = within.count().max(usize::from(tokens_max > 0));
    candidates.truncate(chosen);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(tokens: &[u64]) -> Vec<Candidate> {
        let place = BlockPlace { file: 0, block: 0 };
        let rows = tokens.iter().enumerate();
        rows.map(|(row, &tokens)| Candidate { hash: 100 - row as u64, place, row, tokens })
            .collect()
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
    fn a_source_with_one_huge_document_still_validates_and_zero_means_none() {
        assert_eq!(rows(&[500], 10), [0]);
        assert!(rows(&[500], 0).is_empty());
    }
}
