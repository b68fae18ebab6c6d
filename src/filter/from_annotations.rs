//! Other limits for an annotated corpus, in the time of a read: nothing is measured again.
//!
//! Annotated corpora and new limits in → a verdict a document from its stored values, and the
//! corpus as `filter` would have written it: the kept documents with the text as the rules left it,
//! without the columns that `--annotate` added. Method: rules, words and every key are those that
//! the corpora's manifests tell; only limits may differ, the numbers that a value is compared with,
//! since any other key changes what is measured or edited. Invariants: with the limits of the
//! annotation, documents and reasons are those of `filter` without `--annotate`; with others too,
//! but for two things that no column tells: where a page breaks both of C4's switches and another
//! rule came first then, the reason may be the other switch; and DCLM's two limits on lines, whose
//! product with the number of lines rounds there, may differ for a share equal to the limit. Null
//! keeps, NaN fails. Cost: a comparison a value.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, StringArray};
use arrow::datatypes::{DataType, Float64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use serde_json::Value;

use super::annotate::{EDITED, FAILS, FIRST_RULE, FIRST_VALUE, column_name};
use super::config::{FilterConfig, find, limits};
use super::rules::{Limit, Measure, Report, RuleSet, Verdict};
use super::view::View;
use crate::artifact::manifest::Manifest;
use crate::artifact::record::{InputKind, InputRecord};
use crate::base::config::Table;
use crate::base::error::{Error, Result, bug};
use crate::source::schema::unknown_column;

/// The one limit that a document may waive, and the key that has it so.
const MIN_PUNCTUATION: &str = "min_line_punctuation";
const EXCLUDE_ZERO: &str = "line_punctuation_exclude_zero";

/// Where the values of the rules lie, and what they are held against.
pub struct FromAnnotations {
    rules: Vec<Stored>,
    /// Places of [`FIRST_RULE`] and [`EDITED`].
    first: usize,
    edited: usize,
    /// Columns that stay, by their place in the input.
    kept: Vec<usize>,
    schema: SchemaRef,
}

/// A rule whose values are stored.
struct Stored {
    rule: &'static str,
    /// The rule set's place in the preset.
    set: usize,
    /// The place of its column.
    column: usize,
    limit: Limit,
    /// Whether the limit differs from that of the annotation.
    is_new: bool,
    /// Whether a share of 0 passes, as `fineweb_quality.line_punctuation_exclude_zero` has it.
    zero_passes: bool,
}

impl Stored {
    fn measure(&self, value: f64) -> Measure {
        let waived = self.zero_passes && value == 0.0;
        let limit = if waived { Limit::AtLeast(0.0) } else { self.limit };
        Measure { rule: self.rule, value, limit }
    }
}

/// In place of a rule set that cannot be built again without its model or its list: it neither
/// edits nor marks.
struct Unmeasured;

impl RuleSet for Unmeasured {
    fn config(&self) -> Value {
        Value::Null
    }

    fn measure(&self, _: &mut View<'_>, _: &mut Report<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// The rule sets of an annotation, to show what counts against a text.
pub fn rule_sets(config: &FilterConfig) -> Result<Vec<Box<dyn RuleSet>>> {
    let build = |name: &String| -> Result<Box<dyn RuleSet>> {
        let built = (find(name)?.build)(config.table(name)?);
        Ok(built.unwrap_or_else(|_| Box::new(Unmeasured)))
    };
    config.rules.iter().map(build).collect()
}

/// The annotations of one batch.
pub struct Values<'a> {
    from: &'a FromAnnotations,
    first: &'a StringArray,
    edited: &'a StringArray,
    /// By rule.
    values: Vec<&'a Float64Array>,
}

/// The configuration that the inputs were annotated with, and the same under the limits of
/// `config`.
///
/// # Errors
/// [`Error::Config`] for inputs that were not annotated, or not alike; for rules given anew, and
/// for keys that are no limit.
pub fn resolve(
    inputs: &[InputRecord],
    config: &FilterConfig,
) -> Result<(FilterConfig, FilterConfig)> {
    if config.preset.is_some() || !config.rules.is_empty() || config.words.is_some() {
        let message = "`from_annotations` takes rules and words from the annotated corpus";
        return Err(Error::config(message).with_hint("leave them out; limits may be given"));
    }
    if config.annotate {
        return Err(Error::config("`annotate` and `from_annotations` exclude each other"));
    }
    let annotated = annotated(inputs)?;
    let mut thresholds = annotated.thresholds.clone();
    for (name, table) in &config.thresholds {
        let Some(own) = thresholds.get_mut(name).and_then(toml::Value::as_table_mut) else {
            let message = format!("`{name}` has limits, but was not annotated");
            let hint = format!("annotated were {}", annotated.rules.join(", "));
            return Err(Error::config(message).with_hint(hint));
        };
        let Some(table) = table.as_table() else {
            return Err(Error::config(format!("`{name}` is no table but `{table}`")));
        };
        for (key, value) in table {
            check_key(name, key, own)?;
            own.insert(key.clone(), value.clone());
        }
    }
    let under =
        FilterConfig { thresholds, annotate: false, from_annotations: true, ..annotated.clone() };
    Ok((annotated, under))
}

/// The one configuration that all inputs were annotated with.
fn annotated(inputs: &[InputRecord]) -> Result<FilterConfig> {
    let mut found: Option<(FilterConfig, &InputRecord)> = None;
    for input in inputs {
        let config = config_of(input)?;
        match &found {
            Some((first, at)) if *first != config => {
                let message =
                    format!("`{}` and `{}` were annotated differently", at.name, input.name);
                return Err(Error::config(message).with_hint("filter them one after the other"));
            }
            _ => found = Some((config, input)),
        }
    }
    let (config, _) = found.ok_or_else(|| Error::config("there is no input"))?;
    Ok(config)
}

fn config_of(input: &InputRecord) -> Result<FilterConfig> {
    let refused = |message: String| {
        Error::config(message).with_hint("make it with `dataprep filter IN --annotate --out DIR`")
    };
    let path = input.path.display();
    if input.kind == InputKind::File {
        return Err(refused(format!("`{path}` is no annotated corpus")));
    }
    let manifest = Manifest::read(&input.path)?;
    if manifest.stage != "filter" || manifest.config["annotate"] != true {
        let made = &manifest.stage;
        return Err(refused(format!("`{path}` was made by `{made}` without `annotate`")));
    }
    let own = |key: &str| manifest.config.get(key).cloned().unwrap_or(Value::Null);
    let plain = |error: serde_json::Error| {
        Error::config(format!(
            "`{path}` has a configuration that this version cannot read: {error}"
        ))
    };
    let rules: Vec<String> = serde_json::from_value(own("rules")).map_err(plain)?;
    let words = serde_json::from_value(own("words")).map_err(plain)?;
    let table = |name: &String| -> Result<(String, toml::Value)> {
        find(name)?;
        let table: Table = serde_json::from_value(own(name)).map_err(plain)?;
        Ok((name.clone(), table.into()))
    };
    let thresholds: BTreeMap<_, _> = rules.iter().map(table).collect::<Result<_>>()?;
    Ok(FilterConfig { rules, words, annotate: true, thresholds, ..FilterConfig::default() })
}

/// A key that may differ: a number that a rule of the set compares its value with.
fn check_key(set: &str, key: &str, table: &Table) -> Result<()> {
    let known = table.get(key);
    let limits: Vec<&str> = find(set)?.rules.iter().filter_map(|rule| rule.key).collect();
    match known {
        Some(value) if limits.contains(&key) && !value.is_bool() => Ok(()),
        Some(_) => Err(Error::config(format!("`{set}.{key}` is no limit"))
            .with_hint("what is measured or edited by it must be annotated anew")),
        None => Err(crate::base::config::unknown(
            key,
            &table.keys().map(String::as_str).collect::<Vec<_>>(),
            &format!("`{set}`"),
        )),
    }
}

impl FromAnnotations {
    /// For inputs of this schema, annotated with one configuration, under the limits of another:
    /// the two of [`resolve`].
    ///
    /// # Errors
    /// [`Error::Config`] for a column that is missing, or of another type, and for a limit that
    /// makes no sense.
    pub fn new(
        before: &FilterConfig,
        config: &FilterConfig,
        schema: &Schema,
    ) -> Result<FromAnnotations> {
        let mut rules: Vec<Stored> = Vec::new();
        for (set, name) in config.rules.iter().enumerate() {
            let (old, new) = (limits(name, before)?, limits(name, config)?);
            let zero_passes = config.table(name)?.get(EXCLUDE_ZERO).and_then(toml::Value::as_bool);
            for info in find(name)?.rules {
                let of = |measures: &[Measure]| {
                    let found = measures.iter().find(|measure| measure.rule == info.rule);
                    found.map(|measure| measure.limit).expect("a rule set reports its rules")
                };
                let limit = of(&new);
                rules.push(Stored {
                    rule: info.rule,
                    set,
                    column: place_in(schema, &column_name(info.rule), &DataType::Float64)?,
                    limit,
                    is_new: limit != of(&old),
                    zero_passes: info.key == Some(MIN_PUNCTUATION) && zero_passes == Some(true),
                });
            }
        }
        let first = place_in(schema, FIRST_RULE, &DataType::Utf8)?;
        let edited = place_in(schema, EDITED, &DataType::Utf8)?;
        let mut added: Vec<usize> = rules.iter().map(|stored| stored.column).collect();
        added.extend([first, edited, place_in(schema, FIRST_VALUE, &DataType::Float64)?]);
        // A corpus that an earlier version annotated has no such column.
        added.extend(schema.index_of(FAILS).ok());
        let kept: Vec<usize> =
            (0..schema.fields().len()).filter(|place| !added.contains(place)).collect();
        let schema = Arc::new(schema.project(&kept).map_err(bug)?);
        Ok(FromAnnotations { rules, first, edited, kept, schema })
    }

    /// The columns without the annotations.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The documents without the annotations.
    ///
    /// # Errors
    /// [`Error::Failed`] for records of another schema.
    pub fn strip(&self, records: &RecordBatch) -> Result<RecordBatch> {
        records.project(&self.kept).map_err(bug)
    }

    /// The annotations of a batch.
    pub fn values<'a>(&'a self, records: &'a RecordBatch) -> Values<'a> {
        let doubles = |stored: &Stored| records.column(stored.column).as_primitive::<Float64Type>();
        Values {
            from: self,
            first: records.column(self.first).as_string(),
            edited: records.column(self.edited).as_string(),
            values: self.rules.iter().map(doubles).collect(),
        }
    }
}

/// The place of a column of that type.
fn place_in(schema: &Schema, name: &str, kind: &DataType) -> Result<usize> {
    let Some((place, field)) = schema.column_with_name(name) else {
        return Err(unknown_column(
            name,
            schema.fields().iter().map(|field| field.name().as_str()),
        ));
    };
    match field.data_type() {
        own if own == kind => Ok(place),
        own => Err(Error::config(format!("the column `{name}` is {own}, not {kind}"))),
    }
}

impl Values<'_> {
    /// The first rule that drops a document. Of two in one rule set that failed before too, the one
    /// that came first then does so now: C4's come in the order of the lines.
    pub fn verdict(&self, row: usize) -> Option<Verdict> {
        let was = self.first.is_valid(row).then(|| self.first.value(row));
        let was_in = self.from.rules.iter().find(|stored| was == Some(stored.rule));
        let passed_before = was_in.map_or(usize::MAX, |stored| stored.set);
        let mut first: Option<(&Stored, Verdict)> = None;
        for (stored, values) in self.from.rules.iter().zip(&self.values) {
            if first.is_some_and(|(first, _)| first.set != stored.set) {
                break;
            }
            let Stored { rule, set, is_new, .. } = *stored;
            // Under an unchanged limit the stored verdict stands, since some limits round with the
            // length of the document.
            if values.is_null(row) || (!is_new && set < passed_before) {
                continue;
            }
            let (measure, was_first) = (stored.measure(values.value(row)), was == Some(rule));
            let fails = (was_first && !is_new) || !measure.passes();
            let came_first = was_first && first.is_some_and(|(first, _)| !first.is_new);
            if fails && (first.is_none() || came_first) {
                let (_, limit) = measure.limit.parts();
                first = Some((stored, Verdict { rule, value: measure.value, limit }));
            }
        }
        first.map(|(_, verdict)| verdict)
    }

    /// What the rules measured, under the limits of now.
    pub fn measures(&self, row: usize, measures: &mut Vec<Measure>) {
        measures.clear();
        let stored = self.from.rules.iter().zip(&self.values);
        let valid = stored.filter(|(_, values)| values.is_valid(row));
        measures.extend(valid.map(|(stored, values)| stored.measure(values.value(row))));
    }

    /// The text as the rules left it, where they changed it.
    pub fn edited(&self, row: usize) -> Option<&str> {
        self.edited.is_valid(row).then(|| self.edited.value(row))
    }
}
