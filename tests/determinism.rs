//! The same bytes at any number of threads, and wherever the work lies.

use crate::support::{TestDir, documents};

/// A recipe over two small sources through every stage; units are small so that there are many.
pub const RECIPE: &str = r#"
out = "runs"
[[step]]
name = "corpus"
stage = "ingest"
in = ["a=text/a", "b=text/b.jsonl"]
set = { holdout = 0.1, unit_bytes = "32KiB" }
[[step]]
name = "clean"
stage = "filter"
in = ["corpus"]
[step.set]
rules = ["gopher_quality", "fineweb_quality"]
unit_bytes = "64KiB"
fineweb_quality = { max_duplicate_line_chars = 0.9, min_line_punctuation = 0.0 }
[[step]]
name = "unique"
stage = "dedup"
in = ["clean"]
set = { unit_bytes = "64KiB" }
[[step]]
name = "tokens"
stage = "tokenize"
in = ["unique"]
set = { vocab = 600, unit_bytes = "64KiB" }
[[step]]
name = "mix"
stage = "mix"
in = ["a=tokens#a:0.7", "b=tokens#b:0.3"]
set = { tokens = "24k" }
"#;

/// The longest recipe that this build can run.
pub fn whole_recipe() -> String {
    if cfg!(feature = "train") { recipe_with_training() } else { RECIPE.to_owned() }
}

/// The recipe with a model of a few thousand parameters behind it.
pub fn recipe_with_training() -> String {
    format!(
        r#"{RECIPE}
[[step]]
name = "model"
stage = "train"
in = ["mix"]
[step.set.model]
d_model = 32
n_layer = 2
n_head = 2
n_kv_head = 1
d_ff = 64
[step.set.train]
steps = 12
batch_tokens = 512
micro_batch = 8
sequence = 64
warmup_steps = 2
checkpoint_every = 4
eval_every = 6
sample_every = 6
"#
    )
}

/// A directory with the recipe and its text.
pub fn with_recipe(recipe: &str) -> TestDir {
    let directory = TestDir::new();
    directory.write("recipe.toml", recipe);
    directory.write_documents("text/a/000.jsonl", &documents(120, 1));
    directory.write_documents("text/a/001.jsonl", &documents(90, 2));
    directory.write_documents("text/b.jsonl", &documents(110, 3));
    directory
}

#[test]
fn one_thread_and_two_write_the_same_bytes() {
    let (one, two) = (with_recipe(RECIPE), with_recipe(RECIPE));
    one.dataprep("run recipe.toml --threads 1").ok();
    two.dataprep("run recipe.toml --threads 2").ok();
    let (one, two) = (one.tree("runs"), two.tree("runs"));
    assert!(one.len() > 20, "{one:#?}");
    assert_eq!(one, two);
}

#[test]
fn deduplicating_raw_files_keeps_what_deduplicating_their_corpus_keeps() {
    let directory = with_recipe(RECIPE);
    directory.dataprep("ingest a=text/a b=text/b.jsonl --out corpus --holdout 0.1").ok();
    directory.dataprep("dedup corpus --out from-corpus").ok();
    directory.dataprep("dedup a=text/a b=text/b.jsonl --out from-files --holdout 0.1").ok();
    let dropped = |out: &str| {
        let manifest: serde_json::Value =
            serde_json::from_str(&directory.read(&format!("{out}/manifest.json"))).unwrap();
        manifest["counts"]["dropped"].clone()
    };
    assert!(dropped("from-corpus")["near_duplicate"].as_u64() > Some(0));
    assert_eq!(dropped("from-corpus"), dropped("from-files"));
    assert_eq!(kept(&directory, "from-corpus"), kept(&directory, "from-files"));
}

/// The texts of a corpus, in order.
fn kept(directory: &TestDir, corpus: &str) -> Vec<String> {
    use arrow::array::{Array, AsArray};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let mut texts = Vec::new();
    let names = directory.tree(corpus).into_keys().filter(|name| name.starts_with("part-"));
    for name in names {
        let file = std::fs::File::open(directory.path(corpus).join(name)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let column = batch.column_by_name("text").unwrap().as_string::<i32>().clone();
            texts.extend((0..column.len()).map(|row| column.value(row).to_owned()));
        }
    }
    texts
}
