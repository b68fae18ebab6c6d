//! What a piece of work would do, without doing it: what `--dry-run` prints.
//!
//! In → a stage's plan, or whatever else knows what it would take; out → a [`Forecast`]. Reads
//! metadata only and writes nothing.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::stage::{Needs, Phase, Stage};
use crate::base::{
    error::Result,
    hash::Fingerprint,
    size::{Bytes, Count},
};

/// The key that says that the output was made before and is only moved back.
const COMES_BACK: &str = "comes_back";

/// What would be done.
#[derive(Clone, Debug, Serialize)]
pub struct Forecast {
    /// Whether there is nothing to do.
    pub up_to_date: bool,
    /// For people: what is read by which phase, and what it takes.
    #[serde(skip)]
    pub text: String,
    /// The same for programs.
    #[serde(flatten)]
    pub plan: Value,
}

impl Forecast {
    /// Of a stage of units.
    pub fn of_stage(
        stage: &dyn Stage,
        fingerprint: Fingerprint,
        needs: Needs,
        up_to_date: bool,
    ) -> Result<Forecast> {
        let (plan, inputs) = (stage.plan()?, stage.inputs());
        let bytes = |phase: &Phase| -> u64 { phase.units.iter().map(|unit| unit.bytes).sum() };
        let phases = plan.phases.iter().map(|phase| {
            let units = Count(phase.units.len() as u64).of("unit");
            format!("{} {units}, {}", phase.name, Bytes(bytes(phase)))
        });
        let documents = match (needs.documents, stage.text()) {
            (Some(documents), _) => format!("{}; ", Count(documents).of("document")),
            (None, Some(_)) => "documents are counted as they are read; ".to_owned(),
            (None, None) => String::new(),
        };
        let text = format!(
            "{}: {}\n    {documents}takes up to {} of memory and about {} of disk",
            Count(inputs.len() as u64).of("input"),
            phases.collect::<Vec<_>>().join("; "),
            Bytes(needs.memory),
            Bytes(needs.disk),
        );
        let text = needs.fetches.map_or(text.clone(), |fetches| format!("{text}\n    {fetches}"));
        let phases: Vec<Value> = plan
            .phases
            .iter()
            .map(|phase| {
                json!({"name": phase.name, "units": phase.units.len(), "bytes": bytes(phase)})
            })
            .collect();
        let plan = json!({
            "stage": stage.name(), "fingerprint": fingerprint, "inputs": inputs.len(),
            "input_bytes": inputs.iter().map(|input| input.bytes).sum::<u64>(),
            "needs": needs, "phases": phases, "notices": stage.notices(),
        });
        Ok(match stage.told() {
            Some(told) => Forecast { up_to_date, text: told.text, plan: with(plan, told.keys) },
            None => Forecast { up_to_date, text, plan },
        })
    }

    /// The same for an output that was made before and lies in the store: it is moved back, and
    /// nothing is made.
    pub fn coming_back(mut self) -> Forecast {
        self.text = "was made before, and becomes current again".to_owned();
        self.plan[COMES_BACK] = true.into();
        self
    }

    /// Whether the output lies in the store and is only moved back.
    pub fn comes_back(&self) -> bool {
        self.plan[COMES_BACK] == true
    }

    /// The line for people.
    pub fn line(&self) -> &str {
        if self.up_to_date { "up to date" } else { &self.text }
    }
}

/// An object with further keys.
fn with(mut object: Value, keys: Map<String, Value>) -> Value {
    keys.into_iter().for_each(|(key, value)| object[key] = value);
    object
}
