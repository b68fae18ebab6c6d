//! Shards artifacts for tests, from a list of documents.
//!
//! In → documents of one or more files; out → a directory as `tokenize` publishes it. Compiled for
//! tests only.

use crate::artifact::record::Kind;
use std::path::Path;

use serde_json::{Value, json};

use super::{
    block::{HeldOut, TokenWidth},
    set::{TOKENIZER_DIRECTORY, TOKENIZER_FILE},
    writer::{ShardDocument, ShardWriter},
};
use crate::artifact::{
    counts::Counts,
    manifest::{FORMAT, FileEntry, Manifest, Tool},
};
use crate::base::{hash::xxh3_128, io, rng::Stream};

/// The end-of-text id of every fixture.
pub const END_OF_TEXT_ID: u32 = 0;

/// A document that owns its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestDocument {
    pub id: String,
    pub source: String,
    pub held_out: bool,
    pub bytes: u64,
    pub tokens: Vec<u32>,
}

impl TestDocument {
    /// A document of `length` tokens below `vocab`, drawn from its id.
    pub fn new(id: &str, source: &str, length: usize, vocab: u32) -> TestDocument {
        let mut stream = Stream::new(7, id);
        let tokens: Vec<u32> =
            (0..length).map(|_| 1 + (stream.next_u64() % u64::from(vocab - 1)) as u32).collect();
        let (id, source, bytes) = (id.to_owned(), source.to_owned(), 4 * length as u64);
        TestDocument { id, source, held_out: false, bytes, tokens }
    }

    /// This document, held out.
    pub fn held_out(mut self) -> TestDocument {
        self.held_out = true;
        self
    }
}

/// Writes one shard file; its rows stand by cell, not as they are given.
pub fn write_shard(path: &Path, width: TokenWidth, documents: &[TestDocument]) {
    let mut writer = ShardWriter::create(path, width, 2).unwrap();
    for document in documents {
        let TestDocument { id, source, held_out, bytes, tokens } = document;
        let (held_out, bytes) = (*held_out, *bytes);
        let known = HeldOut { text: Some(xxh3_128(id.as_bytes())), ..HeldOut::default() };
        let held_out = held_out.then_some(&known);
        writer.push(&ShardDocument { id, source, held_out, bytes, tokens, trained: None }).unwrap();
    }
    let counts = writer.finish().unwrap();
    assert_eq!(counts.total.documents, documents.len() as u64);
}

/// Writes an artifact with one file a list, under a tokenizer that is told apart by its name.
pub fn write_artifact(directory: &Path, tokenizer: &str, files: &[Vec<TestDocument>]) {
    let width = TokenWidth::U16;
    io::create_directory(&directory.join(TOKENIZER_DIRECTORY)).unwrap();
    let tokenizer_path = format!("{TOKENIZER_DIRECTORY}/{TOKENIZER_FILE}");
    io::write(&directory.join(&tokenizer_path), tokenizer.as_bytes()).unwrap();
    let mut names = Vec::new();
    for (index, documents) in files.iter().enumerate() {
        let name = format!("shard-{index:05}.arrow");
        write_shard(&directory.join(&name), width, documents);
        names.push(name);
    }
    names.push(tokenizer_path);
    let end_of_text = (tokenizer != "none").then_some("<|endoftext|>");
    let config = json!({
        "end_of_text": end_of_text, "end_of_text_id": END_OF_TEXT_ID, "vocab_size": 5000,
    });
    write_manifest(directory, Kind::Shards, config, &names);
}

/// Writes the manifest of a finished directory.
pub fn write_manifest(directory: &Path, kind: Kind, config: Value, names: &[String]) {
    let files: Vec<FileEntry> = names
        .iter()
        .map(|name| {
            let (xxh3, bytes) = io::hash_file(&directory.join(name)).unwrap();
            FileEntry { name: name.clone(), bytes, rows: None, documents: None, tokens: None, xxh3 }
        })
        .collect();
    let mut manifest = Manifest {
        format: FORMAT,
        kind,
        stage: "fixture".to_owned(),
        stage_version: 1,
        tool: Tool::current(),
        config,
        seed: 0,
        inputs: Vec::new(),
        files,
        counts: Counts::default().into(),
        holdout: Some(0.05),
        skipped_files: Vec::new(),
        read: Vec::new(),
        fingerprint: xxh3_128(b""),
        ancestry: Vec::new(),
        extra: Default::default(),
    };
    manifest.fingerprint = manifest.files_identity();
    manifest.write(directory).unwrap();
}
