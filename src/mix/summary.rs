//! What a mix has become: the shares that were asked for and those that were reached.
//!
//! In → the manifest and the record of a mix; out → its [`Summary`].

use std::fmt;

use serde_json::Value;

use super::run::ALSO_TRAINED;
use crate::artifact::{
    manifest::Manifest,
    summary::{DocumentsSummary, Summary},
};
use crate::base::size::Count;
use crate::shards::MixRecord;

/// Of a finished mix.
#[derive(Debug)]
pub struct MixSummary {
    documents: DocumentsSummary,
    record: MixRecord,
    also_trained: u64,
}

impl MixSummary {
    /// Of the mix with this manifest and record.
    pub fn new(manifest: &Manifest, record: MixRecord) -> MixSummary {
        let also_trained = manifest.counts.extra.get(ALSO_TRAINED).copied().unwrap_or(0);
        MixSummary { documents: DocumentsSummary::new(manifest), record, also_trained }
    }
}

impl Summary for MixSummary {
    fn head(&self) -> String {
        "What the model reads".to_owned()
    }

    fn line(&self) -> String {
        self.documents.line()
    }

    fn record(&self) -> Value {
        self.documents.record()
    }

    fn alarms(&self) -> Vec<String> {
        let mut alarms = self.documents.alarms();
        if self.also_trained > 0 {
            let texts = self.record.validated().iter().map(|source| source.documents).sum();
            alarms.push(format!(
                "{} of the {} of your own that validate may be trained on too (same id, as many \
                 tokens): figures on them say less",
                Count(self.also_trained),
                Count(texts).of("document")
            ));
        }
        alarms
    }
}

impl fmt::Display for MixSummary {
    /// A line a source: shares asked for and achieved; above them, where there are several phases,
    /// a line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases = self.record.phases.iter().filter(|_| self.record.phases.len() > 1);
        for phase in phases {
            let shares = self.record.sources.iter().zip(&phase.source_tokens);
            let shares = shares.filter(|(_, tokens)| **tokens > 0).map(|(source, &tokens)| {
                let percent = 100.0 * tokens as f64 / phase.tokens.max(1) as f64;
                format!("{} {percent:.1}%", source.name)
            });
            let shares: Vec<String> = shares.collect();
            let (name, tokens) = (&phase.name, Count(phase.tokens).to_string());
            writeln!(f, "  phase {name:<12} {tokens:>12} tokens: {}", shares.join(", "))?;
        }
        if let Some(packing) = &self.record.packing {
            let percent = |cut: u64| 100.0 * cut as f64 / packing.documents.max(1) as f64;
            let (cut, concat) = (percent(packing.cut), percent(packing.cut_by_concat));
            let (sequence, longer) = (packing.sequence, percent(packing.longer_than_a_row));
            writeln!(
                f,
                "  packed into rows of {sequence}: {cut:.1}% of the documents are cut \
                 ({longer:.1}% are longer than a row), concatenated {concat:.1}% would be"
            )?;
        }
        for source in &self.record.sources {
            let share = 100.0 * self.record.share(source).unwrap_or(0.0);
            let of_text = if source.budget_bytes.is_some() { " of the text" } else { "" };
            writeln!(
                f,
                "  {:<12} {share:>5.1}%{of_text}  asked {}  {:>12} tokens  {} epochs  {}",
                source.name,
                source.weight,
                Count(source.achieved_tokens).to_string(),
                source.epochs_decimal,
                Count(source.documents).of("document")
            )?;
        }
        let validated = self.record.validated();
        let documents = validated.iter().map(|source| source.documents).sum();
        let documents = Count(documents).of("document");
        let kept = Count(validated.iter().map(|source| source.kept).sum());
        match self.record.validation_texts().map(|texts| texts.short()) {
            Some(texts) if self.record.validation_sources.is_empty() => writeln!(
                f,
                "  validates on {documents} ({kept} of them would be kept), texts \
                 {texts}"
            ),
            Some(texts) => {
                writeln!(f, "  validates on {documents} of your own, texts {texts}")
            }
            None => Ok(()),
        }
    }
}
