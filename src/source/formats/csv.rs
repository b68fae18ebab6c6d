//! CSV and TSV with a header: quotes, embedded line ends, `,` `\t` `;` or `|` between fields.
//!
//! The header names the columns; every other column is a string column, and an empty field in one
//! is null. The delimiter is the one with which the header has the text column. Quotes are RFC
//! 4180's, as `csv-core` reads them: a quoted field may hold line ends and delimiters, and two
//! quotes in it stand for one. LF, CRLF and CR end a row, blank rows are passed over. A row with
//! another number of fields than the header is a reject; a file that ends inside quotes is damaged.
//! The producer finds the ends of rows ([`Rows`]), which takes knowing the quotes, workers split
//! them into fields. Plain or compressed.

use std::ops::Range;

use arrow::datatypes::DataType;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr3};

use super::documents::{Documents, Shape};
use super::objects::{BYTE_ORDER_MARK, quoted};
use super::pieces::{self, Broken, Parse, Scan};
use super::table::missing;
use super::text::{beginning_of, not_utf8};
use super::{Ask, Beginning, Format, Head, Limit, Named, Probe, Request, Tasks, stream};
use crate::base::error::{Error, Result};
use crate::source::look;
use crate::source::reject::{Reason, Reject};
use crate::store::Stored;

/// Delimiters that are tried: the first with which the header has the text column is taken.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// The format's entry in the registry.
pub struct Csv;

impl Format for Csv {
    fn name(&self) -> &'static str {
        "CSV"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".csv", ".tsv"]
    }

    fn named(&self) -> Named {
        Named::Name
    }

    /// A table may hold anything: its beginning and its header decide.
    fn why_passed_over(&self, file: &Stored, ask: &Ask) -> Result<Option<String>> {
        let header = match Header::read(file, ask) {
            // The reader says what is wrong.
            Err(Error::Damaged { .. }) => return Ok(None),
            header => header?,
        };
        let (text, names) = (&ask.text_column, quoted(&header.names));
        Ok(match (header.text, beginning_of(&Head::read(file)?)) {
            (_, Beginning::Other(_, look)) => Some(look.found),
            (None, _) => Some(format!("its header has no `{text}`, but {names}")),
            (Some(_), _) => None,
        })
    }

    fn probe(&self, file: &Stored, ask: &Ask) -> Result<Probe> {
        let beginning = beginning_of(&Head::read(file)?);
        if beginning != Beginning::Document {
            return Ok(Probe { beginning, ..Probe::default() });
        }
        let header = Header::read(file, ask)?;
        let names = || header.names.iter().map(String::as_str);
        if header.text.is_none() {
            return Err(missing(file.path(), "text", &ask.text_column, names(), "--text-column"));
        }
        if let (None, Some(id)) = (header.id, &ask.id_column) {
            return Err(missing(file.path(), "id", id, names(), "--id-column"));
        }
        let twice = |(place, name): (usize, &String)| {
            let again = header.names[..place].contains(name);
            again.then(|| {
                format!("there are two columns `{name}`: the first is read, the other left out")
            })
        };
        Ok(Probe {
            columns: header.others().map(|(_, name)| (name.to_owned(), DataType::Utf8)).collect(),
            layout: stream::layout(file)?,
            beginning,
            notices: header.names.iter().enumerate().filter_map(twice).collect(),
            ..Probe::default()
        })
    }

    fn count(&self, file: &Stored, _: &Probe, ask: &Ask, documents_max: u64) -> Result<Limit> {
        let header = Header::read(file, ask)?;
        pieces::count(file, Rows::below_header(header.delimiter), documents_max)
    }

    fn read(&self, request: &Request<'_>) -> Result<Box<dyn Tasks>> {
        let header = Header::read(request.file, request.ask)?;
        let Some(text) = header.text else {
            let message = "its header changed since the plan was made";
            return Err(Error::damaged(request.file.path(), None, message));
        };
        let others = header.others().map(|(place, _)| place).collect();
        let has = header.others().map(|(_, name)| name.to_owned()).collect();
        let row = Row {
            text,
            id: header.id,
            others,
            delimiter: header.delimiter,
            document_bytes_max: request.document_bytes_max,
            reader: ReaderBuilder::new().delimiter(header.delimiter).build(),
            fields: Vec::new(),
            ends: vec![0; header.names.len() + 1],
            names: header.names,
        };
        let shape = Shape { has, asked: request.columns.to_vec() };
        pieces::tasks(request, Rows::below_header(header.delimiter), row, shape)
    }
}

/// The first row.
struct Header {
    delimiter: u8,
    names: Vec<String>,
    text: Option<usize>,
    id: Option<usize>,
}

impl Header {
    fn read(file: &Stored, ask: &Ask) -> Result<Header> {
        let mut best: Option<Header> = None;
        for delimiter in DELIMITERS {
            let row = |_, bytes: Option<&[u8]>| bytes.map(|bytes| names(bytes, delimiter));
            let names = pieces::beginning(file, Rows::new(delimiter), row)?.unwrap_or_default();
            let find = |wanted: &str| names.iter().position(|name| name == wanted);
            let (text, id) = (find(&ask.text_column), find(ask.id_name()));
            let header = Header { delimiter, text, id: id.filter(|id| Some(*id) != text), names };
            if header.text.is_some() {
                return Ok(header);
            }
            if best.as_ref().is_none_or(|best| best.names.len() < header.names.len()) {
                best = Some(header);
            }
        }
        Ok(best.expect("there is a delimiter"))
    }

    /// Columns other than text and id; of two with one name only the first.
    fn others(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_other = |(place, name): &(usize, &String)| {
            let is_leading = Some(*place) == self.text || Some(*place) == self.id;
            !is_leading && !self.names[..*place].contains(name)
        };
        self.names.iter().enumerate().filter(is_other).map(|(place, name)| (place, name.as_str()))
    }
}

/// A header's names; a nameless field, as pandas writes for its index, is `column_1` by its place.
fn names(row: &[u8], delimiter: u8) -> Vec<String> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).build();
    let (mut fields, mut ends) = (Vec::new(), vec![0; row.len() + 1]);
    let count = split(&mut reader, row, &mut fields, &mut ends).unwrap_or(0);
    let mut start = 0;
    let name = |(place, end): (usize, &usize)| {
        let name = String::from_utf8_lossy(&fields[start..*end]).trim().to_owned();
        start = *end;
        if name.is_empty() { format!("column_{}", place + 1) } else { name }
    };
    ends[..count].iter().enumerate().map(name).collect()
}

/// Splits a row. Returns the number of its fields, `None` where there are more than `ends`.
fn split(
    reader: &mut Reader,
    row: &[u8],
    fields: &mut Vec<u8>,
    ends: &mut [usize],
) -> Option<usize> {
    reader.reset();
    fields.resize(row.len() + 1, 0);
    let (mut input, mut written, mut count) = (row, 0, 0);
    loop {
        let (result, read, wrote, ended) =
            reader.read_record(input, &mut fields[written..], &mut ends[count..]);
        input = &input[read..];
        written += wrote;
        count += ended;
        match result {
            // The next call, without input, ends the row.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::Record | ReadRecordResult::End => return Some(count),
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => return None,
        }
    }
}

/// Finds the ends of rows as `csv-core` would.
struct Rows {
    delimiter: u8,
    /// Whether the next row is the header, which is not handed out.
    header: bool,
    start: Option<u64>,
    place: Place,
    /// Bytes of a byte order mark at the very beginning.
    marked: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    FieldStart,
    Field,
    Quoted,
    /// After a quote in a quoted field: the field's end, or the first of two quotes.
    Quote,
}

impl Rows {
    fn new(delimiter: u8) -> Rows {
        Rows { delimiter, header: false, start: None, place: Place::FieldStart, marked: 0 }
    }

    fn below_header(delimiter: u8) -> Rows {
        Rows { header: true, ..Rows::new(delimiter) }
    }

    fn close(&mut self, end: u64) -> Option<Range<u64>> {
        self.place = Place::FieldStart;
        let row = self.start.take()?..end;
        if std::mem::take(&mut self.header) { None } else { Some(row) }
    }
}

impl Scan for Rows {
    fn scan(
        &mut self,
        bytes: &[u8],
        offset: u64,
        found: &mut Vec<Range<u64>>,
    ) -> Result<(), Broken> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            let place = offset + at as u64;
            if self.start.is_none() {
                match byte {
                    b'\r' | b'\n' => at += 1,
                    _ => self.start = Some(place),
                }
                continue;
            }
            // A byte order mark belongs to the first row, and a quote may follow it.
            if place == self.marked && BYTE_ORDER_MARK.get(place as usize) == Some(&byte) {
                (at, self.marked) = (at + 1, place + 1);
                continue;
            }
            match self.place {
                Place::Quoted => match memchr(b'"', &bytes[at..]) {
                    Some(quote) => (at, self.place) = (at + quote + 1, Place::Quote),
                    None => return Ok(()),
                },
                Place::FieldStart | Place::Quote if byte == b'"' => {
                    (at, self.place) = (at + 1, Place::Quoted);
                }
                _ => {
                    self.place = Place::Field;
                    let Some(end) = memchr3(self.delimiter, b'\n', b'\r', &bytes[at..]) else {
                        return Ok(());
                    };
                    at += end + 1;
                    match bytes[at - 1] == self.delimiter {
                        true => self.place = Place::FieldStart,
                        false => found.extend(self.close(offset + at as u64 - 1)),
                    }
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, offset: u64) -> Result<Option<Range<u64>>, Broken> {
        match (self.place, self.start) {
            (Place::Quoted, Some(start)) => {
                let message =
                    format!("the data end inside quotes, in the row that begins at byte {start}");
                Err(Broken { offset, message })
            }
            _ => Ok(self.close(offset)),
        }
    }

    fn open(&self) -> Option<u64> {
        self.start
    }
}

/// What a worker does with a row.
struct Row {
    text: usize,
    id: Option<usize>,
    others: Vec<usize>,
    names: Vec<String>,
    delimiter: u8,
    document_bytes_max: u64,
    reader: Reader,
    /// The fields of a row without their quotes, and where each ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl Clone for Row {
    fn clone(&self) -> Row {
        Row {
            others: self.others.clone(),
            names: self.names.clone(),
            // A clone of csv-core's reader (0.1.13) forgets its delimiter.
            reader: ReaderBuilder::new().delimiter(self.delimiter).build(),
            fields: Vec::new(),
            ends: self.ends.clone(),
            ..*self
        }
    }
}

impl Row {
    fn field(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.fields[start..self.ends[place]]
    }

    /// The row's fields, or why it is no document.
    fn strings(&mut self, offset: u64, bytes: &[u8]) -> Result<Vec<&str>, Reject> {
        let count = split(&mut self.reader, bytes, &mut self.fields, &mut self.ends);
        if count != Some(self.names.len()) {
            let found = count.map_or("more".to_owned(), |count| count.to_string());
            let (expected, row) = (self.names.len(), look::excerpt(bytes));
            let found =
                format!("a row with {found} fields, where the header has {expected}: {row}");
            return Err(Reject::new(offset, Reason::WrongFields, found));
        }
        let string = |place: usize| {
            std::str::from_utf8(self.field(place)).map_err(|_| match place == self.text {
                true => not_utf8(offset, bytes),
                false => {
                    let (name, here) = (&self.names[place], look::excerpt(self.field(place)));
                    let found = format!("a row whose column `{name}` is no UTF-8: {here}");
                    Reject::new(offset, Reason::InvalidUtf8, found)
                }
            })
        };
        (0..self.names.len()).map(string).collect()
    }
}

impl Parse for Row {
    fn parse(&mut self, offset: u64, bytes: Option<&[u8]>, documents: &mut Documents<'_>) {
        let bytes = bytes.filter(|bytes| bytes.len() as u64 <= self.document_bytes_max);
        let Some(bytes) = bytes else {
            documents.reject(Reject::too_large(offset, "a row", self.document_bytes_max));
            return;
        };
        let (text, id, others) = (self.text, self.id, self.others.clone());
        match self.strings(offset, bytes) {
            Ok(fields) => {
                let value = |place: usize| Some(fields[place]).filter(|value| !value.is_empty());
                let others = others.into_iter().map(value);
                documents.push(offset, fields[text], id.and_then(value), others);
            }
            Err(reject) => documents.reject(reject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The fields of every row, shown to the scanner in pieces of `step` bytes.
    fn rows(text: &[u8], delimiter: u8, step: usize) -> Result<Vec<Vec<String>>, String> {
        let (mut scan, mut found) = (Rows::new(delimiter), Vec::new());
        for (index, bytes) in text.chunks(step).enumerate() {
            scan.scan(bytes, (index * step) as u64, &mut found).unwrap();
        }
        found.extend(scan.end(text.len() as u64).map_err(|broken| broken.message)?);
        let fields =
            |row: Range<u64>| names(&text[row.start as usize..row.end as usize], delimiter);
        Ok(found.into_iter().map(fields).collect())
    }

    #[test]
    fn quotes_hold_line_ends_delimiters_and_quotes() {
        let text = b"\xef\xbb\xbfid,\"te\"\"xt\"\r\n1,\"a,\nb\"\r\r\n\n\"\",5\" pipe\n2,\"x\"y\"";
        let expect = [["id", "te\"xt"], ["1", "a,\nb"], ["column_1", "5\" pipe"], ["2", "xy\""]];
        for step in 1..30 {
            assert_eq!(rows(text, b',', step).unwrap(), expect, "{step}");
        }
        assert!(rows(b"a,b\n1,\"open\n2,3\n", b',', 4).unwrap_err().contains("at byte 4"));
        assert!(rows(b"\n\r\n", b',', 1).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn rows_are_those_of_csv_core(text in "[a,\"\r\n]{0,40}", step in 1usize..9) {
            let (mut reader, mut expect) = (Reader::new(), Vec::new());
            let (mut fields, mut ends) = (vec![0; 100], vec![0; 100]);
            let mut input = text.as_bytes();
            let (mut written, mut count) = (0, 0);
            loop {
                let (result, read, wrote, ended) =
                    reader.read_record(input, &mut fields[written..], &mut ends[count..]);
                (input, written, count) = (&input[read..], written + wrote, count + ended);
                match result {
                    ReadRecordResult::InputEmpty => continue,
                    ReadRecordResult::Record => expect.push(count),
                    _ => break,
                }
                (written, count) = (0, 0);
            }
            // A text that ends inside quotes is damage here, and a row for `csv-core`.
            if let Ok(found) = rows(text.as_bytes(), b',', step) {
                prop_assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), expect);
            }
        }
    }
}
