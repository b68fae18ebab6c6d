//! The stage as a whole, on the fixture's real documents: equal to the Python package, whatever the
//! threads and the cut into units. Tests only.

use std::path::{Path, PathBuf};

use super::SpecialText;
use super::config::{TokenizerConfig, VocabSizes};
use super::encode::Tokenizer;
use super::harness;
use super::run::TokenizerTrain;
use crate::artifact::counts::Counts;
use crate::artifact::stage::Stage;
use crate::artifact::unit;
use crate::base::error::{Error, Result};
use crate::base::size::Bytes;
use crate::source::InputConfig;

const MEMORY: u64 = 1 << 30;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tokenizer")
}

fn stage(path: &Path, input: InputConfig) -> TokenizerTrain {
    let config =
        TokenizerConfig { vocab: Some(VocabSizes(vec![1000])), ..TokenizerConfig::default() };
    TokenizerTrain::open(&[harness::spec("fixture", path)], input, config).unwrap()
}

/// Trains below a fresh folder: its `tokenizer.json` and the counts.
fn train(path: &Path, input: InputConfig, threads: usize) -> Result<(String, Counts)> {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(path, input);
    let counts = harness::run(&stage, folder.path(), threads, MEMORY)?;
    let last = stage.plan()?.phases.iter().map(|phase| phase.units.len()).sum::<usize>() - 1;
    let merged = unit::directory(folder.path(), last);
    assert!(merged.join("tokenizer_config.json").is_file());
    Ok((std::fs::read_to_string(merged.join("tokenizer.json")).unwrap(), counts))
}

fn hold_out(share: f64) -> InputConfig {
    InputConfig { holdout: Some(share), ..InputConfig::default() }
}

/// The fixture's documents as plain lines, so that units can cut them.
fn plain_documents(folder: &Path) -> PathBuf {
    let compressed = std::fs::read(fixtures().join("documents.jsonl.zst")).unwrap();
    let path = folder.join("documents.jsonl");
    std::fs::write(&path, zstd::decode_all(compressed.as_slice()).unwrap()).unwrap();
    path
}

#[test]
fn the_stage_writes_the_file_of_the_python_package() {
    let documents = fixtures().join("documents.jsonl.zst");
    let theirs = std::fs::read_to_string(fixtures().join("cl100k.json")).unwrap();
    let (ours, counts) = train(&documents, hold_out(0.0), 2).unwrap();
    assert_eq!(ours, theirs);
    let total = counts.total();
    assert_eq!((total.documents_in, total.documents_out), (63, 63));
    assert_eq!(total.bytes_in, total.bytes_out);
    assert_eq!(counts.extra["vocabulary"], 1000);
}

#[test]
fn threads_and_units_change_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = plain_documents(folder.path());
    let (whole, counts) = train(&path, hold_out(0.1), 1).unwrap();
    for (threads, unit_bytes) in [(1, 20_000), (3, 50_000)] {
        let input = InputConfig { unit_bytes: Some(Bytes(unit_bytes)), ..hold_out(0.1) };
        assert!(stage(&path, input.clone()).plan().unwrap().phases[0].units.len() > 2);
        assert_eq!(train(&path, input, threads).unwrap(), (whole.clone(), counts.clone()));
    }
}

#[test]
fn held_out_documents_train_nothing_and_are_counted() {
    let path = fixtures().join("documents.jsonl.zst");
    let (all, _) = train(&path, hold_out(0.0), 1).unwrap();
    let (most, counts) = train(&path, hold_out(0.3), 1).unwrap();
    assert_ne!(all, most);
    let total = counts.total();
    let held_out = total.dropped["held_out"];
    assert!((5..40).contains(&held_out), "{held_out} of 63 held out at 30%");
    assert_eq!(total.documents_out, 63 - held_out);
    assert!(total.bytes_out < total.bytes_in);
    let error = train(&path, hold_out(1.0), 1).unwrap_err();
    assert!(error.hint().unwrap().contains("holdout"), "{error}");
}

#[test]
fn too_little_memory_is_refused_with_the_number_needed() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&fixtures().join("documents.jsonl.zst"), hold_out(0.0));
    let error = harness::run(&stage, folder.path(), 1, 1 << 19).unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--memory"), "{error}");
}

#[test]
fn an_id_far_beyond_the_file_is_damage_and_no_table_of_that_length() {
    let json = std::fs::read(fixtures().join("gpt2.json")).unwrap();
    let mut file: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut opened = |id: u32| {
        file["added_tokens"][0]["id"] = id.into();
        file["model"]["vocab"]["<|endoftext|>"] = id.into();
        let bytes = serde_json::to_vec(&file).unwrap();
        Tokenizer::from_parts(bytes, None, SpecialText::Text, Path::new("odd.json"))
    };
    assert_eq!(opened(200_000).unwrap().vocab_size(), 200_001);
    let error = opened(u32::MAX - 1).err().unwrap().to_string();
    assert!(error.contains("odd.json") && error.contains("4294967294"), "{error}");
}
