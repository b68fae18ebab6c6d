//! `serve` as its clients meet it: answers, refusals, crowds, and its end.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{TestDir, project};

/// A server of the fixture's model.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(more: &str) -> Server {
        let directory = TestDir::new();
        let model = project().join("fixtures/evals/model");
        let mut command =
            directory.command(&format!("serve {} --port 0 --json {more}", model.display()));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&record["type"], &record["model"]), (&json!("serving"), &json!("model")));
        let address = record["address"].as_str().unwrap();
        Server { child, address: address.trim_start_matches("http://").to_owned() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream
    }

    /// Sends `request` as it is; the status and the rest.
    fn send(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        // A server that refuses early may close before everything was sent.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or(0), body.to_owned())
    }

    fn request(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let (address, length) = (&self.address, body.len());
        self.send(
            format!(
                "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n{headers}\r\n{body}"
            )
            .as_bytes(),
        )
    }

    fn complete(&self, body: &Value) -> (u16, Value) {
        let (status, body) = self.request("POST /v1/completions", "", &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}")))
    }

    /// The server's memory, KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Ctrl-C: the exit status, and what it said.
    fn interrupt(&mut self) -> (i32, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code().unwrap_or(-1), said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The events of a stream without what carries them; chunked pieces are put together.
fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let data = data.filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn texts_are_those_of_generate_streamed_or_whole() {
    let server = Server::start("");
    let directory = TestDir::new();
    let model = project().join("fixtures/evals/model");
    let command = format!(
        "generate {} --prompt Water --max-tokens 40 --temperature 0.7 --seed 9 --json",
        model.display()
    );
    let generated = directory.dataprep(&command).ok().summary();
    let asked = json!({"model": "model", "prompt": "Water", "max_tokens": 40,
        "temperature": 0.7, "seed": 9, "logprobs": 3});
    let (status, answer) = server.complete(&asked);
    assert_eq!((status, &answer["object"]), (200, &json!("text_completion")));
    assert_eq!(answer["choices"][0]["text"], generated["text"]);
    let logprobs = &answer["choices"][0]["logprobs"];
    let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap() as usize;
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), tokens, "{list}");
    }
    let mut streamed = asked.clone();
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    let (status, body) = server.request("POST /v1/completions", "", &streamed.to_string());
    assert_eq!(status, 200);
    assert!(body.contains("data: [DONE]"), "{body}");
    let events = events(&body);
    let pieces = events.iter().filter_map(|event| event["choices"][0]["text"].as_str());
    assert_eq!(pieces.collect::<String>(), answer["choices"][0]["text"].as_str().unwrap());
    assert_eq!(events.last().unwrap()["usage"], answer["usage"]);
    // An echo begins with what was given; texts of one request differ, and come again.
    let several = json!({"prompt": ["One", "Two"], "n": 2, "echo": true, "seed": 1});
    let (_, first) = server.complete(&several);
    let text = |at: usize| first["choices"][at]["text"].as_str().unwrap().to_owned();
    assert!(text(0).starts_with("One") && text(1).starts_with("One") && text(2).starts_with("Two"));
    assert_ne!(text(0), text(1));
    assert_eq!(server.complete(&several).1["choices"], first["choices"]);
    // A stop string ends a text before it.
    let stop: String =
        answer["choices"][0]["text"].as_str().unwrap().chars().nth(3).into_iter().collect();
    let mut stopped = asked;
    stopped["stop"] = json!([stop]);
    let choice = server.complete(&stopped).1["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "stop");
    assert!(!choice["text"].as_str().unwrap().contains(&stop));
}

#[test]
fn who_asks_wrongly_is_told_why() {
    let server = Server::start("");
    let wrong = |line: &str, headers: &str, body: &str, status: u16, says: &str| {
        let (found, text) = server.request(line, headers, body);
        assert_eq!(found, status, "{line} {body}: {text}");
        let error: Value = serde_json::from_str(&text).unwrap();
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    };
    let complete = "POST /v1/completions";
    wrong(complete, "", "{", 400, "no JSON");
    wrong(complete, "", r#"{"max_tokens": 100000}"#, 400, "reads 256 tokens");
    wrong(complete, "", r#"{"prompt": [384]}"#, 400, "outside the vocabulary");
    wrong(complete, "", r#"{"model": "other"}"#, 404, "this server has `model`");
    wrong(complete, "", &format!("\"{}\"", "a".repeat(1 << 20)), 413, "at most");
    wrong("GET /v1/completions", "", "", 405, "takes POST");
    wrong("POST /v1/chat/completions", "", "{}", 404, "no chat");
    wrong("GET /v2", "", "", 404, "nothing at `/v2`");
    wrong("GET /v1/models/other", "", "", 404, "does not exist");
    wrong(complete, "Origin: http://example.org\r\n", "{}", 403, "may not ask");
    let (status, _) =
        server.send(b"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 403);
    assert_eq!(server.request("GET /v1/models", "", "").0, 200);
    let (status, page) = server.request("GET /", "", "");
    assert!(status == 200 && page.contains("<textarea"), "{status}");
}

#[test]
fn a_thousand_bad_requests_and_fifty_clients_lose_nothing() {
    let server = &Server::start("");
    let good = json!({"prompt": "The cell", "max_tokens": 24, "temperature": 0});
    let expected = server.complete(&good).1["choices"].clone();
    let before = server.memory();
    let bad: [&[u8]; 5] = [
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot JSON!",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"\x00\xff\xfe nonsense\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 21\r\nConnection: close\r\n\r\n\
          {\"temperature\": -1.5}",
    ];
    std::thread::scope(|scope| {
        // Some say nothing, or leave in the middle.
        let silent: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
        for request in bad {
            scope.spawn(move || {
                for _ in 0..200 {
                    let (status, text) = server.send(request);
                    assert!((400..500).contains(&status), "{status}: {text}");
                }
            });
        }
        for _ in 0..50 {
            let (good, expected) = (&good, &expected);
            scope.spawn(move || {
                for _ in 0..3 {
                    let (status, answer) = server.complete(good);
                    assert_eq!((status, &answer["choices"]), (200, expected));
                }
                // Leaves while its answer is written.
                let body = json!({"max_tokens": 200, "stream": true}).to_string();
                let head = format!(
                    "POST /v1/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                server.connect().write_all(head.as_bytes()).unwrap();
            });
        }
        scope.spawn(move || drop(silent));
    });
    assert_eq!(server.complete(&good).1["choices"], expected);
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 200 << 10, "{grown} KiB more than before");
}

#[test]
fn ctrl_c_ends_it_and_says_so_to_who_waits() {
    let mut server = Server::start("");
    let body = json!({"max_tokens": 250, "n": 100, "stream": true}).to_string();
    let mut stream = server.connect();
    let head = format!("POST /v1/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut first = [0; 64];
    assert!(stream.read(&mut first).unwrap() > 0);
    let (status, said) = server.interrupt();
    assert_eq!(status, 130, "{said}");
    assert!(said.contains("interrupted") && !said.contains("continues"), "{said}");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("the server is ending"), "{rest}");
    let again = TestDir::new();
    let refused = again.dataprep("serve nothing-here --port 0");
    assert_eq!(refused.status, 2, "{}", refused.stderr);
}
