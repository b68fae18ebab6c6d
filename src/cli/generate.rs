//! `generate`: a trained model continues prompts.
//!
//! In → arguments; out → the text as it comes, or one JSON record. What is computed lives in
//! [`crate::train`].

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Commands;
use crate::base::{error::Result, interrupt};
use crate::runtime::model::Sampling;
use crate::train::{self, GenerateOptions};

/// Arguments of `generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// A run, one of its checkpoints, or a model in Hugging Face's form
    pub model: PathBuf,
    /// Text to continue; several are continued side by side [default: an empty one]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// Tokens at most
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub max_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token
    #[arg(long, default_value_t = 0.8, value_name = "T", allow_hyphen_values = true)]
    pub temperature: f64,
    /// Draw among so many of the likeliest tokens; 0: among all
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub top_k: usize,
    /// Draw among the fewest tokens that have this probability together
    #[arg(long, default_value_t = 1.0, value_name = "P", allow_hyphen_values = true)]
    pub top_p: f64,
    /// Draw among tokens of at least this share of the likeliest's probability
    #[arg(long, default_value_t = 0.0, value_name = "P", allow_hyphen_values = true)]
    pub min_p: f64,
    /// Make tokens that occurred less likely: their logits are divided by it (multiplied below 0)
    #[arg(long, default_value_t = 1.0, value_name = "X", allow_hyphen_values = true)]
    pub repetition_penalty: f64,
    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// Makes the draws; another seed, another text
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// The checkpoint of this step of a run [default: the latest]
    #[arg(long, value_name = "STEP")]
    pub step: Option<u64>,
    /// auto, cpu, or cuda
    #[arg(long, default_value = "auto")]
    pub device: String,
}

impl GenerateArgs {
    fn options(&self) -> GenerateOptions {
        GenerateOptions {
            step: self.step,
            max_tokens: self.max_tokens,
            sampling: Sampling {
                temperature: self.temperature,
                seed: self.seed,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
            },
            stops: self.stop.clone(),
            device: self.device.clone(),
        }
    }
}

impl Commands<'_> {
    /// `generate`
    pub(super) fn generate(&self, args: &GenerateArgs) -> Result<()> {
        let warn = |text: &str| self.printer.warning(text);
        let generator = train::Generator::open(&args.model, &args.options(), &warn)?;
        if args.prompt.len() > 1 {
            return self.generate_all(&generator, &args.prompt);
        }
        let prompt = args.prompt.first().map_or("", String::as_str);
        self.printer.raw(prompt);
        let generated = generator.write(prompt, |text| {
            self.printer.raw(text);
            interrupt::check()
        })?;
        self.printer.raw("\n");
        let mut record = serde_json::to_value(&generated).expect("plain data");
        record["type"] = "summary".into();
        self.printer.record(&record);
        Ok(())
    }

    /// Several prompts: each with its text, and a blank line between two.
    fn generate_all(&self, generator: &train::Generator, prompts: &[String]) -> Result<()> {
        let texts = generator.write_all(prompts, &interrupt::check)?;
        for (at, generated) in texts.iter().enumerate() {
            let between = if at > 0 { "\n" } else { "" };
            self.printer.raw(&format!("{between}{}{}\n", generated.prompt, generated.text));
        }
        self.printer.record(&json!({ "type": "summary", "texts": texts }));
        Ok(())
    }
}
