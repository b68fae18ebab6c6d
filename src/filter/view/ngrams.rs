//! The most common run of two, three and four words.
//!
//! In: words laid end to end. Out: how often the most common n-gram occurs, and which it is (the
//! one met first among equals, as Python's `Counter.most_common(1)` gives it). Method: every 2-gram
//! is numbered by its first occurrence through a table; an n-gram is identified by the 2-grams that
//! it begins and ends with, and is looked up only where every 2-gram in it occurs twice. Where only
//! a verdict is asked for, [`Ngrams::bound`] gives an upper bound: each n-gram increments one of a
//! few thousand counters, so no n-gram occurs more often than its counter says. Invariants: n-grams
//! are equal exactly when their words are; hashes only find candidates. Cost: one look-up a word
//! for n = 2, a quarter of that for n = 3 in prose; 4 bytes a word.

use super::common::Common;
use super::table::{Table, mix};
use super::words::CutWords;

/// Buffers for n-grams, reused from document to document.
#[derive(Default)]
pub struct Ngrams {
    table: Table,
    /// For each word, the first occurrence of the 2-gram that begins there.
    firsts: Vec<u32>,
    /// For each first occurrence of a 2-gram, how often it occurs.
    counts: Vec<u32>,
    /// Words where a candidate for n = 3 or 4 begins.
    candidates: Vec<u32>,
    candidate_counts: Vec<u32>,
    /// Counters for [`Ngrams::bound`].
    counters: Vec<u32>,
}

/// Buffers for more words than this are freed after a document.
const KEPT: usize = 1 << 21;

/// The number of counters of [`Ngrams::bound`]: they take 16 KiB, and no two common n-grams of a
/// page share one.
const COUNTERS: usize = 1 << 12;

impl Ngrams {
    /// An upper bound for the code points in all occurrences of any one n-gram, spelt with spaces.
    pub fn bound(&mut self, words: &CutWords, n: usize) -> usize {
        let keys = words.keys();
        let grams = (keys.len() + 1).saturating_sub(n);
        self.counters.clear();
        self.counters.resize(COUNTERS, 0);
        let counters: &mut [u32; COUNTERS] =
            self.counters.as_mut_slice().try_into().expect("as many as it was given");
        let bucket = |hash: u64| (hash >> 52) as usize % COUNTERS;
        let (mut longest, mut most) = (0, 0);
        match n {
            2 => keys.windows(2).for_each(|gram| {
                counters[bucket(mix(gram[0], gram[1]))] += 1;
            }),
            3 => keys.windows(3).for_each(|gram| {
                counters[bucket(mix(gram[0], gram[1] ^ gram[2].rotate_left(29)))] += 1;
            }),
            _ => keys.windows(n).for_each(|gram| {
                let more = gram[2..].iter().fold(0u64, |all, &key| all.rotate_left(23) ^ key);
                counters[bucket(mix(gram[0] ^ more.rotate_left(7), gram[1]))] += 1;
            }),
        }
        for word in 0..grams {
            longest = longest.max(words.laid_chars(word, n));
        }
        for &count in counters.iter() {
            most = most.max(count as usize);
        }
        (longest + n - 1) * most
    }

    /// Numbers the 2-grams of `words` and finds the most common.
    pub fn count_pairs(&mut self, words: &CutWords) -> Common {
        if self.firsts.capacity() > KEPT {
            *self = Ngrams::default();
        }
        let pairs = words.len().saturating_sub(1);
        self.table.clear(pairs);
        self.firsts.clear();
        self.counts.clear();
        self.counts.resize(pairs, 0);
        let keys = words.keys();
        let mut best = Common::default();
        for word in 0..pairs {
            let first = self.table.first(mix(keys[word], keys[word + 1]), word as u32, |other| {
                let other = other as usize;
                words.equal(other, word) && words.equal(other + 1, word + 1)
            });
            self.firsts.push(first);
            let count = &mut self.counts[first as usize];
            *count += 1;
            best.meet(first, *count);
        }
        best
    }

    /// The most common n-gram for n = 3 or 4, after [`Ngrams::count_pairs`].
    pub fn most_common(&mut self, words: &CutWords, n: usize) -> Common {
        let grams = (words.len() + 1).saturating_sub(n);
        let (firsts, counts) = (&self.firsts, &self.counts);
        let repeats = |word: usize| counts[firsts[word] as usize] > 1;
        self.candidates.clear();
        let mut run = 0;
        for word in 0..firsts.len() {
            run = if repeats(word) { run + 1 } else { 0 };
            if run + 1 >= n {
                self.candidates.push((word + 2 - n) as u32);
            }
        }
        let candidates = &self.candidates;
        self.table.clear(candidates.len());
        self.candidate_counts.clear();
        self.candidate_counts.resize(candidates.len(), 0);
        let ends = |word: u32| {
            (u64::from(firsts[word as usize]), u64::from(firsts[word as usize + n - 2]))
        };
        let mut best = Common { word: 0, count: usize::from(grams > 0) };
        for (number, &word) in candidates.iter().enumerate() {
            let own = ends(word);
            let equal = |other: u32| ends(candidates[other as usize]) == own;
            let first = self.table.first(mix(own.0, own.1), number as u32, equal) as usize;
            self.candidate_counts[first] += 1;
            if self.candidate_counts[first] > 1 {
                best.meet(candidates[first], self.candidate_counts[first]);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::view::{Room, Splitter};
    use proptest::prelude::*;

    /// Counter(n-grams).most_common(1), the slow way.
    fn expected(words: &[&str], n: usize) -> Common {
        let grams: Vec<&[&str]> = words.windows(n).collect();
        let count = |gram: &[&str]| grams.iter().filter(|other| **other == gram).count();
        let most = grams.iter().map(|gram| count(gram)).max().unwrap_or(0);
        let word = grams.iter().position(|gram| count(gram) == most).unwrap_or(0);
        Common { word, count: most }
    }

    proptest! {
        #[test]
        fn the_most_common_are_pythons(text in "((a|b|ab|abcdefgh|abcdefghi)[ \n]){0,40}") {
            let mut room = Room::new(Splitter::WhiteSpace);
            let mut view = room.view(&text);
            let split: Vec<&str> = text.split_whitespace().collect();
            for _ in 0..2 {
                for n in 2..=4 {
                    let common = expected(&split, n);
                    prop_assert_eq!(view.most_common(n), common, "n = {}", n);
                    let chars = split[common.word..].iter().take(n).map(|word| word.len());
                    let spelt = (chars.sum::<usize>() + n - 1) * common.count;
                    prop_assert!(view.common_chars_bound(n) >= spelt);
                }
            }
        }
    }
}
