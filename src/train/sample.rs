//! Text from a model: what it continues a prompt with.
//!
//! In → prompts; out → a [`Continuation`] each. Each text starts from the model's opener
//! (end-of-text, as every training document does), and ends at the model's own end-of-text, at a
//! stop string or at the limit. The draws are functions of (seed, place in the text), so a prompt
//! gives the same text again, and the samples of two milestones differ by the model alone. Tokens
//! may end inside a character: [`TextStream`] holds such bytes back until the rest is there.

use std::collections::BTreeMap;

use super::stop::StopFinder;
use crate::base::error::{Error, Result};
use crate::runtime::model::{self, Asked, Event, Model, Sampling};
use crate::tokenizer::Tokenizer;

/// What is asked of a continuation.
pub struct Request<'a> {
    /// Tokens at most.
    pub max_tokens: usize,
    /// How tokens are drawn.
    pub sampling: &'a Sampling,
    /// Texts of which the first that comes ends the continuation, and is no part of it.
    pub stops: &'a [String],
}

/// What a prompt was continued with.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// Without the prompt.
    pub text: String,
    /// Tokens that came, those of a stop string included.
    pub tokens: u64,
    /// Why it is no longer.
    pub ended: Ended,
}

/// Why a continuation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model ended the text.
    EndOfText,
    /// This stop string came.
    Stop(String),
    /// It has as many tokens as were asked for.
    Limit,
}

/// What is said of a text that is being written.
pub enum Said<'a, T> {
    /// It goes on: whole characters, and nothing that may still be the beginning of a stop string.
    Text(&'a str),
    /// It is over, and this is what came.
    End(T),
}

/// Turns text into tokens for a model, and its tokens into text.
pub struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    opener: Option<u32>,
    ends: &'a [u32],
}

impl<'a> Writer<'a> {
    /// `opener`: what every text starts from; `ends`: what ends it.
    pub fn new(tokenizer: &'a Tokenizer, opener: Option<u32>, ends: &'a [u32]) -> Writer<'a> {
        Writer { tokenizer, opener, ends }
    }

    /// Continues one prompt; `on_text` gets the text as it comes.
    pub fn write(
        &self,
        model: &Model,
        prompt: &str,
        request: &Request<'_>,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Continuation> {
        let mut came = None;
        self.write_all(model, &[prompt], request, &mut |_, said| match said {
            Said::Text(text) => on_text(text),
            Said::End(continuation) => {
                came = Some(continuation);
                Ok(())
            }
        })?;
        Ok(came.expect("every text has its end"))
    }

    /// Continues prompts side by side, each as it would be alone. `on_said` gets each text as it
    /// comes, and what came of it, by the place of its prompt.
    pub fn write_all(
        &self,
        model: &Model,
        prompts: &[&str],
        request: &Request<'_>,
        on_said: &mut dyn FnMut(usize, Said<'_, Continuation>) -> Result<()>,
    ) -> Result<()> {
        let prompts = prompts.iter().map(|prompt| self.prompt(model, prompt));
        let prompts: Vec<Vec<u32>> = prompts.collect::<Result<_>>()?;
        let Request { max_tokens, sampling, stops } = *request;
        let asked = Asked { max_tokens, ends: self.ends, sampling };
        let mut texts: BTreeMap<usize, Written> = BTreeMap::new();
        model::generate_all(model, &prompts, &asked, |at, event| {
            let text = texts.entry(at).or_insert_with(|| Written::new(stops));
            let piece = match event {
                Event::Token(token) => text.push(self.tokenizer, token),
                Event::End => text.finish(),
            };
            if !piece.is_empty() {
                on_said(at, Said::Text(&piece))?;
            }
            let goes_on = text.stops.found().is_none();
            if event == Event::End
                && let Some(text) = texts.remove(&at)
            {
                on_said(at, Said::End(text.came(max_tokens)))?;
            }
            Ok(goes_on)
        })
    }

    /// The tokens of a prompt, behind the opener.
    ///
    /// # Errors
    /// Config: nothing to begin with. Failed: a tokenizer of another model.
    pub fn prompt(&self, model: &Model, text: &str) -> Result<Vec<u32>> {
        let mut tokens: Vec<u32> = self.opener.into_iter().collect();
        self.tokenizer.encode(text, &mut tokens)?;
        if tokens.is_empty() {
            let first = self.ends.first().copied();
            tokens.push(first.ok_or_else(|| {
                Error::config("the model names no token that a text could begin with")
                    .with_hint("give a prompt that is not empty")
            })?);
        }
        let rows = model.config().vocab_size;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= rows) {
            return Err(Error::failed(format!(
                "the tokenizer gives token {token}, and the model has {rows}"
            ))
            .with_hint("tokenizer and model do not belong together"));
        }
        Ok(tokens)
    }
}

/// A text as far as it has come.
struct Written {
    characters: TextStream,
    stops: StopFinder,
    text: String,
    tokens: Vec<u32>,
}

impl Written {
    fn new(stops: &[String]) -> Written {
        let (characters, stops) = (TextStream::default(), StopFinder::new(stops));
        Written { characters, stops, text: String::new(), tokens: Vec::new() }
    }

    /// What of the text is sure with one more token.
    fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        let characters = self.characters.push(&tokenizer.decode_after(&self.tokens, token));
        self.tokens.push(token);
        let piece = self.stops.push(&characters);
        self.text.push_str(&piece);
        piece
    }

    /// What was held back.
    fn finish(&mut self) -> String {
        let characters = std::mem::take(&mut self.characters).finish();
        let mut piece = self.stops.push(&characters);
        piece.push_str(&self.stops.finish());
        self.text.push_str(&piece);
        piece
    }

    fn came(self, max_tokens: usize) -> Continuation {
        let ended = match self.stops.found() {
            Some(stop) => Ended::Stop(stop.to_owned()),
            None if self.tokens.len() < max_tokens => Ended::EndOfText,
            None => Ended::Limit,
        };
        Continuation { text: self.text, tokens: self.tokens.len() as u64, ended }
    }
}

/// Turns bytes that come in pieces into text: a character comes out when its last byte is in.
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
