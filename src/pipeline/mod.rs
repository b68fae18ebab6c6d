//! From a request to an artifact: which stages there are, how they run, and recipes of them.
//!
//! In → a stage's name, inputs, config and OUT; out → a published artifact or "up to date". The
//! executor is the one place that knows of resume, staging, manifests and renames; a stage author
//! never sees them. Imports every stage; only `cli` imports it.

#[cfg(feature = "train")]
pub mod ablation;
pub mod execute;
mod export;
#[cfg(feature = "hub")]
mod fetched;
mod import;
pub mod job;
pub mod kept;
mod keys;
mod memory;
#[cfg(feature = "train")]
pub mod milestones;
pub mod options;
mod output;
pub mod recipe;
pub mod registry;
pub mod request;
mod revisions;
mod unchanged;
mod up_to_date;
