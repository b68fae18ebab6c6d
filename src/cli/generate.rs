//! `generate`: a trained model continues a prompt.
//!
//! In → arguments; out → the text as it comes, or one JSON record. What is computed lives in
//! [`crate::train`].

use super::Commands;
use super::args::GenerateArgs;
use crate::base::{error::Result, interrupt};
use crate::train::{self, GenerateOptions};

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
