//! Two mixes beside each other: how much of what a model reads first is the same, in which order.
//!
//! In → two mixes whose shards are found; out → [`OverlapReport`], over the first million tokens,
//! ten million and so on, and all that both have. A document is its source, by the mix's name, and
//! its id, so mixes of two vocabularies compare. Cost: the ids of all blocks, 8 bytes a document of
//! the shards and 24 of the mixes.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{
    MixRecord,
    cell::draw,
    order::{ORDER_FILE, OrderReader},
    overlap::Overlap,
};
use crate::base::{error::Result, hash::xxh3_64};

/// The shortest beginning that is compared.
const FIRST_TOKENS: u64 = 1_000_000;

/// Two mixes.
#[derive(Clone, Debug, Serialize)]
pub struct OverlapReport {
    pub one: String,
    pub other: String,
    pub beginnings: Vec<Beginning>,
}

/// The first tokens of both.
#[derive(Clone, Debug, Serialize)]
pub struct Beginning {
    pub tokens: u64,
    #[serde(flatten)]
    pub overlap: Overlap,
    /// Of the common documents, how many stand in one order within their sources.
    pub in_order_within_sources: u64,
    /// The share of pairs of common documents, of any sources, that stand in the same order.
    pub pairs_in_order: Option<f64>,
}

/// Draws of the source's name and of the id.
type Document = (u64, u64);

/// A mix as a list of its documents.
struct Documents {
    tokens: u64,
    documents: Vec<Document>,
    /// Where each begins.
    starts: Vec<u64>,
}

impl Documents {
    fn read(mix: &Path) -> Result<Documents> {
        let record = MixRecord::read(mix)?;
        let paths = record.locate(mix, &[])?;
        let mut draws: Vec<Vec<u64>> = Vec::with_capacity(paths.len());
        for (shard, path) in record.shards.iter().zip(&paths) {
            let reader = shard.open(path)?;
            let mut of_shard = Vec::new();
            for index in 0..reader.blocks().len() {
                of_shard.extend(reader.read(index)?.documents()?.iter().flatten().map(draw));
            }
            draws.push(of_shard);
        }
        let names: Vec<u64> =
            record.sources.iter().map(|source| xxh3_64(source.name.as_bytes())).collect();
        let mut order = OrderReader::open(&mix.join(ORDER_FILE))?;
        let (mut documents, mut starts) = (Vec::new(), Vec::new());
        for index in 0..order.documents() {
            let (row, _) = order.row(index)?;
            let draw = draws.get(row.shard as usize).and_then(|draws| draws.get(row.row as usize));
            let name = names.get(usize::from(row.source));
            let (name, draw) = name.zip(draw).ok_or_else(|| order.names_nothing(index))?;
            documents.push((*name, *draw));
            starts.push(row.first_token);
        }
        Ok(Documents { tokens: record.tokens, documents, starts })
    }

    /// Those that begin within the first tokens.
    fn first(&self, tokens: u64) -> &[Document] {
        &self.documents[..self.starts.partition_point(|&start| start < tokens)]
    }
}

impl OverlapReport {
    /// Reads both.
    pub fn read(one: &Path, other: &Path) -> Result<OverlapReport> {
        let (left, right) = (Documents::read(one)?, Documents::read(other)?);
        let most = left.tokens.min(right.tokens);
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
    /// The share of the documents that both have, of the longer beginning.
    pub fn share(&self) -> Option<f64> {
        let Overlap { one, other, common, .. } = self.overlap;
        (one.max(other) > 0).then(|| common as f64 / one.max(other) as f64)
    }

    /// The share of these that stand in one order within their sources.
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
