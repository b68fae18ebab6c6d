//! Amounts of `[train]` that are a number or a word: `steps = "all"`, `micro_batch = "auto"`.
//!
//! In → a value of a TOML file; out → [`Steps`], rows. Numbers are written as numbers whatever they
//! were read as, so that `20k` and `20000` are one fingerprint.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::base::{
    config::Table,
    error::{self, Error},
    size::Count,
};

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// As many as the mix has whole batches.
    All,
    /// So many.
    Number(u64),
}

impl Serialize for Steps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Steps::All => serializer.serialize_str("all"),
            Steps::Number(steps) => serializer.serialize_u64(*steps),
        }
    }
}

impl<'de> Deserialize<'de> for Steps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a whole number of steps, or \"all\"")]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(steps) => Ok(Steps::Number(steps)),
            Written::Text(text) if text == "all" => Ok(Steps::All),
            Written::Text(text) => {
                let count: Count = text.parse().map_err(D::Error::custom)?;
                Ok(Steps::Number(count.0))
            }
        }
    }
}

/// A number of rows, at least one, or `"auto"`, which is 0 until the plan has chosen.
pub fn rows_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected 1 to 1048576, or \"auto\"")]
    enum Written {
        Number(u64),
        Text(String),
    }
    let wrong = |found: String| {
        D::Error::custom(format!(
            "`train.micro_batch` is {found}: expected 1 to 1048576, or \"auto\""
        ))
    };
    match Written::deserialize(deserializer)? {
        Written::Text(text) if text == "auto" => Ok(0),
        Written::Text(text) => Err(wrong(text)),
        Written::Number(rows @ 1..=0x10_0000) => Ok(rows as usize),
        Written::Number(rows) => Err(wrong(rows.to_string())),
    }
}

/// A number of operations, also in words: `1e18`, `"20T"`.
pub fn flops<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number of operations, such as 1e18 or \"20T\"")]
    enum Written {
        Number(f64),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Number(flops) => Ok(Some(flops)),
        Written::Text(text) => {
            let count = |_| text.parse::<Count>().map(|count| count.0 as f64);
            text.parse().or_else(count).map(Some).map_err(D::Error::custom)
        }
    }
}

/// The keys of which one is given.
pub const RIVALS: [&str; 4] = ["steps", "tokens", "flops", "bytes"];

/// Refuses a table that gives two of them.
pub fn refuse_rivals(table: &Table) -> error::Result<()> {
    let Some(train) = table.get("train").and_then(|train| train.as_table()) else { return Ok(()) };
    let given: Vec<String> = RIVALS
        .iter()
        .filter(|key| train.contains_key(**key))
        .map(|key| format!("`train.{key}`"))
        .collect();
    if given.len() < 2 {
        return Ok(());
    }
    let message = format!("{} each say how long to train", given.join(" and "));
    Err(Error::config(message).with_hint("give one of them: the others follow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_amount_is_told_what_one_is() {
        #[derive(Debug, Deserialize)]
        struct Table {
            #[serde(default = "all", rename = "steps")]
            _steps: Steps,
            #[serde(default, rename = "rows", deserialize_with = "rows_or_auto")]
            _rows: usize,
            #[serde(default, rename = "flops", deserialize_with = "flops")]
            flops: Option<f64>,
        }
        fn all() -> Steps {
            Steps::All
        }
        for (text, part) in [
            ("steps = 1.5", "a whole number of steps, or \"all\""),
            ("steps = -1", "a whole number of steps, or \"all\""),
            ("rows = -2", "expected 1 to 1048576, or \"auto\""),
            ("rows = 0", "expected 1 to 1048576, or \"auto\""),
            ("flops = \"many\"", "`many` is no size"),
            ("flops = true", "such as 1e18"),
        ] {
            let error = toml::from_str::<Table>(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        for (text, expected) in [("2e12", 2e12), ("\"2e12\"", 2e12), ("\"2T\"", 2e12), ("5", 5.0)] {
            let table: Table = toml::from_str(&format!("flops = {text}")).unwrap();
            assert_eq!(table.flops, Some(expected), "{text}");
        }
    }

    #[test]
    fn two_budgets_are_refused_by_their_keys() {
        let refuse = |text: &str| refuse_rivals(&text.parse().unwrap());
        assert!(refuse("[train]\ntokens = 5").is_ok() && refuse("").is_ok());
        let error = refuse("[train]\ntokens = 5\nsteps = 7").unwrap_err().to_string();
        assert!(error.contains("`train.steps` and `train.tokens`"), "{error}");
    }
}
