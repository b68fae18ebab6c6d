//! A tokenizer that is named by its address at the Hub: fetched into the Hub's cache, and from then
//! on files like any other.
//!
//! In → `hf://OWNER/NAME[@REV][/PATH]`, and OUT; out → the folder in the cache, and what the
//! address means, for the configuration of the stage. The commit that OUT, or a half-done
//! OUT.partial, names is read again, whatever the branch means by now; `--fresh` takes the one of
//! today.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::output;
use super::request::Request;
use crate::artifact::manifest::Manifest;
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::store::address::HubAddress;
use crate::store::hub::Repo;
use crate::store::{Access, Entry, Listing, Place};
use crate::tokenizer::{TOKENIZER_CONFIG_JSON, TOKENIZER_JSON};

/// The key of the configuration that says what an address means.
pub const KEY: &str = "tokenizer_from";
/// Files that a message shows.
const SHOWN: usize = 8;

/// A tokenizer in the cache.
pub struct Fetched {
    pub path: PathBuf,
    /// Address and commit.
    pub meaning: Value,
    /// A message, where the branch means another commit by now.
    pub moved: Option<String>,
}

/// Fetches the tokenizer at an address, or finds it in the cache.
pub fn tokenizer(at: &HubAddress, request: &Request) -> Result<Fetched> {
    let address = at.to_string();
    let standing = if request.newest { Value::Null } else { standing_config(&request.out)? };
    let standing = &standing[KEY];
    let is_it = standing["address"].as_str() == Some(address.as_str());
    let commit = standing["commit"].as_str().filter(|_| is_it).map(str::to_owned);
    let repo = Repo::open(at, &Access { cache: true, commit })?;
    let Listing { entries, revision, .. } = repo.list()?;
    let named = |name: &str| entries.iter().find(|entry| entry.name == name);
    let Some(tokenizer) = named(TOKENIZER_JSON) else {
        return Err(no_tokenizer(&address, &entries));
    };
    for entry in [Some(tokenizer), named(TOKENIZER_CONFIG_JSON)].into_iter().flatten() {
        repo.store(entry, 1, &|_| ())?;
    }
    let is_named = at.path == TOKENIZER_JSON || at.path.ends_with(&format!("/{TOKENIZER_JSON}"));
    let path = repo.snapshot()?.join(&at.path);
    let moved = revision.as_ref().and_then(|revision| {
        let new = revision.moved_to.as_ref()?;
        Some(format!("{address} has moved from {}, which is read, to {new}", revision.commit))
    });
    Ok(Fetched {
        path: if is_named { path } else { path.join(TOKENIZER_JSON) },
        meaning: json!({"address": address, "commit": revision.map(|it| it.commit)}),
        moved,
    })
}

/// The configuration of what stands in OUT or is half done beside it.
fn standing_config(out: &Path) -> Result<Value> {
    if let Some(manifest) = Manifest::read_if_known(out)? {
        return Ok(manifest.config);
    }
    let plan = output::partial(out).join("plan.json");
    let plan: Value = match plan.is_file() {
        true => serde_json::from_slice(&io::read(&plan)?).unwrap_or_default(),
        false => Value::Null,
    };
    Ok(plan["config"].clone())
}

fn no_tokenizer(address: &str, entries: &[Entry]) -> Error {
    let names = entries.iter().take(SHOWN).map(|entry| entry.name.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    Error::config(format!("`{address}` has no {TOKENIZER_JSON}"))
        .with_hint(format!("there are: {names}; name the folder or the file that is one"))
}
