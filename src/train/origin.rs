//! What a new run begins from beside its mix: the parameters of a trained model, or the past of
//! another run.
//!
//! In → `--init-from`, `--branch`; out → [`Origin`], with the records by which the run's manifest
//! counts it as an input. **Parameters** (`--init-from`): of a run, a checkpoint, or a directory
//! in Hugging Face's form. Its vocabulary must be the mix's, piece by piece, and its shape is the
//! run's; `[model]` may say the same, and how it is trained. Steps, moments and the place in the
//! mix begin at 0. **A past** (`--branch`): parameters, moments, place and records of a
//! checkpoint, from which the new run goes on under its own schedule; so a run may decay from any
//! of its milestones. The mix, the shape and the batch must be the same. **Invariant.** An origin
//! counts by the hash of what is read of it, never by its path.

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
    io, place,
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

/// Keys of `[model]` that say how it is trained; the others are its shape.
const TRAINED_AS: [&str; 3] = ["dropout", "dtype", "z_loss"];

/// The keys of `[model]` that are given.
pub struct Given {
    keys: Vec<String>,
    /// Whether `n_layer` is the depth that a shallower model grows to.
    grows: bool,
}

impl Given {
    /// Of a table `[model]`.
    pub fn of(model: Option<&Table>, grows: bool) -> Given {
        Given { keys: model.into_iter().flat_map(Table::keys).cloned().collect(), grows }
    }

    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|given| given == key)
    }

    /// What `asked` says of the shape and `there` has not: `model.d_ff` = 48, there 64. The
    /// vocabulary is the tokenizer's.
    pub fn differences(&self, asked: &ModelConfig, there: &ModelConfig) -> Vec<String> {
        let table = |config: &ModelConfig| serde_json::to_value(config).expect("plain values");
        let (asked, defaults, there) = (table(asked), table(&ModelConfig::default()), table(there));
        let is_free = |key: &str| {
            key == "vocab_size" || TRAINED_AS.contains(&key) || (self.grows && key == "n_layer")
        };
        let keys = self.keys.iter().filter(|key| !is_free(key));
        let unlike = keys.filter(|key| asked.get(key.as_str()) != there.get(key.as_str()));
        // A key at its default is not written, unless it is one of the sizes.
        let shown = |table: &Value, key: &str| match table.get(key).or(defaults.get(key)) {
            Some(value) => value.to_string(),
            None => "its default".to_owned(),
        };
        unlike
            .map(|key| {
                format!("`model.{key}` = {}, there {}", shown(&asked, key), shown(&there, key))
            })
            .collect()
    }

    /// The shape of `there`, trained as `asked` says where it says so.
    pub fn taken(&self, asked: &ModelConfig, there: &ModelConfig) -> ModelConfig {
        let mut taken = there.clone();
        if self.grows && self.has("n_layer") {
            taken.n_layer = asked.n_layer;
        }
        for key in TRAINED_AS.into_iter().filter(|key| self.has(key)) {
            match key {
                "dropout" => taken.dropout = asked.dropout,
                "dtype" => taken.dtype = asked.dtype,
                "z_loss" => taken.z_loss = asked.z_loss,
                _ => unreachable!("`{key}` says how a model is trained"),
            }
        }
        taken
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

    /// Refuses adapters or growth where no trained model is given.
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
    /// for; what is `given` of a shape must be the same.
    pub fn shape(&mut self, config: &mut TrainConfig, given: &Given) -> Result<()> {
        let Some(mut initial) = self.initial.take() else { return Ok(()) };
        if let Some(how) = config.train.grow {
            if !given.has("n_layer") {
                let message = "`train.grow` needs the depth to grow to, `model.n_layer`";
                return Err(
                    Error::config(message).with_hint("a multiple of the model's own blocks")
                );
            }
            initial = initial.grown(config.model.n_layer, how)?;
        }
        let differences = given.differences(&config.model, initial.config());
        if !differences.is_empty() {
            let message = format!(
                "`[model]` asks for another shape than `--init-from` has: {}",
                differences.join(", ")
            );
            return Err(Error::config(message).with_hint(
                "leave `[model]` out, but for `dropout`, `dtype` and `z_loss`: the model has a \
                 shape",
            ));
        }
        config.model = given.taken(&config.model, initial.config());
        self.initial = Some(initial.trained_as(&config.model));
        Ok(())
    }
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
    place::name(&whole)
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
