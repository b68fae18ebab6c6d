//! Repeated runs of two to ten words, as DCLM counts them.
//!
//! In: words laid end to end. Out: the share of their code points in the most common run (n = 2, 3
//! and 4; the longest of those that tie) or in all runs that occur twice (n = 5 to 10; each word
//! counts once): `repetition_filter` in DCLM's `baselines/mappers/filters/content_filters.py`
//! (commit 361714b). A text without a repeated run has the share 0. Method: a run of n words is the
//! pair of its two runs of n - 1 words, each identified by its first occurrence, and is looked up
//! only where both of them occur twice. Invariant: runs are equal when their words are. Cost: one
//! look-up a word at first, then fewer.

use super::table::{Table, mix};
use super::words::CutWords;

/// Buffers for runs, reused from document to document.
#[derive(Default)]
pub struct Runs {
    table: Table,
    /// For each word, the first occurrence of the run of n words that begins there.
    firsts: Vec<u32>,
    next: Vec<u32>,
    /// For each first occurrence, how often it occurs.
    counts: Vec<u32>,
    next_counts: Vec<u32>,
    n: usize,
}

impl Runs {
    /// Counts runs of two words.
    pub fn begin(&mut self, words: &CutWords) {
        let keys = words.keys();
        let pairs = words.len().saturating_sub(1);
        self.table.clear(pairs);
        self.firsts.clear();
        self.counts.clear();
        self.counts.resize(pairs, 0);
        for word in 0..pairs {
            let first = self.table.first(mix(keys[word], keys[word + 1]), word as u32, |other| {
                let other = other as usize;
                words.equal(other, word) && words.equal(other + 1, word + 1)
            });
            self.firsts.push(first);
            self.counts[first as usize] += 1;
        }
        self.n = 2;
    }

    /// Goes on from runs of n words to runs of n + 1.
    pub fn lengthen(&mut self) {
        let runs = self.firsts.len().saturating_sub(1);
        self.next.clear();
        self.next_counts.clear();
        self.next_counts.resize(runs, 0);
        self.table.clear(runs);
        let pair = |word: u32| (self.firsts[word as usize], self.firsts[word as usize + 1]);
        for word in 0..runs as u32 {
            let own = pair(word);
            let repeats = |run: u32| self.counts[run as usize] > 1;
            let mut first = word;
            if repeats(own.0) && repeats(own.1) {
                let hash = mix(own.0.into(), own.1.into());
                first = self.table.first(hash, word, |other| pair(other) == own);
            }
            self.next.push(first);
            self.next_counts[first as usize] += 1;
        }
        std::mem::swap(&mut self.firsts, &mut self.next);
        std::mem::swap(&mut self.counts, &mut self.next_counts);
        self.n += 1;
    }

    /// Code points in all occurrences of the most common run.
    pub fn most_common(&self, words: &CutWords) -> usize {
        let found = self.leader(words);
        found.map_or(0, |(word, count)| words.laid_chars(word, self.n) * count)
    }

    /// The words where the most common run begins, the first longest of those that tie.
    pub fn most_common_runs(&self, words: &CutWords) -> impl Iterator<Item = usize> {
        let leader = self.leader(words).map(|(word, _)| word as u32);
        let is_leader = move |word: &usize| Some(self.firsts[*word]) == leader;
        (0..self.firsts.len()).filter(is_leader)
    }

    /// The first occurrence of the most common run, the longest of those that tie, and its count.
    fn leader(&self, words: &CutWords) -> Option<(usize, usize)> {
        let most = self.counts.iter().copied().max().filter(|&most| most > 1)?;
        let tied = (0..self.counts.len()).filter(|&word| self.counts[word] == most);
        let longest = tied.rev().max_by_key(|&word| words.laid_chars(word, self.n))?;
        Some((longest, most as usize))
    }

    /// Code points of words in runs that occur twice.
    pub fn repeated(&self, words: &CutWords) -> usize {
        let (mut chars, mut counted) = (0, 0);
        for word in self.repeated_runs() {
            let from = counted.max(word);
            counted = word + self.n;
            chars += words.laid_chars(from, counted - from);
        }
        chars
    }

    /// The words where those runs begin.
    pub fn repeated_runs(&self) -> impl Iterator<Item = usize> {
        let repeats = |word: &usize| self.counts[self.firsts[*word] as usize] > 1;
        (0..self.firsts.len()).filter(repeats)
    }
}
