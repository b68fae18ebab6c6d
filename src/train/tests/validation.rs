//! Packing and windows change nothing of what a document is given.

use super::fixture::{VOCABULARY, tokens};
use crate::base::hash::xxh3_128;
use crate::runtime::{
    data::Batch,
    device::Device,
    model::{Model, ModelConfig},
};
use crate::shards::{HeldOut, ValidationDocument, ValidationSource};
use crate::train::validate::Validation;

const SEQUENCE: usize = 16;

fn source(lengths: &[usize]) -> ValidationSource {
    let documents = lengths.iter().enumerate().map(|(index, &length)| ValidationDocument {
        id: index.to_string(),
        bytes: 2 * length as u64,
        tokens: tokens(index, length),
        known: HeldOut {
            verdict: (index % 2 == 1).then(|| "short".to_owned()),
            ..HeldOut::default()
        },
    });
    ValidationSource { name: "a".into(), documents: documents.collect() }
}

fn validation(lengths: &[usize], tokens_max: u64) -> Validation {
    let text =
        |ids: &[u32]| xxh3_128(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>());
    Validation::new(vec![source(lengths)], &text, SEQUENCE, 0, tokens_max)
}

fn model() -> Model {
    let config = ModelConfig {
        vocab_size: VOCABULARY as usize,
        d_model: 32,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 1,
        d_ff: 48,
        ..ModelConfig::default()
    };
    Model::new(&config, 1, &Device::cpu()).unwrap()
}

#[test]
fn packed_documents_score_as_each_alone_in_windows() {
    let (model, lengths) = (model(), [5, 40, 0, 16, 17, 3, 3, 9, 33]);
    let evaluation = validation(&lengths, 0).evaluate(&model, 7, 3).unwrap();
    for (index, (&length, scored)) in lengths.iter().zip(&evaluation.documents).enumerate() {
        let tokens = tokens(index, length);
        let mut expected = 0.0;
        for start in (0..length).step_by(SEQUENCE) {
            let end = length.min(start + SEQUENCE);
            let first = if start == 0 { 0 } else { tokens[start - 1] };
            let inputs = [&[first], &tokens[start..end - 1]].concat();
            let window = Batch::single_document(inputs, tokens[start..end].to_vec());
            expected += model.nats(&window).unwrap().iter().map(|&n| f64::from(n)).sum::<f64>();
        }
        assert_eq!(scored.tokens, length as u64);
        assert!((scored.nats - expected).abs() < 1e-3, "{length}: {} {expected}", scored.nats);
    }
    let source = &evaluation.sources[0];
    let total: f64 = evaluation.documents.iter().map(|document| document.nats).sum();
    assert_eq!((source.step, source.documents, source.bytes), (7, 9, 252));
    assert!((source.nats - total).abs() < 1e-9);
    assert!((source.bits_per_byte - total / 252.0 / 2f64.ln()).abs() < 1e-9);
    // Every second one would not be kept.
    let kept = evaluation.documents.iter().step_by(2);
    let (nats, bytes): (f64, u64) =
        kept.fold((0.0, 0), |sum, one| (sum.0 + one.nats, sum.1 + one.bytes));
    assert_eq!((source.kept_documents, source.kept_bytes), (5, bytes));
    assert!((source.kept_nats - nats).abs() < 1e-9 && bytes < source.bytes);
    let expected = nats / bytes as f64 / 2f64.ln();
    assert!((source.kept_bits_per_byte.unwrap() - expected).abs() < 1e-9);
    assert_eq!(evaluation.documents[1].verdict.as_deref(), Some("short"));
}

#[test]
fn the_baseline_is_the_entropy_of_the_tokens() {
    // 26 different tokens, each once, two bytes each: log2(26) bits a token.
    let evaluation = validation(&[26], 0).evaluate(&model(), 1, 8).unwrap();
    let expected = 26f64.log2() / 2.0;
    assert!((evaluation.sources[0].unigram_bits_per_byte - expected).abs() < 1e-12);
}

#[test]
fn a_limit_takes_whole_documents_and_at_least_one() {
    // Two bytes a token, four of which count as one: 3 + 4 and 25 + 4.
    assert_eq!(validation(&[5, 7, 9], 7).tokens(), 12);
    assert_eq!(validation(&[5, 7, 9], 6).tokens(), 5);
    assert_eq!(validation(&[50, 7], 7).tokens(), 50);
    assert_eq!(validation(&[50, 7], 0).tokens(), 57);
}
