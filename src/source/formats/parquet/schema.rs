//! Which columns of a Parquet file are strings, and a schema that reads them as bytes.
//!
//! In → the footer; out → a footer whose top-level string columns, and a text or id inside structs,
//! are plain BYTE_ARRAYs, so that UTF-8 is checked row by row by `table`. The text itself comes
//! with 64-bit offsets: one batch may hold more than 2 GiB when documents are huge.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetStatisticsPolicy;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::super::table::{Leading, is_text};
use super::bytes::Ends;
use super::refused;
use crate::base::error::{Error, Result};

/// The footer, without the statistics that nothing here asks for.
pub(super) fn footer(file: &Ends, path: &Path) -> Result<ArrowReaderMetadata> {
    ArrowReaderMetadata::load(file, options()).map_err(|error| refused(path, error))
}

/// The same footer with strings as bytes: those of columns, and a text or id inside structs.
pub(super) fn footer_as_bytes(
    file: &Ends,
    path: &Path,
    leading: &Leading,
) -> Result<ArrowReaderMetadata> {
    let declared = footer(file, path)?;
    let root = declared.parquet_schema().root_schema();
    let (mut types, mut fields) = (Vec::new(), Vec::new());
    check_width(&declared, path)?;
    let columns = root.get_fields().iter().zip(declared.schema().fields());
    for (index, (column, field)) in columns.enumerate() {
        let mut both = as_bytes(column, field, false).map_err(|error| refused(path, error))?;
        for place in leading.places().filter(|place| place.root == index) {
            let is_text = Some(place) != leading.id.as_ref();
            both = inner_as_bytes(&both.0, &both.1, &place.inner, is_text)
                .map_err(|error| refused(path, error))?;
        }
        types.push(both.0);
        fields.push(both.1);
    }
    let root = Type::group_type_builder(root.name()).with_fields(types).build();
    let root = Arc::new(root.map_err(|error| refused(path, error))?);
    let arrow = Schema::new_with_metadata(fields, declared.schema().metadata().clone());
    let options = options()
        .with_parquet_schema(Arc::new(SchemaDescriptor::new(root)))
        .with_schema(Arc::new(arrow));
    ArrowReaderMetadata::load(file, options).map_err(|error| refused(path, error))
}

/// A column in Parquet's words and in Arrow's.
type Both = (TypePtr, Arc<Field>);

/// A string as plain bytes, a text's with 64-bit offsets; other columns stay as they are.
fn as_bytes(column: &TypePtr, field: &Arc<Field>, wide: bool) -> Result<Both, ParquetError> {
    let is_string = column.is_primitive()
        && column.get_physical_type() == Physical::BYTE_ARRAY
        && is_text(field.data_type());
    if !is_string {
        return Ok((column.clone(), field.clone()));
    }
    let data_type = if wide { DataType::LargeBinary } else { DataType::Binary };
    let field = field.as_ref().clone().with_data_type(data_type);
    Ok((unannotated(column)?, Arc::new(field)))
}

/// As `as_bytes`, for the field that `inner` names below a column.
fn inner_as_bytes(
    column: &TypePtr,
    field: &Arc<Field>,
    inner: &[String],
    wide: bool,
) -> Result<Both, ParquetError> {
    let Some((name, rest)) = inner.split_first() else { return as_bytes(column, field, wide) };
    let DataType::Struct(fields) = field.data_type() else {
        return Ok((column.clone(), field.clone()));
    };
    if !column.is_group() || column.get_fields().len() != fields.len() {
        return Err(ParquetError::General(format!("its struct `{}` is no group", field.name())));
    }
    let (mut types, mut kinds) = (Vec::new(), Vec::new());
    for (below, kind) in column.get_fields().iter().zip(fields) {
        let (below, kind) = match kind.name() == name {
            true => inner_as_bytes(below, kind, rest, wide)?,
            false => (below.clone(), kind.clone()),
        };
        types.push(below);
        kinds.push(kind);
    }
    let basic = column.get_basic_info();
    let group = Type::group_type_builder(column.name())
        .with_repetition(basic.repetition())
        .with_id(basic.has_id().then(|| basic.id()))
        .with_fields(types)
        .build()?;
    let data_type = DataType::Struct(kinds.into());
    Ok((Arc::new(group), Arc::new(field.as_ref().clone().with_data_type(data_type))))
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

fn unannotated(column: &TypePtr) -> Result<TypePtr, ParquetError> {
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
