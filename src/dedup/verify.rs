//! Phases `gather` and `decide`: candidates are compared by their exact shingle sets.
//!
//! `gather`, a unit at a time: in → a unit's members of components, out → their sets (see
//! `gather`); texts of units without any are not read. `decide`, one unit: in → the sets, partition
//! by partition, out → what is dropped (see `decide`, `decisions`). Components are independent, so
//! they are decided in parallel and listed in order of their names.
//!
//! Cost: `gather` shingles the candidates' texts a second time; `decide` holds one partition, its
//! sets and [`BYTES_PER_SHINGLE`] more for each shingle of it.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::{
    candidates::{self, Member},
    config::DedupConfig,
    decide::{BYTES_PER_SHINGLE, decide},
    decisions::{self, BYTES_PER_DECISION, Decision, Reason},
    documents::{Name, SignedUnit},
    gather::{self, SetUnit, SetWriter, Sets},
    phases::{CANDIDATES, GATHER, SIGN},
    shingle::Shingler,
};
use crate::text::normalize::Normalizer;
use crate::{
    artifact::stage::Work,
    base::error::{Error, Result},
    source::{Batch, Columns, Inputs},
};

/// Gathers the sets of one unit.
pub fn gather(inputs: &Inputs, config: &DedupConfig, unit: usize, work: &Work<'_>) -> Result<()> {
    let candidates = candidates::open(&work.published.dir(CANDIDATES, 0))?;
    let partitions = candidates::read_partitions(&candidates)?;
    let members = candidates::read_members(&candidates, unit)?;
    let mut writer = SetWriter::create(&work.path(gather::FILE), partitions.len())?;
    if members.is_empty() {
        return writer.finish();
    }
    let first: u64 = (0..unit)
        .map(|unit| {
            let folder = work.published.dir(SIGN, unit);
            SignedUnit::open(&folder, config.bands_wanted()).map(|unit| unit.documents)
        })
        .sum::<Result<u64>>()?;
    let places: Vec<u32> = members.iter().map(|member| member.order.ordinal).collect();
    let signed = SignedUnit::open(&work.published.dir(SIGN, unit), config.bands_wanted())?;
    let rows = Rows::new(signed.names(&places)?.into_iter().map(|(name, _)| name).zip(members));
    let mut found = 0;
    inputs.read(
        unit,
        Columns::Text,
        work,
        |batch| Ok(sets(&batch, &rows, first as u32, config.ngram)),
        |records| {
            found += records.len();
            records.iter().try_for_each(|(partition, record)| writer.push(*partition, record))
        },
    )?;
    if found != rows.len() {
        return Err(changed(rows.len(), found));
    }
    writer.finish()
}

fn sets(batch: &Batch, rows: &Rows<Member>, first: u32, ngram: usize) -> Vec<(u32, Vec<u8>)> {
    let mut normalizer = Normalizer::default();
    let mut shingler = Shingler::new(ngram);
    let mut records = Vec::new();
    for (at, &row) in batch.rows.iter().enumerate() {
        if let Some(member) = rows.find(batch.file, row) {
            let set = shingler.set(normalizer.normalize(batch.texts().value(at)));
            records.push((member.partition, gather::record(member, first, set)));
        }
    }
    records
}

/// A value for each of some documents of a unit, found by where the document lies.
pub struct Rows<T> {
    /// ((file, row), value), sorted by place.
    rows: Vec<((u32, u64), T)>,
}

impl<T> Rows<T> {
    /// `documents`: names with values.
    pub fn new(documents: impl Iterator<Item = (Name, T)>) -> Rows<T> {
        let mut rows: Vec<_> =
            documents.map(|(name, value)| ((name.file, name.row), value)).collect();
        rows.sort_unstable_by_key(|row| row.0);
        Rows { rows }
    }

    /// The value of the document at `row` of `file`.
    pub fn find(&self, file: usize, row: u64) -> Option<&T> {
        let at = self.rows.binary_search_by_key(&(file as u32, row), |entry| entry.0).ok()?;
        Some(&self.rows[at].1)
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

/// The error for an input that gives other documents than in an earlier phase: a file was changed,
/// or was left out as damaged after others had been compared with it.
pub fn changed(expected: usize, found: usize) -> Error {
    let message = format!(
        "the inputs changed since they were signed: of {expected} documents found: {found}"
    );
    Error::failed(message).with_hint("run the same command with `--fresh`")
}

/// Decides over all components.
pub fn run(config: &DedupConfig, limit: f64, work: &Work<'_>) -> Result<()> {
    let candidates = candidates::open(&work.published.dir(CANDIDATES, 0))?;
    let exact = candidates::read_exact(&candidates)?;
    let partitions = candidates::read_partitions(&candidates)?;
    let units = work.published.units(GATHER);
    let mut signed = Vec::with_capacity(units);
    let mut gathered = Vec::with_capacity(units);
    let mut members = 0;
    for unit in 0..units {
        signed.push(SignedUnit::open(&work.published.dir(SIGN, unit), config.bands_wanted())?);
        gathered.push(SetUnit::open(&work.published.dir(GATHER, unit))?);
        members += candidates::read_members(&candidates, unit)?.len();
    }
    let largest = partitions.iter().copied().max().unwrap_or(0);
    let need =
        largest * (8 + BYTES_PER_SHINGLE) + (exact.len() + members) as u64 * BYTES_PER_DECISION;
    work.require_memory(need, "comparing the largest group of near-duplicate candidates")?;
    let (mut near, mut twins) = (Vec::new(), BTreeSet::new());
    for partition in 0..partitions.len() as u32 {
        let mut sets = Sets::with_capacity(partitions[partition as usize]);
        gathered.iter().try_for_each(|unit| unit.read(partition, &mut sets))?;
        let (mut decisions, found) = decide_partition(&mut sets, limit);
        near.append(&mut decisions);
        twins.extend(found);
        work.advance(partitions[partition as usize] * 8);
    }
    let decisions = decisions::resolve(&exact, near);
    decisions::write(&decisions, twins, &signed, &work.path(decisions::FILE))
}

/// The duplicates of a partition, and its held-out documents with a twin on the training side.
fn decide_partition(sets: &mut Sets, limit: f64) -> (Vec<Decision>, Vec<u32>) {
    let decided: Vec<(Vec<Decision>, Vec<u32>)> = sets
        .components()
        .par_iter()
        .map(|component| {
            let decided = decide(&component.sets, component.held_out, limit);
            let members = component.ordinals.iter().zip(&decided.duplicates).enumerate();
            let duplicates = members.filter_map(|(at, (&document, decision))| {
                let duplicate = (*decision)?;
                Some(Decision {
                    document,
                    kept: component.ordinals[duplicate.kept as usize],
                    reason: Reason::Near,
                    jaccard: Some(duplicate.jaccard),
                    cluster: component.name,
                    held_out: at < component.held_out,
                })
            });
            let twins = component.ordinals.iter().zip(&decided.twins);
            let twins = twins.filter(|(_, is_twin)| **is_twin).map(|(&ordinal, _)| ordinal);
            (duplicates.collect(), twins.collect())
        })
        .collect();
    let (duplicates, twins): (Vec<_>, Vec<_>) = decided.into_iter().unzip();
    (duplicates.concat(), twins.concat())
}
