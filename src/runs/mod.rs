//! The log that nobody has to keep: every run below a folder, with what changed and what came of
//! it.
//!
//! In → a folder; out → [`Row`]s: a run's facts ([`facts`]), its change against the run that it is
//! nearest to ([`mod@list`]), and remarks that a person has left beside it ([`notes`]). [`table`]
//! sorts, filters and prints them. **Cost.** A manifest,
//! and the ends of three records a run; the nearest run is looked for among all earlier ones by the
//! number of keys that differ.

mod facts;
mod list;
pub mod notes;
mod table;

pub use facts::{Facts, parameters};
pub use list::{Row, list};
pub use notes::Note;
pub use table::{COLUMNS, Column, Table, csv_line};
