//! Which commits of remote repositories the work towards an OUT reads.
//!
//! In → OUT; out → for each repository and revision the commit that an earlier run has read: of the
//! finished OUT by its manifest, of an unfinished one by `OUT.partial/revisions.json`. So a branch
//! that moves meanwhile changes no running work, and a second run finds its output up to date;
//! `--fresh` asks what the branch means today.

use std::collections::BTreeMap;
use std::path::Path;

use super::output::partial;
use crate::artifact::{manifest::Manifest, record::InputRecord};
use crate::base::{error::Result, io};
use crate::store::Address;

/// The file beside `plan.json`.
const FILE_NAME: &str = "revisions.json";

/// The commits that earlier runs towards `out` have read; the newest run's count.
pub fn read(out: &Path) -> Result<BTreeMap<String, String>> {
    let finished = Manifest::read_if_known(out)?;
    let mut commits = finished.map(|manifest| of(&manifest.inputs)).unwrap_or_default();
    let path = partial(out).join(FILE_NAME);
    if path.is_file() {
        let unfinished: BTreeMap<String, String> =
            serde_json::from_slice(&io::read(&path)?).unwrap_or_default();
        commits.extend(unfinished);
    }
    Ok(commits)
}

/// Keeps the commits of `inputs` for whoever continues.
pub fn write(partial: &Path, inputs: &[InputRecord]) -> Result<()> {
    let commits = of(inputs);
    if commits.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_vec(&commits).expect("text is plain data");
    io::replace(&partial.join(FILE_NAME), &json)
}

fn of(inputs: &[InputRecord]) -> BTreeMap<String, String> {
    let lock = |input: &InputRecord| {
        let remote = input.remote.as_ref()?;
        let address = Address::parse(&remote.address).ok()??;
        let asked = address.at_revision(Some(remote.revision.as_deref()?));
        Some((asked.lock_name("")?, remote.commit.clone()?))
    };
    inputs.iter().filter_map(lock).collect()
}
