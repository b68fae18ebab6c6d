//! Validation: bits per byte of the held-out documents, source by source.
//!
//! In → `validation.arrow` of the mix and a model; out → nats and bytes by document and by source.
//! **Method.** Each document begins a context with end-of-text as its first input, its tokens are
//! the targets; a longer one goes in windows of `sequence` tokens, each of which has the token
//! before it as first input. So every byte is scored once, and nothing depends on how documents are
//! cut into training rows. Bits per byte = nats / (ln 2 · bytes) (nanochat's `loss_eval.py`), which
//! compares runs of different tokenizers. Beside it stands what a model without context could
//! reach: the empirical unigram entropy of the same tokens. All held-out documents make the figure
//! that compares recipes; a second one is that of those which this recipe would keep. Both are over
//! a set that is named by its fingerprint: figures over other sets do not compare.
//! **Packing.** Windows share rows behind the attention mask, best fit by falling length (ties in
//! document order), so padding is a few percent. **Invariants.** Sums are f64 in token order; the
//! logarithm is a software one. **Cost.** One forward pass over the tokens, which are held in
//! memory.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::Settings;
use crate::base::{
    error::Result,
    hash::{Fingerprint, xxh3_128},
};
use crate::report::lines::{DocumentEval, SourceEval};
use crate::runtime::{data::Batch, model::Model};
use crate::shards::{
    HeldOut, ValidationSource, read_validation,
    validation::{VALIDATION_FILE, bits_per_byte, fingerprint},
};
use crate::tokenizer::Tokenizer;

/// The outcome of one evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// In the order of the mix.
    pub sources: Vec<SourceEval>,
    /// In the order of `validation.arrow`.
    pub documents: Vec<DocumentEval>,
}

impl Evaluation {
    /// Puts beside each source what the running average of the parameters scored on it.
    pub fn beside(&mut self, average: &Evaluation) {
        for (source, average) in self.sources.iter_mut().zip(&average.sources) {
            assert_eq!(source.source, average.source, "two evaluations of the same documents");
            source.ema_nats = Some(average.nats);
            source.ema_bits_per_byte = Some(average.bits_per_byte);
        }
    }

    /// Bits per byte over all sources together; `None` without documents.
    pub fn bits_per_byte(&self) -> Option<f64> {
        let nats: f64 = self.sources.iter().map(|source| source.nats).sum();
        let bytes: u64 = self.sources.iter().map(|source| source.bytes).sum();
        (bytes > 0).then(|| bits_per_byte(nats, bytes))
    }
}

/// The held-out documents, cut and packed once for a run.
pub struct Validation {
    sources: Vec<Source>,
    documents: Vec<Document>,
    rows: Vec<Vec<Window>>,
    sequence: usize,
    end_of_text: u32,
}

struct Source {
    name: String,
    /// Of the documents of [`Validation::documents`].
    first: usize,
    count: usize,
    unigram_nats: f64,
    fingerprint: Fingerprint,
}

struct Document {
    id: String,
    text: Fingerprint,
    bytes: u64,
    tokens: Vec<u32>,
    known: HeldOut,
}

/// Up to `sequence` tokens of a document.
#[derive(Clone, Copy)]
struct Window {
    document: usize,
    start: usize,
    end: usize,
}

impl Validation {
    /// The held-out documents of a mix, ready to be scored.
    pub fn open(
        mix: &Path,
        end_of_text: u32,
        tokenizer: &Tokenizer,
        settings: &Settings,
    ) -> Result<Validation> {
        let sources = read_validation(&mix.join(VALIDATION_FILE))?;
        let text = |tokens: &[u32]| xxh3_128(&tokenizer.decode(tokens));
        let (sequence, tokens_max) = (settings.sequence, settings.eval_tokens.0);
        Ok(Validation::new(sources, &text, sequence, end_of_text, tokens_max))
    }

    /// Takes of each source the first documents that fit `tokens_max` (0: all), at least one; they
    /// count by their bytes, so that it is the same ones whatever the tokenizer.
    /// `text` hashes what a document's tokens decode to, for mixes that do not know the text.
    pub fn new(
        sources: Vec<ValidationSource>,
        text: &dyn Fn(&[u32]) -> Fingerprint,
        sequence: usize,
        end_of_text: u32,
        tokens_max: u64,
    ) -> Validation {
        let mut validation =
            Validation { sources: vec![], documents: vec![], rows: vec![], sequence, end_of_text };
        for source in sources {
            let first = validation.documents.len();
            let mut tokens = 0;
            for document in source.documents {
                tokens += document.weight();
                if tokens_max > 0 && tokens > tokens_max && validation.documents.len() > first {
                    break;
                }
                validation.documents.push(Document {
                    id: document.id,
                    text: document.known.text.unwrap_or_else(|| text(&document.tokens)),
                    bytes: document.bytes,
                    tokens: document.tokens,
                    known: document.known,
                });
            }
            let taken = &validation.documents[first..];
            let unigram_nats = unigram_nats(taken);
            let count = taken.len();
            let texts = taken.iter().map(|one| (source.name.as_str(), Some(one.text), ""));
            let fingerprint = fingerprint(texts);
            let name = source.name;
            validation.sources.push(Source { name, first, count, unigram_nats, fingerprint });
        }
        validation.rows = pack(windows(&validation.documents, sequence), sequence);
        validation
    }

    /// Tokens that an evaluation scores.
    pub fn tokens(&self) -> u64 {
        self.documents.iter().map(|document| document.tokens.len() as u64).sum()
    }

    /// Scores every document, `rows_at_once` rows in one forward pass.
    pub fn evaluate(&self, model: &Model, step: u64, rows_at_once: usize) -> Result<Evaluation> {
        let mut nats: Vec<BTreeMap<usize, f64>> = vec![BTreeMap::new(); self.documents.len()];
        for rows in self.rows.chunks(rows_at_once) {
            let scored = model.nats(&self.batch(rows))?;
            for (row, windows) in rows.iter().enumerate() {
                let mut at = row * self.sequence;
                for window in windows {
                    let length = window.end - window.start;
                    let sum = scored[at..at + length].iter().map(|&nats| f64::from(nats)).sum();
                    nats[window.document].insert(window.start, sum);
                    at += length;
                }
            }
        }
        let nats: Vec<f64> = nats.iter().map(|windows| windows.values().sum()).collect();
        Ok(self.outcome(step, &nats))
    }

    /// Sums by source; a source without a byte has no bits per byte and is left out.
    fn outcome(&self, step: u64, nats: &[f64]) -> Evaluation {
        let mut evaluation = Evaluation { sources: Vec::new(), documents: Vec::new() };
        for source in &self.sources {
            let range = source.first..source.first + source.count;
            let documents = &self.documents[range.clone()];
            let bytes: u64 = documents.iter().map(|document| document.bytes).sum();
            let total: f64 = nats[range.clone()].iter().sum();
            let scored = documents.iter().zip(&nats[range.clone()]);
            evaluation.documents.extend(scored.map(|(document, &nats)| DocumentEval {
                source: source.name.clone(),
                document: document.id.clone(),
                text: document.text,
                tokens: document.tokens.len() as u64,
                bytes: document.bytes,
                nats,
                verdict: document.known.verdict.clone(),
                near_twin: document.known.twin,
            }));
            let all = || documents.iter().zip(&nats[range.clone()]);
            let kept = || all().filter(|(document, _)| document.known.verdict.is_none());
            let kept_bytes: u64 = kept().map(|(document, _)| document.bytes).sum();
            let kept_nats: f64 = kept().map(|(_, nats)| nats).sum();
            if bytes > 0 {
                evaluation.sources.push(SourceEval {
                    step,
                    source: source.name.clone(),
                    documents: documents.len() as u64,
                    nats: total,
                    bytes,
                    bits_per_byte: bits_per_byte(total, bytes),
                    unigram_bits_per_byte: bits_per_byte(source.unigram_nats, bytes),
                    tokens: documents.iter().map(|document| document.tokens.len() as u64).sum(),
                    kept_documents: kept().count() as u64,
                    kept_nats,
                    kept_bytes,
                    kept_bits_per_byte: (kept_bytes > 0)
                        .then(|| bits_per_byte(kept_nats, kept_bytes)),
                    validation: Some(source.fingerprint),
                    ema_nats: None,
                    ema_bits_per_byte: None,
                });
            }
        }
        evaluation
    }

    /// Windows side by side, each a segment of its own, padding in a last one.
    fn batch(&self, rows: &[Vec<Window>]) -> Batch {
        let size = rows.len() * self.sequence;
        let mut batch = Batch {
            inputs: Vec::with_capacity(size),
            targets: Vec::with_capacity(size),
            segments: Vec::with_capacity(size),
            positions: Vec::with_capacity(size),
            trained: Vec::new(),
            rows: rows.len(),
            sequence: self.sequence,
            first_row: 0,
            parts: 1,
        };
        for (row, windows) in rows.iter().enumerate() {
            for (segment, window) in windows.iter().enumerate() {
                let tokens = &self.documents[window.document].tokens;
                let before = window.start.checked_sub(1).map(|before| tokens[before]);
                batch.inputs.push(before.unwrap_or(self.end_of_text));
                batch.inputs.extend_from_slice(&tokens[window.start..window.end - 1]);
                batch.targets.extend_from_slice(&tokens[window.start..window.end]);
                let length = window.end - window.start;
                batch.segments.resize(batch.segments.len() + length, segment as u32);
                batch.positions.extend(0..length as u32);
            }
            let end = (row + 1) * self.sequence;
            let padding = end - batch.inputs.len();
            batch.inputs.resize(end, self.end_of_text);
            batch.targets.resize(end, self.end_of_text);
            batch.segments.resize(end, windows.len() as u32);
            batch.positions.extend(0..padding as u32);
        }
        batch
    }
}

/// (step, bits per byte over all sources together) of the evaluations of a run.
pub fn evaluations(lines: &[SourceEval]) -> Vec<(u64, f64)> {
    let evaluation = |lines: &[SourceEval]| {
        let nats: f64 = lines.iter().map(|source| source.nats).sum();
        let bytes: u64 = lines.iter().map(|source| source.bytes).sum();
        (lines[0].step, bits_per_byte(nats, bytes))
    };
    lines.chunk_by(|a, b| a.step == b.step).map(evaluation).collect()
}

/// Σ c · ln(N / c) over the distinct tokens: N times their empirical entropy.
fn unigram_nats(documents: &[Document]) -> f64 {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for &token in documents.iter().flat_map(|document| &document.tokens) {
        *counts.entry(token).or_default() += 1;
    }
    let total = counts.values().sum::<u64>() as f64;
    counts.values().map(|&count| count as f64 * libm::log(total / count as f64)).sum()
}

fn windows(documents: &[Document], sequence: usize) -> Vec<Window> {
    let mut windows = Vec::new();
    for (document, tokens) in documents.iter().map(|document| document.tokens.len()).enumerate() {
        for start in (0..tokens).step_by(sequence) {
            windows.push(Window { document, start, end: tokens.min(start + sequence) });
        }
    }
    windows
}

/// Best fit by falling length: a window goes into the row with the least room that holds it.
fn pack(mut windows: Vec<Window>, sequence: usize) -> Vec<Vec<Window>> {
    windows.sort_by_key(|window| std::cmp::Reverse(window.end - window.start));
    let mut rows: Vec<Vec<Window>> = Vec::new();
    let mut by_room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for window in windows {
        let length = window.end - window.start;
        let found = by_room.range(length..).next().map(|(&room, _)| room);
        let row = found.and_then(|room| {
            let row = by_room.get_mut(&room)?.pop();
            by_room.retain(|_, rows| !rows.is_empty());
            row
        });
        let row = row.unwrap_or_else(|| {
            rows.push(Vec::new());
            rows.len() - 1
        });
        rows[row].push(window);
        let room = found.unwrap_or(sequence) - length;
        if room > 0 {
            by_room.entry(room).or_default().push(row);
        }
    }
    rows
}
