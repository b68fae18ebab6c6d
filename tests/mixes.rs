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

/// Texts of which no two are equal.
fn distinct(count: usize) -> Vec<String> {
    let mut texts = documents(count, 9);
    texts.sort();
    texts.dedup();
    texts
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
    let mix = "mix wiki=tokens#wiki:0.6 web=tokens#web:0.4 --tokens 8k --sweep wiki=0,0.25,0.5";
    directory.dataprep(&format!("{mix} --out sweep")).ok();
    let shares = ["0.25", "0.5"].map(|share| {
        let record = record(&directory, &format!("sweep/wiki-{share}"));
        record["sources"][0]["achieved_tokens"].as_u64().unwrap()
    });
    assert_eq!(shares, [2000, 4000]);
    let without = record(&directory, "sweep/wiki-0")["sources"].clone();
    assert_eq!(
        (&without[0]["name"], &without[0]["achieved_tokens"]),
        (&"web".into(), &8000.into())
    );
    assert!(without[1].is_null(), "{without}");
    let command = "inspect sweep/wiki-0.25 --against sweep/wiki-0.5 --json";
    let overlap = directory.dataprep(command).ok().summary()["beginnings"][0].clone();
    let (common, within) = (&overlap["common"], &overlap["in_order_within_sources"]);
    assert!(common.as_u64() > Some(20) && common == within, "{overlap}");
    // One share is one difference, whose effect on what is read first stands beside it.
    let compared = directory.dataprep("compare sweep/wiki-0.25 sweep/wiki-0.5").ok().stdout;
    let said = "only mix: web 75.0% → 50.0%, wiki 25.0% → 50.0%; everything else identical";
    assert!(compared.contains(said), "{compared}");
    let first = format!("{common} in both");
    assert!(
        compared.contains("of the first 8,000 tokens") && compared.contains(&first),
        "{compared}"
    );
    assert!(compared.contains("100.0% of them in one order within their sources"), "{compared}");
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
    let phases = directory.read("mix.toml").replace("share = 0.25", "share = 0.5");
    directory.write("mix.toml", phases);
    let odd = directory.dataprep(&mix.replace("phased", "odd")).ok().stderr;
    let said = "the phases' shares add to 1.25: main 60.00%, anneal 40.00%";
    assert!(odd.contains(said) && !run.stderr.contains("shares add"), "{odd}");
    let swept = directory.dataprep(&format!("{mix} --sweep wiki=0.3"));
    assert!(swept.status == 2 && swept.stderr.contains("leaves alone"), "{}", swept.stderr);
    let unweighted = directory.dataprep("mix wiki=tokens#wiki --tokens 1k --out other");
    assert_eq!(unweighted.status, 2);
    assert!(unweighted.stderr.contains("has no weight"), "{}", unweighted.stderr);
}

#[test]
fn shares_of_a_budget_of_text_are_shares_of_the_text() {
    let directory = shards();
    let mix = "mix wiki=tokens#wiki:0.25 web=tokens#web:0.75 --bytes 20kB --out text-mix";
    let made = directory.dataprep(mix).ok().stdout;
    assert!(made.contains("25.0% of the text  asked 0.25"), "{made}");
    let shown = directory.dataprep("inspect text-mix --json").ok().summary();
    let share = |at: usize| shown["sources"][at]["achieved"].as_f64().unwrap();
    assert_eq!((share(0), share(1)), (0.25, 0.75), "{shown}");
    directory.write_documents("text/empty.jsonl", &[String::new()]);
    let empty = "tokenize e=text/empty.jsonl --tokenizer vocabulary --out empty --holdout 0";
    directory.dataprep(empty).ok();
    let refused = directory.dataprep("mix e=empty:1 --bytes 9 --out none").stderr;
    assert!(refused.contains("the texts of `e` are empty"), "{refused}");
}

#[test]
fn a_mix_that_is_written_out_needs_no_shards_and_has_the_same_stream() {
    let directory = shards();
    let mix = "mix wiki=tokens#wiki:0.6 web=tokens#web:0.4 --tokens 9k";
    directory.dataprep(&format!("{mix} --out plain")).ok();
    directory.dataprep(&format!("{mix} --materialize --out rows")).ok();
    let export = |mix: &str, to: &str| {
        directory.dataprep(&format!("export {mix} --to numpy --out {to}")).ok();
        std::fs::read(directory.path(&format!("{to}/train.npy"))).unwrap()
    };
    let stream = export("plain", "a");
    std::fs::remove_dir_all(directory.path("tokens")).unwrap();
    assert_eq!(export("rows", "b"), stream);
    let starts =
        |folder: &str| std::fs::read(directory.path(&format!("{folder}/train_starts.npy")));
    assert_eq!(starts("a").unwrap(), starts("b").unwrap());
    let lost = directory.dataprep("export plain --to numpy --out c");
    assert!(lost.status != 0 && lost.stderr.contains("--data"), "{}", lost.stderr);
    // A flipped byte is named, wherever it lies.
    let mut bytes = std::fs::read(directory.path("rows/rows.arrow")).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    directory.write("rows/rows.arrow", bytes);
    let damaged = directory.dataprep("export rows --to numpy --out d");
    assert!(damaged.stderr.contains("rows.arrow` at byte"), "{}", damaged.stderr);
}

#[test]
fn packing_cuts_fewer_documents_loses_no_token_and_is_for_one_length_of_rows() {
    let directory = shards();
    let mix = "mix wiki=tokens#wiki:0.6 web=tokens#web:0.4 --tokens 9k";
    directory.dataprep(&format!("{mix} --out plain")).ok();
    let packed = format!("{mix} --packing best_fit --sequence 256 --out packed");
    let run = directory.dataprep(&packed).ok();
    assert!(run.stdout.contains("packed into rows of 256"), "{}", run.stdout);
    let found = record(&directory, "packed");
    let of = |key: &str| found["packing"][key].as_u64().unwrap();
    assert!(of("cut") <= of("cut_by_concat"), "{}", found["packing"]);
    assert_eq!(found["documents"], of("documents"));
    assert_eq!(found["sources"], record(&directory, "plain")["sources"]);
    directory.dataprep("verify packed").ok();
    let refused = directory.dataprep(&format!("{mix} --packing best_fit --out x"));
    assert!(refused.status == 2 && refused.stderr.contains("--sequence"), "{}", refused.stderr);
}

#[test]
fn a_row_the_vocabulary_and_the_pages_show_what_a_model_reads() {
    let directory = shards();
    directory.dataprep("mix wiki=tokens#wiki:0.6 web=tokens#web:0.4 --tokens 9k --out mix").ok();
    let row = directory.dataprep("inspect mix --row 3 --sequence 200 --json").ok().summary();
    let documents = row["documents"].as_array().unwrap();
    let tokens: u64 = documents.iter().map(|one| one["tokens"].as_u64().unwrap()).sum();
    assert_eq!((tokens, row["row"].as_u64()), (200, Some(3)), "{row}");
    assert!(documents.iter().skip(1).all(|one| one["continues"] == false), "{row}");
    let text = documents[0]["text"].as_str().unwrap();
    assert!(text.len() > 10 && directory.dataprep("inspect mix --row 3").ok().stdout.len() > 100);
    let refused = directory.dataprep("inspect mix --row 45 --sequence 200");
    assert!(refused.status == 2 && refused.stderr.contains("45 rows"), "{}", refused.stderr);

    let used = directory.dataprep("inspect tokens --vocabulary --json").ok().summary();
    let shown = directory.dataprep("inspect tokens --json").ok().summary();
    assert_eq!(used["tokens"], shown["total"]["tokens"]);
    let counts: Vec<u64> = used["most_frequent"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["tokens"].as_u64().unwrap())
        .collect();
    assert!(counts.is_sorted_by(|a, b| a >= b) && counts[0] > 0, "{counts:?}");
    assert!(used["special_never_used"].as_u64() >= Some(1), "{used}");

    for (what, said) in [("tokens", "The most frequent entries"), ("mix", "Row 0 of")] {
        directory.dataprep(&format!("inspect {what} --html {what}.html")).ok();
        let page = directory.read(&format!("{what}.html"));
        assert!(page.contains(said) && !page.contains("<script"), "{page}");
    }
}

#[test]
fn shards_of_two_shares_held_out_are_refused_and_an_unknown_share_is_said() {
    let directory = shards();
    let tokenize = "tokenize web=text/web.jsonl --tokenizer vocabulary --out more --holdout 0.2";
    directory.dataprep(tokenize).ok();
    let refused = directory.dataprep("mix a=tokens#wiki:0.5 b=more:0.5 --tokens 4k --out mix");
    assert_eq!(refused.status, 2, "{}", refused.stdout);
    for said in ["`tokens` holds out 0.05", "`more` 0.2", "import --holdout SHARE"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    // Files of validation are held out whatever their text.
    directory.dataprep("export more --to nanogpt --out bins").ok();
    directory.dataprep("import bins --from nanogpt --tokenizer vocabulary --out back").ok();
    let manifest: Value = serde_json::from_str(&directory.read("back/manifest.json")).unwrap();
    assert_eq!(manifest["holdout"], Value::Null);
    let mixed = directory.dataprep("mix a=tokens#wiki:0.5 b=back:0.5 --tokens 4k --out mix").ok();
    assert!(mixed.stderr.contains("`back` holds out is not decided"), "{}", mixed.stderr);
}

/// Of a run over the mix `c`, which validates on texts of its own.
fn card_and_page_set_validation_apart(directory: &TestDir) {
    let small = "--set model.d_model=32 --set model.n_layer=1 --set model.n_head=2 \
        --set model.n_kv_head=1 --set model.d_ff=48 --set train.sequence=64 \
        --set train.micro_batch=4 --set train.batch_tokens=256 --set train.steps=2 \
        --set train.batch_start=64 --set train.batch_warmup_steps=1";
    directory.dataprep(&format!("train --data c --out model {small} -q")).ok();
    directory.dataprep("export model --out exported -q").ok();
    let card = directory.read("exported/README.md");
    let (trained, validated) = card.split_once("Validated on, and not trained on:").unwrap();
    assert!(!trained.contains("raw files of own") && trained.contains("raw files of "), "{card}");
    assert!(validated.contains("2 raw files of own"), "{card}");
    assert!(trained.contains("| `train.batch_start` | 64 |"), "{card}");
    assert!(!card.contains("answers alone"), "{card}");
    let page = directory.read("model/report.html");
    assert!(page.contains("only validates"), "{page}");
}

#[test]
fn texts_of_ones_own_validate_whatever_the_data_and_the_tokenizer() {
    let directory = shards();
    let own = distinct(40);
    let count = own.len();
    directory.write_documents("own/news.jsonl", &own);
    directory.write_documents("own/law.jsonl", &[own[0].clone(), own[1].clone(), String::new()]);
    directory.dataprep("tokenizer train text --vocab 300 --out other").ok();
    let text = "text/wiki.jsonl --tokenizer other --out tokens-other --holdout 0.05";
    directory.dataprep(&format!("tokenize wiki={text}")).ok();
    let whole = "mix wiki=tokens#wiki:0.6 web=tokens#web:0.4 --tokens 8k --out";
    let made = directory.dataprep(&format!("{whole} a --validation own --threads 1")).ok();
    let said = format!("validates on {count} documents of your own");
    assert!(made.stdout.contains(&said), "{}", made.stdout);
    let other = "mix wiki=tokens-other#wiki:1 --tokens 4k --set seed=5 --validation own --out b";
    directory.dataprep(other).ok();
    let (a, b) = (record(&directory, "a"), record(&directory, "b"));
    for mix in [&a, &b] {
        let source = &mix["validation_sources"][0];
        assert_eq!(
            (&source["name"], &source["documents"]),
            (&"own".into(), &count.into()),
            "{mix}"
        );
        assert_eq!(mix["sources"][0]["validation_documents"], 0, "{mix}");
    }
    assert_eq!(a["validation"], b["validation"]);
    let tokens = |mix: &Value| mix["validation_sources"][0]["tokens"].as_u64().unwrap();
    assert_ne!(tokens(&a), tokens(&b), "each in its own tokenizer");
    // The same bytes by two threads; the place of the texts is no part of them.
    std::fs::rename(directory.path("own"), directory.path("moved")).unwrap();
    std::fs::create_dir(directory.path("in")).unwrap();
    std::fs::rename(directory.path("moved"), directory.path("in/own")).unwrap();
    directory.dataprep(&format!("{whole} c --validation in/own --threads 2")).ok();
    assert_eq!(directory.tree("a"), directory.tree("c"));
    let again = directory.dataprep(&format!("{whole} c --validation in/own")).ok();
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    directory.dataprep("verify c").ok();
    // A model is not made from them: they stand apart where it says what it is made from.
    let shown = directory.dataprep("lineage c").ok().stdout;
    assert!(shown.contains("─ only validates: own: "), "{shown}");
    assert_eq!(shown.matches("only validates").count(), 2, "{shown}");
    if cfg!(feature = "train") {
        card_and_page_set_validation_apart(&directory);
    }
    // Held-out documents are another set, and `compare` names it.
    directory.dataprep(&format!("{whole} d")).ok();
    assert_ne!(record(&directory, "d")["validation"], a["validation"]);
    let compared = directory.dataprep("compare d c").ok().stdout;
    assert!(compared.contains("validation"), "{compared}");
    // Fewer tokens are a beginning; an edited text is another set.
    directory.dataprep(&format!("{whole} e --validation in/own --set eval_tokens=400")).ok();
    let fewer = record(&directory, "e")["validation_sources"][0]["documents"].as_u64().unwrap();
    assert!((1..count as u64).contains(&fewer), "{fewer}");
    directory.write_documents("in/own/news.jsonl", &own[1..]);
    let refused = directory.dataprep(&format!("{whole} c --validation in/own"));
    assert_eq!(refused.status, 2, "{}", refused.stdout);
}

#[test]
fn a_recipe_validates_on_texts_or_on_what_a_step_made() {
    let recipe = |validation: &str| {
        let mix = format!("set = {{ tokens = \"24k\", validation = \"{validation}\" }}");
        crate::determinism::RECIPE.replace("set = { tokens = \"24k\" }", &mix)
    };
    let directory = crate::determinism::with_recipe(&recipe("own.jsonl"));
    let own = distinct(30);
    directory.write_documents("own.jsonl", &own);
    directory.dataprep("run recipe.toml -q").ok();
    assert_eq!(record(&directory, "runs/mix")["validation_sources"][0]["documents"], own.len());
    directory.write("recipe.toml", recipe("corpus"));
    let made = directory.dataprep("run recipe.toml").ok();
    let names: Vec<Value> = record(&directory, "runs/mix")["validation_sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| source["name"].clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    // They are the mix's own documents: that is said, and not of others.
    let said = |run: &crate::support::Run| run.stderr.contains("may be trained on too");
    assert!(said(&made), "{}", made.stderr);
    directory.write("recipe.toml", recipe("own.jsonl"));
    let other = directory.dataprep("run recipe.toml --set mix.seed=3").ok();
    assert!(other.stdout.contains("of your own") && !said(&other), "{}", other.stderr);
    directory.write("recipe.toml", recipe("tokens"));
    let refused = directory.dataprep("run recipe.toml");
    assert!(refused.status == 2 && refused.stderr.contains("tokens"), "{}", refused.stderr);
}
