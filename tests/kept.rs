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

/// The set that this build writes too.
pub fn kept() -> PathBuf {
    project().join("fixtures/formats/1")
}

const ARTIFACTS: [&str; 5] = ["corpus", "filtered", "unique", "tokens", "mix"];

/// A directory with the kept set in it, and the text it was made of where it lay.
fn copied() -> TestDir {
    let directory = TestDir::new();
    directory.copy(&kept(), "fixtures/formats/1");
    directory.copy(&project().join("fixtures/corpora/wikipedia"), "fixtures/corpora/wikipedia");
    directory
}

#[test]
fn kept_artifacts_are_inspected_and_verified() {
    let directory = copied();
    for artifact in ARTIFACTS.iter().chain(&["tokens/tokenizer"]) {
        let path = format!("fixtures/formats/1/{artifact}");
        let shown = directory.dataprep(&format!("inspect {path}")).ok().stdout;
        assert!(shown.lines().count() > 1, "{artifact}: {shown}");
        directory.dataprep(&format!("verify {path}")).ok();
    }
}

#[test]
fn kept_text_is_read_by_the_next_stage_and_kept_shards_by_the_next_mix() {
    let directory = copied();
    for artifact in ["corpus", "filtered", "unique"] {
        let path = kept().join(artifact);
        let inputs = Inputs::open(&[InputSpec::of(&path)], &Default::default()).unwrap();
        let written = Manifest::read(&path).unwrap().counts.documents_out;
        assert_eq!(inputs.documents(), Some(written), "{artifact}");
    }
    let set = "fixtures/formats/1";
    directory.dataprep(&format!("dedup {set}/filtered --out unique")).ok();
    directory.dataprep(&format!("tokenize unique --tokenizer {set}/tokens/tokenizer --out t")).ok();
    directory.dataprep(&format!("mix w={set}/tokens:1 --tokens 4k --out mix")).ok();
}

/// What this build writes of the same text is what the set holds, but for who wrote it.
#[test]
fn the_kept_set_is_what_this_build_writes() {
    let directory = copied();
    let set = "fixtures/formats/1";
    directory.dataprep(&format!("dedup {set}/filtered --out unique")).ok();
    let identity = |path: PathBuf| Manifest::read(&path).unwrap().files_identity();
    let (kept, written) = (kept().join("unique"), directory.path("unique"));
    assert_eq!(identity(written), identity(kept));
}

#[cfg(feature = "train")]
#[test]
fn a_kept_run_is_generated_from_and_resumed() {
    let directory = copied();
    let set = "fixtures/formats/1";
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
        assert!(message.contains("was written by dataprep 0.1.0"), "{command}: {message}");
        assert!(message.contains("in format 99; this build reads format "), "{command}: {message}");
    }
}
