//! The decoder: token ids to logits, as Llama computes them, written once on `runtime::ops`.
//!
//! In → [`Batch`]; out → the loss, the nats of each target, or logits. Touvron et al., *Llama 2*,
//! 2023: pre-norm blocks of attention (rotary positions, grouped queries, inside documents) and a
//! gated feed-forward layer, a final norm, and a head that may be the embedding itself. Names and
//! layouts of parameters are Hugging Face's `LlamaForCausalLM`, so an export renames nothing.
//!
//! Shapes: B rows, T tokens a row, S keys (T, or more after a cache), d = d_model, H query heads
//! and K key heads of h elements, F = d_ff, Vₚ padded vocabulary.

mod config;
mod generate;
mod init;
mod look;
mod memory;
mod sampling;
mod score;

use std::collections::BTreeMap;

use candle_core::Tensor;

pub use config::ModelConfig;
pub use generate::{Draft, KvCache, Turn, generate};
pub use look::Look;
pub use memory::{StepMemory, StepShape};
pub use sampling::Sampling;
pub use score::{Branch, TargetScore, Tree};

pub use init::{TABLES, shapes};

use crate::base::error::{Error, Result};
use crate::runtime::data::Batch;
use crate::runtime::device::Device;
use crate::runtime::ops::{self, Rotation, Visible};
use crate::runtime::value::{Form, NamedParameters, Value};

/// A decoder with its parameters. Optimizers change the parameters in place.
pub struct Model {
    config: ModelConfig,
    device: Device,
    parameters: NamedParameters,
    form: Form,
}

/// The parameters as values of one forward pass.
struct Weights(BTreeMap<String, Value>);

impl Weights {
    fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| panic!("the model has no parameter `{name}`"))
    }

    /// A parameter of block `layer`.
    fn of(&self, layer: usize, name: &str) -> &Value {
        self.get(&format!("model.layers.{layer}.{name}.weight"))
    }

    /// The output head, [Vₚ, d].
    fn head(&self) -> &Value {
        self.0.get("lm_head.weight").unwrap_or_else(|| self.get("model.embed_tokens.weight"))
    }
}

/// What the positions of one pass need: computed once, read by every block.
struct Pass {
    rotation: Rotation,
    sight: Sight,
}

/// Which tokens attend together.
enum Sight {
    /// The documents of each row.
    Rows(Visible),
    /// Stems and branches of one row.
    Parts(Vec<score::Part>),
}

impl Model {
    /// A freshly initialised decoder; equal `seed`, equal parameters, on any machine.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Model> {
        config.validate()?;
        let parameters = init::parameters(config, seed, device)?;
        Ok(Model::with(config, parameters, device))
    }

    /// A decoder over given parameters, which must be those of `config`. Where tables have a row a
    /// token and no more, as in files, the rows that pad them are added.
    pub fn from_tensors(
        config: &ModelConfig,
        mut tensors: BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<Model> {
        config.validate()?;
        let expected = init::shapes(config);
        for name in TABLES {
            if let Some(table) = tensors.get_mut(name)
                && table.dims() == [config.vocab_size, config.d_model]
            {
                let missing = config.padded_vocab() - config.vocab_size;
                *table = table.pad_with_zeros(0, 0, missing)?;
            }
        }
        for (name, dims) in &expected {
            let found = tensors.get(name).map(|tensor| tensor.dims());
            if found != Some(dims) {
                return Err(Error::failed(format!(
                    "parameter `{name}` must be {dims:?}, found {found:?}"
                )));
            }
        }
        if let Some(name) = tensors.keys().find(|name| !expected.contains_key(*name)) {
            return Err(Error::failed(format!("the model has no parameter `{name}`")));
        }
        Ok(Model::with(config, NamedParameters::new(tensors), device))
    }

    fn with(config: &ModelConfig, parameters: NamedParameters, device: &Device) -> Model {
        let (config, device) = (config.clone(), device.clone());
        Model { config, device, parameters, form: Form::Fused }
    }

    /// Runs every op in `form`; [`Form::Composed`] is the first thing to try when in doubt.
    pub fn with_form(self, form: Form) -> Model {
        Model { form, ..self }
    }

    /// The shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The trainable tensors under Hugging Face's names, by rising name.
    pub fn parameters(&self) -> &NamedParameters {
        &self.parameters
    }

    /// The parameters as files hold them: the tables without the rows that pad them, which belong
    /// to no token and would take probability from those that do wherever a file is read as it is.
    pub fn stored(&self) -> Result<BTreeMap<String, Tensor>> {
        let named = self.parameters.iter().map(|(name, tensor)| {
            let stored = match TABLES.contains(&name) {
                true => tensor.narrow(0, 0, self.config.vocab_size)?,
                false => tensor.clone(),
            };
            Ok((name.to_owned(), stored))
        });
        named.collect()
    }

    /// Σ nats of the batch's targets / `tokens`. `tokens` is the whole batch's count when `batch`
    /// is a part of it, so that the parts' losses and gradients add up to the whole's.
    pub fn loss(&self, batch: &Batch, tokens: usize) -> Result<Value> {
        let weights = self.weights(Value::parameter);
        let hidden = self.read(&weights, batch)?; // [B, T, d]
        let vocabulary = self.config.vocab_size;
        let scale = 1.0 / tokens as f64;
        ops::cross_entropy(&hidden, weights.head(), &batch.targets, vocabulary, scale) // []
    }

    /// Nats of each target, rows × sequence; keeps no tape.
    pub fn nats(&self, batch: &Batch) -> Result<Vec<f32>> {
        let weights = self.weights(|_, tensor, form| Value::constant(tensor, form));
        let hidden = self.read(&weights, batch)?; // [B, T, d]
        ops::nats(&hidden, weights.head(), &batch.targets, self.config.vocab_size)
    }

    /// Logits of every token, rows × sequence × vocab_size; for small inputs.
    pub fn logits(&self, batch: &Batch) -> Result<Vec<f32>> {
        let weights = self.weights(|_, tensor, form| Value::constant(tensor, form));
        let hidden = self.read(&weights, batch)?; // [B, T, d]
        self.project(&weights, &hidden)
    }

    fn weights(&self, value: impl Fn(&str, &Tensor, Form) -> Value) -> Weights {
        let named = self.parameters.iter();
        Weights(named.map(|(name, t)| (name.to_owned(), value(name, t, self.form))).collect())
    }

    /// The final hidden state of a batch: [B, T, d].
    fn read(&self, weights: &Weights, batch: &Batch) -> Result<Value> {
        batch.check(self.config.vocab_size)?;
        let visible = Visible::in_segments(&batch.segments, batch.rows, batch.sequence);
        let pass = Pass { rotation: self.rotation(&batch.positions)?, sight: Sight::Rows(visible) };
        self.hidden(weights, &batch.inputs, (batch.rows, batch.sequence), &pass, None)
    }

    fn rotation(&self, positions: &[u32]) -> Result<Rotation> {
        let (h, theta) = (self.config.head_dim(), self.config.rope_theta);
        Rotation::new(positions, h, theta, self.device.candle())
    }

    fn hidden(
        &self,
        weights: &Weights,
        ids: &[u32],
        (rows, sequence): (usize, usize),
        pass: &Pass,
        mut cache: Option<&mut KvCache>,
    ) -> Result<Value> {
        let epsilon = self.config.norm_eps;
        let table = weights.get("model.embed_tokens.weight");
        let mut x = ops::embedding(table, ids, rows, sequence)?; // [B, T, d]
        for layer in 0..self.config.n_layer {
            let w = |name: &str| weights.of(layer, name);
            generate::see(&mut cache, &x);
            let normed = ops::rms_norm(&x, w("input_layernorm"), epsilon)?; // [B, T, d]
            let mixed = self.attention(w, &normed, pass, cache.as_deref_mut(), layer)?; // [B, T, d]
            x = ops::add(&x, &mixed)?; // [B, T, d]
            let normed = ops::rms_norm(&x, w("post_attention_layernorm"), epsilon)?; // [B, T, d]
            x = ops::add(&x, &self.feed_forward(w, &normed)?)?; // [B, T, d]
        }
        generate::see(&mut cache, &x);
        ops::rms_norm(&x, weights.get("model.norm.weight"), epsilon) // [B, T, d]
    }

    fn attention<'a>(
        &self,
        w: impl Fn(&str) -> &'a Value,
        x: &Value,
        pass: &Pass,
        cache: Option<&mut KvCache>,
        layer: usize,
    ) -> Result<Value> {
        let (heads, key_heads) = (self.config.n_head, self.config.kv_heads());
        let q = ops::linear(x, w("self_attn.q_proj"))?; // [B, T, H·h]
        let k = ops::linear(x, w("self_attn.k_proj"))?; // [B, T, K·h]
        let v = ops::linear(x, w("self_attn.v_proj"))?; // [B, T, K·h]
        let q = ops::rope(&q, &pass.rotation)?; // [B, T, H·h]
        let k = ops::rope(&k, &pass.rotation)?; // [B, T, K·h]
        let (k, v) = match cache {
            Some(cache) => cache.extend(layer, &q, &k, &v)?, // [1, S, K·h] each
            None => (k, v),
        };
        let mixed = match &pass.sight {
            Sight::Rows(visible) => ops::attention(&q, &k, &v, visible, heads, key_heads)?,
            Sight::Parts(parts) => self.attend_in_parts(&q, &k, &v, parts)?,
        }; // [B, T, H·h]
        ops::linear(&mixed, w("self_attn.o_proj")) // [B, T, d]
    }

    fn feed_forward<'a>(&self, w: impl Fn(&str) -> &'a Value, x: &Value) -> Result<Value> {
        let gate = ops::linear(x, w("mlp.gate_proj"))?; // [B, T, F]
        let up = ops::linear(x, w("mlp.up_proj"))?; // [B, T, F]
        let gated = ops::swiglu(&gate, &up)?; // [B, T, F]
        ops::linear(&gated, w("mlp.down_proj")) // [B, T, d]
    }

    /// Logits of hidden states, without the padded ones: tokens × vocab_size.
    fn project(&self, weights: &Weights, hidden: &Value) -> Result<Vec<f32>> {
        let logits = ops::linear(hidden, weights.head())?.detached(); // [B, T, Vₚ]
        let logits = logits.narrow(candle_core::D::Minus1, 0, self.config.vocab_size)?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }
}
