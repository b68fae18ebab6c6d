//! Commands that look at a tokenizer: its tokens in a text, its other formats.
//!
//! In → arguments; out → words on a screen, and the one file that was asked for. What is computed
//! lives in [`crate::tokenizer`].

use std::path::Path;

use serde_json::json;

use super::Commands;
use super::args::{ExportArgs, ExportFormat, Flags, StageArgs, TokenizeFlags};
use super::rules::read_text;
use crate::base::config::{self, Table};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::tokenize::TokenizeConfig;
use crate::tokenizer::{self, SpecialText, Tokenizer};

impl Commands<'_> {
    /// `tokenizer export`
    pub(super) fn export(&self, args: &ExportArgs) -> Result<()> {
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
