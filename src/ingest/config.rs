//! The keys of `ingest`: those of its inputs, and none beyond.
//!
//! In → TOML; out → [`IngestConfig`]. What a corpus holds is decided by how its inputs are read
//! (`columns`, `holdout`, `limit_documents` …), so there is nothing else to say.

use crate::source::InputConfig;

/// The configuration of the stage.
pub type IngestConfig = InputConfig;
