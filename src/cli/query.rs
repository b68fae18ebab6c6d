//! `query`: SQL over the tables that other commands have written.
//!
//! In → arguments; out → a table, CSV or JSON Lines; or the tables there are. What is computed
//! lives in [`crate::query`].

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::Commands;
use crate::base::error::{Error, Result};
use crate::base::size::Count;
use crate::inspect::table::Table;
use crate::query;
use crate::runs::csv_line;

/// Rows that a screen shows.
const SHOWN: usize = 100;
/// Characters of a cell that a screen shows.
const CELL: usize = 60;

/// Arguments of `query`.
#[derive(Args, Debug)]
pub struct QueryArgs {
    /// A SELECT. Tables are places: `FROM kept`, `FROM 'out/kept#removed'`, `FROM 'model#evals'`;
    /// a folder of runs is the table of its runs
    #[arg(value_name = "SQL", required_unless_present = "tables")]
    pub sql: Option<String>,
    /// The folder that tables are named in
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Instead, list the tables of the folder with their columns
    #[arg(long, conflicts_with = "sql")]
    pub tables: bool,
    /// All rows as CSV
    #[arg(long)]
    pub csv: bool,
}

impl Commands<'_> {
    /// `query SQL`
    pub(super) fn query(&self, args: &QueryArgs) -> Result<()> {
        if !args.folder.is_dir() {
            let message = format!("there is no folder `{}`", args.folder.display());
            return Err(Error::config(message).with_hint("`--in DIR` names where tables lie"));
        }
        let Some(sql) = &args.sql else { return self.tables(args) };
        let answer = query::query(sql, &args.folder)?;
        if args.csv {
            let lines = answer.rows.iter().map(|row| csv_line(row.iter().map(plain)));
            let head = csv_line(answer.columns.iter().cloned());
            self.printer.raw(&lines.fold(head, |text, line| text + &line));
        } else {
            let mut table = Table::new(answer.columns.iter().map(String::as_str));
            for row in answer.rows.iter().take(SHOWN) {
                table.row(row.iter().map(|value| cut(&plain(value))).collect());
            }
            self.printer.raw(&format!("{table}\n"));
            if answer.rows.len() > SHOWN {
                let more = Count((answer.rows.len() - SHOWN) as u64);
                self.printer.result(&format!("… {more} more rows: `--csv` writes all"));
            }
        }
        for row in &answer.rows {
            let values = answer.columns.iter().cloned().zip(row.iter().cloned());
            self.printer.record(&json!({"type": "row", "values": values.collect::<Map<_, _>>()}));
        }
        self.printer.record(&json!({"type": "summary", "rows": answer.rows.len()}));
        Ok(())
    }

    fn tables(&self, args: &QueryArgs) -> Result<()> {
        let tables = query::tables(&args.folder)?;
        for (name, columns) in &tables {
            let columns = columns.iter().map(|it| format!("{} {}", it.name, it.kind.name()));
            let columns: Vec<String> = columns.collect();
            self.printer.result(&format!("'{name}': {}", columns.join(", ")));
            self.printer.record(&json!({"type": "table", "table": name, "columns": columns}));
        }
        self.printer.record(&json!({"type": "summary", "tables": tables.len()}));
        Ok(())
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// One line of a cell's text.
fn cut(text: &str) -> String {
    let line = text.replace(['\n', '\r', '\t'], " ");
    match line.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
