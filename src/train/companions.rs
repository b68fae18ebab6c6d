//! The files that let other tools read a model of ours where it lies.
//!
//! In → a shape, the longest text it trained on, its tokenizer and end-of-text; out → the bytes of
//! `config.json`, `generation_config.json`, `tokenizer.json` and `tokenizer_config.json`, by name.
//! Beside `model.safetensors` they are a directory in Hugging Face's form:
//! `AutoModelForCausalLM.from_pretrained` gives the same logits, and the tokenizer opens each text
//! with end-of-text, as training did. Pure. **Cost.** The tokenizer's size, a copy.

use crate::base::error::Result;
use crate::runtime::{model::ModelConfig, pretrained};
use crate::tokenizer::{TOKENIZER_CONFIG_JSON, TOKENIZER_JSON, Tokenizer, opener};

/// A file by name.
pub type Companion = (&'static str, Vec<u8>);

/// Files for weights of type `dtype` (PyTorch's name).
pub fn companions(
    model: &ModelConfig,
    context: usize,
    tokenizer: &Tokenizer,
    (name, id): (&str, u32),
    dtype: &str,
) -> Result<Vec<Companion>> {
    let settings = opener::config_with_opener(tokenizer.config_json(), name, context)?;
    Ok(vec![
        (pretrained::CONFIG, pretrained::config_json(model, context, id, dtype)),
        (pretrained::GENERATION, pretrained::generation_json(id)),
        (TOKENIZER_JSON, opener::with_opener(tokenizer.json(), (name, id))?),
        (TOKENIZER_CONFIG_JSON, settings),
    ])
}
