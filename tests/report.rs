//! Pages of runs, their metrics as CSV, and batches traced to documents, by the command line.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    determinism::{RECIPE, with_recipe},
    support::TestDir,
};

/// A model of some thousand parameters on ten steps.
const SMALL: &str = "--set model.d_model=32 --set model.n_layer=1 --set model.n_head=2 \
    --set model.n_kv_head=1 --set model.d_ff=48 --set train.sequence=64 \
    --set train.micro_batch=4 --set train.batch_tokens=256 --set train.warmup_steps=2 \
    --set train.checkpoint_every=5 --set train.sample_tokens=8 --set train.steps=10 \
    --set train.eval_every=5 --set train.sample_every=5";

fn with_run() -> TestDir {
    let directory = with_recipe(RECIPE);
    directory.dataprep("run recipe.toml -q").ok();
    directory.dataprep(&format!("train --data runs/mix --out runs/model {SMALL} -q")).ok();
    directory
}

#[track_caller]
fn refused(directory: &TestDir, command: &str, why: &str) {
    let run = directory.dataprep(command);
    assert!(run.status == 2 && run.stderr.contains(why), "{command}: {run:?}");
}

/// What every page of ours keeps to.
#[track_caller]
fn assert_whole(page: &str) {
    for foreign in ["src=\"http", "href=\"http", "url(", "@import", "<script src"] {
        assert!(!page.contains(foreign), "the page fetches: {foreign}");
    }
    assert!(page.contains("name=\"viewport\"") && page.contains("prefers-color-scheme: dark"));
    for broken in ["NaN", ">inf<", "Infinity"] {
        let drawn = page.split("<script>").next().unwrap();
        if let Some((before, _)) = drawn.split_once(broken) {
            let line = before.lines().next_back().unwrap_or_default();
            panic!("{broken} is drawn behind {line}");
        }
    }
    for element in ["table", "section", "figure", "svg", "details"] {
        let opened = page.matches(&format!("<{element}")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
}

#[test]
fn a_run_has_a_page_from_training_on() {
    let directory = with_run();
    let page = directory.read("runs/model/report.html");
    assert_whole(&page);
    for part in ["summary", "validation", "loss", "samples", "worst", "data", "mixture", "cost"] {
        assert!(page.contains(&format!("<section id=\"{part}\">")), "{part}");
    }
    // What it was made from as a picture, which texts its bits per byte are of, what it took.
    let picture = page.split("<figure class=\"lineage").nth(1).unwrap();
    let picture = picture.split("</figure>").next().unwrap();
    assert!(picture.contains("unique · dedup") && picture.contains("model · train"), "{picture}");
    let evals: Value =
        serde_json::from_str(directory.read("runs/model/evals.jsonl").lines().last().unwrap())
            .unwrap();
    // A row a layer, a column a step of the ten.
    let norms = page.split("id=\"norms\"").nth(1).unwrap().split("</section>").next().unwrap();
    let cells = 2 * directory.read("runs/model/norms.jsonl").lines().count();
    assert_eq!(norms.matches("class=\"cell\"").count(), cells, "{norms}");
    assert!(page.contains(", over the texts ") && evals["validation"].is_string());
    assert!(page.contains(">of the kept") && page.contains("<dt>peak memory</dt>"));
    let run: Value = serde_json::from_str(&directory.read("runs/model/run.json")).unwrap();
    assert!(run["sessions"][0]["peak_memory"].as_u64() > Some(1 << 20), "{run}");
    // The configuration shows what was set, and not what was left alone.
    let changed = page.split("id=\"configuration\"").nth(1).unwrap();
    let changed = changed.split("<details>").next().unwrap();
    assert!(changed.contains("model.d_ff") && !changed.contains("train.beta1"), "{changed}");
    // The page of `report` is the page of `train`, with a price where one is given.
    directory.dataprep("report runs/model --price-per-hour 2 -q").ok();
    let priced = directory.read("runs/model/report.html");
    assert!(priced.contains("cost so far: $") && !page.contains("cost so far"), "{priced}");
    refused(&directory, "report runs/model --price-per-hour -1", "out of range");
}

#[test]
fn several_runs_share_charts_and_are_called_by_their_one_difference() {
    let directory = with_run();
    let more = "--set train.learning_rate=0.003 -q";
    directory.dataprep(&format!("train --data runs/mix --out runs/faster {SMALL} {more}")).ok();
    let record = directory.dataprep("report runs --json").ok().summary();
    // Below a folder that holds none the runs of the folders in it are meant.
    let whole = directory.dataprep("report . -o all.html --json").ok().summary();
    assert_eq!(whole["runs"], record["runs"], "{whole}");
    assert_eq!((&record["type"], &record["runs"]), (&json!("summary"), &json!(2)));
    let page = directory.read("runs/report.html");
    assert_whole(&page);
    assert!(page.contains("faster: train.learning_rate 0.003"), "{page}");
    // Two runs of one mix are made from the same, and a third began with the first as well.
    let pictures = |page: &str| page.matches("<figure class=\"lineage").count();
    assert_eq!(pictures(&page), 1, "{page}");
    directory
        .dataprep(&format!("train --data runs/mix --out runs/on --init-from runs/model {SMALL} -q"))
        .ok();
    directory.dataprep("report runs -q").ok();
    assert_eq!(pictures(&directory.read("runs/report.html")), 2);
    directory.dataprep("report runs/model --baseline runs/faster -q").ok();
    assert!(directory.read("runs/model/report.html").contains("against faster"));
    directory.write("empty/a.txt", "no run");
    refused(&directory, "report empty", "no run in `empty`");
    // A file that is no page of ours stays.
    directory.write("page.html", "mine");
    assert_ne!(directory.dataprep("report runs/model --out page.html").status, 0);
    assert_eq!(directory.read("page.html"), "mine");
}

#[test]
fn figures_over_other_texts_are_never_subtracted() {
    let directory = with_run();
    directory.dataprep("run recipe.toml --set corpus.holdout=0.3 -q").ok();
    directory.dataprep(&format!("train --data runs/mix --out runs/other {SMALL} -q")).ok();
    directory.dataprep("report runs/other --baseline runs/model -q").ok();
    let page = directory.read("runs/other/report.html");
    assert!(page.contains("over other texts</small>"), "{page}");
    assert!(page.contains("<td>other texts</td>") && !page.contains("against model</small>"));
    // Over the same texts they are.
    directory.dataprep("report runs/other --baseline runs/other -q").ok();
    let page = directory.read("runs/other/report.html");
    assert!(page.contains("against other</small>") && !page.contains("other texts</"), "{page}");
}

#[test]
fn metrics_come_as_csv() {
    let directory = with_run();
    let csv = directory.dataprep("report runs/model --csv").ok().stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 11);
    assert!(lines[0].starts_with("run,step,tokens,loss,learning_rate,gradient_norm,seconds"));
    let commas = lines[0].matches(',').count();
    assert!(lines.iter().all(|line| line.matches(',').count() == commas), "{csv}");
    let metrics = directory.read("runs/model/metrics.jsonl");
    let third: Value = serde_json::from_str(metrics.lines().nth(2).unwrap()).unwrap();
    let cells: Vec<&str> = lines[3].split(',').collect();
    assert_eq!((cells[0], cells[1]), ("model", "3"));
    assert_eq!(cells[3].parse::<f64>().unwrap(), third["loss"].as_f64().unwrap());
}

#[test]
fn a_page_of_a_hundred_thousand_steps_is_small_and_keeps_extremes() {
    let directory = with_run();
    let line = |step: u64| {
        let loss = if step == 77_777 { 19.5 } else { 3.0 + 9.0 / step as f64 };
        let norm = 1.0 + (step % 97) as f64 / 100.0;
        format!(
            "{{\"step\":{step},\"tokens\":{},\"loss\":{loss},\"learning_rate\":0.001,\
             \"gradient_norm\":{norm}}}\n",
            step * 256
        )
    };
    let timing = |step: u64| {
        let rate = 1e4 + (step * 7919 % 1000) as f64;
        format!(
            "{{\"step\":{step},\"seconds\":0.01,\"tokens_per_second\":{rate},\
             \"feed_seconds\":0.001,\"gradient_seconds\":0.008,\"optimizer_seconds\":0.001}}\n"
        )
    };
    directory.write("runs/model/metrics.jsonl", (1..=100_000).map(line).collect::<String>());
    directory.write("runs/model/timing.jsonl", (1..=100_000).map(timing).collect::<String>());
    let start = std::time::Instant::now();
    directory.dataprep("report runs/model -q").ok();
    let page = directory.read("runs/model/report.html");
    println!("100,000 steps: {} bytes, {:.2} s", page.len(), start.elapsed().as_secs_f64());
    assert_whole(&page);
    assert!(page.len() < 2_000_000, "{}", page.len());
    let highest = page.split("data-y=\"").nth(2).unwrap().split('"').next().unwrap();
    assert!(highest.split(',').nth(1).unwrap().parse::<f64>().unwrap() >= 19.5, "{highest}");
}

#[test]
fn batches_lead_to_documents_and_documents_to_batches() {
    let directory = with_run();
    let mut tokens = 0;
    let mut read: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for step in 1..=10 {
        let batch = directory.dataprep(&format!("trace runs/model --step {step} --json")).ok();
        let batch = batch.summary();
        let (first, end) = (batch["first_token"].as_u64().unwrap(), batch["end"].as_u64().unwrap());
        assert_eq!((first, end), ((step - 1) * 256, step * 256));
        for document in batch["documents"].as_array().unwrap() {
            tokens += document["tokens"].as_u64().unwrap();
            let id = document["id"].as_str().unwrap().to_owned();
            read.entry(id).or_default().push(step);
        }
    }
    assert_eq!(tokens, 2560);
    for (id, steps) in read.iter().take(5) {
        let places = directory.dataprep(&format!("trace runs/model --document {id} --json")).ok();
        let places = places.summary();
        let in_steps = &places["places"][0]["in_steps"];
        assert_eq!(in_steps[0].as_u64(), steps.first().copied(), "{id}: {places:#}");
        assert_eq!(places["places"][0]["was_read"], json!(true));
    }
    let rows = directory.dataprep("trace runs/mix --rows 4..8 --sequence 64 --json").ok().summary();
    let step = directory.dataprep("trace runs/model --step 2 --json").ok().summary();
    assert_eq!(rows["documents"], step["documents"]);
    // Of a run a row is as long as its own, and the mix is where it lies.
    let own = directory.dataprep("trace runs/model --rows 4..8 --json").ok().summary();
    assert_eq!(own["documents"], step["documents"]);
    assert_eq!(own["mix"], "runs/mix");
    refused(&directory, "trace runs/mix --rows 4..8", "how many tokens has a row");
    refused(&directory, "trace runs/model --step 11", "step 11 is none of the run's");
    refused(&directory, "trace runs/model --document nobody", "does not read the document");
    refused(&directory, "trace runs/model", "nothing is asked for");
    refused(&directory, "trace runs/mix --rows 8..4 --sequence 64", "no range of rows");
}

#[test]
fn traced_documents_have_losses_and_origins() {
    let directory = with_run();
    let traced = directory.dataprep("trace runs/model --step 1 --checkpoint --origins --json").ok();
    let traced = traced.summary();
    let documents = traced["documents"].as_array().unwrap();
    let losses: Vec<f64> =
        documents.iter().map(|document| document["loss"].as_f64().unwrap()).collect();
    assert!(losses.iter().all(|loss| (1.0..12.0).contains(loss)), "{losses:?}");
    for document in documents {
        let origin = &document["origins"][0];
        let file = origin["file"].as_str().unwrap_or_else(|| panic!("{traced:#}"));
        let text = std::fs::read(file).unwrap();
        let row = origin["row"].as_u64().unwrap() as usize;
        let line = text[row..].split(|byte| *byte == b'\n').next().unwrap();
        let line: Value = serde_json::from_slice(line).unwrap();
        // The text that the tokens decode to is the one of that line.
        let shown = document["text"].as_str().unwrap().trim_matches('…');
        assert!(line["text"].as_str().unwrap().contains(shown), "{line} {shown}");
    }
}

#[test]
fn run_puts_a_project_on_one_page() {
    let directory = with_run();
    let recipe = directory.read("recipe.toml");
    let step = "\n[[step]]\nname = \"small\"\nstage = \"train\"\nin = [\"mix\"]\nset = { \
        model = { d_model = 32, n_layer = 1, n_head = 2, n_kv_head = 1, d_ff = 48 }, \
        train = { steps = 3, sequence = 64, micro_batch = 4, batch_tokens = 256, \
        warmup_steps = 1, sample_tokens = 4 } }\n";
    directory.write("recipe.toml", format!("{recipe}{step}"));
    directory.dataprep("run recipe.toml --html -q").ok();
    assert_whole(&directory.read("runs/report.html"));
}
