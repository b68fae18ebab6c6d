//! Bytes and operations of one training step on a GPU, by kernel and product.
//!
//! In → [`ModelConfig`], [`Batch`], [`Optimizer`]; out → [`Op`]s in the order of the step, each
//! with its launches. **Method.** Bytes are those of the heads of `kernels/*.cu`: bf16 activations,
//! fp32 gradients of weights and moments, what a cache is said to hold not counted. Of a product,
//! each operand once: 2 bytes an element, and the gradient of a weight 4 (written by the first
//! micro-batch or chunk, read and written by the later ones). Operations are those on the tensor
//! cores: of a product 2·m·n·k, of attention those of its kernels for the pairs that see each other
//! in rows of one document. The head runs in chunks of [`CHUNK`] tokens. **Invariant.** Pure, in
//! integers; nothing of a GPU stands here.

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::runtime::model::{
    ModelConfig,
    knobs::{Activation, Norm, Positions},
};
use crate::runtime::ops::cross_entropy;

/// Tokens whose logits stand at once.
pub const CHUNK: usize = cross_entropy::DEVICE_CHUNK;
/// Rows of a block of the norm's backward, each with a row of sums for the weight (`rms_norm.cu`).
const NORM_ROWS: u64 = 64;

/// How a step goes through its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Batch {
    /// Rows that go through the model at once.
    pub rows: usize,
    /// Tokens a row.
    pub sequence: usize,
    /// Such parts of a step.
    pub parts: usize,
}

impl Batch {
    /// Tokens that go through the model at once.
    pub fn tokens(&self) -> u64 {
        self.rows as u64 * self.sequence as u64
    }
}

/// What moves the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    AdamW,
    /// Muon for the matrices of the blocks, AdamW for the rest.
    Muon,
}

/// Equal launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub launches: u64,
    /// Bytes of one.
    pub bytes: u64,
    /// Operations on the tensor cores of one.
    pub operations: u64,
}

/// A kernel or a product, with all its launches of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    pub name: String,
    pub works: Vec<Work>,
}

impl Op {
    fn memory(name: impl Into<String>, launches: u64, bytes: u64) -> Op {
        Op { name: name.into(), works: vec![Work { launches, bytes, operations: 0 }] }
    }

    fn sum(&self, of: impl Fn(&Work) -> u64) -> u64 {
        self.works.iter().map(|work| work.launches * of(work)).sum()
    }

    pub fn launches(&self) -> u64 {
        self.works.iter().map(|work| work.launches).sum()
    }

    /// Bytes of all launches.
    pub fn bytes(&self) -> u64 {
        self.sum(|work| work.bytes)
    }

    /// Operations on the tensor cores of all launches.
    pub fn operations(&self) -> u64 {
        self.sum(|work| work.operations)
    }
}

/// Sizes that every formula reads.
struct Sizes<'a> {
    model: &'a ModelConfig,
    batch: Batch,
    /// Tokens at once, width, feed-forward width, query and key widths, head size, layers, parts.
    n: u64,
    d: u64,
    ff: u64,
    q: u64,
    k: u64,
    h: u64,
    layers: u64,
    parts: u64,
}

/// Everything that one step launches.
///
/// # Errors
/// Config: the model has what no kernel computes; the message names it.
pub fn ops(model: &ModelConfig, batch: Batch, optimizer: Optimizer) -> Result<Vec<Op>> {
    refuse(model)?;
    let (h, wide) = (model.head_dim() as u64, |number: usize| number as u64);
    let sizes = Sizes {
        model,
        batch,
        n: batch.tokens(),
        d: wide(model.d_model),
        ff: wide(model.d_ff),
        q: wide(model.n_head) * h,
        k: wide(model.kv_heads()) * h,
        h,
        layers: wide(model.n_layer),
        parts: wide(batch.parts),
    };
    let mut ops = sizes.forward();
    ops.extend(sizes.head());
    ops.extend(sizes.backward());
    ops.extend(sizes.update(optimizer));
    Ok(ops)
}

/// What there is no kernel for.
fn refuse(model: &ModelConfig) -> Result<()> {
    let h = model.head_dim();
    let missing = [
        (model.norm == Norm::LayerNorm, "LayerNorm (`norm = \"layernorm\"`)".to_owned()),
        (model.activation == Activation::Gelu, "GELU without a gate".to_owned()),
        (
            model.positions == Positions::Learned,
            "learned positions, but for rotary ones".to_owned(),
        ),
        (h != 64 && h != 128, format!("heads of {h} elements: there are 64 and 128")),
        (model.d_model > 4096, format!("rows of {} elements: 4,096 at most", model.d_model)),
    ];
    let Some((_, missing)) = missing.into_iter().find(|(lacks, _)| *lacks) else { return Ok(()) };
    Err(Error::config(format!("there is no plan for {missing}"))
        .with_hint("docs/kernels.md says which kernels there are"))
}

/// A product [m, k] · [k, n] with bf16 operands and result.
fn product(launches: u64, m: u64, n: u64, k: u64) -> Work {
    Work { launches, bytes: 2 * (m * k + k * n + m * n), operations: 2 * m * n * k }
}

impl Sizes<'_> {
    /// Launches of what each block does once.
    fn every(&self) -> u64 {
        self.layers * self.parts
    }

    fn norms(&self) -> u64 {
        self.layers * if self.model.parallel { 1 } else { 2 } + 1
    }

    /// The kernels' name of the activation, its inputs a row, and elements a token.
    fn activation(&self) -> (&'static str, u64) {
        match self.model.activation {
            Activation::SwiGlu => ("swiglu", 2 * self.ff),
            Activation::GeGlu => ("geglu", 2 * self.ff),
            _ => ("relu2", self.ff),
        }
    }

    /// The name, inputs and outputs of each linear map of a block.
    fn maps(&self) -> [(&'static str, u64, u64); 4] {
        let (_, wide) = self.activation();
        [
            ("qkv", self.d, self.q + 2 * self.k),
            ("attention out", self.q, self.d),
            ("feed-forward in", self.d, wide),
            ("feed-forward out", self.ff, self.d),
        ]
    }

    /// Pairs of a query and a key that it sees, of one head over all layers and rows at once.
    fn pairs(&self) -> u64 {
        let sequence = self.batch.sequence as u64;
        let of_layer = |layer| match self.model.window_of(layer) as u64 {
            window if window > 0 && window < sequence => {
                window * (window + 1) / 2 + (sequence - window) * window
            }
            _ => sequence * (sequence + 1) / 2,
        };
        (0..self.model.n_layer).map(of_layer).sum::<u64>() * self.batch.rows as u64
    }

    /// A pass of attention: `bytes` a token, `operations` a visible pair and element of a head.
    fn attention(&self, name: &str, bytes: u64, operations: u64) -> Op {
        // Layers may have windows of their own: their mean keeps the sum.
        let pairs = self.pairs() * self.model.n_head as u64 / self.layers;
        let work = Work {
            launches: self.every(),
            bytes: bytes * self.n,
            operations: operations * self.h * pairs,
        };
        Op { name: format!("{name}_{}", self.h), works: vec![work] }
    }

    fn norm_name(&self, way: &str) -> String {
        let widest = [1024, 2048, 4096].into_iter().find(|widest| self.d <= *widest);
        format!("rms_norm_{way}_{}", widest.unwrap_or(4096))
    }

    fn dropout(&self) -> Option<Op> {
        let branches = 2 * self.layers + 1;
        (self.model.dropout > 0.0).then(|| {
            Op::memory("dropout_apply", 2 * branches * self.parts, self.n * (4 * self.d + 8))
        })
    }

    fn forward(&self) -> Vec<Op> {
        let (heads, (activation, wide)) = (self.model.n_head as u64, self.activation());
        let (n, d, every) = (self.n, self.d, self.every());
        // The first norm has no residual before it.
        let norms = vec![
            Work { launches: self.parts, bytes: 4 * n * d, operations: 0 },
            Work { launches: (self.norms() - 1) * self.parts, bytes: 8 * n * d, operations: 0 },
        ];
        let [qkv, out, up, down] = self.maps().map(|(name, inputs, outputs)| Op {
            name: format!("product {name}"),
            works: vec![product(every, n, outputs, inputs)],
        });
        let rope = format!("rope_forward_{}", self.h);
        let mut ops = vec![
            Op::memory("embedding_forward", self.parts, 4 * n * d),
            Op { name: self.norm_name("forward"), works: norms },
            qkv,
            Op::memory(rope, every, 4 * n * (self.q + self.k)),
            self.attention("attention_forward", 4 * (self.q + self.k + heads), 4),
            out,
            up,
            Op::memory(format!("{activation}_forward"), every, 2 * n * (wide + self.ff)),
            down,
        ];
        ops.extend(self.dropout());
        ops
    }

    /// The head, its loss and its gradients, chunk by chunk.
    fn head(&self) -> Vec<Op> {
        let vocabulary = self.model.padded_vocab() as u64;
        let chunks = self.n.div_ceil(CHUNK as u64);
        let rows = self.n / chunks;
        let launches = chunks * self.parts;
        let logits = product(launches, rows, vocabulary, self.d);
        let to_hidden = product(launches, rows, self.d, vocabulary);
        let mut to_weight = vec![Work {
            launches: 1,
            bytes: 2 * rows * (self.d + vocabulary) + 4 * self.d * vocabulary,
            ..to_hidden
        }];
        if launches > 1 {
            let bytes = to_weight[0].bytes + 4 * self.d * vocabulary;
            to_weight.push(Work { launches: launches - 1, bytes, ..to_hidden });
        }
        let loss = Op::memory("cross_entropy_rows", launches, 6 * rows * vocabulary);
        let gradients = [vec![to_hidden], to_weight].concat();
        vec![
            Op { name: "product head".into(), works: vec![logits] },
            loss,
            Op { name: "its gradients".into(), works: gradients },
        ]
    }

    /// The two products of a linear map's backward.
    fn gradients(&self, name: &str, inputs: u64, outputs: u64) -> Op {
        let to_input = product(self.every(), self.n, inputs, outputs);
        let weight = 4 * inputs * outputs;
        let first = Work {
            launches: self.layers,
            bytes: 2 * self.n * (inputs + outputs) + weight,
            ..to_input
        };
        let mut works = vec![to_input, first];
        if self.parts > 1 {
            let launches = self.layers * (self.parts - 1);
            works.push(Work { launches, bytes: first.bytes + weight, ..to_input });
        }
        Op { name: format!("gradients {name}"), works }
    }

    fn backward(&self) -> Vec<Op> {
        let (heads, (activation, wide)) = (self.model.n_head as u64, self.activation());
        let (n, d, every) = (self.n, self.d, self.every());
        let [qkv, out, up, down] =
            self.maps().map(|(name, inputs, outputs)| self.gradients(name, inputs, outputs));
        let norms = self.norms() * self.parts;
        let parts = 4 * n.div_ceil(NORM_ROWS) * d;
        let turned = if self.model.qk_norm { 6 } else { 4 };
        let rope = format!("rope_backward_{}", self.h);
        let distinct = n.min(self.model.vocab_size as u64);
        vec![
            down,
            Op::memory(format!("{activation}_backward"), every, 2 * n * (2 * wide + self.ff)),
            up,
            Op::memory(self.norm_name("backward"), norms, 8 * n * d + parts),
            Op::memory("sum_parts", norms, parts + 8 * d),
            out,
            Op::memory(format!("attention_delta_{}", self.h), every, n * 4 * (self.q + heads)),
            self.attention("attention_keys", 4 * self.q + 8 * self.k + 8 * heads, 8),
            self.attention("attention_queries", 6 * self.q + 4 * self.k + 8 * heads, 6),
            Op::memory(rope, every, turned * n * (self.q + self.k)),
            qkv,
            Op::memory("embedding_backward", self.parts, 2 * n * d + 8 * distinct * d),
        ]
    }

    fn update(&self, optimizer: Optimizer) -> Vec<Op> {
        let all = self.model.parameter_count();
        let mut ops = vec![Op::memory("square_sums", 1, 4 * all)];
        let matrices = self.model.block_matrices();
        let in_blocks = matrices.iter().map(|(_, [a, b])| (a * b) as u64).sum::<u64>();
        let moved = match optimizer {
            Optimizer::AdamW => all,
            Optimizer::Muon => {
                let moved = self.layers * in_blocks;
                ops.push(Op::memory("muon_momentum", 1, 12 * moved));
                ops.push(Op::memory("muon_scale", 1, 10 * moved));
                let rounds = matrices.iter().flat_map(|(_, dims)| rounds(self.layers, *dims));
                ops.push(Op { name: "products of Muon".into(), works: rounds.collect() });
                ops.push(Op::memory("muon_update", 1, 12 * moved));
                all - moved
            }
        };
        ops.push(Op::memory("adamw", 1, 30 * moved));
        ops
    }
}

/// Muon's rounds for one matrix of each layer: A = x·xᵀ, b·A + c·A², that times x + a·x.
fn rounds(layers: u64, [rows, columns]: [usize; 2]) -> [Work; 3] {
    const ROUNDS: u64 = 5;
    let (m, n) = (rows.min(columns) as u64, rows.max(columns) as u64);
    let launches = ROUNDS * layers;
    let square = 2 * m * m * n;
    [
        Work { launches, bytes: 2 * (m * n + m * m), operations: square },
        Work { launches, bytes: 2 * 3 * m * m, operations: 2 * m * m * m },
        Work { launches, bytes: 2 * (m * m + 3 * m * n), operations: square },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 layers of width 128 with two heads of 64, feed-forward 256, vocabulary 512: 2 rows of 64.
    fn model() -> ModelConfig {
        ModelConfig {
            vocab_size: 512,
            d_model: 128,
            n_layer: 2,
            n_head: 2,
            n_kv_head: 2,
            d_ff: 256,
            ..ModelConfig::default()
        }
    }
    const BATCH: Batch = Batch { rows: 2, sequence: 64, parts: 1 };

    fn op(ops: &[Op], name: &str) -> (u64, u64, u64) {
        let op = ops.iter().find(|op| op.name == name).unwrap_or_else(|| panic!("no {name}"));
        (op.launches(), op.bytes(), op.operations())
    }

    #[test]
    fn a_small_step_has_the_bytes_and_operations_that_a_pencil_gives() {
        let ops = ops(&model(), BATCH, Optimizer::AdamW).unwrap();
        // 128 tokens of 128 elements are 16,384 elements.
        assert_eq!(op(&ops, "embedding_forward"), (1, 4 * 16_384, 0));
        assert_eq!(op(&ops, "rms_norm_forward_1024"), (5, (4 + 4 * 8) * 16_384, 0));
        // [128, 128] · [128, 384]: 16,384 + 49,152 + 49,152 elements, twice.
        assert_eq!(op(&ops, "product qkv"), (2, 2 * 229_376, 2 * 12_582_912));
        assert_eq!(op(&ops, "rope_forward_64"), (2, 2 * 131_072, 0));
        // q, k, v and out of 128 elements and two log-sums a token; 2 · 2 · 2,080 pairs.
        assert_eq!(op(&ops, "attention_forward_64"), (2, 2 * 132_096, 2 * 4 * 64 * 8_320));
        assert_eq!(op(&ops, "swiglu_forward"), (2, 2 * 6 * 32_768, 0));
        assert_eq!(op(&ops, "swiglu_backward"), (2, 2 * 10 * 32_768, 0));
        assert_eq!(op(&ops, "cross_entropy_rows"), (1, 6 * 65_536, 0));
        // dX reads and writes as the product does, dW writes 512 · 128 floats.
        let (to_hidden, to_weight) = (294_912, 163_840 + 262_144);
        assert_eq!(op(&ops, "its gradients"), (2, to_hidden + to_weight, 4 * 8_388_608));
        assert_eq!(op(&ops, "attention_keys_64"), (2, 2 * 198_656, 2 * 8 * 64 * 8_320));
        assert_eq!(op(&ops, "attention_queries_64"), (2, 2 * 165_888, 2 * 6 * 64 * 8_320));
        // 5 norms: 8 bytes an element, and two rows of 128 sums.
        assert_eq!(op(&ops, "rms_norm_backward_1024"), (5, 5 * (131_072 + 1024), 0));
        let parameters = 512 * 128 + 2 * (4 * 16_384 + 3 * 32_768 + 256) + 128;
        assert_eq!(op(&ops, "square_sums").1, 4 * parameters);
        assert_eq!(op(&ops, "adamw").1, 30 * parameters);
    }

    #[test]
    fn products_add_up_to_six_operations_a_weight_and_token() {
        let ops = ops(&model(), BATCH, Optimizer::AdamW).unwrap();
        let products = ops.iter().filter(|op| !op.name.starts_with("attention_"));
        let weights = 512 * 128 + 2 * (4 * 16_384 + 3 * 32_768);
        assert_eq!(products.map(Op::operations).sum::<u64>(), 6 * weights * 128);
    }

    #[test]
    fn micro_batches_add_weight_gradients_and_windows_take_pairs_away() {
        let name = "gradients qkv";
        let ops_of = |model: &ModelConfig, parts| {
            ops(model, Batch { parts, ..BATCH }, Optimizer::AdamW).unwrap()
        };
        let [one, two] = [1, 2].map(|parts| op(&ops_of(&model(), parts), name));
        assert_eq!((one.0, two.0, two.2), (4, 8, 2 * one.2));
        assert_eq!(two.1, 2 * one.1 + 2 * 4 * 384 * 128); // read once more, in two layers
        let windowed = ModelConfig { window: 16, ..model() };
        let found = op(&ops_of(&windowed, 1), "attention_forward_64").2;
        assert_eq!(found, 2 * 4 * 64 * 2 * 2 * (16 * 17 / 2 + 48 * 16));
    }

    #[test]
    fn muon_moves_the_blocks_and_adamw_the_rest() {
        let ops = ops(&model(), BATCH, Optimizer::Muon).unwrap();
        let moved = 2 * (4 * 16_384 + 3 * 32_768);
        assert_eq!(op(&ops, "muon_momentum").1 + op(&ops, "muon_scale").1, 22 * moved);
        assert_eq!(op(&ops, "muon_update").1, 12 * moved);
        assert_eq!(op(&ops, "adamw").1, 30 * (512 * 128 + 2 * 256 + 128));
        // Of a square of 128: 5 · (4 + 2) · 128³; of [256, 128]: 5 · (4 · 2 + 2) · 128³.
        let cube = 128 * 128 * 128;
        let expected = 2 * (4 * 5 * 6 * cube + 3 * 5 * 10 * cube);
        assert_eq!(op(&ops, "products of Muon"), (2 * 7 * 15, expected_bytes(), expected));
        fn expected_bytes() -> u64 {
            let (square, wide) = (128 * 128, 256 * 128);
            let of = |x: u64| 2 * ((x + square) + 3 * square + (square + 3 * x));
            2 * 5 * (4 * of(square) + 3 * of(wide))
        }
    }

    #[test]
    fn what_no_kernel_computes_is_named() {
        let cases = [
            (ModelConfig { norm: Norm::LayerNorm, ..model() }, "LayerNorm"),
            (ModelConfig { activation: Activation::Gelu, ..model() }, "GELU"),
            (ModelConfig { n_head: 4, n_kv_head: 4, ..model() }, "32 elements"),
        ];
        for (model, what) in cases {
            let error = ops(&model, BATCH, Optimizer::AdamW).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    /// The formulas here are those that the kernels' heads state.
    #[test]
    fn the_heads_of_the_kernels_state_the_same_bytes() {
        macro_rules! head {
            ($file:literal, $($sentence:literal),+) => {
                let text = include_str!(concat!("../../../kernels/", $file));
                let lines: Vec<&str> =
                    text.lines().map(|line| line.trim_start_matches("// ")).collect();
                let head = lines.join(" ");
                $(assert!(head.contains($sentence), "{}: {}", $file, $sentence);)+
            };
        }
        head!("rms_norm.cu", "forward 8·d, backward 8·d (each 4·d less", "4·d / 64");
        head!("rope.cu", "4·h (6·h backward with a norm)");
        head!("activation.cu", "forward 6 (relu2 4), backward 10 (relu2 6)");
        head!("cross_entropy.cu", "Bytes a logit: 6");
        head!("embedding.cu", "bytes a token 4·d", "bytes a token 2·d, an id 8·d");
        head!("optimizer.cu", "norm 4; AdamW reads 16, writes 12 and 2");
        head!("muon.cu", "12, then 10, then muon_update 12");
        head!("dropout.cu", "Bytes an element: 4, a token: 8");
        head!("attention_forward.cu", "Operations: 4·H a visible pair");
        head!("attention_backward.cu", "14·H operations a visible pair");
    }
}
