//! The files that let other tools read a model of ours where it lies.
//!
//! In → a shape, the longest text it trained on, its tokenizer and end-of-text; out → the bytes of
//! `config.json`, `generation_config.json`, `tokenizer.json` and `tokenizer_config.json`, by name.
//! Beside `model.safetensors` they are a directory in Hugging Face's form:
//! `AutoModelForCausalLM.from_pretrained` gives the same logits, and the tokenizer opens each text
//! with end-of-text, as training did. A shape that no class holds, or one whose class has other
//! names for the tensors (GPT-2: `export` renames them), has the tokenizer's files alone. Pure.
//! **Cost.** The tokenizer's size, a copy.

use crate::base::error::Result;
use crate::runtime::{
    model::ModelConfig,
    pretrained::{self, Class},
};
use crate::tokenizer::{TOKENIZER_CONFIG_JSON, TOKENIZER_JSON, Tokenizer, opener};

/// A file by name.
pub type Companion = (&'static str, Vec<u8>);

/// Files for weights of type `dtype` (PyTorch's name) in `class`; without one, the tokenizer's
/// alone.
pub fn companions(
    class: Option<Class>,
    model: &ModelConfig,
    context: usize,
    tokenizer: &Tokenizer,
    (name, id): (&str, u32),
    dtype: &str,
) -> Result<Vec<Companion>> {
    let settings = opener::config_with_opener(tokenizer.config_json(), name, context)?;
    let mut files = Vec::new();
    if let Some(class) = class {
        let config = pretrained::config_json(class, model, context, id, dtype);
        files.push((pretrained::CONFIG, config));
        files.push((pretrained::GENERATION, pretrained::generation_json(id)));
    }
    files.push((TOKENIZER_JSON, opener::with_opener(tokenizer.json(), (name, id))?));
    files.push((TOKENIZER_CONFIG_JSON, settings));
    Ok(files)
}

/// The class of `transformers` that reads checkpoints of `model` where they lie, and a warning to
/// give before a run whose model no other tool will read.
pub fn class_of_checkpoints(model: &ModelConfig) -> (Option<Class>, Option<String>) {
    match Class::of(model) {
        Ok(class) => (Some(class).filter(|class| class.has_our_names()), None),
        Err(reasons) => {
            let warning = format!(
                "no class of `transformers` holds this model, so `export` will refuse it: {}; \
                 `generate` and `eval` read the run itself",
                reasons.join("; ")
            );
            (None, Some(warning))
        }
    }
}
