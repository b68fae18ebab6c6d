//! SQL over what a pipeline wrote.

use serde_json::{Value, json};

use crate::{
    determinism::{RECIPE, with_recipe},
    support::{TestDir, project},
};

/// The outputs of a recipe, with a run that an earlier build has trained beside them.
fn with_outputs() -> TestDir {
    let directory = with_recipe(RECIPE);
    directory.dataprep("run recipe.toml -q").ok();
    directory.copy(&project().join("fixtures/formats/3/run"), "runs/model");
    directory
}

/// The rows that a query gives, as objects.
#[track_caller]
fn rows(directory: &TestDir, sql: &str) -> Vec<Value> {
    let mut command = directory.command("query --in runs --json");
    let output = command.arg(sql).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{sql}: {text}");
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["type"] == "row").map(|row| row["values"].clone()).collect()
}

#[track_caller]
fn figure(directory: &TestDir, sql: &str) -> Value {
    let rows = rows(directory, sql);
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows[0].as_object().unwrap().values().next().unwrap().clone()
}

fn manifest(directory: &TestDir, output: &str) -> Value {
    serde_json::from_str(&directory.read(&format!("runs/{output}/manifest.json"))).unwrap()
}

#[test]
fn tables_say_what_manifests_say() {
    let directory = with_outputs();
    let count = |sql: &str| figure(&directory, sql);
    for output in ["corpus", "clean", "unique"] {
        let counts = &manifest(&directory, output)["counts"];
        assert_eq!(count(&format!("SELECT count(*) FROM {output}")), counts["out"], "{output}");
        for (reason, dropped) in counts["dropped"].as_object().unwrap() {
            let sql = format!("SELECT count(*) FROM '{output}#removed' WHERE reason = '{reason}'");
            assert_eq!(count(&sql), *dropped, "{output}: {reason}");
        }
    }
    let shards = &manifest(&directory, "tokens")["counts"]["sources"];
    let by_source = "SELECT source, count(*) AS documents, sum(tokens) AS tokens FROM tokens GROUP \
                     BY source ORDER BY source";
    for row in rows(&directory, by_source) {
        let counts = &shards[row["source"].as_str().unwrap()];
        assert_eq!((&row["documents"], &row["tokens"]), (&counts["out"], &counts["tokens"]));
    }
    let mix: Value = serde_json::from_str(&directory.read("runs/mix/mix.json")).unwrap();
    let held_out = mix["sources"][0]["validation_documents"].clone();
    assert_eq!(count("SELECT count(*) FROM mix WHERE source = 'a'"), held_out);
    // Documents that are kept and those that are not, joined by what dropped them.
    let sql = "SELECT count(*) FROM corpus WHERE id NOT IN (SELECT id FROM clean)";
    let counts = manifest(&directory, "clean")["counts"].clone();
    let gone = counts["in"].as_u64().unwrap() - counts["out"].as_u64().unwrap();
    assert_eq!(count(sql), gone);
}

#[test]
fn runs_their_metrics_and_evaluations_are_tables() {
    let directory = with_outputs();
    let metrics = directory.read("runs/model/metrics.jsonl");
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    let found = rows(&directory, "SELECT step, tokens, loss FROM model ORDER BY step DESC LIMIT 1");
    for key in ["step", "tokens", "loss"] {
        assert_eq!(found[0][key], last[key], "{key}");
    }
    assert_eq!(rows(&directory, "SELECT * FROM model LIMIT 1").len(), 1);
    let evals = figure(&directory, "SELECT count(*) FROM 'model#evals'");
    let lines = directory.read("runs/model/evals.jsonl").lines().count();
    assert_eq!(evals, lines);
    let runs = rows(&directory, "SELECT name, tokens FROM '.'");
    assert_eq!(runs, [json!({"name": "model", "tokens": last["tokens"]})]);
}

#[test]
fn a_query_prints_a_table_or_csv_and_lists_what_there_is() {
    let directory = with_outputs();
    let run = |arguments: &str, sql: &str| {
        let output = directory.command(arguments).arg(sql).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let sql = "SELECT 'a,b' AS x, count(*) AS n FROM 'runs/clean'";
    let out = manifest(&directory, "clean")["counts"]["out"].clone();
    assert_eq!(run("query --csv", sql), (Some(0), format!("x,n\n\"a,b\",{out}\n")));
    let (_, table) = run("query", sql);
    assert!(table.lines().count() == 2 && table.contains("a,b"), "{table}");
    let tables = directory.dataprep("query --tables --in runs").ok().stdout;
    for expected in ["'clean#removed': id text", "'tokens': document text, source text, tokens bi"]
    {
        assert!(tables.contains(expected), "{expected}: {tables}");
    }
    for (sql, why) in [
        ("SELECT * FROM 'runs/cleen'", "was not found"),
        ("SELECT nothing FROM 'runs/clean'", "nothing"),
        ("SELEC 1", "the query"),
        ("delete FROM 'runs/clean'", "`delete` changes tables"),
    ] {
        let (status, said) = run("query", sql);
        assert!(status == Some(2) && said.contains(why), "{sql}: {said}");
    }
}
