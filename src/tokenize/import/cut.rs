//! Where documents lie between end-of-texts.
//!
//! In → tokens as they come, with what is an end-of-text; out → the documents between. Tools that
//! put one *behind* each document and those that put one *before* it give the same: what lies
//! between two is a document, also an empty one; what lies before the first and behind the last is
//! one unless it is empty. Cost: a copy of the document.

use crate::base::error::Result;

/// Cuts a stream of tokens.
pub struct Cutter {
    end_of_text: u32,
    tokens: Vec<u32>,
    /// Whether an end-of-text stood before the open document.
    is_opened: bool,
}

impl Cutter {
    /// At the beginning of a stream, or (`is_opened`) right behind an end-of-text in it.
    pub fn new(end_of_text: u32, is_opened: bool) -> Cutter {
        Cutter { end_of_text, tokens: Vec::new(), is_opened }
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
            let is_document = self.is_opened || !self.tokens.is_empty();
            self.is_opened = true;
            if is_document {
                document(&self.tokens)?;
            }
            self.tokens.clear();
            tokens = &tokens[at + 1..];
        }
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(self, document: &mut dyn FnMut(&[u32]) -> Result<()>) -> Result<()> {
        if self.tokens.is_empty() { Ok(()) } else { document(&self.tokens) }
    }
}

/// The documents in a sequence that is one, or holds several: one at least.
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
