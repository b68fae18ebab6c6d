//! One schema for all inputs, from their metadata alone.
//!
//! In → each file's columns; out → `id`, `text`, `source`, `held_out`, then every other column by
//! first appearance. Types are united by the rules of docs/design.md, section 4.3: null gives way,
//! string kinds become string, integers int64, floats (and integers with floats) double; anything
//! else is an error that names both files. A raw column that bears one of the four names without
//! meaning it keeps its values under `<name>_original`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::base::config::nearest;
use crate::base::error::{Error, Result};

/// The columns every batch begins with, in this order.
pub const LEADING: [&str; 4] = ["id", "text", "source", "held_out"];

/// The name a raw file's column gets in the united schema.
pub fn united_name(raw: &str) -> String {
    match LEADING.contains(&raw) {
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

/// The united schema; with `keep`, only these columns beside the four leading ones.
pub fn unite<'a>(
    files: impl Iterator<Item = FileColumns<'a>>,
    keep: Option<&[String]>,
) -> Result<SchemaRef> {
    let mut united: Vec<(&str, DataType, &str)> = Vec::new();
    let mut all: Vec<&str> = Vec::new();
    for FileColumns { file, columns } in files {
        for (index, (name, data_type)) in columns.iter().enumerate() {
            if columns[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(twice(file, name));
            }
            if keep.is_some_and(|keep| !keep.contains(name)) {
                all.push(name);
                continue;
            }
            let widened = widen_one(data_type);
            match united.iter_mut().find(|(known, ..)| known == name) {
                None => united.push((name, widened, file)),
                Some((_, known, first)) => match widen(known, &widened) {
                    Some(both) => *known = both,
                    None => return Err(conflict(name, (first, known), (file, &widened))),
                },
            }
        }
    }
    for name in keep.unwrap_or_default() {
        if !LEADING.contains(&name.as_str()) && !united.iter().any(|(known, ..)| known == name) {
            return Err(unknown_column(name, all.iter().copied()));
        }
    }
    let mut fields: Vec<Field> = leading_fields();
    fields.extend(united.into_iter().map(|(name, kind, _)| Field::new(name, kind, true)));
    Ok(Arc::new(Schema::new(fields)))
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

fn twice(file: &str, name: &str) -> Error {
    Error::config(format!("`{file}` has two columns that would both be called `{name}`"))
        .with_hint("leave one out: list the columns to keep in `--columns`")
}

fn conflict(name: &str, first: (&str, &DataType), second: (&str, &DataType)) -> Error {
    Error::config(format!(
        "column `{name}` cannot be united: {} in `{}`, {} in `{}`",
        first.1, first.0, second.1, second.0
    ))
    .with_hint("leave it out: list the columns to keep in `--columns`")
}

/// The type a column of one file takes in the united schema.
fn widen_one(data_type: &DataType) -> DataType {
    use DataType::*;
    match data_type {
        Utf8 | LargeUtf8 | Utf8View => Utf8,
        BinaryView | LargeBinary => Binary,
        Dictionary(_, values) => widen_one(values),
        integer if integer.is_integer() => Int64,
        float if float.is_floating() => Float64,
        other => other.clone(),
    }
}

/// The type that both fit, if there is one; both are widened already.
fn widen(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::*;
    match (one, other) {
        (Null, known) | (known, Null) => Some(known.clone()),
        (Int64, Float64) | (Float64, Int64) => Some(Float64),
        (a, b) if a.equals_datatype(b) => Some(a.clone()),
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
        let found = match unite(files, keep.as_deref()) {
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
             leave it out: list the columns to keep in `--columns`",
        );
        check(&files, Some(&["url"]), "url:Utf8");
        check(&files, Some(&["ur"]), "no input has a column `ur`; did you mean `url`?");
    }

    #[test]
    fn a_raw_column_of_a_leading_name_steps_aside() {
        assert_eq!(united_name("source"), "source_original");
        assert_eq!(united_name("url"), "url");
    }
}
