//! Where the tokens of an export come from: shards, document by document, or the stream of a mix.
//!
//! In → an artifact and a split; out → [`Piece`]s (for forms that lay tokens one after another) or
//! [`Sample`]s, in order. Blocks of shards are decoded in parallel; a mix is read in order, so that
//! each of its blocks is decoded once an epoch. Memory: two blocks a thread, or the mix's window.

use std::path::{Path, PathBuf};

use crate::{
    artifact::{manifest::Manifest, record::Kind},
    base::{
        error::{Error, Result},
        parallel,
    },
    shards::{
        MixReader, MixRecord, ShardSet, TokenWidth, ValidationSource, read_validation,
        validation::VALIDATION_FILE,
    },
};

/// Tokens of a mix that are handed on at a time.
const PIECE_TOKENS: u64 = 1 << 18;

/// Which part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Training,
    /// Held-out documents.
    Validation,
}

/// Tokens that continue those of the piece before.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    pub tokens: &'a [u32],
    /// Positions in `tokens` where a document begins, ascending.
    pub starts: &'a [u32],
}

/// A document of shards, or a row of a mix.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The id and the source of a document; `None` for a row.
    pub document: Option<(&'a str, &'a str)>,
    pub tokens: &'a [u32],
    /// Positions in `tokens` where a document begins, ascending.
    pub starts: &'a [u32],
}

/// An opened artifact with tokens.
pub enum Tokens {
    Shards(Box<ShardSet>),
    Mix(Box<MixTokens>),
}

/// A mix, and its validation documents.
pub struct MixTokens {
    directory: PathBuf,
    data: Vec<PathBuf>,
    record: MixRecord,
    validation: Vec<ValidationSource>,
}

impl MixTokens {
    /// A reader of the stream that decodes each block once an epoch.
    fn stream(&self) -> Result<MixReader> {
        let mut reader = MixReader::open(&self.directory, &self.data, 0)?;
        reader.limit(reader.window_bytes());
        Ok(reader)
    }
}

impl Tokens {
    /// Opens shards or a mix; `data` lists further folders where the shards of a mix may lie.
    pub fn open(directory: &Path, data: &[PathBuf]) -> Result<Tokens> {
        let manifest = Manifest::read(directory)?;
        match manifest.kind {
            Kind::Mix => {
                // The shards are looked up now, so that a missing one is reported before any work.
                let record = MixReader::open(directory, data, 0)?.record().clone();
                let validation = read_validation(&directory.join(VALIDATION_FILE))?;
                let (directory, data) = (directory.to_owned(), data.to_vec());
                Ok(Tokens::Mix(Box::new(MixTokens { directory, data, record, validation })))
            }
            Kind::Shards => Ok(Tokens::Shards(Box::new(ShardSet::open(directory)?))),
            other => {
                let place = directory.display();
                let message = format!("`{place}` is {other}: it holds no tokens to write");
                Err(Error::config(message).with_hint(match other {
                    Kind::Run => "a run is written with `--to hf` or `--to gguf`",
                    _ => "name token shards (`tokenize`) or a mix (`mix`)",
                }))
            }
        }
    }

    /// Width of the stored tokens.
    pub fn width(&self) -> TokenWidth {
        match self {
            Tokens::Shards(set) => set.width(),
            Tokens::Mix(mix) => mix.record.token_width,
        }
    }

    /// Ids of the tokenizer, added tokens included.
    pub fn vocab_size(&self) -> Result<u64> {
        match self {
            Tokens::Shards(set) => set.vocab_size(),
            Tokens::Mix(mix) => Ok(mix.record.vocab_size),
        }
    }

    /// The least memory that reading takes, in bytes.
    pub fn window_bytes(&self) -> u64 {
        match self {
            Tokens::Shards(_) => 0,
            Tokens::Mix(mix) => mix.record.window_bytes,
        }
    }

    /// Name and id of the end-of-text token.
    pub fn end_of_text(&self) -> Option<(&str, u32)> {
        match self {
            Tokens::Shards(set) => set.end_of_text(),
            Tokens::Mix(mix) => Some((&mix.record.end_of_text, mix.record.end_of_text_id)),
        }
    }

    /// Documents and tokens of a split, as they are stored: without end-of-text, but for the
    /// training stream of a mix.
    pub fn size(&self, split: Split) -> (u64, u64) {
        match (self, split) {
            (Tokens::Shards(set), split) => {
                let blocks = set.shards().iter().flat_map(|shard| shard.reader.blocks());
                blocks.fold((0, 0), |(documents, tokens), block| match split {
                    Split::Training => {
                        (documents + block.training_documents(), tokens + block.training_tokens())
                    }
                    Split::Validation => (
                        documents + block.facts.held_out_documents,
                        tokens + block.facts.held_out_tokens,
                    ),
                })
            }
            (Tokens::Mix(mix), Split::Training) => (mix.record.documents, mix.record.tokens),
            (Tokens::Mix(mix), Split::Validation) => {
                let all = mix.validation.iter().flat_map(|source| &source.documents);
                all.fold((0, 0), |(documents, tokens), one| {
                    (documents + 1, tokens + one.tokens.len() as u64)
                })
            }
        }
    }

    /// Passes on a split as tokens one after another. Each document of shards and each validation
    /// document is followed by end-of-text, if there is one; in the stream of a mix it stands
    /// before each.
    pub fn pieces(
        &self,
        split: Split,
        threads: usize,
        mut take: impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        if let (Tokens::Mix(mix), Split::Training) = (self, split) {
            let (tokens, mut stream) = (mix.record.tokens, mix.stream()?);
            let (mut buffer, mut starts) = (Vec::new(), Vec::new());
            for first in (0..tokens).step_by(PIECE_TOKENS as usize) {
                let length = PIECE_TOKENS.min(tokens - first) as usize;
                stream.read(first, length, &mut buffer, &mut starts)?;
                take(Piece { tokens: &buffer, starts: &starts })?;
            }
            return Ok(());
        }
        let end = self.end_of_text().map(|(_, id)| id);
        let mut buffer = Vec::new();
        self.documents(split, threads, |_, tokens| {
            buffer.clear();
            buffer.extend_from_slice(tokens);
            buffer.extend(end);
            take(Piece { tokens: &buffer, starts: &[0] })
        })
    }

    /// Hands on a split as samples: documents, or rows of a mix.
    pub fn samples(
        &self,
        split: Split,
        sequence: Option<u64>,
        threads: usize,
        mut take: impl FnMut(Sample<'_>) -> Result<()>,
    ) -> Result<()> {
        match (self, split, sequence) {
            (Tokens::Mix(mix), Split::Training, Some(sequence)) => {
                let (rows, mut stream) = (mix.record.tokens / sequence, mix.stream()?);
                let (mut tokens, mut starts) = (Vec::new(), Vec::new());
                for row in 0..rows {
                    stream.read(row * sequence, sequence as usize, &mut tokens, &mut starts)?;
                    take(Sample { document: None, tokens: &tokens, starts: &starts })?;
                }
                Ok(())
            }
            _ => self.documents(split, threads, |document, tokens| {
                take(Sample { document: Some(document), tokens, starts: &[0] })
            }),
        }
    }

    /// Passes on the documents of shards, or a mix's validation documents: (id, source) and tokens.
    fn documents(
        &self,
        split: Split,
        threads: usize,
        mut take: impl FnMut((&str, &str), &[u32]) -> Result<()>,
    ) -> Result<()> {
        let set = match self {
            Tokens::Mix(mix) => {
                return mix.validation.iter().try_for_each(|source| {
                    source.documents.iter().try_for_each(|document| {
                        take((&document.id, &source.name), &document.tokens)
                    })
                });
            }
            Tokens::Shards(set) => set,
        };
        let blocks = set.shards().iter().flat_map(|shard| {
            let wanted = shard.reader.blocks().iter().enumerate().filter(move |(_, block)| {
                split == Split::Training && block.training_documents() > 0
                    || split == Split::Validation && block.facts.held_out_documents > 0
            });
            wanted.map(|(index, _)| Ok((&shard.reader, index)))
        });
        let mut tokens = Vec::new();
        parallel::ordered(
            threads,
            2 * threads,
            blocks,
            |(reader, index)| reader.read_block(index),
            |block| {
                let is_wanted = |row: &usize| block.held_out(*row) == (split == Split::Validation);
                (0..block.len()).filter(is_wanted).try_for_each(|row| {
                    tokens.clear();
                    let stored = block.tokens(row);
                    stored.append(0..stored.len(), &mut tokens);
                    take((block.document(row), block.source()), &tokens)
                })
            },
        )
    }
}
