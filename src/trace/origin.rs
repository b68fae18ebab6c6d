//! Where documents lie in the raw files they came from.
//!
//! In → ids, and a run or mix whose sources still exist; out → for each id the files and rows that
//! it came from. The raw files of each corpus or shards that read some are read again with that
//! step's own configuration. Ids may repeat, so an id may have several origins. Files that are not
//! where they were are skipped. Cost: one pass over the texts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::artifact::{manifest::Manifest, record::InputKind, store};
use crate::base::{config, error::Result, io, progress::Progress};
use crate::report::chain;
use crate::source::{Batch, Columns, InputConfig, InputSpec, Inputs};

/// A document in a raw file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The artifact that read it.
    pub read_by: String,
    pub source: String,
    pub file: PathBuf,
    /// Its row in a Parquet file; in other files the byte offset of its record.
    pub row: u64,
}

/// The resources for the search, and how it reports.
pub struct Looking<'a> {
    /// (threads, bytes of memory).
    pub resources: (usize, u64),
    pub progress: &'a Progress,
}

/// The origins of `ids`, as far as the sources still exist.
pub fn find(
    path: &Path,
    ids: &BTreeSet<&str>,
    looking: &Looking<'_>,
) -> Result<BTreeMap<String, Vec<Origin>>> {
    let mut found: BTreeMap<String, Vec<Origin>> = BTreeMap::new();
    for link in chain::upstream(path, &Manifest::read(path)?) {
        // One file at a time, since two files of one source cannot be two inputs.
        for spec in specs(&link) {
            look_in(&link, spec, ids, looking, &mut found)?;
        }
    }
    Ok(found)
}

/// Reads one file.
fn look_in(
    link: &chain::Link,
    spec: InputSpec,
    ids: &BTreeSet<&str>,
    looking: &Looking<'_>,
    found: &mut BTreeMap<String, Vec<Origin>>,
) -> Result<()> {
    let inputs = Inputs::open_texts(&[spec], &input_config(&link.manifest.config)?)?;
    let map = |batch: Batch| {
        let hits = (0..batch.len()).filter(|&row| ids.contains(batch.ids().value(row)));
        let origin = |row| {
            let id = batch.ids().value(row).to_owned();
            let file = inputs.files()[batch.file].path().to_owned();
            let source = inputs.sources()[batch.source].clone();
            let read_by = link.name.clone();
            (id, Origin { read_by, source, file, row: batch.rows[row] })
        };
        Ok(hits.map(origin).collect::<Vec<_>>())
    };
    let sink = |hits: Vec<(String, Origin)>| {
        for (id, origin) in hits {
            found.entry(id).or_default().push(origin);
        }
        Ok(())
    };
    inputs.survey(Columns::Text, looking.resources, looking.progress, map, sink)?;
    Ok(())
}

/// The raw files of an artifact that still lie where they lay, each under its source's name.
fn specs(link: &chain::Link) -> Vec<InputSpec> {
    let mut specs = Vec::new();
    for (input, recorded) in link.manifest.inputs.iter().zip(store::recorded(&link.path)) {
        let (InputKind::File, Some(source)) = (input.kind, &input.source) else { continue };
        let place = recorded.places.into_iter().find(|place| place.is_file());
        // The path in a form that is valid from any folder.
        let place = place.and_then(|place| io::canonical(&place).ok());
        specs.extend(place.map(|path| InputSpec::named(source, path)));
    }
    specs
}

/// The keys of a stage's configuration that say how its inputs are read.
fn input_config(stage: &Value) -> Result<InputConfig> {
    let mut keys = serde_json::Map::new();
    for field in config::fields::<InputConfig>() {
        if let Some(value) = stage.get(*field) {
            keys.insert((*field).to_owned(), value.clone());
        }
    }
    // Only ids are compared, so it does not matter which other columns were kept.
    keys.remove("columns");
    let table = toml::Table::try_from(Value::Object(keys));
    config::parse(table.unwrap_or_default(), "the inputs")
}
