//! Makes a quality classifier of texts that are wanted and texts that are not.
//!
//! Two sets of inputs in → a fastText model and a [`Report`]: how well it does on texts that were
//! kept out of training, and the threshold that keeps a wanted share. Method: fastText's supervised
//! model with DCLM's settings (word pairs; arXiv 2406.11794, 4.4), as [`crate::fasttext::train`]
//! makes it; texts are kept out by a hash of their bytes. The lines of a text are joined by spaces,
//! as DCLM's filter does before it asks. Invariant: the model depends on texts, their order and the
//! settings. Memory: 4 bytes a word of the texts, the texts kept out, and the model.

use std::fmt;
use std::ops::ControlFlow;

use serde::Serialize;

use crate::artifact::counts::Counts;
use crate::base::error::{Error, Result};
use crate::base::interrupt;
use crate::base::progress::Progress;
use crate::fasttext::evaluate::{self, HeldOut, Point};
use crate::fasttext::train::{TrainSettings, Trainer};
use crate::fasttext::{Lines, Model, Scratch};
use crate::source::{Batch, Columns, Inputs};

/// The labels, as DCLM's model has them.
pub const POSITIVE: &str = "hq";
const NEGATIVE: &str = "cc";

/// How to train and to measure.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub train: TrainSettings,
    /// Share of the texts kept out of training.
    pub held_out: f64,
    /// Share of the pool that a threshold should keep.
    pub keep: f64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Texts trained on.
    pub positives: u64,
    pub negatives: u64,
    pub words: u32,
    /// Mean loss of each epoch.
    pub losses: Vec<f64>,
    /// On texts kept out; `None` where one side has none.
    pub held_out: Option<HeldOutReport>,
}

/// Figures on texts that the model has not seen.
#[derive(Clone, Debug, Serialize)]
pub struct HeldOutReport {
    pub positives: u64,
    pub negatives: u64,
    /// The share of pairs of one text each that stand in the right order.
    pub area_under_curve: f64,
    /// At each threshold: one half, and those that keep the wanted share of negatives and of all.
    pub points: Vec<ThresholdReport>,
}

/// What a threshold does.
#[derive(Clone, Debug, Serialize)]
pub struct ThresholdReport {
    pub what: String,
    pub threshold: f64,
    pub precision: f64,
    pub recall: f64,
    pub negatives_kept: f64,
    pub kept: f64,
}

/// Trains on `positive` against `negative`; resources are threads and bytes of memory for reading.
///
/// # Errors
/// Whatever reading gives; a side without texts.
pub fn train(
    positive: &Inputs,
    negative: &Inputs,
    settings: &Settings,
    resources: (usize, u64),
    progress: &Progress,
) -> Result<(Model, Report)> {
    let mut trainer = Trainer::new(&[POSITIVE, NEGATIVE], settings.train)?;
    let mut kept_out: Vec<(bool, String)> = Vec::new();
    for (label, inputs) in [(0, positive), (1, negative)] {
        progress.begin("read", inputs.text_bytes());
        let sink = |batch: Batch| {
            for (text, held_out) in batch.texts().iter().zip(batch.held_out()) {
                let text = Lines::Joined.apply(text.unwrap_or_default());
                let (share, seed) = (settings.held_out, settings.train.seed);
                // What is held out for validation trains nothing, here as elsewhere.
                if held_out == Some(true) || evaluate::is_held_out(&text, share, seed) {
                    kept_out.push((label == 0, text.into_owned()));
                } else {
                    trainer.add(&text, label)?;
                }
            }
            Ok(())
        };
        let read = inputs.survey(Columns::Text, resources, progress, Ok, sink);
        progress.end();
        refuse_unreadable(&read?)?;
    }
    const PARTS: u64 = 1000;
    progress.begin_steps("train", PARTS);
    let mut told = 0;
    let trained = trainer.train(|share| {
        let now = (share * PARTS as f64) as u64;
        progress.advance(now.saturating_sub(told));
        told = told.max(now);
        if interrupt::check().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    progress.end();
    let (model, trained) = trained?;
    let held_out = measure(&model, &kept_out, settings.keep)?;
    let (positives, negatives) = (trained.texts[0], trained.texts[1]);
    let (words, losses) = (trained.words, trained.losses);
    Ok((model, Report { positives, negatives, words, losses, held_out }))
}

/// As a stage does: more than a hundred unreadable documents, and more than 1% of a source, fail.
fn refuse_unreadable(counts: &Counts) -> Result<()> {
    for (name, source) in &counts.sources {
        let (rejected, documents) = (source.rejected_total(), source.documents_in);
        if rejected > 0 && (rejected == documents || (rejected > 100 && rejected * 100 > documents))
        {
            let message =
                format!("source `{name}`: {rejected} of {documents} documents could not be read");
            return Err(Error::failed(message).with_hint("`dataprep ingest` lists them"));
        }
    }
    Ok(())
}

fn measure(model: &Model, texts: &[(bool, String)], keep: f64) -> Result<Option<HeldOutReport>> {
    let label = model.label(POSITIVE).ok_or_else(|| Error::failed("the model lost its label"))?;
    let mut scratch = Scratch::default();
    let mut held_out = HeldOut::default();
    for (is_positive, text) in texts {
        held_out.add(model.probability_by_best(text, label, &mut scratch), *is_positive);
    }
    let point = |what: String, point: Point| ThresholdReport {
        what,
        threshold: point.threshold,
        precision: point.precision,
        recall: point.recall,
        negatives_kept: point.negatives_kept,
        kept: point.kept,
    };
    Ok(held_out.report(keep).map(|report| HeldOutReport {
        positives: report.positives,
        negatives: report.negatives,
        area_under_curve: report.area_under_curve,
        points: vec![
            point("one half".into(), report.at_half),
            point(format!("keeps {keep} of the negatives"), report.at_share_of_negatives),
            point(format!("keeps {keep} of all"), report.at_share_of_all),
        ],
    }))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { positives, negatives, words, losses, held_out } = self;
        writeln!(f, "trained on {positives} wanted and {negatives} other texts, {words} words")?;
        let losses: Vec<String> = losses.iter().map(|loss| format!("{loss:.4}")).collect();
        write!(f, "loss by epoch: {}", losses.join(", "))?;
        let Some(held_out) = held_out else {
            return write!(f, "\nno text of both kinds was kept out: nothing is measured");
        };
        let HeldOutReport { positives, negatives, area_under_curve, points } = held_out;
        write!(
            f,
            "\nkept out: {positives} and {negatives}, area under curve {area_under_curve:.4}"
        )?;
        for point in points {
            let ThresholdReport { what, threshold, precision, recall, negatives_kept, kept } =
                point;
            write!(
                f,
                "\n  threshold {threshold:.4} ({what}): precision {precision:.3}, recall \
                 {recall:.3}, keeps {:.1}% of the others, {:.1}% of all",
                negatives_kept * 100.0,
                kept * 100.0
            )?;
        }
        Ok(())
    }
}
