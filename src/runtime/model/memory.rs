//! The memory that a training step of a decoder takes on the CPU, counted from its shape.
//!
//! In → shape, rows at once, tokens a row, parts of a batch, threads; out → [`StepMemory`], bytes
//! by what holds them. **Method.** The tape of `runtime::value` keeps, for each token and block,
//! what the backward of each op reads: the inputs of the two norms, the normed inputs, q, k, v and
//! the output of attention with a log-sum a head, gate, up and their product. These are
//! 4·d + 2·q + 2·k + 3·F + H numbers for a width d, query and key widths q and k, a feed-forward
//! width F and H heads; a parallel block has one norm, one without a gate 2·F, and normed queries
//! and keys are kept before and after. Dropout keeps nothing: its draws are made again.
//! Parameters and moments stand throughout. The most is held at one of two moments: where the
//! backward begins, all activations stand, with the gradients of the last block's feed-forward
//! layer; where it ends, all gradients stand, with one block's activations. A block that runs again
//! in the backward pass keeps its input, d numbers a token, until then. Beside adapters that alone
//! are trained the gradients are theirs.
//! **Invariant.** Counted in u128: no shape overflows it.

use serde::Serialize;

use super::ModelConfig;
use super::knobs::Dtype;
use crate::runtime::ops::{attention, cross_entropy};

/// Bytes of one f32.
const FLOAT: u128 = 4;

/// Bytes that a training step holds at its fullest, by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepMemory {
    /// The parameters.
    pub weights: u64,
    /// The optimizer's numbers: AdamW's two a parameter, unless another one says its own.
    pub moments: u64,
    /// Gradients that stand at the fullest moment.
    pub gradients: u64,
    /// What the backward reads of the forward, and its own intermediate results.
    pub activations: u64,
    /// Logits of the rows that exist at once, the packed head, each thread's scores of attention.
    pub scratch: u64,
}

impl StepMemory {
    /// All parts together.
    pub fn total(&self) -> u64 {
        let parts = [self.weights, self.moments, self.gradients, self.activations, self.scratch];
        parts.iter().fold(0, |sum: u64, part| sum.saturating_add(*part))
    }
}

/// How a step goes through a batch.
#[derive(Clone, Copy, Debug)]
pub struct StepShape {
    /// Rows that go through the model at once.
    pub rows: usize,
    /// Tokens a row.
    pub sequence: usize,
    /// Such parts of a batch, whose gradients are added up.
    pub parts: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Whether blocks keep their input alone and run again.
    pub recompute: bool,
    /// How many numbers are trained, where it is not all of them.
    pub adapters: Option<u64>,
}

impl ModelConfig {
    /// What a training step takes.
    pub fn step_memory(&self, shape: StepShape) -> StepMemory {
        let wide = |number: usize| number as u128;
        let (d, ff, heads) = (wide(self.d_model), wide(self.d_ff), wide(self.n_head));
        let h = wide(self.head_dim());
        let (queries, keys, layers) = (heads * h, wide(self.kv_heads()) * h, wide(self.n_layer));
        let norms = if self.parallel { 1 } else { 2 };
        let fed = if self.activation.is_gated() { 3 * ff } else { 2 * ff };
        let normed = if self.qk_norm { queries + keys } else { 0 };
        let tokens = wide(shape.rows) * wide(shape.sequence);
        let parameters = u128::from(self.parameter_count()) * FLOAT;
        let table = wide(self.padded_vocab()) * d * FLOAT;

        let kept = 2 * norms * d + 2 * queries + 2 * keys + fed + heads + normed;
        let block = tokens * kept * FLOAT;
        // Hidden state and its gradient, rotations, the gradients inside the last block.
        let ends = tokens * (3 * d + h + fed + 2 * d) * FLOAT;
        let stand = match shape.recompute {
            true => layers * tokens * d * FLOAT + block,
            false => layers * block,
        };
        let trained = shape.adapters.map_or(parameters, |numbers| u128::from(numbers) * FLOAT);
        let before = if shape.parts > 1 { trained } else { 0 };
        // The head's gradient exists before the backward begins; that of the embedding is added to
        // it in place.
        let head = if shape.adapters.is_some() { 0 } else { table };
        let begin = (before + head, stand + ends);
        let end = (before + trained, block);
        let fullest = if begin.0 + begin.1 > end.0 + end.1 { begin } else { end };

        let rows = wide(cross_entropy::CHUNK).min(tokens);
        let logits = rows * wide(self.vocab_size) * FLOAT;
        // Packed for both of its products with the hidden states, where these come in chunks; in
        // half the bytes for products of bf16.
        let packed = match (tokens > rows, self.dtype) {
            (false, _) => 0,
            (true, Dtype::Bf16) => table,
            (true, _) => 2 * table,
        };
        let scores = wide(attention::BLOCK.min(shape.sequence)) * wide(shape.sequence) * FLOAT;
        let bytes = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        StepMemory {
            weights: bytes(parameters),
            moments: bytes(2 * parameters),
            gradients: bytes(fullest.0),
            activations: bytes(fullest.1),
            scratch: bytes(logits + packed + 2 * scores * wide(shape.threads)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ModelConfig {
        ModelConfig { vocab_size: 8192, ..ModelConfig::default() }
    }

    fn shape(rows: usize, parts: usize) -> StepShape {
        StepShape { rows, sequence: 256, parts, threads: 2, recompute: false, adapters: None }
    }

    fn memory(config: &ModelConfig, rows: usize, parts: usize) -> StepMemory {
        config.step_memory(shape(rows, parts))
    }

    #[test]
    fn activations_grow_with_the_rows_and_gradients_with_the_parts() {
        let (one, two) = (memory(&config(), 16, 1), memory(&config(), 32, 1));
        assert_eq!(two.activations, 2 * one.activations);
        assert_eq!((two.weights, two.moments), (one.weights, 2 * one.weights));
        let parts = memory(&config(), 16, 4);
        assert_eq!(parts.gradients - one.gradients, one.weights);
        assert_eq!(parts.activations, one.activations);
    }

    #[test]
    fn blocks_that_run_again_keep_a_stream_each_and_adapters_have_their_own_gradients() {
        let plain = memory(&config(), 32, 1);
        let again = config().step_memory(StepShape { recompute: true, ..shape(32, 1) });
        let kept = 4 * 192 + 2 * 192 + 2 * 96 + 3 * 512 + 6; // a token and block
        let saved = 4 * 32 * 256 * (5 * kept - 6 * 192);
        assert_eq!(plain.activations - again.activations, saved);
        let adapters = config().step_memory(StepShape { adapters: Some(1000), ..shape(32, 4) });
        assert_eq!((adapters.gradients, adapters.weights), (4000, plain.weights));
    }

    #[test]
    fn a_head_packed_in_bf16_takes_half_the_bytes() {
        let bf16 = ModelConfig { dtype: Dtype::Bf16, ..config() };
        let (wide, half) = (memory(&config(), 8, 1), memory(&bf16, 8, 1));
        assert_eq!(wide.scratch - half.scratch, 8192 * 192 * 4);
        assert_eq!(wide.activations, half.activations);
    }

    #[test]
    fn a_shape_beyond_any_machine_is_counted_and_does_not_wrap() {
        let config = ModelConfig { d_model: 1 << 20, d_ff: 1 << 24, n_head: 1 << 19, ..config() };
        let config = ModelConfig { n_kv_head: 0, n_layer: 10_000, ..config };
        config.validate().unwrap();
        let shape = StepShape { sequence: 1 << 24, threads: 4096, ..shape(1 << 20, 2) };
        assert_eq!(config.step_memory(shape).total(), u64::MAX);
    }
}
