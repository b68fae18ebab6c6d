//! What the loss before the first step must be, and what can only be wrong code.
//!
//! In → a freshly initialised model, its first batch and that batch's gradients; out → warnings, or
//! the error of a model that cannot learn. **Errors:** a loss or a gradient that is not finite, a
//! parameter whose gradient is zero. **Warnings:** a loss away from its expectation, rows of one
//! token, a batch that mostly repeats tokens.
//!
//! **The expectation.** After the final norm the hidden state has a mean square of 1, so the logit
//! of a token that has nothing to do with it is N(0, s²), s² = d·σ² for a width d and σ =
//! `init_std`. The token that was read has a logit `a` of its own: with a tied head its embedding
//! is part of the hidden state, and a is up to d·σ. A target v of V thus costs
//! ln((V − 1)·m + eᵃ) − logit(v), with m the mean of e^logit over the other tokens: e^(s²/2), as
//! long as s² < 2·ln V; beyond, the sum is its largest element and ln(V·m) = s·√(2·ln V) (Derrida,
//! *Random-energy model*, 1981). One pass with each token as its own target costs
//! n = ln(1 + (V − 1)·m·e⁻ᵃ) and so gives a, token by token; the targets' logits are then a where
//! a target repeats its input, and 0 on average elsewhere. So the expectation accounts for a tied
//! head, repeated tokens and few distinct ones (DNA, digits, bytes) as they are in the batch.
//!
//! **Tolerance.** 0.1 and three standard deviations of the average logit of the targets:
//! 3·s·√(Σ p²), with p the share of each distinct token among the targets. **Cost.** One forward
//! pass over the batch, once a run.

use std::collections::BTreeMap;

use crate::base::error::{Error, Result};
use crate::runtime::data::Batch;
use crate::runtime::model::Model;
use crate::runtime::step::StepGradients;

/// The share of repeated tokens above which copying the input is nearly all there is to learn.
const REPEATS_MAX: f64 = 0.9;

/// The expected loss before the first step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Nats a token.
    pub loss: f64,
    /// How far the loss may be from it without a warning.
    pub tolerance: f64,
    /// The share of targets that equal their input.
    pub repeats: f64,
}

impl Expected {
    /// The expectation for a fresh `model` on `batch`, computed `rows` rows at a time.
    pub fn of(model: &Model, batch: &Batch, rows: usize) -> Result<Expected> {
        let config = model.config();
        let spread = (config.d_model as f64).sqrt() * config.init_std * config.width_ratio();
        let others = log_sum(config.vocab_size as f64 - 1.0, spread);
        let (mut sum, mut repeats) = (0.0, 0);
        for first in (0..batch.rows).step_by(rows) {
            let part = batch.slice(first, rows.min(batch.rows - first));
            let own = Batch { targets: part.inputs.clone(), ..part.clone() };
            let pairs = part.inputs.iter().zip(&part.targets).enumerate();
            for (nats, (at, (input, target))) in model.nats(&own)?.iter().zip(pairs) {
                if part.trained.get(at) == Some(&false) {
                    continue;
                }
                let nats = f64::from(*nats).max(1e-6);
                let logit = others - libm::log(libm::exp(nats.min(700.0)) - 1.0);
                sum += nats + logit;
                if input == target {
                    sum -= logit;
                    repeats += 1;
                }
            }
        }
        let tokens = batch.trained_tokens().max(1) as f64;
        let targets = batch.trained_targets().1;
        let tolerance = 0.1 + 3.0 * spread * concentration(&targets).sqrt();
        let kept_small = config.z_loss * others * others;
        Ok(Expected {
            loss: sum / tokens + kept_small,
            tolerance,
            repeats: f64::from(repeats) / tokens,
        })
    }
}

/// ln Σ e^zᵢ of `count` numbers zᵢ from N(0, spread²); see the file's head.
fn log_sum(count: f64, spread: f64) -> f64 {
    let log = libm::log(count.max(1.0));
    let critical = (2.0 * log).sqrt();
    if spread < critical { log + spread * spread / 2.0 } else { spread * critical }
}

/// Σ p² over the distinct tokens: the inverse of their effective number.
fn concentration(tokens: &[u32]) -> f64 {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    tokens.iter().for_each(|token| *counts.entry(*token).or_default() += 1);
    let share = |count: &u64| *count as f64 / tokens.len() as f64;
    counts.values().map(|count| share(count) * share(count)).sum()
}

/// Checks a freshly initialised model's first step over `batch`. Returns the warnings.
///
/// # Errors
/// Failed: a loss or a gradient that is not finite, a parameter whose gradient is zero everywhere.
pub fn check(
    model: &Model,
    batch: &Batch,
    rows: usize,
    first: &StepGradients,
) -> Result<Vec<String>> {
    if !first.loss.is_finite() {
        let message = format!("the loss before the first step is {}", first.loss);
        return Err(Error::failed(message).with_hint(
            "a smaller `model.init_std`; if that does not help, `--set runtime.ops=composed` tells \
             a faulty kernel",
        ));
    }
    // Where no token sees another, attention has nothing to choose and no gradient.
    let alone = batch.positions.iter().all(|position| *position == 0);
    for (name, gradient) in first.gradients.on_host()?.iter() {
        let numbers = gradient.flatten_all()?.to_vec1::<f32>()?;
        if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(Error::failed(format!("the gradient of `{name}` holds {number}"))
                .with_hint("a smaller `model.init_std`, or `--set runtime.ops=composed`"));
        }
        let chooses = name.contains("q_proj") || name.contains("k_proj");
        let waits = (alone && chooses) || model.config().begins_unreached(name);
        if numbers.iter().all(|&number| number == 0.0) && !waits {
            return Err(Error::failed(format!("the gradient of `{name}` is zero everywhere"))
                .with_hint("no number that depends on it reaches the loss"));
        }
    }
    let expected = Expected::of(model, batch, rows)?;
    let mut unusual = Vec::new();
    if alone {
        unusual.push(
            "no token of the first batch sees another: every document, or `train.sequence`, is one \
             token long"
                .to_owned(),
        );
    }
    if expected.repeats > REPEATS_MAX {
        let share = 100.0 * expected.repeats;
        unusual.push(format!(
            "{share:.0}% of the first batch's tokens repeat the token before: there is little to \
             learn but to copy"
        ));
    }
    let Expected { loss, tolerance, .. } = expected;
    if (first.loss - loss).abs() > tolerance {
        let found = first.loss;
        unusual.push(format!(
            "the loss before the first step is {found:.3}: from this batch and `model.init_std` = \
             {} {loss:.3} ± {tolerance:.3} was expected",
            model.config().init_std
        ));
    }
    Ok(unusual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Stream;
    use crate::runtime::device::Device;
    use crate::runtime::model::ModelConfig;
    use crate::runtime::step::gradients;

    /// The default shape, the quickstart's, and one with a head of its own.
    fn shapes(vocab_size: usize) -> [ModelConfig; 3] {
        let small = ModelConfig { vocab_size, n_layer: 3, ..ModelConfig::default() };
        let quick = ModelConfig {
            d_model: 128,
            n_head: 4,
            n_kv_head: 2,
            d_ff: 352,
            init_std: 0.056,
            ..small.clone()
        };
        [small.clone(), quick, ModelConfig { tied: false, ..small }]
    }

    /// Four rows of 64 tokens.
    fn batch(tokens: impl Iterator<Item = u32>) -> Batch {
        let tokens: Vec<u32> = tokens.take(257).collect();
        assert_eq!(tokens.len(), 257);
        let mut batch = Batch::single_document(tokens[..256].to_vec(), tokens[1..].to_vec());
        (batch.rows, batch.sequence) = (4, 64);
        batch.positions = (0..256).map(|at| at % 64).collect();
        batch
    }

    fn bytes(text: &str, from: usize) -> Batch {
        batch(text.bytes().skip(from).map(|byte| u32::from(byte) + 1))
    }

    fn drawn(alphabet: &'static [u8], seed: u64) -> Batch {
        let mut stream = Stream::new(seed, "letters");
        batch((0..).map(move |_| {
            let at = (stream.uniform() * alphabet.len() as f64) as usize;
            u32::from(alphabet[at]) + 1
        }))
    }

    /// Ranks by Zipf's law, as tokens of prose in a vocabulary of 8,192 are.
    fn prose_tokens(seed: u64) -> Batch {
        let mut stream = Stream::new(seed, "prose");
        batch((0..).map(move |_| (libm::exp(stream.uniform() * 9.0) - 1.0) as u32))
    }

    fn assert_expected(kind: &str, vocabulary: usize, seed: u64, batch: &Batch) {
        for config in shapes(vocabulary) {
            let model = Model::new(&config, seed, &Device::cpu()).unwrap();
            let nats = model.nats(batch).unwrap();
            let loss = nats.iter().map(|&nats| f64::from(nats)).sum::<f64>() / 256.0;
            let expected = Expected::of(&model, batch, 4).unwrap();
            let (distance, tied) = (loss - expected.loss, config.tied);
            assert!(
                distance.abs() < expected.tolerance,
                "{kind}, seed {seed}, d {}, tied {tied}: {loss} and {expected:?}",
                config.d_model
            );
        }
    }

    #[test]
    fn sound_data_of_every_kind_meet_the_expectation_at_sixteen_seeds() {
        let code = include_str!("step.rs");
        let prose = include_str!("../../README.md");
        for seed in 0..16 {
            let from = 100 * seed as usize;
            assert_expected("DNA", 257, seed, &drawn(b"ACGT", seed));
            assert_expected("hex", 257, seed, &drawn(b"0123456789abcdef", seed));
            assert_expected("code", 257, seed, &bytes(code, from));
            assert_expected("prose", 257, seed, &bytes(prose, from));
            assert_expected("prose tokens", 8192, seed, &prose_tokens(seed));
            assert_expected("one letter", 257, seed, &drawn(b"A", seed));
        }
    }

    #[test]
    fn a_wide_start_is_expected_too_and_another_one_is_noticed() {
        let batch = drawn(b"ACGT", 3);
        for init_std in [0.3, 1.0] {
            let [config, ..] = shapes(257).map(|shape| ModelConfig { init_std, ..shape });
            let model = Model::new(&config, 1, &Device::cpu()).unwrap();
            let first = gradients(&model, &batch, 4).unwrap();
            assert_eq!(check(&model, &batch, 4, &first).unwrap(), [""; 0], "{init_std}");
        }
        // Parameters of one deviation under the name of another.
        let [config, ..] = shapes(8192);
        let wide = ModelConfig { init_std: 0.2, ..config.clone() };
        let wide = Model::new(&wide, 1, &Device::cpu()).unwrap();
        let tensors = wide.parameters().iter().map(|(name, t)| (name.to_owned(), t.clone()));
        let model = Model::from_tensors(&config, tensors.collect(), &Device::cpu()).unwrap();
        let batch = prose_tokens(1);
        let first = gradients(&model, &batch, 4).unwrap();
        let unusual = check(&model, &batch, 4, &first).unwrap();
        assert!(unusual.len() == 1 && unusual[0].contains("was expected"), "{unusual:?}");
    }

    #[test]
    fn what_is_no_number_or_has_no_gradient_stops_the_run() {
        let [config, ..] = shapes(257);
        let model = Model::new(&config, 1, &Device::cpu()).unwrap();
        let batch = drawn(b"ACGT", 1);
        let mut first = gradients(&model, &batch, 4).unwrap();
        assert_eq!(check(&model, &batch, 4, &first).unwrap(), [""; 0]);
        let name = "model.norm.weight";
        let zeros = model.parameters().get(name).unwrap().zeros_like().unwrap();
        first.gradients.insert(name, zeros);
        let message = check(&model, &batch, 4, &first).unwrap_err().to_string();
        assert!(message.contains("`model.norm.weight` is zero everywhere"), "{message}");
        first.loss = f64::NAN;
        assert!(check(&model, &batch, 4, &first).is_err());
    }

    #[test]
    fn rows_of_one_token_and_copies_are_said_and_go_on() {
        let [config, ..] = shapes(257);
        let model = Model::new(&config, 1, &Device::cpu()).unwrap();
        let mut alone = drawn(b"ACGT", 1);
        (alone.rows, alone.sequence) = (256, 1);
        alone.positions = vec![0; 256];
        let first = gradients(&model, &alone, 64).unwrap();
        let unusual = check(&model, &alone, 64, &first).unwrap();
        assert!(unusual[0].contains("sees another"), "{unusual:?}");
        let mut unshifted = drawn(b"ACGT", 1);
        unshifted.targets.clone_from(&unshifted.inputs);
        let first = gradients(&model, &unshifted, 4).unwrap();
        let unusual = check(&model, &unshifted, 4, &first).unwrap();
        assert!(unusual[0].contains("100% of the first batch's tokens repeat"), "{unusual:?}");
    }
}
