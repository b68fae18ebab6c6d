//! Which documents entered, left, or changed their text from one list of corpora to another.
//!
//! In → the folders of both sides; out → [`Changes`]. **Method.** A document is compared by its id
//! and its text: a record of 32 bytes holds the XXH3-128 of the id, the XXH3-64 of the text, and
//! where the document stands. Both sides' records are sorted by id and merged; ids that repeat are
//! compared as multisets. A text that is gone and a new text of the same id are one *changed*
//! document. **Memory** is bounded: where the records of both sides do not fit, they are dealt to
//! files by the first bits of the id's hash, and the files are sorted one after another. **Cost.**
//! One reading of ids and texts, and 64 bytes a document of memory or disk.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::columns::{self, Rows};
use crate::base::error::{Error, Result};
use crate::base::hash::{xxh3_64, xxh3_128};
use crate::base::{interrupt, io, place};

/// Bytes of a record.
const RECORD: usize = 32;

/// The most parts: each has an open file a side, with 256 KiB of memory.
const PARTS_MAX: u64 = 128;

/// The most ids of each side that are kept to look up reasons: those with the smallest hashes,
/// which are an even sample.
pub const ASKED_MAX: usize = 1 << 20;

/// Bits of a record's place that hold the row; the bits above hold the file's number.
const ROW_BITS: u32 = 40;

/// The documents that differ between two sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    /// The number of documents of either side.
    pub from: u64,
    pub to: u64,
    /// The number of documents with equal id and text.
    pub same: u64,
    pub entered: u64,
    pub left: u64,
    pub changed: u64,
    /// The first of each kind, in the order of their corpora.
    pub listed: Vec<Moved>,
    /// Hashes of the ids of what left and what entered, sorted.
    #[serde(skip)]
    pub left_ids: Vec<u128>,
    #[serde(skip)]
    pub entered_ids: Vec<u128>,
}

/// A document that moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    pub how: How,
    pub id: String,
    pub source: String,
    /// The step that decided, and its rule or the document's twin.
    pub reason: Option<String>,
}

/// How a document differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    Entered,
    Left,
    Changed,
}

/// What bounds a comparison.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes of memory for records.
    pub memory: u64,
    /// The folder for parts that do not fit in memory; it is created, then removed.
    pub spill: PathBuf,
    /// Documents of each kind that are listed.
    pub listed: usize,
}

/// A document as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    id: u128,
    text: u64,
    place: u64,
}

/// The hash of an id, by which reasons are looked up.
pub fn hash_of(id: &str) -> u128 {
    u128::from_be_bytes(xxh3_128(id.as_bytes()).0)
}

/// Compares two lists of corpora, of about `documents` documents.
///
/// # Errors
/// Damaged: a part that cannot be read. Io.
pub fn compare(
    from: &[PathBuf],
    to: &[PathBuf],
    documents: u64,
    bounds: &Bounds,
) -> Result<Changes> {
    let (from, to) = (parts_of(from)?, parts_of(to)?);
    let parts = (documents * RECORD as u64).div_ceil(bounds.memory.max(1 << 20));
    let parts = parts.next_power_of_two().min(PARTS_MAX) as usize;
    let result = compare_parts(&from, &to, parts, bounds);
    if parts > 1 {
        io::remove_directory(&bounds.spill)?;
    }
    result
}

fn compare_parts(
    from: &[PathBuf],
    to: &[PathBuf],
    parts: usize,
    bounds: &Bounds,
) -> Result<Changes> {
    let deal = |name: &str, files: &[PathBuf]| {
        Dealt::open(name, parts, bounds).and_then(|dealt| dealt.fill(files))
    };
    let (a, b) = rayon::join(|| deal("from", from), || deal("to", to));
    let (mut a, mut b) = (a?, b?);
    let mut changes = Changes::default();
    let mut places: [Vec<u64>; 3] = Default::default();
    for part in 0..parts {
        let (mut x, mut y) = (a.take(part)?, b.take(part)?);
        rayon::join(|| x.sort_unstable(), || y.sort_unstable());
        merge(&x, &y, &mut changes, &mut places, bounds.listed);
    }
    for (how, places) in [How::Entered, How::Left, How::Changed].into_iter().zip(&mut places) {
        places.sort_unstable();
        places.truncate(bounds.listed);
        let files = if how == How::Left { from } else { to };
        changes.listed.extend(names(files, places, how)?);
    }
    Ok(changes)
}

/// The parts of corpora, in order.
fn parts_of(corpora: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for corpus in corpora {
        parts.extend(io::list(corpus)?.into_iter().filter(|path| {
            let name = place::name(path);
            name.starts_with("part-") && name.ends_with(".parquet")
        }));
    }
    Ok(parts)
}

/// Records dealt by id: all in memory, or each part in a file.
struct Dealt {
    parts: Vec<Part>,
}

enum Part {
    Memory(Vec<Record>),
    Disk(PathBuf, BufWriter<File>),
}

impl Dealt {
    fn open(name: &str, parts: usize, bounds: &Bounds) -> Result<Dealt> {
        if parts == 1 {
            return Ok(Dealt { parts: vec![Part::Memory(Vec::new())] });
        }
        io::create_directory(&bounds.spill)?;
        let part = |at: usize| {
            let path = bounds.spill.join(format!("{name}-{at:03}"));
            let file = io::create(&path)?;
            Ok(Part::Disk(path, file))
        };
        Ok(Dealt { parts: (0..parts).map(part).collect::<Result<_>>()? })
    }

    fn fill(mut self, files: &[PathBuf]) -> Result<Dealt> {
        for (number, file) in files.iter().enumerate() {
            let mut row = 0;
            for batch in columns::open(file, &["id", "text"])? {
                interrupt::check()?;
                let batch = batch?;
                let rows = Rows { batch: &batch, path: file };
                let (ids, texts) = (rows.text("id")?, rows.text("text")?);
                for at in 0..batch.num_rows() {
                    let id = hash_of(ids.at(at).unwrap_or_default());
                    let text = xxh3_64(texts.at(at).unwrap_or_default().as_bytes());
                    let place = ((number as u64) << ROW_BITS) | (row + at as u64);
                    self.push(Record { id, text, place })?;
                }
                row += batch.num_rows() as u64;
            }
        }
        Ok(self)
    }

    fn push(&mut self, record: Record) -> Result<()> {
        let bits = self.parts.len().trailing_zeros();
        let part = record.id.checked_shr(128 - bits).unwrap_or(0) as usize;
        match &mut self.parts[part] {
            Part::Memory(records) => records.push(record),
            Part::Disk(path, file) => {
                let mut bytes = [0; RECORD];
                bytes[..16].copy_from_slice(&record.id.to_le_bytes());
                bytes[16..24].copy_from_slice(&record.text.to_le_bytes());
                bytes[24..].copy_from_slice(&record.place.to_le_bytes());
                file.write_all(&bytes).map_err(Error::io("write", path))?;
            }
        }
        Ok(())
    }

    /// The records of a part, which is done with.
    fn take(&mut self, part: usize) -> Result<Vec<Record>> {
        match &mut self.parts[part] {
            Part::Memory(records) => Ok(std::mem::take(records)),
            Part::Disk(path, file) => {
                file.flush().map_err(Error::io("write", path))?;
                let bytes = io::read(path)?;
                io::remove_file(path)?;
                Ok(bytes.chunks_exact(RECORD).map(record).collect())
            }
        }
    }
}

fn record(bytes: &[u8]) -> Record {
    let number = |start: usize| u64::from_le_bytes(bytes[start..start + 8].try_into().expect("8"));
    let id = (u128::from(number(8)) << 64) | u128::from(number(0));
    Record { id, text: number(16), place: number(24) }
}

/// Merges two sorted parts.
fn merge(
    a: &[Record],
    b: &[Record],
    changes: &mut Changes,
    places: &mut [Vec<u64>; 3],
    most: usize,
) {
    (changes.from, changes.to) = (changes.from + a.len() as u64, changes.to + b.len() as u64);
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let id = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.id.min(y.id),
            (Some(x), None) | (None, Some(x)) => x.id,
            (None, None) => unreachable!("one of them has a record"),
        };
        let end = |list: &[Record], at: usize| {
            at + list[at..].iter().take_while(|record| record.id == id).count()
        };
        let (x, y) = (end(a, i), end(b, j));
        let (gone, new) = unequal(&a[i..x], &b[j..y]);
        changes.same += (x - i - gone.len()) as u64;
        let both = gone.len().min(new.len());
        changes.changed += both as u64;
        changes.left += (gone.len() - both) as u64;
        changes.entered += (new.len() - both) as u64;
        note(&mut places[2], new[..both].iter().map(|it| it.place), most);
        note(&mut places[1], gone[both..].iter().map(|it| it.place), most);
        note(&mut places[0], new[both..].iter().map(|it| it.place), most);
        if gone.len() > both && changes.left_ids.len() < ASKED_MAX {
            changes.left_ids.push(id);
        }
        if new.len() > both && changes.entered_ids.len() < ASKED_MAX {
            changes.entered_ids.push(id);
        }
        (i, j) = (x, y);
    }
}

/// The records of one id on either side whose text the other side lacks; both lists are sorted.
fn unequal(a: &[Record], b: &[Record]) -> (Vec<Record>, Vec<Record>) {
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) if x.text == y.text => (i, j) = (i + 1, j + 1),
            (Some(x), y) if y.is_none_or(|y| x.text < y.text) => {
                gone.push(*x);
                i += 1;
            }
            (_, Some(y)) => {
                new.push(*y);
                j += 1;
            }
            (_, None) => unreachable!("handled above"),
        }
    }
    (gone, new)
}

/// Keeps the `most` smallest places, letting the list grow to about twice as many before it is cut.
fn note(places: &mut Vec<u64>, found: impl Iterator<Item = u64>, most: usize) {
    for place in found {
        places.push(place);
        if places.len() > 2 * most + 64 {
            places.sort_unstable();
            places.truncate(most);
        }
    }
}

/// Ids and sources of the documents at `places`, which ascend.
fn names(files: &[PathBuf], places: &[u64], how: How) -> Result<Vec<Moved>> {
    let mut moved = Vec::with_capacity(places.len());
    let mut rest = places;
    while let Some(first) = rest.first() {
        let number = first >> ROW_BITS;
        let here = rest.partition_point(|place| place >> ROW_BITS == number);
        let (wanted, later) = rest.split_at(here);
        moved.extend(names_in(&files[number as usize], wanted, how)?);
        rest = later;
    }
    Ok(moved)
}

fn names_in(file: &Path, places: &[u64], how: How) -> Result<Vec<Moved>> {
    let mut moved = Vec::with_capacity(places.len());
    let mut wanted = places.iter().map(|place| place & ((1 << ROW_BITS) - 1)).peekable();
    let mut row = 0;
    for batch in columns::open(file, &["id", "source"])? {
        let Some(&next) = wanted.peek() else { break };
        let batch = batch?;
        let rows = Rows { batch: &batch, path: file };
        let (ids, sources) = (rows.text("id")?, rows.text("source")?);
        let end = row + batch.num_rows() as u64;
        if next < end {
            while let Some(place) = wanted.next_if(|place| *place < end) {
                let at = (place - row) as usize;
                let text = |it: Option<&str>| it.unwrap_or_default().to_owned();
                let (id, source) = (text(ids.at(at)), text(sources.at(at)));
                moved.push(Moved { how, id, source, reason: None });
            }
        }
        row = end;
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::base::rng::Stream;
    use crate::source::CorpusWriter;
    use arrow::array::{BooleanArray, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::record_batch::RecordBatch;
    use std::sync::Arc;

    fn corpus(folder: &Path, documents: &[(String, String)]) -> PathBuf {
        io::create_directory(folder).unwrap();
        let column = |name: &str, kind| Field::new(name, kind, false);
        let schema = Arc::new(Schema::new(vec![
            column("id", DataType::Utf8),
            column("text", DataType::Utf8),
            column("source", DataType::Utf8),
            column("held_out", DataType::Boolean),
        ]));
        let texts = |text: fn(&(String, String)) -> &str| {
            Arc::new(StringArray::from_iter_values(documents.iter().map(text)))
        };
        let source = StringArray::from_iter_values(documents.iter().map(|_| "s"));
        let held_out = BooleanArray::from(vec![false; documents.len()]);
        let (ids, bodies) = (texts(|it| &it.0), texts(|it| &it.1));
        let columns: Vec<arrow::array::ArrayRef> =
            vec![ids, bodies, Arc::new(source), Arc::new(held_out)];
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let mut writer = CorpusWriter::create(&folder.join("part-00000.parquet"), schema).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        folder.to_owned()
    }

    /// The expected counts by definition: each (id, text) of one side is taken from the other's.
    fn expected(a: &[(String, String)], b: &[(String, String)]) -> [u64; 4] {
        let mut sides: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
        a.iter().for_each(|(id, text)| sides.entry(id).or_default().0.push(text));
        b.iter().for_each(|(id, text)| sides.entry(id).or_default().1.push(text));
        let mut counts = [0; 4];
        for (mut gone, new) in sides.into_values() {
            let mut left = 0;
            for text in new {
                match gone.iter().position(|it| *it == text) {
                    Some(at) => {
                        gone.remove(at);
                        counts[0] += 1;
                    }
                    None => left += 1,
                }
            }
            let changed = left.min(gone.len() as u64);
            counts[1] += left - changed;
            counts[2] += gone.len() as u64 - changed;
            counts[3] += changed;
        }
        counts
    }

    #[test]
    fn whatever_fits_the_memory_the_same_documents_have_moved() {
        let directory = tempfile::tempdir().unwrap();
        let mut stream = Stream::new(3, "corpora");
        let mut draw = |count: usize| -> Vec<(String, String)> {
            let document = |_| {
                let (id, text) = (stream.next_u64() % 3000, stream.next_u64() % 3);
                (format!("d{id}"), format!("text {text}"))
            };
            (0..count).map(document).collect()
        };
        let (a, b) = (draw(4000), draw(5000));
        let from = [corpus(&directory.path().join("a"), &a)];
        let to = [corpus(&directory.path().join("b"), &b)];
        let bounds = |memory| Bounds { memory, spill: directory.path().join("spill"), listed: 5 };
        let whole = compare(&from, &to, 9000, &bounds(1 << 30)).unwrap();
        let counts = [whole.same, whole.entered, whole.left, whole.changed];
        assert_eq!(counts, expected(&a, &b));
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
        assert_eq!((whole.from, whole.to, whole.listed.len()), (4000, 5000, 15));
        // With so many documents announced, the records are dealt to files.
        let dealt = compare(&from, &to, 1 << 18, &bounds(1 << 20)).unwrap();
        assert_eq!(dealt, whole);
        assert!(!directory.path().join("spill").exists());
    }
}
