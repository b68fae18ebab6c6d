//! The weights of a directory in Hugging Face's form: one file, or shards with an index.
//!
//! In → a directory, the shape; out → the tensors of the shape, under our names. Redundant tensors
//! are left out: the rotary tables of older files, and a head that repeats a tied embedding (a head
//! that differs from it is refused).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::Deserialize;

use super::class::Class;
use crate::base::{
    error::{Error, Result},
    io,
};
use crate::runtime::{
    device::Device,
    model::{ModelConfig, shapes},
    tensors::read_tensors,
};

/// The file of a model that is not cut into shards.
pub const WEIGHTS: &str = "model.safetensors";
/// The list of which shard holds which tensor.
pub const INDEX: &str = "model.safetensors.index.json";

/// Ends of the names of redundant tensors: rotary tables and masks of old files.
const NOTHING: [&str; 3] = ["rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"];

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// Reads the tensors of `model`.
pub fn read(
    directory: &Path,
    model: &ModelConfig,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for path in files(directory)? {
        for (name, tensor) in read_tensors(&path, device)? {
            if NOTHING.iter().any(|end| name.ends_with(end)) {
                continue;
            }
            if tensors.contains_key(&name) {
                return Err(Error::damaged(&path, None, format!("`{name}` is in two files")));
            }
            tensors.insert(name, tensor);
        }
    }
    if Class::of(model) == Ok(Class::Gpt2) {
        tensors = from_gpt2(tensors, model, directory)?;
    }
    if model.tied
        && let Some(head) = tensors.remove(HEAD)
        && !tensors.get(EMBEDDING).is_some_and(|table| is_same(table, &head))
    {
        let message = format!("`{HEAD}` in `{}` is not the embedding", directory.display());
        return Err(Error::config(message).with_hint(
            "`tie_word_embeddings` in its config.json says that it is: set it to false",
        ));
    }
    Ok(tensors)
}

/// GPT-2's tensors, with or without `transformer.` before their names, as ours.
fn from_gpt2(
    mut theirs: BTreeMap<String, Tensor>,
    model: &ModelConfig,
    directory: &Path,
) -> Result<BTreeMap<String, Tensor>> {
    let dims = shapes(model);
    let mut ours = BTreeMap::new();
    for (name, sources, turned) in Class::Gpt2.tensors(dims.keys().cloned()) {
        let bare = name.strip_prefix("transformer.").unwrap_or(&name);
        let found = theirs.remove(&name).or_else(|| theirs.remove(bare));
        let missing = || {
            let place = directory.display();
            Error::failed(format!("parameter `{name}` of `{place}` is missing"))
        };
        let found = found.ok_or_else(missing)?;
        let whole = if turned { found.t()?.contiguous()? } else { found };
        let rows: usize = whole.dim(0)? / sources.len();
        for (at, source) in sources.iter().enumerate() {
            let part = whole.narrow(0, at * rows, rows)?.contiguous()?;
            ours.insert(source.clone(), part);
        }
    }
    ours.extend(theirs); // the head, and what the model will refuse
    Ok(ours)
}

fn is_same(one: &Tensor, other: &Tensor) -> bool {
    let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
    one.dims() == other.dims() && numbers(one).ok() == numbers(other).ok()
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that hold the weights.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let (whole, index) = (directory.join(WEIGHTS), directory.join(INDEX));
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    if !index.is_file() {
        let place = directory.display();
        return Err(Error::config(format!("`{place}` has neither {WEIGHTS} nor {INDEX}"))
            .with_hint("`model.save_pretrained(DIR)` writes safetensors from other weights"));
    }
    let read: Index = serde_json::from_slice(&io::read(&index)?)
        .map_err(|error| Error::damaged(&index, None, error))?;
    let names: BTreeSet<&String> = read.weight_map.values().collect();
    let mut files = Vec::new();
    for name in names {
        let path = directory.join(name);
        if name.contains(['/', '\\']) || !path.is_file() {
            return Err(Error::damaged(&index, None, format!("no file `{name}` beside it")));
        }
        files.push(path);
    }
    Ok(files)
}
