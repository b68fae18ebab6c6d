//! `generate`: a trained model continues a prompt.
//!
//! In → arguments; out → the text as it comes, or one JSON record. What is computed lives in
//! [`crate::train`].

use std::path::PathBuf;

use clap::Args;

use super::Commands;
use crate::base::{error::Result, interrupt};
use crate::train::{self, GenerateOptions};

/// Arguments of `generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// A run, or one of its checkpoints
    pub run: PathBuf,
    /// Text to continue
    #[arg(long, default_value = "")]
    pub prompt: String,
    /// Tokens at most
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub max_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token
    #[arg(long, default_value_t = 0.8, value_name = "T", allow_hyphen_values = true)]
    pub temperature: f64,
    /// Makes the draws; another seed, another text
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// The checkpoint of this step [default: the latest]
    #[arg(long, value_name = "STEP")]
    pub step: Option<u64>,
    /// auto, or cpu
    #[arg(long, default_value = "auto")]
    pub device: String,
}

impl Commands<'_> {
    /// `generate`
    pub(super) fn generate(&self, args: &GenerateArgs) -> Result<()> {
        let options = GenerateOptions {
            step: args.step,
            prompt: args.prompt.clone(),
            max_tokens: args.max_tokens,
            temperature: args.temperature,
            seed: args.seed,
            device: args.device.clone(),
        };
        let warn = |text: &str| self.printer.warning(text);
        let generator = train::Generator::open(&args.run, &options, &warn)?;
        self.printer.raw(&args.prompt);
        let sample = generator.write(|text| {
            self.printer.raw(text);
            interrupt::check()
        })?;
        self.printer.raw("\n");
        let mut record = serde_json::to_value(&sample).expect("plain data");
        record["type"] = "summary".into();
        self.printer.record(&record);
        Ok(())
    }
}
