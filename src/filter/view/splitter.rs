//! Splits words and sentences: as the reference does, or at white space.
//!
//! In: a text. Out: byte ranges of its words, in order, and the number of its sentences. Method:
//! the reference's words and sentences are those of [`crate::text::words`]; at white space, words
//! are runs without white space (Python's `str.split()`), and a sentence ends at a word that ends
//! in `.`, `!` or `?`. Invariants: ranges are in order and do not overlap; no word contains white
//! space or is empty. Cost: linear.

use super::giants::GIANT;
use crate::text::is_white_space;
use crate::text::words::{LIST, Sentence, Span, Words, WordsState};
use std::sync::LazyLock;

/// The reference's rules, made when first asked for and shared by all threads.
static REFERENCE: LazyLock<Words> = LazyLock::new(Words::new);

/// A way of splitting, with the state it keeps from text to text.
pub enum Splitter {
    /// As datatrove 0.10 cuts English, by spaCy's rules.
    Reference(Box<WordsState>),
    /// At white space.
    WhiteSpace,
}

impl Splitter {
    /// The reference's way.
    pub fn reference() -> Splitter {
        Splitter::Reference(Box::default())
    }

    /// Puts the words of `text` into `spans`, replacing what it held.
    pub fn words(&mut self, text: &str, spans: &mut Vec<Span>) {
        match self {
            Splitter::Reference(state) => REFERENCE.split(state, text, spans),
            Splitter::WhiteSpace => white_space(text, spans),
        }
    }

    /// Calls `take` with the words of a giant, some thousand at a time; `spans` is a buffer.
    pub fn stream(&mut self, text: &str, spans: &mut Vec<Span>, mut take: impl FnMut(&[Span])) {
        match self {
            Splitter::Reference(state) => REFERENCE.stream(state, text, spans, take),
            Splitter::WhiteSpace => {
                spans.clear();
                each_run(text, |span| {
                    spans.push(span);
                    if spans.len() == LIST {
                        take(spans);
                        spans.clear();
                    }
                });
                take(spans);
            }
        }
    }

    /// How many sentences of `text` are more than white space; `spans` is room for its words.
    pub fn count_sentences(&mut self, text: &str, spans: &mut Vec<Span>) -> usize {
        let mut count = 0;
        match self {
            Splitter::Reference(state) => {
                let mut each =
                    |own: Span| count += usize::from(!own.of(text).chars().all(is_white_space));
                if text.len() < GIANT {
                    REFERENCE.split(state, text, spans);
                    REFERENCE.sentences(text, spans, each);
                } else {
                    let mut open = Sentence::default();
                    REFERENCE.stream(state, text, spans, |words| {
                        REFERENCE.close_sentences(text, words, &mut open, &mut each);
                    });
                    REFERENCE.last_sentences(text, open, each);
                }
            }
            Splitter::WhiteSpace => {
                let mut is_open = false;
                each_run(text, |word| {
                    is_open = !text[..word.end as usize].ends_with(['.', '!', '?']);
                    count += usize::from(!is_open);
                });
                count += usize::from(is_open);
            }
        }
        count
    }
}

/// Maximal runs without white space.
pub fn white_space(text: &str, spans: &mut Vec<Span>) {
    spans.clear();
    each_run(text, |span| spans.push(span));
}

/// Calls `each` with every maximal run without white space.
fn each_run(text: &str, mut each: impl FnMut(Span)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        while let Some(length) = white_space_at(text, bytes, at) {
            at += length;
        }
        if at == bytes.len() {
            return;
        }
        let start = at;
        while at < bytes.len() && white_space_at(text, bytes, at).is_none() {
            at += 1;
            while bytes.get(at).is_some_and(|&byte| byte & 0xc0 == 0x80) {
                at += 1;
            }
        }
        each(Span { start: start as u32, end: at as u32 });
    }
}

/// The number of bytes of the white space at a place; 0 where there is none.
#[inline(always)]
fn white_space_at(text: &str, bytes: &[u8], at: usize) -> Option<usize> {
    match *bytes.get(at)? {
        b' ' | 0x09..=0x0d | 0x1c..=0x1f => Some(1),
        byte if byte < 0x80 => None,
        _ => {
            let char = text[at..].chars().next().filter(|&char| is_white_space(char))?;
            Some(char.len_utf8())
        }
    }
}
