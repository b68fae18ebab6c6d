//! Checkpoints: parameters, optimizer and position of a run, published by one rename.
//!
//! In → a model, its optimizer, a [`TrainState`]; out → `step-000500/` with `model.safetensors`,
//! `optimizer.safetensors`, `state.json`, `hashes.json`, `ema.safetensors` where the parameters are
//! averaged, and any files the caller adds, which nothing here reads. Where only adapters are
//! trained, `model.safetensors` has them merged, so that every reader finds a whole model; beside
//! it are the files from which training resumes, `base.safetensors` without adapters and
//! `adapter.safetensors`. A checkpoint is written as `step-000500.tmp-<process>`, flushed to disk,
//! read again, compared with the hashes of what should be there, and renamed, so a checkpoint under
//! its own name is whole; what a killed process leaves is never read and is removed at the next
//! start.
//!
//! **Damage.** `hashes.json` holds the XXH3-128 of the other files, and of the run's records up to
//! the checkpoint's step ([`Hashes`]). [`Checkpoint::check`] compares every file with it; callers
//! check before they load. A checkpoint of an earlier version has no `hashes.json`: the caller
//! gives the hashes that it knows.
//!
//! **Invariants.** Equal state, equal bytes: names are sorted, no clock, host or path is stored.
//! Loading and saving again gives the same files. **Cost.** Saving writes the tensors once and
//! reads them once, checking and loading read them once each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::hash::{Fingerprint, xxh3_128};
use crate::base::io;
use crate::runtime::device::{Device, Numerics};
use crate::runtime::exact;
use crate::runtime::hashed::FileHash;
use crate::runtime::model::{LoraConfig, Model, ModelConfig};
use crate::runtime::optim::Optimizer;
use crate::runtime::tensors::{hash_tensors, read_tensors, write_tensors};

/// Names inside a checkpoint.
pub const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
/// The running average of the parameters, under the same names.
pub const AVERAGE: &str = "ema.safetensors";
/// The frozen parameters beside adapters, and the adapters.
const BASE: &str = "base.safetensors";
pub const ADAPTER: &str = "adapter.safetensors";
pub const STATE: &str = "state.json";
pub const HASHES: &str = "hashes.json";

/// Suffix of a checkpoint that a later start has put aside because it is damaged, or because the
/// run went back to an earlier step.
const ASIDE: &str = ".aside";

/// `hashes.json`: the files and records that a checkpoint can verify.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hashes {
    /// The checkpoint's other files, each as a whole.
    pub files: Vec<FileHash>,
    /// The run's records up to the checkpoint's step, named relative to the run.
    pub records: Vec<FileHash>,
}

/// The position of a run, and the description of its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Optimizer steps taken.
    pub step: u64,
    /// Tokens the parameters have seen.
    pub tokens_seen: u64,
    /// The row of the mix that the next step starts with.
    pub next_row: u64,
    /// Exponential mean of the training loss, nats a token; none before the first step.
    #[serde(deserialize_with = "exact::optional")]
    pub smoothed_loss: Option<f64>,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Loss and gradient norm of the last steps, by which a spike is detected; empty unless the run
    /// looks for spikes.
    #[serde(default, deserialize_with = "exact::pairs", skip_serializing_if = "Vec::is_empty")]
    pub window: Vec<[f64; 2]>,
    /// The chain of the parameters' hashes; none unless it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Fingerprint>,
    /// The shape of the parameters.
    pub model: ModelConfig,
    /// The adapters, if only these are trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// What the bits up to here depended on.
    pub numerics: Numerics,
}

/// A validation result and where it was reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The step validated.
    pub step: u64,
    /// Bits a byte of held-out text, over all sources.
    #[serde(deserialize_with = "exact::number")]
    pub bits_per_byte: f64,
}

/// A published checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Steps taken.
    pub step: u64,
    /// Its directory.
    pub path: PathBuf,
}

/// What goes with a checkpoint beside the state to continue from.
#[derive(Clone, Copy, Default)]
pub struct Beside<'a> {
    /// The run's records up to the checkpoint's step.
    pub records: &'a [FileHash],
    /// Further files, by name: what other tools need to read the model.
    pub companions: &'a [(&'static str, Vec<u8>)],
    /// The running average of the parameters.
    pub average: Option<&'a Model>,
}

/// Publishes `step-NNNNNN` in `directory`, with what goes beside it. A published checkpoint of the
/// same step and state is kept, since a run that reaches a step twice reaches it with equal bits;
/// one with another state is an error. Checkpoints put aside up to this step are removed.
pub fn save(
    directory: &Path,
    model: &Model,
    optimizer: &dyn Optimizer,
    state: &TrainState,
    beside: Beside<'_>,
) -> Result<Checkpoint> {
    let path = directory.join(name(state.step));
    let checkpoint = Checkpoint { step: state.step, path };
    if checkpoint.path.exists() {
        if checkpoint.state()? == *state {
            return Ok(checkpoint);
        }
        let place = checkpoint.path.display();
        return Err(Error::failed(format!("`{place}` holds another state of the same step"))
            .with_hint("it is another run's, or this machine computes otherwise: remove it"));
    }
    io::create_directory(directory)?;
    let process = std::process::id();
    let attempt = directory.join(format!("{}.tmp-{process:08x}", name(state.step)));
    io::remove_directory(&attempt)?;
    io::create_directory(&attempt)?;
    let written = write_files(&attempt, model, optimizer, state, beside);
    if let Err(error) = written.and_then(|()| io::sync(&attempt)) {
        // Free the space, since the disk may be full; earlier checkpoints are untouched.
        io::remove_directory(&attempt)?;
        return Err(error);
    }
    io::rename(&attempt, &checkpoint.path)?;
    io::sync(directory)?;
    remove_aside(directory, state.step)?;
    Ok(checkpoint)
}

/// Removes checkpoints put aside up to `step`: the run has passed these steps again.
fn remove_aside(directory: &Path, step: u64) -> Result<()> {
    for path in io::list(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let aside = name.strip_prefix("step-").and_then(|name| name.strip_suffix(ASIDE));
        if aside.and_then(|aside| aside.parse::<u64>().ok()).is_some_and(|aside| aside <= step) {
            io::remove_directory(&path)?;
        }
    }
    Ok(())
}

/// Writes the files of a checkpoint, and reads them again.
fn write_files(
    attempt: &Path,
    model: &Model,
    optimizer: &dyn Optimizer,
    state: &TrainState,
    beside: Beside<'_>,
) -> Result<()> {
    let mut files = vec![
        write_tensors(attempt, MODEL, &model.stored()?)?,
        write_tensors(attempt, OPTIMIZER, &optimizer.state().into_iter().collect())?,
        write_json(attempt, STATE, state)?,
    ];
    if let Some(average) = beside.average {
        files.push(write_tensors(attempt, AVERAGE, &average.stored()?)?);
    }
    if model.adapter().is_some() {
        files.push(write_tensors(attempt, BASE, &model.stored_frozen()?)?);
        files.push(write_tensors(attempt, ADAPTER, &adapters(model))?);
    }
    for (name, bytes) in beside.companions {
        files.push(write_file(attempt, name, bytes)?);
    }
    let hashes = Hashes { files, records: beside.records.to_vec() };
    let own = write_json(attempt, HASHES, &hashes)?;
    for file in hashes.files.iter().chain([&own]) {
        file.hold(attempt, true).map_err(|error| {
            Error::failed(format!("what was written is not what the disk gives back: {error}"))
                .with_hint("the disk or its memory is faulty; the checkpoint before still stands")
        })?;
    }
    Ok(())
}

/// The hashes of the files of tensors that [`save`] would write of this state.
pub fn tensor_hashes(
    model: &Model,
    optimizer: &dyn Optimizer,
    average: Option<&Model>,
) -> Result<Vec<FileHash>> {
    let mut hashes = vec![
        hash_tensors(MODEL, &model.stored()?)?,
        hash_tensors(OPTIMIZER, &optimizer.state().into_iter().collect())?,
    ];
    if let Some(average) = average {
        hashes.push(hash_tensors(AVERAGE, &average.stored()?)?);
    }
    if model.adapter().is_some() {
        hashes.push(hash_tensors(BASE, &model.stored_frozen()?)?);
        hashes.push(hash_tensors(ADAPTER, &adapters(model))?);
    }
    Ok(hashes)
}

fn adapters(model: &Model) -> BTreeMap<String, Tensor> {
    model.parameters().iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
}

/// `step-000500`.
pub fn name(step: u64) -> String {
    format!("step-{step:06}")
}

/// The published checkpoints in `directory`, by rising step; none where there is no directory.
pub fn list(directory: &Path) -> Result<Vec<Checkpoint>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut checkpoints = Vec::new();
    for path in io::list(directory)? {
        let step = path.file_name().and_then(|name| name.to_str());
        let step = step.and_then(|name| name.strip_prefix("step-"));
        if let Some(step) = step.and_then(|step| step.parse().ok()) {
            checkpoints.push(Checkpoint { step, path });
        }
    }
    checkpoints.sort_by_key(|checkpoint| checkpoint.step);
    Ok(checkpoints)
}

/// The published checkpoint of the highest step.
pub fn latest(directory: &Path) -> Result<Option<Checkpoint>> {
    Ok(list(directory)?.pop())
}

/// The checkpoint of `step`; the error says which there are.
pub fn find(directory: &Path, step: u64) -> Result<Checkpoint> {
    let checkpoints = list(directory)?;
    let steps: Vec<String> = checkpoints.iter().map(|found| found.step.to_string()).collect();
    checkpoints.into_iter().find(|found| found.step == step).ok_or_else(|| {
        let there = if steps.is_empty() { "none".to_owned() } else { steps.join(", ") };
        let place = directory.display();
        Error::config(format!("no checkpoint of step {step} in `{place}`, found: {there}"))
    })
}

/// Removes what a killed save left. Only the process that holds the run's lock may call it.
pub fn remove_temporary(directory: &Path) -> Result<()> {
    if directory.exists() {
        for path in io::list(directory)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("step-") && name.contains(".tmp-") {
                io::remove_directory(&path)?;
            }
        }
    }
    Ok(())
}

impl Checkpoint {
    /// The state of the run at this checkpoint.
    pub fn state(&self) -> Result<TrainState> {
        let path = self.path.join(STATE);
        let text = io::read(&path)?;
        serde_json::from_slice(&text).map_err(|error| Error::damaged_artifact(&path, None, error))
    }

    /// The checkpoint's `hashes.json`; `None` if an earlier version wrote it, without hashes.
    pub fn hashes(&self) -> Result<Option<Hashes>> {
        let path = self.path.join(HASHES);
        if !path.exists() {
            return Ok(None);
        }
        let text = io::read(&path)?;
        let hashes: Hashes = serde_json::from_slice(&text)
            .map_err(|error| Error::damaged_artifact(&path, None, error))?;
        if json(&hashes) != text {
            return Err(Error::damaged_artifact(&path, None, "it is not as it was written"));
        }
        Ok(Some(hashes))
    }

    /// Compares every file with `hashes`; the error names one that differs.
    pub fn check(&self, hashes: &[FileHash]) -> Result<()> {
        for name in [STATE, MODEL, OPTIMIZER] {
            self.listed(hashes, name)?;
        }
        hashes.iter().try_for_each(|file| file.hold(&self.path, true))
    }

    /// The same for the files that [`Checkpoint::model`] reads, all that generation needs.
    pub fn check_model(&self, hashes: &[FileHash]) -> Result<()> {
        self.listed(hashes, STATE)?.hold(&self.path, true)?;
        self.listed(hashes, MODEL)?.hold(&self.path, true)
    }

    fn listed<'a>(&self, hashes: &'a [FileHash], name: &str) -> Result<&'a FileHash> {
        let unlisted =
            || Error::damaged_artifact(&self.path.join(HASHES), None, format!("no `{name}`"));
        hashes.iter().find(|file| file.name == name).ok_or_else(unlisted)
    }

    /// The model as of this checkpoint.
    pub fn model(&self, device: &Device) -> Result<Model> {
        let tensors = read_tensors(&self.path.join(MODEL), device)?;
        Model::from_tensors(&self.state()?.model, tensors, device)
    }

    /// The model from which training resumes: adapters, if any, are not merged.
    pub fn model_in_training(&self, device: &Device) -> Result<Model> {
        let state = self.state()?;
        let Some(lora) = &state.lora else { return self.model(device) };
        let base = read_tensors(&self.path.join(BASE), device)?;
        let adapters = read_tensors(&self.path.join(ADAPTER), device)?;
        Model::from_tensors(&state.model, base, device)?.with_adapters(lora, adapters)
    }

    /// The running average as of this checkpoint; `None` where none was kept.
    pub fn average(&self, device: &Device) -> Result<Option<Model>> {
        let path = self.path.join(AVERAGE);
        if !path.is_file() {
            return Ok(None);
        }
        let tensors = read_tensors(&path, device)?;
        Model::from_tensors(&self.state()?.model, tensors, device).map(Some)
    }

    /// Loads the state of `optimizer`, made for the parameters of
    /// [`Checkpoint::model_in_training`], and returns that of the run.
    pub fn restore(&self, optimizer: &mut dyn Optimizer) -> Result<TrainState> {
        let device = Device::cpu();
        optimizer.load_state(read_tensors(&self.path.join(OPTIMIZER), &device)?)?;
        self.state()
    }

    /// Puts the checkpoint aside until the run passes its step again.
    pub fn set_aside(&self) -> Result<PathBuf> {
        let aside = self.aside();
        io::remove_directory(&aside)?;
        io::rename(&self.path, &aside)?;
        Ok(aside)
    }

    fn aside(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ASIDE);
        PathBuf::from(path)
    }

    /// Removes the checkpoint. It is renamed first, so a kill leaves no half checkpoint.
    pub fn remove(&self) -> Result<()> {
        let mut hidden = self.path.clone().into_os_string();
        hidden.push(".tmp-removed");
        let hidden = PathBuf::from(hidden);
        io::remove_directory(&hidden)?;
        io::rename(&self.path, &hidden)?;
        io::remove_directory(&hidden)
    }
}

/// Whether a path inside a run belongs to a checkpoint that was put aside.
pub fn is_aside(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with("step-") && part.ends_with(ASIDE))
}

/// Pretty JSON with a final newline.
fn json(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("numbers, text and lists serialize");
    text.push(b'\n');
    text
}

fn write_json(directory: &Path, name: &str, value: &impl Serialize) -> Result<FileHash> {
    write_file(directory, name, &json(value))
}

fn write_file(directory: &Path, name: &str, bytes: &[u8]) -> Result<FileHash> {
    io::write(&directory.join(name), bytes)?;
    Ok(FileHash { name: name.to_owned(), bytes: bytes.len() as u64, xxh3: xxh3_128(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::data::Batch;
    use crate::runtime::optim::adamw::{AdamW, AdamWConfig};
    use crate::runtime::step::gradients;

    fn config() -> ModelConfig {
        ModelConfig {
            vocab_size: 61,
            d_model: 16,
            n_layer: 1,
            n_head: 2,
            n_kv_head: 1,
            d_ff: 24,
            ..ModelConfig::default()
        }
    }

    fn state(step: u64) -> TrainState {
        TrainState {
            step,
            tokens_seen: step * 8,
            next_row: step,
            smoothed_loss: Some(1.0 / 3.0),
            best: Some(Best { step, bits_per_byte: 0.1 + 0.2 }),
            window: vec![[1.0 / 3.0, 0.1 + 0.2]],
            parameters: Some(xxh3_128(b"chain")),
            model: config(),
            lora: None,
            numerics: Numerics::of(&Device::cpu()),
        }
    }

    fn train(model: &Model, optimizer: &mut AdamW, steps: std::ops::Range<u32>) {
        for step in steps {
            let tokens: Vec<u32> = (0..9).map(|i| (step * 13 + i * i) % 61).collect();
            let batch = Batch::single_document(tokens[..8].to_vec(), tokens[1..].to_vec());
            let step = gradients(model, &batch, 1).unwrap();
            optimizer.step(&step.gradients, 1e-2).unwrap();
        }
    }

    fn fresh() -> (Model, AdamW) {
        let model = Model::new(&config(), 1, &Device::cpu()).unwrap();
        let optimizer = AdamW::new(model.parameters(), &AdamWConfig::default()).unwrap();
        (model, optimizer)
    }

    #[test]
    fn a_resumed_run_is_bitwise_the_one_never_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let (whole, mut optimizer) = fresh();
        train(&whole, &mut optimizer, 0..3);
        let saved =
            save(directory.path(), &whole, &optimizer, &state(3), Beside::default()).unwrap();
        train(&whole, &mut optimizer, 3..6);

        let resumed = saved.model(&Device::cpu()).unwrap();
        let mut optimizer = AdamW::new(resumed.parameters(), &AdamWConfig::default()).unwrap();
        assert_eq!(saved.restore(&mut optimizer).unwrap(), state(3));
        train(&resumed, &mut optimizer, 3..6);
        let fingerprints = [&whole, &resumed].map(|model| model.parameters().xxh3().unwrap());
        assert_eq!(fingerprints[0], fingerprints[1]);
    }

    #[test]
    fn equal_states_are_equal_bytes_and_load_back() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (model, mut optimizer) = fresh();
        train(&model, &mut optimizer, 0..2);
        let first = save(one.path(), &model, &optimizer, &state(2), Beside::default()).unwrap();
        let loaded = first.model(&Device::cpu()).unwrap();
        let mut restored = AdamW::new(loaded.parameters(), &AdamWConfig::default()).unwrap();
        first.restore(&mut restored).unwrap();
        let second = save(two.path(), &loaded, &restored, &state(2), Beside::default()).unwrap();
        for file in [MODEL, OPTIMIZER, STATE, HASHES] {
            let read = |checkpoint: &Checkpoint| io::read(&checkpoint.path.join(file)).unwrap();
            assert!(read(&first) == read(&second), "{file}");
        }
    }

    #[test]
    fn leftovers_are_neither_listed_nor_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let (model, optimizer) = fresh();
        for step in [10, 2, 30, 1_000_000, 4] {
            save(path, &model, &optimizer, &state(step), Beside::default()).unwrap();
        }
        io::create_directory(&path.join("step-000005.tmp-1234")).unwrap();
        remove_temporary(path).unwrap();
        assert!(!path.join("step-000005.tmp-1234").exists());
        assert_eq!(latest(path).unwrap().unwrap().step, 1_000_000);
        for step in [2, 10] {
            find(path, step).unwrap().remove().unwrap();
        }
        let steps: Vec<u64> = list(path).unwrap().iter().map(|found| found.step).collect();
        assert_eq!(steps, [4, 30, 1_000_000]);
        let message = find(path, 5).unwrap_err().to_string();
        assert!(message.contains("found: 4, 30, 1000000"), "{message}");
        assert!(list(&path.join("nowhere")).unwrap().is_empty());
        let twice = save(path, &model, &optimizer, &state(4), Beside::default()).unwrap();
        assert_eq!(twice, find(path, 4).unwrap());
        let other = TrainState { tokens_seen: 1, ..state(4) };
        assert!(save(path, &model, &optimizer, &other, Beside::default()).is_err());
    }

    #[test]
    fn any_damage_to_any_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (model, optimizer) = fresh();
        let companions = [("config.json", b"{}".to_vec())];
        let beside = Beside { companions: &companions, ..Beside::default() };
        let saved = save(directory.path(), &model, &optimizer, &state(1), beside).unwrap();
        let check = || saved.check(&saved.hashes()?.expect("it has hashes").files);
        check().unwrap();
        // Files for other tools are checked as well.
        for name in [MODEL, OPTIMIZER, STATE, HASHES, "config.json"] {
            let path = saved.path.join(name);
            let bytes = io::read(&path).unwrap();
            let flipped = |at: usize| {
                let mut bytes = bytes.clone();
                bytes[at] ^= 0x10;
                bytes
            };
            let last = bytes.len() - 1;
            for damage in [
                flipped(0),
                flipped(last / 2),
                flipped(last),
                bytes[..last].to_vec(),
                vec![],
                [&bytes[..], b"\n"].concat(),
            ] {
                io::write(&path, &damage).unwrap();
                let error = check().unwrap_err().to_string();
                assert!(error.contains(name) || name == HASHES, "{name}: {error}");
            }
            io::write(&path, &bytes).unwrap();
        }
        io::remove_file(&saved.path.join("config.json")).unwrap();
        assert!(check().unwrap_err().to_string().contains("config.json`: it is missing"));
        io::remove_file(&saved.path.join(OPTIMIZER)).unwrap();
        assert!(check().unwrap_err().to_string().contains("optimizer.safetensors`: it is missing"));
    }

    #[test]
    fn without_hashes_the_format_itself_shows_a_cut() {
        let directory = tempfile::tempdir().unwrap();
        let (model, optimizer) = fresh();
        let saved =
            save(directory.path(), &model, &optimizer, &state(1), Beside::default()).unwrap();
        let path = saved.path.join(MODEL);
        let bytes = io::read(&path).unwrap();
        for length in [0, 7, 20, bytes.len() / 2, bytes.len() - 1] {
            io::write(&path, &bytes[..length]).unwrap();
            let Err(error) = saved.model(&Device::cpu()) else { panic!("half a file was read") };
            assert!(error.to_string().contains("model.safetensors"), "{error}");
        }
    }

    #[test]
    fn a_step_passed_again_replaces_what_was_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let (model, optimizer) = fresh();
        let saved =
            save(directory.path(), &model, &optimizer, &state(1), Beside::default()).unwrap();
        let aside = saved.set_aside().unwrap();
        assert!(list(directory.path()).unwrap().is_empty() && aside.is_dir());
        save(directory.path(), &model, &optimizer, &state(0), Beside::default()).unwrap();
        assert!(aside.is_dir());
        save(directory.path(), &model, &optimizer, &state(2), Beside::default()).unwrap();
        assert!(!aside.exists());
        assert!(is_aside("checkpoints/step-000001.aside/model.safetensors"));
        assert!(!is_aside("checkpoints/step-000001/model.safetensors"));
    }
}
