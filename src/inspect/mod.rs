//! `inspect` and `verify`: what is in an artifact, and whether it still is what was written.
//!
//! In → the directory of any artifact; out → a [`Report`] or a [`VerifyReport`], both data that
//! print themselves as tables ([`std::fmt::Display`]) and as JSON ([`Serialize`]). Nothing is
//! written, nothing is computed anew: a report is what manifests, footers and lengths say. The
//! exceptions are [`mod@fit`], which encodes documents to hold tokenizers against each other, and
//! [`mod@matches`], which counts the documents that a condition takes; [`vocabulary`] counts every
//! token of shards, [`row`] shows what a model reads. Reading order: [`shards`],
//! [`mix`], [`corpus`] (whatever counts documents), [`filtered`], `verify`, `fit`.
//!
//! Cost: one manifest for corpora, tokenizers and runs; two small files for a mix, and for a unit
//! of a filter; for shards one pass over the stored bytes that decompresses lengths, never tokens.
//! `verify` reads everything.

pub mod corpus;
mod elsewhere;
pub mod filtered;
pub mod fit;
pub mod fit_picture;
pub mod matches;
pub mod mix;
mod overlap;
pub mod raw;
pub mod row;
pub mod run;
pub mod shards;
pub mod table;
#[cfg(test)]
mod tests;
mod token_page;
pub mod unfinished;
pub mod verify;
pub mod vocabulary;

use crate::artifact::record::Kind;
use std::{fmt, path::Path};

use serde::Serialize;
use serde_json::Value;

pub use corpus::CorpusReport;
pub use filtered::FilterReport;
pub use mix::MixReport;
pub use raw::RawReport;
pub use row::RowReport;
pub use run::RunReport;
pub use shards::ShardsReport;
pub use token_page::{mix_page, shards_page};
pub use unfinished::PartialReport;
pub use verify::{VerifyReport, verify};
pub use vocabulary::VocabularyReport;

use crate::artifact::manifest::Manifest;
use crate::base::{
    error::Result,
    hash::Fingerprint,
    size::{Bytes, Count},
};
use crate::classifier;

/// What an artifact holds.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Report {
    /// Token shards.
    Shards(ShardsReport),
    /// A mix.
    Mix(MixReport),
    /// Documents, as `ingest`, `filter` and `dedup` write them.
    Corpus(CorpusReport),
    /// Documents that rules have judged.
    Filter(Box<FilterReport>),
    /// A model in training, or trained.
    Run(Box<RunReport>),
    /// Scores of a model.
    #[cfg(feature = "train")]
    Evals(Box<EvalReport>),
    /// A classifier, and how well it does on texts that it has not seen.
    Classifier(Box<ClassifierReport>),
    /// The output of a stage that is not finished.
    Partial(PartialReport),
    /// Anything else that has a manifest: a tokenizer.
    Other(Facts),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Shards(report) => report.fmt(f),
            Report::Mix(report) => report.fmt(f),
            Report::Corpus(report) => report.fmt(f),
            Report::Filter(report) => report.fmt(f),
            Report::Run(report) => report.fmt(f),
            #[cfg(feature = "train")]
            Report::Evals(report) => report.fmt(f),
            Report::Classifier(report) => report.fmt(f),
            Report::Partial(report) => report.fmt(f),
            Report::Other(facts) => facts.fmt(f),
        }
    }
}

/// What the manifest of every artifact says.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The directory, as it was given.
    pub path: String,
    pub stage: String,
    pub stage_version: u32,
    /// Version and commit of the build that made it.
    pub tool: String,
    pub fingerprint: Fingerprint,
    pub seed: u64,
    /// The share of documents held out for validation.
    pub holdout: Option<f64>,
    pub config: Value,
    /// Names of the inputs.
    pub inputs: Vec<String>,
    pub files: usize,
    pub bytes: u64,
    /// Damaged input files that were left out whole.
    pub skipped_files: Vec<String>,
}

impl Facts {
    fn new(path: &Path, manifest: &Manifest) -> Facts {
        Facts {
            path: path.display().to_string(),
            stage: manifest.stage.clone(),
            stage_version: manifest.stage_version,
            tool: format!("dataprep {} ({})", manifest.tool.version, manifest.tool.commit),
            fingerprint: manifest.fingerprint,
            seed: manifest.seed,
            holdout: manifest.holdout,
            config: manifest.config.clone(),
            inputs: manifest.inputs.iter().map(|input| input.name.clone()).collect(),
            files: manifest.files.len(),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            skipped_files: manifest.skipped_files.clone(),
        }
    }

    /// The lines that open every report.
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { path, stage, stage_version, tool, fingerprint, .. } = self;
        writeln!(f, "{path}: made by `{stage}` version {stage_version}, {tool}")?;
        let (files, bytes) = (Count(self.files as u64).of("file"), Bytes(self.bytes));
        writeln!(f, "fingerprint {fingerprint}, {files}, {bytes}")?;
        for file in &self.skipped_files {
            writeln!(f, "left out whole, damaged: {file}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.fmt_origin(f)
    }
}

impl Facts {
    /// The lines that end every report without tables: from what, by which configuration.
    fn fmt_origin(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from: {}", self.inputs.join(", "))?;
        let config = serde_json::to_string_pretty(&self.config).map_err(|_| fmt::Error)?;
        write!(f, "config: {config}")
    }
}

/// What is in the artifact at `path`.
///
/// # Errors
/// `Error::Config` where no artifact is, `Error::Damaged` for what cannot be read.
pub fn inspect(path: &Path) -> Result<Report> {
    if PartialReport::is_there(path) {
        return PartialReport::read(path).map(Report::Partial);
    }
    let manifest = open(path)?;
    match manifest.kind {
        Kind::Run => RunReport::read(path, &manifest).map(|run| Report::Run(Box::new(run))),
        #[cfg(feature = "train")]
        Kind::Evals => EvalReport::read(path, &manifest).map(|it| Report::Evals(Box::new(it))),
        Kind::Classifier => {
            ClassifierReport::read(path, &manifest).map(|read| Report::Classifier(Box::new(read)))
        }
        Kind::Shards => ShardsReport::read(path, &manifest).map(Report::Shards),
        Kind::Mix => MixReport::read(path, &manifest).map(Report::Mix),
        Kind::Corpus if FilterReport::is_there(&manifest) => {
            FilterReport::read(path, &manifest).map(|read| Report::Filter(Box::new(read)))
        }
        _ if manifest.counts.documents_in > 0 => {
            Ok(Report::Corpus(CorpusReport::new(path, &manifest)))
        }
        _ => Ok(Report::Other(Facts::new(path, &manifest))),
    }
}

/// Whether an artifact, or a part of one, lies at `path`; what else exists there may be raw text.
pub fn is_of_an_artifact(path: &Path) -> bool {
    Manifest::stands_in(path)
        || PartialReport::is_there(path)
        || unfinished::artifact_above(path).is_some()
}

/// The manifest of the artifact at `path`; whatever else is there is named for what it is.
fn open(path: &Path) -> Result<Manifest> {
    match Manifest::stands_in(path) {
        true => Manifest::read(path),
        false => Err(unfinished::explain(path)),
    }
}

/// A classifier: what became of the texts, and how well it tells them apart.
#[derive(Clone, Debug, Serialize)]
pub struct ClassifierReport {
    #[serde(flatten)]
    pub corpus: CorpusReport,
    pub report: classifier::Report,
}

impl ClassifierReport {
    fn read(path: &Path, manifest: &Manifest) -> Result<ClassifierReport> {
        let report = classifier::Report::read(&path.join(classifier::REPORT))?;
        Ok(ClassifierReport { corpus: CorpusReport::new(path, manifest), report })
    }
}

impl fmt::Display for ClassifierReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.corpus.fmt_documents(f)?;
        write!(f, "\n\n{}", self.report)
    }
}

/// An evaluation: what was evaluated, and what came of it.
#[cfg(feature = "train")]
#[derive(Clone, Debug, Serialize)]
pub struct EvalReport {
    #[serde(flatten)]
    pub facts: Facts,
    pub scores: crate::eval::Scores,
}

#[cfg(feature = "train")]
impl EvalReport {
    fn read(path: &Path, manifest: &Manifest) -> Result<EvalReport> {
        let scores = crate::eval::Scores::read(path)?;
        Ok(EvalReport { facts: Facts::new(path, manifest), scores })
    }
}

#[cfg(feature = "train")]
impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.head(f)?;
        write!(f, "from: {}\n\n{}", self.facts.inputs.join(", "), self.scores)
    }
}

/// `part` / `whole`, or nothing of nothing.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
