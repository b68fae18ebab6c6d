//! Rows of all units → one [`Filtered`].
//!
//! In → record batches of two kinds and the stage's counts. A histogram row is one bin of one rule
//! and source; the bins are eight an octave in every file (exponent and three bits of mantissa,
//! zero by itself), so units merge by adding. An example row is a document near a limit; of those
//! the [`NEAREST`] on each side stay, equal ones by source, file and row. Out → the report, rules
//! in the order in which they first appear. Invariant: how rows are cut into batches does not
//! matter, only their order does. A file that lacks a column is [`Malformed`]; extra columns are
//! left alone, and no value can stop the reader.

use std::{cmp::Ordering, collections::BTreeMap};

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Float64Type, UInt64Type},
    record_batch::RecordBatch,
};

use super::{
    Bin, Bound, Example, Filtered, Flow, Histogram, Moved, NEAREST, Nearest, Rule, Tally, axis,
};
use crate::artifact::counts::Counts;
use crate::filter::evidence::schema;
use crate::filter::rules::AT_MOST;
use crate::source::LEFT_OUT;

/// Rows that are not what [`Reader`] takes: for `Error::damaged`, which adds the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

/// Takes rows in, unit by unit.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    rules: Vec<Rule>,
    /// Place in `rules` by name.
    places: BTreeMap<String, usize>,
}

impl Reader {
    /// Adds the bins of a batch of histogram rows.
    ///
    /// # Errors
    /// [`Malformed`] for a column that is not there or of another type.
    pub fn histograms(&mut self, batch: &RecordBatch) -> Result<(), Malformed> {
        let rows = Rows { batch, kind: "histogram" };
        let [source, rule] = [rows.text(schema::SOURCE)?, rows.text(schema::RULE)?];
        let [measures, bound] = [rows.text(schema::MEASURES)?, rows.text(schema::BOUND)?];
        let (key, limit) = (rows.text(schema::KEY)?, rows.doubles(schema::LIMIT)?);
        let (low, high) = (rows.doubles(schema::LOW)?, rows.doubles(schema::HIGH)?);
        let (passed, failed) = (rows.integers(schema::PASSED)?, rows.integers(schema::FAILED)?);
        let (kept, alone) = (rows.integers(schema::KEPT)?, rows.integers(schema::ALONE)?);
        for row in 0..batch.num_rows() {
            let known = self.rule(rule.at(row).unwrap_or_default());
            if known.measures.is_empty() {
                known.measures = measures.at(row).unwrap_or_default().to_owned();
                known.bound =
                    if bound.at(row) == Some(AT_MOST) { Bound::AtMost } else { Bound::AtLeast };
                known.key = key.at(row).map(str::to_owned);
                known.limit = limit.at(row);
            }
            let source = source.at(row).unwrap_or_default();
            if !known.histograms.contains_key(source) {
                known.histograms.insert(source.to_owned(), Histogram::default());
            }
            let histogram = known.histograms.get_mut(source).expect("inserted above");
            let count = |column: &Integers<'_>| column.at(row).unwrap_or_default();
            let tally = Tally {
                passed: count(&passed),
                failed: count(&failed),
                kept: count(&kept),
                alone: count(&alone),
            };
            match (low.at(row), high.at(row)) {
                (Some(low), Some(high)) => {
                    // Negative zero is zero.
                    histogram.put(Bin { low: low + 0.0, high: high + 0.0, tally });
                }
                _ => histogram.no_value.add(tally),
            }
        }
        Ok(())
    }

    /// Adds the documents of a batch of example rows.
    ///
    /// # Errors
    /// [`Malformed`] for a column that is not there or of another type.
    pub fn examples(&mut self, batch: &RecordBatch) -> Result<(), Malformed> {
        let rows = Rows { batch, kind: "example" };
        let (rule, passes) = (rows.text(schema::RULE)?, rows.booleans(schema::PASSES)?);
        let reached = rows.booleans(schema::REACHED)?;
        let (value, limit) = (rows.doubles(schema::VALUE)?, rows.doubles(schema::LIMIT)?);
        let [id, source, file, text] = [
            rows.text(schema::ID)?,
            rows.text(schema::SOURCE)?,
            rows.text(schema::FILE)?,
            rows.text(schema::TEXT)?,
        ];
        let (place, bytes) = (rows.integers(schema::ROW)?, rows.integers(schema::TEXT_BYTES)?);
        let spans = rows.spans(schema::SPANS)?;
        for row in 0..batch.num_rows() {
            let owned = |column: &Text<'_>| column.at(row).unwrap_or_default().to_owned();
            let example = Example {
                id: owned(&id),
                source: owned(&source),
                file: owned(&file),
                row: place.at(row).unwrap_or_default(),
                value: value.at(row),
                limit: limit.at(row),
                reached: reached.value(row),
                text: owned(&text),
                text_bytes: bytes.at(row).unwrap_or_default(),
                spans: spans.at(row),
            };
            let Nearest { fails, passes: passing } =
                &mut self.rule(rule.at(row).unwrap_or_default()).nearest;
            let side = if passes.value(row) { passing } else { fails };
            let at = side.partition_point(|other| nearer(other, &example).is_le());
            side.insert(at, example);
            side.truncate(NEAREST);
        }
        Ok(())
    }

    /// All units together, with what the stage counted.
    pub fn finish(mut self, counts: &Counts) -> Filtered {
        let mut annotated = false;
        for (name, amount) in &counts.extra {
            if let Some(rule) = schema::rule_of_count(name) {
                annotated = true;
                self.rule(rule).dropped += amount;
            }
        }
        for (source, counts) in &counts.sources {
            // A condition is no rule: it chose the documents before the rules saw them.
            let by_rules = counts.dropped.iter().filter(|(name, _)| *name != LEFT_OUT);
            for (name, amount) in by_rules {
                let rule = self.rule(name);
                rule.dropped += amount;
                rule.dropped_by_source.insert(source.clone(), *amount);
            }
        }
        for rule in &mut self.rules {
            let all = rule.histogram();
            rule.measured = all.total();
            rule.moved = moved(rule, &all);
        }
        let sources = &counts.sources;
        Filtered {
            annotated,
            total: Flow::from(&counts.total()),
            sources: sources.iter().map(|(name, counts)| (name.clone(), counts.into())).collect(),
            rules: self.rules,
        }
    }

    /// The rule of that name, made when missing.
    fn rule(&mut self, name: &str) -> &mut Rule {
        let place = self.places.get(name).copied().unwrap_or_else(|| {
            self.places.insert(name.to_owned(), self.rules.len());
            self.rules.push(Rule {
                rule: name.to_owned(),
                measures: String::new(),
                key: None,
                bound: Bound::AtLeast,
                limit: None,
                dropped: 0,
                dropped_by_source: BTreeMap::new(),
                measured: Tally::default(),
                moved: Vec::new(),
                histograms: BTreeMap::new(),
                nearest: Nearest::default(),
            });
            self.rules.len() - 1
        });
        &mut self.rules[place]
    }
}

/// The order of examples: what the limit decides first; then by distance to it, those without one
/// last; then by their place.
fn nearer(a: &Example, b: &Example) -> Ordering {
    let distance = |example: &Example| match (example.value, example.limit) {
        (Some(value), Some(limit)) => (value - limit).abs(),
        _ => f64::INFINITY,
    };
    let place = |example: &'_ Example| (example.source.clone(), example.file.clone(), example.row);
    let by_distance = distance(a).total_cmp(&distance(b));
    b.reached.cmp(&a.reached).then(by_distance).then_with(|| place(a).cmp(&place(b)))
}

/// How many documents would change sides at the nearest edges of bins that are a tenth away or
/// more: a stricter limit drops those that every rule keeps now, a laxer one keeps those that this
/// rule alone drops.
fn moved(rule: &Rule, all: &Histogram) -> Vec<Moved> {
    let (Some(limit), documents) = (rule.limit, rule.measured.documents()) else {
        return Vec::new();
    };
    let whole = axis::is_whole(&all.bins);
    let next = match whole && limit < 10.0 {
        true => [limit - 1.0, limit + 1.0],
        false => [axis::edge_at_most(limit * 0.9), axis::edge_at_least(limit * 1.1)],
    };
    if documents == 0 || limit <= 0.0 {
        return Vec::new();
    }
    let fails = |bin: &Bin, limit: f64| match rule.bound {
        Bound::AtLeast => bin.low < limit,
        Bound::AtMost if whole => bin.low > limit,
        // At an edge of a bin; what lies exactly on it counts as above.
        Bound::AtMost => bin.low >= limit,
    };
    let at = |other: f64| {
        let drops = (other > limit) == (rule.bound == Bound::AtLeast);
        let moves = |bin: &&Bin| fails(bin, other) == drops;
        let of = |bin: &Bin| if drops { bin.tally.kept } else { bin.tally.alone };
        let documents = all.bins.iter().filter(moves).map(of).sum::<u64>();
        let share = documents as f64 / rule.measured.documents() as f64;
        Moved { limit: other, drops, documents, share }
    };
    // Where nothing changes sides, there is nothing to say.
    next.map(at).into_iter().filter(|moved| moved.documents > 0).collect()
}

/// The columns of a batch by name.
struct Rows<'a> {
    batch: &'a RecordBatch,
    kind: &'static str,
}

impl<'a> Rows<'a> {
    fn column(&self, name: &str, is: fn(&DataType) -> bool) -> Result<&'a ArrayRef, Malformed> {
        let kind = self.kind;
        let column = self.batch.column_by_name(name);
        let column =
            column.ok_or_else(|| Malformed(format!("{kind} rows have no column `{name}`")))?;
        match is(column.data_type()) {
            true => Ok(column),
            false => {
                let found = column.data_type();
                Err(Malformed(format!("the column `{name}` of {kind} rows is of type {found}")))
            }
        }
    }

    fn text(&self, name: &str) -> Result<Text<'a>, Malformed> {
        let column = self.column(name, |kind| *kind == DataType::Utf8)?;
        Ok(Text(column.as_string()))
    }

    fn doubles(&self, name: &str) -> Result<Doubles<'a>, Malformed> {
        let column = self.column(name, |kind| *kind == DataType::Float64)?;
        Ok(Doubles(column.as_primitive()))
    }

    fn integers(&self, name: &str) -> Result<Integers<'a>, Malformed> {
        let column = self.column(name, |kind| *kind == DataType::UInt64)?;
        Ok(Integers(column.as_primitive()))
    }

    fn booleans(&self, name: &str) -> Result<&'a arrow::array::BooleanArray, Malformed> {
        Ok(self.column(name, |kind| *kind == DataType::Boolean)?.as_boolean())
    }

    fn spans(&self, name: &str) -> Result<Spans<'a>, Malformed> {
        let column = self.column(name, |kind| matches!(kind, DataType::List(_)))?;
        let wrong = || Malformed(format!("`{name}` of {} rows holds no spans", self.kind));
        let list = column.as_list::<i32>();
        let fields = list.values().as_struct_opt().ok_or_else(wrong)?;
        let of = |name: &str| {
            let column = fields.column_by_name(name)?;
            column.as_primitive_opt::<UInt64Type>()
        };
        Ok(Spans {
            list,
            start: of(schema::START).ok_or_else(wrong)?,
            end: of(schema::END).ok_or_else(wrong)?,
        })
    }
}

/// Text, or `None` where it is null.
struct Text<'a>(&'a arrow::array::StringArray);

impl<'a> Text<'a> {
    fn at(&self, row: usize) -> Option<&'a str> {
        self.0.is_valid(row).then(|| self.0.value(row))
    }
}

/// Numbers, or `None` where there is none or none that is finite.
struct Doubles<'a>(&'a arrow::array::PrimitiveArray<Float64Type>);

impl Doubles<'_> {
    fn at(&self, row: usize) -> Option<f64> {
        self.0.is_valid(row).then(|| self.0.value(row)).filter(|value| value.is_finite())
    }
}

/// Counts, or `None` where they are null.
struct Integers<'a>(&'a arrow::array::PrimitiveArray<UInt64Type>);

impl Integers<'_> {
    fn at(&self, row: usize) -> Option<u64> {
        self.0.is_valid(row).then(|| self.0.value(row))
    }
}

/// Lists of byte offsets.
struct Spans<'a> {
    list: &'a arrow::array::ListArray,
    start: &'a arrow::array::PrimitiveArray<UInt64Type>,
    end: &'a arrow::array::PrimitiveArray<UInt64Type>,
}

impl Spans<'_> {
    fn at(&self, row: usize) -> Vec<(u64, u64)> {
        if self.list.is_null(row) {
            return Vec::new();
        }
        let offsets = self.list.value_offsets();
        let places = offsets[row] as usize..offsets[row + 1] as usize;
        places.map(|place| (self.start.value(place), self.end.value(place))).collect()
    }
}
