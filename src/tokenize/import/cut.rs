//! Where documents lie between end-of-texts.
//!
//! In → tokens as they come, with what is an end-of-text; out → the documents between. Tools that
//! put one *behind* each document and those that put one *before* it give the same: what lies
//! between two is a document, also an empty one; what lies before the first and behind the last is
//! one unless it is empty. Cost: a copy of the document.

use std::path::Path;

use crate::base::error::{Error, Result};
use crate::base::size::Count;

/// The longest document, in tokens: about 1 GiB of text, longer than any book and short enough to
/// be held. A longer one is a file whose documents were not found.
pub const DOCUMENT_TOKENS_MAX: u64 = 1 << 28;

/// Refuses a document that is longer than [`DOCUMENT_TOKENS_MAX`]; it begins in `file`.
pub fn check_length(file: &Path, tokens: u64) -> Result<()> {
    if tokens <= DOCUMENT_TOKENS_MAX {
        return Ok(());
    }
    let most = Count(DOCUMENT_TOKENS_MAX);
    let message = format!("`{}` holds a document of over {most} tokens", file.display());
    Err(Error::failed(message)
        .with_hint("is `end_of_text` the token between the documents of these files?"))
}

/// Cuts a stream of tokens.
pub struct Cutter<'a> {
    /// The file that the documents begin in, for messages.
    file: &'a Path,
    end_of_text: u32,
    tokens: Vec<u32>,
    /// Whether an end-of-text stood before the open document.
    is_opened: bool,
}

impl Cutter<'_> {
    /// Starts at the beginning of a stream, or (`is_opened`) right after an end-of-text in it.
    pub fn new(file: &Path, end_of_text: u32, is_opened: bool) -> Cutter<'_> {
        Cutter { file, end_of_text, tokens: Vec::new(), is_opened }
    }

    /// Whether no document is open: the next token begins one.
    pub fn is_at_border(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Takes the next tokens; calls `document` with each document that they end.
    pub fn push(
        &mut self,
        mut tokens: &[u32],
        document: &mut dyn FnMut(&[u32]) -> Result<()>,
    ) -> Result<()> {
        while let Some(at) = tokens.iter().position(|&token| token == self.end_of_text) {
            self.tokens.extend_from_slice(&tokens[..at]);
            check_length(self.file, self.tokens.len() as u64)?;
            let is_document = self.is_opened || !self.tokens.is_empty();
            self.is_opened = true;
            if is_document {
                document(&self.tokens)?;
            }
            self.tokens.clear();
            tokens = &tokens[at + 1..];
        }
        self.tokens.extend_from_slice(tokens);
        check_length(self.file, self.tokens.len() as u64)
    }

    /// Ends the stream.
    pub fn finish(self, document: &mut dyn FnMut(&[u32]) -> Result<()>) -> Result<()> {
        if self.tokens.is_empty() { Ok(()) } else { document(&self.tokens) }
    }
}

/// Calls `document` with each document of a sequence that is one or holds several: one at least.
pub fn within(
    sequence: &[u32],
    end_of_text: Option<u32>,
    mut document: impl FnMut(&[u32]) -> Result<()>,
) -> Result<()> {
    let Some(end) = end_of_text else { return document(sequence) };
    let sequence = sequence.strip_prefix(&[end]).unwrap_or(sequence);
    let sequence = sequence.strip_suffix(&[end]).unwrap_or(sequence);
    sequence.split(|&token| token == end).try_for_each(&mut document)
}
