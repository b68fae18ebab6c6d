//! A repository of the Hub as a [`Place`]: its cache first, then the network.
//!
//! In → an address and how it is read; out → listings, ranges and streams of files at one commit,
//! and whole files in the Hub's cache. The revision is resolved once; every request after that
//! names the commit. What the cache has is read from there, whoever put it there; offline
//! (`HF_HUB_OFFLINE`) only that is there.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use super::api::{Hub, Node, is_commit};
use super::cache::Cache;
use super::client::{Client, Tries};
use super::environment::Environment;
use super::remote::{File, Remote};
use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::base::{interrupt, io};
use crate::store::address::HubAddress;
use crate::store::fetch::{Fetch, check};
use crate::store::{Access, Address, Entry, Listing, Meter, Place, Revision, final_error};

/// What a revision is where none is asked for.
const DEFAULT_REVISION: &str = "main";

/// Files of a repository, read through its cache.
#[derive(Debug)]
pub struct Repo {
    address: Address,
    remote: Arc<Remote>,
    cache: Cache,
    access: Access,
    read: Mutex<Option<At>>,
}

/// What is read, once that is known.
#[derive(Clone, Debug)]
struct At {
    commit: String,
    is_file: bool,
}

/// A file that lies in the cache.
#[derive(Debug)]
pub struct Cached {
    pub path: PathBuf,
    pub xxh3: Fingerprint,
}

/// The Hub that the environment of this process names: one client, so one quota.
fn hub() -> Result<Arc<Hub>> {
    static HUB: OnceLock<Arc<Hub>> = OnceLock::new();
    if let Some(hub) = HUB.get() {
        return Ok(Arc::clone(hub));
    }
    let hub = Arc::new(Hub { environment: Environment::of_process()?, client: Client::new()? });
    Ok(Arc::clone(HUB.get_or_init(|| hub)))
}

impl Repo {
    /// Nothing is asked yet.
    pub fn open(at: &HubAddress, access: &Access) -> Result<Arc<Repo>> {
        Ok(Arc::new(Repo::with(hub()?, at, access)))
    }

    /// The same at a Hub of one's own.
    pub fn with(hub: Arc<Hub>, at: &HubAddress, access: &Access) -> Repo {
        let cache = Cache::of(&hub.environment, at);
        let remote = Arc::new(Remote::new(hub, at.clone()));
        let (address, access) = (Address::Hub(at.clone()), access.clone());
        Repo { address, remote, cache, access, read: Mutex::default() }
    }

    fn asked(&self) -> &str {
        self.remote.at.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    fn is_offline(&self) -> bool {
        self.remote.hub.environment.offline
    }

    /// Where the Hub's cache lies.
    pub fn cache_folder(&self) -> &Path {
        &self.remote.hub.environment.cache
    }

    /// The commit of today, where another one is locked; `None` where the Hub cannot be asked.
    pub fn moved_to(&self, locked: &str) -> Option<String> {
        if self.is_offline() || is_commit(self.asked()) {
            return None;
        }
        let Remote { hub, at, meter, .. } = &*self.remote;
        let now = hub.commit(at, self.asked(), &mut Tries::once(), meter).ok()?;
        (now != locked).then_some(now)
    }

    /// The commit that is read, and the one that the revision means if that is another by now.
    fn revision(&self) -> Result<Revision> {
        let asked = self.asked().to_owned();
        let (commit, moved_to) = match &self.access.commit {
            Some(commit) => (commit.clone(), self.moved_to(commit)),
            None if is_commit(&asked) => (asked.clone(), None),
            None if self.is_offline() => {
                let known = self.cache.commit_of(&asked);
                (known.ok_or_else(|| self.not_here())?, None)
            }
            None => {
                let Remote { hub, at, meter, .. } = &*self.remote;
                (hub.commit(at, &asked, &mut Tries::default(), meter)?, None)
            }
        };
        Ok(Revision { asked, commit, moved_to })
    }

    fn not_here(&self) -> Error {
        let cache = self.cache_folder().display();
        let message = format!("`{}` is not in the cache `{cache}`", self.address);
        Error::config(message)
            .with_hint("HF_HUB_OFFLINE is set, so nothing is asked of the Hub: fetch it first")
    }

    /// The files at the address, by their path in the repository, and whether it is one file.
    fn entries(&self, commit: &str) -> Result<(Vec<Entry>, bool)> {
        let Remote { hub, at, meter, .. } = &*self.remote;
        if self.is_offline() {
            let files = self.cache.files(commit)?.into_iter();
            let below = |path: &str| {
                let rest = path.strip_prefix(&at.path)?;
                (at.path.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some(())
            };
            let files = files.filter(|(path, ..)| below(path).is_some());
            let files = files.map(|(name, bytes, identity)| Entry { name, bytes, identity });
            let files: Vec<Entry> = files.collect();
            let is_file = files.iter().any(|entry| entry.name == at.path);
            return if files.is_empty() { Err(self.not_here()) } else { Ok((files, is_file)) };
        }
        if !at.path.is_empty()
            && let Node::File(entry) = hub.node(at, commit, meter)?
        {
            return Ok((vec![entry], true));
        }
        Ok((hub.tree(at, commit, meter)?, false))
    }

    /// What is read; listed now, where nobody has.
    fn at(&self) -> Result<At> {
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(at) => Ok(at),
            None => {
                self.list()?;
                self.at()
            }
        }
    }

    fn file(&self, entry: &Entry) -> Result<File> {
        let At { commit, is_file } = self.at()?;
        let folder = &self.remote.at.path;
        let path = match (is_file, folder.as_str()) {
            (true, path) => path.to_owned(),
            (false, "") => entry.name.clone(),
            (false, folder) => format!("{folder}/{}", entry.name),
        };
        Ok(File { commit, path, entry: entry.clone() })
    }

    /// A file where the cache has it: as it stands, or fetched now if that was asked for.
    fn local(&self, entry: &Entry) -> Result<Option<PathBuf>> {
        let Some(identity) = &entry.identity else { return Ok(None) };
        if let Some(blob) = self.cache.standing(identity, entry.bytes) {
            return Ok(Some(blob));
        }
        match self.access.cache {
            true => Ok(Some(self.store(entry, 1, &|_| ())?.path)),
            false if self.is_offline() => Err(self.not_here()),
            false => Ok(None),
        }
    }

    /// A file's blob in the cache, if it stands there with the right bytes; they are hashed.
    pub fn cached(&self, entry: &Entry, progress: &dyn Fn(u64)) -> Result<Option<Cached>> {
        let Some(identity) = &entry.identity else { return Ok(None) };
        let Some(path) = self.cache.standing(identity, entry.bytes) else { return Ok(None) };
        Ok(check(&path, entry, progress)?.map(|xxh3| Cached { path, xxh3 }))
    }

    /// Whether [`Repo::cached`] will find a file, by its size alone.
    pub fn has(&self, entry: &Entry) -> bool {
        let identity = entry.identity.as_ref();
        identity.is_some_and(|identity| self.cache.standing(identity, entry.bytes).is_some())
    }

    /// Fetches a file into the cache, where Python finds it too.
    pub fn store(
        &self,
        entry: &Entry,
        connections: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Cached> {
        let file = self.file(entry)?;
        let Some((identity, blob)) = entry
            .identity
            .as_ref()
            .and_then(|identity| Some((identity, self.cache.blob(identity)?)))
        else {
            let message = format!("`{}` has no hash to be cached by", self.remote.address(&file));
            return Err(Error::failed(message));
        };
        let lock = self.cache.lock(identity, || {
            self.meter().wait(Some("another download of the same file".to_owned()));
            interrupt::check()
        })?;
        self.meter().wait(None);
        let cached = match self.cached(entry, progress)? {
            Some(cached) => cached,
            None => {
                let address = self.remote.address(&file);
                let address = Path::new(&address);
                let network = Network { remote: &self.remote, address: &self.address, file: &file };
                let fetch = Fetch { place: &network, entry, address, connections, progress };
                let mut incomplete = blob.clone().into_os_string();
                incomplete.push(".incomplete");
                let xxh3 = fetch.to(Path::new(&incomplete), &blob)?;
                Cached { path: blob, xxh3 }
            }
        };
        self.cache.link(&file.commit, &file.path, identity)?;
        self.cache.note_revision(self.asked(), &file.commit)?;
        drop(lock);
        Ok(cached)
    }

    /// The folder of links that has the files of the commit which is read.
    pub fn snapshot(&self) -> Result<PathBuf> {
        Ok(self.cache.snapshot(&self.at()?.commit))
    }
}

impl Place for Repo {
    fn address(&self) -> &Address {
        &self.address
    }

    fn list(&self) -> Result<Listing> {
        let revision = self.revision()?;
        let (mut entries, is_file) = self.entries(&revision.commit)?;
        let folder = match self.remote.at.path.as_str() {
            path if is_file => path.rfind('/').map_or("", |at| &path[..=at]).to_owned(),
            "" => String::new(),
            path => format!("{path}/"),
        };
        for entry in &mut entries {
            if let Some(name) = entry.name.strip_prefix(&folder) {
                entry.name = name.to_owned();
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let at = At { commit: revision.commit.clone(), is_file };
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        Ok(Listing { entries, is_file, revision: Some(revision) })
    }

    fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes> {
        if let Some(blob) = self.local(entry)? {
            let length = (range.end - range.start) as usize;
            return Ok(Bytes::from(io::read_range(&blob, range.start, length)?));
        }
        let file = self.file(entry)?;
        Network { remote: &self.remote, address: &self.address, file: &file }.read(entry, range)
    }

    fn stream(&self, entry: &Entry, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        if let Some(blob) = self.local(entry)? {
            let mut file = io::open(&blob)?;
            file.seek(SeekFrom::Start(range.start)).map_err(Error::io("read", &blob))?;
            return Ok(Box::new(file.take(range.end - range.start)));
        }
        Ok(Box::new(self.remote.reader(self.file(entry)?, range)?))
    }

    fn meter(&self) -> &Meter {
        &self.remote.meter
    }
}

/// One file, over the network and past the cache.
#[derive(Debug)]
struct Network<'a> {
    remote: &'a Arc<Remote>,
    address: &'a Address,
    file: &'a File,
}

impl Place for Network<'_> {
    fn address(&self) -> &Address {
        self.address
    }

    fn list(&self) -> Result<Listing> {
        let entries = vec![self.file.entry.clone()];
        Ok(Listing { entries, is_file: true, revision: None })
    }

    fn read(&self, _: &Entry, range: Range<u64>) -> Result<Bytes> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let mut reader = self.remote.reader(self.file.clone(), range)?;
        let address = self.remote.address(self.file);
        let read = reader.read_to_end(&mut bytes);
        read.map_err(|error| final_error(error, Path::new(&address)))?;
        Ok(Bytes::from(bytes))
    }

    fn stream(&self, _: &Entry, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.remote.reader(self.file.clone(), range)?))
    }

    fn meter(&self) -> &Meter {
        &self.remote.meter
    }
}
