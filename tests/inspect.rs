//! `inspect` and `verify` of whatever a person points them at: raw files, parts, work half done.

use crate::support::TestDir;

fn documents(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("Document number {n} of a small text about rivers.")).collect()
}

#[test]
fn raw_files_are_shown_as_what_they_are() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(30));
    directory.write("text/notes.xyz", "no text of ours");
    for path in ["text", "text/a.jsonl"] {
        let run = directory.dataprep(&format!("inspect {path}")).ok();
        assert!(run.stdout.contains("raw files") && run.stdout.contains("ingest"), "{run:?}");
        let report = directory.dataprep(&format!("inspect {path} --json")).ok().summary();
        assert_eq!(report["columns"][0]["name"], "metadata", "{report:#}");
    }
    let run = directory.dataprep("inspect text").ok();
    assert!(run.stdout.contains("of no known format: notes.xyz"), "{}", run.stdout);
    // A column that no condition names cannot stand in the way.
    directory.write("mixed/a.jsonl", "{\"text\": \"one\", \"n\": 1}\n");
    directory.dataprep("inspect mixed").ok();
}

#[test]
fn what_is_no_artifact_is_named_with_what_to_do() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(30));
    directory.dataprep("ingest text --out corpus").ok();
    directory.write("run/checkpoints/step-000500/state.json", "{}");
    let hints = [
        ("inspect nothere", "there is nothing at"),
        ("verify nothere", "there is nothing at"),
        ("verify text", "is no artifact"),
        ("inspect corpus/part-00000.parquet", "name the directory: `corpus`"),
        ("verify run/checkpoints/step-000500", "the checkpoint of step 500 of a run"),
        ("verify run/checkpoints/step-000500", "dataprep generate run --step 500"),
        // What nothing would read is no option.
        ("inspect corpus --price-per-hour 2", "it has no price"),
        ("inspect corpus --sequence 8", "`--row 0`"),
        ("inspect corpus --text-column body", "an artifact knows its columns"),
    ];
    for (command, expected) in hints {
        let run = directory.dataprep(command);
        assert_eq!(run.status, 2, "{command}\n{}", run.stderr);
        assert!(run.stderr.contains(expected), "{command}\n{}", run.stderr);
        assert!(!run.stderr.contains("interrupted"), "{command}\n{}", run.stderr);
    }
}

#[test]
#[cfg(feature = "train")]
fn a_model_of_other_tools_is_said_to_be_one() {
    let directory = TestDir::new();
    directory.copy(&crate::support::project().join("fixtures/evals/model"), "model");
    let run = directory.dataprep("inspect model");
    let said = ["`model` is a model", "--prompt TEXT"].map(|part| run.stderr.contains(part));
    assert!(run.status == 2 && said == [true; 2], "{}", run.stderr);
}

#[test]
fn work_half_done_says_how_far_it_is_and_what_finishes_it() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(300));
    directory.write("text/b.parquet", "damaged");
    // The damaged file stops the stage; what else there is, is finished.
    let command = "ingest text --out corpus --set unit_bytes=4KiB";
    assert_eq!(directory.dataprep(command).status, 1);
    let run = directory.dataprep("inspect corpus.partial").ok();
    for expected in ["`corpus` on its way, made by `ingest`", "units are finished", "continues it"]
    {
        assert!(run.stdout.contains(expected), "{expected}\n{}", run.stdout);
    }
    let report = directory.dataprep("inspect corpus.partial --json").ok().summary();
    let phase = &report["phases"][0];
    assert_eq!(phase["finished"].as_u64(), phase["units"].as_u64().map(|units| units - 1));
    for command in ["inspect corpus", "verify corpus"] {
        let run = directory.dataprep(command);
        assert!(run.stderr.contains("`corpus` is not finished"), "{}", run.stderr);
        assert!(run.stderr.contains("dataprep inspect corpus.partial"), "{}", run.stderr);
    }
}

#[test]
fn a_tokenizer_inside_shards_finds_what_it_was_trained_on() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(200));
    directory.dataprep("ingest text --out runs/corpus").ok();
    directory.dataprep("tokenize runs/corpus --vocab 300 --out runs/tokens").ok();
    // Also where all of it has moved.
    std::fs::rename(directory.path("runs"), directory.path("moved")).unwrap();
    for artifact in ["moved/tokens", "moved/tokens/tokenizer"] {
        let run = directory.dataprep(&format!("verify {artifact}")).ok();
        assert!(!run.stdout.contains("gone"), "{artifact}: {}", run.stdout);
        assert!(!run.stdout.contains("dataprep-first"), "{artifact}: {}", run.stdout);
        assert!(run.stdout.contains("all as written"), "{artifact}: {}", run.stdout);
    }
}

#[test]
fn a_classifier_is_shown_with_its_report() {
    let directory = TestDir::new();
    directory.write_documents("a/a.jsonl", &documents(60));
    let others: Vec<String> = (0..60).map(|n| format!("buy {n} cheap shoes")).collect();
    directory.write_documents("b/b.jsonl", &others);
    let train = "classifier train --positive a --negative b --set buckets=1000 --dimensions 4";
    directory.dataprep(&format!("{train} --out model")).ok();
    let run = directory.dataprep("inspect model").ok();
    assert!(run.stdout.contains("area under curve"), "{}", run.stdout);
}
