//! Manifests → one [`Lineage`].
//!
//! In → an artifact's folder; out → its graph. **Method.** An input is identified by its
//! fingerprint. It is looked for at the place that `run.json` records, in the folders inside its
//! reader (a tokenizer lies in its shards), beside its reader and in the store there; if it is in
//! none of them, the reader's own manifest describes it (`ancestry`), and failing that, only what
//! the reader recorded is known. **Invariant.** A folder that holds another artifact now is not
//! mistaken for the one that was read. **Cost.** One manifest a step, and one for each neighbour
//! that is looked at; with [`Depth::Told`] no folder is opened if the manifest describes what is in
//! it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;

use serde_json::value::RawValue;

use super::node::{Input, Lineage, Node};
use crate::artifact::manifest::{self, Ancestor, FileTotals, Manifest, ManifestCounts};
use crate::artifact::record::{InputKind, InputRecord, Kind};
use crate::artifact::store::{self, Recorded};
use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::base::io;
use crate::base::place;

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Find every folder that still stands: its `removed-*.parquet` may be read.
    Places,
    /// Take what the manifest tells, and look for a folder only where it tells nothing.
    Told,
}

/// The entries of a manifest that describe everything above it, each kept as text: many runs hold
/// the same entries, and each distinct text is parsed once.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    ancestry: Vec<Box<RawValue>>,
}

/// The lineage of the artifact in a folder, with the places of all that still stands.
///
/// # Errors
/// Config: no artifact. Damaged: a manifest that cannot be read.
pub fn read(path: &Path) -> Result<Lineage> {
    Reader::new(Depth::Places).lineage(path)
}

/// Reads lineages, and opens each folder only once.
pub struct Reader {
    depth: Depth,
    /// Manifests by folder; `None`: there is none.
    opened: BTreeMap<PathBuf, Option<Manifest>>,
    /// Entries of manifests by their text, since many runs hold the same ones.
    told: BTreeMap<String, Option<Rc<Ancestor>>>,
}

/// One lineage as it grows.
#[derive(Default)]
struct Growing {
    nodes: Vec<Node>,
    known: BTreeMap<Fingerprint, usize>,
    told: BTreeMap<Fingerprint, Rc<Ancestor>>,
}

impl Reader {
    /// A reader that has opened nothing yet.
    pub fn new(depth: Depth) -> Reader {
        Reader { depth, opened: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// The lineage of the artifact in a folder.
    ///
    /// # Errors
    /// Config: no artifact. Damaged: a manifest that cannot be read.
    pub fn lineage(&mut self, path: &Path) -> Result<Lineage> {
        self.lineage_of(path, &Manifest::read(path)?)
    }

    /// The lineage of the artifact in a folder, whose manifest has been read.
    ///
    /// # Errors
    /// Damaged: a manifest that cannot be read.
    pub fn lineage_of(&mut self, path: &Path, manifest: &Manifest) -> Result<Lineage> {
        let absolute = io::canonical(path)?;
        let name = place::name(&absolute);
        let mut growing = Growing::default();
        self.grow(&mut growing, manifest, name, &absolute)?;
        Ok(Lineage { nodes: growing.nodes })
    }

    /// Adds the node of a manifest, and everything above it; returns the node's index.
    fn grow(
        &mut self,
        growing: &mut Growing,
        manifest: &Manifest,
        name: String,
        place: &Path,
    ) -> Result<usize> {
        for ancestor in self.told(place)? {
            growing.told.entry(ancestor.fingerprint).or_insert(ancestor);
        }
        let node = Node {
            name,
            kind: Some(manifest.kind),
            stage: manifest.stage.clone(),
            stage_version: Some(manifest.stage_version),
            tool: Some(manifest.tool.clone()),
            config: manifest.config.clone(),
            seed: manifest.seed,
            counts: manifest.counts.clone(),
            holdout: manifest.holdout,
            fingerprint: Some(manifest.fingerprint),
            identity: Some(manifest.files_identity()),
            totals: FileTotals::of(&manifest.files),
            inputs: Vec::new(),
            place: Some(place.to_owned()),
        };
        self.add(growing, node, &manifest.inputs)
    }

    /// Adds a node, then its inputs.
    fn add(&mut self, growing: &mut Growing, node: Node, records: &[InputRecord]) -> Result<usize> {
        let (index, place) = (growing.nodes.len(), node.place.clone());
        growing.known.extend(node.fingerprint.map(|fingerprint| (fingerprint, index)));
        growing.nodes.push(node);
        let recorded = match &place {
            Some(place) => store::recorded(place),
            None => Vec::new(),
        };
        for record in records {
            let input = match record.kind {
                InputKind::File => Input::File(Box::new(record.clone())),
                InputKind::Artifact(kind) => {
                    let made = self.made(growing, record, kind, place.as_deref(), &recorded)?;
                    Input::Made(made)
                }
            };
            growing.nodes[index].inputs.push(input);
        }
        Ok(index)
    }

    /// The node of an artifact that a reader recorded.
    fn made(
        &mut self,
        growing: &mut Growing,
        record: &InputRecord,
        kind: Kind,
        reader: Option<&Path>,
        recorded: &[Recorded],
    ) -> Result<usize> {
        let known = record.fingerprint.and_then(|it| growing.known.get(&it));
        if let Some(index) = known {
            return Ok(*index);
        }
        let told = record.fingerprint.and_then(|it| growing.told.get(&it)).cloned();
        if (told.is_none() || self.depth == Depth::Places)
            && let Some(place) = self.place(record, reader, recorded)?
            && let Some(Some(manifest)) = self.opened.get(&place).cloned()
        {
            return self.grow(growing, &manifest, record.name.clone(), &place);
        }
        let unknown = Node {
            name: record.name.clone(),
            kind: Some(kind),
            stage: record.stage.clone().unwrap_or_default(),
            stage_version: None,
            tool: None,
            config: Value::Null,
            seed: 0,
            counts: ManifestCounts::default(),
            holdout: None,
            fingerprint: record.fingerprint,
            identity: Some(record.identity),
            totals: FileTotals { bytes: record.bytes, ..FileTotals::default() },
            inputs: Vec::new(),
            place: None,
        };
        let Some(told) = told else { return self.add(growing, unknown, &[]) };
        let node = Node {
            kind: Some(told.kind),
            stage: told.stage.clone(),
            stage_version: Some(told.stage_version),
            tool: Some(told.tool.clone()),
            config: told.config.clone(),
            seed: told.seed,
            counts: told.counts.clone(),
            holdout: told.holdout,
            totals: told.files,
            ..unknown
        };
        self.add(growing, node, &told.inputs)
    }

    /// The folder that holds a recorded artifact.
    fn place(
        &mut self,
        record: &InputRecord,
        reader: Option<&Path>,
        recorded: &[Recorded],
    ) -> Result<Option<PathBuf>> {
        let named = recorded.iter().filter(|it| it.name == record.name);
        let named = named.flat_map(|it| it.places.clone()).collect();
        for place in store::with_kept(named, record.fingerprint) {
            if self.is_there(&place, record)? {
                return Ok(Some(place));
            }
        }
        let Some(reader) = reader else { return Ok(None) };
        let parent = reader.parent();
        let made_in = if store::holds(reader) { parent.and_then(Path::parent) } else { parent };
        let kept = made_in.map(|folder| folder.join(store::FOLDER));
        let folders = [Some(reader), made_in, kept.as_deref()];
        for folder in folders.into_iter().flatten() {
            for place in io::list(folder).unwrap_or_default() {
                if place.is_dir() && place != reader && self.is_there(&place, record)? {
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }

    /// The entries in the manifest of a folder; one in the form of a later build is skipped, so
    /// that the folders are searched instead.
    fn told(&mut self, place: &Path) -> Result<Vec<Rc<Ancestor>>> {
        let path = place.join(manifest::FILE_NAME);
        let told: Told = serde_json::from_slice(&io::read(&path)?)
            .map_err(|error| Error::damaged_artifact(&path, None, error))?;
        let mut found = Vec::new();
        for entry in told.ancestry {
            if !self.told.contains_key(entry.get()) {
                let ancestor = serde_json::from_str(entry.get()).ok().map(Rc::new);
                self.told.insert(entry.get().to_owned(), ancestor);
            }
            found.extend(self.told[entry.get()].clone());
        }
        Ok(found)
    }

    fn is_there(&mut self, place: &Path, record: &InputRecord) -> Result<bool> {
        if !self.opened.contains_key(place) {
            let manifest = Manifest::read_if_known(place)?;
            self.opened.insert(place.to_owned(), manifest);
        }
        let manifest = self.opened.get(place).and_then(Option::as_ref);
        Ok(manifest.is_some_and(|it| Some(it.fingerprint) == record.fingerprint))
    }
}
