//! What a person sees: every screen of `inspect` and `verify` on the kept artifacts, the end of a
//! recipe, and the help of every command.
//!
//! One file a screen under `tests/screens/`. After a wanted change, `INSTA_UPDATE=always cargo test
//! --release --test all screens::` writes them again, and the diff is what a person will notice.

use std::sync::LazyLock;

use regex::Regex;

use crate::{
    determinism::{RECIPE, with_recipe},
    kept::kept,
    support::TestDir,
};

/// Compares a screen with the one that is kept.
fn check(name: &str, screen: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("screens");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, screen));
}

/// What differs from run to run and from machine to machine, as what it is.
fn steady(screen: &str) -> String {
    static CHANGING: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
        [
            (r"\d[\d,.]* (tokens/s)", "N $1"),
            (r"\d+(\.\d+)? s\b", "N s"),
            (r"(peak memory) [\d.]+ [KMGi]+B", "$1 N MiB"),
            (r"\b(dataprep \d+\.\d+\.\d+) \([0-9a-z]+\)", "$1 (COMMIT)"),
        ]
        .map(|(pattern, with)| (Regex::new(pattern).unwrap(), with))
    });
    let mut screen = screen.to_owned();
    for (pattern, with) in CHANGING.iter() {
        screen = pattern.replace_all(&screen, *with).into_owned();
    }
    screen
}

#[test]
fn artifacts_as_inspect_shows_them() {
    let directory = TestDir::new();
    directory.copy(&kept(), "kept");
    let screens = [
        ("inspect-corpus", "inspect kept/corpus"),
        ("inspect-filtered", "inspect kept/filtered"),
        ("inspect-unique", "inspect kept/unique"),
        ("inspect-shards", "inspect kept/tokens"),
        ("inspect-tokenizer", "inspect kept/tokens/tokenizer"),
        ("inspect-tokenizer-on", "inspect kept/tokens/tokenizer --on kept/corpus"),
        ("inspect-mix", "inspect kept/mix"),
        #[cfg(feature = "train")]
        ("inspect-run", "inspect kept/run"),
        ("verify-shards", "verify kept/tokens"),
    ];
    for (name, command) in screens {
        check(name, &directory.dataprep(command).ok().stdout);
    }
    // Conditions have spaces.
    let mut command = directory.command("inspect kept/unique --where");
    let output = command.arg("held_out OR length(text) < 1000").output().unwrap();
    check("inspect-where", &String::from_utf8(output.stdout).unwrap());
}

#[test]
fn the_end_of_a_recipe_and_the_second_run_of_it() {
    let directory = with_recipe(RECIPE);
    check("run", &steady(&directory.dataprep("run recipe.toml").ok().stdout));
    check("run-again", &steady(&directory.dataprep("run recipe.toml").ok().stdout));
    check("run-dry", &steady(&directory.dataprep("run recipe.toml --dry-run").ok().stdout));
}

/// The commands of a default build; the data tools alone lack `train` and `generate`.
#[cfg(all(feature = "train", feature = "serve", not(feature = "query")))]
#[test]
fn the_help_of_every_command() {
    let directory = TestDir::new();
    let help = |command: &str| directory.dataprep(&format!("{command} --help")).ok().stdout;
    let mut open = vec![String::new()];
    while let Some(command) = open.pop() {
        let screen = help(&command);
        let listed = screen.split_once("Commands:\n").map_or("", |(_, rest)| rest);
        let lines = listed.lines().take_while(|line| !line.is_empty());
        let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = names.filter_map(|line| line.split_whitespace().next());
        open.extend(names.map(|name| format!("{command} {name}").trim().to_owned()));
        // What is the same everywhere is kept once, in the first of them.
        let own = screen.split("\nHow to run").next().unwrap_or_default();
        let kept = if command.is_empty() { &screen } else { own };
        let name = format!("help {command}");
        check(&name.trim().replace(' ', "-"), kept);
    }
}
