//! `items.parquet`: one row a choice.
//!
//! In → the scored items of tasks; out → the file, and back. Columns as docs/formats.md says;
//! tasks in the order asked for, items and choices in order. Reading checks every row against the
//! layout; a row that could not have been written so is damage. **Cost.** About 15 bytes a choice.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::measures::{ScoredChoice, ScoredItem};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::source::ParquetSink;

/// The file's name.
pub const ITEMS: &str = "items.parquet";

/// The scored items of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskItems {
    pub task: String,
    pub items: Vec<ScoredItem>,
}

/// The columns.
pub fn schema() -> SchemaRef {
    let column = |name, kind| Field::new(name, kind, false);
    Arc::new(Schema::new(vec![
        column("task", DataType::Utf8),
        column("item", DataType::UInt64),
        column("choice", DataType::UInt64),
        column("loglikelihood", DataType::Float64),
        column("tokens", DataType::UInt64),
        column("characters", DataType::UInt64),
        column("bytes", DataType::UInt64),
        column("is_greedy", DataType::Boolean),
        column("gold", DataType::Boolean),
    ]))
}

/// Writes the file at `path`; returns the number of its rows.
///
/// # Errors
/// Io.
pub fn write(path: &Path, tasks: &[TaskItems]) -> Result<u64> {
    let mut sink = ParquetSink::create(path, schema())?;
    let mut rows = 0;
    for TaskItems { task, items } in tasks {
        let records = records(task, items);
        rows += records.num_rows() as u64;
        sink.write(&records)?;
    }
    sink.finish()?;
    Ok(rows)
}

fn records(task: &str, items: &[ScoredItem]) -> RecordBatch {
    let choices: Vec<(&ScoredItem, usize, &ScoredChoice)> = items
        .iter()
        .flat_map(|item| item.choices.iter().enumerate().map(move |(at, it)| (item, at, it)))
        .collect();
    let counts = |count: fn(&(&ScoredItem, usize, &ScoredChoice)) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(choices.iter().map(count)))
    };
    let flags = |flag: fn(&(&ScoredItem, usize, &ScoredChoice)) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from_iter(choices.iter().map(|choice| Some(flag(choice)))))
    };
    let names = StringArray::from_iter_values(choices.iter().map(|_| task));
    let likelihoods = choices.iter().map(|(_, _, choice)| choice.loglikelihood);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(names),
        counts(|(item, ..)| item.number),
        counts(|(_, at, _)| *at as u64),
        Arc::new(Float64Array::from_iter_values(likelihoods)),
        counts(|(_, _, choice)| choice.tokens),
        counts(|(_, _, choice)| choice.characters),
        counts(|(_, _, choice)| choice.bytes),
        flags(|(_, _, choice)| choice.is_greedy),
        flags(|(item, at, _)| item.gold == *at),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns of one length")
}

/// Reads the file at `path`.
///
/// # Errors
/// Damaged: it is no such file.
pub fn read(path: &Path) -> Result<Vec<TaskItems>> {
    let damaged = |message: String| Error::damaged_artifact(path, None, message);
    let builder = ParquetRecordBatchReaderBuilder::try_new(io::open(path)?)
        .map_err(|error| damaged(error.to_string()))?;
    let names = |schema: &Schema| -> Vec<(String, DataType)> {
        schema.fields().iter().map(|it| (it.name().clone(), it.data_type().clone())).collect()
    };
    if names(builder.schema()) != names(&schema()) {
        return Err(damaged("its columns are not those of scored items".to_owned()));
    }
    let mut tasks: Vec<TaskItems> = Vec::new();
    for batch in builder.build().map_err(|error| damaged(error.to_string()))? {
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        if batch.columns().iter().any(|column| column.null_count() > 0) {
            return Err(damaged("a null where none can be".to_owned()));
        }
        take(&batch, &mut tasks).map_err(damaged)?;
    }
    let is_whole = |item: &ScoredItem| item.gold < item.choices.len();
    match tasks.iter().flat_map(|task| &task.items).find(|item| !is_whole(item)) {
        Some(item) => Err(damaged(format!("item {} has no right choice", item.number))),
        None => Ok(tasks),
    }
}

fn take(batch: &RecordBatch, tasks: &mut Vec<TaskItems>) -> Result<(), String> {
    let names = batch.column(0).as_string::<i32>();
    let count = |column: usize, row| batch.column(column).as_primitive::<UInt64Type>().value(row);
    let likelihoods = batch.column(3).as_primitive::<Float64Type>();
    let flag = |column: usize, row| batch.column(column).as_boolean().value(row);
    for row in 0..batch.num_rows() {
        let (task, number, place) = (names.value(row), count(1, row), count(2, row) as usize);
        if tasks.last().is_none_or(|last| last.task != task) {
            tasks.push(TaskItems { task: task.to_owned(), items: Vec::new() });
        }
        let items = &mut tasks.last_mut().expect("pushed above").items;
        if place == 0 {
            items.push(ScoredItem { number, choices: Vec::new(), gold: usize::MAX });
        }
        let item = items.last_mut().filter(|item| item.number == number);
        let item = item.filter(|item| item.choices.len() == place);
        let item =
            item.ok_or_else(|| format!("choice {place} of item {number} is out of order"))?;
        if flag(8, row) {
            item.gold = place;
        }
        item.choices.push(ScoredChoice {
            loglikelihood: likelihoods.value(row),
            tokens: count(4, row),
            characters: count(5, row),
            bytes: count(6, row),
            is_greedy: flag(7, row),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> Vec<TaskItems> {
        let choice = |at: usize| ScoredChoice {
            loglikelihood: -0.1 * at as f64 - 1.0,
            tokens: at as u64 + 1,
            characters: 3,
            bytes: 4,
            is_greedy: at == 1,
        };
        let item = |number: u64, choices: usize, gold| ScoredItem {
            number,
            choices: (0..choices).map(choice).collect(),
            gold,
        };
        let one = TaskItems { task: "one".into(), items: vec![item(0, 4, 3), item(1, 2, 0)] };
        let other = TaskItems { task: "other".into(), items: vec![item(0, 1, 0), item(7, 1, 0)] };
        vec![one, other]
    }

    #[test]
    fn what_is_written_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(ITEMS);
        assert_eq!(write(&path, &tasks()).unwrap(), 8);
        assert_eq!(read(&path).unwrap(), tasks());
    }

    #[test]
    fn a_file_that_is_not_as_it_was_written_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(ITEMS);
        let message = || match read(&path) {
            Err(Error::Damaged { message, .. }) => message,
            other => panic!("{other:?}"),
        };
        write(&path, &tasks()).unwrap();
        let bytes = io::read(&path).unwrap();
        io::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        message();
        let mut broken = tasks();
        broken[0].items[1].gold = 2;
        write(&path, &broken).unwrap();
        assert!(message().contains("item 1 has no right choice"));
        let mut sink = ParquetSink::create(&path, schema()).unwrap();
        sink.write(&records("one", &tasks()[0].items).slice(1, 2)).unwrap();
        sink.finish().unwrap();
        assert!(message().contains("choice 1 of item 0 is out of order"));
        let other = Arc::new(Schema::new(vec![Field::new("task", DataType::Utf8, false)]));
        ParquetSink::create(&path, other).unwrap().finish().unwrap();
        assert!(message().contains("its columns"));
    }
}
