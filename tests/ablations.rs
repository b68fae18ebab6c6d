//! Ablations as people meet them: refused where they could prove nothing, shared, resumed, judged.

use serde_json::{Value, json};

use crate::{
    determinism::{recipe_with_training, with_recipe},
    support::{Run, TestDir},
};

/// A baseline and three changes of one thing each, one of them on top of another.
const PLAN: &str = r#"
recipe = "recipe.toml"
out = "ablation"
seeds = [0, 1]
tokens = "4k"
price_per_hour = 36.0
[[variant]]
name = "exact"
set = { "unique.method" = "exact" }
[[variant]]
name = "raw"
from = "exact"
skip = ["clean"]
[[variant]]
name = "rate"
each = { "model.train.learning_rate" = [0.0001, 0.02] }
"#;

fn with_plan(plan: &str) -> TestDir {
    let directory = with_recipe(&recipe_with_training());
    directory.write("ablation.toml", plan);
    directory
}

fn summary(run: &Run) -> Value {
    run.summary()
}

/// Steps that a run of the plan has made, and those that it found up to date.
fn steps(run: &Run) -> (usize, usize) {
    let records = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let steps: Vec<Value> = records.filter(|record| record["type"] == "step").collect();
    let standing = steps.iter().filter(|step| step["up_to_date"] == true).count();
    (steps.len() - standing, standing)
}

#[test]
fn variants_share_what_they_have_in_common_and_each_gets_a_verdict() {
    let directory = with_plan(PLAN);
    let planned = directory.dataprep("ablate --dry-run --json").ok();
    assert_eq!(summary(&planned)["runs"], 10, "{}", planned.stdout);
    assert!(!directory.path("ablation").exists());
    directory.dataprep("ablate --data -q").ok();
    assert!(!directory.path("ablation/runs").exists());
    // With what they read at hand a few steps are timed: ten runs of 7 steps of 512 tokens.
    let timed = summary(&directory.dataprep("ablate --dry-run --json").ok());
    assert_eq!(timed["tokens"], 10 * 7 * 512, "{timed}");
    assert!(timed["seconds"].as_f64() > Some(0.0), "{timed}");
    // One trial, as a scheduler would, then all: its steps are there.
    directory.dataprep("ablate --only exact.s1 -q").ok();
    let run = directory.dataprep("ablate --json").ok();
    // The corpus is one; clean, unique, tokens and mix are those of three recipes.
    let (made, standing) = steps(&run);
    assert_eq!((made, standing), (9, 1 + 1 + 3 + 3 + 3 + 1), "{}", run.stdout);
    let found = summary(&run);
    let variants = found["variants"].as_array().unwrap();
    let names: Vec<&Value> = variants.iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["baseline", "exact", "raw", "rate-0.0001", "rate-0.02"]);
    assert!(variants[1]["change"].as_str().unwrap().starts_with("only unique.method"), "{found}");
    assert!(variants[2]["change"].as_str().unwrap().contains("without the step clean"), "{found}");
    assert_eq!((&variants[2]["from"], &variants[3]["from"]), (&json!(1), &json!(0)));
    for variant in &variants[1..] {
        assert_eq!(variant["verdict"]["seeds"], json!([2, 2]), "{variant}");
        assert_eq!(variant["runs"].as_array().unwrap().len(), 2);
        assert!(variant["documents"].as_u64().unwrap() > 0 && variant["cost"].as_f64().is_some());
        assert_eq!(variant["tokens"], 3584);
    }
    let (tree, results) =
        (directory.read("ablation/ablation.svg"), directory.read("ablation/ablation.json"));
    assert!(tree.contains("rate-0.02 · ") && tree.contains("bits per byte"), "{tree}");
    assert_eq!(serde_json::from_str::<Value>(&results).unwrap()["variants"], found["variants"]);
    // Again: nothing to do. Another plan, and back: nothing is lost.
    assert_eq!(steps(&directory.dataprep("ablate --json").ok()).0, 0);
    directory.write("ablation.toml", PLAN.replace("tokens = \"4k\"", "tokens = \"2k\""));
    assert_eq!(steps(&directory.dataprep("ablate --json").ok()).0, 10);
    directory.write("ablation.toml", PLAN);
    let again = directory.dataprep("ablate --json").ok();
    assert_eq!(steps(&again).0, 0);
    assert_eq!(summary(&again)["variants"][1]["verdict"], found["variants"][1]["verdict"]);
    // Text that was another for a while: what was made of it comes back, and no run is foreseen.
    let text = directory.read("text/b.jsonl");
    let longer = format!("{text}{}\n", json!({"text": "One more document, of a few words."}));
    directory.write("text/b.jsonl", longer);
    directory.dataprep("ablate --data -q").ok();
    directory.write("text/b.jsonl", text);
    let foreseen = summary(&directory.dataprep("ablate --dry-run --json").ok());
    assert_eq!((&foreseen["runs"], &foreseen["not_known"]), (&json!(0), &json!(10)), "{foreseen}");
    assert_eq!(steps(&directory.dataprep("ablate --json").ok()).0, 0);
    let listed = directory.dataprep("ablate --list").ok().stdout;
    assert_eq!(listed.lines().count(), 11);
    assert!(listed.contains("dataprep ablate ablation.toml --only rate-0.02.s1\n"), "{listed}");
}

#[test]
fn what_a_step_reads_is_one_change_and_a_list_of_them_a_sweep() {
    let directory = with_recipe(&recipe_with_training());
    directory.write(
        "plans/ablation.toml",
        r#"
recipe = "../recipe.toml"
out = "ablation"
tokens = "2k"
set = { "mix.eval_tokens" = 2000 }
[[variant]]
name = "mixture"
each = { "mix.in" = [
    ["a=tokens#a:0.5", "b=tokens#b:0.5"], ["a=tokens#a:0.9", "b=tokens#b:0.1"]] }
[[variant]]
name = "one-source"
set = { "corpus.in" = ["a=../text/a/000.jsonl", "b=../text/b.jsonl"] }
"#,
    );
    let found = summary(&directory.dataprep("ablate plans/ablation.toml --json").ok());
    let said = |at: usize| {
        let variant = &found["variants"][at];
        (variant["name"].as_str().unwrap(), variant["change"].as_str().unwrap())
    };
    let mixture = |rest: &str| format!("only mix: {rest}; everything else identical");
    assert_eq!(said(1), ("mixture-1", &*mixture("a 70.0% → 50.0%, b 30.0% → 50.0%")));
    assert_eq!(said(2), ("mixture-2", &*mixture("a 70.0% → 90.0%, b 30.0% → 10.0%")));
    assert_eq!(said(3).0, "one-source");
    assert!(said(3).1.starts_with("only corpus without a/001.jsonl"), "{found}");
    // Where a source is left out other texts validate, and the figure says so.
    let table = directory.dataprep("ablate plans/ablation.toml").ok().stdout;
    let over_others = |name: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(name));
        line.is_some_and(|line| line.contains("over other texts"))
    };
    assert!(over_others("one-source  ") && !over_others("mixture-1  "), "{table}");
    // Typed, a path is relative to where it is typed.
    directory.write("sub/recipe.toml", recipe_with_training());
    directory.dataprep("run sub/recipe.toml --dry-run --set corpus.in=text/b.jsonl").ok();
    let refused = directory.dataprep("run recipe.toml --set mix.in=3");
    assert!(refused.status == 2 && refused.stderr.contains("list of texts"), "{}", refused.stderr);
}

#[test]
fn a_plan_that_can_prove_nothing_is_refused_before_any_work() {
    for (from, to, said) in [
        (
            "set = { \"unique.method\" = \"exact\" }",
            "set = { \"unique.method\" = \"exact\", \"unique.ngram\" = 3 }",
            "variant `exact`: it changes 2 things: unique.method=\"exact\", unique.ngram=3",
        ),
        ("\"unique.method\" = \"exact\"", "\"unique.metod\" = \"exact\"", "unknown key `metod`"),
        ("\"unique.method\" = \"exact\"", "\"uniqe.method\" = \"exact\"", "names no step"),
        ("from = \"exact\"", "from = \"exactly\"", "there is no earlier variant `exactly`"),
        ("skip = [\"clean\"]", "skip = [\"tokens\"]", "`tokens` cannot be left out"),
        ("skip = [\"clean\"]", "skip = [\"clear\"]", "there is no step `clear`"),
        ("tokens = \"4k\"", "tokens = 100", "100 tokens are less than a step's 512"),
        ("seeds = [0, 1]", "seeds = []", "has no seed"),
        ("set = { \"unique.method\" = \"exact\" }", "", "variant `exact`: it changes nothing"),
        ("name = \"rate\"", "name = \"exact\"\nset = {}", "two things"),
        ("[0.0001, 0.02]", "0.02", "`each` wants a list"),
        ("\"unique.method\" = \"exact\"", "\"mix.tokens\" = \"24k\"", "it changes nothing"),
        ("price_per_hour", "price_per_our", "unknown key `price_per_our`"),
    ] {
        let plan = PLAN.replace(from, to);
        assert_ne!(plan, PLAN, "{from}");
        let plan = plan.replace("name = \"exact\"\nset = {}", "name = \"a b\"");
        let said = if said == "two things" { "`a b` is no name" } else { said };
        let directory = with_plan(&plan);
        let refused = directory.dataprep("ablate");
        assert_eq!(refused.status, 2, "{said}: {}{}", refused.stdout, refused.stderr);
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
        assert!(!directory.path("ablation").exists(), "{said}: something ran");
    }
    // Told so, two changes are run.
    let told = PLAN.replace(
        "set = { \"unique.method\" = \"exact\" }",
        "set = { \"unique.verify\" = 0.7, \"unique.ngram\" = 3 }\nseveral = true",
    );
    with_plan(&told).dataprep("ablate --dry-run").ok();
}
