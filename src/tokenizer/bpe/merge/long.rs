//! What long parts of a piece are merged in: a tape of tokens, and buckets of places.
//!
//! A [`Tape`] has one cell a byte, between two edges. A token has its symbol in the cell of its
//! first byte, [`TAIL`] plus its length in the cell of its last, and [`TAIL`] alone in those
//! between. So both neighbours are one step away, and a merge moves nothing. [`Buckets`] hold
//! places by rank and give the next rank. Cost: 4 bytes a byte for the tape, 4.6 for each place, in
//! chunks that are reused.

use super::{EDGE, Ranks, SYMBOL};

/// Marks a cell of the tape that is the last byte of a token, not its start; the lower bits are the
/// token's length in bytes.
const TAIL: u32 = 1 << 29;
const LENGTH: u32 = TAIL - 1;

/// The tokens of a part.
#[derive(Debug, Default)]
pub struct Tape(Vec<u32>);

/// What a merge has made, and its neighbours.
pub struct Near {
    pub left: u32,
    pub left_at: usize,
    pub made: u32,
    pub right: u32,
}

impl Tape {
    pub fn lay(&mut self, part: &[u8], byte_symbol: &[u32; 256]) {
        assert!(part.len() < u32::MAX as usize - 1, "a piece has less than 4 GiB");
        self.0.clear();
        self.0.reserve(part.len() + 2);
        self.0.push(EDGE);
        self.0.extend(part.iter().map(|&byte| byte_symbol[usize::from(byte)]));
        self.0.push(EDGE);
    }

    /// Merges the pair of `rank` at `at`, if it is there.
    #[inline(always)]
    pub fn join(&mut self, ranks: &Ranks, rank: u32, at: usize) -> Option<Near> {
        let rank = rank as usize;
        let (left, right, made) = (ranks.left[rank], ranks.right[rank], ranks.made[rank]);
        let first = self.0[at];
        if first & TAIL != 0 || first & SYMBOL != left {
            return None;
        }
        let middle = at + ranks.width[left as usize] as usize;
        if self.0[middle] & SYMBOL != right {
            return None;
        }
        let end = middle + ranks.width[right as usize] as usize;
        self.0[at] = made;
        self.0[middle] = TAIL;
        self.0[end - 1] = TAIL | (end - at) as u32;
        let last = self.0[at - 1];
        let left_at = at - if last & TAIL == 0 { 1 } else { (last & LENGTH) as usize };
        Some(Near { left: self.0[left_at], left_at, made, right: self.0[end] })
    }

    pub fn read(&self, ranks: &Ranks, out: &mut Vec<u32>) {
        let tokens = &self.0[1..self.0.len() - 1];
        let starts = tokens.iter().filter(|&&cell| cell & TAIL == 0);
        out.extend(starts.map(|&cell| ranks.id[(cell & SYMBOL) as usize]));
    }
}

/// Positions in a chunk: with two numbers before them it fills a cache line.
const CHUNK: usize = 14;

/// Positions by rank, in chained chunks of one pool; emptied chunks are reused.
#[derive(Debug, Default)]
pub struct Buckets {
    /// Rank → the chunk that is being filled for it, plus 1; 0 for none.
    first: Vec<u32>,
    pool: Vec<Chunk>,
    /// The first of the chained free chunks, plus 1.
    free: u32,
    /// A bit for each rank whose bucket holds something; then a bit for each word of these that is
    /// not 0.
    filled: Vec<u64>,
    filled_words: Vec<u64>,
}

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Chunk {
    next: u32,
    used: u32,
    at: [u32; CHUNK],
}

impl Buckets {
    /// Makes room for `ranks` buckets. All are empty, as at the end of every piece.
    pub fn prepare(&mut self, ranks: usize) {
        if self.first.len() < ranks {
            self.first.resize(ranks, 0);
            self.filled.resize(ranks.div_ceil(64), 0);
            self.filled_words.resize(self.filled.len().div_ceil(64), 0);
        }
    }

    /// The first rank from `from` on whose bucket holds something.
    pub fn next(&self, from: u32) -> Option<u32> {
        let from = from as usize;
        let rest = self.filled.get(from / 64)? >> (from % 64);
        if rest != 0 {
            return Some(from as u32 + rest.trailing_zeros());
        }
        let word = from / 64 + 1;
        let rest = self.filled_words.get(word / 64)? >> (word % 64);
        let word = match rest {
            0 => {
                let behind = self.filled_words.get(word / 64 + 1..)?;
                let step = behind.iter().position(|&bits| bits != 0)?;
                let at = word / 64 + 1 + step;
                at * 64 + self.filled_words[at].trailing_zeros() as usize
            }
            rest => word + rest.trailing_zeros() as usize,
        };
        Some((word * 64) as u32 + self.filled[word].trailing_zeros())
    }

    #[inline(always)]
    pub fn push(&mut self, rank: u32, at: u32) {
        let first = self.first[rank as usize];
        if first != 0 {
            let chunk = &mut self.pool[first as usize - 1];
            if let Some(place) = chunk.at.get_mut(chunk.used as usize) {
                *place = at;
                chunk.used += 1;
                return;
            }
        }
        self.open(rank, at);
    }

    fn open(&mut self, rank: u32, at: u32) {
        let next = std::mem::take(&mut self.first[rank as usize]);
        let word = rank as usize / 64;
        self.filled[word] |= 1 << (rank % 64);
        self.filled_words[word / 64] |= 1 << (word % 64);
        let mut chunk = Chunk { next, used: 1, at: [0; CHUNK] };
        chunk.at[0] = at;
        if self.free == 0 {
            self.pool.push(chunk);
            self.first[rank as usize] = self.pool.len() as u32;
        } else {
            let place = &mut self.pool[self.free as usize - 1];
            self.first[rank as usize] = std::mem::replace(&mut self.free, place.next);
            *place = chunk;
        }
    }

    /// Moves the positions of `rank` to `places`, in the order in which they came.
    pub fn empty(&mut self, rank: u32, places: &mut Vec<u32>) {
        places.clear();
        let word = rank as usize / 64;
        self.filled[word] &= !(1 << (rank % 64));
        if self.filled[word] == 0 {
            self.filled_words[word / 64] &= !(1 << (word % 64));
        }
        let mut at = std::mem::take(&mut self.first[rank as usize]);
        while at != 0 {
            let chunk = &mut self.pool[at as usize - 1];
            places.extend(chunk.at[..chunk.used as usize].iter().rev());
            let next = std::mem::replace(&mut chunk.next, self.free);
            self.free = std::mem::replace(&mut at, next);
        }
        places.reverse();
    }
}
