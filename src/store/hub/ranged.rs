//! A range of a remote file, in order: after a cut, reading goes on at the byte where it ended.
//!
//! In → how a place opens a range; out → a reader that asks again until [`Tries`] come to an end.
//! An error is final, and carries its cause through `std::io::Error`.

use std::io::{self, Read};
use std::ops::Range;

use super::client::Tries;
use crate::base::error::Result;
use crate::base::interrupt;
use crate::store::Meter;

/// The bytes of an answer, as they arrive.
pub type Body = Box<dyn Read + Send>;

/// What came of asking for a range.
pub enum Attempt {
    /// Its bytes, from the first on.
    Body(Body),
    /// Nothing of use, for this reason: it is asked for again.
    Again(String),
}

/// What ranges are read of.
pub trait Ranged {
    /// Asks once for `range`.
    fn open(&mut self, range: &Range<u64>, tries: &mut Tries) -> Result<Attempt>;

    /// For messages.
    fn address(&self) -> String;

    /// Where what arrives is counted.
    fn meter(&self) -> &Meter;
}

/// A reader of one range.
pub struct RangeReader<R> {
    of: R,
    at: u64,
    end: u64,
    body: Option<Body>,
    tries: Tries,
}

impl<R: Ranged> RangeReader<R> {
    pub fn new(of: R, range: Range<u64>) -> RangeReader<R> {
        let (at, end) = (range.start, range.end);
        RangeReader { of, at, end, body: None, tries: Tries::default() }
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.at < self.end && !buffer.is_empty() {
            interrupt::check()?;
            let why = match &mut self.body {
                None => match self.of.open(&(self.at..self.end), &mut self.tries)? {
                    Attempt::Body(body) => {
                        self.body = Some(body);
                        continue;
                    }
                    Attempt::Again(why) => why,
                },
                Some(body) => {
                    let length = buffer.len().min((self.end - self.at) as usize);
                    match body.read(&mut buffer[..length]) {
                        Ok(0) => "the connection was cut".to_owned(),
                        Ok(count) => {
                            self.at += count as u64;
                            self.tries.progressed();
                            self.of.meter().received(count as u64);
                            return Ok(count);
                        }
                        Err(error) => error.to_string(),
                    }
                }
            };
            self.body = None;
            self.tries.again(&why, &self.of.address(), self.of.meter())?;
        }
        Ok(0)
    }
}

impl<R: Ranged> Read for RangeReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(io::Error::other)
    }
}
