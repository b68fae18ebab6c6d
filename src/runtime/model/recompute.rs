//! A block that is recomputed in the backward pass, so that training keeps only its input.
//!
//! In → a block, its input; out → its output, whose node runs the block once more when its gradient
//! is known (Chen et al., *Training deep nets with sublinear memory cost*, 2016). **Invariants.**
//! The same bits in value and gradient: a block is a function of its input, its weights and the
//! row's numbers, draws of dropout included. **Cost.** One more forward pass, a third of a step's
//! operations; all blocks but one hold d floats a token instead of what they computed.

use super::weights::{Block, Weights};
use super::{Model, Pass};
use crate::base::error::Result;
use crate::runtime::value::{NamedParameters, Value};

impl Model {
    /// The result of [`Model::block`] without a cache, of which the tape keeps only the input.
    pub(super) fn again(&self, block: &Block<'_>, x: Value, pass: &Pass) -> Result<Value> {
        let (layer, scale) = (block.layer, block.weights.adapter_scale);
        let (names, values): (Vec<String>, Vec<&Value>) =
            block.values().map(|(name, value)| (name.to_owned(), value)).unzip();
        let inputs: Vec<&Value> = std::iter::once(&x).chain(values).collect();
        let (model, pass) = (self.without_parameters(), pass.clone());
        Value::recomputed(&inputs, move |inputs| {
            let (x, values) = inputs.split_first().expect("the block's input comes first");
            let values = names.iter().cloned().zip(values.iter().cloned()).collect();
            let weights = Weights::from_values(values, scale);
            model.block(&weights.block(layer), x.clone(), &pass, &mut [])
        })
    }

    /// The shape alone: a block takes its weights from the values.
    fn without_parameters(&self) -> Model {
        Model {
            config: self.config.clone(),
            device: self.device.clone(),
            parameters: NamedParameters::new([].into()),
            adapter: None,
            form: self.form,
            recompute: 0,
            noise_seed: self.noise_seed,
            tables: self.tables.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::data::Batch;
    use crate::runtime::model::trial::with;
    use crate::runtime::model::{LoraConfig, Model};
    use crate::runtime::step::gradients;
    use crate::runtime::value::Form;

    fn model(keys: &str) -> Model {
        with(keys).with_noise_seed(5)
    }

    fn batch() -> Batch {
        let tokens: Vec<u32> = (0..41).map(|i| (i * i * 5 + 2) % 61).collect();
        let mut batch = Batch::single_document(tokens[..40].to_vec(), tokens[1..].to_vec());
        (batch.rows, batch.sequence) = (2, 20);
        batch.positions = (0..40).map(|at| at % 20).collect();
        batch
    }

    fn bits(model: &Model) -> Vec<(String, Vec<u32>)> {
        let found = gradients(model, &batch(), 1).unwrap();
        let numbers = |tensor: &candle_core::Tensor| -> Vec<f32> {
            tensor.flatten_all().unwrap().to_vec1().unwrap()
        };
        let bits = |it: &candle_core::Tensor| numbers(it).iter().map(|x| x.to_bits()).collect();
        let mut all: Vec<(String, Vec<u32>)> =
            found.gradients.iter().map(|(name, it)| (name.to_owned(), bits(it))).collect();
        all.push(("loss".to_owned(), vec![(found.loss as f32).to_bits()]));
        all
    }

    #[test]
    fn blocks_that_run_again_give_the_same_bits() {
        let shapes = [
            "",
            "dropout = 0.2",
            "parallel = true\nbias = 'all'\nnorm = 'layernorm'\nactivation = 'gelu'",
            "qk_norm = true\nwindow = 7\nwindow_pattern = 'SL'\ndropout = 0.1",
        ];
        for keys in shapes {
            for form in [Form::Fused, Form::Composed] {
                let plain = bits(&model(keys).with_form(form));
                for blocks in [1, 3] {
                    let again = bits(&model(keys).with_form(form).with_recompute(blocks));
                    assert_eq!(plain, again, "{keys} {form:?} {blocks}");
                }
            }
        }
        let lora = |blocks: usize| {
            let model = model("").with_recompute(blocks);
            bits(&model.with_lora(&LoraConfig::default(), 1).unwrap())
        };
        assert_eq!(lora(0), lora(2));
    }
}
