//! What bytes look like that hold no document, and what to do about it.
//!
//! In → the first bytes of a file, or a line that could not be read; out → a [`Look`]: the reason,
//! what was found, the remedy. By content, never by a name. The numbers are those of each format's
//! own specification; text without a byte order mark is told by where its zero bytes stand. Pure;
//! asked only of what failed to be read, so its cost does not count.

use std::fmt::Write;

use serde::de::IgnoredAny;

use crate::source::reject::Reason;

/// Bytes that an excerpt shows.
const EXCERPT_BYTES: usize = 32;
/// How much of a line or file decides what it looks like.
const HEAD_BYTES: usize = 64;

/// Why bytes are no documents; it cannot be made without what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub reason: Reason,
    /// `a zip archive: 50 4b 03 04 …`
    pub found: String,
    pub remedy: String,
}

impl Look {
    fn new(reason: Reason, bytes: &[u8]) -> Look {
        let found = format!("{}: {}", reason.what(), excerpt(bytes));
        Look { reason, found, remedy: reason.remedy().to_owned() }
    }
}

/// How a kind of file begins, what it is, and how its text is reached.
type Magic = (&'static [u8], &'static str, &'static str);

const UNPACK: &str = "unpack it, and give what is in it";
const CONVERT: &str = "write its text as Parquet or JSON Lines";
const FETCH: &str = "fetch the file again";

/// Kinds of files that are no text, by their first bytes.
const MAGIC: [Magic; 22] = [
    (b"\x1f\x8b", "gzip data", "it was compressed twice: unpack it once, as in `gzip -dc F > G`"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "it was compressed twice: unpack it once: `zstd -d F`"),
    (b"BZh", "bzip2 data", "it was compressed twice: unpack it once, as in `bzip2 -dc F > G`"),
    (b"\xfd7zXZ\0", "xz data", "it was compressed twice: unpack it once, as in `xz -dc F > G`"),
    (b"\x5d\0\0", "lzma data", "write it again as `.zst` or `.gz`: `xz -dc F | zstd -o F.zst`"),
    (b"\x04\x22\x4d\x18", "lz4 data", "write it again as `.zst` or `.gz`: `lz4 -dc F | zstd -o G`"),
    (b"\xff\x06\0\0sNaPpY", "snappy data", "write it again as `.zst` or `.gz`"),
    (b"PK\x03\x04", "a zip archive", UNPACK),
    (b"PK\x05\x06", "an empty zip archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a rar archive", UNPACK),
    (b"PAR1", "Parquet", "unpack it, and give it the ending `.parquet`"),
    (b"ARROW1", "an Arrow file", "give it the ending `.arrow`"),
    (b"Obj\x01", "an Avro file", CONVERT),
    (b"ORC", "an ORC file", CONVERT),
    (b"\x89HDF", "an HDF5 file", CONVERT),
    (b"\x93NUMPY", "a NumPy array", CONVERT),
    (b"SQLite format 3", "an SQLite database", CONVERT),
    (b"%PDF", "a PDF", CONVERT),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (b"<!", "a web page", FETCH),
    (b"<html", "a web page", FETCH),
];

/// The kind of file that begins so, if it is none that is read as text.
pub fn kind_of(head: &[u8]) -> Option<Look> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let begins =
        |magic: &[u8]| head.len() >= magic.len() && head[..magic.len()].eq_ignore_ascii_case(magic);
    if let Some((_, what, remedy)) = MAGIC.iter().find(|(magic, ..)| begins(magic)) {
        let found = format!("{what}: {}", excerpt(head));
        return Some(Look { reason: Reason::NotText, found, remedy: (*remedy).to_owned() });
    }
    // A tar archive's header says so in its middle.
    if head.get(257..262) == Some(b"ustar") {
        let found = format!("a tar archive: {}", excerpt(head));
        return Some(Look { reason: Reason::NotText, found, remedy: UNPACK.to_owned() });
    }
    encoding_of(head).map(|reason| Look::new(reason, head))
}

/// UTF-16, UTF-32 or nothing but zero bytes, by byte order mark or by where zero bytes stand.
fn encoding_of(bytes: &[u8]) -> Option<Reason> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some(Reason::Utf32),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some(Reason::Utf16),
        _ => {}
    }
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let zeros = |from: usize, step: usize| {
        head.iter().skip(from).step_by(step).filter(|byte| **byte == 0).count()
    };
    let all = zeros(0, 1);
    if !head.is_empty() && all == head.len() {
        return Some(Reason::ZeroBytes);
    }
    // ASCII in UTF-16 has one zero in two bytes, always on one side; in UTF-32 three in four.
    let many = head.len() >= 4 && all * 3 >= head.len();
    let one_side = zeros(0, 2) == 0 || zeros(1, 2) == 0;
    match () {
        () if many && one_side => Some(Reason::Utf16),
        () if head.len() >= 8 && all * 20 >= head.len() * 13 => Some(Reason::Utf32),
        () if head.starts_with(&[0; 8]) => Some(Reason::ZeroBytes),
        () => None,
    }
}

/// What a line looks like that could not be parsed as an object with a text.
pub fn of_line(line: &[u8]) -> Reason {
    if let Some(reason) = encoding_of(line) {
        return reason;
    }
    let Ok(text) = std::str::from_utf8(line) else {
        // `<!` and the like are text; what is not may be a kind of file.
        return kind_of(line).map_or(Reason::InvalidUtf8, |look| look.reason);
    };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let begins = |text: &str, with| text.trim_start().starts_with(with);
    match values.next() {
        Some(Ok(_)) => {
            let rest = &text[values.byte_offset()..];
            match () {
                () if rest.trim().is_empty() && begins(text, '{') => Reason::LoneSurrogate,
                () if rest.trim().is_empty() && begins(text, '[') => of_array(text),
                () if rest.trim().is_empty() => Reason::NotAnObject,
                () if begins(text, '{') && rest.starts_with('\r') => Reason::CrLines,
                () if begins(text, '{') && begins(rest, '{') => Reason::SeveralObjects,
                () => Reason::InvalidJson,
            }
        }
        _ => Reason::InvalidJson,
    }
}

/// An array of objects is many documents in one line; any other is one line that is no document.
fn of_array(text: &str) -> Reason {
    match text.trim_start()[1..].trim_start().starts_with('{') {
        true => Reason::JsonArray,
        false => Reason::NotAnObject,
    }
}

/// What a file is that is not JSON Lines, judged by its first `block`, of which no line is a
/// document; nothing where it may be JSON Lines. `is_all`: the block is the whole file.
pub fn of_file(block: &[u8], is_all: bool) -> Option<Look> {
    if let Some(look) = kind_of(block) {
        return Some(look);
    }
    let block = block.strip_prefix(b"\xef\xbb\xbf").unwrap_or(block);
    let start = block.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let text = &block[start..];
    let first_line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
    let reason = match text[0] {
        b'{' if !text.contains(&b'\n') && is_cr_lines(text) => Reason::CrLines,
        b'[' if opens_object(&text[1..]) => Reason::JsonArray,
        b'{' if goes_over_lines(text, first_line.len(), is_all) => Reason::JsonOverLines,
        _ => return None,
    };
    Some(Look::new(reason, text))
}

/// Whether the first value is directly followed by a CR.
fn is_cr_lines(text: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    matches!(values.next(), Some(Ok(_))) && text.get(values.byte_offset()) == Some(&b'\r')
}

fn opens_object(text: &[u8]) -> bool {
    text.iter().find(|byte| !byte.is_ascii_whitespace()).is_none_or(|first| *first == b'{')
}

/// Whether the first JSON value goes on past the end of the first line, as far as the block shows
/// it.
fn goes_over_lines(text: &[u8], first_line: usize, is_all: bool) -> bool {
    if first_line == text.len() {
        return false;
    }
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => values.byte_offset() > first_line,
        Some(Err(error)) => error.is_eof() && !is_all,
        None => false,
    }
}

/// The first bytes as text where they are text, else in hexadecimal.
pub fn excerpt(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(EXCERPT_BYTES)];
    let more = if head.len() < bytes.len() { " …" } else { "" };
    // A character that the cut goes through is left out.
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    if let Some(text) = text.filter(|text| !text.contains('\0')) {
        let escaped: String = text.chars().flat_map(escape).collect();
        return format!("`{escaped}`{more}");
    }
    let mut hex = String::new();
    for byte in &head[..head.len().min(EXCERPT_BYTES / 2)] {
        let _ = write!(hex, "{byte:02x} ");
    }
    format!("`{}`{}", hex.trim_end(), if bytes.len() > EXCERPT_BYTES / 2 { " …" } else { "" })
}

/// Control characters, which a terminal would obey, are shown as escapes.
fn escape(c: char) -> Box<dyn Iterator<Item = char>> {
    let obeyed = c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
    if obeyed { Box::new(c.escape_default()) } else { Box::new(std::iter::once(c)) }
}
