//! Row groups → tasks: one contiguous read each, hashed as it passes, decoded by a worker.
//!
//! The producer reads the bytes of whole row groups (all columns: they are part of what `verify`
//! re-reads, and neighbours on the disk), so a file is read once, in order. A row group over
//! [`GROUP_TEXT_BYTES_MAX`] of text is hashed in passing, then decoded here batch by batch from
//! the page cache; workers get its batches to check and cast.

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::super::table::{Decoder, Leading};
use super::probe::{self, leaves, span};
use super::schema::{footer, footer_as_bytes};
use super::{GROUP_TEXT_BYTES_MAX, TASK_TEXT_BYTES, refused};
use crate::artifact::{planned::size_differs, record::Extent};
use crate::base::error::{Error, Result};
use crate::base::hash::{Fingerprint, Hasher};
use crate::base::io;
use crate::source::formats::{
    BATCH_DOCUMENTS, BlockSize, Layout, Request, TASK_TEXT_BYTES_MAX, Task, Tasks,
};
use std::fs::File;

/// The row groups of one slice of a file.
pub(super) struct GroupTasks {
    bytes: SpanReader,
    footer: ArrowReaderMetadata,
    mask: ProjectionMask,
    decoder: Arc<Decoder>,
    runs: VecDeque<Run>,
    /// Rows that may still be read.
    rows_left: u64,
    /// The large row group being decoded, and the file's rows that are still to come of it.
    large: Option<(ParquetRecordBatchReader, Range<u64>)>,
}

/// Row groups that make one task.
struct Run {
    groups: Range<usize>,
    size: BlockSize,
    first_row: u64,
    /// Where they lie in the file.
    span: Range<u64>,
}

impl GroupTasks {
    pub(super) fn open(request: &Request<'_>) -> Result<GroupTasks> {
        let path = request.path;
        let file = io::open(path)?;
        let declared = footer(&file, path)?;
        let fields = declared.schema().fields();
        let leading = Leading::of(fields, path, request.ask)?;
        let footer = footer_as_bytes(&file, path, &leading)?;
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
        let runs = runs(&footer, path, request.bytes, blocks, extent.clone())?;
        let (path, file_bytes) = (path.to_owned(), request.bytes);
        Ok(GroupTasks {
            bytes: SpanReader { file, path, file_bytes, current: None, done: Vec::new() },
            footer,
            mask,
            decoder: Arc::new(decoder),
            runs,
            rows_left: request.slice.records_max.unwrap_or(u64::MAX),
            large: None,
        })
    }

    fn next_task(&mut self) -> Result<Option<Task>> {
        loop {
            if let Some((reader, rows)) = &mut self.large {
                if let Some(batch) = next_batch(reader, &self.bytes.path) {
                    let batch = batch?;
                    let first = rows.start;
                    rows.start += batch.num_rows() as u64;
                    let decoder = self.decoder.clone();
                    return Ok(Some(Box::new(move || decoder.decode(&batch, first))));
                }
                check_rows(&self.bytes.path, rows.start, rows.end)?;
                self.large = None;
            }
            let Some(run) = self.runs.pop_front() else { return Ok(None) };
            let rows = run.size.records.min(self.rows_left);
            self.rows_left -= rows;
            if rows == 0 {
                continue;
            }
            if run.size.text_bytes > GROUP_TEXT_BYTES_MAX {
                self.bytes.pass(run.span.clone())?;
                let file = io::open(&self.bytes.path)?;
                let batch_rows = batch_rows(run.size);
                let reader = self.reader(file, &run, rows, batch_rows)?;
                self.large = Some((reader, run.first_row..run.first_row + rows));
                continue;
            }
            return Ok(Some(self.small(run, rows)?));
        }
    }

    /// A task that decodes row groups from memory.
    fn small(&mut self, run: Run, rows: u64) -> Result<Task> {
        let bytes = Bytes::from(self.bytes.take(run.span.clone())?);
        let window = Window { start: run.span.start, bytes };
        let (path, decoder) = (self.bytes.path.clone(), self.decoder.clone());
        let mut reader = self.reader(window, &run, rows, BATCH_DOCUMENTS)?;
        Ok(Box::new(move || {
            let mut decoded = Vec::new();
            let mut row = run.first_row;
            while let Some(batch) = next_batch(&mut reader, &path) {
                let batch = batch?;
                decoded.append(&mut decoder.decode(&batch, row)?);
                row += batch.num_rows() as u64;
            }
            check_rows(&path, row, run.first_row + rows)?;
            Ok(decoded)
        }))
    }

    fn reader<R: ChunkReader + 'static>(
        &self,
        input: R,
        run: &Run,
        rows: u64,
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.footer.clone())
            .with_row_groups(run.groups.clone().collect())
            .with_projection(self.mask.clone())
            .with_batch_size(batch_rows)
            .with_limit(rows as usize)
            .build()
            .map_err(|error| refused(&self.bytes.path, error))
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
        self.bytes.finish();
        std::mem::take(&mut self.bytes.done)
    }
}

/// The next batch. In a page without a checksum anything may stand, and some of it (levels that end
/// before their page does) the crate `parquet` takes for a mistake of its own: it panics. Here that
/// is damage, as every other nonsense in a file.
fn next_batch(reader: &mut ParquetRecordBatchReader, path: &Path) -> Option<Result<RecordBatch>> {
    match catch_unwind(AssertUnwindSafe(|| reader.next())) {
        Ok(batch) => batch.map(|batch| batch.map_err(|error| Error::damaged(path, None, error))),
        Err(_) => {
            let message = "the decoder of Parquet gave up on one of its pages";
            Some(Err(Error::damaged(path, None, message)))
        }
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
                span: start..end,
            }),
        }
        first_row += block.records;
    }
    Ok(runs)
}

/// Reads parts of a file and keeps a hash over each stretch without gaps.
struct SpanReader {
    file: File,
    path: PathBuf,
    /// Size of the file when it was planned.
    file_bytes: u64,
    current: Option<(Range<u64>, Hasher)>,
    done: Vec<(Range<u64>, Fingerprint)>,
}

impl SpanReader {
    /// The bytes of `span`.
    fn take(&mut self, span: Range<u64>) -> Result<Vec<u8>> {
        let wanted = span.end - span.start;
        let mut bytes = Vec::with_capacity(wanted as usize);
        self.seek(&span)?;
        let file = &mut self.file;
        file.take(wanted).read_to_end(&mut bytes).map_err(Error::io("read", &self.path))?;
        self.hash(&bytes);
        self.check(span)?;
        Ok(bytes)
    }

    /// Hashes `span` without holding it.
    fn pass(&mut self, span: Range<u64>) -> Result<()> {
        self.seek(&span)?;
        let mut buffer = vec![0; 1 << 20];
        let mut left = span.end - span.start;
        while left > 0 {
            let piece = left.min(buffer.len() as u64) as usize;
            let read = self.file.read(&mut buffer[..piece]);
            let read = read.map_err(Error::io("read", &self.path))?;
            if read == 0 {
                break;
            }
            self.hash(&buffer[..read]);
            left -= read as u64;
        }
        self.check(span)
    }

    fn seek(&mut self, span: &Range<u64>) -> Result<()> {
        if self.current.as_ref().is_none_or(|(range, _)| range.end != span.start) {
            self.finish();
            self.current = Some((span.start..span.start, Hasher::new()));
            let place = SeekFrom::Start(span.start);
            self.file.seek(place).map_err(Error::io("read", &self.path))?;
        }
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) {
        let (range, hasher) = self.current.as_mut().expect("`seek` was called before");
        hasher.update(bytes);
        range.end += bytes.len() as u64;
    }

    fn check(&self, span: Range<u64>) -> Result<()> {
        let end = self.current.as_ref().map_or(0, |(range, _)| range.end);
        if end == span.end {
            return Ok(());
        }
        Err(size_differs(&self.path, self.file_bytes, Some(end)))
    }

    fn finish(&mut self) {
        if let Some((range, hasher)) = self.current.take()
            && !range.is_empty()
        {
            self.done.push((range, hasher.finish()));
        }
    }
}

/// A part of a file in memory, under the file's own offsets.
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Window {
    fn at(&self, start: u64) -> Result<Bytes, ParquetError> {
        let inside = start.checked_sub(self.start).filter(|at| *at <= self.bytes.len() as u64);
        match inside {
            Some(at) => Ok(self.bytes.slice(at as usize..)),
            None => Err(ParquetError::EOF(format!("offset {start} lies outside the row group"))),
        }
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.at(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = self.at(start)?;
        if length > bytes.len() {
            let message = format!("expected {length} bytes at {start}, found {}", bytes.len());
            return Err(ParquetError::EOF(message));
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}
