//! What became of documents: how many came, why some went, how many stayed, by source.
//!
//! In → the manifest of `ingest`, `filter`, `dedup` or any other stage that counts documents;
//! out → [`CorpusReport`]. Invariant (asserted by every stage): in = out + rejected + dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use serde::Serialize;

use super::{
    Facts, ratio,
    table::{Table, count, percent},
};
use crate::artifact::{
    counts::{Counts, SourceCounts},
    manifest::Manifest,
};
use crate::base::size::Bytes;

/// Documents in and out.
#[derive(Clone, Debug, Serialize)]
pub struct CorpusReport {
    #[serde(flatten)]
    pub facts: Facts,
    pub total: SourceCounts,
    pub sources: BTreeMap<String, SourceCounts>,
    /// The stage's own figures.
    pub extra: BTreeMap<String, u64>,
}

impl CorpusReport {
    /// From the manifest alone.
    pub fn new(path: &Path, manifest: &Manifest) -> CorpusReport {
        let sources = manifest.counts.sources.clone();
        let counts = Counts { sources, extra: manifest.counts.extra.clone() };
        CorpusReport {
            facts: Facts::new(path, manifest),
            total: counts.total(),
            sources: counts.sources,
            extra: counts.extra,
        }
    }

    /// One row a source and one for all.
    fn documents(&self) -> Table {
        let mut table = Table::new([
            "source", "in", "rejected", "dropped", "out", "kept", "held out", "text in", "text out",
        ]);
        for (name, counts) in self.rows() {
            table.row(vec![
                name.to_owned(),
                count(counts.documents_in),
                count(counts.rejected_total()),
                count(counts.dropped_total()),
                count(counts.documents_out),
                percent(ratio(counts.documents_out, counts.documents_in)),
                count(counts.held_out),
                Bytes(counts.bytes_in).to_string(),
                Bytes(counts.bytes_out).to_string(),
            ]);
        }
        table
    }

    /// One row a reason, one column a source; `None` where nothing went.
    fn reasons(&self) -> Option<Table> {
        let of = |counts: &SourceCounts, reason: &str| {
            let amounts = [counts.rejected.get(reason), counts.dropped.get(reason)];
            amounts.into_iter().flatten().sum::<u64>()
        };
        let total = &self.total;
        let reasons: BTreeSet<&String> =
            total.rejected.keys().chain(total.dropped.keys()).collect();
        let mut reasons: Vec<&String> = reasons.into_iter().collect();
        if reasons.is_empty() {
            return None;
        }
        // The most frequent first; equal ones by name.
        reasons.sort_by_key(|reason| std::cmp::Reverse(of(total, reason)));
        let names = self.rows().map(|(name, _)| name);
        let mut table = Table::new(std::iter::once("reason").chain(names));
        for reason in reasons {
            let amounts = self.rows().map(|(_, counts)| count(of(counts, reason)));
            table.row(std::iter::once(reason.clone()).chain(amounts).collect());
        }
        Some(table)
    }

    /// The sources by name; where there are several, then all together.
    fn rows(&self) -> impl Iterator<Item = (&str, &SourceCounts)> {
        let sources = self.sources.iter().map(|(name, counts)| (name.as_str(), counts));
        sources.chain((self.sources.len() > 1).then_some(("all", &self.total)))
    }
}

impl CorpusReport {
    /// What it is, what became of its documents, and why.
    pub fn fmt_documents(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.head(f)?;
        write!(f, "\n{}", self.documents())?;
        match self.reasons() {
            Some(reasons) => write!(f, "\n\n{reasons}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for CorpusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_documents(f)?;
        if !self.extra.is_empty() {
            writeln!(f)?;
        }
        for (name, amount) in &self.extra {
            write!(f, "\n  {name}: {}", count(*amount))?;
        }
        Ok(())
    }
}
