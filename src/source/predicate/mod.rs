//! SQL conditions over the columns of documents: `--where "int_score >= 3 AND language = 'en'"`.
//!
//! In → the text of a condition and the schema of the inputs; then record batches. Out → for each
//! document whether it passes.
//! Method: sqlparser reads the text (`syntax`), `plan` settles every kind and finds every mistake,
//! arrow's kernels evaluate it (`evaluate`), column by column.
//!
//! # Semantics
//!
//! - SQL's three-valued logic: a comparison with null is unknown, `NOT unknown` is unknown, and
//!   what is unknown does not pass. **NaN is null as soon as a column is read**, so that it passes
//!   no comparison in either direction, and `IS NULL` is true for it: of `x < 3`, `x >= 3` and
//!   `x IS NULL` exactly one holds. (DuckDB and polars hold NaN for the greatest number.)
//! - Integers are compared with integers exactly, with numbers as doubles. `/` is the division of
//!   doubles, `%` has the sign of the dividend; x / 0, x % 0, an integer beyond int64 and a CAST of
//!   what is no number are null.
//! - Text is compared by its bytes, which is the order of code points.
//! - `metadata.url` is a field of the JSON that JSON Lines leave in the column `metadata`: a number
//!   where it is compared with a number, text with text, else null. A CAST takes any scalar.
//! - Column names match exactly, else by ASCII case.
//!
//! Invariants: a verdict depends on the document alone, never on its batch. Cost: a kernel a node
//! and batch; costly parts (JSON, regular expressions) run last, on documents that can still pass.

mod evaluate;
mod expression;
mod functions;
mod json;
mod kind;
mod plan;
mod reference;
mod syntax;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;

use arrow::array::BooleanArray;
use arrow::compute::and;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;

use crate::base::error::{Error, Result};
use evaluate::{Rows, passing};
use expression::Expression;
use json::Extractor;
use plan::Planner;

pub use kind::ValueKind;
pub use reference::{Reference, check_column, column};

/// A condition on documents, checked against their schema.
#[derive(Clone, Debug)]
pub struct Predicate {
    sql: String,
    /// Conditions that must all be true, the costly ones last.
    conjuncts: Vec<Expression>,
    columns: Vec<String>,
    json: Option<(Reference, Extractor)>,
}

impl Predicate {
    /// Reads a condition, as it would stand after WHERE.
    ///
    /// # Errors
    /// [`Error::Config`] for what is no SQL (showing where), a column that `schema` lacks (naming
    /// the nearest), kinds that cannot be compared, a value that is no condition, and what is not
    /// supported (saying what is).
    pub fn parse(sql: &str, schema: &Schema) -> Result<Predicate> {
        let tree = syntax::parse(sql)?;
        let mut planner = Planner::new(sql, schema);
        let mut conjuncts = planner.conjuncts(&tree)?;
        conjuncts.sort_by_key(Expression::cost);
        let Planner { mut columns, json, .. } = planner;
        columns.sort_by_key(|column| schema.index_of(column).ok());
        Ok(Predicate { sql: sql.to_owned(), conjuncts, columns, json })
    }

    /// The columns it reads, in the schema's order: all that a batch must hold.
    pub fn columns(&self) -> Vec<&str> {
        self.columns.iter().map(String::as_str).collect()
    }

    /// For each document whether it passes; never null. Columns are found by name, so the batch
    /// may hold others too.
    ///
    /// # Errors
    /// [`Error::Failed`] when the batch lacks a column, or holds an unsigned integer beyond int64.
    pub fn select(&self, records: &RecordBatch) -> Result<BooleanArray> {
        let failed = |error: &dyn fmt::Display| {
            Error::failed(format!("the condition `{}` failed: {error}", self.sql))
        };
        let json = self.json.as_ref().map(|(reference, extractor)| (reference, extractor));
        let mut rows = Rows::new(records, json);
        let mut selected: Option<BooleanArray> = None;
        for conjunct in &self.conjuncts {
            let passes = rows.condition(conjunct).map_err(|error| failed(&error))?;
            let passes = passing(&passes);
            let left = match &selected {
                None => passes,
                Some(selected) => and(selected, &passes).map_err(|error| failed(&error))?,
            };
            if !left.has_true() {
                return Ok(left);
            }
            rows.want(left.clone());
            selected = Some(left);
        }
        Ok(selected.expect("a condition has at least one conjunct"))
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sql)
    }
}
