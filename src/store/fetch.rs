//! A file of a place, whole, on this disk: continued at the byte, hashed as it is written.
//!
//! In → a [`Place`] with one of its entries; out → the file under its name, and its XXH3-128. What
//! has arrived lies in a file beside it, so a killed fetch goes on where it was; the part that was
//! there is hashed again from the disk, all else as it comes: one pass over the bytes. Where the
//! place names the bytes by a hash, other bytes never get the name: they are fetched once more from
//! the first byte, and then are an error. Over several connections a large file is fetched in parts
//! of 8 MiB that are written in order, so at most `connections` parts are in memory, and a kill
//! loses no more than those.

use std::io::{Read, Write};
use std::path::Path;

use super::digest::Digest;
use super::{Entry, Place, final_error};
use crate::base::error::{Error, Result};
use crate::base::hash::Fingerprint;
use crate::base::{io, parallel};

/// What one request of several for a file asks for.
const PART: u64 = 8 << 20;
/// What is written at a time.
const PIECE: usize = 256 << 10;

/// One file to fetch.
pub struct Fetch<'a> {
    pub place: &'a dyn Place,
    pub entry: &'a Entry,
    /// Its own address, for messages.
    pub address: &'a Path,
    /// Requests for it at once.
    pub connections: usize,
    /// Told of bytes that are done, each once.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Fetch<'_> {
    /// Fetches into `incomplete`, then renames that to `complete`.
    pub fn to(&self, incomplete: &Path, complete: &Path) -> Result<Fingerprint> {
        let mut said = 0;
        for _ in 0..2 {
            let (xxh3, found) = self.once(incomplete, &mut said)?;
            if found.is_none() || found == self.entry.identity {
                io::sync(incomplete)?;
                io::rename(incomplete, complete)?;
                return Ok(xxh3);
            }
            io::remove_file(incomplete)?;
        }
        let expected = self.entry.identity.as_ref().map(ToString::to_string).unwrap_or_default();
        let message = format!("expected {expected}, found other bytes, twice");
        Err(Error::damaged(self.address, None, message))
    }

    fn once(
        &self,
        incomplete: &Path,
        said: &mut u64,
    ) -> Result<(Fingerprint, Option<super::Identity>)> {
        let bytes = self.entry.bytes;
        let standing = io::stamp(incomplete)?.map_or(0, |stamp| stamp.bytes);
        if standing > bytes {
            io::remove_file(incomplete)?;
        }
        let standing = if standing > bytes { 0 } else { standing };
        let mut file = io::append(incomplete)?;
        let mut digest = Digest::new(self.entry.identity.as_ref(), bytes);
        let mut done = 0;
        let mut advance = |count: usize| {
            done += count as u64;
            if done > *said {
                (self.progress)(done - *said);
                *said = done;
            }
        };
        if standing > 0 {
            pieces(io::open(incomplete)?, incomplete, |piece| {
                digest.update(piece);
                advance(piece.len());
                Ok(())
            })?;
        }
        let mut take = |piece: &[u8]| {
            file.write_all(piece).map_err(Error::io("write", incomplete))?;
            digest.update(piece);
            advance(piece.len());
            Ok(())
        };
        match self.connections {
            2.. if bytes - standing > 2 * PART => {
                let starts = (standing..bytes).step_by(PART as usize);
                let parts = starts.map(|start| Ok(start..bytes.min(start + PART)));
                let read = |part| self.place.read(self.entry, part);
                let threads = self.connections;
                parallel::ordered(threads, threads, parts, read, |part| take(&part))?;
            }
            _ if standing < bytes => {
                let stream = self.place.stream(self.entry, standing..bytes)?;
                pieces(stream, self.address, take)?;
            }
            _ => {}
        }
        Ok(digest.finish())
    }
}

/// XXH3-128 of a file that is already here, where it holds the bytes of an entry.
pub fn check(path: &Path, entry: &Entry, progress: impl Fn(u64)) -> Result<Option<Fingerprint>> {
    if io::size(path)? != entry.bytes {
        return Ok(None);
    }
    let mut digest = Digest::new(entry.identity.as_ref(), entry.bytes);
    pieces(io::open(path)?, path, |piece| {
        digest.update(piece);
        progress(piece.len() as u64);
        Ok(())
    })?;
    let (xxh3, found) = digest.finish();
    Ok((found.is_none() || found == entry.identity).then_some(xxh3))
}

fn pieces(
    mut source: impl Read,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match source.read(&mut buffer).map_err(|error| final_error(error, path))? {
            0 => return Ok(()),
            count => take(&buffer[..count])?,
        }
    }
}
