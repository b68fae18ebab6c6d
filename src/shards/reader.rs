//! Reads token shards, block by block, in any order.
//!
//! In → a shard file; out → its blocks. Opening reads the footer only; each block is checked
//! against its XXH3-128 before anything decodes it, so a damaged shard never passes silently: the
//! error names the file and the block's first byte. Cost: see `file` and `block`.

use std::path::Path;

use super::{
    block::{Block, BlockEntry, RawBlock, ShardLayout, TokenWidth},
    file::CheckedFile,
};
use crate::base::{error::Result, hash::Fingerprint};

/// An opened shard; it keeps no file handle and may be shared by threads.
pub struct ShardReader {
    file: CheckedFile<ShardLayout>,
    /// Row of the first document of each block, and the number of rows.
    first_rows: Vec<u64>,
}

impl ShardReader {
    /// Reads and checks the footer.
    pub fn open(path: &Path) -> Result<ShardReader> {
        let file = CheckedFile::<ShardLayout>::open(path)?;
        let mut first_rows = vec![0];
        let mut rows = 0;
        for block in file.batches() {
            rows += block.documents;
            first_rows.push(rows);
        }
        Ok(ShardReader { file, first_rows })
    }

    /// Where the shard lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// XXH3-128 of the footer's list of blocks: which contents this shard has.
    pub fn identity(&self) -> Fingerprint {
        self.file.identity()
    }

    /// Width of its tokens.
    pub fn width(&self) -> TokenWidth {
        self.file.about().tokens
    }

    /// Whether some of its tokens are read but not trained on.
    pub fn is_masked(&self) -> bool {
        self.file.about().masked
    }

    /// Documents in all blocks.
    pub fn documents(&self) -> u64 {
        self.first_rows[self.first_rows.len() - 1]
    }

    /// The blocks, in corpus order.
    pub fn blocks(&self) -> &[BlockEntry] {
        self.file.batches()
    }

    /// The row in the file of the first document of block `index`.
    pub fn first_row(&self, index: usize) -> u64 {
        self.first_rows[index]
    }

    /// The block that holds row `row`, and the row in it; `None` past the last row.
    pub fn find_row(&self, row: u64) -> Option<(usize, usize)> {
        let block = self.first_rows.partition_point(|&first| first <= row).checked_sub(1)?;
        (block < self.blocks().len()).then(|| (block, (row - self.first_rows[block]) as usize))
    }

    /// Reads and checks block `index`, decoding nothing.
    pub fn read(&self, index: usize) -> Result<RawBlock<'_>> {
        Ok(RawBlock { raw: self.file.read(index)?, entry: &self.blocks()[index] })
    }

    /// Reads, checks and decodes block `index`.
    pub fn read_block(&self, index: usize) -> Result<Block> {
        self.read(index)?.block()
    }
}
