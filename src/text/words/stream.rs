//! Words of a giant text, some thousand at a time, so that they are never all in memory.
//!
//! In: a text. Out: what [`Words::split`] gives, in order, in lists of some thousand. Method: the
//! text is scanned a MiB at a time, to the next white space. A stretch without white space that is
//! longer is cut into a set of places first, for its rules begin at both ends. The last pass over
//! special cases runs on the words so far up to a place that no sequence of words spans.
//! Invariant: equal to doing it for the whole text. Cost: that of the whole, and a quarter of the
//! bytes of such a stretch; a text with [`MARKER`] in it is cut twice.

use super::chunk::Taker;
use super::phrases::LONGEST;
use super::{MARKER, Span, Words, WordsState, put_back};
use crate::text::bits::Bits;
use crate::text::is_white_space;
use memchr::memmem;

/// Bytes that are scanned at once.
const STRETCH: usize = 1 << 20;
/// Words that are handed out at once, at least.
pub const LIST: usize = 1 << 14;

/// Where the words of a stretch end, from its start.
struct Ends {
    start: u32,
    places: Bits,
}

impl Taker for Ends {
    fn front(&mut self, word: Span) {
        self.places.insert((word.end - self.start) as usize);
    }

    fn back(&mut self, word: Span) {
        self.front(word);
    }
}

impl Words {
    /// Hands the words of `text` to `take`, in order; `list` is a buffer.
    pub fn stream(
        &self,
        state: &mut WordsState,
        text: &str,
        list: &mut Vec<Span>,
        mut take: impl FnMut(&[Span]),
    ) {
        let mut is_marked = false;
        if memmem::find(text.as_bytes(), MARKER.as_bytes()).is_some() {
            is_marked = self.stream_as_is(state, text, list, |_| ());
        }
        if !is_marked {
            self.stream_as_is(state, text, list, |words| take(words));
            return;
        }
        let mut places = text.match_indices(MARKER).map(|(at, _)| at).peekable();
        let (mut passed, mut own) = (0, Vec::new());
        self.stream_as_is(state, &text.replace(MARKER, ""), list, |words| {
            own.clear();
            own.extend_from_slice(words);
            put_back(&mut places, &mut passed, &mut own);
            take(&own);
        });
    }

    /// Hands the words of the text as it is to `take`; returns whether [`MARKER`] is one of them.
    fn stream_as_is(
        &self,
        state: &mut WordsState,
        text: &str,
        list: &mut Vec<Span>,
        mut take: impl FnMut(&[Span]),
    ) -> bool {
        list.clear();
        state.room.candidates.clear();
        state.marked = false;
        let mut at = 0;
        while at < text.len() {
            let wanted = text.floor_char_boundary(at + STRETCH);
            // Up to the last white space before `wanted`; if there is none, up to the first after
            // it.
            let last = text[at..wanted].rfind(is_white_space).map(|last| at + last);
            match last.filter(|&last| wanted < text.len() && last > at) {
                Some(end) => at = self.stretch(state, text, (at, end), list),
                None if wanted == text.len() => {
                    at = self.stretch(state, text, (at, wanted), list);
                }
                None => {
                    let skipped = text[at..].chars().next().filter(|&char| is_white_space(char));
                    at += skipped.map_or(0, char::len_utf8);
                    let length = text[at..].find(is_white_space).unwrap_or(text.len() - at);
                    let end = at + length;
                    if end > at {
                        self.long_chunk(state, text, (at, end), list, &mut take);
                    }
                    at = end;
                }
            }
            self.hand_out(state, text, list, LIST, &mut take);
        }
        self.settle(state, text, list);
        take(list);
        list.clear();
        state.marked
    }

    /// Adds the words of a stretch that ends at white space or with the text; returns its end.
    fn stretch(
        &self,
        state: &mut WordsState,
        text: &str,
        (start, end): (usize, usize),
        list: &mut Vec<Span>,
    ) -> usize {
        self.scan(state, &text[..end], start, list);
        end
    }

    /// Adds the words of a long chunk, and hands out lists on the way.
    fn long_chunk(
        &self,
        state: &mut WordsState,
        text: &str,
        (start, end): (usize, usize),
        list: &mut Vec<Span>,
        take: &mut impl FnMut(&[Span]),
    ) {
        let mut ends = Ends { start: start as u32, places: Bits::new(end - start + 1) };
        self.cut(text, Span { start: start as u32, end: end as u32 }, &mut ends);
        let mut word_start = start;
        // From this word on, `ask` has not been called yet.
        let mut asked = list.len();
        for place in ends.places.from(0) {
            let word = Span { start: word_start as u32, end: (start + place) as u32 };
            state.marked |= word.of(text) == MARKER;
            list.push(word);
            word_start = start + place;
            if list.len() >= asked + LIST + LONGEST {
                self.ask(state, text, list, asked, list.len() - LONGEST);
                asked = list.len() - LONGEST;
                asked -= self.hand_out(state, text, list, LIST, take);
            }
        }
        self.ask(state, text, list, asked, list.len().saturating_sub(1));
    }

    /// Notes which words from `first` on, before `end`, open a sequence with an effect.
    fn ask(&self, state: &mut WordsState, text: &str, list: &[Span], first: usize, end: usize) {
        for at in first..end {
            if self.phrases.open_here(text, &list[at..]) {
                state.room.candidates.push(at as u32);
            }
        }
    }

    /// Runs the last pass over the words of a list.
    fn settle(&self, state: &mut WordsState, text: &str, list: &mut Vec<Span>) {
        if !state.room.candidates.is_empty() {
            self.phrases.apply(&self.specials, text, list, &mut state.room);
            state.room.candidates.clear();
        }
    }

    /// Hands out the words up to a place that no sequence spans, if there are more than `most`.
    /// Returns how many were handed out.
    fn hand_out(
        &self,
        state: &mut WordsState,
        text: &str,
        list: &mut Vec<Span>,
        most: usize,
        take: &mut impl FnMut(&[Span]),
    ) -> usize {
        let last = list.len().saturating_sub(2 * LONGEST);
        let is_apart = |&at: &usize| self.phrases.first_around(text, list, at) == at;
        let Some(cut) = (last.saturating_sub(most)..last).rev().find(is_apart) else { return 0 };
        if cut < most {
            return 0;
        }
        let rest = list.split_off(cut);
        let candidates = &mut state.room.candidates;
        let kept = candidates.partition_point(|&at| (at as usize) < cut);
        let later: Vec<u32> = candidates.drain(kept..).map(|at| at - cut as u32).collect();
        self.settle(state, text, list);
        take(list);
        list.clear();
        list.extend(rest);
        state.room.candidates = later;
        cut
    }
}
