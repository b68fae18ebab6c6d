//! Tables → columns of five types.
//!
//! In → a [`Table`]; out → its columns, and batches of those that are asked for. A type is a flag,
//! a whole number of 64 bits with or without a sign, a number or text; other types (lists, records,
//! times) are shown as text. Of Parquet only the columns asked for are read; of shards no token is
//! decompressed, and every block is checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;

use super::find::{Rows, Table};
use super::kind::{Column, Kind};
use super::lines;
use crate::base::error::{Error, Result, bug};
use crate::base::io;
use crate::runs;
use crate::shards::{ShardReader, read_validation};

/// The columns of a table.
///
/// # Errors
/// Damaged: a file that cannot be read.
pub fn columns(table: &Table) -> Result<Vec<Column>> {
    let schema = match &table.rows {
        Rows::Parquet(files) => {
            let first = files.first().expect("a table has a file");
            parquet(first)?.schema().clone()
        }
        _ => {
            whole(&table.rows)?.first().map_or_else(|| Arc::new(Schema::empty()), |it| it.schema())
        }
    };
    let column = |field: &Arc<Field>| Column {
        name: field.name().clone(),
        kind: Kind::of(field.data_type()),
    };
    Ok(schema.fields().iter().map(column).collect())
}

/// The rows of a table, of the columns called so, in the types that [`columns`] says.
///
/// # Errors
/// Damaged: a file that cannot be read.
pub fn batches(table: &Table, names: &[String]) -> Result<Vec<RecordBatch>> {
    let read = match &table.rows {
        Rows::Parquet(files) => {
            let mut batches = Vec::new();
            for file in files {
                batches.extend(of_parquet(file, names)?);
            }
            batches
        }
        rows => whole(rows)?,
    };
    read.iter().map(|batch| shown(batch, names)).collect()
}

fn parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<impl ChunkReader + use<>>> {
    ParquetRecordBatchReaderBuilder::try_new(io::open(path)?)
        .map_err(|error| Error::damaged(path, None, error))
}

fn of_parquet(path: &Path, names: &[String]) -> Result<Vec<RecordBatch>> {
    let builder = parquet(path)?;
    let fields = builder.schema().fields().iter().enumerate();
    let wanted = fields.filter(|(_, field)| names.contains(field.name())).map(|(at, _)| at);
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.collect::<Vec<_>>());
    let reader = builder.with_projection(mask).build();
    let reader = reader.map_err(|error| Error::damaged(path, None, error))?;
    reader.map(|batch| batch.map_err(|error| Error::damaged(path, None, error))).collect()
}

/// All columns of what is not Parquet.
fn whole(rows: &Rows) -> Result<Vec<RecordBatch>> {
    match rows {
        Rows::Parquet(_) => unreachable!("read column by column"),
        Rows::Lines(files) => Ok(vec![lines::read(files)?]),
        Rows::Shards(files) => of_shards(files),
        Rows::Validation(path) => Ok(vec![of_validation(path)?]),
        Rows::Runs(folder) => Ok(vec![runs::Table::new(runs::list(folder)?).records()?]),
    }
}

/// The named columns, converted to their types.
fn shown(batch: &RecordBatch, names: &[String]) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(names.len());
    let mut fields = Vec::with_capacity(names.len());
    for name in names {
        let found = batch.column_by_name(name);
        let found = found.ok_or_else(|| Error::failed(format!("a part has no column `{name}`")))?;
        let kind = Kind::of(found.data_type());
        fields.push(Field::new(name, kind.arrow(), true));
        columns.push(converted(name, found, kind)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(bug)
}

fn converted(name: &str, column: &ArrayRef, kind: Kind) -> Result<ArrayRef> {
    let is_text =
        matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    if kind != Kind::Text || is_text {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        return cast_with_options(column, &kind.arrow(), &options)
            .map_err(|error| Error::failed(format!("the column `{name}`: {error}")));
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options).map_err(bug)?;
    let value = |row| (!column.is_null(row)).then(|| formatter.value(row).to_string());
    Ok(Arc::new(StringArray::from_iter((0..column.len()).map(value))))
}

fn of_shards(files: &[PathBuf]) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for file in files {
        let reader = ShardReader::open(file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        for (index, entry) in reader.blocks().iter().enumerate() {
            let block = reader.read(index)?;
            let ids = block.documents()?;
            let held_out = block.held_out()?;
            let facts = block.held_out_facts(0..ids.len())?;
            let first = reader.first_row(index) as i64;
            let rows = 0..ids.len() as i64;
            let count = |values: Vec<u64>| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(values.into_iter().map(|it| it as i64)))
            };
            let tokens = block.lengths()?.into_iter().map(u64::from).collect();
            let repeated = |text: &str| -> ArrayRef {
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, ids.len())))
            };
            let hashes = facts.iter().map(|one| one.text.map(|hash| hash.to_string()));
            let verdicts = facts.iter().map(|one| one.verdict.as_deref());
            let columns: Vec<(&str, ArrayRef)> = vec![
                ("source", repeated(&entry.facts.source)),
                ("tokens", count(tokens)),
                ("bytes", count(block.text_bytes()?)),
                ("held_out", Arc::new(BooleanArray::new(held_out, None))),
                ("text_hash", Arc::new(StringArray::from_iter(hashes))),
                ("held_out_verdict", Arc::new(StringArray::from_iter(verdicts))),
                (
                    "held_out_twin",
                    Arc::new(BooleanArray::from_iter(facts.iter().map(|it| it.twin))),
                ),
                ("file", repeated(&name)),
                ("row", Arc::new(Int64Array::from_iter_values(rows.map(|row| first + row)))),
            ];
            let columns = [("document", Arc::new(ids) as ArrayRef)].into_iter().chain(columns);
            batches.push(
                RecordBatch::try_from_iter_with_nullable(
                    columns.map(|(name, column)| (name, column, true)),
                )
                .map_err(bug)?,
            );
        }
    }
    Ok(batches)
}

fn of_validation(path: &Path) -> Result<RecordBatch> {
    let sources = read_validation(path)?;
    let all = || sources.iter().flat_map(|it| it.documents.iter().map(|one| (&it.name, one)));
    let count = |of: fn(&crate::shards::ValidationDocument) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(all().map(|(_, one)| of(one) as i64)))
    };
    let hashes = all().map(|(_, one)| one.known.text.map(|hash| hash.to_string()));
    let verdicts = all().map(|(_, one)| one.known.verdict.as_deref());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("source", Arc::new(StringArray::from_iter_values(all().map(|(name, _)| name)))),
        ("document", Arc::new(StringArray::from_iter_values(all().map(|(_, one)| &one.id)))),
        ("tokens", count(|one| one.tokens.len() as u64)),
        ("bytes", count(|one| one.bytes)),
        ("text_hash", Arc::new(StringArray::from_iter(hashes))),
        ("held_out_verdict", Arc::new(StringArray::from_iter(verdicts))),
        ("held_out_twin", Arc::new(BooleanArray::from_iter(all().map(|(_, one)| one.known.twin)))),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .map_err(bug)
}
