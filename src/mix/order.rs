//! The order in which a mix shows its documents.
//!
//! In → for each source its documents' draws and sizes, and its budget in each phase; out →
//! documents, one after another. Where a document stands within its source depends on (seed,
//! source, epoch, its own id) and nothing else: the *cells* (`shards::cell`) of a source are
//! permuted by hash, and so are the documents of a cell, by the hash of their draw and of how often
//! the same id came before. So documents may come, go or change their length, other sources join
//! and vocabularies change: those that stay keep their order, and a mix's beginning is another's
//! but for what differs. Sources are interleaved so that a document of source *s* stands at (what
//! *s* has placed) / (budget of *s*) within its phase, compared as exact fractions, ties in source
//! order. A phase goes on where the one before stopped, in every source. Under budgets of tokens a
//! document's length includes its opener, and the last one of a budget is cut there; under budgets
//! of bytes the last one stays whole, so that every vocabulary reads the same text.
//!
//! Invariants: an epoch shows each training document once; token budgets come out exact; no source
//! is ahead of its share by more than a document. Cost: 12 bytes a document (20 under budgets of
//! bytes), 40 more for those of one cell a source, two sorts a cell, log(sources) a document.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::{
    base::{error::Result, hash::xxh3_64_with_seed, rng::hash},
    shards::cell::{CELLS, cell},
};

/// The length that marks a document held out: no document reaches it, a block holds 2³¹ tokens.
pub const HELD_OUT: u32 = u32::MAX;

/// A block of a source, as the order sees it.
#[derive(Clone, Debug)]
pub struct BlockRows {
    /// Index into the mix's shard files.
    pub shard: u32,
    /// Row in the file of its first document.
    pub first_row: u32,
    /// Bytes that a reader holds while the block is open.
    pub decoded_bytes: u64,
    /// The draw of each document's id.
    pub draws: Box<[u64]>,
    /// Tokens of each document without its opener, [`HELD_OUT`] for one held out.
    pub lengths: Box<[u32]>,
    /// UTF-8 bytes of each document's text; empty under budgets of tokens.
    pub text_bytes: Box<[u64]>,
}

impl BlockRows {
    /// The rows that may be trained on.
    fn training(&self) -> impl Iterator<Item = u32> + '_ {
        let rows = (0..).zip(self.lengths.iter());
        rows.filter(|&(_, length)| *length != HELD_OUT).map(|(row, _)| row)
    }

    /// The cell of a document.
    fn cell(&self, row: u32) -> u8 {
        cell(self.draws[row as usize])
    }
}

/// A source with its documents.
#[derive(Clone, Debug)]
pub struct SourceBlocks {
    /// The mix's name of it.
    pub name: String,
    /// Its blocks, in file order.
    pub blocks: Vec<BlockRows>,
}

/// What budgets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Tokens, one opener a document included.
    Tokens,
    /// UTF-8 bytes of text.
    Bytes,
}

/// A document of the training stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Index into the mix's shard files.
    pub shard: u32,
    /// Row in that file.
    pub row: u32,
    /// Index of the source.
    pub source: u16,
    /// Index of the phase.
    pub phase: u16,
    /// Tokens it takes, its opener included.
    pub tokens: u64,
}

/// What a mix's order depends on beside its sources and budgets.
#[derive(Clone, Copy, Debug)]
pub struct OrderConfig {
    /// The mix's seed.
    pub seed: u64,
    /// What the budgets count.
    pub measure: Measure,
}

/// Calls `place` for each document of the stream, in order; `budgets` has for each phase what each
/// source fills of it. Gives the bytes of decoded blocks with which sequential reading decodes each
/// block once an epoch. Panics when a source with a budget has no training document.
pub fn interleave(
    sources: &[SourceBlocks],
    budgets: &[Vec<u64>],
    config: OrderConfig,
    mut place: impl FnMut(Placed) -> Result<()>,
) -> Result<u64> {
    let mut streams: Vec<SourceStream<'_>> =
        sources.iter().map(|source| SourceStream::new(source, config.seed)).collect();
    let mut open = OpenBlocks::default();
    for (phase, budgets) in (0..).zip(budgets) {
        let with_budget = budgets.iter().enumerate().filter(|(_, budget)| **budget > 0);
        let mut heap: BinaryHeap<Reverse<Position>> = with_budget
            .map(|(index, &budget)| Reverse(Position { placed: 0, budget, index }))
            .collect();
        while let Some(Reverse(position)) = heap.pop() {
            let (block, row) = streams[position.index].next_document(&mut open);
            let length = u64::from(block.lengths[row as usize]) + 1;
            let left = position.budget - position.placed;
            let (tokens, size) = match config.measure {
                Measure::Tokens => (length.min(left), length.min(left)),
                Measure::Bytes => (length, block.text_bytes[row as usize].min(left)),
            };
            let (shard, row) = (block.shard, block.first_row + row);
            place(Placed { shard, row, source: position.index as u16, phase, tokens })?;
            let placed = position.placed + size;
            if placed < position.budget {
                heap.push(Reverse(Position { placed, ..position }));
            }
        }
    }
    Ok(open.most)
}

/// Where a source's next document stands: `placed / budget`, then the source's index.
#[derive(Clone, Copy, Debug)]
struct Position {
    placed: u64,
    budget: u64,
    index: usize,
}

impl Ord for Position {
    fn cmp(&self, other: &Position) -> Ordering {
        let left = u128::from(self.placed) * u128::from(other.budget);
        let right = u128::from(other.placed) * u128::from(self.budget);
        left.cmp(&right).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Position) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Position) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Position {}

/// The blocks of which an epoch has shown some documents but not all, in bytes: a reader of the
/// stream holds these.
#[derive(Default)]
struct OpenBlocks {
    bytes: u64,
    most: u64,
}

/// The endless sequence of one source's documents: epoch after epoch, cell after cell.
struct SourceStream<'a> {
    source: &'a SourceBlocks,
    seed: u64,
    epoch: u64,
    /// For each cell the blocks with training documents of it.
    blocks: Vec<Vec<u32>>,
    /// For each block the documents that this epoch has yet to show, once it is open.
    left: Vec<u32>,
    /// What is left of the epoch's cells, and of the open cell's documents.
    cells: std::vec::IntoIter<u8>,
    documents: std::vec::IntoIter<Shuffled>,
}

/// A document of a cell, by its draw; ties come in file order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Drawn {
    draw: u64,
    block: u32,
    row: u32,
}

/// A document of a cell by its place in an epoch; ties are decided by the draw.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shuffled {
    place: u64,
    document: Drawn,
}

impl<'a> SourceStream<'a> {
    fn new(source: &'a SourceBlocks, seed: u64) -> SourceStream<'a> {
        let mut blocks = vec![Vec::new(); CELLS];
        for (index, block) in (0..).zip(&source.blocks) {
            for row in block.training() {
                let of_cell: &mut Vec<u32> = &mut blocks[usize::from(block.cell(row))];
                if of_cell.last() != Some(&index) {
                    of_cell.push(index);
                }
            }
        }
        let mut stream = SourceStream {
            source,
            seed,
            epoch: 0,
            blocks,
            left: vec![0; source.blocks.len()],
            cells: Vec::new().into_iter(),
            documents: Vec::new().into_iter(),
        };
        stream.shuffle_cells();
        stream
    }

    /// The next document's block and its row in it.
    fn next_document(&mut self, open: &mut OpenBlocks) -> (&'a BlockRows, u32) {
        loop {
            if let Some(Shuffled { document: Drawn { block, row, .. }, .. }) = self.documents.next()
            {
                let index = block as usize;
                let block = &self.source.blocks[index];
                if self.left[index] == 0 {
                    self.left[index] = block.training().count() as u32;
                    open.bytes += block.decoded_bytes;
                    open.most = open.most.max(open.bytes);
                }
                self.left[index] -= 1;
                if self.left[index] == 0 {
                    open.bytes -= block.decoded_bytes;
                }
                return (block, row);
            }
            match self.cells.next() {
                Some(cell) => self.open_cell(cell),
                None => {
                    self.epoch += 1;
                    self.shuffle_cells();
                    let has_documents = self.cells.len() > 0;
                    assert!(has_documents, "source {} has no document to show", self.source.name);
                }
            }
        }
    }

    /// Starts an epoch.
    fn shuffle_cells(&mut self) {
        let filled = (0..=u8::MAX).filter(|&cell| !self.blocks[usize::from(cell)].is_empty());
        let mut keyed: Vec<(u64, u8)> =
            filled.map(|cell| (self.key("mix cell", &[cell]), cell)).collect();
        keyed.sort_unstable();
        self.cells = keyed.into_iter().map(|(_, cell)| cell).collect::<Vec<_>>().into_iter();
    }

    /// Shuffles the documents of a cell.
    fn open_cell(&mut self, open: u8) {
        let mut drawn = Vec::new();
        for &index in &self.blocks[usize::from(open)] {
            let block = &self.source.blocks[index as usize];
            let rows = block.training().filter(|&row| block.cell(row) == open);
            let draw = |row: u32| block.draws[row as usize];
            drawn.extend(rows.map(|row| Drawn { draw: draw(row), block: index, row }));
        }
        drawn.sort_unstable();
        let key = self.key("mix document", &[]);
        let mut shuffled: Vec<Shuffled> = Vec::with_capacity(drawn.len());
        let mut before = 0u64;
        for (at, &document) in drawn.iter().enumerate() {
            // An id that comes again is another document: its places are apart.
            let repeats = at > 0 && drawn[at - 1].draw == document.draw;
            before = if repeats { before + 1 } else { 0 };
            let mut identity = [0; 16];
            identity[..8].copy_from_slice(&document.draw.to_le_bytes());
            identity[8..].copy_from_slice(&before.to_le_bytes());
            shuffled.push(Shuffled { place: xxh3_64_with_seed(&identity, key), document });
        }
        shuffled.sort_unstable();
        self.documents = shuffled.into_iter();
    }

    /// A draw of this epoch.
    fn key(&self, label: &str, what: &[u8]) -> u64 {
        let (name, epoch) = (self.source.name.as_bytes(), self.epoch.to_le_bytes());
        hash(self.seed, label, &[name, &epoch, what])
    }
}

#[cfg(test)]
mod tests;
