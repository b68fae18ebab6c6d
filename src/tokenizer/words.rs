//! How often each piece occurs: the table that a tokenizer is trained on.
//!
//! Pieces in → (piece, count), summed over batches, units and processes; the sum does not depend on
//! the order. On disk: sorted by bytes, each piece as the length it shares with the one before and
//! the rest, numbers as LEB128; so equal counts are equal bytes. Cost: about 60 bytes of memory and
//! 8 of disk for each distinct piece, of which English text has some 4,000 a megabyte at first and
//! ever fewer later.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use ahash::AHashMap;
use compact_str::CompactString;

use crate::base::error::{Error, Result};
use crate::base::io;

/// The first bytes of a table file.
const MAGIC: &[u8; 8] = b"dpwords1";

/// A hash table's slot: key, count, control byte, at seven eighths full.
const SLOT_BYTES: u64 = (size_of::<CompactString>() as u64 + 8 + 1) * 8 / 7;

/// Bytes of distinct pieces to expect in so much text. They grow with its size to the power of 0.65
/// (Heaps' law): 3.3 MB were measured in 100 MB of mixed text, 0.7 MB in 10 MB.
pub fn bytes_expected(text_bytes: u64) -> u64 {
    (21.0 * (text_bytes as f64).powf(0.65)) as u64
}

/// Distinct pieces and how often each occurs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WordCounts {
    table: AHashMap<CompactString, u64>,
    piece_bytes: u64,
    heap_bytes: u64,
}

impl WordCounts {
    /// Counts `piece` `count` times more.
    pub fn add(&mut self, piece: &str, count: u64) {
        if let Some(present) = self.table.get_mut(piece) {
            *present += count;
            return;
        }
        let piece = CompactString::from(piece);
        self.piece_bytes += piece.len() as u64;
        if piece.is_heap_allocated() {
            self.heap_bytes += piece.len() as u64;
        }
        self.table.insert(piece, count);
    }

    /// Adds all of `other`.
    pub fn absorb(&mut self, other: WordCounts) {
        if self.table.is_empty() {
            *self = other;
            return;
        }
        for (piece, count) in other.table {
            self.add(&piece, count);
        }
    }

    /// Distinct pieces.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The distinct pieces' bytes, summed.
    pub fn piece_bytes(&self) -> u64 {
        self.piece_bytes
    }

    /// Bytes of memory the table takes.
    pub fn memory(&self) -> u64 {
        self.table.capacity() as u64 * SLOT_BYTES + self.heap_bytes
    }

    /// Pieces and counts, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.table.iter().map(|(piece, count)| (piece.as_str(), *count))
    }

    /// Writes the table, sorted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut sorted: Vec<(&str, u64)> = self.iter().collect();
        sorted.sort_unstable();
        let mut file = io::create(path)?;
        let mut buffer = MAGIC.to_vec();
        buffer.extend((sorted.len() as u64).to_le_bytes());
        let mut before: &[u8] = &[];
        for (piece, count) in sorted {
            let piece = piece.as_bytes();
            let shared = before.iter().zip(piece).take_while(|(a, b)| a == b).count();
            push_number(shared as u64, &mut buffer);
            push_number((piece.len() - shared) as u64, &mut buffer);
            buffer.extend_from_slice(&piece[shared..]);
            push_number(count, &mut buffer);
            file.write_all(&buffer).map_err(Error::io("write", path))?;
            buffer.clear();
            before = piece;
        }
        file.write_all(&buffer).map_err(Error::io("write", path))?;
        file.flush().map_err(Error::io("write", path))
    }

    /// Adds the table at `path`.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a file that is no whole table, [`Error::Io`].
    pub fn read(&mut self, path: &Path) -> Result<()> {
        let damaged = |message: &str| Error::damaged(path, None, message);
        let mut file = BufReader::with_capacity(1 << 20, io::open(path)?);
        let mut head = [0; 16];
        file.read_exact(&mut head).map_err(|_| damaged("no table of word counts"))?;
        let (magic, length) = head.split_at(8);
        if magic != MAGIC {
            return Err(damaged("no table of word counts"));
        }
        let length = u64::from_le_bytes(length.try_into().expect("16 - 8 = 8 bytes"));
        let mut piece: Vec<u8> = Vec::new();
        for _ in 0..length {
            let count = read_entry(&mut file, &mut piece)
                .ok_or_else(|| damaged("the table of word counts ends early"))?;
            let text = std::str::from_utf8(&piece).map_err(|_| damaged("a piece is not UTF-8"))?;
            self.add(text, count);
        }
        match file.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(damaged("bytes behind the table of word counts")),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }
}

/// Reads one entry over the one before it, which `piece` holds; its count, or none at an early end.
fn read_entry(file: &mut impl BufRead, piece: &mut Vec<u8>) -> Option<u64> {
    let shared = usize::try_from(read_number(file)?).ok()?;
    let rest = read_number(file)?;
    if shared > piece.len() {
        return None;
    }
    piece.truncate(shared);
    let read = file.by_ref().take(rest).read_to_end(piece).ok()?;
    (read as u64 == rest).then_some(())?;
    read_number(file)
}

/// LEB128: seven bits a byte, low ones first, the top bit set while more follow.
fn push_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(file: &mut impl BufRead) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        file.read_exact(&mut byte).ok()?;
        number |= u64::from(byte[0] & 0x7F) << shift;
        if byte[0] < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(entries: &[(String, u64)]) -> WordCounts {
        let mut counts = WordCounts::default();
        for (piece, count) in entries {
            counts.add(piece, *count);
        }
        counts
    }

    proptest! {
        #[test]
        fn a_table_comes_back_from_disk_with_equal_bytes_for_any_order(
            mut entries in prop::collection::vec(("[a-cé語]{1,30}", 1u64..u64::MAX >> 8), 0..40)
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (one, two) = (folder.path().join("one"), folder.path().join("two"));
            let table = counts(&entries);
            table.write(&one).unwrap();
            entries.reverse();
            counts(&entries).write(&two).unwrap();
            prop_assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
            let mut back = WordCounts::default();
            back.read(&one).unwrap();
            prop_assert_eq!(back, table);
        }
    }

    #[test]
    fn tables_add_up() {
        let mut sum = counts(&[("a".into(), 2), ("b".into(), 1)]);
        sum.absorb(counts(&[("b".into(), 3), ("c".into(), 4)]));
        let expected = counts(&[("a".into(), 2), ("b".into(), 4), ("c".into(), 4)]);
        assert_eq!(sum, expected);
    }

    #[test]
    fn a_cut_table_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        counts(&[("word".into(), 300), ("words".into(), 1)]).write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 12, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = WordCounts::default().read(&path).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{length}: {error}");
        }
    }
}
