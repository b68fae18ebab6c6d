//! A mix for tests: a byte-level tokenizer without merges, one artifact of shards, two sources.

use crate::artifact::record::Kind;
use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};

use crate::artifact::manifest::Manifest;
use crate::base::{hash::xxh3_128, io};
use crate::shards::{
    HeldOut, MixRecord, MixSource, ShardFile, ShardReader, TokenWidth, ValidationDocument,
    ValidationSource,
    fixture::{END_OF_TEXT_ID, TestDocument, write_artifact, write_manifest},
    mix_record::{MIX_FILE, MIX_FORMAT, MixPhase},
    order::{ORDER_FILE, OrderWriter},
    set::{TOKENIZER_DIRECTORY, TOKENIZER_FILE},
    validation::{VALIDATION_FILE, write_validation},
};

/// 100 documents of 37.5 tokens on average, openers included.
pub const MIX_TOKENS: u64 = 3754;
pub const VOCABULARY: u64 = 257;

/// Text that a small model can learn: letters in a repeating order, from a place that differs.
pub fn tokens(seed: usize, length: usize) -> Vec<u32> {
    (0..length).map(|at| 66 + ((seed + at * (1 + seed % 3)) % 26) as u32).collect()
}

fn document(index: usize) -> TestDocument {
    let tokens = tokens(index, 10 + index * 29 % 56);
    let source = ["a", "b"][index % 2];
    let (id, bytes) = (format!("{source}/{index}"), tokens.len() as u64);
    TestDocument { id, source: source.into(), held_out: false, bytes, tokens }
}

/// `directory/shards` and `directory/mix`.
pub fn write_mix(directory: &Path) {
    let (shards, mix) = (directory.join("shards"), directory.join("mix"));
    let documents: Vec<TestDocument> = (0..100).map(document).collect();
    let tokenizer = tokenizer_json();
    write_artifact(&shards, &tokenizer, std::slice::from_ref(&documents));
    io::create_directory(&mix.join(TOKENIZER_DIRECTORY)).unwrap();
    io::write(&mix.join(TOKENIZER_DIRECTORY).join(TOKENIZER_FILE), tokenizer.as_bytes()).unwrap();

    let mut order = OrderWriter::create(&mix.join(ORDER_FILE)).unwrap();
    let shard = ShardReader::open(&shards.join("shard-00000.arrow")).unwrap();
    let blocks = (0..shard.blocks().len()).map(|index| shard.read_block(index).unwrap());
    let ids = blocks.flat_map(|block| {
        (0..block.len()).map(|row| block.document(row).to_owned()).collect::<Vec<_>>()
    });
    let rows: BTreeMap<String, u32> = ids.zip(0..).collect();
    for index in (0..100).map(|index| index * 37 % 100) {
        let (row, tokens) = (rows[&documents[index].id], documents[index].tokens.len() as u64);
        order.push(0, row, (index % 2) as u16, 1 + tokens).unwrap();
    }
    let about = order.finish().unwrap();
    assert_eq!(about.tokens, MIX_TOKENS);

    let held_out = |name: &str, lengths: &[usize]| ValidationSource {
        name: name.into(),
        documents: lengths
            .iter()
            .enumerate()
            .map(|(index, &length)| ValidationDocument {
                id: format!("{name}-{index}"),
                bytes: length as u64,
                tokens: tokens(index, length),
                known: HeldOut::default(),
            })
            .collect(),
    };
    let validation = [held_out("a", &[5, 70, 0, 31, 32, 33]), held_out("b", &[12, 40])];
    write_validation(&mix.join(VALIDATION_FILE), TokenWidth::U16, &validation).unwrap();

    let artifact = Manifest::read(&shards).unwrap();
    let record = record(&artifact, &shards, tokenizer.as_bytes());
    io::write(&mix.join(MIX_FILE), record.to_json().as_bytes()).unwrap();
    let run = json!({ "inputs": [{ "name": "shards", "absolute": shards }] });
    io::write(&mix.join("run.json"), run.to_string().as_bytes()).unwrap();
    let names = [ORDER_FILE, VALIDATION_FILE, MIX_FILE].map(str::to_owned);
    write_manifest(&mix, Kind::Mix, json!({}), &names);
}

fn record(artifact: &Manifest, shards: &Path, tokenizer: &[u8]) -> MixRecord {
    let source = |name: &str| MixSource {
        name: name.into(),
        weight: "1".into(),
        budget_tokens: Some(MIX_TOKENS / 2),
        budget_bytes: None,
        achieved_tokens: MIX_TOKENS / 2,
        available_tokens: MIX_TOKENS / 2,
        available_documents: 50,
        documents: 50,
        epochs: "1".into(),
        epochs_decimal: "1.0000".into(),
        validation_documents: 6,
        validation_tokens: 171,
        validation_bytes: 171,
        validation_kept: 6,
        validation: None,
    };
    let phase = |name: &str, first_token, tokens| MixPhase {
        name: name.into(),
        first_token,
        tokens,
        weights: vec![Some("1".into()); 2],
        source_tokens: vec![tokens / 2, tokens.div_ceil(2)],
    };
    let shard = &artifact.files[0];
    MixRecord {
        packing: None,
        materialized: false,
        format: MIX_FORMAT,
        tokens: MIX_TOKENS,
        documents: 100,
        window_bytes: 1 << 24,
        token_width: TokenWidth::U16,
        vocab_size: VOCABULARY,
        end_of_text: "<|endoftext|>".into(),
        end_of_text_id: END_OF_TEXT_ID,
        tokenizer: xxh3_128(tokenizer),
        validation: None,
        phases: vec![phase("main", 0, 1930), phase("anneal", 1930, MIX_TOKENS - 1930)],
        sources: vec![source("a"), source("b")],
        validation_sources: Vec::new(),
        shards: vec![ShardFile {
            name: "a".into(),
            fingerprint: artifact.fingerprint,
            file: shard.name.clone(),
            xxh3: shard.xxh3,
            blocks: ShardReader::open(&shards.join(&shard.name)).unwrap().identity(),
        }],
    }
}

/// End-of-text is 0, byte b is b + 1; bytes are spelled as GPT-2 does (`bytes_to_unicode`).
fn tokenizer_json() -> String {
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut vocabulary = Map::from_iter([("<|endoftext|>".to_owned(), Value::from(0))]);
    let mut moved = 256;
    for byte in 0..256 {
        let code = if printable(byte) { byte } else { moved };
        moved += u32::from(!printable(byte));
        let character = char::from_u32(code).unwrap();
        vocabulary.insert(character.to_string(), Value::from(byte + 1));
    }
    json!({
        "version": "1.0",
        "added_tokens": [{
            "id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        },
        "post_processor": null,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": { "type": "BPE", "vocab": vocabulary, "merges": [] },
    })
    .to_string()
}
