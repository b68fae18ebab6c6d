//! Where a run goes on: the newest checkpoint of which everything is as it was written.
//!
//! In → a run's directory and its manifest; out → [`Recovery`]: the checkpoint to continue from,
//! what the records must hold up to there, and in words whatever is damaged. Nothing is written:
//! a caller that cannot go on leaves everything as it is, and `verify` still names the damage.
//! **Method.** From the newest checkpoint down, each file is held against its hash: those of
//! `hashes.json`, which the manifest of a run that has stopped has the hash of; a checkpoint of an
//! earlier version has those of the manifest alone, and one without any hash is read whole instead.
//! What stands must also fit the run (step, row, shape), and the run's records must reach as far as
//! the checkpoint says. The first one without a fault is taken. **Invariants.** Damage never trains
//! on; a checkpoint is never passed over without a word. **Cost.** One reading of a checkpoint and
//! of the records.

use std::path::Path;

use super::{
    config::TrainConfig,
    layout::{self, CHECKPOINTS, Standing},
    records,
};
use crate::artifact::manifest::{FileEntry, Manifest};
use crate::base::error::{Error, Result};
use crate::report::lines::{Metric, Sample, SourceEval};
use crate::runtime::{
    checkpoint::{self, Checkpoint, Hashes},
    device::Device,
    hashed::FileHash,
};

/// The first version of the stage whose checkpoints hold hashes.
const HASHED_SINCE: u32 = 2;

/// What was found.
#[derive(Default)]
pub struct Recovery {
    /// Where to continue; `None`: at the beginning.
    pub checkpoint: Option<Checkpoint>,
    /// The hashes of the run's records up to the checkpoint; empty where it does not say.
    pub records: Vec<FileHash>,
    /// Checkpoints behind it, which cannot be continued from.
    pub aside: Vec<Checkpoint>,
    /// What is damaged, a sentence each.
    pub damage: Vec<String>,
}

/// The newest checkpoint of `run`, up to step `last`, that can be continued from.
///
/// # Errors
/// Failed: there were checkpoints and none can be used. Nothing was touched then.
pub fn recover(
    run: &Path,
    manifest: &Manifest,
    config: &TrainConfig,
    standing: Option<Standing>,
    last: u64,
) -> Result<Recovery> {
    let mut recovery = Recovery::default();
    let mut standing_here = checkpoint::list(&run.join(CHECKPOINTS))?;
    standing_here.retain(|checkpoint| checkpoint.step <= last);
    let newest = standing_here.last().map_or(0, |checkpoint| checkpoint.step);
    let said = standing.map_or(0, |standing| standing.step).min(last);
    if said > newest {
        let path = run.join(CHECKPOINTS).join(checkpoint::name(said));
        recovery.damage.push(format!("the checkpoint `{}` is missing", path.display()));
    }
    while let Some(candidate) = standing_here.pop() {
        match sound(run, manifest, config, &candidate) {
            Ok(records) => {
                if let Some(damage) = recovery.damage.last_mut() {
                    damage.push_str(&format!("; it goes on after step {}", candidate.step));
                }
                recovery.records = records;
                recovery.checkpoint = Some(candidate);
                return Ok(recovery);
            }
            Err(Error::Io { action, path, source }) => {
                return Err(Error::Io { action, path, source });
            }
            Err(error) => {
                let place = candidate.path.display();
                recovery.damage.push(format!("the checkpoint `{place}` cannot be used: {error}"));
                recovery.aside.push(candidate);
            }
        }
    }
    if recovery.damage.is_empty() {
        return Ok(recovery);
    }
    let message = format!(
        "no checkpoint of `{}` can be continued from:\n  {}",
        run.display(),
        recovery.damage.join("\n  ")
    );
    Err(Error::failed(message).with_hint(
        "nothing was changed: put the named files back from a copy, or begin anew with `--fresh` \
         (the damaged run steps aside)",
    ))
}

/// The hashes that are known of a checkpoint: its own, or those of an earlier version's manifest.
pub fn hashes(run: &Path, manifest: &Manifest, checkpoint: &Checkpoint) -> Result<Hashes> {
    if let Some(hashes) = checkpoint.hashes()? {
        return Ok(hashes);
    }
    if manifest.stage_version >= HASHED_SINCE {
        let path = checkpoint.path.join(checkpoint::HASHES);
        return Err(Error::damaged_artifact(&path, None, "it is missing"));
    }
    let records = manifest.files.iter().filter(|file| !file.name.starts_with(CHECKPOINTS));
    Ok(Hashes {
        files: listed(run, manifest, checkpoint),
        records: records.map(|file| hash_of(&file.name, file)).collect(),
    })
}

/// The hashes of the files of `checkpoint` that the run's manifest lists, which is all of them once
/// the run has stopped.
fn listed(run: &Path, manifest: &Manifest, checkpoint: &Checkpoint) -> Vec<FileHash> {
    let inside = checkpoint.path.strip_prefix(run).unwrap_or(&checkpoint.path);
    let prefix = format!("{}/", inside.display());
    let files = manifest.files.iter();
    files.filter_map(|file| Some(hash_of(file.name.strip_prefix(&prefix)?, file))).collect()
}

fn hash_of(name: &str, file: &FileEntry) -> FileHash {
    FileHash { name: name.to_owned(), bytes: file.bytes, xxh3: file.xxh3 }
}

/// Fails with what is wrong unless the run can continue from `checkpoint`. Returns what the
/// records hold up to there, where a hash says so.
fn sound(
    run: &Path,
    manifest: &Manifest,
    config: &TrainConfig,
    checkpoint: &Checkpoint,
) -> Result<Vec<FileHash>> {
    let hashed = checkpoint.hashes()?.is_some();
    let Hashes { files, records } = hashes(run, manifest, checkpoint)?;
    if files.is_empty() {
        let model = checkpoint.model_in_training(&Device::cpu())?;
        checkpoint.restore(config.build_optimizer(&model)?.as_mut())?;
    } else {
        checkpoint.check(&files)?;
    }
    check_state(config, checkpoint)?;
    let own = listed(run, manifest, checkpoint).into_iter();
    let mut own = own.filter(|file| file.name == checkpoint::HASHES);
    own.try_for_each(|file| file.hold(&checkpoint.path, true))?;
    for record in records.iter().filter(|record| !layout::is_rewritten(&record.name)) {
        record.hold(run, false)?;
    }
    if hashed {
        return Ok(records);
    }
    check_records(run, checkpoint.step)?;
    Ok(Vec::new())
}

/// Checks that the state is that of this step of this run.
fn check_state(config: &TrainConfig, checkpoint: &Checkpoint) -> Result<()> {
    let (state, train) = (checkpoint.state()?, &config.train);
    let rows = train.step_rows().before(checkpoint.step);
    let facts = [
        ("step", checkpoint.step, state.step),
        ("next_row", rows, state.next_row),
        ("tokens_seen", rows * train.sequence as u64, state.tokens_seen),
    ];
    let damaged = |message: String| {
        Err(Error::damaged_artifact(&checkpoint.path.join(checkpoint::STATE), None, message))
    };
    if let Some((name, expected, found)) = facts.iter().find(|(_, left, right)| left != right) {
        return damaged(format!("`{name}` must be {expected} here, found {found}"));
    }
    if state.model != config.model {
        return damaged("its model has another shape than the run's".to_owned());
    }
    Ok(())
}

/// `metrics.jsonl` has the steps 1 to `step`, each once; the other records are readable.
fn check_records(run: &Path, step: u64) -> Result<()> {
    records::read_until::<SourceEval>(&run.join(layout::EVALS), step)?;
    records::read_until::<Sample>(&run.join(layout::SAMPLES), step)?;
    let path = run.join(layout::METRICS);
    let metrics: Vec<Metric> = records::read_until(&path, step)?;
    let found = metrics.iter().zip(1..).take_while(|(metric, step)| metric.step == *step).count();
    if found as u64 == step {
        return Ok(());
    }
    let message = format!("expected the steps 1 to {step}, found 1 to {found}");
    Err(Error::damaged_artifact(&path, None, message))
}
