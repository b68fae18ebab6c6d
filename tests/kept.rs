//! Kept artifacts of every kind, as earlier builds wrote them: this one must read them.
//!
//! `fixtures/make_formats.sh` made them, once. A format that changes gets another version; then
//! the old set stays, with what must become of it, and a new set joins it.

use std::path::PathBuf;

use dataprep::{
    artifact::manifest::Manifest,
    source::{InputSpec, Inputs},
};

use crate::support::{TestDir, project};

/// The first set: shards in corpus order, mixes by window, checkpoints with padded tables. In the
/// second shards lie by cell, and mixes have phases. In the third no step drops a held-out
/// document, and what it would have done goes with it.
const SETS: [&str; 3] = ["1", "2", "3"];

/// The first set: what is of equal form in all of them.
pub fn kept() -> PathBuf {
    set("1")
}

/// A set by its number.
pub fn set(name: &str) -> PathBuf {
    project().join("fixtures/formats").join(name)
}

const ARTIFACTS: [&str; 5] = ["corpus", "filtered", "unique", "tokens", "mix"];

/// A directory with the kept sets in it, and the text they were made of where it lay.
fn copied() -> TestDir {
    let directory = TestDir::new();
    for name in SETS {
        directory.copy(&set(name), &format!("fixtures/formats/{name}"));
    }
    directory.copy(&project().join("fixtures/corpora/wikipedia"), "fixtures/corpora/wikipedia");
    directory
}

#[test]
fn kept_artifacts_are_inspected_and_verified() {
    let directory = copied();
    let artifacts = || ARTIFACTS.iter().chain(&["tokens/tokenizer"]);
    let all = SETS.iter().flat_map(|set| artifacts().map(move |artifact| (set, artifact)));
    for (set, artifact) in all {
        let path = format!("fixtures/formats/{set}/{artifact}");
        let shown = directory.dataprep(&format!("inspect {path}")).ok().stdout;
        assert!(shown.lines().count() > 1, "{artifact}: {shown}");
        directory.dataprep(&format!("verify {path}")).ok();
    }
}

#[test]
fn kept_text_is_read_by_the_next_stage_and_kept_shards_by_the_next_mix() {
    let directory = copied();
    for name in SETS {
        for artifact in ["corpus", "filtered", "unique"] {
            let path = set(name).join(artifact);
            let inputs = Inputs::open(&[InputSpec::of(&path)], &Default::default()).unwrap();
            let written = Manifest::read(&path).unwrap().counts.documents_out;
            assert_eq!(inputs.documents(), Some(written), "{artifact}");
        }
        let set = format!("fixtures/formats/{name}");
        let tokenizer = format!("{set}/tokens/tokenizer");
        directory.dataprep(&format!("dedup {set}/filtered --out unique{name}")).ok();
        let tokenize = format!("tokenize unique{name} --tokenizer {tokenizer} --out t{name}");
        directory.dataprep(&tokenize).ok();
        directory.dataprep(&format!("mix w={set}/tokens:1 --tokens 4k --out mix{name}")).ok();
    }
    // However shards lie, a mix is validated on the same documents.
    let validation = |mix: &str| directory.tree(mix)["validation.arrow"].clone();
    assert_eq!(validation("mix1"), validation("mix2"));
}

/// What this build writes of the same text is what the set holds, but for who wrote it.
#[test]
fn the_kept_set_is_what_this_build_writes() {
    let directory = copied();
    let set = "fixtures/formats/3";
    directory.dataprep(&format!("dedup {set}/filtered --out unique")).ok();
    let identity = |path: PathBuf| Manifest::read(&path).unwrap().files_identity();
    let (kept, written) = (self::set("3").join("unique"), directory.path("unique"));
    assert_eq!(identity(written), identity(kept));
}

#[cfg(feature = "train")]
#[test]
fn a_kept_run_is_generated_from_and_resumed() {
    let directory = copied();
    for name in SETS {
        generate_and_resume(&directory, &format!("fixtures/formats/{name}"));
    }
}

#[cfg(feature = "train")]
fn generate_and_resume(directory: &TestDir, set: &str) {
    directory.dataprep(&format!("inspect {set}/run")).ok();
    directory.dataprep(&format!("verify {set}/run")).ok();
    let generate = format!("generate {set}/run --prompt The --max-tokens 8 --temperature 0");
    let text = directory.dataprep(&generate).ok().stdout;
    assert!(!text.is_empty());
    let train = format!("train --data {set}/mix --out {set}/run --config {set}/run/config.toml");
    let resumed = directory.dataprep(&train).ok();
    assert!(directory.path(&format!("{set}/run/checkpoints/step-000004")).is_dir(), "{resumed:?}");
    let metrics = directory.read(&format!("{set}/run/metrics.jsonl"));
    assert_eq!(metrics.lines().count(), 4, "{metrics}");
}

/// Another version of any of these is refused with its writer's version and both formats.
#[test]
fn another_format_says_which_version_wrote_it() {
    let directory = copied();
    let manifest = "fixtures/formats/1/corpus/manifest.json";
    let text = directory.read(manifest);
    let (head, rest) = text.split_once("\"format\": ").unwrap();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    directory.write(manifest, format!("{head}\"format\": 99{rest}"));
    for command in ["inspect", "verify", "filter --rules gopher_quality --out x"] {
        let refused = directory.dataprep(&format!("{command} fixtures/formats/1/corpus"));
        assert_ne!(refused.status, 0, "{command}");
        let message = &refused.stderr;
        assert!(
            message.contains("corpus/manifest.json` was written by dataprep 0.1.0"),
            "{command}: {message}"
        );
        assert!(message.contains("in format 99; this build reads format "), "{command}: {message}");
    } // And so for the files inside: the record of a mix, the footer of a shard.
    let record = "fixtures/formats/2/mix/mix.json";
    let text = directory.read(record);
    directory.write(record, text.replacen("\"format\": 2", "\"format\": 99", 1));
    let shard = directory.path("fixtures/formats/2/tokens/shard-00000.arrow");
    let mut bytes = std::fs::read(&shard).unwrap();
    let format = b"\"format\":1";
    let at = bytes.windows(format.len()).rposition(|window| window == format).unwrap();
    bytes[at + format.len() - 1] = b'9';
    std::fs::write(&shard, bytes).unwrap();
    for (path, format) in [("mix", "format 99; this"), ("tokens", "format 9; this")] {
        let refused = directory.dataprep(&format!("inspect fixtures/formats/2/{path}"));
        assert_ne!(refused.status, 0, "{path}");
        let message = &refused.stderr;
        assert!(message.contains("was written by dataprep 0.1.0"), "{path}: {message}");
        assert!(message.contains(format), "{path}: {message}");
    }
}
