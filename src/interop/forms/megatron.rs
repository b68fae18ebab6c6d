//! Megatron's form: an indexed dataset of one sequence a document.
//!
//! In → pieces; out → `train.bin`, the tokens one after another, and `train.idx`: the magic
//! `MMIDIDX\0\0`, version 1 (u64), the type's code (u8: 8 is uint16, 4 int32), the counts of
//! sequences and of document borders (u64 each), then each sequence's length (i32) and first byte
//! (i64), then the borders (i64) from 0 to the count (Megatron-LM,
//! `megatron/core/datasets/indexed_dataset.py`, `_IndexWriter`). All integers are little-endian.
//! Cost: four bytes of memory a document.

use super::{Output, PieceWriter, Target, Written, encode};
use crate::{base::error::Result, interop::read::Piece, shards::TokenWidth};

/// The first bytes of an index.
pub const MAGIC: &[u8; 9] = b"MMIDIDX\x00\x00";
/// The version of the layout.
pub const VERSION: u64 = 1;
/// The code of uint16, and of int32: Megatron has no uint32, and no vocabulary needs the last bit.
const UINT16: u8 = 8;
const INT32: u8 = 4;
/// Numbers of the index that are encoded at a time.
const CHUNK: usize = 1 << 16;

/// Writes one pair of `.bin` and `.idx`.
pub struct MegatronWriter {
    tokens: Output,
    index: Output,
    width: TokenWidth,
    buffer: Vec<u8>,
    lengths: Vec<u32>,
    names: [String; 2],
}

impl MegatronWriter {
    /// Creates `train.bin` and `train.idx`, or those of `val`.
    pub fn create(target: Target<'_>) -> Result<MegatronWriter> {
        let names = ["bin", "idx"].map(|ending| format!("{}.{ending}", target.split_name()));
        Ok(MegatronWriter {
            tokens: Output::create(&target.directory.join(&names[0]))?,
            index: Output::create(&target.directory.join(&names[1]))?,
            width: target.width,
            buffer: Vec::new(),
            lengths: Vec::new(),
            names,
        })
    }

    /// Writes one column of the index: one number for each document.
    fn column(&mut self, mut number: impl FnMut(u32, &mut Vec<u8>)) -> Result<()> {
        let lengths = std::mem::take(&mut self.lengths);
        for chunk in lengths.chunks(CHUNK) {
            self.buffer.clear();
            chunk.iter().for_each(|&length| number(length, &mut self.buffer));
            self.index.write(&self.buffer)?;
        }
        self.lengths = lengths;
        Ok(())
    }

    fn write_index(&mut self) -> Result<()> {
        let documents = self.lengths.len() as u64;
        let code = match self.width {
            TokenWidth::U16 => UINT16,
            TokenWidth::U32 => INT32,
        };
        self.index.write(MAGIC)?;
        self.index.write(&VERSION.to_le_bytes())?;
        self.index.write(&[code])?;
        self.index.write(&documents.to_le_bytes())?;
        self.index.write(&(documents + 1).to_le_bytes())?;
        self.column(|length, out| out.extend((length as i32).to_le_bytes()))?;
        let (mut at, width) = (0i64, self.width.bytes() as i64);
        self.column(|length, out| {
            out.extend(at.to_le_bytes());
            at += i64::from(length) * width;
        })?;
        self.index.write(&0i64.to_le_bytes())?;
        let mut border = 0i64;
        self.column(|_, out| {
            border += 1;
            out.extend(border.to_le_bytes());
        })
    }
}

impl PieceWriter for MegatronWriter {
    fn append(&mut self, piece: Piece<'_>) -> Result<()> {
        self.buffer.clear();
        encode(piece.tokens, self.width, &mut self.buffer);
        self.tokens.write(&self.buffer)?;
        let ends = piece.starts.iter().copied().chain([piece.tokens.len() as u32]);
        let mut from = 0;
        for (document, to) in ends.enumerate() {
            if let Some(last) = self.lengths.last_mut() {
                *last += to - from;
            }
            if document < piece.starts.len() {
                self.lengths.push(0);
            }
            from = to;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Written>> {
        self.write_index()?;
        let documents = self.lengths.len() as u64;
        let tokens = self.lengths.iter().map(|&length| u64::from(length)).sum();
        self.tokens.finish()?;
        self.index.finish()?;
        Ok(self.names.map(|name| Written { name, documents, tokens }).into())
    }
}
