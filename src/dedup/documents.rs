//! What deduplication knows of each document: the file that `sign` writes and later phases read.
//!
//! In → documents in input order; out → `signed.bin`, a file of checked sections. A batch of
//! them makes one run of sections, a column each, so that a later phase reads one column of all
//! documents and no more:
//!
//! ```text
//! 0 flags     u8   1: held out · 2: has an exact identity · 4: has shingles
//! 1 keep key  u64  see `keep`
//! 2 shingles  u32  upper bound of the distinct shingles of the text
//! 3 exact     16 bytes, the hash of the normalized text; zero without; empty if not asked for
//! 4 names          file u32 · source u32 · row u64 · id bytes u32 · id
//! 5… bands    u64  one section a band; zero without shingles; none if not asked for
//! ```
//!
//! A document's *ordinal* is its place in the concatenation of all units, that is in input order.
//!
//! Cost: 13 bytes, 16 for exact, 8 a band, and the name:
//! about [`SIGNED_BYTES_PER_DOCUMENT`] on disk with the defaults.

use std::io::Write;
use std::path::Path;

use crate::{
    artifact::section::{Fields, Section, SectionKind, SectionReader, SectionWriter},
    base::{
        error::{Error, Result},
        hash::Fingerprint,
    },
};

/// The file's name inside its unit.
pub const FILE: &str = "signed.bin";
/// What its sections are.
pub const KIND: SectionKind = SectionKind { name: *b"signed\0\0", version: 1 };

/// What a document takes in it with the default bands and an id of 32 digits.
pub const SIGNED_BYTES_PER_DOCUMENT: u64 = 190;

/// Flag: the document is held out.
pub const HELD_OUT: u8 = 1;
/// Flag: the document has an exact identity.
pub const EXACT: u8 = 2;
/// Flag: the document has shingles, and so band keys.
pub const SHINGLED: u8 = 4;

const FLAGS: usize = 0;
const KEYS: usize = 1;
const SHINGLES: usize = 2;
const HASHES: usize = 3;
const NAMES: usize = 4;
const BANDS: usize = 5;

/// Names a document for people: where it lies, and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Index into the input files.
    pub file: u32,
    /// Index into the sources.
    pub source: u32,
    /// Row of a Parquet file, byte offset of a line.
    pub row: u64,
    pub id: String,
}

impl Name {
    /// Appends the fields that [`Name::read`] takes.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.file.to_le_bytes());
        bytes.extend_from_slice(&self.source.to_le_bytes());
        bytes.extend_from_slice(&self.row.to_le_bytes());
        bytes.extend_from_slice(&(self.id.len() as u32).to_le_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
    }

    /// Reads one from a section.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it ends early.
    pub fn read(fields: &mut Fields<'_>) -> Result<Name> {
        let (file, source, row) = (fields.u32()?, fields.u32()?, fields.u64()?);
        let len = fields.u32()? as usize;
        let id = String::from_utf8_lossy(fields.bytes(len)?).into_owned();
        Ok(Name { file, source, row, id })
    }
}

/// One batch of documents as columns.
pub struct SignedBatch {
    columns: Vec<Vec<u8>>,
}

/// One document, to be appended to a [`SignedBatch`].
pub struct SignedDocument<'a> {
    pub held_out: bool,
    pub key: u64,
    pub shingles: u32,
    /// The exact identity: `None` for all if not asked for, `Some(None)` for an empty text.
    pub exact: Option<Option<Fingerprint>>,
    /// One key a band; empty without shingles.
    pub bands: &'a [u64],
    pub name: &'a Name,
}

impl SignedBatch {
    /// An empty batch for `bands` band keys a document: 0 when near-duplicates are not wanted.
    pub fn new(bands: usize) -> SignedBatch {
        SignedBatch { columns: vec![Vec::new(); BANDS + bands] }
    }

    /// Appends a document.
    pub fn push(&mut self, document: &SignedDocument<'_>) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(document.held_out, HELD_OUT)
            | flag(document.exact.flatten().is_some(), EXACT)
            | flag(!document.bands.is_empty(), SHINGLED);
        self.columns[FLAGS].push(flags);
        self.columns[KEYS].extend_from_slice(&document.key.to_le_bytes());
        self.columns[SHINGLES].extend_from_slice(&document.shingles.to_le_bytes());
        if let Some(identity) = document.exact {
            let hash = identity.unwrap_or(Fingerprint([0; 16]));
            self.columns[HASHES].extend_from_slice(&hash.0);
        }
        document.name.write(&mut self.columns[NAMES]);
        for (band, column) in self.columns[BANDS..].iter_mut().enumerate() {
            let key = document.bands.get(band).copied().unwrap_or(0);
            column.extend_from_slice(&key.to_le_bytes());
        }
    }

    /// How many documents it has.
    pub fn len(&self) -> usize {
        self.columns[FLAGS].len()
    }

    /// Appends the documents of another batch.
    pub fn append(&mut self, other: &SignedBatch) {
        for (column, more) in self.columns.iter_mut().zip(&other.columns) {
            column.extend_from_slice(more);
        }
    }

    /// Writes the batch as one run of sections and empties it.
    pub fn flush<W: Write>(&mut self, writer: &mut SectionWriter<W>) -> Result<()> {
        for column in &mut self.columns {
            writer.section(column)?;
            column.clear();
        }
        Ok(())
    }
}

/// The signed documents of one unit.
pub struct SignedUnit {
    reader: SectionReader,
    /// Sections of a batch.
    columns: usize,
    /// Documents of each batch.
    batches: Vec<u64>,
    /// Documents of the unit.
    pub documents: u64,
}

impl SignedUnit {
    /// Opens the file in a published unit's folder; `bands`: the number that it was written with.
    pub fn open(folder: &Path, bands: usize) -> Result<SignedUnit> {
        let reader = SectionReader::open(&folder.join(FILE), KIND)?;
        let columns = BANDS + bands;
        if !reader.len().is_multiple_of(columns) {
            let message = format!("expected {columns} sections a batch, found: {}", reader.len());
            return Err(Error::damaged(&folder.join(FILE), Some(0), message));
        }
        let batches: Vec<u64> = reader.lengths().skip(FLAGS).step_by(columns).collect();
        let documents = batches.iter().sum();
        Ok(SignedUnit { reader, columns, batches, documents })
    }

    /// One column of all documents, batch by batch.
    fn column(&self, column: usize) -> impl Iterator<Item = Result<Section>> {
        (column..self.reader.len()).step_by(self.columns).map(|at| self.reader.section(at))
    }

    /// Appends the flags of all documents.
    pub fn flags(&self, flags: &mut Vec<u8>) -> Result<()> {
        self.column(FLAGS).try_for_each(|batch| {
            flags.extend_from_slice(batch?.bytes());
            Ok(())
        })
    }

    /// Appends the keep keys of all documents.
    pub fn keys(&self, keys: &mut Vec<u64>) -> Result<()> {
        self.column(KEYS).try_for_each(|batch| {
            keys.extend(batch?.records()?.iter().map(|key| u64::from_le_bytes(*key)));
            Ok(())
        })
    }

    /// Appends the number of shingles of all documents.
    pub fn shingles(&self, shingles: &mut Vec<u32>) -> Result<()> {
        self.column(SHINGLES).try_for_each(|batch| {
            shingles.extend(batch?.records()?.iter().map(|count| u32::from_le_bytes(*count)));
            Ok(())
        })
    }

    /// Calls `each(place in the unit, hash)` for all documents; the hash is 0 where there is none.
    pub fn hashes(&self, mut each: impl FnMut(u32, u128)) -> Result<()> {
        let mut place = 0;
        self.column(HASHES).try_for_each(|batch| {
            for hash in batch?.records()? {
                each(place, u128::from_le_bytes(*hash));
                place += 1;
            }
            Ok(())
        })
    }

    /// Calls `each(place in the unit, key)` for all documents; the key is 0 where there is none.
    pub fn band(&self, band: usize, mut each: impl FnMut(u32, u64)) -> Result<()> {
        let mut place = 0;
        self.column(BANDS + band).try_for_each(|batch| {
            for key in batch?.records()? {
                each(place, u64::from_le_bytes(*key));
                place += 1;
            }
            Ok(())
        })
    }

    /// The names and flags of the documents at `places` (ascending), reading only their batches.
    pub fn names(&self, places: &[u32]) -> Result<Vec<(Name, u8)>> {
        let mut found = Vec::with_capacity(places.len());
        let (mut first, mut rest) = (0u64, places);
        for (batch, documents) in self.batches.iter().enumerate() {
            let (at, end) = (batch * self.columns, first + documents);
            let inside = rest.partition_point(|&place| u64::from(place) < end);
            let (wanted, later) = rest.split_at(inside);
            if !wanted.is_empty() {
                let flags = self.reader.section(at + FLAGS)?;
                let names = self.reader.section(at + NAMES)?;
                pick(&names, flags.bytes(), first, wanted, &mut found)?;
            }
            (first, rest) = (end, later);
        }
        assert!(rest.is_empty(), "places {rest:?} of a unit of {} documents", self.documents);
        Ok(found)
    }
}

/// Appends the wanted documents of one batch; `first`: the place of the batch's first document.
fn pick(
    names: &Section,
    flags: &[u8],
    first: u64,
    wanted: &[u32],
    found: &mut Vec<(Name, u8)>,
) -> Result<()> {
    let mut fields = names.fields();
    let mut wanted = wanted.iter().peekable();
    for (place, &flags) in (first..).zip(flags) {
        let name = Name::read(&mut fields)?;
        if wanted.next_if(|&&at| u64::from(at) == place).is_some() {
            found.push((name, flags));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_back_as_they_were_signed() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SectionWriter::create(&folder.path().join(FILE), KIND).unwrap();
        for batch in 0..3u32 {
            let mut signed = SignedBatch::new(2);
            for at in 0..=batch {
                let number = batch * 10 + at;
                let id = format!("id-{number}");
                let name = Name { file: batch, source: 3, row: u64::from(number), id };
                let document = SignedDocument {
                    held_out: at == 1,
                    key: u64::from(number) << 33,
                    shingles: number,
                    exact: Some((at != 0).then_some(Fingerprint([number as u8; 16]))),
                    bands: if at == 2 { &[] } else { &[7, 8] },
                    name: &name,
                };
                signed.push(&document);
            }
            signed.flush(&mut writer).unwrap();
        }
        writer.finish().unwrap();

        let unit = SignedUnit::open(folder.path(), 2).unwrap();
        assert_eq!(unit.documents, 6);
        let (mut flags, mut keys, mut shingles) = (Vec::new(), Vec::new(), Vec::new());
        unit.flags(&mut flags).unwrap();
        unit.keys(&mut keys).unwrap();
        unit.shingles(&mut shingles).unwrap();
        assert_eq!(flags, [4, 4, 7, 4, 7, 2]);
        assert_eq!(shingles, [0, 10, 11, 20, 21, 22]);
        assert_eq!(keys[3], 20 << 33);
        let mut bands = Vec::new();
        unit.band(1, |place, key| bands.push((place, key))).unwrap();
        assert_eq!(bands, [(0, 8), (1, 8), (2, 8), (3, 8), (4, 8), (5, 0)]);
        let mut hashes = Vec::new();
        unit.hashes(|_, hash| hashes.push(hash as u8)).unwrap();
        assert_eq!(hashes, [0, 0, 11, 0, 21, 22]);
        let names = unit.names(&[1, 2, 5]).unwrap();
        let ids: Vec<&str> = names.iter().map(|(name, _)| name.id.as_str()).collect();
        assert_eq!(ids, ["id-10", "id-11", "id-22"]);
        assert_eq!((names[1].1, names[2].0.row, names[2].0.file), (7, 22, 2));
    }
}
