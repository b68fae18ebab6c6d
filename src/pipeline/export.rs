//! `export`: one command for models and for tokens; the form that is asked for says which.
//!
//! In → a request; out → its stage. `to = "hf"` and `"gguf"` write a run, the forms of
//! [`crate::interop`] write shards and mixes; a build without training has these alone.

use std::path::Path;

use super::request::Request;
use crate::{
    artifact::stage::Stage,
    base::{
        config::{self, Table},
        error::{Error, Result},
    },
    interop::{TokenExport, TokenExportConfig, config::FORMS, is_token_form},
};

/// Keys of exporting a model, and of exporting tokens.
pub fn keys() -> Vec<&'static str> {
    let own = config::fields::<TokenExportConfig>();
    #[cfg(feature = "train")]
    let model = config::fields::<crate::export::ExportConfig>();
    #[cfg(not(feature = "train"))]
    let model: &[&str] = &[];
    let others = own.iter().filter(|key| !model.contains(key));
    model.iter().chain(others).copied().collect()
}

/// Keys with a value when nobody sets them: those of a model.
pub fn defaults() -> Table {
    #[cfg(feature = "train")]
    return Table::try_from(crate::export::ExportConfig::default()).expect("plain values");
    #[cfg(not(feature = "train"))]
    Table::new()
}

/// Fails where no input could be written so.
pub fn check(request: &Request) -> Result<()> {
    match is_token_form(&request.config) {
        true => tokens(request)?.check(),
        false => check_model(request),
    }
}

/// Opens the input.
pub fn open(request: &Request, input: &Path) -> Result<Box<dyn Stage>> {
    if is_token_form(&request.config) {
        let stage = TokenExport::open(input, tokens(request)?, &request.training.data)?;
        return Ok(Box::new(stage));
    }
    refuse_tokens(input)?;
    if !request.training.data.is_empty() {
        return Err(Error::config("`--data` says where the shards of a mix lie")
            .with_hint("a model has none: leave it out"));
    }
    open_model(request, input)
}

fn tokens(request: &Request) -> Result<TokenExportConfig> {
    config::parse(request.config.clone(), &format!("the config of `{}`", request.name))
}

/// Refuses shards and mixes without `to`: no form of tokens is the default.
fn refuse_tokens(input: &Path) -> Result<()> {
    use crate::artifact::{manifest::Manifest, record::Kind};
    if !Manifest::stands_in(input) {
        return Ok(());
    }
    let kind = Manifest::read(input)?.kind;
    if !matches!(kind, Kind::Shards | Kind::Mix) {
        return Ok(());
    }
    Err(Error::config(format!("in which form? `{}` is {kind}", input.display()))
        .with_hint(format!("say it: `--to {}`", names())))
}

fn names() -> String {
    FORMS.map(|(_, name)| name).join("|")
}

#[cfg(feature = "train")]
fn model(request: &Request) -> Result<crate::export::ExportConfig> {
    if let Some(to) = request.config.get("to").and_then(toml::Value::as_str)
        && !["hf", "gguf", "peft"].contains(&to)
    {
        let error = Error::config(format!("there is no form `{to}`"));
        return Err(error.with_hint(format!("hf, gguf and peft of a run; of tokens {}", names())));
    }
    if request.config.contains_key("sequence") {
        let error = Error::config("`sequence` cuts tokens into rows, and a model has none");
        return Err(error.with_hint(format!("of shards or a mix say `--to {}`", names())));
    }
    config::parse(request.config.clone(), &format!("the config of `{}`", request.name))
}

#[cfg(feature = "train")]
fn check_model(request: &Request) -> Result<()> {
    model(request)?.check()
}

#[cfg(feature = "train")]
fn open_model(request: &Request, input: &Path) -> Result<Box<dyn Stage>> {
    Ok(Box::new(crate::export::Export::open(input, model(request)?)?))
}

#[cfg(not(feature = "train"))]
fn check_model(_: &Request) -> Result<()> {
    let error = Error::config("this build writes tokens, and has no models");
    Err(error.with_hint(format!("say the form, `--to {}`", names())))
}

#[cfg(not(feature = "train"))]
fn open_model(request: &Request, _: &Path) -> Result<Box<dyn Stage>> {
    check_model(request).map(|()| unreachable!("refused just above"))
}
