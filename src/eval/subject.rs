//! The model that is evaluated, wherever it comes from.
//!
//! In → a run (its latest checkpoint), one of its checkpoints, or a directory in Hugging Face's
//! form; out → a [`Subject`]: its files, the tokens that its texts begin with, and the model itself
//! once it is needed. **Invariants.** Opening reads no weights. Every file is checked against its
//! hash when the model is loaded, and another checkpoint is never taken instead: figures of a step
//! other than the one named would be worse than none.

use std::path::{Path, PathBuf};

use crate::artifact::{
    find::EVALUATIONS,
    manifest::Manifest,
    planned,
    record::{InputRecord, Kind},
    run::CHECKPOINTS,
};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::place;
use crate::runtime::checkpoint::{self, Checkpoint};
use crate::runtime::device::Device;
use crate::runtime::model::{Model, ModelConfig};
use crate::runtime::pretrained;
use crate::store;
use crate::tokenizer::{TOKENIZER_CONFIG_JSON, TOKENIZER_JSON, Tokenizer};

/// The model to evaluate.
pub struct Subject {
    stored: Stored,
    /// The model's shape.
    pub config: ModelConfig,
    /// `step-000500`, or `model`.
    pub name: String,
    /// The run or directory.
    pub root: PathBuf,
    /// The files that it consists of, for the fingerprint.
    pub records: Vec<InputRecord>,
    pub tokenizer: Tokenizer,
    /// The tokens that precede every text.
    pub before: Vec<u32>,
    /// The token that replaces an empty context.
    pub prefix: u32,
    /// Tokens that it was made to read at once.
    pub length: usize,
}

enum Stored {
    Checkpoint(Checkpoint),
    Pretrained(PathBuf),
}

impl Subject {
    /// Whether `path` looks like a model: a run, a checkpoint, a directory in Hugging Face's form.
    pub fn is_there(path: &Path) -> bool {
        let kind = || Manifest::read_if_known(path).ok().flatten().map(|manifest| manifest.kind);
        pretrained::stands_in(path)
            || run_of_checkpoint(path).is_some()
            || kind().is_some_and(|kind| kind == Kind::Run)
    }

    /// Opens what lies at `path`.
    ///
    /// # Errors
    /// Config: no model is there, or one that ours cannot hold. Damaged: a file that cannot be
    /// read.
    pub fn open(path: &Path) -> Result<Subject> {
        // An exported model is opened like any other pretrained model.
        if Manifest::stands_in(path) && Manifest::read(path)?.kind != Kind::Model {
            return Subject::of_run(path, None);
        }
        // A checkpoint also looks like a pretrained model, but its run records more about it.
        if let Some((root, name)) = run_of_checkpoint(path) {
            return Subject::of_run(&root, Some(&name));
        }
        if pretrained::stands_in(path) {
            return Subject::of_pretrained(path);
        }
        let message = format!("`{}` is no model", path.display());
        Err(Error::config(message).with_hint(
            "give a run, one of its checkpoints (`RUN/checkpoints/step-…`), or a directory with \
             `config.json`, `model.safetensors` and `tokenizer.json`",
        ))
    }

    fn of_run(root: &Path, name: Option<&str>) -> Result<Subject> {
        let manifest = Manifest::read(root)?;
        manifest.expect_kind(root, Kind::Run)?;
        let mut checkpoints = checkpoint::list(&root.join(CHECKPOINTS))?;
        let checkpoint = match name {
            Some(name) => checkpoints.into_iter().find(|found| found.path.ends_with(name)),
            None => checkpoints.pop(),
        };
        let checkpoint = checkpoint.ok_or_else(|| {
            let what = name.map_or_else(String::new, |name| format!(" {name}"));
            Error::config(format!("`{}` has no checkpoint{what}", root.display()))
                .with_hint("`train.checkpoint_every` makes checkpoints; `dataprep inspect RUN`")
        })?;
        let tokenizer = Tokenizer::open(&root.join(TOKENIZER_JSON))?;
        let opener = manifest.extra.get("end_of_text").and_then(|name| name.as_str());
        let missing = || Error::config(format!("`{}` names no end-of-text", root.display()));
        let (_, opener) = tokenizer.end_of_text(opener)?.ok_or_else(missing)?;
        let sequence = manifest.config.pointer("/train/sequence").and_then(|it| it.as_u64());
        let missing = || Error::config(format!("`{}` has no `train.sequence`", root.display()));
        let length = sequence.ok_or_else(missing)? as usize;
        let name = checkpoint::name(checkpoint.step);
        let mut records = vec![
            file(&checkpoint.path, "model.safetensors")?,
            file(&checkpoint.path, checkpoint::STATE)?,
        ];
        records.extend(files_of_tokenizer(root)?);
        for record in &mut records {
            record.stage = Some(manifest.stage.clone());
            record.fingerprint = Some(manifest.fingerprint);
        }
        let config = checkpoint.state()?.model;
        let (stored, root) = (Stored::Checkpoint(checkpoint), root.to_owned());
        let before = vec![opener];
        Ok(Subject {
            stored,
            config,
            name,
            root,
            records,
            tokenizer,
            before,
            prefix: opener,
            length,
        })
    }

    fn of_pretrained(root: &Path) -> Result<Subject> {
        let description = pretrained::describe(root)?;
        let tokenizer = Tokenizer::open(root)?;
        let before = tokenizer.added_before()?;
        let ends = || tokenizer.end_of_text(None).ok().flatten().map(|(_, id)| id);
        let prefix = description.opener.or_else(|| before.first().copied());
        let prefix = prefix.or_else(|| description.ends.first().copied()).or_else(ends);
        let missing = || {
            Error::config(format!("`{}` names no token that opens a text", root.display()))
                .with_hint("set `bos_token_id` or `eos_token_id` in its config.json")
        };
        let prefix = prefix.ok_or_else(missing)?;
        let mut names = vec![pretrained::CONFIG.to_owned()];
        for path in io::list(root)? {
            let name = place::name(&path);
            if name.ends_with(".safetensors") || name == pretrained::INDEX {
                names.push(name);
            }
        }
        names.sort();
        let records = names.iter().map(|name| file(root, name));
        let mut records = records.collect::<Result<Vec<_>>>()?;
        records.extend(files_of_tokenizer(root)?);
        Ok(Subject {
            stored: Stored::Pretrained(root.to_owned()),
            config: description.model,
            name: "model".to_owned(),
            root: root.to_owned(),
            records,
            tokenizer,
            before,
            prefix,
            length: description.context,
        })
    }

    /// Where an evaluation is written by default: beside the model that is evaluated.
    pub fn place(&self) -> PathBuf {
        let mut folder = self.root.file_name().unwrap_or_default().to_owned();
        folder.push(EVALUATIONS);
        self.root.with_file_name(folder).join(&self.name)
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// Damaged: a file that is not what its checkpoint says.
    pub fn load(&self) -> Result<Model> {
        let device = Device::cpu();
        match &self.stored {
            Stored::Checkpoint(checkpoint) => {
                // Checkpoints of earlier versions record no hashes.
                if let Some(hashes) = checkpoint.hashes()? {
                    checkpoint.check_model(&hashes.files)?;
                }
                checkpoint.model(&device)
            }
            Stored::Pretrained(root) => Ok(pretrained::open(root, &device)?.model),
        }
    }
}

/// `RUN/checkpoints/step-000500` → (RUN, `step-000500`), where RUN is a run.
fn run_of_checkpoint(path: &Path) -> Option<(PathBuf, String)> {
    let name = path.file_name()?.to_str()?.to_owned();
    let root = path.parent().filter(|parent| parent.ends_with(CHECKPOINTS))?.parent()?;
    Manifest::stands_in(root).then(|| (root.to_owned(), name))
}

/// The record of one of the model's files, for the fingerprint.
fn file(folder: &Path, name: &str) -> Result<InputRecord> {
    let path = folder.join(name);
    let bytes = io::size(&path)?;
    let identity = planned::identity(&store::Stored::local(path.clone()), bytes)?;
    Ok(InputRecord::file(name.to_owned(), None, bytes, identity, path))
}

fn files_of_tokenizer(folder: &Path) -> Result<Vec<InputRecord>> {
    let names = [TOKENIZER_JSON, TOKENIZER_CONFIG_JSON];
    let there = names.into_iter().filter(|name| folder.join(name).is_file());
    there.map(|name| file(folder, name)).collect()
}
