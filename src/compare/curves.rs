//! Two loss curves at equal tokens, and at equal compute.
//!
//! In → (tokens, loss) by step of both; out → a few [`Point`]s. The loss at a number of tokens is
//! the mean over the last [`WINDOW`] of them, since one step's batch says little. **Compute** is 6
//! · parameters · tokens (Kaplan and others 2020, arXiv:2001.08361, section 2.1); where both models
//! have as many parameters it is equal where tokens are. Pure.

use serde::{Deserialize, Serialize};

/// The share of the tokens read so far over which a loss is averaged.
const WINDOW: f64 = 0.05;

/// Where the curves are compared: shares of the tokens, or the compute, that both have reached.
const SHARES: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 1.0];

/// One step of a curve: of a line of `metrics.jsonl` what a curve needs.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Step {
    pub tokens: u64,
    pub loss: f64,
}

/// Both curves at one place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The share of what both have read, or computed.
    pub share: f64,
    pub tokens: (u64, u64),
    /// Nats a token.
    pub loss: (f64, f64),
}

/// The curves after equal tokens; empty where one of them has none.
pub fn at_equal_tokens(from: &[Step], to: &[Step]) -> Vec<Point> {
    points(from, to, (1.0, 1.0))
}

/// The curves after equal compute, given the parameters of both.
pub fn at_equal_compute(from: &[Step], to: &[Step], parameters: (u64, u64)) -> Vec<Point> {
    points(from, to, (parameters.0 as f64, parameters.1 as f64))
}

/// Both curves at equal cost; `cost` is what one token costs on either side.
fn points(from: &[Step], to: &[Step], cost: (f64, f64)) -> Vec<Point> {
    let (Some(a), Some(b)) = (from.last(), to.last()) else { return Vec::new() };
    let most = (a.tokens as f64 * cost.0).min(b.tokens as f64 * cost.1);
    let point = |share: f64| {
        let tokens = ((most * share / cost.0) as u64, (most * share / cost.1) as u64);
        Some(Point { share, tokens, loss: (loss(from, tokens.0)?, loss(to, tokens.1)?) })
    };
    SHARES.into_iter().filter_map(point).collect()
}

/// The loss after so many tokens.
fn loss(steps: &[Step], tokens: u64) -> Option<f64> {
    let end = steps.partition_point(|step| step.tokens <= tokens);
    let first = (tokens as f64 * (1.0 - WINDOW)) as u64;
    let start = steps.partition_point(|step| step.tokens <= first).min(end.checked_sub(1)?);
    let window = &steps[start..end];
    Some(window.iter().map(|step| step.loss).sum::<f64>() / window.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_held_against_each_other_where_they_have_read_or_computed_as_much() {
        let curve = |steps: u64, batch: u64, from: f64| -> Vec<Step> {
            (1..=steps)
                .map(|step| Step { tokens: step * batch, loss: from - (step * batch) as f64 / 1e4 })
                .collect()
        };
        let (a, b) = (curve(100, 100, 5.0), curve(100, 200, 5.0));
        let tokens = at_equal_tokens(&a, &b);
        assert_eq!(tokens.len(), 5);
        assert_eq!(tokens[4].tokens, (10_000, 10_000));
        assert!((tokens[4].loss.0 - 4.02).abs() < 0.01, "{tokens:?}");
        // Half the parameters, twice the tokens.
        let compute = at_equal_compute(&a, &b, (20, 10));
        assert_eq!(compute[4].tokens, (10_000, 20_000));
        assert!(compute[4].loss.1 < compute[4].loss.0);
        assert!(at_equal_tokens(&a, &[]).is_empty());
    }
}
