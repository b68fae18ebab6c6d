//! Phase `apply`: the documents that stay, and a record of each that goes.
//!
//! In → one unit of documents and the decisions about it; out → `part.parquet` (every column as it
//! came, in input order) and `removed.parquet`, which says for each dropped document what stays for
//! it, how similar they are, and in which component of candidates they were found:
//!
//! ```text
//! id · source · file · row · reason · kept_id · kept_source · kept_file · kept_row ·
//! jaccard (null: not verified) · cluster (ordinal of the component's first document)
//! ```
//!
//! Invariants: in = out + rejected + dropped by reason, for each source; every decision about the
//! unit is met by exactly one document.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::{
    config::DedupConfig,
    decisions::{self, Dropped},
    documents::SignedUnit,
    phases::{DedupPhase, SIGN},
    verify::{Rows, changed},
};
use crate::{
    artifact::{
        counts::{Counts, SourceCounts},
        record::FileCounts,
        stage::Work,
    },
    base::error::{Error, Result, bug},
    source::{Batch, Columns, CorpusWriter, Inputs, ParquetSink},
};

/// The figure that counts training documents dropped for a held-out one.
pub const HELD_OUT_TWINS: &str = "held_out_twins";

/// One batch after its decisions.
struct Applied {
    source: usize,
    kept: RecordBatch,
    removed: RecordBatch,
    counts: SourceCounts,
    held_out_twins: u64,
}

/// Applies the decisions to one unit.
pub fn run(inputs: &Inputs, config: &DedupConfig, unit: usize, work: &Work<'_>) -> Result<Counts> {
    let decided = work.published.dir(DedupPhase::that_decides(config), 0);
    let drops = decisions::read(&decided, unit)?;
    let places: Vec<u32> = drops.iter().map(|drop| drop.place).collect();
    let signed = SignedUnit::open(&work.published.dir(SIGN, unit), config.bands_wanted())?;
    let names = signed.names(&places)?.into_iter().map(|(name, _)| name);
    let rows = Rows::new(names.zip(drops));
    let removed_schema = removed_schema();
    let mut part = CorpusWriter::create(&work.path("part.parquet"), inputs.schema())?;
    let mut removed = ParquetSink::create(&work.path("removed.parquet"), removed_schema.clone())?;
    let (mut out, mut dropped) = (Counts::default(), 0);
    let mut counts = inputs.read(
        unit,
        Columns::All,
        work,
        |batch| apply(&batch, &rows, inputs, &removed_schema),
        |applied| {
            part.write(&applied.kept)?;
            removed.write(&applied.removed)?;
            out.source(&inputs.sources()[applied.source]).add(&applied.counts);
            out.add_extra(HELD_OUT_TWINS, applied.held_out_twins);
            dropped += applied.removed.num_rows();
            Ok(())
        },
    )?;
    if dropped != rows.len() {
        return Err(changed(rows.len(), dropped));
    }
    work.describe("part.parquet", FileCounts::documents(part.finish()?));
    let rows = Some(removed.finish()?);
    work.describe("removed.parquet", FileCounts { rows, ..FileCounts::default() });
    counts.add(&out);
    Ok(counts)
}

fn apply(
    batch: &Batch,
    rows: &Rows<Dropped>,
    inputs: &Inputs,
    removed_schema: &SchemaRef,
) -> Result<Applied> {
    let drops: Vec<Option<&Dropped>> =
        batch.rows.iter().map(|&row| rows.find(batch.file, row)).collect();
    let mut counts = SourceCounts::default();
    let mut held_out_twins = 0;
    for (at, drop) in drops.iter().enumerate() {
        let held_out = batch.held_out().value(at);
        match drop {
            Some(drop) => {
                counts.drop_document(drop.reason.name());
                held_out_twins += u64::from(drop.kept_held_out && !held_out);
            }
            None => {
                counts.documents_out += 1;
                counts.bytes_out += batch.texts().value(at).len() as u64;
                counts.held_out += u64::from(held_out);
            }
        }
    }
    let mask = BooleanArray::from_iter(drops.iter().map(|drop| Some(drop.is_none())));
    let kept = filter_record_batch(&batch.records, &mask).map_err(bug)?;
    let removed = removed(batch, &drops, inputs, removed_schema)?;
    Ok(Applied { source: batch.source, kept, removed, counts, held_out_twins })
}

fn removed_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let number = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![
        text("id"),
        text("source"),
        text("file"),
        number("row"),
        text("reason"),
        text("kept_id"),
        text("kept_source"),
        text("kept_file"),
        number("kept_row"),
        Field::new("jaccard", DataType::Float64, true),
        number("cluster"),
    ]))
}

fn removed(
    batch: &Batch,
    drops: &[Option<&Dropped>],
    inputs: &Inputs,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let file = |file: usize| inputs.files()[file].name.as_str();
    let source = |source: usize| inputs.sources()[source].as_str();
    let gone: Vec<(usize, &Dropped)> =
        drops.iter().enumerate().filter_map(|(at, drop)| Some((at, (*drop)?))).collect();
    let text = |value: &dyn Fn(usize, &Dropped) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(gone.iter().map(|&(at, drop)| value(at, drop))))
    };
    let number = |value: &dyn Fn(usize, &Dropped) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(gone.iter().map(|&(at, drop)| value(at, drop))))
    };
    let columns = vec![
        text(&|at, _| batch.ids().value(at).to_owned()),
        text(&|_, _| source(batch.source).to_owned()),
        text(&|_, _| file(batch.file).to_owned()),
        number(&|at, _| batch.rows[at]),
        text(&|_, drop| drop.reason.name().to_owned()),
        text(&|_, drop| drop.kept.id.clone()),
        text(&|_, drop| source(drop.kept.source as usize).to_owned()),
        text(&|_, drop| file(drop.kept.file as usize).to_owned()),
        number(&|_, drop| drop.kept.row),
        Arc::new(Float64Array::from_iter(gone.iter().map(|(_, drop)| drop.jaccard))),
        number(&|_, drop| drop.cluster),
    ];
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| Error::failed(format!("cannot list what was dropped: {error}")))
}
