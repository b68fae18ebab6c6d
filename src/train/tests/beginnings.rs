//! What a run must begin with, and runs whose batches begin small.

use std::sync::Mutex;

use super::{Bench, CONFIG, TrainOptions, options, stop_after};
use crate::base::{
    config::{self, Table},
    error::Result,
    io,
    progress::{Progress, Style},
};
use crate::runtime::{cuda::host::HostMachine, device::Device};
use crate::train::{Begin, Context, TrainSummary, find_lr, plan, run, smoke};

/// [`CONFIG`] with `sets` on top.
fn table(sets: &[&str]) -> Table {
    let mut table: Table = CONFIG.parse().unwrap();
    sets.iter().for_each(|assignment| config::set(&mut table, assignment).unwrap());
    table
}

/// The same without a shape.
fn bare(sets: &[&str]) -> Table {
    let mut bare: Table = CONFIG.split("[model]").next().unwrap().parse().unwrap();
    sets.iter().for_each(|assignment| config::set(&mut bare, assignment).unwrap());
    bare
}

fn from(bench: &Bench) -> TrainOptions {
    let begin = Begin { init_from: Some(bench.path("base")), ..Begin::default() };
    TrainOptions { begin, ..options() }
}

fn names(bench: &Bench) -> Vec<String> {
    let listed = io::list(bench.directory.path()).unwrap();
    listed.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn adapters_and_depth_never_stand_on_a_model_that_knows_nothing() {
    let bench = Bench::new();
    bench.train("base", &[], &options()).unwrap();
    let stopped = TrainOptions { stop_after: Some(2), ..from(&bench) };
    let kinds: [(&str, &[&str], &str); 2] = [
        ("adapters", &["lora.rank=4"], "`[lora]`"),
        ("deeper", &["train.grow=stack", "model.n_layer=4"], "`train.grow`"),
    ];
    for (name, sets, key) in kinds {
        bench.train_table(name, bare(sets), &stopped, &|| false).unwrap();
        let (manifest, listed) = (bench.manifest(name), names(&bench));
        // Another rate is another run, which would begin anew.
        let other = [sets, &["train.learning_rate=1e-3"]].concat();
        let fresh = TrainOptions { fresh: true, ..options() };
        for (sets, options) in [(&other[..], options()), (sets, fresh)] {
            let (mix, out) = (bench.path("mix"), bench.path(name));
            let planned = plan(bare(sets), &mix, &out, &options).unwrap_err();
            let error = bench.train_table(name, bare(sets), &options, &|| false).unwrap_err();
            assert_eq!(planned.to_string(), error.to_string());
            assert!(error.to_string().starts_with(key), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("--init-from")), "{error}");
        }
        assert_eq!((bench.manifest(name), names(&bench)), (manifest, listed.clone()));
        // It goes on without a second word of the model, and anew with it.
        bench.train_table(name, bare(sets), &stop_after(3), &|| false).unwrap();
        bench.train_table(name, bare(&other), &stopped, &|| false).unwrap();
        assert!(names(&bench).len() > listed.len());
    }
}

#[test]
fn a_model_that_is_trained_on_keeps_its_shape_and_not_how_it_was_trained() {
    let bench = Bench::new();
    bench.train("base", &["model.qk_norm=true"], &options()).unwrap();
    let run = |name: &str, sets: &[&str], options: &TrainOptions| {
        bench.train_table(name, bare(sets), options, &|| false)
    };
    let first = |name: &str| bench.metrics(name)[0].loss;
    run("same", &[], &from(&bench)).unwrap();
    let knobs = ["model.dropout=0.2", "model.z_loss=1e-4", "train.hash_every=5"];
    for (name, sets) in [("dropped", &knobs[..]), ("bf16", &["model.dtype=bf16"])] {
        run(name, sets, &from(&bench)).unwrap();
        assert_ne!(first(name), first("same"), "{name}");
        let halves = format!("{name}-halves");
        run(&halves, sets, &TrainOptions { stop_after: Some(7), ..from(&bench) }).unwrap();
        run(&halves, sets, &options()).unwrap(); // the checkpoint knows its model
        assert_eq!(bench.manifest(&halves), bench.manifest(name));
    }
    // What is said again of the shape is the same, or named.
    run("again", &["model.n_layer=2", "model.qk_norm=true"], &from(&bench)).unwrap();
    assert_eq!(first("again"), first("same"));
    for (set, part) in [
        ("model.d_ff=72", ": `model.d_ff` = 72, there "),
        ("model.qk_norm=false", ": `model.qk_norm` = its default, there true"),
        ("model.window=8", ": `model.window` = 8, there its default"),
    ] {
        let error = run("other", &[set], &from(&bench)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("`dropout`")), "{error}");
        assert!(!bench.path("other").exists());
    }
}

#[test]
fn what_a_gpu_cannot_do_is_refused_before_out_is_touched() {
    let bench = Bench::new();
    let out = bench.path("run");
    for (set, part) in [
        ("lora.rank=4", "`lora.rank` has no kernel on a GPU for 4"),
        ("train.steps=2", "`model.d_head` has no kernel on a GPU"),
        ("runtime.ops=composed", "`runtime.ops = \"composed\"`"),
    ] {
        let device = Device::over(HostMachine::context(1).1);
        let mix = bench.path("mix");
        let prepared = plan::prepare_on(device, table(&[set]), &mix, Some(&out), &options());
        let error = prepared.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(part) && error.exit_status() == 2, "{error}");
        assert!(!out.exists());
    }
}

/// Four steps of 4 to 41 rows, of a mix with 117: a whole batch has 256, and 128 go through the
/// model at once, which is a tiny one.
const GROWING: [&str; 10] = [
    "model.d_model=8",
    "model.n_layer=1",
    "model.n_head=1",
    "model.n_kv_head=1",
    "model.d_ff=8",
    "train.batch_tokens=8192",
    "train.micro_batch=128",
    "train.batch_start=128",
    "train.batch_warmup_steps=20",
    "train.steps=4",
];

#[test]
fn a_mix_smaller_than_a_whole_batch_is_tried_and_planned_as_it_is_trained() {
    let bench = Bench::new();
    let mix = bench.path("mix");
    let smoke = smoke::smoke(table(&GROWING), &mix, &options()).unwrap();
    assert!(smoke.checks.len() == 6 && smoke.probe.is_some(), "{smoke}");
    let planned = plan(table(&GROWING), &mix, &bench.path("run"), &options()).unwrap();
    assert!(planned.probe.unwrap().tokens_per_second > 0.0);
    let trained = bench.train("run", &GROWING, &options()).unwrap();
    assert_eq!((trained.step, trained.tokens), (4, planned.tokens));
}

#[test]
fn smoke_tries_the_given_model_and_its_adapters() {
    let bench = Bench::new();
    let trained = bench.train("base", &[], &options()).unwrap();
    let deeper = ["train.grow=expand", "model.n_layer=4"];
    for sets in [&["lora.rank=4"][..], &deeper] {
        let smoke = smoke::smoke(bare(sets), &bench.path("mix"), &from(&bench)).unwrap();
        assert!(smoke.verdict().is_ok(), "{smoke}");
        let found = |check: usize| smoke.checks[check].found.split(' ').collect::<Vec<_>>();
        let first: f64 = found(0)[0].parse().unwrap();
        assert!(first < trained.loss.unwrap() + 0.5 && found(0).contains(&"given"), "{smoke}");
        // Of two blocks, each with adapters of two parts at two maps.
        assert_eq!(found(1).contains(&"8"), sets.len() == 1, "{smoke}");
    }
}

#[test]
fn every_rate_is_tried_on_whole_batches() {
    let bench = Bench::new();
    let points = |sets: &[&str]| {
        let progress = Progress::new(Style::None);
        let (mix, options) = (bench.path("mix"), options());
        find_lr::find_lr(table(sets), &mix, &options, &progress).unwrap().points
    };
    let growing = [
        "train.batch_start=32",
        "train.batch_warmup_steps=9",
        "train.sequence_start=8",
        "train.sequence_warmup_steps=9",
    ];
    assert_eq!(points(&growing), points(&[]));
}

#[test]
fn what_is_missing_is_counted_in_the_tokens_that_are_read() {
    let bench = Bench::new();
    let growing = ["train.batch_start=64", "train.batch_warmup_steps=4", "train.steps=100"];
    let error = bench.train("run", &growing, &options()).unwrap_err().to_string();
    // Rows of 32 tokens: 2, 2, 3, 3, then 96 times 4.
    assert!(error.starts_with("100 steps of 64 to 128 tokens need 12,608 tokens"), "{error}");
    let mut budget: Table = CONFIG.replace("steps = 20\n", "").parse().unwrap();
    for set in ["train.batch_start=64", "train.batch_warmup_steps=4", "train.tokens=60"] {
        config::set(&mut budget, set).unwrap();
    }
    let error = bench.train_table("run", budget, &options(), &|| false).unwrap_err();
    assert!(error.to_string().contains("less than one step of 64"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("`train.batch_start`")), "{error}");
}

#[test]
fn what_is_left_is_said_from_steps_that_are_as_most_are() {
    let bench = Bench::new();
    let growing = table(&["train.batch_start=64", "train.batch_warmup_steps=6"]);
    let said = |name: &str, options: &TrainOptions| {
        let said = Mutex::new(Vec::new());
        let cx = Context {
            progress: &Progress::new(Style::None),
            say: &|line| said.lock().unwrap().push(line.to_owned()),
            warn: &|_| (),
            interrupted: &|| false,
            at_milestone: &|_| Ok(()),
        };
        let mix = bench.path("mix");
        let run: Result<TrainSummary> = run(growing.clone(), &mix, &bench.path(name), options, &cx);
        run.unwrap();
        said.into_inner().unwrap().iter().any(|line| line.starts_with("time "))
    };
    assert!(!said("short", &stop_after(8)));
    assert!(said("short", &stop_after(12)));
    assert!(said("whole", &stop_after(9)));
}
