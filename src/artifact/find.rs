//! Finished artifacts of a kind below a folder, and the evaluations beside a run.
//!
//! In → a folder and a kind, or a run; out → folders with their manifests. **Rules.** A folder with
//! a manifest is an artifact and is not walked into. Links, hidden folders, half-done outputs
//! (`.partial`) and the evaluations beside a run (`.evals`) are passed over, and so is what lies
//! more than six folders deep. A manifest of ours that is damaged stops the walk and is named.
//! **Cost.** A listing a folder, a manifest an artifact.

use std::path::{Path, PathBuf};

use super::{manifest::Manifest, record::Kind};
use crate::base::{error::Result, io, place};

/// Folders below the one that is asked about: a project, its steps, runs by seed.
const DEPTH_MAX: usize = 6;

/// The end of the name of the folder beside a run that holds its evaluations.
pub const EVALUATIONS: &str = ".evals";

/// An artifact's folder, and what its manifest says.
pub type Found = (PathBuf, Manifest);

/// All of them, by path; the folder itself where it is one.
///
/// # Errors
/// Io, and damaged: a manifest that cannot be read.
pub fn below(folder: &Path, kind: Kind) -> Result<Vec<Found>> {
    let levels: Vec<Vec<Found>> = levels(folder, kind).collect::<Result<_>>()?;
    let mut found: Vec<Found> = levels.into_iter().flatten().collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Those that lie the fewest folders deep, by path: what lies below their level is not looked at.
///
/// # Errors
/// As [`below`].
pub fn nearest(folder: &Path, kind: Kind) -> Result<Vec<Found>> {
    let is_last = |level: &Result<Vec<Found>>| level.as_ref().map_or(true, |it| !it.is_empty());
    levels(folder, kind).find(is_last).unwrap_or(Ok(Vec::new()))
}

/// The finished evaluations of a run, by name, so earlier steps first: `RUN.evals/STEP@1a2b3c4d`.
pub fn evaluations(run: &Path) -> Vec<PathBuf> {
    // The name of `.` is found only in full.
    let full = io::canonical(run).unwrap_or_else(|_| run.to_owned());
    let mut folder = full.file_name().unwrap_or_default().to_owned();
    folder.push(EVALUATIONS);
    let found = io::list(&full.with_file_name(folder)).unwrap_or_default();
    found.into_iter().filter(|path| Manifest::stands_in(path)).collect()
}

/// Level by level, the folder itself first.
fn levels(folder: &Path, kind: Kind) -> impl Iterator<Item = Result<Vec<Found>>> {
    let mut level = vec![folder.to_owned()];
    (0..=DEPTH_MAX).map(move |_| {
        let (mut found, mut next) = (Vec::new(), Vec::new());
        for path in std::mem::take(&mut level) {
            match Manifest::read_if_known(&path)? {
                Some(manifest) if manifest.kind == kind => found.push((path, manifest)),
                Some(_) => {}
                None if Manifest::stands_in(&path) => {}
                None => next.extend(io::list(&path)?.into_iter().filter(|it| is_walked(it))),
            }
        }
        level = next;
        Ok(found)
    })
}

fn is_walked(path: &Path) -> bool {
    let name = place::name(path);
    let is_ours =
        name.starts_with('.') || name.ends_with(".partial") || name.ends_with(EVALUATIONS);
    !is_ours && path.is_dir() && !path.is_symlink()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::manifest::FILE_NAME;
    use serde_json::json;

    /// Folders with a manifest each; a name that ends in `=mix` is a mix, any other a run.
    fn project(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let (name, kind) = name.split_once('=').unwrap_or((name, "run"));
            let folder = directory.path().join(name);
            io::create_directory(&folder).unwrap();
            let manifest = json!({
                "format": 2, "kind": kind, "stage": kind, "stage_version": 1,
                "tool": {"version": "1", "commit": "c"}, "config": {}, "seed": 0, "inputs": [],
                "files": [], "counts": {"in": 0, "out": 0, "rejected": 0, "dropped": {},
                "sources": {}}, "holdout": null, "fingerprint": "0".repeat(32),
            });
            io::write(&folder.join(FILE_NAME), manifest.to_string().as_bytes()).unwrap();
        }
        directory
    }

    fn names(directory: &tempfile::TempDir, found: Result<Vec<Found>>) -> Vec<String> {
        let name = |(path, _): Found| {
            path.strip_prefix(directory.path()).unwrap().to_str().unwrap().to_owned()
        };
        found.unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn artifacts_of_a_kind_are_found_and_not_walked_into() {
        let project = project(&["b", "a/x/y", "a/mix=mix", "b/inner", "a/mix/tokenizer", "c/d"]);
        assert_eq!(names(&project, below(project.path(), Kind::Run)), ["a/x/y", "b", "c/d"]);
        assert_eq!(names(&project, nearest(project.path(), Kind::Run)), ["b"]);
        assert_eq!(names(&project, nearest(&project.path().join("a"), Kind::Run)), ["a/x/y"]);
        assert_eq!(names(&project, below(&project.path().join("b"), Kind::Run)), ["b"]);
        assert_eq!(names(&project, nearest(project.path(), Kind::Model)), [""; 0]);
    }

    #[test]
    fn what_is_hidden_half_done_linked_or_too_deep_is_passed_over() {
        let deepest = "1/2/3/4/5/6";
        let project = project(&[
            deepest,
            "2/2/3/4/5/6/7",
            ".store/run@1",
            "run.partial/publish",
            "run.evals/1",
        ]);
        let (run, link) = (project.path().join(deepest), project.path().join("link"));
        std::os::unix::fs::symlink(run, link).unwrap();
        assert_eq!(names(&project, below(project.path(), Kind::Run)), [deepest]);
        assert_eq!(names(&project, nearest(project.path(), Kind::Run)), [deepest]);
    }

    #[test]
    fn a_damaged_manifest_is_named_and_another_formats_is_passed_over() {
        let project = project(&["run", "older", "older/inner"]);
        let older = project.path().join("older").join(FILE_NAME);
        io::write(&older, b"{\"format\": 1}").unwrap();
        assert_eq!(names(&project, below(project.path(), Kind::Run)), ["run"]);
        io::write(&older, b"{\"format\": 2}").unwrap();
        for found in [below(project.path(), Kind::Run), nearest(project.path(), Kind::Run)] {
            let error = found.unwrap_err().to_string();
            assert!(error.contains("older/manifest.json"), "{error}");
        }
    }
}
