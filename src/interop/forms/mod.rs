//! The forms that tokens are written in: one file each, and what they share.
//!
//! In → pieces or samples, in order; out → files below one folder. Each form is written by a type
//! of its own that holds a buffer and, at most, four bytes a document; [`Written`] says for the
//! manifest what a file holds. The layouts are those that the libraries themselves read:
//! `tests/golden/check_token_exports.py` opens each with its own.

mod hf_datasets;
mod litdata;
mod mds;
mod megatron;
mod nanogpt;
mod numpy;

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

pub use hf_datasets::card;

use super::{
    config::{TokenExportConfig, TokenForm},
    read::{Piece, Sample, Split},
};
use crate::{
    base::{
        error::{Error, Result},
        io,
    },
    shards::TokenWidth,
};

/// A file that was written, by its name below the folder, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub name: String,
    pub documents: u64,
    pub tokens: u64,
}

/// Writes tokens one after another.
pub trait PieceWriter {
    /// Takes the next tokens.
    fn append(&mut self, piece: Piece<'_>) -> Result<()>;
    /// Completes the files.
    fn finish(self: Box<Self>) -> Result<Vec<Written>>;
}

/// Writes samples.
pub trait SampleWriter {
    /// Takes the next sample.
    fn push(&mut self, sample: Sample<'_>) -> Result<()>;
    /// Completes the files.
    fn finish(self: Box<Self>) -> Result<Vec<Written>>;
}

/// What a writer has to write, and where.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The folder to write to.
    pub directory: &'a Path,
    pub split: Split,
    pub width: TokenWidth,
    /// Documents and tokens that are to come, end-of-text included.
    pub documents: u64,
    pub tokens: u64,
    pub config: &'a TokenExportConfig,
    /// Whether samples are rows of a mix.
    pub rows: bool,
}

/// The writer of a form.
pub enum Writer {
    Pieces(Box<dyn PieceWriter>),
    Samples(Box<dyn SampleWriter>),
}

impl Writer {
    /// Creates the files of a form.
    pub fn create(target: Target<'_>) -> Result<Writer> {
        Ok(match target.config.to {
            TokenForm::Nanogpt => Writer::Pieces(Box::new(nanogpt::NanogptWriter::create(target)?)),
            TokenForm::Megatron => {
                Writer::Pieces(Box::new(megatron::MegatronWriter::create(target)?))
            }
            TokenForm::Litdata => Writer::Pieces(Box::new(litdata::LitdataWriter::create(target)?)),
            TokenForm::Numpy => Writer::Pieces(Box::new(numpy::NumpyWriter::create(target)?)),
            TokenForm::Mds => Writer::Samples(Box::new(mds::MdsWriter::create(target)?)),
            TokenForm::HfDatasets => {
                Writer::Samples(Box::new(hf_datasets::ParquetWriter::create(target)?))
            }
        })
    }
}

impl Target<'_> {
    /// `train` or `val`: what these tools call their splits.
    fn split_name(&self) -> &'static str {
        match self.split {
            Split::Training => "train",
            Split::Validation => "val",
        }
    }
}

/// A file that is written from its beginning to its end.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    fn create(path: &Path) -> Result<Output> {
        Ok(Output { path: path.to_owned(), file: io::create(path)? })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(Error::io("write", &self.path))
    }
}

/// Appends tokens as little-endian integers of `width`.
fn encode(tokens: &[u32], width: TokenWidth, out: &mut Vec<u8>) {
    match width {
        TokenWidth::U16 => out.extend(tokens.iter().flat_map(|&id| (id as u16).to_le_bytes())),
        TokenWidth::U32 => out.extend(tokens.iter().flat_map(|&id| id.to_le_bytes())),
    }
}

/// numpy's name of the stored tokens.
pub fn dtype(width: TokenWidth) -> &'static str {
    match width {
        TokenWidth::U16 => "uint16",
        TokenWidth::U32 => "uint32",
    }
}
