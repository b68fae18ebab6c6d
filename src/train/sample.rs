//! Text from a model: the samples of a run, and `generate` from any of its checkpoints.
//!
//! In → a prompt; out → what the model continues it with. Every text starts from end-of-text, as
//! every training document does, and ends at the model's own end-of-text or at the limit. The draws
//! are functions of (seed, place in the text), so a prompt gives the same text again, and the
//! samples of two milestones differ by the model alone. Tokens may end inside a character:
//! [`TextStream`] holds such bytes back until the rest is there.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::directory;
use crate::base::error::{Error, Result};
use crate::runtime::{
    checkpoint::{self, Checkpoint},
    device::Device,
    model::{self, Model, Sampling},
};
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

/// How to continue a prompt.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// A step of the run; the latest checkpoint without one.
    pub step: Option<u64>,
    /// The text to continue; may be empty.
    pub prompt: String,
    /// Tokens at most.
    pub max_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Makes the draws.
    pub seed: u64,
    /// `auto`, `cpu`, `cuda`, `cuda:1`.
    pub device: String,
}

/// Loads a checkpoint of `run` (a run, or one of its checkpoints' directories) and continues the
/// prompt; `on_text` gets the text as it comes, whole characters only.
pub fn generate(
    run: &Path,
    options: &GenerateOptions,
    mut on_text: impl FnMut(&str) -> Result<()>,
) -> Result<Sample> {
    let (root, checkpoint) = find_checkpoint(run, options.step)?;
    let tokenizer = Tokenizer::open(&root.join(directory::TOKENIZER))?;
    let model = checkpoint.model(&Device::from_name(&options.device)?)?;
    let end_of_text = directory::end_of_text(&root, &tokenizer)?;
    let writer = Writer::new(&tokenizer, end_of_text);
    let sampling = Sampling { temperature: options.temperature, seed: options.seed };
    let request = Request { prompt: &options.prompt, max_tokens: options.max_tokens, sampling };
    writer.write(&model, checkpoint.step, &request, &mut on_text)
}

/// The run's directory and the checkpoint meant.
fn find_checkpoint(run: &Path, step: Option<u64>) -> Result<(PathBuf, Checkpoint)> {
    if let Some((root, name)) = directory::of_checkpoint(run) {
        let found = checkpoint::list(&root.join(directory::CHECKPOINTS))?;
        let found = found.into_iter().find(|checkpoint| checkpoint.path.ends_with(&name));
        let missing = || Error::config(format!("`{}` is no checkpoint", run.display()));
        return Ok((root, found.ok_or_else(missing)?));
    }
    let checkpoints = run.join(directory::CHECKPOINTS);
    let found = match step {
        Some(step) => Some(checkpoint::find(&checkpoints, step)?),
        None => checkpoint::latest(&checkpoints)?,
    };
    let checkpoint = found.ok_or_else(|| {
        Error::config(format!("`{}` has no checkpoint to generate from", run.display()))
            .with_hint("give the directory of a run; `train.checkpoint_every` makes checkpoints")
    })?;
    Ok((run.to_owned(), checkpoint))
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
