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

impl Words {
    /// Adds the words of `text[start..end]`, a chunk, to `out`; `suffixes` is room.
    pub(super) fn cut(
        &self,
        text: &str,
        chunk: Span,
        suffixes: &mut Vec<Span>,
        out: &mut Vec<Span>,
    ) {
        suffixes.clear();
        let (core, special) = self.strip_affixes(text, chunk, suffixes, out);
        match special {
            Some(cuts) => core.cut(cuts, |span| out.push(span)),
            None => self.attach(text, core, out),
        }
        out.extend(suffixes.iter().rev());
    }

    /// Takes affixes off until none is left or a special case is: the prefixes to `out`, the
    /// suffixes, last first, to `suffixes`; the rest, which may be empty, is returned.
    fn strip_affixes(
        &self,
        text: &str,
        chunk: Span,
        suffixes: &mut Vec<Span>,
        out: &mut Vec<Span>,
    ) -> (Span, Option<Cuts>) {
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
                out.push(before);
                return (after, Some(cuts));
            }
            let outer = rest.end - suffix(&self.characters, after.of(text)) as u32;
            let (left, right) = (Span { end: outer, ..rest }, Span { start: outer, ..rest });
            let has_suffix = outer < rest.end;
            if let Some(cuts) = has_suffix.then(|| special(left)).flatten() {
                suffixes.push(right);
                return (left, Some(cuts));
            }
            if !has_prefix && !has_suffix {
                break;
            }
            out.extend(has_prefix.then_some(before));
            suffixes.extend(has_suffix.then_some(right));
            rest = Span { start: inner, end: outer };
        }
        (rest, None)
    }

    /// Adds the words of what is left between the affixes and is no special case.
    fn attach(&self, text: &str, core: Span, out: &mut Vec<Span>) {
        if is_url(&self.characters, core.of(text)) {
            out.push(core);
            return;
        }
        let mut start = core.start;
        infixes(&self.characters, core.of(text), |from, to| {
            let (from, to) = (core.start + from as u32, core.start + to as u32);
            // One at the very front does not count, and stays with what follows.
            if from > core.start {
                out.extend((start < from).then_some(Span { start, end: from }));
                out.push(Span { start: from, end: to });
                start = to;
            }
        });
        out.extend((start < core.end).then_some(Span { start, end: core.end }));
    }
}
