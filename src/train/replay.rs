//! `--verify`: the last stretch of a run, trained again and held against what it wrote.
//!
//! In → a run that stands; out → the steps that were replayed, or the first thing that differs.
//! **Method.** From the checkpoint before the newest sound one (from the beginning where there is
//! none) the same steps are taken over the same rows. Each must come to the line that
//! `metrics.jsonl` has of it, and the last one to the newest checkpoint's files of tensors, byte by
//! byte: parameters, moments, average. Nothing is written. **Cost.** The stretch's steps.

use std::path::Path;

use super::{
    config::{Steps, TrainConfig},
    feed::MixFeed,
    layout,
    learner::{Beginning, Learner},
    recovery,
};
use crate::artifact::manifest::Manifest;
use crate::base::{
    error::{Error, Result},
    io,
    progress::Progress,
    size::Count,
};
use crate::runtime::{
    checkpoint::{self, Checkpoint},
    device::Device,
    model::Model,
};

/// A run as its directory has it.
pub struct Stretch<'a> {
    /// The run, its manifest and configuration.
    pub run: &'a Path,
    pub manifest: &'a Manifest,
    pub config: &'a TrainConfig,
    /// The checkpoint to come to.
    pub newest: &'a Checkpoint,
    /// The parameters that the run began with, where they were given.
    pub initial: Option<&'a Model>,
}

impl Stretch<'_> {
    /// Trains the stretch again. Returns the step that it began after.
    ///
    /// # Errors
    /// Failed: a step or the checkpoint comes out otherwise; the earlier checkpoint is damaged.
    pub fn replay(&self, device: &Device, feed: &mut MixFeed, progress: &Progress) -> Result<u64> {
        let Stretch { run, manifest, config, newest, initial } = *self;
        let Some(last) = newest.step.checked_sub(1) else { return Ok(0) };
        let Steps::Number(steps) = config.train.steps else { panic!("steps of a run are numbers") };
        let before = recovery::recover(run, manifest, config, None, last)?.checkpoint;
        let beginning = match (&before, initial) {
            (Some(checkpoint), _) => Beginning::Checkpoint(checkpoint),
            (None, Some(weights)) => Beginning::Weights(weights),
            (None, None) => Beginning::Fresh,
        };
        let mut learner = Learner::open(config, beginning, device)?;
        let from = learner.state.step;
        let written = io::read_text(&run.join(layout::METRICS))?;
        progress.begin_steps_at("replay", newest.step, from);
        // `metrics.jsonl` has a line a step, which `recovery` has held against its hash.
        for expected in written.lines().take(newest.step as usize).skip(from as usize) {
            let metric = learner.take_step(feed, &config.train, steps)?.metric;
            progress.advance(1);
            let found = serde_json::to_string(&metric).expect("plain numbers");
            if found != expected {
                let what = format!(
                    "step {} is {found}, `{}` says {expected}",
                    Count(metric.step),
                    layout::METRICS
                );
                return Err(self.differs(&learner, what));
            }
        }
        progress.end();
        let hashes = recovery::hashes(run, manifest, newest)?.files;
        let (optimizer, average) = (learner.optimizer.as_ref(), learner.average.as_ref());
        for found in checkpoint::tensor_hashes(&learner.model, optimizer, average)? {
            let expected = hashes.iter().find(|file| file.name == found.name);
            if expected != Some(&found) {
                let place = newest.path.join(&found.name);
                return Err(self.differs(&learner, format!("`{}` differs", place.display())));
            }
        }
        Ok(from)
    }

    fn differs(&self, learner: &Learner, what: String) -> Error {
        let error = Error::failed(format!("the replay comes out otherwise: {what}"));
        error.with_hint(match learner.numerics_differences.is_empty() {
            true => "this machine computed otherwise then or computes otherwise now: its memory \
                     may be faulty; `--from-step` goes back to an earlier checkpoint"
                .to_owned(),
            false => format!(
                "the machine is not the one that trained: {}",
                learner.numerics_differences.join("; ")
            ),
        })
    }
}
