//! Recipes: checked whole before any work, and dry runs that say what the run would do.

use crate::support::{Run, TestDir, documents};

/// Four steps over one folder of text; `{}` stands for more keys of the last.
const RECIPE: &str = r#"
out = "runs"
[[step]]
name = "clean"
stage = "filter"
in = ["text"]
set = { rules = ["gopher_quality"] }
[[step]]
name = "unique"
stage = "dedup"
in = ["clean"]
[[step]]
name = "tokens"
stage = "tokenize"
in = ["unique"]
set = { vocab = 300, holdout = 0.005 }
[[step]]
name = "mix"
stage = "mix"
in = ["all=tokens:1"]
set = { tokens = "all" }
"#;

fn project(recipe: &str) -> TestDir {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(40, 1));
    directory.write("dataprep.toml", recipe);
    directory
}

fn fails(run: &Run, what: &str) {
    assert_eq!(run.status, 2, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(what), "{}", run.stderr);
}

/// The steps that a dry run says will run.
fn will_run(directory: &TestDir, arguments: &str) -> Vec<String> {
    let run = directory.dataprep(&format!("run --dry-run --json {arguments}")).ok();
    let names = run.summary()["will_run"].clone();
    serde_json::from_value(names).unwrap()
}

#[test]
fn what_is_wrong_with_any_step_is_said_before_the_first_runs() {
    for (from, to, message) in [
        ("tokens = \"all\"", "tokns = \"2M\"", "step `mix`: unknown key `tokns`"),
        ("tokens = \"all\"", "tokens = \"many\"", "step `mix`"),
        ("all=tokens:1", "all=tokens", "has no weight"),
        ("all=tokens:1", "all=unique:1", "reads token shards there, but `unique` (dedup)"),
        ("vocab = 300", "vocab = 3", "step `tokens`"),
        (
            "vocab = 300",
            "vocab = 300, tokenizer = \"clean\"",
            "but `clean` (filter) makes a corpus",
        ),
        ("vocab = 300", "tokenizer = 7", "`tokenizer` is no path"),
        ("vocab = 300", "tokenizer = \"nowhere\"", "there is nothing at `nowhere`"),
        ("vocab = 300", "vocab = \"300,400\"", "`vocab` lists several"),
        ("in = [\"clean\"]", "in = [\"claen\"]", "there is nothing at `claen`"),
        ("in = [\"clean\"]", "in = [\"clean\"]\nset = { verify = 7.0 }", "step `unique`"),
        ("gopher_quality", "gopher_qualty", "step `clean`"),
        ("[\"gopher_quality\"]", "[\"gopher_quality\"], holdout = 2.0", "step `clean`"),
    ] {
        assert!(RECIPE.contains(from), "{from}");
        let directory = project(&RECIPE.replace(from, to));
        fails(&directory.dataprep("run"), message);
        fails(&directory.dataprep("run --dry-run"), message);
        assert!(!directory.path("runs").exists(), "{to}: something ran");
    }
    let directory = project(RECIPE);
    fails(&directory.dataprep("run --set mix.tokns=2M"), "unknown key `tokns`");
    fails(&directory.dataprep("run --set mxi.tokens=2M"), "names no step");
    assert!(!directory.path("runs").exists());
}

#[test]
fn an_input_that_nobody_makes_is_named_before_the_work() {
    let directory = project(&RECIPE.replace("in = [\"text\"]", "in = [\"txet\"]"));
    fails(&directory.dataprep("run"), "step `clean`: there is nothing at `txet`");
    fails(&directory.dataprep("run --dry-run"), "there is nothing at `txet`");
    let directory = project(RECIPE);
    let run = directory.dataprep("dedup");
    fails(&run, "there is nothing at `runs/clean`");
    assert!(run.stderr.contains("`clean` makes it: run that step first"), "{}", run.stderr);
    fails(&directory.dataprep("run --from unique"), "run that step first");
}

#[test]
fn a_dry_run_resolves_the_chain_as_the_run_does() {
    let directory = project(RECIPE);
    let all = ["clean", "unique", "tokens", "mix"];
    assert_eq!(will_run(&directory, ""), all);
    assert!(!directory.path("runs").exists());
    directory.dataprep("run").ok();
    assert!(will_run(&directory, "").is_empty());
    assert_eq!(will_run(&directory, "--set tokens.vocab=310"), ["tokens", "mix"]);
    assert_eq!(will_run(&directory, "--set clean.gopher_quality.min_words=9"), all);
    assert_eq!(will_run(&directory, "--set mix.seed=3"), ["mix"]);
    assert_eq!(will_run(&directory, "--fresh"), all);
    let run = directory.dataprep("run --dry-run --set tokens.vocab=310").ok();
    assert!(run.stdout.contains("will run after tokens"), "{}", run.stdout);
    std::fs::remove_dir_all(directory.path("runs/unique")).unwrap();
    assert_eq!(will_run(&directory, ""), ["unique", "tokens", "mix"]);
}

#[test]
fn a_key_on_the_command_line_replaces_its_rival_in_the_recipe() {
    let directory = project(RECIPE);
    directory.dataprep("run --set clean.preset=gopher").ok();
    let tokenizer = directory.path("runs/tokens/tokenizer");
    let set = format!("--set tokens.tokenizer={}", tokenizer.display());
    directory.dataprep(&format!("run --out other {set}")).ok();
    assert!(directory.path("other/mix/manifest.json").is_file());
}

#[test]
fn a_path_with_an_equals_sign_is_a_path_in_a_recipe_too() {
    let directory = project(&RECIPE.replace("in = [\"text\"]", "in = [\"data/date=2024\"]"));
    directory.write_documents("data/date=2024/a.jsonl", &documents(40, 1));
    assert_eq!(will_run(&directory, "").len(), 4);
    directory.dataprep("run").ok();
}

#[test]
fn warnings_are_said_when_a_step_runs_and_not_each_time_it_is_found_up_to_date() {
    let directory = project(RECIPE);
    directory.write("text/notes.txt", "not of a known format");
    let first = directory.dataprep("run").ok();
    assert!(first.stderr.contains("clean: "), "{}", first.stderr);
    let second = directory.dataprep("run").ok();
    assert_eq!(second.stderr, "");
}
