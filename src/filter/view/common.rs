//! What texts of every length share in counting runs of words.
//!
//! In → a run and its number of occurrences so far; out → the most common run that was met. Normal
//! texts and giants look for repeats by the same numbers of bytes, so both find the same ones.

/// The number of first bytes by which candidates for a repeat are found.
pub(super) const WINDOW: usize = 16;
/// The number of first bytes by which candidates for a long repeat are found.
pub(super) const WIDE: usize = 32;

/// The most common n-gram of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// Its first word: the word's number; in a giant, the offset of its first byte.
    pub word: usize,
    /// How often it occurs; 0 where the text has fewer than n words.
    pub count: usize,
}

impl Common {
    /// Takes the n-gram whose first occurrence is at `word`, seen `count` times so far, if it
    /// leads.
    #[inline(always)]
    pub(super) fn meet(&mut self, word: u32, count: u32) {
        let (word, count) = (word as usize, count as usize);
        if count > self.count || (count == self.count && word < self.word) {
            *self = Common { word, count };
        }
    }
}
