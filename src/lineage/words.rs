//! Differences in words: `only dedup.verify 0.8 → off; 4.1% more documents; everything else
//! identical`.
//!
//! In → differences and the number of documents; out → sentences. Pure.

use std::fmt;

use serde_json::Value;

use super::differ::{Difference, Side, What};
use super::mixture;
use crate::base::size::Count;

/// Names that a sentence lists.
const SHOWN: usize = 3;

/// Characters of a value that a sentence shows.
const VALUE_CHARACTERS: usize = 48;

/// A number before and after: `4.1% more documents`.
#[derive(Clone, Copy, Debug)]
pub struct More<'a> {
    pub from: u64,
    pub to: u64,
    pub of: &'a str,
}

impl fmt::Display for More<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let More { from, to, of } = *self;
        let share = 100.0 * from.abs_diff(to) as f64 / from.max(1) as f64;
        let digits = if share < 0.1 { 3 } else { 1 };
        match from.cmp(&to) {
            std::cmp::Ordering::Equal => write!(f, "as many {of}"),
            _ if from == 0 => write!(f, "{} {of} instead of none", Count(to)),
            std::cmp::Ordering::Less => write!(f, "{share:.digits$}% more {of}"),
            std::cmp::Ordering::Greater => write!(f, "{share:.digits$}% fewer {of}"),
        }
    }
}

/// All differences in one sentence, with the change in documents.
pub fn sentence(differences: &[Difference], documents: (u64, u64)) -> String {
    let more = More { from: documents.0, to: documents.1, of: "documents" };
    let effect = if documents.0 == documents.1 { String::new() } else { format!("; {more}") };
    match differences {
        [] => "nothing differs".to_owned(),
        [one] => format!("only {one}{effect}; everything else identical"),
        several => {
            let all: Vec<String> = several.iter().map(Difference::to_string).collect();
            format!("{} differences: {}{effect}", several.len(), all.join("; "))
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)?;
        match self.without_effect {
            true => write!(f, " (without effect: the same bytes come of it)"),
            false => Ok(()),
        }
    }
}

impl Difference {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = &self.step;
        match &self.what {
            What::Key { key, from, to } => {
                let (from, to) = (shown(from.as_ref()), shown(to.as_ref()));
                write!(f, "{} {from} → {to}", name(step, &self.stage, key))
            }
            What::Version { from, to } => {
                write!(f, "the code of {step} ({}, version {from} → {to})", self.stage)
            }
            What::Stage { from, to } => write!(f, "{step}: the stage {from} → {to}"),
            What::Step { only_in: Side::From } => write!(f, "without the step {step}"),
            What::Step { only_in: Side::To } => write!(f, "with the step {step}"),
            What::Files { only_in: Side::From, names } => {
                write!(f, "{step} without {}", listed(names))
            }
            What::Files { only_in: Side::To, names } => {
                write!(f, "{step} with {} more", listed(names))
            }
            What::Edited { names } => write!(f, "{step} reads {} edited", listed(names)),
            What::Renamed { names } => {
                let names = names.iter().map(|(from, to)| format!("{from} → {to}"));
                write!(f, "{step} reads the same bytes as {}", listed(&names.collect::<Vec<_>>()))
            }
            What::Inputs { from, to } => match (&from[..], &to[..]) {
                ([], to) => write!(f, "{step} reads {} too", listed(to)),
                (from, []) => write!(f, "{step} reads no {}", listed(from)),
                (from, to) => {
                    write!(f, "{step} reads {} instead of {}", listed(to), listed(from))
                }
            },
            What::Mixture { from, to } => {
                write!(f, "{step}: ")?;
                mixture::write(f, from, to)
            }
            What::Weights { .. } => {
                write!(f, "{step}: other weights that come to the same shares")
            }
            What::Reordered => write!(f, "{step} reads its inputs in another order"),
            What::Unknown { names } => {
                write!(f, "{} (made we do not know how: no manifest)", listed(names))
            }
        }
    }
}

/// As `dedup.verify`; the tables of a run's configuration need no step before them.
fn name(step: &str, stage: &str, key: &str) -> String {
    match stage == "train" && key.contains('.') {
        true => key.to_owned(),
        false => format!("{step}.{key}"),
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => return "unset".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    match text.char_indices().nth(VALUE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn listed(names: &[String]) -> String {
    let first = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more files"),
    }
}
