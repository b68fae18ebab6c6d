//! A Parquet file's footer → its columns and row groups, and whether this build can read them.
//!
//! In → a path and the names of text and id; out → [`Probe`]. Reads the footer only. Sizes in the
//! footer are checked against the file before anything trusts them, since a damaged footer may
//! name any offset.

use std::path::Path;

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::SchemaDescriptor;

use super::super::table::{Leading, Place};
use super::bytes::Ends;
use super::schema::{check_width, footer};
use crate::base::error::{Error, Result};
use crate::source::formats::{Ask, Beginning, BlockSize, Layout, Probe};
use crate::store::Stored;

/// Reads the footer of `file` and checks it against what is asked.
pub(super) fn probe(file: &Stored, ask: &Ask) -> Result<Probe> {
    let path = file.path();
    let footer = footer(&Ends::of(file)?, path)?;
    check_width(&footer, path)?;
    let file_bytes = file.size()?;
    let fields = footer.schema().fields();
    let leading = Leading::of(fields, path, ask)?;
    check_codecs(footer.metadata(), path)?;
    let blocks = blocks(&footer, path, file_bytes, &leading.text)?;
    let (columns, notices) = leading.others(fields, ask);
    Ok(Probe {
        columns,
        records: Some(blocks.iter().map(|block| block.records).sum()),
        layout: Layout::Blocks(blocks),
        beginning: Beginning::Document,
        notices,
        held_bytes: 0,
    })
}

/// The sizes of the row groups; each must lie inside the file.
pub(super) fn blocks(
    footer: &ArrowReaderMetadata,
    path: &Path,
    file_bytes: u64,
    text: &Place,
) -> Result<Vec<BlockSize>> {
    let text_leaves = leaves(footer.parquet_schema(), text.root, &[text.inner.as_slice()]);
    let mut blocks = Vec::with_capacity(footer.metadata().num_row_groups());
    for group in footer.metadata().row_groups() {
        span(group, file_bytes, path)?;
        let text_bytes: i64 =
            text_leaves.iter().map(|leaf| group.column(*leaf).uncompressed_size()).sum();
        let records = u64::try_from(group.num_rows());
        let records = records.map_err(|_| Error::damaged(path, None, "a negative row count"))?;
        blocks.push(BlockSize { records, text_bytes: text_bytes.max(0) as u64 });
    }
    Ok(blocks)
}

/// The leaves of column `root`, or those below the fields inside it.
pub(super) fn leaves(schema: &SchemaDescriptor, root: usize, inner: &[&[String]]) -> Vec<usize> {
    let is_below = |leaf: &usize| {
        let column = schema.column(*leaf);
        let below = &column.path().parts()[1..];
        schema.get_column_root_idx(*leaf) == root
            && (inner.is_empty() || inner.iter().any(|inner| below.starts_with(inner)))
    };
    (0..schema.num_columns()).filter(is_below).collect()
}

/// A codec that this build lacks is refused before any work, by its name.
fn check_codecs(metadata: &ParquetMetaData, path: &Path) -> Result<()> {
    for group in metadata.row_groups() {
        for column in group.columns() {
            if matches!(column.compression(), Compression::LZO) {
                let name = format!("{:?}", column.compression_codec());
                let message = format!(
                    "`{}` is compressed with {name}, which is not supported",
                    path.display()
                );
                return Err(Error::config(message)
                    .with_hint("write it again with zstd, snappy, gzip, brotli or lz4"));
            }
        }
    }
    Ok(())
}

/// The bytes of the file that a row group takes up: `start..end`.
pub(super) fn span(group: &RowGroupMetaData, file_bytes: u64, path: &Path) -> Result<(u64, u64)> {
    let mut span = (u64::MAX, 0);
    for column in group.columns() {
        let (start, end) =
            chunk_span(column).filter(|(_, end)| *end <= file_bytes).ok_or_else(|| {
                let name = column.column_path().string();
                Error::damaged(path, None, format!("column `{name}` lies outside the file"))
            })?;
        span = (span.0.min(start), span.1.max(end));
    }
    Ok((span.0.min(span.1), span.1))
}

/// The bytes of the file that a column's chunk takes up: `start..end`.
pub(super) fn chunk_span(column: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let start = u64::try_from(start).ok()?;
    let length = u64::try_from(column.compressed_size()).ok()?;
    Some((start, start.checked_add(length)?))
}
