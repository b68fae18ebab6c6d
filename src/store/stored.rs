//! One file, wherever it lies: what the readers of formats read from.
//!
//! In → a path of this machine, or a place with one of its entries; out → bytes: a sequential
//! [`Input`] from any offset, or a range at once. A local file is read by the system's own calls,
//! nothing between. A remote one is asked for what is read of it, and no more: an [`Input`] asks
//! for the range that it is told to expect, and for what lies behind it only when somebody reads
//! on. Errors name the file by its path or address.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Entry, Identity, Place, Revision};
use crate::base::error::{Error, Result};
use crate::base::hash::{Fingerprint, Hasher, xxh3_64};
use crate::base::io::{self as files, Stamp};

/// What is kept of a remote file's beginning while it is looked at: formats ask for it several
/// times, and a first document is nearly always in it.
const HEAD_BYTES: u64 = 64 << 10;

/// The bytes asked for at a time beyond the expected range: most often the rest of a line.
const BEHIND_BYTES: u64 = 256 << 10;

/// A file that can be read, here or elsewhere.
#[derive(Clone, Debug)]
pub struct Stored {
    path: PathBuf,
    at: At,
}

#[derive(Clone, Debug)]
enum At {
    Here,
    There(Remote),
}

/// A remote file: who has it, and what its listing said.
#[derive(Clone, Debug)]
struct Remote {
    place: Arc<dyn Place>,
    entry: Arc<Entry>,
    revision: Option<Arc<Revision>>,
    /// Where its beginning is kept, if it is.
    head: Option<Arc<OnceLock<Bytes>>>,
}

impl Stored {
    /// A file of this machine.
    pub fn local(path: PathBuf) -> Stored {
        Stored { path, at: At::Here }
    }

    /// A file of a place; `address` is its own.
    pub fn remote(
        place: Arc<dyn Place>,
        entry: Entry,
        revision: Option<Arc<Revision>>,
        address: String,
    ) -> Stored {
        let remote = Remote { place, entry: Arc::new(entry), revision, head: None };
        Stored { path: PathBuf::from(address), at: At::There(remote) }
    }

    /// Where it lies, as messages name it: a path, or an address.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path, where it lies on this machine.
    pub fn here(&self) -> Option<&Path> {
        matches!(self.at, At::Here).then_some(self.path.as_path())
    }

    /// What its place promises of its bytes.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.at {
            At::Here => None,
            At::There(remote) => remote.entry.identity.as_ref(),
        }
    }

    /// Which revision of its place it is read at.
    pub fn revision(&self) -> Option<&Revision> {
        match &self.at {
            At::Here => None,
            At::There(remote) => remote.revision.as_deref(),
        }
    }

    /// The same file, of which the beginning is fetched once for as long as this value lives.
    pub fn remembering_its_head(&self) -> Stored {
        let mut stored = self.clone();
        if let At::There(remote) = &mut stored.at {
            remote.head = Some(Arc::default());
        }
        stored
    }

    /// Bytes of the file: now, or of a remote one when it was listed.
    pub fn size(&self) -> Result<u64> {
        match &self.at {
            At::Here => files::size(&self.path),
            At::There(remote) => Ok(remote.entry.bytes),
        }
    }

    /// The stamp that tells whether the file may hold other bytes than before; `None` where it is
    /// gone. That of a remote file is what its listing said, since its place hands out no other
    /// bytes.
    pub fn stamp(&self) -> Result<Option<Stamp>> {
        match &self.at {
            At::Here => files::stamp(&self.path),
            At::There(remote) => {
                let identity = remote.entry.identity.as_ref().map(Identity::to_string);
                let inode = xxh3_64(identity.unwrap_or_default().as_bytes());
                Ok(Some(Stamp { bytes: remote.entry.bytes, inode, ..Stamp::default() }))
            }
        }
    }

    /// The file from `range.start` on, in order, to its end. Of a remote one, what lies behind
    /// `range.end` is asked for only when it is read.
    pub fn open(&self, range: Range<u64>) -> Result<Input> {
        match &self.at {
            At::Here => {
                let mut file = files::open(&self.path)?;
                if range.start > 0 {
                    let place = SeekFrom::Start(range.start);
                    file.seek(place).map_err(Error::io("read", &self.path))?;
                }
                Ok(Input::Here(file))
            }
            At::There(remote) => {
                let (remote, position) = (remote.clone(), range.start);
                Ok(Input::There(Stream { remote, position, expected: range.end, part: None }))
            }
        }
    }

    /// The bytes of `range`; fewer, where the file ends inside it, are damage.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes> {
        match &self.at {
            At::Here => {
                let length = (range.end - range.start) as usize;
                files::read_range(&self.path, range.start, length).map(Bytes::from)
            }
            At::There(remote) if range.end > remote.entry.bytes => {
                let message = format!("expected bytes up to {}, found fewer", range.end);
                Err(Error::damaged(&self.path, Some(remote.entry.bytes), message))
            }
            At::There(remote) => remote.place.read(&remote.entry, range),
        }
    }

    /// The first bytes of the file, `length` at most.
    pub fn head(&self, length: u64) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        let input = self.open(0..length)?;
        let read = input.take(length).read_to_end(&mut head);
        read.map_err(|error| super::final_error(error, &self.path))?;
        Ok(head)
    }

    /// XXH3-128 of the bytes `start..end` (the end of the file at most), and how many they are.
    pub fn hash_range(&self, start: u64, end: u64) -> Result<(Fingerprint, u64)> {
        if let Some(path) = self.here() {
            return files::hash_range(path, start, end);
        }
        let mut rest = self.open(start..end)?.take(end.saturating_sub(start));
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let read = rest.read(&mut buffer);
            let count = read.map_err(|error| super::final_error(error, &self.path))?;
            if count == 0 {
                return Ok((hasher.finish(), bytes));
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
        }
    }
}

/// A file that is read in order.
pub enum Input {
    Here(File),
    There(Stream),
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Here(file) => file.read(buffer),
            Input::There(stream) => stream.read(buffer),
        }
    }
}

/// A remote file that is read in order, by as few requests as what is read allows.
pub struct Stream {
    remote: Remote,
    position: u64,
    /// The byte up to which it will probably be read.
    expected: u64,
    /// The request under way, and where its range ends.
    part: Option<(Box<dyn Read + Send>, u64)>,
}

impl Stream {
    /// What is kept of the file's beginning from here on.
    fn kept(&self) -> Result<Option<Bytes>> {
        let Some(head) = &self.remote.head else { return Ok(None) };
        let length = HEAD_BYTES.min(self.remote.entry.bytes);
        if self.position >= length {
            return Ok(None);
        }
        let bytes = match head.get() {
            Some(bytes) => bytes.clone(),
            None => {
                let bytes = self.remote.place.read(&self.remote.entry, 0..length)?;
                head.get_or_init(|| bytes).clone()
            }
        };
        Ok(Some(bytes.slice(self.position as usize..)))
    }

    fn ask(&self) -> Result<(Box<dyn Read + Send>, u64)> {
        let bytes = self.remote.entry.bytes;
        let end = match self.position < self.expected {
            true => self.expected.min(bytes),
            false => bytes.min(self.position + BEHIND_BYTES),
        };
        Ok((self.remote.place.stream(&self.remote.entry, self.position..end)?, end))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.remote.entry.bytes || buffer.is_empty() {
            return Ok(0);
        }
        if let Some(kept) = self.kept().map_err(io::Error::other)? {
            let length = kept.len().min(buffer.len());
            buffer[..length].copy_from_slice(&kept[..length]);
            self.position += length as u64;
            return Ok(length);
        }
        if self.part.as_ref().is_none_or(|(_, end)| self.position >= *end) {
            self.part = Some(self.ask().map_err(io::Error::other)?);
        }
        let Some((part, end)) = &mut self.part else { unreachable!("asked for above") };
        let length = ((*end - self.position).min(buffer.len() as u64)) as usize;
        let read = part.read(&mut buffer[..length])?;
        if read == 0 {
            let message = format!("expected {} more bytes", *end - self.position);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.position += read as u64;
        Ok(read)
    }
}
