//! A file's bytes: decompressed as they are read, hashed as they lie on the disk.
//!
//! In → a file; out → [`Stream`], which knows how much of the file it has read, the hash of that,
//! and where in it something is wrong. The compression is told by the first bytes, as each format's
//! specification gives them, never by a name: gzip (all members), zstd (all frames), bzip2 and xz
//! (all streams). A stream that ends inside compressed data is a damaged file, and so is one whose
//! checksums differ. Memory: a buffer of [`BUFFER_BYTES`] and the decoder's window.

use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use lzma_rust2::XzReader;

use super::members::Members;
use crate::artifact::planned::size_differs;
use crate::base::error::{Error, Result};
use crate::base::hash::{Fingerprint, Hasher};
use crate::source::formats::Layout;
use crate::source::look;
use crate::store::{Stored, final_error};

/// Bytes of a compressed file that are read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Text in a compressed file, as a multiple of its size: what web text gives with gzip and zstd.
const TEXT_PER_COMPRESSED: u64 = 4;

/// The dictionary and tables of xz at most, in KiB: what `xz --lzma2=dict=1536MiB`, the largest,
/// asks for.
const XZ_MEMORY_KIB: u32 = 1600 << 10;

/// A tar archive says so at byte 257; every other kind of file earlier.
const HEAD_BYTES: u64 = 512;

/// What of a file's text decides its format: the first line of nearly every file is in it.
const HEAD_TEXT_BYTES: u64 = 64 << 10;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// By the first bytes.
    pub fn of(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame: `pzstd` puts them first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => {
                Compression::Bzip2
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            _ => Compression::Plain,
        }
    }
}

/// Endings of compressors, which follow the ending of what is in the file.
const COMPRESSED_ENDINGS: [&str; 5] = [".gz", ".zst", ".zstd", ".bz2", ".xz"];

/// The name without the ending of a compressor.
pub fn uncompressed_name(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let ending = COMPRESSED_ENDINGS.iter().find(|ending| lower.ends_with(**ending));
    // A name that is nothing but the ending is left as it is.
    let ending = ending.filter(|ending| ending.len() < name.len());
    ending.and_then(|ending| name.get(..name.len() - ending.len())).unwrap_or(name)
}

/// The first bytes of a file as it lies there, enough to tell what it is.
pub fn head(file: &Stored) -> Result<Vec<u8>> {
    file.head(HEAD_BYTES)
}

/// What a file begins with.
pub struct Head {
    pub compression: Compression,
    /// The first bytes of what is in it; empty where it cannot be decompressed.
    pub text: Vec<u8>,
    /// Whether `text` is all.
    pub is_all: bool,
}

impl Head {
    pub fn read(file: &Stored) -> Result<Head> {
        let mut stream = Stream::open(file, 0..HEAD_TEXT_BYTES)?;
        let mut text = Vec::new();
        let read = stream.by_ref().take(HEAD_TEXT_BYTES).read_to_end(&mut text);
        let compression = stream.compression();
        match read {
            Err(error) if compression == Compression::Plain => {
                Err(stream.refused(file.path(), error))
            }
            // A decoder's error is left to the file's reader.
            read => Ok(Head {
                compression,
                is_all: read.is_ok_and(|read| (read as u64) < HEAD_TEXT_BYTES),
                text,
            }),
        }
    }
}

/// How a file that can only be read from its beginning is cut: not at all.
pub(super) fn layout(file: &Stored) -> Result<Layout> {
    let bytes = file.size()?;
    Ok(match Compression::of(&head(file)?) {
        Compression::Plain => Layout::Whole(bytes),
        _ => Layout::Whole(bytes.saturating_mul(TEXT_PER_COMPRESSED)),
    })
}

/// A file that is decompressed as it is read.
pub(super) struct Stream {
    decoder: Decoder,
}

type Input = BufReader<Raw>;
type Gzip = Members<Input, flate2::bufread::GzDecoder<Input>>;
type Zstd = Members<Input, zstd::stream::read::Decoder<'static, Input>>;
type Bzip2 = Members<Input, bzip2::bufread::BzDecoder<Input>>;

enum Decoder {
    /// Without a buffer: what is read is what was asked for.
    Plain(Raw),
    Gzip(Box<Gzip>),
    Zstd(Box<Zstd>),
    Bzip2(Box<Bzip2>),
    Xz(Box<XzReader<Input>>),
}

impl Stream {
    /// Opens `file` for `range`, which begins at 0 for compressed files; what follows may be read
    /// too.
    pub(super) fn open(file: &Stored, range: Range<u64>) -> Result<Stream> {
        let compression = Compression::of(&head(file)?);
        let start = range.start;
        let input = Box::new(file.open(range)?);
        let stream = Stream::new(input, start, compression);
        stream.map_err(|error| final_error(error, file.path()))
    }

    /// A stream over a reader that stands at byte `start` of its file.
    fn new(
        input: Box<dyn Read + Send>,
        start: u64,
        compression: Compression,
    ) -> io::Result<Stream> {
        let hasher = Hasher::new();
        let raw = Raw { input, start, end: start, hasher, is_at_end: false };
        let buffered = |raw| BufReader::with_capacity(BUFFER_BYTES, raw);
        let decoder = match compression {
            Compression::Plain => Decoder::Plain(raw),
            Compression::Gzip => Decoder::Gzip(Box::new(Members::new(buffered(raw))?)),
            Compression::Zstd => Decoder::Zstd(Box::new(Members::new(buffered(raw))?)),
            Compression::Bzip2 => Decoder::Bzip2(Box::new(Members::new(buffered(raw))?)),
            Compression::Xz => {
                let decoder = XzReader::new_mem_limit(buffered(raw), true, XZ_MEMORY_KIB);
                Decoder::Xz(Box::new(decoder))
            }
        };
        Ok(Stream { decoder })
    }

    fn compression(&self) -> Compression {
        match &self.decoder {
            Decoder::Plain(_) => Compression::Plain,
            Decoder::Gzip(_) => Compression::Gzip,
            Decoder::Zstd(_) => Compression::Zstd,
            Decoder::Bzip2(_) => Compression::Bzip2,
            Decoder::Xz(_) => Compression::Xz,
        }
    }

    /// The file's bytes as they lie there, and those of them that no decoder has taken yet.
    fn raw(&self) -> (&Raw, &[u8]) {
        let input = match &self.decoder {
            Decoder::Plain(raw) => return (raw, &[]),
            Decoder::Gzip(members) => members.input(),
            Decoder::Zstd(members) => members.input(),
            Decoder::Bzip2(members) => members.input(),
            Decoder::Xz(decoder) => decoder.inner(),
        };
        (input.get_ref(), input.buffer())
    }

    /// Which bytes of the file were read, and their hash.
    pub(super) fn range(&self) -> (Range<u64>, Fingerprint) {
        let (raw, _) = self.raw();
        (raw.start..raw.end, raw.hasher.finish())
    }

    /// Fails where the file did not end at `bytes`, its size when it was planned: it was cut or
    /// continued while it was read. Its last record may be a part of one, and a file that was cut
    /// must not pass for a shorter one.
    pub(super) fn check_end(&self, path: &Path, bytes: u64) -> Result<()> {
        let (raw, _) = self.raw();
        match raw.is_at_end && raw.end != bytes {
            true => Err(size_differs(path, bytes, Some(raw.end))),
            false => Ok(()),
        }
    }

    /// A decoder's error means a file that is damaged at this place; the system's own, one that
    /// could not be read.
    pub(super) fn refused(&self, path: &Path, error: io::Error) -> Error {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, OutOfMemory, UnexpectedEof};
        // What a place says of its bytes comes through decoders unchanged.
        let error = match error.downcast::<Error>() {
            Ok(own) => return own,
            Err(error) => error,
        };
        let (raw, unread) = self.raw();
        let at = Some(raw.end - unread.len() as u64);
        match error.kind() {
            UnexpectedEof => Error::damaged(path, at, "the compressed data end too early"),
            InvalidData | InvalidInput | Other if unread.is_empty() => {
                Error::damaged(path, at, error)
            }
            InvalidData | InvalidInput | Other => {
                let here = look::excerpt(unread);
                Error::damaged(path, at, format!("{error}; the file goes on with {here}"))
            }
            OutOfMemory => Error::damaged(path, at, error),
            _ => Error::io("read", path)(error),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match &mut self.decoder {
            Decoder::Plain(raw) => raw.read(buffer),
            Decoder::Gzip(members) => members.read(buffer),
            Decoder::Zstd(members) => members.read(buffer),
            Decoder::Bzip2(members) => members.read(buffer),
            Decoder::Xz(decoder) => decoder.read(buffer),
        }
    }
}

/// The file's bytes as they lie there, with their hash.
struct Raw {
    input: Box<dyn Read + Send>,
    start: u64,
    end: u64,
    hasher: Hasher,
    /// Whether the file had no more bytes.
    is_at_end: bool,
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.is_at_end |= read == 0 && !buffer.is_empty();
        self.hasher.update(&buffer[..read]);
        self.end += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// What `bytes` give, or the error.
    fn read(bytes: &[u8]) -> Result<Vec<u8>> {
        let (mut text, path) = (Vec::new(), PathBuf::from("a.xz"));
        let input = Box::new(io::Cursor::new(bytes.to_vec()));
        let mut stream = Stream::new(input, 0, Compression::of(bytes)).unwrap();
        match stream.read_to_end(&mut text) {
            Ok(_) => {
                assert_eq!(stream.range().0, 0..bytes.len() as u64);
                stream.check_end(&path, bytes.len() as u64)?;
                Ok(text)
            }
            Err(error) => Err(stream.refused(&path, error)),
        }
    }

    /// `one two` by `xz --check=crc64`, its seven bytes in one block.
    const XZ: &[u8] = include_bytes!("../../../fixtures/source/one_two.xz");

    #[test]
    fn streams_of_xz_follow_each_other_and_damage_is_noticed_where_it_is() {
        assert_eq!(read(XZ).unwrap(), b"one two");
        let padded = [XZ, &[0; 8], XZ].concat();
        assert_eq!(read(&padded).unwrap(), b"one twoone two");
        for cut in [XZ.len() - 1, XZ.len() - 12, 30, 13] {
            let error = read(&XZ[..cut]).unwrap_err().to_string();
            assert!(error.contains("a.xz") && error.contains("at byte"), "{cut}: {error}");
        }
        for at in [26, 30, 40, XZ.len() - 9] {
            let mut flipped = XZ.to_vec();
            flipped[at] ^= 1;
            let error = read(&flipped).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{at}: {error}");
        }
        let error = read(&[XZ, b"more"].concat()).unwrap_err().to_string();
        assert!(error.contains(&format!("at byte {}", XZ.len() + 1)), "{error}");
    }

    #[test]
    fn an_ending_of_a_compressor_is_taken_off_a_name() {
        assert_eq!(uncompressed_name("a.csv.ZST"), "a.csv");
        assert_eq!(uncompressed_name("a.csv"), "a.csv");
        assert_eq!(uncompressed_name(".gz"), ".gz");
    }
}
