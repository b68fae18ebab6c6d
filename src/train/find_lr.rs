//! `--find-lr`: a range test of the learning rate, with its curve.
//!
//! In → a configuration and its mix; out → [`RangeTest`]. **Method.** Smith, *Cyclical learning
//! rates for training neural networks*, 2017, as fastai's `lr_find` does it: a fresh model takes up
//! to [`STEPS`] steps over the mix's first batches while the rate grows by equal factors from
//! [`LOWEST`] to [`HIGHEST`]; losses are smoothed (0.9, without bias); the test ends where the
//! smoothed loss is four times its lowest or no number. Batches and rows are whole from the first
//! step on, whatever warms up. **Suggestion.** A tenth of the rate with
//! the lowest smoothed loss, which is what a warm-up may lead to. It is a place to start a sweep
//! from, no answer: the rate that is best over a whole run is often a factor of two away. Writes
//! nothing. **Cost.** So many steps; the rows repeat where the mix has fewer.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{
    learner::{Beginning, Learner},
    plan::{self, Prepared, TrainOptions},
};
use crate::base::{config::Table, error::Result, html::put, interrupt, progress::Progress};
use crate::runtime::optim::schedule::Curve;

/// Steps of a test at most, and the rates that they go through.
const STEPS: u64 = 100;
const LOWEST: f64 = 1e-6;
const HIGHEST: f64 = 1.0;
/// Weight of what came before in the smoothed loss.
const SMOOTHING: f64 = 0.9;
/// The test ends where the smoothed loss is so many times its lowest.
const FAR: f64 = 4.0;
/// The suggestion, as a share of the rate with the lowest smoothed loss.
const SHARE: f64 = 0.1;

/// One rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The rate of the step.
    pub learning_rate: f64,
    /// The loss before it, nats a token.
    pub loss: f64,
    /// The same, smoothed over the steps so far.
    pub smoothed: f64,
}

/// What a test came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangeTest {
    /// By rising rate.
    pub points: Vec<Point>,
    /// The rate with the lowest smoothed loss.
    pub lowest: f64,
    /// The rate to start from.
    pub suggestion: f64,
    /// `train.learning_rate` as it is.
    pub configured: f64,
}

/// Tests the rates for `table`'s model on the mix in directory `mix`.
///
/// # Errors
/// Config: what `train` refuses. Failed: the first step cannot be right.
pub fn find_lr(
    table: Table,
    mix: &Path,
    options: &TrainOptions,
    progress: &Progress,
) -> Result<RangeTest> {
    let mut prepared = plan::prepare(table, mix, None, options)?;
    plan::in_pool(options, || test(&mut prepared, progress))
}

fn test(prepared: &mut Prepared, progress: &Progress) -> Result<RangeTest> {
    let Prepared { config, device, feed, origin, .. } = prepared;
    let beginning = origin.initial.as_ref().map_or(Beginning::Fresh, Beginning::Weights);
    let mut learner = Learner::open(config, beginning, device)?;
    // Every rate is tried on the same amount of text: losses of small batches scatter more.
    let mut settings = config.train.whole(feed.row_count());
    (settings.schedule, settings.warmup_steps, settings.spike_skip) = (Curve::Constant, 0, 0.0);
    let batch = settings.rows_per_step() as u64;
    let batches = (feed.row_count() / batch).min(STEPS);
    progress.begin_steps("learning rates", STEPS);
    let mut points: Vec<Point> = Vec::new();
    let (mut mean, mut weight, mut lowest) = (0.0, 1.0, f64::INFINITY);
    for step in 0..STEPS {
        interrupt::check_end()?;
        let share = step as f64 / (STEPS - 1) as f64;
        settings.learning_rate = LOWEST * libm::pow(HIGHEST / LOWEST, share);
        learner.state.next_row = step % batches * batch;
        let taken = learner.take_step(feed, &settings, STEPS);
        // A rate at which the loss is no finite number ends the test.
        let (loss, is_first) = match taken {
            Ok(taken) => (taken.metric.loss, step == 0),
            Err(error) if step == 0 => return Err(error),
            Err(_) => break,
        };
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss;
        weight *= SMOOTHING;
        let smoothed = mean / (1.0 - weight);
        lowest = if is_first { smoothed } else { smoothed.min(lowest) };
        points.push(Point { learning_rate: settings.learning_rate, loss, smoothed });
        progress.advance(1);
        if smoothed > FAR * lowest {
            break;
        }
    }
    progress.end();
    let best = points.iter().min_by(|a, b| a.smoothed.total_cmp(&b.smoothed));
    let lowest = best.map_or(LOWEST, |point| point.learning_rate);
    let configured = config.train.learning_rate;
    Ok(RangeTest { points, lowest, suggestion: lowest * SHARE, configured })
}

/// Bars of the printed curve, and the width of the longest.
const BARS: usize = 25;
const WIDTH: f64 = 50.0;

impl fmt::Display for RangeTest {
    /// The smoothed loss by rate as bars, then the suggestion.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let losses = self.points.iter().map(|point| point.smoothed);
        let (low, high) =
            losses.fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(x), high.max(x)));
        writeln!(f, "  {:>13} {:>9}", "learning rate", "loss")?;
        for points in self.points.chunks(self.points.len().div_ceil(BARS).max(1)) {
            let Point { learning_rate, smoothed, .. } = points[points.len() / 2];
            let length = (smoothed - low) / (high - low).max(1e-9) * WIDTH;
            let bar = "█".repeat(length.round() as usize + 1);
            writeln!(f, "  {learning_rate:>13.2e} {smoothed:>9.3} {bar}")?;
        }
        writeln!(
            f,
            "\n  the loss is lowest at {:.2e}; a rate to start from: {:.1e} (a tenth of it; \
             `train.learning_rate` is {})",
            self.lowest, self.suggestion, self.configured
        )
    }
}

/// Size of the drawing, and the room left for its labels, in SVG units.
const DRAWING: (f64, f64) = (720.0, 320.0);
const MARGIN: f64 = 48.0;

impl RangeTest {
    /// The curve as a drawing that stands alone: rates by their logarithm, losses as they are.
    pub fn svg(&self) -> String {
        let (width, height) = DRAWING;
        let losses = self.points.iter().map(|point| point.smoothed);
        let (low, high) =
            losses.fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(x), high.max(x)));
        let span = libm::log(HIGHEST / LOWEST);
        let x = |rate: f64| MARGIN + libm::log(rate / LOWEST) / span * (width - 2.0 * MARGIN);
        let y = |loss: f64| {
            MARGIN / 2.0 + (high - loss) / (high - low).max(1e-9) * (height - 2.0 * MARGIN)
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n"
        );
        for power in -6..=0 {
            let (at, floor) = (x(libm::pow(10.0, f64::from(power))), height - MARGIN / 2.0);
            let label = format!("1e{power}");
            put(
                &mut svg,
                format_args!(
                    "<text x=\"{at:.1}\" y=\"{floor:.1}\" text-anchor=\"middle\">{label}</text>\n"
                ),
            );
        }
        for loss in [low, high] {
            let at = y(loss) + 4.0;
            put(&mut svg, format_args!("<text x=\"4\" y=\"{at:.1}\">{loss:.2}</text>\n"));
        }
        let at = x(self.suggestion.max(LOWEST));
        let floor = height - MARGIN;
        put(
            &mut svg,
            format_args!(
                "<path d=\"M{at:.1} {:.1}V{floor:.1}\" stroke=\"#c52424\" stroke-dasharray=\"4\"/>\
                 \n<path fill=\"none\" stroke=\"#2457c5\" stroke-width=\"1.5\" d=\"",
                MARGIN / 2.0
            ),
        );
        for (index, point) in self.points.iter().enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            let (x, y) = (x(point.learning_rate), y(point.smoothed));
            put(&mut svg, format_args!("{letter}{x:.1} {y:.1}"));
        }
        svg.push_str("\"/>\n</svg>\n");
        svg
    }
}
