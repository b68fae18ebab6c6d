//! The table of house rules that clippy cannot see, and the lists of homes they allow.
//!
//! A rule names the lines that break it; what it looks at is code without comments and literals
//! ([`Source::code`]), unless its subject is the text itself. To add one: a row in [`RULES`] with
//! a bad sample and a good one that looks alike.

use super::lexer::{Source, has_word, word_positions};
use super::paths::{module, named};

/// Where a rule does not hold: files, or folders with a `/` at the end.
type Homes = &'static [&'static str];

/// Crates of the training runtime, and who may name them.
const TENSOR_CRATES: &[&str] = &["candle_core", "candle_nn", "gemm", "safetensors", "half"];
const TENSORS: Homes = &["src/runtime/", "src/train/", "src/eval/"];

/// Every list of homes above.
pub const HOMES: &[Homes] = &[TENSORS];

/// Who may import whom. A module that is not listed has no place yet: give it a row.
const IMPORTS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("text", &[]),
    ("fasttext", &["base", "text"]),
    ("store", &["base"]),
    ("doctor", &["base"]),
    ("artifact", &["base", "store"]),
    ("download", &["base", "artifact", "store"]),
    ("source", &["base", "text", "store", "artifact"]),
    ("shards", &["base", "artifact"]),
    ("ingest", &["base", "artifact", "source"]),
    ("filter", &["base", "text", "fasttext", "artifact", "source"]),
    ("classifier", &["base", "text", "fasttext", "artifact", "source"]),
    ("dedup", &["base", "text", "artifact", "source"]),
    ("tokenizer", &["base", "text", "artifact", "source"]),
    ("tokenize", &["base", "store", "artifact", "source", "shards", "tokenizer"]),
    ("mix", &["base", "artifact", "source", "shards", "tokenizer"]),
    ("interop", &["base", "artifact", "shards"]),
    ("runtime", &["base", "shards"]),
    ("report", &["base", "artifact", "shards", "tokenizer", "lineage"]),
    ("train", &["base", "artifact", "shards", "runtime", "tokenizer", "report"]),
    ("trace", &["base", "artifact", "source", "shards", "tokenizer", "train", "report"]),
    ("eval", &["base", "text", "artifact", "store", "source", "shards", "tokenizer", "runtime"]),
    ("export", &["base", "artifact", "store", "runtime", "tokenizer", "train"]),
    ("serve", &["base", "runtime", "tokenizer", "train"]),
    (
        "inspect",
        &[
            "base",
            "text",
            "store",
            "artifact",
            "source",
            "shards",
            "filter",
            "classifier",
            "tokenizer",
            "eval",
            "report",
        ],
    ),
    ("lineage", &["base", "artifact", "shards"]),
    ("runs", &["base", "artifact", "source", "shards", "lineage"]),
    ("compare", &["base", "artifact", "source", "shards", "eval", "lineage", "runs"]),
    ("query", &["base", "artifact", "shards", "runs"]),
    ("pipeline", BELOW_PIPELINE),
    ("cli", BELOW_CLI),
    ("main", &["base", "cli"]),
    ("lib", &[]),
];
const BELOW_PIPELINE: &[&str] = &[
    "base",
    "text",
    "fasttext",
    "store",
    "artifact",
    "source",
    "shards",
    "ingest",
    "filter",
    "classifier",
    "dedup",
    "download",
    "tokenizer",
    "tokenize",
    "mix",
    "runtime",
    "train",
    "eval",
    "export",
    "interop",
    "inspect",
    "lineage",
    "runs",
    "compare",
];
const BELOW_CLI: &[&str] = &[
    "base",
    "text",
    "fasttext",
    "store",
    "artifact",
    "source",
    "shards",
    "ingest",
    "filter",
    "classifier",
    "dedup",
    "download",
    "tokenizer",
    "tokenize",
    "mix",
    "runtime",
    "train",
    "eval",
    "export",
    "interop",
    "serve",
    "inspect",
    "lineage",
    "runs",
    "compare",
    "report",
    "trace",
    "doctor",
    "query",
    "pipeline",
];

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 100;

/// A house rule.
pub struct Rule {
    pub name: &'static str,
    /// What to do instead, and why.
    pub remedy: &'static str,
    /// Indexes of the lines that break it.
    pub check: fn(&Source) -> Vec<usize>,
    /// (path, text) that breaks it in exactly one line.
    pub bad: fn() -> (&'static str, String),
    /// (path, text) that looks alike and is fine.
    pub good: fn() -> (&'static str, String),
}

pub const RULES: &[Rule] = &[
    Rule {
        name: "a file says what it is for",
        remedy: "open it with `//!`: what, in → out, method with its source, invariants, cost",
        check: |source| {
            let opens = source.lines.first().is_some_and(|line| line.starts_with("//! "));
            if opens { vec![] } else { vec![0] }
        },
        bad: || ("src/filter/a.rs", "use std::fmt;\n//! Late.\n".into()),
        good: || ("src/filter/a.rs", "//! Counts words.\n".into()),
    },
    Rule {
        name: "a function fits on a screen (70 lines)",
        remedy: "keep the control flow in the parent, move pure parts out under names of their own",
        check: |source| {
            let is_long = |(start, end): &(usize, usize)| end - start + 1 > FUNCTION_LINES_MAX;
            source.functions().into_iter().filter(is_long).map(|span| span.0).collect()
        },
        bad: || ("src/a.rs", format!("fn f() {{\n{}}}\n", "    x();\n".repeat(69))),
        good: || ("src/a.rs", format!("fn f() {{\n{}}}\n", "    x();\n".repeat(68))),
    },
    Rule {
        name: "a file stays readable (600 lines)",
        remedy: "split it by noun, never into `utils`; a table that a script writes says so in its \
                 `//!` head with the words `never by hand`",
        check: |source| {
            let is_long = source.lines.len() > FILE_LINES_MAX && !source.is_generated();
            if is_long { vec![FILE_LINES_MAX] } else { vec![] }
        },
        bad: || ("src/a.rs", "x\n".repeat(601)),
        good: || ("src/a.rs", format!("//! By a script, never by hand.\n{}", "x\n".repeat(601))),
    },
    Rule {
        name: "a line ends by column 100",
        remedy: "break it; a URL or a link of one word may be longer",
        check: |source| {
            let lines = source.lines.iter().enumerate();
            let is_link = |line: &str| {
                line.contains("://") || line.trim().trim_start_matches('/').trim().starts_with("[`")
            };
            let is_long = |line: &str| line.chars().count() > COLUMNS_MAX && !is_link(line);
            lines.filter(|(_, line)| is_long(line)).map(|(index, _)| index).collect()
        },
        bad: || ("src/a.rs", "é".repeat(101)),
        good: || ("src/a.rs", format!("{}\n// https://{}\n", "é".repeat(100), "x".repeat(101))),
    },
    Rule {
        name: "nothing half done is left behind",
        remedy: "finish it or take it out: what is not built yet does not show",
        check: |source| {
            let marks = ["TODO", "FIXME", "XXX"];
            let attributes = ["#[ignore", "(dead_code", "(unused"];
            let is_open = |index: usize| {
                let (line, code) = (&source.lines[index], &source.code[index]);
                line.contains("//") && marks.iter().any(|mark| has_word(line, mark))
                    || attributes.iter().any(|attribute| code.contains(attribute))
            };
            let skipped = source.path == "tests/tidy/rules.rs";
            (0..source.lines.len()).filter(|&line| !skipped && is_open(line)).collect()
        },
        bad: || ("src/a.rs", "fn f() { x() } // TODO: faster\n".into()),
        good: || ("src/a.rs", "fn f() { todo(\"TODO\") }\n".into()),
    },
    Rule {
        name: "imports run one way",
        remedy: "the table of `IMPORTS` in tests/tidy/rules.rs (base ← source, shards ← stages ← \
                 pipeline ← cli; docs/design.md, section 1): move what both need further down",
        check: |source| {
            let Some(module) = module(&source.path).map(|path| path.into_iter().next()) else {
                return vec![];
            };
            let module = module.as_deref().unwrap_or("lib");
            let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
                return vec![0];
            };
            let is_right = |name: &str| name == module || allowed.contains(&name);
            let wrong = named(source).into_iter().filter(|named| !is_right(&named.path[0]));
            wrong.map(|named| named.line).collect()
        },
        bad: || {
            (
                "src/filter/rules/a.rs",
                "use crate::base::io;\nuse super::super::super::dedup;\n".into(),
            )
        },
        good: || {
            let text =
                "use crate::{\n    base::{io, size},\n    source::Batch,\n};\nuse super::view;\n";
            ("src/filter/rules/a.rs", text.into())
        },
    },
    Rule {
        name: "only the training runtime names tensor crates",
        remedy: "`--no-default-features` builds the data tools alone: keep tensors in `runtime`, \
                 `train`, `eval`",
        check: |source| {
            let names = |code: &str, name: &str| {
                word_positions(code, name).any(|at| code[at + name.len()..].starts_with("::"))
            };
            let is_wrong = |code: &str| TENSOR_CRATES.iter().any(|name| names(code, name));
            let is_apart = source.path.starts_with("src/") && !is_in(&source.path, TENSORS);
            let lines = source.code.iter().enumerate();
            lines.filter(|(_, code)| is_apart && is_wrong(code)).map(|(index, _)| index).collect()
        },
        bad: || ("src/mix/a.rs", "use candle_core::Tensor;\n".into()),
        good: || ("src/runtime/a.rs", "use candle_core::Tensor;\n".into()),
    },
];

fn is_in(path: &str, homes: Homes) -> bool {
    homes
        .iter()
        .any(|home| if home.ends_with('/') { path.starts_with(home) } else { path == *home })
}
