//! What scores of choices say about a model: accuracy, bits per byte, perplexity, and how sure.
//!
//! In → [`ScoredItem`]s; out → [`Figures`]. **Method.** As lm-evaluation-harness: the answer is the
//! first choice of the greatest log-likelihood (`acc`), of the greatest over the characters of its
//! text (`acc_norm`) or over its bytes (`acc_bytes`); where there is only one choice, `acc` is the
//! share of items of which every token is the likeliest, and the perplexity is e to the mean of
//! −log-likelihood. Bits per byte are those of the right choice over the bytes of its text, and
//! their mean over items: smooth where accuracy is still chance (OLMES, arXiv 2406.08446).
//! Standard errors are the sample's standard deviation / √n; that of the perplexity is its
//! derivative times that of the mean. **Invariants.** Sums in item order, in f64.

use serde::{Deserialize, Serialize};

/// A choice with the scores that the model gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredChoice {
    /// ln of its probability.
    pub loglikelihood: f64,
    /// Tokens scored.
    pub tokens: u64,
    /// Unicode characters and UTF-8 bytes of its text, without the delimiter.
    pub characters: u64,
    pub bytes: u64,
    /// Whether every token is the likeliest one.
    pub is_greedy: bool,
}

/// An item with the scores of its choices.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredItem {
    /// From 0 in the original file.
    pub number: u64,
    pub choices: Vec<ScoredChoice>,
    /// The right choice.
    pub gold: usize,
}

/// What choices are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Likelihood,
    Characters,
    Bytes,
}

impl ScoredItem {
    /// The choice that the model takes.
    pub fn answer(&self, by: By) -> usize {
        let value = |choice: &ScoredChoice| {
            let length = match by {
                By::Likelihood => 1.0,
                By::Characters => choice.characters as f64,
                By::Bytes => choice.bytes as f64,
            };
            // An empty text has no length to divide by, so it is never chosen.
            if length == 0.0 { f64::NEG_INFINITY } else { choice.loglikelihood / length }
        };
        let mut best = 0;
        for (place, choice) in self.choices.iter().enumerate() {
            if value(choice) > value(&self.choices[best]) {
                best = place;
            }
        }
        best
    }

    /// Whether the model is right.
    pub fn is_right(&self, by: By) -> bool {
        match self.choices.as_slice() {
            [only] => only.is_greedy,
            _ => self.answer(by) == self.gold,
        }
    }

    /// The bits per byte of the right choice.
    pub fn bits_per_byte(&self) -> f64 {
        let gold = &self.choices[self.gold];
        -gold.loglikelihood / (std::f64::consts::LN_2 * gold.bytes as f64)
    }
}

/// A number and its standard error, which is absent for a single observation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub value: f64,
    pub stderr: Option<f64>,
}

impl Figure {
    /// The mean of the observations; `None` if there are none.
    pub fn mean(observations: &[f64]) -> Option<Figure> {
        let n = observations.len() as f64;
        if observations.is_empty() {
            return None;
        }
        let value = observations.iter().sum::<f64>() / n;
        let squares: f64 = observations.iter().map(|x| (x - value) * (x - value)).sum();
        let stderr = (observations.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt());
        Some(Figure { value, stderr })
    }
}

/// The figures of one task's items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub acc: Figure,
    /// Present where the items have several choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acc_norm: Option<Figure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acc_bytes: Option<Figure>,
    /// Present where the items have a single choice and the perplexity is finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<Figure>,
    pub bits_per_byte: Figure,
    /// The accuracy of guessing at random, and of always choosing the place that is right most
    /// often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub majority: Option<f64>,
}

impl Figures {
    /// The figures of a task's items; `None` if there are none.
    pub fn of(items: &[ScoredItem]) -> Option<Figures> {
        let right = |by: By| {
            let right: Vec<f64> =
                items.iter().map(|item| f64::from(u8::from(item.is_right(by)))).collect();
            Figure::mean(&right)
        };
        let bits: Vec<f64> = items.iter().map(ScoredItem::bits_per_byte).collect();
        let has_choices = items.iter().any(|item| item.choices.len() > 1);
        let choices = |figure: Option<Figure>| figure.filter(|_| has_choices);
        let n = items.len() as f64;
        let random: f64 = items.iter().map(|item| 1.0 / item.choices.len() as f64).sum();
        Some(Figures {
            acc: right(By::Likelihood)?,
            acc_norm: choices(right(By::Characters)),
            acc_bytes: choices(right(By::Bytes)),
            perplexity: if has_choices { None } else { perplexity(items) },
            bits_per_byte: Figure::mean(&bits)?,
            random: has_choices.then(|| random / n),
            majority: has_choices.then(|| majority(items) as f64 / n),
        })
    }
}

fn perplexity(items: &[ScoredItem]) -> Option<Figure> {
    let nats: Vec<f64> = items.iter().map(|item| -item.choices[0].loglikelihood).collect();
    let mean = Figure::mean(&nats)?;
    let value = libm::exp(mean.value);
    let figure = Figure { value, stderr: mean.stderr.map(|stderr| value * stderr) };
    // The perplexity of long texts that a model does not know can overflow.
    Some(figure).filter(|it| it.value.is_finite() && it.stderr.is_none_or(f64::is_finite))
}

/// The number of items whose right choice is at the most common place.
fn majority(items: &[ScoredItem]) -> usize {
    let places = items.iter().map(|item| item.gold).max().unwrap_or(0);
    let count = |place| items.iter().filter(|item| item.gold == place).count();
    (0..=places).map(count).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(loglikelihood: f64, characters: u64, bytes: u64) -> ScoredChoice {
        ScoredChoice { loglikelihood, tokens: 1, characters, bytes, is_greedy: false }
    }

    fn item(gold: usize, choices: Vec<ScoredChoice>) -> ScoredItem {
        ScoredItem { number: 0, choices, gold }
    }

    #[test]
    fn lengths_decide_by_characters_or_bytes_and_ties_go_to_the_first() {
        // 3 letters in 9 bytes against 4 letters in 4 bytes.
        let it = item(0, vec![choice(-6.0, 3, 9), choice(-6.0, 4, 4)]);
        let answers = [By::Likelihood, By::Characters, By::Bytes].map(|by| it.answer(by));
        assert_eq!(answers, [0, 1, 0]);
        let empty = item(1, vec![choice(0.0, 0, 0), choice(-6.0, 4, 4)]);
        let answers = [By::Likelihood, By::Characters, By::Bytes].map(|by| empty.answer(by));
        assert_eq!(answers, [0, 1, 1]);
        assert!((it.bits_per_byte() - 6.0 / 9.0 / 2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn figures_have_the_errors_of_a_sample() {
        let right = item(0, vec![choice(-1.0, 1, 1), choice(-2.0, 1, 1)]);
        let wrong = item(1, right.choices.clone());
        let items = [right.clone(), right.clone(), right, wrong];
        let figures = Figures::of(&items).unwrap();
        // numpy: np.std([1, 1, 1, 0], ddof=1) / 2
        assert_eq!(figures.acc.value, 0.75);
        assert!((figures.acc.stderr.unwrap() - 0.25).abs() < 1e-15);
        assert_eq!((figures.random, figures.majority), (Some(0.5), Some(0.75)));
        assert_eq!(figures.perplexity, None);
        assert_eq!(Figures::of(&items[..1]).unwrap().acc.stderr, None);
        assert_eq!(Figures::of(&[]), None);
    }

    #[test]
    fn of_one_choice_greed_is_right_and_there_is_a_perplexity() {
        let mut items = vec![item(0, vec![choice(-1.0, 1, 1)]), item(0, vec![choice(-3.0, 1, 1)])];
        items[0].choices[0].is_greedy = true;
        let figures = Figures::of(&items).unwrap();
        assert_eq!((figures.acc.value, figures.acc_norm, figures.random), (0.5, None, None));
        let perplexity = figures.perplexity.unwrap();
        assert!((perplexity.value - 2f64.exp()).abs() < 1e-12);
        items[1].choices[0].loglikelihood = -2000.0;
        assert_eq!(Figures::of(&items).unwrap().perplexity, None);
        items[1].choices[0].loglikelihood = -3.0;
        // The standard error of (1, 3) is 1.
        assert!((perplexity.stderr.unwrap() - 2f64.exp()).abs() < 1e-12);
    }
}
