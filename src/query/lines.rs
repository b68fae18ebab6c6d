//! JSON Lines → columns.
//!
//! In → files of objects; out → one batch. Each key is a column, in the order of first appearance;
//! its type is the narrowest that all its values fit: flags, whole numbers, numbers, else text, in
//! which lists and objects stand as JSON. A key that an object lacks is null. Cost: the files, and
//! their values, in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use serde_json::{Map, Value};

use super::kind::Kind;
use crate::base::error::{Result, bug};
use crate::base::json;

/// The rows of all files, in their order.
///
/// # Errors
/// Damaged: a line that is no object.
pub fn read(files: &[PathBuf]) -> Result<RecordBatch> {
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for file in files {
        rows.extend(json::lines::<Map<String, Value>>(file)?);
    }
    let mut names: Vec<String> = Vec::new();
    let mut kinds: BTreeMap<&str, Option<Kind>> = BTreeMap::new();
    for (name, value) in rows.iter().flatten() {
        if !kinds.contains_key(name.as_str()) {
            names.push(name.clone());
        }
        let known = kinds.entry(name.as_str()).or_default();
        *known = joined(*known, kind(value));
    }
    let kinds: Vec<Kind> =
        names.iter().map(|name| kinds[name.as_str()].unwrap_or(Kind::Text)).collect();
    let column = |(name, kind): (&String, &Kind)| {
        let values = rows.iter().map(|row| row.get(name).filter(|value| !value.is_null()));
        let column: ArrayRef = match kind {
            Kind::Flag => Arc::new(BooleanArray::from_iter(values.map(|it| it?.as_bool()))),
            Kind::Whole => Arc::new(Int64Array::from_iter(values.map(|it| it?.as_i64()))),
            Kind::Unsigned => Arc::new(UInt64Array::from_iter(values.map(|it| it?.as_u64()))),
            Kind::Number => Arc::new(Float64Array::from_iter(values.map(|it| it?.as_f64()))),
            Kind::Text => Arc::new(StringArray::from_iter(values.map(|it| it.map(text)))),
        };
        column
    };
    let columns: Vec<ArrayRef> = names.iter().zip(&kinds).map(column).collect();
    let fields = names.iter().zip(&kinds).map(|(name, kind)| Field::new(name, kind.arrow(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(bug)
}

fn kind(value: &Value) -> Option<Kind> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => Kind::Flag,
        Value::Number(number) if number.is_i64() => Kind::Whole,
        Value::Number(number) if number.is_u64() => Kind::Unsigned,
        Value::Number(_) => Kind::Number,
        Value::String(_) | Value::Array(_) | Value::Object(_) => Kind::Text,
    })
}

/// The kind that fits two kinds of values in one column.
fn joined(one: Option<Kind>, other: Option<Kind>) -> Option<Kind> {
    match (one, other) {
        (None, kind) | (kind, None) => kind,
        (Some(one), Some(other)) if one == other => Some(one),
        (Some(Kind::Whole | Kind::Number), Some(Kind::Whole | Kind::Number)) => Some(Kind::Number),
        // Negative numbers and numbers that need all 64 bits share no whole type, so they become
        // text, which keeps every digit.
        _ => Some(Kind::Text),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::io;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Float64Type;

    #[test]
    fn a_column_is_what_all_its_values_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.jsonl");
        let lines = "{\"a\":1,\"b\":true,\"d\":[1]}\n{\"a\":1.5,\"c\":\"x\",\"b\":null}\n";
        io::write(&path, lines.as_bytes()).unwrap();
        let batch = read(&[path]).unwrap();
        let names: Vec<String> =
            batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let kinds = batch.schema();
        let kinds = kinds.fields().iter().map(|field| Kind::of(field.data_type()));
        assert_eq!(names, ["a", "b", "d", "c"]);
        assert_eq!(kinds.collect::<Vec<_>>(), [Kind::Number, Kind::Flag, Kind::Text, Kind::Text]);
        assert_eq!(batch.column(0).as_primitive::<Float64Type>().values(), &[1.0, 1.5]);
        assert!(batch.column(1).is_null(1) && batch.column(3).is_null(0));
        assert_eq!(batch.column(2).as_string::<i32>().value(0), "[1]");
    }
}
