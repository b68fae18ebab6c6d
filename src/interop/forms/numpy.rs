//! numpy's form: two arrays that `np.load(path, mmap_mode="r")` maps.
//!
//! In → pieces; out → `train.npy`, all tokens, and `train_starts.npy` (uint64), where documents
//! begin in it; `val.npy` likewise. Both are one-dimensional, in version 1.0 of the format
//! (numpy, `numpy/lib/format.py`). Cost: the disk's.

use super::{Output, PieceWriter, Target, Written, dtype, encode};
use crate::{base::error::Result, interop::read::Piece, shards::TokenWidth};

/// Bytes of the header, magic, version and length included: a multiple of numpy's alignment for
/// mapping.
const HEAD_BYTES: usize = 128;

/// Writes a pair of arrays.
pub struct NumpyWriter {
    tokens: Output,
    starts: Output,
    width: TokenWidth,
    buffer: Vec<u8>,
    expected: (u64, u64),
    written: [Written; 2],
}

impl NumpyWriter {
    /// Creates both files; their lengths are known in advance.
    pub fn create(target: Target<'_>) -> Result<NumpyWriter> {
        let names = ["", "_starts"].map(|ending| format!("{}{ending}.npy", target.split_name()));
        let mut tokens = Output::create(&target.directory.join(&names[0]))?;
        let mut starts = Output::create(&target.directory.join(&names[1]))?;
        tokens.write(&head(dtype(target.width), target.tokens))?;
        starts.write(&head("uint64", target.documents))?;
        Ok(NumpyWriter {
            tokens,
            starts,
            width: target.width,
            buffer: Vec::new(),
            expected: (target.documents, target.tokens),
            written: names.map(|name| Written { name, documents: 0, tokens: 0 }),
        })
    }
}

/// The header of an array of `length` numbers.
fn head(dtype: &str, length: u64) -> Vec<u8> {
    let code = match dtype {
        "uint16" => "<u2",
        "uint32" => "<u4",
        _ => "<u8",
    };
    let text = format!("{{'descr': '{code}', 'fortran_order': False, 'shape': ({length},), }}");
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend((HEAD_BYTES as u16 - 10).to_le_bytes());
    head.extend(text.as_bytes());
    head.resize(HEAD_BYTES - 1, b' ');
    head.push(b'\n');
    head
}

impl PieceWriter for NumpyWriter {
    fn append(&mut self, piece: Piece<'_>) -> Result<()> {
        let before = self.written[0].tokens;
        self.buffer.clear();
        let starts = piece.starts.iter().map(|&start| before + u64::from(start));
        self.buffer.extend(starts.flat_map(u64::to_le_bytes));
        self.starts.write(&self.buffer)?;
        self.buffer.clear();
        encode(piece.tokens, self.width, &mut self.buffer);
        for written in &mut self.written {
            written.documents += piece.starts.len() as u64;
            written.tokens += piece.tokens.len() as u64;
        }
        self.tokens.write(&self.buffer)
    }

    fn finish(self: Box<Self>) -> Result<Vec<Written>> {
        let [tokens, starts] = self.written;
        let found = (tokens.documents, tokens.tokens);
        assert_eq!(found, self.expected, "documents and tokens written, and in the headers");
        self.tokens.finish()?;
        self.starts.finish()?;
        Ok(vec![tokens, starts])
    }
}
