//! Labels and probabilities of a text, as fastText's `predict` reports them.
//!
//! In → a supervised [`Model`] and a text; out → the best labels with their probabilities
//! ([`Model::predict`]). Method: the rows of the text are added up in fastText's order, divided by
//! their number, multiplied by the output matrix, and scored by the model's loss.
//!
//! Lines: fastText's own `predict` refuses a text with a line feed. Here a line feed is one of the
//! separators of words, so a text of many lines gives what a tool gets that replaces each by a
//! space (datatrove's language filter); [`Lines`] names what other published pipelines do instead.
//! One `</s>` is added at the end, as the Python package does.
//!
//! Invariants: results depend on the model and the text alone, with the same bits everywhere. Cost:
//! no allocation once a [`Scratch`] has grown, except the tree's stack in hierarchical softmax.

use std::borrow::Cow;

use super::best::Best;
use super::dictionary::RowScratch;
use super::loss::probability;
use super::model::Model;
use crate::text::is_white_space;

/// Buffers for predicting, kept from text to text.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    rows: RowScratch,
    hidden: Vec<f32>,
    dots: Vec<f32>,
    best: Best,
    predictions: Vec<Prediction>,
}

/// A label and its probability, as fastText reports it: 1e-5 above the true one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Index into [`Model::labels`].
    pub label: u32,
    /// p + 1e-5, in (0, 1.00001].
    pub probability: f32,
}

/// What becomes of line ends before a text is classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Lines {
    /// A line feed separates words: datatrove's language filter (`text.replace("\n", " ")`).
    #[default]
    Space,
    /// `" ".join(text.strip().splitlines())`: DCLM's quality classifier. Differs from `Space` where
    /// a text has one of Python's other line ends (U+001C to U+001E, U+0085, U+2028, U+2029) or
    /// begins or ends with white space that fastText takes for letters.
    Joined,
    /// `text.strip().replace("\n", "")`, which glues the words on both sides: the default of
    /// datatrove's generic classifier filter.
    Removed,
}

impl Lines {
    /// `text` with its line ends treated; borrowed unless something had to change.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self {
            Lines::Space => Cow::Borrowed(text),
            Lines::Joined => {
                let text = text.trim_matches(is_white_space);
                if text.chars().any(is_line_end_unknown_to_fasttext) {
                    Cow::Owned(text.replace(is_line_end_unknown_to_fasttext, " "))
                } else {
                    Cow::Borrowed(text)
                }
            }
            Lines::Removed => {
                let text = text.trim_matches(is_white_space);
                if text.contains('\n') {
                    Cow::Owned(text.replace('\n', ""))
                } else {
                    Cow::Borrowed(text)
                }
            }
        }
    }
}

/// Whether Python's `str.splitlines` ends a line here but fastText no word.
fn is_line_end_unknown_to_fasttext(char: char) -> bool {
    matches!(char, '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

impl Model {
    /// The at most `most` best labels with a probability of at least `threshold`, best first.
    ///
    /// Fewer, down to none: fastText gives no label to a text without any row (an empty one for a
    /// model that has no `</s>`), and hierarchical softmax leaves out what is below 1e-5.
    pub fn predict<'s>(
        &self,
        text: &str,
        most: usize,
        threshold: f32,
        scratch: &'s mut Scratch,
    ) -> &'s [Prediction] {
        let Scratch { rows, hidden, dots, best, predictions } = scratch;
        predictions.clear();
        if self.average(text, rows, hidden) == 0 {
            return predictions;
        }
        self.arranged_output.dots(&self.output, hidden, dots);
        best.start(most);
        self.loss.score(dots, threshold, best);
        predictions.extend(best.finish().iter().map(|candidate| Prediction {
            label: candidate.label,
            probability: probability(candidate.score),
        }));
        predictions
    }

    /// The probability that [`Model::predict`] reports for one label; 0 if it reports none.
    pub fn probability(&self, text: &str, label: u32, scratch: &mut Scratch) -> f32 {
        let all = self.predict(text, self.labels().len(), 0.0, scratch);
        all.iter().find(|found| found.label == label).map_or(0.0, |found| found.probability)
    }

    /// The probability of label `wanted` of two, as DCLM computes it: that of the best label if it
    /// is the wanted one, else 1 minus it. In (-0.00001, 1.00001]; 0 if no label is reported.
    pub fn probability_by_best(&self, text: &str, wanted: u32, scratch: &mut Scratch) -> f64 {
        match self.predict(text, 1, 0.0, scratch).first() {
            Some(best) if best.label == wanted => f64::from(best.probability),
            Some(best) => 1.0 - f64::from(best.probability),
            None => 0.0,
        }
    }

    /// Makes `hidden` the mean of the text's rows. Returns how many rows there were.
    pub(super) fn average(&self, text: &str, rows: &mut RowScratch, hidden: &mut Vec<f32>) -> u64 {
        hidden.clear();
        hidden.resize(self.input.columns(), 0.0);
        let input = self.written_out_input.as_ref().unwrap_or(&self.input);
        let add = |block: &[u32]| input.add_rows(block, hidden);
        let count = self.dictionary.rows(text.as_bytes(), rows, add);
        let factor = (1.0 / count as f64) as f32;
        hidden.iter_mut().for_each(|value| *value *= factor);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_what_each_pipeline_makes_of_them() {
        let text = "\u{3000}one\r\ntwo\u{2028}three\u{1c}four\n";
        assert_eq!(Lines::Space.apply(text), text);
        assert_eq!(Lines::Joined.apply(text), "one\r\ntwo three four");
        assert_eq!(Lines::Removed.apply("a\nb \n"), "ab");
        assert!(matches!(Lines::Joined.apply("one\ntwo\n"), Cow::Borrowed("one\ntwo")));
    }

    #[test]
    fn a_line_feed_is_a_space_and_dclms_probability_goes_by_the_best_label() {
        let bytes = include_bytes!("../../fixtures/fasttext/bigrams.bin");
        let model = Model::read(&mut &bytes[..], bytes.len() as u64).expect("a golden model");
        let mut scratch = Scratch::default();
        let lines = "all human\nbeings\n\nare born free\n";
        let line = "all human beings are born free";
        let best = model.predict(line, 1, 0.0, &mut scratch)[0];
        assert_eq!(model.predict(lines, 1, 0.0, &mut scratch), [best]);
        let other = 1 - best.label;
        let probability = f64::from(best.probability);
        assert_eq!(model.probability_by_best(line, best.label, &mut scratch), probability);
        assert_eq!(model.probability_by_best(line, other, &mut scratch), 1.0 - probability);
        assert_eq!(model.probability(line, best.label, &mut scratch), best.probability);
        assert_eq!((model.label("hq"), model.label("__label__hq")), (Some(1), Some(1)));
        assert_eq!(model.label("x"), None);
    }
}
