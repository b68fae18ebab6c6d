//! Row groups → tasks: the producer reads their bytes, hashed as they pass, a worker decodes them.
//!
//! Of a local file whole row groups are read ([`SpanReader`]), of a remote one the chunks of the
//! columns that are asked for ([`ChunkFetcher`]). A row group over [`GROUP_TEXT_BYTES_MAX`] of text
//! is decoded here batch by batch; workers get its batches to check and cast. Tasks are cut by the
//! footer alone, so they are the same wherever the file lies.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

use super::super::table::{Decoder, Leading};
use super::bytes::{Ends, Window};
use super::here::SpanReader;
use super::probe::{self, chunk_span, leaves, span};
use super::schema::{footer, footer_as_bytes};
use super::there::ChunkFetcher;
use super::{GROUP_TEXT_BYTES_MAX, TASK_TEXT_BYTES, refused};
use crate::artifact::record::Extent;
use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::source::formats::{
    BATCH_DOCUMENTS, BlockSize, Layout, Request, TASK_TEXT_BYTES_MAX, Task, Tasks,
};

/// The row groups of one slice of a file.
pub(super) struct GroupTasks {
    path: PathBuf,
    bytes: Origin,
    footer: ArrowReaderMetadata,
    mask: ProjectionMask,
    decoder: Arc<Decoder>,
    runs: VecDeque<Run>,
    /// The large row group being decoded, and the file's rows that are still to come of it.
    large: Option<(ParquetRecordBatchReader, Range<u64>)>,
}

/// Where row groups are read.
enum Origin {
    Here(SpanReader),
    There(ChunkFetcher),
}

/// Row groups that make one task.
struct Run {
    groups: Range<usize>,
    size: BlockSize,
    first_row: u64,
    /// How many of its rows are read.
    rows: u64,
    /// Where they lie in the file.
    span: Range<u64>,
}

impl Run {
    fn is_large(&self) -> bool {
        self.size.text_bytes > GROUP_TEXT_BYTES_MAX
    }
}

impl GroupTasks {
    pub(super) fn open(request: &Request<'_>) -> Result<GroupTasks> {
        let path = request.file.path();
        let ends = Ends::of(request.file)?;
        let declared = footer(&ends, path)?;
        let fields = declared.schema().fields();
        let leading = Leading::of(fields, path, request.ask)?;
        let footer = footer_as_bytes(&ends, path, &leading)?;
        let decoder = Decoder::new(request, fields, &leading);
        let schema = footer.parquet_schema();
        let leaves = decoder.projection().flat_map(|(root, inner)| leaves(schema, root, &inner));
        let mask = ProjectionMask::leaves(schema, leaves);
        let (Layout::Blocks(blocks), Extent::RowGroups(extent)) =
            (&request.probe.layout, &request.slice.extent)
        else {
            unreachable!("a Parquet file is cut into row groups, not {:?}", request.slice)
        };
        if probe::blocks(&footer, path, request.bytes, &leading.text)? != *blocks {
            let message = "its footer changed since the plan was made";
            return Err(Error::damaged(path, None, message));
        }
        let mut runs = runs(&footer, path, request.bytes, blocks, extent.clone())?;
        limit(&mut runs, request.slice.records_max.unwrap_or(u64::MAX));
        let bytes = match request.file.here() {
            Some(path) => Origin::Here(SpanReader::open(path.to_owned(), request.bytes)?),
            None => {
                let small = runs.iter().filter(|run| !run.is_large());
                let small = small.map(|run| chunks(&footer, &mask, &run.groups)).collect();
                Origin::There(ChunkFetcher::new(request.file, request.bytes, small))
            }
        };
        Ok(GroupTasks {
            path: path.to_owned(),
            bytes,
            footer,
            mask,
            decoder: Arc::new(decoder),
            runs,
            large: None,
        })
    }

    fn next_task(&mut self) -> Result<Option<Task>> {
        loop {
            if let Some((reader, rows)) = &mut self.large {
                if let Some(batch) = next_batch(reader, &self.path) {
                    let batch = batch?;
                    let first = rows.start;
                    rows.start += batch.num_rows() as u64;
                    let decoder = self.decoder.clone();
                    return Ok(Some(Box::new(move || decoder.decode(&batch, first))));
                }
                check_rows(&self.path, rows.start, rows.end)?;
                self.large = None;
            }
            let Some(run) = self.runs.pop_front() else { return Ok(None) };
            if !run.is_large() {
                return Ok(Some(self.small(run)?));
            }
            let rows = batch_rows(run.size);
            let reader = match &mut self.bytes {
                Origin::Here(bytes) => {
                    let file = bytes.pass(run.span.clone())?;
                    self.reader(file, &run, rows)?
                }
                Origin::There(bytes) => {
                    let chunks = bytes.large(chunks(&self.footer, &self.mask, &run.groups));
                    self.reader(chunks, &run, rows)?
                }
            };
            self.large = Some((reader, run.first_row..run.first_row + run.rows));
        }
    }

    /// A task that decodes row groups from memory.
    fn small(&mut self, run: Run) -> Result<Task> {
        let window = match &mut self.bytes {
            Origin::Here(bytes) => {
                let part = bytes.take(run.span.clone())?;
                Window::new(run.span.end, vec![(run.span.start, part.into())])
            }
            Origin::There(bytes) => bytes.take()?,
        };
        let (path, decoder) = (self.path.clone(), self.decoder.clone());
        let mut reader = self.reader(window, &run, BATCH_DOCUMENTS)?;
        Ok(Box::new(move || {
            let mut decoded = Vec::new();
            let mut row = run.first_row;
            while let Some(batch) = next_batch(&mut reader, &path) {
                let batch = batch?;
                decoded.append(&mut decoder.decode(&batch, row)?);
                row += batch.num_rows() as u64;
            }
            check_rows(&path, row, run.first_row + run.rows)?;
            Ok(decoded)
        }))
    }

    fn reader<R: ChunkReader + 'static>(
        &self,
        input: R,
        run: &Run,
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.footer.clone())
            .with_row_groups(run.groups.clone().collect())
            .with_projection(self.mask.clone())
            .with_batch_size(batch_rows)
            .with_limit(run.rows as usize)
            .build()
            .map_err(|error| refused(&self.path, error))
    }
}

impl Iterator for GroupTasks {
    type Item = Result<Task>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_task().transpose()
    }
}

impl Tasks for GroupTasks {
    fn ranges(&mut self) -> Vec<(Range<u64>, Fingerprint)> {
        match &mut self.bytes {
            Origin::Here(bytes) => bytes.read.take(),
            Origin::There(bytes) => bytes.ranges(),
        }
    }
}

/// The next batch. A page without a checksum may hold anything, and on some of it (levels that end
/// before their page does) the crate `parquet` panics, as on a mistake of its own. Here that is
/// damage like any other.
fn next_batch(reader: &mut ParquetRecordBatchReader, path: &Path) -> Option<Result<RecordBatch>> {
    match catch_unwind(AssertUnwindSafe(|| reader.next())) {
        Ok(batch) => batch.map(|batch| batch.map_err(|error| failed(path, error))),
        Err(_) => {
            let message = "the decoder of Parquet gave up on one of its pages";
            Some(Err(Error::damaged(path, None, message)))
        }
    }
}

/// What an [`ArrowError`] means: a place's own error comes through as it is, all else is damage.
fn failed(path: &Path, error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast::<ParquetError>() {
            Ok(error) => refused(path, *error),
            Err(error) => Error::damaged(path, None, error),
        },
        error => Error::damaged(path, None, error),
    }
}

/// Rows of a large row group that hold an eighth of a task's text on average, since documents
/// next to each other differ in length.
fn batch_rows(size: BlockSize) -> usize {
    let average = (size.text_bytes / size.records.max(1)).max(1);
    (TASK_TEXT_BYTES_MAX / 8 / average).clamp(1, BATCH_DOCUMENTS as u64) as usize
}

/// Fails unless the rows that came end where the footer says.
fn check_rows(path: &Path, found: u64, promised: u64) -> Result<()> {
    match found == promised {
        true => Ok(()),
        false => {
            let message = format!("its footer promises rows up to {promised}, found {found}");
            Err(Error::damaged(path, None, message))
        }
    }
}

/// Puts neighbouring small row groups together.
fn runs(
    footer: &ArrowReaderMetadata,
    path: &Path,
    file_bytes: u64,
    blocks: &[BlockSize],
    extent: Range<usize>,
) -> Result<VecDeque<Run>> {
    let mut runs: VecDeque<Run> = VecDeque::new();
    let mut first_row = blocks[..extent.start].iter().map(|block| block.records).sum();
    for index in extent {
        let block = blocks[index];
        let (start, end) = span(footer.metadata().row_group(index), file_bytes, path)?;
        let fits = |run: &&mut Run| {
            run.size.text_bytes + block.text_bytes <= TASK_TEXT_BYTES
                && run.size.records + block.records <= BATCH_DOCUMENTS as u64
                && run.span.end <= start
        };
        match runs.back_mut().filter(fits) {
            Some(run) => {
                run.groups.end = index + 1;
                run.size.records += block.records;
                run.size.text_bytes += block.text_bytes;
                run.span.end = end;
            }
            None => runs.push_back(Run {
                groups: index..index + 1,
                size: block,
                first_row,
                rows: 0,
                span: start..end,
            }),
        }
        first_row += block.records;
    }
    Ok(runs)
}

/// Hands `rows_max` rows out to the runs, and takes away those that get none.
fn limit(runs: &mut VecDeque<Run>, mut rows_max: u64) {
    for run in runs.iter_mut() {
        run.rows = run.size.records.min(rows_max);
        rows_max -= run.rows;
    }
    runs.retain(|run| run.rows > 0);
}

/// Where the columns that are read lie in some row groups.
fn chunks(
    footer: &ArrowReaderMetadata,
    mask: &ProjectionMask,
    groups: &Range<usize>,
) -> Vec<Range<u64>> {
    let groups = groups.clone().map(|group| footer.metadata().row_group(group));
    let columns = groups.flat_map(|group| group.columns().iter().enumerate());
    let read = columns.filter(|(leaf, _)| mask.leaf_included(*leaf));
    let spans = read.filter_map(|(_, column)| chunk_span(column));
    let mut chunks: Vec<Range<u64>> = spans.map(|(start, end)| start..end).collect();
    chunks.sort_by_key(|chunk| chunk.start);
    chunks
}
