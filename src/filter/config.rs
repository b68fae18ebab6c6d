//! What a filter run is told: which rule sets, in which order, with which thresholds.
//!
//! In: a configuration table, `rules = ["gopher_quality"]` beside one table a rule set
//! (`gopher_quality.min_words = 20`). Out: the rule sets, ready to judge. Invariants: a name or key
//! that nobody knows, a rule set named twice and a threshold of a rule set that was not chosen are
//! errors; the resolved configuration names every threshold, defaults included.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::artifact::{manifest::Manifest, record::InputRecord};
use crate::base::config::{self, Table, nearest};
use crate::base::error::{Error, Result};
use crate::filter::rules::{Entry, Limit, Measure, RULE_SETS, RuleInfo, RuleSet};
use crate::filter::view::{Room, Splitter};
use std::ops::ControlFlow;

/// Who cuts words and sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WordRules {
    /// As the rules' reference does: spaCy's rules for English, by which each punctuation mark is a
    /// word.
    #[default]
    Reference,
    /// Runs of characters without white space.
    WhiteSpace,
}

/// The stage's own keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterConfig {
    /// A published preset's name, or a TOML file with `rules` and thresholds; instead of `rules`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Names of rule sets, in the order in which they judge; the first that fails drops.
    pub rules: Vec<String>,
    /// `reference` or `white_space`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<WordRules>,
    /// Drop nothing; write what was measured beside each document.
    pub annotate: bool,
    /// Judge an annotated corpus by its stored values; only limits may differ.
    pub from_annotations: bool,
    /// Thresholds that differ from the reference's, by rule set.
    #[serde(flatten)]
    pub thresholds: BTreeMap<String, toml::Value>,
}

impl FilterConfig {
    /// These rule sets with their own thresholds.
    pub fn new<'a>(rules: impl IntoIterator<Item = &'a str>) -> FilterConfig {
        let rules = rules.into_iter().map(str::to_owned).collect();
        FilterConfig { rules, ..FilterConfig::default() }
    }

    /// Who cuts words.
    pub fn splitter(&self) -> Splitter {
        match self.words.unwrap_or_default() {
            WordRules::Reference => Splitter::reference(),
            WordRules::WhiteSpace => Splitter::WhiteSpace,
        }
    }

    /// Builds the rule sets in order.
    ///
    /// # Errors
    /// [`Error::Config`] for rule sets and keys that nobody knows, values that make no sense, and
    /// for no rules.
    pub fn build(&self) -> Result<Vec<Box<dyn RuleSet>>> {
        self.check_names()?;
        self.rules.iter().map(|name| (find(name)?.build)(self.table(name)?)).collect()
    }

    /// Rule sets that there are, each once, and no thresholds of others.
    fn check_names(&self) -> Result<()> {
        if self.rules.is_empty() {
            return Err(Error::config("no rules chosen").with_hint(format!(
                "choose with `--preset fineweb`, or with `--rules`, for example `--rules {}`, or \
                 say which documents to take with `--where`\n{}",
                RULE_SETS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(","),
                list()
            )));
        }
        for (at, name) in self.rules.iter().enumerate() {
            find(name)?;
            if self.rules[..at].contains(name) {
                return Err(Error::config(format!("`rules` names `{name}` twice")));
            }
        }
        self.check_tables()
    }

    /// `rules` and every threshold of them: what the fingerprint covers.
    pub fn resolved(&self, rule_sets: &[Box<dyn RuleSet>]) -> Value {
        let mut resolved = Map::from_iter([
            ("rules".to_owned(), json!(self.rules)),
            ("words".to_owned(), json!(self.words.unwrap_or_default())),
            ("annotate".to_owned(), json!(self.annotate)),
        ]);
        for (name, rule_set) in self.rules.iter().zip(rule_sets) {
            resolved.insert(name.clone(), rule_set.config());
        }
        Value::Object(resolved)
    }

    /// Every key beside `rules` is a table of a rule set that was chosen.
    pub(super) fn check_tables(&self) -> Result<()> {
        for name in self.thresholds.keys() {
            if !RULE_SETS.iter().any(|entry| entry.name == name) {
                let known = RULE_SETS.iter().map(|entry| entry.name).chain(OWN_KEYS);
                return Err(config::unknown(name, &known.collect::<Vec<_>>(), FILTER));
            }
            if !self.rules.contains(name) {
                let message = format!("`{name}` has thresholds, but `rules` does not name it");
                return Err(Error::config(message)
                    .with_hint(format!("add `{name}` to `rules`, or leave its thresholds out")));
            }
        }
        Ok(())
    }

    pub(super) fn table(&self, name: &str) -> Result<Table> {
        match self.thresholds.get(name) {
            None => Ok(Table::new()),
            Some(toml::Value::Table(table)) => Ok(table.clone()),
            Some(other) => Err(Error::config(format!("`{name}` is no table but `{other}`"))
                .with_hint(format!("its thresholds are keys: `{name}.KEY = VALUE`"))),
        }
    }
}

/// The keys that are no rule set's table.
pub const OWN_KEYS: [&str; 5] = ["preset", "rules", "words", "annotate", "from_annotations"];

/// Fails for a configuration that cannot work, whatever the inputs are; `conditioned` is one beside
/// which a condition decides as well. No file is read but a preset's: a model may be what an
/// earlier step makes.
///
/// # Errors
/// Those of [`FilterConfig::build`], and of a preset that nobody knows.
pub fn check(config: FilterConfig, conditioned: bool) -> Result<()> {
    if config.from_annotations {
        return Ok(());
    }
    let mut config = config.with_preset()?;
    if conditioned && config.rules.is_empty() && !config.annotate {
        return config.check_tables();
    }
    config.check_names()?;
    const READS_FILES: [&str; 3] = ["classifier", "language", "url_lists"];
    config.rules.retain(|name| !READS_FILES.contains(&name.as_str()));
    config.rules.iter().try_for_each(|name| (find(name)?.build)(config.table(name)?).map(drop))
}

/// Keys that name files, as table and key; `preset` does when it ends in `.toml`.
pub const FILES: [(&str, &str); 7] = [
    ("classifier", "model"),
    ("language", "model"),
    ("url_lists", "domains"),
    ("url_lists", "urls"),
    ("url_lists", "banned_words"),
    ("url_lists", "soft_banned_words"),
    ("url_lists", "banned_subwords"),
];

/// The models and lists that rule sets read, as inputs: a file with the hash of all its bytes, a
/// classifier as the artifact that it is.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read.
pub fn inputs(config: &FilterConfig) -> Result<Vec<InputRecord>> {
    let mut records = Vec::new();
    for (set, key) in FILES {
        let is_read = config.rules.iter().any(|rule| rule == set);
        let table = if is_read { config.table(set)? } else { Table::new() };
        let Some(toml::Value::String(path)) = table.get(key) else { continue };
        records.push(input(Path::new(path))?);
    }
    Ok(records)
}

/// A classifier's folder and the model in it are one input.
fn input(path: &Path) -> Result<InputRecord> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    if Manifest::stands_in(folder) {
        return InputRecord::artifact(folder);
    }
    InputRecord::named_file(path)
}

/// Replaces every path that a configuration holds by `place` of it: where the file lies as seen
/// from here.
pub fn place_paths(table: &mut Table, place: impl Fn(&Path) -> PathBuf) {
    for (set, key) in FILES {
        let value = table.get_mut(set).and_then(|set| set.get_mut(key));
        if let Some(toml::Value::String(path)) = value {
            *path = place(Path::new(&*path)).to_string_lossy().into_owned();
        }
    }
}

/// How messages call this configuration.
const FILTER: &str = "the configuration of `filter`";

/// One line a rule set: name, what it drops, whose it is.
pub fn list() -> String {
    let line = |entry: &Entry| format!("{}: {}; {}", entry.name, entry.summary, entry.reference);
    RULE_SETS.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Every rule with its limit at the rule set's defaults, for `--list`: what a document is dropped
/// for, the key that holds the limit, and whose rule it is.
pub fn list_rules() -> String {
    let mut text = String::new();
    for entry in RULE_SETS {
        text += &format!("{}: {}\n  from {}\n", entry.name, entry.summary, entry.reference);
        let measures = measures(entry, Table::new()).expect("every default makes sense");
        for rule in entry.rules {
            let measure = measures.iter().find(|measure| measure.rule == rule.rule);
            let limit = match measure.map(|measure| measure.limit) {
                _ if rule.is_switch => if is_on(entry, rule) { "on" } else { "off" }.to_owned(),
                Some(Limit::AtLeast(limit)) => format!("at least {limit}"),
                Some(Limit::AtMost(limit)) if limit.is_finite() => format!("at most {limit}"),
                _ => "no limit".to_owned(),
            };
            let key = rule.key.map(|key| format!(" ({}.{key})", entry.name)).unwrap_or_default();
            text += &format!("  {}: {}, {limit}{key}\n", rule.rule, rule.measures);
        }
    }
    text
}

/// Whether a switch is on at its rule set's defaults.
fn is_on(entry: &Entry, rule: &RuleInfo) -> bool {
    let config = (entry.build)(Table::new()).map(|rule_set| rule_set.config());
    let value = config.ok().and_then(|config| config.get(rule.key?)?.as_bool());
    value.unwrap_or(false)
}

/// The limits of a rule set, as it reports them: those of `config`, defaults filled in.
///
/// # Errors
/// [`Error::Config`] for limits that make no sense.
pub fn limits(name: &str, config: &FilterConfig) -> Result<Vec<Measure>> {
    let entry = find(name)?;
    // Lists and models are not needed to know a limit.
    let is_limit = |key: &str| entry.rules.iter().any(|rule| rule.key == Some(key));
    let table = config.table(name)?.into_iter().filter(|(key, _)| is_limit(key));
    measures(entry, table.collect())
}

/// What a rule set reports of one word.
fn measures(entry: &Entry, table: Table) -> Result<Vec<Measure>> {
    if let Some(limits) = entry.limits {
        return limits(table);
    }
    let mut found = Vec::new();
    let mut room = Room::new(Splitter::WhiteSpace);
    let rule_set = (entry.build)(table)?;
    let _ = rule_set.measure(&mut room.view("word").complete(), &mut |measure| {
        found.push(measure);
        ControlFlow::Continue(())
    });
    Ok(found)
}

/// The rule set of that name.
pub(super) fn find(name: &str) -> Result<&'static Entry> {
    RULE_SETS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let error = Error::config(format!("no rule set is called `{name}`"));
        match nearest(name, RULE_SETS.iter().map(|entry| entry.name)) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("the rule sets are\n{}", list())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str) -> Result<Vec<Box<dyn RuleSet>>> {
        config::parse::<FilterConfig>(text.parse().unwrap(), FILTER)?.build()
    }

    fn refusal(text: &str) -> (String, String) {
        let error = build(text).err().unwrap();
        assert_eq!(error.exit_status(), 2);
        (error.to_string(), error.hint().unwrap_or_default())
    }

    #[test]
    fn no_rules_is_an_error_that_lists_them() {
        let (message, hint) = refusal("");
        assert_eq!(message, "no rules chosen");
        assert!(RULE_SETS.iter().all(|entry| hint.contains(entry.summary)), "{hint}");
    }

    #[test]
    fn a_misspelt_name_or_key_names_the_nearest() {
        let (message, hint) = refusal("rules = ['gofer_quality']");
        assert_eq!(message, "no rule set is called `gofer_quality`");
        assert_eq!(hint, "did you mean `gopher_quality`?");
        let (message, hint) = refusal("rules = ['gopher_quality']\ngopher_quality.min_word = 1");
        assert_eq!(message, "unknown key `min_word` in `gopher_quality`");
        assert_eq!(hint, "did you mean `min_words`?");
        let (message, hint) = refusal("rules = ['gopher_quality']\nthread = 1");
        assert!(message.starts_with("unknown key `thread`"), "{message}");
        assert!(hint.contains("fineweb_quality"), "{hint}");
    }

    #[test]
    fn the_list_has_every_rule_with_its_limit_and_key() {
        let list = list_rules();
        for entry in RULE_SETS {
            let found = measures(entry, Table::new()).unwrap();
            assert_eq!(found.len(), entry.rules.len(), "{}", entry.name);
            let number =
                |limit| matches!(limit, Limit::AtLeast(n) | Limit::AtMost(n) if !n.is_nan());
            assert!(found.iter().all(|measure| number(measure.limit)), "{}", entry.name);
            assert!(entry.rules.iter().all(|rule| list.contains(rule.rule)), "{}", entry.name);
        }
        let line = "repetition/top_2_gram: characters in the most common run of so many words, \
                    at most 0.2 (gopher_repetition.max_top_2_gram)";
        assert!(list.contains(line), "{list}");
        for line in [
            "c4/curly_bracket: `{` in a line, on (c4_quality.filter_curly_bracket)\n",
            "classifier/score: probability of the wanted label, at least 0.018112 \
             (classifier.min_score)\n",
        ] {
            assert!(list.contains(line), "{list}");
        }
        let is_bool = |entry: &Entry, rule: &RuleInfo| {
            let config = (entry.build)(Table::new()).map(|rule_set| rule_set.config());
            config.is_ok_and(|config| rule.key.is_some_and(|key| config[key].is_boolean()))
        };
        for entry in RULE_SETS {
            for rule in entry.rules {
                assert_eq!(rule.is_switch, is_bool(entry, rule), "{}", rule.rule);
            }
        }
    }

    #[test]
    fn thresholds_without_effect_are_refused() {
        let (message, _) =
            refusal("rules = ['gopher_quality']\nfineweb_quality.max_short_lines = 1");
        assert!(message.contains("`rules` does not name it"), "{message}");
        let (message, _) = refusal("rules = ['gopher_quality', 'gopher_quality']");
        assert_eq!(message, "`rules` names `gopher_quality` twice");
        let (message, _) = refusal("rules = ['gopher_quality']\ngopher_quality = 3");
        assert_eq!(message, "`gopher_quality` is no table but `3`");
        let (message, _) =
            refusal("rules = ['gopher_quality']\ngopher_quality.max_bullet_lines = nan");
        assert!(message.contains("max_bullet_lines"), "{message}");
    }

    #[test]
    fn the_resolved_configuration_names_every_threshold_and_builds_the_same() {
        let text = "rules = ['fineweb_quality', 'gopher_quality']\ngopher_quality.min_words = 7";
        let config: FilterConfig = config::parse(text.parse().unwrap(), FILTER).unwrap();
        let resolved = config.resolved(&config.build().unwrap());
        assert_eq!(resolved["rules"], json!(["fineweb_quality", "gopher_quality"]));
        assert_eq!(resolved["gopher_quality"]["min_words"], 7);
        assert_eq!(resolved["gopher_quality"]["max_words"], 100_000);
        assert_eq!(resolved["fineweb_quality"]["short_line_length"], 30);
        let again: FilterConfig = serde_json::from_value(resolved.clone()).unwrap();
        assert_eq!(again.resolved(&again.build().unwrap()), resolved);
    }
}
