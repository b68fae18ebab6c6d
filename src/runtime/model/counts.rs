//! What follows from a shape: its parameters by name, their number, the operations of a token, and
//! the width for a wanted size.
//!
//! In → [`ModelConfig`]; out → names with dimensions, counts. **Names** are Hugging Face's for
//! Llama, Qwen and Gemma; parameters that those models lack (a table of positions, biases of norms)
//! follow the same pattern.

use std::collections::BTreeMap;

use super::config::ModelConfig;
use super::knobs::{Bias, Norm, Positions};
use crate::base::error::{Error, Result};
use crate::base::size::Count;

/// The parameters with a row for each token of the vocabulary.
pub const TABLES: [&str; 2] = ["lm_head.weight", "model.embed_tokens.weight"];

/// The table of learned positions.
pub const PLACES: &str = "model.embed_positions.weight";

/// Dimensions of every parameter by name.
pub fn shapes(config: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
    let mut shapes: BTreeMap<String, Vec<usize>> = config.outer_parameters().into_iter().collect();
    for layer in 0..config.n_layer {
        for (part, dims) in config.block_parameters() {
            shapes.insert(format!("model.layers.{layer}.{part}"), dims);
        }
    }
    shapes
}

/// A name and its dimensions.
type Parameter = (String, Vec<usize>);

impl ModelConfig {
    /// Shapes of one block's matrices, [outputs, inputs], by name inside the block.
    pub fn block_matrices(&self) -> Vec<(&'static str, [usize; 2])> {
        let (d, h) = (self.d_model, self.head_dim());
        let (query_width, key_width) = (self.n_head * h, self.kv_heads() * h);
        let mut matrices = vec![
            ("self_attn.q_proj", [query_width, d]),
            ("self_attn.k_proj", [key_width, d]),
            ("self_attn.v_proj", [key_width, d]),
            ("self_attn.o_proj", [d, query_width]),
        ];
        if self.activation.is_gated() {
            matrices.push(("mlp.gate_proj", [self.d_ff, d]));
        }
        matrices.extend([("mlp.up_proj", [self.d_ff, d]), ("mlp.down_proj", [d, self.d_ff])]);
        matrices
    }

    /// Every parameter of one block.
    fn block_parameters(&self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        for (name, dims) in self.block_matrices() {
            parameters.push((format!("{name}.weight"), dims.to_vec()));
            let of_qkv = ["q_proj", "k_proj", "v_proj"].iter().any(|part| name.ends_with(part));
            if self.bias == Bias::All || (self.bias == Bias::Qkv && of_qkv) {
                parameters.push((format!("{name}.bias"), vec![dims[0]]));
            }
        }
        parameters.extend(self.norm_parameters("input_layernorm"));
        if !self.parallel {
            parameters.extend(self.norm_parameters("post_attention_layernorm"));
        }
        if self.qk_norm {
            for name in ["self_attn.q_norm.weight", "self_attn.k_norm.weight"] {
                parameters.push((name.to_owned(), vec![self.head_dim()]));
            }
        }
        parameters
    }

    /// The parameters outside the blocks.
    fn outer_parameters(&self) -> Vec<Parameter> {
        let table = vec![self.padded_vocab(), self.d_model];
        let mut parameters = vec![("model.embed_tokens.weight".to_owned(), table.clone())];
        if !self.tied {
            parameters.push(("lm_head.weight".to_owned(), table));
        }
        if self.positions == Positions::Learned {
            parameters.push((PLACES.to_owned(), vec![self.context, self.d_model]));
        }
        parameters.extend(self.norm_parameters("model.norm"));
        parameters
    }

    fn norm_parameters(&self, name: &str) -> Vec<Parameter> {
        let mut parameters = vec![(format!("{name}.weight"), vec![self.d_model])];
        if self.norm == Norm::LayerNorm && self.bias == Bias::All {
            parameters.push((format!("{name}.bias"), vec![self.d_model]));
        }
        parameters
    }

    /// All trainable numbers: padded embedding rows included, a tied head counted once.
    pub fn parameter_count(&self) -> u64 {
        elements(&self.outer_parameters())
            + self.n_layer as u64 * elements(&self.block_parameters())
    }

    /// Operations for each token of a training step, forward and backward, as PaLM counts them
    /// (Chowdhery et al., 2022, appendix B): 6 for each matrix element, and for attention
    /// 12·n_head·head_dim·sequence for each layer, or its window instead of the sequence.
    pub fn flops_per_token(&self, sequence: usize) -> u64 {
        let matrices = self.block_matrices();
        let block: u64 = matrices.iter().map(|(_, [rows, columns])| (rows * columns) as u64).sum();
        let head = (self.vocab_size * self.d_model) as u64;
        let seen = (0..self.n_layer).map(|layer| match self.window_of(layer) {
            0 => sequence,
            window => window.min(sequence),
        });
        let attention = 12 * (self.n_head * self.head_dim()) as u64 * seen.sum::<usize>() as u64;
        6 * (self.n_layer as u64 * block + head) + attention
    }

    /// This shape at the width whose number of parameters is nearest to `fit_params`, if that is
    /// set. Depth, elements a head and query heads a key head stay; so does d_ff / d_model, except
    /// that d_ff moves in multiples of 32 to bring the size right. Width can so be compared with
    /// depth at equal size. Of two widths equally near, the smaller.
    ///
    /// # Errors
    /// Config: the smallest width has more than twice the parameters that are asked for.
    pub fn fitted(self) -> Result<ModelConfig> {
        let Some(Count(wanted)) = self.fit_params else { return Ok(self) };
        let group = self.n_head / self.kv_heads();
        let step = self.head_dim() * group;
        let of = |groups: usize| ModelConfig {
            d_model: groups * step,
            n_head: groups * group,
            n_kv_head: groups,
            d_ff: (self.d_ff * groups * step / self.d_model).next_multiple_of(32),
            fit_params: None,
            ..self.clone()
        };
        let most = (1 << 20) / step;
        let (mut low, mut high) = (1, most.max(1)); // the last at or below what is wanted
        while low < high {
            let middle = (low + high).div_ceil(2);
            match of(middle).parameter_count() <= wanted {
                true => low = middle,
                false => high = middle - 1,
            }
        }
        let (below, above) = (of(low), of((low + 1).min(most.max(1))));
        let least = below.parameter_count();
        if least > 2 * wanted {
            let message = format!(
                "`model.fit_params` is {}: the smallest width, {step}, has {} at {} blocks and a \
                 vocabulary of {}",
                Count(wanted),
                Count(least),
                self.n_layer,
                Count(self.vocab_size as u64)
            );
            return Err(Error::config(message)
                .with_hint("lower `model.n_layer`, or train a smaller tokenizer"));
        }
        let is_nearer = above.parameter_count().abs_diff(wanted) < least.abs_diff(wanted);
        Ok(if is_nearer { above } else { below }.with_feed_forward(wanted))
    }

    /// The same with the `d_ff` that brings the parameters nearest to `wanted`.
    fn with_feed_forward(self, wanted: u64) -> ModelConfig {
        let matrices = if self.activation.is_gated() { 3 } else { 2 };
        let step = 32 * (matrices * self.d_model * self.n_layer) as i128;
        let missing = i128::from(wanted) - i128::from(self.parameter_count());
        let steps = (missing + step / 2).div_euclid(step);
        let d_ff = (self.d_ff as i128 + 32 * steps).clamp(32, 1 << 24);
        ModelConfig { d_ff: d_ff as usize, ..self }
    }
}

fn elements(parameters: &[Parameter]) -> u64 {
    parameters.iter().map(|(_, dims)| dims.iter().map(|&size| size as u64).product::<u64>()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::knobs::Activation;
    use super::*;
    use serde::Deserialize;

    #[test]
    fn the_counts_are_those_of_the_torch_baseline() {
        // bench/baseline_torch.py, size 3m: vocab 8192, d 192, 6 layers, 6/3 heads, d_ff 512.
        let config = ModelConfig { vocab_size: 8192, ..ModelConfig::default() };
        let block = 192 * 192 * 2 + 2 * 96 * 192 + 3 * 192 * 512;
        assert_eq!(config.parameter_count(), 8192 * 192 + 6 * block + 13 * 192);
        let attention = 12 * 6 * 192 * 256;
        assert_eq!(config.flops_per_token(256), 6 * (6 * block + 8192 * 192) + attention);
        let windowed = ModelConfig { window: 64, window_pattern: "SL".into(), ..config.clone() };
        let attention = 12 * 192 * 3 * (64 + 256);
        assert_eq!(windowed.flops_per_token(256), 6 * (6 * block + 8192 * 192) + attention);
    }

    #[test]
    fn gpt2_has_the_parameters_of_gpt2() {
        let config = ModelConfig {
            vocab_size: 50_257,
            d_model: 768,
            n_layer: 12,
            n_head: 12,
            n_kv_head: 0,
            d_ff: 3072,
            norm: Norm::LayerNorm,
            positions: Positions::Learned,
            context: 1024,
            activation: Activation::Gelu,
            bias: Bias::All,
            ..ModelConfig::default()
        };
        // 124,439,808 in `transformers`, and 47 rows of padding.
        assert_eq!(config.parameter_count(), 124_439_808 + 47 * 768);
    }

    #[test]
    fn a_width_is_found_for_a_size_at_any_depth() {
        for (depth, wanted) in [(6, 35_000_000), (12, 35_000_000), (24, 35_000_000), (4, 5_000_000)]
        {
            let config = ModelConfig {
                vocab_size: 8192,
                n_layer: depth,
                fit_params: Some(Count(wanted)),
                ..ModelConfig::default()
            };
            let fitted = config.fitted().unwrap();
            fitted.validate().unwrap();
            let share = fitted.parameter_count() as f64 / wanted as f64;
            assert!((0.98..1.02).contains(&share), "{depth}: {share}");
            assert_eq!((fitted.n_layer, fitted.head_dim(), fitted.fit_params), (depth, 32, None));
            assert_eq!(fitted.n_head, 2 * fitted.n_kv_head);
        }
        let small =
            ModelConfig { vocab_size: 50_000, fit_params: Some(Count(1000)), ..Default::default() };
        assert!(small.fitted().unwrap_err().to_string().contains("fit_params"));
    }

    #[test]
    fn shipped_shapes_have_the_size_in_their_name() {
        #[derive(Deserialize)]
        struct File {
            model: ModelConfig,
        }
        macro_rules! shipped {
            ($name:literal, $vocabulary:literal, $millions:literal) => {
                (
                    include_str!(concat!("../../../configs/model/", $name, ".toml")),
                    $vocabulary,
                    $millions,
                )
            };
        }
        let shapes = [
            shipped!("3m", 8192, 4.0),
            shipped!("5m", 8192, 5.0),
            shipped!("14m", 8192, 13.8),
            shipped!("15m", 16384, 15.2),
            shipped!("35m", 16384, 34.1),
            shipped!("35m-gemma", 16384, 34.1),
            shipped!("35m-qwen3", 16384, 34.4),
            shipped!("124m", 50304, 123.6),
            shipped!("124m-gpt2", 50257, 124.5),
            shipped!("350m", 50304, 359.8),
            shipped!("500m", 32768, 517.8),
            shipped!("500m-deep", 32768, 496.0),
            shipped!("1b", 32000, 1038.7),
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
