//! Killed at any moment, the same command continues and ends with the same bytes.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use dataprep::base::rng::Stream;

use crate::{
    determinism::{recipe_with_training, with_recipe},
    support::TestDir,
};

/// Kills after a random part of `whole`, the time of an undisturbed run, until the command ends by
/// itself. Later attempts get more time, so that the test ends.
fn run_with_kills(directory: &TestDir, whole: Duration, seed: u64, interrupt: bool) -> usize {
    let mut stream = Stream::new(seed, "moments of killing");
    for kills in 0.. {
        let mut child = directory.spawn("run recipe.toml --threads 2");
        thread::sleep(whole.mul_f64(stream.uniform() / 4.0 + kills as f64 / 16.0));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return kills;
        }
        if interrupt {
            let id = child.id().to_string();
            Command::new("kill").args(["-INT", &id]).status().unwrap();
        } else {
            child.kill().unwrap();
        }
        if child.wait().unwrap().success() {
            return kills; // it ended just before
        }
    }
    unreachable!("counts for ever")
}

/// A directory in which the recipe ran undisturbed, and how long that took.
fn undisturbed() -> (TestDir, Duration) {
    let directory = with_recipe(&recipe_with_training());
    let start = Instant::now();
    directory.dataprep("run recipe.toml --threads 2").ok();
    (directory, start.elapsed())
}

#[test]
fn killed_at_random_moments_the_whole_path_ends_with_the_same_bytes() {
    let (whole, duration) = undisturbed();
    let expected = whole.tree("runs");
    for seed in [1, 2] {
        let killed = with_recipe(&recipe_with_training());
        let kills = run_with_kills(&killed, duration, seed, false);
        assert!(kills >= 1, "never killed");
        assert_eq!(killed.tree("runs"), expected);
    }
}

#[test]
fn interrupted_it_keeps_what_is_finished_and_continues() {
    let (whole, duration) = undisturbed();
    let interrupted = with_recipe(&recipe_with_training());
    let stops = run_with_kills(&interrupted, duration, 3, true);
    assert!(stops >= 1, "never interrupted");
    assert_eq!(interrupted.tree("runs"), whole.tree("runs"));
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let directory = with_recipe(&recipe_with_training());
    directory.dataprep("run recipe.toml").ok();
    let before = directory.tree("runs");
    let again = directory.dataprep("run recipe.toml").ok();
    assert_eq!(again.stdout.matches("up to date").count(), 6, "{}", again.stdout);
    assert_eq!(directory.tree("runs"), before);
}

#[test]
fn a_changed_input_is_seen_whatever_its_size_says() {
    let directory = with_recipe(&recipe_with_training());
    directory.dataprep("ingest text/b.jsonl --out corpus").ok();
    // Big enough that the identity's three samples miss the change; the ranges do not.
    let text = directory.read("text/b.jsonl");
    let middle = text.len() / 3;
    let changed = text[..middle].to_owned() + "Z" + &text[middle + 1..];
    directory.write("text/b.jsonl", changed);
    let again = directory.dataprep("ingest text/b.jsonl --out corpus --fresh").ok();
    assert!(!again.stdout.contains("up to date"), "{}", again.stdout);
}

#[test]
fn another_config_is_refused_by_a_bare_stage_and_replaces_with_fresh() {
    let directory = with_recipe(&recipe_with_training());
    directory.dataprep("dedup text/a --out unique").ok();
    let before = directory.tree("unique");
    let refused = directory.dataprep("dedup text/a --out unique --verify 0.5");
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("hint:") && refused.stderr.contains("--fresh"));
    assert_eq!(directory.tree("unique"), before);
    directory.dataprep("dedup text/a --out unique --verify 0.5 --fresh").ok();
    assert_ne!(directory.tree("unique"), before);
}

#[test]
fn two_commands_on_one_output_do_not_meet() {
    let directory = with_recipe(&recipe_with_training());
    std::fs::create_dir_all(directory.path("unique.partial")).unwrap();
    let lock = dataprep::base::lock::Lock::take(
        &directory.path("unique.partial/lock"),
        &directory.path("unique"),
    )
    .unwrap();
    let refused = directory.dataprep("dedup text/a --out unique");
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("another dataprep is working on `unique`"));
    drop(lock);
    directory.dataprep("dedup text/a --out unique").ok();
}

#[test]
fn a_folder_that_is_no_artifact_is_never_replaced() {
    let directory = with_recipe(&recipe_with_training());
    directory.write("mine/letter.txt", "not yours");
    for flags in ["", "--fresh"] {
        let refused = directory.dataprep(&format!("dedup text/a --out mine {flags}"));
        assert_eq!(refused.status, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains("is no artifact"), "{}", refused.stderr);
        assert_eq!(directory.read("mine/letter.txt"), "not yours");
        assert!(!directory.path("mine.partial").exists());
    }
}
