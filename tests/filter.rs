//! Filters through the command line: recipes, the list of rules, one text, a classifier.

use crate::support::{TestDir, documents, project};

const PROSE: &str = "It is the habit of many people to have a walk with the dog that they keep. \
                     They leave the house in the morning and come back with muddy shoes.\n";

#[test]
fn presets_are_taken_under_their_old_name_too() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(20, 1));
    let step = "[[step]]\nname = 'c'\nstage = 'filter'\nin = ['text']\nset.recipe = 'gopher'\n";
    directory.write("recipe.toml", format!("out = 'runs'\n{step}"));
    directory.dataprep("filter text --out a --preset gopher").ok();
    directory.dataprep("filter text --out b --recipe gopher").ok();
    directory.dataprep("filter text --out c --set recipe=gopher").ok();
    directory.dataprep("run recipe.toml").ok();
    let a = directory.read("a/manifest.json");
    for other in ["b", "c", "runs/c"] {
        assert_eq!(directory.read(&format!("{other}/manifest.json")), a, "{other}");
    }
}

#[test]
fn recipes_and_rules_are_listed_and_misspelt_ones_named() {
    let directory = TestDir::new();
    let list = directory.dataprep("filter --list").ok().stdout;
    for expected in ["fineweb-edu:", "dclm:", "repetition/top_2_gram", "at least 50"] {
        assert!(list.contains(expected), "{expected}: {list}");
    }
    directory.write_documents("text/a.jsonl", &documents(10, 1));
    let cases = [
        ("filter text --out x --preset finweb", "did you mean `fineweb`?"),
        ("filter text --out x --preset fineweb --rules gopher_quality", "choose one of both"),
        ("filter text --out x --preset fineweb-edu", "int_score"),
        ("filter text --out x --rules classifier", "classifier train"),
        ("filter text --out x --rules language --set language.languages=['xx']", "xx"),
    ];
    for (command, expected) in cases {
        let run = directory.dataprep(command);
        assert_eq!(run.status, 2, "{command}\n{}", run.stderr);
        assert!(run.stderr.contains(expected), "{command}\n{}", run.stderr);
    }
}

#[test]
fn one_text_is_judged_by_every_rule() {
    let directory = TestDir::new();
    directory.write("prose.txt", PROSE.repeat(3));
    let judged = directory.dataprep("filter --try prose.txt --preset fineweb");
    let printed = judged.ok().stdout;
    assert!(printed.contains("dropped by repetition/dup_line_frac"), "{printed}");
    assert!(printed.contains("fineweb/list_ratio"), "rules behind the first: {printed}");
    let judged = directory.dataprep("filter --try prose.txt --rules gopher_quality --json");
    assert_eq!(judged.ok().summary()["rule"], serde_json::Value::Null);
}

#[test]
fn a_rule_reads_a_field_of_json_lines() {
    let directory = TestDir::new();
    let line = |score: &str| format!("{{\"text\":\"A page.\",\"int_score\":{score}}}\n");
    directory.write("text/a.jsonl", ["3", "2", "null", "\"4\"", "4.5"].map(line).concat());
    let filter = "filter text --out out --preset fineweb-edu --json";
    assert!(directory.dataprep(filter).stdout.contains("`metadata.int_score`"));
    let filter = format!("{filter} --set fineweb_edu.column=metadata.int_score");
    let counts = directory.dataprep(&filter).ok().summary()["counts"].clone();
    assert_eq!(counts["dropped"]["fineweb_edu/score"], 3, "2, null and a string: {counts:#}");
}

#[test]
fn a_recipe_of_ones_own_and_a_threshold_beside_it() {
    let directory = TestDir::new();
    directory.write("text/a.txt", "ignored");
    directory.write_documents("text/a.jsonl", &[PROSE.repeat(2), "Short.".to_owned()]);
    directory.write("own.toml", "rules = ['gopher_quality']\ngopher_quality.min_words = 2\n");
    let kept = |arguments: &str| {
        let command = format!("filter text/a.jsonl --preset own.toml --json {arguments}");
        directory.dataprep(&command).ok().summary()["counts"]["out"].as_u64().unwrap()
    };
    assert_eq!(kept("--out own"), 1);
    let lenient = "--set gopher_quality.min_words=0 --set gopher_quality.min_stop_words=0";
    assert_eq!(kept(&format!("--out lenient {lenient} --set words=white_space")), 2);
}

#[test]
fn annotated_documents_stay_and_carry_their_values() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &[PROSE.repeat(2), "Short.".to_owned()]);
    let command = "filter text --out notes --preset fineweb --annotate --json";
    let summary = directory.dataprep(command).ok().summary();
    assert_eq!(summary["counts"]["out"], 2, "{summary:#}");
    let would_drop = &summary["counts"]["extra"];
    assert!(would_drop.to_string().contains("would_drop"), "{summary:#}");
}

/// Textbooks, manuals and encyclopedia of the fixtures as one corpus, and its annotations.
fn annotated(directory: &TestDir, arguments: &str) {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/corpora");
    directory.dataprep(&format!("ingest {fixtures} --out corpus")).ok();
    let annotate = format!("filter corpus --out notes --annotate {arguments}");
    directory.dataprep(&annotate).ok();
}

#[test]
fn annotations_decide_as_filtering_does_with_the_limits_of_then_and_with_others() {
    let directory = TestDir::new();
    for (index, (rules, limits)) in [
        ("--preset fineweb", ""),
        (
            "--preset fineweb",
            "--set gopher_quality.min_words_with_letter=0.7 --set c4_quality.min_sentences=20 \
             --set fineweb_quality.max_short_lines=0.3 --set gopher_quality.min_words=200",
        ),
        ("--rules dclm --set dclm.max_bullet_lines=0.1", "--set dclm.min_words=300"),
    ]
    .into_iter()
    .enumerate()
    {
        let notes = format!("notes{index}");
        if index == 0 {
            annotated(&directory, rules);
        } else {
            directory
                .dataprep(&format!("filter corpus --out notes --fresh --annotate {rules}"))
                .ok();
        }
        let straight = format!("filter corpus --out straight{index} {rules} {limits} --json");
        let straight = directory.dataprep(&straight).ok().summary();
        let again = format!("filter notes --from-annotations --out {notes} {limits} --json");
        let again = directory.dataprep(&again).ok().summary();
        assert!(straight["counts"]["out"].as_u64() > Some(0), "{straight:#}");
        assert!(straight["counts"]["dropped"].as_object().unwrap().len() > 2, "{straight:#}");
        for key in ["out", "dropped"] {
            assert_eq!(straight["counts"][key], again["counts"][key], "{rules} {limits}");
        }
        for file in ["part-00000.parquet", "removed-00000.parquet"] {
            let bytes =
                |out: &str| std::fs::read(directory.path(&format!("{out}/{file}"))).unwrap();
            assert!(
                bytes(&format!("straight{index}")) == bytes(&notes),
                "{file}: {rules} {limits}"
            );
        }
    }
}

#[test]
fn annotations_by_a_model_need_no_model_to_decide_again() {
    let directory = TestDir::new();
    let root = env!("CARGO_MANIFEST_DIR");
    let model = format!("{root}/fixtures/fasttext/bigrams.bin");
    let rules = format!(
        "--rules language,classifier,fineweb_quality --set classifier.model={model} \
         --set classifier.label=hq --set fineweb_quality.line_punctuation_exclude_zero=true"
    );
    let text = format!("{root}/fixtures/corpora/openstax --limit-documents 300");
    directory.dataprep(&format!("ingest {text} --out corpus --columns url")).ok();
    directory.dataprep(&format!("filter corpus --out notes --annotate {rules}")).ok();
    let limits = "--set classifier.min_score=0.4 --set language.min_score=0.9 \
                  --set fineweb_quality.min_line_punctuation=0.5";
    let straight = format!("filter corpus --out straight {rules} {limits} --json");
    let straight = directory.dataprep(&straight).ok().summary();
    let again = format!("filter notes --from-annotations --out again {limits} --json");
    let again = directory.dataprep(&again).ok().summary();
    assert_eq!(straight["counts"]["dropped"], again["counts"]["dropped"]);
    assert!(straight["counts"]["dropped"].as_object().unwrap().len() > 1, "{straight:#}");
    let removed =
        |out: &str| std::fs::read(directory.path(&format!("{out}/removed-00000.parquet")));
    assert!(removed("straight").unwrap() == removed("again").unwrap());
    let report = directory.dataprep("inspect again --json").ok().summary();
    let rules = report["filtered"]["rules"].as_array().unwrap().clone();
    let nearest = |rule: &serde_json::Value| rule["nearest"]["passes"].as_array().unwrap().len();
    assert!(rules.iter().map(nearest).sum::<usize>() > 3, "examples without the model: {rules:#?}");
}

#[test]
fn a_filter_shows_what_each_threshold_did() {
    let directory = TestDir::new();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/corpora");
    // As much as the sample takes.
    let filter =
        format!("filter {fixtures}/openstax {fixtures}/us-gov-web --preset fineweb --json --out");
    let counts = directory.dataprep(&format!("{filter} out")).ok().summary()["counts"].clone();
    directory.dataprep(&format!("{filter} one -j 1 --set unit_bytes=1MiB")).ok();
    let report = |out: &str| {
        let command = format!("inspect {out} --json --html {out}.html");
        directory.dataprep(&command).ok().summary()["filtered"].clone()
    };
    let (report, cut) = (report("out"), report("one"));

    // Nearly all text is in the sample, and every rule measures every document of it.
    let rules = report["rules"].as_array().unwrap();
    assert!(rules.len() > 30, "{}", rules.len());
    let tally = |rule: &serde_json::Value, side: &str| rule["measured"][side].as_u64().unwrap();
    let sampled = tally(&rules[0], "passed") + tally(&rules[0], "failed");
    let documents = counts["in"].as_u64().unwrap();
    assert!(sampled <= documents && sampled * 10 > documents * 8, "{sampled} of {documents}");
    for rule in rules {
        let name = rule["rule"].as_str().unwrap();
        assert_eq!(tally(rule, "passed") + tally(rule, "failed"), sampled, "{name}");
        let dropped = counts["dropped"].get(name).map_or(0, |count| count.as_u64().unwrap());
        assert_eq!(rule["dropped"], dropped, "{name}");
        assert!(tally(rule, "failed") * 5 >= dropped * 4, "{name}: first of those that fail");
    }
    let alpha = rules.iter().find(|rule| rule["key"] == "gopher_quality.min_words_with_letter");
    let alpha = alpha.unwrap();
    assert_eq!((&alpha["limit"], &alpha["bound"]), (&0.8.into(), &"at least".into()));
    let nearest = &alpha["nearest"];
    for (side, expected) in [("fails", false), ("passes", true)] {
        let documents = nearest[side].as_array().unwrap();
        assert_eq!(documents.len(), 3);
        for document in documents {
            assert_eq!(document["value"].as_f64() >= Some(0.8), expected, "{document:#}");
            assert!(!document["spans"].as_array().unwrap().is_empty(), "{document:#}");
        }
    }
    // Units are cut elsewhere, and nothing else changes.
    assert_eq!(cut["rules"], report["rules"]);
    let page = directory.read("out.html");
    for expected in ["<svg", "<mark>", "min_words_with_letter", "us-gov-web"] {
        assert!(page.contains(expected), "{expected}");
    }
    for fetched in ["<script", "<img", "<link", "<iframe", "href=\"http", "@import"] {
        assert!(!page.contains(fetched), "the page fetches: {fetched}");
    }
    let screen = directory.dataprep("inspect out").ok().stdout;
    assert!(screen.contains("quality/gopher_below_alpha_threshold"), "{screen}");
    assert!(screen.contains("[["), "marked documents: {screen}");
    let refused = directory.dataprep("inspect nothing --html x.html");
    assert_eq!(refused.status, 2, "{}", refused.stderr);
}

#[test]
fn annotations_refuse_what_they_cannot_tell() {
    let directory = TestDir::new();
    annotated(&directory, "--rules gopher_quality,c4_quality");
    let cases = [
        ("corpus", "", "--annotate --out DIR"),
        ("notes", "--set rules=['c4_quality']", "takes rules and words"),
        ("notes", "--set fineweb_quality.max_short_lines=1", "was not annotated"),
        ("notes", "--set c4_quality.filter_curly_bracket=false", "annotated anew"),
        ("notes", "--set c4_quality.min_words_per_line=1", "annotated anew"),
        ("notes", "--set gopher_quality.min_word=1", "did you mean `min_words`?"),
        ("notes", "--set gopher_quality.max_bullet_lines=-1", "0 or more"),
        ("notes", "--columns filter_rule", "leave it out"),
    ];
    for (input, arguments, expected) in cases {
        let command = format!("filter {input} --from-annotations --out x {arguments}");
        let run = directory.dataprep(&command);
        assert_eq!(run.status, 2, "{command}\n{}", run.stderr);
        assert!(run.stderr.contains(expected), "{command}\n{}", run.stderr);
    }
}

#[test]
fn another_limit_changes_the_documents_that_screen_and_condition_count() {
    let directory = TestDir::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/filter/parity.jsonl.zst");
    directory.dataprep(&format!("filter {fixture} --preset gopher --annotate --out notes")).ok();
    let kept = |limit: f64| {
        let arguments = format!("--set gopher_quality.min_words_with_letter={limit}");
        let again = format!("filter notes --from-annotations {arguments} --fresh --json --out x");
        let counts = directory.dataprep(&again).ok().summary()["counts"].clone();
        // Held-out documents stay, with a verdict.
        let judged = counts["sources"].as_object().unwrap().values();
        let judged = judged.flat_map(|source| source["held_out_verdicts"].as_object().unwrap());
        let judged: u64 = judged.map(|(_, documents)| documents.as_u64().unwrap()).sum();
        counts["out"].as_u64().unwrap() - judged
    };
    // As the guide has it.
    let rule = "quality/gopher_below_alpha_threshold";
    let condition = format!(
        "filter_rule = '{rule}' AND filter_fails = 1 \
         AND quality_gopher_below_alpha_threshold >= 0.75"
    );
    let mut inspect = directory.command("inspect notes --json --where");
    let output = inspect.arg(condition).output().unwrap();
    let matches: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let sources = matches["sources"].as_object().unwrap().values();
    let change: u64 = sources.map(|source| source["taken"].as_u64().unwrap()).sum();
    assert!(change > 0, "{matches:#}");
    assert_eq!(kept(0.75) - kept(0.8), change);
    // As the screen has it; so little text is measured whole.
    let report = directory.dataprep("inspect notes --json").ok().summary();
    let rules = report["filtered"]["rules"].as_array().unwrap();
    let own = rules.iter().find(|own| own["rule"] == rule).unwrap();
    let moved = own["moved"].as_array().unwrap();
    assert_eq!(moved.len(), 2, "{moved:#?}");
    for moved in moved {
        let (limit, documents) = (moved["limit"].as_f64().unwrap(), moved["documents"].as_u64());
        assert_eq!(kept(limit).abs_diff(kept(0.8)), documents.unwrap(), "{moved:#}");
        assert_eq!(moved["drops"], limit > 0.8);
    }
}

/// Texts that are wanted, and others.
fn sides() -> TestDir {
    let directory = TestDir::new();
    let wanted: Vec<String> = (0..200).map(|n| format!("cells divide and grow {n}")).collect();
    let other: Vec<String> = (0..200).map(|n| format!("buy cheap shoes now {n}")).collect();
    directory.write_documents("wanted/a.jsonl", &wanted);
    directory.write_documents("other/a.jsonl", &other);
    directory
}

#[test]
fn the_lists_and_models_of_rules_are_inputs_that_verify_reads_again() {
    let directory = TestDir::new();
    let line = serde_json::json!({ "text": PROSE, "url": "http://good.com/" });
    directory.write("text/a.jsonl", format!("{line}\n"));
    directory.write("lists/bad.txt", "bad.com\n");
    let model = project().join("fixtures/fasttext/quantized.ftz");
    directory.copy(&model, "lid.ftz");
    let command = "filter text --rules url_lists,language --set url_lists.domains=lists/bad.txt \
                   --set language.model=lid.ftz --set language.languages=['eng'] \
                   --set language.min_score=0 \
                   --set url_lists.column=metadata.url --out kept --json";
    directory.dataprep(command).ok();
    let manifest: serde_json::Value =
        serde_json::from_str(&directory.read("kept/manifest.json")).unwrap();
    let names: Vec<_> = manifest["inputs"].as_array().unwrap().iter().map(|i| &i["name"]).collect();
    assert_eq!(names, ["a.jsonl", "lid.ftz", "bad.txt"]);
    assert!(directory.dataprep("verify kept").ok().stdout.contains("3 ranges"));
    assert_eq!(directory.dataprep(command).ok().summary()["up_to_date"], true);
    directory.write("lists/bad.txt", "bad.org\n");
    let verified = directory.dataprep("verify kept");
    assert_eq!(verified.status, 1);
    assert!(verified.stdout.contains("bad.txt"), "{verified:?}");
    let again = directory.dataprep(command);
    assert!(again.stderr.contains("with other inputs or config"), "{}", again.stderr);
}

const TRAIN: &str = "classifier train --positive wanted --negative other --dimensions 8 \
                     --epochs 200 --set buckets=10000";

#[test]
fn a_classifier_learns_what_is_wanted_and_filters_by_it() {
    let directory = sides();
    let summary = directory.dataprep(&format!("{TRAIN} --out model --json")).ok().summary();
    let report = &summary["report"];
    assert!(report["held_out"]["area_under_curve"].as_f64() > Some(0.99), "{summary:#}");
    assert_eq!(
        summary["counts"]["out"],
        report["positives"].as_u64().unwrap() + report["negatives"].as_u64().unwrap(),
        "what trains it is counted: {summary:#}"
    );
    for threads in [1, 2] {
        directory.dataprep(&format!("{TRAIN} --out again{threads} -j{threads}")).ok();
        assert_eq!(directory.tree("model"), directory.tree(&format!("again{threads}")));
    }
    directory.dataprep("verify model").ok();
    // The artifact and its file alike name the model.
    let kept = ["model", "again1/model.bin"].map(|model| {
        let filter = format!(
            "filter wanted other --rules classifier --set classifier.model={model} \
             --set classifier.min_score=0.5 --out kept --json"
        );
        let summary = directory.dataprep(&filter).ok().summary();
        let out = |source: &str| summary["counts"]["sources"][source]["out"].as_u64();
        assert!(out("wanted") > Some(190) && out("other") < Some(10), "{summary:#}");
        summary["up_to_date"].clone()
    });
    assert_eq!(kept, [false, true], "equal models are equal work");
}

#[test]
fn training_a_classifier_is_a_stage_like_others() {
    let directory = sides();
    let again = |arguments: &str| directory.dataprep(&format!("{TRAIN} --out model {arguments}"));
    let plan = again("--dry-run");
    assert!(plan.stdout.contains("train 1 unit,") && !directory.path("model").exists(), "{plan:?}");
    again("").ok();
    assert!(again("").ok().stdout.contains("up to date"));
    let other = again("--set rate=0.2");
    assert_eq!(other.status, 2, "{}", other.stderr);
    assert!(other.stderr.contains("with other inputs or config"), "{}", other.stderr);
    again("--set rate=0.2 --fresh").ok();
    // Nothing but an artifact is ever replaced.
    let text = directory.read("wanted/a.jsonl");
    let over = directory.dataprep(&format!("{TRAIN} --out wanted/a.jsonl --fresh"));
    assert_eq!(over.status, 2, "{}", over.stderr);
    assert_eq!(directory.read("wanted/a.jsonl"), text);
    for (arguments, expected) in [
        ("--positive wanted", "`negative` names no texts"),
        ("--positive wanted --negative wanted", "is on both sides"),
        ("--positive wanted --negative other --keep 2", "`keep` is a share"),
        ("--positive wanted --negative other --set epoch=2", "did you mean `epochs`?"),
        ("--positive wanted --negative other --set source.wnted.text_column=a", "source.wnted"),
    ] {
        let run = directory.dataprep(&format!("classifier train {arguments} --out x"));
        assert_eq!(run.status, 2, "{arguments}\n{}", run.stderr);
        assert!(run.stderr.contains(expected), "{arguments}\n{}", run.stderr);
    }
}

#[test]
fn a_classifier_bears_bad_texts_as_other_stages_do() {
    let directory = sides();
    let texts = directory.read("other/a.jsonl");
    directory.write("other/a.jsonl", format!("{texts}no JSON\n"));
    directory.write("other/b.parquet", "no Parquet");
    let run = directory.dataprep(&format!("{TRAIN} --out model"));
    assert_eq!(run.status, 1, "{}", run.stderr);
    assert!(run.stderr.contains("b.parquet"), "{}", run.stderr);
    let run = directory.dataprep(&format!("{TRAIN} --out model --skip-bad-files --json")).ok();
    assert_eq!(run.summary()["counts"]["rejected"], 1);
    let manifest: serde_json::Value =
        serde_json::from_str(&directory.read("model/manifest.json")).unwrap();
    assert_eq!(manifest["skipped_files"], serde_json::json!(["b.parquet"]));
    assert!(directory.read("model/rejects.jsonl").contains("invalid_json"));
    assert!(directory.dataprep("verify model").ok().stdout.contains("2 ranges"));
}

#[test]
fn a_recipe_trains_a_classifier_and_filters_by_it() {
    let directory = sides();
    let recipe = |model: &str| {
        format!(
            "out = 'runs'\n\
             [[step]]\nname = 'web'\nstage = 'ingest'\nin = ['../other']\n\
             [[step]]\nname = 'quality'\nstage = 'classifier'\n\
             set = {{ positive = ['good=../wanted'], negative = ['web'], dimensions = 8, \
             epochs = 200, buckets = 1000 }}\n\
             [[step]]\nname = 'kept'\nstage = 'filter'\nin = ['../wanted', 'web']\n\
             set = {{ rules = ['classifier'], classifier.model = '{model}', \
             classifier.min_score = 0.5 }}\n"
        )
    };
    directory.write("recipes/r.toml", recipe("quality"));
    let run = directory.dataprep("run recipes/r.toml --json").ok();
    let kept = run.stdout.lines().find(|line| line.contains("\"step\":\"kept\"")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(kept).unwrap();
    assert!(kept["counts"]["sources"]["wanted"]["out"].as_u64() > Some(190), "{kept:#}");
    assert!(kept["counts"]["sources"]["other"]["out"].as_u64() < Some(10), "{kept:#}");
    directory.write("recipes/r.toml", recipe("web"));
    let run = directory.dataprep("run recipes/r.toml");
    let wrong = "reads a classifier there, but `web` (ingest) makes a corpus";
    assert!(run.stderr.contains(wrong), "{}", run.stderr);
}

#[test]
fn every_switch_of_a_rule_that_edits_leaves_the_other_lines() {
    let directory = TestDir::new();
    let lines: Vec<String> =
        (0..6).map(|n| format!("This is sentence number {n} of a text about dogs.")).collect();
    directory.write_documents("text/a.jsonl", &[lines.join("\n")]);
    let switches = [
        "remove_citations",
        "filter_no_terminal_punct",
        "filter_lorem_ipsum",
        "filter_javascript",
        "filter_curly_bracket",
        "filter_policy",
    ];
    for switch in switches {
        let command = format!(
            "filter text --rules c4_quality --set c4_quality.{switch}=false --out {switch} --json"
        );
        let source =
            directory.dataprep(&command).ok().summary()["counts"]["sources"]["text"].clone();
        assert_eq!(
            (&source["out"], &source["bytes_out"]),
            (&1.into(), &source["bytes_in"]),
            "{switch}"
        );
    }
}

#[test]
fn a_recipe_file_brings_its_words_and_its_files_lie_beside_it() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(5, 1));
    let own = "rules = ['gopher_quality', 'language']\nwords = 'white_space'\n\
               language.model = 'lid.bin'\n";
    directory.write("recipes/own.toml", own);
    let missing = directory.dataprep("filter text --preset recipes/own.toml --out x");
    assert!(missing.stderr.contains("recipes/lid.bin"), "{}", missing.stderr);
    directory.write("recipes/own.toml", own.lines().take(2).collect::<Vec<_>>().join("\n"));
    directory.dataprep("filter text --preset recipes/own.toml --out x").ok();
    let manifest: serde_json::Value =
        serde_json::from_str(&directory.read("x/manifest.json")).unwrap();
    assert_eq!(manifest["config"]["words"], "white_space");
    directory.write("recipes/own.toml", "rules = ['gopher_quality']\nannotate = true\n");
    let refused = directory.dataprep("filter text --preset recipes/own.toml --out y");
    assert!(refused.stderr.contains("--annotate"), "{}", refused.stderr);
}
