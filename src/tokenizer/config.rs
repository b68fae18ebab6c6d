//! What `dataprep tokenizer train` can be told.
//!
//! Keys of the stage's own table in → a checked [`TokenizerConfig`]. Defaults are DESIGN.md
//! section 4's: one special token with id 0, no minimum frequency, the GPT-4 style split.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::split;
use crate::base::error::{Error, Result};
use crate::base::size::Count;

/// The end-of-text token that everybody knows; GPT-2 introduced it.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The 256 bytes, which every vocabulary holds.
const BYTES: u64 = 256;

/// The keys of `tokenizer train`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// Entries of the vocabulary: special tokens, the 256 bytes, merges. Must be given.
    pub vocab: Option<Count>,
    /// A pair that occurs less often is not merged; 0 merges down to a single occurrence
    /// (the `tokenizers` package's default).
    pub min_frequency: u64,
    /// `cl100k` (GPT-4, Llama-3), `gpt2`, or a regular expression in Oniguruma's syntax.
    pub pattern: String,
    /// Tokens that no text is ever split into, in the order of their ids, which begin at 0.
    pub special_tokens: Vec<String>,
    /// The special token that separates documents; `<|endoftext|>` where that is one of them.
    pub end_of_text: Option<String>,
}

impl Default for TokenizerConfig {
    fn default() -> TokenizerConfig {
        TokenizerConfig {
            vocab: None,
            min_frequency: 0,
            pattern: "cl100k".into(),
            special_tokens: vec![END_OF_TEXT.into()],
            end_of_text: None,
        }
    }
}

impl TokenizerConfig {
    /// Fills in what follows from other keys, and refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`] with the key and what would do.
    pub fn resolve(mut self) -> Result<TokenizerConfig> {
        let least = BYTES + self.special_tokens.len() as u64;
        let hint = format!("`vocab = {least}` holds the bytes alone; 32000 is usual for English");
        match self.vocab {
            None => {
                let message = "how many entries should the vocabulary have? `vocab` is not set";
                return Err(Error::config(message).with_hint("for example `--vocab 32000`"));
            }
            Some(Count(vocab)) if vocab < least || vocab > u64::from(u32::MAX) => {
                let message = format!("a vocabulary cannot have {vocab} entries");
                return Err(Error::config(message).with_hint(hint));
            }
            Some(_) => {}
        }
        split::Splitter::new(split::regex_of(&self.pattern)?)?;
        let mut seen = BTreeSet::new();
        for token in &self.special_tokens {
            if token.is_empty() || !seen.insert(token.as_str()) {
                let message = format!("`special_tokens` holds `{token}` twice or empty");
                return Err(Error::config(message).with_hint("name each once"));
            }
        }
        match &self.end_of_text {
            Some(token) if !seen.contains(token.as_str()) => {
                let message = format!("`end_of_text` is no special token: `{token}`");
                return Err(Error::config(message).with_hint("add it to `special_tokens`"));
            }
            None if seen.contains(END_OF_TEXT) => self.end_of_text = Some(END_OF_TEXT.into()),
            _ => {}
        }
        Ok(self)
    }

    /// Entries asked for.
    pub fn vocabulary_size(&self) -> usize {
        self.vocab.map_or(0, |vocab| vocab.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_vocab(vocab: u64) -> TokenizerConfig {
        TokenizerConfig { vocab: Some(Count(vocab)), ..TokenizerConfig::default() }
    }

    #[test]
    fn a_vocabulary_must_be_given_and_hold_the_bytes() {
        assert!(
            TokenizerConfig::default().resolve().unwrap_err().hint().unwrap().contains("32000")
        );
        assert!(with_vocab(256).resolve().unwrap_err().hint().unwrap().contains("257"));
        assert_eq!(with_vocab(257).resolve().unwrap().end_of_text.as_deref(), Some(END_OF_TEXT));
    }

    #[test]
    fn the_end_of_text_must_be_a_special_token() {
        let mut config = with_vocab(1000);
        config.end_of_text = Some("</s>".into());
        assert!(config.clone().resolve().is_err());
        config.special_tokens = vec!["<s>".into(), "</s>".into()];
        assert_eq!(config.clone().resolve().unwrap().end_of_text.as_deref(), Some("</s>"));
        config.end_of_text = None;
        assert_eq!(config.clone().resolve().unwrap().end_of_text, None);
        config.special_tokens.push("<s>".into());
        assert!(config.resolve().is_err());
    }
}
