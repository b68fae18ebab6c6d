//! Mixes as they are typed: phases, sweeps, what an edit of the corpus leaves alone.

use serde_json::Value;

use crate::support::{TestDir, documents};

/// Two sources as shards, whole and with a tenth of the one dropped.
fn shards() -> TestDir {
    let directory = TestDir::new();
    let (wiki, web) = (documents(150, 1), documents(110, 2));
    let kept: Vec<String> =
        wiki.iter().enumerate().filter(|(at, _)| at % 10 != 3).map(text).collect();
    directory.write_documents("text/wiki.jsonl", &wiki);
    directory.write_documents("text/web.jsonl", &web);
    directory.write_documents("edited/wiki.jsonl", &kept);
    directory.write_documents("edited/web.jsonl", &web);
    let tokenize = |from: &str, to: &str| {
        let inputs = format!("wiki={from}/wiki.jsonl web={from}/web.jsonl");
        format!("tokenize {inputs} --tokenizer vocabulary --out {to} --holdout 0.05")
    };
    directory.dataprep("tokenizer train text --vocab 400 --out vocabulary").ok();
    directory.dataprep(&tokenize("text", "tokens")).ok();
    directory.dataprep(&tokenize("edited", "tokens-edited")).ok();
    directory
}

fn text((_, text): (usize, &String)) -> String {
    text.clone()
}

fn record(directory: &TestDir, mix: &str) -> Value {
    serde_json::from_str(&directory.read(&format!("{mix}/mix.json"))).unwrap()
}

#[test]
fn a_sweep_writes_a_mix_a_share_and_every_source_keeps_its_order() {
    let directory = shards();
    let mix = "mix wiki=tokens#wiki:0.6 web=tokens#web:0.4 --tokens 8k --sweep wiki=0.25,0.5";
    directory.dataprep(&format!("{mix} --out sweep")).ok();
    let shares = ["0.25", "0.5"].map(|share| {
        let record = record(&directory, &format!("sweep/wiki-{share}"));
        record["sources"][0]["achieved_tokens"].as_u64().unwrap()
    });
    assert_eq!(shares, [2000, 4000]);
    let command = "inspect sweep/wiki-0.25 --against sweep/wiki-0.5 --json";
    let overlap = directory.dataprep(command).ok().summary()["beginnings"][0].clone();
    let (common, within) = (&overlap["common"], &overlap["in_order_within_sources"]);
    assert!(common.as_u64() > Some(20) && common == within, "{overlap}");
    let again = directory.dataprep(&format!("{mix} --out sweep")).ok();
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    let refused = directory.dataprep(&format!("{mix} --out sweep --sweep wiki=2"));
    assert_eq!(refused.status, 2, "{}", refused.stderr);
}

#[test]
fn dropping_documents_moves_none_of_the_others() {
    let directory = shards();
    for shards in ["tokens", "tokens-edited"] {
        let sources = format!("wiki={shards}#wiki:0.6 web={shards}#web:0.4");
        directory.dataprep(&format!("mix {sources} --tokens 9k --out mix-{shards}")).ok();
    }
    let command = "inspect mix-tokens --against mix-tokens-edited";
    let shown = directory.dataprep(command).ok().stdout;
    assert!(shown.contains("in order by source"), "{shown}");
    let overlap =
        directory.dataprep(&format!("{command} --json")).ok().summary()["beginnings"][0].clone();
    let number = |key: &str| overlap[key].as_u64().unwrap();
    assert_eq!(number("in_order_within_sources"), number("common"), "{overlap}");
    assert!(number("common") * 100 >= number("one") * 85, "{overlap}");
    assert!(overlap["pairs_in_order"].as_f64() > Some(0.95), "{overlap}");
}

#[test]
fn the_phases_of_a_file_are_laid_one_after_another_and_odd_weights_are_said() {
    let directory = shards();
    directory.write(
        "mix.toml",
        "tokens = '8k'
        [[phases]]
        name = 'main'
        share = 0.75
        weights = { wiki = 0.5, web = 0.7 }
        [[phases]]
        name = 'anneal'
        share = 0.25
        weights = { web = 1 }",
    );
    let mix = "mix wiki=tokens#wiki web=tokens#web --config mix.toml --out phased";
    let run = directory.dataprep(mix).ok();
    assert!(run.stdout.contains("phase anneal"), "{}", run.stdout);
    assert!(run.stderr.contains("the weights of phase `main` add to 1.2"), "{}", run.stderr);
    let record = record(&directory, "phased");
    assert_eq!(record["phases"][1]["first_token"], 6000);
    assert_eq!(record["phases"][1]["source_tokens"], serde_json::json!([0, 2000]));
    let unweighted = directory.dataprep("mix wiki=tokens#wiki --tokens 1k --out other");
    assert_eq!(unweighted.status, 2);
    assert!(unweighted.stderr.contains("has no weight"), "{}", unweighted.stderr);
}
