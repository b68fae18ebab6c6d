//! Why a document could not be read, and the `rejects.jsonl` that lists each one.
//!
//! In → what a format's reader found wrong with one line or row; out → one JSON line per reject,
//! in input order: `{"file": …, "offset": …, "reason": …, "source": …}`. The reasons' names are
//! part of the manifest (`counts.rejected`), so they are stable. Cost: nothing while nothing is
//! rejected; the file is made at the first reject.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::base::io;

/// Why one line or row is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The bytes of a line, or of a string in a row, are not UTF-8.
    InvalidUtf8,
    /// A line is no JSON (cut, trailing characters, a raw control character, a lone surrogate).
    InvalidJson,
    /// A line is JSON, but no object.
    NotAnObject,
    /// An object has no field of the text column's name.
    MissingText,
    /// The text is null.
    NullText,
    /// The text is a number, a list, an object or a truth value.
    TextNotAString,
    /// The line, or the text, is longer than `max_document_bytes`.
    DocumentTooLarge,
}

impl Reason {
    /// Every reason, for tables and help.
    pub const ALL: [Reason; 7] = [
        Reason::InvalidUtf8,
        Reason::InvalidJson,
        Reason::NotAnObject,
        Reason::MissingText,
        Reason::NullText,
        Reason::TextNotAString,
        Reason::DocumentTooLarge,
    ];

    /// The stable name, as in `rejects.jsonl` and the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::InvalidJson => "invalid_json",
            Reason::NotAnObject => "not_an_object",
            Reason::MissingText => "missing_text",
            Reason::NullText => "null_text",
            Reason::TextNotAString => "text_not_a_string",
            Reason::DocumentTooLarge => "document_too_large",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One line or row that is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Byte offset of the line in the decompressed file, or row number in a Parquet file.
    pub offset: u64,
    pub reason: Reason,
}

/// Writes `rejects.jsonl`; makes no file while there is nothing to write.
pub struct RejectWriter {
    /// `None`: rejects are not written.
    path: Option<PathBuf>,
    output: Option<Box<dyn Write>>,
}

impl RejectWriter {
    /// A writer to `directory/rejects.jsonl`.
    pub fn new(directory: &Path) -> RejectWriter {
        RejectWriter { path: Some(directory.join("rejects.jsonl")), output: None }
    }

    /// A writer that writes nothing.
    pub fn silent() -> RejectWriter {
        RejectWriter { path: None, output: None }
    }

    /// Appends one reject of `file` (its relative name) and `source`.
    pub fn write(&mut self, file: &str, source: &str, reject: &Reject) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let output = match &mut self.output {
            Some(output) => output,
            none => none.insert(Box::new(io::create(path)?)),
        };
        let line = serde_json::json!({
            "file": file,
            "offset": reject.offset,
            "reason": reject.reason.name(),
            "source": source,
        });
        writeln!(output, "{line}").map_err(Error::io("write", path))
    }

    /// Flushes what was written.
    pub fn finish(self) -> Result<()> {
        match (self.output, self.path) {
            (Some(mut output), Some(path)) => output.flush().map_err(Error::io("write", &path)),
            _ => Ok(()),
        }
    }
}
