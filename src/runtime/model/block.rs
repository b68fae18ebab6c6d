//! A block of the decoder: attention and a feed-forward layer, branches of the residual stream.
//!
//! In → the stream, [B, T, d], the block's weights, the pass; out → the stream with both branches
//! added. Shapes are named as in the parent.

use super::knobs::{Activation, Norm};
use super::weights::{Block, Weights};
use super::{KvCache, Model, Pass, Sight, generate};
use crate::base::error::Result;
use crate::runtime::ops::{self, HeadNorms, Noise};
use crate::runtime::value::Value;

impl Model {
    pub(super) fn block(
        &self,
        block: &Block<'_>,
        mut x: Value,
        pass: &Pass,
        caches: &mut [&mut KvCache],
    ) -> Result<Value> {
        let (weights, layer) = (block.weights, block.layer);
        generate::see(caches, &x);
        let mut normed = self.norm(weights, &block.name("input_layernorm"), &x)?; // [B, T, d]
        let mixed = self.attention(block, &normed, pass, caches)?; // [B, T, d]
        x = ops::add(&x, &self.branch(mixed, pass, 2 * layer + 1)?)?; // [B, T, d]
        if !self.config.parallel {
            let name = block.name("post_attention_layernorm");
            normed = self.norm(weights, &name, &x)?; // [B, T, d]
        }
        let fed = self.feed_forward(block, &normed)?; // [B, T, d]
        ops::add(&x, &self.branch(fed, pass, 2 * layer + 2)?) // [B, T, d]
    }

    /// What a branch adds to the stream.
    fn branch(&self, x: Value, pass: &Pass, site: usize) -> Result<Value> {
        let x = match self.config.residual_scale {
            0.0 | 1.0 => x,
            scale => ops::scale(&x, scale)?, // [B, T, d]
        };
        self.dropped(x, pass, site)
    }

    pub(super) fn dropped(&self, x: Value, pass: &Pass, site: usize) -> Result<Value> {
        match (pass.noise, self.config.dropout) {
            (None, _) | (_, 0.0) => Ok(x),
            (Some(noise), p) => ops::dropout(&x, p, Noise { site: site as u64, ..noise }),
        }
    }

    pub(super) fn norm(&self, weights: &Weights, name: &str, x: &Value) -> Result<Value> {
        let (weight, epsilon) = (weights.get(&format!("{name}.weight")), self.config.norm_eps);
        if self.config.norm != Norm::LayerNorm {
            return ops::rms_norm(x, weight, self.config.gain(), epsilon); // [B, T, d]
        }
        match weights.bias(name) {
            Some(bias) => ops::layer_norm_biased(x, weight, bias, epsilon), // [B, T, d]
            None => ops::layer_norm(x, weight, epsilon),                    // [B, T, d]
        }
    }

    fn attention(
        &self,
        block: &Block<'_>,
        x: &Value,
        pass: &Pass,
        caches: &mut [&mut KvCache],
    ) -> Result<Value> {
        let (heads, key_heads) = (self.config.n_head, self.config.kv_heads());
        let q = block.linear("self_attn.q_proj", x)?; // [B, T, H·h]
        let k = block.linear("self_attn.k_proj", x)?; // [B, T, K·h]
        let v = block.linear("self_attn.v_proj", x)?; // [B, T, K·h]
        let names = ["self_attn.q_norm", "self_attn.k_norm"];
        let norms = self.config.qk_norm.then(|| HeadNorms {
            weights: names.map(|name| block.weight(name)),
            epsilon: self.config.norm_eps,
        });
        let [q, k] = ops::place(&q, &k, norms, pass.rotation.as_ref())?; // of the same shapes
        let (k, v) = match (&pass.sight, &mut *caches) {
            (Sight::Rows(_), [cache]) => cache.extend(block.layer, &q, &k, &v)?, // [1, S, K·h] each
            _ => (k, v),
        };
        let (window, softcap) = (self.config.window_of(block.layer), self.config.attention_softcap);
        let mixed = match &pass.sight {
            Sight::Rows(visible) => {
                let visible = visible.within(window);
                ops::attention(&q, &k, &v, &visible, heads, key_heads, softcap)?
            }
            Sight::Parts(parts) => self.attend_in_parts(&q, &k, &v, parts, window)?,
            Sight::Apart => self.attend_apart(block.layer, [&q, &k, &v], caches)?,
        }; // [B, T, H·h]
        block.linear("self_attn.o_proj", &mixed) // [B, T, d]
    }

    fn feed_forward(&self, block: &Block<'_>, x: &Value) -> Result<Value> {
        let gate = match self.config.activation.is_gated() {
            true => Some(block.linear("mlp.gate_proj", x)?), // [B, T, F]
            false => None,
        };
        let up = block.linear("mlp.up_proj", x)?; // [B, T, F]
        let active = match (self.config.activation, gate) {
            (Activation::GeGlu, Some(gate)) => ops::geglu(&gate, &up)?,
            (_, Some(gate)) => ops::swiglu(&gate, &up)?,
            (Activation::Relu2, None) => ops::relu2(&up)?,
            (_, None) => ops::gelu(&up)?,
        }; // [B, T, F]
        block.linear("mlp.down_proj", &active) // [B, T, d]
    }
}
