//! Shapes and initial numbers of the parameters.
//!
//! In → shape, seed; out → parameters under Hugging Face's names. Matrices are N(0, init_std²);
//! projections into the residual stream (`o_proj`, `down_proj`) are divided by √(2·n_layer), so
//! the stream's variance does not grow with depth (Radford et al., *GPT-2*, 2019); norms are 1, and
//! rows that pad a table are 0. Each parameter draws from a stream of its own, (seed, its name),
//! row by row: they depend on neither the other parameters nor the number of padded rows.

use std::collections::BTreeMap;

use candle_core::Tensor;
use rayon::prelude::*;

use super::ModelConfig;
use crate::base::error::Result;
use crate::base::rng::Stream;
use crate::runtime::device::Device;
use crate::runtime::value::NamedParameters;

/// The parameters with a row a token.
pub const TABLES: [&str; 2] = ["lm_head.weight", "model.embed_tokens.weight"];

/// Dimensions of every parameter by name.
pub fn shapes(config: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
    let (d, padded) = (config.d_model, config.padded_vocab());
    let mut shapes = BTreeMap::new();
    shapes.insert("model.embed_tokens.weight".to_owned(), vec![padded, d]);
    shapes.insert("model.norm.weight".to_owned(), vec![d]);
    if !config.tied {
        shapes.insert("lm_head.weight".to_owned(), vec![padded, d]);
    }
    for layer in 0..config.n_layer {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for (part, dims) in config.block_matrices() {
            shapes.insert(name(part), dims.to_vec());
        }
        for part in ["input_layernorm", "post_attention_layernorm"] {
            shapes.insert(name(part), vec![d]);
        }
    }
    shapes
}

/// Fresh parameters of `config`.
pub fn parameters(config: &ModelConfig, seed: u64, device: &Device) -> Result<NamedParameters> {
    let residual = config.init_std / (2.0 * config.n_layer as f64).sqrt();
    let tensors = shapes(config)
        .into_par_iter()
        .map(|(name, dims)| {
            let into_stream = name.contains("o_proj") || name.contains("down_proj");
            let deviation = if into_stream { residual } else { config.init_std };
            let count = dims.iter().product();
            let mut numbers = if dims.len() == 1 {
                vec![1.0; count]
            } else {
                let mut stream = Stream::new(seed, &name);
                (0..count).map(|_| (stream.normal() * deviation) as f32).collect::<Vec<f32>>()
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
