//! One unit of `ingest`: read, write, count.

use crate::artifact::counts::Counts;
use crate::artifact::record::FileCounts;
use crate::artifact::stage::Work;
use crate::base::error::Result;
use crate::source::{Batch, Columns, CorpusWriter, Inputs};

/// The part's name; published as `part-<unit>.parquet`.
const PART: &str = "part.parquet";

/// Writes the documents of `unit` to one part.
pub(super) fn run_unit(inputs: &Inputs, unit: usize, work: &Work<'_>) -> Result<Counts> {
    let mut writer = CorpusWriter::create(&work.path(PART), inputs.schema())?;
    let mut out = Counts::default();
    let sink = |batch: Batch| {
        let counts = out.source(&inputs.sources()[batch.source]);
        counts.documents_out += batch.len() as u64;
        counts.bytes_out += batch.text_bytes();
        counts.held_out += batch.held_out().true_count() as u64;
        writer.write(&batch.records)
    };
    let mut counts = inputs.read(unit, Columns::All, work, Ok, sink)?;
    counts.add(&out);
    let written = writer.finish()?;
    let out = counts.total().documents_out;
    assert_eq!(written, out, "documents written differ from those counted");
    work.describe(PART, FileCounts::documents(written));
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Mutex;

    use proptest::prelude::*;

    use crate::artifact::{
        record::Notes,
        stage::{Published, Stage, Unit, Work},
    };
    use crate::base::hash::Fingerprint;
    use crate::base::io;
    use crate::base::progress::{Progress, Style};
    use crate::base::size::Bytes;
    use crate::ingest::Ingest;
    use crate::source::{InputConfig, InputSpec};

    /// Hashes of every file that each unit of an ingest writes.
    fn ingest(path: &Path, unit_bytes: u64, threads: usize) -> Vec<(String, Fingerprint)> {
        let unit_bytes = Some(Bytes(unit_bytes));
        let config = InputConfig { unit_bytes, ..InputConfig::default() };
        let stage = Ingest::open(&[InputSpec::named("s", path)], config).unwrap();
        let (progress, skipped) = (Progress::new(Style::None), BTreeSet::new());
        let mut files = Vec::new();
        for index in 0..stage.plan().unwrap().phases[0].units.len() {
            let directory = tempfile::tempdir().unwrap();
            let work = Work {
                dir: directory.path().to_owned(),
                spill: directory.path().join("spill"),
                published: Published { partial: directory.path(), phases: &[] },
                threads,
                memory: 1 << 30,
                skipped: &skipped,
                progress: &progress,
                notes: Mutex::new(Notes::default()),
            };
            let counts = stage.run_unit(Unit { phase: 0, index }, &work).unwrap();
            counts.assert_balanced("ingest");
            for file in io::list(directory.path()).unwrap() {
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                files.push((format!("{index}/{name}"), io::hash_file(&file).unwrap().0));
            }
        }
        files
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_same_bytes_are_written_at_any_thread_count(
            texts in prop::collection::vec("[a-z ]{0,60}", 1..300),
            unit_bytes in 50u64..5000,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.jsonl");
            let line = |text: &String| format!("{{\"text\":\"{text}\",\"n\":1}}\nno json\n");
            io::write(&path, texts.iter().map(line).collect::<String>().as_bytes()).unwrap();
            let one = ingest(&path, unit_bytes, 1);
            prop_assert_eq!(&one, &ingest(&path, unit_bytes, 2));
            prop_assert!(one.iter().any(|(name, _)| name.ends_with("rejects.jsonl")));
        }
    }
}
