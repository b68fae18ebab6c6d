//! Generation with a cache of keys and values.
//!
//! In → a model, a prompt's tokens; out → the tokens it continues with. Keys and values of tokens
//! read before are kept, so a new token costs one token's forward pass; the cache grows by
//! doubling, so the copies cost little beside that. A text is written turn by turn ([`Draft`]), so
//! that several can take turns. Padded vocabulary rows have no logit here, so they are never
//! emitted. **Invariants.** A text depends on its own prompt and sampling alone, never on what is
//! generated beside it.

use std::collections::VecDeque;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::sampling::{Sampler, Sampling};
use super::weights::Weights;
use super::{Model, Sight};
use crate::base::error::{Error, Result};
use crate::runtime::cuda::{calls, memory::Array};
use crate::runtime::ops::{self, Visible};
use crate::runtime::value::{Form, Value};

/// Tokens that a new cache has room for.
const ROOM: usize = 128;

/// Keys and values of the tokens read so far, of every block.
pub struct KvCache {
    /// Keys and values of each block, [1, room, K·h].
    layers: Vec<Option<(Tensor, Tensor)>>,
    /// The same on a device.
    arrays: Vec<Option<(Array, Array)>>,
    tokens: usize,
    form: Form,
    watched: Option<Watched>,
}

/// The activations that a watching cache has recorded.
#[derive(Default)]
pub(super) struct Watched {
    /// Activations before each block, then behind the last: [1, T, d].
    pub streams: Vec<Tensor>,
    /// Queries [1, T, H·h] and keys [1, S, K·h] of each block.
    pub attention: Vec<(Tensor, Tensor)>,
}

/// Records the activations between two blocks, if the cache is watching.
pub(super) fn see(caches: &mut [&mut KvCache], x: &Value) {
    if let [cache] = caches
        && let Some(watched) = &mut cache.watched
    {
        watched.streams.push(x.detached());
    }
}

impl KvCache {
    /// An empty cache for `model`.
    pub fn new(model: &Model) -> KvCache {
        let (layers, form) = (vec![None; model.config.n_layer], model.form);
        let arrays = vec![None; model.config.n_layer];
        KvCache { layers, arrays, tokens: 0, form, watched: None }
    }

    /// An empty cache that also records activations ([`Watched`]).
    pub(super) fn watching(model: &Model) -> KvCache {
        KvCache { watched: Some(Watched::default()), ..KvCache::new(model) }
    }

    /// The recorded activations.
    pub(super) fn into_watched(self) -> Watched {
        self.watched.unwrap_or_default()
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
    pub(super) fn extend(
        &mut self,
        layer: usize,
        q: &Value,
        k: &Value,
        v: &Value,
    ) -> Result<(Value, Value)> {
        if let Some([k, v]) = Value::arrays([k, v])? {
            let all = self.tokens + k.dims()[1];
            let (keys, values) = self.arrays[layer].take().unzip();
            let keys = grown(keys, self.tokens, &k)?;
            let values = grown(values, self.tokens, &v)?;
            let read = [&keys, &values].map(|array| array.part(0, &[1, all, array.dims()[2]]));
            self.arrays[layer] = Some((keys, values));
            let [keys, values] = read.map(Value::constant_on_device);
            return Ok((keys, values));
        }
        let (k, v) = (k.detached().contiguous()?, v.detached().contiguous()?);
        let all = self.tokens + k.dim(1)?;
        let (keys, values) = match self.layers[layer].take() {
            Some((keys, values)) => (keys, values),
            None => (empty(&k, ROOM)?, empty(&v, ROOM)?),
        };
        let (keys, values) = (with_room(keys, all)?, with_room(values, all)?);
        keys.slice_set(&k, 1, self.tokens)?;
        values.slice_set(&v, 1, self.tokens)?;
        let read = (keys.narrow(1, 0, all)?, values.narrow(1, 0, all)?);
        self.layers[layer] = Some((keys, values));
        if let Some(watched) = &mut self.watched {
            watched.attention.push((q.detached(), read.0.clone()));
        }
        Ok((Value::constant(&read.0, self.form), Value::constant(&read.1, self.form)))
    }
}

/// The device buffer with `new` [1, T, K·h] written behind its first `tokens`; a buffer without
/// room for it is replaced by one of at least twice its size.
fn grown(buffer: Option<Array>, tokens: usize, new: &Array) -> Result<Array> {
    let (count, width) = (new.dims()[1], new.dims()[2]);
    let room = buffer.as_ref().map_or(0, |buffer| buffer.dims()[1]);
    let buffer = match buffer {
        Some(buffer) if tokens + count <= room => buffer,
        smaller => {
            let larger = new.like(&[1, ROOM.max(2 * room).max(tokens + count), width])?;
            if let Some(smaller) = smaller.filter(|_| tokens > 0) {
                let read = [1, tokens, width];
                calls::copy(&smaller.part(0, &read), &larger.part(0, &read))?;
            }
            larger
        }
    };
    calls::copy(new, &buffer.part(tokens * width, new.dims()))?;
    Ok(buffer)
}

/// A buffer for `room` tokens of the width and device of `like`.
fn empty(like: &Tensor, room: usize) -> Result<Tensor> {
    let (rows, _, width) = like.dims3()?;
    assert_eq!((rows, like.dtype()), (1, DType::F32), "a cache holds one text in f32");
    Ok(Tensor::zeros((1, room, width), DType::F32, like.device())?)
}

/// The buffer if it has room for `tokens`, else a copy with at least twice the room.
fn with_room(buffer: Tensor, tokens: usize) -> Result<Tensor> {
    let room = buffer.dim(1)?;
    if tokens <= room {
        return Ok(buffer);
    }
    let larger = empty(&buffer, tokens.max(2 * room))?;
    larger.slice_set(&buffer, 1, 0)?;
    Ok(larger)
}

impl Model {
    /// Reads `tokens` after those in `cache` and returns the last one's logits, vocab_size numbers.
    pub fn generate_step(&self, tokens: &[u32], cache: &mut KvCache) -> Result<Vec<f32>> {
        self.advance(tokens, cache, false)
    }

    /// Reads the next token of each text behind its cache, all in one pass: texts × vocab_size
    /// logits, each with the bits that [`Model::generate_step`] gives.
    fn advance_apart(&self, tokens: &[u32], caches: &mut [&mut KvCache]) -> Result<Vec<f32>> {
        self.check_tokens(tokens)?;
        if self.device.context().is_some() {
            let each = tokens.chunks(1).zip(caches);
            let each = each.map(|(token, cache)| self.advance(token, cache, false));
            return Ok(each.collect::<Result<Vec<_>>>()?.concat());
        }
        let positions = caches.iter().map(|cache| cache.tokens as u32).collect();
        let pass = self.pass(positions, Sight::Apart)?;
        let weights = Weights::constant(self).apart();
        let hidden = self.hidden(&weights, tokens, (1, tokens.len()), &pass, caches)?; // [1, N, d]
        caches.iter_mut().for_each(|cache| cache.tokens += 1);
        self.project(&weights, &hidden)
    }

    /// Attention of the next token of each of N texts over its own text: q is [1, N, H·h], k and v
    /// are [1, N, K·h].
    pub(super) fn attend_apart(
        &self,
        layer: usize,
        [q, k, v]: [&Value; 3],
        caches: &mut [&mut KvCache],
    ) -> Result<Value> {
        let (heads, key_heads) = (self.config.n_head, self.config.kv_heads());
        let (window, form) = (self.config.window_of(layer), self.form);
        let softcap = self.config.attention_softcap;
        let [q, k, v] = [q, k, v].map(Value::detached);
        let one = |(text, cache): (usize, &mut &mut KvCache)| -> Result<Tensor> {
            let own = |of: &Tensor| -> Result<Value> {
                Ok(Value::constant(&of.narrow(1, text, 1)?.contiguous()?, form))
            };
            let q = own(&q)?;
            let (k, v) = cache.extend(layer, &q, &own(&k)?, &own(&v)?)?; // [1, S, K·h] each
            let visible = Visible::after_cache(1, cache.tokens + 1).within(window);
            Ok(ops::attention(&q, &k, &v, &visible, heads, key_heads, softcap)?.detached())
        };
        let mixed = caches.par_iter_mut().enumerate().map(one).collect::<Result<Vec<_>>>()?;
        Ok(Value::constant(&Tensor::cat(&mixed, 1)?, form)) // [1, N, H·h]
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        let vocabulary = self.config.vocab_size;
        match tokens.iter().find(|&&token| token as usize >= vocabulary) {
            None => Ok(()),
            Some(token) => {
                Err(Error::failed(format!("token outside the vocabulary of {vocabulary}: {token}")))
            }
        }
    }

    /// As [`Model::generate_step`]; with `every`, the logits of all `tokens`: tokens × vocab_size.
    fn advance(&self, tokens: &[u32], cache: &mut KvCache, every: bool) -> Result<Vec<f32>> {
        self.check_tokens(tokens)?;
        assert!(!tokens.is_empty(), "a step of generation reads at least one token");
        let (count, before) = (tokens.len(), cache.tokens);
        let positions: Vec<u32> = (before..before + count).map(|at| at as u32).collect();
        let sight = Sight::Rows(Visible::after_cache(count, before + count));
        let pass = self.pass(positions, sight)?;
        let weights = Weights::constant(self);
        let hidden = self.hidden(&weights, tokens, (1, count), &pass, &mut [&mut *cache])?;
        cache.tokens += count;
        if every {
            return self.project(&weights, &hidden);
        }
        if self.device.context().is_some() {
            return self.project(&weights, &hidden.last_rows(1)?); // [1, 1, d]
        }
        let last = hidden.detached().narrow(1, count - 1, 1)?.contiguous()?; // [1, 1, d]
        self.project(&weights, &Value::constant(&last, self.form))
    }
}

/// The most tokens that one turn reads, so that a long prompt does not hold up the texts that take
/// turns with it.
const TURN: usize = 128;

/// A text that is being written, one turn at a time.
pub struct Draft {
    cache: KvCache,
    sampler: Sampler,
    unread: VecDeque<u32>,
}

/// The result of a turn.
pub struct Turn {
    /// Tokens that it read.
    pub read: usize,
    /// vocab_size logits for each token that the turn read, where all were asked for; else for the
    /// last one only.
    pub logits: Vec<f32>,
    /// The next token, once everything is read.
    pub token: Option<u32>,
}

impl Draft {
    /// A text that begins with `prompt`.
    ///
    /// # Errors
    /// Config: an empty prompt, or a sampling value out of range.
    pub fn new(model: &Model, prompt: &[u32], sampling: &Sampling) -> Result<Draft> {
        if prompt.is_empty() {
            return Err(Error::config("generation needs a token to start from")
                .with_hint("a document opens with the end-of-text token"));
        }
        sampling.check()?;
        let (cache, sampler) = (KvCache::new(model), Sampler::new(sampling, prompt));
        Ok(Draft { cache, sampler, unread: prompt.iter().copied().collect() })
    }

    /// Whether its next turn reads one token, as it does once the prompt is read.
    pub fn reads_one(&self) -> bool {
        self.unread.len() == 1
    }

    /// Reads the next tokens and, once none is left, draws another, which the next turn reads.
    /// With `every`, the result has the logits of all tokens read, not only of the last.
    pub fn turn(&mut self, model: &Model, every: bool) -> Result<Turn> {
        let read: Vec<u32> = self.unread.drain(..TURN.min(self.unread.len())).collect();
        let logits = model.advance(&read, &mut self.cache, every)?;
        Ok(self.draw(model, read.len(), logits))
    }

    /// One turn of each of `drafts`, all of which read one token: the weights are read once for all
    /// of them, and each result has the same bits as a turn of that draft alone.
    pub fn turns(model: &Model, drafts: &mut [&mut Draft]) -> Result<Vec<Turn>> {
        assert!(drafts.iter().all(|draft| draft.reads_one()), "a token of each text");
        let read: Vec<u32> = drafts.iter_mut().flat_map(|it| it.unread.pop_front()).collect();
        let mut caches: Vec<&mut KvCache> = drafts.iter_mut().map(|it| &mut it.cache).collect();
        let logits = model.advance_apart(&read, &mut caches)?;
        let logits = logits.par_chunks_exact(model.config.vocab_size);
        let turns = drafts.par_iter_mut().zip(logits);
        Ok(turns.map(|(draft, logits)| draft.draw(model, 1, logits.to_vec())).collect())
    }

    /// Draws the next token if nothing is left to read; `read` tokens were read in this turn.
    fn draw(&mut self, model: &Model, read: usize, logits: Vec<f32>) -> Turn {
        let last = &logits[logits.len() - model.config.vocab_size..];
        let token = self.unread.is_empty().then(|| self.sampler.next(last));
        self.unread.extend(token);
        Turn { read, logits, token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::data::Batch;
    use crate::runtime::device::Device;
    use crate::runtime::model::generate;
    use crate::runtime::model::trial::{FORMS, model, with};

    impl Draft {
        /// Reads all unread tokens but the last.
        pub fn read_all_but_one(&mut self, model: &Model) -> Result<()> {
            let last = self.unread.pop_back().unwrap();
            let read: Vec<u32> = self.unread.drain(..).collect();
            model.generate_step(&read, &mut self.cache)?;
            self.unread.push_back(last);
            Ok(())
        }
    }

    #[test]
    fn learned_positions_end_a_text() {
        let model = with(FORMS[2]);
        let sampling = Sampling::at(0.0, 0);
        let text = generate(&model, &[0; 15], 50, &[], &sampling, |_| Ok(true)).unwrap();
        assert_eq!(text.len(), 6); // 20 places are read, and what the last one says is shown
        let error = model.logits(&Batch::single_document(vec![1; 21], vec![1; 21])).unwrap_err();
        assert!(error.to_string().contains("20 positions"), "{error}");
    }

    #[test]
    fn logits_with_a_cache_are_those_without() {
        let forms = [Form::Fused, Form::Composed].into_iter();
        for (form, keys) in forms.flat_map(|form| FORMS.map(|keys| (form, keys))) {
            let model = with(keys).with_form(form);
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

    /// The greedy continuation with the whole text read anew for every token.
    fn without_cache(model: &Model, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut text = prompt.to_vec();
        for _ in 0..count {
            let batch = Batch::single_document(text.clone(), text.clone());
            let logits = model.logits(&batch).unwrap();
            let last = &logits[logits.len() - model.config().vocab_size..];
            let largest = (0..last.len()).rev().max_by(|&a, &b| last[a].total_cmp(&last[b]));
            text.push(largest.unwrap() as u32);
        }
        text.split_off(prompt.len())
    }

    #[test]
    fn greedy_tokens_with_a_cache_are_those_without_also_when_it_grows() {
        for seed in 0..4 {
            let model = Model::new(model().config(), seed, &Device::cpu()).unwrap();
            let prompt: Vec<u32> = (0..120 + seed as u32).map(|i| i * 17 % 131).collect();
            let sampling = Sampling::at(0.0, 0);
            let found = generate(&model, &prompt, 24, &[], &sampling, |_| Ok(true)).unwrap();
            assert_eq!(found, without_cache(&model, &prompt, 24), "seed {seed}");
        }
    }

    #[test]
    fn a_long_prompt_is_read_in_turns_and_gives_the_same_text() {
        let model = model();
        let prompt: Vec<u32> = (0..2 * TURN as u32 + 9).map(|i| i * 17 % 131).collect();
        let found = generate(&model, &prompt, 6, &[], &Sampling::at(0.0, 0), |_| Ok(true));
        assert_eq!(found.unwrap(), without_cache(&model, &prompt, 6));
        // All logits of the prompt, turn by turn.
        let batch = Batch::single_document(prompt.clone(), prompt.clone());
        let whole = model.logits(&batch).unwrap();
        let mut draft = Draft::new(&model, &prompt, &Sampling::at(0.0, 0)).unwrap();
        let turns: Vec<Turn> = (0..3).map(|_| draft.turn(&model, true).unwrap()).collect();
        let drawn: Vec<bool> = turns.iter().map(|turn| turn.token.is_some()).collect();
        assert_eq!(drawn, [false, false, true]);
        let logits: Vec<f32> = turns.into_iter().flat_map(|turn| turn.logits).collect();
        assert_eq!(logits.len(), whole.len());
        for (found, expected) in logits.iter().zip(&whole) {
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
    }

    #[test]
    fn greedy_generation_repeats_itself_and_sampling_follows_its_seed() {
        let model = model();
        let run = |temperature, seed| {
            let sampling = Sampling::at(temperature, seed);
            let mut seen = Vec::new();
            let tokens = generate(&model, &[0, 5], 12, &[], &sampling, |token| {
                seen.push(token);
                Ok(true)
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
    fn generation_ends_with_the_document_or_when_its_reader_has_enough() {
        let model = model();
        let sampling = Sampling::at(0.0, 0);
        let free = generate(&model, &[0], 5, &[], &sampling, |_| Ok(true)).unwrap();
        let ended = generate(&model, &[0], 5, &[130, free[0]], &sampling, |_| Ok(true)).unwrap();
        assert!(ended.is_empty());
        let one = generate(&model, &[0], 5, &[], &sampling, |_| Ok(false)).unwrap();
        assert_eq!(one, free[..1]);
        assert!(generate(&model, &[], 5, &[], &sampling, |_| Ok(true)).is_err());
    }
}
