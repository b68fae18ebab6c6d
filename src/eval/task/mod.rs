//! Tasks: an evaluation's original file, and the questions that it puts to a model.
//!
//! In → names of tasks or files, and where evaluation files lie; out → [`Task`]s, whose
//! [`Task::items`] are what is scored. A task is a row of `tasks.toml` or of a person's own file
//! ([`spec`]), JSON Lines of `context`, `choices` and `gold`, or a request file of
//! lm-evaluation-harness (`doc_id`, `choice`, `context`, `continuation`, `gold`). **Method.** The
//! harness's ([`spec`], [`template`]); few-shot examples are those with the lowest hash of (seed,
//! task, item, example), so they neither depend on other items nor on how many are scored; they
//! stand before the question with a blank line between, each with its right choice. **Invariants.**
//! Items are numbered from 0 in the original files, one after another.

mod rows;
pub mod spec;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::error::{Error, Result};
use crate::base::{config, io, rng};
use spec::{Composer, Metric, TaskSpec};

/// What stands between few-shot examples, as in the harness.
const BETWEEN_EXAMPLES: &str = "\n\n";

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// From 0 in the original file.
    pub number: usize,
    /// A text that precedes the examples and the question.
    pub description: String,
    pub choices: Vec<Choice>,
    /// The right choice.
    pub gold: usize,
}

/// One possible answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub context: String,
    /// The delimiter and the text: what is scored.
    pub continuation: String,
    /// The text alone, whose length `acc_norm` divides by.
    pub text: String,
}

/// A task and the files that it is read from.
pub struct Task {
    pub name: String,
    pub metric: Metric,
    form: Form,
    files: Vec<PathBuf>,
    labels: Option<PathBuf>,
    examples: Vec<PathBuf>,
}

enum Form {
    Table(Box<TaskSpec>),
    Requests,
}

/// How many examples stand before each question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shots {
    pub count: usize,
    pub seed: u64,
}

/// The tasks that `names` mean: names of the table, a `.toml` file with tables of its own (all of
/// them), a file of items or requests.
///
/// # Errors
/// Config: an unknown name, a file that is not there, a name given twice.
pub fn open(names: &[String], evals: Option<&Path>) -> Result<Vec<Task>> {
    let known = spec::known();
    let mut tasks: Vec<Task> = Vec::new();
    for name in names {
        let path = Path::new(name);
        if path.extension().is_some_and(|ending| ending == "toml") {
            let beside = path.parent();
            for (name, spec) in spec::read(path)? {
                tasks.push(Task::of_table(&name, spec, &[beside, evals])?);
            }
        } else if path.is_file() {
            tasks.push(Task::of_file(path)?);
        } else {
            tasks.push(Task::of_table(name, find(&known, name)?.clone(), &[evals])?);
        }
    }
    for (place, task) in tasks.iter().enumerate() {
        if tasks[..place].iter().any(|other| other.name == task.name) {
            return Err(Error::config(format!("two tasks are called `{}`", task.name)));
        }
    }
    Ok(tasks)
}

fn find<'a>(known: &'a BTreeMap<String, TaskSpec>, name: &str) -> Result<&'a TaskSpec> {
    known.get(name).ok_or_else(|| {
        let error = Error::config(format!("there is no task `{name}`, nor a file of that name"));
        let names = || known.keys().map(String::as_str);
        match config::nearest(name, names()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("tasks: {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

impl Task {
    fn of_table(name: &str, spec: TaskSpec, places: &[Option<&Path>]) -> Result<Task> {
        let within = |error: Error| error.within(&format!("task `{name}`"));
        Composer::new(&spec).map_err(within)?;
        let locate = |patterns: &[String]| locate(patterns, places);
        let files = locate(&spec.files)?;
        if files.is_empty() {
            let message = format!("task `{name}`: found none of {}", spec.files.join(", "));
            let places: Vec<String> =
                places.iter().flatten().map(|place| format!("`{}`", place.display())).collect();
            return Err(Error::config(message).with_hint(match places.as_slice() {
                [] => "name the folder with the evaluation's original files: `--evals DIR`".into(),
                places => format!("its original files are looked for in {}", places.join(", ")),
            }));
        }
        let labels = locate(&spec.labels_file)?.into_iter().next();
        let examples = locate(&spec.examples)?;
        let (name, metric) = (name.to_owned(), spec.metric);
        Ok(Task { name, metric, form: Form::Table(Box::new(spec)), files, labels, examples })
    }

    /// A task from a file, whose form is told by its first row.
    fn of_file(path: &Path) -> Result<Task> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = name.split('.').next().unwrap_or_default().to_owned();
        let rows = rows::read(path)?;
        let first = rows.first().cloned().unwrap_or_default();
        let has = |key: &str| first.get(key).is_some();
        let (form, metric) = if has("continuation") {
            let one = rows.iter().all(|row| row["choice"] == 0);
            (Form::Requests, if one { Metric::Perplexity } else { Metric::AccNorm })
        } else if has("choices") && has("context") {
            (Form::Table(Box::new(spec::plain())), Metric::AccNorm)
        } else {
            let message = format!("`{}` holds neither items nor requests", path.display());
            return Err(Error::config(message).with_hint(
                "a line has `context`, `choices` and `gold`, or `doc_id`, `choice`, `context`, \
                 `continuation` and `gold`; for other fields write a task, `--tasks mine.toml`",
            ));
        };
        let files = vec![path.to_owned()];
        Ok(Task { name, metric, form, files, labels: None, examples: Vec::new() })
    }

    /// Every file that the task reads with so many examples.
    pub fn files(&self, shots: Shots) -> Vec<&Path> {
        let examples = if shots.count > 0 { self.examples.as_slice() } else { &[] };
        let files = self.files.iter().chain(&self.labels).chain(examples);
        files.map(PathBuf::as_path).collect()
    }

    /// The task's definition, for a fingerprint: its table, or that it has none.
    pub fn definition(&self) -> Value {
        match &self.form {
            Form::Table(spec) => {
                let mut value = serde_json::to_value(spec).expect("a table is plain data");
                // Where files lie does not define the task; their contents are inputs of their own.
                for key in ["files", "examples", "labels_file"] {
                    value.as_object_mut().map(|table| table.remove(key));
                }
                value
            }
            Form::Requests => Value::String("requests".to_owned()),
        }
    }

    /// The first `limit` items.
    ///
    /// # Errors
    /// Damaged: a file that cannot be read. Failed: a row that does not hold what the task asks of
    /// it, with its number; no row. Config: more examples than there are.
    pub fn items(&self, limit: Option<usize>, shots: Shots) -> Result<Vec<Item>> {
        let items = self.asked(limit.unwrap_or(usize::MAX), shots)?;
        if items.is_empty() {
            return Err(Error::failed(format!("task `{}`: its files hold no item", self.name)));
        }
        Ok(items)
    }

    fn asked(&self, limit: usize, shots: Shots) -> Result<Vec<Item>> {
        match &self.form {
            Form::Requests if shots.count > 0 => {
                let message = format!("`{}` is a file of requests, which are whole", self.name);
                Err(Error::config(message).with_hint("leave `--shots` out, or name a task"))
            }
            Form::Requests => self.requests(limit),
            Form::Table(spec) => {
                let composer = Composer::new(spec)?;
                let rows = self.rows()?;
                // Items after the limit are needed only as examples.
                let needed = if shots.count > 0 { rows.len() } else { limit };
                let mut items = self.compose(&composer, rows.iter().take(needed))?;
                if shots.count > 0 {
                    let pool = match self.examples.as_slice() {
                        [] => None,
                        files => Some(self.compose(&composer, read_all(files)?.iter())?),
                    };
                    items = self.with_examples(items, pool.as_deref(), limit, shots)?;
                }
                items.truncate(limit);
                Ok(items)
            }
        }
    }

    /// The rows of its files, joined with labels from files beside them.
    fn rows(&self) -> Result<Vec<Value>> {
        let mut rows = read_all(&self.files)?;
        if let Some(path) = &self.labels {
            let labels = rows::read(path)?;
            if labels.len() != rows.len() {
                let message = format!("{} labels for {} items", labels.len(), rows.len());
                return Err(Error::damaged(path, None, message));
            }
            for (row, label) in rows.iter_mut().zip(labels) {
                row["label"] = label;
            }
        }
        Ok(rows)
    }

    fn compose<'a>(
        &self,
        composer: &Composer,
        rows: impl Iterator<Item = &'a Value>,
    ) -> Result<Vec<Item>> {
        let item = |(number, row)| {
            let what = format!("task `{}`, item {number}", self.name);
            composer.item(number, row).map_err(|error| error.within(&what))
        };
        rows.enumerate().map(item).collect()
    }

    /// The items, each preceded by its examples.
    fn with_examples(
        &self,
        items: Vec<Item>,
        pool: Option<&[Item]>,
        limit: usize,
        shots: Shots,
    ) -> Result<Vec<Item>> {
        let drawn = |item: &Item| {
            let pool = pool.unwrap_or(&items).iter();
            let others = pool.filter(|other| !is_same_question(other, item));
            let mut order: Vec<(u64, &Item)> = others
                .map(|other| {
                    let parts = [item.number as u64, other.number as u64].map(u64::to_le_bytes);
                    let label = format!("examples of {}", self.name);
                    (rng::hash(shots.seed, &label, &[&parts[0], &parts[1]]), other)
                })
                .collect();
            if order.len() < shots.count {
                let (found, count) = (order.len(), shots.count);
                let message = format!("task `{}` has {found} examples, not {count}", self.name);
                return Err(Error::config(message).with_hint("lower `--shots`"));
            }
            order.sort_unstable_by_key(|(hash, other)| (*hash, other.number));
            let texts = order[..shots.count].iter().map(|(_, example)| {
                let Choice { context, continuation, .. } = &example.choices[example.gold];
                format!("{context}{continuation}{BETWEEN_EXAMPLES}")
            });
            Ok(texts.collect::<String>())
        };
        let examples: Vec<String> = items.iter().take(limit).map(drawn).collect::<Result<_>>()?;
        let with = |(mut item, examples): (Item, String)| {
            for choice in &mut item.choices {
                choice.context = format!("{examples}{}", choice.context);
            }
            item
        };
        Ok(items.into_iter().zip(examples).map(with).collect())
    }

    /// Requests by item, as the harness has composed them.
    fn requests(&self, limit: usize) -> Result<Vec<Item>> {
        let mut items: BTreeMap<usize, Item> = BTreeMap::new();
        for (line, row) in read_all(&self.files)?.iter().enumerate() {
            let wrong = || {
                let message = "expected `doc_id`, `choice`, `context`, `continuation`, `gold`";
                Error::failed(format!("task `{}`, line {line}: {message}", self.name))
            };
            let number = |key: &str| Some(row[key].as_u64()? as usize);
            let text = |key: &str| row[key].as_str().map(str::to_owned);
            let (number, place) = number("doc_id").zip(number("choice")).ok_or_else(wrong)?;
            let gold = row["gold"].as_u64().ok_or_else(wrong)? as usize;
            let (context, continuation) =
                text("context").zip(text("continuation")).ok_or_else(wrong)?;
            let new = || Item { number, description: String::new(), choices: vec![], gold };
            let item = items.entry(number).or_insert_with(new);
            if place != item.choices.len() || gold != item.gold {
                return Err(wrong().with_hint("the choices of an item stand in order, 0, 1, …"));
            }
            let text = continuation.strip_prefix(' ').unwrap_or(&continuation).to_owned();
            item.choices.push(Choice { context, continuation, text });
        }
        if let Some(item) = items.values().find(|item| item.gold >= item.choices.len()) {
            let message = format!("task `{}`, item {}: no such gold", self.name, item.number);
            return Err(Error::failed(message));
        }
        if let Some(item) = items.values().find(|item| item.choices[item.gold].text.is_empty()) {
            let message = format!("task `{}`, item {}", self.name, item.number);
            return Err(Error::failed(format!("{message}: its right choice is an empty text")));
        }
        Ok(items.into_values().take(limit).collect())
    }
}

/// Whether an example is the question itself.
fn is_same_question(one: &Item, other: &Item) -> bool {
    one.choices == other.choices
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Value>> {
    let rows: Result<Vec<Vec<Value>>> = files.iter().map(|path| rows::read(path)).collect();
    Ok(rows?.concat())
}

/// The files, by name, that match the first pattern with a match in one of `places`.
fn locate(patterns: &[String], places: &[Option<&Path>]) -> Result<Vec<PathBuf>> {
    for pattern in patterns {
        for place in places.iter().flatten() {
            let path = place.join(pattern);
            if !pattern.contains('*') {
                if path.is_file() {
                    return Ok(vec![path]);
                }
                continue;
            }
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { continue };
            if !folder.is_dir() {
                continue;
            }
            let glob = globset::Glob::new(&name.to_string_lossy())
                .map_err(|error| Error::config(format!("`{pattern}` is no pattern: {error}")))?;
            let glob = glob.compile_matcher();
            let mut found = io::list(folder)?;
            found.retain(|path| path.file_name().is_some_and(|name| glob.is_match(name)));
            found.sort();
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
    Ok(Vec::new())
}
