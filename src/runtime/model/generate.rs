//! Generation with a cache of keys and values.
//!
//! In → a model, a prompt's tokens; out → the tokens it continues with. Keys and values of tokens
//! read before are kept, so a new token costs one token's forward pass. Greedy at temperature 0,
//! else each token is drawn from softmax(logits / temperature) by a stream of its own seed. Padded
//! vocabulary rows have no logit here, so they are never emitted.

use candle_core::Tensor;

use super::{Model, Pass, Sight};
use crate::base::error::{Error, Result};
use crate::base::rng::Stream;
use crate::runtime::ops::Visible;
use crate::runtime::value::{Form, Value};

/// Keys and values of the tokens read so far, of every block.
pub struct KvCache {
    /// [1, S, K·h] of each block, keys and values.
    layers: Vec<Option<(Tensor, Tensor)>>,
    tokens: usize,
    form: Form,
}

impl KvCache {
    /// An empty cache for `model`.
    pub fn new(model: &Model) -> KvCache {
        KvCache { layers: vec![None; model.config.n_layer], tokens: 0, form: model.form }
    }

    /// Tokens read so far.
    pub fn len(&self) -> usize {
        self.tokens
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Appends block `layer`'s new keys and values and returns all of them.
    pub(super) fn extend(&mut self, layer: usize, k: &Value, v: &Value) -> Result<(Value, Value)> {
        let (k, v) = (k.detached(), v.detached());
        let (k, v) = match &self.layers[layer] {
            Some((keys, values)) => (Tensor::cat(&[keys, &k], 1)?, Tensor::cat(&[values, &v], 1)?),
            None => (k, v),
        };
        self.layers[layer] = Some((k.clone(), v.clone()));
        Ok((Value::constant(&k, self.form), Value::constant(&v, self.form)))
    }
}

impl Model {
    /// Reads `tokens` after those in `cache` and returns the last one's logits, vocab_size numbers.
    pub fn generate_step(&self, tokens: &[u32], cache: &mut KvCache) -> Result<Vec<f32>> {
        let vocabulary = self.config.vocab_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::failed(format!(
                "token outside the vocabulary of {vocabulary}: {token}"
            )));
        }
        assert!(!tokens.is_empty(), "a step of generation reads at least one token");
        let (count, before) = (tokens.len(), cache.tokens);
        let positions: Vec<u32> = (before..before + count).map(|at| at as u32).collect();
        let sight = Sight::Rows(Visible::after_cache(count, before + count));
        let pass = Pass { rotation: self.rotation(&positions)?, sight };
        let weights = self.weights(|_, tensor, form| Value::constant(tensor, form));
        let hidden = self.hidden(&weights, tokens, (1, count), &pass, Some(&mut *cache))?;
        cache.tokens += count;
        let last = hidden.detached().narrow(1, count - 1, 1)?.contiguous()?; // [1, 1, d]
        self.project(&weights, &Value::constant(&last, self.form))
    }
}

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Of the stream that draws tokens.
    pub seed: u64,
}

/// Continues `prompt`, which must hold at least the end-of-text token that opens a document, by up
/// to `max_tokens` tokens, or until the model ends the document. `on_token` sees each new token at
/// once; the closing end-of-text is neither shown nor returned.
pub fn generate(
    model: &Model,
    prompt: &[u32],
    max_tokens: usize,
    end_of_text: u32,
    sampling: &Sampling,
    mut on_token: impl FnMut(u32) -> Result<()>,
) -> Result<Vec<u32>> {
    if prompt.is_empty() {
        return Err(Error::config("generation needs a token to start from")
            .with_hint("a document opens with the end-of-text token"));
    }
    if !(sampling.temperature >= 0.0 && sampling.temperature.is_finite()) {
        return Err(Error::config(format!(
            "the temperature must be 0 or more, found {}",
            sampling.temperature
        )));
    }
    let mut stream = Stream::new(sampling.seed, "generate");
    let mut cache = KvCache::new(model);
    let mut generated = Vec::new();
    let mut unread = prompt.to_vec();
    while generated.len() < max_tokens {
        let logits = model.generate_step(&unread, &mut cache)?;
        let token = choose(&logits, sampling.temperature, &mut stream);
        if token == end_of_text {
            break;
        }
        on_token(token)?;
        generated.push(token);
        unread = vec![token];
    }
    Ok(generated)
}

/// The likeliest token (the first of equals), or one drawn at `temperature`.
fn choose(logits: &[f32], temperature: f64, stream: &mut Stream) -> u32 {
    let mut best = 0;
    for (at, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = at;
        }
    }
    if temperature == 0.0 {
        return best as u32;
    }
    let largest = f64::from(logits[best]);
    let weight = |logit: f32| libm::exp((f64::from(logit) - largest) / temperature);
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut left = stream.uniform() * total;
    for (at, &logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return at as u32;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::data::Batch;
    use crate::runtime::device::Device;
    use crate::runtime::model::ModelConfig;

    fn model() -> Model {
        let config = ModelConfig {
            vocab_size: 131,
            d_model: 24,
            n_layer: 3,
            n_head: 4,
            n_kv_head: 2,
            d_ff: 40,
            init_std: 0.3,
            ..ModelConfig::default()
        };
        Model::new(&config, 5, &Device::cpu()).unwrap()
    }

    #[test]
    fn logits_with_a_cache_are_those_without() {
        for form in [Form::Fused, Form::Composed] {
            let model = model().with_form(form);
            let tokens: Vec<u32> = (0..20).map(|i| i * 31 % 131).collect();
            let batch = Batch::single_document(tokens.clone(), tokens.clone());
            let whole = model.logits(&batch).unwrap();
            let mut cache = KvCache::new(&model);
            let mut read = 0;
            for count in [7, 1, 1, 5, 6] {
                let logits = model.generate_step(&tokens[read..read + count], &mut cache).unwrap();
                read += count;
                assert_eq!((logits.len(), cache.len()), (131, read));
                let expected = &whole[(read - 1) * 131..read * 131];
                for (found, expected) in logits.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn greedy_generation_repeats_itself_and_sampling_follows_its_seed() {
        let model = model();
        let run = |temperature, seed| {
            let sampling = Sampling { temperature, seed };
            let mut seen = Vec::new();
            let tokens = generate(&model, &[0, 5], 12, 999, &sampling, |token| {
                seen.push(token);
                Ok(())
            });
            let tokens = tokens.unwrap();
            assert_eq!(tokens, seen);
            assert_eq!(tokens.len(), 12);
            assert!(tokens.iter().all(|&token| token < 131), "{tokens:?}");
            tokens
        };
        assert_eq!(run(0.0, 1), run(0.0, 2));
        assert_eq!(run(1.5, 1), run(1.5, 1));
        assert_ne!(run(1.5, 1), run(1.5, 2));
    }

    #[test]
    fn generation_ends_with_the_document() {
        let model = model();
        let sampling = Sampling { temperature: 0.0, seed: 0 };
        let free = generate(&model, &[0], 5, 999, &sampling, |_| Ok(())).unwrap();
        let ended = generate(&model, &[0], 5, free[0], &sampling, |_| Ok(())).unwrap();
        assert!(ended.is_empty());
    }

    #[test]
    fn sampling_follows_the_probabilities() {
        let logits = [0.0, 0.0f32 + 3f32.ln(), f32::NEG_INFINITY];
        let mut stream = Stream::new(3, "test");
        let draws = 20_000;
        let ones = (0..draws).filter(|_| choose(&logits, 1.0, &mut stream) == 1).count();
        let share = ones as f64 / f64::from(draws);
        assert!((share - 0.75).abs() < 0.015, "{share}");
        assert_eq!(choose(&logits, 0.0, &mut stream), 1);
    }
}
