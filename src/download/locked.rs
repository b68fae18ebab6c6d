//! What an earlier run has fixed: the commit of each address, and the files there.
//!
//! In → the manifest of OUT, or `plan.json` of a run that was killed; out → [`Locked`]. As long as
//! it names the commit of an address, that commit is read, whatever its branch means by now. A
//! finished run has also kept the listing, so that nothing has to be asked to find OUT up to date.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::{manifest::Manifest, record::Kind};
use crate::base::error::Result;
use crate::base::io;
use crate::store::digest;
use crate::store::{Entry, Identity, Listing, Revision};

/// Commits by address, and listings where they are known.
#[derive(Debug, Default)]
pub struct Locked {
    commits: BTreeMap<String, String>,
    listings: BTreeMap<String, Listed>,
}

/// An address and what it resolves to, as the configuration in a manifest has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meaning {
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// The files of an address, as the manifest's key `locked` has them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    pub address: String,
    pub is_file: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub files: Vec<ListedFile>,
}

/// One file of a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedFile {
    /// Relative to the address without its pattern.
    pub name: String,
    pub bytes: u64,
    /// `sha256:…`, `git-sha1:…`, `etag:…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

impl Locked {
    /// What `out`, or else `partial` beside it, has fixed; empty where neither is of a download.
    pub fn read(out: &Path, partial: &Path) -> Result<Locked> {
        if let Some(manifest) = Manifest::read_if_known(out)?
            && manifest.kind == Kind::Download
        {
            let listings = manifest.extra.get("locked").cloned().unwrap_or_default();
            let listings: Vec<Listed> = serde_json::from_value(listings).unwrap_or_default();
            let listings = listings.into_iter().map(|listed| (listed.address.clone(), listed));
            return Ok(Locked { commits: commits(&manifest.config), listings: listings.collect() });
        }
        let plan = partial.join("plan.json");
        let plan: Value = match plan.is_file() {
            true => serde_json::from_slice(&io::read(&plan)?).unwrap_or_default(),
            false => Value::Null,
        };
        let is_ours = plan["stage"] == "download";
        let commits = if is_ours { commits(&plan["config"]) } else { BTreeMap::new() };
        Ok(Locked { commits, listings: BTreeMap::new() })
    }

    /// The commit that an address is held to.
    pub fn commit(&self, address: &str) -> Option<&str> {
        self.commits.get(address).map(String::as_str)
    }

    /// The files of an address at the commit that it is held to.
    pub fn listing(&self, address: &str) -> Option<Listing> {
        let listed = self.listings.get(address)?;
        let (asked, commit) = (listed.revision.clone()?, listed.commit.clone()?);
        let entries = listed.files.iter().map(|file| {
            let identity = file.identity.as_deref().and_then(identity);
            Entry { name: file.name.clone(), bytes: file.bytes, identity }
        });
        let revision = Some(Revision { asked, commit, moved_to: None });
        Some(Listing { entries: entries.collect(), is_file: listed.is_file, revision })
    }
}

fn commits(config: &Value) -> BTreeMap<String, String> {
    let from: Vec<Meaning> = serde_json::from_value(config["from"].clone()).unwrap_or_default();
    from.into_iter().filter_map(|meaning| Some((meaning.address, meaning.commit?))).collect()
}

/// Parses what [`Identity`] writes.
fn identity(text: &str) -> Option<Identity> {
    let (kind, value) = text.split_once(':')?;
    match kind {
        "etag" => Some(Identity::Tag(value.to_owned())),
        _ => digest::identity_of(value),
    }
}
