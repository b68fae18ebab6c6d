//! The binary files that travel between the phases of deduplication.
//!
//! In → byte sections, one after the other; out → a file from which any section can be read alone,
//! with its length and hash checked. Layout, all numbers little-endian:
//!
//! ```text
//! "dedup.01" · section 0 · section 1 · … · table · trailer
//! table:   for each section  offset u64 · bytes u64 · xxh3-64 of the section u64
//! trailer: sections u64 · xxh3-64 of the table u64 · "dedup.01"
//! ```
//!
//! What the sections of a file hold is said where they are written. Nothing in such a file depends
//! on threads, clocks or paths, as they are published units.
//!
//! Cost: one copy and one hash of what is written and read; the table, 24 bytes a section, is the
//! only part of an open file held in memory.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::base::{
    error::{Error, Result},
    hash::xxh3_64,
    io,
};

const MAGIC: &[u8; 8] = b"dedup.01";
const ENTRY_BYTES: u64 = 24;
const TRAILER_BYTES: u64 = 24;

/// Writes a file of sections.
pub struct StateWriter {
    output: Box<dyn Write + Send>,
    path: PathBuf,
    /// Where the next section starts.
    offset: u64,
    table: Vec<u8>,
}

impl StateWriter {
    /// A new file.
    pub fn create(path: &Path) -> Result<StateWriter> {
        let mut output = Box::new(io::create(path)?);
        output.write_all(MAGIC).map_err(Error::io("write", path))?;
        let offset = MAGIC.len() as u64;
        Ok(StateWriter { output, path: path.to_owned(), offset, table: Vec::new() })
    }

    /// Appends a section and returns its number.
    pub fn section(&mut self, bytes: &[u8]) -> Result<usize> {
        self.output.write_all(bytes).map_err(Error::io("write", &self.path))?;
        let number = self.table.len() / ENTRY_BYTES as usize;
        for value in [self.offset, bytes.len() as u64, xxh3_64(bytes)] {
            self.table.extend_from_slice(&value.to_le_bytes());
        }
        self.offset += bytes.len() as u64;
        Ok(number)
    }

    /// Writes the table; a file without it is damaged.
    pub fn finish(mut self) -> Result<()> {
        let sections = self.table.len() as u64 / ENTRY_BYTES;
        let hash = xxh3_64(&self.table);
        self.table.extend_from_slice(&sections.to_le_bytes());
        self.table.extend_from_slice(&hash.to_le_bytes());
        self.table.extend_from_slice(MAGIC);
        self.output
            .write_all(&self.table)
            .and_then(|()| self.output.flush())
            .map_err(Error::io("write", &self.path))
    }
}

/// The table of a file of sections. The file itself is opened for each read, so that thousands of
/// tables may be held at once.
pub struct StateReader {
    path: PathBuf,
    /// (offset, bytes, hash) of each section.
    table: Vec<[u64; 3]>,
}

impl StateReader {
    /// Reads the table of a file and checks it.
    pub fn open(path: &Path) -> Result<StateReader> {
        let mut input = io::open(path)?;
        let bytes = input.seek(SeekFrom::End(0)).map_err(Error::io("read", path))?;
        let damaged = |what: &str| Error::damaged(path, Some(bytes), what);
        if bytes < MAGIC.len() as u64 + TRAILER_BYTES {
            return Err(damaged("too short for a file of sections"));
        }
        let trailer = read_at(&mut input, path, bytes - TRAILER_BYTES, TRAILER_BYTES)?;
        let (sections, hash) = (number(&trailer, 0), number(&trailer, 8));
        if &trailer[16..] != MAGIC {
            return Err(damaged("its end is not that of a file of sections"));
        }
        let table_bytes = sections.saturating_mul(ENTRY_BYTES);
        let Some(table_offset) = (bytes - TRAILER_BYTES).checked_sub(table_bytes) else {
            return Err(damaged("its table is longer than the file"));
        };
        let table = read_at(&mut input, path, table_offset, table_bytes)?;
        if xxh3_64(&table) != hash {
            return Err(damaged("the checksum of its table differs"));
        }
        let table = table
            .chunks_exact(ENTRY_BYTES as usize)
            .map(|entry| [number(entry, 0), number(entry, 8), number(entry, 16)])
            .collect();
        Ok(StateReader { path: path.to_owned(), table })
    }

    /// How many sections there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// The length of a section.
    pub fn bytes(&self, section: usize) -> u64 {
        self.table[section][1]
    }

    /// Reads a section and checks its hash.
    pub fn section(&self, section: usize) -> Result<Vec<u8>> {
        let [offset, bytes, hash] = self.table[section];
        let read = read_at(&mut io::open(&self.path)?, &self.path, offset, bytes)?;
        if xxh3_64(&read) != hash {
            let message = format!("the checksum of section {section} differs");
            return Err(Error::damaged(&self.path, Some(offset), message));
        }
        Ok(read)
    }
}

fn read_at(input: &mut (impl Read + Seek), path: &Path, offset: u64, len: u64) -> Result<Vec<u8>> {
    let mut read = vec![0; len as usize];
    input
        .seek(SeekFrom::Start(offset))
        .and_then(|_| input.read_exact(&mut read))
        .map_err(Error::io("read", path))?;
    Ok(read)
}

/// The u64 at `offset` of bytes that are known to hold it.
fn number(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|at| bytes[offset + at]))
}

/// Reads little-endian fields one after the other from a section.
pub struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// At the start of a section.
    pub fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `len` bytes. Sections are written by this build and checked by hash, so a short one
    /// is a bug.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        assert!(len <= self.bytes.len(), "{len} bytes of {} left", self.bytes.len());
        let (field, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        field
    }

    /// The next number.
    pub fn u8(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    /// The next number.
    pub fn u32(&mut self) -> u32 {
        let field = self.bytes(4);
        u32::from_le_bytes(std::array::from_fn(|at| field[at]))
    }

    /// The next number.
    pub fn u64(&mut self) -> u64 {
        number(self.bytes(8), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(sections: &[&[u8]]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.bin");
        let mut writer = StateWriter::create(&path).unwrap();
        for (number, section) in sections.iter().enumerate() {
            assert_eq!(writer.section(section).unwrap(), number);
        }
        writer.finish().unwrap();
        (folder, path)
    }

    #[test]
    fn sections_come_back_in_any_order() {
        let (_folder, path) = written(&[b"one", b"", b"three"]);
        let reader = StateReader::open(&path).unwrap();
        assert_eq!(reader.len(), 3);
        assert_eq!(reader.bytes(2), 5);
        assert_eq!(reader.section(2).unwrap(), b"three");
        assert_eq!(reader.section(0).unwrap(), b"one");
        assert_eq!(reader.section(1).unwrap(), b"");
    }

    #[test]
    fn a_flipped_byte_and_a_cut_are_found() {
        let (_folder, path) = written(&[b"one", b"three"]);
        let whole = std::fs::read(&path).unwrap();
        for at in 8..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 4;
            std::fs::write(&path, &bent).unwrap();
            let read = StateReader::open(&path)
                .and_then(|reader| Ok((reader.section(0)?, reader.section(1)?)));
            assert!(read.is_err(), "byte {at} flipped unseen");
        }
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(StateReader::open(&path).is_err(), "cut at {len} unseen");
        }
    }

    #[test]
    fn fields_read_what_was_written() {
        let mut bytes = vec![7u8];
        bytes.extend_from_slice(&9u32.to_le_bytes());
        bytes.extend_from_slice(&(1u64 << 40).to_le_bytes());
        bytes.extend_from_slice(b"end");
        let mut fields = Fields::new(&bytes);
        assert_eq!((fields.u8(), fields.u32(), fields.u64()), (7, 9, 1 << 40));
        assert_eq!(fields.bytes(3), b"end");
        assert!(fields.is_empty());
    }
}
