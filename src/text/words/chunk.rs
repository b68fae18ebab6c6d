//! A chunk, the text from one white space to the next, cut into words by the rules.
//!
//! In: a chunk. Out: its words. Method: spaCy 3.8's `_split_affixes` and `_attach_tokens`
//! (`tokenizer.pyx`): as long as what is left is no special case, take a prefix and a suffix off
//! it, but only one of them where that leaves a special case; what is left in the end is a special
//! case, an address, or cut at infixes. Invariants: words lie side by side and make up the chunk.
//! Cost: linear in the chunk's length, no memory but the room for suffixes.

use super::affixes::{infixes, prefix, suffix};
use super::specials::Cuts;
use super::url::is_url;
use super::{Span, Words};

/// Who takes the words of a chunk.
pub(super) trait Taker {
    /// Takes the next word from the chunk's start.
    fn front(&mut self, word: Span);
    /// Takes the next word from the chunk's end, backwards.
    fn back(&mut self, word: Span);
}

/// Collects the words in two lists, of which the second is in reverse order.
pub(super) struct Lists<'a> {
    pub words: &'a mut Vec<Span>,
    pub suffixes: &'a mut Vec<Span>,
}

impl Taker for Lists<'_> {
    fn front(&mut self, word: Span) {
        self.words.push(word);
    }

    fn back(&mut self, word: Span) {
        self.suffixes.push(word);
    }
}

impl Words {
    /// Hands the words of `chunk` in `text` to `out`.
    pub(super) fn cut(&self, text: &str, chunk: Span, out: &mut impl Taker) {
        let (core, special) = self.strip_affixes(text, chunk, out);
        match special {
            Some(cuts) => core.cut(cuts, |span| out.front(span)),
            None => self.attach(text, core, out),
        }
    }

    /// Takes affixes off until none is left or a special case is, and hands them to `out`; the
    /// rest, which may be empty, is returned.
    fn strip_affixes(&self, text: &str, chunk: Span, out: &mut impl Taker) -> (Span, Option<Cuts>) {
        let special = |span: Span| self.specials.find(span.of(text).as_bytes());
        let mut rest = chunk;
        while rest.start < rest.end {
            if let Some(cuts) = special(rest) {
                return (rest, Some(cuts));
            }
            let inner = rest.start + prefix(&self.characters, rest.of(text)) as u32;
            let (before, after) = (Span { end: inner, ..rest }, Span { start: inner, ..rest });
            let has_prefix = inner > rest.start;
            if let Some(cuts) = has_prefix.then(|| special(after)).flatten() {
                out.front(before);
                return (after, Some(cuts));
            }
            let outer = rest.end - suffix(&self.characters, after.of(text)) as u32;
            let (left, right) = (Span { end: outer, ..rest }, Span { start: outer, ..rest });
            let has_suffix = outer < rest.end;
            if let Some(cuts) = has_suffix.then(|| special(left)).flatten() {
                out.back(right);
                return (left, Some(cuts));
            }
            if !has_prefix && !has_suffix {
                break;
            }
            if has_prefix {
                out.front(before);
            }
            if has_suffix {
                out.back(right);
            }
            rest = Span { start: inner, end: outer };
        }
        (rest, None)
    }

    /// Adds the words of what is left between the affixes and is no special case.
    fn attach(&self, text: &str, core: Span, out: &mut impl Taker) {
        if is_url(&self.characters, core.of(text)) {
            out.front(core);
            return;
        }
        let mut start = core.start;
        infixes(&self.characters, core.of(text), |from, to| {
            let (from, to) = (core.start + from as u32, core.start + to as u32);
            // An infix at the very front does not count, and stays with what follows.
            if from > core.start {
                if start < from {
                    out.front(Span { start, end: from });
                }
                out.front(Span { start: from, end: to });
                start = to;
            }
        });
        if start < core.end {
            out.front(Span { start, end: core.end });
        }
    }
}
