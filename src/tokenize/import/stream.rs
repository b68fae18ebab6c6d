//! The tokens of files, one after another, each checked as it is read.
//!
//! In → files of tokens; out → their places, and the tokens from any place on. nanoGPT's files are
//! tokens alone; llm.c's begin with 256 integers of 32 bits: the magic 20240520 with version 1
//! (uint16 tokens), or 20240801 with version 7 (uint32), then the count of tokens (llm.c,
//! `dev/data/data_common.py`). What a file says and what it holds must agree. Cost: 1 MiB.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use crate::base::{
    error::{Error, Result},
    io,
};

/// Bytes of llm.c's header.
const LLMC_HEAD_BYTES: u64 = 256 * 4;
/// Magic and version of uint16 tokens (GPT-2), and of uint32 (Llama 3).
const LLMC_UINT16: [u32; 2] = [20240520, 1];
const LLMC_UINT32: [u32; 2] = [20240801, 7];
/// Tokens that are read at a time.
const CHUNK_TOKENS: usize = 1 << 18;

/// The error for a wrong file: what is wrong and where, as of any damaged file, with its own hint.
pub fn wrong(path: &Path, at: u64, message: &str) -> Error {
    let message = format!("damaged file `{}` at byte {at}: {message}", path.display());
    Error::failed(message).with_hint("fetch the file again, or leave it out")
}

/// A file's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// Where they begin, in bytes.
    pub offset: u64,
    /// Bytes of each.
    pub width: u64,
    pub tokens: u64,
}

/// The first integers of a file that is long enough.
fn head(path: &Path, size: u64) -> Result<Option<[u32; 3]>> {
    if size < 12 {
        return Ok(None);
    }
    let bytes = io::read_range(path, 0, 12)?;
    let number =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Ok(Some([number(0), number(4), number(8)]))
}

/// A file of raw tokens.
pub fn raw(path: &Path, width: u64) -> Result<TokenFile> {
    let size = io::size(path)?;
    if let Some([magic, version, _]) = head(path, size)?
        && [LLMC_UINT16, LLMC_UINT32].contains(&[magic, version])
    {
        let error = wrong(path, 0, "it begins with llm.c's header, not with a token");
        return Err(error.with_hint("say `--from llmc`"));
    }
    if !size.is_multiple_of(width) {
        let at = size - size % width;
        let message =
            format!("expected tokens of {width} bytes, found {} at the end", size % width);
        return Err(wrong(path, at, &message)
            .with_hint("it is truncated, or `--set token_bytes=2|4` says another width"));
    }
    Ok(TokenFile { offset: 0, width, tokens: size / width })
}

/// A file with llm.c's header.
pub fn llmc(path: &Path) -> Result<TokenFile> {
    let size = io::size(path)?;
    let damaged = |at: u64, message: String| wrong(path, at, &message);
    let Some([magic, version, tokens]) = head(path, size)?.filter(|_| size >= LLMC_HEAD_BYTES)
    else {
        let message = format!("expected a header of {LLMC_HEAD_BYTES} bytes, found {size}");
        return Err(damaged(size, message));
    };
    let width = match [magic, version] {
        LLMC_UINT16 => 2,
        LLMC_UINT32 => 4,
        _ if magic == LLMC_UINT16[0] || magic == LLMC_UINT32[0] => {
            let message = format!("magic {magic} with version {version}: expected 1, or 7");
            return Err(damaged(4, message));
        }
        _ => {
            let expected = format!("expected the magic {} or {}", LLMC_UINT16[0], LLMC_UINT32[0]);
            return Err(damaged(0, format!("{expected}, found {magic}"))
                .with_hint("files without a header are nanoGPT's: `--from nanogpt`"));
        }
    };
    let tokens = u64::from(tokens);
    let expected = LLMC_HEAD_BYTES + tokens * width;
    if expected != size {
        let message = format!("the header says {tokens} tokens, {expected} bytes; found {size}");
        return Err(damaged(expected.min(size), message));
    }
    Ok(TokenFile { offset: LLMC_HEAD_BYTES, width, tokens })
}

/// Reads the tokens of a file from any place on.
pub struct TokenReader<'a> {
    path: &'a Path,
    file: File,
    place: TokenFile,
    vocab_size: u32,
    next: u64,
    bytes: Vec<u8>,
}

impl<'a> TokenReader<'a> {
    /// From token `first` of the file on; ids are checked against `vocab_size`.
    pub fn open(path: &'a Path, place: TokenFile, first: u64, vocab_size: u32) -> Result<Self> {
        let mut file = io::open(path)?;
        let offset = place.offset + first * place.width;
        file.seek(SeekFrom::Start(offset)).map_err(Error::io("read", path))?;
        Ok(TokenReader { path, file, place, vocab_size, next: first, bytes: Vec::new() })
    }

    /// Reads up to `most` of the remaining tokens into `tokens`, emptied first; none at the end.
    pub fn read(&mut self, most: u64, tokens: &mut Vec<u32>) -> Result<()> {
        tokens.clear();
        let left = (self.place.tokens - self.next).min(most).min(CHUNK_TOKENS as u64);
        self.bytes.resize((left * self.place.width) as usize, 0);
        self.file.read_exact(&mut self.bytes).map_err(Error::io("read", self.path))?;
        match self.place.width {
            2 => tokens.extend(
                self.bytes.as_chunks::<2>().0.iter().map(|it| u32::from(u16::from_le_bytes(*it))),
            ),
            _ => tokens
                .extend(self.bytes.as_chunks::<4>().0.iter().map(|it| u32::from_le_bytes(*it))),
        }
        if let Some(at) = tokens.iter().position(|&id| id >= self.vocab_size) {
            let token = self.next + at as u64;
            let offset = self.place.offset + token * self.place.width;
            let message = format!(
                "token {token} is {}, and the vocabulary ends at {}",
                tokens[at],
                self.vocab_size - 1
            );
            return Err(wrong(self.path, offset, &message)
                .with_hint("name the tokenizer that made the file, or its width, `token_bytes`"));
        }
        self.next += left;
        Ok(())
    }
}
