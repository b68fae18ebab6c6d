//! Columns of our Parquet files, by name.
//!
//! In → a file and the names of its columns; out → record batches, and cells with their errors. A
//! column that is missing or of another type is damage: these files are our own.

use std::path::Path;

use arrow::array::{Array, AsArray, StringArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::base::error::{Error, Result};
use crate::base::io;

/// Rows of a batch: few, since their texts are held in memory.
const BATCH_ROWS: usize = 1024;

/// The batches of a file, of these columns where it has them.
///
/// # Errors
/// Damaged: no Parquet.
pub fn open<'a>(
    path: &'a Path,
    names: &[&str],
) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<'a>> {
    let damaged = |error: &dyn std::fmt::Display| Error::damaged_artifact(path, None, error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(io::open(path)?);
    let builder = builder.map_err(|error| damaged(&error))?;
    let fields = builder.schema().fields().iter().enumerate();
    let wanted = fields.filter(|(_, field)| names.contains(&field.name().as_str()));
    let roots: Vec<usize> = wanted.map(|(at, _)| at).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
    let reader = reader.map_err(|error| damaged(&error))?;
    Ok(reader.map(move |batch| batch.map_err(|error| Error::damaged_artifact(path, None, error))))
}

/// A batch and the file that it is from.
pub struct Rows<'a> {
    pub batch: &'a RecordBatch,
    pub path: &'a Path,
}

/// A column of text.
pub struct Texts<'a>(&'a StringArray);

impl<'a> Texts<'a> {
    /// The text of a row; `None` where it is null.
    pub fn at(&self, row: usize) -> Option<&'a str> {
        self.0.is_valid(row).then(|| self.0.value(row))
    }
}

impl<'a> Rows<'a> {
    /// A column of text.
    ///
    /// # Errors
    /// Damaged: there is none of that name.
    pub fn text(&self, name: &str) -> Result<Texts<'a>> {
        let column = self.batch.column_by_name(name).and_then(|it| it.as_string_opt::<i32>());
        let missing = || {
            Error::damaged_artifact(self.path, None, format!("it has no column `{name}` of text"))
        };
        column.map(Texts).ok_or_else(missing)
    }
}
