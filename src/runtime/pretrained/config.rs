//! `config.json`: a shape in Hugging Face's words, both ways.
//!
//! In → the file's bytes; out → [`Description`], or an error with every key whose value our decoder
//! cannot compute, and why. The other way a shape becomes the files `config.json` and
//! `generation_config.json`. Keys and defaults are those of `transformers` 5.24
//! (`LlamaConfig`, `MistralConfig`); it folds `rope_theta` and `rope_scaling` into
//! `rope_parameters`, so both spellings are read and both written. Values in, values out.

use std::path::Path;

use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::runtime::model::ModelConfig;

/// What a model is, beside its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The shape.
    pub model: ModelConfig,
    /// The longest text that it was made for, in tokens.
    pub context: usize,
    /// The token that `config.json` says opens a text.
    pub opener: Option<u32>,
    /// The tokens that end a text.
    pub ends: Vec<u32>,
}

/// Reads a `config.json`; `path` is only named in errors.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Description> {
    let config: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::damaged_artifact(path, None, error))?;
    if !config.is_object() {
        return Err(Error::damaged_artifact(path, None, "it is no JSON object"));
    }
    if let Some(reason) = foreign(&config) {
        return Err(refused(path, &[reason]));
    }
    let reasons: Vec<String> = CHECKS.iter().filter_map(|check| check(&config)).collect();
    if !reasons.is_empty() {
        return Err(refused(path, &reasons));
    }
    let size = |key: &str| {
        let found = config[key].as_u64().and_then(|size| usize::try_from(size).ok());
        let message = || format!("`{key}` must be a whole number, found {}", config[key]);
        found.ok_or_else(|| Error::damaged_artifact(path, None, message()))
    };
    let or = |key: &str, default: usize| if has(&config, key) { size(key) } else { Ok(default) };
    let number = |key: &str, default: f64| config[key].as_f64().unwrap_or(default);
    let n_head = size("num_attention_heads")?;
    let model = ModelConfig {
        vocab_size: size("vocab_size")?,
        d_model: size("hidden_size")?,
        n_layer: size("num_hidden_layers")?,
        n_head,
        n_kv_head: or("num_key_value_heads", n_head)?,
        d_ff: size("intermediate_size")?,
        rope_theta: rope_theta(&config),
        norm_eps: number("rms_norm_eps", 1e-6),
        tied: config["tie_word_embeddings"] == true,
        init_std: number("initializer_range", 0.02),
    };
    model.validate().map_err(|error| Error::damaged_artifact(path, None, error))?;
    let opener = tokens(&config["bos_token_id"]).first().copied();
    let (context, ends) = (or("max_position_embeddings", 2048)?, tokens(&config["eos_token_id"]));
    Ok(Description { model, context, opener, ends })
}

fn refused(path: &Path, reasons: &[String]) -> Error {
    let place = path.display();
    Error::config(format!("`{place}` is no model that can be held exactly: {}", reasons.join("; ")))
        .with_hint(
            "what is read: Llama's architecture (also SmolLM2 and Mistral) with plain rotary \
             positions, full attention and no biases, in F32, F16 or BF16",
        )
}

/// Whether the key is there and says something.
fn has(config: &Value, key: &str) -> bool {
    config.get(key).is_some_and(|value| !value.is_null())
}

/// Why a model of this type is another decoder; `None` for Llama's and what computes the same.
fn foreign(config: &Value) -> Option<String> {
    let kind = config["model_type"].as_str();
    let why = match kind {
        Some("llama" | "mistral") => return None,
        None => return Some("it has no `model_type`".to_owned()),
        Some("qwen3") => "Qwen3 normalises queries and keys of each head",
        Some("qwen2") => "Qwen2 adds biases to queries, keys and values",
        Some("gpt2") => "GPT-2 learns its positions, and its norms and projections have biases",
        Some("gpt_neox") => "GPT-NeoX turns a part of each head, and has biases",
        Some("gemma" | "gemma2" | "gemma3_text") => "Gemma scales embeddings and norms otherwise",
        Some("smollm3") => "SmolLM3 leaves rotary positions out of some layers",
        Some(_) => "only Llama's decoder is known",
    };
    Some(format!("`model_type` is `{}`: {why}", kind.unwrap_or_default()))
}

/// A look at one key: why its value cannot be held.
type Check = fn(&Value) -> Option<String>;

/// Every key of Llama's and Mistral's configuration that changes what is computed.
const CHECKS: &[Check] = &[
    |config| {
        let named = config["architectures"].as_array()?.first()?.as_str()?;
        let known = ["LlamaForCausalLM", "MistralForCausalLM"];
        let why = "it is no plain language model";
        (!known.contains(&named)).then(|| format!("`architectures` is `{named}`: {why}"))
    },
    |config| {
        let found = config["hidden_act"].as_str().unwrap_or("silu");
        let why = "the feed-forward layer here has SiLU";
        (found != "silu").then(|| format!("`hidden_act` is `{found}`: {why}"))
    },
    |config| flag(config, "attention_bias", "projections here have no bias"),
    |config| flag(config, "mlp_bias", "projections here have no bias"),
    |config| {
        // Mistral's default is a window; Llama has no such key.
        let is_mistral = config["model_type"] == "mistral";
        let unset = is_mistral && config.get("sliding_window").is_none();
        let window = if unset { json!(4096) } else { config["sliding_window"].clone() };
        let used = config["use_sliding_window"] != false && !window.is_null();
        used.then(|| format!("`sliding_window` is {window}: attention here sees the whole text"))
    },
    |config| {
        let scaling = [&config["rope_scaling"], &config["rope_parameters"]];
        let kind = |rope: &Value| {
            let kind = rope["rope_type"].as_str().or_else(|| rope["type"].as_str())?;
            (kind != "default").then(|| kind.to_owned())
        };
        let kind = scaling.into_iter().find_map(kind)?;
        Some(format!("`rope_scaling` is `{kind}`: rotary positions here are not scaled"))
    },
    |config| {
        let rope = &config["rope_parameters"]["partial_rotary_factor"];
        let share = rope.as_f64().or_else(|| config["partial_rotary_factor"].as_f64())?;
        let why = "whole heads are turned here";
        (share != 1.0).then(|| format!("`partial_rotary_factor` is {share}: {why}"))
    },
    |config| {
        let (width, heads) =
            (config["hidden_size"].as_u64()?, config["num_attention_heads"].as_u64()?);
        let found = config["head_dim"].as_u64()?;
        let expected = width.checked_div(heads)?;
        let why = "a head here has `hidden_size` / `num_attention_heads` elements";
        (found != expected).then(|| format!("`head_dim` is {found}: {why}, {expected}"))
    },
    |config| {
        let method = config.get("quantization_config").filter(|value| !value.is_null())?;
        let method = method["quant_method"].as_str().unwrap_or("of some method");
        Some(format!("`quantization_config` is `{method}`: quantised weights are not read"))
    },
];

fn flag(config: &Value, key: &str, why: &str) -> Option<String> {
    (config[key] == true).then(|| format!("`{key}` is true: {why}"))
}

fn rope_theta(config: &Value) -> f64 {
    let inside = config["rope_parameters"]["rope_theta"].as_f64();
    inside.or_else(|| config["rope_theta"].as_f64()).unwrap_or(10_000.0)
}

/// A token's id, or several.
fn tokens(value: &Value) -> Vec<u32> {
    let all = match value.as_array() {
        Some(list) => list.as_slice(),
        None => std::slice::from_ref(value),
    };
    all.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

/// The `config.json` of a model of ours, whose tables have a row a token; `context` tokens were the
/// longest text it trained on, and `end_of_text` both opens and ends one.
pub fn config_json(model: &ModelConfig, context: usize, end_of_text: u32, dtype: &str) -> Vec<u8> {
    pretty(&json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": end_of_text,
        "dtype": dtype,
        "eos_token_id": end_of_text,
        "head_dim": model.head_dim(),
        "hidden_act": "silu",
        "hidden_size": model.d_model,
        "initializer_range": model.init_std,
        "intermediate_size": model.d_ff,
        "max_position_embeddings": context,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": model.n_head,
        "num_hidden_layers": model.n_layer,
        "num_key_value_heads": model.kv_heads(),
        "rms_norm_eps": model.norm_eps,
        "rope_parameters": { "rope_theta": model.rope_theta, "rope_type": "default" },
        "rope_theta": model.rope_theta,
        "tie_word_embeddings": model.tied,
        "torch_dtype": dtype,
        "use_cache": true,
        "vocab_size": model.vocab_size,
    }))
}

/// The `generation_config.json` that goes with it: a text ends where the model says so, and what
/// fills a batch is never read.
pub fn generation_json(end_of_text: u32) -> Vec<u8> {
    pretty(&json!({
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "pad_token_id": end_of_text,
    }))
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("numbers and text are JSON");
    text.push(b'\n');
    text
}
