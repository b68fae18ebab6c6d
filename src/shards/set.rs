//! A shards artifact: the files `tokenize` wrote, and the tokenizer they were written with.
//!
//! In → a directory; out → its shards in order, each with its footer read. Invariant: every file
//! stands with the size its manifest says and has one token width. Cost: one manifest, one footer a
//! file; no block is read.

use crate::artifact::record::Kind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{block::TokenWidth, reader::ShardReader};
use crate::artifact::manifest::Manifest;
use crate::base::{
    error::{Error, Result},
    hash::Fingerprint,
    io,
};

/// Where an artifact of shards (and a mix) keeps its tokenizer.
pub const TOKENIZER_DIRECTORY: &str = "tokenizer";
/// The tokenizer's file in Hugging Face format.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// One file of a shards artifact.
pub struct ShardInSet {
    /// File name in the artifact.
    pub name: String,
    /// XXH3-128 of the file, as the manifest says.
    pub xxh3: Fingerprint,
    /// The opened file.
    pub reader: ShardReader,
}

/// An opened shards artifact.
pub struct ShardSet {
    directory: PathBuf,
    manifest: Manifest,
    shards: Vec<ShardInSet>,
    width: TokenWidth,
    tokenizer: Fingerprint,
}

impl ShardSet {
    /// Opens the artifact in `directory` and every footer in it.
    pub fn open(directory: &Path) -> Result<ShardSet> {
        let manifest = Manifest::read(directory)?;
        manifest.expect_kind(directory, Kind::Shards)?;
        let mut shards = Vec::new();
        for file in manifest.files.iter().filter(|file| file.name.ends_with(".arrow")) {
            let path = directory.join(&file.name);
            let size = io::size(&path)?;
            if size != file.bytes {
                let message = format!("expected {} bytes, found {size}", file.bytes);
                return Err(Error::damaged_artifact(&path, None, message));
            }
            let reader = ShardReader::open(&path)?;
            shards.push(ShardInSet { name: file.name.clone(), xxh3: file.xxh3, reader });
        }
        let Some(width) = shards.first().map(|shard| shard.reader.width()) else {
            let message = format!("`{}` holds no shard", directory.display());
            return Err(Error::failed(message));
        };
        if let Some(other) = shards.iter().find(|shard| shard.reader.width() != width) {
            let message = format!("expected {width:?} tokens, found {:?}", other.reader.width());
            return Err(Error::damaged_artifact(other.reader.path(), None, message));
        }
        let tokenizer = tokenizer_fingerprint(directory, &manifest)?;
        Ok(ShardSet { directory: directory.to_owned(), manifest, shards, width, tokenizer })
    }

    /// Where the artifact lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its files, in corpus order.
    pub fn shards(&self) -> &[ShardInSet] {
        &self.shards
    }

    /// Width of the stored tokens.
    pub fn width(&self) -> TokenWidth {
        self.width
    }

    /// Whether some of its tokens are read but not trained on.
    pub fn is_masked(&self) -> bool {
        self.shards.iter().any(|shard| shard.reader.is_masked())
    }

    /// XXH3-128 of `tokenizer/tokenizer.json`.
    pub fn tokenizer(&self) -> Fingerprint {
        self.tokenizer
    }

    /// The folder of the tokenizer.
    pub fn tokenizer_directory(&self) -> PathBuf {
        self.directory.join(TOKENIZER_DIRECTORY)
    }

    /// Name and id of the end-of-text token; `None` when the tokenizer has none.
    pub fn end_of_text(&self) -> Option<(&str, u32)> {
        let name = self.manifest.config.get("end_of_text").and_then(Value::as_str)?;
        let id = self.manifest.config.get("end_of_text_id").and_then(Value::as_u64)?;
        Some((name, u32::try_from(id).ok()?))
    }

    /// Number of the tokenizer's ids, added tokens included.
    pub fn vocab_size(&self) -> Result<u64> {
        let size = self.manifest.config.get("vocab_size").and_then(Value::as_u64);
        size.ok_or_else(|| {
            let path = self.directory.join(crate::artifact::manifest::FILE_NAME);
            Error::damaged_artifact(&path, None, "the config has no `vocab_size`")
        })
    }

    /// The sources of its documents, sorted by name.
    pub fn sources(&self) -> Vec<&str> {
        let blocks = self.shards.iter().flat_map(|shard| shard.reader.blocks());
        let mut sources: Vec<&str> = blocks.map(|block| block.facts.source.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }
}

/// The tokenizer's fingerprint: the manifest's where it lists the file, else that of the file
/// itself.
fn tokenizer_fingerprint(directory: &Path, manifest: &Manifest) -> Result<Fingerprint> {
    let name = format!("{TOKENIZER_DIRECTORY}/{TOKENIZER_FILE}");
    match manifest.files.iter().find(|file| file.name == name) {
        Some(file) => Ok(file.xxh3),
        None => Ok(io::hash_file(&directory.join(name))?.0),
    }
}
