//! What an artifact was made from, as far as it still lies where it lay.
//!
//! In → an artifact; out → its ancestors, sources first. Places come from each `run.json` (relative
//! first, so that a moved project is found whole), and count only where the manifest there has the
//! fingerprint that was read. Cost: two small files an artifact.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::json;
use crate::artifact::{
    manifest::{self, Manifest},
    record::InputKind,
    store,
};
use crate::base::{hash::Fingerprint, place};

/// An ancestor.
pub struct Link {
    /// The folder's name.
    pub name: String,
    pub path: PathBuf,
    pub manifest: Manifest,
    /// How long it took, where its `run.json` says.
    pub seconds: Option<f64>,
    /// Whether it only validates: nothing of it is trained on.
    pub validates: bool,
}

/// The ancestors of the artifact in `path`, each once, whatever it was made from before it.
pub fn upstream(path: &Path, manifest: &Manifest) -> Vec<Link> {
    let mut links = Vec::new();
    collect(path, manifest, false, &mut links);
    links
}

fn collect(path: &Path, manifest: &Manifest, validates: bool, links: &mut Vec<Link>) {
    let about = json(&path.join("run.json"));
    // What validates stands behind the rest of a mix: what is trained on too is known by then.
    for (at, input) in manifest.inputs.iter().enumerate() {
        let validates = validates || input.only_validates(manifest.kind);
        let (InputKind::Artifact(_), Some(fingerprint)) = (input.kind, input.fingerprint) else {
            continue;
        };
        if links.iter().any(|link| link.manifest.fingerprint == fingerprint) {
            continue;
        }
        for place in places(path, &about["inputs"][at], fingerprint) {
            // What cannot be read tells nothing, and stops no page.
            let Ok(Some(found)) = Manifest::read_if_known(&place) else { continue };
            if found.fingerprint != fingerprint {
                continue;
            }
            collect(&place, &found, validates, links);
            let seconds = json(&place.join("run.json"))["seconds"].as_f64();
            let name = input.name.clone();
            links.push(Link { name, path: place, manifest: found, seconds, validates });
            break;
        }
    }
}

/// Where an input may lie, the stores beside included.
fn places(path: &Path, input: &Value, fingerprint: Fingerprint) -> Vec<PathBuf> {
    let (relative, absolute) = (input["relative"].as_str(), input["absolute"].as_str());
    let places = store::recorded(path, relative, absolute);
    let places = store::with_kept(places, Some(fingerprint)).into_iter();
    let places = places.map(|place| place::joined(Path::new(""), &place));
    places.filter(|place| place.join(manifest::FILE_NAME).is_file()).collect()
}
