//! Byte-level BPE against the clock: the command that peers are compared with.
//!
//! ```text
//! cargo bench --bench bpe -- encode DOCUMENTS TOKENIZER.json IDS PASSES
//! cargo bench --bench bpe -- train DOCUMENTS VOCABULARY cl100k|gpt2|… OUT.json
//! ```
//!
//! DOCUMENTS: one after the other, each a u64 little-endian length and so many bytes of UTF-8.
//! `encode` prints `pass CPU_SECONDS IDS` for each pass in this process (the first is cold, the
//! last warm; loading excluded; special tokens become tokens, as in Hugging Face's `tokenizers`)
//! and writes all ids: u32 little-endian, each document closed by 0xFFFFFFFF. `train` prints `train
//! CPU_SECONDS` (reading excluded) and writes the tokenizer. One thread. Without arguments, as
//! `cargo bench` calls it for all benches, it measures a text of its own.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads a clock")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "and prints what it found")]

use std::path::Path;

use dataprep::tokenizer::{SpecialText, Tokenizer, TokenizerConfig, VocabSizes, learn_from};
use rustix::time::{ClockId, clock_gettime};

/// The allocator of the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What closes a document in the file of ids.
const END: u32 = u32::MAX;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["encode", documents, tokenizer, ids, passes] => {
            let bytes = std::fs::read(documents).unwrap();
            encode(&texts(&bytes), Path::new(tokenizer), ids, passes.parse().unwrap());
        }
        ["train", documents, vocabulary, pattern, out] => {
            let bytes = std::fs::read(documents).unwrap();
            train(&texts(&bytes), vocabulary.parse().unwrap(), pattern, out);
        }
        _ => own_text(),
    }
}

/// CPU seconds of this process, all threads.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

fn texts(mut bytes: &[u8]) -> Vec<&str> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let (text, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
        texts.push(std::str::from_utf8(text).unwrap());
        bytes = rest;
    }
    texts
}

fn encode(texts: &[&str], tokenizer: &Path, out: &str, passes: usize) {
    let tokenizer = Tokenizer::open_with(tokenizer, SpecialText::Token).unwrap();
    // As the stage does: room for an id every four bytes.
    let room = texts.iter().map(|text| text.len()).sum::<usize>() / 4;
    for _ in 0..passes {
        let mut ids = Vec::with_capacity(room);
        let start = cpu_seconds();
        texts.iter().for_each(|text| tokenizer.encode(text, &mut ids).unwrap());
        println!("pass {:.6} {}", cpu_seconds() - start, ids.len());
    }
    let mut ids = Vec::with_capacity(room);
    for text in texts {
        tokenizer.encode(text, &mut ids).unwrap();
        ids.push(END);
    }
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    std::fs::write(out, bytes).unwrap();
}

fn train(texts: &[&str], vocabulary: u64, pattern: &str, out: &str) {
    let config = TokenizerConfig {
        vocab: Some(VocabSizes(vec![vocabulary])),
        pattern: pattern.to_owned(),
        ..TokenizerConfig::default()
    };
    let config = config.resolve().unwrap();
    let start = cpu_seconds();
    let file = learn_from(texts.iter().copied(), &config).unwrap();
    println!("train {:.6}", cpu_seconds() - start);
    std::fs::write(out, file).unwrap();
}

/// The repository's own prose, each document sixteen times.
fn own_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tokenizer");
    let lines =
        zstd::decode_all(std::fs::read(folder.join("documents.jsonl.zst")).unwrap().as_slice());
    let lines = String::from_utf8(lines.unwrap()).unwrap();
    let documents: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["text"].as_str().unwrap().to_owned())
        .collect();
    let texts: Vec<&str> = (0..16).flat_map(|_| documents.iter().map(String::as_str)).collect();
    println!("{} bytes", texts.iter().map(|text| text.len()).sum::<usize>());
    let out = std::env::temp_dir().join("dataprep-bench-bpe");
    let out = out.to_string_lossy().into_owned();
    train(&texts, 4096, "cl100k", &out);
    encode(&texts, &folder.join("cl100k.json"), &out, 5);
    std::fs::remove_file(&out).unwrap();
}
