//! The parameters as values of one forward pass, by name.
//!
//! In → named tensors; out → their values, and the linear maps of a block with or without bias.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::base::error::Result;
use crate::runtime::ops;
use crate::runtime::value::{NamedParameters, Value};

/// All parameters.
pub struct Weights {
    values: BTreeMap<String, Value>,
    /// Whether the rows that pass through are texts of their own ([`ops::linear_apart`]).
    apart: bool,
}

/// Those of one block.
pub struct Block<'a> {
    weights: &'a Weights,
    /// Which, from 0.
    pub layer: usize,
}

impl Weights {
    /// Makes a value of each parameter.
    pub fn new(parameters: &NamedParameters, value: impl Fn(&str, &Tensor) -> Value) -> Weights {
        let named = parameters.iter().map(|(name, tensor)| (name.to_owned(), value(name, tensor)));
        Weights { values: named.collect(), apart: false }
    }

    /// The same for rows that are each the next token of another text.
    pub fn apart(self) -> Weights {
        Weights { apart: true, ..self }
    }

    /// The parameter called `name`, which the shape has.
    pub fn get(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or_else(|| panic!("the model has no parameter `{name}`"))
    }

    /// The output head, [Vₚ, d].
    pub fn head(&self) -> &Value {
        self.values.get("lm_head.weight").unwrap_or_else(|| self.get("model.embed_tokens.weight"))
    }

    /// x times a weight.
    pub fn times(&self, x: &Value, weight: &Value) -> Result<Value> {
        if self.apart { ops::linear_apart(x, weight) } else { ops::linear(x, weight) }
    }

    /// x plus the bias of `name`, where it has one.
    pub fn biased(&self, name: &str, x: Value) -> Result<Value> {
        match self.values.get(&format!("{name}.bias")) {
            Some(bias) => ops::bias(&x, bias),
            None => Ok(x),
        }
    }

    /// Block `layer`.
    pub fn block(&self, layer: usize) -> Block<'_> {
        Block { weights: self, layer }
    }
}

impl Block<'_> {
    /// The whole name of a part.
    pub fn name(&self, part: &str) -> String {
        format!("model.layers.{}.{part}", self.layer)
    }

    /// The weight of a part.
    pub fn weight(&self, part: &str) -> &Value {
        self.weights.get(&format!("{}.weight", self.name(part)))
    }

    /// The linear map `part` of x: [.., inputs] to [.., outputs].
    pub fn linear(&self, part: &str, x: &Value) -> Result<Value> {
        self.weights.biased(&self.name(part), self.weights.times(x, self.weight(part))?)
    }
}
