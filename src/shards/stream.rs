//! The training stream of a mix: tokens at any position, with the documents' boundaries.
//!
//! In → a mix and the shards it names; out → tokens `[start, end)` and where documents begin among
//! them. Each document is opened by end-of-text, which takes the document's first position; the
//! shards store none. Some tokens of a document may be read but not trained on: a read then says of
//! each position whether the token after it is trained on (end-of-text as the token before it).
//! Invariant: what `read` gives is a function of the mix and the range alone, so a row may be read
//! by anybody, in any order. Cost: under sequential reading each block is read, checked and decoded
//! once an epoch, with the open blocks of a cell of each source in memory
//! ([`MixReader::window_bytes`]); at a random place, one batch of the order and one block.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    block::is_trained,
    cache::{BlockCache, BlockKey},
    mix_record::MixRecord,
    order::{ORDER_FILE, OrderReader, OrderRow},
    reader::ShardReader,
    rows::{ROWS_FILE, RowsReader},
};
use crate::base::error::{Error, Result};

/// Most blocks whose documents' sizes are held at once, at eight bytes a document.
const SIZES_HELD: usize = 4096;

/// Reads the training stream of a mix.
pub struct MixReader {
    record: MixRecord,
    order: OrderReader,
    paths: Vec<PathBuf>,
    /// Opened at their first use: a run may touch few of many shards.
    shards: Vec<Option<ShardReader>>,
    cache: BlockCache,
    /// The stream as it was written out, which is read instead of shards.
    rows: Option<RowsReader>,
}

impl MixReader {
    /// Opens the mix in `directory`. Shards that have moved are looked for in `data` and the
    /// folders right below. `cache_bytes_max` bounds the decoded blocks;
    /// [`MixReader::window_bytes`] says how much keeps each block from being decoded twice.
    pub fn open(directory: &Path, data: &[PathBuf], cache_bytes_max: u64) -> Result<MixReader> {
        let record = MixRecord::read(directory)?;
        let path = directory.join(ORDER_FILE);
        let order = OrderReader::open(&path)?;
        let (expected, found) = (record.tokens, order.tokens());
        if expected != found {
            let message = format!("expected {expected} tokens, found {found}");
            return Err(Error::damaged_artifact(&path, None, message));
        }
        let cache = BlockCache::new(cache_bytes_max);
        if record.materialized {
            let rows = Some(RowsReader::open(&directory.join(ROWS_FILE), record.tokens)?);
            // The shards are no longer needed, but for what they alone know: the texts' sizes.
            let paths = record.locate(directory, data).unwrap_or_default();
            let shards = paths.iter().map(|_| None).collect();
            return Ok(MixReader { record, order, paths, shards, cache, rows });
        }
        let paths = record.locate(directory, data)?;
        let shards = paths.iter().map(|_| None).collect();
        Ok(MixReader { record, order, paths, shards, cache, rows: None })
    }

    /// Reads a mix that is being made: its record, its order, and where its shards lie.
    pub fn over(record: MixRecord, order: &Path, paths: Vec<PathBuf>) -> Result<MixReader> {
        let order = OrderReader::open(order)?;
        let shards = paths.iter().map(|_| None).collect();
        Ok(MixReader { record, order, paths, shards, cache: BlockCache::new(0), rows: None })
    }

    /// What the mix was resolved to.
    pub fn record(&self) -> &MixRecord {
        &self.record
    }

    /// Tokens of the stream.
    pub fn tokens(&self) -> u64 {
        self.record.tokens
    }

    /// Holds up to `cache_bytes_max` of decoded blocks from here on.
    pub fn limit(&mut self, cache_bytes_max: u64) {
        self.cache = BlockCache::new(cache_bytes_max);
    }

    /// Memory with which sequential reading decodes each block once an epoch: the blocks that are
    /// open at once, and an eighth more because buffers are rounded up.
    pub fn window_bytes(&self) -> u64 {
        match self.rows {
            Some(_) => 0,
            None => self.record.window_bytes.saturating_mul(9) / 8,
        }
    }

    /// Blocks decoded so far.
    pub fn blocks_decoded(&self) -> u64 {
        self.cache.decoded() + self.rows.as_ref().map_or(0, RowsReader::decoded)
    }

    /// Reads `length` tokens from position `start` into `tokens`, and into `starts` the indexes in
    /// `tokens` at which a document begins (of its opener). Both are emptied first. Panics when the
    /// range ends past the stream.
    pub fn read(
        &mut self,
        start: u64,
        length: usize,
        tokens: &mut Vec<u32>,
        starts: &mut Vec<u32>,
    ) -> Result<()> {
        self.read_row(start, length, tokens, starts, &mut Vec::new())
    }

    /// Does the same, and says in `trained` for each position whether the token after it counts in
    /// a loss; `trained` stays empty where all do.
    pub fn read_row(
        &mut self,
        start: u64,
        length: usize,
        tokens: &mut Vec<u32>,
        starts: &mut Vec<u32>,
        trained: &mut Vec<bool>,
    ) -> Result<()> {
        tokens.clear();
        starts.clear();
        trained.clear();
        if length == 0 {
            return Ok(());
        }
        let (end, all) = (start + length as u64, self.tokens());
        assert!(end <= all, "tokens {start}..{end} of a mix of {all}");
        tokens.reserve(length);
        let mut document = self.order.find(start)?;
        let mut position = start;
        if let Some(rows) = &mut self.rows {
            rows.append(start, end, tokens)?;
        }
        while position < end {
            let (row, row_end) = self.order.row(document)?;
            let stop = row_end.min(end);
            if self.rows.is_some() {
                if row.first_token >= start {
                    starts.push((row.first_token - start) as u32);
                }
                (position, document) = (stop, document + 1);
                continue;
            }
            let begins = tokens.len();
            let bounds =
                self.read_document(row, position..stop, stop == row_end, tokens, starts)?;
            let within = (position - row.first_token) as usize..(stop - row.first_token) as usize;
            mark(bounds, begins, within, trained);
            position = stop;
            document += 1;
        }
        assert_eq!(tokens.len(), length, "documents that do not fill {start}..{end}");
        Ok(())
    }

    /// The tokens and the bytes of text of the longest beginning of the stream, in whole documents,
    /// whose texts stay within `bytes`. Reads the column `bytes` of each block once while its
    /// documents stand near one another in the order.
    ///
    /// # Errors
    /// Config: the stream was written out, and its shards are not there.
    pub fn tokens_of_text(&mut self, bytes: u64) -> Result<(u64, u64)> {
        if self.rows.is_some() && self.paths.is_empty() {
            let message = "the sizes of the mix's texts stand in its shards, and these are not \
                           where they lay";
            return Err(Error::config(message)
                .with_hint("give their folder with `--data`, or use `train.tokens`"));
        }
        let mut sizes: BTreeMap<(u32, usize), Vec<u64>> = BTreeMap::new();
        let (mut text, mut tokens) = (0u64, 0);
        for document in 0..self.order.documents() {
            let (row, end) = self.order.row(document)?;
            let shard = self.shard(row.shard)?;
            let (block, within) = shard.find_row(u64::from(row.row)).ok_or_else(|| {
                let message = format!("the mix asks for row {}", row.row);
                Error::damaged_artifact(shard.path(), None, message)
            })?;
            let key = (row.shard, block);
            if !sizes.contains_key(&key) {
                let read = shard.read(block)?.text_bytes()?;
                if sizes.len() >= SIZES_HELD {
                    sizes.clear();
                }
                sizes.insert(key, read);
            }
            let with = text.saturating_add(sizes[&key][within]);
            if with > bytes {
                break;
            }
            (text, tokens) = (with, end);
        }
        Ok((tokens, text))
    }

    /// Shard number `place`, opened at its first use.
    fn shard(&mut self, place: u32) -> Result<&ShardReader> {
        let at = place as usize;
        if at >= self.shards.len() {
            let message = format!("it asks for shard {at} of {}", self.shards.len());
            return Err(Error::damaged(self.order.path(), None, message));
        }
        if self.shards[at].is_none() {
            self.shards[at] = Some(self.record.shards[at].open(&self.paths[at])?);
        }
        Ok(self.shards[at].as_ref().expect("opened just above"))
    }

    /// Appends the tokens at `positions` of the stream, which lie in the document `row`. Returns
    /// the document's number of tokens and the bounds of its trained stretches, unless all of it is
    /// trained on.
    fn read_document(
        &mut self,
        row: OrderRow,
        positions: Range<u64>,
        is_end: bool,
        tokens: &mut Vec<u32>,
        starts: &mut Vec<u32>,
    ) -> Result<Option<(usize, Vec<u32>)>> {
        // Position 0 of a document is its opener, position p the stored token p - 1.
        let (from, to) = (positions.start - row.first_token, positions.end - row.first_token);
        let (from, to) = (from as usize, to as usize);
        if from == 0 {
            starts.push(tokens.len() as u32);
            tokens.push(self.record.end_of_text_id);
        }
        let (first, last) = (from.max(1) - 1, to - 1);
        let place = row.shard as usize;
        if place >= self.shards.len() {
            let message = format!("it asks for shard {place} of {}", self.shards.len());
            return Err(Error::damaged(self.order.path(), None, message));
        }
        if self.shards[place].is_none() {
            let opened = self.record.shards[place].open(&self.paths[place])?;
            self.shards[place] = Some(opened);
        }
        let shard = self.shards[place].as_ref().expect("opened just above");
        let found = shard.find_row(u64::from(row.row));
        let (block, within) = found.ok_or_else(|| {
            Error::damaged_artifact(shard.path(), None, format!("the mix asks for row {}", row.row))
        })?;
        let key = BlockKey { source: row.source, shard: row.shard, block: block as u32 };
        let lists = self.cache.get(key, || {
            let lists = shard.read(block)?.token_lists()?;
            Ok((lists, shard.blocks()[block].training_documents()))
        })?;
        let stored = lists.tokens(within);
        if last > stored.len() {
            let message = format!("row {} has {} tokens, not {last}", row.row, stored.len());
            return Err(Error::damaged_artifact(shard.path(), None, message));
        }
        stored.append(first..last, tokens);
        let bounds = lists.trained(within).map(|bounds| (stored.len(), bounds.to_vec()));
        if is_end {
            self.cache.finish_document(key);
        }
        Ok(bounds)
    }
}

/// Appends to `trained`, for the positions `within` a document, whether the token after each is
/// trained on; `before` positions of the range precede them. Appends nothing while all are.
fn mark(
    bounds: Option<(usize, Vec<u32>)>,
    before: usize,
    within: Range<usize>,
    trained: &mut Vec<bool>,
) {
    let Some((length, bounds)) = bounds else {
        if !trained.is_empty() {
            trained.resize(before + within.len(), true);
        }
        return;
    };
    trained.resize(before, true);
    let last = length.saturating_sub(1);
    trained.extend(within.map(|position| is_trained(&bounds, position.min(last))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_marked_by_the_token_behind_it_and_the_last_by_its_own() {
        let mut trained = Vec::new();
        mark(None, 0, 0..4, &mut trained);
        assert!(trained.is_empty(), "nothing is said while all are");
        // Five tokens of which the last two are an answer, read from the opener on: position p
        // stands before token p, and the end of the text belongs to what it ends.
        mark(Some((5, vec![3])), 4, 0..6, &mut trained);
        assert_eq!(trained[..4], [true; 4]);
        assert_eq!(trained[4..], [false, false, false, true, true, true]);
        mark(None, 10, 2..4, &mut trained);
        assert_eq!(trained[10..], [true; 2]);
        // The middle of one whose answer ends before its end.
        mark(Some((5, vec![1, 3])), 12, 2..6, &mut trained);
        assert_eq!(trained[12..], [true, false, false, false]);
        mark(Some((0, vec![])), 16, 0..1, &mut trained);
        assert!(!trained[16]);
    }
}
