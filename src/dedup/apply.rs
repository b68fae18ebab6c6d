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
//! A held-out document is never dropped: the verdict stands beside it, and so does whether a
//! training document is a twin of it ([`crate::source::verdict`]).
//!
//! Invariants: in = out + rejected + dropped by reason, for each source; every decision about the
//! unit is met by exactly one document.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array},
    compute::filter_record_batch,
    datatypes::{DataType, Field, SchemaRef},
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
        stage::Work,
    },
    base::error::{Error, Result, bug},
    source::{
        Batch, Columns, Inputs, Sieve, Sieved, sieve,
        verdict::{self, with_twin as with_twin_schema},
    },
};

/// The figure that counts training documents dropped for a held-out one.
const HELD_OUT_TWINS: &str = "held_out_twins";

/// Applies the decisions to one unit.
pub fn run(inputs: &Inputs, config: &DedupConfig, unit: usize, work: &Work<'_>) -> Result<Counts> {
    let decided = work.published.dir(DedupPhase::that_decides(config), 0);
    let drops = decisions::read(&decided, unit)?;
    let places: Vec<u32> = drops.iter().map(|drop| drop.place).collect();
    let signed = SignedUnit::open(&work.published.dir(SIGN, unit), config.bands_wanted())?;
    let names = signed.names(&places)?.into_iter().map(|(name, _)| name);
    let rows = Rows::new(names.zip(drops));
    let twins = signed.names(&decisions::read_twins(&decided, unit)?)?;
    let with_twin = Rows::new(twins.into_iter().map(|(name, _)| (name, ())));
    let schema = sieve::removed_schema(why_fields());
    let mut sieve =
        Sieve::create(inputs, with_twin_schema(&inputs.schema()), schema.clone(), work)?;
    let (mut twins, mut met) = (0, 0);
    let read = inputs.read(
        unit,
        Columns::All,
        work,
        |batch| apply(&batch, (&rows, &with_twin), inputs, &schema),
        |applied| {
            sieve.write(&applied.sieved)?;
            twins += applied.held_out_twins;
            met += applied.met;
            Ok(())
        },
    )?;
    if met != rows.len() {
        return Err(changed(rows.len(), met));
    }
    let mut counts = sieve.finish(read, work)?;
    counts.add_extra(HELD_OUT_TWINS, twins);
    Ok(counts)
}

/// One batch after its decisions.
struct Applied {
    sieved: Sieved,
    /// Training documents dropped for a held-out one.
    held_out_twins: u64,
    /// Decisions that are about documents of the batch.
    met: usize,
}

fn apply(
    batch: &Batch,
    (rows, with_twin): (&Rows<Dropped>, &Rows<()>),
    inputs: &Inputs,
    schema: &SchemaRef,
) -> Result<Applied> {
    let mut drops: Vec<Option<&Dropped>> =
        batch.rows.iter().map(|&row| rows.find(batch.file, row)).collect();
    let met = drops.iter().flatten().count();
    let mut counts = SourceCounts::default();
    let mut held_out_twins = 0;
    let (mut judged, mut twins) = (BTreeMap::new(), vec![None; batch.len()]);
    for (at, drop) in drops.iter_mut().enumerate() {
        let held_out = batch.held_out().value(at);
        if held_out {
            twins[at] = Some(with_twin.find(batch.file, batch.rows[at]).is_some());
            judged.extend(drop.take().map(|drop| (at, drop.reason.name())));
        }
        match drop {
            Some(drop) => {
                counts.drop_document(drop.reason.name());
                held_out_twins += u64::from(drop.kept_held_out);
            }
            None => counts.keep_document(batch.texts().value(at).len(), held_out),
        }
    }
    verdict::count(&mut counts, &batch.records, &judged);
    let records = verdict::with_twins(&verdict::judged(&batch.records, &judged)?, &twins)?;
    let mask = BooleanArray::from_iter(drops.iter().map(|drop| Some(drop.is_none())));
    let kept = filter_record_batch(&records, &mask).map_err(bug)?;
    let removed = removed(batch, &drops, inputs, schema)?;
    let sieved = Sieved { source: batch.source, kept, removed, counts };
    Ok(Applied { sieved, held_out_twins, met })
}

/// The columns that name the document kept for a dropped one, and how the two were found.
fn why_fields() -> [Field; 6] {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let number = |name: &str| Field::new(name, DataType::UInt64, false);
    [
        text("kept_id"),
        text("kept_source"),
        text("kept_file"),
        number("kept_row"),
        Field::new("jaccard", DataType::Float64, true),
        number("cluster"),
    ]
}

fn removed(
    batch: &Batch,
    drops: &[Option<&Dropped>],
    inputs: &Inputs,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let file = |file: usize| inputs.files()[file].name.as_str();
    let source = |source: usize| inputs.sources()[source].as_str();
    let gone = || drops.iter().enumerate().filter_map(|(at, drop)| Some((at, (*drop)?)));
    let names =
        gone().map(|(at, drop)| (batch.rows[at], batch.ids().value(at), drop.reason.name()));
    let text = |value: &dyn Fn(&Dropped) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(gone().map(|(_, drop)| value(drop))))
    };
    let number = |value: &dyn Fn(&Dropped) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(gone().map(|(_, drop)| value(drop))))
    };
    let mut columns = sieve::removed_columns(inputs, batch, names);
    columns.extend([
        text(&|drop| drop.kept.id.clone()),
        text(&|drop| source(drop.kept.source as usize).to_owned()),
        text(&|drop| file(drop.kept.file as usize).to_owned()),
        number(&|drop| drop.kept.row),
        Arc::new(Float64Array::from_iter(gone().map(|(_, drop)| drop.jaccard))),
        number(&|drop| drop.cluster),
    ]);
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| Error::failed(format!("cannot list what was dropped: {error}")))
}
