//! Files of checked sections: what units hand to later phases, in a form of our own.
//!
//! In → byte sections, one after the other; out → a file from which any section can be read alone,
//! with its length and hash checked. Layout, all numbers little-endian:
//!
//! ```text
//! header:  "dpsect01" · kind 8 bytes · version of the kind u32
//! section 0 · section 1 · …
//! table:   for each section  bytes u64 · xxh3-64 of the section u64
//! trailer: sections u64 · xxh3-64 of header, table and that number u64 · "dpsect01"
//! ```
//!
//! What the sections of a kind hold is said where they are written. Invariants: nothing in such a
//! file depends on threads, clocks or paths; every byte of it is in the header, under a hash or in
//! the magic, so a flipped byte, a cut, or bytes that are too many are [`Error::Damaged`], with the
//! path and an offset, and nothing of an unchecked section is looked at. That holds for
//! [`Fields`] too: a section that ends early or does not come out even is damage, never a panic.
//!
//! Cost: one hash of what is written and of what is read; 16 bytes a section in memory of an open
//! file, which holds no descriptor, so that thousands may be open at once.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::base::{
    error::{Error, Result},
    hash::xxh3_64,
    io,
};

const MAGIC: &[u8; 8] = b"dpsect01";
const HEADER_BYTES: u64 = 20;
const ENTRY_BYTES: u64 = 16;
const TRAILER_BYTES: u64 = 24;

/// What a file of sections holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionKind {
    /// Its name, in ASCII, filled up with zeros.
    pub name: [u8; 8],
    /// Raised whenever its sections mean something else.
    pub version: u32,
}

impl SectionKind {
    fn header(self) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES as usize);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&self.name);
        header.extend_from_slice(&self.version.to_le_bytes());
        header
    }
}

/// Writes a file of sections.
pub struct SectionWriter<W> {
    output: W,
    path: PathBuf,
    kind: SectionKind,
    table: Vec<u8>,
}

impl SectionWriter<BufWriter<std::fs::File>> {
    /// A new file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path, kind: SectionKind) -> Result<Self> {
        SectionWriter::new(io::create(path)?, kind, path)
    }
}

impl<W: Write> SectionWriter<W> {
    /// Into `output`; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(mut output: W, kind: SectionKind, path: &Path) -> Result<SectionWriter<W>> {
        output.write_all(&kind.header()).map_err(Error::io("write", path))?;
        Ok(SectionWriter { output, path: path.to_owned(), kind, table: Vec::new() })
    }

    /// Appends a section and returns its number.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn section(&mut self, bytes: &[u8]) -> Result<usize> {
        self.output.write_all(bytes).map_err(Error::io("write", &self.path))?;
        let number = self.table.len() / ENTRY_BYTES as usize;
        for value in [bytes.len() as u64, xxh3_64(bytes)] {
            self.table.extend_from_slice(&value.to_le_bytes());
        }
        Ok(number)
    }

    /// Writes the table; a file without it is damaged.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        let sections = self.table.len() as u64 / ENTRY_BYTES;
        let hash = hash_of_all(self.kind, &self.table, sections);
        let mut end = self.table;
        end.extend_from_slice(&sections.to_le_bytes());
        end.extend_from_slice(&hash.to_le_bytes());
        end.extend_from_slice(MAGIC);
        self.output
            .write_all(&end)
            .and_then(|()| self.output.flush())
            .map_err(Error::io("write", &self.path))
    }
}

/// The hash that the trailer keeps.
fn hash_of_all(kind: SectionKind, table: &[u8], sections: u64) -> u64 {
    xxh3_64(&[&kind.header(), table, &sections.to_le_bytes()].concat())
}

/// Where the bytes of a file of sections are.
#[derive(Debug)]
enum Bytes {
    File,
    Memory(Vec<u8>),
}

/// The table of a file of sections; the file itself is opened for each read.
#[derive(Debug)]
pub struct SectionReader {
    path: PathBuf,
    bytes: Bytes,
    /// (offset, bytes, hash) of each section.
    table: Vec<[u64; 3]>,
}

impl SectionReader {
    /// Reads and checks the table of a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] for another kind or version, and for damage.
    pub fn open(path: &Path, kind: SectionKind) -> Result<SectionReader> {
        SectionReader::new(path, Bytes::File, io::size(path)?, kind)
    }

    /// The same of a file that was written to memory; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn of_bytes(bytes: Vec<u8>, kind: SectionKind, path: &Path) -> Result<SectionReader> {
        let size = bytes.len() as u64;
        SectionReader::new(path, Bytes::Memory(bytes), size, kind)
    }

    fn new(path: &Path, bytes: Bytes, size: u64, kind: SectionKind) -> Result<SectionReader> {
        let mut reader = SectionReader { path: path.to_owned(), bytes, table: Vec::new() };
        let Some(end) = size.checked_sub(TRAILER_BYTES).filter(|end| *end >= HEADER_BYTES) else {
            let message = format!("{size} bytes are too few for a file of sections");
            return Err(reader.damaged(size, message));
        };
        let header = reader.read(0, HEADER_BYTES)?;
        if header != kind.header() {
            let show = |header: &[u8]| header.escape_ascii().to_string();
            let (expected, found) = (show(&kind.header()), show(&header));
            let message = format!("expected a file that begins with `{expected}`, found `{found}`");
            return Err(reader.damaged(0, message));
        }
        let trailer = reader.read(end, TRAILER_BYTES)?;
        let (sections, hash) = (number(&trailer, 0), number(&trailer, 8));
        if &trailer[16..] != MAGIC {
            return Err(reader.damaged(end, "it does not end as a file of sections"));
        }
        let bytes = sections.saturating_mul(ENTRY_BYTES);
        let Some(start) = end.checked_sub(bytes).filter(|start| *start >= HEADER_BYTES) else {
            let message = format!("a table of {sections} sections is longer than the file");
            return Err(reader.damaged(end, message));
        };
        let table = reader.read(start, bytes)?;
        if hash_of_all(kind, &table, sections) != hash {
            return Err(reader.damaged(start, "the checksum of its table differs"));
        }
        reader.place(&table, start)?;
        Ok(reader)
    }

    /// Fills the table: sections lie one behind the other, from the header to `end`.
    fn place(&mut self, table: &[u8], end: u64) -> Result<()> {
        let mut offset = HEADER_BYTES;
        for entry in table.chunks_exact(ENTRY_BYTES as usize) {
            let (bytes, hash) = (number(entry, 0), number(entry, 8));
            self.table.push([offset, bytes, hash]);
            offset = offset.saturating_add(bytes);
        }
        if offset != end {
            let message = format!("its sections end at byte {offset}, its table begins at {end}");
            return Err(self.damaged(end, message));
        }
        Ok(())
    }

    /// How many sections there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes of each section, in order.
    pub fn lengths(&self) -> impl Iterator<Item = u64> + '_ {
        self.table.iter().map(|[_, bytes, _]| *bytes)
    }

    /// Reads a section and checks its hash.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] when there is no such section, or its hash differs.
    pub fn section(&self, section: usize) -> Result<Section> {
        let Some(&[offset, bytes, hash]) = self.table.get(section) else {
            let message = format!("expected section {section}, found: {}", self.table.len());
            return Err(self.damaged(HEADER_BYTES, message));
        };
        let read = self.read(offset, bytes)?;
        if xxh3_64(&read) != hash {
            let message = format!("the checksum of section {section} differs");
            return Err(self.damaged(offset, message));
        }
        Ok(Section { bytes: read, offset, path: self.path.clone() })
    }

    /// An error about what the sections hold; `offset` in the file.
    pub fn damaged(&self, offset: u64, message: impl ToString) -> Error {
        Error::damaged(&self.path, Some(offset), message)
    }

    /// Bytes that the file's size and table say to be there.
    fn read(&self, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        match &self.bytes {
            Bytes::File => io::read_range(&self.path, offset, bytes as usize),
            Bytes::Memory(all) => Ok(all[offset as usize..(offset + bytes) as usize].to_vec()),
        }
    }
}

/// The u64 at `offset` of bytes that are known to hold it.
fn number(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|at| bytes[offset + at]))
}

/// A section whose hash was right.
#[derive(Debug, Default)]
pub struct Section {
    bytes: Vec<u8>,
    /// Of its first byte in the file.
    offset: u64,
    path: PathBuf,
}

impl Section {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads it field by field.
    pub fn fields(&self) -> Fields<'_> {
        self.fields_from(0)
    }

    /// The same from byte `at` of the section on, where an earlier [`Fields::position`] was.
    pub fn fields_from(&self, at: usize) -> Fields<'_> {
        Fields { bytes: &self.bytes, at, offset: self.offset, path: &self.path }
    }

    /// All of it as records of `N` bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it does not come out even.
    pub fn records<const N: usize>(&self) -> Result<&[[u8; N]]> {
        match self.bytes.as_chunks::<N>() {
            (records, []) => Ok(records),
            (_, rest) => {
                let at = self.offset + (self.bytes.len() - rest.len()) as u64;
                let message = format!("expected records of {N} bytes, found {} more", rest.len());
                Err(Error::damaged(&self.path, Some(at), message))
            }
        }
    }
}

/// Reads little-endian fields one after the other from a section.
///
/// # Errors
/// All methods: [`Error::Damaged`] when the section ends before the field does.
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Of the section in the file.
    offset: u64,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Bytes of the section before the next field.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let left = &self.bytes[self.at..];
        let Some(field) = left.get(..len) else {
            return Err(self.damaged(format!("expected {len} bytes, found {}", left.len())));
        };
        self.at += len;
        Ok(field)
    }

    /// The next number.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// The next number.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The next number.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// The next number, of seven bits a byte, low ones first, the top bit set while more follow
    /// (LEB128).
    pub fn variable(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number is longer than 64 bits"))
    }

    /// An error about what stands before the next field.
    pub fn damaged(&self, message: impl ToString) -> Error {
        Error::damaged(self.path, Some(self.offset + self.at as u64), message)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let field = self.bytes(N)?;
        Ok(std::array::from_fn(|at| field[at]))
    }
}

/// Appends a number as [`Fields::variable`] reads it.
pub fn push_variable(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIND: SectionKind = SectionKind { name: *b"test\0\0\0\0", version: 3 };

    fn place() -> &'static Path {
        Path::new("a/file.bin")
    }

    fn written(sections: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = SectionWriter::new(&mut bytes, KIND, place()).unwrap();
        for (number, section) in sections.iter().enumerate() {
            assert_eq!(writer.section(section).unwrap(), number);
        }
        writer.finish().unwrap();
        bytes
    }

    /// All sections of a file.
    fn read(bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let reader = SectionReader::of_bytes(bytes, KIND, place())?;
        (0..reader.len()).map(|at| Ok(reader.section(at)?.bytes().to_vec())).collect()
    }

    /// Whether it is damage, said with path and offset.
    fn is_damage<T>(result: Result<T>) -> bool {
        matches!(result, Err(Error::Damaged { path, offset: Some(_), .. }) if path == place())
    }

    #[test]
    fn a_file_gives_back_any_section_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.bin");
        let mut writer = SectionWriter::create(&path, KIND).unwrap();
        for section in ["one", "", "three"] {
            writer.section(section.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        let reader = SectionReader::open(&path, KIND).unwrap();
        assert_eq!(reader.lengths().collect::<Vec<_>>(), [3, 0, 5]);
        assert_eq!(reader.section(2).unwrap().bytes(), b"three");
        assert_eq!(reader.section(0).unwrap().bytes(), b"one");
        assert!(reader.section(3).unwrap_err().to_string().contains("file.bin"));
        let memory = std::fs::read(&path).unwrap();
        assert_eq!(memory, written(&["one", "", "three"].map(Vec::from)));
    }

    #[test]
    fn another_kind_or_version_is_named() {
        let bytes = written(&[vec![1, 2]]);
        for other in
            [SectionKind { version: 4, ..KIND }, SectionKind { name: *b"others\0\0", ..KIND }]
        {
            let error = SectionReader::of_bytes(bytes.clone(), other, place()).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("dpsect01test") && message.contains("byte 0"), "{message}");
        }
    }

    #[test]
    fn fields_end_where_the_section_ends() {
        let mut bytes = vec![7u8];
        bytes.extend_from_slice(&9u32.to_le_bytes());
        bytes.extend_from_slice(&(1u64 << 40).to_le_bytes());
        for number in [0, 127, 128, u64::MAX] {
            push_variable(number, &mut bytes);
        }
        bytes.extend_from_slice(b"end");
        let reader = SectionReader::of_bytes(written(&[bytes]), KIND, place()).unwrap();
        let section = reader.section(0).unwrap();
        let mut fields = section.fields();
        assert_eq!(fields.u8().unwrap(), 7);
        assert_eq!(fields.u32().unwrap(), 9);
        assert_eq!(fields.u64().unwrap(), 1 << 40);
        let numbers = [0; 4].map(|_| fields.variable().unwrap());
        assert_eq!(numbers, [0, 127, 128, u64::MAX]);
        assert!(is_damage(fields.u64()));
        assert_eq!(fields.bytes(3).unwrap(), b"end");
        assert!(fields.is_empty() && is_damage(fields.u8()) && is_damage(fields.variable()));
        assert!(is_damage(section.records::<7>()));
        assert_eq!(section.records::<1>().unwrap().len(), section.bytes().len());
    }

    proptest! {
        #[test]
        fn sections_come_back(
            sections in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..12)
        ) {
            prop_assert_eq!(read(written(&sections)).unwrap(), sections);
        }

        #[test]
        fn a_flipped_bit_a_cut_and_more_bytes_are_damage(
            sections in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            at in any::<prop::sample::Index>(), bit in 0u32..8,
        ) {
            let whole = written(&sections);
            let mut bent = whole.clone();
            bent[at.index(whole.len())] ^= 1 << bit;
            prop_assert!(is_damage(read(bent)), "byte {} flipped unseen", at.index(whole.len()));
            let cut = at.index(whole.len());
            prop_assert!(is_damage(read(whole[..cut].to_vec())), "cut at {cut} unseen");
            prop_assert!(is_damage(read([whole, vec![0]].concat())));
        }

        #[test]
        fn bytes_that_are_no_file_of_sections_are_damage(
            bytes in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            let bytes = [KIND.header(), bytes, MAGIC.to_vec()].concat();
            prop_assert!(is_damage(read(bytes)));
        }
    }
}
