//! Columns of row groups → texts, ids and the other columns in the types of the united schema.
//!
//! In → a record batch whose strings are bytes; out → [`Decoded`] of at most a batch each. On the
//! fast path (every row is good) nothing is copied: buffers are checked as UTF-8 whole and keep
//! their place. Only when that fails are rows looked at one by one, and the bad ones filtered out
//! with the reason of each.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, GenericBinaryArray, LargeBinaryArray,
    OffsetSizeTrait, StringArray, new_null_array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;

use super::schema::is_string;
use crate::base::error::{Error, Result};
use crate::source::formats::{BATCH_DOCUMENTS, BATCH_TEXT_BYTES, Decoded, Request};
use crate::source::look;
use crate::source::reject::{Reason, Reject};
use crate::source::schema::conform;

/// What to do with the columns of a batch.
pub(super) struct Decoder {
    path: PathBuf,
    /// Indexes into the file's columns, rising; a batch has these columns in this order.
    projection: Vec<usize>,
    /// Places in the batch.
    text: usize,
    id: Option<usize>,
    columns: Vec<Column>,
    document_bytes_max: u64,
}

/// One column asked for.
struct Column {
    name: String,
    /// Its place in the batch; `None` when the file lacks it.
    place: Option<usize>,
    data_type: DataType,
    /// Whether the file promises UTF-8.
    string: bool,
}

impl Decoder {
    pub(super) fn new(
        request: &Request<'_>,
        declared: &Schema,
        text: usize,
        id: Option<usize>,
    ) -> Decoder {
        let find = |name: &str| declared.fields().find(name).map(|(index, _)| index);
        let mut projection = vec![text];
        projection.extend(id);
        projection.extend(request.columns.iter().filter_map(|(name, _)| find(name)));
        projection.sort_unstable();
        projection.dedup();
        let place = |index: usize| {
            projection.binary_search(&index).expect("every column asked for was put in above")
        };
        let columns = request.columns.iter().map(|(name, data_type)| Column {
            name: name.clone(),
            place: find(name).map(place),
            data_type: data_type.clone(),
            string: find(name).is_some_and(|i| is_string(declared.field(i).data_type())),
        });
        Decoder {
            path: request.file.path().to_owned(),
            text: place(text),
            id: id.map(place),
            columns: columns.collect(),
            document_bytes_max: request.document_bytes_max,
            projection,
        }
    }

    /// The file's columns to read.
    pub(super) fn projection(&self) -> impl Iterator<Item = usize> {
        self.projection.iter().copied()
    }

    /// Decodes a batch whose first row is `first_row` of the file.
    pub(super) fn decode(&self, batch: &RecordBatch, first_row: u64) -> Result<Vec<Decoded>> {
        let text = batch.column(self.text);
        let text = match text.data_type() {
            DataType::Null => new_null_array(&DataType::LargeBinary, text.len()),
            _ => text.clone(),
        };
        let text = text.as_binary_opt::<i64>().ok_or_else(|| {
            Error::damaged(&self.path, None, format!("its text came as {}", text.data_type()))
        })?;
        let mut decoded = Vec::new();
        let mut start = 0;
        while start < batch.num_rows() {
            let length = batch_length(text, start);
            let (part, text) = (batch.slice(start, length), text.slice(start, length));
            decoded.push(self.decode_part(&part, &text, first_row + start as u64)?);
            start += length;
        }
        Ok(decoded)
    }

    fn decode_part(
        &self,
        batch: &RecordBatch,
        text: &LargeBinaryArray,
        first_row: u64,
    ) -> Result<Decoded> {
        let rows = first_row..first_row + batch.num_rows() as u64;
        let offsets = text.value_offsets();
        let input_bytes = (offsets[batch.num_rows()] - offsets[0]) as u64;
        let too_large = |length: i64| length as u64 > self.document_bytes_max;
        let plain =
            text.null_count() == 0 && !offsets.windows(2).any(|pair| too_large(pair[1] - pair[0]));
        if plain && let Some(decoded) = self.convert(batch, text)? {
            return Ok(Decoded { rows: rows.collect(), input_bytes, ..decoded });
        }
        let reasons = self.reasons(batch, text);
        let found: Vec<Box<str>> = reasons
            .iter()
            .enumerate()
            .map(|(row, reason)| reason.map_or_else(Box::default, |r| found(r, text, row)))
            .collect();
        let keep: BooleanArray = reasons.iter().map(|reason| Some(reason.is_none())).collect();
        let refused = |error: arrow::error::ArrowError| Error::damaged(&self.path, None, error);
        let batch = filter_record_batch(batch, &keep).map_err(refused)?;
        let text = filter(text, &keep).map_err(refused)?;
        let decoded = self.convert(&batch, text.as_binary::<i64>())?;
        let decoded = decoded.expect("rows that are not UTF-8 were filtered out");
        let with_reason = rows.zip(reasons.into_iter().zip(found));
        let (mut rows, mut rejects) = (Vec::new(), Vec::new());
        for (offset, (reason, found)) in with_reason {
            match reason {
                Some(reason) => rejects.push(Reject::new(offset, reason, found)),
                None => rows.push(offset),
            }
        }
        Ok(Decoded { rows, rejects, input_bytes, ..decoded })
    }

    /// Why each row is no document; `None` for those that are.
    fn reasons(&self, batch: &RecordBatch, text: &LargeBinaryArray) -> Vec<Option<Reason>> {
        let strings: Vec<&BinaryArray> = self
            .columns
            .iter()
            .filter(|column| column.string)
            .filter_map(|column| column.place)
            .chain(self.id)
            .filter_map(|place| batch.column(place).as_binary_opt::<i32>())
            .collect();
        let reason = |row: usize| {
            if text.is_null(row) {
                return Some(Reason::NullText);
            }
            if text.value(row).len() as u64 > self.document_bytes_max {
                return Some(Reason::DocumentTooLarge);
            }
            let good = is_utf8(text, row) && strings.iter().all(|strings| is_utf8(strings, row));
            (!good).then_some(Reason::InvalidUtf8)
        };
        (0..batch.num_rows()).map(reason).collect()
    }

    /// Texts, ids and columns, or `None` when some string is not UTF-8. What is
    /// known of the rows is left to the caller.
    fn convert(&self, batch: &RecordBatch, text: &LargeBinaryArray) -> Result<Option<Decoded>> {
        let Ok(texts) = StringArray::try_from_binary(narrow(text)) else { return Ok(None) };
        let ids = match self.id.map(|place| self.to_string(batch.column(place))) {
            Some(Ok(None)) => return Ok(None),
            Some(ids) => ids?,
            None => None,
        };
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let array = match column.place {
                None => new_null_array(&column.data_type, batch.num_rows()),
                Some(place) => match self.column(batch.column(place), column)? {
                    Some(array) => array,
                    None => return Ok(None),
                },
            };
            columns.push(array);
        }
        let (rows, rejects) = (Vec::new(), Vec::new());
        Ok(Some(Decoded { texts, ids, columns, rows, rejects, input_bytes: 0 }))
    }

    /// An id column as strings.
    fn to_string(&self, array: &ArrayRef) -> Result<Option<StringArray>> {
        if let Some(bytes) = array.as_binary_opt::<i32>() {
            return Ok(StringArray::try_from_binary(narrow(bytes)).ok());
        }
        let strings = self.cast(array, &DataType::Utf8, "id")?;
        Ok(Some(strings.as_string::<i32>().clone()))
    }

    fn column(&self, array: &ArrayRef, column: &Column) -> Result<Option<ArrayRef>> {
        let array = match array.as_binary_opt::<i32>().filter(|_| column.string) {
            None => array.clone(),
            Some(bytes) => match StringArray::try_from_binary(narrow(bytes)) {
                Ok(strings) => Arc::new(strings),
                Err(_) => return Ok(None),
            },
        };
        self.cast(&array, &column.data_type, &column.name).map(Some)
    }

    fn cast(&self, array: &ArrayRef, data_type: &DataType, name: &str) -> Result<ArrayRef> {
        if array.data_type() == data_type {
            return Ok(array.clone());
        }
        conform(array, data_type).map_err(|error| {
            let path = self.path.display();
            Error::failed(format!("column `{name}` of `{path}` is no {data_type}: {error}"))
                .with_hint("leave the column out: list the others in `--columns`")
        })
    }
}

/// What is in a row that is no document.
fn found(reason: Reason, text: &LargeBinaryArray, row: usize) -> Box<str> {
    match reason {
        Reason::NullText => "a row whose text is null".into(),
        Reason::DocumentTooLarge => format!("a text of {} bytes", text.value_length(row)).into(),
        _ => {
            let bytes = look::excerpt(text.value(row));
            format!("a row with a string that is {}, its text {bytes}", reason.what()).into()
        }
    }
}

/// How many rows from `start` make one batch.
fn batch_length(text: &LargeBinaryArray, start: usize) -> usize {
    let offsets = &text.value_offsets()[start..];
    let rows = offsets.len() - 1;
    let most = rows.min(BATCH_DOCUMENTS);
    let end = offsets[0] + BATCH_TEXT_BYTES as i64;
    // The first row is taken whatever its length, later ones while they fit.
    offsets[1..=most].partition_point(|offset| *offset <= end).max(1)
}

fn is_utf8<O: OffsetSizeTrait>(array: &GenericBinaryArray<O>, row: usize) -> bool {
    array.is_null(row) || std::str::from_utf8(array.value(row)).is_ok()
}

/// The same values with 32-bit offsets that begin at 0; the bytes are not copied. Values outside
/// the slice do not count: their bytes may be no UTF-8. A batch's text fits, since only a single
/// document can be longer than a batch, and those are at most 1 GiB.
fn narrow<O: OffsetSizeTrait>(array: &GenericBinaryArray<O>) -> BinaryArray {
    let offsets = array.value_offsets();
    let (first, last) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    assert!(last - first <= i32::MAX as usize, "{} bytes of text in a batch", last - first);
    let narrowed: Vec<i32> = offsets.iter().map(|o| (o.as_usize() - first) as i32).collect();
    let bytes = array.values().slice_with_length(first, last - first);
    let offsets = OffsetBuffer::new(ScalarBuffer::from(narrowed));
    BinaryArray::new(offsets, bytes, array.nulls().cloned())
}
