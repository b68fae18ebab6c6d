//! Texts of one's own that validate, in the place of the held-out documents.
//!
//! In → `validation = PATH` (a corpus or raw files) and the shards' tokenizer; out → the documents
//! of `validation.arrow`. **Method.** All documents of the set, whatever it holds out itself, are
//! encoded as `tokenize` encodes; of each of its sources those with the first hashes of the text
//! are taken, one copy of each text, up to `eval_tokens`: so the same texts whatever the tokenizer,
//! the shards and the weights, and one fingerprint for all mixes that are validated on them. A unit
//! of the phase before the mix reads a part of the set and leaves what of it could be taken; the
//! mix takes from all of these. **Cost.** The set is read and encoded once; `eval_tokens` a source
//! and unit in memory, twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::validation::{fitting, place_of};
use crate::artifact::{
    counts::Counts,
    planned::PlannedFile,
    stage::{TextInputs, Work},
};
use crate::base::{
    error::{Error, Result},
    hash::xxh3_128,
};
use crate::shards::{
    HeldOut, ShardSet, ValidationDocument, ValidationSource, read_validation,
    validation::{VALIDATION_FILE, weight, write_validation},
};
use crate::source::{Batch, Columns, InputConfig, InputSpec, Inputs};
use crate::tokenizer::{SpecialText, Tokenizer};

/// The phase that reads the set.
pub const PHASE: &str = "validation";

/// The set, opened, and what encodes it.
pub struct OwnTexts {
    inputs: Inputs,
    tokenizer: Tokenizer,
    /// Inputs of the stage that come before those of the set.
    inputs_before: usize,
    tokens_max: u64,
}

impl OwnTexts {
    /// Opens the set at `path`, for the tokenizer of `shards`.
    ///
    /// # Errors
    /// Whatever opening the texts or the tokenizer gives.
    pub fn open(
        path: &Path,
        shards: &ShardSet,
        inputs_before: usize,
        tokens_max: u64,
    ) -> Result<OwnTexts> {
        let within = |error: Error| error.within("`validation`");
        let spec: InputSpec = path.to_string_lossy().parse().map_err(within)?;
        let inputs = Inputs::open_texts(&[spec], &InputConfig::default()).map_err(within)?;
        // Text that spells special tokens is encoded as in the shards; shards that other tools made
        // do not say how.
        let special = shards.manifest().config.get("special_text").cloned();
        let special: Option<SpecialText> = special.and_then(|it| serde_json::from_value(it).ok());
        let special = special.unwrap_or_default();
        let tokenizer = Tokenizer::open_with(&shards.tokenizer_directory(), special)?;
        Ok(OwnTexts { inputs, tokenizer, inputs_before, tokens_max })
    }

    /// What is read.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Its files, as the stage lists them.
    pub fn files(&self) -> Vec<PlannedFile> {
        let mut files = self.inputs.planned_files();
        files.iter_mut().for_each(|file| file.input += self.inputs_before);
        files
    }

    /// Bytes of memory that a unit takes.
    pub fn memory(&self, threads: usize) -> u64 {
        TextInputs::needs(&self.inputs, threads).memory + self.held_bytes()
    }

    /// Bytes of memory for the documents that may be taken: they are held twice, and in the worst
    /// case each byte is a token of four bytes.
    pub fn held_bytes(&self) -> u64 {
        2 * 4 * self.inputs.text_bytes().min(self.tokens().saturating_mul(4))
    }

    /// The most tokens that are taken, counted in this vocabulary.
    pub fn tokens(&self) -> u64 {
        self.tokens_max.saturating_mul(self.inputs.sources().len() as u64)
    }

    /// Reads a unit of the set, and writes into `work.dir` the documents of it that may be taken.
    pub fn read_unit(&self, unit: usize, shards: &ShardSet, work: &Work<'_>) -> Result<Counts> {
        // The set numbers its inputs from 0, the stage after those of the shards.
        let own = Work {
            dir: work.dir.clone(),
            spill: work.spill.clone(),
            notes: Mutex::default(),
            ..*work
        };
        let mut taken: BTreeMap<usize, Taken> = BTreeMap::new();
        let map = |batch: Batch| Ok((batch.source, self.encode(&batch)?));
        let counts = self.inputs.read(unit, Columns::Text, &own, map, |(source, documents)| {
            let taken = taken.entry(source).or_default();
            documents.into_iter().for_each(|document| taken.push(document, self.tokens_max));
            Ok(())
        })?;
        let notes = own.notes.into_inner().unwrap_or_else(PoisonError::into_inner);
        for mut range in notes.read {
            range.input += self.inputs_before;
            work.record_read(range);
        }
        let name = |source: usize| self.inputs.sources()[source].clone();
        let sources = taken.into_iter().map(|(source, taken)| ValidationSource {
            name: name(source),
            documents: taken.chosen(self.tokens_max),
        });
        let sources: Vec<ValidationSource> = sources.collect();
        write_validation(&work.path(VALIDATION_FILE), shards.width(), &sources)?;
        Ok(counts)
    }

    fn encode(&self, batch: &Batch) -> Result<Vec<ValidationDocument>> {
        let document = |row: usize| {
            let (id, text) = (batch.ids().value(row), batch.texts().value(row));
            let mut tokens = Vec::with_capacity(text.len() / 4);
            self.tokenizer
                .encode(text, &mut tokens)
                .map_err(|error| error.within(&format!("document `{id}`")))?;
            let known = HeldOut { text: Some(xxh3_128(text.as_bytes())), ..HeldOut::default() };
            let bytes = text.len() as u64;
            Ok(ValidationDocument { id: id.to_owned(), bytes, tokens, known })
        };
        (0..batch.len()).map(document).collect()
    }

    /// What the units left, by source, in the order of the set's sources.
    ///
    /// # Errors
    /// Failed: no document of the set has a text.
    pub fn chosen(&self, work: &Work<'_>) -> Result<Vec<ValidationSource>> {
        let mut taken: BTreeMap<String, Taken> = BTreeMap::new();
        for unit in 0..work.published.units(PHASE) {
            let path = work.published.dir(PHASE, unit).join(VALIDATION_FILE);
            for source in read_validation(&path)? {
                let taken = taken.entry(source.name).or_default();
                let documents = source.documents.into_iter();
                documents.for_each(|document| taken.push(document, self.tokens_max));
            }
        }
        let sources = self.inputs.sources().iter().filter_map(|name| {
            let documents = taken.remove(name)?.chosen(self.tokens_max);
            (!documents.is_empty()).then(|| ValidationSource { name: name.clone(), documents })
        });
        let sources: Vec<ValidationSource> = sources.collect();
        if sources.is_empty() && self.tokens_max > 0 {
            let message = "no document of the set that `validation` names has a text";
            return Err(Error::failed(message).with_hint("name texts that are to be scored"));
        }
        Ok(sources)
    }
}

/// The candidates of one source: more of them than will be taken.
#[derive(Default)]
struct Taken {
    documents: Vec<ValidationDocument>,
    tokens: u64,
}

impl Taken {
    fn push(&mut self, document: ValidationDocument, tokens_max: u64) {
        if document.bytes == 0 {
            return;
        }
        self.tokens += weight(document.bytes);
        self.documents.push(document);
        if self.tokens / 2 > tokens_max {
            self.documents = std::mem::take(self).chosen(tokens_max);
            self.tokens = self.documents.iter().map(ValidationDocument::weight).sum();
        }
    }

    /// By rising hash of the text, one copy of each, in input order where two are equal.
    fn chosen(mut self, tokens_max: u64) -> Vec<ValidationDocument> {
        let place = |one: &ValidationDocument| one.known.text.map(|text| (place_of(text), text.0));
        self.documents.sort_by_key(place);
        self.documents.dedup_by(|later, first| later.known.text == first.known.text);
        let chosen = fitting(self.documents.iter().map(|one| one.bytes), tokens_max);
        self.documents.truncate(chosen);
        self.documents
    }
}
