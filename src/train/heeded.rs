//! Keys that would change nothing, and a warm-up that is longer than the run.
//!
//! In → the table `[train]`; out → the error of a key whose other half is off, or what a person
//! must be told before step 1. Pure.

use super::config::{SPIKE_WINDOW, Settings};
use crate::base::{
    error::{Error, Result},
    size::Count,
};
use crate::runtime::optim::schedule::{Curve, Shape};

impl Settings {
    /// Refuses what belongs to something that is off.
    ///
    /// # Errors
    /// Config: the key, and what it is of.
    pub(super) fn check_heeded(&self) -> Result<()> {
        let decays = self.schedule == Curve::Wsd;
        let (wsd, skip) = ("`train.schedule = \"wsd\"`", "`train.spike_skip`");
        let keys = [
            ("decay_from", self.decay_from.is_some() && !decays, wsd),
            ("decay_shape", self.decay_shape != Shape::default() && !decays, wsd),
            ("spike_window", self.spike_window != SPIKE_WINDOW && self.spike_skip == 0.0, skip),
        ];
        match keys.iter().find(|(_, is_idle, _)| *is_idle) {
            Some((key, _, of)) => Err(Error::config(format!("`train.{key}` is of {of}"))
                .with_hint(format!("set {of}, or leave `train.{key}` out"))),
            None => Ok(()),
        }
    }

    /// What a run over `steps` makes of its warm-up, where that does not end before it.
    pub(super) fn endless_warmup(&self, steps: u64) -> Option<String> {
        let warmup = self.warmup_steps;
        (warmup >= steps).then(|| {
            let last = self.schedule().learning_rate(steps - 1, steps);
            format!(
                "the learning rate rises over {} (`train.warmup_steps`) and the run has {}: it \
                 ends at {last:.2e}, where `train.learning_rate` is {}",
                Count(warmup).of("step"),
                Count(steps).of("step"),
                self.learning_rate
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::config::TrainConfig;

    #[test]
    fn a_key_of_what_is_off_is_refused_with_what_it_is_of() {
        let parse = |text: &str| TrainConfig::parse(format!("[train]\n{text}").parse().unwrap());
        for (key, value, on) in [
            ("decay_from", "300", "schedule = 'wsd'"),
            ("decay_shape", "'sqrt'", "schedule = 'wsd'"),
            ("spike_window", "16", "spike_skip = 3.0"),
        ] {
            let text = format!("{key} = {value}\n");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`train.{key}` is of `train.")), "{error}");
            assert!(parse(&(text + on)).is_ok(), "{key}");
        }
    }

    #[test]
    fn a_warmup_that_no_step_follows_is_said_with_the_rate_it_ends_at() {
        let settings = Settings { learning_rate: 1e-3, warmup_steps: 40, ..Settings::default() };
        assert_eq!(settings.endless_warmup(41), None);
        let said = settings.endless_warmup(10).unwrap();
        assert!(said.contains("over 40 steps") && said.contains("ends at 2.50e-4"), "{said}");
    }
}
