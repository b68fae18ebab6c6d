//! Forecasts of real loss curves, held against how they went on.
//!
//! `fixtures/curves/speedruns.jsonl`: 27 public runs (origin in `fixtures/README.md`) as means of
//! 400 equal stretches, with their schedules. Each is forecast from its first quarter and half.

use dataprep::report::forecast::{Curve, Step, area};
use serde_json::Value;

use crate::support::project;

struct Public {
    name: String,
    steps: u64,
    warmup: u64,
    decay: u64,
    cosine: bool,
    losses: Vec<f64>,
}

impl Public {
    fn rate(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        match self.cosine {
            true => {
                let done = (step - self.warmup) as f64 / (steps - self.warmup) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            false => ((steps - step) as f64 / self.decay as f64).min(1.0),
        }
    }

    /// The steps up to a share of the run, each with the mean of its stretch.
    fn until(&self, share: f64) -> Vec<Step> {
        let end = (self.steps as f64 * share) as u64;
        let step = |step: u64| {
            let stretch = (step * self.losses.len() as u64 / self.steps) as usize;
            let rate = self.rate(step, self.steps);
            Step { step: step + 1, loss: self.losses[stretch], rate }
        };
        (0..end).map(step).collect()
    }

    /// The mean of the last fiftieth.
    fn end(&self) -> f64 {
        let last = &self.losses[self.losses.len() - 8..];
        last.iter().sum::<f64>() / last.len() as f64
    }
}

fn curves() -> Vec<Public> {
    let text = std::fs::read_to_string(project().join("fixtures/curves/speedruns.jsonl")).unwrap();
    let curve = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        let number = |key: &str| value[key].as_u64().unwrap();
        let losses = value["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap());
        Public {
            name: value["name"].as_str().unwrap().to_owned(),
            steps: number("steps"),
            warmup: number("warmup"),
            decay: number("decay"),
            cosine: value["schedule"] == "cosine",
            losses: losses.collect(),
        }
    };
    text.lines().map(curve).collect()
}

/// (median, how many are inside the interval) of the errors of forecasts from `share`.
fn forecasts(share: f64) -> (f64, usize) {
    let (mut errors, mut inside) = (Vec::new(), 0);
    for run in curves() {
        let curve = Curve::fit(&run.until(share)).expect("a long run");
        let rate = |step: u64, steps: u64| run.rate(step, steps);
        // The mean of the last fiftieth is that of its middle.
        let last = run.rate(run.steps - run.steps / 100, run.steps);
        let found = curve.at(area(&rate, run.steps), last);
        let truth = run.end();
        println!(
            "{:24} from {share}: {:+.4}, ± {:.4}",
            run.name,
            found.loss - truth,
            (found.high - found.low) / 2.0
        );
        errors.push((found.loss - truth).abs());
        inside += usize::from(found.low <= truth && truth <= found.high);
    }
    assert_eq!(errors.len(), 27);
    errors.sort_by(f64::total_cmp);
    println!(
        "from {share}: median {:.4}, ninth of ten {:.4}, {inside} of 27 inside",
        errors[13], errors[24]
    );
    (errors[13], inside)
}

#[test]
fn public_curves_are_forecast_as_well_as_is_claimed() {
    let (quarter, inside) = forecasts(0.25);
    assert!(quarter < 0.04 && inside >= 25, "{quarter} {inside}");
    let (half, inside) = forecasts(0.5);
    assert!(half < 0.025 && inside >= 25, "{half} {inside}");
}
