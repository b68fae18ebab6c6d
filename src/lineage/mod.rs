//! Where an artifact comes from, and what makes two of them differ.
//!
//! In → the manifests of an artifact and of everything that it was made from; out → a [`Lineage`]:
//! one [`Node`] a step, down to the source files with their hashes. Two lineages in → every
//! [`Difference`] between them, each at the earliest step where it arose. [`mod@read`] is the only
//! part that opens files; [`differ`] aligns two lineages, [`mixture`] compares what two mixes read,
//! [`words`] says what differs, [`tree`] and [`picture`] show one. **Invariants.** What enters no
//! fingerprint (threads, memory, machine, places) is no difference; a key that only repeats an
//! earlier step's choice is not one either.
//! **Cost.** A manifest a step; no text and no tokens are read.

pub mod differ;
mod mixture;
mod node;
pub mod picture;
mod read;
pub mod tree;
mod words;

pub use differ::{Difference, Side, What, differences};
pub use mixture::Mixture;
pub use node::{Input, Lineage, Node};
pub use read::{Depth, Reader, read};
pub use words::{More, sentence};
