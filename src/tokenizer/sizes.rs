//! The vocabulary sizes that were asked for, and those that were reached.
//!
//! A tokenizer's manifest in → asked and reached entries of each size, the warning where they
//! differ, and the stage's [`VocabularySummary`]. Method: merges of a smaller size are a prefix of
//! the largest's, so each size has what was asked for until the text has no pair left to merge, and
//! beyond that all are one vocabulary. Nothing is read but the manifest: its config says what was
//! asked, its counts what was reached.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::artifact::manifest::Manifest;
use crate::artifact::summary::{DocumentsSummary, Summary};
use crate::base::size::Count;

/// The figure of the stage that says how many entries the largest vocabulary has.
pub const VOCABULARY: &str = "vocabulary";

/// A size that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct VocabularySize {
    pub asked: u64,
    pub entries: u64,
}

impl fmt::Display for VocabularySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asked, entries) = (Count(self.asked).to_string(), Count(self.entries));
        write!(f, "  vocabulary of {asked:>9}  {entries} entries")
    }
}

/// The sizes of a tokenizer, ascending; none for other artifacts. If only the bytes seen are in the
/// alphabet, they may be more than a small size holds, so the largest alone is known.
fn vocabulary_sizes(manifest: &Manifest) -> Vec<VocabularySize> {
    let Some(&reached) = manifest.counts.extra.get(VOCABULARY) else { return Vec::new() };
    let mut asked: Vec<u64> = match &manifest.config["vocab"] {
        Value::Array(sizes) => sizes.iter().filter_map(Value::as_u64).collect(),
        size => size.as_u64().into_iter().collect(),
    };
    if manifest.config["initial_alphabet"] != "bytes" {
        asked.drain(..asked.len().saturating_sub(1));
    }
    asked.iter().map(|&asked| VocabularySize { asked, entries: reached.min(asked) }).collect()
}

/// The warning where sizes were not reached, or came to be one vocabulary.
fn vocabulary_shortfall(sizes: &[VocabularySize]) -> Option<String> {
    let short: Vec<VocabularySize> =
        sizes.iter().copied().filter(|size| size.entries < size.asked).collect();
    let entries = Count(short.first()?.entries);
    let why = "the text has no more pairs to merge; train on more, or ask for fewer entries";
    let mut same: Vec<String> = sizes
        .iter()
        .filter(|size| size.entries == entries.0)
        .map(|size| Count(size.asked).to_string())
        .collect();
    let last = same.pop()?;
    if same.is_empty() {
        return Some(format!("the vocabulary has {entries} entries of {last} asked for: {why}"));
    }
    let same = same.join(", ");
    Some(format!("the vocabularies of {same} and {last} are the same {entries} entries: {why}"))
}

/// What came of a training: of the documents, and of each size.
#[derive(Clone, Debug)]
pub struct VocabularySummary {
    documents: DocumentsSummary,
    sizes: Vec<VocabularySize>,
}

impl VocabularySummary {
    /// The summary of a finished training.
    pub fn new(manifest: &Manifest) -> VocabularySummary {
        let (documents, sizes) = (DocumentsSummary::new(manifest), vocabulary_sizes(manifest));
        VocabularySummary { documents, sizes }
    }
}

impl fmt::Display for VocabularySummary {
    /// The sources, then a line a size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.documents)?;
        self.sizes.iter().try_for_each(|size| writeln!(f, "{size}"))
    }
}

impl Summary for VocabularySummary {
    fn head(&self) -> String {
        self.documents.head()
    }

    fn line(&self) -> String {
        self.documents.line()
    }

    fn record(&self) -> Value {
        let mut record = self.documents.record();
        record["vocabularies"] = json!(self.sizes);
        record
    }

    fn alarms(&self) -> Vec<String> {
        let mut alarms = self.documents.alarms();
        alarms.extend(vocabulary_shortfall(&self.sizes));
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortfall(asked: &[u64], reached: u64) -> Option<String> {
        let size = |&asked: &u64| VocabularySize { asked, entries: reached.min(asked) };
        vocabulary_shortfall(&asked.iter().map(size).collect::<Vec<_>>())
    }

    #[test]
    fn sizes_beyond_the_text_are_named_with_those_of_equal_content() {
        assert_eq!(shortfall(&[8000], 8000), None);
        assert_eq!(shortfall(&[300, 8000], 8000), None);
        assert_eq!(shortfall(&[], 0), None);
        for (asked, reached, expected) in [
            (&[32_000][..], 259, "has 259 entries of 32,000 asked for"),
            (&[300, 32_000], 5000, "has 5,000 entries of 32,000 asked for"),
            (&[8000, 32_000], 259, "of 8,000 and 32,000 are the same 259 entries"),
            (&[259, 8000, 32_000], 259, "of 259, 8,000 and 32,000 are the same 259 entries"),
        ] {
            let warning = shortfall(asked, reached).unwrap();
            assert!(warning.contains(expected), "{warning}");
        }
    }
}
