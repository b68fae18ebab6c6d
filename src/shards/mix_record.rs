//! `mix.json`: what a mix was resolved to, and how its shards are found again.
//!
//! In → the JSON beside `order.arrow`; out → sources with budgets and epochs, the shard files that
//! `order.arrow` numbers, the tokenizer's identity. It names shards by fingerprint and file name
//! and holds no path, so a mix and its shards may move: `run.json` keeps where they lay, relative
//! to the mix and absolute, and further folders can be given to search. Invariant: a folder is
//! taken only if its manifest has the fingerprint and lists each file with the checksum recorded
//! here; the footer of each file is compared when it is opened ([`ShardFile::open`]), and names the
//! checksums of all blocks, so an edited shard is never trained on. Cost: one manifest a candidate.

use crate::artifact::{record::Kind, store};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{block::TokenWidth, reader::ShardReader, validation::fingerprint_of_sources};
use crate::artifact::manifest::{Manifest, other_file_format};
use crate::base::{
    error::{Error, Result},
    hash::Fingerprint,
    io,
};

/// The file's name in a mix.
pub const MIX_FILE: &str = "mix.json";
/// Version of the JSON; one that is neither this nor [`FIRST_FORMAT`] is refused.
pub const MIX_FORMAT: u32 = 2;
/// The version without phases and with an order that is not by cell; runs on such a mix go on.
const FIRST_FORMAT: u32 = 1;

/// A mix as resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixRecord {
    /// [`MIX_FORMAT`].
    pub format: u32,
    /// Tokens of the training stream, openers included.
    pub tokens: u64,
    /// Documents of the stream, repeated ones each time.
    pub documents: u64,
    /// Most bytes of decoded blocks that are open at once when the mix is read from its beginning.
    pub window_bytes: u64,
    /// How documents were packed into rows, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packing: Option<MixPacking>,
    /// Whether the stream is written out beside it (`rows.arrow`): it is read without shards then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub materialized: bool,
    /// Width of the stored tokens.
    pub token_width: TokenWidth,
    /// Number of the tokenizer's ids, added tokens included.
    pub vocab_size: u64,
    /// The token that opens each document.
    pub end_of_text: String,
    /// Its id.
    pub end_of_text_id: u32,
    /// XXH3-128 of `tokenizer/tokenizer.json`.
    pub tokenizer: Fingerprint,
    /// Fingerprint of the validation texts ([`super::validation::fingerprint`]); mixes of earlier
    /// builds have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Fingerprint>,
    /// The mixtures, one after another.
    pub phases: Vec<MixPhase>,
    /// The sources, in the order of the command; `order.arrow` numbers them.
    pub sources: Vec<MixSource>,
    /// The user's own validation texts by source, where they take the place of held-out documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation_sources: Vec<ValidatedSource>,
    /// The shard files; `order.arrow` numbers them.
    pub shards: Vec<ShardFile>,
}

/// The texts of one source in `validation.arrow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatedSource {
    /// The source's name: the mix's, or that of the user's own set.
    pub name: String,
    /// Its documents, their tokens without openers, and the UTF-8 bytes of their texts.
    pub documents: u64,
    pub tokens: u64,
    pub bytes: u64,
    /// Those of the documents that the recipe would keep.
    pub kept: u64,
    /// Fingerprint of these texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Fingerprint>,
}

/// The result of packing. A document is cut where a border of two rows lies inside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixPacking {
    /// Length of the rows, in tokens.
    pub sequence: u64,
    /// Documents of the stream.
    pub documents: u64,
    /// Documents that are cut.
    pub cut: u64,
    /// Documents that the order before packing would cut: concatenated and chunked.
    pub cut_by_concat: u64,
    /// Documents that no row can hold.
    pub longer_than_a_row: u64,
}

/// A mixture over a part of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixPhase {
    /// What the configuration calls it.
    pub name: String,
    /// Position of its first token in the stream.
    pub first_token: u64,
    /// Its length in tokens.
    pub tokens: u64,
    /// Weight of each source; `None` where the phase does not read it.
    pub weights: Vec<Option<String>>,
    /// Tokens of each source.
    pub source_tokens: Vec<u64>,
}

/// A source of a mix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixSource {
    /// The mix's name of it.
    pub name: String,
    /// The weight asked for.
    pub weight: String,
    /// Tokens it was given, under budgets of tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_tokens: Option<u64>,
    /// Bytes of text it was given, under budgets of bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<u64>,
    /// Tokens it fills in the stream; equal to a budget of tokens.
    pub achieved_tokens: u64,
    /// Tokens of one epoch, openers included.
    pub available_tokens: u64,
    /// Documents of one epoch.
    pub available_documents: u64,
    /// Documents in the stream, repeated ones each time.
    pub documents: u64,
    /// Passes over the source, budget / available, in lowest terms.
    pub epochs: String,
    /// The passes with four decimals, rounded down.
    pub epochs_decimal: String,
    /// Documents in `validation.arrow`.
    pub validation_documents: u64,
    /// Their tokens, without openers.
    pub validation_tokens: u64,
    /// UTF-8 bytes of their texts.
    pub validation_bytes: u64,
    /// Those of them that the recipe would keep.
    #[serde(default)]
    pub validation_kept: u64,
    /// Fingerprint of these texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Fingerprint>,
}

/// A shard file of a mix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardFile {
    /// The first source of the mix that reads it: what to call its folder in messages.
    pub name: String,
    /// Fingerprint of the artifact it belongs to.
    pub fingerprint: Fingerprint,
    /// File name in that artifact.
    pub file: String,
    /// XXH3-128 of the file, as its manifest says.
    pub xxh3: Fingerprint,
    /// XXH3-128 of its footer's list of blocks and their checksums.
    pub blocks: Fingerprint,
}

impl ShardFile {
    /// Opens the file at `path`, if it has the contents the mix was made of.
    pub fn open(&self, path: &Path) -> Result<ShardReader> {
        let reader = ShardReader::open(path)?;
        if reader.identity() == self.blocks {
            return Ok(reader);
        }
        Err(self.edited(path))
    }

    fn edited(&self, path: &Path) -> Error {
        let name = &self.name;
        let message = format!("not the file the mix was made of (source `{name}`)");
        Error::damaged_artifact(path, None, message)
    }
}

impl MixRecord {
    /// A source's share of what was asked for: of the tokens, or of the text where budgets count
    /// its bytes (a source fills its own to within a document).
    pub fn share(&self, source: &MixSource) -> Option<f64> {
        let (part, whole) = match source.budget_bytes {
            Some(bytes) => (bytes, self.sources.iter().filter_map(|one| one.budget_bytes).sum()),
            None => (source.achieved_tokens, self.tokens),
        };
        (whole > 0).then(|| part as f64 / whole as f64)
    }

    /// The record of the mix in `directory`.
    pub fn read(directory: &Path) -> Result<MixRecord> {
        let manifest = Manifest::read(directory)?;
        manifest.expect_kind(directory, Kind::Mix)?;
        let path = directory.join(MIX_FILE);
        let damaged = |error: serde_json::Error| Error::damaged_artifact(&path, None, error);
        let mut value: Value = serde_json::from_str(&io::read_text(&path)?).map_err(damaged)?;
        if value["format"] == FIRST_FORMAT {
            value = FirstRecord::upgrade(value).map_err(damaged)?;
        }
        if value["format"] != MIX_FORMAT {
            return Err(other_file_format(&path, &value["format"], MIX_FORMAT));
        }
        serde_json::from_value(value).map_err(damaged)
    }

    /// The validation texts by source: held-out documents, or those of the user's own set.
    pub fn validated(&self) -> Vec<ValidatedSource> {
        if !self.validation_sources.is_empty() {
            return self.validation_sources.clone();
        }
        let source = |source: &MixSource| ValidatedSource {
            name: source.name.clone(),
            documents: source.validation_documents,
            tokens: source.validation_tokens,
            bytes: source.validation_bytes,
            kept: source.validation_kept,
            validation: source.validation,
        };
        self.sources.iter().map(source).collect()
    }

    /// The fingerprint by which tables and pages name the validation set; `None` where one of its
    /// sources has none.
    pub fn validation_texts(&self) -> Option<Fingerprint> {
        let validated = self.validated();
        let scored = validated.iter().filter(|source| source.documents > 0);
        fingerprint_of_sources(scored.map(|source| (source.name.as_str(), source.validation)))
    }

    /// The JSON, with a final newline.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a record is plain data");
        json.push('\n');
        json
    }

    /// The paths of the shard files of the mix in `directory`: where `run.json` says, else in
    /// `data` or a folder right below one of these.
    pub fn locate(&self, directory: &Path, data: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let recorded = store::recorded(directory).into_iter().flat_map(|it| it.places);
        let recorded: Vec<PathBuf> = recorded.collect();
        let mut candidates = recorded.clone();
        let shards: BTreeSet<Fingerprint> = self.shards.iter().map(|it| it.fingerprint).collect();
        for shards in shards {
            let kept = recorded.iter().filter_map(|place| store::place(place, shards));
            candidates.extend(kept);
        }
        for root in data {
            candidates.push(root.clone());
            candidates.extend(io::list(root)?.into_iter().filter(|path| path.is_dir()));
        }
        candidates.retain(|candidate| Manifest::stands_in(candidate));
        let mut paths = Vec::with_capacity(self.shards.len());
        let mut found: Option<(Fingerprint, PathBuf)> = None;
        for shard in &self.shards {
            if found.as_ref().is_none_or(|(fingerprint, _)| *fingerprint != shard.fingerprint) {
                let place = self.place_of(shard, &candidates)?;
                found = Some((shard.fingerprint, place));
            }
            paths.extend(found.iter().map(|(_, place)| place.join(&shard.file)));
        }
        Ok(paths)
    }

    /// The first candidate that holds the artifact of `shard` with all files as recorded.
    fn place_of(&self, shard: &ShardFile, candidates: &[PathBuf]) -> Result<PathBuf> {
        let mut edited = None;
        for candidate in candidates {
            let manifest = Manifest::read(candidate)?;
            if manifest.fingerprint != shard.fingerprint {
                continue;
            }
            let wanted = self.shards.iter().filter(|one| one.fingerprint == shard.fingerprint);
            let differs = wanted.into_iter().find(|one| {
                let listed = manifest.files.iter().find(|file| file.name == one.file);
                listed.is_none_or(|file| {
                    file.xxh3 != one.xxh3
                        || io::size(&candidate.join(&file.name)).ok() != Some(file.bytes)
                })
            });
            match differs {
                None => return Ok(candidate.clone()),
                Some(one) => edited = Some(candidate.join(&one.file)),
            }
        }
        if let Some(path) = edited {
            return Err(shard.edited(&path));
        }
        let (name, short) = (&shard.name, shard.fingerprint.short());
        let message = format!("the shards of source `{name}` (fingerprint {short}…) are not found");
        Err(Error::config(message).with_hint("say where they lie now with `--data DIR`"))
    }
}

/// The parts of a record in the first format that the upgrade needs.
#[derive(Deserialize)]
struct FirstRecord {
    /// Tokens of a source that were shuffled together.
    window_tokens: u64,
    tokens: u64,
    token_width: TokenWidth,
    sources: Vec<MixSource>,
}

impl FirstRecord {
    /// The record in today's form: one phase, and for each source one window in memory, with a
    /// quarter more for blocks that straddle two windows.
    fn upgrade(mut value: Value) -> std::result::Result<Value, serde_json::Error> {
        let first: FirstRecord = serde_json::from_value(value.clone())?;
        let windows = first.sources.iter().map(|one| one.available_tokens.min(first.window_tokens));
        let tokens = windows.fold(0u64, u64::saturating_add);
        let window_bytes = tokens.saturating_mul(first.token_width.bytes() * 5) / 4;
        let phase = MixPhase {
            name: "main".to_owned(),
            first_token: 0,
            tokens: first.tokens,
            weights: first.sources.iter().map(|source| Some(source.weight.clone())).collect(),
            source_tokens: first.sources.iter().map(|source| source.achieved_tokens).collect(),
        };
        value["format"] = MIX_FORMAT.into();
        value["window_bytes"] = window_bytes.into();
        value["phases"] = serde_json::to_value([phase])?;
        Ok(value)
    }
}
