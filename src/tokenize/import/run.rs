//! The stage: a file a unit.
//!
//! In → the files, grouped into streams (a source's training files, its validation files). Out →
//! phase `tokens`: the documents of a file, in nanoGPT's and llm.c's forms those that *begin* in
//! it, wherever they end, so that files which were cut anywhere are one text again; phase
//! `tokenizer`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    config::{ImportConfig, ImportForm},
    cut::{Cutter, check_length, within},
    megatron::Index,
    stream::{self, TokenFile, TokenReader},
};
use crate::artifact::{
    counts::Counts,
    planned::{Content, PlannedFile},
    record::{FileCounts, InputRecord, Kind, ReadRange, Slice},
    stage::{Needs, Phase, Plan, Publish, Stage, Unit, UnitPlan, Work},
};
use crate::base::{
    error::{Error, Result},
    hash::xxh3_128,
    io, place,
};
use crate::shards::{HeldOut, ShardDocument, ShardWriter, TokenWidth, writer::held_bytes};
use crate::source::{
    InputSpec,
    held_out::{HOLDOUT_DEFAULT, is_held_out},
};
use crate::store::Stored;
use crate::tokenize::vocabulary::Vocabulary;
use crate::tokenizer::SpecialText;

/// Published as `shard-<unit>.arrow`.
const SHARD: &str = "shard.arrow";
/// The source of a file that is given by itself and without a name.
const SOURCE: &str = "tokens";
/// Tokens looked at when a document goes on in the next file.
const STEP: u64 = 1 << 12;

/// A file of tokens.
struct ImportFile {
    path: PathBuf,
    source: String,
    is_validation: bool,
    place: TokenFile,
    index: Option<Index>,
}

/// `import`, with its files opened.
pub struct Import {
    config: ImportConfig,
    files: Vec<ImportFile>,
    planned: Vec<PlannedFile>,
    records: Vec<InputRecord>,
    vocabulary: Vocabulary,
    end_of_text: Option<(String, u32)>,
    holdout: f64,
}

impl Import {
    /// Opens the files (their heads) and the tokenizer.
    ///
    /// # Errors
    /// [`Error::Failed`] names the file and the byte where it is not what the form promises.
    pub fn open(specs: &[InputSpec], config: ImportConfig, tokenizer: &Path) -> Result<Import> {
        config.check()?;
        let vocabulary = Vocabulary::open(tokenizer, SpecialText::Text)?;
        let end_of_text = vocabulary.tokenizer.end_of_text(config.end_of_text.as_deref())?;
        if end_of_text.is_none() && config.from != ImportForm::Megatron {
            let message = "the tokenizer names no end-of-text, and nothing else parts documents";
            return Err(Error::config(message).with_hint("name it: `--set end_of_text=TOKEN`"));
        }
        let width = width(&vocabulary).bytes();
        let mut files = Vec::new();
        for spec in specs {
            for (path, source) in found(spec)? {
                let (place, index) = match config.from {
                    ImportForm::Nanogpt => {
                        (stream::raw(&path, config.token_bytes.unwrap_or(width))?, None)
                    }
                    ImportForm::Llmc => (stream::llmc(&path)?, None),
                    ImportForm::Megatron => {
                        let index = Index::open(&path)?;
                        (index.tokens, Some(index))
                    }
                };
                let is_validation = is_validation(&path);
                files.push(ImportFile { path, source, is_validation, place, index });
            }
        }
        let (mut planned, mut records) = (Vec::new(), Vec::new());
        for file in &files {
            let own =
                [Some(file.path.clone()), file.index.as_ref().map(|index| index.path.clone())];
            for path in own.into_iter().flatten() {
                plan(&path, &file.source, &mut planned, &mut records)?;
            }
        }
        let has_validation = files.iter().any(|file| file.is_validation);
        let holdout = config.holdout.unwrap_or(if has_validation { 0.0 } else { HOLDOUT_DEFAULT });
        Ok(Import { config, files, planned, records, vocabulary, end_of_text, holdout })
    }

    /// The places in [`Import::planned`] of a file, and of its index.
    fn planned_of(&self, file: usize) -> std::ops::Range<usize> {
        let each = if self.config.from == ImportForm::Megatron { 2 } else { 1 };
        file * each..(file + 1) * each
    }

    /// The files of the same stream, before and behind file `index`.
    fn stream_of(&self, index: usize) -> (Vec<&ImportFile>, Vec<&ImportFile>) {
        let own = &self.files[index];
        let same = |file: &&ImportFile| {
            file.source == own.source && file.is_validation == own.is_validation
        };
        let before = self.files[..index].iter().filter(same).collect();
        (before, self.files[index + 1..].iter().filter(same).collect())
    }

    /// Calls `document` with each document that begins in file `index`.
    fn documents(
        &self,
        index: usize,
        document: &mut dyn FnMut(&[u32]) -> Result<()>,
    ) -> Result<()> {
        let file = &self.files[index];
        let vocab_size = self.vocabulary.tokenizer.vocab_size();
        let end = self.end_of_text.as_ref().map(|(_, id)| *id);
        if let Some(index) = &file.index {
            let mut reader = TokenReader::open(&file.path, file.place, 0, vocab_size)?;
            let (mut tokens, mut part) = (Vec::new(), Vec::new());
            return index.each(|length| {
                check_length(&file.path, length)?;
                tokens.clear();
                while (tokens.len() as u64) < length {
                    reader.read(length - tokens.len() as u64, &mut part)?;
                    tokens.extend_from_slice(&part);
                }
                within(&tokens, end, &mut *document)
            });
        }
        let end = end.expect("`open` asks for an end-of-text");
        self.stream_documents(index, end, document)
    }

    /// [`Import::documents`] for a form in which an end-of-text ends each document.
    fn stream_documents(
        &self,
        index: usize,
        end: u32,
        document: &mut dyn FnMut(&[u32]) -> Result<()>,
    ) -> Result<()> {
        let vocab_size = self.vocabulary.tokenizer.vocab_size();
        let file = &self.files[index];
        let (before, behind) = self.stream_of(index);
        let mut part = Vec::new();
        let previous = before.iter().rev().find(|file| file.place.tokens > 0);
        // Does the file begin inside a document? That one belongs to the file where it began.
        let mut skips = match previous {
            None => false,
            Some(previous) => {
                let last = previous.place.tokens - 1;
                let mut reader =
                    TokenReader::open(&previous.path, previous.place, last, vocab_size)?;
                reader.read(1, &mut part)?;
                part != [end]
            }
        };
        let mut cutter = Cutter::new(&file.path, end, previous.is_some());
        let mut reader = TokenReader::open(&file.path, file.place, 0, vocab_size)?;
        loop {
            reader.read(u64::MAX, &mut part)?;
            if part.is_empty() {
                break;
            }
            let mut tokens = part.as_slice();
            if skips {
                let Some(at) = tokens.iter().position(|&token| token == end) else { continue };
                (tokens, skips) = (&tokens[at + 1..], false);
            }
            cutter.push(tokens, document)?;
        }
        for next in behind {
            let mut reader = TokenReader::open(&next.path, next.place, 0, vocab_size)?;
            while !cutter.is_at_border() {
                reader.read(STEP, &mut part)?;
                if part.is_empty() {
                    break;
                }
                let at = part.iter().position(|&token| token == end);
                let own = at.map_or(part.as_slice(), |at| &part[..=at]);
                cutter.push(own, document)?;
            }
        }
        cutter.finish(document)
    }

    fn write_shard(&self, index: usize, work: &Work<'_>) -> Result<Counts> {
        let file = &self.files[index];
        let tokenizer = &self.vocabulary.tokenizer;
        let width = width(&self.vocabulary);
        let writer = ShardWriter::create(&work.path(SHARD), width, work.threads)?;
        let mut writer = writer.expect(file.place.tokens);
        self.documents(index, &mut |tokens| {
            let bytes = tokenizer.decode(tokens);
            let text = String::from_utf8_lossy(&bytes);
            let text_hash = xxh3_128(text.as_bytes());
            let held_out = (file.is_validation || is_held_out(&text, self.holdout))
                .then(|| HeldOut { text: Some(text_hash), ..HeldOut::default() });
            work.advance(tokens.len() as u64 * file.place.width);
            writer.push(&ShardDocument {
                id: &text_hash.to_string(),
                source: &file.source,
                held_out: held_out.as_ref(),
                bytes: bytes.len() as u64,
                tokens,
                trained: None,
            })
        })?;
        let written = writer.finish()?;
        for planned in &self.planned[self.planned_of(index)] {
            let (xxh3, end) = io::hash_file(planned.path())?;
            let (input, file) = (planned.input, planned.name.clone());
            work.record_read(ReadRange { input, file, start: 0, end, xxh3 });
        }
        let mut counts = Counts::default();
        for (name, written) in &written.sources {
            let counts = counts.source(name);
            (counts.documents_in, counts.documents_out) = (written.documents, written.documents);
            (counts.bytes_in, counts.bytes_out) = (written.bytes, written.bytes);
            (counts.tokens, counts.held_out) = (written.tokens, written.held_out);
        }
        let (documents, tokens) = (written.total.documents, Some(written.total.tokens));
        work.describe(SHARD, FileCounts { tokens, ..FileCounts::documents(documents) });
        Ok(counts)
    }
}

/// The width in which the shards store tokens.
fn width(vocabulary: &Vocabulary) -> TokenWidth {
    TokenWidth::for_largest_id(vocabulary.tokenizer.vocab_size().saturating_sub(1))
}

/// What other tools call a file of validation: `val.bin`, `fineweb_val_000000.bin`.
fn is_validation(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    stem.split(['_', '-', '.']).any(|part| matches!(part, "val" | "valid" | "validation"))
}

/// The `.bin` files that an input means, with their source.
fn found(spec: &InputSpec) -> Result<Vec<(PathBuf, String)>> {
    let path = &spec.path;
    if !path.is_dir() {
        // Megatron's tools name a pair by what its files have in common.
        let bin = path.with_extension("bin");
        let is_prefix = !path.exists() && path.extension().is_none() && bin.is_file();
        let path = if is_prefix || path.extension().is_some_and(|it| it == "idx") {
            bin
        } else {
            path.clone()
        };
        if !path.is_file() {
            return Err(Error::config(format!("there is no file at `{}`", path.display())));
        }
        return Ok(vec![(path, spec.source.clone().unwrap_or_else(|| SOURCE.to_owned()))]);
    }
    let name = place::name(&io::canonical(path)?);
    let source = spec.source.clone().unwrap_or(name);
    let mut files = io::list(path)?;
    files.retain(|file| file.is_file() && file.extension().is_some_and(|it| it == "bin"));
    files.sort();
    if files.is_empty() {
        return Err(Error::config(format!("`{}` holds no `.bin` file", path.display())));
    }
    Ok(files.into_iter().map(|file| (file, source.clone())).collect())
}

/// A file as an input.
fn plan(
    path: &Path,
    source: &str,
    planned: &mut Vec<PlannedFile>,
    records: &mut Vec<InputRecord>,
) -> Result<()> {
    let name = place::name(path);
    let file = PlannedFile::raw(Stored::local(path.to_owned()), records.len(), name.clone())?;
    let file = file.ok_or_else(|| Error::config(format!("`{}` is gone", path.display())))?;
    let (Content::Sampled(identity) | Content::Promised(identity)) = file.content else {
        unreachable!("a raw file is known by samples, or by a promise")
    };
    let source = Some(source.to_owned());
    records.push(InputRecord::file(name, source, file.bytes, identity, path.to_owned()));
    planned.push(file);
    Ok(())
}

impl Stage for Import {
    fn name(&self) -> &'static str {
        "import"
    }

    fn kind(&self) -> Kind {
        Kind::Shards
    }

    fn version(&self) -> u32 {
        2
    }

    fn config(&self) -> Value {
        let mut config = serde_json::to_value(&self.config).expect("plain data");
        let (name, id) = self.end_of_text.clone().unzip();
        config["end_of_text"] = name.into();
        config["end_of_text_id"] = id.into();
        config["holdout"] = self.holdout.into();
        config["vocab_size"] = self.vocabulary.tokenizer.vocab_size().into();
        config
    }

    fn inputs(&self) -> Vec<InputRecord> {
        self.records.iter().chain(&self.vocabulary.records).cloned().collect()
    }

    fn files(&self) -> Vec<PlannedFile> {
        self.planned.clone()
    }

    fn needs(&self, threads: usize) -> Needs {
        let width = width(&self.vocabulary);
        let bytes = self.planned.iter().map(|file| file.bytes).max().unwrap_or(0);
        let memory = threads as u64 * held_bytes(width, bytes);
        Needs { memory, disk: self.planned.iter().map(|file| file.bytes).sum(), ..Needs::default() }
    }

    fn plan(&self) -> Result<Plan> {
        let units = (0..self.files.len()).map(|index| UnitPlan {
            slices: self.planned_of(index).map(Slice::whole).collect(),
            bytes: self.files[index].place.tokens * self.files[index].place.width,
        });
        let tokens =
            Phase { name: "tokens", units: units.collect(), publish: Publish::Parts, counts: true };
        let tokenizer = Phase {
            name: "tokenizer",
            units: vec![UnitPlan::single(0)],
            publish: Publish::AsIs,
            counts: false,
        };
        // If there are validation files, these are what is held out, and no share of the others.
        let holdout = (!self.files.iter().any(|file| file.is_validation)).then_some(self.holdout);
        Ok(Plan { phases: vec![tokens, tokenizer], holdout })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        match unit.phase {
            0 => self.write_shard(unit.index, work),
            1 => self.vocabulary.write(self.records.len(), work),
            phase => panic!("phase {phase} of 2"),
        }
    }
}
