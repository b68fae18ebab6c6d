//! Remote inputs through the command line, against a Hub on loopback: the same bytes as from the
//! disk, by few requests, at one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::support::hub::{Fault, HubServer, Seen};
#[cfg(feature = "cloud")]
use crate::support::objects::Asked;
use crate::support::objects::ObjectServer;
use crate::support::{Run, TestDir, documents};

const REPO: &str = "datasets/o/n";

/// A Parquet file of 100 row groups, of which the text is a small part.
fn wide_file(seed: u64) -> Vec<u8> {
    let texts = documents(400, seed);
    let mut stream = dataprep::base::rng::Stream::new(seed, "noise");
    let noise: Vec<String> = (0..400)
        .map(|_| (0..400).map(|_| format!("{:016x}", stream.next_u64())).collect())
        .collect();
    let ids: Vec<String> = (0..400).map(|row| format!("{seed}-{row}")).collect();
    let column = |values: &[String]| Arc::new(StringArray::from_iter_values(values)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("before", column(&noise)),
        ("text", column(&texts)),
        ("between", column(&noise)),
        ("id", column(&ids)),
    ]);
    let batch = batch.unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4)).build();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

fn jsonl(seed: u64) -> Vec<u8> {
    let line =
        |text: &String| serde_json::json!({ "text": text, "n": text.len() }).to_string() + "\n";
    documents(300, seed).iter().map(line).collect::<String>().into_bytes()
}

/// What the commands of these tests have in common; `home` keeps the Hub's cache here.
fn run(directory: &TestDir, hub: &HubServer, arguments: &str) -> Run {
    let mut command = directory.command(arguments);
    command.env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", directory.path("home"));
    for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The files that hold documents, by name.
fn parts(directory: &TestDir, out: &str) -> BTreeMap<String, String> {
    let mut files = directory.tree(out);
    files.retain(|name, _| name.ends_with(".parquet"));
    assert!(!files.is_empty(), "{out} has no documents");
    files
}

/// Requests for the bytes of one file, and how many bytes were sent.
fn fetched(seen: &[Seen], part: &str) -> (usize, u64) {
    let of = seen.iter().filter(|seen| seen.at_storage && seen.path.contains(part));
    (of.clone().count(), of.map(|seen| seen.sent).sum())
}

#[test]
fn remote_files_give_the_documents_sources_and_part_files_of_local_ones() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    let lines = jsonl(3);
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("data/a/0.parquet", wide_file(1)),
        ("data/a/1.parquet", wide_file(2)),
        ("data/b/plain.jsonl", lines.clone()),
        ("data/b/packed.jsonl.zst", zstd::stream::encode_all(&jsonl(4)[..], 3).unwrap()),
        ("data/b/meta.json", b"{\"not\": \"text\"}\n".to_vec()),
        ("data/_hidden/x.jsonl", lines),
        ("README.md", b"# a data set\n".to_vec()),
    ];
    for (name, bytes) in &files {
        directory.write(&format!("n/{name}"), bytes);
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    hub.commit(REPO, &files);
    for (name, input, options) in [
        ("whole", "data", "--set unit_bytes=40kB"),
        ("columns", "data/a", "--columns id --set unit_bytes=30kB"),
        ("pattern", "data/*/*.jsonl*", "--set limit_documents=350"),
        ("file", "data/a/1.parquet", "--where id='2-7'"),
    ] {
        let options = format!("{options} --holdout 0.1");
        run(&directory, &hub, &format!("ingest n/{input} --out here-{name} {options}")).ok();
        let there = format!("ingest hf://{REPO}/{input} --out there-{name} {options}");
        let said = run(&directory, &hub, &there).ok();
        let (here, there) = (format!("here-{name}"), format!("there-{name}"));
        assert_eq!(parts(&directory, &here), parts(&directory, &there), "{name}");
        let local = directory.read(&format!("{here}/manifest.json"));
        let remote = directory.read(&format!("{there}/manifest.json"));
        let counts =
            |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["counts"].clone();
        assert_eq!(counts(&local), counts(&remote));
        if name == "whole" {
            assert!(
                said.stderr.contains("_hidden/") && said.stderr.contains("meta.json"),
                "{said:?}"
            );
        }
        let report = run(&directory, &hub, &format!("verify {there}")).ok();
        assert!(report.stdout.contains("remote inputs by their hash"), "{report:?}");
    }
    // Every request for bytes asks for a range, and no credential is anywhere.
    let seen = hub.seen();
    let stored = seen.iter().filter(|seen| seen.at_storage);
    assert!(stored.clone().all(|seen| seen.range.is_some()));
    assert!(seen.iter().all(|seen| seen.credential.is_none()));
}

#[test]
fn a_filter_over_one_column_fetches_its_chunks_and_the_footer_alone() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    let file = wide_file(1);
    hub.commit(REPO, &[("0.parquet", &file)]);
    let command = format!("filter hf://{REPO} --rules gopher_quality --columns id --out kept");
    run(&directory, &hub, &command).ok();
    let (requests, bytes) = fetched(&hub.seen(), "/store/");
    let size = file.len() as u64;
    println!("{requests} requests, {bytes} of {size} bytes");
    // The footer in the plan and in the unit, then text and id of each of 100 row groups.
    assert!(requests <= 2 * 100 + 4, "{requests} requests");
    assert!(bytes * 5 < size, "{bytes} of {size} bytes");
    let again = run(&directory, &hub, &command).ok();
    assert!(
        again.stdout.contains("up to date") || again.stderr.contains("up to date"),
        "{again:?}"
    );
    // The plan's footer, which is longer than what is asked for first.
    assert_eq!(fetched(&hub.seen(), "/store/").0, requests + 2);
}

#[test]
fn a_commit_is_kept_until_it_is_asked_anew() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    let first = hub.commit(REPO, &[("a.jsonl", &jsonl(1))]);
    let command = format!("ingest hf://{REPO} --out kept");
    run(&directory, &hub, &command).ok();
    let manifest = |key: &str| {
        let manifest: serde_json::Value =
            serde_json::from_str(&directory.read("kept/manifest.json")).unwrap();
        manifest["inputs"][0]["remote"][key].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!((manifest("commit"), manifest("revision")), (first.clone(), "main".to_owned()));
    assert!(manifest("hash").starts_with("sha256:"));
    assert_eq!(manifest("address"), format!("hf://datasets/o/n@{first}/a.jsonl"));
    let second = hub.commit(REPO, &[("a.jsonl", &jsonl(2))]);
    let again = run(&directory, &hub, &command).ok();
    assert!(format!("{}{}", again.stdout, again.stderr).contains("up to date"), "{again:?}");
    let fresh = run(&directory, &hub, &format!("{command} --fresh")).ok();
    assert!(!fresh.stdout.contains("up to date"));
    assert_eq!(manifest("commit"), second);
    // Another one that is not asked for is not read, and its name is said where work is done.
    hub.commit(REPO, &[("a.jsonl", &jsonl(3))]);
    let more = run(&directory, &hub, &format!("{command} --set max_document_bytes=1MiB"));
    assert_eq!(more.status, 2, "another configuration, another OUT: {more:?}");
    let shown = run(&directory, &hub, &format!("{command} --dry-run --fresh")).ok();
    assert!(shown.stdout.contains("1 remote"), "{shown:?}");
}

#[test]
fn a_killed_run_asks_again_for_the_ranges_of_unfinished_units_alone() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    hub.commit(REPO, &[("0.parquet", &wide_file(1)), ("1.parquet", &wide_file(2))]);
    let options = "--columns id --set unit_bytes=20kB --threads 1 --out kept";
    let command = format!("ingest hf://{REPO} {options}");
    hub.fault(Fault::Late(5), "/store/", 400);
    let mut killed = directory.command(&command);
    killed.env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", directory.path("home"));
    let mut killed = killed.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let unit = |number: usize| directory.path(&format!("kept.partial/units/{number:06}/done.json"));
    while !unit(5).is_file() {
        assert!(killed.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let mut finished: BTreeSet<u64> = BTreeSet::new();
    for done in (0..).map(unit).take_while(|done| done.is_file()) {
        let done = std::fs::read_to_string(done).unwrap();
        let done: serde_json::Value = serde_json::from_str(&done).unwrap();
        let ranges = done["read"].as_array().unwrap().iter();
        finished.extend(
            ranges
                .filter(|range| range["file"] == "0.parquet")
                .map(|range| range["start"].as_u64().unwrap()),
        );
    }
    assert!(finished.len() > 10, "{finished:?}");
    let (before, first) = (hub.seen().len(), hub.seen());
    let first_file = first.iter().find(|seen| seen.at_storage).unwrap();
    run(&directory, &hub, &command).ok();
    let after = hub.seen().split_off(before);
    let again = after.iter().filter(|seen| seen.path == first_file.path);
    let again: Vec<u64> = again
        .filter_map(|seen| seen.range)
        .map(|range| range.0)
        .filter(|at| finished.contains(at))
        .collect();
    assert!(again.is_empty(), "{again:?} of finished units were fetched again");
    run(&directory, &hub, &command.replace("kept", "whole")).ok();
    assert_eq!(parts(&directory, "kept"), parts(&directory, "whole"));
}

#[test]
fn bytes_that_are_not_those_of_the_listing_are_damage_or_a_final_error() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    hub.commit(REPO, &[("0.parquet", &wide_file(1))]);
    let command = format!("ingest hf://{REPO} --columns id --out kept");
    hub.fault(Fault::Cut(10), "/store/", 2);
    hub.fault(Fault::Status(500), "/store/", 1);
    run(&directory, &hub, &command).ok();
    let whole = parts(&directory, "kept");
    hub.fault(Fault::Longer(7), "/store/", 1000);
    let failed = run(&directory, &hub, &format!("{command} --fresh"));
    assert!(failed.status != 0 && failed.stderr.contains("hf://datasets/o/n"), "{failed:?}");
    assert!(failed.stderr.contains("damaged file"), "{failed:?}");
    assert_eq!(parts(&directory, "kept"), whole);
}

#[test]
fn inspecting_an_address_reads_footers_alone() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    let file = wide_file(1);
    hub.commit(REPO, &[("0.parquet", &file), ("b.jsonl", &jsonl(1))]);
    let report = run(&directory, &hub, &format!("inspect hf://{REPO} --dry-run")).ok();
    assert!(report.stdout.contains("remote files"), "{report:?}");
    assert!(report.stdout.contains("column between"), "{report:?}");
    let (requests, bytes) = fetched(&hub.seen(), "/store/");
    assert!(requests <= 4 && bytes < 160 << 10, "{requests} requests, {bytes} bytes");
}

#[test]
fn what_cannot_be_read_there_is_refused_by_name() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats/2/tokens");
    let tokens = std::fs::read_to_string(kept.join("manifest.json")).unwrap();
    hub.commit(
        REPO,
        &[("a.jsonl", &jsonl(1)), ("x/run.json", b"{}"), ("x/manifest.json", tokens.as_bytes())],
    );
    directory.write("here.jsonl", jsonl(1));
    for (inputs, message, hint) in [
        ("hf://datasets/o/n", "belongs to an artifact", "name the artifact's own folder"),
        ("hf://datasets/o/n/x", "expected a corpus", "or raw files"),
        ("hf://datasets/o/n/*.parquet", "no such file or folder", "pattern"),
        ("w=here.jsonl w=hf://datasets/o/n/a.jsonl", "lies here and elsewhere", "two sources"),
        ("hf://datasets/o/n/a.jsonl hf://datasets/o/n@main/a.jsonl", "given twice", "once"),
        ("hf://datasets/squad", "expected OWNER/NAME", "hf://datasets/OWNER/NAME"),
        ("ftp://host/x", "no place that is known", "s3://"),
    ] {
        let refused = run(&directory, &hub, &format!("ingest {inputs} --out kept"));
        assert_eq!(refused.status, 2, "{inputs}: {refused:?}");
        assert!(refused.stderr.contains(message), "{inputs}: {}", refused.stderr);
        assert!(refused.stderr.contains(hint), "{inputs}: {}", refused.stderr);
    }
}

#[test]
fn a_corpus_is_read_where_it_lies_with_its_own_sources_and_what_it_holds_out() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    directory.write("a/1.jsonl", jsonl(1));
    directory.write("b/2.jsonl", jsonl(2));
    directory.dataprep("ingest a b --out corpus --holdout 0.1 --set unit_bytes=30kB").ok();
    let put = |names: &[String]| {
        let files: Vec<(String, Vec<u8>)> = names
            .iter()
            .map(|name| (format!("c/{name}"), std::fs::read(directory.path(name)).unwrap()))
            .collect();
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        hub.commit(REPO, &files)
    };
    let names: Vec<String> =
        directory.tree("corpus").into_keys().map(|name| format!("corpus/{name}")).collect();
    put(&names);
    let filter = "--rules gopher_quality --out";
    directory.dataprep(&format!("filter corpus {filter} here")).ok();
    let command = format!("filter hf://{REPO}/c/corpus {filter} there");
    run(&directory, &hub, &command).ok();
    assert_eq!(parts(&directory, "here"), parts(&directory, "there"));
    // It is the same artifact, wherever it lies: one fingerprint.
    let manifest = |out: &str| -> serde_json::Value {
        serde_json::from_str(&directory.read(&format!("{out}/manifest.json"))).unwrap()
    };
    let (here, there) = (manifest("here"), manifest("there"));
    assert_eq!(here["fingerprint"], there["fingerprint"]);
    assert_eq!(there["inputs"][0]["kind"], "corpus");
    let again = run(&directory, &hub, &command).ok();
    assert!(format!("{}{}", again.stdout, again.stderr).contains("up to date"), "{again:?}");
    let report = run(&directory, &hub, "verify there").ok();
    assert!(report.stdout.contains("1 input artifacts"), "{report:?}");
    let renamed = run(&directory, &hub, &format!("ingest x=hf://{REPO}/c/corpus --out other"));
    assert!(renamed.status == 2 && renamed.stderr.contains("renames a corpus"), "{renamed:?}");
    // A part that is not there is damage, named before any work.
    let but_one: Vec<String> =
        names.iter().filter(|name| !name.ends_with("part-00000.parquet")).cloned().collect();
    put(&but_one);
    let short = run(&directory, &hub, &format!("ingest hf://{REPO}/c/corpus --out other"));
    assert!(short.status != 0 && short.stderr.contains("part-00000.parquet"), "{short:?}");
    assert!(short.stderr.contains("found no file"), "{short:?}");
}

#[test]
fn a_file_that_shares_the_manifests_name_is_not_fetched_to_look_for_a_corpus() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    let other = format!("{{\"files\": \"{}\"}}", "x".repeat(8 << 20));
    hub.commit(REPO, &[("a.jsonl", &jsonl(1)), ("deep/manifest.json", other.as_bytes())]);
    run(&directory, &hub, &format!("ingest hf://{REPO} --out kept")).ok();
    let sent: u64 = hub.seen().iter().map(|seen| seen.sent).sum();
    assert!(sent < 4 << 20, "{sent} bytes");
}

#[test]
fn an_address_is_listed_once_by_a_command_that_reads_it_twice() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    hub.commit(REPO, &[("a.jsonl", &jsonl(1))]);
    run(&directory, &hub, &format!("tokenize hf://{REPO} --vocab 300 --out tokens")).ok();
    let listings = hub.seen().iter().filter(|seen| seen.path.contains("/tree/")).count();
    assert_eq!(listings, 1, "{:?}", hub.seen());
}

#[test]
fn with_the_cache_what_was_read_once_is_there_without_the_hub() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    hub.commit(REPO, &[("0.parquet", &wide_file(1)), ("a.jsonl", &jsonl(1))]);
    let command = format!("ingest hf://{REPO} --cache --columns id --out");
    run(&directory, &hub, &format!("{command} first")).ok();
    let before = hub.seen().len();
    let mut offline = directory.command(&format!("{command} second"));
    offline.env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", directory.path("home"));
    let offline = offline.env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(offline.status.success(), "{}", String::from_utf8_lossy(&offline.stderr));
    assert_eq!(hub.seen().len(), before);
    assert_eq!(parts(&directory, "first"), parts(&directory, "second"));
    let refused = run(&directory, &hub, "ingest https://host/x.parquet --cache --out third");
    assert!(refused.status == 2 && refused.stderr.contains("of the Hub alone"), "{refused:?}");
}

/// A row group of 80 MB of text is more than is decoded at once: it is read in pieces.
#[test]
fn a_large_row_group_is_read_in_pieces_with_no_byte_twice() {
    let (hub, directory) = (HubServer::start(), TestDir::new());
    let mut stream = dataprep::base::rng::Stream::new(1, "large");
    let mut text = |_| -> String {
        (0..200_000).map(|_| format!("{:019}\n", stream.next_u64() >> 1)).collect()
    };
    let texts: Vec<String> = (0..20).map(&mut text).collect();
    let column = Arc::new(StringArray::from_iter_values(&texts)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    hub.commit(REPO, &[("0.parquet", &file)]);
    directory.write("n/0.parquet", &file);
    directory.dataprep("ingest n --out here").ok();
    run(&directory, &hub, &format!("ingest hf://{REPO} --out there")).ok();
    assert_eq!(parts(&directory, "here"), parts(&directory, "there"));
    let (requests, bytes) = fetched(&hub.seen(), "/store/");
    let size = file.len() as u64;
    assert!(requests < 20 && bytes < size + (1 << 20), "{requests} requests, {bytes} of {size}");
}

/// The texts and ids of a run's documents are those of `here`, and the whole file was not fetched.
fn check_objects(directory: &TestDir, server: &ObjectServer, input: &str, here: &str) {
    let options = "--columns id --holdout 0.1 --set unit_bytes=30kB";
    directory.dataprep(&format!("ingest {here} --out here {options}")).ok();
    objects(directory, server, &format!("ingest {input} --out there {options}")).ok();
    assert_eq!(parts(directory, "here"), parts(directory, "there"));
    let report = objects(directory, server, "verify there").ok();
    assert!(report.stdout.contains("remote inputs by their hash"), "{report:?}");
}

fn objects(directory: &TestDir, server: &ObjectServer, arguments: &str) -> Run {
    let mut command = directory.command(arguments);
    command.env("AWS_ENDPOINT_URL", server.address()).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
    let account = serde_json::json!({
        "gcs_base_url": server.address(), "disable_oauth": true,
        "client_email": "", "private_key": "", "private_key_id": "",
    });
    command.env("GOOGLE_SERVICE_ACCOUNT_KEY", account.to_string());
    let output = command.output().unwrap();
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_file_of_a_web_server_is_read_by_ranges_under_one_tag() {
    let directory = TestDir::new();
    let (first, second) = (wide_file(1), wide_file(2));
    let server = ObjectServer::start(&[("x/0.parquet", &first)]);
    directory.write("x/0.parquet", &first);
    let input = format!("x={}/x/0.parquet", server.address());
    check_objects(&directory, &server, &input, "x=x/0.parquet");
    assert!(server.seen().iter().all(|asked| asked.path == "/x/0.parquet"));
    let sent: u64 = server.seen().iter().map(|asked| asked.sent).sum();
    assert!(
        server.seen().iter().all(|asked| asked.range.is_some() && asked.authorization.is_none())
    );
    assert!(sent < first.len() as u64 / 2, "{sent} bytes");
    server.replace_after(30, "x/0.parquet", &second);
    let changed = objects(&directory, &server, &format!("ingest {input} --columns id --out other"));
    assert_eq!(changed.status, 1, "{changed:?}");
    assert!(changed.stderr.contains("damaged file `http://") && changed.stderr.contains("changed"));
    let missing = format!("ingest {}/x/1.parquet --out none", server.address());
    let missing = objects(&directory, &server, &missing);
    assert!(missing.status == 2 && missing.stderr.contains("there is nothing"), "{missing:?}");
}

#[cfg(not(feature = "cloud"))]
#[test]
fn a_build_without_object_stores_says_how_to_get_them() {
    let refused = TestDir::new().dataprep("ingest s3://bucket/x --out o");
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("--features cloud"), "{refused:?}");
}

#[cfg(feature = "cloud")]
#[test]
fn objects_are_listed_signed_read_by_ranges_and_never_mixed_with_their_successors() {
    let directory = TestDir::new();
    let (first, second, lines) = (wide_file(1), wide_file(2), jsonl(1));
    let server = ObjectServer::start(&[
        ("bucket/data/a/0.parquet", &first),
        ("bucket/data/b.jsonl", &lines),
        ("bucket/data2/0.parquet", &second),
    ]);
    directory.write("data/a/0.parquet", &first);
    directory.write("data/b.jsonl", &lines);
    check_objects(&directory, &server, "s3://bucket/data", "data");
    let signed = |asked: &Asked| {
        asked.authorization.as_ref().is_some_and(|text| text.starts_with("AWS4-HMAC-SHA256"))
    };
    assert!(server.seen().iter().all(signed));
    let seen = server.seen();
    let parquet = seen.iter().filter(|asked| asked.path.contains("0.parquet"));
    let sent: u64 = parquet.map(|asked| asked.sent).sum();
    assert!(sent < first.len() as u64 / 2, "{sent} bytes");
    let one = objects(&directory, &server, "inspect s3://bucket/data2/*.parquet --json").ok();
    assert!(one.stdout.contains("\"documents\":400"), "{one:?}");
    server.replace_after(30, "bucket/data/a/0.parquet", &second);
    let input = "ingest s3://bucket/data/a/0.parquet --columns id --out other";
    let changed = objects(&directory, &server, input);
    assert_eq!(changed.status, 1, "{changed:?}");
    assert!(changed.stderr.contains("it was replaced after it was listed"), "{changed:?}");
    let nothing = objects(&directory, &server, "ingest s3://bucket/nowhere --out other");
    assert!(nothing.status == 2 && nothing.stderr.contains("nothing lies at"), "{nothing:?}");
}

/// Google's XML dialect has the same requests, without a key where the account says so.
#[cfg(feature = "cloud")]
#[test]
fn googles_store_is_asked_in_its_own_way() {
    let directory = TestDir::new();
    let (file, lines) = (wide_file(1), jsonl(1));
    let server =
        ObjectServer::start(&[("bucket/data/0.parquet", &file), ("bucket/data/b.jsonl", &lines)]);
    directory.write("data/0.parquet", &file);
    directory.write("data/b.jsonl", &lines);
    check_objects(&directory, &server, "gs://bucket/data", "data");
    assert!(server.seen().iter().all(|asked| asked.authorization.is_none()));
    let server = ObjectServer::start(&[]);
    let nothing = objects(&directory, &server, "ingest gs://bucket/nowhere --out other");
    assert!(nothing.status == 2 && nothing.stderr.contains("nothing lies at"), "{nothing:?}");
}
