//! The tables that a filter writes beside its documents, as their writer and readers agree on them.
//!
//! `histogram-00000.parquet` has a row for each bin of a (rule, source) that holds a document:
//!
//! ```text
//! source   string   rule     string  `quality/gopher_short_doc`
//! measures string   key      string  `gopher_quality.min_words`; null where there is none
//! bound    string   `at least` or `at most`
//! limit    double   null: none     low, high double  the bin; null: the documents without a value
//! passed   uint64   failed   uint64  documents
//! kept     uint64   of those that pass: documents that pass every other rule too
//! alone    uint64   of those that fail: documents that pass every other rule
//! ```
//!
//! So a stricter limit drops `kept` of the bins that it leaves out, and a laxer one keeps `alone`
//! of the bins that it takes in. `examples-00000.parquet` has the documents nearest each limit:
//!
//! ```text
//! rule string · passes bool · reached bool · value double · limit double · id string
//! source string · file string · row uint64 · text string · text_bytes uint64
//! spans list<struct<start uint64, end uint64>>
//! ```
//!
//! Invariant: these names stand here and nowhere else.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

/// The names of a unit's files, and of those published, up to the number.
pub const HISTOGRAM: &str = "histogram";
pub const EXAMPLES: &str = "examples";

/// Columns of both tables.
pub const SOURCE: &str = "source";
pub const RULE: &str = "rule";
pub const LIMIT: &str = "limit";

/// Columns of a histogram.
pub const MEASURES: &str = "measures";
pub const KEY: &str = "key";
pub const BOUND: &str = "bound";
pub const LOW: &str = "low";
pub const HIGH: &str = "high";
pub const PASSED: &str = "passed";
pub const FAILED: &str = "failed";
pub const KEPT: &str = "kept";
pub const ALONE: &str = "alone";

/// Columns of the examples.
pub const PASSES: &str = "passes";
pub const REACHED: &str = "reached";
pub const VALUE: &str = "value";
pub const ID: &str = "id";
pub const FILE: &str = "file";
pub const ROW: &str = "row";
pub const TEXT: &str = "text";
pub const TEXT_BYTES: &str = "text_bytes";
pub const SPANS: &str = "spans";
pub const START: &str = "start";
pub const END: &str = "end";

/// What stands before a rule's name in the counts of a filter that drops nothing.
const WOULD_DROP: &str = "would_drop ";

/// The count of documents that a rule would have dropped.
pub fn would_drop(rule: &str) -> String {
    format!("{WOULD_DROP}{rule}")
}

/// The rule whose count that is.
pub fn rule_of_count(name: &str) -> Option<&str> {
    name.strip_prefix(WOULD_DROP)
}

/// The columns of a histogram, in their order.
pub fn histogram() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let count = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![
        text(SOURCE),
        text(RULE),
        text(MEASURES),
        text(KEY).with_nullable(true),
        text(BOUND),
        number(LIMIT),
        number(LOW),
        number(HIGH),
        count(PASSED),
        count(FAILED),
        count(KEPT),
        count(ALONE),
    ]))
}

/// The columns of the examples, in their order.
pub fn examples() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let is = |name: &str| Field::new(name, DataType::Boolean, false);
    let number = |name: &str| Field::new(name, DataType::Float64, false);
    let count = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![
        text(RULE),
        is(PASSES),
        is(REACHED),
        number(VALUE),
        number(LIMIT).with_nullable(true),
        text(ID),
        text(SOURCE),
        text(FILE),
        count(ROW),
        text(TEXT),
        count(TEXT_BYTES),
        Field::new(SPANS, DataType::List(span()), false),
    ]))
}

/// One span: the ends of a range of bytes.
pub fn span() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(span_ends()), false))
}

/// The fields of a span.
pub fn span_ends() -> Fields {
    let end = |name: &str| Field::new(name, DataType::UInt64, false);
    Fields::from(vec![end(START), end(END)])
}
