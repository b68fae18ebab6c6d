//! The Hub's cache on this machine, in `huggingface_hub`'s own layout.
//!
//! ```text
//! HF_HOME/hub/datasets--OWNER--NAME/blobs/<sha256, or git's sha1>     the bytes
//!                                   blobs/<the same>.incomplete      as far as they have come
//!                                   snapshots/<commit>/<path>        links to blobs
//!                                   refs/<branch or tag>             the commit it meant last
//!             .locks/datasets--OWNER--NAME/<the same>.lock           one download a blob
//!                                          refs.lock                 one writer of `refs`
//! ```
//!
//! In → a repository and the name of a blob; out → the blob's path, with the link that Python looks
//! for. What Python has fetched is found here, and what is put here Python finds. A lock is
//! `flock(2)` on the file that Python locks too, so of two downloads of one file the second waits
//! and then has it. `.incomplete` is written under that lock alone and is hashed whole before it
//! becomes a blob, so bytes that a broken lock lets through cannot pass. (Python 2.4 writes
//! `<hash>.<random>.incomplete` and begins anew after a kill; those files are left alone.)

use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::base::error::Result;
use crate::base::io;
use crate::base::lock::Lock;
use crate::store::Identity;
use crate::store::address::{HubAddress, RepoKind};

/// What backup programs look for (bford.info/cachedir).
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file is a cache directory tag created by dataprep, in Hugging Face's cache.\n";

/// One repository's part of the cache.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    /// `datasets--OWNER--NAME`
    folder: String,
}

impl Cache {
    /// That of the address's repository; nothing is made yet.
    pub fn of(environment: &Environment, at: &HubAddress) -> Cache {
        let kind = match at.kind {
            RepoKind::Dataset => "datasets",
            RepoKind::Model => "models",
        };
        let folder = format!("{kind}--{}", at.repo.replace('/', "--"));
        Cache { root: environment.cache.clone(), folder }
    }

    fn own(&self) -> PathBuf {
        self.root.join(&self.folder)
    }

    /// Where a blob lies, or would.
    pub fn blob(&self, identity: &Identity) -> Option<PathBuf> {
        blob_name(identity).map(|name| self.own().join("blobs").join(name))
    }

    /// A blob of this size that is there.
    pub fn standing(&self, identity: &Identity, bytes: u64) -> Option<PathBuf> {
        let blob = self.blob(identity)?;
        let is_whole = io::stamp(&blob).ok()?.is_some_and(|stamp| stamp.bytes == bytes);
        is_whole.then_some(blob)
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.own().join("snapshots").join(commit)
    }

    /// The commit that a revision meant when it was last asked for.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        let path = self.own().join("refs").join(revision);
        let text = if path.is_file() { io::read_text(&path).ok()? } else { return None };
        Some(text.trim().to_owned())
    }

    /// The folder of this repository's locks, made when missing.
    fn locks(&self) -> Result<PathBuf> {
        let folder = self.root.join(".locks").join(&self.folder);
        io::create_directory(&folder)?;
        Ok(folder)
    }

    /// Takes the one lock of a blob; `wait` is called while somebody else fetches it.
    pub fn lock(&self, identity: &Identity, wait: impl FnMut() -> Result<()>) -> Result<Lock> {
        let name = blob_name(identity).unwrap_or_default();
        let folder = self.locks()?;
        io::create_directory(&self.own().join("blobs"))?;
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            io::write(&tag, CACHE_TAG.as_bytes())?;
        }
        Lock::wait_for(&folder.join(format!("{name}.lock")), wait)
    }

    /// Makes the link `snapshots/COMMIT/PATH` that names a blob.
    pub fn link(&self, commit: &str, path: &str, identity: &Identity) -> Result<()> {
        let link = self.snapshot(commit).join(path);
        io::create_directory(link.parent().unwrap_or(Path::new("/")))?;
        // From `snapshots/COMMIT/a/b` three folders up.
        let up = "../".repeat(2 + path.matches('/').count());
        let name = blob_name(identity).unwrap_or_default();
        io::link_softly(&PathBuf::from(format!("{up}blobs/{name}")), &link)
    }

    /// Notes what a branch or tag means.
    pub fn note_revision(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.own().join("refs").join(revision);
        io::create_directory(path.parent().unwrap_or(Path::new("/")))?;
        // Files of one listing are opened on several threads, and each of them notes its commit.
        let _one_at_a_time = Lock::wait_for(&self.locks()?.join("refs.lock"), || Ok(()))?;
        io::replace(&path, commit.as_bytes())
    }

    /// The files of a commit that are here: path, size, and the hash that names the blob.
    pub fn files(&self, commit: &str) -> Result<Vec<(String, u64, Option<Identity>)>> {
        let folder = self.snapshot(commit);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        for path in io::files_below(&folder)?.into_iter().filter(|path| path.exists()) {
            let identity = io::link_target(&path).and_then(|target| {
                crate::store::digest::identity_of(target.file_name()?.to_str()?)
            });
            let name = path.strip_prefix(&folder).unwrap_or(&path).to_string_lossy().into_owned();
            files.push((name, io::size(&path)?, identity));
        }
        Ok(files)
    }
}

/// What a blob is called: its hash, as the Hub's entity tag has it.
pub fn blob_name(identity: &Identity) -> Option<String> {
    match identity {
        Identity::Sha256(_) | Identity::GitSha1(_) => {
            identity.to_string().split_once(':').map(|(_, digits)| digits.to_owned())
        }
        Identity::Tag(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Address;

    fn cache(folder: &Path, address: &str) -> Cache {
        let Some(Address::Hub(at)) = Address::parse(address).unwrap() else { panic!() };
        let home = folder.to_str().unwrap().to_owned();
        let environment = Environment::of(|name| (name == "HF_HUB_CACHE").then(|| home.clone()));
        Cache::of(&environment.unwrap(), &at)
    }

    #[test]
    fn a_blob_has_a_link_by_its_path_and_is_found_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), "hf://datasets/o/n");
        let identity = Identity::Sha256([0xab; 32]);
        assert!(cache.standing(&identity, 3).is_none());
        let lock = cache.lock(&identity, || Ok(())).unwrap();
        io::write(&cache.blob(&identity).unwrap(), b"abc").unwrap();
        cache.link("c0", "a/b/c.parquet", &identity).unwrap();
        cache.link("c0", "a/b/c.parquet", &identity).unwrap();
        drop(lock);
        let linked = folder.path().join("datasets--o--n/snapshots/c0/a/b/c.parquet");
        assert_eq!(io::read(&linked).unwrap(), b"abc");
        assert!(cache.standing(&identity, 3).is_some() && cache.standing(&identity, 4).is_none());
        let files = cache.files("c0").unwrap();
        assert_eq!(files, [("a/b/c.parquet".to_owned(), 3, Some(identity))]);
        assert!(folder.path().join("CACHEDIR.TAG").is_file());
    }

    #[test]
    fn a_revision_is_noted_but_for_a_commit_itself() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), "hf://o/n");
        cache.note_revision("refs/convert/parquet", "c1").unwrap();
        assert_eq!(cache.commit_of("refs/convert/parquet").as_deref(), Some("c1"));
        cache.note_revision("c1", "c1").unwrap();
        assert_eq!(cache.commit_of("c1"), None);
        assert!(folder.path().join("models--o--n/refs/refs/convert/parquet").is_file());
    }

    #[test]
    fn threads_that_note_one_revision_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), "hf://o/n");
        let commits: Vec<String> = (0..4).map(|thread| format!("c{thread}")).collect();
        std::thread::scope(|scope| {
            for commit in &commits {
                scope.spawn(|| (0..20).for_each(|_| cache.note_revision("main", commit).unwrap()));
            }
        });
        assert!(commits.contains(&cache.commit_of("main").unwrap()));
    }

    #[test]
    fn the_second_who_wants_a_blob_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), "hf://o/n");
        let identity = Identity::GitSha1([1; 20]);
        let first = cache.lock(&identity, || Ok(())).unwrap();
        let mut first = Some(first);
        let mut waited = 0;
        let wait = || {
            waited += 1;
            first.take();
            Ok(())
        };
        cache.lock(&identity, wait).unwrap();
        assert_eq!(waited, 1);
    }
}
