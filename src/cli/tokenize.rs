//! `tokenize`: what can be typed of it, and the tokens of what is typed.
//!
//! In → arguments; out → tokens on a screen. What is computed lives in [`crate::tokenize`] and
//! [`crate::tokenizer`].

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Commands;
use super::args::{Flags, StageArgs, put};
use super::filter::read_text;
use super::tokenizer::VocabFlags;
use crate::base::config::{self, Table};
use crate::base::error::{Error, Result};
use crate::tokenize::TokenizeConfig;

/// Flags of `tokenize`. IN may be `-`: text from stdin is cut and shown.
#[derive(Args, Debug)]
#[command(next_help_heading = "Tokenizer")]
pub struct TokenizeFlags {
    /// A tokenizer.json, or a folder with one; instead of `--vocab`
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    #[command(flatten)]
    vocab: VocabFlags,
}

impl Flags for TokenizeFlags {
    fn fill(&self, keys: &mut Table) {
        let path = self.tokenizer.as_ref().map(|path| path.to_string_lossy().into_owned());
        put(keys, "tokenizer", path);
        self.vocab.fill(keys);
    }
}

impl Commands<'_> {
    /// `tokenize -`: the tokens of stdin, told apart by colour, or by bars where there is none.
    pub(super) fn show_tokens(&self, args: &StageArgs<TokenizeFlags>) -> Result<()> {
        let mut flags = Table::new();
        args.flags.fill(&mut flags);
        let mut table = Commands::keys(&args.config, flags)?;
        let what = "`tokenize -`, which shows tokens and writes nothing";
        config::refuse_unknown(&table, &["tokenizer", "special_text"], what)?;
        let path = table.remove("tokenizer");
        let Some(path) = path.as_ref().and_then(|path| path.as_str()) else {
            let message = "which tokenizer? `tokenize -` shows the tokens of one that exists";
            return Err(Error::config(message).with_hint("name it: `--tokenizer PATH`"));
        };
        let TokenizeConfig { special_text, .. } = config::parse(table, what)?;
        let tokenizer = self.open_tokenizer(Path::new(path), special_text)?;
        let text = read_text(Path::new("-"))?;
        let mut ids = Vec::new();
        tokenizer.encode(&text, &mut ids)?;
        for (index, &id) in ids.iter().enumerate() {
            let token = tokenizer.decode_text(&[id]);
            self.printer.token(index, &token);
            self.printer.record(&json!({"type": "token", "id": id, "text": token}));
        }
        let each = text.len() as f64 / ids.len().max(1) as f64;
        self.printer.raw("\n");
        let (tokens, bytes) = (ids.len(), text.len());
        self.printer.notice(&format!("{tokens} tokens, {bytes} bytes, {each:.2} bytes a token"));
        self.printer.record(&json!({"type": "summary", "tokens": ids.len(), "bytes": text.len()}));
        Ok(())
    }
}
