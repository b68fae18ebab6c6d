//! Whether an artifact still is what was written, and its inputs still what was read.
//!
//! In → an artifact; out → [`VerifyReport`]. Hashed again: every file of the manifest (XXH3-128);
//! every block of token shards, decoded and held against its footer, which says where in a file
//! the damage is; the byte ranges of raw input files that the stage read, found through `run.json`
//! (relative to the artifact, then absolute); the manifest's own fingerprint. Input artifacts are
//! compared by their file lists, not read: `verify` them by themselves. So are remote files by the
//! hash that their place promises (`elsewhere`). An input that is gone is said to be gone: that
//! is no difference. Nothing stops at the first difference.
//!
//! Cost: every byte once (shards twice), in parallel over files, blocks and ranges; of remote
//! inputs a listing.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::Serialize;

use super::{
    elsewhere::{Elsewhere, Found},
    open,
    table::count,
};
use crate::{
    artifact::{
        manifest::{self, FILE_NAME, FileEntry, Manifest},
        record::{InputKind, InputRecord, Kind, ReadRange},
        store,
    },
    base::{
        error::{Error, Result},
        hash::Fingerprint,
        io,
        size::Bytes,
    },
    shards::ShardReader,
};

/// Where the places of inputs are written down.
const RUN: &str = "run.json";

/// What was checked, and what differs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// The artifact, as it was given.
    pub path: String,
    pub stage: String,
    pub fingerprint: Fingerprint,
    pub files: u64,
    pub blocks: u64,
    /// Ranges of raw input files.
    pub ranges: u64,
    /// Input artifacts whose file lists were compared.
    pub artifacts: u64,
    /// Bytes that were hashed, of files and of ranges.
    pub bytes: u64,
    /// Empty: everything is as it was written.
    pub differences: Vec<Difference>,
    /// Remote inputs whose hash was compared with the one that their place promises.
    pub listed: u64,
    /// Inputs that are not where they were.
    pub gone: Vec<String>,
    /// Files beside those of the manifest; a run writes some that no two runs share.
    pub unlisted: Vec<String>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// A file of the artifact, or the path of an input.
    pub file: String,
    /// Which bytes of it, where known.
    pub range: Option<(u64, u64)>,
    pub expected: String,
    pub found: String,
}

impl VerifyReport {
    /// Whether everything that is there is as it was written.
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }

    fn add(&mut self, part: Part) {
        self.files += part.files;
        self.blocks += part.blocks;
        self.ranges += part.ranges;
        self.artifacts += part.artifacts;
        self.listed += part.listed;
        self.bytes += part.bytes;
        self.differences.extend(part.differences);
        self.gone.extend(part.gone);
    }
}

/// What one check adds to the report.
#[derive(Default)]
struct Part {
    files: u64,
    blocks: u64,
    ranges: u64,
    artifacts: u64,
    listed: u64,
    bytes: u64,
    differences: Vec<Difference>,
    gone: Vec<String>,
}

impl Part {
    fn differs(&mut self, file: &str, expected: impl ToString, found: impl ToString) {
        let (expected, found) = (expected.to_string(), found.to_string());
        self.differences.push(Difference { file: file.to_owned(), range: None, expected, found });
    }

    fn elsewhere(input: &InputRecord, address: &str, found: Found) -> Part {
        let differs = |(range, expected, found)| Difference {
            file: address.to_owned(),
            range,
            expected,
            found,
        };
        Part {
            listed: found.by_hash.into(),
            artifacts: found.by_list.into(),
            ranges: found.ranges,
            bytes: found.bytes,
            differences: found.differences.into_iter().map(differs).collect(),
            gone: found.gone.map(|why| format!("{} ({why})", input.name)).into_iter().collect(),
            ..Part::default()
        }
    }
}

/// Checks the artifact at `path`.
///
/// # Errors
/// [`Error::Config`] where no artifact is; whatever differs is in the report, not an error.
pub fn verify(path: &Path) -> Result<VerifyReport> {
    let manifest = open(path)?;
    let mut report = VerifyReport {
        path: path.display().to_string(),
        stage: manifest.stage.clone(),
        fingerprint: manifest.fingerprint,
        unlisted: unlisted(path, &manifest)?,
        ..VerifyReport::default()
    };
    report.add(check_fingerprint(&manifest));
    let files = manifest.files.par_iter().map(|file| check_file(path, &manifest, file));
    let files: Vec<Part> = files.collect::<Result<_>>()?;
    files.into_iter().for_each(|part| report.add(part));
    let places = places(path, &manifest)?;
    let mut remote = Elsewhere::default();
    for (index, (input, places)) in manifest.inputs.iter().zip(&places).enumerate() {
        if let Some(at) = &input.remote {
            let read = manifest.read.iter().filter(|range| range.input == index);
            let found = remote.check(input, at, &read.collect::<Vec<_>>());
            report.add(Part::elsewhere(input, &at.address, found));
            continue;
        }
        let standing = places.iter().find(|at| at.exists());
        report.add(check_input(index, input, &manifest.read, standing)?);
    }
    Ok(report)
}

/// A manifest edited by hand no longer has the fingerprint of what it says.
fn check_fingerprint(manifest: &Manifest) -> Part {
    let Manifest { stage, stage_version, seed, config, inputs, .. } = manifest;
    let found = manifest::fingerprint(stage, *stage_version, *seed, config, inputs);
    let mut part = Part::default();
    if found != manifest.fingerprint {
        part.differs(FILE_NAME, manifest.fingerprint, found);
    }
    part
}

fn check_file(directory: &Path, manifest: &Manifest, file: &FileEntry) -> Result<Part> {
    let path = directory.join(&file.name);
    let mut part = Part { files: 1, ..Part::default() };
    if !path.is_file() {
        part.differs(&file.name, Bytes(file.bytes), "nothing");
        return Ok(part);
    }
    let (xxh3, bytes) = io::hash_file(&path)?;
    part.bytes = bytes;
    if bytes != file.bytes {
        let exact = |bytes| format!("{} bytes", count(bytes));
        part.differs(&file.name, exact(file.bytes), exact(bytes));
    } else if xxh3 != file.xxh3 {
        part.differs(&file.name, file.xxh3, xxh3);
    }
    if manifest.kind == Kind::Shards && file.name.ends_with(".arrow") {
        check_blocks(&path, &file.name, &mut part)?;
    }
    Ok(part)
}

/// Every block of a shard, decoded whole and held against its footer.
fn check_blocks(path: &Path, name: &str, part: &mut Part) -> Result<()> {
    let mut damaged = |error: Error, range: Option<(u64, u64)>| match error {
        Error::Damaged { message, offset, .. } => {
            let range = range.or_else(|| offset.map(|offset| (offset, offset)));
            let expected = "a block as its footer describes it".to_owned();
            let file = name.to_owned();
            part.differences.push(Difference { file, range, expected, found: message });
            Ok(())
        }
        other => Err(other),
    };
    let reader = match ShardReader::open(path) {
        Ok(reader) => reader,
        Err(error) => return damaged(error, None),
    };
    let blocks = reader.blocks().par_iter().enumerate().map(|(index, entry)| {
        let range = (entry.offset, entry.offset + entry.bytes);
        reader.read_block(index).err().map(|error| (error, range))
    });
    let errors: Vec<Option<(Error, (u64, u64))>> = blocks.collect();
    for (error, range) in errors.into_iter().flatten() {
        damaged(error, Some(range))?;
    }
    part.blocks = reader.blocks().len() as u64;
    Ok(())
}

/// The ranges read of a raw file, or the file list of an artifact.
fn check_input(
    index: usize,
    input: &InputRecord,
    read: &[ReadRange],
    standing: Option<&PathBuf>,
) -> Result<Part> {
    let Some(path) = standing else {
        return Ok(Part { gone: vec![input.name.clone()], ..Part::default() });
    };
    if input.kind != InputKind::File {
        return Ok(check_artifact(input, path));
    }
    let ranges = read.par_iter().filter(|range| range.input == index);
    let checked = ranges.map(|range| {
        let ReadRange { start, end, xxh3, .. } = range;
        Ok((range, io::hash_range(path, *start, *end)?, *xxh3))
    });
    let checked: Vec<(&ReadRange, (Fingerprint, u64), Fingerprint)> =
        checked.collect::<Result<_>>()?;
    let mut part = Part::default();
    for (range, (found, bytes), expected) in checked {
        part.ranges += 1;
        part.bytes += bytes;
        if found != expected {
            part.differs(&path.display().to_string(), expected, found);
            let last = part.differences.last_mut().expect("added above");
            last.range = Some((range.start, range.end));
        }
    }
    Ok(part)
}

fn check_artifact(input: &InputRecord, path: &Path) -> Part {
    let mut part = Part { artifacts: 1, ..Part::default() };
    let name = path.display().to_string();
    match Manifest::read(path) {
        Ok(manifest) if manifest.files_identity() == input.identity => {}
        Ok(manifest) => part.differs(&name, input.identity, manifest.files_identity()),
        Err(error) => part.differs(&name, input.identity, error),
    }
    part
}

/// For each input, where it may lie. An artifact may hold an input of its own (shards keep their
/// tokenizer); what lies inside another artifact has no `run.json`, and its inputs are among those
/// of that one, which says where they are.
fn places(directory: &Path, manifest: &Manifest) -> Result<Vec<Vec<PathBuf>>> {
    let mut places = match directory.join(RUN).is_file() {
        true => stored_places(directory),
        false => places_around(directory, manifest)?,
    };
    places.resize(manifest.inputs.len(), Vec::new());
    for (input, places) in manifest.inputs.iter().zip(&mut places) {
        if input.kind != InputKind::File {
            places.extend(kept_inside(directory, input)?);
        }
    }
    Ok(places)
}

/// What its own `run.json` says.
fn stored_places(directory: &Path) -> Vec<Vec<PathBuf>> {
    store::recorded(directory).into_iter().map(|input| input.places).collect()
}

/// The places that the artifact around this one knows, for the inputs that both have.
fn places_around(directory: &Path, manifest: &Manifest) -> Result<Vec<Vec<PathBuf>>> {
    let around = io::canonical(directory)?;
    let Some(around) = around.parent().filter(|around| around.join(RUN).is_file()) else {
        return Ok(Vec::new());
    };
    let Ok(outer) = Manifest::read(around) else { return Ok(Vec::new()) };
    let places = stored_places(around);
    let of = |input: &InputRecord| {
        let same = |other: &&InputRecord| other.name == input.name && other.key() == input.key();
        let at = outer.inputs.iter().position(|other| same(&other))?;
        places.get(at).cloned()
    };
    Ok(manifest.inputs.iter().map(|input| of(input).unwrap_or_default()).collect())
}

/// The folder of this artifact that holds a copy of an input artifact.
fn kept_inside(directory: &Path, input: &InputRecord) -> Result<Option<PathBuf>> {
    let is_copy = |folder: &PathBuf| {
        let manifest = Manifest::stands_in(folder).then(|| Manifest::read(folder));
        let copied = manifest.and_then(Result::ok);
        copied.is_some_and(|copy| Some(copy.fingerprint) == input.fingerprint)
    };
    Ok(io::list(directory)?.into_iter().find(is_copy))
}

/// Files of the directory that the manifest does not list.
fn unlisted(directory: &Path, manifest: &Manifest) -> Result<Vec<String>> {
    let listed: BTreeSet<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    let mut names = Vec::new();
    for path in io::files_below(directory)? {
        let name = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().into_owned();
        if !listed.contains(name.as_str()) && name != FILE_NAME && name != RUN {
            names.push(name);
        }
    }
    Ok(names)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { file, range, expected, found } = self;
        write!(f, "{file}")?;
        match range {
            Some((start, end)) if start < end => write!(f, ", bytes {start}..{end}")?,
            Some((start, _)) => write!(f, ", byte {start}")?,
            None => {}
        }
        write!(f, ": expected {expected}, found {found}")
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        for input in &self.gone {
            writeln!(f, "not checked, gone: input {input}")?;
        }
        if !self.unlisted.is_empty() {
            let names = self.unlisted.join(", ");
            writeln!(f, "not checked, not in the manifest: {names}")?;
        }
        let amounts = [
            (self.files, "files"),
            (self.blocks, "blocks"),
            (self.ranges, "ranges of inputs"),
            (self.artifacts, "input artifacts"),
            (self.listed, "remote inputs by their hash"),
        ];
        let amounts = amounts.iter().filter(|(amount, _)| *amount > 0);
        let checked: Vec<String> =
            amounts.map(|(amount, what)| format!("{} {what}", count(*amount))).collect();
        let checked = if checked.is_empty() { "nothing".to_owned() } else { checked.join(", ") };
        let bytes = count(self.bytes);
        let result = match self.differences.len() {
            0 => "all as written".to_owned(),
            1 => "1 difference".to_owned(),
            several => format!("{several} differences"),
        };
        write!(f, "{}: {result}; checked {checked}, {bytes} bytes", self.path)
    }
}
