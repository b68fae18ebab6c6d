//! JSON objects → documents, wherever they stand: a line each, or in an array.
//!
//! In → the bytes of one object; out → a document, or a reject that says what is there. The text
//! and the id are taken out, the other fields become one JSON string, [`METADATA`].

use arrow::datatypes::DataType;

use super::documents::{Documents, Shape};
use super::record::{self, Fields, Record};
use super::{Ask, Beginning, Request};
use crate::source::look;
use crate::source::messages::ANSWERS;
use crate::source::reject::{Reason, Reject};

/// The column that holds the fields beside id and text, as one JSON object.
pub const METADATA: &str = "metadata";

/// U+FEFF in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How an object becomes a document.
#[derive(Clone)]
pub(super) struct Objects {
    fields: Fields,
    document_bytes_max: u64,
    /// What a record is called in messages: `line`.
    record: &'static str,
}

impl Objects {
    pub(super) fn new(request: &Request<'_>, record: &'static str) -> Objects {
        let metadata = shape(request).wants(METADATA);
        let fields = Fields { metadata, ..fields(request.ask) };
        Objects { fields, document_bytes_max: request.document_bytes_max, record }
    }

    /// Adds the object in `bytes`, or the reason why it is no document; `text` is the same bytes
    /// where they are known to be UTF-8.
    pub(super) fn parse(
        &self,
        offset: u64,
        bytes: &[u8],
        text: Option<&str>,
        (record, documents): (&mut Record, &mut Documents<'_>),
    ) {
        match self.parsed(bytes, text, record) {
            Ok(()) => {
                let columns = [record.metadata(), record.answers()];
                documents.push(offset, record.text(), record.id(), columns);
            }
            Err(Reason::DocumentTooLarge) => documents.reject(self.too_large(offset)),
            Err(reason) => documents.reject(self.refused(offset, bytes, reason)),
        }
    }

    fn parsed(&self, bytes: &[u8], text: Option<&str>, record: &mut Record) -> Result<(), Reason> {
        if bytes.len() as u64 > self.document_bytes_max {
            return Err(Reason::DocumentTooLarge);
        }
        let text = match text {
            Some(text) => text,
            None => std::str::from_utf8(bytes).map_err(|_| look::of_line(bytes))?,
        };
        record.parse(text, &self.fields)
    }

    fn refused(&self, offset: u64, bytes: &[u8], reason: Reason) -> Reject {
        if reason != Reason::MissingText {
            let found = format!("{}: {}", reason.what(), look::excerpt(bytes));
            return Reject::new(offset, reason, found);
        }
        let (text, fields) = (&self.fields.text, quoted(&record::fields(bytes)));
        Reject::new(offset, reason, format!("an object without `{text}`, with {fields}"))
    }

    /// The reject for an object that is too long and was read past.
    pub(super) fn too_large(&self, offset: u64) -> Reject {
        Reject::too_large(offset, &format!("a {}", self.record), self.document_bytes_max)
    }
}

/// The columns that objects have, and those that `request` asks for.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let has = columns(request.ask).into_iter().map(|(name, _)| name).collect();
    Shape { has, asked: request.columns.to_vec() }
}

/// The columns that objects have beside id and text, known before any is read.
pub(super) fn columns(ask: &Ask) -> Vec<(String, DataType)> {
    let answers = ask.answers.then_some(ANSWERS);
    std::iter::once(METADATA).chain(answers).map(|it| (it.to_owned(), DataType::Utf8)).collect()
}

fn fields(ask: &Ask) -> Fields {
    Fields {
        text: ask.text_column.clone(),
        id: ask.id_name().to_owned(),
        metadata: false,
        template: ask.template.clone(),
        answers: ask.answers,
    }
}

/// What a beginning holds, object by object.
pub(super) struct Beginnings {
    fields: Fields,
    record: Record,
    /// The first object without the text field.
    no_text: Option<Beginning>,
}

impl Beginnings {
    pub(super) fn new(ask: &Ask) -> Beginnings {
        let (fields, record) = (fields(ask), Record::default());
        Beginnings { fields, record, no_text: None }
    }

    /// Looks at one more object. Returns whether it has the text field.
    pub(super) fn is_document(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        match std::str::from_utf8(bytes).map(|text| self.record.parse(text, &self.fields)) {
            // A null or a value of another type counts: the field is there.
            Ok(Ok(()) | Err(Reason::NullText | Reason::TextNotAString)) => return true,
            Ok(Err(Reason::MissingText)) if self.no_text.is_none() => {
                self.no_text = Some(Beginning::NoText(offset, record::fields(bytes)));
            }
            _ => {}
        }
        false
    }

    /// The first object without the text field, if there was one.
    pub(super) fn without_text(self) -> Option<Beginning> {
        self.no_text
    }
}

/// Names for a message: the first twenty.
pub fn quoted(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(20) {
        0 if shown.is_empty() => "no field".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
