//! What an import makes of other trainers' files, and what it says of wrong ones.

use std::path::Path;

use super::{
    config::{ImportConfig, ImportForm},
    cut::{Cutter, DOCUMENT_TOKENS_MAX, check_length, within},
    megatron::Index,
    run::Import,
    stream,
};
use crate::base::io;
use crate::source::InputSpec;

/// Documents of a stream that is pushed in pieces of every length.
fn cut(tokens: &[u32], is_opened: bool) -> Vec<Vec<u32>> {
    let of = |size: usize| {
        let mut documents = Vec::new();
        let mut take = |document: &[u32]| {
            documents.push(document.to_vec());
            Ok(())
        };
        let mut cutter = Cutter::new(Path::new("x.bin"), 0, is_opened);
        tokens.chunks(size).for_each(|part| cutter.push(part, &mut take).unwrap());
        cutter.finish(&mut take).unwrap();
        documents
    };
    let whole = of(tokens.len().max(1));
    (1..=3).for_each(|size| assert_eq!(of(size), whole));
    whole
}

#[test]
fn end_of_text_before_or_behind_each_document_gives_the_same() {
    let documents = vec![vec![1, 2], vec![], vec![3]];
    assert_eq!(cut(&[1, 2, 0, 0, 3, 0], false), documents);
    assert_eq!(cut(&[0, 1, 2, 0, 0, 3], false), documents);
    assert_eq!(cut(&[1, 2, 0, 0, 3], false), documents);
    assert_eq!(cut(&[0, 3, 0], true), [vec![], vec![3]]);
    let mut found = Vec::new();
    within(&[0, 1, 0, 2, 0], Some(0), |document| {
        found.push(document.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(found, [vec![1], vec![2]]);
}

#[test]
fn a_file_without_a_border_is_no_document() {
    let file = Path::new("x.bin");
    assert!(check_length(file, DOCUMENT_TOKENS_MAX).is_ok());
    let error = check_length(file, DOCUMENT_TOKENS_MAX + 1).unwrap_err();
    let said = format!("{error} | {}", error.hint().unwrap());
    assert!(said.contains("`x.bin`") && said.contains("`end_of_text`"), "{said}");
}

fn error(bytes: &[u8], open: impl Fn(&Path) -> crate::base::error::Result<()>) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.bin");
    io::write(&path, bytes).unwrap();
    let error = open(&path).unwrap_err();
    format!("{error} | {}", error.hint().unwrap_or_default())
}

#[test]
fn wrong_heads_and_lengths_are_named_with_their_place() {
    let raw = |path: &Path| stream::raw(path, 2).map(drop);
    let llmc = |path: &Path| stream::llmc(path).map(drop);
    let found = error(&[1, 2, 3], raw);
    assert!(found.contains("at byte 2") && found.contains("truncated"), "{found}");
    let mut head = vec![0u8; 1024];
    head[..4].copy_from_slice(&20240520u32.to_le_bytes());
    head[4..8].copy_from_slice(&1u32.to_le_bytes());
    head[8..12].copy_from_slice(&3u32.to_le_bytes());
    let found = error(&head, raw);
    assert!(found.contains("--from llmc"), "{found}");
    let found = error(&[head.as_slice(), &[0; 4]].concat(), llmc);
    assert!(found.contains("3 tokens, 1030 bytes; found 1028"), "{found}");
    let found = error(&[7; 2000], llmc);
    assert!(found.contains("at byte 0") && found.contains("--from nanogpt"), "{found}");
    head[4] = 9;
    assert!(error(&head, llmc).contains("at byte 4"));
    let index = |path: &Path| {
        io::write(&path.with_extension("idx"), &[5; 60])?;
        Index::open(path).map(drop)
    };
    assert!(error(&[0; 4], index).contains("MMIDIDX"));
}

#[test]
fn a_sequence_that_ends_behind_its_tokens_is_named_before_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.bin");
    io::write(&path, &[1, 0, 2, 0]).unwrap();
    let mut index = b"MMIDIDX\0\0".to_vec();
    index.extend(1u64.to_le_bytes());
    index.push(8); // uint16
    index.extend([2u64, 3].map(u64::to_le_bytes).concat()); // sequences, borders
    index.extend([9u32, 1].map(u32::to_le_bytes).concat()); // lengths: 9 of 2 tokens
    index.extend([0u64, 2].map(u64::to_le_bytes).concat()); // where they begin
    index.extend([0u64, 1, 2].map(u64::to_le_bytes).concat());
    io::write(&path.with_extension("idx"), &index).unwrap();
    let mut documents = 0;
    let count = |_| {
        documents += 1;
        Ok(())
    };
    let error = Index::open(&path).unwrap().each(count).unwrap_err().to_string();
    assert!(error.contains("x.idx` at byte 34") && error.contains("byte 18 of 4"), "{error}");
    assert_eq!(documents, 0);
}

#[test]
fn an_id_over_the_vocabulary_and_a_missing_form_are_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("train.bin");
    io::write(&path, &[1, 0, 255, 255]).unwrap();
    let place = stream::raw(&path, 2).unwrap();
    let mut tokens = Vec::new();
    let mut reader = stream::TokenReader::open(&path, place, 0, 500).unwrap();
    let error = reader.read(9, &mut tokens).unwrap_err().to_string();
    assert!(error.contains("at byte 2: token 1 is 65535") && error.contains("499"), "{error}");
    let config = ImportConfig {
        from: ImportForm::Megatron,
        token_bytes: Some(2),
        end_of_text: None,
        holdout: None,
    };
    assert!(config.check().is_err());
    let specs = [InputSpec::of(&path)];
    assert!(Import::open(&specs, config, directory.path()).is_err());
}
