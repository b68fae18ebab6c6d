//! The page while a run trains: a server for this machine alone.
//!
//! In → a port, a function that makes the page and one that tells whether it would differ; out →
//! HTTP answers: `/` the page, `/stamp` a few bytes that change with the records. The page made
//! last is kept while its stamp stands. It listens on the loopback address, answers GET and
//! nothing else, and only requests that name that address, so that no site in a browser can read
//! it by a name of its own (DNS rebinding). One request at a time: it is one person's.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use crate::base::{
    error::{Error, Result},
    hash::xxh3_128,
    io,
};

/// The most bytes of a request's header, and how long a client may take.
const HEAD_MAX: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// A page that is served.
pub struct Live {
    listener: TcpListener,
    kept: Option<(String, String)>,
}

impl Live {
    /// Listens on the loopback address; port 0: any that is free.
    pub fn bind(port: u16) -> Result<Live> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).map_err(|error| {
            Error::failed(format!("cannot listen on {address}: {error}"))
                .with_hint("another port: `--port 0` takes one that is free")
        })?;
        Ok(Live { listener, kept: None })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        let address = self.listener.local_addr();
        address.map_err(|error| Error::failed(format!("no address: {error}")))
    }

    /// Answers until `ended` says so, which is asked between requests and five times a second.
    pub fn serve(
        &mut self,
        stamp: &dyn Fn() -> String,
        page: &dyn Fn() -> Result<String>,
        ended: &dyn Fn() -> bool,
    ) -> Result<()> {
        let failed = |error: std::io::Error| Error::failed(format!("cannot serve: {error}"));
        self.listener.set_nonblocking(true).map_err(failed)?;
        while !ended() {
            match self.listener.accept() {
                // A client that went away, or sent nonsense, must not end the server.
                Ok((stream, _)) => drop(self.answer(stream, stamp, page)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn answer(
        &mut self,
        mut stream: TcpStream,
        stamp: &dyn Fn() -> String,
        page: &dyn Fn() -> Result<String>,
    ) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let head = head(&stream)?;
        let port = self.listener.local_addr()?.port();
        let (status, kind, body) = match path(&head, port) {
            Some("/") => match self.page(stamp, page) {
                Ok(html) => ("200 OK", "text/html; charset=utf-8", html),
                Err(error) => ("500 Internal Server Error", "text/plain", error.to_string()),
            },
            Some("/stamp") => ("200 OK", "text/plain", stamp()),
            Some(_) => ("404 Not Found", "text/plain", "no such page\n".to_owned()),
            None => ("400 Bad Request", "text/plain", "GET / is what is here\n".to_owned()),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())
    }

    fn page(
        &mut self,
        stamp: &dyn Fn() -> String,
        page: &dyn Fn() -> Result<String>,
    ) -> Result<String> {
        let now = stamp();
        match &self.kept {
            Some((stamp, html)) if *stamp == now => Ok(html.clone()),
            _ => {
                let html = page()?;
                self.kept = Some((now, html.clone()));
                Ok(html)
            }
        }
    }
}

/// The lines up to the empty one.
fn head(stream: &TcpStream) -> std::io::Result<String> {
    let mut reader = BufReader::new(stream.take(HEAD_MAX));
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    Ok(head)
}

/// The path of a GET that was meant for this server.
fn path(head: &str, port: u16) -> Option<&str> {
    let path = head.strip_prefix("GET ")?.split(' ').next()?;
    let host = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    })?;
    let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    ours.iter().any(|name| name == host).then_some(path)
}

/// Sizes and times of a run's records: changes whenever a page would.
pub fn stamp(runs: &[impl AsRef<Path>]) -> String {
    let names = ["metrics.jsonl", "evals.jsonl", "samples.jsonl", "state.json", "run.json"];
    let mut all = String::new();
    for file in runs.iter().flat_map(|run| names.map(|name| run.as_ref().join(name))) {
        all += &match io::stamp(&file) {
            Ok(Some(stamp)) => format!("{stamp:?}"),
            _ => "-".to_owned(),
        };
    }
    xxh3_128(all.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn only_a_get_to_this_machine_has_a_path() {
        let head = |first: &str, host: &str| format!("{first} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(path(&head("GET /", "127.0.0.1:80"), 80), Some("/"));
        assert_eq!(path(&head("GET /stamp", "localhost:80"), 80), Some("/stamp"));
        assert_eq!(path(&head("POST /", "127.0.0.1:80"), 80), None);
        assert_eq!(path(&head("GET /", "evil.example:80"), 80), None);
        assert_eq!(path("GET / HTTP/1.1\r\n\r\n", 80), None);
    }

    #[test]
    fn a_page_is_made_anew_when_its_stamp_changes() {
        let mut live = Live::bind(0).unwrap();
        let address = live.address().unwrap();
        let asked = std::thread::spawn(move || {
            let get = |path: &str| {
                let mut stream = TcpStream::connect(address).unwrap();
                write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            };
            [get("/"), get("/"), get("/stamp"), get("/none"), get("/")]
        });
        let (made, stamps) = (Cell::new(0), Cell::new(0));
        let stamp = || {
            stamps.set(stamps.get() + 1);
            (stamps.get() / 4).to_string()
        };
        let page = || {
            made.set(made.get() + 1);
            Ok(format!("page {}", made.get()))
        };
        live.serve(&stamp, &page, &|| asked.is_finished()).unwrap();
        let [first, again, stamped, none, last] = asked.join().unwrap();
        assert!(first.ends_with("page 1") && again.ends_with("page 1"), "{first} {again}");
        assert!(stamped.ends_with("\r\n0") && none.starts_with("HTTP/1.1 404"), "{stamped}");
        assert!(last.ends_with("page 2"), "{last}");
    }
}
