//! What the Python package says: merges, ids and files must be equal to its own.
//!
//! In: `fixtures/tokenizer` (made by `tests/golden/make_tokenizer.py`) and, where they lie beside
//! the repository, the large vocabularies of `../shared/data/tokenizers`. Tests only.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::Value;

use super::config::TokenizerConfig;
use super::encode::Tokenizer;
use super::learn::learn;
use super::split::{Splitter, regex_of};
use super::words::WordCounts;
use crate::base::size::Count;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tokenizer")
}

fn lines(path: &Path) -> Vec<Value> {
    let mut bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "zst") {
        bytes = zstd::decode_all(bytes.as_slice()).unwrap();
    }
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, &mut ids).unwrap();
    ids
}

static CL100K: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::open(&fixtures().join("cl100k.json")).unwrap());
static GPT2: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::open(&fixtures().join("gpt2.json")).unwrap());

/// The same vocabulary, encoded by the crate as a whole.
static WHOLE: LazyLock<Tokenizer> = LazyLock::new(|| {
    let mut tokenizer = Tokenizer::open(&fixtures().join("cl100k.json")).unwrap();
    tokenizer.encode_as_a_whole();
    tokenizer
});

fn train(pattern: &str, vocab: u64) -> Vec<u8> {
    let splitter = Splitter::new(regex_of(pattern).unwrap()).unwrap();
    let mut words = WordCounts::default();
    for document in lines(&fixtures().join("documents.jsonl.zst")) {
        let add = |piece: &str| {
            words.add(piece, 1);
            Ok(())
        };
        splitter.pieces(document["text"].as_str().unwrap(), add).unwrap();
    }
    let config = TokenizerConfig {
        vocab: Some(Count(vocab)),
        pattern: pattern.into(),
        ..TokenizerConfig::default()
    };
    learn(&words, &config.resolve().unwrap()).unwrap()
}

#[test]
fn the_trained_file_is_byte_for_byte_that_of_the_python_package() {
    for pattern in ["cl100k", "gpt2"] {
        let theirs = std::fs::read(fixtures().join(format!("{pattern}.json"))).unwrap();
        let ours = train(pattern, 1000);
        let merges =
            |file: &[u8]| serde_json::from_slice::<Value>(file).unwrap()["model"]["merges"].clone();
        assert_eq!(merges(&ours), merges(&theirs), "{pattern}");
        assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
    }
}

#[test]
fn ids_are_those_of_the_python_package() {
    for line in lines(&fixtures().join("golden.jsonl.zst")) {
        let text = line["text"].as_str().unwrap();
        assert_eq!(encode(&CL100K, text), ids(&line["cl100k"]), "{text:?}");
        assert_eq!(encode(&GPT2, text), ids(&line["gpt2"]), "{text:?}");
        assert_eq!(encode(&WHOLE, text), ids(&line["cl100k"]), "{text:?}");
    }
}

#[test]
fn ids_of_large_vocabularies_are_those_of_the_python_package() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/tokenizers");
    if !folder.is_dir() {
        eprintln!("left out: no `{}` on this machine", folder.display());
        return;
    }
    let special = "<|endoftext|>"; // taken out of the text there, kept as text here
    for name in ["gpt2", "cl100k_base", "gpt-neox-olmo"] {
        let tokenizer = Tokenizer::open(&folder.join(name)).unwrap();
        let mut compared = 0;
        for line in lines(&folder.join("golden.jsonl")) {
            let text = line["text"].as_str().unwrap();
            let expected = &line["ids"][name];
            if !text.contains(special) && !expected.is_null() {
                assert_eq!(encode(&tokenizer, text), ids(expected), "{name}: {text:?}");
                compared += 1;
            }
        }
        assert!(compared > 500, "{name}: only {compared} texts compared");
    }
}

#[test]
fn text_that_spells_a_special_token_stays_text() {
    let text = "a<|endoftext|>b";
    for tokenizer in [&*CL100K, &*GPT2, &*WHOLE] {
        let ids = encode(tokenizer, text);
        assert!(!ids.contains(&0) && ids.len() > 3, "{ids:?}");
        assert_eq!(tokenizer.decode(&ids), text.as_bytes());
        assert!(tokenizer.spells_special_token(text));
        assert!(!tokenizer.spells_special_token("<|endoftext|"));
    }
}

#[test]
fn a_vocabulary_knows_its_size_and_its_end_of_text() {
    assert_eq!(CL100K.vocab_size(), 1000);
    assert_eq!(CL100K.end_of_text(None).unwrap(), Some(("<|endoftext|>".into(), 0)));
    assert_eq!(CL100K.end_of_text(Some("!")).unwrap(), Some(("!".into(), 1)));
    let error = CL100K.end_of_text(Some("</s>")).unwrap_err();
    assert!(error.to_string().contains("`</s>`") && error.hint().is_some());
    assert_eq!(CL100K.decode_text(&[0]), "<|endoftext|>");
    assert_ne!(CL100K.fingerprint(), GPT2.fingerprint());
}

#[test]
fn a_saved_tokenizer_is_the_same_bytes_and_its_roles_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    CL100K.save(folder.path()).unwrap();
    let roles = r#"{"eos_token": {"content": "!"}}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), roles).unwrap();
    let back = Tokenizer::open(folder.path()).unwrap();
    assert_eq!(back.fingerprint(), CL100K.fingerprint());
    assert_eq!(back.end_of_text(None).unwrap(), Some(("!".into(), 1)));
    assert!(Tokenizer::open(&folder.path().join("absent")).unwrap_err().hint().is_some());
}

#[test]
fn a_file_that_would_cut_pad_or_roll_dice_does_none_of_it() {
    let json = std::fs::read(fixtures().join("cl100k.json")).unwrap();
    let mut file: Value = serde_json::from_slice(&json).unwrap();
    file["truncation"] = serde_json::json!({"direction": "Right", "max_length": 2,
        "strategy": "LongestFirst", "stride": 0});
    for normalizer in [Value::Null, serde_json::json!({"type": "NFC"})] {
        file["normalizer"] = normalizer;
        let bytes = serde_json::to_vec(&file).unwrap();
        let tokenizer = Tokenizer::from_parts(bytes, None, Path::new("cut")).unwrap();
        assert_eq!(encode(&tokenizer, "one two three"), encode(&CL100K, "one two three"));
    }
    file["model"]["dropout"] = serde_json::json!(0.1);
    let random = Tokenizer::from_parts(serde_json::to_vec(&file).unwrap(), None, Path::new("x"));
    assert!(random.unwrap_err().hint().unwrap().contains("dropout"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn decoding_gives_the_bytes_back_and_both_ways_to_encode_agree(
        text in r"(\PC|[ \n\r\t'a1.éſs/\u{3000}\u{301}<|>]){0,60}"
    ) {
        let ids = encode(&CL100K, &text);
        prop_assert_eq!(CL100K.decode(&ids), text.as_bytes());
        prop_assert_eq!(encode(&WHOLE, &text), ids);
        prop_assert_eq!(GPT2.decode(&encode(&GPT2, &text)), text.as_bytes());
    }
}
