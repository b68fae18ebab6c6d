//! The decoder: token ids to logits, written once on `runtime::ops`.
//!
//! In → [`Batch`]; out → the loss, the nats of each target, or logits. Pre-norm blocks of attention
//! (grouped queries, inside documents) and a feed-forward layer, a final norm, and a head that may
//! be the embedding itself. The defaults are Llama's (Touvron et al., *Llama 2*, 2023); the knobs
//! of [`ModelConfig`] make it GPT-2, Qwen3, Gemma or what nobody has tried. Names and layouts of
//! parameters are Hugging Face's `LlamaForCausalLM`, so most exports rename nothing.
//!
//! Shapes: B rows, T tokens a row, S keys (T, or more after a cache), d = d_model, H query heads
//! and K key heads of h elements, F = d_ff, Vₚ padded vocabulary.

mod block;
mod config;
mod counts;
mod generate;
mod grow;
mod init;
pub mod knobs;
mod look;
mod lora;
mod memory;
mod on_device;
mod recompute;
mod sampling;
mod score;
mod stored;
mod together;
#[cfg(test)]
mod trial;
mod weights;

pub use config::ModelConfig;
pub use counts::{PLACES, TABLES, shapes};
pub use generate::{Draft, KvCache, Turn};
pub use grow::Grow;
pub use look::Look;
pub use lora::{Adapter, LoraConfig, trained_shapes};
pub use memory::{StepMemory, StepShape};
pub use on_device::{check as check_kernels, check_rank};
pub use sampling::Sampling;
pub use score::{Branch, TargetScore, Tree};
#[cfg(test)]
pub use together::tests::generate;
pub use together::{Asked, Event, generate_all};

use std::sync::Arc;

use knobs::{Dtype, Positions};
use weights::Weights;

use crate::base::error::{Error, Result};
use crate::runtime::data::Batch;
use crate::runtime::device::Device;
use crate::runtime::ops::{self, Noise, Rotation, Tables, Visible};
use crate::runtime::value::{Form, NamedParameters, Value};

/// A decoder with its parameters. Optimizers change the parameters in place; a clone shares them.
#[derive(Clone)]
pub struct Model {
    config: ModelConfig,
    device: Device,
    /// The trained parameters.
    parameters: NamedParameters,
    /// Where only adapters are trained: their configuration and the frozen parameters.
    adapter: Option<Adapter>,
    form: Form,
    /// How many blocks, from the first on, keep only their input and are recomputed in the backward
    /// pass.
    recompute: usize,
    /// The seed of dropout.
    noise_seed: u64,
    /// On a GPU: cosines and sines by position.
    tables: Option<Arc<Tables>>,
}

/// What the positions of one pass need: computed once, read by every block.
#[derive(Clone)]
struct Pass {
    positions: Vec<u32>,
    rotation: Option<Rotation>,
    sight: Sight,
    /// In training: the draws of dropout.
    noise: Option<Noise>,
}

/// Which tokens attend together.
#[derive(Clone)]
enum Sight {
    /// The documents of each row.
    Rows(Visible),
    /// Stems and branches of one row.
    Parts(Vec<score::Part>),
    /// The next token of each of several texts, each with a cache of its own.
    Apart,
}

impl Model {
    /// A freshly initialised decoder; equal seeds give equal parameters on any machine.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Model> {
        config.validate()?;
        let parameters = init::parameters(config, seed, device)?;
        Model::with(config, parameters, device)
    }

    fn with(config: &ModelConfig, parameters: NamedParameters, device: &Device) -> Result<Model> {
        let (parameters, tables) = on_device::placed(config, parameters, device)?;
        let model = Model {
            config: config.clone(),
            device: device.clone(),
            parameters,
            adapter: None,
            form: Form::Fused,
            recompute: 0,
            noise_seed: 0,
            tables: tables.map(Arc::new),
        };
        Ok(model.with_form(Form::Fused))
    }

    /// Draws dropout from `seed`.
    pub fn with_noise_seed(self, noise_seed: u64) -> Model {
        Model { noise_seed, ..self }
    }

    /// Runs every op in `form`; [`Form::Composed`] is the first thing to try when in doubt. Where
    /// the shape's dtype is bf16, [`Form::Fused`] becomes [`Form::Bf16`] on a CPU.
    pub fn with_form(self, form: Form) -> Model {
        let in_bf16 = self.config.dtype == Dtype::Bf16 && self.device.context().is_none();
        let form = if in_bf16 && form == Form::Fused { Form::Bf16 } else { form };
        Model { form, ..self }
    }

    /// In training, keeps only the input of the first `blocks` blocks and recomputes them in the
    /// backward pass: the same bits and less memory, for one more forward pass of these blocks.
    pub fn with_recompute(self, blocks: usize) -> Model {
        Model { recompute: blocks, ..self }
    }

    /// The same parameters under `config`, which must have the same shape.
    pub fn trained_as(self, config: &ModelConfig) -> Model {
        Model { config: config.clone(), ..self }.with_form(Form::Fused)
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

    /// Σ nats of the batch's trained targets / `tokens`. `tokens` is the whole batch's count when
    /// `batch` is a part of it, so that the parts' losses and gradients add up to the whole's.
    pub fn loss(&self, batch: &Batch, tokens: usize) -> Result<Value> {
        let weights = Weights::trained(self);
        let mut hidden = self.read(&weights, batch, true)?; // [B, T, d]
        let (places, targets) = batch.trained_targets();
        if let Some(places) = places {
            hidden = ops::pick(&hidden, &places)?; // [N, d]
        }
        let (head, scale) = (self.config.head(), 1.0 / tokens as f64);
        ops::cross_entropy(&hidden, weights.head(), &targets, head, scale) // []
    }

    /// Nats of each target, rows × sequence; keeps no tape and applies no dropout. Products have
    /// the form they have in training.
    pub fn nats(&self, batch: &Batch) -> Result<Vec<f32>> {
        let weights = Weights::held_out(self);
        let hidden = self.read(&weights, batch, false)?; // [B, T, d]
        ops::nats(&hidden, weights.head(), &batch.targets, self.config.head())
    }

    /// Logits of every token, rows × sequence × vocab_size; for small inputs.
    pub fn logits(&self, batch: &Batch) -> Result<Vec<f32>> {
        let weights = Weights::constant(self);
        let hidden = self.read(&weights, batch, false)?; // [B, T, d]
        self.project(&weights, &hidden)
    }

    /// The final hidden state of a batch, [B, T, d]; `training` applies dropout.
    fn read(&self, weights: &Weights, batch: &Batch, training: bool) -> Result<Value> {
        batch.check(self.config.vocab_size)?;
        let visible = Visible::in_segments(&batch.segments, batch.rows, batch.sequence);
        let mut pass = self.pass(batch.positions.clone(), Sight::Rows(visible))?;
        let Batch { first_row, parts, .. } = *batch;
        let noise = Noise { seed: self.noise_seed, first_row, parts, site: 0 };
        pass.noise = training.then_some(noise);
        self.hidden(weights, &batch.inputs, (batch.rows, batch.sequence), &pass, &mut [])
    }

    fn pass(&self, positions: Vec<u32>, sight: Sight) -> Result<Pass> {
        let ModelConfig { rope_theta, rope_scaling, .. } = self.config;
        let (h, device) = (self.config.head_dim(), self.device.candle());
        let rotation = match self.config.longest() {
            None => Some(match &self.tables {
                Some(at) => Rotation::on_device(&positions, h, rope_theta, rope_scaling, at)?,
                None => Rotation::new(&positions, h, rope_theta, rope_scaling, device)?,
            }),
            Some(longest) if positions.iter().all(|at| (*at as usize) < longest) => None,
            Some(longest) => {
                let message = format!("the model learned {longest} positions, a text has more");
                return Err(Error::config(message)
                    .with_hint("shorter texts; `model.context` of a new run sets the number"));
            }
        };
        Ok(Pass { positions, rotation, sight, noise: None })
    }

    /// The final hidden state; `caches` is empty, the cache of the one text, or one for each token.
    fn hidden(
        &self,
        weights: &Weights,
        ids: &[u32],
        (rows, sequence): (usize, usize),
        pass: &Pass,
        caches: &mut [&mut KvCache],
    ) -> Result<Value> {
        let shape = &self.config;
        let table = weights.get("model.embed_tokens.weight");
        let mut x = ops::embedding(table, ids, rows, sequence)?; // [B, T, d]
        if shape.scale_embedding {
            x = ops::scale(&x, (shape.d_model as f64).sqrt())?; // [B, T, d]
        }
        if shape.positions == Positions::Learned {
            let places = weights.get(PLACES);
            let places = ops::embedding(places, &pass.positions, rows, sequence)?; // [B, T, d]
            x = ops::add(&x, &places)?; // [B, T, d]
        }
        x = self.dropped(x, pass, 0)?; // [B, T, d]
        for layer in 0..shape.n_layer {
            let block = weights.block(layer);
            x = match layer < self.recompute && pass.noise.is_some() {
                true => self.again(&block, x, pass)?,          // [B, T, d]
                false => self.block(&block, x, pass, caches)?, // [B, T, d]
            };
        }
        generate::see(caches, &x);
        x = self.norm(weights, "model.norm", &x)?; // [B, T, d]
        match shape.width_ratio() {
            1.0 => Ok(x),
            ratio => ops::scale(&x, ratio), // [B, T, d]
        }
    }

    /// Logits of hidden states, without the padded ones: tokens × vocab_size.
    fn project(&self, weights: &Weights, hidden: &Value) -> Result<Vec<f32>> {
        let logits = weights.times(hidden, weights.head())?.read()?; // [B, T, Vₚ]
        let logits = logits.narrow(candle_core::D::Minus1, 0, self.config.vocab_size)?;
        let mut logits = logits.flatten_all()?.to_vec1()?;
        self.config.head().bend(&mut logits);
        Ok(logits)
    }
}
