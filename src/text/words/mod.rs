//! Words and sentences as datatrove 0.10 cuts English: spaCy 3.8's `blank("en")` rules.
//!
//! In: a text. Out: its words as byte ranges, none of them white space, and from these its
//! sentences. Method: the text is taken chunk by chunk, from white space to white space. A chunk
//! that is ASCII letters, alone or with one mark after them, is cut at once unless a filter says
//! that it may be a special case; any other is looked up among the chunks met before; else the
//! rules are applied ([`chunk`]: affixes, special cases, addresses, infixes). At the end special
//! cases that were cut apart are put together ([`phrases`]).
//! Sources: `spacy/tokenizer.pyx`, `lang/punctuation.py`, `lang/en/*`, `lang/char_classes.py`,
//! `lang/tokenizer_exceptions.py` of spaCy 3.8.18; `utils/word_tokenizers.py` and `utils/text.py`
//! of datatrove 0.10.1. English texts are not cut into pieces there, whatever their length.
//! Invariants: words ascend and do not overlap; nothing but the text decides. Cost: linear in the
//! text's length; 300 to 450 MB/s of English prose and 200 of code on one core; no memory a word
//! but the span.

mod affixes;
mod cache;
mod characters;
mod chunk;
#[rustfmt::skip]
mod classes;
#[rustfmt::skip]
mod exceptions;
mod phrases;
mod scan;
mod sentences;
mod specials;
mod stream;
#[cfg(test)]
mod tests;
mod url;

use cache::Cache;
use characters::Characters;
use phrases::{Phrases, Room};
pub use sentences::Sentence;
use specials::{Cuts, Specials};
use std::iter::Peekable;
pub use stream::LIST;

/// A stretch of a text: bytes, from `start` to before `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

impl Span {
    /// The text of the span, out of the text that it was found in.
    #[inline]
    pub fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }

    /// Calls `each` with the parts into which a special case cuts it.
    fn cut(self, cuts: Cuts, mut each: impl FnMut(Span)) {
        let mut start = self.start;
        for cut in [cuts.first, cuts.second].into_iter().filter(|&cut| cut > 0) {
            let end = self.start + u32::from(cut);
            each(Span { start, end });
            start = end;
        }
        each(Span { start, end: self.end });
    }
}

/// A word on which spaCy fails: once it has seen it in a process, an assertion stops it, and
/// datatrove cuts the text again with every occurrence of these letters taken out.
const MARKER: &str = "IS_ALPHA";

/// The rules. Made once, shared by all threads.
pub struct Words {
    characters: Characters,
    specials: Specials,
    phrases: Phrases,
}

/// What a thread keeps from text to text: chunks met before, and room.
pub struct WordsState {
    cache: Cache,
    suffixes: Vec<Span>,
    room: Room,
    /// Whether a word was [`MARKER`].
    marked: bool,
}

impl Default for WordsState {
    fn default() -> WordsState {
        WordsState {
            cache: Cache::new(),
            suffixes: Vec::new(),
            room: Room::default(),
            marked: false,
        }
    }
}

impl Default for Words {
    fn default() -> Words {
        Words::new()
    }
}

impl Words {
    /// Builds the tables, in about a millisecond.
    pub fn new() -> Words {
        let specials = Specials::new();
        let phrases = Phrases::new(&specials);
        Words { characters: Characters::new(), specials, phrases }
    }

    /// Replaces `out` by the words of `text`, which has less than 4 GiB.
    ///
    /// Where the reference takes the letters `IS_ALPHA` out of the text before cutting it, the
    /// spans lie in the text as it is: a word that stood on both sides of them has them within.
    pub fn split(&self, state: &mut WordsState, text: &str, out: &mut Vec<Span>) {
        self.split_as_is(state, text, out);
        if state.marked {
            self.split_as_is(state, &text.replace(MARKER, ""), out);
            let mut places = text.match_indices(MARKER).map(|(at, _)| at).peekable();
            put_back(&mut places, &mut 0, out);
        }
    }

    fn split_as_is(&self, state: &mut WordsState, text: &str, out: &mut Vec<Span>) {
        out.clear();
        state.room.candidates.clear();
        state.marked = false;
        self.scan(state, text, 0, out);
        if !state.room.candidates.is_empty() {
            self.phrases.apply(&self.specials, text, out, &mut state.room);
        }
    }
}

/// Moves spans of a text without [`MARKER`] to where they lie in the text with it. `places`: where
/// the markers stand; `passed`: how many of them lie behind.
fn put_back(
    places: &mut Peekable<impl Iterator<Item = usize>>,
    passed: &mut usize,
    words: &mut [Span],
) {
    let length = MARKER.len();
    for word in words {
        let mut taken_before = |at: u32, inclusive: bool| {
            let reached = |place: usize, so_far: usize| {
                let place = place - so_far * length;
                place < at as usize || inclusive && place == at as usize
            };
            while places.next_if(|&place| reached(place, *passed)).is_some() {
                *passed += 1;
            }
            at + (*passed * length) as u32
        };
        word.start = taken_before(word.start, true);
        word.end = taken_before(word.end, false);
    }
}
