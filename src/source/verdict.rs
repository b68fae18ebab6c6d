//! What a recipe says of held-out documents, in columns beside them.
//!
//! In → documents and why a step would leave some of them out; out → the same documents with two
//! further columns. No step drops a held-out document, nor edits its text, so that every recipe is
//! validated on the same texts; what it would have done stands beside them:
//!
//! ```text
//! held_out_verdict  string  the first reason for which a step would have dropped the document, as
//!                           in `removed-*.parquet`; null: the recipe would keep it
//! held_out_twin     bool    whether deduplication found a training document that is a copy of it,
//!                           or nearly; null: none looked
//! ```
//!
//! Documents that are not held out have null in both. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::artifact::counts::SourceCounts;
use crate::base::error::{Result, bug};

/// The column of the reason.
pub const VERDICT: &str = "held_out_verdict";
/// The column of whether there is a twin on the training side.
pub const TWIN: &str = "held_out_twin";

/// Whether a column is one of these.
pub fn is_verdict(name: &str) -> bool {
    name == VERDICT || name == TWIN
}

/// The schema with the verdict's column.
pub fn with_verdict(schema: &SchemaRef) -> SchemaRef {
    with(schema, VERDICT, DataType::Utf8)
}

/// The schema with both columns.
pub fn with_twin(schema: &SchemaRef) -> SchemaRef {
    with(&with_verdict(schema), TWIN, DataType::Boolean)
}

fn with(schema: &SchemaRef, name: &str, kind: DataType) -> SchemaRef {
    if schema.index_of(name).is_ok() {
        return schema.clone();
    }
    let own = schema.fields().iter().map(|field| field.as_ref().clone());
    Arc::new(Schema::new(own.chain([Field::new(name, kind, true)]).collect::<Vec<_>>()))
}

/// What earlier steps say of the documents of a batch.
#[derive(Clone, Copy)]
pub struct Verdicts<'a> {
    verdicts: Option<&'a StringArray>,
    twins: Option<&'a BooleanArray>,
}

impl<'a> Verdicts<'a> {
    /// From the columns of a batch, where it has them.
    pub fn of(records: &'a RecordBatch) -> Verdicts<'a> {
        Verdicts {
            verdicts: records.column_by_name(VERDICT).map(|column| column.as_string()),
            twins: records.column_by_name(TWIN).map(|column| column.as_boolean()),
        }
    }

    /// Why the document at `row` would have been dropped.
    pub fn verdict(&self, row: usize) -> Option<&'a str> {
        self.verdicts.filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }

    /// Whether it has a twin on the training side.
    pub fn twin(&self, row: usize) -> Option<bool> {
        self.twins.filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }
}

/// The records in the schema of [`with_verdict`], with `reasons` by row; an earlier reason stays.
pub fn judged(records: &RecordBatch, reasons: &BTreeMap<usize, &str>) -> Result<RecordBatch> {
    let schema = with_verdict(records.schema_ref());
    let earlier = Verdicts::of(records);
    let rows = 0..records.num_rows();
    let reasons = rows.map(|row| earlier.verdict(row).or_else(|| reasons.get(&row).copied()));
    replaced(records, schema, VERDICT, Arc::new(StringArray::from_iter(reasons)))
}

/// Counts the held-out documents to which `reasons` gives their first reason.
pub fn count(counts: &mut SourceCounts, records: &RecordBatch, reasons: &BTreeMap<usize, &str>) {
    let earlier = Verdicts::of(records);
    for (_, reason) in reasons.iter().filter(|(row, _)| earlier.verdict(**row).is_none()) {
        counts.judge_held_out(reason);
    }
}

/// The records in the schema of [`with_twin`]. `twins` says of each row whether it has a twin,
/// `None` where this deduplication did not look; a twin that an earlier one has found stays.
pub fn with_twins(records: &RecordBatch, twins: &[Option<bool>]) -> Result<RecordBatch> {
    let schema = with_twin(records.schema_ref());
    let earlier = Verdicts::of(records);
    let twins = twins.iter().enumerate().map(|(row, &own)| match earlier.twin(row) {
        Some(true) => Some(true),
        other => own.or(other),
    });
    replaced(records, schema, TWIN, Arc::new(BooleanArray::from_iter(twins)))
}

/// The records with one column more, which takes the place of one of the same name.
fn replaced(
    records: &RecordBatch,
    schema: SchemaRef,
    name: &str,
    column: ArrayRef,
) -> Result<RecordBatch> {
    let mut columns = records.columns().to_vec();
    match records.schema_ref().index_of(name) {
        Ok(place) => columns[place] = column,
        Err(_) => columns.push(column),
    }
    RecordBatch::try_new(schema, columns).map_err(bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays_and_a_twin_that_was_found() {
        let ids = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let schema = Schema::new(vec![Field::new("id", DataType::Utf8, false)]);
        let plain = RecordBatch::try_new(Arc::new(schema), vec![ids]).unwrap();
        assert_eq!(Verdicts::of(&plain).verdict(0), None);
        let once = judged(&plain, &BTreeMap::from([(1, "short")])).unwrap();
        let twice = judged(&once, &BTreeMap::from([(1, "long"), (2, "where")])).unwrap();
        let verdicts = Verdicts::of(&twice);
        let found = [0, 1, 2].map(|row| verdicts.verdict(row));
        assert_eq!(found, [None, Some("short"), Some("where")]);
        let once = with_twins(&twice, &[None, Some(true), Some(false)]).unwrap();
        let twice = with_twins(&once, &[None, Some(false), Some(true)]).unwrap();
        let verdicts = Verdicts::of(&twice);
        assert_eq!([0, 1, 2].map(|row| verdicts.twin(row)), [None, Some(true), Some(true)]);
        assert_eq!(twice.schema(), with_twin(plain.schema_ref()));
    }
}
