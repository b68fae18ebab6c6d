//! How well a classifier tells two kinds of texts apart, on texts it was not trained on.
//!
//! In → scores of held-out texts of both kinds; out → precision, recall, area under the ROC curve,
//! and the threshold that keeps a wanted share ([`HeldOut::report`]). A threshold keeps what scores
//! at least as much (DCLM's and datatrove's `>=`); texts of equal scores are kept or left together,
//! so the share really kept is reported beside the threshold. A threshold is the shortest decimal
//! that keeps the same texts, so that it can be typed.
//! Invariants: a report depends on the set of scores, not on their order. Cost: a sort.

use crate::base::rng::hash;

/// Whether a text is held out of training: a share of all texts, chosen by their bytes.
pub fn is_held_out(text: &str, share: f64, seed: u64) -> bool {
    let draw = hash(seed, "classifier held out", &[text.as_bytes()]) >> 11;
    (draw as f64 / (1u64 << 53) as f64) < share
}

/// Scores of held-out texts.
#[derive(Clone, Debug, Default)]
pub struct HeldOut {
    positives: Vec<f64>,
    negatives: Vec<f64>,
}

/// What one threshold does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Texts that score at least this are kept.
    pub threshold: f64,
    /// Share of positives among what is kept; 1 if nothing is.
    pub precision: f64,
    /// Share of the positives that is kept.
    pub recall: f64,
    /// Share of the negatives that is kept.
    pub negatives_kept: f64,
    /// Share of all that is kept.
    pub kept: f64,
}

/// How a classifier did on the held-out texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    pub positives: u64,
    pub negatives: u64,
    /// The probability that a positive scores higher than a negative, ties half.
    pub area_under_curve: f64,
    /// Where the positive label is the likelier one.
    pub at_half: Point,
    /// Where the wanted share of the negatives is kept: for negatives that are a sample of the
    /// corpus to be filtered, the share of that corpus (so DCLM's threshold keeps a tenth).
    pub at_share_of_negatives: Point,
    /// Where the wanted share of all held-out texts is kept.
    pub at_share_of_all: Point,
}

impl HeldOut {
    /// Adds the score of one text.
    pub fn add(&mut self, score: f64, is_positive: bool) {
        if is_positive { &mut self.positives } else { &mut self.negatives }.push(score);
    }

    /// The report, for a wanted share in (0, 1]; `None` unless there are texts of both kinds.
    pub fn report(mut self, share: f64) -> Option<Report> {
        if self.positives.is_empty() || self.negatives.is_empty() {
            return None;
        }
        self.positives.sort_by(|left, right| right.total_cmp(left));
        self.negatives.sort_by(|left, right| right.total_cmp(left));
        let mut all = [&self.positives[..], &self.negatives].concat();
        all.sort_by(|left, right| right.total_cmp(left));
        let shortest =
            |falling: &[f64]| shortest_threshold(&all, threshold_for_share(falling, share));
        Some(Report {
            positives: self.positives.len() as u64,
            negatives: self.negatives.len() as u64,
            area_under_curve: self.area_under_curve(),
            at_half: self.point(0.5),
            at_share_of_negatives: self.point(shortest(&self.negatives)),
            at_share_of_all: self.point(shortest(&all)),
        })
    }

    fn point(&self, threshold: f64) -> Point {
        let kept = |scores: &[f64]| scores.partition_point(|&score| score >= threshold) as f64;
        let (positives, negatives) = (self.positives.len() as f64, self.negatives.len() as f64);
        let (right, wrong) = (kept(&self.positives), kept(&self.negatives));
        Point {
            threshold,
            precision: if right + wrong == 0.0 { 1.0 } else { right / (right + wrong) },
            recall: right / positives,
            negatives_kept: wrong / negatives,
            kept: (right + wrong) / (positives + negatives),
        }
    }

    fn area_under_curve(&self) -> f64 {
        let mut beaten = 0.0;
        for &score in &self.positives {
            let above = self.negatives.partition_point(|&negative| negative > score);
            let at_least = self.negatives.partition_point(|&negative| negative >= score);
            beaten += (self.negatives.len() - at_least) as f64 + (at_least - above) as f64 / 2.0;
        }
        beaten / (self.positives.len() as f64 * self.negatives.len() as f64)
    }
}

/// The threshold that keeps the wanted share of some scores, which fall; at least one is kept.
fn threshold_for_share(falling: &[f64], share: f64) -> f64 {
    let wanted = (falling.len() as f64 * share).round() as usize;
    falling[wanted.clamp(1, falling.len()) - 1]
}

/// The shortest decimal that keeps the same of some falling scores as their element `threshold`
/// does: at most that score, and above the next lower one.
fn shortest_threshold(falling: &[f64], threshold: f64) -> f64 {
    /// So many decimals tell any two probabilities of 1e-4 or more apart.
    const DECIMALS_MAX: usize = 20;
    let below = falling[falling.partition_point(|&score| score >= threshold)..].first();
    let below = below.copied().unwrap_or(0.0);
    let keeps_the_same = |decimal: &f64| *decimal <= threshold && *decimal > below;
    let rounded = |decimals: usize| {
        let nearest: f64 = format!("{threshold:.decimals$}").parse().ok()?;
        let step: f64 = format!("1e-{decimals}").parse().ok()?;
        let lower: f64 = format!("{:.decimals$}", nearest - step).parse().ok()?;
        [nearest, lower].into_iter().find(keeps_the_same)
    };
    (1..=DECIMALS_MAX).find_map(rounded).unwrap_or(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_as_short_as_keeps_the_same_texts() {
        let falling = [0.500037, 0.500031, 0.50003, 0.2];
        assert_eq!(shortest_threshold(&falling, 0.500037), 0.500037);
        assert_eq!(shortest_threshold(&falling, 0.500031), 0.500031);
        assert_eq!(shortest_threshold(&falling, 0.50003), 0.5);
        assert_eq!(shortest_threshold(&falling, 0.2), 0.2);
        assert_eq!(shortest_threshold(&[0.0], 0.0), 0.0);
    }

    #[test]
    fn a_report_counts_what_each_threshold_keeps() {
        let mut held_out = HeldOut::default();
        for score in [0.2, 0.9, 0.8, 0.7] {
            held_out.add(score, true);
        }
        for score in [0.1, 0.6, 0.7, 0.0] {
            held_out.add(score, false);
        }
        let report = held_out.report(0.25).expect("both kinds");
        let expected = Point {
            threshold: 0.5,
            precision: 0.6,
            recall: 0.75,
            negatives_kept: 0.5,
            kept: 5.0 / 8.0,
        };
        assert_eq!(report.at_half, expected);
        assert_eq!(report.at_share_of_negatives.threshold, 0.7);
        assert_eq!(report.at_share_of_all.threshold, 0.8);
        // Of 16 pairs 13 are in order, of which one is a tie.
        assert_eq!(report.area_under_curve, 13.5 / 16.0);
    }

    #[test]
    fn one_kind_alone_makes_no_report() {
        let mut held_out = HeldOut::default();
        held_out.add(0.5, true);
        assert_eq!(held_out.report(0.1), None);
    }

    #[test]
    fn a_share_of_texts_is_held_out_whatever_their_order() {
        let held_out = (0..10_000).filter(|index| is_held_out(&index.to_string(), 0.1, 3)).count();
        assert!((900..1100).contains(&held_out), "{held_out}");
        assert!(!is_held_out("x", 0.0, 0) && is_held_out("x", 1.0, 0));
    }
}
