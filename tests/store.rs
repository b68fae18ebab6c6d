//! Nothing finished is lost or made twice: what a recipe replaces is kept, and current again when
//! it is asked for again.

use std::fs;

use dataprep::artifact::manifest::Manifest;
use serde_json::json;

use crate::{
    determinism::{whole_recipe, with_recipe},
    support::TestDir,
};

const OTHER: &str = "--set clean.gopher_quality.min_words=70";

/// The outputs in the store, by name.
fn kept(directory: &TestDir) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory.path("runs/.store")) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn going_back_is_up_to_date_for_every_step_and_back_again() {
    let directory = with_recipe(&whole_recipe());
    let run = |set: &str| directory.dataprep(&format!("run recipe.toml {set}")).ok();
    let steps = whole_recipe().matches("[[step]]").count();
    run("");
    let first = directory.tree("runs");
    run(OTHER);
    let second = directory.tree("runs");
    // All but the corpus have another fingerprint now; a run lies beside.
    let trains = usize::from(cfg!(feature = "train"));
    assert_eq!(kept(&directory).len(), steps - 1 - trains, "{:?}", kept(&directory));
    let current = |tree: &std::collections::BTreeMap<String, String>| {
        let is_current = |name: &&String| !name.starts_with(".store/") && !name.contains('@');
        tree.iter()
            .filter(|(name, _)| is_current(name))
            .map(|(name, hash)| (name.clone(), hash.clone()))
            .collect::<Vec<_>>()
    };
    assert_ne!(current(&first), current(&second));
    // A dry run says what comes back, and of what reads it that nothing is known yet.
    let dry = directory.dataprep("run recipe.toml --dry-run --json").ok().summary();
    assert_eq!((&dry["comes_back"], &dry["will_run"]), (&json!(["clean"]), &json!([])));
    assert_eq!(dry["not_known"].as_array().map(Vec::len), Some(steps - 2), "{dry}");
    let dry = directory.dataprep("run recipe.toml --dry-run").ok().stdout;
    assert!(dry.contains("is looked at once clean is current again"), "{dry}");
    for (set, expected) in [("", &first), (OTHER, &second), ("", &first)] {
        let back = run(set);
        let up_to_date = back.stdout.matches("up to date").count();
        assert_eq!(up_to_date, steps, "{set}: {}\n{}", back.stdout, back.stderr);
        assert_eq!(current(&directory.tree("runs")), current(expected), "{set}");
        let again = run(set);
        assert_eq!(again.stdout.matches("up to date").count(), steps, "{}", again.stdout);
    }
    directory.dataprep("verify runs/mix").ok();
}

#[test]
fn what_a_kill_left_between_two_renames_is_found() {
    let directory = with_recipe(crate::determinism::RECIPE);
    let run = |set: &str| directory.dataprep(&format!("run recipe.toml {set}")).ok();
    run("");
    let clean = directory.tree("runs/clean");
    run(OTHER);
    let name = kept(&directory).into_iter().find(|name| name.starts_with("clean@")).unwrap();
    let stored = directory.path(&format!("runs/.store/{name}"));
    // Killed behind the exchange: the old output lies where the new one was made.
    fs::create_dir_all(directory.path("runs/clean.partial")).unwrap();
    fs::rename(&stored, directory.path("runs/clean.partial/publish")).unwrap();
    let back = run("");
    assert_eq!(back.stdout.matches("up to date").count(), 5, "{}", back.stdout);
    assert_eq!(directory.tree("runs/clean"), clean);
    // Killed between the two renames of a way back: OUT is gone, both lie in the store.
    let place = directory.path("runs/.store/clean@killed");
    fs::rename(directory.path("runs/clean"), place).unwrap();
    let back = run("");
    assert_eq!(back.stdout.matches("up to date").count(), 5, "{}", back.stdout);
    assert_eq!(directory.tree("runs/clean"), clean);
}

/// Cuts the last byte off a part of an output.
fn cut(directory: &TestDir, output: &str) {
    let manifest = Manifest::read(&directory.path(output)).unwrap();
    let largest = manifest.files.iter().max_by_key(|file| file.bytes).unwrap();
    let name = format!("{output}/{}", largest.name);
    let bytes = fs::read(directory.path(&name)).unwrap();
    fs::remove_file(directory.path(&name)).unwrap();
    directory.write(&name, &bytes[..bytes.len() - 1]);
}

#[test]
fn of_two_outputs_of_one_fingerprint_the_whole_one_stays() {
    let directory = with_recipe(crate::determinism::RECIPE);
    let run = |set: &str| directory.dataprep(&format!("run recipe.toml {set}")).ok();
    run("");
    let clean = directory.tree("runs/clean");
    let manifest = Manifest::read(&directory.path("runs/clean")).unwrap();
    let stored = format!("runs/.store/clean@{}", manifest.fingerprint.short());
    let is_back = |said: &str| {
        assert_eq!(run("").stdout.matches("up to date").count(), 5, "{said}");
        assert_eq!(directory.tree("runs/clean"), clean, "{said}");
    };
    directory.copy(&directory.path("runs/clean"), &stored);
    cut(&directory, "runs/clean");
    is_back("OUT is damaged, and the store has it");
    run(OTHER);
    directory.copy(&directory.path(&stored), "runs/clean.partial/publish");
    cut(&directory, "runs/clean.partial/publish");
    is_back("what a kill left is damaged, and the store has it");
}

#[test]
fn any_command_keeps_what_a_killed_run_was_about_to_keep() {
    let directory = with_recipe(crate::determinism::RECIPE);
    directory.dataprep("run recipe.toml").ok();
    directory.dataprep(&format!("run recipe.toml {OTHER}")).ok();
    let before = kept(&directory);
    let name = before.iter().find(|name| name.starts_with("clean@")).unwrap();
    fs::create_dir_all(directory.path("runs/clean.partial")).unwrap();
    let stored = directory.path(&format!("runs/.store/{name}"));
    fs::rename(stored, directory.path("runs/clean.partial/publish")).unwrap();
    directory.dataprep("ingest b=text/b.jsonl --out runs/clean --fresh").ok();
    assert!(kept(&directory).contains(name), "{:?}", kept(&directory));
}

#[test]
fn what_was_made_from_an_output_in_the_store_finds_it_there() {
    let directory = with_recipe(crate::determinism::RECIPE);
    directory.dataprep("run recipe.toml").ok();
    directory.dataprep("mix a=runs/tokens#a:1 --tokens 4k --out runs/own").ok();
    directory.dataprep("export runs/own --to numpy --out before").ok();
    directory.dataprep(&format!("run recipe.toml {OTHER}")).ok();
    let own = directory.path("runs/own");
    let lineage = dataprep::lineage::read(&own).unwrap();
    let lost: Vec<&str> =
        lineage.nodes.iter().filter(|it| it.place.is_none()).map(|it| it.name.as_str()).collect();
    assert!(lineage.nodes.len() >= 5 && lost.is_empty(), "{lost:?}");
    let manifest = Manifest::read(&own).unwrap();
    let chain = dataprep::report::chain::upstream(&own, &manifest);
    assert!(chain.iter().any(|link| link.name == "clean"), "{}", chain.len());
    directory.dataprep("export runs/own --to numpy --out after").ok();
    let stream = |folder: &str| fs::read(directory.path(&format!("{folder}/train.npy"))).unwrap();
    assert_eq!(stream("before"), stream("after"));
}

#[test]
fn gc_lists_what_is_unused_and_removes_it_only_when_told() {
    let directory = with_recipe(&whole_recipe());
    directory.dataprep("run recipe.toml").ok();
    // A name that a person chose.
    directory.dataprep("ingest b=text/b.jsonl --out runs/wiki@2024").ok();
    assert!(directory.dataprep("gc runs").ok().stdout.contains("nothing in `runs` is unused"));
    directory.dataprep(&format!("run recipe.toml {OTHER}")).ok();
    let before = directory.tree("runs");
    let listed = directory.dataprep("gc recipe.toml").ok().stdout;
    assert!(listed.contains("clean@") && listed.contains("`--yes` removes"), "{listed}");
    directory.dataprep("gc recipe.toml --yes --dry-run").ok();
    assert_eq!(directory.tree("runs"), before);
    let current = Manifest::read(&directory.path("runs/mix")).unwrap();
    directory.dataprep("gc recipe.toml --yes").ok();
    assert!(kept(&directory).is_empty());
    assert_eq!(Manifest::read(&directory.path("runs/mix")).unwrap(), current);
    if cfg!(feature = "train") {
        let aside = || {
            let names = fs::read_dir(directory.path("runs")).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with("model@")).count()
        };
        assert_eq!(aside(), 1, "a run goes only with `--runs`");
        directory.dataprep("gc recipe.toml --yes --runs").ok();
        assert_eq!(aside(), 0);
    }
    let again = directory.dataprep(&format!("run recipe.toml {OTHER}")).ok();
    assert!(!again.stdout.contains(" s\n"), "everything current stands: {}", again.stdout);
}

/// What an unfinished run was made from is needed to continue it.
#[cfg(feature = "train")]
#[test]
fn what_an_unfinished_run_reads_stays() {
    let directory = with_recipe(crate::determinism::RECIPE);
    directory.dataprep("run recipe.toml").ok();
    let model = "--set model.d_model=8 --set model.n_layer=1 --set model.n_head=2 \
                 --set model.n_kv_head=1 --set model.d_ff=16 --set train.steps=4 \
                 --set train.batch_tokens=128 --set train.micro_batch=2 --set train.sequence=64 \
                 --stop-after 2";
    directory.dataprep(&format!("train --data runs/mix --out runs/model {model}")).ok();
    directory.dataprep(&format!("run recipe.toml {OTHER}")).ok();
    // A run of an earlier build, which does not tell what its mix was made from.
    let text = directory.read("runs/model/manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    manifest.as_object_mut().unwrap().remove("ancestry").unwrap();
    directory.write("runs/model/manifest.json", manifest.to_string());
    let listed = directory.dataprep("gc recipe.toml --yes").ok().stdout;
    assert!(listed.contains("stays (`model` goes on from it)"), "{listed}");
    for needed in ["mix@", "tokens@", "unique@", "clean@"] {
        assert!(kept(&directory).iter().any(|name| name.starts_with(needed)), "{needed}");
    }
}
