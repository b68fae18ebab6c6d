//! One unit of `ingest`: read, write, count.

use crate::base::counts::Counts;
use crate::base::error::Result;
use crate::base::stage::Work;
use crate::base::unit::FileCounts;
use crate::source::{Columns, CorpusWriter, Inputs};

/// The part's name; published as `part-<unit>.parquet`.
const PART: &str = "part.parquet";

/// Writes the documents of `unit` to one part.
pub(super) fn run_unit(inputs: &Inputs, unit: usize, work: &Work<'_>) -> Result<Counts> {
    let mut writer = CorpusWriter::create(&work.path(PART), inputs.schema())?;
    let records = |batch: crate::source::Batch| Ok(batch.records);
    let mut counts =
        inputs.read(unit, Columns::All, work, records, |records| writer.write(&records))?;
    for counts in counts.sources.values_mut() {
        counts.documents_out = counts.documents_in - counts.rejected_total();
        counts.bytes_out = counts.bytes_in;
    }
    let written = writer.finish()?;
    let out = counts.total().documents_out;
    assert_eq!(written, out, "documents written differ from those counted");
    work.describe(PART, FileCounts::documents(written));
    Ok(counts)
}
