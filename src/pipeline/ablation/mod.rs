//! Ablations: a baseline recipe, variants of one change each, seeds, and one budget for all.
//!
//! In → a plan (`ablation.toml`); out → the [`Trial`]s, one a variant and seed, with every step
//! resolved to a place of its own ([`steps`]), and at the end the tree of results ([`tree`],
//! [`picture`]). **Sharing.** A step lies under the hash of what is asked of it and of the steps
//! that it reads, so two trials that ask the same share one folder, and the executor finds it up to
//! date: what the variants have in common is made once, a killed ablation goes on, and one that
//! returns to an earlier plan finds everything. **A variant changes one thing**: a key, a step left
//! out; more is refused unless the variant says `several = true`. A list of values (`each`) makes a
//! variant of each, several lists their grid.

pub mod picture;
mod steps;
pub mod tree;
mod trial;

pub use trial::{Plan, Trial, Variant};
