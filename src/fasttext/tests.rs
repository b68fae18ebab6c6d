//! Models trained by the PyPI package fastText: same labels and scores; damaged files; round trips.

use std::path::PathBuf;

use serde_json::Value;

use super::{Model, ReadError, Scratch};

fn golden(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/fasttext");
    std::fs::read(folder.join(name)).expect("a golden file")
}

fn read(bytes: &[u8]) -> Result<Model, ReadError> {
    Model::read(&mut &bytes[..], bytes.len() as u64)
}

const MODELS: [&str; 9] = [
    "words.bin",
    "bigrams.bin",
    "trigrams_negative.bin",
    "hierarchical.bin",
    "one_vs_all.bin",
    "quantized.ftz",
    "quantized_pruned.ftz",
    "quantized_words.ftz",
    "quantized_output.ftz",
];

#[test]
fn predictions_are_those_of_the_python_package() {
    let expected: Value = serde_json::from_slice(&golden("predictions.json")).expect("JSON");
    let texts = expected["texts"].as_array().expect("texts");
    let mut worst = 0.0f64;
    for name in MODELS {
        let model = read(&golden(name)).expect(name);
        let mut scratch = Scratch::default();
        let cases = expected["models"][name].as_array().expect(name);
        assert_eq!(cases.len(), texts.len());
        for (text, case) in texts.iter().zip(cases) {
            let text = text.as_str().expect("a text");
            for (asked, (most, threshold)) in
                [(3, 0.0), (1, 0.0), (999, 0.2)].into_iter().enumerate()
            {
                let found = model.predict(text, most, threshold, &mut scratch);
                let pairs = case[asked].as_array().expect("pairs");
                assert_eq!(found.len(), pairs.len(), "{name} {asked} {text:?} {found:?} {pairs:?}");
                for (found, pair) in found.iter().zip(pairs) {
                    let label = &model.labels()[found.label as usize];
                    assert_eq!(Some(label.as_str()), pair[0].as_str(), "{name} {asked} {text:?}");
                    let score = pair[1].as_f64().expect("a score");
                    worst = worst.max((score - f64::from(found.probability)).abs());
                }
            }
            let all = model.predict(text, usize::MAX, 0.0, &mut scratch);
            let total: f64 = all.iter().map(|found| f64::from(found.probability)).sum();
            let expected = case[3].as_f64().expect("a sum");
            assert!((total - expected).abs() < 1e-5, "{name} {text:?}: {total}, {expected}");
        }
    }
    println!("worst difference {worst:e}");
    assert!(worst < 1e-6, "scores differ by {worst}");
}

#[test]
fn what_was_read_is_written_with_the_same_bytes() {
    for name in MODELS {
        let bytes = golden(name);
        let mut written = Vec::new();
        read(&bytes).expect(name).write(&mut written).expect("memory");
        assert!(written == bytes, "{name} differs");
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error_at_its_end() {
    for name in MODELS {
        let bytes = golden(name);
        for length in (0..bytes.len()).step_by(97).chain(bytes.len() - 40..bytes.len()) {
            match read(&bytes[..length]) {
                Err(ReadError::Format { offset, .. }) => assert!(offset <= length as u64),
                other => panic!("{name} cut at {length}: {other:?}"),
            }
        }
    }
}

#[test]
fn no_damaged_byte_makes_it_panic() {
    for name in ["bigrams.bin", "hierarchical.bin", "quantized_pruned.ftz", "quantized_output.ftz"]
    {
        let whole = golden(name);
        let mut scratch = Scratch::default();
        for position in (0..400).chain((400..whole.len()).step_by(61)) {
            for byte in [0x00, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[position] = byte;
                if let Ok(model) = read(&bytes) {
                    model.predict("all human beings are born free", 3, 0.0, &mut scratch);
                }
            }
        }
    }
}

#[test]
fn a_lying_header_is_named_with_its_byte() {
    let whole = golden("bigrams.bin");
    let damaged = |position: usize, bytes: &[u8]| {
        let mut copy = whole.clone();
        copy[position..position + bytes.len()].copy_from_slice(bytes);
        read(&copy).expect_err("damaged").to_string()
    };
    assert!(damaged(0, b"PK").starts_with("no fastText model: it begins with"));
    assert_eq!(damaged(4, &[13]), "the format version is 13; expected 11 to 12 (at byte 4)");
    assert!(damaged(36, &[1]).contains("word vectors, not a supervised model"));
    // 2^30 entries.
    let message = damaged(64, &[0, 0, 0, 64]);
    assert!(message.contains("1073741824"), "{message}");
}
