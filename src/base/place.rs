//! Where a command may write: never over what it reads, nor over what it did not write.
//!
//! In → the path that was asked for and the paths that are read; out → the place to write to, or
//! the reason why not, before any work. Links are followed, so that what a link names is written
//! and the link stays. Two paths are one place when they are one file for the system, whatever
//! their names are. **Cost.** A look at each path's entry.

use std::{
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use super::{
    error::{Error, Result},
    io,
};

/// The place of an output directory.
///
/// # Errors
/// [`Error::Config`] where it is what is read, holds it or lies in it; for a link to nowhere, for a
/// file, and for a name that is no UTF-8, which `run.json` could not hold.
pub fn output_directory(out: &Path, reads: &[PathBuf]) -> Result<PathBuf> {
    let place = followed(out)?;
    if place.is_file() {
        let message = format!("`{}` is a file, and the output is a folder", out.display());
        return Err(Error::config(message).with_hint("choose another `--out`"));
    }
    if place.file_name().is_none() {
        let message = format!("`{}` is no name for a new folder", out.display());
        return Err(Error::config(message).with_hint("choose another `--out`"));
    }
    reads.iter().try_for_each(|read| refuse_overlap(out, &place, read))?;
    Ok(place)
}

/// The place of an output file. One that stands already is written over only with `fresh`, or where
/// it begins as a file of ours does: `mark` stands among its first bytes.
///
/// # Errors
/// [`Error::Config`] where it is what is read or lies in it, stands and is not ours, or is a
/// folder.
pub fn output_file(
    path: &Path,
    reads: &[PathBuf],
    mark: Option<&str>,
    fresh: bool,
) -> Result<PathBuf> {
    let place = followed(path)?;
    if place.is_dir() {
        let message = format!("`{}` is a folder, and the output is a file", path.display());
        return Err(Error::config(message).with_hint("name a file in it"));
    }
    reads.iter().try_for_each(|read| refuse_overlap(path, &place, read))?;
    if fresh || !place.exists() || mark.is_some_and(|mark| is_marked(&place, mark)) {
        return Ok(place);
    }
    let message = format!("`{}` exists, and this command did not write it", path.display());
    Err(Error::config(message).with_hint("choose another name, or write over it with `--fresh`"))
}

/// A path as seen from a folder: `pipelines` and `../runs` → `runs`, as a person would type it.
pub fn joined(folder: &Path, path: &Path) -> PathBuf {
    let mut joined = if folder == Path::new(".") { PathBuf::new() } else { folder.to_owned() };
    for part in path.components() {
        let named = matches!(joined.components().next_back(), Some(Component::Normal(_)));
        match part {
            // The parent of a link is that of what it leads to, so `..` behind a link stays.
            Component::ParentDir if named && !joined.is_symlink() => {
                joined.pop();
            }
            Component::CurDir => {}
            part => joined.push(part),
        }
    }
    if joined.as_os_str().is_empty() { PathBuf::from(".") } else { joined }
}

/// The last part of a path, as text; empty for a path that ends in none, as `/` and `..` do.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The way from the folder `base` to `path`, both absolute: `/a/runs/one`, `/a/data/x` →
/// `../../data/x`.
pub fn relative(base: &Path, path: &Path) -> PathBuf {
    let shared = base.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = base.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// How far into a file a mark may stand, in bytes.
const MARK_WITHIN: u64 = 1024;

fn is_marked(path: &Path, mark: &str) -> bool {
    let length = io::size(path).unwrap_or(0).min(MARK_WITHIN) as usize;
    let head = io::read_range(path, 0, length).unwrap_or_default();
    head.windows(mark.len()).any(|bytes| bytes == mark.as_bytes())
}

/// The path with its links followed; a link to nowhere is refused.
fn followed(path: &Path) -> Result<PathBuf> {
    if path.to_str().is_none() {
        let message = format!("`{}` is no UTF-8", path.display());
        return Err(Error::config(message).with_hint("choose a name of plain letters"));
    }
    match path.is_symlink() {
        true if path.exists() => io::canonical(path),
        true => {
            let message = format!("`{}` is a link to nothing", path.display());
            Err(Error::config(message).with_hint("make what it names, or remove the link"))
        }
        false => Ok(path.to_owned()),
    }
}

/// Refuses to write `place` where `read` is it, holds it or lies in it.
fn refuse_overlap(out: &Path, place: &Path, read: &Path) -> Result<()> {
    let refused = |what: &str| {
        let message = format!("`{}` {what} the input `{}`", out.display(), read.display());
        Error::config(message).with_hint("an input is never written to: choose another `--out`")
    };
    if !read.exists() {
        return Ok(());
    }
    if is_same(place, read) {
        return Err(refused("is"));
    }
    if ancestors(place)?.iter().any(|above| is_same(above, read)) {
        return Err(refused("lies in"));
    }
    if place.is_dir() && ancestors(read)?.iter().any(|above| is_same(above, place)) {
        return Err(refused("holds"));
    }
    Ok(())
}

/// The folders above a path, nearest first; those that do not stand yet are left out.
fn ancestors(path: &Path) -> Result<Vec<PathBuf>> {
    let standing = path.ancestors().skip(1).find(|above| above.exists() && above.is_dir());
    let nearest = match standing {
        Some(above) => io::canonical(above)?,
        None => io::canonical(Path::new("."))?,
    };
    Ok(nearest.ancestors().map(Path::to_owned).collect())
}

/// Whether two paths name one file or folder.
fn is_same(one: &Path, other: &Path) -> bool {
    let key = |path: &Path| io::metadata(path).ok().map(|entry| (entry.dev(), entry.ino()));
    key(one).is_some_and(|one| Some(one) == key(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        io::create_directory(&directory.path().join("data/deep")).unwrap();
        io::write(&directory.path().join("data/a.jsonl"), b"{}").unwrap();
        directory
    }

    #[test]
    fn an_output_is_never_an_input_nor_inside_one_nor_around_one() {
        let directory = folder();
        let at = |name: &str| directory.path().join(name);
        let refused = |out: &str, read: &str| {
            output_directory(&at(out), &[at(read)]).unwrap_err().to_string()
        };
        assert!(refused("data", "data").contains("is the input"));
        assert!(refused("data/deep/../../data", "data").contains("is the input"));
        assert!(refused("data/new/er", "data").contains("lies in the input"));
        assert!(refused("data", "data/a.jsonl").contains("holds the input"));
        assert!(refused("data/deep", "data").contains("lies in the input"));
        assert!(output_directory(&at("data-2"), &[at("data")]).is_ok());
        assert!(output_directory(&at("data/a"), &[at("data/a.jsonl")]).is_ok());
    }

    #[test]
    fn a_link_is_followed_and_a_link_to_nothing_is_refused() {
        let directory = folder();
        let at = |name: &str| directory.path().join(name);
        symlink(at("data/deep"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        let place = output_directory(&at("link"), &[]).unwrap();
        assert_eq!(place, io::canonical(&at("data/deep")).unwrap());
        assert!(output_directory(&at("link"), &[at("data")]).is_err());
        let error = output_directory(&at("dangling"), &[]).unwrap_err().to_string();
        assert!(error.contains("link to nothing"), "{error}");
        assert!(output_directory(&at("data/a.jsonl"), &[]).is_err());
    }

    #[test]
    fn a_relative_place_is_the_way_between_two_folders() {
        let way = |base: &str, path: &str| relative(Path::new(base), Path::new(path));
        assert_eq!(way("/a/runs/one", "/a/data/x.parquet"), Path::new("../../data/x.parquet"));
        assert_eq!(way("/a", "/a/m"), Path::new("m"));
    }

    #[test]
    fn a_file_that_stands_is_written_over_only_when_it_is_ours_or_asked_for() {
        let directory = folder();
        let (data, page) = (directory.path().join("data/a.jsonl"), directory.path().join("p.html"));
        assert!(output_file(&data, &[], Some("made by dataprep"), false).is_err());
        assert!(output_file(&data, &[], None, true).is_ok());
        // An input is an input, whatever is asked for, and so is another name of it.
        assert!(output_file(&data, std::slice::from_ref(&data), None, true).is_err());
        let twin = directory.path().join("twin.jsonl");
        std::fs::hard_link(&data, &twin).unwrap();
        assert!(output_file(&twin, std::slice::from_ref(&data), None, true).is_err());
        assert!(output_file(&page, &[], None, false).is_ok());
        io::write(&page, b"<!-- made by dataprep -->").unwrap();
        assert!(output_file(&page, &[], Some("made by dataprep"), false).is_ok());
    }
}
