//! Encodes a document by a byte-level BPE: added tokens, normalizer, pieces, merges.
//!
//! What a `tokenizer.json` asks for ([`BytePairFile`]) and its added tokens in → [`BytePair`],
//! which takes text and appends ids, in the order of Hugging Face's `tokenizers`
//! (`tokenizer/mod.rs`): tokens matched in the raw text are cut out, each rest is normalized,
//! tokens matched in normalized text are cut out, what is left is cut into pieces and merged.
//! Each text between added tokens is cut as if it stood alone: a pattern sees nothing beyond. NFC
//! is that package's own (of an old Unicode version), used only where a quick check cannot tell
//! that nothing changes. Memory: [`STATE_BYTES`] for each thread that encodes at once.
//!
//! [`STATE_BYTES`]: super::bpe::encode::STATE_BYTES

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::{IsNormalized, is_nfc_quick};
use unicode_normalization_alignments::UnicodeNormalization;

use super::added::{AddedToken, AddedTokens, Part};
use super::bpe::encode::{Encoder, EncoderState};
use super::config::SpecialText;
use super::file::BytePairFile;
use super::split::{self, Splitter};
use crate::base::error::Result;
use crate::base::pool::Pool;

/// A byte-level BPE with everything around it.
pub struct BytePair {
    encoder: Encoder,
    /// For patterns without a scanner.
    splitter: Option<Splitter>,
    nfc: bool,
    /// Added tokens that are matched in the raw text.
    raw: Option<AddedTokens>,
    /// Added tokens that are matched in normalized text.
    normalized: Option<AddedTokens>,
    /// The states that threads have filled; a call takes one and puts it back.
    states: Pool<EncoderState>,
}

impl BytePair {
    /// Builds the encoder. `added`: each token, with whether it is matched in normalized text.
    ///
    /// # Errors
    /// [`crate::base::error::Error::Config`] for a split pattern that is no regular expression.
    pub fn new(
        file: BytePairFile,
        added: Vec<(bool, AddedToken)>,
        special_text: SpecialText,
    ) -> Result<BytePair> {
        let pattern = split::native(&file.cuts);
        let splitter = match pattern {
            Some(_) => None,
            None => Some(Splitter::new(&file.cuts)?),
        };
        let (mut normalized, mut raw) = (Vec::new(), Vec::new());
        for (is_normalized, mut token) in added {
            if is_normalized {
                token.content = normalize(file.nfc, &token.content).into_owned();
                normalized.push(token);
            } else {
                raw.push(token);
            }
        }
        let special_is_text = special_text == SpecialText::Text;
        Ok(BytePair {
            encoder: Encoder::new(pattern, &file.tokens, &file.merges, file.ignore_merges)?,
            splitter,
            nfc: file.nfc,
            raw: AddedTokens::new(raw, special_is_text)?,
            normalized: AddedTokens::new(normalized, special_is_text)?,
            states: Pool::default(),
        })
    }

    /// Appends the ids of `text`.
    ///
    /// # Errors
    /// [`crate::base::error::Error::Failed`] where a user's split pattern gives up.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        self.states.with(EncoderState::default, |state| {
            by_parts(self.raw.as_ref(), text, out, |text, out| {
                let text = normalize(self.nfc, text);
                by_parts(self.normalized.as_ref(), &text, out, |text, out| {
                    self.encode_text(state, text, out)
                })
            })
        })
    }

    /// Text without added tokens.
    fn encode_text(&self, state: &mut EncoderState, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let Some(splitter) = &self.splitter else {
            self.encoder.encode(state, text, out);
            return Ok(());
        };
        splitter.pieces(text, |piece| {
            self.encoder.encode_pieces(state, [piece.as_bytes()], out);
            Ok(())
        })
    }
}

impl fmt::Debug for BytePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BytePair").field("nfc", &self.nfc).finish_non_exhaustive()
    }
}

/// Appends the added tokens of `text` and hands over what lies between.
fn by_parts(
    tokens: Option<&AddedTokens>,
    text: &str,
    out: &mut Vec<u32>,
    mut encode: impl FnMut(&str, &mut Vec<u32>) -> Result<()>,
) -> Result<()> {
    let Some(tokens) = tokens else { return encode(text, out) };
    tokens.parts(text, |part| match part {
        Part::Token(id) => {
            out.push(id);
            Ok(())
        }
        Part::Text(range) => encode(&text[range], out),
    })
}

/// NFC as the crate `tokenizers` makes it. Where the quick check of a newer Unicode version says
/// that nothing changes, an older one changes nothing either: it leaves alone what it does not
/// know.
fn normalize(nfc: bool, text: &str) -> Cow<'_, str> {
    if !nfc || text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.nfc().map(|(character, _)| character).collect())
}
