//! What a model will read: the weights asked for, what they came to, how often sources repeat.
//!
//! In → `mix.json` of a mix; out → [`MixReport`]. The shards need not be there.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{
    Facts, ratio,
    table::{Table, count, decimal, percent},
};
use crate::{
    artifact::manifest::Manifest,
    base::error::Result,
    shards::mix_record::{MixRecord, MixSource},
};

/// Asked and achieved.
#[derive(Clone, Debug, Serialize)]
pub struct MixReport {
    #[serde(flatten)]
    pub facts: Facts,
    /// Tokens of the training stream, one opener a document included.
    pub tokens: u64,
    /// Documents of the stream, repeated ones each time.
    pub documents: u64,
    pub vocab_size: u64,
    pub end_of_text: String,
    /// Shard files it reads.
    pub shard_files: usize,
    pub sources: Vec<SourceReport>,
}

/// One source of a mix.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// Its share of all weights, and of all tokens.
    pub asked: Option<f64>,
    pub achieved: Option<f64>,
    #[serde(flatten)]
    pub source: MixSource,
}

impl MixReport {
    /// Reads the mix's record.
    pub fn read(path: &Path, manifest: &Manifest) -> Result<MixReport> {
        let record = MixRecord::read(path)?;
        let weight = |source: &MixSource| source.weight.parse::<f64>().unwrap_or(f64::NAN);
        let weights: f64 = record.sources.iter().map(weight).sum();
        let share = |source: &MixSource| weight(source) / weights;
        let sources = record.sources.iter().map(|source| SourceReport {
            asked: Some(share(source)).filter(|share| share.is_finite()),
            achieved: ratio(source.achieved_tokens, record.tokens),
            source: source.clone(),
        });
        Ok(MixReport {
            facts: Facts::new(path, manifest),
            tokens: record.tokens,
            documents: record.documents,
            vocab_size: record.vocab_size,
            sources: sources.collect(),
            shard_files: record.shards.len(),
            end_of_text: record.end_of_text,
        })
    }
}

impl fmt::Display for MixReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.head(f)?;
        let (tokens, documents) = (count(self.tokens), count(self.documents));
        let (vocab, files) = (count(self.vocab_size), self.shard_files);
        writeln!(
            f,
            "{tokens} tokens in {documents} documents, each opened by `{}`; ",
            self.end_of_text
        )?;
        writeln!(f, "vocabulary of {vocab}, read from {files} shard files\n")?;
        let mut table = Table::new([
            "source",
            "weight",
            "asked",
            "achieved",
            "tokens",
            "documents",
            "epochs",
            "available",
            "validation",
            "its bytes/token",
        ]);
        for SourceReport { asked, achieved, source } in &self.sources {
            table.row(vec![
                source.name.clone(),
                source.weight.clone(),
                percent(*asked),
                percent(*achieved),
                count(source.achieved_tokens),
                count(source.documents),
                source.epochs_decimal.clone(),
                count(source.available_tokens),
                count(source.validation_documents),
                decimal(ratio(source.validation_bytes, source.validation_tokens)),
            ]);
        }
        write!(f, "{table}")
    }
}
