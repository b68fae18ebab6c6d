//! What counting runs of words shares between texts of every length.
//!
//! In → a run and how often it occurred so far; out → the most common of all that were met. Texts
//! and giants look for repeats by the same numbers of bytes, so that both find the same.

/// Bytes that the candidates for a repeat share.
pub(super) const WINDOW: usize = 16;
/// Bytes that the candidates for a long repeat share.
pub(super) const WIDE: usize = 32;

/// The most common n-gram of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// Its first word: the word's number, in a giant the place of its first byte.
    pub word: usize,
    /// How often it occurs; 0 where the text has fewer than n words.
    pub count: usize,
}

impl Common {
    /// Takes the n-gram of `count` occurrences so far, the first at `word`, if it leads.
    #[inline(always)]
    pub(super) fn meet(&mut self, word: u32, count: u32) {
        let (word, count) = (word as usize, count as usize);
        if count > self.count || (count == self.count && word < self.word) {
            *self = Common { word, count };
        }
    }
}
