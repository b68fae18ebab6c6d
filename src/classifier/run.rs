//! The stage: two sides of documents → their texts → `model.bin`, `report.json`.
//!
//! Phase `read`, one unit a part of the inputs, those of the positive side first: the texts with
//! their lines joined, and which of them are kept out of training, as Parquet that only the next
//! phase reads; parallel, resumed unit by unit. Phase `train`, one unit: all texts in input order
//! into the trainer, then the steps one after the other, so that one seed is one model. What could
//! not be read is listed in `rejects.jsonl`. A file on both sides is refused: a text cannot be
//! wanted and not.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, BooleanArray, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::config::ClassifierConfig;
use super::report::{self, Report};
use crate::artifact::counts::{Counts, SourceCounts};
use crate::artifact::manifest::Manifest;
use crate::artifact::planned::PlannedFile;
use crate::artifact::record::{InputRecord, Kind};
use crate::artifact::stage::{
    Fetches, Needs, Phase, Plan, Publish, Stage, TextInputs, Tolerance, Unit, UnitPlan, Work,
};
use crate::artifact::summary::{DocumentsSummary, Summary};
use crate::base::error::{Error, Result};
use crate::base::{interrupt, io};
use crate::fasttext::train::Trainer;
use crate::fasttext::{Lines, Model, evaluate};
use crate::source::{Batch, Columns, InputConfig, InputSpec, Inputs, ParquetSink, roots};

/// The files of the artifact.
pub const MODEL: &str = "model.bin";
pub const REPORT: &str = "report.json";

/// The file of a reading unit, and the list that it may leave beside it.
const TEXTS: &str = "texts.parquet";
const REJECTS: &str = "rejects.jsonl";

/// The labels, as DCLM's model has them; a label's index is that of its side.
const LABELS: [&str; 2] = ["hq", "cc"];

/// The reasons for which a document does not train the model.
const HELD_OUT: &str = "held_out";
const KEPT_OUT: &str = "kept_out";

/// Bytes of text per distinct word, about: 120 to 200 were seen on 20 MB of web text and prose.
const TEXT_PER_WORD: u64 = 100;

/// `classifier train` with its opened inputs.
pub struct ClassifierTrain {
    /// What is wanted, then what is not.
    sides: [Inputs; 2],
    config: ClassifierConfig,
}

/// A batch's texts, and what happened to its documents.
struct Taken {
    source: usize,
    texts: RecordBatch,
    counts: SourceCounts,
}

impl ClassifierTrain {
    /// Checks the configuration and opens both sides; reads metadata only.
    ///
    /// # Errors
    /// [`Error::Config`] for keys that cannot work; whatever opening the inputs gives.
    pub fn open(input: &InputConfig, config: ClassifierConfig) -> Result<ClassifierTrain> {
        config.check()?;
        let specs = |side: &[String]| side.iter().map(|text| text.parse()).collect();
        let (positive, negative): (Result<Vec<InputSpec>>, Result<Vec<InputSpec>>) =
            (specs(&config.positive), specs(&config.negative));
        let specs = [positive?, negative?];
        let names = [source_names(&specs[0], input)?, source_names(&specs[1], input)?];
        let open = |side: usize| {
            // A table for a source is one side's; for a source of neither, opening says so.
            let mut input = input.clone();
            input.source.retain(|name, _| {
                names[side].contains(name) || !names.iter().any(|names| names.contains(name))
            });
            Inputs::open_texts(&specs[side], &input)
        };
        let sides = [open(0)?, open(1)?];
        refuse_shared_files(&sides)?;
        Ok(ClassifierTrain { sides, config })
    }

    /// The side of a reading unit, and the unit's number there.
    fn side_of(&self, unit: usize) -> (usize, usize) {
        let positive = self.sides[0].units().len();
        if unit < positive { (0, unit) } else { (1, unit - positive) }
    }

    /// Reads one unit of one side.
    fn read(&self, unit: usize, work: &Work<'_>) -> Result<Counts> {
        let (side, unit) = self.side_of(unit);
        let inputs = &self.sides[side];
        let mut sink = ParquetSink::create(&work.path(TEXTS), texts_schema())?;
        let mut taken = Counts::default();
        // The stage numbers the files and records of both sides together; a side knows only its
        // own.
        let first_file = if side == 0 { 0 } else { self.sides[0].files().len() };
        let first_record = if side == 0 { 0 } else { self.sides[0].records().len() };
        let skipped: BTreeSet<usize> =
            work.skipped.iter().filter_map(|file| file.checked_sub(first_file)).collect();
        let own = Work {
            dir: work.dir.clone(),
            spill: work.spill.clone(),
            skipped: &skipped,
            notes: Mutex::default(),
            ..*work
        };
        let mut counts = inputs.read(
            unit,
            Columns::Text,
            &own,
            |batch| self.take(&batch),
            |batch: Taken| {
                taken.source(&inputs.sources()[batch.source]).add(&batch.counts);
                sink.write(&batch.texts)
            },
        )?;
        sink.finish()?;
        let notes = own.notes.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        for mut range in notes.read {
            range.input += first_record;
            work.record_read(range);
        }
        // `counts` is of what was read; none of what trains the model is held out.
        counts.sources.values_mut().for_each(|source| source.held_out = 0);
        counts.add(&taken);
        Ok(counts)
    }

    /// The texts of a batch, each on one line. Those held out for validation train nothing, here as
    /// elsewhere; they measure the model, together with those drawn.
    fn take(&self, batch: &Batch) -> Result<Taken> {
        let mut counts = SourceCounts::default();
        let (mut texts, mut kept_out) = (Vec::with_capacity(batch.len()), Vec::new());
        for (text, held_out) in batch.texts().iter().zip(batch.held_out()) {
            let text = text.expect("a null text is a reject, which no batch holds");
            let line = Lines::Joined.apply(text);
            let drawn = || evaluate::is_held_out(&line, self.config.held_out, self.config.seed);
            let reason = match held_out {
                Some(true) => Some(HELD_OUT),
                _ if drawn() => Some(KEPT_OUT),
                _ => None,
            };
            match reason {
                Some(reason) => counts.drop_document(reason),
                None => {
                    counts.documents_out += 1;
                    counts.bytes_out += text.len() as u64;
                }
            }
            kept_out.push(reason.is_some());
            texts.push(line);
        }
        let columns = vec![
            Arc::new(StringArray::from_iter_values(texts)) as _,
            Arc::new(BooleanArray::from(kept_out)) as _,
        ];
        let texts = RecordBatch::try_new(texts_schema(), columns).expect("both are of one length");
        Ok(Taken { source: batch.source, texts, counts })
    }

    /// Trains on the texts of all units, measures the model, writes both files.
    fn train(&self, work: &Work<'_>) -> Result<Counts> {
        let mut trainer = Trainer::new(&LABELS, self.config.settings())?;
        let mut kept_out: Vec<(bool, String)> = Vec::new();
        for unit in 0..work.published.units("read") {
            interrupt::check()?;
            let side = self.side_of(unit).0;
            for_each_text(&work.published.dir("read", unit).join(TEXTS), |text, is_kept_out| {
                match is_kept_out {
                    true => kept_out.push((side == 0, text.to_owned())),
                    false => trainer.add(text, side as u32)?,
                }
                Ok(())
            })?;
        }
        let measured: usize = kept_out.iter().map(|(_, text)| text.len()).sum();
        work.require_memory(trainer.memory() + measured as u64, "training a classifier")?;
        let (model, report) = self.learn(trainer, &kept_out, work)?;
        write_model(&model, &work.path(MODEL))?;
        let mut json = serde_json::to_vec_pretty(&report).expect("a report is plain data");
        json.push(b'\n');
        io::write(&work.path(REPORT), &json)?;
        list_rejects(work)?;
        let mut counts = Counts::default();
        counts.add_extra("words", u64::from(report.words));
        Ok(counts)
    }

    /// Trains, reporting progress as a share of the text; then measures the model.
    fn learn(
        &self,
        trainer: Trainer,
        kept_out: &[(bool, String)],
        work: &Work<'_>,
    ) -> Result<(Model, Report)> {
        let text = self.text_bytes();
        let mut told = 0;
        let (model, trained) = trainer.train(|share| {
            let now = (share * text as f64) as u64;
            work.advance(now.saturating_sub(told));
            told = told.max(now);
            match interrupt::check() {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        work.advance(text.saturating_sub(told));
        let wanted = model.label(LABELS[0]).expect("a model has the labels it was trained with");
        let report = Report {
            positives: trained.texts[0],
            negatives: trained.texts[1],
            words: trained.words,
            losses: trained.losses,
            held_out: report::measure(&model, wanted, kept_out, self.config.keep),
        };
        Ok((model, report))
    }

    fn text_bytes(&self) -> u64 {
        self.sides.iter().map(Inputs::text_bytes).sum()
    }
}

impl Stage for ClassifierTrain {
    fn name(&self) -> &'static str {
        "classifier"
    }

    fn kind(&self) -> Kind {
        Kind::Classifier
    }

    fn version(&self) -> u32 {
        1
    }

    /// The keys of reading; those that each side resolves for itself stand in a table per side,
    /// where `inputs` says how many of the stage's inputs the side has, the positive ones first.
    fn config(&self) -> Value {
        let mut config = self.sides[0].config_json();
        let own = serde_json::to_value(&self.config).expect("the configuration is plain data");
        if let (Value::Object(all), Value::Object(own)) = (&mut config, own) {
            all.extend(own);
            for key in OF_A_SIDE {
                all.remove(key);
            }
            for (name, side) in ["positive", "negative"].into_iter().zip(&self.sides) {
                let read = side.config_json();
                let mut table: serde_json::Map<String, Value> = OF_A_SIDE
                    .iter()
                    .filter_map(|key| Some(((*key).to_owned(), read.get(key)?.clone())))
                    .collect();
                table.insert("inputs".to_owned(), json!(side.records().len()));
                all.insert(name.to_owned(), Value::Object(table));
            }
        }
        config
    }

    fn seed(&self) -> u64 {
        self.config.seed
    }

    fn inputs(&self) -> Vec<InputRecord> {
        self.sides.iter().flat_map(Inputs::records).collect()
    }

    fn files(&self) -> Vec<PlannedFile> {
        let [mut files, mut negative] = self.sides.each_ref().map(Inputs::planned_files);
        let first = self.sides[0].records().len();
        negative.iter_mut().for_each(|file| file.input += first);
        files.append(&mut negative);
        files
    }

    fn notices(&self) -> Vec<String> {
        self.sides.iter().flat_map(Inputs::notices).collect()
    }

    fn tolerance(&self) -> Tolerance {
        self.sides[0].tolerance()
    }

    fn needs(&self, threads: usize) -> Needs {
        let [positive, negative] = self.sides.each_ref().map(|side| side.needs(threads));
        let words = self.text_bytes() / TEXT_PER_WORD;
        let training = self.config.settings().memory(words, self.text_bytes() / 6);
        let documents = positive.documents.zip(negative.documents);
        Needs {
            documents: documents.map(|(positive, negative)| positive + negative),
            memory: positive.memory.max(negative.memory).max(training),
            disk: positive.disk + negative.disk + self.config.settings().model_bytes(words),
            fetches: positive.fetches.into_iter().chain(negative.fetches).reduce(Fetches::and),
        }
    }

    fn plan(&self) -> Result<Plan> {
        let [mut units, mut negative] = self.sides.each_ref().map(Inputs::units);
        let first = self.sides[0].files().len();
        negative.iter_mut().flat_map(|unit| &mut unit.slices).for_each(|slice| slice.file += first);
        units.append(&mut negative);
        let phase = |name, units, publish| Phase { name, units, publish, counts: true };
        let single = UnitPlan::single(self.text_bytes());
        let phases =
            vec![phase("read", units, Publish::No), phase("train", vec![single], Publish::AsIs)];
        let [positive, negative] = self.sides.each_ref().map(Inputs::holdout);
        // No stage inherits the share, so sides that hold out different ones go together.
        Ok(Plan { phases, holdout: (positive == negative).then_some(positive) })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        match unit.phase {
            0 => self.read(unit.index, work),
            1 => self.train(work),
            phase => panic!("phase {phase} of 2"),
        }
    }

    fn summary(&self, manifest: &Manifest, out: &Path) -> Result<Box<dyn Summary>> {
        let report = Report::read(&out.join(REPORT))?;
        let documents = DocumentsSummary::new(manifest);
        Ok(Box::new(ClassifierSummary { documents, report }))
    }
}

/// What became of the texts, and the report.
#[derive(Debug)]
struct ClassifierSummary {
    documents: DocumentsSummary,
    report: Report,
}

impl Summary for ClassifierSummary {
    fn head(&self) -> String {
        "What the classifier learned".to_owned()
    }

    fn line(&self) -> String {
        self.documents.line()
    }

    fn record(&self) -> Value {
        let mut record = self.documents.record();
        record["report"] = serde_json::to_value(&self.report).expect("a report is plain data");
        record
    }
}

impl fmt::Display for ClassifierSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.documents, self.report)?;
        writeln!(f)
    }
}

/// Keys of reading that each side resolves for itself.
const OF_A_SIDE: [&str; 3] = ["holdout", "unit_bytes", "source"];

/// The sources that inputs have.
fn source_names(specs: &[InputSpec], input: &InputConfig) -> Result<BTreeSet<String>> {
    Ok(roots::resolve(specs, input)?.iter().flat_map(roots::Root::sources).collect())
}

fn refuse_shared_files(sides: &[Inputs; 2]) -> Result<()> {
    let places = |side: &Inputs| -> Result<BTreeSet<PathBuf>> {
        let place = |path: &Path| if path.exists() { io::canonical(path) } else { Ok(path.into()) };
        side.files().iter().map(|file| place(file.path())).collect()
    };
    let (positive, negative) = (places(&sides[0])?, places(&sides[1])?);
    let Some(path) = positive.intersection(&negative).next() else { return Ok(()) };
    let message = format!("`{}` is on both sides", path.display());
    Err(Error::config(message)
        .with_hint("a text is wanted or it is not: name each file under one of the two"))
}

fn texts_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("text", DataType::Utf8, false),
        Field::new("kept_out", DataType::Boolean, false),
    ]))
}

/// Hands out the texts of a reading unit, and which are kept out.
fn for_each_text(path: &Path, mut take: impl FnMut(&str, bool) -> Result<()>) -> Result<()> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(io::open(path)?);
    let reader = reader.and_then(ParquetRecordBatchReaderBuilder::build);
    let damaged = |error: &dyn std::fmt::Display| Error::damaged(path, None, error.to_string());
    for batch in reader.map_err(|error| damaged(&error))? {
        let batch: RecordBatch = batch.map_err(|error: ArrowError| damaged(&error))?;
        let texts = batch.column(0).as_string::<i32>();
        for (text, is_kept_out) in texts.iter().zip(batch.column(1).as_boolean()) {
            take(text.unwrap_or_default(), is_kept_out == Some(true))?;
        }
    }
    Ok(())
}

fn write_model(model: &Model, path: &Path) -> Result<()> {
    let mut file = io::create(path)?;
    let written = model.write(&mut file).and_then(|()| file.flush());
    written.map_err(Error::io("write", path))
}

/// What could not be read, of all units in one list.
fn list_rejects(work: &Work<'_>) -> Result<()> {
    let mut lists = Vec::new();
    for unit in 0..work.published.units("read") {
        let path = work.published.dir("read", unit).join(REJECTS);
        if path.is_file() {
            lists.extend(io::read(&path)?);
        }
    }
    if lists.is_empty() { Ok(()) } else { io::write(&work.path(REJECTS), &lists) }
}
