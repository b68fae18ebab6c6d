//! Two mixes beside each other: how much of what a model reads first is the same, in which order.
//!
//! In → two mixes whose shards are found; out → [`OverlapReport`], over the first million tokens,
//! ten million and so on, and all that both have. A document is its source, by the mix's name, and
//! its id, so mixes of two vocabularies compare. Cost: one reading of the blocks that the
//! beginnings lie in, 8 bytes a document of these and 48 of the beginnings.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
};

use serde::Serialize;

use super::{
    MixRecord, ShardReader,
    cell::draw,
    order::{ORDER_FILE, OrderReader},
    overlap::Overlap,
};
use crate::base::{error::Result, hash::xxh3_64};

/// The shortest beginning that is compared.
const FIRST_TOKENS: u64 = 1_000_000;

/// How much two mixes have in common, one beginning after another.
#[derive(Clone, Debug, Serialize)]
pub struct OverlapReport {
    pub one: String,
    pub other: String,
    pub beginnings: Vec<Beginning>,
}

/// The comparison of the first `tokens` tokens of both.
#[derive(Clone, Debug, Serialize)]
pub struct Beginning {
    pub tokens: u64,
    #[serde(flatten)]
    pub overlap: Overlap,
    /// Common documents that stand in the same order, counted within each source.
    pub in_order_within_sources: u64,
    /// The share of pairs of common documents, of any sources, that stand in the same order.
    pub pairs_in_order: Option<f64>,
}

/// A hash of the source's name, and the draw of the id.
type Document = (u64, u64);

/// Draws of the ids of some blocks of a shard, by each block's first row.
type Draws = BTreeMap<u32, Vec<u64>>;

/// The draws of the blocks that hold `rows`.
fn draws_of(reader: &ShardReader, rows: &[u32]) -> Result<Draws> {
    let mut found = Draws::new();
    for &row in rows {
        let Some((block, within)) = reader.find_row(u64::from(row)) else { continue };
        if let Entry::Vacant(place) = found.entry(row - within as u32) {
            let ids = reader.read(block)?.documents()?;
            place.insert(ids.iter().flatten().map(draw).collect());
        }
    }
    Ok(found)
}

/// A mix as a list of its documents.
struct Documents {
    tokens: u64,
    documents: Vec<Document>,
    /// Position in the stream at which each begins.
    starts: Vec<u64>,
}

impl Documents {
    /// Reads the documents that begin within the first `most` tokens.
    fn read(mix: &Path, most: u64) -> Result<Documents> {
        let record = MixRecord::read(mix)?;
        let mut order = OrderReader::open(&mix.join(ORDER_FILE))?;
        let mut rows = Vec::new();
        for index in 0..order.documents() {
            let (row, _) = order.row(index)?;
            if row.first_token >= most {
                break;
            }
            rows.push(row);
        }
        let mut of_shards: Vec<Vec<u32>> = vec![Vec::new(); record.shards.len()];
        for (index, row) in (0..).zip(&rows) {
            let shard = of_shards.get_mut(row.shard as usize);
            shard.ok_or_else(|| order.names_nothing(index))?.push(row.row);
        }
        let paths = record.locate(mix, &[])?;
        let shards = record.shards.iter().zip(&paths).zip(&of_shards);
        let draws = shards.map(|((shard, path), rows)| match rows.is_empty() {
            true => Ok(Draws::new()),
            false => draws_of(&shard.open(path)?, rows),
        });
        let draws: Vec<Draws> = draws.collect::<Result<_>>()?;
        let names: Vec<u64> =
            record.sources.iter().map(|source| xxh3_64(source.name.as_bytes())).collect();
        let (mut documents, mut starts) = (Vec::new(), Vec::new());
        for (index, row) in (0..).zip(&rows) {
            let block = draws[row.shard as usize].range(..=row.row).next_back();
            let draw = block.and_then(|(first, draws)| draws.get((row.row - first) as usize));
            let name = names.get(usize::from(row.source));
            let (name, draw) = name.zip(draw).ok_or_else(|| order.names_nothing(index))?;
            documents.push((*name, *draw));
            starts.push(row.first_token);
        }
        Ok(Documents { tokens: record.tokens, documents, starts })
    }

    /// The documents that begin within the first `tokens` tokens.
    fn first(&self, tokens: u64) -> &[Document] {
        &self.documents[..self.starts.partition_point(|&start| start < tokens)]
    }
}

impl OverlapReport {
    /// Reads both, as far as their first `most` tokens go.
    pub fn read(one: &Path, other: &Path, most: u64) -> Result<OverlapReport> {
        let (left, right) = (Documents::read(one, most)?, Documents::read(other, most)?);
        let most = left.tokens.min(right.tokens).min(most);
        let decades = std::iter::successors(Some(FIRST_TOKENS), |tokens| tokens.checked_mul(10));
        let beginnings = decades.take_while(|&tokens| tokens < most).chain([most]);
        let beginning = |tokens| Beginning::of(tokens, left.first(tokens), right.first(tokens));
        Ok(OverlapReport {
            one: one.display().to_string(),
            other: other.display().to_string(),
            beginnings: beginnings.map(beginning).collect(),
        })
    }
}

impl Beginning {
    /// Common documents as a share of those of the longer beginning.
    pub fn share(&self) -> Option<f64> {
        let Overlap { one, other, common, .. } = self.overlap;
        (one.max(other) > 0).then(|| common as f64 / one.max(other) as f64)
    }

    /// The share of common documents that stand in the same order within their sources.
    pub fn share_in_order(&self) -> Option<f64> {
        let common = self.overlap.common;
        (common > 0).then(|| self.in_order_within_sources as f64 / common as f64)
    }

    fn of(tokens: u64, one: &[Document], other: &[Document]) -> Beginning {
        let overlap = Overlap::of(one, other);
        let (left, right) = (by_source(one), by_source(other));
        let within = left.iter().filter_map(|(source, documents)| {
            Some(Overlap::of(documents, right.get(source)?).in_order)
        });
        let pairs_in_order = overlap.pairs_in_order();
        Beginning { tokens, overlap, in_order_within_sources: within.sum(), pairs_in_order }
    }
}

fn by_source(documents: &[Document]) -> BTreeMap<u64, Vec<u64>> {
    let mut sources: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    documents.iter().for_each(|&(source, draw)| sources.entry(source).or_default().push(draw));
    sources
}
