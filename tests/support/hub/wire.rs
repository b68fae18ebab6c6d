//! HTTP/1.1 on a socket, as much of it as downloads use.
//!
//! In → a connection; out → requests; in → an answer, with what is to go wrong; out → bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::{Fault, sleep};

/// A request.
pub struct Request {
    pub method: String,
    /// With its query, as it was sent.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// The next request of a connection; `None` at its end.
    pub fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
        let first = line(reader)?;
        let mut words = first.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = line(reader)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Request { method, path, headers, body: String::new() };
        if let Some(length) = request.header("content-length").and_then(|text| text.parse().ok()) {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            request.body = String::from_utf8(body).ok()?;
        }
        Some(request)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `Range: bytes=5-9` → 5 and 10.
    pub fn range(&self) -> Option<(u64, Option<u64>)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<u64>().ok().map(|last| last + 1)))
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(count) if count > 0 => Some(line.trim_end().to_owned()),
        _ => None,
    }
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Arc<Vec<u8>>,
    /// Which bytes of the body are sent.
    pub from: u64,
    pub to: u64,
}

/// What became of sending it.
pub struct Sent {
    pub bytes: u64,
    /// Whether the connection may carry another request.
    pub keep: bool,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        let body = Arc::new(body.into());
        let to = body.len() as u64;
        Answer { status, headers: Vec::new(), body, from: 0, to }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// A file, or the range of it that was asked for.
    pub fn file(bytes: Arc<Vec<u8>>, request: &Request, fault: Option<Fault>) -> Answer {
        let size = bytes.len() as u64;
        let claimed = match fault {
            Some(Fault::Longer(more)) => size + more,
            _ => size,
        };
        let range = request.range().filter(|_| fault != Some(Fault::Whole));
        let Some((from, to)) = range else {
            let mut answer = Answer { body: bytes, to: size, ..Answer::new(200, "") };
            if claimed != size {
                answer.headers.push(("content-length", claimed.to_string()));
            }
            return answer;
        };
        let to = to.unwrap_or(size).min(size);
        if from >= to {
            return Answer::new(416, "").with("content-range", format!("bytes */{size}"));
        }
        let range = format!("bytes {from}-{}/{claimed}", to - 1);
        let answer = Answer { body: bytes, from, to, ..Answer::new(206, "") };
        answer.with("content-range", range)
    }

    /// Writes it, as the fault has it.
    pub fn send(&self, stream: &mut TcpStream, is_head: bool, fault: Option<Fault>) -> Sent {
        let mut head = format!("HTTP/1.1 {} Status\r\n", self.status);
        let has_length = self.headers.iter().any(|(name, _)| *name == "content-length");
        if !has_length {
            head += &format!("content-length: {}\r\n", self.to - self.from);
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let written = stream.write_all(head.as_bytes()).is_ok();
        if is_head || !written {
            return Sent { bytes: 0, keep: written };
        }
        let body = &self.body[self.from as usize..self.to as usize];
        let length = match fault {
            Some(Fault::Cut(after)) => body.len().min(after as usize),
            _ => body.len(),
        };
        let piece = if matches!(fault, Some(Fault::Drip(_))) { 4 << 10 } else { 64 << 10 };
        let mut bytes = 0;
        for part in body[..length].chunks(piece) {
            let mut part = part.to_vec();
            if let Some(Fault::Flip(at)) = fault
                && let Some(at) = at.checked_sub(self.from + bytes)
                && let Some(byte) = part.get_mut(at as usize)
            {
                *byte ^= 1;
            }
            if let Some(Fault::Drip(milliseconds)) = fault {
                sleep(milliseconds);
            }
            if stream.write_all(&part).is_err() {
                return Sent { bytes, keep: false };
            }
            bytes += part.len() as u64;
        }
        Sent { bytes, keep: length == body.len() && !has_length }
    }
}

/// Text without percent-encoding.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
