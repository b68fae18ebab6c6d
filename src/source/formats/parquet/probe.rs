//! A Parquet file's footer → its columns and row groups, and whether this build can read them.
//!
//! In → a path and the names of text and id; out → [`Probe`]. Reads the footer only. Sizes in the
//! footer are checked against the file before anything trusts them, since a damaged footer may
//! name any offset.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Field;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::bytes::Ends;
use super::schema::{check_width, column_list, footer, is_id, is_text};
use crate::base::config::nearest;
use crate::base::error::{Error, Result};
use crate::source::formats::{Ask, Beginning, BlockSize, Layout, Probe};
use crate::store::Stored;

/// Reads the footer of `file` and checks it against what is asked.
pub(super) fn probe(file: &Stored, ask: &Ask) -> Result<Probe> {
    let path = file.path();
    let footer = footer(&Ends::of(file)?, path)?;
    check_width(&footer, path)?;
    let file_bytes = file.size()?;
    let text = text_column(&footer, path, ask)?;
    let id = id_column(&footer, path, ask)?;
    check_codecs(footer.metadata(), path)?;
    let blocks = blocks(&footer, path, file_bytes, text)?;
    let fields = footer.schema().fields();
    let mut notices = Vec::new();
    if let (None, Some((_, field))) = (id, fields.find(ask.id_name())) {
        let (name, kind) = (field.name(), field.data_type());
        notices.push(format!(
            "column `{name}` holds {kind}, which is no id: ids are hashes of the texts, and it is \
             kept as `{name}_original`"
        ));
    }
    let taken: Vec<&str> =
        [Some(text), id].into_iter().flatten().map(|index| fields[index].name().as_str()).collect();
    let is_other = |(index, _): &(usize, &Arc<Field>)| *index != text && Some(*index) != id;
    let others = fields.iter().enumerate().filter(is_other);
    let (others, twins): (Vec<_>, Vec<_>) =
        others.partition(|(_, field)| !taken.contains(&field.name().as_str()));
    notices.extend(twins.iter().map(|(_, field)| {
        format!("there are two columns `{}`: the first is read, the other left out", field.name())
    }));
    Ok(Probe {
        columns: others
            .into_iter()
            .map(|(_, field)| (field.name().clone(), field.data_type().clone()))
            .collect(),
        records: Some(blocks.iter().map(|block| block.records).sum()),
        layout: Layout::Blocks(blocks),
        beginning: Beginning::Document,
        notices,
    })
}

/// The sizes of the row groups; each must lie inside the file.
pub(super) fn blocks(
    footer: &ArrowReaderMetadata,
    path: &Path,
    file_bytes: u64,
    text: usize,
) -> Result<Vec<BlockSize>> {
    let schema = footer.parquet_schema();
    let is_text = |leaf: &usize| schema.get_column_root_idx(*leaf) == text;
    let text_leaves: Vec<usize> = (0..schema.num_columns()).filter(is_text).collect();
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

/// The index of the text column.
pub(super) fn text_column(footer: &ArrowReaderMetadata, path: &Path, ask: &Ask) -> Result<usize> {
    let fields = footer.schema().fields();
    let wanted = &ask.text_column;
    let Some((index, field)) = fields.find(wanted) else {
        return Err(missing(path, "text", wanted, fields, "--text-column"));
    };
    if is_text(field.data_type()) {
        return Ok(index);
    }
    let message = format!(
        "column `{wanted}` of `{}` holds {}, not text: its columns are {}",
        path.display(),
        field.data_type(),
        column_list(fields)
    );
    Err(Error::config(message).with_hint("name the column that holds the text: `--text-column`"))
}

/// The index of the id column, if the file has one.
pub(super) fn id_column(
    footer: &ArrowReaderMetadata,
    path: &Path,
    ask: &Ask,
) -> Result<Option<usize>> {
    let fields = footer.schema().fields();
    match (fields.find(ask.id_name()), &ask.id_column) {
        (Some((index, field)), _) if is_id(field.data_type()) => Ok(Some(index)),
        // Nobody asked for it: it steps aside, and `probe` says so.
        (Some(_), None) => Ok(None),
        (Some((_, field)), Some(_)) => Err(Error::config(format!(
            "column `{}` of `{}` holds {}, which is no id",
            field.name(),
            path.display(),
            field.data_type()
        ))
        .with_hint(
            "name a column of strings or integers, or leave `--id-column` out: ids are then hashes \
             of the texts",
        )),
        (None, Some(wanted)) => Err(missing(path, "id", wanted, fields, "--id-column")),
        (None, None) => Ok(None),
    }
}

fn missing(path: &Path, what: &str, wanted: &str, fields: &[Arc<Field>], flag: &str) -> Error {
    let columns = column_list(fields);
    let message =
        format!("`{}` has no {what} column `{wanted}`: its columns are {columns}", path.display());
    let near = nearest(wanted, fields.iter().map(|field| field.name().as_str()));
    Error::config(message).with_hint(match near {
        Some(near) => format!("did you mean `{flag} {near}`?"),
        None => format!("name the column: `{flag} NAME`"),
    })
}

/// A codec that this build lacks is refused before any work, by its name.
fn check_codecs(metadata: &ParquetMetaData, path: &Path) -> Result<()> {
    for group in metadata.row_groups() {
        for column in group.columns() {
            if matches!(column.compression(), Compression::BROTLI(_) | Compression::LZO) {
                let name = format!("{:?}", column.compression_codec());
                let message = format!(
                    "`{}` is compressed with {name}, which is not supported",
                    path.display()
                );
                return Err(Error::config(message)
                    .with_hint("write it again with zstd, snappy, gzip or lz4"));
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
