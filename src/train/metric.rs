//! What a step leaves in `metrics.jsonl`.
//!
//! In → a step; out → a line. No clocks: equal runs, equal bytes.

use serde::{Deserialize, Serialize};

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
}
