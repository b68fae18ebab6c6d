//! A Hub on loopback that speaks the part of the protocol which downloads need, and misbehaves on
//! purpose.
//!
//! In → repositories with commits, and [`Fault`]s; out → two servers: the Hub, which has the API,
//! small files and signed addresses, and on another port its storage, which has large files and
//! must never see a credential. Every request is noted with its range, its credential and the bytes
//! that were sent for it. Nothing but `std` on the wire, so no client library can agree with
//! itself. `examples/hub_server.rs` runs the same server for programs in other languages.

mod routes;
pub mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use sha1::Digest;

/// From this size on a file lies in the storage and is called by its sha256; below in git.
pub const STORED_FROM: usize = 1024;

/// A Hub with its storage; its threads end with the process.
pub struct HubServer {
    state: Arc<State>,
}

/// One request, as it was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether the storage was asked, not the Hub.
    pub at_storage: bool,
    pub method: String,
    pub path: String,
    /// First byte and one past the last.
    pub range: Option<(u64, Option<u64>)>,
    pub credential: Option<String>,
    pub status: u16,
    /// Bytes of the body that were sent.
    pub sent: u64,
}

/// What goes wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut(u64),
    /// This status and nothing else.
    Status(u16),
    /// 429, and the quota is full again after so many seconds.
    Limit(u64),
    /// 403 with the code of a gated repository.
    Gated,
    /// 200 with everything where a range was asked for.
    Whole,
    /// The file claims so many bytes more than it has.
    Longer(u64),
    /// The byte at this offset of the file is another.
    Flip(u64),
    /// A redirect that stays on the host, as of a renamed repository.
    Renamed,
    /// 4 KiB at a time with so many milliseconds between.
    Drip(u64),
    /// Nothing for so many milliseconds, then the answer.
    Late(u64),
}

/// A fault with the requests that it hits.
struct Rule {
    fault: Fault,
    /// A part of the path.
    on: String,
    left: u64,
}

/// A file of a commit.
#[derive(Clone)]
struct File {
    hash: String,
    is_stored: bool,
    bytes: Arc<Vec<u8>>,
}

type Tree = BTreeMap<String, File>;

/// A repository: commits in order, and what branches and tags mean.
#[derive(Default)]
struct Repo {
    commits: Vec<(String, Tree)>,
    refs: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    hub: String,
    storage: String,
    /// By `datasets/OWNER/NAME` or `models/OWNER/NAME`.
    repos: Mutex<HashMap<String, Repo>>,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    /// Signed addresses of an earlier epoch have expired.
    epoch: AtomicU64,
    page: AtomicU64,
}

impl HubServer {
    /// Starts both servers on ports of their own.
    pub fn start() -> HubServer {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, storage) = (listen(), listen());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            hub: address(&hub),
            storage: address(&storage),
            page: AtomicU64::new(1000),
            ..State::default()
        });
        for (listener, at_storage) in [(hub, false), (storage, true)] {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    thread::spawn(move || routes::serve(&state, stream, at_storage));
                }
            });
        }
        HubServer { state }
    }

    /// What `HF_ENDPOINT` is to be.
    pub fn endpoint(&self) -> &str {
        &self.state.hub
    }

    /// Adds a commit with exactly these files, which `main` then means. `repo` is
    /// `datasets/OWNER/NAME` or `models/OWNER/NAME`.
    pub fn commit(&self, repo: &str, files: &[(&str, &[u8])]) -> String {
        let tree: Tree = files
            .iter()
            .map(|(path, bytes)| {
                let is_stored = bytes.len() >= STORED_FROM;
                let hash = if is_stored { sha256(bytes) } else { git_sha1(bytes) };
                let bytes = Arc::new(bytes.to_vec());
                ((*path).to_owned(), File { hash, is_stored, bytes })
            })
            .collect();
        let mut repos = locked(&self.state.repos);
        let known = repos.entry(repo.to_owned()).or_default();
        let list: String =
            tree.iter().map(|(path, file)| format!("{path} {}\n", file.hash)).collect();
        let commit = git_sha1(format!("{} {list}", known.commits.len()).as_bytes());
        known.commits.push((commit.clone(), tree));
        known.refs.insert("main".to_owned(), commit.clone());
        commit
    }

    /// What goes wrong with the next `times` requests whose path has `on` in it.
    pub fn fault(&self, fault: Fault, on: &str, times: u64) {
        locked(&self.state.rules).push(Rule { fault, on: on.to_owned(), left: times });
    }

    /// Every signed address handed out so far is worth nothing from now on.
    pub fn expire(&self) {
        self.state.epoch.fetch_add(1, Relaxed);
    }

    /// Entries on a page of a listing.
    pub fn page(&self, entries: u64) {
        self.state.page.store(entries, Relaxed);
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.state.seen).clone()
    }
}

impl State {
    /// The first fault that hits this request; it is used up by that.
    fn take_fault(&self, path: &str) -> Option<Fault> {
        let mut rules = locked(&self.rules);
        let rule = rules.iter_mut().find(|rule| rule.left > 0 && path.contains(&rule.on))?;
        rule.left -= 1;
        Some(rule.fault)
    }

    /// The tree that a revision of a repository means.
    fn tree(&self, repo: &str, revision: &str) -> Result<(String, Tree), &'static str> {
        let repos = locked(&self.repos);
        let known = repos.get(repo).ok_or("RepoNotFound")?;
        let commit = known.refs.get(revision).map_or(revision, String::as_str);
        let is_it = |(sha, _): &&(String, Tree)| sha.starts_with(commit) && commit.len() >= 7;
        known.commits.iter().find(is_it).cloned().ok_or("RevisionNotFound")
    }

    fn stored(&self, hash: &str) -> Option<File> {
        let repos = locked(&self.repos);
        let trees = repos.values().flat_map(|repo| &repo.commits).map(|(_, tree)| tree);
        trees.flat_map(BTreeMap::values).find(|file| file.hash == hash).cloned()
    }
}

/// `cut:1000`, `gated`: a fault as text.
impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let (name, value) = text.split_once(':').unwrap_or((text, "0"));
        let value: u64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
        Ok(match name {
            "cut" => Fault::Cut(value),
            "status" => Fault::Status(value as u16),
            "limit" => Fault::Limit(value),
            "gated" => Fault::Gated,
            "whole" => Fault::Whole,
            "longer" => Fault::Longer(value),
            "flip" => Fault::Flip(value),
            "renamed" => Fault::Renamed,
            "drip" => Fault::Drip(value),
            "late" => Fault::Late(value),
            _ => return Err(format!("`{name}` is no fault")),
        })
    }
}

fn sha256(bytes: &[u8]) -> String {
    digits(&sha2::Sha256::digest(bytes))
}

fn git_sha1(bytes: &[u8]) -> String {
    let head = format!("blob {}\0", bytes.len());
    digits(&sha1::Sha1::new().chain_update(head).chain_update(bytes).finalize())
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn sleep(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

/// Both ends of a connection are ours: no packet waits for the next one.
fn without_delay(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
}
