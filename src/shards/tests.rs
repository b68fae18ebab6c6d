//! The shard format as its users see it: what goes in comes out, and damage never passes.

use std::path::Path;

use arrow::{array::AsArray, datatypes::DataType};
use proptest::prelude::*;

use super::{
    block::{BLOCK_TOKENS, TokenWidth, is_trained},
    cell::{cell, draw},
    fixture::{TestDocument, write_shard},
    reader::ShardReader,
    writer::{ShardDocument, ShardWriter},
};
use crate::base::{error::Error, io};

fn read_all(path: &Path) -> Vec<TestDocument> {
    let reader = ShardReader::open(path).unwrap();
    let mut documents = Vec::new();
    for index in 0..reader.blocks().len() {
        assert_eq!(reader.first_row(index), documents.len() as u64);
        let block = reader.read_block(index).unwrap();
        let raw = reader.read(index).unwrap();
        let (lengths, held_out) = (raw.lengths().unwrap(), raw.held_out().unwrap());
        let lists = raw.token_lists().unwrap();
        let ids = raw.documents().unwrap();
        for (row, length) in lengths.iter().enumerate() {
            assert_eq!(*length as usize, block.tokens(row).len());
            assert_eq!(held_out.value(row), block.held_out(row));
            assert_eq!(lists.tokens(row), block.tokens(row));
            assert_eq!(ids.value(row), block.document(row));
            assert_eq!(reader.find_row(documents.len() as u64), Some((index, row)));
            documents.push(TestDocument {
                id: block.document(row).to_owned(),
                source: block.source().to_owned(),
                held_out: block.held_out(row),
                bytes: block.bytes(row),
                tokens: block.tokens(row).to_vec(),
            });
        }
    }
    assert_eq!(reader.find_row(documents.len() as u64), None);
    documents
}

/// The documents as a shard has them: by source, then by cell, else as they came.
fn by_cell(documents: &[TestDocument]) -> Vec<TestDocument> {
    let mut sources: Vec<&str> = Vec::new();
    for document in documents {
        if !sources.contains(&document.source.as_str()) {
            sources.push(&document.source);
        }
    }
    let mut sorted = documents.to_vec();
    sorted.sort_by_key(|document| {
        let source = sources.iter().position(|source| *source == document.source);
        (source, cell(draw(&document.id)))
    });
    sorted
}

fn documents() -> impl Strategy<Value = Vec<TestDocument>> {
    let length = prop_oneof![
        2 => Just(0usize),
        8 => 1usize..3000,
        2 => 50_000usize..200_000,
        1 => BLOCK_TOKENS as usize - 1..BLOCK_TOKENS as usize + 2000,
    ];
    let document = (length, 0..3u8, prop::bool::weighted(0.1), "[a-zé/:]{0,12}");
    prop::collection::vec(document, 0..24).prop_map(|documents| {
        let documents = documents.into_iter();
        let made = documents.map(|(length, source, held_out, id)| {
            let source = ["web", "books", "код"][source as usize];
            let mut document = TestDocument::new(&id, source, length, 60_000);
            document.held_out = held_out;
            document
        });
        made.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_written_reads_back_in_blocks_of_one_source(
        mut documents in documents(),
        wide: bool,
    ) {
        let width = if wide { TokenWidth::U32 } else { TokenWidth::U16 };
        if wide {
            let tokens = documents.iter_mut().flat_map(|document| &mut document.tokens);
            tokens.for_each(|token| *token *= 70_001);
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shard.arrow");
        write_shard(&path, width, &documents);
        prop_assert_eq!(read_all(&path), by_cell(&documents));
        let reader = ShardReader::open(&path).unwrap();
        prop_assert_eq!(reader.width(), width);
        for pair in reader.blocks().windows(2) {
            let (tokens, next) = (pair[0].facts.tokens, pair[1].facts.tokens);
            prop_assert!(tokens <= BLOCK_TOKENS || pair[0].documents == 1);
            let changes = pair[0].facts.source != pair[1].facts.source;
            // A block ends where a cell does once it is worth its head, else where it is full.
            prop_assert!(changes || tokens >= 1 << 15 || tokens + next > BLOCK_TOKENS);
        }
    }
}

#[test]
fn what_is_trained_on_stands_beside_the_tokens_and_nowhere_where_all_is() {
    let directory = tempfile::tempdir().unwrap();
    let [plain, masked] = ["plain", "masked"].map(|name| directory.path().join(name));
    let tokens: Vec<u32> = (1..8).collect();
    let bounds: [Option<&[u32]>; 3] = [Some(&[2, 4, 6]), None, Some(&[7, 7])];
    let write = |mut writer: ShardWriter| {
        for (index, trained) in bounds.iter().enumerate() {
            let (id, source) = (&*format!("{index}"), "chat");
            let (held_out, bytes, tokens, trained) = (None, 7, &*tokens, *trained);
            let document = ShardDocument { id, source, held_out, bytes, tokens, trained };
            writer.push(&document).unwrap();
        }
        writer.finish().unwrap();
        ShardReader::open
    };
    let open = write(ShardWriter::masked(&masked, TokenWidth::U16, 1).unwrap());
    let reader = open(&masked).unwrap();
    assert!(reader.is_masked());
    let (ids, lists) = (
        reader.read(0).unwrap().documents().unwrap(),
        reader.read(0).unwrap().token_lists().unwrap(),
    );
    for row in 0..3 {
        let trained = lists.trained(row).unwrap();
        let found: Vec<usize> = (0..7).filter(|&at| is_trained(trained, at)).collect();
        let expected: &[usize] = match ids.value(row) {
            "0" => &[2, 3, 6],
            "1" => &[0, 1, 2, 3, 4, 5, 6],
            _ => &[],
        };
        assert_eq!(found, expected);
        assert_eq!(lists.tokens(row).to_vec(), tokens);
    }
    assert_eq!(reader.read_block(0).unwrap().len(), 3);
    let open = write(ShardWriter::create(&plain, TokenWidth::U16, 1).unwrap());
    let reader = open(&plain).unwrap();
    assert!(!reader.is_masked());
    assert_eq!(reader.read(0).unwrap().token_lists().unwrap().trained(0), None);
    let text = String::from_utf8_lossy(&io::read(&plain).unwrap()).into_owned();
    assert!(!text.contains("masked") && !text.contains("trained"));
}

fn small_shard(path: &Path) {
    let document = |index: usize| {
        let document = TestDocument::new(&format!("d{index}"), "web", 10 * index, 5000);
        if index % 7 == 3 { document.held_out() } else { document }
    };
    write_shard(path, TokenWidth::U16, &(0..60).map(document).collect::<Vec<_>>());
}

/// Opens and reads everything.
fn read_whole(path: &Path) -> Result<(), Error> {
    let reader = ShardReader::open(path)?;
    (0..reader.blocks().len()).try_for_each(|index| reader.read_block(index).map(drop))
}

#[test]
fn the_columns_are_the_stated_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shard.arrow");
    small_shard(&path);
    let file = io::open(&path).unwrap();
    let mut foreign = arrow::ipc::reader::FileReader::try_new(file, None).unwrap();
    let schema = foreign.schema();
    let columns: Vec<(&str, &DataType)> =
        schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    let DataType::List(item) = columns[0].1 else { panic!("{:?}", columns[0]) };
    assert_eq!((columns[0].0, item.data_type()), ("tokens", &DataType::UInt16));
    assert_eq!(
        columns[1..],
        [
            ("document", &DataType::Utf8),
            ("source", &DataType::Utf8),
            ("held_out", &DataType::Boolean),
            ("bytes", &DataType::UInt64),
            ("text_hash", &DataType::Utf8),
            ("held_out_verdict", &DataType::Utf8),
            ("held_out_twin", &DataType::Boolean),
        ]
    );
    let batch = foreign.next().unwrap().unwrap();
    let ids: Vec<&str> = batch.column(1).as_string::<i32>().iter().flatten().collect();
    assert!(ids.len() == 60 && ids.contains(&"d59"), "{ids:?}");
    assert!(foreign.next().is_none());
}

#[test]
fn a_shard_without_documents_is_a_shard() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shard.arrow");
    write_shard(&path, TokenWidth::U16, &[]);
    assert!(read_all(&path).is_empty());
}

#[test]
fn equal_documents_give_equal_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| directory.path().join(name));
    paths.iter().for_each(|path| small_shard(path));
    assert_eq!(io::read(&paths[0]).unwrap(), io::read(&paths[1]).unwrap());
}

#[test]
fn a_shard_cut_anywhere_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, cut) = (directory.path().join("whole"), directory.path().join("cut"));
    small_shard(&whole);
    let bytes = io::read(&whole).unwrap();
    for length in (0..bytes.len()).step_by(bytes.len() / 200).chain([bytes.len() - 1]) {
        io::write(&cut, &bytes[..length]).unwrap();
        let error = read_whole(&cut).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{length}: {error}");
    }
}

#[test]
fn a_byte_changed_in_a_block_is_found_and_its_place_named() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, changed) = (directory.path().join("whole"), directory.path().join("changed"));
    small_shard(&whole);
    let bytes = io::read(&whole).unwrap();
    let reader = ShardReader::open(&whole).unwrap();
    let entry = &reader.blocks()[0];
    let range = entry.offset as usize..(entry.offset + entry.bytes) as usize;
    for place in range.step_by(entry.bytes as usize / 100) {
        let mut bytes = bytes.clone();
        bytes[place] ^= 0x10;
        io::write(&changed, &bytes).unwrap();
        match read_whole(&changed).unwrap_err() {
            Error::Damaged { offset, .. } => assert_eq!(offset, Some(entry.offset)),
            other => panic!("{place}: {other}"),
        }
    }
}

#[test]
fn a_byte_changed_in_the_footer_never_changes_what_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, changed) = (directory.path().join("whole"), directory.path().join("changed"));
    small_shard(&whole);
    let (bytes, documents) = (io::read(&whole).unwrap(), read_all(&whole));
    let reader = ShardReader::open(&whole).unwrap();
    let footer = (reader.blocks()[0].offset + reader.blocks()[0].bytes) as usize;
    for place in footer..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[place] ^= 0x04;
        io::write(&changed, &bytes).unwrap();
        // Some bytes are padding, or the schema that is never read: they change nothing.
        match read_whole(&changed) {
            Ok(()) => assert_eq!(read_all(&changed), documents, "byte {place}"),
            // The byte of the format's number makes it another version's file.
            Err(Error::Config { message, .. }) if message.contains("in format") => (),
            Err(error) => assert!(matches!(error, Error::Damaged { .. }), "{place}: {error}"),
        }
    }
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shard.arrow");
    io::write(&path, b"PAR1 is no Arrow file, and longer than a trailer").unwrap();
    let error = read_whole(&path).unwrap_err();
    assert!(error.to_string().contains("no Arrow footer"), "{error}");
    super::order::OrderWriter::create(&path).unwrap().finish().unwrap();
    let error = read_whole(&path).unwrap_err();
    assert!(error.to_string().contains("found `order`"), "{error}");
}
