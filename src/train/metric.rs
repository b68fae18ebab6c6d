//! What a step leaves in `metrics.jsonl`.
//!
//! In → a step; out → a line. No clocks: equal runs, equal bytes.

use serde::{Deserialize, Serialize};

use crate::base::hash::Fingerprint;

/// A line of `metrics.jsonl`: one optimizer step. No clocks: equal runs, equal bytes.
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
