//! How many blocks run again in the backward pass: asked for, or chosen so that a run fits.
//!
//! In → `train.recompute`, what a run takes with so many; out → their number, and what it is worth
//! in numbers ([`Recomputed`]). The first blocks run again: when their turn comes in the backward
//! pass, the tape of those behind them is gone. It changes no bit of a run, so it is no part of its
//! fingerprint, and a run may go on with another number. Pure.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::base::error::{Error, Result};
use crate::base::size::Bytes;
use crate::runtime::model::ModelConfig;

/// Which blocks keep their input alone and run again in the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// As few as let the run fit.
    #[default]
    Auto,
    /// All.
    On,
    /// None.
    Off,
    /// So many, from the first on; what the others are resolved to.
    Blocks(usize),
}

impl<'de> Deserialize<'de> for Recompute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        enum Auto {
            #[serde(rename = "auto")]
            Auto,
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected true, false, \"auto\" or a number of blocks")]
        enum Written {
            Decided(bool),
            Blocks(usize),
            Auto(Auto),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Decided(true) => Recompute::On,
            Written::Decided(false) => Recompute::Off,
            Written::Blocks(blocks) => Recompute::Blocks(blocks),
            Written::Auto(Auto::Auto) => Recompute::Auto,
        })
    }
}

impl Recompute {
    /// The number of blocks, of a model that has `all`; a run with so many takes `needs` bytes and
    /// has `allowed`. Where even all do not let it fit, `"auto"` takes all.
    ///
    /// # Errors
    /// Config: more blocks than there are.
    pub fn decided(self, all: usize, allowed: u64, needs: impl Fn(usize) -> u64) -> Result<usize> {
        match self {
            Recompute::Off => Ok(0),
            Recompute::On => Ok(all),
            Recompute::Blocks(blocks) if blocks <= all => Ok(blocks),
            Recompute::Blocks(blocks) => {
                let message = format!("`train.recompute` is {blocks}, the model has {all} blocks");
                Err(Error::config(message).with_hint("true lets all of them run again"))
            }
            Recompute::Auto => {
                // Memory only falls with each block more that runs again, so the number is found by
                // bisection.
                let (mut few, mut many) = (0, all);
                while few < many {
                    let middle = (few + many) / 2;
                    match needs(middle) <= allowed {
                        true => many = middle,
                        false => few = middle + 1,
                    }
                }
                Ok(if needs(few) < needs(0) { few } else { 0 })
            }
        }
    }

    /// The number of blocks, once it is decided.
    pub fn blocks(self) -> usize {
        if let Recompute::Blocks(blocks) = self { blocks } else { 0 }
    }
}

/// What it is worth that blocks run again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Recomputed {
    /// How many do, of how many.
    pub blocks: usize,
    pub of: usize,
    /// Bytes more without it.
    pub saves: u64,
    /// By how much a run without it would be faster, as a share, counted in operations alone.
    pub slower: f64,
}

impl Recomputed {
    /// Of rows of `sequence` tokens, where `blocks` run again. A step is three forward passes'
    /// worth of operations, and these blocks run a fourth time.
    pub fn of(model: &ModelConfig, blocks: usize, sequence: usize, saves: u64) -> Recomputed {
        let all = model.flops_per_token(sequence) as f64;
        let head = 6.0 * model.vocab_size as f64 * model.d_model as f64;
        let share = blocks as f64 / model.n_layer as f64;
        let slower = share * (all - head) / 3.0 / all;
        Recomputed { blocks, of: model.n_layer, saves, slower }
    }
}

impl fmt::Display for Recomputed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} blocks run again in the backward pass; with `train.recompute = false`: +{}, \
             about +{:.0}% tokens/s",
            self.blocks,
            self.of,
            Bytes(self.saves),
            100.0 * self.slower
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_blocks_run_again_as_let_a_run_fit() {
        let needs = |blocks: usize| 100 - 10 * blocks as u64;
        let decided = |asked: Recompute, allowed| asked.decided(6, allowed, needs).unwrap();
        let auto = [100, 99, 75, 40, 39].map(|allowed| decided(Recompute::Auto, allowed));
        assert_eq!(auto, [0, 1, 3, 6, 6]);
        assert_eq!(Recompute::Auto.decided(6, 4, |_| 5).unwrap(), 0, "it would not help");
        let asked = [Recompute::On, Recompute::Off, Recompute::Blocks(2)];
        assert_eq!(asked.map(|asked| decided(asked, 0)), [6, 0, 2]);
        let error = Recompute::Blocks(7).decided(6, 0, needs).unwrap_err();
        assert!(error.to_string().contains("is 7, the model has 6 blocks"), "{error}");
    }

    #[test]
    fn what_it_costs_is_said_in_numbers() {
        let model = ModelConfig { vocab_size: 8192, ..ModelConfig::default() };
        let worth = |blocks| Recomputed::of(&model, blocks, 256, 17 << 30).to_string();
        assert!(worth(6).contains("+17.0 GiB, about +22% tokens/s"), "{}", worth(6));
        assert!(worth(3).starts_with("3 of 6 blocks") && worth(3).contains("+11%"), "{}", worth(3));
    }

    #[test]
    fn a_word_a_truth_or_a_number_is_read_and_anything_else_is_told_what_is() {
        #[derive(Deserialize)]
        struct Table {
            recompute: Recompute,
        }
        let read = |text: &str| toml::from_str::<Table>(text).map(|table| table.recompute);
        assert_eq!(read("recompute = 'auto'").unwrap(), Recompute::Auto);
        assert_eq!(read("recompute = true").unwrap(), Recompute::On);
        assert_eq!(read("recompute = false").unwrap(), Recompute::Off);
        assert_eq!(read("recompute = 4").unwrap(), Recompute::Blocks(4));
        for wrong in ["recompute = 'maybe'", "recompute = -1", "recompute = 1.5"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("expected true, false, \"auto\" or a number"), "{error}");
        }
    }
}
