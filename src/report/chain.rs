//! The artifacts that an artifact was made from, as far as they still lie where they lay.
//!
//! In → an artifact; out → its ancestors, sources first. Their places come from each `run.json`
//! (the relative path first, so that a moved project is found whole), and count only where the
//! manifest there has the recorded fingerprint. An ancestor that cannot be read is left out and
//! stops no page. **Cost.** Two small files an artifact.

use std::path::{Path, PathBuf};

use crate::artifact::{manifest::Manifest, record::InputKind, store};
use crate::base::{json, place};

/// An ancestor.
pub struct Link {
    /// The folder's name.
    pub name: String,
    pub path: PathBuf,
    pub manifest: Manifest,
    /// How many seconds it took, if its `run.json` says.
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
    let mut recorded = store::recorded(path).into_iter();
    // A mix lists its validation inputs last, so ancestors that are also trained on are known by
    // then.
    for input in &manifest.inputs {
        let places = recorded.next().map(|it| it.places).unwrap_or_default();
        let validates = validates || input.only_validates(manifest.kind);
        let (InputKind::Artifact(_), Some(fingerprint)) = (input.kind, input.fingerprint) else {
            continue;
        };
        if links.iter().any(|link| link.manifest.fingerprint == fingerprint) {
            continue;
        }
        let Some((path, manifest)) = store::find(places, Some(fingerprint)) else { continue };
        let path = place::joined(Path::new(""), &path);
        collect(&path, &manifest, validates, links);
        let seconds = json::value(&path.join("run.json"))["seconds"].as_f64();
        links.push(Link { name: input.name.clone(), path, manifest, seconds, validates });
    }
}
