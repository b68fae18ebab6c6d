//! A log that nobody has to keep: every run below a folder, with what changed and the results.
//!
//! In → a folder; out → [`Row`]s: a run's facts ([`facts`]), its differences from the nearest
//! earlier run ([`mod@list`]), and remarks that a person left beside it ([`notes`]). [`table`]
//! sorts, filters and prints them. **Cost.** For each run a manifest and the ends of three records;
//! the nearest run is the earlier one with the fewest differing keys.

mod facts;
mod list;
pub mod notes;
mod table;

pub use facts::{Facts, parameters};
pub use list::{Row, list};
pub use notes::Note;
pub use table::{COLUMNS, Column, Table, csv_line};
