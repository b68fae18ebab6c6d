//! The order in which a mix shows its documents.
//!
//! In → for each source its blocks with the documents' lengths, and its budget; out → documents,
//! one after another. For each source and epoch the blocks are permuted by hash; successive blocks
//! of up to `window_tokens` make a window, whose documents are permuted by hash (a shuffle as wide
//! as a window that reads each block once an epoch). Sources are interleaved so that a document of
//! source *s* stands at (tokens of *s* before it) / (budget of *s*), compared as exact fractions,
//! ties in source order. A document's length includes its opener; the last one of a budget is cut
//! there.
//!
//! Invariants: every hash takes seed, source name, epoch and the block's file and index, so adding
//! a source moves no document of another within its source; budgets come out exact; an epoch shows
//! each training document once. Cost: 16 bytes a document of the open windows, a sort a window,
//! and log(sources) a document.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::base::{error::Result, rng::hash};

/// The length that marks a document held out: no document reaches it, a block holds 2³¹ tokens.
pub const HELD_OUT: u32 = u32::MAX;

/// A block of a source, as the order sees it.
#[derive(Clone, Debug)]
pub struct BlockRows {
    /// Index into the mix's shard files.
    pub shard: u32,
    /// Index of the block in its file.
    pub block: u32,
    /// Tokens of all the block's documents, held-out ones too: what a window holds of the block.
    pub tokens: u64,
    /// Row in the file of its first document.
    pub first_row: u32,
    /// Tokens of each document without its opener, [`HELD_OUT`] for one held out.
    pub lengths: Box<[u32]>,
}

impl BlockRows {
    /// Rows and lengths of the documents that may be trained on.
    fn training(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let rows = (0..).zip(self.lengths.iter().copied());
        rows.filter(|&(_, length)| length != HELD_OUT)
    }
}

/// A source with its share of the mix.
#[derive(Clone, Debug)]
pub struct SourceBlocks {
    /// The mix's name of it.
    pub name: String,
    /// Tokens it fills, openers included.
    pub budget: u64,
    /// Its blocks, in corpus order.
    pub blocks: Vec<BlockRows>,
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
    /// Tokens it takes, its opener included.
    pub tokens: u64,
}

/// What a mix's order depends on beside its sources.
#[derive(Clone, Copy, Debug)]
pub struct OrderConfig<'a> {
    /// The mix's seed.
    pub seed: u64,
    /// Tokens of a window.
    pub window_tokens: u64,
    /// Names of the shard files: what identifies a block, wherever the folder lies.
    pub files: &'a [String],
}

/// Calls `place` for each document of the stream, in order. Panics when a source with a budget has
/// no training document.
pub fn interleave(
    sources: &[SourceBlocks],
    config: OrderConfig<'_>,
    mut place: impl FnMut(Placed) -> Result<()>,
) -> Result<()> {
    let mut streams: Vec<SourceStream<'_>> =
        sources.iter().map(|source| SourceStream::new(source, config)).collect();
    let positions = streams.iter().enumerate().filter(|(_, stream)| stream.source.budget > 0);
    let mut heap: BinaryHeap<Reverse<Position>> = positions
        .map(|(index, stream)| Reverse(Position { placed: 0, budget: stream.source.budget, index }))
        .collect();
    while let Some(Reverse(position)) = heap.pop() {
        let stream = &mut streams[position.index];
        let (shard, row, length) = stream.next_document();
        let tokens = (u64::from(length) + 1).min(position.budget - position.placed);
        place(Placed { shard, row, source: position.index as u16, tokens })?;
        let placed = position.placed + tokens;
        if placed < position.budget {
            heap.push(Reverse(Position { placed, ..position }));
        }
    }
    Ok(())
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

/// The endless sequence of one source's documents: epoch after epoch, window after window.
struct SourceStream<'a> {
    source: &'a SourceBlocks,
    config: OrderConfig<'a>,
    epoch: u64,
    /// Blocks of the epoch, permuted; those before `next_block` are behind or in the window.
    blocks: Vec<u32>,
    next_block: usize,
    window: std::vec::IntoIter<Shuffled>,
}

/// A document in a window: by hash, ties by block and row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shuffled {
    hash: u64,
    block: u32,
    row: u32,
}

impl<'a> SourceStream<'a> {
    fn new(source: &'a SourceBlocks, config: OrderConfig<'a>) -> SourceStream<'a> {
        let mut stream = SourceStream {
            source,
            config,
            epoch: 0,
            blocks: Vec::new(),
            next_block: 0,
            window: Vec::new().into_iter(),
        };
        stream.shuffle_blocks();
        stream
    }

    /// Shard, row and length of the next document.
    fn next_document(&mut self) -> (u32, u32, u32) {
        loop {
            if let Some(next) = self.window.next() {
                let block = &self.source.blocks[next.block as usize];
                return (block.shard, block.first_row + next.row, block.lengths[next.row as usize]);
            }
            if self.next_block == self.blocks.len() {
                self.epoch += 1;
                self.shuffle_blocks();
            }
            self.fill_window();
        }
    }

    /// Starts an epoch.
    fn shuffle_blocks(&mut self) {
        let blocks = (0..).zip(&self.source.blocks);
        let training = blocks.filter(|(_, block)| block.training().next().is_some());
        self.blocks = training.map(|(index, _)| index).collect();
        assert!(
            !self.blocks.is_empty() || self.source.budget == 0,
            "source {} has a budget of {} tokens and no document",
            self.source.name,
            self.source.budget
        );
        let mut keyed: Vec<(u64, u32)> =
            self.blocks.iter().map(|&block| (self.block_hash("mix block", block), block)).collect();
        keyed.sort_unstable();
        self.blocks = keyed.into_iter().map(|(_, block)| block).collect();
        self.next_block = 0;
    }

    /// Takes the next blocks up to the window's tokens, one at least, and shuffles their documents.
    fn fill_window(&mut self) {
        let mut documents = Vec::new();
        let mut tokens = 0;
        while let Some(&index) = self.blocks.get(self.next_block) {
            let block = &self.source.blocks[index as usize];
            if !documents.is_empty() && tokens + block.tokens > self.config.window_tokens {
                break;
            }
            let key = self.block_hash("mix document", index);
            documents.extend(block.training().map(|(row, _)| Shuffled {
                hash: hash(key, "row", &[&row.to_le_bytes()]),
                block: index,
                row,
            }));
            tokens += block.tokens;
            self.next_block += 1;
        }
        documents.sort_unstable();
        self.window = documents.into_iter();
    }

    /// The draw for one block of this epoch.
    fn block_hash(&self, label: &str, block: u32) -> u64 {
        let block = &self.source.blocks[block as usize];
        let parts = [
            self.source.name.as_bytes(),
            &self.epoch.to_le_bytes(),
            self.config.files[block.shard as usize].as_bytes(),
            &block.block.to_le_bytes(),
        ];
        hash(self.config.seed, label, &parts)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::base::rng::Stream;

    fn source(name: &str, budget: u64, blocks: &[Vec<u32>]) -> SourceBlocks {
        let mut first_row = 0;
        let blocks = (0..).zip(blocks).map(|(block, lengths)| {
            let tokens = lengths.iter().filter(|&&length| length != HELD_OUT);
            let tokens = tokens.map(|&length| u64::from(length)).sum::<u64>() + 3;
            let lengths = lengths.clone().into_boxed_slice();
            let rows = BlockRows { shard: 0, block, tokens, first_row, lengths };
            first_row += rows.lengths.len() as u32;
            rows
        });
        SourceBlocks { name: name.to_owned(), budget, blocks: blocks.collect() }
    }

    fn lay(sources: &[SourceBlocks], seed: u64, window_tokens: u64) -> Vec<Placed> {
        let files = ["shard-00000.arrow".to_owned()];
        let mut placed = Vec::new();
        interleave(sources, OrderConfig { seed, window_tokens, files: &files }, |document| {
            placed.push(document);
            Ok(())
        })
        .unwrap();
        placed
    }

    /// The same order by the words of the design, with nothing but sorts and a linear search.
    fn reference(sources: &[SourceBlocks], seed: u64, window_tokens: u64) -> Vec<Placed> {
        let mut queues: Vec<Vec<(u32, u64)>> = Vec::new();
        for source in sources {
            let mut queue = Vec::new();
            for epoch in 0..40u64 {
                let key = |label: &str, block: &BlockRows| {
                    let (name, file) = (source.name.as_bytes(), "shard-00000.arrow".as_bytes());
                    let parts = [name, &epoch.to_le_bytes(), file, &block.block.to_le_bytes()];
                    hash(seed, label, &parts)
                };
                let mut blocks: Vec<&BlockRows> = source.blocks.iter().collect();
                blocks.retain(|block| block.training().count() > 0);
                blocks.sort_by_key(|block| key("mix block", block));
                while !blocks.is_empty() {
                    let mut taken = 1;
                    let tokens = |blocks: &[&BlockRows]| -> u64 {
                        blocks.iter().map(|block| block.tokens).sum()
                    };
                    while taken < blocks.len() && tokens(&blocks[..=taken]) <= window_tokens {
                        taken += 1;
                    }
                    let mut window: Vec<(u64, u32, u64)> = Vec::new();
                    for block in blocks.drain(..taken) {
                        let key = key("mix document", block);
                        window.extend(block.training().map(|(row, length)| {
                            let hash = hash(key, "row", &[&row.to_le_bytes()]);
                            (hash, block.first_row + row, u64::from(length) + 1)
                        }));
                    }
                    window.sort_unstable();
                    queue.extend(window.into_iter().map(|(_, row, tokens)| (row, tokens)));
                }
            }
            queues.push(queue.into_iter().rev().collect());
        }
        let mut placed = vec![0u64; sources.len()];
        let mut stream = Vec::new();
        while let Some(next) = (0..sources.len())
            .filter(|&index| placed[index] < sources[index].budget)
            .min_by(|&a, &b| {
                let left = u128::from(placed[a]) * u128::from(sources[b].budget);
                left.cmp(&(u128::from(placed[b]) * u128::from(sources[a].budget)))
            })
        {
            let (row, tokens) = queues[next].pop().unwrap();
            let tokens = tokens.min(sources[next].budget - placed[next]);
            placed[next] += tokens;
            stream.push(Placed { shard: 0, row, source: next as u16, tokens });
        }
        stream
    }

    fn sources() -> impl Strategy<Value = Vec<SourceBlocks>> {
        let length = prop_oneof![1 => Just(HELD_OUT), 1 => Just(0u32), 8 => 1u32..60];
        let block = prop::collection::vec(length, 1..12);
        let blocks = prop::collection::vec(block, 1..8);
        prop::collection::vec((blocks, 1u64..900), 1..5).prop_map(|sources| {
            let made = sources.into_iter().enumerate().map(|(index, (mut blocks, budget))| {
                // One training document of ten tokens, so that the passes stay few.
                blocks[0].extend([30, 31]);
                source(&format!("source {index}"), budget, &blocks)
            });
            made.collect()
        })
    }

    proptest! {
        #[test]
        fn the_order_is_the_reference_order(sources in sources(), seed: u64, window in 1u64..400) {
            prop_assert_eq!(lay(&sources, seed, window), reference(&sources, seed, window));
        }

        #[test]
        fn no_source_runs_ahead_of_its_share_by_more_than_its_last_document(
            sources in sources(),
            seed: u64,
        ) {
            let total: u64 = sources.iter().map(|source| source.budget).sum();
            let mut placed = vec![0u64; sources.len()];
            for document in lay(&sources, seed, 200) {
                let index = usize::from(document.source);
                let before: u64 = placed.iter().sum();
                // placed / budget ≤ before / total, at the moment the source is chosen.
                prop_assert!(placed[index] * total <= before * sources[index].budget);
                placed[index] += document.tokens;
            }
            let budgets: Vec<u64> = sources.iter().map(|source| source.budget).collect();
            prop_assert_eq!(placed, budgets);
        }

        #[test]
        fn each_epoch_is_a_permutation_of_the_training_documents(sources in sources(), seed: u64) {
            let stream = lay(&sources, seed, 150);
            for (index, source) in sources.iter().enumerate() {
                let own = stream.iter().filter(|document| usize::from(document.source) == index);
                let rows: Vec<u32> = own.map(|document| document.row).collect();
                let training = source.blocks.iter().flat_map(|block| {
                    block.training().map(|(row, _)| block.first_row + row)
                });
                let all: BTreeSet<u32> = training.collect();
                for epoch in rows.chunks(all.len()) {
                    let shown: BTreeSet<u32> = epoch.iter().copied().collect();
                    prop_assert_eq!(shown.len(), epoch.len());
                    prop_assert!(shown.is_subset(&all));
                }
            }
        }
    }

    #[test]
    fn another_source_moves_no_document_within_a_source() {
        let mut random = Stream::new(0, "lengths");
        let mut blocks = |count: usize| -> Vec<Vec<u32>> {
            let mut lengths = || (0..9).map(|_| (random.next_u64() % 50) as u32).collect();
            (0..count).map(|_| lengths()).collect()
        };
        let (web, code) = (blocks(6), blocks(4));
        let alone = lay(&[source("web", 2000, &web)], 5, 300);
        let both = lay(&[source("code", 777, &code), source("web", 2000, &web)], 5, 300);
        let rows = |stream: &[Placed], index: u16| -> Vec<u32> {
            let own = stream.iter().filter(|document| document.source == index);
            own.map(|document| document.row).collect()
        };
        assert_eq!(rows(&alone, 0), rows(&both, 1));
        let reseeded = lay(&[source("web", 2000, &web)], 6, 300);
        assert_ne!(rows(&alone, 0), rows(&reseeded, 0));
    }
}
