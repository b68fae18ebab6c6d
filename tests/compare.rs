//! Pairs that differ in one thing each: `compare` names it, and nothing else.
//!
//! Corpora are made by the stages themselves. Runs are folders of manifests and records, as small
//! as they can be, so that a key of every stage can be turned; two real ones stand beside them.

use std::fs;
use std::path::Path;

use dataprep::artifact::manifest;
use dataprep::artifact::record::{InputKind, InputRecord, Kind};
use dataprep::base::hash::{Fingerprint, xxh3_128};
use dataprep::lineage::{self, differences, sentence};
use serde_json::{Value, json};

use crate::support::{Run, TestDir, documents};

fn compare(directory: &TestDir, a: &str, b: &str) -> (Value, String) {
    let json = directory.dataprep(&format!("compare {a} {b} --json")).ok();
    let text = directory.dataprep(&format!("compare {a} {b}")).ok().stdout;
    let first = json.stdout.lines().next().unwrap().to_owned();
    (serde_json::from_str(&first).unwrap(), text)
}

/// One way to make the corpus `out`, and what must be said of it against the baseline.
struct Pair {
    /// `dedup` after `filter`, with these options.
    filter: &'static str,
    dedup: &'static str,
    input: &'static str,
    said: &'static str,
}

const FILTER: &str = "--rules gopher_quality --set holdout=0.05 --set unit_bytes=64KiB";
const DEDUP: &str = "--set unit_bytes=64KiB";

const fn pair(
    input: &'static str,
    filter: &'static str,
    dedup: &'static str,
    said: &'static str,
) -> Pair {
    Pair { filter, dedup, input, said }
}

/// Each differs from `a=text/a.jsonl b=text/b.jsonl`, [`FILTER`], [`DEDUP`] in one thing.
const PAIRS: [Pair; 22] = [
    pair("", "", "--set verify=off", "only unique.verify 0.8 → off"),
    pair("", "", "--set verify=0.7", "only unique.verify 0.8 → 0.7"),
    pair("", "", "--set ngram=3", "only unique.ngram 5 → 3"),
    pair("", "", "--set bands=10", "only unique.bands 14 → 10"),
    pair("", "", "--set rows=6", "only unique.rows 8 → 6"),
    pair("", "", "--set keep=longest", "only unique.keep first → longest"),
    pair("", "", "--set method=exact", "only unique.method"),
    pair("", "", "--seed 7", "only unique.seed 1 → 7"),
    pair("", "", "--set unit_bytes=32KiB", "only unique.unit_bytes 65536 → 32768"),
    pair(
        "",
        "--set gopher_quality.min_words=90",
        "",
        "only clean.gopher_quality.min_words 50 → 90",
    ),
    pair("", "--set gopher_quality.max_words=200", "", "gopher_quality.max_words 100000 → 200"),
    pair("", "--set gopher_quality.min_stop_words=4", "", "min_stop_words 2 → 4"),
    pair("", "--set words=white_space", "", "only clean.words"),
    pair("", "--set holdout=0.2", "", "only clean.holdout 0.05 → 0.2"),
    pair("", "--set max_document_bytes=1MiB", "", "only clean.max_document_bytes"),
    pair("a=text/a.jsonl", "", "", "only clean without b.jsonl"),
    pair("a=text/a.jsonl b=text/b.jsonl c=text/c.jsonl", "", "", "only clean with c.jsonl more"),
    pair("b=text/b.jsonl a=text/a.jsonl", "", "", "only clean reads its inputs in another order"),
    pair("a=edited/a.jsonl b=text/b.jsonl", "", "", "only clean reads a.jsonl edited"),
    pair("a=renamed/z.jsonl b=text/b.jsonl", "", "", "the same bytes as a.jsonl → "),
    pair("", "", "--threads 1 --memory 300MiB", "nothing differs"),
    pair("a=elsewhere/a.jsonl b=text/b.jsonl", "--threads 1", "", "nothing differs"),
];

fn with_text() -> TestDir {
    let directory = TestDir::new();
    let (a, b) = (documents(60, 1), documents(40, 2));
    directory.write_documents("text/a.jsonl", &a);
    directory.write_documents("elsewhere/a.jsonl", &a);
    directory.write_documents("renamed/z.jsonl", &a);
    directory.write_documents("text/b.jsonl", &b);
    directory.write_documents("text/c.jsonl", &documents(20, 3));
    let mut edited = a;
    edited[7].push_str(" and of the water");
    directory.write_documents("edited/a.jsonl", &edited);
    directory
}

fn make(directory: &TestDir, folder: &str, pair: &Pair) -> Run {
    let default = "a=text/a.jsonl b=text/b.jsonl";
    let input = if pair.input.is_empty() { default } else { pair.input };
    let filter = format!("filter {input} --out {folder}/clean {FILTER} {}", pair.filter);
    directory.dataprep(&filter).ok();
    let dedup = format!("dedup {folder}/clean --out {folder}/unique {DEDUP} {}", pair.dedup);
    directory.dataprep(&dedup).ok()
}

#[test]
fn corpora_that_differ_in_one_thing_have_it_named() {
    let directory = with_text();
    make(&directory, "base", &pair("", "", "", ""));
    let mut moved = 0;
    for (index, pair) in PAIRS.iter().enumerate() {
        let folder = format!("v{index}");
        make(&directory, &folder, pair);
        let (found, text) = compare(&directory, "base/unique", &format!("{folder}/unique"));
        let said = found["sentence"].as_str().unwrap();
        assert!(said.contains(pair.said), "{}: {said}", pair.said);
        let count = usize::from(pair.said != "nothing differs");
        assert_eq!(found["differences"].as_array().unwrap().len(), count, "{said}");
        assert!(text.contains(said) && !text.contains("warning"), "{text}");
        // What moved is what each side lacks of the other.
        let changes = &found["documents"];
        if changes.is_null() {
            continue;
        }
        let number = |key: &str| changes[key].as_u64().unwrap();
        assert_eq!(number("from"), number("same") + number("left") + number("changed"));
        assert_eq!(number("to"), number("same") + number("entered") + number("changed"));
        moved += number("left") + number("entered");
    }
    assert!(moved > 20, "{moved}");
    // A limit that no document breaks has no effect, and is named all the same.
    make(&directory, "same", &pair("", "--set max_document_bytes=2MiB", "", ""));
    let (found, _) = compare(&directory, "base/unique", "same/unique");
    let said = found["sentence"].as_str().unwrap();
    assert!(said.contains(" → 2097152 (without effect"), "{said}");
    // Beside one that has an effect it is to blame for nothing.
    make(&directory, "both", &pair("", "--set max_document_bytes=2MiB", "--set ngram=3", ""));
    let (found, text) = compare(&directory, "base/unique", "both/unique");
    assert_eq!(found["differences"].as_array().unwrap().len(), 2, "{text}");
    assert!(found["several"] == false && !text.contains("warning"), "{text}");
}

#[test]
fn documents_that_change_sides_name_the_rule_or_the_twin_that_decided() {
    let directory = with_text();
    make(&directory, "base", &pair("", "", "", ""));
    make(&directory, "short", &pair("", "--set gopher_quality.min_words=200", "", ""));
    make(&directory, "twins", &pair("", "", "--set method=exact", ""));
    let (found, text) = compare(&directory, "base/unique", "short/unique --list 3");
    let left = found["documents"]["left"].as_u64().unwrap();
    let short = found["left_for"]["clean: quality/gopher_short_doc"].as_u64().unwrap();
    assert!(left > 10 && short > 10, "{found}");
    assert!(text.contains("clean: quality/gopher_short_doc, "), "{text}");
    let (found, text) = compare(&directory, "base/unique", "twins/unique");
    assert!(found["documents"]["entered"].as_u64().unwrap() > 0, "{found}");
    assert!(text.contains("unique: near_duplicate of "), "{text}");
    // Two things at once are said to be two.
    make(&directory, "both", &pair("", "--set gopher_quality.min_words=200", "--set ngram=3", ""));
    let (found, text) = compare(&directory, "base/unique", "both/unique");
    assert_eq!(found["several"], true);
    assert!(text.contains("2 differences: ") && text.contains("more than one thing"), "{text}");
    let refused = directory.dataprep("compare base/unique text");
    assert_eq!(refused.status, 2, "{}", refused.stderr);
}

/// A step of a run that is made of manifests alone.
#[derive(Clone)]
struct Step {
    name: &'static str,
    stage: &'static str,
    kind: Kind,
    version: u32,
    config: Value,
    seed: u64,
    /// Names of earlier steps, or of files: (source, name, bytes).
    made: Vec<&'static str>,
    files: Vec<(&'static str, &'static str, &'static str)>,
}

/// The steps of the baseline.
fn steps() -> Vec<Step> {
    let step = |name, stage, kind, config, made: &[&'static str]| Step {
        name,
        stage,
        kind,
        version: 3,
        config,
        seed: 0,
        made: made.to_vec(),
        files: Vec::new(),
    };
    let corpus = Kind::Corpus;
    let mut raw =
        step("raw", "ingest", corpus, json!({"holdout": 0.05, "text_column": "text"}), &[]);
    raw.files =
        vec![("wiki", "a.parquet", "aaaa"), ("wiki", "b.parquet", "bbb"), ("books", "c", "c")];
    let rules = json!({"rules": ["gopher_quality"], "holdout": 0.05,
        "gopher_quality": {"min_words": 50}});
    let unique = json!({"verify": 0.8, "ngram": 5, "holdout": 0.05});
    let vocabulary = json!({"vocab": 600, "pattern": "cl100k"});
    let tokens = json!({"vocab_size": 600, "special_text": "text"});
    let mix = json!({"tokens": 24000, "sources": [
        {"name": "wiki", "weight": "0.7"}, {"name": "books", "weight": "0.3"}]});
    let train = json!({
        "train": {"steps": 12, "learning_rate": 0.001, "seed": 0, "batch_tokens": 512},
        "model": {"d_model": 32, "n_layer": 2, "vocab_size": 600}, "runtime": {"ops": "fused"}});
    vec![
        raw,
        step("clean", "filter", corpus, rules, &["raw"]),
        step("unique", "dedup", corpus, unique, &["clean"]),
        step("bpe", "tokenizer", Kind::Tokenizer, vocabulary, &["unique"]),
        step("tokens", "tokenize", Kind::Shards, tokens, &["unique", "bpe"]),
        step("mix", "mix", Kind::Mix, mix, &["tokens"]),
        step("model", "train", Kind::Run, train, &["mix"]),
    ]
}

/// Writes the steps below `folder`, each with its manifest.
fn write(folder: &Path, steps: &[Step]) {
    let mut identities: Vec<(&str, Kind, Fingerprint)> = Vec::new();
    for step in steps {
        let place = folder.join(step.name);
        fs::create_dir_all(&place).unwrap();
        let file = |&(source, name, bytes): &(&str, &str, &str)| {
            let identity = xxh3_128(bytes.as_bytes());
            let source = (!source.is_empty()).then(|| source.to_owned());
            let name = name.to_owned();
            InputRecord::file(name, source, bytes.len() as u64, identity, "".into())
        };
        let mut inputs: Vec<InputRecord> = step.files.iter().map(file).collect();
        for made in &step.made {
            let (_, kind, fingerprint) = *identities.iter().find(|it| it.0 == *made).unwrap();
            inputs.push(InputRecord {
                kind: InputKind::Artifact(kind),
                name: (*made).to_owned(),
                source: None,
                stage: steps.iter().find(|it| it.name == *made).map(|it| it.stage.to_owned()),
                fingerprint: Some(fingerprint),
                bytes: 1,
                identity: fingerprint,
                remote: None,
                path: "".into(),
            });
        }
        let Step { stage, version, seed, config, .. } = step;
        let fingerprint = manifest::fingerprint(stage, *version, *seed, config, &inputs);
        let source = json!({"in": 100, "out": 90, "tokens": 12000, "rejected": {}, "dropped": {}});
        let manifest = json!({
            "format": manifest::FORMAT, "kind": step.kind, "stage": stage, "stage_version": version,
            "tool": {"version": "0.1.0", "commit": "abc"}, "config": config, "seed": seed,
            "inputs": inputs, "files": [], "holdout": 0.05, "fingerprint": fingerprint,
            "counts": {"in": 200, "out": 180, "rejected": 0, "dropped": {"short": 20},
                "sources": {"wiki": source, "books": source}},
        });
        fs::write(place.join("manifest.json"), manifest.to_string()).unwrap();
        identities.push((step.name, step.kind, fingerprint));
    }
}

fn of<'a>(steps: &'a mut [Step], name: &str) -> &'a mut Step {
    steps.iter_mut().find(|step| step.name == name).unwrap()
}

/// A change of a run, and what must be said of it.
type Change = (fn(&mut Vec<Step>), &'static str);

const CHANGES: [Change; 32] = [
    (|s| of(s, "raw").config["text_column"] = json!("body"), "only raw.text_column text → body"),
    (|s| of(s, "raw").files.truncate(2), "only raw without books/c"),
    (|s| of(s, "raw").files.push(("web", "d", "d")), "only raw with web/d more"),
    (|s| of(s, "raw").files[1].2 = "bbB", "only raw reads wiki/b.parquet edited"),
    (
        |s| of(s, "raw").files[1].1 = "x.parquet",
        "the same bytes as wiki/b.parquet → wiki/x.parquet",
    ),
    (|s| of(s, "raw").files.reverse(), "only raw reads its inputs in another order"),
    (|s| of(s, "raw").version = 4, "only the code of raw (ingest, version 3 → 4)"),
    (
        |s| {
            // One choice, inherited by those that follow.
            for name in ["raw", "clean", "unique"] {
                of(s, name).config["holdout"] = json!(0.1);
            }
        },
        "only raw.holdout 0.05 → 0.1",
    ),
    (
        |s| of(s, "clean").config["rules"] = json!(["c4"]),
        "only clean.rules [\"gopher_quality\"] → ",
    ),
    (
        |s| of(s, "clean").config["gopher_quality"]["min_words"] = json!(5),
        "only clean.gopher_quality.min_words 50 → 5",
    ),
    (|s| of(s, "clean").version = 9, "only the code of clean (filter, version 3 → 9)"),
    (|s| of(s, "unique").config["verify"] = json!("off"), "only unique.verify 0.8 → off"),
    (|s| of(s, "unique").seed = 5, "only unique.seed 0 → 5"),
    (
        |s| {
            s.remove(2);
            of(s, "bpe").made = vec!["clean"];
            of(s, "tokens").made = vec!["clean", "bpe"];
        },
        "only without the step unique",
    ),
    (|s| of(s, "bpe").config["pattern"] = json!("gpt2"), "only bpe.pattern cl100k → gpt2"),
    (
        |s| {
            of(s, "bpe").config["vocab"] = json!(700);
            of(s, "tokens").config["vocab_size"] = json!(700);
            of(s, "model").config["model"]["vocab_size"] = json!(700);
        },
        "only bpe.vocab 600 → 700",
    ),
    // What a tokenizer learned from is no step that only one side has: both tokenize `unique`.
    (|s| of(s, "bpe").made = vec!["clean"], "only bpe reads clean instead of unique"),
    (
        |s| {
            let bpe = of(s, "bpe");
            (bpe.made, bpe.files) = (vec![], vec![("openstax", "a.parquet", "oooo")]);
        },
        "only bpe reads openstax instead of unique",
    ),
    // Another tool's, as a file or by its name on the hub.
    (
        |s| {
            s.retain(|step| step.name != "bpe");
            let tokens = of(s, "tokens");
            (tokens.made, tokens.files) = (vec!["unique"], vec![("", "tokenizer.json", "{}")]);
            tokens.config["vocab_size"] = json!(50_257);
            tokens.config["tokenizer_from"] = json!({"repo": "gpt2"});
            of(s, "model").config["model"]["vocab_size"] = json!(50_257);
        },
        "only tokens reads tokenizer.json instead of bpe",
    ),
    (
        |s| {
            s.retain(|step| step.name != "bpe");
            of(s, "tokens").made = vec!["unique"];
        },
        "only without the step bpe",
    ),
    (|s| of(s, "tokens").config["special_text"] = json!("token"), "only tokens.special_text"),
    (
        |s| {
            of(s, "mix").config["sources"][0]["weight"] = json!("0.6");
        },
        "only mix.sources.wiki.weight 0.7 → 0.6",
    ),
    // A mixture is one thing, in however many keys it is written.
    (
        |s| {
            of(s, "mix").config["sources"][0]["weight"] = json!("0.6");
            of(s, "mix").config["sources"][1]["weight"] = json!("0.4");
        },
        "only mix: books 30.0% → 40.0%, wiki 70.0% → 60.0%;",
    ),
    (
        |s| {
            let code = json!({"name": "code", "weight": "1", "shards": 0, "source": "code"});
            of(s, "mix").config["sources"].as_array_mut().unwrap().push(code);
        },
        "only mix: code 0.0% → 50.0%, the others in their proportions;",
    ),
    (
        |s| {
            of(s, "mix").config["sources"][0]["weight"] = json!("7");
            of(s, "mix").config["sources"][1]["weight"] = json!("3");
        },
        "only mix: other weights that come to the same shares;",
    ),
    (
        |s| of(s, "mix").config["sources"].as_array_mut().unwrap().reverse(),
        "only mix reads its inputs in another order",
    ),
    (|s| of(s, "mix").seed = 3, "only mix.seed 0 → 3"),
    (
        |s| of(s, "model").config["train"]["learning_rate"] = json!(0.002),
        "only train.learning_rate 0.001 → 0.002",
    ),
    (|s| of(s, "model").config["model"]["n_layer"] = json!(4), "only model.n_layer 2 → 4"),
    (|s| of(s, "model").config["train"]["seed"] = json!(1), "only train.seed 0 → 1"),
    (|s| of(s, "model").version = 4, "only the code of model (train, version 3 → 4)"),
    (|s| of(s, "model").config["runtime"]["ops"] = json!("composed"), "only runtime.ops fused → "),
];

#[test]
fn runs_that_differ_in_one_thing_have_it_named_at_its_earliest_step() {
    let directory = TestDir::new();
    write(&directory.path("base"), &steps());
    let base = lineage::read(&directory.path("base/model")).unwrap();
    assert_eq!(base.nodes.len(), 7);
    for (index, (change, said)) in CHANGES.iter().enumerate() {
        let mut changed = steps();
        change(&mut changed);
        let folder = directory.path(&format!("v{index}"));
        write(&folder, &changed);
        for (from, to) in [("base", format!("v{index}")), (&*format!("v{index}"), "base".into())] {
            let read = |name: &str| lineage::read(&directory.path(name).join("model")).unwrap();
            let (a, b) = (read(from), read(&to));
            let found = differences(&a, &b);
            let sentence = sentence(&found, (a.documents(), b.documents()));
            assert_eq!(found.len(), 1, "{said}: {sentence}");
            assert!(from != "base" || sentence.contains(said), "{said}: {sentence}");
        }
    }
    // A whole other place, and nothing else.
    write(&directory.path("moved"), &steps());
    assert!(differences(&base, &lineage::read(&directory.path("moved/model")).unwrap()).is_empty());
}

#[test]
fn the_steps_of_one_pass_follow_from_how_batches_grow() {
    let directory = TestDir::new();
    // 24,000 tokens are 750 rows of 32: 46 batches of 16, or 10 that grow from 2, and 41.
    let run = |train: Value| {
        let mut steps = steps();
        of(&mut steps, "model").config["train"] = train;
        steps
    };
    let plain = json!({"steps": 46, "batch_tokens": 512, "sequence": 32});
    let grown = json!({"steps": 51, "batch_tokens": 512, "sequence": 32, "batch_start": 64,
        "batch_warmup_steps": 10});
    write(&directory.path("plain"), &run(plain));
    write(&directory.path("grown"), &run(grown));
    let read = |name: &str| lineage::read(&directory.path(name).join("model")).unwrap();
    let found = differences(&read("plain"), &read("grown"));
    let said = sentence(&found, (0, 0));
    assert!(found.len() == 2 && !said.contains("train.steps"), "{said}");
}

#[test]
fn a_chain_whose_folders_are_gone_is_known_by_what_its_manifest_tells() {
    let directory = TestDir::new();
    write(&directory.path("base"), &steps());
    let mut changed = steps();
    of(&mut changed, "unique").config["verify"] = json!("off");
    write(&directory.path("other"), &changed);
    // What a later build writes into every manifest.
    for side in ["base", "other"] {
        let told: Vec<Value> = ["mix", "tokens", "unique", "bpe", "clean", "raw"]
            .iter()
            .map(|name| {
                let text = directory.read(&format!("{side}/{name}/manifest.json"));
                let mut manifest: Value = serde_json::from_str(&text).unwrap();
                manifest["files"] = json!({"files": 1, "bytes": 9, "documents": 5, "tokens": 7});
                manifest
            })
            .collect();
        let name = format!("{side}/model/manifest.json");
        let mut manifest: Value = serde_json::from_str(&directory.read(&name)).unwrap();
        manifest["ancestry"] = told.into();
        directory.write(&name, manifest.to_string());
        for step in ["mix", "tokens", "unique", "bpe", "clean", "raw"] {
            fs::remove_dir_all(directory.path(side).join(step)).unwrap();
        }
    }
    let read = |side: &str| lineage::read(&directory.path(side).join("model")).unwrap();
    let (a, b) = (read("base"), read("other"));
    assert_eq!(a.nodes.len(), 7);
    assert_eq!(
        sentence(&differences(&a, &b), (0, 0)),
        "only unique.verify 0.8 → off; everything else identical"
    );
    let shown = directory.dataprep("lineage base/model").ok().stdout;
    assert!(shown.contains("wiki: a.parquet") && shown.contains("short 20"), "{shown}");
    let dot = directory.dataprep("lineage base/model --dot --picture tree.svg").ok().stdout;
    assert!(dot.starts_with("digraph") && dot.contains("-> n0"), "{dot}");
    let picture = directory.read("tree.svg");
    assert!(picture.starts_with("<svg") && picture.contains("unique · dedup"), "{picture}");
}

/// Runs of one chain, with records: three seeds of each learning rate.
pub fn with_runs(count: usize) -> TestDir {
    let directory = TestDir::new();
    write(&directory.path("runs"), &steps());
    for index in 0..count {
        let name: &'static str = Box::leak(format!("r{index:04}").into_boxed_str());
        let mut changed = steps();
        let model = of(&mut changed, "model");
        model.name = name;
        model.config["train"]["seed"] = json!(index % 3);
        model.config["train"]["learning_rate"] = json!(0.001 * (1 + index / 3) as f64);
        write(&directory.path("runs"), &changed);
        let at = |file: &str| format!("runs/{name}/{file}");
        let step = |step: u64| {
            let loss = 5.0 - step as f64 / 100.0;
            json!({"step": step, "tokens": step * 512, "loss": loss}).to_string() + "\n"
        };
        directory.write(&at("metrics.jsonl"), (1..=12).map(step).collect::<String>());
        let nats = 700.0 + 20.0 * (index / 3) as f64 + (index % 3) as f64;
        let source = |name: &str| {
            json!({"step": 12, "source": name, "documents": 1, "nats": nats, "bytes": 400,
                "bits_per_byte": nats / 400.0 / std::f64::consts::LN_2,
                "unigram_bits_per_byte": 4.0, "tokens": 90})
            .to_string()
                + "\n"
        };
        directory.write(&at("evals.jsonl"), source("wiki") + &source("books"));
        let document = |name: &str| {
            json!({"source": name, "document": name, "text": xxh3_128(name.as_bytes()),
                "tokens": 90, "bytes": 400, "nats": nats})
            .to_string()
                + "\n"
        };
        directory.write(&at("evals/step-000012.jsonl"), document("wiki") + &document("books"));
        let run = json!({"inputs": [], "price_per_hour": 3.6, "sessions": [
            {"started": 1000.0 + index as f64, "seen": 1100.0 + index as f64, "host": "here"}]});
        directory.write(&at("run.json"), run.to_string());
        directory.write(&at("state.json"), "{\"state\":\"done\",\"step\":12}");
    }
    if count > 5 {
        // One that a missed goal has ended.
        let goal = |name: &str, met: bool| {
            json!({"name": name, "step": 6, "by": "loss", "wanted": 5.0, "found": 4.0,
                "met": met, "ended": !met})
        };
        let goals = json!([goal("smoke", true), goal("proof", false)]);
        let run = json!({"inputs": [], "price_per_hour": 3.6, "goals": goals, "sessions": [
            {"started": 1005.0, "seen": 1105.0, "host": "here"}]});
        directory.write("runs/r0005/run.json", run.to_string());
        directory.write("runs/r0005/state.json", "{\"state\":\"stopped\",\"step\":12}");
    }
    directory
}

#[test]
fn the_log_of_all_runs_says_what_changed_and_takes_remarks() {
    let directory = with_runs(9);
    let table = directory.dataprep("runs runs").ok().stdout;
    assert!(table.contains("only train.seed 0 → 1; "), "{table}");
    assert!(table.contains("only train.learning_rate 0.001 → 0.002"), "{table}");
    directory
        .command("note runs/r0004")
        .arg("the good one")
        .arg("--tag=keep,best")
        .status()
        .unwrap();
    directory.dataprep("note runs/r0004 --untag best").ok();
    let shown = directory.dataprep("runs runs --json").ok();
    let rows: Vec<Value> =
        shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.iter().filter(|row| row["type"] == "run").count(), 10);
    let noted = rows.iter().find(|row| row["name"] == "r0004").unwrap();
    assert_eq!(noted["notes"], json!(["the good one"]));
    assert_eq!(noted["tags"], json!(["keep"]));
    assert!((noted["cost"].as_f64().unwrap() - 0.1).abs() < 1e-9);
    let ended = rows.iter().find(|row| row["name"] == "r0005").unwrap();
    assert_eq!(
        (&ended["state"], &ended["goals"]),
        (&json!("ended early"), &json!("smoke met, proof missed"))
    );
    assert!(table.contains("smoke met, proof missed"), "{table}");
    // The remark is outside of the run.
    directory.dataprep("runs runs --best bits_per_byte").ok();
    let best = directory.dataprep("runs runs --best bits_per_byte --json").ok();
    assert!(best.stdout.contains("\"name\":\"r0000\""), "{}", best.stdout);
    let csv = directory.dataprep("runs runs --csv --sort bits_per_byte --reverse").ok().stdout;
    assert!(csv.lines().nth(1).unwrap().starts_with("r0008,done,12,12,6144,2,"), "{csv}");
    let mut kept = directory.command("runs runs --csv --where");
    let kept = kept.arg("tags = 'keep' AND loss < 5").output().unwrap();
    assert_eq!(String::from_utf8(kept.stdout).unwrap().lines().count(), 2);
    let wrong = directory.dataprep("runs runs --sort los");
    assert!(wrong.status == 2 && wrong.stderr.contains("did you mean `loss`"), "{}", wrong.stderr);
}

#[test]
fn a_verdict_is_held_against_the_seeds_that_stand_beside() {
    let directory = with_runs(9);
    let (found, text) = compare(&directory, "runs/r0000", "runs/r0003");
    let verdict = &found["runs"]["verdict"];
    assert_eq!((&verdict["seeds"], &verdict["call"]), (&json!([3, 3]), &json!("worse")), "{text}");
    assert_eq!(verdict["noise"]["measured"], true);
    assert!(text.contains("the 2 documents that both hold out"), "{text}");
    assert!(text.contains("at equal tokens, 6,144: "), "{text}");
    // An evaluation of a path that was abandoned, and a seed that has not come as far, say nothing.
    let other = json!({"source": "wiki", "document": "z", "text": xxh3_128(b"z"), "tokens": 9,
        "bytes": 40, "nats": 70.0});
    directory.write("runs/r0000/evals/step-000020.jsonl", format!("{other}\n"));
    let half = json!({"step": 6, "tokens": 3072, "loss": 5.0});
    directory.write("runs/r0002/metrics.jsonl", format!("{half}\n"));
    let (found, text) = compare(&directory, "runs/r0000", "runs/r0003");
    assert_eq!(found["runs"]["verdict"]["seeds"], json!([2, 3]), "{text}");
    assert!(text.contains("the 2 documents that both hold out"), "{text}");
    // Two seeds of one recipe are two draws of its noise.
    let (found, text) = compare(&directory, "runs/r0000", "runs/r0001");
    assert_eq!(found["runs"]["verdict"]["call"], "within_noise", "{text}");
}

#[test]
fn hundreds_of_runs_are_one_table() {
    let directory = with_runs(200);
    let table = directory.dataprep("runs runs --sort loss").ok().stdout;
    assert_eq!(table.lines().count(), 202);
}
