//! Specs → roots: a corpus, or the raw files of one source, with their names.
//!
//! In → `[NAME=]PATH` specs; out → [`Root`]s in the order of their first spec, each with its files
//! in the order of their relative names as bytes. One NAME may stand before several paths: their
//! files are one source, and are named relative to the folder that holds them all. Without NAME a
//! folder's source is its own name; a file given by itself is named after its stem, but after its
//! folder where the stem is a shard's (`part-00000`) or several files of that folder are given, so
//! that `data/*/*.parquet` has as many sources as folders. No text is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::artifact::{
    manifest::{FileEntry, Manifest},
    planned::size_differs,
    record::{Kind, RemoteRecord},
};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::source::config::InputConfig;
use crate::source::formats::{Ask, known_endings, stem};
use crate::source::places::{expand, refuse_pipe};
use crate::source::remote;
use crate::source::shard_names::is_shard;
use crate::source::spec::{InputSpec, check_source_name};
use crate::source::walk::{PassedOver, own_manifest, sort_out, walk};
use crate::store::Stored;

/// A corpus, or all raw files of one source.
pub struct Root {
    /// The first place given.
    pub path: PathBuf,
    pub kind: RootKind,
    /// Where the manifest of a remote corpus was read.
    pub remote: Option<RemoteRecord>,
    /// Each file by its relative name, in input order.
    pub files: Vec<(String, Stored)>,
    pub passed_over: PassedOver,
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

/// Finds the files of every spec; refuses one source name for different things, and one file given
/// twice.
pub fn resolve(specs: &[InputSpec], config: &InputConfig) -> Result<Vec<Root>> {
    if specs.is_empty() {
        return Err(Error::config("no inputs").with_hint("name a file or a folder: `[NAME=]PATH`"));
    }
    let mut places = Vec::new();
    for spec in specs {
        places.append(&mut find(spec, config)?);
    }
    let mut roots = Vec::new();
    for group in groups(places)? {
        roots.push(match group {
            Group::Corpus(corpus) => corpus.root()?,
            Group::Raw(source, places) => raw(source, places, config)?,
        });
    }
    refuse_shared_names(&roots)?;
    refuse_twice(&roots)?;
    Ok(roots)
}

/// A file or folder that a spec names.
struct Place {
    /// The name asked for.
    name: Option<String>,
    path: PathBuf,
    /// The folder, or the one the file lies in: absolute, without links.
    folder: PathBuf,
    is_file: bool,
    /// Its files, where the place is remote.
    listed: Option<Vec<(String, Stored)>>,
    corpus: Option<Corpus>,
}

/// An artifact that was given.
struct Corpus {
    path: PathBuf,
    manifest: Box<Manifest>,
    /// Where its manifest and its files lie, if they are remote.
    elsewhere: Option<(Option<RemoteRecord>, BTreeMap<String, Stored>)>,
}

fn find(spec: &InputSpec, config: &InputConfig) -> Result<Vec<Place>> {
    if let Some(address) = spec.address()? {
        let named = remote::find(&address, config)?;
        if named.is_empty() {
            return Err(nothing_there(spec));
        }
        return named.into_iter().map(|named| elsewhere(spec, named)).collect();
    }
    let paths = expand(&spec.path)?;
    if paths.is_empty() {
        return Err(nothing_there(spec));
    }
    let place = |path: PathBuf| {
        refuse_pipe(&path)?;
        let whole = io::canonical(&path)?;
        let is_file = !path.is_dir();
        // The folder of the path as given, since a file may be a link into a store of blobs.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = match is_file {
            true => io::canonical(parent.unwrap_or(Path::new(".")))?,
            false => whole,
        };
        let manifest = if is_file { None } else { own_manifest(&path)? };
        let corpus = manifest.map(|manifest| Corpus {
            path: path.clone(),
            manifest: Box::new(manifest),
            elsewhere: None,
        });
        Ok(Place { name: spec.source.clone(), path, folder, is_file, listed: None, corpus })
    };
    paths.into_iter().map(place).collect()
}

fn elsewhere(spec: &InputSpec, named: remote::Named) -> Result<Place> {
    let corpus = named.artifact()?.map(|(manifest, file)| Corpus {
        path: named.folder.clone(),
        manifest: Box::new(manifest),
        elsewhere: Some((remote::record(&file), named.files.iter().cloned().collect())),
    });
    Ok(Place {
        name: spec.source.clone(),
        path: PathBuf::from(named.address.to_string()),
        folder: named.folder,
        is_file: named.is_file,
        listed: Some(named.files),
        corpus,
    })
}

fn nothing_there(spec: &InputSpec) -> Error {
    let path = spec.path.display();
    let message = match &spec.source {
        None => format!("no such file or folder: `{path}`"),
        Some(_) => format!("no such file or folder: `{path}`, nor `{spec}`"),
    };
    Error::config(message).with_hint(match path.to_string().as_str() {
        "-" => "text is not read from a pipe: write it to a file first",
        _ => {
            "inputs are written `[NAME=]PATH`, where PATH may be a pattern, as `data/*.parquet`; \
              paths in a recipe start at its folder"
        }
    })
}

/// Places that make one root.
enum Group {
    Corpus(Corpus),
    Raw(String, Vec<Place>),
}

/// Puts places of one source together; two places without a NAME share one only as files of one
/// folder.
fn groups(places: Vec<Place>) -> Result<Vec<Group>> {
    let mut files_given: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for place in places.iter().filter(|place| place.is_file && place.name.is_none()) {
        *files_given.entry(place.folder.clone()).or_default() += 1;
    }
    let mut groups: Vec<Group> = Vec::new();
    for place in places {
        if let Some(corpus) = place.corpus {
            if let Some(name) = &place.name {
                let message = format!("`{name}={}` renames a corpus", place.path.display());
                return Err(Error::config(message)
                    .with_hint("a corpus keeps its own source names: leave `NAME=` out"));
            }
            groups.push(Group::Corpus(corpus));
            continue;
        }
        let alone = files_given.get(&place.folder).is_none_or(|count| *count == 1);
        let source = place.name.clone().unwrap_or_else(|| default_source(&place, alone));
        check_source_name(&source)?;
        let known = groups.iter_mut().find_map(|group| match group {
            Group::Raw(known, places) if *known == source => Some(places),
            _ => None,
        });
        match known {
            None => groups.push(Group::Raw(source, vec![place])),
            Some(others) if are_one(&others[0], &place) => others.push(place),
            Some(others) => return Err(one_name(&source, &others[0], &place)),
        }
    }
    Ok(groups)
}

fn are_one(one: &Place, other: &Place) -> bool {
    match (&one.name, &other.name) {
        (Some(_), Some(_)) => true,
        (None, None) => one.is_file && other.is_file && one.folder == other.folder,
        _ => false,
    }
}

fn one_name(source: &str, one: &Place, two: &Place) -> Error {
    let (first, second) = (one.path.display(), two.path.display());
    let message = format!("two inputs have the source name `{source}`: `{first}` and `{second}`");
    Error::config(message).with_hint(format!(
        "name both: `{source}={first} {source}={second}` makes them one source, \
         `{source}={first} {source}-2={second}` two"
    ))
}

/// Refuses a source name that stands in two corpora, or in a corpus and before raw files.
fn refuse_shared_names(roots: &[Root]) -> Result<()> {
    let mut sources: BTreeMap<String, &Root> = BTreeMap::new();
    for root in roots {
        for source in root.sources() {
            let Some(other) = sources.insert(source.clone(), root) else { continue };
            let (one, two) = (other.path.display(), root.path.display());
            let message =
                format!("two inputs have the source name `{source}`: `{one}` and `{two}`");
            let raw = [other, root].into_iter().find(|r| matches!(r.kind, RootKind::Raw { .. }));
            return Err(Error::config(message).with_hint(match raw {
                Some(raw) => format!("name the raw one: `{source}-2={}`", raw.path.display()),
                None => "a corpus keeps its source names: ingest both from their raw files under \
                         other names"
                    .to_owned(),
            }));
        }
    }
    Ok(())
}

/// Refuses one file given twice, and names that cannot be written into an artifact.
fn refuse_twice(roots: &[Root]) -> Result<()> {
    let mut files: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    for (_, file) in roots.iter().flat_map(|root| &root.files) {
        let path = file.path();
        let whole = match file.here() {
            Some(path) => refuse_pipe(path).and_then(|()| io::canonical(path))?,
            None => path.to_owned(),
        };
        if whole.to_str().is_none() {
            let bytes = whole.as_os_str().as_encoded_bytes().escape_ascii();
            return Err(Error::config(format!("the name of `{bytes}` is not UTF-8")).with_hint(
                "artifacts name their inputs in UTF-8: rename it, as with `convmv -f latin1 -t \
                 utf8 --notest`",
            ));
        }
        if let Some(other) = files.insert(whole, path) {
            let (one, two) = (other.display(), path.display());
            return Err(Error::config(format!("one file is given twice: `{one}` and `{two}`"))
                .with_hint("name each file, or the folder it lies in, once"));
        }
    }
    Ok(())
}

/// The files of one source, relative to the folder that holds them all.
fn raw(source: String, places: Vec<Place>, config: &InputConfig) -> Result<Root> {
    refuse_half_elsewhere(&source, &places)?;
    let path = places[0].path.clone();
    let holds_all = places.iter().map(|place| place.folder.as_path()).reduce(|all, folder| {
        let holds = |above: &&Path| folder.starts_with(above);
        all.ancestors().find(holds).unwrap_or(Path::new("/"))
    });
    let holds_all = holds_all.unwrap_or(Path::new("/")).to_owned();
    let ask = Ask::of(config, &source)?;
    let (mut files, mut passed_over) = (Vec::new(), PassedOver::default());
    for place in places {
        let prefix = place.folder.strip_prefix(&holds_all).unwrap_or(&place.folder);
        let relative = |name: &str| prefix.join(name).to_string_lossy().into_owned();
        let (found, passed) = match place.listed {
            Some(listed) if place.is_file => (listed, PassedOver::default()),
            Some(listed) => sort_out(listed, &ask)?,
            None if place.is_file => {
                let file = Stored::local(place.path.clone());
                (vec![(file_name(&place.path), file)], PassedOver::default())
            }
            None => walk(&place.path, &ask)?,
        };
        if found.is_empty() {
            return Err(nothing_found(&place.path, &passed));
        }
        files.extend(found.into_iter().map(|(name, file)| (relative(&name), file)));
        passed_over.append(passed);
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Root { path, kind: RootKind::Raw { source }, remote: None, files, passed_over })
}

/// Refuses a source of which some files are remote and some are not: names are relative to the one
/// folder that holds them all.
fn refuse_half_elsewhere(source: &str, places: &[Place]) -> Result<()> {
    let first = |here: bool| places.iter().find(|place| place.listed.is_none() == here);
    let (Some(here), Some(there)) = (first(true), first(false)) else { return Ok(()) };
    let (here, there) = (here.path.display(), there.path.display());
    let message = format!("the source `{source}` lies here and elsewhere: `{here}` and `{there}`");
    Err(Error::config(message)
        .with_hint(format!("make them two sources: `{source}={here} {source}-2={there}`")))
}

impl Corpus {
    /// The parts of a corpus, as its manifest lists them.
    fn root(self) -> Result<Root> {
        let Corpus { path, manifest, elsewhere } = self;
        manifest.expect_kind(&path, Kind::Corpus).map_err(|error| {
            error.with_hint("give a corpus (made by ingest, filter or dedup) or raw files")
        })?;
        let is_part = |name: &str| name.starts_with("part-") && name.ends_with(".parquet");
        let mut files = Vec::new();
        for entry in manifest.files.iter().filter(|entry| is_part(&entry.name)) {
            let file = match &elsewhere {
                None => Stored::local(path.join(&entry.name)),
                Some((_, listed)) => listed_part(&path, entry, listed)?,
            };
            files.push((entry.name.clone(), file));
        }
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (passed_over, remote) = (PassedOver::default(), elsewhere.and_then(|(at, _)| at));
        Ok(Root { path, kind: RootKind::Corpus(manifest), remote, files, passed_over })
    }
}

/// A part that a remote manifest lists: in its place, and of its size.
fn listed_part(
    path: &Path,
    entry: &FileEntry,
    listed: &BTreeMap<String, Stored>,
) -> Result<Stored> {
    let file = listed.get(&entry.name);
    let bytes = file.map(Stored::size).transpose()?;
    match file {
        Some(file) if bytes == Some(entry.bytes) => Ok(file.clone()),
        _ => Err(size_differs(&path.join(&entry.name), entry.bytes, bytes)),
    }
}

fn nothing_found(path: &Path, passed_over: &PassedOver) -> Error {
    let mut message = format!("no file of a known format in `{}`", path.display());
    if let Some(sentence) = passed_over.sentence() {
        message += &format!(" ({sentence})");
    }
    let endings = known_endings();
    let hint = format!("known are {endings}; what is given by its own name is always looked into");
    Error::config(message).with_hint(hint)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The name of a place that has none; `alone` when no other file of its folder is given.
fn default_source(place: &Place, alone: bool) -> String {
    let file = match &place.listed {
        Some(listed) => listed.first().map_or_else(String::new, |(name, _)| name.clone()),
        None => file_name(&place.path),
    };
    let stem = stem(&file);
    match place.is_file && alone && !is_shard(stem) {
        true => source_name(stem),
        false => source_name(&file_name(&place.folder)),
    }
}

/// A path's name as a source's name; characters that no source name may have become `_`.
fn source_name(name: &str) -> String {
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

    fn resolve_one(spec: &InputSpec) -> Result<Root> {
        resolve(std::slice::from_ref(spec), &InputConfig::default())
            .map(|mut roots| roots.remove(0))
    }

    /// `source: names` of each root that `specs` give, with `@` for the directory; or the error.
    fn roots(directory: &tempfile::TempDir, specs: &str) -> String {
        let at = |spec: &str| spec.replace('@', directory.path().to_str().unwrap());
        let specs: Vec<InputSpec> =
            specs.split_whitespace().map(|spec| at(spec).parse().unwrap()).collect();
        let root = |root: &Root| {
            let names: Vec<&str> = root.files.iter().map(|(name, _)| name.as_str()).collect();
            format!("{}: {}", root.sources().join("+"), names.join(" "))
        };
        match resolve(&specs, &InputConfig::default()) {
            Ok(roots) => roots.iter().map(root).collect::<Vec<_>>().join("; "),
            Err(error) => {
                assert_eq!(error.exit_status(), 2);
                format!("{error} | {}", error.hint().expect("a hint"))
            }
        }
    }

    #[test]
    fn a_directory_is_walked_in_the_order_of_relative_names_and_says_what_it_passes_over() {
        let names = [
            "b.jsonl",
            "a/2.jsonl",
            "a/10.json.gz",
            "a.jsonl",
            "A.JSONL",
            "d.json",
            "note.txt",
            ".hidden.jsonl",
            "_SUCCESS",
            "_x/y.jsonl",
            "c.jsonl.tmp",
            "old.partial/a.jsonl",
        ];
        let directory = directory(&names);
        io::write(&directory.path().join("e.json"), b"[{\"text\":\"t\"}]").unwrap();
        io::write(&directory.path().join("f.json"), b"{\n \"text\": \"t\"\n}\n").unwrap();
        io::write(&directory.path().join("g.json"), b"{\"name\": \"t\"}\n").unwrap();
        let root = resolve_one(&InputSpec::named("s", directory.path())).unwrap();
        let found: Vec<&str> = root.files.iter().map(|(name, _)| name.as_str()).collect();
        let expect = "A.JSONL a.jsonl a/10.json.gz a/2.jsonl b.jsonl d.json e.json f.json";
        assert_eq!(found.join(" "), expect);
        assert_eq!(
            root.passed_over.sentence().unwrap(),
            "not read in the folders given: 3 that begin with `_` or `.`: .hidden.jsonl, _SUCCESS, \
             _x/; 2 that a writer left behind: c.jsonl.tmp, old.partial/; 1 of text beside data: \
             note.txt; 1 of no known format: g.json (its objects have no `text`, but `name`)"
        );
    }

    #[test]
    fn a_source_is_named_after_the_folder_or_the_file() {
        let directory = directory(&[
            "docs/a.jsonl.zst",
            "docs/b#1.jsonl",
            "x/000_00000.jsonl",
            "x/001_00000.jsonl",
            "y/train-00000-of-00014.jsonl",
        ]);
        for (specs, expect) in [
            ("@/docs", "docs: a.jsonl.zst b#1.jsonl"),
            ("@/docs/.", "docs: a.jsonl.zst b#1.jsonl"),
            ("@/docs/a.jsonl.zst", "a: a.jsonl.zst"),
            ("@/docs/b#1.jsonl", "b_1: b#1.jsonl"),
            ("@/docs/b#1.jsonl @/docs/a.jsonl.zst", "docs: a.jsonl.zst b#1.jsonl"),
            ("@/x/000_00000.jsonl", "x: 000_00000.jsonl"),
            (
                "@/x/001_00000.jsonl @/y/train-00000-of-00014.jsonl @/x/000_00000.jsonl",
                "x: 000_00000.jsonl 001_00000.jsonl; y: train-00000-of-00014.jsonl",
            ),
            ("@/?/*.jsonl", "x: 000_00000.jsonl 001_00000.jsonl; y: train-00000-of-00014.jsonl"),
        ] {
            assert_eq!(roots(&directory, specs), expect, "{specs}");
        }
    }

    #[test]
    fn one_name_makes_one_source_of_several_places() {
        let directory = directory(&["a/data/1.jsonl", "b/data/1.jsonl", "b/c/2.jsonl"]);
        for (specs, expect) in [
            ("w=@/a/data w=@/b/data", "w: a/data/1.jsonl b/data/1.jsonl"),
            ("w=@/b/*/*.jsonl", "w: c/2.jsonl data/1.jsonl"),
            ("w=@/a/data x=@/b/c w=@/b/data", "w: a/data/1.jsonl b/data/1.jsonl; x: 2.jsonl"),
        ] {
            assert_eq!(roots(&directory, specs), expect, "{specs}");
        }
        let refused = roots(&directory, "@/a/data @/b/data");
        let (message, hint) = refused.split_once(" | ").unwrap();
        assert!(message.contains("the source name `data`"), "{message}");
        // Each of the two ways that the hint shows works.
        let ways: Vec<&str> = hint.split('`').skip(1).step_by(2).collect();
        assert_eq!(ways.len(), 2, "{hint}");
        for (way, expect) in ways.iter().zip(["data: ", "data-2: "]) {
            assert!(roots(&directory, way).contains(expect), "{way}: {}", roots(&directory, way));
        }
        let mixed = roots(&directory, "data=@/a/data @/b/data");
        assert!(mixed.contains("name both"), "{mixed}");
    }

    #[test]
    fn what_is_not_there_or_given_twice_is_refused() {
        let directory = directory(&["x/a.jsonl", "z.txt"]);
        let again = roots(&directory, "p=@/x q=@/x/a.jsonl");
        assert!(again.contains("given twice"), "{again}");
        let named = roots(&directory, "lang=@/nowhere");
        assert!(named.contains("nowhere`, nor `lang="), "{named}");
        assert!(roots(&directory, "@/x/*.parquet").contains("no such file"));
        assert!(resolve(&[], &InputConfig::default()).is_err());
        io::create_directory(&directory.path().join("empty")).unwrap();
        assert!(roots(&directory, "@/empty").contains("no file of a known format"));
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_utf8_is_refused_before_the_work() {
        use std::os::unix::ffi::OsStrExt;
        let directory = directory(&["x/a.jsonl"]);
        let name = std::ffi::OsStr::from_bytes(b"x/caf\xe9.jsonl");
        io::write(&directory.path().join(name), b"{}\n").unwrap();
        for specs in ["@/x", "@/x/*"] {
            let error = roots(&directory, specs);
            assert!(error.contains("caf\\xe9.jsonl` is not UTF-8"), "{error}");
        }
    }

    #[test]
    fn a_foreign_manifest_makes_no_corpus() {
        let directory = directory(&["d/a.jsonl"]);
        io::write(&directory.path().join("d/manifest.json"), b"{\"files\":[]}").unwrap();
        let root = resolve_one(&InputSpec::of(directory.path().join("d"))).unwrap();
        assert!(matches!(root.kind, RootKind::Raw { .. }));
        assert_eq!(
            root.passed_over.unknown,
            ["manifest.json (its objects have no `text`, but `files`)"]
        );
    }
}
