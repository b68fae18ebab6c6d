//! Learning rate by step: linear warm-up, then cosine, a line, a constant, or warm-up–stable–decay.
//!
//! In → step, number of steps; out → the rate. Pure functions, so a resumed run needs no state of
//! them. Cosine: Loshchilov and Hutter, *SGDR*, 2017, one half period. WSD: Hu et al., *MiniCPM*,
//! 2024: constant, then a decay over the last share of the steps, along a line or 1 − √x (Hägele et
//! al., *Scaling laws and compute-optimal training beyond fixed training durations*, 2024); a run
//! can be extended from any checkpoint before its decay.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};

/// What follows the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Curve {
    /// Half a cosine from the peak to the end.
    Cosine,
    /// The peak, then a fall over the last `decay` of the steps.
    Wsd,
    /// A straight line from the peak to the end.
    Linear,
    /// The peak, whatever the step.
    Constant,
}

/// How the rate of `wsd` falls, x the share of the decay that is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// 1 − x.
    #[default]
    Linear,
    /// 1 − √x.
    Sqrt,
}

/// The learning rate of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// What follows the warm-up.
    pub kind: Curve,
    /// The peak (6e-4 for 124 million parameters in GPT-3's table 2.1; smaller models bear more).
    pub learning_rate: f64,
    /// Steps of linear growth from 0 to the peak.
    pub warmup_steps: u64,
    /// Share of all steps that decays, in (0, 1]; of `wsd` only.
    pub decay: f64,
    /// How `wsd` falls.
    pub shape: Shape,
    /// The step at which `wsd` begins to decay, instead of by `decay`: such as the step at which a
    /// mix begins to anneal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_from: Option<u64>,
    /// Rate after the last step as a share of the peak.
    pub final_ratio: f64,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            kind: Curve::Cosine,
            learning_rate: 6e-4,
            warmup_steps: 100,
            decay: 0.2,
            shape: Shape::Linear,
            decay_from: None,
            final_ratio: 0.1,
        }
    }
}

impl Schedule {
    /// Refuses numbers outside their ranges, naming the key.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            (
                "learning_rate",
                self.learning_rate,
                self.learning_rate > 0.0 && self.learning_rate.is_finite(),
            ),
            ("decay", self.decay, self.decay > 0.0 && self.decay <= 1.0),
            ("final_ratio", self.final_ratio, (0.0..=1.0).contains(&self.final_ratio)),
        ];
        match ranges.iter().find(|(_, _, fits)| !fits) {
            Some((name, number, _)) => {
                Err(Error::config(format!("`{name}` of the schedule is out of range: {number}")))
            }
            None => Ok(()),
        }
    }

    /// How many steps are taken before `steps` has any effect on the rate: those before the decay
    /// of `wsd`, all of `constant`; `None` where every rate depends on `steps`.
    pub fn decay_start(&self, steps: u64) -> Option<u64> {
        match self.kind {
            Curve::Wsd => Some(self.first_decaying(steps)),
            Curve::Constant => Some(steps),
            Curve::Cosine | Curve::Linear => None,
        }
    }

    fn first_decaying(&self, steps: u64) -> u64 {
        let decaying = ((steps as f64 * self.decay) as u64).max(1);
        let first = self.decay_from.unwrap_or(steps.saturating_sub(decaying));
        first.min(steps).max(self.warmup_steps)
    }

    /// The rate of step `step` (from 0) of `steps`.
    pub fn learning_rate(&self, step: u64, steps: u64) -> f64 {
        let peak = self.learning_rate;
        if step < self.warmup_steps {
            return peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let left = match self.kind {
            Curve::Cosine => {
                let progress = share(step - self.warmup_steps, steps, self.warmup_steps);
                0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress))
            }
            Curve::Wsd => {
                let first = self.first_decaying(steps);
                match (step < first, self.shape) {
                    (true, _) => 1.0,
                    (false, Shape::Linear) => 1.0 - share(step - first, steps, first),
                    (false, Shape::Sqrt) => 1.0 - share(step - first, steps, first).sqrt(),
                }
            }
            Curve::Linear => 1.0 - share(step - self.warmup_steps, steps, self.warmup_steps),
            Curve::Constant => 1.0,
        };
        peak * (self.final_ratio + (1.0 - self.final_ratio) * left)
    }
}

/// `done` of the steps from `first` to `steps`, at most 1.
fn share(done: u64, steps: u64, first: u64) -> f64 {
    (done as f64 / steps.saturating_sub(first).max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: Curve) -> Schedule {
        let (decay, final_ratio) = (0.2, 0.1);
        let defaults = Schedule::default();
        Schedule { kind, learning_rate: 1.0, warmup_steps: 10, decay, final_ratio, ..defaults }
    }

    fn assert_rates(schedule: &Schedule, expected: &[(u64, f64)]) {
        for &(step, rate) in expected {
            let found = schedule.learning_rate(step, 110);
            assert!((found - rate).abs() < 1e-12, "step {step}: {found}, expected {rate}");
        }
    }

    #[test]
    fn cosine_grows_linearly_then_falls_to_its_final_share() {
        let expected =
            [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (60, 0.55), (110, 0.1), (500, 0.1)];
        assert_rates(&schedule(Curve::Cosine), &expected);
    }

    #[test]
    fn wsd_is_constant_until_its_decay() {
        let expected = [(0, 0.1), (10, 1.0), (87, 1.0), (88, 1.0), (99, 0.55), (110, 0.1)];
        assert_rates(&schedule(Curve::Wsd), &expected);
    }

    #[test]
    fn a_decay_along_a_root_falls_fast_at_first() {
        let root = Schedule { shape: Shape::Sqrt, ..schedule(Curve::Wsd) };
        assert_rates(&root, &[(10, 1.0), (88, 1.0), (110, 0.1)]);
        let found = root.learning_rate(99, 110);
        assert!((found - (0.1 + 0.9 * (1.0 - 0.5f64.sqrt()))).abs() < 1e-12, "{found}");
    }

    #[test]
    fn a_line_falls_evenly_and_a_constant_does_not() {
        assert_rates(&schedule(Curve::Linear), &[(4, 0.5), (10, 1.0), (60, 0.55), (110, 0.1)]);
        assert_rates(&schedule(Curve::Constant), &[(4, 0.5), (10, 1.0), (60, 1.0), (110, 1.0)]);
        let starts = [Curve::Linear, Curve::Constant].map(|kind| schedule(kind).decay_start(110));
        assert_eq!(starts, [None, Some(110)]);
    }

    #[test]
    fn a_decay_may_begin_at_a_step() {
        let anchored = Schedule { decay_from: Some(60), ..schedule(Curve::Wsd) };
        assert_rates(&anchored, &[(10, 1.0), (60, 1.0), (85, 0.55), (110, 0.1)]);
        assert_eq!(anchored.decay_start(110), Some(60));
        // A decay cannot begin after the last step, nor before the end of the warm-up.
        let at = |step| Schedule { decay_from: Some(step), ..schedule(Curve::Wsd) };
        assert_eq!((at(500).decay_start(110), at(3).decay_start(110)), (Some(110), Some(10)));
    }

    #[test]
    fn a_rate_depends_on_the_step_alone_and_never_leaves_its_range() {
        for kind in [Curve::Cosine, Curve::Wsd, Curve::Linear, Curve::Constant] {
            for steps in [1, 5, 10, 11, 1000] {
                for step in 0..steps {
                    let rate = schedule(kind).learning_rate(step, steps);
                    assert!(rate > 0.0 && rate <= 1.0, "{kind:?} {step} of {steps}: {rate}");
                }
            }
        }
    }

    #[test]
    fn ranges_are_checked_by_name() {
        let bad = Schedule { decay: 0.0, ..Schedule::default() };
        assert!(bad.validate().unwrap_err().to_string().contains("`decay`"));
        assert!(Schedule::default().validate().is_ok());
    }
}
