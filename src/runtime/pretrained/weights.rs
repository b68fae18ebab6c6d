//! The weights of a directory in Hugging Face's form: one file, or shards with an index.
//!
//! In → a directory, the shape; out → the tensors that the shape has, under their names. Tensors
//! that carry nothing are left out: the rotary tables of older files, and a head that repeats a
//! tied embedding (another one is refused).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::Deserialize;

use crate::base::{
    error::{Error, Result},
    io,
};
use crate::runtime::{device::Device, model::ModelConfig, tensors::read_tensors};

/// The file of a model that is not cut into shards.
pub const WEIGHTS: &str = "model.safetensors";
/// The list of which shard holds which tensor.
pub const INDEX: &str = "model.safetensors.index.json";

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
            if name.ends_with("rotary_emb.inv_freq") {
                continue;
            }
            if tensors.contains_key(&name) {
                return Err(Error::damaged(&path, None, format!("`{name}` is in two files")));
            }
            tensors.insert(name, tensor);
        }
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
