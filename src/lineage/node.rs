//! The graph: a node a step, with what its manifest says.
//!
//! In → what [`mod@super::read`] has found; out → plain data. Node 0 is the artifact that was asked
//! for; what it was made from follows, each step once however often it is read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use crate::artifact::manifest::{FileTotals, ManifestCounts, Tool};
use crate::artifact::record::{InputRecord, Kind};
use crate::base::hash::Fingerprint;

/// An artifact and all that it was made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lineage {
    /// The first is the artifact itself.
    pub nodes: Vec<Node>,
}

/// One artifact of the graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// The name by which its reader knows it: that of its folder.
    pub name: String,
    pub kind: Option<Kind>,
    pub stage: String,
    /// `None` if its manifest was found nowhere; then nothing above it is known.
    pub stage_version: Option<u32>,
    pub tool: Option<Tool>,
    pub config: Value,
    pub seed: u64,
    pub counts: ManifestCounts,
    pub holdout: Option<f64>,
    pub fingerprint: Option<Fingerprint>,
    /// The fingerprint of its list of files, if a reader has recorded it.
    pub identity: Option<Fingerprint>,
    pub totals: FileTotals,
    pub inputs: Vec<Input>,
    /// Where it lies, if it was found.
    pub place: Option<PathBuf>,
}

/// One input of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// A raw file.
    File(Box<InputRecord>),
    /// The index of the node that made it.
    Made(usize),
}

impl Node {
    /// Whether this node reads the artifact `read` for validation alone
    /// ([`InputRecord::only_validates`]).
    pub fn only_validates(&self, read: &Node) -> bool {
        self.kind == Some(Kind::Mix) && read.kind != Some(Kind::Shards)
    }

    /// Documents that it passes on.
    pub fn documents(&self) -> u64 {
        self.counts.documents_out
    }

    /// Tokens by source: of shards, or of a mix's order.
    pub fn tokens(&self) -> BTreeMap<&str, u64> {
        let sources = self.counts.sources.iter();
        sources.map(|(name, counts)| (name.as_str(), counts.tokens)).collect()
    }
}

impl Lineage {
    /// The artifact itself.
    pub fn root(&self) -> &Node {
        &self.nodes[0]
    }

    /// The nodes of a kind nearest to the artifact, itself among them, in the order of inputs; none
    /// above another node of that kind.
    pub fn nearest(&self, kind: Kind) -> Vec<&Node> {
        let (mut found, mut level, mut seen) = (Vec::new(), vec![0], vec![false; self.nodes.len()]);
        while !level.is_empty() {
            let mut next = Vec::new();
            for index in level {
                if std::mem::replace(&mut seen[index], true) {
                    continue;
                }
                let node = &self.nodes[index];
                match node.kind == Some(kind) {
                    true => found.push(node),
                    false => next.extend(self.made(index)),
                }
            }
            level = next;
        }
        found
    }

    /// The artifacts that a node was made from.
    pub fn made(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let inputs = self.nodes[node].inputs.iter();
        inputs.filter_map(|input| match input {
            Input::Made(index) => Some(*index),
            Input::File(_) => None,
        })
    }

    /// Which nodes only validate, together with everything that serves only them: the artifact
    /// itself holds nothing of them.
    pub fn validating(&self) -> Vec<bool> {
        let mut validating = vec![true; self.nodes.len()];
        let mut open: Vec<usize> = (0..self.nodes.len().min(1)).collect();
        while let Some(index) = open.pop() {
            if std::mem::replace(&mut validating[index], false) {
                let node = &self.nodes[index];
                let made = self.made(index).filter(|it| !node.only_validates(&self.nodes[*it]));
                open.extend(made);
            }
        }
        validating
    }

    /// The longest way from a node to a source file, in steps.
    pub fn depth(&self, node: usize) -> usize {
        self.made(node).map(|input| self.depth(input) + 1).max().unwrap_or(0)
    }

    /// The corpora whose text a model reads: those that the shards were made from, or for a text
    /// stage the artifact itself. The text that a tokenizer was trained on is not among them.
    pub fn texts(&self) -> Vec<&Node> {
        let shards = self.nearest(Kind::Shards);
        if shards.is_empty() {
            return self.nearest(Kind::Corpus);
        }
        let mut found: Vec<&Node> = Vec::new();
        for shards in shards {
            let made = shards.inputs.iter().filter_map(|input| match input {
                Input::Made(index) => Some(&self.nodes[*index]),
                Input::File(_) => None,
            });
            for corpus in made.filter(|node| node.kind == Some(Kind::Corpus)) {
                if !found.iter().any(|known| std::ptr::eq(*known, corpus)) {
                    found.push(corpus);
                }
            }
        }
        found
    }

    /// Documents whose text reaches the model, or that the artifact itself holds.
    pub fn documents(&self) -> u64 {
        let shards = self.nearest(Kind::Shards);
        match shards.is_empty() {
            true => self.texts().iter().map(|node| node.documents()).sum(),
            false => shards.iter().map(|node| node.documents()).sum(),
        }
    }
}
