//! What the Hub says of a repository: which commit a revision is, and which files a commit has.
//!
//! In → an address; out → a commit, or the files at a path with their sizes and hashes. One
//! request resolves a revision, one says whether a path is a file or a folder, one lists 1,000
//! entries of a folder; never one a file. A listing calls a file in the Hub's storage by its
//! sha256 (`lfs.oid`) and one in git by git's sha1 (`oid`).

use serde::Deserialize;
use serde_json::json;

use super::client::{Answer, Ask, Client, Tries, reason, without_query};
use super::environment::Environment;
use super::pace::Quota;
use super::url::{Target, encoded, encoded_part, next_page, origin, target};
use crate::base::error::{Error, Result};
use crate::store::address::{HubAddress, RepoKind};
use crate::store::digest::hash_of;
use crate::store::{Entry, Identity, Meter};

/// Plain HTTP serves no larger file: those are handed out by the Xet protocol alone
/// (`MAX_HTTP_DOWNLOAD_SIZE` of `huggingface_hub`).
pub const HTTP_MAX: u64 = 50_000_000_000;
/// Redirects within the Hub's own host: renamed repositories, mirrors.
pub const REDIRECTS_MAX: usize = 5;
/// How much of an answer a message shows.
const SHOWN: usize = 200;

/// The Hub, and how it is asked.
#[derive(Debug)]
pub struct Hub {
    pub environment: Environment,
    pub client: Client,
}

/// What lies at a path of a commit.
#[derive(Debug, PartialEq, Eq)]
pub enum Node {
    File(Entry),
    Folder,
}

impl Hub {
    /// `datasets/OWNER/NAME` or `models/OWNER/NAME` below `/api/`.
    fn api(&self, at: &HubAddress, rest: &str) -> String {
        let kind = match at.kind {
            RepoKind::Dataset => "datasets",
            RepoKind::Model => "models",
        };
        format!("{}/api/{kind}/{}/{rest}", self.environment.endpoint, at.repo)
    }

    /// Where a file of a commit is asked for.
    pub fn file_url(&self, at: &HubAddress, commit: &str, path: &str) -> String {
        let kind = match at.kind {
            RepoKind::Dataset => "datasets/",
            RepoKind::Model => "",
        };
        let (endpoint, repo) = (&self.environment.endpoint, &at.repo);
        format!("{endpoint}/{kind}{repo}/resolve/{}/{}", encoded_part(commit), encoded(path))
    }

    /// The token, for a URL of the Hub's own host and no other.
    pub fn token_for(&self, url: &str) -> Option<&str> {
        let own = origin(&self.environment.endpoint);
        let token = self.environment.token.as_deref()?;
        (own.is_some() && origin(url) == own).then_some(token)
    }

    /// The commit that a revision means now.
    pub fn commit(
        &self,
        at: &HubAddress,
        revision: &str,
        tries: &mut Tries,
        meter: &Meter,
    ) -> Result<String> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
        }
        let url = self.api(at, &format!("revision/{}", encoded_part(revision)));
        let (answer, url) = self.get(&url, None, tries, meter)?;
        if answer.status != 200 {
            return Err(self.refusal(at, &answer, &format!("the revision `{revision}`")));
        }
        let info: Info = document(answer, &url)?;
        match is_commit(&info.sha) {
            true => Ok(info.sha),
            false => Err(odd(&url, &format!("`{}` is no commit", info.sha))),
        }
    }

    /// What lies at a path of a commit.
    pub fn node(&self, at: &HubAddress, commit: &str, meter: &Meter) -> Result<Node> {
        let url = self.api(at, &format!("paths-info/{}", encoded_part(commit)));
        let body = json!({"paths": [at.path], "expand": false}).to_string();
        let (answer, url) = self.get(&url, Some(body), &mut Tries::default(), meter)?;
        if answer.status != 200 {
            return Err(self.refusal(at, &answer, &format!("the commit {commit}")));
        }
        let found: Vec<Item> = document(answer, &url)?;
        match found.into_iter().find(|item| item.path == at.path) {
            Some(item) if item.kind == "file" => Ok(Node::File(item.entry(&url)?)),
            Some(_) => Ok(Node::Folder),
            None => Err(self.missing(at)),
        }
    }

    /// Every file below a folder, by its path in the repository.
    pub fn tree(&self, at: &HubAddress, commit: &str, meter: &Meter) -> Result<Vec<Entry>> {
        let below = match at.path.as_str() {
            "" => String::new(),
            path => format!("/{}", encoded(path)),
        };
        let rest = format!("tree/{}{below}?recursive=true&expand=false", encoded_part(commit));
        let mut page = Some(self.api(at, &rest));
        let mut entries = Vec::new();
        while let Some(url) = page {
            let (answer, url) = self.get(&url, None, &mut Tries::default(), meter)?;
            if answer.status != 200 {
                return Err(self.refusal(at, &answer, &format!("the listing of {commit}")));
            }
            let next = answer.header("link").and_then(next_page).map(str::to_owned);
            let items: Vec<Item> = document(answer, &url)?;
            for item in items.into_iter().filter(|item| item.kind == "file") {
                entries.push(item.entry(&url)?);
            }
            page = match next.and_then(|next| target(&url, &next)) {
                Some(Target::Relative(next)) => Some(next),
                // Absolute by RFC 8288, and still of this host: it is asked with the token.
                Some(Target::Absolute(next)) if origin(&next) == origin(&url) => Some(next),
                Some(Target::Absolute(next)) => {
                    let next = without_query(&next);
                    return Err(odd(&url, &format!("its next page is another host's: `{next}`")));
                }
                None => None,
            };
        }
        Ok(entries)
    }

    /// Asks the API, along redirects within its host.
    fn get(
        &self,
        url: &str,
        json: Option<String>,
        tries: &mut Tries,
        meter: &Meter,
    ) -> Result<(Answer, String)> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let mut ask = Ask::new(&url, Quota::Api, self.token_for(&url));
            ask.json.clone_from(&json);
            let answer = self.client.ask(&ask, tries, meter)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok((answer, url));
            }
            let location = answer.header("location").and_then(|location| target(&url, location));
            url = match location {
                Some(Target::Relative(next)) => next,
                Some(Target::Absolute(next)) if origin(&next) == origin(&url) => next,
                _ => return Err(odd(&url, "it redirects to another host")),
            };
        }
        Err(odd(&url, "it redirects in a circle"))
    }

    /// An error for an answer that trying again would not change.
    pub fn refusal(&self, at: &HubAddress, answer: &Answer, what: &str) -> Error {
        let code = answer.header("x-error-code").unwrap_or_default();
        let said = answer.header("x-error-message").unwrap_or_default();
        let has_token = self.environment.token.is_some();
        let endpoint = &self.environment.endpoint;
        let page = match at.kind {
            RepoKind::Dataset => format!("{endpoint}/datasets/{}", at.repo),
            RepoKind::Model => format!("{endpoint}/{}", at.repo),
        };
        let log_in = "give a token that may read it: `HF_TOKEN`, or `hf auth login`";
        let shown = at.to_string();
        match (answer.status, code) {
            (401 | 403, "GatedRepo") => Error::failed(format!("`{shown}` is gated: {said}"))
                .with_hint(match has_token {
                    true => format!("accept its terms at {page} with the account of your token"),
                    false => format!("accept its terms at {page}, then {log_in}"),
                }),
            (401, _) if !has_token => {
                Error::config(format!("the Hub has no `{shown}`, or it is private: {said}"))
                    .with_hint(format!("check the name; {log_in}"))
            }
            (401 | 403, _) => Error::failed(format!("the Hub refuses `{shown}`: {said}"))
                .with_hint("the token in use may not read it, or is no longer valid"),
            (404, "RevisionNotFound") => {
                Error::config(format!("`{shown}`: there is no such revision"))
                    .with_hint(format!("branches and tags stand at {page}"))
            }
            (404, "RepoNotFound") => Error::config(format!("the Hub has no `{shown}`"))
                .with_hint("data sets are written `hf://datasets/OWNER/NAME`, models without it"),
            (404, _) => self.missing(at),
            (status, _) => {
                Error::failed(format!("the Hub answers {status} for {what} of `{shown}`: {said}"))
            }
        }
    }

    fn missing(&self, at: &HubAddress) -> Error {
        Error::config(format!("`{at}`: nothing lies at `{}`", at.path)).with_hint(
            "without its last part the address names the folder; `dataprep download … --dry-run` \
             lists what is there",
        )
    }
}

/// 40 hexadecimal digits.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Item {
    fn entry(self, url: &str) -> Result<Entry> {
        let safe = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if !self.path.split('/').all(safe) {
            return Err(odd(url, &format!("it lists the path `{}`", self.path)));
        }
        let (bytes, identity) = match &self.lfs {
            Some(lfs) => (lfs.size, hash_of(&lfs.oid).map(Identity::Sha256)),
            None => (self.size, hash_of(&self.oid).map(Identity::GitSha1)),
        };
        if identity.is_none() {
            return Err(odd(url, &format!("it names no hash of `{}`", self.path)));
        }
        Ok(Entry { name: self.path, bytes, identity })
    }
}

/// The JSON of an answer.
fn document<T: serde::de::DeserializeOwned>(answer: Answer, url: &str) -> Result<T> {
    let bytes = answer.bytes().map_err(|error| odd(url, &reason(&error)))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let shown: String = String::from_utf8_lossy(&bytes).chars().take(SHOWN).collect();
        odd(url, &format!("{error}: {shown}"))
    })
}

/// An answer that is none of the Hub's.
fn odd(url: &str, what: &str) -> Error {
    Error::failed(format!("`{}` does not answer as the Hub does: {what}", without_query(url)))
        .with_hint("is `HF_ENDPOINT` right, and does a proxy stand between?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> Result<Entry> {
        serde_json::from_str::<Item>(json).unwrap().entry("http://h/api")
    }

    #[test]
    fn a_file_is_called_by_the_hash_of_its_bytes() {
        let sha256 = "ab".repeat(32);
        let stored = format!(
            r#"{{"type":"file","path":"a/b.parquet","size":133,"oid":"{}","lfs":{{"oid":
            "{sha256}","size":7,"pointerSize":133}},"xetHash":"x"}}"#,
            "cd".repeat(20)
        );
        let entry = item(&stored).unwrap();
        assert_eq!((entry.name.as_str(), entry.bytes), ("a/b.parquet", 7));
        assert_eq!(entry.identity, Some(Identity::Sha256([0xab; 32])));
        let small =
            format!(r#"{{"type":"file","path":"README.md","size":9,"oid":"{}"}}"#, "cd".repeat(20));
        assert_eq!(item(&small).unwrap().identity, Some(Identity::GitSha1([0xcd; 20])));
    }

    #[test]
    fn paths_that_lead_elsewhere_and_files_without_a_hash_are_refused() {
        for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "."] {
            let json = format!(
                r#"{{"type":"file","path":"{path}","size":1,"oid":"{}"}}"#,
                "cd".repeat(20)
            );
            assert!(item(&json).unwrap_err().to_string().contains("it lists the path"), "{path}");
        }
        let error = item(r#"{"type":"file","path":"x","size":1,"oid":"12"}"#).unwrap_err();
        assert!(error.to_string().contains("names no hash"), "{error}");
    }

    #[test]
    fn a_commit_is_40_digits() {
        assert!(is_commit(&"0f".repeat(20)));
        assert!(!is_commit("main") && !is_commit(&"0g".repeat(20)) && !is_commit("0f0f0f0"));
    }
}
