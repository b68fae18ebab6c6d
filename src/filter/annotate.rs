//! What `--annotate` adds to a corpus: every measured value, and the verdict they come to.
//!
//! Documents with their rule sets in → columns out, beside the input's own:
//!
//! ```text
//! filter_rule  string  the first failing rule, as `filter/rule`; null: the document would be kept
//! filter_value double  its value
//! filter_fails int64   how many rules fail; 1: another limit of that one would keep the document
//! FILTER_RULE  double  one a rule of every rule set: its value; null where there was none
//! text_edited  string  the text as the rules would leave it; null: unchanged
//! ```
//!
//! Nothing is dropped, and `text` stays. Every rule is asked, also behind one that fails, so values
//! are complete; where a rule edits the text, later rules see the edited one, also of a document
//! that this rule would drop, so that other limits can be held against the values later
//! ([`super::from_annotations`]). Cost: all rules of all rule sets for every document.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::evidence::{self, Rule};
use super::rules::Measure;
use crate::base::error::{Error, Result, bug};

/// The column of the first failing rule.
pub const FIRST_RULE: &str = "filter_rule";
/// The column of its value.
pub const FIRST_VALUE: &str = "filter_value";
/// The column of how many rules fail.
pub const FAILS: &str = "filter_fails";
/// The column of the edited text.
pub const EDITED: &str = "text_edited";

/// Which columns are added.
pub struct Annotator {
    rules: Vec<Rule>,
    schema: SchemaRef,
}

impl Annotator {
    /// For the named rule sets, beside the input's columns.
    ///
    /// # Errors
    /// [`Error::Config`] when the input has a column of such a name already.
    pub fn new(rule_sets: &[String], input: &Schema) -> Result<Annotator> {
        let rules = evidence::rules(rule_sets)?;
        let double = |name: &str| Field::new(name, DataType::Float64, true);
        let string = |name: &str| Field::new(name, DataType::Utf8, true);
        let mut added = vec![
            string(FIRST_RULE),
            double(FIRST_VALUE),
            Field::new(FAILS, DataType::Int64, false),
        ];
        added.extend(rules.iter().map(|rule| double(&column_name(rule.info.rule))));
        added.push(string(EDITED));
        if let Some(field) = added.iter().find(|field| input.field_with_name(field.name()).is_ok())
        {
            let message = format!("the input has a column `{}` already", field.name());
            return Err(Error::config(message)
                .with_hint("annotate a corpus without it: `--columns` lists what to keep"));
        }
        let fields = input.fields().iter().map(|field| field.as_ref().clone()).chain(added);
        Ok(Annotator { rules, schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())) })
    }

    /// The input's columns and those added.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// The column of a rule: its name, as SQL reads it without quotes.
pub fn column_name(rule: &str) -> String {
    let words = rule.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

/// The annotations of a batch.
pub struct Annotations<'a> {
    annotator: &'a Annotator,
    rule: Vec<Option<&'static str>>,
    value: Vec<Option<f64>>,
    fails: Vec<i64>,
    /// By rule, then document.
    values: Vec<Vec<Option<f64>>>,
    edited: Vec<Option<String>>,
    failed: Vec<&'static str>,
}

impl<'a> Annotations<'a> {
    /// None yet, of so many documents.
    pub fn new(annotator: &'a Annotator, documents: usize) -> Annotations<'a> {
        Annotations {
            annotator,
            rule: Vec::with_capacity(documents),
            value: Vec::with_capacity(documents),
            fails: Vec::with_capacity(documents),
            values: vec![Vec::with_capacity(documents); annotator.rules.len()],
            edited: Vec::with_capacity(documents),
            failed: Vec::new(),
        }
    }

    /// Takes the next document's measures, and its text where the rules changed it.
    pub fn push(&mut self, measures: &[Measure], edited: Option<&str>) {
        self.values.iter_mut().for_each(|values| values.push(None));
        let mut next = 0;
        for measure in measures {
            let place = evidence::place_of(&self.annotator.rules, measure.rule, next);
            next = place + 1;
            let value = self.values[place].last_mut().expect("pushed above");
            if value.is_none() {
                *value = Some(measure.value);
            }
        }
        let first = measures.iter().find(|measure| !measure.passes());
        self.failed.extend(first.map(|measure| measure.rule));
        self.rule.push(first.map(|measure| measure.rule));
        self.value.push(first.map(|measure| measure.value));
        self.fails.push(measures.iter().filter(|measure| !measure.passes()).count() as i64);
        self.edited.push(edited.map(str::to_owned));
    }

    /// The rules that documents failed, one a document that fails.
    pub fn failed(&self) -> &[&'static str] {
        &self.failed
    }

    /// The columns beside those of the documents.
    ///
    /// # Errors
    /// [`Error::Failed`] where they do not fit together.
    pub fn beside(self, records: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = records.columns().to_vec();
        columns.push(Arc::new(StringArray::from(self.rule)) as ArrayRef);
        columns.push(Arc::new(Float64Array::from(self.value)));
        columns.push(Arc::new(Int64Array::from(self.fails)));
        for values in self.values {
            columns.push(Arc::new(Float64Array::from(values)));
        }
        columns.push(Arc::new(StringArray::from(self.edited)));
        RecordBatch::try_new(self.annotator.schema(), columns).map_err(bug)
    }
}
