//! The flow of the stage: read a unit, judge its documents, write the kept and the removed.
//!
//! In: opened inputs and rule sets. Out: for each unit `part.parquet` (kept documents, every column
//! as it came, the text as the rules left it) and `removed.parquet`, one row a dropped document:
//!
//! ```text
//! id · source · file · row · reason (`filter/rule`) · value · limit
//! ```
//!
//! A held-out document is judged like others and never dropped nor edited: the verdict is stored
//! beside it ([`crate::source::verdict`]).
//!
//! Also for each unit `histogram.parquet` and `examples.parquet` ([`super::evidence`]): what each
//! threshold did to a sample of the documents, about 8 MiB of text in all, on which every rule is
//! measured. `row` is the document's row in a Parquet file; in JSON Lines its byte offset. A
//! document that the inputs' condition leaves out has the reason `where` and no value. Both files
//! are always written, empty ones too. With `annotate` nothing is dropped: `part.parquet` holds
//! every document with the columns of [`super::annotate`], and its own text. Invariants: in = out +
//! rejected + dropped by reason, for each source; both files keep the input's order. Cost: judging
//! runs beside decoding on the workers, a few batches at a time; writing follows in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use serde_json::Value;

use crate::artifact::counts::{Counts, SourceCounts};
use crate::artifact::{
    record::{FileCounts, InputKind, InputRecord, Kind},
    stage::{Phase, Plan, Publish, Stage, TextInputs, Unit, Work},
};
use crate::base::error::{Error, Result, bug};
use crate::base::pool::Pool;
use crate::base::rng;
use crate::filter::annotate::{Annotations, Annotator};
use crate::filter::columns::BatchColumns;
use crate::filter::config::{FilterConfig, inputs as rules_files};
use crate::filter::evidence::{self, Evidence, Names, schema};
use crate::filter::from_annotations::{self, FromAnnotations};
use crate::filter::rules::{self, RuleSet, Verdict};
use crate::filter::view::Room;
use crate::source::{
    Batch, Columns, InputConfig, InputSpec, Inputs, LEFT_OUT, ParquetSink, Sieve, Sieved, sieve,
    verdict::{self, with_verdict},
};

/// Raised whenever the same documents and config give other bytes.
const VERSION: u32 = 5;

/// About how many bytes of text, over all inputs, are in the documents measured by every rule.
const SAMPLE_TEXT_BYTES: u64 = 8 << 20;
/// The label of the draw that chooses them.
const SAMPLE: &str = "evidence";

/// The place of the text among a corpus's columns.
const TEXT: usize = 1;

/// The `filter` stage with its inputs opened and its rule sets built.
pub struct Filter {
    inputs: Inputs,
    /// The resolved keys, for the fingerprint.
    resolved: Value,
    config: FilterConfig,
    /// The models and lists that the rules read.
    files: Vec<InputRecord>,
    way: Way,
    /// The rules that are measured on each sampled document.
    rules: Vec<evidence::Rule>,
    /// Documents whose draw is below this are measured by every rule, even where a verdict needs
    /// fewer.
    sampled_below: u64,
    /// Buffers for judging; each batch borrows one.
    rooms: Pool<Room>,
}

/// How the stage treats documents.
enum Way {
    /// The rules judge them; the first rule that fails drops a document.
    Judge(Vec<Box<dyn RuleSet>>),
    /// The rules measure them, and nothing is dropped.
    Annotate(Vec<Box<dyn RuleSet>>, Annotator),
    /// Values that were measured before are compared with the limits.
    FromAnnotations(Vec<Box<dyn RuleSet>>, FromAnnotations),
}

/// One batch after its verdicts.
struct Judged {
    sieved: Sieved,
    /// The rule of each document that would have been dropped.
    failed: Vec<&'static str>,
    evidence: Evidence,
}

/// The verdicts of a batch's documents, as they are collected.
#[derive(Default)]
struct Verdicts {
    counts: SourceCounts,
    keep: Vec<bool>,
    removed: Vec<(usize, Verdict)>,
    /// Held-out documents that fail, by row.
    judged: BTreeMap<usize, &'static str>,
    /// Rows whose text the rules changed, with the changed text.
    edited: Vec<(usize, String)>,
}

impl Filter {
    /// Builds the rule sets, then opens the inputs; no text is read.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration or the inputs; a column that a rule needs and the
    /// inputs lack.
    pub fn open(specs: &[InputSpec], input: &InputConfig, config: FilterConfig) -> Result<Filter> {
        if config.from_annotations {
            return Filter::open_annotated(specs, input, &config);
        }
        let config = config.with_preset()?;
        let rule_sets = match &input.condition {
            // A condition decides on its own, without rules.
            Some(_) if config.rules.is_empty() && !config.annotate => {
                config.check_tables()?;
                Vec::new()
            }
            _ => config.build()?,
        };
        let inputs = Inputs::open(specs, input)?;
        BatchColumns::check(&rule_sets, &inputs.schema())?;
        let own = config.resolved(&rule_sets);
        let files = rules_files(&config)?;
        let way = match config.annotate {
            true => Way::Annotate(rule_sets, Annotator::new(&config.rules, &inputs.schema())?),
            false => Way::Judge(rule_sets),
        };
        Filter::new(inputs, config, own, files, way)
    }

    /// Opens corpora that hold stored values.
    fn open_annotated(
        specs: &[InputSpec],
        input: &InputConfig,
        config: &FilterConfig,
    ) -> Result<Filter> {
        let inputs = Inputs::open(specs, input)?;
        if input.columns.is_some() {
            let message = "`columns` would leave out what `from_annotations` reads";
            return Err(Error::config(message)
                .with_hint("leave it out: the columns of the annotation are not written"));
        }
        let (before, config) = from_annotations::resolve(&inputs.records(), config)?;
        let from = FromAnnotations::new(&before, &config, &inputs.schema())?;
        let own = serde_json::to_value(&config).expect("plain data");
        let rule_sets = from_annotations::rule_sets(&config)?;
        Filter::new(inputs, config, own, Vec::new(), Way::FromAnnotations(rule_sets, from))
    }

    fn new(
        inputs: Inputs,
        config: FilterConfig,
        own: Value,
        files: Vec<InputRecord>,
        way: Way,
    ) -> Result<Filter> {
        // One flat table, in the form that a recipe has.
        let mut resolved = inputs.config_json();
        if let (Some(resolved), Value::Object(own)) = (resolved.as_object_mut(), own) {
            resolved.extend(own);
        }
        let rules = evidence::rules(&config.rules)?;
        let share = SAMPLE_TEXT_BYTES as f64 / inputs.text_bytes().max(1) as f64;
        let sampled_below = (share * 2f64.powi(64)) as u64;
        let rooms = Pool::default();
        Ok(Filter { inputs, resolved, config, files, way, rules, sampled_below, rooms })
    }

    /// The opened inputs.
    pub fn source(&self) -> &Inputs {
        &self.inputs
    }

    /// The schema of the file of kept documents.
    fn written(&self) -> SchemaRef {
        match &self.way {
            Way::Judge(_) => with_verdict(&self.inputs.schema()),
            Way::Annotate(_, annotator) => annotator.schema(),
            Way::FromAnnotations(_, from) => with_verdict(&from.schema()),
        }
    }

    fn judge(&self, batch: &Batch) -> Result<Judged> {
        let room = || Room::new(self.config.splitter());
        match &self.way {
            Way::Judge(rule_sets) => {
                let columns = BatchColumns::of(rule_sets, &batch.records)?;
                self.rooms.with(room, |room| self.decide(rule_sets, batch, &columns, room))
            }
            Way::Annotate(rule_sets, annotator) => {
                let columns = BatchColumns::of(rule_sets, &batch.records)?;
                self.rooms
                    .with(room, |room| self.annotate(rule_sets, annotator, batch, &columns, room))
            }
            Way::FromAnnotations(_, from) => self.decide_again(from, batch),
        }
    }

    /// Keeps or drops each document.
    fn decide(
        &self,
        rule_sets: &[Box<dyn RuleSet>],
        batch: &Batch,
        columns: &BatchColumns,
        room: &mut Room,
    ) -> Result<Judged> {
        let mut verdicts = Verdicts::default();
        let (mut evidence, mut measures) = (Evidence::new(&self.rules), Vec::new());
        let earlier = verdict::Verdicts::of(&batch.records);
        for index in 0..batch.len() {
            if earlier.verdict(index).is_some() {
                verdicts.push(batch, index, None, None);
                continue;
            }
            let values = columns.row(index);
            let mut view = room.view(batch.texts().value(index)).with_columns(&values);
            let verdict = if self.is_sampled(batch.ids().value(index)) {
                view = view.complete();
                rules::measure_all(rule_sets, &mut view, &mut measures);
                evidence.add(document(batch, index), &measures);
                measures.iter().find_map(|measure| Verdict::of(*measure))
            } else {
                rules::judge(rule_sets, &mut view)
            };
            let edited = if verdict.is_none() { view.into_edited() } else { None };
            verdicts.push(batch, index, verdict, edited);
        }
        self.apply(batch, &batch.records, verdicts, evidence)
    }

    /// Writes the effect of each threshold on the sample.
    fn write_evidence(&self, evidence: &Evidence, work: &Work<'_>) -> Result<()> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let (Way::Judge(rule_sets)
        | Way::Annotate(rule_sets, _)
        | Way::FromAnnotations(rule_sets, _)) = &self.way;
        let names = Names {
            sources: self.inputs.sources().iter().map(String::as_str).collect(),
            files: self.inputs.files().iter().map(|file| file.name.as_str()).collect(),
        };
        let room = || Room::new(self.config.splitter());
        let examples =
            self.rooms.with(room, |room| evidence.example_rows(&names, rule_sets, room))?;
        let tables =
            [(schema::HISTOGRAM, evidence.histogram_rows(&names)?), (schema::EXAMPLES, examples)];
        for (table, rows) in tables {
            let name = &format!("{table}.parquet");
            let mut sink = ParquetSink::create(&work.path(name), rows.schema())?;
            sink.write(&rows)?;
            work.describe(name, FileCounts { rows: Some(sink.finish()?), ..FileCounts::default() });
        }
        Ok(())
    }

    /// The models and lists were read whole before any unit; the first unit records that for
    /// `verify`.
    fn record_files(&self, work: &Work<'_>) {
        let first = self.inputs.records().len();
        for (offset, record) in self.files.iter().enumerate() {
            if record.kind == InputKind::File {
                work.record_whole(first + offset, record);
            }
        }
    }

    /// Whether a document is in the sample: a random draw by its id.
    fn is_sampled(&self, id: &str) -> bool {
        !self.rules.is_empty()
            && (self.sampled_below == u64::MAX
                || rng::hash(0, SAMPLE, &[id.as_bytes()]) < self.sampled_below)
    }

    /// Keeps or drops each document by what was measured before.
    fn decide_again(&self, from: &FromAnnotations, batch: &Batch) -> Result<Judged> {
        let values = from.values(&batch.records);
        let mut verdicts = Verdicts::default();
        let (mut evidence, mut measures) = (Evidence::new(&self.rules), Vec::new());
        let earlier = verdict::Verdicts::of(&batch.records);
        for index in 0..batch.len() {
            if earlier.verdict(index).is_some() {
                verdicts.push(batch, index, None, None);
                continue;
            }
            values.measures(index, &mut measures);
            evidence.add(document(batch, index), &measures);
            let edited = values.edited(index).map(str::to_owned);
            verdicts.push(batch, index, values.verdict(index), edited);
        }
        self.apply(batch, &from.strip(&batch.records)?, verdicts, evidence)
    }

    /// Keeps every document, with the values measured of it.
    fn annotate(
        &self,
        rule_sets: &[Box<dyn RuleSet>],
        annotator: &Annotator,
        batch: &Batch,
        columns: &BatchColumns,
        room: &mut Room,
    ) -> Result<Judged> {
        let texts = batch.texts();
        let mut counts = SourceCounts::default();
        let mut annotations = Annotations::new(annotator, batch.len());
        let (mut evidence, mut measures) = (Evidence::new(&self.rules), Vec::new());
        for index in 0..batch.len() {
            let values = columns.row(index);
            let mut view = room.view(texts.value(index)).with_columns(&values).complete();
            rules::measure_all(rule_sets, &mut view, &mut measures);
            evidence.add(document(batch, index), &measures);
            annotations.push(&measures, view.edited());
            counts.keep_document(texts.value(index).len(), batch.held_out().value(index));
        }
        let failed = annotations.failed().to_vec();
        let kept = annotations.beside(&batch.records)?;
        let removed = RecordBatch::new_empty(sieve::removed_schema(why_fields()));
        let sieved = Sieved { source: batch.source, kept, removed, counts };
        Ok(Judged { sieved, failed, evidence })
    }

    /// One row for each document of a batch that is dropped, in input order.
    fn removed(&self, batch: &Batch, removed: &[(usize, Verdict)]) -> Result<RecordBatch> {
        let left_out = batch.left_out.ids.iter().flatten().zip(&batch.left_out.rows);
        let left_out = left_out.map(|(id, &row)| (row, id, LEFT_OUT, None));
        let judged = removed.iter().map(|(index, verdict)| {
            (batch.rows[*index], batch.ids().value(*index), verdict.rule, Some(verdict))
        });
        let mut rows: Vec<(u64, &str, &str, Option<&Verdict>)> = left_out.chain(judged).collect();
        rows.sort_by_key(|(row, ..)| *row);
        let numbers = |of: fn(&Verdict) -> f64| {
            let values = rows.iter().map(|(.., verdict)| verdict.map(of));
            Arc::new(values.collect::<Float64Array>()) as ArrayRef
        };
        let names = rows.iter().map(|(row, id, reason, _)| (*row, *id, *reason));
        let mut columns = sieve::removed_columns(&self.inputs, batch, names);
        columns.extend([numbers(|verdict| verdict.value), numbers(|verdict| verdict.limit)]);
        RecordBatch::try_new(sieve::removed_schema(why_fields()), columns).map_err(bug)
    }

    /// The kept and the removed documents of a batch whose columns to write are `records`.
    fn apply(
        &self,
        batch: &Batch,
        records: &RecordBatch,
        verdicts: Verdicts,
        evidence: Evidence,
    ) -> Result<Judged> {
        let records = with_edited(records, verdicts.edited)?;
        let records = verdict::judged(&records, &verdicts.judged)?;
        let kept =
            filter_record_batch(&records, &BooleanArray::from(verdicts.keep)).map_err(bug)?;
        let removed = self.removed(batch, &verdicts.removed)?;
        let sieved = Sieved { source: batch.source, kept, removed, counts: verdicts.counts };
        Ok(Judged { sieved, failed: Vec::new(), evidence })
    }
}

/// A document for the evidence.
fn document(batch: &Batch, index: usize) -> evidence::Document<'_> {
    evidence::Document {
        source: batch.source,
        file: batch.file,
        row: batch.rows[index],
        id: batch.ids().value(index),
        text: batch.texts().value(index),
    }
}

impl Verdicts {
    /// Takes the next document's verdict, and its text where the rules changed it.
    fn push(
        &mut self,
        batch: &Batch,
        index: usize,
        verdict: Option<Verdict>,
        edited: Option<String>,
    ) {
        if batch.held_out().value(index) {
            if let Some(verdict) = verdict {
                self.counts.judge_held_out(verdict.rule);
                self.judged.insert(index, verdict.rule);
            }
            self.keep.push(true);
            self.counts.keep_document(batch.texts().value(index).len(), true);
            return;
        }
        self.keep.push(verdict.is_none());
        if let Some(verdict) = verdict {
            self.counts.drop_document(verdict.rule);
            self.removed.push((index, verdict));
            return;
        }
        let text = edited.as_deref().unwrap_or_else(|| batch.texts().value(index));
        self.counts.keep_document(text.len(), false);
        self.edited.extend(edited.map(|text| (index, text)));
    }
}

impl Stage for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn kind(&self) -> Kind {
        Kind::Corpus
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn config(&self) -> Value {
        self.resolved.clone()
    }

    fn inputs(&self) -> Vec<InputRecord> {
        [self.inputs.records(), self.files.clone()].concat()
    }

    fn text(&self) -> Option<&dyn TextInputs> {
        Some(&self.inputs)
    }

    fn plan(&self) -> Result<Plan> {
        let units = self.inputs.units();
        let phase = Phase { name: "judge", units, publish: Publish::Parts, counts: true };
        Ok(Plan { phases: vec![phase], holdout: Some(self.inputs.holdout()) })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        let removed = sieve::removed_schema(why_fields());
        let mut sieve = Sieve::create(&self.inputs, self.written(), removed, work)?;
        let mut would_drop = Counts::default();
        let mut evidence = Evidence::new(&self.rules);
        if unit.index == 0 {
            self.record_files(work);
        }
        let read = self.inputs.read(
            unit.index,
            Columns::All,
            work,
            |batch| self.judge(&batch),
            |judged| {
                sieve.write(&judged.sieved)?;
                let failed = judged.failed.iter();
                failed.for_each(|rule| would_drop.add_extra(&schema::would_drop(rule), 1));
                evidence.merge(judged.evidence);
                Ok(())
            },
        )?;
        let mut counts = sieve.finish(read, work)?;
        counts.add(&would_drop);
        self.write_evidence(&evidence, work)?;
        Ok(counts)
    }
}

/// The records with the text replaced in some rows.
fn with_edited(records: &RecordBatch, mut edited: Vec<(usize, String)>) -> Result<RecordBatch> {
    if edited.is_empty() {
        return Ok(records.clone());
    }
    let texts = match edited.pop() {
        // A document that is alone in its batch may be a giant, so it is not copied.
        Some((_, text)) if records.num_rows() == 1 => {
            let offsets = OffsetBuffer::from_lengths([text.len()]);
            StringArray::new(offsets, Buffer::from_vec(text.into_bytes()), None)
        }
        last => {
            edited.extend(last);
            let texts: &StringArray = records.column(TEXT).as_string();
            let mut edited = edited.iter().peekable();
            StringArray::from_iter_values((0..records.num_rows()).map(|index| {
                let own = edited.next_if(|(at, _)| *at == index);
                own.map_or_else(|| texts.value(index), |(_, text)| text.as_str())
            }))
        }
    };
    let mut columns = records.columns().to_vec();
    columns[TEXT] = Arc::new(texts);
    RecordBatch::try_new(records.schema(), columns).map_err(bug)
}

/// The fields for a removed document's value and limit; null where the condition left it out.
fn why_fields() -> [Field; 2] {
    ["value", "limit"].map(|name| Field::new(name, DataType::Float64, true))
}
