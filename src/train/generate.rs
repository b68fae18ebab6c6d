//! `generate`: a prompt continued by any checkpoint of a run.
//!
//! In → a run or one of its checkpoints, a prompt; out → text as it comes, and a [`Sample`].
//! Everything is read and held against its hash before the first word is printed; a damaged
//! checkpoint is named, and the one before it taken unless a step was asked for.

use std::path::{Path, PathBuf};

use super::{
    layout, recovery,
    sample::{Request, Sample, Writer},
};
use crate::artifact::manifest::Manifest;
use crate::base::error::{Error, Result};
use crate::runtime::{
    checkpoint::{self, Checkpoint, Hashes},
    device::Device,
    model::{Model, Sampling},
};
use crate::tokenizer::Tokenizer;

/// How to continue a prompt.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// A step of the run; the latest checkpoint without one.
    pub step: Option<u64>,
    /// The text to continue; may be empty.
    pub prompt: String,
    /// Tokens at most.
    pub max_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Makes the draws.
    pub seed: u64,
    /// `auto` or `cpu`.
    pub device: String,
}

/// A checkpoint that was read whole, ready to continue a prompt.
pub struct Generator {
    tokenizer: Tokenizer,
    model: Model,
    end_of_text: u32,
    step: u64,
    options: GenerateOptions,
}

impl Generator {
    /// Loads a checkpoint of `run` (a run, or one of its checkpoints' directories), every file held
    /// against its hash. Where the latest is damaged the one before is taken, and `warn` told.
    ///
    /// # Errors
    /// Config: no such checkpoint, a temperature below 0. Damaged: the checkpoint that was named.
    pub fn open(run: &Path, options: &GenerateOptions, warn: &dyn Fn(&str)) -> Result<Generator> {
        let temperature = options.temperature;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            let message = format!("`--temperature` is {temperature}: expected 0 or more");
            return Err(Error::config(message).with_hint("0 takes the likeliest token"));
        }
        let device = Device::from_name(&options.device)?;
        let (root, candidates) = find_checkpoints(run, options.step)?;
        let manifest = layout::read_manifest(&root)?;
        let (checkpoint, model) = load(&root, &manifest, candidates, &device, warn)?;
        let tokenizer = Tokenizer::open(&root.join(layout::TOKENIZER))?;
        let end_of_text = layout::end_of_text(&root, &manifest, &tokenizer)?;
        let options = options.clone();
        Ok(Generator { tokenizer, model, end_of_text, step: checkpoint.step, options })
    }

    /// Continues the prompt; `on_text` gets the text as it comes, whole characters only.
    pub fn write(&self, mut on_text: impl FnMut(&str) -> Result<()>) -> Result<Sample> {
        let GenerateOptions { prompt, max_tokens, temperature, seed, .. } = &self.options;
        let sampling = Sampling { temperature: *temperature, seed: *seed };
        let request = Request { prompt, max_tokens: *max_tokens, sampling };
        let writer = Writer::new(&self.tokenizer, self.end_of_text);
        writer.write(&self.model, self.step, &request, &mut on_text)
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

/// The model of a checkpoint, and whether what generation does not read is whole too.
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
        let message = format!("`{}` has no checkpoint to generate from", run.display());
        return Err(Error::config(message)
            .with_hint("give the directory of a run; `train.checkpoint_every` makes checkpoints"));
    }
    Ok((run.to_owned(), found))
}
