//! Inputs as people really have them, through the command line: huge lines, trees of text, data
//! beside prose, names that no shell can type.

use std::io::Write;

use crate::support::{Run, TestDir, documents, project};

/// A zstd stream of `parts`, the second of which is repeated `times` times.
fn stretched(parts: [&str; 3], times: usize) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let middle = parts[1].repeat(1 << 20);
    encoder.write_all(parts[0].as_bytes()).unwrap();
    for _ in 0..times {
        encoder.write_all(middle.as_bytes()).unwrap();
    }
    encoder.write_all(parts[2].as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Runs a command to its end; its peak memory in bytes, where the system tells.
fn run_watched(directory: &TestDir, arguments: &str) -> (Run, Option<u64>) {
    let mut command = directory.command(arguments);
    let (out, err) = (directory.path("stdout"), directory.path("stderr"));
    command.stdout(std::fs::File::create(&out).unwrap());
    command.stderr(std::fs::File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = None;
    let status = loop {
        let now = std::fs::read_to_string(&status_file).unwrap_or_default();
        let line = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = kib.map(|kib| kib << 10).or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status.code().unwrap_or(-1);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let [stdout, stderr] = [out, err].map(|path| std::fs::read_to_string(path).unwrap());
    (Run { status, stdout, stderr }, peak)
}

#[test]
fn a_gigabyte_in_one_record_is_refused_with_its_place_and_never_held() {
    // `max_document_bytes` is 128 MiB, of which a buffer holds one document at most.
    const MEMORY_MAX: u64 = 256 << 20;
    for (name, parts, times, place) in [
        (
            "a.jsonl.zst",
            ["{\"text\":\"a\"}\n{\"text\":\"", "x", "\"}\n{\"text\":\"b\"}\n"],
            1024,
            13,
        ),
        ("b.json.zst", ["[{\"text\":\"a\"},{\"text\":\"", "x", "\"},\n{\"text\":\"b\"}]"], 300, 14),
        ("c.csv.zst", ["text\na\n\"", "x", "\"\nb\n"], 300, 7),
        ("d.txt.zst", ["a\n=\n", "x", "\n=\nb\n"], 300, 3),
    ] {
        let directory = TestDir::new();
        directory.write(name, stretched(parts, times));
        let command = format!("ingest {name} --out o --holdout 0 --threads 1 --separator =");
        let (run, peak) = run_watched(&directory, &command);
        let run = run.ok();
        assert!(run.stdout.contains("2 documents"), "{name}: {}", run.stdout);
        let rejects = directory.read("o/rejects-00000.jsonl");
        let listed: serde_json::Value = serde_json::from_str(&rejects).unwrap();
        assert_eq!(
            (&listed["reason"], &listed["offset"]),
            (&"document_too_large".into(), &place.into())
        );
        assert!(peak.is_none_or(|peak| peak < MEMORY_MAX), "{name}: {peak:?}");
    }
}

#[test]
fn a_document_of_a_hundred_megabytes_is_kept() {
    let directory = TestDir::new();
    let text = "words ";
    directory.write("a.jsonl.zst", stretched(["{\"text\":\"", text, "\"}\n"], 17));
    directory.write("b.md.zst", stretched(["# ", text, ""], 17));
    for (name, bytes) in [("a.jsonl.zst", 102 << 20), ("b.md.zst", (102 << 20) + 2)] {
        let out = name.replace('.', "_");
        let run = directory.dataprep(&format!("ingest {name} --out {out} --holdout 0 --json")).ok();
        let sources = &run.summary()["counts"]["sources"];
        let counts = sources.as_object().unwrap().values().next().unwrap();
        assert_eq!((&counts["out"], &counts["bytes_in"]), (&1.into(), &bytes.into()), "{counts}");
    }
}

#[test]
fn a_tree_of_text_is_read_and_prose_beside_data_is_not() {
    let directory = TestDir::new();
    let texts = documents(6, 1);
    for (index, text) in texts.iter().enumerate() {
        let ending = ["md", "txt", "rst"][index % 3];
        directory.write(&format!("docs/part{}/{index}.{ending}", index % 2), text);
    }
    let run = directory.dataprep("ingest docs --out a --holdout 0 --threads 1").ok();
    assert!(run.stdout.contains("6 documents"), "{}", run.stdout);
    directory.dataprep("ingest docs --out b --holdout 0 --threads 2").ok();
    assert_eq!(directory.tree("a"), directory.tree("b"));
    let found = directory.dataprep("inspect docs --where \"file_path LIKE 'part1/%'\"");
    assert!(found.status == 0 || found.stderr.contains("LIKE"), "{}", found.stderr);
    // A data set with a README, a licence and settings beside it.
    directory.write_documents("set/data/a.jsonl", &documents(5, 2));
    directory.write("set/README.md", "# A data set\n");
    directory.write("set/LICENSE.txt", "Do what you like.\n");
    directory.write("set/dataset_info.json", "{\"features\": {}}\n");
    let run = directory.dataprep("ingest set --out c --holdout 0").ok();
    assert!(run.stdout.contains("5 documents"), "{}", run.stdout);
    for name in ["2 of text beside data: LICENSE.txt, README.md", "dataset_info.json"] {
        assert!(run.stderr.contains(name), "{}", run.stderr);
    }
    directory.dataprep("ingest set/README.md --out d --holdout 0").ok();
}

#[test]
fn a_folder_of_datasets_is_read_as_it_saved_it() {
    let directory = TestDir::new();
    let fixtures = project().join("fixtures/source/formats");
    for part in 0..2 {
        let name = format!("saved/train/data-{part:05}-of-00002.arrow");
        directory.copy(&fixtures.join("stream.arrow"), &name);
    }
    directory.copy(&fixtures.join("stream.arrow"), "saved/train/cache-0123456789abcdef.arrow");
    directory.write("saved/train/state.json", "{\"_data_files\": [], \"_split\": \"train\"}");
    directory.write("saved/train/dataset_info.json", "{\"features\": {\"text\": {\"dtype\": 1}}}");
    directory.write("saved/dataset_dict.json", "{\"splits\": [\"train\"]}");
    let run = directory.dataprep("ingest saved --out o --holdout 0 --threads 1").ok();
    assert!(run.stdout.contains("80 documents"), "{}", run.stdout);
    for name in ["cache-0123456789abcdef.arrow", "state.json", "dataset_dict.json"] {
        assert!(run.stderr.contains(name), "{}", run.stderr);
    }
    directory.dataprep("ingest saved --out p --holdout 0 --threads 2").ok();
    assert_eq!(directory.tree("o"), directory.tree("p"));
    directory.dataprep("verify o").ok();
}

#[test]
fn a_separator_and_a_template_are_typed_as_a_shell_allows() {
    let directory = TestDir::new();
    directory.write("a.txt", "one\n\n\ntwo\ntwo\n\n\n\nthree\n");
    let run =
        directory.command("ingest a.txt --out o --holdout 0 --separator").arg(r"\n\n\n").output();
    let said = String::from_utf8(run.unwrap().stdout).unwrap();
    assert!(said.contains("3 documents"), "{said}");
    let chat = r#"{"chat":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}"#;
    directory.write("c.jsonl", format!("{chat}\n"));
    let mut command =
        directory.command("ingest c.jsonl --out p --holdout 0 --text-column chat --set");
    command.arg("message_template=\"{content}\"");
    assert!(command.status().unwrap().success());
    let refused = directory
        .dataprep("ingest c.jsonl --out q --text-column chat --set message_template=\"{role}\"");
    assert_eq!(refused.status, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("`message_template` names no `{content}`"),
        "{}",
        refused.stderr
    );
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_utf_8_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let directory = TestDir::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.jsonl");
    std::fs::write(directory.path(".").join(name), "{\"text\":\"a\"}\n").unwrap();
    let output = directory.command("ingest --out o").arg(name).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(r"`caf\xe9.jsonl` is not UTF-8"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
