//! The formats that raw documents come in: one file each, and a line in [`FORMATS`].
//!
//! A format does two things. [`Format::probe`] reads metadata only: which columns there are, and
//! how the file may be cut ([`Layout`]). [`Format::read`] gives the documents of a [`Slice`] as
//! [`Task`]s in input order: the producer's part (bytes off the disk, blocks of lines, row groups)
//! is done when the task is drawn, the rest (decompressing pages, parsing) when a worker calls it.
//! What is wrong with one document is a reject inside [`Decoded`]; what is wrong with the file is
//! `Error::Damaged`. Formats know nothing of units, sources and held-out documents.

mod gzip;
pub mod jsonl;
pub mod lines;
pub mod parquet;
pub mod record;

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;

use crate::artifact::record::Slice;
use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::base::io;
use crate::source::look::{self, Look};
use crate::source::reject::Reject;

/// Every format, asked in this order.
pub static FORMATS: [&dyn Format; 2] = [&parquet::Parquet, &jsonl::JsonLines];

/// Documents in one batch at most; what a corpus's row group holds (docs/design.md, section 4.3).
pub const BATCH_DOCUMENTS: usize = 8192;
/// Text in one batch, about: one document may be longer. Small, so that the threads that share the
/// batches of a task end together.
pub const BATCH_TEXT_BYTES: usize = 1 << 20;
/// Text that one task may decode at once, about.
pub const TASK_TEXT_BYTES_MAX: u64 = 64 << 20;
/// A tar archive says so at byte 257; every other kind of file earlier.
const HEAD_BYTES: u64 = 512;

/// One way documents are stored in a file.
pub trait Format: Sync {
    /// The name in messages: `Parquet`.
    fn name(&self) -> &'static str;

    /// Endings of file names, lower case, with their dot; a directory is searched for them.
    fn endings(&self) -> &'static [&'static str];

    /// Whether the file's first bytes are this format's: they decide before the name does.
    fn recognizes(&self, head: &[u8]) -> bool;

    /// Reads what is known without reading text. A file that this build cannot read, or that has
    /// no text column, is an `Error::Config`; one that is broken an `Error::Damaged`.
    fn probe(&self, path: &Path, ask: &Ask) -> Result<Probe>;

    /// How many records of the file to read so that they are `documents_max` at most, where that
    /// takes reading; formats whose probe knows the number of records need not.
    fn count(&self, path: &Path, probe: &Probe, documents_max: u64) -> Result<Limit>;

    /// The documents of `slice` as tasks in input order.
    fn read(&self, request: &Request<'_>) -> Result<Box<dyn Tasks>>;
}

/// What a file is asked for before it is read.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The column that holds the text.
    pub text_column: String,
    /// The column that holds the id; `None`: `id` where there is one.
    pub id_column: Option<String>,
}

impl Ask {
    /// The id column's name, asked for or not.
    pub fn id_name(&self) -> &str {
        self.id_column.as_deref().unwrap_or("id")
    }
}

/// What a file's metadata tells.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// Columns beside id and text, in the file's order.
    pub columns: Vec<(String, DataType)>,
    pub layout: Layout,
    /// Records, where the metadata says.
    pub records: Option<u64>,
    pub beginning: Beginning,
    /// Columns that are read otherwise than their names promise, and how.
    pub notices: Vec<String>,
}

/// What the beginning of a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beginning {
    /// A record that has the text field.
    #[default]
    Document,
    /// Nothing but white space, to the end of the file.
    Blank,
    /// Another kind of file, at this offset.
    Other(u64, Look),
    /// Objects without the text field; the offset of the first, and its fields.
    NoText(u64, Vec<String>),
    /// No document, and nothing that could be told: reading says more.
    Unclear,
}

/// How a file may be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Into runs of blocks (row groups).
    Blocks(Vec<BlockSize>),
    /// At any byte: a record belongs to the slice it starts in.
    Bytes(u64),
    /// Not at all; about this many bytes of text.
    Whole(u64),
}

impl Default for Layout {
    fn default() -> Layout {
        Layout::Whole(0)
    }
}

/// One row group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockSize {
    pub records: u64,
    pub text_bytes: u64,
}

impl Layout {
    /// Bytes of text in the file, about.
    pub fn text_bytes(&self) -> u64 {
        match self {
            Layout::Blocks(blocks) => blocks.iter().map(|block| block.text_bytes).sum(),
            Layout::Bytes(bytes) | Layout::Whole(bytes) => *bytes,
        }
    }
}

/// Which part of a file's records is read at all (`limit_documents`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Records among the first so many.
    pub records: u64,
    /// Where in the decompressed file the last of them ends.
    pub end: u64,
}

/// One file's slice, and what is wanted of it.
pub struct Request<'a> {
    pub path: &'a Path,
    /// Size of the file when it was planned.
    pub bytes: u64,
    pub probe: &'a Probe,
    pub ask: &'a Ask,
    pub slice: &'a Slice,
    /// Columns beside id and text, by the file's own names, and the types they come out as;
    /// columns the file lacks come out null.
    pub columns: &'a [(String, DataType)],
    pub document_bytes_max: u64,
}

/// What a worker does with one piece of the input.
pub type Task = Box<dyn FnOnce() -> Result<Vec<Decoded>> + Send>;

/// Tasks in input order; at the end also which bytes were read.
pub trait Tasks: Iterator<Item = Result<Task>> + Send {
    /// The byte ranges of the file that were read so far, each with the hash of its bytes.
    fn ranges(&mut self) -> Vec<(Range<u64>, Fingerprint)>;
}

/// Documents of one piece: at most [`BATCH_DOCUMENTS`] and about [`BATCH_TEXT_BYTES`].
#[derive(Debug)]
pub struct Decoded {
    /// No nulls: what has no text is in `rejects`.
    pub texts: StringArray,
    /// Null where the input has none; `None` where the file has no id column.
    pub ids: Option<StringArray>,
    /// As asked for in [`Request::columns`].
    pub columns: Vec<ArrayRef>,
    /// Row number, or byte offset of the line.
    pub rows: Vec<u64>,
    pub rejects: Vec<Reject>,
    /// How much of the input this is, in the measure of [`Layout::text_bytes`]; for progress.
    pub input_bytes: u64,
}

/// The format of one file: Parquet by its name alone (a broken one has no magic bytes), else by
/// the first bytes, else by the name. A file given by itself may also just begin as JSON does.
pub fn format_of(name: &str, path: &Path) -> Result<&'static dyn Format> {
    let named = by_name(name);
    if let Some(format) = named.filter(|format| format.name() == parquet::Parquet.name()) {
        return Ok(format);
    }
    let head = head(path)?;
    if let Some(format) = FORMATS.iter().find(|format| format.recognizes(&head)) {
        return Ok(*format);
    }
    let is_json = named.is_some() || jsonl::is_plain_json(name) || jsonl::begins_as_json(&head);
    if is_json {
        return Ok(&jsonl::JsonLines);
    }
    let look = look::kind_of(&head);
    let found = look.as_ref().map_or_else(|| look::excerpt(&head), |look| look.found.clone());
    let message = format!("`{}` is of no known format: it begins as {found}", path.display());
    Err(Error::config(message).with_hint(match look {
        Some(look) => look.remedy,
        None => format!("known are {}", known_endings()),
    }))
}

/// The first bytes of a file, enough to tell what it is.
pub fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    io::open(path)?.take(HEAD_BYTES).read_to_end(&mut head).map_err(Error::io("read", path))?;
    Ok(head)
}

/// The endings of all formats that are read, for messages.
pub fn known_endings() -> String {
    FORMATS.iter().flat_map(|format| format.endings()).copied().collect::<Vec<_>>().join(" ")
}

/// The format that a file's name promises.
pub fn by_name(name: &str) -> Option<&'static dyn Format> {
    let name = name.to_ascii_lowercase();
    let ends = |format: &&&dyn Format| format.endings().iter().any(|end| name.ends_with(end));
    FORMATS.iter().find(ends).copied()
}
