//! What is said, refused or done about a run before and beside its steps.

use serde_json::json;

use super::{Bench, CONFIG, options, resume, stop_after};
use crate::artifact::manifest::Manifest;
use crate::base::{
    config::{self, Table},
    error::Result,
    io,
    size::Bytes,
};
use crate::train::{TrainOptions, TrainPlan, directory::Start, layout, plan};

impl Bench {
    fn plan(&self, name: &str, sets: &[&str], options: &TrainOptions) -> Result<TrainPlan> {
        let mut table: Table = CONFIG.parse().unwrap();
        sets.iter().for_each(|assignment| config::set(&mut table, assignment).unwrap());
        plan(table, &self.path("mix"), &self.path(name), options)
    }
}

#[test]
fn a_plan_says_what_becomes_of_out_and_touches_nothing() {
    let bench = Bench::new();
    let planned = bench.plan("run", &[], &options()).unwrap();
    assert_eq!((planned.start, planned.steps, planned.tokens), (Start::New, 20, 2560));
    assert!(!bench.path("run").exists());
    bench.train("run", &[], &stop_after(7)).unwrap();
    let before = io::files_below(&bench.path("run")).unwrap();
    let start = |sets: &[&str], options| bench.plan("run", sets, &options).unwrap().start;
    assert_eq!(start(&[], options()), Start::Continues { step: 7 });
    let Start::StepsAside { why, from: 0 } = start(&["train.seed=1"], options()) else { panic!() };
    assert!(why.contains("`train.seed`"), "{why}");
    assert_eq!(io::files_below(&bench.path("run")).unwrap(), before);
    bench.train("run", &[], &options()).unwrap();
    assert_eq!(start(&[], options()), Start::UpToDate);
    assert!(bench.plan("mix", &[], &options()).is_err());
}

#[test]
fn a_plan_fails_as_the_run_would_and_names_the_keys() {
    let bench = Bench::new();
    let small = TrainOptions { memory: Bytes(30 << 20), ..options() };
    for (sets, options, parts) in [
        (&["train.nonsense=1"][..], options(), &["`nonsense`"][..]),
        (&["train.steps=1000000000000"], options(), &["128,000,000,000,000 tokens"]),
        (&["model.d_model=1048576"], options(), &["training needs", "are allowed"]),
        (&[], small, &["training needs", "30.0 MiB are allowed"]),
    ] {
        let planned = bench.plan("run", sets, &options).unwrap_err();
        let run = bench.train("run", sets, &options).unwrap_err();
        assert_eq!(planned.to_string(), run.to_string());
        let text = format!("{run} {}", run.hint().unwrap_or_default());
        parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
        assert!(!bench.path("run").exists(), "{sets:?}");
    }
    let error = bench.plan("run", &["train.batch_tokens=4096", "train.steps=all"], &options());
    let hint = error.unwrap_err().hint().unwrap();
    assert!(hint.contains("lower `train.batch_tokens`") && !hint.contains("all"), "{hint}");
}

#[test]
fn a_longer_wsd_run_is_the_one_that_was_longer_from_its_beginning() {
    let bench = Bench::new();
    let wsd = |steps: &'static str| ["train.schedule=wsd", "train.keep=1", steps];
    bench.train("straight", &wsd("train.steps=28"), &options()).unwrap();
    bench.train("run", &wsd("train.steps=20"), &options()).unwrap();
    assert!(bench.checkpoints("run").contains(&"step-000016".to_owned()));
    let finished = bench.manifest("run");
    let summary = bench.train("run", &wsd("train.steps=28"), &resume()).unwrap();
    assert_eq!((summary.resumed_from, summary.step), (16, 28));
    assert_eq!(bench.manifest("run"), bench.manifest("straight"));
    let aside = summary.stepped_aside.unwrap();
    assert_eq!(io::read_text(&aside.join("manifest.json")).unwrap(), finished);
    // Stopped before its decay, it goes on where it stands.
    bench.train("early", &wsd("train.steps=20"), &stop_after(9)).unwrap();
    let summary = bench.train("early", &wsd("train.steps=28"), &resume()).unwrap();
    assert_eq!((summary.resumed_from, summary.stepped_aside), (9, None));
    assert_eq!(bench.manifest("early"), bench.manifest("straight"));
}

#[test]
fn a_cosine_run_that_grows_says_how_far_its_rate_jumps() {
    let bench = Bench::new();
    bench.train("run", &["train.steps=10"], &options()).unwrap();
    let summary = bench.train("run", &[], &resume()).unwrap();
    let said = summary.warnings.iter().any(|text| text.contains("its learning rate goes from"));
    assert!(said, "{:?}", summary.warnings);
}

#[test]
fn stopped_before_its_first_step_a_run_has_its_initial_weights() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    let summary = bench.train("run", &[], &stop_after(0)).unwrap();
    assert_eq!((summary.step, summary.first_evaluation), (0, Some(4)));
    assert_eq!(bench.checkpoints("run"), ["step-000000"]);
    bench.train("run", &[], &options()).unwrap();
    assert_eq!(bench.manifest("run"), bench.manifest("whole"));
}

#[test]
fn training_that_leads_nowhere_is_said_or_stops() {
    let bench = Bench::new();
    let wild = ["train.learning_rate=10.0", "train.clip_norm=0.0", "train.eval_every=0"];
    let summary = bench.train("run", &wild, &options()).unwrap();
    assert!(summary.warnings.iter().any(|text| text.contains("diverged")), "{summary:?}");
    let page = io::read_text(&bench.path("run/report.html")).unwrap();
    assert!(page.contains("class=\"warning\">Warning: training diverged"));
    let again = bench.train("run", &wild, &options()).unwrap();
    assert!(again.up_to_date && !again.warnings.is_empty());
    let stop = [&wild[..], &["train.on_divergence=stop"]].concat();
    let error = bench.train("stopped", &stop, &options()).unwrap_err();
    assert!(error.to_string().contains("training diverged"), "{error}");
}

#[test]
fn a_folder_that_is_refused_has_no_lock_and_one_that_steps_aside_says_why() {
    let bench = Bench::new();
    io::create_directory(&bench.path("notes")).unwrap();
    io::write(&bench.path("notes/a.txt"), b"mine").unwrap();
    bench.train("notes", &[], &options()).unwrap_err();
    assert_eq!(io::list(&bench.path("notes")).unwrap().len(), 1);
}

#[test]
fn a_run_of_the_first_manifest_format_continues() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    bench.train("run", &[], &stop_after(12)).unwrap();
    let path = bench.path("run/manifest.json");
    let mut manifest = serde_json::to_value(Manifest::read(&bench.path("run")).unwrap()).unwrap();
    manifest["format"] = json!(1);
    manifest.as_object_mut().unwrap().remove("kind");
    manifest["inputs"][0]["kind"] = json!("artifact");
    io::write(&path, manifest.to_string().as_bytes()).unwrap();
    assert_eq!(layout::read_manifest(&bench.path("run")).unwrap().stage, "train");
    let summary = bench.train("run", &[], &resume()).unwrap();
    assert_eq!((summary.resumed_from, summary.step), (12, 20));
    assert_eq!(bench.manifest("run"), bench.manifest("whole"));
}

#[test]
fn a_decay_begins_where_the_mix_begins_to_anneal() {
    let bench = Bench::new();
    let sets = ["train.schedule=wsd", "train.decay_from=anneal", "train.learning_rate=0.01"];
    bench.train("run", &sets, &options()).unwrap();
    let config = io::read_text(&bench.path("run").join("config.toml")).unwrap();
    // Token 1,930 at 128 a step.
    assert!(config.contains("decay_from = 15\n"), "{config}");
    let metrics = io::read_text(&bench.path("run").join("metrics.jsonl")).unwrap();
    let rates = metrics.lines().map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["learning_rate"].as_f64().unwrap()
    });
    let rates: Vec<f64> = rates.collect();
    assert!(rates[4..16].iter().all(|&rate| rate == 0.01) && rates[16] < 0.01, "{rates:?}");
    assert_eq!(bench.plan("run", &sets, &options()).unwrap().start, Start::UpToDate);
    let unknown = ["train.schedule=wsd", "train.decay_from=annael"];
    let error = bench.plan("other", &unknown, &options()).unwrap_err();
    assert!(error.to_string().contains("no phase `annael`"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("main, anneal")));
}
