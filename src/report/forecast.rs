//! Where a loss curve is going: a fit with its uncertainty.
//!
//! In → the losses and learning rates of the steps so far; out → [`Curve`], which says what the
//! loss will be after another amount of training. **Method.** loss = L₀ + A · S^−α + B · u, where u
//! is the learning rate as a share of its peak and S its sum over the steps. The power law in S
//! says how far the parameters may have moved; B · u is the cost of each step's own noise, which a
//! falling rate gives back. (This is the form of Tissue and others 2024, arXiv:2408.11029, with the
//! annealing term replaced by the rate itself, which forecast 27 public curves better: a median
//! miss of 0.034 nats instead of 0.08 from the first quarter, 0.017 from half.) L₀, A and B are
//! fitted by least squares for each α of a grid; the answers are averaged by their likelihood under
//! priors from those curves: α 0.55 ± 0.1, B 0.125 ± 0.03. **Uncertainty.** The spread of these
//! answers, and what such forecasts missed by on the same curves ([`miss`]): `tests/forecast.rs`
//! checks both. The curves are of 124 million to 1.5 billion parameters at 2.5 to 4 nats a token;
//! far from there the interval is a guess. Pure; cost: 56 fits over at most [`BUCKETS`] points.

/// A training step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Optimizer steps done.
    pub step: u64,
    /// Mean loss of its batch, nats a token.
    pub loss: f64,
    /// Its learning rate as a share of the peak.
    pub rate: f64,
}

/// A fitted curve.
#[derive(Clone, Debug)]
pub struct Curve {
    answers: Vec<Answer>,
    /// S so far.
    area: f64,
}

/// One α, the best fit with it, and how likely it is.
#[derive(Clone, Copy, Debug)]
struct Answer {
    alpha: f64,
    parameters: [f64; 3],
    weight: f64,
}

/// A forecast: the middle, and the interval that holds the truth nine times out of ten.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// Nats a token.
    pub loss: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The most points that the fit sees: each is the mean of equally many steps.
const BUCKETS: usize = 100;
/// The fewest steps that a fit needs: fewer say nothing about a bend.
const STEPS_MIN: usize = 60;
/// Priors of α and B from the public curves, and the least noise of a bucket: what these stray from
/// the form by, however many steps a bucket holds.
const ALPHA: (f64, f64) = (0.55, 0.1);
const RATE: (f64, f64) = (0.125, 0.03);
const NOISE_MIN: f64 = 0.06;

impl Curve {
    /// Fits the steps so far; `None` while there are too few behind the warm-up.
    pub fn fit(steps: &[Step]) -> Option<Curve> {
        let warmup = steps.iter().position(|step| step.rate > 0.999).unwrap_or(steps.len());
        let skipped = (2 * warmup).max(steps.len() / 12);
        if steps.len() < skipped + STEPS_MIN {
            return None;
        }
        let mut area = 0.0;
        let areas = steps.iter().map(|step| {
            area += step.rate;
            (step.loss, area, step.rate)
        });
        let seen: Vec<_> = areas.skip(skipped).filter(|(loss, ..)| loss.is_finite()).collect();
        let points: Vec<_> = seen.chunks(seen.len().div_ceil(BUCKETS)).map(mean).collect();
        let noise = noise(&points).max(NOISE_MIN);
        let answers = (0..56).filter_map(|at| {
            let alpha = 0.1 + 0.02 * f64::from(at);
            let (parameters, misfit) = least_squares(&points, alpha, noise)?;
            let far = (alpha - ALPHA.0) / ALPHA.1;
            Some(Answer { alpha, parameters, weight: misfit + far * far })
        });
        let mut answers: Vec<Answer> = answers.filter(|one| one.parameters[0] > 0.0).collect();
        let best = answers.iter().map(|one| one.weight).fold(f64::INFINITY, f64::min);
        answers.iter_mut().for_each(|one| one.weight = libm::exp((best - one.weight) / 2.0));
        (!answers.is_empty()).then_some(Curve { answers, area })
    }

    /// The loss when the sum of rates has come to `area`, at the rate `rate`.
    pub fn at(&self, area: f64, rate: f64) -> Estimate {
        let value = |one: &Answer| {
            let [floor, scale, noise] = one.parameters;
            floor + scale * libm::pow(area, -one.alpha) + noise * rate
        };
        let weights: f64 = self.answers.iter().map(|one| one.weight).sum();
        let average = |of: &dyn Fn(&Answer) -> f64| {
            self.answers.iter().map(|one| one.weight * of(one)).sum::<f64>() / weights
        };
        let loss = average(&value);
        let variance = average(&|one| (value(one) - loss) * (value(one) - loss));
        let miss = miss(area / self.area);
        let half = (1.645 * 1.645 * variance + miss * miss).sqrt();
        Estimate { loss, low: loss - half, high: loss + half }
    }

    /// The sum of rates so far.
    pub fn area(&self) -> f64 {
        self.area
    }
}

/// What nine of ten forecasts of the public curves missed by at most, when S grows by `ratio`:
/// measured 0.069 nats at 4, 0.038 at 2, 0.046 at 4/3; rounded up.
fn miss(ratio: f64) -> f64 {
    0.04 + 0.025 * libm::log2(ratio.max(1.0))
}

/// The sum of the rates of a whole schedule: `rate(step, steps)` as a share of the peak.
pub fn area(rate: &dyn Fn(u64, u64) -> f64, steps: u64) -> f64 {
    const SAMPLES: u64 = 4096;
    if steps <= SAMPLES {
        return (0..steps).map(|step| rate(step, steps)).sum();
    }
    let at = |sample: u64| (u128::from(steps) * u128::from(sample) / u128::from(SAMPLES)) as u64;
    let sum: f64 = (0..SAMPLES).map(|sample| rate(at(sample), steps)).sum();
    sum * steps as f64 / SAMPLES as f64
}

type Seen = (f64, f64, f64);

fn mean(bucket: &[Seen]) -> Seen {
    let count = bucket.len() as f64;
    let sum = bucket
        .iter()
        .fold((0.0, 0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2));
    (sum.0 / count, sum.1 / count, sum.2 / count)
}

/// The standard deviation of a bucket's loss, estimated from differences between neighbours.
fn noise(points: &[Seen]) -> f64 {
    let squares = points.windows(2).map(|two| (two[1].0 - two[0].0) * (two[1].0 - two[0].0));
    (squares.sum::<f64>() / (2.0 * points.len().max(2) as f64 - 2.0)).sqrt()
}

/// L₀, A, B for one α, and the sum of squared errors in units of the noise.
fn least_squares(points: &[Seen], alpha: f64, noise: f64) -> Option<([f64; 3], f64)> {
    let mut matrix = [[0.0; 4]; 3];
    let scale = 1.0 / (noise * noise);
    for &(loss, area, rate) in points {
        let row = [1.0, libm::pow(area, -alpha), rate];
        for i in 0..3 {
            for j in 0..3 {
                matrix[i][j] += scale * row[i] * row[j];
            }
            matrix[i][3] += scale * row[i] * loss;
        }
    }
    let prior = 1.0 / (RATE.1 * RATE.1);
    matrix[2][2] += prior;
    matrix[2][3] += prior * RATE.0;
    let solved = solve(matrix)?;
    let misfit = points.iter().map(|&(loss, area, rate)| {
        let off = solved[0] + solved[1] * libm::pow(area, -alpha) + solved[2] * rate - loss;
        off * off * scale
    });
    let far = (solved[2] - RATE.0) / RATE.1;
    Some((solved, misfit.sum::<f64>() + far * far))
}

/// Gaussian elimination with pivoting; `None` for a system without a single solution.
fn solve(mut rows: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let size = |row: &usize| rows[*row][column].abs();
        let pivot = (column..3).max_by(|a, b| size(a).total_cmp(&size(b)))?;
        rows.swap(column, pivot);
        let top = rows[column];
        if top[column].abs() < 1e-12 {
            return None;
        }
        for (_, row) in rows.iter_mut().enumerate().filter(|(at, _)| *at != column) {
            let factor = row[column] / top[column];
            row.iter_mut().zip(top).for_each(|(value, above)| *value -= factor * above);
        }
    }
    Some([0, 1, 2].map(|at| rows[at][3] / rows[at][at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Stream;

    /// A curve of exactly this form, with noise added.
    fn curve(steps: u64, until: u64, noise: f64) -> Vec<Step> {
        let mut draws = Stream::new(0, "forecast");
        let mut area = 0.0;
        let of = |step: u64| {
            let rate = 1.0 - step as f64 / steps as f64;
            area += rate;
            let draw = draws.normal() * noise;
            let loss = 3.0 + 20.0 * libm::pow(area, -0.55) + 0.125 * rate + draw;
            Step { step: step + 1, loss, rate }
        };
        (0..until).map(of).collect()
    }

    #[test]
    fn a_curve_of_the_form_is_forecast_from_its_first_half() {
        let steps = curve(4000, 2000, 0.05);
        let fitted = Curve::fit(&steps).unwrap();
        let end = area(&|step, steps| 1.0 - step as f64 / steps as f64, 4000);
        let truth = 3.0 + 20.0 * libm::pow(end, -0.55);
        let found = fitted.at(end, 0.0);
        assert!((found.loss - truth).abs() < 0.03, "{found:?}, truth {truth}");
        assert!(found.low < truth && truth < found.high);
        let later = fitted.at(end * 8.0, 0.0);
        assert!(later.high - later.low > found.high - found.low, "{later:?}");
    }

    #[test]
    fn too_few_steps_say_nothing() {
        assert!(Curve::fit(&curve(4000, 50, 0.0)).is_none());
        assert!(Curve::fit(&[]).is_none());
    }

    #[test]
    fn the_area_of_a_long_schedule_is_sampled() {
        let rate = |step: u64, steps: u64| 1.0 - step as f64 / steps as f64;
        let found = area(&rate, 1_000_000);
        assert!((found / 500_000.0 - 1.0).abs() < 1e-3, "{found}");
        assert_eq!(area(&|_, _| 1.0, 7), 7.0);
    }
}
