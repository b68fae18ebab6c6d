//! Which documents a condition takes: how many of each source, and the first of them.
//!
//! Opened inputs with a condition in → one pass that reads the columns of the condition and the
//! texts → [`MatchesReport`], as a table and as JSON. Nothing is written. Cost: that of reading.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{
    ratio,
    table::{Table, count, percent},
};
use crate::base::{error::Result, progress::Progress, size::Bytes};
use crate::source::{Batch, Columns, Inputs, LEFT_OUT};
use crate::text::acts;

/// Documents that are shown.
const SHOWN: usize = 5;
/// Code points of each.
const SHOWN_CHARS: usize = 160;

/// What a condition takes.
#[derive(Clone, Debug, Serialize)]
pub struct MatchesReport {
    pub condition: String,
    pub sources: BTreeMap<String, Matches>,
    /// The first that it takes, in input order.
    pub first: Vec<Document>,
}

/// Documents and bytes of text, of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Matches {
    pub documents: u64,
    pub taken: u64,
    pub bytes: u64,
    pub bytes_taken: u64,
}

/// A document that a condition takes.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    pub id: String,
    pub source: String,
    pub file: String,
    /// Its row in a Parquet file, its byte offset in JSON lines.
    pub row: u64,
    /// How its text begins.
    pub text: String,
}

/// Reads everything once.
///
/// # Errors
/// Whatever reading gives.
pub fn matches(
    condition: &str,
    inputs: &Inputs,
    resources: (usize, u64),
    progress: &Progress,
) -> Result<MatchesReport> {
    let mut first = Vec::new();
    let mut taken = vec![(0, 0); inputs.sources().len()];
    let map = |batch: Batch| {
        let shown: Vec<Document> =
            (0..batch.len().min(SHOWN)).map(|row| document(inputs, &batch, row)).collect();
        Ok((batch.source, batch.len() as u64, batch.text_bytes(), shown))
    };
    let sink = |(source, documents, bytes, shown): (usize, u64, u64, Vec<Document>)| {
        taken[source].0 += documents;
        taken[source].1 += bytes;
        first.extend(shown.into_iter().take(SHOWN - first.len()));
        Ok(())
    };
    let counts = inputs.survey(Columns::Text, resources, progress, map, sink)?;
    let of = |(name, (taken, bytes_taken)): (&String, (u64, u64))| {
        let read = counts.sources.get(name).cloned().unwrap_or_default();
        let left_out = read.dropped.get(LEFT_OUT).copied().unwrap_or(0);
        let matches =
            Matches { documents: taken + left_out, taken, bytes: read.bytes_in, bytes_taken };
        (name.clone(), matches)
    };
    let sources = inputs.sources().iter().zip(taken).map(of).collect();
    Ok(MatchesReport { condition: condition.to_owned(), sources, first })
}

fn document(inputs: &Inputs, batch: &Batch, row: usize) -> Document {
    Document {
        id: batch.ids().value(row).to_owned(),
        source: inputs.sources()[batch.source].clone(),
        file: inputs.files()[batch.file].name.clone(),
        row: batch.rows[row],
        text: batch.texts().value(row).chars().take(SHOWN_CHARS).collect(),
    }
}

impl fmt::Display for MatchesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table =
            Table::new(["source", "documents", "taken", "share", "text", "taken", "share"]);
        let mut row = |name: &str, matches: &Matches| {
            table.row(vec![
                name.to_owned(),
                count(matches.documents),
                count(matches.taken),
                percent(ratio(matches.taken, matches.documents)),
                Bytes(matches.bytes).to_string(),
                Bytes(matches.bytes_taken).to_string(),
                percent(ratio(matches.bytes_taken, matches.bytes)),
            ]);
        };
        let mut all = Matches::default();
        for (name, matches) in &self.sources {
            row(name, matches);
            all.documents += matches.documents;
            all.taken += matches.taken;
            all.bytes += matches.bytes;
            all.bytes_taken += matches.bytes_taken;
        }
        if self.sources.len() > 1 {
            row("all", &all);
        }
        write!(f, "where {}\n\n{table}", self.condition)?;
        for document in &self.first {
            let text: String =
                document.text.chars().map(|char| if acts(char) { ' ' } else { char }).collect();
            write!(f, "\n\n  {} ({}:{})", document.id, document.file, document.row)?;
            write!(f, "\n  {text}")?;
        }
        Ok(())
    }
}
