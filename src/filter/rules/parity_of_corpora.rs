//! FineWeb's preset against datatrove's verdicts on whole corpora, where they lie beside the
//! checkout.
//!
//! In: `../shared/data/corpora` and `../shared/bench/filter/verdicts-datatrove.tsv.gz`, which
//! `verdicts.py` beside it wrote. Out: a list of all differences in verdict, first rule, value (to
//! the last bit) and kept text, which must be empty. Every document is compared; a build without
//! optimizations takes each sixteenth, or all with `PARITY_EVERY=1`. Without the folder the test is
//! skipped. Cost: four seconds of a core, optimized.

use super::*;
use crate::base::beside::beside;
use crate::filter::presets;
use crate::filter::view::{Room, Splitter};
use arrow::array::AsArray;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rayon::prelude::*;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// First rule or `keep`; value, if there is one; hash of the kept text.
type Said = (String, Option<f64>, String);

/// Datatrove's verdicts, by corpus and document.
fn verdicts(path: &Path) -> HashMap<(String, String), Said> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let said = text.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let said = (fields[2].to_owned(), fields[3].parse().ok(), fields[8].to_owned());
        ((fields[0].to_owned(), fields[1].to_owned()), said)
    });
    said.collect()
}

/// The Parquet files of the corpora that have verdicts.
fn files(corpora: &Path) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    for corpus in ["openstax", "techdocs", "wikipedia"] {
        let entries = corpora.join(corpus).read_dir().unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.map(|path| (corpus.to_owned(), path)));
    }
    files.sort();
    files
}

/// Identities and texts.
fn documents(path: &Path) -> Vec<(String, String)> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["id", "text"]);
    let mut documents = Vec::new();
    for batch in builder.with_projection(mask).build().unwrap() {
        let batch = batch.unwrap();
        let column = |name| batch.column_by_name(name).unwrap().as_string::<i32>();
        let rows = column("id").iter().zip(column("text"));
        documents.extend(rows.map(|(id, text)| (id.unwrap().into(), text.unwrap().into())));
    }
    documents
}

fn difference(room: &mut Room, rules: &[Box<dyn RuleSet>], text: &str, said: &Said) -> bool {
    let mut view = room.view(text);
    let verdict = judge(rules, &mut view);
    let value = verdict.map(|verdict| verdict.value.to_bits());
    let is_equal = said.1.is_none_or(|expected| value == Some(expected.to_bits()));
    let kept = format!("{:016x}", xxh3_64(view.text().as_bytes()));
    let rule = verdict.map_or("keep", |verdict| verdict.rule);
    rule != said.0 || !is_equal || (verdict.is_none() && kept != said.2)
}

#[test]
fn fineweb_equals_datatrove_on_whole_corpora() {
    let Some(corpora) = beside("data/corpora") else { return };
    let Some(table) = beside("bench/filter/verdicts-datatrove.tsv.gz") else { return };
    let default = if cfg!(debug_assertions) { 16 } else { 1 };
    let every = std::env::var("PARITY_EVERY").map_or(default, |text| text.parse().unwrap());
    let verdicts = verdicts(&table);
    let rules = presets::named("fineweb").unwrap().build().unwrap();
    let (mut compared, mut differences) = (0, Vec::new());
    for (corpus, path) in files(&corpora) {
        let documents: Vec<_> = documents(&path).into_iter().step_by(every).collect();
        compared += documents.len();
        let new_room = || Room::new(Splitter::reference());
        let found = documents.par_iter().map_init(new_room, |room, (id, text)| {
            let said = &verdicts[&(corpus.clone(), id.clone())];
            difference(room, &rules, text, said).then(|| format!("{id}: {said:?}"))
        });
        differences.extend(found.flatten_iter().collect::<Vec<String>>());
    }
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));
    assert!(compared > 0 && (every > 1 || compared == verdicts.len()), "{compared}");
}
