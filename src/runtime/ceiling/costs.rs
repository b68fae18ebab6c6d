//! Bytes and operations of one training step on a GPU, by kernel and product.
//!
//! In → [`ModelConfig`], [`Batch`], [`Optimizer`]; out → [`Op`]s in the order of the step, each
//! with the launches that training makes: a test counts them on the host's machine. **Method.**
//! Bytes are those stated in the heads of `kernels/*.cu`: bf16 activations, fp32 gradients of
//! weights and moments; what these heads say is in a cache is not counted. A product counts each
//! operand once, 2 bytes an element, including a gradient that it adds to; the gradient of a weight
//! is read and written in fp32 by each part of a step. Operations are those on the tensor cores:
//! 2·m·n·k for a product, and for attention those of its kernels over visible pairs, in rows of one
//! document. The head runs in chunks of [`CHUNK`] tokens. **Invariant.** Pure, in integers; no
//! figure of a GPU is used here.

use serde::Serialize;

use crate::base::error::Result;
use crate::runtime::cuda::table::{BIAS_BLOCK, CHUNK as PIECE, NORM_ROWS, PLACED, SQUARES};
use crate::runtime::model::{
    ModelConfig, check_kernels,
    knobs::{Activation, Bias, Norm, Positions},
};
use crate::runtime::ops::cross_entropy;

/// Tokens whose logits exist at once.
pub const CHUNK: usize = cross_entropy::DEVICE_CHUNK;

/// How a step goes through its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Batch {
    /// Rows that go through the model at once.
    pub rows: usize,
    /// Tokens a row.
    pub sequence: usize,
    /// Parts of this size in a step.
    pub parts: usize,
}

impl Batch {
    /// Tokens that go through the model at once.
    pub fn tokens(&self) -> u64 {
        self.rows as u64 * self.sequence as u64
    }
}

/// The optimizer of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    AdamW,
    /// Muon for the matrices of the blocks, AdamW for the rest.
    Muon,
}

/// Launches of equal cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub launches: u64,
    /// Bytes that one launch moves.
    pub bytes: u64,
    /// Operations of one launch on the tensor cores.
    pub operations: u64,
}

/// A kernel or a product, with all its launches of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    pub name: String,
    pub works: Vec<Work>,
}

impl Op {
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

/// The sizes in the formulas, and the ops counted so far.
struct Step<'a> {
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
    ops: Vec<Op>,
}

/// Everything that one step launches.
///
/// # Errors
/// Config: no kernel computes this model; the message names the key.
pub fn ops(model: &ModelConfig, batch: Batch, optimizer: Optimizer) -> Result<Vec<Op>> {
    check_kernels(model)?;
    let (h, wide) = (model.head_dim() as u64, |number: usize| number as u64);
    let mut step = Step {
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
        ops: Vec::new(),
    };
    step.forward();
    step.head();
    step.backward();
    step.update(optimizer);
    Ok(step.ops)
}

/// A product [m, k] · [k, n] with bf16 operands and result.
fn product(launches: u64, m: u64, n: u64, k: u64) -> Work {
    Work { launches, bytes: 2 * (m * k + k * n + m * n), operations: 2 * m * n * k }
}

/// A linear map of a block: its row in the table, inputs, outputs, whether it has a bias.
type Map = (&'static str, u64, u64, bool);

impl Step<'_> {
    fn work(&mut self, name: impl Into<String>, work: Work) {
        let name = name.into();
        if work.launches == 0 {
            return;
        }
        match self.ops.iter_mut().find(|op| op.name == name) {
            Some(op) => op.works.push(work),
            None => self.ops.push(Op { name, works: vec![work] }),
        }
    }

    fn kernel(&mut self, name: impl Into<String>, launches: u64, bytes: u64) {
        self.work(name, Work { launches, bytes, operations: 0 });
    }

    /// Launches of a kernel that each block launches once.
    fn every(&self) -> u64 {
        self.layers * self.parts
    }

    /// Norms of the stream in all blocks.
    fn norms(&self) -> u64 {
        self.every() * if self.model.parallel { 1 } else { 2 }
    }

    /// The kernels' name of the activation, and its inputs.
    fn activation(&self) -> (&'static str, u64) {
        match self.model.activation {
            Activation::SwiGlu => ("swiglu", 2),
            Activation::GeGlu => ("geglu", 2),
            Activation::Relu2 => ("relu2", 1),
            Activation::Gelu => ("gelu", 1),
        }
    }

    /// The linear maps of a block, in the order of the forward pass.
    fn maps(&self) -> Vec<Map> {
        let (d, q, k, ff) = (self.d, self.q, self.k, self.ff);
        let (all, of_qkv) = (self.model.bias == Bias::All, self.model.bias != Bias::None);
        let mut maps: Vec<Map> = [q, k, k].map(|wide| ("qkv", d, wide, of_qkv)).to_vec();
        maps.push(("attention out", q, d, all));
        let (_, gates) = self.activation();
        maps.extend((0..gates).map(|_| ("feed-forward in", d, ff, all)));
        maps.push(("feed-forward out", ff, d, all));
        maps
    }

    /// Pairs of a query and a key that it sees, for one head, over all layers and rows at once.
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

    /// A pass of attention: `bytes` for each token, `operations` for each visible pair and element
    /// of a head.
    fn attention(&mut self, name: &str, bytes: u64, operations: u64) {
        // Layers may have windows of their own: their mean keeps the sum.
        let pairs = self.pairs() * self.model.n_head as u64 / self.layers;
        let work = Work {
            launches: self.every(),
            bytes: bytes * self.n,
            operations: operations * self.h * pairs,
        };
        self.work(format!("{name}_{}", self.h), work);
    }

    /// A pass of a norm over `rows` of `d` elements, `bytes` for each element; backward includes
    /// the sums of its weight.
    fn norm(&mut self, kind: Norm, way: &str, launches: u64, (rows, d): (u64, u64), bytes: u64) {
        let widest = [1024, 2048, 4096].into_iter().find(|widest| d <= *widest).unwrap_or(4096);
        let kind = if kind == Norm::LayerNorm { "layer" } else { "rms" };
        let parts = if way == "backward" { 4 * rows.div_ceil(NORM_ROWS as u64) * d } else { 0 };
        let name = format!("{kind}_norm_{way}_{widest}");
        self.kernel(name, launches, bytes * rows * d + parts);
        if parts > 0 {
            self.kernel("sum_parts", launches, parts + 8 * d);
        }
    }

    fn bias_backward(&mut self, launches: u64, width: u64) {
        let parts = 4 * self.n.div_ceil(BIAS_BLOCK[0] as u64) * width;
        self.kernel("bias_backward", launches, 2 * self.n * width + parts);
        self.kernel("sum_parts", launches, parts + 8 * width);
    }

    /// The gradients of queries and keys before rotation; with norms also those of their weights.
    fn places_backward(&mut self, has_norms: bool) {
        let (n, h, wide, every) = (self.n, self.h, self.q + self.k, self.every());
        let name = format!("rope_backward_{h}");
        if !has_norms {
            return self.kernel(name, every, 4 * n * wide);
        }
        let parts = [self.q, self.k].map(|width| 4 * (n * width).div_ceil(PLACED as u64) * h);
        self.kernel(name, every, 6 * n * wide + parts[0] + parts[1]);
        parts.into_iter().for_each(|parts| self.kernel("sum_parts", every, parts + 8 * h));
    }

    fn has_norm_biases(&self) -> bool {
        self.model.norm == Norm::LayerNorm && self.model.bias == Bias::All
    }

    /// What each pass does to the stream beside adding branches: scaling and dropout.
    fn along(&mut self) {
        let (shape, elements) = (self.model, self.n * self.d);
        let branches = 2 * self.every();
        if shape.scale_embedding {
            self.kernel("combine_two", self.parts, 4 * elements);
        }
        if !matches!(shape.residual_scale, 0.0 | 1.0) {
            self.kernel("combine_two", branches, 4 * elements);
        }
        if shape.width_ratio() != 1.0 {
            self.kernel("combine_two", self.parts, 4 * elements);
        }
        if shape.dropout > 0.0 {
            self.kernel("dropout_apply", branches + self.parts, 4 * elements + 8 * self.n);
        }
    }

    fn forward(&mut self) {
        let (n, d, every, parts) = (self.n, self.d, self.every(), self.parts);
        let (norm, learned) = (self.model.norm, self.model.positions == Positions::Learned);
        self.kernel("embedding_forward", parts * if learned { 2 } else { 1 }, 4 * n * d);
        // Both branches, and the table of positions, are added to the stream; a norm that is the
        // first to read such a sum computes it.
        let sums = 2 * every + if learned { parts } else { 0 };
        let is_embedded = learned && self.model.dropout == 0.0;
        let made = self.norms() + if is_embedded { parts } else { 0 };
        let norms = self.norms() + parts;
        self.norm(norm, "forward", made, (n, d), 8);
        self.norm(norm, "forward", norms - made, (n, d), 4);
        self.kernel("combine_two", sums - made, 6 * n * d);
        // Norms and products add their biases.
        for (name, inputs, outputs, _) in self.maps() {
            self.work(format!("product {name}"), product(every, n, outputs, inputs));
        }
        if !learned {
            self.kernel(format!("rope_forward_{}", self.h), every, 4 * n * (self.q + self.k));
        } else if self.model.qk_norm {
            for width in [self.q, self.k] {
                self.norm(Norm::RmsNorm, "forward", every, (n * width / self.h, self.h), 4);
            }
        }
        let log_sums = self.model.n_head as u64;
        self.attention("attention_forward", 4 * (self.q + self.k + log_sums), 4);
        let (activation, inputs) = self.activation();
        let name = format!("{activation}_forward");
        self.kernel(name, every, 2 * n * (inputs + 1) * self.ff);
        self.along();
    }

    /// The head, its loss and its gradients, chunk by chunk.
    fn head(&mut self) {
        let vocabulary = self.model.padded_vocab() as u64;
        let chunks = self.n.div_ceil(CHUNK as u64);
        let rows = self.n / chunks;
        let launches = chunks * self.parts;
        self.work("product head", product(launches, rows, vocabulary, self.d));
        self.kernel("cross_entropy_rows", launches, 6 * rows * vocabulary);
        let to_hidden = product(launches, rows, self.d, vocabulary);
        let bytes = 2 * rows * (self.d + vocabulary) + 8 * self.d * vocabulary;
        self.work("its gradients", Work { bytes, ..to_hidden });
        self.work("its gradients", to_hidden);
    }

    fn backward(&mut self) {
        let (n, d, every, parts) = (self.n, self.d, self.every(), self.parts);
        let (norm, learned) = (self.model.norm, self.model.positions == Positions::Learned);
        // Only the final norm reads the stream behind the blocks; before every other norm the
        // stream already has a gradient to add to.
        self.norm(norm, "backward", parts, (n, d), 6);
        self.norm(norm, "backward", self.norms(), (n, d), 8);
        if self.has_norm_biases() {
            self.bias_backward(self.norms() + parts, d);
        }
        let mut read = Vec::new();
        for (name, inputs, outputs, has_bias) in self.maps().into_iter().rev() {
            let to_input = product(every, n, inputs, outputs);
            let bytes = 2 * n * (inputs + outputs) + 8 * inputs * outputs;
            self.work(format!("gradients {name}"), Work { bytes, ..to_input });
            // Maps that share an input add to the gradient from the maps before them.
            let of = match (name, self.model.parallel) {
                ("qkv" | "feed-forward in", true) => "the one norm",
                _ => name,
            };
            let added = if read.contains(&of) { 2 * n * inputs } else { 0 };
            read.push(of);
            let bytes = to_input.bytes + added;
            self.work(format!("gradients {name}"), Work { bytes, ..to_input });
            if has_bias {
                self.bias_backward(every, outputs);
            }
        }
        let (activation, inputs) = self.activation();
        let name = format!("{activation}_backward");
        self.kernel(name, every, 2 * n * (2 * inputs + 1) * self.ff);
        let log_sums = self.model.n_head as u64;
        let (q, k, name) = (self.q, self.k, format!("attention_delta_{}", self.h));
        self.kernel(name, every, n * 4 * (q + log_sums));
        self.attention("attention_keys", 4 * q + 8 * k + 8 * log_sums, 8);
        self.attention("attention_queries", 6 * q + 4 * k + 8 * log_sums, 6);
        match (learned, self.model.qk_norm) {
            (false, has_norms) => self.places_backward(has_norms),
            (true, false) => (),
            (true, true) => [q, k].into_iter().for_each(|width| {
                self.norm(Norm::RmsNorm, "backward", every, (n * width / self.h, self.h), 6);
            }),
        }
        let distinct = n.min(self.model.vocab_size as u64);
        self.kernel("embedding_backward", parts, 2 * n * d + 8 * distinct * d);
        if learned {
            let distinct = self.batch.sequence as u64;
            self.kernel("embedding_backward", parts, 2 * n * d + 8 * distinct * d);
        }
        self.along();
    }

    fn update(&mut self, optimizer: Optimizer) {
        let all = self.model.parameter_count();
        let matrices = self.model.block_matrices();
        let in_blocks: u64 = matrices.iter().map(|(_, [a, b])| (a * b) as u64).sum();
        let in_blocks = self.layers * in_blocks;
        self.kernel("gradients, cleared", 1, 4 * all);
        self.kernel("square_sums", 1, 4 * all);
        self.kernel("clip_factor", 1, all.div_ceil(SQUARES as u64) * 8);
        match optimizer {
            // Matrices of the blocks have a rate of their own under muP.
            Optimizer::AdamW if self.model.width_ratio() != 1.0 => {
                self.kernel("adamw", 1, 30 * in_blocks);
                self.kernel("adamw", 1, 30 * (all - in_blocks));
            }
            Optimizer::AdamW => self.kernel("adamw", 1, 30 * all),
            Optimizer::Muon => {
                self.kernel("muon_momentum", 1, 12 * in_blocks);
                self.kernel("muon_inverses", 1, in_blocks.div_ceil(PIECE as u64) * 8);
                self.kernel("muon_scale", 1, 10 * in_blocks);
                for (_, dims) in matrices {
                    for work in rounds(self.layers, dims) {
                        self.work("products of Muon", work);
                    }
                    // After five rounds, an odd number, the result is in scratch and copied back.
                    self.kernel("combine_two", self.layers, 4 * (dims[0] * dims[1]) as u64);
                }
                self.kernel("muon_update", 1, 12 * in_blocks);
                self.kernel("adamw", 1, 30 * (all - in_blocks));
            }
        }
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
    use crate::runtime::model::knobs::Dtype;

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
        // Two branches a layer are added to the stream, each in the norm behind it; the first norm
        // adds none.
        assert_eq!(op(&ops, "rms_norm_forward_1024"), (5, (4 * 8 + 4) * 16_384, 0));
        assert!(ops.iter().all(|op| op.name != "combine_two"));
        // [128, 128] · [128, 128] three times a layer: three times 16,384 elements, twice.
        assert_eq!(op(&ops, "product qkv"), (6, 6 * 98_304, 6 * 4_194_304));
        assert_eq!(op(&ops, "rope_forward_64"), (2, 2 * 4 * 2 * 16_384, 0));
        assert_eq!(op(&ops, "rope_backward_64"), (2, 2 * 4 * 2 * 16_384, 0));
        // q, k, v and out of 128 elements and two log-sums a token; 2 · 2 · 2,080 pairs.
        assert_eq!(op(&ops, "attention_forward_64"), (2, 2 * 132_096, 2 * 4 * 64 * 8_320));
        assert_eq!(op(&ops, "swiglu_forward"), (2, 2 * 6 * 32_768, 0));
        assert_eq!(op(&ops, "swiglu_backward"), (2, 2 * 10 * 32_768, 0));
        assert_eq!(op(&ops, "cross_entropy_rows"), (1, 6 * 65_536, 0));
        // dX reads and writes as the product does, dW reads and writes 512 · 128 floats.
        let (to_hidden, to_weight) = (294_912, 163_840 + 2 * 262_144);
        assert_eq!(op(&ops, "its gradients"), (2, to_hidden + to_weight, 4 * 8_388_608));
        assert_eq!(op(&ops, "attention_keys_64"), (2, 2 * 198_656, 2 * 8 * 64 * 8_320));
        assert_eq!(op(&ops, "attention_queries_64"), (2, 2 * 165_888, 2 * 6 * 64 * 8_320));
        // 5 norms: 8 bytes an element, 6 for the last one, and two rows of 128 sums each.
        assert_eq!(op(&ops, "rms_norm_backward_1024"), (5, 5 * (131_072 + 1024) - 32_768, 0));
        let parameters = 512 * 128 + 2 * (4 * 16_384 + 3 * 32_768 + 256) + 128;
        assert_eq!(op(&ops, "square_sums").1, 4 * parameters);
        assert_eq!(op(&ops, "adamw"), (1, 30 * parameters, 0));
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
        assert_eq!((one.0, two.0, two.2), (12, 24, 2 * one.2));
        // The gradient of a weight is read and written by each part; two of three maps add to the
        // gradient of their input.
        let to_weight = 2 * (16_384 + 16_384) + 8 * 128 * 128;
        assert_eq!(one.1, 2 * (3 * (98_304 + to_weight) + 2 * 2 * 16_384));
        assert_eq!(two.1, 2 * one.1);
        let windowed = ModelConfig { window: 16, ..model() };
        let found = op(&ops_of(&windowed, 1), "attention_forward_64").2;
        assert_eq!(found, 2 * 4 * 64 * 2 * 2 * (16 * 17 / 2 + 48 * 16));
    }

    #[test]
    fn a_head_is_read_once_each_way_where_it_is_normed_and_turned() {
        let normed = ModelConfig { qk_norm: true, ..model() };
        let ops = ops(&normed, BATCH, Optimizer::AdamW).unwrap();
        assert_eq!(op(&ops, "rope_forward_64"), (2, 2 * 4 * 2 * 16_384, 0));
        // 6 bytes an element of queries and of keys, and a row of 64 sums for 16,384 of them.
        assert_eq!(op(&ops, "rope_backward_64"), (2, 2 * 2 * (6 * 16_384 + 256), 0));
        // Two rows of 128 sums a norm of the stream; one of 64 for queries, one for keys.
        let sums = 5 * (1024 + 8 * 128) + 2 * 2 * (256 + 8 * 64);
        assert_eq!(op(&ops, "sum_parts"), (5 + 4, sums, 0));
        assert_eq!(op(&ops, "rms_norm_backward_1024").0, 5);
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
            (ModelConfig { dtype: Dtype::F32, ..model() }, "`model.dtype`"),
            (ModelConfig { d_ff: 100, ..model() }, "`model.d_ff`"),
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
        let without = "(4·d without the residual), backward 8·d (6·d without gh)";
        head!("rms_norm.cu", "Bytes a row: forward 8·d", "4·d / 64");
        assert!(include_str!("../../../kernels/rms_norm.cu").contains(without));
        head!("layer_norm.cu", "Bytes a row: forward 8·d (4·d without the residual), backward 8·d");
        head!("bias.cu", "bytes an element 4", "bytes an element 2, and 4 / 128");
        head!("rope.cu", "4·h (6·h backward with a norm)");
        head!("activation.cu", "forward 6, backward 10; without a gate 4 and 6");
        head!("cross_entropy.cu", "Bytes a logit: 6");
        head!("embedding.cu", "bytes a token 4·d", "bytes a token 2·d, an id 8·d");
        head!("optimizer.cu", "norm 4; AdamW reads 16, writes 12 and 2");
        head!("muon.cu", "12, then 10, then muon_update 12");
        head!("dropout.cu", "Bytes an element: 4, a token: 8");
        head!("attention_forward.cu", "Operations: 4·H a visible pair");
        head!("attention_backward.cu", "14·H operations a visible pair");
    }
}
