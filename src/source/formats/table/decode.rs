//! Record batches → texts, ids and the other columns in the types of the united schema.
//!
//! In → a record batch whose strings are bytes; out → [`Decoded`] of at most a batch each. A text
//! or id inside structs is taken out of them; a list of messages is written by the template, a
//! prompt and its completion are joined, and where that is asked for a column says which bytes of
//! them are answers. On the fast path (every row is good) nothing is copied: buffers are checked as
//! UTF-8 whole and keep their place. Only when that fails are rows looked at one by one, and the
//! bad ones filtered out with the reason of each.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, GenericBinaryArray, LargeBinaryArray,
    LargeBinaryBuilder, OffsetSizeTrait, StringArray, StringBuilder, make_array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::record_batch::RecordBatch;

use super::names::{Leading, Place, is_string, messages};
use crate::base::error::{Error, Result};
use crate::source::formats::{BATCH_DOCUMENTS, BATCH_TEXT_BYTES, Decoded, Request};
use crate::source::look;
use crate::source::messages::{self, ANSWERS, Template};
use crate::source::reject::{Reason, Reject};
use crate::source::schema::conform;

/// What to do with the columns of a batch.
pub struct Decoder {
    path: PathBuf,
    /// Indexes into the file's columns, rising; a batch has these columns in this order.
    projection: Vec<usize>,
    /// Text, completion and id; each `root` is an index into the batch's columns.
    leading: Leading,
    columns: Vec<Column>,
    /// Whether batches get a column more: which bytes of each text are answers.
    answers: bool,
    document_bytes_max: u64,
    template: Template,
}

/// Why a row is no document, and what is there.
type Refusal = (Reason, Box<str>);

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
    pub fn new(request: &Request<'_>, declared: &Fields, leading: &Leading) -> Decoder {
        let find = |name: &str| declared.find(name).map(|(index, _)| index);
        let answers = leading.has_answers(request.ask);
        let mut projection: Vec<usize> = leading.places().map(|place| place.root).collect();
        let of_file = |name: &&String| !(answers && *name == ANSWERS);
        let asked = request.columns.iter().map(|(name, _)| name).filter(of_file);
        projection.extend(asked.filter_map(|name| find(name)));
        projection.sort_unstable();
        projection.dedup();
        let place = |index: usize| {
            projection.binary_search(&index).expect("every column asked for was put in above")
        };
        let columns = request.columns.iter().map(|(name, data_type)| {
            let index = Some(name).filter(of_file).and_then(|name| find(name));
            let behind = (answers && name == ANSWERS).then_some(projection.len());
            Column {
                name: name.clone(),
                place: index.map(place).or(behind),
                data_type: data_type.clone(),
                string: index.is_some_and(|index| is_string(declared[index].data_type())),
            }
        });
        let moved = |leading: &Place| Place { root: place(leading.root), ..leading.clone() };
        Decoder {
            path: request.file.path().to_owned(),
            leading: Leading {
                text: moved(&leading.text),
                completion: leading.completion.as_ref().map(moved),
                id: leading.id.as_ref().map(moved),
            },
            columns: columns.collect(),
            answers,
            document_bytes_max: request.document_bytes_max,
            template: request.ask.template.clone(),
            projection,
        }
    }

    /// The file's columns to read, each with the fields inside it that suffice; an empty list means
    /// all of the column.
    pub fn projection(&self) -> impl Iterator<Item = (usize, Vec<&[String]>)> {
        self.projection.iter().enumerate().map(|(place, index)| {
            let is_asked = self.columns.iter().any(|column| column.place == Some(place));
            let inner = self.leading.places().filter(|it| it.root == place && !is_asked);
            let inner: Vec<&[String]> = inner.map(|leading| leading.inner.as_slice()).collect();
            match inner.iter().any(|inner| inner.is_empty()) {
                true => (*index, Vec::new()),
                false => (*index, inner),
            }
        })
    }

    /// Decodes a batch whose first row is `first_row` of the file.
    pub fn decode(&self, batch: &RecordBatch, first_row: u64) -> Result<Vec<Decoded>> {
        let (text, answers) = self.text_of(batch)?;
        let (text, batch) = (&text, &with_answers(batch, answers));
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

    /// The texts as bytes, null where there are none, and their answers where they are asked for.
    fn text_of(&self, batch: &RecordBatch) -> Result<(LargeBinaryArray, Option<StringArray>)> {
        let text = self.taken_out(batch, &self.leading.text)?;
        let refused = |error: arrow::error::ArrowError| Error::damaged(&self.path, None, error);
        if let Some(keys) = messages(&self.leading.text.data_type) {
            return self.written(&text, keys).map_err(refused);
        }
        let bytes_of = |array: &ArrayRef| -> Result<LargeBinaryArray> {
            let bytes = conform(array, &DataType::LargeBinary).map_err(refused)?;
            Ok(bytes.as_binary::<i64>().clone())
        };
        let text = bytes_of(&text)?;
        let Some(completion) = &self.leading.completion else { return Ok((text, None)) };
        let (texts, answers) = joined(&text, &bytes_of(&self.taken_out(batch, completion)?)?);
        Ok((texts, Some(answers)))
    }

    /// Conversations as texts, and the answers in them where they are asked for.
    fn written(
        &self,
        lists: &ArrayRef,
        keys: [String; 2],
    ) -> Result<(LargeBinaryArray, Option<StringArray>), arrow::error::ArrowError> {
        let fields = keys.map(|key| Field::new(key, DataType::Utf8, true));
        let item = DataType::Struct(Fields::from(fields.to_vec()));
        let lists = conform(lists, &DataType::List(Arc::new(Field::new("item", item, true))))?;
        let lists = lists.as_list::<i32>();
        let items = lists.values().as_struct();
        let (roles, contents) =
            (items.column(0).as_string::<i32>(), items.column(1).as_string::<i32>());
        let (mut texts, mut answers) = (LargeBinaryBuilder::new(), StringBuilder::new());
        let mut text = String::new();
        for (row, span) in lists.value_offsets().windows(2).enumerate() {
            text.clear();
            let messages = span[0] as usize..span[1] as usize;
            let said = messages.filter(|at| items.is_valid(*at) && contents.is_valid(*at));
            let (mut any, mut stretches) = (false, Vec::new());
            for at in said {
                let role = if roles.is_valid(at) { roles.value(at) } else { "" };
                let begin = self.template.write(role, contents.value(at), &mut text);
                stretches.extend(messages::is_answering(role).then_some(begin..text.len()));
                any = true;
            }
            messages::finish(&mut text, 0);
            texts.append_option((any && lists.is_valid(row)).then_some(text.as_bytes()));
            if self.answers {
                answers.append_value(messages::list(&stretches, text.len()));
            }
        }
        Ok((texts.finish(), self.answers.then(|| answers.finish())))
    }

    /// A column of the batch, or the field inside it; null where a struct around it is.
    fn taken_out(&self, batch: &RecordBatch, place: &Place) -> Result<ArrayRef> {
        let mut array = batch.column(place.root).clone();
        for name in &place.inner {
            let inner = array.as_struct_opt().and_then(|outer| outer.column_by_name(name));
            let Some(inner) = inner else {
                let message = format!("its columns have no field `{name}` any more");
                return Err(Error::damaged(&self.path, None, message));
            };
            let nulls = NullBuffer::union(array.nulls(), inner.nulls());
            let data = inner.to_data().into_builder().nulls(nulls).build();
            array = make_array(data.map_err(|error| Error::damaged(&self.path, None, error))?);
        }
        Ok(array)
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
        let reasons = self.reasons(batch, text)?;
        let keep: BooleanArray = reasons.iter().map(|reason| Some(reason.is_none())).collect();
        let refused = |error: arrow::error::ArrowError| Error::damaged(&self.path, None, error);
        let batch = filter_record_batch(batch, &keep).map_err(refused)?;
        let text = filter(text, &keep).map_err(refused)?;
        let decoded = self.convert(&batch, text.as_binary::<i64>())?;
        let decoded = decoded.expect("rows that are not UTF-8 were filtered out");
        let (mut kept, mut rejects) = (Vec::new(), Vec::new());
        for (row, reason) in rows.zip(reasons) {
            match reason {
                Some((reason, found)) => rejects.push(Reject::new(row, reason, found)),
                None => kept.push(row),
            }
        }
        Ok(Decoded { rows: kept, rejects, input_bytes, ..decoded })
    }

    /// Why each row is no document, and what is there; `None` for those that are.
    fn reasons(
        &self,
        batch: &RecordBatch,
        text: &LargeBinaryArray,
    ) -> Result<Vec<Option<Refusal>>> {
        let mut strings: Vec<(&str, BinaryArray)> = Vec::new();
        for column in self.columns.iter().filter(|column| column.string) {
            let array = column.place.map(|place| batch.column(place));
            strings.extend(array.and_then(bytes).map(|bytes| (column.name.as_str(), bytes)));
        }
        if let Some(id) = &self.leading.id {
            strings.extend(bytes(&self.taken_out(batch, id)?).map(|bytes| ("id", bytes)));
        }
        let reason = |row: usize| -> Option<Refusal> {
            if text.is_null(row) {
                return Some((Reason::NullText, "a row whose text is null".into()));
            }
            let value = text.value(row);
            if value.len() as u64 > self.document_bytes_max {
                let found = format!("a text of {} bytes", value.len());
                return Some((Reason::DocumentTooLarge, found.into()));
            }
            if !is_utf8(text, row) {
                let found = format!("a row whose text is no UTF-8: {}", look::excerpt(value));
                return Some((Reason::InvalidUtf8, found.into()));
            }
            let (name, bad) = strings.iter().find(|(_, bytes)| !is_utf8(bytes, row))?;
            let here = look::excerpt(bad.value(row));
            let found = format!("a row whose column `{name}` is no UTF-8: {here}");
            Some((Reason::InvalidUtf8, found.into()))
        };
        Ok((0..batch.num_rows()).map(reason).collect())
    }

    /// Texts, ids and columns, or `None` when some string is not UTF-8. The caller fills in `rows`,
    /// `rejects` and `input_bytes`.
    fn convert(&self, batch: &RecordBatch, text: &LargeBinaryArray) -> Result<Option<Decoded>> {
        let Ok(texts) = StringArray::try_from_binary(narrow(text)) else { return Ok(None) };
        let ids = match &self.leading.id {
            None => None,
            Some(id) => match self.to_string(&self.taken_out(batch, id)?)? {
                None => return Ok(None),
                ids => ids,
            },
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
        if let Some(bytes) = bytes(array) {
            return Ok(StringArray::try_from_binary(bytes).ok());
        }
        let strings = self.united(array, &DataType::Utf8, "id")?;
        Ok(Some(strings.as_string::<i32>().clone()))
    }

    fn column(&self, array: &ArrayRef, column: &Column) -> Result<Option<ArrayRef>> {
        let array = match Some(array).filter(|_| column.string).and_then(bytes) {
            None => array.clone(),
            Some(bytes) => match StringArray::try_from_binary(bytes) {
                Ok(strings) => Arc::new(strings),
                Err(_) => return Ok(None),
            },
        };
        self.united(&array, &column.data_type, &column.name).map(Some)
    }

    fn united(&self, array: &ArrayRef, data_type: &DataType, name: &str) -> Result<ArrayRef> {
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

/// Prompts with their completions, which are the answers. Where one of the two is missing there is
/// no text. A prompt that is not UTF-8 stays alone, so that no answer begins inside a character.
fn joined(
    prompts: &LargeBinaryArray,
    completions: &LargeBinaryArray,
) -> (LargeBinaryArray, StringArray) {
    let (mut texts, mut answers) = (LargeBinaryBuilder::new(), StringBuilder::new());
    let mut text = Vec::new();
    for row in 0..prompts.len() {
        text.clear();
        if prompts.is_null(row) || completions.is_null(row) {
            texts.append_null();
            answers.append_null();
            continue;
        }
        text.extend_from_slice(prompts.value(row));
        let begin = text.len();
        if is_utf8(prompts, row) {
            text.extend_from_slice(completions.value(row));
        }
        texts.append_value(&text);
        let answer = begin..text.len();
        answers.append_value(messages::list(&[answer], text.len()));
    }
    (texts.finish(), answers.finish())
}

/// The batch with the answers as its last column, where there are such.
fn with_answers(batch: &RecordBatch, answers: Option<StringArray>) -> RecordBatch {
    let Some(answers) = answers else { return batch.clone() };
    let mut fields = batch.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(ANSWERS, DataType::Utf8, true)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(answers));
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, columns).expect("a column of as many rows")
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

/// The values of an array of bytes, whatever its layout; `None` for other types.
fn bytes(array: &ArrayRef) -> Option<BinaryArray> {
    let is_bytes = |kind: &DataType| matches!(kind, DataType::Binary | DataType::LargeBinary);
    match array.data_type() {
        DataType::Binary => Some(narrow(array.as_binary::<i32>())),
        DataType::LargeBinary => Some(narrow(array.as_binary::<i64>())),
        DataType::Dictionary(_, values) if !is_bytes(values) => None,
        DataType::BinaryView | DataType::Dictionary(..) => {
            let wide = cast(array, &DataType::LargeBinary).ok()?;
            Some(narrow(wide.as_binary::<i64>()))
        }
        _ => None,
    }
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
