//! Every run below a folder, each compared with its nearest earlier run.
//!
//! In → a folder; out → [`Row`]s in the order in which the runs were started. **Method.** A run's
//! *parent* is the earlier run with the fewest differing keys over all of its steps (ties: the
//! latest); the differences from it are then found in full and put into words. For the search a
//! lineage is a sorted list of numbers, one for each (step, key, value), so a thousand runs take
//! half a million merges of short sorted lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::facts::Facts;
use super::notes::{self, Note};
use crate::artifact::find;
use crate::artifact::record::Kind;
use crate::base::error::Result;
use crate::base::hash::Fingerprint;
use crate::base::io;
use crate::lineage::{Depth, Input, Lineage, Reader, differences, sentence};

/// One run of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub facts: Facts,
    /// The index, among the rows, of the run that it is compared with.
    pub parent: Option<usize>,
    /// The differences from its parent in words; for a run without a parent, a description.
    pub change: String,
    /// The number of differences.
    pub changes: usize,
    pub tags: BTreeSet<String>,
    pub notes: Vec<String>,
    #[serde(skip)]
    pub lineage: Lineage,
}

/// The runs below a folder, or the folder itself if it is one; first started first.
///
/// # Errors
/// Io, and damaged: a manifest or record that cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Row>> {
    let mut reader = Reader::new(Depth::Told);
    let mut rows = Vec::new();
    for (path, manifest) in find::below(folder, Kind::Run)? {
        let row = Row {
            facts: Facts::read(&path, &manifest)?,
            parent: None,
            change: "the first run".to_owned(),
            changes: 0,
            tags: BTreeSet::new(),
            notes: Vec::new(),
            lineage: reader.lineage_of(&path, &manifest)?,
        };
        rows.push(row);
    }
    rows.sort_by(|a, b| {
        let started = |row: &Row| row.facts.started.unwrap_or(f64::INFINITY);
        started(a).total_cmp(&started(b)).then_with(|| a.facts.path.cmp(&b.facts.path))
    });
    add_parents(&mut rows);
    add_remarks(&mut rows)?;
    tell_apart(&mut rows, folder);
    Ok(rows)
}

/// Names runs that share a name in several folders by their path below `folder`.
fn tell_apart(rows: &mut [Row], folder: &Path) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(row.facts.name.clone()).or_default() += 1);
    for row in rows.iter_mut().filter(|row| counts[&row.facts.name] > 1) {
        let place = row.facts.path.strip_prefix(folder).unwrap_or(&row.facts.path);
        row.facts.name = place.to_string_lossy().into_owned();
    }
}

fn add_parents(rows: &mut [Row]) {
    let mut numbers = BTreeMap::new();
    let mut sets: Vec<Vec<u32>> = rows.iter().map(|row| keys(&row.lineage, &mut numbers)).collect();
    // Keys that all runs share do not tell them apart.
    let mut counts = vec![0; numbers.len()];
    sets.iter().flatten().for_each(|key| counts[*key as usize] += 1);
    sets.iter_mut().for_each(|set| set.retain(|key| counts[*key as usize] < rows.len()));
    for index in 1..rows.len() {
        let distance = |other: &usize| (apart(&sets[*other], &sets[index]), usize::MAX - other);
        let Some(parent) = (0..index).min_by_key(distance) else { continue };
        let (from, to) = (&rows[parent].lineage, &rows[index].lineage);
        let found = differences(from, to);
        let change = match found.is_empty() {
            true => "nothing differs".to_owned(),
            false => sentence(&found, (from.documents(), to.documents())),
        };
        let row = &mut rows[index];
        (row.parent, row.changes, row.change) = (Some(parent), found.len(), change);
    }
}

/// A lineage as sorted numbers, one for each (step, key, value).
fn keys(lineage: &Lineage, numbers: &mut BTreeMap<String, u32>) -> Vec<u32> {
    let mut found = Vec::new();
    let mut add = |key: String| {
        let next = numbers.len() as u32;
        found.push(*numbers.entry(key).or_insert(next));
    };
    for (index, node) in lineage.nodes.iter().enumerate() {
        // A run's own name is not a property of it.
        let step = if index == 0 { node.stage.as_str() } else { node.name.as_str() };
        add(format!("{step} {:?} {}", node.stage_version, node.seed));
        leaves(step, &node.config, &mut add);
        for input in &node.inputs {
            match input {
                Input::File(record) => add(format!("{step} {}", record.identity)),
                Input::Made(made) if lineage.nodes[*made].stage_version.is_none() => {
                    add(format!("{step} {:?}", lineage.nodes[*made].fingerprint));
                }
                Input::Made(_) => {}
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn leaves(prefix: &str, value: &Value, add: &mut impl FnMut(String)) {
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| leaves(&format!("{prefix}.{key}"), value, add));
        }
        value => add(format!("{prefix}={value}")),
    }
}

/// The number of elements that only one of two sorted lists has.
fn apart(a: &[u32], b: &[u32]) -> usize {
    let (mut i, mut j, mut same) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                (i, j, same) = (i + 1, j + 1, same + 1);
            }
        }
    }
    a.len() + b.len() - 2 * same
}

fn add_remarks(rows: &mut [Row]) -> Result<()> {
    let mut notes: BTreeMap<PathBuf, Vec<Note>> = BTreeMap::new();
    let standing: BTreeSet<Fingerprint> =
        rows.iter().filter_map(|row| row.facts.fingerprint).collect();
    for row in rows {
        let absolute = io::canonical(&row.facts.path)?;
        let Some(folder) = absolute.parent() else { continue };
        if !notes.contains_key(folder) {
            notes.insert(folder.to_owned(), notes::read(folder)?);
        }
        let Some(fingerprint) = row.facts.fingerprint else { continue };
        let remarks = notes::about(&notes[folder], &row.facts.name, fingerprint, &standing);
        (row.notes, row.tags) = (remarks.notes, remarks.tags);
    }
    Ok(())
}
