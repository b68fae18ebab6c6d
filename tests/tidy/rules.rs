//! The table of house rules and the lists of homes they allow.
//!
//! A rule names the lines that break it; what it looks at is code without comments and literals
//! ([`Source::code`]), unless its subject is the text itself. To add one: a row in [`RULES`] with
//! a bad sample and a good one that looks alike.

use super::lexer::{Source, has_word, is_ident, word_positions};

/// Where a rule does not hold: files, or folders with a `/` at the end.
type Homes = &'static [&'static str];

/// The only writers to the terminal, so that `--json`, `-q` and colour are decided once.
const PRINTER: Homes = &["src/cli/printer.rs", "src/base/progress.rs"];
/// The only callers of the file system, so that every error carries its path.
const FILES: Homes = &["src/artifact/unit.rs", "src/base/io.rs", "src/base/lock.rs"];
/// Whoever may know the time: what they learn reaches no published byte. Progress shows a rate,
/// the lock of an OUT waits a few seconds, the executor writes `run.json`, training `timing.jsonl`.
const CLOCKS: Homes =
    &["src/base/lock.rs", "src/base/progress.rs", "src/pipeline/", "src/train/clock.rs"];
/// Unicode's tables of a stated version.
const UNICODE: Homes = &["src/text/"];
/// Kernels for the CPU's vector units.
const UNSAFE: Homes = &[
    "src/runtime/cpu.rs",
    "src/tokenizer/bpe/learn/tape.rs",
    "src/tokenizer/bpe/scan.rs",
    "src/tokenizer/bpe/simd.rs",
    "src/tokenizer/bpe/simd/",
    "src/tokenizer/bpe/table.rs",
];
/// Modules whose results are persisted: they must not move with the C library.
const PERSISTED: Homes = &[
    "src/text/",
    "src/fasttext/",
    "src/artifact/",
    "src/source/",
    "src/shards/",
    "src/ingest/",
    "src/filter/",
    "src/classifier/",
    "src/dedup/",
    "src/tokenizer/",
    "src/tokenize/",
    "src/mix/",
];
/// Crates of the training runtime, and who may name them.
const TENSOR_CRATES: &[&str] = &["candle_core", "candle_nn", "gemm", "safetensors", "half"];
const TENSORS: Homes = &["src/runtime/", "src/train/"];

/// Every list of homes above.
pub const HOMES: &[Homes] = &[PRINTER, FILES, CLOCKS, UNICODE, UNSAFE, PERSISTED, TENSORS];

/// Who may import whom. A module that is not listed has no place yet: give it a row.
const IMPORTS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("text", &[]),
    ("fasttext", &["base", "text"]),
    ("artifact", &["base"]),
    ("source", &["base", "text", "artifact"]),
    ("shards", &["base", "artifact"]),
    ("ingest", &["base", "artifact", "source"]),
    ("filter", &["base", "text", "fasttext", "artifact", "source"]),
    ("classifier", &["base", "text", "fasttext", "artifact", "source"]),
    ("dedup", &["base", "text", "artifact", "source"]),
    ("tokenizer", &["base", "text", "artifact", "source"]),
    ("tokenize", &["base", "artifact", "source", "shards", "tokenizer"]),
    ("mix", &["base", "artifact", "shards"]),
    ("runtime", &["base", "shards"]),
    ("train", &["base", "artifact", "shards", "runtime", "tokenizer"]),
    ("inspect", &["base", "text", "artifact", "source", "shards", "filter", "tokenizer"]),
    ("pipeline", BELOW_PIPELINE),
    ("cli", BELOW_CLI),
    ("main", &["base", "cli"]),
    ("lib", &[]),
];
const BELOW_PIPELINE: &[&str] = &[
    "base",
    "text",
    "fasttext",
    "artifact",
    "source",
    "shards",
    "ingest",
    "filter",
    "classifier",
    "dedup",
    "tokenizer",
    "tokenize",
    "mix",
    "runtime",
    "train",
    "inspect",
];
const BELOW_CLI: &[&str] = &[
    "base",
    "text",
    "fasttext",
    "artifact",
    "source",
    "shards",
    "ingest",
    "filter",
    "classifier",
    "dedup",
    "tokenizer",
    "tokenize",
    "mix",
    "runtime",
    "train",
    "inspect",
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
        name: "no `unwrap()` outside tests",
        remedy: "return an error that names the path or key; where it \
                 cannot fail, `expect(\"why\")`",
        check: |source| in_production(source, |code| code.contains(".unwrap()")),
        bad: || ("src/a.rs", "let a = b.unwrap();\n".into()),
        good: || ("src/a.rs", "// x.unwrap()\n#[cfg(test)]\nmod t {\n  x.unwrap();\n}\n".into()),
    },
    Rule {
        name: "only the printer writes to the terminal",
        remedy: "return the text, or send it as progress; `src/cli/printer.rs` decides what `-q`, \
                 `--json` and a pipe see",
        check: |source| {
            let macros = ["println!", "eprintln!", "print!", "eprint!"];
            let prints = |code: &str| macros.iter().any(|name| has_macro(code, name));
            outside(source, PRINTER, |code| {
                prints(code) || code.contains("io::stdout(") || code.contains("io::stderr(")
            })
        },
        bad: || ("src/a.rs", "fn f() { eprintln!(\"x\"); }\n".into()),
        good: || ("src/a.rs", "fn f() { let s = \"println!()\"; my_print!(s); }\n".into()),
    },
    Rule {
        name: "nothing half done is left behind",
        remedy: "finish it or take it out: what is not built yet does not show",
        check: |source| {
            let macros = ["todo!", "unimplemented!", "dbg!"];
            let marks = ["TODO", "FIXME", "XXX"];
            let is_open = |index: usize| {
                let (line, code) = (&source.lines[index], &source.code[index]);
                macros.iter().any(|name| has_macro(code, name))
                    || line.contains("//") && marks.iter().any(|mark| has_word(line, mark))
                    || ["#[ignore", "allow(dead_code", "allow(unused"]
                        .iter()
                        .any(|attribute| code.contains(attribute))
            };
            let skipped = source.path == "tests/tidy/rules.rs";
            (0..source.lines.len()).filter(|&line| !skipped && is_open(line)).collect()
        },
        bad: || ("src/a.rs", "fn f() { x() } // TODO: faster\n".into()),
        good: || ("src/a.rs", "fn f() { todo(\"TODO\") }\n".into()),
    },
    Rule {
        name: "files are reached through `base::io`",
        remedy: "use `base::io` (add a function there if one is missing), so that every error \
                 carries its path",
        check: |source| {
            let calls = ["File::open(", "File::create(", "File::options(", "OpenOptions"];
            let calls = |code: &str| calls.iter().any(|call| code.contains(call));
            // The type `fs::File` is fine; another crate's `fs` is its own business.
            let names = |code: &str| {
                word_positions(code, "fs").any(|at| {
                    let (before, after) = (code[..at].trim_end(), &code[at + 2..]);
                    let ours = !before.ends_with("::") || before.ends_with("std::");
                    let used = after.starts_with("::") || code.contains("use ");
                    ours && used && !after.starts_with("::File")
                })
            };
            outside(source, FILES, |code| calls(code) || names(code))
        },
        bad: || ("src/a.rs", "use std::{fmt, fs};\n".into()),
        good: || {
            let text = "use rustix::fs::renameat;\nuse std::{fmt, fs::File};\nlet fs = 1;\n";
            ("src/a.rs", text.into())
        },
    },
    Rule {
        name: "no clock in what is computed",
        remedy: "times belong to progress, `run.json` and `timing.jsonl`; equal inputs give equal \
                 bytes",
        check: |source| {
            let clocks = ["SystemTime", "Instant"];
            outside(source, CLOCKS, |code| clocks.iter().any(|clock| has_word(code, clock)))
        },
        bad: || ("src/filter/a.rs", "let start = Instant::now();\n".into()),
        good: || ("src/filter/a.rs", "// Instant\nlet instantly = 1;\n".into()),
    },
    Rule {
        name: "Unicode's classes come from `base::text`",
        remedy: "`std`'s tables move with the compiler: use `base::text`, or an ASCII form",
        check: |source| {
            let methods = [
                "is_alphabetic",
                "is_alphanumeric",
                "is_lowercase",
                "is_uppercase",
                "is_whitespace",
                "to_lowercase",
                "to_uppercase",
                "split_whitespace",
            ];
            outside(source, UNICODE, |code| methods.iter().any(|method| has_word(code, method)))
        },
        bad: || ("src/filter/a.rs", "if c.is_alphabetic() {}\n".into()),
        good: || ("src/filter/a.rs", "if c.is_ascii_alphabetic() {}\n".into()),
    },
    Rule {
        name: "no hash that the standard library may change",
        remedy: "use `base::hash` (XXH3): `DefaultHasher` promises nothing between compilers",
        check: |source| {
            let hashers = ["DefaultHasher", "RandomState", "thread_rng"];
            in_production(source, |code| hashers.iter().any(|hasher| has_word(code, hasher)))
        },
        bad: || ("src/a.rs", "use std::hash::DefaultHasher;\n".into()),
        good: || ("src/a.rs", "// not a DefaultHasher\nuse base::hash::Hasher;\n".into()),
    },
    Rule {
        name: "no libm in what is persisted",
        remedy: "`ln`, `exp`, `powf` … differ between C libraries: use exact arithmetic or \
                 `base::rng`'s software forms",
        check: |source| {
            let functions = ["ln", "log2", "log10", "exp", "exp2", "powf", "sin", "cos", "tanh"];
            let calls = |code: &str| {
                functions.iter().any(|name| {
                    let method = format!(".{name}(");
                    code.contains(&method)
                })
            };
            let is_persisted = is_in(&source.path, PERSISTED);
            if is_persisted { in_production(source, calls) } else { vec![] }
        },
        bad: || ("src/mix/a.rs", "let a = b.powf(0.7);\n".into()),
        good: || ("src/mix/a.rs", "let a = b.sqrt() + b.powi(2) + expect(1);\n".into()),
    },
    Rule {
        name: "`unsafe` has a home and a reason",
        remedy: "keep it in kernels (`UNSAFE` in tests/tidy/rules.rs); above each block \
                 `// SAFETY:` says which checks make it sound",
        check: |source| {
            let is_unsafe = |code: &str| has_word(code, "unsafe");
            let lines = source.code.iter().enumerate().filter(|(_, code)| is_unsafe(code));
            let at_home = is_in(&source.path, UNSAFE);
            lines
                .map(|(index, _)| index)
                .filter(|&i| !(at_home && is_justified(source, i)))
                .collect()
        },
        bad: || ("src/runtime/cpu.rs", "unsafe { f() }\n".into()),
        good: || {
            ("src/runtime/cpu.rs", "// SAFETY: bounds are\n// checked\nunsafe { f() }\n".into())
        },
    },
    Rule {
        name: "imports run one way",
        remedy: "the table of `IMPORTS` in tests/tidy/rules.rs (DESIGN: base ← source, shards ← \
                 stages ← pipeline ← cli): move what both need further down",
        check: |source| {
            let module = module(&source.path);
            let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| Some(*name) == module) else {
                return if module.is_some() { vec![0] } else { vec![] };
            };
            let is_right = |name: &str| Some(name) == module || allowed.contains(&name);
            let wrong = imports(source).into_iter().filter(|(_, name)| !is_right(name));
            wrong.map(|(line, _)| line).collect()
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
            outside(source, TENSORS, |code| TENSOR_CRATES.iter().any(|name| names(code, name)))
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

/// Lines of `src/` outside tests for which `breaks` holds.
fn in_production(source: &Source, breaks: impl Fn(&str) -> bool) -> Vec<usize> {
    let is_ours = source.path.starts_with("src/");
    let lines = source.production().filter(|(_, code)| is_ours && breaks(code));
    lines.map(|(index, _)| index).collect()
}

/// The same, but for the rule's homes.
fn outside(source: &Source, homes: Homes, breaks: impl Fn(&str) -> bool) -> Vec<usize> {
    if is_in(&source.path, homes) { vec![] } else { in_production(source, breaks) }
}

/// Whether the macro `name!` itself is called, not one whose name ends alike.
fn has_macro(code: &str, name: &str) -> bool {
    let starts = code.match_indices(name).map(|(at, _)| at);
    starts.into_iter().any(|at| !code[..at].chars().next_back().is_some_and(is_ident))
}

/// `// SAFETY:` in the comment right above the block, or above the line that opens it (a match arm,
/// a call).
fn is_justified(source: &Source, index: usize) -> bool {
    let is_comment = |line: &&str| line.starts_with("//");
    let above = || source.lines[..index].iter().rev().map(|line| line.trim());
    let comment = |skipped: usize| above().skip(skipped).take_while(is_comment);
    let says_why = |line: &str| line.contains("SAFETY:") || line.contains("# Safety");
    comment(0).any(says_why) || comment(1).any(says_why)
}

/// The first folder or file under `src/`, without its extension.
fn module(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    inner.split(['/', '.']).next()
}

/// (line, top module) of every path that begins at the crate's root, however it is written:
/// `crate::a::b`, `crate::{a, b::c}`, `super::super::a`, and `dataprep::a` in the binary.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in source.code.iter().enumerate() {
        for root in ["crate", "dataprep"] {
            for at in word_positions(line, root) {
                let rest = &line[at + root.len()..];
                found.extend(named_after(source, index, rest));
            }
        }
        let depth = depth(&source.path) + usize::from(source.is_test[index]);
        for (at, _) in line.match_indices("super::") {
            let chain = line[at..].match_indices("super::").enumerate();
            let steps = chain.take_while(|(nth, (offset, _))| *offset == nth * 7).count();
            let first = !line[..at].ends_with("super::");
            if first && steps == depth {
                found.extend(named_after(source, index, &line[at + steps * 7 - 2..]));
            }
        }
    }
    found
}

/// How many `super::` lead from a file's own items to the crate's root.
fn depth(path: &str) -> usize {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    inner.trim_end_matches("/mod").split('/').count()
}

/// The names that follow `::`: one, or those of a list in braces that may span lines.
fn named_after(source: &Source, index: usize, rest: &str) -> Vec<(usize, String)> {
    let Some(rest) = rest.strip_prefix("::") else { return vec![] };
    let ident = |text: &str| -> String { text.chars().take_while(|&c| is_ident(c)).collect() };
    if !rest.starts_with('{') {
        return vec![(index, ident(rest))];
    }
    let below = source.code[index + 1..].iter().map(String::as_str);
    let mut names = Vec::new();
    let (mut depth, mut expects_name) = (0, false);
    for (offset, line) in std::iter::once(rest).chain(below).enumerate() {
        for (at, c) in line.char_indices() {
            match c {
                '{' => (depth, expects_name) = (depth + 1, depth == 0),
                '}' if depth == 1 => return names,
                '}' => depth -= 1,
                ',' => expects_name = depth == 1,
                c if expects_name && is_ident(c) => {
                    names.push((index + offset, ident(&line[at..])));
                    expects_name = false;
                }
                _ => {}
            }
        }
    }
    names
}
