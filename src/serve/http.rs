//! Connections: requests in, answers out, whatever a client does.
//!
//! In → a listening socket; out → answers until it is told to stop. **Method.** hyper on one thread
//! of tokio: a connection that waits costs a few kilobytes. Slow work happens elsewhere: texts are
//! written by the [`Engine`], prompts are encoded on threads of their own. **Bounds.**
//! [`CONNECTIONS`] at once, while the rest wait in the system's queue; a header and a body must
//! each arrive within [`PATIENCE`], and a body has at most [`BODY_MAX`] bytes. **Who may ask.** On
//! the loopback address, only requests that name a loopback host are answered: a page of another
//! site that points a name of its own at this machine is refused. Answers carry no permission for
//! other origins.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::engine::{Busy, Engine, Event, Job};
use super::reply::{Answer, Form, Stream, failed};
use super::request::{self, Asked, Prompt, Refusal};
use super::text::Text;
use crate::base::size;
use crate::train::{Trained, sample::Writer};

/// The most connections at once.
const CONNECTIONS: usize = 256;
/// Bytes of a body.
const BODY_MAX: usize = 1 << 20;
/// How long a header may take to arrive, and then a body.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the server checks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How long answers that are being sent may take when the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

const PAGE: &str = include_str!("page.html");
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
/// What the page may do: talk to this server, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What every answer needs.
pub struct Service {
    model: String,
    trained: Arc<Trained>,
    engine: Engine,
    is_loopback: bool,
    created: u64,
    requests: AtomicU64,
}

/// Answers connections of `listener` until `stopping`.
pub fn serve(
    listener: std::net::TcpListener,
    service: &Arc<Service>,
    stopping: &dyn Fn() -> bool,
) -> std::io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().enable_time().max_blocking_threads(2).build()?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        while !stopping() {
            let Ok(place) = tokio::time::timeout(LOOK, room.clone().acquire_owned()).await else {
                continue;
            };
            match tokio::time::timeout(LOOK, listener.accept()).await {
                Err(_) => continue,
                // No more files, or a client that left at once: others come.
                Ok(Err(_)) => tokio::time::sleep(LOOK).await,
                Ok(Ok((stream, _))) => {
                    // Each piece is sent as soon as it is written.
                    let _ = stream.set_nodelay(true);
                    let service = service.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        converse(stream, service).await;
                    });
                }
            }
        }
        drop(listener);
        service.engine.close();
        let everything = room.acquire_many(CONNECTIONS as u32);
        // Answers that are not taken within this time are dropped.
        let _ = tokio::time::timeout(FAREWELL, everything).await;
        Ok(())
    })
}

/// Answers the requests of one connection until it ends.
async fn converse(stream: tokio::net::TcpStream, service: Arc<Service>) {
    let answer = service_fn(|request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(64 << 10);
    // An error on a connection concerns its client alone.
    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
}

impl Service {
    pub fn new(model: String, trained: Arc<Trained>, engine: Engine, is_loopback: bool) -> Service {
        let (created, requests) = (now(), AtomicU64::new(0));
        Service { model, trained, engine, is_loopback, created, requests }
    }

    /// The name by which requests call the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Reply> {
        match self.route(request).await {
            Ok(response) => response,
            Err(refusal) => refused(&refusal),
        }
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Reply>, Refusal> {
        self.check_origin(&request)?;
        let path = request.uri().path().to_owned();
        let allowed = match path.as_str() {
            "/v1/completions" => Method::POST,
            "/" | "/health" | "/v1/models" => Method::GET,
            _ if path.starts_with("/v1/models/") => Method::GET,
            "/v1/chat/completions" => {
                let message = "there is no chat: the model continues texts, at /v1/completions";
                return Err(Refusal::new(404, message));
            }
            _ => return Err(Refusal::new(404, format!("there is nothing at `{path}`"))),
        };
        if request.method() != allowed {
            let message = format!("`{path}` takes {allowed}, not {}", request.method());
            return Err(Refusal::new(405, message));
        }
        match path.as_str() {
            "/" => Ok(page()),
            "/health" => Ok(whole(200, JSON, json!({"status": "ok"}).to_string())),
            "/v1/models" => {
                let list = json!({"object": "list", "data": [self.model_object()]});
                Ok(whole(200, JSON, list.to_string()))
            }
            "/v1/completions" => self.complete(request.into_body()).await,
            other => match other.trim_start_matches("/v1/models/") {
                name if name == self.model => Ok(whole(200, JSON, self.model_object().to_string())),
                name => Err(request::unknown_model(name, &self.model)),
            },
        }
    }

    fn model_object(&self) -> Value {
        json!({"id": self.model, "object": "model", "created": self.created,
            "owned_by": "dataprep", "max_model_len": self.trained.context})
    }

    /// Refuses what a page of another site sent.
    fn check_origin(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let text = |name: header::HeaderName| {
            request.headers().get(name).map(|value| value.to_str().unwrap_or("?").to_owned())
        };
        let host = text(header::HOST);
        if self.is_loopback && host.as_deref().is_some_and(|host| !is_loopback_name(host)) {
            let message = "this server listens on the loopback address alone: ask by its name";
            return Err(Refusal::new(403, message));
        }
        if let Some(origin) = text(header::ORIGIN) {
            let own = host.map(|host| format!("http://{host}"));
            if own.as_deref() != Some(origin.as_str()) {
                return Err(Refusal::new(403, format!("pages of `{origin}` may not ask here")));
            }
        }
        Ok(())
    }

    async fn complete(&self, body: Incoming) -> Result<Response<Reply>, Refusal> {
        let body = tokio::time::timeout(PATIENCE, read(body)).await;
        let late = |_| Refusal::new(408, "the body did not arrive in time");
        let asked = Arc::new(request::parse(&body.map_err(late)??, &self.model)?);
        let number = self.requests.fetch_add(1, Relaxed) + 1;
        let (trained, to_encode) = (self.trained.clone(), asked.clone());
        let prompts = tokio::task::spawn_blocking(move || encode(&trained, &to_encode)).await;
        let prompts = prompts.map_err(|error| failed(&error.to_string()))??;
        let prompt_tokens = prompts.iter().map(|(tokens, _)| tokens.len() as u64).sum();
        let (client, mut events) = mpsc::unbounded_channel();
        let job = self.job(&asked, &prompts, number, client)?;
        let form = Form {
            id: format!("cmpl-{number}"),
            created: now(),
            model: self.model.clone(),
            logprobs: asked.logprobs.is_some(),
            prompt_tokens,
            choices: job.texts.len(),
        };
        self.engine.submit(job).map_err(|busy| match busy {
            Busy::Full(waiting) => {
                Refusal::new(429, format!("{waiting} requests wait already: try again later"))
            }
            Busy::Closed => Refusal::new(503, "the server is ending"),
        })?;
        let mut answer = Answer::new(form);
        if asked.stream {
            let stream = Stream::new(answer, asked.stream_usage);
            let reply = Reply::Pieces(Box::new(Pieces { events, stream: Some(stream) }));
            return Ok(response(200, EVENTS, reply));
        }
        while let Some(event) = events.recv().await {
            match event {
                Event::Piece(choice, piece) => answer.add(choice, piece),
                Event::Failed(message) => return Err(Refusal::new(503, message)),
            }
        }
        match answer.is_complete() {
            true => Ok(whole(200, JSON, answer.whole().to_string())),
            false => Err(failed("the text could not be finished")),
        }
    }

    /// The texts of a request, with the bytes that their caches will take.
    fn job(
        &self,
        asked: &Arc<Asked>,
        prompts: &[(Arc<[u32]>, usize)],
        number: u64,
        client: mpsc::UnboundedSender<Event>,
    ) -> Result<Job, Refusal> {
        let tokens = |prompt: &[u32]| prompt.len() + asked.max_tokens;
        let costs = prompts.iter().map(|(prompt, _)| self.engine.cost(tokens(prompt)));
        let cost = asked.n as u64 * costs.sum::<u64>();
        if cost > self.engine.room() {
            let (cost, room) = (size::Bytes(cost), size::Bytes(self.engine.room()));
            let message = format!("the texts take {cost} of memory, and there are {room}");
            return Err(Refusal::of("n", message));
        }
        let all = prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, asked.n));
        let first = if asked.seeded { asked.sampling.seed } else { number << 32 };
        let texts = all.enumerate().map(|(at, (prompt, added))| {
            let seed = first.wrapping_add((at % asked.n) as u64);
            let text = Text::new(&self.trained, asked, prompt, *added, seed);
            text.map(|text| (at, text)).map_err(|error| failed(&error.to_string()))
        });
        Ok(Job { texts: texts.collect::<Result<_, _>>()?, cost, client })
    }
}

/// The tokens of a prompt, and how many of the first ones the client did not give.
type Encoded = (Arc<[u32]>, usize);

/// The tokens of each prompt.
fn encode(trained: &Trained, asked: &Asked) -> Result<Vec<Encoded>, Refusal> {
    let writer = Writer::new(&trained.tokenizer, trained.opener, &trained.ends);
    let wrong = |message: String| Refusal::of("prompt", message);
    let one = |prompt: &Prompt| {
        let (text, given) = match prompt {
            Prompt::Text(text) => (text.as_str(), None),
            Prompt::Tokens(tokens) if tokens.is_empty() => ("", None),
            Prompt::Tokens(tokens) => ("", Some(tokens.clone())),
        };
        let (tokens, added) = match given {
            Some(tokens) => (tokens, 0),
            None => {
                let tokens = writer.prompt(&trained.model, text);
                let tokens = tokens.map_err(|error| wrong(error.to_string()))?;
                let begins = if text.is_empty() { tokens.len() } else { 0 };
                (tokens, begins.max(usize::from(trained.opener.is_some())))
            }
        };
        let vocabulary = trained.model.config().vocab_size;
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(wrong(format!("token {id} is outside the vocabulary of {vocabulary}")));
        }
        let (length, context) = (tokens.len().saturating_add(asked.max_tokens), trained.context);
        if length > context {
            let message = format!(
                "the model reads {context} tokens: the prompt has {}, and `max_tokens` is {}",
                tokens.len(),
                asked.max_tokens
            );
            return Err(wrong(message).with_code("context_length_exceeded"));
        }
        Ok((tokens.into(), added))
    };
    asked.prompts.iter().map(one).collect()
}

/// `localhost`, `127.…` or `[::1]`, with or without a port.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_address = || name.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback());
    name.eq_ignore_ascii_case("localhost") || is_address()
}

/// A body of at most [`BODY_MAX`] bytes.
async fn read(body: Incoming) -> Result<Vec<u8>, Refusal> {
    let large = || Refusal::new(413, format!("a body has at most {BODY_MAX} bytes"));
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(large());
    }
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| Refusal::new(400, format!("no body: {error}")))?;
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > BODY_MAX {
            return Err(large());
        }
    }
    Ok(bytes)
}

/// An answer, sent whole or as a stream.
enum Reply {
    Whole(Option<Bytes>),
    Pieces(Box<Pieces>),
}

struct Pieces {
    events: mpsc::UnboundedReceiver<Event>,
    /// `None` once the stream has ended.
    stream: Option<Stream>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |bytes: Bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        match self.get_mut() {
            Reply::Whole(bytes) => bytes.take().map_or(Poll::Ready(None), frame),
            Reply::Pieces(pieces) => loop {
                let Some(stream) = &mut pieces.stream else { return Poll::Ready(None) };
                let event = match pieces.events.poll_recv(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(event) => event,
                };
                let lost = || Event::Failed("the text could not be finished".to_owned());
                let (text, is_complete) = stream.push(&event.unwrap_or_else(lost));
                if is_complete {
                    pieces.stream = None;
                }
                if !text.is_empty() {
                    return frame(Bytes::from(text));
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Whole(bytes) => bytes.is_none(),
            Reply::Pieces(pieces) => pieces.stream.is_none(),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Reply::Whole(bytes) => {
                hyper::body::SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Reply::Pieces(_) => hyper::body::SizeHint::default(),
        }
    }
}

fn response(status: u16, kind: &'static str, reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    *response.status_mut() = hyper::StatusCode::from_u16(status).expect("a status of ours");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn whole(status: u16, kind: &'static str, body: String) -> Response<Reply> {
    response(status, kind, Reply::Whole(Some(Bytes::from(body))))
}

fn page() -> Response<Reply> {
    let mut page = response(200, HTML, Reply::Whole(Some(Bytes::from_static(PAGE.as_bytes()))));
    let policy = HeaderValue::from_static(POLICY);
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    page
}

fn refused(refusal: &Refusal) -> Response<Reply> {
    let mut response = whole(refusal.status, JSON, refusal.json().to_string());
    let headers = response.headers_mut();
    match refusal.status {
        429 | 503 => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // The rest of the body is not read, so the connection cannot serve another request.
        408 | 413 => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// Seconds since 1970, which OpenAI's answers carry.
#[expect(clippy::disallowed_types, reason = "an answer says when it was given; nothing keeps it")]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_has_several_names() {
        for name in ["localhost", "LocalHost:80", "127.0.0.1:8080", "127.8.9.1", "[::1]:80"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in ["example.org", "localhost.example.org:80", "10.0.0.1", "[::2]", "", "?"] {
            assert!(!is_loopback_name(name), "{name}");
        }
    }
}
