//! One address of a command: where it leads, which files it means there, what they will be called.
//!
//! In → `[NAME=]ADDRESS`, where a path at the Hub may be a pattern (`sample/**/*.parquet`); out →
//! [`Source`]. A file keeps its name relative to the address without its pattern. Where several
//! addresses are given, the files of a folder go below that folder's name; NAME, where there is
//! one, is the folder for both. As in a shell, `*` passes over names that begin with a dot.

use std::sync::Arc;

use globset::GlobBuilder;
use serde_json::{Value, json};

use super::config::DownloadConfig;
use super::locked::{Listed, ListedFile, Locked, Meaning};
use crate::base::error::{Error, Result};
use crate::base::size::{Bytes, Count};
use crate::base::spec::{Form, Spec};
use crate::store::hub::Repo;
use crate::store::{self, Access, Address, Entry, Listing, Place, Revision};

/// Files that a message shows.
const SHOWN: usize = 5;

/// An address as it was asked for.
pub struct Asked {
    name: Option<String>,
    /// With its pattern, and with the revision that the configuration adds.
    address: Address,
}

/// An address and the files it means.
pub struct Source {
    asked: Address,
    /// Without its pattern.
    pub root: Address,
    pub place: Arc<dyn Place>,
    /// The place again, where it is the Hub's.
    pub repo: Option<Arc<Repo>>,
    pub files: Vec<Wanted>,
    is_file: bool,
    revision: Option<Revision>,
}

/// A file to fetch.
pub struct Wanted {
    pub entry: Entry,
    /// Name in OUT, `/`-separated.
    pub name: String,
}

/// Parses inputs.
pub fn specs(inputs: &[String], config: &DownloadConfig) -> Result<Vec<Asked>> {
    if inputs.is_empty() {
        return Err(Error::config("nothing to download").with_hint(WRITTEN));
    }
    inputs.iter().map(|input| asked(input, config)).collect()
}

const WRITTEN: &str = "addresses are written `hf://datasets/OWNER/NAME[@REVISION][/PATH]`, for a \
    model without `datasets/`, or `https://HOST/FILE`";

fn asked(input: &str, config: &DownloadConfig) -> Result<Asked> {
    let is_address = |text: &str| matches!(Address::parse(text), Ok(Some(_)) | Err(_));
    let spec = Spec::parse(input, Form::Text, is_address);
    let Some(mut address) = Address::parse(spec.place)? else {
        let message = format!("`{}` is no address", spec.place);
        return Err(Error::config(message).with_hint(WRITTEN));
    };
    if let Address::Hub(hub) = &mut address
        && hub.revision.is_none()
    {
        hub.revision.clone_from(&config.revision);
    }
    let name = spec.name.map(str::to_owned);
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('\\');
    match &name {
        Some(name) if !plain(name) => {
            Err(Error::config(format!("`{name}` is no name for a folder")))
        }
        _ => Ok(Asked { name, address }),
    }
}

impl Source {
    /// Lists the files at an address; `alone`: no other address is given.
    pub fn open(asked: &Asked, alone: bool, locked: &Locked) -> Result<Source> {
        let address = &asked.address;
        let (root, pattern) = split(address);
        let text = address.to_string();
        let commit = locked.commit(&text).map(str::to_owned);
        let access = Access { cache: false, commit };
        let repo = match &root {
            Address::Hub(at) => Some(Repo::open(at, &access)?),
            _ => None,
        };
        let place: Arc<dyn Place> = match &repo {
            Some(repo) => Arc::clone(repo) as Arc<dyn Place>,
            None => store::open(&root, &access)?,
        };
        let listing = match (&repo, locked.listing(&text)) {
            (Some(repo), Some(listing)) => standing(repo, listing),
            _ => matching(place.list()?, pattern.as_deref(), address)?,
        };
        let Listing { entries, is_file, revision } = listing;
        let folder = match (&asked.name, is_file || alone) {
            (Some(name), _) => format!("{name}/"),
            (None, true) => String::new(),
            (None, false) => format!("{}/", root.name()),
        };
        let wanted = |entry: Entry| Wanted { name: format!("{folder}{}", entry.name), entry };
        let files = entries.into_iter().map(wanted).collect();
        Ok(Source { asked: address.clone(), root, place, repo, files, is_file, revision })
    }

    /// For tests: files that nobody has listed.
    #[cfg(test)]
    pub fn made(root: Address, place: Arc<dyn Place>, files: Vec<Wanted>) -> Source {
        let (asked, repo, is_file, revision) = (root.clone(), None, false, None);
        Source { asked, root, place, repo, files, is_file, revision }
    }

    /// The address as it was given.
    pub fn address(&self) -> String {
        self.asked.to_string()
    }

    /// A file's own address.
    pub fn address_of(&self, file: &Wanted) -> String {
        match self.is_file {
            true => self.root.to_string(),
            false => self.root.join(&file.entry.name).to_string(),
        }
    }

    /// Whether the Hub's cache has a file of its size.
    pub fn is_cached(&self, file: &Wanted) -> bool {
        self.repo.as_ref().is_some_and(|repo| repo.has(&file.entry))
    }

    /// The address and its commit, for the manifest.
    pub fn record(&self) -> Value {
        let commit = self.revision.as_ref().map(|revision| revision.commit.clone());
        json!(Meaning { address: self.address(), commit })
    }

    /// All files, for the next run.
    pub fn listing(&self) -> Value {
        let file = |file: &Wanted| ListedFile {
            name: file.entry.name.clone(),
            bytes: file.entry.bytes,
            identity: file.entry.identity.as_ref().map(ToString::to_string),
        };
        let (asked, commit) = self.revision.clone().map(|it| (it.asked, it.commit)).unzip();
        json!(Listed {
            address: self.address(),
            is_file: self.is_file,
            revision: asked,
            commit,
            files: self.files.iter().map(file).collect(),
        })
    }

    /// `hf://datasets/o/n at 1a2b3c4d5e6f: 14 files, 28 GB`
    pub fn line(&self) -> String {
        let bytes = Bytes(self.files.iter().map(|file| file.entry.bytes).sum());
        let commit = self.revision.as_ref().map(|it| format!(" at {}", short(&it.commit)));
        let (address, files) = (self.address(), Count(self.files.len() as u64).of("file"));
        format!("{address}{}: {files}, {bytes}", commit.unwrap_or_default())
    }

    /// A notice if the branch means another commit by now.
    pub fn moved(&self) -> Option<String> {
        let Revision { asked, commit, moved_to } = self.revision.as_ref()?;
        let (address, old, new) = (self.address(), short(commit), short(moved_to.as_ref()?));
        Some(format!(
            "`{asked}` of {address} has moved from {old}, which this is, to {new}; `--fresh` \
             fetches that"
        ))
    }
}

/// The first digits of a commit, as git shows it.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// A listing taken from a manifest; only asks whether the branch has moved.
fn standing(repo: &Repo, mut listing: Listing) -> Listing {
    if let Some(revision) = &mut listing.revision {
        revision.moved_to = repo.moved_to(&revision.commit);
    }
    listing
}

/// Cuts an address before the first part of its path that is a pattern.
fn split(address: &Address) -> (Address, Option<String>) {
    let path = address.path();
    let is_pattern = |part: &str| part.contains(['*', '?', '[', '{']);
    if matches!(address, Address::Web(_)) || !is_pattern(path) {
        return (address.clone(), None);
    }
    let parts: Vec<&str> = path.split('/').collect();
    let plain = parts.iter().take_while(|part| !is_pattern(part)).count();
    let (folder, pattern) = (parts[..plain].join("/"), parts[plain..].join("/"));
    (address.with_path(&folder), Some(pattern))
}

/// The files that match the pattern; all without one.
fn matching(listing: Listing, pattern: Option<&str>, address: &Address) -> Result<Listing> {
    let Some(pattern) = pattern else { return Ok(listing) };
    let glob = GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| {
        Error::config(format!("`{address}` is no pattern of paths: {}", error.kind()))
            .with_hint("`*` is any name, `**` any folders, `?` a character, `{a,b}` a choice")
    })?;
    let matcher = glob.compile_matcher();
    let is_hidden = |name: &str| name.split('/').any(|part| part.starts_with('.'));
    let takes_hidden = is_hidden(pattern);
    let takes =
        |entry: &&Entry| matcher.is_match(&entry.name) && (takes_hidden || !is_hidden(&entry.name));
    let entries: Vec<Entry> = listing.entries.iter().filter(takes).cloned().collect();
    if entries.is_empty() {
        let names = listing.entries.iter().take(SHOWN).map(|entry| entry.name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        let message = format!(
            "`{address}` matches none of {}",
            Count(listing.entries.len() as u64).of("file")
        );
        return Err(Error::config(message).with_hint(format!("there are: {names}, …")));
    }
    Ok(Listing { entries, ..listing })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[&str]) -> Listing {
        let entry = |name: &&str| Entry { name: (*name).to_owned(), bytes: 1, identity: None };
        Listing { entries: names.iter().map(entry).collect(), ..Listing::default() }
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap().unwrap()
    }

    #[test]
    fn a_pattern_is_cut_from_its_folder_and_matches_below_it() {
        let at = address("hf://datasets/o/n/sample/**/*.parquet");
        let (root, pattern) = split(&at);
        assert_eq!(root.to_string(), "hf://datasets/o/n/sample");
        let names = ["a.parquet", "x/y/b.parquet", ".x/c.parquet", "d.json"];
        let found = matching(entries(&names), pattern.as_deref(), &at).unwrap();
        let found: Vec<&str> = found.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(found, ["a.parquet", "x/y/b.parquet"]);
        let error = matching(entries(&["d.json"]), Some("*.parquet"), &at).unwrap_err();
        assert!(error.to_string().contains("matches none of 1 file"), "{error}");
        assert!(error.hint().unwrap().contains("d.json"));
        // A `?` of a web address begins its query.
        assert_eq!(split(&address("https://h/a?b=*")).1, None);
    }

    #[test]
    fn a_name_stands_before_an_address_and_a_path_is_none() {
        let config = DownloadConfig { revision: Some("v1".into()), ..DownloadConfig::default() };
        let read = |text: &str| asked(text, &config);
        let named = read("web=hf://datasets/o/n").unwrap();
        assert_eq!(named.name.as_deref(), Some("web"));
        assert_eq!(named.address.to_string(), "hf://datasets/o/n@v1");
        let own = read("hf://datasets/o/n@main/x=y").unwrap();
        assert_eq!(
            (own.name, own.address.to_string().as_str()),
            (None, "hf://datasets/o/n@main/x=y")
        );
        for wrong in ["data/x.parquet", "web=data", "..=hf://o/n"] {
            assert_eq!(read(wrong).err().map(|error| error.exit_status()), Some(2), "{wrong}");
        }
    }
}
