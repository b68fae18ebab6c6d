//! What came of an ablation: a result a variant, and the verdict to keep or revert it.
//!
//! In → a plan and the runs that stand; out → [`Outcome`]: for each variant its bits per byte on
//! the documents that all its runs and those of the variant it starts from hold out, the difference
//! with its interval, and the verdict ([`crate::compare::noise`]). **Kept** is what is better
//! beyond the noise of seeds, also on the documents of which no run has read a near-twin; what is
//! worse, or lost in it, is reverted. A table of it is [`Outcome::table`].

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::trial::Plan;
use crate::artifact::manifest::Manifest;
use crate::base::error::Result;
use crate::base::size::Count;
use crate::compare::{self, Call, Verdict};
use crate::lineage::{Depth, Reader, differences, sentence};
use crate::runs::Facts;

/// The results of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// In the plan's order, the baseline first.
    pub variants: Vec<Branch>,
}

/// One variant's result.
#[derive(Clone, Debug, Serialize)]
pub struct Branch {
    pub name: String,
    /// The variant that it changes, by place.
    pub from: Option<usize>,
    /// What differs, found in the artifacts; before its first run, what was asked for.
    pub change: String,
    /// Finished runs, one a seed, of how many.
    pub runs: Vec<PathBuf>,
    pub seeds: usize,
    /// Tokens that a run has read.
    pub tokens: Option<u64>,
    /// The mean over seeds, on all held-out documents.
    pub bits_per_byte: Option<f64>,
    /// Which texts these are; none in runs of earlier builds.
    pub validation: Option<String>,
    /// Whether these texts differ from those of the variant that it changes, as they do where a
    /// source is left out. The two figures then do not compare; the verdict does.
    pub other_texts: bool,
    /// Documents that all runs of both hold out.
    pub documents: Option<u64>,
    pub verdict: Option<Verdict>,
    /// The verdict on those documents alone that have no near-twin in what the runs read; `None`
    /// where no document has one.
    pub without_twins: Option<Verdict>,
    pub kept: Option<bool>,
    /// Of all its runs.
    pub seconds: Option<f64>,
    pub cost: Option<f64>,
}

impl Outcome {
    /// Reads what stands.
    ///
    /// # Errors
    /// Damaged: a record of a run.
    pub fn read(plan: &Plan) -> Result<Outcome> {
        let mut variants: Vec<Branch> = Vec::new();
        for (index, variant) in plan.variants.iter().enumerate() {
            let trials: Vec<_> = plan.trials.iter().filter(|it| it.variant == index).collect();
            let mut facts = Vec::new();
            for trial in &trials {
                if let Some(manifest) = Manifest::read_if_known(trial.run())? {
                    let found = Facts::read(trial.run(), &manifest)?;
                    facts.extend((found.state.as_deref() == Some("done")).then_some(found));
                }
            }
            let runs: Vec<PathBuf> = facts.iter().map(|it| it.path.clone()).collect();
            let bits: Vec<f64> = facts.iter().filter_map(|it| it.bits_per_byte).collect();
            let seconds: f64 = facts.iter().filter_map(|it| it.seconds).sum();
            let seconds = (!facts.is_empty()).then_some(seconds);
            let mut result = Branch {
                name: variant.name.clone(),
                from: variant.from,
                change: variant.changes.join(", "),
                seeds: trials.len(),
                tokens: facts.first().map(|it| it.tokens),
                bits_per_byte: (!bits.is_empty())
                    .then(|| bits.iter().sum::<f64>() / bits.len() as f64),
                validation: facts.first().and_then(|it| it.validation.clone()),
                other_texts: false,
                documents: None,
                verdict: None,
                without_twins: None,
                kept: None,
                cost: plan.price_per_hour.zip(seconds).map(|(price, it)| price * it / 3600.0),
                seconds,
                runs,
            };
            if let Some(from) = variant.from {
                result.judge(&variants[from])?;
            }
            variants.push(result);
        }
        Ok(Outcome { variants })
    }

    /// The table, for a screen.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let width = self.variants.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
        for result in &self.variants {
            let bits = result.bits_per_byte.map_or("–".to_owned(), |it| format!("{it:.4}"));
            let runs = format!("{} of {}", result.runs.len(), result.seeds);
            let _ = write!(text, "  {:<width$}  {runs:>8} runs  {bits:>7}", result.name);
            text.push_str(if result.other_texts { " over other texts" } else { "" });
            let _ = match (&result.verdict, result.kept) {
                (Some(verdict), Some(kept)) => {
                    let word = if kept { "kept" } else { "reverted" };
                    write!(text, "  {:<8}  {verdict}", word)
                }
                _ => Ok(()),
            };
            if !result.change.is_empty() {
                let documents = result.documents.map_or(String::new(), |it| {
                    format!(" ({} held-out documents in common)", Count(it))
                });
                let _ = write!(text, "\n  {:<width$}    {}{documents}", "", result.change);
            }
            if let Some(verdict) = &result.without_twins {
                let what = "on those without a near-twin that was read";
                let _ = write!(text, "\n  {:<width$}    {what}: {verdict}", "");
            }
            text.push('\n');
        }
        text
    }
}

impl Branch {
    /// Holds it against the variant that it starts from.
    fn judge(&mut self, parent: &Branch) -> Result<()> {
        let (Some(own), Some(base)) = (self.runs.first(), parent.runs.first()) else {
            return Ok(());
        };
        let mut reader = Reader::new(Depth::Told);
        let (from, to) = (reader.lineage(base)?, reader.lineage(own)?);
        self.change = sentence(&differences(&from, &to), (from.documents(), to.documents()));
        self.other_texts = self.validation != parent.validation;
        let (held_out, verdict) = compare::judge(&parent.runs, &self.runs)?;
        self.documents = held_out.as_ref().map(|it| it.common);
        self.without_twins = held_out.and_then(|it| it.verdict_without_twins());
        let is_better = |verdict: &Verdict| verdict.call == Call::Better;
        let holds = self.without_twins.as_ref().is_none_or(is_better);
        self.kept = verdict.as_ref().map(|verdict| is_better(verdict) && holds);
        self.verdict = verdict;
        Ok(())
    }
}
