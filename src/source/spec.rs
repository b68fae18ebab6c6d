//! `[NAME=]PATH`: one input as a person names it.
//!
//! In → a string of the command line or a recipe; out → [`InputSpec`], whose path may be an
//! address. No file is opened, and nothing is asked of a network.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::base::error::{Error, Result};
use crate::base::spec::{Form, Spec};
use crate::source::places;
use crate::store::Address;

/// One input: a path, and the name its documents carry in the column `source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// The `source` asked for; without one it is the folder's name or the file's stem.
    pub source: Option<String>,
    pub path: PathBuf,
}

impl InputSpec {
    /// An input whose source is named after its path.
    pub fn of(path: impl AsRef<Path>) -> InputSpec {
        InputSpec { source: None, path: path.as_ref().to_owned() }
    }

    /// An input with a source name.
    pub fn named(source: impl Into<String>, path: impl AsRef<Path>) -> InputSpec {
        InputSpec { source: Some(source.into()), path: path.as_ref().to_owned() }
    }

    /// The address that the path is, where it is one.
    pub fn address(&self) -> Result<Option<Address>> {
        self.path.to_str().map_or(Ok(None), Address::parse)
    }
}

impl FromStr for InputSpec {
    type Err = Error;

    /// A path that exists as written is a path: `lang=en` too.
    fn from_str(text: &str) -> Result<InputSpec> {
        let spec = Spec::parse(text, Form::Text, places::exists);
        if spec.place.is_empty() {
            return Err(Error::config(format!("an input without a path: `{text}`"))
                .with_hint("inputs are written `PATH` or `NAME=PATH`"));
        }
        if let Some(name) = spec.name {
            check_source_name(name)?;
        }
        Address::parse(spec.place)?;
        Ok(InputSpec { source: spec.name.map(str::to_owned), path: spec.place.into() })
    }
}

impl fmt::Display for InputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}=")?;
        }
        write!(f, "{}", self.path.display())
    }
}

/// Refuses names that other commands could not take back: `mix` reads `name=SHARDS#source:WEIGHT`.
pub(crate) fn check_source_name(name: &str) -> Result<()> {
    let odd = |c: char| matches!(c, '=' | '#' | ':' | '/' | '\\') || c.is_control();
    if !name.is_empty() && name.trim() == name && !name.contains(odd) {
        return Ok(());
    }
    Err(Error::config(format!("not a name for a source: `{name}`"))
        .with_hint("use letters, digits, `-`, `_` and `.`, as in `wiki=PATH`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, source: Option<&str>, path: &str) {
        let spec: InputSpec = text.parse().expect(text);
        assert_eq!((spec.source.as_deref(), spec.path.to_str()), (source, Some(path)), "{text}");
    }

    #[test]
    fn a_name_stands_before_the_first_equals_sign_of_the_first_part() {
        check("a/b.jsonl", None, "a/b.jsonl");
        check("wiki=a/b.jsonl", Some("wiki"), "a/b.jsonl");
        check("a/date=2024/b.jsonl", None, "a/date=2024/b.jsonl");
        check("wiki=a/date=2024", Some("wiki"), "a/date=2024");
        check("./x=y.jsonl", None, "./x=y.jsonl");
        check("hf://datasets/o/n@main", None, "hf://datasets/o/n@main");
        check("wiki=s3://b/k=v/x", Some("wiki"), "s3://b/k=v/x");
        check("https://h/a?b=c", None, "https://h/a?b=c");
    }

    #[test]
    fn refuses_an_empty_path_and_names_that_a_mix_could_not_write() {
        for text in ["", "wiki=", "=a", "a#b=c", "a:b=c", " a=c", "w=ftp://x/y", "hf://x"] {
            let error = text.parse::<InputSpec>().expect_err(text);
            assert_eq!(error.exit_status(), 2, "{text}");
        }
    }
}
