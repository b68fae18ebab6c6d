//! The house rules, as tests: what CONTRIBUTING.md asks for and neither compiler nor clippy sees.
//!
//! In → the repository's own files; out → every line that breaks a rule, with what to do instead.
//! A rule is one row of [`RULES`] and carries its own counter-example, so that a rule which has
//! stopped finding anything fails too. Cost: well under a second, every file is read once.

mod circles;
mod citations;
mod lexer;
mod paths;
mod rules;

use std::{
    fs,
    path::{Path, PathBuf},
};

use lexer::Source;
use rules::{RULES, Rule};

/// Where everything lies.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files under `folder` (relative to the root) whose names end in `.extension`, sorted.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a listed entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A path as the messages name it.
fn relative(path: &Path) -> String {
    let relative = path.strip_prefix(root()).unwrap_or(path);
    relative.to_string_lossy().replace('\\', "/")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let folders = ["src", "tests", "benches", "kernels"];
    let paths = folders.iter().flat_map(|folder| files(folder, "rs"));
    let sources: Vec<Source> = paths.map(|p| Source::new(&relative(&p), &read(&p))).collect();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "found no src/lib.rs");
    sources
}

fn broken(rule: &Rule, source: &Source) -> Vec<String> {
    let lines = (rule.check)(source).into_iter();
    let shown = |line: usize| source.lines.get(line).map_or("", |text| text.trim());
    lines.map(|line| format!("{}:{}: {}", source.path, line + 1, shown(line))).collect()
}

#[test]
fn the_house_rules_hold() {
    let sources = sources();
    let mut report = String::new();
    for rule in RULES {
        let found: Vec<String> = sources.iter().flat_map(|source| broken(rule, source)).collect();
        if !found.is_empty() {
            let (name, remedy) = (rule.name, rule.remedy);
            report += &format!("\n{name}\n  {}\n  hint: {remedy}\n", found.join("\n  "));
        }
    }
    assert!(report.is_empty(), "house rules (CONTRIBUTING.md) are broken:\n{report}");
}

#[test]
fn every_rule_finds_its_bad_sample_and_passes_its_good_one() {
    for rule in RULES {
        let (path, text) = (rule.bad)();
        let found = broken(rule, &Source::new(path, &text));
        assert_eq!(found.len(), 1, "`{}` in its bad sample: {found:?}", rule.name);
        let (path, text) = (rule.good)();
        let found = broken(rule, &Source::new(path, &text));
        assert_eq!(found, [""; 0], "`{}` in its good sample", rule.name);
    }
}

#[test]
fn no_part_of_a_folder_needs_another_that_needs_it() {
    let found = circles::circles(&sources());
    assert!(found.is_empty(), "hint: move what both need to a file below them: {found:#?}");
}

/// A list of homes that names what is gone hides the next offender under an old name.
#[test]
fn every_home_a_rule_names_is_there() {
    let homes = rules::HOMES.iter().flat_map(|homes| homes.iter());
    let gone: Vec<&str> = homes.copied().filter(|home| !root().join(home).exists()).collect();
    assert!(gone.is_empty(), "hint: take these from the lists in tests/tidy/rules.rs: {gone:?}");
}

#[test]
fn what_is_cited_is_there() {
    let (source, markdown) = (files("src", "rs"), files("docs", "md"));
    let tests = files("tests", "rs").into_iter();
    // The tests of this rule name documents that are not there.
    let tests = tests.filter(|path| !path.ends_with("tidy/citations.rs"));
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    let markdown: Vec<PathBuf> = markdown.into_iter().chain(top).collect();
    let mut wrong = Vec::new();
    for path in source.into_iter().chain(tests).chain(markdown.clone()) {
        let cited = citations::unfounded(root(), &read(&path)).into_iter();
        wrong.extend(cited.map(|cited| format!("{} cites {cited}", relative(&path))));
    }
    for path in &markdown {
        let dead = citations::dead_links(root(), Path::new(&relative(path))).into_iter();
        wrong.extend(dead.map(|target| format!("{} links to {target}", relative(path))));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn recipes_and_configs_are_toml() {
    let recipes = files("pipelines", "toml");
    assert!(!recipes.is_empty(), "no recipe under pipelines/");
    for path in recipes.into_iter().chain(files("configs", "toml")) {
        let parsed = read(&path).parse::<toml::Table>();
        if let Err(error) = parsed {
            panic!("{}: {error}", relative(&path));
        }
    }
}
