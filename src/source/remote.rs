//! Addresses → the files and folders they name, as a walk over folders finds them here.
//!
//! In → an address, perhaps with a pattern in its path (`hf://datasets/O/N/data/*.parquet`); out →
//! [`Named`]: each file or folder with its files, by one listing. What exists as written is no
//! pattern. A folder with a manifest of ours is the artifact that the manifest says; one that only
//! holds artifacts is refused, since their files are not all documents. No text is read.
//!
//! **One command, one moment.** An address is listed once in the life of the process: the tokenizer
//! that `tokenize --vocab` trains and the tokens that it then writes, or two steps of a recipe that
//! are hours apart, read one commit and the same objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::artifact::manifest::{self, Manifest};
use crate::artifact::record::RemoteRecord;
use crate::base::error::{Error, Result};
use crate::source::config::InputConfig;
use crate::source::places::{self, Pattern};
use crate::source::walk;
use crate::store::{self, Access, Address, Identity, Listing, Place, Revision, Stored};

/// The branch that is meant where an address names no revision.
const DEFAULT_REVISION: &str = "main";

/// A file or a folder at an address.
pub(super) struct Named {
    /// As it was asked for, without a pattern.
    pub address: Address,
    pub is_file: bool,
    /// The folder, or the one the file lies in, at no revision: what sources are named after.
    pub folder: PathBuf,
    /// The file, or all in the folder, by name relative to `folder`, in order.
    pub files: Vec<(String, Stored)>,
}

/// What `address` names; nothing where its pattern matches nothing.
pub(super) fn find(address: &Address, config: &InputConfig) -> Result<Vec<Named>> {
    if config.cache && !matches!(address, Address::Hub(_)) {
        let message = format!("`--cache` stores files of the Hub alone, and `{address}` is none");
        return Err(Error::config(message).with_hint("leave it out: files are read by ranges"));
    }
    let (folder, pattern) = cut(address);
    let access = Access { cache: config.cache, commit: locked(address, config) };
    let (place, listing) = listed(&folder, access)?;
    let files = Files::of(place, &folder, listing);
    match pattern {
        None => Ok(vec![files.at("")]),
        Some(as_written) if files.has(&as_written) => Ok(vec![files.at(&as_written)]),
        Some(pattern) => files.matching(&pattern),
    }
}

/// A folder that was listed, and how.
struct Listed {
    folder: Address,
    cache: bool,
    place: Arc<dyn Place>,
    listing: Listing,
}

/// All that this process has listed.
static LISTED: Mutex<Vec<Listed>> = Mutex::new(Vec::new());

/// The files below `folder`: as this process has listed them before, else as they are now. At
/// another commit it is another folder.
fn listed(folder: &Address, access: Access) -> Result<(Arc<dyn Place>, Listing)> {
    let mut all = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_commit = |listing: &Listing| match (&access.commit, &listing.revision) {
        (Some(asked), Some(revision)) => *asked == revision.commit,
        (asked, _) => asked.is_none(),
    };
    let known = all.iter().find(|known| {
        known.folder == *folder && known.cache == access.cache && is_commit(&known.listing)
    });
    if let Some(known) = known {
        return Ok((known.place.clone(), known.listing.clone()));
    }
    let place = store::open(folder, &access)?;
    let listing = place.list()?;
    let (folder, cache) = (folder.clone(), access.cache);
    all.push(Listed { folder, cache, place: place.clone(), listing: listing.clone() });
    Ok((place, listing))
}

/// The commit that an earlier run of the same work has read.
fn locked(address: &Address, config: &InputConfig) -> Option<String> {
    config.commits.get(&address.lock_name(DEFAULT_REVISION)?).cloned()
}

/// The folder that holds all that an address may name, and the pattern below it.
fn cut(address: &Address) -> (Address, Option<String>) {
    let path = address.path();
    if matches!(address, Address::Web(_)) || !places::is_pattern(path) {
        return (address.clone(), None);
    }
    let parts: Vec<&str> = path.split('/').collect();
    let plain = parts.iter().take_while(|part| !places::is_pattern(part)).count();
    (address.with_path(&parts[..plain].join("/")), Some(parts[plain..].join("/")))
}

/// The files of one listing.
struct Files {
    /// As asked for.
    address: Address,
    is_file: bool,
    files: BTreeMap<String, Stored>,
}

impl Files {
    fn of(place: Arc<dyn Place>, address: &Address, listing: Listing) -> Files {
        let revision: Option<Arc<Revision>> = listing.revision.map(Arc::new);
        let read = match &revision {
            Some(revision) => address.at_revision(Some(&revision.commit)),
            None => address.clone(),
        };
        let stored = |entry: store::Entry| {
            let own = if listing.is_file { read.clone() } else { read.join(&entry.name) };
            let name = entry.name.clone();
            (name, Stored::remote(place.clone(), entry, revision.clone(), own.to_string()))
        };
        let files = listing.entries.into_iter().map(stored).collect();
        Files { address: address.clone(), is_file: listing.is_file, files }
    }

    fn has(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.below(name).next().is_some()
    }

    fn below<'a>(&'a self, folder: &str) -> impl Iterator<Item = (&'a str, &'a Stored)> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let from = self.files.range(prefix.clone()..);
        let below =
            from.map_while(move |(name, stored)| Some((name.strip_prefix(&prefix)?, stored)));
        below.filter(|(name, _)| !name.is_empty())
    }

    /// The file or folder `name` of the listing; an empty name means the listing itself.
    fn at(&self, name: &str) -> Named {
        let address = if name.is_empty() { self.address.clone() } else { self.address.join(name) };
        let is_itself = name.is_empty() && self.is_file;
        let file =
            self.files.get(name).or_else(|| self.files.values().next().filter(|_| is_itself));
        let plain = address.at_revision(None);
        match file {
            Some(stored) => Named {
                folder: PathBuf::from(plain.parent().to_string()),
                files: vec![(address.name().to_owned(), stored.clone())],
                is_file: true,
                address,
            },
            None => Named {
                folder: PathBuf::from(plain.to_string()),
                files: self
                    .below(name)
                    .map(|(name, file)| (name.to_owned(), file.clone()))
                    .collect(),
                is_file: false,
                address,
            },
        }
    }

    /// The files and folders that a pattern matches, sorted as bytes.
    fn matching(&self, pattern: &str) -> Result<Vec<Named>> {
        let pattern = Pattern::new(pattern)?;
        let mut found: BTreeSet<String> = BTreeSet::new();
        for name in self.files.keys() {
            let parts: Vec<&str> = name.split('/').collect();
            for depth in 1..=parts.len() {
                if pattern.matches(&parts[..depth], depth == parts.len()) {
                    found.insert(parts[..depth].join("/"));
                }
            }
        }
        Ok(found.iter().map(|name| self.at(name)).collect())
    }
}

impl Named {
    /// The manifest of the artifact that it is, and the file in which that stands; nothing for raw
    /// files. A folder of artifacts is neither. Files that only share the manifest's name are not
    /// fetched further down: an artifact has `run.json` beside it.
    pub fn artifact(&self) -> Result<Option<(Manifest, Stored)>> {
        if self.is_file {
            return Ok(None);
        }
        let names: BTreeSet<&str> = self.files.iter().map(|(name, _)| name.as_str()).collect();
        let may_be_one = |name: &str| {
            let folder = name.strip_suffix(manifest::FILE_NAME);
            folder.is_some_and(|folder| {
                folder.is_empty()
                    || (folder.ends_with('/')
                        && names.contains(format!("{folder}run.json").as_str()))
            })
        };
        for (name, file) in self.files.iter().filter(|(name, _)| may_be_one(name)) {
            let bytes = file.read(0..file.size()?)?;
            let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if !walk::is_artifact(&json) {
                continue;
            }
            if name == manifest::FILE_NAME {
                let text = String::from_utf8_lossy(&bytes);
                return Ok(Some((Manifest::parse(&text, &self.folder)?, file.clone())));
            }
            let message = format!("`{}` belongs to an artifact", file.path().display());
            return Err(Error::config(message).with_hint(
                "name the artifact's own folder, or its `part-*.parquet` as raw files",
            ));
        }
        Ok(None)
    }
}

/// Where a file was read; nothing of one that lies here.
pub(super) fn record(file: &Stored) -> Option<RemoteRecord> {
    if file.here().is_some() {
        return None;
    }
    Some(RemoteRecord {
        address: file.path().to_string_lossy().into_owned(),
        revision: file.revision().map(|revision| revision.asked.clone()),
        commit: file.revision().map(|revision| revision.commit.clone()),
        hash: file.identity().map(Identity::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::shelf::Shelf;

    fn files(names: &[&str]) -> Files {
        let all: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, b"{}".as_slice())).collect();
        let shelf = Shelf::new("hf://datasets/o/n@main/top", &all);
        let listing = shelf.list().unwrap();
        Files::of(shelf.clone(), shelf.address(), listing)
    }

    fn shown(named: &Named) -> String {
        let names: Vec<&str> = named.files.iter().map(|(name, _)| name.as_str()).collect();
        format!("{}: {}", named.folder.display(), names.join(" "))
    }

    #[test]
    fn a_pattern_is_cut_where_it_begins() {
        for (text, folder, pattern) in [
            ("hf://datasets/o/n/a/b*/c", "hf://datasets/o/n/a", Some("b*/c")),
            ("s3://b/*.parquet", "s3://b", Some("*.parquet")),
            ("s3://b/a/c", "s3://b/a/c", None),
            ("https://h/a?b=[1]", "https://h/a?b=[1]", None),
        ] {
            let (found, below) = cut(&Address::parse(text).unwrap().unwrap());
            assert_eq!((found.to_string().as_str(), below.as_deref()), (folder, pattern));
        }
    }

    #[test]
    fn patterns_name_files_and_folders_as_in_a_shell() {
        let files = files(&[
            "a/1.parquet",
            "a/2.parquet",
            "b/1.parquet",
            "b/.h/1.parquet",
            "c.parquet",
            "b0",
        ]);
        let found = |pattern: &str| -> Vec<String> {
            files.matching(pattern).unwrap().iter().map(shown).collect()
        };
        let at = "hf://datasets/o/n/top";
        assert_eq!(
            found("?"),
            [format!("{at}/a: 1.parquet 2.parquet"), format!("{at}/b: .h/1.parquet 1.parquet"),]
        );
        assert_eq!(found("*/1.*"), [format!("{at}/a: 1.parquet"), format!("{at}/b: 1.parquet")]);
        assert_eq!(found("**/*.parquet").len(), 4);
        assert_eq!(found("b/**"), [format!("{at}/b: 1.parquet")]);
        assert_eq!(found("{c,d}.parquet"), [format!("{at}: c.parquet")]);
        assert!(found("x*").is_empty() && files.matching("a/[").is_err());
        assert!(files.has("b0") && files.has("b") && !files.has("b1"));
        assert_eq!(shown(&files.at("a")), format!("{at}/a: 1.parquet 2.parquet"));
        assert_eq!(
            files.at("a").files[0].1.path().to_str(),
            Some("hf://datasets/o/n@main/top/a/1.parquet")
        );
    }
}
