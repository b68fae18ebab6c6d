//! Object stores: `s3://BUCKET/KEY`, `gs://…`, `az://CONTAINER/…`, by the crate `object_store`.
//!
//! In → an address; out → a [`Place`]: one listing below a key, ranges of objects, each under the
//! entity tag of the listing (`If-Match`), so that an object which was replaced meanwhile is damage
//! and never mixed in. Keys, regions, endpoints and tokens come from the variables that the crate
//! reads: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`,
//! `AWS_ENDPOINT_URL`, `AWS_SKIP_SIGNATURE`, …; `GOOGLE_SERVICE_ACCOUNT`, …;
//! `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`, …; else from the machine's role. What
//! may pass is tried again by the crate: ten times, with growing waits, within three minutes.
//!
//! **Why so.** Signing and the three dialects are the crate's, which `datafusion` and `delta-rs`
//! use. Its requests go through this program's one client ([`Client`]) instead of a second one with
//! an async stack: every call here has a thread of its own to wait in, so the runtime is that
//! thread's and has no other.

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore};

use super::address::{BucketAddress, BucketScheme};
use super::hub::Client;
use super::{Address, Entry, Identity, Listing, Meter, Place};
use crate::base::error::{Error, Result};
use crate::base::interrupt;

/// What one request of a sequential read asks for.
const PART_BYTES: u64 = 8 << 20;

/// The largest answer that is read, in bytes: a range that was asked for, or a page of a listing.
const ANSWER_MAX: u64 = 256 << 20;

/// Objects below a key.
#[derive(Debug)]
pub struct Bucket {
    address: Address,
    at: BucketAddress,
    store: Arc<dyn ObjectStore>,
    meter: Arc<Meter>,
    /// Whether the key is one object's; known from the listing.
    is_object: OnceLock<bool>,
}

impl Bucket {
    /// Nothing is asked yet.
    pub fn open(at: &BucketAddress) -> Result<Arc<Bucket>> {
        let address = Address::Bucket(at.clone());
        let meter = Arc::new(Meter::default());
        let sender = Sender { client: Arc::new(Client::new()?), meter: meter.clone() };
        let name = at.bucket.as_str();
        let built: object_store::Result<Arc<dyn ObjectStore>> = match at.scheme {
            BucketScheme::S3 => AmazonS3Builder::from_env()
                .with_bucket_name(name)
                // Whoever names an endpoint of plain HTTP means it.
                .with_allow_http(true)
                .with_http_connector(sender)
                .build()
                .map(|store| Arc::new(store) as _),
            BucketScheme::Gs => GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(name)
                .with_http_connector(sender)
                .build()
                .map(|store| Arc::new(store) as _),
            BucketScheme::Az => MicrosoftAzureBuilder::from_env()
                .with_container_name(name)
                .with_allow_http(true)
                .with_http_connector(sender)
                .build()
                .map(|store| Arc::new(store) as _),
        };
        let store = built.map_err(|error| refused(&address, error))?;
        let is_object = OnceLock::new();
        Ok(Arc::new(Bucket { address, at: at.clone(), store, meter, is_object }))
    }

    /// The key of a listed object.
    fn key(&self, entry: &Entry) -> Result<Key> {
        let key = match self.at.key.as_str() {
            "" => entry.name.clone(),
            own if self.is_object.get() == Some(&true) => own.to_owned(),
            folder => format!("{folder}/{}", entry.name),
        };
        self.parsed(&key)
    }

    fn parsed(&self, key: &str) -> Result<Key> {
        Key::parse(key).map_err(|error| Error::config(format!("`{}`: {error}", self.address)))
    }

    /// Waits for the store in this thread.
    fn wait<T>(&self, work: impl Future<Output = object_store::Result<T>>) -> Result<T> {
        interrupt::check()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(Error::io("wait for", Path::new(&self.shown())))?;
        runtime.block_on(work).map_err(|error| refused(&self.address, error))
    }

    fn shown(&self) -> String {
        self.address.to_string()
    }

    /// The one object that the address names, if it is one.
    fn object(&self) -> Result<Option<ObjectMeta>> {
        if self.at.key.is_empty() {
            return Ok(None);
        }
        let key = self.parsed(&self.at.key)?;
        self.wait(async {
            let head = GetOptions { head: true, ..GetOptions::default() };
            match self.store.get_opts(&key, head).await {
                Ok(found) => Ok(Some(found.meta)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

impl Place for Arc<Bucket> {
    fn address(&self) -> &Address {
        &self.address
    }

    fn list(&self) -> Result<Listing> {
        let object = self.object()?;
        let is_file = object.is_some();
        self.is_object.get_or_init(|| is_file);
        let prefix = if self.at.key.is_empty() { None } else { Some(self.parsed(&self.at.key)?) };
        let found: Vec<ObjectMeta> = match object {
            Some(object) => vec![object],
            None => self.wait(self.store.list(prefix.as_ref()).try_collect())?,
        };
        if found.is_empty() {
            let error = Error::config(format!("nothing lies at `{}`", self.address));
            return Err(error.with_hint("is the key whole? `/` ends a folder's name"));
        }
        let folder =
            if self.at.key.is_empty() { String::new() } else { format!("{}/", self.at.key) };
        let entry = |object: ObjectMeta| {
            let key = object.location.as_ref();
            let name = if is_file { self.address.name() } else { key.strip_prefix(&folder)? };
            let tag = object.e_tag.as_deref().filter(|tag| !tag.starts_with("W/"));
            let identity = tag.map(|tag| Identity::Tag(tag.trim_matches('"').to_owned()));
            // An object whose key ends in `/` stands for a folder.
            let is_folder = name.is_empty() || name.ends_with('/');
            let name = name.to_owned();
            (!is_folder).then_some(Entry { name, bytes: object.size, identity })
        };
        let mut entries: Vec<Entry> = found.into_iter().filter_map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Listing { entries, is_file, revision: None })
    }

    fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let if_match = match &entry.identity {
            Some(Identity::Tag(tag)) => Some(format!("\"{tag}\"")),
            _ => None,
        };
        let options = GetOptions {
            if_match,
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let key = self.key(entry)?;
        let bytes = self.wait(async {
            let found = self.store.get_opts(&key, options).await?;
            let size = found.meta.size;
            Ok((size, found.bytes().await?))
        });
        let (size, bytes) = bytes?;
        let length = bytes.len() as u64;
        if size != entry.bytes || length != range.end - range.start {
            let message =
                format!("expected bytes {range:?} of {}, found {length} of {size}", entry.bytes);
            return Err(Error::damaged(Path::new(&self.shown()), Some(range.start), message));
        }
        Ok(bytes)
    }

    fn stream(&self, entry: &Entry, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        let (bucket, entry, held) = (self.clone(), entry.clone(), Bytes::new());
        Ok(Box::new(Parts { bucket, entry, at: range.start, end: range.end, held }))
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}

/// A range of an object, in order.
struct Parts {
    bucket: Arc<Bucket>,
    entry: Entry,
    at: u64,
    end: u64,
    held: Bytes,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() && self.at < self.end {
            let end = self.end.min(self.at + PART_BYTES);
            let part = self.bucket.read(&self.entry, self.at..end);
            self.held = part.map_err(io::Error::other)?;
            self.at = end;
        }
        let length = self.held.len().min(buffer.len());
        self.held.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

fn refused(address: &Address, error: object_store::Error) -> Error {
    use object_store::Error as Of;
    let place = PathBuf::from(address.to_string());
    match error {
        Of::Precondition { .. } => {
            Error::damaged(&place, None, "it was replaced after it was listed")
        }
        Of::NotFound { .. } => Error::config(format!("nothing lies at `{address}`"))
            .with_hint("check bucket, key and region"),
        error @ (Of::PermissionDenied { .. } | Of::Unauthenticated { .. }) => {
            Error::failed(format!("`{address}`: access is refused: {error}"))
                .with_hint(keys_of(address))
        }
        error => Error::failed(format!("`{address}`: {error}"))
            .with_hint(format!("the same command continues; {}", place_of(address))),
    }
}

fn scheme_of(address: &Address) -> BucketScheme {
    match address {
        Address::Bucket(bucket) => bucket.scheme,
        other => unreachable!("`{other}` is no bucket's"),
    }
}

/// Which variables hold the keys to a store.
fn keys_of(address: &Address) -> &'static str {
    match scheme_of(address) {
        BucketScheme::S3 => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and for a public bucket \
             AWS_SKIP_SIGNATURE=true"
        }
        BucketScheme::Gs => "set GOOGLE_SERVICE_ACCOUNT to the file with the key",
        BucketScheme::Az => "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    }
}

/// Which variables say where a bucket is.
fn place_of(address: &Address) -> &'static str {
    match scheme_of(address) {
        BucketScheme::S3 => "AWS_ENDPOINT_URL and AWS_REGION say where a bucket is",
        BucketScheme::Gs => "the bucket's name says where it is",
        BucketScheme::Az => "AZURE_STORAGE_ACCOUNT_NAME says where a container is",
    }
}

/// This program's client, as the crate wants one.
#[derive(Clone, Debug)]
struct Sender {
    client: Arc<Client>,
    meter: Arc<Meter>,
}

impl HttpConnector for Sender {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Sender {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.meter.request();
        let (head, body) = request.into_parts();
        let body = body.as_bytes().cloned().unwrap_or_default();
        let agent = self.client.agent();
        let answer = match body.is_empty() {
            true => agent.run(ureq::http::Request::from_parts(head, ())),
            false => agent.run(ureq::http::Request::from_parts(head, &body[..])),
        };
        let (head, mut body) = answer.map_err(failed)?.into_parts();
        let bytes = body.with_config().limit(ANSWER_MAX).read_to_vec().map_err(failed)?;
        self.meter.received(bytes.len() as u64);
        Ok(HttpResponse::from_parts(head, Bytes::from(bytes).into()))
    }
}

fn failed(error: ureq::Error) -> HttpError {
    let kind = match error {
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        _ => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error)
}
