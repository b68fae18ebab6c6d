//! Addresses of places: `hf://`, `s3://`, `gs://`, `az://`, `https://`, `http://`.
//!
//! In → text; out → [`Address`], with every part checked and decoded, or what is wrong with it and
//! how it is written. Nothing is asked of the network. Written out again, an address is the same
//! text for everyone who means the same place: it goes into manifests.
//!
//! The Hub's form is that of `huggingface_hub`'s file system:
//! `hf://datasets/OWNER/NAME[@REV][/PATH]` for data sets, without `datasets/` for models; a
//! revision with a slash is percent-encoded, but for `refs/convert/…` and `refs/pr/…`.

use std::fmt;

use crate::base::config::nearest;
use crate::base::error::{Error, Result};

const KNOWN: &[&str] = &["hf", "s3", "gs", "az", "https", "http"];

/// Where files lie.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    Hub(HubAddress),
    Bucket(BucketAddress),
    Web(WebAddress),
}

/// Files of a repository of the Hub.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubAddress {
    pub kind: RepoKind,
    /// `OWNER/NAME`.
    pub repo: String,
    /// A branch, tag or commit; `None`: `main`.
    pub revision: Option<String>,
    /// A file or folder in it, `/`-separated; empty: all of it.
    pub path: String,
}

/// What a repository of the Hub holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepoKind {
    Dataset,
    Model,
}

/// Objects of a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketAddress {
    pub scheme: BucketScheme,
    /// Azure: the container.
    pub bucket: String,
    /// The key of one object, or what stands before `/` in the keys of many; empty: all.
    pub key: String,
}

/// Whose protocol an object store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BucketScheme {
    S3,
    Gs,
    Az,
}

/// One file of a web server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WebAddress {
    pub is_https: bool,
    /// `host` or `host:port`.
    pub host: String,
    /// What follows the host, from its `/`, as it was given: encoded, with its query.
    pub path: String,
}

impl Address {
    /// The address that `text` is; `None` where it is no address but a path.
    pub fn parse(text: &str) -> Result<Option<Address>> {
        let Some((scheme, rest)) = text.split_once("://").filter(|(name, _)| is_scheme(name))
        else {
            return Ok(None);
        };
        let address = match scheme.to_ascii_lowercase().as_str() {
            "hf" => Address::Hub(hub(text, rest)?),
            "s3" => Address::Bucket(bucket(text, rest, BucketScheme::S3)?),
            "gs" => Address::Bucket(bucket(text, rest, BucketScheme::Gs)?),
            "az" => Address::Bucket(bucket(text, rest, BucketScheme::Az)?),
            "https" => Address::Web(web(text, rest, true)?),
            "http" => Address::Web(web(text, rest, false)?),
            other => return Err(unknown_scheme(text, other)),
        };
        Ok(Some(address))
    }

    /// The last part of the path; the repository's or the bucket's name where there is none.
    pub fn name(&self) -> &str {
        let (path, place) = match self {
            Address::Hub(hub) => (hub.path.as_str(), hub.repo.as_str()),
            Address::Bucket(bucket) => (bucket.key.as_str(), bucket.bucket.as_str()),
            Address::Web(web) => (web.file_path(), web.host.as_str()),
        };
        let last = |text: &str| text.trim_end_matches('/').rfind('/').map_or(0, |at| at + 1);
        match path.trim_end_matches('/') {
            "" => &place[last(place)..],
            path => &path[last(path)..],
        }
    }

    /// The path inside the place, which may hold a pattern (`data/*.parquet`).
    pub fn path(&self) -> &str {
        match self {
            Address::Hub(hub) => &hub.path,
            Address::Bucket(bucket) => &bucket.key,
            Address::Web(web) => &web.path,
        }
    }

    /// The same place with another path.
    pub fn with_path(&self, path: &str) -> Address {
        let mut address = self.clone();
        match &mut address {
            Address::Hub(hub) => path.clone_into(&mut hub.path),
            Address::Bucket(bucket) => path.clone_into(&mut bucket.key),
            Address::Web(web) => path.clone_into(&mut web.path),
        }
        address
    }

    /// The same place at another revision, or at none.
    pub fn at_revision(&self, revision: Option<&str>) -> Address {
        let mut address = self.clone();
        if let Address::Hub(hub) = &mut address {
            hub.revision = revision.map(str::to_owned);
        }
        address
    }

    /// The folder that the path lies in.
    pub fn parent(&self) -> Address {
        let path = match self {
            Address::Web(web) => web.file_path(),
            other => other.path(),
        };
        self.with_path(path.rfind('/').map_or("", |at| &path[..at]))
    }

    /// What is locked to one commit: a repository and a revision of it, `default` where none is
    /// named. `None` where there are no revisions.
    pub fn lock_name(&self, default: &str) -> Option<String> {
        let Address::Hub(hub) = self else { return None };
        let revision = hub.revision.as_deref().unwrap_or(default);
        Some(self.with_path("").at_revision(Some(revision)).to_string())
    }

    /// The address of the file `name` below this one.
    pub fn join(&self, name: &str) -> Address {
        match self.path() {
            "" => self.with_path(name),
            path => self.with_path(&format!("{}/{name}", path.trim_end_matches('/'))),
        }
    }
}

impl WebAddress {
    /// The path without its query.
    pub fn file_path(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Hub(hub) => hub.fmt(f),
            Address::Bucket(bucket) => {
                let scheme = match bucket.scheme {
                    BucketScheme::S3 => "s3",
                    BucketScheme::Gs => "gs",
                    BucketScheme::Az => "az",
                };
                write!(f, "{scheme}://{}", bucket.bucket)?;
                path(f, &bucket.key)
            }
            Address::Web(web) => {
                let scheme = if web.is_https { "https" } else { "http" };
                write!(f, "{scheme}://{}{}", web.host, web.path)
            }
        }
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RepoKind::Dataset => "datasets/",
            RepoKind::Model => "",
        };
        write!(f, "hf://{kind}{}", self.repo)?;
        match &self.revision {
            Some(revision) if special_revision(revision).is_some() => write!(f, "@{revision}")?,
            Some(revision) => {
                write!(f, "@{}", revision.replace('%', "%25").replace('/', "%2F"))?;
            }
            None => (),
        }
        path(f, &self.path)
    }
}

fn path(f: &mut fmt::Formatter<'_>, path: &str) -> fmt::Result {
    if path.is_empty() { Ok(()) } else { write!(f, "/{path}") }
}

fn is_scheme(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn unknown_scheme(text: &str, scheme: &str) -> Error {
    let known = "known are hf:// s3:// gs:// az:// https:// http://";
    let hint = match scheme {
        "file" => "give a file of this machine by its path, without a scheme".to_owned(),
        "s3a" | "s3n" => "the same place is written `s3://BUCKET/KEY`".to_owned(),
        "gcs" => "the same place is written `gs://BUCKET/KEY`".to_owned(),
        "abfs" | "abfss" | "wasb" | "wasbs" | "azure" | "adl" => {
            "the same place is written `az://CONTAINER/KEY`, the account comes from \
             AZURE_STORAGE_ACCOUNT_NAME"
                .to_owned()
        }
        _ => match nearest(scheme, KNOWN.iter().copied()) {
            Some(near) => format!("did you mean `{near}://`? {known}"),
            None => known.to_owned(),
        },
    };
    Error::config(format!("`{text}`: `{scheme}://` is no place that is known")).with_hint(hint)
}

fn hub(text: &str, rest: &str) -> Result<HubAddress> {
    let wrong = |message: &str| {
        Error::config(format!("`{text}`: {message}")).with_hint(
            "write `hf://datasets/OWNER/NAME[@REVISION][/PATH]`, for a model without `datasets/`",
        )
    };
    let (kind, rest) = match rest.split_once('/') {
        Some(("datasets", rest)) => (RepoKind::Dataset, rest),
        Some(("models", rest)) => (RepoKind::Model, rest),
        Some((word @ ("spaces" | "buckets" | "kernels"), _)) => {
            return Err(wrong(&format!("{word} of the Hub are not read")));
        }
        _ => (RepoKind::Model, rest),
    };
    let Some((owner, rest)) = rest.split_once('/') else {
        return Err(wrong("expected OWNER/NAME"));
    };
    let (name, revision, path) = match rest.find(['@', '/']) {
        Some(at) if rest[at..].starts_with('@') => {
            let (revision, path) = revision(&rest[at + 1..]);
            let revision = decode(revision).filter(|revision| !revision.is_empty());
            let revision = revision.ok_or_else(|| wrong("expected a revision after `@`"))?;
            (&rest[..at], Some(revision), path)
        }
        Some(at) => (&rest[..at], None, &rest[at + 1..]),
        None => (rest, None, ""),
    };
    let is_name = |name: &str| {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !name.is_empty() && name.chars().all(fine) && !name.contains("..")
    };
    if !is_name(owner) || !is_name(name) {
        return Err(wrong(&format!("not a repository: `{owner}/{name}`")));
    }
    let path = clean(path).ok_or_else(|| wrong("its path has a part `.` or `..`"))?;
    Ok(HubAddress { kind, repo: format!("{owner}/{name}"), revision, path })
}

/// Cuts a revision from the path after it.
fn revision(rest: &str) -> (&str, &str) {
    let end = special_revision(rest).or_else(|| rest.find('/')).unwrap_or(rest.len());
    (&rest[..end], rest[end..].trim_start_matches('/'))
}

/// Where `refs/convert/NAME` or `refs/pr/NUMBER` ends, which a path may follow.
fn special_revision(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("refs/convert/").or_else(|| text.strip_prefix("refs/pr/"))?;
    let name = rest.find('/').unwrap_or(rest.len());
    (name > 0).then_some(text.len() - rest.len() + name)
}

fn bucket(text: &str, rest: &str, scheme: BucketScheme) -> Result<BucketAddress> {
    let wrong = |message: &str| {
        Error::config(format!("`{text}`: {message}")).with_hint("write `SCHEME://BUCKET/KEY`")
    };
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if bucket.is_empty() || !bucket.chars().all(fine) {
        return Err(wrong(&format!("not a bucket: `{bucket}`")));
    }
    let key = clean(key).ok_or_else(|| wrong("its key has a part `.` or `..`"))?;
    Ok(BucketAddress { scheme, bucket: bucket.to_owned(), key })
}

fn web(text: &str, rest: &str, is_https: bool) -> Result<WebAddress> {
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let wrong =
        |message: &str, hint: &str| Error::config(format!("`{text}`: {message}")).with_hint(hint);
    if host.contains('@') {
        let hint = "addresses go into manifests: keep names and passwords out of them";
        // Without the text, which holds the secret.
        return Err(Error::config("an address holds a user name or a password").with_hint(hint));
    }
    let fine =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '[' | ']' | '_');
    if host.is_empty() || !host.chars().all(fine) {
        return Err(wrong(&format!("not a host: `{host}`"), "write `https://HOST/PATH/FILE`"));
    }
    if !path.is_ascii() || path.contains(|c: char| c.is_ascii_control() || c == ' ') {
        let hint = "percent-encode what is no plain ASCII, a space as `%20`";
        return Err(wrong("its path is not one of a URL", hint));
    }
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(WebAddress { is_https, host: host.to_ascii_lowercase(), path })
}

/// A path without empty parts and slashes at its ends; `None` where a part is `.` or `..`.
fn clean(path: &str) -> Option<String> {
    let parts = || path.split('/').filter(|part| !part.is_empty());
    let odd = parts().any(|part| matches!(part, "." | ".."));
    (!odd).then(|| parts().collect::<Vec<_>>().join("/"))
}

/// Text without percent-encoding; `None` where it is no UTF-8 or badly encoded.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str) -> HubAddress {
        match Address::parse(text) {
            Ok(Some(Address::Hub(hub))) => hub,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_repository_of_the_hub_with_and_without_revision_and_path() {
        let plain = hub("hf://datasets/HuggingFaceFW/fineweb-edu/sample/10BT/");
        assert_eq!(plain.kind, RepoKind::Dataset);
        assert_eq!(plain.repo, "HuggingFaceFW/fineweb-edu");
        assert_eq!((plain.revision, plain.path.as_str()), (None, "sample/10BT"));
        let model = hub("hf://openai-community/gpt2");
        assert_eq!((model.kind, model.path.as_str()), (RepoKind::Model, ""));
        for (text, revision, path) in [
            ("a/b@main", "main", ""),
            ("a/b@a3b142c/x/y.parquet", "a3b142c", "x/y.parquet"),
            ("a/b@refs/convert/parquet/d/t/0.parquet", "refs/convert/parquet", "d/t/0.parquet"),
            ("a/b@refs/pr/7/x", "refs/pr/7", "x"),
            ("a/b@dev%2Fx/y", "dev/x", "y"),
            ("a/b@refs/heads/main", "refs", "heads/main"),
        ] {
            let found = hub(&format!("hf://datasets/{text}"));
            assert_eq!((found.revision.as_deref(), found.path.as_str()), (Some(revision), path));
        }
    }

    #[test]
    fn an_address_is_written_as_it_was_read() {
        for text in [
            "hf://datasets/a/b",
            "hf://a/b@x/y/z",
            "hf://datasets/a/b@refs/convert/parquet/d/0.parquet",
            "hf://datasets/a/b@dev%2Fx/y",
            "s3://bucket",
            "gs://bucket/a/b c.parquet",
            "az://container/a",
            "https://host:8080/a%20b.parquet?x=1",
            "http://127.0.0.1:9/x",
        ] {
            let address = Address::parse(text).unwrap().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let address = Address::parse("HTTPS://Host").unwrap().unwrap();
        assert_eq!((address.to_string().as_str(), address.name()), ("https://host/", "host"));
    }

    #[test]
    fn names_are_those_of_files_folders_and_places() {
        for (text, name) in [
            ("hf://datasets/a/b", "b"),
            ("hf://datasets/a/b/c/d.parquet", "d.parquet"),
            ("s3://bucket", "bucket"),
            ("s3://bucket/x/y", "y"),
            ("https://host/a/b.jsonl?token=1/2", "b.jsonl"),
        ] {
            assert_eq!(Address::parse(text).unwrap().unwrap().name(), name, "{text}");
        }
        let joined = Address::parse("s3://bucket/x").unwrap().unwrap().join("y/z");
        assert_eq!(joined.to_string(), "s3://bucket/x/y/z");
        let hub = Address::parse("hf://datasets/a/b@dev/c/d.parquet").unwrap().unwrap();
        assert_eq!(hub.parent().to_string(), "hf://datasets/a/b@dev/c");
        assert_eq!(hub.at_revision(None).to_string(), "hf://datasets/a/b/c/d.parquet");
        assert_eq!(hub.lock_name("main").as_deref(), Some("hf://datasets/a/b@dev"));
        assert_eq!(
            hub.at_revision(None).lock_name("main").as_deref(),
            Some("hf://datasets/a/b@main")
        );
        let web = Address::parse("https://h/a.jsonl?x=1/2").unwrap().unwrap();
        assert_eq!((web.parent().to_string().as_str(), web.lock_name("main")), ("https://h", None));
    }

    #[test]
    fn a_path_is_no_address_and_a_wrong_address_says_how_it_is_written() {
        for path in ["a/b", "C:/x", "x=y://z", "://x", "./s3://x", "a/b://c"] {
            assert_eq!(Address::parse(path).unwrap(), None, "{path}");
        }
        for (text, message, hint) in [
            ("hff://a/b", "no place that is known", "did you mean `hf://`"),
            ("file:///x", "no place that is known", "by its path"),
            ("s3a://b/x", "no place that is known", "s3://BUCKET"),
            ("hf://datasets/squad", "expected OWNER/NAME", "hf://datasets/OWNER/NAME"),
            ("hf://spaces/a/b", "spaces of the Hub are not read", "OWNER/NAME"),
            ("hf://a/b@/x", "expected a revision", "REVISION"),
            ("hf://a/b@%zz", "expected a revision", "REVISION"),
            ("hf://a/b/../c", "a part `.` or `..`", "PATH"),
            ("hf://a b/c", "not a repository", "OWNER/NAME"),
            ("s3:///x", "not a bucket", "BUCKET"),
            ("s3://b/a/./c", "a part `.` or `..`", "BUCKET"),
            ("https:///x", "not a host", "https://HOST"),
            ("https://h/a b", "not one of a URL", "%20"),
            ("https://u:secret@h/x", "a user name or a password", "manifests"),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert!(error.hint().is_some_and(|found| found.contains(hint)), "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(error.exit_status(), 2);
        }
    }
}
