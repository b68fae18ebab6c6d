//! WARC and WET: the records that hold extracted text.
//!
//! A record is its header (lines of `Name: value`, ended by an empty one), `Content-Length` bytes
//! and two line ends (ISO 28500:2017, section 4). Records of the type `conversion` are documents:
//! the text is their content, the id their `WARC-Record-ID` (or the header field that `id_column`
//! names), the other header fields become the JSON string `metadata`, in their order. Other records
//! are passed over; a file that begins with pages as they were fetched (`response`) is refused,
//! since taking text out of HTML is no reading. A record that does not begin as one, has no length,
//! or ends before its length is a damaged file. Mostly one gzip member a record; any compression.

use std::ops::Range;

use arrow::datatypes::DataType;
use memchr::memchr;

use super::documents::{Documents, Shape};
use super::objects::METADATA;
use super::pieces::{self, Broken, Parse, Scan};
use super::text::not_utf8;
use super::{Ask, Beginning, Format, Head, Limit, Probe, Request, Tasks, stream};
use crate::base::error::Result;
use crate::source::look::{self, Look};
use crate::source::reject::{Reason, Reject};
use crate::store::Stored;

/// What a record's first line begins with.
const VERSION: &[u8] = b"WARC/";
/// A longer header is taken for damage.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// The header field that is the id where nobody asks for another.
const RECORD_ID: &str = "WARC-Record-ID";

/// The format's entry in the registry.
pub struct Warc;

impl Format for Warc {
    fn name(&self) -> &'static str {
        "WARC"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".warc.wet", ".wet", ".warc"]
    }

    fn recognizes(&self, head: &Head) -> bool {
        head.text.starts_with(VERSION)
    }

    fn probe(&self, file: &Stored, _: &Ask) -> Result<Probe> {
        Ok(Probe {
            columns: vec![(METADATA.to_owned(), DataType::Utf8)],
            layout: stream::layout(file)?,
            beginning: beginning(file)?,
            ..Probe::default()
        })
    }

    fn count(&self, file: &Stored, _: &Probe, _: &Ask, documents_max: u64) -> Result<Limit> {
        pieces::count(file, Records::default(), documents_max)
    }

    fn read(&self, request: &Request<'_>) -> Result<Box<dyn Tasks>> {
        let shape = Shape { has: vec![METADATA.to_owned()], asked: request.columns.to_vec() };
        let record = Conversion {
            id: request.ask.id_column.clone().unwrap_or_else(|| RECORD_ID.to_owned()),
            metadata: shape.wants(METADATA),
            document_bytes_max: request.document_bytes_max,
        };
        pieces::tasks(request, Records::default(), record, shape)
    }
}

/// Pages as they were fetched are no texts; what cannot be told is left to the reader.
fn beginning(file: &Stored) -> Result<Beginning> {
    let see = |offset, bytes: Option<&[u8]>| {
        let kind = bytes.and_then(Header::of).and_then(|header| header.get("WARC-Type"));
        match kind.as_deref() {
            Some("conversion") => Some(Beginning::Document),
            Some("response" | "request" | "resource" | "revisit") => {
                let found = "pages as they were fetched (WARC), not their texts".to_owned();
                let remedy =
                    "give the WET files of the same crawl, or the texts that an extractor \
                              such as trafilatura makes of the pages"
                        .to_owned();
                Some(Beginning::Other(offset, Look { reason: Reason::NotText, found, remedy }))
            }
            _ => None,
        }
    };
    let all = Records { all: true, ..Records::default() };
    let seen = pieces::unless_broken(pieces::beginning(file, all, see))?;
    Ok(seen.unwrap_or(Beginning::Unclear))
}

/// Finds records; hands out those of the type `conversion`, or all.
#[derive(Default)]
struct Records {
    all: bool,
    start: Option<u64>,
    /// The header as far as it was seen.
    header: Vec<u8>,
    /// Bytes of content that are still to come; `None` until the header was seen whole.
    content: Option<u64>,
    is_wanted: bool,
}

impl Records {
    /// Takes a line of the header. Returns how many bytes it took, and whether it was the last
    /// line.
    fn header_line(&mut self, bytes: &[u8]) -> (usize, bool) {
        let line_end = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let line_start = self.header.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.header.extend_from_slice(&bytes[..line_end]);
        let line = &self.header[line_start..];
        (line_end, matches!(line, b"\r\n" | b"\n"))
    }

    fn broken(&self, offset: u64, message: String) -> Broken {
        Broken { offset, message }
    }

    /// Reads the length and the type out of the whole header.
    fn close_header(&mut self, start: u64) -> Result<(), Broken> {
        let header = Header::of(&self.header);
        let header = header.ok_or_else(|| {
            let here = look::excerpt(&self.header);
            self.broken(start, format!("expected a WARC record, found {here}"))
        })?;
        let length = header.get("Content-Length").and_then(|length| length.trim().parse().ok());
        let kind = header.get("WARC-Type");
        self.is_wanted = self.all || kind.as_deref() == Some("conversion");
        let Some(length) = length else {
            let message = "a WARC record without a `Content-Length`".to_owned();
            return Err(self.broken(start, message));
        };
        self.content = Some(length);
        self.header.clear();
        Ok(())
    }
}

impl Scan for Records {
    fn scan(
        &mut self,
        bytes: &[u8],
        offset: u64,
        found: &mut Vec<Range<u64>>,
    ) -> Result<(), Broken> {
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at as u64;
            let Some(start) = self.start else {
                match bytes[at] {
                    b'\r' | b'\n' => at += 1,
                    _ => self.start = Some(place),
                }
                continue;
            };
            if let Some(left) = self.content {
                let here = left.min((bytes.len() - at) as u64);
                at += here as usize;
                self.content = Some(left - here);
                if left == here {
                    if self.is_wanted {
                        found.push(start..place + here);
                    }
                    (self.start, self.content) = (None, None);
                }
                continue;
            }
            let (taken, is_last) = self.header_line(&bytes[at..]);
            at += taken;
            let known = self.header.len().min(VERSION.len());
            if self.header[..known] != VERSION[..known] || self.header.len() > HEADER_BYTES_MAX {
                let message =
                    format!("expected a WARC record, found {}", look::excerpt(&self.header));
                return Err(self.broken(start, message));
            }
            if is_last {
                self.close_header(start)?;
                // A record without content ends with its header.
                if self.content == Some(0) {
                    let end = offset + at as u64;
                    found.extend(self.is_wanted.then_some(start..end));
                    (self.start, self.content) = (None, None);
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, offset: u64) -> Result<Option<Range<u64>>, Broken> {
        match (self.start, self.content) {
            (None, _) => Ok(None),
            (Some(start), Some(left)) => Err(self.broken(
                offset,
                format!("the data end {left} bytes before the record that begins at byte {start}"),
            )),
            (Some(start), None) => Err(self.broken(
                offset,
                format!("the data end in the header of the record that begins at byte {start}"),
            )),
        }
    }

    fn open(&self) -> Option<u64> {
        self.start
    }
}

/// A record's header and content.
struct Header<'a> {
    fields: &'a [u8],
    content: &'a [u8],
}

impl<'a> Header<'a> {
    fn of(record: &'a [u8]) -> Option<Header<'a>> {
        if !record.starts_with(VERSION) {
            return None;
        }
        let mut from = memchr(b'\n', record)? + 1;
        let first = from;
        loop {
            let end = from + memchr(b'\n', &record[from..])? + 1;
            if matches!(&record[from..end], b"\r\n" | b"\n") {
                return Some(Header { fields: &record[first..from], content: &record[end..] });
            }
            from = end;
        }
    }

    /// Names and values. What is no UTF-8, as it came from the web, is replaced.
    fn fields(&self) -> impl Iterator<Item = (String, String)> {
        let lines = self.fields.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.filter_map(|line| {
            let colon = memchr(b':', line)?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            Some((text(&line[..colon]), text(&line[colon + 1..])))
        })
    }

    /// The value of the field `name`, whose case does not count.
    fn get(&self, name: &str) -> Option<String> {
        self.fields().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// What a worker does with a record.
#[derive(Clone)]
struct Conversion {
    id: String,
    metadata: bool,
    document_bytes_max: u64,
}

impl Parse for Conversion {
    fn parse(&mut self, offset: u64, bytes: Option<&[u8]>, documents: &mut Documents<'_>) {
        let header = bytes.and_then(Header::of);
        let max = self.document_bytes_max;
        let Some(header) = header.filter(|header| header.content.len() as u64 <= max) else {
            documents.reject(Reject::too_large(offset, "a record", max));
            return;
        };
        let Ok(text) = std::str::from_utf8(header.content) else {
            return documents.reject(not_utf8(offset, header.content));
        };
        let metadata = self.metadata.then(|| {
            let is_other = |(name, _): &(String, String)| !name.eq_ignore_ascii_case(&self.id);
            let field = |(name, value): (String, String)| {
                format!("{}:{}", serde_json::Value::from(name), serde_json::Value::from(value))
            };
            let fields: Vec<String> = header.fields().filter(is_other).map(field).collect();
            format!("{{{}}}", fields.join(","))
        });
        documents.push(offset, text, header.get(&self.id).as_deref(), [metadata.as_deref()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, content: &str) -> String {
        let length = content.len();
        format!(
            "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:1>\r\nContent-Length: \
             {length}\r\n\r\n{content}\r\n\r\n"
        )
    }

    fn contents(text: &str, step: usize) -> Result<Vec<String>, String> {
        let (mut scan, mut found) = (Records::default(), Vec::new());
        let said = |broken: Broken| format!("{}: {}", broken.offset, broken.message);
        for (index, bytes) in text.as_bytes().chunks(step).enumerate() {
            scan.scan(bytes, (index * step) as u64, &mut found).map_err(said)?;
        }
        assert_eq!(scan.end(text.len() as u64).map_err(said)?, None);
        let content = |record: Range<u64>| {
            let header = Header::of(&text.as_bytes()[record.start as usize..record.end as usize]);
            String::from_utf8(header.unwrap().content.to_vec()).unwrap()
        };
        Ok(found.into_iter().map(content).collect())
    }

    #[test]
    fn conversions_are_handed_out_whole_whatever_their_text_looks_like() {
        let odd = "WARC/1.0\r\nContent-Length: 7\r\n\r\n";
        let text =
            record("warcinfo", "by hand") + &record("conversion", odd) + &record("conversion", "");
        for step in [1, 2, 5, 64, 1000] {
            assert_eq!(contents(&text, step).unwrap(), [odd, ""]);
        }
    }

    #[test]
    fn what_is_no_record_is_damage_at_its_place() {
        let good = record("conversion", "text");
        let cut = &good[..good.len() - 6];
        assert!(contents(cut, 9).unwrap_err().contains("the data end 2 bytes before"), "{cut}");
        assert!(contents(&good[..30], 9).unwrap_err().contains("in the header"));
        let junk = good.clone() + "junk\r\n\r\n";
        let expect = format!("{}: expected a WARC record, found `junk", good.len());
        assert!(contents(&junk, 9).unwrap_err().starts_with(&expect));
        let without = good.replace("Content-Length", "Length");
        assert!(contents(&without, 9).unwrap_err().contains("without a `Content-Length`"));
    }
}
