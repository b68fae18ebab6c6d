//! One JSON line → text, id and the other fields as they stand.
//!
//! The line is parsed once: the text is decoded straight into a buffer that is used again for the
//! next line, and every other value is copied as its raw JSON, so numbers keep their digits and
//! fields their order. A field named twice counts as its last value, as in Python. Cost: about one
//! pass over the line; no allocation a line once the buffers have grown.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::source::look;
use crate::source::reject::Reason;

/// Which fields of a JSON object mean what.
#[derive(Clone, Debug)]
pub struct Fields {
    pub text: String,
    pub id: String,
    /// Whether the other fields are wanted at all; when not, they are skipped over.
    pub metadata: bool,
}

/// The parts of one document, in buffers that are used again for the next line.
#[derive(Default)]
pub struct Record {
    text: String,
    id: String,
    metadata: String,
    text_state: TextState,
    has_id: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum TextState {
    #[default]
    Missing,
    Null,
    OtherType,
    Found,
}

impl Record {
    /// Parses `line`; on success the accessors tell its parts.
    pub fn parse(&mut self, line: &str, fields: &Fields) -> Result<(), Reason> {
        self.text_state = TextState::Missing;
        self.has_id = false;
        self.metadata.clear();
        if self.read(line, fields).is_err() {
            // Off the fast path: numbers that JSON lacks are null, anything else is asked for its
            // looks.
            let mended = without_nan(line).filter(|mended| {
                self.text_state = TextState::Missing;
                self.has_id = false;
                self.metadata.clear();
                self.read(mended, fields).is_ok()
            });
            if mended.is_none() {
                return Err(look::of_line(line.as_bytes()));
            }
        }
        if !self.metadata.is_empty() {
            self.metadata.push('}');
        }
        match self.text_state {
            TextState::Missing => Err(Reason::MissingText),
            TextState::Null => Err(Reason::NullText),
            TextState::OtherType => Err(Reason::TextNotAString),
            TextState::Found => Ok(()),
        }
    }

    fn read(&mut self, line: &str, fields: &Fields) -> serde_json::Result<()> {
        let mut json = serde_json::Deserializer::from_str(line);
        ObjectSeed { record: self, fields }.deserialize(&mut json)?;
        json.end()
    }

    /// The document's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The id as given: a string's value, or a number as it stands.
    pub fn id(&self) -> Option<&str> {
        self.has_id.then_some(&self.id)
    }

    /// The other fields as one JSON object; `None` when there are none.
    pub fn metadata(&self) -> Option<&str> {
        (!self.metadata.is_empty()).then_some(&self.metadata)
    }

    fn push_field(&mut self, key: &str, value: &RawValue) {
        self.metadata.push(if self.metadata.is_empty() { '{' } else { ',' });
        if key.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            self.metadata.push_str(&serde_json::Value::from(key).to_string());
        } else {
            self.metadata.push('"');
            self.metadata.push_str(key);
            self.metadata.push('"');
        }
        self.metadata.push(':');
        self.metadata.push_str(value.get());
    }

    /// A string or a number is an id; null is none; anything else stays with the other fields.
    fn take_id(&mut self, key: &str, value: &RawValue, metadata: bool) {
        self.has_id = false;
        match value.get().as_bytes()[0] {
            b'"' => {
                self.id.clear();
                // Fails only on a lone surrogate, which `RawValue` lets pass: then it is no id.
                if let Ok(id) = serde_json::from_str::<String>(value.get()) {
                    self.id = id;
                    self.has_id = true;
                }
            }
            b'-' | b'0'..=b'9' => {
                self.id.clear();
                self.id.push_str(value.get());
                self.has_id = true;
            }
            b'n' => (),
            _ if metadata => self.push_field(key, value),
            _ => (),
        }
    }
}

/// The line with `NaN`, `Infinity` and `-Infinity` as null, which Python writes and JSON lacks;
/// `None` when there are none outside strings.
fn without_nan(line: &str) -> Option<String> {
    const NUMBERS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    let (mut mended, mut rest, mut found) = (String::new(), line, false);
    let mut in_string = false;
    while let Some(next) = rest.chars().next() {
        let number = NUMBERS.iter().find(|number| !in_string && rest.starts_with(**number));
        let taken = match (number, next) {
            (Some(number), _) => {
                found = true;
                mended.push_str("null");
                number.len()
            }
            (None, '\\') if in_string => {
                let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
                mended.push_str(&rest[..1 + escaped]);
                1 + escaped
            }
            (None, next) => {
                in_string ^= next == '"';
                mended.push(next);
                next.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    found.then_some(mended)
}

/// The names of an object's fields, for a message; none when the line is no object.
pub fn fields(line: &[u8]) -> Vec<String> {
    let Ok(line) = std::str::from_utf8(line) else { return Vec::new() };
    let mended = without_nan(line);
    let line = mended.as_deref().unwrap_or(line);
    let object = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(line);
    object.map(|object| object.into_keys().collect()).unwrap_or_default()
}

/// Reads one object into a [`Record`].
struct ObjectSeed<'r> {
    record: &'r mut Record,
    fields: &'r Fields,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let ObjectSeed { record, fields } = self;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            if *key == *fields.text {
                map.next_value_seed(TextSeed { record })?;
            } else if *key == *fields.id {
                let value = map.next_value::<&RawValue>()?;
                record.take_id(&key, value, fields.metadata);
            } else if fields.metadata {
                let value = map.next_value::<&RawValue>()?;
                record.push_field(&key, value);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A key, borrowed from the line unless it holds an escape.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: de::Deserializer<'de>>(self, json: D) -> Result<Cow<'de, str>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// The text's value, copied into the record's buffer; other types are noted and passed over.
struct TextSeed<'r> {
    record: &'r mut Record,
}

impl TextSeed<'_> {
    fn other_type<E>(self) -> Result<(), E> {
        self.record.text_state = TextState::OtherType;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.record.text.clear();
        self.record.text.push_str(text);
        self.record.text_state = TextState::Found;
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.record.text_state = TextState::Null;
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.other_type()
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.other_type()
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.other_type()
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.other_type()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.other_type()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.other_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `text | id | metadata`, or the reject's name.
    fn parse(line: &str) -> String {
        let fields = Fields { text: "text".into(), id: "id".into(), metadata: true };
        let mut record = Record::default();
        match record.parse(line, &fields) {
            Ok(()) => format!(
                "{} | {} | {}",
                record.text(),
                record.id().unwrap_or("-"),
                record.metadata().unwrap_or("-")
            ),
            Err(reason) => reason.name().to_owned(),
        }
    }

    #[test]
    fn keeps_other_fields_in_their_order_with_their_digits() {
        let (score, big) = ("1.50e+3", "123456789012345678901234567890");
        let rest = format!(r#""score":{score},"big":{big},"m":{{"z":1,"a":[null]}}}}"#);
        let line = format!(r#"{{"url":"u","text":"a\nb","id":"7", {rest}"#);
        let expect = format!(r#"{{"url":"u",{rest}"#);
        assert_eq!(parse(&line), format!("a\nb | 7 | {expect}"));
        assert_eq!(parse(r#"{"a\"b":1,"text":""}"#), r#" | - | {"a\"b":1}"#);
    }

    #[test]
    fn an_id_is_a_string_or_a_number_as_it_stands() {
        assert_eq!(parse(r#"{"id":"a\u00e9","text":"t"}"#), "t | aé | -");
        assert_eq!(
            parse(r#"{"id":18446744073709551616,"text":"t"}"#),
            "t | 18446744073709551616 | -"
        );
        assert_eq!(parse(r#"{"id":null,"text":"t"}"#), "t | - | -");
        assert_eq!(parse(r#"{"id":[1],"text":"t"}"#), r#"t | - | {"id":[1]}"#);
    }

    #[test]
    fn names_what_is_wrong() {
        for (line, reason) in [
            (r#"{"text":"half"#, "invalid_json"),
            ("no json", "invalid_json"),
            (r#"{"text":"t"}}"#, "invalid_json"),
            ("{\"text\":\"a\u{0}b\"}", "invalid_json"),
            (r#"{"text":"\ud800"}"#, "lone_surrogate"),
            (r#"{"text":"t",}"#, "invalid_json"),
            (r#"["text"]"#, "not_an_object"),
            ("17", "not_an_object"),
            ("[1", "invalid_json"),
            (r#"{"tex":"t"}"#, "missing_text"),
            (r#"{"text":null}"#, "null_text"),
            (r#"{"text":7}"#, "text_not_a_string"),
            (r#"{"text":["a",{"b":[]}]}"#, "text_not_a_string"),
            (r#"{"text":{"text":"t"}}"#, "text_not_a_string"),
        ] {
            assert_eq!(parse(line), reason, "{line}");
        }
        assert_eq!(parse(r#"{"text":"\ud83d\ude00"}"#), "😀 | - | -");
        assert_eq!(parse(r#"{"text":1,"text":"last"}"#), "last | - | -");
    }

    #[test]
    fn deep_nesting_beside_the_text_is_no_danger() {
        let deep = format!(r#"{{"text":"t","a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(&deep).starts_with("t | -"));
    }
}
