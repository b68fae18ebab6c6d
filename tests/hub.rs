//! Downloads from the Hub, against one on loopback that misbehaves: every file ends up whole or not
//! at all, no credential leaves the host, and no byte that is on the disk is asked for again.

use std::{
    collections::BTreeMap,
    io::Read,
    process::{Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use dataprep::base::rng::Stream;
use dataprep::store::hub::{Client, Environment, Hub, Repo};
use dataprep::store::{Access, Address, Place};

use crate::support::{
    Run, TestDir, documents,
    hub::{Fault, HubServer, STORED_FROM, Seen},
    project,
};

const REPO: &str = "datasets/o/n";
const TOKEN: &str = "hf_secret";

/// Less than a command that asks again and again takes (50 s), and more than one that does not
/// takes on a machine with much else to do.
const NO_WAIT: Duration = Duration::from_secs(15);

/// A folder, a Hub, and a cache between them.
struct Home {
    directory: TestDir,
    server: HubServer,
}

impl Home {
    fn new() -> Home {
        Home { directory: TestDir::new(), server: HubServer::start() }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = self.directory.command(arguments);
        for name in ["HF_HUB_CACHE", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"]
        {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.server.endpoint()).env("HF_TOKEN", TOKEN);
        command.env("HF_HOME", self.directory.path("hf"));
        command
    }

    fn run(&self, arguments: &str) -> Run {
        finish(self.command(arguments))
    }

    /// Requests for bytes of files, at the Hub and at its storage.
    fn fetches(&self) -> Vec<Seen> {
        let is_fetch = |seen: &Seen| seen.at_storage || seen.path.contains("/resolve/");
        self.server.seen().into_iter().filter(is_fetch).collect()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path(name)).unwrap()
    }

    fn blob(&self, sha256: &str) -> String {
        format!("hf/hub/datasets--o--n/blobs/{sha256}")
    }
}

fn finish(mut command: Command) -> Run {
    let output = command.output().unwrap();
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut stream = Stream::new(seed, "a file of the Hub");
    let words = (0..length.div_ceil(8)).flat_map(|_| stream.next_u64().to_le_bytes());
    words.take(length).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn manifest(home: &Home, out: &str) -> serde_json::Value {
    serde_json::from_slice(&home.bytes(&format!("{out}/manifest.json"))).unwrap()
}

#[test]
fn a_folder_is_fetched_as_it_is_and_then_up_to_date() {
    let home = Home::new();
    let (large, small) = (noise(300_000, 1), noise(STORED_FROM - 1, 2));
    let files: [(&str, &[u8]); 3] =
        [("sample/a b/0.bin", &large), ("sample/README.md", &small), ("other.bin", &large)];
    let commit = home.server.commit(REPO, &files);
    home.server.page(1);
    let out = home.run("download hf://datasets/o/n/sample --out data --json").ok();
    assert_eq!(out.summary()["files"], 2);
    assert_eq!((home.bytes("data/a b/0.bin"), home.bytes("data/README.md")), (large, small));
    let manifest = manifest(&home, "data");
    assert_eq!(manifest["kind"], "download");
    assert_eq!(manifest["config"]["from"][0]["commit"], commit);
    assert_eq!(manifest["locked"][0]["files"][0]["identity"].as_str().map(|it| it.len()), Some(49));
    // One request a file at the Hub, and one at the storage for the large one.
    let fetches = home.fetches();
    assert_eq!(fetches.iter().filter(|seen| !seen.at_storage).count(), 2);
    assert_eq!(fetches.iter().filter(|seen| seen.at_storage).count(), 1);
    assert!(home.server.seen().iter().all(|seen| seen.method != "HEAD"));
    home.run("verify data").ok();
    let before = home.server.seen().len();
    let again = home.run("download hf://datasets/o/n/sample --out data").ok();
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    assert_eq!(home.server.seen().len() - before, 1, "whether the branch has moved, no more");
    // Nor is the Hub needed for that.
    let mut alone = home.command("download hf://datasets/o/n/sample --out data");
    let start = Instant::now();
    alone.env("HF_ENDPOINT", "http://127.0.0.1:1");
    assert!(finish(alone).ok().stdout.contains("up to date"));
    assert!(start.elapsed() < NO_WAIT, "it waits");
}

#[test]
fn the_token_stays_on_its_host() {
    let home = Home::new();
    let large = noise(50_000, 3);
    home.server.commit(REPO, &[("x.bin", &large)]);
    home.server.fault(Fault::Renamed, "/resolve/", 1);
    home.run("download hf://datasets/o/n/x.bin --out data").ok();
    let seen = home.server.seen();
    let expected = format!("Bearer {TOKEN}");
    assert!(seen.iter().any(|seen| seen.path.starts_with("/renamed/")), "{seen:?}");
    for seen in &seen {
        let expected = if seen.at_storage { None } else { Some(&expected) };
        assert_eq!(seen.credential.as_ref(), expected, "{seen:?}");
    }
    assert!(seen.iter().any(|seen| seen.at_storage));
    assert_eq!(home.bytes("data/x.bin"), large);
}

#[test]
fn whatever_goes_wrong_once_does_not_change_the_file() {
    let faults: [(&str, Fault, &str, u64); 11] = [
        ("cut", Fault::Cut(70_000), "/store/", 3),
        ("cut-at-once", Fault::Cut(0), "/store/", 2),
        ("late-status", Fault::Status(500), "/store/", 1),
        ("api-status", Fault::Status(503), "/api/", 1),
        ("resolve-status", Fault::Status(502), "/resolve/", 1),
        ("limit", Fault::Limit(1), "/resolve/", 1),
        ("storage-limit", Fault::Limit(1), "/store/", 1),
        ("whole", Fault::Whole, "/store/", 9),
        ("longer", Fault::Longer(10), "/store/", 1),
        ("flip", Fault::Flip(100_000), "/store/", 1),
        ("expired", Fault::Status(403), "/store/", 1),
    ];
    let bytes = noise(200_000, 4);
    std::thread::scope(|scope| {
        for (name, fault, on, times) in faults {
            let bytes = &bytes;
            scope.spawn(move || {
                let home = Home::new();
                home.server.commit(REPO, &[("x.bin", bytes)]);
                home.server.fault(fault, on, times);
                home.run("download hf://datasets/o/n/x.bin --out data").ok();
                assert!(home.bytes("data/x.bin") == *bytes, "{name}");
                let sent: u64 = home.fetches().iter().map(|seen| seen.sent).sum();
                // Only where the bytes were wrong, or may have been, is anything sent twice.
                let twice = matches!(fault, Fault::Flip(_) | Fault::Longer(_));
                assert!(sent <= bytes.len() as u64 * if twice { 2 } else { 1 }, "{name}: {sent}");
            });
        }
    });
}

#[test]
fn a_cut_goes_on_at_its_byte_and_an_answer_with_everything_too() {
    let home = Home::new();
    let bytes = noise(200_000, 5);
    home.server.commit(REPO, &[("x.bin", &bytes)]);
    home.server.fault(Fault::Cut(80_000), "/store/", 1);
    home.server.fault(Fault::Whole, "/store/", 1);
    home.run("download hf://datasets/o/n/x.bin --out data").ok();
    assert!(home.bytes("data/x.bin") == bytes);
    let fetches = home.fetches();
    let stored: Vec<&Seen> = fetches.iter().filter(|seen| seen.at_storage).collect();
    assert_eq!(stored[1].range, Some((80_000, Some(200_000))));
    assert_eq!((stored[1].status, stored.len()), (200, 2));
}

#[test]
fn an_expired_address_is_asked_for_again_once_for_all() {
    let home = Home::new();
    let files: Vec<(String, Vec<u8>)> =
        (0..4).map(|i| (format!("{i}.bin"), noise(40 << 20 >> 8, i))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    home.server.commit(REPO, &files);
    home.server.fault(Fault::Cut(1000), "/store/", 1);
    home.server.fault(Fault::Status(403), "/store/", 1);
    home.run("download hf://datasets/o/n --out data --connections 1").ok();
    let asked = home.fetches().iter().filter(|seen| !seen.at_storage).count();
    assert_eq!(asked, 5, "one a file, and one for the address that expired");
}

/// A repository at the server, read without the command line.
fn repo(home: &Home, access: Access) -> Repo {
    let (endpoint, folder) = (home.server.endpoint().to_owned(), home.directory.path("hf"));
    let get = |name: &str| match name {
        "HF_ENDPOINT" => Some(endpoint.clone()),
        "HF_HOME" => Some(folder.to_string_lossy().into_owned()),
        _ => None,
    };
    let environment = Environment::of(get).unwrap();
    let hub = Arc::new(Hub { environment, client: Client::new().unwrap() });
    let Some(Address::Hub(at)) = Address::parse("hf://datasets/o/n").unwrap() else { panic!() };
    Repo::with(hub, &at, &access)
}

#[test]
fn ranges_cost_one_request_at_the_hub_for_a_file_and_one_when_its_address_expires() {
    let home = Home::new();
    let bytes = noise(100_000, 50);
    home.server.commit(REPO, &[("x.bin", &bytes)]);
    let repo = repo(&home, Access::default());
    let entry = repo.list().unwrap().entries.remove(0);
    let read_all = || {
        std::thread::scope(|scope| {
            for start in (0..100_000).step_by(10_000) {
                let (repo, entry, bytes) = (&repo, &entry, &bytes);
                scope.spawn(move || {
                    let part = repo.read(entry, start..start + 10_000).unwrap();
                    assert!(part == bytes[start as usize..][..10_000]);
                });
            }
        });
        home.fetches().iter().filter(|seen| !seen.at_storage).count()
    };
    assert_eq!(read_all(), 1);
    home.server.expire();
    assert_eq!(read_all(), 2);
    let mut all = Vec::new();
    repo.stream(&entry, 3..99_000).unwrap().read_to_end(&mut all).unwrap();
    assert!(all == bytes[3..99_000]);
    assert_eq!(repo.meter().requests(), home.server.seen().len() as u64);
    assert!(!home.directory.path("hf").exists());
}

#[test]
fn with_the_cache_a_file_is_stored_whole_by_its_first_range() {
    let home = Home::new();
    let bytes = noise(100_000, 51);
    home.server.commit(REPO, &[("x.bin", &bytes)]);
    let repo = repo(&home, Access { cache: true, commit: None });
    let entry = repo.list().unwrap().entries.remove(0);
    for start in [50_000, 0, 99_999] {
        assert_eq!(repo.read(&entry, start..start + 1).unwrap()[0], bytes[start as usize]);
    }
    assert_eq!(home.fetches().len(), 2);
    assert!(home.bytes(&home.blob(&sha256(&bytes))) == bytes);
}

#[test]
fn a_file_that_is_no_longer_the_one_listed_is_damage() {
    let home = Home::new();
    home.server.commit(REPO, &[("x.bin", &noise(50_000, 52))]);
    let repo = repo(&home, Access::default());
    let mut entry = repo.list().unwrap().entries.remove(0);
    entry.identity = Some(dataprep::store::Identity::Sha256([7; 32]));
    let error = repo.read(&entry, 0..10).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("the Hub now says"), "{error}");
    entry.identity = None;
    entry.bytes = 60_000;
    let error = repo.read(&entry, 0..10).unwrap_err().to_string();
    assert!(error.contains("expected a file of 60000 bytes, found 50000"), "{error}");
}

#[test]
fn bytes_that_stay_wrong_get_no_name() {
    let home = Home::new();
    let bytes = noise(100_000, 6);
    home.server.commit(REPO, &[("x.bin", &bytes), ("y.bin", &noise(90_000, 7))]);
    home.server.fault(Fault::Flip(5), &sha256(&bytes), 99);
    let run = home.run("download hf://datasets/o/n --out data");
    assert_eq!(run.status, 1);
    assert!(run.stderr.contains("x.bin") && run.stderr.contains("sha256:"), "{}", run.stderr);
    assert!(!home.directory.path("data").exists());
    assert!(!home.directory.path(&home.blob(&sha256(&bytes))).exists());
    assert!(!home.directory.path(&(home.blob(&sha256(&bytes)) + ".incomplete")).exists());
}

#[test]
fn what_is_gated_or_not_there_is_said_at_once_and_with_a_way_out() {
    let home = Home::new();
    home.server.commit(REPO, &[("x.bin", &noise(100_000, 8))]);
    type Case = (&'static str, Option<(Fault, &'static str)>, i32, &'static str);
    let cases: [Case; 6] = [
        ("hf://datasets/o/n", Some((Fault::Gated, "/api/")), 1, "accept its terms at"),
        ("hf://datasets/o/n", Some((Fault::Gated, "/resolve/")), 1, "accept its terms at"),
        ("hf://datasets/o/none", None, 1, "may not read it"),
        ("hf://datasets/o/n@v9", None, 2, "branches and tags"),
        ("hf://datasets/o/n/y.bin", None, 2, "without its last part"),
        ("hf://datasets/o/n/*.parquet", None, 2, "x.bin"),
    ];
    for (index, (address, fault, status, hint)) in cases.into_iter().enumerate() {
        if let Some((fault, on)) = fault {
            home.server.fault(fault, on, 1);
        }
        let start = Instant::now();
        let run = home.run(&format!("download {address} --out data{index}"));
        assert_eq!(run.status, status, "{address}: {}", run.stderr);
        assert!(run.stderr.contains(hint), "{address}: {}", run.stderr);
        assert!(!run.stderr.contains(TOKEN));
        assert!(start.elapsed() < NO_WAIT, "{address} waits");
    }
    let mut nobody = home.command("download hf://datasets/o/none --out data");
    nobody.env_remove("HF_TOKEN");
    let run = finish(nobody);
    assert!(run.stderr.contains("or it is private") && run.stderr.contains("HF_TOKEN"));
}

#[test]
fn a_branch_that_moves_is_said_and_read_where_it_was() {
    let home = Home::new();
    let (old, new) = (noise(9000, 9), noise(9000, 10));
    let first = home.server.commit(REPO, &[("x.bin", &old)]);
    home.run("download hf://datasets/o/n --out data").ok();
    let second = home.server.commit(REPO, &[("x.bin", &new), ("y.bin", &new)]);
    let again = home.run("download hf://datasets/o/n --out data").ok();
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    let moved = format!("has moved from {}, which this is, to {}", &first[..12], &second[..12]);
    assert!(again.stdout.contains(&moved), "{}", again.stdout);
    std::fs::remove_file(home.directory.path("data/x.bin")).unwrap();
    home.run("download hf://datasets/o/n --out data").ok();
    assert!(home.bytes("data/x.bin") == old);
    home.run("download hf://datasets/o/n --out data --fresh").ok();
    assert!(home.bytes("data/x.bin") == new && home.directory.path("data/y.bin").exists());
    home.run(&format!("download hf://datasets/o/n --revision {first} --out old")).ok();
    assert!(home.bytes("old/x.bin") == old && !home.directory.path("old/y.bin").exists());
}

#[test]
fn a_run_that_was_killed_reads_the_commit_it_began_with() {
    let home = Home::new();
    let (old, new) = (noise(400_000, 11), noise(400_000, 12));
    home.server.commit(REPO, &[("x.bin", &old)]);
    home.server.fault(Fault::Drip(20), "/store/", 1);
    let mut command = home.command("download hf://datasets/o/n --out data");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| home.fetches().iter().any(|seen| seen.at_storage));
    child.kill().unwrap();
    child.wait().unwrap();
    home.server.commit(REPO, &[("x.bin", &new)]);
    let run = home.run("download hf://datasets/o/n --out data").ok();
    assert!(home.bytes("data/x.bin") == old && run.stdout.contains("has moved"));
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "it never happens");
        sleep(Duration::from_millis(1));
    }
}

/// As far as each blob in the making has come.
fn incomplete(home: &Home) -> BTreeMap<String, u64> {
    let folders = ["hf/hub/datasets--o--n/blobs", "data.partial/incoming"];
    let entries = folders.iter().filter_map(|it| std::fs::read_dir(home.directory.path(it)).ok());
    let sizes = entries.flatten().flatten().map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, entry.metadata().map_or(0, |metadata| metadata.len()))
    });
    sizes.filter(|(name, _)| name.ends_with("incomplete")).collect()
}

/// Killed 20 times, in the middle of a file or wherever it is; `arguments` decide where bytes go.
fn survives_kills(arguments: &str, seed: u64) {
    let home = Home::new();
    let files = [noise(600_000, seed), noise(500_000, seed + 1)];
    home.server.commit(REPO, &[("x.bin", &files[0]), ("y.bin", &files[1])]);
    home.server.fault(Fault::Drip(3), "/store/", 999);
    let line = format!("download hf://datasets/o/n --out data {arguments}");
    let mut stream = Stream::new(seed, "moments");
    let mut seen_standing = 0;
    for kill in 0..20 {
        let (standing, before) = (incomplete(&home), home.fetches().len());
        let mut command = home.command(&line);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if kill % 5 > 0 {
            let is_over = |child: &mut std::process::Child| child.try_wait().unwrap().is_some();
            wait_for(|| is_over(&mut child) || home.fetches().len() > before + 1);
        }
        sleep(Duration::from_millis(stream.next_u64() % 40));
        child.kill().unwrap();
        child.wait().unwrap();
        for seen in home.fetches().iter().skip(before).filter(|seen| seen.at_storage) {
            let hash = seen.path.trim_start_matches("/store/").split('?').next().unwrap();
            let own = |(name, _): &(&String, &u64)| name.contains(hash);
            let stood = standing.iter().find(own).map_or(0, |(_, bytes)| *bytes);
            seen_standing += u64::from(stood > 0);
            let asked = seen.range.unwrap().0;
            assert!(asked >= stood, "byte {asked} of {hash} again, {stood} stood on the disk");
        }
    }
    assert!(seen_standing > 5, "{seen_standing} of 20 starts found something on the disk");
    home.run(&line).ok();
    assert!(home.bytes("data/x.bin") == files[0] && home.bytes("data/y.bin") == files[1]);
    let last = home.fetches();
    let sent: u64 = last.iter().map(|seen| seen.sent).sum();
    let all = files.iter().map(|file| file.len() as u64).sum::<u64>();
    // What was under way when a kill came is all that may be sent again: a socket's buffers.
    assert!(sent < all + 20 * (512 << 10), "{sent} bytes for {all}");
    home.run("verify data").ok();
}

#[test]
fn twenty_kills_cost_no_byte_that_is_on_the_disk() {
    survives_kills("", 20);
}

#[test]
fn twenty_kills_cost_no_byte_without_the_cache_either() {
    survives_kills("--no-cache", 30);
}

#[test]
fn two_downloads_of_one_file_at_once_fetch_it_once() {
    let home = Home::new();
    let bytes = noise(300_000, 40);
    home.server.commit(REPO, &[("x.bin", &bytes)]);
    home.server.fault(Fault::Drip(5), "/store/", 99);
    std::thread::scope(|scope| {
        for out in ["one", "two", "three"] {
            let home = &home;
            scope.spawn(move || home.run(&format!("download hf://datasets/o/n --out {out}")).ok());
        }
    });
    for out in ["one", "two", "three"] {
        assert!(home.bytes(&format!("{out}/x.bin")) == bytes);
    }
    let sent: u64 = home.fetches().iter().map(|seen| seen.sent).sum();
    assert_eq!(sent, bytes.len() as u64);
    // One place on the disk under four names.
    let blob = home.directory.path(&home.blob(&sha256(&bytes)));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(blob).unwrap().nlink(), 4);
}

#[test]
fn what_lies_in_the_cache_is_not_fetched_and_what_is_wrong_there_is_replaced() {
    let home = Home::new();
    let bytes = noise(100_000, 41);
    let commit = home.server.commit(REPO, &[("a/x.bin", &bytes)]);
    home.directory.write(&home.blob(&sha256(&bytes)), &bytes);
    home.run("download hf://datasets/o/n --out data").ok();
    assert!(home.fetches().is_empty() && home.bytes("data/a/x.bin") == bytes);
    let linked = format!("hf/hub/datasets--o--n/snapshots/{commit}/a/x.bin");
    assert!(home.bytes(&linked) == bytes);
    assert_eq!(home.directory.read("hf/hub/datasets--o--n/refs/main"), commit);
    let mut wrong = bytes.clone();
    wrong[7] ^= 1;
    std::fs::remove_file(home.directory.path(&home.blob(&sha256(&bytes)))).unwrap();
    home.directory.write(&home.blob(&sha256(&bytes)), &wrong);
    home.run("download hf://datasets/o/n --out other").ok();
    assert!(home.bytes("other/a/x.bin") == bytes && home.bytes(&linked) == bytes);
    // Offline, from the cache alone.
    let mut offline = home.command("download hf://datasets/o/n --out off");
    let before = home.server.seen().len();
    offline.env("HF_HUB_OFFLINE", "1");
    finish(offline).ok();
    assert!(home.bytes("off/a/x.bin") == bytes);
    let mut absent = home.command("download hf://datasets/o/other --out none");
    absent.env("HF_HUB_OFFLINE", "1");
    let run = finish(absent);
    assert!(run.status == 2 && run.stderr.contains("HF_HUB_OFFLINE"), "{}", run.stderr);
    assert_eq!(home.server.seen().len(), before);
}

#[test]
fn without_the_cache_nothing_is_put_there() {
    let home = Home::new();
    let bytes = noise(100_000, 42);
    home.server.commit(REPO, &[("x.bin", &bytes)]);
    home.run("download hf://datasets/o/n --out data --no-cache").ok();
    assert!(home.bytes("data/x.bin") == bytes && !home.directory.path("hf").exists());
    assert!(!home.directory.path("data.partial").exists());
}

#[test]
fn a_dry_run_lists_and_fetches_nothing() {
    let home = Home::new();
    home.server.commit(REPO, &[("a.bin", &noise(100_000, 43)), ("b.txt", b"small")]);
    let run = home.run("download hf://datasets/o/n/*.bin --out data --dry-run").ok();
    for part in ["1 file, ", "1 request at the Hub", "hf://datasets/o/n/*.bin at "] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let run = home.run("download hf://datasets/o/n --out data --dry-run --json").ok();
    let plan: serde_json::Value =
        serde_json::from_str(run.stdout.lines().next().unwrap_or_default()).unwrap();
    assert_eq!(plan["plan"]["files"], 2);
    assert_eq!(plan["plan"]["missing_bytes"], 100_005);
    assert!(home.fetches().is_empty() && !home.directory.path("data").exists());
}

#[test]
fn several_addresses_have_a_folder_each_and_a_download_is_raw_text() {
    let home = Home::new();
    let line = |text: &str| format!("{}\n", serde_json::json!({ "text": text })).into_bytes();
    home.server.commit(REPO, &[("a.jsonl", &line("one")), ("manifest.json", b"{\"x\": 1}")]);
    home.server.commit("datasets/o/m", &[("a.jsonl", &line("two"))]);
    let refused = home.run("download hf://datasets/o/n --out data");
    assert!(refused.status == 2 && refused.stderr.contains("NAME="), "{}", refused.stderr);
    home.run("download web=hf://datasets/o/n hf://datasets/o/m --out data").ok();
    assert!(home.bytes("data/web/a.jsonl") == line("one"));
    assert!(home.bytes("data/m/a.jsonl") == line("two"));
    let run = home.run("ingest data --out corpus --json --holdout 0").ok();
    assert_eq!(run.summary()["counts"]["in"], 2);
    assert!(!run.stderr.contains("run.json"), "{}", run.stderr);
}

#[test]
fn a_tokenizer_of_the_hub_is_fetched_and_held_to_its_commit() {
    let home = Home::new();
    let fixture = project().join("fixtures/formats/1/tokens/tokenizer/tokenizer.json");
    let json = std::fs::read(fixture).unwrap();
    let first = home.server.commit("models/o/t", &[("tokenizer.json", &json), ("w.bin", &[7; 9])]);
    home.directory.write_documents("text.jsonl", &["one text".into(), "another".into()]);
    let line = "tokenize text.jsonl --tokenizer hf://o/t --out shards --holdout 0";
    home.run(line).ok();
    let from = manifest(&home, "shards")["config"]["tokenizer_from"].clone();
    assert_eq!(from, serde_json::json!({"address": "hf://o/t", "commit": first}));
    let linked = format!("hf/hub/models--o--t/snapshots/{first}/tokenizer.json");
    assert!(home.bytes(&linked) == json);
    assert!(home.fetches().iter().all(|seen| !seen.path.contains("w.bin")));
    let second = home.server.commit("models/o/t", &[("tokenizer.json", &json)]);
    let again = home.run(line).ok();
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    home.run(&format!("{line} --fresh")).ok();
    assert_eq!(manifest(&home, "shards")["config"]["tokenizer_from"]["commit"], second);
    home.server.commit("models/o/u", &[("w.bin", &[7; 9])]);
    let none = home.run("tokenize text.jsonl --tokenizer hf://o/u --out none");
    assert!(none.status == 2 && none.stderr.contains("has no tokenizer.json"), "{}", none.stderr);
}

#[test]
fn a_step_of_a_recipe_downloads_and_the_next_one_reads_it() {
    let home = Home::new();
    let texts = documents(20, 3);
    let line = |text: &String| serde_json::json!({ "text": text }).to_string() + "\n";
    let lines: String = texts.iter().map(line).collect();
    home.server.commit(REPO, &[("data/a.jsonl", lines.as_bytes())]);
    let recipe = "out = 'runs'\n\
        [[step]]\nname = 'raw'\nstage = 'download'\nin = ['hf://datasets/o/n/data/*.jsonl']\n\
        [[step]]\nname = 'corpus'\nstage = 'ingest'\nin = ['web=raw']\nset = { holdout = 0 }\n";
    home.directory.write("dataprep.toml", recipe);
    home.run("run").ok();
    assert_eq!(manifest(&home, "runs/corpus")["counts"]["out"], 20);
    let again = home.run("run").ok();
    assert_eq!(again.stdout.matches("up to date").count(), 2, "{}", again.stdout);
}

#[test]
fn what_is_waited_for_is_said() {
    let home = Home::new();
    home.server.commit(REPO, &[("x.bin", &noise(100_000, 44))]);
    home.server.fault(Fault::Limit(3), "/resolve/", 1);
    let run = home.run("download hf://datasets/o/n --out data --progress json").ok();
    assert!(run.stderr.contains("\"note\":\"429: "), "{}", run.stderr);
}
