//! The keys of deduplication, and the settings that it refuses.
//!
//! In → a TOML table; out → [`DedupConfig`], checked. The defaults are FineWeb's MinHash shape
//! (datatrove `examples/fineweb.py`: 14 buckets of 8 hashes over 5-word shingles), verified.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::signature::SLOTS_MAX;
use crate::base::error::{Error, Result};

/// Shingles longer than this find nothing but whole copies, which exact deduplication does better.
const NGRAM_MAX: usize = 100;

/// The keys of the `dedup` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DedupConfig {
    /// What counts as a duplicate: `exact`, `minhash` or both (exact first, which is cheaper).
    #[serde(deserialize_with = "methods")]
    pub method: Vec<Method>,
    /// Words a shingle. 5: FineWeb, DCLM and Lee and others (2022). Shorter ones also match
    /// documents that share phrases only, longer ones miss copies with many small changes. In
    /// scripts that put no space between words each letter is a word (see [`super::shingle`]).
    pub ngram: usize,
    /// Bands of a signature: each is one more chance to meet. 14 × 8 is FineWeb's shape: a pair of
    /// Jaccard 0.8 meets with a chance of 92.4%, one of 0.7 with 56.5%.
    pub bands: usize,
    /// Signature slots that must all agree inside a band.
    pub rows: usize,
    /// The exact Jaccard similarity with a kept document from which a candidate is dropped; or
    /// `"off"`, which drops all but one of each component of candidates. 0.8: the threshold that
    /// Lee and others (2022) verify with (as an edit similarity), and where 14 × 8 is steep.
    pub verify: Verify,
    /// Which copy stays: `first` in input order, the `longest` text (UTF-8 bytes), or the greatest
    /// value of a column, `max:COLUMN` (null and NaN last). Held-out documents come before all
    /// others; ties go to the earlier document.
    pub keep: Keep,
    /// Draws the hash functions of signatures; 1 as in datatrove.
    pub seed: u64,
}

impl Default for DedupConfig {
    fn default() -> DedupConfig {
        DedupConfig {
            method: vec![Method::Exact, Method::Minhash],
            ngram: 5,
            bands: 14,
            rows: 8,
            verify: Verify::Jaccard(0.8),
            keep: Keep::First,
            seed: 1,
        }
    }
}

impl DedupConfig {
    /// Refuses what cannot work, and puts the methods in their order of work.
    pub fn validated(mut self) -> Result<DedupConfig> {
        self.method.sort_unstable();
        self.method.dedup();
        if self.method.is_empty() {
            return Err(
                Error::config("`method` is empty").with_hint("name `exact`, `minhash` or both")
            );
        }
        at_least_one("ngram", self.ngram)?;
        at_least_one("bands", self.bands)?;
        at_least_one("rows", self.rows)?;
        if self.ngram > NGRAM_MAX {
            let message = format!("`ngram` is at most {NGRAM_MAX}, found: {}", self.ngram);
            return Err(Error::config(message).with_hint("5 is usual"));
        }
        let slots = self.bands.saturating_mul(self.rows);
        if slots > SLOTS_MAX {
            let message = format!("`bands` × `rows` is at most {SLOTS_MAX}, found: {slots}");
            return Err(Error::config(message).with_hint("14 × 8 is usual"));
        }
        match self.verify {
            Verify::Jaccard(limit) if !(limit > 0.0 && limit <= 1.0) => {
                let message = format!("`verify` lies above 0 and is at most 1, found: {limit}");
                Err(Error::config(message).with_hint("`verify = \"off\"` drops without checking"))
            }
            _ => Ok(self),
        }
    }

    /// Whether a method is asked for.
    pub fn has(&self, method: Method) -> bool {
        self.method.contains(&method)
    }

    /// Slots of a signature.
    pub fn slots(&self) -> usize {
        self.bands * self.rows
    }

    /// Bands that are computed: none without `minhash`.
    pub fn bands_wanted(&self) -> usize {
        if self.has(Method::Minhash) { self.bands } else { 0 }
    }

    /// The Jaccard limit of near-duplicates, when they are to be verified.
    pub fn limit(&self) -> Option<f64> {
        match self.verify {
            Verify::Jaccard(limit) if self.has(Method::Minhash) => Some(limit),
            _ => None,
        }
    }
}

fn at_least_one(key: &str, value: usize) -> Result<()> {
    if value == 0 {
        return Err(Error::config(format!("`{key}` is at least 1, found: 0")));
    }
    Ok(())
}

/// A way to find duplicates, in order of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Equal text but for case, white space and Unicode composition; empty texts say nothing about
    /// each other, and all stay.
    Exact,
    /// Similar sets of word shingles.
    Minhash,
}

/// `["exact", "minhash"]`, or `"exact,minhash"` as a flag has it.
fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Method>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Spelling {
        List(Vec<String>),
        Line(String),
    }
    let names = match Spelling::deserialize(deserializer)? {
        Spelling::List(names) => names,
        Spelling::Line(line) => line.split(',').map(|name| name.trim().to_owned()).collect(),
    };
    names
        .iter()
        .map(|name| match name.as_str() {
            "exact" => Ok(Method::Exact),
            "minhash" => Ok(Method::Minhash),
            _ => Err(de::Error::custom(format!(
                "`method` names `exact`, `minhash` or both, found: `{name}`"
            ))),
        })
        .collect()
}

/// Whether candidates are checked, and from which similarity they count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verify {
    /// The least exact Jaccard similarity, above 0 to 1.
    Jaccard(f64),
    /// Candidates are believed.
    Off,
}

impl Serialize for Verify {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Verify::Jaccard(limit) => serializer.serialize_f64(*limit),
            Verify::Off => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for Verify {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Verify, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(f64),
            Word(String),
        }
        let expected = "`verify` is a Jaccard similarity above 0 to 1, or `off`";
        match Spelling::deserialize(deserializer)? {
            Spelling::Number(limit) => Ok(Verify::Jaccard(limit)),
            Spelling::Word(word) if word == "off" => Ok(Verify::Off),
            Spelling::Word(word) => word
                .parse()
                .map(Verify::Jaccard)
                .map_err(|_| de::Error::custom(format!("{expected}, found: `{word}`"))),
        }
    }
}

/// Which document of a group stays, held-out ones before all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The first in input order.
    First,
    /// The one with the most UTF-8 bytes of text.
    Longest,
    /// The one with the greatest value in this column; null and NaN are least.
    Max(String),
}

impl fmt::Display for Keep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::First => formatter.write_str("first"),
            Keep::Longest => formatter.write_str("longest"),
            Keep::Max(column) => write!(formatter, "max:{column}"),
        }
    }
}

impl FromStr for Keep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Keep> {
        match text.split_once(':') {
            None if text == "first" => Ok(Keep::First),
            None if text == "longest" => Ok(Keep::Longest),
            Some(("max", column)) if !column.is_empty() => Ok(Keep::Max(column.to_owned())),
            _ => Err(Error::config(format!(
                "`keep` is `first`, `longest` or `max:COLUMN`, found: `{text}`"
            ))),
        }
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keep, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DedupConfig, String> {
        toml::from_str::<DedupConfig>(text)
            .map_err(|error| error.to_string())
            .and_then(|config| config.validated().map_err(|error| error.to_string()))
    }

    #[test]
    fn an_empty_table_is_fineweb_verified() {
        let config = parse("").unwrap();
        assert_eq!(config, DedupConfig::default());
        assert_eq!(config.limit(), Some(0.8));
    }

    #[test]
    fn every_spelling_reads_back_as_it_is_printed() {
        for text in [
            "method = \"minhash,exact\"\nkeep = \"max:score\"\nverify = \"off\"",
            "method = [\"exact\"]\nverify = 1\nkeep = \"longest\"",
            "verify = \"0.75\"\nbands = 20\nrows = 13\nngram = 13\nseed = 7",
        ] {
            let config = parse(text).unwrap();
            assert_eq!(parse(&toml::to_string(&config).unwrap()).unwrap(), config);
        }
        assert_eq!(parse("method = \"minhash, exact\"").unwrap(), DedupConfig::default());
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (text, expected) in [
            ("method = []", "`method` is empty"),
            ("method = \"fuzzy\"", "found: `fuzzy`"),
            ("ngram = 0", "`ngram` is at least 1"),
            ("rows = 0", "`rows` is at least 1"),
            ("bands = 5000", "`bands` × `rows` is at most 16384, found: 40000"),
            ("verify = 0", "found: 0"),
            ("verify = 1.5", "found: 1.5"),
            ("verify = \"no\"", "found: `no`"),
            ("keep = \"last\"", "found: `last`"),
            ("keep = \"max:\"", "found: `max:`"),
            ("threshold = 0.8", "unknown field `threshold`"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
