//! Parquet as a corpus holds it: zstd, row groups of 8k documents or 32 MiB, page index.
//!
//! In → record batches; out → one file whose bytes depend on the rows alone: not on how they are
//! split into batches, no clock, no version of this tool, no thread count. 8k documents keep a row
//! group small enough to work on rows in parallel and large enough to compress. Memory: one row
//! group, encoded, and 1,024 rows. Cost: zstd level 3, about 200 MB/s of text on one core.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::base::error::{Error, Result};
use crate::base::io;
use crate::source::schema::LEADING;
use std::fs::File;

/// Documents in a row group at most (docs/design.md, section 4.3).
const GROUP_ROWS: usize = 8192;
/// Bytes of strings that close a row group.
const GROUP_BYTES: usize = 32 << 20;
/// Rows that the encoder gets at once, counted from the row group's first: pages end only where
/// these end. The encoder's own default.
const CHUNK_ROWS: usize = 1024;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// Writes Parquet of any schema.
pub struct ParquetSink {
    path: PathBuf,
    writer: ArrowWriter<BufWriter<File>>,
    rows: u64,
    /// Rows, and bytes of strings, in the open row group.
    group_rows: usize,
    group_bytes: usize,
    /// Rows of the chunk that is not full yet.
    chunk: Vec<RecordBatch>,
}

impl ParquetSink {
    /// Creates `path`, or empties it.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<ParquetSink> {
        let writer = ArrowWriter::try_new(io::create(path)?, schema, Some(properties()));
        let writer = writer.map_err(|error| refused(path, error))?;
        let (path, chunk) = (path.to_owned(), Vec::new());
        Ok(ParquetSink { path, writer, rows: 0, group_rows: 0, group_bytes: 0, chunk })
    }

    /// Appends a batch of the sink's schema; row groups and pages end at the same rows however the
    /// rows are split into batches.
    pub fn write(&mut self, records: &RecordBatch) -> Result<()> {
        let sizes = row_bytes(records);
        let mut start = 0;
        while start < records.num_rows() {
            let mut end = start;
            while end < records.num_rows() && (end == start || !self.ends_chunk()) {
                self.group_rows += 1;
                self.group_bytes += sizes(end);
                end += 1;
            }
            self.chunk.push(records.slice(start, end - start));
            if self.ends_chunk() {
                self.write_chunk()?;
            }
            if self.is_full() {
                self.writer.flush().map_err(|error| refused(&self.path, error))?;
                (self.group_rows, self.group_bytes) = (0, 0);
            }
            start = end;
        }
        self.rows += records.num_rows() as u64;
        Ok(())
    }

    /// Hands the rows that wait to the encoder.
    fn write_chunk(&mut self) -> Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        let rows = match chunk.as_slice() {
            [] => return Ok(()),
            [rows] => rows.clone(),
            [first, ..] => concat_batches(first.schema_ref(), &chunk)
                .map_err(|error| refused(&self.path, error.into()))?,
        };
        self.writer.write(&rows).map_err(|error| refused(&self.path, error))
    }

    fn ends_chunk(&self) -> bool {
        self.group_rows.is_multiple_of(CHUNK_ROWS) || self.is_full()
    }

    fn is_full(&self) -> bool {
        self.group_rows >= GROUP_ROWS || self.group_bytes >= GROUP_BYTES
    }

    /// Writes the footer; returns the rows written.
    pub fn finish(mut self) -> Result<u64> {
        self.write_chunk()?;
        let path = self.path;
        let output = self.writer.into_inner().map_err(|error| refused(&path, error))?;
        output.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
        Ok(self.rows)
    }
}

/// Writes a corpus's part: a [`ParquetSink`] whose schema begins with the four leading columns.
pub struct CorpusWriter(ParquetSink);

impl CorpusWriter {
    /// Creates `path` for documents of `schema` (see `Inputs::schema`).
    pub fn create(path: &Path, schema: SchemaRef) -> Result<CorpusWriter> {
        let leading: Vec<&String> =
            schema.fields().iter().take(4).map(|field| field.name()).collect();
        assert_eq!(leading, LEADING, "a corpus begins with its leading columns");
        ParquetSink::create(path, schema).map(CorpusWriter)
    }

    /// Appends documents (those to keep: masks are applied before).
    pub fn write(&mut self, records: &RecordBatch) -> Result<()> {
        self.0.write(records)
    }

    /// Writes the footer; returns the documents written.
    pub fn finish(self) -> Result<u64> {
        self.0.finish()
    }
}

/// Bytes of strings in each row, which decide where row groups end.
fn row_bytes(records: &RecordBatch) -> impl Fn(usize) -> usize {
    let strings = records.columns().iter().filter(|column| column.data_type() == &DataType::Utf8);
    let offsets: Vec<_> =
        strings.map(|column| column.as_string::<i32>().offsets().clone()).collect();
    move |row| offsets.iter().map(|offsets| (offsets[row + 1] - offsets[row]) as usize).sum()
}

fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("a level that zstd has");
    let text = ColumnPath::from("text");
    WriterProperties::builder()
        .set_created_by("dataprep".to_owned())
        .set_compression(Compression::ZSTD(level))
        // Row groups are closed by `write`.
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Page)
        // Nobody looks for a text by its smallest value, and no two texts are alike.
        .set_column_statistics_enabled(text.clone(), EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(text, false)
        .build()
}

fn refused(path: &Path, error: parquet::errors::ParquetError) -> Error {
    match error {
        parquet::errors::ParquetError::External(inner) => {
            match inner.downcast::<std::io::Error>() {
                Ok(error) => Error::io("write", path)(*error),
                Err(other) => Error::failed(format!("cannot write `{}`: {other}", path.display())),
            }
        }
        other => Error::failed(format!("cannot write `{}`: {other}", path.display())),
    }
}
