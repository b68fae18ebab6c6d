//! Every reader against bytes that no writer of ours made: a result or an error that names the
//! file; no panic, no hang, no memory out of proportion.
//!
//! Valid files come from the kept artifacts (`fixtures/formats`) and from the fixtures of each
//! format. `tests/fuzz/engine.rs` says how they are changed and for how long.

mod engine;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use dataprep::{
    artifact::{
        counts::Counts,
        manifest::Manifest,
        record::Notes,
        section::{SectionKind, SectionReader, SectionWriter},
        spill::{RunReader, RunWriter},
        stage::{Published, Work},
        unit::{self, Done},
    },
    base::{
        config,
        error::{Error, Result},
        hash::xxh3_128,
        progress::{Progress, Style},
    },
    fasttext::{Model, Scratch},
    pipeline::recipe::Recipe,
    shards::{MixReader, MixRecord, ShardReader, order::OrderReader, read_validation},
    source::{Columns, InputConfig, InputSpec, Inputs, predicate::Predicate},
    tokenizer::Tokenizer,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    kept::kept,
    support::{TestDir, project},
};
use engine::{fuzz, fuzz_file};

/// A folder of its own, with a copy of a kept artifact in it.
fn copy_of(artifact: &str) -> (TestDir, PathBuf) {
    let directory = TestDir::new();
    directory.copy(&kept().join(artifact), artifact);
    let path = directory.path(artifact);
    (directory, path)
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(project().join("fixtures").join(name)).unwrap()
}

#[test]
fn fasttext_models() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["words.bin", "trigrams_negative.bin", "hierarchical.bin", "quantized_pruned.ftz"];
    let valid = names.map(|name| fixture(&format!("fasttext/{name}"))).to_vec();
    fuzz_file(directory.path(), "model.bin", valid, |path| {
        let bytes = fs::read(path).unwrap();
        let model = Model::read(&mut bytes.as_slice(), bytes.len() as u64)
            .map_err(|error| error.at(path))?;
        model.predict("the cell divides, la cellule", 3, 0.0, &mut Scratch::default());
        Ok(())
    });
}

/// Opens a shard and reads all of it, as training and inspection do.
fn read_shard(path: &Path) -> Result<()> {
    let reader = ShardReader::open(path)?;
    for index in 0..reader.blocks().len() {
        let block = reader.read_block(index)?;
        let raw = reader.read(index)?;
        let (lengths, held_out) = (raw.lengths()?, raw.held_out()?);
        let (lists, ids) = (raw.token_lists()?, raw.documents()?);
        for row in 0..lengths.len() {
            let _ = (block.tokens(row).len(), block.document(row), block.held_out(row));
            let _ = (lists.tokens(row).len(), ids.value(row), held_out.value(row));
        }
        reader.find_row(reader.first_row(index));
    }
    Ok(())
}

fn read_order(path: &Path) -> Result<()> {
    let mut order = OrderReader::open(path)?;
    for index in 0..order.documents().min(300) {
        order.row(index)?;
    }
    if order.tokens() > 0 {
        order.find(order.tokens() - 1)?;
        order.find(order.tokens() / 2)?;
    }
    Ok(())
}

#[test]
fn shards_orders_and_validation_sets() {
    let directory = tempfile::tempdir().unwrap();
    type Read = fn(&Path) -> Result<()>;
    let files: [(&str, Read); 3] = [
        ("tokens/shard-00000.arrow", read_shard),
        ("mix/order.arrow", read_order),
        ("mix/validation.arrow", |path| read_validation(path).map(drop)),
    ];
    for (name, read) in files {
        let valid = vec![fs::read(kept().join(name)).unwrap()];
        let name = Path::new(name).file_name().unwrap().to_str().unwrap();
        fuzz_file(directory.path(), name, valid.clone(), read);
        // The same with checksums that fit, so that decoding meets what nobody wrote.
        fuzz_file(directory.path(), name, valid.clone(), |path| {
            let mut bytes = fs::read(path).unwrap();
            reseal(&mut bytes, &valid[0]);
            fs::write(path, bytes).unwrap();
            read(path)
        });
    }
}

/// The part of a footer's JSON that holds checksums.
#[derive(Deserialize)]
struct Footer {
    batches: Box<RawValue>,
    batches_xxh3: String,
}

#[derive(Deserialize)]
struct Entry {
    offset: usize,
    bytes: usize,
    xxh3: String,
}

fn footer(bytes: &[u8]) -> Option<Footer> {
    let start = bytes.windows(11).rposition(|window| window == b"{\"format\":1")?;
    serde_json::Deserializer::from_slice(&bytes[start..]).into_iter().next()?.ok()
}

/// Makes the checksums of a changed file right, where its footer still has the place for them.
fn reseal(bytes: &mut [u8], valid: &[u8]) {
    let entries: Vec<Entry> = serde_json::from_str(footer(valid).unwrap().batches.get()).unwrap();
    for Entry { offset, bytes: length, xxh3 } in entries {
        if let Some(batch) = bytes.get(offset..offset + length) {
            let found = xxh3_128(batch).to_string();
            replace(bytes, &xxh3, &found);
        }
    }
    if let Some(Footer { batches, batches_xxh3 }) = footer(bytes) {
        replace(bytes, &batches_xxh3, &xxh3_128(batches.get().as_bytes()).to_string());
    }
}

fn replace(bytes: &mut [u8], old: &str, new: &str) {
    if let Some(at) = bytes.windows(old.len()).rposition(|window| window == old.as_bytes()) {
        bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
}

#[test]
fn manifests_and_records() {
    let (_corpus, path) = copy_of("corpus");
    let valid = vec![fs::read(path.join("manifest.json")).unwrap()];
    fuzz_file(&path, "manifest.json", valid, |_| {
        let manifest = Manifest::read(&path)?;
        let _ = (manifest.files_identity(), manifest.to_json());
        Ok(())
    });

    let partial = tempfile::tempdir().unwrap();
    let attempt = unit::begin(partial.path(), 0).unwrap();
    fs::write(attempt.join("part.parquet"), "x").unwrap();
    unit::publish(partial.path(), 0, &attempt, Notes::default(), Counts::default()).unwrap();
    let unit = unit::directory(partial.path(), 0);
    let valid = vec![fs::read(unit.join("done.json")).unwrap()];
    fuzz_file(&unit, "done.json", valid, |_| Done::read(&unit).map(drop));

    let (_mix, path) = copy_of("mix");
    let valid = vec![fs::read(path.join("mix.json")).unwrap()];
    fuzz_file(&path, "mix.json", valid.clone(), |_| MixRecord::read(&path).map(drop));
}

#[test]
fn sections_and_runs_between_phases() {
    let directory = tempfile::tempdir().unwrap();
    let kind = SectionKind { name: *b"fuzzing\0", version: 1 };
    let path = directory.path().join("valid");
    let mut writer = SectionWriter::create(&path, kind).unwrap();
    for section in [b"one".as_slice(), &[0; 300], b""] {
        writer.section(section).unwrap();
    }
    writer.finish().unwrap();
    let valid = vec![fs::read(&path).unwrap()];
    fuzz_file(directory.path(), "a.sections", valid, |path| {
        let reader = SectionReader::open(path, kind)?;
        for index in 0..reader.len() {
            let section = reader.section(index)?;
            let mut fields = section.fields();
            while !fields.is_empty() {
                fields.variable()?;
            }
        }
        Ok(())
    });

    let mut run = RunWriter::new(fs::File::create(&path).unwrap(), &path).unwrap();
    for key in 0..200u32 {
        run.push(format!("key {key:06}").as_bytes(), u64::from(key) + 1).unwrap();
    }
    run.finish().unwrap();
    let valid = vec![fs::read(&path).unwrap()];
    fuzz_file(directory.path(), "a.run", valid, |path| {
        let mut reader = RunReader::open(path)?;
        while reader.advance()?.is_some() {
            reader.key();
        }
        Ok(())
    });
}

/// What lies beside each other need not fit: an order of another mix, a record that was edited.
#[test]
fn mixes_whose_files_do_not_fit() {
    let (directory, path) = copy_of("mix");
    directory.copy(&kept().join("tokens"), "tokens");
    let data = [directory.path(".")];
    let read = || -> Result<()> {
        let mut mix = MixReader::open(&path, &data, 1 << 20)?;
        let length = mix.tokens().min(2000) as usize;
        let _ = mix.window_bytes();
        mix.read(0, length, &mut Vec::new(), &mut Vec::new())
    };
    for name in ["mix.json", "order.arrow"] {
        let valid = vec![fs::read(path.join(name)).unwrap()];
        // Whatever is found wrong lies in the mix or its shards.
        let read = |_: &Path| read().map_err(|error| Error::damaged(&path.join(name), None, error));
        fuzz_file(&path, name, valid.clone(), read);
        if name == "order.arrow" {
            fuzz_file(&path, name, valid.clone(), |file| {
                let mut bytes = fs::read(file).unwrap();
                reseal(&mut bytes, &valid[0]);
                fs::write(file, bytes).unwrap();
                read(file)
            });
        }
        fs::write(path.join(name), &valid[0]).unwrap();
    }
}

#[test]
fn recipes_and_configs() {
    let directory = tempfile::tempdir().unwrap();
    let recipe = fs::read_to_string(project().join("pipelines/quickstart.toml")).unwrap();
    // Without the stage `train`, the steps before it.
    let steps = recipe.rsplit_once("[[step]]").expect("several steps").0;
    let recipe = if cfg!(feature = "train") { recipe.as_str() } else { steps };
    let recipe = recipe.as_bytes().to_vec();
    let config = fs::read(project().join("configs/train/quickstart.toml")).unwrap();
    fs::create_dir_all(directory.path().join("configs/train")).unwrap();
    fs::write(directory.path().join("configs/train/quickstart.toml"), &config).unwrap();
    fs::create_dir_all(directory.path().join("pipelines")).unwrap();
    // An error of a recipe names its step, its key or its place.
    fuzz_file(&directory.path().join("pipelines"), "recipe.toml", vec![recipe], |path| {
        Recipe::read(path, &[], None).map(drop).map_err(|error| Error::damaged(path, None, error))
    });
    fuzz_file(directory.path(), "config.toml", vec![config], |path| config::read(path).map(drop));
}

#[test]
fn tokenizers() {
    let directory = tempfile::tempdir().unwrap();
    let valid = vec![fs::read(kept().join("tokens/tokenizer/tokenizer.json")).unwrap()];
    fuzz_file(directory.path(), "tokenizer.json", valid, |path| {
        let tokenizer = Tokenizer::open(path)?;
        let mut ids = Vec::new();
        let encoded = tokenizer.encode("The cell divides: l'été <|endoftext|>\n\n 42!", &mut ids);
        encoded.map_err(|error| Error::damaged(path, None, error))?;
        let _ = (tokenizer.decode(&ids), tokenizer.decode(&[u32::MAX, 3]), tokenizer.notices());
        let _ = (tokenizer.end_of_text(None).is_ok(), tokenizer.spells_special_token("x"));
        Ok(())
    });
}

/// Reads a raw file or a corpus as a stage does, on one thread.
fn read_source(path: &Path, config: &InputConfig) -> Result<()> {
    let inputs = Inputs::open(&[InputSpec::named("s", path)], config)?;
    let directory = tempfile::tempdir().unwrap();
    let progress = Progress::new(Style::None);
    for unit in 0..inputs.units().len() {
        let work = Work {
            dir: directory.path().to_owned(),
            spill: directory.path().join("spill"),
            published: Published { partial: directory.path(), phases: &[] },
            threads: 1,
            memory: 1 << 30,
            skipped: &Default::default(),
            progress: &progress,
            notes: Mutex::new(Notes::default()),
        };
        inputs.read(unit, Columns::All, &work, Ok, |batch| {
            assert!(batch.texts().iter().all(|text| text.is_some()));
            Ok(())
        })?;
    }
    Ok(())
}

fn json_lines() -> Vec<u8> {
    let lines = [
        r#"{"id": "a", "text": "one é \u00e9 \ud83d\ude00", "score": 1.5, "tags": [{"y": 1}]}"#,
        r#"{"text": "two", "id": 7, "url": "https://example.org", "score": null}"#,
        r#"{"text": "three\nlines\n", "int_score": 12345678901234567890, "flag": true}"#,
    ];
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

#[test]
fn json_lines_plain_and_compressed() {
    let directory = tempfile::tempdir().unwrap();
    let plain = json_lines();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::stream::encode_all(plain.as_slice(), 3).unwrap();
    let mut frames = zstd.clone();
    frames.extend(&zstd);
    let files = [
        ("a.jsonl", vec![plain]),
        ("a.jsonl.gz", vec![gzip.finish().unwrap()]),
        ("a.jsonl.zst", vec![zstd, frames]),
    ];
    let config = InputConfig::default();
    for (name, valid) in files {
        fuzz_file(directory.path(), name, valid, |path| read_source(path, &config));
    }
}

#[test]
fn parquet_files() {
    let directory = tempfile::tempdir().unwrap();
    let valid = vec![fs::read(kept().join("corpus/part-00000.parquet")).unwrap()];
    let config = InputConfig::default();
    fuzz_file(directory.path(), "a.parquet", valid, |path| read_source(path, &config));
}

/// Small files of every other format, as other programs wrote them.
fn fuzz_fixtures(names: &[&str], config: &InputConfig) {
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        let valid = vec![fixture(&format!("source/formats/{name}"))];
        fuzz_file(directory.path(), name, valid, |path| read_source(path, config));
    }
}

#[test]
fn json_arrays_csv_text_and_warc() {
    let mut config = InputConfig::default();
    let names = ["array.json", "apart.json.gz", "rows.csv", "rows.tsv", "records.warc.wet.gz"];
    fuzz_fixtures(&names, &config);
    config.separator = Some("<|endoftext|>".to_owned());
    fuzz_fixtures(&["separated.txt", "streams.jsonl.bz2", "streams.jsonl.xz"], &config);
    // The records themselves, which gzip's checksum keeps changed bytes from.
    let directory = tempfile::tempdir().unwrap();
    let mut wet = Vec::new();
    let compressed = fixture("source/formats/records.warc.wet.gz");
    flate2::read::MultiGzDecoder::new(compressed.as_slice()).read_to_end(&mut wet).unwrap();
    fuzz_file(directory.path(), "a.warc.wet", vec![wet], |path| read_source(path, &config));
}

#[test]
fn arrow_streams_and_files() {
    let names = ["stream.arrow", "zstd.feather", "lz4.feather", "view.arrow", "dictionary.arrow"];
    fuzz_fixtures(&names, &InputConfig::default());
    let text_column = "content.text".to_owned();
    fuzz_fixtures(&["nested.arrow"], &InputConfig { text_column, ..InputConfig::default() });
}

#[test]
fn parquet_with_text_inside() {
    for (name, text_column) in
        [("nested.parquet", "content.text"), ("messages.parquet", "messages")]
    {
        let text_column = text_column.to_owned();
        fuzz_fixtures(&[name], &InputConfig { text_column, ..InputConfig::default() });
    }
    fuzz_fixtures(&["codec-brotli.parquet"], &InputConfig::default());
}

const CONDITIONS: &[&str] = &[
    "int_score >= 3 AND language = 'en'",
    "NOT (score < 1.5e2 OR score IS NULL) AND text LIKE '%cell_' ESCAPE '!'",
    "metadata.url LIKE 'https://%' AND CAST(metadata.\"score\" AS DOUBLE) BETWEEN -1 AND 1 + 2 * 3",
    "regexp_like(text, '^(a|b)+$') AND length(text) % 7 IN (1, 2, NULL, -3)",
    "language IN ('en', 'de') AND coalesce(score, int_score / 0) <> 9223372036854775807",
    "lower(text) = 'x' OR CASE WHEN score > 1 THEN true ELSE false END",
];

fn documents() -> arrow::record_batch::RecordBatch {
    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use std::sync::Arc;
    let text = |values: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let (low, high) = (Some(i64::MIN), Some(i64::MAX));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", text(vec![Some("a cell"), Some(""), Some("été\n\u{1F600}")])),
        ("language", text(vec![Some("en"), None, Some("de")])),
        ("int_score", Arc::new(Int64Array::from(vec![low, None, high]))),
        ("score", Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(-1e308)]))),
        ("metadata", text(vec![Some(r#"{"url": "https://a", "score": 1}"#), None, Some("[")])),
    ];
    arrow::record_batch::RecordBatch::try_from_iter(columns).unwrap()
}

/// Reads a condition and evaluates it; any answer is right.
fn condition(records: &arrow::record_batch::RecordBatch, sql: &str) {
    if let Ok(predicate) = Predicate::parse(sql, &records.schema()) {
        let _ = predicate.select(records);
    }
}

#[test]
fn conditions() {
    let records = documents();
    for sql in CONDITIONS {
        condition(&records, sql);
    }
    let valid = CONDITIONS.iter().map(|sql| sql.as_bytes().to_vec()).collect();
    fuzz("condition", engine::bytes(valid), |bytes| {
        condition(&records, &String::from_utf8_lossy(bytes));
        Ok(())
    });
    // Words of the language in any order reach deeper than changed bytes.
    let words = prop::sample::select(
        "( ) AND OR NOT = <> < >= + - * / % , . 'a' '' 1 -1 1e999 9223372036854775807 NULL TRUE IS \
         IN LIKE BETWEEN CAST AS BIGINT DOUBLE text score int_score metadata.url length lower \
         coalesce regexp_like CASE WHEN THEN ELSE END ESCAPE '(' '%' \"x\" ["
            .split(' ')
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>(),
    );
    let sentences = prop::collection::vec(words, 1..30).prop_map(|words| words.join(" "));
    fuzz("sentence", sentences, |bytes| {
        condition(&records, std::str::from_utf8(bytes).unwrap());
        Ok(())
    });
}

/// Each of these is as deep as it is long.
#[test]
fn long_and_deep_conditions_end_with_an_answer() {
    let records = documents();
    for times in [100, 3_000, 50_000] {
        condition(&records, &"(".repeat(times));
        condition(&records, &"NOT ".repeat(times));
        condition(&records, &("NOT ".repeat(times) + "score = 1"));
        condition(&records, &("score = 1".to_owned() + &" AND score = 1".repeat(times)));
        condition(&records, &("score = 1".to_owned() + &" OR score = 1".repeat(times)));
        condition(&records, &("score = 1".to_owned() + &" + 1".repeat(times)));
        condition(&records, &("score = ".to_owned() + &"- ".repeat(times) + "1"));
        condition(&records, &("(".repeat(times) + "score = 1" + &")".repeat(times)));
        condition(&records, &format!("score IN ({}1)", "1, ".repeat(times)));
        condition(&records, &("lower(".repeat(times) + "text" + &")".repeat(times)));
    }
}

#[cfg(feature = "train")]
#[test]
fn checkpoints() {
    use dataprep::runtime::{checkpoint, device::Device, optim::adamw::AdamW};
    let (_run, path) = copy_of("run");
    let found = checkpoint::latest(&path.join("checkpoints")).unwrap().expect("a checkpoint");
    let read = || -> Result<()> {
        let model = found.model(&Device::cpu())?;
        let mut optimizer = AdamW::new(model.parameters(), &Default::default())?;
        found.restore(&mut optimizer).map(drop)
    };
    for name in ["state.json", "model.safetensors", "optimizer.safetensors"] {
        let valid = vec![fs::read(found.path.join(name)).unwrap()];
        // Tensors that do not fit the state are named by their own names.
        let read = |file: &Path| read().map_err(|error| Error::damaged(file, None, error));
        fuzz_file(&found.path, name, valid.clone(), read);
        fs::write(found.path.join(name), &valid[0]).unwrap();
    }
}
