//! What happened to the documents of each source, as integers that add up.
//!
//! In → the counts of units; out → their sum, and the check that no document was lost:
//! in = out + rejected + dropped, for each source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The reason that stands for a document which a condition (`where`) leaves out.
pub const LEFT_OUT: &str = "where";

/// The share of a source's documents that may be unreadable when nobody says: 1%. Above it a person
/// is warned, whatever was allowed.
pub const MAX_BAD_DEFAULT: f64 = 0.01;

/// Counts of one source in one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceCounts {
    /// Records read, rejects included.
    #[serde(rename = "in")]
    pub documents_in: u64,
    /// Documents written.
    #[serde(rename = "out")]
    pub documents_out: u64,
    /// What could not be read, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// What the stage left out, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// UTF-8 bytes of text read and written.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Tokens written, for stages that make or order tokens.
    pub tokens: u64,
    /// Documents among those written that are held out for validation.
    pub held_out: u64,
    /// Held-out documents that the stage would have left out, by reason; they are written all the
    /// same, and so count as written.
    pub held_out_verdicts: BTreeMap<String, u64>,
}

impl SourceCounts {
    /// Adds one reject.
    pub fn reject(&mut self, reason: &str) {
        *self.rejected.entry(reason.to_owned()).or_default() += 1;
    }

    /// Adds one dropped document.
    pub fn drop_document(&mut self, reason: &str) {
        *self.dropped.entry(reason.to_owned()).or_default() += 1;
    }

    /// Adds one held-out document that would have been dropped.
    pub fn judge_held_out(&mut self, reason: &str) {
        *self.held_out_verdicts.entry(reason.to_owned()).or_default() += 1;
    }

    /// All rejects.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// All dropped documents.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Counts a document that is written, with its bytes of text.
    pub fn keep_document(&mut self, text_bytes: usize, held_out: bool) {
        self.documents_out += 1;
        self.bytes_out += text_bytes as u64;
        self.held_out += u64::from(held_out);
    }

    /// Adds `other` field by field.
    pub fn add(&mut self, other: &SourceCounts) {
        self.documents_in += other.documents_in;
        self.documents_out += other.documents_out;
        add_by_name(&mut self.rejected, &other.rejected);
        add_by_name(&mut self.dropped, &other.dropped);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.tokens += other.tokens;
        self.held_out += other.held_out;
        add_by_name(&mut self.held_out_verdicts, &other.held_out_verdicts);
    }
}

/// Counts of a unit or a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// By source name.
    pub sources: BTreeMap<String, SourceCounts>,
    /// A stage's own figures, by name.
    pub extra: BTreeMap<String, u64>,
}

impl Counts {
    /// The counts of `source`, made when missing.
    pub fn source(&mut self, source: &str) -> &mut SourceCounts {
        if !self.sources.contains_key(source) {
            self.sources.insert(source.to_owned(), SourceCounts::default());
        }
        self.sources.get_mut(source).expect("inserted above")
    }

    /// Adds `amount` to the stage's own figure `name`.
    pub fn add_extra(&mut self, name: &str, amount: u64) {
        *self.extra.entry(name.to_owned()).or_default() += amount;
    }

    /// Adds `other` source by source.
    pub fn add(&mut self, other: &Counts) {
        for (name, counts) in &other.sources {
            self.source(name).add(counts);
        }
        add_by_name(&mut self.extra, &other.extra);
    }

    /// All sources together.
    pub fn total(&self) -> SourceCounts {
        let mut total = SourceCounts::default();
        self.sources.values().for_each(|counts| total.add(counts));
        total
    }

    /// in = out + rejected + dropped, for each source; anything else is a bug.
    pub fn assert_balanced(&self, stage: &str) {
        for (name, counts) in &self.sources {
            let accounted = counts.documents_out + counts.rejected_total() + counts.dropped_total();
            assert_eq!(
                counts.documents_in, accounted,
                "{stage} lost documents of source `{name}`: in ≠ out + rejected + dropped"
            );
        }
    }
}

fn add_by_name(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, amount) in from {
        *into.entry(name.clone()).or_default() += amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_units_add_up_by_source_and_reason() {
        let mut unit = Counts::default();
        let wiki = unit.source("wiki");
        (wiki.documents_in, wiki.documents_out) = (5, 3);
        wiki.reject("null_text");
        wiki.drop_document("short");
        unit.assert_balanced("filter");
        let mut all = unit.clone();
        all.add(&unit);
        assert_eq!(all.total().documents_in, 10);
        assert_eq!(all.sources["wiki"].dropped["short"], 2);
        all.assert_balanced("filter");
    }

    #[test]
    fn a_lost_document_is_a_bug() {
        let mut unit = Counts::default();
        unit.source("wiki").documents_in = 1;
        assert!(std::panic::catch_unwind(|| unit.assert_balanced("filter")).is_err());
    }
}
