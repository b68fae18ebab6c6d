//! `dedup`: of documents that are copies of each other, one stays.
//!
//! In → a corpus or raw files; out → a corpus of the documents that stay, in input order and with
//! every column, and `removed-*.parquet`, which names for each dropped document the one that stays
//! for it and how similar the two are.
//!
//! Method, in order of work. **Exact**: equal text but for case, white space and Unicode
//! composition ([`exact`]). **MinHash**: of the survivors, those whose signatures agree in a band
//! are candidates (Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter
//! 3; FineWeb's 14 × 8 over 5-word shingles, where a letter is a word in scripts that put no space
//! between words: [`shingle`]); then each is compared by its exact shingle set with
//! the documents already kept of its component, and goes only if one of them is similar enough:
//! LSH proposes, verification disposes ([`decide`]).
//!
//! Invariants: a document is dropped only for one that stays in the output; held-out documents
//! stay, with a verdict beside them, and come first in keep order, so no twin of them stays on the
//! training side; ties go to the earlier document; the outcome depends on documents, their order
//! and config alone, never on threads, on the cut into units, or on whether they come from raw
//! files or from a corpus of them.
//!
//! Parallel over: batches of a unit and units (`sign`, `gather`, `apply`), bands' sorts
//! (`candidates`), components (`decide`). Cost: text is read two times with `exact` alone, three
//! times verified (units without candidates twice); a signature costs two multiplications a word,
//! not one a word and slot ([`signature`]). Memory: 68 bytes a document in `candidates`; in
//! `decide` 36 bytes a shingle of the largest component (or of 8 million shingles, 288 MiB, when
//! there are so many); both refuse with the number when `--memory` is less.
//!
//! Reading order: [`run`] (the flow), [`sign`] → [`candidates`] → [`verify`] → [`apply`] (one a
//! phase), then the pure parts and the files between phases ([`documents`], [`gather`],
//! [`decisions`]).

mod apply;
mod bands;
mod candidates;
mod components;
mod config;
mod decide;
mod decisions;
mod documents;
mod exact;
mod gather;
mod keep;
mod phases;
mod run;
mod shingle;
mod sign;
mod signature;
mod verify;

pub use config::{DedupConfig, Keep, Method, Verify};
pub use run::Dedup;
