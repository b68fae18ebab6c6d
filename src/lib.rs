//! From raw Parquet to a trained small language model, in one binary: deterministic to the byte,
//! bounded in memory, resumable after a kill, and able to say what caused any change in a result.
//!
//! # The flow
//!
//! ```text
//! sources ─ingest→ [corpus] ─filter→ [corpus] ─dedup→ [corpus] ─tokenize→ [shards]
//!                                               └─ tokenizer train → [tokenizer] ┘
//! [shards] ─mix→ [mix] ─train→ [run] ─export→ [model]
//! [run] ─eval→ [evals]
//! [shards], [mix] ─export→ [tokens] ─import→ [shards]
//! inspect · verify · report · trace read any of them and write no data
//! ```
//!
//! Each bracket is a directory with a `manifest.json`; a directory without one is no output. Every
//! text stage takes a corpus *or* raw files, so nobody has to write the text three times. Stages
//! never call each other: what lies between them is on disk.
//!
//! # Entry points
//!
//! `main` → [`cli::main`] → one file a command → [`pipeline::registry`], which opens a request as
//! a [`pipeline::job::Job`] → [`pipeline::execute`], which runs an [`artifact::stage::Stage`] as
//! units and publishes its output by one rename. To read one stage whole, take `filter`: `mod`,
//! `config`, `run`, then the rules.
//!
//! # Code map
//!
//! - [`base`]: errors, config, hashes, seeded draws, files, locks, ordered parallel maps. Imports
//!   nothing of ours.
//! - [`text`]: characters, words, sentences and normal forms, at one stated version of Unicode.
//!   Imports nothing of ours.
//! - [`fasttext`]: fastText models, and languages by them or built in.
//! - [`artifact`]: what a stage is and what it leaves behind: units, records, manifests.
//! - [`store`]: places that are no folders of this machine: listings, ranges, identities.
//! - `download` (feature `hub`): files of those places as they are, in a folder with a manifest.
//! - [`source`]: any input → Arrow record batches in the corpus schema, with rejects counted.
//! - [`shards`]: the token shard format and the order of a mix: writers, readers, checks.
//! - [`ingest`], [`filter`], [`classifier`], [`dedup`], [`tokenizer`], [`tokenize`], [`mix`]: the
//!   stages. Each has `mod` (what, how, cost), `config` (keys), `run` (the flow), then pure parts:
//!   data in, data out, no paths, threads or clocks.
//! - `runtime` (feature `train`): the separable trainer library: values, ops, model, optimizer,
//!   checkpoints. It knows nothing of stages.
//! - `train` (feature `train`): the run: feed, steps, validation, samples, records.
//! - `export` (feature `train`): a trained model for other tools: Hugging Face's form, GGUF, the
//!   model card.
//! - [`interop`]: shards and mixes in the forms of other trainers.
//! - `eval` (feature `train`): a model on questions and texts, and two of them side by side.
//! - `serve` (feature `serve`): a model behind HTTP, with a page to type into.
//! - [`doctor`]: the machine as dataprep sees it.
//! - [`report`]: runs on one page or as CSV, where a loss is going and what it costs.
//! - [`trace`]: which documents a step read, and which steps read a document.
//! - [`inspect`]: reads any artifact, and verifies it.
//! - [`lineage`]: where an artifact comes from, and the differences of two. [`runs`]: every run
//!   of a folder. [`compare`]: what a difference did, against the noise of seeds.
//! - `query` (feature `query`): SQL over every table of these.
//! - [`pipeline`]: the registry of stages, recipes, and the executor: the one place that knows of
//!   resume, staging, manifests and renames.
//! - [`cli`]: arguments → requests; the only writer to the terminal.
//!
//! Imports run one way: `base`, `text` ← `fasttext`, `store` ← `artifact` ← `source`, `shards` ←
//! stages, `inspect`; `artifact` ← `lineage` ← `runs` ← `compare`; `base`, `shards` ← `runtime` ←
//! `train`, `eval`; `shards`, `tokenizer` ← `report` ← `train`, `inspect`; `train` ← `export`,
//! `trace`, `serve`; everything ← `pipeline` ← `cli` ← `main`. Only `runtime` and `train` name
//! candle, so `--no-default-features` builds the data tools alone; only `store` and `serve` name
//! HTTP libraries. A test keeps this table.
//!
//! # Invariants
//!
//! - Same inputs, config and seed ⇒ the same bytes and manifest, at any `--threads`. Nothing
//!   persisted depends on hash-map order, a clock, a thread, the system's libm or the compiler's
//!   Unicode tables. What must differ (times, host, places) goes to `run.json`.
//! - A unit is a pure function of (inputs, config, unit): running it twice, late or at once is
//!   safe. State is what is published.
//! - Documents in = out + rejected + dropped by reason, for each source, asserted at the end of
//!   every stage.
//! - Bad data is counted and goes on, a damaged file fails the stage after everything else is
//!   finished, bad config stops before any work, a bug is an assert.
//! - Held-out documents are chosen once, by a hash of their text, where it is first read; they
//!   train no tokenizer, enter no mix, and their twins are dropped from what does.
//! - A run resumed from a checkpoint is bitwise the run that never stopped.

#![allow(rustdoc::private_intra_doc_links, reason = "documentation is made with private items")]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::unwrap_used,
        reason = "what tests make is not kept; the library itself is linted without `test`"
    )
)]

pub mod artifact;
pub mod base;
pub mod classifier;
pub mod cli;
pub mod compare;
pub mod dedup;
pub mod doctor;
#[cfg(feature = "hub")]
pub mod download;
#[cfg(feature = "train")]
pub mod eval;
#[cfg(feature = "train")]
pub mod export;
pub mod fasttext;
pub mod filter;
pub mod ingest;
pub mod inspect;
pub mod interop;
pub mod lineage;
pub mod mix;
pub mod pipeline;
#[cfg(feature = "query")]
pub mod query;
pub mod report;
pub mod runs;
#[cfg(feature = "train")]
pub mod runtime;
#[cfg(feature = "serve")]
pub mod serve;
pub mod shards;
pub mod source;
pub mod store;
pub mod text;
pub mod tokenize;
pub mod tokenizer;
pub mod trace;
#[cfg(feature = "train")]
pub mod train;
