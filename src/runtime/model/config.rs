//! The shape of a decoder: the table `[model]`, and the checks of it.
//!
//! In → the `[model]` table of a TOML file; out → [`ModelConfig`]. `configs/model/` holds the
//! shapes this project measures. The defaults are Llama's. A key at its default is not written,
//! the ten basic keys excepted, so a configuration keeps its bytes, and a run its fingerprint, when
//! keys are added later.

use serde::{Deserialize, Serialize};

use super::knobs::{Activation, Bias, Dtype, Init, Norm, Positions};
use crate::base::error::{Error, Result};
use crate::base::size::Count;
use crate::runtime::ops::{Gain, Head, RopeScaling};

/// The embedding's rows are a multiple of this, so that products with it are aligned on GPUs.
const VOCABULARY_STEP: usize = 128;

/// Shape of a decoder. The defaults are the 3-million-parameter shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Tokens of the tokenizer, special ones included; 0 until the data's tokenizer is known.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of decoder blocks.
    pub n_layer: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads, a divisor of n_head; 0 means as many as query heads.
    pub n_kv_head: usize,
    /// Width of the feed-forward layer.
    pub d_ff: usize,
    /// Base of the rotary position embedding (10,000 in Llama 1 and 2).
    pub rope_theta: f64,
    /// ε inside the root of a norm (1e-5 in Llama 2).
    pub norm_eps: f64,
    /// Whether the output head is the embedding itself.
    pub tied: bool,
    /// Standard deviation of the initial weights (0.02 in GPT-2 and Llama).
    pub init_std: f64,
    /// Elements of a head; 0: d_model / n_head.
    #[serde(skip_serializing_if = "is_default")]
    pub d_head: usize,
    /// `rmsnorm`, `layernorm`, `gemma`.
    #[serde(skip_serializing_if = "is_default")]
    pub norm: Norm,
    /// `rope`, `learned`.
    #[serde(skip_serializing_if = "is_default")]
    pub positions: Positions,
    /// `learned`: positions in the table, the most tokens a text can have.
    #[serde(skip_serializing_if = "is_default")]
    pub context: usize,
    /// `swiglu`, `geglu`, `gelu`, `relu2`.
    #[serde(skip_serializing_if = "is_default")]
    pub activation: Activation,
    /// `none`, `qkv`, `all`.
    #[serde(skip_serializing_if = "is_default")]
    pub bias: Bias,
    /// Whether each head's queries and keys are normed before their rotation (Qwen3; Henry et al.,
    /// *Query-key normalization*, 2020).
    #[serde(skip_serializing_if = "is_default")]
    pub qk_norm: bool,
    /// Whether a block's two branches read one norm of the same stream (Wang and Komatsuzaki,
    /// *GPT-J*, 2021).
    #[serde(skip_serializing_if = "is_default")]
    pub parallel: bool,
    /// Whether embeddings are multiplied by √d_model (Gemma).
    #[serde(skip_serializing_if = "is_default")]
    pub scale_embedding: bool,
    /// What each branch is multiplied by before it joins the stream; 0 means 1.
    #[serde(skip_serializing_if = "is_default")]
    pub residual_scale: f64,
    /// c of c·tanh(logit/c); 0: none (30 in Gemma 2).
    #[serde(skip_serializing_if = "is_default")]
    pub logit_softcap: f64,
    /// c of c·tanh(score/c) of attention's scores; 0: none (50 in Gemma 2).
    #[serde(skip_serializing_if = "is_default")]
    pub attention_softcap: f64,
    /// z of the term z·ln²Σe^logit in the training loss; 0: none (1e-4 in PaLM).
    #[serde(skip_serializing_if = "is_default")]
    pub z_loss: f64,
    /// Share of the embedding and of each branch that is dropped in training.
    #[serde(skip_serializing_if = "is_default")]
    pub dropout: f64,
    /// Tokens that a windowed layer sees, the token itself among them; 0: all before it.
    #[serde(skip_serializing_if = "is_default")]
    pub window: usize,
    /// Which layers are windowed: `S` for a window and `L` for the whole text, repeated from the
    /// first layer on; empty: all layers.
    #[serde(skip_serializing_if = "is_default")]
    pub window_pattern: String,
    /// `gpt2`, `llama`.
    #[serde(skip_serializing_if = "is_default")]
    pub init: Init,
    /// Whether projections into the residual stream begin at 0, so that a fresh block changes
    /// nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub zero_init_projections: bool,
    /// muP: the width at which the learning rate was found; 0: off. At another width the initial
    /// deviation of the blocks' matrices is multiplied by √(base / d_model), and their learning
    /// rate under Adam and the logits by base / d_model, so the best rate stays (Yang et al.,
    /// *Tensor Programs V*, 2022, table 8).
    #[serde(skip_serializing_if = "is_default")]
    pub mup_base_width: usize,
    /// `auto`, `f32`, `bf16`.
    #[serde(skip_serializing_if = "is_default")]
    pub dtype: Dtype,
    /// Wanted number of parameters: the width is solved for, at this depth and these proportions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit_params: Option<Count>,
    /// Slower rotations, for longer texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
            d_head: 0,
            norm: Norm::default(),
            positions: Positions::default(),
            context: 0,
            activation: Activation::default(),
            bias: Bias::default(),
            qk_norm: false,
            parallel: false,
            scale_embedding: false,
            residual_scale: 0.0,
            logit_softcap: 0.0,
            attention_softcap: 0.0,
            z_loss: 0.0,
            dropout: 0.0,
            window: 0,
            window_pattern: String::new(),
            init: Init::default(),
            zero_init_projections: false,
            mup_base_width: 0,
            dtype: Dtype::default(),
            fit_params: None,
            rope_scaling: None,
        }
    }
}

impl ModelConfig {
    /// Refuses shapes that cannot be computed, naming the key. The upper limits are far beyond any
    /// machine; below them no count of a shape overflows.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1, u32::MAX as usize),
            ("d_model", self.d_model, 1, 1 << 20),
            ("n_layer", self.n_layer, 1, 10_000),
            ("n_head", self.n_head, 1, 1 << 20),
            ("d_ff", self.d_ff, 1, 1 << 24),
            ("d_head", self.d_head, 0, 1 << 16),
            ("context", self.context, 0, 1 << 24),
            ("window", self.window, 0, 1 << 24),
            ("mup_base_width", self.mup_base_width, 0, 1 << 20),
        ];
        for (name, size, least, largest) in sizes {
            if size < least || size > largest {
                return Err(Error::config(format!(
                    "`model.{name}` must be {least} to {largest}, found {size}"
                )));
            }
        }
        self.check_heads()?;
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
        let shares = [
            ("residual_scale", self.residual_scale, 1e3),
            ("logit_softcap", self.logit_softcap, 1e6),
            ("attention_softcap", self.attention_softcap, 1e6),
            ("z_loss", self.z_loss, 1.0),
            ("dropout", self.dropout, 0.95),
        ];
        for (name, number, largest) in shares {
            if !(0.0..=largest).contains(&number) {
                return Err(Error::config(format!(
                    "`model.{name}` must be 0 to {largest}, found {number}"
                )));
            }
        }
        self.check_positions()
    }

    fn check_heads(&self) -> Result<()> {
        if self.d_head == 0 && !self.d_model.is_multiple_of(2 * self.n_head) {
            return Err(Error::config(format!(
                "`model.d_model` must be an even multiple of `model.n_head`, found {} and {}",
                self.d_model, self.n_head
            ))
            .with_hint(
                "rotary embedding turns the elements of a head in pairs; `model.d_head` sets their \
                 number by itself",
            ));
        }
        if !self.d_head.is_multiple_of(2) {
            return Err(Error::config(format!(
                "`model.d_head` must be even, found {}",
                self.d_head
            )));
        }
        if !self.n_head.is_multiple_of(self.kv_heads()) {
            return Err(Error::config(format!(
                "`model.n_kv_head` must divide `model.n_head`, found {} and {}",
                self.n_kv_head, self.n_head
            )));
        }
        Ok(())
    }

    /// Checks keys of positions and windows that depend on one another.
    fn check_positions(&self) -> Result<()> {
        let learned = self.positions == Positions::Learned;
        if learned != (self.context > 0) {
            let message = match learned {
                true => "`model.positions` is learned: `model.context` says how many",
                false => "`model.context` is of `model.positions = \"learned\"`",
            };
            return Err(Error::config(message).with_hint(
                "the table of learned positions has `model.context` rows; rotary positions have \
                 none",
            ));
        }
        if learned && self.rope_scaling.is_some() {
            return Err(Error::config("`model.rope_scaling` is of `model.positions = \"rope\"`"));
        }
        if let Some(key) = self.rope_scaling.and_then(|scaling| scaling.fault()) {
            return Err(Error::config(format!("`model.rope_scaling.{key}` is out of range"))
                .with_hint(
                    "a factor is 1 or more; of llama3 `low_frequency` is below `high_frequency`",
                ));
        }
        let letters = self.window_pattern.chars().all(|letter| "SL".contains(letter));
        if !letters || (!self.window_pattern.is_empty() && self.window == 0) {
            return Err(Error::config(format!(
                "`model.window_pattern` is \"{}\": it is made of S (a window) and L (the whole \
                 text), and needs `model.window`",
                self.window_pattern
            )));
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
        if self.d_head == 0 { self.d_model / self.n_head } else { self.d_head }
    }

    /// Tokens that block `layer` sees, the token itself among them; 0: all before it.
    pub fn window_of(&self, layer: usize) -> usize {
        let pattern = self.window_pattern.as_bytes();
        let whole = !pattern.is_empty() && pattern[layer % pattern.len()] == b'L';
        if whole { 0 } else { self.window }
    }

    /// How logits become a loss.
    pub fn head(&self) -> Head {
        let ModelConfig { vocab_size, logit_softcap, z_loss, .. } = *self;
        Head { vocabulary: vocab_size, softcap: logit_softcap, z_loss }
    }

    /// What an RMSNorm of the stream multiplies by.
    pub fn gain(&self) -> Gain {
        if self.norm == Norm::Gemma { Gain::OnePlus } else { Gain::Weight }
    }

    /// base / width of muP: what logits are multiplied by, and the learning rate of the blocks'
    /// matrices under Adam; 1 without it.
    pub fn width_ratio(&self) -> f64 {
        if self.mup_base_width == 0 {
            return 1.0;
        }
        self.mup_base_width as f64 / self.d_model as f64
    }

    /// Whether a parameter's gradient is 0 in the first step, since it reaches the loss only
    /// through projections that begin at 0.
    pub fn begins_unreached(&self, name: &str) -> bool {
        let into_stream = name.contains("o_proj") || name.contains("down_proj");
        self.zero_init_projections && name.starts_with("model.layers.") && !into_stream
    }

    /// The most tokens a text can have, where there is a limit.
    pub fn longest(&self) -> Option<usize> {
        (self.positions == Positions::Learned).then_some(self.context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> ModelConfig {
        ModelConfig { vocab_size: 8192, ..ModelConfig::default() }
    }

    #[test]
    fn padding_reaches_the_next_multiple_of_128() {
        assert_eq!(small().padded_vocab(), 8192);
        assert_eq!(ModelConfig { vocab_size: 8193, ..small() }.padded_vocab(), 8320);
    }

    #[test]
    fn impossible_shapes_name_their_key() {
        let learned = Positions::Learned;
        let linear = Some(RopeScaling::Linear { factor: 0.0 });
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
            (ModelConfig { d_head: 5, ..small() }, "d_head"),
            (ModelConfig { positions: learned, ..small() }, "context"),
            (ModelConfig { context: 8, ..small() }, "context"),
            (ModelConfig { dropout: 1.0, ..small() }, "dropout"),
            (ModelConfig { dropout: f64::NAN, ..small() }, "dropout"),
            (ModelConfig { z_loss: -1.0, ..small() }, "z_loss"),
            (ModelConfig { rope_scaling: linear, ..small() }, "rope_scaling.factor"),
            (ModelConfig { window_pattern: "SL".into(), ..small() }, "window"),
            (ModelConfig { window: 8, window_pattern: "SX".into(), ..small() }, "window_pattern"),
        ];
        for (config, key) in bad {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
        assert!(small().validate().is_ok());
    }

    #[test]
    fn unknown_keys_are_refused_and_defaults_are_not_written() {
        assert!(toml::from_str::<ModelConfig>("d_modell = 3").is_err());
        assert_eq!(toml::from_str::<ModelConfig>("d_ff = 3").unwrap().d_ff, 3);
        let written = toml::to_string(&ModelConfig::default()).unwrap();
        assert_eq!(written.lines().count(), 10, "{written}");
    }

    #[test]
    fn every_knob_reads_back_as_it_was_written() {
        let text = "norm = 'layernorm'\npositions = 'rope'\nactivation = 'relu2'\nbias = 'qkv'\n\
                    qk_norm = true\nparallel = true\nscale_embedding = true\nresidual_scale = 0.5\n\
                    logit_softcap = 30.0\nattention_softcap = 50.0\nz_loss = 1e-4\n\
                    dropout = 0.1\nwindow = 64\nwindow_pattern = 'SSSL'\ninit = 'llama'\n\
                    zero_init_projections = true\n\
                    mup_base_width = 256\nd_head = 48\n\
                    rope_scaling = { kind = 'linear', factor = 2.0 }";
        let config: ModelConfig = toml::from_str(text).unwrap();
        assert_eq!(
            toml::from_str::<ModelConfig>(&toml::to_string(&config).unwrap()).unwrap(),
            config
        );
        ModelConfig { vocab_size: 9, ..config }.validate().unwrap();
    }

    #[test]
    fn windows_follow_their_pattern_from_the_first_layer() {
        let config = ModelConfig { window: 7, window_pattern: "SSL".into(), ..small() };
        let windows: Vec<usize> = (0..6).map(|layer| config.window_of(layer)).collect();
        assert_eq!(windows, [7, 7, 0, 7, 7, 0]);
        assert_eq!(ModelConfig { window: 7, ..small() }.window_of(3), 7);
    }
}
