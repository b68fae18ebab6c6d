//! The keys of `dataprep tokenizer train`.
//!
//! Keys of the stage's own table in → a checked [`TokenizerConfig`]. Defaults are those of
//! docs/design.md, section 5: one special token with id 0, no minimum frequency, the GPT-4 style
//! split.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bpe::merge::TOKENS_MAX;
use super::split::{self, Splitter};
use crate::base::config::Table;
use crate::base::error::{Error, Result};
use crate::base::size::Count;

/// The end-of-text token that everybody knows; GPT-2 introduced it.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The 256 bytes, which every vocabulary holds.
const BYTES: u64 = 256;

/// The largest vocabulary that the encoder counts to ([`TOKENS_MAX`]); real ones have 2¹⁸.
const VOCAB_MAX: u64 = TOKENS_MAX as u64;

/// Sizes of the vocabulary: `32k`, or several as `8k,16k,32k`, which one training serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VocabSizes(pub Vec<u64>);

impl Serialize for VocabSizes {
    /// A single size is a number, as it is mostly written.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for VocabSizes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<VocabSizes, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
            Several(Vec<Count>),
        }
        Ok(VocabSizes(match Written::deserialize(deserializer)? {
            Written::Number(one) => vec![one],
            Written::Text(text) => text
                .split(',')
                .map(|size| size.parse().map(|Count(size)| size).map_err(serde::de::Error::custom))
                .collect::<Result<_, _>>()?,
            Written::Several(sizes) => sizes.iter().map(|size| size.0).collect(),
        }))
    }
}

/// What merges never cross besides the pieces of the split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sequence {
    /// A document is one sequence (`train_from_iterator` of the Python package).
    #[default]
    Document,
    /// A line with its ending is one sequence (`train` of that package, on files): white space
    /// never crosses a line end.
    Line,
}

/// Which bytes have a token before any merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alphabet {
    /// All 256, so that every text can be encoded.
    #[default]
    Bytes,
    /// Those that occur: smaller, but a byte that did not occur vanishes on encoding.
    Seen,
}

/// What text that spells a special token becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecialText {
    /// The tokens of its characters: a document that quotes `<|endoftext|>` does not end there.
    #[default]
    Text,
    /// The special token, as Hugging Face's `tokenizers` has it.
    Token,
}

/// The keys of `tokenizer train`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// Entries of the vocabulary: special tokens, the 256 bytes, merges. Must be given. With
    /// several sizes each has a folder of its own, and its merges are a prefix of the largest's.
    pub vocab: Option<VocabSizes>,
    /// A pair that occurs less often is not merged; 0 merges down to a single occurrence
    /// (the `tokenizers` package's default).
    pub min_frequency: u64,
    /// Merged tokens are shorter than this, in bytes; pairs of single bytes are always allowed
    /// (the `tokenizers` package's meaning).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_token_length: Option<u32>,
    /// `cl100k` (GPT-4), `llama3`, `gpt2`, `qwen2`, `o200k` (GPT-4o), `smollm`, or a regular
    /// expression in Oniguruma's syntax.
    pub pattern: String,
    /// Tokens that no text is ever split into, in the order of their ids, which begin at 0.
    pub special_tokens: Vec<String>,
    /// The special token that separates documents; `<|endoftext|>` where that is one of them.
    pub end_of_text: Option<String>,
    /// `document` or `line`.
    pub sequence: Sequence,
    /// `bytes` or `seen`.
    pub initial_alphabet: Alphabet,
    /// The share of documents that train, chosen by their text.
    pub sample: f64,
}

impl Default for TokenizerConfig {
    fn default() -> TokenizerConfig {
        TokenizerConfig {
            vocab: None,
            min_frequency: 0,
            max_token_length: None,
            pattern: "cl100k".into(),
            special_tokens: vec![END_OF_TEXT.into()],
            end_of_text: None,
            sequence: Sequence::Document,
            initial_alphabet: Alphabet::Bytes,
            sample: 1.0,
        }
    }
}

/// Settings of the Python package's trainer that a vocabulary should not have, and why.
const REFUSED: [(&str, &str); 4] = [
    ("limit_alphabet", "ties are cut at random there, and every byte has a token here"),
    ("continuing_subword_prefix", "its tokens get their ids at random there"),
    ("end_of_word_suffix", "its tokens get their ids at random there"),
    ("dropout", "the same text would become other tokens each time"),
];

impl TokenizerConfig {
    /// Refuses, by name, settings that would make the vocabulary differ from run to run.
    ///
    /// # Errors
    /// [`Error::Config`] with the reason.
    pub fn refuse_random(keys: &Table) -> Result<()> {
        match REFUSED.iter().find(|(key, _)| keys.contains_key(*key)) {
            None => Ok(()),
            Some((key, reason)) => Err(Error::config(format!("`{key}` is refused: {reason}"))
                .with_hint("leave it out: byte-level BPE does not need it")),
        }
    }

    /// Fills in what follows from other keys, and refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`] with the key and what would do.
    pub fn resolve(mut self) -> Result<TokenizerConfig> {
        self.check_sizes()?;
        Splitter::new(&split::cuts_of(&self.pattern)?)?;
        if !(self.sample > 0.0 && self.sample <= 1.0) {
            let message = format!("`sample` is a share above 0 and up to 1, not {}", self.sample);
            return Err(Error::config(message).with_hint("`sample = 0.1` trains on a tenth"));
        }
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

    /// Sorts the sizes, each once, and refuses what no vocabulary can have.
    fn check_sizes(&mut self) -> Result<()> {
        let bytes = if self.initial_alphabet == Alphabet::Bytes { BYTES } else { 1 };
        let least = bytes + self.special_tokens.len() as u64;
        let Some(VocabSizes(sizes)) = self.vocab.as_mut().filter(|sizes| !sizes.0.is_empty())
        else {
            let message = "how many entries should the vocabulary have? `vocab` is not set";
            return Err(Error::config(message).with_hint("for example `--vocab 32000`"));
        };
        sizes.sort_unstable();
        sizes.dedup();
        match sizes.iter().find(|size| !(least..=VOCAB_MAX).contains(*size)) {
            None => Ok(()),
            Some(size) => {
                let message = format!("a vocabulary cannot have {size} entries");
                let hint =
                    format!("`vocab = {least}` holds the bytes alone; 32000 is usual for English");
                Err(Error::config(message).with_hint(hint))
            }
        }
    }

    /// The sizes asked for, ascending.
    pub fn sizes(&self) -> &[u64] {
        self.vocab.as_ref().map_or(&[], |sizes| &sizes.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_vocab(vocab: u64) -> TokenizerConfig {
        TokenizerConfig { vocab: Some(VocabSizes(vec![vocab])), ..TokenizerConfig::default() }
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
    fn sizes_are_written_as_people_do() {
        let read = |text: &str| {
            let config: TokenizerConfig = toml::from_str(&format!("vocab = {text}")).unwrap();
            config.resolve().unwrap()
        };
        assert_eq!(read("'16k, 8k,16000'").sizes(), [8000, 16000]);
        assert_eq!(read("['16k', 8000]"), read("'8k,16k'"));
        let one = serde_json::to_value(read("'32k'")).unwrap();
        assert_eq!(one["vocab"], 32000);
    }

    #[test]
    fn settings_with_random_results_are_refused_by_name() {
        let keys: Table = "vocab = 300\nlimit_alphabet = 100".parse().unwrap();
        let error = TokenizerConfig::refuse_random(&keys).unwrap_err();
        assert!(error.to_string().contains("`limit_alphabet`"), "{error}");
        assert!(TokenizerConfig::refuse_random(&"vocab = 300".parse().unwrap()).is_ok());
        let config = TokenizerConfig { sample: 0.0, ..with_vocab(300) };
        assert!(config.resolve().unwrap_err().to_string().contains("sample"));
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
