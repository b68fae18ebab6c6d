//! Whether a difference is more than noise: the verdict with its uncertainty.
//!
//! In → a figure of each seed, before and after; out → a [`Verdict`]. **Method.** Student's t for
//! two means with the seeds' pooled standard deviation, at the degrees of freedom that so few seeds
//! leave, two-sided at 98%: of fifty comparisons without an effect one is called an effect by
//! chance. Without repeated seeds the standard deviation is [`PRIOR`] of the figure, and the
//! verdict says so. Pure.

use std::fmt;

use serde::Serialize;

/// The standard deviation of seeds, as a share of the figure, where none was measured: a judgement,
/// nine times what modded-nanogpt's 124M shows (0.0013 of 3.28 nats, its README, track 3), since
/// smaller models on less text scatter more. Repeated seeds replace it.
const PRIOR: f64 = 0.0036;

/// The degrees of freedom that the prior counts for.
const PRIOR_DEGREES: usize = 10;

/// Student's t at 99% (two-sided 98%) by degrees of freedom (Abramowitz and Stegun, table 26.10).
#[expect(clippy::approx_constant, reason = "a quantile near e, not e")]
const QUANTILES: [f64; 30] = [
    31.821, 6.965, 4.541, 3.747, 3.365, 3.143, 2.998, 2.896, 2.821, 2.764, 2.718, 2.681, 2.650,
    2.624, 2.602, 2.583, 2.567, 2.552, 2.539, 2.528, 2.518, 2.508, 2.500, 2.492, 2.485, 2.479,
    2.473, 2.467, 2.462, 2.457,
];

/// The quantile for more degrees of freedom than the table has.
const QUANTILE_NORMAL: f64 = 2.326;

/// How much a difference is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The figure before and after: means over seeds.
    pub from: f64,
    pub to: f64,
    /// The figure after, minus the figure before.
    pub difference: f64,
    /// Half of the difference's 98% interval.
    pub interval: f64,
    /// The number of seeds before and after.
    pub seeds: (usize, usize),
    pub noise: Noise,
    pub call: Call,
}

/// How much a figure scatters between seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// The standard deviation of one run.
    pub deviation: f64,
    pub degrees_of_freedom: usize,
    /// Whether it was measured on repeated seeds, rather than taken from the prior.
    pub measured: bool,
}

/// The conclusion from a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    Better,
    Worse,
    WithinNoise,
}

impl Noise {
    /// The noise within groups of runs that differ by seed alone; where no group has two runs, the
    /// prior's share of `figure`.
    pub fn of(groups: &[&[f64]], figure: f64) -> Noise {
        let degrees: usize = groups.iter().map(|group| group.len().saturating_sub(1)).sum();
        if degrees == 0 {
            let deviation = PRIOR * figure.abs();
            return Noise { deviation, degrees_of_freedom: PRIOR_DEGREES, measured: false };
        }
        let squares: f64 = groups.iter().map(|group| squares(group)).sum();
        let deviation = (squares / degrees as f64).sqrt();
        Noise { deviation, degrees_of_freedom: degrees, measured: true }
    }

    /// Half of the interval of the difference of two means.
    fn interval(&self, from: usize, to: usize) -> f64 {
        let quantile =
            QUANTILES.get(self.degrees_of_freedom.max(1) - 1).copied().unwrap_or(QUANTILE_NORMAL);
        quantile * self.deviation * (1.0 / from as f64 + 1.0 / to as f64).sqrt()
    }
}

/// The verdict on a figure of which less is better; each side needs at least one run.
pub fn verdict(from: &[f64], to: &[f64]) -> Verdict {
    assert!(!from.is_empty() && !to.is_empty(), "a verdict on no runs");
    let (before, after) = (mean(from), mean(to));
    let noise = Noise::of(&[from, to], before);
    let (difference, interval) = (after - before, noise.interval(from.len(), to.len()));
    let call = match difference {
        _ if difference.abs() <= interval => Call::WithinNoise,
        _ if difference < 0.0 => Call::Better,
        _ => Call::Worse,
    };
    let seeds = (from.len(), to.len());
    Verdict { from: before, to: after, difference, interval, seeds, noise, call }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sum of squared distances from the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean) * (value - mean)).sum()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = match self.call {
            Call::Better => "better",
            Call::Worse => "worse",
            Call::WithinNoise => "within noise",
        };
        let Noise { deviation, measured, .. } = self.noise;
        let (from, to) = self.seeds;
        write!(
            f,
            "{call}: {:+.4} ± {:.4} against sd {deviation:.4} ",
            self.difference, self.interval
        )?;
        match measured {
            true => write!(f, "of {from} and {to} seeds"),
            false => write!(f, "taken for granted (no repeated seeds)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Stream;

    /// How many of 1,000 simulated comparisons are called right.
    fn right(effect: f64, seeds: (usize, usize), wanted: Call) -> usize {
        let mut stream = Stream::new(19, "simulated seeds");
        let mut group = |count: usize, middle: f64| -> Vec<f64> {
            (0..count).map(|_| middle + 0.006 * stream.normal()).collect()
        };
        let calls = (0..1000).map(|_| {
            let (from, to) = (group(seeds.0, 2.5), group(seeds.1, 2.5 + effect));
            verdict(&from, &to).call
        });
        calls.filter(|call| *call == wanted).count()
    }

    #[test]
    fn what_is_no_effect_is_called_noise_and_what_is_one_is_named() {
        for seeds in [(3, 3), (5, 5), (3, 1), (2, 2), (1, 4)] {
            let found = right(0.0, seeds, Call::WithinNoise);
            assert!(found >= 950, "{seeds:?}: {found}");
        }
        for (seeds, deviations) in [((3, 3), 8.0), ((5, 5), 4.0), ((10, 10), 3.0)] {
            let effect = 0.006 * deviations;
            let (worse, better) =
                (right(effect, seeds, Call::Worse), right(-effect, seeds, Call::Better));
            assert!(worse >= 950 && better >= 950, "{seeds:?}: {worse}, {better}");
        }
    }

    #[test]
    fn without_repeated_seeds_the_prior_is_stated() {
        let found = verdict(&[2.5], &[2.504]);
        assert!(!found.noise.measured && found.call == Call::WithinNoise, "{found}");
        assert!(found.to_string().contains("no repeated seeds"), "{found}");
        assert_eq!(verdict(&[2.5], &[2.9]).call, Call::Worse);
        let measured = verdict(&[2.5, 2.506, 2.494], &[2.504]);
        assert_eq!(measured.to_string().split(':').next(), Some("within noise"));
        assert!((measured.noise.deviation - 0.006).abs() < 1e-12);
    }
}
