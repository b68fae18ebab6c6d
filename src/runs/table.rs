//! The table of runs: columns, order, conditions, and how it is printed.
//!
//! In → [`Row`]s; out → aligned text, CSV (RFC 4180) or records of JSON. A column is a name and a
//! function that gives each row's cell; tasks that any run was evaluated on have columns of their
//! own. Conditions are those of every `--where`, over the same columns. Pure.

use std::cmp::Ordering;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use super::list::Row;
use crate::base::config;
use crate::base::error::{Error, Result};
use crate::base::size::Count;
use crate::source::predicate::Predicate;

/// A cell.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    None,
    Text(String),
    Whole(u64),
    Number(f64),
}

/// A column's cell of a row.
type CellOf = Box<dyn Fn(&Row) -> Cell>;

/// A column that every table has.
pub struct Column {
    pub name: &'static str,
    /// Digits after the decimal point on a screen; `None` for text and whole numbers.
    digits: usize,
    /// Whether `runs` shows it without being asked.
    shown: bool,
    /// Whether less or more is better; `None` for what is no measure.
    better: Option<Ordering>,
    kind: DataType,
    cell: fn(&Row) -> Cell,
}

const fn column(name: &'static str, kind: DataType, shown: bool, cell: fn(&Row) -> Cell) -> Column {
    Column { name, digits: 0, shown, better: None, kind, cell }
}

const fn measure(
    name: &'static str,
    digits: usize,
    better: Ordering,
    cell: fn(&Row) -> Cell,
) -> Column {
    Column { name, digits, shown: true, better: Some(better), kind: DataType::Float64, cell }
}

/// The columns that every table has; those of tasks follow them.
pub const COLUMNS: &[Column] = &[
    column("name", DataType::Utf8, true, |row| Cell::Text(row.facts.name.clone())),
    column("state", DataType::Utf8, false, |row| text(row.facts.state.as_ref())),
    column("step", DataType::Int64, false, |row| Cell::Whole(row.facts.step)),
    column("steps", DataType::Int64, false, |row| whole(row.facts.steps)),
    column("tokens", DataType::Int64, true, |row| Cell::Whole(row.facts.tokens)),
    column("seed", DataType::Int64, false, |row| whole(row.facts.seed)),
    measure("loss", 4, Ordering::Less, |row| number(row.facts.loss)),
    measure("bits_per_byte", 4, Ordering::Less, |row| number(row.facts.bits_per_byte)),
    Column {
        name: "kept_bits_per_byte",
        digits: 4,
        shown: false,
        better: Some(Ordering::Less),
        kind: DataType::Float64,
        cell: |row| number(row.facts.kept_bits_per_byte),
    },
    measure("tokens_per_second", 0, Ordering::Greater, |row| number(row.facts.tokens_per_second)),
    measure("seconds", 0, Ordering::Less, |row| number(row.facts.seconds)),
    measure("cost", 2, Ordering::Less, |row| number(row.facts.cost)),
    column("goals", DataType::Utf8, true, |row| text(row.facts.goals.as_ref())),
    column("validation", DataType::Utf8, false, |row| text(row.facts.validation.as_ref())),
    column("host", DataType::Utf8, false, |row| text(row.facts.host.as_ref())),
    column("started", DataType::Float64, false, |row| number(row.facts.started)),
    column("changes", DataType::Int64, false, |row| Cell::Whole(row.changes as u64)),
    column("tags", DataType::Utf8, true, |row| {
        joined(row.tags.iter().map(String::as_str).collect(), ",")
    }),
    column("change", DataType::Utf8, true, |row| Cell::Text(row.change.clone())),
    column("note", DataType::Utf8, true, |row| {
        joined(row.notes.iter().map(String::as_str).collect(), " | ")
    }),
];

fn text(value: Option<&String>) -> Cell {
    value.map_or(Cell::None, |value| Cell::Text(value.clone()))
}

fn whole(value: Option<u64>) -> Cell {
    value.map_or(Cell::None, Cell::Whole)
}

fn number(value: Option<f64>) -> Cell {
    value.map_or(Cell::None, Cell::Number)
}

fn joined(parts: Vec<&str>, between: &str) -> Cell {
    if parts.is_empty() { Cell::None } else { Cell::Text(parts.join(between)) }
}

/// A table of runs.
pub struct Table {
    rows: Vec<Row>,
    /// Names of the tasks that have columns.
    tasks: Vec<String>,
}

impl Table {
    /// A table of rows in the order of [`super::list()`].
    pub fn new(rows: Vec<Row>) -> Table {
        let tasks = rows.iter().flat_map(|row| row.facts.evals.keys().cloned());
        let tasks: std::collections::BTreeSet<String> = tasks.collect();
        Table { rows, tasks: tasks.into_iter().collect() }
    }

    /// The rows in their present order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// A warning if figures in the table stand side by side but cannot be compared.
    pub fn warning(&self) -> Option<String> {
        let sets = self.rows.iter().filter_map(|row| row.facts.validation.as_deref());
        let sets: std::collections::BTreeSet<&str> = sets.collect();
        (sets.len() > 1).then(|| {
            format!(
                "bits per byte are of {} validation sets (the column `validation`), and compare \
                 within one: `dataprep compare` takes the documents that both hold out",
                sets.len()
            )
        })
    }

    /// Keeps the rows that a condition takes: `loss < 3 AND tags LIKE '%keep%'`.
    ///
    /// # Errors
    /// Config: no condition, or an unknown column.
    pub fn keep(&mut self, condition: &str) -> Result<()> {
        let records = self.records()?;
        let selected = Predicate::parse(condition, &records.schema())?.select(&records)?;
        let mut at = 0;
        self.rows.retain(|_| {
            at += 1;
            selected.value(at - 1)
        });
        Ok(())
    }

    /// Sorts the rows by a column, those without a value last; ties keep their order.
    ///
    /// # Errors
    /// Config: no such column.
    pub fn sort(&mut self, by: &str, reverse: bool) -> Result<()> {
        let cell = self.cell(by)?;
        self.rows.sort_by(|a, b| match (cell(a), cell(b)) {
            (Cell::None, Cell::None) => Ordering::Equal,
            (Cell::None, _) => Ordering::Greater,
            (_, Cell::None) => Ordering::Less,
            (a, b) if reverse => order(&b, &a),
            (a, b) => order(&a, &b),
        });
        Ok(())
    }

    /// The best run by a measure; of equal ones the first.
    ///
    /// # Errors
    /// Config: no such measure, or no run that has it.
    pub fn best(&self, by: &str) -> Result<&Row> {
        let better = match COLUMNS.iter().find(|column| column.name == by) {
            Some(column) => column.better.ok_or_else(|| {
                let measures = COLUMNS.iter().filter(|it| it.better.is_some());
                let measures: Vec<&str> = measures.map(|it| it.name).collect();
                Error::config(format!("`{by}` is no measure"))
                    .with_hint(format!("{}, or a task", measures.join(", ")))
            })?,
            None => Ordering::Greater,
        };
        let cell = self.cell(by)?;
        let measured = self.rows.iter().filter(|row| cell(row) != Cell::None);
        let best = measured
            .reduce(|best, row| if order(&cell(row), &cell(best)) == better { row } else { best });
        best.ok_or_else(|| Error::config(format!("no run has `{by}`")))
    }

    fn cell(&self, name: &str) -> Result<CellOf> {
        if let Some(column) = COLUMNS.iter().find(|column| column.name == name) {
            return Ok(Box::new(column.cell));
        }
        let owned = name.to_owned();
        if self.tasks.contains(&owned) {
            return Ok(Box::new(move |row| number(row.facts.evals.get(&owned).copied())));
        }
        let names = COLUMNS.iter().map(|it| it.name).chain(self.tasks.iter().map(String::as_str));
        let names: Vec<&str> = names.collect();
        let error = Error::config(format!("there is no column `{name}`"));
        Err(match config::nearest(name, names.iter().copied()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("columns: {}", names.join(", "))),
        })
    }

    /// The table as Arrow, for conditions and queries.
    ///
    /// # Errors
    /// Failed: two tasks of one name.
    pub fn records(&self) -> Result<RecordBatch> {
        let mut fields = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for column in COLUMNS {
            let cells = self.rows.iter().map(column.cell);
            fields.push(Field::new(column.name, column.kind.clone(), true));
            columns.push(match column.kind {
                DataType::Utf8 => Arc::new(StringArray::from_iter(cells.map(|cell| match cell {
                    Cell::Text(text) => Some(text),
                    _ => None,
                }))),
                DataType::Int64 => Arc::new(Int64Array::from_iter(cells.map(|cell| match cell {
                    Cell::Whole(whole) => i64::try_from(whole).ok(),
                    _ => None,
                }))),
                _ => Arc::new(Float64Array::from_iter(cells.map(|cell| match cell {
                    Cell::Number(number) => Some(number),
                    _ => None,
                }))),
            });
        }
        for task in &self.tasks {
            let values = self.rows.iter().map(|row| row.facts.evals.get(task).copied());
            fields.push(Field::new(task, DataType::Float64, true));
            columns.push(Arc::new(Float64Array::from_iter(values)));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Error::failed(format!("the table of runs: {error}")))
    }

    /// Aligned columns; those without a value in any row are left out.
    pub fn text(&self) -> String {
        let mut columns: Vec<(String, Vec<String>, bool)> = Vec::new();
        let mut tasks = self.tasks.iter().map(|task| {
            let cells = self.rows.iter().map(|row| row.facts.evals.get(task));
            let cells = cells.map(|it| it.map_or(String::new(), |it| format!("{it:.3}")));
            (task.clone(), cells.collect(), true)
        });
        for column in COLUMNS.iter().filter(|column| column.shown) {
            if column.name == "tags" {
                columns.extend(tasks.by_ref());
            }
            let cells: Vec<String> =
                self.rows.iter().map(|row| shown(&(column.cell)(row), column.digits)).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                let head = column.name.replace("_per_", "/").replace('_', " ");
                columns.push((head, cells, column.kind != DataType::Utf8));
            }
        }
        let length = |text: &str| text.chars().count();
        let mut text = String::new();
        let widths: Vec<usize> = columns
            .iter()
            .map(|(head, cells, _)| {
                cells.iter().map(|it| length(it)).fold(length(head), usize::max)
            })
            .collect();
        for row in 0..=self.rows.len() {
            let mut line = String::new();
            for ((head, cells, is_right), width) in columns.iter().zip(&widths) {
                let cell = if row == 0 { head } else { &cells[row - 1] };
                let pad = " ".repeat(width - length(cell));
                let _ = match is_right {
                    true => write!(line, "{pad}{cell}  "),
                    false => write!(line, "{cell}{pad}  "),
                };
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// All columns as CSV.
    pub fn csv(&self) -> String {
        let heads = COLUMNS.iter().map(|column| column.name.to_owned());
        let mut text = csv_line(heads.chain(self.tasks.iter().cloned()));
        for row in &self.rows {
            let cells = COLUMNS.iter().map(|column| plain(&(column.cell)(row)));
            let tasks =
                self.tasks.iter().map(|task| plain(&number(row.facts.evals.get(task).copied())));
            text.push_str(&csv_line(cells.chain(tasks)));
        }
        text
    }

    /// One JSON record for each run.
    pub fn json(&self) -> Vec<Value> {
        let record = |row: &Row| {
            let mut record = serde_json::to_value(row).expect("plain data");
            record["type"] = json!("run");
            record
        };
        self.rows.iter().map(record).collect()
    }
}

fn order(a: &Cell, b: &Cell) -> Ordering {
    match (a, b) {
        (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
        (Cell::Whole(a), Cell::Whole(b)) => a.cmp(b),
        (Cell::Number(a), Cell::Number(b)) => a.total_cmp(b),
        _ => Ordering::Equal,
    }
}

fn shown(cell: &Cell, digits: usize) -> String {
    match cell {
        Cell::None => String::new(),
        Cell::Text(text) => text.clone(),
        Cell::Whole(whole) => Count(*whole).to_string(),
        Cell::Number(number) => match digits {
            0 => Count(number.round() as u64).to_string(),
            _ => format!("{number:.digits$}"),
        },
    }
}

fn plain(cell: &Cell) -> String {
    match cell {
        Cell::None => String::new(),
        Cell::Text(text) => text.clone(),
        Cell::Whole(whole) => whole.to_string(),
        Cell::Number(number) => number.to_string(),
    }
}

/// A line of CSV (RFC 4180).
pub fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let quoted = cells.map(|cell| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}
