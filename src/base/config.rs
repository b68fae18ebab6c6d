//! Configuration: strict TOML tables with `--set`, `include` and the nearest name for a typo.
//!
//! In → tables from files, recipes and flags; out → typed structs. Precedence is the callers'
//! order of [`merge`]: default < file < `--set` < flag. Unknown keys are errors that name the
//! nearest known one; nothing is ignored silently.

use std::path::Path;

use serde::de::{DeserializeOwned, value::Error as NoValue};
use toml::Value;

pub use toml::Table;

use super::{
    error::{Error, Result},
    io,
};

/// Reads a TOML file; a top-level `include = ["../model/3m.toml"]` is read first, relative to the
/// file, and what the file itself says wins.
pub fn read(path: &Path) -> Result<Table> {
    let mut table = parse_toml(&io::read_text(path)?, path)?;
    let Some(include) = table.remove("include") else { return Ok(table) };
    let wrong =
        || Error::config(format!("`include` in `{}` wants a list of paths", path.display()));
    let mut merged = Table::new();
    for name in include.as_array().ok_or_else(wrong)? {
        let name = name.as_str().ok_or_else(wrong)?;
        merge(&mut merged, read(&path.parent().unwrap_or(Path::new(".")).join(name))?);
    }
    merge(&mut merged, table);
    Ok(merged)
}

/// TOML text → table; the error names the file and shows the line.
pub fn parse_toml(text: &str, path: &Path) -> Result<Table> {
    text.parse().map_err(|error: toml::de::Error| {
        Error::config(format!(
            "`{}` is no valid TOML\n{}",
            path.display(),
            error.to_string().trim()
        ))
    })
}

/// Lays `over` on `table`: tables merge, everything else is replaced.
pub fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// Applies one `--set key.path=value`; the value is TOML where it parses, else text.
pub fn set(table: &mut Table, assignment: &str) -> Result<()> {
    let Some((path, value)) = assignment.split_once('=') else {
        return Err(Error::config(format!("`--set {assignment}` has no `=`"))
            .with_hint("write `--set key=value`, for example `--set train.steps=100`"));
    };
    let value = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut over = value;
    for key in path.trim().rsplit('.') {
        over = Value::Table(Table::from_iter([(key.to_owned(), over)]));
    }
    match over {
        Value::Table(over) => merge(table, over),
        _ => unreachable!("wrapped at least once"),
    }
    Ok(())
}

/// Table → struct. `T` denies unknown fields; the error then names the nearest known key.
pub fn parse<T: DeserializeOwned>(table: Table, what: &str) -> Result<T> {
    Value::Table(table).try_into().map_err(|error: toml::de::Error| explain(&error, what))
}

/// Takes out of `table` the keys that `T` has, and parses them; the others stay.
pub fn take<T: DeserializeOwned>(table: &mut Table, what: &str) -> Result<T> {
    let mut own = Table::new();
    for name in fields::<T>() {
        if let Some(value) = table.remove(*name) {
            own.insert((*name).to_owned(), value);
        }
    }
    parse(own, what)
}

/// Fails when a key of `table` is in none of `known`, naming the nearest.
pub fn refuse_unknown(table: &Table, known: &[&str], what: &str) -> Result<()> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(unknown(key, known, what)),
        None => Ok(()),
    }
}

/// The names of a struct's fields, as serde knows them.
pub fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The probe always fails; by then serde has told it the names of the fields.
    let _ = T::deserialize(FieldProbe(&mut names));
    names
}

struct FieldProbe<'a>(&'a mut &'static [&'static str]);

impl<'de> serde::Deserializer<'de> for FieldProbe<'_> {
    type Error = NoValue;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, NoValue> {
        Err(serde::de::Error::custom("only structs have fields"))
    }

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, NoValue> {
        *self.0 = fields;
        Err(serde::de::Error::custom("asked for the names only"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The error for a key nobody knows.
pub fn unknown(key: &str, known: &[&str], what: &str) -> Error {
    let error = Error::config(format!("unknown key `{key}` in {what}"));
    match nearest(key, known.iter().copied()) {
        Some(name) => error.with_hint(format!("did you mean `{name}`?")),
        None => error.with_hint(format!("known keys: {}", known.join(", "))),
    }
}

/// The candidate most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.75).then_some(best.1)
}

/// serde's message → ours. Its form "unknown field `x`, expected one of `a`, `b`" is fixed by a
/// test below.
fn explain(error: &toml::de::Error, what: &str) -> Error {
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let key = quoted.next().unwrap_or_default();
        return unknown(key, &quoted.collect::<Vec<_>>(), what);
    }
    let place = error.to_string();
    let place = place.lines().find_map(|line| line.trim().strip_prefix("in "));
    let place = place.map(|place| format!(", key {place}")).unwrap_or_default();
    Error::config(format!("{what}{place}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Example {
        threshold: f64,
        limit: Option<u64>,
    }

    impl Default for Example {
        fn default() -> Self {
            Example { threshold: 0.8, limit: None }
        }
    }

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = parse::<Example>(table("thresold = 1.0"), "the filter's config").unwrap_err();
        assert_eq!(error.to_string(), "unknown key `thresold` in the filter's config");
        assert_eq!(error.hint().as_deref(), Some("did you mean `threshold`?"));
        assert_eq!(error.exit_status(), 2);
    }

    #[test]
    fn a_wrong_type_says_which_key() {
        let error = parse::<Example>(table("threshold = \"high\""), "config").unwrap_err();
        assert!(error.to_string().contains("threshold"), "{error}");
    }

    #[test]
    fn set_reaches_nested_keys_and_guesses_the_type() {
        let mut config = table("[train]\nsteps = 1\nlr = 2");
        set(&mut config, "train.steps=100").unwrap();
        set(&mut config, "name=wiki").unwrap();
        set(&mut config, "rules=[\"a\", \"b\"]").unwrap();
        let expected = table("name = 'wiki'\nrules = ['a', 'b']\n[train]\nsteps = 100\nlr = 2");
        assert_eq!(config, expected);
        assert!(set(&mut config, "steps").is_err());
    }

    #[test]
    fn taking_leaves_the_other_keys() {
        let mut config = table("threshold = 0.5\nbands = 14");
        let taken: Example = take(&mut config, "config").unwrap();
        assert_eq!(taken, Example { threshold: 0.5, limit: None });
        assert_eq!(config, table("bands = 14"));
        assert_eq!(fields::<Example>(), ["threshold", "limit"]);
    }

    #[test]
    fn an_included_file_is_read_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("train.toml");
        io::write(&directory.path().join("model.toml"), b"[model]\nn_layer = 4\nd = 1").unwrap();
        io::write(&path, b"include = ['model.toml']\n[model]\nd = 2").unwrap();
        assert_eq!(read(&path).unwrap(), table("[model]\nn_layer = 4\nd = 2"));
    }
}
