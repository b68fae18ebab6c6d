//! A document as the rules see it: its text, and what has been counted of it so far.
//!
//! In: one text, columns beside it, and a [`Room`] of buffers that lasts from document to document.
//! Out: words, lines, paragraphs, n-grams and characters, each computed when a rule first asks and
//! kept until a rule edits the text; later rules see the edited one. Invariants: only the text and
//! the columns decide, not what a room held before. Cost: no allocation for each word or line; a
//! room's buffers grow to the largest document below [`GIANT`]. A giant is counted by slower
//! methods that take at most about three times its bytes (ten times for DCLM's own words and runs,
//! [`Spare`]), and that memory is freed with its view.
//!
//! Parts: [`splitter`] cuts words and sentences, [`words`] lays them end to end, [`ngrams`],
//! [`repeats`] and [`runs`] count runs of them, [`lines`] cuts lines, [`table`] is the hash table
//! that all of them use; [`giants`] and [`places`] do the same for giants.

pub mod common;
mod giants;
pub mod lines;
pub mod ngrams;
mod places;
pub mod repeats;
pub mod runs;
pub mod splitter;
pub mod table;
pub mod words;

use crate::text::words::Span;
use crate::text::{count_chars, is_white_space};
use common::Common;
pub use giants::GIANT;
use giants::Giant;
use lines::{Duplicates, Finder};
use ngrams::Ngrams;
use repeats::Repeats;
use runs::Runs;
pub use splitter::Splitter;
use std::ops::Range;
use words::{CutWords, Totals};

/// A document's value in a column; null is `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColumnValue<'d> {
    Number(Option<f64>),
    Text(Option<&'d str>),
}

/// The buffers that a thread keeps from document to document.
pub struct Room {
    splitter: Splitter,
    finder: Finder,
    words: CutWords,
    ngrams: Ngrams,
    repeats: Repeats,
    /// The text as a rule left it.
    edited: String,
    /// The text that a rule is writing.
    draft: String,
    sentences: Vec<Span>,
    spare: Spare,
    known: Known,
}

/// Buffers for a rule whose words, lines and runs no other rule uses.
#[derive(Default)]
pub struct Spare {
    pub finder: Finder,
    pub words: CutWords,
    pub runs: Runs,
}

/// What has been counted of the current text.
#[derive(Default)]
struct Known {
    is_edited: bool,
    chars: Option<usize>,
    newlines: Option<usize>,
    words: bool,
    totals: Option<Totals>,
    pairs: Option<Common>,
    candidates: bool,
}

/// One document on its way through the rules.
pub struct View<'d> {
    room: &'d mut Room,
    original: &'d str,
    columns: &'d [(&'d str, ColumnValue<'d>)],
    complete: bool,
}

impl Room {
    /// Empty buffers, and a splitter of words.
    pub fn new(splitter: Splitter) -> Room {
        Room {
            splitter,
            finder: Finder::default(),
            words: CutWords::default(),
            ngrams: Ngrams::default(),
            repeats: Repeats::default(),
            edited: String::new(),
            draft: String::new(),
            sentences: Vec::new(),
            spare: Spare::default(),
            known: Known::default(),
        }
    }

    /// A view of `text`, of which nothing is counted yet.
    pub fn view<'d>(&'d mut self, text: &'d str) -> View<'d> {
        self.known = Known::default();
        View { room: self, original: text, columns: &[], complete: false }
    }
}

impl<'d> View<'d> {
    /// Adds the document's values in the columns that the rules read, by name.
    pub fn with_columns(mut self, columns: &'d [(&'d str, ColumnValue<'d>)]) -> View<'d> {
        self.columns = columns;
        self
    }

    /// Asks for every value in full; a verdict alone may need less.
    pub fn complete(mut self) -> View<'d> {
        self.complete = true;
        self
    }

    /// Asks from here on for no more than a verdict needs.
    pub fn quick(mut self) -> View<'d> {
        self.complete = false;
        self
    }

    /// Whether a value that keeps its limit must be exact too; otherwise it may be a bound that
    /// also keeps it.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The text as the rules so far left it.
    pub fn text(&self) -> &str {
        if self.room.known.is_edited { &self.room.edited } else { self.original }
    }

    /// The text, if a rule changed it.
    pub fn edited(&self) -> Option<&str> {
        self.room.known.is_edited.then_some(self.room.edited.as_str())
    }

    /// The text, if a rule changed it; a giant's is handed over without a copy.
    pub fn into_edited(self) -> Option<String> {
        match self.is_giant() {
            false => self.edited().map(str::to_owned),
            true if self.room.known.is_edited => Some(std::mem::take(&mut self.room.edited)),
            true => None,
        }
    }

    fn is_giant(&self) -> bool {
        self.original.len() >= GIANT
            || (self.room.known.is_edited && self.room.edited.len() >= GIANT)
    }

    fn column(&self, name: &str) -> Option<ColumnValue<'d>> {
        self.columns.iter().find(|(column, _)| *column == name).map(|&(_, value)| value)
    }

    /// The document's value in a column of numbers.
    pub fn number_of(&self, column: &str) -> Option<f64> {
        match self.column(column)? {
            ColumnValue::Number(value) => value,
            ColumnValue::Text(_) => None,
        }
    }

    /// The document's value in a column of strings.
    pub fn text_of(&self, column: &str) -> Option<&'d str> {
        match self.column(column)? {
            ColumnValue::Text(value) => value,
            ColumnValue::Number(_) => None,
        }
    }

    /// Calls `write` with the text and an empty draft; if it returns [`Edit::Take`], the draft
    /// becomes the document's text. Returns the value inside the [`Edit`].
    pub fn edit<T>(&mut self, write: impl FnOnce(&str, &mut Draft<'_>) -> Edit<T>) -> T {
        let is_giant = self.is_giant();
        let room = &mut *self.room;
        let text = if room.known.is_edited { room.edited.as_str() } else { self.original };
        room.draft.clear();
        if is_giant {
            // Words of a text that stays unchanged are cut again for the next rule that asks for
            // them.
            (room.words, room.known.words) = (CutWords::default(), false);
            room.draft.reserve_exact(text.len() + text.len() / 64);
        }
        let mut draft = Draft {
            text: &mut room.draft,
            splitter: &mut room.splitter,
            spans: &mut room.sentences,
        };
        let said = match write(text, &mut draft) {
            Edit::None(said) => said,
            Edit::Take(said) => {
                if room.draft != text {
                    std::mem::swap(&mut room.draft, &mut room.edited);
                    room.known = Known { is_edited: true, ..Known::default() };
                }
                said
            }
        };
        if is_giant {
            room.draft = String::new();
        }
        said
    }

    /// Code points of the text, white space included.
    pub fn chars(&mut self) -> usize {
        match self.room.known.chars {
            Some(chars) => chars,
            None => {
                let chars = count_chars(self.text().as_bytes());
                *self.room.known.chars.insert(chars)
            }
        }
    }

    /// How many `\n` the text has.
    pub fn newlines(&mut self) -> usize {
        match self.room.known.newlines {
            Some(newlines) => newlines,
            None => {
                let newlines = memchr::memchr_iter(b'\n', self.text().as_bytes()).count();
                *self.room.known.newlines.insert(newlines)
            }
        }
    }

    /// The current text, and the finder of duplicates.
    fn parts(&mut self) -> (&str, &mut Finder) {
        let room = &mut *self.room;
        let text = if room.known.is_edited { room.edited.as_str() } else { self.original };
        (text, &mut room.finder)
    }

    /// Duplicates among `re.split("\n{2,}", text.strip())`.
    pub fn duplicate_paragraphs(&mut self) -> Duplicates {
        let (text, finder) = self.parts();
        let text = lines::strip(text);
        finder.count(text, lines::pieces(text, 2))
    }

    /// Duplicates among `re.split("\n+", text)`.
    pub fn duplicate_lines(&mut self) -> Duplicates {
        let (text, finder) = self.parts();
        finder.count(text, lines::pieces(text, 1))
    }

    /// Duplicates among the lines between `\n`s that are not blank.
    pub fn duplicate_filled_lines(&mut self) -> Duplicates {
        let (text, finder) = self.parts();
        finder.count(text, lines::filled_lines(text))
    }

    /// The copies that [`View::duplicate_paragraphs`] counts.
    pub fn paragraph_copies(&mut self) -> Vec<Range<usize>> {
        let (text, finder) = self.parts();
        let before = text.len() - text.trim_start_matches(is_white_space).len();
        let text = lines::strip(text);
        let mut copies = finder.copies(text, lines::pieces(text, 2));
        copies.iter_mut().for_each(|copy| *copy = copy.start + before..copy.end + before);
        copies
    }

    /// The copies that [`View::duplicate_lines`] counts.
    pub fn line_copies(&mut self) -> Vec<Range<usize>> {
        let (text, finder) = self.parts();
        finder.copies(text, lines::pieces(text, 1))
    }

    /// The copies that [`View::duplicate_filled_lines`] counts.
    pub fn filled_line_copies(&mut self) -> Vec<Range<usize>> {
        let (text, finder) = self.parts();
        finder.copies(text, lines::filled_lines(text))
    }

    /// The text, and buffers for facts that only one rule uses.
    pub fn spare(&mut self) -> (&str, &mut Spare) {
        let room = &mut *self.room;
        let text = if room.known.is_edited { room.edited.as_str() } else { self.original };
        (text, &mut room.spare)
    }

    /// The words of the text.
    pub fn words(&mut self) -> &CutWords {
        let room = &mut *self.room;
        if !room.known.words {
            let text = if room.known.is_edited { room.edited.as_str() } else { self.original };
            if text.len() < GIANT {
                room.splitter.words(text, &mut room.words.spans);
                room.words.lay(text);
            } else {
                let mut giant = Giant::new(text.len());
                room.splitter.stream(text, &mut room.sentences, |words| giant.add(text, words));
                room.words.hold(giant);
            }
            room.known.words = true;
        }
        &room.words
    }

    /// The words of the text with their spans, which are cut again if they were freed.
    pub fn placed_words(&mut self) -> &CutWords {
        self.words();
        let room = &mut *self.room;
        if room.words.spans.len() < room.words.len() {
            let text = if room.known.is_edited { room.edited.as_str() } else { self.original };
            room.splitter.words(text, &mut room.words.spans);
        }
        &room.words
    }

    /// The words of the text, if a rule has asked for them before.
    pub fn known_words(&self) -> Option<&CutWords> {
        self.room.known.words.then_some(&self.room.words)
    }

    /// Counts over the words.
    pub fn totals(&mut self) -> Totals {
        match self.room.known.totals {
            Some(totals) => totals,
            None => {
                let totals = self.words().totals();
                *self.room.known.totals.insert(totals)
            }
        }
    }

    /// The most common n-gram, for n = 2, 3 and 4.
    pub fn most_common(&mut self, n: usize) -> Common {
        self.words();
        let room = &mut *self.room;
        if let Some(giant) = room.words.giant() {
            return giant.most_common(n);
        }
        let pairs = match room.known.pairs {
            Some(pairs) => pairs,
            None => *room.known.pairs.insert(room.ngrams.count_pairs(&room.words)),
        };
        if n == 2 { pairs } else { room.ngrams.most_common(&room.words, n) }
    }

    /// An upper bound for the number of code points in all occurrences of any one n-gram; for a
    /// giant, whose n-grams have no such bound, `usize::MAX`.
    pub fn common_chars_bound(&mut self, n: usize) -> usize {
        self.words();
        if self.room.words.giant().is_some() {
            return usize::MAX;
        }
        self.room.ngrams.bound(&self.room.words, n)
    }

    /// Code points in repeated runs of `n` words, for n = 5 to 10: see [`repeats`].
    pub fn repeated_chars(&mut self, n: usize) -> usize {
        self.words();
        if let Some(giant) = self.room.words.giant() {
            return giant.repeated_chars(n);
        }
        let (repeats, words) = self.repeats();
        repeats.chars(words, n)
    }

    /// The first words of the runs that [`View::repeated_chars`] counts.
    pub fn repeated_runs(&mut self, n: usize) -> Vec<usize> {
        let (repeats, words) = self.repeats();
        repeats.runs(words, n)
    }

    /// The finder of repeats, with its candidates found.
    fn repeats(&mut self) -> (&mut Repeats, &CutWords) {
        self.words();
        let room = &mut *self.room;
        if !room.known.candidates {
            room.repeats.find_candidates(&room.words);
            room.known.candidates = true;
        }
        (&mut room.repeats, &room.words)
    }
}

impl Drop for View<'_> {
    /// Gives back what only a giant needs.
    fn drop(&mut self) {
        if self.is_giant() {
            let room = &mut *self.room;
            (room.finder, room.words) = (Finder::default(), CutWords::default());
            (room.ngrams, room.repeats) = (Ngrams::default(), Repeats::default());
            (room.edited, room.draft) = (String::new(), String::new());
            (room.sentences, room.spare) = (Vec::new(), Spare::default());
        }
    }
}

/// Where a rule writes its edited text.
pub struct Draft<'r> {
    /// The edited text, empty at first.
    pub text: &'r mut String,
    splitter: &'r mut Splitter,
    spans: &'r mut Vec<Span>,
}

impl Draft<'_> {
    /// The number of sentences in the draft from byte `start` on, taken by itself.
    pub fn count_sentences_from(&mut self, start: usize) -> usize {
        self.splitter.count_sentences(&self.text[start..], self.spans)
    }
}

/// What a rule decided about its draft.
pub enum Edit<T> {
    /// The text stays.
    None(T),
    /// The draft is the text from now on.
    Take(T),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_what_later_questions_are_about() {
        let mut room = Room::new(Splitter::WhiteSpace);
        let mut view = room.view("one two\nthree");
        assert_eq!((view.chars(), view.newlines(), view.words().len()), (13, 1, 3));
        let said = view.edit(|text, draft| {
            draft.text.push_str(&text[..7]);
            Edit::Take(draft.count_sentences_from(0))
        });
        assert_eq!((said, view.text(), view.edited()), (1, "one two", Some("one two")));
        assert_eq!((view.chars(), view.newlines(), view.words().len()), (7, 0, 2));
        view.edit(|text, draft| {
            draft.text.push_str(text);
            draft.text.push('!');
            Edit::None(())
        });
        assert_eq!(view.text(), "one two");
        drop(view);
        let view = room.view("another");
        assert_eq!((view.text(), view.edited()), ("another", None));
    }

    #[test]
    fn a_text_edited_to_itself_is_unchanged() {
        let mut room = Room::new(Splitter::WhiteSpace);
        let mut view = room.view("same");
        view.edit(|text, draft| {
            draft.text.push_str(text);
            Edit::Take(())
        });
        assert_eq!(view.edited(), None);
    }
}
