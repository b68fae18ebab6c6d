//! Why documents left: the rule or the twin that decided, from `removed-*.parquet`.
//!
//! In → the ids of documents that one side lacks, and that side's steps; out → how many documents
//! each step dropped for which reason, and the words for those that are listed. Documents that no
//! remaining step has recorded (from a source file that is not read, or a folder that is gone) get
//! no reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;

use super::columns::{self, Rows};
use super::documents::{Moved, hash_of};
use crate::base::error::Result;
use crate::base::io;
use crate::base::place;
use crate::lineage::Lineage;

/// Columns of both kinds of `removed-*.parquet`.
const COLUMNS: [&str; 7] = ["id", "source", "reason", "value", "limit", "kept_id", "jaccard"];

/// `step: reason` → documents.
pub type Reasons = BTreeMap<String, u64>;

/// Counts the reasons of one side for what it lacks, and gives those that are listed their words.
///
/// # Errors
/// Damaged: a record that cannot be read.
pub fn explain(lacking: &Lineage, ids: &[u128], listed: &mut [&mut Moved]) -> Result<Reasons> {
    let mut reasons = Reasons::new();
    if ids.is_empty() {
        return Ok(reasons);
    }
    for node in &lacking.nodes {
        let Some(place) = &node.place else { continue };
        for file in removed(place)? {
            for batch in columns::open(&file, &COLUMNS)? {
                let batch = batch?;
                let rows = Rows { batch: &batch, path: &file };
                let (id, reason) = (rows.text("id")?, rows.text("reason")?);
                for row in 0..batch.num_rows() {
                    let (Some(id), Some(reason)) = (id.at(row), reason.at(row)) else { continue };
                    if ids.binary_search(&hash_of(id)).is_err() {
                        continue;
                    }
                    *reasons.entry(format!("{}: {reason}", node.name)).or_default() += 1;
                    let known = listed.iter_mut().find(|it| it.id == id && it.reason.is_none());
                    if let Some(moved) = known {
                        let why = words(&rows, row, reason)?;
                        moved.reason = Some(format!("{}: {why}", node.name));
                    }
                }
            }
        }
    }
    Ok(reasons)
}

fn removed(place: &Path) -> Result<Vec<PathBuf>> {
    let is_removed = |path: &PathBuf| {
        let name = place::name(path);
        name.starts_with("removed-") && name.ends_with(".parquet")
    };
    Ok(io::list(place)?.into_iter().filter(is_removed).collect())
}

/// As `gopher_short_doc, 41.0000 where the limit is 50`, or `near_duplicate of d17 (0.93)`.
fn words(rows: &Rows<'_>, row: usize, reason: &str) -> Result<String> {
    if rows.batch.column_by_name("kept_id").is_some() {
        let kept = rows.text("kept_id")?.at(row).unwrap_or_default();
        let alike = number(rows.batch, "jaccard", row);
        let alike = alike.map_or(String::new(), |alike| format!(" ({alike:.2})"));
        return Ok(format!("{reason} of {kept}{alike}"));
    }
    let (value, limit) = (number(rows.batch, "value", row), number(rows.batch, "limit", row));
    Ok(match (value, limit) {
        (Some(value), Some(limit)) => format!("{reason}, {value:.4} where the limit is {limit}"),
        _ => reason.to_owned(),
    })
}

fn number(batch: &RecordBatch, name: &str, row: usize) -> Option<f64> {
    let column = batch.column_by_name(name)?.as_primitive_opt::<Float64Type>()?;
    column.is_valid(row).then(|| column.value(row))
}
