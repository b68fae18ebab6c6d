//! Circles of imports inside a folder: files, or folders, of which none can be read first.
//!
//! In → all sources; out → every set of siblings (children of one module) that reach each other
//! through what they name, tests left out. A name that the parent passes on (`pub use`) counts as a
//! name of the sibling that it comes from; a parent and its own child are no circle. Cost: a tenth
//! of a second.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer::Source;
use super::paths::{Named, module, named};

type Module = Vec<String>;
/// Parent → child → the siblings that it names.
type Imports = BTreeMap<Module, BTreeMap<String, BTreeSet<String>>>;

/// Sets of siblings that import each other: `filter: rules view`.
pub fn circles(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (parent, imports) in &imports(sources) {
        for start in imports.keys() {
            let reached = reached(imports, start);
            let returns = |other: &&String| self::reached(imports, other).contains(start);
            let circle: Vec<&str> = reached.iter().filter(returns).map(String::as_str).collect();
            if !circle.is_empty() {
                found.insert(format!("{}: {}", parent.join("/"), circle.join(" ")));
            }
        }
    }
    found
}

/// All siblings that can be reached from `start`: itself only in a circle.
fn reached(imports: &BTreeMap<String, BTreeSet<String>>, start: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(next) = open.pop() {
        for child in imports.get(next).into_iter().flatten() {
            if reached.insert(child.clone()) {
                open.push(child);
            }
        }
    }
    reached
}

fn imports(sources: &[Source]) -> Imports {
    let tests: BTreeSet<String> = sources.iter().flat_map(Source::test_files).collect();
    let mut names: BTreeMap<Module, Vec<Named>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !tests.contains(&source.path)) {
        if let Some(module) = module(&source.path) {
            let named = named(source).into_iter().filter(|named| !source.is_test[named.line]);
            names.insert(module, named.collect());
        }
    }
    let mut imports = Imports::new();
    for (from, named) in &names {
        for to in named.iter().map(|named| origin(&named.path, &names)) {
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let is_inside = names.contains_key(&to[..(common + 1).min(to.len())]);
            if let (1.., Some(child), Some(sibling), true) =
                (common, from.get(common), to.get(common), is_inside)
            {
                let siblings = imports.entry(from[..common].to_vec()).or_default();
                siblings.entry(child.clone()).or_default().insert(sibling.clone());
            }
        }
    }
    imports
}

/// Where what `path` names is defined: a module that only passes the name on is followed.
fn origin(path: &[String], names: &BTreeMap<Module, Vec<Named>>) -> Module {
    let mut path = path.to_vec();
    // A chain of `pub use` is short; a bound keeps two that name each other from going round.
    for _ in 0..8 {
        let lengths = (0..=path.len()).rev();
        let Some(at) = lengths.into_iter().find(|&len| names.contains_key(&path[..len])) else {
            break;
        };
        let (module, rest) = path.split_at(at);
        let passed_on = rest.first().and_then(|name| {
            names[module].iter().find(|named| named.name == *name && named.path != path)
        });
        match passed_on {
            Some(named) => path = named.path.iter().chain(&rest[1..]).cloned().collect(),
            None => break,
        }
    }
    path
}

#[test]
fn circles_are_found_through_what_a_parent_passes_on() {
    let sources = |view: &str| {
        [
            Source::new("src/filter/mod.rs", "mod rules;\nmod view;\npub use rules::Rule;\n"),
            Source::new("src/filter/rules/mod.rs", "pub mod a;\npub struct Rule;\n"),
            Source::new("src/filter/rules/a.rs", "use super::super::view::View;\n"),
            Source::new("src/filter/view.rs", view),
        ]
    };
    assert_eq!(circles(&sources("use crate::base::io;\n")).len(), 0);
    assert_eq!(circles(&sources("#[cfg(test)]\nuse super::Rule;\n")).len(), 0);
    let found = circles(&sources("use super::Rule;\n"));
    assert_eq!(found.iter().collect::<Vec<_>>(), ["filter: rules view"]);
}
