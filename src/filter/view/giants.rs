//! The words of a giant text, and runs of them, counted in bounded memory.
//!
//! In: the words of a text of [`GIANT`] bytes or more, some thousand at a time. Out: what
//! [`super::words`], [`super::ngrams`] and [`super::repeats`] give for any text, to the bit.
//! Method: the words are glued together as there, but the beginning of a word is one bit rather
//! than a number, and keys are computed when they are needed: 9/8 of the text instead of 25 bytes a
//! word. A word or a run is identified by the offset of its first byte. What may occur twice is
//! first found by counters, in rounds with a different hash each, so that tables hold little but
//! what does occur twice; a table that would still grow too large is filled in parts, by hash.
//! Invariants: runs are compared byte by byte, and also by word boundaries where these matter;
//! hashes only find candidates. Cost: for each n some passes over the words, each of a hash and a
//! counter; counters of 64 MiB, three bits a byte of text, and tables of 4 or 8 bytes a different
//! run.

use super::common::{Common, WIDE, WINDOW};
use super::places::{Places, Things};
use super::table::{hash, mix};
use crate::text::bits::Bits;
use crate::text::count_chars;
use crate::text::words::Span;

/// In tests, the number of bits by which giants, and all sizes that go with them, are reduced.
const SHRUNK: u32 = if cfg!(test) { 8 } else { 0 };
/// The least size of a giant, in bytes.
pub const GIANT: usize = 1 << (22 - SHRUNK);

/// Zeros behind the last word, so that two times sixteen bytes can be read at any word.
const PADDING: usize = 64;
/// The number of one-byte counters: with ten million things, one new thing in seven is taken for a
/// repeat in the first round, and one in hundreds after three rounds.
const COUNTERS: usize = 1 << (26 - SHRUNK);
/// The number of four-byte counters, for the most common runs.
const WIDE_COUNTERS: usize = 1 << (22 - SHRUNK);
/// With fewer things left than this, no further round is needed.
const FEW: usize = 1 << (16 - SHRUNK);
/// The most different runs that are counted exactly in one table: they take 128 MiB.
const AT_ONCE: usize = 1 << (23 - SHRUNK);

/// The words of a giant. A word is named by where it begins among the glued ones.
#[derive(Default)]
pub struct Giant {
    glued: Vec<u8>,
    end: usize,
    /// Where words begin, and where the last ends.
    cuts: Bits,
    words: usize,
    /// Words where [`WINDOW`], or [`WIDE`], bytes begin that may also occur elsewhere.
    shared: Option<(Bits, Bits)>,
}

impl Giant {
    /// No words yet; `length` is the number of bytes in the text.
    pub fn new(length: usize) -> Giant {
        let (glued, cuts) = (vec![0; length + PADDING], Bits::new(length + 1));
        Giant { glued, cuts, ..Giant::default() }
    }

    /// Adds words of `text` after those already there.
    pub fn add(&mut self, text: &str, words: &[Span]) {
        for word in words {
            let own = word.of(text).as_bytes();
            self.cuts.insert(self.end);
            self.glued[self.end..self.end + own.len()].copy_from_slice(own);
            self.end += own.len();
        }
        self.words += words.len();
        // The end of the last word; the next word that is added begins here.
        self.cuts.insert(self.end);
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.words
    }

    /// The words glued together, with zeros after the last.
    pub fn glued(&self) -> &[u8] {
        &self.glued
    }

    /// The bytes of `count` words, glued, from the word at `place` on.
    pub fn bytes(&self, place: usize, count: usize) -> &[u8] {
        &self.glued[place..self.after(place, count)]
    }

    /// First and last byte of each word, in order.
    pub fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut ends = self.cuts.from(0);
        let mut start = ends.next();
        std::iter::from_fn(move || {
            let end = ends.next()?;
            Some((start.replace(end)?, end))
        })
    }

    /// The end of `count` words from the word at `place` on.
    fn after(&self, place: usize, count: usize) -> usize {
        (0..count).fold(place, |place, _| self.cuts.next(place + 1).unwrap_or(self.end))
    }

    /// Calls `each` with the first byte and the end of each run of `n` words.
    fn runs(&self, n: usize, mut each: impl FnMut(usize, usize)) {
        let mut starts = self.cuts.from(0);
        for end in self.cuts.from(0).skip(n) {
            each(starts.next().unwrap_or(end), end);
        }
    }

    /// The most common run of `n` words.
    pub fn most_common(&self, n: usize) -> Common {
        let runs = Runs { giant: self, n, by_words: true };
        let mut best = Common { word: 0, count: usize::from(self.words >= n) };
        let mut counters = vec![0u32; WIDE_COUNTERS];
        let place_of = |hash: u64| (hash >> 40) as usize % WIDE_COUNTERS;
        self.runs(n, |start, end| counters[place_of(runs.hash_of(start, end))] += 1);
        let least = least_at_once(&counters);
        let mut heavy = Places::new(true);
        self.runs(n, |start, end| {
            if counters[place_of(runs.hash_of(start, end))] >= least {
                let (first, count) = heavy.first(&runs, start);
                best.meet(first as u32, count);
            }
        });
        drop(heavy);
        // Of the remaining runs, only those counted at least as often can be the most common, or
        // the first of several.
        let wanted = (best.count as u32).max(2);
        let (mut others, mut left) = (Bits::new(self.end + 1), 0);
        self.runs(n, |start, end| {
            let counted = counters[place_of(runs.hash_of(start, end))];
            if counted < least && counted >= wanted {
                others.insert(start);
                left += 1;
            }
        });
        drop(counters);
        if left > AT_ONCE {
            left = keep_repeated(&mut others, left, wanted.min(255) as u8, |at| runs.hash(at));
        }
        let parts = left.div_ceil(AT_ONCE) as u64;
        for part in 0..parts {
            let mut table = Places::new(true);
            for start in others.from(0) {
                if parts == 1 || mix(runs.hash(start), parts) % parts == part {
                    let (first, count) = table.first(&runs, start);
                    best.meet(first as u32, count);
                }
            }
        }
        best
    }

    /// Code points in repeats of `n` words: see [`super::repeats`].
    pub fn repeated_chars(&mut self, n: usize) -> usize {
        let shared = self.shared.take().unwrap_or_else(|| self.find_shared());
        let runs = Runs { giant: self, n, by_words: false };
        let (mut candidates, mut count) = (Bits::new(self.end + 1), 0);
        self.runs(n, |start, end| {
            let is_unlike_others = (end - start >= WINDOW && !shared.0.has(start))
                || (end - start >= WIDE && !shared.1.has(start));
            if !is_unlike_others {
                candidates.insert(start);
                count += 1;
            }
        });
        let chars = runs.repeated_chars(&candidates, AT_ONCE).or_else(|| {
            keep_repeated(&mut candidates, count, 2, |at| runs.hash(at));
            runs.repeated_chars(&candidates, usize::MAX)
        });
        self.shared = Some(shared);
        chars.unwrap_or_default()
    }

    /// Words where bytes begin that may occur twice; the last words count as such, since they have
    /// too few bytes after them.
    fn find_shared(&self) -> (Bits, Bits) {
        let shared = |among: &Bits, length: usize| {
            let mut found = among.clone();
            found.remove(self.end);
            let last = self.end.saturating_sub(length);
            keep_repeated(&mut found, self.words, 2, |at| {
                let at = at.min(last);
                hash(&self.glued, at, at + length)
            });
            self.cuts.from(last).for_each(|place| found.insert(place));
            found
        };
        let windows = shared(&self.cuts, WINDOW);
        // Short runs are looked up by their first sixteen bytes alone, wherever they begin.
        let wide = shared(&windows, WIDE);
        (windows, wide)
    }
}

/// Runs of `n` words in a giant: equal if their letters are, or with `by_words` if their words are.
struct Runs<'g> {
    giant: &'g Giant,
    n: usize,
    by_words: bool,
}

impl Runs<'_> {
    fn hash_of(&self, start: usize, end: usize) -> u64 {
        let own = hash(&self.giant.glued, start, end);
        if self.by_words { mix(own, self.cuts(start, end)) } else { own }
    }

    /// Code points in repeats among candidates, unless more than `most` are different.
    fn repeated_chars(&self, candidates: &Bits, most: usize) -> Option<usize> {
        let (mut table, mut chars, mut next) = (Places::new(false), 0, 0);
        for start in candidates.from(0) {
            if start >= next && table.first(self, start).0 != start {
                next = self.giant.after(start, self.n);
                chars += count_chars(&self.giant.glued[start..next]);
            } else if table.len() > most {
                return None;
            }
        }
        Some(chars)
    }

    /// Where words begin in the first 64 bytes of a run.
    fn cuts(&self, start: usize, end: usize) -> u64 {
        let cuts = self.giant.cuts.window(start);
        if end - start < 64 { cuts & !(u64::MAX << (end - start)) } else { cuts }
    }
}

impl Things for Runs<'_> {
    fn hash(&self, place: usize) -> u64 {
        self.hash_of(place, self.giant.after(place, self.n))
    }

    fn equal(&self, one: usize, other: usize) -> bool {
        let giant = self.giant;
        let own = giant.bytes(one, self.n);
        if self.by_words {
            let ends = giant.cuts.from(one + 1).zip(giant.cuts.from(other + 1)).take(self.n);
            giant.glued[other..].starts_with(own)
                && ends.into_iter().all(|(end, others)| end - one == others - other)
        } else {
            giant.bytes(other, self.n) == own
        }
    }
}

/// The least counter value, at least 2, such that all things with counters from it on can be
/// counted at once; the greatest value if even those are too many.
fn least_at_once(counters: &[u32]) -> u32 {
    let top = counters.iter().copied().max().unwrap_or(0);
    let fits = |least: u32| {
        let heavy = counters.iter().filter(|&&count| count >= least);
        heavy.map(|&count| count as usize).sum::<usize>() <= AT_ONCE
    };
    let (mut least, mut above) = ((top / 2 + 1).max(2), top.max(2));
    while least < above {
        let middle = least + (above - least) / 2;
        if fits(middle) { above = middle } else { least = middle + 1 }
    }
    above
}

/// Removes things that occur fewer than `wanted` times, as far as counters tell; returns how many
/// stay.
fn keep_repeated(
    things: &mut Bits,
    mut count: usize,
    wanted: u8,
    hash: impl Fn(usize) -> u64,
) -> usize {
    let mut counters = vec![0u8; COUNTERS];
    for round in 0.. {
        let counter = |place: usize| (mix(hash(place), round) >> 38) as usize % COUNTERS;
        for place in things.from(0) {
            let counter = &mut counters[counter(place)];
            *counter = counter.saturating_add(1);
        }
        let (mut left, mut next) = (0, 0);
        while let Some(place) = things.next(next) {
            next = place + 1;
            if counters[counter(place)] < wanted {
                things.remove(place);
            } else {
                left += 1;
            }
        }
        if left < FEW || left > count / 4 * 3 {
            return left;
        }
        count = left;
        counters.fill(0);
    }
    count
}

/// Pieces of a text that neither overlap nor touch, identified by where they begin, for finding
/// duplicates.
pub struct Pieces<'t> {
    text: &'t [u8],
    ends: Bits,
}

impl<'t> Pieces<'t> {
    /// Records where pieces of `text` end; also returns where they begin, and their number.
    pub fn new(
        text: &'t str,
        pieces: impl Iterator<Item = (usize, usize)>,
    ) -> (Pieces<'t>, Bits, usize) {
        let (mut starts, mut ends, mut count) =
            (Bits::new(text.len() + 1), Bits::new(text.len() + 1), 0);
        for (start, end) in pieces {
            starts.insert(start);
            ends.insert(end);
            count += 1;
        }
        (Pieces { text: text.as_bytes(), ends }, starts, count)
    }

    /// The piece that begins at offset `place`.
    pub fn piece(&self, place: usize) -> &'t [u8] {
        &self.text[place..self.ends.next(place).unwrap_or(self.text.len())]
    }
}

impl Things for Pieces<'_> {
    fn hash(&self, place: usize) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.piece(place))
    }

    fn equal(&self, one: usize, other: usize) -> bool {
        self.piece(one) == self.piece(other)
    }
}
