//! Language: keeps texts that an identifier assigns to one of the wanted languages.
//!
//! In: a text. Out: the highest of the identifier's scores for the wanted languages. Reference:
//! datatrove 0.10's `LanguageFilter` (`lid.176`, 0.65; FineWeb, arXiv 2406.17557, 3.3), with the
//! model that `model` names; without one the built-in identifier of [`crate::fasttext::language`]
//! judges, whose score is a confidence and not a probability. Invariant: text and identifier alone
//! decide; a model enters the fingerprint by the hash of its bytes. Cost: 20 to 40 MB/s.

use super::{Entry, Measure, Report, RuleInfo, RuleSet, check_limits, model};
use crate::base::config;
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::pool::Pool;
use crate::fasttext::language::{self, Identifier, IdentifierScratch};
use crate::filter::view::View;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// This rule set in the registry.
pub const ENTRY: Entry = Entry {
    name: "language",
    summary: "drops texts that are not in one of the wanted languages",
    reference: "datatrove 0.10 with `model` = lid.176.bin; built in: the crate whatlang",
    rules: RULES,
    limits: None,
    build: |table| Ok(Box::new(Language::new(config::parse(table, "`language`")?)?)),
};

const RULES: &[RuleInfo] =
    &[RuleInfo::new("language/score", "min_score", "score of the wanted language")];

/// The wanted languages, the identifier, and the score that it must reach.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LanguageConfig {
    /// Codes as the identifier has them, such as `en`; one match is enough.
    pub languages: Vec<String>,
    /// The least score that keeps a document. FineWeb: 0.65.
    pub min_score: f64,
    /// A fastText model (`lid.176.bin`, `.ftz`, GlotLID, or what `classifier train` made); without
    /// one, the built-in identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
}

impl Default for LanguageConfig {
    fn default() -> LanguageConfig {
        LanguageConfig { languages: vec!["en".into()], min_score: 0.65, model: None }
    }
}

/// The rule with its identifier.
pub struct Language {
    config: LanguageConfig,
    /// The identifier, for the fingerprint: its name, or a model's hash.
    identity: String,
    identifier: Identifier,
    wanted: Vec<u32>,
    scratch: Pool<IdentifierScratch>,
}

impl Language {
    /// Reads the model, and finds the languages in it.
    ///
    /// # Errors
    /// [`Error::Config`] for a language that the identifier lacks, [`Error::Damaged`] for a model
    /// that cannot be read.
    pub fn new(config: LanguageConfig) -> Result<Language> {
        check_limits("language", &[("min_score", config.min_score)])?;
        let (identifier, identity) = match &config.model {
            None => {
                let identifier = Identifier::built_in();
                let name = identifier.name().to_owned();
                (identifier, name)
            }
            Some(path) => {
                let path = &model::file(path, "language.model")?;
                let mut file = std::io::BufReader::with_capacity(1 << 20, io::open(path)?);
                let identifier = language::read(&mut file, io::size(path)?, path)?;
                (identifier, io::hash_file(path)?.0.to_string())
            }
        };
        if config.languages.is_empty() {
            return Err(Error::config("`language.languages` is empty")
                .with_hint("name those to keep: `languages = ['en']`"));
        }
        let wanted = config.languages.iter().map(|code| identifier.languages(code));
        let wanted = wanted.collect::<Result<Vec<Vec<u32>>>>()?.concat();
        Ok(Language { config, identity, identifier, wanted, scratch: Pool::default() })
    }
}

impl RuleSet for Language {
    fn config(&self) -> serde_json::Value {
        let LanguageConfig { languages, min_score, .. } = &self.config;
        serde_json::json!({
            "languages": languages, "min_score": min_score, "identifier": self.identity,
        })
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let text = view.text();
        let best = self.scratch.with(IdentifierScratch::default, |scratch| {
            let scores = self.wanted.iter().map(|&one| self.identifier.score(text, one, scratch));
            scores.fold(0.0, f64::max)
        });
        report(Measure::at_least("language/score", best, self.config.min_score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::rules::judge;
    use crate::filter::view::{Room, Splitter};

    fn keeps(languages: &[&str], text: &str) -> bool {
        let languages = languages.iter().map(|code| (*code).to_owned()).collect();
        let rule =
            Language::new(LanguageConfig { languages, ..LanguageConfig::default() }).unwrap();
        let mut room = Room::new(Splitter::WhiteSpace);
        judge(&[Box::new(rule)], &mut room.view(text)).is_none()
    }

    #[test]
    fn only_the_wanted_languages_are_kept() {
        let english = "All human beings are born free and equal in dignity and rights.";
        let german = "Alle Menschen sind frei und gleich an Würde und Rechten geboren.";
        assert!(keeps(&["en"], english) && !keeps(&["en"], german));
        assert!(keeps(&["en", "de"], german) && !keeps(&["de"], english));
    }

    #[test]
    fn a_language_that_nobody_knows_is_refused() {
        let config = LanguageConfig { languages: vec!["xx".into()], ..LanguageConfig::default() };
        let error = Language::new(config).err().unwrap();
        assert!(error.to_string().contains("`xx`"), "{error}");
    }
}
