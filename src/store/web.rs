//! One file of a web server: `https://HOST/PATH`.
//!
//! In → an address; out → a [`Place`] with that file alone, since servers list nothing. One request
//! for its first byte tells the size, whether ranges are served, and a strong entity tag, which is
//! the file's identity; without one, samples of it are read. Every later answer must state the same
//! size and tag: another file than the one that was looked at is damage. No credential is sent, so
//! redirects are followed to wherever they lead.

use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::hub::{
    Answer, Ask, Attempt, Body, Client, Quota, RangeReader, Ranged, Target, Tries, content_range,
    target,
};
use super::{Address, Entry, Identity, Listing, Meter, Place, final_error};
use crate::base::error::{Error, Result};

/// As `curl` and Python's `requests` follow, about.
const REDIRECTS_MAX: usize = 10;

/// A file of a web server.
#[derive(Debug)]
pub struct Web {
    address: Address,
    client: Client,
    meter: Meter,
}

/// What an answer says of the file that it is a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    bytes: u64,
    tag: Option<String>,
}

impl Web {
    /// Nothing is asked yet.
    pub fn open(address: &Address) -> Result<Arc<Web>> {
        let (address, meter) = (address.clone(), Meter::default());
        Ok(Arc::new(Web { address, client: Client::new()?, meter }))
    }

    /// The answer to a request for a range, behind all redirects.
    fn ask(&self, range: &Range<u64>, tries: &mut Tries) -> Result<Answer> {
        let mut url = self.address.to_string();
        for _ in 0..=REDIRECTS_MAX {
            let mut ask = Ask::new(&url, Quota::Uncounted, None);
            ask.range = Some((range.start, range.end));
            let answer = self.client.ask(&ask, tries, &self.meter)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            match answer.header("location").and_then(|location| target(&url, location)) {
                Some(Target::Relative(next) | Target::Absolute(next)) => url = next,
                None => break,
            }
        }
        Err(Error::failed(format!("`{}` redirects to nowhere", self.address)))
    }

    fn facts(&self, answer: &Answer) -> Result<Facts> {
        let refused = |message: String, hint: &str| {
            Err(Error::config(format!("`{}`: {message}", self.address)).with_hint(hint))
        };
        match answer.status {
            206 => {}
            // An empty file has no byte that a range could ask for.
            416 if answer.header("content-range") == Some("bytes */0") => {
                return Ok(Facts { bytes: 0, tag: strong_tag(answer) });
            }
            200 => {
                let hint = "fetch it first, as with `curl -O`, and give the file";
                return refused("its server hands out no parts of files".into(), hint);
            }
            401 | 403 => {
                let hint = "no credential is sent to web servers: fetch it first";
                return refused(format!("access is refused ({})", answer.status), hint);
            }
            404 | 410 => return refused("there is nothing".into(), "check the address"),
            status => return Err(Error::failed(format!("`{}`: status {status}", self.address))),
        }
        match answer.header("content-range").and_then(content_range) {
            Some((_, Some(bytes))) => Ok(Facts { bytes, tag: strong_tag(answer) }),
            _ => Err(Error::failed(format!("`{}`: an answer without a size", self.address))),
        }
    }

    /// A body that begins at `range.start`.
    fn body(&self, entry: &Entry, range: &Range<u64>, tries: &mut Tries) -> Result<Body> {
        let answer = self.ask(range, tries)?;
        let facts = self.facts(&answer)?;
        let expected = match &entry.identity {
            Some(Identity::Tag(tag)) => Facts { bytes: entry.bytes, tag: Some(tag.clone()) },
            _ => Facts { bytes: entry.bytes, tag: None },
        };
        let start = answer.header("content-range").and_then(content_range).map(|(start, _)| start);
        if facts != expected || start != Some(range.start) {
            let message = format!("it changed: expected {expected:?}, found {facts:?}");
            return Err(Error::damaged(Path::new(&self.address.to_string()), None, message));
        }
        Ok(Box::new(answer.body.into_reader()))
    }
}

/// A weak tag promises nothing of the bytes.
fn strong_tag(answer: &Answer) -> Option<String> {
    let tag = answer.header("etag")?;
    tag.strip_prefix('"')?.strip_suffix('"').map(str::to_owned)
}

impl Place for Arc<Web> {
    fn address(&self) -> &Address {
        &self.address
    }

    fn list(&self) -> Result<Listing> {
        let answer = self.ask(&(0..1), &mut Tries::default())?;
        let Facts { bytes, tag } = self.facts(&answer)?;
        let (name, identity) = (self.address.name().to_owned(), tag.map(Identity::Tag));
        let entries = vec![Entry { name, bytes, identity }];
        Ok(Listing { entries, is_file: true, revision: None })
    }

    fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let mut reader = self.stream(entry, range)?;
        let read = reader.read_to_end(&mut bytes);
        read.map_err(|error| final_error(error, Path::new(&self.address.to_string())))?;
        Ok(Bytes::from(bytes))
    }

    fn stream(&self, entry: &Entry, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        let file = FileRanges { web: self.clone(), entry: entry.clone() };
        Ok(Box::new(RangeReader::new(file, range)))
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}

/// Ranges of the file.
struct FileRanges {
    web: Arc<Web>,
    entry: Entry,
}

impl Ranged for FileRanges {
    fn open(&mut self, range: &Range<u64>, tries: &mut Tries) -> Result<Attempt> {
        self.web.body(&self.entry, range, tries).map(Attempt::Body)
    }

    fn address(&self) -> String {
        self.web.address.to_string()
    }

    fn meter(&self) -> &Meter {
        &self.web.meter
    }
}
