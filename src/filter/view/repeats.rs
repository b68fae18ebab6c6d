//! How much of a text repeats an earlier run of n words.
//!
//! In: words laid end to end. Out: code points in repeated n-grams, for n = 5 to 10, as datatrove
//! counts them (`find_all_duplicate` in `gopher_repetition_filter.py`): from left to right, a run
//! of n words whose letters, glued, equal those of an earlier run that was not skipped is a repeat,
//! counts whole, and is skipped. (Glued: `no where` repeats `nowhere` if the counts of words
//! agree.) Method: equal runs of at least sixteen bytes begin with equal sixteen bytes. Two passes
//! find the words where sixteen bytes begin that may occur twice: the first adds one to a counter
//! for each, the second asks whether that counter is above one. Only at those words, and where a
//! run is shorter, can a run be a repeat or be repeated, so the six passes for n look at them
//! alone. The same is then done for these with thirty-two bytes, which spares the longer runs
//! nearly all look-ups. Invariants: runs are compared byte by byte; hashes only find candidates.
//! Cost: a multiplication and a counter a word, six look-ups at each candidate (a sixth of the
//! words in prose); sixteen counters of a byte a word, at most 64 MiB, and 8 bytes a word.

use super::common::{WIDE, WINDOW};
use super::table::{Table, hash, mix, read};
use super::words::CutWords;

/// The least number of words in a run that is looked for.
pub const SHORTEST: usize = 5;
/// Counters for each word: one word in sixteen is a candidate by chance.
const COUNTERS: usize = 16;
const COUNTERS_MOST: usize = 1 << 26;
/// Buffers for more words than this are freed after a document.
const KEPT: usize = 1 << 21;

/// Buffers for repeats, reused from document to document.
#[derive(Default)]
pub struct Repeats {
    table: Table,
    counters: Vec<u8>,
    /// For each word, the index of its counter.
    places: Vec<u32>,
    /// Words where a run of five or more may be a repeat or be repeated.
    candidates: Vec<Candidate>,
}

/// A word, and whether the first [`WINDOW`] or [`WIDE`] bytes from it on may also occur elsewhere.
/// If they do not, no run of at least that length that begins here equals another.
#[derive(Clone, Copy)]
struct Candidate {
    word: u32,
    shares_window: bool,
    shares_wide: bool,
}

impl Repeats {
    /// Finds the candidates; must be called before [`Repeats::chars`].
    pub fn find_candidates(&mut self, words: &CutWords) {
        if self.candidates.capacity() > KEPT {
            *self = Repeats::default();
        }
        let (glued, starts) = (words.glued(), words.starts());
        let total = starts[words.len()] as usize;
        let at = |&start: &u32| {
            let start = start as usize;
            mix(read(glued, start), read(glued, start + 8))
        };
        self.count(words.len(), starts[..words.len()].iter().map(at));
        self.candidates.clear();
        for word in 0..(words.len() + 1).saturating_sub(SHORTEST) {
            // From the last words on fewer than sixteen bytes belong to the text, so the counter
            // says nothing.
            let shares_window = self.counters[self.places[word] as usize] > 1
                || starts[word] as usize + WINDOW > total;
            let is_short = starts[word + SHORTEST] - starts[word] < WINDOW as u32;
            if shares_window || is_short {
                let word = word as u32;
                self.candidates.push(Candidate { word, shares_window, shares_wide: true });
            }
        }
        self.find_wide(words, total);
    }

    /// Looks up the candidates again by thirty-two bytes.
    fn find_wide(&mut self, words: &CutWords, total: usize) {
        let (glued, starts) = (words.glued(), words.starts());
        let candidates = std::mem::take(&mut self.candidates);
        let start = |candidate: &Candidate| starts[candidate.word as usize] as usize;
        self.count(
            candidates.len(),
            candidates.iter().map(|candidate| {
                let start = start(candidate).min(total.saturating_sub(WIDE));
                hash(glued, start, start + WIDE)
            }),
        );
        self.candidates = candidates;
        for (candidate, &place) in self.candidates.iter_mut().zip(&self.places) {
            candidate.shares_wide =
                self.counters[place as usize] > 1 || start(candidate) + WIDE > total;
        }
        if self.places.capacity() > KEPT {
            (self.places, self.counters) = (Vec::new(), Vec::new());
        }
    }

    /// Counts hashes, and records the counter of each.
    fn count(&mut self, things: usize, hashes: impl Iterator<Item = u64>) {
        let counters = (things * COUNTERS).next_power_of_two().clamp(64, COUNTERS_MOST);
        let shift = 64 - counters.trailing_zeros();
        self.counters.clear();
        self.counters.resize(counters, 0);
        self.places.clear();
        self.places.extend(hashes.map(|hash| {
            let place = hash >> shift;
            let counter = &mut self.counters[place as usize];
            *counter = counter.saturating_add(1);
            place as u32
        }));
    }

    /// Code points in repeats of `n` words; `n` at least [`SHORTEST`].
    pub fn chars(&mut self, words: &CutWords, n: usize) -> usize {
        let mut chars = 0;
        self.walk(words, n, |word| chars += words.laid_chars(word, n));
        chars
    }

    /// The words where those repeats begin, in order.
    pub fn runs(&mut self, words: &CutWords, n: usize) -> Vec<usize> {
        let mut runs = Vec::new();
        self.walk(words, n, |word| runs.push(word));
        runs
    }

    /// Calls `each` with the first word of every repeat.
    fn walk(&mut self, words: &CutWords, n: usize, mut each: impl FnMut(usize)) {
        let (glued, starts) = (words.glued(), words.starts());
        let last = (words.len() + 1).saturating_sub(n);
        let count = self.candidates.partition_point(|at| (at.word as usize) < last);
        self.table.clear(count);
        let mut next = 0;
        for candidate in &self.candidates[..count] {
            let word = candidate.word as usize;
            let (start, end) = (starts[word] as usize, starts[word + n] as usize);
            let is_unlike_others = (end - start >= WINDOW && !candidate.shares_window)
                || (end - start >= WIDE && !candidate.shares_wide);
            if word < next || is_unlike_others {
                continue;
            }
            let own = &glued[start..end];
            let equal = |other: u32| words.laid_bytes(other as usize, n) == own;
            let first = self.table.first(hash(glued, start, end), word as u32, equal);
            if first as usize != word {
                each(word);
                next = word + n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::view::{Room, Splitter};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The reference's loop.
    fn expected(words: &[&str], n: usize) -> usize {
        let (mut seen, mut chars, mut at) = (BTreeSet::new(), 0, 0);
        while at + n <= words.len() {
            let run = words[at..at + n].concat();
            if seen.contains(&run) {
                chars += run.chars().count();
                at += n;
            } else {
                seen.insert(run);
                at += 1;
            }
        }
        chars
    }

    proptest! {
        #[test]
        fn repeats_are_the_references(
            text in "((a|ab|ba|b|aba|wordword|é|thewordsofalonger|thewords)[ \n]){0,120}"
        ) {
            let mut room = Room::new(Splitter::WhiteSpace);
            let mut view = room.view(&text);
            let split: Vec<&str> = text.split_whitespace().collect();
            for n in 5..=10 {
                prop_assert_eq!(view.repeated_chars(n), expected(&split, n), "n = {}", n);
            }
        }
    }
}
