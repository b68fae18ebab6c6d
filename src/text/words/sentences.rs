//! Sentences, from the words.
//!
//! In: a text and its words. Out: its sentences, which make up the text. Method: spaCy 3.8's
//! `Sentencizer` (`pipeline/sentencizer.pyx`) with the pieces that datatrove 0.10's
//! `split_into_sentences` makes of it (`utils/text.py`): after a word that is one of the 133 marks
//! that end a sentence, the first word that is neither such a mark nor punctuation alone opens the
//! next, and white space other than one space is such a word; a sentence begins where the one
//! before it ends, so it may open with white space. An empty text is one sentence.
//! Invariants: never an empty sentence but of the empty text. Cost: linear in the words, most of
//! which are settled by their length.

use super::classes::{PUNCTUATION, SENTENCE_END};
use super::{MARKER, Span, Words};

/// A sentence that is not known to have ended.
#[derive(Clone, Copy, Default)]
pub struct Sentence {
    start: u32,
    /// Where its last word ends so far.
    previous: u32,
    /// Whether a mark that ends it has been seen.
    ended: bool,
}

impl Words {
    /// Hands the sentences of `text` to `each`, in order; `words` are [`Words::split`]'s of it.
    pub fn sentences(&self, text: &str, words: &[Span], mut each: impl FnMut(Span)) {
        let mut open = Sentence::default();
        self.close_sentences(text, words, &mut open, &mut each);
        self.last_sentences(text, open, each);
    }

    /// Takes the next words of `text`, and hands to `each` the sentences that end before one of
    /// them; `open` is what is known of the sentence that has not ended.
    pub fn close_sentences(
        &self,
        text: &str,
        words: &[Span],
        open: &mut Sentence,
        mut each: impl FnMut(Span),
    ) {
        let Sentence { mut start, mut previous, mut ended } = *open;
        for word in words {
            // Seldom true, so that the gap is seldom looked at.
            if ended {
                let spaced = is_word(&text[previous as usize..word.start as usize]);
                if spaced || !self.continues(text, *word) {
                    each(Span { start, end: previous });
                    (start, ended) = (previous, false);
                }
            }
            ended |= self.ends(text, *word);
            previous = word.end;
        }
        *open = Sentence { start, previous, ended };
    }

    /// Hands the sentences that are left after the last word to `each`.
    pub fn last_sentences(&self, text: &str, open: Sentence, mut each: impl FnMut(Span)) {
        let Sentence { mut start, previous, ended } = open;
        if ended && is_word(&text[previous as usize..]) {
            each(Span { start, end: previous });
            start = previous;
        }
        each(Span { start, end: text.len() as u32 });
    }

    /// Whether `word` is a mark that ends a sentence.
    #[inline]
    fn ends(&self, text: &str, word: Span) -> bool {
        let length = word.end - word.start;
        if length > 4 {
            return false;
        }
        let first = text.as_bytes()[word.start as usize];
        if first < 0x80 {
            return length == 1 && matches!(first, b'.' | b'!' | b'?');
        }
        let mut chars = word.of(text).chars();
        self.characters.is(chars.next(), SENTENCE_END) && chars.next().is_none()
    }

    /// Whether `word` can follow the end of a sentence within it: such a mark, or punctuation.
    fn continues(&self, text: &str, word: Span) -> bool {
        let is_punctuation = |char| self.characters.is(Some(char), PUNCTUATION);
        self.ends(text, word) || word.of(text).chars().all(is_punctuation)
    }
}

/// Whether what stands between two words is a word of white space: anything but one space.
fn is_word(gap: &str) -> bool {
    match gap {
        "" | " " => false,
        // What the reference takes out of the text is in a gap as if it were not there.
        _ if gap.contains('I') => !matches!(gap.replace(MARKER, "").as_str(), "" | " "),
        _ => true,
    }
}
