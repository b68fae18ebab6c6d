//! Whatever decides the next step is in the checkpoint: averages, windows, chains, origins.

use std::path::PathBuf;

use super::{Bench, CONFIG, options, stop_after};
use crate::base::{
    config, io, json,
    progress::{Progress, Style},
    size::Bytes,
};
use crate::report::lines::{Metric, SourceEval, Spike};
use crate::runtime::{checkpoint, device::Device};
use crate::tokenizer::Tokenizer;
use crate::train::{Begin, TrainOptions, find_lr, layout, origin::Origin, smoke};

/// Everything that a step may depend on: parts of a batch, an average, steps that are left out, a
/// chain.
const ALL: [&str; 6] = [
    "train.micro_batch=2",
    "train.ema=0.9",
    "train.spike_skip=1.2",
    "train.spike_window=4",
    "train.hash_every=3",
    "train.keep=4",
];

fn beginning(begin: Begin) -> TrainOptions {
    TrainOptions { begin, ..options() }
}

fn back_to(step: u64) -> TrainOptions {
    let begin = Begin { from_step: Some(step), ..Begin::default() };
    TrainOptions { resume: true, begin, ..options() }
}

fn verified() -> TrainOptions {
    let begin = Begin { verify: true, ..Begin::default() };
    TrainOptions { resume: true, begin, ..options() }
}

#[test]
fn a_run_with_everything_on_resumes_bit_for_bit() {
    let bench = Bench::new();
    bench.train("whole", &ALL, &options()).unwrap();
    for step in [3, 7, 13] {
        bench.train("run", &ALL, &stop_after(step)).unwrap();
    }
    bench.train("run", &ALL, &options()).unwrap();
    assert_eq!(bench.manifest("run"), bench.manifest("whole"));

    let spikes: Vec<Spike> = json::lines(&bench.path("run").join(layout::SPIKES)).unwrap();
    let skipped: Vec<u64> =
        bench.metrics("run").iter().filter(|metric| metric.skipped).map(|m| m.step).collect();
    assert!(!skipped.is_empty() && skipped.len() < 10, "{skipped:?}");
    assert_eq!(spikes.iter().map(|spike| spike.step).collect::<Vec<_>>(), skipped);
    assert!(spikes.iter().all(|spike| spike.first_row == (spike.step - 1) * 4 && spike.rows == 4));
    let links = bench.metrics("run").into_iter().filter(|metric| metric.parameters.is_some());
    assert_eq!(links.map(|metric| metric.step).collect::<Vec<_>>(), [3, 6, 9, 12, 15, 18]);

    let evals: Vec<SourceEval> = json::lines(&bench.path("run").join(layout::EVALS)).unwrap();
    assert!(evals.iter().all(|eval| eval.ema_nats.is_some_and(|nats| nats != eval.nats)));
    let last = bench.path("run").join("checkpoints/step-000020");
    let found = checkpoint::find(last.parent().unwrap(), 20).unwrap();
    let average = found.average(&Device::cpu()).unwrap().unwrap();
    let model = found.model(&Device::cpu()).unwrap();
    assert_ne!(average.parameters().xxh3().unwrap(), model.parameters().xxh3().unwrap());
}

#[test]
fn a_run_in_bf16_resumes_bit_for_bit_and_says_what_multiplies() {
    let bench = Bench::new();
    let sets = ["model.dtype=bf16", "train.micro_batch=2", "train.hash_every=3"];
    bench.train("whole", &sets, &options()).unwrap();
    for step in [3, 7] {
        bench.train("run", &sets, &stop_after(step)).unwrap();
    }
    bench.train("run", &sets, &options()).unwrap();
    assert_eq!(bench.manifest("run"), bench.manifest("whole"));
    let sessions = io::read_text(&bench.path("run").join(layout::RUN)).unwrap();
    assert!(sessions.contains("products of bf16") && sessions.contains("bf16 by "), "{sessions}");

    bench.train("f32", &sets[1..], &options()).unwrap();
    for (bf16, f32) in bench.metrics("run").iter().zip(bench.metrics("f32")) {
        assert_ne!(bf16.loss, f32.loss, "step {}", f32.step);
        assert!((bf16.loss - f32.loss).abs() < 0.01, "{} {}", bf16.loss, f32.loss);
    }
    let refused = [sets[0], "runtime.ops=composed"];
    let message = bench.train("refused", &refused, &options()).unwrap_err().to_string();
    assert!(message.contains("runtime.ops"), "{message}");
}

/// What a run with adapters begins with.
fn adapters(bench: &Bench) -> TrainOptions {
    beginning(Begin { init_from: Some(bench.path("base")), ..Begin::default() })
}

#[test]
fn adapters_resume_bit_for_bit_beside_a_model_that_stands_still() {
    let bench = Bench::new();
    bench.train("base", &[], &options()).unwrap();
    let lora = ["lora.rank=4", "lora.alpha=8.0", "train.hash_every=3", "train.micro_batch=2"];
    let options = adapters(&bench);
    bench.train("whole", &lora, &options).unwrap();
    let stopped = TrainOptions { stop_after: Some(7), ..options.clone() };
    bench.train("halves", &lora, &stopped).unwrap();
    bench.train("halves", &lora, &super::options()).unwrap(); // the base is in the checkpoint
    assert_eq!(bench.manifest("halves"), bench.manifest("whole"));
    bench.train("whole", &lora, &verified()).unwrap();

    let last = |run: &str| checkpoint::find(&bench.path(run).join(layout::CHECKPOINTS), 20);
    let cpu = Device::cpu();
    let base = last("base").unwrap().model(&cpu).unwrap();
    let found = last("whole").unwrap();
    let (merged, beside) = (found.model(&cpu).unwrap(), found.model_in_training(&cpu).unwrap());
    let frozen = beside.adapter().unwrap().frozen.xxh3().unwrap();
    assert_eq!(frozen, base.parameters().xxh3().unwrap());
    assert_eq!(beside.parameters().len(), 2 * 2 * 2);
    let taken_up = beside.merged().unwrap().parameters().xxh3().unwrap();
    assert_eq!(merged.parameters().xxh3().unwrap(), taken_up);
    assert_ne!(taken_up, frozen);
    let losses = bench.metrics("whole");
    assert!(losses[19].loss < losses[0].loss, "{losses:?}");

    // Without a model there is nothing to stand beside; with an average there is none to keep.
    let error = bench.train("fresh", &lora, &super::options()).unwrap_err();
    assert!(error.hint().unwrap().contains("--init-from"), "{error}");
    assert!(!bench.path("fresh").exists());
    let error = bench.train("ema", &[&lora[..], &["train.ema=0.9"]].concat(), &options);
    assert!(error.unwrap_err().to_string().contains("`train.ema`"));
}

#[test]
fn blocks_that_run_again_change_no_bit_of_a_run() {
    let bench = Bench::new();
    let sets = |recompute: &'static str| {
        [&ALL[..], &["model.dropout=0.1", "train.hash_every=1", recompute]].concat()
    };
    bench.train("plain", &sets("train.recompute=false"), &options()).unwrap();
    bench.train("again", &sets("train.recompute=true"), &stop_after(9)).unwrap();
    bench.train("again", &sets("train.recompute=false"), &stop_after(13)).unwrap();
    bench.train("again", &sets("train.recompute=true"), &options()).unwrap();
    assert_eq!(bench.manifest("again"), bench.manifest("plain"));
}

#[test]
fn batches_and_rows_that_grow_resume_bit_for_bit_and_read_every_row_once() {
    let bench = Bench::new();
    let sets = [
        "train.batch_start=64",
        "train.batch_warmup_steps=6",
        "train.sequence_start=8",
        "train.sequence_warmup_steps=9",
        "train.micro_batch=2",
        "train.hash_every=1",
        "model.dropout=0.1",
    ];
    bench.train("whole", &sets, &options()).unwrap();
    for step in [2, 5, 11] {
        bench.train("halves", &sets, &stop_after(step)).unwrap();
    }
    bench.train("halves", &sets, &options()).unwrap();
    assert_eq!(bench.manifest("halves"), bench.manifest("whole"));
    let tokens: Vec<u64> = bench.metrics("whole").iter().map(|metric| metric.tokens).collect();
    // Rows of 32 tokens: 2, 2, 2, 3, 3, 3, then 4 a step.
    assert_eq!(tokens[..8], [64, 128, 192, 288, 384, 480, 608, 736]);
    assert_eq!(tokens[19], 480 + 14 * 128);
    // A budget counts what is read.
    let mut budget = sets.to_vec();
    budget.push("train.tokens=735");
    let table = CONFIG.replace("steps = 20\n", "");
    let mut table: config::Table = table.parse().unwrap();
    budget.iter().for_each(|assignment| config::set(&mut table, assignment).unwrap());
    let summary = bench.train_table("budget", table, &options(), &|| false).unwrap();
    assert_eq!((summary.step, summary.tokens), (7, 608));
}

#[test]
fn a_model_grows_into_a_deeper_run_that_begins_where_it_ended() {
    let bench = Bench::new();
    bench.train("base", &[], &options()).unwrap();
    let begin = || beginning(Begin { init_from: Some(bench.path("base")), ..Begin::default() });
    let grow = |how: &str| {
        let mut table: config::Table = CONFIG.parse().unwrap();
        table.remove("model");
        for set in [how, "model.n_layer=4", "train.eval_every=1", "train.steps=3"] {
            config::set(&mut table, set).unwrap();
        }
        table
    };
    let run = |name: &str, how: &str, options: &TrainOptions| {
        bench.train_table(name, grow(how), options, &|| false)
    };
    run("whole", "train.grow=expand", &begin()).unwrap();
    run("halves", "train.grow=expand", &TrainOptions { stop_after: Some(1), ..begin() }).unwrap();
    run("halves", "train.grow=expand", &options()).unwrap(); // the checkpoint is deep enough
    assert_eq!(bench.manifest("halves"), bench.manifest("whole"));
    run("stacked", "train.grow=stack", &begin()).unwrap();
    let first = |name: &str| bench.metrics(name)[0].loss;
    assert_ne!(first("stacked"), first("whole"));
    let mut same: config::Table = CONFIG.parse().unwrap();
    config::set(&mut same, "train.steps=3").unwrap();
    bench.train_table("same", same, &begin(), &|| false).unwrap();
    assert_eq!(first("whole"), first("same"));
    let refused = run("fresh", "train.grow=stack", &options()).unwrap_err();
    assert!(refused.to_string().contains("`train.grow`"), "{refused}");
}

#[test]
fn what_is_off_leaves_no_trace() {
    let bench = Bench::new();
    bench.train("run", &["train.price_per_hour=3.0"], &options()).unwrap();
    let run = bench.path("run");
    let table = config::read(&run.join(layout::CONFIG)).unwrap();
    let keys = |table: &config::Table| table.keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&table), "model runtime train");
    // Of the keys that may be left out, none.
    assert_eq!(
        keys(table["train"].as_table().unwrap()),
        "batch_tokens beta1 beta2 checkpoint_every clip_norm decay_fraction epsilon eval_every \
         eval_tokens keep learning_rate learning_rate_min log_every micro_batch milestones \
         on_divergence sample_every sample_prompts sample_temperature sample_tokens schedule seed \
         sequence steps warmup_steps weight_decay"
    );
    assert_eq!(
        keys(table["model"].as_table().unwrap()),
        "d_ff d_model init_std n_head n_kv_head n_layer norm_eps rope_theta tied vocab_size"
    );
    assert_eq!(keys(table["runtime"].as_table().unwrap()), "ops");
    assert!(!run.join(layout::SPIKES).exists());
    let metrics = io::read_text(&run.join(layout::METRICS)).unwrap();
    assert!(!metrics.contains("skipped") && !metrics.contains("parameters"));
    assert!(io::read_text(&run.join(layout::RUN)).unwrap().contains("\"price_per_hour\": 3.0"));
}

#[test]
fn a_replay_comes_out_again_and_names_what_does_not() {
    let bench = Bench::new();
    bench.train("run", &ALL, &stop_after(13)).unwrap();
    let replayed = bench.train("run", &ALL, &verified()).unwrap();
    assert_eq!(replayed.notes, ["verified: the steps 11 to 13 come out again, bit for bit"]);
    let replayed = bench.train("run", &ALL, &verified()).unwrap(); // of a finished run too
    assert!(replayed.up_to_date && replayed.to_string().contains("  verified: the steps 16 to 20"));
    bench.train("other", &[&ALL[..], &["train.seed=1"]].concat(), &options()).unwrap();
    // The checkpoint of another run under hashes that fit it.
    let place = |run: &str| bench.path(run).join("checkpoints/step-000020/model.safetensors");
    let hash = |path: &std::path::Path| io::hash_file(path).unwrap().0.to_string();
    let [old, new] = ["run", "other"].map(|run| hash(&place(run)));
    let model = io::read(&place("other")).unwrap();
    io::remove_file(&place("run")).unwrap();
    io::write(&place("run"), &model).unwrap();
    let hashes = place("run").with_file_name(checkpoint::HASHES);
    let listed = hash(&hashes);
    let replace = |path: &std::path::Path, old: &str, new: &str| {
        let text = io::read_text(path).unwrap().replace(old, new);
        io::write(path, text.as_bytes()).unwrap();
    };
    replace(&hashes, &old, &new);
    let list = bench.path("run/manifest.json");
    replace(&list, &old, &new);
    replace(&list, &listed, &hash(&hashes));
    let manifest = bench.manifest("run");
    let error = bench.train("run", &ALL, &verified()).unwrap_err();
    assert!(error.to_string().contains("model.safetensors` differs"), "{error}");
    assert_eq!(bench.manifest("run"), manifest, "a replay changes nothing");
}

#[test]
fn a_run_goes_back_to_a_checkpoint_and_comes_to_the_same_end() {
    let bench = Bench::new();
    bench.train("run", &ALL, &options()).unwrap();
    let manifest = bench.manifest("run");
    let summary = bench.train("run", &ALL, &back_to(10)).unwrap();
    assert_eq!((summary.resumed_from, summary.step), (10, 20));
    assert_eq!(bench.manifest("run"), manifest);
    // Behind some checkpoints, before all of them.
    for step in [11, 3] {
        let error = bench.train("run", &ALL, &back_to(step)).unwrap_err().to_string();
        assert!(error.contains(&format!("no checkpoint of step {step}")), "{error}");
        assert!(error.contains("found: 5, 10"), "{error}");
    }
    assert!(bench.train("none", &ALL, &back_to(5)).is_err());
}

#[test]
fn budgets_come_to_steps_and_are_the_run_of_those() {
    let bench = Bench::new();
    let plan = |sets: &[&str]| {
        let mut table = CONFIG.replace("steps = 20", "").parse().unwrap();
        sets.iter().for_each(|assignment| config::set(&mut table, assignment).unwrap());
        crate::train::plan(table, &bench.path("mix"), &bench.path("none"), &options())
    };
    let planned = plan(&["train.tokens=1300"]).unwrap();
    assert_eq!((planned.steps, planned.budget.as_deref()), (10, Some("`train.tokens` = 1,300")));
    let probe = planned.probe.unwrap();
    assert!(probe.tokens_per_second > 0.0 && probe.mfu > Some(0.0) && probe.cost.is_none());
    let flops = probe.flops * 1.05;
    assert_eq!(plan(&[&format!("train.flops={flops:.1}")]).unwrap().steps, 10);
    // A document of n tokens has n bytes here, and an opener.
    let by_text = plan(&["train.bytes=1300"]).unwrap().steps;
    assert_eq!(by_text, 10, "1,300 bytes are some 1,335 tokens");
    assert!(plan(&["train.bytes=60"]).unwrap_err().to_string().contains("less than one step"));
    let more = plan(&["train.bytes=1MB"]).unwrap_err().to_string();
    assert!(more.ends_with("the mix has 3,654 bytes of text"), "{more}");
    assert_eq!(plan(&["train.bytes=3654"]).unwrap().steps, plan(&[]).unwrap().steps);
}

#[test]
fn rows_at_once_are_chosen_once_and_kept() {
    let bench = Bench::new();
    let auto = ["train.micro_batch=auto"];
    bench.train("run", &auto, &stop_after(7)).unwrap();
    let rows = || {
        let text = io::read_text(&bench.path("run").join(layout::CONFIG)).unwrap();
        text.lines().find(|line| line.starts_with("micro_batch")).unwrap().to_owned()
    };
    assert_eq!(rows(), "micro_batch = 4");
    let small = TrainOptions { memory: Bytes(150 << 20), ..options() };
    let summary = bench.train("run", &auto, &small).unwrap();
    assert_eq!((summary.resumed_from, rows().as_str()), (7, "micro_batch = 4"));
}

#[test]
fn a_branch_shares_the_past_and_names_it() {
    let bench = Bench::new();
    let parent = ["train.schedule=constant", "train.milestones=[10]", "train.keep=1"];
    bench.train("parent", &parent, &options()).unwrap();
    let untouched = bench.manifest("parent");
    let decay =
        ["train.schedule=wsd", "train.steps=14", "train.decay_from=10", "train.decay_shape=sqrt"];
    let from: PathBuf = bench.path("parent").join("checkpoints/step-000010");
    let begin = |path: PathBuf| beginning(Begin { branch: Some(path), ..Begin::default() });
    let summary = bench.train("branch", &decay, &begin(from.clone())).unwrap();
    assert_eq!((summary.resumed_from, summary.step), (10, 14));
    let (ours, theirs): (Vec<Metric>, _) = (bench.metrics("branch"), bench.metrics("parent"));
    assert_eq!(
        ours[..11].iter().map(|m| m.loss).collect::<Vec<_>>(),
        theirs[..11].iter().map(|m| m.loss).collect::<Vec<_>>()
    );
    assert!(ours[12].learning_rate < theirs[12].learning_rate);
    let manifest = bench.manifest("branch");
    assert!(
        manifest.contains("\"branched_from\"") && manifest.contains("\"parent\""),
        "{manifest}"
    );
    assert_eq!(bench.manifest("parent"), untouched);
    // It goes on and is up to date without a second word of where it began.
    assert!(bench.train("branch", &decay, &options()).unwrap().up_to_date);
    bench
        .train("halves", &decay, &TrainOptions { stop_after: Some(12), ..begin(from.clone()) })
        .unwrap();
    bench.train("halves", &decay, &options()).unwrap();
    assert_eq!(bench.manifest("halves"), manifest);
    let wide = ["train.batch_tokens=256", "train.steps=14"];
    let error = bench.train("wide", &wide, &begin(from)).unwrap_err().to_string();
    assert!(error.contains("`train.batch_tokens`"), "{error}");
    let error = bench.train("wide", &decay, &begin(bench.path("parent"))).unwrap_err();
    assert!(error.to_string().contains("is no checkpoint"), "{error}");
}

#[test]
fn a_run_begins_with_the_parameters_of_another() {
    let bench = Bench::new();
    bench.train("base", &[], &options()).unwrap();
    let begin = |path: PathBuf| beginning(Begin { init_from: Some(path), ..Begin::default() });
    let from = begin(bench.path("base"));
    let stopped = TrainOptions { stop_after: Some(3), ..from.clone() };
    bench.train("run", &["train.learning_rate=1e-3"], &stopped).unwrap();
    bench.train("run", &["train.learning_rate=1e-3"], &options()).unwrap();
    let (first, base) = (bench.metrics("run")[0].loss, bench.metrics("base"));
    assert!(first < base[0].loss - 0.5, "{first} {}", base[0].loss);
    assert!(bench.manifest("run").contains("\"initialised_from\""));
    bench.train("again", &["train.learning_rate=1e-3"], &from).unwrap();
    assert_eq!(bench.manifest("again"), bench.manifest("run"));
    let shape = bench.train("wide", &["model.d_ff=64"], &from).unwrap_err().to_string();
    assert!(shape.contains("`model.d_ff` = 64, there 48"), "{shape}");
    // A checkpoint is a model too; one of another vocabulary is refused.
    let other = bench.path("other");
    io::create_directory(&other).unwrap();
    let text = io::read_text(&bench.path("mix/tokenizer/tokenizer.json")).unwrap();
    let swapped = text.replace("\"a\":98", "\"a\":00").replace("\"b\":99", "\"b\":98");
    io::write(&other.join("tokenizer.json"), swapped.replace(":00", ":99").as_bytes()).unwrap();
    let open = |tokenizer: PathBuf| {
        let init_from = Some(bench.path("base").join("checkpoints/step-000020"));
        let begin = Begin { init_from, ..Begin::default() };
        Origin::open(&begin, &Tokenizer::open(&tokenizer).unwrap(), &Device::cpu())
    };
    assert!(open(bench.path("mix/tokenizer")).unwrap().initial.is_some());
    let error = open(other).err().unwrap().to_string();
    assert!(error.contains("differ in `model`"), "{error}");
}

#[test]
fn smoke_passes_what_is_sound_and_a_range_test_has_a_bottom() {
    let bench = Bench::new();
    let table = || CONFIG.parse::<config::Table>().unwrap();
    let smoke = smoke::smoke(table(), &bench.path("mix"), &options()).unwrap();
    assert!(smoke.verdict().is_ok(), "{smoke}");
    assert_eq!(smoke.checks.len(), 6, "{smoke}");
    let progress = Progress::new(Style::None);
    let test = find_lr::find_lr(table(), &bench.path("mix"), &options(), &progress).unwrap();
    let best = test.points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
    assert!(best < test.points[0].smoothed - 0.3, "{test}");
    assert!(test.suggestion > 1e-5 && test.suggestion < 0.1, "{test}");
    assert!(test.svg().contains("<path"));
}

#[test]
fn a_branch_of_another_shape_or_optimizer_is_refused() {
    let bench = Bench::new();
    let parent = ["train.schedule=constant", "train.milestones=[10]"];
    bench.train("parent", &parent, &options()).unwrap();
    let branch = Some(bench.path("parent/checkpoints/step-000010"));
    let begin = beginning(Begin { branch, ..Begin::default() });
    for (set, key) in
        [("model.dropout=0.1", "`model.dropout`"), ("optimizer.kind=muon", "`optimizer.kind`")]
    {
        let sets = ["train.schedule=constant", "train.steps=14", set];
        let error = bench.train("branch", &sets, &begin).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn a_branch_that_is_refused_leaves_what_stands_in_its_place() {
    let bench = Bench::new();
    let parent = ["train.schedule=constant", "train.milestones=[10]"];
    bench.train("parent", &parent, &options()).unwrap();
    bench.train("standing", &["train.steps=2"], &options()).unwrap();
    let manifests = || ["parent", "standing"].map(|name| bench.manifest(name));
    let before = manifests();
    let branch = Some(bench.path("parent/checkpoints/step-000010"));
    let begin = beginning(Begin { branch, ..Begin::default() });
    let wide = ["train.batch_tokens=256", "train.steps=14"];
    for name in ["standing", "none"] {
        let error = bench.train(name, &wide, &begin).unwrap_err().to_string();
        assert!(error.contains("`train.batch_tokens`"), "{error}");
    }
    let error = bench.train("parent", &["train.steps=14"], &begin).unwrap_err();
    assert!(error.to_string().contains("the run that stands in"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--out")));
    assert_eq!(manifests(), before);
    assert!(!bench.path("none").exists());
}

#[test]
fn rows_at_once_of_another_run_are_not_kept() {
    let bench = Bench::new();
    bench.train("run", &["train.micro_batch=1"], &stop_after(1)).unwrap();
    let other = ["train.micro_batch=auto", "train.learning_rate=1e-3"];
    bench.train("run", &other, &stop_after(1)).unwrap();
    let config = io::read_text(&bench.path("run").join(layout::CONFIG)).unwrap();
    assert!(config.contains("micro_batch = 4\n"), "{config}");
}

#[test]
fn a_run_from_other_parameters_goes_on_without_their_name_and_comes_back_with_it_alone() {
    let bench = Bench::new();
    bench.train("base", &[], &options()).unwrap();
    let init_from = Some(bench.path("base"));
    let from = beginning(Begin { init_from, ..Begin::default() });
    let bare = || CONFIG.split("[model]").next().unwrap().parse::<config::Table>().unwrap();
    let stopped = TrainOptions { stop_after: Some(3), ..from.clone() };
    bench.train_table("run", bare(), &stopped, &|| false).unwrap();
    let summary = bench.train_table("run", bare(), &options(), &|| false).unwrap();
    assert_eq!((summary.resumed_from, summary.step, summary.stepped_aside), (3, 20, None));
    // Beside OUT it is not the run that begins with parameters of its own.
    bench.train("run", &["train.seed=1"], &stop_after(1)).unwrap();
    let summary = bench.train("run", &[], &stop_after(1)).unwrap();
    assert_eq!(summary.step, 1);
    assert!(bench.train("run", &[], &from).unwrap().up_to_date);
}

#[test]
fn a_run_with_its_initial_weights_goes_on_on_other_threads() {
    let bench = Bench::new();
    let sets = ["train.milestones=[0]", "train.steps=5"];
    let on = |threads: usize| TrainOptions { threads: Some(threads), ..options() };
    bench.train("run", &sets, &TrainOptions { stop_after: Some(0), ..on(1) }).unwrap();
    assert_eq!(bench.train("run", &sets, &on(2)).unwrap().step, 5);
}

#[test]
fn smoke_passes_a_model_that_may_not_see_far() {
    let bench = Bench::new();
    for set in ["model.zero_init_projections=true", "model.window=2"] {
        let mut table = CONFIG.parse::<config::Table>().unwrap();
        config::set(&mut table, set).unwrap();
        let smoke = smoke::smoke(table, &bench.path("mix"), &options()).unwrap();
        let mask = smoke.checks.iter().find(|check| check.check == "attention stays inside");
        assert_eq!(mask.unwrap().verdict, smoke::Verdict::Pass, "{set}: {smoke}");
    }
}

#[test]
fn a_stretch_that_began_elsewhere_is_not_called_faulty() {
    let bench = Bench::new();
    let parent = ["train.schedule=constant", "train.milestones=[10]", "train.keep=1"];
    bench.train("parent", &parent, &options()).unwrap();
    let branch = Some(bench.path("parent/checkpoints/step-000010"));
    let begin = Begin { branch, ..Begin::default() };
    let short = ["train.schedule=wsd", "train.steps=14", "train.decay_from=12"];
    let at_once = TrainOptions { stop_after: Some(10), ..beginning(begin) };
    bench.train("branch", &short, &at_once).unwrap();
    let error = bench.train("branch", &short, &verified()).unwrap_err();
    assert!(error.exit_status() == 2 && error.to_string().contains("branched off"), "{error}");

    let init_from = Some(bench.path("parent"));
    let begin = Begin { init_from, ..Begin::default() };
    let stopped = TrainOptions { stop_after: Some(3), ..beginning(begin.clone()) };
    bench.train("run", &[], &stopped).unwrap();
    let error = bench.train("run", &[], &verified()).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("--init-from")), "{error}");
    let named = Begin { verify: true, ..begin };
    let again = TrainOptions { resume: true, stop_after: Some(3), ..beginning(named) };
    bench.train("run", &[], &again).unwrap();
}

#[test]
fn rows_longer_than_the_model_of_init_from_learned_are_refused() {
    let bench = Bench::new();
    let learned = ["model.positions=learned", "model.context=32", "train.steps=2"];
    bench.train("base", &learned, &options()).unwrap();
    let init_from = Some(bench.path("base"));
    let from = beginning(Begin { init_from, ..Begin::default() });
    let mut table = CONFIG.split("[model]").next().unwrap().parse::<config::Table>().unwrap();
    for set in ["train.sequence=64", "train.batch_tokens=256", "train.steps=4"] {
        config::set(&mut table, set).unwrap();
    }
    let error = bench.train_table("run", table, &from, &|| false).unwrap_err().to_string();
    assert!(error.contains("learns 32 positions"), "{error}");
}

#[test]
fn a_constant_run_that_grows_behind_its_end_is_taken_back_by_its_configuration() {
    let bench = Bench::new();
    let constant = |steps: &'static str| ["train.schedule=constant", steps];
    bench.train("run", &constant("train.steps=10"), &options()).unwrap();
    let resume = TrainOptions { resume: true, ..options() };
    bench.train("run", &constant("train.steps=20"), &resume).unwrap();
    let resolved = config::read(&bench.path("run").join(layout::CONFIG)).unwrap();
    bench.train_table("again", resolved, &options(), &|| false).unwrap();
    assert_eq!(bench.manifest("again"), bench.manifest("run"));
}
