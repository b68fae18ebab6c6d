//! Whole evaluations: against lm-evaluation-harness, and against themselves.
//!
//! `fixtures/evals/model` is a checkpoint of a run of this project (8,496 parameters), and
//! `harness.json` what lm-evaluation-harness 0.4.13 gives on it for the items beside it, in f32 on
//! a CPU (`tests/golden/check_evals.py --record`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::items::{self, ITEMS, TaskItems};
use super::measures::{By, ScoredItem};
use super::{Comparison, EvalConfig, Evaluation, Scores};
use crate::artifact::manifest::Manifest;
use crate::artifact::record::Notes;
use crate::artifact::stage::{Published, Stage, Unit, Work};
use crate::artifact::unit;
use crate::base::io;
use crate::base::progress::{Progress, Style};
use crate::source::InputConfig;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/evals")
}

fn config(tasks: &[&str]) -> EvalConfig {
    EvalConfig {
        tasks: tasks.iter().map(|task| (*task).to_owned()).collect(),
        evals: Some(fixtures().display().to_string()),
        ..EvalConfig::default()
    }
}

/// Runs an evaluation of the fixture's model, unit by unit; returns where its last unit lies.
fn run(partial: &Path, config: EvalConfig, threads: usize) -> PathBuf {
    let input = InputConfig::default();
    let stage = Evaluation::open(&fixtures().join("model"), &input, config).unwrap();
    let (plan, progress) = (stage.plan().unwrap(), Progress::new(Style::None));
    let published = Published { partial, phases: &plan.phases };
    let mut number = 0;
    for (phase, units) in plan.phases.iter().enumerate() {
        for index in 0..units.units.len() {
            let work = Work {
                dir: unit::begin(partial, number).unwrap(),
                spill: partial.join("spill"),
                published,
                threads,
                memory: 1 << 30,
                skipped: &Default::default(),
                progress: &progress,
                notes: Mutex::new(Notes::default()),
            };
            let counts = stage.run_unit(Unit { phase, index }, &work).unwrap();
            let notes = work.notes.into_inner().unwrap();
            unit::publish(partial, number, &work.dir, notes, counts).unwrap();
            number += 1;
        }
    }
    stage.finish(&published).unwrap().assert_balanced(stage.name());
    unit::directory(partial, number - 1)
}

fn scored(config: EvalConfig, threads: usize) -> Vec<TaskItems> {
    let directory = tempfile::tempdir().unwrap();
    items::read(&run(directory.path(), config, threads).join(ITEMS)).unwrap()
}

const TASKS: [&str; 6] =
    ["arc_challenge", "arc_easy", "hellaswag", "piqa", "winogrande", "lambada_openai"];

#[test]
fn every_score_is_the_harness_score() {
    let text = io::read(&fixtures().join("harness.json")).unwrap();
    let expected: BTreeMap<String, Vec<(f64, bool)>> = serde_json::from_slice(&text).unwrap();
    let found = scored(config(&TASKS), 2);
    assert_eq!(found.len(), TASKS.len());
    for TaskItems { task, items } in &found {
        let mut theirs = items.clone();
        let choices = theirs.iter_mut().flat_map(|item| &mut item.choices);
        let mut compared = 0;
        for (choice, &(loglikelihood, is_greedy)) in choices.zip(&expected[task]) {
            let difference = (choice.loglikelihood - loglikelihood).abs();
            assert!(difference < 1e-3, "{task}: {} {loglikelihood}", choice.loglikelihood);
            assert_eq!(choice.is_greedy, is_greedy, "{task}");
            choice.loglikelihood = loglikelihood;
            compared += 1;
        }
        assert_eq!(compared, expected[task].len(), "{task}");
        let answers = |items: &[ScoredItem]| -> Vec<[usize; 2]> {
            let by = [By::Likelihood, By::Characters];
            items.iter().map(|item| by.map(|by| item.answer(by))).collect()
        };
        assert_eq!(answers(items), answers(&theirs), "{task}");
    }
}

#[test]
fn neither_limit_threads_batches_nor_other_tasks_change_a_bit() {
    let whole = scored(config(&TASKS), 2);
    let task = |name: &str| whole.iter().find(|it| it.task == name).unwrap().items.clone();
    let one = EvalConfig { batch_tokens: 1, ..config(&["piqa"]) };
    assert_eq!(scored(one, 1)[0].items, task("piqa"));
    let few = EvalConfig { limit: Some(5), batch_tokens: 3000, ..config(&["winogrande"]) };
    assert_eq!(scored(few, 3)[0].items, task("winogrande")[..5]);
    // The harness's requests are the items themselves.
    let requests = fixtures().join("lm-eval-requests/hellaswag.jsonl.gz");
    let requests = scored(config(&[&requests.display().to_string()]), 2);
    assert_eq!(requests[0].items, task("hellaswag"));
}

#[test]
fn every_byte_of_a_text_is_scored_in_whatever_windows() {
    let directory = tempfile::tempdir().unwrap();
    let text = "A sentence that is read again and again, with é and 日本. ".repeat(30);
    let documents = [text.as_str(), "Short.", ""];
    let lines = documents.map(|text| serde_json::json!({ "text": text }).to_string());
    let path = directory.path().join("texts.jsonl");
    io::write(&path, lines.join("\n").as_bytes()).unwrap();
    let bits = |name: &str, length: Option<usize>, stride: Option<usize>| {
        let on = vec![format!("mine={}", path.display())];
        let config = EvalConfig { on, length, stride, ..EvalConfig::default() };
        let scores = Scores::read(&run(&directory.path().join(name), config, 2)).unwrap();
        let names: Vec<Option<&str>> =
            scores.texts.iter().map(|text| text.source.as_deref()).collect();
        assert_eq!(names, [Some("mine"), None]);
        let [mine, all] = scores.texts.as_slice() else { panic!() };
        assert_eq!((mine.documents, mine.bytes), (3, text.len() as u64 + 6));
        assert_eq!((mine.nats, mine.bits_per_byte), (all.nats, all.bits_per_byte));
        all.bits_per_byte.value
    };
    let chunked = bits("chunked", None, None);
    let sliding = bits("sliding", None, Some(64));
    let short = bits("short", Some(8), None);
    // More context changes the figure; a model as small as this one makes little of it.
    assert!(chunked != sliding && chunked != short, "{chunked} {sliding} {short}");
    assert!((chunked - sliding).abs() < 0.5 && chunked > 1.0, "{chunked} {sliding}");
}

#[test]
fn a_model_against_itself_changes_no_item() {
    let directory = tempfile::tempdir().unwrap();
    let place = run(directory.path(), config(&["arc_easy", "lambada_openai"]), 2);
    let stage = Evaluation::open(
        &fixtures().join("model"),
        &InputConfig::default(),
        config(&["arc_easy", "lambada_openai"]),
    );
    write_manifest(&stage.unwrap(), &place);
    let comparison = Comparison::read(&place, &place, 0).unwrap();
    assert_eq!(comparison.tasks.len(), 2);
    for task in &comparison.tasks {
        assert_eq!((task.gained.len(), task.lost.len(), task.mcnemar_p), (0, 0, 1.0));
        assert_eq!((task.accuracy.difference, task.bits_per_byte.difference), (0.0, 0.0));
    }
}

/// The least that makes a unit's directory an artifact.
fn write_manifest(stage: &dyn Stage, place: &Path) {
    let (config, inputs) = (stage.config(), stage.inputs());
    let fingerprint = crate::artifact::manifest::fingerprint(
        stage.name(),
        stage.version(),
        stage.seed(),
        &config,
        &inputs,
    );
    let manifest = Manifest {
        format: crate::artifact::manifest::FORMAT,
        kind: stage.kind(),
        stage: stage.name().to_owned(),
        stage_version: stage.version(),
        tool: crate::artifact::manifest::Tool::current(),
        config,
        seed: stage.seed(),
        inputs,
        files: Vec::new(),
        counts: Default::default(),
        holdout: None,
        skipped_files: Vec::new(),
        read: Vec::new(),
        fingerprint,
        ancestry: Vec::new(),
        extra: BTreeMap::new(),
    };
    let json = serde_json::to_vec(&manifest).unwrap();
    io::write(&place.join(crate::artifact::manifest::FILE_NAME), &json).unwrap();
}
