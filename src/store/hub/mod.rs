//! The Hub of Hugging Face: `hf://datasets/OWNER/NAME[@REV][/PATH]`, and models without
//! `datasets/`.
//!
//! In → an address; out → [`Repo`], a [`Place`](super::Place) at one commit, and whole files in
//! `huggingface_hub`'s own cache. The protocol (huggingface_hub 2.4, `file_download.py` and
//! `hf_api.py`; hub-docs, `rate-limits.md`), in the order of a download:
//!
//! 1. [`api`]: one request resolves the revision to a commit, one lists 1,000 files with sizes and
//!    hashes. No request a file.
//! 2. [`remote`]: one request a file at the Hub, which serves small files itself and redirects to a
//!    signed address for the rest; ranges from there, from the byte where the last one ended.
//! 3. [`client`], [`pace`] and [`ranged`]: tries again what may pass, from the byte where it ended,
//!    and stays within the quota.
//! 4. [`cache`]: the layout on disk that Python shares.
//!
//! Files over 50 GB and buckets are handed out by the Xet protocol alone and are refused; what
//! `hf download` has put into the cache of such files is read.

mod api;
mod cache;
mod client;
mod environment;
mod pace;
mod ranged;
mod remote;
mod repo;
mod url;

pub use api::{HTTP_MAX, Hub};
pub use client::{Answer, Ask, Client, Tries};
pub use environment::Environment;
pub use pace::Quota;
pub use ranged::{Attempt, Body, RangeReader, Ranged};
pub use remote::content_range;
pub use repo::{Cached, Repo};
pub use url::{Target, target};
