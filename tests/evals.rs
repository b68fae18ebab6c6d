//! Evaluations as people meet them: what is printed, what lies there, what is refused.

use serde_json::Value;

use crate::kept::set;
use crate::support::{Run, TestDir, project};

/// A directory with the fixture's model and evaluation files.
fn with_evals() -> TestDir {
    let directory = TestDir::new();
    directory.copy(&project().join("fixtures/evals"), "evals");
    directory.copy(&project().join("fixtures/evals/model"), "model");
    directory
}

fn eval(directory: &TestDir, more: &str) -> Run {
    directory.dataprep(&format!("eval {more}"))
}

fn out(run: &Run) -> String {
    run.summary()["out"].as_str().unwrap().to_owned()
}

#[test]
fn an_evaluation_lies_beside_the_model_and_is_made_once() {
    let directory = with_evals();
    let command = "model --tasks piqa,arc_easy --evals evals --json";
    let first = eval(&directory, command).ok();
    let place = out(&first);
    assert!(place.starts_with("model.evals/model@"), "{place}");
    let tasks = first.summary()["tasks"].as_array().unwrap().clone();
    let names: Vec<&Value> = tasks.iter().map(|task| &task["task"]).collect();
    assert_eq!(names, ["piqa", "arc_easy"]);
    assert_eq!((&tasks[0]["items"], &tasks[0]["random"]), (&12.into(), &0.5.into()));
    let again = eval(&directory, &format!("{command} --threads 1")).ok();
    assert_eq!((again.summary()["up_to_date"].clone(), out(&again)), (true.into(), place.clone()));
    // Other tasks are another evaluation, beside the first.
    let other = eval(&directory, "model --tasks winogrande --evals evals --json").ok();
    assert_ne!(out(&other), place);
    assert!(directory.path(&place).join("scores.json").is_file());
    let shown = directory.dataprep(&format!("inspect {place}")).ok().stdout;
    assert!(shown.contains("arc_easy") && shown.contains("acc_norm"), "{shown}");
    directory.dataprep(&format!("verify {place}")).ok();
    // A file that the evaluation was made from is no longer what it was.
    let path = "evals/piqa/valid.jsonl";
    directory.write(path, directory.read(path).replacen("the", "tha", 1));
    assert_eq!(directory.dataprep(&format!("verify {place}")).status, 1);
}

#[test]
fn equal_evaluations_have_equal_bytes_whatever_the_threads_and_batches() {
    let directory = with_evals();
    directory.write_documents("text.jsonl", &["A text that is scored. ".repeat(40)]);
    let command = "model --tasks hellaswag,lambada_openai --evals evals --on mine=text.jsonl";
    eval(&directory, &format!("{command} --out one --threads 1 --set batch_tokens=1")).ok();
    eval(&directory, &format!("{command} --out two --threads 3 --set batch_tokens=4000")).ok();
    assert_eq!(directory.tree("one"), directory.tree("two"));
}

#[test]
fn two_models_are_compared_item_by_item() {
    let directory = with_evals();
    directory.copy(&directory.path("model"), "other");
    // Another norm in the same model: other scores on the same items.
    let config = directory.read("other/config.json");
    let changed = config.replace("\"rms_norm_eps\": 0.00001", "\"rms_norm_eps\": 0.5");
    assert_ne!(changed, config);
    directory.write("other/config.json", changed);
    let tasks = "--tasks arc_easy,lambada_openai --evals evals";
    let run = eval(&directory, &format!("model {tasks} --against other --json")).ok();
    let records: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&Value> = records.iter().map(|record| &record["type"]).collect();
    assert_eq!(kinds, ["evaluation", "evaluation", "summary"]);
    let task = &records[2]["tasks"][0];
    assert_eq!((&task["task"], &task["items"]), (&"arc_easy".into(), &12.into()));
    let bits = &task["bits_per_byte"];
    let number = |key: &str| bits[key].as_f64().unwrap();
    assert_ne!(number("this"), number("other"));
    assert!(number("low") <= number("difference") && number("difference") <= number("high"));
    // Two finished evaluations alone say the same.
    let place = |record: &Value| record["out"].as_str().unwrap().to_owned();
    let (this, other) = (place(&records[0]), place(&records[1]));
    let again = eval(&directory, &format!("{this} --against {other} --json")).ok();
    assert_eq!(again.summary()["tasks"], records[2]["tasks"]);
    let text = eval(&directory, &format!("{this} --against {other}")).ok().stdout;
    assert!(text.contains("bits/byte") && text.contains("gained"), "{text}");
}

#[test]
fn an_export_scores_as_the_run_that_it_was_made_of() {
    let directory = with_evals();
    directory.copy(&set("2"), "kept");
    directory.dataprep("export kept/run --out exported").ok();
    let scores = |model: &str, out: &str| {
        eval(&directory, &format!("{model} --evals evals --tasks piqa --limit 5 --out {out}")).ok();
        let text = directory.read(&format!("{out}/scores.json"));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["tasks"].clone()
    };
    assert_eq!(scores("exported", "a"), scores("kept/run", "b"));
}

#[test]
fn what_cannot_be_evaluated_is_refused_before_any_work() {
    let directory = with_evals();
    directory.write("empty/readme.txt", "nothing");
    for (more, parts) in [
        ("model", &["nothing to evaluate on", "--tasks"][..]),
        ("model --tasks hellaswg --evals evals", &["no task `hellaswg`", "`hellaswag`"]),
        ("model --tasks hellaswag", &["found none of hellaswag/", "--evals DIR"]),
        ("model --tasks boolq --evals evals", &["found none of boolq/", "`evals`"]),
        ("empty --tasks piqa --evals evals", &["`empty` is no model"]),
        ("model --tasks piqa --evals evals --shots 3 --set shot=1", &["unknown key `shot`"]),
        ("model --tasks piqa --evals evals --set length=999", &["more than the 256 tokens"]),
        ("model --tasks piqa --evals evals --set stride=300", &["more than the 256 tokens"]),
        ("model --tasks evals/piqa/valid-labels.lst", &["neither items nor requests"]),
    ] {
        let run = eval(&directory, more);
        assert_eq!(run.status, 2, "{more}: {}", run.stderr);
        for part in parts {
            assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
        }
    }
    assert!(!directory.path("model.evals").exists());
    let few = eval(&directory, "model --tasks piqa --evals evals --memory 1MiB");
    assert!(few.status != 0 && few.stderr.contains("memory"), "{}", few.stderr);
}

#[test]
fn damage_names_the_file_and_nothing_is_published() {
    let directory = with_evals();
    let path = "evals/piqa/valid.jsonl";
    directory.write(path, directory.read(path).replacen("{\"goal\"", "{\"goal", 1));
    let run = eval(&directory, "model --tasks winogrande,piqa --evals evals --out scores");
    assert_eq!(run.status, 1, "{}", run.stderr);
    assert!(run.stderr.contains("valid.jsonl` at byte 0"), "{}", run.stderr);
    assert!(!directory.path("scores").exists());
    directory.write("evals/winogrande/winogrande_xl_dev.jsonl", "{\"sentence\": \"a _ b\"}\n");
    let run = eval(&directory, "model --tasks winogrande --evals evals --out other");
    assert_eq!(run.status, 1);
    assert!(run.stderr.contains("task `winogrande`, item 0"), "{}", run.stderr);
    assert!(run.stderr.contains("field `option1` is missing"), "{}", run.stderr);
}
