//! Documents that stay and documents that go: written, described and counted.
//!
//! In → batches after their verdicts, in input order; out → `part.parquet` (what stays) and
//! `removed.parquet` (a row for each that goes), always both, and the counts of what was written.
//! The second begins with `id · source · file · row · reason`; why a document goes is the stage's
//! to say in further columns. Invariant: as many documents are written as are counted.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::{Batch, CorpusWriter, Inputs, ParquetSink};
use crate::artifact::{
    counts::{Counts, SourceCounts},
    record::FileCounts,
    stage::Work,
};
use crate::base::error::Result;

/// Published as `part-<unit>.parquet` and `removed-<unit>.parquet`.
const PART: &str = "part.parquet";
const REMOVED: &str = "removed.parquet";

/// One batch after its verdicts.
pub struct Sieved {
    /// Index into [`Inputs::sources`].
    pub source: usize,
    /// What stays.
    pub kept: RecordBatch,
    /// What goes, in the schema of [`removed_schema`].
    pub removed: RecordBatch,
    /// What was kept and dropped of the source.
    pub counts: SourceCounts,
}

/// Writes one unit.
pub struct Sieve<'a> {
    inputs: &'a Inputs,
    part: CorpusWriter,
    removed: ParquetSink,
    counts: Counts,
}

impl<'a> Sieve<'a> {
    /// Creates both files in the unit's folder.
    pub fn create(
        inputs: &'a Inputs,
        kept: SchemaRef,
        removed: SchemaRef,
        work: &Work<'_>,
    ) -> Result<Sieve<'a>> {
        let part = CorpusWriter::create(&work.path(PART), kept)?;
        let removed = ParquetSink::create(&work.path(REMOVED), removed)?;
        Ok(Sieve { inputs, part, removed, counts: Counts::default() })
    }

    /// Appends a batch.
    pub fn write(&mut self, sieved: &Sieved) -> Result<()> {
        self.part.write(&sieved.kept)?;
        self.removed.write(&sieved.removed)?;
        self.counts.source(&self.inputs.sources()[sieved.source]).add(&sieved.counts);
        Ok(())
    }

    /// Closes and describes the files; adds what was written to what was `read`.
    pub fn finish(self, mut read: Counts, work: &Work<'_>) -> Result<Counts> {
        let written = self.part.finish()?;
        assert_eq!(written, self.counts.total().documents_out, "documents written and counted");
        work.describe(PART, FileCounts::documents(written));
        let rows = Some(self.removed.finish()?);
        work.describe(REMOVED, FileCounts { rows, ..FileCounts::default() });
        read.add(&self.counts);
        Ok(read)
    }
}

/// The five columns of every list of removed documents, then `more`.
pub fn removed_schema(more: impl IntoIterator<Item = Field>) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let row = Field::new("row", DataType::UInt64, false);
    let leading = [text("id"), text("source"), text("file"), row, text("reason")];
    Arc::new(Schema::new(leading.into_iter().chain(more).collect::<Vec<_>>()))
}

/// Those columns for documents of one batch: (row, id, reason) of each.
pub fn removed_columns<'d>(
    inputs: &Inputs,
    batch: &Batch,
    gone: impl Iterator<Item = (u64, &'d str, &'d str)> + Clone,
) -> Vec<ArrayRef> {
    let count = gone.clone().count();
    let same = |value: &str| Arc::new(StringArray::from(vec![value; count])) as ArrayRef;
    let texts = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    vec![
        texts(gone.clone().map(|(_, id, _)| id).collect()),
        same(&inputs.sources()[batch.source]),
        same(&inputs.files()[batch.file].name),
        Arc::new(UInt64Array::from_iter_values(gone.clone().map(|(row, ..)| row))),
        texts(gone.map(|(.., reason)| reason).collect()),
    ]
}
