//! What an export is asked for: the form, the type of the weights, which checkpoint.
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
    /// Which checkpoint of a run; the latest without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The running average of the weights (`train.ema`) in their place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ema: bool,
    /// Weights beyond so many bytes go to another file (Hugging Face's form).
    pub shard_bytes: Bytes,
}

/// Whose form is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Hugging Face's: a directory that `transformers`, vLLM and llama.cpp's converter read.
    #[default]
    Hf,
    /// llama.cpp's: one file.
    Gguf,
    /// `peft`'s: the adapters of a run with `[lora]`, without the model beside which they stand.
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
    /// Blocks of 32 whole numbers with a scale (GGUF).
    #[serde(rename = "q8_0")]
    Q8,
    /// The same with numbers of four bits; tables in Q8_0 (GGUF).
    #[serde(rename = "q4_0")]
    Q4,
}

impl Default for ExportConfig {
    /// The numbers as they were trained; shards as `transformers` 4 cut them.
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

/// The least `shard_bytes`: more files than a folder should hold come of less.
const SHARD_BYTES_MIN: u64 = 1 << 10;

impl ExportConfig {
    /// The checkpoint's file that is read.
    pub fn source(&self) -> &'static str {
        match (self.to, self.ema) {
            (Form::Peft, _) => checkpoint::ADAPTER,
            (_, true) => checkpoint::AVERAGE,
            (_, false) => checkpoint::MODEL,
        }
    }

    /// Refuses what no form holds.
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
    /// The type in safetensors; `None`: it has none.
    pub fn element(self) -> Option<ElementType> {
        match self {
            WeightType::F32 => Some(ElementType::F32),
            WeightType::Bf16 => Some(ElementType::Bf16),
            WeightType::F16 => Some(ElementType::F16),
            WeightType::Q8 | WeightType::Q4 => None,
        }
    }

    /// PyTorch's name.
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
