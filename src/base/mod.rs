//! What every part stands on: errors, configuration, hashes, units, parallel maps, text tables.
//!
//! Imports nothing of ours; knows nothing of Parquet, candle or the terminal's look.

pub mod error;
pub mod text;
