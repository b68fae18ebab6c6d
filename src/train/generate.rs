//! `generate`: prompts continued by any model.
//!
//! In → a run, one of its checkpoints or a directory in Hugging Face's form, prompts; out → text as
//! it comes, and a [`Generated`] a prompt. Everything is read and held against its hash before the
//! first word is printed. Several prompts are continued side by side, each as it would be alone:
//! for them together the weights are read once a token.

use std::path::Path;

use serde::Serialize;

use super::{
    sample::{Continuation, Ended, Request, Said, Writer},
    trained::Trained,
};
use crate::base::error::{Error, Result};
use crate::runtime::{device::Device, model::Sampling};

/// How to continue prompts.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// A step of the run; the latest checkpoint without one.
    pub step: Option<u64>,
    /// Tokens at most.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end a continuation and are no part of it.
    pub stops: Vec<String>,
    /// `auto`, `cpu` or `cuda`.
    pub device: String,
}

/// A prompt and what it was continued with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generated {
    /// The step of the run's checkpoint; none for a model in Hugging Face's form.
    pub step: Option<u64>,
    /// What was given.
    pub prompt: String,
    /// What came, without the prompt.
    pub text: String,
    /// Tokens that came.
    pub tokens: u64,
    /// Whether the model ended the text itself.
    pub ended: bool,
    /// The stop string that ended it.
    pub stop: Option<String>,
}

/// A model that was read whole, ready to continue prompts.
pub struct Generator {
    trained: Trained,
    options: GenerateOptions,
}

impl Generator {
    /// Loads the model at `path` ([`Trained::open`]); `warn` is told of damage passed over.
    ///
    /// # Errors
    /// Config: no such model, a value without a meaning. Damaged: the checkpoint that was named.
    pub fn open(path: &Path, options: &GenerateOptions, warn: &dyn Fn(&str)) -> Result<Generator> {
        options.sampling.check()?;
        if options.stops.iter().any(String::is_empty) {
            return Err(Error::config("`--stop` is empty: expected a text"));
        }
        let device = Device::from_name(&options.device)?;
        let trained = Trained::open(path, options.step, &device, warn)?;
        Ok(Generator { trained, options: options.clone() })
    }

    /// Continues a prompt; `on_text` gets the text as it comes, whole characters only.
    pub fn write(
        &self,
        prompt: &str,
        mut on_text: impl FnMut(&str) -> Result<()>,
    ) -> Result<Generated> {
        let came =
            self.writer().write(&self.trained.model, prompt, &self.request(), &mut on_text)?;
        Ok(self.generated(prompt, came))
    }

    /// Continues prompts side by side; `on_said` gets each text as it comes, and what came of it,
    /// by the place of its prompt.
    pub fn write_all(
        &self,
        prompts: &[String],
        mut on_said: impl FnMut(usize, Said<'_, Generated>) -> Result<()>,
    ) -> Result<()> {
        let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let (writer, request) = (self.writer(), self.request());
        writer.write_all(&self.trained.model, &texts, &request, &mut |at, said| match said {
            Said::Text(text) => on_said(at, Said::Text(text)),
            Said::End(came) => on_said(at, Said::End(self.generated(&prompts[at], came))),
        })
    }

    fn writer(&self) -> Writer<'_> {
        Writer::new(&self.trained.tokenizer, self.trained.opener, &self.trained.ends)
    }

    fn request(&self) -> Request<'_> {
        let GenerateOptions { max_tokens, sampling, stops, .. } = &self.options;
        Request { max_tokens: *max_tokens, sampling, stops }
    }

    fn generated(&self, prompt: &str, came: Continuation) -> Generated {
        let Continuation { text, tokens, ended } = came;
        let (step, prompt) = (self.trained.step, prompt.to_owned());
        let (stop, ended) = match ended {
            Ended::Stop(stop) => (Some(stop), false),
            ended => (None, ended == Ended::EndOfText),
        };
        Generated { step, prompt, text, tokens, ended, stop }
    }
}
