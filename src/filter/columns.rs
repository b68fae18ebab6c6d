//! The columns that rules read beside the text.
//!
//! Rule sets and a batch in → for each document its values, by name, which may be that of a field
//! (`metadata.score` of JSON Lines). Numbers of any kind are read as doubles, strings of any kind
//! as strings; null, NaN and what is of another kind is no value. Invariant: a column that a rule
//! needs and the inputs lack is an error before any work. Cost: a cast a batch, and a few words a
//! document.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Float64Type, Schema};
use arrow::record_batch::RecordBatch;

use super::rules::{Column, ColumnKind, RuleSet};
use super::view::ColumnValue;
use crate::base::error::Result;
use crate::source::predicate::{self, check_column};

/// The columns of one batch, cast to what rules take.
pub struct BatchColumns {
    columns: Vec<(String, ColumnKind, ArrayRef)>,
}

impl BatchColumns {
    /// Refuses rule sets that need a column the inputs lack, or of another kind.
    ///
    /// # Errors
    /// [`Error::Config`](crate::base::error::Error) naming the nearest column.
    pub fn check(rule_sets: &[Box<dyn RuleSet>], schema: &Schema) -> Result<()> {
        wanted(rule_sets)
            .iter()
            .try_for_each(|column| check_column(schema, &column.name, kind_of(column)).map(drop))
    }

    /// The columns that the rule sets read, of one batch.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::base::error::Error) for a column that cannot be cast.
    pub fn of(rule_sets: &[Box<dyn RuleSet>], records: &RecordBatch) -> Result<BatchColumns> {
        let read = |column: Column| {
            let array = predicate::column(records, &column.name, kind_of(&column))?;
            Ok((column.name, column.kind, array))
        };
        let columns = wanted(rule_sets).into_iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok(BatchColumns { columns })
    }

    /// A document's values.
    pub fn row(&self, index: usize) -> Vec<(&str, ColumnValue<'_>)> {
        self.columns
            .iter()
            .map(|(name, kind, array)| {
                let is_valid = array.is_valid(index);
                let value = match kind {
                    ColumnKind::Number => {
                        let array = array.as_primitive::<Float64Type>();
                        ColumnValue::Number(is_valid.then(|| array.value(index)))
                    }
                    ColumnKind::Text => {
                        let array = array.as_string::<i32>();
                        ColumnValue::Text(is_valid.then(|| array.value(index)))
                    }
                };
                (name.as_str(), value)
            })
            .collect()
    }
}

fn kind_of(column: &Column) -> predicate::ValueKind {
    match column.kind {
        ColumnKind::Number => predicate::ValueKind::Number,
        ColumnKind::Text => predicate::ValueKind::Text,
    }
}

/// Each column once.
fn wanted(rule_sets: &[Box<dyn RuleSet>]) -> Vec<Column> {
    let mut wanted: Vec<Column> = Vec::new();
    for column in rule_sets.iter().flat_map(|rule_set| rule_set.columns()) {
        if !wanted.contains(&column) {
            wanted.push(column);
        }
    }
    wanted
}
