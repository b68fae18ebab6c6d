//! What is dropped, and for whom: the one list that `apply` obeys.
//!
//! In → exact duplicates and near-duplicates; out → for each dropped document the document that
//! stays for it in the output, grouped by unit (`decisions.bin`, a checked section a unit; a
//! held-out document in it is not dropped, but what would be done is said beside it):
//!
//! ```text
//! place u32 · reason u8 · jaccard f64 (NaN: not computed) · cluster u64 · kept held out u8 ·
//! kept: file u32 · source u32 · row u64 · id bytes u32 · id
//! ```
//!
//! After these follow as many sections again: the places (u32) of held-out documents of which a
//! training document is an exact or near copy.
//!
//! An exact copy of a document that is itself dropped as a near-duplicate names what stays for
//! that one, with its Jaccard: the copy has the same shingles. So `kept` is always in the output,
//! and the Jaccard is always that of the two documents named.
//!
//! Cost: memory of at most [`BYTES_PER_DECISION`] for each dropped document.

use std::{collections::BTreeSet, path::Path};

use super::{
    candidates::ExactDuplicate,
    documents::{HELD_OUT, Name, SignedUnit},
};
use crate::{
    artifact::section::{SectionKind, SectionReader, SectionWriter},
    base::error::Result,
};

/// The file's name inside its unit.
pub const FILE: &str = "decisions.bin";
/// What its sections are.
const KIND: SectionKind = SectionKind { name: *b"decision", version: 2 };

/// Memory for each exact duplicate or candidate while decisions are made and written: the decision
/// as found and as resolved (40 each), and the name of what is kept.
pub const BYTES_PER_DECISION: u64 = 160;

/// Why a document is dropped; also the names in counts and in `removed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its normalized text equals that of another.
    Exact,
    /// Its shingles are nearly those of a kept document.
    Near,
}

impl Reason {
    /// The name people see.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Exact => "exact_duplicate",
            Reason::Near => "near_duplicate",
        }
    }
}

/// A document that is dropped, or would be if it were not held out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    pub document: u32,
    /// The document that stays for it.
    pub kept: u32,
    pub reason: Reason,
    /// Exact Jaccard similarity of the two; `None` where candidates are not verified.
    pub jaccard: Option<f64>,
    pub cluster: u32,
    /// Whether the document is held out, and so stays; for exact copies [`write()`] finds out.
    pub held_out: bool,
}

/// Joins both kinds into one list by ordinal. `near` has each document once.
pub fn resolve(exact: &[ExactDuplicate], mut near: Vec<Decision>) -> Vec<Decision> {
    near.sort_unstable_by_key(|decision| decision.document);
    let mut all = Vec::with_capacity(exact.len() + near.len());
    for duplicate in exact {
        let found = near.binary_search_by_key(&duplicate.kept, |decision| decision.document);
        let (kept, jaccard) = match found {
            Ok(at) if !near[at].held_out => (near[at].kept, near[at].jaccard),
            _ => (duplicate.kept, Some(1.0)),
        };
        let ExactDuplicate { document, cluster, .. } = *duplicate;
        let (reason, held_out) = (Reason::Exact, false);
        all.push(Decision { document, kept, reason, jaccard, cluster, held_out });
    }
    all.append(&mut near);
    all.sort_unstable_by_key(|decision| decision.document);
    all
}

/// Writes the file, looking up who the kept documents are. `twins`: by ordinal, held-out documents
/// that training documents are near to; exact copies are added here.
pub fn write(
    decisions: &[Decision],
    mut twins: BTreeSet<u32>,
    units: &[SignedUnit],
    path: &Path,
) -> Result<()> {
    let mut kept: Vec<u32> = decisions.iter().map(|decision| decision.kept).collect();
    kept.sort_unstable();
    kept.dedup();
    let names = look_up(&kept, units)?;
    let mut writer = SectionWriter::create(path, KIND)?;
    let (mut first, mut rest) = (0u64, decisions);
    for unit in units {
        let end = first + unit.documents;
        let inside = rest.partition_point(|decision| u64::from(decision.document) < end);
        let mut section = Vec::new();
        for decision in &rest[..inside] {
            let at = kept.binary_search(&decision.kept).expect("collected above");
            put(decision, first, &names[at], &mut section);
        }
        writer.section(&section)?;
        (first, rest) = (end, &rest[inside..]);
    }
    assert!(rest.is_empty(), "{} decisions behind the last unit", rest.len());
    add_copies(decisions, (&kept, &names), units, &mut twins)?;
    let mut first = 0;
    for unit in units {
        let end = first + unit.documents as u32;
        let mut section = Vec::new();
        twins.range(first..end).for_each(|twin| {
            section.extend_from_slice(&(twin - first).to_le_bytes());
        });
        writer.section(&section)?;
        first = end;
    }
    writer.finish()
}

/// Adds the held-out documents that a training document was dropped for, then the held-out copies
/// of all of these.
fn add_copies(
    decisions: &[Decision],
    (kept, names): (&[u32], &[(Name, u8)]),
    units: &[SignedUnit],
    twins: &mut BTreeSet<u32>,
) -> Result<()> {
    let mut copies = Vec::new();
    let (mut first, mut rest) = (0u64, decisions);
    for unit in units {
        let end = first + unit.documents;
        let inside = rest.partition_point(|decision| u64::from(decision.document) < end);
        let mut flags = Vec::new();
        if inside > 0 {
            unit.flags(&mut flags)?;
        }
        for decision in &rest[..inside] {
            let at = kept.binary_search(&decision.kept).expect("collected before");
            let kept_held_out = names[at].1 & HELD_OUT != 0;
            let held_out = flags[(u64::from(decision.document) - first) as usize] & HELD_OUT != 0;
            match (held_out, decision.reason) {
                (false, _) if kept_held_out => {
                    twins.insert(decision.kept);
                }
                (true, Reason::Exact) => copies.push((decision.document, decision.kept)),
                _ => {}
            }
        }
        (first, rest) = (end, &rest[inside..]);
    }
    let copied = copies.iter().filter(|(_, kept)| twins.contains(kept)).map(|(copy, _)| *copy);
    let copied: Vec<u32> = copied.collect();
    twins.extend(copied);
    Ok(())
}

/// The names and flags of documents, whose ordinals ascend.
fn look_up(ordinals: &[u32], units: &[SignedUnit]) -> Result<Vec<(Name, u8)>> {
    let mut names = Vec::with_capacity(ordinals.len());
    let (mut first, mut rest) = (0u64, ordinals);
    for unit in units {
        let end = first + unit.documents;
        let inside = rest.partition_point(|&ordinal| u64::from(ordinal) < end);
        let places: Vec<u32> =
            rest[..inside].iter().map(|&ordinal| (u64::from(ordinal) - first) as u32).collect();
        if !places.is_empty() {
            names.extend(unit.names(&places)?);
        }
        (first, rest) = (end, &rest[inside..]);
    }
    Ok(names)
}

fn put(decision: &Decision, first: u64, (name, flags): &(Name, u8), section: &mut Vec<u8>) {
    let place = (u64::from(decision.document) - first) as u32;
    section.extend_from_slice(&place.to_le_bytes());
    section.push(u8::from(decision.reason == Reason::Near));
    let jaccard = decision.jaccard.unwrap_or(f64::NAN);
    section.extend_from_slice(&jaccard.to_bits().to_le_bytes());
    section.extend_from_slice(&u64::from(decision.cluster).to_le_bytes());
    section.push(u8::from(flags & HELD_OUT != 0));
    name.write(section);
}

/// The places in one unit of held-out documents with a twin on the training side, ascending.
pub fn read_twins(folder: &Path, unit: usize) -> Result<Vec<u32>> {
    let reader = SectionReader::open(&folder.join(FILE), KIND)?;
    let section = reader.section(reader.len() / 2 + unit)?;
    Ok(section.records()?.iter().map(|place| u32::from_le_bytes(*place)).collect())
}

/// A dropped document of one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// Its place in the unit.
    pub place: u32,
    pub reason: Reason,
    pub jaccard: Option<f64>,
    /// Ordinal of the first document of its component.
    pub cluster: u64,
    pub kept_held_out: bool,
    pub kept: Name,
}

/// Reads what is dropped from one unit, by place.
pub fn read(folder: &Path, unit: usize) -> Result<Vec<Dropped>> {
    let section = SectionReader::open(&folder.join(FILE), KIND)?.section(unit)?;
    let (mut fields, mut drops) = (section.fields(), Vec::new());
    while !fields.is_empty() {
        let place = fields.u32()?;
        let reason = if fields.u8()? == 0 { Reason::Exact } else { Reason::Near };
        let jaccard = Some(f64::from_bits(fields.u64()?)).filter(|jaccard| !jaccard.is_nan());
        let (cluster, kept_held_out) = (fields.u64()?, fields.u8()? != 0);
        let kept = Name::read(&mut fields)?;
        drops.push(Dropped { place, reason, jaccard, cluster, kept_held_out, kept });
    }
    Ok(drops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_dropped_document_names_what_stays_for_that_one() {
        let exact = [
            ExactDuplicate { document: 9, kept: 4, cluster: 1 },
            ExactDuplicate { document: 2, kept: 7, cluster: 2 },
        ];
        let near = Decision {
            document: 4,
            kept: 1,
            reason: Reason::Near,
            jaccard: Some(0.9),
            cluster: 1,
            held_out: false,
        };
        let all = resolve(&exact, vec![near]);
        let shown: Vec<_> =
            all.iter().map(|one| (one.document, one.kept, one.reason, one.jaccard)).collect();
        let expected = [
            (2, 7, Reason::Exact, Some(1.0)),
            (4, 1, Reason::Near, Some(0.9)),
            (9, 1, Reason::Exact, Some(0.9)),
        ];
        assert_eq!(shown, expected);
        // What is held out stays, whatever its verdict, so its copy names it.
        let all = resolve(&exact, vec![Decision { held_out: true, ..near }]);
        assert_eq!((all[2].document, all[2].kept, all[2].jaccard), (9, 4, Some(1.0)));
    }
}
