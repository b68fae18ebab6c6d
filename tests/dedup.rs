//! Deduplication from files to files: against exact figures, at any thread count, for each policy,
//! on ugly inputs.
//!
//! The truth is `fixtures/dedup` (see `fixtures/make_dedup.py`), and, where it is there, the larger
//! set it was taken from. Scripts without spaces between words have a file of their own, `scripts`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, UInt64Type};

use dataprep::base::progress::{Progress, Style};
use dataprep::base::size::Bytes;
use dataprep::dedup::{Dedup, DedupConfig};
use dataprep::pipeline::execute::execute;
use dataprep::pipeline::options::{Listener, Options, Outcome};
use dataprep::source::{InputConfig, InputSpec};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::beside::beside;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One run of the stage in a folder of its own.
pub struct Run {
    folder: tempfile::TempDir,
    outcome: Outcome,
}

fn run_with(input: &Path, input_config: &str, config: &str, threads: usize) -> Run {
    let table = |text: &str| text.parse::<toml::Table>().unwrap();
    let input_config: InputConfig = table(input_config).try_into().unwrap();
    let config: DedupConfig = table(config).try_into().unwrap();
    let stage = Dedup::open(&[InputSpec::of(input)], &input_config, config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        threads,
        memory: Bytes(2 << 30),
        temp_dir: None,
        fresh: false,
        replace: false,
        keeps: false,
    };
    let out = folder.path().join("out");
    let (progress, silent) = (Progress::new(Style::None), |_: &str| ());
    let listener = Listener { progress: &progress, say: &silent, warn: &silent };
    let outcome = execute(&stage, &out, &options, listener).unwrap();
    Run { folder, outcome }
}

pub fn run(input: &Path, config: &str) -> Run {
    run_with(input, "holdout = 0.0", config, 2)
}

impl Run {
    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Every published file with its bytes, but for those that may know times and paths.
    fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.out()).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| !path.ends_with("run.json"))
            .map(|path| (name_of(&path), fs::read(&path).unwrap()))
            .collect()
    }

    fn batches(&self, prefix: &str) -> Vec<RecordBatch> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.out()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| name_of(path).starts_with(prefix));
        paths.sort();
        paths
            .iter()
            .flat_map(|path| {
                let file = fs::File::open(path).unwrap();
                ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap()
            })
            .map(Result::unwrap)
            .collect()
    }

    /// Ids of the documents that stay, in order.
    pub fn kept(&self) -> Vec<String> {
        self.batches("part-").iter().flat_map(|batch| strings(batch, "id")).collect()
    }

    pub fn removed(&self) -> Vec<Removed> {
        let mut removed = Vec::new();
        for batch in self.batches("removed-") {
            let (ids, kept, reasons) =
                (strings(&batch, "id"), strings(&batch, "kept_id"), strings(&batch, "reason"));
            let jaccards = batch.column_by_name("jaccard").unwrap().as_primitive::<Float64Type>();
            let clusters = batch.column_by_name("cluster").unwrap().as_primitive::<UInt64Type>();
            for at in 0..batch.num_rows() {
                removed.push(Removed {
                    id: ids[at].clone(),
                    kept: kept[at].clone(),
                    reason: reasons[at].clone(),
                    jaccard: jaccards.is_valid(at).then(|| jaccards.value(at)),
                    cluster: clusters.value(at),
                });
            }
        }
        removed
    }

    fn dropped(&self) -> BTreeMap<String, u64> {
        self.outcome.manifest.counts.dropped.clone()
    }

    fn extra(&self, name: &str) -> u64 {
        self.outcome.manifest.counts.extra.get(name).copied().unwrap_or(0)
    }
}

pub struct Removed {
    pub id: String,
    pub kept: String,
    reason: String,
    pub jaccard: Option<f64>,
    cluster: u64,
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn strings(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap().as_string::<i32>();
    column.iter().map(|value| value.unwrap().to_owned()).collect()
}

/// Writes JSON lines of (id, text).
pub fn documents<S: AsRef<str>>(folder: &Path, texts: &[(&str, S)]) -> PathBuf {
    let path = folder.join("documents.jsonl");
    let lines: Vec<String> = texts
        .iter()
        .map(|(id, text)| serde_json::json!({"id": id, "text": text.as_ref()}).to_string())
        .collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

/// Text of `words` different words of a kind.
fn prose(kind: &str, words: usize) -> String {
    (0..words).map(|at| format!("{kind}{at} ")).collect()
}

// Against the truth.

/// Exact Jaccard similarities of the pairs that have one worth listing.
struct Truth(BTreeMap<(String, String), f64>);

impl Truth {
    fn read(path: &Path, column: &str) -> Truth {
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        let header = lines.next().unwrap();
        let at = header.iter().position(|name| *name == column).unwrap();
        let pairs = lines.flat_map(|line| {
            let jaccard: f64 = line[at].parse().unwrap();
            let (left, right) = (line[0].to_owned(), line[1].to_owned());
            [((left.clone(), right.clone()), jaccard), ((right, left), jaccard)]
        });
        Truth(pairs.collect())
    }

    fn jaccard(&self, left: &str, right: &str) -> f64 {
        self.0.get(&(left.to_owned(), right.to_owned())).copied().unwrap_or(0.0)
    }

    /// What the rule drops of documents in keep order when every pair is compared.
    fn greedy(&self, order: &[String], limit: f64) -> BTreeSet<String> {
        let mut near: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for ((left, right), jaccard) in &self.0 {
            if *jaccard >= limit {
                near.entry(left).or_default().push(right);
            }
        }
        let (mut kept, mut dropped) = (BTreeSet::new(), BTreeSet::new());
        for id in order {
            let others = near.get(id.as_str()).into_iter().flatten();
            if others.into_iter().any(|other| kept.contains(other)) {
                dropped.insert(id.clone());
            } else {
                kept.insert(id.as_str());
            }
        }
        dropped
    }
}

/// Checks a verified run against the truth: what it drops, it drops rightly. Returns the share of
/// the documents to drop that it found. `tolerance`: of a similarity.
fn check_against(truth: &Truth, run: &Run, limit: f64, tolerance: f64) -> f64 {
    let (kept, removed) = (run.kept(), run.removed());
    let stays: BTreeSet<&String> = kept.iter().collect();
    for one in &removed {
        assert!(stays.contains(&one.kept), "{} goes for {}, which goes too", one.id, one.kept);
        let (jaccard, expected) = (one.jaccard.unwrap(), truth.jaccard(&one.id, &one.kept));
        assert!(jaccard >= limit, "{} goes with a Jaccard of {jaccard}", one.id);
        assert!(
            (jaccard - expected).abs() < tolerance,
            "{} and {}: {jaccard}, exactly {expected}",
            one.id,
            one.kept
        );
    }
    // Kept documents come in input order; the dropped ones are merged by the order of the input.
    let order = input_order(run);
    let to_drop = truth.greedy(&order, limit);
    let found = removed.iter().filter(|one| to_drop.contains(&one.id)).count();
    println!(
        "{} documents: {} dropped ({:?}), {} to drop, {found} of them found",
        order.len(),
        removed.len(),
        run.dropped(),
        to_drop.len()
    );
    found as f64 / to_drop.len() as f64
}

/// Ids of all documents of the run's input, in order.
fn input_order(run: &Run) -> Vec<String> {
    let everything = run.outcome.manifest.counts.documents_in as usize;
    let order = fs::read_to_string(run.folder.path().join("order")).unwrap();
    let order: Vec<String> = order.lines().map(str::to_owned).collect();
    assert_eq!(order.len(), everything);
    order
}

/// Notes the input order beside a run on Parquet files.
fn with_order(run: Run, paths: &[PathBuf]) -> Run {
    let mut ids = Vec::new();
    for path in paths {
        let file = fs::File::open(path).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            ids.extend(strings(&batch.unwrap(), "id"));
        }
    }
    fs::write(run.folder.path().join("order"), ids.join("\n")).unwrap();
    run
}

fn fixture() -> PathBuf {
    root().join("fixtures/dedup/documents.parquet")
}

#[test]
fn the_fixture_loses_what_an_exact_comparison_of_all_pairs_drops() {
    let truth = Truth::read(&root().join("fixtures/dedup/pairs.tsv"), "jaccard");
    for limit in [0.7, 0.8, 0.9] {
        let run = with_order(run(&fixture(), &format!("verify = {limit}")), &[fixture()]);
        let recall = check_against(&truth, &run, limit, 1e-6);
        assert!(recall >= if limit < 0.8 { 0.95 } else { 0.99 }, "{recall} at {limit}");
    }
}

#[test]
fn the_whole_set_of_near_duplicates_is_decided_rightly() {
    let Some(shared) = beside("data/near-duplicates") else { return };
    let truth = Truth::read(&shared.join("pairs.tsv"), "jaccard_norm_w5");
    let paths = [shared.join("000_00000.parquet"), shared.join("001_00000.parquet")];
    for (config, limit) in [("", 0.8), ("method = \"minhash\"", 0.8), ("verify = 0.9", 0.9)] {
        let run = with_order(run(&shared, config), &paths);
        // The truth's words are runs of `\w` in any script: a book that says hello in Chinese and
        // Japanese has some more here.
        let recall = check_against(&truth, &run, limit, 0.002);
        assert!(recall >= 0.99, "{recall} of the documents to drop, with `{config}`");
    }
}

#[test]
fn copies_have_similarity_one_and_unverified_candidates_none() {
    let verified = run(&fixture(), "");
    let exact = verified.dropped()["exact_duplicate"];
    let same = run(&fixture(), "method = \"exact\"");
    assert_eq!(same.dropped(), BTreeMap::from([("exact_duplicate".to_owned(), exact)]));
    assert!(same.removed().iter().all(|one| one.jaccard == Some(1.0)));
    let believed = run(&fixture(), "verify = \"off\"");
    assert!(believed.dropped()["near_duplicate"] >= verified.dropped()["near_duplicate"]);
    for one in believed.removed() {
        let unknown = one.jaccard.is_none();
        let copy = one.reason == "exact_duplicate" && one.jaccard == Some(1.0);
        assert!(unknown || copy, "{} {}: {:?}", one.id, one.reason, one.jaccard);
        assert!(one.reason != "near_duplicate" || unknown);
    }
}

#[test]
fn a_second_pass_drops_nothing() {
    let first = run(&fixture(), "");
    let second = run_with(&first.out(), "", "", 2);
    assert_eq!(second.removed().len(), 0);
    assert_eq!(second.kept(), first.kept());
}

// At any thread count, however the work is cut.

#[test]
fn threads_change_no_byte_and_units_no_document() {
    let config = "keep = \"longest\"";
    let input = "holdout = 0.1";
    let one = run_with(&fixture(), input, config, 1);
    let three = run_with(&fixture(), input, config, 3);
    assert_eq!(one.bytes(), three.bytes());
    let corpora = root().join("fixtures/corpora/techdocs");
    let whole = run_with(&corpora, input, config, 3);
    let cut = run_with(&corpora, "holdout = 0.1\nunit_bytes = 500000", config, 3);
    assert!(cut.outcome.units > whole.outcome.units);
    assert_eq!(whole.kept(), cut.kept());
    let pairs = |run: &Run| -> Vec<_> {
        run.removed().into_iter().map(|one| (one.id, one.kept, one.jaccard, one.cluster)).collect()
    };
    assert_eq!(pairs(&whole), pairs(&cut));
    assert!(!pairs(&whole).is_empty());
}

// Keep policies.

#[test]
fn the_longest_or_the_best_stays_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.parquet");
    let text = prose("word", 60);
    let (capitals, more) = (text.to_uppercase(), format!("{text} more"));
    let spaced = text.replace(' ', "   ");
    let ids = ["null", "low", "high", "nan", "spaced"];
    let texts = [&text, &capitals, &more, &text, &spaced];
    let scores = Float64Array::from(vec![None, Some(1.0), Some(3.0), Some(f64::NAN), Some(2.0)]);
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(StringArray::from_iter_values(ids))),
        ("text", Arc::new(StringArray::from_iter_values(texts))),
        ("score", Arc::new(scores)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let kept = |config: &str| run(&path, config).kept();
    assert_eq!(kept(""), ["null"]);
    assert_eq!(kept("method = \"exact\""), ["null", "high"]);
    assert_eq!(kept("keep = \"longest\""), ["spaced"]);
    assert_eq!(kept("keep = \"longest\"\nmethod = \"exact\""), ["high", "spaced"]);
    assert_eq!(kept("keep = \"max:score\""), ["high"]);
    assert_eq!(kept("keep = \"max:score\"\nmethod = \"exact\""), ["high", "spaced"]);
}

#[test]
fn a_number_in_the_metadata_of_json_lines_ranks_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.jsonl");
    let text = prose("word", 60);
    let line = |id: &str, score: serde_json::Value| {
        serde_json::json!({"id": id, "text": text, "quality": {"score": score}}).to_string()
    };
    let lines = [line("word", "9".into()), line("low", 1.5.into()), line("high", 2.into())];
    fs::write(&path, lines.join("\n")).unwrap();
    assert_eq!(run(&path, "keep = \"max:metadata.quality.score\"").kept(), ["high"]);
    assert_eq!(run(&path, "keep = \"max:metadata.quality.missing\"").kept(), ["word"]);
}

#[test]
fn held_out_documents_stay_whatever_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    // Forty texts, each in capitals as well: some pairs are split between the two sides.
    let texts: Vec<(String, String)> = (0..40)
        .flat_map(|at| {
            let text = prose(&format!("kind{at}x"), 30);
            let shout = text.to_uppercase() + "   ";
            [(format!("plain-{at}"), text), (format!("shout-{at}"), shout)]
        })
        .collect();
    let texts: Vec<(&str, &String)> = texts.iter().map(|(id, text)| (id.as_str(), text)).collect();
    let path = documents(folder.path(), &texts);
    let run = run_with(&path, "holdout = 0.5", "keep = \"longest\"", 2);
    let (mut held_out, mut judged) = (BTreeSet::new(), BTreeSet::new());
    for batch in run.batches("part-") {
        let is_held_out = batch.column_by_name("held_out").unwrap().as_boolean();
        let verdicts = batch.column_by_name("held_out_verdict").unwrap();
        for (at, id) in strings(&batch, "id").into_iter().enumerate() {
            if verdicts.is_valid(at) {
                judged.insert(id.clone());
            }
            if is_held_out.value(at) {
                held_out.insert(id);
            }
        }
    }
    // Where both of a pair are held out both stay, one of them with a verdict.
    assert_eq!(run.kept().len(), 40 + judged.len());
    assert!(!judged.is_empty() && judged.is_subset(&held_out), "{judged:?}");
    // `shout` is the longer one: a `plain` one would stay only where it alone is held out.
    let is_plain = |id: &String| id.starts_with("plain") && !judged.contains(id);
    let plain: Vec<String> = run.kept().into_iter().filter(is_plain).collect();
    assert!(!plain.is_empty() && plain.iter().all(|id| held_out.contains(id)), "{plain:?}");
    assert!(run.extra("held_out_twins") >= plain.len() as u64);
    assert!(run.extra("held_out_twins") <= held_out.len() as u64);
}

#[test]
fn a_column_that_cannot_rank_is_refused_before_any_work() {
    let open = |keep: &str| {
        let config = DedupConfig { keep: keep.parse().unwrap(), ..DedupConfig::default() };
        let input = InputSpec::of(root().join("fixtures/corpora/openstax"));
        let opened = Dedup::open(&[input], &InputConfig::default(), config);
        opened.err().map(|error| (error.to_string(), error.hint().unwrap_or_default()))
    };
    // Only what could rank is proposed: `url`, which is nearer, is text.
    for (name, near) in [("scor", "max:score"), ("int_scor", "max:int_score")] {
        let (message, hint) = open(&format!("max:{name}")).unwrap();
        assert!(message.contains(name) && hint.contains(near), "{message}: {hint}");
    }
    let (_, hint) = open("max:urll").unwrap();
    assert!(hint.contains("score") && !hint.contains("url"), "{hint}");
    let (message, _) = open("max:url").unwrap();
    assert!(message.contains("numbers or times, `url` is"), "{message}");
}

#[test]
fn a_field_of_json_lines_is_sought_in_the_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.jsonl");
    let hint = |lines: &str| {
        fs::write(&path, lines).unwrap();
        let config = DedupConfig { keep: "max:score".parse().unwrap(), ..DedupConfig::default() };
        let opened = Dedup::open(&[InputSpec::of(&path)], &InputConfig::default(), config);
        opened.err().unwrap().hint().unwrap_or_default()
    };
    let with = hint("{\"text\":\"a\",\"score\":1}\n");
    assert!(with.contains("max:metadata.score"), "{with}");
}

// Ugly inputs.

#[test]
fn empty_documents_are_no_duplicates_and_wordless_ones_only_of_their_like() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [
        ("empty-1", ""),
        ("empty-2", ""),
        ("space-1", " \n\t"),
        ("space-2", "\u{3000}"),
        ("dots-1", "..."),
        ("dots-2", " ... "),
        ("dashes", "---"),
        ("short-1", "two words"),
        ("short-2", "Two, words!"),
        ("short-3", "two other"),
    ];
    let run = run(&documents(folder.path(), &texts), "");
    let expected =
        ["empty-1", "empty-2", "space-1", "space-2", "dots-1", "dashes", "short-1", "short-3"];
    assert_eq!(run.kept(), expected);
    let removed: Vec<_> =
        run.removed().into_iter().map(|one| (one.id, one.kept, one.reason)).collect();
    let row = |id: &str, kept: &str, reason: &str| (id.into(), kept.into(), reason.into());
    let near = row("short-2", "short-1", "near_duplicate");
    assert_eq!(removed, [row("dots-2", "dots-1", "exact_duplicate"), near]);
}

#[test]
fn an_exact_copy_of_a_near_duplicate_names_what_stays() {
    let folder = tempfile::tempdir().unwrap();
    let text = prose("word", 100);
    let near = format!("{text} end");
    let texts = [("first", &text), ("near", &near), ("copy", &near.to_uppercase())];
    let run = run(&documents(folder.path(), &texts), "");
    assert_eq!(run.kept(), ["first"]);
    let removed = run.removed();
    assert_eq!(removed[1].reason, "exact_duplicate");
    assert_eq!((removed[1].kept.as_str(), removed[1].jaccard), ("first", removed[0].jaccard));
    assert_eq!(removed[1].cluster, 0);
}

#[test]
fn a_hundred_thousand_copies_and_twenty_megabytes_of_one_word_are_no_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.jsonl");
    let copy = prose("word", 40);
    let mut lines = String::new();
    for at in 0..100_000 {
        lines += &format!("{{\"id\":\"{at}\",\"text\":\"{copy}\"}}\n");
    }
    let spam = "spam ".repeat(4 << 20);
    lines += &format!("{{\"id\":\"spam\",\"text\":\"{spam}\"}}\n");
    lines += "{\"id\":\"less spam\",\"text\":\"spam spam spam spam spam spam\"}\n";
    fs::write(&path, lines).unwrap();
    for method in ["exact,minhash", "minhash"] {
        let run = run(&path, &format!("method = \"{method}\""));
        assert_eq!(run.kept(), ["0", "spam"]);
        assert_eq!(run.dropped().values().sum::<u64>(), 100_000);
    }
}
