//! `config.json`: a shape in Hugging Face's keys, read and written.
//!
//! In → the file's bytes; out → [`Description`], or an error with every key whose value our decoder
//! cannot compute, and why. In the other direction a shape becomes the files `config.json` and
//! `generation_config.json`. Keys and defaults are those of `transformers` 5.24 (`LlamaConfig`,
//! `MistralConfig`, `Qwen2Config`, `Qwen3Config`, `GemmaConfig`, `GPT2Config`); it folds
//! `rope_theta` and `rope_scaling` into `rope_parameters`, so both forms are read and both written.
//! Nothing here reads or writes a file.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::class::Class;
use crate::base::error::{Error, Result};
use crate::runtime::model::{
    ModelConfig,
    knobs::{Activation, Bias, Norm, Positions},
};
use crate::runtime::ops::RopeScaling;

/// What `config.json` says of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The shape.
    pub model: ModelConfig,
    /// The longest text that it was made for, in tokens.
    pub context: usize,
    /// The token that opens a text, if `config.json` has one.
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
    let found =
        if config["model_type"] == "gpt2" { gpt2(&config, path) } else { llama(&config, path) };
    let (model, context) = found?;
    model.validate().map_err(|error| Error::damaged_artifact(path, None, error))?;
    let opener = tokens(&config["bos_token_id"]).first().copied();
    Ok(Description { model, context, opener, ends: tokens(&config["eos_token_id"]) })
}

/// The whole number under `key`.
fn size(config: &Value, key: &str, path: &Path) -> Result<usize> {
    let found = config[key].as_u64().and_then(|size| usize::try_from(size).ok());
    let message = || format!("`{key}` must be a whole number, found {}", config[key]);
    found.ok_or_else(|| Error::damaged_artifact(path, None, message()))
}

/// The shape of a model like Llama, and its longest text in tokens.
fn llama(config: &Value, path: &Path) -> Result<(ModelConfig, usize)> {
    let size = |key: &str| size(config, key, path);
    let or = |key: &str, default: usize| if has(config, key) { size(key) } else { Ok(default) };
    let number = |key: &str, default: f64| config[key].as_f64().unwrap_or(default);
    let kind = config["model_type"].as_str().unwrap_or_default();
    let is_gemma = kind == "gemma";
    let (d_model, n_head) = (size("hidden_size")?, size("num_attention_heads")?);
    let d_head = or("head_dim", d_head_of(kind))?;
    let n_layer = size("num_hidden_layers")?;
    let (window, window_pattern) = window(config, n_layer);
    let all = config["attention_bias"] == true;
    let model = ModelConfig {
        vocab_size: size("vocab_size")?,
        d_model,
        n_layer,
        n_head,
        n_kv_head: or("num_key_value_heads", key_heads_of(config, n_head))?,
        d_ff: size("intermediate_size")?,
        d_head: if d_head * n_head == d_model { 0 } else { d_head },
        rope_theta: rope_theta(config),
        rope_scaling: rope_scaling(config),
        norm_eps: number("rms_norm_eps", 1e-6),
        tied: config["tie_word_embeddings"].as_bool().unwrap_or(is_gemma),
        init_std: number("initializer_range", 0.02),
        norm: if is_gemma { Norm::Gemma } else { Norm::RmsNorm },
        activation: if is_gemma { Activation::GeGlu } else { Activation::SwiGlu },
        bias: match kind {
            "qwen2" => Bias::Qkv,
            _ if all => Bias::All,
            _ => Bias::None,
        },
        qk_norm: kind == "qwen3",
        scale_embedding: is_gemma,
        window,
        window_pattern,
        ..ModelConfig::default()
    };
    Ok((model, or("max_position_embeddings", 2048)?))
}

/// Key and value heads where `num_key_value_heads` is left out, or null.
fn key_heads_of(config: &Value, n_head: usize) -> usize {
    match config["model_type"].as_str() {
        _ if config.get("num_key_value_heads").is_some() => n_head,
        Some("mistral") => 8,
        Some("qwen2" | "qwen3") => 32,
        Some("gemma") => 16,
        _ => n_head,
    }
}

/// Elements of a head where `head_dim` is left out; 0: they follow from the width.
fn d_head_of(kind: &str) -> usize {
    match kind {
        "qwen3" => 128,
        "gemma" => 256,
        _ => 0,
    }
}

/// The shape of a model like GPT-2, and its longest text in tokens.
fn gpt2(config: &Value, path: &Path) -> Result<(ModelConfig, usize)> {
    let size = |key: &str| size(config, key, path);
    let (d_model, context) = (size("n_embd")?, size("n_positions")?);
    let model = ModelConfig {
        vocab_size: size("vocab_size")?,
        d_model,
        n_layer: size("n_layer")?,
        n_head: size("n_head")?,
        n_kv_head: 0,
        d_ff: if has(config, "n_inner") { size("n_inner")? } else { d_model.saturating_mul(4) },
        norm_eps: config["layer_norm_epsilon"].as_f64().unwrap_or(1e-5),
        init_std: config["initializer_range"].as_f64().unwrap_or(0.02),
        tied: true,
        norm: Norm::LayerNorm,
        positions: Positions::Learned,
        context,
        activation: Activation::Gelu,
        bias: Bias::All,
        ..ModelConfig::default()
    };
    Ok((model, context))
}

/// Our `window` and `window_pattern`.
fn window(config: &Value, n_layer: usize) -> (usize, String) {
    let window = config["sliding_window"].as_u64().unwrap_or(0) as usize;
    let is_mistral = config["model_type"] == "mistral";
    if window == 0 || (!is_mistral && config["use_sliding_window"] != true) {
        return (0, String::new());
    }
    let Some(types) = config["layer_types"].as_array() else {
        // Qwen's layers from `max_window_layers` (28) on have a window; Mistral's all.
        let first = config["max_window_layers"].as_u64().unwrap_or(28) as usize;
        let first = if is_mistral { 0 } else { first.min(n_layer) };
        return named(window, &(0..n_layer).map(|layer| layer >= first).collect::<Vec<_>>());
    };
    named(window, &types.iter().map(|kind| kind == "sliding_attention").collect::<Vec<_>>())
}

fn named(window: usize, windowed: &[bool]) -> (usize, String) {
    if windowed.iter().all(|is| *is) {
        return (window, String::new());
    }
    if !windowed.contains(&true) {
        return (0, String::new());
    }
    (window, windowed.iter().map(|is| if *is { 'S' } else { 'L' }).collect())
}

fn refused(path: &Path, reasons: &[String]) -> Error {
    let place = path.display();
    Error::config(format!("`{place}` is no model that can be held exactly: {}", reasons.join("; ")))
        .with_hint(
            "what is read: Llama (also SmolLM2), Mistral, Qwen2, Qwen3, Gemma and GPT-2, in F32, \
             F16 or BF16",
        )
}

/// Whether the key is there and not null.
fn has(config: &Value, key: &str) -> bool {
    config.get(key).is_some_and(|value| !value.is_null())
}

/// Why our decoder cannot compute models of this type; `None` where it can.
fn foreign(config: &Value) -> Option<String> {
    let kind = config["model_type"].as_str();
    let why = match kind {
        Some("llama" | "mistral" | "qwen2" | "qwen3" | "gemma" | "gpt2") => return None,
        None => return Some("it has no `model_type`".to_owned()),
        Some("gpt_neox") => "GPT-NeoX turns a part of each head, and has biases",
        Some("gemma2" | "gemma3_text") => "Gemma 2 and 3 norm what their branches give",
        Some("smollm3") => "SmolLM3 leaves rotary positions out of some layers",
        Some(_) => "no decoder of ours is like it",
    };
    Some(format!("`model_type` is `{}`: {why}", kind.unwrap_or_default()))
}

/// A check of one key: why our decoder cannot compute its value, if so.
type Check = fn(&Value) -> Option<String>;

/// Checks of the keys that change what is computed but have no counterpart in our shape.
const CHECKS: &[Check] = &[
    |config| {
        let named = config["architectures"].as_array()?.first()?.as_str()?;
        let all = [Class::Llama, Class::Mistral, Class::Qwen2, Class::Qwen3, Class::Gemma];
        let known = all.into_iter().chain([Class::Gpt2]).any(|class| class.names().0 == named);
        let why = "it is no plain language model";
        (!known).then(|| format!("`architectures` is `{named}`: {why}"))
    },
    |config| {
        let (key, expected): (&str, &[&str]) = match config["model_type"].as_str() {
            Some("gpt2") => ("activation_function", &["gelu_new", "gelu_pytorch_tanh"]),
            // `GemmaConfig` takes "gelu", as in the first releases, to mean the tanh approximation.
            Some("gemma") => ("hidden_act", &["gelu_pytorch_tanh", "gelu"]),
            _ => ("hidden_act", &["silu"]),
        };
        let found = config[key].as_str().unwrap_or(expected[0]);
        let why = format!("the feed-forward layer of this type has {}", expected[0]);
        (!expected.contains(&found)).then(|| format!("`{key}` is `{found}`: {why}"))
    },
    |config| {
        let (attention, mlp) = (config["attention_bias"] == true, config["mlp_bias"] == true);
        let is_llama = config["model_type"] == "llama";
        let fits = if is_llama { attention == mlp } else { !attention && !mlp };
        let why = "a Llama has biases everywhere or nowhere here, others none by these keys";
        (!fits).then(|| format!("`attention_bias` is {attention}, `mlp_bias` is {mlp}: {why}"))
    },
    |config| {
        // Mistral has a window by default; the others only if it is set.
        let is_mistral = config["model_type"] == "mistral";
        let unset = is_mistral && config.get("sliding_window").is_none();
        unset.then(|| "`sliding_window` is left out: a Mistral's window must be said".to_owned())
    },
    |config| {
        let kind = rope_kind(config)?;
        let known = ["linear", "llama3"].contains(&kind.as_str());
        let read = known && rope_scaling(config).is_some();
        (!read).then(|| format!("`rope_scaling` is `{kind}`: not one that is known, whole"))
    },
    |config| {
        let rope = &config["rope_parameters"]["partial_rotary_factor"];
        let share = rope.as_f64().or_else(|| config["partial_rotary_factor"].as_f64())?;
        let why = "whole heads are turned here";
        (share != 1.0).then(|| format!("`partial_rotary_factor` is {share}: {why}"))
    },
    |config| {
        let named = ["scale_attn_by_inverse_layer_idx", "add_cross_attention"];
        let key = named.into_iter().find(|key| config[*key] == true)?;
        Some(format!("`{key}` is true: attention here is not so"))
    },
    |config| {
        let off = config["scale_attn_weights"] == false;
        off.then(|| "`scale_attn_weights` is false: scores here are divided".to_owned())
    },
    |config| {
        let is_gpt2 = config["model_type"] == "gpt2" && config["tie_word_embeddings"] == false;
        is_gpt2.then(|| "`tie_word_embeddings` is false: GPT-2's head is its embedding".to_owned())
    },
    |config| {
        let method = config.get("quantization_config").filter(|value| !value.is_null())?;
        let method = method["quant_method"].as_str().unwrap_or("of some method");
        Some(format!("`quantization_config` is `{method}`: quantised weights are not read"))
    },
];

/// The kind of a scaling of rotary positions; `None`: they are plain.
fn rope_kind(config: &Value) -> Option<String> {
    let scaling = [&config["rope_scaling"], &config["rope_parameters"]];
    scaling.into_iter().find_map(|rope| {
        let kind = rope["rope_type"].as_str().or_else(|| rope["type"].as_str())?;
        (kind != "default").then(|| kind.to_owned())
    })
}

fn rope_scaling(config: &Value) -> Option<RopeScaling> {
    let kind = rope_kind(config)?;
    let scaling = [&config["rope_scaling"], &config["rope_parameters"]];
    let number = |key: &str| scaling.into_iter().find_map(|rope| rope[key].as_f64());
    let factor = number("factor")?;
    match kind.as_str() {
        "linear" => Some(RopeScaling::Linear { factor }),
        "llama3" => Some(RopeScaling::Llama3 {
            factor,
            low_frequency: number("low_freq_factor")?,
            high_frequency: number("high_freq_factor")?,
            original_context: number("original_max_position_embeddings")? as usize,
        }),
        _ => None,
    }
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

/// The `config.json` of a model of ours in `class`, whose tables are without padding. `context` is
/// the longest text it was trained on, in tokens; `end_of_text` both opens and ends a text.
pub fn config_json(
    class: Class,
    model: &ModelConfig,
    context: usize,
    end_of_text: u32,
    dtype: &str,
) -> Vec<u8> {
    let (architecture, model_type) = class.names();
    let common = json!({
        "architectures": [architecture],
        "bos_token_id": end_of_text,
        "dtype": dtype,
        "eos_token_id": end_of_text,
        "initializer_range": model.init_std,
        "model_type": model_type,
        "tie_word_embeddings": model.tied,
        "torch_dtype": dtype,
        "use_cache": true,
        "vocab_size": model.vocab_size,
    });
    let own = match class {
        Class::Gpt2 => json!({
            "activation_function": "gelu_new",
            "attn_pdrop": 0.0,
            "embd_pdrop": model.dropout,
            "layer_norm_epsilon": model.norm_eps,
            "n_embd": model.d_model,
            "n_head": model.n_head,
            "n_inner": model.d_ff,
            "n_layer": model.n_layer,
            "n_positions": model.context,
            "resid_pdrop": model.dropout,
        }),
        _ => like_llama(class, model, context),
    };
    let all = [common, own].into_iter().filter_map(|keys| keys.as_object().cloned()).flatten();
    pretty(&json!(all.collect::<BTreeMap<String, Value>>()))
}

/// The keys of configurations like Llama's.
fn like_llama(class: Class, model: &ModelConfig, context: usize) -> Value {
    let mut rope = json!({ "rope_theta": model.rope_theta, "rope_type": "default" });
    match model.rope_scaling {
        None => {}
        Some(RopeScaling::Linear { factor }) => {
            (rope["rope_type"], rope["factor"]) = (json!("linear"), json!(factor));
        }
        Some(RopeScaling::Llama3 { factor, low_frequency, high_frequency, original_context }) => {
            (rope["rope_type"], rope["factor"]) = (json!("llama3"), json!(factor));
            rope["low_freq_factor"] = json!(low_frequency);
            rope["high_freq_factor"] = json!(high_frequency);
            rope["original_max_position_embeddings"] = json!(original_context);
        }
    }
    let biased = model.bias == Bias::All;
    let mut own = json!({
        "attention_bias": biased,
        "attention_dropout": 0.0,
        "head_dim": model.head_dim(),
        "hidden_act": if class == Class::Gemma { "gelu_pytorch_tanh" } else { "silu" },
        "hidden_size": model.d_model,
        "intermediate_size": model.d_ff,
        "max_position_embeddings": context,
        "num_attention_heads": model.n_head,
        "num_hidden_layers": model.n_layer,
        "num_key_value_heads": model.kv_heads(),
        "rms_norm_eps": model.norm_eps,
        "rope_parameters": rope,
        "rope_theta": model.rope_theta,
    });
    if class == Class::Gemma {
        own["hidden_activation"] = json!("gelu_pytorch_tanh");
    }
    if class == Class::Llama {
        own["mlp_bias"] = json!(biased);
    }
    if class == Class::Mistral {
        own["sliding_window"] = json!(model.window);
    }
    if matches!(class, Class::Qwen2 | Class::Qwen3) {
        let kind = |layer| match model.window_of(layer) {
            0 => "full_attention",
            _ => "sliding_attention",
        };
        own["layer_types"] = (0..model.n_layer).map(kind).collect();
        own["use_sliding_window"] = json!(model.window > 0);
        own["sliding_window"] = if model.window > 0 { json!(model.window) } else { Value::Null };
        own["max_window_layers"] = json!(0);
    }
    own
}

/// The `generation_config.json` beside it: `end_of_text` ends a text and also pads batches, where
/// it is never read.
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
