//! Requests to the Hub and to the storage behind it: sent, counted, and tried again where that
//! makes sense.
//!
//! In → an [`Ask`]; out → an [`Answer`] with its body unread, whose status is for the caller to
//! judge. What may pass is tried again here: no connection, a cut, silence, 408, 429, 5xx, with
//! waits that double and are jittered, and with an end ([`Tries`]). 429 closes the quota for all
//! connections ([`Pace`]). Redirects are never followed here, so that no credential can travel
//! with one: whoever asks says which address gets the token.
//!
//! **Why a client of our own, on `ureq`.** This code has threads and no async runtime. The crate
//! `hf-hub` 1.0 begins a broken file anew (`File::create(.incomplete)`, its issue 196), checks no
//! hash and understands `Retry-After` as a number only; `object_store` has no Hub and brings an
//! async stack; `opendal`'s Hub resolves each range again, which uses up the quota. What is needed
//! of the protocol is three requests. `ureq` 3 is blocking, kept, and has TLS by `rustls` with no
//! C library.

use std::time::Duration;

use ureq::http::{HeaderMap, Request, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, AsSendBody, Body};

use super::pace::{Pace, Quota, asked_wait};
use crate::base::error::{Error, Result};
use crate::base::hash::xxh3_64_with_seed;
use crate::base::{interrupt, io};
use crate::store::Meter;

/// Failures in a row, without a new byte, after which there is no point in trying again: with the
/// waits between them about a minute and a half.
const TRIES: u32 = 9;
/// The first wait, which doubles, and the longest one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(40);
/// A quota is full again after five minutes (hub-docs, `rate-limits.md`); longer waits that a
/// server asks for are not meant for us.
const LONGEST_QUOTA: u64 = 15 * 60;
/// What a 429 without a time means: a fifth of the window.
const QUOTA_WITHOUT_TIME: u64 = 60;
/// `huggingface_hub` gives up a silent connection after 10 s; a busy home line takes longer.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);
const TO_HEADERS: Duration = Duration::from_secs(60);
/// Connections kept for the next request.
const IDLE: usize = 32;
/// The largest answer that is read whole: a page of a listing has 1,000 entries of some 300 bytes.
const DOCUMENT_MAX: u64 = 64 << 20;

/// One request.
pub struct Ask<'a> {
    pub url: &'a str,
    pub quota: Quota,
    /// Sent as it is, so it may be set only for the host that it belongs to.
    pub token: Option<&'a str>,
    /// The first byte, and the one behind the last.
    pub range: Option<(u64, u64)>,
    /// JSON to send: a POST.
    pub json: Option<String>,
}

impl<'a> Ask<'a> {
    /// A GET without anything.
    pub fn new(url: &'a str, quota: Quota, token: Option<&'a str>) -> Ask<'a> {
        Ask { url, quota, token, range: None, json: None }
    }
}

/// What came back, but for the body.
pub struct Answer {
    pub status: u16,
    pub body: Body,
    headers: HeaderMap,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    /// The whole body. More than 64 MiB is an error: no document that we ask for is so long.
    pub fn bytes(mut self) -> Result<Vec<u8>, ureq::Error> {
        self.body.with_config().limit(DOCUMENT_MAX).read_to_vec()
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Connections and quotas of this process.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    pace: Pace,
}

impl Client {
    /// A client that trusts the certificates which `SSL_CERT_FILE` names, as Python's does, else
    /// Mozilla's. Proxies are those of the environment.
    pub fn new() -> Result<Client> {
        let mut tls = TlsConfig::builder();
        if let Some(roots) = own_roots()? {
            tls = tls.root_certs(roots);
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(TO_HEADERS))
            .timeout_per_read(Some(SILENCE))
            .max_idle_connections(IDLE)
            .max_idle_connections_per_host(IDLE)
            .input_buffer_size(256 << 10)
            .user_agent(concat!("dataprep/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Client { agent: Agent::new_with_config(config), pace: Pace::default() })
    }

    /// The connections, for who tries again by itself.
    #[cfg(feature = "cloud")]
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Sends until there is an answer that trying again would not change.
    pub fn ask(&self, ask: &Ask<'_>, tries: &mut Tries, meter: &Meter) -> Result<Answer> {
        loop {
            while let Err(wait) = self.pace.take(ask.quota) {
                pause(wait, "quota", meter)?;
            }
            meter.request();
            let answer = match self.send(ask) {
                Ok(answer) => answer,
                Err(error) if passes(&error) => {
                    tries.again(&reason(&error), ask.url, meter)?;
                    continue;
                }
                Err(error) => return Err(unreachable_for(ask.url, &reason(&error))),
            };
            if let Some(header) = answer.header("ratelimit") {
                self.pace.learn(header);
            }
            match answer.status {
                429 => self.slow_down(ask, &answer, tries, meter)?,
                408 | 500 | 502 | 503 | 504 => {
                    tries.again(&answer.status.to_string(), ask.url, meter)?;
                }
                _ => return Ok(answer),
            }
        }
    }

    fn send(&self, ask: &Ask<'_>) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().uri(ask.url).header("accept-encoding", "identity");
        if let Some(token) = ask.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some((first, end)) = ask.range {
            request = request.header("range", format!("bytes={first}-{}", end - 1));
        }
        let answer = match &ask.json {
            None => self.run(request.method("GET").body(())?)?,
            Some(json) => {
                let request = request.method("POST").header("content-type", "application/json");
                self.run(request.body(json.as_str())?)?
            }
        };
        let (head, body) = answer.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn run(&self, request: Request<impl AsSendBody>) -> Result<Response<Body>, ureq::Error> {
        self.agent.run(request)
    }

    /// A quota is used up: nobody asks against it before it is full again.
    fn slow_down(
        &self,
        ask: &Ask<'_>,
        answer: &Answer,
        tries: &mut Tries,
        meter: &Meter,
    ) -> Result<()> {
        let header = |name| answer.header(name);
        let asked = asked_wait(header("ratelimit"), header("retry-after"), header("date"));
        let seconds = asked.unwrap_or(QUOTA_WITHOUT_TIME);
        if seconds > LONGEST_QUOTA || tries.count() {
            let message = format!("`{}` refuses more requests for {seconds} s", ask.url);
            return Err(Error::failed(message).with_hint(
                "a token raises the quota (`HF_TOKEN`, or `hf auth login`); the same command \
                 continues later",
            ));
        }
        let wait = Duration::from_secs(seconds);
        self.pace.close(ask.quota, wait);
        if ask.quota == Quota::Uncounted {
            return pause(wait, "429", meter);
        }
        while let Err(wait) = self.pace.take(ask.quota) {
            pause(wait, "429", meter)?;
        }
        Ok(())
    }
}

/// Failures in a row.
#[derive(Debug, Default)]
pub struct Tries {
    failures: u32,
}

impl Tries {
    /// A single try, for what can be done without.
    pub fn once() -> Tries {
        Tries { failures: TRIES - 1 }
    }

    /// Forgets the failures so far, since new bytes have arrived.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure; whether it was the last one.
    fn count(&mut self) -> bool {
        self.failures += 1;
        self.failures >= TRIES
    }

    /// Waits before the next try, or gives up.
    pub fn again(&mut self, why: &str, url: &str, meter: &Meter) -> Result<()> {
        if self.count() {
            return Err(unreachable_for(url, why));
        }
        let doubled = FIRST_WAIT.saturating_mul(1 << (self.failures - 1)).min(LONGEST_WAIT);
        pause(doubled.mul_f64(0.5 + 0.5 * jitter()), why, meter)
    }
}

/// Says what is waited for, and waits; Ctrl-C ends it.
fn pause(wait: Duration, why: &str, meter: &Meter) -> Result<()> {
    const SLICE: Duration = Duration::from_millis(100);
    let mut left = wait;
    while !left.is_zero() {
        if left >= Duration::from_secs(1) {
            meter.wait(Some(format!("{why}: {} s", left.as_secs())));
        }
        let slice = left.min(SLICE);
        std::thread::sleep(slice);
        left -= slice;
        interrupt::check()?;
    }
    meter.wait(None);
    Ok(())
}

/// A number in 0..1 that differs between processes, threads and calls. It moves a request in time;
/// nothing that is kept depends on it.
fn jitter() -> f64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Relaxed);
    let hash = xxh3_64_with_seed(&call.to_le_bytes(), u64::from(std::process::id()));
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// Whether the same request may succeed a moment later.
fn passes(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::HostNotFound => true,
        // An answer that breaks off in its headers.
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

/// Why, in a few words.
pub fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "no answer".to_owned(),
        ureq::Error::HostNotFound => "no such host".to_owned(),
        other => other.to_string(),
    }
}

fn unreachable_for(url: &str, why: &str) -> Error {
    let message = format!("cannot fetch `{}`: {why}", without_query(url));
    Error::failed(message).with_hint(
        "is the network up? what arrived is kept, and the same command continues; `HF_ENDPOINT` \
         names a mirror",
    )
}

/// The address without its query: a signed one holds its signature there, which must not be shown.
pub fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}

/// The certificates that the environment names: of a proxy that opens TLS, in most cases.
fn own_roots() -> Result<Option<RootCerts>> {
    let names = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    let set = names.iter().find_map(|name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        Some((name, std::path::PathBuf::from(value)))
    });
    let Some((name, path)) = set else { return Ok(None) };
    let pem = io::read(&path)?;
    let mut roots: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let Ok(PemItem::Certificate(certificate)) = item {
            roots.push(certificate);
        }
    }
    if roots.is_empty() {
        let message = format!("`{}`, which {name} names, holds no certificate", path.display());
        return Err(Error::config(message).with_hint("it is a file of PEM blocks"));
    }
    Ok(Some(RootCerts::from(roots)))
}
