//! `import`: what can be typed of it beside its inputs.
//!
//! In → `argv`; out → keys of the stage. What is computed lives in [`crate::tokenize::import`].

use std::path::PathBuf;

use clap::Args;

use super::args::{Flags, put};
use crate::base::config::Table;

/// Flags of `import`. IN is `[NAME=]PATH`: a `.bin`, or a folder with some.
#[derive(Args, Debug)]
#[command(next_help_heading = "Form")]
pub struct ImportFlags {
    /// nanogpt: raw tokens; llmc: with llm.c's header; megatron: `.bin` beside `.idx`
    #[arg(long, value_name = "FORM")]
    from: Option<String>,
    /// The tokenizer that made them: a tokenizer.json, or a folder with one
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Share of documents held out, decided by their text [default: 0.005; none where a file of
    /// validation (`val.bin`) is given, which is held out whole]
    #[arg(long, value_name = "SHARE")]
    holdout: Option<f64>,
}

impl Flags for ImportFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "from", self.from.clone());
        let path = self.tokenizer.as_ref().map(|path| path.to_string_lossy().into_owned());
        put(keys, "tokenizer", path);
        put(keys, "holdout", self.holdout);
    }
}
