//! A deeper model out of a shallower one that was trained.
//!
//! In → a model of L blocks, a depth k·L; out → a model of that depth. **Stacked**: the blocks are
//! repeated one stack upon the other (Gong et al., *Efficient training of BERT by progressively
//! stacking*, 2019; Du et al., *Stacking your transformers*, 2024). **Expanded**: behind each block
//! stand copies of it whose projections into the stream are 0, so that the model computes what it
//! did, to the bit, until it is trained (Wu et al., *LLaMA Pro*, 2024). **Invariants.** Everything
//! outside the blocks stays. **Cost.** A copy of the parameters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Model, ModelConfig};
use crate::base::error::{Error, Result};

/// How a model grows in depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grow {
    /// The whole stack of blocks, repeated.
    Stack,
    /// Each block, then copies of it that begin by adding nothing.
    Expand,
}

impl Model {
    /// The model with `layers` blocks, a multiple of its own.
    ///
    /// # Errors
    /// Config: `layers` is not a larger multiple, or the model has a pattern of windows by depth,
    /// which would shift.
    pub fn grown(&self, layers: usize, how: Grow) -> Result<Model> {
        let own = self.config.n_layer;
        if layers <= own || !layers.is_multiple_of(own) {
            let message = format!(
                "`train.grow` makes a multiple of the model's {own} blocks, and `model.n_layer` is \
                 {layers}"
            );
            return Err(
                Error::config(message).with_hint(format!("such as `model.n_layer = {}`", 2 * own))
            );
        }
        if !self.config.window_pattern.is_empty() {
            let message = "`train.grow` would shift the windows of `model.window_pattern`";
            return Err(Error::config(message).with_hint("a model without a pattern can grow"));
        }
        let copies = layers / own;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in self.own_parameters().iter() {
            let Some((layer, part)) = in_block(name) else {
                tensors.insert(name.to_owned(), tensor.copy()?);
                continue;
            };
            for copy in 0..copies {
                let (place, adds) = match how {
                    Grow::Stack => (copy * own + layer, true),
                    Grow::Expand => (layer * copies + copy, copy == 0),
                };
                let silent = !adds && (part.contains("o_proj") || part.contains("down_proj"));
                let tensor = if silent { tensor.zeros_like()? } else { tensor.copy()? };
                tensors.insert(format!("model.layers.{place}.{part}"), tensor);
            }
        }
        let config = ModelConfig { n_layer: layers, ..self.config.clone() };
        Ok(Model::from_tensors(&config, tensors, &self.device)?.with_form(self.form))
    }
}

/// The block of a parameter, and its name there.
fn in_block(name: &str) -> Option<(usize, &str)> {
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::data::Batch;
    use crate::runtime::model::trial::with;

    fn logits(model: &Model) -> Vec<f32> {
        let tokens: Vec<u32> = (0..13).map(|i| (i * i * 5 + 2) % 61).collect();
        let batch = Batch::single_document(tokens[..12].to_vec(), tokens[1..].to_vec());
        model.logits(&batch).unwrap()
    }

    #[test]
    fn an_expanded_model_computes_what_it_did_and_a_stacked_one_repeats_its_blocks() {
        for keys in ["", "bias = 'all'\nnorm = 'layernorm'\nactivation = 'gelu'\nparallel = true"] {
            let model = with(keys);
            let expanded = model.grown(6, Grow::Expand).unwrap();
            assert_eq!(expanded.config().n_layer, 6);
            assert_eq!(logits(&expanded), logits(&model), "{keys}");
            let stacked = model.grown(6, Grow::Stack).unwrap();
            assert_ne!(logits(&stacked), logits(&model));
            let numbers = |layer: usize| -> Vec<f32> {
                let name = format!("model.layers.{layer}.mlp.up_proj.weight");
                stacked.parameters().get(&name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
            };
            assert_eq!((numbers(0), numbers(1)), (numbers(3), numbers(4)));
            assert_ne!(numbers(0), numbers(1));
        }
    }

    #[test]
    fn other_depths_and_patterns_are_refused() {
        for layers in [1, 3, 4] {
            let error = with("").grown(layers, Grow::Stack).err().unwrap();
            assert!(error.to_string().contains("multiple of the model's 3"), "{error}");
        }
        let windowed = with("window = 4\nwindow_pattern = 'SL'");
        assert!(windowed.grown(6, Grow::Expand).is_err());
    }
}
