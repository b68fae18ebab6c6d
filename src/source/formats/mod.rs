//! The formats that raw documents come in: one file each, and a line in [`FORMATS`].
//!
//! A format does two things. [`Format::probe`] reads metadata only: which columns there are, and
//! how the file may be cut ([`Layout`]). [`Format::read`] gives the documents of a [`Slice`] as
//! [`Task`]s in input order: the producer's part (bytes off the disk, blocks of lines, row groups)
//! is done when the task is drawn, the rest (decompressing pages, parsing) when a worker calls it.
//! What is wrong with one document is a reject inside [`Decoded`]; what is wrong with the file is
//! `Error::Damaged`. Formats know nothing of units, sources and held-out documents.
//!
//! What they share: [`stream`] (decompression, hashes), [`lines`] and [`pieces`] (records in
//! bounded memory), [`objects`] and [`record`] (JSON), [`documents`] (strings → batches),
//! [`table`] (columns → batches). [`recognize`] tells which format a file has.

mod csv;
mod documents;
mod ipc;
mod json;
mod jsonl;
pub mod lines;
mod members;
pub mod objects;
mod parquet;
mod pieces;
mod recognize;
mod record;
mod stream;
mod table;
mod text;
mod warc;

#[cfg(test)]
mod tests;

use std::ops::Range;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;

use crate::artifact::record::Slice;
use crate::base::error::Result;
use crate::base::hash::Fingerprint;
use crate::source::config::InputConfig;
use crate::source::look::Look;
use crate::source::messages::Template;
use crate::source::reject::Reject;
use crate::store::Stored;

pub use recognize::{by_name, format_of, known_endings, stem};
pub use stream::{Head, head};

/// Every format, asked in this order.
pub static FORMATS: [&dyn Format; 7] = [
    &parquet::Parquet,
    &jsonl::JsonLines,
    &json::Json,
    &csv::Csv,
    &text::Text,
    &ipc::Arrow,
    &warc::Warc,
];

/// Documents in one batch at most; what a corpus's row group holds (docs/design.md, section 4.3).
pub const BATCH_DOCUMENTS: usize = 8192;
/// Bytes of text in one batch, about; one document may be longer. Small, so that the threads that
/// share the batches of a task end together.
pub const BATCH_TEXT_BYTES: usize = 1 << 20;
/// Bytes of text that one task may decode at once, about.
pub const TASK_TEXT_BYTES_MAX: u64 = 64 << 20;

/// One way documents are stored in a file.
pub trait Format: Sync {
    /// The name in messages: `Parquet`.
    fn name(&self) -> &'static str;

    /// Endings of file names, lower case, with their dot; a directory is searched for them, with or
    /// without the ending of a compressor after them.
    fn endings(&self) -> &'static [&'static str];

    /// How far the name of a file with such an ending decides its format.
    fn named(&self) -> Named {
        Named::Content
    }

    /// Whether the file's first bytes are this format's and no other's: they decide before the name
    /// does.
    fn recognizes(&self, _: &Head) -> bool {
        false
    }

    /// Why a file of such a name that was found in a folder is no input, for names that do not
    /// promise documents; a file that is given by itself is always read.
    fn why_passed_over(&self, _: &Stored, _: &Ask) -> Result<Option<String>> {
        Ok(None)
    }

    /// Reads what is known without reading text. A file that this build cannot read, or that has
    /// no text column, is an `Error::Config`; one that is broken an `Error::Damaged`.
    fn probe(&self, file: &Stored, ask: &Ask) -> Result<Probe>;

    /// How many records of the file hold at most `documents_max` documents, found by reading where
    /// that is needed; formats whose probe knows the number of records need not read.
    fn count(&self, file: &Stored, probe: &Probe, ask: &Ask, documents_max: u64) -> Result<Limit>;

    /// The documents of `slice` as tasks in input order.
    fn read(&self, request: &Request<'_>) -> Result<Box<dyn Tasks>>;
}

/// What an ending says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The file is never compressed, and is of this format whatever it holds: a broken one has no
    /// magic bytes.
    Whole,
    /// Its content decides, and the name where the content says nothing.
    Content,
    /// Content does not tell this format: the name decides where no other format is recognized.
    Name,
    /// As [`Named::Name`], but such files may describe the data beside them: in a folder with data
    /// of another format they are passed over.
    Prose,
}

/// What a file is asked for before it is read.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The column that holds the text, or a path to it.
    pub text_column: String,
    /// The column that holds the id, or a path to it; `None`: `id` where there is one.
    pub id_column: Option<String>,
    /// How a text that is a list of messages is written.
    pub template: Template,
    /// What stands between the documents of a text file; `None`: a file is a document.
    pub separator: Option<String>,
    /// Whether conversations say which bytes of their text are answers.
    pub answers: bool,
}

impl Ask {
    /// What the configuration asks of the raw files of `source`.
    pub fn of(config: &InputConfig, source: &str) -> Result<Ask> {
        Ok(Ask {
            text_column: config.text_column_of(source).to_owned(),
            id_column: config.id_column_of(source).map(str::to_owned),
            template: config.template_of(source)?,
            separator: config.separator_of(source).map(str::to_owned),
            answers: config.answers,
        })
    }

    /// What a corpus is asked for.
    pub fn of_corpus() -> Ask {
        let (text_column, id_column) = ("text".into(), Some("id".into()));
        let (template, separator) = (Template::default(), None);
        Ask { text_column, id_column, template, separator, answers: false }
    }

    /// The id column's name: the one asked for, else `id`.
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
    /// Number of records, where the metadata says.
    pub records: Option<u64>,
    pub beginning: Beginning,
    /// Columns that are read otherwise than their names promise, and how.
    pub notices: Vec<String>,
    /// Bytes that are held at once because the file is cut no finer, where they are many.
    pub held_bytes: u64,
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
    /// How many records are read, counted from the first.
    pub records: u64,
    /// Where in the decompressed file the last of them ends.
    pub end: u64,
}

/// One file's slice, and what is wanted of it.
pub struct Request<'a> {
    /// The file's name relative to its source's folder.
    pub name: &'a str,
    /// Where the bytes come from: [`Stored::open`] in order, [`Stored::read`] a range. Its path is
    /// for messages, since it may be an address.
    pub file: &'a Stored,
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
