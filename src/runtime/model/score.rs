//! The likelihood of given tokens, where several continuations share what comes before them.
//!
//! In → [`Tree`]s: a stem, and branches behind it with the tokens that their last positions should
//! predict; out → one [`TargetScore`] for each target. **Method.** Trees lie side by side in one
//! row, so that each matrix product is over all of them and a stem is computed once; attention runs
//! for each stem and each branch by itself, over exactly the tokens that it sees; the head runs
//! only at positions that have a target.
//!
//! **Invariants.** A score has the same bits whatever lies beside its tree, in whatever order: what
//! is computed token by token depends on nothing else, attention has the sizes of its tree alone,
//! and a row of a product is summed along the inner dimension in an order that depends on the
//! matrix alone, as long as the product has more than one row (`ops::linear`) or, on a CPU without
//! fused multiply-add, more than 64 (gemm 0.19, `gemm_basic_generic` and `kernel_params`: fewer
//! rows may take other kernels or cut the sum elsewhere), which [`PRODUCT_ROWS`] ensures. **Cost.**
//! One forward pass over the distinct tokens, at least [`PRODUCT_ROWS`]; [`HEAD_ROWS`] ·
//! vocabulary · 4 bytes of logits.

use candle_core::Tensor;

use super::{Model, Sight, Weights};
use crate::base::error::{Error, Result};
use crate::runtime::cpu::{self, Elements, kernel};
use crate::runtime::ops::{self, Visible};
use crate::runtime::value::Value;

/// The fewest rows that a product has; missing ones are padding, whose results nobody reads.
const PRODUCT_ROWS: usize = 128;

/// Rows of logits that exist at once.
const HEAD_ROWS: usize = 256;

/// Tokens that a text begins with, and the ways it may go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Never empty.
    pub stem: Vec<u32>,
    pub branches: Vec<Branch>,
}

/// One continuation of a stem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// The tokens that the model reads behind the stem; may be empty.
    pub tokens: Vec<u32>,
    /// The tokens that the last positions of stem and branch should predict, one for each; at least
    /// one, and no more than there are positions.
    pub targets: Vec<u32>,
}

impl Tree {
    /// The number of tokens that a pass computes for the tree.
    pub fn tokens(&self) -> usize {
        let branches = self.branches.iter().map(|branch| branch.tokens.len());
        self.stem.len() + branches.sum::<usize>()
    }
}

/// How well a target was predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetScore {
    /// −ln of its probability.
    pub nats: f32,
    /// Whether it is the likeliest token, the first of equals.
    pub is_likeliest: bool,
}

/// Neighbouring tokens of a row that attend together: a stem, or a branch behind its stem.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    first: usize,
    tokens: usize,
    /// First token and length of the stem, for a branch.
    stem: Option<(usize, usize)>,
}

/// Trees side by side in one row.
#[derive(Default)]
struct Row {
    ids: Vec<u32>,
    positions: Vec<u32>,
    parts: Vec<Part>,
    /// (position in the row, target), in the order of trees, branches and targets.
    targets: Vec<(usize, u32)>,
}

impl Row {
    fn new(trees: &[Tree]) -> Row {
        let mut row = Row::default();
        for tree in trees {
            assert!(!tree.stem.is_empty(), "a tree has a stem");
            let stem = row.push(&tree.stem, None);
            for branch in &tree.branches {
                let own = row.push(&branch.tokens, Some((stem, tree.stem.len())));
                let (length, targets) = (tree.stem.len() + branch.tokens.len(), &branch.targets);
                let fit = (1..=length).contains(&targets.len());
                assert!(fit, "{} targets over {length} positions", targets.len());
                for (target, at) in targets.iter().zip(length - targets.len()..) {
                    let behind = at.checked_sub(tree.stem.len()).map(|behind| own + behind);
                    row.targets.push((behind.unwrap_or(stem + at), *target));
                }
            }
        }
        let padding = PRODUCT_ROWS.saturating_sub(row.ids.len());
        row.ids.resize(row.ids.len() + padding, 0);
        row.positions.resize(row.ids.len(), 0);
        row
    }

    /// Adds tokens that attend together and returns where they begin.
    fn push(&mut self, ids: &[u32], stem: Option<(usize, usize)>) -> usize {
        let (first, before) = (self.ids.len(), stem.map_or(0, |(_, length)| length));
        self.ids.extend_from_slice(ids);
        self.positions.extend((before..before + ids.len()).map(|position| position as u32));
        if !ids.is_empty() {
            self.parts.push(Part { first, tokens: ids.len(), stem });
        }
        first
    }

    fn check(&self, vocabulary: usize) -> Result<()> {
        let targets = self.targets.iter().map(|(_, target)| target);
        let outside = |id: &&u32| **id as usize >= vocabulary;
        match self.ids.iter().chain(targets).find(outside) {
            None => Ok(()),
            Some(id) => {
                let message = format!("token outside the vocabulary of {vocabulary}: {id}");
                Err(Error::failed(message)
                    .with_hint("the tokenizer and the model do not belong together"))
            }
        }
    }
}

impl Model {
    /// How well each target of `trees` is predicted, in their order.
    pub fn score(&self, trees: &[Tree]) -> Result<Vec<TargetScore>> {
        let row = Row::new(trees);
        row.check(self.config.vocab_size)?;
        let weights = Weights::constant(self);
        let pass = self.pass(row.positions, Sight::Parts(row.parts))?;
        let shape = (1, row.ids.len());
        let hidden = self.hidden(&weights, &row.ids, shape, &pass, &mut [])?; // [1, T, d]
        self.read_targets(&weights, &hidden.detached().squeeze(0)?, &row.targets)
    }

    /// The head, over the places that have a target: `hidden` is [T, d].
    fn read_targets(
        &self,
        weights: &Weights,
        hidden: &Tensor,
        targets: &[(usize, u32)],
    ) -> Result<Vec<TargetScore>> {
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.sort_by_key(|&target| targets[target].0);
        let by_place: Vec<&[usize]> =
            order.chunk_by(|&a, &b| targets[a].0 == targets[b].0).collect();
        let mut scores = vec![TargetScore { nats: 0.0, is_likeliest: false }; targets.len()];
        let mut row = vec![0.0; self.config.vocab_size];
        for places in by_place.chunks(HEAD_ROWS) {
            let mut ids: Vec<u32> = places.iter().map(|them| targets[them[0]].0 as u32).collect();
            ids.resize(ids.len().max(PRODUCT_ROWS), ids[0]);
            let ids = Tensor::new(ids.as_slice(), hidden.device())?;
            let chosen = Value::constant(&hidden.index_select(&ids, 0)?, self.form); // [N, d]
            let logits = ops::linear(&chosen, weights.head())?.detached(); // [N, Vₚ]
            let (width, logits) = (logits.dim(1)?, logits.to_device(&candle_core::Device::Cpu)?);
            for (logits, them) in Elements::of(&logits)?.chunks_exact(width).zip(places) {
                row.copy_from_slice(&logits[..self.config.vocab_size]);
                self.config.head().bend(&mut row);
                let wanted = them.iter().map(|&target| targets[target].1 as usize);
                for (score, target) in read_logits(&mut row, wanted).into_iter().zip(*them) {
                    scores[*target] = score;
                }
            }
        }
        Ok(scores)
    }

    /// Attention of each part by itself, over `window` tokens (0: all); q is [1, T, H·h], k and v
    /// are [1, T, K·h].
    pub(super) fn attend_in_parts(
        &self,
        q: &Value,
        k: &Value,
        v: &Value,
        parts: &[Part],
        window: usize,
    ) -> Result<Value> {
        let (heads, key_heads) = (self.config.n_head, self.config.kv_heads());
        let [q, k, v] = [q, k, v].map(Value::detached);
        let mut mixed = Vec::with_capacity(parts.len() + 1);
        for &Part { first, tokens, stem } in parts {
            let keys = tokens + stem.map_or(0, |(_, length)| length);
            let seen = |of: &Tensor| -> Result<Value> {
                let own = of.narrow(1, first, tokens)?;
                let all = match stem {
                    Some((first, length)) => {
                        Tensor::cat(&[&of.narrow(1, first, length)?, &own], 1)?
                    }
                    None => own,
                };
                Ok(Value::constant(&all.contiguous()?, self.form))
            };
            let own = Value::constant(&q.narrow(1, first, tokens)?.contiguous()?, self.form);
            let visible = Visible::after_cache(tokens, keys).within(window);
            let (k, v, softcap) = (seen(&k)?, seen(&v)?, self.config.attention_softcap);
            let one = ops::attention(&own, &k, &v, &visible, heads, key_heads, softcap)?;
            mixed.push(one.detached());
        }
        let computed: usize = parts.iter().map(|part| part.tokens).sum();
        let padding = q.dim(1)? - computed;
        if padding > 0 {
            mixed.push(Tensor::zeros((1, padding, q.dim(2)?), q.dtype(), q.device())?);
        }
        Ok(Value::constant(&Tensor::cat(&mixed, 1)?, self.form)) // [1, T, H·h]
    }
}

/// The scores of `targets` by one row of logits, which is overwritten.
fn read_logits(logits: &mut [f32], targets: impl Iterator<Item = usize>) -> Vec<TargetScore> {
    let largest = greatest(logits);
    let found: Vec<(f32, bool)> = targets
        .map(|target| {
            let is_first = || logits[..target].iter().all(|&logit| logit < largest);
            (logits[target], logits[target] == largest && is_first())
        })
        .collect();
    let log_sum = largest + cpu::ln(exponentials(logits, largest));
    let score = |(logit, is_likeliest)| TargetScore { nats: log_sum - logit, is_likeliest };
    found.into_iter().map(score).collect()
}

kernel! {
    fn greatest(logits: &[f32]) -> f32 {
        cpu::maximum(logits)
    }
}

kernel! {
    fn exponentials(logits: &mut [f32], shift: f32) -> f32 {
        cpu::exp_sum(logits, shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Stream;
    use crate::runtime::data::Batch;
    use crate::runtime::device::Device;
    use crate::runtime::model::ModelConfig;

    fn model() -> Model {
        let config = ModelConfig {
            vocab_size: 301,
            d_model: 48,
            n_layer: 2,
            n_head: 4,
            n_kv_head: 2,
            d_ff: 1200, // more than a product sums in one go
            init_std: 0.3,
            ..ModelConfig::default()
        };
        Model::new(&config, 5, &Device::cpu()).unwrap()
    }

    fn ids(stream: &mut Stream, count: usize) -> Vec<u32> {
        (0..count).map(|_| (stream.next_u64() % 301) as u32).collect()
    }

    /// A tree with branches of these lengths, whose targets are all their tokens.
    fn tree(stream: &mut Stream, stem: usize, branches: &[usize]) -> Tree {
        let stem = ids(stream, stem);
        let branch = |&length: &usize| {
            let targets = ids(stream, length);
            Branch { tokens: targets[..length - 1].to_vec(), targets }
        };
        Tree { stem, branches: branches.iter().map(branch).collect() }
    }

    #[test]
    fn a_branch_scores_as_the_whole_text_does() {
        let (model, mut stream) = (model(), Stream::new(1, "trees"));
        let tree = tree(&mut stream, 70, &[1, 9, 80]);
        let scores = model.score(std::slice::from_ref(&tree)).unwrap();
        let mut at = 0;
        for branch in &tree.branches {
            let inputs = [tree.stem.as_slice(), &branch.tokens].concat();
            let mut targets = vec![0; inputs.len() - branch.targets.len()];
            targets.extend(&branch.targets);
            let batch = Batch::single_document(inputs, targets);
            let expected = model.nats(&batch).unwrap();
            let logits = model.logits(&batch).unwrap();
            let first = expected.len() - branch.targets.len();
            for (place, target) in (first..).zip(&branch.targets) {
                let row = &logits[place * 301..][..301];
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let nats = expected[place];
                assert!((scores[at].nats - nats).abs() < 1e-4, "{:?} {nats}", scores[at]);
                assert_eq!(scores[at].is_likeliest, row[*target as usize] == largest);
                at += 1;
            }
        }
        assert_eq!(at, scores.len());
    }

    #[test]
    fn what_lies_beside_a_tree_changes_no_bit_of_its_scores() {
        let (model, mut stream) = (model(), Stream::new(2, "trees"));
        let shapes: [(usize, &[usize]); 6] =
            [(1, &[1]), (3, &[2, 5]), (64, &[1, 1, 1]), (65, &[64, 3]), (200, &[7]), (9, &[30; 4])];
        let trees: Vec<Tree> =
            shapes.iter().map(|(stem, branches)| tree(&mut stream, *stem, branches)).collect();
        let alone: Vec<Vec<TargetScore>> =
            trees.iter().map(|tree| model.score(std::slice::from_ref(tree)).unwrap()).collect();
        assert_eq!(model.score(&trees).unwrap(), alone.concat());
        let reversed: Vec<Tree> = trees.iter().rev().cloned().collect();
        let expected: Vec<TargetScore> = alone.iter().rev().flatten().copied().collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| model.score(&reversed)).unwrap(), expected);
    }

    #[test]
    fn the_first_of_equal_logits_is_the_likeliest() {
        let scores = read_logits(&mut [0.5, 2.0, 2.0, 1.0], [1, 2, 3].into_iter());
        let likeliest: Vec<bool> = scores.iter().map(|score| score.is_likeliest).collect();
        assert_eq!(likeliest, [true, false, false]);
        assert_eq!(scores[0].nats, scores[1].nats);
        let whole: f64 = scores.iter().map(|score| f64::from(-score.nats).exp()).sum();
        assert!((whole - (1.0 - 0.5f64.exp() / denominator())).abs() < 1e-6);
    }

    fn denominator() -> f64 {
        [0.5f64, 2.0, 2.0, 1.0].iter().map(|logit| logit.exp()).sum()
    }

    #[test]
    fn a_token_that_the_model_does_not_know_is_an_error() {
        let branch = Branch { tokens: vec![], targets: vec![301] };
        let error = model().score(&[Tree { stem: vec![1], branches: vec![branch] }]).unwrap_err();
        assert!(error.to_string().contains("301"), "{error}");
    }
}
