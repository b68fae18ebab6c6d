//! What the Hub and its storage answer.
//!
//! In → a request; out → an answer, with the headers that clients go by. After huggingface_hub 2.4
//! (`hf_api.py`, `file_download.py`) and hub-docs (`rate-limits.md`).

use std::io::BufReader;
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::wire::{Answer, Request, decoded};
use super::{Fault, File, Seen, State, Tree, digits, git_sha1, locked, sleep, without_delay};

/// Answers the requests of one connection.
pub fn serve(state: &State, stream: TcpStream, at_storage: bool) {
    without_delay(&stream);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(request) = Request::read(&mut reader) {
        let fault = state.take_fault(&request.path);
        if let Some(Fault::Late(milliseconds)) = fault {
            sleep(milliseconds);
        }
        let answer = match (refused(fault, at_storage), at_storage) {
            (Some(answer), _) => answer,
            (None, true) => storage(state, &request, fault),
            (None, false) => hub(state, &request, fault),
        };
        let is_head = request.method == "HEAD";
        let place = {
            let mut seen = locked(&state.seen);
            seen.push(Seen {
                at_storage,
                range: request.range(),
                credential: request.header("authorization").map(str::to_owned),
                status: answer.status,
                sent: 0,
                method: request.method,
                path: request.path,
            });
            seen.len() - 1
        };
        let sent = answer.send(&mut stream, is_head, fault);
        locked(&state.seen)[place].sent = sent.bytes;
        if !sent.keep {
            return;
        }
    }
}

/// The answers that have nothing to do with what was asked.
fn refused(fault: Option<Fault>, at_storage: bool) -> Option<Answer> {
    match fault? {
        Fault::Status(status) => Some(Answer::new(status, "")),
        Fault::Limit(seconds) if at_storage => {
            Some(Answer::new(429, "").with("retry-after", seconds.to_string()))
        }
        Fault::Limit(seconds) => {
            let limit = format!(r#""api";r=9;t=300, "resolvers";r=0;t={seconds}"#);
            Some(Answer::new(429, "").with("ratelimit", limit))
        }
        Fault::Gated => Some(error(403, "GatedRepo", "ask for access")),
        _ => None,
    }
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    let answer = Answer::new(status, json!({"error": message}).to_string());
    answer.with("x-error-code", code).with("x-error-message", message)
}

/// `/store/HASH?epoch=N`
fn storage(state: &State, request: &Request, fault: Option<Fault>) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let epoch = query.strip_prefix("epoch=").and_then(|epoch| epoch.parse().ok());
    if epoch != Some(state.epoch.load(Relaxed)) {
        return Answer::new(403, "Request has expired");
    }
    match state.stored(path.trim_start_matches("/store/")) {
        Some(file) => Answer::file(file.bytes, request, fault).with("etag", "\"storage's own\""),
        None => Answer::new(404, ""),
    }
}

fn hub(state: &State, request: &Request, fault: Option<Fault>) -> Answer {
    let path = request.path.strip_prefix("/renamed").unwrap_or(&request.path);
    if fault == Some(Fault::Renamed) {
        return Answer::new(307, "").with("location", format!("/renamed{path}"));
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let found = match parts.as_slice() {
        ["api", kind, owner, name] => info(state, &format!("{kind}/{owner}/{name}"), "main"),
        ["api", kind, owner, name, "revision", revision @ ..] => {
            info(state, &format!("{kind}/{owner}/{name}"), &revision.join("/"))
        }
        ["api", kind, owner, name, "tree", revision, below @ ..] => {
            tree(state, &format!("{kind}/{owner}/{name}"), revision, &below.join("/"), query)
        }
        ["api", kind, owner, name, "paths-info", revision] => {
            paths(state, &format!("{kind}/{owner}/{name}"), revision, &request.body)
        }
        ["datasets", owner, name, "resolve", revision, file @ ..] => {
            let (repo, file) = (format!("datasets/{owner}/{name}"), file.join("/"));
            resolve(state, &repo, revision, &file, request, fault)
        }
        [owner, name, "resolve", revision, file @ ..] => {
            let (repo, file) = (format!("models/{owner}/{name}"), file.join("/"));
            resolve(state, &repo, revision, &file, request, fault)
        }
        _ => Err("NotFound"),
    };
    let status = |code: &str| if code == "RepoNotFound" { 401 } else { 404 };
    found.unwrap_or_else(|code| error(status(code), code, code))
}

fn info(state: &State, repo: &str, revision: &str) -> Result<Answer, &'static str> {
    let (commit, tree) = state.tree(repo, revision)?;
    let id = repo.split_once('/').map_or(repo, |(_, id)| id);
    let siblings: Vec<Value> = tree.keys().map(|path| json!({"rfilename": path})).collect();
    let when = "2024-01-01T00:00:00.000Z";
    let info = json!({
        "_id": commit, "id": id, "author": id.split('/').next(), "sha": commit, "private": false,
        "gated": false, "disabled": false, "downloads": 0, "likes": 0, "tags": [],
        "lastModified": when, "createdAt": when, "siblings": siblings,
    });
    Ok(Answer::new(200, info.to_string()))
}

fn file_item(path: &str, file: &File) -> Value {
    let size = file.bytes.len();
    match file.is_stored {
        true => {
            let pointer = git_sha1(file.hash.as_bytes());
            let lfs = json!({"oid": file.hash, "size": size, "pointerSize": 133});
            json!({"type": "file", "path": path, "size": size, "oid": pointer, "lfs": lfs})
        }
        false => json!({"type": "file", "path": path, "size": size, "oid": file.hash}),
    }
}

fn folder_item(path: &str) -> Value {
    json!({"type": "directory", "path": path, "size": 0, "oid": git_sha1(path.as_bytes())})
}

/// The files and folders below a folder, in order.
fn items(tree: &Tree, below: &str, recursive: bool) -> Vec<Value> {
    let prefix = if below.is_empty() { String::new() } else { format!("{below}/") };
    let mut items: Vec<(String, Value)> = Vec::new();
    for (path, file) in tree {
        let Some(rest) = path.strip_prefix(&prefix) else { continue };
        let folders = rest.match_indices('/').map(|(at, _)| format!("{prefix}{}", &rest[..at]));
        for folder in folders.take(if recursive { usize::MAX } else { 1 }) {
            if !items.iter().any(|(known, _)| *known == folder) {
                items.push((folder.clone(), folder_item(&folder)));
            }
        }
        if recursive || !rest.contains('/') {
            items.push((path.clone(), file_item(path, file)));
        }
    }
    items.into_iter().map(|(_, item)| item).collect()
}

fn tree(
    state: &State,
    repo: &str,
    revision: &str,
    below: &str,
    query: &str,
) -> Result<Answer, &'static str> {
    let (_, tree) = state.tree(repo, revision)?;
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
    };
    let recursive = value("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let all = items(&tree, below, recursive);
    if all.is_empty() {
        return Err("EntryNotFound");
    }
    let start: usize = value("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let page = state.page.load(Relaxed) as usize;
    let shown: Vec<&Value> = all.iter().skip(start).take(page).collect();
    let answer = Answer::new(200, json!(shown).to_string());
    if start + page >= all.len() {
        return Ok(answer);
    }
    let below = if below.is_empty() { String::new() } else { format!("/{below}") };
    let next = format!(
        "{}/api/{repo}/tree/{revision}{below}?recursive={recursive}&cursor={}",
        state.hub,
        start + page
    );
    Ok(answer.with("link", format!("<{next}>; rel=\"next\"")))
}

/// JSON, or the form that Python sends.
fn paths(state: &State, repo: &str, revision: &str, body: &str) -> Result<Answer, &'static str> {
    let (_, tree) = state.tree(repo, revision)?;
    let asked: Vec<String> = match serde_json::from_str::<Value>(body) {
        Ok(json) => {
            let paths = json["paths"].as_array().cloned().unwrap_or_default();
            paths.iter().filter_map(|path| path.as_str().map(str::to_owned)).collect()
        }
        Err(_) => {
            let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
            let paths = pairs.filter(|(name, _)| *name == "paths");
            paths.map(|(_, path)| decoded(&path.replace('+', " "))).collect()
        }
    };
    let item = |path: &String| {
        let folder = format!("{path}/");
        match tree.get(path) {
            Some(file) => Some(file_item(path, file)),
            None if tree.keys().any(|known| known.starts_with(&folder)) => Some(folder_item(path)),
            None => None,
        }
    };
    let items: Vec<Value> = asked.iter().filter_map(item).collect();
    Ok(Answer::new(200, json!(items).to_string()))
}

fn resolve(
    state: &State,
    repo: &str,
    revision: &str,
    path: &str,
    request: &Request,
    fault: Option<Fault>,
) -> Result<Answer, &'static str> {
    let (commit, tree) = state.tree(repo, revision)?;
    let file = tree.get(path).ok_or("EntryNotFound")?.clone();
    if !file.is_stored {
        let answer = Answer::file(file.bytes, request, fault);
        return Ok(answer.with("etag", format!("\"{}\"", file.hash)).with("x-repo-commit", commit));
    }
    let epoch = state.epoch.load(Relaxed);
    let location = format!("{}/store/{}?epoch={epoch}", state.storage, file.hash);
    Ok(Answer::new(302, "")
        .with("location", location)
        .with("x-linked-etag", format!("\"{}\"", file.hash))
        .with("x-linked-size", file.bytes.len().to_string())
        .with("etag", format!("\"{}\"", digits(&file.hash.as_bytes()[..16])))
        .with("x-repo-commit", commit))
}
