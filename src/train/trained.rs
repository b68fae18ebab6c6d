//! A trained model, wherever it lies: in a run, in one of its checkpoints, in Hugging Face's form.
//!
//! In → a path; out → [`Trained`]: the model, its tokenizer, the tokens that open and end a text.
//! **Rules.** A run is read by its latest checkpoint, or the one of a step; every file is held
//! against its hash first. A damaged checkpoint is named, and the one before it taken unless one
//! was asked for. A checkpoint that was copied out of its run is a directory in Hugging Face's
//! form, like an export, and so is a model of other tools. **Cost.** One reading of the weights,
//! and one more of a run's files for their hashes.

use std::path::{Path, PathBuf};

use super::{layout, recovery};
use crate::artifact::manifest::Manifest;
use crate::base::error::{Error, Result};
use crate::runtime::{
    checkpoint::{self, Checkpoint, Hashes},
    device::Device,
    model::Model,
    pretrained,
};
use crate::tokenizer::Tokenizer;

/// A model that was read whole.
pub struct Trained {
    /// The decoder.
    pub model: Model,
    /// Its vocabulary.
    pub tokenizer: Tokenizer,
    /// The token that every text begins with; `None`: texts begin with their own first token.
    pub opener: Option<u32>,
    /// The tokens that end a text.
    pub ends: Vec<u32>,
    /// The longest text that it was trained on, in tokens.
    pub context: usize,
    /// The step of a run's checkpoint.
    pub step: Option<u64>,
}

impl Trained {
    /// Reads the model at `path`: a run (`step`: which checkpoint), a checkpoint, or a directory in
    /// Hugging Face's form. `warn` is told of damage that was passed over.
    ///
    /// # Errors
    /// Config: no model there, no checkpoint of that step, a model that ours cannot hold. Damaged:
    /// the checkpoint that was named.
    pub fn open(
        path: &Path,
        step: Option<u64>,
        device: &Device,
        warn: &dyn Fn(&str),
    ) -> Result<Trained> {
        if pretrained::stands_in(path) && !is_in_a_run(path) {
            if step.is_some() {
                let message = format!("`{}` is one model and has no steps", path.display());
                return Err(Error::config(message).with_hint("leave `--step` out"));
            }
            return of_others(path, device);
        }
        let (root, candidates) = find_checkpoints(path, step)?;
        let manifest = layout::read_manifest(&root)?;
        let (checkpoint, model) = load(&root, &manifest, candidates, device, warn)?;
        let tokenizer = Tokenizer::open(&root.join(layout::TOKENIZER))?;
        let end_of_text = layout::end_of_text(&root, &manifest, &tokenizer)?;
        Ok(Trained {
            model,
            tokenizer,
            opener: Some(end_of_text),
            ends: vec![end_of_text],
            context: layout::context(&root, &manifest)?,
            step: Some(checkpoint.step),
        })
    }
}

/// Whether `path` is a checkpoint in its run.
fn is_in_a_run(path: &Path) -> bool {
    layout::of_checkpoint(path).is_some_and(|(run, _)| Manifest::stands_in(&run))
}

/// A model in Hugging Face's form.
fn of_others(path: &Path, device: &Device) -> Result<Trained> {
    let pretrained = pretrained::open(path, device)?;
    let tokenizer = Tokenizer::open(&pretrained.tokenizer)?;
    let description = pretrained.description;
    let ends = match (description.ends, tokenizer.end_of_text(None)?) {
        (ends, Some((_, end))) if ends.is_empty() => vec![end],
        (ends, _) => ends,
    };
    Ok(Trained {
        model: pretrained.model,
        opener: tokenizer.opener(),
        tokenizer,
        ends,
        context: description.context,
        step: None,
    })
}

/// Where a run's model lies, without its numbers.
pub struct Located {
    /// The run.
    pub run: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// The checkpoint that was meant.
    pub checkpoint: Checkpoint,
    /// The hashes that the checkpoint holds.
    pub hashes: Hashes,
}

impl Located {
    /// Looks for the model of a run (`step`: which checkpoint; the latest) or of a checkpoint.
    ///
    /// # Errors
    /// Config: no run, no such checkpoint. Damaged: its manifest, its hashes.
    pub fn find(path: &Path, step: Option<u64>) -> Result<Located> {
        let (run, candidates) = find_checkpoints(path, step)?;
        let manifest = layout::read_manifest(&run)?;
        let checkpoint = candidates.into_iter().next().expect("an empty list is an error");
        let hashes = recovery::hashes(&run, &manifest, &checkpoint)?;
        Ok(Located { run, manifest, checkpoint, hashes })
    }
}

/// The first of `candidates` (the newest first) that can be read.
fn load(
    run: &Path,
    manifest: &Manifest,
    candidates: Vec<Checkpoint>,
    device: &Device,
    warn: &dyn Fn(&str),
) -> Result<(Checkpoint, Model)> {
    let only = candidates.len() == 1;
    let mut damage = Vec::new();
    for checkpoint in candidates {
        let place = checkpoint.path.display();
        match read(run, manifest, &checkpoint, device) {
            Ok((model, whole)) => {
                if let Err(error) = whole {
                    warn(&format!("the checkpoint `{place}` cannot be trained on: {error}"));
                }
                return Ok((checkpoint, model));
            }
            Err(error) if only => return Err(error),
            Err(Error::Io { action, path, source }) => {
                return Err(Error::Io { action, path, source });
            }
            Err(error) => {
                let what = format!("the checkpoint `{place}` cannot be used: {error}");
                warn(&what);
                damage.push(what);
            }
        }
    }
    let damage = damage.join("\n  ");
    let message = format!("no checkpoint of `{}` can be read:\n  {damage}", run.display());
    Err(Error::failed(message).with_hint("put the named files back from a copy"))
}

/// Reads the model of a checkpoint, and checks the files that generation does not need.
fn read(
    run: &Path,
    manifest: &Manifest,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<(Model, Result<()>)> {
    let Hashes { files, records } = recovery::hashes(run, manifest, checkpoint)?;
    let mut whole = Ok(());
    if !files.is_empty() {
        checkpoint.check_model(&files)?;
        whole = checkpoint.check(&files);
    }
    for record in records.iter().filter(|record| layout::is_tokenizer(&record.name)) {
        record.hold(run, true)?;
    }
    Ok((checkpoint.model(device)?, whole))
}

/// The run's directory and the checkpoints that may be meant, the newest first.
fn find_checkpoints(run: &Path, step: Option<u64>) -> Result<(PathBuf, Vec<Checkpoint>)> {
    if let Some((root, name)) = layout::of_checkpoint(run) {
        let found = checkpoint::list(&root.join(layout::CHECKPOINTS))?;
        let found = found.into_iter().find(|checkpoint| checkpoint.path.ends_with(&name));
        let missing = || Error::config(format!("`{}` is no checkpoint", run.display()));
        return Ok((root, vec![found.ok_or_else(missing)?]));
    }
    let checkpoints = run.join(layout::CHECKPOINTS);
    let found = match step {
        Some(step) => vec![checkpoint::find(&checkpoints, step)?],
        None => checkpoint::list(&checkpoints)?.into_iter().rev().collect(),
    };
    if found.is_empty() {
        let message = format!("`{}` has no checkpoint to read a model from", run.display());
        return Err(Error::config(message).with_hint(
            "give a run (`train.checkpoint_every` makes checkpoints), one of its checkpoints, or a \
             model in Hugging Face's form",
        ));
    }
    Ok((run.to_owned(), found))
}
