//! Which modules a file names, however it spells the path.
//!
//! In → a [`Source`]; out → everything that begins with `crate::`, `self::`, `super::`, a child of
//! the file or, in the binary, `dataprep::`, as a path from the crate's root: in a `use` with its
//! braces, and in the middle of an expression. Cost: a few passes over the code.

use super::lexer::{Source, is_ident, word_positions};

/// A path from the crate's root.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Index of the line where its last name stands.
    pub line: usize,
    /// `["filter", "view", "View"]`.
    pub path: Vec<String>,
    /// What it is called from here on: its last name, or the one after `as`.
    pub name: String,
}

/// The module of a file under `src/`: `["filter", "view"]` for `src/filter/view/mod.rs`, nothing
/// for `src/lib.rs`.
pub fn module(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    let is_root = inner == "lib";
    Some(inner.split('/').filter(|_| !is_root).map(str::to_owned).collect())
}

/// Every path of ours that `source` names.
pub fn named(source: &Source) -> Vec<Named> {
    let Some(module) = module(&source.path) else { return vec![] };
    let text = source.code.join("\n");
    let mut found = Vec::new();
    let children = source.children();
    for root in ["crate", "dataprep", "self", "super"].into_iter().chain(children) {
        for at in word_positions(&text, root) {
            let after = at + root.len();
            if text[..at].ends_with("::") || !text[after..].starts_with("::") {
                continue;
            }
            let line = text[..at].matches('\n').count();
            // `mod tests { … }` in the file is a module of its own.
            let nested = source.is_test[line].then(|| "tests".to_owned());
            let mut base: Vec<String> = module.iter().cloned().chain(nested).collect();
            match root {
                "self" => {}
                "super" => drop(base.pop()),
                "crate" | "dataprep" => base.clear(),
                child => base = module.iter().cloned().chain([child.to_owned()]).collect(),
            }
            Reader { rest: &text[after + 2..], line }.tree(base, &mut found);
        }
    }
    found
}

/// Reads one path, or a tree of them.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    /// Adds the leaves of the tree that begins here, below `base`.
    fn tree(&mut self, mut base: Vec<String>, leaves: &mut Vec<Named>) {
        loop {
            if self.takes("{") {
                while !self.takes("}") && !self.rest.is_empty() {
                    self.tree(base.clone(), leaves);
                    self.takes(",");
                }
                return;
            }
            match self.ident() {
                name if name == "super" => drop(base.pop()),
                name if name == "self" || name.is_empty() => {}
                name => base.push(name),
            }
            if !self.takes("::") {
                break;
            }
        }
        self.takes("*");
        let last = base.last().cloned().unwrap_or_default();
        let line = self.line;
        let name = if self.takes("as ") { self.ident() } else { last };
        leaves.push(Named { line, path: base, name });
    }

    fn ident(&mut self) -> String {
        self.skip_blanks();
        let end = self.rest.find(|c| !is_ident(c)).unwrap_or(self.rest.len());
        let (ident, rest) = self.rest.split_at(end);
        self.rest = rest;
        ident.to_owned()
    }

    /// Whether `token` comes next; steps over it, and over the blanks before it.
    fn takes(&mut self, token: &str) -> bool {
        let (rest, line) = (self.rest, self.line);
        self.skip_blanks();
        match self.rest.strip_prefix(token) {
            Some(after) => self.rest = after,
            None => (self.rest, self.line) = (rest, line),
        }
        self.rest.len() < rest.len()
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest.trim_start();
        let blanks = &self.rest[..self.rest.len() - rest.len()];
        self.line += blanks.matches('\n').count();
        self.rest = rest;
    }
}

#[test]
fn every_spelling_of_a_path_is_resolved() {
    let text = [
        "use crate::{",
        "    base::{io, size as s},",
        "    source::Batch,",
        "};",
        "use super::view;",
        "fn f() { super::super::dedup::g(self::own(crate::x), self.y) }",
        "pub(crate) mod h;",
        "pub use h::Here;",
        "#[cfg(test)]",
        "mod tests {",
        "    use super::deep::*;",
        "}",
    ];
    let found = named(&Source::new("src/filter/rules/a.rs", &text.join("\n")));
    let shown =
        |named: &Named| format!("{} {} {}", named.line + 1, named.path.join("::"), named.name);
    let expected = [
        "2 base::io io",
        "2 base::size s",
        "3 source::Batch Batch",
        "6 x x",
        "6 filter::rules::a::own own",
        "5 filter::rules::view view",
        "6 filter::dedup::g g",
        "11 filter::rules::a::deep deep",
        "8 filter::rules::a::h::Here Here",
    ];
    assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected);
}
