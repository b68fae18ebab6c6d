//! A path as it was written → the files and folders it names.
//!
//! In → a path, or a pattern of paths (`data/*/train-*.parquet`, `**`, `{a,b}`, `[0-9]`); out →
//! what lies there, sorted as bytes, however the shell would sort it. What exists as written is no
//! pattern. As in a shell, `*` passes over names that begin with a dot. Only folders are listed.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::base::error::{Error, Result};
use crate::base::io;
use crate::store::Address;

/// Most folders inside each other that are followed: deeper ones come from a link that leads back.
pub(super) const DEPTH_MAX: usize = 64;

/// Whether a file, a folder, or something that the pattern matches, is there.
///
/// An address is taken to be there: only its place knows, and it is asked once, later.
pub fn exists(place: &str) -> bool {
    if !matches!(Address::parse(place), Ok(None)) {
        return true;
    }
    let path = Path::new(place);
    path.exists() || (is_pattern(place) && expand(path).is_ok_and(|found| !found.is_empty()))
}

/// The paths that `path` names: itself, or what it matches as a pattern. None when nothing is
/// there.
pub fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let Some(text) = path.to_str().filter(|text| is_pattern(text)) else { return Ok(Vec::new()) };
    let parts = path.components().map(|part| Part::of(part, text)).collect::<Result<Vec<_>>>()?;
    let mut found = Vec::new();
    descend(Path::new(""), &parts, 0, &mut found)?;
    found.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    found.dedup();
    Ok(found)
}

/// A pipe can be read once, but stages read their input in parts, and again to resume and verify.
pub fn refuse_pipe(path: &Path) -> Result<()> {
    let kind = io::metadata(path)?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(());
    }
    let message = format!("`{}` is a pipe or a device, and no file", path.display());
    Err(Error::config(message).with_hint(
        "text is read in parts, and again to resume and to verify: write it to a file first, as in \
         `COMMAND > text.jsonl`",
    ))
}

pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// One component of a pattern.
enum Part {
    /// Taken as it stands: a name, `/` or `..`.
    As(PathBuf),
    /// Names that match; `dot` when they may begin with a dot.
    Names { matcher: GlobMatcher, dot: bool },
    /// `**`: any number of folders.
    Folders,
}

impl Part {
    fn of(component: Component<'_>, whole: &str) -> Result<Part> {
        let Component::Normal(name) = component else {
            return Ok(Part::As(Path::new(&component).to_owned()));
        };
        let name = name.to_string_lossy();
        if !is_pattern(&name) {
            return Ok(Part::As(PathBuf::from(name.as_ref())));
        }
        if name == "**" {
            return Ok(Part::Folders);
        }
        let glob = GlobBuilder::new(&name).literal_separator(true).build().map_err(|error| {
            Error::config(format!("`{whole}` is no pattern of paths: {}", error.kind()))
                .with_hint("`*` is any name, `**` any folders, `?` a character, `{a,b}` a choice")
        })?;
        Ok(Part::Names { matcher: glob.compile_matcher(), dot: name.starts_with('.') })
    }
}

/// A pattern of relative paths, for files that are listed rather than walked to.
pub(super) struct Pattern(Vec<Part>);

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Pattern> {
        let parts = Path::new(text).components().map(|part| Part::of(part, text));
        Ok(Pattern(parts.collect::<Result<_>>()?))
    }

    /// Whether a file, or a folder, with these parts is one that [`expand`] would name.
    pub(super) fn matches(&self, names: &[&str], is_file: bool) -> bool {
        fits(&self.0, names, is_file)
    }
}

fn fits(parts: &[Part], names: &[&str], is_file: bool) -> bool {
    let Some((part, rest)) = parts.split_first() else { return names.is_empty() };
    let Some((name, below)) = names.split_first() else {
        return matches!(part, Part::Folders) && !rest.is_empty() && fits(rest, names, is_file);
    };
    let hidden = name.starts_with('.');
    match part {
        Part::As(own) => own.as_os_str() == *name && fits(rest, below, is_file),
        Part::Names { matcher, dot } => {
            (*dot || !hidden) && matcher.is_match(name) && fits(rest, below, is_file)
        }
        // A pattern that ends in `**` names files.
        Part::Folders if rest.is_empty() => is_file && !names.iter().any(|n| n.starts_with('.')),
        Part::Folders => fits(rest, names, is_file) || (!hidden && fits(parts, below, is_file)),
    }
}

/// Adds what `parts` match below `folder`, which is empty for the folder one is in.
fn descend(folder: &Path, parts: &[Part], depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        found.push(folder.to_owned());
        return Ok(());
    };
    if let Part::As(name) = part {
        let path = folder.join(name);
        return if path.exists() { descend(&path, rest, depth, found) } else { Ok(()) };
    }
    if depth > DEPTH_MAX {
        return Err(too_deep(folder));
    }
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        return Ok(());
    }
    if matches!(part, Part::Folders) && !rest.is_empty() {
        descend(folder, rest, depth, found)?;
    }
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in io::list(here)? {
        let Some(name) = entry.file_name() else { continue };
        let path = folder.join(name);
        let hidden = name.as_encoded_bytes().starts_with(b".");
        match part {
            Part::Names { matcher, dot } if (*dot || !hidden) && matcher.is_match(name) => {
                descend(&path, rest, depth + 1, found)?;
            }
            Part::Names { .. } => {}
            _ if hidden => {}
            _ if path.is_dir() => descend(&path, parts, depth + 1, found)?,
            _ if rest.is_empty() => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// The error for a folder that lies deeper than any that was made on purpose.
pub(super) fn too_deep(folder: &Path) -> Error {
    let message = format!("`{}` lies {DEPTH_MAX} folders deep", folder.display());
    Error::config(message).with_hint("is there a link that leads back?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_what_matches_sorted_as_bytes() {
        let directory = tempfile::tempdir().unwrap();
        for name in
            ["a/10.parquet", "a/9.parquet", "a/B.parquet", "b/x.jsonl", "a/.h.parquet", "[x]"]
        {
            let path = directory.path().join(name);
            io::create_directory(path.parent().unwrap()).unwrap();
            io::write(&path, b"").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = expand(&directory.path().join(pattern)).unwrap();
            let relative = found.iter().map(|path| path.strip_prefix(directory.path()).unwrap());
            relative.map(|path| path.display().to_string()).collect()
        };
        assert_eq!(names("a/*.parquet"), ["a/10.parquet", "a/9.parquet", "a/B.parquet"]);
        assert_eq!(names("a/.*"), ["a/.h.parquet"]);
        assert_eq!(names("*/[0-9].parquet"), ["a/9.parquet"]);
        assert_eq!(names("{a,b}/{x,B}.*"), ["a/B.parquet", "b/x.jsonl"]);
        assert_eq!(names("**/*.parquet"), names("a/*.parquet"));
        assert_eq!(names("b/**"), ["b/x.jsonl"]);
        assert_eq!(names("[x]"), ["[x]"]);
        assert!(names("c/*").is_empty() && names("a").len() == 1);
        assert!(expand(&directory.path().join("a/[")).is_err());
        assert!(exists(directory.path().join("a/*").to_str().unwrap()));
    }
}
