//! Two lineages → what differs, each difference at the earliest step where it arose.
//!
//! In → the lineages of a baseline and of what is held against it; out → [`Difference`]s, sources
//! first. **Method.** The two graphs are walked side by side from the artifacts up, through equal
//! steps too: what differs above them is *without effect*, and said so. Inputs of two steps are
//! paired by fingerprint, then by name and stage, then by stage; what is left over belongs to a
//! step that only one side has, which is noted and stepped over, the deeper side first. Of two
//! paired steps the stage, its version, the seed and every key of the resolved configuration are
//! compared. **A consequence is no difference**: a key whose change an earlier step has made
//! already (an inherited share of held-out documents, the size of a vocabulary that a model takes
//! from its tokenizer), or the number of steps that one pass over the mix takes. Raw files are
//! paired by source and name, then by their bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::node::{Input, Lineage, Node};
use crate::artifact::record::{InputRecord, Kind};

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The step where it arose: its folder's name where both sides share it, else its stage.
    pub step: String,
    pub stage: String,
    #[serde(flatten)]
    pub what: What,
    /// What that step passes on, on either side; none where only one side has it.
    pub documents: Option<(u64, u64)>,
    pub tokens: Option<(u64, u64)>,
    /// The step writes the same bytes on both sides.
    pub without_effect: bool,
    #[serde(skip)]
    pub nodes: (Option<usize>, Option<usize>),
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A key of the configuration; none: the side does not have it.
    Key { key: String, from: Option<Value>, to: Option<Value> },
    /// The stage's version: equal inputs give other bytes.
    Version { from: u32, to: u32 },
    /// Another stage at the same place.
    Stage { from: String, to: String },
    /// A step that only one side has.
    Step { only_in: Side },
    /// Source files that only one side reads.
    Files { only_in: Side, names: Vec<String> },
    /// Source files of one name and other bytes.
    Edited { names: Vec<String> },
    /// The same bytes under other names.
    Renamed { names: Vec<(String, String)> },
    /// The same inputs in another order.
    Reordered,
    /// Inputs that differ and of which no more is known: their manifests were found nowhere.
    Unknown { names: Vec<String> },
}

/// One of two artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The baseline.
    From,
    /// What is held against it.
    To,
}

/// Everything that differs between two lineages.
pub fn differences(from: &Lineage, to: &Lineage) -> Vec<Difference> {
    let mut walk = Walk { from, to, found: Vec::new(), seen: BTreeSet::new() };
    walk.pair(0, 0);
    let root = |lineage: &Lineage| lineage.nodes[0].fingerprint;
    if root(from).is_some() && root(from) == root(to) {
        walk.found.iter_mut().for_each(|it| it.without_effect = true);
    }
    walk.found
}

struct Walk<'a> {
    from: &'a Lineage,
    to: &'a Lineage,
    found: Vec<Difference>,
    seen: BTreeSet<(usize, usize)>,
}

impl Walk<'_> {
    /// Two nodes that stand for each other: what they read, then their own.
    fn pair(&mut self, from: usize, to: usize) {
        if !self.seen.insert((from, to)) {
            return;
        }
        let (a, b) = (&self.from.nodes[from], &self.to.nodes[to]);
        if a.fingerprint.is_some() && a.fingerprint == b.fingerprint {
            // Equal bytes may have been read of unequal steps.
            return self.inputs(from, to);
        }
        if a.stage_version.is_none() || b.stage_version.is_none() {
            if a.identity != b.identity {
                let names = BTreeSet::from([a.name.clone(), b.name.clone()]);
                self.note(from, to, What::Unknown { names: names.into_iter().collect() });
            }
            return;
        }
        self.inputs(from, to);
        self.files(from, to);
        self.own(from, to);
    }

    fn note(&mut self, from: usize, to: usize, what: What) {
        let (a, b) = (&self.from.nodes[from], &self.to.nodes[to]);
        let tokens = |node: &Node| node.tokens().values().sum::<u64>();
        self.found.push(Difference {
            step: if a.name == b.name { a.name.clone() } else { b.stage.clone() },
            stage: b.stage.clone(),
            what,
            documents: Some((a.documents(), b.documents())),
            tokens: Some((tokens(a), tokens(b))),
            without_effect: holds_the_same(a, b),
            nodes: (Some(from), Some(to)),
        });
    }

    /// A step that only one side has.
    fn note_step(&mut self, side: Side, index: usize) {
        let lineage = if side == Side::From { self.from } else { self.to };
        let node = &lineage.nodes[index];
        let nodes = match side {
            Side::From => (Some(index), None),
            Side::To => (None, Some(index)),
        };
        let is_known = self.found.iter().any(|known| {
            matches!(known.what, What::Step { only_in } if only_in == side) && known.nodes == nodes
        });
        if !is_known {
            self.found.push(Difference {
                step: node.name.clone(),
                stage: node.stage.clone(),
                what: What::Step { only_in: side },
                documents: None,
                tokens: None,
                without_effect: lineage
                    .made(index)
                    .any(|input| holds_the_same(node, &lineage.nodes[input])),
                nodes,
            });
        }
    }

    /// Pairs the artifacts that two steps read.
    fn inputs(&mut self, from: usize, to: usize) {
        let mut a: Vec<usize> = self.from.made(from).collect();
        let mut b: Vec<usize> = self.to.made(to).collect();
        let mut pairs = Vec::new();
        let (first, second) = (self.from, self.to);
        let same = |x: usize, y: usize| {
            let (x, y) = (&first.nodes[x], &second.nodes[y]);
            match (x.fingerprint, y.fingerprint) {
                (Some(x), Some(y)) => x == y,
                _ => x.identity.is_some() && x.identity == y.identity,
            }
        };
        let alike = |x: usize, y: usize| {
            let (x, y) = (&first.nodes[x], &second.nodes[y]);
            x.stage == y.stage && x.name == y.name
        };
        let role = |x: usize, y: usize| first.nodes[x].stage == second.nodes[y].stage;
        // What is equal first, over all steps that only one side has.
        loop {
            take(&mut a, &mut b, &mut pairs, same);
            take(&mut a, &mut b, &mut pairs, alike);
            take(&mut a, &mut b, &mut pairs, role);
            let Some((side, place)) = self.extra(&a, &b) else { break };
            let (list, lineage) = match side {
                Side::From => (&mut a, self.from),
                Side::To => (&mut b, self.to),
            };
            let index = list.remove(place);
            list.splice(place..place, lineage.made(index));
            self.note_step(side, index);
        }
        let is_reordered = pairs.windows(2).any(|pair| pair[0].1 > pair[1].1)
            && pairs.iter().all(|(_, _, x, y)| same(*x, *y))
            && a.is_empty()
            && b.is_empty();
        for (_, _, x, y) in &pairs {
            self.pair(*x, *y);
        }
        // Two stages in the same place.
        for (x, y) in a.iter().zip(&b) {
            self.pair(*x, *y);
        }
        let paired = a.len().min(b.len());
        a.iter().skip(paired).for_each(|index| self.note_step(Side::From, *index));
        b.iter().skip(paired).for_each(|index| self.note_step(Side::To, *index));
        if is_reordered {
            self.note(from, to, What::Reordered);
        }
    }

    /// Of what is left over the step that only one side has: the deepest whose inputs go on.
    fn extra(&self, a: &[usize], b: &[usize]) -> Option<(Side, usize)> {
        let steps = |side: Side, list: &[usize], lineage: &Lineage| -> Vec<(usize, Side, usize)> {
            let depth = |(place, index): (usize, &usize)| (lineage.depth(*index), side, place);
            list.iter().enumerate().map(depth).collect()
        };
        let mut all = steps(Side::From, a, self.from);
        all.extend(steps(Side::To, b, self.to));
        // A step in whose place the other side reads raw files has no input to step over to.
        let all = all.into_iter().filter(|(depth, side, place)| {
            let (lineage, index) = match side {
                Side::From => (self.from, a[*place]),
                Side::To => (self.to, b[*place]),
            };
            *depth > 0 || lineage.nodes[index].stage_version.is_some()
        });
        let is_one_sided = a.is_empty() != b.is_empty();
        let deepest = all.max_by_key(|(depth, side, place)| (*depth, *side, usize::MAX - place))?;
        (deepest.0 > 0 || is_one_sided).then_some((deepest.1, deepest.2))
    }

    /// The raw files of two steps, those of steps that only one side has among them.
    fn files(&mut self, from: usize, to: usize) {
        let skipped = |side: Side, found: &[Difference]| -> Vec<usize> {
            let only = found.iter().filter(|it| it.what == What::Step { only_in: side });
            let index =
                only.filter_map(|it| if side == Side::From { it.nodes.0 } else { it.nodes.1 });
            index.collect()
        };
        let (a, b) = (skipped(Side::From, &self.found), skipped(Side::To, &self.found));
        let (a, b) = (files(self.from, from, &a), files(self.to, to, &b));
        for what in file_differences(&a, &b) {
            self.note(from, to, what);
        }
    }

    /// Stage, version, seed and configuration of two steps.
    fn own(&mut self, from: usize, to: usize) {
        let (a, b) = (&self.from.nodes[from], &self.to.nodes[to]);
        if a.stage != b.stage {
            let what = What::Stage { from: a.stage.clone(), to: b.stage.clone() };
            return self.note(from, to, what);
        }
        if let (Some(x), Some(y)) = (a.stage_version, b.stage_version)
            && x != y
        {
            self.note(from, to, What::Version { from: x, to: y });
        }
        let (mut x, mut y) = (flat(&a.config), flat(&b.config));
        if !x.keys().chain(y.keys()).any(|key| key == "seed" || key.ends_with(".seed")) {
            x.insert("seed".to_owned(), a.seed.into());
            y.insert("seed".to_owned(), b.seed.into());
        }
        let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
        for key in keys {
            let (before, after) = (x.get(key), y.get(key));
            if before != after && !self.follows(key, before, after, (from, to)) {
                let (before, after) = (before.cloned(), after.cloned());
                self.note(from, to, What::Key { key: key.clone(), from: before, to: after });
            }
        }
    }

    /// Whether a key's change is the consequence of an earlier one.
    fn follows(
        &self,
        key: &str,
        before: Option<&Value>,
        after: Option<&Value>,
        (from, to): (usize, usize),
    ) -> bool {
        let meaning = |key: &str| -> String {
            match key.rsplit('.').next().unwrap_or(key) {
                "vocab" | "vocab_size" => "vocab".to_owned(),
                last => last.to_owned(),
            }
        };
        let carried = self.found.iter().any(|earlier| {
            let What::Key { key: known, from: x, to: y } = &earlier.what else { return false };
            meaning(known) == meaning(key) && (x.as_ref(), y.as_ref()) == (before, after)
        });
        let is_vocabulary = meaning(key) == "vocab" && key != "vocab" && !self.found.is_empty();
        let one_pass = |lineage: &Lineage, node: usize, steps: Option<&Value>| {
            is_one_pass(lineage, node, steps.and_then(Value::as_u64))
        };
        let is_pass = key == "train.steps"
            && one_pass(self.from, from, before)
            && one_pass(self.to, to, after);
        carried || is_vocabulary || is_pass
    }
}

/// Whether two artifacts hold the same bytes. A run that is not done lists no file, and says
/// nothing.
fn holds_the_same(a: &Node, b: &Node) -> bool {
    a.totals.files > 0 && a.identity.is_some() && a.identity == b.identity
}

/// Whether so many steps are one pass over the mix that a run reads.
fn is_one_pass(lineage: &Lineage, node: usize, steps: Option<u64>) -> bool {
    let number = |key: &str| lineage.nodes[node].config.pointer(key).and_then(Value::as_u64);
    let mixes = lineage.made(node).map(|index| &lineage.nodes[index]);
    let mixes = mixes.filter(|node| node.kind == Some(Kind::Mix));
    let tokens: u64 = mixes.map(|mix| mix.tokens().values().sum::<u64>()).sum();
    let (Some(steps), Some(batch), Some(sequence)) =
        (steps, number("/train/batch_tokens"), number("/train/sequence"))
    else {
        return false;
    };
    tokens > 0 && batch >= sequence && sequence > 0 && {
        // A row's targets are shifted by one, so the last token opens no row of its own.
        let rows = [tokens / sequence, (tokens - 1) / sequence];
        rows.iter().any(|rows| rows / (batch / sequence) == steps)
    }
}

/// Moves pairs for which `fits` from both lists: (place in `a`, place in `b`, x, y).
fn take(
    a: &mut Vec<usize>,
    b: &mut Vec<usize>,
    pairs: &mut Vec<(usize, usize, usize, usize)>,
    fits: impl Fn(usize, usize) -> bool,
) {
    let mut at = 0;
    while at < a.len() {
        match b.iter().position(|other| fits(a[at], *other)) {
            Some(other) => {
                let shift = |list: &[(usize, usize, usize, usize)], place: usize, second: bool| {
                    let mut places: Vec<usize> =
                        list.iter().map(|it| if second { it.1 } else { it.0 }).collect();
                    places.sort_unstable();
                    places
                        .into_iter()
                        .fold(place, |place, taken| place + usize::from(taken <= place))
                };
                let (x, y) = (shift(pairs, at, false), shift(pairs, other, true));
                pairs.push((x, y, a.remove(at), b.remove(other)));
            }
            None => at += 1,
        }
    }
    pairs.sort_unstable();
}

/// The raw files that a step reads, itself or through steps that only this side has.
fn files<'a>(lineage: &'a Lineage, node: usize, skipped: &[usize]) -> Vec<&'a InputRecord> {
    let mut found: Vec<&InputRecord> = Vec::new();
    for input in &lineage.nodes[node].inputs {
        match input {
            Input::File(record) => found.push(record),
            Input::Made(index) if skipped.contains(index) => {
                found.extend(files(lineage, *index, skipped));
            }
            Input::Made(_) => (),
        }
    }
    found
}

fn file_differences(a: &[&InputRecord], b: &[&InputRecord]) -> Vec<What> {
    let place = |record: &InputRecord| (record.source.clone(), record.name.clone());
    let bytes = |record: &InputRecord| (record.identity, record.bytes);
    let shown = |record: &InputRecord| match &record.source {
        Some(source) if !record.name.starts_with(source.as_str()) => {
            format!("{source}/{}", record.name)
        }
        _ => record.name.clone(),
    };
    let (mut edited, mut renamed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    let mut left: Vec<&InputRecord> = b.to_vec();
    let mut kept = Vec::new();
    for record in a {
        match left.iter().position(|other| place(other) == place(record)) {
            Some(at) => {
                let other = left.remove(at);
                if bytes(other) != bytes(record) {
                    edited.push(shown(record));
                }
                kept.push((*record, other));
            }
            None => gone.push(*record),
        }
    }
    gone.retain(|record| match left.iter().position(|other| bytes(other) == bytes(record)) {
        Some(at) => {
            renamed.push((shown(record), shown(left.remove(at))));
            false
        }
        None => true,
    });
    let names = |records: &[&InputRecord]| records.iter().map(|it| shown(it)).collect();
    let mut found = Vec::new();
    if !gone.is_empty() {
        found.push(What::Files { only_in: Side::From, names: names(&gone) });
    }
    if !left.is_empty() {
        found.push(What::Files { only_in: Side::To, names: names(&left) });
    }
    if !edited.is_empty() {
        found.push(What::Edited { names: edited });
    }
    if !renamed.is_empty() {
        found.push(What::Renamed { names: renamed });
    }
    let order = |records: &[&InputRecord]| -> Vec<(Option<String>, String)> {
        let is_kept = |record: &&&InputRecord| {
            kept.iter().any(|(x, y)| place(x) == place(record) && place(y) == place(record))
        };
        records.iter().filter(is_kept).map(|record| place(record)).collect()
    };
    if order(a) != order(b) {
        found.push(What::Reordered);
    }
    found
}

/// A configuration as `table.key` → value; of a list of named tables the names are keys.
fn flat(config: &Value) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    flatten("", config, &mut keys);
    keys
}

fn flatten(prefix: &str, value: &Value, keys: &mut BTreeMap<String, Value>) {
    let below =
        |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| flatten(&below(key), value, keys));
        }
        Value::Array(list) if !list.is_empty() && list.iter().all(|it| it["name"].is_string()) => {
            for item in list {
                flatten(&below(item["name"].as_str().unwrap_or_default()), item, keys);
            }
        }
        Value::Null => {}
        value => {
            keys.insert(prefix.to_owned(), value.clone());
        }
    }
}
