//! The stage as a whole: shards whose rows are the documents, whatever the threads. Tests only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ListArray, RecordBatch, StringArray, StructArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::{LossOn, Tokenize, TokenizeConfig};
use crate::artifact::counts::Counts;
use crate::artifact::manifest::{self, FORMAT, FileEntry, Manifest, ManifestCounts, Tool};
use crate::artifact::unit;
use crate::artifact::{
    record::{InputKind, Kind},
    stage::Stage,
};
use crate::base::error::Error;
use crate::base::hash::xxh3_128;
use crate::base::io;
use crate::base::size::Bytes;
use crate::shards::{Block, ShardReader, is_trained};
use crate::source::{InputConfig, messages::ANSWERS};
use crate::tokenizer::{Tokenizer, harness};

const MEMORY: u64 = 1 << 30;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tokenizer")
}

fn write_documents(path: &Path, texts: &[&str]) {
    let line = |(row, text)| format!("{}\n", json!({"id": format!("d{row}"), "text": text}));
    let lines: String = texts.iter().enumerate().map(line).collect();
    io::write(path, lines.as_bytes()).unwrap();
}

fn open(path: &Path, input: InputConfig) -> Tokenize {
    let specs = [harness::spec("fixture", path)];
    let config = TokenizeConfig::default();
    Tokenize::open(&specs, input, config, &fixtures().join("cl100k.json")).unwrap()
}

/// The shards' bytes, and the counts.
fn tokenize(stage: &Tokenize, threads: usize) -> (Vec<Vec<u8>>, Counts) {
    let folder = tempfile::tempdir().unwrap();
    let counts = harness::run(stage, folder.path(), threads, MEMORY).unwrap();
    let units = stage.plan().unwrap().phases[0].units.len();
    let shard = |index| unit::directory(folder.path(), index).join("shard.arrow");
    ((0..units).map(|index| io::read(&shard(index)).unwrap()).collect(), counts)
}

/// (id, held out, bytes, tokens) of each row of a shard.
fn rows(shard: &[u8]) -> Vec<(String, bool, u64, Vec<u32>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard.arrow");
    io::write(&path, shard).unwrap();
    let reader = ShardReader::open(&path).unwrap();
    let blocks = (0..reader.blocks().len()).map(|index| reader.read_block(index).unwrap());
    let row = |block: &Block, row: usize| {
        let id = block.document(row).to_owned();
        (id, block.held_out(row), block.bytes(row), block.tokens(row).to_vec())
    };
    blocks
        .flat_map(|block| (0..block.len()).map(|at| row(&block, at)).collect::<Vec<_>>())
        .collect()
}

#[test]
fn every_document_is_a_row_with_the_tokens_of_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let texts = ["Hello world", "", "a<|endoftext|>b", "  \n", "naïve 語"];
    write_documents(&path, &texts);
    let stage = open(&path, InputConfig { holdout: Some(0.5), ..InputConfig::default() });
    let (shards, counts) = tokenize(&stage, 1);
    let tokenizer = Tokenizer::open(&fixtures().join("cl100k.json")).unwrap();
    let mut tokens = 0;
    let rows: Vec<_> = shards.iter().flat_map(|shard| rows(shard)).collect();
    assert_eq!(rows.len(), texts.len());
    for (row, text) in texts.iter().enumerate() {
        let stored = rows.iter().find(|(id, ..)| *id == format!("d{row}"));
        let (_, _, bytes, ids) = stored.unwrap();
        assert_eq!(*bytes as usize, text.len());
        assert_eq!(tokenizer.decode(ids), text.as_bytes());
        assert!(!ids.contains(&0), "no end-of-text is stored");
        tokens += ids.len() as u64;
    }
    let total = counts.total();
    assert_eq!((total.documents_in, total.documents_out), (5, 5));
    assert_eq!(total.tokens, tokens);
    assert_eq!(total.held_out, rows.iter().filter(|row| row.1).count() as u64);
    assert_eq!(counts.extra["special_token_texts"], 1);
}

#[test]
fn threads_change_no_byte_and_units_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let compressed = io::read(&fixtures().join("documents.jsonl.zst")).unwrap();
    let path = folder.path().join("documents.jsonl");
    io::write(&path, &zstd::decode_all(compressed.as_slice()).unwrap()).unwrap();
    let whole = tokenize(&open(&path, InputConfig::default()), 1);
    assert_eq!(tokenize(&open(&path, InputConfig::default()), 3), whole);
    let cut = InputConfig { unit_bytes: Some(Bytes(40_000)), ..InputConfig::default() };
    let (one, counts) = tokenize(&open(&path, cut.clone()), 1);
    assert!(one.len() > 2);
    assert_eq!(tokenize(&open(&path, cut), 3), (one.clone(), counts.clone()));
    let all = |shards: &[Vec<u8>]| {
        let mut rows: Vec<_> = shards.iter().flat_map(|shard| rows(shard)).collect();
        rows.sort_unstable();
        rows
    };
    assert_eq!(all(&one), all(&whole.0));
    assert_eq!(counts, whole.1);
}

#[test]
fn the_config_names_the_end_of_text_and_the_size_of_the_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    write_documents(&path, &["a"]);
    let stage = open(&path, InputConfig::default());
    let config = stage.config();
    assert_eq!(config["end_of_text"], "<|endoftext|>");
    assert_eq!(config["end_of_text_id"], 0);
    assert_eq!(config["vocab_size"], 1000);
    let inputs = Stage::inputs(&stage);
    let tokenizer = inputs.last().unwrap();
    assert_eq!((tokenizer.kind, tokenizer.name.as_str()), (InputKind::File, "cl100k.json"));
}

#[test]
fn the_tokenizer_lies_beside_the_shards_with_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    write_documents(&path, &["a"]);
    let artifact = folder.path().join("tokens");
    let json = make_artifact(&artifact);
    let specs = [harness::spec("fixture", &path)];
    let open =
        || Tokenize::open(&specs, InputConfig::default(), TokenizeConfig::default(), &artifact);
    let stage = open().unwrap();
    assert_eq!(Stage::inputs(&stage).last().unwrap().kind, InputKind::Artifact(Kind::Tokenizer));
    let partial = folder.path().join("out.partial");
    harness::run(&stage, &partial, 1, MEMORY).unwrap();
    let beside = unit::directory(&partial, 1).join("tokenizer");
    assert_eq!(io::read(&beside.join("tokenizer.json")).unwrap(), json);
    assert_eq!(Manifest::read(&beside).unwrap().kind, Kind::Tokenizer);
    io::write(&artifact.join("tokenizer.json"), &[json.as_slice(), b"\n"].concat()).unwrap();
    let edited = open().err().expect("an edited tokenizer is noticed");
    assert!(matches!(edited, Error::Damaged { .. }), "{edited}");
}

/// A tokenizer artifact around the fixture's file; gives the file's bytes.
fn make_artifact(folder: &Path) -> Vec<u8> {
    io::create_directory(folder).unwrap();
    let json = io::read(&fixtures().join("cl100k.json")).unwrap();
    io::write(&folder.join("tokenizer.json"), &json).unwrap();
    let entry = FileEntry {
        name: "tokenizer.json".into(),
        bytes: json.len() as u64,
        rows: None,
        documents: None,
        tokens: None,
        xxh3: xxh3_128(&json),
    };
    let config = Value::Null;
    let manifest = Manifest {
        format: FORMAT,
        kind: Kind::Tokenizer,
        stage: "tokenizer".into(),
        stage_version: 1,
        tool: Tool::current(),
        fingerprint: manifest::fingerprint("tokenizer", 1, 0, &config, &[]),
        config,
        seed: 0,
        inputs: vec![],
        files: vec![entry],
        counts: ManifestCounts::default(),
        holdout: None,
        skipped_files: vec![],
        read: vec![],
        ancestry: vec![],
        extra: Default::default(),
    };
    manifest.write(folder).unwrap();
    json
}

#[test]
fn answers_are_told_from_their_prompts_by_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines = [
        json!({"id": "pair", "prompt": "Two and two is", "completion": " four."}),
        json!({"id": "chat", "messages": [
            {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"},
            {"role": "user", "content": "So"}, {"role": "assistant", "content": "No"}]}),
        json!({"id": "text", "text": "plain"}),
    ];
    io::write(&path, lines.map(|line| format!("{line}\n")).concat().as_bytes()).unwrap();
    let specs = [harness::spec("fixture", &path)];
    let json = fixtures().join("cl100k.json");
    let open = |loss_on| {
        let config = TokenizeConfig { loss_on, ..TokenizeConfig::default() };
        let input = InputConfig { holdout: Some(0.0), ..InputConfig::default() };
        Tokenize::open(&specs, input, config, &json)
    };
    let stage = open(LossOn::Answers).unwrap();
    let (shards, _) = tokenize(&stage, 1);
    assert_eq!(tokenize(&stage, 3).0, shards);
    assert_eq!(stage.config()["loss_on"], "answers");
    io::write(&folder.path().join("shard.arrow"), &shards[0]).unwrap();
    let reader = ShardReader::open(&folder.path().join("shard.arrow")).unwrap();
    let (block, lists) =
        (reader.read_block(0).unwrap(), reader.read(0).unwrap().token_lists().unwrap());
    let tokenizer = Tokenizer::open(&json).unwrap();
    for row in 0..block.len() {
        let (tokens, bounds) = (block.tokens(row).to_vec(), lists.trained(row).unwrap());
        let of = |wanted: bool| -> Vec<u32> {
            let all = tokens.iter().enumerate();
            all.filter(|(at, _)| is_trained(bounds, *at) == wanted).map(|(_, it)| *it).collect()
        };
        let expected = match block.document(row) {
            "pair" => ("Two and two is", " four."),
            "chat" => ("user: Hi\n\nassistant: user: So\n\nassistant: ", "Yes\n\nNo"),
            _ => ("", "plain"),
        };
        let texts = [of(false), of(true)].map(|ids| tokenizer.decode_text(&ids));
        assert_eq!((&*texts[0], &*texts[1]), expected);
    }
    // A prompt is encoded as it is when a model is asked.
    let mut prompt = Vec::new();
    tokenizer.encode("Two and two is", &mut prompt).unwrap();
    let pair = (0..3).find(|&row| block.document(row) == "pair").unwrap();
    assert_eq!(block.tokens(pair).to_vec()[..prompt.len()], prompt);
    // Without the key such objects are no documents.
    assert!(open(LossOn::Text).unwrap().config().get("loss_on").is_none());
    write_documents(&path, &["a"]);
    io::write(&folder.path().join("a.txt"), b"text").unwrap();
    let specs = [harness::spec("fixture", &folder.path().join("a.txt"))];
    let config = TokenizeConfig { loss_on: LossOn::Answers, ..TokenizeConfig::default() };
    let refused = Tokenize::open(&specs, InputConfig::default(), config, &json).err().unwrap();
    assert!(refused.to_string().contains("no input holds them"), "{refused}");
}

/// A list of messages a row.
fn chats(rows: &[&[(&str, &str)]]) -> ArrayRef {
    let said = |of: fn(&(&str, &str)) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().flat_map(|row| row.iter().map(of))))
    };
    let fields = ["role", "content"].map(|name| Field::new(name, DataType::Utf8, true));
    let columns = vec![said(|(role, _)| (*role).to_owned()), said(|(_, it)| (*it).to_owned())];
    let items = StructArray::new(fields.to_vec().into(), columns, None);
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.len()));
    Arc::new(ListArray::new(item, offsets, Arc::new(items), None))
}

fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn conversations_in_tables_have_the_answers_of_those_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let json = fixtures().join("cl100k.json");
    let shards = |path: &Path| {
        let config = TokenizeConfig { loss_on: LossOn::Answers, ..TokenizeConfig::default() };
        let input = InputConfig { holdout: Some(0.0), ..InputConfig::default() };
        let stage = Tokenize::open(&[harness::spec("fixture", path)], input, config, &json);
        tokenize(&stage.unwrap_or_else(|error| panic!("{}: {error}", path.display())), 2)
    };
    let ids = || strings(&[Some("a"), Some("b"), Some("c")]);
    let talks: [&[(&str, &str)]; 3] = [
        &[("user", "Größe?"), ("assistant", "Ja \n"), ("user", "So"), ("assistant", "Nein  ")],
        &[("assistant", "")],
        &[("user", "Nobody answers")],
    ];
    let (prompts, completions) =
        (["Two and two is", "", "Größe"], [Some(" four."), Some("ö"), None]);
    let pairs = || [("prompt", strings(&prompts.map(Some))), ("completion", strings(&completions))];
    let talk = |talk: &&[(&str, &str)]| {
        talk.iter().map(|(role, it)| json!({"role": role, "content": it})).collect::<Vec<_>>()
    };
    let lines = |object: &dyn Fn(usize) -> Value| -> String {
        (0..3).map(|row| format!("{}\n", object(row))).collect()
    };
    let letter = |row: usize| ["a", "b", "c"][row];
    let of_pair = |row: usize| {
        let (prompt, completion) = (prompts[row], completions[row]);
        json!({"id": letter(row), "prompt": prompt, "completion": completion})
    };
    let of_talk = |row: usize| json!({"id": letter(row), "messages": talk(&talks[row])});
    for (name, columns, expected) in [
        ("chat", vec![("messages", chats(&talks))], lines(&of_talk)),
        ("pair", pairs().to_vec(), lines(&of_pair)),
        // A column of one's own that is called as the answers is left out.
        ("own", [&pairs()[..], &[(ANSWERS, ids())]].concat(), lines(&of_pair)),
    ] {
        let (table, objects) = (folder.path().join(name), folder.path().join("lines.jsonl"));
        io::write(&objects, expected.as_bytes()).unwrap();
        let (expected, counts) = shards(&objects);
        let records = RecordBatch::try_from_iter([vec![("id", ids())], columns].concat()).unwrap();
        let (mut parquet, mut arrow) = (Vec::new(), Vec::new());
        let mut writer = ArrowWriter::try_new(&mut parquet, records.schema(), None).unwrap();
        writer.write(&records).unwrap();
        writer.close().unwrap();
        let mut writer = FileWriter::try_new(&mut arrow, &records.schema()).unwrap();
        writer.write(&records).unwrap();
        writer.finish().unwrap();
        for (ending, bytes) in [("parquet", parquet), ("arrow", arrow)] {
            let path = table.with_extension(ending);
            io::write(&path, &bytes).unwrap();
            let (found, found_counts) = shards(&path);
            assert_eq!(found, expected, "{name}.{ending}");
            assert_eq!(found_counts.total().documents_out, counts.total().documents_out);
        }
    }
}

#[test]
fn a_column_of_ones_own_that_is_called_as_the_answers_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let json = fixtures().join("cl100k.json");
    let open = |column: ArrayRef| {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["Größe"]));
        let columns = [("id", text.clone()), ("text", text), (ANSWERS, column)];
        let records = RecordBatch::try_from_iter(columns).unwrap();
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, records.schema(), None).unwrap();
        writer.write(&records).unwrap();
        writer.close().unwrap();
        io::write(&path, &file).unwrap();
        let config = TokenizeConfig { loss_on: LossOn::Answers, ..TokenizeConfig::default() };
        let input = InputConfig { holdout: Some(0.0), ..InputConfig::default() };
        Tokenize::open(&[harness::spec("fixture", &path)], input, config, &json)
    };
    // No list, behind the text, inside a character, falling.
    for foreign in ["yes, it is", "0-99", "3-4", "2-1", "4"] {
        let stage = open(Arc::new(StringArray::from(vec![foreign]))).unwrap();
        let error = harness::run(&stage, folder.path(), 1, MEMORY).unwrap_err();
        let said = format!("`answer_bytes` is `{foreign}`");
        assert!(error.to_string().contains(&said), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("rename")), "{error}");
    }
    let refused = open(Arc::new(UInt64Array::from(vec![7]))).err().unwrap();
    assert!(refused.to_string().contains("no input holds them"), "{refused}");
    // A file that cannot be read is no file without answers.
    let cut = io::read(&path).unwrap();
    io::write(&path, &cut[..cut.len() - 9]).unwrap();
    let config = TokenizeConfig { loss_on: LossOn::Answers, ..TokenizeConfig::default() };
    let specs = [harness::spec("fixture", &path)];
    let error = Tokenize::open(&specs, InputConfig::default(), config, &json).err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn a_missing_tokenizer_and_an_unknown_end_of_text_are_config_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    write_documents(&path, &["a"]);
    let specs = [harness::spec("fixture", &path)];
    let open = |config, tokenizer: &Path| {
        Tokenize::open(&specs, InputConfig::default(), config, tokenizer).err().unwrap()
    };
    let missing = open(TokenizeConfig::default(), folder.path());
    assert_eq!(missing.exit_status(), 2, "{missing}");
    let config = TokenizeConfig { end_of_text: Some("</s>".into()), ..TokenizeConfig::default() };
    assert_eq!(open(config, &fixtures().join("cl100k.json")).exit_status(), 2);
}
