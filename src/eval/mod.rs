//! Evaluates a model: questions with choices, and bits per byte of texts.
//!
//! In → a run, a checkpoint or a directory in Hugging Face's form; tasks with their original files,
//! or texts; out → an artifact of kind `evals`: `items.parquet` (a row a choice),
//! `documents-*.parquet` (a row a document of the texts) and `scores.json`. **Method.** That of
//! lm-evaluation-harness 0.4.13 on a model in f32, request by request: the same strings, the same
//! tokens, the same figures. **Invariants.** A score depends on the model and its item alone:
//! neither batches, threads, `--limit` nor other tasks change a bit. **Cost.** A forward pass over
//! the distinct tokens of the items, the head only where a token is scored.
//!
//! Read [`task`] (what is asked), [`ask`] (as tokens), [`pass`] (through the model), [`measures`]
//! (what it means), [`mod@run`] (the stage), [`compare`] (two evaluations, item by item), [`look`]
//! (inside a model, and at the documents that it finds hard).

pub mod ask;
pub mod compare;
pub mod config;
pub mod items;
pub mod look;
pub mod measures;
pub mod pass;
pub mod run;
pub mod scores;
pub mod subject;
mod summary;
pub mod task;
#[cfg(test)]
mod tests;
pub mod texts;

pub use compare::Comparison;
pub use config::EvalConfig;
pub use run::Evaluation;
pub use scores::Scores;
pub use subject::Subject;
