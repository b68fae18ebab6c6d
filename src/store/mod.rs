//! Places of files that are no folders of this machine: the Hub, object stores, web servers.
//!
//! In → an [`Address`] as a person writes it (`hf://datasets/OWNER/NAME@REV/PATH`, `s3://…`,
//! `https://…`); out → a [`Place`], which lists its files with what is known of their bytes without
//! reading them, and reads any range of them.
//!
//! **Identity.** A listing names each file by a hash, or an entity tag, that the place promises to
//! change with the bytes ([`Identity`]), and where the place has revisions, by the commit that the
//! asked one meant at that moment ([`Revision`]). Both go into fingerprints; no clock and no server
//! time does. Whoever reads a file gives back its [`Entry`]: a place that finds other bytes there
//! by now says so ([`Error::Damaged`]) and never hands them out.
//!
//! **Faults.** A place tries again by itself what may pass (a cut connection, 408, 429, 5xx), as
//! long as that makes sense, and within a file from the byte where it stopped. What comes out of
//! here as an error is final. Every request and every byte of a body is counted in a [`Meter`].
//!
//! Cost: one listing a root, never a request a file for what a listing tells.

pub mod address;
pub mod ahead;
#[cfg(feature = "cloud")]
mod bucket;
#[cfg(feature = "hub")]
pub mod digest;
#[cfg(feature = "hub")]
pub mod fetch;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(test)]
pub mod shelf;
pub mod stored;
#[cfg(feature = "hub")]
mod web;

use std::fmt::Debug;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::base::error::{Error, Result};
pub use address::Address;
pub use stored::{Input, Stored};

/// A place that files are read from. Shared by threads; opening one asks nothing of the network.
pub trait Place: Send + Sync + Debug {
    /// What was asked for.
    fn address(&self) -> &Address;

    /// The files at the address: the one file that it names, or all below the folder. An address
    /// at which nothing lies is an `Error::Config`. Called before any reading; the revision that it
    /// resolves is the one that is read from then on.
    fn list(&self) -> Result<Listing>;

    /// Exactly the bytes `range` of a listed file: fewer are an error, and so are bytes of a file
    /// that is no longer the one listed.
    fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes>;

    /// The same bytes in order, by one request where nothing fails. The reader goes on by itself
    /// after a cut, and ends early only with an error, of which [`final_error`] gives the cause.
    fn stream(&self, entry: &Entry, range: Range<u64>) -> Result<Box<dyn Read + Send>>;

    /// What was asked and fetched so far.
    fn meter(&self) -> &Meter;
}

/// The files at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by name, as bytes; no name twice.
    pub entries: Vec<Entry>,
    /// The address names one file, which is the only entry, by the last part of its path.
    pub is_file: bool,
    pub revision: Option<Revision>,
}

/// One file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the address, `/`-separated.
    pub name: String,
    pub bytes: u64,
    /// `None` where the place promises nothing of the file's bytes; samples are read then.
    pub identity: Option<Identity>,
}

/// What tells a file's bytes without reading them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    Sha256([u8; 32]),
    /// Of git's blob: `blob LENGTH\0`, then the bytes.
    GitSha1([u8; 20]),
    /// A strong entity tag, without its quotes.
    Tag(String),
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, bytes): (_, &[u8]) = match self {
            Identity::Sha256(hash) => ("sha256", hash),
            Identity::GitSha1(hash) => ("git-sha1", hash),
            Identity::Tag(tag) => return write!(f, "etag:{tag}"),
        };
        write!(f, "{kind}:")?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a revision meant when it was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// A branch, a tag or a commit, as the address says or by default.
    pub asked: String,
    /// What is read.
    pub commit: String,
    /// The commit that `asked` means today, where that is not the one of [`Access::commit`].
    pub moved_to: Option<String>,
}

/// How a place is read; nothing of it changes which bytes come.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Store what is read, in the place's own cache.
    pub cache: bool,
    /// Read this commit: the one that an earlier run of the same work locked.
    pub commit: Option<String>,
}

/// The place of an address.
pub fn open(address: &Address, access: &Access) -> Result<Arc<dyn Place>> {
    let _ = access;
    match address {
        #[cfg(feature = "hub")]
        Address::Hub(at) => Ok(hub::Repo::open(at, access)?),
        #[cfg(not(feature = "hub"))]
        Address::Hub(_) => Err(not_built(address, "hub")),
        #[cfg(feature = "hub")]
        Address::Web(_) => Ok(Arc::new(web::Web::open(address)?)),
        #[cfg(not(feature = "hub"))]
        Address::Web(_) => Err(not_built(address, "hub")),
        #[cfg(feature = "cloud")]
        Address::Bucket(at) => Ok(Arc::new(bucket::Bucket::open(at)?)),
        #[cfg(not(feature = "cloud"))]
        Address::Bucket(_) => Err(not_built(address, "cloud")),
    }
}

#[cfg(not(all(feature = "hub", feature = "cloud")))]
fn not_built(address: &Address, feature: &str) -> Error {
    let message = format!("`{address}`: this build reads no addresses of this kind");
    Error::config(message).with_hint(format!(
        "build it with `cargo build --release --features {feature}`, or fetch the files yourself"
    ))
}

/// The error inside one that went through [`Read`]; another becomes an I/O error at `address`.
pub fn final_error(error: std::io::Error, address: &Path) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| Error::io("read", address)(error))
}

/// Requests and bytes so far, and what is waited for.
#[derive(Debug, Default)]
pub struct Meter {
    requests: AtomicU64,
    bytes: AtomicU64,
    waiting: Mutex<Option<String>>,
}

impl Meter {
    /// A request was sent, whatever comes of it.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of a body arrived.
    pub fn received(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says what is waited for (`429: 55 s`), or that nothing is any more.
    pub fn wait(&self, reason: Option<String>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Requests sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of bodies that arrived.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What is waited for.
    pub fn waiting(&self) -> Option<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
