//! Tables as polars sees them.
//!
//! In → SQL; out → [`Answer`]. Each table that the SQL names is a scan that reads the columns which
//! polars asks for: polars is built without its own file readers, so that the build stays short and
//! every file is checked as elsewhere. A name that is no table is left to polars, where it may be
//! one of the query's own (`WITH`).

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, UInt64Type};
use arrow::record_batch::RecordBatch;
use polars::prelude::{
    AnonymousScan, AnonymousScanArgs, AnyValue, BooleanChunked, Column as PolarsColumn, DataFrame,
    DataType, Float64Chunked, Int64Chunked, IntoColumn, LazyFrame, NewChunkedArray, PolarsError,
    PolarsResult, ScanArgsAnonymous, Schema, SchemaRef, StringChunked, UInt64Chunked,
};
use polars::sql::{SQLContext, extract_table_identifiers};
use serde_json::{Value, json};

use super::Answer;
use super::find::{self, Table};
use super::kind::{Column, Kind};
use super::read;
use crate::base::error::{Error, Result};

/// Answers a query over the tables of `folder`.
pub fn query(sql: &str, folder: &Path) -> Result<Answer> {
    let names = extract_table_identifiers(sql, false, true).map_err(|it| wrong(it, folder))?;
    let mut context = SQLContext::new();
    for name in names {
        if let Some(table) = find::find(folder, &name)? {
            context.register(&name, lazy(table)?);
        }
    }
    let frame = context.execute(sql).and_then(LazyFrame::collect);
    Ok(answer(&frame.map_err(|error| wrong(error, folder))?))
}

fn lazy(table: Table) -> Result<LazyFrame> {
    let columns = read::columns(&table)?;
    let field = |column: &Column| (column.name.as_str().into(), polars_type(column.kind));
    let schema: SchemaRef = Arc::new(columns.iter().map(field).collect::<Schema>());
    let scan = Scan { table, schema: schema.clone() };
    let arguments = ScanArgsAnonymous {
        schema: Some(schema),
        name: "TABLE OF DATAPREP",
        ..ScanArgsAnonymous::default()
    };
    LazyFrame::anonymous_scan(Arc::new(scan), arguments)
        .map_err(|error| Error::failed(format!("the table cannot be scanned: {error}")))
}

fn polars_type(kind: Kind) -> DataType {
    match kind {
        Kind::Flag => DataType::Boolean,
        Kind::Whole => DataType::Int64,
        Kind::Unsigned => DataType::UInt64,
        Kind::Number => DataType::Float64,
        Kind::Text => DataType::String,
    }
}

/// A table that polars reads.
struct Scan {
    table: Table,
    schema: SchemaRef,
}

impl AnonymousScan for Scan {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn scan(&self, wanted: AnonymousScanArgs) -> PolarsResult<DataFrame> {
        let all = || self.schema.iter_names().map(|name| name.to_string()).collect();
        let names: Vec<String> = match &wanted.with_columns {
            Some(names) => names.iter().map(|name| name.to_string()).collect(),
            None => all(),
        };
        let batches = read::batches(&self.table, &names)
            .map_err(|error| PolarsError::ComputeError(error.to_string().into()))?;
        if names.is_empty() {
            // A query that only counts rows asks for no columns.
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            return DataFrame::new(rows.min(wanted.n_rows.unwrap_or(rows)), Vec::new());
        }
        let fields = names.iter().filter_map(|name| {
            let kind = self.schema.get(name.as_str())?;
            Some((name.as_str().into(), kind.clone()))
        });
        let mut frame = DataFrame::empty_with_schema(&fields.collect::<Schema>());
        for (at, batch) in batches.iter().enumerate() {
            let part = part(batch)?;
            if at == 0 {
                frame = part;
            } else {
                frame.vstack_mut(&part)?;
            }
        }
        // polars leaves a `LIMIT` directly over a scan to the scan.
        Ok(match wanted.n_rows {
            Some(rows) => frame.head(Some(rows)),
            None => frame,
        })
    }

    fn schema(&self, _infer: Option<usize>) -> PolarsResult<SchemaRef> {
        Ok(self.schema.clone())
    }

    fn allows_projection_pushdown(&self) -> bool {
        true
    }
}

fn part(batch: &RecordBatch) -> PolarsResult<DataFrame> {
    let column = |(at, field): (usize, &Arc<arrow::datatypes::Field>)| -> PolarsColumn {
        let (name, values) = (field.name().as_str().into(), batch.column(at));
        match Kind::of(field.data_type()) {
            Kind::Flag => {
                BooleanChunked::from_iter_options(name, values.as_boolean().iter()).into_column()
            }
            Kind::Whole => {
                let values = values.as_primitive::<Int64Type>();
                Int64Chunked::from_iter_options(name, values.iter()).into_column()
            }
            Kind::Unsigned => {
                let values = values.as_primitive::<UInt64Type>();
                UInt64Chunked::from_iter_options(name, values.iter()).into_column()
            }
            Kind::Number => {
                let values = values.as_primitive::<Float64Type>();
                Float64Chunked::from_iter_options(name, values.iter()).into_column()
            }
            Kind::Text => {
                let values = values.as_string::<i32>();
                StringChunked::from_iter_options(name, values.iter()).into_column()
            }
        }
    };
    let schema = batch.schema();
    let columns = schema.fields().iter().enumerate().map(column).collect();
    DataFrame::new(batch.num_rows(), columns)
}

fn answer(frame: &DataFrame) -> Answer {
    let columns = frame.columns();
    let row = |row: usize| {
        columns.iter().map(|column| column.get(row).map_or(Value::Null, |it| value(&it))).collect()
    };
    Answer {
        columns: columns.iter().map(|column| column.name().to_string()).collect(),
        rows: (0..frame.height()).map(row).collect(),
    }
}

fn value(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(flag) => json!(flag),
        AnyValue::String(text) => json!(text),
        AnyValue::StringOwned(text) => json!(text.as_str()),
        AnyValue::Float64(number) => json!(number),
        AnyValue::Float32(number) => json!(number),
        other if other.is_integer() => match other.extract::<i64>() {
            Some(number) => json!(number),
            None => other.extract::<u64>().map_or_else(|| json!(other.to_string()), |it| json!(it)),
        },
        other => json!(other.to_string()),
    }
}

/// An error of polars as one of ours.
fn wrong(error: PolarsError, folder: &Path) -> Error {
    let text = error.to_string();
    if matches!(error, PolarsError::ComputeError(_)) {
        return Error::failed(text);
    }
    let error = Error::config(format!("the query: {text}"));
    let tables = find::list(folder).unwrap_or_default();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    match text.contains("was not found") && !names.is_empty() {
        true => error.with_hint(format!(
            "tables of `{}`: {}; their columns: `query --tables`",
            folder.display(),
            names.join(", ")
        )),
        false => error,
    }
}
