//! A lineage as a tree of lines, and as a graph in DOT.
//!
//! In → a [`Lineage`]; out → text. Pure. A step that several others read is shown whole where it
//! comes first, and by name after that.

use std::fmt::Write;

use super::node::{Input, Lineage, Node};
use crate::artifact::record::{InputRecord, Kind};
use crate::base::size::{Bytes, Count};

/// The most source files listed for a step; `all` lists every one.
const FILES_SHOWN: usize = 12;

/// The tree, artifact first, source files last.
pub fn draw(lineage: &Lineage, all: bool) -> String {
    let mut text = String::new();
    let mut seen = vec![false; lineage.nodes.len()];
    branch(lineage, 0, ("", ""), all, &mut seen, &mut text);
    text
}

fn branch(
    lineage: &Lineage,
    index: usize,
    (head, rest): (&str, &str),
    all: bool,
    seen: &mut [bool],
    text: &mut String,
) {
    let node = &lineage.nodes[index];
    if std::mem::replace(&mut seen[index], true) {
        let _ = writeln!(text, "{head}{} (as above)", node.name);
        return;
    }
    let _ = writeln!(text, "{head}{}  {}", node.name, title(node));
    let has_inputs = !node.inputs.is_empty();
    let bar = if has_inputs { "│    " } else { "     " };
    for line in facts(node) {
        let _ = writeln!(text, "{rest}{bar}{line}");
    }
    let files = node.inputs.iter().filter(|input| matches!(input, Input::File(_))).count();
    let hidden = if all { 0 } else { files.saturating_sub(FILES_SHOWN) };
    let mut files_left = files - hidden;
    let mut shown: Vec<&Input> = Vec::new();
    for input in &node.inputs {
        match input {
            Input::File(_) if files_left == 0 => {}
            Input::File(_) => {
                files_left -= 1;
                shown.push(input);
            }
            Input::Made(_) => shown.push(input),
        }
    }
    for (at, input) in shown.iter().enumerate() {
        let is_last = at + 1 == shown.len() && hidden == 0;
        let (fork, trunk) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        match input {
            Input::File(record) => {
                let validates = node.kind.is_some_and(|kind| record.only_validates(kind));
                let note = if validates { "only validates: " } else { "" };
                let _ = writeln!(text, "{rest}{fork}{note}{}", file(record));
            }
            Input::Made(input) => {
                let validates = node.only_validates(&lineage.nodes[*input]);
                let note = if validates { "only validates: " } else { "" };
                let (head, rest) = (format!("{rest}{fork}{note}"), format!("{rest}{trunk}"));
                branch(lineage, *input, (&head, &rest), all, seen, text);
            }
        }
    }
    if hidden > 0 {
        let _ =
            writeln!(text, "{rest}└─ and {} more files (`-v` lists them)", Count(hidden as u64));
    }
}

/// `dedup, version 3 (dataprep 0.1.0, 05d9f99b0aaa), 688ae795`.
fn title(node: &Node) -> String {
    let fingerprint = node.fingerprint.map_or("?".to_owned(), |it| it.short());
    match (node.stage_version, &node.tool) {
        (Some(version), Some(tool)) => format!(
            "{}, version {version} (dataprep {}, {}), {fingerprint}",
            node.stage, tool.version, tool.commit
        ),
        _ => format!("{}, {fingerprint}: its manifest was found nowhere", node.stage),
    }
}

/// What a step took in, passed on and left out, and why.
pub fn facts(node: &Node) -> Vec<String> {
    let counts = &node.counts;
    let mut lines = Vec::new();
    if counts.documents_in > 0 {
        let (taken, passed) = (Count(counts.documents_in), Count(counts.documents_out));
        let mut line = format!("{taken} → {passed} documents");
        let tokens: u64 = node.tokens().values().sum();
        if tokens > 0 {
            let _ = write!(line, ", {} tokens", Count(tokens));
        }
        lines.push(line);
    } else if node.kind == Some(Kind::Run) {
        let steps = node.config.pointer("/train/steps").and_then(|steps| steps.as_u64());
        lines.extend(steps.map(|steps| format!("{} steps", Count(steps))));
    }
    let mut dropped: Vec<(&String, &u64)> = counts.dropped.iter().collect();
    dropped.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
    if !dropped.is_empty() {
        let reasons = dropped.iter().map(|(reason, count)| format!("{reason} {}", Count(**count)));
        lines.push(format!("left out: {}", reasons.collect::<Vec<_>>().join(", ")));
    }
    if counts.rejected > 0 {
        lines.push(format!("could not be read: {}", Count(counts.rejected)));
    }
    lines
}

fn file(record: &InputRecord) -> String {
    let source = record.source.as_ref().map_or(String::new(), |it| format!("{it}: "));
    let place = record.remote.as_ref().map_or("", |remote| remote.address.as_str());
    let name = if place.is_empty() { record.name.as_str() } else { place };
    format!("{source}{name}  {}, {}", Bytes(record.bytes), record.identity)
}

/// The graph in DOT, for `dot -Tsvg`: source files to the left.
pub fn dot(lineage: &Lineage) -> String {
    let mut text = String::from("digraph lineage {\n  rankdir=LR;\n  node [shape=box];\n");
    let quoted = |lines: Vec<String>| {
        let text = lines.join("\n").replace('\\', "\\\\").replace('"', "\\\"");
        text.replace('\n', "\\n")
    };
    for (index, node) in lineage.nodes.iter().enumerate() {
        let mut lines = vec![format!("{} ({})", node.name, node.stage)];
        lines.extend(facts(node));
        lines.extend(node.fingerprint.map(|it| it.short()));
        let _ = writeln!(text, "  n{index} [label=\"{}\"];", quoted(lines));
        for (at, input) in node.inputs.iter().enumerate() {
            match input {
                Input::Made(from) => {
                    let _ = writeln!(text, "  n{from} -> n{index};");
                }
                Input::File(record) => {
                    let (id, label) = (format!("f{index}_{at}"), quoted(vec![file(record)]));
                    let _ = writeln!(text, "  {id} [label=\"{label}\", shape=note];");
                    let _ = writeln!(text, "  {id} -> n{index};");
                }
            }
        }
    }
    text.push_str("}\n");
    text
}
