//! Killed at any moment, the same command continues and ends with the same bytes.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use dataprep::base::rng::Stream;

use crate::{
    determinism::{whole_recipe, with_recipe},
    support::{TestDir, documents},
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
    let directory = with_recipe(&whole_recipe());
    let start = Instant::now();
    directory.dataprep("run recipe.toml --threads 2").ok();
    (directory, start.elapsed())
}

#[test]
fn killed_at_random_moments_the_whole_path_ends_with_the_same_bytes() {
    let (whole, duration) = undisturbed();
    let expected = whole.tree("runs");
    for seed in [1, 2] {
        let killed = with_recipe(&whole_recipe());
        let kills = run_with_kills(&killed, duration, seed, false);
        assert!(kills >= 1, "never killed");
        assert_eq!(killed.tree("runs"), expected);
    }
}

#[test]
fn interrupted_it_keeps_what_is_finished_and_continues() {
    let (whole, duration) = undisturbed();
    let interrupted = with_recipe(&whole_recipe());
    let stops = run_with_kills(&interrupted, duration, 3, true);
    assert!(stops >= 1, "never interrupted");
    assert_eq!(interrupted.tree("runs"), whole.tree("runs"));
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let directory = with_recipe(&whole_recipe());
    directory.dataprep("run recipe.toml").ok();
    let before = directory.tree("runs");
    let again = directory.dataprep("run recipe.toml").ok();
    let steps = whole_recipe().matches("[[step]]").count();
    assert_eq!(again.stdout.matches("up to date").count(), steps, "{}", again.stdout);
    assert_eq!(directory.tree("runs"), before);
}

/// Bytes that the identity of a file of this size leaves out: it samples the first, the middle and
/// the last 64 KiB.
const UNSAMPLED: usize = 100 << 10;

#[test]
fn a_change_between_the_sampled_bytes_of_an_input_is_seen() {
    let directory = TestDir::new();
    directory.write_documents("text.jsonl", &documents(500, 4));
    let text = directory.read("text.jsonl");
    assert!(text.len() > 4 * UNSAMPLED, "{} bytes are hashed whole", text.len());
    let ingest = || directory.dataprep("ingest text.jsonl --out corpus").ok().stdout;
    assert!(!ingest().contains("up to date"));
    let before = directory.tree("corpus");

    // Written again with the same bytes, its time alone is another one.
    directory.write("text.jsonl", &text);
    let again = ingest();
    assert!(again.contains("up to date"), "{again}");

    let place = UNSAMPLED + text[UNSAMPLED..].find(|c: char| c.is_ascii_lowercase()).unwrap();
    let other = if &text[place..place + 1] == "z" { "y" } else { "z" };
    directory.write("text.jsonl", text[..place].to_owned() + other + &text[place + 1..]);
    let changed = ingest();
    assert!(!changed.contains("up to date"), "{changed}");
    assert_ne!(directory.tree("corpus"), before);
}

#[test]
fn another_config_is_refused_by_a_bare_stage_and_replaces_with_fresh() {
    let directory = with_recipe(&whole_recipe());
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
    let directory = with_recipe(&whole_recipe());
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
    let directory = with_recipe(&whole_recipe());
    directory.write("mine/letter.txt", "not yours");
    for flags in ["", "--fresh"] {
        let refused = directory.dataprep(&format!("dedup text/a --out mine {flags}"));
        assert_eq!(refused.status, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains("is no artifact"), "{}", refused.stderr);
        assert_eq!(directory.read("mine/letter.txt"), "not yours");
        assert!(!directory.path("mine.partial").exists());
    }
}
