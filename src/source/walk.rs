//! A folder → the files in it that hold text, and what was passed over, by name and reason.
//!
//! In → a folder, or a listing of one; out → files of known formats, in the order of their relative
//! names as bytes. Passed over, and never in silence: names that begin with `_` or `.`, what a
//! writer left behind (`*.tmp`, `*.partial`), files of no known format. A `.json` is read where it
//! is JSON Lines with the text field, which its first line decides. Nothing else of a file is read.

use std::path::Path;

use serde_json::Value;

use crate::artifact::manifest::{self, Manifest};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::source::formats::{by_name, jsonl};
use crate::source::places::{DEPTH_MAX, too_deep};
use crate::store::Stored;

/// Names that a notice shows of each kind.
const NAMES_SHOWN: usize = 5;

/// What lies in a folder and is not read, by relative name; a folder's ends in `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Names that begin with `_` or `.`.
    pub hidden: Vec<String>,
    /// Names that end in `.tmp` or `.partial`.
    pub temporary: Vec<String>,
    /// Files of no known format, with what they are where that is known.
    pub unknown: Vec<String>,
}

impl PassedOver {
    /// Adds what another folder passed over.
    pub fn append(&mut self, mut other: PassedOver) {
        self.hidden.append(&mut other.hidden);
        self.temporary.append(&mut other.temporary);
        self.unknown.append(&mut other.unknown);
    }

    /// One sentence with numbers and names; `None` when nothing was passed over.
    pub fn sentence(&self) -> Option<String> {
        let kinds = [
            (&self.hidden, "that begin with `_` or `.`"),
            (&self.temporary, "that a writer left behind"),
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

/// The files below `folder` by relative name, in order. `text_column` tells text from other JSON.
pub fn walk(folder: &Path, text_column: &str) -> Result<(Vec<(String, Stored)>, PassedOver)> {
    let mut walk = Walk { text_column, files: Vec::new(), passed_over: PassedOver::default() };
    walk.folder(folder, "", 0)?;
    Ok(walk.finish())
}

/// The same of files that are listed already, by relative name.
pub fn sort_out(
    listed: Vec<(String, Stored)>,
    text_column: &str,
) -> Result<(Vec<(String, Stored)>, PassedOver)> {
    let mut walk = Walk { text_column, files: Vec::new(), passed_over: PassedOver::default() };
    for (name, file) in listed {
        walk.listed(name, file)?;
    }
    Ok(walk.finish())
}

struct Walk<'a> {
    text_column: &'a str,
    files: Vec<(String, Stored)>,
    passed_over: PassedOver,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(too_deep(folder));
        }
        let is_download = is_download(folder)?;
        for path in io::list(folder)? {
            let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_folder = path.is_dir();
            let name = format!("{prefix}{own}{}", if is_folder { "/" } else { "" });
            if is_download && [manifest::FILE_NAME, "run.json"].contains(&own.as_str()) {
                continue;
            }
            if own.starts_with(['.', '_']) {
                self.passed_over.hidden.push(name);
            } else if own.ends_with(".tmp") || own.ends_with(".partial") {
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

    /// A file of a listing: a part of its name may pass it over, with all that lies beside it.
    fn listed(&mut self, name: String, file: Stored) -> Result<()> {
        let parts: Vec<&str> = name.split('/').collect();
        for (at, part) in parts.iter().enumerate() {
            let kind = match part {
                part if part.starts_with(['.', '_']) => &mut self.passed_over.hidden,
                part if part.ends_with(".tmp") || part.ends_with(".partial") => {
                    &mut self.passed_over.temporary
                }
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
        if by_name(&name).is_some() {
            self.files.push((name, file));
        } else if !jsonl::is_plain_json(&name) {
            self.passed_over.unknown.push(name);
        } else if file.here().is_none_or(Path::is_file) {
            match jsonl::why_no_text(&file.remembering_its_head(), self.text_column)? {
                None => self.files.push((name, file)),
                Some(why) => self.passed_over.unknown.push(format!("{name} ({why})")),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> (Vec<(String, Stored)>, PassedOver) {
        self.files.sort_by(|(a, _), (b, _)| a.cmp(b));
        (self.files, self.passed_over)
    }
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
    match json.get("kind") != Some(&DOWNLOAD.into()) && is_ours(&json) {
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
