//! Why a document could not be read, and the `rejects.jsonl` that lists each one.
//!
//! In → what a format's reader found wrong with one line or row; out → one JSON line per reject,
//! in input order: `{"file": …, "found": …, "offset": …, "reason": …, "source": …}`, and the error
//! when they are too many, which names one of them and what its reason asks for. The reasons' names
//! are part of the manifest (`counts.rejected`), so they are stable. Cost: nothing while nothing is
//! rejected; the file is made at the first reject.

use std::cmp::Reverse;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::artifact::counts::{Counts, MAX_BAD_DEFAULT};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::size::Bytes;

/// The list's name in a unit's folder.
pub const FILE_NAME: &str = "rejects.jsonl";

/// Why one line or row is no document: what its bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The bytes of a line, or of a string in a row, are not UTF-8.
    InvalidUtf8,
    /// A line is UTF-16.
    Utf16,
    /// A line is UTF-32.
    Utf32,
    /// A line is zero bytes.
    ZeroBytes,
    /// A line is compressed data, an archive, a file of another kind.
    NotText,
    /// A line is no JSON (cut, trailing characters, a raw control character).
    InvalidJson,
    /// A line's text holds half of a surrogate pair.
    LoneSurrogate,
    /// A line is JSON, but no object.
    NotAnObject,
    /// A line is an array of objects.
    JsonArray,
    /// An object goes over several lines; said of whole files.
    JsonOverLines,
    /// A line holds several objects.
    SeveralObjects,
    /// A line holds several objects with a CR between them.
    CrLines,
    /// An object has no field of the text column's name.
    MissingText,
    /// The text is null.
    NullText,
    /// The text is a number, a list, an object or a truth value.
    TextNotAString,
    /// The line, or the text, is longer than `max_document_bytes`.
    DocumentTooLarge,
    /// A row of CSV has another number of fields than the header.
    WrongFields,
}

impl Reason {
    /// The stable name, as in `rejects.jsonl` and the manifest.
    pub fn name(self) -> &'static str {
        self.words().1
    }

    /// What the bytes look like.
    pub fn what(self) -> &'static str {
        self.words().2
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        self.words().3
    }

    /// The reason called `name`.
    pub fn of(name: &str) -> Option<Reason> {
        WORDS.iter().find(|words| words.1 == name).map(|words| words.0)
    }

    fn words(self) -> &'static (Reason, &'static str, &'static str, &'static str) {
        WORDS.iter().find(|words| words.0 == self).expect("every reason has its words")
    }
}

/// The name, the look and the remedy of every reason.
static WORDS: [(Reason, &str, &str, &str); 17] = [
    (
        Reason::InvalidUtf8,
        "invalid_utf8",
        "no UTF-8",
        "text must be UTF-8: convert it, as in `iconv -f latin1 -t UTF-8 IN > OUT` (or from \
         cp1252, shift-jis, gb18030 …)",
    ),
    (
        Reason::Utf16,
        "utf_16",
        "UTF-16 text",
        "text must be UTF-8: convert it, as in `iconv -f UTF-16 -t UTF-8 IN > OUT` (UTF-16LE or \
         UTF-16BE without a byte order mark)",
    ),
    (
        Reason::Utf32,
        "utf_32",
        "UTF-32 text",
        "text must be UTF-8: convert it, as in `iconv -f UTF-32 -t UTF-8 IN > OUT`",
    ),
    (
        Reason::ZeroBytes,
        "zero_bytes",
        "zero bytes",
        "what wrote or fetched the file did not finish: fetch it again",
    ),
    (
        Reason::NotText,
        "not_text",
        "no text",
        "unpack or convert it first: text is read from Parquet, Arrow, JSON, CSV, text and WARC",
    ),
    (
        Reason::InvalidJson,
        "invalid_json",
        "no JSON",
        "each line must be one JSON object, as {\"text\": \"…\"}",
    ),
    (
        Reason::LoneSurrogate,
        "lone_surrogate",
        "half of a surrogate pair",
        "what wrote it cut a character in two: write the text as UTF-8, without `\\ud83d` \
         escapes",
    ),
    (
        Reason::NotAnObject,
        "not_an_object",
        "JSON, but no object",
        "each line must be one JSON object, as {\"text\": \"…\"}",
    ),
    (
        Reason::JsonArray,
        "json_array",
        "a JSON array",
        "write one object a line, as in `jq -c '.[]' IN > OUT`",
    ),
    (
        Reason::JsonOverLines,
        "json_over_lines",
        "JSON over several lines",
        "write one object a line, as in `jq -c . IN > OUT` (`.[]` if they are in a list)",
    ),
    (
        Reason::SeveralObjects,
        "several_objects",
        "several objects in one line",
        "write one object a line, as in `jq -c . IN > OUT`",
    ),
    (
        Reason::CrLines,
        "cr_line_ends",
        "lines that end in CR alone",
        "end lines with a newline, as in `tr '\\r' '\\n' < IN > OUT`",
    ),
    (
        Reason::MissingText,
        "missing_text",
        "no field with the text",
        "name the field with the text: `--text-column NAME`",
    ),
    (
        Reason::NullText,
        "null_text",
        "a text that is null",
        "such documents have no text: is it in another column (`--text-column`)?",
    ),
    (
        Reason::TextNotAString,
        "text_not_a_string",
        "a text that is no string",
        "the text must be a string: is it in another field (`--text-column`)?",
    ),
    (
        Reason::DocumentTooLarge,
        "document_too_large",
        "longer than `max_document_bytes`",
        "longer documents are taken with `--set max_document_bytes=1GiB`, at most that",
    ),
    (
        Reason::WrongFields,
        "wrong_fields",
        "a row with more or fewer fields than the header",
        "rows need a field for each name of the header, in quotes where it holds a delimiter or a \
         line end",
    ),
];

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One line or row that is no document; it cannot be made without its place and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Byte offset of the line in the decompressed file, or row number in a Parquet file.
    pub offset: u64,
    pub reason: Reason,
    /// What is there, in a few words or bytes: the fields of an object that has no text.
    pub found: Box<str>,
}

impl Reject {
    /// A line or row at `offset` where `found` is.
    pub fn new(offset: u64, reason: Reason, found: impl Into<Box<str>>) -> Reject {
        Reject { offset, reason, found: found.into() }
    }

    /// A record (`a line`) over `max_document_bytes`, which is read past.
    pub fn too_large(offset: u64, record: &str, bytes_max: u64) -> Reject {
        let found = format!("{record} longer than {}", Bytes(bytes_max));
        Reject::new(offset, Reason::DocumentTooLarge, found)
    }
}

/// A reject as `rejects.jsonl` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Relative to the source's folder.
    pub file: String,
    pub found: String,
    pub offset: u64,
    pub reason: String,
    pub source: String,
}

/// Writes `rejects.jsonl`; makes no file while there is nothing to write. Keeps the first reject of
/// each source and reason, for messages about them.
pub struct RejectWriter {
    /// `None`: rejects are not written.
    path: Option<PathBuf>,
    output: Option<Box<dyn Write>>,
    first: Vec<Listed>,
}

impl RejectWriter {
    /// A writer to `directory/rejects.jsonl`.
    pub fn new(directory: &Path) -> RejectWriter {
        RejectWriter { path: Some(directory.join(FILE_NAME)), output: None, first: Vec::new() }
    }

    /// A writer that writes nothing.
    pub fn silent() -> RejectWriter {
        RejectWriter { path: None, output: None, first: Vec::new() }
    }

    /// Appends one reject of `file` (its relative name) and `source`.
    pub fn write(&mut self, file: &str, source: &str, reject: &Reject) -> Result<()> {
        let reason = reject.reason.name();
        let known = |first: &Listed| first.source == source && first.reason == reason;
        let is_first = !self.first.iter().any(known);
        if self.path.is_none() && !is_first {
            return Ok(());
        }
        let listed = Listed {
            file: file.to_owned(),
            found: reject.found.to_string(),
            offset: reject.offset,
            reason: reason.to_owned(),
            source: source.to_owned(),
        };
        if let Some(path) = &self.path {
            let output = match &mut self.output {
                Some(output) => output,
                none => none.insert(Box::new(io::create(path)?)),
            };
            let line = serde_json::to_string(&listed).expect("plain data");
            writeln!(output, "{line}").map_err(Error::io("write", path))?;
        }
        if is_first {
            self.first.push(listed);
        }
        Ok(())
    }

    /// Flushes what was written. Returns the first reject of each source and reason.
    pub fn finish(self) -> Result<Vec<Listed>> {
        if let (Some(mut output), Some(path)) = (self.output, self.path) {
            output.flush().map_err(Error::io("write", &path))?;
        }
        Ok(self.first)
    }
}

/// Unreadable documents that are allowed without `max_bad`, however few documents there are.
const BAD_DOCUMENTS_DEFAULT: u64 = 100;

/// Whether too many of a source's documents cannot be read: where `max_bad` is given, more than
/// exactly that share; else more than 1% and more than a hundred. All of them are always too many.
pub fn is_too_many(rejected: u64, documents: u64, max_bad: Option<f64>) -> bool {
    let limit = max_bad.unwrap_or(MAX_BAD_DEFAULT);
    let few = max_bad.is_none() && rejected <= BAD_DOCUMENTS_DEFAULT;
    rejected >= documents || !few && rejected as f64 > limit * documents as f64
}

/// Fails for the first source with more unreadable documents than `max_bad` allows. `first` finds
/// the first reject of a source and a reason, `place` says where a source's file lies.
pub fn refuse_too_many(
    counts: &Counts,
    max_bad: Option<f64>,
    first: impl Fn(&str, &str) -> Result<Option<Listed>>,
    place: impl Fn(&str, &str) -> Option<PathBuf>,
) -> Result<()> {
    for (source, counts) in &counts.sources {
        let (rejected, documents) = (counts.rejected_total(), counts.documents_in);
        let Some((main, _)) = counts.rejected.iter().max_by_key(|(name, n)| (**n, Reverse(*name)))
        else {
            continue;
        };
        let limit = max_bad.unwrap_or(MAX_BAD_DEFAULT);
        if !is_too_many(rejected, documents, max_bad) {
            continue;
        }
        let reasons: Vec<String> =
            counts.rejected.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        let mut message = format!(
            "source `{source}`: {rejected} of {documents} documents could not be read ({})",
            reasons.join(", ")
        );
        if let Some(one) = first(source, main)? {
            let path = place(source, &one.file).unwrap_or_else(|| PathBuf::from(&one.file));
            message += &format!("; `{}:{}` is {}", path.display(), one.offset, one.found);
        }
        let remedy = Reason::of(main).map_or("mend them", Reason::remedy);
        let more = match rejected < documents {
            true => format!("; or allow more than {limit} of them: `--max-bad`"),
            false => String::new(),
        };
        return Err(Error::failed(message).with_hint(format!("{remedy}{more}")));
    }
    Ok(())
}

/// The first reject of a source and a reason in the lists of several units, in their order.
pub fn first_listed(
    lists: impl Iterator<Item = PathBuf>,
    source: &str,
    reason: &str,
) -> Result<Option<Listed>> {
    for path in lists.filter(|path| path.is_file()) {
        for line in BufReader::new(io::open(&path)?).lines() {
            let line = line.map_err(Error::io("read", &path))?;
            let listed: Listed =
                serde_json::from_str(&line).map_err(|error| Error::damaged(&path, None, error))?;
            if listed.source == source && listed.reason == reason {
                return Ok(Some(listed));
            }
        }
    }
    Ok(None)
}
