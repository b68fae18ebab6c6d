//! What every part stands on: errors, configuration, hashes, units, parallel maps, text tables.
//!
//! Imports nothing of ours; knows nothing of Parquet, candle or the terminal's look.

pub mod config;
pub mod counts;
pub mod error;
pub mod hash;
pub mod interrupt;
pub mod io;
pub mod machine;
pub mod manifest;
pub mod parallel;
pub mod pool;
pub mod progress;
pub mod rng;
pub mod size;
pub mod stage;
pub mod unit;
