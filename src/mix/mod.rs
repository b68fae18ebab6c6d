//! `mix`: how many tokens of each source a model is trained on, and in which order.
//!
//! In → token shards with weights; out → a mix: `order.arrow`, `validation.arrow`, `mix.json`,
//! `tokenizer/`. No training token is copied: the order names documents in the shards. Reading
//! order: [`config`] what is asked, [`weights`] budgets, [`plan`] what the footers say to it,
//! [`order`] the order itself, `packing` documents into rows, [`validation`] which held-out
//! documents are scored, [`own`] texts that are scored instead, [`run`] the unit that writes;
//! [`sweep`] the mixes of an ablation.
//!
//! Invariants: budgets are exact; held-out documents never enter; a token's place is a function of
//! (shards, config, seed), and found by binary search. One unit: a budget needs everything.

pub mod config;
pub mod order;
pub mod own;
pub mod packing;
pub mod plan;
pub mod run;
mod summary;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod validation;
pub mod weights;

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

pub use config::{MixConfig, MixSpec, MixTokens};
use own::OwnTexts;
pub use plan::{MixPlan, PlannedSource};
use summary::MixSummary;
pub use sweep::Sweep;

use crate::{
    artifact::{
        counts::Counts,
        manifest::Manifest,
        planned::PlannedFile,
        record::{InputRecord, Kind},
        stage::{Needs, Phase, Plan, Publish, Published, Stage, Unit, UnitPlan, Work},
        summary::Summary,
    },
    base::error::Result,
    shards::{MixRecord, ShardSet, mix_record::MIX_FILE},
};

/// The phase that writes the mix; where texts of one's own validate, [`own::PHASE`] comes before.
const PHASE: &str = "mix";

/// The stage, with its shards opened and its budgets resolved.
pub struct Mix {
    config: MixConfig,
    plan: MixPlan,
    /// The shards, then what validates where that is texts of one's own.
    inputs: Vec<InputRecord>,
    own: Option<OwnTexts>,
}

impl Mix {
    /// Opens the shards and resolves the budgets; whatever is wrong with the request fails here.
    pub fn open(specs: &[MixSpec], config: MixConfig) -> Result<Mix> {
        let plan = MixPlan::resolve(specs, &config)?;
        let directories = plan.sets.iter().map(|set| InputRecord::artifact(set.directory()));
        let mut inputs = directories.collect::<Result<Vec<InputRecord>>>()?;
        let own = config
            .validation
            .as_ref()
            .map(|path| OwnTexts::open(path, &plan.sets[0], inputs.len(), config.eval_tokens.0));
        let own = own.transpose()?;
        inputs.extend(own.iter().flat_map(|own| own.inputs().records()));
        Ok(Mix { config, plan, inputs, own })
    }

    /// Sources, budgets and passes: what a dry run prints.
    pub fn resolved(&self) -> &MixPlan {
        &self.plan
    }
}

impl Stage for Mix {
    fn name(&self) -> &'static str {
        "mix"
    }

    fn kind(&self) -> Kind {
        Kind::Mix
    }

    fn version(&self) -> u32 {
        3
    }

    fn config(&self) -> Value {
        let sources = self.plan.sources.iter().map(|source| {
            // `shards` is an index into the inputs: where they lie is no part of what is asked.
            json!({
                "name": source.name, "shards": source.set,
                "source": source.source, "weight": source.weight,
            })
        });
        let mut config = serde_json::to_value(&self.config).expect("keys are plain data");
        if let Some(keys) = config.as_object_mut() {
            keys.remove("seed");
            // Which texts they are is said by the inputs, and nothing by where they lie.
            if self.own.is_some() {
                keys.insert("validation".to_owned(), "own".into());
            }
        }
        config["sources"] = sources.collect();
        config
    }

    fn seed(&self) -> u64 {
        self.config.seed
    }

    fn inputs(&self) -> Vec<InputRecord> {
        self.inputs.clone()
    }

    /// Those of the set that validates: shards are checked block by block as they are read.
    fn files(&self) -> Vec<PlannedFile> {
        self.own.as_ref().map(OwnTexts::files).unwrap_or_default()
    }

    /// What the weights came to where that may surprise, and sources that no validation will speak
    /// of, unless nothing was to be held out.
    fn notices(&self) -> Vec<String> {
        let wanted = |source: &&PlannedSource| {
            self.own.is_none()
                && source.held_out_documents == 0
                && self.plan.sets[source.set].manifest().holdout != Some(0.0)
        };
        let notice = |source: &PlannedSource| {
            format!(
                "no document of source `{}` is held out: it has no validation. Documents are held \
                 out where their text is first read, by `--holdout`",
                source.name
            )
        };
        let unheld = self.plan.sources.iter().filter(wanted).map(notice);
        let own = self.own.iter().flat_map(|own| own.inputs().notices());
        let notices = self.plan.notices().into_iter().chain(unheld).chain(own);
        notices.chain(self.unknown_held_out()).collect()
    }

    fn needs(&self, threads: usize) -> Needs {
        let documents = self.plan.sources.iter().map(|source| source.documents).sum();
        let held_out = self.plan.sources.iter().map(|source| source.held_out_documents << 16);
        let validation: u64 = match &self.own {
            Some(own) => own.tokens().min(own.inputs().text_bytes()),
            None => held_out.map(|most| self.config.eval_tokens.0.min(most)).sum(),
        };
        let held = self.own.as_ref().map(OwnTexts::held_bytes);
        Needs {
            documents: Some(documents),
            memory: run::memory_bytes(&self.plan, &self.config, held)
                .max(self.own.as_ref().map_or(0, |own| own.memory(threads))),
            disk: documents * run::ORDER_BYTES + validation * 4 + self.rows_bytes(),
            fetches: self.own.as_ref().and_then(|own| own.inputs().fetches()),
        }
    }

    fn plan(&self) -> Result<Plan> {
        let blocks = self.plan.sources.iter().flat_map(|source| &source.blocks);
        let bytes = blocks.map(|&place| self.plan.entry(place).bytes).sum();
        let phase = Phase {
            name: PHASE,
            units: vec![UnitPlan::single(bytes)],
            publish: Publish::AsIs,
            counts: true,
        };
        let own = self.own.iter().map(|own| Phase {
            name: own::PHASE,
            units: own.inputs().units(),
            publish: Publish::No,
            counts: false,
        });
        Ok(Plan { phases: own.chain([phase]).collect(), holdout: self.holdout() })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        match &self.own {
            Some(own) if unit.phase == 0 => own.read_unit(unit.index, &self.plan.sets[0], work),
            own => run::run(&self.plan, &self.config, own.as_ref(), work),
        }
    }

    /// `shards` numbers the files that `order.arrow` names.
    fn manifest_keys(&self, published: &Published<'_>) -> Result<BTreeMap<String, Value>> {
        let path = published.dir(PHASE, 0).join(MIX_FILE);
        let text = crate::base::io::read_text(&path)?;
        let record: Value = serde_json::from_str(&text)
            .map_err(|error| crate::base::error::Error::damaged_artifact(&path, None, error))?;
        let keys = ["shards", "sources", "phases"].map(|key| (key.to_owned(), record[key].clone()));
        Ok(keys.into_iter().collect())
    }

    fn summary(&self, manifest: &Manifest, out: &Path) -> Result<Box<dyn Summary>> {
        Ok(Box::new(MixSummary::new(manifest, MixRecord::read(out)?)))
    }
}

impl Mix {
    /// Of several shards, those that do not say by which share their texts are held out.
    fn unknown_held_out(&self) -> Vec<String> {
        let sets = self.plan.sets.iter().filter(|_| self.plan.sets.len() > 1);
        let unknown = sets.filter(|set| set.manifest().holdout.is_none());
        let notice = |set: &ShardSet| {
            format!(
                "which documents `{}` holds out is not decided by their text: one of them may be \
                 trained on where another of the shards has it too",
                set.directory().display()
            )
        };
        unknown.map(notice).collect()
    }

    /// Bytes of the stream where it is written out, before zstd; under a budget of bytes a token
    /// stands for two of them or more.
    fn rows_bytes(&self) -> u64 {
        let tokens = match self.plan.measure {
            order::Measure::Tokens => self.plan.size,
            order::Measure::Bytes => self.plan.size / 2,
        };
        if self.config.materialize { tokens * self.plan.sets[0].width().bytes() } else { 0 }
    }

    /// The share that all shards hold out; `None` where they differ or none is known.
    fn holdout(&self) -> Option<f64> {
        let mut shares = self.plan.sets.iter().map(|set| set.manifest().holdout);
        let first = shares.next().flatten()?;
        shares.all(|share| share == Some(first)).then_some(first)
    }
}
