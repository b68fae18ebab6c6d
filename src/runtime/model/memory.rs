//! The memory that a training step of a decoder takes on the CPU, counted from its shape.
//!
//! In → shape, rows at once, tokens a row, parts of a batch, threads; out → [`StepMemory`], bytes
//! by what holds them. **Method.** The tape of `runtime::value` keeps, for each token and block,
//! what the backward of each op reads: the inputs of the two norms, the normed inputs, q, k, v and
//! the output of attention with a log-sum a head, gate, up and their product. These are
//! 4·d + 2·q + 2·k + 3·F + H numbers for a width d, query and key widths q and k, a feed-forward
//! width F and H heads. A parallel block has one norm; one without a gate has 2·F; normed queries
//! and keys are kept before and after the norm. An adapter of rank r keeps r more. Dropout keeps
//! nothing: its draws are made again. A block that is recomputed in the backward pass keeps only
//! its input, d. Where every op is its reference, candle keeps an op's intermediate results and a
//! copy of what it reads: scores and logits are counted, the rest is a measured multiple, within
//! 12%. Parameters and moments are held throughout; the rest peaks at one of five [`Moment`]s,
//! which are counted one by one. **Invariants.** The count is what a thread is measured to hold,
//! within 3% (`tests/training/memory.rs`). Counted in u128: no shape overflows it.

use serde::Serialize;

use super::knobs::{Activation, Dtype, Norm};
use super::{LoraConfig, ModelConfig, shapes};
use crate::runtime::ops::{attention, cross_entropy};

/// Bytes of one f32.
const FLOAT: u128 = 4;

/// Bytes that a training step holds at its peak, by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepMemory {
    /// The parameters, including adapters.
    pub weights: u64,
    /// The optimizer's state: AdamW's two numbers for each trained parameter; callers replace it
    /// for other optimizers.
    pub moments: u64,
    /// Gradients held at the peak.
    pub gradients: u64,
    /// What the backward reads of the forward, and its own intermediate results.
    pub activations: u64,
    /// One chunk of logits and the packed head, or each thread's attention scores.
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
pub struct StepShape<'a> {
    /// Rows that go through the model at once.
    pub rows: usize,
    /// Tokens a row.
    pub sequence: usize,
    /// Parts of this size in a batch, whose gradients are added up.
    pub parts: usize,
    /// Threads that compute.
    pub threads: usize,
    /// How many blocks, from the first on, keep only their input and are recomputed.
    pub recompute: usize,
    /// Whether every op is its reference (`runtime.ops = "composed"`).
    pub composed: bool,
    /// The adapters, where these are trained instead of the model.
    pub lora: Option<&'a LoraConfig>,
}

/// Bytes held at one moment of a step, beside parameters and the optimizer's moments.
#[derive(Clone, Copy)]
struct Moment {
    gradients: u128,
    activations: u128,
    scratch: u128,
}

impl Moment {
    fn total(&self) -> u128 {
        self.gradients + self.activations + self.scratch
    }
}

/// Numbers held for each token.
struct Kept {
    /// What the tape keeps of a block.
    block: u128,
    /// The most that the block's own backward adds to that, less what is freed by then.
    inside: u128,
}

/// Bytes of gradients.
struct Trained {
    /// All trained parameters.
    all: u128,
    /// The blocks, and a block's last matrix.
    blocks: u128,
    last: u128,
    /// The head, which has its gradient before any block has.
    head: u128,
    /// The largest parameter.
    largest: u128,
}

fn wide(number: usize) -> u128 {
    number as u128
}

impl ModelConfig {
    /// The memory of a training step at its peak.
    pub fn step_memory(&self, shape: StepShape<'_>) -> StepMemory {
        let moments = self.moments(shape);
        let fullest = moments.into_iter().max_by_key(Moment::total).expect("five moments");
        let own = u128::from(self.parameter_count()) * FLOAT;
        let trained = self.trained(shape.lora).all;
        let adapters = if shape.lora.is_some() { trained } else { 0 };
        let bytes = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        StepMemory {
            weights: bytes(own + adapters),
            moments: bytes(2 * trained),
            gradients: bytes(fullest.gradients),
            activations: bytes(fullest.activations),
            scratch: bytes(fullest.scratch),
        }
    }

    /// Bytes of a block's temporary results: the branches, queries and keys before rotation, and
    /// for a map with an adapter the outputs of both and their sum. None of them is held when a
    /// step peaks, but the process keeps their memory, in pieces whose sizes suit little else.
    pub fn passing_memory(&self, shape: StepShape<'_>) -> u64 {
        let (d, h) = (wide(self.d_model), wide(self.head_dim()));
        let heads = wide(self.n_head) + wide(self.kv_heads());
        let is_adapted = |name: &str| {
            let targets = shape.lora.into_iter().flat_map(|lora| &lora.targets);
            targets.into_iter().any(|target| name.ends_with(target.as_str()))
        };
        let matrices = self.block_matrices().into_iter();
        let adapted = matrices.filter(|(name, _)| is_adapted(name));
        let widest = adapted.map(|(_, [outputs, _])| wide(outputs)).max().unwrap_or(0);
        let tokens = wide(shape.rows) * wide(shape.sequence);
        let bytes = tokens * (2 * d + heads * h + 3 * widest) * FLOAT;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// The five moments. The loss: all activations, the last hidden state before and after its norm
    /// and the gradient of that, the head's gradient, and logits. The backward of the last block:
    /// its own intermediate results instead. The backward of the last recomputed block, when the
    /// tape of the blocks behind it is gone. The backward of the first block: one block's
    /// activations, all gradients. The update: gradients only, and one of them a second time.
    fn moments(&self, shape: StepShape<'_>) -> [Moment; 5] {
        let tokens = wide(shape.rows) * wide(shape.sequence);
        let (d, layers) = (wide(self.d_model), wide(self.n_layer));
        let again = wide(shape.recompute);
        let plain = layers - again;
        let Kept { block, inside } = self.kept(shape);
        let trained = self.trained(shape.lora);
        // With several parts, all but the first add to gradients that are held throughout.
        let gradients = |first: u128| if shape.parts > 1 { trained.all } else { first };
        // Cosines and sines of the positions.
        let turns = if self.longest().is_none() { wide(self.head_dim()) } else { 0 };
        let scores = wide(attention::BLOCK.min(shape.sequence)) * wide(shape.sequence);
        let scores = match shape.composed {
            true => 0, // among what is kept
            false => 2 * scores * wide(shape.threads) * FLOAT,
        };
        let held = |numbers: u128| tokens * (numbers + turns) * FLOAT;
        // A recomputed block has kept its input, and holds its output too.
        let inside_of = |kept: u128, of_blocks: u128| Moment {
            gradients: gradients(trained.head + of_blocks),
            activations: held(kept + block + inside),
            scratch: scores,
        };
        [
            Moment {
                gradients: trained.head + gradients(0),
                activations: held(again * d + plain * block + 3 * d),
                scratch: self.logits(tokens, shape.composed),
            },
            inside_of(again * d + plain.saturating_sub(1) * block, trained.last),
            inside_of(again * d, trained.blocks * plain / layers),
            inside_of(again.min(1) * d, trained.blocks),
            Moment { gradients: trained.all + trained.largest, activations: 0, scratch: 0 },
        ]
    }

    /// What a block keeps, in numbers for each token.
    fn kept(&self, shape: StepShape<'_>) -> Kept {
        let (d, ff, heads) = (wide(self.d_model), wide(self.d_ff), wide(self.n_head));
        let h = wide(self.head_dim());
        let (queries, keys) = (heads * h, wide(self.kv_heads()) * h);
        let normed = if self.qk_norm { queries + keys } else { 0 };
        // The norms' inputs and outputs.
        let norms = if self.parallel { 2 * d } else { 4 * d };
        let gates = if self.activation.is_gated() { 2 * ff } else { ff };
        let attention = 2 * queries + 2 * keys + heads + normed;
        let inner = shape.lora.map_or(0, |lora| wide(lora.rank) * wide(lora.targets.len()));
        let block = norms + attention + gates + ff + inner;
        // Gradients of the stream and of the activation's inputs; the gradient of the activation's
        // result replaces that result.
        let feeding = d + gates;
        // Gradients of the stream, of attention's result and of q, k, v, when the feed-forward
        // layer and its norm are freed.
        let gone = gates + ff + if self.parallel { 0 } else { 2 * d };
        let attending = (d + 2 * queries + 2 * keys).saturating_sub(gone);
        match shape.composed {
            true => self.kept_composed(block, wide(shape.sequence)),
            false => Kept { block, inside: feeding.max(attending).max(2 * d) },
        }
    }

    /// The same where every op is its reference, for a block that keeps `fused` numbers if fused.
    fn kept_composed(&self, fused: u128, sequence: u128) -> Kept {
        let (d, ff) = (wide(self.d_model), wide(self.d_ff));
        let norms = if self.norm == Norm::LayerNorm { 15 * d } else { 0 };
        let is_gelu = matches!(self.activation, Activation::Gelu | Activation::GeGlu);
        let own = fused * 9 / 2 + norms + if is_gelu { 5 * ff } else { 0 };
        let scores = wide(self.n_head) * sequence;
        let forms = if self.attention_softcap > 0.0 { 9 } else { 6 };
        Kept { block: own + forms * scores + sequence, inside: own * 10 / 9 + 3 * scores }
    }

    /// Bytes of the gradients.
    fn trained(&self, lora: Option<&LoraConfig>) -> Trained {
        let shapes = lora.map_or_else(|| shapes(self), |lora| lora.shapes(self));
        let bytes =
            |dims: &Vec<usize>| dims.iter().map(|size| wide(*size)).product::<u128>() * FLOAT;
        let of_blocks = shapes.iter().filter(|(name, _)| name.starts_with("model.layers."));
        let table = wide(self.padded_vocab()) * wide(self.d_model) * FLOAT;
        Trained {
            all: shapes.values().map(bytes).sum(),
            blocks: of_blocks.map(|(_, dims)| bytes(dims)).sum(),
            last: shapes.get("model.layers.0.mlp.down_proj.weight").map_or(0, bytes),
            head: if lora.is_some() { 0 } else { table },
            largest: shapes.values().map(bytes).max().unwrap_or(0),
        }
    }

    /// Bytes of the logits that exist at once, and of the packed head.
    fn logits(&self, tokens: u128, composed: bool) -> u128 {
        if composed {
            let forms = if self.logit_softcap > 0.0 { 16 } else { 10 };
            return forms * tokens * wide(self.vocab_size) * FLOAT;
        }
        let rows = wide(cross_entropy::CHUNK).min(tokens);
        let table = wide(self.vocab_size) * wide(self.d_model) * FLOAT;
        // The head is packed for both of its products where hidden states come in several chunks;
        // packed for products of bf16 it takes half the bytes.
        let packed = match (tokens > rows, self.dtype) {
            (false, _) => 0,
            (true, Dtype::Bf16) => table,
            (true, _) => 2 * table,
        };
        rows * wide(self.vocab_size) * FLOAT + packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ModelConfig {
        ModelConfig { vocab_size: 8192, ..ModelConfig::default() }
    }

    fn shape(rows: usize, parts: usize) -> StepShape<'static> {
        StepShape {
            rows,
            sequence: 256,
            parts,
            threads: 2,
            recompute: 0,
            composed: false,
            lora: None,
        }
    }

    fn memory(config: &ModelConfig, rows: usize, parts: usize) -> StepMemory {
        config.step_memory(shape(rows, parts))
    }

    #[test]
    fn activations_grow_with_the_rows_and_gradients_with_the_parts() {
        let (one, two) = (memory(&config(), 64, 1), memory(&config(), 128, 1));
        assert_eq!(two.activations, 2 * one.activations);
        assert_eq!((two.weights, two.moments), (one.weights, 2 * one.weights));
        let parts = memory(&config(), 64, 4);
        // With several parts all gradients are held throughout; with one, only those of the head
        // and the last block while most of the tape is held.
        assert_eq!((parts.gradients, parts.activations), (one.weights, one.activations));
        assert!(one.gradients < one.weights / 2, "{one:?}");
    }

    #[test]
    fn blocks_that_run_again_keep_a_stream_each_and_adapters_have_their_own_gradients() {
        let plain = memory(&config(), 32, 1);
        let again = config().step_memory(StepShape { recompute: 6, ..shape(32, 1) });
        let kept = 4 * 192 + 2 * 192 + 2 * 96 + 3 * 512 + 6; // a token and block
        let saved = 4 * 32 * 256 * (5 * kept - 6 * 192);
        assert_eq!(plain.activations - again.activations, saved);
        let lora = LoraConfig::default();
        let adapters = config().step_memory(StepShape { lora: Some(&lora), ..shape(32, 1) });
        let inner = 2 * 8; // of two adapters of rank 8 a block
        assert_eq!(adapters.activations - plain.activations, 4 * 32 * 256 * 6 * inner);
        let trained = 4 * 6 * 8 * (192 + 192 + 192 + 96);
        assert_eq!(adapters.weights - plain.weights, trained);
        assert_eq!((adapters.moments, adapters.gradients), (2 * trained, 0));
    }

    #[test]
    fn where_few_tokens_go_through_a_wide_model_gradients_are_the_most() {
        let parts = config().step_memory(StepShape { sequence: 16, ..shape(1, 4) });
        let table = 4 * 8192 * 192;
        assert_eq!(parts.gradients, parts.weights + table);
        assert!(parts.activations + parts.scratch < parts.gradients / 2, "{parts:?}");
    }

    #[test]
    fn a_head_packed_in_bf16_takes_half_the_bytes() {
        let narrow = ModelConfig { n_layer: 1, d_ff: 64, ..config() };
        let bf16 = ModelConfig { dtype: Dtype::Bf16, ..narrow.clone() };
        let (wide, half) = (memory(&narrow, 2, 1), memory(&bf16, 2, 1));
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
