//! The stages there are: what each takes and makes, its keys, how it is opened.
//!
//! In → a stage's name; out → its [`StageEntry`]. A stage is added here by one row; recipes, help
//! and the command line follow.

use std::fmt;

use super::recipe::Request;
use crate::artifact::stage::Stage;
use crate::base::{
    config::{self, Table},
    error::{Error, Result},
};
use crate::classifier::{ClassifierConfig, ClassifierTrain};
use crate::dedup::{Dedup, DedupConfig};
use crate::filter::{Filter, config::OWN_KEYS, rules::RULE_SETS};
use crate::ingest::Ingest;
use crate::mix::{Mix, MixConfig};
use crate::source::{InputConfig, InputSpec};
use crate::tokenizer::{TokenizerConfig, TokenizerTrain};

/// What lies between two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A corpus, or raw files.
    Text,
    Classifier,
    Tokenizer,
    Shards,
    Mix,
    Run,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Text => "text",
            Kind::Classifier => "a classifier",
            Kind::Tokenizer => "a tokenizer",
            Kind::Shards => "token shards",
            Kind::Mix => "a mix",
            Kind::Run => "a run",
        })
    }
}

/// One stage.
pub struct StageEntry {
    pub name: &'static str,
    pub takes: Kind,
    pub makes: Kind,
    /// Config keys that list further inputs, written as in `in`; with one of them `in` may be
    /// missing.
    pub sides: &'static [&'static str],
    /// The names of its config keys.
    pub keys: fn() -> Vec<&'static str>,
    /// Opens it for the executor; `None` for a stage with a way of its own (`pipeline::step`).
    pub open: Option<fn(&Request) -> Result<Opened>>,
}

impl StageEntry {
    /// Every input of a request as it is written: those of `in`, and those that keys list.
    pub fn inputs(&self, request: &Request) -> Vec<String> {
        let listed = self.sides.iter().filter_map(|key| request.config.get(*key)?.as_array());
        let listed = listed.flatten().filter_map(|input| Some(input.as_str()?.to_owned()));
        request.inputs.iter().cloned().chain(listed).collect()
    }

    /// Whether a configuration lists inputs by keys.
    pub fn lists_inputs(&self, config: &Table) -> bool {
        self.sides.iter().any(|key| config.contains_key(*key))
    }
}

/// A stage that is ready to run.
pub struct Opened {
    pub stage: Box<dyn Stage>,
    /// *How* bad input is treated; outside the fingerprint.
    pub max_bad: f64,
    pub skip_bad_files: bool,
}

/// Every stage, in the order of the flow.
pub const STAGES: &[StageEntry] = &[
    StageEntry {
        name: "ingest",
        takes: Kind::Text,
        makes: Kind::Text,
        sides: &[],
        keys: || text_keys(&[]),
        open: Some(|request| {
            open_text(request, |specs, input, NoKeys {}| Ingest::open(specs, input.clone()))
        }),
    },
    StageEntry {
        name: "filter",
        takes: Kind::Text,
        makes: Kind::Text,
        sides: &[],
        keys: || {
            let rule_sets = RULE_SETS.iter().map(|entry| entry.name);
            text_keys(&OWN_KEYS.into_iter().chain(rule_sets).collect::<Vec<_>>())
        },
        open: Some(|request| open_text(request, Filter::open)),
    },
    StageEntry {
        name: "classifier",
        takes: Kind::Text,
        makes: Kind::Classifier,
        sides: &["positive", "negative"],
        keys: || text_keys(config::fields::<ClassifierConfig>()),
        open: Some(open_classifier),
    },
    StageEntry {
        name: "dedup",
        takes: Kind::Text,
        makes: Kind::Text,
        sides: &[],
        keys: || text_keys(config::fields::<DedupConfig>()),
        open: Some(|request| open_text(request, Dedup::open)),
    },
    StageEntry {
        name: "tokenizer",
        takes: Kind::Text,
        makes: Kind::Tokenizer,
        sides: &[],
        keys: || text_keys(config::fields::<TokenizerConfig>()),
        open: Some(|request| {
            open_text(request, |specs, input, own| TokenizerTrain::open(specs, input.clone(), own))
        }),
    },
    StageEntry {
        name: "tokenize",
        takes: Kind::Text,
        makes: Kind::Shards,
        sides: &[],
        keys: || {
            let own = ["special_text", "tokenizer"];
            [text_keys(config::fields::<TokenizerConfig>()), own.into()].concat()
        },
        open: None,
    },
    StageEntry {
        name: "mix",
        takes: Kind::Shards,
        makes: Kind::Mix,
        sides: &[],
        keys: || config::fields::<MixConfig>().to_vec(),
        open: Some(open_mix),
    },
    #[cfg(feature = "train")]
    StageEntry {
        name: "train",
        takes: Kind::Mix,
        makes: Kind::Run,
        sides: &[],
        keys: || config::fields::<crate::train::TrainConfig>().to_vec(),
        open: None,
    },
];

/// The stage called `name`, or an error with the nearest name.
pub fn find(name: &str) -> Result<&'static StageEntry> {
    let names = || STAGES.iter().map(|entry| entry.name);
    STAGES.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let error = Error::config(format!("there is no stage `{name}`"));
        match config::nearest(name, names()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("stages: {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

fn text_keys(own: &[&'static str]) -> Vec<&'static str> {
    [config::fields::<InputConfig>(), own].concat()
}

/// Splits a flat table into the keys of every text stage and the stage's own.
pub fn input_and_own<C: serde::de::DeserializeOwned>(
    request: &Request,
) -> Result<(Vec<InputSpec>, InputConfig, C)> {
    let what = format!("the config of `{}`", request.name);
    let mut table: Table = request.config.clone();
    let known = (find(&request.stage)?.keys)();
    if known.contains(&"vocab") {
        TokenizerConfig::refuse_random(&table)?;
    }
    config::refuse_unknown(&table, &known, &what)?;
    let input: InputConfig = config::take(&mut table, &what)?;
    input.validate()?;
    Ok((specs(&request.inputs)?, input, config::parse(table, &what)?))
}

/// Keys of which one layer of a configuration sets at most one: it replaces the other's below.
const RIVALS: [[&str; 2]; 2] = [["recipe", "rules"], ["tokenizer", "vocab"]];

/// Lays `over` on `table`: its keys win, also over their rivals.
pub fn lay(table: &mut Table, over: Table) {
    for [one, other] in RIVALS {
        for (key, rival) in [(one, other), (other, one)] {
            if over.contains_key(key) {
                table.remove(rival);
            }
        }
    }
    config::merge(table, over);
}

/// The keys of a stage that has none of its own.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

/// Parses `[NAME=]PATH`.
pub fn specs<S: std::str::FromStr<Err = E>, E: Into<Error>>(inputs: &[String]) -> Result<Vec<S>> {
    inputs.iter().map(|input| input.parse().map_err(Into::into)).collect()
}

fn open_text<S: Stage + 'static, C: serde::de::DeserializeOwned>(
    request: &Request,
    open: impl FnOnce(&[InputSpec], &InputConfig, C) -> Result<S>,
) -> Result<Opened> {
    let (specs, input, own) = input_and_own::<C>(request)?;
    let (max_bad, skip_bad_files) = (input.max_bad, input.skip_bad_files);
    Ok(Opened { stage: Box::new(open(&specs, &input, own)?), max_bad, skip_bad_files })
}

fn open_classifier(request: &Request) -> Result<Opened> {
    let (inputs, input, own) = input_and_own::<ClassifierConfig>(request)?;
    if let Some(input) = inputs.first() {
        let message = format!("`{input}` is on no side of the classifier");
        return Err(Error::config(message).with_hint("list inputs under `positive` and `negative`"));
    }
    let (max_bad, skip_bad_files) = (input.max_bad, input.skip_bad_files);
    let stage = ClassifierTrain::open(&input, own)?;
    Ok(Opened { stage: Box::new(stage), max_bad, skip_bad_files })
}

fn open_mix(request: &Request) -> Result<Opened> {
    let config: MixConfig =
        config::parse(request.config.clone(), &format!("the config of `{}`", request.name))?;
    let stage = Mix::open(&specs(&request.inputs)?, config)?;
    Ok(Opened { stage: Box::new(stage), max_bad: 0.0, skip_bad_files: false })
}
