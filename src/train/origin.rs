//! What a new run begins from beside its mix: the parameters of a trained model, or the past of
//! another run.
//!
//! In → `--init-from`, `--branch`; out → [`Origin`], with the records by which the run's manifest
//! counts it as an input. **Parameters** (`--init-from`): of a run, a checkpoint, or a directory in
//! Hugging Face's form. Its vocabulary must be the mix's, piece by piece, and its shape is the
//! run's, unless `[model]` gives the same. Steps, moments and the place in the mix begin at 0. **A
//! past** (`--branch`): parameters, moments, place and records of a checkpoint, from which the new
//! run goes on under its own schedule; so a run may decay from any of its milestones. The mix, the
//! shape and the batch must be the same. **Invariant.** An origin counts by the hash of what is
//! read of it, never by its path.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{config::TrainConfig, layout, trained::Trained};
use crate::artifact::{
    manifest::Manifest,
    record::{InputKind, InputRecord, Kind},
};
use crate::base::{
    config::Table,
    error::{Error, Result},
    hash::Fingerprint,
    io,
};
use crate::runtime::{
    checkpoint::{self, Checkpoint},
    device::Device,
    model::{Model, ModelConfig},
};
use crate::tokenizer::Tokenizer;

/// Where a run begins, or goes on, other than by itself.
#[derive(Clone, Debug, Default)]
pub struct Begin {
    /// A run, a checkpoint or a directory in Hugging Face's form whose parameters a new run begins
    /// with.
    pub init_from: Option<PathBuf>,
    /// A checkpoint of another run, whose past a new run shares.
    pub branch: Option<PathBuf>,
    /// The checkpoint that a standing run goes back to.
    pub from_step: Option<u64>,
    /// Train the last stretch of a standing run again first, and compare.
    pub verify: bool,
}

/// What a run begins from; nothing by default.
#[derive(Default)]
pub struct Origin {
    /// The parameters of a new run.
    pub initial: Option<Model>,
    /// The checkpoint whose past a new run shares.
    pub parent: Option<Parent>,
    /// What the manifest counts it as.
    pub inputs: Vec<InputRecord>,
    /// The manifest's words for it.
    pub extra: BTreeMap<String, Value>,
}

/// What `[model]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nothing.
    Nothing,
    /// `n_layer` alone, to which a model grows.
    Depth,
    /// A shape.
    Shape,
}

impl Given {
    /// Of a table `[model]`; a depth is one by itself where a model grows.
    pub fn of(model: Option<&Table>, grows: bool) -> Given {
        let keys: Vec<&str> = model.into_iter().flat_map(Table::keys).map(String::as_str).collect();
        match keys.as_slice() {
            [] => Given::Nothing,
            ["n_layer"] if grows => Given::Depth,
            _ => Given::Shape,
        }
    }
}

/// A checkpoint of another run.
pub struct Parent {
    /// The run.
    pub run: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
}

/// Keys of a manifest that name an origin.
pub const INITIALISED_FROM: &str = "initialised_from";
pub const BRANCHED_FROM: &str = "branched_from";

impl Origin {
    /// Reads what `begin` names; `tokenizer` is the mix's.
    ///
    /// # Errors
    /// Config: no model there, another vocabulary, both at once.
    pub fn open(begin: &Begin, tokenizer: &Tokenizer, device: &Device) -> Result<Origin> {
        match (&begin.init_from, &begin.branch) {
            (None, None) => Ok(Origin::default()),
            (Some(path), None) => Origin::weights(path, tokenizer, device),
            (None, Some(path)) => Origin::past(path),
            (Some(_), Some(_)) => {
                let message = "`--init-from` and `--branch` each say where to begin";
                Err(Error::config(message).with_hint(
                    "`--init-from` takes the parameters alone, `--branch` goes on with moments, \
                     place and records",
                ))
            }
        }
    }

    fn weights(path: &Path, tokenizer: &Tokenizer, device: &Device) -> Result<Origin> {
        let trained = Trained::open(path, None, device, &|_| {})?;
        same_vocabulary(path, &trained.tokenizer, tokenizer)?;
        let name = name_of(path);
        let facts = json!({ "name": name, "step": trained.step });
        let identity = trained.model.parameters().xxh3()?;
        let bytes = trained.model.parameters().count() * 4;
        Ok(Origin {
            inputs: vec![record(name, Kind::Model, None, bytes, identity, path)],
            extra: BTreeMap::from([(INITIALISED_FROM.to_owned(), facts)]),
            initial: Some(trained.model),
            parent: None,
        })
    }

    fn past(path: &Path) -> Result<Origin> {
        let found = layout::of_checkpoint(path).and_then(|(run, name)| {
            let checkpoints = checkpoint::list(&run.join(layout::CHECKPOINTS)).ok()?;
            let checkpoint = checkpoints.into_iter().find(|found| found.path.ends_with(&name))?;
            Some((run, checkpoint))
        });
        let (run, checkpoint) = found.ok_or_else(|| {
            let message = format!("`{}` is no checkpoint of a run", path.display());
            Error::config(message).with_hint("give one as `--branch RUN/checkpoints/step-000500`")
        })?;
        let manifest = layout::read_manifest(&run)?;
        let hashes = checkpoint.path.join(checkpoint::HASHES);
        let (identity, bytes) = io::hash_file(&hashes)?;
        let (name, fingerprint) = (name_of(&run), manifest.fingerprint);
        let facts = json!({ "name": name, "fingerprint": fingerprint, "step": checkpoint.step });
        Ok(Origin {
            inputs: vec![record(name, Kind::Run, Some(fingerprint), bytes, identity, &run)],
            extra: BTreeMap::from([(BRANCHED_FROM.to_owned(), facts)]),
            initial: None,
            parent: Some(Parent { run, manifest, checkpoint }),
        })
    }

    /// Refuses what trains beside a trained model, or on top of one, where none is given.
    ///
    /// # Errors
    /// Config: `[lora]` or `train.grow` without a model.
    pub fn check_model(&self, config: &TrainConfig) -> Result<()> {
        let message = match (&config.lora, config.train.grow) {
            _ if self.initial.is_some() => return Ok(()),
            (Some(_), _) if self.parent.is_none() => {
                "`[lora]` trains adapters beside a trained model, and none is given"
            }
            (_, Some(_)) => "`train.grow` makes a trained model deeper, and none is given",
            _ => return Ok(()),
        };
        Err(Error::config(message).with_hint("name it with `--init-from`"))
    }

    /// Gives `config` the shape of the parameters that a run begins with, grown where that is asked
    /// for; `given`: it has one, which must then be the same.
    pub fn shape(&mut self, config: &mut TrainConfig, given: Given) -> Result<()> {
        let depth = config.model.n_layer;
        if config.train.grow.is_some() && self.initial.is_some() && given == Given::Nothing {
            let message = "`train.grow` needs the depth to grow to, `model.n_layer`";
            return Err(Error::config(message).with_hint("a multiple of the model's own blocks"));
        }
        if let (Some(how), Some(initial)) = (config.train.grow, &self.initial) {
            self.initial = Some(initial.grown(depth, how)?);
        }
        let Some(initial) = &self.initial else { return Ok(()) };
        let shape = initial.config();
        let asked = ModelConfig { vocab_size: shape.vocab_size, ..config.model.clone() };
        if given == Given::Shape && asked != *shape {
            let message = format!(
                "`[model]` asks for another shape than `--init-from` has: {}",
                differences(&asked, shape).join(", ")
            );
            return Err(Error::config(message).with_hint("leave `[model]` out: the model has one"));
        }
        config.model = shape.clone();
        Ok(())
    }
}

/// `model.d_ff` = 48, there 64.
fn differences(asked: &ModelConfig, there: &ModelConfig) -> Vec<String> {
    let table = |config: &ModelConfig| serde_json::to_value(config).expect("plain values");
    let (asked, there) = (table(asked), table(there));
    let keys = asked.as_object().into_iter().flatten();
    keys.filter(|(key, value)| there.get(key.as_str()) != Some(*value))
        .map(|(key, value)| format!("`model.{key}` = {value}, there {}", there[key.as_str()]))
        .collect()
}

fn record(
    name: String,
    kind: Kind,
    fingerprint: Option<Fingerprint>,
    bytes: u64,
    identity: Fingerprint,
    path: &Path,
) -> InputRecord {
    let record = InputRecord::file(name, None, bytes, identity, path.to_owned());
    let stage = (kind == Kind::Run).then(|| layout::STAGE.to_owned());
    InputRecord { kind: InputKind::Artifact(kind), stage, fingerprint, ..record }
}

/// The folder's own name, also of `.` and `run/`.
fn name_of(path: &Path) -> String {
    let whole = io::canonical(path).unwrap_or_else(|_| path.to_owned());
    whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Fails with the first difference unless both read every text alike.
fn same_vocabulary(path: &Path, there: &Tokenizer, mix: &Tokenizer) -> Result<()> {
    let parts = |tokenizer: &Tokenizer| -> Result<Value> {
        serde_json::from_slice(tokenizer.json())
            .map_err(|error| Error::failed(format!("`tokenizer.json` is no JSON: {error}")))
    };
    let (theirs, ours) = (parts(there)?, parts(mix)?);
    let differing = ["model", "added_tokens", "pre_tokenizer", "normalizer"]
        .into_iter()
        .find(|part| theirs.get(part) != ours.get(part));
    let Some(part) = differing else { return Ok(()) };
    let size = |json: &Value| json["model"]["vocab"].as_object().map_or(0, serde_json::Map::len);
    let message = format!(
        "the vocabulary of `{}` is not the mix's: their tokenizers differ in `{part}` ({} and {} \
         entries)",
        path.display(),
        size(&theirs),
        size(&ours)
    );
    Err(Error::config(message).with_hint(
        "tokenize the text with the model's own: `dataprep tokenize IN… --tokenizer MODEL`",
    ))
}
