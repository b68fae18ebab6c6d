//! The opened inputs of a stage: files, sources, schema, held-out share and units.
//!
//! In → specs and [`InputConfig`]; out → [`Inputs`]. Opening walks directories and reads footers
//! and the ends of files, never text (but for the lines that `limit_documents` must count). A file
//! whose metadata is broken stays in the list: reading it fails as a damaged file, so everything
//! else can be finished first.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::datatypes::{DataType, SchemaRef};
use rayon::prelude::*;
use serde_json::Value;

use crate::artifact::{
    planned::{Content, PlannedFile},
    record::{Extent, InputRecord},
    stage::{Fetches, Needs, TextInputs, Tolerance, UnitPlan},
};
use crate::base::config::nearest;
use crate::base::error::{Error, Result};
use crate::base::size::Bytes;
use crate::source::beginning::{self, Seen};
use crate::source::config::InputConfig;
use crate::source::formats::{self, Ask, Format, Layout, Limit, Named, Probe, format_of};
use crate::source::held_out::HOLDOUT_DEFAULT;
use crate::source::look;
use crate::source::predicate::Predicate;
use crate::source::remote;
use crate::source::roots::{self, Root, RootKind};
use crate::source::schema::{FileColumns, United, united_name};
use crate::source::spec::InputSpec;
use crate::source::units::{self, FileExtent};
use crate::source::verdict::{is_verdict, with_verdict};
use crate::source::walk::PassedOver;
use crate::store::ahead::AHEAD_BYTES;
use crate::store::{Address, Revision, Stored};

/// Bytes of text in a document, where only its file's size is known; below the web's mean, so that
/// numbers of documents are not guessed too small.
const DOCUMENT_TEXT_BYTES: u64 = 2048;

/// Bytes that a corpus or token shards take for 1,000 bytes of text: 290 to 400 were measured on
/// prose, technical and web text.
const STORED_PER_MILLE: u64 = 400;

/// Memory of a command that reads next to nothing: 52 to 62 MiB were measured on a megabyte.
const MEMORY_BASE: u64 = 56 << 20;

/// Text of a written row group at most, and the memory that it takes as text, as pages and
/// compressed, for 1,000 bytes of it. With both, needs came out 8 to 50% above the peaks measured
/// of ingest, filter, dedup, tokenizer train and tokenize on 30 MB of Parquet and 70 MB of JSON
/// Lines at 1, 2 and 4 threads (138 to 372 MiB), and never below.
const ROW_GROUP_BYTES: u64 = 32 << 20;
const MEMORY_PER_WRITTEN_MILLE: u64 = 2500;

/// Most bytes that one request for a part of a remote file fetches.
const REQUEST_BYTES: u64 = 8 << 20;

/// One file of the inputs.
pub struct InputFile {
    /// Relative to its root.
    pub name: String,
    pub bytes: u64,
    pub(super) stored: Stored,
    planned: PlannedFile,
    /// Index into [`Inputs::sources`]; `None` for a corpus's file, whose documents carry theirs.
    pub source: Option<usize>,
    /// Index into [`Inputs::records`].
    pub record: usize,
    pub(super) format: &'static dyn Format,
    pub(super) ask: Ask,
    pub(super) probe: Probe,
    /// United names and the file's own types of its columns beyond the leading four.
    pub(super) columns: Vec<(String, DataType)>,
    /// What is wrong with it, if its metadata cannot be read.
    pub(super) damage: Option<(Option<u64>, String)>,
    limit: Option<Limit>,
}

impl InputFile {
    /// Where it lies, as messages name it: a path or an address.
    pub fn path(&self) -> &Path {
        self.stored.path()
    }

    /// The columns beside text and id, as the file has them: JSON Lines have one, `metadata`.
    pub fn columns(&self) -> &[(String, DataType)] {
        &self.columns
    }

    /// Documents that the metadata promise; `None` where only reading tells.
    pub fn documents(&self) -> Option<u64> {
        self.limit.map_or(self.probe.records, |limit| Some(limit.records))
    }

    /// Bytes of text, about.
    pub fn text_bytes(&self) -> u64 {
        self.probe.layout.text_bytes()
    }

    /// The error that reading this file gives, when it has another size than planned or its
    /// metadata is broken.
    pub fn check(&self) -> Result<()> {
        self.planned.stamp_now()?;
        match &self.damage {
            Some((offset, message)) => Err(Error::damaged(self.path(), *offset, message)),
            None => Ok(()),
        }
    }

    /// The file's own name of a united column; for a column it lacks, a name it lacks too.
    pub(super) fn raw_name<'a>(&'a self, united: &'a str) -> &'a str {
        let own = self.probe.columns.iter().zip(&self.columns);
        let found = own.into_iter().find(|(_, (name, _))| name == united);
        // A raw file's own column of a verdict's name means something else.
        let lacking = if is_verdict(united) { "" } else { united };
        found.map_or(lacking, |((raw, _), _)| raw)
    }
}

/// What a stage keeps of its documents.
enum Keeps {
    AllColumns,
    TextAlone,
}

/// Everything a stage reads documents from.
pub struct Inputs {
    pub(super) config: InputConfig,
    pub(super) files: Vec<InputFile>,
    pub(super) sources: Vec<String>,
    pub(super) schema: SchemaRef,
    /// The schema with the columns that are not kept, which a condition may name.
    pub(super) known: SchemaRef,
    pub(super) predicate: Option<Predicate>,
    pub(super) units: Vec<UnitPlan>,
    records: Vec<InputRecord>,
    passed_over: PassedOver,
    holdout: f64,
}

impl Inputs {
    /// Finds the files, reads their metadata, unites their schemas and plans units, for a stage
    /// that keeps every column.
    pub fn open(specs: &[InputSpec], config: &InputConfig) -> Result<Inputs> {
        Inputs::open_for(Keeps::AllColumns, specs, config)
    }

    /// The same for a stage that reads the texts alone: other columns, whatever they are, do not
    /// stop it.
    pub fn open_texts(specs: &[InputSpec], config: &InputConfig) -> Result<Inputs> {
        Inputs::open_for(Keeps::TextAlone, specs, config)
    }

    fn open_for(keeps: Keeps, specs: &[InputSpec], config: &InputConfig) -> Result<Inputs> {
        config.validate()?;
        let roots = roots::resolve(specs, config)?;
        let sources: Vec<String> = roots.iter().flat_map(Root::sources).collect();
        check_source_config(config, &roots)?;
        let holdout = holdout(config, &roots)?;
        let (mut files, records) = open_roots(&roots, &sources, config)?;
        let seen = files.iter().map(|file| Seen {
            path: file.path(),
            source: file.source,
            beginning: &file.probe.beginning,
        });
        let seen: Vec<Seen<'_>> = seen.collect();
        for (file, offset, message) in beginning::check(&seen, &sources, config)? {
            files[file].damage = Some((Some(offset), message));
        }
        let columns = files.iter().map(|f| FileColumns { file: &f.name, columns: &f.columns });
        let united = United::of(columns);
        let keep = config.columns.as_deref();
        let schema = match keeps {
            Keeps::AllColumns => united.kept(keep)?,
            Keeps::TextAlone => united.fitting(keep)?,
        };
        let known = united.fitting(None)?;
        let predicate = config.condition.as_deref().map(|sql| Predicate::parse(sql, &known));
        let predicate = predicate.transpose().map_err(|error| name_leading(error, config))?;
        if let Some(limit) = config.limit_documents {
            limit_files(&mut files, limit.0)?;
        }
        // A condition is a rule like others: it says of held-out documents what it would do.
        let schema = if predicate.is_some() { with_verdict(&schema) } else { schema };
        let total = files.iter().map(|file| file.probe.layout.text_bytes()).sum();
        let unit_bytes =
            config.unit_bytes.map_or_else(|| units::default_unit_bytes(total), |b| b.0);
        let units = plan_units(&files, unit_bytes);
        let config = InputConfig {
            holdout: Some(holdout),
            unit_bytes: Some(Bytes(unit_bytes)),
            ..config.clone()
        };
        let mut passed_over = PassedOver::default();
        roots.into_iter().for_each(|root| passed_over.append(root.passed_over));
        Ok(Inputs {
            config,
            files,
            sources,
            schema,
            known,
            predicate,
            units,
            records,
            passed_over,
            holdout,
        })
    }

    /// What the stage's fingerprint covers: one record a raw file, one a corpus.
    pub fn records(&self) -> Vec<InputRecord> {
        self.records.clone()
    }

    /// The resolved input keys that are part of the fingerprint: they decide what is read, not how
    /// much damage is tolerated.
    pub fn config_json(&self) -> Value {
        let mut json = serde_json::to_value(&self.config).expect("the configuration is plain data");
        if let Some(table) = json.as_object_mut() {
            table.remove("max_bad");
            table.remove("skip_bad_files");
            table.remove("cache");
        }
        json
    }

    /// `id`, `text`, `source`: string, `held_out`: bool, then the other columns, united.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The units of the plan.
    pub fn units(&self) -> Vec<UnitPlan> {
        self.units.clone()
    }

    /// The sources' names, in input order.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Every file, in input order.
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// What the plan knows of [`Inputs::files`], as `Stage::files` wants it.
    pub fn planned_files(&self) -> Vec<PlannedFile> {
        self.files.iter().map(|file| file.planned.clone()).collect()
    }

    /// What a person should know before the work: what was passed over in the folders given, and
    /// columns that are read otherwise than their names promise.
    pub fn notices(&self) -> Vec<String> {
        let mut notices: Vec<String> = self.passed_over.sentence().into_iter().collect();
        notices.extend(self.moved());
        // One line for each kind of oddity, however many files have it.
        let mut odd: Vec<(&str, &str, usize)> = Vec::new();
        for file in &self.files {
            for text in &file.probe.notices {
                match odd.iter_mut().find(|(known, ..)| known == text) {
                    Some((.., more)) => *more += 1,
                    None => odd.push((text, &file.name, 0)),
                }
            }
        }
        notices.extend(odd.into_iter().map(|(text, file, more)| match more {
            0 => format!("`{file}`: {text}"),
            more => format!("`{file}` and {more} more: {text}"),
        }));
        notices
    }

    /// Documents that the metadata promise, rejects included; `None` where only reading tells.
    pub fn documents(&self) -> Option<u64> {
        self.files.iter().map(InputFile::documents).sum()
    }

    /// Documents in all inputs, guessed from the text's size where the metadata do not say.
    pub fn documents_about(&self) -> u64 {
        self.documents().unwrap_or(self.text_bytes() / DOCUMENT_TEXT_BYTES)
    }

    /// What reading takes, and the disk that a corpus of all that is read takes.
    pub fn needs(&self, threads: usize) -> Needs {
        let largest = self.units.iter().map(|unit| self.task_memory(unit)).max().unwrap_or(0);
        let fetches = self.fetches();
        let ahead = if fetches.is_some() { AHEAD_BYTES } else { 0 };
        Needs {
            documents: self.documents(),
            memory: MEMORY_BASE + self.held_by_writer() + threads as u64 * (largest + ahead),
            disk: self.text_bytes() * STORED_PER_MILLE / 1000,
            fetches,
        }
    }

    /// What reading all units once fetches, at most: a footer or a beginning for each part of a
    /// file, a row group's columns apart where some are left out, and no request longer than a few
    /// MiB.
    pub fn fetches(&self) -> Option<Fetches> {
        let mut fetches = Fetches::default();
        // Text and id may stand apart from each other, and so may columns that are asked for.
        let apart = 2 + self.config.columns.as_ref().map_or(0, Vec::len) as u64;
        for file in self.files.iter().filter(|file| file.stored.here().is_none()) {
            fetches.files += 1;
            fetches.bytes += file.bytes;
            fetches.requests += file.bytes / REQUEST_BYTES;
        }
        for slice in self.units.iter().flat_map(|unit| &unit.slices) {
            if self.files[slice.file].stored.here().is_some() {
                continue;
            }
            let groups = match &slice.extent {
                Extent::RowGroups(groups) => groups.len() as u64,
                _ => 0,
            };
            fetches.requests += 2 + groups * apart;
        }
        (fetches.files > 0).then_some(fetches)
    }

    /// Revisions that mean other commits by now than those that are read.
    fn moved(&self) -> BTreeSet<String> {
        let moved = |file: &InputFile| {
            let Revision { asked, commit, moved_to } = file.stored.revision()?;
            let address = Address::parse(file.path().to_str()?).ok()??;
            let repository = address.with_path("").at_revision(None);
            let newest = moved_to.as_ref()?;
            Some(format!(
                "`{asked}` of `{repository}` has moved to {newest}: {commit} is read, as before \
                 (`--fresh` reads what it means today)"
            ))
        };
        self.files.iter().filter_map(moved).collect()
    }

    /// Bytes that the writer of a unit's documents or tokens holds: a row group being written.
    fn held_by_writer(&self) -> u64 {
        let unit = self.units.iter().map(|unit| unit.bytes).max().unwrap_or(0);
        unit.min(ROW_GROUP_BYTES) * MEMORY_PER_WRITTEN_MILLE / 1000
    }

    /// Bytes of text in all inputs, about.
    pub fn text_bytes(&self) -> u64 {
        self.units.iter().map(|unit| unit.bytes).sum()
    }

    /// The share of documents held out for validation.
    pub fn holdout(&self) -> f64 {
        self.holdout
    }
}

/// What every stage that reads text says of its inputs.
impl TextInputs for Inputs {
    fn records(&self) -> Vec<InputRecord> {
        self.records()
    }

    fn planned_files(&self) -> Vec<PlannedFile> {
        self.planned_files()
    }

    fn notices(&self) -> Vec<String> {
        self.notices()
    }

    fn tolerance(&self) -> Tolerance {
        let InputConfig { max_bad, skip_bad_files, .. } = self.config;
        Tolerance { max_bad, skip_bad_files }
    }

    fn needs(&self, threads: usize) -> Needs {
        self.needs(threads)
    }
}

/// A condition that names the text or id column by its name in the file gets a hint.
fn name_leading(error: Error, config: &InputConfig) -> Error {
    let message = error.to_string();
    let named = |name: &str| message.contains(&format!("`{name}`"));
    if config.text_column != "text" && named(&config.text_column) {
        return error.with_hint("the text is called `text` here, whatever its column");
    }
    match config.id_column.as_deref().filter(|id| *id != "id" && named(id)) {
        Some(_) => error.with_hint("the id is called `id` here, whatever its column"),
        None => error,
    }
}

/// A table for a source that no input has is a typo.
fn check_source_config(config: &InputConfig, roots: &[Root]) -> Result<()> {
    let raw = roots.iter().filter_map(|root| match &root.kind {
        RootKind::Raw { source } => Some(source.as_str()),
        RootKind::Corpus(_) => None,
    });
    let raw: Vec<&str> = raw.collect();
    let Some(name) = config.source.keys().find(|name| !raw.contains(&name.as_str())) else {
        return Ok(());
    };
    let error = Error::config(format!("`source.{name}` is set, but no raw input has that name"));
    Err(error.with_hint(match nearest(name, raw.iter().copied()) {
        Some(near) => format!("did you mean `source.{near}`?"),
        None => format!("the raw inputs are: {}", raw.join(", ")),
    }))
}

/// The share of every input: a corpus's own, which another share asked for may not contradict.
fn holdout(config: &InputConfig, roots: &[Root]) -> Result<f64> {
    let mut share = config.holdout;
    let mut first: Option<&Path> = None;
    for root in roots {
        let RootKind::Corpus(manifest) = &root.kind else { continue };
        let Some(own) = manifest.holdout else {
            let message = format!("`{}` does not say what it holds out", root.path.display());
            return Err(Error::config(message).with_hint("make it again: it is no corpus of ours"));
        };
        if let Some(asked) = share.filter(|asked| *asked != own) {
            let path = root.path.display();
            let message = match first {
                Some(first) => {
                    format!("`{}` holds out {asked}, `{path}` {own}", first.display())
                }
                None => format!("`{path}` holds out {own}, and `holdout` asks for {asked}"),
            };
            return Err(Error::config(message).with_hint(
                "documents are held out once, where raw text is read: leave `holdout` out, or \
                 ingest again with one share",
            ));
        }
        share = Some(own);
        first = first.or(Some(&root.path));
    }
    Ok(share.unwrap_or(HOLDOUT_DEFAULT))
}

/// The files of all roots, and what the fingerprint says of them.
fn open_roots(
    roots: &[Root],
    sources: &[String],
    config: &InputConfig,
) -> Result<(Vec<InputFile>, Vec<InputRecord>)> {
    let (mut files, mut records) = (Vec::new(), Vec::new());
    for root in roots {
        let source = match &root.kind {
            RootKind::Raw { source } => sources.iter().position(|known| known == source),
            RootKind::Corpus(_) => None,
        };
        let opened = open_files(root, source, config, records.len())?;
        match &root.kind {
            RootKind::Raw { source } => records.extend(raw_records(&opened, source)),
            RootKind::Corpus(manifest) => records.push(InputRecord {
                remote: root.remote.clone(),
                ..InputRecord::of(manifest, &root.path)
            }),
        }
        files.extend(opened);
    }
    Ok((files, records))
}

/// Probes the files of one root, several at a time; the first error in input order counts.
fn open_files(
    root: &Root,
    source: Option<usize>,
    config: &InputConfig,
    first_record: usize,
) -> Result<Vec<InputFile>> {
    let ask = match &root.kind {
        RootKind::Raw { source } => Ask::of(config, source)?,
        RootKind::Corpus(_) => Ask::of_corpus(),
    };
    let open = |(index, (name, stored)): (usize, &(String, Stored))| -> Result<InputFile> {
        let corpus = source.is_none();
        let record = first_record + if corpus { 0 } else { index };
        // First, so that a change of the file while the rest is looked at is noticed later.
        let planned = planned_file(root, record, name, stored)?;
        let looked_at = stored.remembering_its_head();
        let format = format_of(name, &looked_at)?;
        let (probe, damage) = match format.probe(&looked_at, &ask) {
            Ok(probe) => (probe, None),
            Err(Error::Damaged { offset, message, .. }) => {
                // Only where the name alone decided may the file be of another kind.
                let other = match format.named() {
                    Named::Whole => what_it_is(&looked_at)?,
                    _ => None,
                };
                let message = other.unwrap_or(message);
                (Probe { layout: Layout::Whole(0), ..Probe::default() }, Some((offset, message)))
            }
            Err(error) => return Err(error),
        };
        let united = |raw: &str| if corpus { raw.to_owned() } else { united_name(raw) };
        Ok(InputFile {
            name: name.clone(),
            bytes: planned.bytes,
            stored: stored.clone(),
            planned,
            source,
            record,
            columns: probe.columns.iter().map(|(raw, kind)| (united(raw), kind.clone())).collect(),
            format,
            ask: ask.clone(),
            probe,
            damage,
            limit: None,
        })
    };
    let opened: Vec<Result<InputFile>> = root.files.par_iter().enumerate().map(open).collect();
    let mut files: Vec<InputFile> = opened.into_iter().collect::<Result<_>>()?;
    if source.is_none() {
        files.iter_mut().for_each(take_leading_columns);
    }
    Ok(files)
}

/// What kind of file it is, where its metadata cannot be read and its first bytes tell.
fn what_it_is(file: &Stored) -> Result<Option<String>> {
    let head = formats::head(file)?;
    let json = || {
        let begins = head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        begins.then(|| format!("JSON: {}", look::excerpt(&head)))
    };
    let is_parquet = head.starts_with(b"PAR1");
    let found = look::kind_of(&head).map(|look| look.found).filter(|_| !is_parquet).or_else(json);
    Ok(found.map(|found| format!("its name promises another format, and it holds {found}")))
}

/// A corpus's `source` and `held_out` are its documents' own, not further columns.
fn take_leading_columns(file: &mut InputFile) {
    let lacks = |name: &str| !file.columns.iter().any(|(own, _)| own == name);
    if file.damage.is_none() && (lacks("source") || lacks("held_out")) {
        file.damage = Some((None, "it has no columns `source` and `held_out`".to_owned()));
    }
    let leading = |(name, _): &(String, DataType)| name == "source" || name == "held_out";
    file.probe.columns.retain(|column| !leading(column));
    file.columns.retain(|column| !leading(column));
}

/// What is known of a file before its metadata are read.
fn planned_file(root: &Root, input: usize, name: &str, file: &Stored) -> Result<PlannedFile> {
    if let (RootKind::Corpus(manifest), None) = (&root.kind, &root.remote) {
        let entry = manifest.files.iter().find(|entry| entry.name == name);
        return PlannedFile::part(&root.path, input, entry.expect("listed from the manifest"));
    }
    let planned = PlannedFile::raw(file.clone(), input, name.to_owned())?;
    planned.ok_or_else(|| gone(file.path()))
}

/// The error for a file that was listed a moment ago and is gone.
fn gone(path: &Path) -> Error {
    Error::failed(format!("`{}` was removed while the inputs were opened", path.display()))
}

fn raw_records(files: &[InputFile], source: &str) -> Vec<InputRecord> {
    let record = |file: &InputFile| {
        let (Content::Sampled(identity) | Content::Promised(identity)) = file.planned.content
        else {
            unreachable!("`{}` is a raw file", file.path().display())
        };
        let (name, source) = (file.name.clone(), Some(source.to_owned()));
        let path = file.path().to_owned();
        let record = InputRecord::file(name, source, file.bytes, identity, path);
        InputRecord { remote: remote::record(&file.stored), ..record }
    };
    files.iter().map(record).collect()
}

/// Hands the limit out to the files, in input order.
fn limit_files(files: &mut [InputFile], documents_max: u64) -> Result<()> {
    let mut left = documents_max;
    for file in files.iter_mut().filter(|file| file.damage.is_none()) {
        let limit = match left {
            0 => Limit { records: 0, end: 0 },
            _ => match file.format.count(&file.stored, &file.probe, &file.ask, left) {
                Ok(limit) => limit,
                // Found while counting: reading it will say the same.
                Err(Error::Damaged { offset, message, .. }) => {
                    file.damage = Some((offset, message));
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        left -= limit.records;
        file.limit = Some(limit);
    }
    Ok(())
}

fn plan_units(files: &[InputFile], unit_bytes: u64) -> Vec<UnitPlan> {
    units::plan(&files.iter().map(extent).collect::<Vec<_>>(), unit_bytes)
}

fn extent(file: &InputFile) -> FileExtent<'_> {
    let layout = file.damage.is_none().then_some(&file.probe.layout);
    FileExtent { layout, limit: file.limit }
}
