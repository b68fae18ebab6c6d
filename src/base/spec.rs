//! `[NAME=]PATH` and `NAME=SHARDS[#SOURCE][:WEIGHT]`: one input as a person writes it.
//!
//! In → a string of the command line or a recipe, and a test of whether a place exists; out →
//! [`Spec`], its parts. The one parser of this grammar: whoever reads an input spec, reads it here.
//! **What exists as written is a place**, whatever signs its name holds: `lang=en` is the folder of
//! that name where there is one, `out/a:b#c` too. Pure: the test is the caller's, so that "exists"
//! may mean a file, a pattern that matches some, or a step of a recipe.

use std::fmt;

/// Which parts an input of a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `[NAME=]PATH`: what stages that read text take.
    Text,
    /// `NAME=SHARDS[#SOURCE][:WEIGHT]`: what a mix takes. The name is not optional, so the first
    /// `=` always ends it.
    Share,
}

/// The parts of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec<'a> {
    /// Before the first `=`.
    pub name: Option<&'a str>,
    /// A path, a pattern, or a step's name.
    pub place: &'a str,
    /// Behind the last `#` of the rest.
    pub selection: Option<&'a str>,
    /// Behind the last `:`.
    pub weight: Option<&'a str>,
}

impl<'a> Spec<'a> {
    /// Takes `text` apart; no part is checked, and each may be empty.
    pub fn parse(text: &'a str, form: Form, exists: impl Fn(&str) -> bool) -> Spec<'a> {
        let (name, rest) = match form {
            Form::Text if exists(text) => (None, text),
            _ => split_name(text),
        };
        let whole = Spec { name, place: rest, selection: None, weight: None };
        if form == Form::Text || exists(rest) {
            return whole;
        }
        let weighted = |spec: Spec<'a>| match spec.place.rsplit_once(':') {
            Some((place, weight)) => Spec { place, weight: Some(weight), ..spec },
            None => spec,
        };
        let selected = |spec: Spec<'a>| match spec.place.rsplit_once('#') {
            Some((place, selection)) => Spec { place, selection: Some(selection), ..spec },
            None => spec,
        };
        let full = selected(weighted(whole));
        let readings = [weighted(whole), full, selected(whole)];
        readings.into_iter().find(|reading| exists(reading.place)).unwrap_or(full)
    }
}

/// A `=` before the first path separator ends a name: `a/b=c` is a path, and so is `./b=c`.
fn split_name(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, rest)) if !name.contains(['/', '\\']) => (Some(name), rest),
        _ => (None, text),
    }
}

impl fmt::Display for Spec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.name {
            write!(f, "{name}=")?;
        }
        f.write_str(self.place)?;
        if let Some(selection) = self.selection {
            write!(f, "#{selection}")?;
        }
        match self.weight {
            Some(weight) => write!(f, ":{weight}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name|place|selection|weight`, `-` for a part that is not there.
    fn parts(text: &str, form: Form, existing: &[&str]) -> String {
        let spec = Spec::parse(text, form, |place| existing.contains(&place));
        assert_eq!(spec.to_string(), text);
        let part = |part: Option<&str>| part.unwrap_or("-").to_owned();
        [part(spec.name), spec.place.to_owned(), part(spec.selection), part(spec.weight)].join("|")
    }

    #[test]
    fn a_name_stands_before_the_first_equals_sign_of_the_first_part() {
        for (text, expect) in [
            ("a/b.jsonl", "-|a/b.jsonl|-|-"),
            ("wiki=a/b.jsonl", "wiki|a/b.jsonl|-|-"),
            ("a/date=2024/b.jsonl", "-|a/date=2024/b.jsonl|-|-"),
            ("wiki=a/date=2024", "wiki|a/date=2024|-|-"),
            ("./x=y.jsonl", "-|./x=y.jsonl|-|-"),
            ("wiki=a#b:c", "wiki|a#b:c|-|-"),
            ("=a", "|a|-|-"),
            ("", "-||-|-"),
        ] {
            assert_eq!(parts(text, Form::Text, &[]), expect, "{text}");
        }
    }

    #[test]
    fn what_exists_as_written_is_a_place() {
        assert_eq!(parts("lang=en", Form::Text, &["lang=en", "en"]), "-|lang=en|-|-");
        assert_eq!(parts("lang=en", Form::Text, &["en"]), "lang|en|-|-");
        assert_eq!(parts("x=lang=en", Form::Text, &["lang=en"]), "x|lang=en|-|-");
        assert_eq!(parts("w=a:b#c", Form::Share, &["a:b#c"]), "w|a:b#c|-|-");
        assert_eq!(parts("w=a:b#c:1", Form::Share, &["a:b#c"]), "w|a:b#c|-|1");
        assert_eq!(parts("w=a#b#c:1", Form::Share, &["a#b"]), "w|a#b|c|1");
        assert_eq!(parts("w=a:b#c", Form::Share, &["a:b"]), "w|a:b|c|-");
    }

    #[test]
    fn a_share_has_its_weight_behind_the_last_colon_and_its_source_behind_the_last_hash() {
        for (text, expect) in [
            ("web=../out/c:d/shards#en:0.70", "web|../out/c:d/shards|en|0.70"),
            ("web=shards:1", "web|shards|-|1"),
            ("web=shards", "web|shards|-|-"),
            ("web=a#b", "web|a|b|-"),
            ("shards:1", "-|shards|-|1"),
            ("web=s#:1", "web|s||1"),
        ] {
            assert_eq!(parts(text, Form::Share, &[]), expect, "{text}");
        }
    }
}
