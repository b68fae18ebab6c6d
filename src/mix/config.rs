//! What a mix is asked for: sources with weights, and how many tokens.
//!
//! In → `name=SHARDS[#source]:WEIGHT` and TOML keys; out → [`MixSpec`] and [`MixConfig`]. No file
//! is opened; a place that exists as written is one, whatever signs its name holds.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::weights::Weight;
use crate::base::{
    error::{Error, Result},
    size::Count,
    spec::{Form, Spec},
};

/// One source of a mix as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixSpec {
    /// What the mix calls it.
    pub name: String,
    /// The shards artifact it is taken from.
    pub shards: PathBuf,
    /// One source of that artifact; all of them when absent.
    pub source: Option<String>,
    /// Its share, relative to the others.
    pub weight: Weight,
}

impl FromStr for MixSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<MixSpec> {
        let wrong = |message: String| {
            Error::config(message)
                .with_hint("write `name=SHARDS[#source]:WEIGHT`, as `web=out/shards:0.7`")
        };
        let spec = Spec::parse(text, Form::Share, |place| Path::new(place).exists());
        let name = spec.name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| wrong(format!("`{text}` names no source")))?;
        let weight = spec.weight.ok_or_else(|| wrong(format!("`{text}` has no weight")))?;
        let weight = weight.parse().map_err(|message: String| wrong(message))?;
        if spec.place.is_empty() || spec.selection == Some("") {
            return Err(wrong(format!("`{text}` names no shards, or an empty source")));
        }
        Ok(MixSpec {
            name: name.to_owned(),
            shards: spec.place.into(),
            source: spec.selection.map(str::to_owned),
            weight,
        })
    }
}

impl fmt::Display for MixSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.shards.display())?;
        if let Some(source) = &self.source {
            write!(f, "#{source}")?;
        }
        write!(f, ":{}", self.weight)
    }
}

/// How many tokens a mix has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixTokens {
    /// The most that repeats no source.
    All,
    /// Exactly this many tokens, openers included.
    Exactly(Count),
}

impl FromStr for MixTokens {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<MixTokens, String> {
        match text {
            "all" => Ok(MixTokens::All),
            text => {
                text.parse().map(MixTokens::Exactly).map_err(|error| format!("{error} or `all`"))
            }
        }
    }
}

impl Serialize for MixTokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            MixTokens::All => serializer.serialize_str("all"),
            MixTokens::Exactly(count) => count.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for MixTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(MixTokens::Exactly(Count(number))),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// The keys of a mix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixConfig {
    /// Tokens of the training stream, or `all`.
    pub tokens: MixTokens,
    /// Another seed, another order; validation stays the same.
    pub seed: u64,
    /// Passes over a source beyond which a mix is refused. 4: up to there repeated text is worth
    /// nearly what fresh text is (Muennighoff et al., "Scaling data-constrained language models",
    /// 2023).
    pub epochs_max: u64,
    /// Tokens of held-out text a source gives to `validation.arrow`.
    pub eval_tokens: Count,
    /// Tokens of a source that are shuffled together, and that a reader holds in memory.
    pub window_tokens: Count,
}

impl Default for MixConfig {
    fn default() -> MixConfig {
        MixConfig {
            tokens: MixTokens::All,
            seed: 0,
            epochs_max: 4,
            eval_tokens: Count(1_000_000),
            window_tokens: Count(1 << 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_reads_as_it_is_written() {
        let spec: MixSpec = "web=../out/c:d/shards#en:0.70".parse().unwrap();
        assert_eq!(spec.name, "web");
        assert_eq!(spec.shards, PathBuf::from("../out/c:d/shards"));
        assert_eq!(spec.source.as_deref(), Some("en"));
        assert_eq!(spec.to_string(), "web=../out/c:d/shards#en:0.7");
        for wrong in ["shards:1", "=shards:1", "web=shards", "web=:1", "web=s#:1", "web=s:x"] {
            let error = wrong.parse::<MixSpec>().unwrap_err();
            assert!(error.hint().is_some_and(|hint| hint.contains("SHARDS")), "{wrong}: {error}");
        }
    }

    #[test]
    fn tokens_are_a_count_or_all() {
        let parse = |text: &str| toml::from_str::<MixConfig>(text);
        assert_eq!(parse("tokens = 'all'").unwrap().tokens, MixTokens::All);
        assert_eq!(parse("tokens = '1B'").unwrap().tokens, MixTokens::Exactly(Count(10u64.pow(9))));
        assert_eq!(parse("tokens = 12").unwrap().tokens, MixTokens::Exactly(Count(12)));
        assert!(parse("tokens = 'every'").unwrap_err().to_string().contains("all"));
        assert!(parse("token = 12").is_err());
    }
}
