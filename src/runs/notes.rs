//! Remarks and tags that a person leaves beside a run.
//!
//! In → an artifact and a text; out → a line of `notes.jsonl` in the folder that holds the
//! artifact. A remark belongs to the *fingerprint*, so it stays with the run that it was made about
//! when that is moved aside for another one, and nothing inside the run changes; a run that was
//! extended keeps the remarks made under its name. Lines are only ever appended.

#![expect(clippy::disallowed_types, reason = "a remark says when it was made")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::artifact::manifest::Manifest;
use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::base::io;
use crate::base::json;
use crate::base::place;

/// The file's name, in the folder that holds the artifacts.
pub const FILE_NAME: &str = "notes.jsonl";

/// A line of `notes.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The artifact's folder when the remark was made, and its fingerprint.
    pub name: String,
    pub fingerprint: Fingerprint,
    /// Seconds since 1970.
    pub unix: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Tags that this line adds, and tags that it removes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untagged: Vec<String>,
}

/// The remarks and tags of one artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Remarks {
    pub notes: Vec<String>,
    pub tags: BTreeSet<String>,
}

/// Appends a remark, tags, or both.
///
/// # Errors
/// Config: `artifact` is none. Io.
pub fn append(
    artifact: &Path,
    note: Option<&str>,
    tags: &[String],
    untagged: &[String],
) -> Result<()> {
    let (name, folder) = name_and_folder(artifact)?;
    let manifest = Manifest::read(artifact)?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let note = Note {
        name,
        fingerprint: manifest.fingerprint,
        unix,
        note: note.map(str::to_owned),
        tags: tags.to_vec(),
        untagged: untagged.to_vec(),
    };
    let path = folder.join(FILE_NAME);
    let mut line = serde_json::to_vec(&note).expect("plain data");
    line.push(b'\n');
    let mut file = io::append(&path)?;
    file.write_all(&line).map_err(Error::io("write", &path))?;
    file.sync_data().map_err(Error::io("sync", &path))
}

/// All lines of a folder.
///
/// # Errors
/// Damaged: a line that is none.
pub fn read(folder: &Path) -> Result<Vec<Note>> {
    json::lines(&folder.join(FILE_NAME))
}

/// The remarks about one artifact of a folder; `standing` holds the fingerprints of all artifacts
/// in it.
pub fn about(
    notes: &[Note],
    name: &str,
    fingerprint: Fingerprint,
    standing: &BTreeSet<Fingerprint>,
) -> Remarks {
    let mut remarks = Remarks::default();
    for line in notes {
        let is_extended = line.name == name && !standing.contains(&line.fingerprint);
        if line.fingerprint == fingerprint || is_extended {
            remarks.notes.extend(line.note.clone());
            remarks.tags.extend(line.tags.iter().cloned());
            line.untagged.iter().for_each(|tag| {
                remarks.tags.remove(tag);
            });
        }
    }
    remarks
}

/// The remarks about the artifact in a folder.
///
/// # Errors
/// Config: no artifact. Damaged: a line that is no remark.
pub fn of(artifact: &Path) -> Result<Remarks> {
    let (name, folder) = name_and_folder(artifact)?;
    let manifest = Manifest::read(artifact)?;
    let mut standing = BTreeSet::new();
    for path in io::list(&folder)? {
        let manifest = Manifest::read_if_known(&path)?;
        standing.extend(manifest.map(|manifest| manifest.fingerprint));
    }
    Ok(about(&read(&folder)?, &name, manifest.fingerprint, &standing))
}

fn name_and_folder(artifact: &Path) -> Result<(String, PathBuf)> {
    let absolute = io::canonical(artifact)?;
    let name = place::name(&absolute);
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    Ok((name, folder.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::xxh3_128;

    #[test]
    fn a_remark_stays_with_its_fingerprint_and_tags_come_and_go() {
        let (old, new) = (xxh3_128(b"old"), xxh3_128(b"new"));
        let line = |fingerprint, note: &str, tags: &[&str], untagged: &[&str]| Note {
            name: "model".to_owned(),
            fingerprint,
            unix: 0,
            note: Some(note.to_owned()),
            tags: tags.iter().map(|it| (*it).to_owned()).collect(),
            untagged: untagged.iter().map(|it| (*it).to_owned()).collect(),
        };
        let notes = [
            line(old, "first", &["good", "keep"], &[]),
            line(new, "second", &[], &[]),
            line(old, "third", &[], &["good"]),
        ];
        let both = BTreeSet::from([old, new]);
        let found = about(&notes, "model@00000000", old, &both);
        assert_eq!(found.notes, ["first", "third"]);
        assert_eq!(found.tags, BTreeSet::from(["keep".to_owned()]));
        assert_eq!(about(&notes, "model", new, &both).notes, ["second"]);
        // The run was extended, so no artifact has its old fingerprint.
        let extended = about(&notes, "model", new, &BTreeSet::from([new]));
        assert_eq!(extended.notes, ["first", "second", "third"]);
    }
}
