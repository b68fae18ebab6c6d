//! The bytes of row groups of a local file: one contiguous read each, hashed as they pass.
//!
//! All columns are read: they are part of what `verify` re-reads, and neighbours on the disk. So a
//! file is read once, in order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use super::bytes::Stretches;
use crate::artifact::planned::size_differs;
use crate::base::error::{Error, Result};
use crate::base::io;

/// Reads parts of a file and keeps a hash over each stretch without gaps.
pub(super) struct SpanReader {
    file: File,
    path: PathBuf,
    /// Size of the file when it was planned.
    file_bytes: u64,
    pub(super) read: Stretches,
}

impl SpanReader {
    pub(super) fn open(path: PathBuf, file_bytes: u64) -> Result<SpanReader> {
        let file = io::open(&path)?;
        Ok(SpanReader { file, path, file_bytes, read: Stretches::default() })
    }

    /// The bytes of `span`.
    pub(super) fn take(&mut self, span: Range<u64>) -> Result<Vec<u8>> {
        let wanted = span.end - span.start;
        let mut bytes = Vec::with_capacity(wanted as usize);
        self.seek(&span)?;
        let file = &mut self.file;
        file.take(wanted).read_to_end(&mut bytes).map_err(Error::io("read", &self.path))?;
        self.read.add(&bytes);
        self.check(span)?;
        Ok(bytes)
    }

    /// Hashes `span` without holding it, and gives a reader of the file, whose pages are in the
    /// system's cache now.
    pub(super) fn pass(&mut self, span: Range<u64>) -> Result<File> {
        self.seek(&span)?;
        let mut buffer = vec![0; 1 << 20];
        let mut left = span.end - span.start;
        while left > 0 {
            let piece = left.min(buffer.len() as u64) as usize;
            let read = self.file.read(&mut buffer[..piece]);
            let read = read.map_err(Error::io("read", &self.path))?;
            if read == 0 {
                break;
            }
            self.read.add(&buffer[..read]);
            left -= read as u64;
        }
        self.check(span)?;
        io::open(&self.path)
    }

    fn seek(&mut self, span: &Range<u64>) -> Result<()> {
        if self.read.seek(span.start) {
            let place = SeekFrom::Start(span.start);
            self.file.seek(place).map_err(Error::io("read", &self.path))?;
        }
        Ok(())
    }

    fn check(&self, span: Range<u64>) -> Result<()> {
        let end = self.read.end();
        if end == span.end {
            return Ok(());
        }
        Err(size_differs(&self.path, self.file_bytes, Some(end)))
    }
}
