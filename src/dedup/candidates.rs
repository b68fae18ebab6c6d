//! Phase `candidates`: which documents are copies, and which may be.
//!
//! In → the signed documents of all units; out → the exact duplicates with the document that stays
//! for each, and the components of the survivors that share a band. One unit, since it needs all
//! documents; it holds one column at a time. The file `candidates.bin`, in checked sections:
//!
//! ```text
//! 0    exact duplicates   document u32 · kept u32 · cluster u32
//! 1    partitions         shingles u64 of each
//! 2…   members by unit    place u32 · component u32 · partition u32 · keep key u64 ·
//!                         training u8
//! ```
//!
//! A *component* is named by its smallest ordinal, counting the exact copies of its members; it is
//! the `cluster` of what is dropped. *Partitions* are runs of components with about
//! [`PARTITION_SHINGLES`] shingles: the verification holds one at a time.
//!
//! Invariants: independent of the order of units on disk, of threads and of hash tables (there are
//! none); every member of section 2… is in a component of two and more survivors.
//! Cost: [`BYTES_PER_DOCUMENT`] of memory; a sort of all documents a band.

use rayon::slice::ParallelSliceMut;

use super::{
    bands,
    components::Components,
    documents::{EXACT, HELD_OUT, SHINGLED, SignedUnit},
    keep::KeepOrder,
};
use crate::{
    artifact::section::{SectionKind, SectionReader, SectionWriter},
    base::error::{Error, Result},
};

/// The file's name inside its unit.
pub const FILE: &str = "candidates.bin";
/// What its sections are.
const KIND: SectionKind = SectionKind { name: *b"candidat", version: 1 };

/// Memory of this phase, for each document: flags, keys, shingle counts, stand-ins, parents and
/// component sizes (25), then either the column being sorted (24 exact, 16 a band) or members and
/// their weights (40 if every document is one), and rounding.
pub const BYTES_PER_DOCUMENT: u64 = 68;

/// Shingles of a partition, about: 64 MiB of hashes.
const PARTITION_SHINGLES: u64 = 8 << 20;

const EXACT_SECTION: usize = 0;
const PARTITIONS_SECTION: usize = 1;
const MEMBERS_SECTION: usize = 2;

/// An exact duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExactDuplicate {
    pub document: u32,
    /// The first of its group in keep order.
    pub kept: u32,
    pub cluster: u32,
}

/// A survivor in a component of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub order: KeepOrder,
    pub component: u32,
    pub partition: u32,
}

/// What the signed documents of all units say, by ordinal.
pub struct Documents<'a> {
    units: &'a [SignedUnit],
    flags: Vec<u8>,
    keys: Vec<u64>,
    /// For each document the one that represents it: itself, or the kept one of its exact group.
    stand_ins: Vec<u32>,
}

/// The outcome of this phase.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidates {
    pub exact: Vec<ExactDuplicate>,
    /// Sorted by ordinal.
    pub members: Vec<Member>,
    /// Shingles of each partition.
    pub partitions: Vec<u64>,
}

impl<'a> Documents<'a> {
    /// Reads flags and keys of all units.
    pub fn read(units: &'a [SignedUnit]) -> Result<Documents<'a>> {
        let total: u64 = units.iter().map(|unit| unit.documents).sum();
        if total > u64::from(u32::MAX) {
            let message = format!("{total} documents are more than one run can compare: 2^32 − 1");
            return Err(Error::failed(message).with_hint("deduplicate parts of the input"));
        }
        let (mut flags, mut keys) = (Vec::new(), Vec::new());
        flags.reserve_exact(total as usize);
        keys.reserve_exact(total as usize);
        for unit in units {
            unit.flags(&mut flags)?;
            unit.keys(&mut keys)?;
        }
        assert_eq!((flags.len() as u64, keys.len() as u64), (total, total));
        Ok(Documents { units, flags, keys, stand_ins: (0..total as u32).collect() })
    }

    fn order(&self, ordinal: u32) -> KeepOrder {
        let at = ordinal as usize;
        KeepOrder { training: self.flags[at] & HELD_OUT == 0, key: self.keys[at], ordinal }
    }

    /// Finds the first in keep order of each group of equal hashes.
    fn match_exact(&mut self) -> Result<()> {
        let mut entries: Vec<([u64; 2], u32)> = Vec::new();
        entries.reserve_exact(self.flags.len());
        let mut first = 0;
        for unit in self.units {
            unit.hashes(|place, hash| {
                let ordinal = first + place;
                if self.flags[ordinal as usize] & EXACT != 0 {
                    entries.push(([(hash >> 64) as u64, hash as u64], ordinal));
                }
            })?;
            first += unit.documents as u32;
        }
        entries.par_sort_unstable();
        for group in entries.chunk_by(|left, right| left.0 == right.0) {
            let kept = group.iter().map(|&(_, ordinal)| self.order(ordinal)).min();
            let kept = kept.expect("a group has a member").ordinal;
            group.iter().for_each(|&(_, ordinal)| self.stand_ins[ordinal as usize] = kept);
        }
        Ok(())
    }

    fn survives(&self, ordinal: u32) -> bool {
        self.stand_ins[ordinal as usize] == ordinal
    }

    /// Joins exact copies, and survivors that share a band, into components. Returns roots by
    /// ordinal.
    fn connect(&self, bands: usize) -> Result<Vec<u32>> {
        let mut components = Components::new(self.flags.len());
        for (ordinal, &kept) in (0..).zip(&self.stand_ins) {
            components.union(ordinal, kept);
        }
        let mut entries: Vec<(u64, u32)> = Vec::new();
        entries.reserve_exact(if bands > 0 { self.flags.len() } else { 0 });
        for band in 0..bands {
            entries.clear();
            let mut first = 0;
            for unit in self.units {
                unit.band(band, |place, key| {
                    let ordinal = first + place;
                    if self.flags[ordinal as usize] & SHINGLED != 0 && self.survives(ordinal) {
                        entries.push((key, ordinal));
                    }
                })?;
                first += unit.documents as u32;
            }
            bands::edges(&mut entries, |left, right| components.union(left, right));
        }
        Ok(components.into_roots())
    }

    /// Runs the whole phase. `exact`: whether exact duplicates are wanted; `bands`: how many there
    /// are.
    pub fn candidates(mut self, exact: bool, bands: usize) -> Result<Candidates> {
        if exact {
            self.match_exact()?;
        }
        let roots = self.connect(bands)?;
        let mut survivors = vec![0u32; roots.len()];
        let mut duplicates = Vec::new();
        for (document, &cluster) in (0u32..).zip(&roots) {
            let kept = self.stand_ins[document as usize];
            if kept == document {
                survivors[cluster as usize] += 1;
            } else {
                duplicates.push(ExactDuplicate { document, kept, cluster });
            }
        }
        let mut shingles = Vec::new();
        shingles.reserve_exact(roots.len());
        self.units.iter().try_for_each(|unit| unit.shingles(&mut shingles))?;
        let mut members = Vec::new();
        let mut weights = Vec::new();
        let most = survivors.iter().filter(|&&survivors| survivors > 1).map(|&n| n as usize).sum();
        members.reserve_exact(most);
        weights.reserve_exact(most);
        for (document, &component) in (0u32..).zip(&roots) {
            if self.survives(document) && survivors[component as usize] > 1 {
                members.push(Member { order: self.order(document), component, partition: 0 });
                weights.push((component, u64::from(shingles[document as usize])));
            }
        }
        let (starts, partitions) = cut(weights);
        for member in &mut members {
            let after = starts.partition_point(|&start| start <= member.component);
            member.partition = after as u32 - 1;
        }
        Ok(Candidates { exact: duplicates, members, partitions })
    }
}

/// Cuts the components, in order of their names, into partitions. Takes (component, shingles) of
/// each member; returns the name of the first component of each partition, and its shingles.
fn cut(mut weights: Vec<(u32, u64)>) -> (Vec<u32>, Vec<u64>) {
    weights.sort_unstable();
    let (mut starts, mut partitions) = (Vec::new(), Vec::new());
    for component in weights.chunk_by(|left, right| left.0 == right.0) {
        let weight: u64 = component.iter().map(|member| member.1).sum();
        match partitions.last_mut() {
            Some(last) if *last + weight <= PARTITION_SHINGLES => *last += weight,
            _ => {
                starts.push(component[0].0);
                partitions.push(weight);
            }
        }
    }
    (starts, partitions)
}

impl Candidates {
    /// Writes the file; `documents`: how many each unit has, in order.
    pub fn write(&self, path: &std::path::Path, documents: &[u64]) -> Result<()> {
        let mut writer = SectionWriter::create(path, KIND)?;
        let exact: Vec<u8> = self
            .exact
            .iter()
            .flat_map(|exact| [exact.document, exact.kept, exact.cluster])
            .flat_map(u32::to_le_bytes)
            .collect();
        assert_eq!(writer.section(&exact)?, EXACT_SECTION);
        let partitions: Vec<u8> =
            self.partitions.iter().flat_map(|shingles| shingles.to_le_bytes()).collect();
        assert_eq!(writer.section(&partitions)?, PARTITIONS_SECTION);
        let (mut first, mut rest) = (0u64, self.members.as_slice());
        for (unit, documents) in documents.iter().enumerate() {
            let end = first + documents;
            let inside = rest.partition_point(|member| u64::from(member.order.ordinal) < end);
            let mut section = Vec::with_capacity(inside * 21);
            for member in &rest[..inside] {
                let place = u64::from(member.order.ordinal) - first;
                for field in [place as u32, member.component, member.partition] {
                    section.extend_from_slice(&field.to_le_bytes());
                }
                section.extend_from_slice(&member.order.key.to_le_bytes());
                section.push(u8::from(member.order.training));
            }
            assert_eq!(writer.section(&section)?, MEMBERS_SECTION + unit);
            (first, rest) = (end, &rest[inside..]);
        }
        assert!(rest.is_empty(), "{} members behind the last unit", rest.len());
        writer.finish()
    }
}

/// Opens the file in a published unit's folder.
pub fn open(folder: &std::path::Path) -> Result<SectionReader> {
    SectionReader::open(&folder.join(FILE), KIND)
}

/// Reads the exact duplicates, by ordinal.
pub fn read_exact(reader: &SectionReader) -> Result<Vec<ExactDuplicate>> {
    let section = reader.section(EXACT_SECTION)?;
    let (mut fields, mut exact) = (section.fields(), Vec::new());
    while !fields.is_empty() {
        let (document, kept, cluster) = (fields.u32()?, fields.u32()?, fields.u32()?);
        exact.push(ExactDuplicate { document, kept, cluster });
    }
    Ok(exact)
}

/// Reads how many shingles each partition has.
pub fn read_partitions(reader: &SectionReader) -> Result<Vec<u64>> {
    let section = reader.section(PARTITIONS_SECTION)?;
    Ok(section.records()?.iter().map(|shingles| u64::from_le_bytes(*shingles)).collect())
}

/// Reads the members of one unit; here the `ordinal` of a member is its place in the unit.
pub fn read_members(reader: &SectionReader, unit: usize) -> Result<Vec<Member>> {
    let section = reader.section(MEMBERS_SECTION + unit)?;
    let (mut fields, mut members) = (section.fields(), Vec::new());
    while !fields.is_empty() {
        let (ordinal, component, partition) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (key, training) = (fields.u64()?, fields.u8()? != 0);
        let order = KeepOrder { training, key, ordinal };
        members.push(Member { order, component, partition });
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_runs_of_components_and_a_large_component_has_its_own() {
        let half = PARTITION_SHINGLES / 2;
        let weights = vec![(9, half), (4, 1), (2, half), (4, half), (7, 5 * half), (9, 3), (2, 0)];
        let (starts, partitions) = cut(weights);
        assert_eq!(partitions, [half, half + 1, 5 * half, half + 3]);
        assert_eq!(starts, [2, 4, 7, 9]);
    }

    #[test]
    fn the_file_gives_back_members_by_unit() {
        let order = |ordinal| KeepOrder { training: ordinal != 7, key: 5, ordinal };
        let member = |ordinal| Member { order: order(ordinal), component: 1, partition: 0 };
        let exact = vec![ExactDuplicate { document: 3, kept: 8, cluster: 1 }];
        let members = vec![member(1), member(7), member(8)];
        let found = Candidates { exact, members, partitions: vec![30] };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        found.write(&path, &[2, 0, 5, 2]).unwrap();

        let reader = open(folder.path()).unwrap();
        assert_eq!(read_exact(&reader).unwrap(), found.exact);
        assert_eq!(read_partitions(&reader).unwrap(), [30]);
        let units: Vec<Vec<u32>> = (0..4)
            .map(|unit| read_members(&reader, unit).unwrap())
            .map(|members| members.iter().map(|member| member.order.ordinal).collect())
            .collect();
        assert_eq!(units, [vec![1], vec![], vec![], vec![0, 1]]);
        assert!(!read_members(&reader, 3).unwrap()[0].order.training);
    }
}
