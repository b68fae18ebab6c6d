//! What is in token shards: documents, tokens, lengths, how well they are stored.
//!
//! In → a shards artifact; out → [`ShardsReport`], in all, by source and by file. Counts come from
//! the footers; lengths from one pass over all blocks, each checked against its XXH3, that
//! decompresses the lists' offsets and no token. Parallel over files. Percentiles are exact, by
//! nearest rank: the least length that at least p% of the documents do not exceed.

use std::{collections::BTreeMap, fmt, path::Path};

use rayon::prelude::*;
use serde::Serialize;

use super::{
    Facts, ratio,
    table::{Table, count, decimal},
};
use crate::{
    artifact::manifest::Manifest,
    base::{error::Result, hash::Fingerprint, io},
    shards::{BlockEntry, ShardReader, ShardSet, TokenWidth},
};

/// The percentiles shown, beside the longest.
const PERCENTILES: [u64; 7] = [1, 5, 25, 50, 75, 95, 99];

/// Token shards.
#[derive(Clone, Debug, Serialize)]
pub struct ShardsReport {
    #[serde(flatten)]
    pub facts: Facts,
    pub vocab_size: u64,
    pub token_width: TokenWidth,
    pub end_of_text: Option<String>,
    /// XXH3-128 of `tokenizer/tokenizer.json`.
    pub tokenizer: Fingerprint,
    pub total: Tally,
    pub sources: Vec<Tally>,
    pub shards: Vec<Tally>,
}

/// Figures of some documents.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// The source's or the file's name.
    pub name: String,
    pub documents: u64,
    /// Documents kept for validation, among `documents`.
    pub held_out_documents: u64,
    /// Tokens of all documents; shards store no end-of-text.
    pub tokens: u64,
    pub held_out_tokens: u64,
    /// UTF-8 bytes of the texts.
    pub text_bytes: u64,
    /// Bytes on disk: of the blocks of a source, of whole files else.
    pub stored_bytes: u64,
    /// UTF-8 bytes of text a token stands for.
    pub bytes_per_token: Option<f64>,
    /// Stored bytes ÷ bytes of the tokens at their width.
    pub zstd_ratio: Option<f64>,
    pub lengths: Lengths,
}

/// Tokens a document.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Lengths {
    /// (percentile, tokens); empty without documents.
    pub percentiles: Vec<(u64, u32)>,
    pub max: u32,
    /// Documents of each length.
    #[serde(skip)]
    histogram: BTreeMap<u32, u64>,
}

impl Lengths {
    fn add(&mut self, other: &Lengths) {
        for (&length, documents) in &other.histogram {
            *self.histogram.entry(length).or_default() += documents;
        }
    }

    /// Fills in the figures that are shown.
    fn finish(&mut self) {
        let documents: u64 = self.histogram.values().sum();
        self.max = self.histogram.last_key_value().map_or(0, |(&length, _)| length);
        let wanted = PERCENTILES.iter().filter(|_| documents > 0);
        self.percentiles = wanted.map(|&p| (p, self.percentile(p, documents))).collect();
    }

    /// Documents by length: none, then from each power of two to the next.
    pub fn bins(&self) -> Vec<(u32, u64)> {
        let mut bins: BTreeMap<u32, u64> = BTreeMap::new();
        for (&length, documents) in &self.histogram {
            let from = length.checked_ilog2().map_or(0, |power| 1 << power);
            *bins.entry(from).or_default() += documents;
        }
        bins.into_iter().collect()
    }

    fn percentile(&self, percent: u64, documents: u64) -> u32 {
        let rank = (percent * documents).div_ceil(100).max(1);
        let mut seen = 0;
        let reached = self.histogram.iter().find(|(_, documents)| {
            seen += **documents;
            seen >= rank
        });
        reached.map_or(self.max, |(&length, _)| length)
    }
}

impl Tally {
    fn named(name: &str) -> Tally {
        Tally { name: name.to_owned(), ..Tally::default() }
    }

    fn add_block(&mut self, entry: &BlockEntry, lengths: &[u32]) {
        self.documents += entry.documents;
        self.held_out_documents += entry.facts.held_out_documents;
        self.tokens += entry.facts.tokens;
        self.held_out_tokens += entry.facts.held_out_tokens;
        self.text_bytes += entry.facts.text_bytes;
        self.stored_bytes += entry.bytes;
        for &length in lengths {
            *self.lengths.histogram.entry(length).or_default() += 1;
        }
    }

    fn add(&mut self, other: &Tally) {
        self.documents += other.documents;
        self.held_out_documents += other.held_out_documents;
        self.tokens += other.tokens;
        self.held_out_tokens += other.held_out_tokens;
        self.text_bytes += other.text_bytes;
        self.stored_bytes += other.stored_bytes;
        self.lengths.add(&other.lengths);
    }

    fn finish(&mut self, width: TokenWidth) {
        self.bytes_per_token = ratio(self.text_bytes, self.tokens);
        self.zstd_ratio = ratio(self.stored_bytes, self.tokens * width.bytes());
        self.lengths.finish();
    }
}

/// One file: itself, and its documents by source.
struct ShardTallies {
    shard: Tally,
    sources: BTreeMap<String, Tally>,
}

fn read_shard(name: &str, reader: &ShardReader) -> Result<ShardTallies> {
    let mut sources: BTreeMap<String, Tally> = BTreeMap::new();
    for (index, entry) in reader.blocks().iter().enumerate() {
        let source = &entry.facts.source;
        let tally = sources.entry(source.clone()).or_insert_with(|| Tally::named(source));
        tally.add_block(entry, &reader.read(index)?.lengths()?);
    }
    let mut shard = Tally::named(name);
    sources.values().for_each(|source| shard.add(source));
    shard.stored_bytes = io::size(reader.path())?;
    Ok(ShardTallies { shard, sources })
}

impl ShardsReport {
    /// Reads all footers and all lengths.
    pub fn read(path: &Path, manifest: &Manifest) -> Result<ShardsReport> {
        let set = ShardSet::open(path)?;
        let read: Vec<ShardTallies> = set
            .shards()
            .par_iter()
            .map(|shard| read_shard(&shard.name, &shard.reader))
            .collect::<Result<_>>()?;
        let (mut total, mut sources) = (Tally::named("all"), BTreeMap::new());
        let mut shards = Vec::new();
        for ShardTallies { shard, sources: found } in read {
            total.add(&shard);
            for (name, tally) in found {
                sources.entry(name.clone()).or_insert_with(|| Tally::named(&name)).add(&tally);
            }
            shards.push(shard);
        }
        let mut sources: Vec<Tally> = sources.into_values().collect();
        let all = shards.iter_mut().chain(&mut sources).chain([&mut total]);
        all.for_each(|tally| tally.finish(set.width()));
        Ok(ShardsReport {
            facts: Facts::new(path, manifest),
            vocab_size: set.vocab_size()?,
            token_width: set.width(),
            end_of_text: set.end_of_text().map(|(name, _)| name.to_owned()),
            tokenizer: set.tokenizer(),
            total,
            sources,
            shards,
        })
    }
}

fn amounts<'a>(title: &'a str, rows: impl Iterator<Item = &'a Tally>) -> Table {
    let mut table = Table::new([
        title,
        "documents",
        "held out",
        "tokens",
        "held out",
        "bytes/token",
        "zstd ratio",
    ]);
    for tally in rows {
        table.row(vec![
            tally.name.clone(),
            count(tally.documents),
            count(tally.held_out_documents),
            count(tally.tokens),
            count(tally.held_out_tokens),
            decimal(tally.bytes_per_token),
            decimal(tally.zstd_ratio),
        ]);
    }
    table
}

fn lengths<'a>(title: &'a str, rows: impl Iterator<Item = &'a Tally>) -> Table {
    let names: Vec<String> = PERCENTILES.iter().map(|p| format!("p{p}")).collect();
    let head = std::iter::once(title).chain(names.iter().map(String::as_str)).chain(["max"]);
    let mut table = Table::new(head);
    for tally in rows.filter(|tally| tally.documents > 0) {
        let lengths = tally.lengths.percentiles.iter().map(|(_, length)| *length);
        let figures = lengths.chain([tally.lengths.max]).map(|length| count(length.into()));
        table.row(std::iter::once(tally.name.clone()).chain(figures).collect());
    }
    table
}

impl fmt::Display for ShardsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.head(f)?;
        let end_of_text = self.end_of_text.as_deref().unwrap_or("none");
        let (vocab, width) = (count(self.vocab_size), self.token_width.bytes());
        writeln!(f, "vocabulary of {vocab}, {width} bytes a token, end of text: {end_of_text}\n")?;
        let sources = || self.sources.iter().chain((self.sources.len() > 1).then_some(&self.total));
        writeln!(f, "{}\n", amounts("source", sources()))?;
        writeln!(f, "{}\n", lengths("tokens a document", sources()))?;
        write!(f, "{}", amounts("shard", self.shards.iter()))
    }
}
