//! Which token comes next.
//!
//! In → logits, the tokens so far; out → one token. **Method**, in the order of `transformers`'
//! processors (`generation/logits_process.py`), which give the same candidates: a repetition
//! penalty on the logits of tokens that occurred (Keskar et al., *CTRL*, 2019), temperature, the k
//! likeliest (Fan et al., 2018), the fewest that reach a share of the probability (Holtzman et al.,
//! *The Curious Case of Neural Text Degeneration*, 2020), those of at least a share of the
//! likeliest's probability (Nguyen et al., *Min-p*, 2024). One of those left is drawn from a random
//! stream with its own seed. Of equally likely tokens the lower id comes first. **Cost.** One pass
//! over the logits, and a sort of them where a limit needs one.

use std::collections::BTreeSet;

use crate::base::error::{Error, Result};
use crate::base::rng::Stream;

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// The seed of the stream that draws tokens.
    pub seed: u64,
    /// Draws among this many of the likeliest; 0: among all.
    pub top_k: usize,
    /// Draws among the fewest tokens that have this probability together; 1: among all.
    pub top_p: f64,
    /// Draws among tokens of at least this share of the likeliest's probability; 0: among all.
    pub min_p: f64,
    /// Divides the logits above 0 of tokens that occurred, and multiplies those below; 1: neither.
    pub repetition_penalty: f64,
}

impl Sampling {
    /// From the whole distribution at `temperature`.
    pub fn at(temperature: f64, seed: u64) -> Sampling {
        let (top_k, top_p, min_p, repetition_penalty) = (0, 1.0, 0.0, 1.0);
        Sampling { temperature, seed, top_k, top_p, min_p, repetition_penalty }
    }

    /// Refuses values out of range, naming the flag.
    pub fn check(&self) -> Result<()> {
        let Sampling { temperature, top_p, min_p, repetition_penalty: penalty, .. } = *self;
        // (flag, value, what fits it, whether it does); NaN fits nothing.
        let numbers = [
            ("temperature", temperature, "0 or more", temperature >= 0.0),
            ("top-p", top_p, "above 0, at most 1", top_p > 0.0 && top_p <= 1.0),
            ("min-p", min_p, "0 to 1", (0.0..=1.0).contains(&min_p)),
            ("repetition-penalty", penalty, "above 0", penalty > 0.0),
        ];
        match numbers.iter().find(|(_, value, _, fits)| !fits || value.is_infinite()) {
            Some(("temperature", value, range, _)) => {
                let message = format!("`--temperature` is {value}: expected {range}");
                Err(Error::config(message).with_hint("0 takes the likeliest token"))
            }
            Some((flag, value, range, _)) => {
                Err(Error::config(format!("`--{flag}` is {value}: expected {range}")))
            }
            None => Ok(()),
        }
    }
}

/// Chooses the tokens of one text.
pub struct Sampler {
    sampling: Sampling,
    stream: Stream,
    seen: BTreeSet<u32>,
}

impl Sampler {
    /// A sampler for a text that begins with `prompt`.
    pub fn new(sampling: &Sampling, prompt: &[u32]) -> Sampler {
        let stream = Stream::new(sampling.seed, "generate");
        let remembers = sampling.repetition_penalty != 1.0;
        let seen = if remembers { prompt.iter().copied().collect() } else { BTreeSet::new() };
        Sampler { sampling: sampling.clone(), stream, seen }
    }

    /// The next token.
    pub fn next(&mut self, logits: &[f32]) -> u32 {
        let penalty = self.sampling.repetition_penalty as f32;
        if penalty == 1.0 {
            return self.choose(logits);
        }
        let mut logits = logits.to_vec();
        for &token in &self.seen {
            let logit = &mut logits[token as usize];
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
        let token = self.choose(&logits);
        self.seen.insert(token);
        token
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        let best = likeliest(logits);
        if self.sampling.temperature == 0.0 {
            return best as u32;
        }
        let largest = f64::from(logits[best]);
        let weight =
            |logit: f32| libm::exp((f64::from(logit) - largest) / self.sampling.temperature);
        let mut weights: Vec<f64> = logits.iter().map(|&logit| weight(logit)).collect();
        self.limit(&mut weights);
        let total: f64 = weights.iter().sum();
        let mut left = self.stream.uniform() * total;
        for (at, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return at as u32;
            }
        }
        best as u32
    }

    /// Sets the weights of tokens that the limits exclude to 0; the likeliest, whose weight is 1,
    /// stays.
    fn limit(&self, weights: &mut [f64]) {
        let Sampling { top_k, top_p, min_p, .. } = self.sampling;
        if (1..weights.len()).contains(&top_k) {
            let mut sorted = weights.to_vec();
            let (_, least, _) = sorted.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a));
            let least = *least;
            weights.iter_mut().filter(|weight| **weight < least).for_each(|weight| *weight = 0.0);
        }
        if top_p < 1.0 {
            let mut order: Vec<usize> =
                (0..weights.len()).filter(|&at| weights[at] > 0.0).collect();
            order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
            let enough = top_p * order.iter().map(|&at| weights[at]).sum::<f64>();
            let mut sum = 0.0;
            for at in order {
                if sum >= enough {
                    weights[at] = 0.0;
                } else {
                    sum += weights[at];
                }
            }
        }
        if min_p > 0.0 {
            weights.iter_mut().filter(|weight| **weight < min_p).for_each(|weight| *weight = 0.0);
        }
    }
}

/// The index of the largest number, the first of equals.
fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (at, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = at;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ln of probabilities 0.4, 0.1, 0.3, 0.2.
    fn logits() -> Vec<f32> {
        [0.4f32, 0.1, 0.3, 0.2].map(f32::ln).to_vec()
    }

    /// The tokens that many draws give, and the share of the first.
    fn drawn(sampling: Sampling) -> (BTreeSet<u32>, f64) {
        let mut sampler = Sampler::new(&sampling, &[]);
        let draws: Vec<u32> = (0..20_000).map(|_| sampler.next(&logits())).collect();
        let first = draws.iter().filter(|&&token| token == 0).count();
        (draws.iter().copied().collect(), first as f64 / draws.len() as f64)
    }

    #[test]
    fn each_limit_leaves_the_tokens_it_says_in_their_proportions() {
        let whole = Sampling::at(1.0, 3);
        for (sampling, tokens, share) in [
            (whole.clone(), &[0, 1, 2, 3][..], 0.4),
            (Sampling { top_k: 2, ..whole.clone() }, &[0, 2], 0.4 / 0.7),
            (Sampling { top_k: 9, ..whole.clone() }, &[0, 1, 2, 3], 0.4),
            // 0.4 + 0.3 reach 0.69, and would not reach 0.71.
            (Sampling { top_p: 0.69, ..whole.clone() }, &[0, 2], 0.4 / 0.7),
            (Sampling { top_p: 0.71, ..whole.clone() }, &[0, 2, 3], 0.4 / 0.9),
            (Sampling { top_p: 0.01, ..whole.clone() }, &[0], 1.0),
            // Half of 0.4 is 0.2; rounding may take either side of exactly that.
            (Sampling { min_p: 0.51, ..whole.clone() }, &[0, 2], 0.4 / 0.7),
            (Sampling { min_p: 0.49, ..whole.clone() }, &[0, 2, 3], 0.4 / 0.9),
            // The share of what the k likeliest have.
            (Sampling { top_k: 2, top_p: 0.5, ..whole.clone() }, &[0], 1.0),
            (Sampling { temperature: 0.0, ..whole }, &[0], 1.0),
        ] {
            let (found, first) = drawn(sampling.clone());
            assert_eq!(found, BTreeSet::from_iter(tokens.iter().copied()), "{sampling:?}");
            assert!((first - share).abs() < 0.015, "{sampling:?}: {first}, not {share}");
        }
    }

    #[test]
    fn a_token_that_occurred_is_less_likely_whatever_its_sign() {
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::at(0.0, 0) };
        assert_eq!(Sampler::new(&sampling, &[1]).next(&[1.0, 1.5, 0.9]), 0);
        assert_eq!(Sampler::new(&sampling, &[1]).next(&[-1.5, -1.0, -1.6]), 0);
        let mut sampler = Sampler::new(&sampling, &[]);
        let tokens: Vec<u32> = (0..3).map(|_| sampler.next(&[1.0, 1.5, 1.2])).collect();
        assert_eq!(tokens, [1, 2, 0]);
    }

    #[test]
    fn impossible_tokens_are_never_drawn_and_equals_go_to_the_first() {
        let sampler_of = |logits: &[f32], sampling: &Sampling| {
            let mut sampler = Sampler::new(sampling, &[]);
            (0..2000).map(|_| sampler.next(logits)).collect::<BTreeSet<u32>>()
        };
        let logits = [0.0, 3f32.ln(), f32::NEG_INFINITY];
        assert_eq!(sampler_of(&logits, &Sampling::at(1.0, 3)), BTreeSet::from([0, 1]));
        assert_eq!(sampler_of(&[1.0, 1.0], &Sampling::at(0.0, 3)), BTreeSet::from([0]));
    }

    #[test]
    fn senseless_values_are_refused_by_their_flag() {
        let good = Sampling::at(0.8, 0);
        assert!(good.check().is_ok());
        for (sampling, flag) in [
            (Sampling { temperature: -1.0, ..good.clone() }, "--temperature"),
            (Sampling { temperature: f64::INFINITY, ..good.clone() }, "--temperature"),
            (Sampling { top_p: 0.0, ..good.clone() }, "--top-p"),
            (Sampling { top_p: f64::NAN, ..good.clone() }, "--top-p"),
            (Sampling { min_p: 1.1, ..good.clone() }, "--min-p"),
            (Sampling { repetition_penalty: 0.0, ..good }, "--repetition-penalty"),
        ] {
            let error = sampling.check().unwrap_err();
            assert!(error.to_string().contains(flag) && error.exit_status() == 2, "{error}");
        }
    }
}
