//! What is written: never an input, never what somebody else wrote, and only what can be finished.

use std::os::unix::fs::symlink;

use crate::support::{Run, TestDir, documents};

fn refused(run: &Run, what: &str) {
    assert_eq!(run.status, 2, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(what), "{}", run.stderr);
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
}

fn corpus() -> TestDir {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(30, 1));
    directory.dataprep("ingest text --out corpus --holdout 0").ok();
    directory
}

#[test]
fn an_output_is_never_an_input_whatever_it_is_called() {
    let directory = corpus();
    let before = directory.tree("corpus");
    symlink(directory.path("corpus"), directory.path("alias")).unwrap();
    for out in ["corpus", "./corpus/", "alias", "text/../corpus"] {
        for extra in ["", " --fresh", " --dry-run"] {
            let run = directory.dataprep(&format!("dedup corpus --out {out}{extra}"));
            refused(&run, "is the input");
        }
    }
    refused(&directory.dataprep("dedup corpus --out corpus/unique"), "lies in the input");
    refused(&directory.dataprep("ingest text --out text/clean"), "lies in the input");
    refused(&directory.dataprep("ingest text/a.jsonl --out text"), "holds the input");
    assert_eq!(directory.tree("corpus"), before);
    assert!(!directory.path("corpus.partial").exists() && !directory.path("text.partial").exists());
}

#[test]
fn an_output_that_is_a_link_is_written_where_it_leads() {
    let directory = corpus();
    std::fs::create_dir_all(directory.path("disk/unique")).unwrap();
    symlink("disk/unique", directory.path("unique")).unwrap();
    directory.dataprep("dedup corpus --out unique").ok();
    assert!(directory.path("unique").is_symlink());
    assert!(directory.path("disk/unique/manifest.json").is_file());
    assert!(directory.dataprep("dedup corpus --out unique").ok().stdout.contains("up to date"));
    symlink("nowhere", directory.path("dangling")).unwrap();
    refused(&directory.dataprep("dedup corpus --out dangling"), "a link to nothing");
    refused(&directory.dataprep("dedup corpus --out text/a.jsonl"), "is a file");
}

#[cfg(unix)]
#[test]
fn an_output_whose_name_is_no_text_is_refused_before_the_work() {
    use std::os::unix::ffi::OsStrExt;
    let directory = corpus();
    let mut command = directory.command("dedup corpus --out");
    command.arg(std::ffi::OsStr::from_bytes(b"o\xe9"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no UTF-8"));
}

#[test]
fn a_file_that_another_wrote_is_not_written_over() {
    let directory = corpus();
    directory.dataprep("tokenizer train corpus --out vocabulary --vocab 300").ok();
    let text = directory.read("text/a.jsonl");
    let export = "tokenizer export vocabulary --format tiktoken --out";
    refused(&directory.dataprep(&format!("{export} text/a.jsonl")), "exists");
    let own = "tokenizer export vocabulary/tokenizer.json --format tiktoken --fresh --out";
    refused(&directory.dataprep(&format!("{own} vocabulary/tokenizer.json")), "is the input");
    let fit = "inspect vocabulary --on text/a.jsonl --picture";
    refused(&directory.dataprep(&format!("{fit} text/a.jsonl --fresh")), "is the input");
    refused(&directory.dataprep(&format!("{fit} corpus/part-00000.parquet")), "exists");
    directory.dataprep(&format!("{fit} fit.svg")).ok();
    directory.dataprep(&format!("{fit} fit.svg")).ok();
    directory.dataprep("filter corpus --out kept --rules gopher_quality").ok();
    refused(&directory.dataprep("inspect kept --html text/a.jsonl"), "exists");
    refused(&directory.dataprep("inspect kept --html kept/page.html"), "lies in the input");
    directory.dataprep("inspect kept --html page.html").ok();
    directory.dataprep("inspect kept --html page.html").ok();
    assert_eq!(directory.read("text/a.jsonl"), text);
    assert!(directory.dataprep("verify vocabulary").ok().stdout.contains("all as written"));
}

#[test]
fn a_command_that_was_mended_needs_no_other_change() {
    let directory = TestDir::new();
    let line = |text: &String| serde_json::json!({ "content": text }).to_string() + "\n";
    directory.write("a.jsonl", documents(30, 1).iter().map(line).collect::<String>());
    let failed = directory.dataprep("ingest a.jsonl --out out --holdout 0");
    assert_ne!(failed.status, 0);
    directory.dataprep("ingest a.jsonl --out out --holdout 0 --text-column content").ok();
}

#[test]
fn half_of_another_run_is_kept_until_it_is_discarded() {
    let directory = corpus();
    let recipe = "ingest text --out out --holdout 0 --set unit_bytes=1KiB";
    // As a kill leaves it: a plan, and a finished unit.
    directory.dataprep(recipe).ok();
    std::fs::create_dir_all(directory.path("out.partial/units/000000")).unwrap();
    directory.write("out.partial/plan.json", r#"{"fingerprint":"another"}"#);
    std::fs::remove_dir_all(directory.path("out")).unwrap();
    let run = directory.dataprep(recipe);
    refused(&run, "1 finished units of a run with other inputs or config");
    assert!(run.stderr.contains("--fresh"), "{}", run.stderr);
    directory.dataprep(&format!("{recipe} --fresh")).ok();
}

#[test]
fn a_full_disk_behind_stdout_is_a_failure() {
    let directory = corpus();
    for arguments in ["--json inspect corpus", "inspect corpus", "filter --list"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = directory.command(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("cannot write"), "{arguments}: {stderr}");
    }
}
