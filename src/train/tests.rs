//! A run as its users see it: stopped, killed, interrupted, extended, refused.
//!
//! Each test trains a decoder of 30,000 parameters on the tiny mix of [`fixture`]. Two runs are
//! compared by their manifests, which hold the hash of every file that equal runs share.

#[cfg(test)]
mod beginnings;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod exact;
#[cfg(test)]
mod feed;
mod fixture;
#[cfg(test)]
mod goals;
#[cfg(test)]
mod knobs;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod validation;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{Begin, Context, GenerateOptions, Generator, TrainOptions, TrainSummary, layout, run};
use crate::artifact::manifest::Manifest;
use crate::base::{
    config::{self, Table},
    error::{Error, Result},
    io, json,
    progress::{Progress, Style},
    size::Bytes,
};
use crate::report::lines::Metric;
use crate::runtime::model::Sampling;
use fixture::{MIX_TOKENS, write_mix};

/// 20 steps, checkpoints at 5, 10, 15 and 20, of which the last two stay.
const CONFIG: &str = r#"
[train]
steps = 20
batch_tokens = 128
micro_batch = 4
sequence = 32
learning_rate = 1e-2
warmup_steps = 4
checkpoint_every = 5
keep = 2
eval_every = 4
sample_every = 10
sample_tokens = 8
sample_prompts = ["", "ab"]
[model]
d_model = 32
n_layer = 2
n_head = 2
n_kv_head = 1
d_ff = 48
"#;

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        write_mix(directory.path());
        Bench { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Trains [`CONFIG`] with `sets` on top into `name`.
    fn train(&self, name: &str, sets: &[&str], options: &TrainOptions) -> Result<TrainSummary> {
        self.train_until(name, sets, options, &|| false)
    }

    fn train_until(
        &self,
        name: &str,
        sets: &[&str],
        options: &TrainOptions,
        interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<TrainSummary> {
        let mut table: Table = CONFIG.parse().unwrap();
        sets.iter().for_each(|assignment| config::set(&mut table, assignment).unwrap());
        self.train_table(name, table, options, interrupted)
    }

    fn train_table(
        &self,
        name: &str,
        table: Table,
        options: &TrainOptions,
        interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<TrainSummary> {
        let progress = Progress::new(Style::None);
        let cx = Context {
            progress: &progress,
            say: &|_| (),
            warn: &|_| (),
            interrupted,
            at_milestone: &|_| Ok(()),
        };
        run(table, &self.path("mix"), &self.path(name), options, &cx)
    }

    /// The bytes of the manifest: equal for equal runs, since it holds the files' hashes.
    fn manifest(&self, name: &str) -> String {
        io::read_text(&self.path(name).join("manifest.json")).unwrap()
    }

    fn checkpoints(&self, name: &str) -> Vec<String> {
        let listed = io::list(&self.path(name).join(layout::CHECKPOINTS)).unwrap();
        listed.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn metrics(&self, name: &str) -> Vec<Metric> {
        json::lines(&self.path(name).join(layout::METRICS)).unwrap()
    }
}

fn options() -> TrainOptions {
    TrainOptions {
        device: "cpu".into(),
        threads: None,
        memory: Bytes(4 << 30),
        resume: false,
        stop_after: None,
        fresh: false,
        data: Vec::new(),
        begin: Begin::default(),
    }
}

fn stop_after(step: u64) -> TrainOptions {
    TrainOptions { stop_after: Some(step), ..options() }
}

fn resume() -> TrainOptions {
    TrainOptions { resume: true, ..options() }
}

#[test]
fn a_run_writes_what_it_promises_and_learns() {
    let bench = Bench::new();
    let summary = bench.train("run", &[], &options()).unwrap();
    assert_eq!((summary.step, summary.tokens), (20, 2560));
    assert_eq!(bench.checkpoints("run"), ["step-000015", "step-000020"]);
    let metrics = bench.metrics("run");
    assert_eq!(metrics.iter().map(|metric| metric.step).collect::<Vec<_>>(), Vec::from_iter(1..21));
    assert!((metrics[0].loss - 257f64.ln()).abs() < 0.3, "{}", metrics[0].loss);
    assert!(metrics[19].loss < metrics[0].loss - 1.0, "{}", metrics[19].loss);
    assert_eq!(
        summary.evals.iter().map(|eval| eval.source.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(summary.samples.len(), 2);
    let names: Vec<String> = Manifest::read(&bench.path("run"))
        .unwrap()
        .files
        .into_iter()
        .map(|file| file.name)
        .filter(|name| !name.starts_with("checkpoints/") && !name.starts_with("evals/"))
        .collect();
    let expected = ["config.toml", "evals.jsonl", "metrics.jsonl", "norms.jsonl", "samples.jsonl"];
    assert_eq!(names, [&expected[..], &["tokenizer.json"]].concat());
    for name in ["run.json", "state.json", "timing.jsonl", "report.html"] {
        assert!(bench.path("run").join(name).is_file(), "{name}");
    }
}

#[test]
fn stopped_and_resumed_is_the_run_that_never_stopped() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    for stop in [7, 10] {
        let name = format!("stopped-{stop}");
        let summary = bench.train(&name, &[], &stop_after(stop)).unwrap();
        assert_eq!((summary.state, summary.step), (layout::State::Stopped, stop));
        let again = bench.train(&name, &[], &stop_after(stop)).unwrap();
        assert_eq!(again.step, stop);
        let summary = bench.train(&name, &[], &resume()).unwrap();
        assert_eq!((summary.resumed_from, summary.step), (stop, 20));
        assert_eq!(bench.manifest(&name), bench.manifest("whole"));
        assert_eq!(bench.checkpoints(&name), bench.checkpoints("whole"));
    }
}

#[test]
fn killed_anywhere_and_started_again_is_the_run_that_never_stopped() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    for kill in [0, 3, 5, 12, 19] {
        let name = format!("killed-{kill}");
        let asked = AtomicUsize::new(0);
        let die = || {
            assert!(asked.fetch_add(1, Relaxed) < kill, "killed");
            false
        };
        let killed = || bench.train_until(&name, &[], &options(), &die);
        assert!(catch_unwind(AssertUnwindSafe(killed)).is_err());
        leave_halves(&bench.path(&name));
        let summary = bench.train(&name, &[], &options()).unwrap();
        assert_eq!(summary.resumed_from, kill as u64 / 5 * 5);
        assert_eq!(bench.manifest(&name), bench.manifest("whole"), "killed after {kill} steps");
    }
}

/// What a kill in the middle of a write leaves: half a line, half a checkpoint, an evaluation of a
/// step whose checkpoint never came.
fn leave_halves(run: &Path) {
    use std::io::Write;
    for (name, half) in [
        (layout::METRICS, "{\"step\":21,\"tokens\":1,\"loss\":1.0,\"lear"),
        (layout::EVALS, "{\"step\":99}\n"),
        (layout::SAMPLES, "{\"st"),
    ] {
        io::append(&run.join(name)).unwrap().write_all(half.as_bytes()).unwrap();
    }
    let attempt = run.join(layout::CHECKPOINTS).join("step-000020.tmp-00000001");
    io::create_directory(&attempt).unwrap();
    io::write(&attempt.join("model.safetensors"), b"half").unwrap();
}

#[test]
fn interrupted_finishes_the_step_and_continues() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    let asked = AtomicUsize::new(0);
    let interrupt = || asked.fetch_add(1, Relaxed) >= 8;
    let error = bench.train_until("run", &[], &options(), &interrupt).unwrap_err();
    assert!(matches!(error, Error::Interrupted));
    assert_eq!(bench.checkpoints("run"), ["step-000005", "step-000008"]);
    bench.train("run", &[], &options()).unwrap();
    assert_eq!(bench.manifest("run"), bench.manifest("whole"));
}

#[test]
fn a_finished_run_is_up_to_date_and_its_config_is_taken_back() {
    let bench = Bench::new();
    let first = bench.train("run", &[], &options()).unwrap();
    let before = bench.manifest("run");
    let again = bench.train("run", &["train.log_every=1"], &options()).unwrap();
    assert!(again.up_to_date && !first.up_to_date);
    assert_eq!((again.loss, again.evals, again.samples), (first.loss, first.evals, first.samples));
    let resolved = config::read(&bench.path("run").join(layout::CONFIG)).unwrap();
    assert!(bench.train_table("run", resolved, &options(), &|| false).unwrap().up_to_date);
    assert_eq!(bench.manifest("run"), before);
}

#[test]
fn another_fingerprint_makes_the_old_run_step_aside() {
    let bench = Bench::new();
    let sets = ["train.steps=2", "train.eval_every=0"];
    bench.train("run", &sets, &options()).unwrap();
    let old = Manifest::read(&bench.path("run")).unwrap().fingerprint;
    let asked = [&sets[..], &["train.learning_rate=2e-2"]].concat();
    let summary = bench.train("run", &asked, &options()).unwrap();
    let aside = bench.path(&format!("run@{}", old.short()));
    assert_eq!(summary.stepped_aside.as_ref(), Some(&aside));
    assert_eq!(Manifest::read(&aside).unwrap().fingerprint, old);
    let fresh = TrainOptions { fresh: true, ..options() };
    let summary = bench.train("run", &asked, &fresh).unwrap();
    assert_eq!((summary.resumed_from, summary.step), (0, 2));
    assert!(summary.stepped_aside.unwrap().to_str().unwrap().contains("run@"));
}

#[test]
fn resume_takes_more_steps_and_nothing_else() {
    let bench = Bench::new();
    bench.train("run", &["train.steps=10"], &options()).unwrap();
    let error = bench.train("run", &["train.learning_rate=2e-2"], &resume()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("`train.learning_rate`, `train.steps`"), "{message}");
    let error = bench.train("run", &["train.steps=4"], &resume()).unwrap_err();
    assert!(error.to_string().contains("`train.steps` is 4, but the run has done 10"), "{error}");

    let summary = bench.train("run", &[], &resume()).unwrap();
    assert_eq!((summary.resumed_from, summary.step), (10, 20));
    assert!(bench.train("run", &[], &options()).unwrap().up_to_date);
    // An extended run is a function of its own config, which says where it was extended.
    let resolved = config::read(&bench.path("run").join(layout::CONFIG)).unwrap();
    bench.train_table("again", resolved, &options(), &|| false).unwrap();
    assert_eq!(bench.manifest("again"), bench.manifest("run"));
    bench.train("straight", &[], &options()).unwrap();
    let fingerprint = |name: &str| Manifest::read(&bench.path(name)).unwrap().fingerprint;
    assert_ne!(fingerprint("straight"), fingerprint("run"));
}

#[test]
fn micro_batches_change_no_loss_by_more_than_rounding() {
    let bench = Bench::new();
    bench.train("four", &[], &options()).unwrap();
    bench.train("one", &["train.micro_batch=1"], &options()).unwrap();
    for (four, one) in bench.metrics("four").iter().zip(bench.metrics("one")) {
        assert!(
            (four.loss - one.loss).abs() < 1e-4,
            "step {}: {} {}",
            one.step,
            four.loss,
            one.loss
        );
    }
}

#[test]
fn a_mix_is_read_once_and_more_is_refused_with_both_numbers() {
    let bench = Bench::new();
    let sets = ["train.steps=all", "train.eval_every=0", "train.checkpoint_every=0"];
    let summary = bench.train("run", &sets, &options()).unwrap();
    assert_eq!(summary.step, MIX_TOKENS / 128);
    let error = bench.train("more", &["train.steps=\"1k\""], &options()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("128,000") && message.contains("the mix has 3,754"), "{message}");
    assert_eq!(error.exit_status(), 2);
    assert!(!bench.path("more").exists());
}

#[test]
fn a_directory_that_is_no_run_is_left_alone() {
    let bench = Bench::new();
    let error = bench.train("mix", &[], &options()).unwrap_err();
    assert!(error.to_string().contains("is a mix, made by `fixture`"), "{error}");
    io::create_directory(&bench.path("notes")).unwrap();
    io::write(&bench.path("notes").join("a.txt"), b"mine").unwrap();
    let error = bench.train("notes", &[], &options()).unwrap_err();
    assert!(error.to_string().contains("is no run") && error.to_string().contains("a.txt"));
}

#[test]
fn any_checkpoint_generates_and_the_same_text_each_time() {
    let bench = Bench::new();
    bench.train("run", &[], &options()).unwrap();
    let text = |path: &str, step: Option<u64>| {
        let request = GenerateOptions {
            step,
            max_tokens: 12,
            sampling: Sampling::at(1.0, 3),
            stops: Vec::new(),
            device: "cpu".into(),
        };
        let mut streamed = String::new();
        let sample =
            Generator::open(&bench.path(path), &request, &|_| ())?.write("ab", |text| {
                streamed.push_str(text);
                Ok(())
            })?;
        assert_eq!(sample.text, streamed);
        Ok::<_, Error>((sample.step.unwrap(), streamed))
    };
    let latest = text("run", None).unwrap();
    assert_eq!(latest.0, 20);
    assert_eq!(text("run/checkpoints/step-000020", None).unwrap(), latest);
    assert_eq!(text("run", Some(15)).unwrap().0, 15);
    assert!(text("run", Some(3)).unwrap_err().to_string().contains("15, 20"));
    assert!(text("mix", None).is_err());
}
