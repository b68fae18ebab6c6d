//! Two lineages → what differs, each difference at the earliest step where it arose.
//!
//! In → the lineages of a baseline and of what is compared with it; out → [`Difference`]s, sources
//! first. **Method.** The two graphs are walked side by side from the artifacts up, through equal
//! steps too: differences above equal steps are *without effect*, and marked so. Inputs of two
//! steps are paired by fingerprint, then by name and stage, then by stage; one that is left over is
//! a step that only one side has, which is noted and stepped over, the deepest first. A step
//! learned from texts (a tokenizer, a classifier) is not stepped over: its texts are not those of
//! its reader. A step that the other side has too, elsewhere, does not belong to one side only: its
//! reader reads something else. Of two paired steps the stage, its version, the seed and every key
//! of the resolved configuration are compared. **A consequence is no difference**: a key whose
//! change an earlier step has made already (an inherited share of held-out documents, the size of a
//! vocabulary that a model takes from its tokenizer), or the number of steps that one pass over the
//! mix takes. Raw files are paired by source and name, then by their bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::mixture::{self, Change, Mixture};
use super::node::{Input, Lineage, Node};
use crate::artifact::record::{InputRecord, Kind};
use crate::shards::StepRows;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The step where it arose: its folder's name where both sides share it, else its stage.
    pub step: String,
    pub stage: String,
    #[serde(flatten)]
    pub what: What,
    /// The documents that the step passes on, on either side; `None` where only one side has it.
    pub documents: Option<(u64, u64)>,
    pub tokens: Option<(u64, u64)>,
    /// Whether the step writes the same bytes on both sides.
    pub without_effect: bool,
    #[serde(skip)]
    pub nodes: (Option<usize>, Option<usize>),
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A key of the configuration; `None` where a side does not have it.
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
    /// Other sources of a mix, or other shares of them.
    Mixture { from: Box<Mixture>, to: Box<Mixture> },
    /// Other weights of a mix that come to the same shares, by key.
    Weights { from: BTreeMap<String, String>, to: BTreeMap<String, String> },
    /// The same inputs in another order.
    Reordered,
    /// Other inputs, which the other side has too, but reads elsewhere.
    Inputs { from: Vec<String>, to: Vec<String> },
    /// Inputs that differ, and whose manifests were not found, so no more is known.
    Unknown { names: Vec<String> },
}

/// One of two artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The baseline.
    From,
    /// The artifact that is compared with it.
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
    /// Compares two nodes that correspond: first their inputs, then the nodes themselves.
    fn pair(&mut self, from: usize, to: usize) {
        if !self.seen.insert((from, to)) {
            return;
        }
        let (a, b) = (&self.from.nodes[from], &self.to.nodes[to]);
        if a.fingerprint.is_some() && a.fingerprint == b.fingerprint {
            // Different steps may still have made equal bytes.
            self.inputs(from, to);
            return;
        }
        if a.stage_version.is_none() || b.stage_version.is_none() {
            if a.identity != b.identity {
                let names = BTreeSet::from([a.name.clone(), b.name.clone()]);
                self.note(from, to, What::Unknown { names: names.into_iter().collect() });
            }
            return;
        }
        let stepped = self.inputs(from, to);
        self.files(from, to, &stepped);
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
    fn inputs(&mut self, from: usize, to: usize) -> Stepped {
        let mut stepped = Stepped::default();
        let mut a: Vec<usize> = self.from.made(from).collect();
        let mut b: Vec<usize> = self.to.made(to).collect();
        let mut pairs = Vec::new();
        let (first, second) = (self.from, self.to);
        let same = |x: usize, y: usize| are_equal(&first.nodes[x], &second.nodes[y]);
        let alike = |x: usize, y: usize| {
            let (x, y) = (&first.nodes[x], &second.nodes[y]);
            x.stage == y.stage && x.name == y.name
        };
        let role = |x: usize, y: usize| first.nodes[x].stage == second.nodes[y].stage;
        // Equal inputs pair first; each step that only one side has is then stepped over.
        loop {
            take(&mut a, &mut b, &mut pairs, same);
            take(&mut a, &mut b, &mut pairs, alike);
            take(&mut a, &mut b, &mut pairs, role);
            let Some((side, place)) = self.extra(&a, &b) else { break };
            let (list, lineage, over) = match side {
                Side::From => (&mut a, self.from, &mut stepped.over[0]),
                Side::To => (&mut b, self.to, &mut stepped.over[1]),
            };
            let index = list.remove(place);
            let reader = if side == Side::From { from } else { to };
            if self.stands_elsewhere(side, index, &pairs) {
                if lineage.made(reader).any(|direct| direct == index) {
                    self.note_inputs(from, to, &pairs, &stepped.over);
                    stepped.told = true;
                    (a, b) = (Vec::new(), Vec::new());
                    break;
                }
                continue;
            }
            if is_learned(&lineage.nodes[index]) {
                stepped.replaced |= self.note_replaced(side, index, (from, to));
                if !stepped.replaced {
                    self.note_step(side, index);
                }
                continue;
            }
            over.push(index);
            list.splice(place..place, lineage.made(index));
            self.note_step(side, index);
        }
        let is_reordered = pairs.windows(2).any(|pair| pair[0].1 > pair[1].1)
            && pairs.iter().all(|(_, _, x, y)| same(*x, *y))
            && a.is_empty()
            && b.is_empty();
        // Texts are compared before what was learned from them: by then it is known what that
        // reads.
        pairs.sort_by_key(|pair| is_learned(&first.nodes[pair.2]));
        for (_, _, x, y) in &pairs {
            self.pair(*x, *y);
        }
        // What is left over is two stages in the same place.
        for (x, y) in a.iter().zip(&b) {
            self.pair(*x, *y);
        }
        let paired = a.len().min(b.len());
        a.iter().skip(paired).for_each(|index| self.note_step(Side::From, *index));
        b.iter().skip(paired).for_each(|index| self.note_step(Side::To, *index));
        if is_reordered {
            self.note(from, to, What::Reordered);
        }
        stepped
    }

    /// Whether the step is already paired, or the other side has it anywhere.
    fn stands_elsewhere(&self, side: Side, index: usize, pairs: &[Pair]) -> bool {
        let (lineage, other) = match side {
            Side::From => (self.from, self.to),
            Side::To => (self.to, self.from),
        };
        let fingerprint = lineage.nodes[index].fingerprint;
        let of_side = |x: usize, y: usize| if side == Side::From { x } else { y };
        pairs.iter().any(|(_, _, x, y)| of_side(*x, *y) == index)
            || self.seen.iter().any(|(x, y)| of_side(*x, *y) == index)
            || (fingerprint.is_some() && other.nodes.iter().any(|it| it.fingerprint == fingerprint))
    }

    /// Notes that two steps read different inputs, each of which both sides have: artifacts by
    /// name, raw files by source.
    fn note_inputs(&mut self, from: usize, to: usize, pairs: &[Pair], over: &[Vec<usize>; 2]) {
        let (a, b) = (files(self.from, from, &[]), files(self.to, to, &[]));
        let own = |mine: &[&InputRecord], others: &[&InputRecord]| -> BTreeSet<String> {
            let is_own = |it: &&&InputRecord| !others.iter().any(|other| other.key() == it.key());
            let name = |it: &&InputRecord| it.source.clone().unwrap_or_else(|| it.name.clone());
            mine.iter().filter(is_own).map(name).collect()
        };
        let made = |lineage: &Lineage, reader: usize, side: usize| -> Vec<String> {
            let is_paired = |it: usize| {
                pairs.iter().any(|(_, _, x, y)| [*x, *y][side] == it) || over[side].contains(&it)
            };
            let left = lineage.made(reader).filter(|it| !is_paired(*it));
            left.map(|it| lineage.nodes[it].name.clone()).collect()
        };
        let (mut x, mut y) = (made(self.from, from, 0), made(self.to, to, 1));
        x.extend(own(&a, &b));
        y.extend(own(&b, &a));
        self.note(from, to, What::Inputs { from: x, to: y });
    }

    /// Notes a learned step in whose place the other side reads raw files without a source, such as
    /// a `tokenizer.json`; returns whether it does.
    fn note_replaced(&mut self, side: Side, index: usize, (from, to): (usize, usize)) -> bool {
        let loose = |lineage: &Lineage, node: usize| -> Vec<String> {
            let files = files(lineage, node, &[]).into_iter();
            files.filter(|it| it.source.is_none()).map(|it| it.name.clone()).collect()
        };
        let (a, b) = (loose(self.from, from), loose(self.to, to));
        let what = match side {
            Side::From if a.is_empty() && !b.is_empty() => {
                What::Inputs { from: vec![self.from.nodes[index].name.clone()], to: b }
            }
            Side::To if b.is_empty() && !a.is_empty() => {
                What::Inputs { from: a, to: vec![self.to.nodes[index].name.clone()] }
            }
            _ => return false,
        };
        self.note(from, to, what);
        true
    }

    /// The leftover step that only one side has: the deepest, if it has inputs to step over to.
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

    /// The raw files of two steps, those of the steps among them that were stepped over.
    fn files(&mut self, from: usize, to: usize, stepped: &Stepped) {
        if stepped.told {
            return;
        }
        let [a, b] = &stepped.over;
        let (mut a, mut b) = (files(self.from, from, a), files(self.to, to, b));
        if stepped.replaced {
            a.retain(|it| it.source.is_some());
            b.retain(|it| it.source.is_some());
        }
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
        if a.kind == Some(Kind::Mix) {
            self.mixtures(from, to);
            let is_other = |key: &String, _: &mut Value| {
                !mixture::TABLES.iter().any(|table| key.starts_with(table))
            };
            x.retain(is_other);
            y.retain(is_other);
        }
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

    /// Compares what two mixes read, and in which shares.
    fn mixtures(&mut self, from: usize, to: usize) {
        let (a, b) = (&self.from.nodes[from], &self.to.nodes[to]);
        let shards = |lineage: &Lineage, node: usize| -> Vec<String> {
            lineage.made(node).map(|it| lineage.nodes[it].name.clone()).collect()
        };
        let (x, y) = (shards(self.from, from), shards(self.to, to));
        for change in mixture::differences((&a.config, &x), (&b.config, &y)) {
            let what = match change {
                Change::Weight { key, from, to } => {
                    What::Key { key, from: Some(from.into()), to: Some(to.into()) }
                }
                Change::Weights { from, to } => What::Weights { from, to },
                Change::Mixture { from, to } => What::Mixture { from, to },
                Change::Order => What::Reordered,
            };
            // Shards in another order have moved the sources too.
            let is_known = |it: &Difference| it.what == what && it.nodes == (Some(from), Some(to));
            if what != What::Reordered || !self.found.iter().any(is_known) {
                self.note(from, to, what);
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
        let first = key.split('.').next().unwrap_or(key);
        let of_tokenizer = OF_TOKENIZER.contains(&first) && self.differs_in_tokenizer(from, to);
        let one_pass = |lineage: &Lineage, node: usize, steps: Option<&Value>| {
            is_one_pass(lineage, node, steps.and_then(Value::as_u64))
        };
        let is_pass = key == "train.steps"
            && one_pass(self.from, from, before)
            && one_pass(self.to, to, after);
        carried || is_vocabulary || of_tokenizer || is_pass
    }

    /// Whether two shards were made with other tokenizers, as was noted.
    fn differs_in_tokenizer(&self, from: usize, to: usize) -> bool {
        let is_tokenizer = |lineage: &Lineage, node: Option<usize>| {
            node.is_some_and(|it| lineage.nodes[it].kind == Some(Kind::Tokenizer))
        };
        self.found.iter().any(|it| {
            let is_here = it.nodes == (Some(from), Some(to));
            is_here && matches!(it.what, What::Inputs { .. })
                || is_tokenizer(self.from, it.nodes.0)
                || is_tokenizer(self.to, it.nodes.1)
        })
    }
}

/// Keys of shards that follow from the tokenizer.
const OF_TOKENIZER: [&str; 3] = ["tokenizer_from", "end_of_text", "end_of_text_id"];

/// (place in the first list, place in the second, node there, node here) of two inputs.
type Pair = (usize, usize, usize, usize);

/// What became of the inputs of two steps.
#[derive(Default)]
struct Stepped {
    /// Steps of either side that were stepped over.
    over: [Vec<usize>; 2],
    /// Raw files without a source replace a learned step, which was noted.
    replaced: bool,
    /// Other inputs were noted, raw files among them.
    told: bool,
}

/// Whether a step is learned from texts that are not those of its reader.
fn is_learned(node: &Node) -> bool {
    matches!(node.kind, Some(Kind::Tokenizer | Kind::Classifier))
}

/// Whether two nodes are the same artifact.
fn are_equal(a: &Node, b: &Node) -> bool {
    match (a.fingerprint, b.fingerprint) {
        (Some(a), Some(b)) => a == b,
        _ => a.identity.is_some() && a.identity == b.identity,
    }
}

/// Whether two artifacts hold the same bytes. A run that is not done lists no files, so nothing can
/// be said of it.
fn holds_the_same(a: &Node, b: &Node) -> bool {
    a.totals.files > 0 && a.identity.is_some() && a.identity == b.identity
}

/// Whether so many steps are one pass over the mix that a run reads.
fn is_one_pass(lineage: &Lineage, node: usize, steps: Option<u64>) -> bool {
    let shape = StepRows::of_config(&lineage.nodes[node].config["train"]);
    let mixes = lineage.made(node).map(|index| &lineage.nodes[index]);
    let mixes = mixes.filter(|node| node.kind == Some(Kind::Mix));
    let tokens: u64 = mixes.map(|mix| mix.tokens().values().sum::<u64>()).sum();
    let (Some(steps), Some((rows, sequence))) = (steps, shape) else { return false };
    // Earlier builds needed a token behind the last row.
    tokens > 0 && [tokens, tokens - 1].iter().any(|it| rows.within(it / sequence) == steps)
}

/// Moves pairs for which `fits` from both lists to `pairs`: (place in `a`, place in `b`, x, y).
fn take(
    a: &mut Vec<usize>,
    b: &mut Vec<usize>,
    pairs: &mut Vec<Pair>,
    fits: impl Fn(usize, usize) -> bool,
) {
    let mut at = 0;
    while at < a.len() {
        match b.iter().position(|other| fits(a[at], *other)) {
            Some(other) => {
                let shift = |list: &[Pair], place: usize, second: bool| {
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
