//! Text from a model: what it continues a prompt with.
//!
//! In → a prompt; out → [`Sample`]. Every text starts from end-of-text, as every training document
//! does, and ends at the model's own end-of-text or at the limit. The draws are functions of (seed,
//! place in the text), so a prompt gives the same text again, and the samples of two milestones
//! differ by the model alone. Tokens may end inside a character: [`TextStream`] holds such bytes
//! back until the rest is there.

use serde::{Deserialize, Serialize};

use crate::base::error::Result;
use crate::runtime::model::{self, Model, Sampling};
use crate::tokenizer::Tokenizer;

/// A line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Training steps done.
    pub step: u64,
    /// What was given.
    pub prompt: String,
    /// What came, without the prompt.
    pub text: String,
    /// Tokens that came.
    pub tokens: u64,
    /// Whether the model ended the text itself.
    pub ended: bool,
}

/// One continuation asked for.
pub struct Request<'a> {
    /// The text to continue.
    pub prompt: &'a str,
    /// Tokens at most.
    pub max_tokens: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
}

/// Turns text into tokens for a model, and its tokens into text.
pub struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    end_of_text: u32,
}

impl<'a> Writer<'a> {
    /// `end_of_text`: what every text starts from, and what ends it.
    pub fn new(tokenizer: &'a Tokenizer, end_of_text: u32) -> Writer<'a> {
        Writer { tokenizer, end_of_text }
    }

    /// Continues one prompt.
    pub fn write(
        &self,
        model: &Model,
        step: u64,
        request: &Request<'_>,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Sample> {
        let mut prompt = vec![self.end_of_text];
        self.tokenizer.encode(request.prompt, &mut prompt)?;
        let mut stream = TextStream::default();
        let tokens = model::generate(
            model,
            &prompt,
            request.max_tokens,
            self.end_of_text,
            &request.sampling,
            |token| match stream.push(&self.tokenizer.decode(&[token])) {
                text if text.is_empty() => Ok(()),
                text => on_text(&text),
            },
        )?;
        let rest = stream.finish();
        if !rest.is_empty() {
            on_text(&rest)?;
        }
        Ok(Sample {
            step,
            prompt: request.prompt.to_owned(),
            text: self.tokenizer.decode_text(&tokens),
            tokens: tokens.len() as u64,
            ended: tokens.len() < request.max_tokens,
        })
    }
}

/// Bytes in pieces → text, a character not before its last byte.
#[derive(Default)]
pub struct TextStream {
    held: Vec<u8>,
}

impl TextStream {
    /// The text that is complete with `bytes`; what can be no character becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let incomplete = match self.held.utf8_chunks().last() {
            Some(chunk) if is_incomplete(chunk.invalid()) => chunk.invalid().len(),
            _ => 0,
        };
        let rest = self.held.split_off(self.held.len() - incomplete);
        let complete = std::mem::replace(&mut self.held, rest);
        String::from_utf8_lossy(&complete).into_owned()
    }

    /// What is left, as it is.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.held).into_owned()
    }
}

/// Whether the bytes at the end of a text could still become a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_comes_with_its_last_byte() {
        let mut stream = TextStream::default();
        let text = "aé€😀".as_bytes();
        let pieces: Vec<String> = text.iter().map(|&byte| stream.push(&[byte])).collect();
        assert_eq!(pieces, ["a", "", "é", "", "", "€", "", "", "", "😀"]);
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_the_stream() {
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"\xff"), "\u{fffd}");
        assert_eq!(stream.push(b"\xe2\x82"), "");
        assert_eq!(stream.push(b"x"), "\u{fffd}x");
        assert_eq!(stream.push(b"\xf0"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }
}
