//! Sorted runs of keys with counts, and their sum: what a stage spills when memory is full.
//!
//! In → (key, count) in the order of the keys' bytes; out → a *run*, and of many runs one sum, read
//! in order by a k-way merge. A run is a file of checked sections ([`super::section`]): blocks of
//! entries, then the totals (entries, their bytes, the sum of counts, u64 each), which can be read
//! first. An entry is how many bytes it shares with the one before it in its block, how many
//! follow, these, and its count; numbers as LEB128.
//!
//! Invariants: keys ascend, none is empty or twice in a run, counts are 1 at least; equal contents
//! are equal bytes. Reading checks all of that and the totals: what is wrong is
//! [`Error::Damaged`]. Cost: about 8 bytes on disk for each piece of text, 30 ns to read one; a
//! merge of k runs takes a block of each, about [`BLOCK_BYTES`], and log k comparisons a key.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::section::{Section, SectionKind, SectionReader, SectionWriter, push_variable};
use crate::base::error::{Error, Result};
use crate::base::io;

/// Runs of counted keys.
const KIND: SectionKind = SectionKind { name: *b"counted\0", version: 1 };

/// Bytes of entries in a block, about: one entry may be longer. A constant, as it shapes the file.
const BLOCK_BYTES: usize = 1 << 16;

/// Runs that are read at once: each holds a block.
const RUNS_AT_ONCE: usize = 256;

/// What a run holds in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Distinct keys.
    pub keys: u64,
    /// Their bytes, each key once.
    pub key_bytes: u64,
    /// The sum of their counts.
    pub counts: u64,
}

impl Totals {
    /// The totals of a run in a file, without reading the rest.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what is no run, [`Error::Io`].
    pub fn of_file(path: &Path) -> Result<Totals> {
        Totals::of(&SectionReader::open(path, KIND)?)
    }

    fn of(sections: &SectionReader) -> Result<Totals> {
        let last = sections.section(sections.len().saturating_sub(1))?;
        let mut fields = last.fields();
        let (keys, key_bytes, counts) = (fields.u64()?, fields.u64()?, fields.u64()?);
        Ok(Totals { keys, key_bytes, counts })
    }

    /// Adds a key; none when its count does not fit.
    fn add(&mut self, length: usize, count: u64) -> Option<()> {
        self.keys += 1;
        self.key_bytes += length as u64;
        self.counts = self.counts.checked_add(count)?;
        Some(())
    }
}

/// Writes a run.
pub struct RunWriter<W> {
    sections: SectionWriter<W>,
    block: Vec<u8>,
    /// The key before.
    before: Vec<u8>,
    totals: Totals,
}

impl<W: Write> RunWriter<W> {
    /// A run with no keys yet; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(out: W, path: &Path) -> Result<RunWriter<W>> {
        let sections = SectionWriter::new(out, KIND, path)?;
        let block = Vec::with_capacity(BLOCK_BYTES + 64);
        Ok(RunWriter { sections, block, before: Vec::new(), totals: Totals::default() })
    }

    /// Appends a key, which stands behind all before it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Failed`] when the counts' sum does not fit 64 bits.
    ///
    /// # Panics
    /// When the key is not behind the one before, or empty, or its count is 0.
    pub fn push(&mut self, key: &[u8], count: u64) -> Result<()> {
        assert!(self.before[..] < *key && count > 0, "a run ascends, and counts what occurs");
        let shared = match self.block.is_empty() {
            true => 0,
            false => self.before.iter().zip(key).take_while(|(a, b)| a == b).count(),
        };
        push_variable(shared as u64, &mut self.block);
        push_variable((key.len() - shared) as u64, &mut self.block);
        self.block.extend_from_slice(&key[shared..]);
        push_variable(count, &mut self.block);
        self.before.truncate(shared);
        self.before.extend_from_slice(&key[shared..]);
        self.totals.add(key.len(), count).ok_or_else(too_many)?;
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<()> {
        self.sections.section(&self.block)?;
        self.block.clear();
        Ok(())
    }

    /// Ends the run.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<Totals> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        let Totals { keys, key_bytes, counts } = self.totals;
        self.sections.section(&[keys, key_bytes, counts].map(u64::to_le_bytes).concat())?;
        self.sections.finish()?;
        Ok(self.totals)
    }
}

fn too_many() -> Error {
    Error::failed("the counts of all words together do not fit 64 bits")
}

/// Reads a run, a key at a time.
pub struct RunReader {
    sections: SectionReader,
    /// What the run says of itself.
    expected: Totals,
    /// The number of the next block.
    next: usize,
    block: Section,
    /// Where the next entry starts in the block.
    at: usize,
    key: Vec<u8>,
    totals: Totals,
}

impl RunReader {
    /// Opens the run at `path`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] for what is no run.
    pub fn open(path: &Path) -> Result<RunReader> {
        RunReader::new(SectionReader::open(path, KIND)?)
    }

    /// Opens a run that was written to memory; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn of_bytes(bytes: Vec<u8>, path: &Path) -> Result<RunReader> {
        RunReader::new(SectionReader::of_bytes(bytes, KIND, path)?)
    }

    fn new(sections: SectionReader) -> Result<RunReader> {
        Ok(RunReader {
            expected: Totals::of(&sections)?,
            sections,
            next: 0,
            block: Section::default(),
            at: 0,
            key: Vec::new(),
            totals: Totals::default(),
        })
    }

    /// Puts the next key into [`RunReader::key`]; its count, or none at the end.
    ///
    /// # Errors
    /// [`Error::Damaged`] for keys out of order and totals that differ; [`Error::Io`].
    pub fn advance(&mut self) -> Result<Option<u64>> {
        let mut shared_max = self.key.len();
        if self.at == self.block.bytes().len() {
            if self.next + 1 >= self.sections.len() {
                return self.end().map(|()| None);
            }
            self.block = self.sections.section(self.next)?;
            (self.next, self.at, shared_max) = (self.next + 1, 0, 0);
        }
        let mut entry = self.block.fields_from(self.at);
        let (shared, rest) = (entry.variable()?, entry.variable()?);
        let rest = entry.bytes(usize::try_from(rest).unwrap_or(usize::MAX))?;
        let count = entry.variable()?;
        let shared = usize::try_from(shared).ok().filter(|shared| *shared <= shared_max);
        let shared = shared.ok_or_else(|| entry.damaged("a key shares more than there is"))?;
        if count == 0 || rest <= &self.key[shared..] {
            return Err(entry.damaged("keys are out of order, or one is not counted"));
        }
        self.at = entry.position();
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        let sum = self.totals.add(self.key.len(), count);
        sum.ok_or_else(|| self.damaged("counts that do not fit 64 bits"))?;
        Ok(Some(count))
    }

    /// The key that [`RunReader::advance`] came to.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    fn end(&self) -> Result<()> {
        if self.totals == self.expected {
            return Ok(());
        }
        let (expected, found) = (self.expected, self.totals);
        Err(self.damaged(&format!("expected {expected:?}, found {found:?}")))
    }

    fn damaged(&self, message: &str) -> Error {
        self.block.fields_from(self.at).damaged(message)
    }
}

/// The sum of several runs, in order: one pass over all of them at once.
pub struct Merged {
    runs: Vec<RunReader>,
    /// The next key of every run that has one, the first of all on top.
    heads: BinaryHeap<Reverse<Head>>,
    key: Vec<u8>,
}

/// A run's next key: `first` is its first 8 bytes, highest first, 0 behind its end.
struct Head {
    first: u64,
    key: Vec<u8>,
    count: u64,
    run: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.first.cmp(&other.first).then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Head {
    /// Takes the next key of its run; whether there is one.
    fn advance(&mut self, runs: &mut [RunReader]) -> Result<bool> {
        let run = &mut runs[self.run];
        let Some(count) = run.advance()? else { return Ok(false) };
        self.count = count;
        self.key.clear();
        self.key.extend_from_slice(run.key());
        let mut first = [0; 8];
        let length = self.key.len().min(8);
        first[..length].copy_from_slice(&self.key[..length]);
        self.first = u64::from_be_bytes(first);
        Ok(true)
    }
}

impl Merged {
    /// Adds up runs.
    ///
    /// # Errors
    /// As [`RunReader::advance`].
    pub fn new(mut runs: Vec<RunReader>) -> Result<Merged> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for run in 0..runs.len() {
            let mut head = Head { first: 0, key: Vec::new(), count: 0, run };
            if head.advance(&mut runs)? {
                heads.push(Reverse(head));
            }
        }
        Ok(Merged { runs, heads, key: Vec::new() })
    }

    /// The runs in these files, of which more than can be read at once are merged into new ones in
    /// `folder` first; beside them the runs in memory.
    ///
    /// # Errors
    /// As [`RunReader::advance`]; [`Error::Io`].
    pub fn of_files(paths: Vec<PathBuf>, folder: &Path, memory: Vec<RunReader>) -> Result<Merged> {
        let mut runs = memory;
        for path in few_runs(paths, folder)? {
            runs.push(RunReader::open(&path)?);
        }
        Merged::new(runs)
    }

    /// The next key and its count over all runs; none at the end.
    ///
    /// # Errors
    /// As [`RunReader::advance`]; [`Error::Failed`] when a sum does not fit 64 bits.
    pub fn advance(&mut self) -> Result<Option<(&[u8], u64)>> {
        let Some(mut top) = self.heads.peek_mut() else { return Ok(None) };
        std::mem::swap(&mut self.key, &mut top.0.key);
        let mut sum = top.0.count;
        loop {
            if !top.0.advance(&mut self.runs)? {
                PeekMut::pop(top);
            } else {
                drop(top);
            }
            match self.heads.peek_mut() {
                Some(next) if next.0.key == self.key => top = next,
                _ => break,
            }
            sum = sum.checked_add(top.0.count).ok_or_else(too_many)?;
        }
        Ok(Some((&self.key, sum)))
    }

    /// Writes the sum as a run at `path`.
    ///
    /// # Errors
    /// As [`Merged::advance`]; [`Error::Io`].
    pub fn write(mut self, path: &Path) -> Result<Totals> {
        let mut out = RunWriter::new(io::create(path)?, path)?;
        while let Some((key, count)) = self.advance()? {
            out.push(key, count)?;
        }
        out.finish()
    }
}

/// The same counts in [`RUNS_AT_ONCE`] runs at most.
fn few_runs(mut paths: Vec<PathBuf>, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut merged = 0;
    while paths.len() > RUNS_AT_ONCE {
        io::create_directory(folder)?;
        let path = folder.join(format!("merged-{merged:06}"));
        let rest = paths.split_off(RUNS_AT_ONCE);
        let runs = paths.iter().map(|path| RunReader::open(path)).collect::<Result<_>>()?;
        Merged::new(runs)?.write(&path)?;
        paths = rest;
        paths.push(path);
        merged += 1;
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Plain = BTreeMap<Vec<u8>, u64>;

    fn place() -> &'static Path {
        Path::new("a/run")
    }

    fn written(entries: &Plain) -> (Vec<u8>, Totals) {
        let mut bytes = Vec::new();
        let mut writer = RunWriter::new(&mut bytes, place()).unwrap();
        entries.iter().for_each(|(key, count)| writer.push(key, *count).unwrap());
        let totals = writer.finish().unwrap();
        (bytes, totals)
    }

    fn read(bytes: Vec<u8>) -> Result<Plain> {
        let mut reader = RunReader::of_bytes(bytes, place())?;
        let mut plain = Plain::new();
        while let Some(count) = reader.advance()? {
            assert_eq!(plain.insert(reader.key().to_vec(), count), None);
        }
        assert_eq!(reader.advance().unwrap(), None);
        Ok(plain)
    }

    fn entries() -> impl Strategy<Value = Plain> {
        let key = prop_oneof!["[ab\0]{1,4}", "[a-cé語]{1,12}", "a{15}[ab]{0,9}"];
        let key = key.prop_map(String::into_bytes);
        prop::collection::btree_map(key, 1u64..u64::MAX >> 16, 0..40)
    }

    /// Blocks of a file of sections with whatever is in them.
    fn with_blocks(blocks: &[&[u8]], totals: [u64; 3]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = SectionWriter::new(&mut bytes, KIND, place()).unwrap();
        blocks.iter().for_each(|block| assert!(writer.section(block).is_ok()));
        writer.section(&totals.map(u64::to_le_bytes).concat()).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn damage(bytes: Vec<u8>) -> String {
        match read(bytes) {
            Err(Error::Damaged { offset: Some(_), message, .. }) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn totals_stand_at_the_end_and_many_blocks_are_one_run() {
        let entries: Plain =
            (0..60_000u64).map(|at| (format!("{at:08}").into_bytes(), at + 1)).collect();
        let (bytes, totals) = written(&entries);
        let expected = Totals { keys: 60_000, key_bytes: 480_000, counts: 60_000 * 60_001 / 2 };
        assert_eq!(totals, expected);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Totals::of_file(&path).unwrap(), totals);
        assert!(SectionReader::open(&path, KIND).unwrap().len() > 3);
        assert!(read(bytes).unwrap() == entries);
    }

    #[test]
    fn what_is_whole_but_no_run_is_damage() {
        // "abc" 2, then "b" 1.
        let sound: &[u8] = b"\x00\x03abc\x02\x00\x01b\x01";
        assert_eq!(read(with_blocks(&[sound], [2, 4, 3])).unwrap().len(), 2);
        for (blocks, totals, expected) in [
            (vec![sound, sound], [4, 8, 6], "order"),
            (vec![b"\x00\x03abc\x02\x00\x01a\x01"], [2, 4, 3], "order"),
            (vec![b"\x00\x03abc\x00"], [1, 3, 0], "order"),
            (vec![b"\x00\x00\x01"], [1, 0, 1], "order"),
            (vec![b"\x01\x01a\x01"], [1, 2, 1], "shares more"),
            (vec![b"\x00\x03ab"], [1, 3, 1], "expected 3 bytes, found 2"),
            (vec![b"\x00\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"], [1, 1, 1], "64 bits"),
            (vec![sound], [2, 4, 4], "counts: 4"),
        ] {
            let blocks: Vec<&[u8]> = blocks.into_iter().collect();
            let message = damage(with_blocks(&blocks, totals));
            assert!(message.contains(expected), "{message}");
        }
        let mut none = Vec::new();
        SectionWriter::new(&mut none, KIND, place()).unwrap().finish().unwrap();
        assert!(damage(none).contains("section 0"));
    }

    #[test]
    fn more_runs_than_are_read_at_once_are_merged_in_steps() {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = Plain::new();
        let mut paths = Vec::new();
        for run in 0..2 * RUNS_AT_ONCE as u64 + 3 {
            let entries = Plain::from([(vec![b'a' + (run % 20) as u8], run + 1), (vec![b'z'], 1)]);
            entries
                .iter()
                .for_each(|(key, count)| *expected.entry(key.clone()).or_default() += count);
            paths.push(folder.path().join(run.to_string()));
            std::fs::write(paths.last().unwrap(), written(&entries).0).unwrap();
        }
        let merged = Merged::of_files(paths, &folder.path().join("spill"), Vec::new()).unwrap();
        let path = folder.path().join("sum");
        merged.write(&path).unwrap();
        assert_eq!(read(std::fs::read(path).unwrap()).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn a_merge_of_runs_is_a_sort_of_all(runs in prop::collection::vec(entries(), 0..8)) {
            let mut sum = Plain::new();
            for (key, count) in runs.iter().flatten() {
                *sum.entry(key.clone()).or_default() += count;
            }
            let readers = runs.iter().map(|run| RunReader::of_bytes(written(run).0, place()));
            let mut merged = Merged::new(readers.collect::<Result<_>>().unwrap()).unwrap();
            let mut found = Vec::new();
            while let Some((key, count)) = merged.advance().unwrap() {
                found.push((key.to_vec(), count));
            }
            prop_assert_eq!(found, sum.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_run_that_is_bent_or_cut_is_damage(
            entries in entries(), at in any::<prop::sample::Index>(), bit in 0u32..8,
        ) {
            let (whole, _) = written(&entries);
            prop_assert_eq!(read(whole.clone()).unwrap(), entries);
            let at = at.index(whole.len());
            let mut bent = whole.clone();
            bent[at] ^= 1 << bit;
            let bent = matches!(read(bent), Err(Error::Damaged { .. }));
            prop_assert!(bent, "byte {at} flipped unseen");
            let cut = matches!(read(whole[..at].to_vec()), Err(Error::Damaged { .. }));
            prop_assert!(cut, "cut at {at} unseen");
        }

        #[test]
        fn blocks_of_any_bytes_never_panic(blocks in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..60), 0..3,
        )) {
            let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
            let _ = read(with_blocks(&blocks, [1, 1, 1]));
        }
    }
}
