//! A quality classifier: keeps texts that a fastText model gives a label with enough probability.
//!
//! In: a text. Out: the probability of the wanted label. Reference: DCLM-baseline (arXiv
//! 2406.11794, 4.4), whose model `openhermes_reddit_eli5` has the labels `__label__hq` and
//! `__label__cc`, and whose threshold 0.018112 keeps a tenth of its pool; lines are joined as
//! `lines` says, since fastText reads one line at a time. `dataprep classifier train` makes such a
//! model. Invariant: text and model alone decide; the model counts by the hash of its bytes. Cost:
//! about 30 MB/s with word pairs and 100 dimensions.

use super::{Entry, Measure, Report, RuleInfo, RuleSet, check_limits, model};
use crate::base::config;
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::pool::Pool;
use crate::fasttext::{Lines, Model, Scratch};
use crate::filter::view::View;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// The line of the registry.
pub const ENTRY: Entry = Entry {
    name: "classifier",
    summary: "drops texts that a fastText model of yours finds too unlikely to be good",
    reference: "DCLM-baseline (arXiv 2406.11794, 4.4)",
    rules: RULES,
    limits: Some(|table| {
        let ClassifierRuleConfig { min_score, .. } = config::parse(table, "`classifier`")?;
        check_limits("classifier", &[("min_score", min_score)])?;
        Ok(vec![Measure::at_least("classifier/score", f64::NAN, min_score)])
    }),
    build: |table| Ok(Box::new(Classifier::new(config::parse(table, "`classifier`")?)?)),
};

const RULES: &[RuleInfo] =
    &[RuleInfo::new("classifier/score", "min_score", "probability of the wanted label")];

/// How the lines of a text become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinLines {
    /// Stripped, and joined by a space, as DCLM has it.
    #[default]
    Joined,
    /// Each line feed is a space, as in datatrove's language filter.
    Space,
    /// Line feeds are taken out, as in datatrove's classifier filter.
    Removed,
}

/// Which model, which label, how probable.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierRuleConfig {
    /// A fastText `.bin` or `.ftz`, or what `classifier train` made. Must be given.
    pub model: Option<PathBuf>,
    /// The wanted label, without `__label__`.
    pub label: String,
    /// Least probability. DCLM: 0.018112.
    pub min_score: f64,
    /// How lines become one.
    pub lines: JoinLines,
}

impl Default for ClassifierRuleConfig {
    fn default() -> ClassifierRuleConfig {
        let (label, lines) = ("hq".into(), JoinLines::default());
        ClassifierRuleConfig { model: None, label, min_score: 0.018112, lines }
    }
}

/// The rule with its model.
pub struct Classifier {
    config: ClassifierRuleConfig,
    /// The hash of the model's bytes.
    identity: String,
    model: Model,
    label: u32,
    scratch: Pool<Scratch>,
}

impl Classifier {
    /// Reads the model, and finds the label in it.
    ///
    /// # Errors
    /// [`Error::Config`] without a model or for a label that it lacks, [`Error::Damaged`] for a
    /// model that cannot be read.
    pub fn new(config: ClassifierRuleConfig) -> Result<Classifier> {
        check_limits("classifier", &[("min_score", config.min_score)])?;
        let Some(path) = &config.model else {
            return Err(Error::config("which model? `classifier.model` is not set")
                .with_hint("name a fastText model, or make one with `dataprep classifier train`"));
        };
        let path = &model::file(path, "classifier.model")?;
        let mut file = std::io::BufReader::with_capacity(1 << 20, io::open(path)?);
        let model = Model::read(&mut file, io::size(path)?).map_err(|error| error.at(path))?;
        let Some(label) = model.label(&config.label) else {
            let message = format!("`{}` has no label `{}`", path.display(), config.label);
            return Err(Error::config(message)
                .with_hint(format!("its labels are {}", model.labels().join(", "))));
        };
        if model.labels().len() != 2 {
            let message = format!("`{}` has {} labels", path.display(), model.labels().len());
            return Err(Error::config(message)
                .with_hint("a quality classifier has two: what is wanted, and the rest"));
        }
        let identity = io::hash_file(path)?.0.to_string();
        Ok(Classifier { config, identity, model, label, scratch: Pool::default() })
    }
}

impl RuleSet for Classifier {
    fn config(&self) -> serde_json::Value {
        let ClassifierRuleConfig { label, min_score, lines, .. } = &self.config;
        serde_json::json!({
            "model": self.identity, "label": label, "min_score": min_score, "lines": lines,
        })
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let lines = match self.config.lines {
            JoinLines::Joined => Lines::Joined,
            JoinLines::Space => Lines::Space,
            JoinLines::Removed => Lines::Removed,
        };
        let text = lines.apply(view.text());
        let score = self.scratch.with(Scratch::default, |scratch| {
            self.model.probability_by_best(&text, self.label, scratch)
        });
        report(Measure::at_least("classifier/score", score, self.config.min_score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::rules::judge;
    use crate::filter::view::{Room, Splitter};

    fn fixture() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/fasttext/bigrams.bin")
    }

    #[test]
    fn a_text_is_kept_for_its_label() {
        let text = "All human beings are born free and equal in dignity and rights.";
        let judged = |label: &str| {
            let config = ClassifierRuleConfig {
                model: Some(fixture()),
                label: label.into(),
                min_score: 0.5,
                ..ClassifierRuleConfig::default()
            };
            let rule = Classifier::new(config).unwrap();
            let mut room = Room::new(Splitter::WhiteSpace);
            judge(&[Box::new(rule)], &mut room.view(text))
        };
        // Two labels: the text is one or the other.
        let verdicts = [judged("hq"), judged("cc")];
        assert_eq!(verdicts.iter().flatten().count(), 1, "{verdicts:?}");
        let verdict = verdicts.into_iter().flatten().next().unwrap();
        assert_eq!(verdict.rule, "classifier/score");
        assert!(verdict.value < 0.5, "{verdict:?}");
    }

    #[test]
    fn a_missing_model_or_label_is_refused_with_what_there_is() {
        let error = Classifier::new(ClassifierRuleConfig::default()).err().unwrap();
        assert!(error.hint().unwrap().contains("classifier train"), "{error}");
        let config = ClassifierRuleConfig {
            model: Some(fixture()),
            label: "xx".into(),
            ..ClassifierRuleConfig::default()
        };
        let error = Classifier::new(config).err().unwrap();
        assert!(error.hint().unwrap().contains("__label__hq"), "{error}");
    }
}
