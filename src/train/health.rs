//! Whether training leads anywhere, told from the metrics alone.
//!
//! In → the metrics of the steps, in order; out → [`Trouble`], each kind once. A run that has left
//! its way goes on computing finite numbers, so these rules look for what no healthy run shows:
//! - **away**: the loss of [`STEPS`] steps in a row lies more than [`NATS`] above ln V, what a
//!   guess among all tokens costs, and none of them is the lowest so far. During the warm-up the
//!   first loss counts where it is higher: a wide initialisation begins above ln V and comes down.
//! - **lost**: the loss of so many steps in a row lies more than [`NATS`] above the lowest smoothed
//!   one (weight [`SMOOTHING`]). A spike that the next steps take back is none.
//! - **dead**: the gradient's norm is exactly 0 for [`DEAD_STEPS`] steps: nothing is learned.
//!
//! Pure, a function of the metrics, so a resumed run judges as one that never stopped.

use crate::report::lines::Metric;

/// Steps in a row that a divergence must last.
const STEPS: u64 = 10;
/// Steps in a row without any gradient.
const DEAD_STEPS: u64 = 5;
/// Nats a token above the loss that is known: ten times what lies between two batches of one mix.
const NATS: f64 = 1.0;
/// Weight of the newest loss in the smoothed one.
const SMOOTHING: f64 = 0.05;

/// What went wrong, and since when.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// The step at which it was certain.
    pub step: u64,
    /// In words.
    pub what: String,
}

/// Watches one run.
pub struct Health {
    /// ln V.
    guess: f64,
    warmup_steps: u64,
    first: Option<f64>,
    lowest: f64,
    smoothed: f64,
    smoothed_lowest: f64,
    away: u64,
    lost: u64,
    dead: u64,
    /// Whether a divergence, and whether a death, has been reported.
    told: [bool; 2],
}

impl Health {
    /// Of a run over a vocabulary of so many tokens.
    pub fn new(vocabulary: usize, warmup_steps: u64) -> Health {
        Health {
            guess: libm::log(vocabulary as f64),
            warmup_steps,
            first: None,
            lowest: f64::INFINITY,
            smoothed: 0.0,
            smoothed_lowest: f64::INFINITY,
            away: 0,
            lost: 0,
            dead: 0,
            told: [false; 2],
        }
    }

    /// Takes the metrics of the next step; returns the trouble that they make certain.
    pub fn see(&mut self, metric: &Metric) -> Option<Trouble> {
        let Metric { step, loss, gradient_norm, .. } = *metric;
        let first = *self.first.get_or_insert_with(|| {
            self.smoothed = loss;
            loss
        });
        self.smoothed += SMOOTHING * (loss - self.smoothed);
        let start = if step <= self.warmup_steps { first } else { self.guess };
        let known = self.guess.max(start) + NATS;
        let is_low = loss < self.lowest;
        count(&mut self.away, loss > known && !is_low);
        count(&mut self.lost, loss > self.smoothed_lowest + NATS);
        count(&mut self.dead, gradient_norm == 0.0);
        let smoothed_lowest = self.smoothed_lowest;
        self.lowest = self.lowest.min(loss);
        self.smoothed_lowest = smoothed_lowest.min(self.smoothed);
        if self.dead == DEAD_STEPS && !std::mem::replace(&mut self.told[1], true) {
            let what = format!(
                "the model is dead: since step {} the gradient is exactly 0, so nothing is learned",
                step + 1 - DEAD_STEPS
            );
            return Some(Trouble { step, what });
        }
        if self.told[0] || (self.away < STEPS && self.lost < STEPS) {
            return None;
        }
        self.told[0] = true;
        let what = match self.away >= STEPS {
            true => format!(
                "training diverged: the loss of the steps {} to {step} ({loss:.3} at the last) is \
                 above {known:.3}, a nat more than a model that knows nothing",
                step + 1 - STEPS
            ),
            false => format!(
                "training diverged: the loss had come down to {smoothed_lowest:.3}, and that of \
                 the steps {} to {step} ({loss:.3} at the last) stays a nat or more above",
                step + 1 - STEPS
            ),
        };
        Some(Trouble { step, what })
    }

    /// Everything that went wrong in a run, by rising step.
    pub fn troubles(&mut self, metrics: &[Metric]) -> Vec<Trouble> {
        metrics.iter().filter_map(|metric| self.see(metric)).collect()
    }
}

/// Counts steps in a row.
fn count(steps: &mut u64, is_so: bool) {
    *steps = if is_so { *steps + 1 } else { 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn troubles(losses: &[f64], warmup_steps: u64, gradient_norm: f64) -> Vec<Trouble> {
        let metrics: Vec<Metric> = losses
            .iter()
            .zip(1..)
            .map(|(&loss, step)| Metric {
                step,
                tokens: step,
                loss,
                learning_rate: 0.1,
                gradient_norm,
                skipped: false,
                parameters: None,
            })
            .collect();
        Health::new(4096, warmup_steps).troubles(&metrics)
    }

    /// Falls by a factor, with noise from step to step.
    fn falling(from: f64, to: f64, steps: usize) -> Vec<f64> {
        let noise = |at: usize| 0.2 * ((at * 7 % 5) as f64 - 2.0) / 2.0;
        let share = |at: usize| (-(at as f64) / (steps as f64 / 4.0)).exp();
        (0..steps).map(|at| to + (from - to) * share(at) + noise(at)).collect()
    }

    #[test]
    fn a_healthy_run_is_left_alone_however_high_it_begins() {
        assert!(troubles(&falling(8.4, 3.0, 400), 50, 1.0).is_empty());
        assert!(troubles(&falling(180.0, 4.0, 400), 50, 1.0).is_empty());
        assert!(troubles(&falling(180.0, 4.0, 100), 0, 1.0).is_empty());
        let spike = [falling(8.4, 3.0, 100), vec![20.0; 3], falling(3.2, 3.0, 100)].concat();
        assert!(troubles(&spike, 10, 1.0).is_empty());
    }

    #[test]
    fn a_loss_far_above_a_guess_is_told_once() {
        let losses = [vec![8.33, 1402.0, 900.0], vec![56.0; 40]].concat();
        let found = troubles(&losses, 2, 1.0);
        assert_eq!((found.len(), found[0].step), (1, 11), "{found:?}");
        assert!(found[0].what.contains("steps 2 to 11"), "{found:?}");
        assert_eq!(troubles(&[vec![8.33], vec![300.0; 20]].concat(), 50, 1.0).len(), 1);
    }

    #[test]
    fn what_was_learned_and_lost_again_is_told() {
        let losses = [falling(8.4, 3.0, 200), vec![7.0; 60]].concat();
        let found = troubles(&losses, 20, 1.0);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("had come down"), "{found:?}");
        assert_eq!(found[0].step, 210, "{found:?}");
    }

    #[test]
    fn a_gradient_of_exactly_zero_is_told() {
        let found = troubles(&[8.3; 30], 2, 0.0);
        assert_eq!((found.len(), found[0].step), (1, 5));
        assert!(found[0].what.contains("since step 1"), "{found:?}");
        assert!(troubles(&[8.3; 30], 2, 1e-30).is_empty());
    }
}
