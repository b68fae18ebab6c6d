//! Which phases a run has, and their names on disk.
//!
//! A configuration in → its phases in order of work. With `verify` candidates are compared by their
//! shingle sets (`gather`, `decide`); without it, or with `exact` alone, `candidates` decides.

use super::config::DedupConfig;

pub const SIGN: &str = "sign";
pub const CANDIDATES: &str = "candidates";
pub const GATHER: &str = "gather";
const DECIDE: &str = "decide";
const APPLY: &str = "apply";

/// One phase of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DedupPhase {
    /// Text → what duplicates are found by; one unit for each unit of the inputs.
    Sign,
    /// All signed documents → components of candidates; one unit.
    Candidates,
    /// Texts of candidates → their shingle sets; one unit for each unit of the inputs.
    Gather,
    /// All sets → what is dropped, from this Jaccard similarity on; one unit.
    Decide { limit: f64 },
    /// Documents → those that stay; one unit for each unit of the inputs.
    Apply,
}

impl DedupPhase {
    /// The phases of a configuration, in order.
    pub fn of(config: &DedupConfig) -> Vec<DedupPhase> {
        use DedupPhase::*;
        match config.limit() {
            Some(limit) => vec![Sign, Candidates, Gather, Decide { limit }, Apply],
            None => vec![Sign, Candidates, Apply],
        }
    }

    /// The phase whose one unit says what is dropped.
    pub fn that_decides(config: &DedupConfig) -> &'static str {
        if config.limit().is_some() { DECIDE } else { CANDIDATES }
    }

    /// The name in plans and unit records.
    pub fn name(self) -> &'static str {
        match self {
            DedupPhase::Sign => SIGN,
            DedupPhase::Candidates => CANDIDATES,
            DedupPhase::Gather => GATHER,
            DedupPhase::Decide { .. } => DECIDE,
            DedupPhase::Apply => APPLY,
        }
    }

    /// Whether one unit does all of it, since it needs everything.
    pub fn is_single(self) -> bool {
        matches!(self, DedupPhase::Candidates | DedupPhase::Decide { .. })
    }
}
