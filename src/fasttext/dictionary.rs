//! A model's dictionary: which rows of the input matrix a text adds up.
//!
//! In → the words, labels and pruned n-grams of a model file, or of a training set; out → for a
//! text, its rows ([`Dictionary::rows`]). Facts from fastText's `dictionary.cc`: entries are words,
//! then labels; row `i` is word `i`; n-gram bucket `b` is row `words + b`, or in a pruned model row
//! `words + kept[b]`, with the n-grams that were not kept left out; a word of the dictionary has
//! its own row before those of its character n-grams, any other word has the n-grams alone.
//! Invariants: each row is below [`Dictionary::row_count`]. Cost: a look-up a word; character
//! n-grams of known words are listed beforehand (4 bytes each), of others hashed each time.

use super::features::{
    END, LABEL_PREFIX, Ngrams, Remainder, Rows, Token, character_ngrams, tokens, word_ngrams,
};
use super::words::{Home, WordTable, hash_word};

/// Most rows of character n-grams that are listed beforehand: 256 MiB, several times what a model
/// of a million words needs. The n-grams of words beyond are hashed when they are met.
const LISTED: usize = 64 << 20;

/// Words looked up together.
const BATCH: usize = 16;

/// N-gram buckets kept by pruning: pairs (bucket, place among the kept), found by bucket.
#[derive(Clone, Debug)]
pub struct Kept {
    /// In the file's order.
    pub pairs: Vec<(u32, u32)>,
    /// Open addressing, at most half full; `u32::MAX` as the place marks a free slot.
    slots: Vec<(u32, u32)>,
}

impl Kept {
    /// From pairs whose places are below their number.
    pub fn new(pairs: Vec<(u32, u32)>) -> Kept {
        let mut slots = vec![(0, u32::MAX); (pairs.len() * 2 + 1).next_power_of_two()];
        let mask = slots.len() - 1;
        for &(bucket, place) in &pairs {
            let mut slot = Kept::spread(bucket) & mask;
            while slots[slot].1 != u32::MAX && slots[slot].0 != bucket {
                slot = (slot + 1) & mask;
            }
            slots[slot] = (bucket, place);
        }
        Kept { pairs, slots }
    }

    fn spread(bucket: u32) -> usize {
        (bucket.wrapping_mul(0x9e37_79b1) >> 7) as usize
    }

    #[inline]
    fn place(&self, bucket: u32) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut slot = Kept::spread(bucket) & mask;
        loop {
            let (found, place) = self.slots[slot];
            if place == u32::MAX {
                return None;
            }
            if found == bucket {
                return Some(place);
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// Buffers for turning texts into rows, kept from text to text.
#[derive(Clone, Debug, Default)]
pub struct RowScratch {
    rows: Vec<u32>,
    hashes: Vec<u32>,
    bracketed: Vec<u8>,
}

/// Words, labels and n-grams of a model.
#[derive(Clone, Debug)]
pub struct Dictionary {
    /// Words, then labels.
    entries: WordTable,
    word_count: u32,
    labels: Vec<String>,
    /// How often each entry stood in the training set.
    counts: Vec<i64>,
    /// Number of words, labels and line ends in the training set.
    token_count: i64,
    ngrams: Ngrams,
    buckets: Remainder,
    kept: Option<Kept>,
    /// Rows of word `i`'s character n-grams, `subwords[subword_ends[i - 1]..subword_ends[i]]`, for
    /// the first words.
    subwords: Vec<u32>,
    subword_ends: Vec<usize>,
    end: (Option<u32>, u32),
}

impl Dictionary {
    /// A dictionary of `entries`, the first `word_count` of which are words and the rest `labels`.
    ///
    /// `ngrams.buckets` must be at least 1 if there are n-grams.
    pub fn new(
        entries: WordTable,
        labels: Vec<String>,
        counts: Vec<i64>,
        token_count: i64,
        ngrams: Ngrams,
        kept: Option<Kept>,
    ) -> Dictionary {
        let word_count = (entries.len() - labels.len()) as u32;
        let end_hash = hash_word(END);
        let end = (entries.find(END, end_hash).filter(|&id| id < word_count), end_hash);
        let buckets = Remainder::new(ngrams.buckets.max(1));
        let (subwords, subword_ends) = (Vec::new(), Vec::new());
        let mut dictionary = Dictionary {
            entries,
            word_count,
            labels,
            counts,
            token_count,
            ngrams,
            buckets,
            kept,
            subwords,
            subword_ends,
            end,
        };
        dictionary.list_subwords(LISTED);
        dictionary
    }

    fn list_subwords(&mut self, most: usize) {
        let (mut subwords, mut bracketed) = (Vec::new(), Vec::new());
        for id in 0..self.word_count {
            let word = self.entries.word(id);
            let bound = (word.len() + 2) * self.ngrams.longest;
            if bound == 0 || subwords.len() + bound > most {
                break;
            }
            if word != END {
                character_ngrams(word, self.ngrams, self.buckets, &mut bracketed, |bucket| {
                    subwords.extend(self.bucket_row(bucket));
                });
            }
            self.subword_ends.push(subwords.len());
        }
        self.subwords = subwords;
    }

    /// Number of words, without labels.
    pub fn word_count(&self) -> u32 {
        self.word_count
    }

    /// Number of rows that the input matrix must have.
    pub fn row_count(&self) -> u64 {
        let ngrams = match &self.kept {
            Some(kept) => kept.pairs.len() as u64,
            None => u64::from(self.ngrams.buckets),
        };
        u64::from(self.word_count) + ngrams
    }

    /// The labels with their prefix, such as `__label__en`.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How often each label stood in the training set.
    pub fn label_counts(&self) -> &[i64] {
        &self.counts[self.word_count as usize..]
    }

    /// Number of words, labels and line ends in the training set.
    pub fn token_count(&self) -> i64 {
        self.token_count
    }

    /// Bytes and count of each entry, words first.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], i64)> {
        (0..self.entries.len() as u32).map(|id| (self.entries.word(id), self.counts[id as usize]))
    }

    /// The n-grams left by pruning; none if the model was not pruned.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// Which n-grams there are.
    pub fn ngrams(&self) -> Ngrams {
        self.ngrams
    }

    #[inline]
    fn bucket_row(&self, bucket: u32) -> Option<u32> {
        match &self.kept {
            None => Some(self.word_count + bucket),
            Some(kept) => kept.place(bucket).map(|place| self.word_count + place),
        }
    }

    /// Hands the rows of `text` to `take`, in blocks. Returns how many there were.
    pub fn rows(&self, text: &[u8], room: &mut RowScratch, take: impl FnMut(&[u32])) -> u64 {
        let RowScratch { rows, hashes, bracketed } = room;
        rows.clear();
        hashes.clear();
        let mut rows = Rows { buffer: rows, count: 0, take };
        let with_ngrams = self.ngrams.words > 1 && !self.drops_ngrams();
        let mut tokens = tokens(text).fuse();
        let mut batch = [(Token::default(), Home::default()); BATCH];
        loop {
            let mut count = 0;
            for (place, token) in batch.iter_mut().zip(&mut tokens) {
                *place = (token, self.entries.home(token.hash));
                count += 1;
            }
            for &(token, home) in &batch[..count] {
                match self.entries.find_from(home, token.bytes, token.hash) {
                    Some(id) if id < self.word_count => self.known(id, bracketed, &mut rows),
                    Some(_) => continue,
                    None if token.bytes.starts_with(LABEL_PREFIX) => continue,
                    None => self.unknown(token.bytes, bracketed, &mut rows),
                }
                if with_ngrams {
                    hashes.push(token.hash);
                }
            }
            if count < BATCH {
                break;
            }
        }
        if let Some(id) = self.end.0 {
            rows.push(id);
        }
        if with_ngrams {
            hashes.push(self.end.1);
            word_ngrams(hashes, self.ngrams, |bucket| {
                if let Some(row) = self.bucket_row(bucket) {
                    rows.push(row);
                }
            });
        }
        rows.flush()
    }

    /// Appends the rows of one word: none for a label.
    pub fn word_rows(&self, word: &[u8], bracketed: &mut Vec<u8>, found: &mut Vec<u32>) {
        let id = self.entries.find(word, hash_word(word));
        let mut rows = Rows { buffer: &mut Vec::new(), count: 0, take: |rows| found.extend(rows) };
        match id {
            Some(id) if id < self.word_count => self.known(id, bracketed, &mut rows),
            Some(_) => (),
            None => self.unknown(word, bracketed, &mut rows),
        }
        rows.flush();
    }

    /// Appends the rows of the n-grams of two words and more, from the words' hashes.
    pub fn word_ngram_rows(&self, hashes: &[u32], found: &mut Vec<u32>) {
        if self.ngrams.words > 1 {
            word_ngrams(hashes, self.ngrams, |bucket| found.extend(self.bucket_row(bucket)));
        }
    }

    /// Whether pruning left no n-gram at all.
    fn drops_ngrams(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.pairs.is_empty())
    }

    #[inline]
    fn known<F: FnMut(&[u32])>(&self, id: u32, bracketed: &mut Vec<u8>, rows: &mut Rows<F>) {
        rows.push(id);
        if let Some(&end) = self.subword_ends.get(id as usize) {
            let start = if id == 0 { 0 } else { self.subword_ends[id as usize - 1] };
            rows.extend(&self.subwords[start..end]);
        } else if self.ngrams.longest > 0 && self.entries.word(id) != END {
            self.unknown(self.entries.word(id), bracketed, rows);
        }
    }

    #[inline]
    fn unknown<F>(&self, word: &[u8], bracketed: &mut Vec<u8>, rows: &mut Rows<F>)
    where
        F: FnMut(&[u32]),
    {
        if self.ngrams.longest == 0 || self.drops_ngrams() {
            return;
        }
        match &self.kept {
            None => character_ngrams(word, self.ngrams, self.buckets, bracketed, |bucket| {
                rows.push(self.word_count + bucket);
            }),
            Some(kept) => character_ngrams(word, self.ngrams, self.buckets, bracketed, |bucket| {
                if let Some(place) = kept.place(bucket) {
                    rows.push(self.word_count + place);
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dictionary(words: &[&str], ngrams: Ngrams, kept: Option<Kept>) -> Dictionary {
        let mut entries = WordTable::default();
        for word in words.iter().chain(&["__label__a"]) {
            entries.insert(word.as_bytes(), hash_word(word.as_bytes()));
        }
        let counts = vec![1; entries.len()];
        Dictionary::new(entries, vec!["__label__a".into()], counts, 9, ngrams, kept)
    }

    fn rows(dictionary: &Dictionary, text: &str) -> Vec<u32> {
        let mut rows = Vec::new();
        let mut room = RowScratch::default();
        let count = dictionary.rows(text.as_bytes(), &mut room, |block| rows.extend(block));
        assert_eq!(count, rows.len() as u64);
        rows
    }

    const WORDS: Ngrams = Ngrams { shortest: 0, longest: 0, words: 1, buckets: 0 };

    #[test]
    fn labels_and_unknown_words_have_no_rows_and_the_end_has_one() {
        let dictionary = dictionary(&["a", "</s>", "b"], WORDS, None);
        assert_eq!(rows(&dictionary, "b x __label__a __label__b a"), [2, 0, 1]);
        assert_eq!(rows(&dictionary, "b </s> a"), [2, 1]);
        assert_eq!(rows(&dictionary, ""), [1]);
    }

    #[test]
    fn a_word_of_many_characters_is_handed_over_in_blocks() {
        let ngrams = Ngrams { shortest: 2, longest: 3, words: 1, buckets: 50 };
        let dictionary = dictionary(&["a"], ngrams, None);
        let (mut blocks, mut most) = (0, 0);
        dictionary.rows("x".repeat(100_000).as_bytes(), &mut RowScratch::default(), |block| {
            blocks += 1;
            most = most.max(block.len());
        });
        assert!(blocks > 40 && most < 5000, "{blocks} blocks of at most {most}");
    }

    #[test]
    fn words_beyond_the_list_of_ngrams_have_the_same_rows() {
        let ngrams = Ngrams { shortest: 2, longest: 3, words: 1, buckets: 50 };
        let mut dictionary = dictionary(&["one", "</s>", "two", "four"], ngrams, None);
        let expected = rows(&dictionary, "four two one x");
        for most in [0, 20, 30] {
            dictionary.subword_ends.clear();
            dictionary.list_subwords(most);
            assert!(dictionary.subword_ends.len() < 4);
            assert_eq!(rows(&dictionary, "four two one x"), expected);
        }
    }

    #[test]
    fn pruned_ngrams_are_left_out_and_kept_ones_renumbered() {
        let all = Ngrams { shortest: 0, longest: 0, words: 2, buckets: 10 };
        let whole = rows(&dictionary(&["a", "b"], all, None), "a b");
        assert_eq!(whole.len(), 4);
        let kept = Kept::new(vec![(whole[3] - 2, 0)]);
        let pruned = dictionary(&["a", "b"], all, Some(kept));
        assert_eq!(rows(&pruned, "a b").last(), Some(&2));
        let none = dictionary(&["a", "b"], all, Some(Kept::new(Vec::new())));
        assert_eq!(rows(&none, "a b"), [0, 1]);
    }
}
