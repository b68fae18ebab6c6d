//! The flow of the stage: read a unit, judge its documents, write the kept and the removed.
//!
//! In: opened inputs and rule sets. Out: for each unit `part.parquet` (kept documents, every column
//! as it came) and `removed.parquet`, one row a dropped document:
//!
//! ```text
//! id · source · file · row · reason (`set/rule`) · value · limit
//! ```
//!
//! `row` is the document's row in a Parquet file, its byte offset in JSON lines. Both files are
//! always written, empty ones too. Invariants: in = out + rejected + dropped by reason, for each
//! source; both keep the input's order. Cost: judging runs beside decoding on the workers, a few
//! batches at a time; writing follows in order.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use serde_json::Value;

use crate::base::counts::{Counts, SourceCounts};
use crate::base::error::{Error, Result};
use crate::base::stage::{InputRecord, Needs, Phase, Plan, Publish, Stage, Unit, Work};
use crate::base::unit::FileCounts;
use crate::filter::config::FilterConfig;
use crate::filter::rules::{self, RuleSet, Verdict};
use crate::filter::view::View;
use crate::source::{Batch, Columns, CorpusWriter, InputConfig, InputSpec, Inputs, ParquetSink};

/// Raised whenever the same documents and config give other bytes.
const VERSION: u32 = 1;

/// The `filter` stage with its inputs opened and its rule sets built.
pub struct Filter {
    inputs: Inputs,
    config: Value,
    rule_sets: Vec<Box<dyn RuleSet>>,
}

/// One batch after its verdicts.
struct Judged {
    source: usize,
    kept: RecordBatch,
    removed: RecordBatch,
    counts: SourceCounts,
}

impl Filter {
    /// Builds the rule sets, then opens the inputs; no text is read.
    pub fn open(specs: &[InputSpec], input: &InputConfig, config: FilterConfig) -> Result<Filter> {
        let rule_sets = config.build()?;
        let inputs = Inputs::open(specs, input)?;
        // One flat table, as it is written in a recipe.
        let (mut table, own) = (inputs.config_json(), config.resolved(&rule_sets));
        if let (Some(table), Value::Object(own)) = (table.as_object_mut(), own) {
            table.extend(own);
        }
        Ok(Filter { inputs, config: table, rule_sets })
    }

    /// The opened inputs.
    pub fn source(&self) -> &Inputs {
        &self.inputs
    }

    fn judge(&self, batch: &Batch, removed_schema: &SchemaRef) -> Result<Judged> {
        let texts = batch.texts();
        let mut counts = SourceCounts::default();
        let mut keep = Vec::with_capacity(batch.len());
        let mut removed = Vec::new();
        let mut view = View::new("");
        for index in 0..batch.len() {
            view = view.turn(texts.value(index));
            let verdict = rules::judge(&self.rule_sets, &view);
            keep.push(verdict.is_none());
            match verdict {
                Some(verdict) => {
                    counts.drop_document(verdict.rule);
                    removed.push((index, verdict));
                }
                None => {
                    counts.documents_out += 1;
                    counts.bytes_out += texts.value(index).len() as u64;
                    counts.held_out += u64::from(batch.held_out().value(index));
                }
            }
        }
        let kept = filter_record_batch(&batch.records, &BooleanArray::from(keep)).map_err(bug)?;
        let file = &self.inputs.files()[batch.file].name;
        let source = &self.inputs.sources()[batch.source];
        let removed = removed_rows(batch, &removed, source, file, removed_schema)?;
        Ok(Judged { source: batch.source, kept, removed, counts })
    }
}

impl Stage for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn config(&self) -> Value {
        self.config.clone()
    }

    fn inputs(&self) -> Vec<InputRecord> {
        self.inputs.records()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.inputs.paths()
    }

    fn notices(&self) -> Vec<String> {
        self.inputs.notices()
    }

    fn needs(&self, threads: usize) -> Needs {
        self.inputs.needs(threads)
    }

    fn plan(&self) -> Result<Plan> {
        let units = self.inputs.units();
        let phase = Phase { name: "judge", units, publish: Publish::Parts, counts: true };
        Ok(Plan { phases: vec![phase], holdout: Some(self.inputs.holdout()) })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        let schema = removed_schema();
        let mut part = CorpusWriter::create(&work.path("part.parquet"), self.inputs.schema())?;
        let mut removed = ParquetSink::create(&work.path("removed.parquet"), schema.clone())?;
        let mut out = Counts::default();
        let mut counts = self.inputs.read(
            unit.index,
            Columns::All,
            work,
            |batch| self.judge(&batch, &schema),
            |judged| {
                part.write(&judged.kept)?;
                removed.write(&judged.removed)?;
                out.source(&self.inputs.sources()[judged.source]).add(&judged.counts);
                Ok(())
            },
        )?;
        work.describe("part.parquet", FileCounts::documents(part.finish()?));
        let rows = Some(removed.finish()?);
        work.describe("removed.parquet", FileCounts { rows, ..FileCounts::default() });
        // Of what was read: held out are counted among the documents written.
        counts.sources.values_mut().for_each(|source| source.held_out = 0);
        counts.add(&out);
        Ok(counts)
    }
}

fn removed_schema() -> SchemaRef {
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    Arc::new(Schema::new(vec![
        field("id", DataType::Utf8),
        field("source", DataType::Utf8),
        field("file", DataType::Utf8),
        field("row", DataType::UInt64),
        field("reason", DataType::Utf8),
        field("value", DataType::Float64),
        field("limit", DataType::Float64),
    ]))
}

/// One row for each dropped document of a batch, by its place there.
fn removed_rows(
    batch: &Batch,
    removed: &[(usize, Verdict)],
    source: &str,
    file: &str,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let each = || removed.iter().map(|(_, verdict)| verdict);
    let strings = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let columns = vec![
        strings(removed.iter().map(|(index, _)| batch.ids().value(*index)).collect()),
        strings(vec![source; removed.len()]),
        strings(vec![file; removed.len()]),
        Arc::new(UInt64Array::from_iter_values(removed.iter().map(|(at, _)| batch.rows[*at]))),
        strings(each().map(|verdict| verdict.rule).collect()),
        Arc::new(Float64Array::from_iter_values(each().map(|verdict| verdict.value))),
        Arc::new(Float64Array::from_iter_values(each().map(|verdict| verdict.limit))),
    ];
    RecordBatch::try_new(schema.clone(), columns).map_err(bug)
}

/// Arrow refuses only what does not fit together, and everything here comes from one batch.
fn bug(error: ArrowError) -> Error {
    Error::failed(format!("cannot take rows of a batch: {error}"))
}
