//! The options of an export: the form, the type of the weights, which checkpoint.
//!
//! In → TOML keys; out → [`ExportConfig`], checked.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{
    error::{Error, Result},
    size::Bytes,
};
use crate::runtime::{checkpoint, tensors::ElementType};

/// Keys of `export`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportConfig {
    /// `hf`, `gguf`, or `peft`.
    pub to: Form,
    /// Type of the weights.
    pub dtype: WeightType,
    /// The step of the checkpoint to export; the latest when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Whether to export the running average of the weights (`train.ema`) instead of the weights.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ema: bool,
    /// The most bytes of weights in one file, in Hugging Face's form; the rest goes to further
    /// files.
    pub shard_bytes: Bytes,
}

/// The form that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Hugging Face's: a directory that `transformers`, vLLM and llama.cpp's converter read.
    #[default]
    Hf,
    /// llama.cpp's form: one file.
    Gguf,
    /// `peft`'s form: the adapters of a run with `[lora]`, without the model that they adapt.
    Peft,
}

/// Types that weights are written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightType {
    #[default]
    #[serde(rename = "f32")]
    F32,
    #[serde(rename = "bf16")]
    Bf16,
    #[serde(rename = "f16")]
    F16,
    /// Blocks of 32 integers of 8 bits with one scale (GGUF).
    #[serde(rename = "q8_0")]
    Q8,
    /// Blocks of 32 integers of 4 bits with one scale; the tables are written in Q8_0 (GGUF).
    #[serde(rename = "q4_0")]
    Q4,
}

impl Default for ExportConfig {
    /// Weights in the type that they were trained in; files of the size that `transformers` 4
    /// writes.
    fn default() -> ExportConfig {
        ExportConfig {
            to: Form::Hf,
            dtype: WeightType::F32,
            step: None,
            ema: false,
            shard_bytes: Bytes(5_000_000_000),
        }
    }
}

/// The least `shard_bytes`: a smaller one would fill a folder with too many files.
const SHARD_BYTES_MIN: u64 = 1 << 10;

impl ExportConfig {
    /// The name of the checkpoint's file that is read.
    pub fn source(&self) -> &'static str {
        match (self.to, self.ema) {
            (Form::Peft, _) => checkpoint::ADAPTER,
            (_, true) => checkpoint::AVERAGE,
            (_, false) => checkpoint::MODEL,
        }
    }

    /// Refuses a type or an option that the form cannot hold.
    pub fn check(&self) -> Result<()> {
        if self.to != Form::Gguf && self.dtype.element().is_none() {
            let message =
                format!("`dtype` is {}, which Hugging Face's form has no name for", self.dtype);
            return Err(Error::config(message).with_hint("`to = \"gguf\"` holds it"));
        }
        if self.to == Form::Peft && self.ema {
            return Err(Error::config("adapters have no running average")
                .with_hint("leave `ema` out: `[lora]` trains without `train.ema`"));
        }
        if self.shard_bytes.0 < SHARD_BYTES_MIN {
            return Err(Error::config(format!(
                "`shard_bytes` is {}: expected {SHARD_BYTES_MIN} or more",
                self.shard_bytes.0
            )));
        }
        Ok(())
    }
}

impl WeightType {
    /// The type in safetensors; `None` if it has no such type.
    pub fn element(self) -> Option<ElementType> {
        match self {
            WeightType::F32 => Some(ElementType::F32),
            WeightType::Bf16 => Some(ElementType::Bf16),
            WeightType::F16 => Some(ElementType::F16),
            WeightType::Q8 | WeightType::Q4 => None,
        }
    }

    /// PyTorch's name of the type.
    pub fn torch_name(self) -> &'static str {
        match self {
            WeightType::F32 | WeightType::Q8 | WeightType::Q4 => "float32",
            WeightType::Bf16 => "bfloat16",
            WeightType::F16 => "float16",
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WeightType::F32 => "F32",
            WeightType::Bf16 => "BF16",
            WeightType::F16 => "F16",
            WeightType::Q8 => "Q8_0",
            WeightType::Q4 => "Q4_0",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_form_holds_is_refused() {
        let of = |text: &str| toml::from_str::<ExportConfig>(text).unwrap().check();
        assert!(of("").is_ok() && of("to = 'gguf'\ndtype = 'q8_0'").is_ok());
        for dtype in ["q8_0", "q4_0"] {
            let refused = of(&format!("dtype = '{dtype}'")).unwrap_err();
            assert!(refused.hint().unwrap().contains("gguf"), "{refused}");
        }
        let peft = |keys: &str| of(&format!("to = 'peft'\n{keys}"));
        assert!(peft("dtype = 'bf16'").is_ok() && peft("dtype = 'q8_0'").is_err());
        assert!(peft("ema = true").is_err() && of("ema = true").is_ok());
        assert!(of("shard_bytes = 1").unwrap_err().to_string().contains("shard_bytes"));
        assert!(toml::from_str::<ExportConfig>("to = 'onnx'").is_err());
    }
}
