//! Plain text and Markdown: a file is a document, or a separator stands between documents.
//!
//! Without a separator the whole file is the text, byte for byte, but for a byte order mark. With
//! one (`separator`, any string, as `<|endoftext|>` or an empty line) what stands between two of
//! them is a document, without the line ends at both of its sides; pieces of white space alone are
//! passed over. A text has no id of its own, so it is the text's hash (docs/design.md, section
//! 3.7); where the file lies is kept in the column [`FILE_PATH`], as FineWeb calls it. Whatever is
//! no UTF-8 is a reject; a file of another kind is refused before any work. Plain or compressed.

use std::ops::Range;

use arrow::datatypes::DataType;
use memchr::memmem;

use super::documents::{Documents, Shape};
use super::objects::BYTE_ORDER_MARK;
use super::pieces::{self, Broken, Parse, Scan};
use super::{Ask, Beginning, Format, Head, Limit, Named, Probe, Request, Tasks, stream};
use crate::base::error::Result;
use crate::source::look;
use crate::source::reject::{Reason, Reject};
use crate::store::Stored;

/// The column with the file's name relative to its source's folder.
const FILE_PATH: &str = "file_path";

/// The format's entry in the registry.
pub struct Text;

impl Format for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".txt", ".text", ".md", ".markdown", ".mdx", ".rst"]
    }

    fn named(&self) -> Named {
        Named::Prose
    }

    fn probe(&self, file: &Stored, _: &Ask) -> Result<Probe> {
        Ok(Probe {
            columns: vec![(FILE_PATH.to_owned(), DataType::Utf8)],
            layout: stream::layout(file)?,
            beginning: beginning_of(&Head::read(file)?),
            ..Probe::default()
        })
    }

    fn count(&self, file: &Stored, _: &Probe, ask: &Ask, documents_max: u64) -> Result<Limit> {
        pieces::count(file, Separated::new(ask.separator.as_deref()), documents_max)
    }

    fn read(&self, request: &Request<'_>) -> Result<Box<dyn Tasks>> {
        let separator = request.ask.separator.as_deref();
        let piece = Piece {
            file_path: request.name.to_owned(),
            is_split: separator.is_some(),
            document_bytes_max: request.document_bytes_max,
        };
        let shape = Shape { has: vec![FILE_PATH.to_owned()], asked: request.columns.to_vec() };
        pieces::tasks(request, Separated::new(separator), piece, shape)
    }
}

/// What a file holds whose name says text. Bytes that are text in UTF-8 are text, whatever they
/// spell; others may be another kind of file.
pub(super) fn beginning_of(head: &Head) -> Beginning {
    let is_utf8 = match std::str::from_utf8(&head.text) {
        Ok(_) => true,
        // The head may end inside a character.
        Err(error) => error.error_len().is_none() && !head.is_all,
    };
    // Most other kinds of files begin with control characters that no text has.
    let is_text = is_utf8 && !head.text.iter().any(|byte| matches!(byte, 0..=8 | 14..=26));
    match look::kind_of(&head.text).filter(|_| !is_text) {
        Some(look) => Beginning::Other(0, look),
        None if head.text.is_empty() && head.is_all => Beginning::Blank,
        None => Beginning::Document,
    }
}

/// Pieces between separators; the whole stream where there is none.
struct Separated {
    separator: Option<memmem::Finder<'static>>,
    /// The last bytes seen, at most one fewer than a separator has: it may lie across two reads.
    tail: Vec<u8>,
    start: u64,
    /// Whether the piece has anything but white space.
    has_text: bool,
}

impl Separated {
    fn new(separator: Option<&str>) -> Separated {
        let separator = separator.map(|text| memmem::Finder::new(text.as_bytes()).into_owned());
        Separated { separator, tail: Vec::new(), start: 0, has_text: false }
    }

    /// Ends the piece at `end`.
    fn close(&mut self, end: u64, next: u64, found: &mut Vec<Range<u64>>) {
        if self.has_text {
            found.push(self.start..end);
        }
        (self.start, self.has_text) = (next, false);
    }
}

fn has_text(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| !byte.is_ascii_whitespace())
}

impl Scan for Separated {
    fn scan(
        &mut self,
        bytes: &[u8],
        offset: u64,
        found: &mut Vec<Range<u64>>,
    ) -> Result<(), Broken> {
        let Some(separator) = self.separator.clone() else {
            self.has_text |= !bytes.is_empty();
            return Ok(());
        };
        let length = separator.needle().len();
        // The tail of the bytes before is searched again, together with these.
        let kept = self.tail.len();
        let mut all = std::mem::take(&mut self.tail);
        all.extend_from_slice(bytes);
        let base = offset - kept as u64;
        let mut from = (self.start.saturating_sub(base)) as usize;
        while let Some(at) = separator.find(&all[from..]) {
            let end = from + at;
            self.has_text |= has_text(&all[from..end]);
            self.close(base + end as u64, base + (end + length) as u64, found);
            from = end + length;
        }
        let keep = all.len().saturating_sub(length - 1).max(from);
        self.has_text |= has_text(&all[from..keep]);
        self.tail = all.split_off(keep);
        Ok(())
    }

    fn end(&mut self, offset: u64) -> Result<Option<Range<u64>>, Broken> {
        self.has_text |= has_text(&self.tail);
        Ok((self.has_text && self.start < offset).then_some(self.start..offset))
    }

    fn open(&self) -> Option<u64> {
        Some(self.start)
    }
}

/// What a worker does with a piece.
#[derive(Clone)]
struct Piece {
    file_path: String,
    is_split: bool,
    document_bytes_max: u64,
}

impl Parse for Piece {
    fn parse(&mut self, offset: u64, bytes: Option<&[u8]>, documents: &mut Documents<'_>) {
        let bytes = bytes.filter(|bytes| bytes.len() as u64 <= self.document_bytes_max);
        let Some(bytes) = bytes else {
            documents.reject(Reject::too_large(offset, "a text", self.document_bytes_max));
            return;
        };
        let bytes = match offset {
            0 => bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes),
            _ => bytes,
        };
        let Ok(text) = std::str::from_utf8(bytes) else {
            return documents.reject(not_utf8(offset, bytes));
        };
        let text = if self.is_split { text.trim_matches(['\r', '\n']) } else { text };
        documents.push(offset, text, None, [Some(self.file_path.as_str())]);
    }
}

/// The reject for a text that is no UTF-8, with the place of the first byte that is none.
pub(super) fn not_utf8(offset: u64, bytes: &[u8]) -> Reject {
    let at = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let reason = match look::of_line(bytes) {
        reason @ (Reason::Utf16 | Reason::Utf32 | Reason::ZeroBytes) => reason,
        _ => Reason::InvalidUtf8,
    };
    let here = look::excerpt(&bytes[at..]);
    let found = format!("{} at byte {}: {here}", reason.what(), offset + at as u64);
    Reject::new(offset, reason, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces<'a>(text: &'a str, separator: Option<&str>, step: usize) -> Vec<&'a str> {
        let (mut scan, mut found) = (Separated::new(separator), Vec::new());
        for (index, bytes) in text.as_bytes().chunks(step).enumerate() {
            let open = scan.open().unwrap();
            scan.scan(bytes, (index * step) as u64, &mut found).unwrap();
            assert!(found.iter().all(|piece| piece.start >= open || piece.end <= open));
        }
        found.extend(scan.end(text.len() as u64).unwrap());
        found.into_iter().map(|piece| &text[piece.start as usize..piece.end as usize]).collect()
    }

    #[test]
    fn a_file_is_a_document_or_its_pieces_are() {
        for step in 1..9 {
            assert_eq!(pieces(" a\n\nb ", None, step), [" a\n\nb "]);
            assert_eq!(pieces("", None, step), [""; 0]);
            let text = "==one\n====two= ==\n \n==";
            assert_eq!(pieces(text, Some("=="), step), ["one\n", "two= "]);
            assert_eq!(pieces("a=b", Some("=="), step), ["a=b"]);
            assert_eq!(pieces("\n\n", Some("x"), step), [""; 0]);
        }
    }

    proptest! {
        #[test]
        fn pieces_are_what_split_gives(
            text in "[ab\n]{0,60}",
            separator in "[ab\n]{1,3}",
            step in 1usize..9,
        ) {
            let expect: Vec<&str> =
                text.split(separator.as_str()).filter(|piece| !piece.trim().is_empty()).collect();
            prop_assert_eq!(pieces(&text, Some(&separator), step), expect);
        }
    }
}
