//! The type [`Tokenizer`]: a vocabulary applied to text, and back.
//!
//! `tokenizer.json` in → ids out, as Hugging Face's `tokenizers` gives them without added special
//! tokens, one document a sequence. Text that spells a special token stays text, unless
//! [`SpecialText::Token`] asks for that package's way. Truncation and padding that a file may ask
//! for are left out: every byte of a document is encoded. Byte-level BPE has an encoder of its own
//! ([`super::bpe`]); anything else is encoded by the crate as a whole, and [`Tokenizer::notices`]
//! says so. Decoding a byte-level vocabulary is exact on bytes. Nothing here depends on threads or
//! the environment; a `Tokenizer` is shared by all threads.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use aho_corasick::AhoCorasick;
use serde_json::Value;
use tokenizers::{DecoderWrapper, Model};

use super::added::AddedToken;
use super::alphabet;
use super::byte_pair::BytePair;
use super::config::{END_OF_TEXT, SpecialText};
use super::file;
use super::format::{self, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON};
use super::opener;
use crate::base::error::{Error, Result};
use crate::base::hash::{Fingerprint, xxh3_128};
use crate::base::io;

/// A vocabulary with its split, opened from Hugging Face's files.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Our own encoder, where the file is byte-level BPE.
    byte_pair: Option<BytePair>,
    /// The bytes of each id, where the vocabulary is a byte-level one.
    bytes: Option<Vec<Vec<u8>>>,
    /// Finds text that spells a special token.
    special: AhoCorasick,
    vocab_size: u32,
    /// The tokens that the files name: the one that ends a text, and the one that `transformers`
    /// puts before it.
    end_of_text: Option<String>,
    opener: Option<String>,
    notices: Vec<String>,
    json: Vec<u8>,
    config_json: Option<Vec<u8>>,
}

/// By how much ids may exceed a file's length in bytes: tables have a place for every id, used or
/// not. The largest published vocabularies have 262,144 ids, with gaps of some hundreds.
const IDS_WITHOUT_TOKENS: usize = 1 << 20;

impl Tokenizer {
    /// Opens a `tokenizer.json`, or the folder that holds one; a `tokenizer_config.json` beside it
    /// names the end-of-text token. Text that spells a special token stays text.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no file or it drops merges at random, [`Error::Damaged`]
    /// when it is no tokenizer.
    pub fn open(path: &Path) -> Result<Tokenizer> {
        Tokenizer::open_with(path, SpecialText::Text)
    }

    /// [`Tokenizer::open`] with a choice of what text that spells a special token becomes.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn open_with(path: &Path, special_text: SpecialText) -> Result<Tokenizer> {
        let file = if path.is_dir() { path.join(TOKENIZER_JSON) } else { path.to_owned() };
        if !file.is_file() {
            let message = format!("no tokenizer at `{}`", file.display());
            let hint = "give a `tokenizer.json` or its folder, or train one: `--vocab 32000`";
            return Err(Error::config(message).with_hint(hint));
        }
        let config = file.with_file_name(TOKENIZER_CONFIG_JSON);
        let config_json = if config.is_file() { Some(io::read(&config)?) } else { None };
        Tokenizer::from_parts(io::read(&file)?, config_json, special_text, &file)
    }

    /// From the files' bytes; `path` is only named in errors.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn from_parts(
        json: Vec<u8>,
        config_json: Option<Vec<u8>>,
        special_text: SpecialText,
        path: &Path,
    ) -> Result<Tokenizer> {
        let file: Value = serde_json::from_slice(&json)
            .map_err(|error| Error::damaged_artifact(path, None, error))?;
        if file["model"]["dropout"].as_f64().is_some_and(|share| share > 0.0) {
            let message = format!("`{}` drops merges at random", path.display());
            return Err(Error::config(message).with_hint("set its `model.dropout` to null"));
        }
        let inner = load(&json, special_text, path)?;
        let ids = inner.get_vocab(true);
        let vocab_size = ids.values().max().map_or(0, |largest| largest.saturating_add(1));
        if vocab_size as usize > json.len() + IDS_WITHOUT_TOKENS {
            let message = format!("{} tokens, and one has the id {}", ids.len(), vocab_size - 1);
            return Err(Error::damaged(path, None, message));
        }
        let mut notices = moved_ids(&file, &inner);
        let byte_pair = match file::read(&file) {
            Ok(read) => Some(BytePair::new(read, added_tokens(&inner), special_text)?),
            Err(foreign) => {
                notices.push(format!(
                    "{foreign} is not byte-level BPE's: the crate `tokenizers` encodes, slowly"
                ));
                None
            }
        };
        let special = format::special_tokens(&file);
        let special = AhoCorasick::new(special.iter().filter(|token| !token.is_empty()))
            .map_err(|error| Error::config(format!("too many special tokens: {error}")))?;
        let bytes = token_bytes(&inner, vocab_size);
        let config = config_json.as_deref().unwrap_or(b"null");
        let config: Value = serde_json::from_slice(config).unwrap_or_default();
        Ok(Tokenizer {
            inner,
            byte_pair,
            bytes,
            special,
            vocab_size,
            end_of_text: format::end_of_text(&config).map(str::to_owned),
            opener: opener::opener(&file, &config),
            notices,
            json,
            config_json,
        })
    }

    /// Appends the ids of `text`, one sequence; no special token is added around it.
    ///
    /// # Errors
    /// [`Error::Failed`] when the text defeats the split pattern or the model.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        if let Some(byte_pair) = &self.byte_pair {
            return byte_pair.encode(text, out);
        }
        // The crate panics where its regular expressions give up, on megabytes of spaces.
        let whole = catch_unwind(AssertUnwindSafe(|| self.inner.encode_fast(text, false)));
        let reason = match whole {
            Ok(Ok(encoding)) => {
                out.extend_from_slice(encoding.get_ids());
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its split pattern gave up".to_owned(),
        };
        let message =
            format!("the tokenizer cannot encode a document of {} bytes: {reason}", text.len());
        Err(Error::failed(message).with_hint("lower `max_document_bytes`"))
    }

    /// The ids that the file puts before a text when special tokens are asked for: an opener, or
    /// nothing.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn added_before(&self) -> Result<Vec<u32>> {
        let (text, mut plain) = ("a", Vec::new());
        self.encode(text, &mut plain)?;
        let whole = self.inner.encode_fast(text, true);
        let whole =
            whole.map_err(|error| Error::failed(format!("the tokenizer fails: {error}")))?;
        let ids = whole.get_ids();
        let mut places = ids.windows(plain.len().max(1));
        Ok(ids[..places.position(|window| window == plain).unwrap_or(0)].to_vec())
    }

    /// The bytes that `ids` stand for, special tokens as their text; ids that are no token give
    /// nothing. Exact for byte-level vocabularies, else the crate's text.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        match &self.bytes {
            Some(bytes) => {
                let known = ids.iter().filter_map(|&id| bytes.get(id as usize));
                known.flatten().copied().collect()
            }
            None => self.inner.decode(ids, false).unwrap_or_default().into_bytes(),
        }
    }

    /// The bytes that `token` adds after `before`: its own, where the vocabulary is byte-level. In
    /// other vocabularies a token's text depends on those around it; some tokens before it are
    /// enough.
    pub fn decode_after(&self, before: &[u32], token: u32) -> Vec<u8> {
        const ENOUGH: usize = 16;
        if self.bytes.is_some() {
            return self.decode(&[token]);
        }
        let before = &before[before.len().saturating_sub(ENOUGH)..];
        let (shorter, longer) = (self.decode(before), self.decode(&[before, &[token]].concat()));
        longer.get(shorter.len()..).unwrap_or_default().to_vec()
    }

    /// [`Tokenizer::decode`] as text; bytes that are not UTF-8 become U+FFFD.
    pub fn decode_text(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode(ids)).into_owned()
    }

    /// The largest id, added tokens included, plus one.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// The id of a token by its name in the file.
    fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The ids of special tokens.
    pub fn special_ids(&self) -> BTreeSet<u32> {
        let added = self.inner.get_added_tokens_decoder();
        added.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect()
    }

    /// The special tokens as they are spelled, by id.
    pub fn special_tokens(&self) -> Vec<String> {
        let special = self.added().into_iter().filter(|(_, _, is_special)| *is_special);
        special.map(|(_, content, _)| content).collect()
    }

    /// The added tokens by id: the id that encoding gives, how the token is spelled, and whether it
    /// is special. The id in the file may be another one ([`Tokenizer::notices`]).
    pub fn added(&self) -> Vec<(u32, String, bool)> {
        let added = self.inner.get_added_tokens_decoder().into_iter();
        let mut added: Vec<_> =
            added.map(|(id, token)| (id, token.content, token.special)).collect();
        added.sort_unstable();
        added
    }

    /// What a person should know of the file: ids that move, an encoder that is not ours.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The end-of-text token and its id: the one asked for, else the file's `eos_token`, else
    /// `<|endoftext|>`, else none.
    ///
    /// # Errors
    /// [`Error::Config`] when the one asked for is no token.
    pub fn end_of_text(&self, configured: Option<&str>) -> Result<Option<(String, u32)>> {
        let with_id = |token: &str| Some((token.to_owned(), self.token_id(token)?));
        if let Some(token) = configured {
            return with_id(token).map(Some).ok_or_else(|| {
                let message = format!("`end_of_text` is no token of the vocabulary: `{token}`");
                Error::config(message).with_hint("leave the key out, or name a special token")
            });
        }
        let named = self.end_of_text.as_deref().and_then(with_id);
        Ok(named.or_else(|| with_id(END_OF_TEXT)))
    }

    /// The id of the token that `transformers` would put before every text, if there is one.
    pub fn opener(&self) -> Option<u32> {
        self.token_id(self.opener.as_deref()?)
    }

    /// Whether `text` spells a special token (and would become one elsewhere).
    pub fn spells_special_token(&self, text: &str) -> bool {
        self.special.is_match(text)
    }

    /// xxh3-128 of `tokenizer.json`: the same vocabulary written otherwise is another one.
    pub fn fingerprint(&self) -> Fingerprint {
        xxh3_128(&self.json)
    }

    /// The bytes of `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The bytes of `tokenizer_config.json`, where there is one.
    pub fn config_json(&self) -> Option<&[u8]> {
        self.config_json.as_deref()
    }

    /// Writes the files, byte for byte as they were read, into the folder `directory`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, directory: &Path) -> Result<()> {
        io::write(&directory.join(TOKENIZER_JSON), &self.json)?;
        match &self.config_json {
            Some(bytes) => io::write(&directory.join(TOKENIZER_CONFIG_JSON), bytes),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
impl Tokenizer {
    /// Leaves every document to the crate: the reference.
    pub(in crate::tokenizer) fn encode_as_a_whole(&mut self) {
        self.byte_pair = None;
    }

    /// Whether the encoder is ours.
    pub(in crate::tokenizer) fn is_byte_pair(&self) -> bool {
        self.byte_pair.is_some()
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size).finish_non_exhaustive()
    }
}

/// The file as the crate reads it, without padding and truncation.
fn load(json: &[u8], special_text: SpecialText, path: &Path) -> Result<tokenizers::Tokenizer> {
    let damaged = |error| Error::damaged_artifact(path, None, error);
    let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(damaged)?;
    inner.set_encode_special_tokens(special_text == SpecialText::Text);
    inner.with_padding(None);
    inner.with_truncation(None).map_err(damaged)?;
    Ok(inner)
}

/// The added tokens with the ids that the crate gives them, each with whether it is matched in
/// normalized text.
fn added_tokens(inner: &tokenizers::Tokenizer) -> Vec<(bool, AddedToken)> {
    let mut added: Vec<_> = inner.get_added_tokens_decoder().into_iter().collect();
    added.sort_unstable_by_key(|(id, _)| *id);
    let token = |(id, token): (u32, tokenizers::AddedToken)| {
        let own = AddedToken {
            id,
            content: token.content,
            special: token.special,
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
        };
        (token.normalized, own)
    };
    added.into_iter().map(token).collect()
}

/// Added tokens that Hugging Face numbers otherwise than the file: that package ignores the id of
/// one that is not in the vocabulary, and so do we.
fn moved_ids(file: &Value, inner: &tokenizers::Tokenizer) -> Vec<String> {
    let added = file["added_tokens"].as_array().into_iter().flatten();
    let moved = added.filter_map(|token| {
        let (content, id) = (token["content"].as_str()?, token["id"].as_u64()?);
        let used = inner.token_to_id(content)?;
        (u64::from(used) != id).then(|| {
            format!(
                "`{content}` is {id} in the file, and {used} here as in Hugging Face's \
                 `tokenizers`, which ignores the id of a token that is not in `vocab`"
            )
        })
    });
    moved.collect()
}

/// Each id's bytes, for the byte-level decoder; holes in the vocabulary are empty.
fn token_bytes(inner: &tokenizers::Tokenizer, vocab_size: u32) -> Option<Vec<Vec<u8>>> {
    let Some(DecoderWrapper::ByteLevel(_)) = inner.get_decoder() else { return None };
    let added = inner.get_added_tokens_decoder();
    let bytes = |id| match added.get(&id) {
        Some(token) => token.content.clone().into_bytes(),
        None => inner.get_model().id_to_token(id).map_or(vec![], |t| alphabet::bytes_of(&t)),
    };
    Some((0..vocab_size).map(bytes).collect())
}
