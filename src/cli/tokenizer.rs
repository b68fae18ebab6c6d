//! `tokenizer …`: what can be typed of it, and the commands that look at a tokenizer.
//!
//! In → arguments; out → the one file that was asked for. What is computed lives in
//! [`crate::tokenizer`].

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::Commands;
use super::args::{Flags, StageArgs, TextFlags, put};
use crate::base::config::Table;
use crate::base::error::Result;
use crate::base::io;
use crate::tokenizer::{self, SpecialText, Tokenizer};

/// `dataprep tokenizer …`
#[derive(Subcommand, Debug)]
pub enum TokenizerCommand {
    /// Train a byte-level BPE
    Train(Box<StageArgs<VocabFlags>>),
    /// Write a tokenizer for tools that do not read `tokenizer.json`
    Export(ExportArgs),
}

/// Arguments of `tokenizer export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// A tokenizer.json, or a folder with one
    pub path: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
}

/// Formats of `tokenizer export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A tiktoken rank file: base64 of each token and its rank
    Tiktoken,
    /// tokenizer.json with merges as "left right", as readers older than tokenizers 0.20 need
    MergesAsText,
}

/// Flags of `tokenizer train`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Vocabulary")]
pub struct VocabFlags {
    /// Entries: special tokens, 256 bytes and merges, as `32k`; several, as `8k,16k,32k`, are one
    /// training and a folder each
    #[arg(long, value_name = "N")]
    vocab: Option<String>,
    /// How text is cut before merging: cl100k (GPT-4), llama3, gpt2, qwen2, o200k (GPT-4o), smollm,
    /// or a regular expression [default: cl100k]
    #[arg(long, value_name = "NAME|REGEX")]
    pattern: Option<String>,
    /// Train on this share of the documents, chosen by their text [default: 1]
    #[arg(long, value_name = "SHARE")]
    sample: Option<f64>,
    #[command(flatten)]
    text: TextFlags,
}

impl Flags for VocabFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "vocab", self.vocab.clone());
        put(keys, "pattern", self.pattern.clone());
        put(keys, "sample", self.sample);
        self.text.fill(keys);
    }
}

impl Commands<'_> {
    /// `tokenizer export`
    pub(super) fn export_tokenizer(&self, args: &ExportArgs) -> Result<()> {
        let format = match args.format {
            ExportFormat::Tiktoken => tokenizer::export::Format::Tiktoken,
            ExportFormat::MergesAsText => tokenizer::export::Format::MergesAsText,
        };
        let place = self.output_file(&args.out, std::slice::from_ref(&args.path), None)?;
        let opened = self.open_tokenizer(&args.path, SpecialText::Text)?;
        let bytes = tokenizer::export::export(opened.json(), format)?;
        io::write(&place, &bytes)?;
        self.printer.result(&format!("wrote {}", args.out.display()));
        self.printer.record(&json!({"type": "summary", "files": [args.out]}));
        Ok(())
    }

    /// A tokenizer that is only looked at; what is odd about it is said.
    pub(super) fn open_tokenizer(
        &self,
        path: &Path,
        special_text: SpecialText,
    ) -> Result<Tokenizer> {
        let tokenizer = Tokenizer::open_with(path, special_text)?;
        tokenizer.notices().iter().for_each(|notice| self.printer.warning(notice));
        Ok(tokenizer)
    }
}
