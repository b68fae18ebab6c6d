//! A filter's output → its report.
//!
//! In → the artifact's folder and manifest; out → [`FilterReport`]: the counts of [`CorpusReport`],
//! and [`Filtered`], read from `histogram-*.parquet` and `examples-*.parquet` unit by unit. Cost:
//! both are small: some kilobytes a rule and unit.

use std::{fmt, path::Path};

use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;

use super::{Filtered, Malformed, Reader, page, screen::Screen};
use crate::artifact::{counts::Counts, manifest::Manifest};
use crate::base::{
    error::{Error, Result},
    io,
};
use crate::filter::evidence::schema;
use crate::inspect::CorpusReport;

/// What a filter run did to its documents.
#[derive(Clone, Debug, Serialize)]
pub struct FilterReport {
    #[serde(flatten)]
    pub corpus: CorpusReport,
    pub filtered: Filtered,
    /// Whether documents are shown for every rule, and not only for those that drop most.
    #[serde(skip)]
    pub verbose: bool,
}

impl FilterReport {
    /// Whether values were recorded: an older version, or a condition alone, records none.
    pub fn is_there(manifest: &Manifest) -> bool {
        manifest.files.iter().any(|file| is_part_of(schema::HISTOGRAM, &file.name))
    }

    /// Reads what lies beside the documents.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Damaged`] for files that cannot be read.
    pub fn read(path: &Path, manifest: &Manifest) -> Result<FilterReport> {
        let mut reader = Reader::default();
        for file in &manifest.files {
            let path = path.join(&file.name);
            if is_part_of(schema::HISTOGRAM, &file.name) {
                each_batch(&path, |batch| reader.histograms(batch))?;
            } else if is_part_of(schema::EXAMPLES, &file.name) {
                each_batch(&path, |batch| reader.examples(batch))?;
            }
        }
        let sources = manifest.counts.sources.clone();
        let counts = Counts { sources, extra: manifest.counts.extra.clone() };
        let filtered = reader.finish(&counts);
        Ok(FilterReport { corpus: CorpusReport::new(path, manifest), filtered, verbose: false })
    }

    /// The report as one HTML page.
    pub fn page(&self) -> String {
        page(&self.filtered, &self.corpus.facts.path)
    }
}

/// Whether a published file is a unit's part of that table.
fn is_part_of(table: &str, name: &str) -> bool {
    name.strip_prefix(table).is_some_and(|rest| rest.starts_with('-'))
}

fn each_batch(
    path: &Path,
    mut see: impl FnMut(&RecordBatch) -> Result<(), Malformed>,
) -> Result<()> {
    let damaged = |error: &dyn fmt::Display| Error::damaged(path, None, error);
    let file = io::open(path)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|built| built.build());
    for batch in reader.map_err(|error| damaged(&error))? {
        let batch = batch.map_err(|error| damaged(&error))?;
        see(&batch).map_err(|error| {
            damaged(&error).with_hint("an earlier version wrote it: filter again with `--fresh`")
        })?;
    }
    Ok(())
}

impl fmt::Display for FilterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.corpus.fmt_documents(f)?;
        let screen = Screen { filtered: &self.filtered, verbose: self.verbose };
        write!(f, "\n\n{}", screen)
    }
}
