//! nanoGPT's form: raw tokens, nothing else.
//!
//! In → pieces; out → `train.bin` or `val.bin`: little-endian uint16 (uint32 where the vocabulary
//! is larger than 65,536) without a header, which `np.memmap(path, dtype=np.uint16)` of nanoGPT's
//! `train.py` reads. Cost: the disk's.

use super::{Output, PieceWriter, Target, Written, encode};
use crate::{base::error::Result, interop::read::Piece, shards::TokenWidth};

/// Writes one `.bin`.
pub struct NanogptWriter {
    output: Output,
    width: TokenWidth,
    buffer: Vec<u8>,
    written: Written,
}

impl NanogptWriter {
    /// Creates `train.bin` or `val.bin`.
    pub fn create(target: Target<'_>) -> Result<NanogptWriter> {
        let name = format!("{}.bin", target.split_name());
        let output = Output::create(&target.directory.join(&name))?;
        let written = Written { name, documents: 0, tokens: 0 };
        Ok(NanogptWriter { output, width: target.width, buffer: Vec::new(), written })
    }
}

impl PieceWriter for NanogptWriter {
    fn append(&mut self, piece: Piece<'_>) -> Result<()> {
        self.buffer.clear();
        encode(piece.tokens, self.width, &mut self.buffer);
        self.written.documents += piece.starts.len() as u64;
        self.written.tokens += piece.tokens.len() as u64;
        self.output.write(&self.buffer)
    }

    fn finish(self: Box<Self>) -> Result<Vec<Written>> {
        self.output.finish()?;
        Ok(vec![self.written])
    }
}
