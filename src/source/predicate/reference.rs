//! Names of columns → the values behind them, as one of five kinds.
//!
//! In → a schema and a name such as `int_score`, `meta.language` (a struct column's field) or
//! `metadata.url` (a field of the JSON text that JSON Lines leave in the column `metadata`); out →
//! a [`Reference`], which reads a batch. Names match exactly, else by ASCII case where only one
//! does.
//! Invariants of what is read: integers are int64 (uint64 a decimal without fraction), floats
//! are doubles, strings are UTF-8 with 32-bit offsets; NaN is null and -0 is 0, so that comparisons
//! need know neither. A type that already fits is not copied.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::base::config::nearest;
use crate::base::error::{Error, Result};

use super::json::{self, Ask, Extractor};
use super::kind::ValueKind;

/// The column in which JSON Lines keep their fields beyond id and text.
const JSON_COLUMN: &str = "metadata";

/// A name, resolved against a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The column, by its name in the schema.
    column: String,
    /// Fields of struct columns below it.
    fields: Vec<String>,
    /// Keys of the JSON object that the value then is; empty: the value itself.
    keys: Vec<String>,
    data_type: DataType,
}

impl Reference {
    /// Finds what `parts` (`["metadata", "url"]`) names.
    ///
    /// # Errors
    /// [`Error::Config`] when nothing bears the name, or several do, naming the nearest.
    pub fn resolve(schema: &Schema, parts: &[&str]) -> Result<Reference> {
        let whole = parts.join(".");
        let (field, rest) = match find(schema.fields(), &whole)? {
            Some(field) => (field, &parts[parts.len()..]),
            None => match find(schema.fields(), parts[0])? {
                Some(field) => (field, &parts[1..]),
                None => return Err(unknown(schema.fields(), parts[0])),
            },
        };
        let mut reference = Reference {
            column: field.name().clone(),
            fields: Vec::new(),
            keys: Vec::new(),
            data_type: field.data_type().clone(),
        };
        for (index, part) in rest.iter().enumerate() {
            match &reference.data_type {
                DataType::Struct(fields) => {
                    let field = find(fields, part)?.ok_or_else(|| {
                        let known = fields.iter().map(|field| field.name().as_str());
                        let own = parts[..parts.len() - rest.len() + index].join(".");
                        Error::config(format!("`{own}` has no field `{part}`"))
                            .with_hint(format!("it has {}", known.collect::<Vec<_>>().join(", ")))
                    })?;
                    reference.fields.push(field.name().clone());
                    reference.data_type = field.data_type().clone();
                }
                text if reference.column == JSON_COLUMN
                    && reference.fields.is_empty()
                    && ValueKind::of(text) == Some(ValueKind::Text) =>
                {
                    reference.keys = rest[index..].iter().map(|&key| key.to_owned()).collect();
                    break;
                }
                other => {
                    let message = format!(
                        "`{}` has no fields: the column is {other}",
                        parts[..parts.len() - rest.len() + index].join(".")
                    );
                    return Err(Error::config(message).with_hint(format!(
                        "only struct columns, and the JSON text of `{JSON_COLUMN}`, have fields"
                    )));
                }
            }
        }
        Ok(reference)
    }

    /// The schema's column that must be read for it.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The keys below a JSON text; empty for a value with a type of its own.
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The type of the value, or of the JSON text that holds it.
    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The array itself, of any type; for a JSON field the JSON texts.
    pub(super) fn read_raw(&self, records: &RecordBatch) -> Result<ArrayRef> {
        let missing = || Error::failed(format!("the batch lacks the column `{}`", self.column));
        let mut array = records.column_by_name(&self.column).ok_or_else(missing)?.clone();
        for field in &self.fields {
            let parent = array.as_struct_opt().ok_or_else(missing)?;
            let child = parent.column_by_name(field).ok_or_else(missing)?;
            array = with_nulls(child, parent.nulls());
        }
        Ok(array)
    }

    /// The array as `kind`; for a JSON field the JSON texts, whatever the kind.
    ///
    /// # Errors
    /// [`Error::Failed`] when a value does not fit.
    pub(super) fn read(&self, records: &RecordBatch, kind: ValueKind) -> Result<ArrayRef> {
        let kind = if self.keys.is_empty() { kind } else { ValueKind::Text };
        to_kind(&self.read_raw(records)?, kind)
            .map_err(|error| Error::failed(format!("column `{}`: {error}", self.column)))
    }
}

/// The values that `name` names in a batch, as numbers or text (or another [`ValueKind`]): a
/// column, a struct's field (`meta.score`), or a field of JSON (`metadata.score`, where a number is
/// a JSON number, text a JSON string, and everything else null). NaN is null.
///
/// # Errors
/// [`Error::Config`] when the batch has no such column or the column is of another kind.
pub fn column(records: &RecordBatch, name: &str, kind: ValueKind) -> Result<ArrayRef> {
    let reference = check_column(&records.schema(), name, kind)?;
    let array = reference.read(records, kind)?;
    if reference.keys.is_empty() {
        return Ok(array);
    }
    let mut extractor = Extractor::default();
    extractor.ask(&reference.keys, Ask::of(kind));
    let mut found = json::extract(array.as_string(), None, &extractor);
    Ok(found.pop().expect("one thing was asked for"))
}

/// What [`column()`] would read, found out from the schema alone: refuses, before any work, a name
/// that no column bears or one of another kind.
///
/// # Errors
/// [`Error::Config`], naming the nearest column.
pub fn check_column(schema: &Schema, name: &str, kind: ValueKind) -> Result<Reference> {
    let parts: Vec<&str> = name.split('.').collect();
    let reference = Reference::resolve(schema, &parts)?;
    if reference.data_type.is_null() || !reference.keys.is_empty() && kind != ValueKind::Integer {
        return Ok(reference);
    }
    let found = ValueKind::of(&reference.data_type);
    if found.is_some_and(|found| found == kind || found.widens_to(kind)) {
        return Ok(reference);
    }
    Err(Error::config(format!(
        "the column `{name}` is {}, not {}",
        found.map_or_else(|| reference.data_type.to_string(), |found| found.describe().to_owned()),
        kind.describe()
    )))
}

/// The field of that name, else the only one that differs in ASCII case alone.
fn find<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a Arc<Field>>> {
    if let Some(field) = fields.iter().find(|field| field.name() == name) {
        return Ok(Some(field));
    }
    let mut alike = fields.iter().filter(|field| field.name().eq_ignore_ascii_case(name));
    match (alike.next(), alike.next()) {
        (Some(one), Some(other)) => {
            let message =
                format!("`{name}` could be the column `{}` or `{}`", one.name(), other.name());
            Err(Error::config(message).with_hint("write its name in its own case"))
        }
        (found, _) => Ok(found),
    }
}

fn unknown(fields: &Fields, name: &str) -> Error {
    let names = fields.iter().map(|field| field.name().as_str());
    let error = Error::config(format!("there is no column `{name}`"));
    let mut hint = match nearest(name, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", names.clone().collect::<Vec<_>>().join(", ")),
    };
    let is_json = |field: &Arc<Field>| {
        field.name() == JSON_COLUMN && ValueKind::of(field.data_type()) == Some(ValueKind::Text)
    };
    if fields.iter().any(is_json) {
        hint += &format!(". A field of JSON Lines is written `{JSON_COLUMN}.{name}`");
    }
    error.with_hint(hint)
}

/// `array`, null also where `nulls` is.
fn with_nulls(array: &ArrayRef, nulls: Option<&NullBuffer>) -> ArrayRef {
    if nulls.is_none_or(|nulls| nulls.null_count() == 0) || array.data_type().is_null() {
        return array.clone();
    }
    let both = NullBuffer::union(nulls, array.nulls());
    let data = array.to_data().into_builder().nulls(both).build();
    make_array(data.expect("only bits of validity were cleared"))
}

/// An array as the type of `kind`, without NaN and -0.
fn to_kind(array: &ArrayRef, kind: ValueKind) -> Result<ArrayRef, ArrowError> {
    let target = kind.data_type();
    // What does not fit must be an error: silently null, a large integer would be below every one.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let array = match array.data_type() == &target {
        true => array.clone(),
        false => cast_with_options(array, &target, &options)?,
    };
    Ok(if kind == ValueKind::Number { canonical(array) } else { array })
}

/// Doubles with null for NaN and 0 for -0: arrow's comparisons follow IEEE 754's total order, where
/// NaN is above infinity and -0 below 0.
pub(super) fn canonical(array: ArrayRef) -> ArrayRef {
    let doubles = array.as_primitive::<Float64Type>();
    let negative_zero = (-0.0f64).to_bits();
    let odd = |any: bool, value: &f64| any | value.is_nan() | (value.to_bits() == negative_zero);
    if !doubles.values().iter().fold(false, odd) {
        return array;
    }
    let valid: NullBuffer = doubles.values().iter().map(|value| !value.is_nan()).collect();
    let nulls = NullBuffer::union(Some(&valid), doubles.nulls());
    let values = doubles.values().iter().map(|value| value + 0.0).collect();
    Arc::new(Float64Array::new(values, nulls))
}
