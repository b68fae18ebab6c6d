//! `[NAME=]PATH` → the files behind it: a corpus's parts, one raw file, or a directory walked.
//!
//! In → specs; out → [`Root`]s with their files in input order (relative names sorted as bytes).
//! Hidden and temporary entries (`.x`, `_x`, `*.tmp`, `*.partial`) are passed over; files of no
//! known format are named, not read. No text is read.

use crate::artifact::record::Kind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::artifact::manifest::{self, Manifest};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::source::formats::{FORMATS, Format, by_name, parquet::Parquet, recognize};
use crate::source::spec::{InputSpec, check_source_name};

/// Folders inside each other that are followed at most: more is a link that leads back.
const DEPTH_MAX: usize = 64;

/// What one spec names.
pub struct Root {
    pub path: PathBuf,
    pub kind: RootKind,
    /// Relative name and path of each file, in input order.
    pub files: Vec<(String, PathBuf)>,
    /// Files of no known format, by relative name.
    pub ignored: Vec<String>,
}

/// Whether the files are raw, or a corpus's.
pub enum RootKind {
    /// All documents are of this source.
    Raw { source: String },
    /// Documents carry their source.
    Corpus(Box<Manifest>),
}

impl Root {
    /// The sources whose documents lie here.
    pub fn sources(&self) -> Vec<String> {
        match &self.kind {
            RootKind::Raw { source } => vec![source.clone()],
            RootKind::Corpus(manifest) => manifest.counts.sources.keys().cloned().collect(),
        }
    }
}

/// Finds the files of every spec; refuses two roots of one source and one file given twice.
pub fn resolve(specs: &[InputSpec]) -> Result<Vec<Root>> {
    if specs.is_empty() {
        return Err(
            Error::config("no inputs").with_hint("name a file or a directory: `[NAME=]PATH`")
        );
    }
    let roots: Vec<Root> = specs.iter().map(resolve_one).collect::<Result<_>>()?;
    let mut sources: BTreeMap<String, &Root> = BTreeMap::new();
    let mut files: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    for root in &roots {
        for source in root.sources() {
            if let Some(other) = sources.insert(source.clone(), root) {
                return Err(one_name(&source, other, root));
            }
        }
        for (_, path) in &root.files {
            if let Some(other) = files.insert(io::canonical(path)?, path) {
                let (one, two) = (other.display(), path.display());
                return Err(Error::config(format!("one file is given twice: `{one}` and `{two}`"))
                    .with_hint("name each file, or the directory it lies in, once"));
            }
        }
    }
    Ok(roots)
}

fn one_name(source: &str, one: &Root, two: &Root) -> Error {
    let message = format!(
        "two inputs have the source name `{source}`: `{}` and `{}`",
        one.path.display(),
        two.path.display()
    );
    Error::config(message).with_hint(match (&one.kind, &two.kind) {
        (RootKind::Raw { .. }, _) | (_, RootKind::Raw { .. }) => "name one of them: `NAME=PATH`",
        _ => "a corpus keeps its source names: ingest both from their raw files under other names",
    })
}

fn resolve_one(spec: &InputSpec) -> Result<Root> {
    let path = &spec.path;
    if !path.exists() {
        return Err(Error::config(format!("no such file or directory: `{}`", path.display()))
            .with_hint("inputs are written `[NAME=]PATH`; paths in a recipe start at its folder"));
    }
    if !path.is_dir() {
        let name = file_name(path);
        let source = spec.source.clone().unwrap_or_else(|| default_source(stem(&name)));
        check_source_name(&source)?;
        return Ok(Root {
            path: path.clone(),
            kind: RootKind::Raw { source },
            files: vec![(name, path.clone())],
            ignored: Vec::new(),
        });
    }
    if let Some(manifest) = own_manifest(path)? {
        return corpus(spec, manifest);
    }
    let source = match &spec.source {
        Some(source) => source.clone(),
        // The real name, since the path may be `.` or end in `..`.
        None => default_source(&file_name(&io::canonical(path)?)),
    };
    check_source_name(&source)?;
    let (mut files, mut ignored) = (Vec::new(), Vec::new());
    walk(path, "", 0, &mut files, &mut ignored)?;
    files.sort();
    if files.is_empty() {
        return Err(nothing_found(path, &ignored));
    }
    Ok(Root { path: path.clone(), kind: RootKind::Raw { source }, files, ignored })
}

fn corpus(spec: &InputSpec, manifest: Manifest) -> Result<Root> {
    let path = &spec.path;
    if let Some(name) = &spec.source {
        let message = format!("`{name}={}` renames a corpus", path.display());
        return Err(Error::config(message)
            .with_hint("a corpus keeps its own source names: leave `NAME=` out"));
    }
    manifest.expect_kind(path, Kind::Corpus).map_err(|error| {
        error.with_hint("give a corpus (made by ingest, filter or dedup) or raw files")
    })?;
    let is_part = |name: &str| name.starts_with("part-") && name.ends_with(".parquet");
    let mut files = Vec::new();
    for entry in manifest.files.iter().filter(|entry| is_part(&entry.name)) {
        files.push((entry.name.clone(), path.join(&entry.name)));
    }
    files.sort();
    Ok(Root {
        path: path.clone(),
        kind: RootKind::Corpus(Box::new(manifest)),
        files,
        ignored: Vec::new(),
    })
}

/// The manifest of an artifact of ours; other programs write files of that name too.
fn own_manifest(directory: &Path) -> Result<Option<Manifest>> {
    let path = directory.join(manifest::FILE_NAME);
    if !path.is_file() {
        return Ok(None);
    }
    let json: serde_json::Value = match serde_json::from_slice(&io::read(&path)?) {
        Ok(json) => json,
        Err(_) => return Ok(None),
    };
    match json.get("stage_version").is_some() && json.get("fingerprint").is_some() {
        true => Manifest::read(directory).map(Some),
        false => Ok(None),
    }
}

fn walk(
    directory: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<(String, PathBuf)>,
    ignored: &mut Vec<String>,
) -> Result<()> {
    if depth > DEPTH_MAX {
        let message = format!("`{}` lies {DEPTH_MAX} folders deep", directory.display());
        return Err(Error::config(message).with_hint("is there a link that leads back?"));
    }
    for path in io::list(directory)? {
        let name = file_name(&path);
        if is_passed_over(&name) {
            continue;
        }
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            if own_manifest(&path)?.is_some() {
                let message =
                    format!("`{}` lies inside an input, and is an artifact", path.display());
                return Err(Error::config(message).with_hint("give it as an input of its own"));
            }
            walk(&path, &format!("{relative}/"), depth + 1, files, ignored)?;
        } else if by_name(&name).is_some() {
            files.push((relative, path));
        } else {
            ignored.push(relative);
        }
    }
    Ok(())
}

/// Hidden entries, markers such as `_SUCCESS`, and what a writer left behind.
fn is_passed_over(name: &str) -> bool {
    name.starts_with(['.', '_']) || name.ends_with(".tmp") || name.ends_with(".partial")
}

fn nothing_found(path: &Path, ignored: &[String]) -> Error {
    let mut message = format!("no file of a known format in `{}`", path.display());
    if let Some(first) = ignored.first() {
        message += &format!(" ({} of others, such as `{first}`)", ignored.len());
    }
    Error::config(message).with_hint(format!("known are {}", known_endings()))
}

fn known_endings() -> String {
    FORMATS.iter().flat_map(|format| format.endings()).copied().collect::<Vec<_>>().join(" ")
}

/// The format of one file: Parquet by its name alone (a broken one has no magic bytes), else by
/// the first bytes, else by the name; a file given by itself may also just begin with `{`.
pub fn format_of(name: &str, path: &Path) -> Result<&'static dyn Format> {
    use std::io::Read;
    let is_parquet = |format: &&'static dyn Format| format.name() == Parquet.name();
    if let Some(format) = by_name(name).filter(is_parquet) {
        return Ok(format);
    }
    let mut head = Vec::new();
    io::open(path)?.take(64).read_to_end(&mut head).map_err(Error::io("read", path))?;
    let looks_like_json = || {
        let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
        (first == Some(&b'{')).then(|| by_name("x.jsonl")).flatten()
    };
    recognize(name, &head).or_else(looks_like_json).ok_or_else(|| {
        Error::config(format!("`{}` is of no known format", path.display()))
            .with_hint(format!("known are {}", known_endings()))
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// `docs` of `docs.jsonl.zst`.
fn stem(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let endings = FORMATS.iter().flat_map(|format| format.endings());
    let known = endings.filter(|ending| lower.ends_with(**ending)).map(|ending| ending.len()).max();
    let cut = known.or_else(|| lower.rfind('.').map(|dot| lower.len() - dot)).unwrap_or(0);
    let stem = name.len().checked_sub(cut).and_then(|end| name.get(..end)).unwrap_or(name);
    if stem.is_empty() { name } else { stem }
}

/// A path's name as a source's name; characters that no source name may have become `_`.
fn default_source(name: &str) -> String {
    let name: String = name
        .trim()
        .chars()
        .map(|c| {
            if check_source_name(c.encode_utf8(&mut [0; 4])).is_ok() || c == ' ' { c } else { '_' }
        })
        .collect();
    if name.is_empty() { "source".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in files {
            let path = directory.path().join(name);
            io::create_directory(path.parent().unwrap()).unwrap();
            io::write(&path, b"{\"text\":\"t\"}\n").unwrap();
        }
        directory
    }

    #[test]
    fn a_directory_is_walked_in_the_order_of_relative_names() {
        let names = [
            "b.jsonl",
            "a/2.jsonl",
            "a/10.json.gz",
            "a.jsonl",
            "A.JSONL",
            "note.txt",
            ".hidden.jsonl",
            "_SUCCESS",
            "_x/y.jsonl",
            "c.jsonl.tmp",
            "old.partial/a.jsonl",
        ];
        let directory = directory(&names);
        let root = resolve_one(&InputSpec::named("s", directory.path())).unwrap();
        let found: Vec<&str> = root.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, ["A.JSONL", "a.jsonl", "a/10.json.gz", "a/2.jsonl", "b.jsonl"]);
        assert_eq!(root.ignored, ["note.txt"]);
    }

    #[test]
    fn a_source_is_named_after_the_folder_or_the_file() {
        let directory = directory(&["docs/a.jsonl.zst", "docs/b#1.jsonl"]);
        let source = |path: &str| {
            let root = resolve_one(&InputSpec::of(directory.path().join(path))).unwrap();
            root.sources().remove(0)
        };
        assert_eq!(source("docs"), "docs");
        assert_eq!(source("docs/."), "docs");
        assert_eq!(source("docs/a.jsonl.zst"), "a");
        assert_eq!(source("docs/b#1.jsonl"), "b_1");
    }

    #[test]
    fn names_and_files_may_stand_only_once() {
        let directory = directory(&["x/a.jsonl", "y/x/b.jsonl", "z.txt"]);
        let at = |path: &str| directory.path().join(path);
        let fails = |specs: &[InputSpec]| {
            let Err(error) = resolve(specs) else { panic!("{specs:?} was taken") };
            assert_eq!(error.exit_status(), 2);
            assert!(error.hint().is_some());
            error.to_string()
        };
        let twice = fails(&[InputSpec::of(at("x")), InputSpec::of(at("y/x"))]);
        assert!(twice.contains("source name `x`"), "{twice}");
        let again =
            fails(&[InputSpec::named("p", at("x")), InputSpec::named("q", at("x/a.jsonl"))]);
        assert!(again.contains("given twice"), "{again}");
        assert!(fails(&[]).contains("no inputs"));
        assert!(fails(&[InputSpec::of(at("nowhere"))]).contains("no such file"));
        io::create_directory(&at("empty")).unwrap();
        assert!(fails(&[InputSpec::of(at("empty"))]).contains("no file of a known format"));
    }

    #[test]
    fn a_foreign_manifest_makes_no_corpus() {
        let directory = directory(&["d/a.jsonl"]);
        io::write(&directory.path().join("d/manifest.json"), b"{\"files\":[]}").unwrap();
        let root = resolve_one(&InputSpec::of(directory.path().join("d"))).unwrap();
        assert!(matches!(root.kind, RootKind::Raw { .. }));
        assert_eq!(root.ignored, ["manifest.json"]);
    }
}
