//! Tokens for other trainers and from them, as they are typed: every token comes back.
//!
//! What the real libraries make of the files is held in `tests/golden/check_token_exports.py`.

use std::{collections::BTreeMap, fs};

use arrow::{
    array::AsArray,
    datatypes::{UInt16Type, UInt64Type},
    ipc::reader::FileReader,
};
use serde_json::Value;

use crate::support::{TestDir, documents};

/// Two sources as shards, and a mix of them.
fn with_mix() -> TestDir {
    let directory = TestDir::new();
    directory.write_documents("text/wiki.jsonl", &documents(60, 1));
    directory.write_documents("text/web.jsonl", &documents(40, 2));
    directory.dataprep("tokenizer train text --vocab 400 --out vocabulary").ok();
    let inputs = "wiki=text/wiki.jsonl web=text/web.jsonl";
    let tokenize = format!("tokenize {inputs} --tokenizer vocabulary --out tokens --holdout 0.1");
    directory.dataprep(&tokenize).ok();
    directory.dataprep("mix a=tokens#wiki:0.6 b=tokens#web:0.4 --tokens 6k --out mix").ok();
    directory
}

/// (id, held out, tokens) of all documents of a folder of shards, in file order.
fn shard_documents(directory: &TestDir, shards: &str) -> Vec<(String, bool, Vec<u16>)> {
    let mut files: Vec<_> = fs::read_dir(directory.path(shards)).unwrap().flatten().collect();
    files.sort_by_key(|file| file.file_name());
    files.retain(|file| file.file_name().to_string_lossy().ends_with(".arrow"));
    let mut documents = Vec::new();
    for file in files {
        let reader = FileReader::try_new(fs::File::open(file.path()).unwrap(), None).unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let (lists, ids) =
                (batch.column(0).as_list::<i32>(), batch.column(1).as_string::<i32>());
            let held_out = batch.column(3).as_boolean();
            documents.extend((0..batch.num_rows()).map(|row| {
                let tokens = lists.value(row).as_primitive::<UInt16Type>().values().to_vec();
                (ids.value(row).to_owned(), held_out.value(row), tokens)
            }));
        }
    }
    documents
}

fn end_of_text(directory: &TestDir) -> u16 {
    let manifest: Value = serde_json::from_str(&directory.read("tokens/manifest.json")).unwrap();
    manifest["config"]["end_of_text_id"].as_u64().unwrap() as u16
}

/// The documents of a split, each with its end-of-text.
fn expected(directory: &TestDir, held_out: bool) -> Vec<Vec<u16>> {
    let end = end_of_text(directory);
    let documents = shard_documents(directory, "tokens");
    let documents = documents.into_iter().filter(|document| document.1 == held_out);
    documents.map(|(_, _, tokens)| [tokens, vec![end]].concat()).collect()
}

fn u16s(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

fn file(directory: &TestDir, name: &str) -> Vec<u8> {
    fs::read(directory.path(name)).unwrap()
}

/// The stream of the mix, by its order and its shards.
fn stream(directory: &TestDir) -> Vec<u16> {
    let shards = shard_documents(directory, "tokens");
    let reader = fs::File::open(directory.path("mix/order.arrow")).unwrap();
    let mut rows = Vec::new();
    for batch in FileReader::try_new(reader, None).unwrap() {
        let batch = batch.unwrap();
        let row = batch.column(1).as_primitive::<arrow::datatypes::UInt32Type>().values().to_vec();
        let first = batch.column(3).as_primitive::<UInt64Type>().values().to_vec();
        rows.extend(row.into_iter().zip(first));
    }
    let mut stream = Vec::new();
    for (at, (row, first)) in rows.iter().enumerate() {
        assert_eq!(stream.len() as u64, *first);
        stream.push(end_of_text(directory));
        stream.extend_from_slice(&shards[*row as usize].2);
        stream.truncate(rows.get(at + 1).map_or(6000, |next| next.1 as usize));
    }
    stream
}

#[test]
fn flat_forms_hold_every_token_of_shards_and_of_a_mix() {
    let directory = with_mix();
    for form in ["nanogpt", "numpy", "megatron", "litdata"] {
        directory.dataprep(&format!("export tokens --to {form} --out {form}")).ok();
        directory.dataprep(&format!("export mix --to {form} --out mix-{form}")).ok();
    }
    let (train, val) = (expected(&directory, false), expected(&directory, true));
    assert!(val.len() > 3, "{} held out", val.len());
    let stream = stream(&directory);
    for (split, documents) in [("train", &train), ("val", &val)] {
        let flat = documents.concat();
        assert_eq!(u16s(&file(&directory, &format!("nanogpt/{split}.bin"))), flat);
        assert_eq!(u16s(&file(&directory, &format!("megatron/{split}.bin"))), flat);
        assert_eq!(u16s(&file(&directory, &format!("numpy/{split}.npy"))[128..]), flat);
        assert_eq!(u16s(&file(&directory, &format!("litdata/{split}/chunk-0-0.bin"))[12..]), flat);
        let index = file(&directory, &format!("megatron/{split}.idx"));
        let lengths = index[34..34 + 4 * documents.len()].as_chunks::<4>().0.iter();
        let lengths: Vec<usize> = lengths.map(|it| i32::from_le_bytes(*it) as usize).collect();
        assert_eq!(lengths, documents.iter().map(Vec::len).collect::<Vec<_>>());
        assert_eq!(index.len(), 34 + 12 * documents.len() + 8 * (documents.len() + 1));
    }
    for (name, from) in
        [("nanogpt/train.bin", 0), ("numpy/train.npy", 128), ("megatron/train.bin", 0)]
    {
        assert_eq!(u16s(&file(&directory, &format!("mix-{name}"))[from..]), stream, "{name}");
    }
    let starts = file(&directory, "mix-numpy/train_starts.npy");
    let end = end_of_text(&directory);
    let found = starts[128..].as_chunks::<8>().0.iter().map(|it| u64::from_le_bytes(*it) as usize);
    let openers = (0..stream.len()).filter(|&at| stream[at] == end);
    assert_eq!(found.collect::<Vec<_>>(), openers.collect::<Vec<_>>());
}

#[test]
fn exports_are_artifacts_and_say_what_is_missing() {
    let directory = with_mix();
    let run = directory.dataprep("export mix --to mds --sequence 64 --out rows").ok();
    assert!(run.stdout.contains("StreamingDataset"), "{}", run.stdout);
    let again = directory.dataprep("export mix --to mds --sequence 64 --out rows").ok();
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    directory.dataprep("verify rows").ok();
    let lit = directory.dataprep("export mix --to litdata --sequence 64 --out lit").ok().stdout;
    assert!(lit.contains("TokensLoader(block_size=64)"), "{lit}");
    let threads = |n: usize| format!("export tokens --to hf-datasets --out hf-{n} --threads {n}");
    (1..=2).for_each(|n| drop(directory.dataprep(&threads(n)).ok()));
    let tree = |name: &str| {
        let mut tree: BTreeMap<_, _> = directory.tree(name);
        tree.remove("run.json");
        tree
    };
    assert_eq!(tree("hf-1"), tree("hf-2"));
    for (command, said) in [
        ("export mix --to mds --out x", "--sequence"),
        ("export tokens --out x", "--to nanogpt"),
        ("export text --to nanogpt --out x", "manifest"),
        ("export tokens --to nanogpt --sequence 8 --out x", "leave `--sequence` out"),
        ("export vocabulary --to numpy --out x", "a tokenizer"),
        ("export tokens --to numpy --data mix --out x", "where the shards of a mix lie"),
    ] {
        let refused = directory.dataprep(command);
        assert_ne!(refused.status, 0, "{command}");
        assert!(refused.stderr.contains(said), "{command}: {}", refused.stderr);
    }
}

/// (id, tokens) of a split, by id: a file order is one of cells.
fn by_id(directory: &TestDir, shards: &str, held_out: bool) -> Vec<(String, Vec<u16>)> {
    let documents = shard_documents(directory, shards);
    let documents = documents.into_iter().filter(|document| document.1 == held_out);
    let mut documents: Vec<_> = documents.map(|(id, _, tokens)| (id, tokens)).collect();
    documents.sort();
    documents
}

#[test]
fn what_is_exported_is_imported_as_the_same_documents() {
    let directory = with_mix();
    for form in ["nanogpt", "megatron"] {
        directory.dataprep(&format!("export tokens --to {form} --out {form}")).ok();
        let import =
            format!("import {form} --from {form} --tokenizer vocabulary --out back-{form}");
        directory.dataprep(&import).ok();
        for held_out in [false, true] {
            let tokens = |shards: &str| {
                let mut all: Vec<_> =
                    by_id(&directory, shards, held_out).into_iter().map(|it| it.1).collect();
                all.sort();
                all
            };
            assert_eq!(tokens(&format!("back-{form}")), tokens("tokens"), "{form}");
        }
        directory.dataprep(&format!("verify back-{form}")).ok();
    }
    assert_eq!(by_id(&directory, "back-nanogpt", false), by_id(&directory, "back-megatron", false));
    // Its shards are shards: a mix takes them.
    directory.dataprep("mix a=back-nanogpt:1 --tokens 2k --out again").ok();
}

#[test]
fn files_that_were_cut_anywhere_are_one_text() {
    let directory = with_mix();
    directory.dataprep("export tokens --to nanogpt --out whole").ok();
    let bytes = file(&directory, "whole/train.bin");
    let head = |tokens: usize| {
        let mut head = vec![0u8; 1024];
        head[..4].copy_from_slice(&20240520u32.to_le_bytes());
        head[4..8].copy_from_slice(&1u32.to_le_bytes());
        head[8..12].copy_from_slice(&(tokens as u32).to_le_bytes());
        head
    };
    // At an end-of-text, right behind it, inside a document, and with a piece that has no border.
    let first = expected(&directory, false)[0].len() * 2;
    for (at, cuts) in
        [[first - 2, first], [first, first + 2], [first + 6, first + 10]].iter().enumerate()
    {
        let parts = [&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]];
        for (part, bytes) in parts.iter().enumerate() {
            let name = format!("cut-{at}/web_train_{part:06}.bin");
            directory.write(&name, [head(bytes.len() / 2).as_slice(), bytes].concat());
        }
        let import = format!("import cut-{at} --from llmc --tokenizer vocabulary --holdout 0");
        directory.dataprep(&format!("{import} --out joined-{at}")).ok();
        let mut found: Vec<_> = shard_documents(&directory, &format!("joined-{at}"))
            .into_iter()
            .map(|it| it.2)
            .collect();
        let mut wanted: Vec<_> = shard_documents(&directory, "tokens")
            .into_iter()
            .filter(|document| !document.1)
            .map(|document| document.2)
            .collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "cuts {cuts:?}");
    }
    let wrong = directory.dataprep("import whole --from llmc --tokenizer vocabulary --out x");
    assert!(wrong.stderr.contains("at byte 0") && wrong.stderr.contains("nanogpt"), "{wrong:?}");
}
