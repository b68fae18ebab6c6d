//! Templates: how a task makes text of a row, from text with fields in braces.
//!
//! In → `"Question: {question.stem or question}\nAnswer:"` and a row; out → a string, or the list
//! that a lone field names. A field is a path of names and indices (`choices.text.0`; through a
//! list of objects it reaches into each), or several paths joined by `or`, of which the first that
//! exists counts, then filters after bars: `{ctx_b | capitalize}`, `{sentence | before "_"}`. `{{`
//! and `}}` stand for single braces. **Invariants.** Characters are classed as Python does (see
//! [`crate::text`]), since the reference is lm-evaluation-harness; strings are used as they are,
//! numbers and booleans as JSON.

use std::fmt;

use serde_json::Value;

use crate::base::error::{Error, Result};
use crate::text;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
    clean: Option<Filter>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Field(Field),
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    paths: Vec<String>,
    filters: Vec<(Filter, String)>,
}

/// A filter: takes a text, and the argument that stands in quotes after the filter's name.
type Apply = fn(&str, &str) -> Result<String>;

#[derive(Clone, Copy)]
struct Filter {
    name: &'static str,
    apply: Apply,
}

impl Template {
    /// The same template with a filter over its whole result.
    ///
    /// # Errors
    /// Config: there is no such filter.
    pub fn cleaned(mut self, name: &str) -> Result<Template> {
        let filter = FILTERS.into_iter().find(|filter| filter.name == name);
        let unknown = || Error::config(format!("there is no filter `{name}` to clean with"));
        self.clean = Some(filter.ok_or_else(unknown)?);
        Ok(self)
    }

    fn clean(&self, text: String) -> Result<String> {
        match self.clean {
            Some(filter) => (filter.apply)(&text, ""),
            None => Ok(text),
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Filter) -> bool {
        self.name == other.name
    }
}

const FILTERS: [Filter; 12] = [
    Filter { name: "trim", apply: |text, _| Ok(trim(text).to_owned()) },
    Filter { name: "trim_start", apply: |text, _| Ok(trim_start(text).to_owned()) },
    Filter { name: "capitalize", apply: |text, _| Ok(capitalize(text)) },
    Filter { name: "small_first", apply: |text, _| Ok(small_first(text)) },
    Filter { name: "without_last", apply: |text, _| Ok(without_last(text).to_owned()) },
    Filter { name: "hellaswag", apply: |text, _| Ok(hellaswag(text)) },
    Filter { name: "before", apply: |text, mark| Ok(cut(text, mark)?.0.to_owned()) },
    Filter { name: "after", apply: |text, mark| Ok(cut(text, mark)?.1.to_owned()) },
    Filter {
        name: "before_last",
        apply: |text, mark| Ok(text.rsplit_once(mark).map_or("", |(before, _)| before).to_owned()),
    },
    Filter {
        name: "after_last",
        apply: |text, mark| Ok(text.rsplit_once(mark).map_or(text, |(_, after)| after).to_owned()),
    },
    Filter { name: "map", apply: translate },
    Filter { name: "spaces", apply: |text, _| Ok(text.replace('_', " ")) },
];

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Config: a brace without its partner, an unknown filter.
    pub fn parse(source: &str) -> Result<Template> {
        let wrong = |message: String| Error::config(format!("template `{source}`: {message}"));
        let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), source);
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(behind) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                text.push_str(&rest[..1]);
                rest = behind;
                continue;
            }
            let end = rest.find('}').filter(|_| rest.starts_with('{'));
            let end = end.ok_or_else(|| {
                wrong("a brace stands alone".to_owned()).with_hint("double it to write it")
            })?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Field(parse_field(&rest[1..end]).map_err(wrong)?));
            rest = &rest[end + 1..];
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Template { source: source.to_owned(), pieces, clean: None })
    }

    /// The text that `row` gives.
    ///
    /// # Errors
    /// Failed: a field that is missing, or is no text.
    pub fn text(&self, row: &Value) -> Result<String> {
        let mut output = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => output.push_str(text),
                Piece::Field(field) => output.push_str(&field.filtered(&field.find(row)?)?),
            }
        }
        self.clean(output)
    }

    /// The texts of the list that the template's only field names.
    ///
    /// # Errors
    /// As [`Template::text`]; and where there is no list.
    pub fn list(&self, row: &Value) -> Result<Vec<String>> {
        let [Piece::Field(field)] = self.pieces.as_slice() else {
            let message = format!("`{}` must be one field that is a list", self.source);
            return Err(Error::config(message));
        };
        match field.find(row)? {
            Value::Array(items) => {
                items.iter().map(|item| self.clean(field.filtered(item)?)).collect()
            }
            other => Err(Error::failed(format!("{field} must be a list, found {other}"))),
        }
    }
}

fn parse_field(source: &str) -> Result<Field, String> {
    let mut parts = source.split('|').map(str::trim);
    let paths = parts.next().unwrap_or_default();
    let paths: Vec<String> = paths.split(" or ").map(|path| path.trim().to_owned()).collect();
    if paths.iter().any(|path| path.is_empty() || path.contains(' ')) {
        return Err(format!("`{source}` names no field"));
    }
    let filters = parts.map(|part| {
        let (name, mark) = part.split_once(' ').unwrap_or((part, ""));
        let filter = FILTERS.into_iter().find(|filter| filter.name == name);
        let filter = filter.ok_or_else(|| {
            let known: Vec<&str> = FILTERS.iter().map(|filter| filter.name).collect();
            format!("there is no filter `{name}`, but {}", known.join(", "))
        })?;
        let mark = mark.trim();
        let quoted = mark.strip_prefix('"').and_then(|mark| mark.strip_suffix('"'));
        match quoted {
            Some(mark) => Ok((filter, mark.to_owned())),
            None if mark.is_empty() => Ok((filter, String::new())),
            None => Err(format!("what stands behind `{name}` must be in quotes")),
        }
    });
    Ok(Field { paths, filters: filters.collect::<Result<_, _>>()? })
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field `{}`", self.paths.join("` or `"))
    }
}

impl Field {
    fn find(&self, row: &Value) -> Result<Value> {
        let mut found = self.paths.iter().filter_map(|path| reach(row, path));
        found.next().ok_or_else(|| {
            let names = row.as_object().map(|row| row.keys().map(String::as_str).collect());
            let names: Vec<&str> = names.unwrap_or_default();
            Error::failed(format!("{self} is missing, found: {}", names.join(", ")))
        })
    }

    fn filtered(&self, value: &Value) -> Result<String> {
        let mut text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(is) => is.to_string(),
            other => return Err(Error::failed(format!("{self} must be a text, found {other}"))),
        };
        for (filter, mark) in &self.filters {
            text = (filter.apply)(&text, mark)
                .map_err(|error| Error::failed(format!("{self}: {error}")))?;
        }
        Ok(text)
    }
}

/// The value at a path; `None` where it is missing or null.
fn reach(row: &Value, path: &str) -> Option<Value> {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let inner = match row {
        Value::Array(items) => match name.parse::<usize>() {
            Ok(place) => items.get(place)?,
            Err(_) => {
                let each = items.iter().map(|item| reach(item, path));
                return Some(Value::Array(each.collect::<Option<_>>()?));
            }
        },
        Value::Object(fields) => fields.get(name)?,
        _ => return None,
    };
    match rest {
        _ if inner.is_null() => None,
        "" => Some(inner.clone()),
        rest => reach(inner, rest),
    }
}

/// Python's `str.strip`.
pub fn trim(text: &str) -> &str {
    text.trim_matches(text::is_white_space)
}

fn trim_start(text: &str) -> &str {
    text.trim_start_matches(text::is_white_space)
}

/// Python's `str.capitalize`: the first character in upper case, all others in lower case.
#[expect(clippy::disallowed_methods, reason = "`text` has no capitals; one letter a row needs one")]
fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    let mut output: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    // Lower case is taken of the whole text, since the form of a letter at a word's end depends on
    // those before it.
    let mut small = String::new();
    text::lower(text, &mut small);
    let mut first = String::new();
    text::lower(&text[..text.len() - characters.as_str().len()], &mut first);
    output.push_str(&small[first.len()..]);
    output
}

/// The text with its first character in lower case.
fn small_first(text: &str) -> String {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let mut output = String::new();
    text::lower(&text[..first], &mut output);
    output.push_str(&text[first..]);
    output
}

/// All but the last character.
fn without_last(text: &str) -> &str {
    let last = text.chars().next_back().map_or(0, char::len_utf8);
    &text[..text.len() - last]
}

/// The text before and the text after the first `mark`.
fn cut<'a>(text: &'a str, mark: &str) -> Result<(&'a str, &'a str)> {
    text.split_once(mark).ok_or_else(|| Error::failed(format!("no `{mark}` in `{text}`")))
}

/// `a=b,c=d`: b for a, d for c.
fn translate(text: &str, pairs: &str) -> Result<String> {
    let mut pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(from, _)| from.trim() == text).map(|(_, to)| to.trim().to_owned());
    found.ok_or_else(|| Error::failed(format!("`{text}` is none of those that are mapped")))
}

/// How the harness cleans HellaSwag's WikiHow texts (`lm_eval/tasks/hellaswag/utils.py`).
fn hellaswag(text: &str) -> String {
    let text = trim(text).replace(" [title]", ". ");
    let mut output = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(open) = rest.find('[') {
        // `\[.*?\]`: the dot stands for no line end.
        let line = rest[open..].find('\n').map_or(rest.len(), |end| open + end);
        match rest[open..line].find(']') {
            Some(length) => {
                output.push_str(&rest[..open]);
                rest = &rest[open + length + 1..];
            }
            None => {
                output.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
            }
        }
    }
    output.push_str(rest);
    output.replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(template: &str, row: Value) -> String {
        Template::parse(template).unwrap().text(&row).unwrap()
    }

    #[test]
    fn fields_are_reached_by_names_places_and_through_lists() {
        let row = json!({"q": {"stem": "Why?", "choices": [{"t": "a"}, {"t": "b"}]}, "n": 3});
        assert_eq!(text("{q.stem or q} {n}", row.clone()), "Why? 3");
        assert_eq!(text("{{{q.choices.1.t}}}", row.clone()), "{b}");
        let list = Template::parse("{choices.text or q.choices.t}").unwrap();
        assert_eq!(list.list(&row).unwrap(), ["a", "b"]);
        assert_eq!(text("{a or b}", json!({"a": null, "b": true})), "true");
    }

    #[test]
    fn filters_do_what_python_does() {
        let row = |text: &str| json!({"x": text});
        assert_eq!(text("{x | capitalize}", row("the ΌΣΟΣ WAY")), "The όσος way");
        assert_eq!(text("{x | capitalize}", row("")), "");
        assert_eq!(text("{x | trim | without_last}", row(" It rained.\u{1f} ")), "It rained");
        assert_eq!(text("{x | small_first}", row("It Rained")), "it Rained");
        assert_eq!(text(r#"{x | before "_"}|{x | after "_" | trim}"#, row("a _ b _")), "a |b _");
        assert_eq!(text(r#"{x | before_last " "}|{x | after_last " "}"#, row("a b  c")), "a b |c");
        assert_eq!(text(r#"{x | before_last " "}|{x | after_last " "}"#, row("abc")), "|abc");
        assert_eq!(text(r#"{x | map "cause=because, effect=so"}"#, row("effect")), "so");
        assert_eq!(
            text("{x | hellaswag}", row(" a [title] b [step] [x\ny] [z]  c ")),
            "a. b [x\ny]  c"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (template, expected) in [
            ("{a", "a brace stands alone"),
            ("a}", "a brace stands alone"),
            ("{}", "names no field"),
            ("{a b}", "names no field"),
            ("{a | loud}", "no filter `loud`"),
            ("{a | before _}", "in quotes"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.exit_status(), 2);
        }
        let row = json!({"a": [1], "b": {}});
        for (template, expected) in [
            ("{c or d}", "field `c` or `d` is missing, found: a, b"),
            ("{a}", "must be a text, found [1]"),
            (r#"{a.0 | after "x"}"#, "no `x` in `1`"),
        ] {
            let error = Template::parse(template).unwrap().text(&row).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(Template::parse("{b}").unwrap().list(&row).is_err());
    }
}
