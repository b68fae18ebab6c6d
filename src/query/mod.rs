//! `query`: SQL over every table that dataprep writes.
//!
//! In → a SELECT and the folder that holds its tables; out → [`Answer`]. A table is named by its
//! path, `FROM 'runs/kept'` or `FROM kept`, and where an output has several by `kept#removed`
//! ([`find`]); [`read`] turns files into columns, and reads only those that the query names;
//! `frame` hands them to polars, which runs the SQL. Feature `query`. **Invariants.** Nothing is
//! written. **Cost.** The columns that a query names, of all rows, in memory.

pub mod find;
mod frame;
pub mod kind;
mod lines;
pub mod read;

use std::path::Path;

use serde_json::Value;

use crate::base::error::{Error, Result};

/// The rows of a result, each value in its JSON form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// Statements that change tables. polars would run them on tables in memory, without any effect
/// here.
const CHANGES: [&str; 7] = ["ALTER", "CREATE", "DELETE", "DROP", "INSERT", "TRUNCATE", "UPDATE"];

/// What a query says of the tables of `folder`.
///
/// # Errors
/// Config: no SQL, no such table or column, a statement that changes one. Damaged: a table that
/// cannot be read.
pub fn query(sql: &str, folder: &Path) -> Result<Answer> {
    let first = sql.split_whitespace().next().unwrap_or_default();
    if CHANGES.iter().any(|word| first.eq_ignore_ascii_case(word)) {
        return Err(Error::config(format!("`{first}` changes tables, and a query reads them"))
            .with_hint("ask with SELECT"));
    }
    frame::query(sql, folder)
}

/// Every table of `folder`, with its columns and their types.
///
/// # Errors
/// Damaged: a table that cannot be read.
pub fn tables(folder: &Path) -> Result<Vec<(String, Vec<kind::Column>)>> {
    let found = find::list(folder)?;
    let described = found.into_iter().map(|table| {
        let columns = read::columns(&table)?;
        Ok((table.name, columns))
    });
    let described: Vec<(String, Vec<kind::Column>)> = described.collect::<Result<_>>()?;
    match described.is_empty() {
        true => Err(Error::config(format!("there is no table in `{}`", folder.display()))
            .with_hint("name a folder that outputs of dataprep lie in, with `--in DIR`")),
        false => Ok(described),
    }
}
