//! Merges one piece into ids.
//!
//! Tokens and the ordered list of merges → [`Ranks`]; one piece's bytes → its ids, as the
//! `tokenizers` package's BPE model gives them (`models/bpe/word.rs`, `merge_all`): the merge of
//! lowest rank first, the leftmost among equals, until none applies. A merge's rank is its place in
//! the list; for a pair that stands there twice the last place counts; several merges may make one
//! token. A byte without a token vanishes, so that its neighbours become adjacent (as in that
//! package without `unk_token`).
//!
//! Method, by the length of the piece:
//! - up to 62 bytes: `rank << 6 | position` of every neighbouring pair lies in a flat array, whose
//!   minimum is the next merge; a bit set holds the tokens that are still there.
//! - longer: the piece is first cut between bytes that no merge joins (none has a left part that
//!   ends in the one and a right part that begins with the other); then each part is merged by
//!   itself.
//! - a long part: tokens lie in a tape (see [`long`]) and pairs in one bucket a rank, emptied in
//!   order of rank. That is right when each merge ranks after all those that make its parts, as in
//!   every trained vocabulary; for others the pairs lie in a heap, by rank and position.
//!
//! Cost: 20 to 40 ns a merge; O(n), or O(n log n) with the heap; up to 21 bytes of memory for each
//! byte of a long part. Tables: 20 to 40 bytes a merge and 300 KiB.

mod long;
mod pairs;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::error::{Error, Result};
use long::{Buckets, Tape};
use pairs::{PairTable, RANK_BITS};

/// Bits of a symbol. Symbols number the tokens that a piece can hold: bytes first, then merges.
const SYMBOL_BITS: u32 = 21;
/// Most tokens of a vocabulary: as many as symbols can number, less two.
pub const TOKENS_MAX: u32 = (1 << SYMBOL_BITS) - 2;
const SYMBOL: u32 = (1 << SYMBOL_BITS) - 1;
/// Flags of a symbol: some merge has it on its left, on its right. They rule out most pairs.
const STANDS_LEFT: u32 = 1 << 31;
const STANDS_RIGHT: u32 = 1 << 30;
/// The symbol that no merge takes.
const EDGE: u32 = SYMBOL;
/// The rank of a pair that does not merge.
const NEVER: u32 = (1 << RANK_BITS) - 1;
/// After a piece of more bytes than this the memory is given back.
const KEPT_MOST: usize = 1 << 18;
/// Longest piece, in bytes, for the flat array: of its 64 positions (6 bits) two are edges.
const FLAT_MOST: usize = 62;

/// The merges of a vocabulary, ready to be applied.
#[derive(Debug)]
pub struct Ranks {
    /// Byte → symbol; [`EDGE`] for a byte without a token.
    byte_symbol: Box<[u32; 256]>,
    /// First byte × 256 + second → rank.
    byte_pair: Box<[u32]>,
    pairs: PairTable,
    /// Rank → left symbol, right symbol, symbol made (with its flags).
    left: Vec<u32>,
    right: Vec<u32>,
    made: Vec<u32>,
    /// Symbol → token id.
    id: Vec<u32>,
    /// Symbol → length in bytes.
    width: Vec<u32>,
    /// Byte → bit set of the bytes that some merge can join to it on the right.
    meets: Box<[[u64; 4]; 256]>,
    /// Whether every byte has a token.
    every_byte: bool,
    /// Whether each merge ranks after the merges that make its parts.
    ordered: bool,
}

/// Memory that [`Ranks::merge`] reuses from piece to piece: at most 5 MiB and 4 bytes a merge,
/// except while a piece of more than 256 KiB is merged.
#[derive(Debug, Default)]
pub struct MergeScratch {
    kept: Vec<u8>,
    tape: Tape,
    heap: BinaryHeap<Reverse<u64>>,
    buckets: Buckets,
    places: Vec<u32>,
}

/// `rank << 6 | position` sorts by rank, then place. An i32: every vector unit has their minimum.
fn packed(rank: u32, position: usize) -> i32 {
    (rank << 6 | position as u32) as i32
}

/// The least of the pairs. Sixteen are halved as single numbers: measured, a third faster than in
/// order. For more, vector units take the least.
#[inline(always)]
fn least<const LANES: usize>(pairs: &[i32; LANES]) -> i32 {
    if LANES > 16 {
        return pairs.iter().fold(i32::MAX, |least, &pair| least.min(pair));
    }
    let eight: [i32; 8] = std::array::from_fn(|at| pairs[at].min(pairs[at + 8]));
    let four: [i32; 4] = std::array::from_fn(|at| eight[at].min(eight[at + 4]));
    four[0].min(four[2]).min(four[1].min(four[3]))
}

impl Ranks {
    /// `token_bytes`: by id, empty where the id is free or a special token's. `merges`: ids of the
    /// left part, the right part and the token made, lowest rank first. Merges of parts that no
    /// piece can hold are left out: they never apply.
    ///
    /// # Errors
    /// [`Error::Config`] for more than 2²¹ tokens, 2²² merges or 2²⁸ bytes in a token.
    ///
    /// # Panics
    /// When a merge names an id beyond `token_bytes`.
    pub fn new(token_bytes: &[Vec<u8>], merges: &[(u32, u32, u32)]) -> Result<Ranks> {
        let numbering = Numbering::new(token_bytes, merges);
        let merges = numbering.usable(merges);
        let longest = token_bytes.iter().map(Vec::len).max().unwrap_or(0);
        if numbering.id.len() >= EDGE as usize || merges.len() >= NEVER as usize {
            return Err(Error::config("a vocabulary has at most 2,097,150 tokens to merge"));
        }
        if longest > 1 << 28 {
            return Err(Error::config("a token has at most 268,435,456 bytes"));
        }
        let Numbering { byte_symbol, id, .. } = numbering;
        let width = id.iter().map(|&id| token_bytes[id as usize].len() as u32).collect();
        let mut ranks = Ranks {
            byte_symbol: Box::new(byte_symbol),
            byte_pair: Box::new([]),
            pairs: PairTable::new(&merges),
            left: merges.iter().map(|merge| merge.0).collect(),
            right: merges.iter().map(|merge| merge.1).collect(),
            made: merges.iter().map(|merge| merge.2).collect(),
            id,
            width,
            meets: Box::new([[0; 4]; 256]),
            every_byte: byte_symbol.iter().all(|&symbol| symbol != EDGE),
            ordered: false,
        };
        ranks.mark_sides();
        ranks.fill_byte_pairs();
        ranks.mark_meetings(token_bytes);
        ranks.ordered = ranks.is_ordered();
        Ok(ranks)
    }

    /// Notes in each symbol on which sides of a merge it can stand.
    fn mark_sides(&mut self) {
        let mut bits = vec![0; self.id.len()];
        for &symbol in &self.left {
            bits[symbol as usize] |= STANDS_LEFT;
        }
        for &symbol in &self.right {
            bits[symbol as usize] |= STANDS_RIGHT;
        }
        for symbol in &mut self.made {
            *symbol |= bits[*symbol as usize];
        }
        for symbol in self.byte_symbol.iter_mut().filter(|symbol| **symbol != EDGE) {
            *symbol |= bits[*symbol as usize];
        }
    }

    fn fill_byte_pairs(&mut self) {
        let symbol = |byte: usize| self.byte_symbol[byte];
        self.byte_pair =
            (0..1 << 16).map(|pair| self.rank(symbol(pair >> 8), symbol(pair & 0xFF))).collect();
    }

    /// A merge crosses from a byte to the next only where a left part ends and a right part begins.
    fn mark_meetings(&mut self, token_bytes: &[Vec<u8>]) {
        let bytes = |symbol: u32| &token_bytes[self.id[symbol as usize] as usize];
        for (&left, &right) in self.left.iter().zip(&self.right) {
            if let (Some(&last), Some(&first)) = (bytes(left).last(), bytes(right).first()) {
                self.meets[usize::from(last)][usize::from(first >> 6)] |= 1 << (first & 63);
            }
        }
    }

    fn is_ordered(&self) -> bool {
        let mut latest = vec![-1; self.id.len()];
        for (rank, &made) in self.made.iter().enumerate() {
            latest[(made & SYMBOL) as usize] = rank as i64;
        }
        let before = |symbol: u32, rank: usize| latest[symbol as usize] < rank as i64;
        (0..self.made.len())
            .all(|rank| before(self.left[rank], rank) && before(self.right[rank], rank))
    }

    /// The rank of a pair of symbols, [`NEVER`] when none merges it.
    #[inline(always)]
    fn rank(&self, left: u32, right: u32) -> u32 {
        let merges = left & (right << 1) & STANDS_LEFT != 0;
        self.pairs.rank(left & SYMBOL, right & SYMBOL, merges)
    }

    /// Appends the ids of `piece` to `out`.
    ///
    /// # Panics
    /// For a piece of 4 GiB and more.
    pub fn merge(&self, scratch: &mut MergeScratch, piece: &[u8], out: &mut Vec<u32>) {
        if self.every_byte {
            return self.merge_known(scratch, piece, out);
        }
        let mut kept = std::mem::take(&mut scratch.kept);
        kept.clear();
        kept.extend(piece.iter().filter(|&&byte| self.byte_symbol[usize::from(byte)] != EDGE));
        self.merge_known(scratch, &kept, out);
        scratch.kept = kept;
    }

    /// [`Ranks::merge`] for a piece whose bytes all have tokens.
    fn merge_known(&self, scratch: &mut MergeScratch, piece: &[u8], out: &mut Vec<u32>) {
        if piece.len() <= FLAT_MOST {
            return self.merge_flat(piece, out);
        }
        let mut start = 0;
        for (at, two) in piece.windows(2).enumerate() {
            if self.meets[usize::from(two[0])][usize::from(two[1] >> 6)] >> (two[1] & 63) & 1 == 0 {
                self.merge_part(scratch, &piece[start..=at], out);
                start = at + 1;
            }
        }
        self.merge_part(scratch, &piece[start..], out);
        if piece.len() > KEPT_MOST {
            *scratch = MergeScratch::default();
        }
    }

    /// Merges a part in which merges may join any two neighbouring bytes.
    fn merge_part(&self, scratch: &mut MergeScratch, part: &[u8], out: &mut Vec<u32>) {
        if part.len() <= FLAT_MOST {
            self.merge_flat(part, out);
        } else if self.ordered {
            self.merge_by_buckets(scratch, part, out);
        } else {
            self.merge_by_heap(scratch, part, out);
        }
    }

    #[inline]
    fn merge_flat(&self, piece: &[u8], out: &mut Vec<u32>) {
        match piece.len() {
            0 => {}
            1 => out.push(self.id[(self.byte_symbol[usize::from(piece[0])] & SYMBOL) as usize]),
            2..=14 => self.merge_lanes::<16>(piece, out),
            15..=30 => self.merge_lanes::<32>(piece, out),
            _ => self.merge_lanes::<64>(piece, out),
        }
    }

    /// Merges up to `LANES - 2` bytes; positions 0 and length + 1 are edges.
    #[inline(always)]
    fn merge_lanes<const LANES: usize>(&self, piece: &[u8], out: &mut Vec<u32>) {
        const { assert!(LANES <= FLAT_MOST + 2) };
        let mut symbols = [EDGE; LANES];
        let mut pairs = [i32::MAX; LANES];
        for (at, &byte) in piece.iter().enumerate() {
            symbols[at + 1] = self.byte_symbol[usize::from(byte)];
        }
        for (at, two) in piece.windows(2).enumerate() {
            let rank = self.byte_pair[usize::from(two[0]) << 8 | usize::from(two[1])];
            pairs[at + 1] = packed(rank, at + 1);
        }
        // Bit 0 and the highest are the edges.
        let mut alive = u64::MAX >> (FLAT_MOST - piece.len());
        loop {
            let best = least(&pairs) as u32;
            if best >= NEVER << 6 {
                break;
            }
            let at = (best & 63) as usize;
            let behind = alive & (u64::MAX << at << 1);
            let gone = behind.trailing_zeros() as usize;
            let next = (behind & (behind - 1)).trailing_zeros() as usize;
            let before = 63 - (alive & ((1 << at) - 1)).leading_zeros() as usize;
            let made = self.made[(best >> 6) as usize];
            alive &= !(1 << gone);
            symbols[at % LANES] = made;
            pairs[gone % LANES] = i32::MAX;
            pairs[at % LANES] = packed(self.rank(made, symbols[next % LANES]), at);
            pairs[before % LANES] = packed(self.rank(symbols[before % LANES], made), before);
        }
        // Without the edges.
        let mut rest = alive & (alive - 1) & !(1 << (piece.len() + 1));
        out.reserve(LANES);
        while rest != 0 {
            let symbol = symbols[rest.trailing_zeros() as usize % LANES] & SYMBOL;
            out.push(self.id[symbol as usize]);
            rest &= rest - 1;
        }
    }

    /// Merges with the pairs in a heap; an entry is out of date when its pair is no longer there.
    fn merge_by_heap(&self, scratch: &mut MergeScratch, part: &[u8], out: &mut Vec<u32>) {
        let MergeScratch { tape, heap, .. } = scratch;
        tape.lay(part, &self.byte_symbol);
        let entry = |rank: u32, at: usize| Reverse(u64::from(rank) << 32 | at as u64);
        let mut first = std::mem::take(heap).into_vec();
        first.clear();
        first.extend(part.windows(2).enumerate().filter_map(|(at, two)| {
            let rank = self.byte_pair[usize::from(two[0]) << 8 | usize::from(two[1])];
            (rank != NEVER).then(|| entry(rank, at + 1))
        }));
        *heap = first.into();
        while let Some(Reverse(top)) = heap.pop() {
            let (rank, at) = ((top >> 32) as u32, top as u32 as usize);
            let Some(near) = tape.join(self, rank, at) else { continue };
            let before = self.rank(near.left, near.made);
            if before != NEVER {
                heap.push(entry(before, near.left_at));
            }
            let behind = self.rank(near.made, near.right);
            if behind != NEVER {
                heap.push(entry(behind, at));
            }
        }
        tape.read(self, out);
    }

    /// Merges with the pairs in one bucket a rank; a merge fills only buckets still to come.
    fn merge_by_buckets(&self, scratch: &mut MergeScratch, part: &[u8], out: &mut Vec<u32>) {
        let MergeScratch { tape, buckets, places, .. } = scratch;
        tape.lay(part, &self.byte_symbol);
        buckets.prepare(self.made.len());
        for (at, two) in part.windows(2).enumerate() {
            let rank = self.byte_pair[usize::from(two[0]) << 8 | usize::from(two[1])];
            if rank != NEVER {
                buckets.push(rank, at as u32 + 1);
            }
        }
        let mut rank = 0;
        while let Some(next) = buckets.next(rank) {
            rank = next;
            buckets.empty(rank, places);
            // Only pairs of one token with itself can overlap; others may come in any order.
            if self.left[rank as usize] == self.right[rank as usize] && !places.is_sorted() {
                places.sort_unstable();
            }
            for &at in places.iter() {
                let Some(near) = tape.join(self, rank, at as usize) else { continue };
                let before = self.rank(near.left, near.made);
                if before != NEVER {
                    buckets.push(before, near.left_at as u32);
                }
                let behind = self.rank(near.made, near.right);
                if behind != NEVER {
                    buckets.push(behind, at);
                }
            }
        }
        tape.read(self, out);
    }
}

/// Which token ids can occur, and their symbols.
struct Numbering {
    byte_symbol: [u32; 256],
    /// Symbol → id.
    id: Vec<u32>,
    /// Id → symbol, [`EDGE`] for tokens that no merge makes.
    symbol: Vec<u32>,
}

impl Numbering {
    fn new(token_bytes: &[Vec<u8>], merges: &[(u32, u32, u32)]) -> Numbering {
        let mut numbering = Numbering {
            byte_symbol: [EDGE; 256],
            id: Vec::with_capacity(merges.len() + 256),
            symbol: vec![EDGE; token_bytes.len()],
        };
        for (id, bytes) in token_bytes.iter().enumerate() {
            if let [byte] = bytes[..] {
                numbering.byte_symbol[usize::from(byte)] = numbering.number(id as u32);
            }
        }
        for &(_, _, made) in merges {
            numbering.number(made);
        }
        numbering
    }

    fn number(&mut self, id: u32) -> u32 {
        let symbol = &mut self.symbol[id as usize];
        if *symbol == EDGE {
            *symbol = self.id.len() as u32;
            self.id.push(id);
        }
        *symbol
    }

    /// The merges in symbols, without those of unknown parts, each pair at its last place.
    fn usable(&self, merges: &[(u32, u32, u32)]) -> Vec<(u32, u32, u32)> {
        let symbol = |id: u32| self.symbol[id as usize];
        let mut usable: Vec<(u32, u32, u32, usize)> = merges
            .iter()
            .enumerate()
            .map(|(place, merge)| (symbol(merge.0), symbol(merge.1), symbol(merge.2), place))
            .filter(|merge| merge.0 != EDGE && merge.1 != EDGE)
            .collect();
        usable.sort_unstable_by_key(|merge| (merge.0, merge.1, Reverse(merge.3)));
        usable.dedup_by_key(|merge| (merge.0, merge.1));
        usable.sort_unstable_by_key(|merge| merge.3);
        usable.into_iter().map(|merge| (merge.0, merge.1, merge.2)).collect()
    }
}
