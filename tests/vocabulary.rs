//! Vocabularies through the command line: several sizes, a look at tokens, the fit, other formats.

use std::io::Write;
use std::process::Stdio;

use crate::support::{TestDir, documents};

/// A folder with text and a vocabulary of 300 trained on it.
fn trained() -> TestDir {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(80, 1));
    directory.dataprep("tokenizer train text --out one --vocab 300").ok();
    directory
}

#[test]
fn several_sizes_are_one_training_and_each_is_what_it_would_be_alone() {
    let directory = trained();
    directory.dataprep("tokenizer train text --out sizes --vocab 400,300").ok();
    let one = directory.read("one/tokenizer.json");
    assert_eq!(directory.read("sizes/300/tokenizer.json"), one);
    assert_ne!(directory.read("sizes/400/tokenizer.json"), one);
    directory.dataprep("tokenize text --out tokens --tokenizer sizes/400").ok();
    let again = directory.dataprep("tokenizer train text --out sizes --vocab 300,400").ok();
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    let manifest: serde_json::Value =
        serde_json::from_str(&directory.read("sizes/manifest.json")).unwrap();
    assert_eq!(manifest["llama_cpp_pre"], "llama-bpe");
}

#[test]
fn shards_with_their_own_vocabulary_do_not_depend_on_the_name_of_the_output() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(80, 1));
    directory.dataprep("tokenize text --out one --vocab 300").ok();
    directory.dataprep("tokenize text --out two --vocab 300").ok();
    assert_eq!(directory.tree("one"), directory.tree("two"));
    assert_eq!(directory.entries(), 3, "nothing is left beside them");
}

#[test]
fn sizes_that_the_text_does_not_reach_are_said_for_each_and_under_q() {
    let directory = TestDir::new();
    directory.write("tiny.jsonl", "{\"text\":\"ab ab\"}\n");
    let train = "tokenizer train tiny.jsonl --holdout 0 --vocab";
    let several = directory.dataprep(&format!("{train} 8k,32k --out several -q")).ok();
    assert!(several.stderr.contains("of 8,000 and 32,000 are the same 259"), "{}", several.stderr);
    let again = directory.dataprep(&format!("{train} 8k,32k --out several --json")).ok();
    let sizes = &again.summary()["vocabularies"];
    assert_eq!(sizes[0], serde_json::json!({"asked": 8000, "entries": 259}), "{sizes}");
    let one = directory.dataprep(&format!("{train} 9k --out one")).ok();
    assert!(one.stderr.contains("has 259 entries of 9,000 asked for"), "{}", one.stderr);
    assert!(one.stdout.contains("9,000  259 entries"), "{}", one.stdout);
    // Where the vocabulary is trained on the way to shards, too.
    let command = "tokenize tiny.jsonl --holdout 0 --vocab 9k --out tokens -q";
    let tokens = directory.dataprep(command).ok();
    assert!(tokens.stderr.contains("has 259 entries of 9,000"), "{}", tokens.stderr);
    let reached = directory.dataprep(&format!("{train} 259 --out reached")).ok();
    assert_eq!(reached.stderr, "");
}

#[test]
fn shards_without_an_end_of_text_are_warned_of_before_text_is_read() {
    let directory = TestDir::new();
    directory.write_documents("text.jsonl", &documents(40, 1));
    let train = "tokenizer train text.jsonl --out nameless --vocab 300 --holdout 0";
    directory.write("keys.toml", "special_tokens = ['<a>', '<b>']\n");
    directory.dataprep(&format!("{train} --config keys.toml")).ok();
    // Nothing can be read, and still it is said.
    directory.write("broken.jsonl", "no JSON\n");
    let broken = directory.dataprep("tokenize broken.jsonl --tokenizer nameless --out x -q");
    assert_eq!(broken.status, 1, "{}", broken.stderr);
    let first = broken.stderr.lines().next().unwrap();
    assert!(first.contains("--set end_of_text=TOKEN") && first.contains("<a>, <b>"), "{first}");
    let command = "tokenize text.jsonl --tokenizer nameless --holdout 0";
    directory.dataprep(&format!("{command} --out without")).ok();
    let refused = directory.dataprep("mix a=without:1 --out mix");
    assert!(refused.stderr.contains("run `tokenize` again with"), "{}", refused.stderr);
    let named = directory.dataprep(&format!("{command} --out with --set end_of_text=<b>")).ok();
    assert_eq!(named.stderr, "");
    directory.dataprep("mix a=with:1 --out mix").ok();
}

#[test]
fn a_source_without_validation_is_named_by_tokenize_and_mix() {
    let directory = TestDir::new();
    directory.write_documents("few.jsonl", &documents(3, 1));
    let tokens = directory.dataprep("tokenize few.jsonl --vocab 300 --out tokens -q").ok();
    assert!(tokens.stderr.contains("no document of source `few` is held out"), "{}", tokens.stderr);
    let mix = directory.dataprep("mix a=tokens:1 --out mix -q").ok();
    assert!(mix.stderr.contains("no document of source `a` is held out"), "{}", mix.stderr);
    // Who asked for none hears nothing.
    directory.dataprep("tokenize few.jsonl --vocab 300 --out none --holdout 0").ok();
    let none = directory.dataprep("mix a=none:1 --out mix-none").ok();
    assert!(!none.stderr.contains("held out"), "{}", none.stderr);
}

#[test]
fn spilled_counts_give_the_same_vocabulary() {
    let directory = trained();
    let command = "tokenizer train text --out small --vocab 300 --memory 64MiB --temp-dir spill";
    directory.dataprep(&format!("{command} --threads 1")).ok();
    assert_eq!(directory.read("small/tokenizer.json"), directory.read("one/tokenizer.json"));
    assert_eq!(std::fs::read_dir(directory.path("spill")).unwrap().count(), 0);
}

#[test]
fn settings_that_cannot_be_repeated_are_refused_by_name() {
    let directory = trained();
    let cases = [
        ("tokenizer train text --out x --vocab 300 --set limit_alphabet=9", "limit_alphabet"),
        ("tokenizer train text --out x --vocab 300 --set pattern=gpt9", "`cl100k`"),
        ("tokenizer train text --out x --vocab 12", "257"),
        ("tokenize text --out x --vocab 300,400", "tokenizer train"),
        ("tokenize -", "--tokenizer"),
    ];
    for (command, expected) in cases {
        let run = directory.dataprep(command);
        assert_eq!(run.status, 2, "{command}\n{}", run.stderr);
        assert!(run.stderr.contains(expected), "{command}\n{}", run.stderr);
    }
}

#[test]
fn a_sample_trains_on_a_part_that_the_text_alone_decides() {
    let directory = trained();
    let command = "tokenizer train text --vocab 300 --sample 0.5 --json";
    let summary = directory.dataprep(&format!("{command} --out half")).ok().summary();
    let left_out = &summary["counts"]["dropped"]["not_sampled"];
    assert!((20..60).contains(&left_out.as_u64().unwrap()), "{summary:#}");
    let mut backwards = documents(80, 1);
    backwards.reverse();
    directory.write_documents("text/a.jsonl", &backwards);
    directory.dataprep(&format!("{command} --out again")).ok();
    assert_eq!(directory.read("half/tokenizer.json"), directory.read("again/tokenizer.json"));
}

#[test]
fn the_tokens_of_stdin_are_shown() {
    let directory = trained();
    let show = |arguments: &str| {
        let mut command = directory.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"the water<|endoftext|>").unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let text = show("tokenize - --tokenizer one --color never");
    assert_eq!(text.trim_end().replace('|', ""), "the water<endoftext>");
    let records = show("tokenize - --tokenizer one --json");
    let last: serde_json::Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
    assert_eq!(last["bytes"], 22);
    assert_eq!(last["tokens"], records.lines().count() - 1);
    assert!(!records.contains(r#""id":0,"#), "a special token's text stays text: {records}");
}

#[test]
fn the_fit_of_a_vocabulary_counts_its_tokens_and_is_drawn() {
    let directory = trained();
    directory.dataprep("tokenizer train text --out more --vocab 500").ok();
    let tokens = directory.dataprep("tokenize text --out tokens --tokenizer one --json").ok();
    let command = "inspect one --on a=text --against more --picture fit.svg --json";
    let fit = directory.dataprep(command).ok().summary();
    let [one, more] = [0, 1].map(|index| &fit["tokenizers"][index]);
    let encoded = tokens.summary()["counts"]["sources"]["text"]["tokens"].clone();
    assert_eq!(one["total"]["tokens"], encoded, "{fit:#}");
    assert_eq!(one["sources"][0]["name"], "a");
    assert!(one["total"]["single_byte_tokens"].as_u64() > Some(0), "{fit:#}");
    assert_eq!(one["sources"][0]["single_byte_share"], one["total"]["single_byte_share"]);
    assert_eq!((&one["vocab_size"], &more["vocab_size"]), (&300.into(), &500.into()));
    assert!(more["context_ratio"].as_f64() > Some(1.0), "{fit:#}");
    assert!(directory.read("fit.svg").starts_with("<svg"));
    let printed = directory.dataprep("inspect one --on text").ok().stdout;
    assert!(printed.contains("never used") && printed.contains("124m"), "{printed}");
}

#[test]
fn a_vocabulary_is_exported_for_other_tools() {
    let directory = trained();
    directory.dataprep("tokenizer export one --format tiktoken --out one.tiktoken").ok();
    // Every entry but the special token.
    assert_eq!(directory.read("one.tiktoken").lines().count(), 299);
    directory.dataprep("tokenizer export one --format merges-as-text --out old.json").ok();
    let old: serde_json::Value = serde_json::from_str(&directory.read("old.json")).unwrap();
    assert!(old["model"]["merges"][0].is_string());
    directory.dataprep("tokenize text --out new --tokenizer one").ok();
    directory.dataprep("tokenize text --out old --tokenizer old.json").ok();
    directory.write("ids/tokenizer.json", directory.read("old.json"));
    let tokens = |name: &str| directory.tree(name)["shard-00000.arrow"].clone();
    assert_eq!(tokens("new"), tokens("old"));
}

/// The presets' parameters, as the fit counts them, are the model's own count.
#[cfg(feature = "train")]
#[test]
fn the_share_of_the_embedding_is_that_of_the_model() {
    let directory = trained();
    let fit = directory.dataprep("inspect one --on text --json").ok().summary();
    let shares = fit["tokenizers"][0]["embedding"].as_array().unwrap().clone();
    assert_eq!(shares.len(), 4);
    for share in shares {
        let preset = share["preset"].as_str().unwrap();
        let path = crate::support::project().join(format!("configs/model/{preset}.toml"));
        let mut table = dataprep::base::config::read(&path).unwrap();
        let mut model = table.remove("model").unwrap();
        model.as_table_mut().unwrap().insert("vocab_size".into(), 300.into());
        let model: dataprep::runtime::model::ModelConfig = model.try_into().unwrap();
        assert_eq!(share["parameters"], model.parameter_count(), "{preset}");
    }
}

#[test]
fn an_alphabet_of_what_was_seen_is_smaller() {
    let directory = trained();
    let command = "tokenizer train text --out seen --vocab 100 --set initial_alphabet=seen";
    directory.dataprep(command).ok();
    let file: serde_json::Value =
        serde_json::from_str(&directory.read("seen/tokenizer.json")).unwrap();
    let vocabulary = file["model"]["vocab"].as_object().unwrap();
    assert_eq!(vocabulary.len(), 100);
    assert!(vocabulary.contains_key("Ġ") && !vocabulary.contains_key("À"));
}
