//! The columns that rules read beside the text.
//!
//! Rule sets and a batch in → for each document its values, by name. Numbers of any kind are read
//! as doubles, strings of any kind as strings; null, and what is no number, is no value.
//! Invariant: a column that a rule needs and the inputs lack is an error before any work. Cost: a
//! cast a batch, and a few words a document.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::record_batch::RecordBatch;

use super::rules::{Column, ColumnValue, Kind, RuleSet};
use crate::base::config::nearest;
use crate::base::error::{Error, Result};

/// The columns of one batch, cast to what rules take.
pub struct BatchColumns {
    columns: Vec<(String, Kind, ArrayRef)>,
}

impl BatchColumns {
    /// Refuses rule sets that need a column the inputs lack, or of another kind.
    ///
    /// # Errors
    /// [`Error::Config`] naming the nearest column.
    pub fn check(rule_sets: &[Box<dyn RuleSet>], schema: &Schema) -> Result<()> {
        for column in wanted(rule_sets) {
            let Ok(field) = schema.field_with_name(&column.name) else {
                let names: Vec<&str> =
                    schema.fields().iter().map(|field| field.name().as_str()).collect();
                let error = Error::config(format!(
                    "a rule reads the column `{}`: there is none",
                    column.name
                ));
                return Err(error.with_hint(match nearest(&column.name, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if names.contains(&"metadata") => {
                        "it must be a column of Parquet: fields of JSON Lines lie in `metadata`, \
                         which rules do not read"
                            .to_owned()
                    }
                    None => format!("the columns are: {}", names.join(", ")),
                }));
            };
            let fits = match column.kind {
                Kind::Number => field.data_type().is_numeric() || field.data_type().is_null(),
                Kind::Text => is_text(field.data_type()),
            };
            if !fits {
                let kind = field.data_type();
                let message =
                    format!("the column `{}` is {kind}, not what its rule reads", column.name);
                return Err(Error::config(message));
            }
        }
        Ok(())
    }

    /// The columns that the rule sets read, of one batch.
    ///
    /// # Errors
    /// [`Error::Failed`] for a column that cannot be cast.
    pub fn of(rule_sets: &[Box<dyn RuleSet>], records: &RecordBatch) -> Result<BatchColumns> {
        let cast = |column: Column| {
            let array = records.column_by_name(&column.name).expect("checked when opened");
            let target = match column.kind {
                Kind::Number => DataType::Float64,
                Kind::Text => DataType::Utf8,
            };
            let array = cast(array, &target)
                .map_err(|error| Error::failed(format!("column `{}`: {error}", column.name)))?;
            Ok((column.name, column.kind, array))
        };
        let columns = wanted(rule_sets).into_iter().map(cast).collect::<Result<Vec<_>>>()?;
        Ok(BatchColumns { columns })
    }

    /// A document's values.
    pub fn row(&self, index: usize) -> Vec<(&str, ColumnValue<'_>)> {
        self.columns
            .iter()
            .map(|(name, kind, array)| {
                let is_valid = array.is_valid(index);
                let value = match kind {
                    Kind::Number => {
                        let array = array.as_primitive::<Float64Type>();
                        ColumnValue::Number(is_valid.then(|| array.value(index)))
                    }
                    Kind::Text => {
                        let array = array.as_string::<i32>();
                        ColumnValue::Text(is_valid.then(|| array.value(index)))
                    }
                };
                (name.as_str(), value)
            })
            .collect()
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
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
