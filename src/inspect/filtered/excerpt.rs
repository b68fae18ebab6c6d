//! The part of a text that shows why a rule fired.
//!
//! In → a text, the byte ranges that fired, a budget in bytes; out → [`Piece`]s in order: text,
//! marked text, and gaps that say how much they leave out. Method: as much context around every
//! range as the budget allows, the same for all; ranges that are long lose their middle.
//! Invariants: pieces and gaps together are the text, byte by byte; no piece begins within a
//! grapheme; ranges that are out of order, overlap, or lie beyond the text do no harm; text of all
//! pieces stays near the budget. Cost: linear in the ranges and the budget, not in the text.

use unicode_segmentation::GraphemeCursor;

use crate::base::html;
use crate::text::acts;

/// Context that is left around a range when the budget is short, in bytes.
const CONTEXT_MIN: usize = 40;
/// Less than this is not worth leaving out, in bytes.
const GAP_MIN: usize = 24;
/// Bytes at most of a cut word that is left out.
const WORD_MAX: usize = 16;
/// Bytes at most that a cut moves back to spare a grapheme.
const GRAPHEME_MAX: usize = 64;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    /// What fired.
    Marked(&'a str),
    /// So many bytes are left out.
    Gap(usize),
}

/// The pieces of `text` around `spans`, about `budget` bytes of it.
pub fn pieces<'a>(text: &'a str, spans: &[(u64, u64)], budget: usize) -> Vec<Piece<'a>> {
    let marks = ordered(text, spans);
    let windows = windows(text, &marks, budget);
    // Several marks leave each other room.
    let most = if marks.len() == 1 { budget * 3 / 4 } else { budget / 2 };
    let mut cut = Cut { text, at: 0, left: budget, pieces: Vec::new() };
    for (start, end) in windows {
        if cut.left == 0 {
            break;
        }
        cut.gap_to(start);
        for &(from, to) in marks.iter().filter(|(from, to)| *from < end && *to > start) {
            cut.text_to(from);
            cut.mark_to(to.min(end), most);
        }
        cut.text_to(end);
    }
    cut.gap_to(text.len());
    cut.pieces
}

/// Spans as ascending ranges that do not touch, on characters, within the text.
fn ordered(text: &str, spans: &[(u64, u64)]) -> Vec<(usize, usize)> {
    let within = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    let snapped = spans.iter().map(|&(start, end)| {
        let (start, end) = (within(start), within(end));
        (text.floor_char_boundary(start), text.ceil_char_boundary(end))
    });
    let mut marks: Vec<(usize, usize)> = snapped.filter(|(start, end)| start < end).collect();
    marks.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::with_capacity(marks.len());
    for (start, end) in marks {
        match merged.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// The ranges to show, ascending.
fn windows(text: &str, marks: &[(usize, usize)], budget: usize) -> Vec<(usize, usize)> {
    if text.len() <= budget {
        return vec![(0, text.len())];
    }
    if marks.is_empty() {
        return vec![(0, snap(text, budget))];
    }
    let mut context = budget;
    loop {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for &(start, end) in marks {
            let before = snap(text, start.saturating_sub(context));
            let start = if before > 0 { word_after(text, before, start) } else { 0 };
            let end = snap(text, (end + context).min(text.len())).max(end);
            match found.last_mut() {
                Some((_, last)) if start <= *last + GAP_MIN => *last = end,
                _ => found.push((start, end)),
            }
        }
        let all: usize = found.iter().map(|(start, end)| end - start).sum();
        if all <= budget || context <= CONTEXT_MIN {
            return found;
        }
        context = (context * 3 / 4).max(CONTEXT_MIN);
    }
}

/// The next place behind a blank, where one is near.
fn word_after(text: &str, at: usize, end: usize) -> usize {
    let near = text.as_bytes()[at..end].iter().take(WORD_MAX);
    let blank = near.into_iter().position(|byte| byte.is_ascii_whitespace());
    blank.map_or(at, |blank| at + blank + 1)
}

/// The last place up to `at` where no grapheme is cut, or where a character ends.
fn snap(text: &str, at: usize) -> usize {
    let at = text.floor_char_boundary(at);
    let mut cursor = GraphemeCursor::new(at, text.len(), true);
    if cursor.is_boundary(text, 0) != Ok(false) {
        return at;
    }
    let before = cursor.prev_boundary(text, 0).ok().flatten().unwrap_or(at);
    if at - before <= GRAPHEME_MAX { before } else { at }
}

/// A text on its way into pieces.
struct Cut<'a> {
    text: &'a str,
    at: usize,
    /// Of the budget.
    left: usize,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Cut<'a> {
    fn gap_to(&mut self, end: usize) {
        if end <= self.at {
            return;
        }
        let bytes = end - self.at;
        match self.pieces.last_mut() {
            Some(Piece::Gap(before)) => *before += bytes,
            _ => self.pieces.push(Piece::Gap(bytes)),
        }
        self.at = end;
    }

    fn text_to(&mut self, end: usize) {
        if let Some(text) = self.take(end, self.left) {
            self.pieces.push(Piece::Text(text));
        }
        self.gap_to(end);
    }

    /// A mark, of a long one beginning and end.
    fn mark_to(&mut self, end: usize, most: usize) {
        let most = most.min(self.left);
        if end > self.at && end - self.at > most {
            if let Some(text) = self.take(end, most * 2 / 3) {
                self.pieces.push(Piece::Marked(text));
            }
            self.gap_to(snap(self.text, end - most / 3).max(self.at));
        }
        if let Some(text) = self.take(end, self.left) {
            self.pieces.push(Piece::Marked(text));
        }
        self.gap_to(end);
    }

    /// Text up to `end`, `most` bytes at most.
    fn take(&mut self, end: usize, most: usize) -> Option<&'a str> {
        let stop = if end > self.at + most { snap(self.text, self.at + most) } else { end };
        if stop <= self.at {
            // Not even one character has room.
            self.left = if end > self.at { 0 } else { self.left };
            return None;
        }
        let text = &self.text[self.at..stop];
        self.left = self.left.saturating_sub(text.len());
        self.at = stop;
        Some(text)
    }
}

/// A text on a page that is only seen: markup escaped, characters that would act replaced.
pub fn escape(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    for char in text.chars() {
        match stand_in(char).filter(|_| !matches!(char, '\n' | '\t')) {
            Some(shown) => seen.push_str(&shown),
            None => seen.push(char),
        }
    }
    html::escape(&seen)
}

/// What stands for a character that would act instead of being seen: controls, marks that turn the
/// direction of text, and what HTML does not allow. `None`: the character may stand.
pub fn stand_in(char: char) -> Option<String> {
    match char {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + char as u32).map(String::from),
        '\u{7f}' => Some('\u{2421}'.into()),
        '\u{fdd0}'..='\u{fdef}' => Some(format!("<{:04X}>", char as u32)),
        _ if acts(char) || char as u32 & 0xfffe == 0xfffe => Some(format!("<{:04X}>", char as u32)),
        _ => None,
    }
}
