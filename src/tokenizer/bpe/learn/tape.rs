//! The words as tokens, in one array.
//!
//! Words and counts in → a [`Tape`] that finds both neighbours of a place and its count at once.
//! Layout: one cell a byte, and an [`EDGE`] before and after every word. A token has its id in the
//! cell of its first byte, [`TAG`] plus its length in the cell of its last, and [`TAG`] in those
//! between. So a merge writes three cells and moves nothing. Words are in order of falling count,
//! and a place's count is that of the stretch it lies in.
//! Invariant: a cell without [`TAG`] that is no [`EDGE`] holds a token's id, at its first byte.
//! Cost: 4 bytes for each byte of the words; while the tape is laid, 1 more, and 16 for each word.

#![allow(unsafe_code, reason = "a prefetch")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::base::error::{Error, Result};

/// The cell between words.
pub const EDGE: u32 = TAG - 1;
/// Marks a cell that is not the first of a token. On a token's last cell its length in bytes is
/// added.
const TAG: u32 = 1 << 31;
/// Most cells of a tape: a place has 31 bits.
const MOST_CELLS: usize = 1 << 31;
/// How many places ahead of the merge cells are prefetched. Measured: with 16, learning takes a
/// fifth less time than without prefetching.
const AHEAD: usize = 16;

/// Distinct words with their counts, to learn from.
#[derive(Clone, Debug)]
pub struct WordTape {
    bytes: Vec<u8>,
    words: Vec<Word>,
    occurrences: u64,
    /// Upper bound of any pair's count.
    pairs: u64,
    seen: [bool; 256],
}

#[derive(Clone, Copy, Debug)]
struct Word {
    count: u64,
    start: u32,
    length: u32,
}

impl Default for WordTape {
    fn default() -> WordTape {
        WordTape::with_capacity(0, 0)
    }
}

impl WordTape {
    /// No words yet; reserves room for `words` words of `bytes` bytes in all.
    pub fn with_capacity(words: usize, bytes: usize) -> WordTape {
        WordTape {
            bytes: Vec::with_capacity(bytes),
            words: Vec::with_capacity(words),
            occurrences: 0,
            pairs: 0,
            seen: [false; 256],
        }
    }

    /// Adds a word. The same one may come again: its counts add up.
    ///
    /// # Errors
    /// [`Error::Failed`] when the words, with one edge each, take more than 2³¹ bytes, or the
    /// counts of all pairs together do not fit 64 bits.
    pub fn push(&mut self, word: &[u8], count: u64) -> Result<()> {
        let pairs = (word.len() as u64).checked_mul(count);
        let (Some(sum), Some(pairs)) = (
            self.occurrences.checked_add(count),
            pairs.and_then(|pairs| self.pairs.checked_add(pairs)),
        ) else {
            return Err(Error::failed("the counts of all words together do not fit 64 bits"));
        };
        (self.occurrences, self.pairs) = (sum, pairs);
        word.iter().for_each(|&byte| self.seen[usize::from(byte)] |= count > 0);
        if word.len() < 2 || count == 0 {
            return Ok(());
        }
        if self.cells() + word.len() + 1 > MOST_CELLS {
            let message = "the distinct words are longer than 2,147,483,648 bytes together";
            let hint = "train on a part of the documents, or split text into shorter pieces";
            return Err(Error::failed(message).with_hint(hint));
        }
        let (start, length) = (self.bytes.len() as u32, word.len() as u32);
        self.bytes.extend_from_slice(word);
        self.words.push(Word { count, start, length });
        Ok(())
    }

    /// Distinct words of two bytes and more, if each was added once.
    pub fn distinct(&self) -> usize {
        self.words.len()
    }

    /// Which bytes occur.
    pub fn bytes_seen(&self) -> [bool; 256] {
        self.seen
    }

    /// Number of cells: bytes of the words and their edges, from which memory is computed. Words of
    /// one byte have no pairs and take no cell.
    pub fn cells(&self) -> usize {
        self.bytes.len() + self.words.len() + 1
    }

    /// Occurrences of all words.
    pub fn occurrences(&self) -> u64 {
        self.occurrences
    }
}

/// The words as tokens, laid out as the module says.
#[derive(Debug)]
pub struct Tape {
    cells: Vec<u32>,
    /// Ends of the stretches of equal counts, ascending, and those counts.
    ends: Vec<u32>,
    counts: Vec<u64>,
    /// Token → length in bytes.
    widths: Vec<u32>,
    /// Token → the byte that it is, or [`NO_BYTE`].
    byte: Vec<u16>,
}

const NO_BYTE: u16 = 256;

/// A place where a pair was merged: its count, and the tokens beside it.
pub struct Near {
    /// The place of the token made.
    pub at: u32,
    /// How often its word occurs.
    pub count: u64,
    /// The token on its left, and the place where that one starts.
    pub left: Option<(u32, u32)>,
    /// The token on its right.
    pub right: Option<u32>,
}

impl Tape {
    /// Lays the words out, a token for each byte. `widths`: the lengths of the tokens so far.
    pub fn lay(words: WordTape, byte_id: &[u32; 256], widths: Vec<u32>) -> Tape {
        let WordTape { bytes, mut words, .. } = words;
        words.sort_unstable_by_key(|word| (std::cmp::Reverse(word.count), word.start));
        let mut tape = Tape {
            cells: Vec::with_capacity(bytes.len() + words.len() + 1),
            ends: Vec::new(),
            counts: Vec::new(),
            byte: vec![NO_BYTE; widths.len()],
            widths,
        };
        for (byte, &id) in byte_id.iter().enumerate() {
            // A byte that occurs in no word may have no token.
            if let Some(known) = tape.byte.get_mut(id as usize) {
                *known = byte as u16;
            }
        }
        tape.cells.push(EDGE);
        for word in &words {
            if tape.counts.last() != Some(&word.count) {
                tape.close_stretch();
                tape.counts.push(word.count);
            }
            let bytes = &bytes[word.start as usize..][..word.length as usize];
            tape.cells.extend(bytes.iter().map(|&byte| byte_id[usize::from(byte)]));
            tape.cells.push(EDGE);
        }
        tape.close_stretch();
        tape
    }

    fn close_stretch(&mut self) {
        if !self.counts.is_empty() {
            self.ends.push(self.cells.len() as u32);
        }
    }

    /// Token → length in bytes.
    pub fn widths(&self) -> &[u32] {
        &self.widths
    }

    /// Notes the length of the token that `left` and `right` make.
    pub fn name(&mut self, made: u32, left: u32, right: u32) {
        let width = self.widths[left as usize] + self.widths[right as usize];
        if made as usize == self.widths.len() {
            self.widths.push(width);
            self.byte.push(NO_BYTE);
        } else {
            self.widths[made as usize] = width;
        }
    }

    /// Merges (a, b) at those of the ascending `places` where it still stands, and reports the
    /// neighbours: the left one after the merges at earlier places, the right one before those at
    /// later places.
    #[inline]
    pub fn merge(&mut self, a: u32, b: u32, made: u32, places: &[u32], mut see: impl FnMut(Near)) {
        let (a_width, b_width) = (self.widths[a as usize], self.widths[b as usize]);
        let mut stretch = 0;
        let cells = &mut self.cells[..];
        for (number, &at) in places.iter().enumerate() {
            // Prefetched, since most places are not in the cache.
            if let Some(&ahead) = places.get(number + AHEAD) {
                prefetch(cells, ahead);
            }
            let (first, middle) = (at as usize, (at + a_width) as usize);
            if cells[first] != a || cells[middle] != b {
                continue;
            }
            let end = middle + b_width as usize;
            cells[first] = made;
            cells[middle] = TAG;
            cells[end - 1] = TAG | (a_width + b_width);
            if at >= self.ends[stretch] {
                stretch += 1;
                if at >= self.ends[stretch] {
                    stretch += self.ends[stretch..].partition_point(|&end| end <= at);
                }
            }
            let before = cells[first - 1];
            let left_at = if before & TAG == 0 { at - 1 } else { at - (before ^ TAG) };
            let (left, right) = (cells[left_at as usize], cells[end]);
            see(Near {
                at,
                count: self.counts[stretch],
                left: (left != EDGE).then_some((left, left_at)),
                right: (right != EDGE).then_some(right),
            });
        }
    }

    /// Calls `see` with every pair of neighbours and its place, ascending.
    pub fn for_each_pair(&self, mut see: impl FnMut(u32, u32, u32)) {
        let (mut left, mut left_at) = (EDGE, 0);
        for (&cell, at) in self.cells.iter().zip(0..) {
            if cell & TAG != 0 {
                continue;
            }
            if left != EDGE && cell != EDGE {
                see(left, cell, left_at);
            }
            (left, left_at) = (cell, at);
        }
    }

    /// Counts every pair.
    pub fn count_pairs(&self) -> PairCounts {
        let mut pairs = PairCounts {
            bytes: vec![(0, 0); 1 << 16],
            others: HashMap::default(),
            id: vec![0; 256],
        };
        for (id, &byte) in self.byte.iter().enumerate().filter(|(_, byte)| **byte != NO_BYTE) {
            pairs.id[usize::from(byte)] = id as u32;
        }
        let mut stretch = 0;
        self.for_each_pair(|left, right, at| {
            while at >= self.ends[stretch] {
                stretch += 1;
            }
            let (one, two) = (self.byte[left as usize], self.byte[right as usize]);
            let entry = if (one | two) < NO_BYTE {
                &mut pairs.bytes[usize::from(one) << 8 | usize::from(two)]
            } else {
                pairs.others.entry(u64::from(left) << 32 | u64::from(right)).or_default()
            };
            entry.0 += self.counts[stretch];
            entry.1 += 1;
        });
        pairs
    }
}

/// Prefetches the cache line of a cell.
#[inline(always)]
fn prefetch(cells: &[u32], at: u32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let cell = cells.as_ptr().wrapping_add(at as usize);
        // SAFETY: a prefetch reads nothing, and SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(cell.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (cells, at);
}

/// The count and number of places of each pair; pairs of single bytes have an array of their own.
pub struct PairCounts {
    bytes: Vec<(u64, u32)>,
    others: KeyMap<(u64, u32)>,
    id: Vec<u32>,
}

impl PairCounts {
    /// Calls `see` with left, right, count, number of places; in no order.
    #[expect(clippy::iter_over_hash_type, reason = "the caller asks for no order")]
    pub fn for_each(&self, mut see: impl FnMut(u32, u32, u64, u32)) {
        for (pair, &(count, number)) in self.bytes.iter().enumerate().filter(|pair| pair.1.1 > 0) {
            see(self.id[pair >> 8], self.id[pair & 0xFF], count, number);
        }
        for (&pair, &(count, number)) in &self.others {
            see((pair >> 32) as u32, pair as u32, count, number);
        }
    }
}

/// A map keyed by a pair of ids.
pub type KeyMap<V> = HashMap<u64, V, BuildHasherDefault<KeyHasher>>;

/// Spreads a pair of ids: one multiplication to 128 bits, its halves folded.
#[derive(Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64")
    }

    fn write_u64(&mut self, key: u64) {
        // 2⁶⁴ divided by the golden ratio.
        let product = u128::from(key) * 0x9E37_79B9_7F4A_7C15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}
