//! Steps whose loss or gradient is far from what the steps before had, and which are left out.
//!
//! In → the loss and the gradient's norm of each step; out → [`Spike`], where either lies more than
//! `train.spike_skip` standard deviations above its mean over the last `train.spike_window` steps.
//! Such a step changes neither parameters nor moments (llm.c, `train_gpt2.cu`, `-sl` and `-sg` over
//! 128 steps; OLMo-core's `SkipStepOptimizer`, 6 deviations over 128). No step is left out before
//! the window is full. A spike enters the window too, as in both: a level that has moved for good
//! soon counts as usual. **Invariant.** The window is part of the checkpoint, so a resumed run
//! leaves out the same steps. Pure; sums run in the window's order.

use crate::report::lines::Spike;

/// Loss and gradient norm of one step.
pub type Seen = [f64; 2];

/// When a step is left out.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Standard deviations above the mean; 0: never.
    pub deviations: f64,
    /// Steps that are looked back on.
    pub window: usize,
}

impl Rule {
    /// The spike that the step `step` over `rows` rows from `first_row` on is, if it is one; then
    /// puts it into `window`.
    pub fn judge(
        &self,
        window: &mut Vec<Seen>,
        [loss, gradient_norm]: Seen,
        step: u64,
        (first_row, rows): (u64, u64),
    ) -> Option<Spike> {
        if self.deviations == 0.0 {
            return None;
        }
        let (mean, deviation) = spread(window.iter().map(|seen| seen[0]));
        let (norm_mean, norm_deviation) = spread(window.iter().map(|seen| seen[1]));
        let is_far = |value: f64, mean: f64, deviation: f64| {
            deviation > 0.0 && value > mean + self.deviations * deviation
        };
        let is_spike = window.len() >= self.window
            && (is_far(loss, mean, deviation) || is_far(gradient_norm, norm_mean, norm_deviation));
        window.push([loss, gradient_norm]);
        let surplus = window.len().saturating_sub(self.window);
        window.drain(..surplus);
        is_spike.then_some(Spike {
            step,
            loss,
            mean,
            deviation,
            gradient_norm,
            gradient_norm_mean: norm_mean,
            gradient_norm_deviation: norm_deviation,
            first_row,
            rows,
        })
    }
}

/// Mean and standard deviation of what there is; zeros of nothing.
fn spread(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(values: &[Seen], deviations: f64) -> Vec<u64> {
        let rule = Rule { deviations, window: 8 };
        let mut window = Vec::new();
        let seen = values.iter().zip(1..);
        let spikes =
            seen.filter_map(|(&seen, step)| rule.judge(&mut window, seen, step, (step * 4, 4)));
        let spikes: Vec<Spike> = spikes.collect();
        assert!(spikes.iter().all(|spike| spike.first_row == spike.step * 4));
        assert!(window.len() <= 8);
        spikes.iter().map(|spike| spike.step).collect()
    }

    fn quiet(steps: usize) -> Vec<Seen> {
        (0..steps).map(|at| [3.0 + 0.1 * (at % 3) as f64, 1.0 + 0.01 * (at % 2) as f64]).collect()
    }

    #[test]
    fn a_far_loss_or_gradient_is_a_spike_once_the_window_is_full() {
        let spiked = |at: usize, seen: Seen| {
            let mut values = quiet(20);
            values[at] = seen;
            values
        };
        assert_eq!(judged(&spiked(12, [9.0, 1.0]), 6.0), [13]);
        assert_eq!(judged(&spiked(12, [3.0, 9.0]), 6.0), [13]);
        assert_eq!(judged(&spiked(7, [9.0, 1.0]), 6.0), [0u64; 0]);
        assert_eq!(judged(&spiked(12, [9.0, 1.0]), 0.0), [0u64; 0]);
        assert_eq!(judged(&spiked(12, [0.1, 0.1]), 6.0), [0u64; 0]);
        assert_eq!(judged(&[[3.0, 1.0]; 20], 6.0), [0u64; 0]);
    }

    #[test]
    fn a_level_that_moved_for_good_is_soon_usual() {
        let values = [quiet(12), vec![[9.0, 1.0]; 20]].concat();
        let spikes = judged(&values, 3.0);
        assert!(!spikes.is_empty() && spikes.len() < 4, "{spikes:?}");
    }
}
