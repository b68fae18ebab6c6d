//! The keys of `tokenize`, beside those of its inputs.
//!
//! TOML in → [`TokenizeConfig`] out. Which tokenizer is no key: it is an input.

use serde::{Deserialize, Serialize};

use crate::tokenizer::SpecialText;

/// The stage's own keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizeConfig {
    /// The token that separates documents in a mix. Default: the tokenizer's `eos_token`, else
    /// `<|endoftext|>`; without either the shards have none, and `mix` refuses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_of_text: Option<String>,
    /// What text that spells a special token becomes: `text`, or the `token` itself.
    pub special_text: SpecialText,
    /// What a model is trained on: the whole `text`, or the `answers` alone of prompts with their
    /// completions and of conversations, whose other tokens are read but not trained on.
    #[serde(skip_serializing_if = "is_default")]
    pub loss_on: LossOn,
}

/// Which tokens count in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossOn {
    #[default]
    Text,
    /// Completions, and messages of the side that answers, to their end.
    Answers,
}

fn is_default(loss_on: &LossOn) -> bool {
    *loss_on == LossOn::default()
}
