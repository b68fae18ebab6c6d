//! What every part stands on: errors, configuration, hashes, files, locks, parallel maps.
//!
//! Imports nothing of ours; knows nothing of Parquet, candle or the terminal's look.

#[cfg(test)]
#[path = "../../tests/support/beside.rs"]
pub mod beside;
pub mod config;
pub mod cuda;
pub mod energy;
pub mod error;
pub mod hash;
pub mod html;
pub mod interrupt;
pub mod io;
pub mod json;
pub mod lock;
pub mod machine;
pub mod parallel;
pub mod place;
pub mod pool;
pub mod progress;
pub mod rng;
pub mod size;
pub mod spec;
