//! The tests' Hub for programs in other languages: `cargo run --release --example hub_server`.
//!
//! In → commands on stdin, a line each; out → an answer a line on stdout, the first being the
//! address for `HF_ENDPOINT`:
//!
//! ```text
//! commit datasets/OWNER/NAME FOLDER   adds a commit with the folder's files; answers its hash
//! fault cut:1000 /resolve/ 3          the next 3 requests with `/resolve/` in their path break
//! expire                              signed addresses handed out so far are worth nothing
//! page 2                              entries on a page of a listing
//! seen                                every request so far, as JSON
//! ```
//!
//! It ends with its input.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool of the tests"
)]

#[path = "../tests/support/hub/mod.rs"]
mod hub;

use std::{io::BufRead, path::Path};

use hub::HubServer;

fn main() {
    let server = HubServer::start();
    println!("{}", server.endpoint());
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["commit", repo, folder] => println!("{}", commit(&server, repo, Path::new(folder))),
            ["fault", fault, on, times] => {
                server.fault(fault.parse().unwrap(), on, times.parse().unwrap());
                println!("ok");
            }
            ["expire"] => {
                server.expire();
                println!("ok");
            }
            ["page", entries] => {
                server.page(entries.parse().unwrap());
                println!("ok");
            }
            ["seen"] => {
                println!("{}", serde_json::Value::from_iter(server.seen().iter().map(seen)))
            }
            _ => println!("unknown: {line}"),
        }
    }
}

fn commit(server: &HubServer, repo: &str, folder: &Path) -> String {
    let mut files = Vec::new();
    collect(folder, folder, &mut files);
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    server.commit(repo, &files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read(&path).unwrap()));
        }
    }
}

fn seen(seen: &hub::Seen) -> serde_json::Value {
    serde_json::json!({
        "at_storage": seen.at_storage, "method": seen.method, "path": seen.path,
        "range": seen.range, "credential": seen.credential, "status": seen.status,
        "sent": seen.sent,
    })
}
