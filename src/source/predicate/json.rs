//! Fields of JSON texts → arrays, each text parsed once for all fields asked for.
//!
//! In → the texts of a batch and what is asked: a path of keys and the kind wanted; out → one array
//! for each, null where the field is absent, null, or of another kind (a numeric string is no
//! number), and everywhere in a text that is no JSON object. Keys are case sensitive; of equal keys
//! the last counts. Numbers are rounded to the nearest double.
//! Method: one pass of serde_json over a text, which keeps the raw text of wanted values and skips
//! the others without building them. Cost: one scan of the texts' bytes, nothing for rows that
//! cannot pass any more.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBuilder, Float64Builder, StringArray, StringBuilder,
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::kind::ValueKind;

/// What is wanted of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A JSON true or false.
    Boolean,
    /// A JSON number, as a double.
    Number,
    /// A JSON string.
    Text,
    /// Any JSON scalar, as text: what a cast begins with.
    Printed,
    /// Whether there is a value that is not null; never null itself.
    Present,
}

impl Ask {
    /// What is asked of a field whose kind is known: JSON has numbers and no integers.
    pub(super) fn of(kind: ValueKind) -> Ask {
        match kind {
            ValueKind::Boolean => Ask::Boolean,
            ValueKind::Integer | ValueKind::Wide | ValueKind::Number => Ask::Number,
            ValueKind::Text => Ask::Text,
        }
    }
}

/// The fields asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Extractor {
    root: Node,
    paths: Vec<Vec<String>>,
    asks: Vec<(usize, Ask)>,
}

/// Keys below one object.
#[derive(Clone, Debug, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(String, Node)>,
}

impl Extractor {
    /// Asks for one field; returns the index of its array in [`extract`]'s answer.
    pub(super) fn ask(&mut self, path: &[String], ask: Ask) -> usize {
        let slot = match self.paths.iter().position(|known| known == path) {
            Some(slot) => slot,
            None => {
                self.root.insert(path, self.paths.len());
                self.paths.push(path.to_vec());
                self.paths.len() - 1
            }
        };
        match self.asks.iter().position(|known| *known == (slot, ask)) {
            Some(index) => index,
            None => {
                self.asks.push((slot, ask));
                self.asks.len() - 1
            }
        }
    }
}

impl Node {
    fn insert(&mut self, path: &[String], slot: usize) {
        let Some((key, rest)) = path.split_first() else {
            self.slot = Some(slot);
            return;
        };
        let at = self.children.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            self.children.push((key.clone(), Node::default()));
            self.children.len() - 1
        });
        self.children[at].1.insert(rest, slot);
    }

    /// Takes in the value of this node's key: its raw text, and what lies below it.
    fn fill<'t>(&self, raw: &'t RawValue, slots: &mut [Option<&'t str>]) {
        self.forget(slots);
        if let Some(slot) = self.slot {
            slots[slot] = Some(raw.get());
        }
        if !self.children.is_empty() && raw.get().starts_with('{') {
            // The JSON was checked when it was skipped; a value that still cannot be read counts as
            // absent.
            let mut reader = serde_json::Deserializer::from_str(raw.get());
            let _ = Object { node: self, slots }.deserialize(&mut reader);
        }
    }

    /// Empties the slots of this node and below: an equal key that came earlier does not count.
    fn forget(&self, slots: &mut [Option<&str>]) {
        if let Some(slot) = self.slot {
            slots[slot] = None;
        }
        for (_, child) in &self.children {
            child.forget(slots);
        }
    }
}

/// One array for each thing asked, as long as `texts`; rows where `wanted` is not true are null.
pub(super) fn extract(
    texts: &StringArray,
    wanted: Option<&BooleanArray>,
    extractor: &Extractor,
) -> Vec<ArrayRef> {
    let mut outputs: Vec<Output> =
        extractor.asks.iter().map(|(_, ask)| Output::new(*ask, texts.len())).collect();
    let mut slots = vec![None; extractor.paths.len()];
    for row in 0..texts.len() {
        slots.fill(None);
        if texts.is_valid(row) && wanted.is_none_or(|wanted| wanted.value(row)) {
            let mut reader = serde_json::Deserializer::from_str(texts.value(row));
            let object = Object { node: &extractor.root, slots: &mut slots };
            if object.deserialize(&mut reader).and_then(|()| reader.end()).is_err() {
                slots.fill(None);
            }
        }
        for (output, (slot, _)) in outputs.iter_mut().zip(&extractor.asks) {
            output.push(slots[*slot]);
        }
    }
    outputs.into_iter().map(Output::finish).collect()
}

/// Reads an object: the raw texts of wanted fields go to their slots.
struct Object<'n, 's, 't> {
    node: &'n Node,
    slots: &'s mut [Option<&'t str>],
}

impl<'t> DeserializeSeed<'t> for Object<'_, '_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for Object<'_, '_, 't> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(child) = entries.next_key_seed(Key(self.node))? {
            match child {
                Some(child) => child.fill(entries.next_value()?, self.slots),
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a key: the node that waits for it, if any.
struct Key<'n>(&'n Node);

impl<'t, 'n> DeserializeSeed<'t> for Key<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'t>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Key<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().find(|(known, _)| known == key).map(|(_, child)| child))
    }
}

/// The array that one thing asked for becomes.
enum Output {
    Boolean(BooleanBuilder),
    Number(Float64Builder),
    Text { printed: bool, builder: StringBuilder },
    Present(BooleanBuilder),
}

impl Output {
    fn new(ask: Ask, rows: usize) -> Output {
        match ask {
            Ask::Boolean => Output::Boolean(BooleanBuilder::with_capacity(rows)),
            Ask::Number => Output::Number(Float64Builder::with_capacity(rows)),
            Ask::Text | Ask::Printed => Output::Text {
                printed: ask == Ask::Printed,
                builder: StringBuilder::with_capacity(rows, 0),
            },
            Ask::Present => Output::Present(BooleanBuilder::with_capacity(rows)),
        }
    }

    /// Takes the raw JSON text of a row's value.
    fn push(&mut self, raw: Option<&str>) {
        let first = raw.and_then(|raw| raw.bytes().next());
        match self {
            Output::Boolean(builder) => {
                let value = matches!(first, Some(b't' | b'f')).then_some(first == Some(b't'));
                builder.append_option(value);
            }
            Output::Number(builder) => {
                let number = raw.filter(|_| matches!(first, Some(b'-' | b'0'..=b'9')));
                builder.append_option(number.and_then(|raw| raw.parse().ok()));
            }
            Output::Text { printed, builder } => match (first, raw) {
                (Some(b'"'), Some(raw)) => builder.append_option(unquote(raw).as_deref()),
                (Some(b'-' | b'0'..=b'9' | b't' | b'f'), raw) if *printed => {
                    builder.append_option(raw);
                }
                _ => builder.append_null(),
            },
            Output::Present(builder) => {
                builder.append_value(first.is_some_and(|first| first != b'n'));
            }
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Output::Boolean(mut builder) | Output::Present(mut builder) => {
                Arc::new(builder.finish())
            }
            Output::Number(mut builder) => Arc::new(builder.finish()),
            Output::Text { mut builder, .. } => Arc::new(builder.finish()),
        }
    }
}

/// A JSON string's text; `None` for escapes of half a surrogate pair, which no text can hold.
fn unquote(raw: &str) -> Option<std::borrow::Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    match inner.contains('\\') {
        false => Some(inner.into()),
        true => serde_json::from_str::<String>(raw).ok().map(Into::into),
    }
}
