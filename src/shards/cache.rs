//! Decoded blocks, kept while the open cells still need them.
//!
//! In → which block, and how to load it; out → its tokens. A block is dropped once as many
//! documents were finished as it has for training: under sequential reading that is when its epoch
//! no longer needs it, so each block is decoded once an epoch, however slowly its source is drawn
//! (least-recently-used alone would drop the blocks of rare sources again and again). Beyond the
//! bytes allowed the block used longest ago goes first. Invariant: what is held beyond the bytes
//! allowed is at most one block. Cost: a map look-up a document.

use std::collections::BTreeMap;

use super::block::TokenLists;
use crate::base::error::Result;

/// Which block: source of the mix, shard file, block. The source takes part because two sources
/// may draw on one file, each finishing its own documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlockKey {
    pub source: u16,
    pub shard: u32,
    pub block: u32,
}

pub(super) struct BlockCache {
    blocks: BTreeMap<BlockKey, CachedBlock>,
    bytes: u64,
    bytes_max: u64,
    /// Counts look-ups: the age of a block is the look-up it was used at.
    lookups: u64,
    /// Blocks decoded so far.
    decoded: u64,
}

struct CachedBlock {
    lists: TokenLists,
    documents_left: u64,
    last_lookup: u64,
}

impl BlockCache {
    pub fn new(bytes_max: u64) -> BlockCache {
        BlockCache { blocks: BTreeMap::new(), bytes: 0, bytes_max, lookups: 0, decoded: 0 }
    }

    /// The block, loaded when missing; `load` also says how many training documents it has.
    pub fn get(
        &mut self,
        key: BlockKey,
        load: impl FnOnce() -> Result<(TokenLists, u64)>,
    ) -> Result<&TokenLists> {
        self.lookups += 1;
        if !self.blocks.contains_key(&key) {
            let (lists, documents_left) = load()?;
            self.decoded += 1;
            self.make_room(lists.memory_bytes());
            let block = CachedBlock { lists, documents_left, last_lookup: 0 };
            self.blocks.insert(key, block);
        }
        let block = self.blocks.get_mut(&key).expect("inserted just above");
        block.last_lookup = self.lookups;
        Ok(&block.lists)
    }

    /// Says that one document of the block was read to its end.
    pub fn finish_document(&mut self, key: BlockKey) {
        let Some(block) = self.blocks.get_mut(&key) else { return };
        block.documents_left = block.documents_left.saturating_sub(1);
        if block.documents_left == 0 {
            self.remove(key);
        }
    }

    /// Blocks decoded so far; one that is decoded again counts again.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    fn make_room(&mut self, bytes: u64) {
        while self.bytes + bytes > self.bytes_max {
            let oldest = self.blocks.iter().min_by_key(|(_, block)| block.last_lookup);
            let Some(key) = oldest.map(|(key, _)| *key) else { break };
            self.remove(key);
        }
        self.bytes += bytes;
    }

    fn remove(&mut self, key: BlockKey) {
        let removed = self.blocks.remove(&key);
        self.bytes -= removed.map_or(0, |block| block.lists.memory_bytes());
    }
}
