//! Documents moved a little, so that rows end where documents end.
//!
//! In → documents in the mix's order; out → the same documents, in an order in which a row of
//! `sequence` tokens is cut through as few of them as can be found. Method: [`WINDOW`] documents
//! wait; where a row has *r* tokens left the oldest is next that fills them exactly, alone or with
//! another one that waits; where none does, the oldest that fits; where none fits, the oldest,
//! which is cut. A document longer than a row counts by its last piece, which is all that it needs
//! of a row that it does not fill. Who has seen 2 · [`WINDOW`] pass is next. (Ding et al., "Fewer
//! truncations improve language modeling", 2024, pack by best fit into rows of their own and pad
//! what is left; here nothing is padded and no token is lost, since the stream stays one of whole
//! documents, and whatever reads a mix reads this one. Best fit alone leaves rests that only very
//! short documents would fill, and soon has none.)
//!
//! Invariants: every document comes out once, in its phase; the order is a function of the lengths
//! and of the order before. A document that comes or goes changes the choices behind it, but moves
//! no other by more than some windows. Cost: [`WINDOW`] documents and two bytes a token of a row in
//! memory; one pass over the window a document, most of them short.

use std::collections::VecDeque;

use super::order::Placed;
use crate::{base::error::Result, shards::mix_record::MixPacking};

/// How many documents wait. More of them fill rows better and move documents further. Within a
/// million tokens, in documents of some hundred tokens each, so few leave the mixture of every
/// stretch accurate.
pub const WINDOW: usize = 256;

/// Packs a stream of documents.
pub struct Packer {
    sequence: u64,
    /// Waiting documents with their ages, the oldest first.
    waiting: VecDeque<(u64, Placed)>,
    /// For each number of tokens, how many waiting documents need so much of a row.
    by_need: Vec<u16>,
    /// How many documents have come in, and how many have gone out.
    came: u64,
    went: u64,
    /// The token at which the next document begins, in the stream that goes out and in the one that
    /// came in.
    position: u64,
    position_before: u64,
    phase: u16,
    packing: MixPacking,
}

impl Packer {
    /// For rows of `sequence` tokens.
    pub fn new(sequence: u64) -> Packer {
        Packer {
            sequence,
            waiting: VecDeque::with_capacity(WINDOW),
            by_need: vec![0; sequence as usize + 1],
            came: 0,
            went: 0,
            position: 0,
            position_before: 0,
            phase: 0,
            packing: MixPacking { sequence, ..MixPacking::default() },
        }
    }

    /// Takes the next document; `place` is called for those whose turn has come.
    pub fn push(
        &mut self,
        document: Placed,
        place: &mut dyn FnMut(Placed) -> Result<()>,
    ) -> Result<()> {
        if document.phase != self.phase {
            self.drain(place)?;
            self.phase = document.phase;
        }
        let cut = self.is_cut(self.position_before, document.tokens);
        self.packing.cut_by_concat += u64::from(cut);
        self.packing.longer_than_a_row += u64::from(document.tokens > self.sequence);
        self.packing.documents += 1;
        self.position_before += document.tokens;
        let need = self.need(document.tokens);
        self.by_need[need as usize] += 1;
        self.waiting.push_back((self.came, document));
        self.came += 1;
        if self.waiting.len() >= WINDOW { self.place_next(place) } else { Ok(()) }
    }

    /// Gives out what waits, and says what was cut.
    pub fn finish(mut self, place: &mut dyn FnMut(Placed) -> Result<()>) -> Result<MixPacking> {
        self.drain(place)?;
        Ok(self.packing)
    }

    fn drain(&mut self, place: &mut dyn FnMut(Placed) -> Result<()>) -> Result<()> {
        while !self.waiting.is_empty() {
            self.place_next(place)?;
        }
        Ok(())
    }

    fn place_next(&mut self, place: &mut dyn FnMut(Placed) -> Result<()>) -> Result<()> {
        let Some((_, document)) = self.waiting.remove(self.choose()) else { return Ok(()) };
        let need = self.need(document.tokens);
        self.by_need[need as usize] -= 1;
        self.packing.cut += u64::from(self.is_cut(self.position, document.tokens));
        self.position += document.tokens;
        self.went += 1;
        place(document)
    }

    /// Whether a border of rows lies inside a document.
    fn is_cut(&self, start: u64, tokens: u64) -> bool {
        start / self.sequence != (start + tokens - 1) / self.sequence
    }

    /// The tokens of a row that a document needs: its length, or that of the piece left over when
    /// it has filled whole rows.
    fn need(&self, tokens: u64) -> u64 {
        (tokens - 1) % self.sequence + 1
    }

    /// The place in the window of the next document.
    fn choose(&self) -> usize {
        let oldest = self.waiting.front().map_or(0, |(age, _)| *age);
        if self.went > oldest + 2 * WINDOW as u64 {
            return 0;
        }
        let left = self.sequence - self.position % self.sequence;
        let mut fits = None;
        for (at, (_, document)) in self.waiting.iter().enumerate() {
            let need = self.need(document.tokens);
            if need > left {
                continue;
            }
            let rest = left - need;
            let others = self.by_need[rest as usize] - u16::from(rest == need);
            if rest == 0 || others > 0 {
                return at;
            }
            fits = fits.or(Some(at));
        }
        fits.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::rng::Stream;

    fn documents(count: u32, seed: u64) -> Vec<Placed> {
        let mut stream = Stream::new(seed, "lengths");
        let mut length = || match stream.next_u64() % 10 {
            0 => 1 + stream.next_u64() % 5000,
            _ => 1 + stream.next_u64() % 700,
        };
        let document = |row: u32| {
            let phase = u16::from(row > count / 2);
            Placed { shard: 0, row, source: (row % 2) as u16, phase, tokens: length() }
        };
        (0..count).map(document).collect()
    }

    fn pack(documents: &[Placed], sequence: u64) -> (Vec<Placed>, MixPacking) {
        let mut packer = Packer::new(sequence);
        let mut packed = Vec::new();
        let mut place = |document| {
            packed.push(document);
            Ok(())
        };
        documents.iter().for_each(|&one| packer.push(one, &mut place).unwrap());
        let packing = packer.finish(&mut place).unwrap();
        (packed, packing)
    }

    #[test]
    fn every_document_comes_once_and_moves_no_further_than_the_window() {
        let documents = documents(20_000, 1);
        let (packed, _) = pack(&documents, 1024);
        let rows: BTreeSet<u32> = packed.iter().map(|one| one.row).collect();
        assert_eq!((rows.len(), packed.len()), (20_000, 20_000));
        assert!(packed.is_sorted_by_key(|one| one.phase));
        for (at, one) in packed.iter().enumerate() {
            assert!(at.abs_diff(one.row as usize) <= 3 * WINDOW + 1, "{} at {at}", one.row);
        }
        assert_eq!(pack(&documents, 1024).0, packed);
    }

    #[test]
    fn few_documents_are_cut_and_all_are_counted() {
        for sequence in [1024, 2048, 4096] {
            let (packed, packing) = pack(&documents(20_000, 2), sequence);
            let (mut position, mut cut) = (0, 0);
            for one in packed {
                let end = position + one.tokens;
                cut += u64::from(position / sequence != (end - 1) / sequence);
                position = end;
            }
            assert_eq!((packing.cut, packing.documents), (cut, 20_000));
            let avoidable = packing.cut - packing.longer_than_a_row.min(packing.cut);
            assert!(avoidable * 20 < packing.documents, "{packing:?}");
            assert!(packing.cut * 2 < packing.cut_by_concat, "{packing:?}");
        }
    }

    #[test]
    fn an_edit_moves_no_other_document_by_more_than_the_window() {
        let documents = documents(5000, 3);
        let fewer: Vec<Placed> =
            documents.iter().enumerate().filter(|(at, _)| at % 50 != 7).map(|it| *it.1).collect();
        let (one, two) = (pack(&documents, 1024).0, pack(&fewer, 1024).0);
        // Of any two that stand further apart than both may move, the first stays the first.
        let place = |packed: &[Placed]| {
            let mut places = vec![usize::MAX; 5000];
            packed.iter().enumerate().for_each(|(at, one)| places[one.row as usize] = at);
            places
        };
        let (one, two) = (place(&one), place(&two));
        let apart = 6 * WINDOW + 2;
        for row in (0..5000 - apart).filter(|row| two[*row] != usize::MAX) {
            let other = row + apart;
            assert!(one[row] < one[other] && (two[row] < two[other]), "{row}");
        }
    }
}
