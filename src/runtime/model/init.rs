//! Initial numbers of the parameters.
//!
//! In → shape, seed; out → parameters under their names. Matrices are N(0, init_std²); under
//! `init = "gpt2"` projections into the residual stream (`o_proj`, `down_proj`) are divided by
//! √(2·n_layer), so the stream's variance does not grow with depth (Radford et al., *GPT-2*, 2019);
//! they may begin at 0. At another width than muP's base the deviation of the blocks' matrices is
//! multiplied by √(base / d_model). A norm begins as factor 1; biases and rows that pad a table
//! are 0. Each parameter draws from a stream of its own, (seed, its name), row by row, so its
//! numbers depend on neither the other parameters nor the number of padded rows.

use std::collections::BTreeMap;

use candle_core::Tensor;
use rayon::prelude::*;

use super::ModelConfig;
use super::counts::{TABLES, shapes};
use super::knobs::{Init, Norm};
use crate::base::error::Result;
use crate::base::rng::Stream;
use crate::runtime::device::Device;
use crate::runtime::value::NamedParameters;

/// Fresh parameters of `config`.
pub fn parameters(config: &ModelConfig, seed: u64, device: &Device) -> Result<NamedParameters> {
    let tensors = shapes(config)
        .into_par_iter()
        .map(|(name, dims)| {
            let count = dims.iter().product();
            let mut numbers = match (constant(config, &name, &dims), deviation(config, &name)) {
                (Some(number), _) => vec![number; count],
                (None, deviation) => {
                    let mut stream = Stream::new(seed, &name);
                    (0..count).map(|_| (stream.normal() * deviation) as f32).collect::<Vec<f32>>()
                }
            };
            if TABLES.contains(&name.as_str()) {
                numbers[config.vocab_size * config.d_model..].fill(0.0);
            }
            let tensor = Tensor::from_vec(numbers, dims, device.candle())?;
            Ok((name, tensor))
        })
        .collect::<Result<BTreeMap<String, Tensor>>>()?;
    Ok(NamedParameters::new(tensors))
}

/// The initial value of all elements of a parameter; `None` where they are drawn.
fn constant(config: &ModelConfig, name: &str, dims: &[usize]) -> Option<f32> {
    if name.ends_with(".bias") {
        return Some(0.0);
    }
    if dims.len() == 1 {
        // Norms of queries and keys are plain ones in every shape.
        let of_heads = name.contains("q_norm") || name.contains("k_norm");
        return Some(if config.norm == Norm::Gemma && !of_heads { 0.0 } else { 1.0 });
    }
    (config.zero_init_projections && is_into_stream(name)).then_some(0.0)
}

fn is_into_stream(name: &str) -> bool {
    name.contains("o_proj") || name.contains("down_proj")
}

/// Standard deviation of a matrix.
fn deviation(config: &ModelConfig, name: &str) -> f64 {
    let in_block = name.starts_with("model.layers.") && config.mup_base_width > 0;
    let deviation = match in_block {
        true => config.init_std * config.width_ratio().sqrt(),
        false => config.init_std,
    };
    match config.init {
        Init::Gpt2 if is_into_stream(name) => deviation / (2.0 * config.n_layer as f64).sqrt(),
        Init::Gpt2 | Init::Llama => deviation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(parameters: &NamedParameters, name: &str) -> Vec<f32> {
        parameters.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn deviations_are_the_stated_ones() {
        let config = ModelConfig { vocab_size: 1000, ..ModelConfig::default() };
        let parameters = parameters(&config, 0, &Device::cpu()).unwrap();
        let deviation = |name: &str| {
            let numbers = numbers(&parameters, name);
            let squares: f64 = numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            (squares / numbers.len() as f64).sqrt()
        };
        let residual = 0.02 / 12f64.sqrt();
        for (name, expected) in [
            ("model.embed_tokens.weight", 0.02),
            ("model.layers.0.mlp.up_proj.weight", 0.02),
            ("model.layers.5.self_attn.o_proj.weight", residual),
            ("model.layers.5.mlp.down_proj.weight", residual),
            ("model.norm.weight", 1.0),
        ] {
            let found = deviation(name);
            assert!((found / expected - 1.0).abs() < 0.02, "{name}: {found}, not {expected}");
        }
        assert_eq!(parameters.count(), config.parameter_count());
    }

    #[test]
    fn knobs_change_the_beginning_they_name() {
        let shape = |text: &str| {
            let config: ModelConfig = toml::from_str(text).unwrap();
            let config = ModelConfig { vocab_size: 100, n_layer: 2, ..config };
            parameters(&config, 0, &Device::cpu()).unwrap()
        };
        let name = "model.layers.1.mlp.down_proj.weight";
        let plain = numbers(&shape(""), name);
        let llama = numbers(&shape("init = 'llama'"), name);
        assert!((llama[0] / plain[0] - 2.0).abs() < 1e-5); // √(2·2)
        let zero = shape("zero_init_projections = true");
        assert!(numbers(&zero, name).iter().all(|number| *number == 0.0));
        let wide = numbers(&shape("mup_base_width = 48"), name); // a quarter of 192
        assert!((wide[0] / plain[0] - 0.5).abs() < 1e-5);
        let gemma = shape("norm = 'gemma'\nqk_norm = true");
        assert_eq!(numbers(&gemma, "model.norm.weight")[0], 0.0);
        assert_eq!(numbers(&gemma, "model.layers.0.self_attn.q_norm.weight")[0], 1.0);
        let biased = shape("bias = 'all'\nnorm = 'layernorm'");
        assert_eq!(numbers(&biased, "model.norm.bias")[0], 0.0);
        assert_eq!(numbers(&biased, "model.layers.0.mlp.up_proj.bias").len(), 512);
    }

    #[test]
    fn a_parameter_depends_on_its_own_name_and_the_seed_alone() {
        let config = |vocab_size| ModelConfig { vocab_size, n_layer: 1, ..ModelConfig::default() };
        let small = parameters(&config(100), 7, &Device::cpu()).unwrap();
        let large = parameters(&config(200), 7, &Device::cpu()).unwrap();
        let other = parameters(&config(100), 8, &Device::cpu()).unwrap();
        let name = "model.embed_tokens.weight";
        let count = 100 * small.get(name).unwrap().dims()[1];
        assert_eq!(numbers(&small, name)[..count], numbers(&large, name)[..count]);
        assert!(numbers(&small, name)[count..].iter().all(|number| *number == 0.0));
        assert_ne!(numbers(&small, name), numbers(&other, name));
        let key = |p: &NamedParameters| numbers(p, "model.layers.0.self_attn.q_proj.weight");
        assert_eq!(key(&small), key(&large));
    }
}
