//! Which format a file has: by what it holds, by its name only where that says nothing.
//!
//! In → a name and a file; out → the [`Format`], or an error that says what is there. Parquet is
//! told by its ending, since a broken one may hold anything. Else magic bytes decide, of the file
//! or of what is compressed in it; then CSV and text by their names, since they look like nothing;
//! then JSON in its two forms.

use super::stream::{Compression, Head, uncompressed_name};
use super::{FORMATS, Format, Named, json, jsonl};
use crate::base::error::{Error, Result};
use crate::source::look;
use crate::store::Stored;

/// The format of one file. One that is given by itself may also just begin as JSON does.
pub fn format_of(name: &str, file: &Stored) -> Result<&'static dyn Format> {
    let named = by_name(name);
    if let Some(format) = named.filter(|format| format.named() == Named::Whole) {
        return Ok(format);
    }
    let head = Head::read(file)?;
    if let Some(format) = FORMATS.iter().find(|format| format.recognizes(&head)) {
        return Ok(*format);
    }
    if let Some(format) = named.filter(|format| format.named() != Named::Content) {
        return Ok(format);
    }
    // What cannot be decompressed is damage, which its reader reports.
    let is_unreadable = head.compression != Compression::Plain && head.text.is_empty();
    if named.is_some() || jsonl::begins_as_json(&head.text) || is_unreadable {
        return Ok(if json::is_over_lines(&head) { &json::Json } else { &jsonl::JsonLines });
    }
    let look = look::kind_of(&head.text);
    let found = look.as_ref().map_or_else(|| look::excerpt(&head.text), |look| look.found.clone());
    let shown = file.path().display();
    let message = format!("`{shown}` is of no known format: it begins as {found}");
    Err(Error::config(message).with_hint(match look {
        Some(look) => look.remedy,
        None => format!("known are {}", known_endings()),
    }))
}

/// The endings of all formats that are read, for messages.
pub fn known_endings() -> String {
    let endings = FORMATS.iter().flat_map(|format| format.endings()).copied();
    format!("{}, all but Parquet also .gz .zst .bz2 .xz", endings.collect::<Vec<_>>().join(" "))
}

/// The format that a file's name promises.
pub fn by_name(name: &str) -> Option<&'static dyn Format> {
    let name = name.to_ascii_lowercase();
    let inner = uncompressed_name(&name);
    let ends = |format: &&&dyn Format| {
        let name = if format.named() == Named::Whole { name.as_str() } else { inner };
        format.endings().iter().any(|end| name.ends_with(end))
    };
    FORMATS.iter().find(ends).copied()
}

/// `docs` of `docs.jsonl.zst`.
pub fn stem(name: &str) -> &str {
    let inner = uncompressed_name(name);
    let lower = inner.to_ascii_lowercase();
    let endings = FORMATS.iter().flat_map(|format| format.endings());
    let known = endings.filter(|ending| lower.ends_with(**ending)).map(|ending| ending.len()).max();
    let stem = match known {
        Some(cut) => inner.get(..inner.len() - cut),
        None => name.rfind('.').and_then(|dot| name.get(..dot)),
    };
    stem.filter(|stem| !stem.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_is_a_name_without_what_says_its_format() {
        for (name, expect) in [
            ("docs.jsonl.zst", "docs"),
            ("a.b.parquet", "a.b"),
            ("a.WARC.wet.gz", "a"),
            ("notes.md.bz2", "notes"),
            ("x.unknown.gz", "x.unknown"),
            (".jsonl", ".jsonl"),
            ("plain", "plain"),
        ] {
            assert_eq!(stem(name), expect);
        }
        assert_eq!(by_name("a.jsonl.XZ").map(Format::name), Some("JSON lines"));
        assert!(by_name("a.parquet.gz").is_none() && by_name("a.gz").is_none());
    }
}
