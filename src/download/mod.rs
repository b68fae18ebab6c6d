//! `download`: remote files → the same files in a folder, locked by commit and hash.
//!
//! In: addresses of files, folders or patterns (`hf://…`, `https://…`). Out: a folder with the
//! files as they are, under their names relative to the address, and a manifest of the kind
//! `download`, which every command that reads raw files takes for a folder of raw files. The
//! manifest says of each address which commit was read, and of each file its size and the hash by
//! which its place calls it.
//!
//! Method: one listing an address; a unit is one file, or small ones up to 32 MiB together; several
//! units at once, since they wait for the network. A file that the Hub's cache has is linked or
//! copied, after a look at its hash. **Where the bytes go**: through the cache where a hard link
//! can lead from there to OUT, since one lock a blob then keeps two downloads of one file apart,
//! what a kill leaves serves any later OUT, Python finds the file, and it still lies on the disk
//! once. Where it cannot (another disk, or `cache = false`) they go to `OUT.partial/incoming/` and
//! from there into OUT by a link or a rename: never two copies. **Locked**: as long as OUT or
//! OUT.partial names the commit of an address, that commit is read; `--fresh` takes the one of
//! today.
//!
//! Invariants: a file under its name has the hash of its listing; two runs at one commit give equal
//! bytes and an equal manifest. Cost: one pass over the bytes, sha256 and XXH3 together; up to
//! `connections` parts of 8 MiB in memory. 300 MB from loopback, medians of five on a loaded 2-core
//! AMD EPYC (`tests/golden/check_hub.py --figures 300`): 680 MB a CPU-second over one connection,
//! 400 over eight; huggingface_hub 2.4, which checks no hash, 300; curl 1,130.

mod config;
mod locked;
mod run;
mod source;
mod summary;
#[cfg(test)]
mod tests;

pub use config::DownloadConfig;
pub use locked::Locked;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use serde_json::{Value, json};

use self::source::{Source, Wanted};
use self::summary::DownloadSummary;
use crate::artifact::manifest::Manifest;
use crate::artifact::record::Kind;
use crate::artifact::stage::Told;
use crate::artifact::stage::{Needs, Phase, Plan, Publish, Published, Stage, Unit, UnitPlan, Work};
use crate::artifact::summary::Summary;
use crate::artifact::{counts::Counts, manifest};
use crate::base::error::{Error, Result};
use crate::base::hash::xxh3_128;
use crate::base::io;
use crate::base::size::{Bytes, Count};
use crate::store::address::Address;
use crate::store::hub::HTTP_MAX;

/// Small files are fetched together, up to this many bytes a unit. Smaller units would leave more
/// records on the disk, larger ones would lose more when the run is killed.
const UNIT_BYTES: u64 = 32 << 20;
/// What one connection holds at a time: a part, and the buffers of the socket and of TLS.
const CONNECTION_BYTES: u64 = 18 << 20;
/// Requests that the Hub allows an anonymous client at its resolvers in five minutes (hub-docs,
/// `rate-limits.md`).
const QUOTA: u64 = 3000;

/// The stage with what it will fetch.
pub struct Download {
    sources: Vec<Source>,
    /// The files of each unit, as indexes of a source and of a file in it.
    units: Vec<Vec<(usize, usize)>>,
    config: DownloadConfig,
    out: PathBuf,
    /// Whether files go through the Hub's cache; known when the first one is fetched.
    through_cache: OnceLock<bool>,
    /// Files that this process has finished.
    finished: AtomicU64,
}

impl Download {
    /// Lists what the addresses name, at the commits that `locked` holds them to.
    ///
    /// # Errors
    /// [`Error::Config`] for what is no address, where nothing lies there, or two files would have
    /// one name.
    pub fn open(
        inputs: &[String],
        config: DownloadConfig,
        out: &Path,
        locked: &Locked,
    ) -> Result<Download> {
        config.check()?;
        let specs = source::specs(inputs, &config)?;
        let alone = specs.len() == 1;
        let sources = specs.iter().map(|spec| Source::open(spec, alone, locked));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        refuse_twice(&sources)?;
        let units = units(&sources);
        let out = out.to_owned();
        let (through_cache, finished) = (OnceLock::new(), AtomicU64::new(0));
        Ok(Download { sources, units, config, out, through_cache, finished })
    }

    fn files(&self) -> impl Iterator<Item = (&Source, &Wanted)> {
        self.sources.iter().flat_map(|source| source.files.iter().map(move |file| (source, file)))
    }

    fn bytes(&self) -> u64 {
        self.files().map(|(_, file)| file.entry.bytes).sum()
    }

    /// Number and bytes of the files that no cache has.
    fn missing(&self) -> (u64, u64) {
        let missing = self.files().filter(|(source, file)| !source.is_cached(file));
        missing.fold((0, 0), |(files, bytes), (_, file)| (files + 1, bytes + file.entry.bytes))
    }

    /// What the addresses mean, as the manifest keeps it and [`Locked`] reads it.
    fn from(&self) -> Value {
        self.sources.iter().map(Source::record).collect()
    }
}

impl Stage for Download {
    fn name(&self) -> &'static str {
        "download"
    }

    fn kind(&self) -> Kind {
        Kind::Download
    }

    fn version(&self) -> u32 {
        1
    }

    /// Addresses with their commits, and a hash of the list of files: what is fetched, and nothing
    /// of how.
    fn config(&self) -> Value {
        let line = |(_, file): (&Source, &Wanted)| {
            let identity = file.entry.identity.as_ref().map(ToString::to_string);
            format!("{}\0{}\0{}\n", file.name, file.entry.bytes, identity.unwrap_or_default())
        };
        let list: String = self.files().map(line).collect();
        json!({"from": self.from(), "listing": xxh3_128(list.as_bytes())})
    }

    fn warnings(&self) -> Vec<String> {
        let parent = self.out.parent().filter(|parent| parent.is_dir());
        let free = io::free_bytes(parent.unwrap_or(Path::new("."))).unwrap_or(u64::MAX);
        let (_, bytes) = self.missing();
        let (needed, left) = (Bytes(bytes), Bytes(free));
        let warning = format!("{needed} are to be fetched, and the disk of OUT has {left} left");
        if bytes > free { vec![warning] } else { Vec::new() }
    }

    fn needs(&self, _threads: usize) -> Needs {
        let memory = CONNECTION_BYTES * self.config.connections as u64;
        Needs { documents: None, memory, disk: self.missing().1, fetches: None }
    }

    fn at_once(&self) -> Option<usize> {
        Some(self.config.connections)
    }

    fn plan(&self) -> Result<Plan> {
        let bytes = |unit: &Vec<(usize, usize)>| {
            unit.iter().map(|&(source, file)| self.sources[source].files[file].entry.bytes).sum()
        };
        let units = self.units.iter().map(|unit| UnitPlan::single(bytes(unit))).collect();
        let phase = Phase { name: "fetch", units, publish: Publish::AsIs, counts: false };
        Ok(Plan { phases: vec![phase], holdout: None })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        run::fetch(self, unit.index, work)?;
        Ok(Counts::default())
    }

    /// Every file as it was listed: what a later run at the same commit need not ask for again.
    fn manifest_keys(&self, _: &Published<'_>) -> Result<BTreeMap<String, Value>> {
        let locked = self.sources.iter().map(Source::listing).collect();
        Ok(BTreeMap::from([("locked".to_owned(), locked)]))
    }

    fn summary(&self, manifest: &Manifest, _: &Path) -> Result<Box<dyn Summary>> {
        let moved = self.sources.iter().filter_map(Source::moved).collect();
        Ok(Box::new(DownloadSummary::new(manifest, moved)))
    }

    fn told(&self) -> Option<Told> {
        let (files, (missing, bytes)) = (self.files().count() as u64, self.missing());
        let missing_files = self.files().filter(|(source, file)| !source.is_cached(file));
        let requests = missing_files.filter(|(source, _)| source.repo.is_some()).count() as u64;
        let mut text = format!("{}, {}", Count(files).of("file"), Bytes(self.bytes()));
        if missing < files {
            text += &format!("; {} of them, {}, are not in the cache", missing, Bytes(bytes));
        }
        text += &format!("\n    {} of disk", Bytes(bytes));
        if requests > 0 {
            let (requests, quota) = (Count(requests).of("request"), Count(QUOTA));
            text +=
                &format!("; {requests} at the Hub, which allows {quota} in 5 min without token");
        }
        for source in &self.sources {
            text += &format!("\n    {}", source.line());
        }
        let moved: Vec<String> = self.sources.iter().filter_map(Source::moved).collect();
        let keys = json!({
            "files": files, "bytes": self.bytes(), "missing_files": missing,
            "missing_bytes": bytes, "hub_requests": requests, "from": self.from(),
            "moved": moved,
        });
        Some(Told { text, keys: keys.as_object().cloned().unwrap_or_default() })
    }
}

/// One file a unit, or several small ones of one source.
fn units(sources: &[Source]) -> Vec<Vec<(usize, usize)>> {
    let mut units = Vec::new();
    for (source, own) in sources.iter().enumerate() {
        let (mut unit, mut bytes) = (Vec::new(), 0);
        for (file, wanted) in own.files.iter().enumerate() {
            if bytes + wanted.entry.bytes > UNIT_BYTES && !unit.is_empty() {
                units.push(std::mem::take(&mut unit));
                bytes = 0;
            }
            unit.push((source, file));
            bytes += wanted.entry.bytes;
        }
        if !unit.is_empty() {
            units.push(unit);
        }
    }
    units
}

/// Refuses two files of one name, a file where another has its folder, and names that are ours.
fn refuse_twice(sources: &[Source]) -> Result<()> {
    let mut names: BTreeMap<&str, &Source> = BTreeMap::new();
    let name_it = "name one of them, as in `NAME=hf://…`: its files go to the folder NAME";
    for (source, file) in sources.iter().flat_map(|own| own.files.iter().map(move |f| (own, f))) {
        if let Some(other) = names.insert(&file.name, source) {
            let (one, two) = (other.address(), source.address());
            let message = format!("two files would be called `{}`: of {one} and {two}", file.name);
            return Err(Error::config(message).with_hint(name_it));
        }
        if [manifest::FILE_NAME, "run.json"].contains(&file.name.as_str()) {
            let message = format!("`{}` has a `{}` of its own", source.address(), file.name);
            return Err(Error::config(message).with_hint(name_it));
        }
        let is_large = matches!(source.root, Address::Hub(_)) && file.entry.bytes > HTTP_MAX;
        if is_large && !source.is_cached(file) {
            let (name, size) = (&file.entry.name, Bytes(file.entry.bytes));
            let message = format!("`{name}` of `{}` has {size}", source.address());
            return Err(Error::config(message).with_hint(
                "the Hub hands out files over 50 GB by its Xet protocol alone: fetch this one with \
                 `hf download`, and it is found in the Hub's cache",
            ));
        }
    }
    for name in names.keys() {
        let above = name.match_indices('/').map(|(at, _)| &name[..at]);
        if let Some(file) = above.into_iter().find(|folder| names.contains_key(folder)) {
            let message = format!("`{file}` would be a file and the folder of `{name}`");
            return Err(Error::config(message).with_hint(name_it));
        }
    }
    Ok(())
}
