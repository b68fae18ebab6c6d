//! The stage from shards to a stream of tokens, against what the documents say.

use crate::artifact::record::Kind;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Mutex,
};

use proptest::prelude::*;

use super::*;
use crate::{
    artifact::record::Notes,
    base::{
        error::Error,
        hash::xxh3_128,
        io,
        progress::{Progress, Style},
        rng::Stream,
        size::Count,
    },
    shards::{
        MixReader, MixRecord,
        fixture::{END_OF_TEXT_ID, TestDocument, write_artifact, write_manifest},
        order::{ORDER_FILE, OrderReader},
        read_validation,
        validation::VALIDATION_FILE,
    },
};

/// Documents of one source: lengths from nothing to `longest`, every ninth held out.
fn documents(source: &str, count: usize, longest: u64) -> Vec<TestDocument> {
    let mut stream = Stream::new(3, source);
    let document = |index: usize| {
        let length = if index % 11 == 5 { 0 } else { stream.next_u64() % (longest + 1) };
        let id = format!("{source}-{index}");
        let document = TestDocument::new(&id, source, length as usize, 5000);
        if index % 9 == 4 { document.held_out() } else { document }
    };
    (0..count).map(document).collect()
}

/// Two artifacts: `first` with the sources web and books in two files, `second` with code.
struct Corpus {
    directory: tempfile::TempDir,
    documents: BTreeMap<&'static str, Vec<TestDocument>>,
}

impl Corpus {
    fn new(count: usize, longest: u64) -> Corpus {
        let directory = tempfile::tempdir().unwrap();
        let sources = ["books", "code", "web"];
        let documents: BTreeMap<_, _> =
            sources.iter().map(|&source| (source, documents(source, count, longest))).collect();
        let halves = documents["web"].split_at(count / 3);
        let files = [[halves.0, &documents["books"]].concat(), halves.1.to_vec()];
        write_artifact(&directory.path().join("first"), "tokenizer", &files);
        write_artifact(&directory.path().join("second"), "tokenizer", &[documents["code"].clone()]);
        Corpus { directory, documents }
    }

    fn specs(&self, sources: &[(&str, &str)]) -> Vec<MixSpec> {
        let spec = |(source, weight): &(&str, &str)| {
            let set = if *source == "code" { "second" } else { "first" };
            let place = self.directory.path().join(set);
            format!("{source}={}#{source}:{weight}", place.display()).parse().unwrap()
        };
        sources.iter().map(spec).collect()
    }

    /// Tokens of one epoch of a source, openers included.
    fn available(&self, source: &str) -> u64 {
        let training = self.documents[source].iter().filter(|document| !document.held_out);
        training.map(|document| document.tokens.len() as u64 + 1).sum()
    }

    fn mix(&self, name: &str, specs: &[MixSpec], config: &MixConfig) -> (PathBuf, Counts) {
        let out = self.directory.path().join(name);
        let counts = run_mix(specs, config, &out, 2);
        (out, counts)
    }

    fn reader(&self, out: &Path, cache_bytes_max: u64) -> MixReader {
        MixReader::open(out, &[self.directory.path().to_owned()], cache_bytes_max).unwrap()
    }
}

fn config(tokens: u64) -> MixConfig {
    MixConfig {
        tokens: MixTokens::Exactly(Count(tokens)),
        seed: 1,
        eval_tokens: Count(2000),
        ..MixConfig::default()
    }
}

/// Runs the unit as the executor does, and publishes what it wrote.
fn run_mix(specs: &[MixSpec], config: &MixConfig, out: &Path, threads: usize) -> Counts {
    let stage = Mix::open(specs, config.clone()).unwrap();
    let counts = run_stage(&stage, out, threads, 1 << 30).unwrap();
    let names = [MIX_FILE, ORDER_FILE, "tokenizer/tokenizer.json", VALIDATION_FILE];
    write_manifest(out, Kind::Mix, stage.config(), &names.map(str::to_owned));
    counts.assert_balanced("mix");
    counts
}

fn run_stage(stage: &Mix, out: &Path, threads: usize, memory: u64) -> Result<Counts> {
    io::create_directory(out).unwrap();
    let plan = stage.plan().unwrap();
    let work = Work {
        dir: out.to_owned(),
        spill: out.join("spill"),
        published: Published { partial: out, phases: &plan.phases },
        threads,
        memory,
        skipped: &BTreeSet::new(),
        progress: &Progress::new(Style::None),
        notes: Mutex::new(Notes::default()),
    };
    stage.run_unit(Unit { phase: 0, index: 0 }, &work)
}

/// Every document of the stream with its tokens, cut where the budget cuts it.
fn stream_of(corpus: &Corpus, out: &Path) -> Vec<(String, Vec<u32>)> {
    let record = MixRecord::read(out).unwrap();
    let mut order = OrderReader::open(&out.join(ORDER_FILE)).unwrap();
    let shards = record.locate(out, &[corpus.directory.path().to_owned()]).unwrap();
    let shards: Vec<Vec<TestDocument>> = shards.iter().map(|path| shard_documents(path)).collect();
    let row = |index: u64| {
        let (row, end) = order.row(index).unwrap();
        let document = &shards[row.shard as usize][row.row as usize];
        assert!(!document.held_out, "{} is held out", document.id);
        assert_eq!(record.sources[usize::from(row.source)].name, document.source);
        let mut tokens = vec![END_OF_TEXT_ID];
        tokens.extend(&document.tokens);
        tokens.truncate((end - row.first_token) as usize);
        (document.id.clone(), tokens)
    };
    (0..record.documents).map(row).collect()
}

fn shard_documents(path: &Path) -> Vec<TestDocument> {
    let reader = crate::shards::ShardReader::open(path).unwrap();
    let mut documents = Vec::new();
    for index in 0..reader.blocks().len() {
        let block = reader.read_block(index).unwrap();
        documents.extend((0..block.len()).map(|row| TestDocument {
            id: block.document(row).to_owned(),
            source: block.source().to_owned(),
            held_out: block.held_out(row),
            bytes: block.bytes(row),
            tokens: block.tokens(row).to_vec(),
        }));
    }
    documents
}

#[test]
fn reading_anywhere_gives_the_concatenated_documents() {
    let corpus = Corpus::new(120, 9000);
    let specs = corpus.specs(&[("web", "0.5"), ("code", "0.3"), ("books", "0.2")]);
    let tokens = 2 * corpus.available("web");
    let (out, _) = corpus.mix("mix", &specs, &config(tokens));
    let documents = stream_of(&corpus, &out);
    let all: Vec<u32> = documents.iter().flat_map(|(_, tokens)| tokens).copied().collect();
    let mut openers = BTreeSet::new();
    let mut position = 0;
    for (_, tokens) in &documents {
        openers.insert(position);
        position += tokens.len() as u64;
    }
    assert_eq!(all.len() as u64, tokens);
    let mut random = Stream::new(0, "ranges");
    let (mut found, mut starts) = (Vec::new(), Vec::new());
    for cache_bytes_max in [0, 1 << 20, 1 << 30] {
        let mut reader = corpus.reader(&out, cache_bytes_max);
        for _ in 0..60 {
            let start = random.next_u64() % tokens;
            let length = (random.next_u64() % 20_000).min(tokens - start);
            reader.read(start, length as usize, &mut found, &mut starts).unwrap();
            assert_eq!(found, all[start as usize..(start + length) as usize]);
            let expected = openers.range(start..start + length).map(|place| (place - start) as u32);
            assert!(starts.iter().copied().eq(expected), "{start}+{length}: {starts:?}");
        }
    }
}

#[test]
fn sequential_reading_decodes_each_block_once_an_epoch() {
    let corpus = Corpus::new(150, 20_000);
    let specs = corpus.specs(&[("web", "1")]);
    let tokens = 2 * corpus.available("web");
    let (out, _) = corpus.mix("mix", &specs, &config(tokens));
    let mut reader = corpus.reader(&out, 1 << 30);
    let (mut found, mut starts) = (Vec::new(), Vec::new());
    for start in (0..tokens).step_by(3001) {
        let length = 3001.min(tokens - start) as usize;
        reader.read(start, length, &mut found, &mut starts).unwrap();
    }
    let blocks = Mix::open(&specs, config(tokens)).unwrap().resolved().sources[0].blocks.len();
    assert!(blocks > 4, "{blocks} blocks are no test");
    assert_eq!(reader.blocks_decoded(), 2 * blocks as u64);
}

#[test]
fn a_window_of_each_source_is_all_the_memory_sequential_reading_needs() {
    let corpus = Corpus::new(400, 20_000);
    let specs = corpus.specs(&[("web", "20"), ("code", "1")]);
    let tokens = corpus.available("web");
    let (out, _) = corpus.mix("mix", &specs, &config(tokens));
    let decoded = |cache_bytes_max: u64| {
        let mut reader = corpus.reader(&out, cache_bytes_max);
        let (mut found, mut starts) = (Vec::new(), Vec::new());
        for start in (0..tokens).step_by(4096) {
            let length = 4096.min(tokens - start) as usize;
            reader.read(start, length, &mut found, &mut starts).unwrap();
        }
        reader.blocks_decoded()
    };
    let window_bytes = corpus.reader(&out, 0).window_bytes();
    assert_eq!(decoded(window_bytes), decoded(u64::MAX), "{window_bytes} bytes");
    assert!(decoded(0) > 2 * decoded(u64::MAX));
}

#[test]
fn each_epoch_shows_each_training_document_once_and_in_another_order() {
    let corpus = Corpus::new(90, 2000);
    let specs = corpus.specs(&[("books", "1")]);
    let (out, counts) = corpus.mix("mix", &specs, &config(3 * corpus.available("books")));
    let shown: Vec<String> = stream_of(&corpus, &out).into_iter().map(|(id, _)| id).collect();
    let training = corpus.documents["books"].iter().filter(|document| !document.held_out);
    let all: BTreeSet<String> = training.map(|document| document.id.clone()).collect();
    let epochs: Vec<&[String]> = shown.chunks(all.len()).collect();
    assert_eq!(epochs.len(), 3);
    for epoch in &epochs {
        assert_eq!(epoch.iter().cloned().collect::<BTreeSet<_>>(), all);
    }
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
    let books = &counts.sources["books"];
    assert_eq!((books.documents_in, books.documents_out), (90, all.len() as u64));
    assert_eq!(books.dropped, BTreeMap::from([("held_out".to_owned(), 10)]));
    assert_eq!(counts.extra["repeated_documents"], 2 * all.len() as u64);
}

#[test]
fn validation_takes_held_out_documents_whatever_seed_and_weights() {
    let corpus = Corpus::new(120, 900);
    let one = config(5000);
    let two = MixConfig { seed: 99, ..config(4000) };
    let (first, _) = corpus.mix("first-mix", &corpus.specs(&[("web", "1"), ("code", "2")]), &one);
    let (second, _) = corpus.mix("second-mix", &corpus.specs(&[("code", "1"), ("web", "1")]), &two);
    let read = |out: &Path| {
        let sources = read_validation(&out.join(VALIDATION_FILE)).unwrap();
        let sources = sources.into_iter().map(|source| (source.name, source.documents));
        sources.collect::<BTreeMap<_, _>>()
    };
    let (first, second) = (read(&first), read(&second));
    assert_eq!(first, second);
    for (source, documents) in &first {
        let tokens: usize = documents.iter().map(|document| document.tokens.len()).sum();
        assert!(documents.len() > 1 && tokens <= 2000, "{source}: {tokens}");
        for document in documents {
            let mut written = corpus.documents[source.as_str()].iter();
            let written = written.find(|one| one.id == document.id).unwrap();
            assert!(written.held_out);
            assert_eq!((document.bytes, &document.tokens), (written.bytes, &written.tokens));
        }
    }
}

#[test]
fn threads_and_the_shards_place_change_no_byte() {
    let (corpus, moved) = (Corpus::new(100, 3000), Corpus::new(100, 3000));
    let sources = [("web", "0.6"), ("books", "0.1"), ("code", "0.3")];
    let tokens = corpus.available("web");
    let out = |corpus: &Corpus, threads| {
        let out = corpus.directory.path().join(format!("mix-{threads}"));
        run_mix(&corpus.specs(&sources), &config(tokens), &out, threads);
        let names = [MIX_FILE, ORDER_FILE, VALIDATION_FILE, "manifest.json"];
        names.map(|name| xxh3_128(&io::read(&out.join(name)).unwrap()))
    };
    assert_eq!(out(&corpus, 1), out(&corpus, 3));
    assert_eq!(out(&corpus, 1), out(&moved, 2));
}

#[test]
fn the_order_of_a_small_mix_is_the_stored_one() {
    let corpus = Corpus::new(40, 300);
    let specs = corpus.specs(&[("web", "0.7"), ("code", "0.3")]);
    let (out, _) = corpus.mix("mix", &specs, &config(6000));
    let ids: Vec<String> = stream_of(&corpus, &out).into_iter().map(|(id, _)| id).collect();
    let order = xxh3_128(ids.join(" ").as_bytes()).to_string();
    assert_eq!((ids.len(), order.as_str()), GOLDEN, "the order moved: raise the stage's version");
}

/// Documents in the stream, XXH3-128 of their ids.
const GOLDEN: (usize, &str) = (44, "298da8f55628352ce585a707deef80a8");

#[test]
fn an_edited_shard_is_never_trained_on() {
    let corpus = Corpus::new(60, 300);
    let (out, _) = corpus.mix("mix", &corpus.specs(&[("code", "1")]), &config(500));
    let mut edited = corpus.documents["code"].clone();
    edited[3].tokens.push(1);
    let second = corpus.directory.path().join("second");
    let manifest = crate::artifact::manifest::Manifest::read(&second).unwrap();
    crate::shards::fixture::write_shard(
        &second.join("shard-00000.arrow"),
        crate::shards::TokenWidth::U16,
        &edited,
    );
    manifest.write(&second).unwrap();
    let read = || {
        let data = [corpus.directory.path().to_owned()];
        MixReader::open(&out, &data, 0)?.read(0, 100, &mut Vec::new(), &mut Vec::new())
    };
    let error = read().unwrap_err();
    assert!(error.to_string().contains("not the file the mix was made of"), "{error}");
    io::remove_directory(&second).unwrap();
    let error = read().unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("--data")), "{error}");
}

fn refused(specs: &[MixSpec], config: MixConfig) -> (String, String) {
    let error = Mix::open(specs, config).err().expect("refused");
    assert!(matches!(error, Error::Config { .. }), "{error}");
    (error.to_string(), error.hint().unwrap_or_default())
}

#[test]
fn requests_that_cannot_be_met_are_refused_with_what_would_do() {
    let corpus = Corpus::new(60, 300);
    let web = corpus.specs(&[("web", "1")]);
    let (message, hint) = refused(&web, config(9 * corpus.available("web") / 2));
    assert!(message.contains("4.5000 passes"), "{message}");
    assert!(hint.contains("epochs_max=5"), "{hint}");
    let (message, hint) = refused(&corpus.specs(&[("wob", "1")]), config(10));
    assert!(message.contains("no source `wob`") && hint.contains("`web`"), "{message} {hint}");
    let (message, _) = refused(&corpus.specs(&[("web", "1"), ("web", "2")]), config(10));
    assert!(message.contains("two sources"), "{message}");
    let all = format!("all={}:1", corpus.directory.path().join("first").display());
    let (message, _) = refused(&[web[0].clone(), all.parse().unwrap()], config(10));
    assert!(message.contains("take the same documents"), "{message}");
    let (message, _) = refused(&corpus.specs(&[("web", "1"), ("code", "9")]), config(1));
    assert!(message.contains("`web` gets none"), "{message}");
    let held: Vec<_> = documents("held", 5, 9).into_iter().map(TestDocument::held_out).collect();
    for (name, tokenizer, documents) in [
        ("held", "tokenizer", held.clone()),
        ("foreign", "another", corpus.documents["web"].clone()),
        ("endless", "none", corpus.documents["web"].clone()),
    ] {
        write_artifact(&corpus.directory.path().join(name), tokenizer, &[documents]);
    }
    let spec = |name: &str| {
        let place = corpus.directory.path().join(name);
        format!("{name}={}:1", place.display()).parse::<MixSpec>().unwrap()
    };
    let (message, hint) = refused(&[spec("held")], config(10));
    assert!(message.contains("all 5 documents") && hint.contains("--holdout"), "{message}");
    let (message, _) = refused(&[web[0].clone(), spec("foreign")], config(10));
    assert!(message.contains("two tokenizers"), "{message}");
    let (message, _) = refused(&[spec("endless")], config(10));
    assert!(message.contains("no end-of-text"), "{message}");
}

#[test]
fn too_little_memory_is_refused_with_the_number() {
    let corpus = Corpus::new(60, 300);
    let stage = Mix::open(&corpus.specs(&[("web", "1")]), config(500)).unwrap();
    let out = corpus.directory.path().join("mix");
    let error = run_stage(&stage, &out, 1, 1000).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("--memory")), "{error}");
    run_stage(&stage, &out, 1, run::memory_bytes(stage.resolved(), &config(500), None)).unwrap();
}

#[test]
fn all_takes_every_token_of_the_scarcest_source() {
    let corpus = Corpus::new(80, 500);
    let specs = corpus.specs(&[("web", "0.5"), ("code", "0.5")]);
    let all = MixConfig { tokens: MixTokens::All, ..config(0) };
    let (out, _) = corpus.mix("mix", &specs, &all);
    let record = MixRecord::read(&out).unwrap();
    let scarce = corpus.available("web").min(corpus.available("code"));
    assert!((2 * scarce..=2 * scarce + 1).contains(&record.tokens), "{} {scarce}", record.tokens);
    assert!(record.sources.iter().any(|source| source.epochs == "1/1"));
}

/// `web`, `code` and `books` without weights.
fn bare(corpus: &Corpus) -> Vec<MixSpec> {
    let mut specs = corpus.specs(&[("web", "1"), ("code", "1"), ("books", "1")]);
    specs.iter_mut().for_each(|spec| spec.weight = None);
    specs
}

fn with_keys(keys: &str) -> MixConfig {
    let config: MixConfig = toml::from_str(keys).unwrap();
    MixConfig { eval_tokens: Count(2000), seed: 1, ..config }
}

#[test]
fn phases_have_their_own_shares_and_each_source_goes_on_where_it_stopped() {
    let corpus = Corpus::new(120, 900);
    let keys = "tokens = 30_000
        [[phases]]
        name = 'main'
        share = 0.8
        weights = { web = 0.75, code = 0.25 }
        [[phases]]
        name = 'anneal'
        share = 0.2
        weights = { web = 0.5, books = 0.5 }";
    let (out, _) = corpus.mix("phased", &bare(&corpus), &with_keys(keys));
    let record = MixRecord::read(&out).unwrap();
    let phases: Vec<(&str, u64, &[u64])> = record
        .phases
        .iter()
        .map(|phase| (phase.name.as_str(), phase.first_token, phase.source_tokens.as_slice()))
        .collect();
    let expected = [("main", 0, &[18_000, 6000, 0][..]), ("anneal", 24_000, &[3000, 0, 3000][..])];
    assert_eq!(phases, expected);
    // The order of each source is the one it has without phases.
    let of_source = |stream: &[(String, Vec<u32>)], source: &str| -> Vec<String> {
        let ids = stream.iter().map(|(id, _)| id.clone());
        ids.filter(|id| id.starts_with(source)).collect()
    };
    let plain = corpus.specs(&[("web", "0.7"), ("code", "0.2"), ("books", "0.1")]);
    let (plain, _) = corpus.mix("plain", &plain, &config(30_000));
    let (phased, plain) = (stream_of(&corpus, &out), stream_of(&corpus, &plain));
    for source in ["web", "code", "books"] {
        let (one, other) = (of_source(&phased, source), of_source(&plain, source));
        let length = one.len().min(other.len());
        assert!(length > 3, "{source}: {length} documents are no test");
        assert_eq!(one[..length], other[..length], "{source}");
    }
}

#[test]
fn a_source_at_its_limit_gives_to_the_others() {
    let corpus = Corpus::new(80, 500);
    let specs = corpus.specs(&[("web", "1"), ("code", "1"), ("books", "2")]);
    let tokens = 3 * corpus.available("books");
    let keys = format!(
        "tokens = {tokens}\nepochs_max = 9\nlimits.books = {{ epochs_max = 1 }}\n\
         limits.code = {{ share_min = 0.4 }}"
    );
    let (out, _) = corpus.mix("limited", &specs, &with_keys(&keys));
    let record = MixRecord::read(&out).unwrap();
    let of = |name: &str| record.sources.iter().find(|source| source.name == name).unwrap();
    assert_eq!(of("books").epochs, "1/1");
    assert_eq!(of("code").achieved_tokens, tokens * 4 / 10);
    assert_eq!(record.tokens, tokens);
    let impossible = "tokens = 90_000\nlimits.web = { share_max = 0.1 }\n\
        limits.code = { share_max = 0.1 }\nlimits.books = { share_max = 0.1 }";
    let (message, hint) = refused(&specs, with_keys(impossible));
    assert!(message.contains("no way to fill 90,000 tokens"), "{message}");
    assert!(hint.contains("share_max"), "{hint}");
}

#[test]
fn what_the_weights_came_to_is_said_where_it_may_surprise() {
    let corpus = Corpus::new(80, 500);
    let notices = |sources: &[(&str, &str)], keys: &str| {
        Mix::open(&corpus.specs(sources), with_keys(keys)).unwrap().notices()
    };
    assert!(notices(&[("web", "0.7"), ("code", "0.3")], "tokens = 900").is_empty());
    let odd = notices(&[("web", "0.7"), ("code", "0.2")], "tokens = 900");
    assert_eq!(odd, ["the weights add to 0.9: web 77.78%, code 22.22%"]);
    let tokens = 5 * corpus.available("code") / 2;
    let up = notices(&[("web", "0.5"), ("code", "0.5")], &format!("tokens = {}", 2 * tokens));
    assert!(up.iter().any(|notice| notice.contains("`code` is up-sampled")), "{up:?}");
    assert!(up.iter().any(|notice| notice.ends_with("is read 2.50 times")), "{up:?}");
    let little = corpus.available("code") + 3;
    let up = notices(&[("web", "0.5"), ("code", "0.5")], &format!("tokens = {}", 2 * little));
    let said = up.iter().find(|notice| notice.contains("`code` is up-sampled")).unwrap();
    assert!(!said.contains("1.00 times"), "{said}");
    // In proportion to what there is, each source is read as often as the others.
    let even = [("web", "1"), ("code", "1"), ("books", "1")];
    let stage = Mix::open(&corpus.specs(&even), with_keys("temperature = 1\ntokens = 9000"));
    let stage = stage.unwrap();
    // The weights that a temperature makes are nobody's to wonder at.
    assert!(stage.notices().is_empty(), "{:?}", stage.notices());
    let plan = stage.resolved();
    let passes = |source: &PlannedSource| source.budget as f64 / source.available_tokens as f64;
    let passes: Vec<f64> = plan.sources.iter().map(passes).collect();
    assert!(passes.iter().all(|one| (one / passes[0] - 1.0).abs() < 0.001), "{passes:?}");
}

#[test]
fn a_temperature_weighs_what_there_is_and_hides_no_slip() {
    let corpus = Corpus::new(80, 500);
    let sources = [("web", "1"), ("code", "2"), ("books", "1")];
    let keys = with_keys("temperature = 2\ntokens = 9000");
    let (out, _) = corpus.mix("mix", &corpus.specs(&sources), &keys);
    let record = MixRecord::read(&out).unwrap();
    let root = |name: &str| (corpus.available(name) as f64).sqrt();
    let wanted = [root("web"), 2.0 * root("code"), root("books")];
    let all: f64 = wanted.iter().sum();
    for (at, source) in record.sources.iter().enumerate() {
        // What was asked for stands beside what it came to.
        assert_eq!(source.weight, sources[at].1);
        let share = source.achieved_tokens as f64 / 9000.0;
        assert!((share - wanted[at] / all).abs() < 1e-3, "{} {share}", source.name);
    }
    let weights = record.phases[0].weights.iter().flatten();
    let weights: Vec<f64> = weights.map(|weight| weight.parse().unwrap()).collect();
    assert_eq!(weights[1], 1.0);
    assert!((weights[0] - wanted[0] / wanted[1]).abs() < 1e-5, "{weights:?}");
    let slip = corpus.specs(&[("web", "0.000001"), ("code", "2")]);
    let (message, _) = refused(&slip, keys);
    assert!(message.contains("differ by more than a million"), "{message}");
}

#[test]
fn texts_of_ones_own_leave_no_candidates_among_the_held_out_documents() {
    let corpus = Corpus::new(80, 500);
    let specs = corpus.specs(&[("web", "1"), ("code", "1")]);
    let stage = Mix::open(&specs, config(500)).unwrap();
    let of = |own| run::memory_bytes(stage.resolved(), &config(500), own);
    assert!(of(Some(0)) < of(None));
    assert_eq!(of(Some(77)), of(Some(0)) + 77);
}

#[test]
fn a_budget_of_bytes_is_met_to_the_document() {
    let corpus = Corpus::new(120, 900);
    let specs = corpus.specs(&[("web", "0.6"), ("code", "0.4")]);
    let (out, _) = corpus.mix("bytes", &specs, &with_keys("bytes = '50kB'"));
    let record = MixRecord::read(&out).unwrap();
    let mut bytes = BTreeMap::<String, Vec<u64>>::new();
    for (id, tokens) in stream_of(&corpus, &out) {
        let source = id.split('-').next().unwrap().to_owned();
        let written = corpus.documents[source.as_str()].iter().find(|one| one.id == id).unwrap();
        assert_eq!(tokens.len(), written.tokens.len() + 1, "{id} is cut");
        bytes.entry(source).or_default().push(written.bytes);
    }
    for (source, budget) in [("web", 30_000), ("code", 20_000)] {
        let (read, last) = (&bytes[source], bytes[source].last().unwrap());
        let sum: u64 = read.iter().sum();
        assert!(sum >= budget && sum - last < budget, "{source}: {sum} of {budget}");
    }
    assert_eq!(record.sources[0].budget_bytes, Some(30_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn budgets_are_met_for_any_weights(
        weights in prop::collection::vec(1u32..1000, 3),
        share in 1u64..300,
    ) {
        let corpus = Corpus::new(30, 400);
        let texts: Vec<String> = weights.iter().map(|weight| weight.to_string()).collect();
        let names = ["web", "code", "books"];
        let sources: Vec<(&str, &str)> =
            names.into_iter().zip(texts.iter().map(String::as_str)).collect();
        let tokens = 3000 + corpus.available("web") * share / 100;
        let endless = MixConfig { epochs_max: 1000, ..config(tokens) };
        let (out, _) = corpus.mix("mix", &corpus.specs(&sources), &endless);
        let record = MixRecord::read(&out).unwrap();
        let mut placed = BTreeMap::<String, u64>::new();
        for (id, tokens) in stream_of(&corpus, &out) {
            let source = id.split('-').next().unwrap().to_owned();
            *placed.entry(source).or_default() += tokens.len() as u64;
        }
        for source in &record.sources {
            prop_assert_eq!(Some(placed[&source.name]), source.budget_tokens);
            prop_assert_eq!(Some(source.achieved_tokens), source.budget_tokens);
        }
        prop_assert_eq!(placed.values().sum::<u64>(), tokens);
    }
}
