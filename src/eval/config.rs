//! The options of an evaluation.
//!
//! In → keys of the command line, a file or a recipe; out → [`EvalConfig`], checked. Keys that
//! change a result are part of the fingerprint; `batch_tokens` is not, since no result depends on
//! it.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};

/// The keys of `eval`, beside those of reading text, which apply to `on`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Names of tasks, `.toml` files with tasks, files of items or requests.
    #[serde(skip_serializing)]
    pub tasks: Vec<String>,
    /// Where the tasks' original files lie.
    #[serde(skip_serializing)]
    pub evals: Option<String>,
    /// The number of items of each task to score, from the first; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The number of examples before each question.
    pub shots: usize,
    /// The seed that draws the examples.
    #[serde(skip_serializing)]
    pub seed: u64,
    /// Texts whose bits per byte are measured: `[NAME=]PATH` each.
    #[serde(skip_serializing)]
    pub on: Vec<String>,
    /// Tokens that the model reads at once; when absent, the length that it was trained at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Tokens of a text that each window scores; when absent, `length`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Tokens that go through the model together; changes no result.
    #[serde(skip_serializing)]
    pub batch_tokens: usize,
}

impl Default for EvalConfig {
    fn default() -> EvalConfig {
        EvalConfig {
            tasks: Vec::new(),
            evals: None,
            limit: None,
            shots: 0,
            seed: 0,
            on: Vec::new(),
            length: None,
            stride: None,
            // Products of 512 rows run at nearly the speed of longer ones, in half the memory.
            batch_tokens: 512,
        }
    }
}

impl EvalConfig {
    /// Refuses what cannot work, naming the key.
    ///
    /// # Errors
    /// Config.
    pub fn check(&self) -> Result<()> {
        if self.tasks.is_empty() && self.on.is_empty() {
            return Err(Error::config("nothing to evaluate on").with_hint(
                "name tasks, `--tasks hellaswag,arc_easy --evals DIR`, or texts, `--on IN…`",
            ));
        }
        let zero = |number: Option<usize>| number == Some(0);
        let keys = [("limit", self.limit), ("length", self.length), ("stride", self.stride)];
        let batch = ("batch_tokens", Some(self.batch_tokens));
        if let Some((key, _)) = keys.into_iter().chain([batch]).find(|(_, number)| zero(*number)) {
            return Err(Error::config(format!("`{key}` must be 1 or more")));
        }
        match (self.stride, self.length) {
            (Some(stride), Some(length)) if stride > length => Err(Error::config(format!(
                "`stride` is {stride}, more than the {length} tokens that a window has"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named() {
        let tasks = || EvalConfig { tasks: vec!["piqa".into()], ..EvalConfig::default() };
        assert!(tasks().check().is_ok());
        for (config, expected) in [
            (EvalConfig::default(), "nothing to evaluate on"),
            (EvalConfig { limit: Some(0), ..tasks() }, "`limit`"),
            (EvalConfig { batch_tokens: 0, ..tasks() }, "`batch_tokens`"),
            (EvalConfig { stride: Some(9), length: Some(8), ..tasks() }, "`stride` is 9"),
        ] {
            let error = config.check().unwrap_err();
            assert_eq!(error.exit_status(), 2);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
