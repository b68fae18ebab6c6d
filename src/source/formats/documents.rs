//! Documents on their way into arrays: records of text → [`Decoded`] of at most a batch each.
//!
//! In → texts, ids and further strings, one document after another; out → batches in that order.
//! Formats whose columns are all strings share it: JSON, CSV, text, WARC. No allocation a document
//! once the buffers have grown.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, StringBuilder, new_null_array};
use arrow::datatypes::DataType;

use super::{BATCH_DOCUMENTS, BATCH_TEXT_BYTES, Decoded};
use crate::source::reject::Reject;

/// Which columns a format has, and which of them are asked for.
pub(super) struct Shape {
    /// What [`Documents::push`] is given, in this order.
    pub has: Vec<String>,
    /// As [`super::Request::columns`].
    pub asked: Vec<(String, DataType)>,
}

impl Shape {
    /// Whether anybody wants the column `name`.
    pub fn wants(&self, name: &str) -> bool {
        self.asked.iter().any(|(asked, _)| asked == name)
    }
}

/// Batches that are done, and one that is being filled.
pub(super) struct Documents<'a> {
    shape: &'a Shape,
    done: Vec<Decoded>,
    open: Open,
}

#[derive(Default)]
struct Open {
    texts: StringBuilder,
    ids: StringBuilder,
    columns: Vec<StringBuilder>,
    rows: Vec<u64>,
    rejects: Vec<Reject>,
    input_bytes: u64,
}

impl Open {
    fn new(shape: &Shape) -> Open {
        let columns = shape.has.iter().map(|_| StringBuilder::new()).collect();
        Open { columns, ..Open::default() }
    }
}

impl<'a> Documents<'a> {
    pub(super) fn new(shape: &'a Shape) -> Documents<'a> {
        Documents { shape, done: Vec::new(), open: Open::new(shape) }
    }

    /// Counts bytes of the input, for progress.
    pub(super) fn pass(&mut self, bytes: u64) {
        self.open.input_bytes += bytes;
    }

    /// Adds the document at `row`; `columns` are those of [`Shape::has`].
    pub(super) fn push<'c>(
        &mut self,
        row: u64,
        text: &str,
        id: Option<&str>,
        columns: impl IntoIterator<Item = Option<&'c str>>,
    ) {
        self.open.texts.append_value(text);
        self.open.ids.append_option(id);
        for (column, value) in self.open.columns.iter_mut().zip(columns) {
            column.append_option(value);
        }
        self.open.rows.push(row);
        let text_bytes = self.open.texts.values_slice().len();
        if self.open.rows.len() == BATCH_DOCUMENTS || text_bytes >= BATCH_TEXT_BYTES {
            self.close();
        }
    }

    /// Adds a record that is no document.
    pub(super) fn reject(&mut self, reject: Reject) {
        self.open.rejects.push(reject);
    }

    /// All batches; none when there was neither document nor reject.
    pub(super) fn finish(mut self) -> Vec<Decoded> {
        if !self.open.rows.is_empty() || !self.open.rejects.is_empty() {
            self.close();
        }
        self.done
    }

    fn close(&mut self) {
        let Open { mut texts, mut ids, mut columns, rows, rejects, input_bytes } =
            std::mem::replace(&mut self.open, Open::new(self.shape));
        let own: Vec<StringArray> = columns.iter_mut().map(StringBuilder::finish).collect();
        let column = |(name, data_type): &(String, DataType)| -> ArrayRef {
            match self.shape.has.iter().position(|has| has == name) {
                Some(place) => Arc::new(own[place].clone()),
                None => new_null_array(data_type, rows.len()),
            }
        };
        self.done.push(Decoded {
            texts: texts.finish(),
            ids: Some(ids.finish()),
            columns: self.shape.asked.iter().map(column).collect(),
            rows,
            rejects,
            input_bytes,
        });
    }
}
