//! The shape of a decoder, and what follows from it: parameters, operations.
//!
//! In → the `[model]` table of a TOML file; out → [`ModelConfig`]. `configs/model/` holds the
//! shapes this project measures.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};

/// The embedding's rows are a multiple of this, so that products with it are aligned on GPUs.
const VOCABULARY_STEP: usize = 128;

/// Shape of a Llama-style decoder. The defaults are the 3-million-parameter shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Tokens of the tokenizer, special ones included; 0 until the data's tokenizer is known.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of decoder blocks.
    pub n_layer: usize,
    /// Query heads; each has d_model / n_head elements.
    pub n_head: usize,
    /// Key and value heads, a divisor of n_head; 0 means as many as query heads.
    pub n_kv_head: usize,
    /// Width of the feed-forward layer.
    pub d_ff: usize,
    /// Base of the rotary position embedding (10,000 in Llama 1 and 2).
    pub rope_theta: f64,
    /// ε inside the root of RMSNorm (1e-5 in Llama 2).
    pub norm_eps: f64,
    /// Whether the output head is the embedding itself.
    pub tied: bool,
    /// Standard deviation of the initial weights (0.02 in GPT-2 and Llama); projections into the
    /// residual stream get it over √(2·n_layer), as in GPT-2.
    pub init_std: f64,
}

impl Default for ModelConfig {
    fn default() -> ModelConfig {
        ModelConfig {
            vocab_size: 0,
            d_model: 192,
            n_layer: 6,
            n_head: 6,
            n_kv_head: 3,
            d_ff: 512,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
            tied: true,
            init_std: 0.02,
        }
    }
}

impl ModelConfig {
    /// Refuses shapes that cannot be computed, naming the key. The upper limits are far beyond any
    /// machine; below them no count in this file overflows.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size, u32::MAX as usize),
            ("d_model", self.d_model, 1 << 20),
            ("n_layer", self.n_layer, 10_000),
            ("n_head", self.n_head, 1 << 20),
            ("d_ff", self.d_ff, 1 << 24),
        ];
        for (name, size, largest) in sizes {
            if size == 0 || size > largest {
                return Err(Error::config(format!(
                    "`model.{name}` must be 1 to {largest}, found {size}"
                )));
            }
        }
        if !self.d_model.is_multiple_of(2 * self.n_head) {
            return Err(Error::config(format!(
                "`model.d_model` must be an even multiple of `model.n_head`, found {} and {}",
                self.d_model, self.n_head
            ))
            .with_hint("rotary embedding turns the elements of a head in pairs"));
        }
        if !self.n_head.is_multiple_of(self.kv_heads()) {
            return Err(Error::config(format!(
                "`model.n_kv_head` must divide `model.n_head`, found {} and {}",
                self.n_kv_head, self.n_head
            )));
        }
        let numbers = [
            ("rope_theta", self.rope_theta, 1.0, 1e12),
            ("norm_eps", self.norm_eps, 0.0, 1.0),
            ("init_std", self.init_std, 0.0, 100.0),
        ];
        for (name, number, above, largest) in numbers {
            if !(number > above && number <= largest) {
                return Err(Error::config(format!(
                    "`model.{name}` must be above {above}, at most {largest}, found {number}"
                )));
            }
        }
        Ok(())
    }

    /// Rows of the embedding. Those from `vocab_size` on are never in a softmax, never emitted and
    /// get no gradient.
    pub fn padded_vocab(&self) -> usize {
        self.vocab_size.next_multiple_of(VOCABULARY_STEP)
    }

    /// Key and value heads.
    pub fn kv_heads(&self) -> usize {
        if self.n_kv_head == 0 { self.n_head } else { self.n_kv_head }
    }

    /// Elements of one head.
    pub fn head_dim(&self) -> usize {
        self.d_model / self.n_head
    }

    /// Shapes of one block's matrices, [outputs, inputs], by name inside the block.
    pub fn block_matrices(&self) -> [(&'static str, [usize; 2]); 7] {
        let (d, key_width) = (self.d_model, self.kv_heads() * self.head_dim());
        [
            ("self_attn.q_proj", [d, d]),
            ("self_attn.k_proj", [key_width, d]),
            ("self_attn.v_proj", [key_width, d]),
            ("self_attn.o_proj", [d, d]),
            ("mlp.gate_proj", [self.d_ff, d]),
            ("mlp.up_proj", [self.d_ff, d]),
            ("mlp.down_proj", [d, self.d_ff]),
        ]
    }

    fn block_elements(&self) -> u64 {
        self.block_matrices().iter().map(|(_, [rows, columns])| (rows * columns) as u64).sum()
    }

    /// All trainable numbers: padded embedding rows included, a tied head counted once.
    pub fn parameter_count(&self) -> u64 {
        let table = (self.padded_vocab() * self.d_model) as u64;
        let tables = if self.tied { table } else { 2 * table };
        let norms = ((2 * self.n_layer + 1) * self.d_model) as u64;
        tables + self.n_layer as u64 * self.block_elements() + norms
    }

    /// Operations of one training step a token, forward and backward, as PaLM counts them
    /// (Chowdhery et al., 2022, appendix B): 6 a matrix element, and attention over the whole
    /// sequence, 12·n_layer·d_model·sequence.
    pub fn flops_per_token(&self, sequence: usize) -> u64 {
        let head = (self.vocab_size * self.d_model) as u64;
        let matrices = self.n_layer as u64 * self.block_elements() + head;
        6 * matrices + (12 * self.n_layer * self.d_model * sequence) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> ModelConfig {
        ModelConfig { vocab_size: 8192, ..ModelConfig::default() }
    }

    #[test]
    fn the_counts_are_those_of_the_torch_baseline() {
        // bench/baseline_torch.py, size 3m: vocab 8192, d 192, 6 layers, 6/3 heads, d_ff 512.
        let config = small();
        let block = 192 * 192 * 2 + 2 * 96 * 192 + 3 * 192 * 512;
        assert_eq!(config.parameter_count(), 8192 * 192 + 6 * block + 13 * 192);
        let attention = 12 * 6 * 192 * 256;
        assert_eq!(config.flops_per_token(256), 6 * (6 * block + 8192 * 192) + attention);
    }

    #[test]
    fn padding_reaches_the_next_multiple_of_128() {
        assert_eq!(small().padded_vocab(), 8192);
        assert_eq!(ModelConfig { vocab_size: 8193, ..small() }.padded_vocab(), 8320);
    }

    #[test]
    fn impossible_shapes_name_their_key() {
        let bad = [
            (ModelConfig::default(), "vocab_size"),
            (ModelConfig { n_head: 5, ..small() }, "n_head"),
            (ModelConfig { n_kv_head: 4, ..small() }, "n_kv_head"),
            (ModelConfig { d_ff: 0, ..small() }, "d_ff"),
            (ModelConfig { norm_eps: f64::NAN, ..small() }, "norm_eps"),
            (ModelConfig { init_std: f64::INFINITY, ..small() }, "init_std"),
            (ModelConfig { d_model: usize::MAX, ..small() }, "d_model"),
            (ModelConfig { n_head: usize::MAX, ..small() }, "n_head"),
            (ModelConfig { n_layer: 1 << 40, ..small() }, "n_layer"),
        ];
        for (config, key) in bad {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
        assert!(small().validate().is_ok());
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<ModelConfig>("d_modell = 3").is_err());
        assert_eq!(toml::from_str::<ModelConfig>("d_ff = 3").unwrap().d_ff, 3);
    }

    #[test]
    fn shipped_shapes_have_the_size_in_their_name() {
        #[derive(Deserialize)]
        struct File {
            model: ModelConfig,
        }
        let shapes = [
            (include_str!("../../../configs/model/3m.toml"), 8192, 4.0),
            (include_str!("../../../configs/model/14m.toml"), 8192, 13.8),
            (include_str!("../../../configs/model/35m.toml"), 16384, 34.1),
            (include_str!("../../../configs/model/124m.toml"), 50304, 123.6),
        ];
        for (text, vocab_size, millions) in shapes {
            let file: File = toml::from_str(text).unwrap();
            let config = ModelConfig { vocab_size, ..file.model };
            config.validate().unwrap();
            let found = config.parameter_count() as f64 / 1e6;
            assert!((found - millions).abs() < 0.1, "{found} million, expected {millions}");
        }
    }
}
