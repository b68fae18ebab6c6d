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
    // What a file asks is known once it is read.
    directory.write("blank.jsonl", "{\"context\":\"a\",\"choices\":[\"\",\"c\"],\"gold\":0}\n");
    let blank = eval(&directory, "model --tasks blank.jsonl");
    assert!(blank.status == 1 && blank.stderr.contains("an empty text"), "{}", blank.stderr);
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

/// A model of some thousand parameters, evaluated at its fourth and its last step.
const EVALUATED: &str = r#"
[model]
d_model = 32
n_layer = 1
n_head = 2
n_kv_head = 1
d_ff = 48
[train]
steps = 8
sequence = 64
micro_batch = 4
batch_tokens = 256
warmup_steps = 2
checkpoint_every = 8
sample_tokens = 4
milestones = [4]
[train.evals]
tasks = ["piqa", "arc_easy"]
evals = "evals"
limit = 5
"#;

#[test]
fn a_run_is_evaluated_at_its_milestones_and_is_the_same_run() {
    let directory = with_evals();
    directory.copy(&set("2"), "kept");
    directory.write("evaluated.toml", EVALUATED);
    let train = |config: &str, more: &str| {
        directory.dataprep(&format!("train --data kept/mix --config {config} {more} --json"))
    };
    // Stopped between the milestones, then to its end.
    train("evaluated.toml", "--out run --stop-after 6").ok();
    let summary = train("evaluated.toml", "--out run").ok().summary();
    let milestones = summary["milestones"].as_array().unwrap();
    let steps: Vec<&Value> = milestones.iter().map(|milestone| &milestone["step"]).collect();
    assert_eq!(steps, [4, 8]);
    let task = &milestones[1]["tasks"][1];
    assert_eq!((&task["task"], &task["metric"]), (&"arc_easy".into(), &"acc_norm".into()));
    // It is what `eval` finds up to date.
    let command = "run/checkpoints/step-000004 --tasks piqa,arc_easy --evals evals --limit 5";
    let again = eval(&directory, &format!("{command} --json")).ok();
    assert_eq!(again.summary()["up_to_date"], true);
    assert_eq!(milestones[0]["out"].as_str().unwrap(), out(&again));
    // Without evaluations the run has the same bytes; they may be asked for afterwards.
    let plain = EVALUATED.split("[train.evals]").next().unwrap();
    directory.write("plain.toml", plain);
    assert!(train("plain.toml", "--out other").ok().summary().get("milestones").is_none());
    assert_eq!(directory.tree("run"), directory.tree("other"));
    let later = train("evaluated.toml", "--out other").ok().summary();
    assert_eq!(
        (&later["up_to_date"], &later["milestones"][1]["tasks"]),
        (&true.into(), &milestones[1]["tasks"])
    );
    // What trains no run evaluates none.
    let look = "train --data kept/mix --config evaluated.toml --find-lr";
    directory.dataprep(look).ok();
    for (change, says) in [
        ("tasks = [\"piqua\"]\nevals = \"evals\"", "piqua"),
        ("tasks = [\"piqa\"]\nevals = \"nowhere\"", "nowhere"),
        ("tasks = [\"piqa\"]\nevils = \"evals\"", "evils"),
    ] {
        directory.write("wrong.toml", format!("{plain}\n[train.evals]\n{change}"));
        let refused = train("wrong.toml", "--out third");
        assert_eq!(refused.status, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        assert!(!directory.path("third").exists());
    }
}

#[test]
fn a_model_shows_what_it_makes_of_a_text() {
    let directory = with_evals();
    let look = |more: &str| directory.dataprep(&format!("inspect model {more}"));
    let seen = look("--prompt The --html look.html --json").ok().summary();
    let tokens = seen["tokens"].as_array().unwrap().len();
    assert!(tokens > 1, "{seen}");
    let layers = seen["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    assert_eq!(layers[1]["norms"].as_array().unwrap().len(), tokens);
    assert_eq!(layers[1]["lens"][0].as_array().unwrap().len(), 5);
    // The loss is that of an evaluation.
    directory.write_documents("text.jsonl", &["The".to_owned()]);
    let scores = eval(&directory, "model --on mine=text.jsonl --out scored --json").ok().summary();
    let expected = scores["texts"][0]["bits_per_byte"]["value"].as_f64().unwrap();
    assert!((seen["bits_per_byte"].as_f64().unwrap() - expected).abs() < 1e-4);
    let page = directory.read("look.html");
    assert_eq!(page.matches("<canvas").count(), 2);
    let screen = look("--prompt The").ok().stdout;
    assert!(screen.contains("bits a byte") && screen.contains('{'), "{screen}");
    let long = "word ".repeat(300);
    let output = directory.command("inspect model --prompt").arg(long).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_model_ranks_documents_by_their_loss() {
    let directory = with_evals();
    let words = "The cell is the unit of all life that we know, and of all its parts. ";
    let noise = "zq#9 ~~|| xkcd%% 0x7f \u{1F600} §§ ¶¶ ÿÿ ŋŋ ðð þþ ħħ ĸĸ ªª ºº ¬¬ ¦¦ ¤¤ ¥¥";
    let texts = [words.repeat(2), noise.to_owned(), words.repeat(3), "short".to_owned()];
    directory.write_documents("a.jsonl", &texts);
    let report = directory.dataprep("inspect model --on mine=a.jsonl --json").ok().summary();
    let source = &report["sources"][0];
    assert_eq!((&source["source"], &source["documents"]), (&"mine".into(), &4.into()));
    let (highest, lowest) = (&source["highest"], &source["lowest"]);
    assert_eq!((highest.as_array().unwrap().len(), lowest.as_array().unwrap().len()), (3, 3));
    let bits = |list: &Value, at: usize| list[at]["bits_per_byte"].as_f64().unwrap();
    assert!(bits(highest, 0) >= bits(highest, 1) && bits(lowest, 0) <= bits(lowest, 1));
    assert_eq!(highest[0]["document"], lowest[2]["document"]);
    // The tokenizer of a model is still looked at where it is named.
    let fit = directory.dataprep("inspect model/tokenizer.json --on mine=a.jsonl").ok().stdout;
    assert!(fit.contains("tokens"), "{fit}");
}
