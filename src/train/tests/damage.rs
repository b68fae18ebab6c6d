//! A damaged run never trains on: what differs is named, and the checkpoint before serves.

use std::path::PathBuf;

use super::{Bench, options, resume, stop_after};
use crate::artifact::manifest::{self, Manifest};
use crate::base::{
    error::{Error, Result},
    io,
};
use crate::runtime::model::Sampling;
use crate::train::{Begin, GenerateOptions, Generator, TrainOptions, TrainSummary, layout};

const CHECKPOINT_FILES: [&str; 4] =
    ["model.safetensors", "optimizer.safetensors", "state.json", "hashes.json"];

/// A way to damage a file.
type Damage = fn(&mut Vec<u8>);

const DAMAGES: [(&str, Damage); 5] = [
    ("a flipped bit", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
    }),
    ("a flipped bit at the end", |bytes| {
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
    }),
    ("a cut", |bytes| bytes.truncate(bytes.len() - 5)),
    ("nothing", Vec::clear),
    ("something else", |bytes| *bytes = b"{\"step\": garbage".to_vec()),
];

impl Bench {
    fn damage(&self, file: &str, damage: Damage) {
        let path = self.path(file);
        let mut bytes = io::read(&path).unwrap();
        damage(&mut bytes);
        io::write(&path, &bytes).unwrap();
    }

    /// Stops `name` after step 12: checkpoints 5, 10 and 12 were made, 5 went.
    fn stop(&self, name: &str) {
        io::remove_directory(&self.path(name)).unwrap();
        self.train(name, &[], &stop_after(12)).unwrap();
        assert_eq!(self.checkpoints(name), ["step-000005", "step-000010", "step-000012"]);
    }

    /// (path, bytes) of everything in a run but its lock.
    fn tree(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let files = io::files_below(&self.path(name)).unwrap();
        let files = files.into_iter().filter(|path| !path.ends_with(".lock"));
        files.map(|path| (path.clone(), io::read(&path).unwrap())).collect()
    }

    /// Makes of a run of this version one that version 1 would have left.
    fn as_version_one(&self, name: &str, is_listed: bool) {
        let run = self.path(name);
        let mut manifest = Manifest::read(&run).unwrap();
        for step in self.checkpoints(name) {
            let path = run.join(layout::CHECKPOINTS).join(step).join("hashes.json");
            io::remove_file(&path).unwrap();
        }
        manifest.stage_version = 1;
        manifest.files.retain(|file| is_listed && !file.name.ends_with("hashes.json"));
        let Manifest { stage, seed, config, inputs, .. } = &manifest;
        manifest.fingerprint = manifest::fingerprint(stage, 1, *seed, config, inputs);
        manifest.write(&run).unwrap();
    }

    fn generate(&self, name: &str, step: Option<u64>) -> Result<(u64, Vec<String>)> {
        let request = GenerateOptions {
            step,
            max_tokens: 4,
            sampling: Sampling::at(0.0, 0),
            stops: Vec::new(),
            device: "cpu".into(),
        };
        let warnings = std::cell::RefCell::new(Vec::new());
        let warn = |text: &str| warnings.borrow_mut().push(text.to_owned());
        let sample = Generator::open(&self.path(name), &request, &warn)?.write("ab", |_| Ok(()))?;
        Ok((sample.step.unwrap(), warnings.into_inner()))
    }
}

fn assert_named(summary: &TrainSummary, from: u64, file: &str) {
    assert_eq!(summary.resumed_from, from, "{file}: {:?}", summary.warnings);
    let named = summary.warnings.iter().any(|warning| warning.contains(file));
    assert!(named, "{file}: {:?}", summary.warnings);
}

#[test]
fn a_damaged_latest_checkpoint_is_named_and_the_one_before_ends_in_the_same_bytes() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    for file in CHECKPOINT_FILES {
        for (what, damage) in DAMAGES {
            bench.stop("run");
            bench.damage(&format!("run/checkpoints/step-000012/{file}"), damage);
            let summary = bench.train("run", &[], &resume()).unwrap();
            assert_named(&summary, 10, "step-000012");
            assert_eq!(bench.manifest("run"), bench.manifest("whole"), "{what} in {file}");
        }
        bench.stop("run");
        io::remove_file(&bench.path(&format!("run/checkpoints/step-000012/{file}"))).unwrap();
        let summary = bench.train("run", &[], &options()).unwrap();
        assert_named(&summary, 10, file);
        assert_eq!(bench.manifest("run"), bench.manifest("whole"), "{file} is gone");
    }
}

#[test]
fn files_of_another_step_and_a_checkpoint_that_is_gone_are_noticed() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    let step = |step: &str, file: &str| format!("run/checkpoints/step-0000{step}/{file}");
    for file in CHECKPOINT_FILES {
        bench.stop("run");
        let other = io::read(&bench.path(&step("10", file))).unwrap();
        io::write(&bench.path(&step("12", file)), &other).unwrap();
        assert_named(&bench.train("run", &[], &options()).unwrap(), 10, "step-000012");
        assert_eq!(bench.manifest("run"), bench.manifest("whole"), "{file}");
    }
    bench.stop("run");
    for file in CHECKPOINT_FILES {
        let other = io::read(&bench.path(&step("10", file))).unwrap();
        io::write(&bench.path(&step("12", file)), &other).unwrap();
    }
    assert_named(&bench.train("run", &[], &options()).unwrap(), 10, "step-000012/state.json");
    assert_eq!(bench.manifest("run"), bench.manifest("whole"));
    bench.stop("run");
    io::remove_directory(&bench.path("run/checkpoints/step-000012")).unwrap();
    assert_named(&bench.train("run", &[], &options()).unwrap(), 10, "is missing");
    assert_eq!(bench.manifest("run"), bench.manifest("whole"));
}

#[test]
fn records_that_do_not_reach_a_checkpoint_are_not_continued_from_there() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    let cut_after: fn(&str, usize) -> String =
        |text, lines| text.split_inclusive('\n').take(lines).collect();
    for (file, lines, from) in
        [("metrics.jsonl", 11, 10), ("metrics.jsonl", 7, 5), ("evals.jsonl", 4, 10)]
    {
        bench.stop("run");
        let path = bench.path("run").join(file);
        let text = io::read_text(&path).unwrap();
        io::write(&path, cut_after(&text, lines).as_bytes()).unwrap();
        assert_named(&bench.train("run", &[], &options()).unwrap(), from, file);
        assert_eq!(bench.manifest("run"), bench.manifest("whole"), "{lines} of {file}");
    }
    bench.stop("run");
    bench.damage("run/evals/step-000012.jsonl", DAMAGES[0].1);
    assert_named(&bench.train("run", &[], &options()).unwrap(), 10, "evals/step-000012.jsonl");
    assert_eq!(bench.manifest("run"), bench.manifest("whole"));
}

/// With adapters, blocks that run again, an average, Muon: a flipped bit in each file that lies in
/// a checkpoint, also in those that training does not read.
#[test]
fn whatever_is_trained_a_bit_in_any_file_of_its_checkpoint_is_named() {
    let bench = Bench::new();
    bench.train("base", &[], &options()).unwrap();
    let begin = Begin { init_from: Some(bench.path("base")), ..Begin::default() };
    let from_base = TrainOptions { begin, ..options() };
    let kinds: [(&[&str], &TrainOptions); 2] = [
        (&["lora.rank=4", "train.recompute=true"], &from_base),
        (&["train.ema=0.9", "optimizer.kind=muon", "train.recompute=1"], &options()),
    ];
    for (sets, begun) in kinds {
        let start = |name: &str, stop_after| {
            io::remove_directory(&bench.path(name)).unwrap();
            bench.train(name, sets, &TrainOptions { stop_after, ..begun.clone() }).unwrap();
        };
        start("whole", None);
        start("run", Some(12));
        let inside = bench.path("run/checkpoints/step-000012");
        let files = io::files_below(&inside).unwrap();
        assert!(files.len() >= 8, "{files:?}");
        for file in files {
            start("run", Some(12));
            let name = file.file_name().unwrap().to_str().unwrap();
            bench.damage(&format!("run/checkpoints/step-000012/{name}"), DAMAGES[0].1);
            let summary = bench.train("run", sets, &resume()).unwrap();
            assert_named(&summary, 10, name);
            assert_eq!(bench.manifest("run"), bench.manifest("whole"), "{sets:?} {name}");
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_named_with_the_one_that_is_used() {
    let bench = Bench::new();
    bench.stop("run");
    let last = bench.checkpoints("run").pop().unwrap();
    bench.damage(&format!("run/checkpoints/{last}/model.safetensors"), DAMAGES[0].1);
    let summary = bench.train("run", &[], &options()).unwrap();
    assert!(summary.warnings[0].ends_with("; it goes on after step 10"), "{summary}");
}

#[test]
fn with_no_checkpoint_left_nothing_is_touched_and_the_error_says_what_to_do() {
    let bench = Bench::new();
    for file in ["metrics.jsonl", "checkpoints"] {
        bench.stop("run");
        if file == "checkpoints" {
            for step in bench.checkpoints("run") {
                let path = format!("run/checkpoints/{step}/optimizer.safetensors");
                bench.damage(&path, DAMAGES[0].1);
            }
        } else {
            bench.damage("run/metrics.jsonl", |bytes| bytes[20] ^= 1);
        }
        let before = bench.tree("run");
        let error = bench.train("run", &[], &resume()).unwrap_err();
        let message = error.to_string();
        for step in bench.checkpoints("run") {
            assert!(message.contains(&step), "{message}");
        }
        assert!(error.hint().unwrap().contains("--fresh"), "{:?}", error.hint());
        assert_eq!(bench.tree("run"), before, "{file}");
    }
    bench.stop("run");
    io::remove_directory(&bench.path("run/checkpoints")).unwrap();
    let error = bench.train("run", &[], &options()).unwrap_err();
    assert!(error.to_string().contains("step-000012` is missing"), "{error}");
}

#[test]
fn copies_and_clocks_are_written_anew_and_named() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    for file in ["tokenizer.json", "config.toml", "state.json"] {
        for (what, damage) in DAMAGES {
            bench.stop("run");
            bench.damage(&format!("run/{file}"), damage);
            let summary = bench.train("run", &[], &options()).unwrap();
            // A standing that reads, but differs, decides nothing: the checkpoints do.
            if file != "state.json" || what == "something else" {
                assert_named(&summary, 12, file);
            }
            assert_eq!(bench.manifest("run"), bench.manifest("whole"), "{what} in {file}");
        }
    }
    for file in ["run.json", "timing.jsonl"] {
        bench.stop("run");
        bench.damage(&format!("run/{file}"), DAMAGES[4].1);
        bench.train("run", &[], &options()).unwrap();
        assert_eq!(bench.manifest("run"), bench.manifest("whole"), "{file}");
    }
    bench.stop("run");
    bench.damage("run/manifest.json", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("\"seed\": 0", "\"seed\": 1").into_bytes();
    });
    let error = bench.train("run", &[], &options()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn a_finished_run_with_a_damaged_end_is_not_up_to_date() {
    let bench = Bench::new();
    bench.train("run", &[], &options()).unwrap();
    let whole = bench.manifest("run");
    for file in ["checkpoints/step-000020/optimizer.safetensors", "tokenizer.json"] {
        bench.damage(&format!("run/{file}"), DAMAGES[0].1);
        let summary = bench.train("run", &[], &options()).unwrap();
        assert!(!summary.up_to_date && !summary.warnings.is_empty(), "{file}");
        assert_eq!(bench.manifest("run"), whole, "{file}");
        assert!(bench.train("run", &[], &options()).unwrap().up_to_date);
    }
}

#[test]
fn runs_of_version_one_continue_and_their_damage_is_noticed() {
    let bench = Bench::new();
    bench.train("whole", &[], &options()).unwrap();
    let last = |name: &str| io::read(&bench.path(name).join(layout::METRICS)).unwrap();
    for is_listed in [true, false] {
        bench.stop("run");
        bench.as_version_one("run", is_listed);
        let summary = bench.train("run", &[], &resume()).unwrap();
        assert_eq!((summary.resumed_from, summary.step), (12, 20));
        assert_eq!(last("run"), last("whole"));
        assert_eq!(Manifest::read(&bench.path("run")).unwrap().stage_version, 1);

        for (what, damage) in DAMAGES {
            // Without any hash the format shows a cut, never a flipped bit.
            if is_listed || !what.starts_with("a flipped") {
                bench.stop("run");
                bench.as_version_one("run", is_listed);
                bench.damage("run/checkpoints/step-000012/optimizer.safetensors", damage);
                let summary = bench.train("run", &[], &resume()).unwrap();
                assert_named(&summary, 10, "optimizer.safetensors");
                assert_eq!(last("run"), last("whole"));
            }
        }
        bench.stop("run");
        bench.as_version_one("run", is_listed);
        let text = io::read_text(&bench.path("run/metrics.jsonl")).unwrap();
        let short: String = text.split_inclusive('\n').take(10).collect();
        io::write(&bench.path("run/metrics.jsonl"), short.as_bytes()).unwrap();
        let found = bench.train("run", &[], &resume());
        match is_listed {
            true => assert!(found.unwrap_err().to_string().contains("metrics.jsonl")),
            false => assert_named(&found.unwrap(), 10, "metrics.jsonl"),
        }
    }
}

#[test]
fn generation_goes_back_to_a_checkpoint_that_is_whole() {
    let bench = Bench::new();
    bench.train("run", &[], &options()).unwrap();
    assert_eq!(bench.generate("run", None).unwrap(), (20, vec![]));
    bench.damage("run/checkpoints/step-000020/optimizer.safetensors", DAMAGES[0].1);
    let (step, warnings) = bench.generate("run", None).unwrap();
    assert_eq!(step, 20, "{warnings:?}");
    assert!(warnings[0].contains("optimizer.safetensors"), "{warnings:?}");
    bench.damage("run/checkpoints/step-000020/model.safetensors", DAMAGES[0].1);
    let (step, warnings) = bench.generate("run", None).unwrap();
    assert_eq!(step, 15);
    assert!(warnings[0].contains("step-000020/model.safetensors"), "{warnings:?}");
    let named = bench.generate("run", Some(20)).unwrap_err();
    assert!(matches!(named, Error::Damaged { .. }), "{named}");
    assert!(bench.generate("run/checkpoints/step-000020", None).is_err());
    bench.damage("run/tokenizer.json", |bytes| bytes[900] ^= 1);
    assert!(bench.generate("run", None).unwrap_err().to_string().contains("tokenizer.json"));
}

#[test]
fn a_stretch_of_a_version_that_summed_otherwise_is_not_called_faulty() {
    let bench = Bench::new();
    bench.train("run", &[], &options()).unwrap();
    let mut manifest = Manifest::read(&bench.path("run")).unwrap();
    let Manifest { stage, seed, config, inputs, .. } = &manifest;
    manifest.fingerprint = manifest::fingerprint(stage, 4, *seed, config, inputs);
    manifest.stage_version = 4;
    manifest.write(&bench.path("run")).unwrap();
    let begin = Begin { verify: true, ..Begin::default() };
    let verified = TrainOptions { begin, ..resume() };
    let error = bench.train("run", &[], &verified).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("version 4 of `train` computed otherwise"), "{message}");
    assert_eq!(error.exit_status(), 2);
}
