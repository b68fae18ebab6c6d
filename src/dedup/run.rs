//! The flow of the stage: which phases there are, and what each unit of them does.
//!
//! In → opened inputs and a checked configuration; out → a [`Stage`]. With `verify` the phases are
//! `sign` → `candidates` → `gather` → `decide` → `apply`; without it, or with `exact` alone,
//! `candidates` decides and `gather` and `decide` are not planned ([`super::phases`]).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    apply,
    candidates::{self, BYTES_PER_DOCUMENT, Candidates, Documents},
    config::{DedupConfig, Method},
    decisions::{self, BYTES_PER_DECISION, Decision, Reason},
    documents::{SIGNED_BYTES_PER_DOCUMENT, SignedUnit},
    phases::{CANDIDATES, DedupPhase, SIGN},
    sign, verify,
};
use crate::{
    artifact::{
        counts::Counts,
        record::Kind,
        stage::{Needs, Phase, Plan, Publish, Published, Stage, TextInputs, Unit, UnitPlan, Work},
    },
    base::error::{Error, Result},
    source::{InputConfig, InputSpec, Inputs},
};

/// Raised whenever the same documents and config give other bytes.
const VERSION: u32 = 4;

/// The `dedup` stage with its inputs opened.
pub struct Dedup {
    inputs: Inputs,
    config: DedupConfig,
}

impl Dedup {
    /// Opens the inputs and checks the configuration against them; no text is read.
    pub fn open(specs: &[InputSpec], input: &InputConfig, config: DedupConfig) -> Result<Dedup> {
        let config = config.validated()?;
        let inputs = Inputs::open(specs, input)?;
        sign::check_keep(&inputs.schema(), &config.keep)?;
        Ok(Dedup { inputs, config })
    }

    /// The opened inputs.
    pub fn source(&self) -> &Inputs {
        &self.inputs
    }

    /// Finds exact duplicates and components; decides as well when nothing is verified.
    fn find_candidates(&self, work: &Work<'_>) -> Result<Counts> {
        let bands = self.config.bands_wanted();
        let units = (0..work.published.units(SIGN))
            .map(|unit| SignedUnit::open(&work.published.dir(SIGN, unit), bands))
            .collect::<Result<Vec<_>>>()?;
        let documents: Vec<u64> = units.iter().map(|unit| unit.documents).collect();
        let total: u64 = documents.iter().sum();
        work.require_memory(total * BYTES_PER_DOCUMENT, "finding duplicate candidates")?;
        let exact = self.config.has(Method::Exact);
        let found = Documents::read(&units)?.candidates(exact, bands)?;
        match self.config.limit() {
            Some(_) => found.write(&work.path(candidates::FILE), &documents)?,
            None => {
                let dropped = (found.exact.len() + found.members.len()) as u64;
                work.require_memory(dropped * BYTES_PER_DECISION, "listing the duplicates")?;
                let (near, twins) = unverified(&found);
                let decisions = decisions::resolve(&found.exact, near);
                decisions::write(&decisions, twins, &units, &work.path(decisions::FILE))?;
            }
        }
        let mut counts = Counts::default();
        if bands > 0 {
            counts.add_extra("near_duplicate_candidates", found.members.len() as u64);
        }
        Ok(counts)
    }
}

/// Drops every candidate but the first of its component in keep order and those that are held out.
/// Each of the latter has a twin if one that is not held out is dropped from its component.
fn unverified(found: &Candidates) -> (Vec<Decision>, BTreeSet<u32>) {
    let mut members = found.members.clone();
    members.sort_unstable_by_key(|member| (member.component, member.order));
    let (mut decisions, mut twins) = (Vec::new(), BTreeSet::new());
    for component in members.chunk_by(|left, right| left.component == right.component) {
        let (kept, cluster) = (component[0].order.ordinal, component[0].component);
        decisions.extend(component[1..].iter().map(|member| Decision {
            document: member.order.ordinal,
            kept,
            reason: Reason::Near,
            jaccard: None,
            cluster,
            held_out: !member.order.training,
        }));
        if component.iter().any(|member| member.order.training) {
            let held_out = component.iter().filter(|member| !member.order.training);
            twins.extend(held_out.map(|member| member.order.ordinal));
        }
    }
    (decisions, twins)
}

impl Stage for Dedup {
    fn name(&self) -> &'static str {
        "dedup"
    }

    fn kind(&self) -> Kind {
        Kind::Corpus
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn config(&self) -> Value {
        // One flat table, as it is written in a recipe.
        let (mut table, own) = (self.inputs.config_json(), json!(self.config));
        if let (Some(table), Value::Object(own)) = (table.as_object_mut(), own) {
            table.extend(own);
        }
        table
    }

    fn seed(&self) -> u64 {
        self.config.seed
    }

    fn text(&self) -> Option<&dyn TextInputs> {
        Some(&self.inputs)
    }

    fn needs(&self, threads: usize) -> Needs {
        let documents = self.inputs.documents_about();
        let reading = self.inputs.needs(threads);
        let memory = reading.memory.max(documents * BYTES_PER_DOCUMENT);
        Needs { memory, disk: reading.disk + documents * SIGNED_BYTES_PER_DOCUMENT, ..reading }
    }

    fn plan(&self) -> Result<Plan> {
        let units = self.inputs.units();
        let bytes = units.iter().map(|unit| unit.bytes).sum();
        let phase = |phase: DedupPhase| {
            let apply = phase == DedupPhase::Apply;
            Phase {
                name: phase.name(),
                units: match phase.is_single() {
                    true => vec![UnitPlan::single(bytes)],
                    false => units.clone(),
                },
                publish: if apply { Publish::Parts } else { Publish::No },
                counts: apply,
            }
        };
        let phases = DedupPhase::of(&self.config).into_iter().map(phase).collect();
        Ok(Plan { phases, holdout: Some(self.inputs.holdout()) })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        let (inputs, config) = (&self.inputs, &self.config);
        let pool = || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(work.threads).build();
            pool.map_err(|error| Error::failed(format!("cannot start worker threads: {error}")))
        };
        let nothing_counted = |()| Counts::default();
        match DedupPhase::of(config)[unit.phase] {
            DedupPhase::Sign => sign::run(inputs, config, unit.index, work),
            DedupPhase::Candidates => pool()?.install(|| self.find_candidates(work)),
            DedupPhase::Gather => {
                verify::gather(inputs, config, unit.index, work).map(nothing_counted)
            }
            DedupPhase::Decide { limit } => {
                pool()?.install(|| verify::run(config, limit, work)).map(nothing_counted)
            }
            DedupPhase::Apply => apply::run(inputs, config, unit.index, work),
        }
    }

    fn finish(&self, published: &Published<'_>) -> Result<Counts> {
        let mut counts = published.sum_of_counting_phases()?;
        counts.add(&published.counts(CANDIDATES, 0)?);
        Ok(counts)
    }
}
