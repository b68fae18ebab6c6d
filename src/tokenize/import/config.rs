//! The keys of `import`: the form, the tokenizer's end-of-text, the share held out.
//!
//! In → TOML keys; out → [`ImportConfig`], checked.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};

/// Keys of `import`, beside `tokenizer`, which is an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportConfig {
    /// Which tool wrote the files.
    pub from: ImportForm,
    /// Bytes of a token in nanoGPT's files, which do not say: 2 or 4. By default as many as the
    /// vocabulary takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_bytes: Option<u64>,
    /// The token between documents. By default the tokenizer's, as in `tokenize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_of_text: Option<String>,
    /// Share of documents held out, decided by their text. By default 0.5%, and none where a file
    /// of validation is among the inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout: Option<f64>,
}

/// The tools whose files can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportForm {
    /// Raw little-endian tokens.
    Nanogpt,
    /// llm.c's: 256 integers of header, then tokens.
    Llmc,
    /// Megatron's `.bin`, with its `.idx` beside it.
    Megatron,
}

impl ImportConfig {
    /// Refuses what cannot be, whatever the files hold.
    pub fn check(&self) -> Result<()> {
        match (self.from, self.token_bytes) {
            (_, None) | (ImportForm::Nanogpt, Some(2 | 4)) => {}
            (ImportForm::Nanogpt, Some(other)) => {
                return Err(Error::config(format!("`token_bytes` is 2 or 4, not {other}")));
            }
            (_, Some(_)) => {
                let error = Error::config("`token_bytes` is for nanoGPT's files: these say it");
                return Err(error.with_hint("leave the key out"));
            }
        }
        match self.holdout {
            Some(share) if !(0.0..=1.0).contains(&share) => {
                Err(Error::config(format!("`holdout` is a share, 0 to 1, not {share}")))
            }
            _ => Ok(()),
        }
    }
}
