//! What a mix is asked for: sources with weights, how many tokens, in which phases.
//!
//! In → `name=SHARDS[#source][:WEIGHT]` and TOML keys; out → [`MixSpec`] and [`MixConfig`]. No file
//! is opened; a place that exists as written is one, whatever signs its name holds. Weights stand
//! behind the sources, or in the phases, never in both.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::weights::Weight;
use crate::base::{
    config::nearest,
    error::{Error, Result},
    size::{self, Bytes, Count},
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
    /// Its share, relative to the others; absent where phases have them.
    pub weight: Option<Weight>,
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
        let weight = spec.weight.map(|weight| weight.parse().map_err(wrong)).transpose()?;
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
        match self.weight {
            Some(weight) => write!(f, ":{weight}"),
            None => Ok(()),
        }
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
        size::as_text(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The keys of a mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixConfig {
    /// Tokens of the training stream, or `all`.
    pub tokens: MixTokens,
    /// Bytes of text instead: every vocabulary then reads the same documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
    /// Another seed, another order; validation stays the same.
    pub seed: u64,
    /// Passes over a source beyond which a mix is refused. 4: up to there repeated text is worth
    /// nearly what fresh text is (Muennighoff et al., "Scaling data-constrained language models",
    /// 2023).
    pub epochs_max: u64,
    /// Weights are multiplied by what the sources have, to the power of 1 / this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// What a source's share is held to, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Limits>,
    /// Mixtures one after another; without any there is one, of the sources' weights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// Tokens of held-out text a source gives to `validation.arrow`.
    pub eval_tokens: Count,
    /// Texts of one's own that are scored instead of the held-out documents: a corpus or raw files,
    /// of each source by rising hash up to `eval_tokens`, in the shards' tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// How documents are laid into rows: `concat` as they come, `best_fit` so that few are cut.
    #[serde(skip_serializing_if = "Packing::is_concat")]
    pub packing: Packing,
    /// Tokens of a row, which `best_fit` fills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Writes the stream itself as well, in order: for disks that seek slowly, and to leave the
    /// shards behind.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub materialize: bool,
}

/// The longest row that is packed, in tokens: knowing what waits then takes 32 MiB.
const SEQUENCE_MAX: u64 = 1 << 24;

/// How documents are laid into rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// One behind the other; rows end where they end.
    #[default]
    Concat,
    /// Moved a little, so that rows end where documents end.
    BestFit,
}

/// The bounds of a source's share. The other sources share out, by their weights, what it may not
/// take or must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Passes over it at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs_max: Option<u64>,
    /// The least and the largest share of a phase that reads it, at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_min: Option<Weight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_max: Option<Weight>,
}

/// A mixture over a part of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// What the trainer's schedule and messages call it.
    pub name: String,
    /// Its part of the whole, relative to the other phases.
    pub share: Weight,
    /// The sources that it reads; those without a weight rest.
    pub weights: BTreeMap<String, Weight>,
}

impl Packing {
    /// Whether it is the default. The default is not written, so that mixes from before there was a
    /// choice keep their fingerprint.
    fn is_concat(&self) -> bool {
        *self == Packing::Concat
    }
}

impl Default for MixConfig {
    fn default() -> MixConfig {
        MixConfig {
            tokens: MixTokens::All,
            bytes: None,
            seed: 0,
            epochs_max: 4,
            temperature: None,
            limits: BTreeMap::new(),
            phases: Vec::new(),
            eval_tokens: Count(1_000_000),
            validation: None,
            packing: Packing::Concat,
            sequence: None,
            materialize: false,
        }
    }
}

impl MixConfig {
    /// Refuses what cannot be, whatever the shards hold.
    pub fn check(&self, specs: &[MixSpec]) -> Result<()> {
        check_names(specs)?;
        let known = |name: &str, place: &str| match specs.iter().any(|spec| spec.name == name) {
            true => Ok(()),
            false => {
                let error = Error::config(format!("{place}: no source is named `{name}`"));
                let names = specs.iter().map(|spec| spec.name.as_str());
                Err(match nearest(name, names) {
                    Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                    None => error.with_hint("sources are named before the `=` of an input"),
                })
            }
        };
        self.limits.keys().try_for_each(|name| known(name, "`limits`"))?;
        for (index, phase) in self.phases.iter().enumerate() {
            let place = format!("phase `{}`", phase.name);
            phase.weights.keys().try_for_each(|name| known(name, &place))?;
            if self.phases[..index].iter().any(|other| other.name == phase.name) {
                return Err(Error::config(format!("two phases are named `{}`", phase.name)));
            }
        }
        let weighted = specs.iter().find(|spec| spec.weight.is_some());
        let weightless = specs.iter().find(|spec| spec.weight.is_none());
        match (self.phases.is_empty(), weighted, weightless) {
            (true, _, Some(spec)) => {
                return Err(Error::config(format!("`{spec}` has no weight"))
                    .with_hint("write `name=SHARDS[#source]:WEIGHT`, as `web=out/shards:0.7`"));
            }
            (false, Some(spec), _) => {
                let message = format!("`{spec}` has a weight, and so have the phases");
                return Err(Error::config(message).with_hint("leave one of them out"));
            }
            _ => (),
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<()> {
        match (self.packing, self.sequence) {
            (Packing::BestFit, None) => {
                return Err(Error::config("`best_fit` fills rows: how long is one?")
                    .with_hint("say it as the model's context, `--sequence 1024`"));
            }
            (Packing::Concat, Some(_)) => {
                let error = Error::config("`sequence` is for `packing = \"best_fit\"`");
                return Err(error.with_hint("a mix is read in rows of any length without it"));
            }
            (_, Some(length)) if !(1..=SEQUENCE_MAX).contains(&length) => {
                let message = format!("`sequence` is 1 to {SEQUENCE_MAX} tokens, not {length}");
                return Err(Error::config(message));
            }
            _ => (),
        }
        if let Some(limit) = self.temperature.filter(|one| !(one.is_finite() && *one > 0.0)) {
            return Err(Error::config(format!("`temperature` is above 0, not {limit}")));
        }
        if self.epochs_max == 0 {
            return Err(Error::config("`epochs_max` is 0: no source may be read")
                .with_hint("1 reads each document once at most"));
        }
        if self.bytes == Some(Bytes(0)) {
            return Err(Error::config("`bytes` is 0: a mix without text"));
        }
        if self.bytes.is_some() && self.tokens != MixTokens::All {
            return Err(Error::config("both `tokens` and `bytes` are set")
                .with_hint("give one of them: what the budgets count"));
        }
        let is_all = self.bytes.is_none() && self.tokens == MixTokens::All;
        if is_all && !(self.phases.is_empty() && self.limits.is_empty()) {
            return Err(Error::config("phases and limits share a number, and `tokens` is `all`")
                .with_hint("say how many with `--tokens`, or how much text with `--bytes`"));
        }
        let one: Weight = "1".parse().expect("a weight");
        for (name, limits) in &self.limits {
            let (min, max) = (limits.share_min, limits.share_max);
            if min.is_some_and(|min| min > max.unwrap_or(one)) || max.is_some_and(|max| max > one) {
                let message = format!("`limits.{name}`: shares rise from `share_min` to");
                return Err(Error::config(format!("{message} `share_max`, at most to 1")));
            }
            if limits.epochs_max == Some(0) {
                return Err(Error::config(format!("`limits.{name}.epochs_max` is 0"))
                    .with_hint("leave the source out instead"));
            }
        }
        Ok(())
    }
}

fn check_names(specs: &[MixSpec]) -> Result<()> {
    if specs.is_empty() {
        return Err(Error::config("a mix without sources")
            .with_hint("write at least one `name=SHARDS[#source]:WEIGHT`"));
    }
    if specs.len() > usize::from(u16::MAX) {
        return Err(Error::config(format!("{} sources: at most 65,535", specs.len())));
    }
    for (index, spec) in specs.iter().enumerate() {
        if specs[..index].iter().any(|other| other.name == spec.name) {
            return Err(Error::config(format!("two sources of the mix are named `{}`", spec.name)));
        }
    }
    Ok(())
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
        assert_eq!("web=shards#en".parse::<MixSpec>().unwrap().to_string(), "web=shards#en");
        for wrong in ["shards:1", "=shards:1", "web=:1", "web=s#:1", "web=s:x"] {
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
        for wrong in ["500.5", "-5", "true"] {
            let error = parse(&format!("tokens = {wrong}")).unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")) && error.contains("all"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_before_a_shard_is_opened() {
        let specs = |texts: &[&str]| -> Vec<MixSpec> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (plain, bare) = (specs(&["web=w:1", "code=c:2"]), specs(&["web=w", "code=c"]));
        let phases = "tokens = 9\n[[phases]]\nname = 'a'\nshare = 0.9\nweights = { web = 1 }\n";
        let twice = format!("{phases}{}", phases.split_once('\n').unwrap().1);
        let refused = [
            (&bare, "", "`web=w` has no weight"),
            (&plain, phases, "`web=w:1` has a weight, and so have the phases"),
            (&bare, &phases.replace("web", "wep"), "no source is named `wep`"),
            (&bare, &phases.replace("tokens = 9", ""), "`tokens` is `all`"),
            (&bare, &twice, "two phases are named `a`"),
            (&plain, "tokens = 9\nlimits.cod = {}", "no source is named `cod`"),
            (
                &plain,
                "tokens = 9\nlimits.web = { share_min = 0.5, share_max = 0.4 }",
                "`limits.web`",
            ),
            (&plain, "tokens = 9\nlimits.web = { share_max = 1.5 }", "at most to 1"),
            (&plain, "tokens = 9\nlimits.web = { epochs_max = 0 }", "is 0"),
            (&plain, "tokens = 9\nepochs_max = 0", "`epochs_max` is 0"),
            (&plain, "temperature = 0", "`temperature`"),
            (&plain, "tokens = 5\nbytes = '2kB'", "both `tokens` and `bytes`"),
        ];
        for (specs, keys, expected) in refused {
            let config: MixConfig = toml::from_str(keys).unwrap();
            let message = config.check(specs).unwrap_err().to_string();
            assert!(message.contains(expected), "{keys}: {message}");
        }
        toml::from_str::<MixConfig>(phases).unwrap().check(&bare).unwrap();
        assert!(specs(&[]).is_empty() && MixConfig::default().check(&[]).is_err());
    }
}
