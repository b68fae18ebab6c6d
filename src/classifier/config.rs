//! What training a classifier is told: the two sides, the model's shape, how it is measured.
//!
//! In → the stage's own keys; out → [`ClassifierConfig`], checked. The sides name inputs, which the
//! fingerprint covers by what lies there; every other key enters it as it stands.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::fasttext::train::TrainSettings;

/// The stage's own keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierConfig {
    /// Texts that are wanted: `[NAME=]PATH` each, in a recipe also names of earlier steps.
    #[serde(skip_serializing)]
    pub positive: Vec<String>,
    /// Texts that are not wanted, named in the same way.
    #[serde(skip_serializing)]
    pub negative: Vec<String>,
    /// Share of the texts kept out of training, to measure the model on. Default 0.2.
    pub held_out: f64,
    /// Share of texts to keep; the report gives the thresholds for it. Default 0.1, as DCLM kept.
    pub keep: f64,
    /// Visits to each text. Default 5, as in fastText, like every default below that gives no
    /// reason.
    pub epochs: u32,
    /// Numbers in a word's vector.
    pub dimensions: usize,
    /// Longest word n-gram. Default 2, as DCLM's classifier has it.
    pub word_ngrams: u32,
    /// Learning rate at the beginning.
    pub rate: f32,
    /// Words that occur fewer times are left out.
    pub least_count: u32,
    /// Hash buckets for word n-grams; the model's size is about `4 × dimensions` bytes times this.
    pub buckets: u32,
    /// Decides the first vectors, the order of the texts, and which of them are kept out.
    #[serde(skip_serializing)]
    pub seed: u64,
}

impl Default for ClassifierConfig {
    fn default() -> ClassifierConfig {
        let train = TrainSettings::default();
        ClassifierConfig {
            positive: Vec::new(),
            negative: Vec::new(),
            held_out: 0.2,
            keep: 0.1,
            epochs: train.epochs,
            dimensions: train.dimensions,
            word_ngrams: train.word_ngrams,
            rate: train.rate,
            least_count: train.least_count,
            buckets: train.buckets,
            seed: train.seed,
        }
    }
}

impl ClassifierConfig {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`] for a side without inputs, a share that is none, settings out of range.
    pub fn check(&self) -> Result<()> {
        for (key, side) in [("positive", &self.positive), ("negative", &self.negative)] {
            if side.is_empty() {
                let message = format!("`{key}` names no texts");
                return Err(Error::config(message).with_hint(
                    "a classifier needs texts that are wanted and texts that are not: `--positive \
                     IN… --negative IN…`",
                ));
            }
        }
        for (key, share) in [("held_out", self.held_out), ("keep", self.keep)] {
            if !(share > 0.0 && share < 1.0) {
                let message = format!("`{key}` is a share between 0 and 1, not {share}");
                return Err(Error::config(message));
            }
        }
        self.settings().check()
    }

    /// These settings, as the trainer takes them.
    pub fn settings(&self) -> TrainSettings {
        TrainSettings {
            dimensions: self.dimensions,
            epochs: self.epochs,
            rate: self.rate,
            least_count: self.least_count,
            word_ngrams: self.word_ngrams,
            buckets: self.buckets,
            seed: self.seed,
            ..TrainSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(edit: fn(&mut ClassifierConfig)) -> String {
        let sides = || vec!["texts".to_owned()];
        let mut config =
            ClassifierConfig { positive: sides(), negative: sides(), ..Default::default() };
        assert!(config.check().is_ok());
        edit(&mut config);
        let error = config.check().unwrap_err();
        assert_eq!(error.exit_status(), 2, "{error}");
        error.to_string()
    }

    #[test]
    fn a_side_without_texts_and_settings_that_cannot_work_are_refused() {
        assert_eq!(refusal(|config| config.negative.clear()), "`negative` names no texts");
        assert!(refusal(|config| config.held_out = 1.0).contains("`held_out`"));
        assert!(refusal(|config| config.keep = f64::NAN).contains("`keep`"));
        assert!(refusal(|config| config.epochs = 0).contains("`epochs`"));
        assert!(refusal(|config| config.dimensions = 0).contains("`dimensions`"));
    }
}
