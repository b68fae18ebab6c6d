//! `tokenize`: documents → token shards.
//!
//! In: a corpus or raw files, and a tokenizer (an artifact of `tokenizer train`, or anybody's
//! `tokenizer.json`). Out: `shard-00000.arrow …`, one a unit (see [`crate::shards`] for the
//! format), with every document, empty and held-out ones too, sorted by cell, never split, without
//! end-of-text; beside them `tokenizer/`. Method: each document is one sequence; text that spells a
//! special token stays text, unless `special_text` asks for tokens, and is counted
//! (`special_token_texts`). The manifest's config names the end-of-text token, which `mix` puts
//! between documents, and the size of the vocabulary. With `loss_on = "answers"` a conversation is
//! cut where its answers begin and end, each part is encoded alone, as a prompt is when a model is
//! asked, and the shard says which tokens are trained on. Invariants: in = out + rejected; thread
//! count and batches change no byte. Cost: of the time from Parquet to shards, encoding takes 30%
//! (for 220 MB of text not seen before), zstd of the tokens 27%, zstd of the Parquet 17%; some 70
//! MB of text per CPU-second, where zstd alone compresses tokens at 166 MB (`benches/results`).
//! Memory: up to 64 MiB of known pieces a thread and up to 2²⁶ tokens a unit. Parallel over units,
//! over row groups inside one, and over the blocks that are written.

mod config;
pub mod import;
mod run;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use config::{LossOn, TokenizeConfig};

use std::path::Path;

use arrow::datatypes::DataType;
use serde_json::Value;

use self::vocabulary::Vocabulary;
use crate::artifact::counts::Counts;
use crate::artifact::{
    record::{InputRecord, Kind},
    stage::{Needs, Phase, Plan, Publish, Stage, TextInputs, Unit, UnitPlan, Work},
};
use crate::base::error::{Error, Result};
use crate::shards::writer::held_bytes;
use crate::source::messages::ANSWERS;
use crate::source::{InputConfig, InputFile, InputSpec, Inputs};
use crate::tokenizer::bpe::encode::STATE_BYTES;
use crate::tokenizer::{SpecialText, UNICODE_VERSION};

/// Special tokens that a warning lists.
const SPECIAL_SHOWN: usize = 8;

/// The stage with its opened inputs and its tokenizer.
pub struct Tokenize {
    inputs: Inputs,
    vocabulary: Vocabulary,
    end_of_text: Option<(String, u32)>,
    special_text: SpecialText,
    loss_on: LossOn,
    /// A key of the configuration that says where the tokenizer was fetched from.
    origin: Option<(&'static str, Value)>,
    notices: Vec<String>,
}

impl Tokenize {
    /// Opens the inputs (metadata only) and the tokenizer: a `tokenizer.json` or its folder.
    ///
    /// # Errors
    /// [`crate::base::error::Error::Config`] when there is no tokenizer, or it has no such
    /// `end_of_text`; whatever opening the inputs gives.
    pub fn open(
        specs: &[InputSpec],
        input: InputConfig,
        config: TokenizeConfig,
        tokenizer: &Path,
    ) -> Result<Tokenize> {
        let vocabulary = Vocabulary::open(tokenizer, config.special_text)?;
        let end_of_text = vocabulary.tokenizer.end_of_text(config.end_of_text.as_deref())?;
        let TokenizeConfig { special_text, loss_on, .. } = config;
        let answers = loss_on == LossOn::Answers;
        let inputs = Inputs::open_texts(specs, &InputConfig { answers, ..input })?;
        let schema = inputs.schema();
        let column = schema.field_with_name(ANSWERS).ok();
        if answers && column.is_none_or(|field| *field.data_type() != DataType::Utf8) {
            // A file that cannot be read seems to hold none either; its own error comes first.
            inputs.files().iter().try_for_each(InputFile::check)?;
            let message = "`loss_on = \"answers\"` reads prompts with completions, and lists of \
                           messages; no input holds them";
            return Err(Error::config(message).with_hint(
                "give the raw files, JSON or Parquet with `prompt` and `completion` or with \
                 `messages`; a corpus of them is plain text",
            ));
        }
        Ok(Tokenize {
            inputs,
            vocabulary,
            end_of_text,
            special_text,
            loss_on,
            origin: None,
            notices: Vec::new(),
        })
    }

    /// The stage with a tokenizer that was fetched; `key` of the configuration says from where.
    pub fn with_origin(self, key: &'static str, from: Value, notice: Option<String>) -> Tokenize {
        Tokenize { origin: Some((key, from)), notices: notice.into_iter().collect(), ..self }
    }

    /// What is read.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }
}

impl Stage for Tokenize {
    fn name(&self) -> &'static str {
        "tokenize"
    }

    /// Warns, before text is read, that shards without an end-of-text are of use to other tools but
    /// are refused by `mix`.
    fn warnings(&self) -> Vec<String> {
        if self.end_of_text.is_some() {
            return Vec::new();
        }
        let special = self.vocabulary.tokenizer.special_tokens();
        let known = match special.as_slice() {
            [] => "it has no special token".to_owned(),
            some => {
                let shown = &some[..some.len().min(SPECIAL_SHOWN)];
                let more = if some.len() > SPECIAL_SHOWN { ", …" } else { "" };
                format!("its special tokens: {}{more}", shown.join(", "))
            }
        };
        vec![format!(
            "the tokenizer names no end-of-text, and `mix` refuses shards without one; name it \
             here, with `--set end_of_text=TOKEN` ({known})"
        )]
    }

    fn kind(&self) -> Kind {
        Kind::Shards
    }

    fn version(&self) -> u32 {
        5
    }

    fn config(&self) -> Value {
        let mut config = self.inputs.config_json();
        let (name, id) = self.end_of_text.clone().unzip();
        config["end_of_text"] = name.into();
        config["end_of_text_id"] = id.into();
        config["special_text"] =
            serde_json::to_value(self.special_text).expect("a name is plain data");
        if self.loss_on == LossOn::Answers {
            config["loss_on"] = serde_json::to_value(self.loss_on).expect("a name is plain data");
        }
        config["unicode_version"] = UNICODE_VERSION.into();
        config["vocab_size"] = self.vocabulary.tokenizer.vocab_size().into();
        if let Some((key, from)) = &self.origin {
            config[*key] = from.clone();
        }
        config
    }

    fn inputs(&self) -> Vec<InputRecord> {
        let mut records = self.inputs.records();
        records.extend(self.vocabulary.records.clone());
        records
    }

    fn text(&self) -> Option<&dyn TextInputs> {
        Some(&self.inputs)
    }

    fn notices(&self) -> Vec<String> {
        let mut notices = self.inputs.notices();
        notices.extend_from_slice(self.vocabulary.tokenizer.notices());
        notices.extend_from_slice(&self.notices);
        notices
    }

    fn needs(&self, threads: usize) -> Needs {
        let needs = self.inputs.needs(threads);
        let width = run::width(&self.vocabulary.tokenizer);
        let largest = self.inputs.units().iter().map(|unit| unit.bytes).max().unwrap_or(0);
        let own = (threads * STATE_BYTES) as u64 + held_bytes(width, largest);
        Needs { memory: needs.memory + own, ..needs }
    }

    fn plan(&self) -> Result<Plan> {
        let encode = Phase {
            name: "encode",
            units: self.inputs.units(),
            publish: Publish::Parts,
            counts: true,
        };
        let tokenizer = Phase {
            name: "tokenizer",
            units: vec![UnitPlan::single(0)],
            publish: Publish::AsIs,
            counts: false,
        };
        Ok(Plan { phases: vec![encode, tokenizer], holdout: Some(self.inputs.holdout()) })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        match unit.phase {
            0 => {
                let answers = self.loss_on == LossOn::Answers;
                run::encode(&self.inputs, &self.vocabulary.tokenizer, answers, unit.index, work)
            }
            1 => self.vocabulary.write(self.inputs.records().len(), work),
            phase => panic!("phase {phase} of 2"),
        }
    }
}
