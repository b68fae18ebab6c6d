//! What a stage is and what it leaves behind: units of work, their records, manifests.
//!
//! In → a stage's plan, the files of its units, its counts; out → the records on disk that every
//! later command leans on. [`stage`] is the contract that a stage implements, [`mod@unit`] one
//! piece of its work on disk, [`manifest`] what a finished artifact says of itself, [`counts`] what
//! became of the documents, [`record`] the plain data that these share, [`store`] where an
//! output lies that is not current, [`find`] which artifacts lie below a folder, [`run`] what is
//! looked for in a run, [`summary`] what a person is told, [`forecast`] what work would do. Nothing
//! here runs a stage: `pipeline` does.

pub mod counts;
pub mod find;
pub mod forecast;
pub mod in_place;
pub mod manifest;
pub mod planned;
pub mod record;
pub mod run;
pub mod section;
pub mod spill;
pub mod stage;
pub mod store;
pub mod summary;
pub mod unit;
