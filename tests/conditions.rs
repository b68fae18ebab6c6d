//! `--where` on every command that reads text.

use serde_json::{Value, json};

use crate::support::{TestDir, documents};

/// A thousand documents: `score` 0 to 4, for every tenth null, for every eleventh missing.
fn scored(directory: &TestDir) {
    let line = |(index, text): (usize, &String)| {
        let mut document = json!({"id": format!("d{index}"), "text": text, "url": "http://a.org"});
        match index {
            _ if index % 10 == 0 => document["score"] = Value::Null,
            _ if index % 11 == 0 => (),
            _ => document["score"] = (index % 5).into(),
        }
        document.to_string() + "\n"
    };
    let texts = documents(1000, 7);
    directory.write("text/a.jsonl", texts.iter().enumerate().map(line).collect::<String>());
}

/// Documents of [`scored`] whose score is at least `least`.
fn expected(least: usize) -> u64 {
    (0..1000).filter(|i| i % 10 != 0 && i % 11 != 0 && i % 5 >= least).count() as u64
}

#[test]
fn every_stage_takes_the_documents_for_which_it_holds() {
    let directory = TestDir::new();
    scored(&directory);
    let high = expected(3);
    for command in [
        "ingest text",
        "filter text",
        "filter text --rules gopher_repetition",
        "filter text --rules gopher_quality --annotate",
        "dedup text --method exact",
        "tokenize text --vocab 300",
        "tokenizer train text --vocab 300",
    ] {
        let run =
            format!("{command} --out out --json --holdout 0 --fresh --where metadata.score>=3");
        let counts = directory.dataprep(&run).ok().summary()["counts"].clone();
        assert_eq!(counts["in"], 1000, "{command}: {counts:#}");
        assert_eq!(counts["dropped"]["where"], 1000 - high, "{command}: {counts:#}");
        std::fs::remove_dir_all(directory.path("out")).unwrap();
    }
    // Null is neither: what is not at least 3 is not all the rest.
    let run = "filter text --out low --json --holdout 0 --where NOT(metadata.score>=3)";
    let low = directory.dataprep(run).ok().summary()["counts"]["out"].as_u64().unwrap();
    assert_eq!(low, expected(0) - high);
}

#[test]
fn what_it_leaves_out_is_listed_in_order_and_a_column_that_is_not_kept_decides_too() {
    let directory = TestDir::new();
    scored(&directory);
    let filter = "filter text --rules gopher_repetition --holdout 0 --where metadata.score>=3";
    directory.dataprep(&format!("{filter} --out all --json")).ok();
    directory.dataprep(&format!("{filter} --out again --json --threads 1")).ok();
    assert_eq!(directory.tree("all"), directory.tree("again"));
    // A corpus without the column: the condition reads it, the output lacks it.
    directory.dataprep("ingest text --out corpus --holdout 0").ok();
    let bare = "ingest corpus --out bare --columns text --where metadata.score>=3 --json";
    assert_eq!(directory.dataprep(bare).ok().summary()["counts"]["out"], expected(3));
    let error = directory.dataprep("inspect bare --where metadata.score>=3");
    assert_eq!(error.status, 2, "the column is gone: {}", error.stdout);
    // Every document of a batch is left out: nothing is left, and nothing is lost.
    let none = "tokenizer train text --vocab 300 --out none --where metadata.score>9 --json";
    let none = directory.dataprep(none);
    assert_ne!(none.status, 0, "a vocabulary of nothing: {}", none.stdout);
    let none = "filter text --rules gopher_quality --out nothing --where metadata.score>9 --json";
    let run = directory.dataprep(none).ok();
    assert!(run.stderr.contains("`where` takes no document of source `text`"), "{}", run.stderr);
    let counts = run.summary()["counts"].clone();
    // Held-out documents stay, with a verdict, and nothing else.
    let judged = counts["sources"]["text"]["held_out_verdicts"]["where"].as_u64().unwrap();
    let expected = (&json!(judged), &json!(1000 - judged));
    assert_eq!((&counts["out"], &counts["dropped"]["where"]), expected);
}

#[test]
fn inspect_counts_and_shows_what_it_takes() {
    let directory = TestDir::new();
    scored(&directory);
    let report = directory.dataprep("inspect text --where metadata.score=4 --json").ok().summary();
    assert_eq!(report["sources"]["text"]["taken"], expected(4), "{report:#}");
    assert_eq!(report["sources"]["text"]["documents"], 1000);
    let ids = report["first"].as_array().unwrap().iter().map(|document| &document["id"]);
    assert_eq!(ids.collect::<Vec<_>>(), ["d4", "d9", "d14", "d19", "d24"]);
    let shown = directory.dataprep("inspect text --where metadata.score=4").ok().stdout;
    assert!(shown.contains("d24"), "{shown}");
}

#[test]
fn mistakes_are_named_before_any_work() {
    let directory = TestDir::new();
    scored(&directory);
    for (condition, expected) in [
        ("metadta.score>3", "did you mean `metadata`?"),
        ("metadata.score>", "metadata.score>"),
        ("id>3", "id"),
        ("metadata.score>3;held_out", "should end before"),
        ("score>3", "`metadata.score`"),
        ("held_out=", "held_out="),
    ] {
        let run = directory.dataprep(&format!("filter text --out x --where {condition}"));
        assert_eq!(run.status, 2, "{condition}\n{}", run.stderr);
        assert!(run.stderr.contains(expected), "{condition}\n{}", run.stderr);
        assert!(!directory.path("x").exists() && !directory.path("x.partial").exists());
    }
    directory.write("named/a.jsonl", "{\"content\":\"words\"}\n");
    let other = "filter named --out x --text-column content --where content='a'";
    let run = directory.dataprep(other);
    assert!(run.status == 2 && run.stderr.contains("called `text` here"), "{}", run.stderr);
}
