//! The options of an export of tokens: the form, and the length of rows.
//!
//! In → TOML keys; out → [`TokenExportConfig`], checked.

use serde::{Deserialize, Serialize};

use crate::base::{
    config::Table,
    error::{Error, Result},
    size::Bytes,
};

/// Keys of `export` for shards and mixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenExportConfig {
    /// The form to write.
    pub to: TokenForm,
    /// Tokens of a row: the length of a mix's rows in a form of samples; in LitData's, chunks hold
    /// a whole number of such rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The size in bytes at which a form begins a new file.
    #[serde(default = "default_shard_bytes")]
    pub shard_bytes: Bytes,
}

/// The form that is written, named for the trainer whose loader reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenForm {
    /// `train.bin`: raw tokens, as nanoGPT's `np.memmap` reads them.
    Nanogpt,
    /// `train.bin` and `train.idx`: Megatron's indexed dataset.
    Megatron,
    /// MosaicML Streaming's shards.
    Mds,
    /// LitData's chunks, for its `TokensLoader`.
    Litdata,
    /// Parquet that `datasets.load_dataset` opens, with its card.
    HfDatasets,
    /// `.npy` files: tokens, and where documents begin.
    Numpy,
}

impl TokenForm {
    /// The name as it is typed.
    pub fn name(self) -> &'static str {
        let found = FORMS.iter().find(|(form, _)| *form == self);
        found.expect("every form has its row").1
    }

    /// Whether the form holds samples, rather than documents one after another.
    pub fn has_samples(self) -> bool {
        matches!(self, TokenForm::Mds | TokenForm::HfDatasets)
    }

    /// Whether end-of-text alone separates documents.
    pub fn needs_end_of_text(self) -> bool {
        matches!(self, TokenForm::Nanogpt | TokenForm::Litdata)
    }
}

/// Every form with its name.
pub const FORMS: [(TokenForm, &str); 6] = [
    (TokenForm::Nanogpt, "nanogpt"),
    (TokenForm::Megatron, "megatron"),
    (TokenForm::Mds, "mds"),
    (TokenForm::Litdata, "litdata"),
    (TokenForm::HfDatasets, "hf-datasets"),
    (TokenForm::Numpy, "numpy"),
];

/// What MosaicML Streaming and LitData write by default (67,108,864 bytes).
fn default_shard_bytes() -> Bytes {
    Bytes(64 << 20)
}

/// Offsets in a file of MDS or LitData have 32 bits.
const SHARD_BYTES_MAX: u64 = 1 << 31;
/// A smaller size would give every document a file of its own.
const SHARD_BYTES_MIN: u64 = 1 << 10;

/// Whether `export` is asked for a form of tokens, whose names differ from those of models.
pub fn is_token_form(keys: &Table) -> bool {
    let to = keys.get("to").and_then(toml::Value::as_str);
    to.is_some_and(|to| FORMS.iter().any(|(_, name)| *name == to))
}

impl TokenExportConfig {
    /// Refuses options that the form cannot hold.
    pub fn check(&self) -> Result<()> {
        if self.sequence.is_some_and(|sequence| sequence == 0 || sequence > 1 << 24) {
            return Err(Error::config("`sequence` is 1 to 16,777,216 tokens"));
        }
        if self.sequence.is_some() && !self.to.has_samples() && self.to != TokenForm::Litdata {
            let form = self.to.name();
            let message = format!("`{form}` has no rows: its reader cuts them, at any `sequence`");
            return Err(Error::config(message).with_hint("leave `--sequence` out"));
        }
        if !(SHARD_BYTES_MIN..=SHARD_BYTES_MAX).contains(&self.shard_bytes.0) {
            return Err(Error::config(format!(
                "`shard_bytes` is {}: expected {SHARD_BYTES_MIN} to {SHARD_BYTES_MAX}",
                self.shard_bytes.0
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_form_holds_is_refused() {
        let of = |text: &str| toml::from_str::<TokenExportConfig>(text).map(|it| it.check());
        assert!(of("to = 'nanogpt'").unwrap().is_ok());
        assert!(of("to = 'mds'\nsequence = 1024").unwrap().is_ok());
        for wrong in ["to = 'nanogpt'\nsequence = 8", "to = 'mds'\nsequence = 0"] {
            assert!(of(wrong).unwrap().is_err(), "{wrong}");
        }
        assert!(of("to = 'litdata'\nshard_bytes = 1").unwrap().is_err());
        assert!(of("to = 'litdata'\ndtype = 'f32'").is_err() && of("to = 'hf'").is_err());
        for (form, name) in FORMS {
            assert_eq!(serde_json::to_value(form).unwrap(), name);
        }
    }
}
