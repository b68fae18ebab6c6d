//! Whether blocks run again in the backward pass: asked for, or chosen so that a run fits.
//!
//! In → `train.recompute`, what a run takes with and without; out → [`Recompute`], decided, and
//! what it is worth in numbers ([`Recomputed`]). It changes no bit of a run, so it is no part of
//! its fingerprint, and a run may go on with the other. Pure.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::base::size::Bytes;
use crate::runtime::model::ModelConfig;

/// Whether a block keeps its input alone and runs again in the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// Where the run would not fit otherwise.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl<'de> Deserialize<'de> for Recompute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Decided(bool),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Decided(true) => Ok(Recompute::On),
            Written::Decided(false) => Ok(Recompute::Off),
            Written::Text(text) if text == "auto" => Ok(Recompute::Auto),
            Written::Text(text) => Err(D::Error::custom(format!(
                "`train.recompute` is \"{text}\": expected true, false or \"auto\""
            ))),
        }
    }
}

impl Recompute {
    /// Decides: a run that takes `plain` bytes without and `again` with it has `allowed`.
    pub fn decided(self, plain: u64, again: u64, allowed: u64) -> Recompute {
        match self {
            Recompute::Auto if plain > allowed && again < plain => Recompute::On,
            Recompute::Auto => Recompute::Off,
            decided => decided,
        }
    }
}

/// What it is worth that blocks run again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Recomputed {
    /// Bytes more without it.
    pub saves: u64,
    /// Tokens a second more without it, as a share, by the operations alone.
    pub slower: f64,
}

impl Recomputed {
    /// Of rows of `sequence` tokens. A step is three forward passes' worth of operations, and the
    /// blocks run a fourth time.
    pub fn of(model: &ModelConfig, sequence: usize, saves: u64) -> Recomputed {
        let all = model.flops_per_token(sequence) as f64;
        let head = 6.0 * model.vocab_size as f64 * model.d_model as f64;
        Recomputed { saves, slower: (all - head) / 3.0 / all }
    }
}

impl fmt::Display for Recomputed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "blocks run again in the backward pass; with `train.recompute = false`: +{}, about \
             +{:.0}% tokens/s",
            Bytes(self.saves),
            100.0 * self.slower
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_chosen_where_a_run_would_not_fit_and_says_what_it_costs() {
        assert_eq!(Recompute::Auto.decided(5, 3, 4), Recompute::On);
        assert_eq!(Recompute::Auto.decided(4, 3, 4), Recompute::Off);
        assert_eq!(Recompute::Auto.decided(5, 6, 4), Recompute::Off);
        assert_eq!(Recompute::Off.decided(5, 3, 4), Recompute::Off);
        assert_eq!(Recompute::On.decided(3, 2, 4), Recompute::On);
        let model = ModelConfig { vocab_size: 8192, ..ModelConfig::default() };
        let worth = Recomputed::of(&model, 256, 17 << 30).to_string();
        assert!(worth.contains("+17.0 GiB, about +22% tokens/s"), "{worth}");
    }

    #[test]
    fn a_word_or_a_truth_is_read_and_anything_else_is_named() {
        #[derive(Deserialize)]
        struct Table {
            recompute: Recompute,
        }
        let read = |text: &str| toml::from_str::<Table>(text).map(|table| table.recompute);
        assert_eq!(read("recompute = 'auto'").unwrap(), Recompute::Auto);
        assert_eq!(read("recompute = true").unwrap(), Recompute::On);
        assert_eq!(read("recompute = false").unwrap(), Recompute::Off);
        assert!(read("recompute = 'maybe'").unwrap_err().to_string().contains("maybe"));
    }
}
