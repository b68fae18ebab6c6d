//! Counts the pieces of many texts on many threads, within a budget of memory.
//!
//! Texts in → one sorted run of (piece, count) out (`words`). Each thread takes a counter of its
//! own; one that is full is written to a folder for spilled runs and starts empty again; in the end
//! all are merged. So the result depends on the texts alone, not on threads, memory or where a
//! counter became full. Cost: about 3 ns a byte for a pattern with a scanner, 50 for a regular
//! expression; a spilled run costs some 30 ns a piece twice.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::bpe::scan::{Scanner, Scratch};
use super::config::Sequence;
use super::split::{self, Cut, Splitter};
use super::words::WordCounts;
use crate::artifact::spill::{Merged, RunReader, Totals};
use crate::base::error::Result;
use crate::base::io;
use crate::base::pool::Pool;

/// How text is cut into pieces for training.
pub struct Cutter {
    sequence: Sequence,
    by: By,
}

enum By {
    Scanner(Scanner),
    Splitter(Splitter),
}

impl Cutter {
    /// Compiles the cuts.
    ///
    /// # Errors
    /// [`crate::base::error::Error::Config`] for what is no regular expression.
    pub fn new(cuts: &[Cut], sequence: Sequence) -> Result<Cutter> {
        let by = match split::native(cuts) {
            Some(pattern) => By::Scanner(Scanner::new(pattern)),
            None => By::Splitter(Splitter::new(cuts)?),
        };
        Ok(Cutter { sequence, by })
    }

    /// Counts the pieces of a document.
    ///
    /// # Errors
    /// [`crate::base::error::Error::Failed`] where a regular expression gives up.
    pub fn count(&self, text: &str, counter: &mut Counter) -> Result<()> {
        match self.sequence {
            Sequence::Document => self.count_sequence(text, counter),
            Sequence::Line => {
                text.split_inclusive('\n').try_for_each(|line| self.count_sequence(line, counter))
            }
        }
    }

    fn count_sequence(&self, text: &str, counter: &mut Counter) -> Result<()> {
        let Counter { words, scratch } = counter;
        match &self.by {
            By::Scanner(scanner) => words.count_text(scanner, scratch, text),
            By::Splitter(splitter) => splitter.pieces(text, |piece| {
                words.add(piece.as_bytes(), 1);
                Ok(())
            })?,
        }
        Ok(())
    }
}

/// One thread's counts.
pub struct Counter {
    words: WordCounts,
    scratch: Box<Scratch>,
}

impl Counter {
    /// A counter that takes at most `budget` bytes of memory.
    pub fn new(budget: usize) -> Counter {
        Counter { words: WordCounts::new(budget), scratch: Box::default() }
    }

    /// Calls `see` with each piece and its count, while none was spilled.
    ///
    /// # Errors
    /// Whatever `see` gives.
    pub fn for_each(&self, mut see: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let mut result = Ok(());
        self.words.for_each(|piece, count| {
            if result.is_ok() {
                result = see(piece, count);
            }
        });
        result
    }
}

/// The counters of all threads, and the runs that they have spilled.
pub struct Counters<'a> {
    /// Bytes of memory of one counter.
    budget: usize,
    /// Where runs are spilled; made when the first one is.
    folder: &'a Path,
    counters: Pool<Counter>,
    spilled: AtomicUsize,
}

impl Counters<'_> {
    /// Counters for `threads` threads in `memory` bytes together.
    pub fn new(memory: u64, threads: usize, folder: &Path) -> Counters<'_> {
        let budget = (memory / threads.max(1) as u64) as usize;
        Counters { budget, folder, counters: Pool::default(), spilled: AtomicUsize::new(0) }
    }

    /// Lends a counter to `count`; a run that it fills goes to disk.
    ///
    /// # Errors
    /// Whatever `count` gives, and writing.
    pub fn with(&self, count: impl FnOnce(&mut Counter) -> Result<()>) -> Result<()> {
        self.counters.with(
            || Counter::new(self.budget),
            |counter| {
                count(counter)?;
                while let Some(run) = counter.words.take_run() {
                    io::create_directory(self.folder)?;
                    io::write(&self.path(self.spilled.fetch_add(1, Relaxed)), &run)?;
                }
                Ok(())
            },
        )
    }

    fn path(&self, run: usize) -> PathBuf {
        self.folder.join(format!("{run:06}"))
    }

    /// Writes the sum of all counters and runs to `path`, and removes the runs.
    ///
    /// # Errors
    /// [`crate::base::error::Error::Io`], or a run that is damaged.
    pub fn finish(self, path: &Path) -> Result<(Totals, usize)> {
        let spilled = self.spilled.load(Relaxed);
        let spilled_paths = (0..spilled).map(|run| self.path(run)).collect();
        let mut counters = self.counters.into_inner();
        counters.retain(|counter| spilled == 0 || !counter.words.is_empty());
        if let ([counter], 0) = (counters.as_mut_slice(), spilled) {
            return Ok((counter.words.drain_sorted(io::create(path)?, path)?, 0));
        }
        let mut runs = Vec::new();
        for mut counter in counters {
            let mut run = Vec::new();
            counter.words.drain_sorted(&mut run, path)?;
            runs.push(RunReader::of_bytes(run, path)?);
        }
        let totals = Merged::of_files(spilled_paths, self.folder, runs)?.write(path)?;
        if spilled > 0 {
            io::remove_directory(self.folder)?;
        }
        Ok((totals, spilled))
    }
}

#[cfg(test)]
mod tests {
    use super::super::split::cuts_of;
    use super::*;
    use proptest::prelude::*;

    fn counted(texts: &[String], pattern: &str, sequence: Sequence, lanes: usize) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (spilled, out) = (folder.path().join("spilled"), folder.path().join("words"));
        let cutter = Cutter::new(&cuts_of(pattern).unwrap(), sequence).unwrap();
        let counters = Counters::new(1, 1, &spilled);
        // Counters are taken as threads would take them: several at once.
        let chunks: Vec<_> = texts.chunks(texts.len().div_ceil(lanes).max(1)).collect();
        nested(&counters, &cutter, &chunks);
        counters.finish(&out).unwrap();
        assert!(!spilled.exists());
        std::fs::read(&out).unwrap()
    }

    fn nested(counters: &Counters<'_>, cutter: &Cutter, chunks: &[&[String]]) {
        let Some((texts, rest)) = chunks.split_first() else { return };
        let count = |counter: &mut Counter| {
            texts.iter().try_for_each(|text| cutter.count(text, counter))?;
            nested(counters, cutter, rest);
            Ok(())
        };
        counters.with(count).unwrap();
    }

    proptest! {
        #[test]
        fn the_sum_depends_on_the_texts_alone(
            mut texts in prop::collection::vec("[a-c \n]{0,40}", 1..20), lanes in 1usize..5
        ) {
            let one = counted(&texts, "cl100k", Sequence::Document, 1);
            texts.reverse();
            prop_assert_eq!(&one, &counted(&texts, "cl100k", Sequence::Document, lanes));
            // The same pattern, spelled so that no scanner knows it.
            let spelled = format!("(?:{})", split::CL100K);
            prop_assert_eq!(&one, &counted(&texts, &spelled, Sequence::Document, lanes));
            let lines: Vec<String> = texts
                .iter()
                .flat_map(|text| text.split_inclusive('\n').map(str::to_owned))
                .collect();
            let by_line = counted(&texts, "gpt2", Sequence::Line, 1);
            if !lines.is_empty() {
                prop_assert_eq!(by_line, counted(&lines, "gpt2", Sequence::Document, lanes));
            }
        }
    }

    #[test]
    fn full_counters_are_spilled_and_change_nothing() {
        // The least budget is 16 MiB: 4 of slots, 32 bytes each and at most half full.
        let letter = |digit: u32| char::from(b'a' + (digit % 26) as u8);
        let words = |range: std::ops::Range<u32>| -> String {
            let word = |number: u32| {
                let places = [1, 26, 676, 17_576].map(|place| letter(number / place));
                std::iter::once(' ').chain(places)
            };
            range.flat_map(word).collect()
        };
        let texts = [words(0..150_000), words(100_000..250_000), words(0..10)];
        let folder = tempfile::tempdir().unwrap();
        let cutter = Cutter::new(&cuts_of("gpt2").unwrap(), Sequence::Document).unwrap();
        let mut runs = Vec::new();
        for (memory, name) in [(1, "small"), (1 << 30, "large")] {
            let (spilled, out) = (folder.path().join("spilled"), folder.path().join(name));
            let counters = Counters::new(memory, 1, &spilled);
            for text in &texts {
                counters.with(|counter| cutter.count(text, counter)).unwrap();
            }
            let (totals, spills) = counters.finish(&out).unwrap();
            runs.push((totals, std::fs::read(&out).unwrap(), spills > 0));
        }
        assert_eq!((runs[0].0, &runs[0].1), (runs[1].0, &runs[1].1));
        assert!(runs[0].2, "nothing was spilled");
    }
}
