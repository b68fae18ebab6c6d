//! What the Python package says: merges, ids and files must be equal to its own.
//!
//! In: `fixtures/tokenizer` (made by `tests/golden/make_tokenizer.py`) and, where they lie beside
//! the repository, the large vocabularies of `../shared/data/tokenizers`. Tests only.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::config::{SpecialText, TokenizerConfig, VocabSizes};
use super::encode::Tokenizer;
use super::learn::learn_from;
use super::split::{CL100K as CL100K_REGEX, O200K, QWEN2};
use crate::base::beside::beside;

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

fn config(pattern: &str, vocab: u64) -> TokenizerConfig {
    let config = TokenizerConfig {
        vocab: Some(VocabSizes(vec![vocab])),
        pattern: pattern.into(),
        ..TokenizerConfig::default()
    };
    config.resolve().unwrap()
}

fn train(pattern: &str, vocab: u64) -> Vec<u8> {
    let config = config(pattern, vocab);
    let documents = lines(&fixtures().join("documents.jsonl.zst"));
    let texts = documents.iter().map(|document| document["text"].as_str().unwrap());
    learn_from(texts, &config).unwrap()
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

/// Real vocabularies, where they lie beside the repository, with special tokens as tokens.
fn large(name: &str) -> Option<Tokenizer> {
    let folder = beside("data/tokenizers")?;
    Some(Tokenizer::open_with(&folder.join(name), SpecialText::Token).unwrap())
}

#[test]
fn ids_of_large_vocabularies_are_those_of_the_python_package() {
    for name in ["gpt2", "cl100k_base", "gpt-neox-olmo"] {
        let Some(tokenizer) = large(name) else { return };
        assert!(tokenizer.is_byte_pair(), "{name}: {:?}", tokenizer.notices());
        let Some(folder) = beside("data/tokenizers") else { return };
        let mut compared = 0;
        for line in lines(&folder.join("golden.jsonl")) {
            let (text, expected) = (line["text"].as_str().unwrap(), &line["ids"][name]);
            if !expected.is_null() {
                assert_eq!(encode(&tokenizer, text), ids(expected), "{name}: {text:?}");
                compared += 1;
            }
        }
        assert!(compared > 500, "{name}: only {compared} texts compared");
    }
    // The file says 100257, which the package ignores, as the vocabulary does not hold the token.
    let moved = large("cl100k_base").unwrap();
    assert!(
        moved.notices().iter().any(|notice| notice.contains("100257")),
        "{:?}",
        moved.notices()
    );
}

/// The fixture's vocabulary with other parts around it.
fn variants() -> Vec<(&'static str, Value)> {
    let json = std::fs::read(fixtures().join("cl100k.json")).unwrap();
    let plain: Value = serde_json::from_slice(&json).unwrap();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": false});
    let split = |regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated",
             "invert": false},
            bytes.clone(),
        ]})
    };
    let added = |id: u32, content: &str, flag: &str, normalized: bool| {
        let mut token = json!({"id": id, "content": content, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": normalized, "special": false});
        token[flag] = true.into();
        token
    };
    let with = |changes: &[(&str, Value)]| {
        let mut file = plain.clone();
        changes.iter().for_each(|(key, value)| *file.pointer_mut(key).unwrap() = value.clone());
        file
    };
    let tokens = json!([
        plain["added_tokens"][0].clone(),
        added(1000, "a1", "single_word", false),
        added(1001, "<x>", "lstrip", false),
        added(1002, "éa", "rstrip", true),
        added(1003, "e\u{301}s", "single_word", true),
    ]);
    let digits = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": true},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    ]});
    let chain = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"\p{N}{1,2}"}, "behavior": "Isolated",
            "invert": false},
        {"type": "Digits", "individual_digits": false},
        {"type": "Split", "pattern": {"String": "."}, "behavior": "Isolated", "invert": false},
        bytes.clone(),
    ]});
    let nfc = json!({"type": "NFC"});
    vec![
        ("qwen2", with(&[("/pre_tokenizer", split(QWEN2)), ("/normalizer", nfc.clone())])),
        ("o200k", with(&[("/pre_tokenizer", split(O200K))])),
        ("smollm", with(&[("/pre_tokenizer", digits)])),
        ("chain", with(&[("/pre_tokenizer", chain)])),
        ("own regex", with(&[("/pre_tokenizer", split(r"\w+|[^\w\s]|\s"))])),
        ("ignore merges", with(&[("/model/ignore_merges", true.into())])),
        ("added", with(&[("/added_tokens", tokens.clone())])),
        ("added and NFC", with(&[("/added_tokens", tokens), ("/normalizer", nfc)])),
        ("not ours", with(&[("/normalizer", json!({"type": "Lowercase"}))])),
        ("plain", with(&[("/pre_tokenizer", split(CL100K_REGEX))])),
    ]
}

/// Each variant twice: by our encoder, and by the crate as a whole.
static VARIANTS: LazyLock<Vec<(&'static str, [Tokenizer; 2])>> = LazyLock::new(|| {
    let open = |file: &Value| {
        let bytes = serde_json::to_vec(file).unwrap();
        Tokenizer::from_parts(bytes, None, SpecialText::Token, Path::new("variant")).unwrap()
    };
    let both = |(name, file): (&'static str, Value)| {
        let (ours, mut theirs) = (open(&file), open(&file));
        assert_eq!(ours.is_byte_pair(), name != "not ours", "{name}: {:?}", ours.notices());
        assert_eq!(ours.notices().is_empty(), name != "not ours", "{name}");
        theirs.encode_as_a_whole();
        (name, [ours, theirs])
    };
    variants().into_iter().map(both).collect()
});

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
        let text = SpecialText::Text;
        let tokenizer = Tokenizer::from_parts(bytes, None, text, Path::new("cut")).unwrap();
        assert_eq!(encode(&tokenizer, "one two three"), encode(&CL100K, "one two three"));
    }
    file["model"]["dropout"] = serde_json::json!(0.1);
    let bytes = serde_json::to_vec(&file).unwrap();
    let random = Tokenizer::from_parts(bytes, None, SpecialText::Text, Path::new("x"));
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

    #[test]
    fn every_kind_of_file_gives_the_ids_of_the_tokenizers_crate(
        text in concat!(
            r"([ \n\r\t'a1.éſs/\u{3000}\u{301}\u{85}\u{2028}]",
            r"|\PC|a1|éa|<x>|'s|'LL|ABc|e\u{301}s){0,40}",
        )
    ) {
        for (name, [ours, theirs]) in VARIANTS.iter() {
            prop_assert_eq!(encode(ours, &text), encode(theirs, &text), "{}", name);
        }
    }
}
