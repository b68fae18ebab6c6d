//! Trees through the model, many at once.
//!
//! In → trees; out → the scores of each, in order. **Method.** Sorted by length, trees fill batches
//! up to a number of tokens; each thread takes one batch after another and computes it alone.
//! **Invariants.** Neither the batches nor the threads change a bit ([`Model::score`] says why).
//! **Cost.** A forward pass over the trees' tokens; memory as [`memory`] says.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::base::error::{Error, Result};
use crate::base::{interrupt, parallel, pool::Pool};
use crate::runtime::model::{Model, ModelConfig, TargetScore, Tree};

/// *How* trees go through a model; no score depends on it.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub threads: usize,
    /// Tokens of a batch; a longer tree is a batch of its own.
    pub batch_tokens: usize,
}

/// Returns the scores of each tree's targets; `done` is told of trees as they are finished.
///
/// # Errors
/// Whatever the model gives; failed: a likelihood that is no number; interrupted.
pub fn score(
    model: &Model,
    trees: &[Tree],
    how: How,
    done: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Vec<TargetScore>>> {
    let pools: Pool<Result<ThreadPool, ThreadPoolBuildError>> = Pool::default();
    let one_thread = || ThreadPoolBuilder::new().num_threads(1).build();
    let compute = |batch: Vec<usize>| {
        interrupt::check()?;
        let chosen: Vec<Tree> = batch.iter().map(|&tree| trees[tree].clone()).collect();
        let scores = pools.with(one_thread, |pool| match pool {
            Ok(pool) => pool.install(|| model.score(&chosen)),
            Err(error) => Err(Error::failed(format!("cannot start a thread: {error}"))),
        })?;
        done(batch.len());
        Ok((batch, scores))
    };
    let mut all: Vec<Vec<TargetScore>> = vec![Vec::new(); trees.len()];
    let batches = batches(trees, how.batch_tokens).into_iter().map(Ok);
    parallel::ordered(how.threads, 2 * how.threads, batches, compute, |(batch, scores)| {
        let mut rest = scores.as_slice();
        for tree in batch {
            let targets = trees[tree].branches.iter().map(|branch| branch.targets.len()).sum();
            let (own, behind) = rest.split_at(targets);
            check(own)?;
            all[tree] = own.to_vec();
            rest = behind;
        }
        assert!(rest.is_empty(), "a score for every target and no other");
        Ok(())
    })?;
    Ok(all)
}

/// A model whose training diverged gives NaN or infinity, which has no figure and no form in JSON.
fn check(scores: &[TargetScore]) -> Result<()> {
    match scores.iter().all(|score| score.nats.is_finite()) {
        true => Ok(()),
        false => Err(Error::failed("the model gives a token a likelihood that is no number")
            .with_hint("its training has diverged: take an earlier checkpoint")),
    }
}

/// The places of trees, the longest first, so that threads end at about the same time.
fn batches(trees: &[Tree], tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..trees.len()).collect();
    order.sort_by_key(|&tree| (std::cmp::Reverse(trees[tree].tokens()), tree));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for tree in order {
        let needed = trees[tree].tokens();
        if needed > room || batches.is_empty() {
            batches.push(Vec::new());
            room = tokens.max(needed);
        }
        room -= needed;
        batches.last_mut().expect("one is open").push(tree);
    }
    batches
}

/// About how many bytes scoring takes: the parameters, and on each thread the values that one block
/// and the head hold at once.
pub fn memory(config: &ModelConfig, length: usize, how: How) -> u64 {
    let tokens = how.batch_tokens.max(length) as u64;
    let (d, f) = (config.d_model as u64, config.d_ff as u64);
    let logits = 256 * config.padded_vocab() as u64;
    4 * (config.parameter_count() + how.threads as u64 * (tokens * (8 * d + 3 * f) + 2 * logits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Stream;
    use crate::runtime::device::Device;
    use crate::runtime::model::Branch;

    fn trees() -> Vec<Tree> {
        let mut stream = Stream::new(3, "trees");
        let mut ids = |count: u64| -> Vec<u32> {
            (0..count).map(|_| (stream.next_u64() % 97) as u32).collect()
        };
        (0..23)
            .map(|tree| {
                let branch = |targets: Vec<u32>| Branch {
                    tokens: targets[..targets.len() - 1].to_vec(),
                    targets,
                };
                let branches = (0..1 + tree % 4).map(|at| branch(ids(1 + (tree + at) % 5)));
                let branches = branches.collect();
                Tree { stem: ids(1 + tree * 7 % 40), branches }
            })
            .collect()
    }

    #[test]
    fn neither_batches_nor_threads_change_a_bit() {
        let config = ModelConfig {
            vocab_size: 97,
            d_model: 32,
            n_layer: 2,
            n_head: 2,
            n_kv_head: 1,
            d_ff: 48,
            init_std: 0.2,
            ..ModelConfig::default()
        };
        let model = Model::new(&config, 3, &Device::cpu()).unwrap();
        let trees = trees();
        let run = |threads, batch_tokens| {
            let count = std::sync::atomic::AtomicUsize::new(0);
            let done = |more| {
                count.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
            };
            let scores = score(&model, &trees, How { threads, batch_tokens }, &done).unwrap();
            assert_eq!(count.into_inner(), trees.len());
            scores
        };
        let expected = run(1, 1);
        let targets = |tree: &Tree| tree.branches.iter().map(|it| it.targets.len()).sum::<usize>();
        for (scores, tree) in expected.iter().zip(&trees) {
            assert_eq!(scores.len(), targets(tree));
        }
        for (threads, batch_tokens) in [(1, 64), (2, 100), (3, 4000)] {
            assert_eq!(run(threads, batch_tokens), expected, "{threads} {batch_tokens}");
        }
    }

    #[test]
    fn a_likelihood_that_is_no_number_is_no_score() {
        let score = |nats| TargetScore { nats, is_likeliest: false };
        assert!(check(&[score(1.5), score(0.0)]).is_ok());
        for wrong in [f32::NAN, f32::INFINITY] {
            let error = check(&[score(1.5), score(wrong)]).unwrap_err();
            assert!(error.to_string().contains("no number"), "{error}");
        }
    }

    #[test]
    fn batches_hold_every_tree_once_and_no_more_tokens_than_asked() {
        let trees = trees();
        for tokens in [1, 50, 4000] {
            let batches = batches(&trees, tokens);
            let mut all = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..trees.len()).collect::<Vec<_>>());
            for batch in batches {
                let sum: usize = batch.iter().map(|&tree| trees[tree].tokens()).sum();
                assert!(sum <= tokens || batch.len() == 1);
            }
        }
    }
}
