//! How large the gradient and the weights of each layer are, over training.
//!
//! In → a model and the gradients of a step; out → [`LayerNorms`], lines of `norms.jsonl`.
//! **When.** At each of the first 63 steps, then at 32 in each doubling: training changes most at
//! its beginning, and 100,000 steps are measured some 400 times. A step's number alone decides, so
//! a run that is resumed or extended measures the same steps. **Where.** On the CPU: parameters
//! that live on a device stay there. **Cost.** The parameters and their gradients are read once.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::base::error::Result;
use crate::report::lines::LayerNorms;
use crate::runtime::optim::clip::square_sum;
use crate::runtime::value::{NamedGradients, NamedParameters};

/// Lines in each doubling of the steps.
const A_DOUBLING: u64 = 32;

/// Whether the norms of step `step`, from 1, are measured.
pub fn is_due(step: u64) -> bool {
    let doubling = 1 << step.ilog2();
    step.is_multiple_of((doubling / A_DOUBLING).max(1))
}

/// The layers at step `step`, from the embedding to the head; none where parameters live on a
/// device.
pub fn of(
    step: u64,
    parameters: &NamedParameters,
    gradients: &NamedGradients,
) -> Result<Vec<LayerNorms>> {
    if parameters.resident().is_some() {
        return Ok(Vec::new());
    }
    let gradients = by_layer(gradients.iter())?;
    let weights = by_layer(parameters.iter())?;
    let norm = |squares: Option<&f64>| squares.copied().unwrap_or_default().sqrt();
    let layers = weights.iter().map(|(layer, squares)| LayerNorms {
        step,
        layer: layer.name(),
        gradient: norm(gradients.get(layer)),
        weight: norm(Some(squares)),
    });
    Ok(layers.collect())
}

/// A part of the model, in the order that a token meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Embedding,
    Block(usize),
    Norm,
    Head,
}

impl Layer {
    /// The one that a parameter belongs to.
    fn of(parameter: &str) -> Layer {
        let name = parameter.strip_prefix("model.").unwrap_or(parameter);
        let block = name.strip_prefix("layers.").and_then(|rest| rest.split('.').next());
        match block.and_then(|block| block.parse().ok()) {
            Some(block) => Layer::Block(block),
            None if name.starts_with("embed") => Layer::Embedding,
            None if name.starts_with("lm_head") => Layer::Head,
            None => Layer::Norm,
        }
    }

    fn name(self) -> String {
        match self {
            Layer::Embedding => "embedding".to_owned(),
            Layer::Block(block) => block.to_string(),
            Layer::Norm => "norm".to_owned(),
            Layer::Head => "head".to_owned(),
        }
    }
}

/// The sums of squares of each layer, in the order of names.
fn by_layer<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> Result<BTreeMap<Layer, f64>> {
    let mut sums = BTreeMap::new();
    for (name, tensor) in tensors {
        *sums.entry(Layer::of(name)).or_default() += square_sum(tensor)?;
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn steps_are_dense_at_first_and_then_32_a_doubling() {
        let due: Vec<u64> = (1..=100_000).filter(|&step| is_due(step)).collect();
        assert_eq!(due[..63], (1..=63).collect::<Vec<u64>>());
        let between = |from: u64, to: u64| due.iter().filter(|&&at| at >= from && at < to).count();
        for from in [64, 128, 1024, 32_768] {
            assert_eq!(between(from, 2 * from), 32, "from {from}");
        }
    }

    #[test]
    fn a_layer_is_all_its_parameters_and_blocks_are_in_order() {
        let tensor = |number: f32| Tensor::new(&[number], &Device::Cpu).unwrap();
        let named = [
            ("model.embed_tokens.weight", 2.0),
            ("model.layers.10.mlp.up_proj.weight", 7.0),
            ("model.layers.2.mlp.up_proj.weight", 3.0),
            ("model.layers.2.self_attn.q_proj.weight", -4.0),
            ("model.norm.weight", 1.0),
            ("lm_head.weight", 5.0),
        ];
        let tensors: BTreeMap<String, Tensor> =
            named.iter().map(|(name, number)| ((*name).to_owned(), tensor(*number))).collect();
        let mut gradients = NamedGradients::default();
        for (name, number) in named {
            gradients.insert(name, tensor(number / 10.0));
        }
        let norms = of(9, &NamedParameters::new(tensors), &gradients).unwrap();
        let found: Vec<(&str, f64)> =
            norms.iter().map(|layer| (layer.layer.as_str(), layer.weight)).collect();
        let expected = [("embedding", 2.0), ("2", 5.0), ("10", 7.0), ("norm", 1.0), ("head", 5.0)];
        assert_eq!(found, expected);
        for layer in &norms {
            assert!((layer.gradient * 10.0 - layer.weight).abs() < 1e-6, "{layer:?}");
        }
    }
}
