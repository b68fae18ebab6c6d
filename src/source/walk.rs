//! A folder → the files in it that hold text, and what was passed over, by name and reason.
//!
//! In → a folder, or a listing of one; out → files of known formats, in the order of their relative
//! names as bytes. Passed over, and never in silence: names that begin with `_` or `.`, what a
//! writer left behind (`*.tmp`, `*.partial`, the `cache-*.arrow` of `datasets`), files of no known
//! format, and text beside data, since a README is no document of its data set. Whether a `.json`
//! or `.csv` holds documents, its beginning decides. Nothing else of a file is read.

use std::path::Path;

use serde_json::Value;

use crate::artifact::manifest::{self, Manifest};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::place;
use crate::source::formats::{Ask, Named, by_name};
use crate::source::places::{DEPTH_MAX, too_deep};
use crate::store::Stored;

/// Names that a notice shows of each kind.
const NAMES_SHOWN: usize = 5;

/// What lies in a folder and is not read, by relative name; a folder's ends in `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Names that begin with `_` or `.`.
    pub hidden: Vec<String>,
    /// Names that end in `.tmp` or `.partial`, and caches.
    pub temporary: Vec<String>,
    /// Text and Markdown beside data.
    pub prose: Vec<String>,
    /// Files of no known format, with what they are where that is known.
    pub unknown: Vec<String>,
}

impl PassedOver {
    /// Adds what another folder passed over.
    pub fn append(&mut self, mut other: PassedOver) {
        self.hidden.append(&mut other.hidden);
        self.temporary.append(&mut other.temporary);
        self.prose.append(&mut other.prose);
        self.unknown.append(&mut other.unknown);
    }

    /// One sentence with numbers and names; `None` when nothing was passed over.
    pub fn sentence(&self) -> Option<String> {
        let kinds = [
            (&self.hidden, "that begin with `_` or `.`"),
            (&self.temporary, "that a writer left behind"),
            (&self.prose, "of text beside data"),
            (&self.unknown, "of no known format"),
        ];
        let kinds = kinds.iter().filter(|(names, _)| !names.is_empty()).map(|(names, kind)| {
            let shown = names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(NAMES_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{} {kind}: {shown}{more}", names.len())
        });
        let kinds: Vec<String> = kinds.collect();
        (!kinds.is_empty()).then(|| format!("not read in the folders given: {}", kinds.join("; ")))
    }
}

/// The files below `folder` by relative name, in order, and what was passed over.
pub fn walk(folder: &Path, ask: &Ask) -> Result<(Vec<(String, Stored)>, PassedOver)> {
    let mut walk = Walk::new(ask);
    walk.folder(folder, "", 0)?;
    Ok(walk.finish())
}

/// As [`walk`], for files that are listed already, by relative name.
pub fn sort_out(
    listed: Vec<(String, Stored)>,
    ask: &Ask,
) -> Result<(Vec<(String, Stored)>, PassedOver)> {
    let mut walk = Walk::new(ask);
    for (name, file) in listed {
        walk.listed(name, file)?;
    }
    Ok(walk.finish())
}

struct Walk<'a> {
    ask: &'a Ask,
    data: Vec<(String, Stored)>,
    /// Text, which is read where there is no data.
    prose: Vec<(String, Stored)>,
    passed_over: PassedOver,
}

impl<'a> Walk<'a> {
    fn new(ask: &'a Ask) -> Walk<'a> {
        let passed_over = PassedOver::default();
        Walk { ask, data: Vec::new(), prose: Vec::new(), passed_over }
    }

    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(too_deep(folder));
        }
        let is_download = is_download(folder)?;
        for path in io::list(folder)? {
            let own = place::name(&path);
            let is_folder = path.is_dir();
            let name = format!("{prefix}{own}{}", if is_folder { "/" } else { "" });
            if is_download && [manifest::FILE_NAME, "run.json"].contains(&own.as_str()) {
                continue;
            }
            if own.starts_with(['.', '_']) {
                self.passed_over.hidden.push(name);
            } else if is_left_behind(&own) {
                self.passed_over.temporary.push(name);
            } else if is_folder {
                refuse_artifact(&path)?;
                self.folder(&path, &name, depth + 1)?;
            } else {
                self.file(name, Stored::local(path))?;
            }
        }
        Ok(())
    }

    /// A file of a listing. A hidden or temporary part of its name passes it over, and all below
    /// it.
    fn listed(&mut self, name: String, file: Stored) -> Result<()> {
        let parts: Vec<&str> = name.split('/').collect();
        for (at, part) in parts.iter().enumerate() {
            let kind = match part {
                part if part.starts_with(['.', '_']) => &mut self.passed_over.hidden,
                part if is_left_behind(part) => &mut self.passed_over.temporary,
                _ => continue,
            };
            let end = if at + 1 < parts.len() { "/" } else { "" };
            let shown = format!("{}{end}", parts[..=at].join("/"));
            if kind.last() != Some(&shown) {
                kind.push(shown);
            }
            return Ok(());
        }
        self.file(name, file)
    }

    fn file(&mut self, name: String, file: Stored) -> Result<()> {
        let Some(format) = by_name(&name) else {
            self.passed_over.unknown.push(name);
            return Ok(());
        };
        // Opening a pipe would wait for its writer; its reader refuses it.
        let why = match file.here().is_none_or(Path::is_file) {
            true => format.why_passed_over(&file.remembering_its_head(), self.ask)?,
            false => None,
        };
        match (why, format.named()) {
            (Some(why), _) => self.passed_over.unknown.push(format!("{name} ({why})")),
            (None, Named::Prose) => self.prose.push((name, file)),
            (None, _) => self.data.push((name, file)),
        }
        Ok(())
    }

    fn finish(self) -> (Vec<(String, Stored)>, PassedOver) {
        let Walk { mut data, mut prose, mut passed_over, .. } = self;
        match data.is_empty() {
            true => data.append(&mut prose),
            false => passed_over.prose = prose.into_iter().map(|(name, _)| name).collect(),
        }
        data.sort_by(|(a, _), (b, _)| a.cmp(b));
        passed_over.prose.sort();
        (data, passed_over)
    }
}

/// Whether a writer left such a file behind, or keeps it for itself.
fn is_left_behind(name: &str) -> bool {
    name.ends_with(".tmp")
        || name.ends_with(".partial")
        || name.starts_with("cache-") && name.ends_with(".arrow")
}

fn refuse_artifact(folder: &Path) -> Result<()> {
    match own_manifest(folder)? {
        None => Ok(()),
        Some(_) => {
            let message =
                format!("`{}` lies inside an input, and is an artifact", folder.display());
            Err(Error::config(message).with_hint("give it as an input of its own"))
        }
    }
}

/// The manifest of an artifact of ours; other programs write files of that name too, and a download
/// is a folder of raw files.
pub(super) fn own_manifest(directory: &Path) -> Result<Option<Manifest>> {
    let json = manifest_json(directory)?;
    match is_artifact(&json) {
        true => Manifest::read(directory).map(Some),
        false => Ok(None),
    }
}

/// A download's kind, as its manifest says it.
const DOWNLOAD: &str = "download";

/// Whether a folder is what `download` has made: its manifest is no text.
fn is_download(directory: &Path) -> Result<bool> {
    let json = manifest_json(directory)?;
    Ok(is_ours(&json) && json.get("kind") == Some(&DOWNLOAD.into()))
}

/// Whether it is the manifest of something made, and not of files as another place has them.
pub(super) fn is_artifact(json: &Value) -> bool {
    json.get("kind") != Some(&DOWNLOAD.into()) && is_ours(json)
}

fn is_ours(json: &Value) -> bool {
    json.get("stage_version").is_some() && json.get("fingerprint").is_some()
}

/// What stands in a folder under the name of a manifest; null where that is nothing, or no JSON.
fn manifest_json(directory: &Path) -> Result<Value> {
    let path = directory.join(manifest::FILE_NAME);
    match path.is_file() {
        true => Ok(serde_json::from_slice(&io::read(&path)?).unwrap_or_default()),
        false => Ok(Value::Null),
    }
}
