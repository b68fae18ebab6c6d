//! Keys that would change nothing.
//!
//! In → the table `[train]`; out → the error of a key that belongs to something that is off. Pure.

use super::config::{SPIKE_WINDOW, Settings};
use crate::base::error::{Error, Result};
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
}

#[cfg(test)]
mod tests {
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
}
