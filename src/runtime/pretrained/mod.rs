//! Models in the form of Hugging Face: a directory with `config.json` and safetensors.
//!
//! In → such a directory; out → [`Pretrained`]: a [`Model`] with the same numbers, the path of its
//! tokenizer and the tokens that open and end its texts. In the other direction [`config_json`] and
//! [`generation_json`] describe a model of ours. **Method.** The arithmetic is that of
//! `transformers` 5 for the classes in [`Class`]; every key of `config.json` that changes a number
//! is checked, and a model that ours cannot compute exactly is refused with all reasons at once
//! ([`config`]). Weights of 16 bits become f32, which is exact. **Invariants.** No file outside the
//! directory is read, whatever its index says. **Cost.** One read of the weights; one tensor's
//! bytes beside the model.

mod class;
mod config;
mod weights;

use std::path::{Path, PathBuf};

pub use class::Class;
pub use config::{Description, config_json, generation_json};
pub use weights::{INDEX, WEIGHTS};

use crate::base::{
    error::{Error, Result},
    io,
};
use crate::runtime::{device::Device, model::Model};

/// Names in the directory.
pub const CONFIG: &str = "config.json";
pub const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";

/// A model that was read, with its description and tokenizer.
pub struct Pretrained {
    /// The decoder.
    pub model: Model,
    /// Its shape, longest context and special tokens.
    pub description: Description,
    /// The path of its `tokenizer.json`.
    pub tokenizer: PathBuf,
}

/// Whether `directory` looks like a model in this form.
pub fn stands_in(directory: &Path) -> bool {
    directory.join(CONFIG).is_file()
}

/// Reads what `config.json` says, without the weights.
///
/// # Errors
/// Config: our decoder cannot compute the model exactly, with every reason. Damaged: a file is not
/// what it should be.
pub fn describe(directory: &Path) -> Result<Description> {
    let path = directory.join(CONFIG);
    if !path.is_file() {
        return Err(Error::config(format!(
            "`{}` is no model: it has no {CONFIG}",
            directory.display()
        ))
        .with_hint(
            "give a run, one of its checkpoints, or a directory that `save_pretrained` or \
                 `dataprep export` wrote",
        ));
    }
    config::parse(&io::read(&path)?, &path)
}

/// Reads a model with its weights.
///
/// # Errors
/// As [`describe`], and for weights that are missing, of other shapes, or not in safetensors.
pub fn open(directory: &Path, device: &Device) -> Result<Pretrained> {
    let description = describe(directory)?;
    let tokenizer = directory.join(TOKENIZER);
    if !tokenizer.is_file() {
        let message = format!("`{}` has no {TOKENIZER}", directory.display());
        return Err(Error::config(message)
            .with_hint("`AutoTokenizer.from_pretrained(…).save_pretrained(…)` writes one"));
    }
    let tensors = weights::read(directory, &description.model, device)?;
    let model = Model::from_tensors(&description.model, tensors, device)
        .map_err(|error| error.within(&directory.display().to_string()))?;
    Ok(Pretrained { model, description, tokenizer })
}

#[cfg(test)]
mod tests;
