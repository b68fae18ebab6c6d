//! Two artifacts or runs side by side: what differs, and what it did.
//!
//! In → two folders, a baseline and what is compared with it; out → a [`Comparison`]: the
//! differences from source files to code, each at its earliest step ([`crate::lineage`]); the
//! documents that moved, with the rule or twin that decided ([`documents`], [`reasons`]); tokens by
//! source, and how much of what two mixes show first is the same; loss at equal tokens and at equal
//! compute ([`curves`]); bits per byte on the documents that both hold out ([`held_out`]);
//! evaluations with paired tests (`eval --against`'s); speed and cost; and a verdict against the
//! noise of seeds ([`noise`]). Threads, machine, memory and places are no difference. **Seeds** are
//! the runs beside either one whose lineage differs by keys called `seed` alone, at the same step.
//! **Cost.** Manifests and records; where the texts differ, one reading of both sides' ids and
//! texts within the given memory; for two mixes the blocks that hold their first 100 million tokens
//! ([`crate::shards::beginnings`]).

mod columns;
mod curves;
mod documents;
mod held_out;
pub mod noise;
mod reasons;
mod screen;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use curves::Point;
pub use documents::{Bounds, Changes, How, Moved};
pub use held_out::{Figure, HeldOut};
pub use noise::{Call, Noise, Verdict};

use crate::artifact::manifest::Manifest;
use crate::artifact::record::Kind;
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::json;
use crate::base::place;
use crate::base::size::Count;
use crate::lineage::{self, Depth, Difference, Lineage, Node, Reader, What, differences, sentence};
use crate::runs::{self, Facts};
use crate::shards::OverlapReport;
use reasons::Reasons;

/// The number of tokens from the beginning of two mixes whose order is compared: later tokens would
/// say no more, and would cost a reading of all their shards.
const READ_FIRST: u64 = 100_000_000;

/// A comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The baseline, and what is compared with it.
    pub from: PathBuf,
    pub to: PathBuf,
    /// Everything in one sentence.
    pub sentence: String,
    pub differences: Vec<Difference>,
    /// Whether more than one difference has an effect, so that no result can be ascribed to one of
    /// them.
    pub several: bool,
    /// Remarks that are not differences: another build, folders that are gone.
    pub notes: Vec<String>,
    pub documents: Option<Changes>,
    /// Why documents left, and why those that entered had been left out.
    pub left_for: Reasons,
    pub entered_past: Reasons,
    /// Tokens by source, before and after.
    pub mixture: BTreeMap<String, (u64, u64)>,
    /// How much of what two mixes show first is the same, and in which order.
    pub order: Option<OverlapReport>,
    pub runs: Option<Runs>,
}

/// The results of two runs.
#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    pub from: Facts,
    pub to: Facts,
    pub parameters: Option<(u64, u64)>,
    pub at_equal_tokens: Vec<Point>,
    /// The curves at equal compute; empty unless the models differ in size.
    pub at_equal_compute: Vec<Point>,
    pub held_out: Option<HeldOut>,
    pub verdict: Option<Verdict>,
    /// Runs that the noise of seeds was measured on, by name.
    pub seeds: (Vec<String>, Vec<String>),
    /// Evaluations of both on the same tasks: `eval --against`, as JSON.
    pub evals: Vec<serde_json::Value>,
    #[serde(skip)]
    pub evals_text: Vec<String>,
}

/// Compares two artifacts.
///
/// # Errors
/// Config: no artifacts, or of two kinds. Damaged: a file of theirs.
pub fn compare(from: &Path, to: &Path, bounds: &Bounds) -> Result<Comparison> {
    let (a, b) = (lineage::read(from)?, lineage::read(to)?);
    if a.root().kind != b.root().kind {
        let kind =
            |lineage: &Lineage| lineage.root().kind.map_or(String::new(), |it| it.to_string());
        let message =
            format!("`{}` is {}, `{}` is {}", from.display(), kind(&a), to.display(), kind(&b));
        return Err(Error::config(message).with_hint("compare two of one kind"));
    }
    let found = differences(&a, &b);
    let mut comparison = Comparison {
        from: from.to_owned(),
        to: to.to_owned(),
        sentence: sentence(&found, (a.documents(), b.documents())),
        several: found.iter().filter(|it| !it.without_effect).count() > 1,
        differences: found,
        notes: notes(&a, &b),
        documents: None,
        left_for: Reasons::new(),
        entered_past: Reasons::new(),
        mixture: mixture(&a, &b),
        order: None,
        runs: None,
    };
    comparison.add_documents(&a, &b, bounds)?;
    comparison.add_order(&a, &b);
    if a.root().kind == Some(Kind::Run) {
        comparison.runs = Some(Runs::of((from, &a), (to, &b), &comparison.differences)?);
    }
    Ok(comparison)
}

impl Comparison {
    /// Compares the order of the two mixes, if each side reads exactly one and they differ.
    fn add_order(&mut self, a: &Lineage, b: &Lineage) {
        let (x, y) = (a.nearest(Kind::Mix), b.nearest(Kind::Mix));
        let ([x], [y]) = (&x[..], &y[..]) else { return };
        if x.fingerprint.is_some() && x.fingerprint == y.fingerprint {
            return;
        }
        let found = match (&x.place, &y.place) {
            (Some(from), Some(to)) => {
                OverlapReport::read(from, to, READ_FIRST).map_err(|it| it.to_string())
            }
            _ => Err("a mix of theirs is gone".to_owned()),
        };
        match found {
            Ok(order) => self.order = Some(order),
            Err(why) => self.notes.push(format!(
                "how much of what they read first is the same cannot be said: {why}"
            )),
        }
    }

    fn add_documents(&mut self, a: &Lineage, b: &Lineage, bounds: &Bounds) -> Result<()> {
        let (x, y) = (a.texts(), b.texts());
        let identity = |nodes: &[&Node]| -> Vec<_> { nodes.iter().map(|it| it.identity).collect() };
        if x.is_empty() || y.is_empty() || identity(&x) == identity(&y) {
            return Ok(());
        }
        let places = |nodes: &[&Node]| -> Option<Vec<PathBuf>> {
            nodes.iter().map(|node| node.place.clone()).collect()
        };
        let (Some(from), Some(to)) = (places(&x), places(&y)) else {
            self.notes.push(
                "the corpora of one of them are gone: which documents moved cannot be said".into(),
            );
            return Ok(());
        };
        let count = |nodes: &[&Node]| nodes.iter().map(|node| node.documents()).sum::<u64>();
        let mut changes = documents::compare(&from, &to, count(&x) + count(&y), bounds)?;
        if changes.left.max(changes.entered) > documents::ASKED_MAX as u64 {
            let most = Count(documents::ASKED_MAX as u64);
            self.notes.push(format!("reasons are counted over {most} of the documents that moved"));
        }
        let (mut left, mut entered) = (Vec::new(), Vec::new());
        for moved in &mut changes.listed {
            match moved.how {
                How::Left => left.push(moved),
                How::Entered => entered.push(moved),
                How::Changed => {}
            }
        }
        self.left_for = reasons::explain(b, &changes.left_ids, &mut left)?;
        self.entered_past = reasons::explain(a, &changes.entered_ids, &mut entered)?;
        self.documents = Some(changes);
        Ok(())
    }
}

/// Notes that the builds differ, though equal versions of their stages promise equal bytes.
fn notes(a: &Lineage, b: &Lineage) -> Vec<String> {
    let builds = |lineage: &Lineage| -> BTreeSet<String> {
        let tools = lineage.nodes.iter().filter_map(|node| node.tool.as_ref());
        tools.map(|tool| format!("{} ({})", tool.version, tool.commit)).collect()
    };
    let (x, y) = (builds(a), builds(b));
    let list = |builds: &BTreeSet<String>| builds.iter().cloned().collect::<Vec<_>>().join(", ");
    let mut notes = Vec::new();
    if x != y {
        notes.push(format!(
            "made by other builds, whose stages promise equal bytes: dataprep {} → {}",
            list(&x),
            list(&y)
        ));
    }
    notes
}

/// Tokens by source of the mixes; without a mix, of the shards.
fn mixture(a: &Lineage, b: &Lineage) -> BTreeMap<String, (u64, u64)> {
    let mut shares: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (lineage, is_to) in [(a, false), (b, true)] {
        let mixes = lineage.nearest(Kind::Mix);
        let nodes = if mixes.is_empty() { lineage.nearest(Kind::Shards) } else { mixes };
        for (source, tokens) in nodes.iter().flat_map(|node| node.tokens()) {
            let share = shares.entry(source.to_owned()).or_default();
            *(if is_to { &mut share.1 } else { &mut share.0 }) += tokens;
        }
    }
    shares
}

impl Runs {
    fn of(from: (&Path, &Lineage), to: (&Path, &Lineage), found: &[Difference]) -> Result<Runs> {
        let facts = |path: &Path| Facts::read(path, &Manifest::read(path)?);
        let curve = |path: &Path| json::lines::<curves::Step>(&path.join("metrics.jsonl"));
        let (a, b) = (curve(from.0)?, curve(to.0)?);
        let parameters = runs::parameters(from.0)?.zip(runs::parameters(to.0)?);
        let seeds_only = !found.is_empty() && found.iter().all(is_seed);
        let (mut before, mut after) = (seeds_of(from)?, seeds_of(to)?);
        if seeds_only {
            // The two runs are of one group of seeds, so they are compared as one draw each.
            before.truncate(1);
            after.truncate(1);
        }
        let (held_out, verdict) = judge(&before, &after)?;
        let name = |path: &PathBuf| place::name(path);
        let (evals, evals_text) = evaluations(from.0, to.0)?;
        Ok(Runs {
            from: facts(from.0)?,
            to: facts(to.0)?,
            at_equal_tokens: curves::at_equal_tokens(&a, &b),
            at_equal_compute: match parameters {
                Some(sizes) if sizes.0 != sizes.1 => curves::at_equal_compute(&a, &b, sizes),
                _ => Vec::new(),
            },
            parameters,
            held_out,
            verdict: verdict.filter(|_| !found.is_empty()),
            seeds: (before.iter().map(name).collect(), after.iter().map(name).collect()),
            evals,
            evals_text,
        })
    }
}

/// Compares two groups of runs that differ by seed alone, on the documents that all of them hold
/// out.
///
/// # Errors
/// Damaged: a record that cannot be read.
pub fn judge(from: &[PathBuf], to: &[PathBuf]) -> Result<(Option<HeldOut>, Option<Verdict>)> {
    let read = |paths: &[PathBuf]| -> Result<Vec<held_out::Scores>> {
        let mut all = paths.iter().map(|it| held_out::read(it)).collect::<Result<Vec<_>>>()?;
        // A run that was never evaluated is left out.
        all.retain(|scores| !scores.is_empty());
        Ok(all)
    };
    let found = held_out::compare(&read(from)?, &read(to)?);
    let verdict = found.as_ref().map(HeldOut::verdict);
    Ok((found, verdict))
}

fn is_seed(difference: &Difference) -> bool {
    matches!(&difference.what, What::Key { key, .. } if key.rsplit('.').next() == Some("seed"))
}

/// The runs beside a run that differ from it by seed alone and are at the same step, itself first.
fn seeds_of((path, own): (&Path, &Lineage)) -> Result<Vec<PathBuf>> {
    let absolute = io::canonical(path)?;
    let step = |run: &Path, manifest: &Manifest| Facts::read(run, manifest).map(|it| it.step);
    let own_step = step(path, &Manifest::read(path)?)?;
    let mut found = vec![path.to_owned()];
    let mut reader = Reader::new(Depth::Told);
    for beside in io::list(absolute.parent().unwrap_or(Path::new("/")))? {
        if beside == absolute || !beside.is_dir() {
            continue;
        }
        let manifest = Manifest::read_if_known(&beside)?;
        let Some(manifest) = manifest.filter(|manifest| manifest.kind == Kind::Run) else {
            continue;
        };
        let other = differences(own, &reader.lineage_of(&beside, &manifest)?);
        if other.is_empty() || !other.iter().all(is_seed) {
            continue;
        }
        if step(&beside, &manifest)? == own_step {
            found.push(beside);
        }
    }
    Ok(found)
}

/// Compares the evaluations beside both runs that have equal configurations, the latest of each.
#[cfg(feature = "train")]
fn evaluations(from: &Path, to: &Path) -> Result<(Vec<serde_json::Value>, Vec<String>)> {
    let latest = |run: &Path| -> Result<BTreeMap<String, PathBuf>> {
        let mut found = BTreeMap::new();
        for path in crate::artifact::find::evaluations(run) {
            found.insert(Manifest::read(&path)?.config.to_string(), path);
        }
        Ok(found)
    };
    let (a, b) = (latest(from)?, latest(to)?);
    let (mut records, mut texts) = (Vec::new(), Vec::new());
    for (config, before) in &a {
        let Some(after) = b.get(config) else { continue };
        let compared = crate::eval::Comparison::read(after, before, 0)?;
        records.push(serde_json::to_value(&compared).expect("plain data"));
        texts.push(compared.to_string());
    }
    Ok((records, texts))
}

/// This build cannot read evaluations.
#[cfg(not(feature = "train"))]
fn evaluations(_: &Path, _: &Path) -> Result<(Vec<serde_json::Value>, Vec<String>)> {
    Ok((Vec::new(), Vec::new()))
}
