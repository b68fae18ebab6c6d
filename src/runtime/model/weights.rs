//! The parameters as values of one forward pass, by name.
//!
//! In → a model's tensors; out → their values, and the linear maps of a block with or without bias
//! and adapter ([`super::lora`]).

use std::collections::BTreeMap;

use super::lora::{down, up};
use super::{Adapter, Model};
use crate::base::error::Result;
use crate::runtime::ops;
use crate::runtime::value::{Form, NamedParameters, Value};

/// All parameters.
pub struct Weights {
    values: BTreeMap<String, Value>,
    /// What the adapters' outputs are multiplied by; 0 without adapters.
    pub adapter_scale: f64,
    /// Whether each row belongs to a separate text ([`ops::linear_apart`]).
    apart: bool,
}

/// The parameters of one block.
pub struct Block<'a> {
    pub weights: &'a Weights,
    /// Index of the block, from 0.
    pub layer: usize,
}

impl Weights {
    /// Values for training: gradients reach the trained parameters.
    pub fn trained(model: &Model) -> Weights {
        Weights::of(model, true, model.form)
    }

    /// Values that no gradient reaches, for losses on held-out data, in the form of training.
    pub fn held_out(model: &Model) -> Weights {
        Weights::of(model, false, model.form)
    }

    /// Values that no gradient reaches, for generation and scoring: on a CPU products are in f32,
    /// also where training has them in bf16.
    pub fn constant(model: &Model) -> Weights {
        let form = if model.form == Form::Bf16 { Form::Fused } else { model.form };
        Weights::of(model, false, form)
    }

    fn of(model: &Model, is_trained: bool, form: Form) -> Weights {
        let leaf = |of: &NamedParameters, name: &str, is_trained| {
            (name.to_owned(), of.leaf(name, form, is_trained))
        };
        let own = &model.parameters;
        let mut values: BTreeMap<String, Value> =
            own.names().map(|name| leaf(own, name, is_trained)).collect();
        let Some(Adapter { config, frozen }) = &model.adapter else {
            return Weights::from_values(values, 0.0);
        };
        values.extend(frozen.names().map(|name| leaf(frozen, name, false)));
        Weights::from_values(values, config.scale())
    }

    /// Values by name, of one block or of all.
    pub fn from_values(values: BTreeMap<String, Value>, adapter_scale: f64) -> Weights {
        Weights { values, adapter_scale, apart: false }
    }

    /// The same, where each row is the next token of a separate text.
    pub fn apart(self) -> Weights {
        Weights { apart: true, ..self }
    }

    /// The parameter called `name`, which the shape has.
    pub fn get(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or_else(|| panic!("the model has no parameter `{name}`"))
    }

    /// The output head, [Vₚ, d].
    pub fn head(&self) -> &Value {
        let own = self.values.get("lm_head.weight");
        own.unwrap_or_else(|| self.get("model.embed_tokens.weight"))
    }

    /// x times a weight.
    pub fn times(&self, x: &Value, weight: &Value) -> Result<Value> {
        if self.apart { ops::linear_apart(x, weight) } else { ops::linear(x, weight) }
    }

    /// The bias of `name`, where it has one.
    pub fn bias(&self, name: &str) -> Option<&Value> {
        self.values.get(&format!("{name}.bias"))
    }

    /// The adapter beside the map `name`, down and up, where it has one.
    fn adapter(&self, name: &str) -> Option<(&Value, &Value)> {
        self.values.get(&down(name)).zip(self.values.get(&up(name)))
    }

    /// y plus the output of the adapter beside the map `name` for x, where it has one.
    fn adapted(&self, name: &str, x: &Value, y: Value) -> Result<Value> {
        let Some((down, up)) = self.adapter(name) else { return Ok(y) };
        let inner = ops::linear(x, down)?; // [.., rank]
        ops::add(&y, &ops::scale(&ops::linear(&inner, up)?, self.adapter_scale)?)
    }

    /// Block `layer`.
    pub fn block(&self, layer: usize) -> Block<'_> {
        Block { weights: self, layer }
    }
}

impl Block<'_> {
    /// The full name of a part.
    pub fn name(&self, part: &str) -> String {
        format!("model.layers.{}.{part}", self.layer)
    }

    /// The weight of a part.
    pub fn weight(&self, part: &str) -> &Value {
        self.weights.get(&format!("{}.weight", self.name(part)))
    }

    /// The linear map `part` of x: [.., inputs] to [.., outputs].
    pub fn linear(&self, part: &str, x: &Value) -> Result<Value> {
        let name = self.name(part);
        let weights = self.weights;
        let (weight, bias) = (self.weight(part), weights.bias(&name));
        match bias {
            Some(bias) if !weights.apart && weights.adapter(&name).is_none() => {
                return ops::linear_biased(x, weight, bias);
            }
            _ => (),
        }
        let y = weights.adapted(&name, x, weights.times(x, weight)?)?;
        bias.map_or(Ok(y.clone()), |bias| ops::bias(&y, bias))
    }

    /// All of its values, by rising name.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        let first = format!("model.layers.{}.", self.layer);
        let own = self.weights.values.range(first.clone()..);
        own.take_while(move |(name, _)| name.starts_with(&first)).map(|(n, v)| (n.as_str(), v))
    }
}
