//! One JSON object → text, id and the other fields as they stand.
//!
//! It is parsed once: the text is decoded straight into a buffer that is used again for the next
//! one, and every other value is copied as its raw JSON, so numbers keep their digits and fields
//! their order. A field named twice counts as its last value, as in Python. The text and the id may
//! lie in objects inside, `content.text`; what stands beside them there stays with the other
//! fields. A key that has the dot in its own name wins. A text that is a list of messages is
//! written by the template ([`messages`]). Cost: about one pass over the line, two over an object
//! that is looked into; no allocation a line once the buffers have grown.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::source::look;
use crate::source::messages::{self, Template};
use crate::source::reject::Reason;

/// Which fields of a JSON object mean what.
#[derive(Clone, Debug)]
pub struct Fields {
    /// Names, or paths with dots between names.
    pub text: String,
    pub id: String,
    /// Whether the other fields are wanted at all; when not, they are skipped over.
    pub metadata: bool,
    /// How a list of messages is written.
    pub template: Template,
    /// Whether prompts with completions, and `messages`, count as texts, and it is asked which
    /// bytes of a text are answers.
    pub answers: bool,
}

/// The parts of one document, in buffers that are used again for the next line.
#[derive(Default)]
pub struct Record {
    text: String,
    id: String,
    metadata: String,
    text_state: TextState,
    /// Byte ranges of the text that are answers, as `17-42,60-71`; empty: it is no conversation.
    answers: String,
    /// A prompt, and a completion, beside a text.
    prompt: Option<String>,
    completion: Option<String>,
    has_id: bool,
    /// How many objects enclose the text and the id that were found: fewer win.
    text_depth: usize,
    id_depth: usize,
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
        if self.read(line, fields).is_err() {
            // Off the fast path: numbers that JSON lacks become null; of anything else its looks
            // tell what is wrong.
            let mended = without_nan(line).filter(|mended| self.read(mended, fields).is_ok());
            if mended.is_none() {
                return Err(look::of_line(line.as_bytes()));
            }
        }
        if !self.metadata.is_empty() {
            self.metadata.push('}');
        }
        self.join_completion();
        match self.text_state {
            TextState::Missing => Err(Reason::MissingText),
            TextState::Null => Err(Reason::NullText),
            TextState::OtherType => Err(Reason::TextNotAString),
            TextState::Found => Ok(()),
        }
    }

    fn read(&mut self, line: &str, fields: &Fields) -> serde_json::Result<()> {
        self.text_state = TextState::Missing;
        (self.text_depth, self.id_depth) = (usize::MAX, usize::MAX);
        self.has_id = false;
        self.metadata.clear();
        self.answers.clear();
        (self.prompt, self.completion) = (None, None);
        let mut json = serde_json::Deserializer::from_str(line);
        let (text, id) = (Some(fields.text.as_str()), Some(fields.id.as_str()));
        ObjectSeed { record: self, fields, text, id, depth: 0 }.deserialize(&mut json)?;
        json.end()
    }

    /// The document's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Byte ranges of the text that are answers; `None`: it is no conversation.
    pub fn answers(&self) -> Option<&str> {
        (!self.answers.is_empty()).then_some(&self.answers)
    }

    /// A prompt and its completion are the text of an object that has no other.
    fn join_completion(&mut self) {
        let (TextState::Missing, Some(prompt), Some(completion)) =
            (self.text_state, &self.prompt, &self.completion)
        else {
            return;
        };
        self.text.clear();
        self.text.push_str(prompt);
        self.text.push_str(completion);
        let answer = prompt.len()..self.text.len();
        self.answers = messages::list(&[answer], self.text.len());
        self.text_state = TextState::Found;
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
        self.push_key(key);
        self.metadata.push_str(value.get());
    }

    fn push_key(&mut self, key: &str) {
        match self.metadata.as_bytes().last() {
            None => self.metadata.push('{'),
            // An object inside was opened.
            Some(b'{') => {}
            Some(_) => self.metadata.push(','),
        }
        if key.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            self.metadata.push_str(&serde_json::Value::from(key).to_string());
        } else {
            self.metadata.push('"');
            self.metadata.push_str(key);
            self.metadata.push('"');
        }
        self.metadata.push(':');
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

/// The names of an object's fields, for a message, then those of objects inside as `name.inner`;
/// none when the line is no object.
pub fn fields(line: &[u8]) -> Vec<String> {
    type Object<'a> = BTreeMap<String, &'a RawValue>;
    let Ok(line) = std::str::from_utf8(line) else { return Vec::new() };
    let mended = without_nan(line);
    let line = mended.as_deref().unwrap_or(line);
    let object: Object<'_> = serde_json::from_str(line).unwrap_or_default();
    let inner = object.iter().flat_map(|(name, value)| {
        let inner: BTreeMap<String, IgnoredAny> = match value.get().starts_with('{') {
            true => serde_json::from_str(value.get()).unwrap_or_default(),
            false => BTreeMap::new(),
        };
        inner.into_keys().map(move |key| format!("{name}.{key}"))
    });
    object.keys().cloned().chain(inner).collect()
}

/// What follows `key` in `path`; empty at the field itself, `None` where `key` does not lead to it.
fn behind<'p>(path: Option<&'p str>, key: &str) -> Option<&'p str> {
    let rest = path?.strip_prefix(key)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('.').filter(|rest| !rest.is_empty())
    }
}

/// Reads one object, or one inside it, into a [`Record`].
struct ObjectSeed<'r> {
    record: &'r mut Record,
    fields: &'r Fields,
    /// What is left of the paths to the text and to the id, where they lead through this object.
    text: Option<&'r str>,
    id: Option<&'r str>,
    /// Objects around this one.
    depth: usize,
}

impl ObjectSeed<'_> {
    /// Whether the value of `key` is a prompt or a completion.
    fn is_part(&self, key: &str) -> bool {
        let is_one = [messages::PROMPT, messages::COMPLETION].contains(&key);
        self.fields.answers && self.depth == 0 && is_one
    }

    /// Looks into an object on the path to the text or the id; other values are fields like any.
    fn inner<'s>(
        &'s mut self,
        key: &str,
        value: &RawValue,
        (text, id): (Option<&'s str>, Option<&'s str>),
    ) -> serde_json::Result<()> {
        let (record, fields) = (&mut *self.record, self.fields);
        if !value.get().starts_with('{') {
            if fields.metadata {
                record.push_field(key, value);
            }
            return Ok(());
        }
        let before = record.metadata.len();
        record.push_key(key);
        record.metadata.push('{');
        let begin = record.metadata.len();
        let mut json = serde_json::Deserializer::from_str(value.get());
        let depth = self.depth + 1;
        ObjectSeed { record, fields, text, id, depth }.deserialize(&mut json)?;
        match self.record.metadata.len() == begin {
            true => self.record.metadata.truncate(before),
            false => self.record.metadata.push('}'),
        }
        Ok(())
    }
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

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let (mut text, id) = (behind(self.text, &key), behind(self.id, &key));
            let is_open = self.record.text_state == TextState::Missing;
            if self.fields.answers && self.depth == 0 && is_open && key == messages::MESSAGES {
                text = Some("");
            }
            if text == Some("") && self.depth <= self.record.text_depth {
                self.record.text_depth = self.depth;
                let (record, fields) = (&mut *self.record, self.fields);
                map.next_value_seed(TextSeed { record, fields })?;
            } else if self.is_part(&key) {
                let value = map.next_value::<&RawValue>()?;
                let text = serde_json::from_str::<String>(value.get()).ok();
                match key.as_ref() == messages::PROMPT {
                    true => self.record.prompt = text,
                    false => self.record.completion = text,
                }
            } else if id == Some("") && self.depth <= self.record.id_depth {
                self.record.id_depth = self.depth;
                let value = map.next_value::<&RawValue>()?;
                self.record.take_id(&key, value, self.fields.metadata);
            } else if text.or(id).is_some_and(|rest| !rest.is_empty()) {
                let value = map.next_value::<&RawValue>()?;
                self.inner(&key, value, (text, id)).map_err(A::Error::custom)?;
            } else if self.fields.metadata {
                let value = map.next_value::<&RawValue>()?;
                self.record.push_field(&key, value);
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
    fields: &'r Fields,
}

/// A message of a conversation; further keys, as `weight`, do not count.
#[derive(Deserialize)]
struct Message {
    #[serde(alias = "from")]
    role: Option<String>,
    #[serde(alias = "value")]
    content: Option<Content>,
}

/// A message's content, or its parts, of which only text is read.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<MessagePart>),
}

#[derive(Deserialize)]
struct MessagePart {
    text: String,
}

impl Message {
    /// Appends it to `text`. Returns where its content begins; a call of a tool has no content.
    fn write(&self, template: &Template, text: &mut String) -> Option<usize> {
        let role = self.role.as_deref().unwrap_or_default();
        match self.content.as_ref()? {
            Content::Text(content) => Some(template.write(role, content, text)),
            Content::Parts(parts) => {
                let content: String = parts.iter().map(|part| part.text.as_str()).collect();
                Some(template.write(role, &content, text))
            }
        }
    }

    /// Whether the side that answers says it.
    fn is_answer(&self) -> bool {
        self.role.as_deref().is_some_and(messages::is_answering)
    }
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
        self.record.answers.clear();
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
        self.record.text.clear();
        self.record.answers.clear();
        let (mut are_messages, mut some) = (true, false);
        let mut answers = Vec::new();
        while let Some(element) = seq.next_element::<&RawValue>()? {
            if !are_messages {
                continue;
            }
            match serde_json::from_str::<Message>(element.get()) {
                Ok(message) => {
                    let begin = message.write(&self.fields.template, &mut self.record.text);
                    some |= begin.is_some();
                    if let Some(begin) = begin.filter(|_| message.is_answer()) {
                        answers.push(begin..self.record.text.len());
                    }
                }
                Err(_) => are_messages = false,
            }
        }
        if !are_messages || !some {
            return self.other_type();
        }
        messages::finish(&mut self.record.text, 0);
        self.record.text_state = TextState::Found;
        if self.fields.answers {
            self.record.answers = messages::list(&answers, self.record.text.len());
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.other_type()
    }
}

#[cfg(test)]
mod tests;
