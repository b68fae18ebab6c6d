//! One schema for all inputs, from their metadata alone.
//!
//! In → each file's columns; out → `id`, `text`, `source`, `held_out`, then every other column by
//! first appearance. Types are united by the rules of docs/design.md, section 4.3: null gives way,
//! string kinds become string, integers int64 (uint64 stays; beside int64 it is a decimal), floats
//! (and numbers with floats) double; lists by their items, structs by their fields, times in
//! microseconds where their units differ, decimals where none loses a digit. What is left names
//! both files, and costs only that column: whoever does not keep it is not stopped. A raw column
//! that bears one of the four names without meaning it keeps its values under `<name>_original`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, Fields, Schema, SchemaRef,
    TimeUnit,
};
use arrow::error::ArrowError;

use crate::base::config::nearest;
use crate::base::error::{Error, Result};
use crate::source::verdict::is_verdict;

/// The columns every batch begins with, in this order.
pub const LEADING: [&str; 4] = ["id", "text", "source", "held_out"];

/// The name a raw file's column gets in the united schema.
pub fn united_name(raw: &str) -> String {
    match LEADING.contains(&raw) || is_verdict(raw) {
        true => format!("{raw}_original"),
        false => raw.to_owned(),
    }
}

/// What one file brings.
pub struct FileColumns<'a> {
    /// For messages.
    pub file: &'a str,
    /// United names and the file's own types.
    pub columns: &'a [(String, DataType)],
}

/// Every column of every file beyond the leading four, by first appearance.
pub struct United<'a> {
    columns: Vec<Column<'a>>,
}

struct Column<'a> {
    name: &'a str,
    kind: DataType,
    /// The first file that has it.
    file: &'a str,
    /// Why it cannot be kept.
    conflict: Option<String>,
}

impl<'a> United<'a> {
    /// Unites the columns of `files`; what does not fit costs only that column.
    pub fn of(files: impl Iterator<Item = FileColumns<'a>>) -> United<'a> {
        let mut columns: Vec<Column<'a>> = Vec::new();
        for FileColumns { file, columns: own } in files {
            for (index, (name, data_type)) in own.iter().enumerate() {
                let kind = plain(data_type);
                let column = match columns.iter_mut().find(|column| column.name == name) {
                    Some(column) => column,
                    None => {
                        let kind = kind.clone();
                        columns.push(Column { name, kind, file, conflict: None });
                        columns.last_mut().expect("pushed above")
                    }
                };
                let is_twice = own[..index].iter().any(|(earlier, _)| earlier == name);
                match widen(&column.kind, &kind) {
                    _ if column.conflict.is_some() => {}
                    _ if is_twice => column.conflict = Some(twice(file, name)),
                    Some(both) => column.kind = both,
                    None => {
                        let (first, known) = (column.file, &column.kind);
                        column.conflict = Some(conflict(name, (first, known), (file, &kind)));
                    }
                }
            }
        }
        United { columns }
    }

    /// The united schema for a stage that keeps all columns, or those of `keep`: each must fit.
    pub fn kept(&self, keep: Option<&[String]>) -> Result<SchemaRef> {
        let is_kept = |column: &&Column<'_>| is_kept(column, keep);
        if let Some(message) =
            self.columns.iter().filter(is_kept).find_map(|column| column.conflict.as_ref())
        {
            return Err(Error::config(message).with_hint(self.without_conflicts(keep)));
        }
        self.fitting(keep)
    }

    /// The united schema for a stage that reads the text alone: columns that do not fit are left
    /// out.
    pub fn fitting(&self, keep: Option<&[String]>) -> Result<SchemaRef> {
        for name in keep.unwrap_or_default() {
            let known = |known: &str| known == name;
            let mut all = LEADING.into_iter().chain(self.columns.iter().map(|column| column.name));
            if !all.any(known) {
                return Err(unknown_column(name, self.columns.iter().map(|column| column.name)));
            }
        }
        let fits = |column: &&Column<'_>| column.conflict.is_none() && is_kept(column, keep);
        let fitting = self.columns.iter().filter(fits);
        let mut fields = leading_fields();
        fields.extend(fitting.map(|column| Field::new(column.name, column.kind.clone(), true)));
        Ok(Arc::new(Schema::new(fields)))
    }

    /// The option that leaves out what does not fit.
    fn without_conflicts(&self, keep: Option<&[String]>) -> String {
        let fits = |column: &&Column<'_>| column.conflict.is_none() && is_kept(column, keep);
        let names: Vec<&str> = self.columns.iter().filter(fits).map(|column| column.name).collect();
        let names = if names.is_empty() { "text".to_owned() } else { names.join(",") };
        format!("keep the others only: `--columns {names}`")
    }
}

/// Whether a column is kept: one of those asked for, or what a recipe says of held-out documents.
fn is_kept(column: &Column<'_>, keep: Option<&[String]>) -> bool {
    is_verdict(column.name) || keep.is_none_or(|keep| keep.iter().any(|name| name == column.name))
}

fn leading_fields() -> Vec<Field> {
    let kind = |name: &str| if name == "held_out" { DataType::Boolean } else { DataType::Utf8 };
    LEADING.iter().map(|name| Field::new(*name, kind(name), false)).collect()
}

/// The error for a column that no input has.
pub fn unknown_column<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let error = Error::config(format!("no input has a column `{name}`"));
    match nearest(name, known.clone()) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(format!("there are {}", known.collect::<Vec<_>>().join(", "))),
    }
}

fn twice(file: &str, name: &str) -> String {
    format!("`{file}` has two columns that would both be called `{name}`")
}

fn conflict(name: &str, first: (&str, &DataType), second: (&str, &DataType)) -> String {
    let ((one, one_kind), (two, two_kind)) = (first, second);
    format!("column `{name}` cannot be united: {one_kind} in `{one}`, {two_kind} in `{two}`")
}

/// The type a column of one file takes in the united schema.
fn plain(data_type: &DataType) -> DataType {
    use DataType::*;
    match data_type {
        Utf8 | LargeUtf8 | Utf8View => Utf8,
        Binary | BinaryView | LargeBinary => Binary,
        Dictionary(_, values) => plain(values),
        RunEndEncoded(_, values) => plain(values.data_type()),
        // Half of its values would fit no int64.
        UInt64 => UInt64,
        integer if integer.is_integer() => Int64,
        float if float.is_floating() => Float64,
        List(field) | LargeList(field) | ListView(field) | LargeListView(field) => {
            List(Arc::new(Field::new("item", plain(field.data_type()), true)))
        }
        Struct(fields) => {
            let field =
                |field: &Arc<Field>| Field::new(field.name(), plain(field.data_type()), true);
            Struct(fields.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

/// The type that both fit, if there is one; both are plain already.
fn widen(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match (one, other) {
        (Null, known) | (known, Null) => known.clone(),
        (Struct(one), Struct(other)) => Struct(widen_fields(one, other)?),
        (List(one), List(other)) => {
            List(Arc::new(Field::new(one.name(), widen(one.data_type(), other.data_type())?, true)))
        }
        (FixedSizeList(item, n), FixedSizeList(_, m)) if n == m && one == other => {
            FixedSizeList(item.clone(), *n)
        }
        (FixedSizeList(item, _), other @ (List(_) | FixedSizeList(..))) => {
            widen(&plain(&List(item.clone())), other)?
        }
        (list @ List(_), FixedSizeList(item, _)) => widen(list, &plain(&List(item.clone())))?,
        (Binary, FixedSizeBinary(_)) | (FixedSizeBinary(_), Binary) => Binary,
        (FixedSizeBinary(one), FixedSizeBinary(other)) if one != other => Binary,
        (Timestamp(one, zone), Timestamp(other, other_zone)) => {
            let zone = match (zone, other_zone) {
                (one, other) if one == other => one.clone(),
                (Some(_), Some(_)) => Some("UTC".into()),
                _ => return None,
            };
            Timestamp(common_unit(*one, *other), zone)
        }
        (Duration(one), Duration(other)) => Duration(common_unit(*one, *other)),
        (Time32(one) | Time64(one), Time32(other) | Time64(other)) => {
            match common_unit(*one, *other) {
                unit @ (TimeUnit::Second | TimeUnit::Millisecond) => Time32(unit),
                unit => Time64(unit),
            }
        }
        (Date32, Date64) | (Date64, Date32) => Date32,
        (one, other) if one == other => one.clone(),
        (Float64, number) | (number, Float64) if number.is_numeric() => Float64,
        (one, other) => widen_decimals(digits(one)?, digits(other)?)?,
    })
}

/// The finer unit, but microseconds at most where they differ: nanoseconds end in the year 2262,
/// and data that have them mean no finer moment.
fn common_unit(one: TimeUnit, other: TimeUnit) -> TimeUnit {
    use TimeUnit::*;
    match (one, other) {
        (one, other) if one == other => one,
        (Nanosecond | Microsecond, _) | (_, Nanosecond | Microsecond) => Microsecond,
        _ => Millisecond,
    }
}

/// The fields of both, by first appearance; missing ones are null.
fn widen_fields(one: &Fields, other: &Fields) -> Option<Fields> {
    let mut fields: Vec<Arc<Field>> = one.iter().cloned().collect();
    for field in other {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            Some(known) => {
                let both = widen(known.data_type(), field.data_type())?;
                *known = Arc::new(Field::new(field.name(), both, true));
            }
            None => fields.push(field.clone()),
        }
    }
    Some(fields.into())
}

/// Digits before and after the point of an exact number.
fn digits(number: &DataType) -> Option<(u8, i8)> {
    match number {
        DataType::Int64 => Some((19, 0)),
        DataType::UInt64 => Some((20, 0)),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            Some((precision.checked_add_signed(scale.checked_neg()?)?, *scale))
        }
        _ => None,
    }
}

/// The narrowest decimal that holds both.
fn widen_decimals(one: (u8, i8), other: (u8, i8)) -> Option<DataType> {
    let scale = one.1.max(other.1);
    let precision = one.0.max(other.0).checked_add_signed(scale)?;
    match precision {
        precision if precision <= DECIMAL128_MAX_PRECISION => {
            Some(DataType::Decimal128(precision, scale))
        }
        precision if precision <= DECIMAL256_MAX_PRECISION => {
            Some(DataType::Decimal256(precision, scale))
        }
        _ => None,
    }
}

/// Brings values to the type that their column has in the united schema.
pub fn conform(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == kind {
        return Ok(array.clone());
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    match (array.data_type(), kind) {
        (DataType::Null, _) => Ok(new_null_array(kind, array.len())),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let parts = array.as_struct();
            let part = |field: &Arc<Field>| match parts.column_by_name(field.name()) {
                Some(part) => conform(part, field.data_type()),
                None => Ok(new_null_array(field.data_type(), parts.len())),
            };
            let columns = fields.iter().map(part).collect::<Result<Vec<_>, _>>()?;
            let nulls = parts.nulls().cloned();
            StructArray::try_new_with_length(fields.clone(), columns, nulls, parts.len())
                .map(|array| Arc::new(array) as ArrayRef)
        }
        (own, DataType::List(field)) => {
            let Some(item) = item_of(own) else { return cast_with_options(array, kind, &strict) };
            let own = DataType::List(Arc::new(Field::new(field.name(), item.clone(), true)));
            let list = cast_with_options(array, &own, &strict)?;
            let list = list.as_list::<i32>();
            // Only the items of this slice: a batch is cut from a longer one.
            let offsets = list.value_offsets();
            let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
            let items = list.values().slice(first as usize, (last - first) as usize);
            let offsets: Vec<i32> = offsets.iter().map(|offset| offset - first).collect();
            let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
            let items = conform(&items, field.data_type())?;
            let nulls = list.nulls().cloned();
            ListArray::try_new(field.clone(), offsets, items, nulls)
                .map(|array| Arc::new(array) as ArrayRef)
        }
        _ => cast_with_options(array, kind, &strict),
    }
}

/// The type of a list's items.
fn item_of(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _) => Some(field.data_type()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::*;

    /// `name:type` of the united columns beyond the four, or the error.
    fn check(files: &[&[(&str, DataType)]], keep: Option<&[&str]>, expect: &str) {
        let columns: Vec<Vec<(String, DataType)>> = files
            .iter()
            .map(|file| file.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect())
            .collect();
        let names: Vec<String> = (0..files.len()).map(|index| format!("file{index}")).collect();
        let files = names
            .iter()
            .zip(&columns)
            .map(|(file, columns)| FileColumns { file, columns: columns.as_slice() });
        let keep: Option<Vec<String>> =
            keep.map(|keep| keep.iter().map(|name| (*name).to_owned()).collect());
        let found = match United::of(files).kept(keep.as_deref()) {
            Ok(schema) => schema.fields()[4..]
                .iter()
                .map(|field| format!("{}:{}", field.name(), field.data_type()))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("{error}; {}", error.hint().unwrap_or_default()),
        };
        assert_eq!(found, expect);
    }

    #[test]
    fn columns_come_by_first_appearance_and_types_widen() {
        check(
            &[
                &[("url", Utf8), ("score", Int32), ("dump", Null)],
                &[("score", Float32), ("dump", LargeUtf8), ("url", Utf8View), ("n", UInt8)],
            ],
            None,
            "url:Utf8 score:Float64 dump:Utf8 n:Int64",
        );
        let dictionary = Dictionary(Box::new(Int32), Box::new(Utf8));
        check(&[&[("a", dictionary)], &[("a", Null)]], None, "a:Utf8");
    }

    #[test]
    fn what_cannot_be_united_names_both_files_and_can_be_left_out() {
        let files: [&[(&str, DataType)]; 2] =
            [&[("tags", Utf8), ("url", Utf8)], &[("tags", Boolean)]];
        check(
            &files,
            None,
            "column `tags` cannot be united: Utf8 in `file0`, Boolean in `file1`; \
             keep the others only: `--columns url`",
        );
        check(&files, Some(&["url"]), "url:Utf8");
        check(&files, Some(&["text"]), "");
        check(&files, Some(&["ur"]), "no input has a column `ur`; did you mean `url`?");
    }

    fn list(item: DataType) -> DataType {
        List(Arc::new(Field::new("item", item, true)))
    }

    fn record(fields: &[(&str, DataType)]) -> DataType {
        Struct(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect())
    }

    /// What two types become, by name; `-` when they do not fit.
    fn both(one: &DataType, other: &DataType) -> String {
        let widened = widen(&plain(one), &plain(other));
        assert_eq!(
            widened,
            widen(&plain(other), &plain(one)).map(|kind| match (&kind, &widened) {
                // Fields stand by first appearance.
                (Struct(_), Some(first)) => first.clone(),
                _ => kind,
            })
        );
        widened.map_or("-".to_owned(), |kind| kind.to_string())
    }

    #[test]
    fn kinds_of_one_thing_unite() {
        let large = LargeList(Arc::new(Field::new("element", LargeUtf8, true)));
        let pair = FixedSizeList(Arc::new(Field::new("item", Float32, true)), 2);
        let triple = FixedSizeList(Arc::new(Field::new("item", Float32, true)), 3);
        let time = |unit, zone: Option<&str>| Timestamp(unit, zone.map(Into::into));
        let (seconds, nanoseconds) = (TimeUnit::Second, TimeUnit::Nanosecond);
        let text = Dictionary(Box::new(Int8), Box::new(LargeUtf8));
        for (one, other, expect) in [
            (list(Null), list(Utf8), list(Utf8)),
            (list(Utf8), large, list(Utf8)),
            (list(Int8), list(Float32), list(Float64)),
            (pair.clone(), triple, list(Float64)),
            (pair.clone(), pair.clone(), pair),
            (text, Utf8View, Utf8),
            (UInt64, UInt64, UInt64),
            (UInt64, UInt8, Decimal128(20, 0)),
            (UInt64, Float32, Float64),
            (Decimal128(10, 2), Decimal128(9, 4), Decimal128(12, 4)),
            (Decimal128(10, 2), Int32, Decimal128(21, 2)),
            (Decimal128(38, 0), Decimal128(38, 10), Decimal128(0, 0)),
            (Decimal128(10, 2), Float64, Float64),
            (time(seconds, None), time(nanoseconds, None), time(TimeUnit::Microsecond, None)),
            (time(nanoseconds, None), time(nanoseconds, None), time(nanoseconds, None)),
            (
                time(seconds, Some("Europe/Rome")),
                time(seconds, Some("UTC")),
                time(seconds, Some("UTC")),
            ),
            (Date32, Date64, Date32),
            (FixedSizeBinary(16), BinaryView, Binary),
        ] {
            let expect = if expect == Decimal128(0, 0) { Decimal256(48, 10) } else { expect };
            assert_eq!(both(&one, &other), expect.to_string(), "{one} and {other}");
        }
        for (one, other) in [
            (Utf8, Int64),
            (Utf8, list(Utf8)),
            (Utf8, record(&[("a", Utf8)])),
            (time(seconds, None), time(seconds, Some("UTC"))),
            (Boolean, Int64),
        ] {
            assert_eq!(both(&one, &other), "-", "{one} and {other}");
        }
    }

    #[test]
    fn structs_unite_by_the_names_of_their_fields() {
        let one = record(&[("url", LargeUtf8), ("at", record(&[("x", Int8)]))]);
        let other = record(&[("lang", Utf8), ("at", record(&[("y", Int8), ("x", Float32)]))]);
        let united = widen(&plain(&one), &plain(&other)).unwrap();
        let at = record(&[("x", Float64), ("y", Int64)]);
        assert_eq!(united, record(&[("url", Utf8), ("at", at), ("lang", Utf8)]));
    }

    #[test]
    fn values_follow_their_type() {
        use arrow::array::{Int8Array, LargeListArray, StringArray};
        use arrow::datatypes::Int8Type;
        let lists = [Some(vec![Some(9)]), Some(vec![Some(1), None]), None, Some(vec![])];
        let lists = LargeListArray::from_iter_primitive::<Int8Type, _, _>(lists);
        let slice: ArrayRef = Arc::new(lists.slice(1, 3));
        let found = conform(&slice, &list(Float64)).unwrap();
        assert_eq!(found.data_type(), &list(Float64));
        assert_eq!(
            (found.len(), found.is_null(1), found.as_list::<i32>().values().len()),
            (3, true, 2)
        );
        let columns: Vec<ArrayRef> = vec![Arc::new(Int8Array::from(vec![7]))];
        let fields = Fields::from(vec![Field::new("x", Int8, true)]);
        let one: ArrayRef = Arc::new(StructArray::new(fields, columns, None));
        let kind = record(&[("y", Utf8), ("x", Int64)]);
        let found = conform(&one, &kind).unwrap();
        assert_eq!(found.data_type(), &kind);
        assert!(found.as_struct().column(0).is_null(0));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["n/a"]));
        assert!(conform(&texts, &Int64).is_err());
    }

    #[test]
    fn what_does_not_fit_stops_only_whoever_keeps_it() {
        let one = [("tags".to_owned(), Utf8), ("url".to_owned(), Utf8), ("x".to_owned(), Utf8)];
        let two = [("tags".to_owned(), Boolean), ("x".to_owned(), Utf8), ("x".to_owned(), Utf8)];
        let files = [("one", &one), ("two", &two)];
        let columns = files.iter().map(|(file, columns)| FileColumns { file, columns: *columns });
        let united = United::of(columns);
        let names =
            |schema: SchemaRef| schema.fields()[4..].iter().map(|f| f.name().clone()).collect();
        let fitting: Vec<String> = names(united.fitting(None).unwrap());
        assert_eq!(fitting, ["url"]);
        let error = united.kept(None).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("keep the others only: `--columns url`"));
        let asked = ["x".to_owned()];
        assert!(united.kept(Some(&asked)).unwrap_err().to_string().contains("two columns"));
    }

    #[test]
    fn a_raw_column_of_a_leading_name_steps_aside() {
        assert_eq!(united_name("source"), "source_original");
        assert_eq!(united_name("url"), "url");
    }
}
