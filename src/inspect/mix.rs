//! What a model will read: the weights asked for, what they came to, how often sources repeat.
//!
//! In → `mix.json` of a mix; out → [`MixReport`]. The shards need not be there.

use std::{fmt, path::Path};

use serde::Serialize;
use serde_json::Value;

use super::{
    Facts, ratio,
    run::checkpoints,
    table::{Table, count, decimal, percent},
};
use crate::{
    artifact::{
        manifest::Manifest,
        record::Kind,
        run::{STATE, checkpoint},
    },
    base::{
        error::{Error, Result},
        io,
        size::Count,
    },
    shards::{
        mix_record::{MixPacking, MixRecord, MixSource, ValidatedSource},
        order::{ORDER_FILE, OrderReader},
    },
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
    /// How documents were packed into rows, where they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packing: Option<MixPacking>,
    /// Texts of one's own that validate instead of held-out documents, by source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation_sources: Vec<ValidatedSource>,
    /// How far a run has read, where one was named: a place in the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_tokens: Option<u64>,
}

/// One source of a mix.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// Its share of all weights, and of all tokens, or of the text where budgets count its bytes.
    pub asked: Option<f64>,
    pub achieved: Option<f64>,
    /// Of its tokens, what a run has read, where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_tokens: Option<u64>,
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
            achieved: record.share(source),
            read_tokens: None,
            source: source.clone(),
        });
        Ok(MixReport {
            facts: Facts::new(path, manifest),
            tokens: record.tokens,
            documents: record.documents,
            vocab_size: record.vocab_size,
            sources: sources.collect(),
            shard_files: record.shards.len(),
            packing: record.packing,
            validation_sources: record.validation_sources,
            read_tokens: None,
            end_of_text: record.end_of_text,
        })
    }
}

impl MixReport {
    /// Adds how much of each source the run has read, up to its newest checkpoint.
    ///
    /// # Errors
    /// [`Error::Config`] for a run of another mix.
    pub fn read_by(&mut self, mix: &Path, run: &Path) -> Result<()> {
        let manifest = Manifest::read(run)?;
        manifest.expect_kind(run, Kind::Run)?;
        let identity = Manifest::read(mix)?.files_identity();
        if manifest.inputs.iter().all(|input| input.identity != identity) {
            let (run, mix) = (run.display(), mix.display());
            let error = Error::config(format!("the run `{run}` has not read the mix `{mix}`"));
            let names: Vec<&str> =
                manifest.inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(error.with_hint(format!("it reads `{}`", names.join("`, `"))));
        }
        let checkpoints = checkpoints(run)?;
        let rows = match checkpoints.last() {
            None => 0,
            Some(step) => {
                let path = checkpoint(run, *step).join(STATE);
                let state: Value = serde_json::from_str(&io::read_text(&path)?)
                    .map_err(|error| Error::damaged_artifact(&path, None, error))?;
                state["next_row"].as_u64().unwrap_or(0)
            }
        };
        let sequence = manifest.config.pointer("/train/sequence").and_then(Value::as_u64);
        let end = rows.saturating_mul(sequence.unwrap_or(0)).min(self.tokens);
        let mut order = OrderReader::open(&mix.join(ORDER_FILE))?;
        let (mut at, mut index, mut read) = (0, 0, vec![0u64; self.sources.len()]);
        while at < end {
            let (row, row_end) = order.row(index)?;
            let source = read.get_mut(usize::from(row.source));
            let stop = row_end.min(end);
            *source.ok_or_else(|| order.names_nothing(index))? += stop - at;
            (at, index) = (stop, index + 1);
        }
        self.read_tokens = Some(end);
        for (source, read) in self.sources.iter_mut().zip(read) {
            source.read_tokens = Some(read);
        }
        Ok(())
    }
}

impl fmt::Display for MixReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.head(f)?;
        let (tokens, documents) = (count(self.tokens), Count(self.documents).of("document"));
        let (vocab, files) =
            (count(self.vocab_size), Count(self.shard_files as u64).of("shard file"));
        writeln!(f, "{tokens} tokens in {documents}, each opened by `{}`; ", self.end_of_text)?;
        writeln!(f, "vocabulary of {vocab}, read from {files}\n")?;
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
        for SourceReport { asked, achieved, source, .. } in &self.sources {
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
        write!(f, "{table}")?;
        if let Some(packing) = &self.packing {
            let share = |cut: u64| percent(ratio(cut, packing.documents));
            let (cut, concat) = (share(packing.cut), share(packing.cut_by_concat));
            let sequence = count(packing.sequence);
            write!(f, "\n\npacked into rows of {sequence}: {cut} of the documents are cut, ")?;
            write!(f, "concatenated {concat} would be")?;
        }
        for texts in &self.validation_sources {
            let (documents, tokens) =
                (Count(texts.documents).of("document"), Count(texts.tokens).of("token"));
            let (name, set) = (&texts.name, texts.validation.map(|set| set.short()));
            let set = set.unwrap_or_default();
            write!(f, "\n\nvalidates on texts of your own: {name}, {documents}, ")?;
            write!(f, "{tokens}, texts {set}")?;
        }
        let Some(read) = self.read_tokens else { return Ok(()) };
        let share = percent(ratio(read, self.tokens));
        writeln!(f, "\n\nthe run has read {} tokens, {share}\n", count(read))?;
        let mut table = Table::new(["source", "read", "of its tokens", "epochs"]);
        for SourceReport { read_tokens, source, .. } in &self.sources {
            let read = read_tokens.unwrap_or(0);
            table.row(vec![
                source.name.clone(),
                count(read),
                percent(ratio(read, source.achieved_tokens)),
                decimal(ratio(read, source.available_tokens)),
            ]);
        }
        write!(f, "{table}")
    }
}
