//! Plain tables: the first column to the left, figures to the right, two blanks between.
//!
//! In → rows of text; out → aligned lines, without a line end after the last. No colour and no
//! box: they read the same in a terminal, a pipe and an issue.

use std::fmt;

use crate::base::size::{self, Count};

/// A table with a head.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns.
    pub fn new<'a>(head: impl IntoIterator<Item = &'a str>) -> Table {
        Table { rows: vec![head.into_iter().map(str::to_owned).collect()] }
    }

    /// Adds a row of as many cells as the head has.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.rows[0].len(), "a row of another table: {cells:?}");
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate();
            let line: Vec<String> = cells
                .map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            let end = if index + 1 < self.rows.len() { "\n" } else { "" };
            write!(f, "  {}{end}", line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Grouped digits.
pub fn count(number: u64) -> String {
    Count(number).to_string()
}

/// Two decimals, or `-` for a share of nothing.
pub fn decimal(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2}"))
}

/// A share as per cent with one decimal.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), size::percent)
}
