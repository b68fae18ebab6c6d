//! `ingest`: any inputs → a clean corpus.
//!
//! In → Parquet, JSON lines and corpora; out → `part-*.parquet` in the united schema, in input
//! order, one part a unit, and `rejects-*.jsonl` for what could not be read. It drops nothing but
//! what a condition leaves out: use it to unite schemas, to give ids and the held-out mark once, or
//! to keep a copy that reads fast. Invariants: in = out + rejected + left out; a corpus ingested
//! again gives the same documents. Cost: one read and one zstd pass; parallel over units, and over
//! row groups inside one.

mod config;
mod run;

pub use config::IngestConfig;

use serde_json::Value;

use crate::artifact::counts::Counts;
use crate::artifact::{
    record::Kind,
    stage::{Phase, Plan, Publish, Stage, TextInputs, Unit, Work},
};
use crate::base::error::Result;
use crate::source::{InputSpec, Inputs};

/// Raised whenever the same documents and config give other bytes.
const VERSION: u32 = 4;

/// The stage with its opened inputs.
pub struct Ingest {
    inputs: Inputs,
}

impl Ingest {
    /// Opens the inputs; reads metadata only.
    pub fn open(specs: &[InputSpec], config: IngestConfig) -> Result<Ingest> {
        Ok(Ingest { inputs: Inputs::open(specs, &config)? })
    }

    /// What is read.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }
}

impl Stage for Ingest {
    fn name(&self) -> &'static str {
        "ingest"
    }

    fn kind(&self) -> Kind {
        Kind::Corpus
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn config(&self) -> Value {
        self.inputs.config_json()
    }

    fn text(&self) -> Option<&dyn TextInputs> {
        Some(&self.inputs)
    }

    fn plan(&self) -> Result<Plan> {
        let phase = Phase {
            name: "ingest",
            units: self.inputs.units(),
            publish: Publish::Parts,
            counts: true,
        };
        Ok(Plan { phases: vec![phase], holdout: Some(self.inputs.holdout()) })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        run::run_unit(&self.inputs, unit.index, work)
    }
}
