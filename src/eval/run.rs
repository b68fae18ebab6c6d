//! The stage: a model, tasks and texts → `items.parquet`, `documents-*.parquet`, `scores.json`.
//!
//! Phase `tasks`, one unit a task: its items, their trees, their scores. Phase `texts`, one unit a
//! part of the texts: their documents in windows. Phase `scores`, one unit: all items in one file,
//! and the figures. So a killed evaluation goes on with the tasks that are not done. The model is
//! read when the first unit needs it, and once.

use std::path::Path;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::{Value, json};

use super::ask::{AskedItem, Asker};
use super::config::EvalConfig;
use super::items::{self, ITEMS, TaskItems};
use super::measures::{Figures, ScoredChoice, ScoredItem};
use super::pass::{self, How};
use super::scores::{Scores, TaskScores, TextScores};
use super::subject::Subject;
use super::summary::{COUNT_CUT, COUNT_ITEMS, EvalSummary};
use super::task::{self, Choice, Item, Shots, Task};
use super::texts::{self, DOCUMENTS};
use crate::artifact::counts::Counts;
use crate::artifact::manifest::Manifest;
use crate::artifact::planned::{self, PlannedFile};
use crate::artifact::record::{Extent, FileCounts, InputRecord, Kind, ReadRange, Slice};
use crate::artifact::stage::{
    Needs, Phase, Plan, Publish, Stage, TextInputs, Tolerance, Unit, UnitPlan, Work,
};
use crate::artifact::summary::Summary;
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::place;
use crate::runtime::model::{Model, TargetScore, Tree};
use crate::source::{InputConfig, InputSpec, Inputs};
use crate::store::Stored;

/// The stage's name, and the version that rises when equal inputs and config give other bytes.
const STAGE: &str = "eval";
const STAGE_VERSION: u32 = 1;

/// An evaluation with its opened inputs.
pub struct Evaluation {
    subject: Subject,
    tasks: Vec<Task>,
    texts: Option<Inputs>,
    config: EvalConfig,
    /// Files of the subject, then of the tasks, each once.
    files: Vec<PlannedFile>,
    records: Vec<InputRecord>,
    model: Mutex<Option<Arc<Model>>>,
}

impl Evaluation {
    /// Opens the model, the tasks' files and the texts; reads neither weights nor texts.
    ///
    /// # Errors
    /// Config: keys that cannot work, no such model, task or file.
    pub fn open(model: &Path, input: &InputConfig, config: EvalConfig) -> Result<Evaluation> {
        config.check()?;
        let subject = Subject::open(model)?;
        let config = resolved(config, &subject)?;
        let tasks = task::open(&config.tasks, config.evals.as_deref().map(Path::new))?;
        let specs: Vec<InputSpec> =
            config.on.iter().map(|text| text.parse()).collect::<Result<_>>()?;
        let texts = (!specs.is_empty()).then(|| Inputs::open_texts(&specs, input)).transpose()?;
        let mut records = subject.records.clone();
        let shots = Shots { count: config.shots, seed: config.seed };
        for path in tasks.iter().flat_map(|task| task.files(shots)) {
            if !records.iter().any(|record| record.path == path) {
                let name = place::name(path);
                let bytes = io::size(path)?;
                let identity = planned::identity(&Stored::local(path.to_owned()), bytes)?;
                records.push(InputRecord::file(name, None, bytes, identity, path.to_owned()));
            }
        }
        let plan = |(input, record): (usize, &InputRecord)| {
            let file = Stored::local(record.path.clone());
            let planned = PlannedFile::raw(file, input, record.name.clone())?;
            planned.ok_or_else(|| planned::size_differs(&record.path, record.bytes, None))
        };
        let files = records.iter().enumerate().map(plan).collect::<Result<_>>()?;
        let model = Mutex::default();
        Ok(Evaluation { subject, tasks, texts, config, files, records, model })
    }

    fn shots(&self) -> Shots {
        Shots { count: self.config.shots, seed: self.config.seed }
    }

    fn length(&self) -> usize {
        self.config.length.unwrap_or(self.subject.length)
    }

    fn asker(&self) -> Asker<'_> {
        let Subject { tokenizer, before, prefix, .. } = &self.subject;
        Asker { tokenizer, before, prefix: *prefix, length: self.length() }
    }

    fn how(&self, threads: usize) -> How {
        How { threads, batch_tokens: self.config.batch_tokens }
    }

    /// The model, read by whoever needs it first.
    fn model(&self) -> Result<Arc<Model>> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = &*model {
            return Ok(model.clone());
        }
        let read = Arc::new(self.subject.load()?);
        *model = Some(read.clone());
        Ok(read)
    }

    /// The places of a task's files in [`Stage::files`].
    fn files_of(&self, task: &Task) -> Vec<usize> {
        let place = |path: &Path| self.files.iter().position(|file| file.path() == path);
        task.files(self.shots()).into_iter().filter_map(place).collect()
    }

    /// Notes that whole files were read.
    fn record_read(&self, files: impl IntoIterator<Item = usize>, work: &Work<'_>) -> Result<()> {
        for file in files {
            let planned = &self.files[file];
            let (xxh3, end) = io::hash_file(planned.path())?;
            let (input, file) = (planned.input, planned.name.clone());
            work.record_read(ReadRange { input, file, start: 0, end, xxh3 });
        }
        Ok(())
    }

    /// Scores the items of one task.
    fn score_task(&self, task: &Task, work: &Work<'_>) -> Result<Counts> {
        let how = self.how(work.threads);
        let needed = pass::memory(&self.subject.config, self.length(), how);
        work.require_memory(needed, "evaluating the model")?;
        let items = task.items(self.config.limit, self.shots())?;
        let asker = self.asker();
        let (mut trees, mut asked) = (Vec::new(), Vec::with_capacity(items.len()));
        for item in &items {
            let what = format!("task `{}`, item {}", task.name, item.number);
            let one = asker.item(item).map_err(|error| error.within(&what))?;
            trees.extend(one.trees.iter().cloned());
            asked.push(one);
        }
        let files = self.files_of(task);
        let bytes: u64 = files.iter().map(|&file| self.files[file].bytes).sum();
        let scores = self.score(&trees, how, bytes, work)?;
        let mut rest = scores.as_slice();
        let scored = items.iter().zip(&asked).map(|(item, asked)| {
            let (own, behind) = rest.split_at(asked.trees.len());
            rest = behind;
            scored_item(item, asked, own)
        });
        let task_items = TaskItems { task: task.name.clone(), items: scored.collect() };
        items::write(&work.path(ITEMS), &[task_items])?;
        self.record_read(files, work)?;
        let mut counts = Counts::default();
        counts.add_extra(COUNT_ITEMS, items.len() as u64);
        let cut = asked.iter().filter(|asked| asked.is_cut).count() as u64;
        if cut > 0 {
            counts.add_extra(COUNT_CUT, cut);
        }
        Ok(counts)
    }

    /// Scores trees, and reports progress as shares of `bytes`.
    fn score(
        &self,
        trees: &[Tree],
        how: How,
        bytes: u64,
        work: &Work<'_>,
    ) -> Result<Vec<Vec<TargetScore>>> {
        let model = self.model()?;
        let done = AtomicU64::new(0);
        let share = |trees_done: u64| bytes * trees_done / trees.len().max(1) as u64;
        pass::score(&model, trees, how, &|more| {
            let before = done.fetch_add(more as u64, Relaxed);
            work.advance(share(before + more as u64) - share(before));
        })
    }

    /// Scores the documents of one part of the texts.
    fn score_texts(&self, inputs: &Inputs, unit: usize, work: &Work<'_>) -> Result<Counts> {
        let how = self.how(work.threads);
        let needed = pass::memory(&self.subject.config, self.length(), how);
        work.require_memory(needed, "evaluating the model")?;
        let model = self.model()?;
        let stride = self.config.stride.unwrap_or(self.length());
        let scorer = texts::Scorer { model: &model, asker: self.asker(), stride, how };
        // The stage lists the files of the model and the tasks before those of the texts.
        let own = Work {
            dir: work.dir.clone(),
            spill: work.spill.clone(),
            skipped: &work
                .skipped
                .iter()
                .filter_map(|it| it.checked_sub(self.files.len()))
                .collect(),
            notes: Mutex::default(),
            ..*work
        };
        let (counts, documents) = scorer.unit(inputs, unit, &own)?;
        let notes = own.notes.into_inner().unwrap_or_else(PoisonError::into_inner);
        for mut range in notes.read {
            range.input += self.records.len();
            work.record_read(range);
        }
        work.describe(DOCUMENTS, FileCounts::documents(documents));
        Ok(counts)
    }

    /// Writes all items to one file, and computes the figures.
    fn conclude(&self, work: &Work<'_>) -> Result<Counts> {
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for unit in 0..self.tasks.len() {
            tasks.extend(items::read(&work.published.dir("tasks", unit).join(ITEMS))?);
        }
        let rows = items::write(&work.path(ITEMS), &tasks)?;
        work.describe(ITEMS, FileCounts { rows: Some(rows), ..FileCounts::default() });
        let scored = tasks.iter().zip(&self.tasks).filter_map(|(scored, task)| {
            assert_eq!(scored.task, task.name, "a unit a task");
            Some(TaskScores {
                task: task.name.clone(),
                items: scored.items.len() as u64,
                metric: task.metric,
                figures: Figures::of(&scored.items)?,
            })
        });
        let texts = self.texts.as_ref().map(|inputs| concluded_texts(inputs, work)).transpose()?;
        Scores::new(scored.collect(), texts.unwrap_or_default()).write(&work.dir)?;
        self.record_read(0..self.subject.records.len(), work)?;
        Ok(Counts::default())
    }
}

/// Files that a unit reads from end to end.
fn whole(files: impl IntoIterator<Item = usize>) -> Vec<Slice> {
    let slice = |file| Slice { file, extent: Extent::Whole, records_max: None };
    files.into_iter().map(slice).collect()
}

/// The configuration with its length set, which must not exceed the length that the model was made
/// for.
fn resolved(config: EvalConfig, subject: &Subject) -> Result<EvalConfig> {
    let longest = subject.length;
    if config.length.is_some_and(|length| length > longest) {
        let message = format!("`length` is more than the {longest} tokens the model was made for");
        return Err(Error::config(message));
    }
    let length = config.length.unwrap_or(longest);
    if config.stride.is_some_and(|stride| stride > length) {
        let message = format!("`stride` is more than the {length} tokens that a window has");
        return Err(Error::config(message));
    }
    Ok(EvalConfig { length: Some(length), ..config })
}

/// An item with what its trees' scores say of its choices.
fn scored_item(item: &Item, asked: &AskedItem, scores: &[Vec<TargetScore>]) -> ScoredItem {
    let choice = |choice: &Choice| ScoredChoice {
        loglikelihood: 0.0,
        tokens: 0,
        characters: choice.text.chars().count() as u64,
        bytes: choice.text.len() as u64,
        is_greedy: true,
    };
    let mut choices: Vec<ScoredChoice> = item.choices.iter().map(choice).collect();
    let mut scores = scores.iter().flatten();
    let branches = asked.trees.iter().flat_map(|tree| &tree.branches);
    for (branch, &choice) in branches.zip(&asked.choices) {
        for score in scores.by_ref().take(branch.targets.len()) {
            choices[choice].loglikelihood -= f64::from(score.nats);
            choices[choice].tokens += 1;
            choices[choice].is_greedy &= score.is_likeliest;
        }
    }
    ScoredItem { number: item.number as u64, choices, gold: item.gold }
}

/// Bits per byte by source, then of all sources together.
fn concluded_texts(inputs: &Inputs, work: &Work<'_>) -> Result<Vec<TextScores>> {
    let mut documents = Vec::new();
    for unit in 0..inputs.units().len() {
        documents.extend(texts::read(&work.published.dir("texts", unit).join(DOCUMENTS))?);
    }
    let of = |source: &str| -> Vec<_> {
        let own = documents.iter().filter(|(name, _)| name == source);
        own.map(|(_, score)| *score).collect()
    };
    let sources = inputs.sources().iter();
    let mut scores: Vec<TextScores> =
        sources.filter_map(|source| TextScores::of(Some(source), &of(source))).collect();
    let all: Vec<_> = documents.iter().map(|(_, score)| *score).collect();
    scores.extend(TextScores::of(None, &all));
    Ok(scores)
}

impl Stage for Evaluation {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn kind(&self) -> Kind {
        Kind::Evals
    }

    fn version(&self) -> u32 {
        STAGE_VERSION
    }

    fn config(&self) -> Value {
        let mut config = serde_json::to_value(&self.config).expect("plain data");
        let tasks = self.tasks.iter();
        let tasks = tasks.map(|task| json!({"name": task.name, "definition": task.definition()}));
        config["tasks"] = tasks.collect();
        config["texts"] = self.texts.as_ref().map_or(Value::Null, Inputs::config_json);
        config
    }

    fn seed(&self) -> u64 {
        self.config.seed
    }

    fn inputs(&self) -> Vec<InputRecord> {
        let texts = self.texts.iter().flat_map(TextInputs::records);
        self.records.iter().cloned().chain(texts).collect()
    }

    fn files(&self) -> Vec<PlannedFile> {
        let mut files = self.files.clone();
        for mut file in self.texts.iter().flat_map(TextInputs::planned_files) {
            file.input += self.records.len();
            files.push(file);
        }
        files
    }

    fn notices(&self) -> Vec<String> {
        self.texts.iter().flat_map(TextInputs::notices).collect()
    }

    fn tolerance(&self) -> Tolerance {
        self.texts.as_ref().map(TextInputs::tolerance).unwrap_or_default()
    }

    fn needs(&self, threads: usize) -> Needs {
        let memory = pass::memory(&self.subject.config, self.length(), self.how(threads));
        let texts = self.texts.as_ref().map(|texts| texts.needs(threads)).unwrap_or_default();
        Needs { memory: memory + texts.memory, disk: 0, ..texts }
    }

    fn plan(&self) -> Result<Plan> {
        let task = |task: &Task| {
            let files = self.files_of(task);
            let bytes = files.iter().map(|&file| self.files[file].bytes).sum();
            UnitPlan { slices: whole(files), bytes }
        };
        let mut texts = self.texts.as_ref().map(Inputs::units).unwrap_or_default();
        let slices = texts.iter_mut().flat_map(|unit| &mut unit.slices);
        slices.for_each(|slice| slice.file += self.files.len());
        let phase = |name, units, publish| Phase { name, units, publish, counts: true };
        let scores = UnitPlan { slices: whole(0..self.subject.records.len()), bytes: 0 };
        let phases = vec![
            phase("tasks", self.tasks.iter().map(task).collect(), Publish::No),
            phase("texts", texts, Publish::Parts),
            phase("scores", vec![scores], Publish::AsIs),
        ];
        Ok(Plan { phases, holdout: None })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        match (unit.phase, &self.texts) {
            (0, _) => self.score_task(&self.tasks[unit.index], work),
            (1, Some(inputs)) => self.score_texts(inputs, unit.index, work),
            (2, _) => self.conclude(work),
            (phase, _) => panic!("phase {phase} of 3"),
        }
    }

    fn summary(&self, manifest: &Manifest, out: &Path) -> Result<Box<dyn Summary>> {
        Ok(Box::new(EvalSummary::new(manifest, Scores::read(out)?)))
    }
}
