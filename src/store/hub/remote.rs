//! Bytes of the Hub's files over the network, from whatever byte on.
//!
//! In → a commit and the path of a file; out → a reader of a range, which goes on by itself. A
//! file in the Hub's storage is asked for once at the Hub, which answers with a signed address of
//! another host; that address serves every further range, and is asked for again when it has
//! expired, by one thread for all. So a file costs one request against the quota, however many
//! ranges are read. The token goes to the Hub's own host alone: redirects are followed here, by
//! hand, those within the host with it and those that leave without. The Hub says with the redirect
//! what the file's hash and size are; where they are not those of the listing, nothing is read.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::api::{HTTP_MAX, Hub, REDIRECTS_MAX};
use super::cache::blob_name;
use super::client::{Answer, Ask, Tries};
use super::pace::Quota;
use super::ranged::{Attempt, Body, RangeReader, Ranged};
use super::url::{Target, target};
use crate::base::error::{Error, Result};
use crate::base::size::Bytes;
use crate::store::address::HubAddress;
use crate::store::{Entry, Meter};

/// So many answers in a row that contradict the listing are an error; a single one may come from a
/// cache on the way.
const ODD_MAX: u32 = 3;

/// A repository at a commit, read over the network.
#[derive(Debug)]
pub struct Remote {
    pub hub: Arc<Hub>,
    pub at: HubAddress,
    pub meter: Meter,
    /// Signed addresses by path, each behind a lock of its own that is held while it is asked for.
    signed: Mutex<HashMap<String, Arc<Mutex<Option<String>>>>>,
}

/// A file of a commit.
#[derive(Clone, Debug)]
pub struct File {
    pub commit: String,
    /// In the repository.
    pub path: String,
    /// Under its name in the listing.
    pub entry: Entry,
}

impl Remote {
    /// Nothing is asked yet.
    pub fn new(hub: Arc<Hub>, at: HubAddress) -> Remote {
        Remote { hub, at, meter: Meter::default(), signed: Mutex::default() }
    }

    /// A reader of a range of a file.
    pub fn reader(
        self: &Arc<Self>,
        file: File,
        range: Range<u64>,
    ) -> Result<RangeReader<FileRanges>> {
        if file.entry.bytes > HTTP_MAX {
            let (size, address) = (Bytes(file.entry.bytes), self.address(&file));
            let message = format!(
                "`{address}` has {size}: the Hub hands out files over 50 GB by \
                its Xet protocol alone"
            );
            return Err(Error::failed(message).with_hint(
                "`hf download` speaks it; what it puts into the Hub's cache is found there",
            ));
        }
        let remote = Arc::clone(self);
        Ok(RangeReader::new(FileRanges { remote, file, odd: 0 }, range))
    }

    /// A file's own address, for messages.
    pub fn address(&self, file: &File) -> String {
        let revision = Some(file.commit.clone());
        HubAddress { revision, path: file.path.clone(), ..self.at.clone() }.to_string()
    }

    /// Asks for a range: the body, and how many of its first bytes lie before the range.
    fn open(&self, file: &File, range: &Range<u64>, tries: &mut Tries) -> Result<Opened> {
        let place = {
            let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(signed.entry(file.path.clone()).or_default())
        };
        let mut hops = 0;
        loop {
            let (answer, signed) = {
                let mut signed = place.lock().unwrap_or_else(PoisonError::into_inner);
                match &*signed {
                    Some(_) => (None, signed.clone()),
                    None => match self.resolve(file, range, tries)? {
                        Resolved::Here(answer) => (Some(answer), None),
                        Resolved::At(url) => {
                            *signed = Some(url);
                            (None, signed.clone())
                        }
                    },
                }
            };
            let answer = match (answer, &signed) {
                (Some(answer), _) => answer,
                (None, Some(url)) => self.ask(url, Quota::Uncounted, range, tries)?,
                (None, None) => unreachable!("it is here or elsewhere"),
            };
            match (answer.status, &signed) {
                (200 | 206, _) => return self.opened(file, range, answer),
                (301 | 302 | 303 | 307 | 308, Some(url)) if hops < REDIRECTS_MAX => {
                    hops += 1;
                    let next = answer.header("location").and_then(|next| target(url, next));
                    let next = next.map(|(Target::Relative(url) | Target::Absolute(url))| url);
                    replace(&place, url, next);
                }
                (416, _) => return Ok(Opened::Odd("a range inside the file is refused".into())),
                // The storage itself answered: the signature has expired, or the storage fails for
                // a moment.
                (status, Some(url)) => {
                    replace(&place, url, None);
                    tries.again(&format!("signed address: {status}"), url, &self.meter)?;
                }
                (_, None) => {
                    let at = HubAddress { path: file.path.clone(), ..self.at.clone() };
                    return Err(self.hub.refusal(&at, &answer, "a file"));
                }
            }
        }
    }

    /// Asks the Hub for a file: it hands out small ones itself, and says where others lie.
    fn resolve(&self, file: &File, range: &Range<u64>, tries: &mut Tries) -> Result<Resolved> {
        let mut url = self.hub.file_url(&self.at, &file.commit, &file.path);
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask(&url, Quota::Resolvers, range, tries)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                if matches!(answer.status, 200 | 206) {
                    self.check_name(file, answer.header("etag"))?;
                }
                return Ok(Resolved::Here(answer));
            }
            self.check_name(file, answer.header("x-linked-etag"))?;
            match answer.header("location").and_then(|location| target(&url, location)) {
                Some(Target::Relative(next)) => url = next,
                Some(Target::Absolute(next)) => return Ok(Resolved::At(next)),
                None => break,
            }
        }
        Err(Error::failed(format!("`{}`: the Hub redirects to nowhere", self.address(file))))
    }

    /// Sends the token to the Hub's own host alone, wherever a redirect leads.
    fn ask(
        &self,
        url: &str,
        quota: Quota,
        range: &Range<u64>,
        tries: &mut Tries,
    ) -> Result<Answer> {
        let mut ask = Ask::new(url, quota, self.hub.token_for(url));
        ask.range = Some((range.start, range.end));
        self.hub.client.ask(&ask, tries, &self.meter)
    }

    /// A hash that the Hub names and the listing does not: another file than the one listed.
    fn check_name(&self, file: &File, tag: Option<&str>) -> Result<()> {
        let Some(tag) = tag else { return Ok(()) };
        let tag = tag.trim_start_matches("W/").trim_matches('"');
        let expected = file.entry.identity.as_ref().and_then(blob_name);
        let is_hash = crate::store::digest::identity_of(tag).is_some();
        match expected {
            Some(expected) if is_hash && tag != expected => {
                let message = format!("the listing says {expected}, the Hub now says {tag}");
                Err(Error::damaged(Path::new(&self.address(file)), None, message))
            }
            _ => Ok(()),
        }
    }

    /// Holds the answer's size and range against what was asked for.
    fn opened(&self, file: &File, range: &Range<u64>, answer: Answer) -> Result<Opened> {
        let (start, total) = match answer.status {
            206 => match answer.header("content-range").and_then(content_range) {
                Some(found) => found,
                None => return Ok(Opened::Odd("an answer 206 without its range".into())),
            },
            // The server sent the whole file: the bytes before the range are read and dropped.
            _ => (0, answer.header("content-length").and_then(|length| length.parse().ok())),
        };
        let bytes = file.entry.bytes;
        if let Some(total) = total.filter(|total| *total != bytes) {
            return Ok(Opened::Odd(format!("expected a file of {bytes} bytes, found {total}")));
        }
        if start > range.start {
            let message = format!("asked for byte {}, got byte {start}", range.start);
            return Ok(Opened::Odd(message));
        }
        let body = Box::new(answer.body.into_reader());
        Ok(Opened::Body { body, before: range.start - start })
    }
}

/// What the Hub has for a file.
enum Resolved {
    Here(Answer),
    At(String),
}

/// A body, or an answer that contradicts the listing.
enum Opened {
    Body { body: Body, before: u64 },
    Odd(String),
}

/// Puts another signed address in the place of `old`, unless somebody else has.
fn replace(place: &Mutex<Option<String>>, old: &str, new: Option<String>) {
    let mut signed = place.lock().unwrap_or_else(PoisonError::into_inner);
    if signed.as_deref() == Some(old) {
        *signed = new;
    }
}

/// `bytes 5-9/100` → the first byte, and the size of the whole where it is said.
pub fn content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

/// Ranges of one file.
pub struct FileRanges {
    remote: Arc<Remote>,
    file: File,
    /// Answers so far that contradict the listing.
    odd: u32,
}

impl Ranged for FileRanges {
    fn open(&mut self, range: &Range<u64>, tries: &mut Tries) -> Result<Attempt> {
        match self.remote.open(&self.file, range, tries)? {
            Opened::Body { mut body, before } => {
                let passed = io::copy(&mut (&mut body).take(before), &mut io::sink());
                Ok(match passed {
                    Ok(count) if count == before => Attempt::Body(body),
                    _ => Attempt::Again("the connection was cut".to_owned()),
                })
            }
            Opened::Odd(what) => {
                self.odd += 1;
                if self.odd >= ODD_MAX {
                    return Err(Error::damaged(
                        Path::new(&self.address()),
                        Some(range.start),
                        what,
                    ));
                }
                Ok(Attempt::Again(what))
            }
        }
    }

    fn address(&self) -> String {
        self.remote.address(&self.file)
    }

    fn meter(&self) -> &Meter {
        &self.remote.meter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_with_and_without_the_whole() {
        assert_eq!(content_range("bytes 5-9/100"), Some((5, Some(100))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        for odd in ["5-9/100", "bytes */100", "bytes 5/9", ""] {
            assert_eq!(content_range(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_new_address_replaces_only_the_one_that_failed() {
        let place = Mutex::new(Some("b".to_owned()));
        replace(&place, "a", None);
        assert_eq!(*place.lock().unwrap(), Some("b".to_owned()));
        replace(&place, "b", None);
        assert_eq!(*place.lock().unwrap(), None);
    }
}
