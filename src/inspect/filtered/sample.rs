//! Made-up rows as `filter` writes them, for tests.
//!
//! In → rows as structs; out → record batches with the agreed columns. [`report`] makes a whole
//! filter: rules of every kind, documents that try to break the page.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, ListBuilder, StringArray, StructBuilder, UInt64Array,
        UInt64Builder,
    },
    datatypes::{DataType, Field, Fields},
    record_batch::RecordBatch,
};

use super::{Filtered, Reader};
use crate::artifact::counts::Counts;

/// A histogram row.
#[derive(Clone, Debug)]
pub struct BinRow {
    pub source: String,
    pub rule: String,
    pub bound: &'static str,
    pub limit: Option<f64>,
    pub edges: Option<(f64, f64)>,
    pub passed: u64,
    pub failed: u64,
}

/// An example row.
#[derive(Clone, Debug)]
pub struct ExampleRow {
    pub rule: String,
    pub passes: bool,
    pub value: f64,
    pub limit: Option<f64>,
    pub row: u64,
    pub text: String,
    pub text_bytes: u64,
    pub spans: Vec<(u64, u64)>,
}

/// The edges of a value's bin: eight an octave.
pub fn edges(value: f64) -> (f64, f64) {
    let slot = value.to_bits() >> 49;
    let edge = |slot: u64| f64::from_bits(slot << 49);
    if value == 0.0 { (0.0, 0.0) } else { (edge(slot), edge(slot + 1)) }
}

/// Histogram rows as a batch.
pub fn bins(rows: &[BinRow]) -> RecordBatch {
    let text = |of: fn(&BinRow) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let double = |of: fn(&BinRow) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(rows.iter().map(of)))
    };
    let count = |of: fn(&BinRow) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(of)))
    };
    let key = rows.iter().map(|row| row.limit.map(|_| format!("set.min_{}", row.rule)));
    let columns = [
        ("source", text(|row| &row.source)),
        ("rule", text(|row| &row.rule)),
        ("measures", text(|_| "words with `<b>`")),
        ("key", Arc::new(StringArray::from_iter(key)) as ArrayRef),
        ("bound", text(|row| row.bound)),
        ("limit", double(|row| row.limit)),
        ("low", double(|row| row.edges.map(|edges| edges.0))),
        ("high", double(|row| row.edges.map(|edges| edges.1))),
        ("passed", count(|row| row.passed)),
        ("failed", count(|row| row.failed)),
        // Every fifth document of a side is another rule's too.
        ("kept", count(|row| row.passed - row.passed / 5)),
        ("alone", count(|row| row.failed - row.failed / 5)),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

/// Example rows as a batch.
pub fn examples(rows: &[ExampleRow]) -> RecordBatch {
    let text = |of: &dyn Fn(&ExampleRow) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let count = |of: fn(&ExampleRow) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(of)))
    };
    let number = |name: &str| Field::new(name, DataType::UInt64, true);
    let fields = Fields::from(vec![number("start"), number("end")]);
    let builders = || Box::new(UInt64Builder::new());
    let mut spans = ListBuilder::new(StructBuilder::new(fields, vec![builders(), builders()]));
    for row in rows {
        for (start, end) in &row.spans {
            for (field, offset) in [start, end].into_iter().enumerate() {
                let builder = spans.values().field_builder::<UInt64Builder>(field);
                builder.unwrap().append_value(*offset);
            }
            spans.values().append(true);
        }
        spans.append(true);
    }
    let passes = rows.iter().map(|row| Some(row.passes));
    // Every fourth is one that an earlier rule drops.
    let reached = rows.iter().map(|row| Some(row.row % 4 != 3));
    let columns = [
        ("rule", text(&|row| row.rule.clone())),
        ("passes", Arc::new(BooleanArray::from_iter(passes)) as ArrayRef),
        ("reached", Arc::new(BooleanArray::from_iter(reached))),
        ("value", Arc::new(Float64Array::from_iter(rows.iter().map(|row| Some(row.value))))),
        ("limit", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.limit)))),
        ("id", text(&|row| format!("<id {}>\u{1b}[2J", row.row))),
        ("source", text(&|_| "s0".to_owned())),
        ("file", text(&|_| "a&b.parquet".to_owned())),
        ("row", count(|row| row.row)),
        ("text", text(&|row| row.text.clone())),
        ("text_bytes", count(|row| row.text_bytes)),
        ("spans", Arc::new(spans.finish())),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

/// Texts that try to break what shows them.
pub fn hostile() -> Vec<String> {
    vec![
        "</script></style><script>alert(1)</script><!-- \" ' & &lt;".to_owned(),
        "هذا نص عربي قصير \u{202e}gnp.exe\u{2066} ويتبعه نص آخر".to_owned(),
        format!("e{} after a tower of marks", "\u{301}".repeat(2000)),
        "one line ".repeat(7000),
        "\u{0}\u{1}\u{7}\u{8}\u{1b}[31mred\u{1b}]0;title\u{7}\r\u{7f}\u{85}\u{9b}5m\u{fffe}".into(),
        "\n\n\n".to_owned(),
        String::new(),
        "&".repeat(60_000),
        "\u{1b}".repeat(60_000),
        "漢字かな交じり文。".repeat(900),
        "👩‍👩‍👧‍👦🏳️‍🌈".repeat(900),
    ]
}

/// `rules` rules over `sources` sources, each with six hostile documents.
pub fn report(rules: usize, sources: usize) -> Filtered {
    let (mut rows, mut documents, mut counts) = (Vec::new(), Vec::new(), Counts::default());
    let texts = hostile();
    for rule in 0..rules {
        let name = format!("set/rule_{rule}");
        let share = rule % 3 == 1;
        let bound = if rule % 2 == 0 { "at least" } else { "at most" };
        let limit = [Some(50.0), Some(0.3), Some(3.0)][rule % 3];
        for source in 0..sources {
            for step in 0..60u64 {
                let value = match rule % 3 {
                    0 => (1.3f64).powi(step as i32 / 2).floor(),
                    1 => step as f64 / 59.0,
                    _ => (step % 9) as f64,
                };
                let passes =
                    if rule % 2 == 0 { value >= limit.unwrap() } else { value <= limit.unwrap() };
                let count = 1 + (step * 7 + source as u64) % 13;
                rows.push(BinRow {
                    source: format!("s{source}"),
                    rule: name.clone(),
                    bound,
                    limit,
                    edges: Some(edges(value)),
                    passed: if passes { count } else { 0 },
                    failed: if passes { 0 } else { count },
                });
            }
        }
        for at in 0..6 {
            let text = texts[(rule * 6 + at) % texts.len()].clone();
            documents.push(ExampleRow {
                rule: name.clone(),
                passes: at % 2 == 0,
                value: if share { 0.3 } else { 50.0 + at as f64 },
                limit,
                row: at as u64,
                text_bytes: text.len() as u64 + 5,
                spans: (0..text.len() as u64 / 40).map(|at| (at * 40, at * 40 + 11)).collect(),
                text,
            });
        }
    }
    for source in 0..sources {
        let own = counts.source(&format!("s{source}"));
        own.documents_in = 1000 + source as u64;
        for rule in 0..rules {
            own.dropped.insert(format!("set/rule_{rule}"), (rule as u64 * 5) % 17);
        }
        own.documents_out = own.documents_in - own.dropped_total();
    }
    let mut reader = Reader::default();
    reader.histograms(&bins(&rows)).unwrap();
    reader.examples(&examples(&documents)).unwrap();
    reader.finish(&counts)
}
