//! Which columns of a Parquet file are strings, and a schema that reads them as bytes.
//!
//! In → the footer; out → a footer whose top-level string columns are plain BYTE_ARRAYs, so that
//! UTF-8 is checked row by row by `decode`. The text itself comes with 64-bit offsets: one batch
//! may hold more than 2 GiB when documents are huge.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type as Physical;
use parquet::file::metadata::ParquetStatisticsPolicy;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::bytes::Ends;
use super::refused;
use crate::base::error::{Error, Result};

/// Whether values of this type can be a document's text.
pub(super) fn is_text(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | Null => true,
        Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Whether values of this type can be a document's id: strings and integers, which read the same
/// everywhere. A float's digits, the bytes of a UUID, a list or a struct do not.
pub(super) fn is_id(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_id(values),
        other => is_string(other) || other.is_integer() || *other == DataType::Null,
    }
}

/// Whether this type's values are promised to be UTF-8.
pub(super) fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_string(values),
        _ => false,
    }
}

/// The footer, without the statistics that nothing here asks for.
pub(super) fn footer(file: &Ends, path: &Path) -> Result<ArrowReaderMetadata> {
    ArrowReaderMetadata::load(file, options()).map_err(|error| refused(path, error))
}

/// The same footer with strings as bytes; `text` is the text column's index.
pub(super) fn footer_as_bytes(
    file: &Ends,
    path: &Path,
    text: usize,
) -> Result<ArrowReaderMetadata> {
    let declared = footer(file, path)?;
    let root = declared.parquet_schema().root_schema();
    let (mut types, mut fields) = (Vec::new(), Vec::new());
    check_width(&declared, path)?;
    for (index, (column, field)) in
        root.get_fields().iter().zip(declared.schema().fields()).enumerate()
    {
        let bytes = column.is_primitive()
            && column.get_physical_type() == Physical::BYTE_ARRAY
            && is_text(field.data_type());
        if !bytes {
            types.push(column.clone());
            fields.push(field.clone());
            continue;
        }
        let data_type = if index == text { DataType::LargeBinary } else { DataType::Binary };
        types.push(unannotated(column).map_err(|error| refused(path, error))?);
        fields.push(Arc::new(field.as_ref().clone().with_data_type(data_type)));
    }
    let root = Type::group_type_builder(root.name()).with_fields(types).build();
    let root = Arc::new(root.map_err(|error| refused(path, error))?);
    let arrow = Schema::new_with_metadata(fields, declared.schema().metadata().clone());
    let options = options()
        .with_parquet_schema(Arc::new(SchemaDescriptor::new(root)))
        .with_schema(Arc::new(arrow));
    ArrowReaderMetadata::load(file, options).map_err(|error| refused(path, error))
}

/// Columns are addressed by their place, so both schemas must have the same ones.
pub(super) fn check_width(footer: &ArrowReaderMetadata, path: &Path) -> Result<()> {
    let (parquet, arrow) =
        (footer.parquet_schema().root_schema().get_fields(), footer.schema().fields());
    if parquet.len() == arrow.len() {
        return Ok(());
    }
    let message =
        format!("its schema has {} columns, of which {} can be read", parquet.len(), arrow.len());
    Err(Error::damaged(path, None, message))
}

fn unannotated(column: &TypePtr) -> Result<TypePtr, parquet::errors::ParquetError> {
    let basic = column.get_basic_info();
    let id = basic.has_id().then(|| basic.id());
    Type::primitive_type_builder(column.name(), Physical::BYTE_ARRAY)
        .with_repetition(basic.repetition())
        .with_id(id)
        .build()
        .map(Arc::new)
}

fn options() -> ArrowReaderOptions {
    ArrowReaderOptions::new()
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll)
}

/// A list of columns for a message: the first twenty.
pub(super) fn column_list(fields: &[Arc<Field>]) -> String {
    let names: Vec<String> =
        fields.iter().take(20).map(|field| format!("`{}`", field.name())).collect();
    let more = fields.len().saturating_sub(20);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}
