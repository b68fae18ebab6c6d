//! Low-rank adapters: training small matrices beside those of a model that is frozen.
//!
//! In → a model, [`LoraConfig`]; out → the same model with two small matrices beside each target,
//! the only ones trained: W·x + (alpha / rank)·B·(A·x), A `[rank, inputs]`, B `[outputs, rank]`
//! (Hu et al., *LoRA*, 2021). As in `peft`: A is uniform within ±1/√inputs (Kaiming's with a = √5),
//! B is 0, so a fresh adapter changes nothing. **Names** are the target's with `lora_A` and
//! `lora_B` before `weight`; `peft` writes the same behind `base_model.model.`.
//! **Invariants.** The frozen parameters are never written to. [`Model::merged`] adds B·A to W, so
//! it computes the same up to rounding, as a model like any other. **Cost.** 2·rank·(inputs +
//! outputs) operations a token and target beside W's own; gradients and moments of the adapters.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{Model, ModelConfig, counts, on_device};
use crate::base::error::{Error, Result};
use crate::base::rng::Stream;
use crate::runtime::value::NamedParameters;

/// The table `[lora]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rows of A, columns of B.
    pub rank: usize,
    /// The adapter's output is multiplied by alpha / rank.
    pub alpha: f64,
    /// Which maps of each block: `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`,
    /// `down_proj`.
    pub targets: Vec<String>,
}

impl Default for LoraConfig {
    /// `peft`'s: rank 8, alpha 8, queries and values.
    fn default() -> LoraConfig {
        let targets = ["q_proj", "v_proj"].map(str::to_owned).to_vec();
        LoraConfig { rank: 8, alpha: 8.0, targets }
    }
}

/// The part of a model with adapters that is not trained.
#[derive(Clone)]
pub struct Adapter {
    /// The adapters' configuration.
    pub config: LoraConfig,
    /// The model's own parameters.
    pub frozen: NamedParameters,
}

impl LoraConfig {
    /// Refuses ranks and targets that do not fit `model`.
    pub fn validate(&self, model: &ModelConfig) -> Result<()> {
        let widest = model.d_model.max(model.d_ff);
        if !(1..=widest).contains(&self.rank) {
            return Err(Error::config(format!(
                "`lora.rank` is {}: expected 1 to {widest}",
                self.rank
            )));
        }
        if !(self.alpha > 0.0 && self.alpha <= 1e6) {
            return Err(Error::config(format!(
                "`lora.alpha` is {}: expected above 0, at most 1e6",
                self.alpha
            )));
        }
        let known = model.block_matrices().into_iter().map(|(name, _)| last(name));
        let known: Vec<&str> = known.collect();
        let strange = self.targets.iter().find(|target| !known.contains(&target.as_str()));
        let twice = |at: usize| self.targets[..at].contains(&self.targets[at]);
        let message = match strange {
            Some(target) => {
                format!("`lora.targets` has `{target}`, which no block of the model is")
            }
            None if self.targets.is_empty() => "`lora.targets` is empty".to_owned(),
            None if (0..self.targets.len()).any(twice) => {
                "`lora.targets` has a name twice".to_owned()
            }
            None => return Ok(()),
        };
        Err(Error::config(message).with_hint(format!("its maps are {}", known.join(", "))))
    }

    /// What B·A is multiplied by.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Names and dimensions of the adapters of `model`.
    pub fn shapes(&self, model: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = BTreeMap::new();
        for layer in 0..model.n_layer {
            for (name, [outputs, inputs]) in model.block_matrices() {
                if self.targets.iter().any(|target| target == last(name)) {
                    let map = format!("model.layers.{layer}.{name}");
                    shapes.insert(down(&map), vec![self.rank, inputs]);
                    shapes.insert(up(&map), vec![outputs, self.rank]);
                }
            }
        }
        shapes
    }
}

/// Names and dimensions of the trained parameters of `model`, or of its adapters with `lora`.
pub fn trained_shapes(
    model: &ModelConfig,
    lora: Option<&LoraConfig>,
) -> BTreeMap<String, Vec<usize>> {
    lora.map_or_else(|| counts::shapes(model), |lora| lora.shapes(model))
}

/// The name of A beside the map called `map`.
pub(super) fn down(map: &str) -> String {
    format!("{map}.lora_A.weight")
}

/// The name of B beside the map called `map`.
pub(super) fn up(map: &str) -> String {
    format!("{map}.lora_B.weight")
}

/// `q_proj` of `self_attn.q_proj`.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

impl Model {
    /// The model with fresh adapters drawn from `seed`; only these are trained from here on.
    pub fn with_lora(self, config: &LoraConfig, seed: u64) -> Result<Model> {
        let drawn = config.shapes(&self.config).into_iter().map(|(name, dims)| {
            let count = dims.iter().product();
            let bound = 1.0 / (dims[1] as f64).sqrt();
            let numbers = match name.ends_with("lora_B.weight") {
                true => vec![0.0; count],
                false => {
                    let mut stream = Stream::new(seed, &name);
                    let mut draw = || ((2.0 * stream.uniform() - 1.0) * bound) as f32;
                    (0..count).map(|_| draw()).collect()
                }
            };
            Ok((name, Tensor::from_vec(numbers, dims, self.device.candle())?))
        });
        let drawn = drawn.collect::<Result<BTreeMap<String, Tensor>>>()?;
        self.with_adapters(config, drawn)
    }

    /// The model with these adapters, which must be those of `config`.
    pub fn with_adapters(
        self,
        config: &LoraConfig,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Model> {
        assert!(self.adapter.is_none(), "a model has one set of adapters");
        config.validate(&self.config)?;
        let expected = config.shapes(&self.config);
        for (name, dims) in &expected {
            let found = tensors.get(name).map(|tensor| tensor.dims());
            if found != Some(dims) {
                return Err(Error::failed(format!(
                    "adapter `{name}` must be {dims:?}, found {found:?}"
                )));
            }
        }
        if let Some(name) = tensors.keys().find(|name| !expected.contains_key(*name)) {
            return Err(Error::failed(format!("the model has no adapter `{name}`")));
        }
        on_device::check_rank(config.rank, &self.device)?;
        let adapter = Some(Adapter { config: config.clone(), frozen: self.parameters.frozen() });
        let parameters = on_device::moved(NamedParameters::new(tensors), &self.device)?;
        Ok(Model { parameters, adapter, ..self })
    }

    /// The adapters' configuration and the frozen parameters; `None` if the model has no adapters.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// The model's own parameters, trained or not, without adapters.
    pub(super) fn own_parameters(&self) -> &NamedParameters {
        self.adapter.as_ref().map_or(&self.parameters, |adapter| &adapter.frozen)
    }

    /// The model with its adapters added into its matrices; a clone where it has none.
    pub fn merged(&self) -> Result<Model> {
        let Some(Adapter { config, .. }) = &self.adapter else { return Ok(self.clone()) };
        let merged = self.own_parameters().iter().map(|(name, tensor)| {
            let map = name.strip_suffix(".weight").unwrap_or(name);
            let pair = self.parameters.get(&down(map)).zip(self.parameters.get(&up(map)));
            let merged = match pair {
                Some((down, up)) => (tensor + (up.matmul(down)? * config.scale())?)?,
                None => tensor.clone(),
            };
            Ok((name.to_owned(), merged))
        });
        let merged = NamedParameters::new(merged.collect::<Result<_>>()?);
        let parameters = on_device::moved(merged, &self.device)?;
        Ok(Model { parameters, adapter: None, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::data::Batch;
    use crate::runtime::model::trial::model as base;
    use crate::runtime::optim::Optimizer;
    use crate::runtime::optim::adamw::{AdamW, AdamWConfig};
    use crate::runtime::step::gradients;

    fn lora(targets: &[&str]) -> LoraConfig {
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        LoraConfig { rank: 4, alpha: 8.0, targets }
    }

    fn batch() -> Batch {
        let tokens: Vec<u32> = (0..13).map(|i| (i * i * 5 + 2) % 61).collect();
        Batch::single_document(tokens[..12].to_vec(), tokens[1..].to_vec())
    }

    #[test]
    fn a_fresh_adapter_changes_nothing_and_its_training_leaves_the_model_alone() {
        let (base, before) = (base(), base().parameters().xxh3().unwrap());
        let plain = base.logits(&batch()).unwrap();
        let every = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        let model = base.with_lora(&lora(&every), 0).unwrap();
        assert_eq!(model.logits(&batch()).unwrap(), plain);
        assert_eq!(model.parameters().len(), 3 * 2 * every.len());
        let mut optimizer = AdamW::new(model.parameters(), &AdamWConfig::default()).unwrap();
        let mut losses = Vec::new();
        for _ in 0..60 {
            let step = gradients(&model, &batch(), 1).unwrap();
            optimizer.step(&step.gradients, 2e-2).unwrap();
            losses.push(step.loss);
        }
        // Adapters of an untrained model with a frozen head can learn only a little.
        assert!(losses[59] < losses[0] - 0.2, "{losses:?}");
        assert_eq!(model.adapter().unwrap().frozen.xxh3().unwrap(), before);
        // Merged, the adapters give the same logits.
        let (beside, merged) = (model.logits(&batch()), model.merged().unwrap().logits(&batch()));
        let (beside, merged) = (beside.unwrap(), merged.unwrap());
        assert_ne!(beside, plain);
        for (beside, merged) in beside.iter().zip(&merged) {
            assert!((beside - merged).abs() < 1e-4, "{beside} {merged}");
        }
    }

    #[test]
    fn targets_and_ranks_that_the_model_has_not_are_refused() {
        let of = |config: &LoraConfig| config.validate(base().config()).unwrap_err();
        let error = of(&lora(&["q_proj", "w_proj"]));
        assert!(error.to_string().contains("`w_proj`"), "{error}");
        assert!(error.hint().unwrap().contains("down_proj"));
        assert!(of(&lora(&["q_proj", "q_proj"])).to_string().contains("twice"));
        assert!(of(&lora(&[])).to_string().contains("empty"));
        let rank = LoraConfig { rank: 41, ..LoraConfig::default() };
        assert!(of(&rank).to_string().contains("`lora.rank` is 41: expected 1 to 40"));
        let alpha = LoraConfig { alpha: f64::NAN, ..LoraConfig::default() };
        assert!(of(&alpha).to_string().contains("lora.alpha"));
        assert!(toml::from_str::<LoraConfig>("dropout = 0.1").is_err());
    }
}
