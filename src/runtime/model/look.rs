//! Inside a model that reads a text: the residual stream between its blocks, and its attention.
//!
//! In → the tokens of one text; out → a [`Look`]: norms of the stream before each block and after
//! the last, and the attention of each head. **Method.** One forward pass with a cache that records
//! activations. Attention weights come from the model's own operation, given rows of an identity as
//! values, so they are what the model computes, whatever its shape. What the model would predict
//! after fewer blocks is what a model of those blocks predicts ([`Model::first_blocks`]): the
//! *logit lens* (nostalgebraist, 2020). **Cost.** A pass, and for each block T / h passes of its
//! attention; T² floats a head.

use candle_core::{D, Tensor};

use super::generate::{KvCache, Watched};
use super::weights::Weights;
use super::{Model, ModelConfig, Sight};
use crate::base::error::Result;
use crate::runtime::ops::{self, Visible};
use crate::runtime::value::Value;

/// What was seen of one text of T tokens.
pub struct Look {
    /// Norm of each token's activations: before each block, then behind the last; n_layer + 1 × T.
    pub norms: Vec<Vec<f32>>,
    /// Attention weights, n_layer × n_head × (T · T): a row for each query token.
    pub attention: Vec<Vec<Vec<f32>>>,
}

impl Model {
    /// Records norms and attention while the model reads `tokens`.
    pub fn look(&self, tokens: &[u32]) -> Result<Look> {
        let count = tokens.len();
        let mut cache = KvCache::watching(self);
        let positions: Vec<u32> = (0..count as u32).collect();
        let visible = Visible::after_cache(count, count);
        let pass = self.pass(positions, Sight::Rows(visible.clone()))?;
        let weights = Weights::constant(self);
        self.hidden(&weights, tokens, (1, count), &pass, &mut [&mut cache])?;
        let Watched { streams, attention } = cache.into_watched();
        let norm = |stream: &Tensor| -> Result<Vec<f32>> {
            Ok(stream.sqr()?.sum(D::Minus1)?.sqrt()?.flatten_all()?.to_vec1()?)
        };
        let maps = attention.iter().enumerate().map(|(layer, (q, k))| {
            self.attention_map(q, k, &visible.within(self.config.window_of(layer)))
        });
        Ok(Look {
            norms: streams.iter().map(norm).collect::<Result<_>>()?,
            attention: maps.collect::<Result<_>>()?,
        })
    }

    /// The attention weights of each head, T · T, for queries [1, T, H·h] and keys [1, T, K·h].
    fn attention_map(&self, q: &Tensor, k: &Tensor, visible: &Visible) -> Result<Vec<Vec<f32>>> {
        let [q, k] = [q, k].map(|seen| Value::constant(seen, self.form));
        let (heads, key_heads) = (self.config.n_head, self.config.kv_heads());
        let (count, h) = (q.dims()[1], q.dims()[2] / heads);
        let mut maps = vec![vec![0.0; count * count]; heads];
        for first in (0..count).step_by(h) {
            // The value of key `first + j` is 1 in element j of each head.
            let mut values = vec![0.0f32; count * key_heads * h];
            for j in 0..h.min(count - first) {
                for head in 0..key_heads {
                    values[((first + j) * key_heads + head) * h + j] = 1.0;
                }
            }
            let values = Tensor::from_vec(values, (1, count, key_heads * h), self.device.candle())?;
            let values = Value::constant(&values, self.form);
            let softcap = self.config.attention_softcap;
            // [1, T, H·h]
            let mixed = ops::attention(&q, &k, &values, visible, heads, key_heads, softcap)?;
            let mixed: Vec<f32> = mixed.detached().flatten_all()?.to_vec1()?;
            for (token, row) in mixed.chunks_exact(heads * h).enumerate() {
                for (map, weights) in maps.iter_mut().zip(row.chunks_exact(h)) {
                    let end = h.min(count - first);
                    map[token * count + first..][..end].copy_from_slice(&weights[..end]);
                }
            }
        }
        Ok(maps)
    }

    /// The model of the first `blocks` blocks, one at least, with the same tables, norm and head.
    pub fn first_blocks(&self, blocks: usize) -> Result<Model> {
        let config = ModelConfig { n_layer: blocks, ..self.config.clone() };
        let is_kept = |name: &str| {
            let block = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
            block.and_then(|block| block.parse::<usize>().ok()).is_none_or(|it| it < blocks)
        };
        let kept = self.parameters.iter().filter(|(name, _)| is_kept(name));
        let kept = kept.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        Ok(Model::from_tensors(&config, kept, &self.device)?.with_form(self.form))
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::data::Batch;
    use crate::runtime::model::trial::model;

    #[test]
    fn attention_is_a_share_of_what_came_before() {
        let tokens: Vec<u32> = (0..20).map(|i| i * 31 % 131).collect();
        let look = model().look(&tokens).unwrap();
        assert_eq!((look.attention.len(), look.attention[0].len(), look.norms.len()), (3, 4, 4));
        for map in look.attention.iter().flatten() {
            for (token, row) in map.chunks_exact(20).enumerate() {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                assert!(row[token + 1..].iter().all(|&weight| weight == 0.0));
            }
        }
        // The first token sees itself alone; the heads differ.
        assert_eq!(look.attention[2][3][0], 1.0);
        assert_ne!(look.attention[0][0], look.attention[0][1]);
    }

    #[test]
    fn the_first_norms_are_those_of_the_embedding() {
        let model = model();
        let look = model.look(&[7, 9]).unwrap();
        let table = model.parameters().get("model.embed_tokens.weight").unwrap();
        let row: Vec<f32> = table.get(9).unwrap().to_vec1().unwrap();
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((look.norms[0][1] - norm).abs() < 1e-5);
    }

    #[test]
    fn all_blocks_are_the_model_itself() {
        let (model, batch) = (model(), Batch::single_document(vec![1, 2, 3], vec![2, 3, 4]));
        let logits = |blocks| model.first_blocks(blocks).unwrap().logits(&batch).unwrap();
        assert_eq!(logits(3), model.logits(&batch).unwrap());
        assert_ne!(logits(2), logits(3));
    }
}
