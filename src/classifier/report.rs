//! What came of training a classifier: what it learned from, and how it does on unseen texts.
//!
//! In → a model and the texts kept out of its training; out → a [`Report`], as JSON and as words.
//! A threshold is the shortest decimal that keeps exactly the texts it is reported to keep, so
//! that typing it back gives the same. Cost: one prediction a text.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::io;
use crate::fasttext::evaluate::{HeldOut, Point};
use crate::fasttext::{Model, Scratch};

/// What training gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Texts trained on.
    pub positives: u64,
    pub negatives: u64,
    /// Distinct words among them.
    pub words: u32,
    /// Mean loss of each epoch, in nats a text.
    pub losses: Vec<f64>,
    /// On texts kept out; `None` where one side has none.
    pub held_out: Option<HeldOutReport>,
}

/// Figures on texts that the model has not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutReport {
    pub positives: u64,
    pub negatives: u64,
    /// Share of pairs, one text of each side, that the model ranks right.
    pub area_under_curve: f64,
    /// The lowest and the highest probability of the wanted label.
    pub lowest: f64,
    pub highest: f64,
    /// At one half, and at the thresholds that keep the share asked for, of negatives and of all.
    pub points: Vec<ThresholdReport>,
}

/// What a threshold does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdReport {
    pub what: String,
    pub threshold: f64,
    /// Share of wanted texts among those kept.
    pub precision: f64,
    /// Share of the wanted texts that is kept.
    pub recall: f64,
    /// Share of the other texts that is kept.
    pub negatives_kept: f64,
    /// Share of all texts that is kept.
    pub kept: f64,
}

impl Report {
    /// The report that lies at `path`.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what is no report.
    pub fn read(path: &Path) -> Result<Report> {
        serde_json::from_slice(&io::read(path)?).map_err(|error| Error::damaged(path, None, error))
    }
}

/// Measures `model` on texts that are known to be wanted or not, by the probability of the label at
/// `wanted`; `keep` is the share for which thresholds are sought.
pub(super) fn measure(
    model: &Model,
    wanted: u32,
    texts: &[(bool, String)],
    keep: f64,
) -> Option<HeldOutReport> {
    let mut scratch = Scratch::default();
    let mut held_out = HeldOut::default();
    let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
    for (is_wanted, text) in texts {
        let score = model.probability_by_best(text, wanted, &mut scratch);
        (lowest, highest) = (lowest.min(score), highest.max(score));
        held_out.add(score, *is_wanted);
    }
    let point = |what: String, point: Point| ThresholdReport {
        what,
        threshold: point.threshold,
        precision: point.precision,
        recall: point.recall,
        negatives_kept: point.negatives_kept,
        kept: point.kept,
    };
    held_out.report(keep).map(|report| HeldOutReport {
        positives: report.positives,
        negatives: report.negatives,
        area_under_curve: report.area_under_curve,
        lowest,
        highest,
        points: vec![
            point("one half".into(), report.at_half),
            point(format!("keeps {keep} of the negatives"), report.at_share_of_negatives),
            point(format!("keeps {keep} of all"), report.at_share_of_all),
        ],
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { positives, negatives, words, losses, held_out } = self;
        writeln!(f, "trained on {positives} wanted and {negatives} other texts, {words} words")?;
        let losses: Vec<String> = losses.iter().map(|loss| format!("{loss:.4}")).collect();
        write!(f, "loss by epoch: {}", losses.join(", "))?;
        match held_out {
            Some(held_out) => held_out.fmt(f),
            None => write!(f, "\nno text of both kinds was kept out: nothing is measured"),
        }
    }
}

impl fmt::Display for HeldOutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeldOutReport { positives, negatives, area_under_curve, lowest, highest, points } =
            self;
        write!(
            f,
            "\nkept out: {positives} wanted and {negatives} others, area under curve \
             {area_under_curve:.4}, probabilities from {lowest} to {highest}"
        )?;
        for point in points {
            let ThresholdReport { what, threshold, precision, recall, negatives_kept, kept } =
                point;
            write!(
                f,
                "\n  threshold {threshold} ({what}): precision {precision:.3}, recall \
                 {recall:.3}, keeps {:.1}% of the others, {:.1}% of all",
                negatives_kept * 100.0,
                kept * 100.0
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_that_differ_are_printed_so_that_they_differ() {
        let point = |threshold| ThresholdReport {
            what: "one".into(),
            threshold,
            precision: 1.0,
            recall: 1.0,
            negatives_kept: 0.1,
            kept: 0.5,
        };
        let held_out = HeldOutReport {
            positives: 1,
            negatives: 1,
            area_under_curve: 1.0,
            lowest: 0.49,
            highest: 0.51,
            points: vec![point(0.50001), point(0.500013)],
        };
        let report = Report {
            positives: 4,
            negatives: 4,
            words: 9,
            losses: vec![0.7],
            held_out: Some(held_out),
        };
        let text = report.to_string();
        assert!(text.contains("threshold 0.50001 ") && text.contains("threshold 0.500013 "));
        let json = serde_json::to_vec(&report).unwrap();
        assert_eq!(serde_json::from_slice::<Report>(&json).unwrap(), report);
    }
}
