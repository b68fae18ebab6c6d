//! `import`: its tokenizer is a key, as in `tokenize`, and its form has to be said.
//!
//! In → a request; out → its stage.

use std::path::PathBuf;

use super::request::Request;
use crate::{
    artifact::stage::Stage,
    base::{
        config,
        error::{Error, Result},
    },
    source::InputSpec,
    tokenize::import::{Import, ImportConfig},
};

/// Its keys.
pub fn keys() -> Vec<&'static str> {
    [config::fields::<ImportConfig>(), &["tokenizer"]].concat()
}

/// Fails where no files could be read so.
pub fn check(request: &Request) -> Result<()> {
    specs(request)?;
    parts(request)?.0.check()
}

/// Opens files and tokenizer.
pub fn open(request: &Request) -> Result<Box<dyn Stage>> {
    let (config, tokenizer) = parts(request)?;
    Ok(Box::new(Import::open(&specs(request)?, config, &tokenizer)?))
}

fn specs(request: &Request) -> Result<Vec<InputSpec>> {
    request.inputs.iter().map(|input| input.parse()).collect()
}

fn parts(request: &Request) -> Result<(ImportConfig, PathBuf)> {
    let mut table = request.config.clone();
    let tokenizer = table.remove("tokenizer");
    let Some(tokenizer) = tokenizer.as_ref().and_then(|path| path.as_str()) else {
        let error = Error::config("which tokenizer made the tokens? `tokenizer` is not set");
        return Err(error.with_hint("name a `tokenizer.json` or its folder: `--tokenizer PATH`"));
    };
    if !table.contains_key("from") {
        let error = Error::config("whose files are these? `from` is not set");
        return Err(error.with_hint("say it: `--from nanogpt|llmc|megatron`"));
    }
    let what = format!("the config of `{}`", request.name);
    Ok((config::parse(table, &what)?, tokenizer.into()))
}
