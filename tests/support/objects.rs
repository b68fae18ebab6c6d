//! An object store on loopback, which is a web server too: S3's listing, `HEAD`, ranges under
//! `If-Match`, and an object that is replaced on purpose.
//!
//! In → objects by `BUCKET/KEY`; out → `http://127.0.0.1:PORT`. Every request is noted. After
//! Amazon's API reference (ListObjectsV2, GetObject, HeadObject), as much as reading uses.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::BufReader;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use super::hub::wire::{Answer, Request, decoded};

/// The server; its threads end with the process.
pub struct ObjectServer {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// With a number that changes with the bytes.
    objects: BTreeMap<String, (Arc<Vec<u8>>, u64)>,
    /// After so many further requests, what stands under a name.
    replacement: Option<(u64, String, Vec<u8>)>,
    seen: Vec<Asked>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub range: Option<(u64, Option<u64>)>,
    pub authorization: Option<String>,
    pub sent: u64,
}

impl ObjectServer {
    pub fn start(objects: &[(&str, &[u8])]) -> ObjectServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let object =
            |(name, bytes): &(&str, &[u8])| (name.to_string(), (Arc::new(bytes.to_vec()), 1));
        let objects = objects.iter().map(object).collect();
        let state = Arc::new(Mutex::new(State { objects, ..State::default() }));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(&state, stream));
            }
        });
        ObjectServer { address, state }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn replace_after(&self, requests: u64, name: &str, bytes: &[u8]) {
        locked(&self.state).replacement = Some((requests, name.to_owned(), bytes.to_vec()));
    }

    pub fn seen(&self) -> Vec<Asked> {
        locked(&self.state).seen.clone()
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn serve(state: &Mutex<State>, mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = Request::read(&mut reader) {
        let answer = locked(state).answer(&request);
        let sent = answer.send(&mut stream, request.method == "HEAD", None);
        locked(state).seen.push(Asked {
            range: request.range(),
            authorization: request.header("authorization").map(str::to_owned),
            path: request.path,
            sent: sent.bytes,
        });
        if !sent.keep {
            return;
        }
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        if let Some((left, name, bytes)) = &mut self.replacement {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    let object = self.objects.get_mut(name).expect("it is replaced");
                    *object = (Arc::new(std::mem::take(bytes)), object.1 + 1);
                    self.replacement = None;
                }
            }
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path = decoded(path.trim_matches('/'));
        let path = path.as_str();
        if query.contains("list-type=2") {
            return self.list(path, query);
        }
        let Some((bytes, version)) = self.objects.get(path) else { return Answer::new(404, "") };
        let tag = format!("\"{version}-{}\"", bytes.len());
        if request.header("if-match").is_some_and(|asked| asked != tag) {
            return Answer::new(412, "");
        }
        let answer = Answer::file(bytes.clone(), request, None);
        answer.with("etag", tag).with("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")
    }

    fn list(&self, bucket: &str, query: &str) -> Answer {
        let value = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or("");
        let prefix = format!("{bucket}/{}", decoded(value));
        let mut xml = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
        for (name, (bytes, version)) in &self.objects {
            if !name.starts_with(&prefix) {
                continue;
            }
            let (key, size) = (&name[bucket.len() + 1..], bytes.len());
            let _ = write!(
                xml,
                "<Contents><Key>{key}</Key><Size>{size}</Size>\
                 <LastModified>2024-01-01T00:00:00.000Z</LastModified>\
                 <ETag>&quot;{version}-{size}&quot;</ETag></Contents>"
            );
        }
        Answer::new(200, xml + "</ListBucketResult>").with("content-type", "application/xml")
    }
}
