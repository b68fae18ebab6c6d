//! JSON that is no JSON Lines: an array of objects, or objects one after another over several
//! lines; plain or compressed.
//!
//! The array is never held: a scanner that knows strings and brackets cuts its elements out of the
//! stream ([`Values`]), workers parse them as lines of JSON Lines are parsed. An element that is no
//! object with a text is a reject; a stream that ends inside a value or an array, or has something
//! else between values, is a damaged file. Recognised by content: an array of objects, or an object
//! that goes on over the end of its first line. Cost: one pass of the scanner, which skips through
//! strings with `memchr`, and the parse.

use std::ops::Range;

use memchr::memchr2;

use super::documents::Documents;
use super::objects::{self, Beginnings, Objects, quoted};
use super::pieces::{self, Broken, Parse, Scan};
use super::record::Record;
use super::{Ask, Beginning, Format, Head, Limit, Probe, Request, Tasks, jsonl, stream};
use crate::base::error::Result;
use crate::source::look;
use crate::source::reject::Reason;
use crate::store::Stored;

/// The format's entry in the registry.
pub struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "JSON"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".json"]
    }

    /// A `.json` may be anything: settings, an index, a report.
    fn why_passed_over(&self, file: &Stored, ask: &Ask) -> Result<Option<String>> {
        let beginning = match is_over_lines(&Head::read(file)?) {
            true => beginning(file, ask)?,
            false => jsonl::beginning(file, ask)?,
        };
        Ok(match beginning {
            Beginning::Document => None,
            Beginning::Blank => Some("empty".to_owned()),
            Beginning::Other(_, look) => Some(look.found),
            Beginning::NoText(_, fields) => {
                let text = &ask.text_column;
                Some(format!("its objects have no `{text}`, but {}", quoted(&fields)))
            }
            Beginning::Unclear => Some("no whole object at its beginning".to_owned()),
        })
    }

    fn probe(&self, file: &Stored, ask: &Ask) -> Result<Probe> {
        Ok(Probe {
            columns: objects::columns(ask),
            layout: stream::layout(file)?,
            beginning: beginning(file, ask)?,
            ..Probe::default()
        })
    }

    fn count(&self, file: &Stored, _: &Probe, _: &Ask, documents_max: u64) -> Result<Limit> {
        pieces::count(file, Values::default(), documents_max)
    }

    fn read(&self, request: &Request<'_>) -> Result<Box<dyn Tasks>> {
        let element =
            Element { objects: Objects::new(request, "value"), record: Record::default() };
        pieces::tasks(request, Values::default(), element, objects::shape(request))
    }
}

/// Whether a file is JSON of this kind, and no JSON Lines.
pub(super) fn is_over_lines(head: &Head) -> bool {
    let look = look::of_file(&head.text, head.is_all);
    look.is_some_and(|look| matches!(look.reason, Reason::JsonArray | Reason::JsonOverLines))
}

fn beginning(file: &Stored, ask: &Ask) -> Result<Beginning> {
    let mut seen = Beginnings::new(ask);
    let is_document = |offset, bytes: Option<&[u8]>| {
        bytes.filter(|bytes| seen.is_document(offset, bytes)).map(|_| Beginning::Document)
    };
    let found = pieces::beginning(file, Values::default(), is_document);
    Ok(pieces::unless_broken(found)?.or_else(|| seen.without_text()).unwrap_or(Beginning::Unclear))
}

/// What a worker does with an element.
struct Element {
    objects: Objects,
    record: Record,
}

impl Clone for Element {
    fn clone(&self) -> Element {
        Element { objects: self.objects.clone(), record: Record::default() }
    }
}

impl Parse for Element {
    fn parse(&mut self, offset: u64, bytes: Option<&[u8]>, documents: &mut Documents<'_>) {
        match bytes {
            Some(bytes) => {
                self.objects.parse(offset, bytes, None, (&mut self.record, documents));
            }
            None => documents.reject(self.objects.too_large(offset)),
        }
    }
}

/// Elements of arrays, and values that stand by themselves.
#[derive(Default)]
struct Values {
    in_array: bool,
    value: Option<Value>,
}

/// The value being read.
#[derive(Clone, Copy)]
struct Value {
    start: u64,
    /// Objects and arrays that are open; none in a number or a word.
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Value {
    /// Reads on in `bytes`. Returns how many of them belong to the value, if it ends there.
    fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.escaped {
                self.escaped = false;
                at += 1;
                continue;
            }
            if self.in_string {
                at += memchr2(b'"', b'\\', &bytes[at..])? + 1;
                match bytes[at - 1] {
                    b'"' => self.in_string = false,
                    _ => self.escaped = true,
                }
                if !self.in_string && self.depth == 0 {
                    return Some(at);
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                b'}' | b']' if self.depth == 1 => return Some(at + 1),
                b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => {
                    return Some(at);
                }
                _ => {}
            }
            at += 1;
        }
        None
    }
}

impl Scan for Values {
    fn scan(
        &mut self,
        bytes: &[u8],
        offset: u64,
        found: &mut Vec<Range<u64>>,
    ) -> Result<(), Broken> {
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at as u64;
            if let Some(value) = &mut self.value {
                let Some(length) = value.end_in(&bytes[at..]) else { return Ok(()) };
                found.push(value.start..place + length as u64);
                self.value = None;
                at += length;
                continue;
            }
            match bytes[at] {
                b' ' | b'\t' | b'\r' | b'\n' | b',' => at += 1,
                // A byte order mark.
                0xef | 0xbb | 0xbf if place < 3 => at += 1,
                b'[' if !self.in_array => (self.in_array, at) = (true, at + 1),
                b']' if self.in_array => (self.in_array, at) = (false, at + 1),
                b'}' | b']' | b':' | 0 => return Err(self.broken(place, &bytes[at..])),
                _ if !self.in_array && bytes[at] != b'{' => {
                    return Err(self.broken(place, &bytes[at..]));
                }
                _ => {
                    let start = place;
                    self.value = Some(Value { start, depth: 0, in_string: false, escaped: false });
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, offset: u64) -> Result<Option<Range<u64>>, Broken> {
        let message = match (self.value, self.in_array) {
            (None, false) => return Ok(None),
            (Some(value), _) => {
                format!("the data end inside the value that begins at byte {}", value.start)
            }
            (None, true) => "the data end before their array does".to_owned(),
        };
        Err(Broken { offset, message })
    }

    fn open(&self) -> Option<u64> {
        self.value.map(|value| value.start)
    }
}

impl Values {
    fn broken(&self, offset: u64, bytes: &[u8]) -> Broken {
        let expected = if self.in_array { "a value or `]`" } else { "an object or an array" };
        let message = format!("expected {expected}, found {}", look::excerpt(bytes));
        Broken { offset, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values of `text`, shown to the scanner in pieces of `step` bytes.
    fn values(text: &str, step: usize) -> Result<Vec<&str>, String> {
        let (mut scan, mut found) = (Values::default(), Vec::new());
        for (index, bytes) in text.as_bytes().chunks(step).enumerate() {
            let offset = (index * step) as u64;
            scan.scan(bytes, offset, &mut found)
                .map_err(|b| format!("{}: {}", b.offset, b.message))?;
        }
        let end =
            scan.end(text.len() as u64).map_err(|b| format!("{}: {}", b.offset, b.message))?;
        assert_eq!(end, None);
        Ok(found.into_iter().map(|r| &text[r.start as usize..r.end as usize]).collect())
    }

    #[test]
    fn values_are_found_in_arrays_and_one_after_another() {
        let text = " [ {\"a\": \"}]\\\"\" } ,17,\"x,\\\\\",null, [[1],{}]]\r\n{\n}{}[]";
        let expect = ["{\"a\": \"}]\\\"\" }", "17", "\"x,\\\\\"", "null", "[[1],{}]", "{\n}", "{}"];
        for step in [1, 2, 3, 7, 100] {
            assert_eq!(values(text, step).unwrap(), expect);
        }
        assert_eq!(values("\u{feff}[{}]", 1).unwrap(), ["{}"]);
        for (text, expect) in [
            ("[{\"a\":1}", "8: the data end before their array does"),
            ("[{\"a\":\"", "7: the data end inside the value that begins at byte 1"),
            ("[{}]]", "4: expected an object or an array, found `]`"),
            ("{} x", "3: expected an object or an array, found `x`"),
            ("[{}:", "3: expected a value or `]`, found `:`"),
        ] {
            assert_eq!(values(text, 3).unwrap_err(), expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_array_has_the_values_that_it_was_made_of(
            texts in prop::collection::vec("[\\[\\]{},\"\\\\é ]{0,9}", 0..20),
            step in 1usize..50,
            pretty: bool,
        ) {
            let objects: Vec<_> = texts.iter().map(|t| serde_json::json!({"text": [t]})).collect();
            let text = match pretty {
                true => serde_json::to_string_pretty(&objects).unwrap(),
                false => serde_json::to_string(&objects).unwrap(),
            };
            let found: Vec<serde_json::Value> = values(&text, step)
                .unwrap()
                .iter()
                .map(|value| serde_json::from_str(value).unwrap())
                .collect();
            prop_assert_eq!(found, objects);
        }
    }
}
