//! The records that a run writes, one type each: `train` writes them, and the page reads them.
//!
//! In → one JSON object; out → one struct, and back. Unknown keys are ignored; what records of
//! earlier builds lack has a default. **Invariant.** Only [`Timing`] holds clocks: equal runs,
//! equal bytes.

use serde::{Deserialize, Serialize};

use crate::base::hash::Fingerprint;
use crate::shards::validation::bits_per_byte;

/// A line of `metrics.jsonl`: one optimizer step, without clocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Mean loss of the step's batch before the update, nats a token.
    pub loss: f64,
    /// The learning rate of the update.
    pub learning_rate: f64,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// Whether the step was left out as a spike: the parameters are as before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Every `train.hash_every` steps: XXH3-128 of the one before it and that of all parameters
    /// after this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Fingerprint>,
}

/// A line of `timing.jsonl`: the clocks of one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Optimizer steps done.
    pub step: u64,
    /// Duration of the whole step.
    pub seconds: f64,
    /// Tokens of the step / `seconds`.
    pub tokens_per_second: f64,
    /// Its parts: reading the mix; forward and backward; clipping and the optimizer.
    pub feed_seconds: f64,
    pub gradient_seconds: f64,
    pub optimizer_seconds: f64,
    /// Memory of the process after the step, in bytes; absent in lines of earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Tokens of the step, for sums while the run goes on; not written.
    #[serde(skip)]
    pub tokens: u64,
}

/// A line of `evals.jsonl`: one source at one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceEval {
    /// Training steps done.
    pub step: u64,
    /// The mix's name of the source.
    pub source: String,
    /// Held-out documents scored.
    pub documents: u64,
    /// Negative log-likelihood of all their tokens.
    pub nats: f64,
    /// UTF-8 bytes of their texts.
    pub bytes: u64,
    /// nats / (ln 2 · bytes).
    pub bits_per_byte: f64,
    /// Unigram entropy of the same tokens, on the same scale.
    pub unigram_bits_per_byte: f64,
    /// Tokens scored.
    pub tokens: u64,
    /// Those documents that the recipe would keep, their sums, and nats / (ln 2 · bytes) where
    /// there are any.
    #[serde(default)]
    pub kept_documents: u64,
    #[serde(default)]
    pub kept_nats: f64,
    #[serde(default)]
    pub kept_bytes: u64,
    #[serde(default)]
    pub kept_bits_per_byte: Option<f64>,
    /// Which texts of the source were scored ([`crate::shards::validation::fingerprint`]): lines of
    /// equal ones compare. Lines of earlier builds do not say.
    #[serde(default)]
    pub validation: Option<Fingerprint>,
    /// The two figures in bits per byte for the running average of the parameters, where there is
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_nats: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_bits_per_byte: Option<f64>,
}

/// A line of `evals/step-….jsonl`: one document, so that two runs can be compared on the documents
/// that both hold out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentEval {
    /// The mix's name of the source.
    pub source: String,
    /// The document's id.
    pub document: String,
    /// XXH3-128 of its raw text; in mixes of earlier builds, of the text that its tokens decode to.
    pub text: Fingerprint,
    /// Its tokens.
    pub tokens: u64,
    /// UTF-8 bytes of its text.
    pub bytes: u64,
    /// Negative log-likelihood of its tokens.
    pub nats: f64,
    /// Why a step of the recipe would have dropped it; null: it would be kept.
    #[serde(default)]
    pub verdict: Option<String>,
    /// Whether deduplication found a training document that is a copy or near-copy of it; null: it
    /// did not look.
    #[serde(default)]
    pub near_twin: Option<bool>,
}

impl DocumentEval {
    /// Bits per byte of its text.
    pub fn bits_per_byte(&self) -> f64 {
        bits_per_byte(self.nats, self.bytes)
    }
}

/// A line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Training steps done.
    pub step: u64,
    /// What was given.
    pub prompt: String,
    /// The generated text, without the prompt.
    pub text: String,
    /// The number of tokens generated.
    pub tokens: u64,
    /// Whether the model ended the text itself.
    pub ended: bool,
}

/// A line of `spikes.jsonl`: a step that was left out, and where its batch lies in the mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spike {
    /// The step, from 1.
    pub step: u64,
    /// Its loss, nats a token.
    pub loss: f64,
    /// Mean and standard deviation of the losses in the window before it.
    pub mean: f64,
    pub deviation: f64,
    /// Norm of its whole gradient, before clipping.
    pub gradient_norm: f64,
    /// Mean and standard deviation of the norms in the window before it.
    pub gradient_norm_mean: f64,
    pub gradient_norm_deviation: f64,
    /// The first row of its batch, and how many: rows of `train.sequence` tokens of the mix.
    pub first_row: u64,
    pub rows: u64,
}

/// A line of `norms.jsonl`: a layer before a step's update. Each norm is Euclidean, over all the
/// layer's parameters as one vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerNorms {
    /// The step, from 1.
    pub step: u64,
    /// `embedding`, the number of a block from 0, `norm` (the last one), `head`.
    pub layer: String,
    /// The gradient's norm, before clipping.
    pub gradient: f64,
    /// The norm of the weights that the gradient was taken at.
    pub weight: f64,
}

/// The result of a goal: an entry of `goals` in `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The goal's name.
    pub name: String,
    /// The step after which it was judged.
    pub step: u64,
    /// The figure it was judged by, `bits_per_byte` or `loss`; the value wanted, and the value
    /// found.
    pub by: String,
    pub wanted: f64,
    pub found: f64,
    pub met: bool,
    /// Whether the run ended there.
    pub ended: bool,
}

/// The peak rate that model FLOPs are compared with, and its origin; stored in each session of
/// `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Operations a second.
    pub flops_per_second: f64,
    /// Its origin in words, to follow "of".
    pub of: String,
}
