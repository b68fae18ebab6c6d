//! The shingle sets that verification compares: what phase `gather` writes and `decide` reads.
//!
//! In → the sets of a unit's members, in any order of components; out → `sets.bin`, a file of
//! checked sections in which the sets of one partition of components can be read alone. Sections,
//! in any number for a partition, hold records of
//!
//! ```text
//! component u32 · ordinal u32 · keep key u64 · training u8 · shingles u32 · hashes u64…
//! ```
//!
//! and the last section says which partition each one belongs to (u32 each).
//!
//! Cost: sets are buffered up to [`BUFFERED_BYTES`], then flushed partition by partition.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use super::{candidates::Member, keep::KeepOrder};
use crate::{
    artifact::section::{Section, SectionKind, SectionReader, SectionWriter},
    base::error::Result,
};

/// The file's name inside its unit.
pub const FILE: &str = "sets.bin";
/// What its sections are.
const KIND: SectionKind = SectionKind { name: *b"sets\0\0\0\0", version: 1 };

/// Bytes of records held before they are written. A constant, as it shapes the file.
const BUFFERED_BYTES: usize = 64 << 20;

/// Collects the sets of one unit.
pub struct SetWriter {
    writer: SectionWriter<BufWriter<File>>,
    /// By partition.
    buffers: Vec<Vec<u8>>,
    buffered: usize,
    /// The partition of each section so far.
    sections: Vec<u8>,
}

impl SetWriter {
    /// A new file for sets of `partitions` partitions.
    pub fn create(path: &Path, partitions: usize) -> Result<SetWriter> {
        let buffers = vec![Vec::new(); partitions];
        let writer = SectionWriter::create(path, KIND)?;
        Ok(SetWriter { writer, buffers, buffered: 0, sections: Vec::new() })
    }

    /// Adds the record of one member, as [`record`] makes it.
    pub fn push(&mut self, partition: u32, record: &[u8]) -> Result<()> {
        self.buffers[partition as usize].extend_from_slice(record);
        self.buffered += record.len();
        if self.buffered > BUFFERED_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        for (partition, buffer) in (0u32..).zip(&mut self.buffers) {
            if !buffer.is_empty() {
                self.writer.section(buffer)?;
                self.sections.extend_from_slice(&partition.to_le_bytes());
                *buffer = Vec::new();
            }
        }
        self.buffered = 0;
        Ok(())
    }

    /// Writes the rest and the index.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.writer.section(&self.sections)?;
        self.writer.finish()
    }
}

/// The record of one member; `set` sorted, each hash once. `first`: ordinal of the unit's first
/// document.
pub fn record(member: &Member, first: u32, set: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(21 + 8 * set.len());
    bytes.extend_from_slice(&member.component.to_le_bytes());
    bytes.extend_from_slice(&(first + member.order.ordinal).to_le_bytes());
    bytes.extend_from_slice(&member.order.key.to_le_bytes());
    bytes.push(u8::from(member.order.training));
    bytes.extend_from_slice(&(set.len() as u32).to_le_bytes());
    set.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
    bytes
}

/// The sets of one unit, as written.
pub struct SetUnit {
    reader: SectionReader,
    /// The partition of each section.
    partitions: Vec<u32>,
}

impl SetUnit {
    /// Opens the file in a published unit's folder.
    pub fn open(folder: &Path) -> Result<SetUnit> {
        let reader = SectionReader::open(&folder.join(FILE), KIND)?;
        let last = reader.len().saturating_sub(1);
        let index = reader.section(last)?;
        let partitions: Vec<u32> =
            index.records()?.iter().map(|partition| u32::from_le_bytes(*partition)).collect();
        if partitions.len() != last {
            let message = format!("expected {last} partitions, found: {}", partitions.len());
            return Err(index.fields().damaged(message));
        }
        Ok(SetUnit { reader, partitions })
    }

    /// Adds the sets of one partition to `sets`.
    pub fn read(&self, partition: u32, sets: &mut Sets) -> Result<()> {
        for section in 0..self.partitions.len() {
            if self.partitions[section] == partition {
                sets.read(&self.reader.section(section)?)?;
            }
        }
        Ok(())
    }
}

/// The sets of one partition, in memory.
#[derive(Default)]
pub struct Sets {
    hashes: Vec<u64>,
    /// (component, keep order, where its hashes start, how many).
    members: Vec<(u32, KeepOrder, usize, usize)>,
}

impl Sets {
    /// Room for the sets of a partition of `shingles` shingles.
    pub fn with_capacity(shingles: u64) -> Sets {
        Sets { hashes: Vec::with_capacity(shingles as usize), members: Vec::new() }
    }

    fn read(&mut self, section: &Section) -> Result<()> {
        let mut fields = section.fields();
        while !fields.is_empty() {
            let (component, ordinal) = (fields.u32()?, fields.u32()?);
            let (key, training) = (fields.u64()?, fields.u8()? != 0);
            let (start, len) = (self.hashes.len(), fields.u32()? as usize);
            let (hashes, _) = fields.bytes(len.saturating_mul(8))?.as_chunks();
            self.hashes.extend(hashes.iter().map(|hash| u64::from_le_bytes(*hash)));
            let order = KeepOrder { training, key, ordinal };
            self.members.push((component, order, start, len));
        }
        Ok(())
    }

    /// The components by name; the members of each in keep order, with their sets.
    pub fn components(&mut self) -> Vec<Component<'_>> {
        self.members.sort_unstable();
        self.members
            .chunk_by(|left, right| left.0 == right.0)
            .map(|members| Component {
                name: members[0].0,
                ordinals: members.iter().map(|member| member.1.ordinal).collect(),
                sets: members
                    .iter()
                    .map(|&(_, _, start, len)| &self.hashes[start..start + len])
                    .collect(),
                held_out: members.iter().filter(|(_, order, ..)| !order.training).count(),
            })
            .collect()
    }
}

/// One component to be decided on.
pub struct Component<'a> {
    /// Its smallest ordinal.
    pub name: u32,
    /// The members' ordinals, in keep order.
    pub ordinals: Vec<u32>,
    /// The members' shingle sets, in keep order.
    pub sets: Vec<&'a [u64]>,
    /// How many of them are held out: they come first.
    pub held_out: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_comes_back_by_component_in_keep_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SetWriter::create(&folder.path().join(FILE), 3).unwrap();
        for (component, ordinal, partition, key) in
            [(5, 9, 2, 1), (1, 4, 0, 0), (5, 7, 2, 2), (3, 3, 2, 0), (3, 8, 2, 0)]
        {
            let order = KeepOrder { training: true, key, ordinal };
            let member = Member { order, component, partition };
            let set: Vec<u64> = (0..u64::from(ordinal)).collect();
            writer.push(partition, &record(&member, 100, &set)).unwrap();
        }
        writer.finish().unwrap();
        let unit = SetUnit::open(folder.path()).unwrap();
        let mut sets = Sets::default();
        unit.read(2, &mut sets).unwrap();
        let found: Vec<(u32, Vec<u32>, Vec<usize>)> = sets
            .components()
            .into_iter()
            .map(|one| (one.name, one.ordinals, one.sets.iter().map(|set| set.len()).collect()))
            .collect();
        assert_eq!(found, [(3, vec![103, 108], vec![3, 8]), (5, vec![109, 107], vec![9, 7])]);
    }
}
