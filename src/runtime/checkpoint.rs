//! Checkpoints: parameters, optimizer and position of a run, published by one rename.
//!
//! In → a model, its optimizer, a [`TrainState`]; out → `step-000500/` with `model.safetensors`,
//! `optimizer.safetensors` and `state.json`. It is written as `step-000500.tmp-<random>`, flushed
//! to disk and renamed, so a checkpoint that can be seen is whole; a leftover of a kill is never
//! read and is removed at the next start.
//!
//! **Invariants.** Equal state, equal bytes: names are sorted, no clock, host or path is stored.
//! Loading and saving again gives the same files. **Cost.** One pass over the tensors; one tensor's
//! bytes are held at a time when saving, one file's when loading.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device as CandleDevice, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::io;
use crate::runtime::device::{Device, Numerics};
use crate::runtime::model::{Model, ModelConfig};
use crate::runtime::optim::Optimizer;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Where a run stands, and what its parameters mean.
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
    pub smoothed_loss: Option<f64>,
    /// The best validation so far.
    pub best: Option<Best>,
    /// The shape of the parameters.
    pub model: ModelConfig,
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

/// Publishes `step-NNNNNN` in `directory`. A published checkpoint of the same step and state is
/// kept: a run that reaches a step twice reaches it equally. One of another state is an error.
pub fn save(
    directory: &Path,
    model: &Model,
    optimizer: &dyn Optimizer,
    state: &TrainState,
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
    let random = std::process::id();
    let attempt = directory.join(format!("{}.tmp-{random:08x}", name(state.step)));
    io::remove_directory(&attempt)?;
    io::create_directory(&attempt)?;
    let parameters = model.parameters().iter();
    let parameters = parameters.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    write_tensors(&attempt.join(MODEL), &parameters)?;
    write_tensors(&attempt.join(OPTIMIZER), &optimizer.state().into_iter().collect())?;
    let mut text = serde_json::to_vec_pretty(state)
        .map_err(|error| Error::failed(format!("cannot write the state of the run: {error}")))?;
    text.push(b'\n');
    io::write(&attempt.join(STATE), &text)?;
    io::sync(&attempt)?;
    io::rename(&attempt, &checkpoint.path)?;
    io::sync(directory)?;
    Ok(checkpoint)
}

fn name(step: u64) -> String {
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

/// Removes what a killed save left. For the one process that holds the run's lock.
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

/// Keeps the last `keep` checkpoints and those whose step is `protected` (milestones, the best),
/// removes the others and returns their steps.
pub fn prune(directory: &Path, keep: usize, protected: &dyn Fn(u64) -> bool) -> Result<Vec<u64>> {
    let checkpoints = list(directory)?;
    let old = checkpoints.len().saturating_sub(keep.max(1));
    let mut removed = Vec::new();
    for checkpoint in &checkpoints[..old] {
        if !protected(checkpoint.step) {
            checkpoint.remove()?;
            removed.push(checkpoint.step);
        }
    }
    Ok(removed)
}

impl Checkpoint {
    /// Where the run stood.
    pub fn state(&self) -> Result<TrainState> {
        let path = self.path.join(STATE);
        let text = io::read(&path)?;
        serde_json::from_slice(&text).map_err(|error| Error::damaged(&path, None, error))
    }

    /// The model as of this checkpoint.
    pub fn model(&self, device: &Device) -> Result<Model> {
        let tensors = read_tensors(&self.path.join(MODEL), device)?;
        Model::from_tensors(&self.state()?.model, tensors, device)
    }

    /// Gives `optimizer`, made for [`Checkpoint::model`]'s parameters, its state back.
    pub fn restore(&self, optimizer: &mut dyn Optimizer) -> Result<TrainState> {
        let device = Device::cpu();
        optimizer.load_state(&read_tensors(&self.path.join(OPTIMIZER), &device)?)?;
        self.state()
    }

    /// Removes it: renamed out of sight first, so a kill leaves no half checkpoint.
    pub fn remove(&self) -> Result<()> {
        let mut hidden = self.path.clone().into_os_string();
        hidden.push(".tmp-removed");
        let hidden = PathBuf::from(hidden);
        io::remove_directory(&hidden)?;
        io::rename(&self.path, &hidden)?;
        io::remove_directory(&hidden)
    }
}

#[derive(Serialize)]
struct Entry {
    dtype: &'static str,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// Writes the safetensors format: the length of a JSON header as u64, the header padded with spaces
/// to eight bytes, the tensors' little-endian elements, here by rising name. Flushed to disk.
fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.elem_count() * tensor.dtype().size_in_bytes();
        let dtype = match tensor.dtype() {
            DType::F32 => "F32",
            DType::I64 => "I64",
            other => panic!("a checkpoint holds f32 and i64 tensors, `{name}` is {other:?}"),
        };
        let entry = Entry { dtype, shape: tensor.dims().to_vec(), data_offsets: [start, end] };
        header.insert(name.clone(), serde_json::json!(entry));
    }
    let mut header = serde_json::Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut file = io::create(path)?;
    let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io("write", path));
    write(&(header.len() as u64).to_le_bytes())?;
    write(header.as_bytes())?;
    for tensor in tensors.values() {
        write(&bytes(tensor)?)?;
    }
    file.flush().map_err(Error::io("write", path))?;
    io::sync(path)
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F32 => flat.to_vec1::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => flat.to_vec1::<i64>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
    })
}

fn read_tensors(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let bytes = io::read(path)?;
    let damaged = |message: String| Error::damaged(path, None, message);
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let tensor = match view.dtype() {
            Dtype::F32 => {
                let numbers = view.data().chunks_exact(4);
                let numbers = numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                let numbers: Vec<f32> = numbers.collect();
                Tensor::from_vec(numbers, view.shape(), device.candle())?
            }
            Dtype::I64 => {
                let numbers = view.data().chunks_exact(8);
                let number = |b: &[u8]| [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]];
                let numbers: Vec<i64> = numbers.map(|b| i64::from_le_bytes(number(b))).collect();
                Tensor::from_vec(numbers, view.shape(), &CandleDevice::Cpu)?
            }
            other => return Err(damaged(format!("`{name}` has the unexpected type {other:?}"))),
        };
        tensors.insert(name, tensor);
    }
    Ok(tensors)
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
            model: config(),
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
        let saved = save(directory.path(), &whole, &optimizer, &state(3)).unwrap();
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
        let first = save(one.path(), &model, &optimizer, &state(2)).unwrap();
        let loaded = first.model(&Device::cpu()).unwrap();
        let mut restored = AdamW::new(loaded.parameters(), &AdamWConfig::default()).unwrap();
        first.restore(&mut restored).unwrap();
        let second = save(two.path(), &loaded, &restored, &state(2)).unwrap();
        for file in [MODEL, OPTIMIZER, STATE] {
            let read = |checkpoint: &Checkpoint| io::read(&checkpoint.path.join(file)).unwrap();
            assert!(read(&first) == read(&second), "{file}");
        }
    }

    #[test]
    fn leftovers_are_neither_listed_nor_kept_and_pruning_spares_the_protected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let (model, optimizer) = fresh();
        for step in [10, 2, 30, 1_000_000, 4] {
            save(path, &model, &optimizer, &state(step)).unwrap();
        }
        io::create_directory(&path.join("step-000005.tmp-1234")).unwrap();
        remove_temporary(path).unwrap();
        assert!(!path.join("step-000005.tmp-1234").exists());
        assert_eq!(latest(path).unwrap().unwrap().step, 1_000_000);
        let removed = prune(path, 2, &|step| step == 4).unwrap();
        assert_eq!(removed, [2, 10]);
        let steps: Vec<u64> = list(path).unwrap().iter().map(|found| found.step).collect();
        assert_eq!(steps, [4, 30, 1_000_000]);
        let message = find(path, 5).unwrap_err().to_string();
        assert!(message.contains("found: 4, 30, 1000000"), "{message}");
        assert!(list(&path.join("nowhere")).unwrap().is_empty());
        let twice = save(path, &model, &optimizer, &state(4)).unwrap();
        assert_eq!(twice, find(path, 4).unwrap());
        let other = TrainState { tokens_seen: 1, ..state(4) };
        assert!(save(path, &model, &optimizer, &other).is_err());
    }

    #[test]
    fn a_damaged_checkpoint_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (model, optimizer) = fresh();
        let saved = save(directory.path(), &model, &optimizer, &state(1)).unwrap();
        let path = saved.path.join(MODEL);
        let bytes = io::read(&path).unwrap();
        io::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let Err(error) = saved.model(&Device::cpu()) else { panic!("half a file was read") };
        assert!(error.to_string().contains("model.safetensors"), "{error}");
    }
}
