//! `--verify`: the last stretch of a run, trained again and held against what it wrote.
//!
//! In → a run that stands; out → the steps that were replayed, or the first thing that differs.
//! **Method.** From the checkpoint before the newest sound one (from the beginning where there is
//! none) the same steps are taken over the same rows. Each must come to the line that
//! `metrics.jsonl` has of it, and the last one to the newest checkpoint's files of tensors, byte by
//! byte: parameters, moments, average. Nothing is written. **Cost.** The stretch's steps.

use std::path::Path;

use serde_json::Value;

use super::{
    config::{Steps, TrainConfig},
    directory::RunDirectory,
    feed::MixFeed,
    layout,
    learner::{Beginning, Learner},
    origin::BRANCHED_FROM,
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

/// The first version of the stage whose steps come out as this one's, to the bit: versions 1 and 2
/// trained the rows that pad the vocabulary too, those before 5 summed products in another order,
/// and 5 the parts of a gradient. The test below holds it against the bits of a step.
const SAME_SINCE: u32 = 6;

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

/// Trains the last stretch of the run in `directory` again and compares; `initial`: the parameters
/// that it began with, where they were given. Gives what there is to say.
///
/// # Errors
/// Those of [`Stretch::replay`]; Config: the run has no checkpoint.
pub fn verify(
    directory: &RunDirectory,
    initial: Option<&Model>,
    device: &Device,
    feed: &mut MixFeed,
    progress: &Progress,
) -> Result<String> {
    let Some(newest) = directory.checkpoint() else {
        let message = format!("`{}` has no checkpoint to verify", directory.path.display());
        return Err(Error::config(message).with_hint("`--verify` is for a run that stands"));
    };
    let stretch = Stretch {
        run: &directory.path,
        manifest: directory.manifest(),
        config: &directory.config,
        newest,
        initial,
    };
    let from = stretch.replay(device, feed, progress)?;
    Ok(format!(
        "verified: the steps {} to {} come out again, bit for bit",
        Count((from + 1).min(newest.step)),
        Count(newest.step)
    ))
}

impl Stretch<'_> {
    /// Trains the stretch again. Returns the step that it began after.
    ///
    /// # Errors
    /// Config: the stretch is not this run's own, or of a version that computed otherwise. Failed:
    /// a step or the checkpoint comes out otherwise; the earlier checkpoint is damaged.
    pub fn replay(&self, device: &Device, feed: &mut MixFeed, progress: &Progress) -> Result<u64> {
        let Stretch { run, manifest, config, newest, initial } = *self;
        let Some(last) = newest.step.checked_sub(1) else { return Ok(0) };
        let Steps::Number(steps) = config.train.steps else { panic!("steps of a run are numbers") };
        let before = recovery::recover(run, manifest, config, None, last)?.checkpoint;
        self.check_beginning(before.as_ref())?;
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

    /// Fails unless the stretch after `before` can come out again here.
    fn check_beginning(&self, before: Option<&Checkpoint>) -> Result<()> {
        let Stretch { manifest, initial, .. } = *self;
        let start = before.map_or(0, |checkpoint| checkpoint.step);
        let branched = manifest.extra.get(BRANCHED_FROM);
        let branched = branched.and_then(|facts| facts.get("step")).and_then(Value::as_u64);
        let began_elsewhere = before.is_none() && initial.is_none() && manifest.inputs.len() > 1;
        let (what, hint) = match branched {
            _ if manifest.stage_version < SAME_SINCE => (
                format!("version {} of `train` computed otherwise", manifest.stage_version),
                "runs of this version can be verified",
            ),
            Some(step) if start < step => (
                format!("the stretch began before the run branched off after step {}", Count(step)),
                "verify the run that it is a branch of, or train on to the next checkpoint first",
            ),
            _ if began_elsewhere => (
                "the stretch began with the parameters of another model".to_owned(),
                "name that model with `--init-from` again",
            ),
            _ => return Ok(()),
        };
        let run = self.run.display();
        Err(Error::config(format!("cannot train the last stretch of `{run}` again: {what}"))
            .with_hint(hint))
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

#[cfg(test)]
mod tests {
    use super::SAME_SINCE;
    use crate::runtime::{
        data::Batch,
        device::{Device, Numerics},
        model::{Model, ModelConfig},
        optim::{
            Optimizer,
            adamw::{AdamW, AdamWConfig},
            clip::clip,
        },
        step::gradients,
    };

    /// Rows that are long enough for two blocks of attention and two chunks of the head.
    fn batch() -> Batch {
        let tokens: Vec<u32> = (0..321).map(|i| (i * i * 7 % 301) as u32).collect();
        let mut batch = Batch::single_document(tokens[..320].to_vec(), tokens[1..].to_vec());
        (batch.rows, batch.sequence) = (2, 160);
        batch.positions = (0..320).map(|at| at % 160).collect();
        batch
    }

    #[test]
    fn steps_that_come_out_otherwise_are_of_a_new_version() {
        let device = Device::cpu();
        if !Numerics::of(&device).matmul.contains("fused multiply-add") {
            return; // sums of another library
        }
        // Inner dimensions of products above and below a block of them.
        let config = ModelConfig {
            vocab_size: 301,
            d_model: 32,
            n_layer: 2,
            n_head: 4,
            n_kv_head: 2,
            d_ff: 600,
            ..ModelConfig::default()
        };
        let model = Model::new(&config, 1, &device).unwrap();
        let mut optimizer = AdamW::new(model.parameters(), &AdamWConfig::default()).unwrap();
        for _ in 0..2 {
            let mut step = gradients(&model, &batch(), 2).unwrap();
            clip(&mut step.gradients, 1.0).unwrap();
            optimizer.step(&step.gradients, 1e-2).unwrap();
        }
        let found = model.parameters().xxh3().unwrap().to_string();
        let hint = "raise SAME_SINCE and the stage's version with the bits of a step";
        assert_eq!((SAME_SINCE, found.as_str()), (6, "9a62c2861601cf98885e6bb835f48d54"), "{hint}");
    }
}
