//! The documents nearest a rule's limit, on either side, with what the rule counts against them.
//!
//! Measures with their documents in → for each rule at most three that pass and three that fail;
//! rows of [`schema::examples`].
//!
//! `reached` says whether the document passed every rule before. Those come first, whatever their
//! distance, for they are the ones that a change of this limit keeps or drops; then the least
//! distance of value and limit; then source, file and row. `value` may be NaN, which fails and is
//! farther than any other; a limit that is infinite or NaN has no examples. `text` is what the rule
//! saw, after the edits of rules before it, of the document's first 64 KiB and cut to so much;
//! `text_bytes` is more than it has if any was cut. `spans` are bytes of `text`.
//! Invariant: the nearest of all documents offered, in whatever order. Cost: a comparison a
//! measure; spans take one look at the text each, behind the rule sets that edit alone.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, ListArray, RecordBatch, StringBuilder, StructArray,
    UInt64Array, UInt64Builder,
};
use arrow::buffer::OffsetBuffer;

use super::{Document, Names, Rule, schema};
use crate::base::error::{Result, bug};
use crate::filter::rules::{Measure, RuleSet, spans};
use crate::filter::view::Room;

/// Examples on each side of a limit.
pub const NEAREST: usize = 3;
/// Most bytes that are kept of a text.
pub const TEXT_BYTES: usize = 64 << 10;

/// A document that may be shown.
#[derive(Debug, PartialEq)]
pub struct Kept {
    source: usize,
    file: usize,
    row: u64,
    id: String,
    /// The text as it came, its first [`TEXT_BYTES`].
    text: String,
    /// Bytes of the whole.
    bytes: usize,
}

impl Kept {
    fn of(document: Document<'_>) -> Kept {
        let Document { source, file, row, id, text } = document;
        let (id, bytes) = (id.to_owned(), text.len());
        Kept { source, file, row, id, text: beginning(text).to_owned(), bytes }
    }
}

/// The first [`TEXT_BYTES`] of a text, fewer where they would cut a character.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES)]
}

/// The order in which examples are shown, as said at the top of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    is_unreached: bool,
    /// The bits of the distance: doubles from zero up are in the order of their bits.
    distance: u64,
    source: usize,
    file: usize,
    row: u64,
}

/// A document with one rule's measure.
#[derive(Clone, Debug, PartialEq)]
struct Example {
    order: Order,
    value: f64,
    limit: f64,
    document: Arc<Kept>,
}

/// The examples of one rule, the nearest first.
#[derive(Clone, Debug, Default)]
pub struct Nearest {
    passing: Vec<Example>,
    failing: Vec<Example>,
}

impl Nearest {
    /// Takes a document if it is among the nearest; `kept` is the copy that its rules share.
    pub fn offer(
        &mut self,
        measure: &Measure,
        is_reached: bool,
        document: Document<'_>,
        kept: &mut Option<Arc<Kept>>,
    ) {
        let (_, limit) = measure.limit.parts();
        if !limit.is_finite() {
            return;
        }
        let distance = (measure.value - limit).abs();
        let order = Order {
            is_unreached: !is_reached,
            distance: if distance.is_nan() { u64::MAX } else { distance.to_bits() },
            source: document.source,
            file: document.file,
            row: document.row,
        };
        let side = if measure.passes() { &mut self.passing } else { &mut self.failing };
        if side.len() == NEAREST && side.last().is_some_and(|last| last.order <= order) {
            return;
        }
        let document = kept.get_or_insert_with(|| Arc::new(Kept::of(document))).clone();
        insert(side, Example { order, value: measure.value, limit, document });
    }

    /// Takes the nearest of both.
    pub fn merge(&mut self, other: Nearest) {
        other.passing.into_iter().for_each(|example| insert(&mut self.passing, example));
        other.failing.into_iter().for_each(|example| insert(&mut self.failing, example));
    }
}

fn insert(side: &mut Vec<Example>, example: Example) {
    let at = side.partition_point(|own| own.order < example.order);
    side.insert(at, example);
    side.truncate(NEAREST);
}

/// The table on its way, and what finds spans.
pub struct ExampleRows<'r> {
    names: &'r Names<'r>,
    rule_sets: &'r [Box<dyn RuleSet>],
    room: &'r mut Room,
    rule: StringBuilder,
    passes: BooleanBuilder,
    reached: BooleanBuilder,
    value: Float64Builder,
    limit: Float64Builder,
    id: StringBuilder,
    source: StringBuilder,
    file: StringBuilder,
    row: UInt64Builder,
    text: StringBuilder,
    text_bytes: UInt64Builder,
    /// Spans of each row.
    lengths: Vec<usize>,
    starts: Vec<u64>,
    ends: Vec<u64>,
}

impl<'r> ExampleRows<'r> {
    /// Without rows.
    pub fn new(
        names: &'r Names<'r>,
        rule_sets: &'r [Box<dyn RuleSet>],
        room: &'r mut Room,
    ) -> ExampleRows<'r> {
        ExampleRows {
            names,
            rule_sets,
            room,
            rule: StringBuilder::new(),
            passes: BooleanBuilder::new(),
            reached: BooleanBuilder::new(),
            value: Float64Builder::new(),
            limit: Float64Builder::new(),
            id: StringBuilder::new(),
            source: StringBuilder::new(),
            file: StringBuilder::new(),
            row: UInt64Builder::new(),
            text: StringBuilder::new(),
            text_bytes: UInt64Builder::new(),
            lengths: Vec::new(),
            starts: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Adds the examples of one rule.
    pub fn push(&mut self, rule: &Rule, nearest: &Nearest) {
        let passing = nearest.passing.iter().map(|example| (true, example));
        let failing = nearest.failing.iter().map(|example| (false, example));
        for (passes, example) in passing.chain(failing) {
            let document = &*example.document;
            self.rule.append_value(rule.info.rule);
            self.passes.append_value(passes);
            self.reached.append_value(!example.order.is_unreached);
            self.value.append_value(example.value);
            self.limit.append_value(example.limit);
            self.id.append_value(&document.id);
            self.source.append_value(self.names.sources[document.source]);
            self.file.append_value(self.names.files[document.file]);
            self.row.append_value(document.row);
            self.push_text(rule, document);
        }
    }

    /// The text as the rule sees it, and the spans there.
    fn push_text(&mut self, rule: &Rule, document: &Kept) {
        let view = self.room.view(&document.text);
        let (found, view) = spans::find(self.rule_sets, rule.owner, rule.info.rule, view);
        let shown = beginning(view.text());
        let is_cut = document.text.len() < document.bytes;
        let bytes = if is_cut { document.bytes } else { view.text().len() };
        self.text.append_value(shown);
        self.text_bytes.append_value(bytes as u64);
        let within = found.iter().filter(|span| span.start < shown.len());
        let before = self.starts.len();
        for span in within {
            self.starts.push(span.start as u64);
            self.ends.push(span.end.min(shown.len()) as u64);
        }
        self.lengths.push(self.starts.len() - before);
    }

    /// The table.
    ///
    /// # Errors
    /// None but a bug's.
    pub fn finish(mut self) -> Result<RecordBatch> {
        let ends: Vec<ArrayRef> =
            vec![Arc::new(UInt64Array::from(self.starts)), Arc::new(UInt64Array::from(self.ends))];
        let spans = StructArray::try_new(schema::span_ends(), ends, None).map_err(bug)?;
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let spans =
            ListArray::try_new(schema::span(), offsets, Arc::new(spans), None).map_err(bug)?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.rule.finish()),
            Arc::new(self.passes.finish()),
            Arc::new(self.reached.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.limit.finish()),
            Arc::new(self.id.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.file.finish()),
            Arc::new(self.row.finish()),
            Arc::new(self.text.finish()),
            Arc::new(self.text_bytes.finish()),
            Arc::new(spans),
        ];
        RecordBatch::try_new(schema::examples(), columns).map_err(bug)
    }
}
