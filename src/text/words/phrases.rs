//! The last pass: special cases that the cuts have taken apart are put together again.
//!
//! In: a text's words, and where one of them opens a special case cut otherwise (`Mr` and `.` out
//! of `Smith/Mr.`). Out: the words with those special cases in place. Method: spaCy 3.8's
//! `_apply_special_cases` (`tokenizer.pyx`): every sequence of words equal to a special case's own
//! cuts is found, whatever single spaces stand between; the longest are taken first, of equal ones
//! the first; one whose first or last word is in a longer or earlier one is left out, and counts as
//! seen all the same. Only a sequence without spaces is a special case's text and has an effect, so
//! the work is done only around the places where there is one, as far as sequences overlap.
//! Invariant: equal to doing it for the whole text. Cost: linear in the words around such places.

use super::Span;
use super::exceptions::PHRASES;
use super::specials::{Specials, head};

/// Words of the longest sequence.
pub(super) const LONGEST: usize = 11;
/// Slots of the table of first words, a power of two.
const SLOTS: usize = 512;

/// The sequences by their first word.
pub struct Phrases {
    /// Indices into `PHRASES`, those with the same first word together.
    sorted: Vec<u16>,
    /// (first, end) in `sorted` of a first word; equal where free.
    slots: Vec<(u16, u16)>,
    /// Whether the special case is cut in another way than the sequence.
    changes: Vec<bool>,
    /// A bit for the first bytes of each sequence's first two words.
    pairs: Vec<u64>,
}

/// Room for the pass, kept from text to text.
#[derive(Default)]
pub struct Room {
    /// Words that open a sequence with an effect, ascending.
    pub candidates: Vec<u32>,
    /// (first word, words) of the sequences of a neighbourhood, by first word.
    found: Vec<(u32, u32)>,
    /// For each word of a neighbourhood: whether it is seen, and how many words a sequence taken
    /// there has.
    marks: Vec<(bool, u8)>,
    /// The sequences taken, by first word.
    taken: Vec<(u32, u32)>,
    rebuilt: Vec<Span>,
}

impl Phrases {
    /// Builds the table.
    pub fn new(specials: &Specials) -> Phrases {
        let mut sorted: Vec<u16> = (0..PHRASES.len() as u16).collect();
        sorted.sort_by_key(|&index| PHRASES[index as usize]);
        let mut slots = vec![(0, 0); SLOTS];
        let groups = sorted.chunk_by(|&a, &b| PHRASES[a as usize][0] == PHRASES[b as usize][0]);
        let mut first = 0;
        for group in groups {
            let mut slot = slot(PHRASES[group[0] as usize][0].as_bytes());
            while slots[slot] != (0, 0) {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = (first, first + group.len() as u16);
            first += group.len() as u16;
        }
        let changes = PHRASES.iter().map(|phrase| {
            let ends = phrase.iter().scan(0, |end, word| {
                *end += word.len();
                Some(*end as u8)
            });
            let mut ends: Vec<u8> = ends.take(phrase.len() - 1).collect();
            ends.resize(LONGEST, 0);
            specials
                .find(phrase.concat().as_bytes())
                .is_some_and(|cuts| (ends[0], ends[1]) != (cuts.first, cuts.second) || ends[2] != 0)
        });
        let changes: Vec<bool> = changes.collect();
        let mut pairs = vec![0; (1 << 16) / 64];
        for phrase in PHRASES {
            let bit = pair_bit(phrase[0].as_bytes()[0], phrase[1].as_bytes()[0]);
            pairs[bit / 64] |= 1 << (bit % 64);
        }
        Phrases { sorted, slots, changes, pairs }
    }

    /// The sequences that may begin at the first of `words`: indices into `PHRASES`.
    #[inline]
    fn opened_by(&self, text: &str, words: &[Span]) -> &[u16] {
        let [first, second, ..] = words else { return &[] };
        let initial = |word: &Span| text.as_bytes()[word.start as usize];
        let bit = pair_bit(initial(first), initial(second));
        if self.pairs[bit / 64] >> (bit % 64) & 1 == 0 {
            return &[];
        }
        self.with_first(first.of(text).as_bytes())
    }

    /// The sequences with a first word.
    fn with_first(&self, word: &[u8]) -> &[u16] {
        let mut slot = slot(word);
        loop {
            let (first, end) = self.slots[slot];
            if first == end {
                return &[];
            }
            let group = &self.sorted[first as usize..end as usize];
            if PHRASES[group[0] as usize][0].as_bytes() == word {
                return group;
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Hands the sequences at the first of `words`, shortest first, to `each`; single spaces may
    /// stand between words.
    fn find(&self, text: &str, words: &[Span], mut each: impl FnMut(u16)) {
        let mut group = self.opened_by(text, words);
        let mut depth = 1;
        while !group.is_empty() {
            let Some(word) = words.get(depth) else { return };
            let gap = &text.as_bytes()[words[depth - 1].end as usize..word.start as usize];
            if !matches!(gap, b"" | b" ") {
                return;
            }
            // The group is in order, those that end here first.
            let own = word.of(text);
            let at_depth = |index: &u16| PHRASES[*index as usize].get(depth).copied();
            let start = group.partition_point(|index| at_depth(index) < Some(own));
            let length = group[start..].partition_point(|index| at_depth(index) == Some(own));
            group = &group[start..start + length];
            depth += 1;
            if let Some(&index) = group.first().filter(|i| PHRASES[**i as usize].len() == depth) {
                each(index);
            }
        }
    }

    /// Whether a sequence with an effect begins at the first of `words`, those of one chunk.
    #[inline]
    pub fn open_here(&self, text: &str, words: &[Span]) -> bool {
        let mut open = false;
        if !self.opened_by(text, words).is_empty() {
            self.find(text, words, |index| open |= self.changes[index as usize]);
        }
        open
    }

    /// Puts the special cases around `room.candidates` in place.
    pub fn apply(&self, specials: &Specials, text: &str, words: &mut Vec<Span>, room: &mut Room) {
        let mut done = 0;
        room.taken.clear();
        for index in 0..room.candidates.len() {
            let candidate = room.candidates[index] as usize;
            if candidate >= done {
                let first = self.first_around(text, words, candidate);
                done = self.collect(text, words, first, room);
                choose(first, done, room);
            }
        }
        rebuild(specials, text, words, room);
    }

    /// The first word of the neighbourhood of `candidate`: as far as sequences overlap.
    pub(super) fn first_around(&self, text: &str, words: &[Span], candidate: usize) -> usize {
        let mut first = candidate;
        loop {
            let reaches = |&at: &usize| {
                let mut longest = 0;
                self.find(text, &words[at..], |index| longest = PHRASES[index as usize].len());
                at + longest > first
            };
            match (first.saturating_sub(LONGEST - 1)..first).find(reaches) {
                Some(earlier) => first = earlier,
                None => return first,
            }
        }
    }

    /// Fills `room.found` with the sequences from word `first` on as far as they overlap; returns
    /// the word after them.
    fn collect(&self, text: &str, words: &[Span], first: usize, room: &mut Room) -> usize {
        room.found.clear();
        let (mut at, mut end) = (first, first + 1);
        while at < end {
            self.find(text, &words[at..], |index| {
                let length = PHRASES[index as usize].len();
                room.found.push((at as u32, length as u32));
                end = end.max(at + length);
            });
            at += 1;
        }
        end
    }
}

/// Takes from `room.found`, which lie between two words, those to be put together: the longest, of
/// equal ones the first, whose first and last word no sequence before them has.
fn choose(first: usize, end: usize, room: &mut Room) {
    room.marks.clear();
    room.marks.resize(end - first, (false, 0));
    for wanted in (2..=LONGEST).rev() {
        for &(at, length) in room.found.iter().filter(|found| found.1 as usize == wanted) {
            let start = at as usize - first;
            let inside = &mut room.marks[start..start + wanted];
            if !inside[0].0 && !inside[wanted - 1].0 {
                inside[0].1 = length as u8;
            }
            inside.iter_mut().for_each(|mark| mark.0 = true);
        }
    }
    let taken = room.marks.iter().enumerate().filter(|(_, mark)| mark.1 > 0);
    room.taken.extend(taken.map(|(at, mark)| ((first + at) as u32, u32::from(mark.1))));
}

/// Replaces the sequences of `room.taken` that are special cases, text and all.
fn rebuild(specials: &Specials, text: &str, words: &mut Vec<Span>, room: &mut Room) {
    room.rebuilt.clear();
    let mut copied = 0;
    for &(at, length) in &room.taken {
        let (at, end) = (at as usize, (at + length) as usize);
        let whole = Span { start: words[at].start, end: words[end - 1].end };
        if let Some(cuts) = specials.find(whole.of(text).as_bytes()) {
            room.rebuilt.extend_from_slice(&words[copied..at]);
            whole.cut(cuts, |span| room.rebuilt.push(span));
            copied = end;
        }
    }
    room.rebuilt.extend_from_slice(&words[copied..]);
    std::mem::swap(words, &mut room.rebuilt);
}

fn pair_bit(first: u8, second: u8) -> usize {
    first as usize * 256 + second as usize
}

fn slot(word: &[u8]) -> usize {
    let mixed = (head(word, word.len()) ^ word.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}
